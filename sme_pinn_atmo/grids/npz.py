"""This project's own layout: one `.npz` file with labels, profiles and optical depths of many models."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import physics
from ..files import write_atomically
from .structures import COLUMNS, GridFileError, Structures

__all__ = ["read_npz", "write_npz"]

_LABELS = ("teff", "logg", "m_h", "alpha_m", "vturb")
_OWN = ("profiles", "columns", "log_tau_ross", "n_depth", "label_names")


def read_npz(path: str | Path) -> Structures:
    """Read `profiles` (n, n_depth, 6), `columns`, `log_tau_ross` (n, n_depth) or (n_depth,), `n_depth` and labels.

    Further arrays (n,) become `extra`, numbers (n, n_depth) become `more`.

    Labels are the arrays named in `label_names`, or else those of teff, logg, m_h, alpha_m, vturb that are there.
    Where the column mass is missing and nothing else, it is the integral of d tau / kappa.

    Raises
    ------
    GridFileError : not such a file, or arrays that do not fit together
    """
    path = Path(path)
    data = load_arrays(path)
    missing = [name for name in ("profiles", "columns", "log_tau_ross") if name not in data]
    if missing:
        raise GridFileError(f"{path} has no array {missing[0]!r}; a grid has profiles, columns, log_tau_ross, labels")
    profiles, columns = floats(path, "profiles", data["profiles"]), [str(c) for c in data["columns"].flat]
    lost = [c for c in COLUMNS if c not in columns]
    if lost or profiles.ndim != 3 or profiles.shape[2] != len(columns):
        raise GridFileError(f"{path}: profiles {profiles.shape} with columns {columns}; needed: {', '.join(COLUMNS)}")
    profiles = profiles[..., [columns.index(c) for c in COLUMNS]]
    n, depth = profiles.shape[:2]
    log_tau = floats(path, "log_tau_ross", data["log_tau_ross"])
    log_tau = np.tile(log_tau, (n, 1)) if log_tau.ndim == 1 else log_tau
    names = [str(v) for v in data["label_names"].flat] if "label_names" in data else [v for v in _LABELS if v in data]
    if absent := [name for name in names if name not in data]:
        raise GridFileError(f"{path} names the label {absent[0]!r} but has no such array")
    extra = {k: v for k, v in data.items() if k not in (*_OWN, *names) and v.shape == (n,)}
    more = {
        k: floats(path, k, v)
        for k, v in data.items()
        if k not in (*_OWN, *names) and v.shape == (n, depth) and v.dtype.kind in "iuf"
    }
    n_depth = data.get("n_depth", np.full(n, depth))
    if n_depth.dtype.kind not in "iu" or not np.all((n_depth > 0) & (n_depth <= depth)):
        raise GridFileError(f"{path}: n_depth must be numbers of layers, 1 to {depth}")
    labels = {k: floats(path, k, data[k]) for k in names}
    try:
        structures = Structures(labels, profiles, log_tau, n_depth.astype(int), extra, str(path), more)
    except ValueError as error:
        raise GridFileError(f"{path}: {error}") from None
    return _with_column_mass(structures)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an `.npz` file, none of them of Python objects; they cannot be written to.

    An array is no larger than its data, whatever its head says: `numpy.load` makes room first and reads later.

    Raises
    ------
    GridFileError : not such a file, or a damaged one
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as file:
            for member in file.infolist():
                name = member.filename.removesuffix(".npy")
                if member.compress_size > path.stat().st_size:
                    raise ValueError(f"{name!r} is said to be larger than the file")
                data = file.read(member)
                head = io.BytesIO(data)
                version = np.lib.format.read_magic(head)
                reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, fortran, dtype = reader[version](head)
                if dtype.hasobject:
                    raise ValueError(f"{name!r} holds Python objects")
                flat = np.frombuffer(data, dtype, math.prod(shape), head.tell())
                if dtype.kind == "U" and (flat.view(np.dtype("u4").newbyteorder(dtype.byteorder)) > 0x10FFFF).any():
                    raise ValueError(f"{name!r} holds characters that are none")
                arrays[name] = flat.reshape(shape, order="F" if fortran else "C")
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, tokenize and numpy raise many kinds for a damaged file
        raise GridFileError(f"{path} is not a readable .npz file: {error or type(error).__name__}") from None
    return arrays


def floats(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.float64]:
    """A copy of an array of real numbers in double precision; `GridFileError` for an array of anything else."""
    if array.dtype.kind not in "iuf":
        raise GridFileError(f"{path}: {name} is of type {array.dtype}, not numbers")
    return array.astype(float)


def _with_column_mass(structures: Structures) -> Structures:
    """Fill RHOX where it alone is missing (the hot AtmosNet models), from d tau = kappa dm."""
    p, log_tau = structures.profiles, structures.log_tau_ross
    lack = np.isnan(p[..., 0]).all(axis=1) & np.isfinite(p[..., 4]).all(axis=1)
    if lack.any() and np.ptp(log_tau[lack], axis=0).max() < 1e-6 and np.all(np.diff(log_tau[lack][0]) > 0):
        ln_tau = np.log(10.0) * log_tau[lack][0]
        one = np.ones((int(lack.sum()), 1))
        matrix = physics.integration_matrix(ln_tau)
        p[lack, :, 0], _ = physics.integrate_structure(np.exp(ln_tau), p[lack, :, 4], p[lack, :, 5], one, matrix)
    return structures


def write_npz(path: str | Path, structures: Structures) -> None:
    """Write models in the layout that `read_npz` reads."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "profiles": structures.profiles, "columns": np.array(COLUMNS), "log_tau_ross": structures.log_tau_ross,
        "n_depth": structures.n_depth, "label_names": np.array(list(structures.labels)),
        **structures.labels, **structures.extra, **structures.more,
    }  # fmt: skip
    np.savez_compressed(buffer, **arrays)
    write_atomically(Path(path), buffer.getvalue())

"""This project's own layout: one `.npz` file with labels, profiles and optical depths of many models."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .. import physics
from ..emulator import write_atomically
from .structures import COLUMNS, GridFileError, Structures

__all__ = ["read_npz", "write_npz"]

_LABELS = ("teff", "logg", "m_h", "alpha_m", "vturb")
_OWN = ("profiles", "columns", "log_tau_ross", "n_depth", "label_names")


def read_npz(path: str | Path) -> Structures:
    """Read `profiles` (n, n_depth, 6), `columns`, `log_tau_ross` (n, n_depth) or (n_depth,), `n_depth` and labels.

    Labels are the arrays named in `label_names`, or else those of teff, logg, m_h, alpha_m, vturb that are there.
    Where the column mass is missing and nothing else, it is the integral of d tau / kappa.

    Raises
    ------
    GridFileError : not such a file, or arrays that do not fit together
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise GridFileError(f"{path} is not a readable .npz file: {error}") from None
    missing = [name for name in ("profiles", "columns", "log_tau_ross") if name not in data]
    if missing:
        raise GridFileError(f"{path} has no array {missing[0]!r}; a grid has profiles, columns, log_tau_ross, labels")
    profiles, columns = data["profiles"].astype(float), [str(c) for c in data["columns"]]
    lost = [c for c in COLUMNS if c not in columns]
    if lost or profiles.ndim != 3 or profiles.shape[2] != len(columns):
        raise GridFileError(f"{path}: profiles {profiles.shape} with columns {columns}; needed: {', '.join(COLUMNS)}")
    profiles = profiles[..., [columns.index(c) for c in COLUMNS]]
    n, depth = profiles.shape[:2]
    log_tau = data["log_tau_ross"].astype(float)
    log_tau = np.array(np.broadcast_to(log_tau, (n, depth))) if log_tau.ndim == 1 else log_tau
    names = [str(v) for v in data["label_names"]] if "label_names" in data else [v for v in _LABELS if v in data]
    if absent := [name for name in names if name not in data]:
        raise GridFileError(f"{path} names the label {absent[0]!r} but has no such array")
    extra = {k: v for k, v in data.items() if k not in (*_OWN, *names) and v.shape == (n,)}
    n_depth = data.get("n_depth", np.full(n, depth)).astype(int)
    try:
        structures = Structures(
            {k: data[k].astype(float) for k in names}, profiles, log_tau, n_depth, extra, str(path)
        )
    except ValueError as error:
        raise GridFileError(f"{path}: {error}") from None
    return _with_column_mass(structures)


def _with_column_mass(structures: Structures) -> Structures:
    """Fill RHOX where it alone is missing (the hot AtmosNet models), from d tau = kappa dm."""
    p, log_tau = structures.profiles, structures.log_tau_ross
    lack = np.isnan(p[..., 0]).all(axis=1) & np.isfinite(p[..., 4]).all(axis=1)
    if lack.any() and np.ptp(log_tau[lack], axis=0).max() < 1e-6:
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
        **structures.labels, **structures.extra,
    }  # fmt: skip
    np.savez_compressed(buffer, **arrays)
    write_atomically(Path(path), buffer.getvalue())

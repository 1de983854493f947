"""Atmospheres of a catalogue of any length: labels from a file, profiles to HDF5, in blocks, resumable.

In: a table with a column for each label, units of its columns honoured. Out: a file with a data set (n_star, n_depth)
for each profile, its unit an attribute; NaN where a star lies outside the domain.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .emulator import Emulator
from .emulator.labels import as_planes
from .files import write_atomically
from .physics import curvature
from .structure import PROFILES, ModelAtmosphere

__all__ = ["CatalogueError", "count_rows", "predict_catalogue", "read_catalogue", "read_labels"]

#: Stars that are read, predicted and written at once: about 100 MB with all profiles.
BLOCK = 4096

_SUFFIXES = (".csv", ".ecsv", ".fits", ".parquet")


class CatalogueError(ValueError):
    """A file of labels or of atmospheres that cannot be used: names the file, the column and what is allowed."""


def predict_catalogue(
    emulator: Emulator, labels: str | Path, out: str | Path, *, columns: Mapping[str, str] | None = None,
    fields: Sequence[str] = tuple(PROFILES)[1:], tau_ross: Any = None, return_std: bool = False,
    precision: str = "float32", progress: bool = True,
) -> dict[str, int]:  # fmt: skip
    """Predict every star of a file and write the profiles to an HDF5 file.

    Memory does not grow with the number of stars. The work goes to `OUT.part`; when interrupted, even by kill -9, the
    same call goes on behind the last whole block. Stars outside the domain, or with a label missing, get NaN.

    Parameters
    ----------
    labels : .fits, .csv, .ecsv or .parquet (needs pyarrow), with a column for each label, units read where given
    out : file to write: datasets `labels/NAME` (n,), `inside` (n,), `tau_ross` (n_depth,) and each of `fields`
        (n, n_depth), with `return_std` also FIELD_std; the attribute `unit` of each, and the model in the file's
    columns : label name -> column name, where they differ (case does not matter)
    fields : names out of `structure.PROFILES`, tau_ross left out
    tau_ross : (n_depth,) Rosseland depths; None for the model's own
    precision : "float32" or "float64"

    Returns
    -------
    {"stars": n, "outside": how many have NaN, "resumed": how many were there already}

    Raises
    ------
    CatalogueError : a file or column that is not there, an unknown field; an unfinished file of another run
    """
    labels, out = Path(labels), Path(out)
    known = tuple(PROFILES)[1:]  # tau_ross is the same for all stars and always there
    unknown = [f for f in fields if f not in known]
    if unknown or not fields:
        raise CatalogueError(f"no field {', '.join(unknown)!r}; there are {', '.join(known)}")
    if precision not in ("float32", "float64"):
        raise CatalogueError(f"precision = {precision!r}; allowed: float32, float64")
    if return_std and emulator.errors is None:
        raise CatalogueError(f"{emulator.name} was stored without an error model: return_std needs one")
    h5py = _h5py()
    from tqdm import tqdm

    depths = emulator.tau_ross if tau_ross is None else np.asarray(tau_ross, dtype=float)
    # Depths are checked by a first prediction, before anything is written.
    star: dict[str, Any] = dict(zip(emulator.domain.labels, emulator.domain.sample(1, 0)[0].tolist(), strict=True))
    emulator.predict(**star, tau_ross=tau_ross)
    names = [*fields, *(f"{f}_std" for f in fields if return_std)]
    n = count_rows(labels)
    if n == 0:
        raise CatalogueError(f"{labels} has no rows")
    run = {
        "labels": labels.name, "rows": n, "bytes": labels.stat().st_size, "modified": labels.stat().st_mtime_ns,
        "model": emulator.name, "sha256": emulator.card["sha256"], "fields": names, "precision": precision,
        "columns": dict(columns or {}), "depths": hashlib.sha256(depths.tobytes()).hexdigest(),
    }  # fmt: skip
    part, journal = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.progress")
    done = _resume(part, journal, run)
    first = done
    if done == 0:
        _create(h5py, part, emulator, n, depths, names, np.dtype(precision))
    # Datasets lie in one piece each, so blocks go straight to their place in the file: what HDF5 itself keeps
    # about the file is never half-written, whenever the process dies.
    with h5py.File(part, "r") as file:
        place = {d: (file[d].id.get_offset(), file[d].dtype, file[d].shape[1:])
                 for d in (*names, "inside", *(f"labels/{k}" for k in emulator.domain.labels))}  # fmt: skip
        outside = int(np.count_nonzero(~file["inside"][:done].astype(bool)))
    with (
        part.open("r+b") as file,
        tqdm(total=n, initial=done, unit="star", disable=not progress, desc=out.name) as bar,
    ):
        for block in read_labels(labels, emulator.domain.labels, columns, emulator.domain.defaults, start=done):
            size = len(next(iter(block.values())))
            inside, values = _predict(emulator, block, names, tau_ross)
            values |= {"inside": inside.astype(np.uint8), **{f"labels/{k}": v for k, v in block.items()}}
            for name, (offset, dtype, shape) in place.items():
                array = np.ascontiguousarray(values[name], dtype=dtype)
                file.seek(offset + done * dtype.itemsize * int(np.prod(shape)))
                file.write(array.data)
            file.flush()
            os.fsync(file.fileno())
            done += size
            outside += int(np.count_nonzero(~inside))
            write_atomically(journal, json.dumps({**run, "done": done}).encode())
            bar.update(size)
    if done != n:
        raise CatalogueError(f"{labels} has {done} rows where {n} were counted: did it change?")
    part.replace(out)
    journal.unlink(missing_ok=True)
    return {"stars": n, "outside": outside, "resumed": first}


def read_catalogue(path: str | Path, rows: Any = slice(None)) -> ModelAtmosphere:
    """Atmospheres out of a file of `predict_catalogue` that has all the profiles; `rows` as h5py takes them.

    Raises CatalogueError for a file that is none, or lacks a profile.
    """
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            needed = ("rhox", "temperature", "gas_pressure", "electron_density", "opacity", "radiative_acceleration")
            missing = [f for f in (*needed, "tau_ross", "labels") if f not in file]
            if missing:
                raise CatalogueError(f"{path} has no {missing[0]!r}: was it written with fewer fields?")
            profiles: dict[str, Any] = {f: file[f][rows].astype(float) for f in needed}
            labels = {k: v[rows].astype(float) for k, v in file["labels"].items()}
            profiles["tau_ross"] = np.broadcast_to(file["tau_ross"][()], profiles["rhox"].shape)
            radius: Any = np.inf
            if "mass" in labels:  # spheres where `predict` makes them
                profiles["given"] = {f: file[f][rows].astype(float) for f in ("density", "height") if f in file}
                x = as_planes(np.stack([labels["logg"], labels["mass"]], -1), ("logg", "mass"), None)
                with np.errstate(divide="ignore"):
                    radius = 1.0 / curvature(10.0 ** x[..., 0], x[..., 1])
            return ModelAtmosphere(
                labels, **profiles, solar_scale=file.attrs["solar_scale"], source=file.attrs["model"], radius=radius
            )
    except OSError as error:
        raise CatalogueError(f"{path} is not an HDF5 file: {error}") from None


# ---------------------------------------------------------------------- reading labels


def count_rows(path: str | Path) -> int:
    """Number of stars in a file of labels."""
    path = _known(Path(path))
    if path.suffix == ".fits":
        return len(_fits_table(path))
    if path.suffix == ".parquet":
        return int(_parquet(path).metadata.num_rows)
    with path.open("rb") as file:
        lines = sum(1 for line in file if line.strip() and not line.startswith(b"#"))
    return max(lines - 1, 0)


def read_labels(
    path: str | Path, labels: Sequence[str], columns: Mapping[str, str] | None = None,
    defaults: Mapping[str, float] | None = None, *, start: int = 0, block: int = BLOCK,
) -> Iterator[dict[str, NDArray[np.float64]]]:  # fmt: skip
    """Blocks of labels (label name -> (n,) in the units of the emulator) from row `start` on; missing values are NaN.

    Raises CatalogueError for a column that is missing and has no default, that holds no numbers or a wrong unit.
    """
    from astropy.table import Table

    path = _known(Path(path))
    if path.suffix == ".fits":
        hdu = _fits_table(path)
        # Slicing a memory map reads only the rows asked for.
        blocks: Iterator[Any] = (Table(hdu[i : i + block], copy=True) for i in range(start, len(hdu), block))
        units = dict(zip(hdu.columns.names, hdu.columns.units, strict=True))
    elif path.suffix == ".parquet":
        blocks, units = _parquet_blocks(path, start, block), {}
    else:
        blocks, units = _text_blocks(path, start, block), {}
    for table in blocks:
        yield _to_labels(path, table, units, labels, columns or {}, defaults or {})


def _to_labels(
    path: Path, table: Any, units: Mapping[str, Any], labels: Sequence[str], columns: Mapping[str, str],
    defaults: Mapping[str, float],
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    from astropy.units import Quantity, Unit, UnitConversionError

    from .emulator.labels import LABEL_UNITS

    unknown = [k for k in columns if k not in labels]
    if unknown:
        raise CatalogueError(f"unknown label {unknown[0]!r}; the model has {', '.join(labels)}")
    lower = {name.lower(): name for name in table.colnames}
    out = {}
    for name in labels:
        wanted = columns.get(name, name)
        if wanted.lower() not in lower:
            if name in columns or name not in defaults:
                raise CatalogueError(f"{path} has no column {wanted!r} for {name}; it has {', '.join(table.colnames)}")
            out[name] = np.full(len(table), float(defaults[name]))
            continue
        column = table[lower[wanted.lower()]]
        if getattr(column, "mask", None) is not None:
            column = column.astype(float).filled(np.nan)
        try:
            values = np.asarray(column, dtype=float)
        except (TypeError, ValueError):
            raise CatalogueError(f"{path}: the column {wanted!r} holds {column.dtype}, not numbers") from None
        unit = getattr(column, "unit", None) or units.get(lower[wanted.lower()])
        if unit and name in LABEL_UNITS:
            try:
                values = Quantity(values, Unit(unit)).to_value(LABEL_UNITS[name])
            except (UnitConversionError, ValueError):
                raise CatalogueError(f"{path}: {wanted!r} has the unit {unit}; it needs {LABEL_UNITS[name]}") from None
        out[name] = values
    return out


def _known(path: Path) -> Path:
    if path.suffix not in _SUFFIXES:
        raise CatalogueError(f"{path} is not a table of labels; allowed: {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise CatalogueError(f"there is no file {path}")
    return path


def _fits_table(path: Path) -> Any:
    from astropy.io import fits

    try:
        with fits.open(path, memmap=True) as hdus:
            for hdu in hdus:
                if isinstance(hdu, fits.BinTableHDU):
                    return hdu.data
    except OSError as error:
        raise CatalogueError(f"{path} is not a FITS file: {error}") from None
    raise CatalogueError(f"{path} holds no binary table")


def _text_blocks(path: Path, start: int, block: int) -> Iterator[Any]:
    """Blocks of a CSV or ECSV file, each parsed by astropy beneath the file's own header."""
    from astropy.io import ascii as text
    from astropy.table import Table

    with path.open(encoding="utf-8") as file:
        header = []
        for line in file:
            header.append(line)
            if line.strip() and not line.startswith("#"):
                break
        rows = islice((line for line in file if line.strip()), start, None)
        kind = "ascii.ecsv" if path.suffix == ".ecsv" else "ascii.csv"
        while lines := list(islice(rows, block)):
            try:
                yield Table.read("".join([*header, *lines]), format=kind)
            except (text.InconsistentTableError, ValueError) as error:
                raise CatalogueError(f"{path}, rows {start} to {start + len(lines)}: {error}") from None
            start += len(lines)


def _parquet(path: Path) -> Any:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ModuleNotFoundError:
        raise CatalogueError(f"reading {path} needs pyarrow: pip install pyarrow") from None
    try:
        return parquet.ParquetFile(path)
    except ArrowInvalid as error:
        raise CatalogueError(f"{path} is not a Parquet file: {error}") from None


def _parquet_blocks(path: Path, start: int, block: int) -> Iterator[Any]:
    from astropy.table import Table

    seen = 0
    for batch in _parquet(path).iter_batches(batch_size=block):
        seen += batch.num_rows
        if seen <= start:
            continue
        batch = batch.slice(max(batch.num_rows - (seen - start), 0))
        yield Table({n: np.asarray(c.to_numpy(zero_copy_only=False)) for n, c in
                     zip(batch.schema.names, batch.columns, strict=True)})  # fmt: skip


# ---------------------------------------------------------------------- writing


def _predict(
    emulator: Emulator, block: Mapping[str, Any], names: Sequence[str], tau_ross: Any
) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float64]]]:
    """Which stars have a structure, and the profiles `names` of all (NaN for the others)."""
    values: dict[str, NDArray[np.float64]] = {}
    std = any(name.endswith("_std") for name in names)
    with np.errstate(all="ignore"):
        if std:
            atmosphere, deviation = emulator.predict(**block, tau_ross=tau_ross, on_outside="nan", return_std=True)
            values |= {f"{name}_std": value for name, value in deviation.items()}
        else:
            atmosphere = emulator.predict(**block, tau_ross=tau_ross, on_outside="nan")
        values |= {name: atmosphere.profile(name) for name in names if not name.endswith("_std")}
    inside = np.asarray(np.isfinite(atmosphere.gas_pressure * atmosphere.temperature).all(axis=-1))
    for value in values.values():
        if not inside.all():
            value[~inside] = np.nan
    return inside, values


def _resume(part: Path, journal: Path, run: Mapping[str, Any]) -> int:
    """Rows that an interrupted run has finished; 0 where there is none."""
    if not (part.is_file() and journal.is_file()):
        return 0
    try:
        state = json.loads(journal.read_text(encoding="utf-8"))
        done = int(state.pop("done"))
    except (ValueError, KeyError):
        return 0
    if changed := [k for k, v in run.items() if state.get(k) != v]:
        raise CatalogueError(
            f"{part} belongs to another run ({changed[0]} was {state.get(changed[0])!r}, is {run[changed[0]]!r}): "
            "finish that one, or delete it"
        )
    return done


def _create(
    h5py: Any, part: Path, emulator: Emulator, n: int, depths: NDArray[np.float64], names: Sequence[str],
    dtype: np.dtype[Any],
) -> None:  # fmt: skip
    """An HDF5 file with room for everything, laid out in one piece each and not yet filled."""
    part.parent.mkdir(parents=True, exist_ok=True)
    numbers = n * (len(depths) * len(names) * dtype.itemsize + 8 * len(emulator.domain.labels) + 1)
    try:
        # HDF5 dies of a full disk in ways that cannot be caught: room is made before it, and kept after it.
        part.write_bytes(b"")
        _reserve(part, numbers + 2**20)
        _lay_out(h5py, part, emulator, n, depths, names, dtype)
        _reserve(part, part.stat().st_size)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _reserve(path: Path, size: int) -> None:
    """Make a file take `size` bytes of the disk; OSError where there is no such room."""
    with path.open("r+b") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise OSError(error.errno, f"{error.strerror}; {size / 1e6:.0f} MB are needed", str(path)) from None


def _lay_out(
    h5py: Any, part: Path, emulator: Emulator, n: int, depths: NDArray[np.float64], names: Sequence[str],
    dtype: np.dtype[Any],
) -> None:  # fmt: skip
    from .emulator.labels import LABEL_UNITS

    with h5py.File(part, "w") as file:

        def make(name: str, shape: tuple[int, ...], kind: Any, unit: str) -> None:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_layout(h5py.h5d.CONTIGUOUS)
            plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            parent = file.require_group(name.rpartition("/")[0] or "/")
            kind = h5py.h5t.py_create(np.dtype(kind), logical=True)
            h5py.h5d.create(parent.id, name.rpartition("/")[2].encode(), kind, space, plist)
            file[name].attrs["unit"] = unit

        for name in names:
            make(name, (n, len(depths)), dtype, PROFILES[name.removesuffix("_std")])
        for name in emulator.domain.labels:
            make(f"labels/{name}", (n,), np.float64, LABEL_UNITS.get(name, "dex"))
        make("inside", (n,), np.uint8, "")
        file["tau_ross"] = depths
        file.attrs.update({
            "model": emulator.name, "sha256": emulator.card["sha256"], "solar_scale": emulator.card["solar_scale"],
            "version": __version__,
        })  # fmt: skip


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise CatalogueError("HDF5 files need h5py: pip install h5py") from None
    return h5py

"""The file of a training set: HDF5, a chunk a star, laid out before the work starts.

All room is made first, so that what HDF5 keeps about the file never changes while stars are written: each goes to its
place in the file by itself, and its status last. Whatever ends a run, the file is whole, and no star but the one being
written is lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalogue import _reserve
from .labels import Labels, unit

__all__ = ["DONE", "FAILED", "TODO", "Set", "Writer", "layout"]

Array = NDArray[np.float64]

TODO, DONE, FAILED = 0, 1, 2

#: Version of the layout; a newer file is refused.
FORMAT = 1

_REASON = 240  # bytes of a failure's reason
_REPORT = 65536  # bytes of what is known when a set is finished


def layout(
    stars: int, pixels: int, labels: int, gradients: int, gradient_labels: int, *, atmosphere: bool, errors: int,
    n_mu: int, error_shape: tuple[int, int],
) -> dict[str, tuple[tuple[int, ...], Any]]:  # fmt: skip
    """Data sets with a row a star: shape and type by name."""
    found: dict[str, tuple[tuple[int, ...], Any]] = {
        "labels": ((stars, labels), np.float64),
        "flux": ((stars, pixels), np.float32),
        "continuum": ((stars, pixels), np.float32),
        "atmosphere_error": ((stars, *error_shape), np.float32),
        "seconds": ((stars,), np.float32),
        "failure": ((stars,), f"S{_REASON}"),
        "status": ((stars,), np.uint8),
    }
    if gradients:
        found["gradients"] = ((gradients, gradient_labels, pixels), np.float32)
        if atmosphere:
            found["gradients_atmosphere"] = ((gradients, gradient_labels, pixels), np.float32)
    if errors:
        found["flux_error"] = ((errors, pixels), np.float32)
    if n_mu:
        found["intensity"] = ((stars, n_mu, 2, pixels), np.float32)
    return found


def size(parts: Mapping[str, tuple[tuple[int, ...], Any]]) -> int:
    """Bytes that data sets take."""
    numbers = (int(np.prod(shape)) * int(np.dtype(kind).itemsize) for shape, kind in parts.values())
    return sum(numbers) + 2**20


#: Units of the data sets.
_UNITS = {
    "flux": "", "continuum": "erg s-1 cm-2 Angstrom-1", "atmosphere_error": "", "seconds": "s", "failure": "",
    "status": "", "labels": "", "gradients": "per unit of the label", "gradients_atmosphere": "per unit of the label",
    "flux_error": "", "intensity": "erg s-1 cm-2 Angstrom-1 sr-1",
}  # fmt: skip


class Writer:
    """Writes stars into a file that is laid out, or goes on with one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as file:
            self.card: dict[str, Any] = json.loads(file.attrs["card"])
            self.place = {name: _place(file[name]) for name in file.attrs["rows"].split()}
            self.report: int = file["report"].id.get_offset()
            self.status = file["status"][:]
        self.file = path.open("r+b", buffering=0)

    @classmethod
    def create(
        cls, path: Path, labels: Labels, parts: Mapping[str, tuple[tuple[int, ...], Any]], fixed: Mapping[str, Any],
        card: Mapping[str, Any],
    ) -> Writer:  # fmt: skip
        """A new file with all room made; `fixed` are data sets that are the same for all stars."""
        import h5py

        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.new")
        try:
            part.write_bytes(b"")
            _reserve(part, size(parts))
            with h5py.File(part, "w", libver=("v110", "v110")) as file:
                for name, (shape, kind) in parts.items():
                    _make(h5py, file, name, shape, kind)
                    file[name].attrs["unit"] = _UNITS[name]
                for name, (value, name_unit) in fixed.items():
                    file[name] = value
                    file[name].attrs["unit"] = name_unit
                _make(h5py, file, "report", (_REPORT,), np.uint8)
                file["labels"].attrs.update({
                    "names": " ".join(labels.names), "units": ",".join(unit(n) for n in labels.names),
                })  # fmt: skip
                file.attrs.update({"format": FORMAT, "card": json.dumps(card), "rows": " ".join(parts)})
            _reserve(part, part.stat().st_size)
            writer = cls(part)
            writer._put("labels", 0, labels.values)
            writer._put("status", 0, np.zeros(len(labels), dtype=np.uint8))
            writer._put("failure", 0, np.zeros(len(labels), dtype=f"S{_REASON}"))
            writer._bytes(writer.report, b"\0" * _REPORT)
            os.fsync(writer.file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        writer.path = path
        return writer

    def todo(self) -> list[int]:
        """Stars that are neither done nor failed."""
        return [int(i) for i in np.flatnonzero(self.status == TODO)]

    def star(self, i: int, record: Mapping[str, Any], seconds: float) -> None:
        """A star that is done."""
        for name, value in record.items():
            self._put(name, i, np.asarray(value)[None])
        self._finish(i, seconds, DONE)

    def failure(self, i: int, why: str, seconds: float) -> None:
        """A star that cannot be made: its numbers are NaN."""
        for name in self.place:
            if name not in ("labels", "seconds", "failure", "status") and i < self.place[name][2][0]:
                shape = self.place[name][2][1:]
                self._put(name, i, np.full((1, *shape), np.nan))
        self._put("failure", i, np.array([why.encode("utf-8", "replace")[:_REASON]]))
        self._finish(i, seconds, FAILED)

    def _finish(self, i: int, seconds: float, status: int) -> None:
        self._put("seconds", i, np.array([seconds]))
        os.fsync(self.file.fileno())
        self._put("status", i, np.array([status], dtype=np.uint8))
        self.status[i] = status

    def finish(self, out: Path, report: Mapping[str, Any]) -> None:
        """Write what is known in the end, and give the file its name."""
        text = json.dumps(report).encode()
        self._bytes(self.report, text[:_REPORT])
        os.fsync(self.file.fileno())
        self.close()
        self.path.replace(out)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _put(self, name: str, row: int, values: Any) -> None:
        offset, dtype, shape = self.place[name]
        array = np.ascontiguousarray(values, dtype=dtype)
        if array.shape[1:] != shape[1:]:
            raise ValueError(f"{name} of a star has the shape {array.shape[1:]}, the file's is {shape[1:]}")
        self._bytes(offset + row * dtype.itemsize * int(np.prod(shape[1:])), array.tobytes())

    def _bytes(self, offset: int, data: bytes) -> None:
        self.file.seek(offset)
        written = 0
        while written < len(data):
            written += self.file.write(data[written:])


def _make(h5py: Any, file: Any, name: str, shape: tuple[int, ...], kind: Any) -> None:
    """A data set with its room: in chunks of a star, or in one piece where a star has few numbers."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if len(shape) > 1 and int(np.prod(shape[1:])) >= 16:
        plist.set_chunk((1, *shape[1:]))
    else:
        plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind), logical=True), space, plist)


def _place(data: Any) -> tuple[int, Any, tuple[int, ...]]:
    """Where a data set starts in the file, its type and shape; rows follow each other.

    Raises ValueError where they do not.
    """
    if data.chunks is None:
        return data.id.get_offset(), data.dtype, data.shape
    zeros = (0,) * (data.ndim - 1)
    first, last = (int(data.id.get_chunk_info_by_coord((i, *zeros)).byte_offset) for i in (0, data.shape[0] - 1))
    if last - first != (data.shape[0] - 1) * int(np.prod(data.chunks)) * data.dtype.itemsize:
        raise ValueError(f"chunks of {data.name} do not follow each other: this HDF5 lays files out in another way")
    return first, data.dtype, data.shape


def _open(path: Path) -> Any:
    import h5py

    if not path.is_file():
        raise FileNotFoundError(f"there is no set {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file: {error}") from None
    if "card" not in file.attrs or "flux" not in file:
        file.close()
        raise ValueError(f"{path} is not a training set of this package")
    if int(file.attrs["format"]) > FORMAT:
        found = int(file.attrs["format"])
        file.close()
        raise ValueError(f"{path} has the format {found}; this version reads up to {FORMAT}")
    return file


class Set:
    """A training set, opened to be read; also one that is still being made (SET.part). Use it in `with`.

    Attributes
    ----------
    card : what it was made with: settings, model, line list, versions, checksums, seed
    report : what was known in the end: derivatives' errors, times; empty before
    names, units : of the labels
    wavelength : (n_pixel,) [A]; `band` (n_pixel,) the number of the band of each, `medium` of each band
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.file = _open(self.path)
        self.card: dict[str, Any] = json.loads(self.file.attrs["card"])
        text = self.file["report"][:].tobytes().rstrip(b"\0")
        self.report: dict[str, Any] = json.loads(text) if text else {}
        labels = self.file["labels"]
        self.names: tuple[str, ...] = tuple(labels.attrs["names"].split())
        self.units: tuple[str, ...] = tuple(labels.attrs["units"].split(","))
        self.wavelength: Array = self.file["wavelength"][:]
        self.band: NDArray[np.int64] = self.file["band"][:]

    def __enter__(self) -> Set:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __len__(self) -> int:
        return int(self.file["status"].shape[0])

    @property
    def free(self) -> tuple[str, ...]:
        """Labels that do not follow from others by a relation: what a program is to learn."""
        return tuple(n for n in self.names if n not in self.card["survey"]["relations"])

    @property
    def status(self) -> NDArray[np.uint8]:
        """(n_star,) TODO, DONE or FAILED."""
        return np.asarray(self.file["status"][:])

    @property
    def done(self) -> NDArray[np.int64]:
        """Numbers of the stars that are done."""
        return np.flatnonzero(self.status == DONE)

    def failures(self) -> dict[int, str]:
        """Why each star failed."""
        rows = np.flatnonzero(self.status == FAILED)
        return {int(i): bytes(self.file["failure"][i]).decode("utf-8", "replace") for i in rows}

    def labels(self, names: Sequence[str] | None = None, rows: Any = None) -> Array:
        """(n, n_label) labels of stars (all that are done), of all names or those asked for."""
        values = self.file["labels"][:]
        return np.asarray(values[self.done if rows is None else rows][:, [self.column(n) for n in names or self.names]])

    def column(self, name: str) -> int:
        """Column of a label; raises ValueError that names the labels there are."""
        if name not in self.names:
            raise ValueError(f"{self.path} has no label {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)

    def get(self, name: str, rows: Any = None) -> Array:
        """A data set of stars (all that are done and have it), in double precision."""
        if name not in self.file:
            raise ValueError(f"{self.path} has no {name}; it was made without")
        if rows is None:
            rows = self.done[self.done < self.file[name].shape[0]]
        return np.asarray(self.file[name][np.asarray(rows)], dtype=float)

    def blocks(self, size: int = 256) -> Iterator[tuple[Array, Array]]:
        """Labels and flux of the stars that are done, so many at a time."""
        rows = self.done
        for i in range(0, len(rows), size):
            yield self.labels(rows=rows[i : i + size]), self.get("flux", rows[i : i + size])

    @property
    def gradient_labels(self) -> tuple[str, ...]:
        """Labels that there are derivatives for."""
        return tuple(self.card["survey"]["gradients"]["labels"]) if "gradients" in self.file else ()

    @property
    def with_gradients(self) -> NDArray[np.int64]:
        """Numbers of the stars that are done and have derivatives."""
        n = self.file["gradients"].shape[0] if "gradients" in self.file else 0
        return self.done[self.done < n]

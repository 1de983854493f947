"""Structures: many computed model atmospheres in one place, as every reader of this package returns them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "GridFileError", "Structures", "joined", "require_physical"]

#: Columns of `Structures.profiles`, with the names that ATLAS decks give them.
COLUMNS = ("RHOX", "T", "P", "XNE", "ABROSS", "ACCRAD")


class GridFileError(ValueError):
    """A file of model atmospheres that cannot be read: names the file, the line where there is one, and why."""


@dataclass(frozen=True)
class Structures:
    """Computed model atmospheres, outermost layer first.

    Attributes
    ----------
    labels : label name -> (n_model,): teff [K], logg [dex, cgs], m_h, alpha_m [dex], vturb [km/s], or others
    profiles : (n_model, n_depth_max, 6) in the order of `COLUMNS`: RHOX [g cm-2], T [K], gas pressure [dyn cm-2],
        electron density [cm-3], Rosseland opacity [cm2 g-1], radiative acceleration [cm s-2];
        NaN below a model's last layer and where the source has no such column
    log_tau_ross : (n_model, n_depth_max) log10 of the Rosseland optical depth
    n_depth : (n_model,) number of layers
    extra : further columns (n_model,) of the source, to select by (`family`, `subset`, a file name)
    source : where the models come from
    more : further profiles (n_model, n_depth_max) of the source: density [g cm-3], p_rad [dyn cm-2], depth_cm [cm], ...
    """

    labels: Mapping[str, NDArray[np.float64]]
    profiles: NDArray[np.float64]
    log_tau_ross: NDArray[np.float64]
    n_depth: NDArray[np.int64]
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    source: str = ""
    more: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, depth = self.profiles.shape[:2]
        if self.profiles.shape != (n, depth, len(COLUMNS)):
            raise ValueError(f"profiles have the shape {self.profiles.shape}, not (n_model, n_depth, {len(COLUMNS)})")
        for name, value, shape in (
            ("log_tau_ross", self.log_tau_ross, (n, depth)),
            ("n_depth", self.n_depth, (n,)),
            *((k, v, (n,)) for k, v in (*self.labels.items(), *self.extra.items())),
            *((k, v, (n, depth)) for k, v in self.more.items()),
        ):
            if np.shape(value) != shape:
                raise ValueError(f"{name} has the shape {np.shape(value)}, not {shape}")

    def __len__(self) -> int:
        return len(self.profiles)

    def column(self, name: str) -> NDArray[Any]:
        """A label or a further column by its name; `KeyError` names those that there are."""
        for table in (self.labels, self.extra):
            if name in table:
                return table[name]
        raise KeyError(f"no column {name!r} in {self.source}; it has {', '.join([*self.labels, *self.extra])}")

    def checksum(self) -> str:
        """SHA-256 of labels, numbers of layers, profiles and optical depths, in single precision and in this order.

        The same models give the same checksum whatever file they lie in; further columns do not count.
        """
        digest = hashlib.sha256()
        names = sorted(self.labels)
        for value in (*(self.labels[n] for n in names), self.n_depth, self.profiles, self.log_tau_ross):
            single = np.asarray(value, dtype="<f4") + np.float32(0.0)  # -0 is 0
            single[np.isnan(single)] = np.float32(np.nan)
            digest.update(np.ascontiguousarray(single).tobytes())
        digest.update(" ".join(names).encode())
        return digest.hexdigest()

    def select(self, rows: Any) -> Structures:
        """The models at `rows` (indices or a boolean array), in that order."""
        return replace(
            self,
            labels={k: v[rows] for k, v in self.labels.items()},
            profiles=self.profiles[rows],
            log_tau_ross=self.log_tau_ross[rows],
            n_depth=self.n_depth[rows],
            extra={k: v[rows] for k, v in self.extra.items()},
            more={k: v[rows] for k, v in self.more.items()},
        )


def require_physical(
    path: Path, labels: Mapping[str, float], profiles: NDArray[np.float64], log_tau: NDArray[np.float64],
    first_line: int | None = None,
) -> None:  # fmt: skip
    """Raise `GridFileError` for a file's model that cannot be one; `first_line` is that of its outermost layer.

    profiles (n_depth, 6) must be finite, all but the acceleration positive, with RHOX and log_tau (n_depth,) increasing
    inwards; labels may be NaN (not known) but not infinite.
    """

    def where(layer: int) -> str:
        return f"{path}, " + (f"layer {layer + 1}" if first_line is None else f"line {first_line + layer}")

    for name, value in labels.items():
        if np.isinf(value):
            raise GridFileError(f"{path}: {name} is infinite")
    for j, name in enumerate(COLUMNS):
        ok = np.isfinite(profiles[:, j]) & ((profiles[:, j] > 0) | (name == "ACCRAD"))
        if not ok.all():
            i = int(np.argmin(ok))
            wanted = "finite" if name == "ACCRAD" else "positive and finite"
            raise GridFileError(f"{where(i)}: {name} = {profiles[i, j]:g} is not {wanted}")
    for name, x in (("RHOX", profiles[:, 0]), ("log tau", log_tau)):
        ok = np.isfinite(x) & np.concatenate([[True], x[1:] > x[:-1]])
        if not ok.all():
            raise GridFileError(f"{where(int(np.argmin(ok)))}: {name} does not increase inwards")


def joined(parts: Sequence[Structures]) -> Structures:
    """Models of several sources with equally many depths, with the columns that all of them have.

    Raises ValueError for none, or for depths that differ.
    """
    depths = {p.profiles.shape[1] for p in parts}
    if len(depths) != 1:
        raise ValueError(f"models of {sorted(depths)} depths cannot be joined")

    def columns(name: str) -> dict[str, NDArray[Any]]:
        tables = [getattr(p, name) for p in parts]
        return {k: np.concatenate([t[k] for t in tables]) for k in tables[0] if all(k in t for t in tables)}

    profiles, log_tau, n_depth = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("profiles", "log_tau_ross", "n_depth")
    )
    source = ", ".join(p.source for p in parts)
    return Structures(columns("labels"), profiles, log_tau, n_depth, columns("extra"), source, columns("more"))

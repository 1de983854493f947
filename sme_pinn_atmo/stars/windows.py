"""Where a spectrum is used: windows, masks and telluric bands, as a table that a person can edit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ..files import read_table

__all__ = ["WINDOW_SETS", "Windows", "window_sets"]

Array = NDArray[np.float64]
Range = tuple[float, float]

_FOLDER = Path(__file__).parent.parent / "data" / "windows"
_KINDS = ("window", "mask", "telluric")
_C = constants.c / 1e3  # km/s


def window_sets() -> tuple[str, ...]:
    """Names of the packaged tables."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.ecsv")))


#: Names of the packaged tables.
WINDOW_SETS = window_sets()


@dataclass(frozen=True)
class Windows:
    """Windows of a fit, all wavelengths in air [A].

    windows : (low, high) of each, in the star's rest frame
    masks : ranges left out, in the star's rest frame (defects of a line list, cores of lines)
    tellurics : ranges left out, in the observer's frame
    name : of the table
    """

    windows: tuple[Range, ...]
    masks: tuple[Range, ...] = ()
    tellurics: tuple[Range, ...] = ()
    name: str = "windows"

    def __post_init__(self) -> None:
        for low, high in (*self.windows, *self.masks, *self.tellurics):
            if not 0 < low < high:
                raise ValueError(f"{self.name}: {low:g} to {high:g} A is no range; the first must be below the second")

    @classmethod
    def read(cls, source: str | Path) -> Windows:
        """A packaged table by its name (`WINDOW_SETS`), or a table of yours with columns low, high [A] and kind.

        `kind` is window, mask or telluric; without such a column every row is a window. Any format that astropy reads.

        Raises FileNotFoundError for neither a name nor a file, ValueError for a table without windows or columns.
        """
        path = _FOLDER / f"{source}.ecsv" if str(source) in window_sets() else Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{source} is no table of windows; there are {', '.join(window_sets())}, or a file")
        table = read_table(path)
        if not {"low", "high"} <= set(table.colnames):
            raise ValueError(f"{path} has the columns {', '.join(table.colnames)}; low and high are needed")
        kinds = [str(k) for k in table["kind"]] if "kind" in table.colnames else ["window"] * len(table)
        if unknown := sorted(set(kinds) - set(_KINDS)):
            raise ValueError(f"{path}: kind {unknown[0]!r}; allowed: {', '.join(_KINDS)}")
        rows = [(float(a), float(b)) for a, b in zip(table["low"], table["high"], strict=True)]
        of = {kind: tuple(r for r, k in zip(rows, kinds, strict=True) if k == kind) for kind in _KINDS}
        return cls(of["window"], of["mask"], of["telluric"], path.stem)

    @classmethod
    def over(cls, wave: Array, longest: float = 60.0) -> Windows:
        """The whole range of a spectrum, in windows of at most `longest` [A]; gaps wider than 1 A part windows."""
        wave = np.sort(np.asarray(wave, dtype=float))
        pieces: list[Range] = []
        for part in np.split(wave, np.flatnonzero(np.diff(wave) > 1.0) + 1):
            if len(part) < 2:
                continue
            n = int(np.ceil((part[-1] - part[0]) / longest))
            edges = np.linspace(part[0], part[-1], max(n, 1) + 1)
            pieces += [(float(a), float(b)) for a, b in itertools.pairwise(edges)]
        return cls(tuple(pieces), name="whole spectrum")

    def and_(self, other: Windows) -> Windows:
        """With the windows, masks and telluric ranges of another table as well."""
        return Windows(
            self.windows + other.windows, self.masks + other.masks, self.tellurics + other.tellurics,
            f"{self.name}, {other.name}",
        )  # fmt: skip

    def table(self) -> Any:
        """As an astropy table, which `read` takes."""
        from astropy import units
        from astropy.table import QTable

        rows = [(r, k) for k, rs in zip(_KINDS, (self.windows, self.masks, self.tellurics), strict=True) for r in rs]
        low, high = (np.array([r[i] for r, _ in rows]) * units.AA for i in (0, 1))
        return QTable({"low": low, "high": high, "kind": [k for _, k in rows]}, meta={"description": self.name})

    def masked(self, wave: Array, velocity: float = 0.0) -> NDArray[np.bool_]:
        """Which of the observed wavelengths (n,) [A] are left out; `velocity` [km/s] of the star, positive: away."""
        shift = 1 + velocity / _C
        return inside(wave, [(a * shift, b * shift) for a, b in self.masks]) | inside(wave, self.tellurics)


def inside(wave: Array, ranges: Sequence[Range]) -> NDArray[np.bool_]:
    """Which wavelengths lie in any of the ranges."""
    found = np.zeros(np.shape(wave), dtype=bool)
    for low, high in ranges:
        found |= (wave >= low) & (wave <= high)
    return found

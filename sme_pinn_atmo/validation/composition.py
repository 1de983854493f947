"""What a mixture of its own does to a structure: MARCS models with more or less carbon, or alpha elements, than usual.

No model has a standard counterpart at the same labels: those of class x3 have carbon or alpha of their own only where
the standard one is not there. Each is therefore held against the mean (of the logarithms) of its two standard
neighbours on the grid, in Teff, m_h or log g; what that mean is off by itself is measured on standard models in the
same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grids import COLUMNS, Structures

__all__ = ["Row", "format_rows", "measure"]

Array = NDArray[np.float64]

#: Steps of the grid between which a model may lie, in the order tried.
_STEPS = (("teff", 100.0), ("teff", 250.0), ("m_h", 0.25), ("logg", 0.5))

_SHOWN = ("T", "P", "XNE", "ABROSS")

#: A composition counts as its own from here on [dex].
_OWN = 0.01

#: Teff [K] that divides cool stars, where molecules and their balance of C and O rule, from others.
_COOL = 4000.0


@dataclass(frozen=True)
class Row:
    """100 times the rms over depth of ln (model / mean of its standard neighbours), by column: per cent where small.

    Attributes
    ----------
    name : what they have of their own
    n, of : models with standard neighbours on both sides, and all such models
    median, largest : by column of `grids.COLUMNS`
    """

    name: str
    n: int
    of: int
    median: dict[str, float]
    largest: dict[str, float]


def measure(models: Structures) -> list[Row]:
    """Rows for carbon, alpha and, for scale, standard composition, each of cool and of other stars.

    `models` are MARCS models with `c_fe` and `composition_class` (the set `marcs`).

    Raises ValueError where they have none of these.
    """
    if not {"c_fe", "composition_class", "geometry"} <= models.extra.keys():
        raise ValueError(f"{models.source} has no c_fe, composition_class and geometry: needed are MARCS models")
    apogee = models.extra["composition_class"] == "x3"
    carbon, alpha = np.abs(models.extra["c_fe"]) > _OWN, np.abs(models.labels["alpha_m"]) > _OWN
    standard = apogee & ~carbon & ~alpha
    ln = np.log(models.profiles)
    cool = models.labels["teff"] < _COOL
    rows = []
    for temperature, part in (("below 4000 K", cool), ("from 4000 K", ~cool)):
        for name, of in (("carbon", carbon), ("alpha alone", alpha & ~carbon), ("standard", standard)):
            chosen = np.flatnonzero(apogee & of & part)
            off = np.array(list(_off(models, ln, standard, chosen))).reshape(-1, len(COLUMNS))
            n = len(off)
            off = off if len(off) else np.full((1, len(COLUMNS)), np.nan)
            figures = [dict(zip(COLUMNS, of_depth(off, axis=0), strict=True)) for of_depth in (np.median, np.max)]
            rows.append(Row(f"{name}, {temperature}", n, len(chosen), *figures))
    return rows


def _off(models: Structures, ln: Array, standard: NDArray[np.bool_], chosen: NDArray[np.int_]) -> Iterator[Array]:
    """Of each chosen model that lies between two standard ones, 100 times the rms over depth of ln (model / mean)."""
    names = ("teff", "logg", "m_h")

    def node(k: Any, name: str = "", step: float = 0.0) -> tuple[object, ...]:
        values = (round(float(models.labels[n][k]) + (step if n == name else 0.0), 3) for n in names)
        return (models.extra["geometry"][k], float(models.labels["vturb"][k]), *values)

    nodes = {node(k): k for k in np.flatnonzero(standard)}
    for k in chosen:
        for name, step in _STEPS:
            below, above = nodes.get(node(k, name, -step)), nodes.get(node(k, name, step))
            if below is not None and above is not None:
                square = (ln[k] - 0.5 * (ln[below] + ln[above])) ** 2
                known = np.isfinite(square).sum(axis=0)  # of some models no layer has an acceleration
                yield 100.0 * np.sqrt(np.nansum(square, axis=0) / np.where(known > 0, known, np.nan))
                break


def format_rows(rows: list[Row]) -> str:
    """A table of median / largest by column."""
    head = f"{'composition':<28}{'models':>10}" + "".join(f"{c:>16}" for c in _SHOWN)
    lines = [head]
    for row in rows:
        cells = "".join(f"{row.median[c]:>8.2f} /{row.largest[c]:>6.1f}" for c in _SHOWN)
        lines.append(f"{row.name:<28}{f'{row.n} of {row.of}':>10}{cells}")
    return "\n".join(lines)

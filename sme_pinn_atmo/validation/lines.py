"""Equivalent widths of clean iron lines, and whether one atmosphere gives them better than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

__all__ = ["HALF_WIDTH", "bootstrap", "choose_lines", "equivalent_width", "verdict"]

Array = NDArray[np.float64]

#: Half width [A] of the integration, the same for all lines and spectra.
HALF_WIDTH = 0.20

#: Central depths (of the line list, in the Sun) of the lines chosen: equivalent widths of about 10 to 100 mA.
_DEPTH = (0.10, 0.63)

#: How much neighbours may add, as a fraction of the line: the line is at least 80 % of the absorption in its limits.
_BLEND = 0.25

#: Sigma [A] over which a neighbour outside the limits fades.
_FADE = 0.09


def choose_lines(
    lines: Any, windows: Sequence[tuple[float, float]], masks: Sequence[tuple[float, float]], n: int = 50
) -> list[dict[str, Any]]:
    """The cleanest Fe I and Fe II lines of a list, at most n: species, centre in air [A], depth and blend.

    Of lines inside the windows, 0.5 A from their ends and with no mask within 0.2 A, those are candidates that have a
    central depth of 0.10 to 0.63 and a van der Waals width of Anstee, Barklem and O'Mara: VALD has these for
    transitions between known levels, and the predicted lines, whose strengths may be off by factors, are without.
    Of them those are taken whose neighbours add least, each by its depth, full within 0.2 A of the line and fading
    as a Gaussian of 0.09 A beyond; at most 25 % of the line. No spectrum plays a part but through the masks. Fe II
    lines come first, being few.
    """
    centre = np.asarray(lines["wlcent"], dtype=float)
    depth = np.asarray(lines["depth"], dtype=float)
    species = np.asarray(lines["species"], dtype=str)
    # PySME reads ABO parameters as sigma.alpha > 0, other widths as log10 < 0. A list that has all as log10, as that of
    # GRASS, has those of this theory to three decimals and Kurucz's to two.
    width = 100 * np.asarray(lines["gamvw"], dtype=float)
    iron = np.isin(species, ("Fe 1", "Fe 2"))
    known = width > 0 if (width > 0)[iron].any() else np.abs(width - np.round(width)) > 1e-6
    iron = iron & known & (depth > _DEPTH[0]) & (depth < _DEPTH[1])
    found = []
    for i in np.flatnonzero(iron):
        at = centre[i]
        if not any(low + 0.5 < at < high - 0.5 for low, high in windows):
            continue
        if any(low - HALF_WIDTH < at < high + HALF_WIDTH for low, high in masks):
            continue
        near = np.flatnonzero(np.abs(centre - at) < HALF_WIDTH + 4 * _FADE)
        near = near[near != i]
        outside = np.maximum(np.abs(centre[near] - at) - HALF_WIDTH, 0.0)
        blend = float((depth[near] * np.exp(-0.5 * (outside / _FADE) ** 2)).sum() / depth[i])
        if blend <= _BLEND:
            found.append({"species": str(species[i]), "wave": float(at), "depth": float(depth[i]), "blend": blend})
    found.sort(key=lambda f: (f["species"] != "Fe 2", f["blend"]))
    return sorted(found[:n], key=lambda f: f["wave"])


def equivalent_width(wave: Array, flux: Array, centre: float) -> float:
    """Equivalent width [mA] of a normalised spectrum between `centre` - 0.2 A and `centre` + 0.2 A."""
    grid = np.linspace(centre - HALF_WIDTH, centre + HALF_WIDTH, 81)
    return float(1e3 * trapezoid(1.0 - np.interp(grid, wave, flux), grid))


def bootstrap(
    observed: Array, one: Array, other: Array, *, resamples: int = 10_000, seed: int = 1
) -> dict[str, dict[str, Any]]:
    """Is `one` closer to the observed equivalent widths (n,) than `other`?

    Two statistics over lines, in per cent, negative where `one` is closer: "as computed", the mean of
    |ln W/W_observed| of `one` less that of `other`; "mean removed", the same after the mean of ln W/W_observed is taken
    out of each, which an error of the iron abundance or of the continuum does not move. Each with its 95 per cent
    interval from lines drawn with replacement.
    """
    ratio = np.log(np.stack([one, other]) / observed)
    draws = np.random.default_rng(seed).integers(len(observed), size=(resamples, len(observed)))
    out = {}
    for name, centred in (("as computed", False), ("mean removed", True)):

        def statistic(r: Array, centred: bool = centred) -> Array:
            offset = r.mean(axis=-1, keepdims=True) if centred else 0.0
            one_off, other_off = np.abs(r - offset).mean(axis=-1)
            return np.asarray(100 * (one_off - other_off))

        low, high = np.percentile(statistic(ratio[:, draws]), [2.5, 97.5])
        out[name] = {"difference": float(statistic(ratio)), "low": float(low), "high": float(high)}
    return out


def verdict(intervals: Mapping[str, Mapping[str, float]], resolution: float = 0.0) -> str:
    """"better" or "worse" where every interval lies wholly beyond `resolution` [%] on one side of zero."""
    if all(i["high"] < -resolution for i in intervals.values()):
        return "better"
    if all(i["low"] > resolution for i in intervals.values()):
        return "worse"
    return "not distinguishable"

"""Equivalent widths of clean iron lines, and whether one atmosphere gives them better than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

__all__ = ["bootstrap", "choose_lines", "equivalent_width"]

Array = NDArray[np.float64]

#: Half width [A] of the integration, the same for all lines and spectra.
HALF_WIDTH = 0.20

#: Central depths (of the line list, in the Sun) of the lines chosen, and how much of it neighbours may add up to.
_DEPTH, _BLEND = (0.10, 0.80), 0.25


def choose_lines(
    lines: Any, windows: Sequence[tuple[float, float]], masks: Sequence[tuple[float, float]], n: int = 50
) -> list[dict[str, Any]]:
    """The n cleanest Fe I and Fe II lines of a list: species and centre in air [A].

    Of lines inside the windows, 0.5 A from their ends and from masks, with a central depth of 0.10 to 0.80, those are
    taken whose neighbours within 0.35 A, weighted by the overlap of Gaussians of 0.09 A, add the least; at most 25 %
    of the line. No spectrum, observed or synthetic, plays a part. Fe II lines come first, being few.

    Raises ValueError where fewer than n lines qualify.
    """
    centre = np.asarray(lines["wlcent"], dtype=float)
    depth = np.asarray(lines["depth"], dtype=float)
    species = np.asarray(lines["species"], dtype=str)
    found = []
    for i in np.flatnonzero(np.isin(species, ("Fe 1", "Fe 2")) & (depth > _DEPTH[0]) & (depth < _DEPTH[1])):
        at = centre[i]
        if not any(low + 0.5 < at < high - 0.5 for low, high in windows):
            continue
        if any(low - 0.5 < at < high + 0.5 for low, high in masks):
            continue
        near = np.flatnonzero(np.abs(centre - at) < HALF_WIDTH + 0.15)
        near = near[near != i]
        # Overlap of a neighbour with the integration: all of it inside, fading over its own width outside.
        outside = np.maximum(np.abs(centre[near] - at) - HALF_WIDTH, 0.0)
        blend = float((depth[near] * np.exp(-0.5 * (outside / 0.09) ** 2)).sum() / depth[i])
        if blend <= _BLEND:
            found.append({"species": str(species[i]), "wave": float(at), "depth": float(depth[i]), "blend": blend})
    found.sort(key=lambda f: (f["species"] != "Fe 2", f["blend"]))
    if len(found) < n:
        raise ValueError(f"only {len(found)} clean Fe lines in the windows; {n} are asked for")
    return sorted(found[:n], key=lambda f: f["wave"])


def equivalent_width(wave: Array, flux: Array, centre: float) -> float:
    """Equivalent width [mA] of a normalised spectrum between `centre` - 0.2 A and `centre` + 0.2 A."""
    grid = np.linspace(centre - HALF_WIDTH, centre + HALF_WIDTH, 81)
    return float(1e3 * trapezoid(1.0 - np.interp(grid, wave, flux), grid))


def bootstrap(
    observed: Array, one: Array, other: Array, *, resamples: int = 10_000, seed: int = 1
) -> Mapping[str, Any]:
    """Is `one` closer to the observed equivalent widths than `other`?

    The statistic is the difference of the mean |W / W_observed - 1| over lines, in per cent: negative where `one` is
    closer. Its 95 per cent interval comes from resampling lines. "better" and "worse" need an interval without zero.
    """
    off = 100 * (np.abs(one / observed - 1) - np.abs(other / observed - 1))
    rng = np.random.default_rng(seed)
    means = off[rng.integers(len(off), size=(resamples, len(off)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    verdict = "better" if high < 0 else "worse" if low > 0 else "not distinguishable"
    return {"difference": float(off.mean()), "low": float(low), "high": float(high), "verdict": verdict,
            "lines": len(off), "resamples": resamples, "seed": seed}  # fmt: skip

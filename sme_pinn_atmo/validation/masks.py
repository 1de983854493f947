"""Wavelengths that the comparison with the observed Sun leaves out: fixed here, the same for every model.

`python -m sme_pinn_atmo.validation.masks` prints the lists `WATER` and `LINE_LIST` as the rule of `propose` finds them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .spectrum import Atlas, Layers, fit_to_atlas, fitted, synthesise

__all__ = ["LINE_LIST", "MASK", "WATER", "inside", "propose"]

Array = NDArray[np.float64]

#: Bands and cores known beforehand [A]. The line list lacks MgH and C2; the cores of the strong lines form in the
#: chromosphere or out of LTE, so that only their wings are compared.
_KNOWN = {
    "telluric O2": (6276.0, 6320.0), "telluric O2 B": (6867.0, 6950.0), "MgH and C2": (5160.0, 5166.0),
    "Mg b core 5167": (5167.22, 5167.42), "Mg b core 5172": (5172.53, 5172.83), "Mg b core 5183": (5183.45, 5183.75),
    "Na D core 5889": (5889.70, 5890.20), "Na D core 5895": (5895.67, 5896.17), "H alpha core": (6561.80, 6563.80),
}  # fmt: skip

#: Ranges [A] in which weak telluric lines of water crowd.
_WATER_BANDS = ((5884.0, 5902.0), (6460.0, 6600.0))

#: How far [of the continuum] all computed models must miss the atlas in the same sense: anywhere; dips in water bands.
_DEFECT, _DIP = 0.10, 0.02

#: Added on both sides of what is found [A].
_PAD = 0.05

#: Dips of the atlas in the water bands that no computed model has.
WATER: tuple[tuple[float, float], ...] = ()

#: Lines that the list lacks, or has far too strong or too weak.
LINE_LIST: tuple[tuple[float, float], ...] = ()

#: All masks [A] by name.
MASK: dict[str, tuple[float, float]] = {
    **_KNOWN,
    **{f"telluric H2O {low:.2f}": (low, high) for low, high in WATER},
    **{f"line list {low:.2f}": (low, high) for low, high in LINE_LIST},
}


def inside(wave: Array, masks: Mapping[str, tuple[float, float]]) -> NDArray[np.bool_]:
    """Which wavelengths (n,) lie in one of the masks."""
    masked = np.zeros(len(wave), dtype=bool)
    for low, high in masks.values():
        masked |= (wave >= low) & (wave <= high)
    return masked


def propose(
    atlas: Atlas, spectra: Mapping[str, tuple[Array, Array]], window: tuple[float, float]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Dips in water bands, and defects of the line list, that a window needs masked [A].

    A pixel belongs to a defect where the atlas differs from every one of the `spectra` (name -> wavelengths, flux;
    computed models, none of them a network's) in the same sense by more than 0.10, and to a telluric line where it is
    in a water band and the atlas is lower than all by more than 0.02. Each spectrum is fitted three times, without
    the pixels that missed by 0.10 before. What is found is widened by 0.05 A on both sides.
    """
    wave, flux = atlas.window(*window, _KNOWN)
    off = []
    for grid, synthetic in spectra.values():
        good = np.ones(len(wave), dtype=bool)
        for _ in range(3):
            fit = fit_to_atlas(grid, synthetic, wave[good], flux[good])
            residual = flux - fitted(fit, grid, synthetic, wave)
            good = np.abs(residual) < _DEFECT
        off.append(residual)
    high, low = np.max(off, axis=0), np.min(off, axis=0)
    wet = inside(wave, {str(b): b for b in _WATER_BANDS}) & (high < -_DIP)
    defect = ((low > _DEFECT) | (high < -_DEFECT)) & ~wet
    return _runs(wave, wet), _runs(wave, defect)


def _runs(wave: Array, bad: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Ranges of bad pixels, those less than twice the padding apart as one."""
    at = wave[bad]
    if not len(at):
        return []
    groups = np.split(at, np.flatnonzero(np.diff(at) > 2 * _PAD) + 1)
    return [(round(float(g[0]) - _PAD, 2), round(float(g[-1]) + _PAD, 2)) for g in groups]


def _print_lists(cache: Path) -> None:
    """The lists of this file for the windows of `validate solar`, from the computed models alone."""
    from .solar import VMIC, WINDOWS, computed_suns, sources

    atlas, lines, paths = sources()
    stars: dict[str, Layers] = computed_suns(paths)
    found: dict[str, list[Any]] = {"WATER": [], "LINE_LIST": []}
    for window in WINDOWS:
        spectra = {n: synthesise(s, lines, window, vmic=VMIC, cache=cache) for n, s in stars.items()}
        for name, ranges in zip(found, propose(atlas, spectra, window), strict=True):
            found[name] += ranges
    for name, ranges in found.items():
        print(f"{name}: tuple[tuple[float, float], ...] = (\n{_wrap(sorted(ranges))})  # fmt: skip")


def _wrap(ranges: Sequence[tuple[float, float]], per_line: int = 5) -> str:
    text = [f"({low:.2f}, {high:.2f})," for low, high in ranges]
    return "".join(f"    {' '.join(text[i : i + per_line])}\n" for i in range(0, len(text), per_line))


if __name__ == "__main__":
    _print_lists(Path(sys.argv[1] if len(sys.argv) > 1 else "validation_report/cache"))

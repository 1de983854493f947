"""Wavelengths that the comparison with the observed Sun leaves out: fixed here, the same for every model.

`python -m sme_pinn_atmo.validation.mask_lists` prints the lists `WATER` and `LINE_LIST` as the rule of `propose` finds
them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .spectrum import Atlas, fit_to_atlas, fitted

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

#: Dips of the atlas in the water bands that no computed model has: telluric, with some solar lines that the list lacks.
WATER: tuple[tuple[float, float], ...] = (
    (5884.14, 5884.26), (5884.38, 5884.49), (5885.31, 5885.46), (5885.87, 5886.07), (5886.25, 5886.46),
    (5886.62, 5886.73), (5887.12, 5887.31), (5887.40, 5887.55), (5887.56, 5887.74), (5888.62, 5888.77),
    (5889.55, 5889.71), (5891.43, 5891.75), (5891.81, 5891.94), (5892.28, 5892.55), (5892.59, 5892.76),
    (5892.82, 5893.11), (5893.42, 5893.57), (5894.32, 5894.44), (5894.87, 5895.01), (5896.36, 5896.56),
    (5896.74, 5896.90), (5897.12, 5897.37), (5897.38, 5897.54), (5898.05, 5898.27), (5898.91, 5899.09),
    (5899.38, 5899.71), (5899.81, 5900.14), (5901.19, 5901.29), (5901.34, 5901.55), (6545.70, 6545.83),
    (6547.61, 6547.81), (6548.49, 6548.74), (6551.97, 6552.09), (6552.48, 6552.81), (6553.68, 6553.87),
    (6555.26, 6555.62), (6557.07, 6557.26), (6558.06, 6558.21), (6560.41, 6560.66), (6563.99, 6564.09),
    (6564.10, 6564.28), (6568.78, 6568.89), (6570.55, 6570.91), (6571.08, 6571.24), (6571.95, 6572.21),
    (6574.16, 6574.29), (6574.71, 6575.21), (6580.68, 6580.88), (6580.89, 6581.02),
)  # fmt: skip

#: Lines that the list lacks, or has far too strong or too weak.
LINE_LIST: tuple[tuple[float, float], ...] = (
    (5176.02, 5176.14), (5181.23, 5181.42), (5185.62, 5185.83), (5196.36, 5196.60), (5237.22, 5237.34),
    (5241.81, 5242.14), (5243.10, 5243.25), (5245.49, 5245.81), (5251.86, 5252.09), (5255.22, 5255.32),
    (5255.57, 5255.84), (5258.97, 5259.23), (5262.82, 5262.96), (5265.97, 5266.11), (5299.95, 5300.08),
    (5300.35, 5300.48), (5301.00, 5301.19), (5316.63, 5316.80), (5319.53, 5319.70), (5321.07, 5321.21),
    (5321.75, 5321.94), (5325.88, 5326.03), (5332.57, 5332.76), (5334.90, 5335.07), (5382.20, 5382.35),
    (5390.42, 5390.65), (5391.51, 5391.73), (5394.53, 5394.68), (5394.69, 5394.81), (5395.16, 5395.27),
    (5402.01, 5402.14), (5403.28, 5403.43), (5406.26, 5406.43), (5406.72, 5406.82), (5407.27, 5407.55),
    (5413.02, 5413.17), (5502.88, 5503.12), (5503.38, 5503.51), (5505.61, 5505.85), (5508.66, 5508.77),
    (5509.52, 5509.70), (5510.54, 5510.70), (5512.22, 5512.50), (5519.48, 5519.66), (5523.89, 5524.09),
    (5525.40, 5525.56), (5526.69, 5526.93), (5535.45, 5535.68), (5538.40, 5538.63), (5599.95, 5600.18),
    (5601.08, 5601.23), (5601.40, 5601.68), (5617.07, 5617.18), (5623.19, 5623.39), (5623.97, 5624.09),
    (5625.57, 5625.79), (5637.28, 5637.53), (5638.77, 5638.87), (5700.14, 5700.33), (5702.37, 5702.51),
    (5706.02, 5706.21), (5714.06, 5714.24), (5720.89, 5721.17), (6089.46, 6089.69), (6107.21, 6107.45),
    (6116.20, 6116.35), (6152.23, 6152.36), (6164.48, 6164.62), (6207.16, 6207.36), (6208.13, 6208.31),
    (6214.50, 6214.70), (6214.99, 6215.09), (6215.32, 6215.56), (6233.55, 6233.74), (6405.54, 6405.76),
    (6417.75, 6417.86), (6423.65, 6423.81), (6547.50, 6547.66), (6665.38, 6665.49), (6671.00, 6671.11),
    (6708.19, 6708.38), (6711.70, 6711.94), (6712.46, 6712.56), (6712.59, 6712.76), (6712.95, 6713.15),
    (6717.46, 6717.60), (6721.75, 6721.91), (6730.17, 6730.43),
)  # fmt: skip

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

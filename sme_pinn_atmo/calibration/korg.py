"""Jobs of a calibration through Korg: one dual number a colour of lines, so that derivatives by log gf are exact.

In: a star, lines (a PySME list), windows in air [A]. Out: `Intensities` as PySME's syntheses give them, so that
instrument, rotation and the cutting of derivatives are the same for both codes. Korg gives fluxes: the disk is darkened
linearly. Which lines count, and how deep they are, PySME's opacities say for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants
from scipy.interpolate import CubicSpline

from ..codes import korg
from ..codes.pysme import star_labels
from ..composition import SOLAR_SCALES
from ..stars.instrument import even_velocity, limb_darkened
from ..stars.spectrum import to_air
from ..stars.synthesis import Intensities, atmosphere_source, solar_pattern, star_structure

if TYPE_CHECKING:
    from .syntheses import StarModel

__all__ = ["intensities"]

Array = NDArray[np.float64]

_C = constants.c / 1e3  # km/s

#: The synthesis goes so far beyond a window [km/s]; the same for all labels, whose wavelengths must be the same.
_BEYOND = 60.0

#: Of elements that the model's solar scale does not have.
_KORG_SCALE = "asplund2009"

#: Elements that Korg knows, up to uranium.
_KORG_ELEMENTS = 92


def intensities(
    star: StarModel, lines: Any, window: tuple[float, float], groups: Sequence[NDArray[np.int64]] = ()
) -> tuple[Intensities, list[Intensities]]:
    """A window of a star, and for each group of lines (by number) what it becomes per dex of their log gf, linearly.

    Raises what `korg.line_jacobian` raises.
    """
    from pysme.util import air2vac

    of = np.full(len(lines), -1)
    for k, members in enumerate(groups):
        of[members] = k
    low, high = window[0] * (1 - _BEYOND / _C), window[1] * (1 + _BEYOND / _C)
    ends = (float(v) for v in air2vac(np.array([low - 0.1, high + 0.1])))
    spacing = float(f"{0.5 * (low + high) * star.step / _C:.4f}") or 1e-3
    given = _given(star, lines)
    spectrum, derivative = korg.line_jacobian(lines=lines, groups=of, wavelengths=(*ends, spacing), **given)
    air, columns = to_air(spectrum.wavelengths), np.column_stack([spectrum.flux, spectrum.continuum, derivative])
    wave = even_velocity(np.array([low, high]), star.step)
    mu, law = limb_darkened()
    flux, continuum, *change = CubicSpline(air, columns)(wave).T
    base = Intensities(wave, star.step, mu, law * flux, law * continuum, np.ones_like(wave))
    # A group without members, the last ones, has no column.
    change += [np.zeros_like(wave)] * (len(groups) - len(change))
    return base, [replace(base, line=base.line + law * c) for c in change]


def _given(star: StarModel, lines: Any) -> dict[str, Any]:
    """Labels and abundances of a star as Korg takes them: of all elements, on the model's solar scale."""
    from pysme.abund import elements

    source = atmosphere_source(star.model, star.geometry, star.mass)
    sme = star_structure(source, lines[:1], star.stellar, pattern=star.pattern)
    scale = solar_pattern(_KORG_SCALE) | SOLAR_SCALES[source.emulator.card["solar_scale"]]
    solar = sme.abund.get_pattern("H=12")
    metals = {el: float(solar[el]) + sme.monh for el in elements[2:_KORG_ELEMENTS] if np.isfinite(solar[el])}
    labels = {n: v for n, v in star_labels(sme, source).items() if n in source.emulator.domain.labels}
    return {"model": star.model, "geometry": star.geometry, "vmic": float(np.mean(sme.vmic)), **labels,
            "abundances": {el: v - scale[el] for el, v in metals.items()}}

"""Continuous opacity at 5000 A and the optical depth there, which departure grids are tabulated against.

In: profiles in cgs and K. Out: opacity [cm2 g-1], optical depth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.constants import c, h, k
from scipy.interpolate import CubicSpline

from ..composition import SOLAR_SCALES, mean_atomic_mass
from ..structure import ModelAtmosphere

__all__ = ["opacity_5000", "tables", "tau_5000"]

Array = NDArray[np.float64]

_WAVE = 0.5  # micron
_HNU_K = h * c / (_WAVE * 1e-6) / k  # K, photon energy over Boltzmann's constant
_NU = c / (_WAVE * 1e-6)  # Hz
_RYDBERG_K = 157_803.0  # K, ionisation energy of hydrogen over Boltzmann's constant
_BOLTZMANN = k * 1e7  # erg K-1

#: H- bound-free and free-free: John 1988, A&A 193, 189, Tables 2 and 3 (wavelengths above 0.3645 micron).
_BOUND_FREE = (152.519, 49.534, -118.858, 92.536, -34.194, 4.982)
_FREE_FREE = np.array([
    [2483.346, 285.827, -2054.291, 2827.776, -1341.537, 208.952],
    [-3449.889, -1158.382, 8746.523, -11485.632, 5303.609, -812.939],
    [2200.040, 2427.719, -13651.105, 16755.524, -7510.494, 1132.738],
    [-696.271, -1841.400, 8624.970, -10051.530, 4400.067, -655.020],
    [88.283, 444.517, -1863.864, 2095.288, -901.788, 132.985],
])  # fmt: skip


def _negative_hydrogen(temperature: Array) -> Array:
    """H- per neutral H atom and unit electron pressure, stimulated emission included [cm4 dyn-1]."""
    x = 1.0 / _WAVE - 1.0 / 1.6419
    sigma = 1e-18 * _WAVE**3 * x**1.5 * sum(a * x ** (n / 2) for n, a in enumerate(_BOUND_FREE))
    bound = 0.750 * temperature**-2.5 * np.exp(1.439e4 / 1.6419 / temperature) * sigma
    bound = bound * (1.0 - np.exp(-_HNU_K / temperature))
    powers = np.array([_WAVE**2, 1.0, 1 / _WAVE, _WAVE**-2, _WAVE**-3, _WAVE**-4])
    theta = 5040.0 / temperature
    free = sum(theta ** ((n + 1) / 2) * a for n, a in enumerate(_FREE_FREE @ powers, start=2))
    return np.asarray(bound + 1e-29 * free)


def opacity_5000(
    temperature: Array, electron_density: Array, atom_density: Array, atomic_mass: float, hydrogen: float
) -> Array:
    """Continuous opacity per gram at 5000 A [cm2 g-1].

    H- (John 1988), neutral hydrogen bound-free and free-free (Kramers, Gaunt factor 1; Gray 2005, The Observation
    and Analysis of Stellar Photospheres, Ch. 8), Rayleigh scattering by H (Dalgarno 1962) and electrons. Metals,
    helium and molecules are left out: it serves stars of 4000 to 12000 K.

    Parameters
    ----------
    temperature [K], electron_density [cm-3], atom_density [cm-3] : (n_depth,)
    atomic_mass : mean mass of an atom [g]
    hydrogen : fraction of hydrogen among the atoms, by number
    """
    t, n_e = temperature, electron_density
    n_h = hydrogen * atom_density
    saha = 2.4146e15 * t**1.5 / n_e * np.exp(-_RYDBERG_K / t)  # n(H+) / n(H I), partition functions 1 and 2
    neutral, ions = n_h / (1.0 + saha), n_h * saha / (1.0 + saha)
    stimulated = 1.0 - np.exp(-_HNU_K / t)
    n = np.arange(3, 12)[:, None]  # levels that 5000 A ionises
    bound = (2.815e29 / n**5 / _NU**3 * n**2 * np.exp(-_RYDBERG_K * (1 - 1 / n**2) / t)).sum(axis=0) * stimulated
    free = 3.692e8 / np.sqrt(t) / _NU**3 * n_e * ions * stimulated
    angstrom = _WAVE * 1e4
    rayleigh = 5.799e-13 / angstrom**4 + 1.422e-6 / angstrom**6 + 2.784 / angstrom**8
    alpha = neutral * (_negative_hydrogen(t) * n_e * _BOLTZMANN * t + bound + rayleigh) + free + 6.652e-25 * n_e
    return np.asarray(alpha / (atom_density * atomic_mass))


def tau_5000(atmosphere: ModelAtmosphere) -> Array:
    """Continuum optical depth at 5000 A of one star, (n_depth,), by integration of `opacity_5000` over the mass."""
    if atmosphere.shape:
        raise ValueError(f"tau_5000 takes one star, not a batch of shape {atmosphere.shape}")
    m_h, alpha_m = (float(atmosphere.labels.get(name, 0.0)) for name in ("m_h", "alpha_m"))
    scale = SOLAR_SCALES[atmosphere.solar_scale]
    metals = sum(10.0 ** (eps - 12 + m_h) for el, eps in scale.items() if el not in ("H", "He"))
    kappa = opacity_5000(
        atmosphere.temperature, atmosphere.electron_density, atmosphere.atom_density,
        float(mean_atomic_mass(m_h, alpha_m, atmosphere.solar_scale)),
        1.0 / (1.0 + 10.0 ** (scale["He"] - 12) + metals),
    )  # fmt: skip
    top = kappa[0] * atmosphere.rhox[0]
    return np.asarray(top + CubicSpline(np.log(atmosphere.rhox), kappa * atmosphere.rhox).antiderivative()(
        np.log(atmosphere.rhox)))  # fmt: skip


def tables() -> dict[str, object]:
    """Constants and coefficients of `opacity_5000`, for the page that computes the same in JavaScript."""
    return {"wave": _WAVE, "hnu_k": _HNU_K, "nu": _NU, "rydberg_k": _RYDBERG_K, "bound_free": _BOUND_FREE,
            "free_free": _FREE_FREE.tolist()}  # fmt: skip

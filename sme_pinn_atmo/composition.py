"""Chemical composition: solar scales, the alpha elements, and the mean atomic mass of a mixture.

In: m_h and alpha_m [dex], the name of a scale. Out: abundances (log10, H = 12), masses [u].
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .physics import ATOMIC_MASS

__all__ = ["ALPHA_ELEMENTS", "ATOMIC_NUMBER", "SOLAR_SCALES", "CompositionWarning", "atomic_weight",
           "mean_atomic_mass", "misfit", "warn_of_misfit"]  # fmt: skip

#: Elements that alpha_m moves (Castelli & Kurucz 2003, IAU Symp. 210, A20; the same in the C3K models).
ALPHA_ELEMENTS = ("O", "Ne", "Mg", "Si", "S", "Ar", "Ca", "Ti")

ATOMIC_NUMBER = {
    "H": 1, "He": 2, "C": 6, "N": 7, "O": 8, "Ne": 10, "Na": 11, "Mg": 12, "Al": 13, "Si": 14, "S": 16, "Ar": 18,
    "Ca": 20, "Ti": 22, "Cr": 24, "Mn": 25, "Fe": 26, "Ni": 28,
}  # fmt: skip

#: Standard atomic weights [u] (IUPAC 2021, abridged) of the elements that carry the mass.
_WEIGHTS = {
    "H": 1.008, "He": 4.0026, "C": 12.011, "N": 14.007, "O": 15.999, "Ne": 20.180, "Na": 22.990, "Mg": 24.305,
    "Al": 26.982, "Si": 28.085, "S": 32.06, "Ar": 39.95, "Ca": 40.078, "Ti": 47.867, "Cr": 51.996,
    "Mn": 54.938, "Fe": 55.845, "Ni": 58.693,
}  # fmt: skip

#: log10 number relative to hydrogen at 12. asplund2009: Asplund et al. 2009, ARA&A 47, 481, Table 1
#: (photosphere; He, Ne, Ar indirect). grevesse1998: Grevesse & Sauval 1998, SSRv 85, 161, Table 1.
#: grevesse2007: Grevesse, Asplund & Sauval 2007, SSRv 130, 105, Table 1, the scale of MARCS.
#: anders1989: Anders & Grevesse 1989, GeCoA 53, 197, Table 2 (photosphere), as in the Kurucz (1993) models.
SOLAR_SCALES = {
    "asplund2009": {
        "H": 12.0, "He": 10.93, "C": 8.43, "N": 7.83, "O": 8.69, "Ne": 7.93, "Na": 6.24, "Mg": 7.60, "Al": 6.45,
        "Si": 7.51, "S": 7.12, "Ar": 6.40, "Ca": 6.34, "Ti": 4.95, "Cr": 5.64, "Mn": 5.43, "Fe": 7.50, "Ni": 6.22,
    },
    "grevesse1998": {
        "H": 12.0, "He": 10.93, "C": 8.52, "N": 7.92, "O": 8.83, "Ne": 8.08, "Na": 6.33, "Mg": 7.58, "Al": 6.47,
        "Si": 7.55, "S": 7.33, "Ar": 6.40, "Ca": 6.36, "Ti": 5.02, "Cr": 5.67, "Mn": 5.39, "Fe": 7.50, "Ni": 6.25,
    },
    "grevesse2007": {
        "H": 12.0, "He": 10.93, "C": 8.39, "N": 7.78, "O": 8.66, "Ne": 7.84, "Na": 6.17, "Mg": 7.53, "Al": 6.37,
        "Si": 7.51, "S": 7.14, "Ar": 6.18, "Ca": 6.31, "Ti": 4.90, "Cr": 5.64, "Mn": 5.39, "Fe": 7.45, "Ni": 6.23,
    },
    "anders1989": {
        "H": 12.0, "He": 10.99, "C": 8.56, "N": 8.05, "O": 8.93, "Ne": 8.09, "Na": 6.33, "Mg": 7.58, "Al": 6.47,
        "Si": 7.55, "S": 7.21, "Ar": 6.56, "Ca": 6.36, "Ti": 4.99, "Cr": 5.67, "Mn": 5.39, "Fe": 7.67, "Ni": 6.25,
    },
}  # fmt: skip


def atomic_weight(element: str) -> float:
    """Standard atomic weight [u] of an element of `SOLAR_SCALES`."""
    return _WEIGHTS[element]


def mean_atomic_mass(m_h: Any, alpha_m: Any = 0.0, solar_scale: str = "asplund2009") -> NDArray[np.float64]:
    """Mean mass of an atom [g] of the mixture, electrons not counted; shape of m_h and alpha_m [dex] broadcast.

    Raises ValueError for a solar scale that is not in `SOLAR_SCALES`.
    """
    if solar_scale not in SOLAR_SCALES:
        raise ValueError(f"unknown solar scale {solar_scale!r}; known: {', '.join(SOLAR_SCALES)}")
    m_h, alpha_m = np.broadcast_arrays(np.asarray(m_h, dtype=float), np.asarray(alpha_m, dtype=float))
    number = np.zeros(m_h.shape)
    mass = np.zeros(m_h.shape)
    for element, eps in SOLAR_SCALES[solar_scale].items():
        shift = 0.0 if element in ("H", "He") else m_h + (alpha_m if element in ALPHA_ELEMENTS else 0.0)
        n = 10.0 ** (eps - 12.0 + shift)
        number = number + n
        mass = mass + n * _WEIGHTS[element]
    return np.asarray(mass / number * ATOMIC_MASS)


# ---------------------------------------------------------------------- a star of another mixture than its model


class CompositionWarning(UserWarning):
    """The abundances of a synthesis leave the mixture that the model atmosphere was computed with."""


#: Elements whose abundance a structure feels, through molecules, electrons or the mean weight, and from how many dex on
#: it is said. Solar scales differ by less (0.17 dex in iron since 1989, else 0.14; helium 0.06).
_FELT = {"He": 0.1} | dict.fromkeys(("C", "N", "O", "Na", "Mg", "Al", "Si", "Ca", "Ti", "Fe"), 0.2)

#: What the figures are: `sme-pinn-atmo validate composition`.
_MAY_DO = (
    "The structure does not follow. In computed MARCS models below 4000 K, carbon off by 0.25 to 0.5 dex moves "
    "temperature by 1 % and pressure by 20 %, and by 4 % and ten times where C/O comes near 1; above 4000 K by less "
    "than can be told, 0.2 and 2 %"
)

_said: set[tuple[str, tuple[str, ...]]] = set()


def misfit(
    abundances: Mapping[str, float], m_h: float, alpha_m: float, solar_scale: str = "asplund2009"
) -> dict[str, float]:
    """Elements of which a star has more or less than the mixture at m_h and alpha_m, and by how many dex.

    Parameters
    ----------
    abundances : symbol -> log10 number, H = 12; elements that are left out fit

    Only elements that a structure feels are named, from 0.2 dex on, helium from 0.1 dex on.
    """
    out = {}
    for element, least in _FELT.items():
        if element in abundances:
            metals = 0.0 if element == "He" else m_h + (alpha_m if element in ALPHA_ELEMENTS else 0.0)
            off = float(abundances[element]) - SOLAR_SCALES[solar_scale][element] - metals
            if abs(off) >= least - 1e-9:
                out[element] = off
    return out


def warn_of_misfit(model: str, off: Mapping[str, float]) -> None:
    """Warn (`CompositionWarning`), once for a model and a set of elements, of what `misfit` gives."""
    key = (model, tuple(sorted(off)))
    if not off or key in _said:
        return
    _said.add(key)
    named = ", ".join(f"{element} by {value:+.2f}" for element, value in off.items())
    warnings.warn(
        f"the abundances leave the mixture that {model} was computed with: {named} dex. {_MAY_DO}. "
        "Docs: 'Composition that does not fit'",
        CompositionWarning, stacklevel=3,
    )  # fmt: skip

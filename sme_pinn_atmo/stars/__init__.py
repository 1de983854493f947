"""Observed stars: spectra, windows, instruments, and fits of a star's parameters in PySME.

In: an observed spectrum (wavelengths [A], flux, errors), windows, a line list, starts and priors (Teff [K], log g
[dex, cgs], [M/H] and [X/Fe] [dex], velocities [km/s]). Out: `StarFit`, parameters with errors by part, tables and a
page. The door is what `__all__` names; modules are read when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .corrections import Corrections
    from .fit import Options, StarFit, fit_star
    from .lines import read_lines
    from .many import fit_many
    from .parameters import Parameters
    from .settings import Settings
    from .spectrum import ObservedSpectrum, read_spectrum
    from .windows import Windows

__all__ = ["Corrections", "ObservedSpectrum", "Options", "Parameters", "Settings", "StarFit", "Windows", "fit_many",
           "fit_star", "read_lines", "read_spectrum"]  # fmt: skip

_WHERE = {
    "Corrections": "corrections", "ObservedSpectrum": "spectrum", "Options": "fit", "Parameters": "parameters",
    "Settings": "settings", "StarFit": "fit", "Windows": "windows", "fit_many": "many", "fit_star": "fit",
    "read_lines": "lines", "read_spectrum": "spectrum",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

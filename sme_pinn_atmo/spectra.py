"""Spectra and fits in PySME on the PINN, for those who would rather not script PySME: what the commands
`synthesize` and `fit` do.

In: wavelengths in air [A], a line list, labels in PySME's names. Out: continuum-normalised flux; parameters with
errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .composition import ALPHA_ELEMENTS
from .files import replacing
from .quiet import quiet_pysme
from .stars.lines import read_vald as read_lines
from .stars.spectrum import ObservedSpectrum

__all__ = ["FREE", "FitResult", "fit", "quiet_pysme", "read_lines", "read_spectrum", "star", "synthesize"]

Array = NDArray[np.float64]

#: Parameters that a fit may vary, by their names in PySME.
FREE = ("teff", "logg", "monh", "vmic", "vmac", "vsini")

#: Lines so far outside the wavelengths asked for [A] are kept; PySME takes long over lines that do nothing.
_MARGIN = 8.0

#: How near the solver comes to a limit that it runs into; PySME's solver stays inside by a hair.
_NEAR = {"teff": 5.0, "logg": 0.01, "monh": 0.01, "vmic": 0.02, "vmac": 0.1, "vsini": 0.1}


@dataclass(frozen=True)
class FitResult:
    """Parameters that a fit found.

    Attributes
    ----------
    values, errors : by parameter; errors are formal, from the covariance of the fit, NaN where one is not known
    vrad : radial velocity [km/s], fitted beside the parameters
    reduced_chi2 : chi square over degrees of freedom, with the errors of the spectrum
    evaluations : synthetic spectra that PySME made
    wave, observed, fitted : wavelengths in air [A] and the two spectra
    stopped : by parameter that ended at a limit, which limit
    cleaned : what was left out of the spectrum, averaged or sorted, in one line; or empty
    """

    values: dict[str, float]
    errors: dict[str, float]
    vrad: float
    reduced_chi2: float
    evaluations: int
    wave: Array
    observed: Array
    fitted: Array
    stopped: Mapping[str, str] = field(default_factory=dict)
    cleaned: str = ""


def star(
    model: str, wave: Array, lines: Any, *, teff: float, logg: float, monh: float = 0.0, alpha: float = 0.0,
    vmic: float = 1.0, vmac: float = 0.0, vsini: float = 0.0, resolution: float = 0.0,
    pattern: str = "asplund2009",
) -> Any:  # fmt: skip
    """An `SME_Structure` of a star on the PINN, ready to synthesise.

    Parameters
    ----------
    wave : (n,) wavelengths in air [A]
    lines : a PySME `LineList`; cut to the wavelengths and 8 A around them
    teff [K], logg [dex, cgs], monh, alpha [dex], vmic, vmac, vsini [km/s]
    resolution : R of a Gaussian instrument; 0 for none
    pattern : PySME's solar abundances; alpha is added to O, Ne, Mg, Si, S, Ar, Ca, Ti
    """
    from pysme.abund import Abund
    from pysme.sme import SME_Structure

    from .codes.pysme import PinnAtmosphereGrid

    sme = SME_Structure()
    sme.teff, sme.logg, sme.monh = teff, logg, monh
    sme.vmic, sme.vmac, sme.vsini, sme.ipres = vmic, vmac, vsini, resolution
    if resolution > 0:
        sme.iptype = "gauss"  # without a type PySME applies no instrument, whatever ipres is
    sme.abund = Abund(monh=monh, pattern=pattern)
    # The pattern is free of monh, which PySME adds; sme.abund[element] is not.
    solar = sme.abund.get_pattern()
    sme.abund.update_pattern({element: solar[element] + alpha for element in ALPHA_ELEMENTS})
    centre = np.asarray(lines["wlcent"], dtype=float)
    near = (centre > wave[0] - _MARGIN) & (centre < wave[-1] + _MARGIN)
    if not near.any():
        raise ValueError(f"the line list has no line between {wave[0]:g} and {wave[-1]:g} A")
    sme.linelist = lines[near]
    sme.wave = wave
    sme.vrad_flag = sme.cscale_flag = "none"
    sme.atmo.source, sme.atmo.method = PinnAtmosphereGrid(model), "grid"
    return sme


def synthesize(model: str, wave: Array, lines: Any, **parameters: Any) -> Array:
    """Continuum-normalised flux at wavelengths in air [A]; `parameters` as `star` takes them.

    Raises DomainError where the star lies outside the model's domain.
    """
    with quiet_pysme():
        from pysme.synthesize import synthesize_spectrum

        return np.asarray(synthesize_spectrum(star(model, wave, lines, **parameters)).synth[0], dtype=float)


def fit(
    model: str, wave: Array, flux: Array, error: Array, lines: Any, free: Sequence[str], *,
    radial_velocity: bool = False, **start: Any,
) -> FitResult:  # fmt: skip
    """Fit an observed, continuum-normalised spectrum with PySME's solver.

    Parameters
    ----------
    wave, flux, error : (n,) wavelengths in air [A], flux and its standard deviation; cleaned first, as
        `stars.spectrum.clean` does
    free : parameters out of `FREE`
    radial_velocity : also fit a velocity to the whole spectrum
    start : where the fit starts, and the values of what is not free, as `star` takes them

    A parameter that ends at a limit is named in `stopped`, and its error is NaN.

    Raises
    ------
    ValueError : an unknown parameter, a spectrum without good points, too few points
    DomainError : the fit starts outside the model's domain
    """
    unknown = [name for name in free if name not in FREE]
    if unknown or not free:
        raise ValueError(f"cannot fit {', '.join(unknown) or 'nothing'}; free parameters: {', '.join(FREE)}")
    spectrum = ObservedSpectrum.from_arrays(wave, flux, error)
    wave, flux, error = spectrum.wave, spectrum.flux, spectrum.sigma
    if len(wave) <= len(free):
        raise ValueError(f"{len(wave)} good points cannot give {len(free)} parameters")
    with quiet_pysme():
        from pysme.solve import solve

        sme = star(model, wave, lines, **start)
        sme.spec, sme.uncs = flux, error
        if radial_velocity:
            sme.vrad_flag = "whole"
        sme = solve(sme, list(free))
    names = list(sme.fitresults.parameters)
    values = {n: float(getattr(sme, n)) for n in free}
    stopped = _stopped(sme, values)
    variance = {n: float(np.asarray(sme.fitresults.covariance)[names.index(n), names.index(n)]) for n in free}
    errors = {n: float("nan") if n in stopped or not v > 0 else v**0.5 for n, v in variance.items()}
    fitted = np.asarray(sme.synth[0], dtype=float)
    return FitResult(
        values, errors, float(np.mean(sme.vrad)) if radial_velocity else 0.0,
        float((((flux - fitted) / error) ** 2).sum() / (len(wave) - len(free))),
        int(sme.fitresults.iterations), wave, flux, fitted, stopped, spectrum.cleaned,
    )  # fmt: skip


def _stopped(sme: Any, values: Mapping[str, float]) -> dict[str, str]:
    """Which of the fitted values lie at a limit of the model's domain or of the parameter, and at which."""
    grid = sme.atmo.source
    stopped = {}
    for name, value in values.items():
        low, high = grid.bounds(name) or (0.0, float("inf"))
        if name == "logg":
            low, high = (float(v) for v in grid.emulator.domain.logg_range(float(sme.teff)))
        for kind, limit in (("lower", low), ("upper", high)):
            if abs(value - limit) <= _NEAR[name]:
                stopped[name] = f"{kind} limit {limit:.4g}"
    return stopped


def read_spectrum(path: str | Path, error: float | None = None) -> tuple[Array, Array, Array]:
    """Wavelengths in air [A], flux and its standard deviation, cleaned; see `stars.spectrum.read_spectrum`.

    `error` stands in for a missing column. Raises ValueError for a table with fewer columns, or without errors.
    """
    from .stars.spectrum import read_spectrum as read

    spectrum = read(path, error=error)
    return spectrum.wave, spectrum.flux, spectrum.sigma


def plot(path: Path, wave: Array, spectra: Mapping[str, Array], title: str) -> None:
    """Draw spectra, and the difference of the first two if there are two; PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    names = list(spectra)
    axes = figure.subplots(len(names), 1, sharex=True, height_ratios=(3, 1)[: len(names)], squeeze=False)[:, 0]
    for name, color in zip(names, ("0.55", "C3"), strict=False):
        axes[0].plot(wave, spectra[name], color=color if len(names) > 1 else "C3", lw=0.9, label=name)
    axes[0].set(ylabel="normalised flux", title=title, xlim=(wave[0], wave[-1]))
    axes[0].legend(loc="lower right")
    if len(names) > 1:
        axes[1].plot(wave, 100 * (spectra[names[0]] - spectra[names[1]]), color="0.4", lw=0.6)
        axes[1].set_ylabel("residual [%]")
    axes[-1].set_xlabel("wavelength in air [Å]")
    with replacing(path) as (part,):
        figure.savefig(part, dpi=130, format="png")

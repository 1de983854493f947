"""Spectra and fits in PySME on the PINN, for those who would rather not script PySME: what the commands
`synthesize` and `fit` do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .composition import ALPHA_ELEMENTS
from .emulator import replacing

__all__ = ["FREE", "FitResult", "fit", "quiet_pysme", "read_lines", "read_spectrum", "star", "synthesize"]

Array = NDArray[np.float64]

#: Parameters that a fit may vary, by their names in PySME.
FREE = ("teff", "logg", "monh", "vmic", "vmac", "vsini")

#: Lines so far outside the wavelengths asked for [A] are kept; PySME takes long over lines that do nothing.
_MARGIN = 8.0


@dataclass(frozen=True)
class FitResult:
    """Parameters that a fit found.

    Attributes
    ----------
    values, errors : by parameter; errors are formal, from the covariance of the fit
    vrad : radial velocity [km/s], fitted beside the parameters
    reduced_chi2 : chi square over degrees of freedom, with the errors of the spectrum
    evaluations : synthetic spectra that PySME made
    wave, observed, fitted : wavelengths in air [A] and the two spectra
    """

    values: dict[str, float]
    errors: dict[str, float]
    vrad: float
    reduced_chi2: float
    evaluations: int
    wave: Array
    observed: Array
    fitted: Array


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

    from .pysme import PinnAtmosphereGrid

    sme = SME_Structure()
    sme.teff, sme.logg, sme.monh = teff, logg, monh
    sme.vmic, sme.vmac, sme.vsini, sme.ipres = vmic, vmac, vsini, resolution
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
    wave, flux, error : (n,) wavelengths in air [A], flux and its standard deviation
    free : parameters out of `FREE`
    radial_velocity : also fit a velocity to the whole spectrum
    start : where the fit starts, and the values of what is not free, as `star` takes them

    Raises
    ------
    ValueError : an unknown parameter, a spectrum that is not finite, too few points
    DomainError : the fit walks out of the model's domain
    """
    unknown = [name for name in free if name not in FREE]
    if unknown or not free:
        raise ValueError(f"cannot fit {', '.join(unknown) or 'nothing'}; free parameters: {', '.join(FREE)}")
    if not (np.isfinite(wave).all() and np.isfinite(flux).all() and (error > 0).all() and (np.diff(wave) > 0).all()):
        raise ValueError("the spectrum needs increasing wavelengths, finite fluxes and positive errors")
    if len(wave) <= len(free):
        raise ValueError(f"{len(wave)} points cannot give {len(free)} parameters")
    with quiet_pysme():
        from pysme.solve import solve

        sme = star(model, wave, lines, **start)
        sme.spec, sme.uncs = flux, error
        if radial_velocity:
            sme.vrad_flag = "whole"
        sme = solve(sme, list(free))
    names = list(sme.fitresults.parameters)
    sigma = np.sqrt(np.diag(np.asarray(sme.fitresults.covariance)))
    fitted = np.asarray(sme.synth[0], dtype=float)
    return FitResult(
        {n: float(getattr(sme, n)) for n in free}, {n: float(sigma[names.index(n)]) for n in free},
        float(np.mean(sme.vrad)) if radial_velocity else 0.0,
        float((((flux - fitted) / error) ** 2).sum() / (len(wave) - len(free))),
        int(sme.fitresults.iterations), wave, flux, fitted,
    )  # fmt: skip


def read_lines(path: str | Path | None = None) -> Any:
    """A VALD line list (short or long format), or the packaged one, 6130-6181 A, for None.

    Raises ValueError for a file that PySME cannot read, FileNotFoundError for none.
    """
    if path is None:
        from .demo import line_list

        return line_list()
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no line list {path}")
    from pysme.linelist.vald import ValdFile

    try:
        return ValdFile(str(path))
    except Exception as error:  # PySME raises many kinds for a malformed file
        raise ValueError(f"{path} is not a VALD line list that PySME reads: {error}") from None


def read_spectrum(path: str | Path, error: float | None = None) -> tuple[Array, Array, Array]:
    """Wavelengths [A], flux and its standard deviation from a table (.ecsv, .fits, .csv, or columns of text).

    Columns are `wavelength` or `wave`, `flux`, and `error`, `uncertainty` or `sigma`; else the first two or three.
    A wavelength column with a unit is converted. `error` stands in for a missing column.

    Raises ValueError for a table with fewer columns, or without errors.
    """
    from astropy.table import Table

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no spectrum {path}")
    formats = {".ecsv": "ascii.ecsv", ".fits": "fits", ".csv": "ascii.csv"}
    try:
        table = Table.read(path, format=formats.get(path.suffix, "ascii"))
    except Exception as problem:  # astropy's readers raise many kinds
        raise ValueError(f"{path} is not a table that astropy reads: {problem}") from None
    if len(table.colnames) < 2:
        raise ValueError(f"{path} has the columns {', '.join(table.colnames)}; wavelength and flux are needed")
    lower = {name.lower(): name for name in table.colnames}

    def column(names: tuple[str, ...], position: int) -> Any:
        name = next((lower[n] for n in names if n in lower), None)
        if name is None and position < len(table.colnames):
            name = table.colnames[position]
        return None if name is None else table[name]

    wave = column(("wavelength", "wave"), 0)
    if wave.unit is not None:
        wave = wave.quantity.to("AA").value
    flux, sigma = column(("flux",), 1), column(("error", "uncertainty", "sigma"), 2)
    if sigma is None:
        if error is None:
            raise ValueError(f"{path} has no column of errors, and none was given")
        sigma = np.full(len(table), error)
    return tuple(np.asarray(v, dtype=float) for v in (wave, flux, sigma))  # type: ignore[return-value]


@contextlib.contextmanager
def quiet_pysme() -> Iterator[None]:
    """PySME reports every step, and warns of the lines around the window that `star` keeps, on standard output."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


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

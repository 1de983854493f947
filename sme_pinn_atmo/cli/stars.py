"""Spectra of stars: `demo`, `synthesize`, `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .base import Command, say, verbose_option, write_table

#: Exit code of a fit that ended, but with a parameter at a limit.
AT_A_LIMIT = 3


@click.command(cls=Command)
@click.option("--model", default="atlas12", show_default=True, help="Model to use.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".",
              help="Where the plot goes; the current folder by default.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Seed of the noise.")
@verbose_option
def demo(model: str, folder: Path, seed: int) -> None:
    """Synthesise a solar window in PySME on the PINN, add noise, and fit teff, logg and monh back.

    Needs no network and no data. Example: sme-pinn-atmo demo
    """
    from .. import demo as demonstration

    click.echo("A solar window, 6132-6180 A, S/N 200, fitted from 300 K, 0.3 dex and 0.2 dex off ...", err=True)
    result = demonstration.run(model, folder, seed=seed)
    say(demonstration.format_result(result))
    say(f"plot: {result.plot}")


def _star_options(command: Any) -> Any:
    """Options of a star and of its spectrum, shared by `synthesize` and `fit`."""
    for option in reversed((
        click.option("--model", default="atlas12", show_default=True, help="Model of the atmosphere."),
        click.option("--lines", type=click.Path(path_type=Path, dir_okay=False),
                     help="VALD line list; the packaged one (6130-6181 A) if left out."),
        click.option("--teff", type=float, required=True, help="Effective temperature [K]."),
        click.option("--logg", type=float, required=True, help="Surface gravity, log10 of cm s-2."),
        click.option("--monh", type=float, default=0.0, show_default=True, help="[M/H] in dex."),
        click.option("--alpha", type=float, default=0.0, show_default=True, help="[alpha/M] in dex."),
        click.option("--vmic", type=float, default=1.0, show_default=True, help="Microturbulence [km/s]."),
        click.option("--vmac", type=float, default=0.0, show_default=True, help="Macroturbulence [km/s]."),
        click.option("--vsini", type=float, default=0.0, show_default=True, help="Rotation [km/s]."),
        click.option("--resolution", type=float, default=0.0, show_default=True, help="R of the instrument; 0: none."),
        click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it (PNG)."),
        verbose_option,
    )):  # fmt: skip
        command = option(command)
    return command


@click.command(cls=Command)
@_star_options
@click.option("--wave", type=(float, float), required=True, help="First and last wavelength in air [A].")
@click.option("--step", type=click.FloatRange(min=1e-4), default=0.02, show_default=True, help="Step [A].")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help=".ecsv, .fits or .csv")
def synthesize(
    model: str, lines: Path | None, plot: Path | None, wave: tuple[float, float], step: float, out: Path,
    **parameters: float,
) -> None:  # fmt: skip
    """A synthetic spectrum of PySME on the PINN: wavelength in air [A] and normalised flux.

    Example: sme-pinn-atmo synthesize --teff 5777 --logg 4.44 --wave 6140 6160 --out sun.ecsv --plot sun.png
    """
    import numpy as np
    from astropy import units
    from astropy.table import QTable

    from .. import spectra

    if out.suffix not in (".ecsv", ".fits", ".csv"):
        raise click.BadParameter(f"{out.suffix!r} is not one of .ecsv, .fits, .csv", param_hint="--out")
    if not wave[0] + step < wave[1]:
        raise click.BadParameter(f"{wave[0]:g} to {wave[1]:g} is no range", param_hint="--wave")
    grid = np.arange(wave[0], wave[1] + step / 2, step)
    flux = spectra.synthesize(model, grid, spectra.read_lines(lines), **parameters)
    meta = {"model": model, **parameters}
    write_table(out, QTable({"wavelength": grid * units.AA, "flux": flux}, meta=meta), out.suffix[1:])
    if plot is not None:
        spectra.plot(plot, grid, {f"PySME on {model}": flux}, _star_text(parameters))
    say(f"{out}: {len(grid)} points, deepest {1 - flux.min():.3f}")


@click.command(cls=Command)
@click.argument("spectrum", type=click.Path(path_type=Path, dir_okay=False))
@_star_options
@click.option("--free", multiple=True, default=("teff", "logg", "monh"), show_default=True,
              help="Parameter to fit: teff, logg, monh, vmic, vmac, vsini; may be given again.")  # fmt: skip
@click.option("--velocity", is_flag=True, help="Also fit a radial velocity.")
@click.option("--error", type=click.FloatRange(min=0, min_open=True), help="Error of the flux, if the file has none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fit(
    spectrum: Path, model: str, lines: Path | None, plot: Path | None, free: tuple[str, ...], velocity: bool,
    error: float | None, as_json: bool, **start: float,
) -> None:  # fmt: skip
    """Fit an observed, continuum-normalised spectrum with PySME on the PINN.

    SPECTRUM is a table (.ecsv, .fits, .csv or text) of wavelength in air [A], flux and error; --teff and the like
    say where the fit starts. Exit code 3: a parameter stopped at a limit.

    Example: sme-pinn-atmo fit sun.ecsv --error 0.005 --teff 5500 --logg 4.2 --plot fit.png
    """
    import json

    import numpy as np

    from .. import spectra
    from ..stars.spectrum import read_spectrum

    observed = read_spectrum(spectrum, error=error)
    if observed.cleaned:
        click.echo(observed.cleaned, err=True)
    result = spectra.fit(
        model, observed.wave, observed.flux, observed.sigma, spectra.read_lines(lines), free,
        radial_velocity=velocity, **start,
    )  # fmt: skip
    if plot is not None:
        both = {spectrum.name: result.observed, f"PySME on {model}": result.fitted}
        spectra.plot(plot, result.wave, both, _star_text(result.values))
    if as_json:
        shown = ("values", "errors", "vrad", "reduced_chi2", "evaluations", "stopped")
        found = {name: getattr(result, name) for name in shown} | {"cleaned": dict(observed.counts)}
        found["errors"] = {n: e if np.isfinite(e) else None for n, e in result.errors.items()}
        say(json.dumps(found, indent=1))
    else:
        for name in free:
            say(f"{name:6} {result.values[name]:10.4g} {_error_text(result, name)}")
        if velocity:
            say(f"vrad   {result.vrad:10.4g}")
        say(f"reduced chi2 {result.reduced_chi2:.3g}, {result.evaluations} iterations")
    if result.stopped:
        raise click.exceptions.Exit(AT_A_LIMIT)


def _error_text(result: Any, name: str) -> str:
    if name in result.stopped:
        return f"stopped at its {result.stopped[name]}; its error is not known"
    error = result.errors[name]
    return f"+- {error:.2g}" if error > 0 else "its error is not known: the spectrum does not constrain it"


def _star_text(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items() if value or name in ("teff", "logg"))

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
    meta = {"model": model, "medium": "air", **parameters}
    write_table(out, QTable({"wavelength": grid * units.AA, "flux": flux}, meta=meta), out.suffix[1:])
    if plot is not None:
        spectra.plot(plot, grid, {f"PySME on {model}": flux}, _star_text(parameters))
    say(f"{out}: {len(grid)} points, deepest {1 - flux.min():.3f}")


def _fit_options(command: Any) -> Any:
    """Options of a fit, shared by `fit` and `fit-many`; None leaves what the settings say."""
    for option in reversed((
        click.option("--model", help="Model of the atmosphere: a name, or a grid file of PySME's.  [default: atlas12]"),
        click.option("--lines", help="Line list: VALD's formats, Korg's .h5, or galah-lines; the packaged one "
                     "(6130-6181 A) if left out."),
        click.option("--corrections", help="Corrections of the list: a packaged set, or what `calibrate` wrote."),
        click.option("--windows", help="Table of windows and masks: galah, gaia-rvs, apogee, solar-type, or a file; "
                     "the whole spectrum if left out."),
        click.option("--tellurics", help="Table whose telluric ranges are left out: telluric-bands, or a file."),
        click.option("--line-spread", help="Table of the instrument, wavelength and resolution, in place of one R."),
        *(click.option(f"--{name}", type=float, help=f"{what}, where the fit starts or what it keeps.")
          for name, what in (("teff", "Effective temperature [K]"), ("logg", "Surface gravity, log10 of cm s-2"),
                             ("monh", "[M/H] in dex"), ("alpha", "[alpha/M] in dex"),
                             ("vmic", "Microturbulence [km/s]"),
                             ("vmac", "Radial-tangential macroturbulence [km/s]"), ("vsini", "Rotation [km/s]"))),
        click.option("--resolution", type=click.FloatRange(min=0), help="R of the instrument; 0: none."),
        click.option("--abundance", "abundances", multiple=True, metavar="ELEMENT=[X/Fe]",
                     help="Start, or fixed value, of an element [dex]; may be given again."),
        click.option("--free", multiple=True, help="Parameter to fit: teff, logg, monh, alpha, vmic, vmac, vsini, "
                     "resolution, or an element; may be given again.  [default: teff, logg, monh]"),
        click.option("--prior", "priors", type=(str, float, float), multiple=True, metavar="NAME MEAN SIGMA",
                     help="Gaussian prior of a free parameter; may be given again."),
        click.option("--tie", "ties", multiple=True, metavar="NAME=OTHER", help="A parameter that equals another."),
        click.option("--velocity", is_flag=False, flag_value="star", type=click.Choice(["none", "star", "window"]),
                     help="Fit a radial velocity: one for the star, or by window.  [default: none]"),
        click.option("--continuum", "degree", type=click.IntRange(-1, 8),
                     help="Degree of the continuum fitted in each window; -1: none.  [default: 1]"),
        click.option("--normalise", is_flag=True, default=None,
                     help="The spectrum is not normalised: do it by window."),
        click.option("--floor", type=click.FloatRange(min=0), help="Error added to all pixels.  [default: 0.005]"),
        click.option("--line-scatter", type=click.FloatRange(min=0),
                     help="Standard deviation of the errors of log gf [dex]; 0: the list is exact.  [default: 0.15]"),
        click.option("--clip", type=click.FloatRange(min=0),
                     help="Leave out pixels so many robust sigma off; 0: none.  [default: 6]"),
        click.option("--error", type=click.FloatRange(min=0, min_open=True),
                     help="Error of the flux, if the file has none."),
        click.option("--medium", type=click.Choice(["air", "vacuum"]),
                     help="What wavelengths are in; what the file says if left out."),
        click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Processes that work at once."),
        verbose_option,
    )):  # fmt: skip
        command = option(command)
    return command


_START = ("teff", "logg", "monh", "alpha", "vmic", "vmac", "vsini", "resolution")


def _with_options(settings: Any, given: dict[str, Any]) -> Any:
    """Settings with what the options of a command say."""
    from ..stars.parameters import parse_tie

    start = dict(settings.start) | {n: given[n] for n in _START if given[n] is not None}
    for text in given["abundances"]:
        name, _sign, value = text.partition("=")
        try:
            start[name.strip()] = float(value)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not ELEMENT=VALUE", param_hint="--abundance") from None
    kept = {n: p for n, p in settings.priors.items() if not given["free"] or n in given["free"]}
    priors = {**kept, **{n: (m, s) for n, m, s in given["priors"]}}
    names = ("model", "lines", "corrections", "windows", "tellurics", "line_spread", "velocity", "degree", "normalise",
             "floor", "line_scatter", "clip", "error", "medium")  # fmt: skip
    return settings.with_(
        start=start, free=tuple(given["free"]) or None, priors=priors,
        ties={**settings.ties, **dict(parse_tie(t) for t in given["ties"])}, **{n: given[n] for n in names},
    )  # fmt: skip


@click.command(cls=Command)
@click.argument("spectrum", type=click.Path(path_type=Path, dir_okay=False))
@_fit_options
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the windows (PNG).")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for a page, tables, JSON and the picture.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fit(
    spectrum: Path, plot: Path | None, out: Path | None, as_json: bool, processes: int, **given: Any
) -> None:
    """Fit an observed, continuum-normalised spectrum with PySME's synthesis.

    SPECTRUM is a table (.ecsv, .fits, .csv or text) of wavelength [A], flux and error, a FITS file that specutils
    reads, or settings in a .toml file, which single options override; --teff and the like say where the fit starts.
    Exit code 3: a parameter stopped at a limit, or the star does not match at all.

    \b
    Example: sme-pinn-atmo fit sun.ecsv --error 0.005 --teff 5500 --logg 4.2 --plot fit.png
    Example: sme-pinn-atmo fit 18sco.toml --out 18sco
    """
    import json

    from ..files import write_atomically
    from ..stars.fit import Options
    from ..stars.page import as_dict, plot_windows, summary, write_results
    from ..stars.settings import Settings

    if spectrum.suffix == ".toml":
        settings = Settings.read(spectrum)
    else:
        settings = Settings(str(spectrum), {}, options=Options(velocity="none"))
    settings = _with_options(settings, given).with_(processes=processes)
    found = settings.run(lambda text: click.echo(text, err=True))
    if plot is not None:
        write_atomically(plot, plot_windows(found))
    paths = {} if out is None else write_results(found, out)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        say(json.dumps(as_dict(found), indent=1))
    else:
        say(summary(found))
        if paths:
            say(f"page: {paths['page.html']}")
    if found.stopped or found.mismatch:
        raise click.exceptions.Exit(AT_A_LIMIT)


@click.command(cls=Command, name="fit-many")
@click.argument("table", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--settings", "settings_path", type=click.Path(path_type=Path, dir_okay=False),
              help="star.toml whose settings hold for all; a row's columns override them.")  # fmt: skip
@_fit_options
@click.option("--dask", metavar="ADDRESS", help="Use a Dask cluster: its scheduler's address.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="fits", show_default=True,
              help="Folder: one of each star below it, and stars.ecsv.")  # fmt: skip
def fit_many(
    table: Path, settings_path: Path | None, dask: str | None, out: Path, processes: int, **given: Any
) -> None:
    """Fit a star of each row of TABLE: columns name, spectrum, and where it starts (teff, logg, ...).

    Stars that are done are not done again, so that an interrupted command goes on; a star that fails is recorded, and
    the rest go on. Results: OUT/stars.ecsv and a page a star. Exit code 1 where every star failed.

    Example: sme-pinn-atmo fit-many stars.ecsv --settings star.toml --processes 2 --out fits
    """
    from ..stars.fit import Options
    from ..stars.many import collect, read_catalogue
    from ..stars.many import fit_many as do
    from ..stars.settings import Settings

    base = Settings("", {}, options=Options(velocity="none")) if settings_path is None else Settings.read(settings_path)
    stars = read_catalogue(table, _with_options(base, given))
    client = None
    if dask is not None:
        from distributed import Client

        client = Client(dask)
    results = do(stars, out, processes=processes, client=client)
    write_table(out / "stars.ecsv", collect(results), "ecsv")
    failed = [r for r in results if "failed" in r]
    for r in failed:
        click.echo(f"{r['name']}: {r['failed']}", err=True)
    say(f"{out / 'stars.ecsv'}: {len(results)} stars, {len(failed)} failed")
    if failed and len(failed) == len(results):
        raise click.exceptions.Exit(1)


def _star_text(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items() if value or name in ("teff", "logg"))

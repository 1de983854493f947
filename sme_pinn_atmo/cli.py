"""The command `sme-pinn-atmo`. Each subcommand imports what it needs when it is called."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from . import __version__


class _Command(click.Command):
    """Ends a mistake in one sentence and exit code 1; whatever libraries print goes to standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = sys.stdout
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except (ValueError, TypeError, KeyError, OSError, RuntimeError, ImportError) as error:
            if ctx.find_root().params["traceback"]:
                raise
            from .doctor import explain

            raise click.ClickException(explain(error)) from None


class _Commands(click.Group):
    command_class = _Command
    group_class = type


def _say(text: str) -> None:
    """A result: to standard output."""
    click.echo(text, file=click.get_current_context().obj)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--traceback", is_flag=True, help="Show where in the code an error was found.")
def main(traceback: bool) -> None:
    """A physics-informed neural network in place of model-atmosphere grids, for PySME and Korg.

    Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 not possible or
    interrupted, 2 a wrong option.
    """


@main.command()
@click.argument("config")
@click.option("--out", type=click.Path(path_type=Path), help="Weights to write; NAME.safetensors by default.")
@click.option("--fold", metavar="K/N", help="Hold out part K of N of the sets marked `evaluate`, and score them.")
@click.option("--threads", type=click.IntRange(1), help="Processor cores to use.")
def train(config: str, out: Path | None, fold: str | None, threads: int | None) -> None:
    """Train a model from a configuration file, or the name of a packaged configuration.

    Needs torch (the extra `train`) and, for the packaged configurations, SME_PINN_ATMO_DATA. Interrupted
    training goes on where it was when the same command is given again.

    Example: sme-pinn-atmo train atlas9 --fold 1/10 --out atlas9_heldout.safetensors
    """
    import torch

    from .training.run import read_config, train_model

    if threads is not None:
        torch.set_num_threads(threads)
    part = None if fold is None else _fold(fold)
    settings = read_config(config)
    path = out or Path(f"{settings['name']}.safetensors")
    card = train_model(settings, path, fold=part)
    _say(f"{path}: {card['training']['steps']} steps in {card['training']['seconds']} s")


def _fold(text: str) -> tuple[int, int]:
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n) and int(n) > 1):
        raise click.BadParameter(f"{text!r} is not K/N with 1 <= K <= N", param_hint="--fold")
    return int(k), int(n)


@main.command()
@click.option("--model", default="atlas12", show_default=True, help="Model to use.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".",
              help="Where the plot goes; the current folder by default.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Seed of the noise.")
def demo(model: str, folder: Path, seed: int) -> None:
    """Synthesise a solar window in PySME on the PINN, add noise, and fit teff, logg and monh back.

    Needs no network and no data. Example: sme-pinn-atmo demo
    """
    from . import demo as demonstration

    click.echo("A solar window, 6132-6180 A, S/N 200, fitted from 300 K, 0.3 dex and 0.2 dex off ...", err=True)
    result = demonstration.run(model, folder, seed=seed)
    _say(demonstration.format_result(result))
    _say(f"plot: {result.plot}")


@main.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--family", help="Score only models whose column `family` has this value.")
@click.option("--heldout", is_flag=True, help="Score only the rows that the model's card records as held out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(model: str, data: Path, family: str | None, heldout: bool, as_json: bool) -> None:
    """Score a model on computed structures: median and 95th percentile of the errors in per cent.

    Example: sme-pinn-atmo evaluate atlas9 atlas9.npz --family ODFNEW
    """
    import json

    import numpy as np

    from .emulator import Emulator
    from .grids import read
    from .validation.scores import format_scores, heldout_rows, score

    emulator, truth = Emulator.load(model), read(data)
    rows = np.ones(len(truth), bool)
    if family is not None:
        rows &= truth.column("family") == family
    if heldout:
        rows &= np.isin(np.arange(len(truth)), heldout_rows(emulator, data.name))
    if not rows.any():
        raise click.ClickException(f"no model of {data} is asked for")
    scores = score(emulator, truth.select(rows))
    if as_json:
        _say(json.dumps(scores, indent=1))
    else:
        _say(f"{int(rows.sum())} models, {scores['outside']} outside the domain; median/p95 error in per cent")
        _say(format_scores(scores))


@main.command()
@click.argument("labels", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--model", default="atlas12", show_default=True, help="Model to use.")
@click.option("--teff", type=float, help="Effective temperature [K].")
@click.option("--logg", type=float, help="Surface gravity, log10 of cm s-2.")
@click.option("--m-h", type=float, help="[M/H] in dex.")
@click.option("--alpha-m", type=float, help="[alpha/M] in dex.")
@click.option("--vturb", type=float, help="Microturbulence [km/s].")
@click.option("--format", "kind", help="ecsv, fits, h5, kurucz, marcs, moog, turbospectrum; by the suffix if left out.")
@click.option("--column", "columns", metavar="LABEL=NAME", multiple=True, help="Column of LABELS for a label.")
@click.option("--field", "fields", multiple=True, help="Profile to write (of a catalogue); all if left out.")
@click.option("--std", is_flag=True, help="Also write standard deviations (of a catalogue).")
@click.option("--double", is_flag=True, help="Write double precision (of a catalogue).")
@click.option("--json", "as_json", is_flag=True, help="Print counts as JSON (of a catalogue).")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
def predict(
    labels: Path | None, model: str, kind: str | None, columns: tuple[str, ...], fields: tuple[str, ...], std: bool,
    double: bool, as_json: bool, out: Path, **one: float | None,
) -> None:  # fmt: skip
    """Write the atmosphere of one star, or those of a catalogue.

    One star: its labels as options (those left out have the model's defaults), OUT by its suffix .ecsv, .fits, .h5,
    .dat (Kurucz deck), .mod (MARCS), .moog or .turbospectrum. A catalogue: LABELS is a .fits, .csv, .ecsv or
    .parquet table with a column for each label, OUT an HDF5 file (.h5); interrupted, the same command goes on.

    \b
    Example: sme-pinn-atmo predict --teff 5777 --logg 4.44 --vturb 1 --out sun.dat
    Example: sme-pinn-atmo predict stars.fits --column m_h=FE_H --out atmospheres.h5
    """
    import json

    from .catalogue import predict_catalogue
    from .emulator import Emulator
    from .structure import PROFILES

    given: dict[str, Any] = {k: v for k, v in one.items() if v is not None}
    emulator = Emulator.load(model)
    if labels is None:
        _say(f"{out}: {_write_star(emulator, given, out, kind)!r}")
        return
    if given:
        raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} is for one star; {labels} has the labels")
    if (kind or out.suffix) not in ("h5", ".h5", ".hdf5"):
        raise click.BadParameter(f"{kind or out.suffix!r}: a catalogue goes to .h5", param_hint="--out")
    named = dict(_pair(c) for c in columns)
    counts = predict_catalogue(
        emulator, labels, out, columns=named, fields=fields or tuple(PROFILES)[1:], return_std=std,
        precision="float64" if double else "float32",
    )  # fmt: skip
    if as_json:
        _say(json.dumps({"out": str(out), **counts}, indent=1))
        return
    _say(f"{out}: {counts['stars']} stars, {counts['outside']} of them outside the domain and NaN")


def _pair(text: str) -> tuple[str, str]:
    label, sign, name = text.partition("=")
    if not (label and sign and name):
        raise click.BadParameter(f"{text!r} is not LABEL=NAME", param_hint="--column")
    return label, name


def _write_star(emulator: Any, labels: dict[str, Any], out: Path, kind: str | None) -> Any:
    """Predict one star and write it; returns the atmosphere."""
    from .grids import MARCS_LOG_TAU, write_kurucz, write_marcs, write_moog, write_turbospectrum

    suffixes = {".ecsv": "ecsv", ".fits": "fits", ".h5": "h5", ".hdf5": "h5", ".dat": "kurucz", ".mod": "marcs",
                ".moog": "moog", ".turbospectrum": "turbospectrum"}  # fmt: skip
    kind = kind or suffixes.get(out.suffix, "")
    if kind not in suffixes.values():
        raise click.BadParameter(
            f"{kind or out.suffix!r} is none of {', '.join(suffixes)}; --format names another", param_hint="--out"
        )
    tau = 10.0**MARCS_LOG_TAU if kind == "marcs" else None
    atmosphere = emulator.predict(**labels, tau_ross=tau)
    writers: dict[str, Any] = {
        "kurucz": write_kurucz, "marcs": write_marcs, "moog": write_moog, "turbospectrum": write_turbospectrum
    }  # fmt: skip
    if kind in writers:
        writers[kind](out, atmosphere)
        return atmosphere
    _write_table(out, atmosphere.to_table(), kind)
    return atmosphere


def _write_table(path: Path, table: Any, kind: str) -> None:
    """Write an astropy table as "ecsv", "csv", "fits" or "h5"; made in memory, so that no half of it is ever there."""
    import io
    import warnings

    from .emulator import write_atomically

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of keywords longer than FITS had them once
        if kind in ("ecsv", "csv"):
            text = io.StringIO()
            table.write(text, format=f"ascii.{kind}")
            write_atomically(path, text.getvalue().encode())
            return
        data = io.BytesIO()
        if kind == "fits":
            table.write(data, format="fits")
        else:
            import h5py

            with h5py.File(data, "w") as file:
                table.write(file, format="hdf5", path="atmosphere", serialize_meta=True)
        write_atomically(path, data.getvalue())


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
    )):  # fmt: skip
        command = option(command)
    return command


@main.command()
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

    from . import spectra

    if out.suffix not in (".ecsv", ".fits", ".csv"):
        raise click.BadParameter(f"{out.suffix!r} is not one of .ecsv, .fits, .csv", param_hint="--out")
    if not wave[0] + step < wave[1]:
        raise click.BadParameter(f"{wave[0]:g} to {wave[1]:g} is no range", param_hint="--wave")
    grid = np.arange(wave[0], wave[1] + step / 2, step)
    flux = spectra.synthesize(model, grid, spectra.read_lines(lines), **parameters)
    meta = {"model": model, **parameters}
    _write_table(out, QTable({"wavelength": grid * units.AA, "flux": flux}, meta=meta), out.suffix[1:])
    if plot is not None:
        spectra.plot(plot, grid, {f"PySME on {model}": flux}, _star_text(parameters))
    _say(f"{out}: {len(grid)} points, deepest {1 - flux.min():.3f}")


@main.command()
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
    say where the fit starts.

    Example: sme-pinn-atmo fit sun.ecsv --error 0.005 --teff 5500 --logg 4.2 --plot fit.png
    """
    import json

    from . import spectra

    wave, flux, sigma = spectra.read_spectrum(spectrum, error)
    result = spectra.fit(
        model, wave, flux, sigma, spectra.read_lines(lines), free, radial_velocity=velocity, **start
    )
    if plot is not None:
        both = {spectrum.name: flux, f"PySME on {model}": result.fitted}
        spectra.plot(plot, wave, both, _star_text(result.values))
    if as_json:
        shown = ("values", "errors", "vrad", "reduced_chi2", "evaluations")
        _say(json.dumps({name: getattr(result, name) for name in shown}, indent=1))
        return
    for name in free:
        _say(f"{name:6} {result.values[name]:10.4g} +- {result.errors[name]:.2g}")
    if velocity:
        _say(f"vrad   {result.vrad:10.4g}")
    _say(f"reduced chi2 {result.reduced_chi2:.3g}, {result.evaluations} iterations")


def _star_text(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items() if value or name in ("teff", "logg"))


@main.command("export-grid")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", default="atlas12", show_default=True, help="Model to tabulate.")
@click.option("--teff", type=(float, float, float), required=True, help="First, last and step [K].")
@click.option("--logg", type=(float, float, float), required=True, help="First, last and step [dex].")
@click.option("--m-h", type=(float, float, float), default=(0.0, 0.0, 1.0), help="First, last and step [dex].")
@click.option("--alpha-m", type=float, default=0.0, show_default=True, help="[alpha/M] of all nodes [dex].")
@click.option("--vturb", type=float, help="Microturbulence of all nodes [km/s]; the model's default if left out.")
def export_grid(
    path: Path, model: str, teff: tuple[float, float, float], logg: tuple[float, float, float],
    m_h: tuple[float, float, float], alpha_m: float, vturb: float | None,
) -> None:  # fmt: skip
    """Write a grid file (.npz) for PySME alone, for those who cannot install this package where they work.

    Nodes outside the model's domain are left out. Use it as `sme.atmo.source = AtmosphereGrid.load(PATH)`.

    Example: sme-pinn-atmo export-grid grid.npz --teff 4500 6500 125 --logg 3.5 5 0.25 --m-h -1 0.5 0.25
    """
    from .grids.pysme_grid import grid_of_nodes, write_pysme_grid

    if path.suffix != ".npz":
        raise click.BadParameter(f"{path.suffix!r}: PySME reads such grids from .npz", param_hint="PATH")
    nodes, left_out = grid_of_nodes(model, {"teff": teff, "logg": logg, "m_h": m_h}, alpha_m=alpha_m, vturb=vturb)
    write_pysme_grid(path, nodes, solar_scale=str(nodes.extra["solar_scale"][0]))
    _say(f"{path}: {len(nodes)} nodes, {left_out} outside the domain left out")


@main.group()
def validate() -> None:
    """Compare structures and spectra with computed models and with the observed Sun."""


@validate.command()
@click.option("--model", default="atlas12", show_default=True, help="Model to validate.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="validation_report",
              show_default=True, help="Folder for tables and plots; synthetic spectra are kept in it.")  # fmt: skip
@click.option("--window", "windows", type=(float, float), multiple=True, help="Window [A] to use, repeatable.")
@click.option("--atlas", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Observed Sun: .npz, text with wavelength in air and flux, or nso for PySME's own.")  # fmt: skip
@click.option("--lines", type=click.Path(path_type=Path, dir_okay=False), default=None, help="VALD line list.")
@click.option("--code", type=click.Choice(["pysme", "korg"]), default="pysme", show_default=True,
              help="Code that synthesises; korg is skipped with a reason where Julia or Korg is missing.")  # fmt: skip
def solar(
    model: str, out: Path, windows: tuple[tuple[float, float], ...], atlas: Path | None, lines: Path | None, code: str
) -> None:
    """The solar spectrum from the PINN and from computed models against the KPNO atlas.

    Needs SME_PINN_ATMO_DATA. Example: sme-pinn-atmo validate solar --window 6140 6180 --window 6400 6440
    """
    from .korg import KorgError
    from .validation import solar as sun
    from .validation.solar_tables import format_lines, format_rows, format_sensitivity

    try:
        result = sun.run(
            out, model=model, windows=windows or sun.WINDOWS, code=code, atlas_path=atlas, lines_path=lines
        )
    except KorgError as error:
        click.echo(f"skipped: {error}", err=True)
        return
    for text in (format_rows(result.rows), format_lines(result.lines), format_sensitivity(result.sensitivity)):
        _say(f"{text}\n")
    _say(f"all tables: {result.text}\nnumbers: {result.table}\nplot: {result.plot}")


@validate.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--heldout", is_flag=True, help="Only the rows that the model's card records as held out.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="structures.png", show_default=True,
              help="The first plot; the others lie beside it.")  # fmt: skip
def structures(model: str, data: Path, heldout: bool, out: Path) -> None:
    """Errors against depth with the hydrostatic residual, dP/dtau against (g-a)/kappa, and where the models lie.

    Three plots, as Figs. 2 to 4 and 6 of arXiv:2507.06357; the second and third have _hydrostatics and _coverage in
    their names. Example: sme-pinn-atmo validate structures atlas9_heldout.safetensors atlas9.npz --heldout
    """
    from .emulator import Emulator
    from .grids import read
    from .validation.scores import heldout_rows
    from .validation.structures import plot_coverage, plot_errors, plot_hydrostatics

    emulator, truth = Emulator.load(model), read(data)
    if heldout:
        truth = truth.select(heldout_rows(emulator, data.name))
    if not len(truth):
        raise click.ClickException(f"the card of {emulator.name} records no held-out rows of {data.name}")
    for draw, path in (
        (plot_errors, out), (plot_hydrostatics, out.with_stem(f"{out.stem}_hydrostatics")),
        (plot_coverage, out.with_stem(f"{out.stem}_coverage")),
    ):  # fmt: skip
        draw(emulator, truth, path)
        _say(f"plot: {path}")


@validate.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
              help="The file whose rows the models held out.")  # fmt: skip
@click.option("--into", help="Also put scores and error model into this model, trained on all of them.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the reliability of the error bar.")
def folds(models: tuple[str, ...], data: Path, into: str | None, plot: Path | None) -> None:
    """Scores of a cross-validation: each computed model by the network that it was held out from.

    Then the error bar that these errors give (`predict(..., return_std=True)`): the share of errors within so many
    standard deviations, each computed model judged by what the others say.

    Example: sme-pinn-atmo validate folds fold1.safetensors fold2.safetensors --data atlas12.npz
    """
    from .emulator import Emulator, update_card
    from .grids import read
    from .training.errors import calibration, fit_error_model, heldout_errors
    from .validation.scores import format_scores, heldout_rows, score_folds
    from .validation.structures import plot_calibration

    loaded, truth = [Emulator.load(m) for m in models], read(data)
    scores = score_folds(loaded, truth, data.name)
    parts = [heldout_errors(e, truth.select(heldout_rows(e, data.name))) for e in loaded]
    errors = fit_error_model(parts, loaded[0].domain.labels)
    shares = calibration(errors, parts)
    if plot is not None:
        plot_calibration(shares, plot)
    if into is not None:
        runs = [e.card["training"]["command"] + f" ({e.card['training']['steps']} steps)" for e in loaded]
        entry = {"file": data.name, "runs": runs, "figures": scores, "calibration": shares}
        update_card(into, {"cross_validation": entry}, errors)
    _say(format_scores(scores))
    _say("share of errors within so many standard deviations")
    for name, row in shares.items():
        _say(f"{name:>24} " + " ".join(f"{v:6.3f}" for v in row[3::4]))


@validate.command()
@click.option("--model", required=True, help="A model whose card records held-out rows (see train --fold).")
def interpolation(model: str) -> None:
    """The PINN against PySME's own interpolation, on ODFNEW nodes taken out of both.

    Needs SME_PINN_ATMO_DATA. Example: sme-pinn-atmo validate interpolation --model atlas9_heldout.safetensors
    """
    from .validation import interpolation as comparison
    from .validation.scores import format_scores

    result = comparison.run(model)
    _say(f"{result.nodes} nodes; median/p95 error in per cent")
    _say(f"PINN, {1e3 * result.pinn_seconds:.3f} ms an atmosphere\n{format_scores(result.pinn)}")
    _say(
        f"PySME interpolation, {1e3 * result.pysme_seconds:.1f} ms an atmosphere, {result.failed} failed\n"
        f"{format_scores(result.pysme)}"
    )


@validate.command()
@click.option("--model", default="atlas12", show_default=True, help="Model to check.")
@click.option("--stars", default=100_000, show_default=True, help="How many random labels of the domain.")
@click.option("--seed", default=0, show_default=True, help="Seed of the labels.")
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Count in these computed models instead, for comparison.")  # fmt: skip
def physical(model: str, stars: int, seed: int, data: Path | None) -> None:
    """Count unphysical structures at random labels all over the domain; exit code 1 if there are any.

    Example: sme-pinn-atmo validate physical --model atlas9
    """
    from .emulator import Emulator
    from .grids import read
    from .validation.physical import CHECKS, bent, violations, violations_of

    if data is not None:
        truth = read(data)
        family = truth.extra.get("family")
        groups = {"": truth} if family is None else {f" {n}": truth.select(family == n) for n in sorted(set(family))}
        for name, part in groups.items():
            for check, count in violations_of(part).items():
                _say(f"{count:7d} of {len(part)}{name}: {CHECKS[check]}")
        return
    emulator = Emulator.load(model)
    counts, bad = violations(emulator, stars, seed)
    for check, count in counts.items():
        _say(f"{count:7d} of {stars}: {CHECKS[check]}")
    _say(f"{bent(emulator, stars, seed):7d} of {stars}: no fault, but the pressure is bent where a comes near g")
    if len(bad):
        raise click.exceptions.Exit(1)


@validate.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the errors (PNG).")
def gradients(model: str, data: Path, plot: Path | None) -> None:
    """Derivatives against centred differences between neighbouring computed models, at models held out from training.

    The labels of DATA's column `family` are kept apart where it has one. Then the largest jumps of values and
    derivatives along random lines through the domain.

    Example: sme-pinn-atmo validate gradients atlas9_heldout.safetensors atlas9.npz
    """
    from .emulator import Emulator
    from .grids import read
    from .validation import gradients as check
    from .validation.scores import heldout_rows

    emulator, truth = Emulator.load(model), read(data)
    result = check.compare_families(emulator, truth, heldout_rows(emulator, data.name))
    if plot is not None:
        check.plot(result, plot)
    jumps = check.continuity(emulator)
    _say("error in per cent, median / 95th percentile")
    _say(check.format_rows(result))
    _say("\n".join(f"{name}: {value:.4g}" for name, value in jumps.items()))


@validate.command()
@click.argument("model")
@click.option("--heldout/--all", default=True, help="Only models held out, or all ODFNEW models.")
def closure(model: str, heldout: bool) -> None:
    """Predicted opacity against the ODFNEW opacity tables, electron density against PySME's equation of state.

    Needs SME_PINN_ATMO_DATA. Example: sme-pinn-atmo validate closure atlas9_heldout.safetensors
    """
    import numpy as np

    from .emulator import Emulator
    from .grids import read
    from .validation import closure as check
    from .validation.scores import heldout_rows
    from .validation.spectrum import data_file

    emulator = Emulator.load(model)
    path = data_file("atlas9.npz", "ATLAS9 grids, kurucz.harvard.edu/grids")
    table = data_file("rosseland_odfnew/kapp00.ros", "mkk-atlas9, github.com/callendeprieto/mkk-atlas9")
    truth = read(path)
    rows = heldout_rows(emulator, path.name) if heldout else np.flatnonzero(truth.column("family") == "ODFNEW")
    if not len(rows):
        raise click.ClickException(f"the card of {emulator.name} records no held-out rows of {path.name}")
    result = check.closure(emulator, truth.select(rows), table.parent)
    _say(check.format_rows(result))


@validate.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
              help="The file whose rows the models held out.")  # fmt: skip
@click.option("--reference", default="atlas9", show_default=True, help="Model that knows what vturb changes.")
def vturb(models: tuple[str, ...], data: Path, reference: str) -> None:
    """Do computed models follow the vturb they state? 1: as those of the reference do; 0: not at all.

    Example: sme-pinn-atmo validate vturb fold1.safetensors fold2.safetensors --data atlas12.npz
    """
    from .emulator import Emulator
    from .grids import read
    from .validation import microturbulence as check

    loaded = [Emulator.load(m) for m in models]
    _say(check.format_rows(check.response(loaded, Emulator.load(reference), read(data), data.name)))


@validate.command()
@click.option("--config", default="atlas12", show_default=True, help="Training configuration with a teacher.")
def teacher(config: str) -> None:
    """How good is the teacher of a configuration, as it is and as the computed models correct it? Leaving each out.

    Needs torch and SME_PINN_ATMO_DATA. Example: sme-pinn-atmo validate teacher
    """
    from .training.run import read_config
    from .validation import teacher as check

    _say(check.format_rows(check.leave_one_out(read_config(config))))


@validate.command()
@click.option("--config", default="atlas9", show_default=True, help="Training configuration: its data and folds.")
@click.option("--fold", metavar="K/N", default="1/10", show_default=True, help="Part that is held out.")
@click.option("--seconds", type=click.FloatRange(min=1), default=480.0, show_default=True,
              help="Processor time of each training.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="ablation_report", show_default=True,
              help="Folder for results; a network that is there already is not trained again.")  # fmt: skip
def ablation(config: str, fold: str, seconds: float, out: Path) -> None:
    """A plain network, the soft penalty of Kurucz-a1, and hydrostatics by construction, at equal processor time.

    Needs torch and SME_PINN_ATMO_DATA. Example: sme-pinn-atmo validate ablation --out ablation_report
    """
    from .validation import ablation as comparison

    result = comparison.ablation(out, config=config, fold=_fold(fold), seconds=seconds)
    _say(comparison.format_summary(result))
    _say(f"table: {out / 'ablation.md'}\nplot: {out / 'ablation.png'}")


@validate.command()
@click.option("--model", "models", multiple=True, required=True,
              help="A model whose card records held-out nodes (see train --fold); may be given again.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="fits_report", show_default=True,
              help="Folder for tables and plots; finished fits are kept in it.")  # fmt: skip
@click.option("--part", "parts", multiple=True, help="mock, sun or smooth; all by default.")
@click.option("--snr", type=float, multiple=True, default=(2000.0, 100.0), show_default=True,
              help="Signal-to-noise ratio of the mock stars.")  # fmt: skip
@click.option("--stars", type=click.IntRange(1), help="At most so many mock stars of each model.")
def fits(models: tuple[str, ...], out: Path, parts: tuple[str, ...], snr: tuple[float, ...], stars: int | None) -> None:
    """Fits in PySME with the PINN and with PySME's own interpolation: mock stars, the Sun, smoothness.

    Needs SME_PINN_ATMO_DATA. Interrupted, it goes on where it was when the same command is given again.
    Example: sme-pinn-atmo validate fits --model atlas9_fold1.safetensors
    """
    from .validation import fits as comparison

    table = comparison.main(models, out, parts=parts or comparison.PARTS, snr=snr, stars=stars)
    _say(table.read_text(encoding="utf-8"))


@validate.command()
@click.option("--model", "models", multiple=True, required=True,
              help="A model whose card records held-out rows (see train --fold); may be given again.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="spectra_report", show_default=True,
              help="Folder for table and map; finished stars are kept in it.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(1), help="At most so many ODFNEW nodes.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes to use.")
def spectra(models: tuple[str, ...], out: Path, nodes: int | None, processes: int) -> None:
    """What errors of the atmosphere do to the spectrum at computed models kept from training, over the Kiel diagram.

    Needs SME_PINN_ATMO_DATA. Interrupted, it goes on where it was when the same command is given again.
    Example: sme-pinn-atmo validate spectra --model atlas9_heldout.safetensors --nodes 160 --processes 2
    """
    from .validation import spectra as comparison

    table = comparison.run(models, out, nodes=nodes, processes=processes)
    _say(table.read_text(encoding="utf-8"))


@validate.command("all")
@click.option("--model", default="atlas12", show_default=True, help="Model to validate.")
@click.option("--part", "parts", multiple=True, help="Part of the report; all if left out.")
@click.option("--heldout", multiple=True,
              help="A model whose card records held-out rows (see train --fold); may be given again.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes to use.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="validation_report",
              show_default=True, help="Folder for the page and its parts; finished ones are kept.")  # fmt: skip
def everything(model: str, parts: tuple[str, ...], heldout: tuple[str, ...], processes: int, out: Path) -> None:
    """The report: every part in one HTML page that opens from disk, with the numbers beside it as JSON.

    Parts that need SME_PINN_ATMO_DATA or --heldout say so in the page where that is missing. Interrupted, it goes on
    where it was. Example: sme-pinn-atmo validate all --heldout atlas9_fold1.safetensors --out validation_report
    """
    from .validation import report

    index = report.build(out, model, parts or None, heldout, processes=processes)
    _say(f"page: {index}")


@main.command("export-julia")
@click.argument("model")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--golden", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write labels, profiles and derivatives, to test the Julia package with.")  # fmt: skip
def export_julia(model: str, path: Path, golden: Path | None) -> None:
    """Write a model for the Julia package in julia_bridge/.

    Example: sme-pinn-atmo export-julia atlas12 julia_bridge/models/atlas12.pinn
    """
    from .emulator import Emulator
    from .julia_export import export_julia as export
    from .julia_export import write_golden

    emulator = Emulator.load(model)
    export(emulator, path)
    if golden is not None:
        write_golden(emulator, golden)


@main.command()
@click.option("--model", default="atlas12", show_default=True, help="Model to measure.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw cost against size (PNG).")
@click.option("--dask", is_flag=True, help="Also measure a local Dask cluster of one and two processes.")
def benchmark(model: str, path: Path | None, plot: Path | None, dask: bool) -> None:
    """Measure speed beside this machine's own rates and beside what one would use instead, in one run.

    Example: OMP_NUM_THREADS=1 sme-pinn-atmo benchmark --json benchmark.json
    """
    import json

    from . import benchmark as speed
    from .emulator import write_atomically

    result = speed.run(model)
    if dask:
        result["dask: stars per second by worker processes"] = speed.dask_rates(model)
    if plot is not None:
        speed.plot(result, plot)
    _say(speed.format_rows(result))
    for n, rate in result.get("dask: stars per second by worker processes", {}).items():
        _say(f"dask, {n} processes: {rate:.0f} stars a second")
    if path is not None:
        write_atomically(path, (json.dumps(result, indent=1) + "\n").encode())


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json: bool) -> None:
    """The packaged models: labels, ranges, where they come from.

    Example: sme-pinn-atmo models
    """
    import json

    from .emulator import Emulator
    from .emulator import models as known

    loaded = {name: Emulator.load(path) for name, path in known().items()}
    if as_json:
        _say(json.dumps({name: dict(e.card) for name, e in loaded.items()}, indent=1))
        return
    for emulator in loaded.values():
        _say(f"{emulator!r}\n    {emulator.card.get('description', '')}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Versions, models, and what of PySME, torch, juliacall, Julia and Korg is usable and how to get the rest.

    Exit code 1 where a model or PySME cannot be used. Example: sme-pinn-atmo doctor
    """
    import json

    from .doctor import examine, format_result

    result = examine()
    _say(json.dumps(result, indent=1) if as_json else format_result(result))
    if not result["ok"]:
        raise click.exceptions.Exit(1)

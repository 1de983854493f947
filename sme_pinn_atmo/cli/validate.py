"""`validate` and its parts: figures and pages that judge a model."""

from __future__ import annotations

from pathlib import Path

import click

from .base import Commands, DataFile, say
from .experiment import experiment


class _Validate(Commands):
    """Knows the commands that were its own until 1.0, too."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.commands or name not in experiment.commands:
            return super().get_command(ctx, name)
        click.echo(f"deprecated: `validate {name}` is now `experiment {name}`", err=True)
        return experiment.commands[name]


@click.group(cls=_Validate)
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
@click.option("--corrections", help="Corrections of the line list: a packaged set, or a file; the residuals without "
              "them are shown too.")  # fmt: skip
def solar(
    model: str, out: Path, windows: tuple[tuple[float, float], ...], atlas: Path | None, lines: Path | None, code: str,
    corrections: str | None,
) -> None:  # fmt: skip
    """The solar spectrum from the network and from computed models against the observed Sun: one page.

    At first use it brings what it needs (8 MB; see sme-pinn-atmo data list); later it needs no network.

    \b
    Example: sme-pinn-atmo validate solar
    Example: sme-pinn-atmo validate solar --window 6140 6180 --window 6400 6440
    """
    from ..codes.korg import KorgError
    from ..validation import solar as sun
    from ..validation.solar_tables import format_lines, format_rows, format_sensitivity

    try:
        result = sun.run(
            out, model=model, windows=windows or sun.WINDOWS, code=code, atlas_path=atlas, lines_path=lines,
            corrections=corrections,
        )  # fmt: skip
    except KorgError as error:
        click.echo(f"skipped: {error}", err=True)
        return
    for text in (format_rows(result.rows), format_lines(result.lines), format_sensitivity(result.sensitivity)):
        say(f"{text}\n")
    if corrections is not None:
        say("rms against the atlas, list as it is -> corrected")
        for r in result.rows:
            say(f"{r['window'][0]:.0f}-{r['window'][1]:.0f} {r['model']}: {r['rms_atlas_as_it_is']:.4f} -> "
                f"{r['rms_atlas']:.4f}")  # fmt: skip
    say(f"page: {result.page}\nnumbers: {result.table}\nplot: {result.plot}")


@validate.command(name="store-sun")
@click.argument("model")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="File to write; by default the one in the package, which `validate solar` leads with.")  # fmt: skip
def store_sun(model: str, out: Path | None) -> None:
    """Store the Sun of a network that held out every computed Sun, for the first column of `validate solar`.

    \b
    Example: sme-pinn-atmo train atlas12_16000.toml --fold 1/4 --out FOLD.safetensors
             sme-pinn-atmo validate store-sun FOLD.safetensors
    """
    from ..validation.unseen import PATH, store

    content = store(model, out or PATH)
    say(f"{out or PATH}: {content['training']['command']}, {content['training']['steps']} steps")


@validate.command()
@click.argument("model")
@click.argument("data", type=DataFile())
@click.option("--heldout", is_flag=True, help="Only the rows that the model's card records as held out.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="structures.png", show_default=True,
              help="The first plot; the others lie beside it.")  # fmt: skip
def structures(model: str, data: Path, heldout: bool, out: Path) -> None:
    """Errors against depth with the hydrostatic residual, dP/dtau against (g-a)/kappa, and where the models lie.

    Three plots, as Figs. 2 to 4 and 6 of arXiv:2507.06357; the second and third have _hydrostatics and _coverage in
    their names. Example: sme-pinn-atmo validate structures atlas9_heldout.safetensors atlas9.npz --heldout
    """
    from ..emulator import Emulator
    from ..grids import read
    from ..validation.scores import heldout_rows
    from ..validation.structures import plot_coverage, plot_errors, plot_hydrostatics

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
        say(f"plot: {path}")


@validate.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=DataFile(), required=True, multiple=True,
              help="A file whose rows the models held out; may be given more than once.")  # fmt: skip
@click.option("--into", help="Also put scores and error model into this model, trained on all of them.")
@click.option("--keep-error-bar", is_flag=True,
              help="Only scores go into --into, with the shares of these errors within the error bar that it has.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the reliability of the error bar.")
def folds(
    models: tuple[str, ...], data: tuple[Path, ...], into: str | None, keep_error_bar: bool, plot: Path | None
) -> None:  # fmt: skip
    """Scores of a cross-validation: each computed model by the network that it was held out from.

    Then the error bar that these errors give (`predict(..., return_std=True)`): the share of errors within so many
    standard deviations, each computed model judged by what the others say. Networks that were trained without whole
    planes of models (train --without) are scored apart, plane by plane; with --into, they say how the error bar grows
    with the distance from all models of the training. With --keep-error-bar those of an earlier cross-validation go
    on saying it, and its figures for planes stay.

    Example: sme-pinn-atmo validate folds fold1.safetensors fold2.safetensors --data atlas12.npz
    """
    from ..emulator import Emulator, update_card
    from ..emulator.uncertainty import ERROR_FIELDS
    from ..grids import read
    from ..training.errors import calibration, fit_error_model, heldout_errors
    from ..validation.scores import (
        format_scores,
        heldout_rows,
        label_sets,
        predict_folds,
        score_planes,
        score_profiles,
    )  # fmt: skip
    from ..validation.structures import plot_calibration

    loaded = [Emulator.load(m) for m in models]
    random = [e for e in loaded if not e.card["heldout"].get("planes")]
    without = [e for e in loaded if e.card["heldout"].get("planes")]
    files = {path.name: read(path) for path in data}
    final = None if into is None else Emulator.load(into)
    if keep_error_bar and (final is None or final.errors is None or without):
        raise click.UsageError("--keep-error-bar needs --into MODEL with an error bar, and no networks without planes")
    predicted, truth = predict_folds(random, files)
    scores = score_profiles(predicted, truth)
    regions = score_profiles(predicted, truth, label_sets(truth))
    planes = score_planes(without, files)
    parts, far = (
        [heldout_errors(e, f.select(rows)) for e in group for n, f in files.items() if len(rows := heldout_rows(e, n))]
        for group in (random, without)
    )
    if keep_error_bar and final is not None and final.errors is not None:
        errors, former = final.errors, final.card.get("cross_validation", {})
        planes, shares = former.get("planes", {}), calibration(errors, parts)
        if "planes" in former.get("calibration", {}):
            shares["planes"] = former["calibration"]["planes"]
        runs = [r for r in former.get("runs", []) if " --without " in r]
    else:
        errors = fit_error_model(parts, loaded[0].domain.labels, far, None if final is None else final.nodes)
        shares, runs = calibration(errors, parts, far), []
    if plot is not None:
        plot_calibration(shares, plot)
    if into is not None:
        runs = [e.card["training"]["command"] + f" ({e.card['training']['steps']} steps)" for e in loaded] + runs
        entry = {"file": " --data ".join(files), "runs": runs, "figures": scores, "regions": regions,
                 "planes": planes, "calibration": shares}  # fmt: skip
        update_card(into, {"cross_validation": entry}, errors)
    say(format_scores(scores))
    say(format_scores(regions))
    for plane, row in planes.items():
        say(f"without {plane}\n{format_scores(row)}" if row["models"] else f"without {plane}: outside of the domain")
    for title, group in (("held out at random", shares), ("in planes held out", shares.get("planes", {}))):
        if group:
            say(f"share of errors within so many standard deviations, {title}")
        for name in (n for n in ("k", "expected", *ERROR_FIELDS) if n in group):
            say(f"{name:>24} " + " ".join(f"{v:6.3f}" for v in group[name][3::4]))


@validate.command()
@click.option("--model", required=True, help="A model whose card records held-out rows (see train --fold).")
def interpolation(model: str) -> None:
    """The PINN against PySME's own interpolation, on ODFNEW nodes taken out of both.

    Needs data, which it names where they are missing.

    Example: sme-pinn-atmo validate interpolation --model atlas9_heldout.safetensors
    """
    from ..validation import interpolation as comparison
    from ..validation.scores import format_scores

    result = comparison.run(model)
    say(f"{result.nodes} nodes; median/p95 error in per cent")
    say(f"PINN, {1e3 * result.pinn_seconds:.3f} ms an atmosphere\n{format_scores(result.pinn)}")
    say(
        f"PySME interpolation, {1e3 * result.pysme_seconds:.1f} ms an atmosphere, {result.failed} failed\n"
        f"{format_scores(result.pysme)}"
    )


@validate.command()
@click.option("--model", default="atlas12", show_default=True, help="Model to check.")
@click.option("--stars", default=100_000, show_default=True, help="How many random labels of the domain.")
@click.option("--seed", default=0, show_default=True, help="Seed of the labels.")
@click.option("--data", type=DataFile(),
              help="Count in these computed models instead, for comparison.")  # fmt: skip
def physical(model: str, stars: int, seed: int, data: Path | None) -> None:
    """Count unphysical structures at random labels all over the domain; exit code 1 if there are any.

    Example: sme-pinn-atmo validate physical --model atlas9
    """
    from ..emulator import Emulator
    from ..grids import read
    from ..validation.physical import CHECKS, bent, violations, violations_of

    if data is not None:
        truth = read(data)
        family = truth.extra.get("family")
        groups = {"": truth} if family is None else {f" {n}": truth.select(family == n) for n in sorted(set(family))}
        for name, part in groups.items():
            for check, count in violations_of(part).items():
                say(f"{count:7d} of {len(part)}{name}: {CHECKS[check]}")
        return
    emulator = Emulator.load(model)
    counts, bad = violations(emulator, stars, seed)
    for check, count in counts.items():
        say(f"{count:7d} of {stars}: {CHECKS[check]}")
    say(f"{bent(emulator, stars, seed):7d} of {stars}: no fault, but the pressure is bent where a comes near g")
    if len(bad):
        raise click.exceptions.Exit(1)


@validate.command()
@click.argument("model")
@click.option("--heldout/--all", default=True, help="Only models held out, or all ODFNEW models.")
def closure(model: str, heldout: bool) -> None:
    """Predicted opacity against the ODFNEW opacity tables, electron density against PySME's equation of state.

    Needs data, which it names where they are missing.

    Example: sme-pinn-atmo validate closure atlas9_heldout.safetensors
    """
    import numpy as np

    from ..emulator import Emulator
    from ..grids import read
    from ..sources import find
    from ..validation import closure as check
    from ..validation.scores import heldout_rows

    emulator = Emulator.load(model)
    path = find("atlas9.npz")
    table = find("rosseland_odfnew/kapp00.ros")
    truth = read(path)
    rows = heldout_rows(emulator, path.name) if heldout else np.flatnonzero(truth.column("family") == "ODFNEW")
    if not len(rows):
        raise click.ClickException(f"the card of {emulator.name} records no held-out rows of {path.name}")
    result = check.closure(emulator, truth.select(rows), table.parent)
    say(check.format_rows(result))


@validate.command()
@click.option("--model", default="marcs", show_default=True, help="A model that has a mass.")
@click.option("--stars", type=click.IntRange(0), default=6, show_default=True,
              help="Computed MARCS spheres to compare with; 0 for none.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="spheres_report", show_default=True,
              help="Folder in which spectra are kept.")  # fmt: skip
def spheres(model: str, stars: int, out: Path) -> None:
    """Spheres in PySME: a dwarf as sphere and plane, a giant as published, spheres computed by MARCS.

    Needs the data set marcs unless --stars 0. Example: sme-pinn-atmo validate spheres --model marcs
    """
    from ..grids import read
    from ..sources import find
    from ..validation import spheres as check

    models = read(find("marcs.npz")) if stars else None
    say(check.format_checks(check.run(model, models, out, stars)))


@validate.command()
def composition() -> None:
    """What carbon or alpha elements off the standard do to a structure: MARCS models against standard neighbours.

    Median / largest of 100 times the rms over depth of ln (model / neighbours). Needs the data set marcs.
    Example: sme-pinn-atmo validate composition
    """
    from ..grids import read
    from ..sources import find
    from ..validation import composition as check

    say(check.format_rows(check.measure(read(find("marcs.npz")))))


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

    Needs data, which it names where they are missing.
    Interrupted, it goes on where it was when the same command is given again.

    Example: sme-pinn-atmo validate fits --model atlas9_fold1.safetensors
    """
    from ..validation import fits as comparison

    table = comparison.main(models, out, parts=parts or comparison.PARTS, snr=snr, stars=stars)
    say(table.read_text(encoding="utf-8"))


@validate.command()
@click.option("--model", "models", multiple=True, required=True,
              help="A model whose card records held-out rows (see train --fold); may be given again.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="spectra_report", show_default=True,
              help="Folder for table and map; finished stars are kept in it.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(1), help="At most so many ODFNEW nodes.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes to use.")
def spectra(models: tuple[str, ...], out: Path, nodes: int | None, processes: int) -> None:
    """What errors of the atmosphere do to the spectrum at computed models kept from training, over the Kiel diagram.

    Needs data, which it names where they are missing.
    Interrupted, it goes on where it was when the same command is given again.

    Example: sme-pinn-atmo validate spectra --model atlas9_heldout.safetensors --nodes 160 --processes 2
    """
    from ..validation import spectra as comparison

    table = comparison.run(models, out, nodes=nodes, processes=processes)
    say(table.read_text(encoding="utf-8"))


@validate.command()
@click.option("--model", "models", multiple=True, default=("marcs", "atlas9", "atlas12"), show_default=True,
              help="Models to compare, the first with all others; give it again for each.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="which_report", show_default=True,
              help="Folder for table, figure and numbers.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes to use.")
def which(models: tuple[str, ...], out: Path, processes: int) -> None:
    """Which model? What each says of six kinds of star: structures, spectra, and by how much a fit would differ.

    Needs the data set galah-lines. Example: sme-pinn-atmo validate which --processes 2
    """
    from ..validation import choice

    content = choice.run(models, out, processes=processes)
    say(choice.format_table(content))
    say(f"table, figure and numbers: {out}/which.md, which.png, which.json")


@validate.command("all")
@click.option("--model", "models", multiple=True, default=("atlas12", "atlas9", "marcs"), show_default=True,
              help="Models to validate, give it again for each; parts about one are about the first.")  # fmt: skip
@click.option("--part", "parts", multiple=True, help="Part of the report; all if left out.")
@click.option("--heldout", multiple=True,
              help="A model whose card records held-out rows (see train --fold); may be given again.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes to use.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="validation_report",
              show_default=True, help="Folder for the page and its parts; finished ones are kept.")  # fmt: skip
def everything(
    models: tuple[str, ...], parts: tuple[str, ...], heldout: tuple[str, ...], processes: int, out: Path
) -> None:
    """The report: every part in one HTML page that opens from disk, with the numbers beside it as JSON.

    Parts that need data or --heldout say so in the page where that is missing. Interrupted, it goes on
    where it was. Example: sme-pinn-atmo validate all --heldout atlas9_fold1.safetensors --out validation_report
    """
    from ..validation import report

    index = report.build(out, models, parts or None, heldout, processes=processes)
    say(f"page: {index}")


@validate.command()
@click.option("--model", "models", multiple=True, default=("atlas12",), show_default=True,
              help="Model to use, or odfnew for PySME's interpolation in ODFNEW; may be given again.")  # fmt: skip
@click.option("--star", "stars", multiple=True, help="Only this star; may be given again.")
@click.option("--corrections", multiple=True, help="Fit with these corrections of the lines too, beside the list as it "
              "is: a packaged set, a file, or `own`, the packaged set of each model; may be given again.")  # fmt: skip
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True, help="Processes of each fit.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="benchmarks", show_default=True,
              help="Folder; a star that is in it is not fitted again.")  # fmt: skip
def benchmarks(
    models: tuple[str, ...], stars: tuple[str, ...], corrections: tuple[str, ...], processes: int, out: Path
) -> None:
    """Gaia FGK benchmark stars, fitted from their spectra, against fundamental parameters.

    Needs the benchmark stars' data. Example: sme-pinn-atmo validate benchmarks --model atlas12 --model odfnew
    """
    from ..validation.benchmarks import main as run

    path = run(models, out, stars=stars, processes=processes, corrections=corrections)
    say(path.read_text(encoding="utf-8"))
    say(f"table: {path}\nfigure: {path.with_suffix('.png')}")


@validate.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(["mock", "unseen", "laboratory", "others"]),
              help="mock: stars whose truth is known; unseen: benchmark stars left out of STARS; laboratory: against "
              "--laboratory; others: --against, of another model. May be given again.  [default: mock]")  # fmt: skip
@click.option("--stars", "table", type=click.Path(path_type=Path, dir_okay=False), default="galah-stars.toml",
              show_default=True, help="Stars of the calibration (unseen).")  # fmt: skip
@click.option("--unseen", multiple=True, help="Benchmark star that is in no calibration; may be given again.")
@click.option("--each/--unseen-only", default=False, show_default=True, help="Leave each of the STARS out too.")
@click.option("--halves", is_flag=True, help="Fit in every other window too, and in the others (unseen).")
@click.option("--alone", help="Try a calibration of this star alone, too, such as Sun.")
@click.option("--model", help="Model in place of what STARS says; of mock stars, atlas12 if left out.")
@click.option("--code", type=click.Choice(["pysme", "korg"]),
              help="Code of the calibration (mock, unseen).  [default: what STARS says, or pysme]")  # fmt: skip
@click.option("--corrections", default="galah-atlas12", show_default=True, help="Compared (laboratory, others).")
@click.option("--against", multiple=True, help="Corrections that these are compared with (others); may be given again.")
@click.option("--laboratory", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Laboratory log gf in MOOG's format.  [default: the data set laboratory, linemake's]")  # fmt: skip
@click.option("--snr", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Of the mock stars.")
@click.option("--off", type=click.IntRange(min=1), default=300, show_default=True,
              help="How many log gf are off, by 0.2 dex (mock).")  # fmt: skip
@click.option("--window", "windows", type=(float, float), multiple=True, help="Window [A] of the mock stars; may be "
              "given again.  [default: those of galah]")  # fmt: skip
@click.option("--start", help="Corrections that the calibration starts from: a packaged set, or a file (unseen).")
@click.option("--iterations", type=click.IntRange(1, 50), help="At most so many (unseen).  [default: what STARS says]")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="Folder of a calibration's finished "
              "syntheses, such as that of `calibrate` (unseen).  [default: OUT/work]")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Seed of noise and errors (mock).")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at once.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="calibration_report",
              show_default=True, help="Folder for figures; finished syntheses and fits are kept in it.")  # fmt: skip
def calibration(
    parts: tuple[str, ...], table: Path, unseen: tuple[str, ...], each: bool, halves: bool, alone: str | None,
    model: str | None, code: str | None, corrections: str, against: tuple[str, ...], laboratory: Path | None,
    snr: float, off: int, windows: tuple[tuple[float, float], ...], start: str | None, iterations: int | None,
    work: Path | None, seed: int, processes: int, out: Path,
) -> None:  # fmt: skip
    """Is a calibration of lines true? Mock stars, benchmark stars that it has not seen, laboratory values.

    Needs the data sets galah-lines and, but for mock, benchmarks and solar-full. Interrupted, it goes on where it was.

    \b
    Example: sme-pinn-atmo validate calibration --part mock --processes 2
    Example: sme-pinn-atmo validate calibration --part unseen --unseen "18 Sco" --alone Sun --halves
    """
    import json
    from dataclasses import replace

    from ..calibration import Corrections, LineOptions, read_stars
    from ..files import write_atomically
    from ..stars.lines import galah_lines, read_lines
    from ..stars.windows import Windows
    from ..validation import calibration as check

    def tell(text: str) -> None:
        click.echo(text, err=True)

    for part in parts or ("mock",):
        if part == "mock":
            where = Windows(windows) if windows else Windows.read("galah")
            figures, _, _ = check.recovery(
                galah_lines(where.windows), where, model=model or "atlas12", off=off, snr=snr, seed=seed,
                options=LineOptions(code=code or "pysme"), work=out / "mock", processes=processes, progress=tell,
            )  # fmt: skip
            write_atomically(out / "mock.json", (json.dumps(figures, indent=1) + "\n").encode())
            say(check.format_recovery(figures))
        elif part == "unseen":
            stars, options, named = read_stars(table)
            if model is not None:
                stars = [replace(s, settings=s.settings.with_(model=model)) for s in stars]
            if iterations is not None:
                options = replace(options, iterations=iterations)
            if code is not None:
                options = replace(options, code=code)
            ranges = [w for s in stars for w in s.windows(s.spectrum()).windows]
            path = check.left_out(
                stars, read_lines(named, ranges), options, out / "unseen", work=work or out / "work", unseen=unseen,
                each=each, halves=halves, alone=alone, start=None if start is None else Corrections.read(start),
                processes=processes, progress=tell,
            )  # fmt: skip
            say(path.read_text(encoding="utf-8"))
        elif part == "others":
            if not against:
                raise click.UsageError("others needs --against CORRECTIONS")
            for other in against:
                both = check.compared(Corrections.read(corrections), Corrections.read(other))
                say(check.format_compared(corrections, other, both))
        else:
            figures = check.laboratory_of(Corrections.read(corrections), laboratory)
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(out / "laboratory.json", (json.dumps(figures, indent=1) + "\n").encode())
            say(check.format_laboratory(figures))


@validate.command()
@click.argument("network", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--direct", type=click.Path(path_type=Path, file_okay=False),
              help="Also fit with PySME, same windows and lines: folder of these fits, kept.")  # fmt: skip
@click.option("--star", "stars", multiple=True, help="Only this star; may be given again.")
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True, help="Of each fit with PySME.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="survey", show_default=True,
              help="Folder for table, figure and numbers.")  # fmt: skip
def survey(network: Path, direct: Path | None, stars: tuple[str, ...], processes: int, out: Path) -> None:
    """Benchmark stars fitted with a network of spectra (`survey-train`), beside fits with PySME.

    Needs the benchmark stars' data, and a network of the set benchmarks.toml or one like it.

    \b
    Example: sme-pinn-atmo validate survey benchmarks.npz --direct benchmarks
    """
    from ..survey.network import SpectrumNetwork
    from ..validation.survey import stars as run

    path = run(SpectrumNetwork.load(network), out, names=stars, direct=direct, processes=processes)
    say(path.read_text(encoding="utf-8"))
    say(f"table: {path}\nfigure: {path.with_suffix('.png')}")


@validate.command(name="survey-gradients")
@click.argument("training", metavar="SET", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--size", "sizes", type=int, multiple=True, help="Number of spectra; may be given again.")
@click.option("--weight", default=0.1, show_default=True, help="Of the derivatives in the loss.")
@click.option("--held", type=int, default=0, help="Stars that no network sees; a third if left out.")
@click.option("--steps", default=3000, show_default=True, help="Of each training.")
@click.option("--seeds", default=1, show_default=True, help="Trainings of each kind; the median counts.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="survey", show_default=True,
              help="Folder for figure and numbers.")  # fmt: skip
def survey_gradients(
    training: Path, sizes: tuple[int, ...], weight: float, held: int, steps: int, seeds: int, out: Path
) -> None:
    """What derivatives save: networks trained with and without them, on few spectra and on more. Needs torch.

    Example: sme-pinn-atmo validate survey-gradients derivatives.h5
    """
    import json

    from ..validation.survey import gradients as run

    path = run(training, out, sizes=sizes, weight=weight, held=held, steps=steps, seeds=seeds,
               progress=lambda text: click.echo(text, err=True))  # fmt: skip
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["table"]:
        parts = [f"{kind} derivatives rms {row[kind]['rms']:.5f}, derivatives off by "
                 f"{100 * row[kind]['derivatives']:.1f} %" for kind in ("without", "with") if row[kind]]  # fmt: skip
        say(f"{row['spectra']:5d} spectra: {'; '.join(parts)}")
    for row in content["fewer"]:
        many = "more than any here" if row["without"] != row["without"] else f"{row['without']:.0f}"
        say(f"{row['with']} spectra with derivatives are worth {many} without")
    say(f"numbers: {path}\nfigure: {path.with_suffix('.png')}")

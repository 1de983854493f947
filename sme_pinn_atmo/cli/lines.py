"""Line lists: `calibrate`, `write-lines`."""

from __future__ import annotations

from pathlib import Path

import click

from .base import Command, say, verbose_option


@click.command(cls=Command)
@click.argument("stars", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--lines", help="Line list: VALD's formats, Korg's .h5, or galah-lines; what STARS says if left out.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="Table of corrections (.ecsv); a card (.json) and a page (.html) come beside it.")  # fmt: skip
@click.option("--model", help="Model of all stars, in place of what STARS says.")
@click.option("--code", type=click.Choice(["pysme", "korg"]),
              help="Code of the syntheses; Korg: log gf alone.  [default: as in STARS, or pysme]")  # fmt: skip
@click.option("--without", multiple=True, metavar="NAME", help="Leave a star out; may be given again.")
@click.option("--start", help="Corrections to start from, of another model for example: a packaged set, or a file.")
@click.option("--iterations", type=click.IntRange(1, 50), help="At most so many.  [default: what STARS says, or 5]")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of finished syntheses, with which an interrupted calibration goes on.  [default: OUT.work]")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at once.")
@click.option("--dask", metavar="ADDRESS", help="Use a Dask cluster: its scheduler's address.")
@verbose_option
def calibrate(
    stars: Path, lines: str | None, out: Path, model: str | None, code: str | None, without: tuple[str, ...],
    start: str | None, iterations: int | None, work: Path | None, processes: int, dask: str | None,
) -> None:  # fmt: skip
    """Calibrate log gf (and more) of a line list on many stars at once, each with its own labels.

    STARS is a .toml file of stars: spectra, windows, labels that are fixed, free or free with a prior; docs/lines.md.
    The same command goes on where an interrupted one was.

    Example: sme-pinn-atmo calibrate galah-stars.toml --out galah.ecsv --processes 2
    """
    from dataclasses import replace

    from ..calibration import calibrate as do
    from ..calibration import read_stars
    from ..calibration.page import card_of, summary, write_page
    from ..stars.corrections import Corrections
    from ..stars.lines import read_lines
    from ..stars.windows import Windows

    if out.suffix != ".ecsv":
        raise click.BadParameter(f"{out.suffix!r} is not .ecsv", param_hint="--out")
    every, options, named = read_stars(stars)
    if unknown := [n for n in without if n not in [s.name for s in every]]:
        raise ValueError(f"{stars} has no star {unknown[0]!r}; there are {', '.join(s.name for s in every)}")
    every = [s for s in every if s.name not in without]
    if model is not None:
        every = [replace(s, settings=s.settings.with_(model=model)) for s in every]
    if iterations is not None:
        options = replace(options, iterations=iterations)
    if code is not None:
        options = replace(options, code=code)
    ranges = [w for s in every if s.settings.windows for w in Windows.read(s.settings.windows).windows]
    listed = read_lines(lines or named, ranges or None)
    client = None
    if dask is not None:
        from distributed import Client

        client = Client(dask)
    first = None if start is None else Corrections.read(start)
    found = do(
        every, listed, options, work=work or out.with_suffix(".work"), start=first, processes=processes, client=client,
        progress=lambda text: click.echo(text, err=True),
    )
    card = card_of(found, every, options, lines or named or "the packaged list")
    if first is not None:
        card["start"] = {"name": first.name, "title": first.card.get("title")}
    corrections = Corrections.of(found, listed, card)
    corrections.write(out)
    write_page(out.with_suffix(".html"), found, corrections)
    say(summary(found))
    say(f"corrections: {out}\npage: {out.with_suffix('.html')}")


@click.command(cls=Command, name="write-lines")
@click.argument("lines")
@click.option("--corrections", help="Corrections to apply: a packaged set, or a file.")
@click.option("--format", "kind", type=click.Choice(["vald", "moog", "turbospectrum"]), default="vald",
              show_default=True, help="vald: long format, which PySME and Korg read.")  # fmt: skip
@click.option("--wave", type=(float, float), multiple=True, help="First and last wavelength in air [A]; may be given "
              "again.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@verbose_option
def write_lines(
    lines: str, corrections: str | None, kind: str, wave: tuple[tuple[float, float], ...], out: Path
) -> None:
    """Write a line list for PySME, Korg, MOOG or Turbospectrum, corrected if asked.

    LINES: VALD's formats, Korg's .h5, or galah-lines. A corrected line carries its old and new value, its error, the
    stars that constrain it and its flags.

    Example: sme-pinn-atmo write-lines galah-lines --corrections galah-atlas12 --wave 5645 5875 --out green.lin
    """
    from ..calibration.writers import write_lines as write
    from ..stars.corrections import Corrections
    from ..stars.lines import read_lines

    made = None if corrections is None else Corrections.read(corrections)
    listed = read_lines(lines, wave or None)
    for doubt in write(out, listed, kind, made, wave or None):
        click.echo(f"warning: {doubt}", err=True)
    say(f"{out}: {kind}")

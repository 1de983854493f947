"""Training sets for surveys: `survey`, `survey-export`."""

from __future__ import annotations

from pathlib import Path

import click

from .base import Command, say, verbose_option


@click.command(cls=Command)
@click.argument("settings", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File of the set (HDF5).")
@click.option("--plan", "only_plan", is_flag=True, help="Measure three stars, and say what the whole takes.")
@click.option("--copy", type=click.Path(path_type=Path, dir_okay=False), help="Write packaged settings to this file.")
@click.option("--stars", type=click.IntRange(min=1), help="So many, whatever the settings say.")
@click.option("--seed", type=int, help="Seed, whatever the settings say.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Stars at once.")
@click.option("--dask", metavar="ADDRESS", help="Use a Dask cluster: its scheduler's address.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def survey(
    settings: Path, out: Path | None, only_plan: bool, copy: Path | None, stars: int | None, seed: int | None,
    processes: int, dask: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Make a training set of synthetic spectra: labels, flux, derivatives, in one file.

    SETTINGS is a TOML file, or a packaged one: apogee.toml, galah.toml, lamost.toml, gaia-rvs.toml, 4most.toml,
    weave.toml. Interrupted, the same command goes on. Exit code 1 where every star failed.

    \b
    Example: sme-pinn-atmo survey galah.toml --copy mine.toml
    Example: sme-pinn-atmo survey mine.toml --plan
    Example: sme-pinn-atmo survey mine.toml --out mine.h5 --processes 8
    """
    import json

    from ..emulator import write_atomically
    from ..survey import Survey, make, plan, presets

    if copy is not None:
        if settings.name not in presets():
            raise click.BadParameter(f"{settings} is none of {', '.join(presets())}", param_hint="SETTINGS")
        if copy.exists():
            raise click.BadParameter(f"{copy} is there already", param_hint="--copy")
        write_atomically(copy, presets()[settings.name].read_bytes())
        say(f"{copy}: change it as you like")
        return
    chosen = Survey.read(settings).with_(stars=stars, seed=seed)
    if only_plan:
        found = plan(chosen)
        say(json.dumps(found, indent=1) if as_json else found.text())
        return
    if out is None:
        raise click.UsageError("give --out SET, or --plan")
    counts = make(chosen, out, processes=processes, dask=dask)
    if as_json:
        say(json.dumps({"out": str(out), **counts}, indent=1))
    else:
        say(f"{out}: {counts['stars']} stars, {counts['failed']} of them failed; {counts['seconds']:.0f} s")
    if counts["failed"] == counts["stars"]:
        raise click.exceptions.Exit(1)

"""Public data: `data list`, `data get`, `data build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .base import Commands, say


@click.group(cls=Commands)
def data() -> None:
    """Public data that this package reads: what there is, and how it comes here.

    Data are looked for in the folder that the variable SME_PINN_ATMO_DATA names, if it is set, and in the user's cache,
    into which these commands bring them (SME_PINN_ATMO_CACHE names another folder).
    """


@data.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_sets(as_json: bool) -> None:
    """What there is: size, home, licence, citation, and whether it is here.

    Example: sme-pinn-atmo data list
    """
    import json

    from ..sources import SETS, cache_folder, is_here

    rows = {
        s.name: {"title": s.title, "download": s.size, "home": s.home, "licence": s.licence, "citation": s.citation,
                 "files": list(s.files), "here": None if (folder := is_here(s)) is None else str(folder)}
        for s in SETS.values()
    }  # fmt: skip
    if as_json:
        say(json.dumps(rows, indent=1))
        return
    for name, row in rows.items():
        say(f"{name:<14s}{row['title']}")
        for what in ("download", "home", "licence", "citation"):
            say(f"{'':14s}{what}: {row[what]}")
        say(f"{'':14s}here: {row['here'] or 'no'}\n")
    say(f"cache: {cache_folder()}")


def _names(command: Any) -> Any:
    for option in (
        click.option("--from", "source", type=click.Path(path_type=Path, file_okay=False, exists=True),
                     help="A folder that has the originals, instead of the network."),
        click.argument("name"),
    ):  # fmt: skip
        command = option(command)
    return command


@data.command()
@_names
def get(name: str, source: Path | None) -> None:
    """Bring the originals of a set to the cache, checked; interrupted, the same command goes on.

    Sets that are made from them in seconds are made at once (solar, atlas12, rosseland and others).

    Example: sme-pinn-atmo data get solar
    """
    from ..sources import data_set
    from ..sources.bring import bring
    from ..sources.build import build as make

    one = data_set(name)
    if one.quick:
        for path in make(one, source):
            say(str(path))
        return
    say(f"originals in {bring(one, source)}; made into {', '.join(one.files)} by: sme-pinn-atmo data build {name}")


@data.command()
@_names
def build(name: str, source: Path | None) -> None:
    """Make the files of a set that this package reads, from its originals, brought first where they are missing.

    marcs is also made from a folder of .mod files (plain or gzipped, plane-parallel or spherical).

    \b
    Example: sme-pinn-atmo data build atlas9
    Example: sme-pinn-atmo data build marcs --from my_mod_files
    """
    from ..sources import data_set
    from ..sources.build import build as make

    for path in make(data_set(name), source):
        say(str(path))

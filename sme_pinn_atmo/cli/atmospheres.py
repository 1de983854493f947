"""Atmospheres and models: `predict`, `explore`, `export-grid`, `export-julia`, `models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .base import Command, say, write_table


@click.command(cls=Command)
@click.argument("labels", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--model", default="atlas12", show_default=True, help="Model to use.")
@click.option("--teff", type=float, help="Effective temperature [K].")
@click.option("--logg", type=float, help="Surface gravity, log10 of cm s-2.")
@click.option("--m-h", type=float, help="[M/H] in dex.")
@click.option("--alpha-m", type=float, help="[alpha/M] in dex.")
@click.option("--vturb", type=float, help="Microturbulence [km/s].")
@click.option("--mass", type=float, help="Mass [Msun], of a model that knows spheres.")
@click.option("--geometry", type=click.Choice(["plane", "sphere"]), help="Of such a model; a sphere up to log g 3.")
@click.option("--format", "kind",
              help="ecsv, fits, h5, json, kurucz, marcs, moog, turbospectrum; by the suffix if left out.")  # fmt: skip
@click.option("--column", "columns", metavar="LABEL=NAME", multiple=True, help="Column of LABELS for a label.")
@click.option("--field", "fields", multiple=True, help="Profile to write (of a catalogue); all if left out.")
@click.option("--std", is_flag=True, help="Also write standard deviations (of a catalogue).")
@click.option("--double", is_flag=True, help="Write double precision (of a catalogue).")
@click.option("--json", "as_json", is_flag=True, help="Print counts as JSON (of a catalogue).")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
def predict(
    labels: Path | None, model: str, geometry: str | None, kind: str | None, columns: tuple[str, ...],
    fields: tuple[str, ...], std: bool, double: bool, as_json: bool, out: Path, **one: float | None,
) -> None:  # fmt: skip
    """Write the atmosphere of one star, or those of a catalogue.

    One star: its labels as options (those left out have the model's defaults), OUT by its suffix .ecsv, .fits, .h5,
    .json, .dat (Kurucz deck), .mod (MARCS), .moog or .turbospectrum. A catalogue: LABELS is a .fits, .csv, .ecsv or
    .parquet table with a column for each label, OUT an HDF5 file (.h5); interrupted, the same command goes on.

    \b
    Example: sme-pinn-atmo predict --teff 5777 --logg 4.44 --vturb 1 --out sun.dat
    Example: sme-pinn-atmo predict stars.fits --column m_h=FE_H --out atmospheres.h5
    """
    import json

    from ..catalogue import predict_catalogue
    from ..emulator import Emulator
    from ..structure import PROFILES

    given: dict[str, Any] = {k: v for k, v in one.items() if v is not None}
    emulator = Emulator.load(model)
    if geometry is not None:
        given["geometry"] = geometry
    if labels is None:
        for_catalogues = {"--column": columns, "--field": fields, "--std": std, "--double": double, "--json": as_json}
        if meaningless := [option for option, value in for_catalogues.items() if value]:
            raise click.UsageError(f"{meaningless[0]} is for a catalogue: give LABELS")
        say(f"{out}: {_write_star(emulator, given, out, kind)!r}")
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
        say(json.dumps({"out": str(out), **counts}, indent=1))
        return
    say(f"{out}: {counts['stars']} stars, {counts['outside']} of them outside the domain and NaN")


def _pair(text: str) -> tuple[str, str]:
    label, sign, name = text.partition("=")
    if not (label and sign and name):
        raise click.BadParameter(f"{text!r} is not LABEL=NAME", param_hint="--column")
    return label, name


def _write_star(emulator: Any, labels: dict[str, Any], out: Path, kind: str | None) -> Any:
    """Predict one star and write it; returns the atmosphere."""
    from ..grids import MARCS_LOG_TAU, write_kurucz, write_marcs, write_moog, write_turbospectrum

    suffixes = {".ecsv": "ecsv", ".fits": "fits", ".h5": "h5", ".hdf5": "h5", ".json": "json", ".dat": "kurucz",
                ".mod": "marcs", ".moog": "moog", ".turbospectrum": "turbospectrum"}  # fmt: skip
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
    write_table(out, atmosphere.to_table(), kind)
    return atmosphere


@click.command(cls=Command)
@click.option("--model", "names", multiple=True, help="Model to offer, again for another; the packaged if left out.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on this machine; a free one if left out.")
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser, or print its address alone.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write the page to this folder instead.")
def explore(names: tuple[str, ...], port: int, browser: bool, out: Path | None) -> None:
    """Open the page that computes atmospheres in a browser: profiles, error bars, derivatives, files to take home.

    Needs no network: the page is served from this machine, to this machine alone, until Ctrl-C. With --out it is
    written to a folder that any web server can hand out.

    \b
    Example: sme-pinn-atmo explore
    Example: sme-pinn-atmo explore --out site
    """
    import tempfile
    import webbrowser

    from ..explorer import serve, write_site

    chosen = list(names) or None
    if out is not None:
        say(f"{write_site(out, chosen)}: the page, for any web server")
        return
    with tempfile.TemporaryDirectory() as folder:
        server = serve(write_site(folder, chosen), port)
        address = f"http://127.0.0.1:{server.server_port}/"
        say(f"{address} until Ctrl-C")
        if browser:
            webbrowser.open(address)
        with server:
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                say("closed")


@click.command(cls=Command, name="export-grid")
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
    from ..grids.pysme_grid import grid_of_nodes, write_pysme_grid

    if path.suffix != ".npz":
        raise click.BadParameter(f"{path.suffix!r}: PySME reads such grids from .npz", param_hint="PATH")
    nodes, left_out = grid_of_nodes(model, {"teff": teff, "logg": logg, "m_h": m_h}, alpha_m=alpha_m, vturb=vturb)
    write_pysme_grid(path, nodes, solar_scale=str(nodes.extra["solar_scale"][0]))
    say(f"{path}: {len(nodes)} nodes, {left_out} outside the domain left out")


@click.command(cls=Command, name="export-julia")
@click.argument("model", required=False)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--all", "everything", is_flag=True,
              help="Write all that the Julia package of a clone has: models, and what its tests read.")  # fmt: skip
@click.option("--golden", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write labels, profiles and derivatives, to test the Julia package with.")  # fmt: skip
def export_julia(model: str | None, path: Path | None, everything: bool, golden: Path | None) -> None:
    """Write a model for the Julia package in julia_bridge/.

    \b
    Example: sme-pinn-atmo export-julia atlas12 julia_bridge/models/atlas12.pinn
    Example: sme-pinn-atmo export-julia --all
    """
    from ..codes.julia_export import export_all, write_golden
    from ..codes.julia_export import export_julia as export
    from ..emulator import Emulator

    if everything:
        if model or path or golden:
            raise click.UsageError("--all takes no other arguments")
        for written in export_all():
            say(str(written))
        return
    if model is None or path is None:
        raise click.UsageError("give MODEL and PATH, or --all")
    emulator = Emulator.load(model)
    export(emulator, path)
    say(str(path))
    if golden is not None:
        write_golden(emulator, golden)
        say(str(golden))


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json: bool) -> None:
    """The packaged models: labels, ranges, where they come from.

    Example: sme-pinn-atmo models
    """
    import json

    from ..emulator import Emulator
    from ..emulator import models as known

    loaded = {name: Emulator.load(path) for name, path in known().items()}
    if as_json:
        say(json.dumps({name: dict(e.card) for name, e in loaded.items()}, indent=1))
        return
    for emulator in loaded.values():
        say(f"{emulator!r}\n    {emulator.card.get('description', '')}")

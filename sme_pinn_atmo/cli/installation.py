"""`doctor` and `benchmark`: what is usable here, and how fast."""

from __future__ import annotations

from pathlib import Path

import click

from .base import Command, say


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Versions, models, and what of PySME, torch, juliacall, Julia and Korg is usable and how to get the rest.

    Exit code 1 where a model or PySME cannot be used. Example: sme-pinn-atmo doctor
    """
    import json

    from ..doctor import examine, format_result

    result = examine()
    say(json.dumps(result, indent=1) if as_json else format_result(result))
    if not result["ok"]:
        raise click.exceptions.Exit(1)


@click.command(cls=Command)
@click.option("--model", default="atlas12", show_default=True, help="Model to measure.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw cost against size (PNG).")
@click.option("--dask", is_flag=True, help="Also measure a local Dask cluster of one and two processes.")
@click.option("--page", is_flag=True, help="Measure the page of `explore` instead, in Chromium (needs Playwright).")
def benchmark(model: str, path: Path | None, plot: Path | None, dask: bool, page: bool) -> None:
    """Measure speed beside this machine's own rates and beside what one would use instead, in one run.

    Example: OMP_NUM_THREADS=1 sme-pinn-atmo benchmark --json benchmark.json
    """
    import json

    from .. import benchmark as speed
    from ..files import write_atomically

    if page:
        if plot is not None or dask:
            raise click.UsageError("--page takes --json alone")
        from ..explorer import benchmark as in_browser

        times = in_browser.measure()
        if path is not None:
            write_atomically(path, (json.dumps(times, indent=1) + "\n").encode())
        say(in_browser.format_rows(times))
        return
    result = speed.run(model)
    if dask:
        result["dask: stars per second by worker processes"] = speed.dask_rates(model)
    if plot is not None:
        speed.plot(result, plot)
    say(speed.format_rows(result))
    for n, rate in result.get("dask: stars per second by worker processes", {}).items():
        say(f"dask, {n} processes: {rate:.0f} stars a second")
    if path is not None:
        write_atomically(path, (json.dumps(result, indent=1) + "\n").encode())

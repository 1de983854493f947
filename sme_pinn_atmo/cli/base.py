"""What all commands share: how they end, where results go, and small readers of options."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["Command", "Commands", "DataFile", "part_of", "say", "verbose_option", "write_table"]


class Command(click.Command):
    """Ends a mistake in one sentence and exit code 1. What libraries print, and what PySME has to say, goes to standard
    error if the command has `verbose_option` and it is given, and nowhere otherwise."""

    def invoke(self, ctx: click.Context) -> Any:
        from ..quiet import quiet_pysme, verbose_pysme

        ctx.obj = sys.stdout
        verbose = ctx.meta.get(_VERBOSE, False)
        try:
            with (
                open(os.devnull, "w") as nowhere,
                contextlib.redirect_stdout(sys.stderr if verbose else nowhere),
                verbose_pysme() if verbose else quiet_pysme(),
            ):
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except (ValueError, TypeError, KeyError, OSError, RuntimeError, ImportError) as error:
            if ctx.find_root().params["traceback"]:
                raise
            from ..doctor import explain

            raise click.ClickException(explain(error)) from None


_VERBOSE = "sme_pinn_atmo.verbose"

#: For commands that run PySME.
verbose_option = click.option(
    "--verbose", is_flag=True, expose_value=False, help="Show what PySME says (on standard error).",
    callback=lambda ctx, _, value: ctx.meta.update({_VERBOSE: value}),
)  # fmt: skip


class Commands(click.Group):
    command_class = Command
    group_class = type


class DataFile(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A file of computed models: a path, or the name of a file of a data set, wherever `sources.find` has it."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from ..sources import DataMissingError, find

        try:
            return find(value, working_folder=True)
        except DataMissingError as error:
            self.fail(str(error), param, ctx)


def say(text: str) -> None:
    """A result: to standard output."""
    click.echo(text, file=click.get_current_context().obj)


def part_of(text: str) -> tuple[int, int]:
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n) and int(n) > 1):
        raise click.BadParameter(f"{text!r} is not K/N with 1 <= K <= N", param_hint="--fold")
    return int(k), int(n)


def write_table(path: Path, table: Any, kind: str) -> None:
    """Write an astropy table as "ecsv", "csv", "fits", "h5" or "json"; made in memory, so that no half of it is ever
    there. JSON has the table's `meta`, and `units` and `columns` by name."""
    import io
    import json
    import warnings

    import numpy as np

    from ..files import write_atomically

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of keywords longer than FITS had them once
        if kind in ("ecsv", "csv"):
            text = io.StringIO()
            table.write(text, format=f"ascii.{kind}")
            write_atomically(path, text.getvalue().encode())
            return
        if kind == "json":
            content = {"meta": dict(table.meta), "units": {c: str(table[c].unit or "") for c in table.colnames},
                       "columns": {c: np.asarray(table[c]).tolist() for c in table.colnames}}  # fmt: skip
            write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
            return
        data = io.BytesIO()
        if kind == "fits":
            table.write(data, format="fits")
        else:
            import h5py

            with h5py.File(data, "w") as file:
                table.write(file, format="hdf5", path="atmosphere", serialize_meta=True)
        write_atomically(path, data.getvalue())

"""The command `sme-pinn-atmo`: a file a group of commands. Each command imports what it needs when it is called."""

from __future__ import annotations

import click

from .. import __version__
from . import atmospheres, installation, lines, stars, survey, training
from .base import Commands
from .data import data
from .experiment import experiment
from .validate import validate

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--traceback", is_flag=True, help="Show where in the code an error was found.")
def main(traceback: bool) -> None:
    """A physics-informed neural network in place of model-atmosphere grids, for PySME and Korg.

    Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 not possible or
    interrupted, 2 a wrong option, 3 a fit that ended at a limit.
    """


for command in (
    atmospheres.predict, atmospheres.explore, atmospheres.export_grid, atmospheres.models, atmospheres.export_julia,
    stars.demo, stars.synthesize, stars.fit, stars.fit_many,
    lines.calibrate, lines.write_lines,
    survey.survey, survey.survey_export, survey.survey_train,
    training.train, training.evaluate,
    validate, experiment, data,
    installation.doctor, installation.benchmark,
):
    main.add_command(command)

"""The command `sme-pinn-atmo`. Each subcommand imports what it needs when it is called."""

from __future__ import annotations

import click

from . import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A physics-informed neural network in place of model-atmosphere grids, for PySME and Korg."""

"""Training and scoring of models: `train`, `evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from .base import Command, DataFile, part_of, say


@click.command(cls=Command)
@click.argument("config")
@click.option("--out", type=click.Path(path_type=Path), help="Weights to write; NAME.safetensors by default.")
@click.option("--fold", metavar="K/N", help="Hold out part K of N of the sets marked `evaluate`, and score them.")
@click.option("--without", metavar="LABEL=VALUE[,...]", multiple=True,
              help="Hold out all models with this value (LABEL=LOW:HIGH: in this range), and score them.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Processor cores to use.")
@click.option("--device", help="Where to train, as torch names it: cpu, cuda, cuda:1; cpu unless the file says else.")
def train(
    config: str, out: Path | None, fold: str | None, without: tuple[str, ...], threads: int | None, device: str | None
) -> None:
    """Train a model from a configuration file, or the name of a packaged configuration.

    Needs torch (the extra `train`) and, for the packaged configurations, data (sme-pinn-atmo data build NAME).
    Interrupted training goes on where it was when the same command is given again.

    Example: sme-pinn-atmo train atlas9 --fold 1/10 --out atlas9_heldout.safetensors
    """
    import torch

    from ..training.data import parse_plane
    from ..training.run import read_config, train_model

    if threads is not None:
        torch.set_num_threads(threads)
    part = None if fold is None else part_of(fold)
    settings = read_config(config)
    if device is not None:
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise click.UsageError(f"--device {device}: {str(error).splitlines()[0]}") from None
        settings["training"]["device"] = device
    path = out or Path(f"{settings['name']}.safetensors")
    card = train_model(settings, path, fold=part, planes=[parse_plane(text) for text in without])
    say(f"{path}: {card['training']['steps']} steps in {card['training']['seconds']} s")


@click.command(cls=Command)
@click.argument("model")
@click.argument("data", type=DataFile())
@click.option("--family", help="Score only models whose column `family` has this value.")
@click.option("--heldout", is_flag=True, help="Score only the rows that the model's card records as held out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(model: str, data: Path, family: str | None, heldout: bool, as_json: bool) -> None:
    """Score a model on computed structures: median and 95th percentile of the errors in per cent.

    Example: sme-pinn-atmo evaluate atlas9 atlas9.npz --family ODFNEW
    """
    import json

    import numpy as np

    from ..emulator import Emulator
    from ..grids import read
    from ..validation.scores import format_scores, heldout_rows, score

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
        say(json.dumps(scores, indent=1))
    else:
        say(f"{int(rows.sum())} models, {scores['outside']} outside the domain; median/p95 error in per cent")
        say(format_scores(scores))

"""`experiment` and its parts: what settled how the network is built. A user of a model needs none of them.

In: models that held computed ones out, or a training configuration; out: tables in per cent, and figures.
"""

from __future__ import annotations

from pathlib import Path

import click

from .base import Commands, DataFile, part_of, say


@click.group(cls=Commands)
def experiment() -> None:
    """What settled how the network is built; most of these train. See the documentation, "Experiments"."""


@experiment.command()
@click.option("--config", default="atlas9", show_default=True, help="Training configuration: its data and folds.")
@click.option("--fold", metavar="K/N", default="1/10", show_default=True, help="Part that is held out.")
@click.option("--seconds", type=click.FloatRange(min=1), default=480.0, show_default=True,
              help="Processor time of each training.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), help="Steps of each training, in place of a time.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="ablation_report", show_default=True,
              help="Folder for results; a network that is there, trained the same, is not trained again.")  # fmt: skip
def ablation(config: str, fold: str, seconds: float, steps: int | None, out: Path) -> None:
    """A plain network, the soft penalty of Kurucz-a1, and hydrostatics by construction, at equal processor time.

    Needs torch, and data that it names where they are missing.

    Example: sme-pinn-atmo experiment ablation --out ablation_report
    """
    from ..experiments import ablation as comparison

    result = comparison.ablation(out, config=config, fold=part_of(fold), seconds=seconds, steps=steps)
    say(comparison.format_summary(result))
    say(f"table: {out / 'ablation.md'}\nplot: {out / 'ablation.png'}")


@experiment.command()
@click.option("--config", default="atlas12", show_default=True, help="Training configuration with a teacher.")
def teacher(config: str) -> None:
    """How good is the teacher of a configuration, as it is and as the computed models correct it? Leaving each out.

    Needs torch, and data that it names where they are missing.

    Example: sme-pinn-atmo experiment teacher
    """
    from ..experiments import teacher as check
    from ..training.run import read_config

    say(check.format_rows(check.leave_one_out(read_config(config))))


@experiment.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=DataFile(), required=True,
              help="The file whose rows the models held out.")  # fmt: skip
@click.option("--reference", default="atlas9", show_default=True, help="Model that knows what vturb changes.")
def vturb(models: tuple[str, ...], data: Path, reference: str) -> None:
    """Do computed models follow the vturb they state? 1: as those of the reference do; 0: not at all.

    Example: sme-pinn-atmo experiment vturb fold1.safetensors fold2.safetensors --data atlas12.npz
    """
    from ..emulator import Emulator
    from ..experiments import microturbulence as check
    from ..grids import read

    loaded = [Emulator.load(m) for m in models]
    say(check.format_rows(check.response(loaded, Emulator.load(reference), read(data), data.name)))


@experiment.command()
@click.argument("model")
@click.argument("data", type=DataFile())
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the errors (PNG).")
def gradients(model: str, data: Path, plot: Path | None) -> None:
    """Derivatives against centred differences between neighbouring computed models, at models held out from training.

    The labels of DATA's column `family` are kept apart where it has one. Then the largest jumps of values and
    derivatives along random lines through the domain.

    Example: sme-pinn-atmo experiment gradients atlas9_heldout.safetensors atlas9.npz
    """
    from ..emulator import Emulator
    from ..grids import read
    from ..validation import gradients as check
    from ..validation.scores import heldout_rows

    emulator, truth = Emulator.load(model), read(data)
    result = check.compare_families(emulator, truth, heldout_rows(emulator, data.name))
    if plot is not None:
        check.plot(result, plot)
    jumps = check.continuity(emulator)
    say("error in per cent, median / 95th percentile")
    say(check.format_rows(result))
    say("\n".join(f"{name}: {value:.4g}" for name, value in jumps.items()))

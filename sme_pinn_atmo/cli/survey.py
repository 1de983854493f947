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

    from ..files import write_atomically
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


def _wrong(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    found = {}
    for text in values:
        name, sign, numbers = text.partition("=")
        parts = numbers.split(",")
        try:
            found[name], _ = (float(parts[0]), float(parts[1]) if len(parts) > 1 else 0.0), 1 / bool(sign and name)
        except (ValueError, ZeroDivisionError):
            raise click.BadParameter(f"{text!r} is not LABEL=OFFSET or LABEL=OFFSET,SCATTER") from None
    return found


@click.command(cls=Command, name="survey-export")
@click.argument("training", metavar="SET", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--to", "kind", required=True, help="npz, payne, cannon, transformer-payne or ferre.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@click.option("--label", "names", multiple=True, help="Label to write; may be given again. All if left out.")
@click.option("--snr", type=float, help="Add noise: signal-to-noise ratio per pixel.")
@click.option("--wrong", multiple=True, metavar="LABEL=OFFSET[,SCATTER]", callback=_wrong,
              help="Make reference labels of a mock survey wrong by so much; may be given again.")  # fmt: skip
@click.option("--valid", default=0.2, show_default=True, help="Fraction of the stars kept for validation.")
@click.option("--seed", default=1, show_default=True, help="Seed of noise, and of who is kept.")
def survey_export(
    training: Path, kind: str, out: Path, names: tuple[str, ...], snr: float | None,
    wrong: dict[str, tuple[float, float]], valid: float, seed: int,
) -> None:  # fmt: skip
    """Write a training set as another program takes it.

    \b
    Example: sme-pinn-atmo survey-export mine.h5 --to payne --out payne.npz
    Example: sme-pinn-atmo survey-export mine.h5 --to cannon --snr 100 --wrong teff=80,30 --out mock.npz
    """
    from ..survey import Set
    from ..survey.exports import export

    with Set(training) as found:
        path = export(found, kind, out, names=names or None, snr=snr, wrong=wrong, valid=valid, seed=seed)
        say(f"{path}: {len(found.done)} stars for {kind}")


@click.command(cls=Command, name="survey-train")
@click.argument("training", metavar="SET", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write (.npz).")
@click.option("--label", "names", multiple=True, help="Label; may be given again. All if left out.")
@click.option("--gradients", default=0.0, show_default=True, help="Weight of derivatives in the loss.")
@click.option("--width", default=128, show_default=True, help="Of the two hidden layers.")
@click.option("--components", default=60, show_default=True, help="Principal components of the spectra.")
@click.option("--steps", default=4000, show_default=True, help="Of the training.")
@click.option("--seed", default=1, show_default=True, help="Of the weights, and of who is held.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def survey_train(
    training: Path, out: Path, names: tuple[str, ...], gradients: float, width: int, components: int, steps: int,
    seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Train a network of The Payne's kind on a set, a tenth of which it does not see and is scored on. Needs torch.

    Example: sme-pinn-atmo survey-train mine.h5 --out mine.npz
    """
    import json

    from ..survey import Set
    from ..survey.network import train

    with Set(training) as found:
        network = train(
            found, names=names or None, gradients=gradients, width=width, components=components, steps=steps,
            seed=seed, progress=lambda text: click.echo(text, err=True),
        )  # fmt: skip
    network.save(out)
    held = network.card["held"]
    if as_json:
        say(json.dumps({"out": str(out), **network.card}, indent=1))
        return
    say(
        f"{out}: {network.card['spectra']} spectra; on {held['stars']} others rms {held['rms']:.5f}, median "
        f"{held['median']:.5f}, 95 % below {held['p95']:.5f}"
    )

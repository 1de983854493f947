"""From a configuration file to weights and a model card."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from ..composition import SOLAR_SCALES
from ..emulator import Emulator, save_model
from ..emulator.labels import Domain
from ..emulator.runtime import feature_matrix
from ..grids import Structures, read
from ..sources import find, origin
from ..validation.scores import score
from .data import Plane, TrainingSet, depth_grid, in_planes, load_source, plane_text
from .errors import MIN_MODELS, fit_error_model, heldout_errors
from .loop import corpora, train_network
from .teacher import corrected

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef, import-not-found, unused-ignore]

__all__ = ["ConfigError", "configs", "load_sets", "read_config", "train_model"]

_CONFIGS = Path(__file__).parent / "configs"


class ConfigError(ValueError):
    """A training configuration that cannot be used: names the file, the key and what is allowed."""


def configs() -> dict[str, Path]:
    """Configurations of the packaged models, by name."""
    return {p.stem: p for p in sorted(_CONFIGS.glob("*.toml"))}


def read_config(path: str | Path) -> dict[str, Any]:
    """A training configuration (TOML): a file, or the name of a packaged one.

    Raises
    ------
    ConfigError : no such file, not TOML, a table or key that is missing or unknown
    """
    file = configs().get(str(path)) or Path(path)
    try:
        config: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration {str(path)!r}; packaged ones: {', '.join(configs())}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    needed = {
        "": ("name", "seed", "solar_scale", "network", "training", "domain", "data"),
        "network": ("labels", "features", "width", "depth", "n_component", "log_tau"),
        "training": ("steps", "batch", "learning_rate", "epoch"),
        "domain": ("data", "defaults"),
    }
    for table, keys in needed.items():
        there = config if not table else config[table]
        for key in keys:
            if key not in there:
                raise ConfigError(f"{file} lacks {'.'.join(filter(None, (table, key)))!r}")
    try:
        feature_matrix(config["network"]["features"], config["network"]["labels"])
    except ValueError as error:
        raise ConfigError(f"{file}: network.features: {error}") from None
    if config["solar_scale"] not in SOLAR_SCALES:
        raise ConfigError(f"{file}: solar_scale = {config['solar_scale']!r}; allowed: {', '.join(SOLAR_SCALES)}")
    known = {"name", "path", "select", "within", "defaults", "weight", "tolerance", "evaluate", "corrects", "corpus",
             "columns", "drop", "free", "other_depths"}  # fmt: skip
    for source in config["data"]:
        for key in ("name", "path"):
            if key not in source:
                raise ConfigError(f"{file}: a [[data]] table lacks {key!r}")
        if unknown := sorted(set(source) - known):
            raise ConfigError(f"{file}: unknown key {unknown[0]!r} in [[data]]; allowed: {', '.join(sorted(known))}")
    _restarts(config["training"], file)
    config["file"] = str(file)
    return config


def _restarts(training: dict[str, Any], file: Path) -> None:
    """Bring `restart` into the form of a list, one table being allowed; ConfigError for steps that never come."""
    if isinstance(training.get("restart"), dict):
        training["restart"] = [training["restart"]]
    at = [0, *(r["at"] for r in training.get("restart", [])), training["steps"]]
    if any(a >= b for a, b in pairwise(at)):
        raise ConfigError(f"{file}: training.restart at {at[1:-1]}; allowed: increasing steps between 0 and {at[-1]}")


def load_sets(
    config: Mapping[str, Any], fold: tuple[int, int] | None = None, planes: Sequence[Plane] = (), *,
    progress: bool = False,
) -> list[TrainingSet]:  # fmt: skip
    """The training sets of a configuration, in its order.

    With `fold` = (k, n), part k of n (drawn by the seed) of every set marked `evaluate` is held out, and with
    it the same rows of their files in other sets, and the models of sets of another corpus that have the same teff,
    logg and m_h, except a teacher's: those are predictions, whatever computed models exist there. With `planes` every
    model in one of them is held out, a teacher's too.
    """
    labels, grid = config["network"]["labels"], depth_grid(config)
    reading = tqdm(config["data"], desc="reading", unit="set", disable=not progress)
    sets = [load_source(s, labels, grid, config["seed"], fold) for s in reading]
    held = {(s.corpus, tuple(np.round(x[:3], 3))) for s in sets for x in s.x[s.held]}
    teachers = {s["name"] for s in config["data"] if "corrects" in s}
    rows = {(c["path"], row) for c, s in zip(config["data"], sets, strict=True) for row in s.index[s.held].tolist()}
    for i, (source, s) in enumerate(zip(config["data"], sets, strict=True)):
        out = s.held | in_planes(s.x, labels, planes)
        if s.name not in teachers:
            out |= _among(s, held) | np.array([(source["path"], row) in rows for row in s.index.tolist()])
        sets[i] = replace(s, held=out)
    names = [s.name for s in sets]
    for i, source in enumerate(config["data"]):
        if "corrects" in source:
            c = source["corrects"]
            sets[i] = corrected(sets[i], sets[names.index(c["by"])], c["match"], c["split"])
    return sets


def _among(s: TrainingSet, held: set[tuple[str, tuple[float, ...]]]) -> NDArray[np.bool_]:
    """Models of a set at the same teff, logg and m_h as one held out from another corpus."""
    nodes = {node for corpus, node in held if corpus != s.corpus}
    return np.array([tuple(np.round(x[:3], 3)) in nodes for x in s.x], dtype=bool)


def train_model(
    config: Mapping[str, Any], out: Path, *, fold: tuple[int, int] | None = None, planes: Sequence[Plane] = (),
    progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train, and write weights and card to `out` (.safetensors and .json beside it). Returns the card.

    The checkpoint lies beside `out` (.checkpoint) until training has ended; with it there, training goes on.
    A model trained on a fold, or without some planes, gets its scores on the models held out, and its error model from
    them.
    """
    sets = load_sets(config, fold, planes, progress=progress)
    domain = _domain(config, sets, planes)
    checkpoint = out.with_suffix(".checkpoint")
    network, took = train_network(sets, config, checkpoint, domain, progress=progress)
    exported = config.get("export", sets[0].corpus)
    tensors = network.export(corpora(sets).index(exported))
    tensors["nodes"] = _nodes(config, sets, exported)
    card = _card(config, sets, domain, fold, planes, took)
    save_model(out, tensors, card)
    if fold is not None or planes:
        heldout = heldout_models(config, sets)
        emulator = Emulator.load(out)
        card["heldout"]["figures"] = {name: score(emulator, truth) for name, truth in heldout.items()}
        errors = [heldout_errors(emulator, truth) for truth in heldout.values()]
        if fold is not None and sum(len(e.x) for e in errors) >= MIN_MODELS:
            tensors |= fit_error_model(errors, emulator.domain.labels).tensors()
        save_model(out, tensors, card)
    checkpoint.unlink(missing_ok=True)
    return card


def _nodes(config: Mapping[str, Any], sets: list[TrainingSet], corpus: str) -> NDArray[np.float32]:
    """Labels (n, n_label) of the computed models of a corpus that were trained on, each once."""
    computed = [
        s.x[~s.held] for source, s in zip(config["data"], sets, strict=True)
        if s.corpus == corpus and "corrects" not in source and "columns" not in source
    ]  # fmt: skip
    x = np.concatenate(computed)
    if "mass" in config["network"]["labels"]:  # of planes it is infinite
        x[:, list(config["network"]["labels"]).index("mass")] = 1.0
    return np.unique(x, axis=0).astype(np.float32)


def heldout_models(config: Mapping[str, Any], sets: list[TrainingSet]) -> dict[str, Structures]:
    """The held-out models of each set marked `evaluate`, as computed, at their own depths."""
    return {
        s.name: read(find(source["path"], working_folder=True)).select(s.index[s.held])
        for source, s in zip(config["data"], sets, strict=True)
        if source.get("evaluate") and s.held.any()
    }


def _domain(config: Mapping[str, Any], sets: list[TrainingSet], planes: Sequence[Plane] = ()) -> Domain:
    """The domain that the sets named in the configuration span, with its limits put in. It ends where a plane that is
    held out was the last."""
    labels, wanted = config["network"]["labels"], config["domain"]
    used = np.concatenate([s.x[~in_planes(s.x, labels, planes)] for s in sets if s.name in wanted["data"]])
    domain = Domain.from_training(used, labels, wanted["defaults"])
    further = Domain.from_dict({**domain.to_dict(), "strips": wanted.get("strips", [])}).strips
    limits = wanted.get("limits", {})
    return replace(
        domain,
        strips=domain.strips + further,
        lower=tuple(limits[n][0] if n in limits else v for n, v in zip(labels, domain.lower, strict=True)),
        upper=tuple(limits[n][1] if n in limits else v for n, v in zip(labels, domain.upper, strict=True)),
    )


def _card(
    config: Mapping[str, Any], sets: list[TrainingSet], domain: Domain, fold: tuple[int, int] | None,
    planes: Sequence[Plane], took: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    labels = config["network"]["labels"]
    data = [
        {
            **{k: v for k, v in source.items() if k != "path"},
            **origin(find(source["path"], working_folder=True)),
            "models": int((~s.held).sum()),
        }
        for source, s in zip(config["data"], sets, strict=True)
    ]
    option = "" if fold is None else f" --fold {fold[0]}/{fold[1]}"
    option += "".join(f" --without {plane_text(p)}" for p in planes)
    return {
        "name": config["name"],
        "version": __version__,
        "description": config.get("description", ""),
        "references": config.get("references", []),
        "licence": config.get("licence", "BSD-3-Clause"),
        "labels": list(labels),
        "features": list(config["network"]["features"]),
        "domain": domain.to_dict(),
        "solar_scale": config["solar_scale"],
        "data": data,
        "training": {
            "command": f"sme-pinn-atmo train {config['name']}{option}",
            "commit": _commit(),
            "seed": config["seed"],
            **config["training"],
            "network": {k: config["network"][k] for k in ("width", "depth", "n_component", "log_tau")},
            **took,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "machine": platform.machine(),
        },
        "heldout": {
            "fold": None if fold is None else list(fold),
            "planes": [plane_text(p) for p in planes],
            "seed": config["seed"],
            "rows": {
                s.name: {"file": Path(source["path"]).name, "rows": s.index[s.held].tolist()}
                for source, s in zip(config["data"], sets, strict=True)
                if source.get("evaluate") and s.held.any()
            },
        },
    }


def _commit() -> str | None:
    """The commit of the clone that trains, with a mark if it has changes; None outside a clone."""
    try:
        here = Path(__file__).parent
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

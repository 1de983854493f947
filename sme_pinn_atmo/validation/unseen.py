"""The Sun as a network predicts it that was not trained on it: stored in the package, with how it was made."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..emulator import Emulator
from ..files import write_atomically
from ..grids import Structures, read
from ..sources import find
from .scores import heldout_rows
from .spectrum import Layers, layers_of

__all__ = ["PATH", "SUN", "load", "store"]

#: The Sun that all models stand for, as the computed ATLAS-12 model has it.
SUN: dict[str, Any] = {"teff": 5770.0, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0}

#: Where the package keeps it.
PATH = Path(__file__).parent.parent / "data" / "sun_unseen_atlas12.json"

#: What is stored of the Sun's layers: those of a plane-parallel star.
_COLUMNS = tuple(f.name for f in fields(Layers) if f.name not in ("teff", "logg", "m_h", "radius", "height"))


def store(model: str | Path, path: Path = PATH) -> dict[str, Any]:
    """Write the Sun of a network that held out every computed Sun of `atlas12.npz`. Returns what is written.

    Raises
    ------
    ValueError : the network was trained on a computed Sun, or its card does not say what it held out
    """
    emulator = Emulator.load(model)
    truth = read(find("atlas12.npz"))
    suns = np.flatnonzero(_is_sun(truth))
    # Held out was a part of the rows that the configuration does not drop, drawn by the seed (`training.data`); those
    # among them that are not consistent, which no network is trained on, are not in the card's list.
    fold, seed = emulator.card["heldout"]["fold"], emulator.card["heldout"]["seed"]
    source: dict[str, Any] = next((d for d in emulator.card.get("data", []) if d.get("file") == "atlas12.npz"), {})
    dropped = source.get("drop", [])
    rows = np.setdiff1d(np.arange(len(truth)), dropped)
    part: Any = [] if fold is None else rows[np.random.default_rng(seed).permutation(len(rows))[fold[0] - 1 :: fold[1]]]
    listed = heldout_rows(emulator, "atlas12.npz")
    if not (len(suns) and len(listed) and np.isin(listed, part).all() and np.isin(suns, [*part, *dropped]).all()):
        raise ValueError(
            f"{emulator.name} did not hold out the computed Suns of atlas12.npz (rows {', '.join(map(str, suns))}): "
            "train with the --fold that has them"
        )
    layers = layers_of(emulator.predict(**SUN))
    training = emulator.card["training"]
    content = {
        "command": "sme-pinn-atmo validate store-sun FOLD.safetensors",
        "training": {k: training[k] for k in ("command", "steps", "seed", "commit") if k in training},
        "held out": {"fold": emulator.card["heldout"]["fold"], "computed Suns": [int(i) for i in suns]},
        "weights_sha256": emulator.card["sha256"], "model": emulator.name, "sun": SUN,
        "layers": {name: [float(f"{v:.9g}") for v in getattr(layers, name)] for name in _COLUMNS},
    }  # fmt: skip
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return content


def _is_sun(models: Structures) -> np.ndarray:
    x = models.labels
    return np.asarray((np.abs(x["teff"] - 5775) < 15) & (np.abs(x["logg"] - 4.44) < 0.02) & (np.abs(x["m_h"]) < 0.05))


def load(path: Path = PATH) -> tuple[Layers, dict[str, Any]]:
    """The stored Sun, and what is stored with it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    columns = {name: np.array(content["layers"][name]) for name in _COLUMNS}
    return Layers(SUN["teff"], SUN["logg"], SUN["m_h"], **columns), content

"""Structures of C3K as the network AtmosNet (Nidever & Ting) predicts them, at the labels that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grids import COLUMNS, Structures, write_npz
from ..grids.npz import load_arrays

__all__ = ["make", "predict"]

Array = NDArray[np.float64]

#: Depths of C3K: 80 layers.
_LOG_TAU = -6.875 + 0.125 * np.arange(80)

_LABELS = {"teff": 0, "logg": 1, "m_h": 2, "alpha_m": 3}


def make(originals: Path, out: Path) -> None:
    """`c3k_atmosnet.npz`: 15,189 cool and 18,585 hot stars; the hot network has no RHOX, which
    `read_npz` makes from ABROSS."""
    labels, profiles, subset = [], [], []
    single: Any
    for kind, first in (("cool", 1), ("hot", 2)):
        networks = {c: load_arrays(originals / f"atmosnet_c3k_col{c}_300neurons_{kind}.npz") for c in range(first, 7)}
        x = networks[2]["training_labels"].astype(float)
        p = np.full((len(x), len(_LOG_TAU), len(COLUMNS)), np.nan)
        for column, network in networks.items():
            p[..., column - 1] = predict(network, x)
        labels.append(x)
        profiles.append(p)
        subset.append(np.full(len(x), kind))
    x, p = np.concatenate(labels), np.concatenate(profiles)
    n, single = len(x), np.asarray(p, dtype=np.float32)
    models = Structures(
        {k: x[:, j] for k, j in _LABELS.items()}, single, np.tile(_LOG_TAU, (n, 1)), np.full(n, len(_LOG_TAU)),
        {"subset": np.concatenate(subset)}, "AtmosNet",
    )  # fmt: skip
    write_npz(out / "c3k_atmosnet.npz", models)


def predict(network: dict[str, NDArray[Any]], labels: Array) -> Array:
    """One column of profiles (n, 80) of a network of AtmosNet: two layers of leaky ReLU, log10 out."""
    x = (labels - network["x_min"]) / (network["x_max"] - network["x_min"]) - 0.5
    for k in range(3):
        x = x @ network[f"w_array_{k}"].T.astype(float) + network[f"b_array_{k}"]
        if k < 2:
            x = np.where(x > 0, x, 0.01 * x)
    return np.asarray(10.0**x)

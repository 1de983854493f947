"""Do computed models follow the microturbulence that they state?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..emulator import Emulator
from ..emulator.runtime import FIELDS
from ..grids import COLUMNS, Structures
from ..validation.scores import heldout_rows, predict_like

__all__ = ["PROFILES", "format_rows", "response"]

Array = NDArray[np.float64]

#: Profiles that are compared.
PROFILES = ("temperature", "opacity", "rhox", "gas_pressure")

_COLUMN = [COLUMNS.index(c) for c in ("T", "ABROSS", "RHOX", "P")]
_FIELD = [FIELDS.index(p) for p in PROFILES]


def response(
    emulators: Sequence[Emulator], reference: Emulator, truth: Structures, file: str, *, draws: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """How much of the change that vturb makes in `reference` the computed models show.

    What is left of each model of `truth`, after the prediction of the emulator that it was held out from (at the mean
    vturb, so that nothing of vturb is taken out), is fitted by s times the change of the logarithmic profiles that
    `reference` (an emulator that knows vturb) predicts from that mean to the vturb stated: s = 1 where the structures
    follow it, 0 where they do not. The mean over the stars is taken out layer by layer. Least squares over the layers
    with log tau_Ross from -5 to 1 of all stars in the domain of `reference`; the interval is of stars drawn anew.

    Returns
    -------
    profile -> {"models": count, "slope": s, "low", "high": 68 % interval}

    Raises
    ------
    ValueError : fewer than 8 models can be compared
    """
    mean = float(np.mean(truth.labels["vturb"]))
    depths = np.arange(-5.0, 1.01, 0.25)
    left, change = [], []
    for emulator in emulators:
        part = truth.select(heldout_rows(emulator, file))
        predicted = predict_like(emulator, replace(part, labels={**part.labels, "vturb": np.full(len(part), mean)}))
        for i in range(len(part)):
            stars = {n: np.full(2, float(part.labels[n][i])) for n in reference.domain.labels if n in part.labels}
            stars["vturb"] = np.array([mean, float(part.labels["vturb"][i])])
            good = np.isfinite(predicted[i, :, _COLUMN[0]]) & np.isfinite(part.log_tau_ross[i])
            if not reference.domain.contains(**stars).all() or good.sum() < 10:
                continue
            own = part.log_tau_ross[i, good].astype(float)
            with np.errstate(divide="ignore", invalid="ignore"):
                error = np.log(part.profiles[i, good].astype(float) / predicted[i, good])[:, _COLUMN]
            left.append([np.interp(depths, own, e) for e in error.T])
            x = np.stack([stars[n] for n in reference.domain.labels], axis=-1)
            value = reference.network.log_profiles(x, 10.0**depths)[:, _FIELD]
            change.append(value[1] - value[0])
    if len(left) < 8:
        raise ValueError(f"{len(left)} models of {truth.source} can be compared with {reference.name}; 8 are needed")
    y, d = np.array(left), np.array(change)  # (n, 4, n_depth)
    y, d = y - y.mean(axis=0), d - d.mean(axis=0)
    top, bottom = (y * d).sum(axis=-1), (d * d).sum(axis=-1)  # (n, 4)
    pick = np.random.default_rng(seed).integers(len(y), size=(draws, len(y)))
    drawn = top[pick].sum(axis=1) / bottom[pick].sum(axis=1)
    low, high = np.quantile(drawn, (0.16, 0.84), axis=0)
    slope = top.sum(axis=0) / bottom.sum(axis=0)
    return {
        name: {"models": len(y), "slope": float(slope[k]), "low": float(low[k]), "high": float(high[k])}
        for k, name in enumerate(PROFILES)
    }


def format_rows(result: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a profile: the slope and its 68 % interval."""
    lines = [f"{'profile':14}{'models':>7}{'slope':>8}   68 % interval"]
    lines += [f"{n:14}{r['models']:7d}{r['slope']:8.3f}   {r['low']:.3f} to {r['high']:.3f}" for n, r in result.items()]
    return "\n".join(lines)

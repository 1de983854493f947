"""Computed structures as training sets: one depth grid, natural logarithms, what is held out, and by which seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from .. import physics
from ..grids import Structures, read
from ..runtime import FIELDS
from ..sources import find

__all__ = ["COLUMNS", "TrainingSet", "depth_grid", "load_source", "neighbours", "network_fields",
           "on_grid", "other_depths"]  # fmt: skip

Array = NDArray[np.float64]

#: Order of the fields of a training set, as in `runtime.FIELDS` without the last.
COLUMNS = FIELDS[:-1]


@dataclass(frozen=True)
class TrainingSet:
    """Models of one source on one depth grid.

    x : (n, n_label) labels
    y : (n, 6, n_depth) natural logarithms of `COLUMNS`; extrapolated where `mask` is False
    mask : (n, n_depth) depths that the computed model has
    held : (n,) kept out of training
    index : (n,) row in the source
    weight : share of a batch
    layer : (n, n_depth) which of its own layers, as a fraction, a model has at each depth of the grid
    corpus : sets of one corpus share the corpus input of the network
    free : label -> range that the structures do not depend on it over
    """

    name: str
    x: Array
    y: Array
    mask: NDArray[np.bool_]
    held: NDArray[np.bool_]
    index: NDArray[np.int64]
    layer: Array
    weight: float = 1.0
    corpus: str = ""
    free: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def depth_grid(config: Mapping[str, Any]) -> Array:
    """log10 tau_Ross of the layers that a configuration trains on."""
    low, high, step = config["network"]["log_tau"]
    return np.linspace(low, high, round((high - low) / step) + 1)


def on_grid(structures: Structures, log_tau: Array) -> tuple[Array, NDArray[np.bool_], Array]:
    """ln of `COLUMNS` (n, 6, n_depth) of each model on a common grid in log10 tau_Ross, which depths it has, and which
    of its layers (n, n_depth), as a fraction, it has there.

    Cubic spline in log tau where the model's depths differ from the grid; its end values beyond them.
    """
    n, depth = len(structures), len(log_tau)
    y, mask = np.empty((n, 6, depth)), np.ones((n, depth), bool)
    layer = np.tile(np.arange(depth, dtype=float), (n, 1))
    order = [1, 4, 5, 3, 0, 2]  # RHOX, T, P, XNE, ABROSS, ACCRAD -> COLUMNS
    for i in range(n):
        k = int(structures.n_depth[i])
        own = np.asarray(structures.log_tau_ross[i, :k], dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(structures.profiles[i, :k, :].astype(float))[:, order]
        if k >= depth and np.allclose(own[:depth], log_tau, atol=2e-3):
            y[i] = values[:depth].T
            continue
        mask[i] = (log_tau >= own[0] - 2e-3) & (log_tau <= own[-1] + 2e-3)
        layer[i] = np.interp(log_tau, own, np.arange(k))
        good = np.isfinite(values).all(axis=1) & np.concatenate([[True], np.diff(own) > 0])
        if good.sum() < 4:
            mask[i] = False
            y[i] = 0.0
            continue
        y[i] = CubicSpline(own[good], values[good])(np.clip(log_tau, own[good][0], own[good][-1])).T
    return y, mask, layer


def other_depths(structures: Structures, first: float, step: float) -> Structures:
    """The structures, with the depths `first` + `step` * layer (log10 tau_Ross) wherever the integral of the opacity
    over the column mass is closer to those than to the depths that the source states."""
    alternative = first + step * np.arange(structures.profiles.shape[1])
    m, kappa = (structures.profiles[..., j].astype(float) for j in (0, 4))
    steps = 0.5 * (kappa[:, 1:] + kappa[:, :-1]) * np.diff(m, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        integral = np.log10(np.cumsum(np.concatenate([(kappa * m)[:, :1], steps], axis=1), axis=1))
        stated, other = (np.nanmedian(np.abs(integral - t), axis=1) for t in (structures.log_tau_ross, alternative))
    use = other < stated
    return replace(structures, log_tau_ross=np.where(use[:, None], alternative, structures.log_tau_ross))


def neighbours(x: Array, corpus: NDArray[Any]) -> NDArray[np.int64]:
    """The next star along each label, all others equal, of the same corpus: (n, n_label) indices.

    At the end of a row it is the one before; a star that is alone is its own neighbour.
    """
    n, n_label = x.shape
    out = np.tile(np.arange(n)[:, None], (1, n_label))
    for j in range(n_label):
        others = np.delete(x, j, axis=1)
        order = np.lexsort((x[:, j], *others.T, corpus))
        here, there = order[:-1], order[1:]
        row = (np.abs(others[here] - others[there]).max(axis=1, initial=0.0) < 1e-6) & (corpus[here] == corpus[there])
        out[there[row], j] = here[row]
        out[here[row], j] = there[row]
    return out


def network_fields(y: Array, x: Array, labels: Sequence[str], ln_tau: Array) -> Array:
    """The four fields q (n, 4, n_depth) of the network for profiles y (n, 6, n_depth) at labels x."""
    t, kappa, a, n_e, _, p = (y[:, j] for j in range(6))
    teff, logg = x[:, list(labels).index("teff"), None], x[:, list(labels).index("logg"), None]
    grey = np.log(physics.grey_temperature(np.exp(ln_tau), np.ones(1)))
    ln_f = np.minimum(n_e + t + np.log(physics.BOLTZMANN) - p, np.log(0.999))
    return np.stack([t - np.log(teff) - grey, kappa, a - np.log(10.0) * logg, ln_f - np.log1p(-np.exp(ln_f))], 1)


def consistent(y: Array, x: Array, labels: Sequence[str], ln_tau: Array, tolerance: float) -> NDArray[np.bool_]:
    """Models that are finite and whose own opacity and acceleration give their column mass and pressure.

    The column mass and pressure integrated from ABROSS and ACCRAD may be off by `tolerance` (relative) in the
    median layer: a model that fails never converged, or its columns are damaged.
    """
    ok = np.asarray(np.isfinite(y).all(axis=(1, 2)))
    gravity = 10.0 ** x[:, list(labels).index("logg"), None]
    e = np.exp(np.where(ok[:, None, None], y, 0.0))
    m, p = physics.integrate_structure(
        np.exp(ln_tau), e[:, 1], e[:, 2], gravity, physics.integration_matrix(ln_tau)
    )
    off = np.maximum(np.abs(m / e[:, 4] - 1), np.abs(p / e[:, 5] - 1))
    return np.asarray(ok & (np.median(off, axis=1) < tolerance))


def load_source(
    source: Mapping[str, Any], labels: Sequence[str], log_tau: Array, seed: int, fold: tuple[int, int] | None = None
) -> TrainingSet:
    """One `[[data]]` table of a training configuration.

    Keys: `name`; `path`; `select` (column -> value or list of values); `defaults` (label -> value where the file
    has no such label); `drop` (rows of the file to leave out); `other_depths` ([first, step], see that function);
    `free` (label -> [low, high] that the structures do not depend on it over); `evaluate` (part k of n of it is held
    out where `fold` = (k, n)); `weight` (share of a batch); `corpus` (the set's own name unless it shares another's);
    `tolerance` (see `consistent`).
    """
    structures = read(find(source["path"], working_folder=True))
    rows = np.arange(len(structures))
    for key, wanted in source.get("select", {}).items():
        column = structures.column(key)
        rows = rows[np.isin(column[rows], wanted if isinstance(wanted, list) else [wanted])]
    if not len(rows):
        raise ValueError(f"no model of {source['path']} has {source['select']}")
    rows = rows[~np.isin(rows, source.get("drop", []))]
    structures = structures.select(rows)
    defaults = source.get("defaults", {})
    x = np.stack(
        [
            structures.labels[n] if n in structures.labels else np.full(len(structures), float(defaults[n]))
            for n in labels
        ],
        axis=1,
    )
    if "other_depths" in source:
        structures = other_depths(structures, *source["other_depths"])
    y, mask, layer = on_grid(structures, log_tau)
    keep = mask.any(axis=1) & consistent(y, x, labels, np.log(10.0) * log_tau, float(source.get("tolerance", 0.05)))
    held = np.zeros(len(rows), bool)
    if fold is not None and source.get("evaluate"):
        # Drawn over all rows of the source, before any is dropped: the same stars whatever the cuts.
        k, n = fold
        held[np.random.default_rng(seed).permutation(len(rows))[k - 1 :: n]] = True
    return TrainingSet(
        source["name"], x[keep], y[keep], mask[keep], held[keep], rows[keep], layer[keep],
        float(source.get("weight", 1.0)), source.get("corpus", source["name"]),
        {k: tuple(v) for k, v in source.get("free", {}).items()},
    )  # fmt: skip

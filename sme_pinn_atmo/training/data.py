"""Computed structures as training sets: one depth grid, natural logarithms, what is held out, and by which seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.constants import c, sigma_sb
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from .. import physics
from ..emulator.runtime import FIELDS
from ..grids import MARCS_LOG_TAU, Structures, read
from ..grids.planes import Plane, in_planes, parse_plane, plane_text
from ..sources import find

__all__ = ["COLUMNS", "Plane", "TrainingSet", "depth_grid", "in_planes", "load_source", "neighbours",
           "network_fields", "on_grid", "other_depths", "parse_plane", "plane_text"]  # fmt: skip

Array = NDArray[np.float64]

#: Order of the fields of a training set: `runtime.FIELDS` without the density of atoms.
COLUMNS = tuple(f for f in FIELDS if f != "atom_density")

#: A radiative acceleration is learnt where the last digit of the radiation pressure that it is the gradient of (MARCS
#: prints five) makes less than this share of it.
_ACCELERATION_NOISE = 0.05
_LAST_DIGIT = 5e-5


@dataclass(frozen=True)
class TrainingSet:
    """Models of one source on one depth grid.

    x : (n, n_label) labels
    y : (n, 7, n_depth) natural logarithms of `COLUMNS`; extrapolated or made up where `mask` is False
    mask : (n, 7, n_depth) what the computed model has
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
    """log10 tau_Ross of the layers that a configuration trains on: [first, last, step], or "marcs" for its own."""
    if config["network"]["log_tau"] == "marcs":
        return MARCS_LOG_TAU
    low, high, step = config["network"]["log_tau"]
    return np.linspace(low, high, round((high - low) / step) + 1)


def on_grid(structures: Structures, log_tau: Array) -> tuple[Array, NDArray[np.bool_], Array]:
    """ln of `COLUMNS` (n, 7, n_depth) of each model on a common grid in log10 tau_Ross, what of them it has
    (n, 7, n_depth), and which of its layers (n, n_depth), as a fraction, it has there.

    Cubic spline in log tau where the model's depths differ from the grid; its end values beyond them.
    """
    n, depth = len(structures), len(log_tau)
    y, mask = np.zeros((n, len(COLUMNS), depth)), np.zeros((n, len(COLUMNS), depth), bool)
    layer = np.tile(np.arange(depth, dtype=float), (n, 1))
    order = [1, 4, 5, 3, 0, 2]  # RHOX, T, P, XNE, ABROSS, ACCRAD -> COLUMNS
    known = _known_acceleration(structures)
    for i in range(n):
        k = int(structures.n_depth[i])
        own = np.asarray(structures.log_tau_ross[i, :k], dtype=float)
        density = structures.more.get("density", np.full(structures.log_tau_ross.shape, np.nan))[i, :k]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(np.column_stack([structures.profiles[i, :k, order].T.astype(float), density]))
        has = np.isfinite(values)
        has[:, 2] &= known[i, :k]
        values[:, 2] = np.where(has[:, 2], values[:, 2], _plain_acceleration(values, structures.labels["teff"][i]))
        if k >= depth and np.allclose(own[:depth], log_tau, atol=2e-3):
            y[i], mask[i] = values[:depth].T, has[:depth].T
            continue
        there = (log_tau >= own[0] - 2e-3) & (log_tau <= own[-1] + 2e-3)
        layer[i] = np.interp(log_tau, own, np.arange(k))
        increasing = np.concatenate([[True], np.diff(own) > 0])
        for j in range(len(COLUMNS)):
            good = np.isfinite(values[:, j]) & increasing
            if good.sum() >= 4:
                y[i, j] = CubicSpline(own[good], values[good, j])(np.clip(log_tau, own[good][0], own[good][-1]))
                mask[i, j] = there & (np.interp(log_tau, own, has[:, j].astype(float)) == 1)
    return y, mask, layer


def _known_acceleration(structures: Structures) -> NDArray[np.bool_]:
    """(n, n_depth) where ACCRAD is more than the rounding of the radiation pressure that it was made from."""
    acceleration, m = structures.profiles[..., 5], structures.profiles[..., 0]
    if "p_rad" not in structures.more:
        return np.asarray(np.isfinite(acceleration))
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = _LAST_DIGIT * structures.more["p_rad"] / np.abs(np.gradient(m, axis=1))
        return np.asarray(noise < _ACCELERATION_NOISE * acceleration)


def _plain_acceleration(values: Array, teff: float) -> Array:
    """ln of kappa sigma Teff^4 / c for ln of `COLUMNS` (n_depth, 7): stands in where no acceleration is known."""
    return np.asarray(values[:, 1] + np.log(sigma_sb.cgs.value * teff**4 / c.cgs.value))


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
    """The fields q (n, n_field, n_depth) of the network for profiles y (n, 7, n_depth) at labels x: four, or six
    where a mass is among the labels (see `runtime`)."""
    t, kappa, a, n_e, m, p, density = (y[:, j] for j in range(len(COLUMNS)))
    teff, logg = x[:, list(labels).index("teff"), None], x[:, list(labels).index("logg"), None]
    grey = np.log(physics.grey_temperature(np.exp(ln_tau), np.ones(1)))
    ln_f = np.minimum(n_e + t + np.log(physics.BOLTZMANN) - p, np.log(0.999))
    q = [t - np.log(teff) - grey, kappa, a - np.log(10.0) * logg, ln_f - np.log1p(-np.exp(ln_f))]
    if "mass" in labels:
        atoms = p - t - np.log(physics.BOLTZMANN) + np.log1p(-np.exp(ln_f))
        ln_mu = density - atoms - np.log(physics.ATOMIC_MASS)
        known = np.isfinite(ln_mu) & (density != 0)
        usual = np.median(ln_mu[known.all(axis=1)], axis=0) if known.all(axis=1).any() else np.full(len(ln_tau), 0.25)
        top = (m + kappa)[:, :1] - ln_tau[0]
        q += [np.where(known, ln_mu, usual), np.broadcast_to(top, t.shape)]
    return np.stack(q, 1)


def consistent(
    y: Array, x: Array, labels: Sequence[str], ln_tau: Array, tolerance: float, height: Array
) -> NDArray[np.bool_]:
    """Models that are finite and whose own opacity and acceleration give their column mass and pressure.

    The column mass and pressure integrated from ABROSS and ACCRAD below the first layer may be off by `tolerance`
    (relative) in the median layer: a model that fails never converged, or its columns are damaged. `height`
    (n, n_depth) is that over the radius of a sphere, 0 in a plane.
    """
    ok = np.asarray(np.isfinite(y[:, :6]).all(axis=(1, 2)) & np.isfinite(height).all(axis=1))
    gravity = 10.0 ** x[:, list(labels).index("logg"), None]
    e = np.exp(np.where(ok[:, None, None], y[:, :6], 0.0))
    matrix = physics.integration_matrix(ln_tau)
    dm = np.exp(ln_tau) / e[:, 1]
    m = e[:, 4, :1] + dm @ matrix.T
    rest = gravity / (1.0 + np.where(ok[:, None], height, 0.0)) ** 2 - e[:, 2]
    p = rest[:, :1] * e[:, 4, :1] + (rest * dm) @ matrix.T
    off = np.maximum(np.abs(m / e[:, 4] - 1), np.abs(p / e[:, 5] - 1))
    return np.asarray(ok & (np.median(off, axis=1) < tolerance))


def _labels_of(structures: Structures, labels: Sequence[str], defaults: Mapping[str, float]) -> Array:
    """(n, n_label); the mass of a plane-parallel model is infinite, see `runtime`."""
    geometry = structures.extra.get("geometry")
    columns = []
    for name in labels:
        if name == "mass":
            mass = np.asarray(structures.extra.get("mass", np.full(len(structures), np.inf)), dtype=float)
            columns.append(mass if geometry is None else np.where(geometry == "s", mass, np.inf))
        elif name in structures.labels:
            columns.append(structures.labels[name])
        else:
            columns.append(np.full(len(structures), float(defaults[name])))
    return np.stack(columns, axis=1)


def _height_over_radius(structures: Structures, log_tau: Array) -> Array:
    """(n, n_depth) of spheres on the grid; 0 in planes."""
    out = np.zeros((len(structures), len(log_tau)))
    if "depth_cm" not in structures.more or "geometry" not in structures.extra:
        return out
    for i in np.flatnonzero(structures.extra["geometry"] == "s"):
        k = int(structures.n_depth[i])
        height = -structures.more["depth_cm"][i, :k] / structures.extra["radius"][i]
        out[i] = np.interp(log_tau, structures.log_tau_ross[i, :k], height)
    return out


def load_source(
    source: Mapping[str, Any], labels: Sequence[str], log_tau: Array, seed: int, fold: tuple[int, int] | None = None
) -> TrainingSet:
    """One `[[data]]` table of a training configuration.

    Keys: `name`; `path`; `select` (column -> value or list of values); `within` (column -> [low, high]; unknown
    values pass); `defaults` (label -> value where the file has no such label);
    `columns` (those of `COLUMNS` to learn, all of them by default);
    `drop` (rows of the file to leave out); `other_depths` ([first, step], see that function);
    `free` (label -> [low, high] that the structures do not depend on it over); `evaluate` (part k of n of it is held
    out where `fold` = (k, n)); `weight` (share of a batch); `corpus` (the set's own name unless it shares another's);
    `tolerance` (see `consistent`).
    """
    structures = read(find(source["path"], working_folder=True))
    rows = np.arange(len(structures))
    for key, wanted in source.get("select", {}).items():
        column = structures.column(key)
        rows = rows[np.isin(column[rows], wanted if isinstance(wanted, list) else [wanted])]
    for key, (low, high) in source.get("within", {}).items():
        column = structures.column(key)[rows]
        rows = rows[~((column < low) | (column > high))]  # what is not known stays
    if not len(rows):
        raise ValueError(f"no model of {source['path']} has {source['select']}")
    rows = rows[~np.isin(rows, source.get("drop", []))]
    structures = structures.select(rows)
    x = _labels_of(structures, labels, source.get("defaults", {}))
    if "other_depths" in source:
        structures = other_depths(structures, *source["other_depths"])
    y, mask, layer = on_grid(structures, log_tau)
    keep = mask[:, 0].any(axis=1) & ~np.isnan(x).any(axis=1)
    height = _height_over_radius(structures, log_tau)
    keep &= consistent(y, x, labels, np.log(10.0) * log_tau, float(source.get("tolerance", 0.05)), height)
    y = np.where(np.isfinite(y), y, 0.0)
    mask &= np.isin(COLUMNS, source.get("columns", COLUMNS))[:, None]
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

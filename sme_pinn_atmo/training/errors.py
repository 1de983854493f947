"""From the errors on held-out models to the error model of an emulator: fitted and checked by leaving one out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import erf

from ..emulator import Emulator
from ..emulator.uncertainty import ERROR_FIELDS, ErrorModel, distance_in_steps, logarithmic
from ..grids import COLUMNS, Structures
from ..validation.scores import predict_like

__all__ = ["MIN_MODELS", "HeldOut", "calibration", "fit_error_model", "heldout_errors"]

Array = NDArray[np.float64]

#: Fewest held-out models that an error model is fitted to.
MIN_MODELS = 8

#: Kernel widths to start from: log10 Teff, log g, and any other label in dex or km/s.
_WIDTHS = {"teff": 0.03, "logg": 0.5, "m_h": 0.5, "alpha_m": 0.3, "vturb": 2.0}
_KNOT_STEP = 0.75  # in log10 tau
#: Distance in steps from which on models in a plane say how errors grow, and how many of a network's say in what steps.
_FAR, _SOME = 0.3, 300
#: How often growth and factors are fitted by turns: either changes the other.
_ROUNDS = 8
_FILE_ORDER = [COLUMNS.index(c) for c in ("T", "ABROSS", "ACCRAD", "XNE", "RHOX", "P")]


@dataclass(frozen=True)
class HeldOut:
    """Computed models that a network has not seen, and how far it is off.

    x : (n, n_label) labels; error : (n, 6, n_depth) relative errors of `ERROR_FIELDS`, NaN at the outermost layer and
    where a model has none; log_tau : (n, n_depth) log10 tau_Ross; nodes : (m, n_label) labels of what it was trained
    on, none where that is not recorded
    """

    x: Array
    error: Array
    log_tau: Array
    nodes: Array

    def distance(self, per_step: Array | None, teff: int) -> Array | None:
        """`distance_in_steps` (n,) of the models from the nodes; None where either is not known."""
        if per_step is None or not len(self.nodes):
            return None
        return distance_in_steps(logarithmic(self.x, teff), logarithmic(self.nodes, teff), per_step)


def heldout_errors(emulator: Emulator, truth: Structures) -> HeldOut:
    """The errors of an emulator at the models of `truth` inside its domain."""
    predicted = predict_like(emulator, truth)
    inside = np.isfinite(predicted[..., 1]).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = (predicted / truth.profiles - 1.0)[inside]
    error[:, 0] = np.nan
    x = np.stack([truth.labels.get(n, np.full(len(truth), emulator.domain.defaults.get(n, np.nan)))
                  for n in emulator.domain.labels], 1)[inside]  # fmt: skip
    error = error[..., _FILE_ORDER].transpose(0, 2, 1)
    nodes = np.empty((0, x.shape[1])) if emulator.nodes is None else emulator.nodes
    return HeldOut(x, error, truth.log_tau_ross[inside].astype(float), nodes)


def fit_error_model(
    parts: Sequence[HeldOut], labels: Sequence[str], planes: Sequence[HeldOut] = (), nodes: Array | None = None
) -> ErrorModel:
    """The error model of held-out models, one part a network.

    Kernel widths and the weight of the prior (the 90th percentile of all squared errors) are those with which the
    others foretell the logarithm of each model's squared errors best. Where `planes` gives the errors of networks that
    have not seen whole planes of models, the standard deviation grows with the distance to the `nodes` that the final
    network was trained on, such that 68.3 % of the errors in the planes lie within one; the steps in which the
    distance counts are those that follow these errors best. Then one factor a field makes 68.3 % of the errors of
    `parts` lie within one standard deviation. Raises ValueError for fewer than 8 models.
    """
    x = np.concatenate([p.x for p in parts])
    if len(x) < MIN_MODELS:
        raise ValueError(f"{len(x)} held-out models are too few for an error model; at least {MIN_MODELS} are needed")
    teff = list(labels).index("teff")
    z = logarithmic(x, teff)
    low, high = (f([f(p.log_tau[np.isfinite(p.log_tau)]) for p in parts]) for f in (np.min, np.max))
    knots = np.arange(low, high + 1e-6, _KNOT_STEP)
    log_square = np.log(np.concatenate([_square(p.error, p.log_tau, knots) for p in parts]) + 1e-16)
    prior = np.nanquantile(log_square, 0.9, axis=0)
    # Of a field that a model does not know (the acceleration of cool MARCS models) it says what is usual.
    log_square = np.where(np.isnan(log_square), np.nanmedian(log_square, axis=0), log_square)

    def model(p: Array) -> ErrorModel:
        return ErrorModel(z, log_square, prior, np.exp(p[0]), np.exp(p[1:]), np.log(10.0) * knots, teff=teff)

    start = np.log([10.0, *(_WIDTHS.get(n, 0.5) for n in labels)])

    def miss(p: Array) -> float:
        off = log_square - np.log(model(p).leave_one_out())
        # With few models: no further from the start than they say clearly.
        return float(np.mean((off - off.mean(axis=0)) ** 2) + np.mean((p - start) ** 2) / len(z))

    best = model(_minimum(miss, start))
    far = [p for p in planes if len(p.x) and len(p.nodes)]
    if far and nodes is not None:
        best = _with_coverage(best, far, labels, nodes)
    for _ in range(_ROUNDS if best.nodes is not None else 1):
        if best.nodes is not None:
            best = replace(best, growth=_growth(best, far))
        add = 2 * np.log([_quantile(r) for r in _ratios(best, parts)])[:, None]
        best = replace(best, log_square=best.log_square + add, prior=best.prior + add)
    return best


def _with_coverage(model: ErrorModel, planes: Sequence[HeldOut], labels: Sequence[str], nodes: Array) -> ErrorModel:
    """The error model with `nodes`, and what it learns of distances from networks that have not seen whole planes."""
    names = [n for n in labels if n != "mass"]  # planes have none, and all that depends on it is smooth
    per_step = 1 / np.array([_grid_step(logarithmic(nodes, model.teff), list(labels).index(n), _WIDTHS.get(n, 0.5))
                             for n in names])  # fmt: skip

    def steps(p: Array) -> Array:
        out = np.zeros(len(labels))
        out[[list(labels).index(n) for n in names]] = per_step * np.exp(p)
        return out

    rng = np.random.default_rng(0)
    some = [(p, np.sort(rng.permutation(len(p.x))[:_SOME])) for p in planes]
    # ln of how much larger than foretold the errors of each model are, (n, 6).
    off = np.concatenate([_excess(model, p, rows) for p, rows in some])
    known = np.isfinite(off)

    def distances(p: Array) -> Array:
        z = [(logarithmic(h.x[rows], model.teff), logarithmic(h.nodes, model.teff)) for h, rows in some]
        return np.concatenate([distance_in_steps(a, b, steps(p)) for a, b in z])

    def miss(p: Array) -> float:
        d = distances(p)
        slope = np.nansum(off * d[:, None], axis=0) / (known * d[:, None] ** 2).sum(axis=0).clip(1e-9)
        return float(np.nanmean((off - slope * d[:, None]) ** 2) + 0.1 * np.mean(p**2))

    return replace(model, nodes=logarithmic(nodes, model.teff), per_step=steps(_minimum(miss, np.zeros(len(names)))))


def _growth(model: ErrorModel, planes: Sequence[HeldOut]) -> Array:
    """`growth` (6,) with which 68.3 % of the errors in planes that are far from the nodes lie within one standard
    deviation."""
    ratios, distances = [], []
    for held in planes:
        d = held.distance(model.per_step, model.teff)
        assert d is not None
        ratios.append(_ratios(model, [held], replace(model, growth=None).variance(held.x)))
        known = np.isfinite(held.log_tau)[:, None] & np.isfinite(held.error)
        distances.append([np.repeat(d, known[:, j].sum(axis=1)) for j in range(len(ERROR_FIELDS))])
    out = []
    for j in range(len(ERROR_FIELDS)):
        ratio, d = (np.concatenate([part[j] for part in both]) for both in (ratios, distances))
        far = d > _FAR
        out.append(max(_quantile(np.log(ratio[far] + 1e-12) / d[far]), 0.0) if far.any() else 0.0)
    return np.array(out)


def _grid_step(z: Array, label: int, scattered: float) -> float:
    """Median distance of a model to the next along a label, all others equal; `scattered` where there is no such."""
    others = np.delete(z, label, axis=1)
    order = np.lexsort((z[:, label], *others.T))
    step, same = np.diff(z[order, label]), np.abs(np.diff(others[order], axis=0)).max(axis=1, initial=0.0) < 1e-6
    step = step[same & (step > 1e-6)]
    return float(np.median(step)) if len(step) else scattered


def _excess(model: ErrorModel, held: HeldOut, rows: NDArray[np.int64]) -> Array:
    """ln of the ratio (n, 6) of the errors of held-out models to what the model foretells, in the mean over depth."""
    square = _square(held.error[rows], held.log_tau[rows], model.ln_tau / np.log(10.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a field that a model has nowhere
        return np.asarray(0.5 * np.nanmean(np.log(square + 1e-16) - np.log(model.variance(held.x[rows])), axis=2))


def _minimum(miss: Callable[[Array], float], start: Array) -> Array:
    simplex = np.vstack([start, start + 0.4 * np.eye(len(start))])
    found = minimize(miss, start, method="Nelder-Mead", options={"maxfev": 400, "initial_simplex": simplex})
    return np.asarray(found.x)


def calibration(model: ErrorModel, parts: Sequence[HeldOut], planes: Sequence[HeldOut] = ()) -> dict[str, Any]:
    """Share of the errors within k standard deviations, each model of `parts` judged by what the others say of it, or
    by the error model as it is where that was made from others.

    Returns {"k": [...], "expected": [...], field: [...]}, and {"planes": {field: [...]}} of models in planes that no
    part held out; for a perfect error bar, field equals expected.
    """
    k = np.linspace(0.25, 3.0, 12)

    def shares(ratio: list[Array]) -> dict[str, list[float]]:
        return {name: [float(np.mean(ratio[j] < v)) for v in k] for j, name in enumerate(ERROR_FIELDS)}

    out = {"k": k.tolist(), "expected": erf(k / np.sqrt(2.0)).tolist(), **shares(_ratios(model, parts))}
    planes = [p for p in planes if len(p.x)]
    if planes:
        ratios = [_ratios(model, [p], model.variance(p.x, p.distance(model.per_step, model.teff))) for p in planes]
        out["planes"] = shares([np.concatenate([r[j] for r in ratios]) for j in range(len(ERROR_FIELDS))])
    return out


def _square(error: Array, log_tau: Array, knots: Array) -> Array:
    """Mean squared error (n, 6, n_knot) of the layers within a knot's step; that of the nearest knot where none is, NaN
    where a model has none of a field."""
    out = np.full((len(error), len(ERROR_FIELDS), len(knots)), np.nan)
    for i, t in enumerate(log_tau):
        for j, e in enumerate(error[i]):
            good = np.isfinite(t) & np.isfinite(e)
            if not good.any():
                continue
            near = np.abs(t[good][:, None] - knots) <= _KNOT_STEP
            count = near.sum(axis=0)
            there = np.flatnonzero(count)
            nearest = there[np.abs(np.arange(len(knots))[:, None] - there).argmin(axis=1)]
            out[i, j] = ((e[good] ** 2) @ near / np.maximum(count, 1))[nearest]
    return out


def _ratios(model: ErrorModel, parts: Sequence[HeldOut], variance: Array | None = None) -> list[Array]:
    """|error| / standard deviation of every layer, a list over fields; `variance` (n, 6, n_knot) of the models, by
    default what the others of `parts` say of each, where the error model was made from models with their labels."""
    if variance is None:
        steps = [p.distance(model.per_step, model.teff) for p in parts]
        known = [d for d in steps if d is not None]
        distance = np.concatenate(known) if len(known) == len(steps) else None
        x = np.concatenate([p.x for p in parts])
        own = x.shape == model.labels.shape and np.allclose(logarithmic(x, model.teff), model.labels, rtol=1e-6)
        variance = model.leave_one_out(distance) if own else model.variance(x, distance)
    error = [e for p in parts for e in p.error]
    depth = [t for p in parts for t in p.log_tau]
    out: list[list[Array]] = [[] for _ in ERROR_FIELDS]
    for v, e, t in zip(variance, error, depth, strict=True):
        for j in range(len(ERROR_FIELDS)):
            good = np.isfinite(t) & np.isfinite(e[j])
            std = np.interp(np.log(10.0) * t[good], model.ln_tau, np.sqrt(v[j]))
            out[j].append(np.abs(e[j, good]) / std)
    return [np.concatenate(r) for r in out]


def _quantile(ratio: Array) -> float:
    """What 68.3 % of the ratios lie below."""
    return float(np.quantile(ratio, erf(1 / np.sqrt(2.0))))

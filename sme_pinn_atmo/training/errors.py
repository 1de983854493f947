"""From the errors on held-out models to the error model of an emulator: fitted and checked by leaving one out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import erf

from ..emulator import Emulator
from ..grids import COLUMNS, Structures
from ..uncertainty import ERROR_FIELDS, ErrorModel
from ..validation.scores import predict_like

__all__ = ["MIN_MODELS", "calibration", "fit_error_model", "heldout_errors"]

Array = NDArray[np.float64]

#: Fewest held-out models that an error model is fitted to.
MIN_MODELS = 8

#: Kernel widths to start from: log10 Teff, log g, and any other label in dex or km/s.
_WIDTHS = {"teff": 0.03, "logg": 0.5, "m_h": 0.5, "alpha_m": 0.3, "vturb": 2.0}
_KNOT_STEP = 0.75  # in log10 tau
_FILE_ORDER = [COLUMNS.index(c) for c in ("T", "ABROSS", "ACCRAD", "XNE", "RHOX", "P")]


def heldout_errors(emulator: Emulator, truth: Structures) -> tuple[Array, Array, Array]:
    """Labels (n, n_label), relative errors (n, 6, n_depth) of `ERROR_FIELDS` and log10 tau (n, n_depth) of the models
    of `truth` inside the domain; NaN at the outermost layer and where a model has none."""
    predicted = predict_like(emulator, truth)
    inside = np.isfinite(predicted[..., 1]).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = (predicted / truth.profiles - 1.0)[inside]
    error[:, 0] = np.nan
    x = np.stack([truth.labels.get(n, np.full(len(truth), emulator.domain.defaults.get(n, np.nan)))
                  for n in emulator.domain.labels], 1)[inside]  # fmt: skip
    return x, error[..., _FILE_ORDER].transpose(0, 2, 1), truth.log_tau_ross[inside].astype(float)


def fit_error_model(parts: Sequence[tuple[Array, Array, Array]], labels: Sequence[str]) -> ErrorModel:
    """The error model of held-out models (what `heldout_errors` gives, one part a network).

    Kernel widths and the weight of the prior (the 90th percentile of all squared errors) are those with which the
    others foretell the logarithm of each model's squared errors best; then one factor a field makes 68.3 % of
    the errors lie within one standard deviation. Raises ValueError for fewer than 8 models.
    """
    z = np.concatenate([p[0] for p in parts])
    if len(z) < MIN_MODELS:
        raise ValueError(f"{len(z)} held-out models are too few for an error model; at least {MIN_MODELS} are needed")
    knots = np.arange(min(np.nanmin(p[2]) for p in parts), max(np.nanmax(p[2]) for p in parts) + 1e-6, _KNOT_STEP)
    log_square = np.log(np.concatenate([_square(e, t, knots) for _, e, t in parts]) + 1e-16)
    prior = np.nanquantile(log_square, 0.9, axis=0)
    # Of a field that a model does not know (the acceleration of cool MARCS models) it says what is usual.
    log_square = np.where(np.isnan(log_square), np.nanmedian(log_square, axis=0), log_square)
    teff = list(labels).index("teff")
    z[:, teff] = np.log10(z[:, teff])

    def model(p: Array) -> ErrorModel:
        return ErrorModel(z, log_square, prior, np.exp(p[0]), np.exp(p[1:]), np.log(10.0) * knots, teff)

    start = np.log([10.0, *(_WIDTHS.get(n, 0.5) for n in labels)])

    def miss(p: Array) -> float:
        off = log_square - np.log(model(p).leave_one_out())
        # With few models: no further from the start than they say clearly.
        return float(np.mean((off - off.mean(axis=0)) ** 2) + np.mean((p - start) ** 2) / len(z))

    simplex = np.vstack([start, start + 0.4 * np.eye(len(start))])
    found = minimize(miss, start, method="Nelder-Mead", options={"maxfev": 400, "initial_simplex": simplex})
    best = model(found.x)
    add = 2 * np.log([_factor(best, parts, j) for j in range(len(ERROR_FIELDS))])[:, None]
    return replace(best, log_square=best.log_square + add, prior=best.prior + add)


def calibration(model: ErrorModel, parts: Sequence[tuple[Array, Array, Array]]) -> dict[str, Any]:
    """Share of the errors within k standard deviations, each model judged by what the others say of it.

    Returns {"k": [...], "expected": [...], field: [...]}; for a perfect error bar, field equals expected.
    """
    k = np.linspace(0.25, 3.0, 12)
    ratio = _ratios(model, parts)
    return {"k": k.tolist(), "expected": erf(k / np.sqrt(2.0)).tolist(),
            **{name: [float(np.mean(ratio[j] < v)) for v in k] for j, name in enumerate(ERROR_FIELDS)}}  # fmt: skip


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


def _ratios(model: ErrorModel, parts: Sequence[tuple[Array, Array, Array]]) -> list[Array]:
    """|error| / standard deviation of every layer, a list over fields."""
    variance = model.leave_one_out()
    error = [e for _, errors, _ in parts for e in errors]
    depth = [t for _, _, depths in parts for t in depths]
    out: list[list[Array]] = [[] for _ in ERROR_FIELDS]
    for v, e, t in zip(variance, error, depth, strict=True):
        for j in range(len(ERROR_FIELDS)):
            good = np.isfinite(t) & np.isfinite(e[j])
            std = np.interp(np.log(10.0) * t[good], model.ln_tau, np.sqrt(v[j]))
            out[j].append(np.abs(e[j, good]) / std)
    return [np.concatenate(r) for r in out]


def _factor(model: ErrorModel, parts: Sequence[tuple[Array, Array, Array]], field: int) -> float:
    """What the standard deviation of a field must be multiplied with for 68.3 % to lie within it."""
    return float(np.quantile(_ratios(model, parts)[field], erf(1 / np.sqrt(2.0))))

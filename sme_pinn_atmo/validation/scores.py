"""Errors of predicted structures against computed ones, in the definitions that all figures of this project use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import physics
from ..emulator import Emulator
from ..grids import COLUMNS, Structures, joined
from ..grids.planes import in_planes, parse_plane

__all__ = ["REGIONS", "TEFF_RANGES", "format_scores", "heldout_rows", "label_sets", "predict_folds", "predict_like",
           "relative_errors", "score", "score_planes", "score_profiles", "summary", "teff_sets"]  # fmt: skip

Array = NDArray[np.float64]

#: Ranges in Teff [K] that scores are also given for, as half-open intervals (low, high].
TEFF_RANGES = {"Teff<4000": (0.0, 3999.999), "4000-7500": (3999.999, 7500.0), "7500-12000": (7500.0, 12000.0),
               ">12000": (12000.0, np.inf)}  # fmt: skip

#: Edges between regions of each label that cards give figures for.
REGIONS = {"logg": (2.0, 3.25), "m_h": (-2.25, -1.25, -0.3), "alpha_m": (-0.1, 0.1, 0.3), "vturb": (0.75, 1.75, 2.75)}


def predict_like(emulator: Emulator, truth: Structures) -> Array:
    """Profiles (n_model, n_depth_max, 6) in the order of `COLUMNS` at the labels and Rosseland depths of `truth`.

    NaN where a model has no layer or the emulator no depth, and all over where its labels lie outside the domain or
    its depths do not increase.
    """
    out = np.full(truth.profiles.shape, np.nan)
    spherical = None
    if "mass" in emulator.domain.labels and "geometry" in truth.extra:
        spherical = truth.extra["geometry"] == "s"
    for i in range(len(truth)):
        layers = int(truth.n_depth[i])
        labels: dict[str, Any] = {n: float(truth.labels[n][i]) for n in emulator.domain.labels if n in truth.labels}
        if spherical is not None:
            mass = float(truth.column("mass")[i])
            labels |= {"mass": mass} if spherical[i] and np.isfinite(mass) else {}
        if not emulator.domain.contains(**labels):
            continue
        if spherical is not None:
            labels["geometry"] = "sphere" if spherical[i] else "plane"
        tau = 10.0 ** truth.log_tau_ross[i, :layers]
        if not (np.diff(tau) > 0).all():  # four of Kurucz (1993) never converged
            continue
        there = (tau >= emulator.tau_ross[0] * (1 - 5e-3)) & (tau <= emulator.tau_ross[-1] * (1 + 5e-3))
        a = emulator.predict(**labels, tau_ross=tau[there])
        columns = (a.rhox, a.temperature, a.gas_pressure, a.electron_density, a.opacity, a.radiative_acceleration)
        out[i, :layers][there] = np.stack(columns, axis=-1)
    return out


def relative_errors(predicted: Array, truth: Structures) -> Array:
    """|predicted / computed - 1| in per cent, (n_model, n_depth_max, 6); NaN at the outermost layer, where
    boundary conditions differ, and where either has no layer."""
    with np.errstate(invalid="ignore", divide="ignore"):
        error = 100.0 * np.abs(predicted / truth.profiles - 1.0)
    error[:, 0] = np.nan
    return np.asarray(error)


def score_profiles(
    predicted: Array, truth: Structures, sets: Mapping[str, NDArray[np.bool_]] | None = None
) -> dict[str, dict[str, Any]]:
    """Median and 95th percentile of the relative error per column, and of the hydrostatic residual ("HSE").

    Parameters
    ----------
    predicted : (n_model, n_depth_max, 6) at the depths of `truth`; models that are NaN all over are not scored
    sets : name -> which models (n_model,); by default "all", then `TEFF_RANGES`, then "spheres" where there are

    Returns
    -------
    set name -> {"models": count, column: {"median": %, "p95": %}, ..., "HSE": ...}; sets without models are left out
    """
    error = relative_errors(predicted, truth)
    scored = np.isfinite(predicted[..., 1]).any(axis=1)
    residual = [_residual(predicted[i], truth, i) for i in range(len(truth))]
    out: dict[str, dict[str, Any]] = {}
    if sets is None:
        sets = teff_sets(truth.labels["teff"])
        if "geometry" in truth.extra:
            sets["spheres"] = truth.extra["geometry"] == "s"
    for name, there in sets.items():
        which = scored & there
        if not which.any():
            continue
        row: dict[str, Any] = {"models": int(which.sum())}
        for j, column in enumerate(COLUMNS):
            row[column] = summary(error[which][..., j])
        row["HSE"] = summary(np.concatenate([residual[i] for i in np.flatnonzero(which)]))
        out[name] = row
    return out


def score(emulator: Emulator, truth: Structures) -> dict[str, Any]:
    """`score_profiles` of an emulator, with the number of models outside its domain under "outside"."""
    predicted = predict_like(emulator, truth)
    outside = ~np.isfinite(predicted[..., 1]).any(axis=1)
    if outside.all():
        raise ValueError(f"none of the {len(truth)} models of {truth.source} lies in the domain of {emulator.name}")
    return {"outside": int(outside.sum()), **score_profiles(predicted, truth)}


def heldout_rows(emulator: Emulator, file: str) -> NDArray[np.int64]:
    """Rows of a file (by its name) that the card records as kept from training."""
    recorded = emulator.card.get("heldout", {}).get("rows", {}).values()
    return np.concatenate([[], *(r["rows"] for r in recorded if r["file"] == file)]).astype(np.int64)


def predict_folds(emulators: Sequence[Emulator], files: Mapping[str, Structures]) -> tuple[Array, Structures]:
    """Of a cross-validation: every model of the files (by name) that an emulator held out, as it predicts it, and as
    it was computed.

    Raises ValueError where two emulators held out the same model, or none did.
    """
    predicted, truths = [], []
    for file, truth in files.items():
        profiles = np.full(truth.profiles.shape, np.nan)
        seen = np.zeros(len(truth), bool)
        for emulator in emulators:
            rows = heldout_rows(emulator, file)
            if seen[rows].any():
                raise ValueError(f"{emulator.name}: row {rows[seen[rows]][0]} of {file} is held out twice")
            profiles[rows] = predict_like(emulator, truth.select(rows))
            seen[rows] = True
        if not seen.any():
            raise ValueError(f"no card records held-out rows of {file}")
        predicted.append(profiles[seen])
        truths.append(truth.select(np.flatnonzero(seen)))
    return np.concatenate(predicted), joined(truths)


def score_planes(emulators: Sequence[Emulator], files: Mapping[str, Structures]) -> dict[str, Any]:
    """Scores by plane of models that networks were trained without; {"models": 0} where their domain ends before."""
    out: dict[str, Any] = {}
    for emulator in emulators:
        truth = joined([t.select(heldout_rows(emulator, f)) for f, t in files.items()])
        labels = [n for n in emulator.domain.labels if n in truth.labels]
        x = np.stack([truth.labels[n] for n in labels], 1)
        for plane in emulator.card["heldout"]["planes"]:
            rows = truth.select(np.flatnonzero(in_planes(x, labels, [parse_plane(plane)])))
            predicted = predict_like(emulator, rows)
            inside = np.flatnonzero(np.isfinite(predicted[..., 1]).any(axis=1))
            scores = score_profiles(predicted[inside], rows.select(inside)) if len(inside) else {}
            out[plane] = {"models": len(inside), **{k: v for k, v in scores.items() if k == "all"}}
    return out


def format_scores(scores: dict[str, Any]) -> str:
    """A table for people: median / 95th percentile in per cent, one row a set."""
    names = (*COLUMNS, "HSE")
    lines = [f"{'set':>20} {'models':>7} " + " ".join(f"{n:>15}" for n in names)]
    for name, row in scores.items():
        if isinstance(row, dict):
            cells = (f"{row[n]['median']:.4f}/{row[n]['p95']:.3f}" for n in names)
            lines.append(f"{name:>20} {row['models']:>7} " + " ".join(f"{c:>15}" for c in cells))
    return "\n".join(lines)


def _residual(profiles: Array, truth: Structures, i: int) -> Array:
    """Hydrostatic residual between layers in per cent, with the gravity at the heights of the computed sphere."""
    n = int(truth.n_depth[i])
    rhox, _, p, _, _, acceleration = profiles[1:n].T
    height = None
    if "geometry" in truth.extra and truth.extra["geometry"][i] == "s" and "depth_cm" in truth.more:
        height = -truth.more["depth_cm"][i, 1:n] / truth.extra["radius"][i]
    gravity = np.asarray(10.0 ** truth.labels["logg"][i])
    return 100.0 * physics.hydrostatic_residual(rhox, p, acceleration, gravity, height)


def label_sets(truth: Structures) -> dict[str, NDArray[np.bool_]]:
    """Which models lie in each of `REGIONS`, by name."""
    out = {}
    for label, edges in REGIONS.items():
        value = truth.labels.get(label)
        if value is None or value.min() == value.max():
            continue
        for low, high in zip((-np.inf, *edges), (*edges, np.inf), strict=True):
            out[f"{label} {_range(low, high)}"] = (value >= low) & (value < high)
    return out


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return f"< {high:g}"
    return f">= {low:g}" if np.isinf(high) else f"{low:g} to {high:g}"


def teff_sets(teff: Array) -> dict[str, NDArray[np.bool_]]:
    """Which stars are in each set of the scores: "all", then `TEFF_RANGES`."""
    return {"all": np.ones(len(teff), bool), **{k: (teff > a) & (teff <= b) for k, (a, b) in TEFF_RANGES.items()}}


def summary(values: Array) -> dict[str, float]:
    """Median and 95th percentile of the finite values."""
    good = values[np.isfinite(values)]
    if not good.size:
        return {"median": float("nan"), "p95": float("nan")}
    return {"median": float(np.median(good)), "p95": float(np.percentile(good, 95))}

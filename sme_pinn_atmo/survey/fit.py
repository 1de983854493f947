"""Fit an observed star with a network of spectra: what it costs to label a star as surveys do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from ..stars.model import Match, ObservedWindow, cut, match, project
from ..stars.spectrum import ObservedSpectrum, to_air
from ..stars.windows import Windows
from .network import SpectrumNetwork

__all__ = ["NetworkFit", "fit_star"]

Array = NDArray[np.float64]

#: How near an end of the training labels counts as at it, as a part of their range.
_NEAR = 1e-3


@dataclass(frozen=True, eq=False)
class NetworkFit:
    """Labels of a star as a network has them.

    values, errors : by label; errors are formal, scaled by the misfit, NaN at a limit
    stopped : labels that ended at an end of the training labels
    velocity : [km/s], mean over windows
    reduced_chi2, seconds : of the fit
    windows, matches : what was fitted, and how
    """

    values: dict[str, float]
    errors: dict[str, float]
    stopped: tuple[str, ...]
    velocity: float
    reduced_chi2: float
    seconds: float
    windows: list[ObservedWindow]
    matches: list[Match]


def fit_star(
    network: SpectrumNetwork, spectrum: ObservedSpectrum, windows: Windows, *, fixed: Mapping[str, float] | None = None,
    start: Mapping[str, float] | None = None, resolution: float, velocity: float = 0.0, degree: int = 1,
    floor: float = 0.005, clip: float = 6.0, medium: Sequence[str] = ("air",),
) -> NetworkFit:  # fmt: skip
    """Fit all labels of a network to a spectrum but those that are `fixed`: velocity and continuum by window, as
    `stars.fit` does it with PySME.

    Parameters
    ----------
    windows : those that lie in the network's bands count
    start : labels to start from; the middle of the training labels for others
    resolution : of the spectrum, which must be that of the training set; it says how many pixels are kept
    velocity : first guess [km/s]
    degree, floor, clip : see `stars.fit.Options`
    medium : of the network's bands

    Raises ValueError for labels that the network does not have, or no window in its bands.
    """
    began = time.perf_counter()
    fixed = dict(fixed or {})
    for name in (*fixed, *(start or {})):
        if name not in network.names:
            raise ValueError(f"the network has no label {name!r}; it has {', '.join(network.names)}")
    free = [i for i, n in enumerate(network.names) if n not in fixed]
    middle = 0.5 * (network.low + network.high)
    base = np.array([fixed.get(n, (start or {}).get(n, m)) for n, m in zip(network.names, middle, strict=True)])
    waves = [network.wavelength[network.band == k] for k in np.unique(network.band)]
    air = [to_air(w) if medium[min(k, len(medium) - 1)] == "vacuum" else w for k, w in enumerate(waves)]
    bands = [np.flatnonzero(network.band == k) for k in np.unique(network.band)]
    observed = cut(spectrum.with_floor(floor), windows, velocity, points=4.0, resolution=resolution)
    observed, numbers = _inside(observed, air)
    if not observed:
        raise ValueError(f"no window of {windows.name} lies in the bands of the network")
    velocities = [velocity] * len(observed)

    def matches(labels: Array) -> list[Match]:
        flux = network.predict(labels)
        return [
            match(w, air[k], flux[bands[k]], degree=degree, velocity=v, free=True)
            for w, k, v in zip(observed, numbers, velocities, strict=True)
        ]

    def full(x: Array) -> Array:
        labels: Array = base.copy()
        labels[free] = x * (network.high - network.low)[free] + network.low[free]
        return labels

    def residuals(x: Array) -> Array:
        return np.asarray(np.concatenate([m.residual for m in matches(full(x))]))

    def columns(x: Array) -> Array:
        from ..stars.instrument import resample

        slopes = network.predict_with_slopes(full(x))[1]
        assert slopes is not None
        scaled = slopes[free] * (network.high - network.low)[free, None]
        found = []
        for w, k, m in zip(observed, numbers, matches(full(x)), strict=True):
            seen = np.column_stack([resample(air[k], s[bands[k]], w.wave, m.velocity)[0] for s in scaled])
            found.append(-project(w, m, seen, degree=degree, velocity=True))
        return np.concatenate(found)

    x = np.clip((base[free] - network.low[free]) / (network.high - network.low)[free], 0.02, 0.98)
    for _ in range(2 if clip else 1):
        solved = least_squares(residuals, x, jac=columns, bounds=(0.0, 1.0), x_scale=1.0, xtol=1e-7)
        x = np.clip(solved.x, 1e-6, 1 - 1e-6)
        if clip:
            observed = _clipped(observed, matches(full(x)), clip)
    found = matches(full(x))
    jacobian = columns(x)
    points = sum(int(w.good.sum()) for w in observed)
    reduced = sum(float(m.residual @ m.residual) for m in found) / max(points - len(free) - 3 * len(found), 1)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * max(reduced, 1.0)
    sigma = np.sqrt(np.diag(covariance)) * (network.high - network.low)[free]
    names = [network.names[i] for i in free]
    stopped = tuple(n for n, v in zip(names, x, strict=True) if not _NEAR < v < 1 - _NEAR)
    values = dict(zip(network.names, map(float, full(x)), strict=True))
    errors = {n: float("nan") if n in stopped else float(s) for n, s in zip(names, sigma, strict=True)}
    return NetworkFit(
        values, errors, stopped, float(np.mean([m.velocity for m in found])), reduced, time.perf_counter() - began,
        observed, found,
    )  # fmt: skip


def _inside(observed: Sequence[ObservedWindow], air: Sequence[Array]) -> tuple[list[ObservedWindow], list[int]]:
    """Windows that lie in a band of the network, and in which; `air` : wavelengths of each band in air [A]."""
    kept, numbers = [], []
    for w in observed:
        if inside := [k for k, a in enumerate(air) if a[0] < w.low and a[-1] > w.high]:
            kept.append(w)
            numbers.append(inside[0])
    return kept, numbers


def _clipped(observed: Sequence[ObservedWindow], found: Sequence[Match], clip: float) -> list[ObservedWindow]:
    """Windows without points whose residual is more than `clip` robust standard deviations off."""
    off = np.concatenate([m.residual[w.good] for m, w in zip(found, observed, strict=True)])
    limit = clip * max(1.4826 * float(np.median(np.abs(off))), 1.0)
    return [replace(w, good=w.good & (np.abs(m.residual) < limit)) for w, m in zip(observed, found, strict=True)]


def as_dict(fit: NetworkFit) -> dict[str, Any]:
    """Plain numbers, NaN as None."""
    return {
        "values": fit.values, "errors": {n: None if np.isnan(e) else e for n, e in fit.errors.items()},
        "stopped": list(fit.stopped), "velocity": fit.velocity, "reduced_chi2": fit.reduced_chi2,
        "seconds": fit.seconds,
    }  # fmt: skip

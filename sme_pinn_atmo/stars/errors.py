"""Errors of a star's parameters: of noise, atmosphere, line data, and what all have in common; apart and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .corrections import CORRECTED
from .model import Match, ObservedWindow, project
from .synthesis import SHIFTS, pool

__all__ = ["EXTERNAL", "EXTERNAL_AS_IT_IS", "PARTS", "Errors", "block_bootstrap", "correlation_factor", "estimate",
           "leave_windows_out"]  # fmt: skip

Array = NDArray[np.float64]

#: Parts of the error that are shown.
PARTS = ("scaled", "atmosphere", "lines", "external")

#: Blocks of a bootstrap [A]: as long as a line with its wings and blends.
_BLOCK = 1.5


#: What all windows of a star get wrong together (1D, LTE, a solar scale, a list's scale of log gf), and no disagreement
#: among them shows: standard deviations of teff [K] and monh [dex], with corrected lines and with a list as it is, that
#: benchmark stars of 4000 to 6600 K need beside the other parts (`validation.calibration.external`), fitted with
#: lines that were calibrated without them; log g needs none. The references' own errors of [Fe/H] are part of it.
EXTERNAL: Mapping[str, float] = {"teff": 33.0, "monh": 0.045}
EXTERNAL_AS_IT_IS: Mapping[str, float] = {"teff": 82.0, "monh": 0.076}

#: Part of a line's scatter by which the zero point of a list may be off.
_COMMON = 1 / 3


@dataclass(frozen=True, eq=False)
class Errors:
    """Standard deviations by parameter, NaN where one is not known.

    formal : of the noise that the spectrum states, pixels taken to be independent
    scaled : of noise, floor and the strengths of lines, times the root of reduced chi2 and of the correlation of
        neighbouring residuals
    atmosphere : from the error bars of the model atmospheres; NaN where they have none
    lines : of line data, as windows and pieces of windows disagree: the larger of a bootstrap over pieces of 1.5 A and
        a jackknife over windows; and of the zero point of the list's log gf, a third of a line's scatter, in quadrature
    external : what all windows get wrong together, see `EXTERNAL` (0 where none is known), as far as the spectrum
        decides and not a prior
    total : the larger of `scaled` and that disagreement, which both hold the misfit, `atmosphere`, the zero point and
        `external`, in quadrature
    covariance : (n, n) of the free parameters in the order of `names`, scaled to `total`
    correlation : the factor of the variance that correlated residuals make
    """

    names: tuple[str, ...]
    formal: dict[str, float]
    scaled: dict[str, float]
    atmosphere: dict[str, float]
    lines: dict[str, float]
    external: dict[str, float]
    total: dict[str, float]
    covariance: Array
    correlation: float


def correlation_factor(residuals: Sequence[Array]) -> float:
    """By how much the variance of a mean of residuals exceeds that of independent ones: 1 + 2 sum rho_k.

    The sum goes to the first lag whose autocorrelation, over all pieces (n,), is not positive; at least 1.
    """
    longest = min(60, *(max(len(r) // 4, 1) for r in residuals)) if residuals else 0
    power = sum(float(r @ r) for r in residuals)
    factor = 1.0
    for lag in range(1, longest + 1):
        rho = sum(float(r[lag:] @ r[:-lag]) for r in residuals) / max(power, 1e-300)
        if rho <= 0:
            break
        factor += 2 * rho
    return factor


def block_bootstrap(
    blocks: Sequence[tuple[Array, Array]], prior: Array, *, draws: int = 400, seed: int = 1
) -> Array:
    """(draws, n) changes of the parameters when blocks are drawn with replacement.

    blocks : (columns (n_pixel, n), residuals (n_pixel,)) of each piece of the spectrum
    prior : (n, n) inverse covariance of the priors
    """
    normal = np.array([c.T @ c for c, _ in blocks])
    gradient = np.array([c.T @ r for c, r in blocks])
    counts = np.random.default_rng(seed).multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=draws)
    left = np.einsum("db,bij->dij", counts, normal) + prior
    right = np.einsum("db,bi->di", counts, gradient)
    return np.array([np.linalg.lstsq(a, b, rcond=1e-10)[0] for a, b in zip(left, right, strict=True)])


def leave_windows_out(windows: Sequence[tuple[Array, Array]], prior: Array) -> Array:
    """(n,) standard deviations of a jackknife over windows; NaN for one window. Arguments as of `block_bootstrap`."""
    m = len(windows)
    if m < 2:
        return np.full(prior.shape[0], np.nan)
    normal, gradient = (np.sum(v, axis=0) for v in zip(*((c.T @ c, c.T @ r) for c, r in windows), strict=True))
    without = [
        np.linalg.lstsq(normal - c.T @ c + prior, gradient - c.T @ r, rcond=1e-10)[0] for c, r in windows
    ]
    off = np.array(without) - np.mean(without, axis=0)
    return np.asarray(np.sqrt((m - 1) / m * (off**2).sum(axis=0)))


def estimate(
    state: Any, names: Sequence[str], point: Any, columns: Sequence[Array], matches: Sequence[Match],
    held: Sequence[str],
) -> Errors:  # fmt: skip
    """All parts of the errors of a fit that has ended; `held` are parameters at a limit, whose errors are NaN."""
    n_all = columns[0].shape[1]
    keep = [j for j in range(n_all) if j >= len(names) or names[j] not in held]
    columns = [c[:, keep] for c in columns]
    residuals = [m.residual for m in matches]
    prior = np.zeros((n_all, n_all))
    for name, (_, sigma) in state.parameters.priors.items():
        prior[names.index(name), names.index(name)] = sigma**-2.0
    prior = prior[np.ix_(keep, keep)]
    normal = np.sum([c.T @ c for c in columns], axis=0)
    total_normal = normal + prior
    known = _constrained(total_normal)
    covariance = np.linalg.pinv(total_normal)
    formal = _formal(state.observed, columns, covariance, state.options.floor)
    good = [w.good for w in state.observed]
    points = sum(int(g.sum()) for g in good)
    chi2 = sum(float(r @ r) for r in residuals)
    reduced = chi2 / max(points - len(keep) - len(matches) * (state.options.degree + 2), 1)
    factor = correlation_factor([r[g] for r, g in zip(residuals, good, strict=True)])
    scale = max(reduced * factor, 1.0)
    # Priors are not scaled: they are no pixels.
    scaled = np.linalg.pinv(normal / scale + prior)
    lines, common = np.full(len(keep), np.nan), np.zeros(len(keep))
    if state.options.line_errors:
        every = zip(state.observed, columns, residuals, strict=True)
        pieces = [piece for w, c, r in every for piece in _pieces(w, c, r)]
        spread = block_bootstrap(pieces, prior).std(axis=0)
        lines = np.fmax(spread, leave_windows_out(list(zip(columns, residuals, strict=True)), prior))
        common = _zero_point(state, columns, covariance, matches)
    atmosphere = np.full(len(keep), np.nan)
    if state.options.atmosphere_errors and _has_error_bars(state.synthesis.source):
        atmosphere = _atmosphere(state, point, columns, covariance, matches)
    noise = np.sqrt(np.maximum(np.diag(scaled), 0))
    external = np.zeros(len(keep))
    if state.options.external_errors:
        external = _external(state, noise, [names[j] if j < len(names) else "" for j in keep])
    total = np.sqrt(np.fmax(noise, lines) ** 2 + np.nan_to_num(atmosphere) ** 2 + common**2 + external**2)
    lines = np.hypot(lines, common)
    outer = total / np.where(noise > 0, noise, 1.0)
    full = np.full((len(names), len(names)), np.nan)
    place = [(i, j) for i, j in enumerate(keep) if j < len(names)]
    for a, ja in place:
        for b, jb in place:
            full[ja, jb] = scaled[a, b] * outer[a] * outer[b]

    def by_name(sigma: Array) -> dict[str, float]:
        found = dict.fromkeys(names, float("nan"))
        return found | {names[j]: float(sigma[i]) if known[i] else float("nan") for i, j in place}

    return Errors(
        tuple(names), by_name(formal), by_name(noise), by_name(atmosphere),
        by_name(lines), by_name(external), by_name(total), full, factor,
    )  # fmt: skip


def _external(state: Any, sigma: Array, names: Sequence[str]) -> Array:
    """(n,) what all windows get wrong together of parameters with these errors otherwise."""
    lines = state.synthesis.lines
    corrected = CORRECTED in lines.columns and np.isfinite(np.asarray(lines[CORRECTED], dtype=float)).any()
    known = EXTERNAL if corrected else EXTERNAL_AS_IT_IS
    return np.array([known.get(n, 0.0) for n in names]) * _decided(sigma, names, state.parameters.priors)


def _decided(sigma: Array, names: Sequence[str], priors: Mapping[str, tuple[float, float]]) -> Array:
    """(n,) the part of each parameter that the spectrum decides: 1 without a prior, 0 where the prior alone does."""
    before = np.array([priors[n][1] if n in priors else np.inf for n in names])
    return np.asarray(np.clip(1 - (sigma / before) ** 2, 0, 1))


def _formal(windows: Sequence[ObservedWindow], columns: Sequence[Array], covariance: Array, floor: float) -> Array:
    """(n,) standard deviations that the noise of the pixels alone would make, with the weights of the fit."""
    variance = np.zeros_like(covariance)
    for w, c in zip(windows, columns, strict=True):
        noise = np.sqrt(np.maximum(w.sigma**2 - floor**2, 0))
        moved = (w.weigh(c) if w.weights is None else w.weights.back(c)) * noise[:, None]
        variance += moved.T @ moved
    return np.asarray(np.sqrt(np.maximum(np.diag(covariance @ variance @ covariance), 0)))


def _constrained(normal: Array) -> NDArray[np.bool_]:
    """Which parameters data or priors say anything about."""
    return np.asarray(np.diag(normal) > 1e-10)


def _has_error_bars(source: Any) -> bool:
    emulator = getattr(source, "emulator", None)
    return emulator is not None and emulator.errors is not None


def _pieces(window: ObservedWindow, columns: Array, residual: Array) -> list[tuple[Array, Array]]:
    number = np.floor((window.wave - window.wave[0]) / _BLOCK).astype(int)
    return [(columns[number == k], residual[number == k]) for k in np.unique(number)]


def _zero_point(state: Any, columns: Sequence[Array], covariance: Array, matches: Sequence[Match]) -> Array:
    """(n,) how far the fit moves when all log gf are off together: no average over lines takes that away."""
    gradient = np.zeros(columns[0].shape[1])
    for window, matched, c, seen in zip(state.observed, matches, columns, state.all_lines, strict=False):
        moved = _COMMON * seen[:, None]
        gradient += c.T @ project(window, matched, moved, degree=state.options.degree,
                                  velocity=state.options.velocity == "window")[:, 0]  # fmt: skip
    return np.asarray(np.abs(covariance @ gradient))


def _atmosphere(
    state: Any, point: Any, columns: Sequence[Array], covariance: Array, matches: Sequence[Match]
) -> Array:
    """(n,) how far the fit moves when the atmosphere moves by its error bar, parts in quadrature."""
    from .instrument import resample

    stellar = state.stellar(point.centre)  # the star of the derivatives, whose spectrum is there
    with pool((state.synthesis, state.coarse), state.options.processes) as run:
        made = run([(1, stellar, None, shift) for shift in SHIFTS])
    state.syntheses += len(made)
    moves = []
    for intensities in made:
        change = [f - b for f, b in zip(state.fluxes(intensities, point.centre), point.rough, strict=True)]
        gradient = np.zeros(columns[0].shape[1])
        for window, matched, c in zip(state.observed, matches, columns, strict=True):
            grid = state.coarse.waves[window.number]
            seen = resample(grid, change[window.number], window.wave, matched.velocity)[0]
            projected = project(
                window, matched, seen[:, None], degree=state.options.degree,
                velocity=state.options.velocity == "window",
            )  # fmt: skip
            gradient += c.T @ projected[:, 0]
        moves.append(covariance @ gradient)
    return np.asarray(np.sqrt((np.array(moves) ** 2).sum(axis=0)))

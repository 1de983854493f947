"""What a window of an observed star should look like: spectrum, instrument, velocity and continuum, with derivatives.

Fits of one star (`fit`) and of line data of many stars both use these; nothing here decides what is varied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from .instrument import LineSpread, disk_flux, resample
from .spectrum import ObservedSpectrum
from .synthesis import Intensities
from .windows import Windows

__all__ = ["Match", "ObservedWindow", "cut", "first_velocity", "match", "normalised_flux", "project"]

Array = NDArray[np.float64]

_C = constants.c / 1e3  # km/s


@dataclass(frozen=True, eq=False)
class ObservedWindow:
    """The points of one order in one window.

    number : of the window in the list of windows, whose synthesis belongs to it
    low, high : of the window [A], star's rest frame
    wave, flux, sigma : (n,) wavelengths in air [A] as observed, flux, standard deviation
    good : (n,) points that count
    width : standard deviation of the lines [km/s], 0 where it is not known
    weights : `noise.Weights`, which take the place of 1 / sigma where there are any
    """

    number: int
    low: float
    high: float
    wave: Array
    flux: Array
    sigma: Array
    good: NDArray[np.bool_]
    width: float = 0.0
    weights: Any = None

    def weigh(self, values: Array) -> Array:
        """Values (n,) or (n, m) at the points in units of their errors, without the points that do not count."""
        if self.weights is not None:
            return np.asarray(self.weights.apply(values))
        weight = np.where(self.good, 1.0 / self.sigma, 0.0)
        return np.asarray(weight * values if values.ndim == 1 else weight[:, None] * values)

    @property
    def x(self) -> Array:
        """Wavelengths on -1..1, for polynomials."""
        middle, half = 0.5 * (self.wave[0] + self.wave[-1]), 0.5 * (self.wave[-1] - self.wave[0])
        return np.asarray((self.wave - middle) / half)


def cut(
    spectrum: ObservedSpectrum, windows: Windows, velocity: float = 0.0, *, points: float | None = None,
    resolution: float = 0.0, fewest: int = 10,
) -> list[ObservedWindow]:  # fmt: skip
    """The points of a spectrum in each window, masks applied, for a star that moves away with `velocity` [km/s].

    points : so many a FWHM of the instrument are kept, means of neighbouring pixels where there are more; None keeps
        all, as does a resolution of 0
    fewest : windows with fewer good points are left out

    Raises ValueError where no window has any.
    """
    found = []
    shift = 1 + velocity / _C
    bad = windows.masked(spectrum.wave, velocity)
    for number, (low, high) in enumerate(windows.windows):
        for order in np.unique(spectrum.order):
            here = (spectrum.order == order) & (spectrum.wave >= low * shift) & (spectrum.wave <= high * shift)
            if (here & ~bad).sum() < fewest:
                continue
            columns = [spectrum.wave[here], spectrum.flux[here], spectrum.sigma[here]]
            good = ~bad[here]
            step = float(np.median(np.diff(columns[0])))
            if points and resolution > 0:
                n = int(0.5 * (low + high) / resolution / points / step)
                if n > 1:
                    columns, good = _bin(columns, good, n)
            found.append(ObservedWindow(number, low, high, columns[0], columns[1], columns[2], good))
    if not found:
        names = ", ".join(f"{low:g}-{high:g}" for low, high in windows.windows)
        raise ValueError(
            f"{spectrum.name} runs from {spectrum.wave.min():.1f} to {spectrum.wave.max():.1f} A and has no good "
            f"points in the windows {names} A"
        )
    return found


def _bin(columns: list[Array], good: NDArray[np.bool_], n: int) -> tuple[list[Array], NDArray[np.bool_]]:
    """Means of n neighbours; a mean counts where all of its pixels do, and pixels without gaps between them."""
    m = len(good) // n * n
    wave, flux, sigma = (c[:m].reshape(-1, n) for c in columns)
    step = np.median(np.diff(columns[0]))
    whole = good[:m].reshape(-1, n).all(axis=1) & (wave[:, -1] - wave[:, 0] < 1.5 * n * step)
    # Errors of neighbours are one error more than n: what the mean gains is left to the correlation of residuals.
    return [wave.mean(axis=1), flux.mean(axis=1), sigma.mean(axis=1)], whole


def first_velocity(
    spectrum: ObservedSpectrum, windows: Sequence[tuple[float, float]], waves: Sequence[Array], fluxes: Sequence[Array],
) -> float:  # fmt: skip
    """Velocity [km/s] of the highest sum of correlations between windows and model, within 400 km/s; 0 without any.

    waves, fluxes : (n,) of the model, at rest, for each of the windows (low, high) [A]
    """
    grid = np.arange(-400.0, 401.0)
    total = np.zeros(len(grid))
    wave, flux = spectrum.wave, spectrum.flux
    for (low, high), model, at in zip(windows, fluxes, waves, strict=True):
        if not ((wave >= low) & (wave <= high)).any():
            continue
        inner = (at >= low) & (at <= high)
        depth = 1 - model[inner]
        depth = depth - depth.mean()
        for j, v in enumerate(grid):
            place = at[inner] * (1 + v / _C)
            if place[0] < wave[0] or place[-1] > wave[-1]:
                continue
            seen = np.interp(place, wave, flux)
            scatter = seen.std()
            if scatter > 0:
                total[j] -= float(depth @ (seen - seen.mean())) / scatter / len(depth) ** 0.5
    return float(grid[int(np.argmax(total))]) if total.any() else 0.0


def normalised_flux(
    intensities: Intensities, spread: LineSpread, *, vmac: float = 0.0, vsini: float = 0.0
) -> Array:
    """(n,) flux over continuum on the wavelengths of `intensities`, as the instrument shows it."""
    line = disk_flux(
        intensities.mu, intensities.line * intensities.veil, intensities.step, vsini=vsini, vmac=vmac
    )
    continuum = disk_flux(intensities.mu, intensities.continuum, intensities.step)
    return spread.apply(intensities.wave, line / continuum, intensities.step)


def broadened(intensities: Intensities, parameters: Mapping[str, float], spread: LineSpread | None = None) -> Array:
    """As `normalised_flux`, with vmac, vsini and resolution of a fit's parameters; `spread` goes before resolution."""
    own = LineSpread(parameters.get("resolution", 0.0)) if spread is None else spread
    return normalised_flux(
        intensities, own, vmac=parameters.get("vmac", 0.0), vsini=parameters.get("vsini", 0.0)
    )


@dataclass(frozen=True, eq=False)
class Match:
    """A model window put on an observed one.

    velocity : [km/s]
    continuum : (degree + 1,) coefficients of Legendre polynomials over the window
    level : (n,) that continuum
    model : (n,) what should be observed
    slope : (n,) derivative of `model` by velocity [s/km]
    residual : (n,) observed - model as `ObservedWindow.weigh` has it, 0 where a point does not count
    """

    velocity: float
    continuum: Array
    level: Array
    model: Array
    slope: Array
    residual: Array


def match(
    window: ObservedWindow, wave: Array, flux: Array, *, degree: int, velocity: float = 0.0, free: bool = False
) -> Match:
    """The continuum, and with `free` the velocity, that bring a normalised spectrum closest to an observed window.

    wave, flux : (n,) of the model, at rest; degree : of the continuum, -1 for none (1 everywhere)
    """
    polynomials = np.polynomial.legendre.legvander(window.x, max(degree, 0))
    observed = window.weigh(window.flux)
    for _ in range(12 if free else 1):
        model, slope = resample(wave, flux, window.wave, velocity)
        if degree < 0:
            continuum = np.ones(1)
        else:
            weighed = window.weigh(polynomials * model[:, None])
            continuum = np.asarray(np.linalg.lstsq(weighed, observed, rcond=None)[0])
        level = polynomials[:, : len(continuum)] @ continuum
        residual = window.weigh(window.flux - level * model)
        if not free:
            break
        columns = window.weigh(level * slope)[:, None]
        if degree >= 0:
            columns = np.column_stack([columns, weighed])
        change = float(np.linalg.lstsq(columns, residual, rcond=None)[0][0])
        velocity = float(np.clip(velocity + np.clip(change, -10, 10), -400.0, 400.0))
        if abs(change) < 1e-3:
            break
    return Match(velocity, continuum, level, level * model, level * slope, residual)


def project(window: ObservedWindow, matched: Match, columns: Array, *, degree: int, velocity: bool) -> Array:
    """Columns (n, m) of derivatives of the observed flux, weighed, without what continuum and velocity can do.

    columns : derivatives of the normalised model by parameters, at the window's points; `velocity`: this window has a
        velocity of its own
    """
    scaled = window.weigh(columns * matched.level[:, None])
    nuisance = []
    if degree >= 0:
        normal = matched.model / matched.level
        nuisance += list(window.weigh(np.polynomial.legendre.legvander(window.x, degree) * normal[:, None]).T)
    if velocity:
        nuisance.append(window.weigh(matched.slope))
    if not nuisance:
        return np.asarray(scaled)
    q, _ = np.linalg.qr(np.column_stack(nuisance))
    return np.asarray(scaled - q @ (q.T @ scaled))

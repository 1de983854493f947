"""From specific intensities to an observed spectrum: rotation, macroturbulence, line spread, velocity, pixels.

Free of fits and of PySME: plain functions of arrays, on wavelengths that are even in ln lambda with a step in km/s.
All of it conserves flux, but for what leaves the ends of an array.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants, sparse
from scipy.interpolate import CubicSpline
from scipy.special import j1

from ..files import read_table

__all__ = ["LineSpread", "annuli", "bin_pixels", "broaden", "disk_flux", "even_velocity", "limb_darkened", "resample"]

Array = NDArray[np.float64]

_C = constants.c / 1e3  # km/s
_LIMB = 0.6
_FWHM = float(np.sqrt(8 * np.log(2)))


def even_velocity(wave: Any, step: float) -> Array:
    """Wavelengths [A] over the range of `wave`, even in ln lambda with `step` [km/s]."""
    low, high = float(np.min(wave)), float(np.max(wave))
    return np.asarray(low * np.exp(np.arange(int(np.log(high / low) * _C / step) + 1) * step / _C))


def annuli(mu: Array) -> tuple[Array, Array]:
    """Borders of the annuli of the disk that intensities at `mu` (n_mu,) stand for, in radii of the star.

    As PySME has them (Valenti & Piskunov 1996, A&AS 118, 595): borders halve the areas between neighbouring radii.
    Returns inner and outer radii (n_mu,), in the order of `mu`.
    """
    radius = np.sqrt(1 - np.asarray(mu, dtype=float) ** 2)
    order = np.argsort(radius)
    sorted_ = radius[order]
    borders = np.concatenate([[0.0], np.sqrt(0.5 * (sorted_[:-1] ** 2 + sorted_[1:] ** 2)), [1.0]])
    inner, outer = np.empty_like(radius), np.empty_like(radius)
    inner[order], outer[order] = borders[:-1], borders[1:]
    return inner, outer


def disk_flux(mu: Array, intensity: Array, step: float, *, vsini: float = 0.0, vmac: float = 0.0) -> Array:
    """Flux of a rotating, turbulent disk.

    Parameters
    ----------
    mu : (n_mu,)
    intensity : (n_mu, n) on wavelengths even in ln lambda
    step : of the wavelengths [km/s]
    vsini : of rigid rotation [km/s]
    vmac : radial-tangential macroturbulence [km/s], equal areas for both (Gray 2005, eq. 17.6; zeta_RT): Gaussians of
        standard deviation vmac mu / sqrt(2) and vmac sqrt(1 - mu^2) / sqrt(2)

    Returns (n,), pi times the mean intensity over the disk. Kernels are applied in Fourier space, where that of an
    annulus in rotation is 2 (r_2 J_1(k r_2) - r_1 J_1(k r_1)) / (k (r_2^2 - r_1^2)).
    """
    _positive(vsini=vsini, vmac=vmac)
    inner, outer = annuli(mu)
    area = outer**2 - inner**2
    if vsini == 0 and vmac == 0:
        return np.asarray(np.pi * area @ intensity)
    pad = int(np.ceil((4 * vmac + vsini) / step)) + 8
    padded, k = _padded(intensity, pad, step)
    kernel = np.ones((len(mu), len(k)))
    if vmac > 0:
        radial, tangential = ((vmac * part) ** 2 / 2 for part in (mu, np.sqrt(1 - mu**2)))
        kernel *= 0.5 * sum(np.exp(-0.5 * k**2 * variance[:, None]) for variance in (radial, tangential))
    if vsini > 0:
        x = np.maximum(k * vsini, 1e-9)
        ring = [2 * r[:, None] * j1(r[:, None] * x) / x for r in (outer, inner)]
        kernel *= (ring[0] - ring[1]) / area[:, None]
    spectrum = (np.pi * area[:, None] * kernel * np.fft.rfft(padded, axis=1)).sum(axis=0)
    return np.asarray(np.fft.irfft(spectrum, padded.shape[1])[pad : pad + intensity.shape[1]])


def limb_darkened() -> tuple[Array, Array]:
    """Cosines (7,) and intensities (7, 1) of a linearly darkened disk of flux 1, for codes that give fluxes alone.

    The cosines are PySME's, of annuli of equal areas; the coefficient is 0.6, of the Sun in the visible.
    """
    mu = np.sqrt(0.5 * (2 * np.arange(1, 8) - 1) / 7)[::-1]
    law = (1 - _LIMB + _LIMB * mu)[:, None]
    return mu, law / disk_flux(mu, law, 1.0)[0]


def broaden(flux: Array, step: float, sigma: float) -> Array:
    """Convolution of (n,) with a Gaussian of standard deviation `sigma`, on a grid of `step` (both in km/s)."""
    _positive(sigma=sigma)
    if sigma == 0:
        return flux
    pad = int(np.ceil(6 * sigma / step)) + 8
    padded, k = _padded(flux[None], pad, step)
    spectrum = np.fft.rfft(padded[0]) * np.exp(-0.5 * (k * sigma) ** 2)
    return np.asarray(np.fft.irfft(spectrum, padded.shape[1])[pad : pad + len(flux)])


def _padded(values: Array, pad: int, step: float) -> tuple[Array, Array]:
    """Values (m, n) with their ends repeated `pad` times, and the angular frequencies of their transform [s/km]."""
    padded = np.pad(values, ((0, 0), (pad, pad)), mode="edge")
    return padded, np.asarray(2 * np.pi * np.fft.rfftfreq(padded.shape[1], step))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} = {value:g} km/s; allowed: 0 or more")


@dataclass(frozen=True, eq=False)
class LineSpread:
    """A Gaussian line spread function: of one resolving power, or of one that goes with wavelength.

    resolution : R = lambda / FWHM; 0 for none
    table_wave, table_resolution : (m,) R at wavelengths [A], linear between, constant beyond; they take the place of
        `resolution`
    """

    resolution: float = 0.0
    table_wave: Array | None = None
    table_resolution: Array | None = None

    def __post_init__(self) -> None:
        values = np.atleast_1d(self.resolution if self.table_resolution is None else self.table_resolution)
        if not ((values >= 0) & (values < np.inf)).all():
            raise ValueError(f"resolution = {self.resolution:g}; allowed: 0 (none) or more")
        if self.table_wave is not None and not (np.diff(self.table_wave) > 0).all():
            raise ValueError("the table of resolving powers needs increasing wavelengths")

    @classmethod
    def read(cls, path: str | Path) -> LineSpread:
        """From a table with columns `wavelength` [A] and `resolution`, in any format that astropy reads.

        Raises FileNotFoundError for no such file, ValueError for a table without these columns.
        """
        table = read_table(Path(path), "table of the line spread")
        if not {"wavelength", "resolution"} <= set(table.colnames):
            raise ValueError(
                f"{path} has the columns {', '.join(table.colnames)}; wavelength and resolution are needed"
            )
        wave, resolution = (np.asarray(table[c], dtype=float) for c in ("wavelength", "resolution"))
        if not (resolution > 0).all():
            raise ValueError(f"{path} has a resolution of {resolution.min():g}; allowed: above 0")
        return cls(table_wave=wave, table_resolution=resolution)

    def at(self, wave: Any) -> Array:
        """R at wavelengths [A]."""
        wave = np.asarray(wave, dtype=float)
        if self.table_wave is None or self.table_resolution is None:
            return np.full(wave.shape, float(self.resolution))
        return np.asarray(np.interp(wave, self.table_wave, self.table_resolution))

    def apply(self, wave: Array, flux: Array, step: float) -> Array:
        """Flux (n,) on wavelengths even in ln lambda, as the instrument shows it."""
        if self.table_wave is None:
            return flux if self.resolution == 0 else broaden(flux, step, _C / self.resolution / _FWHM)
        return np.asarray(self.matrix(wave, wave) @ flux)

    def matrix(self, wave: Array, out: Array) -> sparse.csr_matrix:
        """(n_out, n) matrix from flux on `wave` (even in ln lambda) to what the instrument shows at `out` [A].

        Rows sum to 1, so that a flat spectrum stays flat. Raises ValueError where R is 0.
        """
        r = self.at(out)
        if not (r > 0).all():
            raise ValueError("a matrix of a line spread needs a resolving power above 0")
        step = float(np.log(wave[-1] / wave[0])) * _C / (len(wave) - 1)
        sigma = _C / r / _FWHM
        position = np.log(out / wave[0]) * _C / step
        half = int(np.ceil(5 * sigma.max() / step))
        offsets = np.arange(-half, half + 1)
        columns = np.round(position).astype(int)[:, None] + offsets
        values = np.exp(-0.5 * ((columns - position[:, None]) * step / sigma[:, None]) ** 2)
        # Beyond the ends the spectrum goes on as it ends.
        rows = np.repeat(np.arange(len(out)), len(offsets))
        values /= values.sum(axis=1, keepdims=True)
        clipped = np.clip(columns, 0, len(wave) - 1)
        return sparse.csr_matrix((values.ravel(), (rows, clipped.ravel())), shape=(len(out), len(wave)))


def resample(wave: Array, flux: Array, out: Array, velocity: float = 0.0) -> tuple[Array, Array]:
    """Flux at observed wavelengths `out` [A] of a star that moves away with `velocity` [km/s], by cubic spline.

    Returns flux and its derivative by velocity [s/km], (n_out,) each.
    """
    spline = CubicSpline(wave, flux)
    rest = out / (1 + velocity / _C)
    return np.asarray(spline(rest)), np.asarray(spline(rest, 1) * -rest / (_C + velocity))


def bin_pixels(wave: Array, flux: Array, out: Array) -> Array:
    """Mean flux over pixels with centres `out` (n_out,) [A], whose borders lie half way: as a detector integrates."""
    inner = 0.5 * (out[1:] + out[:-1])
    borders = np.concatenate([[2 * out[0] - inner[0]], inner, [2 * out[-1] - inner[-1]]])
    integral = CubicSpline(wave, flux).antiderivative()(borders)
    return np.asarray(np.diff(integral) / np.diff(borders))

"""What a survey's spectrograph and pipeline make of a spectrum: pixels, line spread, continuum."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants, sparse

from ..stars.instrument import LineSpread, bin_pixels, disk_flux, resample
from ..stars.spectrum import MEDIA, to_air
from ..stars.synthesis import Intensities

__all__ = ["Band", "Continuum", "windows"]

Array = NDArray[np.float64]

_C = constants.c / 1e3  # km/s

#: A band is synthesised in pieces of at most so many A; opacities of lines are made once for all of them.
_PIECE = 60.0


@dataclass(frozen=True)
class Band:
    """Pixels of one arm or detector of a survey, and how it blurs.

    first, last : wavelengths [A] of its ends, in the survey's medium
    step : of the pixels [A], or log_step : of log10 lambda, or pixels : a file (.npy, or text) of their wavelengths [A]
    medium : "air" or "vacuum"
    resolution : R = lambda / FWHM of a Gaussian; a number, or ((wavelength [A], R), ...), linear between; 0 for none
    matrix : an .npz file with `wave` (m,) [A, in this medium] and `matrix` (n, m), which takes the place of
        `resolution` and `integrate`: what pixel i shows is the sum over j of matrix[i, j] flux(wave[j]), rows
        scaled to 1
    integrate : means over pixels, as a detector has them, in place of values at their centres
    """

    first: float = 0.0
    last: float = 0.0
    name: str = ""
    step: float = 0.0
    log_step: float = 0.0
    pixels: str | None = None
    medium: str = "air"
    resolution: Any = 0.0
    matrix: str | None = None
    integrate: bool = False

    def __post_init__(self) -> None:
        label = self.name or f"{self.first:g}-{self.last:g} A"
        if self.medium not in MEDIA:
            raise ValueError(f"band {label}: medium = {self.medium!r}; allowed: {', '.join(MEDIA)}")
        if sum((self.step > 0, self.log_step > 0, self.pixels is not None)) != 1:
            raise ValueError(f"band {label} needs one of step, log_step and pixels")
        if self.pixels is not None:
            wave = _pixels(self.pixels)
            object.__setattr__(self, "first", float(wave[0]))
            object.__setattr__(self, "last", float(wave[-1]))
        if not 0 < self.first < self.last:
            raise ValueError(f"band {label}: {self.first:g} to {self.last:g} A is no range")
        if self.matrix is not None and (self.resolution or self.integrate):
            raise ValueError(f"band {label}: a matrix takes the place of resolution and integrate")
        self.spread  # noqa: B018  (checks the resolution)

    @cached_property
    def wave(self) -> Array:
        """(n,) wavelengths of the pixels [A], in the survey's medium."""
        if self.pixels is not None:
            return _pixels(self.pixels)
        if self.step > 0:
            return np.asarray(self.first + self.step * np.arange(int((self.last - self.first) / self.step + 1e-3) + 1))
        n = int((np.log10(self.last) - np.log10(self.first)) / self.log_step + 1e-3) + 1
        return np.asarray(self.first * 10.0 ** (self.log_step * np.arange(n)))

    @cached_property
    def air(self) -> Array:
        """(n,) the same in air [A]."""
        return to_air(self.wave) if self.medium == "vacuum" else self.wave

    @cached_property
    def spread(self) -> LineSpread:
        """The line spread, at wavelengths in air."""
        if np.ndim(self.resolution) == 0:
            return LineSpread(float(self.resolution))
        table = np.asarray(self.resolution, dtype=float)
        if table.ndim != 2 or table.shape[1] != 2:
            raise ValueError(f"band {self.name}: a table of resolving powers has rows [WAVELENGTH, R]")
        wave = to_air(table[:, 0]) if self.medium == "vacuum" else table[:, 0]
        return LineSpread(0.0, wave, table[:, 1])

    @cached_property
    def _given(self) -> tuple[Array, sparse.csr_matrix]:
        assert self.matrix is not None
        path = Path(self.matrix)
        if not path.is_file():
            raise FileNotFoundError(f"band {self.name}: there is no matrix {path}")
        with np.load(path, allow_pickle=False) as file:
            if not {"wave", "matrix"} <= set(file.files):
                raise ValueError(f"{path} has {', '.join(file.files)}; wave and matrix are needed")
            wave, matrix = file["wave"].astype(float), file["matrix"].astype(float)
        if matrix.shape != (len(self.wave), len(wave)):
            raise ValueError(f"{path}: matrix {matrix.shape} does not take {len(wave)} to {len(self.wave)} wavelengths")
        total = matrix.sum(axis=1, keepdims=True)
        if not (total > 0).all():
            raise ValueError(f"{path}: a row of the matrix sums to {total.min():g}; allowed: above 0")
        return to_air(wave) if self.medium == "vacuum" else wave, sparse.csr_matrix(matrix / total)

    def reach(self) -> tuple[float, float]:
        """First and last wavelength in air [A] that its pixels take light from."""
        if self.matrix is not None:
            wave, _ = self._given
            return float(wave[0]), float(wave[-1])
        r = np.atleast_1d(self.spread.at(self.air[[0, -1]]))
        beyond = np.where(r > 0, 2.2 / np.maximum(r, 1e-9), 0.0)  # five sigma
        steps = np.diff(self.air[[0, 1, -2, -1]])[[0, 2]] if self.integrate else (0.0, 0.0)
        return float(self.air[0] * (1 - beyond[0]) - steps[0]), float(self.air[-1] * (1 + beyond[1]) + steps[1])

    def see(self, wave: Array, flux: Array, step: float) -> Array:
        """(n,) a flux (m,) on wavelengths in air even in ln lambda (`step` [km/s]), as the pixels show it: linear."""
        if self.matrix is not None:
            at, matrix = self._given
            return np.asarray(matrix @ resample(wave, flux, at)[0])
        if np.ndim(self.resolution) == 0:
            seen = self.spread.apply(wave, flux, step)
        else:
            seen = np.asarray(self._spread_matrix(wave) @ flux)
        return bin_pixels(wave, seen, self.air) if self.integrate else resample(wave, seen, self.air)[0]

    def _spread_matrix(self, wave: Array) -> sparse.csr_matrix:
        key = (len(wave), float(wave[0]))
        kept: dict[Any, Any] = self.__dict__.setdefault("_kept", {})
        if key not in kept:
            kept[key] = self.spread.matrix(wave, wave)
        return kept[key]


@lru_cache(maxsize=16)
def _pixels(file: str) -> Array:
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of pixels {path}")
    wave = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path)
    if wave.ndim != 1 or len(wave) < 2 or not (np.diff(wave) > 0).all():
        raise ValueError(f"{path} is not a row of increasing wavelengths")
    return np.asarray(wave, dtype=float)


def windows(
    bands: Sequence[Band], step: float, beyond: float = 0.0
) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    """Windows to synthesise for bands, and by band the first and the last but one of its windows.

    Windows of a band touch, and are whole numbers of `step` [km/s] long, so that their grids of velocities are parts of
    one; a synthesis reaches beyond each. `beyond` [km/s] is how much further than that rotation takes light from.
    """
    pieces: list[tuple[float, float]] = []
    of: list[tuple[int, int]] = []
    for band in bands:
        low, high = (v * (1 + s * beyond / _C) for v, s in zip(band.reach(), (-1, 1), strict=True))
        n = max(int(np.ceil((high - low) / _PIECE)), 1)
        points = int(np.ceil(np.log(high / low) * _C / step / n))
        edges = low * np.exp(np.arange(n + 1) * points * step / _C)
        of.append((len(pieces), len(pieces) + n))
        pieces += [(float(a), float(b)) for a, b in itertools.pairwise(edges)]
    return pieces, of


def assemble(pieces: Sequence[Intensities], vsini: float, vmac: float) -> tuple[Array, Array, Array]:
    """Wavelengths even in ln lambda, flux and continuum of a band, rotated and stirred, from the pieces of it."""
    step = pieces[0].step
    waves = [p.wave for p in pieces]
    starts = [round(float(np.log(w[0] / waves[0][0])) * _C / step) for w in waves]
    # Half of what neighbours have in common is of each.
    cuts = [(a + len(w) + b) // 2 for a, w, b in zip(starts[:-1], waves[:-1], starts[1:], strict=True)]
    ends = zip(starts, [0, *cuts], [*cuts, starts[-1] + len(waves[-1])], strict=True)
    parts = [slice(low - start, high - start) for start, low, high in ends]
    # Together before they are broadened: rotation takes light from beyond a piece.
    line = np.concatenate([(p.line * p.veil)[:, part] for p, part in zip(pieces, parts, strict=True)], axis=1)
    continuum = np.concatenate([p.continuum[:, part] for p, part in zip(pieces, parts, strict=True)], axis=1)
    wave = np.concatenate([w[part] for w, part in zip(waves, parts, strict=True)])
    mu = pieces[0].mu
    return wave, disk_flux(mu, line, step, vsini=vsini, vmac=vmac), disk_flux(mu, continuum, step)


@dataclass(frozen=True)
class Continuum:
    """How a survey normalises; all work on flux over the true continuum, which surveys do not know, band by band.

    kind : "true" leaves that as it is; "none" gives the flux itself [erg s-1 cm-2 A-1 at the star's surface];
        "polynomial" divides by one of `degree` through points not more than `low` sigma below nor `high` sigma above
        it, found in `iterations` passes; "gaussian" by the mean over neighbours, weighted by a Gaussian of standard
        deviation `width` [A]
    """

    kind: str = "true"
    degree: int = 4
    width: float = 50.0
    low: float = 0.1
    high: float = 3.0
    iterations: int = 10

    def __post_init__(self) -> None:
        if self.degree < 0 or self.width <= 0 or self.iterations < 1 or self.low <= 0 or self.high <= 0:
            raise ValueError("continuum: degree from 0, width, low and high above 0, iterations from 1")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Continuum:
        """From the table [continuum] of a survey."""
        return cls(**settings)

    def fit(self, wave: Array, flux: Array) -> Callable[[Array], Array]:
        """The linear function that gives the pseudo-continuum (n,) of spectra (..., n), from one of them.

        Points that a polynomial leaves out are chosen by `flux`; for derivatives they stay what they are.
        """
        if self.kind in ("true", "none"):
            return np.ones_like
        if self.kind == "gaussian":
            matrix = _gaussian(self.width, wave.tobytes())
            return lambda f: np.asarray((matrix @ np.asarray(f).T).T)
        x = 2 * (wave - wave[0]) / (wave[-1] - wave[0]) - 1
        polynomials = np.polynomial.legendre.legvander(x, self.degree)
        keep = np.ones(len(wave), dtype=bool)
        for _ in range(self.iterations):
            inverse = np.linalg.pinv(polynomials[keep])
            off = flux - polynomials @ (inverse @ flux[keep])
            scatter = off[keep].std()
            better = (off > -self.low * scatter) & (off < self.high * scatter)
            if (better == keep).all() or better.sum() < 4 * (self.degree + 1):
                break
            keep = better
        # In two steps: the product of the two matrices would be as large as the square of the pixels.
        inverse, chosen = np.linalg.pinv(polynomials[keep]), keep
        return lambda f: np.asarray((np.asarray(f)[..., chosen] @ inverse.T) @ polynomials.T)


@lru_cache(maxsize=16)
def _gaussian(width: float, wave: bytes) -> sparse.csr_matrix:
    at = np.frombuffer(wave)
    weight = np.exp(-0.5 * ((at[:, None] - at[None]) / width) ** 2)
    weight[weight < 1e-6] = 0.0
    return sparse.csr_matrix(weight / weight.sum(axis=1, keepdims=True))

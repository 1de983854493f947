"""What residuals are expected to be: noise of pixels, strengths of lines that the list has wrong, and the rest.

Each line of a list is wrong in its own way, and all pixels of a line in the same way. A fit that takes each pixel for
an independent measurement lets a few strong lines with wrong log gf decide. Here every line has a strength of its own,
drawn from a distribution of known width, and is solved for in passing (marginalised): what is left to decide is what
no such errors could do, and averages over many lines. The wings of hydrogen have exact log gf, but are not what 1D LTE
says they are, and get a strength of their own as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants, linalg, sparse

from .corrections import CORRECTED
from .model import ObservedWindow

__all__ = [
    "LineErrors", "Weights", "group_scatter", "line_groups", "line_scatters", "line_shapes", "look_again", "weighed",
    "weights_of",
]  # fmt: skip

Array = NDArray[np.float64]

_C = constants.c / 1e3  # km/s

#: Doppler width [km/s] and damping of the profiles that say which line a wavelength belongs to.
_DOPPLER, _DAMPING = 1.8, 0.03

#: Where the depths of all lines together are below this they own nothing.
_NOBODY = 1e-3

#: Lines of one species and level so near each other [A] are components of one, and wrong together; so are all lines
#: of a molecule over the second length.
_TOGETHER, _BAND = 0.5, 2.0

#: Degrees of freedom of Student's t distribution of errors of log gf: lists have outliers.
_STUDENT = 4.0

#: Part of a floor's variance that is of pixels; the rest is of features as wide as a line, times the second number.
_PIXELS, _WIDE = 0.1, 1.5

#: Points in a block of the covariance of noise and floor: many times as long as a line is wide.
_BLOCK = 400

#: Shapes that change the flux by less than this part of a floor, for one standard deviation, are left out.
_LEAST = 0.1


@dataclass(frozen=True, eq=False)
class LineErrors:
    """Errors of the lines of one window.

    shapes : (n, m) change of the observed flux [1/dex] with the strength of each group of lines
    scatter : (m,) standard deviation of the error of such a group's log gf [dex]; sigma : of this one's, in the light
        of the data
    offset : (m,) what the data say of that error [dex]
    outliers : (m,) whether it may be an outlier, as lines of a list are: `sigma` grows where the data say so. Wings of
        hydrogen are none, and a hot metal-poor star has little else that knows its temperature
    """

    shapes: Array
    scatter: Array
    sigma: Array
    offset: Array
    outliers: NDArray[np.bool_]

    @classmethod
    def of(cls, shapes: Array, scatter: Array, floor: float, outliers: NDArray[np.bool_] | None = None) -> LineErrors:
        """With `scatter` (m,) [dex]; groups that change the flux by much less than `floor` are left out."""
        seen = np.abs(shapes).max(axis=0, initial=0.0) * scatter > _LEAST * floor
        may = np.ones(len(scatter), dtype=bool) if outliers is None else outliers
        return cls(shapes[:, seen], scatter[seen], scatter[seen], np.zeros(int(seen.sum())), may[seen])


def line_groups(species: NDArray[np.str_], centre: Array, excitation: Array) -> NDArray[np.int64]:
    """(n_line,) numbers of the groups that lines are wrong in together: hyperfine components, bands of molecules."""
    molecule = np.array([len([c for c in s.split()[0] if c.isupper() or c.isdigit()]) > 1 for s in species])
    level = np.where(molecule, np.floor(centre / _BAND), np.round(excitation, 2))
    order = np.lexsort((centre, level, species))
    far = (np.diff(centre[order]) > _TOGETHER) & ~molecule[order][1:]
    new = (species[order][1:] != species[order][:-1]) | (np.diff(level[order]) != 0) | far
    groups = np.empty(len(centre), dtype=np.int64)
    groups[order] = np.concatenate([[0], np.cumsum(new)])
    return groups


def line_scatters(lines: Any, scatter: float, corrected: float) -> Array:
    """(n_line,) standard deviation of the error of each line's log gf [dex].

    scatter : of lines as the list has them. Corrected ones (`Corrections.apply` leaves the error of the correction with
    them) have that error and `corrected` in quadrature, and no more than the others.
    """
    found = np.full(len(lines), scatter)
    if CORRECTED in lines.columns:
        error = np.asarray(lines[CORRECTED], dtype=float)
        found = np.fmin(found, np.hypot(error, corrected))  # NaN: not corrected
    return found


def group_scatter(scatter: Array, depth: Array, groups: NDArray[np.int64]) -> Array:
    """(m,) scatter of each group of lines, in the order of `line_shapes`: mean of its lines (n_line,), by depth."""
    kinds, column = np.unique(groups, return_inverse=True)
    weight = np.maximum(depth, 1e-12)
    total = np.bincount(column, weight, len(kinds))
    return np.asarray(np.bincount(column, weight * scatter, len(kinds)) / total)


def line_shapes(
    wave: Array, response: Array, centre: Array, depth: Array, groups: NDArray[np.int64]
) -> Array:
    """(n, m) share of each group of lines in the change of a spectrum when all lines become stronger.

    wave, response : (n,) wavelengths [A] and d flux / d log gf of all lines [1/dex], before instrument and turbulence
    centre, depth, groups : (n_line,) wavelengths, depth in the limit of weak lines, and number of the group
    """
    kinds = np.unique(groups)
    opacity = np.zeros((len(wave), len(kinds)))
    column = np.searchsorted(kinds, groups)
    for at, d, j in zip(centre, depth, column, strict=True):
        v2 = ((wave / at - 1) * (_C / _DOPPLER)) ** 2
        opacity[:, j] += d * (np.exp(-v2) + _DAMPING / (np.sqrt(np.pi) * (1 + v2)))
    total = opacity.sum(axis=1, keepdims=True)
    return np.asarray(response[:, None] * opacity / (total + _NOBODY))


def look_again(
    window: ObservedWindow, errors: LineErrors, residual: Array, *, floor: float, steps: int = 3
) -> LineErrors:
    """Errors of the lines in the light of a fit: larger where a line is far off, so that it decides less.

    residual : (n,) observed less fitted flux. Steps of expectation and maximisation for Student's t distribution.
    """
    for _ in range(steps):
        weights = weights_of(window, errors, floor)
        seen = weights.apply(errors.shapes)
        offset = errors.sigma**2 * (seen.T @ weights.apply(residual))
        variance = errors.sigma**2 * (1 - errors.sigma**2 * (seen**2).sum(axis=0))
        sigma = np.sqrt((_STUDENT * errors.scatter**2 + offset**2 + variance) / (_STUDENT + 1))
        sigma = np.where(errors.outliers, sigma, errors.scatter)
        errors = replace(errors, sigma=sigma, offset=offset)
    return errors


def weighed(window: ObservedWindow, errors: LineErrors, floor: float) -> ObservedWindow:
    """The window with weights that allow for its lines' errors in place of 1 / sigma."""
    return replace(window, weights=weights_of(window, errors, floor))


@dataclass(frozen=True, eq=False)
class Weights:
    """A root of the inverse covariance of a window's points: W with W'W C = 1, 0 for points that do not count.

    W = (1 - U diag(shrink) U') L^-1, where L is the root of the covariance of noise and floor, in blocks, and U and
    `shrink` take care of the lines' strengths.
    """

    local: sparse.csr_matrix
    basis: Array
    shrink: Array

    def apply(self, values: Array) -> Array:
        """W values, of (n,) or (n, m)."""
        local = np.asarray(self.local @ values)
        shrink = self.shrink if values.ndim == 1 else self.shrink[:, None]
        return np.asarray(local - self.basis @ (shrink * (self.basis.T @ local)))

    def back(self, values: Array) -> Array:
        """W' values, of (n, m)."""
        return np.asarray(self.local.T @ (values - self.basis @ (self.shrink[:, None] * (self.basis.T @ values))))


def weights_of(window: ObservedWindow, errors: LineErrors, floor: float) -> Weights:
    """Weights of the points of a window for noise, floor and errors of lines."""
    n = len(window.wave)
    velocity = np.log(window.wave) * (_C / _WIDE / window.width)
    noise = np.maximum(window.sigma**2 - floor**2, 1e-8) + _PIXELS * floor**2
    good = np.flatnonzero(window.good)
    rows, columns, entries = [], [], []
    for part in np.array_split(good, max(int(np.ceil(len(good) / _BLOCK)), 1)):
        distance = np.abs(velocity[part][:, None] - velocity[part])
        covariance = (1 - _PIXELS) * floor**2 * (1 + distance) * np.exp(-distance) + np.diag(noise[part])
        lower = linalg.cholesky(covariance, lower=True)
        inverse = linalg.solve_triangular(lower, np.eye(len(part)), lower=True)
        rows.append(np.repeat(part, len(part)))
        columns.append(np.tile(part, len(part)))
        entries.append(inverse.ravel())
    local = sparse.csr_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n))
    basis, strength, _ = np.linalg.svd(local @ (errors.shapes * errors.sigma), full_matrices=False)
    return Weights(local, basis, 1 - (1 + strength**2) ** -0.5)

"""Hydrostatic equilibrium, optical depth and the equation of state of an ideal gas, as pure functions.

With m the column mass, tau the Rosseland optical depth, kappa the opacity per gram and a the radiative
acceleration: d tau / dm = kappa, dP/dm = g - a, and at the top m = tau / kappa, P = (g - a) m.
(Li et al. 2025, arXiv:2507.06357, Eq. 3 is the second without a: 1.5 % of g at 10,000 K, 15 % at 30,000 K.)
In a sphere of radius R at tau = 1, g is
that at R and dP/dm = g / (1 + h/R)^2 - a with the height h above R, dh/dm = -1/rho. All in cgs.
"""

from __future__ import annotations

import numpy as np
from astropy import constants
from numpy.typing import NDArray

__all__ = [
    "ATOMIC_MASS",
    "BOLTZMANN",
    "SMALL",
    "SOLAR_GM",
    "SPHERE_PASSES",
    "atom_density",
    "curvature",
    "electron_fraction",
    "extension",
    "from_unit_depth",
    "grey_temperature",
    "height",
    "hydrostatic_residual",
    "integrate_structure",
    "integration_matrix",
    "interpolation_matrix",
    "physical_integrals",
    "physical_pressure",
    "rising_mass",
]

Array = NDArray[np.float64]

BOLTZMANN = float(constants.k_B.cgs.value)  # erg K-1
ATOMIC_MASS = float(constants.u.cgs.value)  # g

SOLAR_GM = float(constants.GM_sun.cgs.value)  # cm3 s-2, of one solar mass

#: Passes of the fixed point v = 1 + int (k T / (mu m_u g R)) v^2 dm / P, v = R/r, that finds a sphere. Each takes the
#: error down by about twice the extension of the atmosphere, 0.1 at most (a test compares with three times as many).
SPHERE_PASSES = 6

#: Share of g dm, and of g m, below which `physical_pressure` bends the gas pressure, and of dm, `rising_mass` the mass.
SMALL = 0.01


def grey_temperature(tau: Array, teff: Array) -> Array:
    """Temperature [K] of a grey atmosphere in the Eddington approximation, T^4 = 3/4 Teff^4 (tau + 2/3)."""
    return np.asarray(teff * (0.75 * (tau + 2.0 / 3.0)) ** 0.25)


def atom_density(temperature: Array, gas_pressure: Array, electron_density: Array) -> Array:
    """Particles that are not electrons [cm-3], from P = (n_atom + n_e) k T."""
    return np.asarray(gas_pressure / (BOLTZMANN * temperature) - electron_density)


def electron_fraction(temperature: Array, gas_pressure: Array, electron_density: Array) -> Array:
    """Electrons as a fraction of all particles, n_e k T / P."""
    return np.asarray(electron_density * BOLTZMANN * temperature / gas_pressure)


def curvature(gravity: Array, mass: Array) -> Array:
    """1 / R [cm-1] of a star of gravity [cm s-2] and mass [Msun], R where tau_Ross = 1; 0 for an infinite mass, which
    stands for plane-parallel layers."""
    return np.asarray(np.sqrt(gravity / (SOLAR_GM * mass)))


def extension(teff: Array, gravity: Array, mass: Array) -> Array:
    """Scale height of atomic hydrogen at Teff [K] over the radius, k Teff / (m_u g R); 0 for plane-parallel layers.

    What a sphere differs from a plane by (Heiter & Eriksson 2006, A&A 452, 1039, Sect. 2, for models from MARCS).
    """
    return np.asarray(BOLTZMANN * teff / ATOMIC_MASS / np.sqrt(gravity * SOLAR_GM * mass))


def height(tau: Array, opacity: Array, density: Array, matrix: Array) -> Array:
    """Height above the layer of tau_Ross = 1 [cm] from dr = -dm / rho = -d tau / (kappa rho).

    Parameters
    ----------
    tau : (n_depth,) Rosseland optical depth; opacity : (..., n_depth) [cm2 g-1]; density : (..., n_depth) [g cm-3]
    matrix : `integration_matrix(log(tau))` less its row for tau = 1, see `from_unit_depth`
    """
    return np.asarray(-(tau / (opacity * density)) @ matrix.T)


def from_unit_depth(ln_tau: Array, matrix: Array) -> Array:
    """`integration_matrix(ln_tau)` counted from tau = 1 in place of the first layer; tau = 1 need not be a node."""
    return np.asarray(matrix - interpolation_matrix(ln_tau, np.zeros(1)) @ matrix)


def interpolation_matrix(nodes: Array, points: Array) -> Array:
    """(n_point, n_node) matrix of the not-a-knot cubic spline through `nodes`, evaluated at `points`."""
    points = np.asarray(points, dtype=float)
    i = np.clip(np.searchsorted(nodes, points, side="right") - 1, 0, len(nodes) - 2)
    h = nodes[i + 1] - nodes[i]
    b = (points - nodes[i]) / h
    a = 1.0 - b
    curvature = _curvature_matrix(nodes)
    matrix = ((a**3 - a) * h**2 / 6)[:, None] * curvature[i] + ((b**3 - b) * h**2 / 6)[:, None] * curvature[i + 1]
    row = np.arange(len(points))
    matrix[row, i] += a
    matrix[row, i + 1] += b
    return np.asarray(matrix)


def integration_matrix(nodes: Array) -> Array:
    """(n_node, n_node) matrix that integrates the cubic spline through values at `nodes`, from the first on."""
    n = len(nodes)
    h = np.diff(nodes)[:, None]
    curvature = _curvature_matrix(nodes)
    eye = np.eye(n)
    steps = h / 2 * (eye[:-1] + eye[1:]) - h**3 / 24 * (curvature[:-1] + curvature[1:])
    return np.concatenate([np.zeros((1, n)), np.cumsum(steps, axis=0)])


def _curvature_matrix(nodes: Array) -> Array:
    """Second derivatives at the nodes of the not-a-knot cubic spline, as a matrix that acts on the values there.

    What scipy's CubicSpline computes (a test compares), without the third of a second that importing
    scipy.interpolate takes.
    """
    n, h = len(nodes), np.diff(nodes)
    left, right = np.zeros((n, n)), np.zeros((n, n))
    k = np.arange(1, n - 1)
    left[k, k - 1], left[k, k], left[k, k + 1] = h[:-1], 2 * (h[:-1] + h[1:]), h[1:]
    right[k, k - 1], right[k, k], right[k, k + 1] = 6 / h[:-1], -6 / h[:-1] - 6 / h[1:], 6 / h[1:]
    # The third derivative is continuous at the second node and at the last but one.
    left[0, :3] = h[1], -(h[0] + h[1]), h[0]
    left[-1, -3:] = h[-1], -(h[-2] + h[-1]), h[-2]
    return np.asarray(np.linalg.solve(left, right))


def integrate_structure(
    tau: Array, opacity: Array, acceleration: Array, gravity: Array, matrix: Array
) -> tuple[Array, Array]:
    """Column mass [g cm-2] and gas pressure [dyn cm-2] from opacity and radiative acceleration.

    Parameters
    ----------
    tau : (n_depth,) Rosseland optical depth, increasing
    opacity : (..., n_depth) [cm2 g-1]
    acceleration : (..., n_depth) radiative acceleration [cm s-2]
    gravity : (..., 1) [cm s-2]
    matrix : `integration_matrix(log(tau))`
    """
    dm = tau / opacity  # dm / dln(tau)
    dp = (gravity - acceleration) * dm
    return dm[..., :1] + dm @ matrix.T, dp[..., :1] + dp @ matrix.T


def physical_integrals(m: Array, p: Array, dm: Array, rest: Array, step: Array) -> tuple[Array, Array]:
    """Column mass by `rising_mass`, and with it gas pressure over gravity by `physical_pressure`."""
    m = rising_mass(m, dm, step)
    return m, physical_pressure(p, m, dm, rest, step)


def rising_mass(m: Array, dm: Array, step: Array) -> Array:
    """Column mass, made to increase inwards everywhere.

    Where the opacity drops steeply from one layer to the next, as at the bottom of hot MARCS models, the spline
    through dm / dln(tau) may dip below zero between them. What a cell gains is bent below 1 % of what the
    trapezoid gives, in the way of `physical_pressure`, which says what the arguments are.
    """
    return _gaining(m, np.zeros(1), SMALL * _cell(dm, step))


def physical_pressure(p: Array, m: Array, dm: Array, rest: Array, step: Array) -> Array:
    """Gas pressure over gravity, made positive everywhere and increasing wherever g > a.

    Where a approaches g, the spline that integrates the pressure may lose pressure between two layers that both have
    g > a (computed grids do: 13 models of 3589 in ODFNEW), and where a exceeds g for long none is left. What a cell
    gains is therefore bent below 1 % of g times its column mass, and the pressure itself below 1 % of g m;
    above both it stays as it is. Values, first and second derivatives are continuous.

    Parameters
    ----------
    p, m : (..., n_depth) gas pressure over gravity and column mass [g cm-2]
    dm, rest : (..., n_depth) dm / dln(tau) and 1 - a/g
    step : (n_depth - 1,) steps in ln(tau)

    Complex numbers go through, so that a derivative can be had from an imaginary step.
    """

    # Where a exceeds g the bound gives way, steeply.
    bound = _cell(dm * np.where(rest.real < 0, rest, 0.0) ** 3, step) / SMALL**2
    p = _gaining(p, bound, SMALL * _cell(dm, step))
    return np.asarray(SMALL * m * _positive(p / (SMALL * m)))


def _cell(f: Array, step: Array) -> Array:
    """Integral of f from layer to layer by the trapezoid rule."""
    return np.asarray(0.5 * step * (f[..., 1:] + f[..., :-1]))


def _gaining(f: Array, bound: Array, small: Array) -> Array:
    """f with what it gains from layer to layer bent where that is less than `small` above `bound`."""
    u = (np.diff(f) - bound) / small
    f = f.copy()
    f[..., 1:] += np.cumsum(np.where(u.real < 1, small * (_positive(u) - u), 0.0), axis=-1)
    return f


def _positive(u: Array) -> Array:
    """u from 1 on; below, what is positive and increases and has the same two derivatives at 1."""
    v = np.where(u.real < 1, 1.0 - u, 0.0)
    return np.asarray(np.where(u.real < 1, 1.0 / (1.0 + v + v**2), u))


def hydrostatic_residual(
    rhox: Array, gas_pressure: Array, acceleration: Array, gravity: Array, height_over_radius: Array | None = None
) -> Array:
    """|(dP/dm + a)/g - 1| between layers, by differences in ln P and ln m; (..., n_depth - 1).

    gravity : (...,) [cm s-2], in a sphere that at the radius R
    height_over_radius : (..., n_depth) of a sphere, where gravity is g / (1 + h/R)^2; None for a plane
    """
    x, y = np.log(rhox), np.log(gas_pressure)
    mid_p = np.exp(0.5 * (y[..., 1:] + y[..., :-1]))
    mid_m = np.exp(0.5 * (x[..., 1:] + x[..., :-1]))
    slope = np.diff(y) / np.diff(x) * mid_p / mid_m
    mid_a = 0.5 * (acceleration[..., 1:] + acceleration[..., :-1])
    local = np.asarray(gravity)[..., None]
    if height_over_radius is not None:
        local = local / (1.0 + 0.5 * (height_over_radius[..., 1:] + height_over_radius[..., :-1])) ** 2
    return np.asarray(np.abs((slope + mid_a) / local - 1))

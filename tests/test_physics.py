"""Physics as pure functions, against closed forms."""

import numpy as np
import pytest

from sme_pinn_atmo import physics
from sme_pinn_atmo.composition import SOLAR_SCALES, mean_atomic_mass

LN_TAU = np.log(10.0) * np.linspace(-6.875, 2.0, 72)


def test_integration_matches_the_closed_form_of_a_power_law_opacity():
    tau = np.exp(LN_TAU)
    # kappa = k0 tau^b: m = tau^(1-b) / (k0 (1-b)) plus the constant that the boundary m_1 = tau_1/kappa_1 sets
    k0, b, gravity, a = 0.3, 0.4, np.array([2.74e4]), 120.0
    kappa = k0 * tau**b
    m, p = physics.integrate_structure(
        tau, kappa, np.full_like(tau, a), gravity, physics.integration_matrix(LN_TAU)
    )
    exact = (tau ** (1 - b) - tau[0] ** (1 - b)) / (k0 * (1 - b)) + tau[0] / kappa[0]
    np.testing.assert_allclose(m, exact, rtol=1e-5)
    np.testing.assert_allclose(p, (gravity - a) * exact, rtol=1e-5)


def test_residual_is_zero_for_constant_acceleration_and_sees_a_wrong_pressure():
    m = np.geomspace(1e-4, 10, 60)
    p = (1e4 - 50.0) * m
    residual = physics.hydrostatic_residual(m, p, np.full(60, 50.0), np.array(1e4))
    assert residual.max() < 1e-12
    wrong = physics.hydrostatic_residual(m, p * m**0.01, np.full(60, 50.0), np.array(1e4))
    mid = np.sqrt(m[1:] * m[:-1])
    np.testing.assert_allclose(wrong, np.abs((1.01 * (1e4 - 50) * mid**0.01 + 50) / 1e4 - 1), rtol=1e-3)


def test_a_grey_atmosphere_and_an_ideal_gas_by_hand():
    assert physics.grey_temperature(np.array([2 / 3, 2.0]), 6000.0) == pytest.approx([6000, 6000 * 2**0.25])
    pressure = 3e14 * physics.BOLTZMANN * 5000  # of 3e14 particles, a third of them electrons
    assert physics.atom_density(5000.0, pressure, 1e14) == pytest.approx(2e14)
    assert physics.electron_fraction(5000.0, pressure, 1e14) == pytest.approx(1 / 3)
    assert 1 / physics.curvature(10**4.438, 1.0) == pytest.approx(6.957e10, rel=1e-3)  # the Sun's radius
    assert 1 / physics.curvature(10**4.438, 4.0) == pytest.approx(2 * 6.957e10, rel=1e-3)


def test_height_counts_from_unit_depth():
    tau = np.exp(LN_TAU)  # with kappa rho = tau / H, h = -H ln tau
    matrix = physics.from_unit_depth(LN_TAU, physics.integration_matrix(LN_TAU))
    np.testing.assert_allclose(physics.height(tau, tau / 4.0, np.full(72, 2.0), matrix), -2.0 * LN_TAU, atol=1e-9)


def test_gravity_falls_with_height_in_a_sphere():
    m = np.geomspace(1e-4, 10, 60)
    h = np.linspace(0.2, 0.0, 60)
    mid = 0.5 * (h[1:] + h[:-1])
    a, p = np.full(60, 50.0), (1e4 - 50.0) * m
    expected = np.abs((1 + mid) ** 2 - 1)
    np.testing.assert_allclose(physics.hydrostatic_residual(m, p, a, np.array(1e4), h), expected, rtol=1e-9)


def test_interpolation_matrix_reproduces_a_cubic():
    points = np.linspace(LN_TAU[0], LN_TAU[-1], 333)
    cubic = np.polynomial.Polynomial([0.3, -1.0, 0.2, 0.05])
    np.testing.assert_allclose(physics.interpolation_matrix(LN_TAU, points) @ cubic(LN_TAU), cubic(points), atol=1e-9)


def test_mean_atomic_mass_of_the_sun():
    # Asplund et al. 2009, ARA&A 47, 481: X = 0.7381, Y = 0.2485; one atom of H for 1.008/X u of gas
    per_hydrogen = mean_atomic_mass(0.0) / physics.ATOMIC_MASS * (1 + 10**-1.07 + 10**-2.9)
    assert per_hydrogen == pytest.approx(1.008 / 0.7381, rel=2e-3)
    assert mean_atomic_mass(-4.0) < mean_atomic_mass(0.0) < mean_atomic_mass(0.5, 0.4)
    with pytest.raises(ValueError, match="holweger2001"):
        mean_atomic_mass(0.0, 0.0, "holweger2001")
    assert set(SOLAR_SCALES) == {"anders1989", "asplund2009", "grevesse1998", "grevesse2007"}


def test_spline_matrices_are_scipys():
    from scipy.interpolate import CubicSpline

    nodes = np.sort(np.random.default_rng(0).uniform(-16, 7, 60))
    values = np.random.default_rng(1).normal(size=60)
    points = np.linspace(nodes[0], nodes[-1], 501)
    spline = CubicSpline(nodes, values)
    scale = np.abs(spline(points)).max()
    np.testing.assert_allclose(physics.interpolation_matrix(nodes, points) @ values, spline(points), atol=1e-10 * scale)
    integral = spline.antiderivative()
    np.testing.assert_allclose(
        physics.integration_matrix(nodes) @ values, integral(nodes) - integral(nodes[0]), atol=1e-9 * scale
    )


def rough_structures(n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Raw pressure over gravity, column mass, dm / dln(tau) and 1 - a/g of structures whose a/g wanders about 1."""
    rng = np.random.default_rng(seed)
    dm = np.exp(0.7 * LN_TAU + 0.2 * rng.normal(size=(n, 1)))
    rest = 1 - np.exp(np.cumsum(0.25 * rng.normal(size=(n, 72)), axis=1) - rng.uniform(0, 1.5, (n, 1)))
    m, p = (f[:, :1] + f @ physics.integration_matrix(LN_TAU).T for f in (dm, rest * dm))
    return p, m, dm, rest


def test_pressure_is_positive_and_increases_wherever_gravity_wins():
    p, m, dm, rest = rough_structures(3000, 0)
    bent = physics.physical_pressure(p, m, dm, rest, np.diff(LN_TAU))
    wins = (rest[:, 1:] > 0) & (rest[:, :-1] > 0)
    assert (p <= 0).any()
    assert ((np.diff(p) <= 0) & wins).any()
    assert (bent > 0).all()
    assert not ((np.diff(bent) <= 0) & wins).any()


def test_pressure_far_from_the_limit_is_left_alone():
    p, m, dm, rest = rough_structures(3000, 1)
    step = np.diff(LN_TAU)
    cell = 0.5 * step * (dm[:, 1:] + dm[:, :-1])
    far = (np.diff(p) > 0.011 * cell).all(axis=1) & (p > 0.011 * m).all(axis=1)
    assert 100 < far.sum() < 3000
    np.testing.assert_allclose(physics.physical_pressure(p, m, dm, rest, step)[far], p[far], rtol=1e-13)


def test_column_mass_increases_where_the_opacity_drops_steeply():
    rng = np.random.default_rng(4)
    dm = np.exp(0.7 * LN_TAU + np.cumsum(0.3 * rng.normal(size=(2000, 72)), axis=1))
    dm[::2, -1] *= np.exp(rng.uniform(0, 4, 1000))
    m = dm[:, :1] + dm @ physics.integration_matrix(LN_TAU).T
    step = np.diff(LN_TAU)
    bent = physics.rising_mass(m, dm, step)
    falls = (np.diff(m) <= 0).any(axis=1)
    assert 20 < falls.sum() < 2000
    assert (np.diff(bent) > 0).all()
    steady = (np.diff(m) > 0.5 * physics.SMALL * step * (dm[:, 1:] + dm[:, :-1])).all(axis=1)
    assert steady.sum() > 20
    np.testing.assert_allclose(bent[steady], m[steady], rtol=1e-13)
    # What lies above the cell that fell stays, and below it all gains alike.
    i = np.flatnonzero(falls)[0]
    first = np.flatnonzero(np.diff(m[i]) <= 0)[0]
    assert bent[i, first] == pytest.approx(m[i, first], rel=0.01)
    assert bent[i, -1] - bent[i, -2] >= m[i, -1] - m[i, -2]


def test_an_imaginary_step_gives_the_derivatives_of_mass_and_pressure():
    p, m, dm, rest = rough_structures(200, 2)
    rng = np.random.default_rng(3)
    m[::2, 40:] -= 0.9 * (m[::2, 40:] - m[::2, 39:40])  # some that hardly rise
    parts = (m, p, dm, rest)
    slopes = [f * rng.normal(size=f.shape) for f in parts]
    step = np.diff(LN_TAU)

    def moved(h):
        return np.stack(physics.physical_integrals(*(f + h * s for f, s in zip(parts, slopes, strict=True)), step))

    exact = moved(1e-30j).imag / 1e-30
    up, down, h = moved(1e-6), moved(-1e-6), 1e-6
    np.testing.assert_allclose(exact / m, (up - down) / (2 * h) / m, rtol=1e-4, atol=1e-4)

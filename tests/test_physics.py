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
    assert set(SOLAR_SCALES) == {"anders1989", "asplund2009", "grevesse1998"}


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

"""Errors of a fit's parameters from its residuals, against what small samples give by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo.stars.errors import block_bootstrap, correlation_factor, leave_windows_out

FREE = np.zeros((2, 2))


def test_the_factor_of_correlated_residuals_by_hand() -> None:
    """Of ones, autocorrelations are 7/8, 6/8, ...; lags go to a quarter of the shortest piece, and to 60 at most."""
    ones = np.ones(8)
    assert correlation_factor([ones]) == pytest.approx(1 + 2 * (7 + 6) / 8)
    assert correlation_factor([1e-3 * ones]) == pytest.approx(4.25)
    assert correlation_factor([ones, np.ones(3)]) == pytest.approx(1 + 2 * (7 + 2) / 11)
    assert correlation_factor([np.ones(400)]) == pytest.approx(1 + 2 * sum(1 - k / 400 for k in range(1, 61)))
    waves = np.array([1.0, 1.0, -1.0, -1.0] * 8)  # 1/32, and below 0 from the second on
    assert correlation_factor([waves]) == pytest.approx(1 + 2 / 32)
    assert correlation_factor([]) == correlation_factor([np.zeros(8)]) == 1


def windows(means: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows (m) that each say what two parameters are, by themselves: means (m, 2) with four pixels each."""
    columns = np.repeat(np.eye(2), 4, axis=0)
    return [(columns, columns @ mean) for mean in means]


def test_a_jackknife_of_means_is_their_standard_error() -> None:
    means = np.array([[1.0, 30.0], [3.0, 10.0], [2.0, -40.0], [5.0, 0.0]])
    expected = means.std(axis=0, ddof=1) / 2
    np.testing.assert_allclose(leave_windows_out(windows(means), FREE), expected)
    np.testing.assert_allclose(leave_windows_out(windows(means[:2]), FREE), [1.0, 10.0])
    first = leave_windows_out(windows(means), np.diag([1e9, 0.0]))  # known before
    assert first[0] < 1e-6
    assert first[1] == pytest.approx(expected[1])
    alone = leave_windows_out(windows(means[:1]), FREE)
    assert alone.shape == (2,)
    assert np.isnan(alone).all()


def test_a_bootstrap_is_repeated_by_its_seed_and_held_by_a_prior() -> None:
    means = np.random.default_rng(0).normal(0, [1.0, 10.0], (30, 2))
    drawn = block_bootstrap(windows(means), FREE)
    assert drawn.shape == (400, 2)
    np.testing.assert_array_equal(drawn, block_bootstrap(windows(means), FREE))
    assert (drawn != block_bootstrap(windows(means), FREE, seed=2)).any()
    assert len(block_bootstrap(windows(means), FREE, draws=7)) == 7
    np.testing.assert_allclose(drawn.mean(axis=0), means.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(drawn.std(axis=0), means.std(axis=0) / np.sqrt(30), rtol=0.1)
    # As much known before as 30 blocks of four pixels say halves every change.
    np.testing.assert_allclose(block_bootstrap(windows(means), 120 * np.eye(2)), drawn / 2)

"""Errors of lines that are solved for in passing, against lines that are known to be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from sme_pinn_atmo import spectra
from sme_pinn_atmo.stars.corrections import CORRECTED
from sme_pinn_atmo.stars.model import ObservedWindow
from sme_pinn_atmo.stars.noise import (
    LineErrors,
    group_scatter,
    line_groups,
    line_scatters,
    line_shapes,
    look_again,
    weighed,
)  # fmt: skip

FLOOR = 0.005
WAVE = np.arange(6000.0, 6020.0, 0.05)
CENTRE = np.arange(6001.0, 6020.0, 2.0)
LINES = -0.5 * np.exp(-0.5 * ((WAVE[:, None] - CENTRE) / 0.1) ** 2)  # d flux / d log gf


def window(flux: np.ndarray) -> ObservedWindow:
    good = np.ones(len(WAVE), dtype=bool)
    return ObservedWindow(0, WAVE[0], WAVE[-1], WAVE, flux, np.full(len(WAVE), np.hypot(0.003, FLOOR)), good, width=5.0)


def common(of: ObservedWindow) -> tuple[float, float]:
    """Strength that all lines have in common [dex] and its error."""
    column = of.weigh(LINES.sum(axis=1))
    return float(column @ of.weigh(of.flux) / (column @ column)), float((column @ column) ** -0.5)


def test_one_bad_line_of_ten_does_not_decide() -> None:
    offsets = np.zeros(10)
    offsets[3] = 0.8
    noise = np.random.default_rng(2).normal(0, 0.003, len(WAVE))
    plain = window(LINES @ offsets + noise)
    assert common(plain)[0] > 0.07  # the mean
    errors = LineErrors.of(LINES, np.full(10, 0.1), FLOOR)
    first = weighed(plain, errors, FLOOR)
    assert common(first)[1] == pytest.approx(0.1 / np.sqrt(10), rel=0.1)
    errors = look_again(first, errors, first.flux, floor=FLOOR, steps=6)
    assert np.argmax(errors.sigma) == 3
    assert errors.offset[3] == pytest.approx(0.8, abs=0.05)
    assert errors.sigma[3] > 3 * np.median(errors.sigma)
    assert abs(common(weighed(first, errors, FLOOR))[0]) < 0.02


def inverse(of: ObservedWindow) -> np.ndarray:
    """Covariance of the points that count, as the weights have it."""
    root = of.weights.apply(np.eye(len(WAVE)))
    np.testing.assert_allclose(of.weights.back(np.eye(len(WAVE))), root.T, atol=1e-9)
    assert not root[~of.good].any()
    assert not root[:, ~of.good].any()
    return np.asarray(np.linalg.inv((root.T @ root)[np.ix_(of.good, of.good)]))


def test_weights_are_a_root_of_the_covariance_and_pass_over_bad_points() -> None:
    plain = window(np.ones(len(WAVE)))
    plain.good[100:120] = False
    none = LineErrors.of(LINES, np.zeros(10), FLOOR)
    assert none.shapes.shape[1] == 0  # lines without errors are none
    some = weighed(plain, LineErrors.of(LINES, np.full(10, 0.2), FLOOR), FLOOR)
    bare = inverse(weighed(plain, none, FLOOR))
    np.testing.assert_allclose(np.diag(bare), plain.sigma[plain.good] ** 2, rtol=1e-6)
    np.testing.assert_allclose(inverse(some) - bare, 0.04 * LINES[plain.good] @ LINES[plain.good].T, atol=1e-9)
    # Nine tenths of the floor's variance are of features as wide as a line, here 1.5 times 5 km/s.
    velocity = np.log(WAVE[plain.good]) * 299792.458
    distance = np.abs(velocity[:, None] - velocity) / 7.5
    wide = 0.9 * FLOOR**2 * (1 + distance) * np.exp(-distance)
    np.testing.assert_allclose(bare - np.diag(np.diag(bare)), wide - np.diag(np.diag(wide)), atol=1e-11)


def test_lines_that_change_less_than_a_tenth_of_the_floor_are_left_out() -> None:
    shapes = LINES[:, :3] * [1.0, 0.004, 0.012]  # deepest: 0.5, 0.002, 0.006 per dex
    kept = LineErrors.of(shapes, np.full(3, 0.1), FLOOR)
    np.testing.assert_array_equal(kept.shapes, shapes[:, [0, 2]])
    assert [list(v) for v in (kept.scatter, kept.sigma, kept.offset)] == [[0.1, 0.1], [0.1, 0.1], [0.0, 0.0]]


def test_a_look_is_a_step_of_expectation_and_maximisation() -> None:
    """Mean and variance of each line's strength given the data, and the scale of Student's t (4) that they ask for."""
    plain = window(LINES @ np.array([0, 0, 0, 0.5, 0, 0, -0.2, 0, 0, 0]))
    scatter = np.linspace(0.05, 0.2, 10)
    errors = LineErrors.of(LINES, scatter, FLOOR)
    precision = np.linalg.inv(inverse(weighed(plain, LineErrors.of(LINES, np.zeros(10), FLOOR), FLOOR)))
    variance = np.linalg.inv(LINES.T @ precision @ LINES + np.diag(scatter**-2.0))
    mean = variance @ LINES.T @ precision @ plain.flux
    once = look_again(plain, errors, plain.flux, floor=FLOOR, steps=1)
    np.testing.assert_allclose(once.offset, mean, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(once.sigma, np.sqrt((4 * scatter**2 + mean**2 + np.diag(variance)) / 5), rtol=1e-6)
    np.testing.assert_array_equal(once.scatter, scatter)
    twice = look_again(plain, once, plain.flux, floor=FLOOR, steps=2)
    default = look_again(plain, errors, plain.flux, floor=FLOOR)
    np.testing.assert_allclose(default.sigma, twice.sigma)  # of three steps


def test_components_and_bands_are_wrong_together() -> None:
    species = np.array(["Fe 1", "Mn 1", "Mn 1", "Mn 1", "TiO 1", "TiO 1", "TiO 1", "C2 1"])
    centre = np.array([6000.0, 6000.0, 6000.1, 6005.0, 6000.3, 6001.0, 6002.5, 6000.3])
    groups = line_groups(species, centre, np.array([1.0, 2.0, 2.0, 2.0, 0.1, 0.9, 0.1, 0.1]))
    assert groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups)) == 6
    # Lines of an atom at other levels are apart, however near; a level is one to 0.01 eV, and reaches 0.5 A.
    iron = line_groups(np.full(4, "Fe 1"), np.array([6000.0, 6000.1, 6000.6, 6001.2]), np.array([1.0, 3.0, 1.003, 1.0]))
    assert len(set(iron)) == 4
    chain = line_groups(np.full(3, "Fe 1"), np.array([6000.0, 6000.4, 6000.8]), np.array([1.0, 1.003, 0.998]))
    assert len(set(chain)) == 1


def test_lines_share_what_all_do() -> None:
    wave = np.arange(6000.0, 6003.0, 0.01)
    lines = -0.5 * np.exp(-((wave[:, None] - np.array([6001.0, 6001.1, 6002.0])) ** 2) / 0.036**2)
    shapes = line_shapes(wave, lines.sum(axis=1), np.array([6001.0, 6001.1, 6002.0]), np.full(3, 0.5), np.arange(3))
    np.testing.assert_allclose(shapes, lines, atol=0.02)
    np.testing.assert_allclose(shapes.sum(axis=1), lines.sum(axis=1), atol=0.002)
    centre, depth = np.array([6001.0, 6001.1, 6002.0]), np.array([0.5, 0.2, 0.3])
    apart = line_shapes(wave, np.ones(len(wave)), centre, depth, np.arange(3))
    together = line_shapes(wave, np.ones(len(wave)), centre, depth, np.array([4, 4, 9]))
    np.testing.assert_allclose(together, np.stack([apart[:, 0] + apart[:, 1], apart[:, 2]], 1))
    far = line_shapes(np.array([5900.0]), np.ones(1), centre, depth, np.arange(3))
    assert ((far > 0) & (far < 1e-3)).all()  # where there is no line nobody owns the change
    # Half way up a damped profile: exp(-1) + 0.03 / (2 sqrt(pi)) of the depth at one Doppler width.
    at = np.array([6000 * (1 + 1.8 / 299792.458)])
    one = line_shapes(at, np.ones(1), np.array([6000.0]), np.ones(1), np.zeros(1))
    opacity = np.exp(-1) + 0.03 / (2 * np.sqrt(np.pi))
    np.testing.assert_allclose(one, opacity / (opacity + 1e-3))


def test_corrected_lines_err_by_what_their_correction_leaves() -> None:
    lines = spectra.read_lines()[np.arange(4)]
    assert set(line_scatters(lines, 0.15, 0.05)) == {0.15}
    lines._lines = lines._lines.assign(**{CORRECTED: [np.nan, 0.0, 0.12, 0.4]})
    np.testing.assert_allclose(line_scatters(lines, 0.15, 0.05), [0.15, 0.05, 0.13, 0.15])
    np.testing.assert_allclose(line_scatters(lines, 0.15, 0.0), [0.15, 0.0, 0.12, 0.15])
    assert not line_scatters(lines, 0.0, 0.05).any()  # the list is exact


def test_a_group_errs_as_its_deepest_lines_do() -> None:
    found = group_scatter(np.array([0.05, 0.15, 0.1]), np.array([0.3, 0.1, 0.2]), np.array([7, 7, 2]))
    np.testing.assert_allclose(found, [0.1, 0.075])  # groups in order of their numbers, as the columns of shapes

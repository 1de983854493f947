"""Rotation, macroturbulence, line spread and pixels, against what is known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from sme_pinn_atmo.stars.instrument import LineSpread, annuli, bin_pixels, broaden, disk_flux, even_velocity, resample

STEP = 0.5
WAVE = even_velocity([6000.0, 6010.0], STEP)
V = (np.log(WAVE) - np.log(WAVE[len(WAVE) // 2])) * 299792.458
MU = np.sqrt((np.arange(7) + 0.5) / 7)


def width(profile: np.ndarray) -> float:
    return float(np.sqrt((profile * V**2).sum() / profile.sum() - ((profile * V).sum() / profile.sum()) ** 2))


def line(sigma: float = 2.0) -> np.ndarray:
    return np.asarray(0.4 * np.exp(-0.5 * (V / sigma) ** 2))


def test_wavelengths_are_even_in_velocity_over_the_range() -> None:
    wave = even_velocity([6010.0, 6004.0, 6000.0], 0.5)
    np.testing.assert_allclose(np.diff(np.log(wave)) * 299792.458, 0.5)
    assert wave[0] == 6000
    assert 6010 * (1 - 0.5 / 299792.458) < wave[-1] <= 6010


def test_annuli_cover_the_disk() -> None:
    inner, outer = annuli(MU)
    assert (outer**2 - inner**2).sum() == pytest.approx(1)
    radius = np.sqrt(1 - MU**2)
    assert ((inner <= radius) & (radius <= outer)).all()


def test_rotation_of_an_even_disk_is_an_ellipse() -> None:
    """A narrow line on a disk without limb darkening takes the shape sqrt(1 - (v/vsini)^2), sigma vsini / 2."""
    intensity = 1 - np.tile(line(0.6), (7, 1))
    depth = 1 - disk_flux(MU, intensity, STEP, vsini=20.0) / np.pi
    assert width(depth) == pytest.approx(np.hypot(10.0, 0.6), rel=0.01)
    middle = depth[np.abs(V) < 15]
    expected = np.sqrt(1 - (V[np.abs(V) < 15] / 20) ** 2)
    assert np.corrcoef(middle, expected)[0, 1] > 0.999


def test_radial_tangential_turbulence_has_its_variance() -> None:
    """Mean of mu^2 and 1 - mu^2 over the two halves is 1/2 at every mu: the variance is zeta^2 / 4 each time."""
    intensity = 1 - np.tile(line(), (7, 1))
    depth = 1 - disk_flux(MU, intensity, STEP, vmac=6.0) / np.pi
    assert width(depth) == pytest.approx(np.sqrt(4 + 6.0**2 / 4), rel=0.01)
    gaussian = np.exp(-0.5 * (V / width(depth)) ** 2)
    assert (depth[np.abs(V) > 15] / depth.max()).max() > 1.5 * (gaussian[np.abs(V) > 15]).max()  # wings, as Gray has


def test_rotation_and_turbulence_add_up_and_small_ones_count() -> None:
    intensity = 1 - np.tile(line(), (7, 1))
    depth = 1 - disk_flux(MU, intensity, STEP, vmac=6.0, vsini=10.0) / np.pi
    assert width(depth) == pytest.approx(np.sqrt(4 + 9 + 25), rel=0.02)
    still = disk_flux(MU, intensity, STEP)
    for small in ({"vsini": 0.9}, {"vmac": 0.9}, {"vsini": 1.0}, {"vmac": 1.0}):
        assert np.ptp(disk_flux(MU, intensity, STEP, **small) - still) > 1e-3
    with pytest.raises(ValueError, match="vsini = -1 km/s; allowed: 0 or more"):
        disk_flux(MU, intensity, STEP, vsini=-1)
    with pytest.raises(ValueError, match="vmac = inf"):
        disk_flux(MU, intensity, STEP, vmac=np.inf)


def test_beyond_its_ends_a_spectrum_goes_on_as_it_ends() -> None:
    """Not as a ring, in which what leaves at one end comes in at the other."""
    for fine, step in ((WAVE, STEP), (even_velocity([6000.0, 6010.0], 3.0), 3.0)):
        slope = np.linspace(0.0, 1.0, len(fine))
        for shown in (
            broaden(slope, step, 12.0), LineSpread(10_000).apply(fine, slope, step),
            disk_flux(MU, np.tile(slope, (7, 1)), step, vsini=40.0, vmac=5.0) / np.pi,
        ):  # fmt: skip
            np.testing.assert_allclose(shown[[0, -1]], [0, 1], atol=0.1)
            assert (np.diff(shown) > -1e-9).all()
    steep = np.ones(len(WAVE))
    steep[[0, -1]] = 3.0
    one = LineSpread(20_000)
    np.testing.assert_allclose(one.matrix(WAVE, WAVE) @ steep, one.apply(WAVE, steep, STEP), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 60), st.floats(0, 15), st.floats(2_000, 200_000))
def test_flux_is_conserved(vsini: float, vmac: float, resolution: float) -> None:
    intensity = 1 - np.tile(line(), (7, 1))
    flux = disk_flux(MU, intensity, STEP, vsini=vsini, vmac=vmac) / np.pi
    assert (1 - flux).sum() == pytest.approx(line().sum(), rel=1e-3)
    shown = LineSpread(resolution).apply(WAVE, 1 - line(), STEP)
    assert (1 - shown).sum() == pytest.approx(line().sum(), rel=2e-3)
    np.testing.assert_allclose(disk_flux(MU, np.ones((7, len(WAVE))), STEP, vsini=vsini, vmac=vmac), np.pi, rtol=1e-9)


def test_line_spread_of_one_r_a_table_and_a_matrix() -> None:
    one = LineSpread(20_000).apply(WAVE, 1 - line(), STEP)
    sigma = 299792.458 / 20_000 / 2.3548
    assert width(1 - one) == pytest.approx(np.hypot(2.0, sigma), rel=0.01)
    table = LineSpread(table_wave=np.array([5000.0, 7000.0]), table_resolution=np.array([20_000.0, 20_000.0]))
    np.testing.assert_allclose(table.apply(WAVE, 1 - line(), STEP), one, atol=1e-5)
    out = WAVE[100:-100:3]
    matrix = LineSpread(20_000).matrix(WAVE, out)
    assert matrix.shape == (len(out), len(WAVE))
    np.testing.assert_allclose(matrix @ (1 - line()), one[100:-100:3], atol=1e-5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    changing = LineSpread(table_wave=WAVE[[0, -1]], table_resolution=np.array([10_000.0, 40_000.0]))
    assert width(1 - changing.apply(WAVE, 1 - np.roll(line(), -300), STEP)) > width(
        1 - changing.apply(WAVE, 1 - np.roll(line(), 300), STEP)
    )
    for wrong in (-1, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"resolution = {wrong:g}; allowed: 0"):
            LineSpread(wrong)
    assert LineSpread(0.5).at([6000.0]) == 0.5
    np.testing.assert_array_equal(LineSpread(0).apply(WAVE, line(), STEP), line())
    with pytest.raises(ValueError, match="needs a resolving power above 0"):
        LineSpread(0).matrix(WAVE, WAVE)
    with pytest.raises(ValueError, match="allowed: 0"):
        LineSpread(table_wave=np.array([5000.0, 7000.0]), table_resolution=np.array([100.0, -1.0]))
    with pytest.raises(ValueError, match="increasing wavelengths"):
        LineSpread(table_wave=np.array([5000.0, 5000.0]), table_resolution=np.array([1e4, 1e4]))
    LineSpread(table_wave=np.array([5000.0, 5000.5]), table_resolution=np.array([1e4, 1e4]))
    with pytest.raises(ValueError, match="vmac = -2"):
        disk_flux(MU, np.ones((7, 9)), STEP, vmac=-2)


def test_velocity_shifts_to_the_red_and_has_the_right_slope() -> None:
    out = WAVE[200:-200]
    flux, slope = resample(WAVE, 1 - line(), out, 10.0)
    assert out[np.argmin(flux)] == pytest.approx(WAVE[len(WAVE) // 2] * (1 + 10 / 299792.458), abs=0.01)
    more, _ = resample(WAVE, 1 - line(), out, 10.01)
    less, _ = resample(WAVE, 1 - line(), out, 9.99)
    np.testing.assert_allclose((more - less) / 0.02, slope, atol=1e-5)
    np.testing.assert_array_equal(resample(WAVE, 1 - line(), out)[0], resample(WAVE, 1 - line(), out, 0.0)[0])
    # A straight line has one slope: d flux / d v = -rest / (c + v) at any velocity.
    slope = resample(WAVE, WAVE, WAVE[:1] * 1.1, 0.1 * 299792.458)[1]
    np.testing.assert_allclose(slope, -WAVE[0] / (1.1 * 299792.458), rtol=1e-9)


def test_pixels_integrate() -> None:
    out = np.arange(6001.0, 6009.0, 0.5)
    binned = bin_pixels(WAVE, 1 - line(), out)
    assert ((1 - binned) * 0.5).sum() == pytest.approx((line() * np.gradient(WAVE)).sum(), rel=1e-3)
    # Borders half way between centres, the outermost as far off as the inner ones.
    uneven = np.array([2.0, 3.0, 6.0, 9.0, 11.0])
    borders = np.array([1.5, 2.5, 4.5, 7.5, 10.0, 12.0])
    x = np.linspace(0.0, 20.0, 201)
    np.testing.assert_allclose(bin_pixels(x, x, uneven), 0.5 * (borders[1:] + borders[:-1]))


def test_a_gaussian_of_no_width_changes_nothing() -> None:
    np.testing.assert_array_equal(broaden(line(), STEP, 0.0), line())


def test_a_line_spread_is_read_from_a_table(tmp_path: Path) -> None:
    Table({"wavelength": [5000.0, 7000.0], "resolution": [20_000.0, 30_000.0]}).write(tmp_path / "r.ecsv")
    assert LineSpread.read(tmp_path / "r.ecsv").at(6000.0) == 25_000
    with pytest.raises(FileNotFoundError, match="there is no table of the line spread"):
        LineSpread.read(tmp_path / "none.ecsv")
    Table({"wavelength": [5000, 7000], "resolution": [1, 20_000]}).write(tmp_path / "whole.csv")
    assert LineSpread.read(tmp_path / "whole.csv").at(5000) == 1
    Table({"wavelength": [5000.0, 7000.0], "resolution": [20_000.0, 0.0]}).write(tmp_path / "zero.ecsv")
    with pytest.raises(ValueError, match="has a resolution of 0; allowed: above 0"):
        LineSpread.read(tmp_path / "zero.ecsv")
    Table({"wavelength": [5000.0], "r": [0.0]}).write(tmp_path / "no.ecsv")
    with pytest.raises(ValueError, match="has the columns wavelength, r; wavelength and resolution are needed"):
        LineSpread.read(tmp_path / "no.ecsv")

"""Observed spectra: files of many kinds, air and vacuum, and cleaning."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo.stars.spectrum import ObservedSpectrum, read_spectrum, to_air

WAVE = np.linspace(6150.0, 6152.0, 41)
FLUX = 1 - 0.4 * np.exp(-(((WAVE - 6151.3) / 0.2) ** 2))
SIGMA = np.full(41, 0.01)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_air_is_what_others_say_it_is() -> None:
    """NIST: the Fe I line at 6151.6179 A in air is at 6153.3192 A in vacuum (levels 17550.181 and 33801.572 cm-1)."""
    vacuum = 1e8 / (33801.572 - 17550.181)
    assert to_air(vacuum) == pytest.approx(6151.618, abs=2e-3)
    from specutils.utils.wcs_utils import vac_to_air

    other = vac_to_air(WAVE * units.AA, method="Morton2000").to_value("AA")
    np.testing.assert_allclose(to_air(WAVE), other, atol=1e-4)


def test_vacuum_is_converted_when_stated_in_call_or_file(folder: Path) -> None:
    Table({"wave": WAVE, "flux": FLUX, "error": SIGMA}).write("a.csv")
    Table({"wave": WAVE, "flux": FLUX, "error": SIGMA}, meta={"medium": "vacuum"}).write("b.ecsv")
    Table({"loglam": np.log10(WAVE), "flux": FLUX, "ivar": SIGMA**-2.0}).write("c.fits")
    assert read_spectrum("a.csv").wave[0] == 6150
    assert "air is taken" in read_spectrum("a.csv").notes[0]
    for spectrum in (read_spectrum("a.csv", medium="vacuum"), read_spectrum("b.ecsv"), read_spectrum("c.fits")):
        np.testing.assert_allclose(spectrum.wave, to_air(WAVE), atol=1e-6)
        np.testing.assert_allclose(spectrum.sigma, SIGMA)
        assert not spectrum.notes
    assert read_spectrum("b.ecsv", medium="air").wave[0] == 6150


def test_fits_of_common_kinds(folder: Path) -> None:
    header = fits.Header({"CRVAL1": WAVE[0], "CDELT1": WAVE[1] - WAVE[0], "CRPIX1": 1.0, "CTYPE1": "AWAV",
                          "CUNIT1": "Angstrom"})  # fmt: skip
    fits.PrimaryHDU(FLUX, header).writeto("image.fits")
    image = read_spectrum("image.fits", error=0.01)
    np.testing.assert_allclose(image.wave, WAVE, atol=1e-4)
    np.testing.assert_allclose(image.flux, FLUX)
    QTable({"spectral_axis": WAVE / 10 * units.nm, "flux": FLUX * units.one}).write("table.fits")
    table = read_spectrum("table.fits", error=0.01)
    np.testing.assert_allclose(table.wave, WAVE, atol=1e-4)
    Path("no.fits").write_bytes(b"SIMPLE  = nothing")
    with pytest.raises(ValueError, match=r"no\.fits is not a FITS file"):
        read_spectrum("no.fits", error=0.01)


def image(name: str, flux: np.ndarray = FLUX, *more: fits.ImageHDU, **cards: object) -> None:
    header = fits.Header({"CRVAL1": WAVE[0], "CDELT1": WAVE[1] - WAVE[0], "CRPIX1": 1.0, **cards})
    fits.HDUList([fits.PrimaryHDU(flux, header), *more]).writeto(name)


def test_images_with_the_wavelengths_that_they_say(folder: Path) -> None:
    step = np.log10(WAVE[1] / WAVE[0])
    image("iraf.fits", CRVAL1=np.log10(WAVE[0]), CDELT1=step, **{"DC-FLAG": 1})
    even = WAVE[0] * 10 ** (step * np.arange(41))
    np.testing.assert_allclose(read_spectrum("iraf.fits", error=0.01).wave, even, rtol=1e-9)
    image("log.fits", CTYPE1="WAVE-LOG")
    spectrum = read_spectrum("log.fits", error=0.01)
    np.testing.assert_allclose(spectrum.wave, to_air(WAVE[0] * np.exp((WAVE - WAVE[0]) / WAVE[0])), rtol=1e-9)
    assert not spectrum.notes  # WAVE is vacuum
    image("name.fits", CTYPE1="WAVELENGTH")  # which says nothing
    assert read_spectrum("name.fits", error=0.01).wave[0] == WAVE[0]
    image("nm.fits", CRVAL1=WAVE[0] / 10, CDELT1=(WAVE[1] - WAVE[0]) / 10, CUNIT1="nm", CTYPE1="AWAV")
    np.testing.assert_allclose(read_spectrum("nm.fits", error=0.01).wave, WAVE)
    image("orders.fits", np.stack([FLUX, FLUX]), fits.ImageHDU(np.stack([SIGMA, 2 * SIGMA]), name="ERR"))
    orders = read_spectrum("orders.fits")
    assert [orders.sigma[orders.order == i][0] for i in (0, 1)] == [0.01, 0.02]


def test_images_count_their_pixels_from_where_their_header_says(folder: Path) -> None:
    step = WAVE[1] - WAVE[0]
    made = {
        "third.fits": {"CRPIX1": 3.0, "CRVAL1": WAVE[2]},
        "cd.fits": {"CDELT1": None, "CD1_1": step},
        "blank.fits": {"CDELT1": 0.0, "CD1_1": step},
        "lower.fits": {"CTYPE1": "awav "},
        "unit.fits": {"CUNIT1": " Angstrom", "CTYPE1": "AWAV"},
        "um.fits": {"CRVAL1": WAVE[0] / 1e4, "CDELT1": step / 1e4, "CUNIT1": "um"},
        "plain.fits": {"DC-FLAG": 0},
    }
    for name, cards in made.items():
        image(name, **{k: v for k, v in cards.items() if v is not None})
        if None in cards.values():
            with fits.open(name, mode="update") as file:
                del file[0].header["CDELT1"]
        spectrum = read_spectrum(name, error=0.01)
        np.testing.assert_allclose(spectrum.wave, WAVE, rtol=1e-9, err_msg=name)
        np.testing.assert_array_equal(spectrum.flux, FLUX)
        assert bool(spectrum.notes) == ("AWAV" not in str(cards.get("CTYPE1", "")).upper()), name
    # First pixel and step are of the logarithm, by its base or by the name of the axis.
    tens = np.log10(WAVE[0]), np.log10(WAVE[1] / WAVE[0])
    for name, cards in (("flag.fits", {"DC-FLAG": 1}), ("axis.fits", {"CTYPE1": "LOGLAM"})):
        image(name, CRVAL1=tens[0], CDELT1=tens[1], CRPIX1=2.0, **cards)
        found = read_spectrum(name, error=0.01)
        np.testing.assert_allclose(found.wave, WAVE[0] * (WAVE[1] / WAVE[0]) ** np.arange(-1, 40), rtol=1e-9)
        assert "air is taken" in found.notes[0]
    image("vacuum.fits", CTYPE1="WAVE")
    np.testing.assert_allclose(read_spectrum("vacuum.fits", error=0.01).wave, to_air(WAVE), rtol=1e-9)
    image("awav.fits", CTYPE1="AWAV-LOG")
    found = read_spectrum("awav.fits", error=0.01)
    np.testing.assert_allclose(found.wave, WAVE[0] * np.exp((WAVE - WAVE[0]) / WAVE[0]), rtol=1e-9)
    assert not found.notes


def test_images_of_errors_are_those_of_their_name_and_shape(folder: Path) -> None:
    for name in ("ERR", "sigma", "Error", "UNCERT"):
        image(f"{name}.fits", FLUX, fits.ImageHDU(3 * SIGMA, name="OTHER"), fits.ImageHDU(SIGMA, name=name))
        np.testing.assert_array_equal(read_spectrum(f"{name}.fits").sigma, SIGMA)
    image("short.fits", FLUX, fits.ImageHDU(SIGMA[:-1], name="ERR"))
    with pytest.raises(ValueError, match="no column of errors"):
        read_spectrum("short.fits")
    # An empty first unit is none; what comes next is the spectrum.
    header = fits.Header({"CRVAL1": WAVE[0], "CDELT1": WAVE[1] - WAVE[0], "CTYPE1": "AWAV"})
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(FLUX, header)]).writeto("second.fits")
    np.testing.assert_allclose(read_spectrum("second.fits", error=0.01).wave, WAVE, rtol=1e-9)


def test_columns_are_known_by_name_then_by_place(folder: Path) -> None:
    Table({"Error": SIGMA, "FLUX": FLUX, "Wavelength": WAVE}).write("names.csv")
    Table({"a": WAVE, "b": FLUX, "c": SIGMA}).write("places.csv")
    Table({"flux": FLUX, "x": WAVE}).write("half.csv")  # x is in the place of the flux, which has a name
    for name in ("names.csv", "places.csv"):
        spectrum = read_spectrum(name)
        np.testing.assert_array_equal(spectrum.wave, WAVE)
        np.testing.assert_array_equal(spectrum.flux, FLUX)
        np.testing.assert_array_equal(spectrum.sigma, SIGMA)
    with pytest.raises(ValueError, match=r"half\.csv has the columns flux, x; none of them is the wave"):
        read_spectrum("half.csv", error=0.01)
    Table({"flux": FLUX}).write("one.csv")
    with pytest.raises(ValueError, match=r"one\.csv has the columns flux; wavelength and flux are needed"):
        read_spectrum("one.csv", error=0.01)
    Table({"wave": WAVE, "flux": FLUX, "sigma": SIGMA, "ivar": SIGMA}).write("both.csv")
    np.testing.assert_array_equal(read_spectrum("both.csv").sigma, SIGMA)
    masked = Table({"wave": WAVE, "flux": np.ma.masked_array(FLUX, np.arange(41) == 6), "error": SIGMA})
    masked.write("masked.ecsv")
    assert read_spectrum("masked.ecsv").counts == {"points not finite left out": 1}
    for words, medium in (({"MEDIUM": "Vacuum"}, "vacuum"), ({"medium": "air"}, "air"), ({"medium": "water"}, None)):
        Table({"wave": WAVE, "flux": FLUX, "error": SIGMA}, meta=words).write("m.ecsv", overwrite=True)
        spectrum = read_spectrum("m.ecsv")
        assert spectrum.wave[0] == (to_air(WAVE[0]) if medium == "vacuum" else WAVE[0])
        assert bool(spectrum.notes) == (medium is None)
    units_of = Table({"wave": WAVE / 10, "flux": FLUX, "error": SIGMA})
    units_of["wave"].unit = "nm"
    units_of.write("nm.ecsv")
    np.testing.assert_allclose(read_spectrum("nm.ecsv").wave, WAVE)


def test_cells_of_arrays_and_flags(folder: Path) -> None:
    flag = np.zeros(41, dtype=int)
    flag[5:9] = 4
    columns = {"WAVE": WAVE[None], "FLUX": FLUX[None], "ERR": SIGMA[None], "QUAL": flag[None]}
    hdu = fits.BinTableHDU(Table(columns))
    hdu.header["TUCD1"] = "em.wl;obs.atmos"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto("eso.fits")
    spectrum = read_spectrum("eso.fits")
    np.testing.assert_allclose(spectrum.wave, np.delete(WAVE, range(5, 9)))
    assert spectrum.counts == {"flagged points left out": 4}
    assert not spectrum.notes
    Table({"wave": WAVE, "flux": FLUX, "error": SIGMA, "mask": np.ones(41, dtype=bool)}).write("all.ecsv")
    with pytest.raises(ValueError, match="flags all of its points"):
        read_spectrum("all.ecsv")
    Path("head.s").write_text("*** Reduced spectrum of 'x'\n 2 2\n 400.1 1 2\n 400.2 1 2\n")
    with pytest.raises(ValueError, match=r"head\.s is not a table that astropy reads") as error:
        read_spectrum("head.s")
    assert "\n" not in str(error.value)


def test_what_only_specutils_reads(folder: Path) -> None:
    """Frequencies, which are in vacuum by their nature: of an image by its header, of a table only if it says so."""
    speed = 299792458e10  # A/s
    hertz = np.linspace(speed / WAVE[-1], speed / WAVE[0], 41)
    image("hz.fits", CRVAL1=hertz[0], CDELT1=hertz[1] - hertz[0], CTYPE1="FREQ", CUNIT1="Hz", BUNIT="")
    spectrum = read_spectrum("hz.fits", error=0.01)
    np.testing.assert_allclose(spectrum.wave, to_air(speed / hertz[::-1]), rtol=1e-7)
    np.testing.assert_allclose(spectrum.flux, FLUX[::-1])
    assert not spectrum.notes
    rows = {"frequency": hertz * units.Hz, "flux": FLUX * units.Jy, "uncertainty": SIGMA * units.Jy}
    QTable(rows).write("hz_table.fits")
    table = read_spectrum("hz_table.fits")
    np.testing.assert_allclose(table.wave, speed / hertz[::-1], rtol=1e-9)
    np.testing.assert_allclose(table.sigma, 0.01)
    assert "air is taken" in table.notes[0]


def test_a_medium_is_in_the_name_of_a_column_or_in_esos_words(folder: Path) -> None:
    for name, first in (("wave_vac", to_air(WAVE[0])), ("wave_air", WAVE[0])):
        Table({name: WAVE, "flux": FLUX, "error": SIGMA}).write(f"{name}.csv")
        assert read_spectrum(f"{name}.csv").wave[0] == first
        assert not read_spectrum(f"{name}.csv").notes
    hdu = fits.BinTableHDU(Table({"WAVE": WAVE, "FLUX": FLUX, "ERR": SIGMA}))
    hdu.header["TUCD1"] = "em.wl"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto("eso.fits")
    assert read_spectrum("eso.fits").wave[0] == to_air(WAVE[0])


def test_points_of_no_weight_are_left_out_and_counted(folder: Path) -> None:
    ivar = np.full(41, 0.25)  # an error of 2
    ivar[[3, 7]] = 0.0
    Table({"wave": WAVE, "flux": FLUX, "ivar": ivar}).write("ivar.csv")
    spectrum = read_spectrum("ivar.csv")
    assert spectrum.counts == {"of zero or negative error left out": 2}
    np.testing.assert_allclose(spectrum.sigma, 2.0)
    assert spectrum.cleaned == "ivar.csv: 2 of zero or negative error left out"
    flux, flag = FLUX.copy(), np.zeros(41, dtype=int)
    flux[[0, 1, 2]] = [np.nan, 0.0, -1.0]
    flag[[0, 10]] = 1
    Table({"wave": WAVE, "flux": flux, "error": SIGMA, "flag": flag}).write("flag.csv")
    assert read_spectrum("flag.csv").counts == {
        "flagged points left out": 1, "points not finite left out": 1, "of zero or negative flux left out": 2
    }  # fmt: skip


def test_a_spectrum_is_sorted_within_its_orders_and_says_so() -> None:
    down = ObservedSpectrum.from_arrays(WAVE[::-1], FLUX[::-1], SIGMA)
    assert not down.counts  # only turned round
    assert down.cleaned == ""
    np.testing.assert_array_equal(down.wave, WAVE)
    mixed = np.r_[WAVE[:20], WAVE[:9:-1]]  # 31 points of the second piece run back, and ten of them are there twice
    found = ObservedSpectrum.from_arrays(mixed, np.ones(len(mixed)), 0.01)
    assert found.counts == {"steps back in wavelength sorted": 30, "repeated wavelengths averaged": 10}
    both = ObservedSpectrum.from_arrays(np.r_[WAVE, WAVE], 1.0, 0.01, order=np.repeat([0, 2], 41))
    assert not both.counts  # from one order to the next is no step back
    assert ObservedSpectrum.from_arrays(np.r_[0.0, 0.5, WAVE], 1.0, 0.01).wave[0] == 0.5
    assert ObservedSpectrum.from_arrays(WAVE, 1, 1).name == "spectrum"
    assert ObservedSpectrum.from_arrays(WAVE, 1, 1).with_floor(0).sigma[0] == 1


def test_a_file_is_known_by_its_checksum(folder: Path) -> None:
    Table({"wave": WAVE, "flux": FLUX, "error": SIGMA}).write("a.csv")
    assert read_spectrum("a.csv").sha256 == hashlib.sha256(Path("a.csv").read_bytes()).hexdigest()


def test_npz_and_orders(folder: Path) -> None:
    np.savez("a.npz", wave=WAVE, flux=FLUX, error=SIGMA, medium="air")
    assert not read_spectrum("a.npz").notes
    order = np.repeat([3, 1], [20, 21])
    Table({"wave": WAVE, "flux": FLUX, "error": SIGMA, "order": order}).write("b.csv")
    spectrum = read_spectrum("b.csv", name="HD 1")
    assert spectrum.name == "HD 1"
    assert list(np.unique(spectrum.order)) == [1, 3]
    assert (np.diff(spectrum.wave[spectrum.order == 1]) > 0).all()
    # Overlapping orders keep their points apart.
    both = ObservedSpectrum.from_arrays(np.tile(WAVE, 2), np.tile(FLUX, 2), 0.01, order=np.repeat([0, 1], 41))
    assert len(both) == 82
    assert not both.counts


def test_spectra_in_other_units_are_named(folder: Path) -> None:
    np.savetxt("nm.txt", np.stack([WAVE / 10, FLUX, SIGMA], 1))
    np.savetxt("um.txt", np.stack([WAVE / 1e4, FLUX, SIGMA], 1))
    with pytest.raises(ValueError, match="looks like nm"):
        read_spectrum("nm.txt")
    with pytest.raises(ValueError, match="looks like micrometres"):
        read_spectrum("um.txt")


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(41)), st.sets(st.integers(0, 40), max_size=8), st.integers(0, 2**31))
def test_cleaning_does_not_depend_on_how_a_file_is_written(turn: list[int], twice: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bad = rng.random(41) < 0.2
    flux = np.where(bad, rng.choice([np.nan, 0.0, -1.0, np.inf], 41), FLUX)
    if bad.all():
        return
    again = np.array(sorted(twice), dtype=int)
    rows = np.concatenate([np.array(turn), again])
    spectrum = ObservedSpectrum.from_arrays(WAVE[rows], flux[rows], SIGMA[rows])
    np.testing.assert_allclose(spectrum.wave, WAVE[~bad])
    np.testing.assert_allclose(spectrum.flux, FLUX[~bad])
    doubled = np.isin(np.arange(41), again)[~bad]
    np.testing.assert_allclose(spectrum.sigma, np.where(doubled, 0.01 / np.sqrt(2), 0.01))


def test_what_cannot_be_a_spectrum() -> None:
    with pytest.raises(ValueError, match="no point with finite"):
        ObservedSpectrum.from_arrays(WAVE, -FLUX, SIGMA)
    with pytest.raises(ValueError, match="not of one length"):
        ObservedSpectrum.from_arrays(WAVE, FLUX[:-1], SIGMA)
    with pytest.raises(ValueError, match="medium = 'water'"):
        ObservedSpectrum.from_arrays(WAVE, FLUX, SIGMA, medium="water")
    with pytest.raises(ValueError, match="error floor = -1"):
        ObservedSpectrum.from_arrays(WAVE, FLUX, SIGMA).with_floor(-1)
    floor = ObservedSpectrum.from_arrays(WAVE, FLUX, SIGMA).with_floor(0.01)
    np.testing.assert_allclose(floor.sigma, np.sqrt(2) * 0.01)

"""The commands `synthesize`, `fit` and `export-grid`, on real PySME."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable, Table
from click.testing import CliRunner

from sme_pinn_atmo import Emulator, spectra
from sme_pinn_atmo.cli import main

SUN = ["--teff", "5777", "--logg", "4.44", "--vmac", "3", "--resolution", "60000"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_spectrum_is_made_and_fitted_back(folder: Path) -> None:
    run("synthesize", *SUN, "--wave", "6151", "6157", "--step", "0.03", "--out", "sun.ecsv", "--plot", "sun.png")
    table = QTable.read("sun.ecsv")
    assert table["wavelength"].unit == "Angstrom"
    assert table.meta["model"] == "atlas12"
    assert 0.2 < table["flux"].min() < 0.7
    assert Path("sun.png").read_bytes()[:4] == b"\x89PNG"
    # The lines are those that made the spectrum: none of them may be off.
    start = ["--teff", "5600", "--logg", "4.44", "--vmac", "3", "--resolution", "60000", "--line-scatter", "0"]
    out = run("fit", "sun.ecsv", "--error", "0.005", *start, "--free", "teff", "--free", "monh", "--json")
    found = json.loads(out)
    assert not found["warnings"]
    assert found["values"]["teff"] == pytest.approx(5777, abs=3)
    assert found["values"]["monh"] == pytest.approx(0, abs=0.003)
    assert found["reduced_chi2"] < 0.01
    assert 0 < found["errors"]["teff"] < 100
    assert sorted(p.name for p in folder.iterdir()) == ["sun.ecsv", "sun.png"]


def width(wave: np.ndarray, flux: np.ndarray) -> float:
    """Standard deviation of a line's profile [A], by its second moment."""
    depth = 1 - flux
    centre = (wave * depth).sum() / depth.sum()
    return float(np.sqrt(((wave - centre) ** 2 * depth).sum() / depth.sum()))


@pytest.mark.parametrize("resolution", [5_000, 20_000, 60_000])
def test_a_weak_line_is_as_wide_as_the_instrument_says(resolution: float) -> None:
    """Variances add up: that of a Gaussian of FWHM lambda / R to the line's own."""
    lines = spectra.read_lines()
    weak = lines[np.abs(np.asarray(lines["wlcent"]) - 6150.157) < 0.01]
    assert len(weak) == 1
    wave = np.arange(6146, 6154.3, 0.005)
    sharp, blurred = (
        spectra.synthesize("atlas12", wave, weak, teff=5777, logg=4.44, resolution=r) for r in (0, resolution)
    )
    assert 0.02 < 1 - sharp.min() < 0.3
    sigma = 6150.157 / resolution / np.sqrt(8 * np.log(2))
    assert width(wave, blurred) == pytest.approx(np.hypot(width(wave, sharp), sigma), rel=0.02)
    assert (1 - blurred).sum() == pytest.approx((1 - sharp).sum(), rel=0.002)


def test_the_instrument_counts_in_synthesis_and_fit(folder: Path) -> None:
    from scipy.ndimage import gaussian_filter1d

    sun = ["--teff", "5777", "--logg", "4.44"]
    for r in ("0", "20000"):
        run("synthesize", *sun, "--wave", "6148", "6160", "--resolution", r, "--out", f"{r}.csv")
    sharp, blurred = (np.asarray(Table.read(f"{r}.csv")["flux"]) for r in ("0", "20000"))
    expected = gaussian_filter1d(sharp, 6154 / 20_000 / np.sqrt(8 * np.log(2)) / 0.02)
    np.testing.assert_allclose(blurred[50:-50], expected[50:-50], atol=2e-3)
    exact = ["--clip", "0", "--line-scatter", "0"]
    fit = ["fit", "20000.csv", "--error", "0.01", *sun, "--free", "monh", *exact, "--json"]
    right, wrong = (json.loads(run(*fit, "--resolution", r)) for r in ("20000", "100000"))
    assert right["reduced_chi2"] < 0.01 < 1 < wrong["reduced_chi2"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--model", "atlas9"), ("--teff", "5600"), ("--logg", "4"), ("--monh", "-0.3"), ("--alpha", "0.3"),
     ("--vmic", "2"), ("--vmac", "4"), ("--vsini", "5"), ("--resolution", "50000")],
)  # fmt: skip
def test_every_option_of_a_star_changes_its_spectrum(folder: Path, option: str, value: str) -> None:
    base = {"--teff": "5777", "--logg": "4.44", "--wave": "6151 6152", "--out": "a.csv"}
    flux = []
    for options in (base, base | {option: value}):
        run("synthesize", *(word for o, v in options.items() for word in (o, *v.split())))
        flux.append(np.asarray(Table.read("a.csv")["flux"]))
    assert np.abs(flux[1] - flux[0]).max() > 1e-3


def test_a_real_spectrum_is_cleaned_and_says_so(folder: Path) -> None:
    """Repeated, unsorted, missing and dead points change nothing of the fit, and are counted."""
    run("synthesize", *SUN, "--wave", "6151", "6155", "--step", "0.03", "--out", "sun.csv")
    table = Table.read("sun.csv")
    wave, flux = np.asarray(table["wavelength"]), np.asarray(table["flux"])
    error = np.full(len(wave), 0.005)
    rows = [*zip(wave, flux, error, strict=True)]
    bad = [(6152.001, np.nan, 0.005), (6152.002, 0.0, 0.005), (6152.003, -0.2, 0.005), (6152.004, 0.5, 0.0)]
    rows = [*rows[50:], *bad, *rows[:50], *rows[:3]]
    np.savetxt("real.txt", rows)
    fit = [*SUN, "--free", "monh", "--json"]
    result = CliRunner().invoke(main, ["fit", "real.txt", *fit])
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "left out" in line]
    assert "1 points not finite" in line
    assert "2 of zero or negative flux" in line
    assert "1 of zero or negative error" in line
    assert "3 repeated wavelengths averaged" in line
    assert "steps back in wavelength sorted" in line
    found = json.loads(result.stdout)
    assert found["values"]["monh"] == pytest.approx(0, abs=0.003)
    assert sum(found["cleaned"].values()) == 9


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_fit_that_ends_at_a_limit_says_which(folder: Path) -> None:
    run("synthesize", *SUN, "--wave", "6151", "6157", "--step", "0.05", "--out", "sun.csv")
    # Lines twice as deep as the Sun's: more than any metallicity of the model makes.
    table = Table.read("sun.csv")
    table["flux"] = np.maximum(1 - 2 * (1 - table["flux"]), 0.05)
    table.write("deep.csv", overwrite=True)
    start = ["--teff", "5777", "--logg", "4.44", "--vmac", "3", "--resolution", "60000", "--error", "0.01",
             "--model", "atlas9", "--clip", "0", "--continuum", "-1"]  # fmt: skip
    result = CliRunner().invoke(main, ["fit", "deep.csv", *start, "--free", "monh"])
    assert result.exit_code == 3, result.output
    assert "stopped at its upper limit 0.5; its error is not known" in result.output
    assert "nan" not in result.output
    result = CliRunner().invoke(main, ["fit", "deep.csv", *start, "--free", "monh", "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == 3
    assert found["stopped"] == {"monh": "upper limit 0.5"}
    assert found["errors"] == {"monh": None}


def test_pysme_is_quiet_unless_asked(folder: Path) -> None:
    import subprocess
    import sys

    lines = vald_file(Path("demo.lin"))
    command = [sys.executable, "-m", "sme_pinn_atmo", "synthesize", *SUN, "--wave", "6151", "6153", "--lines",
               str(lines), "--out", "a.csv"]  # fmt: skip
    quiet = subprocess.run(command, capture_output=True, text=True, check=True)
    assert quiet.stderr == ""
    assert "INFO - Loading VALD file" in subprocess.run(
        [*command, "--verbose"], capture_output=True, text=True, check=True
    ).stderr


def vald_file(path: Path) -> Path:
    """The packaged lines as VALD's short format has them."""
    from pysme.abund import elements

    from sme_pinn_atmo.demo import line_list

    table = line_list()._lines
    rows = [
        f"'{r.species}', {r.wlcent:.4f}, {r.excit:.4f}, 1.0, {r.gflog:.3f}, 0.000, 0.000, 0.000, 99.000, 0.100, "
        "'   1 wl:A   1 gf:B'"
        for r in table.itertuples()
    ]
    parts = [[f"'{el:2}: -5.00'," for el in elements[i:j]] for i, j in ((0, 2), *((k, k + 6) for k in range(2, 98, 6)))]
    composition = [*("".join(part) for part in parts), "'Es:-20.00','END'"]
    path.write_text("\n".join([
        f" {table.wlcent.min() - 1:.5f}, {table.wlcent.max() + 1:.5f}, {len(rows)}, 1000, 1.0, Wavelength region, ...",
        "                                                  Damping parameters    Lande Central",
        "Spec Ion       WL_air(A) Excit(eV) Vmic log gf*  Rad.   Stark   Waals   factor depth   Reference",
        *rows, "'solar',", *composition, "* oscillator strengths were NOT scaled", " References:",
        "  1. made up", "",
    ]))  # fmt: skip
    return path


def test_alpha_and_monh_of_a_star_add_up() -> None:
    from sme_pinn_atmo.codes.pysme import star_labels

    wave = np.arange(6151, 6152, 0.05)
    star = spectra.star("atlas12", wave, spectra.read_lines(), teff=5000, logg=2.5, monh=-1.0, alpha=0.4)
    labels = star_labels(star, star.atmo.source)
    assert labels["m_h"] == pytest.approx(-1.0)
    assert labels["alpha_m"] == pytest.approx(0.4)
    sun = spectra.star("atlas12", wave, spectra.read_lines(), teff=5777, logg=4.44)
    assert star.abund["Mg"] - sun.abund["Mg"] == pytest.approx(-0.6)


def test_spectra_of_all_kinds_of_tables(folder: Path) -> None:
    wave, flux, sigma = np.linspace(6150, 6151, 5), np.linspace(0.9, 1, 5), np.full(5, 0.01)
    Table({"wave": wave, "flux": flux, "error": sigma}).write("a.csv")
    Table({"flux": flux, "sigma": sigma, "wavelength": wave / 10}, units={"wavelength": "nm"}).write("b.fits")
    np.savetxt("c.txt", np.stack([wave, flux, sigma], 1))
    for name in ("a.csv", "b.fits", "c.txt"):
        for got, expected in zip(spectra.read_spectrum(name), (wave, flux, sigma), strict=True):
            np.testing.assert_allclose(got, expected)
    Table({"wave": wave, "flux": flux}).write("d.csv")
    np.testing.assert_array_equal(spectra.read_spectrum("d.csv", 0.02)[2], 0.02)
    with pytest.raises(ValueError, match="no column of errors"):
        spectra.read_spectrum("d.csv")


def test_an_exported_grid_is_one_that_pysme_interpolates(folder: Path) -> None:
    from pysme.atmosphere.atmosphere import AtmosphereGrid
    from pysme.atmosphere.interpolation import AtmosphereInterpolator

    out = run("export-grid", "grid.npz", "--teff", "5500", "6000", "250", "--logg", "4", "5", "0.5", "--m-h", "-0.5",
              "0.5", "0.5", "--vturb", "1.5")  # fmt: skip
    assert "27 nodes, 0 outside" in out
    grid = AtmosphereGrid.load("grid.npz")
    atm = AtmosphereInterpolator(depth="RHOX", interp="TAU", geom="PP").interp_atmo_grid(grid, 5750.0, 4.5, 0.0)
    expected = Emulator.load("atlas12").predict(teff=5750, logg=4.5, vturb=1.5, tau_ross=np.array([1e-2, 1.0]))
    temperature = np.interp(np.log([1e-2, 1.0]), np.log(atm.tau), atm.temp)
    np.testing.assert_allclose(temperature, expected.temperature, rtol=2e-3)
    out = run("export-grid", "hot.npz", "--teff", "20000", "30000", "10000", "--logg", "0", "4", "0.5")
    nodes, outside = (int(w) for w in out.split() if w.isdigit())
    assert nodes + outside == 18
    assert outside > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["synthesize", "--teff", "577", "--logg", "4", "--wave", "6140", "6150", "--out", "a.csv"], "teff = 577"),
     (["synthesize", *SUN, "--wave", "5140", "5150", "--out", "a.csv"], "no line between 5140 and 5150"),
     (["synthesize", *SUN, "--wave", "6150", "6140", "--out", "a.csv"], "is no range"),
     (["synthesize", *SUN, "--wave", "6140", "6150", "--out", "a.txt"], "is not one of .ecsv"),
     (["synthesize", *SUN, "--wave", "6140", "6150", "--lines", "no.lin", "--out", "a.csv"], "no line list no.lin"),
     (["fit", "nothing.csv", *SUN], "there is no spectrum nothing.csv"),
     (["fit", "a.txt", "--error", "0.1", "--free", "mass", *SUN], "cannot fit mass"),
     (["fit", "a.txt", *SUN], "no column of errors"),
     (["export-grid", "g.sav", "--teff", "5000", "6000", "250", "--logg", "4", "5", "1"], "PySME reads such grids"),
     (["export-grid", "g.npz", "--teff", "5000", "6000", "-250", "--logg", "4", "5", "1"], "is no axis"),
     (["export-grid", "g.npz", "--teff", "1000", "2000", "250", "--logg", "4", "5", "1"], "teff = 1000")],
)  # fmt: skip
def test_mistakes_end_in_one_sentence(folder: Path, arguments: list[str], message: str) -> None:
    Path("a.txt").write_text("6150.0 0.9\n6150.1 0.8\n6150.2 0.7\n6150.3 0.9\n")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert [p.name for p in folder.iterdir()] == ["a.txt"]

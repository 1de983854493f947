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
    start = ["--teff", "5600", "--logg", "4.44", "--vmac", "3", "--resolution", "60000"]
    out = run("fit", "sun.ecsv", "--error", "0.005", *start, "--free", "teff", "--free", "monh", "--json")
    found = json.loads(out)
    assert found["values"]["teff"] == pytest.approx(5777, abs=2)
    assert found["values"]["monh"] == pytest.approx(0, abs=0.002)
    assert found["reduced_chi2"] < 1e-3
    assert 0 < found["errors"]["teff"] < 100
    assert sorted(p.name for p in folder.iterdir()) == ["sun.ecsv", "sun.png"]


def test_alpha_and_monh_of_a_star_add_up() -> None:
    from sme_pinn_atmo.pysme import star_labels

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

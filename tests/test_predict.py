"""The command `predict`: files that others read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.grids import read

SUN = ["--teff", "5777", "--logg", "4.44", "--vturb", "1.5"]


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".h5"])
def test_tables_have_every_profile_with_its_unit(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"sun{suffix}"
    result = CliRunner().invoke(main, ["predict", *SUN, "--out", str(out)])
    assert result.exit_code == 0, result.output
    table = QTable.read(out)
    atm = Emulator.load().predict(teff=5777, logg=4.44, vturb=1.5)
    np.testing.assert_allclose(table["temperature"].to_value("K"), atm.temperature)
    np.testing.assert_allclose(table["gas_pressure"].to_value("dyn cm-2"), atm.gas_pressure)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("out", ["sun.mod", "sun.moog", "sun.turbospectrum", "sun.txt"])
def test_files_for_synthesis_codes(tmp_path: Path, out: str) -> None:
    option = ["--format", "moog"] if out == "sun.txt" else []
    result = CliRunner().invoke(main, ["predict", *SUN, *option, "--out", str(tmp_path / out)])
    assert result.exit_code == 0, result.output
    s = read(tmp_path / out)
    assert (s.labels["logg"][0], s.labels["vturb"][0]) == (pytest.approx(4.44), 1.5)


def test_deck_reads_back(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["predict", *SUN, "--m-h", "-0.5", "--out", str(tmp_path / "sun.dat")])
    assert result.exit_code == 0, result.output
    s = read(tmp_path / "sun.dat")
    assert (s.labels["teff"][0], s.labels["vturb"][0]) == (5777.0, 1.5)
    assert s.labels["m_h"][0] == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--teff", "90000", "--logg", "4", "--out", "a.dat"], "teff = 90000"),
     ([*SUN, "--out", "a.xyz"], "is none of .ecsv, .fits, .h5, .hdf5, .json, .dat, .mod"),
     ([*SUN, "--model", "atlas99", "--out", "a.dat"], "unknown model")],
)  # fmt: skip
def test_mistakes_end_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["predict", *arguments])
    assert result.exit_code != 0
    assert message in result.output
    assert not list(tmp_path.iterdir())

"""Catalogues: labels of every format, interrupted and resumed runs, bad files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.catalogue import BLOCK, CatalogueError, count_rows, predict_catalogue, read_catalogue, read_labels
from sme_pinn_atmo.cli import main

from .conftest import command_that_stops

LABELS = ("teff", "logg", "m_h", "alpha_m", "vturb")


def catalogue(n: int, seed: int = 0) -> Table:
    x = Emulator.load("atlas12").domain.sample(n, seed)
    return Table({name: x[:, j] for j, name in enumerate(LABELS)})


def write(table: Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra `parquet`)")
        from pyarrow import parquet

        parquet.write_table(pa.table({n: np.asarray(table[n]) for n in table.colnames}), path, row_group_size=700)
    else:
        table.write(path)
    return path


@pytest.mark.parametrize("suffix", [".fits", ".csv", ".ecsv", ".parquet"])
def test_labels_come_in_blocks_from_any_row(tmp_path: Path, suffix: str) -> None:
    table = catalogue(2500)
    path = write(table, tmp_path / f"stars{suffix}")
    assert count_rows(path) == 2500
    for start in (0, 999, 2499):
        blocks = list(read_labels(path, LABELS, start=start, block=600))
        assert max(len(b["teff"]) for b in blocks) <= 600
        for name in LABELS:
            np.testing.assert_allclose(np.concatenate([b[name] for b in blocks]), table[name][start:], rtol=1e-12)


def test_units_masks_names_and_defaults(tmp_path: Path) -> None:
    table = Table({
        "TEFF": MaskedColumn([5.0, 6.0, 5.5], unit=1000 * units.K, mask=[False, True, False]),
        "LOGG": [4.0, 4.1, 4.2], "FE_H": [-0.5, 0.0, 0.1], "vturb": [1000.0, 1500.0, 2000.0] * units.m / units.s,
    })  # fmt: skip
    table.write(tmp_path / "stars.ecsv")
    (block,) = read_labels(tmp_path / "stars.ecsv", LABELS, {"m_h": "fe_h"}, {"alpha_m": 0.0})
    np.testing.assert_allclose(block["teff"], [5000, np.nan, 5500])
    np.testing.assert_allclose(block["m_h"], [-0.5, 0.0, 0.1])
    np.testing.assert_allclose(block["vturb"], [1.0, 1.5, 2.0])
    np.testing.assert_array_equal(block["alpha_m"], 0.0)


def test_the_file_holds_what_predict_says(tmp_path: Path) -> None:
    emulator = Emulator.load("atlas12")
    table = catalogue(BLOCK + 100)
    table["teff"][7] = 99_999.0
    table["logg"][BLOCK + 3] = np.nan
    path = write(table, tmp_path / "stars.fits")
    counts = predict_catalogue(emulator, path, tmp_path / "out.h5", precision="float64", progress=False)
    assert counts["stars"] == BLOCK + 100
    assert counts["outside"] >= 2
    rows = slice(BLOCK - 2, BLOCK + 2)
    atm = read_catalogue(tmp_path / "out.h5", rows)
    star = {name: np.asarray(table[name][rows]) for name in LABELS}
    expected = emulator.predict(**star)
    for name in ("rhox", "temperature", "gas_pressure", "density"):
        np.testing.assert_allclose(getattr(atm, name), getattr(expected, name), rtol=1e-12)
    np.testing.assert_array_equal(atm.labels["teff"], star["teff"])
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.isnan(file["temperature"][7]).all()
        assert not file["inside"][7]
        assert not file["inside"][BLOCK + 3]
        assert np.count_nonzero(file["inside"][()] == 0) == counts["outside"]
        assert file["gas_pressure"].attrs["unit"] == "dyn cm-2"
        assert file.attrs["model"] == "atlas12"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.h5", "stars.fits"]


def test_killed_run_goes_on_and_ends_with_the_same_file(tmp_path: Path) -> None:
    write(catalogue(3 * BLOCK), tmp_path / "stars.fits")
    arguments = ["predict", "stars.fits", "--field", "temperature", "--out"]
    command = [sys.executable, "-m", "sme_pinn_atmo", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = [*command_that_stops("catalogue", signal.SIGKILL), *arguments, "a.h5"]
    assert subprocess.run(killed, cwd=tmp_path, env=env, capture_output=True).returncode == -signal.SIGKILL
    journal = tmp_path / "a.h5.progress"
    assert json.loads(journal.read_text())["done"] == BLOCK
    assert not (tmp_path / "a.h5").exists()
    other = subprocess.run([*command, "a.h5", "--double"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert other.returncode == 1
    assert "belongs to another run (precision was 'float32', is 'float64')" in other.stderr
    subprocess.run([*command, "a.h5"], cwd=tmp_path, env=env, check=True, capture_output=True)
    subprocess.run([*command, "b.h5"], cwd=tmp_path, env=env, check=True, capture_output=True)
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        for name in ("temperature", "inside", "labels/teff", "tau_ross"):
            np.testing.assert_array_equal(a[name][()], b[name][()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing.csv", "--out", "a.h5"], "there is no file nothing.csv"),
     (["stars.txt", "--out", "a.h5"], "allowed: .csv, .ecsv, .fits, .parquet"),
     (["stars.csv", "--out", "a.csv"], "a catalogue goes to .h5"),
     (["stars.csv", "--column", "m_h=FeH", "--out", "a.h5"], "no column 'FeH' for m_h; it has teff, logg, name"),
     (["stars.csv", "--column", "logg=name", "--out", "a.h5"], "not numbers"),
     (["stars.csv", "--column", "m_h", "--out", "a.h5"], "is not LABEL=NAME"),
     (["stars.csv", "--field", "entropy", "--out", "a.h5"], "no field 'entropy'"),
     (["stars.csv", "--teff", "5000", "--out", "a.h5"], "--teff is for one star"),
     (["broken.fits", "--out", "a.h5"], "is not a FITS file"),
     (["empty.csv", "--out", "a.h5"], "has no rows")],
)  # fmt: skip
def test_mistakes_end_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stars.csv").write_text("teff,logg,name\n5000,4.0,a\n6000,4.1,b\n")
    Path("stars.txt").write_text("5000 4\n")
    Path("broken.fits").write_text("not FITS")
    Path("empty.csv").write_text("teff,logg\n")
    result = CliRunner().invoke(main, ["predict", *arguments])
    assert result.exit_code != 0
    assert message in result.output
    assert not Path("a.h5").exists()


def test_a_file_of_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("no")
    with pytest.raises(CatalogueError, match="is not an HDF5 file"):
        read_catalogue(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["rhox"] = [1.0]
    with pytest.raises(CatalogueError, match="has no 'temperature'"):
        read_catalogue(tmp_path / "b.h5")


def test_spheres_come_back_as_they_were(tiny_sphere: Path, tmp_path: Path) -> None:
    emulator = Emulator.load(tiny_sphere)
    stars = {"teff": [5000.0, 5200.0], "logg": [1.5, 4.0], "mass": [0.7, 1.0]}
    table, out = tmp_path / "stars.csv", tmp_path / "atmospheres.h5"
    Table(stars).write(table)
    predict_catalogue(emulator, table, out, precision="float64", progress=False)
    read, made = read_catalogue(out), emulator.predict(**stars)
    assert read.geometry.tolist() == ["sphere", "plane"]
    np.testing.assert_allclose(read.radius, made.radius)
    for name in ("height", "density", "gas_pressure"):
        np.testing.assert_array_equal(read.profile(name), made.profile(name))
    np.testing.assert_array_equal(read.hydrostatic_residual(), made.hydrostatic_residual())

"""Damaged files against every reader: some hundred of the ten thousand that docs/robustness.md reports on."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("processes are forked and watched through /proc", allow_module_level=True)
pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo.emulator import Emulator, models
from sme_pinn_atmo.emulator.labels import DomainError
from sme_pinn_atmo.emulator.runtime import Network
from sme_pinn_atmo.grids import MARCS_LOG_TAU, GridFileError, read, write_marcs
from sme_pinn_atmo.grids.npz import load_arrays
from sme_pinn_atmo.grids.pysme_grid import read_pysme_grid
from sme_pinn_atmo.validation import fuzz


def test_damaged_files_are_refused_or_whole() -> None:
    result = fuzz.run(200, seed=1)
    assert result["defects"] == []
    assert sum(n for counts in result["counts"].values() for n in counts.values()) == 200
    assert set(result["counts"]) == set(fuzz.KINDS)


def test_a_file_without_a_deck_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.dat").write_text("TEFF    5777.  GRA")
    with pytest.raises(GridFileError, match=r"cut\.dat"):
        read(tmp_path / "cut.dat")


def test_a_card_may_hold_integers_of_any_size(tmp_path: Path) -> None:
    """Python's own, beyond 64 bit, are no numbers to NumPy."""
    weights = models()["atlas12"]
    card = json.loads(weights.with_suffix(".json").read_text())
    card["domain"]["upper"][0] = 10**40
    (tmp_path / "big.json").write_text(json.dumps(card))
    (tmp_path / "big.safetensors").write_bytes(weights.read_bytes())
    assert Emulator.load(tmp_path / "big").domain.contains(teff=5777, logg=4.44)


def test_profiles_that_overflow_are_refused() -> None:
    whole = Emulator.load("atlas12")
    tensors = {**whole.network.tensors, "mean": whole.network.tensors["mean"] + 1000.0}
    bad = replace(whole, network=Network(whole.network.labels, whole.network.features, tensors))
    with np.errstate(all="ignore"), pytest.raises(DomainError, match="no finite structure"):
        bad.predict(teff=5777, logg=4.44)


@pytest.mark.parametrize("changed", [{"rhox": (3, 0)}, {"tau": (3, 1)}, {"teff": (2,)}])
def test_a_pysme_grid_whose_columns_do_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, tuple[int, ...]]
) -> None:
    from pysme.atmosphere import atmosphere

    shapes = dict.fromkeys(("rhox", "temp", "tau", "xna", "xne"), (3, 5)) | dict.fromkeys(
        ("teff", "logg", "monh", "vturb"), (3,)
    )
    grid = {name: np.ones(shape) for name, shape in {**shapes, **changed}.items()}
    monkeypatch.setattr(atmosphere.AtmosphereGrid, "load", lambda path: grid)
    with pytest.raises(GridFileError, match=r"grid\.npz"):
        read_pysme_grid(tmp_path / "grid.npz")


def test_an_array_of_characters_that_are_none_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", family=np.array([0x110000], "u4").view("U1"))
    with pytest.raises(GridFileError, match=r"a\.npz"):
        load_arrays(tmp_path / "a.npz")


def test_a_member_is_no_larger_than_its_archive(tmp_path: Path) -> None:
    """`zipfile` makes room for as much as the directory says."""
    path = tmp_path / "a.npz"
    np.savez(path, family=np.arange(5.0))
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02") + 20
    path.write_bytes(data[:at] + (2**31 - 1).to_bytes(4, "little") * 2 + data[at + 8 :])
    with pytest.raises(GridFileError, match="larger than the file"):
        load_arrays(path)


def test_a_layer_of_infinite_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mod"
    write_marcs(path, Emulator.load("atlas12").predict(teff=5777, logg=4.44, tau_ross=10.0**MARCS_LOG_TAU))
    path.write_text(path.read_text().replace("\n  3 ", "\n1.E+999 ", 1))
    with pytest.raises(GridFileError, match=r"a\.mod, line \d+: layer 3"):
        read(path)

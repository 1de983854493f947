"""Tables of windows, and the names, limits and steps of a star's parameters."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo.stars.parameters import DEFAULTS, Parameters, largest, limits, near, parse_prior, parse_tie, step
from sme_pinn_atmo.stars.windows import Windows

START = {"teff": 5777.0, "logg": 4.44}


def test_a_table_says_what_each_row_is(tmp_path: Path) -> None:
    rows = {"low": [5000.0, 5004.0, 5008.0], "high": [5010.0, 5005.0, 5009.0]}
    Table({**rows, "kind": ["window", "mask", "telluric"]}).write(tmp_path / "mine.ecsv")
    table = Windows.read(tmp_path / "mine.ecsv")
    assert table == Windows(((5000.0, 5010.0),), ((5004.0, 5005.0),), ((5008.0, 5009.0),), "mine")
    assert table.table().meta["description"] == "mine"
    assert str(table.table()["high"].unit) == "Angstrom"
    Table(rows).write(tmp_path / "bare.csv")
    assert len(Windows.read(tmp_path / "bare.csv").windows) == 3
    Table({**rows, "kind": ["window", "hole", "mask"]}).write(tmp_path / "hole.ecsv")
    with pytest.raises(ValueError, match=r"kind 'hole'; allowed: window, mask, telluric$"):
        Windows.read(tmp_path / "hole.ecsv")
    Table({"low": [1.0], "top": [2.0]}).write(tmp_path / "top.ecsv")
    with pytest.raises(ValueError, match="has the columns low, top; low and high are needed"):
        Windows.read(tmp_path / "top.ecsv")


@pytest.mark.parametrize("row", [(0.0, 5.0), (-1.0, 5.0), (5.0, 5.0), (5.0, 4.0)])
def test_what_is_no_range(row: tuple[float, float]) -> None:
    for windows in ((row,), (), ()), ((), (row,), ()), ((), (), (row,)):
        with pytest.raises(ValueError, match=f"{row[0]:g} to {row[1]:g} A is no range"):
            Windows(*windows)
    assert Windows(((0.5, 0.9),)).windows == ((0.5, 0.9),)


def test_windows_of_two_tables_together() -> None:
    one = Windows(((10.0, 20.0),), ((11.0, 12.0),), ((13.0, 14.0),), "one")
    two = Windows(((30.0, 40.0),), ((31.0, 32.0),), ((33.0, 34.0),), "two")
    assert one.and_(two) == Windows(
        ((10.0, 20.0), (30.0, 40.0)), ((11.0, 12.0), (31.0, 32.0)), ((13.0, 14.0), (33.0, 34.0)), "one, two"
    )
    wave = np.array([10.9, 11.0, 12.0, 12.1, 13.5, 31.5, 33.5])
    assert list(one.and_(two).masked(wave)) == [False, True, True, False, True, True, True]


def test_windows_over_a_whole_spectrum_break_at_gaps() -> None:
    wave = [*np.linspace(5000, 5130, 1301), 5135.0, 5140.0, 5141.0, 5142.0, 5150.0, 5150.5]
    found = Windows.over(np.array(wave[::-1]))
    third = 130 / 3
    expected = [(5000, 5000 + third), (5000 + third, 5000 + 2 * third), (5000 + 2 * third, 5130), (5140, 5142),
                (5150, 5150.5)]  # fmt: skip
    np.testing.assert_allclose(found.windows, expected)  # a point alone, 5135 A, is no window
    assert found.name == "whole spectrum"
    assert len(Windows.over(np.linspace(5000, 5120, 1201)).windows) == 2  # 60 A each
    assert len(Windows.over(np.linspace(5000, 5120, 1201), longest=30).windows) == 4


def test_parameters_start_tied_and_with_defaults() -> None:
    asked = Parameters(START | {"Mg": 0.1}, ("teff", "vmic", "Mg", "Na"), ties={"Ca": "Mg", "Si": "Ti"})
    assert asked.initial() == {"teff": 5777, "vmic": 1.0, "Mg": 0.1, "Na": 0.0}
    full = asked.full({"teff": 6000.0, "Mg": 0.3})
    assert full == DEFAULTS | {"teff": 6000.0, "logg": 4.44, "Mg": 0.3, "Ca": 0.3, "Si": 0.0}


def test_what_cannot_be_asked_for() -> None:
    for start, free, more, message in (
        ({"teff": 5777.0}, ("teff",), {}, "logg of the start is missing"),
        ({"logg": 4.4}, ("logg",), {}, "teff of the start is missing"),
        (START, ("teff", "logg", "teff"), {}, "free twice in teff, logg, teff"),
        (START, ("teff",), {"ties": {"Ca": "Mg", "Mg": "Si"}}, "Ca is tied to Mg"),
        (START, ("teff",), {"priors": {"logg": (4.4, 0.1)}}, "the prior of logg needs logg to be free"),
        (START, ("H",), {}, "cannot fit H; parameters: teff, logg, .*resolution, and"),
        (START, ("He",), {}, "cannot fit He"),
    ):
        with pytest.raises(ValueError, match=message):
            Parameters(start, free, **more)
    assert Parameters(START, ("logg", "Li"), {"logg": (4.4, 0.5)}).priors["logg"] == (4.4, 0.5)
    with pytest.raises(ValueError, match=r"prior 'logg 4,4 0\.1' is not NAME MEAN SIGMA"):
        parse_prior(("logg", "4,4", "0.1"))
    for text in ("Ca", "=Mg", "Ca="):
        with pytest.raises(ValueError, match=f"tie '{text}' is not NAME=OTHER"):
            parse_tie(text)


def test_steps_go_with_the_resolution_and_are_those_of_elements_for_all_others() -> None:
    assert (step("teff", 5000), largest("teff", 5000), near("teff")) == (20.0, 400.0, 2.0)
    assert (step("resolution", 3e4), largest("resolution", 3e4), near("resolution")) == (600.0, 9000.0, 10.0)
    assert (step("Mg", 0.3), largest("Mg", 0.3), near("Mg")) == (0.05, 0.5, 0.005)


def test_limits_are_those_of_the_source_or_what_makes_sense() -> None:
    bounds = {"teff": (3000, 8000), "monh": (-2, 1), "alpha_m": (0.0, 0.4)}
    domain = SimpleNamespace(logg_range=lambda teff: (teff / 5000, 5))
    model = SimpleNamespace(bounds=bounds.get, emulator=SimpleNamespace(domain=domain))
    grid = {name: np.array([low, 0.5 * (low + high), high]) for name, (low, high) in
            {"teff": (3500.0, 9000.0), "logg": (0.0, 5.0), "monh": (-5.0, 1.0)}.items()}  # fmt: skip
    for source in (model, grid):
        assert limits("vmac", source, 5000) == limits("vsini", source, 5000) == (0, 200)
        assert limits("resolution", source, 5000) == (500, 1e6)
        assert limits("vmic", source, 5000) == (0, 8)
        assert limits("Mg", source, 5000) == (-3, 3)
    assert [limits(name, model, 6000) for name in ("teff", "logg", "monh", "alpha")] == [
        (3000, 8000), (1.2, 5), (-2, 1), (0, 0.4)
    ]  # fmt: skip
    assert [limits(name, grid, 6000) for name in ("teff", "logg", "monh", "alpha")] == [
        (3500, 9000), (0, 5), (-5, 1), (-1, 1)
    ]  # fmt: skip
    model.bounds = {}.get
    assert limits("alpha", model, 6000) == (-1, 1)

"""Equivalent widths, their choice and their bootstrap, on made data; one window of the Sun where the data are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from sme_pinn_atmo.cli import main
from sme_pinn_atmo.validation.lines import bootstrap, choose_lines, equivalent_width

needs_data = pytest.mark.skipif("SME_PINN_ATMO_DATA" not in os.environ, reason="SME_PINN_ATMO_DATA is not set")


def test_the_width_of_a_gaussian_line() -> None:
    wave = np.arange(6149.0, 6151.0, 0.005)
    flux = 1 - 0.4 * np.exp(-0.5 * ((wave - 6150) / 0.04) ** 2)
    assert equivalent_width(wave, flux, 6150.0) == pytest.approx(1e3 * 0.4 * 0.04 * np.sqrt(2 * np.pi), rel=1e-3)
    assert equivalent_width(wave, np.ones_like(flux), 6150.0) == 0


def test_lines_are_chosen_by_their_neighbours_and_masks() -> None:
    lines = pd.DataFrame({
        "species": ["Fe 1", "Fe 1", "Ti 1", "Fe 2", "Fe 1", "Ca 1", "Fe 1"],
        "wlcent": [6110.0, 6115.0, 6115.2, 6120.0, 6125.0, 6130.0, 6139.9],
        "depth": [0.5, 0.5, 0.4, 0.3, 0.95, 0.5, 0.5],
    })  # fmt: skip
    windows, masks = [(6100.0, 6140.0)], [(6109.0, 6109.8)]
    chosen = choose_lines(lines, windows, [], n=2)
    assert [(c["species"], c["wave"]) for c in chosen] == [("Fe 1", 6110.0), ("Fe 2", 6120.0)]
    with pytest.raises(ValueError, match="only 2 clean Fe lines"):
        choose_lines(lines, windows, [], n=3)
    assert [c["wave"] for c in choose_lines(lines, windows, masks, n=1)] == [6120.0]


def test_the_bootstrap_decides_only_what_the_lines_support() -> None:
    rng = np.random.default_rng(0)
    observed = rng.uniform(20, 90, 60)
    good, bad = observed * (1 + rng.normal(0, 0.02, 60)), observed * (1 + rng.normal(0, 0.10, 60))
    assert bootstrap(observed, good, bad)["verdict"] == "better"
    assert bootstrap(observed, bad, good)["verdict"] == "worse"
    same = bootstrap(observed, bad * (1 + rng.normal(0, 0.001, 60)), bad)
    assert same["verdict"] == "not distinguishable"
    assert same["low"] < 0 < same["high"]


@needs_data
def test_one_window_of_the_sun(tmp_path: Path) -> None:
    command = ["validate", "solar", "--window", "6140", "6160", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "solar.json").read_text())
    (sensitivity,) = content["sensitivity"]
    # The PINN's error is far below what 50 K do, and less than what 0.05 in m_h does.
    assert sensitivity["ATLAS-12"] < 0.3 * sensitivity["Teff +50 K"]
    assert sensitivity["Teff +50 K"] == pytest.approx(sensitivity["Teff -50 K"], rel=0.2)
    lines = content["lines"]
    assert len(lines["table"]) == 7
    assert all(5 < row["observed"] < 150 for row in lines["table"])
    assert lines["summary"]["PINN atlas12"]["rms off ATLAS-12 [%]"] < lines["summary"]["MARCS"]["rms off ATLAS-12 [%]"]
    assert all(row["chi2"] > 0 for row in content["rows"])
    assert (tmp_path / "sensitivity.png").read_bytes()[:4] == b"\x89PNG"

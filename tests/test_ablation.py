"""The ablation, small: three networks on made-up structures, kept results, and what only one of them can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="training needs torch (the extra `train`)")

from sme_pinn_atmo.cli import main
from sme_pinn_atmo.experiments.ablation import _one
from sme_pinn_atmo.grids import read, write_npz
from sme_pinn_atmo.training.run import load_sets, read_config

from .conftest import made_up_structures
from .test_training import CONFIG


def test_only_construction_is_hydrostatic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "grid.npz", made_up_structures(400, seed=1))
    (tmp_path / "small.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    command = ["experiment", "ablation", "--config", "small.toml", "--steps", "6", "--out", "report"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    summary = json.loads(Path("report/ablation.json").read_text())
    residual = {k: r["scores"]["all"]["HSE"]["median"] for k, r in summary["networks"].items()}
    assert residual["hydrostatic"] < 0.1 * min(residual["plain"], residual["soft"])
    assert Path("report/ablation.png").read_bytes()[:4] == b"\x89PNG"
    before = Path("report/soft.json").stat().st_mtime_ns
    assert CliRunner().invoke(main, command).exit_code == 0
    assert Path("report/soft.json").stat().st_mtime_ns == before
    # Another number of steps is another training.
    command[command.index("6")] = "2"
    assert CliRunner().invoke(main, command).exit_code == 0
    assert json.loads(Path("report/soft.json").read_text())["steps"] == 2


def test_the_plain_network_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "grid.npz", made_up_structures(400, seed=1))
    (tmp_path / "small.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    settings = read_config("small.toml")
    sets = load_sets(settings, (1, 10))
    result, _ = _one("plain", settings, sets, read("grid.npz"), 0.0, 120, False)
    assert result["scores"]["all"]["T"]["median"] < 2

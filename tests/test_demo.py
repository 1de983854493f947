"""The demo, from an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo import demo
from sme_pinn_atmo.cli import main


def test_every_line_has_a_source() -> None:
    lines = demo.line_list()
    assert len(lines) >= 30
    assert all(len(str(source)) > 8 for source in lines["reference"])
    assert ((lines["wlcent"] > 6130) & (lines["wlcent"] < 6181)).all()


def test_demo_recovers_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = demo.run("atlas12", tmp_path, seed=2)
    for name, value in result.truth.items():
        assert abs(result.fit[name] - value) < 5 * result.error[name] < 0.25 * abs(result.start[name] - value)
    assert result.plot.read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["sme_pinn_atmo_demo.png"]


def test_demo_with_an_unknown_model_says_so() -> None:
    result = CliRunner().invoke(main, ["demo", "--model", "atlas99"])
    assert result.exit_code == 1
    assert "unknown model 'atlas99'" in result.output

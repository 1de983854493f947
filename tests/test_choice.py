"""`validate which`: differences between models, from the first of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sme_pinn_atmo.demo import line_list
from sme_pinn_atmo.validation import choice

pytest.importorskip("pysme")


def test_models_differ_from_the_first_by_what_a_fit_would_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sun = choice.STARS["Sun"]
    monkeypatch.setattr(choice, "STARS", {"Sun": sun})
    monkeypatch.setattr(choice, "WINDOWS", ((6150.0, 6152.5), (6156.0, 6158.5)))
    tmp_path = tmp_path / "new"
    content = choice.run(["atlas12", "marcs"], tmp_path, lines=line_list())
    same, other = content["stars"]["Sun"]["models"].values()
    assert same["rms"] == 0
    assert 1e-4 < other["rms"] < 0.02
    assert other["left"] < other["rms"]
    assert 1 < abs(other["shift"]["teff"]) < 100
    assert other["temperature"] != same["temperature"]
    assert json.loads((tmp_path / "which.json").read_text()) == json.loads(json.dumps(content))
    row = (tmp_path / "which.md").read_text().splitlines()[-1]
    assert row.startswith("| Sun | marcs |")
    assert f"{other['shift']['teff']:+.0f}" in row
    assert (tmp_path / "which.png").stat().st_size > 10_000


def test_a_star_outside_of_a_model_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    star = {"teff": 12_000.0, "logg": 4.0, "m_h": 0.0, "alpha_m": 0.0, "vturb": 2.0}
    monkeypatch.setattr(choice, "STARS", {"B star": star})
    monkeypatch.setattr(choice, "WINDOWS", ((6150.0, 6151.0),))
    content = choice.run(["atlas12", "marcs"], tmp_path, lines=line_list())
    assert content["stars"]["B star"]["models"]["marcs"] == {"outside": True}
    assert "outside of its domain" in choice.format_table(content)


def test_one_model_has_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two are needed"):
        choice.run(["marcs"], tmp_path, lines=line_list())

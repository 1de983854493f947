"""validate spectra: the summary, and one node for real where the data are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import save_model
from sme_pinn_atmo.validation.spectra import WINDOWS, format_rows, summarise

needs_data = pytest.mark.skipif("SME_PINN_ATMO_DATA" not in os.environ, reason="SME_PINN_ATMO_DATA is not set")


def star(teff: float, rms: float, **more: object) -> dict[str, object]:
    good = {"rms": [rms] * 3, "largest": [3 * rms] * 3, "shift": {"teff": -1e4 * rms, "logg": rms, "m_h": rms}}
    return {"data": "atlas9", "teff": teff, "pinn": good, "pysme": good, **more}


def test_stars_are_summed_up_by_temperature_and_failures_counted() -> None:
    stars = [star(4500, 1e-4), star(4600, 3e-4), star(5500, 1e-3, pysme={"failed": "no neighbours"})]
    rows = {(tuple(r["teff"]), r["method"]): r for r in summarise(stars)}
    cool = rows[(4000, 5000), "pinn"]
    assert (cool["stars"], cool["failed"]) == (2, 0)
    assert cool[f"rms {WINDOWS[0][0]:.0f}"][0] == pytest.approx(2e-4)
    assert cool["shift teff"][0] == pytest.approx(2.0)
    assert rows[(5000, 6000), "pysme"]["failed"] == 1
    assert rows[(0, 99_999), "pinn"]["stars"] == 3
    text = format_rows(summarise(stars))
    assert "| atlas9 | 4000-5000 | PINN | 2 | 0 | 0.00020 / 0.00029 |" in text


@needs_data
def test_one_node_is_synthesised_kept_and_not_done_again(tmp_path: Path) -> None:
    """With the packaged weights, which have seen the node: the spectrum of the PINN is that of the computed model."""
    emulator = Emulator.load("atlas9")
    card = {**emulator.card, "heldout": {"rows": {"odfnew": {"file": "atlas9.npz", "rows": [5545]}}}}
    for key in ("format", "sha256"):
        card.pop(key)
    save_model(tmp_path / "model.safetensors", emulator.network.tensors, card)
    command = ["validate", "spectra", "--model", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "spectra.json").read_text())
    (found,) = summary["stars"]
    assert found["teff"] == 6250
    assert max(found["pinn"]["rms"]) < 3e-4
    assert max(found["pinn"]["rms"]) < max(found["pysme"]["rms"])
    assert abs(found["pinn"]["shift"]["teff"]) < 10
    assert (tmp_path / "out" / "spectra.png").read_bytes()[:4] == b"\x89PNG"
    (kept,) = (tmp_path / "out" / "jobs").iterdir()
    before = kept.stat().st_mtime_ns
    assert CliRunner().invoke(main, command).exit_code == 0
    assert kept.stat().st_mtime_ns == before


@needs_data
def test_a_model_that_held_nothing_out_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["validate", "spectra", "--model", "atlas12", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "records no held-out rows of atlas9.npz or atlas12.npz" in result.output

"""validate spectra: the summary, and one node for real where the data are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sme_pinn_atmo import Emulator, demo
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import save_model
from sme_pinn_atmo.files import write_atomically
from sme_pinn_atmo.grids import Structures
from sme_pinn_atmo.validation import spectra
from sme_pinn_atmo.validation.spectra import WINDOWS, format_failures, format_rows, summarise
from sme_pinn_atmo.validation.spectrum import layers_of, synthesise_windows

needs_data = pytest.mark.skipif("SME_PINN_ATMO_DATA" not in os.environ, reason="SME_PINN_ATMO_DATA is not set")


def star(teff: float, rms: float, **more: object) -> dict[str, object]:
    good = {"rms": [rms] * 3, "largest": [3 * rms] * 3, "shift": {"teff": -1e4 * rms, "logg": rms, "m_h": rms}}
    return {"data": "atlas9", "teff": teff, "logg": 4.0, "m_h": -0.5, "pinn": good, "pysme": good, **more}


def test_stars_are_summed_up_by_temperature_and_failures_counted() -> None:
    stars = [star(4500, 1e-4, inside=True), star(4600, 3e-4), star(5500, 1e-3, pysme={"failed": "no neighbours"})]
    rows = {(r["teff"], r["method"]): r for r in summarise(stars)}
    cool = rows["4000-5000", "pinn"]
    assert (cool["stars"], cool["failed"]) == (2, 0)
    assert cool[f"rms {WINDOWS[0][0]:.0f}-{WINDOWS[0][1]:.0f}"][0] == pytest.approx(2e-4)
    assert cool["shift teff"][0] == pytest.approx(2.0)
    assert rows["5000-6000", "pysme"]["failed"] == 1
    assert rows["all", "pinn"]["stars"] == 3
    assert rows["all, inside", "pysme"]["stars"] == 1
    assert spectra._nearer(stars).endswith("at 0 of 2 nodes.")  # a draw is no win
    text = format_rows(summarise(stars))
    assert "| atlas9 | 4000-5000 | PINN | 2 | 0 | 0.00020 / 0.00029 |" in text
    assert rows["5000-6000", "pysme"]["largest"] is None
    assert "Teff 5500, log g 4, [M/H] -0.5, pysme: no neighbours" in format_failures(stars)
    assert ("7000-8000", "pinn") not in rows


def test_a_difference_that_is_a_shift_of_the_labels_is_found_as_one() -> None:
    """Atmospheres 10 K too hot and 0.02 dex too metal-rich make a fit come out 10 K cooler and metal-poorer."""
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(90, 3))
    truth = [rng.uniform(0.5, 1, 30) for _ in WINDOWS]
    off = (gradient @ [10.0, 0.0, 0.02]).reshape(3, 30)
    found = spectra._compare([t + o for t, o in zip(truth, off, strict=True)], truth, gradient)
    assert found["shift"] == pytest.approx({"teff": -10.0, "logg": 0.0, "m_h": -0.02}, abs=1e-9)
    assert found["rms"][1] == pytest.approx(np.sqrt(np.mean(off[1] ** 2)))
    assert found["largest"][2] == pytest.approx(np.abs(off[2]).max())


def star_or_death(job: Any) -> None:
    """Stands in for the synthesis: one star takes the whole process with it."""
    if job.row == 2:
        os._exit(1)
    write_atomically(Path(job.path), b"{}")  # as the synthesis does: the pool ends its other processes at any moment


def test_a_star_that_kills_its_process_does_not_stop_the_others(tmp_path: Path, monkeypatch: Any) -> None:
    def keep(job: Any, result: dict[str, Any]) -> None:
        write_atomically(Path(job.path), json.dumps(result).encode())

    monkeypatch.setattr(spectra, "_keep", keep)
    jobs = [spectra._Job("m", "atlas9.npz", row, "g", "l", str(tmp_path / f"{row}.json")) for row in range(5)]
    spectra._do(jobs, 2, False, star_or_death)
    kept = {row: json.loads((tmp_path / f"{row}.json").read_text()) for row in range(5)}
    assert [row for row, result in kept.items() if result] == [2]
    assert "the process died" in kept[2]["pysme"]["failed"]


def test_so_many_nodes_in_so_many_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, structures: Structures
) -> None:
    seen: dict[str, Any] = {}

    def do(jobs: Any, processes: int, progress: bool) -> None:
        seen.update(rows=[j.row for j in jobs], processes=processes)
        for job in jobs:
            write_atomically(Path(job.path), json.dumps({**star(5000, 1e-4), "row": job.row}).encode())

    monkeypatch.setattr(spectra, "find", lambda name: tmp_path / Path(name).name)
    monkeypatch.setattr(spectra, "read", lambda _: structures)
    monkeypatch.setattr(spectra, "read_lines", lambda _: None)
    monkeypatch.setattr(spectra, "_digest", lambda _: "0")
    monkeypatch.setattr(spectra, "_regular", lambda s: np.ones(len(s), bool))
    monkeypatch.setattr(spectra, "_inside", lambda s, _: np.ones(len(s), bool))
    monkeypatch.setattr(spectra, "_rows", lambda e, file, *_: np.arange(20 if file == "atlas9.npz" else 0))
    monkeypatch.setattr(spectra, "write_pysme_grid", lambda *_, **__: None)
    monkeypatch.setattr(spectra, "_do", do)
    for nodes, n in ((None, 20), (5, 5)):
        spectra.run(["atlas9"], tmp_path / "out", nodes=nodes, processes=3, progress=False)
        assert (len(set(seen["rows"])), seen["processes"]) == (n, 3)
    assert seen["rows"] != list(range(5))  # drawn


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
    assert "inside" in found
    assert max(found["pinn"]["rms"]) < 3e-4
    assert max(found["pinn"]["rms"]) < max(found["pysme"]["rms"])
    assert abs(found["pinn"]["shift"]["teff"]) < 10
    assert (tmp_path / "out" / "spectra.png").read_bytes()[:4] == b"\x89PNG"
    (kept,) = (tmp_path / "out" / "jobs").iterdir()
    before = kept.stat().st_mtime_ns
    assert CliRunner().invoke(main, command).exit_code == 0
    assert kept.stat().st_mtime_ns == before


def test_alpha_elements_strengthen_their_lines_in_a_metal_poor_star() -> None:
    """At [M/H] = -1, alpha added to an abundance that has [M/H] in it already would weaken them."""
    layers = layers_of(Emulator.load("atlas12").predict(teff=5500, logg=4.0, m_h=-1.0))
    windows = ((6136.0, 6138.5), (6161.5, 6163.0))  # Fe I 6136.6 and 6137.7; Ca I 6162.2
    plain, more = (
        [1 - flux.min() for _, flux in synthesise_windows(layers, demo.line_list(), windows, vmic=1.0, alpha_m=alpha)]
        for alpha in (0.0, 0.4)
    )
    # Electrons of Mg and Si make more H-, the continuous opacity: iron weakens, by little.
    assert 0.97 * plain[0] < more[0] < plain[0]
    assert more[1] > plain[1] + 0.02


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [("nonesuch", None, "nonesuch"), ("atlas9", None, "atlas9.npz is not here: `sme-pinn-atmo data build atlas9`"),
     ("atlas9", ".", "data build atlas9")],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, data: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if data is None:
        monkeypatch.delenv("SME_PINN_ATMO_DATA", raising=False)
    else:
        monkeypatch.setenv("SME_PINN_ATMO_DATA", data)
    result = CliRunner().invoke(main, ["validate", "spectra", "--model", model, "--out", "out"])
    assert result.exit_code == 1
    assert message in result.output
    assert not list(tmp_path.iterdir())


@needs_data
def test_a_model_that_held_nothing_out_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["validate", "spectra", "--model", "atlas12", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "records no held-out rows of atlas9.npz or atlas12.npz" in result.output

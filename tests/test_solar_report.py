"""The solar report from an empty folder: data from a stand-in for their homes, then no network; a window made here."""

from __future__ import annotations

import csv
import http.server
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import save_model
from sme_pinn_atmo.grids import MARCS_LOG_TAU, write_kurucz, write_marcs
from sme_pinn_atmo.sources import SETS, Original, checksum, solar
from sme_pinn_atmo.validation import unseen

LINES = Path(unseen.__file__).parent.parent / "data" / "lines_6130_6181.csv"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in the layouts of the homes: two segments of the atlas, a line list, three Suns."""
    folder = tmp_path_factory.mktemp("homes")
    rows = list(csv.DictReader(line for line in LINES.read_text().splitlines() if not line.startswith("#")))
    with (folder / "vald_solar.dat").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["species", "wav_air", "excit_pot", "vmic", "log_gf", "rad", "stark", "waals", "lande", "depth"])
        for r in rows:
            line = (r["species"], r["wavelength_A"], r["excitation_eV"], 1.0, r["log_gf"], 8.0, -6.0, -7.655, 1.0, 0.3)
            table.writerow(line)
    centres = [float(r["wavelength_A"]) for r in rows]
    for start in (612, 616):
        wave = np.arange(10 * start + 0.003, 10 * start + 41.0, 0.008)
        # 0.2 km/s is what a line is shifted by in this Sun.
        flux = 1 - sum(0.4 * np.exp(-(((wave - c * (1 + 0.2 / 299792.458)) / 0.07) ** 2)) for c in centres)
        flux = flux + np.random.default_rng(start).normal(0, 1e-3, len(wave))
        text = "".join(f"{w / 10:.5f} {f:.5f} 150.0\n" for w, f in zip(wave, flux, strict=True))
        (folder / f"lm0{start}").write_text(text)
    atlas12, atlas9 = Emulator.load("atlas12"), Emulator.load("atlas9")
    write_kurucz(folder / "at12_aaaaa_t05770g4.44.atm", atlas12.predict(**{**unseen.SUN, "teff": 5765.0}))
    write_kurucz(folder / "asunodfnew.dat", atlas9.predict(**unseen.SUN))
    write_marcs(folder / "sun.mod", atlas9.predict(**unseen.SUN, tau_ross=10.0**MARCS_LOG_TAU))
    return folder


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, an empty cache, no variable."""
    monkeypatch.setenv("SME_PINN_ATMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SME_PINN_ATMO_DATA", raising=False)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def home(originals: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(originals)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    known = tuple(
        Original(p.name, (f"{address}/{p.name}",), check="sources.solar:check_segment")
        if p.name.startswith("lm")
        else Original(p.name, (f"{address}/{p.name}",), sha256=checksum(p), size=p.stat().st_size)
        for p in sorted(originals.iterdir())
    )
    monkeypatch.setitem(SETS, "solar", replace(SETS["solar"], originals=lambda: known))
    yield server
    server.shutdown()
    server.server_close()


COMMAND = ["validate", "solar", "--window", "6140", "6180"]


def test_the_report_from_an_empty_folder(empty: Path, home: http.server.ThreadingHTTPServer) -> None:
    result = CliRunner().invoke(main, COMMAND)
    assert result.exit_code == 0, result.output
    out = empty / "validation_report"
    content = json.loads((out / "solar.json").read_text())
    rms = {r["model"]: r["rms_atlas12"] for r in content["rows"]}
    assert list(rms)[:2] == ["PINN atlas12, Sun unseen", "PINN atlas12"]
    assert rms["ATLAS-12"] == 0
    # The made ATLAS-12 Sun is the network's own, 5 K cooler: what has seen the Sun is 5 K off, no more.
    assert 0 < rms["PINN atlas12"] < 0.001
    velocities = [r["velocity"] for r in content["rows"]]
    assert velocities == pytest.approx([0.2] * len(velocities), abs=0.1)

    page = (out / "solar.html").read_text()
    head, data, rest = re.split(r'<script id="data" type="application/json">|</script>', page, maxsplit=2)
    drawn = json.loads(data)
    assert drawn["lead"] == "PINN atlas12, Sun unseen"
    assert [w["window"] for w in drawn["windows"]] == [[6140.0, 6180.0]]
    # One file: nothing is loaded from elsewhere.
    assert not re.search(r'(?:src|href)\s*=\s*"', head)
    assert "Plotly" in rest
    assert "not</em> seen the Sun" in head
    assert content["unseen"]["training"]["command"] in head.replace("&#x27;", "'")
    for said in ("MIT", "VALD3", "NSF/NOAO", "palumbom/GRASS", f"{rms['PINN atlas12, Sun unseen']:.5f}"):
        assert said in head, said
    assert (out / "solar.png").read_bytes()[:4] == b"\x89PNG"

    # Later it needs no network, from any folder.
    home.shutdown()
    home.server_close()
    again = CliRunner().invoke(main, [*COMMAND, "--out", "again"])
    assert again.exit_code == 0, again.output


def test_without_a_network_it_says_what_is_missing_and_how_else(
    empty: Path, home: http.server.ThreadingHTTPServer, originals: Path
) -> None:
    home.shutdown()
    home.server_close()
    result = CliRunner().invoke(main, COMMAND)
    assert result.exit_code == 1
    for said in ("originals of solar are missing", "asunodfnew.dat", "sme-pinn-atmo data get solar --from FOLDER"):
        assert said in result.output.replace("\n", " "), said
    assert not (empty / "validation_report").exists()
    result = CliRunner().invoke(main, ["data", "get", "solar", "--from", str(originals)])
    assert result.exit_code == 0, result.output
    wave, flux = solar.read_segments(sorted(originals.glob("lm*")))
    from sme_pinn_atmo.sources import find
    from sme_pinn_atmo.validation.spectrum import read_atlas

    atlas = read_atlas(find("solar/kpno1984_flux_atlas.npz"))
    np.testing.assert_allclose(atlas.wave, wave)
    np.testing.assert_allclose(atlas.flux, flux, atol=1e-5)


def test_an_atlas_with_a_gap_in_a_window_is_refused(tmp_path: Path) -> None:
    from sme_pinn_atmo.validation.spectrum import Atlas

    wave = np.concatenate([np.arange(6140.0, 6150.0, 0.01), np.arange(6160.0, 6180.0, 0.01)])
    with pytest.raises(ValueError, match=r"window 6140-6179 A: the atlas made has a gap at 6150"):
        Atlas(wave, np.ones_like(wave), "made").window(6140.0, 6179.0, {"a mask": (6149.0, 6152.0)})


def test_only_a_network_that_has_not_seen_the_sun_is_stored(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sme_pinn_atmo.grids import write_npz

    from .conftest import made_up_structures

    labels = np.array([[5770.0, 6000.0, 5777.0, 5000.0], [4.44, 4.0, 4.44, 4.0], *np.zeros((2, 4)), np.ones(4)])
    (tmp_path / "data").mkdir()
    write_npz(tmp_path / "data" / "atlas12.npz", made_up_structures(4, labels=labels))
    monkeypatch.setenv("SME_PINN_ATMO_DATA", str(tmp_path / "data"))
    emulator = Emulator.load(tiny_model)
    tensors = dict(emulator.network.tensors)
    card = {k: v for k, v in emulator.card.items() if k != "sha256"}
    # Of four models the seed 1 puts rows 0 and 2, the Suns, into the first half. A Sun that training drops in any case
    # is not in the card's list.
    for k, rows, fine in ((2, [1, 3], False), (1, [1], False), (1, [0, 2], True), (1, [0], True)):
        card["heldout"] = {"fold": [k, 2], "seed": 1, "rows": {"a": {"file": "atlas12.npz", "rows": rows}}}
        card["training"] = {"command": "sme-pinn-atmo train tiny --fold 2/4", "steps": 1, "seed": 1, "commit": "x"}
        save_model(tmp_path / "fold.safetensors", tensors, card)
        result = CliRunner().invoke(
            main, ["validate", "store-sun", str(tmp_path / "fold.safetensors"), "--out", str(tmp_path / "sun.json")]
        )
        assert (result.exit_code == 0) is fine, result.output
        assert fine or "did not hold out the computed Suns of atlas12.npz (rows 0, 2)" in result.output
    layers, content = unseen.load(tmp_path / "sun.json")
    np.testing.assert_allclose(layers.temperature, emulator.predict(**unseen.SUN).temperature, rtol=1e-8)
    assert content["held out"]["computed Suns"] == [0, 2]

"""Masks, equivalent widths and their bootstrap on made data; bad input; one window of the Sun where the data are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from click.testing import CliRunner

from sme_pinn_atmo import korg
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.stars.corrections import _COLUMNS, Corrections
from sme_pinn_atmo.validation import solar, spectrum
from sme_pinn_atmo.validation.lines import bootstrap, choose_lines, equivalent_width, verdict
from sme_pinn_atmo.validation.masks import MASK, inside, propose
from sme_pinn_atmo.validation.spectrum import Atlas, broaden, fit_to_atlas, fitted, read_atlas

needs_data = pytest.mark.skipif("SME_PINN_ATMO_DATA" not in os.environ, reason="SME_PINN_ATMO_DATA is not set")


def test_the_width_of_a_gaussian_line() -> None:
    wave = np.arange(6149.0, 6151.0, 0.005)
    flux = 1 - 0.4 * np.exp(-0.5 * ((wave - 6150) / 0.04) ** 2)
    assert equivalent_width(wave, flux, 6150.0) == pytest.approx(1e3 * 0.4 * 0.04 * np.sqrt(2 * np.pi), rel=1e-3)
    assert equivalent_width(wave, np.ones_like(flux), 6150.0) == 0


def test_lines_are_chosen_by_their_neighbours_masks_and_broadening() -> None:
    lines = pd.DataFrame({
        "species": ["Fe 1", "Fe 1", "Ti 1", "Fe 2", "Fe 1", "Ca 1", "Fe 1", "Fe 1"],
        "wlcent": [6110.0, 6115.0, 6115.2, 6120.0, 6125.0, 6130.0, 6139.9, 6135.0],
        "depth": [0.5, 0.5, 0.4, 0.3, 0.95, 0.5, 0.5, 0.5],
        "gamvw": [281.266, 280.0, -7.5, 186.269, 280.0, -7.5, 280.0, -7.3],
    })  # fmt: skip
    windows, masks = [(6100.0, 6140.0)], [(6109.0, 6109.9)]
    chosen = choose_lines(lines, windows, [])
    assert [(c["species"], c["wave"]) for c in chosen] == [("Fe 1", 6110.0), ("Fe 2", 6120.0)]
    assert [c["wave"] for c in choose_lines(lines, windows, [], n=1)] == [6120.0]
    assert [c["wave"] for c in choose_lines(lines, windows, masks)] == [6120.0]


def test_the_bootstrap_decides_only_what_the_lines_support() -> None:
    rng = np.random.default_rng(0)
    observed = rng.uniform(20, 90, 60)
    good, bad = observed * np.exp(rng.normal(0, 0.02, 60)), observed * np.exp(rng.normal(0, 0.10, 60))
    assert verdict(bootstrap(observed, good, bad)) == "better"
    assert verdict(bootstrap(observed, bad, good)) == "worse"
    same = bootstrap(observed, bad * np.exp(rng.normal(0, 0.001, 60)), bad)
    assert verdict(same) == "not distinguishable"
    assert all(i["low"] < 0 < i["high"] for i in same.values())


def test_a_wrong_iron_abundance_is_not_an_advantage() -> None:
    rng = np.random.default_rng(1)
    observed = rng.uniform(20, 90, 60)
    one = observed * np.exp(rng.normal(0, 0.05, 60))
    intervals = bootstrap(observed, one, 1.2 * one)
    assert intervals["as computed"]["high"] < 0
    assert intervals["mean removed"]["difference"] == pytest.approx(0, abs=1e-9)
    assert verdict(intervals) == "not distinguishable"


def test_differences_within_the_numerical_error_decide_nothing() -> None:
    small = {"as computed": {"low": -0.015, "high": -0.01}, "mean removed": {"low": -0.015, "high": -0.01}}
    assert verdict(small, 0.0) == "better"
    assert verdict(small, 0.02) == "not distinguishable"


def made_spectrum(wave: np.ndarray, centres: list[float]) -> np.ndarray:
    return 1 - sum(0.5 * np.exp(-0.5 * ((wave - c) / 0.05) ** 2) for c in centres)


def test_masks_are_proposed_where_every_computed_model_misses_the_atlas() -> None:
    grid, wave = np.arange(5400.0, 5420.0, 0.01), np.arange(5400.5, 5419.5, 0.012)
    common = [5403.0, 5406.0, 5413.0, 5416.0]
    atlas = Atlas(wave, made_spectrum(wave, [*common, 5410.0]), "made")
    spectra = {"one": (grid, made_spectrum(grid, common)), "two": (grid, 1.002 * made_spectrum(grid, common))}
    water, defects = propose(atlas, spectra, (5401.0, 5419.0))
    assert not water
    ((low, high),) = defects
    assert low < 5409.95 < 5410.05 < high
    assert high - low < 0.4
    # A line that one of the models has is no defect of the list.
    spectra["two"] = (grid, made_spectrum(grid, [*common, 5410.0]))
    assert propose(atlas, spectra, (5401.0, 5419.0)) == ([], [])


def test_masks_leave_most_of_every_window() -> None:
    for low, high in solar.WINDOWS:
        wave = np.arange(low, high, 0.01)
        left = 1 - inside(wave, MASK).mean()
        assert left > (0.5 if (low, high) in solar.FEATURES else 0.8), (low, high)


def test_a_fit_can_be_evaluated_at_other_wavelengths() -> None:
    grid, wave = np.arange(5400.0, 5420.0, 0.01), np.arange(5401.0, 5419.0, 0.012)
    flux = made_spectrum(grid, [5403.0, 5410.0])
    fit = fit_to_atlas(grid, flux, wave, 0.98 * np.interp(wave, grid, broaden(grid, flux, 2.0)))
    np.testing.assert_allclose(fitted(fit, grid, flux, wave), fit.flux)
    np.testing.assert_allclose(fit.continuum(grid, wave), 0.98, atol=1e-3)


def test_atlases_from_text_and_what_is_wrong_with_bad_ones(tmp_path: Path) -> None:
    wave = np.arange(6000.0, 6010.0, 0.1)
    np.savetxt(tmp_path / "good.txt", np.c_[wave, np.ones_like(wave)])
    np.testing.assert_allclose(read_atlas(tmp_path / "good.txt").wave, wave)
    np.savetxt(tmp_path / "back.txt", np.c_[wave[::-1], wave])
    with pytest.raises(ValueError, match=r"back\.txt: wavelengths must increase"):
        read_atlas(tmp_path / "back.txt")
    (tmp_path / "words.txt").write_text("not an atlas\n")
    with pytest.raises(ValueError, match=r"words\.txt is not an atlas"):
        read_atlas(tmp_path / "words.txt")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=r"cut\.npz is not an atlas"):
        read_atlas(tmp_path / "cut.npz")
    with pytest.raises(ValueError, match="is empty"):
        read_atlas(tmp_path / "good.txt").window(6005, 6002, {})
    with pytest.raises(ValueError, match="masks leave 0 points"):
        read_atlas(tmp_path / "good.txt").window(6001, 6005, {"all": (6000.0, 6010.0)})


def test_the_atlas_of_pysme_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the layout of nso.bin: 1073 whole Angstroms, then 1024 offsets and counts of each segment."""
    pysme_nso = pytest.importorskip("pysme.nso", reason="PySME is not installed")
    base = np.arange(5000, 5000 + 1073 * 8, 8)
    segments = np.zeros(1073, dtype=[("wave", ">f4", (1024,)), ("flux", ">i2", (1024,))])
    segments["wave"] = np.linspace(0, 8, 1024)  # its end is the next one's start
    segments["flux"] = 27_000
    (tmp_path / "nso.bin").write_bytes(base.astype(">i2").tobytes() + segments.tobytes())

    class Server:
        def get(self, name: str) -> str:
            return str(tmp_path / name)

    monkeypatch.setattr(pysme_nso.lfs, "setup_atmo", Server)
    atlas = spectrum.read_nso_atlas()
    assert atlas.name == "nso"
    assert len(atlas.wave) == 1073 * 1023 + 1
    np.testing.assert_allclose(atlas.flux, 0.9)
    wave, _ = atlas.window(6140.0, 6180.0, {})
    assert 6139.99 < wave[0] < wave[-1] < 6180.01
    (tmp_path / "nso.bin").unlink()
    with pytest.raises(spectrum.DataMissingError, match="PySME cannot give its NSO atlas"):
        spectrum.read_nso_atlas()


@needs_data
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--window", "2000", "2040"], "window 2000-2040 A leaves the atlas"),
        (["--window", "6180", "6140"], "is empty"),
        (["--window", "6280", "6310"], "the masks leave 0 points"),
        (["--model", "atlas99"], "atlas99"),
        (["--lines", "LINES"], "is not a VALD line list"),
        (["--atlas", "LINES"], "is not an atlas"),
        (["--atlas", "NOWHERE.npz"], "NOWHERE.npz"),
    ],
)
def test_bad_input_is_named_before_any_synthesis(
    options: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a synthesis was started")

    monkeypatch.setattr(solar, "synthesise", never)
    (tmp_path / "lines").write_text("nothing\n")
    options = [str(tmp_path / "lines") if o == "LINES" else o for o in options]
    result = CliRunner().invoke(main, ["validate", "solar", "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 1
    assert "Error" in result.output
    assert says in result.output
    assert not (tmp_path / "out").exists()


@needs_data
def test_one_window_of_the_sun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["validate", "solar", "--window", "6140", "6180", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "solar.json").read_text())
    (sensitivity,) = content["sensitivity"]
    # The error of the PINN that has not seen the Sun is below what 50 K do, and vturb hardly moves these structures.
    assert sensitivity["PINN - ATLAS-12"] < sensitivity["Teff +50 K"]
    assert [sensitivity[text] > 1e-3 for text, label, _ in solar.STEPS if label != "vturb"] == [True] * 3
    lines = content["lines"]
    assert [row["wave"] for row in lines["table"]] == pytest.approx([6149.2459, 6151.6169, 6173.3339])
    assert all(10 < row["observed"] < 100 and 10 < row["ATLAS-12"] < 100 for row in lines["table"])
    rms = {n: s["rms W - W_ATLAS-12 [mA]"] for n, s in lines["summary"].items()}
    assert rms["ATLAS-12"] == 0 < rms["PINN atlas12"] < rms["MARCS"]
    for row in content["rows"]:
        free = row["points"] - 4
        assert row["chi2"] == pytest.approx((row["rms_atlas"] / row["sigma"]) ** 2 * row["points"] / free)
        parts = [row[f"points_{p}"] for p in ("core", "wing", "continuum")]
        assert sum(parts) == row["points"]
        squares = sum(n * row[f"rms_atlas_{p}"] ** 2 for n, p in zip(parts, solar.PARTS, strict=True))
        assert squares == pytest.approx(row["points"] * row["rms_atlas"] ** 2)
        assert row["max_atlas12"] == max(row[f"max_atlas12_{p}"] for p in solar.PARTS)
    for name in ("solar", "sensitivity", "solar_lines"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / f"{name}.pdf").read_bytes()[:4] == b"%PDF"
    assert not list(tmp_path.glob("*.part"))
    assert "<td>Fe II 6149.246</td>" in (tmp_path / "solar.html").read_text()

    # The second run takes every spectrum from the cache, makes a damaged one anew, and gives the same numbers.
    kept = sorted((tmp_path / "cache").glob("*.npy"))
    kept[0].write_bytes(b"damaged")
    made = []
    original = solar.synthesise.__globals__["_pysme_flux"]
    monkeypatch.setitem(solar.synthesise.__globals__, "_pysme_flux", lambda *a: made.append(1) or original(*a))
    assert CliRunner().invoke(main, command).exit_code == 0
    assert len(made) == 1
    again = json.loads((tmp_path / "solar.json").read_text())
    assert {**again, "seconds": 0} == {**content, "seconds": 0}


@needs_data
def test_corrected_lines_stand_beside_the_list_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def synthesise(layers: Any, lines: Any, window: tuple[float, float], **_: Any) -> tuple[np.ndarray, np.ndarray]:
        wave = spectrum.grid(window)
        centre, gf, excitation = (np.asarray(lines[c], dtype=float) for c in ("wlcent", "gflog", "excit"))
        inside = (centre > window[0]) & (centre < window[1])
        depth = 10.0 ** np.minimum(gf - excitation + 4, 0)[inside]
        return wave, np.exp(-(depth * np.exp(-0.5 * ((wave[:, None] - centre[inside]) / 0.06) ** 2)).sum(axis=1))

    monkeypatch.setattr(solar, "synthesise", synthesise)
    table = Table(rows=[("Fe 1", 6151.617, 6151.617, 6151.617, 2.176, "log gf", -0.5, 0.02, 0.25, 0.5, "Sun", "")],
                  names=_COLUMNS)  # fmt: skip
    Corrections(table).write(tmp_path / "c.ecsv")
    window = [(6140.0, 6180.0)]
    (plain, *_) = solar.run(tmp_path / "a", windows=window, progress=False).rows
    (row, *_) = solar.run(tmp_path / "b", windows=window, progress=False, corrections=tmp_path / "c.ecsv").rows
    assert row["rms_atlas_as_it_is"] == plain["rms_atlas"] != row["rms_atlas"]
    assert json.loads((tmp_path / "b" / "solar.json").read_text())["corrections"]["name"] == "c"


class StandInForKorg:
    """Julia's side of `korg.synthesize_layers`: three iron lines whose depth goes with the temperature."""

    def __init__(self) -> None:
        self.SMEPinnAtmoPython = self.Korg = self
        self.calls: list[tuple[float, float]] = []

    def seval(self, code: str) -> str:
        assert code == "string(pkgversion(Korg))"
        return "1.2.1"

    def read_linelist(self, path: str) -> list[str]:
        assert Path(path).is_file()
        return ["a line"]

    def _layers(
        self, lines: list[str], low: float, high: float, step: float, vmic: float, m_h: float, *columns: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        assert lines == ["a line"]
        rhox, tau, temperature, n_e, atoms = columns
        assert all(c.dtype == float and c.flags.c_contiguous and c.shape == rhox.shape for c in columns)
        assert (np.diff(rhox) > 0).all()
        assert (np.diff(tau) > 0).all()
        assert (n_e < atoms * 20).all()
        self.calls.append((low, high))
        wave = np.linspace(low + 1e-6, high - 1e-6, round((high - low) / step) + 1)
        depth = 0.4 * (6000 / np.interp(0.0, np.log(tau), temperature)) ** 2 * vmic * 10 ** (0.5 * m_h)
        return wave, 1 - depth * sum(np.exp(-0.5 * ((wave - c) / 0.05) ** 2) for c in (6149.246, 6151.617, 6173.334))


@needs_data
def test_korg_in_place_of_pysme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    julia = StandInForKorg()
    monkeypatch.setattr(korg, "_julia", lambda: julia)
    monkeypatch.setattr(solar, "synthesise", None)
    command = ["validate", "solar", "--code", "korg", "--window", "6140", "6180", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "solar.json").read_text())
    assert content["code"] == "korg"
    assert content["command"].endswith("--code korg")
    (sensitivity,) = content["sensitivity"]
    assert 0 < sensitivity["PINN - ATLAS-12"] < sensitivity["Teff +50 K"]
    assert len(julia.calls) == len(solar.STEPS) + len({row["model"] for row in content["rows"]})
    assert set(julia.calls) == {(6140 - 0.02, 6180 + 0.02)}
    # The second run takes every spectrum from the cache.
    julia.calls.clear()
    assert CliRunner().invoke(main, command).exit_code == 0
    assert not julia.calls


@needs_data
def test_without_korg_its_report_is_skipped_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise korg.KorgError("the Korg adapter needs juliacall")

    monkeypatch.setattr(korg, "_julia", missing)
    result = CliRunner().invoke(main, ["validate", "solar", "--code", "korg", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert result.output == "skipped: the Korg adapter needs juliacall\n"
    assert not (tmp_path / "out").exists()

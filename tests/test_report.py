"""The page: self-contained, honest about what is missing, resumed, and readable in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from sme_pinn_atmo.cli import main
from sme_pinn_atmo.sources.bring import BringError
from sme_pinn_atmo.validation.report import Section, build, page
from sme_pinn_atmo.validation.section import table_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    counts = {"not finite": 0, "rhox": 0, "pressure": 3, "electrons": 0}
    monkeypatch.setattr("sme_pinn_atmo.validation.physical.violations", lambda emulator, n, seed: (counts, []))
    return tmp_path


def test_the_page_needs_nothing_but_itself(folder: Path) -> None:
    index = build(folder, ["atlas12"], ["cross-validation", "physical"], progress=False)
    text = index.read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "data:image/png;base64," in text
    assert "<td>3</td>" in text
    assert "sme-pinn-atmo validate physical --model atlas12" in text
    numbers = json.loads((folder / "report.json").read_text())
    assert numbers["sections"]["physical"]["numbers"]["atlas12"]["pressure"] == 3
    assert numbers["sections"]["cross-validation"]["numbers"]["atlas12"]["figures"]["all"]["models"] >= 35


def test_the_report_is_on_every_model(folder: Path) -> None:
    index = build(folder, parts=["cross-validation", "physical"], progress=False)
    text = index.read_text()
    for name in ("atlas12", "atlas9", "marcs"):
        assert f"<td>{name}, all</td>" in text
        assert f"validate physical --model {name}" in text
    assert "<td>marcs, without m_h=-1</td>" in text


def test_finished_parts_are_kept_and_missing_data_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise BringError("originals of solar are missing")

    monkeypatch.delenv("SME_PINN_ATMO_DATA", raising=False)
    monkeypatch.setattr("sme_pinn_atmo.validation.solar.ensure", offline)
    build(folder, ["atlas9"], ["physical"], progress=False)
    before = (folder / "physical.json").stat().st_mtime_ns
    result = CliRunner().invoke(
        main, ["validate", "all", "--model", "atlas9", "--part", "physical", "--part", "solar", "--out", str(folder)]
    )
    assert result.exit_code == 0, result.output
    assert (folder / "physical.json").stat().st_mtime_ns == before
    text = (folder / "index.html").read_text()
    assert "Not done: originals of solar are missing" in text
    assert not (folder / "solar.json").exists()
    build(folder, ["atlas12"], ["physical"], progress=False)
    assert (folder / "physical.json").stat().st_mtime_ns != before


def test_parts_on_stars_bind_what_their_commands_make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of fits are stood in for; tables, medians, figures and commands are of what they would give."""
    from sme_pinn_atmo.calibration import Corrections
    from sme_pinn_atmo.validation import benchmarks, calibration, report

    def fitted(settings: list, out: Path, **_: object) -> list[dict]:
        out.mkdir(parents=True)
        off = 30.0 if settings[0].corrections is None else 10.0
        done = {"errors": {"teff": 500.0, "logg": 0.1, "monh": None}, "stopped": {"monh": "0.5"}, "seconds": 1.0,
                "windows": [{"rms": 0.02}], "explained": 0.9}  # fmt: skip
        return [
            {"failed": "no light"} if s.name == "18 Sco" else
            {**done, "values": {"teff": s.start["teff"] + off, "logg": s.start["logg"], "monh": s.start["monh"]}}
            for s in settings
        ]  # fmt: skip

    monkeypatch.setattr(benchmarks, "fit_many", fitted)
    monkeypatch.setattr(benchmarks, "galah_lines", lambda windows: None)
    monkeypatch.setattr(benchmarks, "_odfnew_grid", lambda out: "grid.npz")
    monkeypatch.setattr(calibration, "laboratory", lambda made, lines, path: {
        "groups": {made.name: {"lines": 7, "list": dict.fromkeys(("offset", "scatter", "rms"), 0.25),
                               "calibrated": dict.fromkeys(("offset", "scatter", "rms"), 0.125)}}})  # fmt: skip
    monkeypatch.setattr(calibration, "read_lines", lambda name, ranges: name)
    monkeypatch.setattr("sme_pinn_atmo.sources.find", lambda name: Path(name))
    group = {"lines": 7, "rms": 0.0123, "rms_before": 0.2, "within_one": 0.68, "within_two": 0.95}
    mock = {**dict.fromkeys(("all", "deep", "alone", "known"), group), "by_depth": {"0-0.02": {"lines": 0}}}
    monkeypatch.setattr(calibration, "recovery", lambda *_, **__: ({**mock, "labels": {}, "iterations": 5}, None, None))
    monkeypatch.setattr("sme_pinn_atmo.stars.lines.galah_lines", lambda windows: None)
    parts = ["benchmarks", "lines-mock", "lines-atmospheres", "lines-laboratory"]
    report.build(folder, ["atlas12", "marcs"], parts, progress=False)
    text = (folder / "index.html").read_text()
    assert not re.findall("Not done: [^<]*", text)
    # The list as it is, and the corrections of each model's own; PySME's interpolation has none.
    assert re.findall(r"<td>18 Sco</td><td>[^<]*</td><td>([^<]*)</td>", text) == [
        "atlas12", "atlas12, galah-atlas12", "marcs", "marcs, galah-marcs", "odfnew"
    ]
    assert "failed: no light" in text
    assert "<td>+230 ± 500</td><td>+0.40 ± 0.10</td><td>+0.25 ± 0.5</td>" in text
    numbers = json.loads((folder / "report.json").read_text())["sections"]
    assert numbers["benchmarks"]["numbers"]["marcs"]["failed"] == 1
    assert numbers["benchmarks"]["command"].endswith("--model atlas12 --model marcs --model odfnew --corrections own")
    one, other = Corrections.read("galah-atlas12"), Corrections.read("galah-marcs")
    last = numbers["lines-atmospheres"]["numbers"]["galah-marcs"][-1]
    assert last["median"] == calibration.compared(one, other)[-1]["median"]
    assert numbers["lines-laboratory"]["numbers"]["galah-atlas12"]["lines"] == 7
    assert "+0.125" in text
    row = "<td>7</td><td>0.200</td><td>0.0123</td><td>68 %</td><td>95 %</td>"
    assert text.count(row) == 4
    assert f"<td>deeper than 0.05</td>{row}" in text
    report.build(folder, ["atlas12"], ["lines-atmospheres"], progress=False)
    assert "two models with packaged corrections" in (folder / "index.html").read_text()


def test_parts_on_held_out_models_say_what_they_need(folder: Path) -> None:
    build(folder, ["atlas12"], ["interpolation", "spectra", "fits", "gradients", "closure"], progress=False)
    text = (folder / "index.html").read_text()
    assert text.count("name them with --heldout") == 5


def test_a_table_of_markdown_becomes_one_of_the_page() -> None:
    head, rows = table_of(text := "text\n\n| a | b |\n|---|---|\n| 1 | 2 / 3 |\n\nmore\n\n| c |\n|---|\n| 4 |\n")
    assert (head, rows) == (("a", "b"), (("1", "2 / 3"),))
    assert table_of(text, "more") == (("c",), (("4",),))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heldout", "atlas99"], "unknown model 'atlas99'"),
        (["--model", "atlas99"], "unknown model 'atlas99'"),
        (["--part", "moon"], "no part 'moon'; there are"),
    ],
)
def test_mistakes_end_before_any_work(folder: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["validate", "all", "--out", "report", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert not Path("report").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [1100, 400])
def test_the_page_in_a_browser(folder: Path, width: int) -> None:
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    figure = Figure(figsize=(4, 3), facecolor=(1, 0, 0))
    figure.savefig(folder / "red.png")
    section = Section("a", "A <part>", "seen", "command", ("x", "y"), (("1", "2" * 300),), {"red.png": "a red figure"})
    (folder / "index.html").write_text(page({"model": "m"}, [section], folder))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               f"--window-size={width},900", "--screenshot=shot.png", (folder / "index.html").as_uri()]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    image = imread(folder / "shot.png")[..., :3]
    red = (image[..., 0] > 0.9) & (image[..., 1:].max(axis=-1) < 0.1)
    across = red.any(axis=0).sum()
    # The figure is drawn whole: at its own 400 pixels, or as wide as a phone has room for.
    assert 0.85 * min(400, width - 20) < across <= min(400, width)


def test_processes_reach_the_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sme_pinn_atmo.validation import report, spectra

    asked: list[int] = []

    def run(models: list[str], out: Path, *, processes: int, **_: object) -> None:
        asked.append(processes)
        raise ValueError("enough")

    monkeypatch.setattr(spectra, "run", run)
    report.build(folder, ["atlas12"], ["spectra"], ["atlas12"], processes=3, progress=False)
    assert asked == [3]
    assert "enough" in (folder / "index.html").read_text()

"""The documentation: what it shows runs, says what it says, and every link leads somewhere."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

#: A fenced block: the line above it, the language, the code.
_BLOCK = re.compile(r"^(?P<above>[^\n]*)\n(?:[ \t]*\n)?```(?P<kind>python|pycon)\n(?P<code>.*?)^```", re.M | re.S)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")

#: Pages that change one line of "your script": this is the script.
_SCRIPT = """
import numpy as np
from pysme.sme import SME_Structure
sme = SME_Structure()
sme.teff, sme.logg, sme.monh = 5777, 4.44, 0.0
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, and plots that nobody looks at."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def _run(code: str, where: str, names: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, where, "exec"), names)


def _pages_with_code() -> list[Path]:
    return [page for page in PAGES if _BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", _pages_with_code(), ids=lambda p: p.name)
def test_the_python_of_a_page_runs(page: Path) -> None:
    """Every block in its order, in one namespace; of a session (pycon) also what it prints and raises."""
    names: dict[str, Any] = {"__name__": "docs"}
    text = page.read_text(encoding="utf-8")
    skipped = []
    blocks = list(_BLOCK.finditer(text))
    if page.name in ("README.md", "pysme.md"):
        pytest.importorskip("pysme", reason="PySME is not installed")
        _run(_SCRIPT, "script", names)
    for block in blocks:
        line = text.count("\n", 0, block.start("code"))
        if reason := _NOT_RUN.search(block["above"]):
            skipped.append(f"{page.name}, line {line}: {reason[1]}")
        elif block["kind"] == "python":
            _run("\n" * line + block["code"], str(page), names)
        else:
            example = doctest.DocTestParser().get_doctest(block["code"], names, page.name, str(page), line)
            said: list[str] = []
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append, clear_globs=False)
            assert not said, "".join(said)
            names = example.globs
    if len(skipped) == len(blocks):
        pytest.skip("; ".join(skipped))


def _cells(notebook: Path, kind: str) -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize(
    "notebook", [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in ("real_star", "survey"))) for p in NOTEBOOKS],
    ids=lambda p: p.stem,
)  # fmt: skip
def test_a_notebook_runs(notebook: Path) -> None:
    pytest.importorskip("pysme", reason="PySME is not installed")
    if notebook.stem == "real_star":
        from sme_pinn_atmo.sources import DataMissingError, find

        try:
            find("benchmarks/spectra/18sco_narval_hermes.npz")
        except DataMissingError as missing:
            pytest.skip(str(missing))
    if notebook.stem in ("own_grid", "survey"):
        pytest.importorskip("torch", reason="training needs torch (the extra `train`)")
    names: dict[str, Any] = {"__name__": "__main__"}
    for i, cell in enumerate(_cells(notebook, "code")):
        _run("".join(cell["source"]), f"{notebook.name}, cell {i}", names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_stored_without_outputs(notebook: Path) -> None:
    for cell in _cells(notebook, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def _anchor(heading: str) -> str:
    """The anchor that GitHub and MyST make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
            assert anchor in map(_anchor, headings), f"{page.name} links to {target}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    missing = [m for m in ("sphinx", "myst_parser", "furo") if importlib.util.find_spec(m) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed (the extra `docs`)")
    command = next(c for c in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if c.startswith("sphinx-build"))
    arguments = command.split()[1:]
    assert "-W" in arguments
    arguments[-2:] = [str(ROOT / arguments[-2]), str(tmp_path / "site")]
    done = subprocess.run([sys.executable, "-m", "sphinx", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file()
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in ("sme_pinn_atmo.Emulator.predict", "sme_pinn_atmo.pysme.PinnAtmosphereGrid"):
        assert f'id="{name}"' in api
    # Nothing comes from elsewhere when a page is looked at.
    for page in site.glob("*.html"):
        assert not re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="https?:', page.read_text(encoding="utf-8"))
    shutil.rmtree(site)

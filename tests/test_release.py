"""What a release states: one version everywhere, bounds of the Julia package, figures that are those of the models.

Reads files alone, so that it runs where nothing is installed; a release sets SME_PINN_ATMO_TAG to its tag.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return dict(tomllib.loads(text("pyproject.toml"))["project"])


def found(pattern: str, path: str) -> str:
    match = re.search(pattern, text(path), re.M)
    assert match, f"{path} has no {pattern}"
    return match[1]


def test_every_file_states_one_version() -> None:
    version = project()["version"]
    assert found(r'^__version__ = "(.+)"', "sme_pinn_atmo/__init__.py") == version
    assert found(r"^version: (.+)", "CITATION.cff") == version
    assert json.loads(text(".zenodo.json"))["version"] == version
    assert found(r'set version = "(.+?)"', "recipe/meta.yaml") == version
    assert tomllib.loads(text("julia_bridge/Project.toml"))["version"] == version
    assert found(rf"^## ({re.escape(version)})\b", "CHANGELOG.md")
    assert os.environ.get("SME_PINN_ATMO_TAG", version) == version


def test_zenodo_and_the_citation_file_say_the_same() -> None:
    zenodo, citation = json.loads(text(".zenodo.json")), text("CITATION.cff")
    assert f'title: "{zenodo["title"]}"' in citation
    assert f"license: {zenodo['license']}" in citation
    assert [found(r'^authors:\n  - name: "(.+)"', "CITATION.cff")] == [c["name"] for c in zenodo["creators"]]
    assert project()["license"] == zenodo["license"]


def test_the_recipe_asks_for_what_the_package_asks_for() -> None:
    """Names are the same there, but for matplotlib."""
    run = text("recipe/meta.yaml").partition("  run:\n")[2].partition("\ntest:")[0]
    recipe = dict(re.findall(r"^    - ([\w-]+) *(.*)$", run, re.M))
    for entry in project()["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)([^;]*)(?:;.*)?", entry).groups()  # type: ignore[union-attr]
        if ";" not in entry:
            assert recipe[{"matplotlib": "matplotlib-base"}.get(name, name)] == bound, entry
    assert recipe["python"] == project()["requires-python"]


def test_the_julia_package_bounds_all_that_it_uses() -> None:
    """What the General registry asks for; and weak dependencies are extras too, for Julia before 1.9."""
    jl = tomllib.loads(text("julia_bridge/Project.toml"))
    assert {*jl["deps"], *jl["weakdeps"], "julia"} <= set(jl["compat"])
    assert set(jl["weakdeps"].items()) <= set(jl["extras"].items())
    assert set(jl["compat"]) - {"julia"} <= {*jl["deps"], *jl["extras"]}
    assert (ROOT / "julia_bridge/test/runtests.jl").is_file()
    assert text("julia_bridge/LICENSE") == text("LICENSE")  # the registry looks for one in the package's folder


def test_workflows_and_issue_forms_are_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    for path in (ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8")), path
    for name in ("bug", "model"):
        assert "sme-pinn-atmo doctor --json" in text(f".github/ISSUE_TEMPLATE/{name}.yml")


def test_what_is_still_to_be_filled_in_is_listed_in_one_place() -> None:
    """Both ways: no row whose words are gone, no placeholder without a row."""
    table = text("CONTRIBUTING.md").partition("### Before the first release\n")[2]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", table, re.M)
    assert [row for row in rows if row[1] not in text(row[0])] == []
    placeholder = r"The sme_pinn_atmo developers|To be named at|REPLACE_WITH_\w+|-maintainers: \[\]"
    for path in ("CITATION.cff", ".zenodo.json", "pyproject.toml", "paper.md", "recipe/meta.yaml", "README.md",
                 "julia_bridge/Project.toml", "SECURITY.md"):  # fmt: skip
        listed = [words for file, words in rows if file == path]
        for match in re.finditer(placeholder, text(path)):
            assert any(match[0] in words for words in listed), f"{path}: {match[0]}"


# ---------------------------------------------------------------------- figures

#: Rows of the tables in README and the paper: model, sets of the scores in its card, how they are called.
ROWS = (
    ("atlas9", "all", "`atlas9`"), ("atlas12", "all", "`atlas12`"), ("atlas12", "Teff<4000", "`atlas12`, below 4000 K"),
    ("atlas12", "4000-7500", "`atlas12`, 4000-7500 K"), ("marcs", "all", "`marcs`"),
    ("marcs", "Teff<4000", "`marcs`, below 4000 K"), ("marcs", "spheres", "`marcs`, spheres"),
)  # fmt: skip


def row(model: str, name: str, title: str) -> str:
    """A row of the table, from the cross-validation in the model's card."""
    scores = json.loads(text(f"sme_pinn_atmo/models/{model}.json"))["cross_validation"]["figures"][name]
    cells = [f"{scores[f]['median']:.3f} / {scores[f]['p95']:.2f}" for f in ("RHOX", "T", "P", "XNE", "ABROSS")]
    cells.append(f"{scores['HSE']['median']:.4f} / {scores['HSE']['p95']:.3f}")
    return f"| {title} | {scores['models']} | " + " | ".join(cells) + " |"


@pytest.mark.parametrize("path", ["README.md", "paper.md"])
def test_the_figures_are_those_of_the_packaged_models(path: str) -> None:
    """`python tests/test_release.py` writes them anew."""
    wrong = [line for line in map(lambda r: row(*r), ROWS) if line not in text(path)]
    assert not wrong, f"{path} lacks:\n" + "\n".join(wrong)


def write_figures() -> None:
    """Put the rows of the packaged models into README and the paper."""
    for path in ("README.md", "paper.md"):
        head = "| | models | RHOX | T | P | XNE | ABROSS | HSE |\n|---|---|---|---|---|---|---|---|\n"
        before, _, after = text(path).partition(head)
        while after.startswith("|"):
            after = after.partition("\n")[2]
        (ROOT / path).write_text(before + head + "\n".join(row(*r) for r in ROWS) + "\n" + after, encoding="utf-8")


if __name__ == "__main__":
    write_figures()

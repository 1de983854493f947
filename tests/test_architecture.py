"""The shape of the whole: imports point one way, and the drawing of it is of what there is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def test_imports_point_one_way_and_make_no_circle() -> None:
    """The contracts of pyproject.toml; import-linter names the chain of imports that breaks one."""
    pytest.importorskip("importlinter", reason="import-linter is not installed (the extra `test`)")
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 5 kept, 0 broken" in done.stdout


def test_the_drawing_shows_the_layers_in_their_order() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [name.strip() for layer in settings["contracts"][0]["layers"] for name in layer.split("|")]
    drawn = re.findall(r'class="t"[^>]*>([^<]+)<', (ROOT / "docs/figures/layers.svg").read_text(encoding="utf-8"))
    assert drawn == layers


#: Functions whose body may be longer than `LONGEST` lines, with the reason.
LONG = {
    "survey/fit.py:fit_star": "four closures over one star's windows, which each step of the solver needs together",
}
LONGEST = 60


def test_no_function_is_long_without_a_reason() -> None:
    """Lines from the first statement after the docstring to the last."""
    long = set()
    package = ROOT / "sme_pinn_atmo"
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                if node.end_lineno - body[0].lineno + 1 > LONGEST:
                    long.add(f"{path.relative_to(package).as_posix()}:{node.name}")
    assert long == set(LONG)

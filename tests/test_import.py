"""What importing the package loads, and the names that its modules have."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import sme_pinn_atmo


@pytest.mark.parametrize(
    "code",
    ["import sme_pinn_atmo", "import sme_pinn_atmo; sme_pinn_atmo.Emulator.load().predict(teff=5777, logg=4.4)",
     "import sme_pinn_atmo.korg", "import sme_pinn_atmo.codes", "from sme_pinn_atmo import emulator, labels, runtime"],
)  # fmt: skip
def test_heavy_packages_are_not_loaded(code: str) -> None:
    heavy = "('torch', 'pysme', 'juliacall', 'matplotlib', 'pandas', 'scipy.interpolate')"
    script = f"import sys; {code}; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_door_of_stars_leads_to_what_it_names() -> None:
    from sme_pinn_atmo import stars

    assert all(getattr(stars, name).__name__ == name for name in stars.__all__)
    assert set(stars.__all__) == set(stars._WHERE)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = stars.nothing


@pytest.mark.parametrize("room", ["emulator", "codes"])
def test_a_door_leads_to_what_it_names(room: str) -> None:
    door = import_module(f"sme_pinn_atmo.{room}")
    assert all(getattr(door, name).__name__.split(".")[-1] == name for name in door.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = door.nothing


#: Names that scripts were written with -> where the modules stand.
OLD = {
    "continuum": "codes", "julia_export": "codes", "korg": "codes", "pysme": "codes",
    "labels": "emulator", "network": "emulator", "runtime": "emulator", "uncertainty": "emulator",
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize(
    "code",
    ["import sme_pinn_atmo.{name}; old = sys.modules['sme_pinn_atmo.{name}']",
     "import sme_pinn_atmo.{name}; old = sme_pinn_atmo.{name}", "from sme_pinn_atmo import {name} as old",
     "import sme_pinn_atmo as spa; old = spa.{name}",
     "from importlib import import_module; old = import_module('sme_pinn_atmo.{name}')"],
)  # fmt: skip
def test_an_old_name_is_the_module_itself(name: str, code: str) -> None:
    """Not a copy of it: PySME's hooks, and what a test patches, would be there twice."""
    names = [m for m in sys.modules if m.startswith("sme_pinn_atmo.")]
    before = {m: sys.modules.pop(m) for m in names if m.split(".")[-1] == name and m.count(".") == 1}
    try:
        space = {"sys": sys}
        exec(code.format(name=name), space)
        assert space["old"] is import_module(f"sme_pinn_atmo.{OLD[name]}.{name}")
    finally:
        sys.modules.update(before)
    assert space["old"].__spec__.name == f"sme_pinn_atmo.{OLD[name]}.{name}"


def test_an_old_name_that_never_was() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"sme_pinn_atmo\.nothing"):
        import_module("sme_pinn_atmo.nothing")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sme_pinn_atmo.nothing


def test_what_was_pickled_under_an_old_name_comes_back() -> None:
    old = b"csme_pinn_atmo.labels\nDomainError\n."
    assert pickle.loads(old) is sme_pinn_atmo.DomainError


def test_the_package_itself_imports_by_the_new_names() -> None:
    root = Path(sme_pinn_atmo.__file__).parent
    for path in root.rglob("*.py"):
        depth = len(path.relative_to(root).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == depth:
                asked = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
                assert not {*asked} & {*OLD}, f"{path}:{node.lineno}"

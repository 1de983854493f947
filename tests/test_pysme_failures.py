"""What cannot be done is said plainly, and the star is left as it was."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

import pandas as pd
import pysme
from pysme.solve import SME_Solver, solve
from pysme.synthesize import Synthesizer, synthesize_spectrum

from sme_pinn_atmo import PinnAtmosphereGrid, models
from sme_pinn_atmo.codes.pysme import _SUPPORTED, OutsideDomainError, register, star_labels
from sme_pinn_atmo.emulator import ModelFileError

from .test_pysme import WAVE, star

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def grid() -> PinnAtmosphereGrid:
    return PinnAtmosphereGrid("atlas12")


def state(x: Any, depth: int = 0) -> Any:
    """Everything that an object holds, as things that compare."""
    if isinstance(x, PinnAtmosphereGrid):
        return str(x), id(x)
    if isinstance(x, np.ndarray):
        return (x.shape, str(x.dtype), x.tobytes()) if x.dtype != object else [state(v, depth + 1) for v in x.ravel()]
    if isinstance(x, pd.DataFrame):
        return {c: state(np.asarray(x[c])) for c in x.columns}
    if isinstance(x, dict):
        return {str(k): state(v, depth + 1) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [state(v, depth + 1) for v in x]
    if hasattr(x, "__dict__") and not isinstance(x, type):
        assert depth < 20
        return {k: state(v, depth + 1) for k, v in vars(x).items()}
    return repr(x)


def damaged(folder: Path) -> str:
    source = models()["atlas12"]
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "bad.safetensors").write_bytes(data)
    (folder / "bad.json").write_text(source.with_suffix(".json").read_text())
    return str(folder / "bad.safetensors")


CALLS: dict[str, Callable[[Any], Any]] = {
    "synthesis": synthesize_spectrum,
    "atmosphere": lambda sme: Synthesizer().get_atmosphere(sme),
    "fit": lambda sme: solve(sme, ["teff", "logg"]),
    "fit with bounds": lambda sme: solve(sme, ["teff"], bounds=np.array([[3000.0], [20000.0]])),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("synthesised", [False, True])
def test_a_star_outside(grid: PinnAtmosphereGrid, name: str, synthesised: bool) -> None:
    sme = star(grid)
    if synthesised:
        synthesize_spectrum(sme)
    sme.teff, sme.logg = 9000.0, 0.1
    sme.vrad_flag = "each"
    if name.startswith("fit"):
        sme.spec = np.ones(len(WAVE))
    before = state(sme)
    with pytest.raises(OutsideDomainError, match=r"atlas12: logg = 0\.1 dex is outside the range .* at teff = 9000 K"):
        CALLS[name](sme)
    assert state(sme) == before
    assert sme.atmo.source is grid


@pytest.mark.parametrize("name", CALLS)
def test_a_loaded_star_whose_model_is_unknown(name: str) -> None:
    sme = star("pinn:atlas99")
    sme.spec = np.ones(len(WAVE))
    before = state(sme)
    with pytest.raises(ValueError, match="unknown model 'atlas99'; known: atlas12, atlas9"):
        CALLS[name](sme)
    assert state(sme) == before


@pytest.mark.parametrize("name", CALLS)
def test_a_loaded_star_whose_weights_are_damaged(name: str, tmp_path: Path) -> None:
    sme = star(f"pinn:{damaged(tmp_path)}")
    sme.spec = np.ones(len(WAVE))
    before = state(sme)
    with pytest.raises(ModelFileError, match="sha256"):
        CALLS[name](sme)
    assert state(sme) == before


def test_a_grid_that_cannot_be_made(grid: PinnAtmosphereGrid, tmp_path: Path) -> None:
    sme = star(grid)
    before = state(sme)
    for model, message in (("atlas99", "unknown model"), (damaged(tmp_path), "sha256")):
        with pytest.raises(ValueError, match=message):
            sme.atmo.source = PinnAtmosphereGrid(model)
    assert state(sme) == before


@pytest.mark.parametrize("parameters", [["teff", "logg"], ["logg"], ["teff", "logg", "monh", "vmic"]])
def test_a_fit_at_the_edge_of_what_was_computed(grid: PinnAtmosphereGrid, parameters: list[str]) -> None:
    """Derivatives and steps go over an edge that no bound in one label shows: the fit goes on, and ends inside."""
    domain = grid.emulator.domain
    teff = 9000.0
    logg = min(g for g in np.arange(0.0, 4.0, 0.01) if domain.contains(teff=teff, logg=g, vturb=1.0))
    sme = star(grid, teff=teff, logg=float(logg) + 0.005)
    sme.spec, sme.uncs = np.array(synthesize_spectrum(sme).synth[0]) ** 0.9, np.full(len(WAVE), 0.01)
    sme = solve(sme, parameters)
    assert domain.contains(**star_labels(sme, grid))
    assert np.isfinite(sme.fitresults.chisq)
    assert sme.atmo.source is grid


@pytest.mark.parametrize("version", ["0.7.4", "1.3.0", "2.0.0rc1"])
def test_other_versions_of_pysme_are_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(pysme, "__version__", version)
    before = Synthesizer.get_atmosphere
    with pytest.raises(RuntimeError, match=re.escape(f"PySME {version} is not supported; supported: pip install")):
        register()
    assert Synthesizer.get_atmosphere is before


def test_the_supported_versions_are_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = (".".join(map(str, v)) for v in _SUPPORTED)
    for name in ("pyproject.toml", "sme_pinn_atmo/codes/pysme.py", "docs/pysme.md"):
        assert f"pysme-astro>={low},<{high}" in (ROOT / name).read_text(encoding="utf-8")
    for version in (f"{low}.0", f"{low}.99", "0+unknown"):
        monkeypatch.setattr(pysme, "__version__", version)
        register()


def test_a_pysme_that_lacks_a_class(tmp_path: Path) -> None:
    (tmp_path / "pysme").mkdir()
    (tmp_path / "pysme" / "__init__.py").write_text("__version__ = '0.1'\n")
    (tmp_path / "pysme" / "abund.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sme_pinn_atmo as s; s.PinnAtmosphereGrid"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "PinnAtmosphereGrid needs PySME: pip install" in result.stderr


def test_a_method_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SME_Solver, "solve")
    with pytest.raises(RuntimeError, match=r"PySME .*SME_Solver\.solve\(self, sme, \.\.\.\) is not as expected"):
        register()

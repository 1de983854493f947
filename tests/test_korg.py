"""The Korg adapter: its Python side against a strict stand-in for Julia; everything against real Korg where it is."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sme_pinn_atmo import DomainError, korg
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import Emulator

JULIA_LABELS = {"Teff", "logg", "m_H", "alpha_m", "vturb"}


class StandIn:
    """Takes only what the Julia functions take, and records it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, dict[str, float]]] = []
        self.state: Any = None
        self.SMEPinnAtmo = self.SMEPinnAtmoPython = self.Korg = self

    def _record(self, name: str, args: Any, labels: dict[str, float]) -> None:
        assert set(labels) == JULIA_LABELS
        assert all(type(v) is float and np.isfinite(v) for v in labels.values())
        self.calls.append((name, args, labels))

    def korg_atmosphere(self, *, model: str, **labels: float) -> str:
        self._record("atmosphere", model, labels)
        return "PlanarAtmosphere"

    def _synthesize(self, linelist: Any, wavelengths: tuple, single: dict, vmic: float, options: dict, model: str,
                    **labels: float) -> tuple:  # fmt: skip
        assert isinstance(wavelengths, tuple)
        assert all(isinstance(v, (int, float)) for v in wavelengths)
        self._record("synthesize", (linelist, wavelengths, single, vmic, options, model), labels)
        return [5000.0, 5001.0], [1.0, 2.0], [3.0, 4.0]

    def _jacobian(self, linelist: Any, wavelengths: tuple, vmic: float, model: str, **labels: float) -> tuple:
        self._record("jacobian", (linelist, wavelengths, vmic, model), labels)
        return [1.0, 0.9], np.zeros((2, 5))

    def _switch_on(self, model: str, vturb: float) -> Any:
        before, self.state = self.state, (model, vturb)
        return before

    def _switch_back(self, before: Any) -> None:
        self.state = before

    def get_VALD_solar_linelist(self) -> str:
        return "VALD"

    def read_linelist(self, path: str) -> str:
        return f"lines of {path}"


@pytest.fixture
def julia(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(korg, "_julia", lambda: stand_in)
    return stand_in


def test_labels_reach_julia_by_its_names(julia: StandIn) -> None:
    assert korg.atmosphere(teff=4800, logg=2.3, m_h=-0.7, alpha_m=0.3) == "PlanarAtmosphere"
    labels = julia.calls[0][2]
    vturb = Emulator.load("atlas12").domain.defaults["vturb"]
    assert labels == {"Teff": 4800.0, "logg": 2.3, "m_H": -0.7, "alpha_m": 0.3, "vturb": vturb}


@pytest.mark.parametrize("bad", [{"teff": np.nan}, {"teff": 1e6}, {"logg": 0.1, "teff": 20000}])
def test_bad_labels_never_reach_julia(julia: StandIn, bad: dict) -> None:
    with pytest.raises(DomainError):
        korg.atmosphere(**{"teff": 5777, "logg": 4.44, **bad})
    assert not julia.calls


def test_arrays_of_stars_are_refused(julia: StandIn) -> None:
    with pytest.raises(DomainError, match="one star"):
        korg.atmosphere(teff=np.array([5000, 6000]), logg=4.4)


def test_synthesis_gives_arrays_by_name(julia: StandIn) -> None:
    s = korg.synthesize(teff=5777, logg=4.44, vturb=1.3, wavelengths=(5000, 5001), abundances={"Mg": 0.1})
    np.testing.assert_array_equal(s.flux, [1.0, 2.0])
    assert (s.wavelengths[0], s.continuum[1]) == (5000.0, 4.0)
    linelist, window, single, vmic, options, model = julia.calls[0][1]
    assert (linelist, window, single, vmic, options, model) == ("VALD", (5000, 5001), {"Mg": 0.1}, 1.3, {}, "atlas12")
    korg.synthesize(teff=5777, logg=4.44, wavelengths=(5000, 5001), linelist="my.vald", vmic=0.9)
    assert julia.calls[1][1][0] == "lines of my.vald"
    assert julia.calls[1][1][3] == 0.9


def test_jacobian_has_five_columns(julia: StandIn) -> None:
    flux, derivative = korg.jacobian(teff=5777, logg=4.44, wavelengths=(5000, 5001))
    assert flux.shape == (2,)
    assert derivative.shape == (2, 5)


def test_context_is_undone_after_an_error(julia: StandIn) -> None:
    with korg.using_pinn(vturb=2.0):
        assert julia.state == ("atlas12", 2.0)
        with korg.using_pinn("atlas9"):
            assert julia.state == ("atlas9", 1.0)
        assert julia.state == ("atlas12", 2.0)
    with pytest.raises(RuntimeError, match="stop"), korg.using_pinn():
        raise RuntimeError("stop")
    assert julia.state is None


def test_unknown_model_is_refused_before_julia(julia: StandIn) -> None:
    with pytest.raises(ValueError, match="unknown model"), korg.using_pinn("atlas99"):
        pass
    assert julia.state is None


def test_without_julia_the_error_says_what_to_do() -> None:
    if importlib.util.find_spec("juliacall") is None:
        pytest.skip("juliacall is not installed")
    code = (
        "from sme_pinn_atmo import korg\n"
        "try:\n    korg.atmosphere(teff=5777, logg=4.44)\n"
        "except korg.KorgError as e:\n    print('KorgError:', e)"
    )
    env = {**os.environ, "PYTHON_JULIACALL_INIT": "no"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert "KorgError: juliacall was imported with PYTHON_JULIACALL_INIT=no" in out


def test_juliapkg_names_the_package_as_its_project_does() -> None:
    package = Path(korg.__file__).parent
    pins = json.loads((package / "juliapkg.json").read_text())["packages"]
    project = (package / "julia_bridge" / "Project.toml").read_text()
    assert f'uuid = "{pins["SMEPinnAtmo"]["uuid"]}"' in project
    assert f'Korg = "{pins["Korg"]["uuid"]}"' in project


def test_the_shipped_export_is_the_packaged_model(tmp_path: Path) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(main, ["export-julia", "atlas12", str(tmp_path / "atlas12.pinn")])
    assert result.exit_code == 0
    shipped = Path(korg.__file__).parent / "julia_bridge" / "models" / "atlas12.pinn"
    assert shipped.read_bytes() == (tmp_path / "atlas12.pinn").read_bytes()


real = pytest.mark.skipif(
    not {"PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"} <= set(os.environ), reason="no real Julia with Korg"
)


@real
@pytest.mark.korg
def test_real_korg_synthesis_and_jacobian() -> None:
    sun = {"teff": 5777.0, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0}
    window = (5500.0, 5502.0)
    s = korg.synthesize(**sun, wavelengths=window)
    assert np.isfinite(s.flux).all()
    flux, derivative = korg.jacobian(**sun, wavelengths=window)
    np.testing.assert_allclose(flux, s.flux / s.continuum, rtol=1e-6)
    for j, (name, step) in enumerate({"teff": 5.0, "logg": 0.01, "m_h": 0.01, "alpha_m": 0.01, "vturb": 0.02}.items()):
        up = korg.jacobian(**{**sun, name: sun[name] + step}, vmic=1.0, wavelengths=window)[0]
        down = korg.jacobian(**{**sun, name: sun[name] - step}, vmic=1.0, wavelengths=window)[0]
        difference = (up - down) / (2 * step)
        assert np.abs(difference - derivative[:, j]).max() < 1e-3 * np.abs(derivative[:, j]).max()


@real
@pytest.mark.korg
def test_real_korg_fit() -> None:
    with korg.using_pinn():
        s = korg.synthesize(teff=5600.0, logg=4.3, m_h=-0.2, wavelengths=(5500.0, 5520.0), vmic=1.0)
    result = korg.fit_spectrum(
        s.wavelengths, s.flux / s.continuum, np.full(len(s.flux), 1e-3), {"Teff": 5700.0, "M_H": 0.0},
        fixed_params={"logg": 4.3, "vmic": 1.0}, R=1e6,
    )  # fmt: skip
    assert abs(float(result.best_fit_params["Teff"]) - 5600.0) < 10.0

"""The Korg adapter: its Python side against a strict stand-in for Julia; everything against real Korg where it is."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sme_pinn_atmo import DomainError, composition, korg
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import Emulator

BRIDGE = Path(korg.__file__).parents[1] / "julia_bridge"
JULIA_LABELS = {"Teff", "logg", "m_H", "alpha_m", "vturb"}


class StandIn:
    """Takes only what the Julia functions take, and records it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []
        self.labels = JULIA_LABELS
        self.state: Any = None
        self.SMEPinnAtmo = self.SMEPinnAtmoPython = self.Korg = self

    def _record(self, name: str, args: Any, labels: dict[str, Any]) -> None:
        assert labels.get("geometry", "plane") in ("plane", "sphere")
        numbers = {k: v for k, v in labels.items() if k != "geometry"}
        assert set(numbers) == self.labels
        assert all(type(v) is float and np.isfinite(v) for v in numbers.values())
        self.calls.append((name, args, labels))

    def _atmosphere(self, model: str, **labels: Any) -> str:
        self._record("atmosphere", model, labels)
        return "PlanarAtmosphere"

    def _given(self, linelist: Any, wavelengths: Any, single: Any, vmic: Any, options: Any, model: Any) -> None:
        """Only what juliacall converts to plain Julia values."""
        assert isinstance(wavelengths, tuple)
        assert all(type(v) is float for w in wavelengths for v in (w if type(w) is tuple else (w,)))
        assert type(single) is type(options) is dict
        assert all(type(k) is str and type(v) is float and np.isfinite(v) for k, v in single.items())
        assert vmic is None or type(vmic) is float
        assert (BRIDGE / "models" / f"{model}.pinn").is_file() or Path(model).is_file()

    def _synthesize(self, *given: Any, **labels: float) -> tuple:
        self._given(*given)
        self._record("synthesize", given, labels)
        return [5000.0, 5001.0], [1.0, 2.0], [3.0, 4.0]

    def _jacobian(self, *given: Any, **labels: float) -> tuple:
        self._given(*given)
        self._record("jacobian", given, labels)
        return [1.0, 0.9], np.zeros((2, 5))

    def _line_jacobian(self, columns: Any, groups: Any, n: int, *given: Any, **labels: float) -> tuple:
        """A star whose lines are weak, of numbers that go with its labels; it has lines of Fe and Ca only."""
        self._given(None, *given)
        self._record("line_jacobian", given, labels)
        wave, gf, species, excitation, *widths = columns
        assert not {"H", "He", "Np"} & set(given[1])
        assert all(isinstance(v, np.ndarray) and v.dtype == float for v in (wave, gf, excitation, *widths))
        assert all(type(s) is str and s != "H 1" for s in species)
        assert groups.dtype == np.int64 and groups.min(initial=0) >= 0 and groups.max(initial=0) <= n  # noqa: PT018
        (low, high, step), single = given[0], given[1]
        w = np.arange(low, high, step)
        theta = 5040 / labels["Teff"]
        metals = np.array([single[s.split()[0]] for s in species])
        strength = 0.03 * 10 ** (gf + 3 + metals - excitation * (theta - 0.87) - 0.1 * (labels["logg"] - 4.4))
        strength = np.minimum(strength, 5.0) * (np.array([s in ("Fe 1", "Ca 1") for s in species]))
        shape = np.exp(-(((w[:, None] - 1.000277 * wave) / 0.05 / (1 + 0.2 * given[2])) ** 2)) * strength
        flux = 1e14 * np.exp(-shape.sum(axis=1))
        by = np.zeros((len(w), n))
        for k in range(n):
            by[:, k] = -flux * np.log(10) * shape[:, groups == k + 1].sum(axis=1)
        return w, flux, np.full(len(w), 1e14), by

    def _fit(self, wavelengths: Any, flux: Any, error: Any, linelist: Any, guesses: dict, fixed: dict, model: str,
             vturb: float, mass: float | None, geometry: str | None, options: dict) -> str:  # fmt: skip
        assert all(isinstance(v, np.ndarray) and v.dtype == float for v in (wavelengths, flux, error))
        assert all(type(v) is float for d in (guesses, fixed) for v in d.values())
        self.calls.append(("fit", (linelist, guesses, fixed, model, vturb, mass, geometry, options), {}))
        return "result"

    def _switch_on(self, model: str, vturb: float, mass: float | None, geometry: str | None) -> Any:
        before, self.state = self.state, (model, vturb, mass, geometry)
        return before

    def _switch_back(self, before: Any) -> None:
        self.state = before

    def get_VALD_solar_linelist(self) -> str:
        return "VALD"

    def read_linelist(self, path: str) -> str:
        return f"lines of {path}"


def test_a_line_list_is_read_once_and_again_when_it_has_changed(
    julia: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []
    monkeypatch.setattr(julia, "read_linelist", lambda path: read.append(path) or f"lines of {path}")
    monkeypatch.setattr(korg, "_said", set())
    path = tmp_path / "my.vald"
    path.write_text("a line")
    for _ in range(3):
        korg.synthesize(teff=5777, logg=4.44, wavelengths=(5000, 5001), linelist=path)
    assert read == [str(path)]
    path.write_text("another line")
    korg.synthesize(teff=5777, logg=4.44, wavelengths=(5000, 5001), linelist=path)
    assert read == 2 * [str(path)]
    assert julia.calls[-1][1][0] == f"lines of {path}"
    assert capsys.readouterr().err.count("Julia compiles") == 1


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
    assert (linelist, window, single, vmic, options, model) == ("VALD", (5000, 5001), {"Mg": 0.1}, None, {}, "atlas12")
    korg.synthesize(teff=5777, logg=4.44, wavelengths=np.array([5000, 5001]), linelist="my.vald", vmic=np.float32(0.9))
    assert julia.calls[1][1][:2] == ("lines of my.vald", (5000.0, 5001.0))
    assert julia.calls[1][1][3] == pytest.approx(0.9)
    korg.synthesize(teff=5777, logg=4.44, wavelengths=[(5000, 5001), (5003, 5004, 0.1)], linelist=Path("my.vald"))
    assert julia.calls[2][1][:2] == ("lines of my.vald", ((5000.0, 5001.0), (5003.0, 5004.0, 0.1)))


def test_a_composition_that_does_not_fit_is_said(julia: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "_said", set())
    star = {"teff": 4800, "logg": 2.3, "m_h": -0.5, "alpha_m": 0.3, "wavelengths": (5000, 5001)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        korg.synthesize(**star, abundances={"Mg": -0.2, "C": -0.4, "Eu": 1.0})
    with pytest.warns(composition.CompositionWarning, match=r"Mg by \+0\.30 dex"):
        korg.synthesize(**star, abundances={"Mg": 0.1})
    with pytest.warns(composition.CompositionWarning, match=r"C by \+0\.50 dex"):
        korg.jacobian(**star, abundances={"C": 0.0})


@pytest.mark.parametrize("bad", [{"abundances": {"Mg": np.nan}}, {"vmic": np.inf}])
def test_bad_numbers_of_a_synthesis_never_reach_julia(julia: StandIn, bad: dict) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        korg.synthesize(teff=5777, logg=4.44, wavelengths=(5000, 5001), **bad)
    assert not julia.calls


def test_a_fit_starts_inside_the_domain(julia: StandIn) -> None:
    data = ([5000, 5001], [1, 1], [0.01, 0.01])
    fixed = {"logg": 4.3}
    assert korg.fit_spectrum(*data, {"Teff": 5700, "M_H": 0}, fixed_params=fixed, R=50_000) == "result"
    given = ("VALD", {"Teff": 5700.0, "M_H": 0.0}, fixed, "atlas12", 1.0, None, None, {"R": 50_000})
    assert julia.calls == [("fit", given, {})]
    for bad in ({"Teff": np.nan}, {"Teff": 1e6}, {"Teff": 5700, "alpha_H": 3}, {"Teff": 5700, "vmic": np.nan}):
        with pytest.raises(ValueError, match=r"not a finite|outside"):
            korg.fit_spectrum(*data, bad, fixed_params=fixed, R=50_000)
    with pytest.raises(ValueError, match="logg must be in"):
        korg.fit_spectrum(*data, {"Teff": 5700}, R=50_000)
    with pytest.raises(DomainError, match="vturb"):
        korg.fit_spectrum(*data, {"Teff": 5700}, fixed_params=fixed, vturb=-1, R=50_000)
    assert len(julia.calls) == 1


def test_models_without_a_packaged_export_are_exported(julia: StandIn) -> None:
    korg.synthesize(teff=5777, logg=4.44, wavelengths=(5000, 5001), model="atlas9")
    path = Path(julia.calls[0][1][-1])
    assert path.read_bytes().startswith(b"sme_pinn_atmo 2\nname atlas9\n")


def test_spheres_reach_julia(julia: StandIn, tiny_sphere: Path) -> None:
    julia.labels = JULIA_LABELS | {"mass"}
    model, giant = str(tiny_sphere), {"teff": 4800.0, "logg": 1.0}
    korg.atmosphere(model=model, **giant, mass=2.0, geometry="sphere")
    korg.synthesize(model=model, **giant, wavelengths=(5000, 5001))
    korg.jacobian(model=model, **giant, wavelengths=(5000, 5001), geometry="plane")
    assert [call[2].get("geometry") for call in julia.calls] == ["sphere", None, "plane"]
    assert [call[2]["mass"] for call in julia.calls] == [2.0, 1.0, 1.0]
    data = ([5000, 5001], [1, 1], [0.01, 0.01], {"Teff": 4800.0, "logg": 1.0})
    korg.fit_spectrum(*data, model=model, mass=2.0, geometry="sphere", R=50_000)
    assert julia.calls[3][1][5:7] == (2.0, "sphere")
    with korg.using_pinn(model, mass=2.0, geometry="plane"):
        assert julia.state[2:] == (2.0, "plane")
    with pytest.raises(DomainError, match="mass"):
        korg.fit_spectrum(*data, model=model, mass=99.0, R=50_000)
    with pytest.raises(ValueError, match="geometry"):
        korg.atmosphere(model=model, **giant, geometry="cube")


@pytest.mark.parametrize("asked", [{"mass": 1.0}, {"geometry": "sphere"}])
def test_a_model_without_a_mass_has_no_spheres(julia: StandIn, asked: dict) -> None:
    with pytest.raises((TypeError, ValueError), match="mass"):
        korg.atmosphere(teff=4800, logg=2.3, **asked)
    with pytest.raises((TypeError, ValueError), match="mass"):
        korg.using_pinn(**asked).__enter__()
    assert not julia.calls


def test_derivatives_by_lines_are_of_their_groups(julia: StandIn) -> None:
    from sme_pinn_atmo import spectra

    lines = spectra.read_lines()
    groups = np.full(len(lines), -1)
    iron = np.flatnonzero(np.asarray(lines["species"]) == "Fe 1")
    groups[iron[:2]], groups[iron[5]] = (0, 1), 0
    star = {"teff": 5777, "logg": 4.44, "wavelengths": (6130.0, 6182.0, 0.02), "vmic": 1.0}
    star["abundances"] = dict.fromkeys({s.split()[0] for s in np.asarray(lines["species"])}, 0.0)
    spectrum, derivative = korg.line_jacobian(lines=lines, groups=groups, **star)
    assert derivative.shape == (len(spectrum.flux), 2)
    up = lines[:]
    up._lines.loc[iron[[0, 5]], "gflog"] += 1e-5
    change = (korg.line_jacobian(lines=up, groups=groups, **star)[0].flux - spectrum.flux) / 1e-5
    np.testing.assert_allclose(derivative[:, 0], change, atol=1e-3 * np.abs(change).max())
    assert np.abs(change).max() > 1e11
    for bad in (groups[1:], groups + 0.0, groups - 1):
        with pytest.raises(ValueError, match="groups"):
            korg.line_jacobian(lines=lines, groups=bad, **star)


def test_a_calibration_goes_through_korg(julia: StandIn, tmp_path: Path) -> None:
    """Spectra and derivatives are Korg's: log gf with which they were made come back."""
    from sme_pinn_atmo import spectra
    from sme_pinn_atmo.calibration import LineOptions
    from sme_pinn_atmo.stars.windows import Windows
    from sme_pinn_atmo.validation.calibration import recovery

    star = {"teff": 5777.0, "logg": 4.44, "monh": 0.0, "vmic": 1.0, "vmac": 3.0}
    stars = {"Sun": star, "K": {**star, "teff": 5200.0, "monh": -0.2}}
    options = LineOptions(iterations=4, shallowest=0.02, code="korg")
    given = (spectra.read_lines(), Windows(((6160.0, 6171.0),)))
    figures, found, truth = recovery(*given, stars=stars, options=options, off=8, work=tmp_path)
    seen = np.isin(found.shared.species, ("Fe 1", "Ca 1")) & (np.abs(found.change) > 0) & found.constrained
    assert seen.sum() >= 4
    assert np.abs((found.change - truth)[seen] / found.error[seen]).max() < 4
    assert np.abs((found.change - truth)[seen & (found.error < 0.02)]).max() < 0.05 < np.abs(truth[seen]).max()
    assert abs(figures["labels"]["K"]["monh"]["off"]) < 0.03
    names = {name for name, *_ in julia.calls}
    assert names == {"line_jacobian"}
    for bad in ({"waals": 0.3}, {"wavelength": 2.0}, {"hydrogen": 0.1}):
        with pytest.raises(ValueError, match="log gf alone"):
            LineOptions(code="korg", **bad)
    with pytest.raises(ValueError, match="code = 'moog'"):
        LineOptions(code="moog")


def test_jacobian_has_five_columns(julia: StandIn) -> None:
    flux, derivative = korg.jacobian(teff=5777, logg=4.44, wavelengths=(5000, 5001))
    assert flux.shape == (2,)
    assert derivative.shape == (2, 5)


def test_context_is_undone_after_an_error(julia: StandIn) -> None:
    with korg.using_pinn(vturb=2.0):
        assert julia.state == ("atlas12", 2.0, None, None)
        with korg.using_pinn("atlas9"):
            assert julia.state[0].endswith("model.pinn")
        assert julia.state == ("atlas12", 2.0, None, None)
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
    pins = json.loads((BRIDGE.parent / "juliapkg.json").read_text())["packages"]
    project = (BRIDGE / "Project.toml").read_text()
    assert f'uuid = "{pins["SMEPinnAtmo"]["uuid"]}"' in project
    assert f'Korg = "{pins["Korg"]["uuid"]}"' in project
    assert (BRIDGE.parent / pins["SMEPinnAtmo"]["path"]).is_dir()


def test_juliapkg_finds_and_understands_the_pins() -> None:
    deps = pytest.importorskip("juliapkg.deps")
    compat, packages = deps.find_requirements()
    assert compat is None or str(compat)
    package = next(p for p in packages if p.name == "SMEPinnAtmo")
    assert package.dev
    assert (Path(package.path) / "src" / "SMEPinnAtmo.jl").is_file()


def test_the_shipped_export_is_the_packaged_model(tmp_path: Path) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(main, ["export-julia", "atlas12", str(tmp_path / "atlas12.pinn")])
    assert result.exit_code == 0
    assert (BRIDGE / "models" / "atlas12.pinn").read_bytes() == (tmp_path / "atlas12.pinn").read_bytes()


real = pytest.mark.skipif(
    not {"PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"} <= set(os.environ), reason="no real Julia with Korg"
)


SUN = {"teff": 5777.0, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0}


def _temperatures(jl: Any, *labels: float) -> np.ndarray:
    return np.array(jl.Korg.get_temps(jl.Korg.interpolate_marcs(*labels, jl.SMEPinnAtmo.model_A_X())), dtype=float)


@real
@pytest.mark.korg
def test_real_korg_atmosphere_and_flux() -> None:
    jl = korg._julia()
    atm = korg.atmosphere(**SUN)
    tau, z = np.array(jl.Korg.get_tau_refs(atm)), np.array(jl.Korg.get_zs(atm))
    assert (tau > 0).all()
    assert (np.diff(tau) > 0).all()
    assert abs(np.interp(0.0, np.log(tau), z)) < 1e7  # cm
    s = korg.synthesize(**SUN, wavelengths=(5500, 5510))
    A_X = jl.SMEPinnAtmo.model_A_X()
    lines = jl.Korg.get_VALD_solar_linelist()
    m = jl.Korg.synthesize(jl.Korg.interpolate_marcs(5777.0, 4.44, A_X), lines, A_X, (5500, 5510), vmic=1.0)
    assert np.isfinite(s.flux).all()
    assert np.isfinite(s.continuum).all()
    np.testing.assert_allclose(s.wavelengths, np.array(m.wavelengths), rtol=1e-12)
    rectified = np.array(m.flux) / np.array(m.cntm)
    assert np.median(np.abs(s.flux / s.continuum / rectified - 1)) < 0.01


@real
@pytest.mark.korg
def test_real_korg_jacobian() -> None:
    # Korg cuts line profiles off at whole pixels, and its Voigt function is made of pieces: differences have steps at
    # single pixels, most of them with the default threshold.
    given: dict[str, Any] = {"wavelengths": (5501.0, 5502.0), "options": {"line_cutoff_threshold": 1e-9}}
    flux, derivative = korg.jacobian(**SUN, **given)
    s = korg.synthesize(**SUN, **given)
    np.testing.assert_allclose(flux, s.flux / s.continuum, rtol=1e-6)
    # Its own functions jump between some atmospheres by more than a derivative is worth: of several small steps the
    # best must agree, where the line is smooth (all but the worst twentieth of the pixels).
    largest = {"teff": 15.0, "logg": 0.03, "m_h": 0.01, "alpha_m": 0.01, "vturb": 0.04}
    for j, (name, most) in enumerate(largest.items()):
        errors = []
        for step in (most, most / 3, most / 10):
            shifted = (korg.synthesize(**{**SUN, name: SUN[name] + k * step}, **given) for k in (-2, -1, 1, 2))
            f = [s.flux / s.continuum for s in shifted]
            difference = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * step)
            off = np.quantile(np.abs(difference - derivative[:, j]), 0.95)
            errors.append(off / np.abs(derivative[:, j]).max())
        assert min(errors) < 1e-4, (name, errors)


@real
@pytest.mark.korg
def test_real_korg_derivatives_by_lines() -> None:
    from sme_pinn_atmo import spectra

    lines = spectra.read_lines()
    centre = np.asarray(lines["wlcent"], dtype=float)
    lines = lines[(centre > 6150) & (centre < 6175)]
    groups = np.where(np.arange(len(lines)) % 3 == 0, 0, -1)
    given = {"lines": lines, "wavelengths": (6162.0, 6166.0), "options": {"line_cutoff_threshold": 1e-9}, **SUN}
    spectrum, derivative = korg.line_jacobian(groups=groups, **given)
    ends = []
    for h in (1e-3, -1e-3):
        moved = lines[:]
        moved._lines.loc[groups == 0, "gflog"] += h
        ends.append(korg.line_jacobian(groups=np.full(len(lines), -1), **{**given, "lines": moved})[0].flux)
    difference = (ends[0] - ends[1]) / 2e-3
    off = np.quantile(np.abs(difference - derivative[:, 0]), 0.95)
    assert off < 1e-3 * np.abs(derivative).max()
    assert np.abs(derivative).max() > 0.05 * spectrum.flux.max()


@real
@pytest.mark.korg
def test_real_korg_fit() -> None:
    s = korg.synthesize(teff=5600.0, logg=4.3, m_h=-0.2, wavelengths=(5500, 5510))
    data = (s.wavelengths, s.flux / s.continuum, np.full(len(s.flux), 1e-3))
    result = korg.fit_spectrum(
        *data, {"Teff": 5700.0, "M_H": 0.0}, fixed_params={"logg": 4.3}, R=1e6, windows=[(5501.0, 5509.0)]
    )
    assert abs(float(result.best_fit_params["Teff"]) - 5600.0) < 10.0
    assert abs(float(result.best_fit_params["M_H"]) + 0.2) < 0.01


@real
@pytest.mark.korg
def test_real_korg_with_pinn_in_julia() -> None:
    jl = korg._julia()
    before = _temperatures(jl, 5777.0, 4.44)
    with korg.using_pinn():
        inside = _temperatures(jl, 5777.0, 4.44)
        with pytest.raises(Exception, match="teff = NaN"):
            _temperatures(jl, np.nan, 4.44)
    assert inside.shape != before.shape or np.abs(inside / before - 1).max() > 1e-4
    with pytest.raises(RuntimeError, match="stop"), korg.using_pinn():
        raise RuntimeError("stop")
    np.testing.assert_array_equal(_temperatures(jl, 5777.0, 4.44), before)
    teff, m_h = jl.seval("""
        with_pinn() do
            w, flux, _ = synth(Teff=5600, logg=4.3, M_H=-0.2, wavelengths=(5500, 5510), R=50_000)
            fit = Korg.Fit.fit_spectrum(w, flux, fill(1e-3, length(w)), Korg.get_VALD_solar_linelist(),
                                        (Teff=5700, M_H=0.0), (; logg=4.3); R=50_000, windows=[(5501, 5509)])
            (fit.best_fit_params["Teff"], fit.best_fit_params["M_H"])
        end""")
    assert abs(teff - 5600.0) < 10.0
    assert abs(m_h + 0.2) < 0.01
    np.testing.assert_array_equal(_temperatures(jl, 5777.0, 4.44), before)


@pytest.mark.parametrize("name", sorted(p.stem for p in (BRIDGE / "models").glob("*.pinn")))
def test_the_golden_file_of_the_julia_package_is_of_the_packaged_model(name: str) -> None:
    path = BRIDGE / "test" / "golden" / f"{name}.bin"
    if not (BRIDGE / "test").is_dir():
        pytest.skip("not in a clone")
    head, _, data = path.read_bytes().partition(b"\n")
    n, n_label, n_field, n_depth, n_tau = map(int, head.split())
    stars = np.frombuffer(data, "<f8")[n_tau:].reshape(n, -1)
    x = stars[:, :n_label]
    value = stars[:, n_label : n_label + n_field * n_depth].reshape(n, n_field, n_depth)
    here = Emulator.load(name).network.log_profiles(x)
    np.testing.assert_allclose(value, here, atol=1e-9, err_msg="made anew by: sme-pinn-atmo export-julia --all")

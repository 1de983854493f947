"""PinnAtmosphereGrid in real PySME, unmodified on disk."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

from pysme.abund import Abund
from pysme.atmosphere.atmosphere import Atmosphere, AtmosphereGrid
from pysme.sme import SME_Structure
from pysme.solve import SME_Solver, solve
from pysme.synthesize import Synthesizer, synthesize_spectrum

from sme_pinn_atmo import DomainError, PinnAtmosphereGrid, composition, models
from sme_pinn_atmo.codes.continuum import tau_5000
from sme_pinn_atmo.codes.pysme import OutsideDomainError, register, star_labels
from sme_pinn_atmo.demo import line_list
from sme_pinn_atmo.emulator import ModelFileError

DOCS = Path(__file__).parents[1] / "docs" / "pysme.md"

WAVE = np.arange(6160.0, 6167.0, 0.05)


@pytest.fixture(scope="module")
def grid() -> PinnAtmosphereGrid:
    return PinnAtmosphereGrid("atlas12")


def star(source: Any, **labels: float) -> SME_Structure:
    sme = SME_Structure()
    lines = line_list()
    centre = np.asarray(lines["wlcent"])
    sme.linelist = lines[(centre > 6155) & (centre < 6172)]
    sme.teff, sme.logg, sme.monh, sme.vmic = 5777.0, 4.44, 0.0, 1.0
    sme.abund = Abund(monh=0.0, pattern="asplund2009")
    sme.vsini, sme.vmac = 2.0, 0.0
    sme.wave = WAVE
    sme.vrad_flag = sme.cscale_flag = "none"
    sme.atmo.source, sme.atmo.method = source, "grid"
    for name, value in labels.items():
        setattr(sme, name, value)
    return sme


def test_synthesis_twice_on_the_same_object(grid: PinnAtmosphereGrid) -> None:
    sme = star(grid)
    first = np.array(synthesize_spectrum(sme).synth[0])
    again = synthesize_spectrum(sme)
    np.testing.assert_array_equal(first, again.synth[0])
    assert again.atmo.source is grid
    assert first.min() < 0.6 < 0.97 < first.max()


def test_two_segments(grid: PinnAtmosphereGrid) -> None:
    sme = star(grid)
    sme.wave = [WAVE[:60], WAVE[80:]]
    synth = synthesize_spectrum(sme).synth
    whole = synthesize_spectrum(star(grid)).synth[0]
    np.testing.assert_allclose(synth[0], whole[:60], atol=2e-3)
    np.testing.assert_allclose(synth[1], whole[80:], atol=2e-3)


def test_the_atmosphere_is_the_emulators(grid: PinnAtmosphereGrid) -> None:
    atmo = Synthesizer().get_atmosphere(star(grid, teff=6100.0, vmic=1.5)).atmo
    expected = grid.emulator.predict(**star_labels(star(grid, teff=6100.0, vmic=1.5), grid))
    np.testing.assert_array_equal(atmo.temp, expected.temperature)
    np.testing.assert_array_equal(atmo.xne, expected.electron_density)
    np.testing.assert_array_equal(atmo.rhox, expected.rhox)
    np.testing.assert_allclose(atmo.rho, expected.density)
    assert (atmo.geom, atmo.depth, atmo.wlstd, len(atmo.opflag)) == ("PP", "RHOX", 5000.0, 20)
    assert "atlas12" in atmo.citation_info


@pytest.mark.parametrize("parameters", [["teff", "logg", "monh"], ["teff", "vmic", "abund Mg"]])
def test_solve_recovers_the_labels(grid: PinnAtmosphereGrid, parameters: list[str]) -> None:
    truth = synthesize_spectrum(star(grid))
    sme = star(grid, teff=5900.0, **({"logg": 4.2, "monh": -0.1} if "logg" in parameters else {"vmic": 1.2}))
    sme.spec, sme.uncs = np.array(truth.synth[0]), np.full(len(WAVE), 0.01)
    sme = solve(sme, parameters)
    assert abs(sme.teff - 5777.0) < 1.0
    assert sme.atmo.source is grid
    if "logg" in parameters:
        assert abs(sme.logg - 4.44) < 0.005


def test_bounds_are_the_domains(grid: PinnAtmosphereGrid) -> None:
    solver = SME_Solver()
    solver.parameter_names = ["teff", "vsini", "logg", "monh", "vmic"]
    sme = star(grid)
    bounds = solver.get_bounds(sme)
    domain = grid.emulator.domain
    for j, name in ((0, "teff"), (2, "logg"), (3, "m_h"), (4, "vturb")):
        k = domain.labels.index(name)
        assert tuple(bounds[:, j]) == pytest.approx((domain.lower[k], domain.upper[k]))
    assert sme.atmo.source is grid


def test_a_star_outside_is_named_and_left_as_it_was(grid: PinnAtmosphereGrid) -> None:
    sme = star(grid, teff=9000.0, logg=0.1)
    with pytest.raises(OutsideDomainError, match="logg"):
        synthesize_spectrum(sme)
    assert sme.atmo.source is grid
    assert (sme.teff, sme.logg) == (9000.0, 0.1)
    sme.spec, sme.uncs = np.ones(len(WAVE)), np.full(len(WAVE), 0.01)
    with pytest.raises(OutsideDomainError, match="starts outside"):
        solve(sme, ["teff", "logg"])
    assert sme.atmo.source is grid


def test_copies_and_pickles(grid: PinnAtmosphereGrid) -> None:
    for other in (copy.copy(grid), copy.deepcopy(grid), pickle.loads(pickle.dumps(grid))):
        assert isinstance(other, PinnAtmosphereGrid)
        assert str(other) == str(grid)
        np.testing.assert_array_equal(other.teff, grid.teff)
    assert len(pickle.dumps(grid)) < 1000
    sme = copy.deepcopy(star(grid))
    np.testing.assert_array_equal(synthesize_spectrum(sme).synth[0], synthesize_spectrum(star(grid)).synth[0])


def test_save_load_and_go_on(tmp_path: Path) -> None:
    grid = PinnAtmosphereGrid("atlas12", vturb=1.0, follow_abundances=False)
    sme = synthesize_spectrum(star(grid))
    flux = np.array(sme.synth[0])
    sme.save(str(tmp_path / "star.sme"))
    assert sme.atmo.source is grid
    loaded = SME_Structure.load(str(tmp_path / "star.sme"))
    np.testing.assert_allclose(synthesize_spectrum(loaded).synth[0], flux, rtol=1e-12)
    assert loaded.atmo.source.options == grid.options
    loaded.spec, loaded.uncs = flux, np.full(len(WAVE), 0.01)
    loaded.teff += 50
    assert abs(solve(loaded, ["teff"]).teff - 5777.0) < 0.5


def test_another_process_makes_the_same_grid(grid: PinnAtmosphereGrid, tmp_path: Path) -> None:
    (tmp_path / "grid.pickle").write_bytes(pickle.dumps(grid))
    code = "import pickle, sys; g = pickle.load(open(sys.argv[1], 'rb')); print(str(g), len(g), float(g.temp.sum()))"
    command = [sys.executable, "-c", code, str(tmp_path / "grid.pickle")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert out[-3:] == [str(grid), str(len(grid)), str(float(grid.temp.sum()))]


def test_it_is_a_grid_to_pysme(grid: PinnAtmosphereGrid) -> None:
    assert isinstance(grid, AtmosphereGrid)
    assert len(grid) == len(grid.teff) > 100
    node = grid[7]
    assert isinstance(node, Atmosphere)
    expected = grid.emulator.predict(teff=float(node.teff), logg=float(node.logg), m_h=float(node.monh))
    np.testing.assert_allclose(node.temp, expected.temperature, rtol=1e-6)


def test_labels_follow_the_star(grid: PinnAtmosphereGrid) -> None:
    sme = star(grid, vmic=1.7)
    base = star_labels(sme, grid)
    assert base == pytest.approx({"teff": 5777, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.7}, abs=1e-9)
    pattern = sme.abund.get_pattern("H=12")
    alpha = {el: pattern[el] + 0.3 for el in ("O", "Ne", "Mg", "Si", "S", "Ar", "Ca", "Ti")}
    sme.abund = Abund(monh=-0.5, pattern={**pattern, **alpha}, type="H=12")
    sme.monh = -0.5
    labels = star_labels(sme, grid)
    assert labels["m_h"] == pytest.approx(-0.5)
    assert labels["alpha_m"] == pytest.approx(0.3)
    fixed = star_labels(sme, PinnAtmosphereGrid("atlas12", vturb=2.0, follow_abundances=False))
    assert (fixed["alpha_m"], fixed["vturb"], fixed["m_h"]) == (0.0, 2.0, -0.5)


def test_other_sources_are_left_as_they_were(grid: PinnAtmosphereGrid) -> None:
    table = AtmosphereGrid(8, 80)
    nodes = [(t, g, m) for t in (5500, 6000) for g in (4.0, 5.0) for m in (-0.5, 0.5)]
    for i, (t, g, m) in enumerate(nodes):
        a = grid.emulator.predict(teff=t, logg=g, m_h=m)
        columns = {
            "teff": t, "logg": g, "monh": m, "temp": a.temperature, "rhox": a.rhox, "tau": a.tau_ross,
            "rho": a.density, "xna": a.atom_density, "xne": a.electron_density, "vturb": 1.0, "lonh": 0,
            "radius": 1, "height": 0, "wlstd": 5000, "opflag": 1, "abund": 0,
        }  # fmt: skip
        for name, value in columns.items():
            table[name][i] = value
    hooked = Synthesizer().get_atmosphere(star(table)).atmo
    plain = Synthesizer.get_atmosphere.__wrapped__(Synthesizer(), star(table)).atmo
    assert not isinstance(plain.source, PinnAtmosphereGrid)
    np.testing.assert_array_equal(hooked.temp, plain.temp)
    embedded = star(table)
    embedded.atmo = copy.deepcopy(plain)
    embedded.atmo.method = "embedded"
    before = np.array(synthesize_spectrum(embedded).synth[0])
    synthesize_spectrum(star(grid))
    np.testing.assert_array_equal(before, synthesize_spectrum(embedded).synth[0])


def test_the_hook_is_applied_once_and_checks_what_it_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Synthesizer.get_atmosphere
    register()
    assert Synthesizer.get_atmosphere is first

    def another(self: Any, sme: Any, extra: Any) -> None: ...

    monkeypatch.setattr(SME_Solver, "get_bounds", another)
    with pytest.raises(RuntimeError, match=r"PySME .*get_bounds"):
        register()


def test_a_composition_that_does_not_fit_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "_said", set())
    grid, follows_not = PinnAtmosphereGrid("atlas12"), PinnAtmosphereGrid("atlas12", follow_abundances=False)
    rich = star(grid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PySME 1.2 would have it written otherwise
        rich.abund["C"] += 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pattern in ("asplund2009", "grevesse2007"):
            grid.atmosphere(star(grid, monh=-0.5, abund=Abund(monh=-0.5, pattern=pattern)))
        follows_not.atmosphere(rich)
    with pytest.warns(composition.CompositionWarning, match=r"atlas12 was computed with: C by \+0\.50 dex"):
        grid.atmosphere(rich)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid.atmosphere(rich)


@pytest.fixture(scope="module")
def spheres(tiny_sphere: Path) -> PinnAtmosphereGrid:
    return PinnAtmosphereGrid(str(tiny_sphere))


def test_giants_are_spheres_to_pysme(spheres: PinnAtmosphereGrid) -> None:
    giant = star(spheres, teff=4800.0, logg=1.0)
    atmo = spheres.atmosphere(giant)
    expected = spheres.emulator.predict(**star_labels(giant, spheres))
    assert expected.geometry == "sphere"
    assert (atmo.geom, atmo.depth) == ("SPH", "RHOX")
    assert atmo.radius == expected.radius == pytest.approx(np.sqrt(1.32712440e26 / 10.0))
    # As PySME reads them of MARCS files: cm above tau_ross = 1, outermost layer first.
    np.testing.assert_array_equal(atmo.height, expected.height)
    assert atmo.height[0] > 0 > atmo.height[-1]
    np.testing.assert_array_equal(atmo.rho, expected.profile("density"))
    assert spheres.atmosphere(star(spheres, logg=4.0)).geom == "PP"
    assert spheres.atmosphere(star(spheres, logg=4.0)).radius == 1.0


def test_mass_and_geometry_are_options_of_the_grid(spheres: PinnAtmosphereGrid, tiny_sphere: Path) -> None:
    giant = {"teff": 4800.0, "logg": 1.0}
    one = spheres.atmosphere(star(spheres, **giant))
    heavy = PinnAtmosphereGrid(str(tiny_sphere), mass=4.0)
    assert heavy.atmosphere(star(heavy, **giant)).radius == pytest.approx(2 * one.radius)
    flat = PinnAtmosphereGrid(str(tiny_sphere), geometry="plane")
    assert flat.atmosphere(star(flat, **giant)).geom == "PP"
    round_ = PinnAtmosphereGrid(str(tiny_sphere), geometry="sphere", mass=2.0)
    assert round_.atmosphere(star(round_, logg=4.0)).geom == "SPH"
    copies = pickle.loads(pickle.dumps(round_)), copy.deepcopy(round_), PinnAtmosphereGrid.from_source(str(round_))
    for again in copies:
        assert (again.options["mass"], again.options["geometry"]) == (2.0, "sphere")
    # The table that a grid shows: planes have radius 1, as in PySME's own.
    giants = spheres["logg"] <= 3
    assert (spheres["radius"][giants] > 1e9).all()
    assert (spheres["radius"][~giants] == 1).all()
    assert (flat["radius"] == 1).all()


@pytest.mark.parametrize(("options", "error"), [({"mass": 99.0}, DomainError), ({"geometry": "cube"}, ValueError)])
def test_bad_options_of_spheres(tiny_sphere: Path, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        PinnAtmosphereGrid(str(tiny_sphere), **options)


@pytest.mark.parametrize(("options", "error"), [({"mass": 1.0}, TypeError), ({"geometry": "sphere"}, ValueError)])
def test_a_model_without_a_mass_has_no_spheres(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="mass"):
        PinnAtmosphereGrid("atlas12", **options)


def test_pysme_computes_the_sphere(tmp_path: Path, spheres: PinnAtmosphereGrid, tiny_sphere: Path) -> None:
    """A sphere has another spectrum than the plane of the same layers, and goes through a file and a fit."""
    giant = {"teff": 4800.0, "logg": 0.3, "vmic": 1.5, "wave": WAVE[60:110]}
    sphere = synthesize_spectrum(star(spheres, **giant))
    assert sphere.atmo.geom == "SPH"

    class AsPlane(PinnAtmosphereGrid):
        def atmosphere(self, sme: Any) -> Atmosphere:
            atmo = super().atmosphere(sme)
            atmo.geom = "PP"
            return atmo

    plane = synthesize_spectrum(star(AsPlane(str(tiny_sphere)), **giant))
    assert plane.atmo.geom == "PP"
    difference = np.abs(sphere.synth[0] - plane.synth[0]).max()
    assert 1e-4 < difference < 0.3
    sphere.save(str(tmp_path / "giant.sme"))
    loaded = SME_Structure.load(str(tmp_path / "giant.sme"))
    np.testing.assert_allclose(synthesize_spectrum(loaded).synth[0], sphere.synth[0], atol=1e-6)
    assert loaded.atmo.geom == "SPH"
    loaded.spec, loaded.uncs, loaded.teff = sphere.synth, 0.01, 4850.0
    assert solve(loaded, ["teff"]).teff == pytest.approx(4800.0, abs=2)


@pytest.mark.parametrize(("options", "error"), [({"model": "atlas99"}, ValueError), ({"vturb": 99.0}, DomainError)])
def test_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        PinnAtmosphereGrid(**options)


@pytest.mark.parametrize("parameters", [["vsini", "vmac"], ["logg", "abund Fe"], ["monh", "vsini", "vrad"]])
def test_solve_takes_other_mixes(grid: PinnAtmosphereGrid, parameters: list[str]) -> None:
    truth = synthesize_spectrum(star(grid, vmac=3.0))
    sme = star(grid, vmac=3.0)
    moved = {"vsini": 3.0, "vmac": 2.0, "logg": 4.3, "monh": -0.1}
    for name in set(parameters) & set(moved):
        setattr(sme, name, moved[name])
    sme.spec, sme.uncs = np.array(truth.synth[0]), np.full(len(WAVE), 0.01)
    if "vrad" in parameters:
        sme.vrad_flag = "whole"
    sme = solve(sme, parameters)
    assert np.abs(sme.synth[0] - truth.synth[0]).max() < 2e-3
    assert sme.atmo.source is grid


def test_a_fit_that_walks_out_stays_inside(grid: PinnAtmosphereGrid) -> None:
    """The spectrum is that of a star above the domain's metallicity: the fit ends at the edge."""
    top = grid.bounds("monh")
    assert top is not None
    truth = synthesize_spectrum(star(PinnAtmosphereGrid("atlas12", follow_abundances=False), monh=top[1]))
    sme = star(grid, monh=top[1] - 0.1)
    sme.spec, sme.uncs = np.array(truth.synth[0]) ** 1.5, np.full(len(WAVE), 0.01)
    sme = solve(sme, ["monh"])
    assert top[1] - 0.05 < sme.monh <= top[1]
    assert sme.atmo.source is grid


def test_two_grids_in_one_process() -> None:
    a12, a9 = PinnAtmosphereGrid("atlas12"), PinnAtmosphereGrid("atlas9")
    fluxes = [np.array(synthesize_spectrum(star(g)).synth[0]) for g in (a12, a9, a12)]
    # PySME's own spectra depend that much on what its library has computed before.
    np.testing.assert_allclose(fluxes[0], fluxes[2], atol=5e-5)
    assert 1e-4 < np.abs(fluxes[0] - fluxes[1]).max() < 0.05
    sme = star(a12)
    synthesize_spectrum(sme)
    sme.atmo.source = a9
    changed = synthesize_spectrum(sme)
    np.testing.assert_array_equal(changed.atmo.temp, a9.atmosphere(star(a9)).temp)
    np.testing.assert_allclose(changed.synth[0], fluxes[1], atol=5e-5)


def test_threads_give_the_same_atmospheres(grid: PinnAtmosphereGrid) -> None:
    teff = np.linspace(5000.0, 6500.0, 16)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda t: grid.atmosphere(star(grid, teff=t)).temp, teff))
    for t, temp in zip(teff, together, strict=True):
        np.testing.assert_array_equal(temp, grid.atmosphere(star(grid, teff=t)).temp)


def _flux(sme: SME_Structure) -> Any:
    sme = synthesize_spectrum(sme)
    return np.array(sme.synth[0]), np.array(sme.atmo.temp)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_synthesis_in_other_processes(grid: PinnAtmosphereGrid, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    stars = [star(grid, teff=t) for t in (5600.0, 5900.0)]
    with multiprocessing.get_context(method).Pool(1) as pool:
        fluxes = pool.map_async(_flux, stars).get(timeout=120)
    for sme, (flux, temp) in zip(stars, fluxes, strict=True):
        here = _flux(sme)
        np.testing.assert_array_equal(temp, here[1])
        # PySME's own spectra depend that much on what its library has computed before.
        np.testing.assert_allclose(flux, here[0], atol=5e-5)


def test_densities_agree_with_pysmes_equation_of_state(grid: PinnAtmosphereGrid) -> None:
    """In the layers that form lines; PySME solves its own equilibrium, whose electrons differ by 2.5 per cent."""
    sme = star(grid)
    synthesizer = Synthesizer()
    sme = synthesizer.synthesize_spectrum(sme)
    dll = synthesizer.get_dll()
    atmo = sme.atmo
    forming = (atmo.tau > 1e-4) & (atmo.tau < 10)
    np.testing.assert_allclose(atmo.rho[forming], np.asarray(dll.GetDensity())[forming], rtol=0.002)
    np.testing.assert_allclose(atmo.xna[forming], np.asarray(dll.GetNatom())[forming], rtol=0.002)
    np.testing.assert_allclose(atmo.xne[forming], np.asarray(dll.GetNelec())[forming], rtol=0.05)


def test_tau_is_that_at_5000_where_an_element_is_in_nlte(grid: PinnAtmosphereGrid) -> None:
    sme = star(grid)
    model = grid.emulator.predict(**star_labels(sme, grid))
    np.testing.assert_array_equal(grid.atmosphere(sme).tau, model.tau_ross)
    sme.nlte.set_nlte("Ca", "some_departure_grid.grd")
    tau = grid.atmosphere(sme).tau
    np.testing.assert_array_equal(tau, tau_5000(model))
    ratio = np.interp(0.0, np.log(model.tau_ross), tau / model.tau_ross)
    assert 0.7 < ratio < 0.9


def test_citation_names_the_model(grid: PinnAtmosphereGrid) -> None:
    text = synthesize_spectrum(star(grid)).citation()
    assert "2507.06357" in text
    assert "atlas12" in text


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    source = models()["atlas12"]
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(data)
    (tmp_path / "bad.json").write_text(source.with_suffix(".json").read_text())
    assert json.loads((tmp_path / "bad.json").read_text())["name"] == "atlas12"
    with pytest.raises(ModelFileError, match="sha256"):
        PinnAtmosphereGrid(str(tmp_path / "bad.safetensors"))


def test_pysme_missing_is_said_plainly() -> None:
    code = "import sys; sys.modules['pysme'] = None; import sme_pinn_atmo as s; s.PinnAtmosphereGrid"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "PinnAtmosphereGrid needs PySME: pip install" in result.stderr


def _departure_grid(path: Path, atmosphere: Any, b: float) -> None:
    """A departure grid of PySME's layout: two levels of Ca 1, one and the same departure b everywhere."""
    from pysme.nlte import DirectAccessFile

    axes = {"teff": [5000.0, 6500.0], "grav": [4.0, 5.0], "feh": [-0.5, 0.5], "abund": [-0.5, 0.5]}
    depth = 10.0 ** np.linspace(np.log10(atmosphere.tau[0]) - 0.1, np.log10(atmosphere.tau[-1]) + 0.1, 20)
    names = np.array([f"model{i:02d}" for i in range(16)]).reshape(2, 2, 2, 2)
    fields: dict[str, Any] = {
        **{k: np.array(v) for k, v in axes.items()},
        "tau": np.broadcast_to(depth, (2, 2, 2, len(depth))).copy(),
        "models": names, "conf": np.array(["3p6.4s.4p", "3p6.4s.5s"]), "term": np.array(["3P*", "3S"]),
        "spec": np.array(["Ca 1", "Ca 1"]), "J": np.array([2.0, 1.0]), "energy": np.array([1.899, 3.910]),
        "citation": np.array("none"),
        **{str(n): np.tile([[b], [1.0]], (1, len(depth))) for n in names.ravel()},
    }  # fmt: skip
    # The file's directory has shapes the other way round.
    DirectAccessFile.write(str(path), **{k: v.reshape(v.shape[::-1]) for k, v in fields.items()})


def test_departure_grids_are_accepted(grid: PinnAtmosphereGrid, tmp_path: Path) -> None:
    """The lower level of Ca 1 6162 overpopulated twice: a stronger line, other lines as they were."""
    from pysme.linelist.linelist import LineList

    sme = star(grid)
    lines = sme.linelist._lines[["species", "wlcent", "excit", "gflog", "gamrad", "gamqst", "gamvw", "lande", "depth",
                                 "reference"]].copy()  # fmt: skip
    ca = (lines["species"] == "Ca 1") & (np.abs(lines["wlcent"] - 6162.17) < 0.05)
    lines = lines[ca | (lines["species"] != "Ca 1")].reset_index(drop=True)
    ca = lines["species"] == "Ca 1"
    assert ca.sum() == 1
    empty = {"term_lower": "LS none none", "term_upper": "LS none none", "couplelow": "", "coupleup": "",
             "j_lo": 0.0, "j_up": 0.0, "e_upp": 0.0, "error": 0.5, "lande_lower": 0.0, "lande_upper": 0.0}  # fmt: skip
    for name, value in empty.items():
        lines[name] = value
    lines["e_upp"] = lines["excit"] + 2.0
    lines.loc[ca, ["term_lower", "term_upper"]] = ["3p6.4s.4p 3P*", "3p6.4s.5s 3S"]
    lines.loc[ca, ["j_lo", "j_up", "e_upp"]] = [2.0, 1.0, 3.910]
    sme.linelist = LineList(lines, lineformat="long", medium="air")
    lte = np.array(synthesize_spectrum(sme).synth[0])
    path = tmp_path / "ca.grd"
    sme.nlte.set_nlte("Ca", str(path))
    _departure_grid(path, grid.atmosphere(sme), 2.0)
    nlte = np.array(synthesize_spectrum(sme).synth[0])
    line = np.abs(WAVE - 6162.17) < 0.3
    assert (nlte - lte)[line].min() < -0.02
    assert np.abs(nlte - lte)[np.abs(WAVE - 6162.17) > 2.5].max() < 0.005


def test_the_example_of_the_docs_runs_as_written(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    (complete,) = [e for e in examples if "SME_Structure()" in e]
    command = [sys.executable, "-c", complete]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    teff, source = result.stdout.split()[-2:]
    assert abs(float(teff) - 5777) < 1
    assert source == "pinn:atlas12"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("follow", [True, False])
def test_a_fit_of_abundances_alone_moves_the_atmosphere(follow: bool) -> None:
    """PySME 1.2 keeps one atmosphere in such a fit, unless told not to."""
    grid = PinnAtmosphereGrid("atlas9", follow_abundances=follow)
    rich = star(grid)
    pattern = rich.abund.get_pattern("H=12")
    more = {el: pattern[el] + 0.3 for el in ("Mg", "Si")}
    rich.abund = Abund(monh=0.0, pattern={**pattern, **more}, type="H=12")
    sme = star(grid)
    sme.spec, sme.uncs = np.array(synthesize_spectrum(rich).synth[0]), np.full(len(WAVE), 0.001)
    before = np.array(grid.atmosphere(sme).temp)
    sme = solve(sme, ["abund Fe", "abund Si"])
    at_the_end = grid.atmosphere(sme)
    moved = np.abs(sme.atmo.temp - before).max()
    assert moved > 1.0 if follow else moved == 0.0
    # PySME's last synthesis is that of a derivative, a small step from the result.
    assert np.abs(sme.atmo.temp - at_the_end.temp).max() <= 0.1 * moved

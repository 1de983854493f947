"""Fits of stars on real PySME: spectra that PySME's own synthesis made, with noise, and what can be wrong with one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo import spectra
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator.labels import DomainError
from sme_pinn_atmo.stars.errors import (
    EXTERNAL_AS_IT_IS,
    PARTS,
    _decided,
    block_bootstrap,
    correlation_factor,
    leave_windows_out,
)
from sme_pinn_atmo.stars.fit import Options, StarFit, fit_star
from sme_pinn_atmo.stars.instrument import LineSpread, disk_flux
from sme_pinn_atmo.stars.lines import read_lines
from sme_pinn_atmo.stars.many import collect, fit_many, read_catalogue
from sme_pinn_atmo.stars.model import cut
from sme_pinn_atmo.stars.parameters import Parameters, limits, parse_prior, parse_tie
from sme_pinn_atmo.stars.settings import Settings
from sme_pinn_atmo.stars.spectrum import ObservedSpectrum
from sme_pinn_atmo.stars.synthesis import Synthesis
from sme_pinn_atmo.stars.windows import WINDOW_SETS, Windows

C = 299792.458
TRUTH = {"teff": 5777.0, "logg": 4.44, "monh": 0.0, "vmac": 3.0, "resolution": 30_000.0}
WINDOWS = Windows(((6150.0, 6158.0), (6159.0, 6166.0)))


@pytest.fixture(scope="module")
def clean() -> tuple[np.ndarray, np.ndarray]:
    """A solar spectrum as PySME makes it from beginning to end: its own disk integration and instrument."""
    wave = np.arange(6146.0, 6170.0, 0.04)
    return wave, spectra.synthesize("atlas12", wave, spectra.read_lines(), **TRUTH)


@pytest.fixture(scope="module")
def observed(clean: tuple[np.ndarray, np.ndarray]) -> ObservedSpectrum:
    """With noise, a velocity, and a tilted continuum."""
    wave, flux = clean
    noise = np.random.default_rng(3).normal(0, 0.004, len(wave))
    tilted = (flux + noise) * (1.03 + 0.002 * (wave - 6158))
    return ObservedSpectrum.from_arrays(wave * (1 + 25.3 / C), tilted, 0.004, name="mock")


@pytest.fixture(scope="module")
def fitted(observed: ObservedSpectrum) -> StarFit:
    start = {**TRUTH, "teff": 5500.0, "logg": 4.2, "monh": -0.2}
    return fit_star(observed, WINDOWS, spectra.read_lines(), Parameters(start, ("teff", "logg", "monh")),
                    options=Options(floor=0.0, line_scatter=0.0))  # fmt: skip


def test_the_star_comes_out_with_its_velocity(fitted: StarFit) -> None:
    for name, value in fitted.values.items():
        assert type(value) is float
        own = (fitted.errors.total[name] ** 2 - fitted.errors.external[name] ** 2) ** 0.5  # which a mock star has not
        assert abs(value - TRUTH[name]) < 3.5 * own
        assert own < {"teff": 60, "logg": 0.15, "monh": 0.05}[name]
    assert fitted.velocity == pytest.approx(25.3, abs=0.1)
    assert 0.8 < fitted.reduced_chi2 < 1.2
    assert fitted.explained > 0.99
    assert fitted.converged
    assert not fitted.stopped
    assert not [w for w in fitted.warnings if "vacuum" in w or "explains" in w]


def test_a_fit_from_far_away_is_done_once_more_from_its_end(observed: ObservedSpectrum, fitted: StarFit) -> None:
    said: list[str] = []
    start = {**TRUTH, "teff": 6500.0, "logg": 4.0, "monh": -0.4}
    options = Options(velocity="window", floor=0.0, points=0.0)
    parameters = Parameters(start, ("teff", "logg", "monh"))
    far = fit_star(observed, WINDOWS, spectra.read_lines(), parameters, options=options, progress=said.append)
    once = [i for i, text in enumerate(said) if "once more from here" in text]
    assert len(once) == 1
    assert far.iterations == len(said) - 1
    said.clear()
    near = fit_star(observed, WINDOWS, spectra.read_lines(), replace(parameters, start={**start, **fitted.values}),
                    options=options, progress=said.append)  # fmt: skip
    assert far.syntheses > near.syntheses
    assert not [text for text in said if "once more" in text]
    for name, value in near.values.items():
        assert abs(far.values[name] - value) < 0.3 * near.errors.scaled[name]


def test_parts_of_the_errors(fitted: StarFit) -> None:
    for name in fitted.values:
        formal, scaled, atmosphere, lines, external = (getattr(fitted.errors, p)[name] for p in ("formal", *PARTS))
        assert all(0 < p < 10 * fitted.errors.total[name] for p in (formal, scaled, atmosphere, lines))
        assert external == EXTERNAL_AS_IT_IS.get(name, 0.0)
        total = np.sqrt(max(scaled, lines) ** 2 + atmosphere**2 + external**2)
        assert fitted.errors.total[name] == pytest.approx(total)
        # A prior that is as sharp as the result leaves nothing to the spectrum, one twice as wide three quarters.
        for prior, share in ((10.0, 0.0), (20.0, 0.75), (np.inf, 1.0)):
            assert _decided(np.array([10.0]), [name], {name: (0.0, prior)})[0] == pytest.approx(share)
    assert len(fitted.lines) > 5
    assert abs(np.median(fitted.lines["delta"])) < 0.1


def test_own_instrument_is_pysmes(clean: tuple[np.ndarray, np.ndarray]) -> None:
    """Two disk integrations, macroturbulences and instruments, on the same transfer."""
    wave, flux = clean
    synthesis = Synthesis("atlas12", spectra.read_lines(), [(6150, 6166)], step=0.6)
    (made,) = synthesis.intensities({"teff": 5777, "logg": 4.44})
    own = disk_flux(made.mu, made.line, 0.6, vmac=3.0) / disk_flux(made.mu, made.continuum, 0.6)
    own = LineSpread(30_000).apply(made.wave, own, 0.6)
    inner = (wave > 6150.5) & (wave < 6165.5)
    np.testing.assert_allclose(np.interp(wave[inner], made.wave, own), flux[inner], atol=1.5e-3)


def test_weak_lines_in_the_veil_are_what_pysme_makes_of_them() -> None:
    """All lines through PySME against those that matter, with the veil and without it."""
    lines = spectra.read_lines()
    weaker = lines[np.ones(len(lines), dtype=bool)]
    weaker._lines = weaker._lines.assign(gflog=weaker._lines["gflog"] - 2.3)
    window, star = [(6150.0, 6166.0)], {"teff": 5777.0, "logg": 4.44}
    whole = Synthesis("atlas12", weaker, window, step=1.0)
    (all_,) = whole.intensities(star)
    cut_ = Synthesis("atlas12", weaker, window, step=1.0, threshold=(0.01, 0.0))
    chosen = cut_.select(star)
    cut_.use(chosen)
    assert 2 < chosen.strong.sum() < 20
    assert chosen.weak.sum() > 3
    (few,) = cut_.intensities(star)
    want, got = (
        LineSpread(30_000).apply(i.wave, disk_flux(i.mu, i.line * i.veil, 1.0) / disk_flux(i.mu, i.continuum, 1.0), 1.0)
        for i in (all_, few)
    )
    without = LineSpread(30_000).apply(few.wave, disk_flux(few.mu, few.line, 1.0)
                                       / disk_flux(few.mu, few.continuum, 1.0), 1.0)  # fmt: skip
    assert np.abs(want - without).max() > 5e-4
    assert np.abs(want - got).max() < 1.5e-4


def test_lines_that_may_be_wrong_say_less(observed: ObservedSpectrum) -> None:
    """Ten or so lines of errors of 0.3 dex each cannot say more of the metallicity than 0.1 dex or so."""
    few = Windows(((6150.0, 6158.0),))
    quick = Options(floor=0.0, clip=0, atmosphere_errors=False)
    exact, rough = (
        fit_star(observed, few, spectra.read_lines(), Parameters({**TRUTH, "monh": -0.1}, ("monh",)),
                 options=replace(quick, line_scatter=scatter)).errors for scatter in (0.0, 0.3)
    )  # fmt: skip
    assert exact.scaled["monh"] < 0.02
    assert 0.05 < rough.scaled["monh"] < 0.2
    # A zero point of the list that is 0.1 dex off is one of the metallicity.
    assert np.sqrt(rough.total["monh"] ** 2 - rough.scaled["monh"] ** 2) > 0.07


def test_a_prior_pulls_and_a_tie_follows(observed: ObservedSpectrum) -> None:
    start = {**TRUTH, "Ca": 0.0}
    parameters = Parameters(start, ("logg", "Ca"), {"logg": (4.0, 0.001)}, {"Si": "Ca"})
    fit = fit_star(observed, WINDOWS, spectra.read_lines(), parameters,
                   options=Options(line_errors=False, atmosphere_errors=False, line_scatter=0.0))  # fmt: skip
    assert fit.values["logg"] == pytest.approx(4.0, abs=0.005)
    assert fit.fixed["Si"] == fit.values["Ca"]
    assert 0.005 < abs(fit.values["Ca"]) < 0.3


def test_what_is_wrong_is_said(observed: ObservedSpectrum, clean: tuple[np.ndarray, np.ndarray]) -> None:
    lines, free, few = spectra.read_lines(), Parameters(TRUTH, ("monh",)), Windows(((6151.0, 6156.0),))
    quick = Options(line_errors=False, atmosphere_errors=False, iterations=1, clip=0)
    wave, flux = clean
    raw = ObservedSpectrum.from_arrays(wave, flux * 3e4, flux * 100, name="raw")
    with pytest.raises(ValueError, match=r"flux of raw is near 3e\+04 where it should be near 1"):
        fit_star(raw, few, lines, free, options=quick)
    assert fit_star(raw, few, lines, free, options=replace(quick, normalise=True)).explained > 0.99
    with pytest.raises(ValueError, match=r"6146\.0 to 6170\.0 A and has no good points in the windows 6171-6175"):
        fit_star(ObservedSpectrum.from_arrays(wave, flux, 0.01, name="x"), Windows(((6171.0, 6175.0),)), lines, free,
                 options=quick)  # fmt: skip
    with pytest.raises(ValueError, match="the table windows has no window"):
        fit_star(observed, Windows(()), lines, free, options=quick)
    with pytest.raises(ValueError, match="resolution cannot be free where a table"):
        fit_star(observed, few, lines, Parameters(TRUTH, ("resolution",)), options=quick, spread=LineSpread(30_000))
    with pytest.raises(ValueError, match="no line between 5000 and 5010"):
        fit_star(observed, Windows(((5000.0, 5010.0),)), lines, free, options=quick)
    vacuum = ObservedSpectrum.from_arrays(wave * (1 + 82.9 / C), flux, 0.01, name="vac")
    found = fit_star(vacuum, few, lines, free, options=quick)
    assert any("in vacuum but were taken for air" in w for w in found.warnings)
    noise = 1 - np.abs(np.random.default_rng(1).normal(0, 0.1, len(wave)))
    other = fit_star(ObservedSpectrum.from_arrays(wave, noise, 0.01, name="other"), few, lines, free, options=quick)
    assert other.mismatch
    assert any("explains only" in w for w in other.warnings)


def test_a_start_outside_of_the_domain(observed: ObservedSpectrum) -> None:
    """What is free is moved inside, and said; what is fixed is one error."""
    few, lines = Windows(((6151.0, 6156.0),)), spectra.read_lines()
    quick = Options(line_errors=False, atmosphere_errors=False, iterations=1, clip=0)
    start = {**TRUTH, "monh": -2.73, "alpha": 0.0}  # marcs has no such alpha
    free = Parameters(start, ("teff", "alpha"))
    fit = fit_star(observed, few, lines, free, model="marcs", options=quick)
    assert fit.values["alpha"] > 0.1
    assert any(w.startswith("alpha starts at 0.1") and "marcs has no star with alpha 0 here" in w for w in fit.warnings)
    with pytest.raises(DomainError, match=r"marcs: alpha_m = .* is outside the range 0\.1.* to 0\.4"):
        fit_star(observed, few, lines, Parameters(start, ("teff",)), model="marcs", options=quick)


def test_windows_are_tables_that_one_can_edit(tmp_path: Path) -> None:
    assert set(WINDOW_SETS) == {
        "galah", "galah-wide", "galah-bands", "gaia-rvs", "apogee", "solar-report", "solar-type", "telluric-bands"
    }  # fmt: skip
    for name in WINDOW_SETS:
        table = Windows.read(name)
        table.table().write(tmp_path / "mine.ecsv", overwrite=True)
        again = Windows.read(tmp_path / "mine.ecsv")
        assert (again.windows, again.masks, again.tellurics) == (table.windows, table.masks, table.tellurics)
    spectrum = ObservedSpectrum.from_arrays(np.arange(100.0, 200.0), np.ones(100), 0.1)
    windows = Windows(((100.0, 150.0),), ((110.0, 120.0),), ((130.0, 135.0),))
    (window,) = cut(spectrum, windows)
    assert list(window.wave[~window.good]) == [*range(110, 121), *range(130, 136)]
    # Masks of the star move with it, those of the Earth's air do not.
    (moved,) = cut(spectrum, windows, C * 0.1)
    assert list(moved.wave[~moved.good]) == [*range(122, 136)]
    with pytest.raises(FileNotFoundError, match="no table of windows"):
        Windows.read("nonesuch")
    with pytest.raises(ValueError, match="is no range"):
        Windows(((2.0, 1.0),))


def test_names_priors_and_ties() -> None:
    with pytest.raises(ValueError, match="cannot fit mass"):
        Parameters(TRUTH, ("mass",))
    with pytest.raises(ValueError, match="cannot fit nothing"):
        Parameters(TRUTH, ())
    with pytest.raises(ValueError, match="needs a positive width"):
        Parameters(TRUTH, ("logg",), {"logg": (4.4, 0.0)})
    with pytest.raises(ValueError, match="is tied to Mg"):
        Parameters(TRUTH, ("Ca",), ties={"Ca": "Mg"})
    assert parse_prior(("logg", "4.4", "0.1")) == ("logg", (4.4, 0.1))
    assert parse_tie("Ca = Mg") == ("Ca", "Mg")
    from sme_pinn_atmo.codes.pysme import PinnAtmosphereGrid

    grid = PinnAtmosphereGrid("atlas12")
    assert limits("teff", grid, 5000) == grid.bounds("teff")
    assert limits("logg", grid, 20_000)[0] > limits("logg", grid, 5000)[0]


def test_correlated_residuals_and_resampling() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(size=20_000)
    assert correlation_factor([white]) == pytest.approx(1, abs=0.1)
    assert correlation_factor([np.convolve(white, np.ones(4) / 4, "valid")]) == pytest.approx(4, rel=0.15)
    # A slope from 40 blocks of white noise: both estimates are the textbook error.
    blocks = [(rng.normal(size=(25, 1)), rng.normal(size=25)) for _ in range(40)]
    expected = sum(float((c.T @ c)[0, 0]) for c, _ in blocks) ** -0.5
    assert block_bootstrap(blocks, np.zeros((1, 1))).std() == pytest.approx(expected, rel=0.35)
    assert leave_windows_out(blocks, np.zeros((1, 1)))[0] == pytest.approx(expected, rel=0.35)


# ---------------------------------------------------------------------- files and commands


def write_star(folder: Path, observed: ObservedSpectrum) -> None:
    Table({"wave": observed.wave, "flux": observed.flux, "error": observed.sigma}, meta={"medium": "air"}).write(
        folder / "star.ecsv"
    )
    (folder / "star.toml").write_text(
        '[star]\nname = "mock"\nspectrum = "star.ecsv"\nwindows = "mine.ecsv"\nmask = [[6153.0, 6153.2]]\n'
        "[start]\nteff = 5700\nlogg = 4.44\nmonh = -0.1\nvmac = 3.0\nresolution = 30000\n"
        '[fit]\nfree = ["teff", "monh"]\nvelocity = "star"\nfloor = 0.0\natmosphere_errors = false\n'
        "[priors]\nteff = [5777, 100]\n"
    )
    WINDOWS.table().write(folder / "mine.ecsv")


def test_a_star_in_a_file(tmp_path: Path, observed: ObservedSpectrum, monkeypatch: pytest.MonkeyPatch) -> None:
    write_star(tmp_path, observed)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    exact = ["--line-scatter", "0"]  # the lines are those that made the spectrum
    result = CliRunner().invoke(main, ["fit", "../star.toml", "--json", "--out", "results", "--free", "monh", *exact])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found["values"]) == ["monh"]  # the option, not the file
    assert found["values"]["monh"] == pytest.approx(0, abs=0.06)
    assert found["vrad"] == pytest.approx(25.3, abs=0.15)
    assert found["provenance"]["masks"] == [[6153.0, 6153.2]]
    assert len(found["provenance"]["spectrum_sha256"]) == 64
    names = {p.name for p in Path("results").iterdir()}
    assert names == {"fit.json", "fit.ecsv", "lines.ecsv", "page.html", "spectrum.ecsv", "windows.png"}
    page = Path("results/page.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert Table.read("results/fit.ecsv")["monh"][0] == pytest.approx(found["values"]["monh"])
    Path("bad.toml").write_text('[star]\nspectrum = "x"\nwindow = "y"\n')
    result = CliRunner().invoke(main, ["fit", "bad.toml"])
    assert result.exit_code == 1
    assert "[star] has no 'window'" in result.output


def test_many_stars_resume_and_survive(
    tmp_path: Path, observed: ObservedSpectrum, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_star(tmp_path, observed)
    monkeypatch.chdir(tmp_path)
    columns = {"name": ["a b", "none"], "spectrum": ["star.ecsv", "nowhere.ecsv"], "teff": [5750.0, 5000.0]}
    Table(columns).write("t.ecsv")
    stars = read_catalogue(tmp_path / "t.ecsv", Settings.read("star.toml").with_(free=("monh",), line_errors=False))
    assert [s.start["teff"] for s in stars] == [5750, 5000]
    results = fit_many(stars, tmp_path / "out", progress=False)
    assert results[0]["name"] == "a b"
    assert "failed" not in results[0]
    assert "there is no spectrum nowhere.ecsv" in results[1]["failed"]
    table = collect(results)
    assert np.isnan(table["monh"][1])
    done = []
    fit_many(stars, tmp_path / "out", progress=False, fit=lambda s, f: done.append(s.name) or {})
    assert done == ["none"]  # what is done is not done again
    other = [s.with_(floor=0.01) for s in stars]
    fit_many(other, tmp_path / "out", progress=False, fit=lambda s, f: done.append(s.name) or {})
    assert done[1:] == ["a b", "none"]  # but with other settings it is
    Table({"name": ["a", "a"], "spectrum": ["x", "y"]}).write("twice.ecsv")
    with pytest.raises(ValueError, match="two rows of one name"):
        read_catalogue(tmp_path / "twice.ecsv", stars[0])


def test_the_packaged_star_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SME_PINN_ATMO_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = Settings.read("18sco.toml")
    assert settings.name == "18 Sco"
    result = CliRunner().invoke(main, ["fit", "18sco.toml"])
    assert result.exit_code == 1
    assert "data get benchmarks" in result.output


def test_korgs_list_in_pysmes_conventions(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "l.h5", "w") as file:
        file["wl"] = np.array([5000.0, 6564.6, 5001.0, 5002.0, 5003.0])
        file["formula"] = np.array([[26, 0, 0], [1, 0, 0], [22, 8, 0], [6, 6, 0], [26, 0, 0]], dtype="u1")
        file["ionization"] = np.array([2, 1, 1, 1, 1])
        for name, values in (("log_gf", 0.0), ("E_lo", 1.0), ("gamma_rad", 8.0), ("gamma_stark", -5.0)):
            file[name] = np.full(5, values)
        file["vdW"] = np.array([-7.5, 0.0, 0.0, 3.0, 305.25])
    lines = read_lines(tmp_path / "l.h5")
    assert list(lines["species"]) == ["Fe 2", "TiO 1", "C2 1", "Fe 1", "H 1"]
    assert lines["wlcent"][0] == pytest.approx(4998.605, abs=2e-3)  # vacuum 5000
    assert list(lines["gamvw"]) == [-7.5, 0.0, 0.0, 305.25, 3.0]  # H alpha: quantum numbers
    assert lines["gamqst"][-1] == 2
    with pytest.raises(ValueError, match="no line in"):
        read_lines(tmp_path / "l.h5", [(8000, 8010)])


def test_benchmark_fits_start_off_the_reference_inside_of_all_models() -> None:
    from sme_pinn_atmo.validation.benchmarks import settings_of

    def start(logg: float, number: int) -> dict[str, float]:
        star = {"name": "a", "file": "a.npz", "vsini": 2.0, "reference": {"teff": 5235.0, "logg": logg, "monh": -1.0}}
        return dict(settings_of(star, number, "atlas12").start)

    assert start(4.4, 0)["logg"] == pytest.approx(4.8)
    assert start(4.4, 1)["teff"] == pytest.approx(5035)
    assert start(4.72, 0)["logg"] == pytest.approx(4.32)  # above lies no model

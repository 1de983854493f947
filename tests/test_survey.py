"""Training sets: labels, instruments, files, derivatives; small windows on the packaged lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from sme_pinn_atmo import DomainError, korg
from sme_pinn_atmo.emulator import Emulator
from sme_pinn_atmo.stars.corrections import Corrections
from sme_pinn_atmo.stars.synthesis import solar_pattern
from sme_pinn_atmo.survey import Set, Survey, make, presets
from sme_pinn_atmo.survey.instrument import Band, Continuum
from sme_pinn_atmo.survey.labels import RELATIONS, atmosphere_labels, draw, read_table
from sme_pinn_atmo.survey.synthesis import Engine, groups

make_module = sys.modules["sme_pinn_atmo.survey.make"]

STAR = {"teff": 5500.0, "logg": 4.2, "monh": -0.1, "vmic": 1.1}
TWO = {"stars": 2, "ranges": {"teff": [5000, 6000], "logg": [4.0, 4.6], "monh": [-0.5, 0.3]}}
BAND = {"first": 6150.0, "last": 6156.0, "step": 0.1, "resolution": 20_000.0}


def small(**changes: Any) -> Survey:
    """A survey of a window of 6 A."""
    given: dict[str, Any] = {
        "survey": {"name": "small"},
        "labels": {"stars": 3, "ranges": {"teff": [5000, 6000], "logg": [4.0, 4.6], "monh": [-0.5, 0.3]}},
        "band": [BAND],
    }  # fmt: skip
    return Survey.from_dict({**given, **changes})


@pytest.fixture(scope="module")
def engine() -> Engine:
    labels = ["teff", "monh", "vsini", "Ni", "V"]
    return Engine(small(gradients={"labels": labels, "stars": 1, "atmosphere": True}))


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_read_and_say_where_they_are_from(name: str) -> None:
    survey = Survey.read(name)
    assert survey.source
    assert all(len(b.wave) > 150 and (b.spread.at(b.air) > 1000).all() for b in survey.bands)
    assert Survey.from_plain(survey.to_dict()) == survey
    assert len(draw(replace(survey, stars=20), *_of(survey.model))) == 20


def _of(model: str) -> tuple[Any, str]:
    emulator = Emulator.load(model)
    return emulator.domain, emulator.card["solar_scale"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"survey": {"cod": "pysme"}}, "no 'cod'"),
        ({"survey": {"code": "moog"}}, "pysme, korg"),
        ({"survey": {"code": "korg", "mu": True}}, "need code = 'pysme'"),
        ({"survey": {"code": "korg", "corrections": "galah-atlas12"}}, "need code = 'pysme'"),
        ({"bands": []}, r"no table \[bands\]"),
        ({"band": []}, r"\[\[band\]\]"),
        ({"band": [{**BAND, "log_step": 1e-5}]}, "one of step"),
        ({"band": [{**BAND, "medium": "water"}]}, "air, vacuum"),
        ({"band": [{**BAND, "resolution": -1.0}]}, "0 \\(none\\) or more"),
        ({"labels": {"ranges": {"teff": [5000, 6000]}}}, "teff and logg"),
        ({"labels": {"ranges": {"teff": [5000, 4000], "logg": [4, 5]}}}, "first must be below"),
        ({"labels": {"ranges": {"teff": [5000, 6000], "logg": [4, 5], "Xx": [0, 1]}}}, "no label"),
        ({"labels": {"ranges": {"teff": [5000, 6000], "logg": [4, 5]}, "fixed": {"logg": 4.0}}}, "twice"),
        ({"labels": {"ranges": {"teff": [5000, 6000], "logg": [4, 5]}, "relations": {"vmic": "mine"}}}, "bruntt2010"),
        ({"labels": {"draw": "isochrones"}}, "needs a table"),
        ({"continuum": {"kind": "spline"}}, "polynomial"),
        ({"gradients": {"labels": ["teff"], "steps": {"teff": 0}}}, "above 0"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(**change)


def test_a_missing_line_list_says_what_to_bring() -> None:
    with pytest.raises(FileNotFoundError, match=r"apogee\.lin: put a VALD extract"):
        Survey.read("apogee.toml").line_list()


# ---------------------------------------------------------------------- labels


def test_labels_fill_the_domain_and_a_larger_set_begins_with_a_smaller_one() -> None:
    survey = small(labels={"stars": 40, "ranges": {"teff": [3000, 9000], "logg": [0, 5], "monh": [-2, 0.5]}})
    domain, scale = _of("atlas12")
    few, many = draw(survey, domain, scale), draw(replace(survey, stars=300), domain, scale)
    assert np.array_equal(few.values, many.values[:40])
    teff, logg, monh = many.values.T
    assert domain.contains(teff=teff, logg=logg, m_h=monh, alpha_m=0.0, vturb=1.0).all()
    assert not domain.contains(teff=9000.0, logg=0.1)  # so that points were passed over
    other = draw(replace(survey, seed=2), domain, scale)
    assert not np.isclose(few.values, other.values).any()
    uniform = draw(replace(survey, draw="uniform"), domain, scale)
    assert not np.isclose(few.values, uniform.values).any()
    # A Sobol sequence fills better than random numbers: the mean of the metallicity is nearer to the middle.
    assert abs(many.values[:, 2].mean() + 0.75) < 0.03


def test_atmospheres_have_the_labels_that_pysme_gives_them() -> None:
    from sme_pinn_atmo.codes.pysme import PinnAtmosphereGrid, _within_scale_error, star_labels
    from sme_pinn_atmo.spectra import read_lines
    from sme_pinn_atmo.stars.synthesis import star_structure

    stars = [STAR, {**STAR, "alpha": 0.3}, {**STAR, "Mg": 0.4, "Si": -0.1, "O": 0.5}, {**STAR, "alpha": 0.2, "Ca": 0.0}]
    lines = read_lines()
    for model in ("atlas12", "marcs"):
        grid = PinnAtmosphereGrid(model)
        for star in stars:
            labels = star_labels(star_structure(grid, lines, star), grid)
            one = {n: np.array([v]) for n, v in star.items()}
            mine = atmosphere_labels(one, grid.emulator.card["solar_scale"], solar_pattern("asplund2009"))
            mine["alpha_m"] = [_within_scale_error(float(mine["alpha_m"][0]), grid.bounds("alpha_m"))]
            assert all(mine[n][0] == pytest.approx(labels[n], abs=1e-9) for n in labels)


def test_a_table_as_tsfitpy_knows_it(tmp_path: Path) -> None:
    (tmp_path / "stars.txt").write_text(
        "teff logg [Fe/H] vmic vmac A(Y) [Ba/Fe] O_H rotation\n"
        "5777 4.44 0.03 1.0 1 2.27 0.3 -0.19 2\n"
        "9000 0.1 0.05 1.1 3 2.37 0.5 0.0 4\n"
    )
    table = read_table(tmp_path / "stars.txt")
    assert list(table) == ["teff", "logg", "monh", "vmic", "vmac", "Y", "Ba", "O", "vsini"]
    assert table["Y"][0] == pytest.approx(2.27 - 2.21 - 0.03)  # Asplund et al. 2009
    assert table["O"][0] == pytest.approx(-0.19 - 0.03)
    assert table["Ba"][0] == 0.3
    survey = small(labels={"draw": "table", "table": str(tmp_path / "stars.txt")})
    assert len(draw(survey, *_of("atlas12"))) == 2  # the second is outside, and fails when it is made
    (tmp_path / "bad.txt").write_text("teff logg colour\n5000 4 red\n")
    with pytest.raises(ValueError, match="'colour' is no label"):
        read_table(tmp_path / "bad.txt")


def test_isochrones_scatter_and_ranges(tmp_path: Path) -> None:
    (tmp_path / "iso.csv").write_text("teff,logg,monh,weight\n5800,4.4,0.0,1\n4800,2.5,0.0,3\n5000,3.2,0,0\n")
    given = {"draw": "isochrones", "table": str(tmp_path / "iso.csv"), "stars": 200, "ranges": {"alpha": [0.0, 0.3]}}
    values = draw(small(labels=given), *_of("atlas12"))
    teff = values.values[:, values.names.index("teff")]
    assert set(teff) == {5800.0, 4800.0}
    assert 0.65 < (teff == 4800).mean() < 0.85
    assert values.values[:, values.names.index("alpha")].std() > 0.05
    moved = draw(small(labels={**given, "isochrone_scatter": {"teff": 30.0}}), *_of("atlas12"))
    assert 20 < np.abs(moved.values[:, 0] - np.where(moved.values[:, 0] > 5300, 5800, 4800)).std() * 1.66 < 40


def test_relations_follow_teff_and_logg() -> None:
    labels = {"stars": 5, "ranges": {"teff": [5000, 6000], "logg": [3.5, 4.6]}, "relations": {"vmic": "bruntt2010"}}
    values = draw(small(labels=labels), *_of("atlas12"))
    assert values.names == ("teff", "logg", "vmic")
    assert np.allclose(values.values[:, 2], 1.01 + 4.56e-4 * (values.values[:, 0] - 5700)
                       + 2.75e-7 * (values.values[:, 0] - 5700) ** 2)  # fmt: skip
    assert all("20" in source for _, source in RELATIONS.values())


def test_nothing_in_the_domain() -> None:
    with pytest.raises(DomainError, match="narrow the ranges"):
        draw(small(labels={"ranges": {"teff": [20000, 30000], "logg": [0.0, 0.5]}}), *_of("atlas12"))


# ---------------------------------------------------------------------- instrument


def _line(step: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    wave = 6145.0 * np.exp(np.arange(900) * step / 299792.458)
    return wave, 1 - 0.6 * np.exp(-0.5 * ((wave - 6152.3) / 0.05) ** 2)


def test_line_spread_by_number_table_and_matrix(tmp_path: Path) -> None:
    wave, flux = _line()
    number = Band(**BAND)
    seen = number.see(wave, flux, 1.0)
    assert len(seen) == len(number.wave) == 61
    fwhm = 6152.3 / 20_000
    sigma = np.hypot(0.05, fwhm / 2.3548)
    assert 1 - seen.min() == pytest.approx(0.6 * 0.05 / sigma, rel=2e-3)
    table = Band(**{**BAND, "resolution": [[6100.0, 20_000.0], [6200.0, 20_000.0]]})
    assert np.allclose(table.see(wave, flux, 1.0), seen, atol=1e-4)
    varying = Band(**{**BAND, "resolution": [[6150.0, 40_000.0], [6156.0, 5_000.0]]})
    assert not np.allclose(varying.see(wave, flux, 1.0), seen, atol=1e-2)
    at = np.arange(6146.0, 6160.0, 0.01)
    kernel = np.exp(-0.5 * ((at - number.wave[:, None]) / (number.wave[:, None] / 20_000 / 2.3548)) ** 2)
    np.savez(tmp_path / "lsf.npz", wave=at, matrix=3.0 * kernel)
    given = {n: v for n, v in BAND.items() if n != "resolution"}
    matrix = Band(**given, matrix=str(tmp_path / "lsf.npz"))
    assert np.allclose(matrix.see(wave, flux, 1.0), seen, atol=2e-4)
    assert matrix.reach() == pytest.approx((6146.0, 6159.99))
    assert not np.allclose(Band(**BAND, integrate=True).see(wave, flux, 1.0), seen, atol=1e-3)


def test_pixels_of_a_file_and_in_vacuum(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.array([6150.0, 6150.5, 6152.3, 6155.0]))
    band = Band(pixels=str(tmp_path / "pixels.npy"))
    wave, flux = _line()
    assert band.see(wave, flux, 1.0)[2] == pytest.approx(0.4, abs=1e-3)
    vacuum = Band(pixels=str(tmp_path / "pixels.npy"), medium="vacuum")
    assert np.allclose(vacuum.wave - vacuum.air, 1.70, atol=0.01)
    assert len(Band(first=15168.128527, last=15792.322344, log_step=6e-6, medium="vacuum").wave) == 2920


@pytest.mark.parametrize("kind", ["polynomial", "gaussian"])
def test_continuum_removes_slopes_and_its_derivative_is_right(kind: str) -> None:
    wave = np.linspace(6000, 6300, 600)
    lines = 1 - 0.5 * np.exp(-0.5 * ((wave - 6100) / 1.0) ** 2)
    continuum = Continuum(kind=kind, degree=2, width=30.0, low=1.0)
    tilted = lines * (1 + 3e-4 * (wave - 6150))
    level = continuum.fit(wave, tilted)(tilted)
    inner = slice(100, -100)
    assert np.allclose((tilted / level)[inner], lines[inner] / np.median(lines), atol=0.02)
    change = 1e-4 * np.sin(wave)
    fit = continuum.fit(wave, tilted)
    slope = (change - tilted / level * fit(change)) / level
    assert np.allclose((tilted + change) / fit(tilted + change) - tilted / level, slope, atol=1e-7)


# ---------------------------------------------------------------------- spectra


def test_a_star_is_what_pysme_makes_of_all_lines(engine: Engine) -> None:
    from sme_pinn_atmo.spectra import synthesize

    made = engine.star({**STAR, "alpha": 0.2, "vsini": 5.0})
    wave = np.arange(6147.0, 6159.0, 0.02)
    plain = synthesize("atlas12", wave, engine.code.synthesis.lines, **STAR, alpha=0.2, vsini=5.0, resolution=20_000.0)
    assert np.abs(made["flux"] - np.interp(engine.wave, wave, plain)).max() < 0.004
    assert 5e6 < made["continuum"].mean() < 8e6  # near pi B(5500 K), erg s-1 cm-2 A-1
    assert (made["atmosphere_error"] > 0).all()


def test_fast_rotation_crosses_the_borders_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from sme_pinn_atmo.survey import instrument

    survey = small(
        labels={"ranges": {"teff": [5000, 6000], "logg": [4.0, 4.6], "vsini": [1.0, 150.0]}},
        band=[{**BAND, "first": 6154.0, "last": 6164.0}],
    )
    star = {**STAR, "vsini": 150.0}
    whole = Engine(survey)
    monkeypatch.setattr(instrument, "_PIECE", 4.0)
    parts = Engine(survey)
    assert len(whole.code.pieces) == 1
    assert len(parts.code.pieces) >= 4
    assert np.abs(whole.star(star)["flux"] - parts.star(star)["flux"]).max() < 2e-4
    wide = Engine(replace(survey, bands=(Band(**{**BAND, "first": 6145.0, "last": 6173.0}),)))
    inner = (wide.wave > 6153.95) & (wide.wave < 6164.05)
    assert np.abs(wide.star(star)["flux"][inner] - whole.star(star)["flux"]).max() < 5e-4


def test_a_star_does_not_depend_on_those_before_it(engine: Engine) -> None:
    first = engine.star(STAR)["flux"]
    engine.star({**STAR, "teff": 4600.0, "logg": 2.0})
    assert np.array_equal(first, engine.star(STAR)["flux"])


def test_derivatives_are_those_of_the_spectrum(engine: Engine) -> None:
    star = {**STAR, "vsini": 6.0}
    made = engine.star(star, gradients=True)
    names = engine.survey.gradients.labels
    assert made["gradients"].shape == made["gradients_atmosphere"].shape == (5, len(engine.wave))
    for name, size in (("teff", 10.0), ("monh", 0.02), ("vsini", 0.1), ("Ni", 0.02)):
        ends = [engine.star({**star, name: star.get(name, 0.0) + s * size})["flux"] for s in (1, -1)]
        difference = (ends[0] - ends[1]) / (2 * size)
        got = made["gradients"][names.index(name)]
        assert np.abs(got - difference).max() < 0.05 * np.abs(difference).max() + 1e-6, name
    alone = made["gradients_atmosphere"]
    assert np.allclose(alone[0], made["gradients"][0], atol=0.1 * np.abs(alone[0]).max())  # all of teff
    assert 0 < np.abs(alone[1]).max() < 0.9 * np.abs(made["gradients"][1]).max()  # a part of monh
    assert not alone[2:].any()  # neither rotation nor trace elements


def test_elements_with_lines_far_apart_share_a_synthesis() -> None:
    survey = small(
        band=[{**BAND, "first": 6140.0, "last": 6153.0}],
        gradients={"labels": ["Ni", "V", "Ba", "Y"], "stars": 1},
    )
    made = Engine(survey)
    shared = groups(made, STAR, survey.gradients.labels)
    assert ("Ni",) in shared  # no trace element
    assert {"V", "Ba", "Y"} in [set(s) for s in shared]
    base = made.code.make(STAR)
    one, apart = (made.differences(STAR, base, together=t) for t in (True, False))
    for i in (1, 2):
        assert 0 < np.abs(one[i] - apart[i]).max() < 0.01 * np.abs(apart[i]).max()


def test_options_of_a_survey_change_its_spectra(engine: Engine) -> None:
    base = engine.star(STAR)["flux"]
    for change in (
        {"survey": {"name": "small", "model": "atlas9"}}, {"survey": {"name": "small", "pattern": "grevesse2007"}},
        {"survey": {"name": "small", "step": 3.0}}, {"continuum": {"kind": "polynomial", "degree": 1}},
        {"continuum": {"kind": "none"}},
    ):  # fmt: skip
        assert np.abs(Engine(small(**change)).star(STAR)["flux"] - base).max() > 1e-6, change


def test_corrections_of_lines_reach_the_spectra_and_the_card(engine: Engine, tmp_path: Path) -> None:
    line = _iron(engine)
    table = Table({
        "species": [str(line["species"])], "wavelength": [line["wlcent"]], "low": [line["wlcent"]],
        "high": [line["wlcent"]], "excitation": [line["excit"]], "parameter": ["log gf"], "change": [-9.0],
        "error": [0.1], "prior": [0.25], "depth": [0.5], "stars": ["Sun"], "flags": [""],
    })  # fmt: skip
    path = tmp_path / "changes.ecsv"
    Corrections(table, {"stars": [{"pattern": "asplund2009"}]}, "changes").write(path)
    survey = small(survey={"corrections": str(path), "pattern": "grevesse2007"})
    plain = Engine(replace(survey, corrections=None)).star(STAR)["flux"]
    change = Engine(survey).star(STAR)["flux"] - plain
    assert change.max() == pytest.approx(1 - plain[change.argmax()], abs=0.01)  # nothing is left of the line
    assert change.max() > 0.1
    assert abs(engine.wave[change.argmax()] - line["wlcent"]) < 0.1
    card = make_module._card(survey)
    assert len(card["corrections_sha256"]) == 64
    assert "asplund2009" in card["notes"][0]


def _iron(engine: Engine) -> Any:
    """Fe I 6151.6, which stands alone."""
    lines = engine.code.synthesis.lines
    near = [i for i in range(len(lines)) if abs(float(lines["wlcent"][i]) - 6151.617) < 0.05]
    return {n: lines[n][near[0]] for n in ("species", "wlcent", "excit")}


def test_weak_lines_are_added_as_such_where_there_are_many(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from sme_pinn_atmo.survey import synthesis

    base = engine.star(STAR)["flux"]
    monkeypatch.setattr(synthesis, "_FEW", 0)
    for threshold, low, high in ([1.5e-3, 2e-5], 0.0, 2e-4), ([2.5, 2e-5], 1e-4, 0.2), ([0.3, 0.3], 1e-3, 0.2):
        made = Engine(small(survey={"name": "small", "threshold": threshold}))
        assert made.code.selects
        assert low <= np.abs(made.star(STAR)["flux"] - base).max() <= high
    assert made.code.cell(STAR) == made.code.cell({**STAR, "teff": 5450.0, "vsini": 9.0})
    assert made.code.cell(STAR) != made.code.cell({**STAR, "teff": 4500.0})


def test_intensities_by_mu_add_up_to_the_flux() -> None:
    made = Engine(small(survey={"name": "small", "mu": True}))
    found = made.star(STAR)
    line, level = found["intensity"][:, 0], found["intensity"][:, 1]
    assert made.code.mu[0] > made.code.mu[-1]
    assert (level[0] > level[-1]).all()  # limb darkening
    assert np.allclose(np.pi * line.mean(axis=0) / (np.pi * level.mean(axis=0)), found["flux"], atol=2e-3)
    assert np.allclose(np.pi * level.mean(axis=0), found["continuum"], rtol=1e-6)


# ---------------------------------------------------------------------- sets


def test_a_set_on_one_process_and_on_two_is_the_same(tmp_path: Path) -> None:
    survey = small(gradients={"labels": ["monh"], "stars": 1}, errors={"stars": 1}, labels=TWO)
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    assert make(survey, one, progress=False)["failed"] == 0
    make(survey, two, processes=2, progress=False)
    with Set(one) as a, Set(two) as b:
        for name in ("flux", "continuum", "gradients", "labels", "atmosphere_error", "flux_error"):
            assert np.array_equal(a.file[name][:], b.file[name][:]), name
        assert a.file["flux"].chunks == (1, 61)
        assert a.names == ("teff", "logg", "monh")
        assert a.units == ("K", "dex", "dex")
        assert np.array_equal(a.with_gradients, [0])
        assert a.report["gradient_error"]["monh"]["relative_error"] < 0.05
        assert (a.get("flux_error") > 0).any()
        assert a.card["model"] == "atlas12"
        assert len(a.card["lines_sha256"]) == 64
        assert a.card["versions"]["pysme-astro"]
        labels, flux = next(iter(a.blocks(2)))
        assert labels.shape == (2, 3)
        assert flux.shape == (2, 61)
        with pytest.raises(ValueError, match="no label 'Mg'"):
            a.labels(["Mg"])
    with pytest.raises(FileExistsError):
        make(survey, one, progress=False)


def test_failures_are_kept_with_the_reason_and_interrupted_sets_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stars.csv").write_text("teff,logg\n5500,4.4\n9000,0.1\n5600,4.4\n5700,4.4\n")
    survey = small(labels={"draw": "table", "table": str(tmp_path / "stars.csv")})
    out, calls = tmp_path / "set.h5", []
    job = make_module._job

    def interrupted(plain: str, i: int, *rest: Any) -> Any:
        calls.append(i)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return job(plain, i, *rest)

    monkeypatch.setattr(make_module, "_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(survey, out, progress=False)
    assert not out.exists()
    with Set(f"{out}.part") as part:
        assert list(part.status) == [1, 2, 1, 0]
    with pytest.raises(ValueError, match="other settings"):
        make(replace(survey, seed=5), out, progress=False)
    counts = make(survey, out, progress=False)
    assert counts["resumed"] == 3
    assert calls[4:] == [3]
    with Set(out) as found:
        assert list(found.done) == [0, 2, 3]
        assert "logg" in found.failures()[1]
        assert "outside" in found.failures()[1]
        assert np.isnan(found.file["flux"][1]).all()


@pytest.mark.slow
def test_kill_9_loses_no_more_than_one_star(tmp_path: Path) -> None:
    toml = tmp_path / "small.toml"
    toml.write_text(
        "[survey]\nname = 'small'\n[labels]\nstars = 12\n[labels.ranges]\nteff = [5000, 6000]\nlogg = [4.0, 4.6]\n"
        "[[band]]\nfirst = 6150.0\nlast = 6156.0\nstep = 0.1\nresolution = 20000.0\n"
    )
    out, part = tmp_path / "set.h5", tmp_path / "set.h5.part"
    command = [sys.executable, "-m", "sme_pinn_atmo", "survey", str(toml), "--out", str(out)]
    done = 0
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        start = time.time()
        while time.time() - start < 120 and process.poll() is None:
            time.sleep(0.2)
            if part.is_file():
                with Set(part) as found:
                    now = len(found.done)
                if now >= done + 3:
                    break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with Set(part) as found:
            assert len(found.done) >= done + 3
            done = len(found.done)
            assert np.isfinite(found.get("flux")).all()
    subprocess.run(command, check=True, capture_output=True)
    make(Survey.read(toml), tmp_path / "whole.h5", progress=False)
    with Set(out) as a, Set(tmp_path / "whole.h5") as b:
        assert np.array_equal(a.file["flux"][:], b.file["flux"][:])


def test_threads_of_a_worker_do_not_mix_stars() -> None:
    from concurrent.futures import ThreadPoolExecutor

    plain = json.dumps(small().to_dict(), sort_keys=True)
    jobs = [(plain, i, {**STAR, "teff": t}, False, False) for i, t in enumerate((4800.0, 6000.0, 5200.0, 5700.0))]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda job: make_module._job(*job), jobs))
    for (i, made, _), job in zip(together, jobs, strict=True):
        assert np.array_equal(made["flux"], make_module._job(*job)[1]["flux"]), i


def test_what_is_wrong_with_a_survey_is_said_by_its_processes(tmp_path: Path) -> None:
    band = {"first": 7000.0, "last": 7010.0, "step": 0.1, "resolution": 20_000.0}
    with pytest.raises(ValueError, match="no line between"):
        make(small(band=[band]), tmp_path / "x.h5", processes=2, progress=False)
    with pytest.raises(ValueError, match="nothing to draw"):
        make(small(labels={"fixed": {"teff": 5500, "logg": 4.4}}), tmp_path / "y.h5", progress=False)


def test_dask_gives_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    survey = small(labels=TWO)
    make(survey, tmp_path / "here.h5", progress=False)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        make(survey, tmp_path / "there.h5", dask=cluster.scheduler_address, progress=False)
    with Set(tmp_path / "here.h5") as a, Set(tmp_path / "there.h5") as b:
        assert np.array_equal(a.file["flux"][:], b.file["flux"][:])


# ---------------------------------------------------------------------- Korg


def test_korg_gets_one_mixture_and_gives_exact_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def spectrum(given: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, high, step = given["wavelengths"]
        wave = low + step * np.arange(round((high - low) / step) + 1)
        depth = 0.5 - 1e-4 * (given["teff"] - 5500)
        continuum = np.full(len(wave), 6e14)
        return wave, continuum * (1 - depth * np.exp(-0.5 * ((wave - 6154.7) / 0.05) ** 2)), continuum

    def synthesize(**given: Any) -> Any:
        calls.append(given)
        return korg.Spectrum(spectrum(given))

    def jacobian(**given: Any) -> Any:
        assert "vmic" not in given
        ends = [spectrum({**given, "teff": given["teff"] + d})[1] / 6e14 for d in (1.0, -1.0)]
        derivative = np.zeros((len(ends[0]), 5))
        derivative[:, 0] = (ends[0] - ends[1]) / 2
        return ends[0], derivative

    monkeypatch.setattr(korg, "synthesize", synthesize)
    monkeypatch.setattr(korg, "jacobian", jacobian)
    survey = small(
        survey={"name": "small", "code": "korg"},
        labels={"stars": 2, "ranges": {"teff": [5000, 6000], "logg": [4, 4.6], "Mg": [0, 0.3], "vsini": [1, 9]}},
        gradients={"labels": ["teff", "Mg"]},
    )
    made = Engine(survey)
    star = {**STAR, "monh": -0.4, "alpha": 0.2, "Mg": 0.35, "vsini": 5.0}
    found = made.star(star, gradients=True)
    first = calls[0]
    assert first["abundances"]["Mg"] == pytest.approx(-0.05)
    assert first["abundances"]["Ca"] == pytest.approx(-0.2)
    assert first["m_h"] == pytest.approx(-0.4)
    assert 0.2 < first["alpha_m"] < 0.35
    assert found["continuum"].mean() == pytest.approx(6e6, rel=1e-6)
    ends = [made.star({**star, "teff": star["teff"] + d})["flux"] for d in (1, -1)]
    assert np.allclose(found["gradients"][0], (ends[0] - ends[1]) / 2, atol=1e-8)
    still = made.star({**star, "vsini": 0.0})["flux"]
    assert still.min() < found["flux"].min()
    assert (1 - still).sum() == pytest.approx((1 - found["flux"]).sum(), rel=1e-3)  # rotation keeps the width


# ---------------------------------------------------------------------- command


def test_the_command_copies_plans_and_makes(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from sme_pinn_atmo.cli import main

    runner = CliRunner()
    copied = runner.invoke(main, ["survey", "galah.toml", "--copy", str(tmp_path / "mine.toml")])
    assert copied.exit_code == 0, copied.output
    assert (tmp_path / "mine.toml").read_bytes() == presets()["galah.toml"].read_bytes()
    toml = tmp_path / "small.toml"
    toml.write_text(
        "[survey]\nname = 'small'\n[labels]\nstars = 400\n[labels.ranges]\nteff = [5000, 6000]\nlogg = [4.0, 4.6]\n"
        "[[band]]\nfirst = 6150.0\nlast = 6156.0\nstep = 0.1\nresolution = 20000.0\n"
    )
    planned = runner.invoke(main, ["survey", str(toml), "--plan", "--json"])
    assert planned.exit_code == 0, planned.output
    plan = json.loads(planned.stdout)
    assert plan["stars"] == 400
    assert len(plan["probes"]) == 3
    assert plan["seconds"] > 400 * min(p["seconds"] for p in plan["probes"])
    assert 0.5 < plan["share"] <= 1
    assert runner.invoke(main, ["survey", str(toml)]).exit_code == 2
    made = runner.invoke(main, ["survey", str(toml), "--stars", "2", "--out", str(tmp_path / "set.h5"), "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["stars"] == 2
    with Set(tmp_path / "set.h5") as found:
        assert abs(plan["bytes"] * 2 / 400 - found.path.stat().st_size) < 1.5e6

"""Line data of many stars: derivatives, normal equations, corrections, and what comes back of mock stars."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo import spectra
from sme_pinn_atmo.calibration import CalibrationStar, Corrections, LineOptions, calibrate, read_stars, write_lines
from sme_pinn_atmo.calibration import syntheses as jobs
from sme_pinn_atmo.calibration.equations import equations, solve
from sme_pinn_atmo.calibration.run import _loss, _slope, _weight
from sme_pinn_atmo.calibration.shared import changed_lines, colours, moved, prior_errors, shared_parameters
from sme_pinn_atmo.calibration.writers import abo_width, read_moog_lines
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.stars.corrections import CORRECTED
from sme_pinn_atmo.stars.errors import EXTERNAL, EXTERNAL_AS_IT_IS
from sme_pinn_atmo.stars.fit import Options
from sme_pinn_atmo.stars.lines import read_lines
from sme_pinn_atmo.stars.settings import Settings
from sme_pinn_atmo.stars.spectrum import ObservedSpectrum
from sme_pinn_atmo.stars.synthesis import LineChange, Synthesis, lines_near
from sme_pinn_atmo.stars.windows import Windows
from sme_pinn_atmo.validation.calibration import (
    _left_out_table,
    compared,
    external,
    format_recovery,
    laboratory,
    recovery,
    without,
)  # fmt: skip

SUN = {"teff": 5777.0, "logg": 4.44, "monh": 0.0, "vmic": 1.0}
WINDOW = (6160.0, 6171.0)


def test_changed_lines_cost_no_equation_of_state_and_are_exact() -> None:
    """Each variant is what PySME makes of a list that has the changes from the beginning."""
    lines = spectra.read_lines()
    synthesis = Synthesis("atlas12", lines, [(6150.0, 6153.0)], step=2.0)
    synthesis.use(synthesis.select(SUN))
    strongest = np.argsort(-synthesis.selection.depth[synthesis.selection.strong])
    centre = np.asarray(synthesis.chosen["wlcent"], dtype=float)
    alone = np.diff(centre, append=np.inf) > 0.01  # PySME wants lists in order of wavelength
    inside = [i for i in strongest if 6150.5 < centre[i] < 6152.5 and alone[i]][:2]
    changes = []
    for column, step in (("gflog", 0.2), ("wlcent", 0.005), ("gamvw", -6.5)):
        values = np.asarray(synthesis.chosen[column], dtype=float)[inside]
        changes.append(LineChange(np.array(inside), column, values + step))
    base, *made = synthesis.variants(SUN, 0, changes)
    assert np.array_equal(base.line, synthesis.intensities(SUN)[0].line)
    for change, variant in zip(changes, made, strict=True):
        other = Synthesis(synthesis.source, lines, synthesis.windows, step=2.0)
        other.use(synthesis.selection)
        table = other.chosen._lines
        table.iloc[inside, table.columns.get_loc(change.column)] = change.values
        full = other.intensities(SUN)[0].line
        assert np.abs(full - variant.line).max() < 1e-6 * full.max()
        assert np.abs(variant.line - base.line).max() > 1e-4 * full.max()


# ---------------------------------------------------------------------- parts


def test_intervals_of_one_colour_do_not_overlap_and_colours_are_few() -> None:
    random = np.random.default_rng(2)
    start = random.uniform(0, 40, 500)
    stop = start + random.uniform(0.2, 1.5, 500)
    colour = colours(start, stop)
    for c in range(colour.max() + 1):
        of = np.flatnonzero(colour == c)
        order = of[np.argsort(start[of])]
        assert (start[order[1:]] >= stop[order[:-1]]).all()
    crowded = max(int(((start <= x) & (stop > x)).sum()) for x in start)
    assert colour.max() + 1 == crowded


def _system(seed: int = 0) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Two stars, two windows each, lines that belong to one window, and one dense matrix of it all."""
    random = np.random.default_rng(seed)
    parts, dense, right = [], [], []
    n_x, column = 12, {"A": 0, "B": 2}
    for star, labels in (("A", ("teff", "monh")), ("B", ("vmic",))):
        for k, window in enumerate(((1.0, 2.0), (3.0, 4.0))):
            by_label, nuisance = random.normal(size=(40, len(labels))), random.normal(size=(40, 2))
            by_shared = np.zeros((40, n_x))
            by_shared[:, 6 * k : 6 * k + 6] = random.normal(size=(40, 6))
            residual = random.normal(size=40)
            parts.append(equations(star, window, labels, by_label, nuisance, sparse.csc_matrix(by_shared), residual, 0))
            row = np.zeros((40, 3 + 8 + n_x))
            row[:, column[star] : column[star] + len(labels)] = by_label
            at = 3 + 2 * len(dense)
            row[:, at : at + 2] = nuisance
            row[:, 11:] = by_shared
            dense.append(row)
            right.append(residual)
    return parts, np.concatenate(dense), np.concatenate(right)


def test_the_arrowhead_is_the_full_problem() -> None:
    parts, matrix, residual = _system()
    prior, at = np.full(12, 0.3), np.linspace(-0.2, 0.2, 12)
    normal, right = matrix.T @ matrix, matrix.T @ residual
    normal[11:, 11:] += np.diag(prior**-2)
    right[11:] -= at / prior**2
    normal[0, 0] += 0.5**-2
    right[0] += 0.1 / 0.5**2
    full, covariance = np.linalg.solve(normal, right), np.linalg.inv(normal)
    found = solve(parts, prior, at, label_priors={"A": {"teff": (0.1, 0.5)}})
    assert np.allclose(found.shared, full[11:], atol=1e-8)
    assert np.allclose(found.shared_error, np.sqrt(np.diag(covariance))[11:], atol=1e-8)
    assert np.allclose(list(found.labels["A"].values()), full[:2], atol=1e-8)
    assert np.allclose(found.covariance["A"], covariance[:2, :2], atol=1e-8)
    assert found.label_errors["B"]["vmic"] == pytest.approx(covariance[2, 2] ** 0.5)
    held = solve(parts, prior, at, free=np.arange(12) < 3, scale={"A": 4.0})
    assert (held.shared[3:] == 0).all()
    assert np.array_equal(held.shared_error[3:], prior[3:])


def test_a_label_without_data_is_named() -> None:
    part = equations("A", (1.0, 2.0), ("teff",), np.zeros((5, 1)), np.ones((5, 1)), sparse.csc_matrix((5, 2)),
                     np.ones(5), 0.0)  # fmt: skip
    with pytest.raises(ValueError, match="teff of A is not determined"):
        solve([part], np.ones(2), np.zeros(2))


def test_widths_and_wavelengths_change_as_they_are_written() -> None:
    values = np.array([-7.5, 281.253, 0.0])
    assert np.allclose(moved("gamvw", values, 0.1), [-7.4, round(281 * 10**0.1) + 0.253, 0.0])
    assert np.allclose(moved("wlcent", np.array([6150.0]), 3.0), 6150.003)
    # Na I 5890: 407.237, and a width of -7.526 (Barklem, Piskunov & O'Mara 2000, A&AS 142, 467).
    assert abo_width(np.array([407.237]), 22.99)[0] == pytest.approx(-7.526, abs=0.01)


def test_priors_come_from_the_list_then_from_its_references() -> None:
    lines = spectra.read_lines()[:5]
    table = lines._lines.copy()
    table["reference"] = ["gf:K14", "gf:BWL", "gf:K14", "", ""]
    table["error"] = [0.5, 0.03, 0.25, 1.0, 0.5]
    lines._lines = table
    found = prior_errors(lines, LineOptions(prior=0.2, priors={"gf:K14": 0.4}))
    assert np.allclose(found, [0.4, np.log10(1.03), np.log10(1.25), 0.2, 0.2])
    assert np.allclose(prior_errors(lines, LineOptions(prior=0.2, priors={str(table["species"][3]): 0.1}))[3], 0.1)


def test_components_of_a_transition_change_together() -> None:
    lines = spectra.read_lines()[:6]
    table = lines._lines.copy()
    table["species"] = ["Mn 1", "Mn 1", "Mn 1", "Fe 1", "TiO 1", "H 1"]
    table["wlcent"] = [6160.50, 6160.55, 6162.0, 6160.60, 6161.0, 6161.5]
    table["excit"] = [3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    lines._lines = table
    shared = shared_parameters(lines, np.full(6, 0.1), [WINDOW], LineOptions())
    assert [m.tolist() for m in shared.members] == [[0, 1], [3], [2]]
    changed = changed_lines(lines, shared, np.array([0.3, 0.0, 0.0]))
    assert np.allclose(np.asarray(changed["gflog"]) - np.asarray(lines["gflog"]), [0.3, 0.3, 0, 0, 0, 0])


def test_balmer_lines_are_free_where_asked(tmp_path: Path) -> None:
    """Their wings reach all over a window, and the derivative is that of a list with another log gf."""
    import h5py

    with h5py.File(tmp_path / "l.h5", "w") as file:  # as Korg has them, wavelengths in vacuum
        file["wl"], file["formula"] = np.array([6564.6, 6571.0]), np.array([[1, 0, 0], [26, 0, 0]], dtype="u1")
        file["ionization"], file["log_gf"] = np.ones(2, dtype=int), np.array([0.71, -0.4])
        for name, values in (("E_lo", [10.2, 4.7]), ("gamma_rad", [8.0] * 2), ("gamma_stark", [-5.0] * 2)):
            file[name] = np.array(values)
        file["vdW"] = np.array([0.0, -7.5])
    lines, window = read_lines(tmp_path / "l.h5"), (6561.0, 6571.0)
    star = jobs.StarModel("atlas12", 1.5, {**SUN, "resolution": 30_000.0})
    selection = jobs.SelectJob(star, lines, window).run()
    assert "H 1" not in shared_parameters(lines, selection.depth, [window], LineOptions()).species
    shared = shared_parameters(lines, selection.depth, [window], LineOptions(hydrogen=0.15, prior=0.2))
    assert shared.prior.tolist() == [0.15 if n == "H 1" else 0.2 for n in shared.species]
    at = np.where(shared.species == "H 1", 0.05, 0.0)
    assert at.any()
    near = np.arange(len(lines))
    made = jobs.shared_job(star, lines, window, selection, near, shared, np.flatnonzero(at)).run()
    moved_ = changed_lines(lines, shared, at)
    other = jobs.shared_job(star, moved_, window, selection, near, shared, np.zeros(0, dtype=int)).run()
    derivative = made.columns.toarray() @ at
    np.testing.assert_allclose(derivative, other.flux - made.flux, atol=1e-9)
    assert np.abs(derivative[[20, -20]]).min() > 1e-3  # in the wings


def test_widths_and_wavelengths_are_free_where_asked() -> None:
    lines = spectra.read_lines()
    lines._lines["gamvw"] = -7.5
    depth = np.linspace(0.01, 0.5, len(lines))
    plain = shared_parameters(lines, depth, [WINDOW], LineOptions())
    assert set(plain.kind) == {"gflog"}
    more = shared_parameters(lines, depth, [WINDOW], LineOptions(waals=0.3, waals_prior=0.2, wavelength=3.0))
    assert {k: int((more.kind == k).sum()) for k in set(more.kind)} == {
        "gflog": len(plain), "wlcent": len(plain), "gamvw": int((plain.depth >= 0.3).sum())
    }  # fmt: skip
    assert set(more.prior[more.kind == "gamvw"]) == {0.2}
    assert set(more.prior[more.kind == "wlcent"]) == {3.0}
    with pytest.raises(ValueError, match="prior = 0"):
        LineOptions(prior=0.0)


def test_jobs_are_done_anywhere_and_kept(tmp_path: Path) -> None:
    """By this process, by a client that is Dask's in what is asked of it, and from disk."""

    class Client:
        def submit(self, do: Any, *arguments: Any, pure: bool) -> Any:
            assert not pure
            value = do(*arguments)
            return type("Future", (), {"result": lambda self: value})()

    class Job:
        runs = 0

        def key(self) -> str:
            return "job-1"

        def run(self) -> float:
            Job.runs += 1
            return 3.0

        @staticmethod
        def pack(found: float) -> dict[str, Any]:
            return {"x": np.array(found)}

        @staticmethod
        def unpack(data: Any) -> float:
            return float(data["x"])

    said: list[str] = []
    with jobs.runner(tmp_path, client=Client()) as run:
        assert run([Job()], "a job") == [3.0]
    with jobs.runner(tmp_path, progress=said.append) as run:
        assert run([Job()], "a job") == [3.0]
    assert Job.runs == 1
    assert said == ["a job: 1 of 1"]
    with jobs.runner(None) as run:
        run([Job()], "a job")
    assert Job.runs == 2


def test_a_line_that_gets_weaker_stays_among_those_near_a_window() -> None:
    """Which lines reach a window from far away depends on log gf, and a selection is of the lines as they were."""
    lines, window = spectra.read_lines(), (6153.0, 6157.0)
    star = jobs.StarModel("atlas12", 1.5, {"teff": 5777.0, "logg": 4.44, "vmic": 1.0, "resolution": 30_000.0})
    near = np.flatnonzero(lines_near(lines, [window]))
    ca = near.tolist().index(int(np.argmin(np.abs(np.asarray(lines["wlcent"]) - 6162.173))))
    selection = jobs.SelectJob(star, lines[near], window).run()
    assert selection.strong[ca]
    job = jobs.LineJob(star, lines[near], window, selection, total=0)
    weaker = replace(job, lines=lines[near])
    gf = weaker.lines._lines["gflog"].to_numpy().copy()
    gf[ca] -= 1.2
    weaker.lines._lines = weaker.lines._lines.assign(gflog=gf)
    assert not lines_near(weaker.lines, [window])[ca]
    assert 0 < np.abs(weaker.run().flux - job.run().flux).max() < 0.01


def test_only_flux_below_the_model_loses_its_weight() -> None:
    """Weight times residual is the derivative of the loss, and the slope its derivative; above 3 sigma it goes on."""
    off = np.array([-30.0, -2.0, 0.5, 2.9, 3.1, 30.0])
    for nu in (4.0, 0.0):
        psi = _weight(off, nu) * off
        steps = [(_loss(x + 1e-4, nu) - _loss(x - 1e-4, nu)) / 2e-4 for x in off.reshape(-1, 1)]
        assert np.allclose(psi, steps, rtol=1e-4)
        more = _weight(off + 1e-5, nu) * (off + 1e-5)
        assert np.allclose(_slope(off, nu), (more - psi) / 1e-5, rtol=1e-3, atol=1e-4)
    assert _weight(off, 4.0)[0] < 0.01 < 0.3 < _weight(off, 4.0)[-1]
    assert (_weight(off, 0.0) == 1).all()


# ---------------------------------------------------------------------- mock stars


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any, np.ndarray, Path]:
    work = tmp_path_factory.mktemp("work")
    stars = {"Sun": {**SUN, "vmac": 3.0}, "K": {"teff": 5000.0, "logg": 4.5, "monh": -0.2, "vmic": 1.0, "vmac": 2.0}}
    options = LineOptions(iterations=3, shallowest=0.02)
    found = recovery(spectra.read_lines(), Windows((WINDOW,)), stars=stars, options=options, work=work)
    return (*found, work)


def test_what_was_put_in_comes_back(mock: Any) -> None:
    figures, found, truth, _ = mock
    deep = figures["known"]
    assert deep["lines"] >= 3
    assert deep["rms"] < 0.03 < 0.1 < deep["rms_before"]
    pull = (found.change - truth) / found.error
    assert (np.abs(pull[found.constrained]) < 4).all()
    for labels in figures["labels"].values():
        assert all(abs(v["off"]) < 4 * v["error"] for v in labels.values())
    assert "deeper than 0.05" in format_recovery(figures)


def test_an_interrupted_calibration_goes_on(mock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same folder nothing is synthesised again; a result that is damaged is."""
    _, found, _, work = mock
    runs = []
    real = jobs.LineJob.run
    monkeypatch.setattr(jobs.LineJob, "run", lambda self: runs.append(1) or real(self))
    damaged = next(work.glob("lines-*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    stars = {"Sun": {**SUN, "vmac": 3.0}, "K": {"teff": 5000.0, "logg": 4.5, "monh": -0.2, "vmic": 1.0, "vmac": 2.0}}
    options = LineOptions(iterations=3, shallowest=0.02)
    _, again, _ = recovery(spectra.read_lines(), Windows((WINDOW,)), stars=stars, options=options, work=work)
    assert len(runs) == 1
    assert np.array_equal(again.change, found.change)


def test_derivatives_by_colour_are_those_line_by_line() -> None:
    """A colour's lines, perturbed at once and told apart by where they are, against each line perturbed alone."""
    lines = spectra.read_lines()
    star = jobs.StarModel("atlas12", 2.0, {**SUN, "vmac": 3.0, "resolution": 30_000.0})
    synthesis = star.synthesis(lines, [WINDOW])
    selection = synthesis.select(star.stellar)
    depth = np.zeros(len(lines))
    near = np.isin(np.asarray(lines["wlcent"]), np.asarray(synthesis.lines["wlcent"]))
    depth[near] = selection.depth
    shared = shared_parameters(lines, depth, [WINDOW], LineOptions(shallowest=0.02))
    job = jobs.shared_job(star, lines[near], WINDOW, selection, np.flatnonzero(near), shared, np.arange(len(shared)))
    together = job.run().columns.toarray()
    assert together.shape[1] == len(shared) > 5
    for j in range(len(shared)):
        change = np.zeros(len(shared))
        change[j] = 0.05
        alone = replace(job, lines=changed_lines(lines, shared, change)[near], numbers=np.zeros(0, dtype=int),
                        members=(), kind=shared.kind[:0], start=shared.start[:0], stop=shared.stop[:0])  # fmt: skip
        base = replace(alone, lines=lines[near])
        true = (alone.run().flux - base.run().flux) / 0.05
        assert np.abs(together[:, j] - true).max() < 0.03 * np.abs(true).max() + 2e-4


def test_a_line_that_the_list_lacks_does_not_pull_with_students_t() -> None:
    """A dip beside a line: normal residuals would have the line make it."""
    lines = spectra.read_lines()
    wave = np.arange(6164.0, 6167.5, 0.05)
    flux = spectra.synthesize("atlas12", wave, lines, **SUN, resolution=30_000.0)
    flux = flux * (1 - 0.4 * np.exp(-0.5 * ((wave - 6165.50) / 0.09) ** 2))
    observed = ObservedSpectrum.from_arrays(wave, flux, 0.003, name="Sun")
    settings = Settings("", {**SUN, "resolution": 30_000.0}, (), options=Options(floor=0.0, velocity="none"))
    star = CalibrationStar("Sun", settings, observed, Windows(((6164.5, 6167.0),)))
    change = {}
    for student in (0.0, 4.0):
        found = calibrate([star], lines, LineOptions(iterations=2, student=student, shallowest=0.1))
        change[student] = float(found.change[np.argmin(np.abs(found.shared.wavelength - 6165.36))])
    assert abs(change[4.0]) < 0.5 * abs(change[0.0])
    assert change[0.0] > 0.1


def test_lines_that_no_star_constrains_keep_their_values(mock: Any) -> None:
    _, found, _, _ = mock
    assert (found.change[~found.constrained] == 0).all()
    table = Corrections.of(found, spectra.read_lines()).table
    assert [("unconstrained" in f) for f in table["flags"]] == (~found.constrained).tolist()


def test_stars_and_windows_can_be_taken_away(mock: Any) -> None:
    _, found, _, _ = mock
    lines = spectra.read_lines()
    every, sun = Corrections.of(found, lines), without(found, lines, stars=["K"])
    assert (np.asarray(sun.table["error"]) >= np.asarray(every.table["error"]) - 1e-4).all()
    assert not np.allclose(sun.table["change"], every.table["change"])
    assert not any("K" in s for s in sun.table["stars"])
    with pytest.raises(ValueError, match="nothing is left"):
        without(found, lines, stars=["K", "Sun"])


def test_what_errors_lack_is_found_and_counted_by_other_stars() -> None:
    """Off by 50 K (standard deviation), errors of 30: they lack 40."""
    random = np.random.default_rng(3)
    rows = [
        {"reference": {"teff": 5000.0, "logg": 4.0, "monh": 0.0},
         "reference_error": {"teff": 5.0, "logg": float("nan"), "monh": 0.0},
         "result": {"values": {"teff": 5000 + random.normal(0, 50), "logg": 4 + random.normal(0, 0.1), "monh": 1.0},
                    "errors": {"teff": 30.0, "logg": 0.2, "monh": None},
                    "error_parts": {"external": {"logg": 0.19}}}} for _ in range(400)
    ]  # fmt: skip
    rows.append({**rows[0], "result": {"failed": "no light"}})
    found, inside, every = external(rows)
    assert found["teff"] == pytest.approx((50**2 - 30**2 - 5**2) ** 0.5, abs=4)
    assert found["logg"] == pytest.approx((0.1**2 - 0.2**2 + 0.19**2) ** 0.5, abs=0.01)  # what it has is no error here
    assert "monh" not in found
    assert (every, inside / every) == (800, pytest.approx(0.683, abs=0.01))
    for row in rows[:-1]:
        row["result"]["errors"]["teff"] = 80.0
    assert external(rows)[0]["teff"] == 0.0


def test_the_table_of_stars_not_seen() -> None:
    reference = {"teff": 5000.0, "logg": 4.0, "monh": 0.0}
    errors = {"teff": 90.0, "logg": 0.2, "monh": None}
    result = {"values": {"teff": 5100.0, "logg": 4.1, "monh": -0.1}, "errors": errors,
              "windows": [{"rms": 0.01}, {"rms": 0.01}]}  # fmt: skip
    head = {"lines": "as it is", "reference": reference,
            "reference_error": {"teff": 30.0, "logg": 0.0, "monh": float("nan")}}  # fmt: skip
    rows = [{"name": "A", **head, "result": result}, {"name": "B", **head, "result": {"failed": "no data"}}]
    text = _left_out_table(rows, ["Sun"])
    assert "| A | 5000 4.00 +0.00 | as it is | +100 | +0.10 | -0.10 | 1.00 |" in text
    assert "failed: no data" in text
    assert "| as it is | 1 | 100 | 0.10 | 0.10 | 1.00 | 1 of 2 |" in text


def test_packaged_stars_can_be_read() -> None:
    from sme_pinn_atmo.calibration import packaged_stars
    from sme_pinn_atmo.validation.benchmarks import reference_stars
    from sme_pinn_atmo.validation.solar import FEATURES, WINDOWS

    for name in packaged_stars():
        stars, options, listed = read_stars(name)
        assert options.prior == 0.25
        assert listed in ("galah-lines", "solar-lines")
        sun = next(s for s in stars if s.name == "Sun")
        assert sun.settings.start["monh"] == 0.0
        assert "monh" not in sun.settings.free
        for star in stars:
            assert star.name == "Sun" or star.name in [k["name"] for k in reference_stars()]
    assert Windows.read("solar-report").windows == tuple(w for w in WINDOWS if w not in FEATURES)


@pytest.mark.skipif("SME_PINN_ATMO_DATA" not in os.environ, reason="SME_PINN_ATMO_DATA is not set")
def test_packaged_corrections_are_of_the_list_that_data_get_brings() -> None:
    from sme_pinn_atmo.calibration import packaged_corrections

    for name in packaged_corrections():
        made = Corrections.read(name)
        assert made.card["models"]
        lines = read_lines(made.card["list"]["name"], [tuple(w) for w in made.card["windows"]])
        corrected, doubts = made.apply(lines)
        assert not doubts
        moved_ = np.asarray(corrected["gflog"]) != np.asarray(lines["gflog"])
        assert 0 < moved_.sum() <= made.card["list"]["lines"]


# ---------------------------------------------------------------------- corrections and writers


@pytest.fixture(scope="module")
def corrections(mock: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out") / "mine.ecsv"
    Corrections.of(mock[1], spectra.read_lines(), {"list": {"name": "the packaged list"}}).write(path)
    return path


def test_corrections_are_written_read_and_applied(mock: Any, corrections: Path) -> None:
    lines = spectra.read_lines()
    read = Corrections.read(corrections)
    assert read.card["list"]["name"] == json.loads(corrections.with_suffix(".json").read_text())["list"]["name"]
    corrected, doubts = read.apply(lines)
    assert not doubts
    assert np.allclose(read.changes(mock[1].shared), mock[1].change, atol=1e-4)
    assert not read.changes(mock[1].shared.where(mock[1].shared.kind == "none")).any()
    want = changed_lines(lines, mock[1].shared, mock[1].change)
    assert np.abs(np.asarray(corrected["gflog"]) - np.asarray(want["gflog"])).max() < 1e-4
    assert np.ptp(np.asarray(corrected["gflog"]) - np.asarray(lines["gflog"])) > 0.1
    error = np.asarray(corrected[CORRECTED])
    known = np.array(["unconstrained" not in str(f) for f in read.table["flags"]])
    assert np.isfinite(error).sum() == sum(len(m) for m, k in zip(read.match(lines), known, strict=True) if k)
    assert np.nanmin(error) == pytest.approx(np.asarray(read.table["error"])[known].min())
    assert "has others" in read.apply(corrected)[1][0]
    with pytest.raises(ValueError, match="no line of the list"):
        read.apply(lines[np.asarray(lines["wlcent"]) > 6172])
    on = Corrections(read.table, {"stars": [{"pattern": "asplund2009"}]})
    assert on.on_pattern("asplund2009") == []
    assert "on the solar abundances asplund2009" in on.on_pattern("grevesse2007")[0]
    with pytest.raises(FileNotFoundError, match="neither a set"):
        Corrections.read("nothing")


def test_a_fit_takes_corrections(corrections: Path, tmp_path: Path) -> None:
    """The list that a fit uses is the corrected one."""
    wave = np.arange(6160.0, 6164.0, 0.05)
    (tmp_path / "star.csv").write_text("wave,flux,error\n" + "\n".join(f"{w},0.99,0.01" for w in wave))
    (tmp_path / "star.toml").write_text(
        f'[star]\nspectrum = "star.csv"\ncorrections = "{corrections}"\nmedium = "air"\n'
        "[start]\nteff = 5777\nlogg = 4.44\n[fit]\nfree = ['monh']\nvelocity = 'none'\niterations = 1\n"
        "atmosphere_errors = false\nline_errors = false\n"
    )
    settings = Settings.read(tmp_path / "star.toml")
    made = Corrections.read(corrections)
    Corrections(made.table, {**made.card, "stars": [{"pattern": "grevesse2007"}]}).write(tmp_path / "c.ecsv")
    both = (settings.with_(corrections=str(tmp_path / "c.ecsv")), replace(settings, corrections=None))
    fits = [s.run() for s in both]
    assert fits[0].provenance["lines_sha256"] != fits[1].provenance["lines_sha256"]
    assert [any("solar abundances grevesse2007" in w for w in f.warnings) for f in fits] == [True, False]
    text = (tmp_path / "star.toml").read_text().replace("[fit]", "[fit]\ncorrected_scatter = 0.149")
    (tmp_path / "worse.toml").write_text(text)
    worse = Settings.read(tmp_path / "worse.toml").run()  # as wrong as a line of the list
    assert worse.errors.scaled["monh"] > 1.2 * fits[0].errors.scaled["monh"]
    assert [f.errors.external["monh"] for f in fits] == [EXTERNAL["monh"], EXTERNAL_AS_IT_IS["monh"]]


def test_vald_files_come_back_as_they_were(corrections: Path, tmp_path: Path) -> None:
    lines, made = spectra.read_lines(), Corrections.read(corrections)
    assert write_lines(tmp_path / "x.lin", lines, "vald", made) == []
    back, want = spectra.read_lines(tmp_path / "x.lin"), made.apply(lines)[0]
    assert list(back["species"]) == list(want["species"])
    for column, size in (("wlcent", 1e-5), ("excit", 1e-5), ("gflog", 1e-4), ("gamrad", 1e-3), ("gamvw", 1e-4)):
        off = np.asarray(back[column], dtype=float) - np.asarray(want[column], dtype=float)
        assert np.abs(off).max() <= size
    assert (prior_errors(back, LineOptions(prior=0.2)) == 0.2).all()  # notes are not taken for grades
    text = (tmp_path / "x.lin").read_text()
    assert re.search(r"log gf -?\d\.\d+ -> -?\d\.\d+ \+- 0\.\d+; (Sun|K)", text)
    # What Korg goes by: the first line, the header, a second line that starts with a blank, scaled isotopes.
    rows = text.replace("'", '"').splitlines()
    assert re.match(r"^\s+\d", rows[0])
    assert "air" in rows[2]
    assert "eV" in rows[2]
    assert re.match(r'^"? ', rows[4])
    assert any(r.startswith("* oscillator strengths were scaled ") for r in rows)
    body = [r for r in rows[3::4] if re.match(r'^"[A-Z]', r)]
    body = body[: next(i for i, r in enumerate(rows[3::4]) if not re.match(r'^"[A-Z]', r))]
    assert len(body) == len(lines)


def test_moog_and_turbospectrum(corrections: Path, tmp_path: Path) -> None:
    lines, made = spectra.read_lines(), Corrections.read(corrections)
    write_lines(tmp_path / "x.moog", lines, "moog", made, [WINDOW])
    want = made.apply(lines)[0]
    inside = (np.asarray(want["wlcent"]) > WINDOW[0]) & (np.asarray(want["wlcent"]) < WINDOW[1])
    table = read_moog_lines(tmp_path / "x.moog")
    assert list(table["species"]) == list(np.asarray(want["species"])[inside])
    assert np.allclose(table["log_gf"], np.asarray(want["gflog"])[inside], atol=6e-4)
    write_lines(tmp_path / "x.ts", lines, "turbospectrum", made)
    rows = (tmp_path / "x.ts").read_text().splitlines()
    heads = [i for i, r in enumerate(rows) if re.match(r"' +\d+\.000 +' +\d+ +\d+$", r)]
    assert sum(int(rows[i].split()[-1]) for i in heads) == len(lines) == len(rows) - 2 * len(heads)
    assert sorted(float(r.split()[0]) for r in rows if not r.startswith("'")) == pytest.approx(
        sorted(np.asarray(lines["wlcent"], dtype=float)), abs=1e-3
    )
    with pytest.raises(ValueError, match="no line"):
        write_lines(tmp_path / "y", lines, "moog", None, [(1.0, 2.0)])


@pytest.mark.korg
def test_korg_reads_what_is_written(corrections: Path, tmp_path: Path) -> None:
    from sme_pinn_atmo import korg

    lines, made = spectra.read_lines(), Corrections.read(corrections)
    write_lines(tmp_path / "x.lin", lines, "vald", made)
    back = korg.read_linelist(tmp_path / "x.lin")
    assert len(back) == (np.asarray(lines["species"]) != "H 1").sum()
    assert float(back[0].log_gf) == pytest.approx(float(np.asarray(made.apply(lines)[0]["gflog"])[0]), abs=1e-3)


def test_laboratory_values_are_compared(mock: Any, corrections: Path, tmp_path: Path) -> None:
    """A laboratory that has the truth: the calibrated values agree with it, the list's do not."""
    _, found, truth, _ = mock
    lines = spectra.read_lines()
    write_lines(tmp_path / "lab", changed_lines(lines, found.shared, truth), "moog")
    figures = laboratory(Corrections.read(corrections), lines, tmp_path / "lab", largest=0.03)["groups"]
    assert figures["all"]["lines"] >= 3
    assert figures["all"]["calibrated"]["rms"] < 0.03 < figures["all"]["list"]["rms"]


# ---------------------------------------------------------------------- the command


def test_corrections_are_compared(corrections: Path, tmp_path: Path) -> None:
    made = Corrections.read(corrections)
    table = made.table.copy()
    known = np.array(["unconstrained" not in str(f) for f in table["flags"]]) & (table["parameter"] == "log gf")
    table["change"][known] += 0.03
    table["change"][~known] += 5.0  # which nobody knows
    Corrections(table, made.card).write(tmp_path / "other.ecsv")
    *_, every = compared(made, Corrections.read(tmp_path / "other.ecsv"))
    assert (every["lines"], every["median"]) == (known.sum(), pytest.approx(0.03, abs=2e-4))
    assert every["scatter"] < 2e-4
    error = np.hypot(*[table["error"][known]] * 2)
    assert every["within"] == pytest.approx((error > 0.03).mean(), abs=0.01)
    command = ["validate", "calibration", "--part", "others", "--corrections", str(corrections)]
    said = CliRunner().invoke(main, [*command, "--against", str(tmp_path / "other.ecsv")]).output
    assert f"| 0 to inf | {known.sum()} | +0.030 |" in said
    assert "others needs --against" in CliRunner().invoke(main, command).output


def test_the_command_calibrates_and_writes_a_page(tmp_path: Path) -> None:
    wave = np.arange(6149.0, 6154.0, 0.05)
    flux = spectra.synthesize("atlas12", wave, spectra.read_lines(), **SUN, resolution=30_000.0)
    rows = "\n".join(f"{w},{f},0.003" for w, f in zip(wave, flux, strict=True))
    (tmp_path / "sun.csv").write_text("wave,flux,error\n" + rows)
    (tmp_path / "w.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: low, datatype: float64}\n"
                                     "# - {name: high, datatype: float64}\nlow high\n6150 6153\n")  # fmt: skip
    (tmp_path / "stars.toml").write_text(
        f'windows = "{tmp_path / "w.ecsv"}"\n[lines]\niterations = 1\nshallowest = 0.1\n[start]\nresolution = 30000\n'
        '[fit]\nfloor = 0.0\n[[stars]]\nname = "Sun"\nspectrum = "sun.csv"\nmedium = "air"\n'
        "start = {teff = 5777, logg = 4.44}\n"
    )
    run = CliRunner()
    result = run.invoke(main, ["calibrate", str(tmp_path / "stars.toml"), "--out", str(tmp_path / "c.ecsv")])
    assert result.exit_code == 0, result.output
    assert "parameters are constrained" in result.stdout
    page = (tmp_path / "c.html").read_text()
    assert page.count("data:image/png") == 2
    assert json.loads((tmp_path / "c.json").read_text())["stars"][0]["name"] == "Sun"
    result = run.invoke(main, ["calibrate", str(tmp_path / "stars.toml"), "--out", str(tmp_path / "c.ecsv"),
                               "--without", "Moon"])  # fmt: skip
    assert "no star 'Moon'" in result.output
    start = Corrections.read(tmp_path / "c.ecsv")
    start.table["change"][0] += 0.4
    start.write(tmp_path / "off.ecsv")
    first = {}
    for name in ("c", "off"):
        result = run.invoke(main, ["calibrate", str(tmp_path / "stars.toml"), "--out", str(tmp_path / "d.ecsv"),
                                   "--start", str(tmp_path / f"{name}.ecsv")])  # fmt: skip
        first[name] = float(re.search(r"iteration 1: minus log posterior ([\d.]+)", result.output).group(1))
    assert first["off"] > first["c"] + 10
    assert Corrections.read(tmp_path / "d.ecsv").card["start"]["name"] == "off"
    (tmp_path / "bad.toml").write_text('[lines]\nprio = 1\n[[stars]]\nname = "Sun"\nspectrum = "sun.csv"\n')
    with pytest.raises(ValueError, match="no 'prio'"):
        read_stars(tmp_path / "bad.toml")
    with pytest.raises(ValueError, match="a name of its own"):
        calibrate([], spectra.read_lines())


def test_lists_are_written_by_the_command(corrections: Path, tmp_path: Path) -> None:
    lines = spectra.read_lines()
    write_lines(tmp_path / "in.lin", lines, "vald")
    result = CliRunner().invoke(main, [
        "write-lines", str(tmp_path / "in.lin"), "--corrections", str(corrections), "--format", "moog", "--wave",
        "6160", "6165", "--out", str(tmp_path / "out.moog"),
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    table, want = read_moog_lines(tmp_path / "out.moog"), Corrections.read(corrections).apply(lines)[0]
    inside = (np.asarray(want["wlcent"]) > 6160) & (np.asarray(want["wlcent"]) < 6165)
    assert np.allclose(table["log_gf"], np.asarray(want["gflog"])[inside], atol=1e-3)

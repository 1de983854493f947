"""Scores against their definitions; the treatment of spectra; what a missing or bad file says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sme_pinn_atmo import Emulator, physics
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import models
from sme_pinn_atmo.emulator.runtime import Network
from sme_pinn_atmo.grids import COLUMNS, Structures, write_npz
from sme_pinn_atmo.validation.physical import bent, violations, violations_of
from sme_pinn_atmo.validation.scores import (
    label_sets,
    predict_folds,
    predict_like,
    relative_errors,
    score,
    score_planes,
    score_profiles,
)  # fmt: skip
from sme_pinn_atmo.validation.spectrum import Atlas, broaden, fit_to_atlas, read_atlas


def test_scores_are_median_and_p95_of_the_relative_error(structures: Structures) -> None:
    rng = np.random.default_rng(0)
    factor = 1 + rng.normal(0, 0.01, structures.profiles.shape)
    scores = score_profiles(structures.profiles * factor, structures)
    inner = 100 * np.abs(factor[:, 1:] - 1)
    for j, column in enumerate(COLUMNS):
        assert scores["all"][column]["median"] == pytest.approx(np.median(inner[..., j]))
        assert scores["all"][column]["p95"] == pytest.approx(np.percentile(inner[..., j], 95))
    assert scores["all"]["models"] == len(structures) == sum(scores[k]["models"] for k in scores if k != "all")


def test_the_outermost_layer_is_not_scored(structures: Structures) -> None:
    wrong = structures.profiles.copy()
    wrong[:, 0] *= 2
    assert np.nanmax(relative_errors(wrong, structures)) == 0


def test_hydrostatic_structures_have_a_small_residual_and_others_do_not(structures: Structures) -> None:
    good = score_profiles(structures.profiles, structures)["all"]["HSE"]["median"]
    spoilt = structures.profiles.copy()
    spoilt[:, ::2, 2] *= 1.05
    assert good < 0.2 < 5 < score_profiles(spoilt, structures)["all"]["HSE"]["median"]


def test_models_outside_the_domain_are_counted_not_scored(tiny_model: Path, structures: Structures) -> None:
    emulator = Emulator.load(tiny_model)
    labels = {**structures.labels, "teff": structures.labels["teff"].copy()}
    labels["teff"][:3] = 2e4
    scores = score(emulator, replace(structures, labels=labels))
    assert scores["outside"] == 3
    assert scores["all"]["models"] == len(structures) - 3


def test_prediction_is_at_the_depths_of_the_truth(tiny_model: Path, structures: Structures) -> None:
    emulator = Emulator.load(tiny_model)
    part = replace(structures, profiles=structures.profiles[:, 5:20], log_tau_ross=structures.log_tau_ross[:, 5:20],
                   n_depth=np.full(len(structures), 15))  # fmt: skip
    np.testing.assert_allclose(predict_like(emulator, part), predict_like(emulator, structures)[:, 5:20], rtol=1e-9)


def test_models_whose_depths_do_not_increase_are_not_scored(tiny_model: Path, structures: Structures) -> None:
    emulator, log_tau = Emulator.load(tiny_model), structures.log_tau_ross.copy()
    log_tau[2, 7] = log_tau[2, 6]
    predicted = predict_like(emulator, replace(structures, log_tau_ross=log_tau))
    assert np.isnan(predicted).all(axis=(1, 2)).nonzero()[0].tolist() == [2]


def test_structures_of_any_model_and_data_are_drawn(tiny_model: Path, structures: Structures, tmp_path: Path) -> None:
    truth = tmp_path / "truth.npz"
    write_npz(truth, structures)
    arguments = ["validate", "structures", str(tiny_model), str(truth), "--out", str(tmp_path / "a.png")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    for name in ("a.png", "a_hydrostatics.png", "a_coverage.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a_coverage.png", "a_hydrostatics.png", "truth.npz"]
    result = CliRunner().invoke(main, [*arguments, "--heldout"])
    assert result.exit_code == 1
    assert "records no held-out rows of truth.npz" in result.output


def test_folds_pool_what_each_model_held_out(tiny_model: Path, structures: Structures) -> None:
    emulator = Emulator.load(tiny_model)

    def holding(rows: list[int]) -> Emulator:
        card = {**emulator.card, "heldout": {"rows": {"grid": {"file": "grid.npz", "rows": rows}}}}
        return Emulator(emulator.name, emulator.network, emulator.domain, card)

    n = len(structures)
    halves = [holding(list(range(0, n, 2))), holding(list(range(1, n, 2)))]
    pooled = score_profiles(*predict_folds(halves, {"grid.npz": structures}))
    assert pooled["all"]["T"] == score(emulator, structures)["all"]["T"]
    with pytest.raises(ValueError, match="held out twice"):
        predict_folds([holding([1, 2]), holding([2])], {"grid.npz": structures})
    with pytest.raises(ValueError, match="no card records"):
        predict_folds([holding([])], {"grid.npz": structures})


def test_scores_by_region_and_by_plane(tiny_model: Path, structures: Structures) -> None:
    emulator = Emulator.load(tiny_model)
    sets = label_sets(structures)
    m_h = structures.labels["m_h"]
    assert sum(there.sum() for name, there in sets.items() if name.startswith("m_h")) == len(structures)
    assert (m_h[sets["m_h >= -0.3"]] >= -0.3).all()
    assert (m_h[sets["m_h -1.25 to -0.3"]] < -0.3).all()
    low, rows = float(np.median(m_h)), np.arange(len(structures))
    planes = [f"m_h={low:.6f}:10", "teff=1:2"]
    held = {"rows": {"grid": {"file": "grid.npz", "rows": rows.tolist()}}, "planes": planes}
    card = {**emulator.card, "heldout": held}
    found = score_planes([replace(emulator, card=card)], {"grid.npz": structures})
    upper = structures.select(np.flatnonzero(m_h >= low - 1e-6))
    assert found[planes[0]]["models"] == len(upper)
    assert found[planes[0]]["all"]["T"] == score(emulator, upper)["all"]["T"]
    assert found[planes[1]] == {"models": 0}


def test_evaluate_prints_what_score_gives(tiny_model: Path, structures: Structures, tmp_path: Path) -> None:
    write_npz(tmp_path / "grid.npz", structures)
    result = CliRunner().invoke(main, ["evaluate", str(tiny_model), str(tmp_path / "grid.npz"), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.output) == score(Emulator.load(tiny_model), structures)
    bad = CliRunner().invoke(main, ["evaluate", str(tiny_model), str(tmp_path / "grid.npz"), "--family", "ODFNEW"])
    assert bad.exit_code == 1
    assert "family" in bad.output


@pytest.mark.parametrize("name", sorted(models()))
def test_packaged_models_are_physical_everywhere(name: str) -> None:
    counts, bad = violations(Emulator.load(name), 20_000, seed=1)
    assert len(bad) == 0, counts


def test_what_is_not_physical_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `physical_pressure` a few stars lose their gas pressure."""
    monkeypatch.setattr(physics, "physical_pressure", lambda p, *_: p)
    emulator = Emulator.load("atlas12")
    tensors = {**emulator.network.tensors, "mean": emulator.network.tensors["mean"] + [[0], [0], [2.5], [0]]}
    network = Network(emulator.network.labels, emulator.network.features, tensors)
    counts, bad = violations(replace(emulator, network=network), 2000, seed=1)
    assert counts["not finite"] == counts["electrons"] > 0
    assert counts["pressure"] > 0
    assert len(bad) >= counts["not finite"]
    assert bent(emulator, 2000, seed=1) == 0  # nothing bends here
    monkeypatch.undo()
    assert bent(emulator, 2000, seed=1) > 0


def test_computed_models_are_counted_alike(structures: Structures) -> None:
    assert not any(violations_of(structures).values())
    spoilt = structures.profiles.copy()
    spoilt[:2, 10, 2] = spoilt[:2, 9, 2]
    spoilt[1:4, 12, 0] = 0.0
    spoilt[5, 3, 3] = np.inf
    counts = violations_of(replace(structures, profiles=spoilt))
    assert counts == {"not finite": 1, "rhox": 3, "pressure": 2, "electrons": 1}


def line_spectrum(wave: np.ndarray) -> np.ndarray:
    return 1 - 0.6 * np.exp(-0.5 * ((wave - 6150) / 0.04) ** 2) - 0.3 * np.exp(-0.5 * ((wave - 6153) / 0.06) ** 2)


def test_fit_finds_velocity_broadening_and_continuum() -> None:
    wave = np.arange(6145.0, 6158.0, 0.01)
    flux = line_spectrum(wave)
    observed_wave = np.arange(6146.0, 6157.0, 0.013)
    shifted = np.interp(observed_wave / (1 + 0.7 / 299792.458), wave, broaden(wave, flux, 1.8))
    observed = shifted * (0.99 + 0.004 * (observed_wave - 6151.495) / 6.495)
    fit = fit_to_atlas(wave, flux, observed_wave, observed)
    assert fit.velocity == pytest.approx(0.7, abs=0.01)
    assert fit.broadening == pytest.approx(1.8, abs=0.02)
    assert fit.level == pytest.approx(0.99, abs=1e-4)
    assert np.abs(fit.flux - observed).max() < 2e-3


def test_atlas_windows_and_masks(tmp_path: Path) -> None:
    wave = np.arange(6000.0, 6100.0, 0.1)
    np.savez(tmp_path / "atlas.npz", wave_air=wave, flux=np.full(len(wave), 5000), flux_scale=2e-4)
    atlas = read_atlas(tmp_path / "atlas.npz")
    kept, flux = atlas.window(6010, 6020, {"bad": (6012.0, 6015.0)})
    assert not ((kept > 6012) & (kept < 6015)).any()
    np.testing.assert_allclose(flux, 1.0)
    with pytest.raises(ValueError, match="leaves the atlas atlas"):
        atlas.window(5990, 6010, {})
    np.savez(tmp_path / "bad.npz", x=1)
    with pytest.raises(ValueError, match="is not an atlas"):
        read_atlas(tmp_path / "bad.npz")
    assert isinstance(atlas, Atlas)


def test_spheres_are_scored_as_spheres(tiny_sphere: Path) -> None:
    """Computed models that are the emulator's own predictions: no error, and the gravity of the sphere's heights."""
    emulator = Emulator.load(tiny_sphere)
    stars = [{"teff": 5000.0, "logg": 1.0, "mass": 0.7}, {"teff": 6000.0, "logg": 4.0, "mass": 1.0}]
    atms = [emulator.predict(**s) for s in stars]
    columns = ("rhox", "temperature", "gas_pressure", "electron_density", "opacity", "radiative_acceleration")
    labels = {n: np.array([float(a.labels[n]) for a in atms]) for n in emulator.domain.labels if n != "mass"}
    truth = Structures(
        labels, np.stack([np.stack([getattr(a, c) for c in columns], -1) for a in atms]),
        np.stack([np.log10(a.tau_ross) for a in atms]), np.full(2, atms[0].n_depth),
        {"geometry": np.array(["s", "p"]), "mass": np.array([0.7, 0.0]),
         "radius": np.array([float(atms[0].radius), 1.0])}, "own", {"depth_cm": -np.stack([a.height for a in atms])},
    )  # fmt: skip
    found = score(emulator, truth)
    assert found["spheres"]["models"] == 1
    assert max(found["all"][c]["p95"] for c in ("RHOX", "T", "P")) < 1e-4
    hse = found["spheres"]["HSE"]["median"]
    as_planes = score(emulator, replace(truth, extra={**truth.extra, "geometry": np.array(["p", "p"])}))
    assert hse < 0.2 < as_planes["all"]["P"]["p95"]

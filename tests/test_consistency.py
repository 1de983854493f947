"""Derivatives, continuity and closure: checks that pass what is right and find what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.experiments.microturbulence import format_rows as format_response
from sme_pinn_atmo.experiments.microturbulence import response
from sme_pinn_atmo.grids import Structures
from sme_pinn_atmo.grids.pysme_grid import grid_of_nodes
from sme_pinn_atmo.validation.closure import RosselandTable, closure, electron_density, table_file
from sme_pinn_atmo.validation.gradients import compare, compare_families, continuity, format_rows, plot
from sme_pinn_atmo.validation.scores import predict_like
from sme_pinn_atmo.validation.spectrum import layers_of


@pytest.fixture(scope="module")
def nodes() -> Structures:
    """A grid that the model itself computed: nothing between it and its derivatives but the step."""
    axes = {"teff": (5500.0, 6500.0, 250.0), "logg": (3.5, 4.5, 0.5), "m_h": (-0.5, 0.5, 0.5)}
    return grid_of_nodes("atlas9", axes, vturb=2.0)[0]


def test_derivatives_of_the_models_own_grid(nodes: Structures, tmp_path: Path) -> None:
    emulator = Emulator.load("atlas9")
    result = compare(emulator, nodes, np.arange(len(nodes)))
    assert {k: r["nodes"] for k, r in result.items()} == {"teff": 3 * 9, "logg": 15, "m_h": 15}
    for row in result.values():
        for profile in ("temperature", "gas_pressure", "opacity"):
            assert row["difference"][profile]["p95"] < 1e-6
            # What is left of the Jacobian is the curvature between nodes.
            assert 1e-3 < row["jacobian"][profile]["median"] < 20
    assert "teff" in format_rows(result)
    plot(result, tmp_path / "gradients.png")
    assert (tmp_path / "gradients.png").read_bytes()[:4] == b"\x89PNG"


def test_a_wrong_slope_shows(nodes: Structures) -> None:
    profiles = nodes.profiles * (1 + 0.02 * (nodes.labels["logg"] - 4))[:, None, None]
    result = compare(Emulator.load("atlas9"), replace(nodes, profiles=profiles), np.arange(len(nodes)))
    assert result["logg"]["difference"]["gas_pressure"]["median"] > 1
    assert result["teff"]["difference"]["gas_pressure"]["p95"] < 1e-6


def test_nodes_without_neighbours_are_refused(nodes: Structures) -> None:
    with pytest.raises(ValueError, match="no held-out model"):
        compare_families(Emulator.load("atlas9"), nodes, np.array([0]))


@pytest.mark.parametrize("model", ["atlas9", "atlas12"])
def test_values_and_derivatives_are_continuous_along_random_lines(model: str) -> None:
    jumps = continuity(Emulator.load(model), lines=5, points=1001)
    for name in ("value jump", "derivative jump"):
        assert jumps[name] < 0.62 * jumps[f"{name}, double step"]


def test_models_that_follow_their_vturb_have_a_response_of_one(nodes: Structures) -> None:
    """Structures at half of the vturb's distance from the mean show half of its change."""
    emulator = Emulator.load("atlas9")
    rows = {"a": {"file": "a.npz", "rows": list(range(len(nodes)))}}
    holding = replace(emulator, card={**emulator.card, "heldout": {"rows": rows}})
    said = np.random.default_rng(0).uniform(0.5, 3.5, len(nodes))
    for share in (0.0, 0.5, 1.0):
        true = {**nodes.labels, "vturb": said.mean() + share * (said - said.mean())}
        made = predict_like(emulator, replace(nodes, labels=true))
        truth = replace(nodes, labels={**nodes.labels, "vturb": said}, profiles=made)
        result = response([holding], emulator, truth, "a.npz")
        assert all(abs(r["slope"] - share) < 0.06 and r["low"] <= r["slope"] <= r["high"] for r in result.values())
    assert f"{result['temperature']['slope']:.3f}" in format_response(result)
    with pytest.raises(ValueError, match="0 models"):
        response([], emulator, truth, "a.npz")


# ---------------------------------------------------------------------- closure


def table(path: Path, factor: float = 1.0) -> Path:
    """A table of kappa = factor * 0.3 (T/5000)^2 (P/1e5)^0.4 (1 + 0.05 vturb), in the layout of the ODFNEW ones."""
    lines = [" ROSSELAND MASS ABSORPTION COEFFICIENTS", " logT logP  0km/s  1km/s  2km/s  4km/s  8km/s"]
    for t in np.arange(3.3, 4.5, 0.05):
        for p in np.arange(-4, 8.1, 0.5):
            slope = 2 * (t - np.log10(5000)) + 0.4 * (p - 5)
            kappa = [np.log10(factor * 0.3 * (1 + 0.05 * v)) + slope for v in (0, 1, 2, 4, 8)]
            lines.append(f"{t:5.2f}{p:5.2f}" + "".join(f"{k:7.3f}" for k in kappa) + "  0.00000")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_table_is_interpolated_in_all_three(tmp_path: Path) -> None:
    kappa = RosselandTable(table(tmp_path / "kapp00.ros"))
    t, p = np.array([5123.0, 7777.0]), np.array([3e3, 4e5])
    for v in (0.0, 1.5, 3.0):
        np.testing.assert_allclose(kappa(t, p, v), 0.3 * (t / 5000) ** 2 * (p / 1e5) ** 0.4 * (1 + 0.05 * v), rtol=5e-3)
    assert np.isnan(kappa(np.array([1000.0]), np.array([1e3]), 2.0)).all()
    (tmp_path / "bad.ros").write_text("nothing\n")
    with pytest.raises(ValueError, match="no table of Rosseland opacities"):
        RosselandTable(tmp_path / "bad.ros")
    assert table_file(tmp_path, 0.0, 0.0) == tmp_path / "kapp00.ros"
    assert table_file(tmp_path, -0.5, 0.4) is None


def test_closure_finds_the_opacity_that_does_not_fit(tmp_path: Path, nodes: Structures) -> None:
    solar = nodes.select(nodes.labels["m_h"] == 0)
    path = table(tmp_path / "kapp00.ros")
    kappa = RosselandTable(path)
    profiles = solar.profiles.copy()
    profiles[..., 4] = kappa(profiles[..., 1], profiles[..., 2], 2.0) * 1.03
    rows = closure(Emulator.load("atlas9"), replace(solar, profiles=profiles), tmp_path, electrons=2)
    assert rows["opacity, computed models"]["median"] == pytest.approx(3.0, abs=0.01)
    assert rows["opacity, PINN"]["median"] > 3
    assert rows["n_e, PINN"]["models"] >= 2
    assert rows["n_e, PINN"]["median"] < 5
    with pytest.raises(ValueError, match="no model of"):
        closure(Emulator.load("atlas9"), solar, tmp_path / "empty")


def test_electrons_of_the_sun_are_those_of_pysmes_equation_of_state() -> None:
    atm = Emulator.load("atlas12").predict(teff=5777, logg=4.44)
    n_e = electron_density(layers_of(atm), 0.0, "asplund2009")
    forming = (atm.tau_ross > 1e-4) & (atm.tau_ross < 10)
    np.testing.assert_allclose(n_e[forming], atm.electron_density[forming], rtol=0.05)

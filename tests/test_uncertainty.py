"""The error bar: calibrated on what was held out, larger far from it, the same from file and for batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sme_pinn_atmo import Emulator, models
from sme_pinn_atmo.emulator import update_card
from sme_pinn_atmo.emulator.uncertainty import ERROR_FIELDS, ErrorModel, distance_in_steps
from sme_pinn_atmo.structure import PROFILES
from sme_pinn_atmo.training.errors import HeldOut, calibration, fit_error_model

LABELS = ("teff", "logg", "m_h", "alpha_m", "vturb")


def scatter(n: int, seed: int, nodes: np.ndarray | None = None, times: float = 1.0) -> HeldOut:
    """Held-out models whose Gaussian errors grow from 0.1 % at 8000 K to 1 % at 4000 K; none above 8000 K."""
    rng = np.random.default_rng(seed)
    low, high = (4000, 1, -1, 0, 0), (8000, 5, 0.5, 0.4, 4)
    x = rng.uniform(low, high, (n, 5))
    sigma = times * 10 ** (-2 - (x[:, 0] - 4000) / 4000)
    error = sigma[:, None, None] * rng.standard_normal((n, 6, 40))
    error[..., 0] = np.nan
    return HeldOut(x, error, np.tile(np.linspace(-6, 2, 40), (n, 1)), np.empty((0, 5)) if nodes is None else nodes)


@pytest.fixture(scope="module")
def fitted() -> ErrorModel:
    return fit_error_model([scatter(400, 0)], LABELS)


def test_shares_of_new_models_are_those_of_a_gaussian(fitted: ErrorModel) -> None:
    new = scatter(300, 1)
    x, error, log_tau = new.x, new.error, new.log_tau
    std = fitted.relative_std(x, np.log(10) * log_tau[0])
    ratio = np.abs(error / std)[..., 1:]
    assert abs(np.mean(ratio < 1) - 0.683) < 0.03
    assert abs(np.mean(ratio < 2) - 0.954) < 0.03
    shares = calibration(fitted, [scatter(400, 0)])
    assert all(abs(shares[f][3] - 0.683) < 0.02 for f in ERROR_FIELDS)


def test_larger_where_errors_were_larger_and_where_no_model_is(fitted: ErrorModel) -> None:
    tau = np.zeros(1)
    star = np.array([[4200.0, 3, 0, 0.2, 2], [7800.0, 3, 0, 0.2, 2], [20000.0, 3, 0, 0.2, 2]])
    cool, warm, far = fitted.relative_std(star, tau)[:, 0, 0]
    assert cool > 4 * warm
    assert far > 2 * warm
    np.testing.assert_allclose(fitted.relative_std(star[1], tau)[0, 0], warm, rtol=1e-12)


def grid(m_h: list[float]) -> np.ndarray:
    """Nodes of a training, a grid in all labels but m_h, which has the values given."""
    mesh = np.meshgrid(np.geomspace(4000, 8000, 8), np.arange(1, 5.1), m_h, [0.0, 0.2, 0.4], [0, 2, 4], indexing="ij")
    return np.stack([m.ravel() for m in mesh], 1)


def test_distance_counts_steps_from_the_models_of_the_training() -> None:
    mesh = np.meshgrid(*[np.arange(5.0)] * 3, indexing="ij")
    nodes = np.stack([m.ravel() for m in mesh], 1)
    step = np.array([1.0, 1.0, 1.0])
    lacking = nodes[(nodes != 2).any(axis=1)]
    at = np.array([[2.0, 2, 2], [2.5, 1.5, 2.5], [2, 2, 12]])
    np.testing.assert_allclose(distance_in_steps(at[0], lacking, step), 0, atol=0.05)
    near, between, far = distance_in_steps(at, nodes, step)
    assert near == 0
    assert between < 0.2
    assert far == pytest.approx(8, abs=0.2)
    np.testing.assert_allclose(distance_in_steps(at[2], nodes, np.array([1, 1, 0.5])), 4, atol=0.3)
    np.testing.assert_allclose(distance_in_steps(at[2], nodes, np.array([1.0, 1, 0])), 0)  # does not count


def test_error_bar_grows_where_the_training_has_no_models() -> None:
    everywhere, without = grid([-1, -0.5, 0, 0.5]), grid([0.0, 0.5])
    near, plane = scatter(300, 0, everywhere), scatter(300, 2, without, times=20.0)
    lower = plane.x[:, 2] < -0.4
    plane = replace(plane, x=plane.x[lower], error=plane.error[lower], log_tau=plane.log_tau[lower])
    fitted = fit_error_model([near], LABELS, [plane], everywhere)
    shares = calibration(fitted, [near], [plane])
    assert shares["temperature"][3] == pytest.approx(0.683, abs=0.02)
    assert shares["planes"]["temperature"][3] == pytest.approx(0.683, abs=0.05)
    assert calibration(replace(fitted, growth=np.zeros(6)), [near], [plane])["planes"]["temperature"][3] < 0.2
    inside, outside = fitted.relative_std(np.array([[5000.0, 3, 0, 0.2, 2], [5000, 3, -3.0, 0.2, 2]]), np.zeros(1))
    assert (outside > 10 * inside).all()
    tensors = {**fitted.tensors(), "nodes": everywhere.astype(np.float32)}
    again = ErrorModel.from_tensors(tensors, 0)
    assert again is not None
    star = np.array([[5000.0, 3, -3.0, 0.2, 2]])
    np.testing.assert_allclose(again.relative_std(star, np.zeros(1))[0], outside, rtol=1e-3)


def test_a_copy_with_other_models_of_the_training_counts_its_own_steps() -> None:
    """Nodes are put in steps once for each error model, not once for all."""
    z, step = np.array([[2.0, 12]]), np.ones(2)
    nodes = np.stack([m.ravel() for m in np.meshgrid(np.arange(5.0), np.arange(5.0))], 1)
    one = ErrorModel(*np.zeros((6, 1)), nodes=nodes, per_step=step, growth=np.zeros(6))
    assert one.distance(z) == distance_in_steps(z, nodes, step) == pytest.approx(8, abs=0.2)
    near = replace(one, nodes=nodes + np.array([0.0, 8.0]))
    assert near.distance(z) == 0
    assert replace(one, per_step=2 * step).distance(z) == pytest.approx(16, abs=0.2)


def test_too_few_models_are_refused() -> None:
    with pytest.raises(ValueError, match="5 held-out models are too few"):
        fit_error_model([scatter(5, 0)], LABELS)


def test_predict_returns_a_standard_deviation_of_every_profile(fitted: ErrorModel, tmp_path: Path) -> None:
    atlas12 = Emulator.load("atlas12")
    bare = replace(atlas12, errors=None)
    with pytest.raises(ValueError, match="without an error model"):
        bare.predict(teff=5777, logg=4.4, return_std=True)
    path = tmp_path / "copy.safetensors"
    source = models()["atlas12"]
    path.write_bytes(source.read_bytes())
    path.with_suffix(".json").write_bytes(source.with_suffix(".json").read_bytes())
    update_card(path, {"note": "with errors"}, fitted)
    loaded = Emulator.load(path)
    assert loaded.card["note"] == "with errors"
    depths = np.geomspace(1e-5, 10, 17)
    teff = np.array([[4500.0, 5000.0, 6000.0]] * 2)
    atmosphere, std = loaded.predict(teff=teff, logg=4.0, tau_ross=depths, return_std=True)
    assert set(std) == set(PROFILES)
    plain = atlas12.predict(teff=teff, logg=4.0, tau_ross=depths)
    np.testing.assert_array_equal(atmosphere.temperature, plain.temperature)
    for name in PROFILES:
        assert std[name].shape == (2, 3, 17)
        assert (std[name] > 0).all() or name == "tau_ross"
    one = loaded.predict(teff=6000.0, logg=4.0, tau_ross=depths, return_std=True)[1]
    np.testing.assert_allclose(std["opacity"][1, 2], one["opacity"], rtol=1e-9)
    x = np.array([6000.0, 4.0, 0.0, 0.0, 1.0])
    expected = fitted.relative_std(x, np.log(depths))[1] * atmosphere.opacity[1, 2]
    np.testing.assert_allclose(one["opacity"], expected, rtol=1e-5)

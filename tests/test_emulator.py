"""Emulator: loading, the contract of predict and jacobian, bad input, damaged files."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import sme_pinn_atmo as spa
from sme_pinn_atmo.emulator import ModelFileError, update_card

PROFILES = ("tau_ross", "rhox", "temperature", "gas_pressure", "electron_density", "opacity",
            "radiative_acceleration", "density", "atom_density")  # fmt: skip


@pytest.fixture
def emulator(tiny_model: Path) -> spa.Emulator:
    return spa.Emulator.load(tiny_model)


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    for suffix in (".safetensors", ".json"):
        shutil.copy(tiny_model.with_suffix(suffix), tmp_path / f"copy{suffix}")
    return tmp_path / "copy.safetensors"


def test_shapes_follow_the_labels(emulator: spa.Emulator) -> None:
    n = len(emulator.tau_ross)
    one = emulator.predict(teff=5777, logg=4.44)
    assert all(getattr(one, name).shape == (n,) for name in PROFILES)
    many = emulator.predict(teff=np.linspace(5000, 6000, 3)[:, None], logg=np.array([4.0, 4.5]))
    assert all(getattr(many, name).shape == (3, 2, n) for name in PROFILES)
    short = emulator.predict(teff=5777, logg=4.44, tau_ross=[0.1, 1.0])
    assert short.temperature.shape == (2,)


def test_jacobian_is_the_derivative_in_the_units_of_the_field(emulator: spa.Emulator) -> None:
    labels = {"teff": 5800.0, "logg": 4.2, "m_h": -0.2, "alpha_m": 0.1, "vturb": 1.5}
    fields = [*PROFILES[1:]]
    jac = emulator.jacobian(**labels, fields=fields)
    for j, name in enumerate(emulator.domain.labels):
        h = 1e-4 * max(abs(labels[name]), 1)
        up = emulator.predict(**{**labels, name: labels[name] + h})
        down = emulator.predict(**{**labels, name: labels[name] - h})
        for f in fields:
            difference = (getattr(up, f) - getattr(down, f)) / (2 * h)
            np.testing.assert_allclose(jac[f][:, j], difference, rtol=1e-5, atol=1e-7 * np.abs(getattr(up, f)).max())


@pytest.mark.parametrize("bad", [{"teff": 2e5}, {"teff": np.nan}, {"logg": [4.0, 99.0]}])
def test_labels_outside_the_domain_are_named(emulator: spa.Emulator, bad: dict) -> None:
    name = next(iter(bad))
    with pytest.raises(spa.DomainError, match=name):
        emulator.predict(**{"teff": 5777, "logg": 4.4, **bad})


@pytest.mark.parametrize("bad", [{"teff": "hot"}, {"colour": 1.0}, {"teff": None}, {"logg": True}])
def test_labels_of_a_wrong_kind_are_type_errors(emulator: spa.Emulator, bad: dict) -> None:
    with pytest.raises(TypeError, match=next(iter(bad))):
        emulator.predict(**{"teff": 5777, "logg": 4.4, **bad})


def test_outside_may_be_clipped_or_nan(emulator: spa.Emulator) -> None:
    teff = np.array([5777.0, 1e5])
    clipped = emulator.predict(teff=teff, logg=4.4, on_outside="clip")
    assert np.isfinite(clipped.temperature).all()
    edge = emulator.predict(teff=emulator.domain.upper[0], logg=4.4)
    np.testing.assert_allclose(clipped.temperature[1], edge.temperature)
    nan = emulator.predict(teff=teff, logg=4.4, on_outside="nan")
    assert np.isfinite(nan.temperature[0]).all()
    assert np.isnan(nan.temperature[1]).all()


@pytest.mark.parametrize("tau", [[1.0, 0.5], [0.0, 1.0], [1e-9, 1.0], [[0.1, 1.0]], [0.1, 1e9], []])
def test_bad_depths_are_refused(emulator: spa.Emulator, tau: list) -> None:
    with pytest.raises(ValueError, match="tau_ross"):
        emulator.predict(teff=5777, logg=4.4, tau_ross=tau)


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown model 'atlas99'"):
        spa.Emulator.load("atlas99")


def test_damaged_weights_are_refused(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    with pytest.raises(ModelFileError, match="sha256"):
        spa.Emulator.load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 99}, "format"), ({"labels": None}, "labels"), ({"features": ["logg"]}, "disagree")],
)
def test_cards_that_do_not_fit_are_refused(copy: Path, change: dict, message: str) -> None:
    path = copy.with_suffix(".json")
    card = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({k: v for k, v in card.items() if v is not None}))
    with pytest.raises(ModelFileError, match=message):
        spa.Emulator.load(copy)


def test_missing_card_is_refused(copy: Path) -> None:
    copy.with_suffix(".json").unlink()
    with pytest.raises(ModelFileError, match="missing"):
        spa.Emulator.load(copy)


def test_cards_take_further_entries_but_keep_what_identifies_the_weights(copy: Path) -> None:
    update_card(copy, {"cross_validation": {"T": 0.1}})
    emulator = spa.Emulator.load(copy)
    assert emulator.card["cross_validation"] == {"T": 0.1}
    update_card(copy, {"cross_validation": {"T": [float("nan"), 1.0]}})
    assert spa.Emulator.load(copy).card["cross_validation"] == {"T": [None, 1.0]}
    assert "NaN" not in copy.with_suffix(".json").read_text()  # which is no JSON
    with pytest.raises(ValueError, match="sha256"):
        update_card(copy, {"sha256": "0"})


def _copy(name: str, folder: Path, new: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (".safetensors", ".json"):
        (folder / f"{new}{suffix}").write_bytes(spa.models()[name].with_suffix(suffix).read_bytes())
    return folder / f"{new}.safetensors"


def test_a_users_folder_adds_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _copy("atlas9", tmp_path / "sme_pinn_atmo" / "models", "mine")
    monkeypatch.delenv("SME_PINN_ATMO_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert set(spa.models()) == {"atlas9", "atlas12", "marcs", "mine"}
    assert spa.Emulator.load("mine").predict(teff=5777, logg=4.4).shape == ()
    monkeypatch.setenv("SME_PINN_ATMO_MODELS", str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="unknown model 'mine'; known: atlas12, atlas9, marcs"):
        spa.Emulator.load("mine")


def test_other_packages_add_models_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _copy("atlas9", tmp_path / "theirs", "grid")
    (tmp_path / "theirs" / "__init__.py").write_text(
        "from pathlib import Path\nMODEL = Path(__file__).parent / 'grid.safetensors'\n"
        "def model():\n    return MODEL\ndef broken():\n    raise OSError('lost')\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sme_pinn_atmo.models]\ntheirs = theirs:MODEL\ncalled = theirs:model\natlas9 = theirs:broken\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"theirs", "called", "atlas9", "atlas12"} <= set(spa.models())
    assert spa.Emulator.load("theirs").tau_ross.shape == spa.Emulator.load("called").tau_ross.shape
    (info / "entry_points.txt").write_text("[sme_pinn_atmo.models]\nlost = theirs:broken\n")
    importlib.invalidate_caches()
    with pytest.raises(ModelFileError, match=r"entry point 'lost' \(theirs:broken\) gives no path: lost"):
        spa.models()
    assert spa.Emulator.load("atlas12").name == "atlas12"

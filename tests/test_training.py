"""Training: a real run on made-up structures, resumed after a kill; a teacher corrected; bad configurations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator.runtime import FIELDS
from sme_pinn_atmo.grids import write_npz

from .conftest import command_that_stops, made_up_structures

torch = pytest.importorskip("torch", reason="training needs torch (the extra `train`)")

from sme_pinn_atmo.training import data  # noqa: E402
from sme_pinn_atmo.training.run import ConfigError, configs, read_config, train_model  # noqa: E402
from sme_pinn_atmo.training.teacher import corrected  # noqa: E402

CONFIG = """
name = "small"
seed = 3
solar_scale = "asplund2009"
[network]
labels = ["teff", "logg", "m_h", "alpha_m", "vturb"]
features = ["log_teff", "theta", "logg", "m_h", "alpha_m", "vturb", "log_g_teff4"]
width = 24
depth = 2
n_component = 6
log_tau = [-5.0, 2.0, 0.1794871794871795]
[training]
steps = 800
batch = 64
learning_rate = 5e-3
muon_rate = 3e-2
epoch = 50
checkpoint_seconds = 0
[domain]
data = ["grid"]
defaults = { m_h = 0.0, alpha_m = 0.0, vturb = 1.0 }
[[data]]
name = "grid"
path = "grid.npz"
evaluate = true
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_npz(tmp_path / "grid.npz", made_up_structures(400, seed=1))
    (tmp_path / "small.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_training_learns_the_structures_and_reports_on_held_out_ones(folder: Path) -> None:
    card = train_model(read_config("small.toml"), folder / "small.safetensors", fold=(1, 10), progress=False)
    emulator = Emulator.load(folder / "small.safetensors")
    rows = emulator.card["heldout"]["rows"]["grid"]["rows"]
    assert len(rows) == 40
    truth = made_up_structures(400, seed=1).select(np.array(rows))
    got = emulator.predict(**dict(truth.labels), on_outside="clip")
    assert np.median(np.abs(got.temperature / truth.profiles[..., 1] - 1)) < 0.003
    assert np.median(np.abs(got.gas_pressure / truth.profiles[..., 2] - 1)) < 0.02
    assert card["heldout"]["figures"]["grid"]
    assert not list(folder.glob("*.checkpoint"))


def test_a_free_label_is_one_that_structures_do_not_depend_on(folder: Path) -> None:
    slopes = []
    for text in (CONFIG, CONFIG + "free = { vturb = [0.0, 4.0] }\n"):
        (folder / "free.toml").write_text(text)
        train_model(read_config("free.toml"), folder / "free.safetensors", progress=False)
        emulator = Emulator.load(folder / "free.safetensors")
        jacobian = emulator.jacobian(teff=5800, logg=4, vturb=2, fields=("opacity",))["opacity"][:, 4]
        slopes.append(np.median(jacobian / emulator.predict(teff=5800, logg=4, vturb=2).opacity))
    # The made-up opacity is 1 + 0.02 vturb + ...; free, its dependence averages out.
    assert slopes[0] == pytest.approx(0.0192, rel=0.1)
    assert abs(slopes[1]) < 0.002


@pytest.mark.parametrize("abundances", [("He",), ("C", "N", "O")])
def test_more_labels_from_a_payne_zero_corpus_by_configuration_alone(folder: Path, abundances: tuple[str, ...]) -> None:
    """Six and eight labels; every abundance changes the opacity of these structures by as much per dex as named."""
    structures = made_up_structures(400, seed=1)
    x = np.random.default_rng(2).uniform(-0.3, 0.3, (400, len(abundances)))
    slopes = 0.1 * (1 + np.arange(len(abundances)))
    profiles = structures.profiles.copy()
    scale = np.exp(x @ slopes)[:, None]
    profiles[..., 4] *= scale  # opacity up, column mass, pressure and electrons down
    for j in (0, 2, 3):
        profiles[..., j] /= scale
    public = {"teff": "Teff", "logg": "log_g", "m_h": "[M/H]", "alpha_m": "[alpha/M]", "vturb": "vmic"}
    rows = [{public[k]: float(v[i]) for k, v in structures.labels.items()} | dict(zip(abundances, x[i], strict=True))
            for i in range(400)]  # fmt: skip
    np.savez("corpus.npz", atmosphere_profiles=profiles.astype("f4"), labels_json=json.dumps(rows),
             standard_rosseland_optical_depth=10.0**structures.log_tau_ross)  # fmt: skip
    names = ", ".join(f'"{a}"' for a in abundances)
    text = CONFIG.replace('"vturb"]', f'"vturb", {names}]').replace('"log_g_teff4"]', f'"log_g_teff4", {names}]')
    (folder / "more.toml").write_text(text.replace("grid.npz", "corpus.npz"))
    train_model(read_config("more.toml"), folder / "more.safetensors", progress=False)
    emulator = Emulator.load(folder / "more.safetensors")
    assert emulator.domain.labels == ("teff", "logg", "m_h", "alpha_m", "vturb", *abundances)
    star = dict.fromkeys(abundances, 0.0)
    got = emulator.jacobian(teff=5800, logg=4, vturb=2, **star, fields=("opacity",))["opacity"][:, 5:]
    got = np.median(got / emulator.predict(teff=5800, logg=4, vturb=2, **star).opacity[:, None], axis=0)
    np.testing.assert_allclose(got, slopes, atol=0.02)
    with pytest.raises(TypeError, match=f"label '{abundances[0]}' is missing"):
        emulator.predict(teff=5800, logg=4, vturb=2)


def test_a_model_from_a_grid_of_pysme(folder: Path) -> None:
    pytest.importorskip("pysme", reason="PySME writes its own grids")
    from sme_pinn_atmo.grids import write_pysme_grid

    structures = made_up_structures(400, seed=1)
    labels = {k: np.zeros(400) if k == "alpha_m" else v for k, v in structures.labels.items()}
    write_pysme_grid(folder / "grid_of_pysme.npz", replace(structures, labels=labels))
    text = CONFIG.replace('"alpha_m", ', "").replace("alpha_m = 0.0, ", "").replace("grid.npz", "grid_of_pysme.npz")
    (folder / "sav.toml").write_text(text + "tolerance = 0.3\n")
    train_model(read_config("sav.toml"), folder / "sav.safetensors", fold=(1, 10), progress=False)
    emulator = Emulator.load(folder / "sav.safetensors")
    rows = np.array(emulator.card["heldout"]["rows"]["grid"]["rows"])
    truth = structures.select(rows)
    got = emulator.predict(**{n: truth.labels[n] for n in emulator.domain.labels}, on_outside="clip")
    assert np.median(np.abs(got.temperature / truth.profiles[..., 1] - 1)) < 0.003


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(folder: Path) -> None:
    (folder / "small.toml").write_text(CONFIG.replace("steps = 800", "steps = 150"))
    arguments = ["train", "small.toml", "--threads", "1", "--out"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    checkpoint = folder / "killed.checkpoint"
    killed = [*command_that_stops("training.loop", signal.SIGKILL), *arguments, "killed.safetensors"]
    assert subprocess.run(killed, env=env, capture_output=True).returncode == -signal.SIGKILL
    assert not (folder / "killed.safetensors").exists()
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert 0 < step < 150
    threads = torch.get_num_threads()
    for name in ("killed", "whole"):
        result = CliRunner().invoke(main, [*arguments, f"{name}.safetensors"])
        assert result.exit_code == 0, result.output
    torch.set_num_threads(threads)
    assert (folder / "killed.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_a_fold_holds_out_the_same_star_in_every_set(folder: Path) -> None:
    from sme_pinn_atmo.training.run import load_sets

    two = CONFIG + '[[data]]\nname = "again"\npath = "grid.npz"\n'
    (folder / "two.toml").write_text(two)
    sets = load_sets(read_config("two.toml"), (2, 5))
    np.testing.assert_array_equal(sets[0].held, sets[1].held)
    parts = [load_sets(read_config("small.toml"), (k, 5))[0].held for k in range(1, 6)]
    np.testing.assert_array_equal(np.sum(parts, axis=0), 1)


def test_a_teacher_loses_the_error_that_all_its_stars_share() -> None:
    s = made_up_structures(50, seed=2)
    y, mask, layer = data.on_grid(s, s.log_tau_ross[0])
    x = np.stack(list(s.labels.values()), 1)
    truth = data.TrainingSet("truth", x, y, mask, np.zeros(50, bool), np.arange(50), layer)
    bias = np.random.default_rng(0).normal(0, 0.01, y.shape[1:])
    teacher = replace(truth, name="teacher", y=y + bias)
    np.testing.assert_allclose(corrected(teacher, truth, 4, 5500.0).y, y, atol=1e-12)
    with pytest.raises(ValueError, match="at least 5"):
        corrected(teacher, replace(truth, held=np.ones(50, bool)), 4, 5500.0)


def test_a_teacher_is_judged_by_what_the_others_correct(folder: Path) -> None:
    from sme_pinn_atmo.experiments.teacher import format_rows, leave_one_out

    truth = made_up_structures(40, seed=3)
    rng = np.random.default_rng(0)
    bias = np.exp(0.02 * rng.choice([-1, 1], (1, *truth.profiles.shape[1:])))
    noise = np.exp(rng.normal(0, 1e-3, (len(truth), 1, 1)))
    write_npz(folder / "truth.npz", truth)
    write_npz(folder / "teacher.npz", replace(truth, profiles=truth.profiles * bias * noise))
    tables = """tolerance = 0.2
corrects = { by = "true", match = 4, split = 5500.0 }
[[data]]
name = "true"
path = "truth.npz"
"""
    text = CONFIG.replace('path = "grid.npz"', 'path = "teacher.npz"') + tables
    (folder / "taught.toml").write_text(text)
    result = leave_one_out(read_config("taught.toml"))
    assert result["raw"]["all"]["temperature"]["median"] == pytest.approx(2.0, abs=0.1)
    assert result["corrected"]["all"]["temperature"]["median"] == pytest.approx(0.07, abs=0.03)
    assert result["raw"]["all"]["models"] == 40
    assert f"{result['corrected']['all']['rhox']['median']:.3f}" in format_rows(result)
    with pytest.raises(ConfigError, match="'corrects'"):
        leave_one_out(read_config("small.toml"))


def test_neighbours_differ_in_one_label_only() -> None:
    teff, logg = np.meshgrid([5000.0, 5250.0, 5500.0], [3.0, 4.0], indexing="ij")
    x = np.stack([teff.ravel(), logg.ravel()], axis=1)
    x = np.concatenate([x, x[:1], [[9000.0, 1.0]]])  # another corpus, and one that is alone
    near = data.neighbours(x, np.array([0] * 6 + [1, 0]))
    assert near.tolist() == [[2, 1], [3, 0], [4, 3], [5, 2], [2, 5], [3, 4], [6, 6], [7, 7]]


def test_slopes_count_only_differences_of_errors() -> None:
    from sme_pinn_atmo.training.loop import slope_loss

    y = torch.randn(4, len(data.COLUMNS), 5, dtype=torch.float64)
    mask = torch.ones(y.shape, dtype=torch.bool)
    predicted = torch.zeros(4, len(FIELDS), 5, dtype=torch.float64)
    order = [FIELDS.index(c) for c in data.COLUMNS]
    predicted[:, order] = y + 0.01
    assert slope_loss(predicted, y, mask) < 1e-12  # the same error everywhere: slopes are right
    predicted[:2, order] += 0.01
    assert slope_loss(predicted, y, mask) > 1
    mask[:2] = False
    mask[0, :, 0] = True
    assert torch.isfinite(slope_loss(predicted, y, mask))


def test_training_with_a_gradient_term(folder: Path) -> None:
    grid = np.meshgrid(np.arange(4500, 7001, 250.0), [3.0, 3.5, 4.0, 4.5], [-0.5, 0.0, 0.5], [0.0], [2.0])
    write_npz(folder / "grid.npz", made_up_structures(132, labels=[g.ravel() for g in grid]))
    (folder / "slopes.toml").write_text(CONFIG.replace("epoch = 50", "epoch = 50\ngradient = 1.0"))
    train_model(read_config("slopes.toml"), folder / "slopes.safetensors", progress=False)
    emulator = Emulator.load(folder / "slopes.safetensors")
    star = {"teff": 5777.0, "logg": 4.2, "m_h": 0.1, "alpha_m": 0.0, "vturb": 2.0}
    slope = emulator.jacobian(**star, fields=("temperature",))["temperature"][:, 0]
    # Grey atmospheres: the temperature is proportional to Teff.
    np.testing.assert_allclose(slope * 5777 / emulator.predict(**star).temperature, 1.0, atol=0.02)


def test_models_that_contradict_themselves_are_dropped() -> None:
    s = made_up_structures(10)
    y, _, _ = data.on_grid(s, s.log_tau_ross[0])
    x = np.stack(list(s.labels.values()), 1)
    y[3, 4] += 0.2
    y[5, 0, 7] = np.nan
    arguments, plane = (y, x, list(s.labels), np.log(10) * s.log_tau_ross[0], 0.05), np.zeros((10, y.shape[-1]))
    ok = data.consistent(*arguments, plane)
    assert np.flatnonzero(~ok).tolist() == [3, 5]
    # A plane's pressure is not that of a sphere a tenth of whose radius is atmosphere.
    assert not data.consistent(*arguments, plane + 0.1).any()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "small"', "", "name"),
        ("steps = 800", "", "training.steps"),
        ("asplund2009", "the Sun", "solar_scale"),
        ('"theta"', '"tau"', "unknown feature 'tau'"),
        ("evaluate = true", "evaluat = true", "evaluat"),
        ("seed = 3", "seed = = 3", "TOML"),
    ],
)
def test_bad_configurations_name_the_key(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "bad.toml").write_text(CONFIG.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_config("bad.toml")


def test_packaged_configurations_are_complete() -> None:
    assert {"atlas9", "atlas12"} <= set(configs())
    for name in configs():
        assert json.dumps(read_config(name))


def test_the_configuration_in_the_docs_is_complete(tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "train.md"
    (tmp_path / "docs.toml").write_text(page.read_text().split("```toml")[1].split("```")[0])
    assert read_config(tmp_path / "docs.toml")["name"] == "my_model"


def test_models_on_other_depths_are_told_by_their_own_opacity() -> None:
    s = made_up_structures(20)
    first, step = float(s.log_tau_ross[0, 0]) + 1.0, float(s.log_tau_ross[0, 1] - s.log_tau_ross[0, 0])
    moved = replace(s, log_tau_ross=np.where(np.arange(20)[:, None] < 8, s.log_tau_ross + 1.0, s.log_tau_ross))
    found = data.other_depths(moved, first - 1.0, step)
    np.testing.assert_allclose(found.log_tau_ross, s.log_tau_ross, atol=1e-12)
    _, mask, layer = data.on_grid(found, s.log_tau_ross[0] + 0.5 * step)
    np.testing.assert_allclose(layer[:, :-1], np.tile(np.arange(39) + 0.5, (20, 1)), atol=1e-6)
    density = data.COLUMNS.index("density")
    assert np.delete(mask, density, axis=1)[..., :-1].all()
    assert not mask[:, density].any()


def test_a_restart_begins_anew_at_its_rate_and_survives_an_interruption(folder: Path) -> None:
    from sme_pinn_atmo.training.loop import Run, _schedule
    from sme_pinn_atmo.training.run import _domain, load_sets

    restart = "restart = [{ at = 40, rate = 0.8 }, { at = 60, rate = 0.5 }]"
    text = CONFIG.replace("steps = 800", f"steps = 100\n{restart}\nwarm_up = 5")
    (folder / "again.toml").write_text(text.replace("epoch = 50", "epoch = 40"))
    config = read_config("again.toml")
    t = config["training"]
    assert [_schedule(step, t) for step in (5, 45, 65)] == pytest.approx([1.0, 0.8, 0.5], rel=0.01)
    assert max(_schedule(step, t) for step in (39, 59, 99)) < 0.02
    sets = load_sets(config)
    whole, first, second = (Run(sets, config, _domain(config, sets)) for _ in range(3))
    while whole.step < whole.steps:
        whole.epoch()
    while first.step < 60:
        first.epoch()
    state = first.state()
    second.load({**state, "optimisers": []}, Path("first"))  # at a restart they have no say
    while second.step < second.steps:
        second.epoch()
    for a, b in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(ValueError, match="of a run of 100 steps"):
        Run(sets, {**config, "training": {**t, "steps": 120}}, _domain(config, sets)).load(state, Path("first"))


def test_restarts_come_in_order_before_the_end(folder: Path) -> None:
    (folder / "one.toml").write_text(CONFIG.replace("steps = 800", "steps = 800\nrestart = { at = 400, rate = 0.4 }"))
    assert read_config("one.toml")["training"]["restart"] == [{"at": 400, "rate": 0.4}]
    for at in ([60, 40], [800], [0]):
        restart = ", ".join(f"{{ at = {a}, rate = 0.5 }}" for a in at)
        (folder / "bad.toml").write_text(CONFIG.replace("steps = 800", f"steps = 800\nrestart = [{restart}]"))
        with pytest.raises(ConfigError, match=r"training.restart at .*between 0 and 800"):
            read_config("bad.toml")


def test_muon_takes_the_same_step_in_either_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from sme_pinn_atmo.training import muon

    start = torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(1))
    steps = []
    for bfloat16 in (False, True):
        monkeypatch.setattr(muon, "_computes_bfloat16", lambda device, answer=bfloat16: answer)
        matrices = [torch.nn.Parameter(m.clone()) for m in start]
        for m in matrices:
            m.grad = m.detach() ** 3
        muon.Muon(matrices, lr=0.1).step()
        steps.append(torch.stack([(m.detach() - s) / -0.1 for m, s in zip(matrices, start, strict=True)]))
    assert torch.linalg.svdvals(steps[0]).median() == pytest.approx(0.9, abs=0.2)  # orthogonal, nearly
    difference = (steps[1] - steps[0]).norm() / steps[0].norm()
    assert 1e-4 < difference < 0.03


def test_columns_left_out_of_a_set_are_not_learnt(folder: Path) -> None:
    source = {"name": "grid", "path": "grid.npz", "columns": ["temperature", "rhox"]}
    labels, depths = ["teff", "logg", "m_h", "alpha_m", "vturb"], data.depth_grid(read_config("small.toml"))
    mask = data.load_source(source, labels, depths, 0).mask
    assert [bool(m) for m in mask.any(axis=(0, 2))] == [c in source["columns"] for c in data.COLUMNS]


def test_rows_held_out_of_a_set_are_in_no_other_set_of_their_file(folder: Path) -> None:
    from sme_pinn_atmo.training.run import load_sets

    tables = """corpus = "both"
[[data]]
name = "again"
path = "grid.npz"
corpus = "both"
"""
    (folder / "twice.toml").write_text(CONFIG + tables)
    grid, again = load_sets(read_config("twice.toml"), (1, 4))
    assert grid.held.any()
    np.testing.assert_array_equal(grid.held, again.held)


def test_the_domain_ends_where_a_plane_that_is_held_out_was_the_last(folder: Path) -> None:
    from sme_pinn_atmo.training.run import _domain, load_sets

    config = read_config("small.toml")
    sets = load_sets(config)
    m_h = np.unique(sets[0].x[:, 2])
    domain = _domain(config, sets, [{"m_h": (m_h[-1], m_h[-1])}])
    assert domain.upper[2] == m_h[-2] < _domain(config, sets).upper[2]

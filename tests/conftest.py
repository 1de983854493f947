"""Shared fixtures: small made-up structures, and a small model trained on nothing but them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sme_pinn_atmo import Emulator, ModelAtmosphere, physics
from sme_pinn_atmo.emulator.labels import Domain
from sme_pinn_atmo.grids import MARCS_LOG_TAU, Structures, read, write_marcs

LABELS = ("teff", "logg", "m_h", "alpha_m", "vturb")
FEATURES = ("sin_3_log_teff", "log_teff", "theta", "logg", "m_h", "alpha_m", "vturb", "log_g_teff4", "cos_3_log_teff")


def made_up_structures(n: int = 60, seed: int = 0, n_depth: int = 40, labels: Any = None) -> Structures:
    """Grey, hydrostatic atmospheres with a power-law opacity: right in kind, quick to make.

    labels : values of `LABELS`, n each; drawn at random if left out
    """
    rng = np.random.default_rng(seed)
    log_tau = np.linspace(-5.0, 2.0, n_depth)
    tau = 10.0**log_tau
    drawn = {
        "teff": rng.uniform(4500, 7000, n), "logg": rng.uniform(2, 5, n), "m_h": rng.uniform(-1, 0.5, n),
        "alpha_m": rng.choice([0.0, 0.4], n), "vturb": rng.uniform(0, 4, n),
    }  # fmt: skip
    labels = drawn if labels is None else dict(zip(LABELS, labels, strict=True))
    teff, g = labels["teff"][:, None], 10.0 ** labels["logg"][:, None]
    t = physics.grey_temperature(tau, teff)
    kappa = 0.2 * (t / 5777) ** 3 * (tau + 1e-3) ** 0.3 * 10 ** (0.3 * labels["m_h"][:, None])
    kappa = kappa * (1 + 0.02 * labels["vturb"][:, None] + 0.1 * labels["alpha_m"][:, None])
    a = g * 1e-3 * (teff / 5777) ** 4 * np.ones_like(tau)
    ln_tau = np.log(tau)
    m, p = physics.integrate_structure(tau, kappa, a, g, physics.integration_matrix(ln_tau))
    n_e = p / (physics.BOLTZMANN * t) * 1e-4 * (t / 5000) ** 6 / (1 + 1e-4 * (t / 5000) ** 6)
    profiles = np.stack([m, t, p, n_e, kappa, a], axis=-1)
    return Structures(labels, profiles, np.tile(log_tau, (n, 1)), np.full(n, n_depth), {}, "made up")


def as_marcs(path: Path, radius: float | None, **labels: float) -> tuple[Structures, ModelAtmosphere]:
    """A file as of MARCS's own: no word of a network, a RHOX five per cent off, spherical if a radius is given."""
    atm = Emulator.load("atlas9").predict(**{"teff": 4500, "logg": 1.5, **labels}, tau_ross=10.0**MARCS_LOG_TAU)
    write_marcs(path, atm)
    text = path.read_text().replace("By a neural network, not a", "A")
    head, first, second = re.split(r" k lgTauR[^\n]*\n", text)
    titles = re.findall(r" k lgTauR[^\n]*\n", text)
    if radius is not None:
        plane, sphere = "1.0000E+00 1 cm radius for plane-parallel models", f"{radius:.4E} Radius [cm] at tau = 1"
        head = head.replace(plane, sphere)
        head = head.replace("0.0        No mass for plane-parallel models", "1.5        Mass [Msun]")
    rows = [line[:-12] + f"{1.05 * float(line[-12:]):12.6E}" for line in second.splitlines()]
    path.write_text(head + titles[0] + first + titles[1] + "\n".join(rows) + "\n")
    return read(path), atm


def command_that_stops(module: str, number: int) -> list[str]:
    """The command line as a process that sends itself the signal of this number when `module` of the package has
    written its first file: at the same place however busy the machine is."""
    code = (
        "import importlib, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which jobs in the background of a shell ignore\n"
        f"module = importlib.import_module('sme_pinn_atmo.{module}')\n"
        "write = module.write_atomically\n"
        "def stop(path, data):\n"
        "    write(path, data)\n"
        f"    os.kill(os.getpid(), {number:d})\n"
        "module.write_atomically = stop\n"
        "from sme_pinn_atmo.cli import main\n"
        "main(prog_name='sme-pinn-atmo')\n"
    )
    return [sys.executable, "-c", code]


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data come from where a test says, not from what this machine's user has brought."""
    monkeypatch.setenv("SME_PINN_ATMO_CACHE", str(tmp_path_factory.getbasetemp() / "no_cache"))


@pytest.fixture(scope="session")
def structures() -> Structures:
    return made_up_structures()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, structures: Structures) -> Path:
    """Weights (and card) of a small network that starts from the made-up structures; needs torch."""
    return _small_model(tmp_path_factory.mktemp("model") / "tiny.safetensors", structures, LABELS, FEATURES)


@pytest.fixture(scope="session")
def tiny_sphere(tmp_path_factory: pytest.TempPathFactory, structures: Structures) -> Path:
    """As `tiny_model`, of a network that knows spheres."""
    path = tmp_path_factory.mktemp("model") / "tiny_sphere.safetensors"
    return _small_model(path, structures, (*LABELS, "mass"), (*FEATURES, "extension"))


@pytest.fixture(scope="session")
def steep_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """`tiny_model` with an opacity that drops by a factor of thousands at the last layer: a spline's integral falls."""
    from sme_pinn_atmo.emulator import Emulator, save_model

    emulator = Emulator.load(tiny_model)
    tensors = dict(emulator.network.tensors)
    tensors["mean"] = tensors["mean"].copy()
    tensors["mean"][1, -1] -= 8.0
    path = tmp_path_factory.mktemp("model") / "steep.safetensors"
    save_model(path, tensors, {**emulator.card, "name": "steep"})
    return path


def _small_model(path: Path, structures: Structures, labels: tuple[str, ...], features: tuple[str, ...]) -> Path:
    torch = pytest.importorskip("torch", reason="torch (the extra `train`) makes the small model")
    from sme_pinn_atmo.emulator import save_model
    from sme_pinn_atmo.emulator.network import HydrostaticNetwork
    from sme_pinn_atmo.training.data import network_fields, on_grid

    torch.manual_seed(1)
    log_tau = structures.log_tau_ross[0]
    y, _, _ = on_grid(structures, log_tau)
    y = np.where(np.isfinite(y), y, 0.0)
    x = np.stack([structures.labels[n] for n in LABELS], 1)
    defaults = {"m_h": 0.0, "alpha_m": 0.0, "vturb": 2.0}
    if "mass" in labels:
        x = np.column_stack([x, np.random.default_rng(3).uniform(0.5, 5.0, len(x))])
        defaults["mass"] = 1.0
    ln_tau = np.log(10.0) * log_tau
    n_field = 6 if "mass" in labels else 4
    net = HydrostaticNetwork(labels, features, ln_tau, width=16, depth=2, n_component=5, n_field=n_field, n_corpus=2)
    net.start_from(torch.tensor(x), torch.tensor(network_fields(y, x, labels, ln_tau)))
    domain = Domain.from_training(x, labels, defaults)
    # Random labels have one star at each Teff: no strip can be read off them, the box is all there is.
    lower, upper = domain.lower, domain.upper
    if "mass" in labels:  # down to the most extended giants
        lower, upper = (lower[0], 0.0, *lower[2:5], 0.5), (*upper[:5], 5.0)
    domain = Domain(domain.labels, lower, upper, domain.defaults)
    card = {"name": path.stem, "labels": list(labels), "features": list(features), "domain": domain.to_dict(),
            "solar_scale": "asplund2009", "references": []}  # fmt: skip
    save_model(path, net.export(1), card)
    return path

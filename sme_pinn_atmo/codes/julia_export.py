"""A model in the file format of the Julia package `SMEPinnAtmo` (`julia_bridge/`).

In: an `Emulator`. Out: a .pinn file (a text header, little-endian doubles), and golden numbers by which Julia is
tested.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..composition import ALPHA_ELEMENTS, ATOMIC_NUMBER, SOLAR_SCALES, atomic_weight
from ..emulator import Emulator
from ..emulator.runtime import FIELDS
from ..files import write_atomically
from ..physics import ATOMIC_MASS, BOLTZMANN, SOLAR_GM

__all__ = ["export_all", "export_julia", "write_golden"]

#: Version of the file's layout; the Julia package refuses any other.
JULIA_FORMAT = 2

#: Order of the tensors in the file; `feature_scale` and the rest as `runtime.Network` names them.
_TENSORS = ("feature_mean", "feature_scale", "w_in", "b_in", "w", "b", "w_out", "b_out", "basis", "mean", "ln_tau")


def export_julia(emulator: Emulator, path: str | Path) -> None:
    """Write header lines, `end`, then the tensors as little-endian Float64 in row-major order.

    Header: one `key value ...` a line; `tensor NAME SIZE ...` announces each tensor, `element SYMBOL Z A W ALPHA`
    an element of the solar mixture (log10 number with H = 12, atomic weight [u], 1 if alpha_m moves it), `strip LABEL
    ALONG KNOTS LOW HIGH` a strip of the domain (`labels.Strip`; as many numbers in each of the three). `sha256` is that
    of the tensors as they stand in the file.
    """
    domain, card = emulator.domain, emulator.card
    tensors = {name: np.ascontiguousarray(emulator.network.tensors[name], dtype="<f8") for name in _TENSORS}
    payload = b"".join(value.tobytes() for value in tensors.values())
    lines = [
        f"sme_pinn_atmo {JULIA_FORMAT}",
        f"name {emulator.name}",
        f"sha256 {hashlib.sha256(payload).hexdigest()}",
        f"boltzmann {BOLTZMANN!r}",
        f"atomic_mass {ATOMIC_MASS!r}",
        f"solar_gm {SOLAR_GM!r}",
        "labels " + " ".join(domain.labels),
        "features " + " ".join(emulator.network.features),
        "lower " + " ".join(map(repr, domain.lower)),
        "upper " + " ".join(map(repr, domain.upper)),
        "defaults " + " ".join(repr(float(domain.defaults.get(n, float("nan")))) for n in domain.labels),
        *(f"strip {s.label} {s.along} " + " ".join(map(repr, (*s.knots, *s.low, *s.high))) for s in domain.strips),
        *(
            f"element {el} {ATOMIC_NUMBER[el]} {eps!r} {atomic_weight(el)!r} {int(el in ALPHA_ELEMENTS)}"
            for el, eps in SOLAR_SCALES[card["solar_scale"]].items()
        ),
        *(f"tensor {name} " + " ".join(map(str, value.shape)) for name, value in tensors.items()),
        "end\n",
    ]
    data = "\n".join(lines).encode() + payload
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)


def export_all() -> list[Path]:
    """Write what the Julia package has of the packaged models: exports in models/, and the golden files of its tests.

    Raises FileNotFoundError outside a clone.
    """
    bridge = Path(__file__).resolve().parents[1] / "julia_bridge"
    if not (bridge / "test").is_dir():
        raise FileNotFoundError(f"{bridge / 'test'} is not there: the Julia package's tests are in a clone only")
    exported = sorted((bridge / "models").glob("*.pinn"))
    for path in exported:
        export_julia(Emulator.load(path.stem), path)
    golden = [bridge / "test" / "golden" / f"{path.stem}.bin" for path in exported]
    for path in golden:
        path.parent.mkdir(exist_ok=True)
        write_golden(Emulator.load(path.stem), path, n=4, n_tau=9)
    return [*exported, *golden]


def write_golden(emulator: Emulator, path: str | Path, *, n: int = 24, n_tau: int = 37, seed: int = 0) -> None:
    """Random labels over the domain, ln profiles, their Jacobian and ln profiles at other depths, to test Julia with.

    A line `n n_label n_field n_depth n_tau`, then little-endian Float64: depths (n_tau,), and for each star labels
    (n_label,), ln profiles (n_field, n_depth), Jacobian (n_field, n_depth, n_label), ln profiles (n_field, n_tau).
    A third of the stars are those of 5000 whose radiative acceleration comes nearest to gravity. Of a model with a mass
    every other star is plane-parallel: its mass is infinite.
    """
    x, many = emulator.domain.sample(n, seed), emulator.domain.sample(5000, seed + 1)
    ln_g = np.log(10.0) * many[:, emulator.domain.labels.index("logg"), None]
    highest = (emulator.network.log_profiles(many)[:, FIELDS.index("radiative_acceleration")] - ln_g).max(axis=1)
    x[: n // 3] = many[np.argsort(np.abs(highest))[: n // 3]]
    if emulator.network.has_mass:
        x[::2, emulator.domain.labels.index("mass")] = np.inf
    ends = emulator.tau_ross[[0, -1]]
    low, high = np.log(ends)
    tau = np.exp(np.sort(np.random.default_rng(seed).uniform(low, high, n_tau)))
    value, jacobian = emulator.network.log_jacobian(x)
    there = emulator.network.log_profiles(x, tau)
    head = f"{n} {x.shape[1]} {value.shape[1]} {value.shape[2]} {n_tau}\n".encode()
    rows = [np.concatenate([x[i], value[i].ravel(), jacobian[i].ravel(), there[i].ravel()]) for i in range(n)]
    write_atomically(Path(path), head + np.concatenate([tau, *rows]).astype("<f8").tobytes())

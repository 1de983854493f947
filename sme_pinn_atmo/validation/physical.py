"""Are structures physical: predicted ones all over the domain, and the computed ones that they were learnt from?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import physics
from ..emulator import Emulator
from ..emulator.labels import as_planes
from ..grids import COLUMNS, Structures

__all__ = ["CHECKS", "bent", "violations", "violations_of"]

#: What is counted, by name.
CHECKS = {
    "not finite": "a profile is not finite",
    "rhox": "column mass does not increase inwards",
    "pressure": "gas pressure does not increase inwards between two layers where g > a",
    "electrons": "n_e is not below P / kT",
}


def violations(emulator: Emulator, n: int = 100_000, seed: int = 0) -> tuple[dict[str, int], np.ndarray]:
    """How many of n random labels in the domain fail each of `CHECKS`; and which labels (n_bad, n_label) fail any."""
    counts = dict.fromkeys(CHECKS, 0)
    bad = []
    for part, p, gravity in _predictions(emulator, n, seed):
        # The last of the fields, n_atom = P/kT - n_e, is NaN or zero where n_e is not below P/kT.
        failed = _failed(p[:, 4], p[:, 5], p[:, 2] < gravity, p[:, 6] > 0)
        failed["not finite"] = np.asarray(~np.isfinite(p).all(axis=(1, 2)))
        for name, which in failed.items():
            counts[name] += int(which.sum())
        bad.append(part[np.any(list(failed.values()), axis=0)])
    return counts, np.concatenate(bad)


def bent(emulator: Emulator, n: int = 100_000, seed: int = 0) -> int:
    """At how many of n random labels `physics.physical_pressure` changes the integrated pressure in any layer.

    Of a model with a mass: below the first layer, whose pressure it predicts.
    """
    count = 0
    network = emulator.network
    matrix = physics.integration_matrix(network.ln_tau)
    for _, p, gravity in _predictions(emulator, n, seed):
        step = (gravity - p[:, 2]) * network.tau / p[:, 1]
        first = p[:, 5, :1] if network.has_mass else step[:, :1]
        # Heights are found to some 1e-5 (`physics.SPHERE_PASSES`).
        off = np.abs((first + step @ matrix.T) / p[:, 5] - 1) > (1e-3 if network.has_mass else 1e-8)
        count += int(off.any(axis=1).sum())
    return count


def violations_of(structures: Structures) -> dict[str, int]:
    """How many computed models fail each of `CHECKS`."""
    layer = np.arange(structures.profiles.shape[1]) < structures.n_depth[:, None]
    rhox, t, p, n_e, _, a = (structures.profiles[..., j].astype(float) for j in range(len(COLUMNS)))
    outwards = a < 10.0 ** structures.labels["logg"][:, None]
    failed = _failed(rhox, p, outwards, (n_e < p / (physics.BOLTZMANN * t)) | ~layer)
    failed["not finite"] = ~np.isfinite(structures.profiles[..., :5]).all(axis=-1) & layer
    return {name: int(np.any(failed[name].reshape(len(structures), -1), axis=1).sum()) for name in CHECKS}


def _predictions(emulator: Emulator, n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of random labels (n, n_label), `runtime.FIELDS` (n, 7 or 8, n_depth) and gravity [cm s-2] (n, n_depth),
    which in a sphere falls with height."""
    network = emulator.network
    x = as_planes(emulator.domain.sample(n, seed), emulator.domain.labels, None)
    for part in np.array_split(x, max(1, n // 5000)):
        with np.errstate(all="ignore"):
            p = np.exp(network.log_profiles(part))
            gravity = 10.0 ** part[:, emulator.domain.labels.index("logg"), None]
            local = np.broadcast_to(gravity, p[:, 0].shape)
            if network.has_mass:
                curvature = physics.curvature(gravity, part[:, emulator.domain.labels.index("mass"), None])
                local = gravity / (1 + curvature * physics.height(network.tau, p[:, 1], p[:, 7], network.above)) ** 2
        yield part, p, local


def _failed(rhox: np.ndarray, p: np.ndarray, outwards: np.ndarray, electrons: np.ndarray) -> dict[str, np.ndarray]:
    """Which structures (n,) fail: column mass and gas pressure (n, n_depth), where g > a, where n_e < P/kT."""
    free = outwards[:, 1:] & outwards[:, :-1]
    return {
        "rhox": (np.diff(rhox) <= 0).any(axis=1),
        "pressure": ((np.diff(p) <= 0) & free).any(axis=1),
        "electrons": ~electrons.all(axis=1),
    }

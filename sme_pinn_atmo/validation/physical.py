"""Are predicted structures physical, everywhere in the domain?"""

from __future__ import annotations

import numpy as np

from ..emulator import Emulator

__all__ = ["CHECKS", "violations"]

#: What is counted, by name.
CHECKS = {
    "not finite": "a profile is not finite",
    "rhox": "column mass does not increase inwards",
    "pressure": "gas pressure does not increase inwards between two layers where g > a",
    "electrons": "n_e is not below P / kT",
}


def violations(emulator: Emulator, n: int = 100_000, seed: int = 0) -> tuple[dict[str, int], np.ndarray]:
    """How many of n random labels in the domain fail each of `CHECKS`; and which labels (n_bad, n_label) fail any."""
    x = emulator.domain.sample(n, seed)
    counts = dict.fromkeys(CHECKS, 0)
    bad = []
    for part in np.array_split(x, max(1, n // 5000)):
        with np.errstate(all="ignore"):
            ln = emulator.network.log_profiles(part)
        ln_g = np.log(10.0) * part[:, emulator.domain.labels.index("logg"), None]
        outwards = ln[:, 2] < ln_g
        free = outwards[:, 1:] & outwards[:, :-1]
        failed = {
            "not finite": ~np.isfinite(ln).all(axis=(1, 2)),
            "rhox": ~(np.diff(ln[:, 4]) > 0).all(axis=1),
            "pressure": ~((np.diff(ln[:, 5]) > 0) | ~free).all(axis=1),
            # atom_density = P/kT - n_e is positive, its logarithm finite.
            "electrons": ~np.isfinite(ln[:, 6]).all(axis=1),
        }
        for name, which in failed.items():
            counts[name] += int(which.sum())
        bad.append(part[np.any(list(failed.values()), axis=0)])
    return counts, np.concatenate(bad)

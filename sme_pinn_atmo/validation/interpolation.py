"""PINN against PySME's own interpolation: the same nodes taken out of both, the same scores, one run."""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..emulator import Emulator
from ..grids import read, write_pysme_grid
from ..physics import BOLTZMANN
from ..sources import find
from .scores import heldout_rows, predict_like, score_profiles

__all__ = ["Comparison", "run"]


@dataclass(frozen=True)
class Comparison:
    """Scores (see `scores.score_profiles`) and seconds per atmosphere; nodes that PySME could not interpolate."""

    nodes: int
    pinn: dict[str, dict[str, Any]]
    pysme: dict[str, dict[str, Any]]
    pinn_seconds: float
    pysme_seconds: float
    failed: int


def run(model: str, *, progress: bool = True) -> Comparison:
    """Score on the ODFNEW nodes at vturb 2 that `model`'s card records as held out.

    PySME interpolates in teff, logg and monh among all other ODFNEW nodes at vturb 2; its atmospheres are put on
    the nodes' Rosseland depths by its own column `tau`, and carry no opacity and no radiative acceleration.

    Raises
    ------
    ValueError : the card records no held-out rows of atlas9.npz
    DataMissingError : atlas9.npz is not there
    """
    from pysme.atmosphere.atmosphere import AtmosphereGrid
    from pysme.atmosphere.interpolation import AtmosphereInterpolator

    emulator = Emulator.load(model)
    path = find("atlas9.npz")
    rows = heldout_rows(emulator, path.name)
    if not rows.size:
        raise ValueError(f"the card of {emulator.name} records no held-out rows of {path.name}")
    models = read(path)
    usable = (models.column("family") == "ODFNEW") & (models.labels["vturb"] == 2) & (models.n_depth == 72)
    standard = np.abs(models.log_tau_ross - models.log_tau_ross[0]).max(axis=1) < 0.01
    usable &= standard
    held = np.isin(np.arange(len(models)), rows)
    truth = models.select(usable & held)
    with tempfile.TemporaryDirectory() as folder:
        write_pysme_grid(Path(folder) / "grid.npz", models.select(usable & ~held), solar_scale="grevesse1998")
        grid = AtmosphereGrid.load(str(Path(folder) / "grid.npz"))
    interpolator = AtmosphereInterpolator(depth="RHOX", interp="TAU", geom="PP")
    pysme = np.full(truth.profiles.shape, np.nan)
    failed, times = 0, []
    for i in tqdm(range(len(truth)), disable=not progress, desc="PySME interpolation"):
        teff, logg, m_h = (float(truth.labels[k][i]) for k in ("teff", "logg", "m_h"))
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                atmo = interpolator.interp_atmo_grid(grid, teff, logg, m_h)
        except Exception:  # PySME fails in many ways at edges: counted, that is what users meet
            failed += 1
            continue
        times.append(time.perf_counter() - start)
        own, there = np.log10(np.asarray(atmo.tau, dtype=float)), truth.log_tau_ross[i]
        for column, values in (
            (0, atmo.rhox), (1, atmo.temp), (3, atmo.xne), (2, (atmo.xna + atmo.xne) * BOLTZMANN * atmo.temp)
        ):  # fmt: skip
            pysme[i, :, column] = np.exp(np.interp(there, own, np.log(np.asarray(values, dtype=float))))
    start = time.perf_counter()
    pinn = predict_like(emulator, truth)
    pinn_seconds = (time.perf_counter() - start) / len(truth)
    seconds = float(np.median(times))
    return Comparison(
        len(truth), score_profiles(pinn, truth), score_profiles(pysme, truth), pinn_seconds, seconds, failed
    )

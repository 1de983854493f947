"""The demo: a solar window in PySME on the PINN, noise from a stated seed, and a fit back from a wrong start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import spectra
from .stars.lines import packaged_lines as line_list

__all__ = ["DemoResult", "line_list", "run"]

#: Labels of the mock star, and how far off the fit starts.
TRUTH = {"teff": 5777.0, "logg": 4.44, "monh": 0.0}
OFFSET = {"teff": 300.0, "logg": -0.3, "monh": -0.2}


@dataclass(frozen=True)
class DemoResult:
    """What the demo found: per parameter the truth, the start, the fit and its formal error."""

    truth: dict[str, float]
    start: dict[str, float]
    fit: dict[str, float]
    error: dict[str, float]
    plot: Path


def star(model: str, labels: dict[str, Any], wave: np.ndarray) -> Any:
    """The demo's star on the PINN."""
    return spectra.star(model, wave, line_list(), **labels, vmac=3.0, vsini=1.6, resolution=60_000)


def run(model: str = "atlas12", folder: str | Path = ".", *, seed: int = 1, snr: float = 200.0) -> DemoResult:
    """Synthesise, add noise, fit, and save the plot `sme_pinn_atmo_demo.png` in `folder`."""
    with spectra.quiet_pysme():
        from pysme.solve import solve
        from pysme.synthesize import synthesize_spectrum

        wave = np.arange(6132.0, 6180.0, 0.03)
        synthetic = np.asarray(synthesize_spectrum(star(model, TRUTH, wave)).synth[0])
        observed = synthetic + np.random.default_rng(seed).normal(0.0, 1.0 / snr, len(wave))
        start = {name: TRUTH[name] + OFFSET[name] for name in TRUTH}
        sme = star(model, start, wave)
        sme.spec, sme.uncs = observed, np.full(len(wave), 1.0 / snr)
        sme = solve(sme, list(TRUTH))
        fit = {name: float(getattr(sme, name)) for name in TRUTH}
        names = list(sme.fitresults.parameters)
        errors = np.sqrt(np.diag(np.asarray(sme.fitresults.covariance)))
        error = {name: float(errors[names.index(name)]) for name in TRUTH}
        path = Path(folder) / "sme_pinn_atmo_demo.png"
        _plot(path, wave, observed, np.asarray(sme.synth[0]), fit, model)
    return DemoResult(TRUTH, start, fit, error, path)


def format_result(result: DemoResult) -> str:
    """The result as a table for people."""
    rows = [f"{'':6}{'truth':>10}{'start':>10}{'fit':>10}{'error':>9}"]
    for name, digits in (("teff", 1), ("logg", 3), ("monh", 3)):
        rows.append(
            f"{name:6}{result.truth[name]:10.{digits}f}{result.start[name]:10.{digits}f}"
            f"{result.fit[name]:10.{digits}f}{result.error[name]:9.{digits}f}"
        )
    return "\n".join(rows)


def _plot(
    path: Path, wave: np.ndarray, observed: np.ndarray, fitted: np.ndarray, fit: dict[str, float], model: str
) -> None:
    from matplotlib.figure import Figure

    from .emulator import Emulator
    from .files import replacing

    atm = Emulator.load(model).predict(teff=fit["teff"], logg=fit["logg"], m_h=fit["monh"], vturb=1.0)
    figure = Figure(figsize=(9, 8), layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=(2.2, 0.9, 2))
    top = figure.add_subplot(grid[0, :])
    top.plot(wave, observed, color="0.6", lw=0.8, label="synthetic Sun with noise")
    top.plot(wave, fitted, color="C3", lw=1.0, label="PySME fit on the PINN")
    top.set(ylabel="normalised flux", ylim=(0, 1.15), xlim=(wave[0], wave[-1]))
    top.legend(loc="lower right", ncols=2)
    top.set_title(f"{model}: Teff {fit['teff']:.0f} K, log g {fit['logg']:.2f}, [M/H] {fit['monh']:+.2f}")
    low = figure.add_subplot(grid[1, :], sharex=top)
    low.plot(wave, 100 * (observed - fitted), color="0.4", lw=0.6)
    low.axhline(0, color="C3", lw=0.8)
    low.set(xlabel="wavelength in air [Å]", ylabel="residual [%]")
    for j, (values, name) in enumerate(
        ((atm.temperature / 1e3, "temperature [10$^3$ K]"), (atm.gas_pressure, "gas pressure [dyn cm$^{-2}$]"))
    ):
        axis = figure.add_subplot(grid[2, j])
        axis.semilogx(atm.tau_ross, values, color="C0")
        axis.set(xlabel="Rosseland optical depth", ylabel=name)
        if j:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    with replacing(path) as (part,):
        figure.savefig(part, dpi=150, format="png")

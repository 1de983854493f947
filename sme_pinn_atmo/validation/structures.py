"""Structures beside computed ones: error against depth; hydrostatic residual of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import physics
from ..emulator import Emulator
from ..files import replacing
from ..grids import COLUMNS, Structures
from .scores import TEFF_RANGES, predict_like, relative_errors

__all__ = ["plot_calibration", "plot_coverage", "plot_errors", "plot_hydrostatics"]


def plot_errors(emulator: Emulator, truth: Structures, path: Path) -> None:
    """Plot median (line) and 95th percentile (dots) of the relative error against depth for each range in Teff, and
    the distribution of the hydrostatic residual of both; as Figs. 2 and 4 of arXiv:2507.06357."""
    from matplotlib.figure import Figure

    predicted = predict_like(emulator, truth)
    error = relative_errors(predicted, truth)
    teff = truth.labels["teff"]
    edges = np.arange(-7.0, 3.26, 0.25)
    middle = 0.5 * (edges[1:] + edges[:-1])
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 3)
    for axis, column in zip(axes.flat[:5], ("RHOX", "T", "P", "XNE", "ABROSS"), strict=True):
        j = COLUMNS.index(column)
        for k, (name, (low, high)) in enumerate(TEFF_RANGES.items()):
            which = (teff > low) & (teff <= high)
            cell = np.digitize(truth.log_tau_ross[which], edges) - 1
            values = error[which][..., j]
            inside = [values[(cell == i) & np.isfinite(values)] for i in range(len(middle))]
            there = [i for i, v in enumerate(inside) if v.size]
            if not there:
                continue
            axis.plot(middle[there], [np.median(inside[i]) for i in there], color=f"C{k}", label=f"{name} K")
            axis.plot(middle[there], [np.percentile(inside[i], 95) for i in there], ".", ms=4, color=f"C{k}")
        axis.set(yscale="log", title=column, xlabel="log tau (Rosseland)", ylabel="error [%]")
        axis.grid(alpha=0.3)
    axes.flat[0].legend(title="median; dots: p95", fontsize=8)
    axis = axes.flat[5]
    bins = np.geomspace(1e-7, 10, 60)
    for profiles, name in ((predicted, f"PINN {emulator.name}"), (truth.profiles, "computed models")):
        residual = [
            physics.hydrostatic_residual(p[1:n, 0], p[1:n, 2], p[1:n, 5], np.asarray(10.0**g))
            for p, n, g in zip(profiles, truth.n_depth, truth.labels["logg"], strict=True)
        ]
        axis.hist(np.concatenate(residual), bins=bins, histtype="step", density=False, label=name)
    axis.set(xscale="log", xlabel="hydrostatic residual |(dP/dm + a)/g − 1|", ylabel="layers", title="hydrostatics")
    axis.legend(fontsize=8)
    figure.suptitle(f"{emulator.name}: {int(np.isfinite(predicted[:, 20, 1]).sum())} computed models")
    _save(figure, path)


def plot_hydrostatics(emulator: Emulator, truth: Structures, path: Path) -> None:
    """dP/dtau against (g - a) / kappa of the network and of the computed models; as Fig. 3 of arXiv:2507.06357, with
    the radiative acceleration that the figure leaves out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    for axis, profiles, name in zip(
        figure.subplots(1, 2, sharex=True, sharey=True), (predict_like(emulator, truth), truth.profiles),
        (f"PINN {emulator.name}", "computed models"), strict=True,
    ):  # fmt: skip
        left, right = [], []
        for p, n, logg in zip(profiles, truth.n_depth, truth.labels["logg"], strict=True):
            m, _, pressure, _, kappa, a = p[1:n].T.astype(float)
            middle = 0.5 * (kappa[1:] + kappa[:-1])
            left.append(np.diff(pressure) / (middle * np.diff(m)))
            right.append((10.0**logg - 0.5 * (a[1:] + a[:-1])) / middle)
        x, y = np.concatenate(right), np.concatenate(left)
        with np.errstate(invalid="ignore"):
            ok = (x > 0) & (y > 0)
        axis.loglog(x[ok], y[ok], ".", ms=2, alpha=0.4, rasterized=True)
        axis.plot([1e-1, 1e8], [1e-1, 1e8], color="0.3", lw=0.7)
        axis.set(title=name, xlabel=r"$(g-a)/\kappa$ [dyn cm$^{-2}$]", ylabel=r"$dP/d\tau$ [dyn cm$^{-2}$]")
    _save(figure, path)


def plot_coverage(emulator: Emulator, truth: Structures, path: Path) -> None:
    """Computed models in the Kiel diagram with the border of the domain, and in (m_h, alpha_m); as Fig. 6 of the
    paper."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    kiel, mix = figure.subplots(1, 2)
    points = kiel.scatter(truth.labels["teff"], truth.labels["logg"], c=truth.labels["m_h"], s=12, cmap="viridis")
    figure.colorbar(points, ax=kiel, label="m_h [dex]")
    domain = emulator.domain
    j = domain.labels.index("teff")
    teff = np.geomspace(domain.lower[j], domain.upper[j], 400)
    low, high = domain.logg_range(teff)
    kiel.plot(np.r_[teff, teff[::-1], teff[0]], np.r_[low, high[::-1], low[0]], color="C3", lw=1, label="domain")
    kiel.set(xscale="log", xlim=(1.1 * domain.upper[j], 0.9 * domain.lower[j]), xlabel="Teff [K]", ylabel="log g")
    ticks = [t for t in (3000, 5000, 10_000, 20_000, 40_000) if domain.lower[j] <= t <= domain.upper[j]]
    kiel.set_xticks(ticks, [str(t) for t in ticks])
    kiel.minorticks_off()
    kiel.invert_yaxis()
    kiel.legend()
    if "alpha_m" in truth.labels:
        pairs, count = np.unique(np.stack([truth.labels["m_h"], truth.labels["alpha_m"]]), axis=1, return_counts=True)
        mix.scatter(*pairs, s=15 + 120 * count / count.max(), alpha=0.6)
    mix.set(xlabel="m_h [dex]", ylabel="alpha_m [dex]", title="size: number of models")
    _save(figure, path)


def plot_calibration(shares: Mapping[str, Any], path: Path) -> None:
    """Share of errors within k standard deviations against k, see `training.errors.calibration`; a second panel for
    planes held out."""
    from matplotlib.figure import Figure

    panels = {"held out at random": shares, "whole planes held out": shares.get("planes")}
    drawn = {title: rows for title, rows in panels.items() if rows}
    figure = Figure(figsize=(5.5 * len(drawn), 4.5), layout="constrained")
    for axis, (title, rows) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
        axis.plot(shares["k"], shares["expected"], color="0.3", lw=3, alpha=0.5, label="Gaussian")
        for name, row in rows.items():
            if name not in ("k", "expected", "planes"):
                axis.plot(shares["k"], row, "o-", ms=3, lw=1, label=name.replace("_", " "))
        axis.set(xlabel="standard deviations", ylabel="share of errors within", ylim=(0, 1.02), title=title)
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as (part,):
        figure.savefig(part, dpi=110, format="png")

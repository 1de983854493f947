"""Figures of `validate solar`: each as PNG for the screen and PDF for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from .masks import MASK
from .spectrum import Fit, broaden

__all__ = ["plot_lines", "plot_sensitivity", "plot_windows"]

#: Windows [A] of the two figures of spectra, and the one whose start the sensitivity shows.
_CLEAN = ((5300.0, 5340.0), (6140.0, 6180.0), (6400.0, 6440.0))
_STRONG = ((5160.0, 5200.0), (5884.0, 5902.0), (6545.0, 6581.0))
_ZOOM = (6140.0, 6180.0)

_REFERENCE = "ATLAS-12"


def plot_windows(
    out: Path, windows: Sequence[tuple[float, float]], observed: Any, fits: Mapping[Any, Fit], spectra: Any, pinn: str
) -> None:
    """Observed and synthetic; models minus ATLAS-12; residuals: `solar`, and `solar_features` for strong lines."""
    clean = [w for w in windows if w in _CLEAN] or [w for w in windows if w not in _STRONG][:3] or list(windows)[:3]
    strong = [w for w in windows if w in _STRONG]
    _spectra(out / "solar.png", clean, observed, fits, spectra, pinn)
    if strong:
        _spectra(out / "solar_features.png", strong, observed, fits, spectra, pinn)


def _spectra(path: Path, shown: Any, observed: Any, fits: Any, spectra: Any, pinn: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(shown) + 2, 8), layout="constrained")
    axes = figure.subplots(3, len(shown), sharex="col", squeeze=False, gridspec_kw={"height_ratios": (2, 1, 1)})
    for column, w in zip(axes.T, shown, strict=True):
        wave, flux = _gaps(*observed[w])
        place = np.interp(wave, observed[w][0], np.arange(len(observed[w][0]))).astype(int)
        column[0].plot(wave, flux, color="0.3", lw=0.9, label="observed (KPNO)")
        column[0].plot(wave, np.where(np.isnan(flux), np.nan, fits[w, _REFERENCE].flux[place]), color="C0", lw=0.9,
                       label=_REFERENCE)  # fmt: skip
        column[0].plot(wave, np.where(np.isnan(flux), np.nan, fits[w, pinn].flux[place]), color="C3", lw=0.9, ls="--",
                       label=pinn)  # fmt: skip
        grid, reference = spectra[w, _REFERENCE]
        sigma = fits[w, _REFERENCE].broadening
        for name, colour in (("MARCS", "C2"), ("ATLAS9", "C1"), (pinn, "C3")):
            difference = 100 * broaden(grid, spectra[w, name][1] - reference, sigma)
            column[1].plot(grid, difference, color=colour, lw=0.8, label=name)
        for name, colour, style in ((_REFERENCE, "C0", "-"), (pinn, "C3", "--")):
            residual = 100 * (flux - fits[w, name].flux[place])
            column[2].plot(wave, residual, style, color=colour, lw=0.6, label=name)
        for low, high in MASK.values():
            if high > w[0] and low < w[1]:
                for axis in column:
                    axis.axvspan(max(low, w[0]), min(high, w[1]), color="0.9", lw=0, zorder=0)
        column[0].set(title=f"{w[0]:.0f}–{w[1]:.0f} Å", ylim=(0, 1.1))
        column[2].set(xlabel="wavelength in air [Å]", xlim=w, ylim=(-12, 12))
    for row, text in zip(axes, ("normalised flux", f"minus {_REFERENCE} [%]", "observed minus [%]"), strict=True):
        row[0].set_ylabel(text)
        row[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)  # where it hides nothing
    _save(figure, path)


def _gaps(wave: Any, flux: Any) -> tuple[Any, Any]:
    """NaN put where pixels are masked, so that no line is drawn across."""
    after = np.flatnonzero(np.diff(wave) > 5 * np.median(np.diff(wave)))
    return (np.insert(wave, after + 1, 0.5 * (wave[after] + wave[after + 1])),
            np.insert(flux, after + 1, np.nan))  # fmt: skip


def plot_sensitivity(
    out: Path, rows: Sequence[Mapping[str, Any]], fits: Mapping[Any, Fit], spectra: Any, pinn: str, lead: str
) -> None:
    """What steps in the labels do, beside the error of the PINN: along wavelengths, and as rms in every window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1, 1.2)})
    names = [k for k in rows[0] if k not in ("window", "feature")]
    windows = [tuple(r["window"]) for r in rows]
    w = _ZOOM if _ZOOM in windows else windows[0]
    grid, here = spectra[w, pinn]
    sigma = fits[w, _REFERENCE].broadening
    for k, name in enumerate(names[:-1]):
        left.plot(grid, 100 * broaden(grid, spectra[w, name][1] - here, sigma), color=f"C{k}", lw=0.8, label=name)
    left.plot(grid, 100 * broaden(grid, spectra[w, lead][1] - spectra[w, _REFERENCE][1], sigma), color="k", lw=1.2,
              label=f"{lead} − {_REFERENCE}")  # fmt: skip
    left.set(xlim=(w[0], min(w[1], w[0] + 20)), xlabel="wavelength in air [Å]", ylabel="change of the flux [%]")
    x = np.arange(len(rows))
    for k, name in enumerate(names):
        last = k == len(names) - 1
        right.plot(x, [r[name] for r in rows], "D-" if last else "o", ms=6, color="k" if last else f"C{k}",
                   label=f"{lead} − {_REFERENCE}" if last else name)  # fmt: skip
    labels = [f"{r['window'][0]:.0f}\n{r['feature']}" for r in rows]
    right.set(yscale="log", ylabel="rms change of the flux", xticks=x, xticklabels=labels, xlabel="window from [Å]")
    right.tick_params(axis="x", labelsize=7)
    right.grid(alpha=0.3)
    right.legend(fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _save(figure, out / "sensitivity.png")


def plot_lines(out: Path, widths: Mapping[str, Any], pinn: str) -> None:
    """Equivalent widths against the observed ones, and against those of ATLAS-12: `solar_lines`."""
    if not widths["table"]:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    column = {k: np.array([r[k] for r in widths["table"]]) for k in ("observed", _REFERENCE, pinn, "ATLAS9", "MARCS")}
    second = np.array([r["species"] == "Fe 2" for r in widths["table"]])
    seen, truth = column["observed"], column[_REFERENCE]
    for name, style in ((_REFERENCE, {"marker": "o", "mfc": "none", "ms": 8, "color": "C0"}),
                        ("MARCS", {"marker": "^", "ms": 4, "color": "C2"}),
                        (pinn, {"marker": "x", "ms": 5, "color": "C3"})):  # fmt: skip
        upper.plot(truth, column[name] / seen, ls="", label=name, **style)
    for name, colour, marker in (("MARCS", "C2", "^"), ("ATLAS9", "C1", "s"), (pinn, "C3", "x")):
        lower.plot(truth, 100 * (column[name] / truth - 1), ls="", marker=marker, color=colour, ms=5, label=name)
    upper.plot(truth[second], (truth / seen)[second], "o", ms=13, mfc="none", mec="0.5", label="Fe II")
    for axis in (upper, lower):
        axis.axhline(1 if axis is upper else 0, color="0.6", lw=0.8, zorder=0)
        axis.legend(fontsize=8)
    upper.set(ylabel="W / W observed")
    lower.set(ylabel=f"W / W({_REFERENCE}) − 1 [%]", xlabel=f"equivalent width of {_REFERENCE} [mÅ]")
    _save(figure, out / "solar_lines.png")


def _save(figure: Any, path: Path) -> None:
    """The figure as PNG and PDF."""
    with replacing(path.with_suffix(".png"), path.with_suffix(".pdf")) as parts:
        for part, kind in zip(parts, ("png", "pdf"), strict=True):
            figure.savefig(part, dpi=130, format=kind)

"""What is left of a fit: tables and JSON for programs, and one page for people."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from .errors import PARTS
from .fit import StarFit

__all__ = ["as_dict", "plot_windows", "summary", "write_results"]

_UNITS = {"teff": "K", "vmic": "km/s", "vmac": "km/s", "vsini": "km/s", "resolution": "", "logg": "dex"}
_DIGITS = {"teff": 0, "resolution": 0, "vmic": 2, "vmac": 2, "vsini": 2}


def as_dict(fit: StarFit) -> dict[str, Any]:
    """The fit as JSON takes it: numbers that are not known are None."""
    errors = {
        part: {n: _finite(v) for n, v in getattr(fit.errors, part).items()}
        for part in ("formal", *PARTS, "total")
    }
    return {
        "name": fit.name, "values": fit.values, "errors": errors["total"], "error_parts": errors, "fixed": fit.fixed,
        "stopped": fit.stopped, "converged": fit.converged, "vrad": fit.velocity,
        "vrad_scatter": fit.velocity_scatter, "reduced_chi2": fit.reduced_chi2, "explained": fit.explained,
        "points": fit.points, "iterations": fit.iterations, "syntheses": fit.syntheses,
        "seconds": round(fit.seconds, 2), "correlation": fit.errors.correlation,
        "covariance": [[_finite(v) for v in row] for row in fit.errors.covariance], "lines_used": fit.lines_used,
        "windows": [
            {"low": w.low, "high": w.high, "points": int(w.used.sum()), "vrad": w.velocity, "rms": _rms(w)}
            for w in fit.windows
        ],
        "warnings": list(fit.warnings), "cleaned": fit.provenance.get("cleaned", {}),
        "provenance": dict(fit.provenance),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rms(window: Any) -> float:
    off = ((window.flux - window.model) / window.level)[window.used]
    return float(np.sqrt((off**2).mean())) if off.size else float("nan")


def text_of(name: str, value: float, error: float | None, stopped: str | None = None) -> str:
    """"5824 +- 35", or that it stopped at a limit."""
    digits = _DIGITS.get(name, 3)
    if stopped:
        return f"{value:.{digits}f} stopped at its {stopped}; its error is not known"
    if error is None or not np.isfinite(error):
        return f"{value:.{digits}f}; its error is not known: the spectrum does not constrain it"
    return f"{value:.{digits}f} +- {error:.{max(digits, 1 if error < 1 else 0)}f}"


def summary(fit: StarFit) -> str:
    """The fit as a table for people: value, total error and its parts."""
    rows = [f"{fit.name}, {fit.provenance.get('model', '')}", f"{'':10}{'value and error':>24}{'noise':>10}"
            f"{'atmosphere':>12}{'lines':>9}{'external':>10}"]  # fmt: skip
    for name, value in fit.values.items():
        digits = _DIGITS.get(name, 3)
        main = text_of(name, value, fit.errors.total[name], fit.stopped.get(name))
        if name in fit.stopped:
            rows.append(f"{name:10}  {main}")
            continue
        parts = [getattr(fit.errors, part)[name] for part in PARTS]
        shown = ["-" if not np.isfinite(p) else f"{p:.{max(digits, 0 if digits == 0 else digits)}f}" for p in parts]
        rows.append(f"{name:10}{main:>24}{shown[0]:>10}{shown[1]:>12}{shown[2]:>9}{shown[3]:>10}")
    rows.append(
        f"vrad {fit.velocity:.2f} km/s (windows differ by {fit.velocity_scatter:.2f}), reduced chi2 "
        f"{fit.reduced_chi2:.3g}, {fit.points} points, {fit.iterations} iterations, {fit.syntheses} syntheses, "
        f"{fit.seconds:.0f} s"
    )
    return "\n".join(rows)


def write_results(fit: StarFit, folder: Path) -> dict[str, Path]:
    """Write fit.json, fit.ecsv (one row), spectrum.ecsv, lines.ecsv, windows.png, page.html; returns where they are."""
    from astropy.table import Table

    folder.mkdir(parents=True, exist_ok=True)
    found = as_dict(fit)
    paths = {n: folder / n for n in ("fit.json", "fit.ecsv", "spectrum.ecsv", "lines.ecsv", "windows.png", "page.html")}
    write_atomically(paths["fit.json"], (json.dumps(found, indent=1) + "\n").encode())
    row: dict[str, Any] = {"name": fit.name}
    for name, value in fit.values.items():
        row |= {name: value, f"e_{name}": fit.errors.total[name]}
        row |= {f"e_{name}_{part}": getattr(fit.errors, part)[name] for part in PARTS}
    row |= {"vrad": fit.velocity, "reduced_chi2": fit.reduced_chi2, "stopped": " ".join(fit.stopped)}
    _write(paths["fit.ecsv"], Table(rows=[row], meta={"provenance": json.dumps(found["provenance"])}))
    spectrum = Table({
        "wavelength": np.concatenate([w.wave for w in fit.windows]),
        "flux": np.concatenate([w.flux / w.level for w in fit.windows]),
        "error": np.concatenate([w.sigma / w.level for w in fit.windows]),
        "model": np.concatenate([w.model / w.level for w in fit.windows]),
        "used": np.concatenate([w.used for w in fit.windows]),
        "window": np.concatenate([np.full(len(w.wave), i) for i, w in enumerate(fit.windows)]),
    })  # fmt: skip
    spectrum["wavelength"].unit = "Angstrom"
    _write(paths["spectrum.ecsv"], spectrum)
    _write(paths["lines.ecsv"], fit.lines)
    picture = plot_windows(fit)
    write_atomically(paths["windows.png"], picture)
    write_atomically(paths["page.html"], _page(fit, picture).encode())
    return paths


def _write(path: Path, table: Any) -> None:
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_atomically(path, text.getvalue().encode())


# ---------------------------------------------------------------------- pictures


def _png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def plot_windows(fit: StarFit) -> bytes:
    """PNG: spectrum, fit, masks and residuals, window by window."""
    from matplotlib.figure import Figure

    n = len(fit.windows)
    figure = Figure(figsize=(11, 2.6 * n + 0.4), layout="constrained")
    axes = figure.subplots(2 * n, 1, height_ratios=[3, 1] * n, squeeze=False)[:, 0]
    for i, window in enumerate(fit.windows):
        top, low = axes[2 * i], axes[2 * i + 1]
        shown = window.wave / (1 + window.velocity / 299792.458)
        flux, model = window.flux / window.level, window.model / window.level
        top.plot(shown, flux, color="0.55", lw=1.0, label="observed")
        top.plot(shown, model, color="C3", lw=0.9, label="fit")
        low.plot(shown, 100 * (flux - model), color="0.35", lw=0.6)
        low.axhline(0, color="C3", lw=0.7)
        for axis in (top, low):
            axis.set_xlim(shown[0], shown[-1])
            _shade(axis, shown, ~window.used)
        limit = 100 * max(4 * _rms(window), 0.01)
        low.set(ylim=(-limit, limit), ylabel="[%]")
        top.set(ylim=(min(0.0, float(flux.min())), 1.15), ylabel="normalised flux")
        top.tick_params(labelbottom=False)
        top.text(0.01, 0.06, f"rms {100 * _rms(window):.2f} %, {window.velocity:+.2f} km/s", transform=top.transAxes,
                 fontsize=8)  # fmt: skip
    axes[0].legend(loc="lower right", fontsize=8, ncols=2)
    axes[0].set_title(f"{fit.name}: " + ", ".join(f"{k} {text_of(k, v, fit.errors.total[k])}" for k, v in
                                                  list(fit.values.items())[:3]), fontsize=10)  # fmt: skip
    axes[-1].set_xlabel("wavelength in air, star at rest [Å]; grey: left out")
    return _png(figure)


def _shade(axis: Any, wave: Any, bad: Any) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(int), [0]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        axis.axvspan(wave[start], wave[min(stop, len(wave) - 1)], color="0.88", lw=0)


def _corner(fit: StarFit) -> bytes | None:
    """PNG: ellipses of one and two standard deviations of every pair; None for a single parameter."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    names = [n for n in fit.errors.names if np.isfinite(fit.errors.total[n])]
    if len(names) < 2:
        return None
    index = [fit.errors.names.index(n) for n in names]
    covariance = fit.errors.covariance[np.ix_(index, index)]
    m = len(names) - 1
    figure = Figure(figsize=(1.7 * m + 1, 1.7 * m + 0.6), layout="constrained")
    axes = figure.subplots(m, m, squeeze=False)
    for i in range(m):
        for j in range(m):
            axis = axes[i, j]
            if j > i:
                axis.set_visible(False)
                continue
            a, b = j, i + 1
            centre = fit.values[names[a]], fit.values[names[b]]
            block = covariance[np.ix_([a, b], [a, b])]
            values, vectors = np.linalg.eigh(block)
            angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
            for k in (2, 1):
                width, height = 2 * k * np.sqrt(np.maximum(values[::-1], 0))
                axis.add_patch(Ellipse(centre, width, height, angle=angle, alpha=0.35, color="C0", lw=0))
            for which, set_ in ((a, axis.set_xlim), (b, axis.set_ylim)):
                reach = 2.6 * np.sqrt(covariance[which, which])
                set_(fit.values[names[which]] - reach, fit.values[names[which]] + reach)
            axis.tick_params(labelsize=7)
            if i == m - 1:
                axis.set_xlabel(names[a])
            if j == 0:
                axis.set_ylabel(names[b])
    return _png(figure)


def _line_plots(fit: StarFit) -> bytes | None:
    """PNG: what each line asks of the metallicity, against excitation and strength; None without lines."""
    from matplotlib.figure import Figure

    if not len(fit.lines):
        return None
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axis, column, label in zip(figure.subplots(1, 2, sharey=True), ("excitation", "strength"),
                                   ("excitation [eV]", "strength"), strict=True):  # fmt: skip
        neutral = np.array([str(s).endswith(" 1") for s in fit.lines["species"]])
        for of, color, name in ((neutral, "C0", "neutral"), (~neutral, "C1", "ionised")):
            axis.plot(fit.lines[column][of], fit.lines["delta"][of], "o", ms=3.5, color=color, label=name)
        axis.axhline(0, color="0.6", lw=0.8)
        axis.set(xlabel=label, ylim=(-0.6, 0.6))
        if column == "strength":
            axis.set_xscale("log")
    figure.axes[0].set_ylabel("change of [M/H] that a line asks for")
    figure.axes[0].legend(fontsize=8)
    return _png(figure)


def line_sentences(fit: StarFit) -> list[str]:
    """What the lines say together: slope with excitation, neutral against ionised, slope with strength."""
    table = fit.lines
    if len(table) < 4:
        return ["Fewer than four lines stand alone: nothing is said line by line."]
    neutral = np.array([str(s).endswith(" 1") for s in table["species"]])
    delta = np.asarray(table["delta"])
    found = []
    for column, scale, unit in (("excitation", 1.0, "eV"), ("strength", 1.0, "dex of strength")):
        x = np.asarray(table[column])[neutral]
        x = np.log10(x) if column == "strength" else x
        if neutral.sum() > 3 and np.ptp(x) > 0:
            # Theil and Sen: a bad line does not turn the slope.
            from scipy.stats import theilslopes

            slope, _, low, high = theilslopes(delta[neutral], x)
            found.append(f"Neutral lines: slope with {column} {slope / scale:+.3f} dex per {unit} "
                         f"(95 % {low:+.3f} to {high:+.3f}), {int(neutral.sum())} lines.")  # fmt: skip
    if neutral.any() and (~neutral).any():
        off = float(np.median(delta[~neutral]) - np.median(delta[neutral]))
        found.append(f"Ionised less neutral lines: {off:+.3f} dex ({int((~neutral).sum())} ionised lines).")
    return found


def _page(fit: StarFit, windows: bytes) -> str:
    def picture(data: bytes | None, what: str) -> str:
        if data is None:
            return ""
        return f'<img alt="{what}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'

    rows = []
    for name, value in fit.values.items():
        cells = [name, text_of(name, value, fit.errors.total[name], fit.stopped.get(name)), _UNITS.get(name, "dex")]
        cells += ["-" if not np.isfinite(getattr(fit.errors, p)[name]) else f"{getattr(fit.errors, p)[name]:.3g}"
                  for p in ("formal", *PARTS)]  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in cells) + "</tr>")
    warnings = "".join(f"<li>{html.escape(w)}</li>" for w in fit.warnings) or "<li>none</li>"
    fixed = ", ".join(f"{n} {v:g}" for n, v in fit.fixed.items())
    lines = "".join(f"<li>{html.escape(s)}</li>" for s in line_sentences(fit))
    strong, veil, listed = fit.lines_used
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(fit.name)}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#222}}
table{{border-collapse:collapse;display:block;overflow-x:auto}}td,th{{padding:.2rem .7rem;border-bottom:1px solid #ddd;
text-align:left;white-space:nowrap}}img{{max-width:100%}}pre{{overflow-x:auto;font-size:12px}}</style>
<h1>{html.escape(fit.name)}</h1>
<p>{html.escape(str(fit.provenance.get("model", "")))}; reduced chi2 {fit.reduced_chi2:.3g} of {fit.points} points, the
model explains {100 * fit.explained:.1f} % of what the lines do; velocity {fit.velocity:.2f} km/s, windows differ by
{fit.velocity_scatter:.2f}. Fixed: {html.escape(fixed)}.</p>
<table><tr><th></th><th>value, total error</th><th>unit</th><th>formal</th><th>noise, scaled</th><th>atmosphere</th>
<th>lines</th><th>external</th></tr>{"".join(rows)}</table>
<p>Total: the larger of scaled noise and disagreement of lines, with the atmosphere's part and that of the list's zero
point in quadrature.</p>
<h2>Warnings</h2><ul>{warnings}</ul>
<h2>Windows</h2>{picture(windows, "windows")}
<h2>Covariance</h2>{picture(_corner(fit), "covariance")}
<h2>Line by line</h2><ul>{lines}</ul>{picture(_line_plots(fit), "lines")}
<p>Lines: {strong} in PySME's transfer, {veil} weak ones in a veil, of {listed} in the list's windows.</p>
<h2>How it was made</h2><pre>{html.escape(json.dumps(dict(fit.provenance), indent=1))}</pre></html>
"""

"""What is left of a calibration for people: one page, a summary, and the card that goes with the corrections."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_atomically
from ..stars.corrections import Corrections
from .run import Calibration
from .shared import LineOptions
from .stars import CalibrationStar

__all__ = ["card_of", "summary", "write_page"]

Array = NDArray[np.float64]

#: Rows of the table of lines that move farthest, and of the places where observed and model differ most.
_ROWS = 25

#: Residuals within so much [A] are of one place.
_PLACE = 0.25


def card_of(
    calibration: Calibration, stars: Sequence[CalibrationStar], options: LineOptions, list_name: str
) -> dict[str, Any]:
    """What corrections were made from, as JSON takes it."""
    from dataclasses import asdict

    import pysme

    from .. import __version__
    from ..emulator import Emulator, models

    names = list(dict.fromkeys(str(s.settings.model) for s in stars))
    free = calibration.constrained & (calibration.shared.kind == "gflog")
    return {
        "title": f"changes of {list_name} on {', '.join(s.name for s in stars)}",
        "list": {"name": list_name},
        "models": {n: Emulator.load(n).card["sha256"] if n in models() else None for n in names},
        "versions": {"sme_pinn_atmo": __version__, "pysme": pysme.__version__},
        "options": asdict(options),
        "windows": [list(w) for w in dict.fromkeys(w.window for s in calibration.stars for w in s.windows)],
        "stars": [
            {
                "name": s.name, "spectrum": given.settings.spectrum, "spectrum_sha256": s.spectrum_sha256,
                "pattern": given.settings.options.pattern, "fixed": s.fixed,
                "before": s.before, "values": s.values, "errors": s.errors,
                "priors": {n: list(p) for n, p in given.settings.priors.items()},
                "rms": {"before": _rms(s.windows, "before"), "after": _rms(s.windows, "after")},
                "robust": {"before": _robust(s.windows, "before"), "after": _robust(s.windows, "after")},
            }
            for s, given in zip(calibration.stars, stars, strict=True)
        ],
        "parameters": len(calibration.shared), "constrained": int(calibration.constrained.sum()),
        "log_gf": {"mean": float(calibration.change[free].mean()) if free.any() else None,
                   "scatter": float(calibration.change[free].std()) if free.any() else None},
        "iterations": calibration.iterations, "converged": calibration.converged,
        "syntheses": calibration.syntheses, "seconds": round(calibration.seconds, 1),
    }  # fmt: skip


def _rms(windows: Sequence[Any], which: str) -> float:
    off = np.concatenate([(w.flux - getattr(w, which))[w.good] for w in windows])
    return float(np.sqrt((off**2).mean()))


def _robust(windows: Sequence[Any], which: str) -> float:
    off = np.concatenate([(w.flux - getattr(w, which))[w.good] for w in windows])
    return float(1.4826 * np.median(np.abs(off)))


def summary(calibration: Calibration) -> str:
    """Residuals of every star before and after, in per cent: root mean square, and 1.48 times the median."""
    rows = [f"{'star':16}{'rms before, after [%]':>24}{'robust':>16}   labels"]
    for s in calibration.stars:
        labels = ", ".join(f"{n} {v:.4g} +- {s.errors.get(n, float('nan')):.2g}" for n, v in s.values.items())
        rows.append(
            f"{s.name:16}{100 * _rms(s.windows, 'before'):14.2f}{100 * _rms(s.windows, 'after'):10.2f}"
            f"{100 * _robust(s.windows, 'before'):10.2f}{100 * _robust(s.windows, 'after'):6.2f}   {labels or 'fixed'}"
        )
    c = calibration
    free = c.constrained & (c.shared.kind == "gflog")
    spread = f"; log gf change by {c.change[free].mean():+.3f} +- {c.change[free].std():.3f}" if free.any() else ""
    rows.append(
        f"{int(c.constrained.sum())} of {len(c.shared)} parameters are constrained{spread}; {c.iterations} iterations, "
        f"{'converged' if c.converged else 'not converged'}, {c.syntheses} jobs, {c.seconds:.0f} s"
    )
    return "\n".join(rows)


# ---------------------------------------------------------------------- pictures


def _png(figure: Any) -> str:
    import io

    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return f'<img alt="figure" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'


def _plot_star(star: Any) -> str:
    """Observed, before and after, and residuals, window by window."""
    from matplotlib.figure import Figure

    n = len(star.windows)
    figure = Figure(figsize=(12, 2.3 * n + 0.4), layout="constrained")
    axes = figure.subplots(2 * n, 1, height_ratios=[3, 1.4] * n, squeeze=False)[:, 0]
    for i, w in enumerate(star.windows):
        top, low = axes[2 * i], axes[2 * i + 1]
        shown = w.wave / (1 + w.velocity / 299792.458)
        top.plot(shown, w.flux, color="0.5", lw=1.1, label="observed")
        for which, color in (("before", "C0"), ("after", "C3")):
            top.plot(shown, getattr(w, which), color=color, lw=0.7, label=which)
            low.plot(shown, 100 * (w.flux - getattr(w, which)), color=color, lw=0.6)
        low.axhline(0, color="0.4", lw=0.5)
        limit = 100 * float(np.clip(4 * w.rms("before"), 0.01, 0.2))
        low.set(ylim=(-limit, limit), ylabel="[%]", xlim=(shown[0], shown[-1]))
        top.set(xlim=(shown[0], shown[-1]), ylim=(min(0.0, float(w.flux.min())), 1.1))
        top.tick_params(labelbottom=False)
        text = f"rms {100 * w.rms('before'):.2f} -> {100 * w.rms():.2f} %"
        top.text(0.01, 0.06, text, transform=top.transAxes, fontsize=8)
    axes[0].legend(loc="lower right", fontsize=8, ncols=3)
    axes[-1].set_xlabel("wavelength in air, star at rest [Å]")
    return _png(figure)


def _plot_changes(calibration: Calibration) -> str:
    """Changes of log gf against excitation, depth and wavelength, and by species."""
    from matplotlib.figure import Figure

    c = calibration
    keep = c.constrained & (c.shared.kind == "gflog")
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    neutral = np.array([str(s).endswith(" 1") for s in c.shared.species])
    for axis, x, label in ((axes[0, 0], c.shared.excitation, "excitation [eV]"),
                           (axes[0, 1], c.shared.depth, "depth in the limit of weakness, deepest star"),
                           (axes[1, 0], c.error, "error of the change [dex]")):  # fmt: skip
        for of, color, name in ((neutral, "C0", "neutral"), (~neutral, "C1", "ionised")):
            axis.errorbar(x[keep & of], c.change[keep & of], c.error[keep & of], fmt="o", ms=2.5, lw=0.4, color=color,
                          label=name)  # fmt: skip
        axis.axhline(0, color="0.5", lw=0.7)
        axis.set(xlabel=label, ylabel="change of log gf [dex]")
    axes[0, 1].set_xscale("log")
    axes[1, 0].set_xscale("log")
    axes[0, 0].legend(fontsize=8)
    names = [n for n in dict.fromkeys(c.shared.species[keep]) if (keep & (c.shared.species == n)).sum() >= 3]
    names.sort(key=lambda n: -int((keep & (c.shared.species == n)).sum()))
    for i, name in enumerate(names[:20]):
        of = keep & (c.shared.species == name)
        axes[1, 1].plot(np.full(of.sum(), i) + np.linspace(-0.25, 0.25, of.sum()), c.change[of], "o", ms=2, color="C2")
        axes[1, 1].plot(i, np.median(c.change[of]), "_", ms=16, color="k")
    axes[1, 1].axhline(0, color="0.5", lw=0.7)
    axes[1, 1].set_xticks(range(len(names[:20])), [n.replace(" ", "\n") for n in names[:20]], fontsize=7)
    axes[1, 1].set_ylabel("change of log gf [dex], median")
    return _png(figure)


def worst_places(calibration: Calibration, n: int = _ROWS) -> list[tuple[float, float, str]]:
    """Where stars and models differ most after the calibration: wavelength [A], residual (observed less model) in the
    star where it is largest, and all stars in which it is above 3 %."""
    found: list[tuple[float, float, str]] = []
    for s in calibration.stars:
        for w in s.windows:
            off = np.where(w.good, w.flux - w.after, 0.0)
            rest = w.wave / (1 + w.velocity / 299792.458)
            while np.abs(off).max(initial=0.0) > 0.03:
                i = int(np.argmax(np.abs(off)))
                found.append((float(rest[i]), float(off[i]), s.name))
                off[np.abs(rest - rest[i]) < _PLACE] = 0.0
    places: list[tuple[float, float, str]] = []
    for wave, off_, name in sorted(found, key=lambda f: -abs(f[1])):
        near = [k for k, p in enumerate(places) if abs(p[0] - wave) < _PLACE]
        if near:
            at, most, names = places[near[0]]
            places[near[0]] = (at, most, f"{names}, {name}" if name not in names.split(", ") else names)
        else:
            places.append((wave, off_, name))
    return places[:n]


def write_page(path: Path, calibration: Calibration, corrections: Corrections) -> None:
    """One HTML page: residuals before and after, stars, the lines that move farthest, what is left, how it was made."""
    c = calibration
    rows = []
    for s in c.stars:
        labels = ", ".join(
            f"{n} {v:.4g} ± {s.errors.get(n, float('nan')):.2g} (before {s.before[n]:.4g})" for n, v in s.values.items()
        )
        rows.append([
            s.name, f"{100 * _rms(s.windows, 'before'):.2f}", f"{100 * _rms(s.windows, 'after'):.2f}",
            f"{100 * _robust(s.windows, 'before'):.2f}", f"{100 * _robust(s.windows, 'after'):.2f}",
            labels or "fixed", ", ".join(f"{n} {v:g}" for n, v in s.fixed.items()),
        ])  # fmt: skip
    table = corrections.table
    order = np.argsort(-np.abs(np.asarray(table["change"]) / np.asarray(table["prior"])))[:_ROWS]
    far = [[str(table[n][i]) for n in ("species", "wavelength", "excitation", "parameter", "change", "error", "depth",
                                       "stars", "flags")] for i in order.tolist()]  # fmt: skip
    places = [[f"{wave:.2f}", f"{100 * off:+.1f}", names] for wave, off, names in worst_places(c)]
    stars = "".join(f"<h3>{html.escape(s.name)}</h3>{_plot_star(s)}" for s in c.stars)
    text = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Calibration of lines</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}}
table{{border-collapse:collapse;display:block;overflow-x:auto}}td,th{{padding:.2rem .7rem;border-bottom:1px solid #ddd;
text-align:left;white-space:nowrap}}img{{max-width:100%}}pre{{overflow-x:auto;font-size:12px}}</style>
<h1>Calibration of lines</h1>
<pre>{html.escape(summary(c))}</pre>
<h2>Stars</h2>{_table(("star", "rms before [%]", "after", "robust before [%]", "after", "free", "fixed"), rows)}
<p>Robust: 1.4826 times the median of |observed less model|, which lines missing in the list hardly move.</p>
<h2>Changes</h2>{_plot_changes(c)}
<h2>Lines that move farthest, in standard deviations of their priors</h2>
{_table(("species", "wavelength [Å]", "excitation [eV]", "parameter", "change", "error", "depth", "stars", "flags"),
        far)}
<h2>Where observed and model still differ most</h2>
<p>Negative: absorption that the list lacks, in the stars named; positive: absorption that no star has.</p>
{_table(("wavelength [Å]", "observed less model [%]", "stars"), places)}
<h2>Windows</h2>{stars}
<h2>How it was made</h2><pre>{html.escape(json.dumps(dict(corrections.card), indent=1))}</pre></html>
"""
    write_atomically(path, text.encode())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + f"</tr>{cells}</table>"

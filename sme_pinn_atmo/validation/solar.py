"""The solar spectrum from the PINN and from computed models, compared with an observed atlas."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..emulator import Emulator, write_atomically
from ..grids import read
from .lines import bootstrap, choose_lines, equivalent_width
from .spectrum import Layers, broaden, data_file, fit_to_atlas, layers_of, read_atlas, read_lines, synthesise

__all__ = ["WINDOWS", "SolarResult", "format_lines", "format_rows", "format_sensitivity", "run"]

#: Windows [A]: 320 A of clean ones, then three strong features as rows of their own.
WINDOWS = ((5300.0, 5340.0), (5500.0, 5540.0), (5700.0, 5740.0), (6080.0, 6120.0), (6140.0, 6180.0),
           (6200.0, 6240.0), (6400.0, 6440.0), (6640.0, 6680.0), (5160.0, 5200.0), (5884.0, 5902.0),
           (6545.0, 6581.0))  # fmt: skip
_NAMES = {(5160.0, 5200.0): "Mg b", (5884.0, 5902.0): "Na D", (6545.0, 6581.0): "H alpha"}

#: Left out for every model: telluric bands, and MgH and C2, which the line list lacks.
MASK = {"telluric O2": (6276.0, 6320.0), "MgH and C2": (5160.0, 5166.0), "telluric O2 B": (6867.0, 6950.0)}

#: The Sun that all models stand for, as the computed ATLAS-12 model has it, and the microturbulence of the synthesis.
SUN: dict[str, Any] = {"teff": 5770.0, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0}
VMIC = 0.85

#: Steps of the sensitivity: text, label, step. Only the atmosphere moves; vmic and abundances of the synthesis stay.
STEPS = (("Teff +50 K", "teff", 50.0), ("Teff -50 K", "teff", -50.0), ("logg +0.1", "logg", 0.1),
         ("logg -0.1", "logg", -0.1), ("m_h +0.05", "m_h", 0.05), ("m_h -0.05", "m_h", -0.05),
         ("vturb +0.5", "vturb", 0.5), ("vturb -0.5", "vturb", -0.5))  # fmt: skip

_C = 299792.458  # km/s

_PUBLISHED = {
    "solar/kpno1984_flux_atlas.npz": "Kurucz et al. 1984, Solar Flux Atlas (kurucz.harvard.edu/sun)",
    "solar/vald_solar_3000_9993.lin": "a VALD3 'extract stellar' of the Sun, short format (vald.astro.uu.se)",
    "solar/atlas12_sun_t5770g4.44_vt1.atm": "an ATLAS-12 model of the Sun (Kurucz deck)",
    "solar/atlas9_sun_t5777g4.4377_vt1.dat": "an ATLAS9 model of the Sun (Kurucz deck)",
    "solar/marcs_sun.mod": "the MARCS model of the Sun (marcs.oreme.org)",
}


@dataclass(frozen=True)
class SolarResult:
    """One dictionary a window and model: what `format_rows` prints and the JSON file holds; the same for equivalent
    widths and for the sensitivity to the labels."""

    rows: list[dict[str, Any]]
    plot: Path
    table: Path
    lines: dict[str, Any]
    sensitivity: list[dict[str, Any]]


def run(
    out: Path, *, model: str = "atlas12", windows: Sequence[tuple[float, float]] = WINDOWS, progress: bool = True
) -> SolarResult:
    """Synthesise every window from every model, compare with the atlas and with ATLAS-12; write table and plot.

    The same treatment for all: PySME in LTE, vmic 0.85 km/s, abundances of Asplund et al. (2009), one velocity,
    one Gaussian broadening and one linear continuum fitted per window and model. Differences from ATLAS-12 are of
    the spectra with ATLAS-12's broadening and no fit.

    Raises
    ------
    DataMissingError, ValueError : before any synthesis, for a missing or malformed file or a window off the atlas
    """
    start = time.monotonic()
    files = {name: data_file(name, where) for name, where in _PUBLISHED.items()}
    paths = list(files.values())
    atlas = read_atlas(paths[0])
    observed = {w: atlas.window(*w, MASK) for w in windows}
    lines = read_lines(paths[1])
    emulators = [Emulator.load(name) for name in dict.fromkeys((model, "atlas9"))]
    stars: dict[str, Layers] = {f"PINN {e.name}": layers_of(e.predict(**SUN)) for e in emulators}
    stars["ATLAS-12"] = layers_of(read(paths[2]))
    stars["ATLAS9"] = layers_of(read(paths[3]), solar_scale="grevesse1998")
    stars["MARCS"] = layers_of(read(paths[4]))
    moved = {text: layers_of(emulators[0].predict(**{**SUN, label: SUN[label] + step})) for text, label, step in STEPS}
    clean = [w for w in windows if w not in _NAMES]
    chosen = choose_lines(lines, clean, list(MASK.values()), n=min(50, 7 * len(clean))) if clean else []
    out.mkdir(parents=True, exist_ok=True)
    spectra = {}
    everything = {**stars, **moved}
    jobs = [(w, name) for w in windows for name in everything]
    for w, name in tqdm(jobs, disable=not progress, desc="synthesis"):
        spectra[w, name] = synthesise(everything[name], lines, w, vmic=VMIC, cache=out / "cache")
    rows: list[dict[str, Any]] = []
    fits = {}
    for w in windows:
        fits.update({(w, name): fit_to_atlas(*spectra[w, name], *observed[w]) for name in stars})
        wave, reference = spectra[w, "ATLAS-12"]
        reference = broaden(wave, reference, fits[w, "ATLAS-12"].broadening)
        keep = np.ones(len(wave), bool)
        for low, high in MASK.values():
            keep &= (wave < low) | (wave > high)
        for name in stars:
            fit = fits[w, name]
            off = observed[w][1] - fit.flux
            difference = (broaden(wave, spectra[w, name][1], fits[w, "ATLAS-12"].broadening) - reference)[keep]
            rows.append({
                "window": [*w], "feature": _NAMES.get(w, ""), "model": name, "points": len(off),
                "rms_atlas": float(np.sqrt(np.mean(off**2))),
                "rms_atlas12": float(np.sqrt(np.mean(difference**2))),
                "max_atlas12": float(np.abs(difference).max()),
                **_by_depth(observed[w][1], off, reference[keep], difference),
                "velocity": fit.velocity, "broadening": fit.broadening, "level": fit.level, "slope": fit.slope,
            })  # fmt: skip
    noise = _noise(rows)
    for row in rows:
        row["chi2"] = float(row["rms_atlas"] ** 2 / noise**2)
    widths = _widths(chosen, clean, observed, fits, spectra, list(stars))
    sensitivity = _sensitivity(windows, fits, spectra, emulators[0].name)
    plot = out / "solar.png"
    _plot(plot, windows, observed, fits, spectra, emulators[0].name)
    _plot_sensitivity(out / "sensitivity.png", sensitivity, emulators[0].name)
    table = out / "solar.json"
    content = {
        "command": f"sme-pinn-atmo validate solar --model {model}", "version": __version__, "sun": SUN, "vmic": VMIC,
        "mask": MASK, "sha256": {e.name: e.card["sha256"] for e in emulators},
        "seconds": round(time.monotonic() - start, 1), "noise": noise, "rows": rows, "lines": widths,
        "sensitivity": sensitivity,
    }  # fmt: skip
    write_atomically(table, (json.dumps(content, indent=1) + "\n").encode())
    return SolarResult(rows, plot, table, widths, sensitivity)


def _noise(rows: list[dict[str, Any]]) -> float:
    """Standard deviation of a pixel for chi square: the median over windows of the rms residual of ATLAS-12 where the
    observed flux is above 0.97. It is set by faint lines and the continuum rather than by photons."""
    values = [r["rms_atlas_continuum"] for r in rows if r["model"] == "ATLAS-12"]
    return float(np.nanmedian(values))


def _widths(
    chosen: list[dict[str, Any]], windows: list[Any], observed: Any, fits: Any, spectra: Any, names: list[str]
) -> dict[str, Any]:
    """Equivalent widths [mA] of the chosen lines in the atlas and in every spectrum, and what they say of the PINN.

    The atlas is shifted and normalised by the fit of ATLAS-12 for all, so that one observed value stands against each.
    """
    table = []
    for line in chosen:
        w = next(w for w in windows if w[0] < line["wave"] < w[1])
        fit = fits[w, "ATLAS-12"]
        wave, flux = observed[w]
        middle, half = 0.5 * (w[0] + w[1]), 0.5 * (w[1] - w[0])
        level = fit.level + fit.slope * (wave - middle) / half
        row = {**line, "observed": equivalent_width(wave / (1 + fit.velocity / _C), flux / level, line["wave"])}
        for name in names:
            grid, synthetic = spectra[w, name]
            row[name] = equivalent_width(grid, broaden(grid, synthetic, fit.broadening), line["wave"])
        table.append(row)
    if len(table) < 2:
        return {"table": table}
    columns = {n: np.array([r[n] for r in table]) for n in ("observed", *names)}
    summary = {
        n: {"mean off observed [%]": float(100 * np.mean(columns[n] / columns["observed"] - 1)),
            "rms off observed [%]": float(100 * np.sqrt(np.mean((columns[n] / columns["observed"] - 1) ** 2))),
            "rms off ATLAS-12 [%]": float(100 * np.sqrt(np.mean((columns[n] / columns["ATLAS-12"] - 1) ** 2)))}
        for n in names
    }  # fmt: skip
    against = {n: bootstrap(columns["observed"], columns[n], columns["ATLAS-12"]) for n in names if n != "ATLAS-12"}
    return {"table": table, "summary": summary, "against ATLAS-12": against}


def _sensitivity(windows: Any, fits: Any, spectra: Any, model: str) -> list[dict[str, Any]]:
    """rms change of the flux in each window for a step in each label, beside PINN minus ATLAS-12."""
    rows = []
    base = f"PINN {model}"
    for w in windows:
        sigma = fits[w, "ATLAS-12"].broadening
        wave, here = spectra[w, base]
        keep = np.ones(len(wave), bool)
        for low, high in MASK.values():
            keep &= (wave < low) | (wave > high)
        here = broaden(wave, here, sigma)[keep]
        row: dict[str, Any] = {"window": [*w], "feature": _NAMES.get(w, "")}
        for name in (*(text for text, _, _ in STEPS), "ATLAS-12"):
            other = broaden(wave, spectra[w, name][1], sigma)[keep]
            row[name] = float(np.sqrt(np.mean((other - here) ** 2)))
        rows.append(row)
    return rows


def format_lines(lines: dict[str, Any]) -> str:
    """What the equivalent widths say, for people."""
    if "summary" not in lines:
        return "no equivalent widths: no clean windows"
    out = [f"equivalent widths of {len(lines['table'])} Fe lines, per cent",
           f"{'':14} {'mean off observed':>18} {'rms off observed':>17} {'rms off ATLAS-12':>17}"]  # fmt: skip
    for name, s in lines["summary"].items():
        out.append(f"{name:14} {s['mean off observed [%]']:18.2f} {s['rms off observed [%]']:17.2f}"
                   f" {s['rms off ATLAS-12 [%]']:17.3f}")  # fmt: skip
    for name, b in lines["against ATLAS-12"].items():
        out.append(
            f"{name} against ATLAS-12: {b['verdict']}; mean |W/W_obs - 1| differs by {b['difference']:+.3f} "
            f"({b['low']:+.3f} to {b['high']:+.3f}) per cent, {b['resamples']} resamples, seed {b['seed']}"
        )
    return "\n".join(out)


def format_sensitivity(rows: list[dict[str, Any]]) -> str:
    """rms change of the flux for each step, for people."""
    names = [k for k in rows[0] if k not in ("window", "feature")]
    out = ["rms change of the flux", f"{'window [A]':>18} " + " ".join(f"{n:>14}" for n in names)]
    for r in rows:
        label = f"{r['window'][0]:.0f}-{r['window'][1]:.0f} {r['feature']}"
        out.append(f"{label:>18} " + " ".join(f"{r[n]:14.5f}" for n in names))
    return "\n".join(out)


def _plot_sensitivity(path: Path, rows: list[dict[str, Any]], model: str) -> None:
    """The error of the PINN beside what steps in the labels do."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axis = figure.subplots()
    names = [k for k in rows[0] if k not in ("window", "feature")]
    x = np.arange(len(rows))
    for k, name in enumerate(names):
        last = name == "ATLAS-12"
        style = {"color": "k", "fmt": "D-"} if last else {"color": f"C{k // 2}", "fmt": "o"}
        label = f"PINN {model} − ATLAS-12" if last else name
        face = style["color"] if k % 2 or last else "none"
        axis.plot(x, [r[name] for r in rows], style["fmt"], ms=6, color=style["color"], mfc=face, label=label)
    labels = [f"{r['window'][0]:.0f}–{r['window'][1]:.0f}\n{r['feature']}" for r in rows]
    axis.set(yscale="log", ylabel="rms change of the flux", xticks=x, xticklabels=labels)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, ncols=3)
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)


def _by_depth(observed: np.ndarray, off: np.ndarray, reference: np.ndarray, difference: np.ndarray) -> dict[str, float]:
    """rms for line cores (flux below 0.6), wings (0.6-0.97) and continuum (above 0.97)."""
    out = {}
    for part, low, high in (("core", -1.0, 0.6), ("wing", 0.6, 0.97), ("continuum", 0.97, 9.0)):
        for name, flux, value in (("atlas", observed, off), ("atlas12", reference, difference)):
            here = value[(flux >= low) & (flux < high)]
            out[f"rms_{name}_{part}"] = float(np.sqrt(np.mean(here**2))) if here.size else float("nan")
    return out


def format_rows(rows: list[dict[str, Any]]) -> str:
    """The table for people: rms against the atlas; rms and largest difference against computed ATLAS-12."""
    names = list(dict.fromkeys(r["model"] for r in rows))
    out = ["rms against the atlas", f"{'window [A]':>18} " + " ".join(f"{n:>13}" for n in names)]
    for key, title in (("rms_atlas", None), ("rms_atlas12", "rms against computed ATLAS-12"),
                       ("max_atlas12", "largest difference from computed ATLAS-12"),
                       ("chi2", "chi square per pixel against the atlas")):  # fmt: skip
        if title:
            out += ["", title]
        for w in dict.fromkeys(tuple(r["window"]) for r in rows):
            here = {r["model"]: r for r in rows if tuple(r["window"]) == w}
            label = f"{w[0]:.0f}-{w[1]:.0f} {here[names[0]]['feature']}"
            out.append(f"{label:>18} " + " ".join(f"{here[n][key]:13.5f}" for n in names))
    return "\n".join(out)


def _plot(path: Path, windows: Any, observed: Any, fits: Any, spectra: Any, model: str) -> None:
    """Observed and synthetic; PINN minus ATLAS-12; residuals: three panels a window, for the first clean windows."""
    from matplotlib.figure import Figure

    shown = [w for w in windows if w not in _NAMES][-3:] or list(windows)[:3]
    figure = Figure(figsize=(5.5 * len(shown), 8), layout="constrained")
    axes = figure.subplots(3, len(shown), sharex="col", squeeze=False, gridspec_kw={"height_ratios": (2, 1, 1)})
    for column, w in zip(axes.T, shown, strict=True):
        pinn, truth = f"PINN {model}", "ATLAS-12"
        wave, flux = observed[w]
        column[0].plot(wave, flux, color="0.3", lw=0.9, label="observed (KPNO)")
        column[0].plot(wave, fits[w, truth].flux, color="C0", lw=0.9, label=truth)
        column[0].plot(wave, fits[w, pinn].flux, color="C3", lw=0.9, ls="--", label=pinn)
        grid, reference = spectra[w, truth]
        sigma = fits[w, truth].broadening
        for name, colour in (("MARCS", "C2"), ("ATLAS9", "C1"), (pinn, "C3")):
            difference = broaden(grid, spectra[w, name][1], sigma) - broaden(grid, reference, sigma)
            column[1].plot(grid, 100 * difference, color=colour, lw=0.8, label=f"{name} − {truth}")
        for name, colour in ((truth, "C0"), (pinn, "C3")):
            column[2].plot(wave, 100 * (flux - fits[w, name].flux), color=colour, lw=0.6, label=f"observed − {name}")
        column[0].set(title=f"{w[0]:.0f}–{w[1]:.0f} Å", ylim=(0, 1.1))
        column[2].set(xlabel="wavelength in air [Å]", xlim=w)
    axes[0, 0].set_ylabel("normalised flux")
    axes[1, 0].set_ylabel("difference [%]")
    axes[2, 0].set_ylabel("residual [%]")
    for axis, place in zip(axes[:, 0], ("lower left", "upper left", "upper left"), strict=True):
        axis.legend(loc=place, fontsize=8)
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, dpi=130, format="png")
    temporary.replace(path)

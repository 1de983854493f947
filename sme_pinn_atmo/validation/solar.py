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
from .spectrum import Layers, broaden, data_file, fit_to_atlas, layers_of, read_atlas, read_lines, synthesise

__all__ = ["WINDOWS", "SolarResult", "format_rows", "run"]

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

_PUBLISHED = {
    "solar/kpno1984_flux_atlas.npz": "Kurucz et al. 1984, Solar Flux Atlas (kurucz.harvard.edu/sun)",
    "solar/vald_solar_3000_9993.lin": "a VALD3 'extract stellar' of the Sun, short format (vald.astro.uu.se)",
    "solar/atlas12_sun_t5770g4.44_vt1.atm": "an ATLAS-12 model of the Sun (Kurucz deck)",
    "solar/atlas9_sun_t5777g4.4377_vt1.dat": "an ATLAS9 model of the Sun (Kurucz deck)",
    "solar/marcs_sun.mod": "the MARCS model of the Sun (marcs.oreme.org)",
}


@dataclass(frozen=True)
class SolarResult:
    """One dictionary a window and model: what `format_rows` prints and the JSON file holds."""

    rows: list[dict[str, Any]]
    plot: Path
    table: Path


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
    out.mkdir(parents=True, exist_ok=True)
    spectra = {}
    jobs = [(w, name) for w in windows for name in stars]
    for w, name in tqdm(jobs, disable=not progress, desc="synthesis"):
        spectra[w, name] = synthesise(stars[name], lines, w, vmic=VMIC, cache=out / "cache")
    rows = []
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
    plot = out / "solar.png"
    _plot(plot, windows, observed, fits, spectra, emulators[0].name)
    table = out / "solar.json"
    content = {
        "command": f"sme-pinn-atmo validate solar --model {model}", "version": __version__, "sun": SUN, "vmic": VMIC,
        "mask": MASK, "sha256": {e.name: e.card["sha256"] for e in emulators},
        "seconds": round(time.monotonic() - start, 1), "rows": rows,
    }  # fmt: skip
    write_atomically(table, (json.dumps(content, indent=1) + "\n").encode())
    return SolarResult(rows, plot, table)


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
                       ("max_atlas12", "largest difference from computed ATLAS-12")):  # fmt: skip
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

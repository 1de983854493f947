"""Which model? What the packaged models say of six well-known kinds of star: structures, spectra, and the labels that
a fit would find with one model in a star that is as another says.

The spectra are of one list of lines and one mixture of elements, so that they differ by the atmospheres alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..emulator import Emulator
from ..files import replacing, write_atomically
from ..quiet import quiet_pysme
from .spectrum import broaden, layers_of, synthesise_windows

__all__ = ["STARS", "WINDOWS", "format_table", "run"]

Array = NDArray[np.float64]

#: Labels of the stars; those of Gaia benchmark stars are rounded from Soubiran et al. (2024, A&A 682, A145).
STARS: dict[str, dict[str, Any]] = {
    "Sun": {"teff": 5772, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0},
    "Procyon": {"teff": 6582, "logg": 3.98, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.8},
    "K dwarf": {"teff": 4400, "logg": 4.65, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0},
    "Arcturus": {"teff": 4277, "logg": 1.58, "m_h": -0.55, "alpha_m": 0.2, "vturb": 1.7},
    "M giant": {"teff": 3600, "logg": 0.9, "m_h": 0.0, "alpha_m": 0.0, "vturb": 2.0},
    "metal-poor giant": {"teff": 4600, "logg": 1.5, "m_h": -2.4, "alpha_m": 0.4, "vturb": 2.0},
}

#: Windows [A]: Mg I 5711 among iron lines; Ca I and Ba II near 6497; Fe II and Ti around 4800.
WINDOWS = ((4795.0, 4810.0), (5700.0, 5715.0), (6488.0, 6503.0))

#: Gaussian broadening [km/s] of R = 50,000.
_SIGMA = 299792.458 / 50_000 / 2.3548
_STEPS = {"teff": 25.0, "logg": 0.05, "m_h": 0.02}
#: Depths of the table [log10 tau_Ross], and of the differences in the figure.
_SHOWN, _DEPTHS = (-4.0, -2.0, 0.0), np.linspace(-4.5, 1.5, 97)


def run(models: Sequence[str], out: Path, *, lines: Any = None, processes: int = 1) -> dict[str, Any]:
    """Compare models, the first of them with all others; writes `which.json`, `which.md` and `which.png` into `out`.

    lines : list of lines of PySME, that of GALAH by default

    Returns what `which.json` holds. Raises ValueError for fewer than two models.
    """
    if len(models) < 2:
        raise ValueError(f"models = {list(models)}: there is nothing to compare; two are needed")
    if lines is None:
        from ..stars.lines import galah_lines

        lines = galah_lines(WINDOWS)
    emulators = {Path(m).stem: Emulator.load(m) for m in models}
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(list(emulators.values()), star, lines) for star in STARS.values()]
    if processes == 1:
        found = list(map(_star, jobs))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_star, jobs))
    stars = {name: {"labels": STARS[name], "models": dict(zip(emulators, each, strict=True))}
             for name, each in zip(STARS, found, strict=True)}  # fmt: skip
    content = {"command": "sme-pinn-atmo validate which", "version": __version__, "windows": WINDOWS,
               "first": next(iter(emulators)),
               "models": {n: e.card["sha256"] for n, e in emulators.items()}, "stars": stars}  # fmt: skip
    plain = {**content, "stars": {name: {**s, "models": {m: {k: v for k, v in r.items() if k not in ("ln", "flux")}
             for m, r in s["models"].items()}} for name, s in stars.items()}}  # fmt: skip
    write_atomically(out / "which.json", (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode())
    write_atomically(out / "which.md", (format_table(plain) + "\n").encode())
    _plot(stars, out / "which.png")
    return plain


def _star(job: tuple[Sequence[Emulator], dict[str, Any], Any]) -> list[dict[str, Any]]:
    """What each model says of a star, the differences being from the first."""
    with quiet_pysme():
        return _compare(*job)


def _compare(emulators: Sequence[Emulator], star: dict[str, Any], lines: Any) -> list[dict[str, Any]]:
    base = _spectrum(emulators[0], star, lines)
    moved = [_spectrum(emulators[0], {**star, name: star[name] + step}, lines) for name, step in _STEPS.items()]
    steps = list(_STEPS.values())
    gradient = np.stack([np.concatenate(m) - np.concatenate(base) for m in moved], axis=1) / steps
    out: list[dict[str, Any]] = []
    for emulator in emulators:
        if not emulator.domain.contains(**star):
            out.append({"outside": True})
            continue
        profile = _profiles(emulator, star)
        flux = _spectrum(emulator, star, lines)
        change = np.concatenate(flux) - np.concatenate(base)
        # Fitted with the first model, a star that is as this one says comes out so far off.
        shift = np.linalg.lstsq(gradient, change, rcond=None)[0]
        temperature, pressure = (np.interp(_SHOWN, _DEPTHS, np.exp(p)) for p in profile)
        out.append({
            "temperature": temperature.tolist(), "gas_pressure": pressure.tolist(),
            "rms": float(np.sqrt(np.mean(change**2))), "shift": dict(zip(_STEPS, map(float, shift), strict=True)),
            "left": float(np.sqrt(np.mean((change - gradient @ shift) ** 2))),
            "ln": profile, "flux": flux,
        })  # fmt: skip
    return out


def _profiles(emulator: Emulator, star: dict[str, Any]) -> list[Array]:
    atmosphere = emulator.predict(**star, tau_ross=10.0**_DEPTHS)
    return [np.log(atmosphere.temperature), np.log(atmosphere.gas_pressure)]


def _spectrum(emulator: Emulator, star: dict[str, Any], lines: Any) -> list[Array]:
    layers = layers_of(emulator.predict(**star))
    spectra = synthesise_windows(layers, lines, WINDOWS, vmic=star["vturb"], alpha_m=star["alpha_m"])
    return [broaden(wave, flux, _SIGMA) for wave, flux in spectra]


def format_table(content: Mapping[str, Any]) -> str:
    """A Markdown table: differences from the first model, by star."""
    first, *others = content["models"]
    head = ["star", "model", *(f"T, K at {t:g}" for t in _SHOWN), *(f"P, dex at {t:g}" for t in _SHOWN), "flux, rms",
            "Teff, K", "log g", "[M/H]", "flux left"]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for name, star in content["stars"].items():
        base = star["models"][first]
        for other in others:
            model = star["models"][other]
            if "outside" in model:
                rows.append([name, other, "outside of its domain", *[""] * (len(head) - 3)])
                continue
            t = np.subtract(model["temperature"], base["temperature"])
            p = np.log10(np.divide(model["gas_pressure"], base["gas_pressure"]))
            shift = model["shift"]
            rows.append([
                name, other, *(f"{v:+.0f}" for v in t), *(f"{v:+.3f}" for v in p), f"{model['rms']:.4f}",
                f"{shift['teff']:+.0f}", f"{shift['logg']:+.3f}", f"{shift['m_h']:+.3f}", f"{model['left']:.4f}",
            ])  # fmt: skip
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"Differences from `{first}`; depths are log10 tau_Ross.\n\n{table}"


def _plot(stars: Mapping[str, Any], path: Path) -> None:
    """Differences of temperature, pressure and flux from the first model, a column a star."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.9 * len(stars), 8), layout="constrained")
    axes = figure.subplots(3, len(stars), sharey="row", squeeze=False)
    for column, (name, star) in zip(axes.T, stars.items(), strict=True):
        base, *others = star["models"].values()
        for i, (label, model) in enumerate(zip(list(star["models"])[1:], others, strict=True)):
            if "outside" in model:
                continue
            style = {"color": f"C{i}", "label": label}
            temperature = np.exp(model["ln"][0]) - np.exp(base["ln"][0])
            column[0].plot(_DEPTHS, temperature, **style)
            column[1].plot(_DEPTHS, (model["ln"][1] - base["ln"][1]) / np.log(10.0), **style)
            flux = model["flux"][1] - base["flux"][1]
            column[2].plot(np.linspace(*WINDOWS[1], len(flux)), flux, lw=0.8, **style)
        labels = star["labels"]
        column[0].set_title(f"{name}\n{labels['teff']:g} K, {labels['logg']:g}, {labels['m_h']:+g}", fontsize=10)
        for axis in column:
            axis.axhline(0.0, color="0.6", lw=0.8)
            axis.grid(alpha=0.3)
        column[1].set_xlabel(r"$\log_{10}\tau_\mathrm{Ross}$")
        column[2].set_xlabel("wavelength in air [Å]")
    first = next(iter(next(iter(stars.values()))["models"]))
    axes[0, 0].set_ylabel(f"T − T({first}) [K]")
    axes[1, 0].set_ylabel(f"log P − log P({first}) [dex]")
    axes[2, 0].set_ylabel(f"flux − flux({first})")
    drawn = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()[:-1]}
    figure.legend(drawn.values(), drawn.keys(), loc="outside upper right", ncols=len(drawn) or 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as (part,):
        figure.savefig(part, dpi=100, format="png")

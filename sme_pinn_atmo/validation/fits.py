"""Real fits: the PINN and PySME's own interpolation in one grid, on mock stars, on the Sun, and along a line in Teff.

Every piece of work leaves a small JSON file in the folder `jobs` of the output; what is there is not done again,
so an interrupted command goes on where it was, and several may share a folder.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from ..composition import SOLAR_SCALES
from ..emulator import Emulator
from ..files import replacing, write_atomically
from ..grids import Structures, read, write_pysme_grid
from ..quiet import quiet_pysme
from ..sources import find
from .spectrum import layers_of, read_atlas, read_lines

__all__ = ["PARTS", "held_out_nodes", "largest_jump", "main", "summarise"]

Array = NDArray[np.float64]

PARTS = ("mock", "sun", "smooth")

#: Mock stars: windows [A], step [A], rotation [km/s] (no instrument), and the range of the nodes.
WINDOWS = ((6140.5, 6154.5), (6160.5, 6174.5))
_STEP, _VSINI = 0.03, 2.0
_TEFF, _M_H = (4500.0, 7000.0), -1.0

#: Microturbulence of the ODFNEW models that make a regular grid [km/s], used in their synthesis too.
_VTURB = 2.0
_SCALE = "grevesse1998"

#: The Sun: clean windows [A], 64 A together, and the start of the fit.
SUN_WINDOWS = ((6080.0, 6112.0), (6140.0, 6172.0))
_SUN_START = {"teff": 5600.0, "logg": 4.2, "monh": -0.15, "vmic": 1.3}
_SUN_STEP, _SUN_SNR = 0.02, 200.0

#: The line in Teff: three cells of the grid, off its nodes in the other labels.
_LINE: dict[str, Any] = {
    "low": 5500.0, "high": 6250.0, "points": 400, "logg": 4.3, "monh": 0.1, "window": (6160.5, 6166.5),
}  # fmt: skip

_NAMES = {"pinn": "PINN", "pysme": "PySME interpolation"}


def main(
    models: Sequence[str], out: Path, *, parts: Sequence[str] = PARTS, snr: Sequence[float] = (2000.0, 100.0),
    stars: int | None = None, progress: bool = True,
) -> Path:  # fmt: skip
    """Do what is not done yet, then write `fits.json`, `fits.md` and the plots into `out`; returns `fits.md`.

    Parameters
    ----------
    models : models whose cards record held-out ODFNEW nodes (`sme-pinn-atmo train atlas9 --fold K/N`); each is
        used for its own held-out nodes, the first also for the Sun and the line in Teff
    parts : out of `PARTS`
    snr : signal-to-noise ratios of the mock stars
    stars : at most so many mock stars of each model, in a fixed random order

    Raises
    ------
    DataMissingError : a data file is not there
    ValueError : a card without held-out nodes of atlas9.npz, or an unknown part
    """
    unknown = [p for p in parts if p not in PARTS]
    if unknown:
        raise ValueError(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    emulators = {name: Emulator.load(name) for name in models}
    structures = read(find("atlas9.npz"))
    lines = read_lines(find("solar/vald_solar_3000_9993.lin"))
    regular = _regular(structures)
    jobs = out / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    work: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "odfnew.npz"
        write_pysme_grid(full, structures.select(regular), solar_scale=_SCALE)
        if "mock" in parts:
            for ratio in snr:
                for name, emulator in emulators.items():
                    for row in held_out_nodes(emulator, structures)[:stars]:
                        for method in _NAMES:
                            key = f"mock_{emulator.card['sha256'][:8]}_{row}_{ratio:g}_{method}"
                            args = (structures, int(row), float(ratio), method, name, full, lines)
                            work.append((key, lambda a=args: _mock_star(*a)))  # type: ignore[misc]
        if "sun" in parts:
            sha = next(iter(emulators.values())).card["sha256"][:8]
            work += [(f"sun_{sha}_{m}", lambda m=m: _sun(m, models[0], full, lines)) for m in _NAMES]  # type: ignore[misc]
        if "smooth" in parts:
            sha = next(iter(emulators.values())).card["sha256"][:8]
            args_ = (models[0], full, lines, structures)
            work += [(f"smooth_{sha}_{m}", lambda m=m: _teff_line(m, *args_)) for m in _NAMES]  # type: ignore[misc]
        for key, job in tqdm(work, disable=not progress, desc="fits"):
            path = jobs / f"{key}.json"
            if path.is_file():
                continue
            with quiet_pysme():
                result = job()
            write_atomically(path, (json.dumps(result, indent=1) + "\n").encode())
    done = [json.loads((jobs / f"{key}.json").read_text(encoding="utf-8")) for key, _ in work]
    return _report(out, done, {e.name: e.card["sha256"] for e in emulators.values()})


# ---------------------------------------------------------------------- what is fitted


def _regular(structures: Structures) -> NDArray[np.bool_]:
    """ODFNEW models on the common depth grid at the one vturb that all but one metallicity have."""
    ok = (structures.column("family") == "ODFNEW") & (structures.labels["vturb"] == _VTURB) & (structures.n_depth == 72)
    first = structures.log_tau_ross[np.argmax(ok)]
    return np.asarray(ok & (np.abs(structures.log_tau_ross - first).max(axis=1) < 0.01))


def held_out_nodes(emulator: Emulator, structures: Structures) -> NDArray[np.int64]:
    """Rows held out of training, 4500-7000 K and m_h >= -1, inside the grid in Teff and log g; random order.

    Inside means that both neighbours in Teff and both in log g exist: without the node itself PySME can then still
    interpolate, also at the highest m_h, where it does so in Teff.
    """
    recorded = emulator.card.get("heldout", {}).get("rows", {}).values()
    held = np.concatenate([[], *(r["rows"] for r in recorded if r["file"] == "atlas9.npz")]).astype(int)
    if not held.size:
        raise ValueError(f"the card of {emulator.name} records no held-out rows of atlas9.npz")
    regular = _regular(structures)
    x = np.stack([np.round(structures.labels[k], 2) for k in ("teff", "logg", "m_h")], axis=1)
    nodes = {tuple(v) for v in x[regular]}

    def inside(row: int) -> bool:
        t, g, m = x[row]
        around = ((t - 250, g, m), (t + 250, g, m), (t, g - 0.5, m), (t, g + 0.5, m))
        return _TEFF[0] <= t <= _TEFF[1] and m >= _M_H and all(n in nodes for n in around)

    rows = np.array([row for row in np.sort(held) if regular[row] and inside(row)], dtype=np.int64)
    return np.random.default_rng(1).permutation(rows)


def _star(lines: Any, windows: Sequence[tuple[float, float]], step: float, **labels: float) -> Any:
    """An `SME_Structure` with lines, windows, broadening and the grid's solar abundances, without an atmosphere."""
    from pysme.abund import Abund
    from pysme.sme import SME_Structure

    sme = SME_Structure()
    centre = np.asarray(lines["wlcent"], dtype=float)
    near = np.any([(centre > low - 4) & (centre < high + 4) for low, high in windows], axis=0)
    sme.linelist = lines[near]
    sme.wave = [np.arange(low, high, step) for low, high in windows]
    pattern = Abund(monh=0.0, pattern="asplund2009").get_pattern("H=12") | SOLAR_SCALES[_SCALE]
    sme.abund = Abund(monh=labels["monh"], pattern=pattern, type="H=12")
    sme.vsini, sme.vmac, sme.vmic = _VSINI, 0.0, _VTURB
    sme.vrad_flag = sme.cscale_flag = "none"
    for name, value in labels.items():
        setattr(sme, name, value)
    return sme


def _use(sme: Any, method: str, model: str, grid: Path) -> None:
    """Set the atmosphere source: the PINN, or a grid file that PySME interpolates in."""
    from ..codes.pysme import PinnAtmosphereGrid

    sme.atmo.source = PinnAtmosphereGrid(model) if method == "pinn" else str(grid)
    sme.atmo.method, sme.atmo.geom = "grid", "PP"


def _grid_without(full: Path, folder: str, label: Sequence[float] | None = None) -> Path:
    """A grid file under a name that PySME takes, with the node at (teff, logg, m_h) left out."""
    from pysme.atmosphere.atmosphere import AtmosphereGrid

    grid = AtmosphereGrid.load(str(full))
    if label is not None:
        off = np.abs(grid.teff - label[0]) + np.abs(grid.logg - label[1]) + np.abs(grid.monh - label[2])
        if (off < 1e-3).sum() != 1:
            raise ValueError(f"the grid has {(off < 1e-3).sum()} nodes at {tuple(label)}, not one")
        grid = grid[off >= 1e-3]
    path = Path(folder) / "grid.npz"
    grid.save(str(path))
    # PySME reads bounds of a fit only from files named .sav; their content may be NumPy's.
    return path.rename(path.with_suffix(".sav"))


def _embedded(sme: Any, structures: Structures, row: int) -> None:
    """Put a computed structure into an `SME_Structure`."""
    from pysme.atmosphere.atmosphere import Atmosphere

    layers = layers_of(structures, row, _SCALE)
    sme.atmo = Atmosphere(
        teff=layers.teff, logg=layers.logg, vturb=_VTURB, lonh=0.0, method="embedded", source="", geom="PP",
        radius=1.0, wlstd=5000.0, opflag=[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0], depth="RHOX",
        interp="TAU", rhox=layers.rhox, tau=layers.tau_ross, temp=layers.temperature, rho=layers.density,
        xna=layers.atom_density, xne=layers.electron_density, monh=layers.m_h,
        abund=sme.abund.get_pattern("H=12"), abund_format="H=12",
    )  # fmt: skip


def _fit(sme: Any, parameters: Sequence[str]) -> dict[str, Any]:
    """Fit with PySME's solver: values, formal errors, iterations, syntheses and seconds, or why it failed."""
    from pysme.solve import SME_Solver

    solver = SME_Solver()
    synthesise, calls = solver.synthesizer.synthesize_spectrum, [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return synthesise(*args, **kwargs)

    solver.synthesizer.synthesize_spectrum = counted
    start = time.perf_counter()
    failed: str | None = None
    fit: dict[str, float] = {}
    error: dict[str, float] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sme = solver.solve(sme, list(parameters))
        sigma = np.sqrt(np.diag(np.asarray(sme.fitresults.covariance, dtype=float)))
        names = list(sme.fitresults.parameters)
        fit = {p: float(getattr(sme, p)) for p in parameters}
        error = {p: float(sigma[names.index(p)]) for p in parameters}
        if not np.isfinite(list(fit.values())).all():
            failed = "the result is not finite"
    except Exception as e:  # PySME fails in many ways; each is a failure that a user would meet
        failed = f"{type(e).__name__}: {str(e)[:200]}"
    chisq = None if failed else float(np.asarray(sme.fitresults.chisq))
    return {
        "fit": fit, "error": error, "chisq": chisq, "iterations": solver.iteration, "syntheses": calls[0],
        "seconds": round(time.perf_counter() - start, 2), "failed": failed,
    }  # fmt: skip


def _mock_star(
    structures: Structures, row: int, snr: float, method: str, model: str, full: Path, lines: Any
) -> dict[str, Any]:
    """Spectrum of a computed structure with noise, fitted for teff, logg and monh without that node."""
    from pysme.synthesize import synthesize_spectrum

    label = [float(structures.labels[k][row]) for k in ("teff", "logg", "m_h")]
    truth = dict(zip(("teff", "logg", "monh"), label, strict=True))
    sme = _star(lines, WINDOWS, _STEP, **truth)
    _embedded(sme, structures, row)
    synthetic = [np.array(s, dtype=float) for s in synthesize_spectrum(sme).synth]
    rng = np.random.default_rng([1, row])
    offsets = rng.choice([-1.0, 1.0], 3) * [200.0, 0.3, 0.2]
    domain = Emulator.load(model).domain
    for sign in (1.0, -1.0):
        start = {k: truth[k] + sign * o for k, o in zip(truth, offsets, strict=True)}
        if domain.contains(teff=start["teff"], logg=start["logg"], m_h=start["monh"], vturb=_VTURB):
            break
    observed = [s + rng.normal(0.0, 1.0 / snr, len(s)) for s in synthetic]
    sme = _star(lines, WINDOWS, _STEP, **start)
    sme.spec, sme.uncs = observed, [np.full(len(s), 1.0 / snr) for s in synthetic]
    with tempfile.TemporaryDirectory() as folder:
        _use(sme, method, model, _grid_without(full, folder, label) if method == "pysme" else full)
        result = _fit(sme, list(truth))
    return {"part": "mock", "row": row, "snr": snr, "method": method, "truth": truth, "start": start, **result}


def _sun(method: str, model: str, full: Path, lines: Any) -> dict[str, Any]:
    """teff, logg, monh and vmic of the Sun from the KPNO atlas; one velocity, one linear continuum a window."""
    atlas = read_atlas(find("solar/kpno1984_flux_atlas.npz"))
    sme = _star(lines, SUN_WINDOWS, _SUN_STEP, **_SUN_START)
    sme.vsini, sme.vmac = 1.6, 3.5
    sme.spec = [np.interp(w, atlas.wave, atlas.flux) for w in sme.wave]
    sme.uncs = [np.full(len(w), 1.0 / _SUN_SNR) for w in sme.wave]
    sme.vrad_flag, sme.cscale_flag = "whole", "linear"
    with tempfile.TemporaryDirectory() as folder:
        _use(sme, method, model, _grid_without(full, folder) if method == "pysme" else full)
        result = _fit(sme, list(_SUN_START))
    return {"part": "sun", "method": method, "start": _SUN_START, **result}


def _teff_line(method: str, model: str, full: Path, lines: Any, structures: Structures) -> dict[str, Any]:
    """chi2 per point against one computed star, along a line in Teff across three cells of the grid."""
    from pysme.synthesize import Synthesizer, synthesize_spectrum

    x = np.stack([structures.labels[k] for k in ("teff", "logg", "m_h")], axis=1)
    row = int(np.flatnonzero(_regular(structures) & (np.abs(x - [5750, 4.5, 0.2]).max(axis=1) < 0.01))[0])
    window = [_LINE["window"]]
    target = _star(lines, window, _STEP, teff=5750.0, logg=4.5, monh=0.2)
    _embedded(target, structures, row)
    observed = np.array(synthesize_spectrum(target).synth[0], dtype=float)
    teff = np.linspace(_LINE["low"], _LINE["high"], _LINE["points"])
    sme = _star(lines, window, _STEP, teff=float(teff[0]), logg=_LINE["logg"], monh=_LINE["monh"])
    synthesizer, chi2 = Synthesizer(), []
    with tempfile.TemporaryDirectory() as folder:
        _use(sme, method, model, _grid_without(full, folder) if method == "pysme" else full)
        source = sme.atmo.source
        for i, t in enumerate(teff):
            sme.teff, sme.atmo.source = float(t), source
            # One wavelength grid for all, as in the solver's derivatives: else its refinement is what one sees.
            sme = synthesizer.synthesize_spectrum(sme, reuse_wavelength_grid=i > 0)
            chi2.append(float(np.mean(((np.asarray(sme.synth[0]) - observed) * 100.0) ** 2)))
    return {"part": "smooth", "method": method, "teff": teff.tolist(), "chi2": chi2}


# ---------------------------------------------------------------------- what is reported


def largest_jump(x: Array, y: Array) -> tuple[float, float]:
    """Largest jump of dy/dx between neighbouring points, and where: the second difference without its median.

    The median over 21 neighbours is what smooth curvature makes; a kink stands out of it.
    """
    from scipy.ndimage import median_filter

    jump = np.diff(np.diff(y) / np.diff(x))
    jump = jump - median_filter(jump, 21, mode="nearest")
    at = int(np.argmax(np.abs(jump)))
    return float(np.abs(jump[at])), float(x[at + 1])


def summarise(done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each S/N and method: failures, mean, scatter (standard deviation) and worst error, and the cost."""
    rows = []
    mock = [d for d in done if d["part"] == "mock"]
    for snr in sorted({d["snr"] for d in mock}):
        for method in _NAMES:
            here = [d for d in mock if d["snr"] == snr and d["method"] == method]
            good = [d for d in here if d["failed"] is None]
            if not good:
                continue
            row: dict[str, Any] = {"snr": snr, "method": method, "stars": len(here), "failed": len(here) - len(good)}
            for p in ("teff", "logg", "monh"):
                off = np.array([d["fit"][p] - d["truth"][p] for d in good])
                row[p] = {
                    "mean": float(off.mean()), "scatter": float(off.std()), "worst": float(np.abs(off).max()),
                    "median_error": float(np.median([d["error"][p] for d in good])),
                }  # fmt: skip
            for key in ("iterations", "syntheses", "seconds"):
                v = [d[key] for d in good]
                row[key] = [float(np.median(v)), float(min(v)), float(max(v))]
            rows.append(row)
    return rows


def _report(out: Path, done: list[dict[str, Any]], models: dict[str, str]) -> Path:
    rows = summarise(done)
    text = ["# Fits with the PINN and with PySME's interpolation", ""]
    if rows:
        text += [
            "Mock stars: fit minus truth. Scatter is the standard deviation; cost is median (lowest to highest).", "",
            "| S/N | atmospheres | stars | failed | Teff [K] scatter / worst | log g scatter / worst "
            "| [M/H] scatter / worst | iterations | syntheses | seconds |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
    for r in rows:
        cost = [f"{r[k][0]:.0f} ({r[k][1]:.0f}-{r[k][2]:.0f})" for k in ("iterations", "syntheses", "seconds")]
        errors = [f"{r[p]['scatter']:.{n}f} / {r[p]['worst']:.{n}f}" for p, n in
                  (("teff", 1), ("logg", 4), ("monh", 4))]  # fmt: skip
        cells = [f"{r['snr']:g}", _NAMES[r["method"]], r["stars"], r["failed"], *errors, *cost]
        text.append("| " + " | ".join(map(str, cells)) + " |")
    sun = [d for d in done if d["part"] == "sun"]
    if sun:
        span = ", ".join(f"{low:g}-{high:g}" for low, high in SUN_WINDOWS)
        text += ["", f"The Sun (KPNO atlas, {span} A):", "",
                 "| atmospheres | Teff [K] | log g | [M/H] | vmic [km/s] | chi2 | iterations | syntheses | seconds |",
                 "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for d in sun:
            if d["failed"]:
                text.append(f"| {_NAMES[d['method']]} | failed: {d['failed']} | | | | | | | |")
                continue
            scale = np.sqrt(d["chisq"])
            values = [f"{d['fit'][p]:.{n}f} ± {d['error'][p] * scale:.{n}f}" for p, n in
                      (("teff", 1), ("logg", 3), ("monh", 3), ("vmic", 3))]  # fmt: skip
            cells = [_NAMES[d["method"]], *values, f"{d['chisq']:.2f}", d["iterations"], d["syntheses"], d["seconds"]]
            text.append("| " + " | ".join(map(str, cells)) + " |")
    smooth = [d for d in done if d["part"] == "smooth"]
    jumps = {d["method"]: largest_jump(np.array(d["teff"]), np.array(d["chi2"])) for d in smooth}
    if jumps:
        text += ["", f"chi2 per point (S/N 100) at {_LINE['points']} points from {_LINE['low']:g} to "
                 f"{_LINE['high']:g} K, log g {_LINE['logg']:g}, [M/H] {_LINE['monh']:g}:", "",
                 "| atmospheres | largest jump of d chi2 / d Teff [1/K] | at [K] |", "|---|---|---|"]  # fmt: skip
        text += [f"| {_NAMES[m]} | {v:.2e} | {at:.0f} |" for m, (v, at) in jumps.items()]
    content = {
        "version": __version__, "sha256": models, "mock": rows, "sun": sun,
        "smooth": {m: {"largest_jump": v, "at": at} for m, (v, at) in jumps.items()},
        "stars": [d for d in done if d["part"] == "mock"],
    }  # fmt: skip
    write_atomically(out / "fits.json", (json.dumps(content, indent=1) + "\n").encode())
    if rows:
        _plot_mock(out / "fits_mock.png", done)
    if smooth:
        _plot_smooth(out / "fits_smooth.png", smooth)
    path = out / "fits.md"
    write_atomically(path, ("\n".join(text) + "\n").encode())
    return path


def _plot_mock(path: Path, done: Sequence[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    mock = [d for d in done if d["part"] == "mock" and d["failed"] is None]
    ratios = sorted({d["snr"] for d in mock})
    figure = Figure(figsize=(11, 3.2 * len(ratios)), layout="constrained")
    axes = figure.subplots(len(ratios), 3, squeeze=False)
    for line, snr in zip(axes, ratios, strict=True):
        for axis, (p, name) in zip(
            line, (("teff", "Teff [K]"), ("logg", "log g"), ("monh", "[M/H]")), strict=True
        ):  # fmt: skip
            for method, colour in (("pysme", "C1"), ("pinn", "C0")):
                here = [d for d in mock if d["snr"] == snr and d["method"] == method]
                axis.plot([d["truth"]["teff"] for d in here], [d["fit"][p] - d["truth"][p] for d in here], "o",
                          ms=4, color=colour, label=_NAMES[method])  # fmt: skip
            axis.axhline(0, color="0.6", lw=0.8)
            axis.set(xlabel="true Teff [K]", ylabel=f"fit − truth, {name}", title=f"S/N {snr:g}")
    axes[0, 0].legend(fontsize=8)
    _save(figure, path)


def _plot_smooth(path: Path, smooth: Sequence[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    top, low = figure.subplots(2, 1, sharex=True)
    for d in smooth:
        x, y = np.array(d["teff"]), np.array(d["chi2"])
        colour = {"pinn": "C0", "pysme": "C1"}[d["method"]]
        top.plot(x, y, color=colour, lw=1.2, label=_NAMES[d["method"]])
        low.plot(0.5 * (x[1:] + x[:-1]), np.diff(y) / np.diff(x), color=colour, lw=1.0)
    for axis in (top, low):
        for node in np.arange(_LINE["low"], _LINE["high"] + 1, 250.0):
            axis.axvline(node, color="0.8", lw=0.8, zorder=0)
    top.set(ylabel="chi2 per point at S/N 100", title="grid nodes in grey")
    top.legend()
    low.set(xlabel="Teff [K]", ylabel="d chi2 / d Teff [1/K]")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as (part,):
        figure.savefig(part, dpi=130, format="png")

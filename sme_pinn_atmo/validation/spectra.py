"""What an error of the atmosphere does to the spectrum, over the Kiel diagram: at computed models kept from training.

Every star leaves a small JSON file in the folder `jobs` of the output, under a name made from all that it depends on;
what is there is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from ..emulator import Emulator
from ..files import replacing, write_atomically
from ..grids import Structures, read, write_pysme_grid
from ..sources import find
from .scores import heldout_rows
from .spectrum import Layers, broaden, layers_of, read_lines, synthesise_windows

__all__ = ["WINDOWS", "format_failures", "format_rows", "run", "summarise"]

Array = NDArray[np.float64]

#: Windows [A]: Mg b with its wings; Mg I 5528, Fe I and Sc II; one of the windows that fits use.
WINDOWS = ((5176.0, 5191.0), (5522.0, 5537.0), (6140.0, 6155.0))
TEFF = (4000.0, 8000.0)

#: Gaussian broadening [km/s] of R = 50,000.
_SIGMA = 299792.458 / 50_000 / 2.3548
_STEPS = {"teff": 25.0, "logg": 0.05, "m_h": 0.02}

#: Rows of the table, [low, high) in K; 8000 K belongs to the last range of the grid.
_GRID_RANGES = {"4000-5000": (4000.0, 5000.0), "5000-6000": (5000.0, 6000.0), "6000-7000": (6000.0, 7000.0),
                "7000-8000": (7000.0, 8000.5)}  # fmt: skip
_RANGES = {
    "atlas9": {**_GRID_RANGES, "all": (0.0, np.inf)},
    "atlas12": {"below 4000": (0.0, 4000.0), **_GRID_RANGES, "4000-8000": (4000.0, 8000.5),
                "above 8000": (8000.5, np.inf)},
}  # fmt: skip

#: Raised when what a star's file holds, or how it comes about, changes.
_FORMAT = 2


@dataclass(frozen=True)
class _Job:
    """One star: its row in the data, the model that held it out, where everything lies, and the file it leaves."""

    model: str
    data: str
    row: int
    grid: str
    lines: str
    path: str


def run(
    models: Sequence[str], out: Path, *, nodes: int | None = None, processes: int = 1, progress: bool = True
) -> Path:
    """Synthesise from computed structure, PINN and PySME's interpolation; write `spectra.json`, `.md` and `.png`.

    Parameters
    ----------
    models : networks whose cards record held-out rows, of atlas9.npz (ODFNEW nodes at vturb 2, 4000-8000 K, each of
        which is also taken out of PySME's grid) or of atlas12.npz (no interpolation: there is no grid of such models)
    out : folder for the results; made if need be
    nodes : at most so many ODFNEW nodes in all, drawn at random (seed 1)
    processes : how many to use; every one holds PySME and the data

    Returns the path of `spectra.md`. A star that fails is reported and does not stop the others.

    Raises
    ------
    ValueError, OSError : before any synthesis, for an unknown model, a card without held-out rows, or a line list
        that is not one
    DataMissingError : before any synthesis
    """
    emulators = {model: Emulator.load(model) for model in models}
    files = {n: find(n) for n in ("atlas9.npz", "atlas12.npz")}
    lines = find("solar/vald_solar_3000_9993.lin")
    data = {name: read(path) for name, path in files.items()}
    regular = _regular(data["atlas9.npz"])
    rows = {(m, n): _rows(e, n, data[n], regular) for m, e in emulators.items() for n in files}
    for model in models:
        if not any(rows[model, name].size for name in files):
            raise ValueError(f"the card of {model} records no held-out rows of {' or '.join(files)} that can be used")
    read_lines(lines)
    common = f"{_FORMAT} {WINDOWS} {_SIGMA} {_STEPS} {_pysme_version()} {_digest(lines)}"
    content = {name: _digest(path) for name, path in files.items()}
    (out / "jobs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid.npz"
        write_pysme_grid(grid, data["atlas9.npz"].select(regular), solar_scale="grevesse1998")
        jobs = {}  # by path: the same star of the same model is done once, however often it is asked for
        for (model, name), chosen in rows.items():
            for row in chosen:
                key = f"{common} {emulators[model].card['sha256']} {content[name]} {row}"
                stem = f"{name[:-4]}_{row}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
                path = str(out / "jobs" / f"{stem}.json")
                jobs[path] = _Job(model, str(files[name]), int(row), str(grid), str(lines), path)
        on_grid = [j for j in jobs.values() if j.data == str(files["atlas9.npz"])]
        others = [j for j in jobs.values() if j.data != str(files["atlas9.npz"])]
        if nodes is not None and len(on_grid) > nodes:
            drawn = np.random.default_rng(1).permutation(len(on_grid))[:nodes]
            on_grid = [on_grid[i] for i in sorted(drawn)]
        everything = [*on_grid, *others]
        _do(everything, processes, progress)
    results = [json.loads(Path(j.path).read_text(encoding="utf-8")) for j in everything]
    inside = _inside(data["atlas9.npz"], regular)
    results = [r | ({"inside": bool(inside[r["row"]])} if r["data"] == "atlas9" else {}) for r in results]
    command = "sme-pinn-atmo validate spectra " + " ".join(f"--model {Path(m).name}" for m in models)
    command += f" --nodes {nodes}" if nodes is not None else ""
    table = summarise(results)
    report = {"command": command, "version": __version__, "pysme": _pysme_version(), "seed": 1, "windows": WINDOWS,
              "models": {Path(m).name: e.card["sha256"] for m, e in emulators.items()}, "data": content,
              "summary": table, "stars": results}  # fmt: skip
    text = f"`{command}`\n\n{format_rows(table)}\n\n{_nearer(results)}\n\n{format_failures(results)}\n"
    write_atomically(out / "spectra.json", (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    write_atomically(out / "spectra.md", text.encode())
    _plot(results, out / "spectra.png")
    return out / "spectra.md"


def summarise(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by data and Teff: [median, 95th percentile] over stars for each atmosphere, None where there is no star.

    A row more for nodes with neighbours on all sides, where PySME interpolates and does not extrapolate.
    """
    rows = []
    for data in dict.fromkeys(r["data"] for r in results):
        here = [r for r in results if r["data"] == data]
        groups = {n: [r for r in here if low <= r["teff"] < high] for n, (low, high) in _RANGES[data].items()}
        groups["all, inside"] = [r for r in here if r.get("inside")]
        for name, group in groups.items():
            for method in ("pinn", "pysme"):
                tried = [r[method] for r in group if method in r]
                if not tried:
                    continue
                good = [t for t in tried if "rms" in t]
                row: dict[str, Any] = {"data": data, "teff": name, "method": method, "stars": len(tried),
                                       "failed": len(tried) - len(good)}  # fmt: skip
                for k, window in enumerate(WINDOWS):
                    row[_name(window)] = _pair([g["rms"][k] for g in good])
                row["largest"] = _pair([max(g["largest"]) for g in good])
                for label in _STEPS:
                    row[f"shift {label}"] = _pair([abs(g["shift"][label]) for g in good if g["shift"] is not None])
                rows.append(row)
    return rows


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as Markdown: median / 95th percentile over stars."""
    windows = [_name(w) for w in WINDOWS]
    head = ["models", "Teff [K]", "atmosphere", "stars", "failed", *(f"{w} A" for w in windows), "largest",
            "shift Teff [K]", "log g", "[M/H]"]  # fmt: skip
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for r in rows:
        cells = [r["data"], r["teff"], "PINN" if r["method"] == "pinn" else "PySME interpolation", str(r["stars"]),
                 str(r["failed"]), *(_text(r[w], 5) for w in windows), _text(r["largest"], 4),
                 _text(r["shift teff"], 1), _text(r["shift logg"], 4), _text(r["shift m_h"], 4)]  # fmt: skip
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def format_failures(results: Sequence[dict[str, Any]]) -> str:
    """One line a star and atmosphere that failed, with the reason."""
    out = [
        f"- {r['data']}, Teff {r['teff']:g}, log g {r['logg']:g}, [M/H] {r['m_h']:g}, {what}: {r[what]['failed']}"
        for r in results for what in ("pinn", "pysme", "gradient") if "failed" in r.get(what, {})
    ]  # fmt: skip
    return "Failed:\n\n" + "\n".join(out) if out else "No star failed."


def _nearer(results: Sequence[dict[str, Any]]) -> str:
    """At how many nodes the PINN's spectrum is nearer to the computed one than the interpolation's."""
    both = [r for r in results if "rms" in r["pinn"] and "rms" in r.get("pysme", {})]
    pairs = [[sum(v**2 for v in r[method]["rms"]) for method in ("pinn", "pysme")] for r in both]
    return f"The PINN is nearer than PySME's interpolation at {sum(a < b for a, b in pairs)} of {len(both)} nodes."


def _name(window: tuple[float, float]) -> str:
    return f"rms {window[0]:.0f}-{window[1]:.0f}"


def _pair(values: Sequence[float]) -> list[float] | None:
    return [float(np.median(values)), float(np.percentile(values, 95))] if values else None


def _text(pair: Sequence[float] | None, digits: int) -> str:
    return "-" if pair is None else f"{pair[0]:.{digits}f} / {pair[1]:.{digits}f}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pysme_version() -> str:
    from importlib.metadata import version

    return version("pysme-astro")


def _inside(structures: Structures, regular: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nodes of the regular grid with both neighbours in Teff and log g, and a higher and a lower [M/H]."""
    x = np.stack([np.round(structures.labels[k], 2) for k in ("teff", "logg", "m_h")], axis=1)
    nodes = {tuple(v) for v in x[regular]}
    metals = np.unique(x[regular, 2])

    def has(row: int) -> bool:
        t, g, m = x[row]
        i = int(np.searchsorted(metals, m))
        if not 0 < i < len(metals) - 1:
            return False
        around = ((t - 250, g, m), (t + 250, g, m), (t, g - 0.5, m), (t, g + 0.5, m), (t, g, metals[i - 1]),
                  (t, g, metals[i + 1]))  # fmt: skip
        return all(n in nodes for n in around)

    return np.array([bool(regular[row]) and has(row) for row in range(len(x))])


def _rows(emulator: Emulator, name: str, data: Structures, regular: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Held-out rows that can be used: all of atlas12.npz; of atlas9.npz, nodes of the regular grid in range."""
    rows = heldout_rows(emulator, name)
    if name == "atlas9.npz":
        teff = data.labels["teff"][rows]
        rows = rows[regular[rows] & (teff >= TEFF[0]) & (teff <= TEFF[1])]
    return rows


def _regular(structures: Structures) -> NDArray[np.bool_]:
    """ODFNEW models at vturb 2 on the common depth grid: what a PySME grid can hold."""
    ok = (structures.column("family") == "ODFNEW") & (structures.labels["vturb"] == 2) & (structures.n_depth == 72)
    first = structures.log_tau_ross[np.argmax(ok)]
    return np.asarray(ok & (np.abs(structures.log_tau_ross - first).max(axis=1) < 0.01))


def _do(jobs: Sequence[_Job], processes: int, progress: bool, star: Callable[[_Job], None] | None = None) -> None:
    """Do the jobs whose files are not there; the processes are fresh, as PySME's library keeps state."""
    star = star or _star
    left = _left(jobs)
    with tqdm(total=len(jobs), initial=len(jobs) - len(left), disable=not progress, desc="stars", unit="star") as bar:
        while left:
            _pool(left, processes, star, bar)
            # What a process died of was running, thus among the first that are left: one at a time, to see which.
            for job in _left(left)[:processes]:
                _pool([job], 1, star, bar)
                if _left([job]):
                    died = {"failed": "the process died; remove the file of this star to try again"}
                    _keep(job, dict.fromkeys(_methods(job), died))
            left = _left(left)
            bar.n = len(jobs) - len(left)
            bar.refresh()


def _left(jobs: Sequence[_Job]) -> list[_Job]:
    return [job for job in jobs if not Path(job.path).is_file()]


def _pool(jobs: Sequence[_Job], processes: int, star: Callable[[_Job], None], bar: Any) -> None:
    """Do jobs until all are done or a process dies."""
    pool = ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn"))
    try:
        for done in as_completed([pool.submit(star, job) for job in jobs]):
            done.result()
            bar.update()
    except BrokenProcessPool:
        return
    finally:
        pool.shutdown(cancel_futures=True)


@lru_cache(maxsize=4)
def _data(path: str) -> Structures:
    return read(path)


@lru_cache(maxsize=1)
def _lines(path: str) -> Any:
    return read_lines(Path(path))


@lru_cache(maxsize=1)
def _grid(path: str) -> Any:
    from pysme.atmosphere.atmosphere import AtmosphereGrid

    return AtmosphereGrid.load(path)


def _methods(job: _Job) -> tuple[str, ...]:
    """Atmospheres that are compared with the computed one."""
    return ("pinn", "pysme") if Path(job.data).stem == "atlas9" else ("pinn",)


def _keep(job: _Job, result: dict[str, Any]) -> None:
    """Write a star's file: where it lies, and what came of it."""
    labels = {k: float(v[job.row]) for k, v in _data(job.data).labels.items()}
    star = {"data": Path(job.data).stem, "row": job.row, "model": Path(job.model).name, **labels, **result}
    write_atomically(Path(job.path), (json.dumps(star, allow_nan=False) + "\n").encode())


def _star(job: _Job) -> None:
    """Synthesise one star and keep what came of it, or why nothing did."""
    logging.disable(logging.WARNING)
    structures = _data(job.data)
    labels: dict[str, Any] = {k: float(v[job.row]) for k, v in structures.labels.items()}
    emulator = Emulator.load(job.model)
    x = {k: labels[k] for k in emulator.domain.labels}

    def spectrum(layers: Layers) -> list[Array]:
        # The vturb of the model is the vmic of the synthesis, alike for every atmosphere of a star.
        found = synthesise_windows(
            layers, _lines(job.lines), WINDOWS, vmic=labels["vturb"], alpha_m=labels.get("alpha_m", 0.0)
        )
        return [broaden(wave, flux, _SIGMA) for wave, flux in found]

    atmospheres: dict[str, Callable[[], Layers]] = {
        "truth": lambda: layers_of(structures, job.row, str(emulator.card["solar_scale"])),
        "pinn": lambda: layers_of(emulator.predict(**x)),
        "pysme": lambda: _interpolated(job.grid, labels),
    }
    fluxes: dict[str, list[Array]] = {}
    result: dict[str, Any] = {}
    for name in ("truth", *_methods(job)):
        try:
            fluxes[name] = spectrum(atmospheres[name]())
        except Exception as error:  # a star that fails is reported, whatever PySME raises
            result[name] = {"failed": _reason(error)}
    try:
        gradient = _gradient(emulator, x, np.concatenate(fluxes["pinn"]), spectrum) if "pinn" in fluxes else None
    except Exception as error:
        gradient, result["gradient"] = None, {"failed": _reason(error)}
    for name in _methods(job):
        if name in fluxes and "truth" in fluxes:
            result[name] = _compare(fluxes[name], fluxes["truth"], gradient)
        else:
            result.setdefault(name, {"failed": f"computed model: {result.get('truth', {}).get('failed')}"})
    _keep(job, result)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _compare(flux: Sequence[Array], truth: Sequence[Array], gradient: Array | None) -> dict[str, Any]:
    """rms and largest difference in each window; the labels by which a least-squares fit would be off."""
    difference = [f - t for f, t in zip(flux, truth, strict=True)]
    shift = None
    if gradient is not None:
        # Fitting `truth` with these atmospheres moves the labels so as to undo the difference.
        step = -np.linalg.lstsq(gradient, np.concatenate(difference), rcond=None)[0]
        shift = dict(zip(_STEPS, map(float, step), strict=True))
    return {"rms": [float(np.sqrt(np.mean(d**2))) for d in difference],
            "largest": [float(np.abs(d).max()) for d in difference], "shift": shift}  # fmt: skip


def _gradient(emulator: Emulator, x: dict[str, Any], base: Array, spectrum: Callable[[Layers], list[Array]]) -> Array:
    """Derivatives of the spectrum with respect to teff, logg and m_h (n_wave, 3), towards the inside of the domain."""
    columns = []
    for name, size in _STEPS.items():
        step = size if emulator.domain.contains(**{**x, name: x[name] + size}) else -size
        moved: dict[str, Any] = {**x, name: x[name] + step}
        columns.append((np.concatenate(spectrum(layers_of(emulator.predict(**moved)))) - base) / step)
    return np.stack(columns, axis=1)


def _interpolated(grid: str, labels: dict[str, float]) -> Layers:
    """PySME's interpolation at a node that has been taken out of the grid."""
    from pysme.atmosphere.interpolation import AtmosphereInterpolator

    full = _grid(grid)
    teff, logg, m_h = labels["teff"], labels["logg"], labels["m_h"]
    off = np.abs(full.teff - teff) + np.abs(full.logg - logg) + np.abs(full.monh - m_h)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpolator = AtmosphereInterpolator(depth="RHOX", interp="TAU", geom="PP")
        a = interpolator.interp_atmo_grid(full[off >= 1e-3], teff, logg, m_h)
    columns = (np.asarray(v, dtype=float) for v in (a.rhox, a.tau, a.temp, a.xne, a.xna, a.rho))
    return Layers(teff, logg, m_h, *columns)


def _plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Kiel diagrams coloured by the rms of the flux over all windows: for each kind of models and of atmospheres."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    panels = [
        (data, method, title)
        for data, method, title in (("atlas9", "pinn", "PINN, ODFNEW nodes"),
                                    ("atlas9", "pysme", "PySME's interpolation, ODFNEW nodes"),
                                    ("atlas12", "pinn", "PINN, ATLAS12 models"))
        if any(r["data"] == data and method in r for r in results)
    ]  # fmt: skip
    figure = Figure(figsize=(5.3 * len(panels), 5), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    norm = LogNorm(1e-5, 3e-2)
    for axis, (data, method, title) in zip(axes, panels, strict=True):
        here = [r for r in results if r["data"] == data and method in r]
        good, failed = [r for r in here if "rms" in r[method]], [r for r in here if "failed" in r[method]]
        rms = [float(np.sqrt(np.mean(np.square(r[method]["rms"])))) for r in good]
        # Models of several metallicities lie on one point: spread them a little; hot ones on a logarithmic axis.
        spread = 60.0 if data == "atlas9" else 0.0
        points = axis.scatter([r["teff"] + spread * r["m_h"] for r in good], [r["logg"] for r in good], c=rms,
                              norm=norm, s=28, cmap="magma_r", edgecolor="0.5", lw=0.3)  # fmt: skip
        axis.plot([r["teff"] + spread * r["m_h"] for r in failed], [r["logg"] for r in failed], "kx", label="failed")
        if failed:
            axis.legend()
        if data == "atlas12":
            axis.set_xscale("log")
            axis.set_xticks([3000, 5000, 10_000, 20_000, 40_000], ["3000", "5000", "10000", "20000", "40000"])
            axis.minorticks_off()
        median = f"{np.median(rms):.1e}" if rms else "-"
        axis.set(title=f"{title}: median {median}", ylabel="log g",
                 xlabel="Teff [K] (+60 K × [M/H])" if spread else "Teff [K]")  # fmt: skip
        axis.invert_xaxis()
        axis.invert_yaxis()
        figure.colorbar(points, ax=axis, label="rms of the normalised flux")
    with replacing(path) as (part,):
        figure.savefig(part, dpi=110, format="png")

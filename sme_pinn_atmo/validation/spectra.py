"""What an error of the atmosphere does to the spectrum, over the Kiel diagram: at computed models kept from training.

Every star leaves a small JSON file in the folder `jobs` of the output; what is there is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from ..emulator import Emulator, write_atomically
from ..grids import Structures, read, write_pysme_grid
from .scores import heldout_rows
from .spectrum import Layers, broaden, data_file, layers_of, read_lines, synthesise

__all__ = ["WINDOWS", "format_rows", "run", "summarise"]

Array = NDArray[np.float64]

#: Windows [A]: Mg b with its wings, then two of the iron lines that fits use.
WINDOWS = ((5178.0, 5190.0), (6140.0, 6152.0), (6160.0, 6172.0))
TEFF = (4000.0, 8000.0)

#: Gaussian broadening [km/s] of R = 50,000.
_SIGMA = 299792.458 / 50_000 / 2.3548
_STEPS = {"teff": 25.0, "logg": 0.05, "m_h": 0.02}
_RANGES = ((4000, 5000), (5000, 6000), (6000, 7000), (7000, 8001))


@dataclass(frozen=True)
class _Job:
    """One star: its row in the data, the model that held it out, and where everything lies."""

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
    models : networks whose cards record held-out rows, of atlas9.npz (ODFNEW nodes at vturb 2, 4000-8000 K, which are
        also taken out of PySME's grid) or of atlas12.npz (no interpolation there: no grid of such models)
    nodes : at most so many ODFNEW nodes in all

    A star that fails is reported and does not stop the others. Raises, before any synthesis, ValueError for a card
    without held-out rows, and DataMissingError.
    """
    files = {n: data_file(n, "computed model atmospheres, kurucz.harvard.edu") for n in ("atlas9.npz", "atlas12.npz")}
    lines = data_file("solar/vald_solar_3000_9993.lin", "a VALD3 'extract stellar' of the Sun, short format")
    data = {name: read(path) for name, path in files.items()}
    jobs = []
    (out / "jobs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "grid.npz"
        regular = _regular(data["atlas9.npz"])
        write_pysme_grid(full, data["atlas9.npz"].select(regular), solar_scale="grevesse1998")
        for model in models:
            emulator = Emulator.load(model)
            found = False
            for name, structures in data.items():
                rows = heldout_rows(emulator, name)
                if name == "atlas9.npz":
                    teff = structures.labels["teff"]
                    rows = rows[regular[rows] & (teff[rows] >= TEFF[0]) & (teff[rows] <= TEFF[1])]
                found |= bool(len(rows))
                for row in rows:
                    key = hashlib.sha256(f"{emulator.card['sha256']} {name} {row} {WINDOWS} 1".encode()).hexdigest()
                    kept = out / "jobs" / f"{name[:-4]}_{row}_{key[:12]}.json"
                    jobs.append(_Job(model, str(files[name]), int(row), str(full), str(lines), str(kept)))
            if not found:
                raise ValueError(f"the card of {model} records no held-out rows of {' or '.join(files)}")
        grid_jobs = [j for j in jobs if j.data.endswith("atlas9.npz")]
        if nodes is not None and len(grid_jobs) > nodes:
            chosen = np.random.default_rng(1).permutation(len(grid_jobs))[:nodes]
            jobs = [grid_jobs[i] for i in sorted(chosen)] + [j for j in jobs if j not in grid_jobs]
        _do([j for j in jobs if not Path(j.path).is_file()], processes, progress)
        results = [json.loads(Path(j.path).read_text(encoding="utf-8")) for j in jobs]
    summary = {
        "command": "sme-pinn-atmo validate spectra " + " ".join(f"--model {m}" for m in models),
        "version": __version__, "windows": WINDOWS, "stars": results, "summary": summarise(results),
    }  # fmt: skip
    write_atomically(out / "spectra.json", (json.dumps(summary, indent=1) + "\n").encode())
    write_atomically(out / "spectra.md", (format_rows(summary["summary"]) + "\n").encode())
    _plot(results, out / "spectra.png")
    return out / "spectra.md"


def summarise(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by data and Teff: medians and 95th percentiles over stars, for the PINN and for the interpolation."""
    rows = []
    for data in dict.fromkeys(r["data"] for r in results):
        for low, high in (*_RANGES, (0, 99_999)) if data == "atlas9" else ((0, 4000), *_RANGES, (8001, 99_999)):
            here = [r for r in results if r["data"] == data and low <= r["teff"] < high]
            for method in ("pinn", "pysme"):
                good = [r[method] for r in here if method in r and "rms" in r[method]]
                tried = sum(method in r for r in here)
                if not tried:
                    continue
                row: dict[str, Any] = {"data": data, "teff": [low, high], "method": method, "stars": tried,
                                       "failed": tried - len(good)}  # fmt: skip
                for k, w in enumerate(WINDOWS):
                    row[f"rms {w[0]:.0f}"] = _pair([g["rms"][k] for g in good])
                row["largest"] = _pair([max(g["largest"]) for g in good])
                for name in _STEPS:
                    row[f"shift {name}"] = _pair([abs(g["shift"][name]) for g in good])
                rows.append(row)
    return rows


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as Markdown: median / 95th percentile over stars."""
    windows = [f"rms {w[0]:.0f}" for w in WINDOWS]
    head = ["models", "Teff [K]", "atmosphere", "stars", "failed", *(f"{w}-{hi:.0f} A" for w, (_, hi) in
            zip(windows, WINDOWS, strict=True)), "largest", "shift Teff [K]", "log g", "[M/H]"]  # fmt: skip
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for r in rows:
        low, high = r["teff"]
        span = "all" if (low, high) == (0, 99_999) else f"{low}-{high}" if high < 90_000 else f"above {low}"
        cells = [r["data"], span, "PINN" if r["method"] == "pinn" else "PySME interpolation", str(r["stars"]),
                 str(r["failed"]), *(_text(r[w], 5) for w in windows), _text(r["largest"], 4),
                 _text(r["shift teff"], 1), _text(r["shift logg"], 4), _text(r["shift m_h"], 4)]  # fmt: skip
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def _pair(values: Sequence[float]) -> list[float]:
    return [float(np.median(values)), float(np.percentile(values, 95))] if values else [float("nan")] * 2


def _text(pair: Sequence[float], digits: int) -> str:
    return f"{pair[0]:.{digits}f} / {pair[1]:.{digits}f}"


def _regular(structures: Structures) -> NDArray[np.bool_]:
    """ODFNEW models at vturb 2 on the common depth grid: what a PySME grid can hold."""
    ok = (structures.column("family") == "ODFNEW") & (structures.labels["vturb"] == 2) & (structures.n_depth == 72)
    first = structures.log_tau_ross[np.argmax(ok)]
    return np.asarray(ok & (np.abs(structures.log_tau_ross - first).max(axis=1) < 0.01))


def _do(jobs: Sequence[_Job], processes: int, progress: bool) -> None:
    bar = tqdm(total=len(jobs), disable=not progress, desc="stars", unit="star")
    if processes == 1:
        for job in jobs:
            _star(job)
            bar.update()
    else:
        # Fresh processes: PySME's library keeps state that a fork would share half-way.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for done in as_completed([pool.submit(_star, job) for job in jobs]):
                done.result()
                bar.update()
    bar.close()


def _star(job: _Job) -> None:
    """Synthesise one star and keep what came of it, or why nothing did."""
    logging.disable(logging.WARNING)
    structures = read(job.data).select([job.row])
    labels: dict[str, Any] = {k: float(v[0]) for k, v in structures.labels.items()}
    result: dict[str, Any] = {"data": Path(job.data).stem, "row": job.row, "model": job.model, **labels}
    lines = read_lines(Path(job.lines))
    emulator = Emulator.load(job.model)
    x = {k: labels[k] for k in emulator.domain.labels}
    scale = str(emulator.card["solar_scale"])

    def spectra(layers: Layers) -> list[Array]:
        # vmic 2 km/s, the vturb of the ODFNEW nodes, for every atmosphere of a star alike.
        return [broaden(*synthesise(layers, lines, w, vmic=2.0), _SIGMA) for w in WINDOWS]

    try:
        truth = spectra(layers_of(structures, 0, scale))
        gradient = _gradient(emulator, x, spectra)
    except Exception as error:  # a star that fails is reported, whatever PySME raises
        result["pinn"] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
        write_atomically(Path(job.path), json.dumps(result).encode())
        return
    for method in ("pinn", "pysme") if result["data"] == "atlas9" else ("pinn",):
        try:
            layers = layers_of(emulator.predict(**x)) if method == "pinn" else _interpolated(job.grid, labels)
            difference = [s - t for s, t in zip(spectra(layers), truth, strict=True)]
            shift = np.linalg.lstsq(gradient, np.concatenate(difference), rcond=None)[0]
            result[method] = {
                "rms": [float(np.sqrt(np.mean(d**2))) for d in difference],
                "largest": [float(np.abs(d).max()) for d in difference],
                "shift": dict(zip(_STEPS, map(float, shift), strict=True)),
            }
        except Exception as error:
            result[method] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
    write_atomically(Path(job.path), json.dumps(result).encode())


def _gradient(emulator: Emulator, x: dict[str, Any], spectra: Any) -> Array:
    """Derivatives of the spectrum with respect to teff, logg and m_h (n_wave, 3), towards the inside of the domain."""
    base = np.concatenate(spectra(layers_of(emulator.predict(**x))))
    columns = []
    for name, size in _STEPS.items():
        step = size if emulator.domain.contains(**{**x, name: x[name] + size}) else -size
        moved: dict[str, Any] = {**x, name: x[name] + step}
        columns.append((np.concatenate(spectra(layers_of(emulator.predict(**moved)))) - base) / step)
    return np.stack(columns, axis=1)


def _interpolated(grid: str, labels: dict[str, float]) -> Layers:
    """PySME's interpolation at a node that has been taken out of the grid."""
    from pysme.atmosphere.atmosphere import AtmosphereGrid
    from pysme.atmosphere.interpolation import AtmosphereInterpolator

    full = AtmosphereGrid.load(grid)
    teff, logg, m_h = labels["teff"], labels["logg"], labels["m_h"]
    off = np.abs(full.teff - teff) + np.abs(full.logg - logg) + np.abs(full.monh - m_h)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpolator = AtmosphereInterpolator(depth="RHOX", interp="TAU", geom="PP")
        a = interpolator.interp_atmo_grid(full[off >= 1e-3], teff, logg, m_h)
    columns = (np.asarray(v, dtype=float) for v in (a.rhox, a.tau, a.temp, a.xne, a.xna, a.rho))
    return Layers(teff, logg, m_h, *columns)


def _plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Kiel diagrams coloured by the rms of the flux over all windows: PINN, then PySME's interpolation."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    norm = LogNorm(1e-5, 3e-2)
    points = None
    for axis, method, title in zip(axes, ("pinn", "pysme"), ("PINN", "PySME interpolation"), strict=True):
        good = [r for r in results if r["data"] == "atlas9" and "rms" in r.get(method, {})]
        failed = [r for r in results if r["data"] == "atlas9" and "failed" in r.get(method, {})]
        rms = [float(np.sqrt(np.mean(np.square(r[method]["rms"])))) for r in good]
        # Nodes of several metallicities lie on one point: spread them a little.
        teff, logg = ([r["teff"] + 60 * r["m_h"] for r in good], [r["logg"] for r in good])
        points = axis.scatter(teff, logg, c=rms, norm=norm, s=28, cmap="magma_r", edgecolor="0.5", lw=0.3)
        axis.plot([r["teff"] for r in failed], [r["logg"] for r in failed], "kx", label="failed")
        median = float(np.median(rms)) if rms else float("nan")
        axis.set(title=f"{title}: median {median:.1e}", xlabel="Teff [K] (+60 K × [M/H])")
        if failed:
            axis.legend()
    axes[0].invert_xaxis()
    axes[0].invert_yaxis()
    axes[0].set_ylabel("log g")
    if points is not None:
        figure.colorbar(points, ax=axes, label="rms of the normalised flux")
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)

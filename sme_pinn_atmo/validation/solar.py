"""The solar spectrum from the PINN and from computed models, compared with an observed atlas."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from ..emulator import Emulator
from ..files import write_atomically
from ..grids import read
from ..sources import SETS, DataMissingError, checksum, find
from ..sources.build import ensure
from ..spectra import quiet_pysme
from ..stars.corrections import Corrections
from .lines import bootstrap, choose_lines, equivalent_width, verdict
from .masks import MASK, inside
from .solar_page import curves, render
from .solar_plots import plot_lines, plot_sensitivity, plot_windows
from .solar_tables import plain
from .spectrum import (
    Atlas,
    Fit,
    Layers,
    broaden,
    fit_to_atlas,
    fitted,
    layers_of,
    read_atlas,
    read_lines,
    read_nso_atlas,
    synthesise,
)
from .unseen import PATH as UNSEEN
from .unseen import SUN
from .unseen import load as load_unseen

__all__ = ["FEATURES", "MASK", "STEPS", "SUN", "VMIC", "WINDOWS", "SolarResult", "run"]

Array = NDArray[np.float64]
Window = tuple[float, float]

#: Strong features, rows of their own: windows [A].
FEATURES = {(5160.0, 5200.0): "Mg b", (5884.0, 5902.0): "Na D", (6545.0, 6581.0): "H alpha"}

#: Windows [A]: 480 A of clean ones, then the strong features.
WINDOWS: tuple[Window, ...] = (
    (5230.0, 5270.0), (5300.0, 5340.0), (5380.0, 5420.0), (5500.0, 5540.0), (5600.0, 5640.0), (5700.0, 5740.0),
    (6080.0, 6120.0), (6140.0, 6180.0), (6200.0, 6240.0), (6400.0, 6440.0), (6640.0, 6680.0), (6700.0, 6740.0),
    *FEATURES,
)  # fmt: skip

#: Microturbulence of the synthesis [km/s].
VMIC = 0.85

#: More syntheses than this are shared among processes.
_ALONE = 40

#: Steps of the sensitivity: text, label, step. With m_h the abundances of the synthesis move too; vmic stays.
STEPS = (("Teff +50 K", "teff", 50.0), ("logg +0.1", "logg", 0.1), ("m_h +0.05", "m_h", 0.05),
         ("vturb +0.5", "vturb", 0.5))  # fmt: skip

#: Parts of a spectrum by the flux of ATLAS-12's, broadened: line cores, wings, continuum.
PARTS = {"core": (-1.0, 0.6), "wing": (0.6, 0.97), "continuum": (0.97, 9.0)}

#: Pixels with ATLAS-12's flux above this are free of lines as far as the line list knows.
_LINE_FREE = 0.995

#: Fewer line-free pixels than this do not give a scatter.
_FEWEST_QUIET = 100

#: A change of an equivalent width [%] that halving the step of the synthesis makes: less is not called a difference.
_RESOLUTION = 0.02

_REFERENCE = "ATLAS-12"

#: Files of the data set "solar": observed atlas, line list, and the Suns of ATLAS-12, ATLAS9 and MARCS.
_FILES = SETS["solar"].files


@dataclass(frozen=True)
class SolarResult:
    """What `run` found: also in the JSON file `table` and, for people, in the page `page`.

    rows : one dictionary a window and model; lines : equivalent widths; sensitivity : one dictionary a window
    """

    rows: list[dict[str, Any]]
    lines: dict[str, Any]
    sensitivity: list[dict[str, Any]]
    plot: Path
    table: Path
    page: Path


def sources(
    atlas: Path | None = None, lines: Path | None = None, progress: bool = True
) -> tuple[Atlas, Any, dict[str, Path]]:
    """The observed atlas, the line list, and the files used, by their names in the registry.

    What is not on this machine is brought. `atlas` named nso is PySME's own (`pysme.nso`).

    Raises
    ------
    BringError, DataMissingError, ValueError : a file cannot be had, is missing or malformed
    """
    given = {_FILES[0]: atlas, _FILES[1]: lines}
    try:
        paths = {name: given.get(name) or find(name) for name in _FILES}
    except DataMissingError:
        ensure(SETS["solar"], progress)
        paths = {name: given.get(name) or find(name) for name in _FILES}
    observed = read_nso_atlas() if str(atlas) == "nso" else read_atlas(paths[_FILES[0]])
    with quiet_pysme():
        listed = read_lines(paths[_FILES[1]])
    if not np.isfinite(np.asarray(listed["depth"], dtype=float)).all():
        raise ValueError(f"{paths[_FILES[1]]} has no central depths: VALD gives them in an 'extract stellar'")
    return observed, listed, paths


def computed_suns(paths: Mapping[str, Path]) -> dict[str, Layers]:
    """ATLAS-12, ATLAS9 and MARCS from the files of `sources`."""
    return {
        _REFERENCE: layers_of(read(paths[_FILES[2]])),
        "ATLAS9": layers_of(read(paths[_FILES[3]]), solar_scale="grevesse1998"),
        "MARCS": layers_of(read(paths[_FILES[4]])),
    }


def run(
    out: Path, *, model: str = "atlas12", windows: Sequence[Window] = WINDOWS, code: str = "pysme",
    atlas_path: Path | None = None, lines_path: Path | None = None, progress: bool = True,
    corrections: str | Path | None = None,
) -> SolarResult:  # fmt: skip
    """Synthesise every window from every model, compare with the atlas and with ATLAS-12; write tables and plots.

    The same treatment for all: LTE, vmic 0.85 km/s, abundances of Asplund et al. (2009), the masks of `MASK`, one
    velocity, one Gaussian broadening and one linear continuum fitted per window and model. Differences from ATLAS-12
    are of the spectra with ATLAS-12's broadening and no other fit. Synthetic spectra are kept in `out`/cache under
    names made from all that they depend on.

    First comes the Sun of a network that had not seen it (`unseen`), stored in the package, where `model` is the
    packaged one that was trained like it.

    Parameters
    ----------
    code : "pysme" or "korg"
    atlas_path, lines_path : other files than those of the data set "solar"
    corrections : of the lines, a packaged set or a file (`stars.corrections`); every row then has
        `rms_atlas_as_it_is` too, of the list without them

    Raises
    ------
    DataMissingError, ValueError : before any synthesis, for a missing or malformed file, a window off the atlas or
        without lines, an unknown model
    KorgError : code is "korg", and Korg is not usable
    """
    start = time.monotonic()
    atlas, lines, paths = sources(atlas_path, lines_path, progress)
    plain_lines, corrected = lines, None
    if corrections is not None:
        lines, corrected = _corrected(lines, corrections, code)
    windows = list(dict.fromkeys((float(low), float(high)) for low, high in windows))
    observed = {w: atlas.window(*w, MASK) for w in windows}
    centres = np.asarray(lines["wlcent"], dtype=float)
    for low, high in windows:
        if not ((centres > low) & (centres < high)).any():
            raise ValueError(f"the line list has no line in the window {low:g}-{high:g} A")
    emulators = [Emulator.load(name) for name in dict.fromkeys((model, "atlas9"))]
    pinn = f"PINN {emulators[0].name}"
    stars: dict[str, Layers] = {}
    lead, stored = pinn, None
    if model == "atlas12" and UNSEEN.is_file():
        stars[lead := f"{pinn}, Sun unseen"], stored = load_unseen()
    stars |= {f"PINN {e.name}": layers_of(e.predict(**SUN)) for e in emulators}
    stars |= computed_suns(paths)
    moved = {text: layers_of(emulators[0].predict(**{**SUN, label: SUN[label] + step})) for text, label, step in STEPS}
    clean = [w for w in windows if w not in FEATURES]
    chosen = choose_lines(lines, clean, list(MASK.values()))
    synthesis = _synthesis(code, lines_path)

    out.mkdir(parents=True, exist_ok=True)
    everything = {**stars, **moved}
    spectra = _synthesise_all(synthesis, everything, lines, windows, out / "cache", progress)
    fits = {(w, name): fit_to_atlas(*spectra[w, name], *observed[w]) for w in windows for name in stars}
    before = {}
    if corrected is not None:
        spectra_before = _synthesise_all(synthesis, stars, plain_lines, windows, out / "cache", progress)
        before = {key: _rms(observed[key[0]][1] - fit_to_atlas(*s, *observed[key[0]]).flux)
                  for key, s in spectra_before.items()}  # fmt: skip
    noise = _noise(windows, observed, fits, spectra)
    rows = [row for w in windows for row in _compare(w, observed[w], noise[w], fits, spectra, list(stars))]
    rows = [r | {"rms_atlas_as_it_is": before[tuple(r["window"]), r["model"]]} if before else r for r in rows]
    widths = _widths(chosen, clean, observed, fits, spectra, list(stars))
    sensitivity = [_sensitivity(w, fits[w, _REFERENCE].broadening, spectra, pinn, lead) for w in windows]

    plot_windows(out, windows, observed, fits, spectra, lead)
    plot_sensitivity(out, sensitivity, fits, spectra, pinn, lead)
    plot_lines(out, widths, lead)
    content = {
        "command": f"sme-pinn-atmo validate solar --model {model}" + ("" if code == "pysme" else f" --code {code}")
        + ("" if corrections is None else f" --corrections {corrections}"),
        "corrections": None if corrected is None else {"name": corrected.name, "title": corrected.card.get("title")},
        "version": __version__, "code": code, "sun": SUN, "vmic": VMIC, "abundances": "asplund2009", "mask": MASK,
        "parts": PARTS, "steps": {text: [label, step] for text, label, step in STEPS},
        "models": {e.name: e.card["sha256"] for e in emulators}, "lead": lead, "packaged": pinn,
        "unseen": None if stored is None else {k: v for k, v in stored.items() if k != "layers"},
        "observed": atlas.name, "files": {name: {"file": str(p), "sha256": checksum(p)} for name, p in paths.items()
                                          if p.is_file()},
        "seconds": round(time.monotonic() - start, 1), "rows": rows, "lines": widths, "sensitivity": sensitivity,
    }  # fmt: skip
    table, page = out / "solar.json", out / "solar.html"
    write_atomically(table, (json.dumps(plain(content), indent=1, allow_nan=False) + "\n").encode())
    write_atomically(page, render(content, curves(windows, observed, fits, spectra, list(stars), lead)).encode())
    return SolarResult(rows, widths, sensitivity, out / "solar.png", table, page)


def _corrected(lines: Any, corrections: str | Path, code: str) -> tuple[Any, Corrections]:
    """The list with corrections, and these; what is doubtful about them is a warning."""
    if code != "pysme":
        raise ValueError("corrections go with code = 'pysme': for Korg write a corrected list (write-lines)")
    found = Corrections.read(corrections)
    lines, doubts = found.apply(lines)
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=3)
    return lines, found


def _synthesise_all(
    synthesis: Any, stars: Mapping[str, Layers], lines: Any, windows: Sequence[Window], cache: Path, progress: bool
) -> dict[tuple[Window, str], tuple[Array, Array]]:  # fmt: skip
    """Every window from every star; by as many processes as there are cores, four at most, where it is much."""
    jobs = [(w, n) for w in windows for n in stars]
    processes = min(4, os.cpu_count() or 1)
    bar = tqdm(jobs, disable=not progress, desc="synthesis")
    if synthesis is not synthesise or len(jobs) < _ALONE or processes == 1:
        with quiet_pysme():
            return {(w, n): synthesis(stars[n], lines, w, vmic=VMIC, cache=cache) for w, n in bar}
    out = {}
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=(lines, cache))
    with pool, bar:
        tasks = {pool.submit(_synthesise_one, stars[n], w): (w, n) for w, n in jobs}
        for task in as_completed(tasks):
            out[tasks[task]] = task.result()
            bar.update()
    return {job: out[job] for job in jobs}


_shared: dict[str, Any] = {}


def _begin(lines: Any, cache: Path) -> None:
    _shared.update(lines=lines, cache=cache)


def _synthesise_one(star: Layers, window: Window) -> tuple[Array, Array]:
    with quiet_pysme():
        return synthesise(star, _shared["lines"], window, vmic=VMIC, cache=_shared["cache"])


def _synthesis(code: str, lines_path: Path | None) -> Any:
    """The function that synthesises: `synthesise`, or its like for Korg."""
    if code == "pysme":
        return synthesise
    if code == "korg":
        from .korg_spectrum import synthesiser

        return synthesiser(lines_path or find(_FILES[1]))
    raise ValueError(f"code = {code!r}; allowed: 'pysme', 'korg'")


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2))) if x.size else float("nan")


def _noise(
    windows: Sequence[Window], observed: Mapping[Window, tuple[Array, Array]], fits: Mapping[Any, Fit],
    spectra: Mapping[Any, tuple[Array, Array]],
) -> dict[Window, tuple[float, int]]:  # fmt: skip
    """Standard deviation assumed for a pixel of each window, and from how many pixels.

    It is the scatter of the atlas about ATLAS-12 in pixels without lines: 1.4826 times the median absolute deviation,
    which dips of lines that the list lacks hardly move. Windows with few such pixels (0 is given for their number)
    take the median of the others.
    """
    found = {}
    for w in windows:
        quiet = (observed[w][1] - fits[w, _REFERENCE].flux)[_rectified(w, observed[w][0], fits, spectra) > _LINE_FREE]
        if len(quiet) >= _FEWEST_QUIET:
            found[w] = float(1.4826 * np.median(np.abs(quiet - np.median(quiet)))), len(quiet)
    usual = float(np.median([sigma for sigma, _ in found.values()])) if found else float("nan")
    return {w: found.get(w, (usual, 0)) for w in windows}


def _rectified(w: Window, wave: Array, fits: Mapping[Any, Fit], spectra: Mapping[Any, tuple[Array, Array]]) -> Array:
    """ATLAS-12's flux at wavelengths of the atlas, shifted and broadened, without the fitted continuum."""
    fit, (grid, flux) = fits[w, _REFERENCE], spectra[w, _REFERENCE]
    return fitted(fit, grid, flux, wave) / fit.continuum(grid, wave)


def _compare(
    w: Window, observed: tuple[Array, Array], noise: tuple[float, int], fits: Mapping[Any, Fit],
    spectra: Mapping[Any, tuple[Array, Array]], names: Sequence[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """One row a model: how a window fits the atlas, and how it differs from ATLAS-12, whole and by parts."""
    wave, flux = observed
    fit = fits[w, _REFERENCE]
    grid, reference = spectra[w, _REFERENCE]
    level = _rectified(w, wave, fits, spectra)
    sigma, quiet = noise
    keep = ~inside(grid, MASK)
    reference = broaden(grid, reference, fit.broadening)
    rows = []
    for name in names:
        own = fits[w, name]
        off = flux - own.flux
        difference = broaden(grid, spectra[w, name][1], fit.broadening) - reference
        row: dict[str, Any] = {
            "window": [*w], "feature": FEATURES.get(w, ""), "model": name, "points": len(off),
            "sigma": sigma, "sigma_points": quiet, "rms_atlas": _rms(off),
            "chi2": float((off**2).sum() / sigma**2 / (len(off) - 4)),
            "rms_atlas12": _rms(difference[keep]), "max_atlas12": float(np.abs(difference[keep]).max()),
        }  # fmt: skip
        for part, (low, high) in PARTS.items():
            seen, computed = (level >= low) & (level < high), keep & (reference >= low) & (reference < high)
            row[f"points_{part}"] = int(seen.sum())
            row[f"rms_atlas_{part}"] = _rms(off[seen])
            row[f"rms_atlas12_{part}"] = _rms(difference[computed])
            row[f"max_atlas12_{part}"] = float(np.abs(difference[computed]).max()) if computed.any() else float("nan")
        fitted_values = {k: getattr(own, k) for k in ("velocity", "broadening", "level", "slope")}
        rows.append({**row, **fitted_values})
    return rows


def _widths(
    chosen: list[dict[str, Any]], windows: Sequence[Window], observed: Mapping[Window, tuple[Array, Array]],
    fits: Mapping[Any, Fit], spectra: Mapping[Any, tuple[Array, Array]], names: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Equivalent widths [mA] of the chosen lines in the atlas and in every spectrum, and what they say of each model.

    The atlas is shifted and normalised by the fit of ATLAS-12, and every spectrum broadened by it: one observed
    value stands against all models, and the limits are the same for all.
    """
    table = []
    for line in chosen:
        w = next(w for w in windows if w[0] < line["wave"] < w[1])
        fit = fits[w, _REFERENCE]
        wave, flux = observed[w]
        at_rest = wave / (1 + fit.velocity / 299792.458)
        normal = flux / fit.continuum(spectra[w, _REFERENCE][0], wave)
        row = {**line, "observed": equivalent_width(at_rest, normal, line["wave"])}
        for name in names:
            grid, synthetic = spectra[w, name]
            row[name] = equivalent_width(grid, broaden(grid, synthetic, fit.broadening), line["wave"])
        table.append(row)
    if len(table) < 2:
        return {"table": table}
    columns = {n: np.array([r[n] for r in table]) for n in ("observed", *names)}
    seen, truth = columns["observed"], columns[_REFERENCE]
    summary = {
        n: {"mean W/W_obs - 1 [%]": float(100 * np.mean(columns[n] / seen - 1)),
            "mean abs(W/W_obs - 1) [%]": float(100 * np.mean(np.abs(columns[n] / seen - 1))),
            "rms W - W_ATLAS-12 [mA]": _rms(columns[n] - truth),
            "largest abs(W - W_ATLAS-12) [mA]": float(np.abs(columns[n] - truth).max()),
            "rms W/W_ATLAS-12 - 1 [%]": 100 * _rms(columns[n] / truth - 1)}
        for n in names
    }  # fmt: skip
    resamples, seed = 10_000, 1
    against = {}
    for n in names:
        if n != _REFERENCE:
            intervals = bootstrap(seen, columns[n], truth, resamples=resamples, seed=seed)
            against[n] = {"verdict": verdict(intervals, _RESOLUTION), **intervals}
    return {"table": table, "summary": summary, "against ATLAS-12": against, "resolution": _RESOLUTION,
            "resamples": resamples, "seed": seed}  # fmt: skip


def _sensitivity(
    w: Window, broadening: float, spectra: Mapping[Any, tuple[Array, Array]], pinn: str, lead: str
) -> dict[str, Any]:
    """rms change of the PINN's flux in a window for a step in each label, beside `lead` minus ATLAS-12."""
    wave, here = spectra[w, pinn]
    keep = ~inside(wave, MASK)
    row: dict[str, Any] = {"window": [*w], "feature": FEATURES.get(w, "")}
    for name in (*(text for text, _, _ in STEPS), _REFERENCE):
        from_here = spectra[w, lead][1] if name == _REFERENCE else here
        difference = broaden(wave, spectra[w, name][1] - from_here, broadening)[keep]
        row["PINN - ATLAS-12" if name == _REFERENCE else name] = _rms(difference)
    return row

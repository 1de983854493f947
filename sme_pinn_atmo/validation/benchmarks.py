"""Benchmark stars: parameters from spectra against those from interferometry and other fundamental data.

Fixed before any star was fitted: the windows and masks (`stars.windows`, table `WINDOWS`), the free parameters, the
start, and the reference: Soubiran et al. 2024 ("v3") where a star is in it, else Heiter et al. 2015 and Jofre et al.
2014, 2015. v3 is later, homogeneous, and right about Gmb 1830 and HD 140283, whose angular diameters were revised.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing, write_atomically
from ..sources import find
from ..stars.corrections import packaged_corrections
from ..stars.fit import Options
from ..stars.lines import galah_lines
from ..stars.many import fit_many, safe_name
from ..stars.page import as_dict, write_results
from ..stars.settings import Settings
from ..stars.windows import Windows

__all__ = ["FREE", "ODFNEW", "WINDOWS", "main", "off_reference", "reference_stars", "settings_of", "summarise"]

#: Windows that the stars are fitted in.
WINDOWS = "galah-wide"

FREE = ("teff", "logg", "monh", "vmic", "alpha", "vmac")

#: Name of PySME's own interpolation in the computed ODFNEW models, beside the models' names.
ODFNEW = "odfnew"

#: The fit starts so far from the reference, one star above and the next below; below, too, where above is beyond the
#: log g of all models.
_OFF, _HIGHEST_LOGG = {"teff": 200.0, "logg": 0.4, "monh": 0.25}, 5.0

#: Solar abundances that the references of [Fe/H] are on, log eps(Fe) = 7.45 (Jofre et al. 2014).
_PATTERN = "grevesse2007"

#: Teff of the stars that targets are set for [K].
_FGK = (4000.0, 6600.0)

_KEYS = ("teff", "logg", "monh")

_REFERENCE = Path(__file__).parent.parent / "data" / "benchmark_stars.csv"


def reference_stars(path: Path | None = None) -> list[dict[str, Any]]:
    """Name, file, vsini and the reference teff, logg, monh with errors of each star, from the packaged table."""
    text = (path or _REFERENCE).read_text(encoding="utf-8")
    found = []
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        new = bool(row["teff_v3"])
        names = ("teff_v3", "logg_v3", "fe_h_v3") if new else ("teff", "logg", "fe_h")
        errors = [float(row[f"e_{n}"]) if row.get(f"e_{n}") else float("nan") for n in names]
        found.append({
            "name": row["star"], "file": row["file"], "vsini": float(row["vsini"] or 0),
            "reference": dict(zip(_KEYS, (float(row[n]) for n in names), strict=True)),
            "reference_error": dict(zip(_KEYS, errors, strict=True)), "source": "v3" if new else "2015",
        })  # fmt: skip
    return found


def settings_of(star: Mapping[str, Any], number: int, model: str) -> Settings:
    """How a star is fitted; `number` alternates the side that the fit starts from."""
    above = number % 2 == 0 and star["reference"]["logg"] + _OFF["logg"] <= _HIGHEST_LOGG
    sign = 1.0 if above else -1.0
    start = {n: star["reference"][n] + sign * _OFF[n] for n in _KEYS}
    start |= {"vmic": 1.3, "vmac": 4.0, "vsini": star["vsini"], "resolution": 28_000.0, "alpha": 0.0}
    return Settings(
        f"benchmarks:{star['file']}", start, FREE, name=star["name"], lines="galah-lines", windows=WINDOWS, model=model,
        options=Options(velocity="window", degree=1, pattern=_PATTERN),
    )  # fmt: skip


def main(
    models: Sequence[str], out: Path, *, stars: Sequence[str] = (), processes: int = 1, progress: bool = True,
    corrections: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Fit what is not fitted yet, then write `benchmarks.md`, `.json`, `.png` into `out`; returns `benchmarks.md`.

    Parameters
    ----------
    models : names of models, or `ODFNEW`
    stars : names of those to fit; all if empty
    corrections : of the lines (packaged sets or files, "own" for that of each model, if it has one); each model is
        fitted with the list as it is, and with each
    processes : of each star's syntheses

    Raises FileNotFoundError where the data are not here, ValueError for an unknown star.
    """
    known = reference_stars()
    unknown = [s for s in stars if s not in [k["name"] for k in known]]
    if unknown:
        raise ValueError(f"no benchmark star {unknown[0]!r}; there are {', '.join(k['name'] for k in known)}")
    chosen = [(i, k) for i, k in enumerate(known) if not stars or k["name"] in stars]
    lines = galah_lines(Windows.read(WINDOWS).windows)
    rows = []
    for model, correction in ((m, c) for m in models for c in (None, *_of_model(m, corrections))):
        source = str(_odfnew_grid(out)) if model == ODFNEW else model
        name = model if correction is None else f"{model}, {Path(correction).stem}"

        def fit(settings: Settings, folder: Path) -> dict[str, Any]:
            found = settings.with_(processes=processes).run(lines=lines)
            write_results(found, folder)
            return as_dict(found)

        settings = [settings_of(k, i, source).with_(corrections=correction) for i, k in chosen]
        results = fit_many(settings, out / safe_name(name), fit=fit, progress=progress)
        rows += [{"model": name, **k, "result": r} for (_, k), r in zip(chosen, results, strict=True)]
    return _report(out, rows)


def _of_model(model: str, corrections: Sequence[str]) -> list[str]:
    """The corrections, "own" by the name of the model's packaged set."""
    own = f"galah-{Path(model).stem}"
    named = [own if c == "own" else c for c in corrections]
    return [c for c in named if c != own or own in packaged_corrections()]


def _odfnew_grid(out: Path) -> Path:
    """The regular ODFNEW grid as PySME interpolates in it."""
    from ..grids import read, write_pysme_grid
    from .fits import _regular

    path = out / "odfnew.npz"
    if not path.is_file():
        structures = read(find("atlas9.npz"))
        out.mkdir(parents=True, exist_ok=True)
        write_pysme_grid(path, structures.select(_regular(structures)), solar_scale="grevesse1998")
    return path


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By model, of FGK stars: median and largest |difference| of each parameter, failures, and errors that hold.

    "within" counts parameters that differ from the reference by less than the two errors in quadrature, of all stars.
    """
    found = {}
    for model in dict.fromkeys(r["model"] for r in rows):
        mine = [r for r in rows if r["model"] == model]
        done = [r for r in mine if "failed" not in r["result"]]
        fgk = [r for r in done if _FGK[0] <= r["reference"]["teff"] <= _FGK[1]]
        summary: dict[str, Any] = {"stars": len(mine), "failed": len(mine) - len(done), "fgk": len(fgk)}
        for key in _KEYS:
            off = np.array([r["result"]["values"][key] - r["reference"][key] for r in fgk])
            summary[key] = {"median": float(np.median(np.abs(off))), "largest": float(np.abs(off).max()),
                            "mean": float(off.mean())} if off.size else None  # fmt: skip
        inside, known = 0, 0
        for r in done:
            for key in _KEYS:
                error = r["result"]["errors"].get(key)
                if error is None:
                    continue
                other = r["reference_error"][key]
                known += 1
                off_ = abs(r["result"]["values"][key] - r["reference"][key])
                inside += bool(off_ <= np.hypot(error, 0.0 if np.isnan(other) else other))
        summary["within"], summary["with_errors"] = inside, known
        summary["stopped"] = sum(bool(r["result"]["stopped"]) for r in done)
        found[model] = summary
    return found


def _report(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    summary = summarise(rows)
    text = ["# Benchmark stars", "",
            "Fit minus reference, with the total error of the fit; a star's limit in place of an error that is not "
            "known. Reference: Soubiran et al. 2024 (v3), else Heiter et al. 2015 and Jofre et al. 2014, 2015.",
            ""]  # fmt: skip
    for model, s in summary.items():
        text += [f"## {model}", "", "| star | reference | Teff [K] | log g | [M/H] | rms [%] | explained [%] | s |",
                 "|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for r in (r for r in rows if r["model"] == model):
            ref = r["reference"]
            head = f"| {r['name']} | {ref['teff']:.0f} {ref['logg']:.2f} {ref['monh']:+.2f} ({r['source']}) |"
            if "failed" in r["result"]:
                text.append(f"{head} failed: {r['result']['failed']} | | | | | |")
                continue
            text.append(head + _cells(r))
        text.append("")
        if s["fgk"]:
            parts = [f"{n} {s[k]['median']:.{d}f} (largest {s[k]['largest']:.{d}f}, mean {s[k]['mean']:+.{d}f})"
                     for k, n, d in (("teff", "Teff", 0), ("logg", "log g", 2), ("monh", "[M/H]", 2))]  # fmt: skip
            text += [
                f"{s['fgk']} FGK stars, {_FGK[0]:.0f}-{_FGK[1]:.0f} K, median of |difference|: {', '.join(parts)}. "
                f"{s['failed']} of {s['stars']} failed, {s['stopped']} ended at a limit. Of {s['with_errors']} "
                f"parameters with an error, {s['within']} lie within one.", "",
            ]  # fmt: skip
    content = {"summary": summary, "stars": [dict(r) for r in rows]}
    write_atomically(out / "benchmarks.json", (json.dumps(content, indent=1) + "\n").encode())
    done = [r for r in rows if "failed" not in r["result"]]
    models = dict.fromkeys(r["model"] for r in rows)
    plot_off_reference(out / "benchmarks.png", {m: [r for r in done if r["model"] == m] for m in models})
    path = out / "benchmarks.md"
    write_atomically(path, ("\n".join(text) + "\n").encode())
    return path


def off_reference(row: Mapping[str, Any]) -> list[str]:
    """Fit minus reference in teff, logg and monh with the total error, or the limit that a parameter stopped at."""
    result, reference = row["result"], row["reference"]
    cells = []
    for key, digits in (("teff", 0), ("logg", 2), ("monh", 2)):
        error = result["errors"].get(key)
        after = result["stopped"].get(key) or ("?" if error is None else f"{error:.{digits}f}")
        cells.append(f"{result['values'][key] - reference[key]:+.{digits}f} ± {after}")
    return cells


def _cells(row: Mapping[str, Any]) -> str:
    result, cells = row["result"], off_reference(row)
    rms = np.sqrt(np.mean([w["rms"] ** 2 for w in result["windows"]]))
    cells += [f"{100 * rms:.2f}", f"{100 * result['explained']:.1f}", f"{result['seconds']:.0f}"]
    return " " + " | ".join(cells) + " |"


def plot_off_reference(path: Path, series: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Fit minus reference in Teff, log g and [M/H], with errors; the stars of the first series with their names.

    series : what the legend says -> rows with `name`, `reference` and `result` (`values`, `errors`)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    for i, (label, done) in enumerate(series.items()):
        x = np.array([r["reference"]["teff"] for r in done]) + 12 * (i - 0.5 * (len(series) - 1))
        for axis, key in zip(axes, _KEYS, strict=True):
            off = [r["result"]["values"][key] - r["reference"][key] for r in done]
            error = [np.nan if (e := r["result"]["errors"].get(key)) is None else e for r in done]
            axis.errorbar(x, off, error, fmt="o", ms=4, lw=1, color=f"C{i}", label=label)
            for r, at, y in zip(done, x, off, strict=True):
                if i == 0 and key == "teff":
                    axis.annotate(r["name"], (at, y), fontsize=6, xytext=(4, 3), textcoords="offset points")
    for axis, label in zip(axes, ("Teff [K]", "log g", "[M/H]"), strict=True):
        axis.axhline(0, color="0.6", lw=0.8)
        axis.set_ylabel(f"fit − reference, {label}")
    axes[0].legend(fontsize=8)
    axes[-1].set_xlabel("reference Teff [K]")
    with replacing(path) as (part,):
        figure.savefig(part, dpi=130, format="png")

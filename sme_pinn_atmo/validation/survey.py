"""What a network of spectra loses: benchmark stars fitted with it and with PySME; and what derivatives save it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing, write_atomically
from ..stars.lines import galah_lines
from ..stars.many import fit_many
from ..stars.page import as_dict, write_results
from ..stars.settings import Settings
from ..stars.spectrum import read_spectrum
from ..stars.synthesis import solar_pattern
from ..stars.windows import Windows
from ..survey import Set
from ..survey.fit import as_dict as network_dict
from ..survey.fit import fit_star
from ..survey.network import SpectrumNetwork, train
from .benchmarks import plot_off_reference, reference_stars, settings_of

__all__ = ["gradients", "stars"]

_KEYS = (("teff", "Teff [K]", 0), ("logg", "log g", 2), ("monh", "[M/H]", 3))


#: Windows of both kinds of fit: those that the set benchmarks.toml holds.
_WINDOWS = "galah"


def stars(
    network: SpectrumNetwork, out: Path, *, names: Sequence[str] = (), direct: Path | None = None, processes: int = 1
) -> Path:
    """Fit the benchmark stars with a network, beside fits with PySME; writes `survey.md`, `.json`, `.png` into `out`.

    Stars whose reference labels lie outside the training labels are named, and not fitted. Both kinds of fit have the
    same windows, masks, continuum, error floor and clipping, and start equally far from the reference
    (`validation.benchmarks`); [M/H] is on the solar abundances that those have.

    Parameters
    ----------
    names : of stars; all if empty
    direct : folder of fits with PySME of the same model, windows and corrections of lines; those that are not in it are
        made. None makes no fit with PySME
    processes : of each fit with PySME

    Returns the path of `survey.md`. Raises ValueError for an unknown star, DataMissingError without the data.
    """
    known = reference_stars()
    if unknown := [s for s in names if s not in [k["name"] for k in known]]:
        raise ValueError(f"no benchmark star {unknown[0]!r}; there are {', '.join(k['name'] for k in known)}")
    chosen = [(i, k) for i, k in enumerate(known) if not names or k["name"] in names]
    low, high = (dict(zip(network.names, v, strict=True)) for v in (network.low, network.high))
    inside = [(i, k) for i, k in chosen if all(low[n] < k["reference"][n] < high[n] for n, *_ in _KEYS)]
    windows = Windows.read(_WINDOWS)
    model = str(network.card.get("model", "atlas12"))
    rows: list[dict[str, Any]] = []
    for i, star in inside:
        settings = settings_of(star, i, model)
        spectrum = read_spectrum(settings.spectrum_file(), medium=settings.medium, name=star["name"])
        known_labels = {n: float(np.clip(v, low[n], high[n])) for n, v in settings.start.items() if n in low}
        fixed = {n: v for n, v in known_labels.items() if n == "vsini"}
        start = {n: v for n, v in known_labels.items() if n not in fixed}
        fit = fit_star(network, spectrum, windows, fixed=fixed, start=start, resolution=28_000.0)
        found = network_dict(fit)
        # As many iron atoms are another [M/H] on the solar abundances of the fits with PySME.
        scales = (str(network.card.get("pattern", "asplund2009")), settings.options.pattern)
        found["values"]["monh"] += solar_pattern(scales[0])["Fe"] - solar_pattern(scales[1])["Fe"]
        rows.append({**star, "network": found})
    if direct is not None and inside:
        lines = galah_lines(windows.windows)

        def work(settings: Settings, folder: Path) -> dict[str, Any]:
            found = settings.with_(processes=processes).run(lines=lines)
            write_results(found, folder)
            return as_dict(found)

        same = {"windows": _WINDOWS, "corrections": network.card.get("corrections")}
        made = fit_many([settings_of(k, i, model).with_(**same) for i, k in inside], direct / model, fit=work)
        for row, result in zip(rows, made, strict=True):
            row["direct"] = result
    outside = [k["name"] for i, k in chosen if (i, k) not in inside]
    return _write(out, rows, outside, network)


def _write(out: Path, rows: list[dict[str, Any]], outside: list[str], network: SpectrumNetwork) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    held = network.card.get("held", {})
    text = [
        "# From the survey to the star", "",
        f"A network trained on {network.card.get('spectra')} spectra on `{network.card.get('model')}`; on "
        f"{held.get('stars', 0)} others it is off by {held.get('rms', float('nan')):.4f} rms, "
        f"{held.get('median', float('nan')):.4f} median. Fit minus reference, with formal errors scaled by the misfit; "
        "`=` at an end of the training labels.", "",
        "| star | reference | network: Teff | log g | [M/H] | s | PySME: Teff | log g | [M/H] | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        ref = row["reference"]
        cells = [row["name"], f"{ref['teff']:.0f} {ref['logg']:.2f} {ref['monh']:+.2f}"]
        for kind in ("network", "direct"):
            found = row.get(kind, {})
            if "values" not in found:
                cells += [found.get("failed", "-"), "", "", ""]
                continue
            for key, _, digits in _KEYS:
                error = found["errors"].get(key)
                after = "=" if key in found.get("stopped", ()) or error is None else f"± {error:.{digits}f}"
                cells.append(f"{found['values'][key] - ref[key]:+.{digits}f} {after}")
            cells.append(f"{found['seconds']:.2g}")
        text.append(f"| {' | '.join(cells)} |")
    text.append("")
    summary = _summary(rows)
    for kind, s in summary.items():
        parts = ", ".join(f"{label} {s[key]:.{d}f}" for key, label, d in _KEYS)
        text.append(f"{s['stars']} stars, median of |{kind}|: {parts}.")
        text.append("")
    if outside:
        text.append(f"Outside the training labels: {', '.join(outside)}.")
    content = {"summary": summary, "network": dict(network.card), "stars": rows, "outside": outside}
    write_atomically(out / "survey.json", (json.dumps(content, indent=1) + "\n").encode())
    plot_off_reference(out / "survey.png", {
        label: [row | {"result": row[kind]} for row in rows if "values" in row.get(kind, {})]
        for label, kind in (("network of spectra", "network"), ("PySME", "direct"))
    })  # fmt: skip
    path = out / "survey.md"
    write_atomically(path, ("\n".join(text) + "\n").encode())
    return path


def _summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians of |network - reference|, |PySME - reference| and |network - PySME|, of the stars that have both."""
    def values(row: dict[str, Any], kind: str, key: str) -> float:
        return float(row["reference"][key] if kind == "reference" else row[kind]["values"][key])

    found = {}
    kinds = {"network": "network", "PySME": "direct", "reference": "reference"}
    for first, second in (("network", "reference"), ("PySME", "reference"), ("network", "PySME")):
        name, one, two = f"{first} - {second}", kinds[first], kinds[second]
        mine = [r for r in rows if all(k == "reference" or "values" in r.get(k, {}) for k in (one, two))]
        if mine:
            found[name] = {"stars": len(mine)} | {
                key: float(np.median([abs(values(r, one, key) - values(r, two, key)) for r in mine]))
                for key, *_ in _KEYS
            }  # fmt: skip
    return found


# ---------------------------------------------------------------------- derivatives


def gradients(
    training: Path, out: Path, *, sizes: Sequence[int] = (), weight: float = 0.1, held: int = 0, steps: int = 3000,
    width: int = 64, components: int = 40, seeds: int = 1, progress: Callable[[str], None] = lambda text: None,
) -> Path:  # fmt: skip
    """Networks trained on few spectra and on more, with and without their derivatives; writes `gradients.json`, `.png`.

    Parameters
    ----------
    training : a set whose first stars have derivatives by all of its labels; others serve the networks without them
    sizes : numbers of spectra; by default doubled from 8 on
    weight : of the derivatives in the loss
    held : stars at the end of those with derivatives that no network sees; by default a third
    seeds : trainings of each kind, the median of whose errors counts

    Returns the path of `gradients.json`: by size, rms error of spectra and of derivatives (relative, mean over labels).

    Raises ValueError for a set with too few derivatives.
    """
    with Set(training) as found:
        rows = found.with_gradients
        kept = held or len(rows) // 3
        use, test = rows[: len(rows) - kept], rows[len(rows) - kept :]
        pool = np.concatenate([use, np.setdiff1d(found.done, rows)])
        if len(use) < 8 or kept < 2:
            raise ValueError(f"{training} has derivatives of {len(rows)} stars; 12 are the least")
        numbers = list(sizes) or [n for n in (8, 16, 32, 64, 128, 256, 512, 1024) if n <= len(pool)]
        if max(numbers) > len(pool):
            raise ValueError(f"{training} has {len(pool)} stars to train on, not {max(numbers)}")
        table = []
        for n in numbers:
            row: dict[str, Any] = {"spectra": int(n)}
            for name, w in (("without", 0.0), ("with", weight)):
                if w and n > len(use):  # there are no more with derivatives
                    row[name] = None
                    continue
                errors = []
                for seed in range(1, seeds + 1):
                    made = train(found, rows=pool[:n], held=test, gradients=w, steps=steps, width=width,
                                 components=components, seed=seed)  # fmt: skip
                    score = made.card["held"]
                    errors.append((score["rms"], float(np.mean(list(score["derivatives"].values())))))
                row[name] = dict(zip(("rms", "derivatives"), map(float, np.median(errors, axis=0)), strict=True))
            progress(f"{n} spectra done")
            table.append(row)
        content = {
            "set": str(training), "labels": list(found.free), "held": int(kept), "weight": weight, "steps": steps,
            "width": width, "components": components, "seeds": seeds, "table": table, "fewer": _fewer(table),
            "gradient_error": found.report.get("gradient_error", {}),
        }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "gradients.json", (json.dumps(content, indent=1) + "\n").encode())
    _plot_gradients(out / "gradients.png", table)
    return out / "gradients.json"


def _fewer(table: list[dict[str, Any]]) -> list[dict[str, float]]:
    """By size of a training with derivatives, how many spectra without them give the same error of spectra.

    Interpolated in logarithms; NaN beyond the table.
    """
    sizes = np.log([r["spectra"] for r in table])
    plain = np.log([r["without"]["rms"] for r in table])
    best = np.minimum.accumulate(plain)
    found = []
    for r in (r for r in table if r["with"]):
        wanted = float(np.log(r["with"]["rms"]))
        inside = best[-1] <= wanted <= best[0]
        n = float(np.exp(np.interp(-wanted, -best, sizes))) if inside else float("nan")
        found.append({"with": r["spectra"], "without": n, "ratio": n / r["spectra"]})
    return found


def _plot_gradients(path: Path, table: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, key, label in ((axes[0], "rms", "rms error of the flux"),
                             (axes[1], "derivatives", "relative error of derivatives")):  # fmt: skip
        for kind, color in (("without", "0.4"), ("with", "C3")):
            mine = [r for r in table if r[kind]]
            axis.loglog([r["spectra"] for r in mine], [r[kind][key] for r in mine], "o-", color=color, ms=4,
                        label=f"{kind} derivatives in the loss")  # fmt: skip
        axis.set(xlabel="spectra in the training", ylabel=label)
    axes[0].legend(fontsize=8)
    with replacing(path) as (part,):
        figure.savefig(part, dpi=130, format="png")

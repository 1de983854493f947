"""One page with everything: `validate all` runs the parts, keeps what they give, and binds it into an HTML file."""

from __future__ import annotations

import base64
import html
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..emulator import Emulator
from ..files import without_nan, write_atomically
from ..grids import Structures
from . import report_stars as stars
from .section import Section, Task, table_of

__all__ = ["MODELS", "PARTS", "Section", "Task", "build", "page"]

#: Models that the report is on.
MODELS = ("atlas12", "atlas9", "marcs")


def build(
    out: Path, models: Sequence[str] = MODELS, parts: Sequence[str] | None = None, heldout: Sequence[str] = (), *,
    processes: int = 1, progress: bool = True,
) -> Path:  # fmt: skip
    """Run the parts, and write `index.html` and `report.json` into `out`; returns the page.

    A part that lacks its data is named in the page with what it lacks, and does not stop the others. Finished parts
    are kept (`out/NAME.json`) and done again only if weights or this package's version have changed.

    Parameters
    ----------
    models : that the report is on; parts about one model (the Sun) are about the first
    parts : out of `PARTS`; all by default
    heldout : models whose cards record held-out rows (`sme-pinn-atmo train --fold`), for the parts that compare with
        computed models never trained on

    Raises ValueError for an unknown model or part, before anything is done.
    """
    task = Task({m: Emulator.load(m) for m in models}, {m: Emulator.load(m) for m in heldout}, out, processes)
    wanted = list(PARTS) if parts is None else list(parts)
    if unknown := [p for p in wanted if p not in PARTS]:
        raise ValueError(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for name in wanted:
        kept = out / f"{name}.json"
        about = task.models.values() if name in _ON_ALL else [task.emulator]
        stamp = {"sha256": " ".join(e.card["sha256"] for e in about), "version": __version__}
        if name in _ON_HELDOUT:
            stamp["heldout"] = " ".join(e.card["sha256"] for e in task.heldout.values())
        section = _kept(kept, stamp, out)
        if section is None:
            if progress:
                print(f"{name} ...", file=sys.stderr)
            start = time.monotonic()
            try:
                section = PARTS[name](task)
            except (OSError, ValueError, ModuleNotFoundError) as error:
                section = Section(name, name.capitalize(), "", f"sme-pinn-atmo validate all --part {name}",
                                  missing=str(error))  # fmt: skip
            section = Section(**{**asdict(section), "seconds": round(time.monotonic() - start, 1)})
            if not section.missing:
                write_atomically(kept, (json.dumps({**stamp, "section": asdict(section)}, indent=1) + "\n").encode())
        sections.append(section)
    facts = _about(task)
    numbers = {**facts, "sections": {s.name: {"command": s.command, "seconds": s.seconds, "missing": s.missing,
                                              "numbers": s.numbers} for s in sections}}  # fmt: skip
    write_atomically(out / "report.json", (json.dumps(without_nan(numbers), indent=1, allow_nan=False) + "\n").encode())
    index = out / "index.html"
    write_atomically(index, page(facts, sections, out).encode())
    return index


def page(about: Mapping[str, str], sections: Sequence[Section], folder: Path) -> str:
    """The report as one HTML file that needs nothing else; figures are read from `folder`."""
    index = "".join(f'<li><a href="#{s.name}">{html.escape(s.title)}</a>{" (not done)" if s.missing else ""}</li>'
                    for s in sections)  # fmt: skip
    body = "".join(_section(s, folder) for s in sections)
    facts = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in about.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(about['model'])}: validation</title><style>{_STYLE}</style></head><body>"
        f"<h1>Validation of {html.escape(about['model'])}</h1>"
        "<p>Model atmospheres of a neural network, compared with computed ones, with spectra, and with the Sun. Every "
        "section names the command that makes its numbers, and its time in this run (finished work is not done "
        "again).</p>"
        f'<nav><ul>{index}</ul></nav>{body}<h2 id="about">About this report</h2><table>{facts}</table></body></html>\n'
    )


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1rem;color:#222;background:#fff}
h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid #ccc;padding-bottom:.2rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}figure{margin:1.5rem 0}img{max-width:100%;height:auto}
figcaption{color:#555;font-size:.9rem}code{background:#f3f3f3;padding:.1rem .3rem;overflow-wrap:anywhere}
.missing{background:#fff4e0;padding:.6rem}@media(max-width:40rem){body{padding:.6rem;font-size:15px}}
"""


def _section(s: Section, folder: Path) -> str:
    out = [f'<section><h2 id="{s.name}">{html.escape(s.title)}</h2>']
    if s.missing:
        return "".join([*out, f'<p class="missing">Not done: {html.escape(s.missing)}</p></section>'])
    out.append(f"<p>{html.escape(s.seen)}</p>")
    if s.rows:
        head = "".join(f"<th>{html.escape(c)}</th>" for c in s.head)
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in r) + "</tr>" for r in s.rows)
        out.append(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>')
    for name, caption in s.figures.items():
        data = base64.b64encode((folder / name).read_bytes()).decode()
        out.append(f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
                   f"<figcaption>{html.escape(caption)}</figcaption></figure>")  # fmt: skip
    out.append(f"<p><code>{html.escape(s.command)}</code> ({s.seconds:g} s)</p></section>")
    return "".join(out)


def _kept(path: Path, stamp: Mapping[str, str], out: Path) -> Section | None:
    """A section that an earlier run has left, if it is of the same model and version and its figures are there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        section = Section(**content["section"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = all(content.get(k) == v for k, v in stamp.items())
    return section if same and all((out / f).is_file() for f in section.figures) else None


def _about(task: Task) -> dict[str, str]:
    import matplotlib
    import scipy

    cards = [e.card for e in task.models.values()]

    try:
        here = Path(__file__).parent
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True,
                                check=True).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        commit = "not a clone"
    try:
        import pysme

        pysme_version = str(pysme.__version__)
    except ModuleNotFoundError:
        pysme_version = "not installed"
    return {
        "model": ", ".join(str(c["name"]) for c in cards),
        "weights (sha256)": ", ".join(str(c["sha256"]) for c in cards),
        "trained by": "; ".join(str(c.get("training", {}).get("command", "")) for c in cards),
        "command": " ".join(["sme-pinn-atmo validate all", _options(list(task.models)),
                             *(f"--heldout {Path(m).name}" for m in task.heldout)]),
        "commit": commit, "version": __version__,
        "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__,
        "matplotlib": matplotlib.__version__, "pysme": pysme_version, "system": platform.platform(),
    }  # fmt: skip


# ---------------------------------------------------------------------- the parts


def _options(models: Sequence[str]) -> str:
    """Models as options of a command."""
    return " ".join(f"--model {Path(m).name}" for m in models)


def _pairs(scores: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    return [f"{scores[c]['median']:.3g} / {scores[c]['p95']:.3g}" for c in columns]


def _cross_validation(task: Task) -> Section:
    from .structures import plot_calibration

    columns = ("RHOX", "T", "P", "XNE", "ABROSS", "HSE")
    rows: list[tuple[str, ...]] = []
    figures, numbers, commands = {}, {}, []
    for emulator in task.models.values():
        name, entry = emulator.name, emulator.card.get("cross_validation")
        if not entry:
            raise ValueError(f"the card of {name} has no cross-validation: validate folds --into adds one")
        sets = {
            **entry["figures"],
            **{f"without {p}": r["all"] for p, r in entry.get("planes", {}).items() if "all" in r},
        }
        rows += [
            (f"{name}, {k}", str(r["models"]), *_pairs(r, columns)) for k, r in sets.items() if isinstance(r, dict)
        ]
        if "calibration" in entry:
            plot_calibration(entry["calibration"], task.out / f"calibration_{name}.png")
            figures[f"calibration_{name}.png"] = (
                f"{name}: share of errors of held-out models within so many predicted standard deviations."
            )
        numbers[name] = entry
        commands.append("sme-pinn-atmo validate folds RUN ... --data " + entry["file"])
    return Section(
        "cross-validation", "Computed models never trained on",
        "Relative errors in per cent, median / 95th percentile over layers, of networks that had not seen these "
        "models; HSE is the residual of hydrostatic equilibrium. 'without': networks trained without a whole plane of "
        "models. As recorded in the model cards by: " + "; ".join(run for e in numbers.values() for run in e["runs"]),
        "; ".join(commands), ("set", "models", *columns), tuple(rows), figures, numbers,
    )  # fmt: skip


def _structures(task: Task) -> Section:
    from .scores import score
    from .structures import plot_coverage, plot_errors, plot_hydrostatics

    columns = ("RHOX", "T", "P", "XNE", "ABROSS", "HSE")
    rows: list[tuple[str, ...]] = []
    figures, numbers, commands = {}, {}, []
    for model, emulator in task.models.items():
        name, truth = emulator.name, _trained_on(emulator)
        scores = score(emulator, truth)
        rows += [
            (f"{name}, {k}", str(r["models"]), *_pairs(r, columns)) for k, r in scores.items() if isinstance(r, dict)
        ]
        drawn = ((plot_errors, "depth", "relative error against Rosseland depth: median (lines) and 95 % (dots)."),
                 (plot_hydrostatics, "hydrostatics", "dP/dtau against (g - a)/kappa, of network and computed models."),
                 (plot_coverage, "coverage", "where the computed models lie, and the domain."))  # fmt: skip
        for draw, stem, caption in drawn:
            draw(emulator, truth, task.out / f"{stem}_{name}.png")
            figures[f"{stem}_{name}.png"] = f"{name}: {caption}"
        numbers[name] = scores
        files = dict.fromkeys(d["file"] for d in emulator.card["data"] if d.get("evaluate"))
        commands += [f"sme-pinn-atmo evaluate {Path(model).name} {file}" for file in files]
    return Section(
        "structures", "Structures",
        "The packaged weights on computed models that they were trained on: this is how well they reproduce, not how "
        "well they predict.", "; ".join(commands), ("set", "models", *columns), tuple(rows), figures, numbers,
    )  # fmt: skip


def _trained_on(emulator: Emulator) -> Structures:
    """The computed models that a card says were trained on, of the sets that are scored."""
    from ..grids import joined, read
    from ..sources import find

    parts = []
    for source in (d for d in emulator.card["data"] if d.get("evaluate")):
        truth = read(find(source["file"]))
        keep = ~np.isin(np.arange(len(truth)), source.get("drop", []))
        for key, wanted in source.get("select", {}).items():
            keep &= np.isin(truth.column(key), wanted)
        for key, (low, high) in source.get("within", {}).items():
            keep &= ~((truth.column(key) < low) | (truth.column(key) > high))
        parts.append(truth.select(np.flatnonzero(keep)))
    return joined(parts)


def _physical(task: Task) -> Section:
    from .physical import CHECKS, violations

    stars = 100_000
    counts = {e.name: violations(e, stars, 0)[0] for e in task.models.values()}
    first = next(iter(counts.values()))
    return Section(
        "physical", "Physical everywhere",
        f"{stars} random labels of the domain (seed 0); the count of each violation.",
        "; ".join(f"sme-pinn-atmo validate physical --model {Path(m).name}" for m in task.models),
        ("check", *counts), tuple((CHECKS[k], *(str(c[k]) for c in counts.values())) for k in first), {}, counts,
    )  # fmt: skip


def _which(task: Task) -> Section:
    from . import choice

    models = list(task.models)
    content = choice.run(models, task.out / "which", processes=task.processes)
    write_atomically(task.out / "which.png", (task.out / "which" / "which.png").read_bytes())
    head, rows = table_of(choice.format_table(content))
    return Section(
        "which", "Which model?",
        f"Six kinds of star as each model says, less {content['first']}: temperature and pressure at three depths, "
        "the rms difference of the flux, and by how much such a star would come out off when fitted with "
        f"{content['first']}.",
        f"sme-pinn-atmo validate which {_options(models)}", head, rows,
        {"which.png": "Differences of temperature, gas pressure and flux."}, content,
    )  # fmt: skip


def _gradients(task: Task) -> Section:
    from ..grids import read
    from ..sources import find
    from .gradients import PROFILES, compare_families, continuity, plot
    from .scores import heldout_rows

    model = task.heldout_nodes()[0]
    emulator = task.heldout[model]
    truth = read(find("atlas9.npz"))
    result = compare_families(emulator, truth, heldout_rows(emulator, "atlas9.npz"))
    plot(result, task.out / "gradients.png")
    jumps = continuity(task.emulator)
    rows = tuple((k, str(r["nodes"]), *_pairs(r["difference"], PROFILES)) for k, r in result.items())  # fmt: skip
    return Section(
        "gradients", "Derivatives",
        f"Logarithmic derivatives at nodes that {Path(model).stem} has not seen: centred differences of the network "
        "between a node's neighbours against those of the computed models, error in per cent, median / 95th "
        f"percentile. Along random lines through the domain of {task.emulator.name} the largest jump of a derivative "
        f"between points falls from {jumps['derivative jump, double step']:.3g} to {jumps['derivative jump']:.3g} "
        "where the step is halved.",
        f"sme-pinn-atmo experiment gradients {Path(model).name} atlas9.npz", ("label", "nodes", *PROFILES), rows,
        {"gradients.png": "Errors of the exact derivative and of the same centred difference of the network."},
        {"errors": result, "continuity": jumps},
    )  # fmt: skip


def _solar(task: Task) -> Section:
    from .solar import WINDOWS, run

    result = run(task.out / "solar", model=task.model, windows=WINDOWS)
    for name in ("solar.png", "sensitivity.png"):
        write_atomically(task.out / name, (result.plot.parent / name).read_bytes())
    names = list(dict.fromkeys(r["model"] for r in result.rows))
    rows = []
    for w in WINDOWS:
        here = {r["model"]: r for r in result.rows if tuple(r["window"]) == w}
        title = f"{w[0]:.0f}-{w[1]:.0f} {here[names[0]]['feature']}"
        rows.append((title, *(f"{here[n]['rms_atlas']:.4f}" for n in names),
                     *(f"{here[n]['rms_atlas12']:.5f}" for n in names if n != "ATLAS-12")))  # fmt: skip
    return Section(
        "solar", "The Sun",
        "rms of the normalised flux against the KPNO atlas for each atmosphere, then against the spectrum of the "
        "computed ATLAS-12 Sun. PySME in LTE; one velocity, broadening and linear continuum per window and model. "
        + _widths(result.lines),
        f"sme-pinn-atmo validate solar --model {Path(task.model).name}",
        ("window [A]", *names, *(f"{n} − ATLAS-12" for n in names if n != "ATLAS-12")), tuple(rows),
        {"solar.png": "Observed and synthetic spectra; differences from ATLAS-12; residuals.",
         "sensitivity.png": "rms of PINN minus ATLAS-12 beside what steps in the labels of the atmosphere do."},
        {"rows": result.rows, "lines": result.lines, "sensitivity": result.sensitivity},
    )  # fmt: skip


def _widths(lines: Mapping[str, Any]) -> str:
    if "against ATLAS-12" not in lines:
        return f"Too few clean Fe lines ({len(lines['table'])}) to compare equivalent widths."
    said = (f"{name} {b['verdict']} ({b['as computed']['low']:+.3f} to {b['as computed']['high']:+.3f} %)"
            for name, b in lines["against ATLAS-12"].items())  # fmt: skip
    return (f"By the equivalent widths of {len(lines['table'])} clean Fe lines, mean of |ln W/W_obs| minus that of "
            f"ATLAS-12 with its 95 % interval over the lines: {'; '.join(said)}.")  # fmt: skip


def _interpolation(task: Task) -> Section:
    from . import interpolation

    columns = ("RHOX", "T", "P", "XNE")
    rows, numbers = [], {}
    for path in task.heldout_nodes():
        result = interpolation.run(path, progress=False)
        for who, scores, failed in (("PINN", result.pinn, 0), ("PySME's interpolation", result.pysme, result.failed)):
            rows += [(f"{Path(path).stem}: {who}, {k}", str(s["models"]), str(failed) if k == "all" else "",
                      *_pairs(s, columns))
                     for k, s in scores.items() if isinstance(s, dict)]  # fmt: skip
        numbers[Path(path).name] = asdict(result)
    return Section(
        "interpolation", "Against interpolation in a grid",
        "Relative errors in per cent, median / 95th percentile over layers, at ODFNEW nodes that were taken out of the "
        "network's training and out of the grid in which PySME interpolates.",
        "; ".join(f"sme-pinn-atmo validate interpolation --model {name}" for name in numbers),
        ("atmospheres", "nodes", "failed", *columns), tuple(rows), {}, numbers,
    )  # fmt: skip


def _spectra(task: Task) -> Section:
    from . import spectra

    models = task.heldout_models()
    folder = task.out / "spectra"
    spectra.run(models, folder, nodes=_NODES, processes=task.processes)
    content = json.loads((folder / "spectra.json").read_text(encoding="utf-8"))
    head, rows = table_of(spectra.format_rows(content["summary"]))
    write_atomically(task.out / "spectra.png", (folder / "spectra.png").read_bytes())
    return Section(
        "spectra", "Spectra over the Kiel diagram",
        "Flux from the predicted atmosphere minus flux from the computed one, at computed models kept from training: "
        "median / 95th percentile over stars of the rms in three windows and of the largest difference, and by how "
        "much a fit of teff, logg and m_h would be off. Beside it PySME's interpolation with the same node taken out.",
        f"sme-pinn-atmo validate spectra {_options(models)} --nodes {_NODES}",
        head, rows,
        {"spectra.png": "rms of the difference of the normalised flux over the three windows; each point is a star."},
        {"summary": content["summary"], "failed": spectra.format_failures(content["stars"])},
    )  # fmt: skip


def _fits(task: Task) -> Section:
    from . import fits

    models = task.heldout_nodes()
    text = fits.main(models, task.out / "fits").read_text(encoding="utf-8")
    content = json.loads((task.out / "fits" / "fits.json").read_text(encoding="utf-8"))
    head, rows = table_of(text)
    figures = {"fits_mock.png": "Mock stars: fit minus truth against the true Teff.",
               "fits_smooth.png": "chi square along a line in Teff across grid cells, and its derivative."}  # fmt: skip
    for name in figures:
        write_atomically(task.out / name, (task.out / "fits" / name).read_bytes())
    return Section(
        "fits", "Fits of mock stars",
        "Spectra from computed structures, with noise, fitted in PySME for teff, logg and monh with the node taken out "
        "of the network's training and of the grid: fit minus truth, and cost (median, lowest to highest).",
        f"sme-pinn-atmo validate fits {_options(models)}", head, rows, figures,
        {k: content[k] for k in ("mock", "sun", "smooth")},
    )  # fmt: skip


def _closure(task: Task) -> Section:
    from ..grids import read
    from ..sources import find
    from .closure import closure
    from .scores import heldout_rows

    model = task.heldout_nodes()[0]
    emulator = task.heldout[model]
    truth = read(find("atlas9.npz"))
    tables = find("rosseland_odfnew/kapp00.ros").parent
    result = closure(emulator, truth.select(heldout_rows(emulator, "atlas9.npz")), tables)
    rows = tuple((k, f"{v['models']:.0f}", f"{v['median']:.3f}", f"{v['p95']:.2f}") for k, v in result.items())
    return Section(
        "closure", "Do the profiles fit together?",
        f"At nodes that {Path(model).stem} has not seen: opacity against the ODFNEW tables, electron density against "
        "PySME's equation of state, both at the same temperature and pressure, in per cent; for the network and for "
        "the computed models themselves.",
        f"sme-pinn-atmo validate closure {Path(model).name}", ("residual", "models", "median", "p95"), rows, {}, result,
    )  # fmt: skip


#: ODFNEW nodes whose spectra are compared.
_NODES = 160

#: Parts that are about all models of the report, and about those of --heldout.
_ON_ALL = ("cross-validation", "structures", "physical", "which", "benchmarks", "lines-atmospheres")
_ON_HELDOUT = ("interpolation", "spectra", "fits", "gradients", "closure")

#: Parts of the report, in its order.
PARTS: dict[str, Callable[[Task], Section]] = {
    "cross-validation": _cross_validation, "interpolation": _interpolation, "structures": _structures,
    "solar": _solar, "spectra": _spectra, "fits": _fits, "gradients": _gradients, "closure": _closure,
    "physical": _physical, "which": _which, "benchmarks": stars.benchmarks, "lines-mock": stars.lines_mock,
    "lines-unseen": stars.lines_unseen, "lines-atmospheres": stars.lines_atmospheres,
    "lines-laboratory": stars.lines_laboratory, "survey": stars.survey,
}  # fmt: skip

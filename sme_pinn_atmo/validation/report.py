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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..emulator import Emulator, write_atomically

__all__ = ["PARTS", "Section", "Task", "build", "page"]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes
    ----------
    name, title : of the part
    seen : what the reader sees in it, and what it means
    command : that makes the same numbers
    head, rows : a table, cells as text
    figures : file name of a PNG in the report's folder -> caption
    numbers : machine-readable results
    seconds : wall time
    missing : why the part could not be done, else empty
    """

    name: str
    title: str
    seen: str
    command: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    numbers: Any = None
    seconds: float = 0.0
    missing: str = ""


@dataclass(frozen=True)
class Task:
    """What a part is about.

    Attributes
    ----------
    model : name or path of the model that the report is on
    emulator : the same, loaded
    heldout : name or path of models with held-out rows -> the same, loaded
    out : folder of the report
    processes : how many a part may use
    """

    model: str
    emulator: Emulator
    heldout: Mapping[str, Emulator]
    out: Path
    processes: int

    def heldout_models(self) -> list[str]:
        """The held-out models; raises ValueError where there are none."""
        if not self.heldout:
            raise ValueError("it needs networks that have not seen some computed models: train them with --fold, then "
                             "name them with --heldout")  # fmt: skip
        return list(self.heldout)

    def heldout_nodes(self) -> list[str]:
        """Those that held out nodes of atlas9.npz; raises ValueError where there are none."""
        from .scores import heldout_rows

        models = [m for m in self.heldout_models() if heldout_rows(self.heldout[m], "atlas9.npz").size]
        if not models:
            raise ValueError("no model of --heldout has held out rows of atlas9.npz")
        return models


def build(
    out: Path, model: str = "atlas12", parts: Sequence[str] | None = None, heldout: Sequence[str] = (), *,
    processes: int = 1, progress: bool = True,
) -> Path:  # fmt: skip
    """Run the parts, and write `index.html` and `report.json` into `out`; returns the page.

    A part that lacks its data is named in the page with what it lacks, and does not stop the others. Finished parts
    are kept (`out/NAME.json`) and done again only if weights or this package's version have changed.

    Parameters
    ----------
    parts : out of `PARTS`; all by default
    heldout : models whose cards record held-out rows (`sme-pinn-atmo train --fold`), for the parts that compare with
        computed models never trained on

    Raises ValueError for an unknown model or part, before anything is done.
    """
    emulator = Emulator.load(model)
    task = Task(model, emulator, {m: Emulator.load(m) for m in heldout}, out, processes)
    wanted = list(PARTS) if parts is None else list(parts)
    if unknown := [p for p in wanted if p not in PARTS]:
        raise ValueError(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for name in wanted:
        kept = out / f"{name}.json"
        stamp = {"sha256": emulator.card["sha256"], "version": __version__}
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
    about = _about(task)
    numbers = {**about, "sections": {s.name: {"command": s.command, "seconds": s.seconds, "missing": s.missing,
                                              "numbers": s.numbers} for s in sections}}  # fmt: skip
    write_atomically(out / "report.json", (json.dumps(numbers, indent=1) + "\n").encode())
    index = out / "index.html"
    write_atomically(index, page(about, sections, out).encode())
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
    emulator = task.emulator
    import matplotlib
    import scipy

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
        "model": emulator.name, "weights (sha256)": str(emulator.card["sha256"]),
        "trained by": str(emulator.card.get("training", {}).get("command", "")),
        "seed of the training": str(emulator.card.get("training", {}).get("seed", "")),
        "command": " ".join(["sme-pinn-atmo validate all --model", Path(task.model).name,
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

    entry = task.emulator.card.get("cross_validation")
    if not entry:
        raise ValueError(f"the card of {task.emulator.name} has no cross-validation: validate folds --into adds one")
    columns = ("RHOX", "T", "P", "XNE", "ABROSS", "HSE")
    rows = tuple(
        (name, str(s["models"]), *_pairs(s, columns))
        for name, s in entry["figures"].items() if isinstance(s, dict)
    )  # fmt: skip
    figures = {}
    if "calibration" in entry:
        plot_calibration(entry["calibration"], task.out / "calibration.png")
        figures["calibration.png"] = "Share of errors of held-out models within so many predicted standard deviations."
    return Section(
        "cross-validation", "Computed models never trained on",
        "Relative errors in per cent, median / 95th percentile over layers, of networks that had not seen these "
        "models; HSE is the residual of hydrostatic equilibrium. As recorded in the model card by: "
        + "; ".join(entry["runs"]), "sme-pinn-atmo validate folds FOLD1 FOLD2 ... --data " + entry["file"],
        ("set", "models", *columns), rows, figures, entry,
    )  # fmt: skip


def _structures(task: Task) -> Section:
    from ..grids import read
    from ..sources import find
    from .scores import score
    from .structures import plot_coverage, plot_errors, plot_hydrostatics

    name = "atlas12.npz" if task.emulator.card["solar_scale"] == "asplund2009" else "atlas9.npz"
    truth = read(find(name))
    if "family" in truth.extra:
        truth = truth.select(truth.column("family") == "ODFNEW")
    scores = score(task.emulator, truth)
    plot_errors(task.emulator, truth, task.out / "depth.png")
    plot_hydrostatics(task.emulator, truth, task.out / "hydrostatics.png")
    plot_coverage(task.emulator, truth, task.out / "coverage.png")
    left_out = sum(len(d.get("drop", [])) for d in task.emulator.card["data"] if d.get("file") == name)
    columns = ("RHOX", "T", "P", "XNE", "ABROSS", "HSE")
    rows = tuple((k, str(s["models"]), *_pairs(s, columns))
                 for k, s in scores.items() if isinstance(s, dict))  # fmt: skip
    return Section(
        "structures", "Structures",
        f"The packaged weights on all computed models of {name}, which they were trained on: this is how well they "
        "reproduce, not how well they predict."
        + (f" {left_out} of them were left out of training, which the 95th percentiles show." if left_out else ""),
        f"sme-pinn-atmo evaluate {Path(task.model).name} {name}",
        ("set", "models", *columns), rows,
        {"depth.png": "Relative error against Rosseland depth: median (lines) and 95th percentile (dots).",
         "hydrostatics.png": "dP/dtau against (g - a)/kappa, of the network and of the computed models.",
         "coverage.png": "Where the computed models lie, and the domain."}, scores,
    )  # fmt: skip


def _physical(task: Task) -> Section:
    from .physical import CHECKS, violations

    stars = 100_000
    counts, _ = violations(task.emulator, stars, 0)
    return Section(
        "physical", "Physical everywhere",
        f"{stars} random labels of the domain (seed 0); the count of each violation.",
        f"sme-pinn-atmo validate physical --model {Path(task.model).name}", ("check", "stars"),
        tuple((CHECKS[k], str(v)) for k, v in counts.items()), {}, counts,
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
        f"sme-pinn-atmo validate gradients {Path(model).name} atlas9.npz", ("label", "nodes", *PROFILES), rows,
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
    head, rows = _cells(spectra.format_rows(content["summary"]))
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
    head, rows = _cells(text)
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


def _cells(markdown: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows of the first Markdown table of a text."""
    lines = markdown.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return table[0], tuple(table[2:])


#: ODFNEW nodes whose spectra are compared.
_NODES = 160

#: Parts that are about the models of --heldout.
_ON_HELDOUT = ("interpolation", "spectra", "fits", "gradients", "closure")

#: Parts of the report, in its order.
PARTS: dict[str, Callable[[Task], Section]] = {
    "cross-validation": _cross_validation, "interpolation": _interpolation, "structures": _structures,
    "solar": _solar, "spectra": _spectra, "fits": _fits, "gradients": _gradients, "closure": _closure,
    "physical": _physical,
}  # fmt: skip

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

__all__ = ["PARTS", "Section", "build", "page"]


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


def build(out: Path, model: str = "atlas12", parts: Sequence[str] | None = None, *, progress: bool = True) -> Path:
    """Run the parts, and write `index.html` and `report.json` into `out`; returns the page.

    A part that lacks its data is named in the page with what it lacks, and does not stop the others. Finished parts
    are kept (`out/NAME.json`) and done again only if the model's weights or this package's version have changed.

    Raises ValueError for an unknown model or part, before anything is done.
    """
    emulator = Emulator.load(model)
    wanted = list(PARTS) if parts is None else list(parts)
    if unknown := [p for p in wanted if p not in PARTS]:
        raise ValueError(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for name in wanted:
        kept = out / f"{name}.json"
        stamp = {"sha256": emulator.card["sha256"], "version": __version__}
        section = _kept(kept, stamp, out)
        if section is None:
            if progress:
                print(f"{name} ...", file=sys.stderr)
            start = time.monotonic()
            try:
                section = PARTS[name](emulator, model, out)
            except (OSError, ValueError, ModuleNotFoundError) as error:
                section = Section(name, name.capitalize(), "", f"sme-pinn-atmo validate all --part {name}",
                                  missing=str(error))  # fmt: skip
            section = Section(**{**asdict(section), "seconds": round(time.monotonic() - start, 1)})
            if not section.missing:
                write_atomically(kept, (json.dumps({**stamp, "section": asdict(section)}, indent=1) + "\n").encode())
        sections.append(section)
    about = _about(emulator, model)
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
        "section names the command that makes its numbers.</p>"
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


def _about(emulator: Emulator, model: str) -> dict[str, str]:
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
        "command": f"sme-pinn-atmo validate all --model {model}", "commit": commit, "version": __version__,
        "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__,
        "matplotlib": matplotlib.__version__, "pysme": pysme_version, "system": platform.platform(),
    }  # fmt: skip


# ---------------------------------------------------------------------- the parts


def _cross_validation(emulator: Emulator, model: str, out: Path) -> Section:
    from .structures import plot_calibration

    entry = emulator.card.get("cross_validation")
    if not entry:
        raise ValueError(f"the card of {emulator.name} has no cross-validation: sme-pinn-atmo validate folds --into")
    columns = ("RHOX", "T", "P", "XNE", "ABROSS", "HSE")
    rows = tuple(
        (name, str(s["models"]), *(f"{s[c]['median']:.3g} / {s[c]['p95']:.3g}" for c in columns))
        for name, s in entry["figures"].items() if isinstance(s, dict)
    )  # fmt: skip
    figures = {}
    if "calibration" in entry:
        plot_calibration(entry["calibration"], out / "calibration.png")
        figures["calibration.png"] = "Share of errors of held-out models within so many predicted standard deviations."
    return Section(
        "cross-validation", "Computed models never trained on",
        "Relative errors in per cent, median / 95th percentile over layers, of networks that had not seen these "
        "models; HSE is the residual of hydrostatic equilibrium. As recorded in the model card by: "
        + "; ".join(entry["runs"]), "sme-pinn-atmo validate folds FOLD1 FOLD2 ... --data " + entry["file"],
        ("set", "models", *columns), rows, figures, entry,
    )  # fmt: skip


def _structures(emulator: Emulator, model: str, out: Path) -> Section:
    from ..grids import read
    from .scores import score
    from .spectrum import data_file
    from .structures import plot_coverage, plot_errors, plot_hydrostatics

    name = "atlas12.npz" if emulator.card["solar_scale"] == "asplund2009" else "atlas9.npz"
    truth = read(data_file(name, "computed model atmospheres, kurucz.harvard.edu"))
    if "family" in truth.extra:
        truth = truth.select(truth.column("family") == "ODFNEW")
    scores = score(emulator, truth)
    plot_errors(emulator, truth, out / "depth.png")
    plot_hydrostatics(emulator, truth, out / "hydrostatics.png")
    plot_coverage(emulator, truth, out / "coverage.png")
    columns = ("RHOX", "T", "P", "XNE", "ABROSS", "HSE")
    rows = tuple((k, str(s["models"]), *(f"{s[c]['median']:.3g} / {s[c]['p95']:.3g}" for c in columns))
                 for k, s in scores.items() if isinstance(s, dict))  # fmt: skip
    return Section(
        "structures", "Structures",
        f"The packaged weights on all computed models of {name}, which they were trained on: this is how well they "
        "reproduce, not how well they predict.", f"sme-pinn-atmo evaluate {model} {name}", ("set", "models", *columns),
        rows,
        {"depth.png": "Relative error against Rosseland depth: median (lines) and 95th percentile (dots).",
         "hydrostatics.png": "dP/dtau against (g - a)/kappa, of the network and of the computed models.",
         "coverage.png": "Where the computed models lie, and the domain."}, scores,
    )  # fmt: skip


def _physical(emulator: Emulator, model: str, out: Path) -> Section:
    from .physical import CHECKS, violations

    stars = 100_000
    counts, _ = violations(emulator, stars, 0)
    return Section(
        "physical", "Physical everywhere",
        f"{stars} random labels of the domain (seed 0); the count of each violation.",
        f"sme-pinn-atmo validate physical --model {model}", ("check", "stars"),
        tuple((CHECKS[k], str(v)) for k, v in counts.items()), {}, counts,
    )  # fmt: skip


def _gradients(emulator: Emulator, model: str, out: Path) -> Section:
    from ..grids import read
    from .gradients import PROFILES, compare, continuity, plot
    from .spectrum import data_file

    truth = read(data_file("atlas9.npz", "ATLAS9 grids, kurucz.harvard.edu/grids"))
    odfnew = truth.select(truth.column("family") == "ODFNEW")
    result = compare(emulator, odfnew, np.arange(0, len(odfnew), 3))
    plot(result, out / "gradients.png")
    jumps = continuity(emulator)
    rows = tuple((k, str(r["nodes"]), *(f"{r['difference'][p]['median']:.2g} / {r['difference'][p]['p95']:.2g}"
                                        for p in PROFILES)) for k, r in result.items())  # fmt: skip
    return Section(
        "gradients", "Derivatives",
        "Logarithmic derivatives with respect to the labels against centred differences between neighbouring ODFNEW "
        "nodes (other physics for a model of ATLAS12): error in per cent, median / 95th percentile. Along random lines "
        f"through the domain the largest jump of a derivative between points falls from "
        f"{jumps['derivative jump, double step']:.3g} to {jumps['derivative jump']:.3g} where the step is halved.",
        f"sme-pinn-atmo validate gradients {model} atlas9.npz", ("label", "nodes", *PROFILES), rows,
        {"gradients.png": "Errors of the exact derivative and of the same centred difference of the network."},
        {"errors": result, "continuity": jumps},
    )  # fmt: skip


def _solar(emulator: Emulator, model: str, out: Path) -> Section:
    from .solar import WINDOWS, run
    from .solar_tables import format_lines

    result = run(out / "solar", model=model, windows=WINDOWS)
    for name in ("solar.png", "sensitivity.png"):
        write_atomically(out / name, (result.plot.parent / name).read_bytes())
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
        + " ".join(format_lines(result.lines).splitlines()[-len(names) + 1 :]),
        f"sme-pinn-atmo validate solar --model {model}",
        ("window [A]", *names, *(f"{n} − ATLAS-12" for n in names if n != "ATLAS-12")), tuple(rows),
        {"solar.png": "Observed and synthetic spectra; differences from ATLAS-12; residuals.",
         "sensitivity.png": "rms of PINN minus ATLAS-12 beside what steps in the labels of the atmosphere do."},
        {"rows": result.rows, "lines": result.lines, "sensitivity": result.sensitivity},
    )  # fmt: skip


#: Parts of the report, in its order.
PARTS: dict[str, Callable[[Emulator, str, Path], Section]] = {
    "cross-validation": _cross_validation, "structures": _structures, "solar": _solar, "gradients": _gradients,
    "physical": _physical,
}  # fmt: skip

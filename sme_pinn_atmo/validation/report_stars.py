"""Parts of the report about stars: benchmark stars, calibrated lines, and a network of a survey's kind.

They take hours together, keep every finished star in folders of the report, and go on where they were.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files import write_atomically
from .section import Section, Task, table_of

__all__ = ["benchmarks", "lines_atmospheres", "lines_laboratory", "lines_mock", "lines_unseen", "survey"]

#: Benchmark stars that are in no packaged calibration.
_UNSEEN = ("61 Cyg B", "HD 122563", "HD 140283", "HD 84937")

#: The set of a survey that the benchmark stars are fitted with, and the size of its network.
_SURVEY, _WIDTH, _STEPS = "benchmarks.toml", 256, 8000


def _figure(task: Task, made: Path, name: str) -> str:
    """A figure of a part, into the report's folder."""
    write_atomically(task.out / name, made.read_bytes())
    return name


def _numbers(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def benchmarks(task: Task) -> Section:
    """15 benchmark stars with each model, and with PySME's interpolation."""
    from .benchmarks import ODFNEW, main, off_reference

    out = task.out / "benchmarks"
    models = [*task.models, ODFNEW]
    main(models, out, processes=task.processes, corrections=("own",))
    content = _numbers(out / "benchmarks.json")
    rows = []
    for row in content["stars"]:
        reference, result = row["reference"], row["result"]
        head = (row["name"], f"{reference['teff']:.0f} {reference['logg']:.2f} {reference['monh']:+.2f}", row["model"])
        if "failed" in result:
            rows.append((*head, f"failed: {result['failed']}", "", ""))
            continue
        rows.append((*head, *off_reference(row)))
    order = [k["name"] for k in content["stars"]]
    rows.sort(key=lambda r: order.index(r[0]))
    medians = "; ".join(
        f"{model}: {s['teff']['median']:.0f} K, {s['logg']['median']:.2f}, {s['monh']['median']:.2f}, {s['within']} of "
        f"{s['with_errors']} within one error, {s['failed']} failed" for model, s in content["summary"].items()
    )
    asked = " ".join(f"--model {Path(m).name}" for m in models)
    return Section(
        "benchmarks", "Benchmark stars",
        "Gaia FGK benchmark stars fitted from their spectra in the windows galah-wide, with GALAH's line list as it is "
        "and with the packaged corrections of each model (nine of the stars are among those that these were made on); "
        f"fit less reference. Median of the difference's size of stars of 4000 to 6600 K: {medians}.",
        f"sme-pinn-atmo validate benchmarks {asked} --corrections own",
        ("star", "reference", "model", "Teff [K]", "log g", "[M/H]"), tuple(rows),
        {_figure(task, out / "benchmarks.png", "benchmarks.png"): "Fit less reference against the reference's Teff."},
        content["summary"],
    )  # fmt: skip


def lines_mock(task: Task) -> Section:
    """Mock stars with 300 lines off."""
    from ..stars.lines import galah_lines
    from ..stars.windows import Windows
    from .calibration import recovered_groups, recovery

    where = Windows.read("galah")
    figures, *_ = recovery(galah_lines(where.windows), where, model=task.model, work=task.out / "lines" / "mock",
                           processes=task.processes)  # fmt: skip
    rows = [
        (name, f"{f['lines']}", f"{f['rms_before']:.3f}", f"{f['rms']:.4f}", f"{100 * f['within_one']:.0f} %",
         f"{100 * f['within_two']:.0f} %") for name, f in recovered_groups(figures)
    ]  # fmt: skip
    return Section(
        "lines-mock", "Calibrated lines: mock stars",
        "Five mock stars of 4500 to 6500 K at R 30,000 and S/N 300, made with 300 log gf off by 0.2 dex: what a "
        "calibration makes of them, by how much a line's absence would raise the flux in some star.",
        f"sme-pinn-atmo validate calibration --part mock --model {Path(task.model).name}",
        ("lines", "n", "rms before", "rms after", "within one error", "two"), tuple(rows), {}, figures,
    )  # fmt: skip


def lines_unseen(task: Task) -> Section:
    """Benchmark stars with lines calibrated on others."""
    from ..calibration import read_stars
    from ..stars.lines import read_lines
    from .calibration import left_out

    stars, options, named = read_stars("galah-stars.toml")
    stars = [replace(s, settings=s.settings.with_(model=task.model)) for s in stars]
    ranges = [w for s in stars for w in s.windows(s.spectrum()).windows]
    out = task.out / "lines"
    path = left_out(stars, read_lines(named, ranges), options, out / "unseen", work=out / "work", unseen=_UNSEEN,
                    each=True, halves=False, alone="Sun", processes=task.processes)  # fmt: skip
    text = path.read_text(encoding="utf-8")
    head, rows = table_of(text, "Median of")
    unseen = " ".join(f'--unseen "{name}"' for name in _UNSEEN)
    return Section(
        "lines-unseen", "Calibrated lines: stars not seen",
        "Benchmark stars fitted with the line list as it is, with lines calibrated on the Sun alone, and with lines "
        "calibrated on nine stars less the star itself: median of the difference from the reference, and of the rms of "
        "the residuals.",
        f"sme-pinn-atmo validate calibration --part unseen --each {unseen} --alone Sun --model {Path(task.model).name}",
        head, rows,
        {_figure(task, out / "unseen" / "left_out.png", "left_out.png"): "Fit less reference, star by star."},
        {"medians": [head, *rows], "stars": list(table_of(text)[1])},
    )  # fmt: skip


def lines_atmospheres(task: Task) -> Section:
    """Packaged corrections of each model against the first one's."""
    from ..calibration import Corrections, packaged_corrections
    from .calibration import compared

    every = packaged_corrections()
    names = [f"galah-{e.card['name']}" for e in task.models.values() if f"galah-{e.card['name']}" in every]
    if len(names) < 2:
        raise ValueError("it needs two models with packaged corrections")
    numbers = {n: compared(Corrections.read(names[0]), Corrections.read(n)) for n in names[1:]}
    rows = [(f"{n} less {names[0]}", f"{r['low']:g} to {r['high']:g}", f"{r['lines']}", f"{r['median']:+.3f}",
             f"{r['scatter']:.3f}", f"{r['error']:.3f}") for n, found in numbers.items() for r in found]  # fmt: skip
    return Section(
        "lines-atmospheres", "Calibrated lines: how much is the atmosphere?",
        "Changes of log gf that were made with one model less those with another, by depth of the line in the limit of "
        "weakness; scatter is robust, error that of the calibration.",
        f"sme-pinn-atmo validate calibration --part others --corrections {names[0]} "
        + " ".join(f"--against {n}" for n in names[1:]),
        ("corrections", "depth", "lines", "median", "scatter", "error"), tuple(rows), {}, numbers,
    )  # fmt: skip


def lines_laboratory(task: Task) -> Section:
    """Packaged corrections against laboratory log gf."""
    from ..calibration import Corrections
    from .calibration import format_laboratory, laboratory_of

    name = f"galah-{task.emulator.card['name']}"
    figures = laboratory_of(Corrections.read(name))
    head, rows = table_of(format_laboratory(figures))
    return Section(
        "lines-laboratory", "Calibrated lines: against the laboratory",
        "Log gf of GALAH's list, and calibrated, less linemake's laboratory values (Placco et al. 2021), of lines "
        "whose calibrated error is below 0.1 dex.",
        f"sme-pinn-atmo data get laboratory; sme-pinn-atmo validate calibration --part laboratory --corrections {name}",
        head, rows, {}, figures["groups"],
    )  # fmt: skip


def survey(task: Task) -> Section:
    """A set of 2,000 spectra, a network on it, and benchmark stars fitted with that."""
    from ..survey import Set, Survey, make
    from ..survey.network import SpectrumNetwork, train
    from .survey import stars

    out = task.out / "survey"
    out.mkdir(parents=True, exist_ok=True)
    made, network = out / "benchmarks.h5", out / "benchmarks.npz"
    if not made.is_file():
        make(Survey.read(_SURVEY), made, processes=task.processes)
    if not network.is_file():
        with Set(made) as training:
            train(training, width=_WIDTH, steps=_STEPS).save(network)
    loaded = SpectrumNetwork.load(network)
    text = stars(loaded, out, direct=out / "direct", processes=task.processes).read_text(encoding="utf-8")
    head, rows = table_of(text)
    held = loaded.card["held"]
    return Section(
        "survey", "From the survey to the star",
        f"A network trained on {loaded.card['spectra']} spectra (on {held['stars']} others it is off by "
        f"{held['rms']:.4f} rms), fitted to the benchmark stars inside its labels, beside fits with PySME in the same "
        "windows: fit less reference. " + " ".join(line for line in text.splitlines() if "median of |" in line),
        f"sme-pinn-atmo survey {_SURVEY} --out benchmarks.h5; sme-pinn-atmo survey-train benchmarks.h5 "
        f"--width {_WIDTH} --steps {_STEPS} --out benchmarks.npz; sme-pinn-atmo validate survey benchmarks.npz "
        "--direct direct",
        head, rows, {_figure(task, out / "survey.png", "survey.png"): "Fit less reference, network and PySME."},
        _numbers(out / "survey.json")["summary"],
    )  # fmt: skip

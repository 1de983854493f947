"""The page of `validate solar`: tables, plots that can be zoomed, sources; one file that needs no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sources import SETS
from .masks import MASK
from .solar_tables import format_line_table, format_lines, format_parts, format_rows, format_sensitivity, plain
from .spectrum import Fit, broaden

__all__ = ["curves", "render"]

Array = NDArray[np.float64]

_REFERENCE = "ATLAS-12"

_CODES = {"pysme": "PySME", "korg": "Korg"}


def curves(
    windows: Sequence[tuple[float, float]], observed: Any, fits: Mapping[Any, Fit], spectra: Any, names: Sequence[str],
    lead: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """What the page draws of each window: the atlas and the fits of ATLAS-12 and of `lead`, and every model minus
    ATLAS-12 [%] with ATLAS-12's broadening; wavelengths from the start of the window."""
    out = []
    for w in windows:
        wave, flux = observed[w]
        grid, reference = spectra[w, _REFERENCE]
        sigma = fits[w, _REFERENCE].broadening
        out.append({
            "window": [*w], "wave": _packed(wave - w[0]), "observed": _packed(flux),
            "fits": {n: _packed(fits[w, n].flux) for n in (_REFERENCE, lead)},
            "first": float(grid[0] - w[0]), "step": float(grid[1] - grid[0]),
            "minus": {n: _packed(100 * broaden(grid, spectra[w, n][1] - reference, sigma))
                      for n in names if n != _REFERENCE},
            "masks": [[max(low, w[0]), min(high, w[1])] for low, high in MASK.values() if high > w[0] and low < w[1]],
        })  # fmt: skip
    return out


def _packed(values: Array) -> str:
    """Numbers in single precision as base64, which a page unpacks faster and smaller than digits."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def render(content: Mapping[str, Any], drawn: Sequence[Mapping[str, Any]]) -> str:
    """The page of what `solar.run` found."""
    from plotly.offline import get_plotlyjs

    data = {
        "windows": drawn, "lead": content["lead"], "packaged": content["packaged"],
        "features": {f"{r['window'][0]:g}": r["feature"] for r in content["rows"]},
        "sensitivity": content["sensitivity"], "lines": content["lines"]["table"],
    }  # fmt: skip
    # "</" would end the script in which the data stand.
    text = json.dumps(plain(data), allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    parts = {
        "TITLE": "The Sun from sme_pinn_atmo", "LEAD": _lead(content), "FIRST": _first_table(content),
        "TABLES": _details(content), "FOOT": _foot(content), "DATA": text,
        "PLOTLY": get_plotlyjs(),
    }  # fmt: skip
    page = (Path(__file__).parent.parent / "data" / "solar_page.html").read_text(encoding="utf-8")
    for key, value in parts.items():
        page = page.replace(f"@{key}@", value, 1)
    return page


def _by_window(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Mapping[str, Any]]]]:
    windows = list(dict.fromkeys(tuple(r["window"]) for r in rows))
    out = []
    for w in windows:
        here = {r["model"]: r for r in rows if tuple(r["window"]) == w}
        feature = next(iter(here.values()))["feature"]
        out.append((f"{w[0]:.0f}–{w[1]:.0f} {feature}".strip(), here))
    return out


def _lead(content: Mapping[str, Any]) -> str:
    lead, packaged, unseen = content["lead"], content["packaged"], content["unseen"]
    off = [here[lead]["rms_atlas12"] for _, here in _by_window(content["rows"])]
    said = (
        f"<p>What a neural network puts in place of a grid of model atmospheres is judged here on the Sun: spectra of "
        f"{len(off)} windows, synthesised in the same way ({_CODES[content['code']]}, LTE, the same lines and "
        f"abundances) from the network's atmosphere and from computed ones, beside each other and beside the observed "
        f"Sun. <strong>{html.escape(lead)}</strong> differs from the spectrum of the computed ATLAS-12 Sun by "
        f"{min(off):.5f} to {max(off):.5f} of the continuum (rms, by window).</p>"
    )
    if unseen is not None:
        training, held = unseen["training"], unseen["held out"]
        seen = [here[packaged]["rms_atlas12"] for _, here in _by_window(content["rows"])]
        said += (
            f"<p>That network had <em>not</em> seen the Sun: it is a run of the packaged configuration of "
            f"{training['steps']:,} steps in which part {held['fold'][0]} of {held['fold'][1]} of the computed "
            f"ATLAS-12 models was held out, and with it every computed Sun "
            f"(<code>{html.escape(training['command'])}</code>). The packaged network, {html.escape(packaged)}, was "
            f"trained on the computed Sun: its {min(seen):.5f} to {max(seen):.5f} are memory, not prediction.</p>"
        )
    return said


def _first_table(content: Mapping[str, Any]) -> str:
    lead, packaged = content["lead"], content["packaged"]
    names = [lead, *([packaged] if packaged != lead else []), "ATLAS9", "MARCS"]
    short = {lead: "network, Sun unseen" if packaged != lead else lead, packaged: "packaged network, trained on it"
             if packaged != lead else packaged}  # fmt: skip
    head = "".join(f"<th>{html.escape(short.get(n, n))}</th>" for n in names)
    body = ""
    for title, here in _by_window(content["rows"]):
        cells = [f"{here[n]['rms_atlas12']:.5f}" for n in names]
        cells += [f"{here[n]['rms_atlas']:.4f}" for n in (lead, _REFERENCE)]
        body += f"<tr><td>{html.escape(title)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
    return (
        f"<table><thead><tr><th></th><th colspan={len(names)}>rms of flux minus that of computed ATLAS-12</th>"
        f"<th colspan=2>rms of observed flux minus</th></tr><tr><th>window [Å]</th>{head}<th>network</th>"
        f"<th>ATLAS-12</th></tr></thead><tbody>{body}</tbody></table>"
    )


def _details(content: Mapping[str, Any]) -> str:
    """Everything else, folded."""
    parts = (
        ("Every model in every window", format_rows(content["rows"])),
        ("Line cores, wings, continuum", format_parts(content["rows"])),
        ("Equivalent widths", format_lines(content["lines"])),
        ("Equivalent widths, line by line", format_line_table(content["lines"]["table"])),
        ("What steps in the labels do", format_sensitivity(content["sensitivity"])),
    )
    return "".join(
        f"<details><summary>{title}</summary><div class=wide>{_from_markdown(text)}</div></details>"
        for title, text in parts
        if text
    )


def _from_markdown(text: str) -> str:
    """The tables of `solar_tables`, whose lines begin with |, and paragraphs and lists between them."""
    out: list[str] = []
    table: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [html.escape(c.strip()) for c in line.strip("|").split("|")]
            if set(cells) != {"---"}:
                tag = "td" if table else "th"
                table.append("<tr>" + "".join(f"<{tag}>{c}</{tag}>" for c in cells) + "</tr>")
            continue
        if table:
            out.append(f"<table>{''.join(table)}</table>")
            table = []
        if line.strip():
            out.append(f"<p>{html.escape(line)}</p>")
    return "".join(out)


def _foot(content: Mapping[str, Any]) -> str:
    one = SETS["solar"]
    files = {html.escape(name): f["sha256"] for name, f in content["files"].items()}
    rows = (f"<tr><td>{name}</td><td><code>{sha}</code></td></tr>" for name, sha in files.items())
    sun = ", ".join(f"{k} {v:g}" for k, v in content["sun"].items())
    made = (
        f"{_CODES[content['code']]} in LTE, {sun}, microturbulence of the synthesis {content['vmic']} km/s, abundances "
        f"{content['abundances']}; one velocity, one Gaussian broadening and one linear continuum fitted per window "
        f"and model; {len(content['mask'])} masks, the same for all (telluric lines, defects of the line list, cores "
        f"formed in the chromosphere). Observed: {content['observed']}."
    )
    return (
        f"<p><strong>Made by</strong> <code>{html.escape(content['command'])}</code>, sme_pinn_atmo "
        f"{content['version']}: {html.escape(made)}</p><p><strong>Sources</strong> {html.escape(one.home)}.</p>"
        f"<p><strong>Terms</strong> {html.escape(one.licence)}.</p>"
        f"<p><strong>Cite</strong> {html.escape(one.citation)}; and the code of the synthesis.</p>"
        f"<details><summary>Files and their SHA-256</summary><div class=wide><table>{''.join(rows)}</table></div>"
        "</details>"
    )

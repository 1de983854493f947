"""The results of `validate solar` as Markdown tables, for the terminal and for the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["format_line_table", "format_lines", "format_parts", "format_rows", "format_sensitivity",
           "plain"]  # fmt: skip


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """rms and chi square against the atlas; rms and largest difference against computed ATLAS-12; sigma assumed."""
    names = list(dict.fromkeys(r["model"] for r in rows))
    out = []
    for key, title, digits in (
        ("rms_atlas", "rms against the atlas", 5),
        ("chi2", "Reduced chi square against the atlas", 1),
        ("rms_atlas12", "rms against computed ATLAS-12", 6),
        ("max_atlas12", "Largest difference from computed ATLAS-12", 5),
    ):
        body = []
        for window, here in _by_window(rows):
            sigma = [f"{here[names[0]]['sigma']:.4f}", here[names[0]]["points"]] if key == "chi2" else []
            body.append([window, *sigma, *(f"{here[n][key]:.{digits}f}" for n in names)])
        if key == "chi2":
            title += (" (sigma: scatter of the atlas about ATLAS-12 in line-free pixels of the window; with too few of "
                      "them, median of the other windows)")  # fmt: skip
        header = ["window [A]", *(["sigma", "points"] if key == "chi2" else []), *names]
        out.append(f"{title}\n\n{_table(header, body)}")
    return "\n\n".join(out)


def format_parts(rows: Sequence[Mapping[str, Any]]) -> str:
    """rms and largest difference from ATLAS-12, and rms against the atlas, for line cores, wings and continuum."""
    names = list(dict.fromkeys(r["model"] for r in rows))
    out = []
    for part, title in (("core", "Line cores"), ("wing", "Line wings"), ("continuum", "Continuum")):
        body = [
            [window, *(f"{here[n][f'rms_atlas12_{part}']:.1e} / {here[n][f'max_atlas12_{part}']:.1e}" for n in names
                       if n != "ATLAS-12"), *(f"{here[n][f'rms_atlas_{part}']:.4f}" for n in names)]
            for window, here in _by_window(rows)
        ]  # fmt: skip
        others = [n for n in names if n != "ATLAS-12"]
        header = ["window [A]", *(f"{n} − ATLAS-12" for n in others), *(f"atlas − {n}" for n in names)]
        out.append(f"{title}: rms / largest difference from ATLAS-12; rms against the atlas\n\n{_table(header, body)}")
    return "\n\n".join(out)


def format_lines(lines: Mapping[str, Any]) -> str:
    """What the equivalent widths say; the last lines are one for each model but ATLAS-12."""
    if "summary" not in lines:
        return f"No comparison of equivalent widths: {len(lines['table'])} clean Fe lines in the windows."
    keys = list(next(iter(lines["summary"].values())))
    body = [[name, *(f"{s[k]:.3f}" for k in keys)] for name, s in lines["summary"].items()]
    out = [f"Equivalent widths of {len(lines['table'])} Fe lines", "", _table(["model", *keys], body), "",
           f"Difference of the mean of |ln W/W_obs| from that of ATLAS-12 in per cent, as computed; with the mean "
           f"removed (95 % interval, {lines['resamples']} resamples of the lines, seed {lines['seed']}; within "
           f"{lines['resolution']} % is numerical):", ""]  # fmt: skip
    for name, b in lines["against ATLAS-12"].items():
        text = "; ".join(f"{i['difference']:+.4f} ({i['low']:+.4f} to {i['high']:+.4f})"
                         for i in (b["as computed"], b["mean removed"]))  # fmt: skip
        out.append(f"- {name} against ATLAS-12: {b['verdict']}; {text}")
    return "\n".join(out)


def format_line_table(table: Sequence[Mapping[str, Any]]) -> str:
    """Every line: equivalent widths [mA], observed and computed, and their differences."""
    if not table:
        return ""
    names = [k for k in table[0] if k not in ("species", "wave", "depth", "blend", "observed")]
    pinn = names[0]
    body = [
        [f"{'Fe I' if r['species'] == 'Fe 1' else 'Fe II'} {r['wave']:.3f}", f"{r['depth']:.3f}", f"{r['blend']:.2f}",
         f"{r['observed']:.2f}", *(f"{r[n]:.2f}" for n in names), f"{r[pinn] - r['ATLAS-12']:+.4f}",
         *(f"{r[n] - r['observed']:+.2f}" for n in names)]
        for r in table
    ]  # fmt: skip
    header = ["line [A]", "depth", "blend", "observed", *names, f"{pinn} − ATLAS-12", *(f"{n} − obs" for n in names)]
    return f"Equivalent widths [mA]\n\n{_table(header, body)}"


def format_sensitivity(rows: Sequence[Mapping[str, Any]]) -> str:
    """rms change of the flux for each step."""
    names = [k for k in rows[0] if k not in ("window", "feature")]
    body = [[_title(r), *(f"{r[n]:.6f}" for n in names)] for r in rows]
    table = _table(["window [A]", *names], body)
    return f"rms change of the PINN's flux for steps in its labels (vmic fixed)\n\n{table}"


def plain(value: Any) -> Any:
    """The same for JSON, which has no NaN: null, where a window has no pixel of a kind."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _by_window(rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, dict[str, Mapping[str, Any]]]]:
    for w in dict.fromkeys(tuple(r["window"]) for r in rows):
        here = {r["model"]: r for r in rows if tuple(r["window"]) == w}
        yield _title(next(iter(here.values()))), here


def _title(row: Mapping[str, Any]) -> str:
    return f"{row['window'][0]:.0f}-{row['window'][1]:.0f} {row['feature']}".strip()


def _table(header: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)

"""How good is a corrected teacher itself? The best that a network which learns from it can be expected to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..training.data import COLUMNS, TrainingSet, depth_grid, load_source
from ..training.run import ConfigError
from ..training.teacher import corrected, pairs
from ..validation.scores import summary, teff_sets

__all__ = ["format_rows", "leave_one_out"]

#: What is compared: AtmosNet and ATLAS models have no density of their own.
_COLUMNS = COLUMNS[:6]


def leave_one_out(config: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Errors of a configuration's teacher at computed models, as it is ("raw") and "corrected" by the others.

    Only computed models that have the labels of a star of the teacher (the first `match` of them) and its depths
    are compared, each with the teacher as the remaining ones correct it.

    Returns
    -------
    "raw", "corrected" -> set of Teff -> {"models": count, profile: {"median": %, "p95": %}}

    Raises
    ------
    ConfigError : no set of the configuration corrects another
    """
    sources = {s["name"]: s for s in config["data"]}
    name = next((n for n, s in sources.items() if "corrects" in s), None)
    if name is None:
        raise ConfigError(f"{config['file']}: no [[data]] table has the key 'corrects'")
    rule = sources[name]["corrects"]
    labels, grid = config["network"]["labels"], depth_grid(config)
    teacher, truth = (load_source(sources[n], labels, grid, config["seed"]) for n in (name, rule["by"]))
    found = pairs(teacher, truth, rule["match"])
    teacher, truth = _rows(teacher, [j for j, _ in found]), _rows(truth, [i for _, i in found])
    raw = teacher.y - truth.y
    better = np.empty_like(raw)
    for k in range(len(found)):
        without = replace(truth, held=np.arange(len(found)) == k)
        better[k] = corrected(teacher, without, match=rule["match"], split=rule["split"]).y[k] - truth.y[k]
    return {"raw": _summary(raw, truth), "corrected": _summary(better, truth)}


def _rows(s: TrainingSet, rows: list[int]) -> TrainingSet:
    return replace(s, **{n: getattr(s, n)[rows] for n in ("x", "y", "mask", "held", "index", "layer")})


def _summary(error: np.ndarray, truth: TrainingSet) -> dict[str, dict[str, Any]]:
    percent = 100 * np.abs(np.expm1(np.where(truth.mask, error, np.nan)))[..., 1:]
    return {
        name: {"models": int(which.sum()), **{c: summary(percent[which, j]) for j, c in enumerate(_COLUMNS)}}
        for name, which in teff_sets(truth.x[:, 0]).items()
        if which.any()
    }


def format_rows(result: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Median / 95th percentile in per cent, a row for each range of Teff, as it is and corrected."""
    lines = [f"{'teacher':>10}{'set':>12}{'models':>7} " + "".join(f"{c:>24}" for c in _COLUMNS)]
    for kind, sets in result.items():
        for name, row in sets.items():
            cells = "".join(f"{row[c]['median']:>15.3f} / {row[c]['p95']:6.2f}" for c in _COLUMNS)
            lines.append(f"{kind:>10}{name:>12}{row['models']:>7} {cells}")
    return "\n".join(lines)

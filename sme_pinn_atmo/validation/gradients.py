"""Derivatives of the network against centred differences between neighbouring computed models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..emulator import Emulator
from ..emulator.runtime import FIELDS
from ..files import replacing
from ..grids import COLUMNS, Structures

__all__ = ["PROFILES", "Neighbours", "compare", "compare_families", "continuity", "format_rows", "neighbours"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Profiles whose logarithmic derivatives are compared.
PROFILES = ("temperature", "gas_pressure", "opacity")

_STEPS = {"teff": (250.0, 500.0, 1000.0), "logg": (0.5,), "m_h": (0.5,), "alpha_m": (0.2,), "vturb": (1.0, 2.0)}
_COLUMN = [COLUMNS.index(c) for c in ("T", "P", "ABROSS")]
_FIELD = [FIELDS.index(p) for p in PROFILES]

#: A node with its two neighbours in one label: rows (lower, node, upper) and the step.
Neighbours = tuple[int, int, int, float]


def neighbours(truth: Structures, label: str, rows: Rows) -> list[Neighbours]:
    """Those of `rows` that have a model one step below and one above in `label`, all else equal."""
    names = [n for n in ("teff", "logg", "m_h", "alpha_m", "vturb") if n in truth.labels]
    keys = {tuple(np.round([truth.labels[n][i] for n in names], 3)): i for i in range(len(truth))}
    j = names.index(label)
    found = []
    for i in rows:
        at = np.round([truth.labels[n][i] for n in names], 3)
        for step in _STEPS[label]:
            low, high = at.copy(), at.copy()
            low[j], high[j] = np.round(at[j] - step, 3), np.round(at[j] + step, 3)
            if tuple(low) in keys and tuple(high) in keys:
                found.append((keys[tuple(low)], int(i), keys[tuple(high)], step))
                break
    return found


def compare(emulator: Emulator, truth: Structures, rows: Rows) -> dict[str, dict[str, Any]]:
    """Relative errors in per cent of derivatives at the nodes `rows`, by label and profile.

    "jacobian" compares the exact derivative with the centred difference of the computed models, which has an error of
    its own from the curvature between nodes; "difference" takes the same centred difference of the emulator. The error
    of a layer is relative to the derivative, or to a fifth of its rms over the layers where it is smaller than that.
    """
    out: dict[str, dict[str, Any]] = {}
    for label in emulator.domain.labels:
        if label not in truth.labels:
            continue
        found = neighbours(truth, label, rows)
        errors: dict[str, list[list[Array]]] = {k: [[] for _ in PROFILES] for k in ("jacobian", "difference")}
        used = 0
        for low, node, high, step in found:
            n = int(min(truth.n_depth[[low, node, high]]))
            tau = 10.0 ** truth.log_tau_ross[node, 1:n].astype(float)
            if np.ptp(truth.log_tau_ross[[low, node, high], 1:n], axis=0).max() > 0.01:
                continue
            if tau[-1] > emulator.tau_ross[-1] * 1.004:
                continue
            x = np.stack([[truth.labels[name][i] for name in emulator.domain.labels] for i in (low, node, high)])
            if not emulator.domain.inside(x).all():
                continue
            used += 1
            with np.errstate(divide="ignore", invalid="ignore"):
                y = np.log(truth.profiles[[low, high], 1:n][..., _COLUMN].astype(float))
            true = (y[1] - y[0]).T / (2 * step)
            with np.errstate(invalid="ignore"):
                value, jacobian = emulator.network.log_jacobian(x, tau)
            mine = {
                "jacobian": jacobian[1, _FIELD, :, emulator.domain.labels.index(label)],
                "difference": (value[2] - value[0])[_FIELD] / (2 * step),
            }
            scale = np.maximum(np.abs(true), 0.2 * np.sqrt(np.mean(true**2, axis=1, keepdims=True)))
            for kind, derivative in mine.items():
                for k in range(len(PROFILES)):
                    errors[kind][k].append(100 * np.abs(derivative[k] - true[k]) / scale[k])
        if not used:
            continue
        out[label] = {"nodes": used}
        for kind, each in errors.items():
            joined = {p: np.concatenate(e) for p, e in zip(PROFILES, each, strict=True)}
            out[label][kind] = {
                p: {"median": float(np.nanmedian(e)), "p95": float(np.nanpercentile(e, 95))} for p, e in joined.items()
            }
    if not out:
        raise ValueError(f"none of the {len(rows)} nodes has two neighbours in {truth.source}")
    return out


def compare_families(emulator: Emulator, truth: Structures, held: Rows) -> dict[str, dict[str, Any]]:
    """`compare` at held-out models; where `truth` has several families, each label by the first that varies it alone,
    ODFNEW before NOVER.

    A model counts as held out with every other family's at the same teff, logg and m_h, as training does it. Raises
    ValueError where no held-out model has two neighbours.
    """
    point = np.stack([truth.labels[n] for n in ("teff", "logg", "m_h")], 1).round(3)
    kept = {tuple(p) for p in point[held]}
    all_held = np.array([tuple(p) in kept for p in point], dtype=bool)
    family = truth.extra.get("family", np.zeros(len(truth)))
    best: dict[str, dict[str, Any]] = {}
    for name in np.unique(family[held]) if "family" not in truth.extra else ("ODFNEW", "NOVER"):
        rows = np.flatnonzero(family == name)
        if not len(rows):
            continue
        try:
            result = compare(emulator, truth.select(rows), np.flatnonzero(all_held[rows]).astype(np.int64))
        except ValueError:
            continue
        for label, row in result.items():
            best.setdefault(label, {"family": str(name), **row})
    if not best:
        raise ValueError(f"no held-out model of {truth.source} has two neighbours")
    return best


def continuity(emulator: Emulator, lines: int = 20, points: int = 2001, seed: int = 0) -> dict[str, float]:
    """Largest jump along random straight lines through the domain, of ln profiles and of their derivative along the
    line, between neighbouring points; the same for half the points. Halving the step halves what is continuous.
    """
    rng = np.random.default_rng(seed)
    ends = emulator.domain.sample(400, seed)
    jumps: dict[int, tuple[float, float]] = {}
    drawn: list[tuple[Array, Array]] = []
    while len(drawn) < lines:
        a, b = ends[rng.integers(len(ends), size=2)]
        path = a + np.linspace(0, 1, points)[:, None] * (b - a)
        if emulator.domain.inside(path).all():
            drawn.append((path, b - a))
    for stride in (1, 2):
        value_jump = slope_jump = 0.0
        for path, direction in drawn:
            value, jacobian = emulator.network.log_jacobian(path[::stride])
            slope = jacobian @ direction
            value_jump = max(value_jump, float(np.abs(np.diff(value, axis=0)).max()))
            slope_jump = max(slope_jump, float(np.abs(np.diff(slope, axis=0)).max()))
        jumps[stride] = value_jump, slope_jump
    return {"lines": lines, "points": points, "value jump": jumps[1][0], "derivative jump": jumps[1][1],
            "value jump, double step": jumps[2][0], "derivative jump, double step": jumps[2][1]}  # fmt: skip


def plot(result: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Median (bars) and 95th percentile (dots) of the errors of the derivatives."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, len(PROFILES), sharey=True)
    for axis, profile in zip(axes, PROFILES, strict=True):
        for k, kind in enumerate(("jacobian", "difference")):
            at = np.arange(len(result)) + 0.4 * k
            axis.bar(at, [r[kind][profile]["median"] for r in result.values()], 0.35, color=f"C{k}", label=kind)
            axis.plot(at, [r[kind][profile]["p95"] for r in result.values()], "o", ms=4, color=f"C{k}", mec="k")
        axis.set(yscale="log", title=f"d ln {profile.replace('_', ' ')}", xticks=np.arange(len(result)) + 0.2,
                 xticklabels=list(result))  # fmt: skip
        axis.grid(alpha=0.3, axis="y")
    axes[0].set_ylabel("error [%]")
    axes[0].legend(title="median; dots: p95", fontsize=8)
    with replacing(path) as (part,):
        figure.savefig(part, dpi=110, format="png")


def format_rows(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Median / 95th percentile in per cent, a row for each label."""
    columns = [(k, p) for k in ("jacobian", "difference") for p in PROFILES]
    lines = [f"{'label':8}{'nodes':>6}  " + "".join(f"{f'{k} {p}':>26}" for k, p in columns)]
    for label, r in result.items():
        cells = (r[k][p] for k, p in columns)
        lines.append(f"{label:8}{r['nodes']:6}  " + "".join(f"{c['median']:18.2f} / {c['p95']:5.1f}" for c in cells))
    return "\n".join(lines)

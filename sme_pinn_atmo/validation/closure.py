"""Does what the network predicts fit together? Its opacity against the tables that ATLAS9 itself interpolates, its
electron density against an equation of state, both at the predicted temperature and pressure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from ..emulator import Emulator
from ..grids import COLUMNS, Structures
from ..physics import BOLTZMANN
from .scores import predict_like
from .spectrum import Layers

__all__ = ["RosselandTable", "closure", "electron_density", "format_rows", "table_file"]

Array = NDArray[np.float64]

_VTURB = (0.0, 1.0, 2.0, 4.0, 8.0)


class RosselandTable:
    """log kappa(log T, log P) at vturb 0, 1, 2, 4, 8 km/s, a cubic spline through a table of the ODFNEW grids.

    Raises ValueError for a file that is no such table.
    """

    def __init__(self, path: Path) -> None:
        rows = []
        for i, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
            if not re.match(r"\s*\d\.\d\d[\s-]", line):
                continue
            try:
                kappa = [float(line[10 + 7 * j : 17 + 7 * j]) for j in range(5)]
                rows.append([float(line[:5]), float(line[5:10]), *kappa])
            except ValueError:
                raise ValueError(f"{path}, line {i}: log T, log P and five opacities expected") from None
        table = np.array(rows)
        t, p = (np.unique(table[:, j]) if len(table) else np.empty(0) for j in (0, 1))
        if not len(table) or len(table) != len(t) * len(p):
            raise ValueError(f"{path} is no table of Rosseland opacities: {len(table)} rows")
        order = np.lexsort((table[:, 1], table[:, 0]))
        values = table[order, 2:].reshape(len(t), len(p), 5)
        self.path = path
        self._low, self._high = (t[0], p[0]), (t[-1], p[-1])
        self._splines = [RectBivariateSpline(t, p, values[..., j]) for j in range(5)]

    def __call__(self, temperature: Array, pressure: Array, vturb: float) -> Array:
        """Opacity per gram [cm2 g-1] at temperature [K] and gas pressure [dyn cm-2]; NaN outside the table."""
        t, p = np.log10(temperature), np.log10(pressure)
        at = np.array([s.ev(t, p) for s in self._splines])
        j = int(np.clip(np.searchsorted(_VTURB, vturb, side="right") - 1, 0, 3))
        share = (vturb - _VTURB[j]) / (_VTURB[j + 1] - _VTURB[j])
        inside = (t >= self._low[0]) & (t <= self._high[0]) & (p >= self._low[1]) & (p <= self._high[1])
        return np.where(inside, 10.0 ** ((1 - share) * at[j] + share * at[j + 1]), np.nan)


def table_file(folder: Path, m_h: float, alpha_m: float) -> Path | None:
    """The table of a composition in a folder of ODFNEW tables, or None: kapm05a.ros is m_h -0.5, alpha_m 0.4."""
    alpha = {0.0: "", 0.4: "a"}.get(round(alpha_m, 2))
    path = folder / f"kap{'m' if m_h < 0 else 'p'}{abs(round(10 * m_h)):02d}{alpha}.ros"
    return path if alpha is not None and path.is_file() else None


def electron_density(layers: Layers, alpha_m: float, pattern: str) -> Array:
    """Electron density [cm-3] of PySME's equation of state (all elements to Es, molecules included) at the layers'
    temperature and density of atoms."""
    from pysme.abund import Abund
    from pysme.sme_synth import SME_DLL

    from ..composition import ALPHA_ELEMENTS
    from ..demo import line_list

    abund = Abund(monh=layers.m_h, pattern=pattern)
    # The pattern is free of monh, which PySME adds; abund[element] is not.
    solar = abund.get_pattern()
    abund.update_pattern({element: solar[element] + alpha_m for element in ALPHA_ELEMENTS})
    atmosphere: dict[str, Any] = {
        "depth": "RHOX", "RHOX": layers.rhox, "rhox": layers.rhox, "temp": layers.temperature,
        "xne": layers.electron_density, "xna": layers.atom_density, "rho": layers.density, "wlstd": 5000.0,
        "opflag": np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0]), "geom": "PP",
    }  # fmt: skip
    dll = SME_DLL()
    # The library solves the equilibrium of what its line list needs, and does nothing without one.
    dll.InputLineList(line_list())
    dll.InputModel(layers.teff, layers.logg, 1.0, atmosphere)
    dll.InputAbund(abund)
    dll.Ionization(0)
    return np.asarray(dll.GetNelec(), dtype=float)


def closure(
    emulator: Emulator, truth: Structures, tables: Path, *, pattern: str = "grevesse1998", electrons: int = 60
) -> dict[str, Mapping[str, float]]:
    """Residuals in per cent, median and 95th percentile over layers, of the emulator and of the computed models.

    Parameters
    ----------
    tables : folder of `.ros` files; models of other compositions are left out
    pattern : PySME's solar abundances for the equation of state
    electrons : at most so many models for the equation of state

    Raises ValueError where no model has a table.
    """
    predicted = predict_like(emulator, truth)
    loaded: dict[Path, RosselandTable] = {}
    out: dict[str, list[Array]] = {k: [] for k in ("opacity, PINN", "opacity, computed models", "n_e, PINN",
                                                   "n_e, computed models")}  # fmt: skip
    used = 0
    for i, n in enumerate(truth.n_depth):
        m_h, alpha_m = float(truth.labels["m_h"][i]), float(truth.labels["alpha_m"][i])
        path = table_file(tables, m_h, alpha_m)
        if path is None or not np.isfinite(predicted[i, :n, 1]).any():
            continue
        if path not in loaded:
            loaded[path] = RosselandTable(path)
        table = loaded[path]
        spread = used % max(len(truth) // max(electrons, 1), 1) == 0
        used += 1
        for name, profiles in (("PINN", predicted), ("computed models", truth.profiles)):
            p = {c: profiles[i, 1:n, j].astype(float) for j, c in enumerate(COLUMNS)}
            kappa = table(p["T"], p["P"], float(truth.labels["vturb"][i]))
            out[f"opacity, {name}"].append(p["ABROSS"] / kappa - 1)
            if spread:
                atoms = p["P"] / (BOLTZMANN * p["T"]) - p["XNE"]
                layers = Layers(
                    float(truth.labels["teff"][i]), float(truth.labels["logg"][i]), m_h, p["RHOX"],
                    10.0 ** truth.log_tau_ross[i, 1:n].astype(float), p["T"], p["XNE"], atoms, atoms * 2.1e-24,
                )  # fmt: skip
                out[f"n_e, {name}"].append(p["XNE"] / electron_density(layers, alpha_m, pattern) - 1)
    if not used:
        raise ValueError(f"no model of {truth.source} has a table of its composition in {tables}")
    result: dict[str, Mapping[str, float]] = {}
    for name, parts in out.items():
        r = 100 * np.abs(np.concatenate(parts))
        result[name] = {"models": len(parts), "median": float(np.nanmedian(r)), "p95": float(np.nanpercentile(r, 95))}
    return result


def format_rows(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The residuals as a table for people."""
    lines = [f"{'':28}{'models':>7} {'median':>8} {'p95':>8}  [%]"]
    return "\n".join(lines + [f"{k:28}{v['models']:7.0f} {v['median']:8.3f} {v['p95']:8.2f}" for k, v in rows.items()])

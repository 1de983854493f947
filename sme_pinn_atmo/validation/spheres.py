"""Spheres in PySME: where they make no difference, where they make the published one, and computed MARCS spheres.

- A dwarf: sphere and plane of the same star give the same spectrum.
- A giant of 4200 K and log g 0.5: what the geometry does to abundances from equivalent widths of iron lines, as Heiter
  & Eriksson (2006, A&A 452, 1039) define and publish it: p_p (plane structure, plane transfer) and s_p (spherical
  structure, plane transfer) against s_s.
- Spheres that MARCS computed, against those of the network at the same labels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..demo import line_list
from ..emulator import Emulator
from ..grids import Structures
from .scores import heldout_rows
from .spectrum import Layers, layers_of, synthesise

__all__ = ["PUBLISHED", "Check", "computed_spheres", "dwarf", "format_checks", "giant", "run", "seam"]

Array = NDArray[np.float64]

#: Where the packaged lines are [A].
WINDOW = (6134.0, 6179.0)

#: Abundance differences [dex] that Heiter & Eriksson (2006, abstract) find for Teff 4000 to 6500 K and log g 0.5 to 3:
#: p_p up to +0.35 for minority and down to -0.04 for majority species; s_p down to -0.1 at worst.
PUBLISHED = {"p_p": (-0.04, 0.35), "s_p": (-0.10, 0.0)}

#: By how much a difference may leave the published range: their lines are not these.
_ALLOWANCE = 0.01

#: Half the width over which a line is integrated [A], and how far away the next one must be.
_HALF, _APART = 0.4, 0.9

_PATTERN = "grevesse2007"


@dataclass(frozen=True)
class Check:
    """One figure: what it is, its value, what is allowed (low, high)."""

    name: str
    value: float
    allowed: tuple[float, float]

    @property
    def passed(self) -> bool:
        """Whether the value lies in the allowed range."""
        return bool(self.allowed[0] <= self.value <= self.allowed[1])


def _layers(emulator: Emulator, geometry: str, **labels: Any) -> Layers:
    return layers_of(emulator.predict(geometry=geometry, **labels))


def dwarf(emulator: Emulator, cache: Path | None = None) -> list[Check]:
    """Largest difference of normalised flux between the Sun as a sphere and as a plane; and what the transfer alone
    makes, along rays through shells in place of plane layers of the same structure: a figure to know, not a test."""
    sun = {"teff": 5777.0, "logg": 4.44, "vturb": 1.0}
    sphere, plane = (_layers(emulator, g, **sun) for g in ("sphere", "plane"))
    seen, flat, transfer = (
        synthesise(v, line_list(), WINDOW, vmic=1.0, pattern=_PATTERN, cache=cache)[1]
        for v in (sphere, plane, replace(sphere, radius=np.inf, height=None))
    )
    return [
        Check("dwarf 5777/4.44: largest difference of flux", float(np.abs(seen - flat).max()), (0.0, 1e-4)),
        Check("dwarf 5777/4.44: the transfer alone", float(np.abs(seen - transfer).max()), (0.0, np.inf)),
    ]


def seam(emulator: Emulator, teff: float = 4800.0, cache: Path | None = None) -> list[Check]:
    """What a fit goes over at log g 3: difference of sphere and plane there. A figure to know, not a test."""
    star = {"teff": teff, "logg": 3.0, "vturb": 1.5}
    sphere, plane = (_layers(emulator, g, **star) for g in ("sphere", "plane"))
    flux = [synthesise(v, line_list(), WINDOW, vmic=1.5, pattern=_PATTERN, cache=cache)[1] for v in (sphere, plane)]
    temperature = float(np.abs(sphere.temperature / plane.temperature - 1).max())
    anything = (0.0, np.inf)
    return [
        Check(f"seam {teff:g}/3.0: largest difference of flux", float(np.abs(flux[0] - flux[1]).max()), anything),
        Check(f"seam {teff:g}/3.0: largest relative difference of temperature", temperature, anything),
    ]


def giant(
    emulator: Emulator, teff: float = 4200.0, logg: float = 0.5, vmic: float = 2.0, cache: Path | None = None
) -> list[Check]:
    """Abundance differences [dex] of Fe I and Fe II lines, p_p and s_p against s_s: largest and smallest."""
    star = {"teff": teff, "logg": logg, "vturb": vmic}
    sphere, plane = (_layers(emulator, g, **star) for g in ("sphere", "plane"))
    cases = {"s_s": sphere, "s_p": replace(sphere, radius=np.inf, height=None), "p_p": plane}
    lines = line_list()
    iron = lines[np.char.startswith(np.asarray(lines["species"], dtype=str), "Fe ")]
    stronger = copy.deepcopy(iron)
    stronger._lines["gflog"] += 0.1
    chosen = _isolated(np.asarray(iron["wlcent"], dtype=float))

    def widths(layers: Layers, of: Any) -> Array:
        wave, flux = synthesise(layers, of, WINDOW, vmic=vmic, pattern=_PATTERN, cache=cache)
        centre = np.asarray(of["wlcent"], dtype=float)[chosen]
        return np.array([np.trapezoid(1 - flux[near], wave[near]) for near in np.abs(wave - centre[:, None]) < _HALF])

    reference = widths(cases["s_s"], iron)
    species = np.asarray(iron["species"], dtype=str)[chosen]
    checks = []
    for case in ("p_p", "s_p"):
        own = widths(cases[case], iron)
        off = 0.1 * (reference - own) / (widths(cases[case], stronger) - own)
        allowed = (PUBLISHED[case][0] - _ALLOWANCE, PUBLISHED[case][1] + _ALLOWANCE)
        for name in np.unique(species):
            for what, of in (("least", np.min), ("most", np.max)):
                title = f"giant {teff:g}/{logg:g}: {case} - s_s, {name}, {what} [dex]"
                checks.append(Check(title, float(of(off[species == name])), allowed))
    largest = max(abs(c.value) for c in checks)
    return [*checks, Check(f"giant {teff:g}/{logg:g}: largest effect of the geometry [dex]", largest, (0.01, 0.35))]


def _isolated(centre: Array) -> NDArray[np.int_]:
    """Lines with no other line of iron near, inside the window."""
    away = np.abs(centre[:, None] - centre)
    np.fill_diagonal(away, np.inf)
    inside = (centre > WINDOW[0] + _HALF) & (centre < WINDOW[1] - _HALF)
    return np.flatnonzero(inside & (away.min(axis=1) > _APART))


def computed_spheres(
    emulator: Emulator, models: Structures, n: int = 6, seed: int = 1, cache: Path | None = None
) -> list[Check]:
    """Rms difference of normalised flux between spheres of MARCS and of the network at their labels.

    Of `models` (the set `marcs`), n spherical ones drawn at random that the model's card records as held out; of all in
    its domain where it records none.
    """
    rows = heldout_rows(emulator, Path(models.source).name)
    kept = np.zeros(len(models), bool)
    kept[rows if len(rows) else slice(None)] = True
    names = [name for name in emulator.domain.labels if name != "mass"]
    x = np.column_stack([models.labels[name] for name in names] + [models.extra["mass"]])
    order = [[*names, "mass"].index(name) for name in emulator.domain.labels]
    kept &= (models.extra["geometry"] == "s") & (np.abs(models.extra["c_fe"]) < 0.01)
    kept &= emulator.domain.inside(x[:, order]) & (models.labels["vturb"] > 0)
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(kept))[:n]
    origin = "held out" if len(rows) else "trained on"
    checks = []
    for k in chosen:
        labels: dict[str, Any] = {name: float(models.labels[name][k]) for name in names}
        labels["mass"] = float(models.extra["mass"][k])
        computed = layers_of(models, int(k))
        own = layers_of(emulator.predict(geometry="sphere", **labels, tau_ross=computed.tau_ross))
        vmic = labels["vturb"]
        flux = [
            synthesise(v, line_list(), WINDOW, vmic=vmic, pattern=_PATTERN, cache=cache)[1] for v in (computed, own)
        ]
        star = "/".join(f"{labels[name]:g}" for name in ("teff", "logg", "m_h", "alpha_m", "vturb", "mass"))
        checks.append(Check(f"MARCS sphere {star} ({origin}): rms difference of flux",
                            float(np.sqrt(np.mean((flux[0] - flux[1]) ** 2))), (0.0, 1e-3)))  # fmt: skip
    return checks


def run(model: str, models: Structures | None, cache: Path | None = None, n: int = 6) -> list[Check]:
    """All checks; those against computed spheres where `models` are given.

    Raises ValueError for a model that knows plane-parallel layers only.
    """
    emulator = Emulator.load(model)
    if not emulator.network.has_mass:
        raise ValueError(f"{emulator.name} knows plane-parallel layers only: it has no mass")
    checks = [*dwarf(emulator, cache), *seam(emulator, cache=cache), *giant(emulator, cache=cache)]
    return checks if models is None else [*checks, *computed_spheres(emulator, models, n, cache=cache)]


def format_checks(checks: Sequence[Check]) -> str:
    """A line for each: value, what is allowed, and whether it is."""
    width = max(len(c.name) for c in checks)
    rows = []
    for c in checks:
        free = np.isinf(c.allowed[1])
        allowed = "" if free else f"  allowed {c.allowed[0]:g} to {c.allowed[1]:g}  {'' if c.passed else 'MISSED'}"
        rows.append(f"{c.name:<{width}}  {c.value:+.3g}{allowed}".rstrip())
    return "\n".join(rows)

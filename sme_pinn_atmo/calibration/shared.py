"""What stars share: which data of which lines are free, how well they are known before, and how far a line reaches."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ..stars.corrections import KINDS, moved

__all__ = ["CODES", "KINDS", "LineOptions", "Shared", "changed_lines", "colours", "moved", "prior_errors",
           "shared_parameters"]  # fmt: skip

Array = NDArray[np.float64]

_C = constants.c / 1e3  # km/s

#: Codes that a calibration goes through.
CODES = ("pysme", "korg")

#: Differences for derivatives: dex, dex, mA.
STEPS = {"gflog": 0.05, "gamvw": 0.05, "wlcent": 2.0}

#: Components of one transition (hyperfine structure, isotopes): from one level [eV], no gap wider than this [A].
_LEVEL, _GAP = 0.0015, 0.15

#: Half the reach of a weak line [km/s], and of a line with damping wings per root of its depth in the weak limit.
_CORE, _WING, _FARTHEST = 6.0, 5.5, 250.0

#: Half the reach of a Balmer line [A].
_BALMER = 60.0

_ATOM = re.compile(r"[A-Z][a-z]? \d+$")


@dataclass(frozen=True)
class LineOptions:
    """What of the lines is calibrated, and how.

    prior : standard deviation of log gf [dex] where nothing else says
    priors : others, by what stands in a line's reference (VALD's codes, such as "gf:K14") or by its species
    waals, waals_prior : free the van der Waals width of lines as strong as `waals` (depth in the limit of weakness; 0
        for none), with that prior [dex]; `abo_prior` for widths of Anstee, Barklem & O'Mara
    wavelength : prior of shifts of wavelengths [mA]; 0 leaves them
    hydrogen : prior of the strength of Balmer lines [dex]; 0 leaves it. Their log gf are exact: a change is of what 1D
        LTE gets wrong about their wings (Barklem 2007, Amarsi et al. 2018)
    shallowest : depth in the limit of weakness, in the star that shows a line best, of the weakest line that is free
    student : degrees of freedom of Student's t for residuals; 0 for normal ones
    iterations : at most so many
    unconstrained : lines whose error stays above this fraction of the prior keep their values
    largest : step of one iteration [dex]
    code : "pysme", or "korg", whose derivatives by log gf are exact; it has none by widths, wavelengths or hydrogen
    """

    prior: float = 0.25
    priors: Mapping[str, float] = field(default_factory=dict)
    waals: float = 0.0
    waals_prior: float = 0.15
    abo_prior: float = 0.04
    wavelength: float = 0.0
    hydrogen: float = 0.0
    shallowest: float = 0.01
    student: float = 4.0
    iterations: int = 5
    unconstrained: float = 0.9
    largest: float = 0.5
    code: str = "pysme"

    def __post_init__(self) -> None:
        positive = {"prior": self.prior, "waals_prior": self.waals_prior, "abo_prior": self.abo_prior,
                    "shallowest": self.shallowest, "largest": self.largest,
                    **{f"prior of {n}": s for n, s in self.priors.items()}}  # fmt: skip
        for name, value in positive.items():
            if not 0 < value < np.inf:
                raise ValueError(f"{name} = {value:g}; allowed: above 0")
        for name in ("waals", "wavelength", "hydrogen", "student"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} = {getattr(self, name):g}; allowed: 0 or more")
        if self.code not in CODES:
            raise ValueError(f"code = {self.code!r}; allowed: {', '.join(CODES)}")
        for name in ("waals", "wavelength", "hydrogen"):
            if self.code == "korg" and getattr(self, name):
                raise ValueError(f"{name} = {getattr(self, name):g} with code = 'korg', which calibrates log gf alone; "
                                 "allowed: 0")  # fmt: skip
        if not 0 < self.unconstrained <= 1:
            raise ValueError(f"unconstrained = {self.unconstrained:g}; allowed: above 0, at most 1")
        if not 1 <= self.iterations <= 50:
            raise ValueError(f"iterations = {self.iterations}; allowed: 1 to 50")


@dataclass(frozen=True, eq=False)
class Shared:
    """The shared parameters, in order of kind and wavelength; each is of one transition with all its components.

    kind : (n,) of `KINDS`
    members : lines of the list, by number, that a parameter changes together
    species, wavelength, excitation : (n,) of the strongest component [A in air, eV]
    depth : (n,) in the limit of weakness, in the star that shows it best
    prior : (n,) standard deviation of the change from the list's value [dex or mA]
    start, stop : (n,) wavelengths [A] between which a change is seen, before rotation and instrument
    """

    kind: NDArray[np.str_]
    members: tuple[NDArray[np.int64], ...]
    species: NDArray[np.str_]
    wavelength: Array
    excitation: Array
    depth: Array
    prior: Array
    start: Array
    stop: Array

    def __len__(self) -> int:
        return len(self.members)

    def where(self, keep: NDArray[np.bool_]) -> Shared:
        """Some of them."""
        rest = {n: getattr(self, n)[keep] for n in self.__dataclass_fields__ if n != "members"}
        return replace(self, members=tuple(m for m, k in zip(self.members, keep, strict=True) if k), **rest)


def prior_errors(lines: Any, options: LineOptions) -> Array:
    """(n_line,) standard deviations of log gf [dex] before any star is seen.

    A line's own error, where the list has any (VALD's long format: relative; PySME gives 0.5 or 1 where there is none),
    comes before `options.priors`, which are searched for in its reference and species; then comes `options.prior`.
    """
    species, reference = (np.asarray(lines[c], dtype=str) for c in ("species", "reference"))
    found = np.full(len(species), options.prior)
    for name, sigma in options.priors.items():
        found[(species == name) | (np.char.find(reference, name) >= 0)] = sigma
    if "error" in lines.columns:
        relative = np.asarray(lines["error"], dtype=float)
        known = np.isfinite(relative) & (relative > 0) & (relative < 1) & (relative != 0.5)
        found[known] = np.clip(np.log10(1 + relative[known]), 0.01, None)
    return found


def transitions(lines: Any, free: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Numbers of the lines of each transition among those that are `free` (n_line,)."""
    centre, excitation = (np.asarray(lines[c], dtype=float) for c in ("wlcent", "excit"))
    species = np.asarray(lines["species"], dtype=str)
    index = np.flatnonzero(free)
    level = np.round(excitation[index] / _LEVEL).astype(int)
    order = np.lexsort((centre[index], level, species[index]))
    index, level = index[order], level[order]
    if not len(index):
        return []
    new = (species[index][1:] != species[index][:-1]) | (level[1:] != level[:-1]) | (np.diff(centre[index]) > _GAP)
    return [np.sort(part) for part in np.split(index, np.flatnonzero(new) + 1)]


def shared_parameters(
    lines: Any, depth: Array, windows: Sequence[tuple[float, float]], options: LineOptions
) -> Shared:
    """The free parameters of a list.

    Free are lines of atoms and ions inside the windows. Molecules keep their values: their strengths go with carbon,
    nitrogen and oxygen, which differ from star to star; hydrogen keeps its own unless `options.hydrogen` says so.

    Parameters
    ----------
    lines : a PySME `LineList`, sorted
    depth : (n_line,) in the limit of weakness, in the star that shows each line best
    """
    centre, excitation, width = (np.asarray(lines[c], dtype=float) for c in ("wlcent", "excit", "gamvw"))
    species = np.asarray(lines["species"], dtype=str)
    names, of = np.unique(species, return_inverse=True)
    atom = np.array([bool(_ATOM.match(n)) and (n != "H 1" or options.hydrogen > 0) for n in names])[of]
    inside = np.zeros(len(centre), dtype=bool)
    for low, high in windows:
        inside |= (centre > low) & (centre < high)
    sigma = prior_errors(lines, options)
    rows: list[tuple[Any, ...]] = []
    for group in transitions(lines, atom & inside):
        total = float(depth[group].sum())
        if total < options.shallowest:
            continue
        main = group[int(np.argmax(depth[group]))]
        if species[main] == "H 1":
            at = centre[main]
            rows.append(("gflog", group, "H 1", at, excitation[main], total, options.hydrogen, at - _BALMER,
                         at + _BALMER))  # fmt: skip
            continue
        reach = min(max(_CORE, _WING * total**0.5), _FARTHEST) / _C * centre[main]
        ends = centre[group[0]] - reach, centre[group[-1]] + reach
        head = (species[main], centre[main], excitation[main], total)
        rows.append(("gflog", group, *head, sigma[main], *ends))
        if options.waals and total >= options.waals and width[main] != 0:
            rows.append(("gamvw", group, *head, options.abo_prior if width[main] > 0 else options.waals_prior, *ends))
        if options.wavelength:
            rows.append(("wlcent", group, *head, options.wavelength, *ends))
    rows.sort(key=lambda r: (list(KINDS).index(r[0]), r[3]))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 9
    kind, members, names_, *numbers = columns
    return Shared(np.array(kind, dtype="U6"), tuple(members), np.array(names_, dtype="U12"),
                  *(np.array(n, dtype=float) for n in numbers))  # fmt: skip


def colours(start: Array, stop: Array) -> NDArray[np.int64]:
    """(n,) a colour for each interval, so that intervals of one colour do not overlap; as few colours as there can be.

    Intervals are taken in the order of their starts, each gets a colour that is free, and a new one where none is:
    then there are as many colours as intervals overlap at the most crowded point, and fewer cannot do.
    """
    found = np.zeros(len(start), dtype=int)
    busy: list[tuple[float, int]] = []  # where a colour gets free
    for i in np.argsort(start, kind="stable"):
        if busy and busy[0][0] <= start[i]:
            _, colour = heapq.heappop(busy)
        else:
            colour = len(busy)
        found[i] = colour
        heapq.heappush(busy, (float(stop[i]), colour))
    return found


def changed_lines(lines: Any, shared: Shared, change: Array) -> Any:
    """The list with `change` (n,) of the shared parameters [dex or mA]; the list that is given stays as it is."""
    from copy import copy

    table = lines._lines.copy()
    for column in KINDS:
        of = np.flatnonzero((shared.kind == column) & (change != 0))
        if not len(of):
            continue
        values = table[column].to_numpy(dtype=float).copy()
        for j in of:
            values[shared.members[j]] = moved(column, values[shared.members[j]], float(change[j]))
        # PySME wants lists in order: lines that would change places, a few mA apart, come to lie at one wavelength.
        table[column] = np.maximum.accumulate(values) if column == "wlcent" else values
    changed = copy(lines)
    changed._lines = table
    return changed

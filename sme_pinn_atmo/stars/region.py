"""Where a star's free parameters may lie: the limits of each, and of the model's domain, which tie them to each other.

A model's domain is one of labels of an atmosphere (m_h on the model's solar scale, alpha_m over the electron donors),
and has strips in which the range of one label goes with another: log g with Teff, alpha_m with m_h. A fit moves
parameters of a star, some of which are fixed. Here is what brings the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import parameters as par
from .parameters import Parameters

__all__ = ["Region"]

Array = NDArray[np.float64]

#: Parameters that move a label of the atmosphere; the first of these that is free does, or all elements together.
_MOVED_BY = {
    "teff": ("teff",), "logg": ("logg",), "vturb": ("vmic",), "m_h": ("monh", "Fe"),
    "alpha_m": ("alpha", "Mg", "Si", "Ca", "Ti"),
}  # fmt: skip

#: Labels in the order in which they are moved into the domain: strips of a label go along those before it.
_ORDER = ("m_h", "teff", "vturb", "logg", "alpha_m")

#: Edges that are rounded lie outside.
_ROUNDING = 1e-9


class Region:
    """The region that free parameters may lie in, for an atmosphere source.

    Parameters
    ----------
    source : a `PinnAtmosphereGrid`, or a grid that PySME interpolates in, of which only the box is known
    parameters : what is free, and what is not
    pattern : solar abundances of the star, see `synthesis.star_structure`
    """

    def __init__(self, source: Any, parameters: Parameters, pattern: str) -> None:
        self.source, self.parameters, self.pattern = source, parameters, pattern
        emulator = getattr(source, "emulator", None)
        self.domain: Any = None if emulator is None else emulator.domain
        self._moves: dict[str, dict[str, float]] = {}
        for label in _ORDER if self.domain is not None else ():
            slopes = self._slopes(label)
            if slopes:
                self._moves[label] = slopes

    def _slopes(self, label: str) -> dict[str, float]:
        """d label / d parameter of the free parameters that move this label: of the one of its own, or else of all."""
        start = self.parameters.initial()
        j = self.domain.labels.index(label) if label in self.domain.labels else None
        own = [n for n in _MOVED_BY[label] if n in self.parameters.free]
        if j is None or not own:
            return {}
        if own[0] in par.STELLAR:
            own = own[:1]
        at = self._labels(start, snap=False)
        found = {n: float((self._labels({**start, n: start[n] + 0.1}, snap=False) - at)[j] / 0.1) for n in own}
        return {n: d for n, d in found.items() if abs(d) > 1e-6}

    def _labels(self, values: Mapping[str, float], *, snap: bool = True) -> Array:
        """(n_label,) of the atmosphere of a star whose free parameters are `values`."""
        from ..codes.pysme import star_labels
        from .synthesis import star_structure

        sme = star_structure(self.source, None, self.parameters.full(values), pattern=self.pattern)
        return np.asarray(self.domain.stack(star_labels(sme, self.source, snap=snap)))

    def _seen_by(self, label: str, values: Mapping[str, float]) -> tuple[Array, int]:
        """Labels (n_label,) that say where `label` may move, and its place: the others where the model takes them (an
        alpha_m that solar scales put just outside is at the edge), this one as it follows its parameters."""
        x, j = self._labels(values), self.domain.labels.index(label)
        x[j] = self._labels(values, snap=False)[j]
        return x, j

    def contains(self, values: Mapping[str, float]) -> bool:
        """Whether these values of the free parameters lie inside."""
        if any(not low <= values[n] <= high for n, (low, high) in ((n, self._box(n)) for n in values)):
            return False
        return self.domain is None or bool(self.domain.inside(self._labels(values)))

    def _box(self, name: str) -> tuple[float, float]:
        """Limits of a parameter that have nothing to do with the domain of a network."""
        if self.domain is not None and any(name in moved for moved in self._moves.values()):
            return -np.inf, np.inf
        return par.limits(name, self.source, 5000.0)

    def limits(self, name: str, values: Mapping[str, float]) -> tuple[float, float]:
        """Lowest and highest value of a free parameter where the others have `values`, but for those whose range goes
        with this one, which are taken to follow it."""
        for label, slopes in self._moves.items():
            if name in slopes:
                x, j = self._seen_by(label, values)
                low, high = self.domain.range(label, x, self._moves)
                ends = sorted(float(values[name] + (end - x[j]) / slopes[name]) for end in (low, high))
                return ends[0], ends[1]
        return self._box(name)

    def inside(self, values: Mapping[str, float]) -> dict[str, float]:
        """Values moved to the nearest that are allowed, one label after the other.

        The same values where they are inside, or where nothing that is free can bring them there.
        """
        moved = {n: float(np.clip(v, *self._box(n))) for n, v in values.items()}
        for following in (tuple(self._moves), (), (), ()):
            if self.contains(moved):
                return moved
            for label, slopes in self._moves.items():
                x, j = self._seen_by(label, moved)
                low, high = self.domain.range(label, x, following)
                if low <= high and not low <= x[j] <= high:
                    rounding = min(_ROUNDING, 0.5 * (high - low))
                    by = float(np.clip(x[j], low + rounding, high - rounding) - x[j])
                    norm = sum(d**2 for d in slopes.values())
                    moved |= {n: moved[n] + by * d / norm for n, d in slopes.items()}
        return moved if self.contains(moved) else dict(values)

    def step(self, old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
        """Where a step from `old`, which is inside, to `new` ends: at `new` moved inside, or on the way there."""
        for part in 0.5 ** np.arange(8):
            moved = self.inside(new if part == 1 else {n: v + float(part) * (new[n] - v) for n, v in old.items()})
            if self.contains(moved):
                return moved
        return dict(old)

    def at_limit(self, name: str, values: Mapping[str, float]) -> tuple[str, float] | None:
        """Which limit a parameter is at, "lower" or "upper", and its value; None where it is at none."""
        low, high = self.limits(name, values)
        if values[name] - low <= par.near(name):
            return "lower", low
        return ("upper", high) if high - values[name] <= par.near(name) else None

    def slide(self, name: str, values: Mapping[str, float]) -> dict[str, float]:
        """d limit / d other parameter, of the limit that a parameter is at; what is not there is 0."""
        which, found = self.at_limit(name, values), {}
        if which is None:
            return {}
        for other in values:
            if other != name:
                size = 0.5 * par.step(other, values[other])
                ends = [self.limits(name, {**values, other: values[other] + by})[which[0] == "upper"]
                        for by in (-size, size)]  # fmt: skip
                slope = (ends[1] - ends[0]) / (2 * size)
                if np.isfinite(slope) and abs(slope) > 1e-9:
                    found[other] = float(slope)
        return found

    def differences(self, values: Mapping[str, float]) -> dict[str, float]:
        """Step of each free parameter for a difference that stays inside; 0 where there is no room for any."""
        found = {}
        for name, value in values.items():
            size = par.step(name, value)
            steps = (size, -size, 0.5 * size, -0.5 * size, 0.1 * size, -0.1 * size)
            found[name] = next((d for d in steps if self.contains({**values, name: value + d})), 0.0)
        return found

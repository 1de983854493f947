"""Stellar labels and the domain of a model: the one place where input is checked.

In: what a user wrote, numbers or quantities, scalars or arrays (teff [K], logg [dex, cgs], m_h and alpha_m [dex],
vturb [km/s], mass [Msun]). Out: float64 arrays (..., n_label) in the order of a domain's labels, or `DomainError`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LABEL_UNITS", "SPHERE_LOGG", "Domain", "DomainError", "Strip", "as_planes"]

#: Labels with a unit of their own; every other label is in dex.
LABEL_UNITS = {"teff": "K", "vturb": "km / s", "mass": "solMass"}


class DomainError(ValueError):
    """A label lies outside the domain of the model (or is not finite)."""


#: Log g up to which a star with a mass is a sphere unless a plane is asked for, as MARCS computes it (Gustafsson et al.
#: 2008, A&A 486, 951, Sect. 5).
SPHERE_LOGG = 3.0


@dataclass(frozen=True)
class Strip:
    """Where training models lie in the plane of two labels: lowest and highest `label` at knots in `along`, linear
    between knots."""

    label: str
    along: str
    knots: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def range(self, along: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest value at values of the other label."""
        knots, low, high = self._arrays
        return np.interp(along, knots, low), np.interp(along, knots, high)

    def reach(self, value: float) -> list[tuple[float, float]]:
        """Ranges of the other label, sorted, in which `value` of this one lies in the strip; endless where it does at
        the first or the last knot."""
        knots, low, high = self._arrays
        above, below = _not_negative(knots, value - low + 1e-9), _not_negative(knots, high - value + 1e-9)
        return _common(above, below)

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], ...]:
        """As arrays: to make them of the tuples takes longer than to compare."""
        return tuple(np.array(r, dtype=float) for r in (self.knots, self.low, self.high))

    @classmethod
    def from_training(cls, label: str, along: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> Strip:
        """Of training models with values x of `along` and y of `label`, (n,).

        It is read at every x that the models have. Models scattered in x, rather than on a grid of it, are gathered
        into groups of some tens first. Where the range narrows from one x to the next, the line between the two
        knots is the boundary.
        """
        ends = (x.min(), x.max())
        if len(np.unique(x)) > len(x) / 3:
            edges = np.unique(np.quantile(x, np.linspace(0, 1, max(len(x) // 30, 1) + 1)))
            centres = 0.5 * (edges[1:] + edges[:-1])
            # The outermost groups speak for the ends of the range.
            centres[0], centres[-1] = ends
            x = centres[np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(centres) - 1)]
        # Stars off the grid (a Sun, say) do not define a range.
        knots = [v for v in np.unique(x) if len(np.unique(y[x == v])) > 1 or v in ends]
        rows = [y[x == v] for v in knots]
        return cls(label, along, tuple(map(float, knots)), tuple(float(r.min()) for r in rows),
                   tuple(float(r.max()) for r in rows))  # fmt: skip


@dataclass(frozen=True)
class Domain:
    """Where a model may be used: a box, and strips of it that its training models occupy.

    Attributes
    ----------
    labels : names of the labels, in the order of the network's input
    lower, upper : bounds of each label, (n_label,)
    defaults : values of labels that a caller may leave out
    strips : narrower bounds of a label that depend on another: of log g on Teff (the Kiel diagram), of alpha_m on m_h
    """

    labels: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    defaults: Mapping[str, float]
    strips: tuple[Strip, ...] = ()

    # ------------------------------------------------------------------ reading what the user wrote

    def stack(self, values: Mapping[str, Any]) -> NDArray[np.float64]:
        """Labels as one array, (..., n_label), broadcast together; their kind is checked, their range is not.

        Raises
        ------
        TypeError : a label that the model does not have, one that is missing, or one that is not a real number
        ValueError : shapes that do not broadcast, or a quantity with a wrong unit
        """
        unknown = [name for name in values if name not in self.labels]
        if unknown:
            raise TypeError(f"unknown label {unknown[0]!r}; this model has {', '.join(self.labels)}")
        columns = []
        for name in self.labels:
            value = values.get(name)
            if value is None:
                value = self.defaults.get(name)
            if value is None:
                raise TypeError(f"label {name!r} is missing; this model needs {', '.join(self.labels)}")
            columns.append(value if type(value) is float else _as_real(name, value))
        try:
            return np.stack(np.broadcast_arrays(*columns), axis=-1) if any(
                isinstance(c, np.ndarray) and c.ndim for c in columns
            ) else np.array(columns, dtype=float)
        except ValueError:
            shapes = ", ".join(f"{n} {np.shape(c)}" for n, c in zip(self.labels, columns, strict=True))
            raise ValueError(f"labels do not broadcast together: {shapes}") from None

    # ------------------------------------------------------------------ inside or outside

    def logg_range(self, teff: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest log g that the training models have at this Teff [K]."""
        teff = np.asarray(teff, dtype=float)
        for strip in self.strips:
            if (strip.label, strip.along) == ("logg", "teff"):
                return strip.range(teff)
        j = self.labels.index("logg")
        return np.full(teff.shape, self.lower[j]), np.full(teff.shape, self.upper[j])

    @cached_property
    def _box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.lower, dtype=float), np.array(self.upper, dtype=float)

    @cached_property
    def _columns(self) -> tuple[tuple[Strip, int, int], ...]:
        """Each strip with the columns of its two labels."""
        return tuple((s, self.labels.index(s.label), self.labels.index(s.along)) for s in self.strips)

    def inside(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which stacked labels (..., n_label) lie inside; NaN counts as outside."""
        lower, upper = self._box
        ok = ((x >= lower) & (x <= upper)).all(axis=-1)
        for strip, i, j in self._columns:
            low, high = strip.range(x[..., j])
            ok &= (x[..., i] >= low - 1e-9) & (x[..., i] <= high + 1e-9)
        return np.asarray(ok)

    def range(
        self, label: str, x: NDArray[np.float64], following: Collection[str] = ()
    ) -> tuple[float, float]:
        """Lowest and highest value of a label where the others are as in x, (n_label,).

        Where the domain has gaps, of the piece nearest to the label's own value in x. NaN where nothing is
        allowed.

        following : labels that are moved along with this one, so that their strips do not hold it
        """
        k = self.labels.index(label)
        pieces = [(self.lower[k], self.upper[k])]
        for strip, i, j in self._columns:
            if i == k:
                low, high = strip.range(x[j])
                pieces = _common(pieces, [(float(low), float(high))])
            elif j == k and strip.label not in following:
                pieces = _common(pieces, strip.reach(float(x[i])))
        if not pieces:
            return np.nan, np.nan
        return min(pieces, key=lambda p: max(p[0] - x[k], x[k] - p[1], 0.0))

    def contains(self, **labels: Any) -> NDArray[np.bool_]:
        """True where the labels (scalars or arrays that broadcast) lie inside the domain."""
        return self.inside(self.stack(labels))

    def sample(self, n: int, seed: int) -> NDArray[np.float64]:
        """Random labels (n, n_label) that fill the domain evenly."""
        rng = np.random.default_rng(seed)
        x = np.empty((0, len(self.labels)))
        while len(x) < n:
            more = rng.uniform(self.lower, self.upper, (2 * n, len(self.labels)))
            x = np.concatenate([x, more[self.inside(more)]])
        return x[:n]

    def nearest(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The labels moved into the domain: into the box first, then into each strip. NaN stays."""
        y = np.clip(x, self.lower, self.upper)
        for strip, i, j in self._columns:
            y[..., i] = np.clip(y[..., i], *strip.range(y[..., j]))
        return y

    def check(self, x: NDArray[np.float64]) -> None:
        """Raise `DomainError` naming the first label outside, its value, by how much, and what is allowed."""
        inside = self.inside(x)
        if inside.all():
            return
        bad = x.reshape(-1, x.shape[-1])[int(np.argmin(inside.reshape(-1)))]
        where = "" if x.ndim == 1 else f" (star {int(np.argmin(inside.reshape(-1)))} of {inside.size})"
        for name, value, low, high in zip(self.labels, bad, self.lower, self.upper, strict=True):
            unit = LABEL_UNITS.get(name, "dex")
            if not np.isfinite(value):
                raise DomainError(f"{name} = {value} is not finite{where}; allowed: {low:g} to {high:g} {unit}")
            if not low <= value <= high:
                edge = low if value < low else high
                raise DomainError(
                    f"{name} = {value:g} {unit} is outside the model's range {low:g} to {high:g} {unit} "
                    f"by {abs(value - edge):g}{where}; nearest allowed value: {edge:g}"
                )
        for strip, i, j in self._columns:
            low_s, high_s = (float(v) for v in strip.range(bad[j]))
            if not low_s - 1e-9 <= bad[i] <= high_s + 1e-9:
                edge = low_s if bad[i] < low_s else high_s
                unit, other = (LABEL_UNITS.get(n, "dex") for n in (strip.label, strip.along))
                raise DomainError(
                    f"{strip.label} = {bad[i]:g} {unit} is outside the range {low_s:.4g} to {high_s:.4g} that training "
                    f"models have at {strip.along} = {bad[j]:g} {other} by {abs(bad[i] - edge):.3g}{where}; nearest "
                    f"allowed value: {strip.label} = {edge:.4g}"
                )

    def resolve(self, values: Mapping[str, Any], on_outside: str = "raise") -> NDArray[np.float64]:
        """Stack and check the labels: what every prediction starts with.

        `on_outside` is "raise" (`DomainError`), "clip" (the nearest allowed labels) or "nan" (NaN labels,
        which become NaN profiles).
        """
        x = self.stack(values)
        if on_outside == "raise":
            self.check(x)
        elif on_outside == "clip":
            x = self.nearest(x)
            if not np.isfinite(x).all():
                self.check(x)
        elif on_outside == "nan":
            x = np.where(self.inside(x)[..., None], x, np.nan)
        else:
            raise ValueError(f"on_outside = {on_outside!r}; allowed: 'raise', 'clip', 'nan'")
        return x

    # ------------------------------------------------------------------ to and from model cards

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for a model card."""
        return {
            "labels": list(self.labels),
            "lower": list(self.lower),
            "upper": list(self.upper),
            "defaults": dict(self.defaults),
            "strips": [
                {"label": s.label, "along": s.along, "knots": [*s.knots], "low": [*s.low], "high": [*s.high]}
                for s in self.strips
            ],
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Domain:
        """The inverse of `to_dict`."""
        lower, upper = (tuple(map(float, d[k])) for k in ("lower", "upper"))
        strips = (
            Strip(s["label"], s["along"], *(tuple(map(float, s[k])) for k in ("knots", "low", "high")))
            for s in d.get("strips", ())
        )
        defaults = {k: float(v) for k, v in d["defaults"].items()}
        return cls(tuple(d["labels"]), lower, upper, defaults, tuple(strips))

    @classmethod
    def from_training(cls, x: NDArray[np.float64], labels: Sequence[str], defaults: Mapping[str, float]) -> Domain:
        """The box of the training labels x (n_model, n_label), and their strip of the Kiel diagram."""
        columns = {name: x[:, j] for j, name in enumerate(labels)}
        strips: tuple[Strip, ...] = ()
        if {"teff", "logg"} <= columns.keys():
            strips = (Strip.from_training("logg", "teff", columns["teff"], columns["logg"]),)
        lower, upper = (tuple(map(float, v)) for v in (x.min(axis=0), x.max(axis=0)))
        return cls(tuple(labels), lower, upper, dict(defaults), strips)


def _not_negative(x: NDArray[np.float64], f: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Ranges in which f, linear between the knots x and constant beyond them, is not negative."""
    x, f = np.r_[-np.inf, x, np.inf], np.r_[f[0], f, f[-1]]
    found: list[tuple[float, float]] = []
    for a, b, fa, fb in zip(x[:-1], x[1:], f[:-1], f[1:], strict=True):
        if fa < 0 and fb < 0:
            continue
        root = a + (b - a) * fa / (fa - fb) if fa * fb < 0 else np.nan
        low, high = float(a if fa >= 0 else root), float(b if fb >= 0 else root)
        if found and low <= found[-1][1]:
            low, _ = found.pop()
        found.append((low, high))
    return found


def _common(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What two sets of ranges have in common."""
    both = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return [(low, high) for low, high in both if low <= high]


def as_planes(x: NDArray[np.float64], labels: Sequence[str], geometry: str | None) -> NDArray[np.float64]:
    """Stacked labels with an infinite mass where the star is plane-parallel, which is how the network knows it.

    geometry : "plane", "sphere", or None for spheres up to log g `SPHERE_LOGG`

    Raises ValueError for any other geometry, and for "sphere" of a model without a mass.
    """
    if geometry not in (None, "plane", "sphere"):
        raise ValueError(f"geometry = {geometry!r}; allowed: 'plane', 'sphere', None")
    if "mass" not in labels:
        if geometry == "sphere":
            raise ValueError("geometry = 'sphere', but this model knows plane-parallel layers only: it has no mass")
        return x
    if geometry == "sphere":
        return x
    j, logg = list(labels).index("mass"), x[..., list(labels).index("logg")]
    x = x.copy()
    x[..., j] = np.where((geometry == "plane") | (logg > SPHERE_LOGG), np.inf, x[..., j])
    return x


def _as_real(name: str, value: Any) -> Any:
    """A float or float array from what the user gave for one label."""
    if hasattr(value, "unit"):
        from astropy import units

        unit = units.Unit(LABEL_UNITS.get(name, "dex"))
        try:
            value = value.value if value.unit in ("", units.dex) and unit == units.dex else value.to_value(unit)
        except units.UnitConversionError:
            raise ValueError(f"{name} = {value} has the unit {value.unit}; it needs {unit}") from None
    if isinstance(value, (str, bytes, bool)) or value is None:
        raise TypeError(f"{name} = {value!r} is not a number")
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} = {value!r} is not an array of numbers") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} = {value!r} is not a real number")
    return array.astype(float) if array.ndim else float(array)

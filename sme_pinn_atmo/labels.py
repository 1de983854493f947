"""Stellar labels and the domain of a model: the one place where input is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LABEL_UNITS", "Domain", "DomainError"]

#: Labels with a unit of their own; every other label is in dex.
LABEL_UNITS = {"teff": "K", "vturb": "km / s"}


class DomainError(ValueError):
    """A label lies outside the domain of the model (or is not finite)."""


@dataclass(frozen=True)
class Domain:
    """Where a model may be used: a box, and the strip of the Kiel diagram that its training models occupy.

    Attributes
    ----------
    labels : names of the labels, in the order of the network's input
    lower, upper : bounds of each label, (n_label,)
    defaults : values of labels that a caller may leave out
    kiel_teff, kiel_logg_min, kiel_logg_max : (n_knot,) lowest and highest log g of the training models
        at knots in Teff [K], linear between knots; empty where the box is all there is
    """

    labels: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    defaults: Mapping[str, float]
    kiel_teff: tuple[float, ...] = ()
    kiel_logg_min: tuple[float, ...] = ()
    kiel_logg_max: tuple[float, ...] = ()

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
        j = self.labels.index("logg")
        if not self.kiel_teff:
            return np.full(teff.shape, self.lower[j]), np.full(teff.shape, self.upper[j])
        _, _, knots, low, high = self._arrays
        return np.interp(teff, knots, low), np.interp(teff, knots, high)

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], ...]:
        """Bounds and knots as arrays: to make them of the tuples takes longer than to compare."""
        rows = (self.lower, self.upper, self.kiel_teff, self.kiel_logg_min, self.kiel_logg_max)
        return tuple(np.array(r, dtype=float) for r in rows)

    def inside(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which stacked labels (..., n_label) lie inside; NaN counts as outside."""
        lower, upper = self._arrays[:2]
        ok = ((x >= lower) & (x <= upper)).all(axis=-1)
        if self.kiel_teff:
            low, high = self.logg_range(x[..., self.labels.index("teff")])
            logg = x[..., self.labels.index("logg")]
            ok &= (logg >= low - 1e-9) & (logg <= high + 1e-9)
        return np.asarray(ok)

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
        """The labels moved into the domain: into the box first, then log g into the Kiel strip. NaN stays."""
        y = np.clip(x, self.lower, self.upper)
        if self.kiel_teff:
            j = self.labels.index("logg")
            low, high = self.logg_range(y[..., self.labels.index("teff")])
            y[..., j] = np.clip(y[..., j], low, high)
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
        teff, logg = bad[self.labels.index("teff")], bad[self.labels.index("logg")]
        low_g, high_g = (float(v) for v in self.logg_range(teff))
        edge = low_g if logg < low_g else high_g
        raise DomainError(
            f"logg = {logg:g} dex is outside the range {low_g:.3g} to {high_g:.3g} that training models have at "
            f"teff = {teff:g} K by {abs(logg - edge):.3g}{where}; nearest allowed value: logg = {edge:.4g}"
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
        kiel = {"teff": self.kiel_teff, "logg_min": self.kiel_logg_min, "logg_max": self.kiel_logg_max}
        return {
            "labels": list(self.labels),
            "lower": list(self.lower),
            "upper": list(self.upper),
            "defaults": dict(self.defaults),
            "kiel": {k: list(v) for k, v in kiel.items()} if self.kiel_teff else None,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Domain:
        """The inverse of `to_dict`."""
        kiel = d.get("kiel") or {"teff": (), "logg_min": (), "logg_max": ()}
        numbers = (d["lower"], d["upper"], kiel["teff"], kiel["logg_min"], kiel["logg_max"])
        lower, upper, *strip = (tuple(map(float, values)) for values in numbers)
        return cls(tuple(d["labels"]), lower, upper, {k: float(v) for k, v in d["defaults"].items()}, *strip)

    @classmethod
    def from_training(cls, x: NDArray[np.float64], labels: Sequence[str], defaults: Mapping[str, float]) -> Domain:
        """The box of the training labels x (n_model, n_label), and their strip in (teff, logg).

        The strip is read at every Teff that the models have. Where the range narrows from one Teff to the
        next, the line between the two knots is the boundary. Models scattered in Teff, rather than on a grid of
        it, are gathered into groups of some tens first.
        """
        lower, upper = x.min(axis=0), x.max(axis=0)
        kiel: tuple[tuple[float, ...], ...] = ((), (), ())
        if "teff" in labels and "logg" in labels:
            j = list(labels).index("teff")
            teff, logg = x[:, j], x[:, list(labels).index("logg")]
            if len(np.unique(teff)) > len(teff) / 3:
                edges = np.unique(np.quantile(teff, np.linspace(0, 1, max(len(teff) // 30, 1) + 1)))
                centres = 0.5 * (edges[1:] + edges[:-1])
                # The outermost groups speak for the ends of the range.
                centres[0], centres[-1] = lower[j], upper[j]
                teff = centres[np.clip(np.searchsorted(edges, teff, side="right") - 1, 0, len(centres) - 1)]
            # Single stars off the grid (a Sun, say) do not define a range of log g.
            knots = [t for t in np.unique(teff) if np.ptp(logg[teff == t]) > 0 or t in (lower[j], upper[j])]
            kiel = (
                tuple(float(t) for t in knots),
                tuple(float(logg[teff == t].min()) for t in knots),
                tuple(float(logg[teff == t].max()) for t in knots),
            )
        return cls(
            tuple(labels), tuple(map(float, lower)), tuple(map(float, upper)), dict(defaults), *kiel
        )


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

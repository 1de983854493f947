"""Planes of labels, which are held out of training together: text to ranges, ranges to rows of stacked labels (in the
labels' own units)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Plane", "in_planes", "parse_plane", "plane_text"]

Array = NDArray[np.float64]

#: Models that are held out together: label -> lowest and highest value.
Plane = Mapping[str, tuple[float, float]]


def parse_plane(text: str) -> Plane:
    """A plane from LABEL=VALUE or LABEL=LOW:HIGH, joined by commas; ValueError for anything else."""
    plane = {}
    for part in text.split(","):
        name, sign, values = part.partition("=")
        try:
            low, _, high = values.partition(":")
            plane[name.strip()] = float(low), float(high or low)
        except ValueError:
            sign = ""
        if not sign:
            raise ValueError(f"{text!r} is not LABEL=VALUE or LABEL=LOW:HIGH, joined by commas")
    return plane


def plane_text(plane: Plane) -> str:
    """What `parse_plane` reads."""
    return ",".join(f"{n}={low:g}" if low == high else f"{n}={low:g}:{high:g}" for n, (low, high) in plane.items())


def in_planes(x: Array, labels: Sequence[str], planes: Sequence[Plane]) -> NDArray[np.bool_]:
    """Which stacked labels (n, n_label) lie in one of the planes, (n,). ValueError for a label that there is not."""
    out = np.zeros(len(x), bool)
    for plane in planes:
        if unknown := [n for n in plane if n not in labels]:
            raise ValueError(f"no label {unknown[0]!r}; there are {', '.join(labels)}")
        low, high = (np.array([plane.get(n, (-np.inf, np.inf))[k] for n in labels]) for k in (0, 1))
        out |= ((x >= low - 1e-6) & (x <= high + 1e-6)).all(axis=1)
    return out

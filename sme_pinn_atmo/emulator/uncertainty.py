"""How far a prediction may be off: the errors seen on held-out models, averaged over those near in the labels, and
larger the farther the models that the network was trained on are.

In: labels (..., n_label). Out: relative standard deviations of profiles (..., 6, n_depth).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ERROR_FIELDS", "ErrorModel", "distance_in_steps", "logarithmic"]

Array = NDArray[np.float64]

#: Profiles whose errors are recorded, in the order of the second axis of `ErrorModel.log_square`.
ERROR_FIELDS = ("temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure")

_TENSORS = ("labels", "log_square", "prior", "weight", "width", "ln_tau")
_COVERAGE = ("per_step", "growth")


def logarithmic(x: Array, teff: int) -> Array:
    """Labels (..., n_label) with log10 Teff in the place of Teff."""
    z = np.array(x, dtype=float)
    z[..., teff] = np.log10(z[..., teff])
    return z


def distance_in_steps(z: Array, nodes: Array, per_step: Array) -> Array:
    """How far labels z (..., n_label), Teff as log10 Teff, are from the models that a network was trained on (...,).

    In steps of their grid, and 0 where as many models are near as around one node that a full grid lacks:
    d^2 = max(0, ln(rho_0 / rho) / 2), rho the sum over the models of exp(-2 d_i^2), d_i the distance to each, and
    rho_0 that around the node. Far away it is about the distance to the nearest model.

    nodes : (n, n_label) labels of the models
    per_step : (n_label,) 1 / step of each label, 0 for one that does not count
    """
    return _distance(z, _in_steps(nodes, per_step), per_step)


def _in_steps(nodes: Array, per_step: Array) -> Array:
    """Labels of the nodes in steps of the grid, one row a label that counts."""
    use = per_step > 0
    return np.ascontiguousarray((nodes[:, use] * per_step[use]).T)


def _distance(z: Array, scaled: Array, per_step: Array) -> Array:
    """`distance_in_steps` from nodes that are in steps already, (n_label that count, n)."""
    use = per_step > 0
    flat = (z[..., use] * per_step[use]).reshape(-1, len(scaled))
    lacking = (1 + 2 * np.exp(-2.0)) ** len(scaled) - 1
    out = np.empty(len(flat))
    for i in range(0, len(flat), 64):
        part = flat[i : i + 64]
        square = np.zeros((len(part), scaled.shape[1]))
        for j, column in enumerate(scaled):
            square += (part[:, j, None] - column) ** 2
        nearest = square.min(axis=1)
        # exp(-60) adds nothing to the 1 of the nearest model; smaller ones underflow, which takes thrice the time.
        density = np.exp(np.maximum(-2 * (square - nearest[:, None]), -60.0)).sum(axis=1)
        out[i : i + 64] = nearest - 0.5 * np.log(density / lacking)
    return np.sqrt(np.maximum(out, 0.0)).reshape(z.shape[:-1])


@lru_cache(maxsize=32)
def _linear_matrix(knots: bytes, points: bytes) -> Array:
    """(n_knot, n_point): linear interpolation in ln tau, constant beyond the ends."""
    x, at = np.frombuffer(knots), np.frombuffer(points)
    matrix = np.stack([np.interp(at, x, row) for row in np.eye(len(x))])
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Squared relative errors of held-out models, and what is assumed far from all of them.

    The logarithm of the variance at labels x is the mean of `log_square`, with weights `weight` exp(-|z - z_i|^2 / 2),
    z = labels / width with Teff as its logarithm, and of `prior` with weight 1: far from every held-out model the prior
    is all that is left. Logarithms, because errors of one model in ten are several times those of its neighbours, and
    a mean of squares would be theirs. The standard deviation of a field then grows as exp(growth d), d the
    `distance_in_steps` to the models of the training.

    Attributes
    ----------
    labels : (n, n_label) of the held-out models, the column of Teff as log10 Teff
    log_square : (n, 6, n_knot) ln of the squared relative errors of `ERROR_FIELDS` around each knot
    prior : (6, n_knot) the same where no model is near
    weight : () of a held-out model at its own labels, that of the prior being 1
    width : (n_label,) of the kernel
    ln_tau : (n_knot,) knots in ln tau_Ross
    nodes, per_step : models of the training and what makes a step of their grid, see `distance_in_steps`
    growth : (6,) of ln of the standard deviation of each field with that distance
    teff : which label is Teff
    """

    labels: Array
    log_square: Array
    prior: Array
    weight: Array
    width: Array
    ln_tau: Array
    nodes: Array | None = None
    per_step: Array | None = None
    growth: Array | None = None
    teff: int = 0

    def variance(self, x: Array, distance: Array | None = None) -> Array:
        """Squared relative standard deviation (..., 6, n_knot) at labels x (..., n_label).

        distance : (...,) in steps, where it is not that to `nodes`
        """
        z = logarithmic(x, self.teff)
        return self._grown(self._mean(self._kernel(z)), self.distance(z) if distance is None else distance)

    def leave_one_out(self, distance: Array | None = None) -> Array:
        """Variance (n, 6, n_knot) that the other held-out models give each of them, at a distance (n,) in steps from
        the models of the training that each was kept from."""
        weight = self._kernel(self.labels)
        np.fill_diagonal(weight, 0.0)
        return self._grown(self._mean(weight), distance)

    def distance(self, z: Array) -> Array | None:
        """`distance_in_steps` (...,) of labels z with the logarithm of Teff; None where no models are recorded."""
        if self._nodes_in_steps is None or self.per_step is None:
            return None
        return _distance(z, self._nodes_in_steps, self.per_step)

    @cached_property
    def _nodes_in_steps(self) -> Array | None:
        """Made once: to scale thousands of models takes as long as to compare one star with them."""
        return None if self.nodes is None or self.per_step is None else _in_steps(self.nodes, self.per_step)

    def _grown(self, variance: Array, distance: Array | None) -> Array:
        if distance is None or self.growth is None:
            return variance
        factor: Array = np.exp(2 * self.growth * distance[..., None])
        return variance * factor[..., None]

    def _kernel(self, z: Array) -> Array:
        distance = (z[..., None, :] - self.labels) / self.width
        return np.asarray(self.weight * np.exp(-0.5 * np.einsum("...j,...j->...", distance, distance)))

    def _mean(self, weight: Array) -> Array:
        n, field, knot = self.log_square.shape
        total = (weight @ self.log_square.reshape(n, -1)).reshape(*weight.shape[:-1], field, knot) + self.prior
        return np.asarray(np.exp(total / (1.0 + weight.sum(axis=-1))[..., None, None]))

    def relative_std(self, x: Array, ln_tau: Array) -> Array:
        """Relative standard deviation (..., 6, n_depth) of `ERROR_FIELDS` at depths ln_tau (n_depth,).

        Stars go through in blocks, so that memory does not grow with the number of held-out models times stars.
        """
        matrix = _linear_matrix(self.ln_tau.tobytes(), ln_tau.tobytes())
        if x.ndim == 1:
            return np.asarray(np.sqrt(self.variance(x)) @ matrix)
        flat = x.reshape(-1, x.shape[-1])
        parts = [np.sqrt(self.variance(flat[i : i + 256])) @ matrix for i in range(0, len(flat), 256)]
        return np.concatenate(parts).reshape(*x.shape[:-1], len(ERROR_FIELDS), len(ln_tau))

    def without(self, i: int) -> ErrorModel:
        """The same without held-out model i: what it would have said of that model beforehand."""
        keep = np.arange(len(self.labels)) != i
        return replace(self, labels=self.labels[keep], log_square=self.log_square[keep])

    # ------------------------------------------------------------------ to and from files

    def tensors(self) -> dict[str, Any]:
        """Arrays to store beside the weights."""
        names = (*_TENSORS, *(() if self.nodes is None else _COVERAGE))
        return {f"error_{name}": np.asarray(getattr(self, name), dtype=np.float32, order="C") for name in names}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any], teff: int) -> ErrorModel | None:
        """The inverse of `tensors`; None where a model was stored without."""
        if "error_labels" not in tensors:
            return None
        names = (*_TENSORS, *(_COVERAGE if "error_growth" in tensors else ()))
        arrays = {n: np.asarray(tensors[f"error_{n}"], dtype=float, order="C") for n in names}
        if "error_growth" in tensors:
            arrays["nodes"] = logarithmic(np.asarray(tensors["nodes"], dtype=float), teff)
        return cls(**arrays, teff=teff)

"""How far a prediction may be off: the errors seen on held-out models, averaged over those near in the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ERROR_FIELDS", "ErrorModel"]

Array = NDArray[np.float64]

#: Profiles whose errors are recorded, in the order of the second axis of `ErrorModel.log_square`.
ERROR_FIELDS = ("temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure")

_TENSORS = ("labels", "log_square", "prior", "weight", "width", "ln_tau")


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
    a mean of squares would be theirs.

    Attributes
    ----------
    labels : (n, n_label) of the held-out models, the column of Teff as log10 Teff
    log_square : (n, 6, n_knot) ln of the squared relative errors of `ERROR_FIELDS` around each knot
    prior : (6, n_knot) the same where no model is near
    weight : () of a held-out model at its own labels, that of the prior being 1
    width : (n_label,) of the kernel
    ln_tau : (n_knot,) knots in ln tau_Ross
    teff : which label is Teff
    """

    labels: Array
    log_square: Array
    prior: Array
    weight: Array
    width: Array
    ln_tau: Array
    teff: int = 0

    def variance(self, x: Array) -> Array:
        """Squared relative standard deviation (..., 6, n_knot) at labels x (..., n_label)."""
        z = x.copy()
        z[..., self.teff] = np.log10(z[..., self.teff])
        return self._mean(self._kernel(z))

    def leave_one_out(self) -> Array:
        """Variance (n, 6, n_knot) that the other held-out models give each of them."""
        weight = self._kernel(self.labels)
        np.fill_diagonal(weight, 0.0)
        return self._mean(weight)

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
        return {f"error_{name}": np.asarray(getattr(self, name), dtype=np.float32, order="C") for name in _TENSORS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any], teff: int) -> ErrorModel | None:
        """The inverse of `tensors`; None where a model was stored without."""
        if "error_labels" not in tensors:
            return None
        arrays = {n: np.asarray(tensors[f"error_{n}"], dtype=float, order="C") for n in _TENSORS}
        return cls(**arrays, teff=teff)

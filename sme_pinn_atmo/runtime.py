"""The network in NumPy, double precision: forward pass and Jacobian. No torch at run time.

Labels -> features f -> h = W_in f + b_in; h <- h + silu(W_k h + b_k), k = 1..K (the branch) -> coefficients
c = W_out h + b_out -> four smooth fields on the model's grid in ln tau, q = mean + c . basis (the trunk):

    T = T_grey(tau, Teff) exp(q_0)   kappa = exp(q_1)   a = g exp(q_2)   n_e = sigmoid(q_3) P / kT

and column mass m and gas pressure P by integrating d tau = kappa dm and dP = (g - a) dm through the cubic
spline in ln tau, so that every structure is hydrostatic by construction; `physics.physical_pressure` takes over where a
comes near g. `network.py` is the same in torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import physics

__all__ = ["FIELDS", "Network", "feature_matrix"]

Array = NDArray[np.float64]

#: What `Network.log_profiles` and `Network.log_jacobian` return along their field axis, as natural logarithms.
FIELDS = ("temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure",
          "atom_density")  # fmt: skip

_LN10 = float(np.log(10.0))
_LN_BOLTZMANN = float(np.log(physics.BOLTZMANN))

#: Stars whose smallest 1 - a/g is above this are not looked at closer: `physics.physical_pressure` changes nothing in
#: profiles as smooth as those of the packaged models (a test looks).
_NEAR = 0.1
_WAVE = re.compile(r"(sin|cos)_[1-9]\d{0,2}_log_teff")
_TINY = 1e-30  # imaginary step: exact to rounding

#: Stars that go through the network at once: their intermediate arrays stay in the processor's cache.
_BLOCK = 512


def feature_matrix(features: Sequence[str], labels: Sequence[str]) -> tuple[Array, Array, Array]:
    """Features of the branch's input as a linear map of labels, log10 Teff, 1 / Teff [1/K] and waves of Teff.

    A feature is a label itself, log_teff = log10 Teff, theta = 5040 K / Teff, log_g_teff4 = log g - 4 log10 Teff
    (gravity in units of the radiative one), or one of sin_K_log_teff and cos_K_log_teff: K waves per dex. Structures
    turn within a step or two of the grids in Teff, which a network given only slow functions of Teff learns last
    (spectral bias: Rahaman et al. 2019, arXiv:1806.08734; Fourier features: Tancik et al. 2020, arXiv:2006.10739).

    Returns
    -------
    matrix : (n_feature, n_label + 2 + n_wave)
    frequency, phase : (n_wave,) the waves are sin(frequency log10 Teff + phase)

    Raises
    ------
    ValueError : unknown feature
    """
    waves = list(dict.fromkeys(f for f in features if _WAVE.fullmatch(f)))
    inputs = [*labels, "log_teff", "1/teff", *waves]
    rows: dict[str, dict[str, float]] = {n: {n: 1.0} for n in inputs if n != "1/teff"}
    rows |= {"theta": {"1/teff": 5040.0}, "log_g_teff4": {"logg": 1.0, "log_teff": -4.0}}
    if unknown := [f for f in features if f not in rows]:
        raise ValueError(
            f"unknown feature {unknown[0]!r}; allowed: the labels, log_teff, theta, log_g_teff4, and sin_K_log_teff or "
            "cos_K_log_teff with K = 1 to 999 waves per dex"
        )
    matrix = np.array([[rows[f].get(n, 0.0) for n in inputs] for f in features])
    frequency = np.array([2 * np.pi * int(f.split("_")[1]) for f in waves])
    return matrix, frequency, np.array([0.0 if f.startswith("sin") else 0.5 * np.pi for f in waves])


@lru_cache(maxsize=64)
def _depth_matrix(nodes: bytes, points: bytes) -> Array:
    matrix = physics.interpolation_matrix(np.frombuffer(nodes), np.frombuffer(points))
    matrix.setflags(write=False)
    return matrix


class Network:
    """A trained network, ready to use.

    Parameters
    ----------
    labels : names of the inputs, in their order
    features : see `feature_matrix`
    tensors : weights by name as they are stored, see `network.HydrostaticNetwork`
    """

    def __init__(self, labels: Sequence[str], features: Sequence[str], tensors: Mapping[str, Any]) -> None:
        w = {k: np.asarray(v, dtype=float) for k, v in tensors.items()}
        self.labels, self.features, self.tensors = tuple(labels), tuple(features), w
        self.ln_tau: Array = w["ln_tau"]
        self.tau: Array = np.exp(self.ln_tau)
        self._teff, self._logg = self.labels.index("teff"), self.labels.index("logg")
        # What features there are, and their standardisation, are linear maps: fold them into the first layer.
        matrix, self._frequency, self._phase = feature_matrix(self.features, self.labels)
        scaled = w["w_in"] / w["feature_scale"]
        self._w_in: Array = np.ascontiguousarray((scaled @ matrix).T)
        self._b_in: Array = w["b_in"] - scaled @ w["feature_mean"]
        self._hidden = [(np.ascontiguousarray(a.T), b) for a, b in zip(w["w"], w["b"], strict=True)]
        self._w_out: Array = np.ascontiguousarray(w["w_out"].T)
        self._b_out: Array = w["b_out"]
        self._basis: Array = w["basis"]
        n_field, n_component, n_depth = w["basis"].shape
        self._coefficients = (n_field, n_component)
        grey = np.log(physics.grey_temperature(self.tau, np.ones(1)))
        self._mean: Array = w["mean"] + np.vstack([grey, np.zeros((n_field - 1, n_depth))])
        self._integral: Array = np.ascontiguousarray(physics.integration_matrix(self.ln_tau).T)
        self._step: Array = np.diff(self.ln_tau)

    # ------------------------------------------------------------------ forward

    def _inputs(self, x: Array) -> Array:
        """Labels, log10 Teff, 1 / Teff and the waves, (..., n_label + 2 + n_wave)."""
        n, teff = x.shape[-1], x[..., self._teff]
        out = np.empty((*x.shape[:-1], len(self._w_in)))
        out[..., :n] = x
        out[..., n] = log_teff = np.log10(teff)
        out[..., n + 1] = 1.0 / teff
        np.sin(log_teff[..., None] * self._frequency + self._phase, out=out[..., n + 2 :])
        return out

    def _inputs_gradient(self, x: Array) -> Array:
        """Derivatives of the inputs, (..., n_label, n_label + 2 + n_wave)."""
        n, teff = x.shape[-1], x[..., self._teff, None]
        out = np.zeros((*x.shape, len(self._w_in)))
        out[..., range(n), range(n)] = 1.0
        per_teff, d_log_teff = out[..., self._teff, :], 1.0 / (_LN10 * teff)
        per_teff[..., n : n + 1] = d_log_teff
        per_teff[..., n + 1 : n + 2] = -1.0 / teff**2
        per_teff[..., n + 2 :] = np.cos(np.log10(teff) * self._frequency + self._phase) * self._frequency * d_log_teff
        return out

    def _branch(self, x: Array) -> Array:
        h = self._inputs(x) @ self._w_in + self._b_in
        for w, b in self._hidden:
            z = h @ w
            z += b
            e = np.exp(-z)
            e += 1.0
            z /= e
            h += z
        return h

    def _fields(self, x: Array, h: Array) -> tuple[Array, Array]:
        """ln of `FIELDS` on the grid (..., 7, n_depth), and the electron fraction (..., n_depth)."""
        lead, depths = h.shape[:-1], self.tau.shape
        c = (h @ self._w_out + self._b_out).reshape(-1, *self._coefficients)
        # A product for each field over all stars, (n_field, n_star, n_depth), so that a field's values lie together.
        q = np.matmul(c.swapaxes(0, 1), self._basis) + self._mean[:, None, :]
        ln_theta, ln_kappa, ln_a_over_g, logit = (row.reshape(lead + depths) for row in q)
        ln_g = _LN10 * x[..., self._logg][..., None]
        ln_t = ln_theta + np.log(x[..., self._teff][..., None])
        fraction = 1.0 / (1.0 + np.exp(-logit))
        dm = self.tau * np.exp(-ln_kappa)  # dm / dln(tau)
        rest = 1.0 - np.exp(ln_a_over_g)
        m, p = self._integrals(dm, rest)
        if not rest.min() >= _NEAR:  # or NaN, in a batch with labels outside
            near = rest.min(axis=-1) < _NEAR
            p[near] = physics.physical_pressure(p[near], m[near], dm[near], rest[near], self._step)
        ln_m, ln_p = np.log(m), np.log(p) + ln_g
        ln_n = ln_p - ln_t - _LN_BOLTZMANN
        rows = (ln_t, ln_kappa, ln_a_over_g + ln_g, ln_n + np.log(fraction), ln_m, ln_p, ln_n + np.log1p(-fraction))
        out = np.empty((*lead, len(rows), *depths))  # np.stack takes longer than a star's integrals
        for j, row in enumerate(rows):
            out[..., j, :] = row
        return out, fraction

    def _integrals(self, dm: Array, rest: Array) -> tuple[Array, Array]:
        """Column mass and gas pressure over gravity from dm / dln(tau) and 1 - a/g."""
        dp = rest * dm
        return dm[..., :1] + dm @ self._integral, dp[..., :1] + dp @ self._integral

    def log_profiles(self, x: Array, tau: Array | None = None) -> Array:
        """Natural logarithms of `FIELDS` for labels x (..., n_label): (..., 7, n_depth).

        tau : (n_depth,) increasing Rosseland depths inside the grid's range; None for the grid itself.
        """
        return self._in_blocks(lambda block: (self._log_profiles(block, tau),), x)[0]

    def profiles(self, x: Array, tau: Array | None = None) -> Array:
        """`FIELDS` themselves, (..., 7, n_depth), in the units of `structure.PROFILES`."""

        def block(x: Array) -> tuple[Array]:
            out = self._log_profiles(x, tau)
            return (np.exp(out, out=out),)

        return self._in_blocks(block, x)[0]

    def _log_profiles(self, x: Array, tau: Array | None) -> Array:
        out, _ = self._fields(x, self._branch(x))
        return out if tau is None else out @ self.depth_matrix(tau).T

    @staticmethod
    def _in_blocks(function: Callable[[Array], tuple[Array, ...]], x: Array) -> tuple[Array, ...]:
        """The arrays (..., more axes) that `function` gives for labels x (..., n_label), `_BLOCK` stars at a time."""
        if x.size <= _BLOCK * x.shape[-1]:
            return function(x)
        flat = x.reshape(-1, x.shape[-1])
        out: list[Array] = []
        for start in range(0, len(flat), _BLOCK):
            parts = function(flat[start : start + _BLOCK])
            if not out:
                out = [np.empty((len(flat), *part.shape[1:])) for part in parts]
            for whole, part in zip(out, parts, strict=True):
                whole[start : start + _BLOCK] = part
        return tuple(whole.reshape(*x.shape[:-1], *whole.shape[1:]) for whole in out)

    def depth_matrix(self, tau: Array) -> Array:
        """(n_tau, n_grid) cubic spline in ln tau from the model's grid to the depths `tau`."""
        tau = np.asarray(tau, dtype=float)
        return _depth_matrix(self.ln_tau.tobytes(), np.log(tau).tobytes())

    # ------------------------------------------------------------------ derivatives

    def log_jacobian(self, x: Array, tau: Array | None = None) -> tuple[Array, Array]:
        """`log_profiles` and its derivatives with respect to the labels, (..., 7, n_depth, n_label).

        Tangents of all labels travel through the network beside the value, so that the cost is that of a
        few forward passes.
        """
        value, jacobian = self._in_blocks(lambda block: self._log_jacobian(block, tau), x)
        return value, jacobian

    def _log_jacobian(self, x: Array, tau: Array | None) -> tuple[Array, Array]:
        h, dh = self._inputs(x) @ self._w_in + self._b_in, self._inputs_gradient(x) @ self._w_in
        for w, b in self._hidden:
            z = h @ w + b
            s = 1.0 / (1.0 + np.exp(-z))
            dh = dh + (s * (1.0 + z * (1.0 - s)))[..., None, :] * (dh @ w)
            h = h + z * s
        value, fraction = self._fields(x, h)
        dc = (dh @ self._w_out).reshape(*dh.shape[:-1], *self._coefficients)
        dq = np.matmul(dc[..., None, :], self._basis)[..., 0, :]  # (..., n_label, 4, n_depth)
        n_label = len(self.labels)
        d_ln_g = np.zeros((n_label, 1))
        d_ln_g[self._logg] = _LN10
        d_ln_t = dq[..., 0, :].copy()
        d_ln_t[..., self._teff, :] += 1.0 / x[..., self._teff][..., None]
        ln_g = _LN10 * x[..., self._logg][..., None]
        rest = 1.0 - np.exp(value[..., 2, :] - ln_g)[..., None, :]
        dm = (self.tau * np.exp(-value[..., 1, :]))[..., None, :]
        d_dm = -dm * dq[..., 1, :]
        d_rest = (rest - 1.0) * dq[..., 2, :]
        d_dp = rest * d_dm + d_rest * dm
        d_m, d_p = d_dm[..., :1] + d_dm @ self._integral, d_dp[..., :1] + d_dp @ self._integral
        if not rest.min() >= _NEAR:
            near = rest.min(axis=(-2, -1)) < _NEAR
            m, p = self._integrals(dm, rest)
            pairs = zip((p, m, dm, rest), (d_p, d_m, d_dm, d_rest), strict=True)
            moved = [f[near] + 1j * _TINY * d_f[near] for f, d_f in pairs]
            d_p[near] = physics.physical_pressure(moved[0], moved[1], moved[2], moved[3], self._step).imag / _TINY
        d_ln_m = d_m / np.exp(value[..., 4, :])[..., None, :]
        d_ln_p = d_p / np.exp(value[..., 5, :] - ln_g)[..., None, :] + d_ln_g
        fraction = fraction[..., None, :]
        d_ln_n = d_ln_p - d_ln_t
        d = (d_ln_t, dq[..., 1, :], dq[..., 2, :] + d_ln_g, d_ln_n + (1 - fraction) * dq[..., 3, :], d_ln_m,
             d_ln_p, d_ln_n - fraction * dq[..., 3, :])  # fmt: skip
        jacobian = np.moveaxis(np.stack(d, axis=-3), -2, -1)  # (..., 7, n_depth, n_label)
        if tau is not None:
            matrix = self.depth_matrix(tau)
            value, jacobian = value @ matrix.T, np.matmul(matrix, jacobian)
        return value, jacobian

"""The network in NumPy, double precision: forward pass and Jacobian. No torch at run time.

Labels -> features f -> h = W_in f + b_in; h <- h + silu(W_k h + b_k), k = 1..K (the branch) -> coefficients
c = W_out h + b_out -> four smooth fields on the model's grid in ln tau, q = mean + c . basis (the trunk):

    T = T_grey(tau, Teff) exp(q_0)   kappa = exp(q_1)   a = g exp(q_2)   n_e = sigmoid(q_3) P / kT

and column mass m and gas pressure P by integrating d tau = kappa dm and dP = (g - a) dm through the cubic
spline in ln tau, so that every structure is hydrostatic by construction; `physics.physical_integrals` takes over
where a comes near g or the opacity drops steeply. `network.py` is the same in torch.

A network with the label `mass` knows spheres. It has two fields more: ln mu = q_4, the mean weight of a particle that
is no electron [u], and ln c = q_5 (outermost layer only), m_1 = c tau_1 / kappa_1. The mass enters the branch as
`physics.extension` alone, and an infinite mass stands for plane-parallel layers. In a sphere dP = (g (R/r)^2 - a) dm
and dr = -dm / rho, found together by `physics.SPHERE_PASSES` passes of a fixed point.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import physics

__all__ = ["FIELDS", "Network", "feature_matrix"]

Array = NDArray[np.float64]

#: What `Network.log_profiles` and `Network.log_jacobian` return along their field axis, as natural logarithms; density
#: only where the network has a field for the mean weight of a particle.
FIELDS = ("temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure",
          "atom_density", "density")  # fmt: skip

_LN10 = float(np.log(10.0))
_LN_BOLTZMANN = float(np.log(physics.BOLTZMANN))
_LN_ATOMIC_MASS = float(np.log(physics.ATOMIC_MASS))

#: Stars whose smallest 1 - a/g is above the first, and whose column mass gains more than the second of what the
#: trapezoid gives in every cell, are not looked at closer: `physics.physical_integrals` changes nothing there (a test).
_NEAR, _STEEP = 0.25, 0.1
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
    The label mass is no feature: `extension` stands in its place.

    Returns
    -------
    matrix : (n_feature, n_label + 2 + n_wave), the column of mass being that of extension
    frequency, phase : (n_wave,) the waves are sin(frequency log10 Teff + phase)

    Raises
    ------
    ValueError : unknown feature
    """
    waves = list(dict.fromkeys(f for f in features if _WAVE.fullmatch(f)))
    inputs = ["extension" if n == "mass" else n for n in labels] + ["log_teff", "1/teff", *waves]
    rows: dict[str, dict[str, float]] = {n: {n: 1.0} for n in inputs if n != "1/teff"}
    rows |= {"theta": {"1/teff": 5040.0}, "log_g_teff4": {"logg": 1.0, "log_teff": -4.0}}
    if unknown := [f for f in features if f not in rows]:
        raise ValueError(
            f"unknown feature {unknown[0]!r}; allowed: the labels, log_teff, theta, log_g_teff4, extension for "
            "mass, and sin_K_log_teff or cos_K_log_teff with K = 1 to 999 waves per dex"
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
        self._mass = self.labels.index("mass") if "mass" in self.labels else None
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
        if n_field != (4 if self._mass is None else 6):
            raise ValueError(f"{n_field} fields; a network has 4, or 6 where mass is a label")
        self._coefficients = (n_field, n_component)
        grey = np.log(physics.grey_temperature(self.tau, np.ones(1)))
        self._mean: Array = w["mean"] + np.vstack([grey, np.zeros((n_field - 1, n_depth))])
        integral = physics.integration_matrix(self.ln_tau)
        self._integral: Array = np.ascontiguousarray(integral.T)
        #: Integrates from tau = 1, see `physics.height`.
        self.above: Array = physics.from_unit_depth(self.ln_tau, integral)
        self._step: Array = np.diff(self.ln_tau)

    @property
    def has_mass(self) -> bool:
        """Whether the network knows spheres."""
        return self._mass is not None

    @property
    def fields(self) -> tuple[str, ...]:
        """Those of `FIELDS` that this network gives."""
        return FIELDS if self._mass is not None else FIELDS[:-1]

    # ------------------------------------------------------------------ forward

    def _inputs(self, x: Array) -> Array:
        """Labels (extension for mass), log10 Teff, 1 / Teff and the waves, (..., n_label + 2 + n_wave)."""
        n, teff = x.shape[-1], x[..., self._teff]
        out = np.empty((*x.shape[:-1], len(self._w_in)))
        out[..., :n] = x
        if self._mass is not None:
            out[..., self._mass] = physics.extension(teff, np.exp(_LN10 * x[..., self._logg]), x[..., self._mass])
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
        if self._mass is not None:
            out[..., self._mass] = self._extension_gradient(x)
        return out

    def _extension_gradient(self, x: Array) -> Array:
        """Derivatives (..., n_label) of `physics.extension` per label."""
        assert self._mass is not None
        out = np.zeros(x.shape)
        teff, mass = x[..., self._teff], x[..., self._mass]
        out[..., self._teff] = e_per_teff = physics.extension(np.ones(1), np.exp(_LN10 * x[..., self._logg]), mass)
        out[..., self._logg] = -0.5 * _LN10 * e_per_teff * teff
        out[..., self._mass] = -0.5 * e_per_teff * teff / mass
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

    def _raw(self, h: Array) -> Array:
        """The fields q of the network, (n_field, ..., n_depth)."""
        c = (h @ self._w_out + self._b_out).reshape(-1, *self._coefficients)
        # A product for each field over all stars, (n_field, n_star, n_depth), so that a field's values lie together.
        q = np.matmul(c.swapaxes(0, 1), self._basis) + self._mean[:, None, :]
        return np.asarray(q.reshape(len(q), *h.shape[:-1], *self.tau.shape))

    def _fields(self, x: Array, h: Array) -> tuple[Array, Array]:
        """ln of `fields` on the grid (..., 7 or 8, n_depth), and the electron fraction (..., n_depth)."""
        q = self._raw(h)
        ln_theta, ln_kappa, ln_a_over_g, logit = q[:4]
        ln_g = _LN10 * x[..., self._logg][..., None]
        ln_t = ln_theta + np.log(x[..., self._teff][..., None])
        fraction = 1.0 / (1.0 + np.exp(-logit))
        dm = self.tau * np.exp(-ln_kappa)  # dm / dln(tau)
        a_over_g = np.exp(ln_a_over_g)
        rest = 1.0 - a_over_g
        top = 1.0 if self._mass is None else np.exp(q[5][..., :1])
        m, p = self._integrals(dm, rest, top)
        if self._mass is not None and np.isfinite(x[..., self._mass]).any():
            extended = physics.extension(np.exp(ln_t), np.exp(ln_g), x[..., self._mass, None])
            weight = extended * np.exp(-q[4]) / (1.0 - fraction) * dm
            v = np.ones_like(p)
            for _ in range(physics.SPHERE_PASSES):
                v = self._radius_over_r(weight * v**2, p, m)
                rest = v**2 - a_over_g
                _, p = self._integrals(dm, rest, top)
        near = self._near(m, dm, rest)
        if near is not None:
            m[near], p[near] = physics.physical_integrals(m[near], p[near], dm[near], rest[near], self._step)
        ln_m, ln_p = np.log(m), np.log(p) + ln_g
        ln_n = ln_p - ln_t - _LN_BOLTZMANN
        rows = [ln_t, ln_kappa, ln_a_over_g + ln_g, ln_n + np.log(fraction), ln_m, ln_p, ln_n + np.log1p(-fraction)]
        if self._mass is not None:
            rows.append(rows[-1] + q[4] + _LN_ATOMIC_MASS)
        out = np.empty((*h.shape[:-1], len(rows), *self.tau.shape))  # np.stack takes longer than a star's integrals
        for j, row in enumerate(rows):
            out[..., j, :] = row
        return out, fraction

    def _near(self, m: Array, dm: Array, rest: Array) -> NDArray[np.bool_] | None:
        """Which stars (...,) are to be looked at by `physics.physical_integrals`; None for none."""
        margin = m[..., 1:] - m[..., :-1] - _STEEP / 2 * self._step * (dm[..., 1:] + dm[..., :-1])
        if rest.min() >= _NEAR and margin.min() >= 0:  # not so with NaN, in a batch with labels outside
            return None
        return np.asarray((rest.min(axis=-1) < _NEAR) | (margin.min(axis=-1) < 0))

    def _radius_over_r(self, step: Array, p: Array, m: Array) -> Array:
        """R/r from (k T / (mu m_u g R)) (R/r)^2 dm / dln(tau) and the gas pressure over gravity."""
        v = 1.0 + (step / np.maximum(p, physics.SMALL * m)) @ self.above.T
        return np.asarray(np.clip(v, 0.5, 2.0))

    def _integrals(self, dm: Array, rest: Array, top: Array | float) -> tuple[Array, Array]:
        """Column mass and gas pressure over gravity from dm / dln(tau) and 1 - a/g; `top` times tau / kappa lies above
        the first layer."""
        dp = rest * dm
        return top * dm[..., :1] + dm @ self._integral, top * dp[..., :1] + dp @ self._integral

    def log_profiles(self, x: Array, tau: Array | None = None) -> Array:
        """Natural logarithms of `fields` for labels x (..., n_label): (..., 7 or 8, n_depth).

        tau : (n_depth,) increasing Rosseland depths inside the grid's range; None for the grid itself.
        """
        return self._in_blocks(lambda block: (self._log_profiles(block, tau),), x)[0]

    def profiles(self, x: Array, tau: Array | None = None) -> Array:
        """`fields` themselves, (..., 7 or 8, n_depth), in the units of `structure.PROFILES`."""

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
        dq = np.matmul(dc[..., None, :], self._basis)[..., 0, :]  # (..., n_label, n_field, n_depth)
        n_label = len(self.labels)
        d_ln_g = np.zeros((n_label, 1))
        d_ln_g[self._logg] = _LN10
        d_ln_t = dq[..., 0, :].copy()
        d_ln_t[..., self._teff, :] += 1.0 / x[..., self._teff][..., None]
        fraction = fraction[..., None, :]
        d_ln_m, d_ln_p = self._integrals_gradient(x, h, value, dq, d_ln_t, fraction)
        d_ln_p = d_ln_p + d_ln_g
        d_ln_n = d_ln_p - d_ln_t
        d = [d_ln_t, dq[..., 1, :], dq[..., 2, :] + d_ln_g, d_ln_n + (1 - fraction) * dq[..., 3, :], d_ln_m,
             d_ln_p, d_ln_n - fraction * dq[..., 3, :]]  # fmt: skip
        if self._mass is not None:
            d.append(d[-1] + dq[..., 4, :])
        jacobian = np.moveaxis(np.stack(d, axis=-3), -2, -1)  # (..., 7 or 8, n_depth, n_label)
        if tau is not None:
            matrix = self.depth_matrix(tau)
            value, jacobian = value @ matrix.T, np.matmul(matrix, jacobian)
        return value, jacobian

    def _integrals_gradient(
        self, x: Array, h: Array, value: Array, dq: Array, d_ln_t: Array, fraction: Array
    ) -> tuple[Array, Array]:
        """Derivatives of ln m and ln (P/g) per label, (..., n_label, n_depth); tangents go through every pass."""
        ln_g = _LN10 * x[..., self._logg][..., None]
        a_over_g = np.exp(value[..., 2, :] - ln_g)[..., None, :]
        dm = (self.tau * np.exp(-value[..., 1, :]))[..., None, :]
        d_dm, d_rest = -dm * dq[..., 1, :], -a_over_g * dq[..., 2, :]
        rest, top, d_top = 1.0 - a_over_g, np.ones(1), np.zeros(1)
        if self._mass is not None:
            q = self._raw(h)
            top = np.exp(q[5][..., None, :1])
            d_top = top * dq[..., 5, :1]

        def integrals(rest: Array, d_rest: Array) -> tuple[Array, Array, Array, Array]:
            m, p = self._integrals(dm, rest, top)
            d_dp = rest * d_dm + d_rest * dm
            d_m = top * d_dm[..., :1] + d_top * dm[..., :1] + d_dm @ self._integral
            d_p = top * d_dp[..., :1] + d_top * rest[..., :1] * dm[..., :1] + d_dp @ self._integral
            return m, p, d_m, d_p

        m, p, d_m, d_p = integrals(rest, d_rest)
        if self._mass is not None and np.isfinite(x[..., self._mass]).any():
            e = physics.extension(np.exp(value[..., 0, :]), np.exp(ln_g), x[..., self._mass, None])
            weight = (e * np.exp(-q[4]))[..., None, :] / (1.0 - fraction) * dm
            d_ln_e = self._extension_gradient(x) / self._extension_or_one(x)[..., None]
            d_ln_e[..., self._teff] -= 1.0 / x[..., self._teff]
            d_ln_weight = d_ln_e[..., None] + d_ln_t - dq[..., 4, :] + fraction * dq[..., 3, :] - dq[..., 1, :]
            v, d_v = np.ones_like(p), np.zeros_like(d_p)
            d_a = d_rest
            for _ in range(physics.SPHERE_PASSES):
                d_v = (weight * v / p * (v * (d_ln_weight - d_p / p) + 2.0 * d_v)) @ self.above.T
                v = self._radius_over_r(weight * v**2, p, m)
                rest, d_rest = v**2 - a_over_g, d_a + 2.0 * v * d_v
                m, p, d_m, d_p = integrals(rest, d_rest)
        near = self._near(m, dm, rest)
        if near is not None:
            near = near[..., 0]
            pairs = zip((m, p, dm, rest), (d_m, d_p, d_dm, d_rest), strict=True)
            moved = [f[near] + 1j * _TINY * d_f[near] for f, d_f in pairs]
            bent = physics.physical_integrals(moved[0], moved[1], moved[2], moved[3], self._step)
            d_m[near], d_p[near] = (f.imag / _TINY for f in bent)
        d_ln_m = d_m / np.exp(value[..., 4, :])[..., None, :]
        return d_ln_m, d_p / np.exp(value[..., 5, :] - ln_g)[..., None, :]

    def _extension_or_one(self, x: Array) -> Array:
        assert self._mass is not None
        teff, mass = x[..., self._teff], x[..., self._mass]
        return np.where(np.isfinite(mass), physics.extension(teff, np.exp(_LN10 * x[..., self._logg]), mass), 1.0)

"""The PINN in torch, for training and automatic differentiation; `runtime.py` states the equations.

In: a tensor of labels (n, n_label), in the units of `labels`. Out: ln of the profiles (n, n_field, n_depth), cgs and
K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import physics
from .runtime import Network, feature_matrix

__all__ = ["HydrostaticNetwork"]

_LN10 = float(np.log(10.0))


class HydrostaticNetwork(nn.Module):
    """Branch and trunk; column mass and pressure by integration, so that the structure is hydrostatic.

    Parameters
    ----------
    labels, features : names, see `runtime.feature_matrix`
    ln_tau : (n_depth,) grid in the natural logarithm of the Rosseland depth
    width, depth : of the branch
    n_component : basis functions in depth for each of the four fields
    n_field : 4; or 6, with the mean weight of a particle and the column mass above the first layer, see `runtime`
    n_corpus : number of training sets. Each has an input of its own, a bias in the first layer, so that one
        network learns what the sets share; `export(corpus)` folds one of them in.
    """

    def __init__(
        self, labels: Sequence[str], features: Sequence[str], ln_tau: Any, *, width: int, depth: int,
        n_component: int, n_field: int = 4, n_corpus: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.labels, self.features = tuple(labels), tuple(features)
        self._teff, self._logg = self.labels.index("teff"), self.labels.index("logg")
        self._mass = self.labels.index("mass") if "mass" in self.labels else None
        n_feature, n_depth = len(features), len(ln_tau)
        self.n_component, self.n_field = n_component, n_field
        self.feature_mean = nn.Buffer(torch.zeros(n_feature, dtype=torch.float64))
        self.feature_scale = nn.Buffer(torch.ones(n_feature, dtype=torch.float64))
        matrix, *wave = feature_matrix(features, labels)
        self._features = nn.Buffer(torch.tensor(matrix), persistent=False)
        self._frequency, self._phase = (nn.Buffer(torch.tensor(w), persistent=False) for w in wave)
        # Waves begin small: first the slow part of what there is to learn.
        slow = torch.tensor((matrix[:, len(labels) + 2 :] == 0).all(axis=1))
        self.w_in = nn.Parameter(torch.randn(width, n_feature) * torch.where(slow, 1.0, 0.3) / n_feature**0.5)
        self.b_in = nn.Parameter(torch.zeros(width))
        self.corpus = nn.Parameter(torch.zeros(n_corpus, width))
        self.w = nn.ParameterList(torch.randn(width, width) / width**0.5 for _ in range(depth))
        self.b = nn.ParameterList(torch.zeros(width) for _ in range(depth))
        self.w_out = nn.Parameter(torch.randn(n_field * n_component, width) * 0.1 / width**0.5)
        self.b_out = nn.Parameter(torch.zeros(n_field * n_component))
        self.basis = nn.Parameter(torch.zeros(n_field, n_component, n_depth))
        self.mean = nn.Parameter(torch.zeros(n_field, n_depth))
        ln_tau = np.asarray(ln_tau, dtype=float)
        self.ln_tau = nn.Buffer(torch.tensor(ln_tau))
        tau = np.exp(ln_tau)
        self._tau = nn.Buffer(torch.tensor(tau), persistent=False)
        self._ln_grey = nn.Buffer(torch.tensor(np.log(physics.grey_temperature(tau, np.ones(1)))), persistent=False)
        integral = physics.integration_matrix(ln_tau)
        self._integral = nn.Buffer(torch.tensor(integral.T.copy()), persistent=False)
        if self._mass is not None:
            above = physics.from_unit_depth(ln_tau, integral)
            self._above = nn.Buffer(torch.tensor(above.T.copy()), persistent=False)

    def input_features(self, x: Tensor) -> Tensor:
        """Features (..., n_feature) of labels x (..., n_label), standardised."""
        teff = x[..., self._teff, None]
        log_teff = torch.log10(teff)
        if self._mass is not None:
            columns = list(x.unbind(-1))
            columns[self._mass] = self._extension(x)
            x = torch.stack(columns, -1)
        inputs = torch.cat([x, log_teff, 1.0 / teff, torch.sin(log_teff * self._frequency + self._phase)], -1)
        f = nn.functional.linear(inputs, self._features)
        return (f - self.feature_mean) / self.feature_scale

    def _extension(self, x: Tensor) -> Tensor:
        """`physics.extension` (...,) of labels with a mass."""
        gravity = torch.exp(_LN10 * x[..., self._logg])
        factor = physics.BOLTZMANN / physics.ATOMIC_MASS / physics.SOLAR_GM**0.5
        # Two roots: the derivative of their product is not a number where the mass is infinite.
        out: Tensor = factor * x[..., self._teff] * torch.rsqrt(gravity) * torch.rsqrt(x[..., self._mass])
        return out

    def hidden(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """Last hidden layer of the branch, (..., width)."""
        f = self.input_features(x).to(self.w_in.dtype)
        h = nn.functional.linear(f, self.w_in, self.b_in) + self.corpus[corpus]
        for w, b in zip(self.w, self.b, strict=True):
            h = h + nn.functional.silu(nn.functional.linear(h, w, b))
        return h

    def fields(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """The fields q (..., n_field, n_depth) that the network predicts."""
        c = nn.functional.linear(self.hidden(x, corpus), self.w_out, self.b_out)
        c = c.reshape(*c.shape[:-1], self.n_field, self.n_component)
        return torch.einsum("...fc,fcd->...fd", c, self.basis) + self.mean

    def integrals(self, q: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Column mass, gas pressure over gravity, dm / dln(tau) and 1 - a/g from fields q (..., n_field, n_depth) at
        labels x; in a sphere 1 - a/g is (R/r)^2 - a/g."""
        integral = self._integral.to(q.dtype)
        ln_kappa, ln_a_over_g = q[..., 1, :], q[..., 2, :]
        dm = self._tau.to(q.dtype) * torch.exp(-ln_kappa)
        top = torch.exp(q[..., 5, :1]) if self.n_field > 4 else 1.0
        a_over_g = torch.exp(ln_a_over_g)
        rest = 1 - a_over_g
        m = top * dm[..., :1] + dm @ integral
        dp = rest * dm
        p = top * dp[..., :1] + dp @ integral
        # While training always, planes among spheres: nothing then waits for the answer of a device.
        if self._mass is not None and (self.training or bool(torch.isfinite(x[..., self._mass]).any())):
            weight = self._scale_height(q, x) * dm
            above = self._above.to(q.dtype)
            v = torch.ones_like(p)
            for _ in range(physics.SPHERE_PASSES):
                v = (1 + (weight * v**2 / torch.maximum(p, physics.SMALL * m)) @ above).clamp(0.5, 2.0)
                rest = v**2 - a_over_g
                dp = rest * dm
                p = top * dp[..., :1] + dp @ integral
        return m, p, dm, rest

    def _scale_height(self, q: Tensor, x: Tensor) -> Tensor:
        """k T / (mu m_u g R), mu of a particle with its share of the electrons: the scale height over the radius."""
        # k Teff / (m_u g R) is the extension.
        scale = self._extension(x)[..., None].to(q.dtype)
        share = torch.exp(-nn.functional.logsigmoid(-q[..., 3, :]))
        return scale * torch.exp(q[..., 0, :] + self._ln_grey.to(q.dtype) - q[..., 4, :]) * share

    def physical_integrals(self, m: Tensor, p: Tensor, dm: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """`physics.physical_integrals` in torch."""
        step = torch.diff(self.ln_tau).to(p.dtype)

        def cell(f: Tensor) -> Tensor:
            return 0.5 * step * (f[..., 1:] + f[..., :-1])

        def positive(u: Tensor) -> Tensor:
            v = torch.clamp_min(1 - u, 0.0)
            return torch.where(u < 1, 1 / (1 + v + v**2), u)

        small = physics.SMALL * cell(dm)

        def gaining(f: Tensor, bound: Tensor | float) -> Tensor:
            u = (torch.diff(f) - bound) / small
            more = torch.cumsum(torch.where(u < 1, small * (positive(u) - u), 0.0), -1)
            return f + nn.functional.pad(more, (1, 0))

        m = gaining(m, 0.0)
        p = gaining(p, cell(dm * torch.clamp_max(rest, 0.0) ** 3) / physics.SMALL**2)
        return m, physics.SMALL * m * positive(p / (physics.SMALL * m))

    def unphysical(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """How far structures at labels x are from physical ones, (...,); zero where they are.

        Counts gas pressure below a hundredth of m g, column mass that does not increase inwards, and pressure
        that does not where g > a.
        """
        m, p, _, rest = self.integrals(torch.clamp(self.fields(x, corpus), -30, 30), x)
        low = torch.relu(physics.SMALL - p / m)
        down_m = torch.relu(1e-3 - torch.diff(torch.log(torch.clamp_min(m, 1e-30))))
        scale = torch.abs(p[..., 1:].detach()) + 1e-3 * m[..., 1:].detach()
        down_p = torch.relu(1e-4 - torch.diff(p) / scale) * ((rest[..., 1:] > 0) & (rest[..., :-1] > 0))
        return low.sum(-1) + down_m.sum(-1) + down_p.sum(-1)

    def forward(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """Natural logarithms of `runtime.FIELDS` for labels x (..., n_label): (..., 7, n_depth), or 8 with density.

        In the precision of the weights.
        """
        # While training, a star may run off for some steps: no overflow, so that it can come back.
        q = torch.clamp(self.fields(x, corpus), -30, 30)
        m, p, dm, rest = self.integrals(q, x)
        x = x.to(q.dtype)
        ln_g = _LN10 * x[..., self._logg, None]
        ln_t, ln_kappa, ln_a, logit = q[..., :4, :].unbind(-2)
        ln_t = ln_t + (self._ln_grey.to(q.dtype) + torch.log(x[..., self._teff, None]))
        m, p = self.physical_integrals(m, p, dm, rest)
        ln_p = torch.log(p) + ln_g
        ln_n = ln_p - ln_t - float(np.log(physics.BOLTZMANN))
        ln_f, ln_rest = nn.functional.logsigmoid(logit), nn.functional.logsigmoid(-logit)
        out = [ln_t, ln_kappa, ln_a + ln_g, ln_n + ln_f, torch.log(m), ln_p, ln_n + ln_rest]
        if self.n_field > 4:
            out.append(ln_n + ln_rest + q[..., 4, :] + float(np.log(physics.ATOMIC_MASS)))
        return torch.stack(out, -2)

    # ------------------------------------------------------------------ start and finish

    @torch.no_grad()
    def start_from(self, x: Tensor, q: Tensor) -> None:
        """Standardise the features on labels x (n, n_label); start the basis from the principal components of q.

        q : (n, n_field, n_depth), see `training.data.network_fields`
        """
        f = self.input_features(x)
        self.feature_scale.copy_(f.std(0).clamp_min(1e-6))
        self.feature_mean.copy_(f.mean(0))
        self.mean.copy_(q.mean(0))
        for field in range(self.n_field):
            _, s, v = torch.linalg.svd(q[:, field] - q[:, field].mean(0), full_matrices=False)
            scale = s[: self.n_component] / len(q) ** 0.5
            self.basis[field] = (v[: self.n_component] * scale[:, None]).to(self.basis.dtype)

    @torch.no_grad()
    def export(self, corpus: int = 0) -> dict[str, np.ndarray]:
        """Tensors of `runtime.Network`, float32 where they were trained so."""
        names = ("feature_mean", "feature_scale", "w_in", "w_out", "b_out", "basis", "mean", "ln_tau")
        out = {n: getattr(self, n).detach().cpu().numpy() for n in names}
        out["b_in"] = (self.b_in + self.corpus[corpus]).cpu().numpy()
        out["w"] = torch.stack(list(self.w)).cpu().numpy()
        out["b"] = torch.stack(list(self.b)).cpu().numpy()
        return {k: np.ascontiguousarray(v) for k, v in out.items()}

    @classmethod
    def from_network(cls, network: Network) -> HydrostaticNetwork:
        """The torch module, in double precision, that computes the same as a run-time network."""
        w = {k: torch.tensor(np.asarray(v, dtype=float)) for k, v in network.tensors.items()}
        module = cls(
            network.labels, network.features, network.tensors["ln_tau"], width=w["w_in"].shape[0],
            depth=w["w"].shape[0], n_component=w["basis"].shape[1], n_field=w["basis"].shape[0],
        ).double()  # fmt: skip
        with torch.no_grad():
            for name in ("feature_mean", "feature_scale", "w_in", "b_in", "w_out", "b_out", "basis", "mean"):
                getattr(module, name).copy_(w[name])
            for mine, theirs in ((module.w, w["w"]), (module.b, w["b"])):
                for parameter, value in zip(mine, theirs, strict=True):
                    parameter.copy_(value)
        return module

"""The PINN in torch, for training and automatic differentiation; `runtime.py` states the equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import physics
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
    n_corpus : number of training sets. Each has an input of its own, a bias in the first layer, so that one
        network learns what the sets share; `export(corpus)` folds one of them in.
    """

    def __init__(
        self, labels: Sequence[str], features: Sequence[str], ln_tau: Any, *, width: int, depth: int,
        n_component: int, n_corpus: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.labels, self.features = tuple(labels), tuple(features)
        self._teff, self._logg = self.labels.index("teff"), self.labels.index("logg")
        n_feature, n_depth = len(features), len(ln_tau)
        self.n_component = n_component
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
        self.w_out = nn.Parameter(torch.randn(4 * n_component, width) * 0.1 / width**0.5)
        self.b_out = nn.Parameter(torch.zeros(4 * n_component))
        self.basis = nn.Parameter(torch.zeros(4, n_component, n_depth))
        self.mean = nn.Parameter(torch.zeros(4, n_depth))
        ln_tau = np.asarray(ln_tau, dtype=float)
        self.ln_tau = nn.Buffer(torch.tensor(ln_tau))
        tau = np.exp(ln_tau)
        self._tau = nn.Buffer(torch.tensor(tau), persistent=False)
        self._ln_grey = nn.Buffer(torch.tensor(np.log(physics.grey_temperature(tau, np.ones(1)))), persistent=False)
        self._integral = nn.Buffer(torch.tensor(physics.integration_matrix(ln_tau).T.copy()), persistent=False)

    def input_features(self, x: Tensor) -> Tensor:
        """Features (..., n_feature) of labels x (..., n_label), standardised."""
        teff = x[..., self._teff, None]
        log_teff = torch.log10(teff)
        inputs = torch.cat([x, log_teff, 1.0 / teff, torch.sin(log_teff * self._frequency + self._phase)], -1)
        f = nn.functional.linear(inputs, self._features)
        return (f - self.feature_mean) / self.feature_scale

    def hidden(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """Last hidden layer of the branch, (..., width)."""
        f = self.input_features(x).to(self.w_in.dtype)
        h = nn.functional.linear(f, self.w_in, self.b_in) + self.corpus[corpus]
        for w, b in zip(self.w, self.b, strict=True):
            h = h + nn.functional.silu(nn.functional.linear(h, w, b))
        return h

    def fields(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """The four fields q (..., 4, n_depth) that the network predicts."""
        c = nn.functional.linear(self.hidden(x, corpus), self.w_out, self.b_out)
        c = c.reshape(*c.shape[:-1], 4, self.n_component)
        return torch.einsum("...fc,fcd->...fd", c, self.basis) + self.mean

    def integrals(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Column mass, gas pressure over gravity, dm / dln(tau) and 1 - a/g from fields q (..., 4, n_depth)."""
        integral = self._integral.to(q.dtype)
        _, ln_kappa, ln_a_over_g, _ = q.unbind(-2)
        dm = self._tau.to(q.dtype) * torch.exp(-ln_kappa)
        rest = 1 - torch.exp(ln_a_over_g)
        dp = rest * dm
        return dm[..., :1] + dm @ integral, dp[..., :1] + dp @ integral, dm, rest

    def physical_pressure(self, p: Tensor, m: Tensor, dm: Tensor, rest: Tensor) -> Tensor:
        """`physics.physical_pressure` in torch."""
        step = torch.diff(self.ln_tau).to(p.dtype)

        def cell(f: Tensor) -> Tensor:
            return 0.5 * step * (f[..., 1:] + f[..., :-1])

        def positive(u: Tensor) -> Tensor:
            v = torch.clamp_min(1 - u, 0.0)
            return torch.where(u < 1, 1 / (1 + v + v**2), u)

        small = physics.SMALL * cell(dm)
        u = (torch.diff(p) - cell(dm * torch.clamp_max(rest, 0.0) ** 3) / physics.SMALL**2) / small
        more = torch.cumsum(torch.where(u < 1, small * (positive(u) - u), 0.0), -1)
        p = p + nn.functional.pad(more, (1, 0))
        return physics.SMALL * m * positive(p / (physics.SMALL * m))

    def unphysical(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """How far structures at labels x are from physical ones, (...,); zero where they are.

        Counts gas pressure below a hundredth of m g, column mass that does not increase inwards, and pressure
        that does not where g > a.
        """
        m, p, _, rest = self.integrals(torch.clamp(self.fields(x, corpus), -30, 30))
        low = torch.relu(physics.SMALL - p / m)
        down_m = torch.relu(1e-3 - torch.diff(torch.log(torch.clamp_min(m, 1e-30))))
        scale = torch.abs(p[..., 1:].detach()) + 1e-3 * m[..., 1:].detach()
        down_p = torch.relu(1e-4 - torch.diff(p) / scale) * ((rest[..., 1:] > 0) & (rest[..., :-1] > 0))
        return low.sum(-1) + down_m.sum(-1) + down_p.sum(-1)

    def forward(self, x: Tensor, corpus: Tensor | int = 0) -> Tensor:
        """Natural logarithms of `runtime.FIELDS` for labels x (..., n_label): (..., 7, n_depth).

        In the precision of the weights.
        """
        # While training, a star may run off for some steps: no overflow, so that it can come back.
        q = torch.clamp(self.fields(x, corpus), -30, 30)
        x = x.to(q.dtype)
        ln_g = _LN10 * x[..., self._logg, None]
        ln_t, ln_kappa, ln_a, logit = q.unbind(-2)
        ln_t = ln_t + (self._ln_grey.to(q.dtype) + torch.log(x[..., self._teff, None]))
        m, p, dm, rest = self.integrals(q)
        # An untrained network may be rough in depth: a floor keeps its loss finite.
        m = torch.maximum(m, m[..., :1])
        p = self.physical_pressure(p, m, dm, rest)
        ln_p = torch.log(p) + ln_g
        ln_n = ln_p - ln_t - float(np.log(physics.BOLTZMANN))
        ln_f, ln_rest = nn.functional.logsigmoid(logit), nn.functional.logsigmoid(-logit)
        out = (ln_t, ln_kappa, ln_a + ln_g, ln_n + ln_f, torch.log(m), ln_p, ln_n + ln_rest)
        return torch.stack(out, -2)

    # ------------------------------------------------------------------ start and finish

    @torch.no_grad()
    def start_from(self, x: Tensor, q: Tensor) -> None:
        """Standardise the features on labels x (n, n_label); start the basis from the principal components of q.

        q : (n, 4, n_depth), see `training.data.network_fields`
        """
        f = self.input_features(x)
        self.feature_scale.copy_(f.std(0).clamp_min(1e-6))
        self.feature_mean.copy_(f.mean(0))
        self.mean.copy_(q.mean(0))
        for field in range(4):
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
            depth=w["w"].shape[0], n_component=w["basis"].shape[1],
        ).double()  # fmt: skip
        with torch.no_grad():
            for name in ("feature_mean", "feature_scale", "w_in", "b_in", "w_out", "b_out", "basis", "mean"):
                getattr(module, name).copy_(w[name])
            for mine, theirs in ((module.w, w["w"]), (module.b, w["b"])):
                for parameter, value in zip(mine, theirs, strict=True):
                    parameter.copy_(value)
        return module

"""Muon: momentum whose update is orthogonalised, for the square matrices of the branch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon"]

#: Coefficients of the quintic whose iteration drives singular values towards 1 (Jordan et al. 2024, Muon).
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for matrices of one shape.

    As `torch.optim.Muon`, but for all matrices at once, and in bfloat16 only on a processor that has such arithmetic:
    others emulate it, a hundred times slower than float32.

    Parameters
    ----------
    matrices : parameters of one square shape
    lr : rate, or a tensor that holds it; momentum : of the running mean of gradients (Nesterov's)
    iterations : of the quintic
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float | Tensor, momentum: float = 0.95, iterations: int = 4
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "iterations": iterations})

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            updates = []
            for p in matrices:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                updates.append(torch.lerp(p.grad, mean, group["momentum"]))
            together = torch.stack(updates)
            precision = torch.bfloat16 if _computes_bfloat16(together.device) else together.dtype
            for p, update in zip(matrices, orthogonal(together.to(precision), group["iterations"]), strict=True):
                p.sub_(update * group["lr"])


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether a processor has arithmetic in bfloat16; a GPU keeps float32, in which packaged weights were trained."""
    return device.type == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def orthogonal(x: Tensor, iterations: int) -> Tensor:
    """Matrices (n, m, m) with their singular values brought near 1, by so many Newton-Schulz iterations."""
    a, b, c = _QUINTIC
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-30)
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x

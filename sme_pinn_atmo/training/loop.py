"""The training loop: seeded, with a progress bar, resumable after an interruption at any moment."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..emulator import write_atomically
from ..labels import Domain, as_planes
from ..network import HydrostaticNetwork
from ..runtime import FIELDS
from .data import COLUMNS, TrainingSet, depth_grid, neighbours, network_fields
from .muon import Muon

__all__ = ["SCALES", "corpora", "profile_loss", "slope_loss", "train_network"]

#: Relative errors at which the loss turns from quadratic to linear, for each of `COLUMNS`: what counts as small.
SCALES = {"temperature": 2e-4, "opacity": 1.5e-3, "radiative_acceleration": 1e-2, "electron_density": 2.5e-3,
          "rhox": 1e-3, "gas_pressure": 1e-3, "density": 2e-3}  # fmt: skip


def profile_loss(predicted: Tensor, y: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Mean of sqrt(1 + (error / scale)^2) - 1 over fields, depths and stars.

    predicted : (n, 7 or 8, n_depth) ln of `runtime.FIELDS`; y, mask : (n, 7, n_depth) ln of `COLUMNS`, what is known
    of them; weight : (n,)
    """
    return _mean_size(_errors(predicted, y), mask * weight[:, None, None])


def slope_loss(predicted: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """`profile_loss` of differences between the first half of the stars and the second: errors of slopes in the labels.

    Cf. the gradient term of PhDLspec (arXiv:2604.02730), there for spectra.
    """
    n = len(y) // 2
    error = _errors(predicted, y)
    return _mean_size(error[:n] - error[n:], mask[:n] & mask[n:])


def _errors(predicted: Tensor, y: Tensor) -> Tensor:
    inverse = torch.tensor([1 / SCALES[c] for c in COLUMNS], dtype=predicted.dtype, device=predicted.device)
    if predicted.shape[1] == len(FIELDS):  # the density of atoms, the last but one, is no column
        predicted = torch.cat([predicted[:, :6], predicted[:, 7:]], 1)
    else:
        predicted, y, inverse = predicted[:, :6], y[:, :6], inverse[:6]
    return (predicted - y.to(predicted.dtype)) * inverse[:, None]


def _mean_size(error: Tensor, mask: Tensor) -> Tensor:
    w = mask[:, : error.shape[1]]
    return ((torch.sqrt(1 + error**2) - 1) * w).sum() / w.sum()


def train_network(
    sets: Sequence[TrainingSet], config: Mapping[str, Any], checkpoint: Path, domain: Domain, *, progress: bool = True
) -> HydrostaticNetwork:
    """Train on every star that is not held out; returns the network with its final weights.

    `config` has `seed`, the table `network` (labels, features, width, depth, n_component, log_tau) and the
    table `training` (steps, batch, learning_rate, epoch: steps between checkpoints, start: weights to start
    from, collocation: stars anywhere in `domain` that must be physical, gradient: weight of `slope_loss`, for which
    half of a batch are neighbours of the other half, seed: of the weights and batches, where it is not to be that of
    the folds). With `checkpoint` there, training goes on from it. Same configuration, same machine: same weights.
    """
    t = config["training"]
    seed = t.get("seed", config["seed"])
    torch.manual_seed(seed)
    device = torch.device(t.get("device", "cpu"))
    x, y, mask, corpus, weight = _stack(sets, device)
    net = build(config, len(corpora(sets)))
    width = _free(sets, net.labels).to(device)
    first = corpus == 0 if t.get("basis_from_first") else torch.ones_like(corpus, dtype=torch.bool)
    ln_tau = net.ln_tau.numpy()
    q = network_fields(y[first].cpu().numpy(), x[first].cpu().numpy(), net.labels, ln_tau)
    net.start_from(x.cpu(), torch.tensor(q))
    if "start" in t:
        net.load_state_dict(torch.load(t["start"], weights_only=True))
    net.to(device)
    optimisers: list[Any] = list(_optimisers(net, t))
    schedules: list[Any] = [torch.optim.lr_scheduler.LambdaLR(o, lambda s: _schedule(s, t)) for o in optimisers]
    generator = torch.Generator().manual_seed(seed)
    # Stars all over the domain, also where no model is: structures must be physical there too.
    exported = corpora(sets).index(config.get("export", sets[0].corpus))
    anywhere = None
    if t.get("collocation"):
        anywhere = torch.tensor(as_planes(domain.sample(100_000, seed), net.labels, None)).to(device)
    step, hard = 0, None
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        if state["steps"] != t["steps"]:
            raise ValueError(f"{checkpoint} is of a run of {state['steps']} steps, the configuration says {t['steps']}")
        net.load_state_dict(state["net"])
        for o, s in zip((*optimisers, *schedules), state["optimisers"], strict=True):
            o.load_state_dict(s)
        generator.set_state(state["generator"])
        step = state["step"]
    bar = tqdm(total=t["steps"], initial=step, disable=not progress, desc=config["name"], unit="step", mininterval=5)
    share = weight / weight.sum()
    near = None
    if t.get("gradient"):  # of planes, with their infinite mass, among themselves
        near = torch.tensor(neighbours(torch.nan_to_num(x, posinf=0.0).cpu().numpy(), corpus.cpu().numpy()))
    running, last = None, time.monotonic()
    while step < t["steps"]:
        pick = torch.multinomial(share.cpu(), t["batch"], replacement=True, generator=generator)
        if near is not None:
            half = pick[: len(pick) // 2]
            pick = torch.cat([half, near[half, torch.randint(near.shape[1], half.shape, generator=generator)]])
        pick = pick.to(device)
        labels = x[pick]
        if width.any():
            # Another value of a label that a structure does not depend on, each time that it is met.
            low, span = width[:, pick]
            labels = torch.where(
                span > 0, low + span * torch.rand(labels.shape, generator=generator).to(device), labels
            )
        predicted = net(labels, corpus[pick])
        loss = profile_loss(predicted, y[pick], mask[pick], torch.ones_like(weight[pick]))
        if near is not None:
            loss = loss + t["gradient"] * slope_loss(predicted, y[pick], mask[pick])
        if anywhere is not None:
            if hard is None:
                hard = _hardest(net, anywhere, exported, generator)
            some = torch.randint(len(anywhere), (t["collocation"],), generator=generator).to(device)
            again = torch.randint(len(hard), (t["collocation"] // 2,), generator=generator).to(device)
            # The logarithm, because one star may be off by powers of ten and must not stop all others.
            loss = loss + 30 * torch.log1p(net.unphysical(anywhere[torch.cat([some, hard[again]])], exported)).mean()
        for o in optimisers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), t.get("clip", 1.0))
        for o, s in zip(optimisers, schedules, strict=True):
            # A star far from all models may dominate a step: that step is lost, not the run.
            if norm < 1e5:
                o.step()
            s.step()
        step += 1
        bar.update()
        if step % t["epoch"] == 0 or step == t["steps"]:
            hard = None
            value = float(loss.detach())
            running = value if running is None else 0.7 * running + 0.3 * value
            bar.set_postfix(loss=f"{running:.4f}")
            if not np.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at step {step}: lower training.learning_rate")
            if time.monotonic() - last >= t.get("checkpoint_seconds", 15) or step == t["steps"]:
                last = time.monotonic()
                buffer = io.BytesIO()
                states = [o.state_dict() for o in (*optimisers, *schedules)]
                torch.save({"net": net.state_dict(), "optimisers": states, "generator": generator.get_state(),
                            "step": step, "steps": t["steps"]}, buffer)  # fmt: skip
                checkpoint.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(checkpoint, buffer.getvalue())
    bar.close()
    return net.cpu()


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _hardest(net: HydrostaticNetwork, x: Tensor, corpus: int, generator: torch.Generator) -> Tensor:
    """Indices of the 256 least physical of 10,000 stars: few violate physics, and chance alone rarely meets them."""
    some = torch.randint(len(x), (10_000,), generator=generator).to(x.device)
    return some[net.unphysical(x[some], corpus).topk(256).indices]


def corpora(sets: Sequence[TrainingSet]) -> list[str]:
    """The corpora of the sets, in the order of the network's corpus input."""
    return list(dict.fromkeys(s.corpus for s in sets))


def build(config: Mapping[str, Any], n_corpus: int) -> HydrostaticNetwork:
    """An untrained network of the configuration's shape."""
    n = config["network"]
    return HydrostaticNetwork(
        n["labels"], n["features"], np.log(10.0) * depth_grid(config), width=n["width"], depth=n["depth"],
        n_component=n["n_component"], n_field=6 if "mass" in n["labels"] else 4, n_corpus=n_corpus,
    )  # fmt: skip


def _stack(sets: Sequence[TrainingSet], device: torch.device) -> tuple[Tensor, ...]:
    """Labels, profiles, masks, corpus numbers and weights of the stars that train."""
    parts: list[list[np.ndarray]] = [[], [], [], [], []]
    order = corpora(sets)
    for s in sets:
        use = ~s.held
        # A set's weight is its share of a batch, whatever its size.
        share = np.full(int(use.sum()), s.weight / max(int(use.sum()), 1))
        columns = (s.x[use], s.y[use], s.mask[use], np.full(len(share), order.index(s.corpus)), share)
        for part, value in zip(parts, columns, strict=True):
            part.append(value)
    return tuple(torch.tensor(np.concatenate(p)).to(device) for p in parts)


def _free(sets: Sequence[TrainingSet], labels: Sequence[str]) -> Tensor:
    """Lower end and width of the range over which a star's structure does not depend on a label, (2, n, n_label)."""
    parts = []
    for s in sets:
        ends = torch.tensor([s.free.get(n, (0.0, 0.0)) for n in labels], dtype=torch.float64).T
        parts.append(torch.stack([ends[0], ends[1] - ends[0]])[:, None].expand(-1, int((~s.held).sum()), -1))
    return torch.cat(parts, 1)


def _optimisers(net: HydrostaticNetwork, t: Mapping[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon (orthogonalised momentum) for the branch's square matrices, Adam for the rest."""
    square = list(net.w)
    rest = [p for p in net.parameters() if not any(p is s for s in square)]
    lr = t["learning_rate"]
    return [
        Muon(square, lr=t.get("muon_rate", 10 * lr)),
        torch.optim.Adam(rest, lr=lr, betas=(0.9, 0.99)),
    ]


def _schedule(step: int, t: Mapping[str, Any]) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = t.get("warm_up", 200)
    if step < warm:
        return float((step + 1) / warm)
    return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(t["steps"] - warm, 1)))) + 1e-4

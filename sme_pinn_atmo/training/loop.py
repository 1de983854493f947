"""The training loop: seeded, with a progress bar, resumable after an interruption at any moment."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..emulator.labels import Domain, as_planes
from ..emulator.network import HydrostaticNetwork
from ..emulator.runtime import FIELDS
from ..files import write_atomically
from .data import COLUMNS, TrainingSet, depth_grid, neighbours, network_fields
from .muon import Muon

__all__ = ["SCALES", "Run", "corpora", "profile_loss", "slope_loss", "train_network"]

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


@lru_cache
def _inverse_scales(dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 / `SCALES` in the order of `COLUMNS`, brought to the device once."""
    return torch.tensor([1 / SCALES[c] for c in COLUMNS], dtype=dtype, device=device)


def _errors(predicted: Tensor, y: Tensor) -> Tensor:
    inverse = _inverse_scales(predicted.dtype, predicted.device)
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
) -> tuple[HydrostaticNetwork, dict[str, Any]]:
    """Train on every star that is not held out; returns the network with its final weights, and the seconds that
    training took (all parts of an interrupted one) and the device that it ran on.

    `config` has `seed`, the table `network` (labels, features, width, depth, n_component, log_tau) and the
    table `training` (steps, batch, learning_rate, epoch: steps between checkpoints, start: weights to start
    from, collocation: stars anywhere in `domain` that must be physical, gradient: weight of `slope_loss`, for which
    half of a batch are neighbours of the other half, seed: of the weights and batches, where it is not to be that of
    the folds, device: "cpu" or one that torch knows, restart: a list of steps `at` which optimisers and rates start
    anew, at `rate` of the full ones). With `checkpoint` there, training goes on from it. Same
    configuration, same machine: same weights.
    """
    t = config["training"]
    run = Run(sets, config, domain)
    if checkpoint.is_file():
        run.load(torch.load(checkpoint, weights_only=True, map_location="cpu"), checkpoint)
    bar = tqdm(total=run.steps, initial=run.step, disable=not progress, desc=config["name"], unit="step", mininterval=5)
    running, last = None, time.monotonic()
    while run.step < run.steps:
        before = run.step
        value = run.epoch()
        bar.update(run.step - before)
        running = value if running is None else 0.7 * running + 0.3 * value
        bar.set_postfix(loss=f"{running:.4f}")
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {run.step}: lower training.learning_rate")
        if time.monotonic() - last >= t.get("checkpoint_seconds", 15) or run.step == run.steps:
            last = time.monotonic()
            buffer = io.BytesIO()
            torch.save(run.state(), buffer)
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(checkpoint, buffer.getvalue())
    bar.close()
    return run.net.cpu(), {"seconds": round(run.seconds), "device": run.device_name}


class Run:
    """A training under way: network, optimisers, random numbers, the step it is at, and the seconds that it took.

    Random numbers are drawn on the processor an epoch at a time, so that a step is one and the same sequence of tensor
    operations on any device; on a GPU that sequence is recorded once and replayed.
    """

    def __init__(self, sets: Sequence[TrainingSet], config: Mapping[str, Any], domain: Domain) -> None:
        self.options = t = config["training"]
        self.steps, self.step, self.seconds = int(t["steps"]), 0, 0.0
        seed = t.get("seed", config["seed"])
        torch.manual_seed(seed)
        self.device = device = torch.device(t.get("device", "cpu"))
        self.device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        x, self.y, self.mask, self.corpus, weight = _stack(sets)
        self.net = net = build(config, len(corpora(sets)))
        self.width = _free(sets, net.labels)
        first = self.corpus == 0 if t.get("basis_from_first") else torch.ones_like(self.corpus, dtype=torch.bool)
        q = network_fields(self.y[first].numpy(), x[first].numpy(), net.labels, net.ln_tau.numpy())
        net.start_from(x, torch.tensor(q))
        if "start" in t:
            net.load_state_dict(torch.load(t["start"], weights_only=True))
        self.share = weight / weight.sum()
        self.near = None
        if t.get("gradient"):  # planes, with their infinite mass, and stars with a free label each among themselves
            nodes = torch.where(self.width[1] > 0, self.width[0], torch.nan_to_num(x, posinf=0.0))
            self.near = torch.tensor(neighbours(nodes.numpy(), self.corpus.numpy()))
        net.to(device)
        self.x, self.y, self.mask = x.to(device), self.y.to(device, torch.float32), self.mask.to(device)
        self.corpus, self.width = self.corpus.to(device), self.width.to(device)
        self.optimisers, self.rates = _optimisers(net, t)
        self.generator = torch.Generator().manual_seed(seed)
        # Stars all over the domain, also where no model is: structures must be physical there too.
        self.exported = corpora(sets).index(config.get("export", sets[0].corpus))
        self.anywhere = None
        if t.get("collocation"):
            self.anywhere = torch.tensor(as_planes(domain.sample(100_000, seed), net.labels, None)).to(device)
        self.drawn: dict[str, Tensor] = {}
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.loss = torch.zeros((), device=device)
        self.graph: Any = None
        self.stream = None
        if device.type == "cuda":  # of its own: several trainings share a GPU well, each of them being small
            self.stream = torch.cuda.Stream()
            self.stream.wait_stream(torch.cuda.current_stream())

    # ------------------------------------------------------------------ steps

    def epoch(self) -> float:
        """As many steps as lie between checkpoints; returns the loss of the last."""
        start = time.monotonic()
        first, end, _ = _leg(self.step, self.options)
        if self.step == first > 0:
            self.optimisers, self.rates = _optimisers(self.net, self.options)
            self.graph = None
        n = min(int(self.options["epoch"]), end - self.step)
        with torch.cuda.stream(self.stream):
            self._draw(n)
            for i in range(n):
                if self.stream is None or (self.graph is None and i < 3):
                    self._advance()
                else:
                    self._replay()
                self.step += 1
            loss = float(self.loss)
        self.seconds += time.monotonic() - start
        return loss

    def _draw(self, n: int) -> None:
        """The random numbers of the next n steps, and their rates of learning."""
        t, generator = self.options, self.generator
        pick = torch.multinomial(self.share, n * t["batch"], replacement=True, generator=generator).view(n, -1)
        if self.near is not None:
            half = pick[:, : t["batch"] // 2]
            label = torch.randint(self.near.shape[1], half.shape, generator=generator)
            pick = torch.cat([half, self.near[half, label]], 1)
        drawn = {"pick": pick}
        if self.width.any():
            shape = (n, t["batch"], self.x.shape[1])
            drawn["free"] = torch.rand(shape, generator=generator)
        if self.anywhere is not None:
            hard = _hardest(self.net, self.anywhere, self.exported, generator)
            some = torch.randint(len(self.anywhere), (n, t["collocation"]), generator=generator)
            again = torch.randint(len(hard), (n, t["collocation"] // 2), generator=generator)
            drawn["anywhere"] = torch.cat([some, hard.cpu()[again]], 1)
        drawn["rate"] = torch.tensor([_schedule(s, t) for s in range(self.step, self.step + n)])
        for name, value in drawn.items():
            # What is recorded reads the memory that it was recorded with.
            if name not in self.drawn:
                shape = (int(t["epoch"]), *value.shape[1:])
                self.drawn[name] = torch.empty(shape, dtype=value.dtype, device=self.device)
            self.drawn[name][:n].copy_(value)
        self.at.zero_()

    def _now(self, name: str) -> Tensor:
        """What was drawn for this step."""
        return self.drawn[name].index_select(0, self.at)[0]

    def _advance(self) -> None:
        """One step; nothing here waits for the device."""
        pick = self._now("pick")
        labels = self.x[pick]
        if "free" in self.drawn:
            # Another value of a label that a structure does not depend on, each time that it is met.
            low, span = self.width[:, pick]
            labels = torch.where(span > 0, low + span * self._now("free"), labels)
        predicted = self.net(labels, self.corpus[pick])
        y, mask = self.y[pick], self.mask[pick]
        loss = profile_loss(predicted, y, mask, torch.ones_like(predicted[:, 0, 0]))
        if self.near is not None:
            loss = loss + self.options["gradient"] * slope_loss(predicted, y, mask)
        if self.anywhere is not None:
            # The logarithm, because one star may be off by powers of ten and must not stop all others.
            unphysical = self.net.unphysical(self.anywhere[self._now("anywhere")], self.exported)
            loss = loss + 30 * torch.log1p(unphysical).mean()
        for o in self.optimisers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.options.get("clip", 1.0))
        # A star far from all models may dominate a step: that step is lost, not the run.
        good = norm < 1e5
        for p in self.net.parameters():
            if p.grad is not None:
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
        rate = self._now("rate") * good
        for o, full in zip(self.optimisers, self.rates, strict=True):
            for group in o.param_groups:
                group["lr"].copy_(full * rate)
            o.step()
        self.loss.copy_(loss.detach())
        self.at += 1

    def _replay(self) -> None:
        if self.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self._advance()
            self.graph = graph
        self.graph.replay()

    # ------------------------------------------------------------------ to and from a checkpoint

    def state(self) -> dict[str, Any]:
        """All that `load` needs to go on; at the end the optimisers have no more to say."""
        optimisers = [o.state_dict() for o in self.optimisers] if self.step < self.steps else []
        return {"net": self.net.state_dict(), "optimisers": optimisers, "generator": self.generator.get_state(),
                "step": self.step, "steps": self.steps, "seconds": self.seconds,
                "device": self.device_name}  # fmt: skip

    def load(self, state: Mapping[str, Any], file: Path) -> None:
        """Go on from what `state` gave; ValueError where that was a run of another length."""
        if state["steps"] != self.steps:
            raise ValueError(f"{file} is of a run of {state['steps']} steps, the configuration says {self.steps}")
        self.net.load_state_dict(state["net"])
        for o, s in zip(self.optimisers, state["optimisers"], strict=bool(state["optimisers"])):
            o.load_state_dict(s)
        self.generator.set_state(state["generator"])
        self.step, self.seconds = int(state["step"]), state["seconds"]
        if self.step < self.steps and state["device"] != self.device_name:
            self.device_name = f"{state['device']}, then {self.device_name}"
        else:
            self.device_name = state["device"]


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


def _stack(sets: Sequence[TrainingSet]) -> tuple[Tensor, ...]:
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
    return tuple(torch.tensor(np.concatenate(p)) for p in parts)


def _free(sets: Sequence[TrainingSet], labels: Sequence[str]) -> Tensor:
    """Lower end and width of the range over which a star's structure does not depend on a label, (2, n, n_label)."""
    parts = []
    for s in sets:
        ends = torch.tensor([s.free.get(n, (0.0, 0.0)) for n in labels], dtype=torch.float64).T
        parts.append(torch.stack([ends[0], ends[1] - ends[0]])[:, None].expand(-1, int((~s.held).sum()), -1))
    return torch.cat(parts, 1)


def _optimisers(net: HydrostaticNetwork, t: Mapping[str, Any]) -> tuple[list[torch.optim.Optimizer], list[float]]:
    """Muon (orthogonalised momentum) for the branch's square matrices, Adam for the rest; and their full rates."""
    square = list(net.w)
    rest = [p for p in net.parameters() if not any(p is s for s in square)]
    rates = [t.get("muon_rate", 10 * t["learning_rate"]), t["learning_rate"]]
    muon_rate, adam_rate = (torch.tensor(r, device=net.b_in.device) for r in rates)
    adam = torch.optim.Adam(rest, lr=adam_rate, betas=(0.9, 0.99), capturable=net.b_in.is_cuda)
    return [Muon(square, lr=muon_rate), adam], rates


def _leg(step: int, t: Mapping[str, Any]) -> tuple[int, int, float]:
    """First step, end and share of the full rates of the part of a training, between restarts, that a step is in."""
    legs = [(0, 1.0), *((int(r["at"]), float(r["rate"])) for r in t.get("restart", []))]
    ends = [at for at, _ in legs[1:]] + [int(t["steps"])]
    return next((at, end, rate) for (at, rate), end in zip(legs, ends, strict=True) if step < end)


def _schedule(step: int, t: Mapping[str, Any]) -> float:
    """Linear warm-up, then a cosine to zero; once more from its `rate` on at each restart."""
    first, end, rate = _leg(step, t)
    return rate * _cosine(step - first, end - first, t)


def _cosine(step: int, steps: int, t: Mapping[str, Any]) -> float:
    warm = t.get("warm_up", 200)
    if step < warm:
        return float((step + 1) / warm)
    return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(steps - warm, 1)))) + 1e-4

"""What makes the difference: a plain network, the soft penalty of Kurucz-a1, and hydrostatics by construction.

Three networks learn the same nodes for the same processor time and are scored on the same nodes held out:

- plain: the branch of the packaged models, every profile from a basis in depth of its own; data loss only;
- soft: the network of arXiv:2507.06357 (its Fig. 1): labels and depth encoded in 512 numbers each, concatenated, [1024,
  512, 256] with GELU at every depth, loss (1 - alpha) L_data + alpha L_physics with alpha = 0.03 (its Eqs. 1 and 2,
  dP/dtau by automatic differentiation). L_physics keeps the radiative acceleration that Eq. 2 leaves out and is
  relative, [(dP/dtau) kappa / (g - a) - 1]^2, so that one number serves all depths;
- hydrostatic: `network.HydrostaticNetwork`, the packaged models' own.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from .. import physics
from ..emulator.network import HydrostaticNetwork
from ..files import replacing, write_atomically
from ..grids import Structures, read
from ..sources import find
from ..training.data import COLUMNS, TrainingSet, depth_grid, network_fields
from ..training.loop import profile_loss
from ..training.muon import Muon
from ..training.run import load_sets, read_config
from ..validation.scores import format_scores, score_profiles

__all__ = ["NETWORKS", "ablation", "plot"]

#: The networks compared, by name.
NETWORKS = {"plain": "plain network", "soft": "soft penalty (Kurucz-a1)", "hydrostatic": "by construction"}

#: What the networks here predict: ATLAS models have no density of their own.
_COLUMNS = COLUMNS[:6]

#: Where these lie among the six profiles of a grid file: RHOX, T, P, XNE, ABROSS, ACCRAD.
_FILE_ORDER = [_COLUMNS.index(c) for c in ("rhox", "temperature", "gas_pressure", "electron_density", "opacity",
                                          "radiative_acceleration")]  # fmt: skip
_ALPHA = 0.03


class _Features(nn.Module):
    """Standardised features of the labels, as the packaged models take them."""

    def __init__(self, net: HydrostaticNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.input_features(x).float()


class Plain(nn.Module):
    """Branch and trunk like the packaged models, six profiles straight from the basis: ln y (n, 6, n_depth)."""

    def __init__(self, net: HydrostaticNetwork, y: Tensor, n_component: int) -> None:
        super().__init__()
        self.branch = net
        width = net.w_in.shape[0]
        self.head = nn.Linear(width, 6 * n_component)
        nn.init.normal_(self.head.weight, std=0.1 / width**0.5)
        nn.init.zeros_(self.head.bias)
        self.mean = nn.Parameter(y.mean(0).float())
        basis = [torch.linalg.svd(y[:, j] - y[:, j].mean(0), full_matrices=False) for j in range(6)]
        self.basis = nn.Parameter(torch.stack([v[:n_component] * s[:n_component, None] / len(y) ** 0.5
                                               for _, s, v in basis]).float())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        c = self.head(self.branch.hidden(x)).reshape(len(x), 6, -1)
        return (torch.einsum("...fc,fcd->...fd", c, self.basis) + self.mean).double()


class Soft(nn.Module):
    """The network of the paper: ln y (n, 6, n_depth), or at depths of one's own choice."""

    def __init__(self, features: _Features, n_feature: int, y: Tensor, ln_tau: Tensor) -> None:
        super().__init__()
        self.features = features
        self.labels = nn.Sequential(nn.Linear(n_feature, 512), nn.GELU(), nn.Linear(512, 512))
        self.depth = nn.Sequential(nn.Linear(1, 512), nn.GELU(), nn.Linear(512, 512))
        self.trunk = nn.Sequential(nn.Linear(1024, 1024), nn.GELU(), nn.Linear(1024, 512), nn.GELU(),
                                   nn.Linear(512, 256), nn.GELU(), nn.Linear(256, 6))  # fmt: skip
        self.ln_tau = nn.Buffer(ln_tau.float())
        # Outputs standardised by their mean and scatter over all stars and depths, as is usual.
        self.mean = nn.Buffer(y.mean((0, 2)).float())
        self.scale = nn.Buffer(y.std((0, 2)).float())

    def standard(self, x: Tensor, ln_tau: Tensor) -> Tensor:
        """Standardised outputs (n, n_depth, 6) at ln_tau (n, n_depth)."""
        label = self.labels(self.features(x))[:, None].expand(-1, ln_tau.shape[1], -1)
        depth = self.depth((ln_tau[..., None] + 5.0) / 6.0)
        return torch.as_tensor(self.trunk(torch.cat([label, depth], -1)))

    def forward(self, x: Tensor) -> Tensor:
        out = self.standard(x, self.ln_tau.expand(len(x), -1)) * self.scale + self.mean
        return out.transpose(1, 2).double()

    def loss(self, x: Tensor, y: Tensor, mask: Tensor, logg: Tensor) -> Tensor:
        """Eq. 1 of the paper, at 16 random depths of each star: neighbours in depth teach the network little."""
        some = torch.randint(len(self.ln_tau), (len(x), 16))
        ln_tau = self.ln_tau[some].requires_grad_()
        y, mask = torch.gather(y, 2, some[:, None].expand(-1, 6, -1)), torch.gather(mask, 1, some)
        z = self.standard(x, ln_tau)
        target = (y.transpose(1, 2).float() - self.mean) / self.scale
        data = (((z - target) ** 2).mean(-1) * mask).sum() / mask.sum()
        ln = z * self.scale + self.mean
        t = {name: ln[..., j] for j, name in enumerate(_COLUMNS)}
        (slope,) = torch.autograd.grad(t["gas_pressure"].sum(), ln_tau, create_graph=True)
        net_gravity = 10.0 ** logg[:, None] - torch.exp(t["radiative_acceleration"])
        ok = mask * (net_gravity > 0.01 * 10.0 ** logg[:, None])
        ratio = slope * torch.exp(t["gas_pressure"] + t["opacity"] - ln_tau) / torch.where(ok > 0, net_gravity, 1.0)
        # An untrained network is off by powers of ten in some layers: they count, but do not rule.
        physics_loss = (torch.clamp(ratio - 1, -10, 10) ** 2 * ok).sum() / ok.sum()
        return (1 - _ALPHA) * data + _ALPHA * physics_loss


def ablation(out: Path, *, config: str = "atlas9", fold: tuple[int, int] = (1, 10), seconds: float = 480.0,
             steps: int | None = None, progress: bool = True) -> dict[str, Any]:  # fmt: skip
    """Train and score the three networks, each for `seconds` of processor time, or for `steps` where they are given;
    JSON, table and figure in `out`.

    A network whose result is already in `out`, by the same command and configuration, is not trained again. Raises
    ConfigError or OSError for a configuration or data that are not there.
    """
    settings = read_config(config)
    sets = load_sets(settings, fold, progress=progress)
    evaluated = next(s for s, c in zip(sets, settings["data"], strict=True) if c.get("evaluate"))
    truth = read(find(next(c["path"] for c in settings["data"] if c.get("evaluate")), working_folder=True))
    truth = truth.select(evaluated.index[evaluated.held])
    how = f"--seconds {seconds:g}" if steps is None else f"--steps {steps}"
    command = f"sme-pinn-atmo experiment ablation --config {config} --fold {fold[0]}/{fold[1]} {how}"
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
    trained = {"command": command, "configuration": digest}
    results: dict[str, Any] = {}
    predicted = {}
    for name in NETWORKS:
        path, kept = out / f"{name}.npz", out / f"{name}.json"
        if not path.is_file() or _kept(kept).get("trained") != trained:
            result, profiles = _one(name, settings, sets, truth, seconds, steps, progress)
            out.mkdir(parents=True, exist_ok=True)
            temporary = out / f".{name}.part.npz"
            np.savez_compressed(temporary, profiles=profiles)
            temporary.replace(path)
            write_atomically(kept, json.dumps({**result, "trained": trained}, indent=1).encode())
        results[name] = _kept(kept)
        predicted[name] = np.load(path)["profiles"]
    summary = {"command": command, "models": len(truth), "networks": results}
    write_atomically(out / "ablation.json", json.dumps(summary, indent=1).encode())
    write_atomically(out / "ablation.md", (table(summary) + "\n").encode())
    plot(predicted, truth, out / "ablation.png")
    return summary


def _kept(path: Path) -> dict[str, Any]:
    """What is kept of a network; nothing where the file is not there or is damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def table(summary: Mapping[str, Any]) -> str:
    """The result as Markdown: median / 95th percentile of the relative error in per cent."""
    columns = ("RHOX", "T", "P", "XNE", "ABROSS", "HSE")
    lines = [f"| {summary['models']} nodes held out | steps | weights | " + " | ".join(columns) + " | cost of one |",
             "|---" * (len(columns) + 4) + "|"]  # fmt: skip
    for name, r in summary["networks"].items():
        s = r["scores"]["all"]
        cells = [f"{s[c]['median']:.3g} / {s[c]['p95']:.2g}" for c in columns]
        cost = r["seconds_per_prediction"] / summary["networks"]["hydrostatic"]["seconds_per_prediction"]
        lines.append(f"| {NETWORKS[name]} | {r['steps']} | {r['weights']} | " + " | ".join(cells) + f" | {cost:.2g} |")
    return "\n".join(lines)


def plot(predicted: Mapping[str, NDArray[np.float64]], truth: Structures, path: Path) -> None:
    """dP/dtau against (g - a) / kappa, and the distribution of the hydrostatic residual with that of the computed
    models: Figs. 3 and 4 of the paper."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.5), layout="constrained")
    cells = figure.add_gridspec(2, 4, height_ratios=(1, 1.1))
    top = [figure.add_subplot(cells[0, k]) for k in range(4)]
    everything = {**predicted, "computed": truth.profiles}
    names = {**NETWORKS, "computed": "computed models"}
    distribution = figure.add_subplot(cells[1, :])
    bins = np.geomspace(1e-7, 30, 80)
    for k, (name, profiles) in enumerate(everything.items()):
        slope, right, residual = [], [], []
        for p, n, logg in zip(profiles, truth.n_depth, truth.labels["logg"], strict=True):
            m, _, pressure, _, kappa, a = p[1:n].T.astype(float)
            residual.append(physics.hydrostatic_residual(m, pressure, a, np.asarray(10.0**logg)))
            tau = 0.5 * (kappa[1:] + kappa[:-1]) * np.diff(m)
            slope.append(np.diff(pressure) / tau)
            right.append((10.0**logg - 0.5 * (a[1:] + a[:-1])) / (0.5 * (kappa[1:] + kappa[:-1])))
        x, y = np.concatenate(right), np.concatenate(slope)
        ok = (x > 0) & (y > 0)
        top[k].loglog(x[ok][::3], y[ok][::3], ",", color=f"C{k}", alpha=0.5, rasterized=True)
        top[k].plot([1e-2, 1e8], [1e-2, 1e8], color="0.4", lw=0.7)
        top[k].set(title=names[name], xlabel=r"$(g-a)/\kappa$", xlim=(1e-1, 1e8), ylim=(1e-1, 1e8))
        values = np.concatenate(residual)
        distribution.hist(np.clip(values, bins[0], bins[-1]), bins=list(bins), histtype="step", color=f"C{k}", lw=1.5,
                          label=f"{names[name]}: median {100 * np.nanmedian(values):.2g} %")  # fmt: skip
    top[0].set_ylabel(r"$dP/d\tau$ [dyn cm$^{-2}$]")
    distribution.set(xscale="log", xlabel="hydrostatic residual |(dP/dm + a)/g − 1|", ylabel="layers")
    distribution.legend(fontsize=9)
    with replacing(path) as (part,):
        figure.savefig(part, dpi=110, format="png")


def _one(
    name: str, settings: Mapping[str, Any], sets: list[TrainingSet], truth: Structures, seconds: float,
    wanted: int | None, progress: bool,
) -> tuple[dict[str, Any], NDArray[np.float64]]:  # fmt: skip
    """Train one network on all sets as one corpus (the plain and the paper's know no corpora), and score it."""
    torch.manual_seed(settings["seed"])
    n = settings["network"]
    ln_tau = np.log(10.0) * depth_grid(settings)
    x, y, mask = (
        torch.tensor(np.concatenate([getattr(s, k)[~s.held] for s in sets])) for k in ("x", "y", "mask")
    )
    base = HydrostaticNetwork(n["labels"], n["features"], ln_tau, width=n["width"], depth=n["depth"],
                              n_component=n["n_component"])  # fmt: skip
    base.start_from(x, torch.tensor(network_fields(y.numpy(), x.numpy(), n["labels"], ln_tau)))
    y, mask = y[:, : len(_COLUMNS)], mask[:, : len(_COLUMNS)]
    logg = x[:, n["labels"].index("logg")].float()
    t = settings["training"]
    if name == "hydrostatic":
        net: nn.Module = base
        batch, rate, muon = t["batch"], t["learning_rate"], list(base.w)
    elif name == "plain":
        net = Plain(base, y, n["n_component"])
        batch, rate, muon = t["batch"], t["learning_rate"], list(base.w)
    else:
        net = Soft(_Features(base), len(n["features"]), y, torch.tensor(ln_tau))
        batch, rate, muon = 64, 5e-4, []
    used = [p for p in net.parameters() if not any(p is m for m in muon)]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(used, lr=rate, betas=(0.9, 0.99))]
    if muon:
        optimisers.append(Muon(muon, lr=t["muon_rate"]))
    rates = [o.param_groups[0]["lr"] for o in optimisers]
    share = torch.cat([torch.full((int((~s.held).sum()),), s.weight / int((~s.held).sum())) for s in sets])
    start, steps, spent = time.process_time(), 0, 0.0
    total, unit = (round(seconds), "s") if wanted is None else (wanted, "step")
    bar = tqdm(total=total, disable=not progress, desc=name, unit=unit, mininterval=5)
    while (done := spent / seconds if wanted is None else steps / wanted) < 1:
        for o, r in zip(optimisers, rates, strict=True):
            o.param_groups[0]["lr"] = r * min((steps + 1) / 200, 1) * (0.5 + 0.5 * np.cos(np.pi * done))
        pick = torch.multinomial(share, batch, replacement=True)
        if isinstance(net, Soft):
            loss = net.loss(x[pick], y[pick], mask[pick].all(1).float(), logg[pick])
        else:
            p = net(x[pick])
            full = p if p.shape[1] == 7 else torch.cat([p, p[:, :1]], 1)
            loss = profile_loss(full, y[pick], mask[pick], torch.ones(batch, dtype=torch.float64))
        for o in optimisers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for p in net.parameters() if p.grad is not None], 1.0)
        if norm < 1e5:
            for o in optimisers:
                o.step()
        steps += 1
        spent = time.process_time() - start
        bar.update((round(spent) if wanted is None else steps) - bar.n)
    bar.close()
    profiles = _profiles(net, truth, n["labels"], ln_tau)
    cost = _cost(net, x[:1])
    return {"steps": steps, "batch": batch, "processor_seconds": spent, "seconds_per_prediction": cost,
            "weights": sum(p.numel() for p in net.parameters() if p.grad is not None),
            "scores": score_profiles(profiles, truth)}, profiles  # fmt: skip


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _profiles(net: nn.Module, truth: Structures, labels: list[str], ln_tau: NDArray[np.float64]) -> NDArray[np.float64]:
    """Profiles at the depths of the computed models, as `score_profiles` takes them."""
    x = torch.tensor(np.stack([truth.labels[n] for n in labels], 1))
    ln = torch.cat([net(part)[:, :6] for part in x.split(64)]).numpy()[:, _FILE_ORDER]
    out = np.full(truth.profiles.shape, np.nan)
    for i, layers in enumerate(truth.n_depth):
        matrix = physics.interpolation_matrix(ln_tau, np.log(10.0) * truth.log_tau_ross[i, :layers].astype(float))
        out[i, :layers] = np.exp(ln[i] @ matrix.T).T
    return out


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _cost(net: nn.Module, x: Tensor) -> float:
    """Median time of one prediction in torch [s]: only ratios between the networks mean something."""
    times = []
    for _ in range(60):
        start = time.perf_counter()
        net(x)
        times.append(time.perf_counter() - start)
    return float(np.median(times[10:]))


def format_summary(summary: Mapping[str, Any]) -> str:
    """The result for people, by Teff."""
    return "\n".join(
        f"{NETWORKS[name]}: {r['steps']} steps of {r['batch']}, {r['processor_seconds']:.0f} s\n"
        f"{format_scores(r['scores'])}"
        for name, r in summary["networks"].items()
    )

"""A network of The Payne's kind on a training set: torch trains it, on spectra and on their derivatives; NumPy uses it.

Labels scaled to -0.5..0.5, two hidden layers, pixels as principal components of the training spectra, which are fixed:
few spectra then suffice, and the loss costs nothing. With derivatives the loss is that of PhDLspec (arXiv:2604.02730)
in kind: what the network's own derivatives by the labels miss of the stored ones is added to what its spectra miss.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_atomically
from .store import Set

__all__ = ["SpectrumNetwork", "gradient_loss", "train"]

Array = NDArray[np.float64]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class SpectrumNetwork:
    """Spectra at labels.

    Attributes
    ----------
    names : of the labels
    low, high : (n_label,) of the training labels
    wavelength : (n_pixel,) [A], `band` (n_pixel,) number of the band
    weights : of the three layers, W (n_out, n_in) and b (n_out,) each
    basis : (n_component, n_pixel), mean : (n_pixel,)
    card : what it was trained on, and how far off it is on spectra that it has not seen
    """

    names: tuple[str, ...]
    low: Array
    high: Array
    wavelength: Array
    band: NDArray[np.int64]
    weights: tuple[tuple[Array, Array], ...]
    basis: Array
    mean: Array
    card: Mapping[str, Any]

    def inside(self, labels: Any) -> NDArray[np.bool_]:
        """Which labels (..., n_label) lie in the box of the training labels."""
        x = np.asarray(labels, dtype=float)
        return np.asarray(((x >= self.low) & (x <= self.high)).all(axis=-1))

    def predict(self, labels: Any) -> Array:
        """Flux (..., n_pixel) at labels (..., n_label), in the order of `names`; beyond the box it extrapolates."""
        return self.predict_with_slopes(labels, slopes=False)[0]

    def predict_with_slopes(self, labels: Any, slopes: bool = True) -> tuple[Array, Array | None]:
        """Flux (..., n_pixel) and its exact derivatives by the labels (..., n_label, n_pixel)."""
        labels = np.asarray(labels, dtype=float)
        if labels.shape[-1:] != (len(self.names),):
            raise ValueError(f"labels have the shape {labels.shape}; the last axis must be {', '.join(self.names)}")
        h: Array = (labels - self.low) / (self.high - self.low) - 0.5
        d: Array = np.broadcast_to(np.diag(1.0 / (self.high - self.low)), (*labels.shape, len(self.names)))
        last = len(self.weights) - 1
        for k, (w, b) in enumerate(self.weights):
            h = h @ w.T + b
            if slopes:
                d = d @ w.T
            if k < last:
                gate = 1.0 / (1.0 + np.exp(-h))
                if slopes:
                    d = d * (gate * (1 + h * (1 - gate)))[..., None, :]
                h = h * gate
        return np.asarray(self.mean + h @ self.basis), np.asarray(d @ self.basis) if slopes else None

    def save(self, path: str | Path) -> None:
        """Write an .npz file."""
        arrays: dict[str, Any] = {
            "format": FORMAT, "names": np.array(self.names), "low": self.low, "high": self.high,
            "wavelength": self.wavelength, "band": self.band, "basis": self.basis, "mean": self.mean,
            "card": json.dumps(dict(self.card)),
        }  # fmt: skip
        for k, (w, b) in enumerate(self.weights):
            arrays |= {f"w{k}": w, f"b{k}": b}
        data = io.BytesIO()
        np.savez(data, **arrays)
        write_atomically(Path(path), data.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> SpectrumNetwork:
        """From a file of `save`. Raises FileNotFoundError for none, ValueError for another."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no network {path}")
        with np.load(path, allow_pickle=False) as file:
            if "format" not in file.files or int(file["format"]) > FORMAT:
                raise ValueError(f"{path} is not a network of spectra that this version reads")
            weights = tuple((file[f"w{k}"], file[f"b{k}"]) for k in range(3))
            return cls(
                tuple(str(n) for n in file["names"]), file["low"], file["high"], file["wavelength"], file["band"],
                weights, file["basis"], file["mean"], json.loads(str(file["card"])),
            )  # fmt: skip


# ---------------------------------------------------------------------- training


def gradient_loss(
    network: Callable[[Any], Any], labels: Any, flux: Any, slopes: Any = None, weight: float = 1.0
) -> Any:
    """Mean squared misfit of spectra, and of their derivatives where there are: all tensors of torch.

    Parameters
    ----------
    network : from labels (n, n_label), scaled, to spectra (n, n_out)
    flux : (n, n_out)
    slopes : (m, n_label, n_out) of the first m of the stars, per scaled label
    weight : of the derivatives; labels are scaled to a range of 1, so that derivatives are changes of the flux over the
        whole range, and 1 is a fair weight over all labels
    """
    import torch

    loss = ((network(labels) - flux) ** 2).mean()
    if slopes is not None and len(slopes):
        own = torch.func.vmap(torch.func.jacfwd(lambda x: network(x[None])[0]))(labels[: len(slopes)])
        loss = loss + weight * ((own.transpose(1, 2) - slopes) ** 2).mean()
    return loss


def train(
    training: Set, *, names: Sequence[str] | None = None, rows: Any = None, held: Any = None,
    gradients: float = 0.0, width: int = 128, components: int = 60, steps: int = 4000, rate: float = 3e-3,
    decay: float = 1e-6, seed: int = 1, progress: Callable[[str], None] = lambda text: None,
) -> SpectrumNetwork:  # fmt: skip
    """Train a network on a set.

    Parameters
    ----------
    names : of the labels; `Set.free` if left out; without one that spectra depend on, the network takes it for noise
    rows : stars to train on, held : stars to score it with; a tenth of the set is held if both are left out
    gradients : weight of the derivatives in the loss; 0 leaves them out
    width, components : of the hidden layers; principal components of the spectra
    steps, rate, decay, seed : of Adam, on all spectra at once; the rate falls to nothing as a cosine

    Returns the network; its card has rms and percentiles of its error on the held stars, of spectra and of derivatives.

    Raises ImportError without torch, ValueError for derivatives that the set does not have.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise ImportError("training needs torch: pip install 'sme-pinn-atmo[train]'") from None
    chosen = tuple(names or training.free)
    done = training.done
    if rows is None:
        order = np.random.default_rng(seed).permutation(done)
        held = np.sort(order[: max(len(order) // 10, 1)]) if held is None else np.asarray(held)
        rows = np.sort(order[~np.isin(order, held)])
    rows, held = np.asarray(rows), np.asarray([] if held is None else held, dtype=int)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} spectra are too few to train on")
    slopes, with_slopes = None, np.array([], dtype=int)
    if gradients > 0:
        missing = [n for n in chosen if n not in training.gradient_labels]
        if missing:
            raise ValueError(f"{training.path} has no derivatives by {', '.join(missing)}")
        with_slopes = np.intersect1d(rows, training.with_gradients)
        if not len(with_slopes):
            raise ValueError(f"none of the {len(rows)} spectra to train on has derivatives")
        rows = np.concatenate([with_slopes, np.setdiff1d(rows, with_slopes)])
        slopes = training.get("gradients", with_slopes)[:, [training.gradient_labels.index(n) for n in chosen]]
    labels, flux = training.labels(chosen, rows), training.get("flux", rows)
    low, high = labels.min(axis=0), labels.max(axis=0)
    # The ranges that labels were drawn from, where they were: the few stars of a small set do not reach their ends.
    survey = training.card["survey"]
    for j, name in enumerate(chosen):
        low[j], high[j] = survey["ranges"].get(name, (low[j], high[j]))
    mean, basis, scale = _components(flux, None if slopes is None else slopes * (high - low)[:, None], components)
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(len(chosen), width), torch.nn.SiLU(), torch.nn.Linear(width, width), torch.nn.SiLU(),
              torch.nn.Linear(width, len(basis))]  # fmt: skip
    network: Any = torch.nn.Sequential(*layers).double()
    x = torch.tensor((labels - low) / (high - low) - 0.5)
    y = torch.tensor((flux - mean) @ basis.T / scale)
    s = None if slopes is None else torch.tensor(slopes * (high - low)[:, None] @ basis.T / scale)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        loss = gradient_loss(network, x, y, s, gradients)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 500 == 0 or step == steps - 1:
            progress(f"step {step}: loss {loss.item():.3g}")
    linear: list[Any] = layers[::2]
    weights = [(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in linear]
    weights[-1] = (weights[-1][0] * scale, weights[-1][1] * scale)
    made = SpectrumNetwork(chosen, low, high, training.wavelength, training.band, tuple(weights), basis, mean, {})
    card = {
        "set": str(training.path), "key": training.card["key"], "model": training.card["model"],
        "model_sha256": training.card["model_sha256"], **{n: survey.get(n) for n in ("pattern", "corrections")},
        "spectra": len(rows), "gradients": len(with_slopes), "weight": gradients, "width": width, "steps": steps,
        "components": len(basis), "seed": seed, "held": score(made, training, held) if len(held) else {},
    }  # fmt: skip
    return SpectrumNetwork(chosen, low, high, training.wavelength, training.band, tuple(weights), basis, mean, card)


def _components(flux: Array, slopes: Array | None, components: int) -> tuple[Array, Array, float]:
    """Mean spectrum, principal components (n_component, n_pixel), and the scale of their amplitudes.

    Derivatives, where there are, say in which directions spectra go that few of them do not show.
    """
    mean = flux.mean(axis=0)
    off = flux - mean
    if slopes is not None:
        # A derivative over a range of 1 is sqrt(12) times the scatter that it makes.
        off = np.concatenate([off, slopes.reshape(-1, flux.shape[1]) / np.sqrt(12)])
    _, size, basis = np.linalg.svd(off, full_matrices=False)
    n = int(min(components, len(basis)))
    return mean, basis[:n], float(np.sqrt((size[:n] ** 2).sum() / len(off) / n))


def score(network: SpectrumNetwork, training: Set, rows: Any) -> dict[str, Any]:
    """How far a network is off on stars of a set: rms over all, median and 95th percentile of |difference|; and the rms
    of its derivatives relative to theirs, by label, on those of the stars that have them."""
    rows = np.asarray(rows)
    labels = training.labels(network.names, rows)
    off = network.predict(labels) - training.get("flux", rows)
    found: dict[str, Any] = {
        "stars": len(rows), "rms": float(np.sqrt(np.mean(off**2))), "median": float(np.median(np.abs(off))),
        "p95": float(np.percentile(np.abs(off), 95)),
        "median_rms_of_a_star": float(np.median(np.sqrt(np.mean(off**2, axis=1)))),
    }  # fmt: skip
    both = np.intersect1d(rows, training.with_gradients)
    kept = [n for n in network.names if n in training.gradient_labels]
    if len(both) and kept:
        own = network.predict_with_slopes(training.labels(network.names, both))[1]
        assert own is not None
        stored = training.get("gradients", both)[:, [training.gradient_labels.index(n) for n in kept]]
        own = own[:, [network.names.index(n) for n in kept]]
        miss = np.sqrt(np.mean((own - stored) ** 2, axis=(0, 2)))
        size = np.sqrt(np.mean(stored**2, axis=(0, 2)))
        found["derivatives"] = {n: float(m / max(s, 1e-300)) for n, m, s in zip(kept, miss, size, strict=True)}
    return found

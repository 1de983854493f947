"""Emulator: a named model (weights, card, domain) that turns stellar labels into model atmospheres.

In: the name or file of a model, then labels as `labels` takes them. Out: `ModelAtmosphere`, profiles in cgs and K,
outermost layer first; derivatives by label in the units of both; standard deviations.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from .. import physics
from ..composition import SOLAR_SCALES, mean_atomic_mass
from ..files import without_nan, write_together
from ..structure import PROFILES, ModelAtmosphere
from .labels import Domain, DomainError, as_planes
from .runtime import Network
from .uncertainty import ERROR_FIELDS, ErrorModel

__all__ = ["Emulator", "Jacobian", "ModelFileError", "models", "save_model", "update_card", "user_folder"]

#: Version of the layout of weights and card; a newer file is refused.
FORMAT = 1

_ENTRY_POINTS = "sme_pinn_atmo.models"
_PACKAGED = Path(__file__).parents[1] / "models"
#: Axes of every tensor: f features, h width, k layers, c coefficients, q fields, p components, d depths; of the error
#: model n held-out models, t models trained on, l labels, e fields, m knots in depth.
_AXES = {"feature_mean": "f", "feature_scale": "f", "w_in": "hf", "b_in": "h", "w": "khh", "b": "kh", "w_out": "ch",
         "b_out": "c", "basis": "qpd", "mean": "qd", "ln_tau": "d"}  # fmt: skip
_ERROR_AXES = {"error_labels": "nl", "error_log_square": "nem", "error_prior": "em", "error_weight": "",
               "error_width": "l", "error_ln_tau": "m"}  # fmt: skip
#: Of the models trained on, and of an error model that knows how far they are.
_NODE_AXES = {"nodes": "tl"}
_COVERAGE_AXES = {**_NODE_AXES, "error_per_step": "l", "error_growth": "e"}


class ModelFileError(ValueError):
    """A model's weights or card are missing, damaged, or of a format that this version does not know."""


def models() -> dict[str, Path]:
    """Names of the models that there are, and where their weights lie: the packaged ones, those in the user's folder
    (`user_folder`), and those of other packages (entry points `sme_pinn_atmo.models`, each the path of a .safetensors
    file or a function that returns it). Of two with one name the first in this order counts."""
    from importlib.metadata import entry_points

    found: dict[str, Path] = {}
    for folder in (_PACKAGED, user_folder()):
        if folder is not None:
            found = {p.stem: p for p in sorted(folder.glob("*.safetensors"))} | found
    for entry in entry_points(group=_ENTRY_POINTS):
        if entry.name not in found:
            found[entry.name] = _entry_path(entry)
    return found


def user_folder() -> Path | None:
    """Where a user's own models lie: `SME_PINN_ATMO_MODELS`, else `sme_pinn_atmo/models` below `XDG_DATA_HOME` or
    `~/.local/share`; None without a home."""
    if own := os.environ.get("SME_PINN_ATMO_MODELS"):
        return Path(own)
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "sme_pinn_atmo" / "models"
    try:
        return Path.home() / ".local" / "share" / "sme_pinn_atmo" / "models"
    except RuntimeError:
        return None


def _entry_path(entry: Any) -> Path:
    try:
        value = entry.load()
        return Path(value() if callable(value) else value)
    except Exception as error:  # whatever another package does wrong
        raise ModelFileError(f"the entry point {entry.name!r} ({entry.value}) gives no path: {error}") from None


class Jacobian(dict[str, NDArray[np.float64]]):
    """Derivatives by field name, each (..., n_depth, n_label); also as attributes."""

    def __getattr__(self, name: str) -> NDArray[np.float64]:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True, eq=False)
class Emulator:
    """A trained model. `Emulator.load("atlas12")` is the usual way to one.

    Attributes
    ----------
    name : of the model
    network : weights at run time
    domain : bounds of the labels
    card : provenance, training, figures on held-out models
    errors : what held-out models say of the error of a prediction; None where the model has none
    """

    name: str
    network: Network
    domain: Domain
    card: Mapping[str, Any]
    errors: ErrorModel | None = None
    nodes: NDArray[np.float64] | None = None

    # ------------------------------------------------------------------ loading

    @classmethod
    def load(cls, name: str | Path = "atlas12") -> Emulator:
        """A model by its name in `models()`, or one from a path to its `.safetensors` (or `.json`) file.

        Raises
        ------
        ValueError : no such model; lists the known ones
        ModelFileError : files that are missing, damaged or of a newer format
        """
        path = _weights(name)
        card = _read_card(path.with_suffix(".json"))
        tensors = _read_tensors(path, card)
        labels = tuple(card["labels"])
        errors = ErrorModel.from_tensors(tensors, labels.index("teff"))
        try:
            network = Network(labels, tuple(card["features"]), {n: tensors[n] for n in _AXES})
        except ValueError as error:
            raise ModelFileError(f"the model {path} cannot be used: {error}") from None
        nodes = np.asarray(tensors["nodes"], dtype=float) if "nodes" in tensors else None
        return cls(card["name"], network, Domain.from_dict(card["domain"]), card, errors, nodes)

    # ------------------------------------------------------------------ use

    @cached_property
    def tau_ross(self) -> NDArray[np.float64]:
        """The model's own grid of Rosseland depths, (n_depth,), increasing."""
        return self.network.tau

    @overload
    def predict(
        self, *, tau_ross: Any = None, on_outside: str = "raise", return_std: Literal[False] = False,
        geometry: str | None = None, device: str | None = None, **labels: Any,
    ) -> ModelAtmosphere: ...  # fmt: skip

    @overload
    def predict(
        self, *, tau_ross: Any = None, on_outside: str = "raise", return_std: Literal[True],
        geometry: str | None = None, device: str | None = None, **labels: Any,
    ) -> tuple[ModelAtmosphere, dict[str, NDArray[np.float64]]]: ...  # fmt: skip

    def predict(
        self, *, tau_ross: Any = None, on_outside: str = "raise", return_std: bool = False,
        geometry: str | None = None, device: str | None = None, **labels: Any,
    ) -> ModelAtmosphere | tuple[ModelAtmosphere, dict[str, NDArray[np.float64]]]:  # fmt: skip
        """Atmospheres at stellar labels.

        Parameters
        ----------
        teff [K], logg [dex, cgs], m_h [dex], alpha_m [dex], vturb [km/s], mass [Msun] : those that the model has
            (`domain.labels`), scalars or arrays that broadcast to a common shape (...,). Labels with a default (see
            `domain.defaults`) may be left out.
        tau_ross : (n_depth,) increasing Rosseland depths inside the model's range; None for its own grid
        on_outside : "raise", "clip" (to the nearest allowed labels) or "nan"
        return_std : also return a standard deviation of every profile, see `ErrorModel`
        geometry : "plane" or "sphere" of a model that has a mass; None: a sphere up to log g 3, as MARCS has it
        device : a torch device ("cuda", "cpu") that computes the profiles, in double precision; None for NumPy, which
            is faster for few stars. Needs torch.

        Returns
        -------
        ModelAtmosphere with profiles (..., n_depth), outermost layer first; with `return_std` a tuple of it and a
        dict of profile name -> standard deviation (..., n_depth) in the profile's unit: how far computed models that
        were kept from training were off near these labels, layer by layer (errors of neighbouring layers go together)

        Raises
        ------
        DomainError : labels outside `domain`, or not finite; or weights that are damaged and overflow
        TypeError : labels that are missing, unknown or not numbers
        ValueError : shapes that do not broadcast, depths that do not increase or leave the model's range,
            `return_std` of a model without an error model, a sphere of a model without a mass
        """
        if return_std and self.errors is None:
            raise ValueError(f"{self.name} was stored without an error model: return_std needs one")
        given = self.domain.resolve(labels, on_outside)
        x = as_planes(given, self.domain.labels, geometry)
        tau = self._depths(tau_ross)
        with np.errstate(invalid="ignore", over="ignore"):
            # Heights are integrals from tau = 1: over the model's own grid, whatever depths are asked for.
            own = None if self.network.has_mass else tau
            profiles = self.network.profiles(x, own) if device is None else np.exp(self._on_device(x, own, device))
        if on_outside != "nan":
            self._check_finite(x, profiles)
        atmosphere = self._atmosphere(x, given, profiles, tau)
        return (atmosphere, self._std(given, atmosphere, tau)) if return_std else atmosphere

    def jacobian(
        self, *, fields: Sequence[str] = ("temperature", "gas_pressure", "electron_density", "opacity"),
        tau_ross: Any = None, on_outside: str = "raise", geometry: str | None = None, **labels: Any,
    ) -> Jacobian:  # fmt: skip
        """Exact derivatives of profiles with respect to the labels, in the order of `domain.labels`.

        Takes what `predict` takes, and `fields`, names out of `structure.PROFILES`. Each value is
        (..., n_depth, n_label), in the units of the field per unit of the label; derivatives per mass are 0 in a plane.
        """
        if unknown := [f for f in fields if f not in PROFILES]:
            raise ValueError(f"no field {unknown[0]!r}; there are {', '.join(PROFILES)}")
        x = as_planes(self.domain.resolve(labels, on_outside), self.domain.labels, geometry)
        tau = self._depths(tau_ross)
        value, derivative = self.network.log_jacobian(x)
        matrix = None if tau is None else self.network.depth_matrix(tau)
        logarithms = {n: (value[..., j, :], derivative[..., j, :, :]) for j, n in enumerate(self.network.fields)}
        if "density" not in logarithms:
            mass, d_mass = self._atomic_mass(x)
            ln_n, d_ln_n = logarithms["atom_density"]
            logarithms["density"] = (
                ln_n + np.log(mass)[..., None], d_ln_n + (d_mass / mass[..., None])[..., None, :]
            )  # fmt: skip
        out = Jacobian()
        for name in fields:
            if name == "tau_ross":
                row = np.zeros_like(derivative[..., 0, :, :])
            elif name == "height":
                (ln_kappa, d_ln_kappa), (ln_rho, d_ln_rho) = logarithms["opacity"], logarithms["density"]
                step = self.tau_ross * np.exp(-ln_kappa - ln_rho)
                row = self.network.above @ (step[..., None] * (d_ln_kappa + d_ln_rho))
            else:
                ln_f, d_ln_f = logarithms[name]
                if matrix is not None:
                    ln_f, d_ln_f = ln_f @ matrix.T, matrix @ d_ln_f
                out[name] = np.exp(ln_f)[..., None] * d_ln_f
                continue
            out[name] = row if matrix is None else matrix @ row
        return out

    def torch_module(self) -> Any:
        """The same function as a differentiable `torch.nn.Module` in double precision (needs torch).

        Its input is (..., n_label) in the order of `domain.labels`, an infinite mass standing for plane-parallel
        layers, its output the natural logarithms of `network.fields`, (..., 7 or 8, n_depth).
        """
        from .network import HydrostaticNetwork

        return HydrostaticNetwork.from_network(self.network)

    # ------------------------------------------------------------------ helpers

    def _on_device(self, x: NDArray[np.float64], tau: NDArray[np.float64] | None, device: str) -> NDArray[np.float64]:
        """`Network.log_profiles` in torch on a device, in blocks that its memory holds."""
        import torch

        try:
            module = self.torch_module().to(device)
        except (RuntimeError, AssertionError) as error:  # torch raises both for a device that is not there
            raise ValueError(f"device = {device!r} cannot be used: {str(error).splitlines()[0]}") from None
        matrix = None if tau is None else torch.tensor(self.network.depth_matrix(tau)).to(device)
        parts = []
        with torch.no_grad():
            for part in torch.tensor(x.reshape(-1, x.shape[-1])).split(65_536):
                y = module(part.to(device))
                parts.append((y if matrix is None else y @ matrix.T).cpu().numpy())
        profiles = np.concatenate(parts)
        return profiles.reshape(*x.shape[:-1], *profiles.shape[1:])

    def _std(
        self, x: NDArray[np.float64], atmosphere: ModelAtmosphere, tau: NDArray[np.float64] | None
    ) -> dict[str, NDArray[np.float64]]:
        assert self.errors is not None
        relative = self.errors.relative_std(x, self.network.ln_tau if tau is None else np.log(tau))
        std = {name: relative[..., j, :] * getattr(atmosphere, name) for j, name in enumerate(ERROR_FIELDS)}
        # n_atom = P/kT - n_e: errors of P and T as if independent; those of n_e go with P and T.
        number = np.hypot(relative[..., ERROR_FIELDS.index("gas_pressure"), :], relative[..., 0, :])
        std["atom_density"] = number * atmosphere.atom_density
        std["density"] = number * atmosphere.density
        std["tau_ross"] = np.zeros_like(atmosphere.tau_ross)
        # A height is an integral of 1 / rho, whose errors go together from layer to layer.
        std["height"] = number * np.abs(atmosphere.height)
        return {name: std[name] for name in PROFILES}

    def _check_finite(self, x: NDArray[np.float64], profiles: NDArray[np.float64]) -> None:
        """Weights that are damaged, or of a training that ran off, may overflow."""
        if math.isfinite(profiles.sum()):
            return
        bad = x.reshape(-1, x.shape[-1])[~np.isfinite(profiles).all(axis=(-2, -1)).reshape(-1)][0]
        star = ", ".join(f"{n} = {v:g}" for n, v in zip(self.domain.labels, bad, strict=True))
        raise DomainError(f"{self.name} has no finite structure at {star}: its weights are damaged")

    def _depths(self, tau_ross: Any) -> NDArray[np.float64] | None:
        if tau_ross is None:
            return None
        tau = np.asarray(tau_ross, dtype=float)
        if tau.ndim != 1 or tau.size == 0 or not np.all(np.diff(tau) > 0) or not np.all(tau > 0):
            raise ValueError(
                f"tau_ross must be one row of increasing positive depths, not an array of shape {tau.shape}"
            )
        # Grids are tabulated in single precision: allow their rounding at both ends.
        low, high = self.tau_ross[0] * (1 - 5e-3), self.tau_ross[-1] * (1 + 5e-3)
        if tau[0] < low or tau[-1] > high:
            raise ValueError(
                f"tau_ross {tau[0]:.4g} to {tau[-1]:.4g} leaves the model's range "
                f"{self.tau_ross[0]:.4g} to {self.tau_ross[-1]:.4g}"
            )
        return tau

    def _atmosphere(
        self, x: NDArray[np.float64], labels: NDArray[np.float64], profiles: NDArray[np.float64],
        tau: NDArray[np.float64] | None,
    ) -> ModelAtmosphere:  # fmt: skip
        """Of profiles of `network.fields` at the depths tau, or of a model with a mass on its own grid."""
        radius: Any = np.inf
        derived = {}
        if self.network.has_mass:
            get = {n: x[..., j] for j, n in enumerate(self.domain.labels)}
            curvature = physics.curvature(10.0 ** get["logg"], get["mass"])
            with np.errstate(divide="ignore"):
                radius = 1.0 / curvature
            kappa, rho = (profiles[..., self.network.fields.index(n), :] for n in ("opacity", "density"))
            height = physics.height(self.tau_ross, kappa, rho, self.network.above)
            if tau is not None:
                matrix = self.network.depth_matrix(tau)
                profiles, height = np.exp(np.log(profiles) @ matrix.T), height @ matrix.T
            derived = {"density": profiles[..., -1, :], "height": height}
        t, kappa, a, n_e, m, p = (profiles[..., j, :] for j in range(6))
        depth = self.tau_ross if tau is None else tau
        depth = depth if t.ndim == 1 else np.broadcast_to(depth, t.shape)
        values = {name: labels[..., j] for j, name in enumerate(self.domain.labels)}
        return ModelAtmosphere(
            values, depth, m, t, p, n_e, kappa, a, self.card["solar_scale"], self.name, radius, derived
        )

    def _atomic_mass(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean atomic mass (...,) and its derivatives (..., n_label), by central differences of a smooth sum."""
        def mass(y: NDArray[np.float64]) -> NDArray[np.float64]:
            get = {n: y[..., j] for j, n in enumerate(self.domain.labels)}
            return mean_atomic_mass(get.get("m_h", 0.0), get.get("alpha_m", 0.0), self.card["solar_scale"])

        derivative = np.zeros(x.shape)
        for name in ("m_h", "alpha_m"):
            if name in self.domain.labels:
                step = np.zeros(x.shape[-1])
                j = self.domain.labels.index(name)
                step[j] = 1e-4
                derivative[..., j] = (mass(x + step) - mass(x - step)) / 2e-4
        return mass(x), derivative

    def __repr__(self) -> str:
        box = ", ".join(
            f"{n} {lo:g}..{hi:g}"
            for n, lo, hi in zip(self.domain.labels, self.domain.lower, self.domain.upper, strict=True)
        )
        return f"<Emulator {self.name!r}: {box}; {len(self.tau_ross)} layers>"


def _weights(name: str | Path) -> Path:
    """The weights that a name or path stands for; packaged models are found without a look at the rest."""
    packaged = _PACKAGED / f"{name}.safetensors"
    if packaged.is_file() and str(name) == packaged.stem:
        return packaged
    known = models()
    path = known.get(str(name)) or Path(name).with_suffix(".safetensors")
    if not path.is_file():
        raise ValueError(f"unknown model {str(name)!r}; known: {', '.join(known)}, or a path to a .safetensors file")
    return path


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"the model card {path} is missing") from None
    except (ValueError, OSError, RecursionError) as e:
        raise ModelFileError(f"the model card {path} cannot be read: {e}") from None
    needed = ("format", "name", "labels", "features", "domain", "solar_scale", "sha256")
    missing = [k for k in needed if not isinstance(card, dict) or k not in card]
    if missing:
        raise ModelFileError(f"the model card {path} lacks {missing[0]!r}")
    if card["format"] != FORMAT:
        raise ModelFileError(f"{path} has format {card['format']!r}; this version reads format {FORMAT}")
    if wrong := _wrong_in_card(card):
        raise ModelFileError(f"the model card {path} is damaged: {wrong}")
    return dict(card)


def _wrong_in_card(card: Mapping[str, Any]) -> str:
    """Which entry that predictions depend on cannot be used; empty where all can."""

    def rows(*lists: Any) -> bool:
        """Lists of numbers of one length; JSON in Python also has NaN, infinity and integers of any size."""
        return all(
            isinstance(values, list) and len(values) == len(lists[0])
            and all(type(v) in (int, float) and abs(v) < 1e300 for v in values)
            for values in lists
        )  # fmt: skip

    for key in ("labels", "features"):
        names = card[key]
        if not (isinstance(names, list) and all(isinstance(n, str) for n in names) and len({*names}) == len(names) > 0):
            return f"{key} = {names!r} is no list of names"
    if lost := {"teff", "logg"} - {*card["labels"]}:
        return f"labels lack {min(lost)!r}"
    for key, allowed in (("name", None), ("sha256", None), ("solar_scale", SOLAR_SCALES)):
        if not isinstance(card[key], str) or (allowed is not None and card[key] not in allowed):
            return f"{key} = {card[key]!r}"
    domain = card["domain"]
    if not isinstance(domain, dict) or domain.get("labels") != card["labels"]:
        return "the labels of its domain are not its labels"
    low, high = (domain.get(k, ()) for k in ("lower", "upper"))
    if not (rows(low, high) and len(low) == len(card["labels"]) and np.less_equal(low, high).all()):
        return f"lower = {low!r}, upper = {high!r}"
    defaults = domain.get("defaults")
    if not isinstance(defaults, dict) or {*defaults} - {*card["labels"]} or not rows([*defaults.values()]):
        return f"defaults = {defaults!r}"
    strips = domain.get("strips")
    for strip in strips if isinstance(strips, list) else [None]:
        get: dict[str, Any] = strip if isinstance(strip, dict) else {}
        knots, low, high = (get.get(k, ()) for k in ("knots", "low", "high"))
        if not (
            rows(knots, low, high) and knots and np.all(np.diff(knots) > 0) and np.less_equal(low, high).all()
            and all(get.get(k) in card["labels"] for k in ("label", "along"))
        ):  # fmt: skip
            return f"strips = {str(strips)[:60]}"
    return ""


def _read_tensors(path: Path, card: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
    except OSError as e:
        raise ModelFileError(f"the weights {path} cannot be read: {e.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != card["sha256"]:
        raise ModelFileError(
            f"the weights {path} do not match their card: sha256 {digest[:12]}..., "
            f"the card says {str(card['sha256'])[:12]}..."
        )
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as e:  # the others for odd types
        raise ModelFileError(f"the weights {path} cannot be read: {e}") from None
    if wrong := _wrong_in_tensors(tensors, len(card["features"]), len(card["labels"])):
        raise ModelFileError(f"the weights {path} are damaged: {wrong}")
    return tensors


def _wrong_in_tensors(tensors: Mapping[str, NDArray[Any]], n_feature: int, n_label: int) -> str:
    """Which tensor is missing, or does not go with the others or the card; empty where all is well."""
    size = {"f": n_feature, "l": n_label, "e": len(ERROR_FIELDS)}
    axes = _AXES | (_ERROR_AXES if any(name.startswith("error_") for name in tensors) else {})
    axes |= _NODE_AXES if "nodes" in tensors else {}
    axes |= _COVERAGE_AXES if "error_growth" in tensors else {}
    for name, letters in axes.items():
        if name not in tensors:
            return f"the tensor {name!r} is missing"
        shape = tensors[name].shape
        if len(shape) != len(letters) or any(size.setdefault(a, n) != n for a, n in zip(letters, shape, strict=True)):
            return f"the tensor {name!r} has the shape {shape}, which disagrees with the card or the other tensors"
        if tensors[name].dtype.kind != "f" or not np.isfinite(tensors[name]).all():
            return f"the tensor {name!r} holds values that are not finite numbers"
    if size["q"] not in (4, 6):
        return f"{size['q']} fields where there are 4, or 6 of a model with a mass"
    if size["c"] != size["q"] * size["p"]:
        return f"{size['c']} coefficients for {size['q']} fields of {size['p']} components"
    for name in ("ln_tau", "error_ln_tau"):
        depths = tensors.get(name, np.arange(2.0))
        if len(depths) < 2 or np.abs(depths).max() > 100 or not (np.diff(depths) > 0).all():
            return f"{name!r} are no increasing depths"
    if not tensors["feature_scale"].all():
        return "a scale of a feature is 0"
    if "error_width" in tensors and ((tensors["error_width"] <= 0).any() or tensors["error_weight"] < 0):
        return "a weight is negative, or a width not positive"
    if any((np.abs(tensors.get(f"error_{n}", np.zeros(1))) > 100).any() for n in ("log_square", "prior", "growth")):
        return "an error is out of all bounds"
    return ""


def save_model(path: Path, tensors: Mapping[str, NDArray[Any]], card: Mapping[str, Any]) -> None:
    """Write weights and card, each to a temporary file that is then renamed; the card gets the checksum."""
    from safetensors.numpy import save

    data = save(dict(tensors))
    full = without_nan({"format": FORMAT, **card, "sha256": hashlib.sha256(data).hexdigest()})
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(full, indent=1, allow_nan=False) + "\n"
    write_together({path.with_suffix(".safetensors"): data, path.with_suffix(".json"): text.encode()})


def update_card(name: str | Path, entries: Mapping[str, Any], errors: ErrorModel | None = None) -> None:
    """Put further entries into the card of a model, and an error model beside its weights; those stay."""
    path = _weights(name)
    card = _read_card(path.with_suffix(".json"))
    if fixed := sorted(set(entries) & {"format", "name", "labels", "features", "domain", "solar_scale", "sha256"}):
        raise ValueError(f"the entry {fixed[0]!r} of a card belongs to its weights")
    tensors = _read_tensors(path, card)
    save_model(path, {**tensors, **(errors.tensors() if errors is not None else {})}, {**card, **entries})

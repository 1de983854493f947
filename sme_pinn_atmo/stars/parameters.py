"""Parameters of a star's fit: names, starts, limits from the model's domain, priors and ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BROADENING", "DEFAULTS", "STELLAR", "Parameters", "limits", "parse_prior", "parse_tie"]

#: Parameters that change the emergent intensities; [X/Fe] of an element, by its symbol, does too.
STELLAR = ("teff", "logg", "monh", "alpha", "vmic")

#: Parameters that broaden what comes out.
BROADENING = ("vmac", "vsini", "resolution")

#: What is not given.
DEFAULTS = {"monh": 0.0, "alpha": 0.0, "vmic": 1.0, "vmac": 0.0, "vsini": 0.0, "resolution": 0.0}

#: Steps of differences, largest steps of one iteration, and how near a limit counts as at it.
STEPS = {"teff": 20.0, "logg": 0.05, "monh": 0.03, "alpha": 0.03, "vmic": 0.05, "vmac": 0.1, "vsini": 0.1}
LARGEST = {"teff": 400.0, "logg": 0.7, "monh": 0.5, "alpha": 0.2, "vmic": 0.6, "vmac": 3.0, "vsini": 5.0}
NEAR = {"teff": 2.0, "logg": 0.005, "monh": 0.005, "alpha": 0.005, "vmic": 0.01, "vmac": 0.05, "vsini": 0.05}
_ELEMENT = {"step": 0.05, "largest": 0.5, "near": 0.005}


@dataclass(frozen=True)
class Parameters:
    """What a fit varies, and from where.

    start : values of all parameters, fixed ones too: of `STELLAR` and `BROADENING`, and [X/Fe] [dex] by element
    free : names of those that are fitted
    priors : mean and standard deviation of Gaussian priors, by name
    ties : by name of a parameter that equals another one: {"Ca": "Mg"}

    Raises ValueError for unknown names, a parameter that is free and tied, or a prior of no width.
    """

    start: Mapping[str, float]
    free: tuple[str, ...]
    priors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.start, *self.free, *self.priors, *self.ties, *self.ties.values()):
            check_name(name)
        for name in ("teff", "logg"):
            if name not in self.start:
                raise ValueError(f"{name} of the start is missing")
        if not self.free:
            raise ValueError("cannot fit nothing: no parameter is free")
        if len(set(self.free)) < len(self.free):
            raise ValueError(f"a parameter is free twice in {', '.join(self.free)}")
        for name, source in self.ties.items():
            if name in self.free or source in self.ties:
                raise ValueError(f"{name} is tied to {source}: it cannot be free, nor {source} tied itself")
        for name, (mean, sigma) in self.priors.items():
            if name not in self.free:
                raise ValueError(f"the prior of {name} needs {name} to be free")
            if not sigma > 0:
                raise ValueError(f"the prior of {name}, {mean:g} +- {sigma:g}, needs a positive width")

    def full(self, values: Mapping[str, float]) -> dict[str, float]:
        """All parameters where the free ones have `values`."""
        found = DEFAULTS | dict(self.start) | dict(values)
        return found | {name: found.get(source, 0.0) for name, source in self.ties.items()}

    def initial(self) -> dict[str, float]:
        """Where the free parameters start."""
        found = self.full({})
        return {name: found.get(name, 0.0) for name in self.free}


def check_name(name: str) -> None:
    """Raise ValueError for what is no parameter."""
    from pysme.abund import elements

    if name not in STELLAR and name not in BROADENING and name not in elements[2:]:
        raise ValueError(
            f"cannot fit {name}; parameters: {', '.join((*STELLAR, *BROADENING))}, and [X/Fe] by the element's symbol"
        )


def step(name: str, value: float) -> float:
    """Step of a parameter's difference."""
    return 0.02 * value if name == "resolution" else STEPS.get(name, _ELEMENT["step"])


def largest(name: str, value: float) -> float:
    """Largest step of one iteration."""
    return 0.3 * value if name == "resolution" else LARGEST.get(name, _ELEMENT["largest"])


def near(name: str) -> float:
    """So near a limit counts as at it."""
    return 10.0 if name == "resolution" else NEAR.get(name, _ELEMENT["near"])


def limits(name: str, source: Any, teff: float) -> tuple[float, float]:
    """Lowest and highest value of a parameter that an atmosphere source allows, at this Teff [K] for logg.

    source : a `PinnAtmosphereGrid`, or a grid that PySME interpolates in
    """
    if name in ("vmac", "vsini"):
        return 0.0, 200.0
    if name == "resolution":
        return 500.0, 1e6
    bounds = getattr(source, "bounds", None)
    if bounds is None:
        if name in ("teff", "logg", "monh"):
            return float(source[name].min()), float(source[name].max())
        return {"vmic": (0.0, 8.0), "alpha": (-1.0, 1.0)}.get(name, (-3.0, 3.0))
    if name == "logg":
        low, high = source.emulator.domain.logg_range(teff)
        return float(low), float(high)
    found = bounds({"alpha": "alpha_m"}.get(name, name))
    if found is not None:
        return float(found[0]), float(found[1])
    return {"vmic": (0.0, 8.0), "alpha": (-1.0, 1.0)}.get(name, (-3.0, 3.0))


def parse_prior(words: Sequence[str]) -> tuple[str, tuple[float, float]]:
    """("logg", (4.44, 0.02)) from the words of an option."""
    name, mean, sigma = words
    try:
        return name, (float(mean), float(sigma))
    except ValueError:
        raise ValueError(f"prior {' '.join(words)!r} is not NAME MEAN SIGMA") from None


def parse_tie(text: str) -> tuple[str, str]:
    """("Ca", "Mg") from "Ca=Mg"."""
    name, sign, source = (part.strip() for part in text.partition("="))
    if not (name and sign and source):
        raise ValueError(f"tie {text!r} is not NAME=OTHER")
    return name, source

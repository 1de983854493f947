"""All settings of a training set in one file, survey.toml, which a user copies and changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..stars.settings import read_toml
from .instrument import Band
from .labels import DRAWS, RELATIONS, check_label

__all__ = ["CODES", "CONTINUA", "Gradients", "Survey", "presets"]

_FOLDER = Path(__file__).parent.parent / "data" / "surveys"

CODES = ("pysme", "korg")

#: Ways of normalising, see `instrument.Continuum`.
CONTINUA = ("true", "none", "polynomial", "gaussian")

#: Tables of survey.toml and the names that each may have.
_KNOWN = {
    "survey": (
        "name", "source", "code", "model", "lines", "corrections", "pattern", "geometry", "mass", "step", "threshold",
        "mu",
    ),
    "labels": ("stars", "seed", "draw", "table", "isochrone_scatter", "ranges", "fixed", "relations"),
    "band": ("name", "first", "last", "step", "log_step", "pixels", "medium", "resolution", "matrix", "integrate"),
    "continuum": ("kind", "degree", "width", "low", "high", "iterations"),
    "gradients": ("labels", "stars", "steps", "atmosphere", "together"),
    "errors": ("stars",),
}


def presets() -> dict[str, Path]:
    """Settings that come with the package, by file name ("galah.toml")."""
    return {path.name: path for path in sorted(_FOLDER.glob("*.toml"))}


@dataclass(frozen=True)
class Gradients:
    """Derivatives of the flux that are stored beside it.

    labels : for which; empty for none
    stars : the first so many stars have them; None for all
    steps : of the central differences by label, see `labels.STEPS`
    atmosphere : store the part that comes through the atmosphere alone too
    together : elements whose lines lie far apart share their syntheses where that is right
    """

    labels: tuple[str, ...] = ()
    stars: int | None = None
    steps: Mapping[str, float] = field(default_factory=dict)
    atmosphere: bool = False
    together: bool = True

    def count(self, stars: int) -> int:
        """Of so many stars, how many have derivatives."""
        return 0 if not self.labels else stars if self.stars is None else min(self.stars, stars)


@dataclass(frozen=True)
class Survey:
    """What `sme-pinn-atmo survey` makes.

    name, source : of the survey, and where its figures are from
    code : out of `CODES`
    model, geometry, mass : of the atmospheres, see `stars.synthesis.atmosphere_source`
    lines : a line list of `stars.lines.read_lines`, or a file of a data set (`sources.find`)
    corrections : of the lines (PySME), see `stars.corrections.Corrections.read`
    pattern : PySME's solar abundances
    step : of the transfer [km/s], 0 for what the highest resolution needs; threshold : see `stars.synthesis.Synthesis`
    mu : store intensities by mu as well (PySME), without rotation and instrument
    stars, seed, draw, table, ranges, fixed, relations : see `labels.draw`
    isochrone_scatter : standard deviations by which stars leave a track, by label
    bands : see `instrument.Band`
    continuum : see `instrument.Continuum`
    error_stars : the first so many stars have the error bar of the atmosphere in their flux
    """

    name: str
    bands: tuple[Band, ...]
    lines: str | None = None
    corrections: str | None = None
    source: str = ""
    code: str = "pysme"
    model: str = "atlas12"
    pattern: str = "asplund2009"
    geometry: str | None = None
    mass: float | None = None
    step: float = 0.0
    threshold: tuple[float, float] = (1.5e-3, 2e-5)
    mu: bool = False
    stars: int = 100
    seed: int = 1
    draw: str = "sobol"
    table: str | None = None
    isochrone_scatter: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    relations: Mapping[str, str] = field(default_factory=dict)
    continuum: Mapping[str, Any] = field(default_factory=lambda: {"kind": "true"})
    gradients: Gradients = field(default_factory=Gradients)
    error_stars: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("code", self.code, CODES), ("draw", self.draw, DRAWS), ("kind", self.continuum.get("kind"), CONTINUA),
        ):  # fmt: skip
            if value not in allowed:
                raise ValueError(f"{name} = {value!r}; allowed: {', '.join(allowed)}")
        if not self.bands:
            raise ValueError(f"{self.name} has no band: at least one [[band]] is needed")
        if self.stars < 1:
            raise ValueError(f"stars = {self.stars}; allowed: 1 or more")
        for name in (*self.ranges, *self.fixed, *self.relations, *self.gradients.labels, *self.gradients.steps):
            check_label(name)
        for name, relation in self.relations.items():
            if relation not in RELATIONS:
                raise ValueError(f"no relation {relation!r} for {name}; there are {', '.join(RELATIONS)}")
        for name, size in self.gradients.steps.items():
            if not size > 0:
                raise ValueError(f"the step of {name}, {size:g}, must be above 0")
        if self.code == "korg" and (self.mu or self.error_stars or self.gradients.atmosphere or self.corrections):
            raise ValueError("mu, errors, corrections and gradients of the atmosphere alone need code = 'pysme'")
        names = [*self.ranges, *self.fixed, *self.relations]
        if twice := [n for n in names if names.count(n) > 1]:
            raise ValueError(f"{twice[0]} is set twice among ranges, fixed and relations")
        if self.draw in ("isochrones", "table"):
            if self.table is None:
                raise ValueError(f"draw = {self.draw!r} needs a table")
        elif not {"teff", "logg"} <= set(names):
            raise ValueError(f"{self.name}: teff and logg need ranges or fixed values")
        for name, (low, high) in self.ranges.items():
            if not low < high:
                raise ValueError(f"range of {name}: {low:g} to {high:g}; the first must be below the second")

    # ------------------------------------------------------------------ reading

    @classmethod
    def read(cls, path: str | Path) -> Survey:
        """From a TOML file; a name of `presets` that is no file is that one. Files are looked for beside it.

        Raises FileNotFoundError for no such file, ValueError for what is not TOML, unknown names or missing ones.
        """
        file, data = read_toml(path, presets(), "settings")
        return cls.from_dict(data, file)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], path: Path = Path("survey.toml")) -> Survey:
        """As `read`, from what a TOML file holds."""
        for table, value in data.items():
            if table not in _KNOWN:
                raise ValueError(f"{path}: no table [{table}]; allowed: {', '.join(_KNOWN)}")
            for row in value if isinstance(value, list) else [value]:
                if unknown := [n for n in row if n not in _KNOWN[table]]:
                    raise ValueError(f"{path}: [{table}] has no {unknown[0]!r}; allowed: {', '.join(_KNOWN[table])}")
        survey, labels, gradients, errors = (dict(data.get(t, {})) for t in ("survey", "labels", "gradients", "errors"))
        if not isinstance(data.get("band", []), list):
            raise ValueError(f"{path}: bands are written [[band]]")
        folder = path.parent
        for holder, name in ((survey, "lines"), (survey, "corrections"), (survey, "model"), (labels, "table")):
            if name in holder:
                holder[name] = _near(folder, holder[name])
        rows: list[dict[str, Any]] = [
            {k: _near(folder, v) if k in ("pixels", "matrix") else v for k, v in b.items()}
            for b in data.get("band", [])
        ]
        bands = tuple(Band(**row) for row in rows)
        labels["ranges"] = {n: _pair(path, n, v) for n, v in labels.get("ranges", {}).items()}
        labels["fixed"] = {n: _number(path, n, v) for n, v in labels.get("fixed", {}).items()}
        if "threshold" in survey:
            survey["threshold"] = _pair(path, "threshold", survey["threshold"])
        if "labels" in gradients:
            gradients["labels"] = tuple(gradients["labels"])
        name = survey.pop("name", path.stem)
        return cls(
            name, bands, **survey, **labels, continuum={"kind": "true", **data.get("continuum", {})},
            gradients=Gradients(**gradients), error_stars=errors.get("stars", 0),
        )  # fmt: skip

    def with_(self, **changes: Any) -> Survey:
        """With other values; None changes nothing."""
        return replace(self, **{n: v for n, v in changes.items() if v is not None})

    # ------------------------------------------------------------------ what it needs

    def line_list(self) -> Path | str | None:
        """The line list as `stars.lines.read_lines` takes it: files of data sets are found.

        Raises FileNotFoundError or DataMissingError that says how it is brought.
        """
        if self.lines is None or self.lines == "galah-lines" or Path(self.lines).is_file():
            return self.lines
        from ..sources import DataMissingError, find

        try:
            return find(self.lines)
        except DataMissingError:
            if "/" in self.lines:
                raise
        raise FileNotFoundError(
            f"there is no line list {self.lines}: put a VALD extract (or Korg's .h5) for {self._reach()} beside the "
            "settings, or name another with `lines`"
        )

    def _reach(self) -> str:
        return ", ".join(f"{b.first:g}-{b.last:g} A" for b in self.bands)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, from which `from_plain` makes the same again."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Survey:
        """The inverse of `to_dict`."""
        d = dict(plain)
        d["bands"] = tuple(Band(**b) for b in d["bands"])
        d["gradients"] = Gradients(**{**d["gradients"], "labels": tuple(d["gradients"]["labels"])})
        d["ranges"] = {n: (v[0], v[1]) for n, v in d["ranges"].items()}
        d["threshold"] = tuple(d["threshold"])
        return cls(**d)

    def key(self) -> str:
        """A checksum of everything that spectra depend on."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _near(folder: Path, name: str) -> str:
    """A file beside the settings, if there is one of that name."""
    path = folder / name
    return str(path) if path.is_file() else name


def _number(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{path}: {name} = {value!r} is not a number")
    return float(value)


def _pair(path: Path, name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{path}: {name} = {value!r} is not [LOW, HIGH]")
    return _number(path, name, value[0]), _number(path, name, value[1])

"""Labels of the stars of a training set: drawn in the model's domain, along isochrones, or read from a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..composition import ALPHA_ELEMENTS, SOLAR_SCALES
from ..emulator.labels import Domain, DomainError
from ..stars.synthesis import solar_pattern

if TYPE_CHECKING:
    from .settings import Survey

__all__ = ["DRAWS", "RELATIONS", "STEPS", "Labels", "atmosphere_labels", "check_label", "draw", "step_of", "unit"]

Array = NDArray[np.float64]

DRAWS = ("sobol", "uniform", "isochrones", "table")

#: Labels that are no element.
STELLAR = ("teff", "logg", "monh", "alpha", "vmic", "vmac", "vsini")

#: Electron donors among the alpha elements; their mean [X/Fe] is the atmosphere's alpha_m, see `pysme.star_labels`.
DONORS = ("Mg", "Si", "Ca", "Ti")

#: Half steps of central differences; [X/Fe] of an element has the last one.
STEPS = {"teff": 25.0, "logg": 0.1, "monh": 0.05, "alpha": 0.05, "vmic": 0.1, "vmac": 0.2, "vsini": 0.2}
_ELEMENT = 0.05

#: Draws in vain before it is said that nothing of the ranges lies in the domain.
_TRIES = 200_000


def unit(name: str) -> str:
    """Unit of a label."""
    return {"teff": "K", "vmic": "km / s", "vmac": "km / s", "vsini": "km / s"}.get(name, "dex")


def step_of(survey: Survey, name: str) -> float:
    """Half step of a label's central difference."""
    return float(survey.gradients.steps.get(name, STEPS.get(name, _ELEMENT)))


def check_label(name: str) -> None:
    """Raise ValueError for what is no label."""
    if name not in STELLAR and name not in _elements()[2:]:
        raise ValueError(f"{name!r} is no label; labels: {', '.join(STELLAR)}, and [X/Fe] by the element's symbol")


@lru_cache(maxsize=1)
def _elements() -> tuple[str, ...]:
    from pysme.abund import elements

    return tuple(elements)


# ---------------------------------------------------------------------- relations


def _dutra_ferreira(teff: Array, logg: Array) -> Array:
    t, g = teff - 5500.0, logg - 4.0
    return 0.998 + 3.16e-4 * t - 0.253 * g - 2.86e-4 * t * g + 0.165 * g**2


def _bruntt(teff: Array, logg: Array) -> Array:
    t = teff - 5700.0
    return 1.01 + 4.56e-4 * t + 2.75e-7 * t**2


def _apogee_giants(teff: Array, logg: Array) -> Array:
    return np.asarray(10.0 ** (0.226 - 0.0228 * logg + 0.0297 * logg**2 - 0.0113 * logg**3))


def _doyle(teff: Array, logg: Array) -> Array:
    t = teff - 5777.0
    return 3.21 + 2.33e-3 * t + 2.00e-6 * t**2 - 2.00 * (logg - 4.44)


#: Relations of vmic or vmac [km/s] with Teff and log g: the function, and where it is from. Beyond the stars that they
#: were found with they are held at 0.3 km/s or more.
RELATIONS: dict[str, tuple[Callable[[Array, Array], Array], str]] = {
    "dutra-ferreira2016": (_dutra_ferreira, "vmic of dwarfs and giants from 3D models, 4500-6500 K, log g 2.0-4.5 "
                           "(Dutra-Ferreira et al. 2016, A&A 585, A75)"),
    "bruntt2010": (_bruntt, "vmic of dwarfs, 5300-6600 K, log g above 4 (Bruntt et al. 2010, MNRAS 405, 1907)"),
    "holtzman2018": (_apogee_giants, "vmic of giants in APOGEE, log g below 3.8 (Holtzman et al. 2018, AJ 156, 125)"),
    "doyle2014": (_doyle, "vmac of dwarfs, 5200-6400 K, log g 4.0-4.6 (Doyle et al. 2014, MNRAS 444, 3592)"),
}  # fmt: skip


# ---------------------------------------------------------------------- labels of the atmosphere


def atmosphere_labels(stars: Mapping[str, Array], solar_scale: str, pattern: Mapping[str, float]) -> dict[str, Array]:
    """Labels of the atmospheres of many stars: what `pysme.star_labels` says of each.

    Parameters
    ----------
    stars : label -> (n,), as `stars.synthesis.star_structure` takes them
    solar_scale : of the model, out of `SOLAR_SCALES`
    pattern : solar abundances of the synthesis, log10 number with H = 12

    Returns teff, logg, m_h, alpha_m, vturb, each (n,).
    """
    solar = SOLAR_SCALES[solar_scale]
    zero = np.zeros_like(stars["teff"])
    monh, alpha = stars.get("monh", zero), stars.get("alpha", zero)

    def above(element: str) -> Array:
        excess = stars.get(element, alpha if element in ALPHA_ELEMENTS else zero)
        return np.asarray(pattern[element] + excess + monh - solar[element])

    m_h = above("Fe")
    weight = np.array([10.0 ** solar[el] for el in DONORS])
    alpha_m = sum(w * (above(el) - m_h) for w, el in zip(weight, DONORS, strict=True)) / weight.sum()
    return {"teff": stars["teff"], "logg": stars["logg"], "m_h": m_h, "alpha_m": np.asarray(alpha_m),
            "vturb": stars.get("vmic", zero + 1.0)}  # fmt: skip


def inside(stars: Mapping[str, Array], survey: Survey, domain: Domain, solar_scale: str) -> NDArray[np.bool_]:
    """Which stars the model has atmospheres for, a margin of the steps of derivatives included."""
    pattern = solar_pattern(survey.pattern)
    ok = np.ones(len(stars["teff"]), dtype=bool)
    moves: list[dict[str, float]] = [{}]
    moves += [{n: s * step_of(survey, n)} for n in survey.gradients.labels for s in (-1.0, 1.0)]
    for move in moves:
        zero = np.zeros_like(stars["teff"])
        moved = related(survey, dict(stars) | {n: stars.get(n, zero) + d for n, d in move.items()})
        labels = atmosphere_labels(moved, solar_scale, pattern)
        alpha_m = labels["alpha_m"]
        j = domain.labels.index("alpha_m") if "alpha_m" in domain.labels else None
        if j is not None:  # as `star_labels` has it: solar scales differ by so much
            edge = np.clip(alpha_m, domain.lower[j], domain.upper[j])
            labels["alpha_m"] = np.where(np.abs(edge - alpha_m) < 0.03, edge, alpha_m)
        ok &= domain.contains(**{n: v for n, v in labels.items() if n in domain.labels})
        ok &= moved.get("vmic", zero) >= 0
    return ok


def related(survey: Survey, stars: Mapping[str, Any]) -> dict[str, Any]:
    """Stars with the labels that follow by a relation: numbers or (n,)."""
    found = dict(stars)
    for name, relation in survey.relations.items():
        found[name] = np.maximum(RELATIONS[relation][0](found["teff"], found["logg"]), 0.3)
    return found


# ---------------------------------------------------------------------- drawing


class Labels:
    """Labels of the stars of a set.

    names : of all labels that are not the same for every star
    values : (n_star, n_label) of these
    fixed : labels that are the same for all
    """

    def __init__(self, names: Sequence[str], values: Array, fixed: Mapping[str, float]) -> None:
        self.names, self.values, self.fixed = tuple(names), np.asarray(values, dtype=float), dict(fixed)

    def __len__(self) -> int:
        return len(self.values)

    def star(self, i: int) -> dict[str, float]:
        """All labels of star `i`."""
        return {**self.fixed, **dict(zip(self.names, map(float, self.values[i]), strict=True))}


def draw(survey: Survey, domain: Domain, solar_scale: str) -> Labels:
    """Labels of the stars of a survey; the first n of a larger set are those of a smaller one with the same seed.

    A survey's `draw` is "sobol", a scrambled Sobol sequence over the ranges, or "uniform", random numbers; points that
    the model has no atmosphere for are passed over. Or "isochrones": rows of a table of teff, logg and whatever else it
    has, drawn at random by its column `weight` (all alike without one), moved by `isochrone_scatter`, with labels that
    have ranges drawn for each. Or "table": the stars of a table in its order, see `read_table`; those outside the
    domain stay, and fail.

    Raises DomainError where nothing of the ranges lies in the domain, ValueError for tables that cannot be used.
    """
    if survey.draw == "table":
        return _from_table(survey)
    if survey.draw == "isochrones":
        return _along(survey, domain, solar_scale)
    names = list(survey.ranges)
    if not names:
        raise ValueError(f"{survey.name} has nothing to draw: no label has a range")
    low, high = (np.array([survey.ranges[n][i] for n in names]) for i in (0, 1))
    engine: Callable[[int], Array]
    if survey.draw == "sobol":
        from scipy.stats import qmc

        generator: dict[str, Any] = {"rng": np.random.default_rng(survey.seed)}
        try:
            engine = qmc.Sobol(len(names), **generator).random
        except TypeError:  # before SciPy 1.15 it is called seed
            engine = qmc.Sobol(len(names), seed=generator["rng"]).random
    else:
        rng = np.random.default_rng(survey.seed)
        engine = lambda n: rng.uniform(size=(n, len(names)))  # noqa: E731
    return _accepted(survey, domain, solar_scale, names, lambda n: low + engine(n) * (high - low))


def _accepted(
    survey: Survey, domain: Domain, solar_scale: str, names: Sequence[str], more: Callable[[int], Array]
) -> Labels:
    """The first stars of a sequence that the model has atmospheres for."""
    following = [n for n in survey.relations if n not in names]
    everything = [*names, *following]
    found = np.empty((0, len(everything)))
    tried = 0
    while len(found) < survey.stars:
        points = more(1024)  # a fixed number, so that the sequence does not depend on how many are asked for
        tried += len(points)
        stars = dict(zip(names, points.T, strict=True))
        stars |= {n: np.full(len(points), v) for n, v in survey.fixed.items() if n not in stars}
        stars = related(survey, stars)
        ok = inside(stars, survey, domain, solar_scale)
        found = np.concatenate([found, np.column_stack([stars[n] for n in everything])[ok]])
        if tried >= _TRIES and len(found) < survey.stars * tried / 1e6:
            raise DomainError(
                f"of {tried} stars drawn for {survey.name}, {len(found)} lie in the domain of {survey.model}: "
                "narrow the ranges, or take another model"
            )
    return Labels(everything, found[: survey.stars], {n: v for n, v in survey.fixed.items() if n not in names})


def _along(survey: Survey, domain: Domain, solar_scale: str) -> Labels:
    table = read_table(survey.table)
    weight = table.pop("weight", np.ones(len(table["teff"])))
    if not (weight >= 0).all() or not weight.sum() > 0:
        raise ValueError(f"{survey.table}: weights must be 0 or more, and not all 0")
    names = [*table, *(n for n in survey.ranges if n not in table)]
    rng = np.random.default_rng(survey.seed)

    def more(n: int) -> Array:
        rows = rng.choice(len(weight), n, p=weight / weight.sum())
        stars = {name: v[rows] for name, v in table.items()}
        for name, sigma in survey.isochrone_scatter.items():
            stars[name] = stars[name] + rng.normal(0.0, sigma, n)
        for name, (low, high) in survey.ranges.items():
            if name in table:
                raise ValueError(f"{name} is in {survey.table}, and has a range as well")
            stars[name] = rng.uniform(low, high, n)
        return np.column_stack([stars[name] for name in names])

    return _accepted(survey, domain, solar_scale, names, more)


def _from_table(survey: Survey) -> Labels:
    if survey.ranges:
        raise ValueError(f"ranges of {', '.join(survey.ranges)} have no place beside a table of stars")
    table = read_table(survey.table, survey.pattern)
    table = related(survey, table)
    fixed = {n: v for n, v in survey.fixed.items() if n not in table}
    return Labels(list(table), np.column_stack(list(table.values())), fixed)


#: Names that people give to labels, in lower case.
_ALIASES = {
    "feh": "monh", "fe_h": "monh", "[fe/h]": "monh", "m_h": "monh", "[m/h]": "monh", "mh": "monh", "afe": "alpha",
    "alpha_m": "alpha", "[alpha/fe]": "alpha", "alphafe": "alpha", "vturb": "vmic", "microturb": "vmic", "xi": "vmic",
    "macroturb": "vmac", "rotation": "vsini", "vrot": "vsini", "rot": "vsini", "log_g": "logg",
}  # fmt: skip


def read_table(path: str | Path | None, pattern: str = "asplund2009") -> dict[str, Array]:
    """Labels by star from a table of any format that astropy reads: columns teff, logg, and others by these names.

    Abundances of an element: `Mg`, `[Mg/Fe]` or `Mg_Fe`; `[Mg/H]` or `Mg_H`; `A(Mg)` or `A_Mg` (log10 number, H = 12);
    as TSFitPy has them. They become [X/Fe] on the solar abundances `pattern`. `feh`, `[Fe/H]`, `rotation` and the like
    are understood. Columns `name` are passed over.

    Raises FileNotFoundError for no such file, ValueError for a column that means nothing, that comes twice or holds
    no numbers.
    """
    path = Path(str(path))
    table = files.read_table(path, otherwise="ascii")
    out: dict[str, Array] = {}
    kinds: dict[str, str] = {}
    for column in table.colnames:
        if column.lower() in ("name", "star", "id"):
            continue
        name, kind = _column(path, column)
        if name in out:
            raise ValueError(f"{path}: {column!r} gives {name} a second time")
        try:
            values: Array = np.ma.filled(np.ma.asarray(table[column], dtype=float), np.nan)
        except (TypeError, ValueError):
            raise ValueError(f"{path}: the column {column!r} holds {table[column].dtype}, not numbers") from None
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: {column!r} of row {int(np.argmin(np.isfinite(values)))} is missing")
        out[name], kinds[name] = values, kind
    for needed in ("teff", "logg"):
        if needed not in out:
            raise ValueError(f"{path} has the columns {', '.join(table.colnames)}; {needed} is missing")
    solar, monh = solar_pattern(pattern), out.get("monh", np.zeros(len(table)))
    for name, kind in kinds.items():
        if kind == "H":
            out[name] = out[name] - monh
        elif kind == "A":
            out[name] = out[name] - solar[name] - monh
    return out


def _column(path: Path, column: str) -> tuple[str, str]:
    """Label that a column is, and what its numbers are: "A", "H", or "" for [X/Fe] and all else."""
    lower = column.strip().lower()
    if lower in _ALIASES:
        return _ALIASES[lower], ""
    if lower == "weight" or lower in STELLAR:
        return lower, ""
    patterns = (
        (r"\[?([A-Z][a-z]?)[/_](?:Fe|fe)\]?", ""), (r"\[?([A-Z][a-z]?)[/_][Hh]\]?", "H"),
        (r"A[(_]([A-Z][a-z]?)\)?", "A"), (r"([A-Z][a-z]?)", ""),
    )  # fmt: skip
    for pattern, kind in patterns:
        if (found := re.fullmatch(pattern, column.strip())) and found[1] in _elements()[2:]:
            return found[1], kind
    raise ValueError(
        f"{path}: the column {column!r} is no label; labels: {', '.join(STELLAR)}, and of elements Mg or [Mg/Fe], "
        "[Mg/H], A(Mg)"
    )

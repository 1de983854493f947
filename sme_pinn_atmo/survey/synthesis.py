"""One star of a training set: flux, continuum, derivatives, and what the atmosphere's error bar does to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ..stars.fit import transfer_step
from ..stars.instrument import broaden, disk_flux, limb_darkened
from ..stars.synthesis import SHIFTS, Intensities, Selection, Synthesis, solar_pattern
from .instrument import Band, Continuum, assemble, windows
from .labels import (
    DONORS,
    RELATIONS,
    STELLAR,
    STEPS,
    atmosphere_labels,
    read_table,
    related,
    step_of,
)  # fmt: skip

if TYPE_CHECKING:
    from .settings import Survey

__all__ = ["ERROR_DEPTHS", "ERROR_PROFILES", "Engine", "engine", "groups"]

Array = NDArray[np.float64]
Star = Mapping[str, float]

_C = constants.c / 1e3  # km/s

#: Labels that only broaden.
BROADENING = ("vmac", "vsini")

#: Stars as near as this, by label, share a selection of lines (Teff by its logarithm); others by 1 dex.
_CELLS = {"teff": 0.08, "logg": 1.0, "monh": 0.5, "alpha": 1.0, "vmic": 2.0}

#: The error bar of the atmosphere is stored for these profiles at these Rosseland depths.
ERROR_PROFILES = ("temperature", "gas_pressure", "electron_density")
ERROR_DEPTHS = (1e-3, 1e-2, 0.1, 2 / 3)

#: Elements up to this solar abundance (H = 12) share syntheses: more of them changes neither electrons, molecules of
#: other elements nor the continuum.
_TRACE = 5.7

#: What two elements of one synthesis may have in common at any pixel: depth in the limit of weak lines.
_COMMON = 5e-4

#: PySME treats all lines of a list that has no more than so many.
_FEW = 300


@dataclass(frozen=True)
class Made:
    """A star as a code makes it.

    bands : by band, wavelengths in air even in ln lambda, flux and continuum [erg s-1 cm-2 A-1]
    held : what the code made it from, before rotation
    """

    bands: list[tuple[Array, Array, Array]]
    held: Any


class Engine:
    """Makes the stars of a survey, one after the other; what a star gives does not depend on those before it."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.code: Any = _PySME(survey) if survey.code == "pysme" else _Korg(survey)
        self.step: float = self.code.step
        self.continuum = Continuum.of(survey.continuum)
        self.wave = np.concatenate([b.wave for b in survey.bands])
        self.edges = np.cumsum([0, *(len(b.wave) for b in survey.bands)])

    # ------------------------------------------------------------------ spectra

    def star(self, star: Star, *, gradients: bool = False, errors: bool = False) -> dict[str, Array]:
        """Everything that is stored of a star, by the names of the data sets.

        Raises what the synthesis raises: DomainError, FloatingPointError ...
        """
        made = self.code.make(star)
        flux, continuum = self._seen(made)
        spectrum, slope = self._normalised(flux, continuum)
        out = {"flux": spectrum, "continuum": continuum, "atmosphere_error": self.code.error_bar(star)}
        if self.survey.mu:
            out["intensity"] = self.code.by_mu(made)
        if gradients:
            out["gradients"] = np.array([slope(d) for d in self.differences(star, made)])
            if self.survey.gradients.atmosphere:
                out["gradients_atmosphere"] = np.array([slope(d) for d in self.differences(star, made, alone=True)])
        if errors:
            moves = [slope(self._raw(self.code.make(star, shift=s)) - self._raw(made)) for s in SHIFTS]
            out["flux_error"] = np.sqrt((np.array(moves) ** 2).sum(axis=0))
        return out

    def _seen(self, made: Made) -> tuple[Array, Array]:
        """Flux over continuum, and continuum, at the pixels of all bands."""
        seen = [
            (band.see(wave, flux / level, self.step), band.see(wave, level, self.step))
            for band, (wave, flux, level) in zip(self.survey.bands, made.bands, strict=True)
        ]
        return np.concatenate([s[0] for s in seen]), np.concatenate([s[1] for s in seen])

    def _raw(self, made: Made) -> Array:
        """What derivatives are differences of: flux over continuum, or the flux where that is what is stored."""
        if self.continuum.kind != "none":
            return self._seen(made)[0]
        bands = zip(self.survey.bands, made.bands, strict=True)
        return np.concatenate([band.see(wave, flux, self.step) for band, (wave, flux, _) in bands])

    def _normalised(self, flux: Array, continuum: Array) -> tuple[Array, Callable[[Array], Array]]:
        """A spectrum as the survey normalises it, and what that makes of a small change of the flux over continuum."""
        if self.continuum.kind == "none":
            return flux * continuum, lambda change: change
        levels = []
        for a, b, band in zip(self.edges[:-1], self.edges[1:], self.survey.bands, strict=True):
            levels.append(self.continuum.fit(band.air, flux[a:b]))

        def level(values: Array) -> Array:
            parts = zip(levels, self.edges[:-1], self.edges[1:], strict=True)
            return np.concatenate([f(values[a:b]) for f, a, b in parts])

        if self.continuum.kind == "true":
            return flux, lambda change: change
        base = level(flux)
        return flux / base, lambda change: (change - flux / base * level(change)) / base

    # ------------------------------------------------------------------ derivatives

    def differences(
        self, star: Star, made: Made, *, alone: bool = False, scale: float = 1.0,
        together: bool | None = None,
    ) -> list[Array]:  # fmt: skip
        """Derivatives of the flux over continuum by the labels of `gradients.labels`, (n_pixel,) each.

        alone : of the atmosphere alone, abundances and vmic of the synthesis kept
        scale : of the steps; together : see `settings.Gradients`
        """
        names = self.survey.gradients.labels
        together = self.survey.gradients.together if together is None else together
        found: dict[str, Array] = dict(self.code.exact(star, names, self) if not alone else {})
        left = [n for n in names if n not in found]
        shared = groups(self, star, left) if together and not alone else [(n,) for n in left]
        for group in shared:
            name = group[0]
            if alone and not _moves_atmosphere(name):
                found[name] = np.zeros(len(self.wave))
                continue
            size = step_of(self.survey, name) * scale
            if name in BROADENING:
                size = min(size, star.get(name, 0.0))
            if size == 0:  # rotation goes with v squared
                found[name] = np.zeros(len(self.wave))
                continue
            ends = []
            for sign in (1.0, -1.0):
                moved = related(self.survey, {**star, **{n: star.get(n, 0.0) + sign * size for n in group}})
                if alone:
                    ends.append(self._raw(self.code.make(star, atmosphere_of=moved)))
                elif name in BROADENING:
                    ends.append(self._raw(self.code.broaden(made, moved)))
                else:
                    ends.append(self._raw(self.code.make(moved, like=star)))
            difference = (ends[0] - ends[1]) / (2 * size)
            if len(group) == 1:
                found[name] = difference
            else:
                owner = np.argmax([self.code.footprint(star, n, self) for n in group], axis=0)
                for k, n in enumerate(group):
                    found[n] = np.where(owner == k, difference, 0.0)
        return [found[n] for n in names]

    def gradient_error(self, star: Star) -> dict[str, dict[str, float]]:
        """By label, how far derivatives are off: against half the step, and of elements against syntheses of their own.

        rms over pixels, relative to the rms of the derivative.
        """
        names = self.survey.gradients.labels
        made = self.code.make(star)
        one = self.differences(star, made)
        half = self.differences(star, made, scale=0.5)
        apart = self.differences(star, made, together=False)
        found = {}
        for i, name in enumerate(names):
            # What moves no pixel is not off by a multiple of nothing.
            size = max(float(np.sqrt(np.mean(apart[i] ** 2))), 1e-6 / step_of(self.survey, name))
            # A central difference is off by a multiple of the square of its step: 4/3 of the change.
            found[name] = {
                "step": step_of(self.survey, name),
                "relative_error": float(4 / 3 * np.sqrt(np.mean((one[i] - half[i]) ** 2)) / size),
                "shared": float(np.sqrt(np.mean((one[i] - apart[i]) ** 2)) / size),
            }
        return found


def _moves_atmosphere(name: str) -> bool:
    return name not in BROADENING and (name in STELLAR or name == "Fe" or name in DONORS)


def groups(engine: Engine, star: Star, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Labels that are moved at once: trace elements none of whose lines lie together; all others by themselves."""
    solar = solar_pattern(engine.survey.pattern)
    trace = [n for n in names if n in solar and solar[n] < _TRACE and n != "He"]
    found: list[tuple[str, ...]] = [(n,) for n in names if n not in trace]
    if len(trace) < 2 or not hasattr(engine.code, "footprint"):
        return found + [(n,) for n in trace]
    prints = {n: engine.code.footprint(star, n, engine) for n in trace}
    colours: list[list[str]] = []
    for n in sorted(trace, key=lambda n: -float(prints[n].sum())):
        for colour in colours:
            if all(np.minimum(prints[n], prints[m]).max() < _COMMON for m in colour):
                colour.append(n)
                break
        else:
            colours.append([n])
    return found + [tuple(c) for c in colours]


# ---------------------------------------------------------------------- PySME


class _PySME:
    """PySME's opacities and transfer."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.step = survey.step or transfer_step(max(_highest(b) for b in survey.bands))
        self.pieces, self.of = windows(survey.bands, self.step, max(_widest(survey) - 30.0, 0.0))
        self.synthesis = Synthesis(
            survey.model, _lines_of(survey, self.pieces), self.pieces, step=self.step,
            threshold=survey.threshold, pattern=survey.pattern, geometry=survey.geometry, mass=survey.mass,
        )  # fmt: skip
        self._numbers = lru_cache(maxsize=1024)(self._chosen)
        self._few = lru_cache(maxsize=2)(self._select)
        self._of: Any = None

    def make(self, star: Star, *, like: Star | None = None, **how: Any) -> Made:
        """A star, with the lines that the star `like` needs; other options are those of `Synthesis.intensities`."""
        self._use(star if like is None else like)
        stellar = {n: v for n, v in star.items() if n not in BROADENING}
        return self._broadened(self.synthesis.intensities(stellar, own_veil=True, **how), star)

    def broaden(self, made: Made, star: Star) -> Made:
        """A star with the rotation and macroturbulence of another."""
        return self._broadened(made.held, star)

    def _broadened(self, held: list[Intensities], star: Star) -> Made:
        vsini, vmac = star.get("vsini", 0.0), star.get("vmac", 0.0)
        return Made([assemble(held[a:b], vsini, vmac) for a, b in self.of], held)

    def exact(self, star: Star, names: Sequence[str], engine: Engine) -> dict[str, Array]:
        """PySME knows no derivatives."""
        return {}

    def by_mu(self, made: Made) -> Array:
        """(n_mu, 2, n_pixel) intensities with and without lines, without rotation."""
        found = []
        for band, (a, b) in zip(self.survey.bands, self.of, strict=True):
            rows = []
            for k in range(len(made.held[0].mu)):
                ray = [replace(p, mu=p.mu[k : k + 1], line=p.line[k : k + 1], continuum=p.continuum[k : k + 1])
                       for p in made.held[a:b]]  # fmt: skip
                wave, line, level = assemble(ray, 0.0, 0.0)
                # One ray stands for the whole disk there: its flux is pi times the intensity.
                rows.append([band.see(wave, v / np.pi, self.step) for v in (line, level)])
            found.append(np.array(rows))
        return np.concatenate(found, axis=-1)

    @property
    def mu(self) -> Array:
        """(n_mu,) cosines of the intensities."""
        from pysme.sme import SME_Structure

        return np.asarray(SME_Structure().mu, dtype=float)

    def error_bar(self, star: Star) -> Array:
        """(n_profile, n_depth) relative standard deviations of the atmosphere; NaN where it has none."""
        source = self.synthesis.source
        emulator = getattr(source, "emulator", None)
        if emulator is None or emulator.errors is None:
            return np.full((len(ERROR_PROFILES), len(ERROR_DEPTHS)), np.nan)
        return _relative_errors(emulator, star, self.survey)

    # ------------------------------------------------------------------ lines

    @property
    def selects(self) -> bool:
        """There are so many lines that each kind of star needs its own."""
        return len(self.synthesis.lines) > _FEW

    def cell(self, star: Star) -> tuple[tuple[str, int], ...]:
        """Which stars share a selection of lines."""
        found = []
        for name in sorted(n for n in star if n not in BROADENING):
            value = np.log(star[name]) if name == "teff" else star[name]
            found.append((name, round(float(value / _CELLS.get(name, 1.0)))))
        return tuple(found)

    def _use(self, star: Star) -> None:
        """Have the lines that a star needs; those of the last star are kept while they serve."""
        if not self.selects:
            return
        cell = self.cell(star)
        itself = {n: v for n, v in star.items() if n not in BROADENING}
        if self._of in (cell, itself):
            return
        try:
            strong, weak = self._numbers(cell)
            self._of = cell
        except Exception:  # the middle of a cell may lie outside the domain, its stars inside
            strong, weak = _numbers(self._with_probes(itself))
            self._of = itself
        masks = [np.zeros(len(self.synthesis.lines), dtype=bool) for _ in range(2)]
        for mask, numbers in zip(masks, (strong, weak), strict=True):
            mask[numbers] = True
        # What else a selection holds is of its own star; the veil is made for each anew.
        self.synthesis.use(Selection(masks[0], masks[1], (), np.zeros(0), 0.0, {}))

    def _chosen(self, cell: tuple[tuple[str, int], ...]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return _numbers(self._select(cell))

    def _selection(self, star: Star) -> Selection:
        """A whole selection, with the depths of lines."""
        try:
            return self._few(self.cell(star))
        except Exception:  # as in `_use`
            return self._with_probes({n: v for n, v in star.items() if n not in BROADENING})

    def _select(self, cell: tuple[tuple[str, int], ...]) -> Selection:
        middle = {n: float(k * _CELLS.get(n, 1.0)) for n, k in cell}
        middle["teff"] = float(np.exp(middle["teff"]))
        domain = getattr(getattr(self.synthesis.source, "emulator", None), "domain", None)
        if domain is not None:
            box = dict(zip(domain.labels, zip(domain.lower, domain.upper, strict=True), strict=True))
            for name, label in (("teff", "teff"), ("monh", "m_h"), ("vmic", "vturb")):
                if name in middle and label in box:
                    middle[name] = float(np.clip(middle[name], *box[label]))
            middle["logg"] = float(np.clip(middle["logg"], *domain.logg_range(middle["teff"])))
        return self._with_probes(middle)

    def _with_probes(self, star: Star) -> Selection:
        """A selection in which PySME treats a line of every species of the veil: it then knows their densities."""
        selection = self.synthesis.select(star)
        species = np.asarray(self.synthesis.lines["species"], dtype=str)
        strong, weak = selection.strong.copy(), selection.weak.copy()
        for name in np.setdiff1d(np.unique(species[weak]), np.unique(species[strong])):
            of = np.flatnonzero(weak & (species == name))
            first = of[np.argmax(selection.depth[of])]
            strong[first], weak[first] = True, False
        return replace(selection, strong=strong, weak=weak)

    def footprint(self, star: Star, element: str, engine: Engine) -> Array:
        """(n_pixel,) depth of an element's lines in the limit of weak lines, blurred as the star's are."""
        selection = self._selection(star)
        lines = self.synthesis.lines
        of = _has(np.asarray(lines["species"], dtype=str), element) & (selection.strong | selection.weak)
        centre, depth = np.asarray(lines["wlcent"], dtype=float)[of], selection.depth[of]
        found = []
        for band in self.survey.bands:
            low, high = band.reach()
            wave = np.exp(np.arange(np.log(low), np.log(high), self.step / _C))
            sum_ = np.zeros(len(wave))
            at = np.round((np.log(centre) - np.log(low)) * _C / self.step).astype(int)
            ok = (at >= 0) & (at < len(wave))
            # Strong lines are wider: they count by what they would take were they not saturated, within reason.
            np.add.at(sum_, at[ok], np.minimum(depth[ok], 30.0) * 2.0 / self.step)
            sigma = np.hypot(3.0, 0.7 * (star.get("vsini", 0.0) + star.get("vmac", 0.0)))
            found.append(band.see(wave, broaden(sum_, self.step, float(sigma)), self.step))
        return np.maximum(np.concatenate(found), 0.0)


def _lines_of(survey: Survey, ranges: Any) -> Any:
    """The line list, corrected."""
    from ..stars.corrections import Corrections
    from ..stars.lines import read_lines

    lines = read_lines(survey.line_list(), ranges)
    return lines if survey.corrections is None else Corrections.read(survey.corrections).apply(lines)[0]


def _numbers(selection: Selection) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Numbers of the lines that PySME treats, and of those in the veil: a hundredth of what a selection takes."""
    return tuple(np.flatnonzero(mask).astype(np.int32) for mask in (selection.strong, selection.weak))  # type: ignore[return-value]


def _has(species: NDArray[np.str_], element: str) -> NDArray[np.bool_]:
    """Which species contain an element: "Fe 1", "TiO 1"."""
    import re

    kinds, number = np.unique(species, return_inverse=True)
    parts = [element in re.findall(r"[A-Z][a-z]?", k.split()[0]) for k in kinds]
    return np.array(parts, dtype=bool)[number]


def _widest(survey: Survey) -> float:
    """How far rotation and macroturbulence take light [km/s]."""
    table = read_table(survey.table, survey.pattern) if survey.table else {}
    found = 0.0
    for name, factor in (("vsini", 1.0), ("vmac", 2.0)):
        by_relation = 15.0 if name in survey.relations else 0.0
        largest = max(survey.ranges.get(name, (0.0, 0.0))[1], survey.fixed.get(name, 0.0), by_relation)
        found += factor * max(largest, float(np.max(table.get(name, 0.0))))
    return found


def _highest(band: Band) -> float:
    """Resolving power that the transfer must serve; 0 where nothing blurs."""
    if band.matrix is not None:
        return 0.0
    r = band.spread.at(band.air)
    return 0.0 if (r <= 0).any() else float(r.max())


def _relative_errors(emulator: Any, star: Star, survey: Survey) -> Array:
    """(n_profile, n_depth) error bars of an atmosphere, relative."""
    from ..emulator.uncertainty import ERROR_FIELDS

    one = {n: np.array(v) for n, v in star.items()}
    labels = atmosphere_labels(one, emulator.card["solar_scale"], solar_pattern(survey.pattern))
    given: dict[str, Any] = {n: float(v) for n, v in labels.items() if n in emulator.domain.labels}
    if survey.mass is not None:
        given["mass"] = survey.mass
    x = emulator.domain.resolve(given, "clip")
    relative = emulator.errors.relative_std(x, np.log(np.array(ERROR_DEPTHS)))
    return np.array([relative[ERROR_FIELDS.index(p)] for p in ERROR_PROFILES])


# ---------------------------------------------------------------------- Korg


class _Korg:
    """Korg, through juliacall."""

    def __init__(self, survey: Survey) -> None:
        from ..codes import korg
        from ..emulator import Emulator

        self.survey, self.korg = survey, korg
        if "Fe" in {*survey.ranges, *survey.fixed}:
            raise ValueError("with Korg iron goes with monh: Fe is no label")
        self.emulator = Emulator.load(survey.model)
        self.lines = survey.line_list()
        self.step = survey.step or transfer_step(max(_highest(b) for b in survey.bands))

    def _arguments(self, star: Star) -> dict[str, Any]:
        from ..composition import ALPHA_ELEMENTS

        scale = self.emulator.card["solar_scale"]
        one = {n: np.array([v]) for n, v in star.items()}
        from ..composition import SOLAR_SCALES

        pattern = solar_pattern(self.survey.pattern) | SOLAR_SCALES[scale]  # all of it is on the model's scale here
        labels = {n: float(v[0]) for n, v in atmosphere_labels(one, scale, pattern).items()}
        single = {n: star.get("monh", 0.0) + v for n, v in star.items() if n not in STELLAR}
        if set(single) & set(ALPHA_ELEMENTS):  # the rest of them is not at the mean that the atmosphere has
            rest = star.get("monh", 0.0) + star.get("alpha", 0.0)
            single |= {n: rest for n in ALPHA_ELEMENTS if n not in single and n in SOLAR_SCALES[scale]}
        labels = {n: v for n, v in labels.items() if n in self.emulator.domain.labels}
        mass = {} if self.survey.mass is None else {"mass": self.survey.mass}
        return {"model": self.survey.model, "geometry": self.survey.geometry, "linelist": self.lines,
                "abundances": single, "vmic": star.get("vmic", 1.0), **labels, **mass}  # fmt: skip

    def _range(self, band: Band) -> tuple[float, float, float]:
        from pysme.util import air2vac

        low, high = (float(v) for v in air2vac(np.array(band.reach())))
        beyond = (60.0 + _widest(self.survey)) / _C
        low, high = low * (1 - beyond), high * (1 + beyond)
        return low, high, float(f"{0.5 * (low + high) * self.step / _C:.4f}") or 1e-3

    def make(
        self, star: Star, *, like: Star | None = None, shift: str | None = None, atmosphere_of: Any = None
    ) -> Made:
        """A star; see `_PySME.make`.

        Raises ValueError for what Korg cannot do: error bars in the flux, the atmosphere alone.
        """
        if shift is not None or atmosphere_of is not None:
            raise ValueError("the error bar in the flux, and derivatives of the atmosphere alone, need code = 'pysme'")
        given = self._arguments(star)
        held = [self._even(*self.korg.synthesize(wavelengths=self._range(b), **given)) for b in self.survey.bands]
        return self.broaden(Made([], held), star)

    def broaden(self, made: Made, star: Star) -> Made:
        """See `_PySME.broaden`."""
        return Made([(w, self._turned(f, star), c) for w, f, c in made.held], made.held)

    def _even(self, vacuum: Array, flux: Array, continuum: Array) -> tuple[Array, Array, Array]:
        """In air, on wavelengths even in ln lambda; Korg's fluxes are per cm."""
        from scipy.interpolate import CubicSpline

        from ..stars.instrument import even_velocity
        from ..stars.spectrum import to_air

        air = to_air(vacuum)
        wave = even_velocity(air, self.step)
        return wave, CubicSpline(air, flux)(wave) * 1e-8, CubicSpline(air, continuum)(wave) * 1e-8

    def _turned(self, flux: Array, star: Star) -> Array:
        """Rotation and macroturbulence of a disk that is the same all over but for linear limb darkening."""
        vsini, vmac = star.get("vsini", 0.0), star.get("vmac", 0.0)
        if vsini == 0 and vmac == 0:
            return flux
        mu, law = limb_darkened()
        return disk_flux(mu, law * flux, self.step, vsini=vsini, vmac=vmac)

    def exact(self, star: Star, names: Sequence[str], engine: Engine) -> dict[str, Array]:
        """Derivatives that Korg gives by automatic differentiation: Teff, log g, vmic; and of monh and alpha where no
        element has an abundance of its own."""
        wanted = [n for n in names if n == "vmic" or (n in ("teff", "logg") and "vmac" not in self.survey.relations)]
        given = self._arguments(star)
        if not given["abundances"]:
            wanted += [n for n in names if n in ("monh", "alpha")]
        if not wanted or engine.continuum.kind == "none":
            return {}
        given.pop("vmic")  # goes with vturb, of the atmosphere
        order = ("teff", "logg", "monh", "alpha", "vmic")
        parts: dict[str, list[Array]] = {n: [] for n in order}
        for band in self.survey.bands:
            low, high, step = self._range(band)
            rectified, derivative = self.korg.jacobian(wavelengths=(low, high, step), **given)
            vacuum = np.asarray(low + step * np.arange(len(rectified)), dtype=float)
            for k, n in enumerate(order):
                wave, d, _ = self._even(vacuum, derivative[:, k] * 1e8, rectified * 1e8)
                parts[n].append(band.see(wave, self._turned(d, star), self.step))
        slopes = {n: np.concatenate(v) for n, v in parts.items()}
        if "vmic" in self.survey.relations:
            for n in ("teff", "logg"):
                slopes[n] = slopes[n] + slopes["vmic"] * _slope(self.survey.relations["vmic"], star, n)
        return {n: slopes[n] for n in wanted}

    def error_bar(self, star: Star) -> Array:
        """See `_PySME.error_bar`."""
        if self.emulator.errors is None:
            return np.full((len(ERROR_PROFILES), len(ERROR_DEPTHS)), np.nan)
        return _relative_errors(self.emulator, star, self.survey)


def _slope(relation: str, star: Star, name: str) -> float:
    """Derivative of a relation by teff or logg."""
    size = STEPS[name]
    ends = [RELATIONS[relation][0](*(np.array(star[n] + (s * size if n == name else 0.0)) for n in ("teff", "logg")))
            for s in (1.0, -1.0)]  # fmt: skip
    return float((ends[0] - ends[1]) / (2 * size))


@lru_cache(maxsize=1)
def engine(plain: str) -> Engine:
    """The engine of a survey in this process, from the JSON of `Survey.to_dict`."""
    from .settings import Survey

    return Engine(Survey.from_plain(json.loads(plain)))

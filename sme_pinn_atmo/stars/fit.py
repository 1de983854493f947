"""Fit a star: Gauss-Newton around PySME's synthesis, with velocity and continuum of each window solved inside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import parameters as par
from .errors import Errors, estimate
from .instrument import LineSpread, broaden, resample
from .model import Match, ObservedWindow, broadened, cut, first_velocity, match, normalised_flux, project
from .noise import LineErrors, group_scatter, line_groups, line_scatters, line_shapes, look_again, weighed
from .parameters import Parameters
from .region import Region
from .spectrum import ObservedSpectrum
from .synthesis import Intensities, Synthesis, pool
from .windows import Windows

__all__ = ["VELOCITIES", "FittedWindow", "Options", "StarFit", "fit_star", "transfer_step"]

Array = NDArray[np.float64]

VELOCITIES = ("none", "star", "window")

#: A selection of lines serves stars as near as this.
_SAME_LINES = {"teff": 200.0, "logg": 0.5, "monh": 0.3, "alpha": 0.3, "vmic": 0.6}

#: Derivatives are made of lines deeper than the first, see `Synthesis`; the second is what may be left out.
_ROUGH = (0.03, 0.03)

#: Derivatives serve stars as near as this.
_SAME_DERIVATIVES = {"teff": 100.0, "logg": 0.25, "monh": 0.15, "alpha": 0.15, "vmic": 0.3, "vmac": 1.5, "vsini": 1.5}

#: Log gf of all lines are moved by so much [dex] to see what each does.
_STRONGER = 0.05

#: Standard deviation of a narrow line before instrument and turbulence [km/s].
_NARROW = 1.3

#: Steps below this fraction of `parameters.STEPS` end a fit.
_CONVERGED = 0.15

#: The data are looked at for points and lines that are far off in so many iterations from the second on, so often each.
_LOOKS, _ROUNDS = 2, 2

#: A fit that ends this far from where it began is done once more from its end: which lines and points err was found on
#: the way, with lines of other stars.
_FAR = {"teff": 600.0, "logg": 1.2, "monh": 0.6}

#: Changes of chi2 by less than this mean nothing. Derivatives of a few lines, made somewhat beside the star, lead no
#: nearer to the end than to a step that should have lowered chi2 by the second, and did not.
_SAME_CHI2, _NEAR_CHI2 = 0.3, 2.0

#: A step whose cosine with the one before is below the first goes back where it came from, and is damped by the second:
#: what the windows hardly constrain (log g with vmic, of few lines) else goes to and fro.
_BACK, _DAMPED = -0.5, 0.3

#: So many iterations that together lower chi2 by less than the second of these end a fit.
_STILL = 3

#: Velocity that vacuum wavelengths taken for air (or the other way) look like, 5000-10000 A [km/s].
_VACUUM = 82.9

#: Fraction of the windows' variance below which a fit is not believed.
_EXPLAINED = 0.5


@dataclass(frozen=True)
class Options:
    """How a star is fitted.

    velocity : "none", one for the "star", or one for each "window"
    degree : of the continuum of each window; -1 for none
    floor : error added to those of the spectrum in quadrature, as a fraction of the continuum: no line list is better
    line_scatter : standard deviation of the errors of log gf [dex]; every line's strength is free within it, see
        `noise`; 0 takes the list to be exact, and pixels to be independent
    corrected_scatter : the same of lines with corrections, in quadrature with the error of the correction: what a
        calibrated log gf cannot mend, for NLTE, 3D and a star's own abundances make the same line err otherwise in each
    hydrogen_scatter : the same of the wings of hydrogen [dex], which 1D LTE has wrong (Barklem 2007, Amarsi et al.
        2018); only with `line_scatter`
    clip : residuals beyond so many robust standard deviations are left out (0 for none): tellurics, defects
    points : pixels kept a FWHM of the instrument, see `model.cut`; 0 keeps all
    normalise : windows are divided by their own upper level first, for spectra that are not normalised
    iterations : at most so many
    processes : that synthesise at once
    atmosphere_errors, line_errors, external_errors : estimate these parts of the errors
    step : of the transfer [km/s]; 0 takes what the resolution needs, see `transfer_step`
    pattern : see `synthesis.star_structure`; geometry, mass : see `synthesis.atmosphere_source`
    """

    velocity: str = "window"
    degree: int = 1
    floor: float = 0.005
    line_scatter: float = 0.15
    corrected_scatter: float = 0.05
    hydrogen_scatter: float = 0.1
    clip: float = 6.0
    points: float = 4.0
    normalise: bool = False
    iterations: int = 12
    processes: int = 1
    atmosphere_errors: bool = True
    line_errors: bool = True
    external_errors: bool = True
    step: float = 0.0
    pattern: str = "asplund2009"
    geometry: str | None = None
    mass: float | None = None

    def __post_init__(self) -> None:
        if self.velocity not in VELOCITIES:
            raise ValueError(f"velocity = {self.velocity!r}; allowed: {', '.join(VELOCITIES)}")
        for name, low, high in (("degree", -1, 8), ("iterations", 1, 100), ("processes", 1, 1024)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} = {getattr(self, name)}; allowed: {low} to {high}")
        for name in ("floor", "line_scatter", "corrected_scatter", "hydrogen_scatter", "clip", "points"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name):g}; allowed: 0 or more")


@dataclass(frozen=True, eq=False)
class FittedWindow:
    """What a fit made of one window: all (n,) but velocity and continuum.

    used : points that count in the fit
    residual : (observed - model) / sigma, 0 for the others
    columns : (n, n_free) derivatives, as `model.project` gives them with the weights of the fit
    per_monh : derivative by [M/H] over sigma
    """

    low: float
    high: float
    wave: Array
    flux: Array
    sigma: Array
    used: NDArray[np.bool_]
    model: Array
    level: Array
    velocity: float
    residual: Array
    columns: Array
    per_monh: Array


@dataclass(frozen=True, eq=False)
class StarFit:
    """A star's parameters and where they come from.

    Attributes
    ----------
    name : of the star
    values : of the free parameters; `fixed` : all others
    errors : see `errors.Errors`
    stopped : by parameter that ended at a limit, which limit
    velocity : [km/s], mean over windows; `velocity_scatter` between them
    reduced_chi2, explained : chi2 over degrees of freedom; fraction of the windows' variance that the model explains
    points, iterations, syntheses, seconds : of the fit
    windows : see `FittedWindow`
    lines : line by line, see `errors.line_table`
    lines_used : (PySME's, in the veil, in the list)
    warnings : in sentences
    provenance : versions, model, checksums
    """

    name: str
    values: dict[str, float]
    fixed: dict[str, float]
    errors: Errors
    stopped: dict[str, str]
    velocity: float
    velocity_scatter: float
    reduced_chi2: float
    explained: float
    points: int
    iterations: int
    syntheses: int
    seconds: float
    windows: tuple[FittedWindow, ...]
    lines: Any
    lines_used: tuple[int, int, int]
    converged: bool
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mismatch(self) -> bool:
        """The spectrum is hardly that of such a star."""
        return self.explained < _EXPLAINED


@dataclass(frozen=True, eq=False)
class _Point:
    """A star: parameters, spectra by window (n,), and derivatives by window (n_free, m) made at the star `centre`.

    rough : by window (m,), flux at `centre` from the lines that derivatives are made of
    response : by window (3, m), d flux / d log gf of all lines but those of hydrogen, before anything broadens it and
        as the instrument shows it, and of those of hydrogen; made there too
    """

    values: dict[str, float]
    flux: list[Array]
    derivatives: list[Array]
    centre: dict[str, float]
    rough: list[Array]
    response: list[Array]


class _Fit:
    """State of one fit: data, synthesis, and the point where the star stands."""

    def __init__(
        self, spectrum: ObservedSpectrum, windows: Windows, lines: Any, model: Any, parameters: Parameters,
        options: Options, spread: LineSpread | None,
    ) -> None:  # fmt: skip
        spectrum.with_floor(options.floor)  # raises for one below 0
        self.spectrum, self.table, self.parameters, self.options = spectrum, windows, parameters, options
        if not windows.windows:
            raise ValueError(f"the table {windows.name} has no window")
        if spread is not None and "resolution" in parameters.free:
            raise ValueError("resolution cannot be free where a table of the line spread is given")
        self.spread = spread
        step = options.step or transfer_step(parameters.full({}).get("resolution", 0.0) if spread is None else 0.0)
        same: dict[str, Any] = {"pattern": options.pattern}
        self.synthesis = Synthesis(
            model, lines, windows.windows, step=step, geometry=options.geometry, mass=options.mass, **same
        )
        # Derivatives need no weak lines: any that are roughly right lead to the same end.
        self.coarse = Synthesis(
            self.synthesis.source, lines, windows.windows, step=1.8 * step, threshold=_ROUGH, **same
        )
        self.region = Region(self.synthesis.source, parameters, options.pattern)
        self.syntheses = 0
        self.warnings: list[str] = list(spectrum.notes)
        self.observed: list[ObservedWindow] = []
        self.line_errors: list[LineErrors] = []
        self.all_lines: list[Array] = []
        self.velocities: list[float] = []

    # ------------------------------------------------------------------ syntheses

    def start(self) -> dict[str, float]:
        """Where the free parameters start: inside the domain, if they can."""
        given = self.parameters.initial()
        values = self.region.inside(given)
        for name, value in values.items():
            if abs(value - given[name]) > 1e-6:
                self.warnings.append(
                    f"{name} starts at {value:.5g}: the model {self.synthesis.source.emulator.name} has no star with "
                    f"{name} {given[name]:.5g} here" if self.region.domain is not None
                    else f"{name} starts at {value:.5g}, the limit next to {given[name]:.5g}"
                )  # fmt: skip
        return values

    def begin(self) -> dict[str, float]:
        """Everything that a fit needs before its first iteration; where the free parameters start."""
        values = self.start()
        self.choose_lines(values)
        self.take(self.fluxes(self.coarse.intensities(self.stellar(values)), values))
        self.syntheses += 1
        return values

    def choose_lines(self, values: Mapping[str, float]) -> bool:
        """Select lines for the star where the selection at hand is for another; says whether it did."""
        full, chosen = self.parameters.full(values), self.synthesis.selection
        if chosen is not None and all(
            abs(full.get(n, 0.0) - chosen.parameters.get(n, 0.0)) <= d for n, d in _SAME_LINES.items()
        ):
            return False
        for synthesis in (self.synthesis, self.coarse):
            synthesis.use(synthesis.select(full))
        return True

    def stellar(self, values: Mapping[str, float]) -> dict[str, float]:
        """Parameters of a synthesis, without those that only broaden."""
        return {n: v for n, v in self.parameters.full(values).items() if n not in par.BROADENING}

    def fluxes(self, intensities: Sequence[Intensities], values: Mapping[str, float]) -> list[Array]:
        full = self.parameters.full(values)
        return [broadened(i, full, self.spread) for i in intensities]

    def evaluate(
        self, run: Callable[[Any], list[list[Intensities]]], values: Mapping[str, float], old: _Point | None = None
    ) -> _Point:
        """Spectra and derivatives by window at `values`; those of `old` serve where it is near enough."""
        reach = {"resolution": 0.1 * values.get("resolution", 0.0), **_SAME_DERIVATIVES}
        if old is not None and all(abs(values[n] - old.centre[n]) <= reach.get(n, 0.2) for n in values):
            (made,) = run([(0, self.stellar(values))])
            self.syntheses += 1
            return _Point(dict(values), self.fluxes(made, values), old.derivatives, old.centre, old.rough,
                          old.response)  # fmt: skip
        steps = self.region.differences(values)
        moved = [{**values, n: values[n] + d} for n, d in steps.items() if n not in par.BROADENING and d]
        jobs: list[Any] = [(0, self.stellar(values)), *((1, self.stellar(v)) for v in (values, *moved))]
        asked = self.options.line_scatter > 0
        if asked:
            jobs += [(1, self.stellar(values), None, None, by) for by in ((_STRONGER, 0.0), (0.0, _STRONGER))]
        made, rough, *shifted = run(jobs)
        self.syntheses += len(jobs)
        base = self.fluxes(rough, values)
        derivatives = [np.empty((len(steps), len(f))) for f in base]
        others = iter(shifted)
        for j, (name, size) in enumerate(steps.items()):
            if size == 0:  # a limit on either side: it does not move
                for d in derivatives:
                    d[j] = 0.0
                continue
            other = {**values, name: values[name] + size}
            flux = self.fluxes(rough if name in par.BROADENING else next(others), other)
            for d, f, b in zip(derivatives, flux, base, strict=True):
                d[j] = (f - b) / size
        response = []
        if asked:
            narrow = [[normalised_flux(i, LineSpread()) for i in every] for every in (rough, shifted[-2])]
            seen = [base, *(self.fluxes(every, values) for every in shifted[-2:])]
            response = [np.array([n - m, a - f, h - f]) / _STRONGER
                        for m, n, f, a, h in zip(*narrow, *seen, strict=True)]  # fmt: skip
        return _Point(dict(values), self.fluxes(made, values), derivatives, dict(values), base, response)

    # ------------------------------------------------------------------ data

    def take(self, fluxes: Sequence[Array]) -> None:
        """Cut the data to the windows, at the velocity that a first look finds."""
        start = self._first_velocity(fluxes)
        resolution = self.parameters.full({}).get("resolution", 0.0)
        if self.spread is not None:
            resolution = float(self.spread.at(np.array([w for pair in self.table.windows for w in pair])).max())
        self.observed = cut(
            self.spectrum, self.table, start, points=self.options.points or None, resolution=resolution
        )
        if self.options.normalise:
            self.observed = [self._normalised(w) for w in self.observed]
        else:
            level = float(np.median([np.percentile(w.flux, 95) for w in self.observed]))
            if not 0.6 < level < 1.5:
                raise ValueError(
                    f"the flux of {self.spectrum.name} is near {level:.3g} where it should be near 1: normalise it, or "
                    "let the fit do so (normalise)"
                )
        self.observed = [replace(w, sigma=np.hypot(w.sigma, self.options.floor)) for w in self.observed]
        missing = set(range(len(self.table.windows))) - {w.number for w in self.observed}
        for i in sorted(missing):
            low, high = self.table.windows[i]
            self.warnings.append(f"the window {low:g}-{high:g} A has no good points in {self.spectrum.name}")
        self.velocities = [start if self.options.velocity != "none" else 0.0] * len(self.observed)

    @staticmethod
    def _normalised(window: ObservedWindow) -> ObservedWindow:
        level = float(np.percentile(window.flux[window.good], 95))
        return replace(window, flux=window.flux / level, sigma=window.sigma / level)

    def _first_velocity(self, fluxes: Sequence[Array]) -> float:
        """Velocity [km/s] of `model.first_velocity`, with warnings of what looks odd about it."""
        best = first_velocity(self.spectrum, self.table.windows, self.coarse.waves, fluxes)
        if abs(abs(best) - _VACUUM) < 2.5:
            other = "in vacuum but were taken for air" if best > 0 else "in air but were taken for vacuum"
            self.warnings.append(
                f"lines of {self.spectrum.name} are shifted by {best:+.0f} km/s, as if its wavelengths are {other}; "
                "state the medium if so"
            )
        if self.options.velocity == "none":
            if abs(best) > 3:
                self.warnings.append(
                    f"lines of {self.spectrum.name} are shifted by {best:+.0f} km/s, and no velocity is fitted"
                )
            return 0.0
        return best

    # ------------------------------------------------------------------ errors of lines

    def know_lines(self, point: _Point) -> None:
        """What errors of line strengths do to each window, and weights that allow for them."""
        if self.options.line_scatter == 0:
            return
        width = self.line_width(point.values)
        coarse = self.coarse.chosen
        species, centre, excitation = (np.asarray(coarse[c]) for c in ("species", "wlcent", "excit"))
        metal = species.astype(str) != "H 1"
        depth = self.coarse.depths()
        groups = line_groups(species.astype(str), centre.astype(float), excitation.astype(float))
        corrected = self.options.corrected_scatter
        every = np.where(metal, line_scatters(coarse, self.options.line_scatter, corrected),
                         line_scatters(coarse, self.options.hydrogen_scatter, corrected))  # fmt: skip
        self.line_errors, self.all_lines = [], []
        for i, (window, velocity) in enumerate(zip(self.observed, self.velocities, strict=True)):
            grid = self.coarse.waves[window.number]
            here = metal & (centre > grid[0]) & (centre < grid[-1])
            narrow, metals, hydrogen = point.response[window.number]
            shapes = line_shapes(grid, narrow, centre[here].astype(float), depth[here], groups[here])
            scatter = group_scatter(every[here], depth[here], groups[here])
            broad = np.array([broaden(s, self.coarse.step, width) for s in shapes.T]).reshape(-1, len(grid))
            # Together they are what all lines do: a rest would pass for something that no line's error can do.
            total = broad.sum(axis=0)
            broad *= np.clip(metals / np.where(np.abs(total) > 1e-6, total, 1.0), 0.3, 3.0)
            seen = [resample(grid, s, window.wave, velocity)[0] for s in (*broad, hydrogen)]
            self.all_lines.append(resample(grid, scatter @ broad, window.wave, velocity)[0])
            balmer = np.where(metal, np.inf, np.abs(centre.astype(float) - 0.5 * (grid[0] + grid[-1])))
            nearest = int(np.argmin(balmer))
            scatter = np.r_[scatter, self.options.hydrogen_scatter if metal[nearest] else every[nearest]]
            outliers = np.arange(len(scatter)) < len(scatter) - 1
            self.line_errors.append(LineErrors.of(np.column_stack(seen), scatter, self.options.floor, outliers))
            self.observed[i] = weighed(
                replace(window, width=float(np.hypot(width, _NARROW))), self.line_errors[i], self.options.floor
            )

    def line_width(self, values: Mapping[str, float]) -> float:
        """Standard deviation of what instrument, rotation and turbulence do to a narrow line [km/s]."""
        full = self.parameters.full(values)
        r = full["resolution"]
        if self.spread is not None:
            r = float(np.median(self.spread.at(np.array(self.table.windows))))
        instrument = 299792.458 / r / 2.3548 if r > 0 else 0.0
        return float(np.sqrt(instrument**2 + 0.25 * (full["vmac"] ** 2 + full["vsini"] ** 2)))

    def misfit(self, i: int, matched: Match) -> Array:
        """(n,) observed less fitted flux of a window, lines as strong as the data say."""
        off = self.observed[i].flux - matched.model
        if self.line_errors:
            off = off - self.line_errors[i].shapes @ self.line_errors[i].offset
        return off

    def look_again(self, matches: Sequence[Match]) -> None:
        """Errors of lines that are far off grow."""
        for i, matched in enumerate(matches if self.line_errors else ()):
            window, floor = self.observed[i], self.options.floor
            errors = look_again(window, self.line_errors[i], window.flux - matched.model, floor=floor)
            self.line_errors[i] = errors
            self.observed[i] = weighed(window, errors, floor)

    # ------------------------------------------------------------------ residuals

    def matches(self, fluxes: Sequence[Array]) -> list[Match]:
        options, synthesis = self.options, self.synthesis
        free = options.velocity == "window"
        return [
            match(w, synthesis.waves[w.number], fluxes[w.number], degree=options.degree, velocity=v, free=free)
            for w, v in zip(self.observed, self.velocities, strict=True)
        ]

    def columns(self, matches: Sequence[Match], derivatives: Sequence[Array]) -> list[Array]:
        """(n, n_free [+ 1 for a velocity of the star]) by window, without what continuum and velocity can do."""
        found = []
        for window, matched in zip(self.observed, matches, strict=True):
            grid = self.coarse.waves[window.number]
            columns = [resample(grid, d, window.wave, matched.velocity)[0] for d in derivatives[window.number]]
            if self.options.velocity == "star":
                columns.append(matched.slope / matched.level)
            found.append(
                project(window, matched, np.column_stack(columns), degree=self.options.degree,
                        velocity=self.options.velocity == "window")
            )  # fmt: skip
        return found

    def chi2(self, matches: Sequence[Match], values: Mapping[str, float]) -> float:
        total = sum(float(m.residual @ m.residual) for m in matches)
        return total + sum(((values[n] - mean) / s) ** 2 for n, (mean, s) in self.parameters.priors.items())

    def look(self, point: _Point, matches: Sequence[Match]) -> tuple[list[Match], bool]:
        """Look at the data again in the light of a fit: errors of lines, points far off. What matches then, and whether
        another look may change more."""
        for _ in range(_ROUNDS):
            self.look_again(matches)
            out = self.clip(matches) if self.options.clip else 0
            matches = self.matches(point.flux)
            if not (out or self.line_errors):
                return list(matches), False
        return list(matches), True

    def chi2_of(self, best: tuple[_Point, list[float]]) -> float:
        """Chi2 of a point and its velocities with the weights of now: each look at the data changes what chi2 means."""
        mine = self.velocities
        point, self.velocities = best
        found = self.chi2(self.matches(point.flux), point.values)
        self.velocities = mine
        return found

    def clip(self, matches: Sequence[Match]) -> int:
        """Leave out points far off; returns how many. The scale is that of all points: 1.48 times the median."""
        residual = [self.misfit(i, m) / w.sigma for i, (w, m) in enumerate(zip(self.observed, matches, strict=True))]
        every = np.concatenate([r[w.good] for r, w in zip(residual, self.observed, strict=True)])
        scale = max(1.4826 * float(np.median(np.abs(every))), 1.0)
        out = 0
        for i, (w, r) in enumerate(zip(self.observed, residual, strict=True)):
            bad = w.good & (np.abs(r) > self.options.clip * scale)
            out += int(bad.sum())
            if bad.any() and (w.good & ~bad).sum() >= 10:
                wider = bad | np.roll(bad, 1) | np.roll(bad, -1)
                w = replace(w, good=w.good & ~wider)
                self.observed[i] = weighed(w, self.line_errors[i], self.options.floor) if self.line_errors else w
        return out

    def move(
        self, values: Mapping[str, float], columns: Sequence[Array], matches: Sequence[Match], damping: float
    ) -> tuple[dict[str, float], float, float]:
        """The damped Gauss-Newton step inside the limits, the change of a velocity of the star [km/s], and by how much
        chi2 should fall."""
        names = list(values)
        normal, gradient = normal_equations(columns, [m.residual for m in matches])
        for name, (mean, sigma) in self.parameters.priors.items():
            j = names.index(name)
            normal[j, j] += sigma**-2.0
            gradient[j] += (mean - values[name]) / sigma**2
        undamped = normal
        normal = normal + damping * np.diag(np.diag(normal))
        held: list[int] = []
        along = np.eye(len(gradient))  # what moves when a parameter does: also those that slide along their limits
        for _ in range(len(names) + 1):
            keep = [j for j in range(len(gradient)) if j not in held]
            way = along[:, keep]
            delta = way @ np.linalg.lstsq(way.T @ normal @ way, way.T @ gradient, rcond=1e-12)[0]
            scale = min([1.0, *(par.largest(n, values[n]) / max(abs(delta[j]), 1e-12) for j, n in enumerate(names))])
            target = {n: values[n] + scale * delta[j] for j, n in enumerate(names)}
            moved = self.region.step(values, target)
            # What pushes out of a limit that it is at already stays there, and the others find their best without it.
            new = [j for j, n in enumerate(names)
                   if j not in held and moved[n] != target[n] and abs(moved[n] - values[n]) <= par.near(n)
                   and self.region.at_limit(n, values)]  # fmt: skip
            if not new:
                break
            held += new
            for j in new:
                along[j] = 0.0
                for other, slope in self.region.slide(names[j], values).items():
                    along[j, names.index(other)] = slope
        moved = {n: float(v) for n, v in moved.items()}
        step = np.array([moved[n] - values[n] for n in names] + [scale * d for d in delta[len(names) :]])
        fall = float(2 * gradient @ step - step @ undamped @ step)
        return moved, float(step[-1]) if self.options.velocity == "star" else 0.0, fall

    def ahead(
        self, came: Mapping[str, float], values: Mapping[str, float], point: _Point, matches: Sequence[Match],
        damping: float,
    ) -> tuple[dict[str, float], float, float, float]:  # fmt: skip
        """As `move`, damped where the step would go back to where it `came` from; and that damping."""
        columns = self.columns(matches, point.derivatives)
        new, dv, fall = self.move(values, columns, matches, damping)
        if came and damping < _DAMPED and _cosine(came, values, new) < _BACK:
            damping = _DAMPED
            new, dv, fall = self.move(values, columns, matches, damping)
        return new, dv, fall, damping

    def stopped(self, values: Mapping[str, float]) -> dict[str, str]:
        """Which limit each parameter that is at one is at, in words."""
        limits = {name: self.region.at_limit(name, values) for name in values}
        return {name: f"{which[0]} limit {round(which[1], 6) + 0.0:.4g}" for name, which in limits.items() if which}


def transfer_step(resolution: float) -> float:
    """Step of the transfer [km/s] that a resolving power needs (0: none is applied); lines are some 1 km/s wide."""
    if resolution <= 0 or resolution > 80_000:
        return 0.6
    return 1.0 if resolution > 40_000 else 1.5


def normal_equations(columns: Sequence[Array], residuals: Sequence[Array]) -> tuple[Array, Array]:
    """Sums over windows of J'J and J'r."""
    normal = np.sum([c.T @ c for c in columns], axis=0)
    gradient = np.sum([c.T @ r for c, r in zip(columns, residuals, strict=True)], axis=0)
    return normal, gradient


def fit_star(
    spectrum: ObservedSpectrum, windows: Windows, lines: Any, parameters: Parameters, *, model: Any = "atlas12",
    options: Options | None = None, spread: LineSpread | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> StarFit:  # fmt: skip
    """Fit a star's parameters to its observed spectrum.

    Each iteration synthesises the star and one star for each free parameter that changes intensities, all windows with
    one equation of state, in `options.processes` processes; rotation, macroturbulence, instrument, velocity and
    continuum cost no synthesis. The step is Gauss-Newton's, damped where chi2 does not fall. A fit that ends far from
    where it began is done once more, from its end.

    Parameters
    ----------
    lines : a PySME `LineList`, wavelengths in air
    model : name of a model, an `AtmosphereGrid` or a grid file of PySME's
    spread : line spread of the instrument; None takes `resolution` of the parameters
    progress : called with a sentence after each iteration

    Raises
    ------
    ValueError : no points or no lines in the windows, a spectrum that is not normalised
    DomainError : the fit starts outside the model's domain
    """
    begin = time.perf_counter()
    options = options or Options()
    state = _Fit(spectrum, windows, lines, model, parameters, options, spread)
    first = state.begin()
    point, iterations, converged = _iterate(state, first, progress)
    if any(abs(point.values[n] - first[n]) > d for n, d in _FAR.items() if n in first):
        progress("far from the start: once more from here")
        nearer = replace(parameters, start={**parameters.start, **point.values})
        again = _Fit(spectrum, windows, lines, model, nearer, options, spread)
        point, more, converged = _iterate(again, again.begin(), progress)
        again.warnings = list(dict.fromkeys([*state.warnings, *again.warnings]))
        again.syntheses += state.syntheses
        state, iterations = again, iterations + more
    return _result(state, point, iterations, converged, begin)


def _iterate(
    state: _Fit, values: dict[str, float], progress: Callable[[str], None]
) -> tuple[_Point, int, bool]:
    """Gauss-Newton to the end: where it ends, the iterations, and whether it converged."""
    options = state.options
    best: tuple[_Point, list[float]] | None = None
    seen: list[tuple[_Point, list[float]]] = []
    came: dict[str, float] = {}
    damping, converged, looks, iteration, done, known = 0.0, False, 0, 0, False, False
    last: _Point | None = None
    settled: list[float] = []
    fall = np.inf
    while not done:
        with pool((state.synthesis, state.coarse), options.processes) as run:
            while not done:
                iteration += 1
                last = point = state.evaluate(run, values, last)
                if not known:
                    state.know_lines(point)
                    known = True
                matches, rejected = state.matches(point.flux), False
                if best is not None and state.chi2(matches, values) > state.chi2_of(best) + _SAME_CHI2:
                    damping = max(3 * damping, _DAMPED)  # go back, and shorter
                    point, state.velocities = best
                    values = point.values
                    matches = state.matches(point.flux)
                    rejected = True
                else:
                    damping = 0.0 if damping < 0.05 else damping / 5
                state.velocities = [m.velocity for m in matches]
                if looks < _LOOKS and iteration >= 2:
                    if looks == 0:
                        state.know_lines(point)  # the start was another star
                    matches, more = state.look(point, matches)
                    looks = looks + 1 if more else _LOOKS
                    state.velocities = [m.velocity for m in matches]
                best = (point, list(state.velocities))
                seen.append(best)
                settled.append(state.chi2(matches, values))
                before = fall
                new, dv, fall, damping = state.ahead(came, values, point, matches, damping)
                text = ", ".join(f"{n} {v:.5g}" for n, v in values.items())
                progress(f"iteration {iteration}: {text}; chi2 {state.chi2(matches, values):.6g}")
                small = all(abs(new[n] - values[n]) < _CONVERGED * abs(par.step(n, values[n])) for n in values)
                near = before < _NEAR_CHI2 if rejected else (small or fall < _SAME_CHI2) and damping < 1
                looked = looks == _LOOKS or not (options.clip or state.line_errors)
                settled = settled if looked else []
                # A parameter that the windows hardly constrain may go to and fro for ever.
                still = len(settled) > _STILL and settled[-_STILL - 1] - settled[-1] < _NEAR_CHI2
                converged = looked and (near or still)
                done = converged or damping > 1e4 or iteration >= options.iterations
                if done:
                    break
                came, values = values, new
                if options.velocity == "star":
                    state.velocities = [v + dv for v in state.velocities]
                if state.choose_lines(values):
                    last, looks, seen = None, 0, []  # derivatives are of other lines; look at the data again
                    break
    if best is None:
        raise AssertionError("a fit ends with a point")
    # The weights have changed on the way: with those of the end, one before the last may be the better.
    point, state.velocities = min(reversed(seen), key=state.chi2_of, default=best)
    return point, iteration, converged


def _cosine(a: Mapping[str, float], b: Mapping[str, float], c: Mapping[str, float]) -> float:
    """Of the angle between the steps from a to b and from b to c, each parameter in units of its largest step."""
    one, two = (
        np.array([(y[n] - x[n]) / par.largest(n, x[n]) for n in b]) for x, y in ((a, b), (b, c))
    )
    return float(one @ two / max(np.linalg.norm(one) * np.linalg.norm(two), 1e-12))


def _result(state: _Fit, point: _Point, iterations: int, converged: bool, begin: float) -> StarFit:
    from .diagnostics import line_table, metal_derivatives, provenance

    values = point.values
    matches = state.matches(point.flux)
    columns = state.columns(matches, point.derivatives)
    stopped = state.stopped(values)
    names = list(values)
    errors = estimate(
        state, names, point, columns, matches, [n for n in names if n in stopped],
    )  # fmt: skip
    per_monh = metal_derivatives(state, values, point.derivatives, matches)
    windows = tuple(
        FittedWindow(w.low, w.high, w.wave, w.flux, w.sigma, w.good, m.model, m.level, m.velocity,
                     np.where(w.good, (w.flux - m.model) / w.sigma, 0.0), c, d)
        for w, m, c, d in zip(state.observed, matches, columns, per_monh, strict=True)
    )
    used = np.concatenate([w.used for w in windows])
    flux, model = (np.concatenate([getattr(w, a) / w.level for w in windows])[used] for a in ("flux", "model"))
    explained = 1 - float(((flux - model) ** 2).sum() / max(((flux - flux.mean()) ** 2).sum(), 1e-30))
    n_free = len(names) + len(windows) * (state.options.degree + 1 + (state.options.velocity == "window"))
    chi2 = sum(float(m.residual @ m.residual) for m in matches)
    velocities = np.array([w.velocity for w in windows])
    warnings = list(state.warnings)
    if explained < _EXPLAINED:
        warnings.append(
            f"the best fit explains only {100 * max(explained, 0):.0f} % of what the lines do: another star, another "
            "wavelength scale, or not this line list"
        )
    if not converged:
        warnings.append(f"the fit did not converge in {iterations} iterations")
    if state.options.velocity == "window" and len(windows) > 1 and np.ptp(velocities) > 3:
        warnings.append(f"velocities of the windows differ by {np.ptp(velocities):.1f} km/s")
    warnings += [f"{n} stopped at its {limit}; its error is not known" for n, limit in stopped.items()]
    for name in names:
        if name not in stopped and not np.isfinite(errors.total[name]):
            warnings.append(f"the windows do not constrain {name}")
    selection = state.synthesis.selection
    counts = (len(state.synthesis.chosen), 0 if selection is None else int(selection.weak.sum()),
              len(state.synthesis.lines))  # fmt: skip
    full = state.parameters.full(values)
    return StarFit(
        state.spectrum.name, values, {n: v for n, v in full.items() if n not in values}, errors, stopped,
        float(velocities.mean()), float(velocities.std()), chi2 / max(int(used.sum()) - n_free, 1), explained,
        int(used.sum()), iterations, state.syntheses, time.perf_counter() - begin, windows,
        line_table(state, windows), counts, converged, tuple(warnings), provenance(state),
    )  # fmt: skip

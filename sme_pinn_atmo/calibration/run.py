"""The calibration: Gauss-Newton over line data that all stars share and labels that each star has for itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..quiet import quiet_pysme
from ..stars import parameters as par
from ..stars.errors import correlation_factor
from ..stars.fit import transfer_step
from ..stars.instrument import resample
from ..stars.model import Match, ObservedWindow, cut, first_velocity, match
from ..stars.parameters import Parameters
from ..stars.spectrum import ObservedSpectrum
from ..stars.synthesis import Selection, lines_near
from .equations import Solution, WindowEquations, equations, solve
from .shared import LineOptions, Shared, changed_lines, shared_parameters
from .stars import CalibrationStar
from .syntheses import LabelJob, SelectJob, Spectrum, StarModel, runner, shared_job

__all__ = ["CalibratedStar", "CalibratedWindow", "Calibration", "calibrate"]

Array = NDArray[np.float64]
Window = tuple[float, float]

#: Derivatives by labels serve stars as near as this; by lines, until a shared parameter has moved so far [dex or mA].
_SAME = {"teff": 60.0, "logg": 0.15, "monh": 0.1, "alpha": 0.1, "vmic": 0.2, "vmac": 1.0, "vsini": 1.0}
_MOVED = {"gflog": 0.1, "gamvw": 0.15, "wlcent": 10.0}

#: A calibration has converged when no parameter moves by more than this [dex, mA], or than this part of its error.
_CONVERGED, _OF_ERROR = {"gflog": 0.01, "gamvw": 0.02, "wlcent": 0.5}, 0.1

#: A step that does not raise the posterior is halved so often; then the best point is the end.
_HALVINGS = 3

#: Iterations of the labels alone that come first, so that "before" is the best that the list as it is can do.
_LABELS_FIRST = 2

#: Residuals above the model lose no more weight from here on [sigma].
_ABOVE = 3.0

#: A star constrains a line whose error it alone would bring below this fraction of the prior.
_CONSTRAINS = 0.9


@dataclass(frozen=True, eq=False)
class CalibratedWindow:
    """Observed and modelled flux of one window of a star, over the continuum: (n,) each.

    before, after : model with the list as it is, at the labels that fit best with it, and with the changes
    weight : of Student's t, after
    """

    window: Window
    wave: Array
    flux: Array
    sigma: Array
    good: NDArray[np.bool_]
    before: Array
    after: Array
    weight: Array
    velocity: float

    def rms(self, which: str = "after") -> float:
        """Root of the mean square of observed less `which` model."""
        off = (self.flux - getattr(self, which))[self.good]
        return float(np.sqrt((off**2).mean()))

    def robust(self, which: str = "after") -> float:
        """1.4826 times the median of |observed less model|, which lines missing in the list hardly move."""
        return float(1.4826 * np.median(np.abs((self.flux - getattr(self, which))[self.good])))


@dataclass(frozen=True, eq=False)
class CalibratedStar:
    """A star of a calibration.

    values, errors : of the free labels, with the calibrated lines; before : with the list as it is
    scale : what the variance of its points was multiplied by for the errors
    """

    name: str
    values: dict[str, float]
    errors: dict[str, float]
    before: dict[str, float]
    fixed: dict[str, float]
    windows: tuple[CalibratedWindow, ...]
    scale: float
    spectrum_sha256: str = ""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Line data of many stars.

    shared : the parameters; change, error : (n,) maximum of the posterior less the list's value, and its standard
        deviation [dex or mA]; alone : (n,) standard deviation if all others were known
    constrained : (n,) those that stars say something about; the others keep their values
    information : by star, (n,) inverse variance that it adds, continuum, velocity and its labels not known
    equations : of the last iteration, by star and window, about `at`: other sets of stars can be solved from them, with
        `label_priors` as of `equations.solve`
    """

    shared: Shared
    change: Array
    error: Array
    alone: Array
    constrained: NDArray[np.bool_]
    information: dict[str, Array]
    stars: tuple[CalibratedStar, ...]
    equations: tuple[WindowEquations, ...]
    at: Array
    iterations: int
    converged: bool
    syntheses: int
    seconds: float
    label_priors: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    options: LineOptions = field(default_factory=LineOptions)

    def constraining(self) -> list[list[str]]:
        """Names of the stars that constrain each shared parameter, the one that says most first; none where it is
        held."""
        prior = self.shared.prior
        found = []
        for j in range(len(prior)):
            told = {name: info[j] for name, info in self.information.items()}
            most = sorted(told, key=lambda n: -told[n])
            enough = [n for n in most if (told[n] + prior[j] ** -2) ** -0.5 < _CONSTRAINS * prior[j]]
            found.append((enough or most[:1]) if self.constrained[j] else [])
        return found


class _Star:
    """A star on its way: data, labels, and what has been synthesised of it."""

    def __init__(self, star: CalibrationStar, spectrum: ObservedSpectrum) -> None:
        s = star.settings
        if s.options.velocity not in ("none", "window"):
            raise ValueError(f"{star.name}: velocity = {s.options.velocity!r}; a calibration has none, window")
        self.name, self.settings, self.prior = star.name, s, dict(s.priors)
        self.spectrum = spectrum.with_floor(s.options.floor)
        self.table = star.windows(spectrum)
        #: Without free labels `Parameters` has nothing to do: all is in the start.
        self.parameters = Parameters(s.start, s.free, s.priors, s.ties) if s.free else None
        self.values = {} if self.parameters is None else self.parameters.initial()
        self.selections: dict[Window, Selection] = {}
        self.observed: dict[Window, list[ObservedWindow]] = {}
        self.velocity: dict[tuple[Window, int], float] = {}
        self.columns: dict[Window, sparse.csc_matrix] = {}
        self.columns_at: dict[Window, Array] = {}
        self.derivatives: dict[Window, tuple[Array, Array]] = {}
        self.derivatives_at: dict[str, float] | None = None

    def full(self, values: Mapping[str, float]) -> dict[str, float]:
        if self.parameters is None:
            return par.DEFAULTS | dict(self.settings.start)
        return self.parameters.full(values)

    def model(self, values: Mapping[str, float], code: str) -> StarModel:
        o, full = self.settings.options, self.full(values)
        step = o.step or transfer_step(full.get("resolution", 0.0))
        return StarModel(self.settings.model, step, full, o.pattern, o.geometry, o.mass, code)

    def steps(self, source: Any) -> dict[str, float]:
        """Of each label's difference, away from the nearer limit."""
        found = {}
        for name, value in self.values.items():
            _, high = par.limits(name, source, self.full(self.values)["teff"])
            size = par.step(name, value)
            found[name] = size if value + size <= high else -size
        return found

    def move(self, change: Mapping[str, float], source: Any) -> dict[str, float]:
        """Labels after a change, no step too long, inside the limits."""
        found = dict(self.values)
        for name in sorted(found, key=lambda n: n == "logg"):  # whose limits go with teff
            largest = par.largest(name, found[name])
            low, high = par.limits(name, source, found.get("teff", self.full(found)["teff"]))
            found[name] = float(np.clip(found[name] + np.clip(change[name], -largest, largest), low, high))
        return found

    def penalty(self) -> float:
        return sum(0.5 * ((self.values[n] - m) / s) ** 2 for n, (m, s) in self.prior.items())


class _Run:
    def __init__(
        self, stars: Sequence[_Star], lines: Any, options: LineOptions, run: Any, say: Callable[[str], None]
    ) -> None:
        self.stars, self.lines, self.options, self.run, self.say = stars, lines, options, run, say
        self.windows = list(dict.fromkeys(w for s in stars for w in s.table.windows))
        self.near = {w: np.flatnonzero(lines_near(lines, [w])) for w in self.windows}
        self.source = {s.name: _source_of(s) for s in stars}
        self.syntheses = 0
        for w in self.windows:
            centre = np.asarray(lines["wlcent"], dtype=float)[self.near[w]]
            if not ((centre > w[0]) & (centre < w[1])).any():
                raise ValueError(f"the line list has no line between {w[0]:g} and {w[1]:g} A")

    # ------------------------------------------------------------------ syntheses

    def model(self, star: _Star) -> StarModel:
        return star.model(star.values, self.options.code)

    def select(self) -> Shared:
        """Lines of each star and window, and the parameters that are shared."""
        jobs = [(s, w) for s in self.stars for w in s.table.windows]
        near = {w: self.lines[of] for w, of in self.near.items()}
        made = self.run([SelectJob(self.model(s), near[w], w) for s, w in jobs], "lines of the stars")
        depth = np.zeros(len(self.lines))
        for (s, w), selection in zip(jobs, made, strict=True):
            s.selections[w] = selection
            depth[self.near[w]] = np.maximum(depth[self.near[w]], selection.depth)
        return shared_parameters(self.lines, depth, self.windows, self.options)

    def spectra(
        self, shared: Shared, at: Array, derivatives: bool, what: str
    ) -> dict[tuple[str, Window], Spectrum]:
        """Spectra of all windows at the changes `at`; derivatives by lines are made anew where they are too old."""
        lines = changed_lines(self.lines, shared, at)
        far = np.array([_MOVED[k] for k in shared.kind])
        jobs, todo = [], []
        for s in self.stars:
            model = self.model(s)
            for w in s.table.windows:
                of = np.zeros(0, dtype=int)
                if derivatives:
                    inside = (shared.wavelength > w[0]) & (shared.wavelength < w[1])
                    if w in s.columns_at:
                        inside &= np.abs(at - s.columns_at[w]) > far
                    of = np.flatnonzero(inside)
                near = self.near[w]
                jobs.append(shared_job(model, lines[near], w, s.selections[w], near, shared, of))
                todo.append((s, w, of))
        made = self.run(jobs, what)
        self.syntheses += len(jobs)
        for (s, w, of), spectrum in zip(todo, made, strict=True):
            if not derivatives:
                continue
            if w not in s.columns:
                s.columns[w], s.columns_at[w] = spectrum.columns, at.copy()
            elif len(of):
                old = np.ones(len(shared))
                old[of] = 0.0
                s.columns[w] = sparse.csc_matrix(s.columns[w] @ sparse.diags(old) + spectrum.columns)
                s.columns_at[w] = np.where(old > 0, s.columns_at[w], at)
        return {(s.name, w): spectrum for (s, w, _), spectrum in zip(todo, made, strict=True)}

    def labels(self, shared: Shared, at: Array) -> None:
        """Derivatives by labels, where those at hand are of another star."""
        far = []
        for s in self.stars:
            old = s.derivatives_at
            reach = {"resolution": 0.1 * s.full({}).get("resolution", 0.0), **_SAME}
            if s.values and (old is None or any(abs(v - old[n]) > reach.get(n, 0.15) for n, v in s.values.items())):
                far.append(s)
        lines = changed_lines(self.lines, shared, at) if far else self.lines
        jobs = []
        for s in far:
            near = np.unique(np.concatenate([self.near[w] for w in s.table.windows]))
            jobs.append(LabelJob(self.model(s), lines[near], s.table.windows, s.steps(self.source[s.name])))
            self.syntheses += len(s.values) + 1
        for s, (waves, made) in zip(far, self.run(jobs, "derivatives by labels") if far else [], strict=True):
            s.derivatives = dict(zip(s.table.windows, zip(waves, made, strict=True), strict=True))
            s.derivatives_at = dict(s.values)

    # ------------------------------------------------------------------ equations

    def take(self, spectra: Mapping[tuple[str, Window], Spectrum]) -> None:
        """Cut the data to the windows, at the velocity that a first look finds."""
        for s in self.stars:
            mine = [spectra[s.name, w] for w in s.table.windows]
            start = 0.0
            if s.settings.options.velocity == "window":
                start = first_velocity(s.spectrum, s.table.windows, [m.wave for m in mine], [m.flux for m in mine])
            resolution = s.full({}).get("resolution", 0.0)
            for o in cut(s.spectrum, s.table, start, points=s.settings.options.points or None, resolution=resolution):
                w = s.table.windows[o.number]
                if s.settings.options.normalise:
                    level = float(np.percentile(o.flux[o.good], 95))
                    o = replace(o, flux=o.flux / level, sigma=o.sigma / level)
                s.velocity[w, len(s.observed.setdefault(w, []))] = start
                s.observed[w].append(o)
            level = float(np.median([np.percentile(o.flux, 95) for parts in s.observed.values() for o in parts]))
            if not 0.6 < level < 1.5:
                raise ValueError(
                    f"the flux of {s.name} is near {level:.3g} where it should be near 1: normalise it, or let the "
                    "calibration do so (normalise)"
                )

    def matched(self, s: _Star, w: Window, i: int, spectrum: Spectrum) -> tuple[ObservedWindow, Match, Array]:
        """An observed window with its errors weighted by Student's t, the model put on it, and the weights."""
        o, options = s.observed[w][i], s.settings.options
        free, nu = options.velocity == "window", self.options.student
        weighted, weight = o, np.ones(len(o.wave))
        for _ in range(4 if nu else 1):
            found = match(weighted, spectrum.wave, spectrum.flux, degree=options.degree, velocity=s.velocity[w, i],
                          free=free)  # fmt: skip
            s.velocity[w, i] = found.velocity
            if nu:
                off = np.where(o.good, (o.flux - found.model) / o.sigma, 0.0)
                weight = _weight(off, nu)
                weighted = replace(o, sigma=o.sigma / np.sqrt(weight))
        return weighted, match(weighted, spectrum.wave, spectrum.flux, degree=options.degree,
                               velocity=s.velocity[w, i]), weight  # fmt: skip

    def objective(self, spectra: Mapping[tuple[str, Window], Spectrum], shared: Shared, at: Array) -> float:
        total = 0.5 * float(((at / shared.prior) ** 2).sum()) + sum(s.penalty() for s in self.stars)
        for s in self.stars:
            for w, parts in s.observed.items():
                total += sum(self.loss(o, self.matched(s, w, i, spectra[s.name, w])[1]) for i, o in enumerate(parts))
        return total

    def loss(self, o: ObservedWindow, found: Match) -> float:
        off, nu = ((o.flux - found.model) / o.sigma)[o.good], self.options.student
        return _loss(off, nu)

    def equations(
        self, spectra: Mapping[tuple[str, Window], Spectrum], shared: Shared, lines: bool = True
    ) -> list[WindowEquations]:
        """Of every star and window, at the spectra given; without `lines` of the labels alone."""
        found = []
        for s in self.stars:
            labels = tuple(s.values)
            for w, parts in s.observed.items():
                spectrum = spectra[s.name, w]
                for i, o in enumerate(parts):
                    weighted, m, _ = self.matched(s, w, i, spectrum)
                    weight = np.where(o.good, 1.0 / weighted.sigma, 0.0)
                    scale = m.level * weight
                    by_label = np.zeros((len(o.wave), len(labels)))
                    if labels:
                        grid, made = s.derivatives[w]
                        for j in range(len(labels)):
                            by_label[:, j] = resample(grid, made[j], o.wave, m.velocity)[0] * scale
                    nuisance = []
                    if s.settings.options.degree >= 0:
                        normal = m.model / m.level
                        legendre = np.polynomial.legendre.legvander(o.x, s.settings.options.degree)
                        nuisance += list((legendre * (normal * weight)[:, None]).T)
                    if s.settings.options.velocity == "window":
                        nuisance.append(m.slope * weight)
                    by_shared = sparse.csc_matrix((len(o.wave), len(shared)))
                    if lines:
                        at = _interpolation(spectrum.wave, o.wave / (1 + m.velocity / 299792.458))
                        by_shared = sparse.csc_matrix(sparse.diags(scale) @ (at @ s.columns[w]))
                    found.append(equations(
                        s.name, w, labels, by_label, np.array(nuisance).reshape(len(nuisance), len(o.wave)).T,
                        by_shared, m.residual, self.loss(o, m),
                    ))  # fmt: skip
        return found

    def label_priors(self) -> dict[str, dict[str, tuple[float, float]]]:
        return {s.name: {n: (m - s.values[n], e) for n, (m, e) in s.prior.items()} for s in self.stars}


def _weight(off: Array, nu: float) -> Array:
    """(n,) weights of residuals (observed less model, over sigma): of Student's t with `nu` degrees of freedom.

    What the list lacks can only take flux away. So flux above the model by more than `_ABOVE` loses no more weight:
    absorption that no star has is the fault of a line in the list.
    """
    return np.asarray((nu + 1) / (nu + np.minimum(off, _ABOVE) ** 2)) if nu else np.ones(len(off))


def _loss(off: Array, nu: float) -> float:
    """What residuals add to the objective: minus log likelihood, whose derivative is weight times residual."""
    if not nu:
        return float(0.5 * (off**2).sum())
    inner = np.minimum(off, _ABOVE)
    beyond = 0.5 * (nu + 1) / (nu + _ABOVE**2) * (off**2 - inner**2)
    return float((0.5 * (nu + 1) * np.log1p(inner**2 / nu) + np.where(off > _ABOVE, beyond, 0.0)).sum())


def _slope(off: Array, nu: float) -> Array:
    """(n,) derivative of weight times residual by the residual."""
    if not nu:
        return np.ones(len(off))
    student = (nu + 1) * (nu - off**2) / (nu + off**2) ** 2
    return np.asarray(np.where(off > _ABOVE, _weight(off, nu), student))


def _source_of(star: _Star) -> Any:
    from ..stars.synthesis import atmosphere_source

    o = star.settings.options
    with quiet_pysme():
        return atmosphere_source(star.settings.model, o.geometry, o.mass)


def _interpolation(grid: Array, at: Array) -> sparse.csr_matrix:
    """(n_at, n_grid) cubic interpolation (Lagrange) on a grid that is even in ln lambda."""
    step = np.log(grid[-1] / grid[0]) / (len(grid) - 1)
    place = np.log(at / grid[0]) / step
    first = np.clip(np.floor(place).astype(int) - 1, 0, len(grid) - 4)
    t = place - first
    values = np.stack([-(t - 1) * (t - 2) * (t - 3) / 6, t * (t - 2) * (t - 3) / 2, -t * (t - 1) * (t - 3) / 2,
                       t * (t - 1) * (t - 2) / 6], axis=1)  # fmt: skip
    rows = np.repeat(np.arange(len(at)), 4)
    columns = (first[:, None] + np.arange(4)).ravel()
    return sparse.csr_matrix((values.ravel(), (rows, columns)), shape=(len(at), len(grid)))


def calibrate(
    stars: Sequence[CalibrationStar], lines: Any, options: LineOptions | None = None, *, work: Path | None = None,
    start: Any = None, processes: int = 1, client: Any = None, progress: Callable[[str], None] = lambda text: None,
) -> Calibration:  # fmt: skip
    """Line data that all stars share, and each star's own labels: the maximum of the posterior, and its covariance.

    What is free of the lines says `options`; of the stars their settings say it, with priors. Continuum and velocity
    of each window are free without a prior. Residuals are Student's t, by iterated weights, so that lines which the
    list lacks, and tellurics, do not pull.

    First the labels are fitted with the list as it is. Then each iteration synthesises every window of every star
    once, and once for each colour of lines to differentiate by. A step that does not raise the posterior is halved, and
    the next one is as short; where that does not help, the best point is the end.

    Parameters
    ----------
    lines : a PySME `LineList` that holds the windows, wavelengths in air
    work : folder in which syntheses are kept: the same call goes on where an interrupted one was
    start : `Corrections` from which it starts, of another model's calibration for example; priors stay about the list
    processes, client : see `syntheses.runner`
    progress : called with a sentence now and then

    Raises
    ------
    ValueError : no stars, two of one name, windows without lines or data, labels that the windows do not determine
    DomainError : a star outside the model's domain
    """
    begin = time.perf_counter()
    options = options or LineOptions()
    names = [s.name for s in stars]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a calibration needs stars, each with a name of its own; given: {', '.join(names) or 'none'}")
    states = [_Star(s, s.spectrum()) for s in stars]
    with runner(work, processes=processes, client=client, progress=progress) as run:
        return _calibrate(_Run(states, lines, options, run, progress), start, begin)


def _calibrate(run: _Run, start: Any, begin: float) -> Calibration:
    options, say = run.options, run.say
    shared = run.select()
    if not len(shared):
        raise ValueError("no line in the windows is deep enough to be calibrated in any star")
    zero = np.zeros(len(shared))
    at = zero if start is None else start.changes(shared)
    say(f"{len(shared)} free parameters of lines in {len(run.windows)} windows, {len(run.stars)} stars")
    spectra = run.spectra(shared, zero, False, "spectra with the list as it is")
    run.take(spectra)
    spectra = _labels_alone(run, shared, zero, spectra, "the list as it is")
    before = {s.name: dict(s.values) for s in run.stars}
    first = {(s.name, w, i): run.matched(s, w, i, spectra[s.name, w])
             for s in run.stars for w, parts in s.observed.items() for i in range(len(parts))}  # fmt: skip
    if at.any():  # or the first step would mend lines for labels that go with the list as it is
        spectra = run.spectra(shared, at, False, "spectra with the changes to start from")
        _labels_alone(run, shared, at, spectra, "the changes to start from")
    free = np.ones(len(shared), dtype=bool)
    best: tuple[float, Array, dict[str, dict[str, float]]] | None = None
    iteration, converged, failed, by, error = 0, False, 0, 1.0, shared.prior
    while True:
        spectra = run.spectra(shared, at, True, f"iteration {iteration + 1}")
        run.labels(shared, at)
        objective = run.objective(spectra, shared, at)
        say(f"iteration {iteration + 1}: minus log posterior {objective:.1f}")
        if best is not None and objective > best[0] * (1 + 1e-6) and failed <= _HALVINGS:
            failed += 1
            by *= 0.5  # back, half the way; in the end all the way
            part = 0.5 if failed <= _HALVINGS else 0.0
            at = best[1] + part * (at - best[1])
            for s in run.stars:
                s.values = {n: part * v + (1 - part) * best[2][s.name][n] for n, v in s.values.items()}
            continue
        best = (objective, at.copy(), {s.name: dict(s.values) for s in run.stars})
        parts = run.equations(spectra, shared)
        if converged or failed > _HALVINGS or iteration >= options.iterations:
            break
        by, failed = by if failed else min(2 * by, 1.0), 0
        iteration += 1
        found = solve(parts, shared.prior, at, free=free, label_priors=run.label_priors(), errors=iteration <= 2)
        if iteration <= 2:
            error = found.shared_error
            # What stars do not say anything about goes back to the list, and no more is made of it.
            free &= found.shared_error < options.unconstrained * shared.prior
        change = np.clip(found.shared, *(np.array([sign * (options.largest if k != "wlcent" else 20.0)
                                                   for k in shared.kind]) for sign in (-1, 1)))  # fmt: skip
        still = _move(run, found, by)
        near = np.maximum([_CONVERGED[k] for k in shared.kind], _OF_ERROR * error)
        converged = still and bool((np.abs(np.where(free, change, -at)) < near).all())
        at = np.where(free, at + by * change, 0.0)
    scale = _scales(run, spectra)
    found = solve(parts, shared.prior, at, free=free, label_priors=run.label_priors(), scale=scale)
    say(f"{int(free.sum())} of {len(shared)} parameters are constrained; {iteration} iterations")
    calibrated = tuple(_star(run, s, spectra, first, before[s.name], found, scale[s.name]) for s in run.stars)
    return Calibration(
        shared, at, found.shared_error, found.alone, free, _information(parts, scale, len(shared)), calibrated,
        tuple(parts), at, iteration, converged, run.syntheses, time.perf_counter() - begin, run.label_priors(), options,
    )  # fmt: skip


def _labels_alone(
    run: _Run, shared: Shared, at: Array, spectra: dict[tuple[str, Window], Spectrum], what: str
) -> dict[tuple[str, Window], Spectrum]:
    """Move the labels of all stars to where they fit best with lines as they are; the spectra there."""
    nothing = np.zeros(len(shared), dtype=bool)
    for i in range(_LABELS_FIRST if any(s.values for s in run.stars) else 0):
        run.labels(shared, at)
        found = solve(run.equations(spectra, shared, False), shared.prior, at, free=nothing,
                      label_priors=run.label_priors(), errors=False)  # fmt: skip
        still = _move(run, found, 1.0)
        spectra = run.spectra(shared, at, False, f"labels with {what}, {i + 1}")
        if still:
            break
    return spectra


def _move(run: _Run, found: Solution, by: float) -> bool:
    """Move the labels of all stars; whether none moved to speak of."""
    still = True
    for s in run.stars:
        if s.values:
            new = s.move({n: by * d for n, d in found.labels[s.name].items()}, run.source[s.name])
            still &= all(abs(new[n] - v) < 0.3 * abs(par.step(n, v)) for n, v in s.values.items())
            s.values = new
    return still


def _scales(run: _Run, spectra: Mapping[tuple[str, Window], Spectrum]) -> dict[str, float]:
    """By star, what the variance of its points is multiplied by, for errors that fit the residuals which are left.

    With influences psi = weight times residual the variance of a fit by weights is sum psi^2 / (sum psi')^2 (Huber
    1981, ch. 7) in place of 1 / sum of weights; times what the correlation of neighbours makes of it. At least 1.
    """
    found, nu = {}, run.options.student
    for s in run.stars:
        influence, slope, weights = [], [], []
        for w, parts in s.observed.items():
            for i, o in enumerate(parts):
                _, m, weight = run.matched(s, w, i, spectra[s.name, w])
                off = (m.residual / np.sqrt(weight))[o.good]
                influence.append(weight[o.good] * off)
                slope.append(_slope(off, nu))
                weights.append(weight[o.good])
        psi, by, mean = (np.concatenate(v) for v in (influence, slope, weights))
        ratio = float((psi**2).mean() * mean.mean() / max(float(by.mean()), 0.1) ** 2)
        found[s.name] = max(ratio * correlation_factor(influence), 1.0)
    return found


def _information(parts: Sequence[WindowEquations], scale: Mapping[str, float], n: int) -> dict[str, Array]:
    """By star, (n,) inverse variance of each shared parameter, what is the window's own not known."""
    found: dict[str, Array] = {p.star: np.zeros(n) for p in parts}
    for p in parts:
        inverse = np.linalg.pinv(p.uu, rcond=1e-12, hermitian=True)
        ux = p.ux.tocsc()
        lost = np.zeros(n)
        for j in np.flatnonzero(np.diff(ux.indptr)):
            c = np.zeros(len(p.u))
            c[ux.indices[ux.indptr[j] : ux.indptr[j + 1]]] = ux.data[ux.indptr[j] : ux.indptr[j + 1]]
            lost[j] = c @ inverse @ c
        found[p.star] += np.maximum(p.xx.diagonal() - lost, 0) / scale[p.star]
    return found


def _star(
    run: _Run, s: _Star, spectra: Mapping[tuple[str, Window], Spectrum], first: Mapping[Any, Any],
    before: dict[str, float], found: Solution, scale: float,
) -> CalibratedStar:  # fmt: skip
    windows = []
    for w, parts in s.observed.items():
        for i, o in enumerate(parts):
            _, m, weight = run.matched(s, w, i, spectra[s.name, w])
            old = first[s.name, w, i][1]
            windows.append(CalibratedWindow(w, o.wave, o.flux / m.level, o.sigma / m.level, o.good,
                                            old.model / m.level, m.model / m.level, weight, m.velocity))  # fmt: skip
    values = dict(s.values)
    fixed = {n: v for n, v in s.full(values).items() if n not in values}
    return CalibratedStar(s.name, values, found.label_errors.get(s.name, {}), before, fixed, tuple(windows), scale,
                          s.spectrum.sha256)  # fmt: skip

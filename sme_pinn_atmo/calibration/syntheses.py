"""Spectra and derivatives of a star's windows: jobs that know all they need, their results kept on disk.

A job is done anywhere: here, by processes, by the workers of a Dask cluster. What it depends on is in its key, so that
an interrupted calibration, given again, finds what is done.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..files import write_atomically
from ..stars.instrument import LineSpread, disk_flux
from ..stars.model import normalised_flux
from ..stars.parameters import BROADENING
from ..stars.synthesis import Intensities, LineChange, Selection, Synthesis, atmosphere_source, lines_near
from .shared import STEPS, Shared, colours, moved

__all__ = [
    "LabelJob", "LineJob", "SelectJob", "Spectrum", "StarModel", "changes_by_colour", "maker", "runner",
    "seen_change", "shared_job",
]  # fmt: skip

Array = NDArray[np.float64]

#: Derivatives by labels are made of lines deeper than the first, and the second may be left out; see `Synthesis`.
_ROUGH, _COARSER = (0.03, 0.03), 1.34

#: Instruments and stars move the change of a line so far beyond where it is: in standard deviations, and in vmac.
_SIGMAS, _TURBULENT = 5.0, 4.0


@dataclass(frozen=True)
class StarModel:
    """What makes a star's spectrum but for the lines.

    model, pattern, geometry, mass : see `stars.synthesis`; step : of the transfer [km/s]
    parameters : all labels, and vmac, vsini, resolution
    code : "pysme" or "korg"
    """

    model: Any
    step: float
    parameters: Mapping[str, float]
    pattern: str = "asplund2009"
    geometry: str | None = None
    mass: float | None = None
    code: str = "pysme"

    def synthesis(
        self, lines: Any, windows: Sequence[tuple[float, float]], rough: bool = False, all_lines: bool = False
    ) -> Synthesis:
        """A `Synthesis`, of the deeper lines alone on a coarser grid where it is to be `rough`."""
        options: dict[str, Any] = {"all_lines": all_lines, **({"threshold": _ROUGH} if rough else {})}
        source = _source(self.model, self.geometry, self.mass) if isinstance(self.model, str) else self.model
        return Synthesis(
            source, lines, windows, step=self.step * (_COARSER if rough else 1.0), pattern=self.pattern, **options
        )

    @property
    def stellar(self) -> dict[str, float]:
        """Labels that a synthesis needs."""
        return {n: v for n, v in self.parameters.items() if n not in BROADENING}

    def flux(self, intensities: Intensities) -> Array:
        """(n,) normalised flux as the instrument shows it."""
        return normalised_flux(
            intensities, self.spread, vmac=self.parameters.get("vmac", 0.0), vsini=self.parameters.get("vsini", 0.0)
        )

    @property
    def spread(self) -> LineSpread:
        return LineSpread(self.parameters.get("resolution", 0.0))


@lru_cache(maxsize=8)
def _source(model: str, geometry: str | None, mass: float | None) -> Any:
    return atmosphere_source(model, geometry, mass)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A window of a star.

    wave, flux : (n,) [A in air, at rest], normalised, as the instrument shows it
    columns : (n, n_shared) sparse derivatives of flux by shared parameters; None where a job was asked for none
    """

    wave: Array
    flux: Array
    columns: sparse.csc_matrix | None = None


#: Numbers of parameters of a job, the step of their change, and the window with it.
_Variant = tuple[list[int], float, Intensities]


@dataclass(frozen=True, eq=False)
class SelectJob:
    """Which lines a star needs in one window; see `Synthesis.select`. lines : those near the window"""

    star: StarModel
    lines: Any
    window: tuple[float, float]

    def key(self) -> str:
        return _key("select", self.star, self.lines, [self.window], {})

    def run(self) -> Selection:
        return self.star.synthesis(self.lines, [self.window]).select(self.star.stellar)

    @staticmethod
    def pack(found: Selection) -> dict[str, Any]:
        return {"strong": found.strong, "weak": found.weak, "depth": found.depth, "left_out": found.left_out,
                "veil": np.stack(found.veils[0]), "parameters": json.dumps(dict(found.parameters))}  # fmt: skip

    @staticmethod
    def unpack(data: Mapping[str, Any]) -> Selection:
        centre, depth, sigma = data["veil"]
        return Selection(data["strong"], data["weak"], ((centre, depth, sigma),), data["depth"],
                         float(data["left_out"]), json.loads(str(data["parameters"])))  # fmt: skip


@dataclass(frozen=True, eq=False)
class LineJob:
    """Spectrum of a window, and its derivatives by shared parameters.

    lines : near the window, with the changes so far; selection : of the star, for these lines
    numbers : (m,) shared parameters to differentiate by; members : their lines, by number in `lines`; kind, start,
        stop : as of `Shared`; total : number of all shared parameters
    """

    star: StarModel
    lines: Any
    window: tuple[float, float]
    selection: Selection
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=int))
    members: tuple[NDArray[np.int64], ...] = ()
    kind: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, dtype="U6"))
    start: Array = field(default_factory=lambda: np.zeros(0))
    stop: Array = field(default_factory=lambda: np.zeros(0))
    total: int = 0

    def key(self) -> str:
        flat = np.concatenate([np.zeros(0, dtype=int), *self.members])
        lengths = [len(m) for m in self.members]
        return _key(
            "lines", self.star, self.lines, [self.window],
            {"strong": self.selection.strong, "weak": self.selection.weak, "numbers": self.numbers, "members": flat,
             "lengths": lengths, "kind": "".join(self.kind), "start": self.start, "stop": self.stop,
             "total": self.total},
        )  # fmt: skip

    def run(self) -> Spectrum:
        base, variants = self._korg() if self.star.code == "korg" else self._pysme()
        rows, columns, values = [], [], []
        for parts, step, variant in variants:
            for j in parts:
                first, change = seen_change(self.star, base, variant, self.start[j], self.stop[j])
                rows.append(first + np.arange(len(change)))
                columns.append(np.full(len(change), self.numbers[j]))
                values.append(change / step)
        shape = (len(base.wave), self.total)
        found = sparse.csc_matrix(shape)
        if values:
            places = (np.concatenate(rows), np.concatenate(columns))
            found = sparse.csc_matrix((np.concatenate(values), places), shape=shape)
        return Spectrum(base.wave, self.star.flux(base), found)

    def _korg(self) -> tuple[Intensities, Iterator[_Variant]]:
        """As `_pysme`: derivatives are exact, and of a step of 1."""
        from . import korg

        if others := set(self.kind.tolist()) - {"gflog"}:
            raise ValueError(f"Korg gives derivatives by gflog, not by {', '.join(sorted(others))}")
        use = self.selection.strong | self.selection.weak
        place = np.cumsum(use) - 1
        colour = colours(self.start, self.stop)
        parts = [np.flatnonzero(colour == c).tolist() for c in range(colour.max(initial=-1) + 1)]
        groups = [np.concatenate([place[m[use[m]]] for m in (self.members[j] for j in p)]) for p in parts]
        base, changed = korg.intensities(self.star, self.lines[use], self.window, groups)
        return base, ((p, 1.0, variant) for p, variant in zip(parts, changed, strict=True))

    def _pysme(self) -> tuple[Intensities, Iterator[_Variant]]:
        """The window, and for each colour which parameters it has, by what they moved, and what the window becomes."""
        # All of them: the selection is of these, and which lines reach how far depends on log gf.
        synthesis = self.star.synthesis(self.lines, [self.window], all_lines=True)
        synthesis.use(self.selection)
        place = np.cumsum(self.selection.strong) - 1  # of a line among those in use
        chosen = [place[m[self.selection.strong[m]]] for m in self.members]
        jobs = list(changes_by_colour(synthesis.chosen, chosen, self.kind, self.start, self.stop))
        made = synthesis.variants(self.star.stellar, 0, [change for change, _ in jobs])
        base = next(made)
        return base, ((p, STEPS[c.column], v) for (c, p), v in zip(jobs, made, strict=True))

    @staticmethod
    def pack(found: Spectrum) -> dict[str, Any]:
        c = found.columns
        if c is None:
            raise AssertionError("a job of lines has columns")
        return {"wave": found.wave, "flux": found.flux, "data": c.data, "indices": c.indices, "indptr": c.indptr,
                "shape": np.array(c.shape)}  # fmt: skip

    @staticmethod
    def unpack(data: Mapping[str, Any]) -> Spectrum:
        columns = sparse.csc_matrix((data["data"], data["indices"], data["indptr"]), shape=tuple(data["shape"]))
        return Spectrum(data["wave"], data["flux"], columns)


def maker(
    star: StarModel, lines: Any, windows: Sequence[tuple[float, float]], rough: bool = False
) -> Callable[[StarModel], list[Intensities]]:
    """A function of a star near this one that synthesises the windows, of the lines that this one needs."""
    synthesis = star.synthesis(lines, windows, rough)
    selection = synthesis.select(star.stellar)
    if star.code == "korg":
        from . import korg

        chosen = synthesis.lines[selection.strong if rough else selection.strong | selection.weak]
        return lambda other: [korg.intensities(other, chosen[lines_near(chosen, [w])], w)[0] for w in windows]
    synthesis.use(selection)
    return lambda other: synthesis.intensities(other.stellar)


def seen_change(
    star: StarModel, base: Intensities, variant: Intensities, start: float, stop: float
) -> tuple[int, Array]:
    """What a change of lines between two wavelengths [A] does to the flux as the instrument shows it.

    Returns the number of the first point that it moves, and the change from there on.
    """
    p, n = star.parameters, len(base.wave)
    first, last = np.searchsorted(base.wave, (start, stop))
    sigma = 127_313.0 / p["resolution"] if p.get("resolution", 0.0) else 0.0  # km/s
    pad = int((_SIGMAS * sigma + _TURBULENT * p.get("vmac", 0.0) + p.get("vsini", 0.0)) / base.step) + 4
    low, high = max(int(first) - pad, 0), min(int(last) + pad, n)
    change = np.zeros((len(base.mu), high - low))
    change[:, first - low : last - low] = (variant.line - base.line)[:, first:last] * base.veil[first:last]
    seen = disk_flux(base.mu, change, base.step, vmac=p.get("vmac", 0.0), vsini=p.get("vsini", 0.0))
    level = disk_flux(base.mu, base.continuum[:, low:high], base.step)
    return low, star.spread.apply(base.wave[low:high], seen / level, base.step)


def changes_by_colour(
    lines: Any, members: Sequence[NDArray[np.int64]], kind: NDArray[np.str_], start: Array, stop: Array,
    by: Mapping[str, float] = STEPS,
) -> Iterator[tuple[LineChange, list[int]]]:  # fmt: skip
    """The changes of line data, all parameters of a colour at once, and which parameters these are.

    Parameters none of whose `members` is among the lines change nothing and are left out.
    """
    for column in dict.fromkeys(str(k) for k in kind):
        mine = np.array([j for j in np.flatnonzero(kind == column).tolist() if len(members[j])], dtype=int)
        values = np.asarray(lines[column], dtype=float)
        colour = colours(start[mine], stop[mine])
        for c in range(colour.max(initial=-1) + 1):
            parts = mine[colour == c]
            index = np.concatenate([members[j] for j in parts.tolist()])
            yield LineChange(index, column, moved(column, values[index], by[column])), parts.tolist()


@dataclass(frozen=True, eq=False)
class LabelJob:
    """Derivatives of all windows of a star by its own labels: of a spectrum of the deeper lines.

    steps : of each label's difference
    """

    star: StarModel
    lines: Any
    windows: tuple[tuple[float, float], ...]
    steps: Mapping[str, float]

    def key(self) -> str:
        return _key("labels", self.star, self.lines, self.windows, {"steps": json.dumps(dict(self.steps))})

    def run(self) -> tuple[list[Array], list[Array]]:
        """By window: wavelengths (n,) and derivatives (n_label, n)."""
        make = maker(self.star, self.lines, self.windows, rough=True)
        base = make(self.star)
        fluxes = [self.star.flux(i) for i in base]
        found = [np.zeros((len(self.steps), len(f))) for f in fluxes]
        for j, (name, step) in enumerate(self.steps.items()):
            values = {**self.star.parameters, name: self.star.parameters.get(name, 0.0) + step}
            other = replace(self.star, parameters=values)
            made = base if name in BROADENING else make(other)
            for d, i, f in zip(found, made, fluxes, strict=True):
                d[j] = (other.flux(i) - f) / step
        return [i.wave for i in base], found

    @staticmethod
    def pack(found: tuple[list[Array], list[Array]]) -> dict[str, Any]:
        waves, derivatives = found
        return {f"wave{i}": w for i, w in enumerate(waves)} | {f"by{i}": d for i, d in enumerate(derivatives)}

    @staticmethod
    def unpack(data: Mapping[str, Any]) -> tuple[list[Array], list[Array]]:
        n = sum(name.startswith("wave") for name in data)
        return [data[f"wave{i}"] for i in range(n)], [data[f"by{i}"] for i in range(n)]


def shared_job(
    star: StarModel, lines: Any, window: tuple[float, float], selection: Selection, near: NDArray[np.int64],
    shared: Shared, of: NDArray[np.int64],
) -> LineJob:  # fmt: skip
    """A `LineJob` by the shared parameters numbered in `of`; `near` (n,): numbers in the whole list of `lines`."""
    place = np.full(int(near.max(initial=0)) + 1, -1)
    place[near] = np.arange(len(near))
    members = tuple(place[shared.members[j]] for j in of)
    return LineJob(star, lines, window, selection, of, members, shared.kind[of], shared.start[of], shared.stop[of],
                   len(shared))  # fmt: skip


def _key(what: str, star: StarModel, lines: Any, windows: Any, more: Mapping[str, Any]) -> str:
    import pysme

    from .. import __version__

    digest = hashlib.sha256()
    head = {"what": what, "model": _model_key(star.model), "step": star.step, "parameters": dict(star.parameters),
            "pattern": star.pattern, "geometry": star.geometry, "mass": star.mass,
            "versions": [__version__, pysme.__version__], **({} if star.code == "pysme" else {"code": star.code}),
            "windows": [list(w) for w in windows]}  # fmt: skip
    digest.update(json.dumps(head, sort_keys=True).encode())
    for column in ("wlcent", "excit", "gflog", "gamrad", "gamqst", "gamvw"):
        digest.update(np.ascontiguousarray(np.asarray(lines[column], dtype=float)).tobytes())
    for name, value in more.items():
        digest.update(name.encode())
        digest.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
    return f"{what}-{digest.hexdigest()[:32]}"


@lru_cache(maxsize=8)
def _model_key(model: Any) -> str:
    """Of a network its weights, whatever its name and its error bars are."""
    emulator = getattr(_source(model, None, None) if isinstance(model, str) else model, "emulator", None)
    if emulator is None:
        return str(model)
    digest = hashlib.sha256()
    for name, values in sorted(emulator.network.tensors.items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------------- many at once


def _load(path: Path) -> dict[str, Any] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):  # what is no result is made again
        path.unlink(missing_ok=True)
        return None


def _do(job: Any, folder: Path | None) -> Any:
    """A job's result, from disk where it is there."""
    path = None if folder is None else folder / f"{job.key()}.npz"
    data = None if path is None else _load(path)
    if data is None:
        data = job.pack(job.run())
        if path is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **data)
            write_atomically(path, buffer.getvalue())
    return job.unpack(data)


Run = Callable[[Sequence[Any], str], list[Any]]


@contextmanager
def runner(
    folder: Path | None, *, processes: int = 1, client: Any = None, progress: Callable[[str], None] = lambda text: None
) -> Iterator[Run]:
    """A function of (jobs, what they are for) that gives their results in order.

    Parameters
    ----------
    folder : where results are kept; None keeps none
    processes : that work at once; client : a Dask client instead, whose workers see the same file system
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def count(results: Any, n: int, what: str) -> list[Any]:
        found = []
        for i, result in enumerate(results, 1):
            found.append(result)
            if i == n or i % max(n // 10, 1) == 0:
                progress(f"{what}: {i} of {n}")
        return found

    if client is not None:
        yield lambda jobs, what: count(
            (f.result() for f in [client.submit(_do, j, folder, pure=False) for j in jobs]), len(jobs), what
        )
        return
    if processes <= 1:
        yield lambda jobs, what: count((_do(j, folder) for j in jobs), len(jobs), what)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        yield lambda jobs, what: count(
            (f.result() for f in [executor.submit(_do, j, folder) for j in jobs]), len(jobs), what
        )

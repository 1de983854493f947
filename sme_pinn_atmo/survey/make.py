"""Make a training set: in processes or on a Dask cluster, resumed where it was; and plan it first."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..composition import CompositionWarning
from ..emulator import Emulator
from ..stars.corrections import Corrections, packaged_corrections
from .labels import RELATIONS, Labels, draw
from .settings import Survey
from .store import DONE, FAILED, Writer, layout, size
from .synthesis import ERROR_DEPTHS, ERROR_PROFILES, Engine, engine

__all__ = ["Plan", "make", "plan"]

#: A star of derivatives is checked for their error in this many places of a set.
_CHECKED = 2


_ONE = threading.Lock()


def _job(plain: str, i: int, star: Mapping[str, float], gradients: bool, errors: bool) -> tuple[int, Any, float]:
    """A star in some process: its number, its record or why it failed, and the seconds of a processor it took."""
    start = time.process_time()
    made = engine(plain)
    try:
        # Dask's workers may have threads: an engine does one star at a time.
        with _ONE, warnings.catch_warnings():
            # Of stars at random in [X/Fe] this is said of nearly all; the documentation says it of the set.
            warnings.simplefilter("ignore", CompositionWarning)
            found = made.star(star, gradients=gradients, errors=errors)
        bad = [n for n, v in found.items() if n != "atmosphere_error" and not np.isfinite(v).all()]
        result: Any = f"{bad[0]} is not finite" if bad else {n: _stored(n, v) for n, v in found.items()}
    except Exception as error:  # whatever is wrong with a star, the others go on
        result = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return i, result, time.process_time() - start


def _stored(name: str, value: Any) -> Any:
    return np.asarray(value, dtype=np.float32)


def _check(plain: str, star: Mapping[str, float]) -> dict[str, dict[str, float]]:
    with _ONE:
        return engine(plain).gradient_error(star)


def make(
    survey: Survey, out: str | Path, *, processes: int = 1, dask: str | None = None, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Make a set, or go on with it.

    The work goes to `OUT.part`, a star at a time; interrupted in whatever way, the same call goes on with the stars
    that are missing. Stars that fail are recorded with the reason. Memory does not grow with the number of stars.

    Parameters
    ----------
    processes : that synthesise at once
    dask : address of a Dask scheduler, whose workers take their place; they need the same packages and files

    Returns {"stars", "failed", "resumed": stars that were there already, "seconds": of this call}.

    Raises FileExistsError where `out` is there, ValueError for an unfinished file of other settings, RuntimeError where
    a worker process died.
    """
    from tqdm import tqdm

    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} is there already: give another name, or delete it")
    part = out.with_name(f"{out.name}.part")
    start = time.perf_counter()
    card = _card(survey)
    labels = _labels(survey)
    plain = json.dumps(survey.to_dict(), sort_keys=True)
    if part.is_file():
        writer = Writer(part)
        same = ("survey", "model_sha256", "lines_sha256", "corrections_sha256", "versions", "table_sha256")
        if changed := [k for k in same if writer.card.get(k) != card.get(k)]:
            raise ValueError(f"{part} was begun with other settings ({changed[0]} differs): finish it with those, or "
                             "delete it")  # fmt: skip
    else:
        writer = _create(survey, part, labels, card)
    todo = writer.todo()
    resumed = len(labels) - len(todo)
    n_gradients, n_errors = survey.gradients.count(len(labels)), min(survey.error_stars, len(labels))
    jobs = [(plain, i, labels.star(i), i < n_gradients, i < n_errors) for i in todo]
    checks: dict[str, Any] = {}
    try:
        with (
            tqdm(total=len(labels), initial=resumed, unit="star", disable=not progress, desc=out.name) as bar,
            _workers(processes, dask) as run,
        ):
            for i, result, seconds in run(_job, jobs):
                if isinstance(result, str):
                    writer.failure(i, result, seconds)
                else:
                    writer.star(i, result, seconds)
                bar.update()
            if n_gradients and survey.code == "pysme":
                chosen = np.flatnonzero(writer.status[:n_gradients] == DONE)[:: max(n_gradients // _CHECKED, 1)]
                found = list(run(_check, [(plain, labels.star(int(i))) for i in chosen[:_CHECKED]]))
                checks = _worst(found)
            if left := writer.todo():
                raise RuntimeError(f"{len(left)} stars came back from nowhere; the same command goes on")
    except BaseException:
        writer.close()
        raise
    seconds = time.perf_counter() - start
    report = {
        "gradient_error": checks, "stars": len(labels), "failed": int((writer.status == FAILED).sum()),
        "seconds_of_last_run": seconds, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    writer.finish(out, report)
    return {"stars": len(labels), "failed": report["failed"], "resumed": resumed, "seconds": seconds}


def _worst(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Of the errors of several stars, the largest of each label."""
    return {n: {k: max(f[n][k] for f in found) for k in found[0][n]} for n in found[0]} if found else {}


def _labels(survey: Survey) -> Labels:
    emulator = Emulator.load(survey.model)
    return draw(survey, emulator.domain, emulator.card["solar_scale"])


def _create(survey: Survey, part: Path, labels: Labels, card: Mapping[str, Any]) -> Writer:
    wave = np.concatenate([b.wave for b in survey.bands])
    band = np.repeat(np.arange(len(survey.bands)), [len(b.wave) for b in survey.bands])
    fixed: dict[str, Any] = {
        "wavelength": (wave, "Angstrom"), "band": (band, ""), "error_tau_ross": (np.array(ERROR_DEPTHS), "")
    }  # fmt: skip
    parts = _parts(survey, labels)
    if survey.mu:
        fixed["mu"] = (engine(json.dumps(survey.to_dict(), sort_keys=True)).code.mu, "")
    return Writer.create(part, labels, parts, fixed, card)


def _parts(survey: Survey, labels: Labels) -> dict[str, tuple[tuple[int, ...], Any]]:
    pixels = sum(len(b.wave) for b in survey.bands)
    n = len(labels)
    return layout(
        n, pixels, len(labels.names), survey.gradients.count(n), len(survey.gradients.labels),
        atmosphere=survey.gradients.atmosphere, errors=min(survey.error_stars, n), n_mu=7 if survey.mu else 0,
        error_shape=(len(ERROR_PROFILES), len(ERROR_DEPTHS)),
    )  # fmt: skip


def _card(survey: Survey) -> dict[str, Any]:
    """Everything that a set was made with."""
    from importlib.metadata import version

    import scipy

    emulator = Emulator.load(survey.model)
    lines = survey.line_list()
    versions = {"sme_pinn_atmo": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
    if survey.code == "pysme":
        versions["pysme-astro"] = version("pysme-astro")
    else:
        from ..codes import korg

        versions["Korg"] = korg.version()
    return {
        "survey": survey.to_dict(), "key": survey.key(), "seed": survey.seed, "code": survey.code,
        "model": emulator.name, "model_sha256": emulator.card["sha256"],
        "solar_scale": emulator.card["solar_scale"], "references": list(emulator.card.get("references", [])),
        "lines": str(lines or "packaged"), "lines_sha256": _lines_checksum(lines), **_corrections(survey),
        "table_sha256": _checksum(Path(survey.table)) if survey.table and Path(survey.table).is_file() else "",
        "relations": {n: RELATIONS[r][1] for n, r in survey.relations.items()},
        "error_profiles": list(ERROR_PROFILES), "medium": [b.medium for b in survey.bands], "versions": versions,
    }  # fmt: skip


def _corrections(survey: Survey) -> dict[str, Any]:
    if survey.corrections is None:
        return {}
    made = Corrections.read(survey.corrections)
    path = packaged_corrections().get(survey.corrections, Path(survey.corrections))
    return {"corrections_sha256": _checksum(path), "notes": made.on_pattern(survey.pattern)}


def _lines_checksum(lines: Any) -> str:
    if lines is None:
        return _checksum(Path(__file__).parent.parent / "data" / "lines_6130_6181.csv")
    if str(lines) == "galah-lines":
        from ..stars.lines import benchmark_file

        return _checksum(benchmark_file("galah_dr3_linelist.h5"))
    return _checksum(Path(lines))


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------------- many at once


class _workers:
    """A function that does jobs here, in processes or on a cluster, and gives results as they come, in any order.

    No more jobs than workers need are on their way, so that memory does not grow.
    """

    def __init__(self, processes: int, dask: str | None) -> None:
        self.processes, self.dask = processes, dask
        self.close: Callable[[], None] = lambda: None

    def __enter__(self) -> Callable[[Callable[..., Any], list[tuple[Any, ...]]], Iterator[Any]]:
        if self.dask is not None:
            try:
                from distributed import Client
            except ModuleNotFoundError:
                raise ImportError("a Dask cluster needs dask: pip install 'sme-pinn-atmo[dask]'") from None
            client = Client(self.dask)
            self.close = client.close
            return lambda work, jobs: _on_dask(client, work, jobs)
        if self.processes <= 1:
            return lambda work, jobs: (work(*job) for job in jobs)
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        executor = ProcessPoolExecutor(self.processes, mp_context=get_context("spawn"))
        self.close = lambda: executor.shutdown(cancel_futures=True)
        return lambda work, jobs: _in_processes(executor, 2 * self.processes, work, jobs)

    def __exit__(self, *_: object) -> None:
        self.close()


def _in_processes(executor: Any, ahead: int, work: Any, jobs: list[tuple[Any, ...]]) -> Iterator[Any]:
    from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait

    waiting: set[Any] = set()
    rest = iter(jobs)
    while True:
        for job in rest:
            waiting.add(executor.submit(work, *job))
            if len(waiting) >= ahead:
                break
        if not waiting:
            return
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.exception()
            if isinstance(error, BrokenExecutor):  # a process that died, not a star that failed
                raise RuntimeError(f"a worker process ended: {error}; the same command goes on") from None
            yield future.result()


def _on_dask(client: Any, work: Any, jobs: list[tuple[Any, ...]]) -> Iterator[Any]:
    from distributed import as_completed

    ahead = 2 * max(sum(client.nthreads().values()), 1)
    rest = iter(jobs)
    first = [client.submit(work, *job, pure=False) for job in itertools.islice(rest, ahead)]
    queue = as_completed(first)
    for future in queue:
        yield future.result()
        future.release()
        if (job := next(rest, None)) is not None:
            queue.add(client.submit(work, *job, pure=False))


# ---------------------------------------------------------------------- plan


class Plan(dict[str, Any]):
    """What a run will take: stars, seconds a star, hours, bytes; `text` says it."""

    def hours(self, processes: int) -> float:
        """Of so many processes, all of which have a core."""
        return float(self["seconds"] / 3600 / processes)

    def text(self, processes: tuple[int, ...] = (1, 2, 16, 128)) -> str:
        """In sentences."""
        probes = ", ".join(f"{p['teff']:.0f} K {p['seconds']:.2f} s" for p in self["probes"])
        hours = ", ".join(f"{self.hours(n):.3g} h on {n}" for n in processes)
        lines = [
            f"{self['stars']} stars of {self['pixels']} pixels, {self['labels']} labels",
            f"a star: {self['seconds_a_star']:.2f} s (measured: {probes}); {100 * self['share']:.1f} % of it inside "
            f"PySME's library, {100 * (1 - self['share']):.1f} % everything else",
        ]
        if self["gradients"]:
            lines.append(f"a star with derivatives: {self['seconds_gradients']:.2f} s; {self['gradients']} of them")
        if self["cells"]:
            lines.append(f"lines selected for {self['cells']} kinds of stars, {self['seconds_selection']:.2f} s each")
        lines += [
            f"in all: {hours} cores; {self['bytes'] / 1e6:.1f} MB",
        ]
        return "\n".join(lines)


@contextmanager
def _clocked() -> Iterator[list[float]]:
    """Seconds of a processor that pass inside PySME's library: the floor under everything else."""
    from pysme import sme_synth

    spent = [0.0]
    library = sme_synth._smelib

    class Timed:
        def __getattr__(self, name: str) -> Any:
            found = getattr(library, name)
            if not callable(found):
                return found

            def call(*args: Any, **kwargs: Any) -> Any:
                start = time.process_time()
                try:
                    return found(*args, **kwargs)
                finally:
                    spent[0] += time.process_time() - start

            return call

    sme_synth._smelib = Timed()
    try:
        yield spent
    finally:
        sme_synth._smelib = library


def plan(survey: Survey) -> Plan:
    """Measure a survey on three of its stars: a cool one, one in the middle and a hot one, in CPU seconds."""
    labels = _labels(survey)
    made = Engine(survey)
    teff = labels.values[:, labels.names.index("teff")] if "teff" in labels.names else np.zeros(len(labels))
    order = np.argsort(teff)
    chosen = [int(order[int(q * (len(order) - 1))]) for q in (0.1, 0.5, 0.9)]
    probes, selections, inside, total = [], [], 0.0, 0.0
    for i in chosen:
        star = labels.star(i)
        start = time.process_time()
        made.star(star)  # selects lines, and warms up
        first = time.process_time() - start
        start = time.process_time()
        with _clocked() as clock:
            made.star(star)
        seconds = time.process_time() - start
        inside += clock[0]
        total += seconds
        selections.append(max(first - seconds, 0.0))
        probes.append({"teff": star["teff"], "seconds": seconds})
    gradient_seconds = 0.0
    if survey.gradients.count(len(labels)):
        start = time.process_time()
        made.star(labels.star(chosen[1]), gradients=True)
        gradient_seconds = time.process_time() - start
    each = total / len(chosen)
    cell = getattr(made.code, "cell", None) if getattr(made.code, "selects", False) else None
    cells = len({cell(labels.star(i)) for i in range(len(labels))}) if cell else 0
    n_gradients, n_errors = survey.gradients.count(len(labels)), min(survey.error_stars, len(labels))
    selection = float(np.mean(selections)) if cell else 0.0
    seconds = (
        (len(labels) - n_gradients) * each + n_gradients * gradient_seconds + 4 * n_errors * each + cells * selection
    )
    return Plan(
        stars=len(labels), pixels=len(made.wave), labels=len(labels.names), probes=probes, seconds_a_star=each,
        share=inside / total, gradients=n_gradients, seconds_gradients=gradient_seconds, cells=cells,
        seconds_selection=selection, seconds=seconds, bytes=size(_parts(survey, labels)), cores=os.cpu_count(),
    )  # fmt: skip

"""Many stars, one fit each: in processes or on a Dask cluster, resumed where it was, and no star stops the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import read_table, write_atomically
from .errors import PARTS
from .page import as_dict, write_results
from .settings import Settings

__all__ = ["collect", "fit_many", "read_catalogue", "safe_name"]

#: Columns of a catalogue that are no parameters of the start.
_OWN = ("name", "spectrum", "medium", "error", "lines", "windows")


def safe_name(name: str) -> str:
    """A name as a folder can have it."""
    return "".join(c if c.isalnum() or c in "-_+." else "_" for c in name.strip()) or "star"


def read_catalogue(path: Path, settings: Settings) -> list[Settings]:
    """Settings of each row of a table: `settings`, with the row's `name`, `spectrum` and start of any parameter.

    Columns of `prior_NAME` and `e_prior_NAME` are priors. Paths of spectra are relative to the table. Raises ValueError
    for a table without names or spectra, two rows of one name, or columns that mean nothing.
    """
    import numpy as np

    from .parameters import check_name

    table = read_table(path)
    for needed in ("name", "spectrum"):
        if needed not in table.colnames:
            raise ValueError(f"{path} has the columns {', '.join(table.colnames)}; {needed} is missing")
    names = [safe_name(str(n)) for n in table["name"]]
    if len(set(names)) < len(names):
        raise ValueError(f"{path} has two rows of one name, {next(n for n in names if names.count(n) > 1)}")
    for column in table.colnames:
        if column not in _OWN:
            check_name(column.removeprefix("e_").removeprefix("prior_"))
    found = []
    for row in table:
        given: dict[str, Any] = {
            c: row[c] for c in table.colnames if not np.ma.is_masked(row[c]) and str(row[c]) not in ("", "nan")
        }
        start = {c: float(v) for c, v in given.items() if c not in _OWN and not c.startswith(("prior_", "e_prior_"))}
        priors = {
            c.removeprefix("prior_"): (float(v), float(given[f"e_{c}"]))
            for c, v in given.items() if c.startswith("prior_") and f"e_{c}" in given
        }  # fmt: skip
        spectrum = str(given["spectrum"])
        near = path.parent / spectrum
        own: dict[str, Any] = {c: str(given[c]) for c in ("name", "medium", "lines", "windows") if c in given}
        if "error" in given:
            own["error"] = float(given["error"])
        found.append(settings.with_(
            spectrum=str(near) if near.is_file() else spectrum, start={**settings.start, **start},
            priors={**settings.priors, **priors}, **own,
        ))  # fmt: skip
    return found


def fit_many(
    stars: Sequence[Settings], out: Path, *, processes: int = 1, client: Any = None, progress: bool = True,
    fit: Callable[[Settings, Path], dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Fit each star into its folder below `out`, but for those that are done; failures are recorded and passed over.

    A star is done where its folder has a result made with the same settings and spectrum (settings.json).

    Parameters
    ----------
    processes : stars at once, a process each
    client : a Dask client instead; workers need the same file system
    fit : what is done with a star; the default is `fit_one`

    Returns what each star's fit.json holds, in order; for a star that failed {"name", "failed": why}. A failed star is
    tried again by the next call.
    """
    from tqdm import tqdm

    work = fit or fit_one
    out.mkdir(parents=True, exist_ok=True)
    folders = [out / safe_name(str(s.name or Path(s.spectrum).stem)) for s in stars]
    todo = [(s, f) for s, f in zip(stars, folders, strict=True) if not _done(s, f)]
    bar = tqdm(total=len(stars), initial=len(stars) - len(todo), disable=not progress, desc="stars")
    for _ in _results(work, todo, processes, client):
        bar.update()
    bar.close()
    return [_read(f, s) for s, f in zip(stars, folders, strict=True)]


def _results(work: Any, todo: Sequence[tuple[Settings, Path]], processes: int, client: Any) -> Iterator[None]:
    if client is not None:
        from distributed import as_completed

        for _ in as_completed([client.submit(_attempt, work, s, f, pure=False) for s, f in todo]):
            yield
        return
    if processes <= 1:
        for settings, folder in todo:
            _attempt(work, settings, folder)
            yield
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed  # type: ignore[assignment]
    from multiprocessing import get_context

    context = get_context("spawn")
    lost = []
    with ProcessPoolExecutor(processes, mp_context=context) as executor:
        futures = {executor.submit(_attempt, work, s, f): (s, f) for s, f in todo}
        for future in as_completed(futures):
            if future.exception() is None:
                yield
            else:
                lost.append(futures[future])
    # A star that kills its process takes all others of the pool with it: each has another try by itself.
    for settings, folder in lost:
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            error = executor.submit(_attempt, work, settings, folder).exception()
        if error is not None:
            _failed(settings, folder, error)
        yield


def fit_one(settings: Settings, folder: Path) -> dict[str, Any]:
    """Fit a star and write its results."""
    fit = settings.run()
    write_results(fit, folder)
    return as_dict(fit)


def _attempt(work: Any, settings: Settings, folder: Path) -> None:
    try:
        work(settings, folder)
    except Exception as error:  # whatever is wrong with a star, the others go on
        _failed(settings, folder, error)
    else:
        (folder / "failed.json").unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "settings.json", _described(settings))


def _failed(settings: Settings, folder: Path, error: BaseException) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fit.json").unlink(missing_ok=True)  # of other settings
    reason = " ".join(str(error).split()) or type(error).__name__
    failed = {"name": settings.name or settings.spectrum, "failed": f"{type(error).__name__}: {reason}"}
    write_atomically(folder / "failed.json", (json.dumps(failed, indent=1) + "\n").encode())


def _described(settings: Settings) -> bytes:
    """Everything that a result depends on, but for models and line lists that keep their names."""
    found = asdict(settings)
    del found["options"]["processes"]
    for name in ("spectrum", "corrections", "windows"):
        try:
            path = settings.spectrum_file() if name == "spectrum" else Path(getattr(settings, name) or "")
            found[f"{name}_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError):  # a packaged table, or what the fit will say
            found[f"{name}_sha256"] = None
    return (json.dumps(found, indent=1, sort_keys=True) + "\n").encode()


def _done(settings: Settings, folder: Path) -> bool:
    path = folder / "settings.json"
    return (folder / "fit.json").is_file() and path.is_file() and path.read_bytes() == _described(settings)


def _read(folder: Path, settings: Settings) -> dict[str, Any]:
    for name in ("fit.json", "failed.json"):
        if (folder / name).is_file():
            found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
            return found
    return {"name": settings.name or settings.spectrum, "failed": "nothing was written"}


def collect(results: Sequence[Mapping[str, Any]]) -> Any:
    """One astropy table of many results: value, total error and its parts by parameter; NaN for stars that failed."""
    from astropy.table import Table

    names = list(dict.fromkeys(n for r in results for n in r.get("values", {})))
    rows = []
    for r in results:
        row: dict[str, Any] = {"name": r["name"]}
        for n in names:
            row[n] = r.get("values", {}).get(n, float("nan"))
            for key, part in ((f"e_{n}", "total"), *((f"e_{n}_{p}", p) for p in PARTS)):
                value = r.get("error_parts", {}).get(part, {}).get(n)
                row[key] = float("nan") if value is None else value
        row |= {"vrad": r.get("vrad", float("nan")), "reduced_chi2": r.get("reduced_chi2", float("nan")),
                "explained": r.get("explained", float("nan")), "seconds": r.get("seconds", float("nan")),
                "stopped": " ".join(r.get("stopped", {})), "failed": r.get("failed", "")}  # fmt: skip
        rows.append(row)
    return Table(rows=rows)

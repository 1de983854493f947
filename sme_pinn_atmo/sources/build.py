"""A set's own files from its originals, and a record of how they were made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import replacing, write_atomically
from .bring import bring, call
from .places import cache_folder, checksum
from .registry import DataSet

__all__ = ["build", "ensure"]


def build(one: DataSet, source: Path | None = None, progress: bool = True) -> list[Path]:
    """Bring the originals of a set where they are missing, make its files in the cache, and return those.

    source : a folder with the originals; where it has the set's own files under their names in the registry, these
        are taken as they are, and where it has a user's own files of a kind that the set can be made from
        (`DataSet.others`), it is made from those; the record says so

    Raises
    ------
    BringError : an original cannot be had; GridFileError, ValueError : one cannot be read
    """
    out = cache_folder()
    out.mkdir(parents=True, exist_ok=True)
    taken = source is not None and all((source / file).exists() for file in one.files)
    made_by = f"sme-pinn-atmo data build {one.name}"
    if taken and source is not None:
        for file in one.files:
            _take(source / file, out / file)
        made_by = f"copied from {source}"
    elif others := _others(one, source):
        assert one.others is not None
        call(one.others[1])(others, out)
        made_by += f" --from {source}: {len(others)} files of the user's"
    else:
        call(one.maker)(bring(one, source, progress), out)
    files = [path for file in one.files for path in _files(out / file)]
    record: dict[str, Any] = {
        "set": one.name, "version": __version__,
        "made by": made_by,
        "files": {p.relative_to(out).as_posix(): checksum(p) for p in files},
        "home": one.home, "licence": one.licence, "citation": one.citation,
    }  # fmt: skip
    folder = out / "records"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{one.name}.json", (json.dumps(record, indent=1) + "\n").encode())
    return files


def ensure(one: DataSet, progress: bool = True) -> None:
    """Have the files of a set here: where they are, nothing is done."""
    from .places import is_here

    if is_here(one) is None:
        build(one, progress=progress)


def _others(one: DataSet, source: Path | None) -> list[Path]:
    """A user's own files below `source` that the set can be made from."""
    if source is None or one.others is None:
        return []
    return sorted({p for pattern in one.others[0] for p in source.rglob(pattern) if p.is_file()})


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]


def _take(source: Path, target: Path) -> None:
    for path in _files(source):
        to = target / path.name if source.is_dir() else target
        to.parent.mkdir(parents=True, exist_ok=True)
        with replacing(to) as (part,):
            shutil.copyfile(path, part)

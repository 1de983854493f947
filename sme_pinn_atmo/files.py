"""Files that are whole or not there, written beside their target, then renamed; and tables, read.

In: paths, bytes. Out: files, or OSError that names the target; tables of astropy, or one sentence on what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["read_table", "replacing", "without_nan", "write_atomically", "write_together"]


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


def read_table(path: Path, what: str = "table", otherwise: str | None = None) -> Table:
    """A table in any format that astropy reads.

    what : to say of a file that is not there; otherwise : the format of a file whose ending tells nothing

    Raises FileNotFoundError for no such file, ValueError for no table.
    """
    from astropy.table import Table

    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} {path}")
    formats = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".fits": "fits"}
    try:
        return Table.read(path, format=formats.get(path.suffix, otherwise))
    except Exception as problem:  # astropy's readers raise many kinds
        raise ValueError(f"{path} is not a table that astropy reads: {problem}") from None

"""Readers of computed model atmospheres: every format becomes `Structures`."""

from __future__ import annotations

from pathlib import Path

from .npz import read_npz, write_npz
from .structures import COLUMNS, GridFileError, Structures

__all__ = ["COLUMNS", "GridFileError", "Structures", "read", "read_npz", "write_npz"]


def read(path: str | Path) -> Structures:
    """Read a file of model atmospheres, whatever its format."""
    return read_npz(path)

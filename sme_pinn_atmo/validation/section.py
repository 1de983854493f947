"""What a part of the report is made from, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..emulator import Emulator

__all__ = ["Section", "Task", "table_of"]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes
    ----------
    name, title : of the part
    seen : what the reader sees in it, and what it means
    command : that makes the same numbers
    head, rows : a table, cells as text
    figures : file name of a PNG in the report's folder -> caption
    numbers : machine-readable results
    seconds : wall time
    missing : why the part could not be done, else empty
    """

    name: str
    title: str
    seen: str
    command: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    numbers: Any = None
    seconds: float = 0.0
    missing: str = ""


@dataclass(frozen=True)
class Task:
    """What a part is about.

    Attributes
    ----------
    models : name or path of each model that the report is on -> the same, loaded; the first leads
    heldout : name or path of models with held-out rows -> the same, loaded
    out : folder of the report
    processes : how many a part may use
    """

    models: Mapping[str, Emulator]
    heldout: Mapping[str, Emulator]
    out: Path
    processes: int

    @property
    def model(self) -> str:
        """Name or path of the leading model."""
        return next(iter(self.models))

    @property
    def emulator(self) -> Emulator:
        """The leading model."""
        return self.models[self.model]

    def heldout_models(self) -> list[str]:
        """The held-out models; raises ValueError where there are none."""
        if not self.heldout:
            raise ValueError("it needs networks that have not seen some computed models: train them with --fold, then "
                             "name them with --heldout")  # fmt: skip
        return list(self.heldout)

    def heldout_nodes(self) -> list[str]:
        """Those that held out nodes of atlas9.npz; raises ValueError where there are none."""
        from .scores import heldout_rows

        models = [m for m in self.heldout_models() if heldout_rows(self.heldout[m], "atlas9.npz").size]
        if not models:
            raise ValueError("no model of --heldout has held out rows of atlas9.npz")
        return models


def table_of(markdown: str, after: str = "") -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows of the first Markdown table of a text, or of the first after these words."""
    lines = markdown[markdown.index(after) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return table[0], tuple(table[2:])

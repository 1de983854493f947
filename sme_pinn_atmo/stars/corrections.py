"""Corrections of a line list: a table that goes with a card, and that is applied to the list which a user has."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_atomically

if TYPE_CHECKING:
    from ..calibration.run import Calibration
    from ..calibration.shared import Shared

__all__ = ["CORRECTED", "KINDS", "Corrections", "moved", "packaged_corrections"]

Array = NDArray[np.float64]

_FOLDER = Path(__file__).parents[1] / "calibration" / "data"

#: Columns of PySME's lists that can be free, and what they are called: log gf [dex], van der Waals width [dex],
#: wavelength [mA].
KINDS = {"gflog": "log gf", "gamvw": "van der Waals width", "wlcent": "wavelength"}

#: Column of a corrected list: the error of the log gf of each line [dex], NaN where it is the list's own.
CORRECTED = "gflog_error"

#: A line is that of a correction within so much in wavelength [A] and excitation [eV].
_NEAR, _LEVEL = 0.01, 0.005

#: A list covers a wavelength where it has a line so near [A].
_AROUND = 1.0

#: A line is a blend where its error is so many times what it would be if all others were known.
_BLEND = 2.0

#: A change so many standard deviations of the prior away from the list is marked.
_FAR = 3.0

_COLUMNS = ("species", "wavelength", "low", "high", "excitation", "parameter", "change", "error", "prior", "depth",
            "stars", "flags")  # fmt: skip

_ABOUT = {
    "wavelength": "in air, of the strongest component", "low": "first and", "high": "last component of the transition",
    "excitation": "of the lower level", "parameter": "what is changed: log gf [dex], van der Waals width [dex], "
    "wavelength [mA]", "change": "to be added to the list's value", "error": "standard deviation",
    "prior": "standard deviation before any star was seen", "depth": "in the limit of weakness, in the star that shows "
    "the line best", "stars": "that constrain it, the one that says most first",
    "flags": "unconstrained: no star says anything, change 0; blend: known together with neighbours rather than alone; "
    "far: more than 3 standard deviations of the prior off",
}  # fmt: skip


def packaged_corrections() -> dict[str, Path]:
    """Corrections that come with the package, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.ecsv"))}


@dataclass(frozen=True, eq=False)
class Corrections:
    """Changes of line data.

    table : astropy table of a row a parameter, see `docs/lines.md`
    card : what they were made from: stars, model, list, versions
    name : of the file, or "corrections"
    """

    table: Any
    card: Mapping[str, Any] = field(default_factory=dict)
    name: str = "corrections"

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, calibration: Calibration, lines: Any, card: Mapping[str, Any] | None = None) -> Corrections:
        """Of a calibration and the list that it is of."""
        from astropy.table import Table

        shared = calibration.shared
        centre = np.asarray(lines["wlcent"], dtype=float)
        rows = []
        for j, stars in enumerate(calibration.constraining()):
            flags = []
            if not calibration.constrained[j]:
                flags.append("unconstrained")
            elif calibration.error[j] > _BLEND * calibration.alone[j]:
                flags.append("blend")
            if abs(calibration.change[j]) > _FAR * shared.prior[j]:
                flags.append("far")
            of = centre[shared.members[j]]
            rows.append((
                shared.species[j], round(float(shared.wavelength[j]), 4), round(float(of.min()), 4),
                round(float(of.max()), 4), round(float(shared.excitation[j]), 4), KINDS[str(shared.kind[j])],
                round(float(calibration.change[j]), 4), round(float(calibration.error[j]), 4),
                round(float(shared.prior[j]), 4), float(f"{shared.depth[j]:.3g}"), ", ".join(stars), " ".join(flags),
            ))  # fmt: skip
        table = Table(rows=rows, names=_COLUMNS)
        for name, text in _ABOUT.items():
            table[name].info.description = text
        for name, unit in (("wavelength", "Angstrom"), ("low", "Angstrom"), ("high", "Angstrom"), ("excitation", "eV")):
            table[name].unit = unit
        found = cls(table, card or {})
        return cls(table, {**found.card, "list": {**found.card.get("list", {}), **found._print(lines)}})

    @classmethod
    def read(cls, source: str | Path) -> Corrections:
        """A packaged set by its name (`packaged_corrections`), or a file that `write` made.

        Raises FileNotFoundError for neither, ValueError for a table that is none.
        """
        from astropy.table import Table

        path = packaged_corrections().get(str(source), Path(source))
        if not path.is_file():
            there = ", ".join(packaged_corrections()) or "none is packaged"
            raise FileNotFoundError(f"{source} is neither a set of corrections ({there}) nor a file")
        try:
            table = Table.read(path, format="ascii.ecsv")
            card = json.loads(table.meta.get("card", "{}"))
        except Exception as problem:  # astropy's readers raise many kinds
            raise ValueError(f"{path} is not a table of corrections: {problem}") from None
        if missing := [c for c in _COLUMNS if c not in table.colnames]:
            raise ValueError(f"{path} is not a table of corrections: it has no column {missing[0]}")
        if unknown := sorted(set(map(str, table["parameter"])) - set(KINDS.values())):
            raise ValueError(f"{path}: parameter {unknown[0]!r}; allowed: {', '.join(KINDS.values())}")
        return cls(table, card, path.stem)

    def write(self, path: Path) -> None:
        """As ECSV, the card in its head, and the card alone as JSON beside it."""
        table = self.table.copy()
        table.meta = {"card": json.dumps(dict(self.card))}
        text = io.StringIO()
        table.write(text, format="ascii.ecsv")
        write_atomically(path, text.getvalue().encode())
        write_atomically(path.with_suffix(".json"), (json.dumps(dict(self.card), indent=1) + "\n").encode())

    def changes(self, shared: Shared) -> Array:
        """(n_shared,) change of each shared parameter of a calibration; 0 for those that are not in the table."""
        known = {(str(r["species"]), str(r["parameter"]), round(float(r["wavelength"]), 2)): float(r["change"])
                 for r in self.table}  # fmt: skip
        keys = zip(shared.species.tolist(), shared.kind.tolist(), shared.wavelength.tolist(), strict=True)
        return np.array([known.get((name, KINDS[kind], round(wave, 2)), 0.0) for name, kind, wave in keys])

    # ------------------------------------------------------------------ matching

    def match(self, lines: Any) -> list[NDArray[np.int64]]:
        """By row, numbers of the lines of a list that it is of; empty where the list has none."""
        centre, excitation = (np.asarray(lines[c], dtype=float) for c in ("wlcent", "excit"))
        species = np.asarray(lines["species"], dtype=str)
        order = np.argsort(centre, kind="stable")
        sorted_ = centre[order]
        found = []
        for row in self.table:
            first, last = np.searchsorted(sorted_, (row["low"] - _NEAR, row["high"] + _NEAR))
            near = order[first:last]
            same = (species[near] == row["species"]) & (np.abs(excitation[near] - row["excitation"]) < _LEVEL)
            found.append(np.sort(near[same]))
        return found

    def _print(self, lines: Any) -> dict[str, Any]:
        """How many lines of a list the corrections are of, and a checksum of the log gf that they start from."""
        members = self.match(lines)
        gf = np.asarray(lines["gflog"], dtype=float)
        text = " ".join(f"{gf[i]:.3f}" for of in members for i in of)
        return {"lines": int(sum(len(of) for of in members)),
                "log_gf_sha256": hashlib.sha256(text.encode()).hexdigest()}  # fmt: skip

    def apply(self, lines: Any) -> tuple[Any, list[str]]:
        """A corrected copy of a list, and warnings in sentences; its column `CORRECTED` says how well log gf are known.

        A change is of the log gf that the list had which was calibrated. A list with other values of these lines gets
        the changes too, and a warning. Corrections for parts of the spectrum that the list does not have do nothing.

        Raises ValueError where no line of the list is any of the corrections'.
        """
        from copy import copy

        members = self.match(lines)
        hit = sum(bool(len(of)) for of in members)
        if not hit:
            raise ValueError(f"no line of the list is one of the {len(self)} that {self.name} corrects")
        table = lines._lines.copy()
        kinds = {text: column for column, text in KINDS.items()}
        changed = {column: table[column].to_numpy(dtype=float).copy() for column in KINDS}
        error = np.full(len(table), np.nan)
        for row, of in zip(self.table, members, strict=True):
            column = kinds[str(row["parameter"])]
            changed[column][of] = moved(column, changed[column][of], float(row["change"]))
            if column == "gflog" and "unconstrained" not in str(row["flags"]):
                error[of] = float(row["error"])
        for column, values in changed.items():
            table[column] = np.maximum.accumulate(values) if column == "wlcent" else values
        table[CORRECTED] = error
        corrected = copy(lines)
        corrected._lines = table
        return corrected, self._doubts(lines, members, hit)

    def on_pattern(self, pattern: str) -> list[str]:
        """A warning where a fit's solar abundances are others than those that the corrections were made on."""
        made = sorted({str(s["pattern"]) for s in self.card.get("stars", ()) if "pattern" in s})
        if not made or made == [pattern]:
            return []
        return [
            f"{self.name} was made on the solar abundances {', '.join(made)}: what a fit on {pattern} finds is off by "
            "as much as these two differ"
        ]

    def _doubts(self, lines: Any, members: list[NDArray[np.int64]], hit: int) -> list[str]:
        made = self.card.get("list", {})
        if hit == len(self):
            if made.get("log_gf_sha256") in (None, self._print(lines)["log_gf_sha256"]):
                return []
            return [
                f"{self.name} was made for the log gf of {made.get('name', 'another list')}, and this list has others; "
                "its changes are added all the same"
            ]
        centre = np.asarray(lines["wlcent"], dtype=float)
        at = np.asarray(self.table["wavelength"], dtype=float)
        # A list may be of some windows alone: what is lost is where the list has lines, and not this one.
        near = np.diff(np.searchsorted(np.sort(centre), [at - _AROUND, at + _AROUND]), axis=0)[0] > 0
        lost = sum(not len(of) for of, i in zip(members, near, strict=True) if i)
        if lost > 0.02 * near.sum():
            return [
                f"{lost} of the {int(near.sum())} lines of {self.name} between {centre.min():.0f} and "
                f"{centre.max():.0f} A are not in the list: it may be another one than was calibrated"
            ]
        return []


def moved(column: str, values: Array, change: float) -> Array:
    """Values of a column of PySME's lists after a change [dex or mA].

    Van der Waals widths are log10 gamma below 0; from 20 on sigma.alpha of Anstee, Barklem & O'Mara, whose cross
    section (the whole number) changes; 0, not known, stays.
    """
    if column == "wlcent":
        return np.asarray(values + 1e-3 * change)
    if column == "gflog":
        return np.asarray(values + change)
    section, alpha = np.divmod(values, 1.0)
    theory = np.maximum(np.round(section * 10.0**change), 20.0) + alpha
    return np.asarray(np.where(values > 20, theory, np.where(values < 0, values + change, values)))

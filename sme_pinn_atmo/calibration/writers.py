"""Line lists for the codes that people use: PySME and Korg (VALD's long format), MOOG, Turbospectrum."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants
from scipy.special import gamma as gamma_function

from ..composition import SOLAR_SCALES
from ..files import write_atomically
from ..stars.corrections import Corrections
from .shared import KINDS

__all__ = ["FORMATS", "read_moog_lines", "write_lines"]

Array = NDArray[np.float64]

#: Energies of dissociation [eV] that MOOG wants of molecules; Huber & Herzberg 1979 and later, as tabulated by Sneden.
_D0 = {"CH": 3.47, "NH": 3.47, "OH": 4.39, "MgH": 1.34, "SiH": 3.06, "CaH": 1.70, "FeH": 1.63, "C2": 6.24, "CN": 7.75,
       "CO": 11.09, "TiO": 6.87, "VO": 6.41, "ZrO": 7.85}  # fmt: skip

_ROMAN = ("I", "II", "III", "IV", "V", "VI")

#: At which the widths of Anstee, Barklem & O'Mara are stated [m/s], and Bohr's radius squared [cm2].
_V0, _A0 = 1e4, (constants.physical_constants["Bohr radius"][0] * 100) ** 2


def _elements() -> tuple[str, ...]:
    from pysme.abund import elements

    return tuple(elements)


def _atoms(name: str) -> list[int]:
    """Atomic numbers of "Fe" or "TiO", in order."""
    numbers = {el: z for z, el in enumerate(_elements(), 1)}
    found = [numbers[el] for el, n in re.findall(r"([A-Z][a-z]?)(\d?)", name) for _ in range(int(n or 1))]
    return sorted(found)


def _code(name: str) -> int:
    """26 of "Fe", 822 of "TiO"."""
    atoms = _atoms(name)
    return atoms[0] if len(atoms) == 1 else 100 * atoms[0] + atoms[1]


def abo_width(value: Array, weight: float) -> Array:
    """log10 of gamma per hydrogen atom [rad s-1 cm3] at 10,000 K from sigma.alpha, for an atom of `weight` [u].

    Anstee & O'Mara (1995, MNRAS 276, 859), the full width: twice that of their equation 1.
    """
    section, alpha = np.divmod(value, 1.0)
    reduced = constants.atomic_mass * weight * 1.008 / (weight + 1.008)
    speed = np.sqrt(8 * constants.k * 1e4 / (np.pi * reduced))
    half = (4 / np.pi) ** (alpha / 2) * gamma_function(2 - alpha / 2) * _V0 * 100 * section * _A0
    return np.asarray(np.log10(2 * half * (speed / _V0) ** (1 - alpha)))


def _columns(lines: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        c: np.asarray(lines[c], dtype=float) for c in ("wlcent", "excit", "gflog", "gamrad", "gamqst", "gamvw")
    }
    found["species"] = np.asarray(lines["species"], dtype=str)
    return found


def _notes(lines: Any, corrections: Corrections | None) -> dict[int, str]:
    """What was done to a line, by its number in the list as it was: "log gf -1.230 -> -1.050 +- 0.030; Sun; blend"."""
    if corrections is None:
        return {}
    names = {text: column for column, text in KINDS.items()}
    found: dict[int, str] = {}
    for row, of in zip(corrections.table, corrections.match(lines), strict=True):
        for i in of.tolist():
            old = float(lines[names[str(row["parameter"])]][i])
            if row["parameter"] == "log gf":
                text = f"log gf {old:.3f} -> {old + row['change']:.3f} +- {row['error']:.3f}"
            else:
                text = f"{row['parameter']} {row['change']:+.3f} +- {row['error']:.3f}"
            text += "".join(f"; {part}" for part in (row["stars"], row["flags"]) if part)
            found[i] = f"{found[i]}; {text}" if i in found else text
    return found


def _vald(lines: Any, notes: dict[int, str]) -> str:
    c = _columns(lines)
    table = lines._lines
    has = set(table.columns)
    # Energy of the upper level: from the wavelength in vacuum.
    from pysme.util import air2vac

    energy = constants.h * constants.c / constants.e / (np.asarray(air2vac(c["wlcent"])) * 1e-10)
    number = len(table)

    def column(name: str, default: Array | float) -> Array:
        values = np.asarray(table[name], dtype=float) if name in has else np.broadcast_to(default, number)
        return np.asarray(np.where(np.isfinite(values), values, default))

    low_j, high_j = column("j_lo", 0.0), column("j_up", 0.0)
    upper, depth = column("e_upp", c["excit"] + energy), column("depth", 0.0)
    lande = column("lande", 99.0), column("lande_lower", 99.0), column("lande_upper", 99.0)
    terms = [np.asarray(table[n], dtype=str) if n in has else np.full(number, "") for n in ("term_lower", "term_upper")]
    reference = np.asarray(table["reference"], dtype=str) if "reference" in has else np.full(number, "")
    first, last = c["wlcent"].min(), c["wlcent"].max()
    out = [
        f"{first:12.4f}, {last:11.4f}, {number}, {number}, 1.0, Wavelength region, lines selected, lines processed, "
        "Vmicro",
        " " * 69 + "Lande factors       Damping parameters  Central",
        "Spec Ion       WL_air(A)  log gf* E_low(eV) J lo E_up(eV)  J up  lower   upper    mean   Rad.   Stark  Waals  "
        "depth",
    ]
    for i in range(number):
        text = f"'{c['species'][i]}',"
        out.append(
            f"{text:<10s}{c['wlcent'][i]:13.5f},{c['gflog'][i]:8.4f},{c['excit'][i]:9.5f},{low_j[i]:5.1f},"
            f"{upper[i]:9.5f},{high_j[i]:5.1f},{lande[1][i]:7.3f},{lande[2][i]:7.3f},{lande[0][i]:7.3f},"
            f"{c['gamrad'][i]:7.3f},{c['gamqst'][i]:8.3f},{c['gamvw'][i]:9.4f},{depth[i]:6.3f},"
        )
        for term in terms:
            out.append(f"'  {'':7s} {term[i]:>83s}'")
        # PySME reads the grade of log gf from the first ten characters: nothing of what follows may look like one.
        note = f" calibrated: {notes[i]}" if i in notes else ""
        out.append(f"'{reference[i][:200]:<12s}{note}'".replace('"', ""))
    solar = SOLAR_SCALES["grevesse1998"]
    pairs = ["'H :  0.92'", "'He: -1.11'"]
    pairs += [f"'{el:<2s}:{solar[el] - 12.04 if el in solar else -20.0:6.2f}'" for el in _elements()[2:99]]
    rows = [pairs[:2], *(pairs[i : i + 6] for i in range(2, len(pairs), 6))]
    out.append("'castelli_ap00k2_T05750G45.krz',")
    out += [",".join(row) + "," for row in rows[:-1]] + [",".join([*rows[-1], "'END'"])]
    out += ["* oscillator strengths were scaled by the solar isotopic ratios.", " References:",
            "  1. see the list that this one was made from"]  # fmt: skip
    return "\n".join(out) + "\n"


def _log_width(c: dict[str, Any]) -> Array:
    """log10 of the van der Waals width per atom at 10,000 K, 0 where it is not known."""
    from ..stars.synthesis import _mass

    width = c["gamvw"].copy()
    for name in np.unique(c["species"][width > 20]):
        of = (width > 20) & (c["species"] == name)
        width[of] = abo_width(width[of], _mass(name))
    return np.asarray(np.where(c["species"] == "H 1", 0.0, width))


def _moog(lines: Any, notes: dict[int, str]) -> str:
    c = _columns(lines)
    width = _log_width(c)
    out = ["wavelength in air, species, excitation [eV], log gf, log van der Waals width, D0 [eV]"]
    for i in range(len(width)):
        name, stage = c["species"][i].split()
        d0 = _D0.get(name, 0.0)
        damping = f"{width[i]:10.3f}" if width[i] else " " * 10
        energy = f"{d0:10.3f}" if d0 else " " * 10
        note = f"  {notes[i]}" if i in notes else ""
        out.append(
            f"{c['wlcent'][i]:10.3f}{_code(name) + 0.1 * (int(stage) - 1):10.1f}{c['excit'][i]:10.3f}"
            f"{c['gflog'][i]:10.3f}{damping}{energy}{'':20s}{note}".rstrip()
        )
    return "\n".join(out) + "\n"


def _turbospectrum(lines: Any, notes: dict[int, str]) -> str:
    c = _columns(lines)
    table = lines._lines
    j_up = np.asarray(table["j_up"], dtype=float) if "j_up" in table.columns else np.zeros(len(table))
    out = []
    for name in dict.fromkeys(c["species"].tolist()):
        of = np.flatnonzero(c["species"] == name)
        element, stage = name.split()
        out.append(f"'{_code(element):6d}.000            ' {int(stage):4d} {len(of):9d}")
        out.append(f"'{element} {_ROMAN[int(stage) - 1]}'")
        for i in of.tolist():
            radiative = 10.0 ** c["gamrad"][i] if c["gamrad"][i] > 0 else 0.0
            note = f" {notes[i]}" if i in notes else ""
            width = 0.0 if name == "H 1" else c["gamvw"][i]
            out.append(
                f"{c['wlcent'][i]:11.4f} {c['excit'][i]:8.4f} {c['gflog'][i]:8.4f} {width:9.4f} {2 * j_up[i] + 1:6.1f} "
                f"{radiative:9.2e} 'x' 'x' 0.0 1.0 '{name}{note}'"
            )
    return "\n".join(out) + "\n"


#: Writers by name: of a list and of notes by number of a line.
FORMATS: dict[str, Callable[[Any, dict[int, str]], str]] = {
    "vald": _vald, "moog": _moog, "turbospectrum": _turbospectrum,
}  # fmt: skip


def write_lines(
    path: Path, lines: Any, kind: str, corrections: Corrections | None = None,
    windows: Any = None,
) -> list[str]:  # fmt: skip
    """Write a list, corrected where `corrections` are given, each such line with its old and new value, error, stars.

    Parameters
    ----------
    kind : "vald" (long format, read by PySME's `ValdFile` and by `Korg.read_linelist`), "moog", "turbospectrum"
    windows : (low, high) [A] outside which lines are left out; None keeps all

    log gf hold isotopic fractions as they do in the list. MOOG gets the widths of Anstee, Barklem & O'Mara as a width
    at 10,000 K, and no Stark or radiative widths, for which its format has no place; hydrogen is left out of its lists
    and of those of Turbospectrum, which have it by themselves. Turbospectrum gets a statistical weight of 1 for the
    upper level where the list knows none (it matters for NLTE alone), and fdamp 0 where the width is not known.

    Returns warnings of `Corrections.apply`. Raises ValueError for another kind, or where no line is left.
    """
    if kind not in FORMATS:
        raise ValueError(f"format = {kind!r}; allowed: {', '.join(FORMATS)}")
    centre = np.asarray(lines["wlcent"], dtype=float)
    keep = np.ones(len(centre), dtype=bool)
    if windows is not None:
        keep = np.any([(centre >= low) & (centre <= high) for low, high in windows], axis=0)
    if kind != "vald":
        keep &= np.asarray(lines["species"], dtype=str) != "H 1"
    if not keep.any():
        raise ValueError("no line of the list is in the windows")
    lines = lines[keep]
    notes = _notes(lines, corrections)
    warnings: list[str] = []
    if corrections is not None:
        lines, warnings = corrections.apply(lines)
    write_atomically(path, FORMATS[kind](lines, notes).encode())
    return warnings


def read_moog_lines(path: Path) -> Any:
    """An astropy table of a list in MOOG's format, as linemake's: species, wavelength [A in air], excitation, log_gf,
    reference; totals of lines with hyperfine structure, which linemake marks by a negative wavelength, are in, their
    components are not.

    Raises ValueError for what is no such list.
    """
    from astropy.table import Table

    elements, rows = _elements(), []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        try:
            wave, code, excitation, gf = (float(w) for w in words[:4])
        except ValueError:
            continue
        if not 1 <= code < 100:
            continue
        z, charge = int(code), round(10 * (code - int(code)) - 0.05)
        if abs(10 * (code - z) - charge) > 1e-6:  # components of an isotope
            continue
        reference = words[-1] if len(words) > 4 and not re.fullmatch(r"[-+.\d]+", words[-1]) else ""
        rows.append((f"{elements[z - 1]} {charge + 1}", abs(wave), excitation, gf, reference))
    if not rows:
        raise ValueError(f"{path} is not a line list in MOOG's format")
    return Table(rows=rows, names=("species", "wavelength", "excitation", "log_gf", "reference"))

"""MARCS models in the `.mod` format of marcs.oreme.org, plane-parallel and spherical."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..physics import BOLTZMANN
from .structures import COLUMNS, GridFileError, Structures

__all__ = ["read_marcs"]


def read_marcs(path: str | Path) -> Structures:
    """The model of a MARCS `.mod` file (Gustafsson et al. 2008, A&A 486, 951).

    The electron density is Pe / kT, the radiative acceleration the gradient of Prad over RHOX. `extra` has
    `radius` [cm], 1 for plane-parallel models. m_h and alpha_m are on the MARCS solar scale (Grevesse et al. 2007).

    Raises
    ------
    GridFileError : not a MARCS model, or a truncated one; names the line
    """
    path = Path(path)
    lines = path.read_text(encoding="latin-1").splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Model structure")), None)
    if start is None:
        raise GridFileError(f"{path} is not a MARCS model: no line 'Model structure' in {len(lines)} lines")

    def header(word: str, position: int = 0) -> float:
        for i, line in enumerate(lines[:start]):
            if word in line:
                numbers = re.findall(r"[-+]?\d+\.?\d*(?:E[-+]\d+)?", line.split(word)[0])
                if position < len(numbers):
                    return float(numbers[position])
                raise GridFileError(f"{path}, line {i + 1}: no number before {word!r}: {line!r}")
        raise GridFileError(f"{path} has no line with {word!r} before 'Model structure'")

    n = int(header("Number of depth points"))
    first = _table(path, lines, start + 1, n, 9)
    second_start = start + 2 + n
    if second_start >= len(lines) or "KappaRoss" not in lines[second_start]:
        raise GridFileError(f"{path}, line {second_start + 1}: the table with KappaRoss and RHOX is missing")
    second = _table(path, lines, second_start, n, 8)
    temperature, rhox = first[:, 4], second[:, 7]
    n_e = first[:, 5] / (BOLTZMANN * temperature)
    acceleration = np.gradient(first[:, 7], rhox)
    profiles = np.stack([rhox, temperature, first[:, 6], n_e, second[:, 2], acceleration], axis=-1)
    labels = {
        "teff": header("Teff [K]"), "logg": round(float(np.log10(header("Surface gravity"))), 4),
        "m_h": header("Metallicity", 0), "alpha_m": header("Metallicity", 1), "vturb": header("Microturbulence"),
    }  # fmt: skip
    assert profiles.shape == (n, len(COLUMNS))
    return Structures(
        {k: np.array([v]) for k, v in labels.items()}, profiles[None], first[None, :, 1], np.array([n]),
        {"radius": np.array([header("radius" if "cm radius" in "".join(lines[:start]) else "Radius")])}, str(path),
    )  # fmt: skip


def _table(path: Path, lines: list[str], start: int, n: int, columns: int) -> np.ndarray:
    """n rows of at least `columns` numbers below the column names in line `start`."""
    rows: list[list[float]] = []
    for i in range(start + 1, start + 1 + n):
        if i >= len(lines):
            raise GridFileError(f"{path} ends at line {len(lines)}, before layer {len(rows) + 1} of {n}")
        # Negative numbers may touch their neighbours.
        numbers = re.findall(r"[-+]?(?:\d+\.\d*(?:E[-+]\d+)?|\d+)", lines[i])
        if len(numbers) < columns or int(float(numbers[0])) != len(rows) + 1:
            raise GridFileError(f"{path}, line {i + 1}: layer {len(rows) + 1} expected, not {lines[i][:60]!r}")
        rows.append([float(v) for v in numbers[:columns]])
    return np.array(rows)

"""Kurucz model decks: ATLAS9 and ATLAS12, one or many models in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..composition import ALPHA_ELEMENTS, ATOMIC_NUMBER, SOLAR_SCALES
from ..files import write_atomically
from ..structure import ModelAtmosphere
from .structures import COLUMNS, GridFileError, Structures, require_physical

__all__ = ["read_kurucz", "write_kurucz"]

# Files of the Kurucz (1993) grids in circulation have lost the first column of characters: T, R are optional.
_START = re.compile(r"^\s*T?EFF\s+(\S+)\s+GRAVITY\s+(\S+)")
_DECK = re.compile(r"^\s*R?EAD\s+DECK6\s+(\d{1,6})\s*(.*)$")
# Fortran columns may leave no blank between numbers ("1.0-10.0", "1.23E+01100854.3"): exponents have two digits.
_NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?![\d.]))(?:[EeDd][-+]?\d{2})?")
# A number that has blanks around it; anything else is left to `_NUMBER`.
_PLAIN = re.compile(r"[-+]?\d+\.\d*(?:E[-+]\d{2})?")
_SCALE = re.compile(r"ABUNDANCE\s+SCALE\s+(\S+)")
_CHANGE = re.compile(r"ABUNDANCE\s+CHANGE(.*)$")
_PAIR = re.compile(r"(\d+)\s*([-+]?\d+\.\d*)")
_TITLE_VTURB = re.compile(r"VTURB\s*=?\s*(\d+(?:\.\d*)?)")


def read_kurucz(path: str | Path) -> Structures:
    """Every model of a file of Kurucz decks.

    m_h and alpha_m come from ABUNDANCE SCALE and CHANGE (whose values may or may not have the scale in them), on that
    scale of `composition.SOLAR_SCALES` that fits best (`extra["solar_scale"]`); vturb from the column VTURB, else from
    the title, else NaN. Depths are the standard ones of ATLAS (log tau = -6.875, step 0.125; or -5.757, -5.75, step
    0.125, of hot models of 1993) where the integral of ABROSS over RHOX agrees with them to 0.05 dex, else that.

    Raises
    ------
    GridFileError : no deck in the file, a truncated one, or a number that is none; names the line
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="ascii", errors="strict")
    except UnicodeDecodeError as error:
        raise GridFileError(f"{path} is not a text file of Kurucz decks: byte {error.start} is not ASCII") from None
    return read_kurucz_text(path, text)


def read_kurucz_text(path: Path, text: str) -> Structures:
    """`read_kurucz` of a text; `path` is for errors."""
    lines = text.splitlines()
    models = list(_models(path, lines))
    if not models:
        raise GridFileError(f"{path} holds no Kurucz deck: no line 'TEFF ... GRAVITY ...' in {len(lines)} lines")
    depth = max(len(m["rows"]) for m in models)
    profiles = np.full((len(models), depth, len(COLUMNS)), np.nan)
    log_tau = np.full((len(models), depth), np.nan)
    for i, m in enumerate(models):
        n = len(m["rows"])
        profiles[i, :n] = m["rows"]
        log_tau[i, :n] = m["log_tau"]
    labels = {k: np.array([m[k] for m in models], dtype=float) for k in ("teff", "logg", "m_h", "alpha_m", "vturb")}
    extra = {k: np.array([m[k] for m in models]) for k in ("title", "solar_scale")}
    return Structures(labels, profiles, log_tau, np.array([len(m["rows"]) for m in models]), extra, str(path))


def _models(path: Path, lines: list[str]) -> Iterator[dict[str, Any]]:
    starts = [i for i, line in enumerate(lines) if _START.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        match = _START.match(lines[start])
        assert match is not None
        try:
            teff, logg = float(match[1]), float(match[2])
        except ValueError:
            raise GridFileError(f"{path}, line {start + 1}: TEFF or GRAVITY is no number: {lines[start]!r}") from None
        scale, change, title, deck = 1.0, {}, "", None
        for i in range(start, end):
            line = lines[i]
            if m := _SCALE.search(line):
                scale = _float(path, i, m[1])
            if m := _CHANGE.search(line):
                change.update({int(z): float(a) for z, a in _PAIR.findall(m[1])})
            if m := re.match(r"^\s*T?ITLE(.*)$", line):
                title = m[1].strip()
            if m := _DECK.match(line):
                deck = i, int(m[1]), [c.strip().upper() for c in m[2].split(",") if c.strip()]
                break
        if deck is None:
            raise GridFileError(f"{path}, line {start + 1}: this model has no line 'READ DECK6'")
        first, n, names = deck[0] + 1, deck[1], deck[2] or [*COLUMNS, "VTURB"]
        if lost := [c for c in COLUMNS if c not in names]:
            raise GridFileError(f"{path}, line {first}: the deck has no column {lost[0]}; it has {', '.join(names)}")
        if n < 2:
            raise GridFileError(f"{path}, line {first}: a model of {n} layers")
        rows = [_row(path, lines, i, len(names)) for i in range(first, first + n)]
        table = np.array(rows)
        m_h, alpha_m, solar = _composition(scale, change)
        vturb = float("nan")
        if "VTURB" in names and table[0, names.index("VTURB")] > 0:
            vturb = float(table[0, names.index("VTURB")]) / 1e5
        elif m := _TITLE_VTURB.search(title.upper()):
            vturb = float(m[1])
        labels = {"teff": teff, "logg": logg, "m_h": m_h, "alpha_m": alpha_m, "vturb": vturb}
        profiles = table[:, [names.index(c) for c in COLUMNS]]
        log_tau = _log_tau(profiles)
        require_physical(path, labels, profiles, log_tau, first + 1)
        yield {**labels, "title": title, "solar_scale": solar, "rows": profiles, "log_tau": log_tau}


def _row(path: Path, lines: list[str], i: int, n: int) -> list[float]:
    if i >= len(lines):
        raise GridFileError(f"{path} ends at line {len(lines)}, in the middle of a model: line {i + 1} is missing")
    text = lines[i]
    words = text.split()
    if len(words) >= n and all(map(_PLAIN.fullmatch, words)):  # nearly every line: blanks between all numbers
        return [float(v) for v in words[:n]]
    numbers = _NUMBER.findall(text)
    if len(numbers) < n or _NUMBER.sub("", text).strip():
        raise GridFileError(f"{path}, line {i + 1}: a layer of {n} numbers expected, not {text[:60]!r}")
    return [float(v.upper().replace("D", "E")) for v in numbers[:n]]


def _float(path: Path, i: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise GridFileError(f"{path}, line {i + 1}: {text!r} is not a number") from None


def _composition(scale: float, change: dict[int, float]) -> tuple[float, float, str]:
    """m_h, alpha_m and the solar scale that a deck's abundances fit best."""
    if scale <= 0 or change.get(1, 0.92) <= 0:
        return float("nan"), float("nan"), ""
    best: tuple[float, float, float, str] | None = None
    hydrogen = np.log10(change.get(1, 0.92))
    for name, solar in SOLAR_SCALES.items():
        # Kurucz writes log10(N / N_total) of the unscaled mixture.
        off = {el: change[z] + 12.0 - hydrogen - solar[el] for el, z in ATOMIC_NUMBER.items() if z > 2 and z in change}
        alpha = [v for el, v in off.items() if el in ALPHA_ELEMENTS]
        other = [v for el, v in off.items() if el not in ALPHA_ELEMENTS]
        if not alpha or not other:
            continue
        m_h, a = float(np.median(other)), float(np.median(alpha))
        misfit = float(np.abs(np.array(other) - m_h).sum() + np.abs(np.array(alpha) - a).sum() + abs(m_h))
        if best is None or misfit < best[0]:
            best = misfit, m_h, a - m_h, name
    if best is None:
        return float(np.log10(scale)), 0.0, ""
    # Kurucz's decks print the unscaled mixture beside SCALE; those of ATLAS12, whose abundances are free one by one,
    # may print the scaled one. Metals that are off by just the scale have it in them.
    log_scale = float(np.log10(scale))
    in_them = abs(log_scale) > 0.05 and abs(best[1] - log_scale) < 0.05
    # Abundances are printed to 0.01 dex.
    return round(best[1] + (0.0 if in_them else log_scale), 2) + 0.0, round(best[2], 2) + 0.0, best[3]


def _log_tau(table: NDArray[np.float64]) -> NDArray[np.float64]:
    rhox, kappa = table[:, 0], table[:, 4]
    with np.errstate(all="ignore"):  # what is wrong is told by `require_physical`
        steps = 0.5 * (kappa[1:] + kappa[:-1]) * np.diff(rhox)
        integral = np.log10(np.concatenate([[kappa[0] * rhox[0]], steps]).cumsum())
    standard = -6.875 + 0.125 * np.arange(len(table))
    hot = np.concatenate([[-5.757], -5.75 + 0.125 * np.arange(len(table) - 1)])
    for depths in (standard, hot):
        if np.abs(integral - depths).max() < 0.05:
            return np.asarray(depths, dtype=float)
    return np.asarray(integral, dtype=float)


def write_kurucz(path: str | Path, atmosphere: ModelAtmosphere, title: str = "") -> None:
    """Write one atmosphere as a deck that `read_kurucz`, ATLAS and the codes that read ATLAS decks take.

    Raises ValueError for more than one star.
    """
    if atmosphere.temperature.ndim != 1:
        raise ValueError(f"a deck holds one star, not profiles of shape {atmosphere.temperature.shape}")
    get = {k: float(v) for k, v in atmosphere.labels.items()}
    solar = SOLAR_SCALES[atmosphere.solar_scale]
    helium = 10 ** (solar["He"] - 12)
    hydrogen = 1 / (1 + helium)
    change = [
        f"{z:3d}{solar[el] - 12 + np.log10(hydrogen) + (get.get('alpha_m', 0.0) if el in ALPHA_ELEMENTS else 0):7.2f}"
        for el, z in ATOMIC_NUMBER.items()
        if z > 2
    ]
    vturb = get.get("vturb", 0.0) * 1e5
    out = [
        f"TEFF {get['teff']:7.0f}.  GRAVITY {get['logg']:7.4f} LTE ",
        f"TITLE {title or atmosphere.source}",
        " OPACITY IFOP 1 1 1 1 1 1 1 1 1 1 1 1 1 0 1 0 1 0 0 0",
        " CONVECTION ON   1.25 TURBULENCE OFF  0.00  0.00  0.00  0.00",
        f"ABUNDANCE SCALE {10 ** get.get('m_h', 0.0):9.5f} ABUNDANCE CHANGE 1 {hydrogen:.5f} 2 {1 - hydrogen:.5f}",
        *(" ABUNDANCE CHANGE" + "".join(change[i : i + 6]) for i in range(0, len(change), 6)),
        f"READ DECK6 {len(atmosphere.tau_ross):2d} RHOX,T,P,XNE,ABROSS,ACCRAD,VTURB",
    ]
    columns = (atmosphere.rhox, atmosphere.temperature, atmosphere.gas_pressure, atmosphere.electron_density,
               atmosphere.opacity, atmosphere.radiative_acceleration)  # fmt: skip
    for m, t, p, n_e, kappa, a in zip(*columns, strict=True):
        out.append(f"{m:15.8E} {t:8.1f} {p:9.3E} {n_e:9.3E} {kappa:9.3E} {a:9.3E} {vturb:9.3E}")
    out += ["PRADK 0.0000E+00", "BEGIN                    ITERATION   0 COMPLETED", ""]
    write_atomically(Path(path), "\n".join(out).encode())

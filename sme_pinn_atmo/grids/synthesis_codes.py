"""Input files of MOOG and Turbospectrum: one ATLAS-like structure each, written, and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..composition import ALPHA_ELEMENTS, ATOMIC_NUMBER, SOLAR_SCALES
from ..files import write_atomically
from ..structure import ModelAtmosphere
from .structures import GridFileError, Structures, require_physical

__all__ = ["read_moog", "read_turbospectrum", "write_moog", "write_turbospectrum"]


def write_moog(path: str | Path, atmosphere: ModelAtmosphere) -> None:
    """Write one atmosphere as a MOOG model of type KURUCZ (Sneden 1973; the layout is that which MOOG's Inmodel reads).

    Layers are RHOX, T, P, XNE, ABROSS and two numbers that MOOG skips (ACCRAD and the microturbulence in cm/s); then
    the microturbulence in km/s, the elements of alpha_m with their logarithmic abundances, and [M/H].

    Raises ValueError for more than one star, or more than the 100 layers that MOOG has room for.
    """
    get, rows = _one_star(atmosphere, "MOOG model")
    if len(rows) > 100:
        raise ValueError(f"MOOG takes at most 100 layers, not {len(rows)}")
    m_h, alpha_m = get.get("m_h", 0.0), get.get("alpha_m", 0.0)
    solar = SOLAR_SCALES[atmosphere.solar_scale]
    changed = [f"{ATOMIC_NUMBER[el]:5.1f} {solar[el] + m_h + alpha_m:7.3f}" for el in ALPHA_ELEMENTS if alpha_m]
    title = f"teff={get['teff']:.1f} logg={get['logg']:.3f} m_h={m_h:+.3f} alpha_m={alpha_m:+.3f}"
    vturb = get.get("vturb", 0.0)
    out = ["KURUCZ", title, f"NTAU      {len(rows):5d}"]
    out += [_layer(row, vturb) for row in rows]
    out += [f"{vturb:13.3E}", f"NATOMS    {len(changed):5d} {m_h:7.3f}", *changed, "NMOL          0", ""]
    write_atomically(Path(path), "\n".join(out).encode())


def read_moog(path: str | Path) -> Structures:
    """A MOOG model of type KURUCZ; labels from the title of `write_moog` where it is one, else NaN.

    Raises GridFileError for another type, and for a damaged file; names the line.
    """
    path = Path(path)
    lines = path.read_text(encoding="latin-1").splitlines()
    if not lines or lines[0].strip() != "KURUCZ":
        raise GridFileError(f"{path}, line 1: MOOG model of type KURUCZ expected, not {''.join(lines[:1])[:10]!r}")
    try:
        n = int(lines[2][10:])
    except (ValueError, IndexError):
        raise GridFileError(f"{path}, line 3: NTAU and the number of layers expected") from None
    words = dict(w.split("=", 1) for w in lines[1].split() if "=" in w)
    labels = {}
    for name in ("teff", "logg", "m_h", "alpha_m"):
        try:
            labels[name] = float(words.get(name, "nan"))
        except ValueError:
            raise GridFileError(f"{path}, line 2: {name} = {words[name]!r} is not a number") from None
    rows = _rows(path, lines, 3, n)
    try:
        vturb = float(lines[3 + n][:13])
    except (ValueError, IndexError):
        raise GridFileError(f"{path}, line {4 + n}: the microturbulence is missing") from None
    labels["vturb"] = vturb if vturb < 100 else vturb / 1e5
    return _structures(path, labels, rows, 4)


def write_turbospectrum(path: str | Path, atmosphere: ModelAtmosphere) -> None:
    """Write one atmosphere for Turbospectrum's babsma ('MARCS-FILE:' '.false.'): the header 'KURUCZ' with layers,
    reference wavelength and log g, then RHOX, T, P, XNE, ABROSS, ACCRAD and the microturbulence [cm/s].

    The format has no Teff and no composition: babsma takes the composition from its own input.

    Raises ValueError for more than one star.
    """
    get, rows = _one_star(atmosphere, "Turbospectrum model")
    out = [f"'KURUCZ' {len(rows)} 5000. {get['logg']:.3f} 0 0."]
    out += [_layer(row, get.get("vturb", 0.0)) for row in rows]
    write_atomically(Path(path), ("\n".join(out) + "\n").encode())


def read_turbospectrum(path: str | Path) -> Structures:
    """What `write_turbospectrum` writes; Teff and composition are NaN.

    Raises GridFileError for another type, and for a damaged file; names the line.
    """
    path = Path(path)
    lines = path.read_text(encoding="latin-1").splitlines()
    words = lines[0].split() if lines else []
    try:
        if words[0] != "'KURUCZ'":
            raise ValueError
        n, logg = int(words[1]), float(words[3])
    except (ValueError, IndexError):
        raise GridFileError(f"{path}, line 1: 'KURUCZ', layers, wavelength, log g expected, not {words[:4]}") from None
    rows = _rows(path, lines, 1, n, columns=7)
    labels = {"teff": np.nan, "logg": logg, "m_h": np.nan, "alpha_m": np.nan, "vturb": rows[0, 6] / 1e5}
    return _structures(path, labels, rows[:, :6], 2)


def _one_star(atmosphere: ModelAtmosphere, what: str) -> tuple[dict[str, float], list[tuple[float, ...]]]:
    if atmosphere.shape:
        raise ValueError(f"a {what} holds one star, not a batch of shape {atmosphere.shape}")
    columns = (atmosphere.rhox, atmosphere.temperature, atmosphere.gas_pressure, atmosphere.electron_density,
               atmosphere.opacity, atmosphere.radiative_acceleration)  # fmt: skip
    return {k: float(v) for k, v in atmosphere.labels.items()}, list(zip(*map(np.ndarray.tolist, columns), strict=True))


def _layer(row: tuple[float, ...], vturb: float) -> str:
    m, t, p, n, k, a = row
    return f"{m:15.8E} {t:9.1f} {p:10.3E} {n:10.3E} {k:10.3E} {a:10.3E} {1e5 * vturb:10.3E}"


def _rows(path: Path, lines: list[str], first: int, n: int, columns: int = 6) -> np.ndarray:
    if n < 2 or len(lines) < first + n:
        raise GridFileError(f"{path} ends at line {len(lines)}; {n} layers from line {first + 1} were announced")
    rows = []
    for i in range(first, first + n):
        try:
            row = [float(w) for w in lines[i].split()[:columns]]
        except ValueError:
            row = []
        if len(row) < columns:
            raise GridFileError(f"{path}, line {i + 1}: a layer of {columns} numbers expected, not {lines[i][:60]!r}")
        rows.append(row)
    return np.array(rows)


def _structures(path: Path, labels: dict[str, float], rows: np.ndarray, first_line: int) -> Structures:
    m, kappa = rows[:, 0], rows[:, 4]
    with np.errstate(all="ignore"):  # what is wrong is told by `require_physical`
        steps = 0.5 * (kappa[1:] + kappa[:-1]) * np.diff(m)
        log_tau = np.log10(np.concatenate([[kappa[0] * m[0]], steps]).cumsum())
    require_physical(path, labels, rows, log_tau, first_line)
    return Structures({k: np.array([v]) for k, v in labels.items()}, rows[None], log_tau[None],
                      np.array([len(rows)]), {}, str(path))  # fmt: skip

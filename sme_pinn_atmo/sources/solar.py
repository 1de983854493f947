"""The Sun: the NSO flux atlas from its segments, the VALD line list of GRASS, computed Suns under their names here."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..composition import SOLAR_SCALES
from ..files import replacing, write_atomically

__all__ = ["check_segment", "make", "read_segment", "read_segments", "write_vald"]

Array = NDArray[np.float64]

#: Segments of the atlas start every 4 nm and reach 0.1 nm into the next one [A].
_STRIDE = 40.0

_SUNS = {"at12_aaaaa_t05770g4.44.atm": "atlas12_sun_t5770g4.44_vt1.atm",
         "asunodfnew.dat": "atlas9_sun_t5777g4.4377_vt1.dat", "sun.mod": "marcs_sun.mod"}  # fmt: skip


def make(originals: Path, out: Path) -> None:
    """Write the observed atlas (.npz), the line list (VALD short format) and the computed Suns below `out`/solar."""
    folder = out / "solar"
    folder.mkdir(parents=True, exist_ok=True)
    wave, flux = read_segments(sorted(originals.glob("lm*")))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, wave_air=wave, flux=np.round(flux * 1e5).astype(np.int32), flux_scale=np.array(1e-5))
    write_atomically(folder / "kpno1984_flux_atlas.npz", buffer.getvalue())
    write_vald(folder / "vald_solar_3000_9993.lin", read_grass(originals / "vald_solar.dat"))
    for name, own in _SUNS.items():
        with replacing(folder / own) as (part,):
            shutil.copyfile(originals / name, part)


def read_segment(path: Path) -> tuple[Array, Array]:
    """Wavelengths in air [A] and residual flux of one segment of the solar flux atlas of Kurucz et al. (1984).

    Its columns are wavelengths in air [nm], residual flux, and irradiance [microwatt cm-2 nm-1].

    Raises ValueError for a file that is none, such as a server's page that says so.
    """
    try:
        nm, flux = np.loadtxt(path, usecols=(0, 1), unpack=True, ndmin=2)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not a segment of the solar flux atlas: {str(error)[:150]}") from None
    return 10.0 * nm, flux


def check_segment(path: Path) -> None:
    """Raise ValueError unless a file is the segment that its name says: no checksum of it is published.

    Wavelengths increase in steps below 0.03 A, from the nanometre in the name over 4 nm; fluxes are between -0.05
    (noise in saturated telluric lines) and 1.3.
    """
    wave, flux = read_segment(path)
    start = 10.0 * int("".join(c for c in path.name.split(".part")[0] if c.isdigit()))
    steps = np.diff(wave)
    if not len(steps) or wave[0] - start > 0.1 or wave[0] < start - 0.1 or wave[-1] < start + _STRIDE - 0.05:
        where = f"{wave[0]:.3f}-{wave[-1]:.3f} A" if len(wave) else "nothing"
        raise ValueError(f"the segment covers {where} instead of {start:.0f}-{start + _STRIDE:.0f} A")
    if steps.min() <= 0 or steps.max() > 0.03:
        raise ValueError(f"wavelengths of the segment go on in steps of {steps.min():.4f} to {steps.max():.4f} A")
    if not (np.isfinite(flux).all() and flux.min() > -0.05 and flux.max() < 1.3):
        raise ValueError(f"residual fluxes of the segment are between {flux.min():.3f} and {flux.max():.3f}")


def read_segments(paths: Sequence[Path]) -> tuple[Array, Array]:
    """Wavelengths in air [A] and flux of several segments, each up to where the next one begins."""
    parts = sorted((read_segment(p) for p in paths), key=lambda p: float(p[0][0]))
    if not parts:
        raise ValueError("no segment of the solar flux atlas (lm0296 to lm1296) is there")
    waves, fluxes = [], []
    for i, (wave, flux) in enumerate(parts):
        keep = wave < (parts[i + 1][0][0] if i + 1 < len(parts) else np.inf)
        waves.append(wave[keep])
        fluxes.append(flux[keep])
    return np.concatenate(waves), np.concatenate(fluxes)


def read_grass(path: Path) -> list[dict[str, Any]]:
    """Lines of `data/vald_solar.dat` of the package GRASS (Palumbo et al. 2022, AJ 163, 11): a VALD3 'extract stellar'
    of the Sun, lines deeper than 5 per cent, as a table of commas.

    Keys: species, and wave [A, air], excitation [eV], log_gf, rad, stark, waals (log10), lande, depth.
    """
    try:
        with path.open(encoding="ascii", newline="") as file:
            return [
                {"species": r["species"], "wave": float(r["wav_air"]), "excitation": float(r["excit_pot"]),
                 "log_gf": float(r["log_gf"]), "rad": float(r["rad"]), "stark": float(r["stark"]),
                 "waals": float(r["waals"]), "lande": float(r["lande"]), "depth": float(r["depth"])}
                for r in csv.DictReader(file)
            ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the line list of GRASS: {error}") from None


def write_vald(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write lines (see `read_grass`) in the short format of a VALD3 'extract stellar', which PySME and Korg read."""
    low, high = (min(r["wave"] for r in lines), max(r["wave"] for r in lines)) if lines else (0.0, 0.0)
    out = [
        f"{low:11.5f},{high:11.5f}, {len(lines)}, {len(lines)}, 1.0, Wavelength region, lines selected, lines "
        "processed, Vmicro",
        " " * 49 + "Damping parameters    Lande Central",
        "Spec Ion       WL_air(A) Excit(eV) Vmic log gf*  Rad.   Stark   Waals   factor depth   Reference",
    ]
    for r in lines:
        name = f"'{r['species']}',"
        reference = " ".join(["   1 wl:VALD", "  1 VALD", "  1 gf:VALD", *(4 * ["  1 VALD"]), r["species"].split()[0]])
        out.append(
            f"{name:<10s}{r['wave']:12.4f},{r['excitation']:9.4f}, 1.0,{r['log_gf']:7.3f},{r['rad']:6.3f},"
            f"{r['stark']:6.3f},{r['waals']:8.3f},{r['lande']:7.3f},{r['depth']:6.3f}, '{reference:<84s}'"
        )
    solar = SOLAR_SCALES["grevesse1998"]
    pairs = ["'H :  0.92'", "'He: -1.11'"]
    pairs += [f"'{el:<2s}:{solar[el] - 12.04 if el in solar else -20.0:6.2f}'" for el in _ELEMENTS[2:]]
    table = [pairs[:2], *(pairs[i : i + 6] for i in range(2, len(pairs), 6))]
    out.append("'castelli_ap00k2_T05750G45.krz',")
    out += [",".join(row) + "," for row in table[:-1]] + [",".join([*table[-1], "'END'"])]
    out += ["* oscillator strengths were scaled by the solar isotopic ratios.", " References:",
            "  1. VALD3 extract stellar of the Sun, from GRASS (github.com/palumbom/GRASS), MIT licence"]  # fmt: skip
    write_atomically(path, ("\n".join(out) + "\n").encode())


_ELEMENTS = (  # noqa: SIM905
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es"
).split()

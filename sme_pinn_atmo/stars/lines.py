"""Line lists for PySME: VALD's formats, Korg's, and the packaged one."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from ..quiet import quiet_pysme
from .spectrum import to_air

__all__ = ["benchmark_file", "galah_lines", "line_range", "packaged_lines", "read_korg_lines", "read_lines",
           "read_vald"]  # fmt: skip

_PACKAGED = Path(__file__).parents[1] / "data" / "lines_6130_6181.csv"

#: Molecules of two atoms by the atomic numbers in order, as PySME writes them.
_MOLECULES = {
    (1, 6): "CH", (1, 7): "NH", (1, 8): "OH", (1, 12): "MgH", (1, 14): "SiH", (1, 20): "CaH", (1, 26): "FeH",
    (6, 6): "C2", (6, 7): "CN", (6, 8): "CO", (8, 22): "TiO", (8, 23): "VO", (8, 40): "ZrO",
}  # fmt: skip


def benchmark_file(name: str) -> Path:
    """A file of the benchmark stars' data: "galah_dr3_linelist.h5" or "spectra/NAME.npz".

    Raises DataMissingError that names the command which brings it.
    """
    from ..sources import find

    return find(f"benchmarks/{name}")


def read_lines(source: str | Path | None = None, ranges: Any = None) -> Any:
    """A PySME `LineList`: a VALD file (short or long), Korg's HDF5 (.h5), "galah-lines", "solar-lines" (VALD's, of the
    data set "solar"), or None for the packaged one.

    ranges : (low, high) [A] outside which lines of an HDF5 list are not read

    Raises FileNotFoundError for no such file, ValueError for one that cannot be read.
    """
    if source is not None and str(source) == "galah-lines":
        return galah_lines(ranges)
    if source is not None and str(source) == "solar-lines":
        from ..sources import SETS, find

        source = find(SETS["solar"].files[1])
    if source is not None and Path(source).suffix == ".h5":
        return read_korg_lines(Path(source), ranges)
    return read_vald(source)


def packaged_lines() -> Any:
    """The packaged line list as a PySME `LineList`: air wavelengths [A], excitation [eV], log gf, source of each."""
    import pandas as pd

    with quiet_pysme():
        from pysme.linelist.linelist import LineList

    text = "".join(row for row in _PACKAGED.read_text(encoding="utf-8").splitlines(True) if not row.startswith("#"))
    rows = list(csv.DictReader(io.StringIO(text)))
    table = pd.DataFrame({
        "species": [r["species"] for r in rows],
        "wlcent": [float(r["wavelength_A"]) for r in rows],
        "excit": [float(r["excitation_eV"]) for r in rows],
        "gflog": [float(r["log_gf"]) for r in rows],
        # Zero damping constants and unknown Lande factors: PySME puts in its approximations.
        **{name: np.zeros(len(rows)) for name in ("gamrad", "gamqst", "gamvw", "lande", "depth")},
        "reference": [r["source"] for r in rows],
    })  # fmt: skip
    lines = LineList(table, medium="air")
    lines.citation_info = "Lines: " + "; ".join(sorted({r["source"] for r in rows}))
    return lines


def read_vald(path: str | Path | None = None) -> Any:
    """A VALD line list (short or long format), or the packaged one, 6130-6181 A, for None.

    Raises ValueError for a file that PySME cannot read, FileNotFoundError for none.
    """
    if path is None:
        return packaged_lines()
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no line list {path}")
    try:
        with quiet_pysme():
            from pysme.linelist.vald import ValdFile

            return ValdFile(str(path))
    except Exception as error:  # PySME raises many kinds for a malformed file
        raise ValueError(f"{path} is not a VALD line list that PySME reads: {error}") from None


def galah_lines(ranges: Any = None) -> Any:
    """The line list of GALAH DR3 (Buder et al. 2021, MNRAS 506, 150), as Korg ships it."""
    return read_korg_lines(benchmark_file("galah_dr3_linelist.h5"), ranges)


def line_range(lines: Any) -> tuple[float, float]:
    """First and last wavelength [A] of a list."""
    centre = np.asarray(lines["wlcent"], dtype=float)
    return float(centre.min()), float(centre.max())


def _hydrogen_levels(wave: Any) -> Any:
    """(n, 2) principal quantum numbers of hydrogen lines [A]: where VALD and PySME have them, in place of widths."""
    from scipy.constants import Rydberg, m_e, m_p

    numbers = np.array([(low, high) for low in range(1, 7) for high in range(low + 1, 60)])
    series = 1e10 / (Rydberg / (1 + m_e / m_p) * (numbers[:, 0] ** -2.0 - numbers[:, 1] ** -2.0))
    return numbers[np.argmin(np.abs(series[None] / np.asarray(wave)[:, None] - 1.00028), axis=1)]


def read_korg_lines(path: Path, ranges: Any = None) -> Any:
    """A line list in Korg's HDF5 format, in PySME's conventions.

    Wavelengths go from vacuum to air. log gf hold isotopic fractions already, as VALD's extracts for the Sun do, and
    stay. Radiative and Stark widths are log10 of gamma (full width, per perturber at 10,000 K) in both, 0 for unknown,
    which PySME replaces by its own approximations as Korg does by its own. `vdW` is log10 gamma where negative, and
    sigma.alpha of Anstee, Barklem & O'Mara where 20 or more, in both; a factor on Unsoeld's width, which Korg reads
    between 0 and 20 and PySME does not, becomes 0, Unsoeld's width. Lines of hydrogen get their quantum numbers.

    Raises ValueError for a file without the columns, or with no line in `ranges`.
    """
    import h5py
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"there is no line list {path}")
    names = ("wl", "formula", "ionization", "log_gf", "E_lo", "gamma_rad", "gamma_stark", "vdW")
    try:
        with h5py.File(path) as file:
            columns = {name: file[name][...] for name in names}
    except (OSError, KeyError) as problem:
        raise ValueError(f"{path} is not a line list of Korg's in HDF5: {problem}") from None
    with quiet_pysme():
        from pysme.abund import elements
        from pysme.linelist.linelist import LineList

        wave = to_air(columns["wl"].astype(float))
        keep = np.ones(len(wave), dtype=bool)
        if ranges is not None:
            keep = np.zeros(len(wave), dtype=bool)
            for low, high in ranges:
                keep |= (wave > low - 22) & (wave < high + 22)
        # Keep one number a molecule and look each up once: there are hundreds of thousands of lines.
        code = columns["formula"].astype(int) @ np.array([1_000_000, 1_000, 1])
        species = {}
        for value in np.unique(code[keep]):
            atoms = tuple(sorted(z for z in (value // 1_000_000, value // 1_000 % 1_000, value % 1_000) if z))
            species[value] = elements[atoms[0] - 1] if len(atoms) == 1 else _MOLECULES.get(atoms, "")
        known = np.array([bool(species.get(v, "")) for v in code])
        keep &= known
        if not keep.any():
            where = "it" if ranges is None else ", ".join(f"{low:g}-{high:g}" for low, high in ranges) + " A"
            raise ValueError(f"{path} has no line in {where} whose species PySME knows")
        van_der_waals = columns["vdW"][keep].astype(float)
        van_der_waals[(van_der_waals > 0) & (van_der_waals < 20)] = 0.0
        stage = columns["ionization"][keep].astype(int)
        table = pd.DataFrame({
            "species": [f"{species[v]} {s}" for v, s in zip(code[keep], stage, strict=True)],
            "wlcent": wave[keep],
            **{name: columns[column][keep].astype(float) for name, column in (
                ("excit", "E_lo"), ("gflog", "log_gf"), ("gamrad", "gamma_rad"), ("gamqst", "gamma_stark"))},
            "gamvw": van_der_waals, "lande": 0.0, "depth": 0.0, "reference": path.stem,
        })  # fmt: skip
        hydrogen = (table["species"] == "H 1").to_numpy()
        table.loc[hydrogen, ["gamqst", "gamvw"]] = _hydrogen_levels(table.loc[hydrogen, "wlcent"].to_numpy())
        return LineList(table.sort_values("wlcent", ignore_index=True), medium="air")

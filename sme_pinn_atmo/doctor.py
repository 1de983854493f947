"""What of this installation works, and what to do about the rest: the command `doctor`."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import __version__

__all__ = ["examine", "explain", "format_result"]

#: Extra of this package that brings a module.
_EXTRAS = {"torch": "train", "tomli": "train", "juliacall": "korg", "pyarrow": "parquet", "dask": "dask",
           "distributed": "dask"}  # fmt: skip


def examine() -> dict[str, Any]:
    """Versions, and for each model and each thing beside NumPy whether it can be used; Julia is not started.

    Returns
    -------
    dict with "sme_pinn_atmo", "python", "platform", "numpy" (versions), "models" (name -> "works" or what is wrong),
    "parts" (name -> dict of "needed_for", "version" and, where it cannot be used, "problem"), "ok" (whether models
    and PySME, which everyone has, can be used)
    """
    from .emulator import Emulator, models

    found: dict[str, str] = {}
    for name, path in models().items():
        try:
            Emulator.load(path).predict(teff=6000, logg=4.0)
            found[name] = "works"
        except (ValueError, TypeError) as error:
            found[name] = str(error)
    parts: dict[str, dict[str, str]] = {}
    for name, purpose, version in _PARTS:
        parts[name] = {"needed_for": purpose}
        try:
            parts[name]["version"] = version()
        except Exception as error:  # whatever another package does wrong
            parts[name]["problem"] = explain(error)
    return {
        "sme_pinn_atmo": __version__, "python": platform.python_version(), "platform": platform.platform(),
        "numpy": importlib.metadata.version("numpy"), "models": found, "parts": parts,
        "ok": {*found.values()} == {"works"} and "problem" not in parts["PySME"],
    }  # fmt: skip


def format_result(result: dict[str, Any]) -> str:
    """The result of `examine` for people."""
    head = "sme_pinn_atmo {sme_pinn_atmo}, Python {python}, NumPy {numpy}, {platform}".format(**result)
    rows = [head, *(f"model {name}: {state}" for name, state in result["models"].items())]
    for name, part in result["parts"].items():
        state = f"not usable: {part['problem']}" if "problem" in part else f"{part['version']}, usable"
        rows.append(f"{name} ({part['needed_for']}): {state}")
    return "\n".join(rows)


def explain(error: Exception) -> str:
    """An error in one sentence, with what to do where it is a missing package or PySME's home."""
    if isinstance(error, ModuleNotFoundError) and "pip install" not in str(error):
        module = (error.name or "").partition(".")[0]
        wanted = f"'sme-pinn-atmo[{_EXTRAS[module]}]'" if module in _EXTRAS else module
        return f"this needs {module}: pip install {wanted}"
    if isinstance(error, OSError) and error.strerror:
        if f"{os.sep}.sme" in str(error.filename):
            return f"PySME keeps its settings in {error.filename}: {error.strerror}; set HOME to a folder to write in"
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error) or type(error).__name__


def _pysme() -> str:
    importlib.import_module("sme_pinn_atmo.pysme")
    return importlib.metadata.version("pysme-astro")


def _package(name: str, extra: str, *, load: bool) -> Callable[[], str]:
    def version() -> str:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise RuntimeError(f"pip install 'sme-pinn-atmo[{extra}]'") from None
        if load:
            importlib.import_module(name)
        return found

    return version


def _julia() -> str:
    program = os.environ.get("PYTHON_JULIACALL_EXE") or shutil.which("julia") or _first_julia()
    if program is None:
        raise RuntimeError("not here; juliacall installs it at the first use of sme_pinn_atmo.korg, with the network")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{program} --version fails: {done.stderr.strip()[:200]}")
    return done.stdout.split()[-1]


def _project() -> Path:
    """The Julia project that juliacall uses."""
    return Path(os.environ.get("PYTHON_JULIACALL_PROJECT") or Path(sys.prefix) / "julia_env")


def _first_julia() -> str | None:
    """Julia as juliacall installs it."""
    return next((str(p) for p in _project().glob("pyjuliapkg/install/bin/julia*") if p.is_file()), None)


def _korg() -> str:
    for manifest in _project().glob("Manifest*.toml"):
        entry = manifest.read_text(encoding="utf-8").partition("[[deps.Korg]]")[2].partition("[[")[0]
        if found := re.search(r'^version = "(.+)"', entry, re.MULTILINE):
            return found[1]
    raise RuntimeError(f"not in the Julia project {_project()}; juliacall adds it at the first use of "
                       "sme_pinn_atmo.korg, or in Julia: using Pkg; Pkg.add(\"Korg\")")  # fmt: skip


#: Name, what it is needed for, and a function that returns its version or raises what is to be done.
_PARTS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("PySME", "PinnAtmosphereGrid, demo, synthesize, fit, validate", _pysme),
    ("torch", "train, devices", _package("torch", "train", load=True)),
    ("juliacall", "sme_pinn_atmo.korg", _package("juliacall", "korg", load=False)),
    ("Julia", "sme_pinn_atmo.korg", _julia),
    ("Korg", "sme_pinn_atmo.korg", _korg),
    ("pyarrow", "catalogues in Parquet", _package("pyarrow", "parquet", load=True)),
)

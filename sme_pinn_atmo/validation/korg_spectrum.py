"""Synthetic spectra from fixed atmospheres in Korg, as `spectrum.synthesise` makes them in PySME."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import korg
from ..emulator import write_atomically
from .spectrum import STEP, Layers

__all__ = ["synthesiser"]

Array = NDArray[np.float64]

_COLUMNS = ("rhox", "tau_ross", "temperature", "electron_density", "atom_density")


def synthesiser(lines_path: Path) -> Callable[..., tuple[Array, Array]]:
    """A function that takes what `spectrum.synthesise` takes, and lets Korg synthesise with this VALD line list.

    Korg reads the list itself; the function's own argument `lines` is not used. Lines up to 60 A outside the window
    count.

    Raises
    ------
    KorgError : Julia or Korg is not usable
    """
    linelist = korg.read_linelist(lines_path)
    identity = f"korg {korg.version()} {hashlib.sha256(lines_path.read_bytes()).hexdigest()}"

    def synthesise(
        layers: Layers, lines: Any, window: tuple[float, float], *, vmic: float, cache: Path | None = None
    ) -> tuple[Array, Array]:
        low, high = window
        wave = np.arange(low, high + STEP / 2, STEP)
        columns = [getattr(layers, name) for name in _COLUMNS]
        key = hashlib.sha256(identity.encode())
        for value in (*columns, layers.m_h, wave, vmic):
            key.update(np.ascontiguousarray(np.asarray(value, dtype=float)).tobytes())
        kept = None if cache is None else cache / f"{key.hexdigest()[:24]}.npy"
        if kept is not None and kept.is_file():
            with contextlib.suppress(OSError, ValueError, EOFError):  # a damaged file is made anew
                flux = np.load(kept)
                if flux.shape == wave.shape:
                    return wave, flux
        # Korg's grid is even in vacuum, some 1e-6 A off the one in air.
        grid = (low - 2 * STEP, high + 2 * STEP, STEP)
        flux = np.interp(wave, *korg.synthesize_layers(columns, grid, linelist=linelist, vmic=vmic, m_h=layers.m_h))
        if not np.isfinite(flux).all():
            raise FloatingPointError(f"Korg gave a flux that is not finite between {low:g} and {high:g} A")
        if kept is not None:
            buffer = io.BytesIO()
            np.save(buffer, flux)
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, buffer.getvalue())
        return wave, flux

    return synthesise

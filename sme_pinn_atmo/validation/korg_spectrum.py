"""Synthetic spectra from fixed atmospheres in Korg, as `spectrum.synthesise` makes them in PySME."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import korg
from .spectrum import STEP, Layers, grid, kept_flux

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
        wave = grid(window)
        columns = [getattr(layers, name) for name in _COLUMNS]

        def make() -> Array:
            # Korg's grid is even in vacuum, some 1e-6 A off the one in air.
            around = (low - 2 * STEP, high + 2 * STEP, STEP)
            air, flux = korg.synthesize_layers(columns, around, linelist=linelist, vmic=vmic, m_h=layers.m_h)
            return np.interp(wave, air, flux)

        return wave, kept_flux(cache, (*columns, layers.m_h, wave, vmic), identity, wave, "Korg", make)

    return synthesise

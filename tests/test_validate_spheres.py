"""`validate spheres` on a made-up code that synthesises: what it compares, and that it can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.validation import spheres
from sme_pinn_atmo.validation.spectrum import Layers, grid

#: Strength of lines in a plane, and in spherical layers seen as planes, over that in a sphere.
PLANE, LAYERS = 10**-0.2, 10**0.03


def faint_lines(layers: Layers, lines: Any, window: tuple[float, float], **_: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weak lines as strong as their gf, weaker or stronger with the geometry of giants."""
    wave = grid(window)
    geometry = 1.0 if np.isfinite(layers.radius) or layers.logg > 4 else PLANE if layers.teff == PLANES[0] else LAYERS
    strength = geometry * 1e-3 * 10 ** (0.2 * np.asarray(lines["gflog"], dtype=float) * 5)
    centre = np.asarray(lines["wlcent"], dtype=float)
    return wave, 1 - np.exp(-(((wave[:, None] - centre) / 0.05) ** 2)) @ strength


PLANES = [0.0]


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    original = spheres._layers

    def layers(emulator: Emulator, geometry: str, **labels: float) -> Layers:
        made = original(emulator, geometry, **labels)
        # The plane of a giant is told from layers of a sphere without their radius.
        return spheres.replace(made, teff=0.0) if geometry == "plane" and made.logg < 4 else made

    monkeypatch.setattr(spheres, "_layers", layers)
    monkeypatch.setattr(spheres, "synthesise", faint_lines)


def test_abundances_follow_from_equivalent_widths(code: None, tiny_sphere: Path) -> None:
    checks = {c.name: c for c in spheres.giant(Emulator.load(tiny_sphere), teff=4800.0, logg=1.0)}
    for species in ("Fe 1", "Fe 2"):
        assert checks[f"giant 4800/1: p_p - s_s, {species}, most [dex]"].value == pytest.approx(0.2, abs=0.03)
        assert checks[f"giant 4800/1: s_p - s_s, {species}, least [dex]"].value == pytest.approx(-0.03, abs=0.005)
    assert all(c.passed for c in checks.values())


def test_a_dwarf_is_the_same_and_a_giant_is_not(code: None, tiny_sphere: Path) -> None:
    emulator = Emulator.load(tiny_sphere)
    dwarf, transfer = spheres.dwarf(emulator)
    assert dwarf.value == transfer.value == 0.0
    flux, temperature = spheres.seam(emulator, teff=4800.0)
    assert flux.value > 1e-4 > 0
    assert 0 <= temperature.value < 0.01
    assert "MISSED" in spheres.format_checks([spheres.Check("a sphere", 2e-3, (0.0, 1e-3)), dwarf])


def test_of_a_dwarf_the_transfer_is_told_from_the_structure(tiny_sphere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rays(layers: Layers, lines: Any, window: tuple[float, float], **_: Any) -> tuple[np.ndarray, np.ndarray]:
        wave = grid(window)
        return wave, np.full(len(wave), 0.9 if np.isfinite(layers.radius) else 0.9 - 3e-4)

    monkeypatch.setattr(spheres, "synthesise", rays)
    whole, transfer = spheres.dwarf(Emulator.load(tiny_sphere))
    assert whole.value == transfer.value == pytest.approx(3e-4)
    assert not whole.passed
    assert transfer.passed


def test_a_model_without_a_mass_is_refused() -> None:
    with pytest.raises(ValueError, match="atlas12 knows plane-parallel layers only"):
        spheres.run("atlas12", None)

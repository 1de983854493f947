"""PySME's solver on a PinnAtmosphereGrid over every pair of parameters, and over all at once."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

from pysme.abund import Abund
from pysme.solve import solve
from pysme.synthesize import synthesize_spectrum

from sme_pinn_atmo import PinnAtmosphereGrid

from .test_pysme import WAVE, star

#: What is fitted, and how far from the truth it starts.
OFF = {
    "teff": 80.0, "logg": -0.15, "monh": -0.1, "vmic": 0.2, "vsini": 0.8, "vmac": -0.8, "abund Mg": 0.1, "vrad": 0.0,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mix", [*combinations(OFF, 2), tuple(OFF)], ids=" + ".join)
def test_every_mix_is_fitted(mix: tuple[str, ...]) -> None:
    grid = PinnAtmosphereGrid("atlas12")
    truth = star(grid, vmac=3.0)
    if "vrad" in mix:  # what is seen at WAVE was emitted at these wavelengths
        truth.wave = WAVE / (1 + 2.0 / 299792.458)
    flux = np.array(synthesize_spectrum(truth).synth[0])
    sme = star(grid, vmac=3.0)
    for name in set(mix) - {"abund Mg", "vrad"}:
        setattr(sme, name, getattr(sme, name) + OFF[name])
    if "abund Mg" in mix:
        pattern = sme.abund.get_pattern("H=12")
        pattern = {**pattern, "Mg": pattern["Mg"] + OFF["abund Mg"]}
        sme.abund = Abund(monh=0.0, pattern=pattern, type="H=12")
    sme.spec, sme.uncs = flux, np.full(len(WAVE), 0.01)
    if "vrad" in mix:
        sme.vrad_flag = "whole"
    sme = solve(sme, list(mix))
    np.testing.assert_allclose(sme.synth[0], sme.spec[0], atol=3e-3)
    if "vrad" in mix:
        assert float(np.ravel(sme.vrad)[0]) == pytest.approx(2.0, abs=0.1)
    assert sme.atmo.source is grid

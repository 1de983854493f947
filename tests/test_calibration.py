"""Line data of many stars: derivatives, normal equations, corrections, and what comes back of mock stars."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo import spectra
from sme_pinn_atmo.stars.synthesis import LineChange, Synthesis

SUN = {"teff": 5777.0, "logg": 4.44, "monh": 0.0, "vmic": 1.0}


def test_changed_lines_cost_no_equation_of_state_and_are_exact() -> None:
    """Each variant is what PySME makes of a list that has the changes from the beginning."""
    lines = spectra.read_lines()
    synthesis = Synthesis("atlas12", lines, [(6150.0, 6153.0)], step=2.0)
    synthesis.use(synthesis.select(SUN))
    strongest = np.argsort(-synthesis.selection.depth[synthesis.selection.strong])
    centre = np.asarray(synthesis.chosen["wlcent"], dtype=float)
    alone = np.diff(centre, append=np.inf) > 0.01  # PySME wants lists in order of wavelength
    inside = [i for i in strongest if 6150.5 < centre[i] < 6152.5 and alone[i]][:2]
    changes = []
    for column, step in (("gflog", 0.2), ("wlcent", 0.005), ("gamvw", -6.5)):
        values = np.asarray(synthesis.chosen[column], dtype=float)[inside]
        changes.append(LineChange(np.array(inside), column, values + step))
    base, *made = synthesis.variants(SUN, 0, changes)
    assert np.array_equal(base.line, synthesis.intensities(SUN)[0].line)
    for change, variant in zip(changes, made, strict=True):
        other = Synthesis(synthesis.source, lines, synthesis.windows, step=2.0)
        other.use(synthesis.selection)
        table = other.chosen._lines
        table.iloc[inside, table.columns.get_loc(change.column)] = change.values
        full = other.intensities(SUN)[0].line
        assert np.abs(full - variant.line).max() < 1e-6 * full.max()
        assert np.abs(variant.line - base.line).max() > 1e-4 * full.max()

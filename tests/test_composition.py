"""Mixtures that leave what a model was computed with: what is off, when it is said, and what it does to structures."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from sme_pinn_atmo import composition
from sme_pinn_atmo.composition import SOLAR_SCALES, CompositionWarning, misfit, warn_of_misfit
from sme_pinn_atmo.grids import Structures
from sme_pinn_atmo.validation.composition import format_rows, measure


def test_misfit_is_what_labels_do_not_say() -> None:
    solar = SOLAR_SCALES["grevesse2007"]
    star = {el: eps + (0.0 if el in ("H", "He") else -0.5 + (0.4 if el in composition.ALPHA_ELEMENTS else 0.0))
            for el, eps in solar.items()}  # fmt: skip
    assert misfit(star, -0.5, 0.4, "grevesse2007") == {}
    off = misfit(star | {"C": star["C"] + 0.5, "O": star["O"] - 0.3, "He": star["He"] + 0.1}, -0.5, 0.4, "grevesse2007")
    assert off == {"He": pytest.approx(0.1), "C": pytest.approx(0.5), "O": pytest.approx(-0.3)}
    # A structure that does not follow alpha is off by all of it.
    assert {"Mg", "Si", "Ca", "Ti", "O"} == misfit(star, -0.5, 0.0, "grevesse2007").keys()
    assert misfit({"C": solar["C"]}, -0.5, 0.4, "grevesse2007") == {"C": pytest.approx(0.5)}


@pytest.mark.parametrize("scale", [s for s in SOLAR_SCALES if s != "anders1989"])
def test_solar_scales_fit_each_other(scale: str) -> None:
    for other in set(SOLAR_SCALES) - {"anders1989"}:
        assert misfit(SOLAR_SCALES[other], 0.0, 0.0, scale) == {}


def test_it_is_said_once_for_a_model_and_its_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "_said", set())
    with pytest.warns(CompositionWarning, match=r"atlas12 was computed with: C by \+0\.50, O by -0\.30 dex"):
        warn_of_misfit("atlas12", {"C": 0.5, "O": -0.3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_misfit("atlas12", {"C": 0.6, "O": -0.2})
        warn_of_misfit("atlas9", {})
    with pytest.warns(CompositionWarning, match="atlas9"):
        warn_of_misfit("atlas9", {"C": 0.5, "O": -0.3})


def test_carbon_is_measured_against_standard_neighbours() -> None:
    teff = np.array([3000.0, 3100.0, 3200.0, 5000.0, 5250.0, 5500.0])
    t = teff[:, None] * np.linspace(0.8, 2.0, 10)
    profiles = np.stack([t, t, t, t, t, t], axis=-1)
    profiles[1, :, 2] *= 1.2
    labels = {"teff": teff, **{n: np.zeros(6) for n in ("logg", "m_h", "alpha_m")}, "vturb": np.full(6, 2.0)}
    extra = {"c_fe": np.array([0, 0.25, 0, 0, 0, 0]), "composition_class": np.full(6, "x3"),
             "geometry": np.full(6, "s")}  # fmt: skip
    models = Structures(labels, profiles, np.tile(np.linspace(-5, 2, 10), (6, 1)), np.full(6, 10), extra, "made up")
    rows = {row.name: row for row in measure(models)}
    carbon = rows["carbon, below 4000 K"]
    assert (carbon.n, carbon.of) == (1, 1)
    off = 100 * np.log(3100 / np.sqrt(3000 * 3200))
    assert carbon.median["T"] == pytest.approx(off)
    assert carbon.largest["P"] == pytest.approx(off + 100 * np.log(1.2))
    assert rows["standard, from 4000 K"].n == 1
    assert np.isnan(rows["alpha alone, below 4000 K"].median["T"])
    assert "carbon, below 4000 K            1 of 1" in format_rows(list(rows.values()))
    with pytest.raises(ValueError, match="needed are MARCS models"):
        measure(Structures(labels, profiles, models.log_tau_ross, models.n_depth, {}, "made up"))

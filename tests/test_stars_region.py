"""Where free parameters of a star may lie: inside, every packaged model predicts; outside, the nearest is found."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo.codes.pysme import star_labels
from sme_pinn_atmo.emulator.labels import Domain, Strip
from sme_pinn_atmo.stars.parameters import Parameters
from sme_pinn_atmo.stars.region import Region
from sme_pinn_atmo.stars.synthesis import atmosphere_source, star_structure

MODELS = ("atlas9", "atlas12", "marcs")
FREE = ("teff", "logg", "monh", "alpha", "vmic")
PATTERN = "grevesse2007"


@lru_cache(maxsize=3)
def source(model: str) -> Any:
    return atmosphere_source(model)


def predicts(model: str, parameters: Parameters, values: dict[str, float]) -> bool:
    """Whether the model gives an atmosphere where the free parameters have these values; it raises if it does not."""
    star = star_structure(source(model), None, parameters.full(values), pattern=PATTERN)
    made = source(model).emulator.predict(**star_labels(star, source(model)))
    return bool(np.isfinite(made.temperature).all())


stars = st.fixed_dictionaries({
    "teff": st.floats(1000, 60_000) | st.floats(2400, 8200), "logg": st.floats(-3, 7), "monh": st.floats(-7, 3),
    "alpha": st.floats(-1.5, 1.5), "vmic": st.floats(-1, 12),
})  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=150, deadline=None)
@given(start=stars)
def test_any_start_comes_inside(model: str, start: dict[str, float]) -> None:
    parameters = Parameters(start, FREE)
    region = Region(source(model), parameters, PATTERN)
    moved = region.inside(start)
    assert region.contains(moved)
    assert predicts(model, parameters, moved)
    assert region.inside(moved) == moved
    for name, size in region.differences(moved).items():
        assert predicts(model, parameters, {**moved, name: moved[name] + size})


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=100, deadline=None)
@given(start=stars, target=stars, free=st.sets(st.sampled_from(FREE), min_size=1))
def test_a_step_ends_inside_whatever_is_free(
    model: str, start: dict[str, float], target: dict[str, float], free: set[str]
) -> None:
    inside = Region(source(model), Parameters(start, FREE), PATTERN).inside(start)
    parameters = Parameters(inside, tuple(n for n in FREE if n in free))
    region = Region(source(model), parameters, PATTERN)
    moved = region.step(parameters.initial(), {n: target[n] for n in parameters.free})
    assert predicts(model, parameters, moved)


@pytest.mark.parametrize("pattern", ["grevesse2007", "asplund2009", "grevesse1998"])
@pytest.mark.parametrize("model", MODELS)
def test_a_step_far_out_ends_at_a_limit_that_is_named(model: str, pattern: str) -> None:
    """Also where the star's solar scale puts its alpha_m just outside the model's, at whose edge it is taken."""
    for name, target, which in (("monh", 3.0, "upper"), ("teff", 60_000.0, "upper"), ("logg", 9.0, "upper")):
        start = {"teff": 5777.0, "logg": 4.44, "monh": 0.0, "vmic": 1.0}
        region = Region(source(model), Parameters(start, (name,)), pattern)
        inside = {name: start[name]}
        assert region.at_limit(name, inside) is None
        low, high = region.limits(name, inside)
        assert low < start[name] < high
        moved = region.step(inside, {name: target})
        assert region.at_limit(name, moved) == (which, pytest.approx(moved[name]))  # of the last piece, behind a gap
        assert name == "teff" or moved[name] == pytest.approx(high, abs=1e-6)


def test_an_alpha_that_metal_poor_models_do_not_have() -> None:
    start = {"teff": 5588.0, "logg": 3.35, "monh": -2.73, "vmic": 1.3}
    region = Region(source("marcs"), Parameters(start, FREE), PATTERN)
    moved = region.inside({**start, "alpha": 0.0})
    assert {n: moved[n] for n in start} == start
    assert moved["alpha"] == pytest.approx(0.184, abs=1e-3)
    assert region.at_limit("alpha", moved)[0] == "lower"
    assert region.at_limit("teff", moved) is None
    # The limit of alpha rises as metals fall.
    assert region.slide("alpha", moved)["monh"] < -0.1
    # Nothing that is free mends a fixed one.
    fixed = Region(source("marcs"), Parameters({**start, "teff": 9000.0}, ("vmic",)), PATTERN)
    assert not fixed.contains(fixed.inside({"vmic": 1.3}))


def test_an_element_that_moves_alpha_and_a_box() -> None:
    start = {"teff": 5588.0, "logg": 3.35, "monh": -2.73, "vmic": 1.3, "alpha": 0.0}
    parameters = Parameters(start, ("Mg", "Si", "vmac"))
    region = Region(source("marcs"), parameters, PATTERN)
    moved = region.inside({"Mg": 0.0, "Si": 0.0, "vmac": -3.0})
    assert predicts("marcs", parameters, moved)
    assert moved["vmac"] == 0.0
    assert 0.0 < moved["Si"] < 1.0


def test_ranges_of_a_label() -> None:
    strip = Strip("logg", "teff", (4000.0, 5000.0, 6000.0), (0.0, 2.0, 0.0), (5.0, 5.0, 4.0))
    domain = Domain(("teff", "logg"), (4000.0, 0.0), (6000.0, 5.0), {}, (strip,))
    assert domain.range("logg", np.array([4500.0, 9.0])) == pytest.approx((1.0, 5.0))
    # At log g 1 there are two pieces; at 4.5 one that ends in between; at 6 none; a log g that follows holds nothing.
    assert domain.range("teff", np.array([4100.0, 1.0])) == pytest.approx((4000.0, 4500.0))
    assert domain.range("teff", np.array([5900.0, 1.0])) == pytest.approx((5500.0, 6000.0))
    assert domain.range("teff", np.array([5900.0, 4.5])) == pytest.approx((4000.0, 5500.0))
    assert np.isnan(domain.range("teff", np.array([5000.0, 6.0]))).all()
    assert domain.range("teff", np.array([5000.0, 6.0]), ("logg",)) == (4000.0, 6000.0)


def test_a_limit_of_zero_is_written_as_such() -> None:
    from types import SimpleNamespace

    from sme_pinn_atmo.stars.fit import _Fit

    for limit, written in ((8.3e-25, "0"), (-1e-9, "0"), (3.5, "3.5")):
        state = SimpleNamespace(region=SimpleNamespace(at_limit=lambda name, values, v=limit: ("lower", v)))
        assert _Fit.stopped(state, {"logg": 0.0}) == {"logg": f"lower limit {written}"}

"""Labels and domains: what is taken, what is refused, and in which words."""

import astropy.units as u
import numpy as np
import pytest

from sme_pinn_atmo import Domain, DomainError
from sme_pinn_atmo.emulator.labels import Strip, as_planes

LABELS = ("teff", "logg", "m_h", "alpha_m", "vturb")
DOMAIN = Domain(
    LABELS, (3500.0, 0.0, -2.5, 0.0, 0.0), (50000.0, 5.0, 0.5, 0.4, 4.0),
    {"m_h": 0.0, "alpha_m": 0.0, "vturb": 2.0},
    (
        Strip("logg", "teff", (3500.0, 6000.0, 8000.0, 50000.0), (0.0, 0.0, 1.0, 5.0), (5.0,) * 4),
        Strip("alpha_m", "m_h", (-2.5, -2.0, 0.5), (0.4, 0.0, 0.0), (0.4, 0.4, 0.4)),
    ),
)  # fmt: skip


def test_stack_broadcasts_and_fills_defaults():
    x = DOMAIN.stack({"teff": [5000, 6000], "logg": np.array([[4.0], [3.0]]), "m_h": -1})
    assert x.shape == (2, 2, 5)
    assert x[1, 0].tolist() == [5000.0, 3.0, -1.0, 0.0, 2.0]


def test_quantities_are_converted_and_wrong_units_refused():
    x = DOMAIN.stack({"teff": 5.777 * u.kK, "logg": 4.4 * u.dex, "vturb": 1500 * u.m / u.s})
    np.testing.assert_allclose(x, [5777, 4.4, 0, 0, 1.5])
    with pytest.raises(ValueError, match="teff"):
        DOMAIN.stack({"teff": 5 * u.m, "logg": 4.4})


@pytest.mark.parametrize("bad", ["5777", None, True, 1 + 2j, [[1], [2, 3]], np.array("hot")])
def test_what_is_no_number_is_a_type_error_that_names_the_label(bad):
    with pytest.raises(TypeError, match="teff"):
        DOMAIN.stack({"teff": bad, "logg": 4.0})


def test_unknown_and_missing_labels():
    with pytest.raises(TypeError, match="feh"):
        DOMAIN.stack({"teff": 5000, "logg": 4, "feh": 0})
    with pytest.raises(TypeError, match="logg"):
        DOMAIN.stack({"teff": 5000})
    with pytest.raises(ValueError, match=r"broadcast.*teff \(2,\)"):
        DOMAIN.stack({"teff": [5000, 6000], "logg": [1, 2, 3]})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"teff": 3000.0, "logg": 4.0}, ["teff = 3000 K", "3500 to 50000", "by 500", "nearest allowed value: 3500"]),
        ({"teff": 5000.0, "logg": np.nan}, ["logg = nan", "not finite", "0 to 5"]),
        ({"teff": 7000.0, "logg": 0.25}, ["logg = 0.25", "0.5 to 5", "teff = 7000 K", "logg = 0.5"]),
        ({"teff": 5000.0, "logg": [4.0, 9.0]}, ["logg = 9", "star 1 of 2"]),
        ({"teff": 5000.0, "logg": 4.0, "m_h": -2.25}, ["alpha_m = 0", "0.2 to 0.4", "m_h = -2.25", "alpha_m = 0.2"]),
    ],
)
def test_outside_says_what_by_how_much_and_what_is_allowed(labels, words):
    with pytest.raises(DomainError) as e:
        DOMAIN.resolve(labels)
    for word in words:
        assert word in str(e.value)


def test_clip_and_nan_are_explicit_choices():
    labels = {"teff": [7000.0, 5000.0], "logg": [0.1, 4.0]}
    np.testing.assert_allclose(DOMAIN.resolve(labels, "clip")[:, 1], [0.5, 4.0])
    nan = DOMAIN.resolve(labels, "nan")
    assert np.isnan(nan[0]).all()
    assert np.isfinite(nan[1]).all()
    with pytest.raises(DomainError):
        DOMAIN.resolve({"teff": np.nan, "logg": 4.0}, "clip")
    with pytest.raises(ValueError, match="ignore"):
        DOMAIN.resolve(labels, "ignore")


def test_contains_on_arrays():
    inside = DOMAIN.contains(teff=np.array([5000, 7000, 3000, np.nan]), logg=0.25)
    assert inside.tolist() == [True, False, False, False]


def test_the_edge_of_a_strip_is_inside_but_for_rounding():
    star = {"teff": 7000.0, "m_h": 0.0}
    for logg, inside in ((0.5, True), (0.5 - 5e-10, True), (0.5 - 5e-9, False), (5.0, True)):
        assert bool(DOMAIN.contains(logg=logg, **star)) is inside
    # alpha_m from 0.2 at m_h = -2.25, up to the end of the box.
    box = Domain(DOMAIN.labels, DOMAIN.lower, (50000.0, 6.0, 0.5, 0.4, 4.0), DOMAIN.defaults, DOMAIN.strips)
    for logg, inside in ((5.0 + 5e-10, True), (5.0 + 5e-9, False), (5.5, False)):
        assert bool(box.contains(logg=logg, **star)) is inside
    with pytest.raises(DomainError, match=r"logg = 5\.5 dex is outside .* by 0\.5; nearest allowed value: logg = 5"):
        box.resolve({"logg": 5.5, **star})


def test_outside_names_the_star_and_the_nearest_end():
    with pytest.raises(DomainError, match=r"m_h = 0\.75 dex .* 0\.5 dex by 0\.25; nearest allowed value: 0\.5"):
        DOMAIN.resolve({"teff": 5000.0, "logg": 4.0, "m_h": 0.75})
    with pytest.raises(DomainError, match=r"vturb = 5 km / s .* \(star 3 of 4\)"):
        DOMAIN.resolve({"teff": 5000.0, "logg": 4.0, "vturb": [[1.0, 2.0], [3.0, 5.0]]})
    with pytest.raises(DomainError, match=r"alpha_m = 0 dex .* at m_h = -2\.25 dex by 0\.2; nearest"):
        DOMAIN.resolve({"teff": 5000.0, "logg": 4.0, "m_h": -2.25})
    with pytest.raises(TypeError, match=r"unknown label 'feh'; this model has teff, logg, m_h, alpha_m, vturb$"):
        DOMAIN.stack({"teff": 5000.0, "logg": 4.0, "feh": 0})
    with pytest.raises(TypeError, match=r"label 'logg' is missing; .* needs teff, logg, m_h, alpha_m, vturb$"):
        DOMAIN.stack({"teff": 5000.0})


def test_labels_are_floats_whatever_they_came_as():
    for value in (5000, np.int64(5000), np.float32(5000), np.array(5000), 5000 * u.K):
        x = DOMAIN.stack({"teff": value, "logg": 4})
        assert x.dtype == float
        assert x.tolist() == [5000.0, 4.0, 0.0, 0.0, 2.0]
    x = DOMAIN.stack({"teff": np.array([5000, 6000]), "logg": 4, "m_h": np.array([-1, 0]) * u.dimensionless_unscaled})
    assert (x.dtype, x[0].tolist()) == (float, [5000.0, 4.0, -1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match=r"logg = 4\.0 K has the unit K; it needs dex"):
        DOMAIN.stack({"teff": 5000, "logg": 4 * u.K})


def test_log_g_at_a_temperature():
    low, high = DOMAIN.logg_range([3500, 7000, 8000])
    np.testing.assert_allclose(low, [0, 0.5, 1])
    np.testing.assert_allclose(high, 5)
    box = Domain(("m_h", "logg", "teff"), (-1.0, 1.0, 4000.0), (0.0, 4.5, 6000.0), {},
                 (Strip("m_h", "teff", (4000.0, 6000.0), (-1.0, -0.5), (0.0, 0.0)),))  # fmt: skip
    low, high = box.logg_range(np.full((2, 3), 5000))
    assert low.shape == high.shape == (2, 3)
    assert (low == 1.0).all()
    assert (high == 4.5).all()


def test_a_sample_fills_the_domain_and_is_the_same_again():
    x = DOMAIN.sample(500, 3)
    assert x.shape == (500, 5)
    assert DOMAIN.inside(x).all()
    assert np.array_equal(x, DOMAIN.sample(500, 3))
    assert not np.array_equal(x, DOMAIN.sample(500, 4))
    assert (x[:, 4].min(), x[:, 4].max()) == pytest.approx((0, 4), abs=0.05)


def test_clipping_goes_into_the_box_first():
    x = DOMAIN.nearest(np.array([[60000.0, 1.0, -9.0, 0.0, 9.0], [1000.0, 9.0, 0.0, -1.0, -1.0]]))
    np.testing.assert_allclose(x, [[50000.0, 5.0, -2.5, 0.4, 4.0], [3500.0, 5.0, 0.0, 0.0, 0.0]])


def test_round_trip_through_a_card():
    plain = {k: v for k, v in DOMAIN.to_dict().items() if k != "strips"}  # as cards before strips have it
    assert Domain.from_dict(plain).strips == ()
    assert Domain.from_dict(DOMAIN.to_dict()) == DOMAIN


def test_domain_of_training_labels_follows_the_grid():
    grid = np.array([[t, g, 0.0, 0.0, 2.0] for t, low in ((4000, 0), (6000, 1), (8000, 2)) for g in range(low, 6)])
    d = Domain.from_training(np.vstack([grid, [[5777, 4.44, 0, 0, 1]]]), LABELS, {})
    assert [s.knots for s in d.strips] == [(4000, 6000, 8000)]
    assert Domain.from_training(grid[:, :2], LABELS[:2], {}).strips[0].label == "logg"
    assert Domain.from_training(grid[:, :1], LABELS[:1], {}).strips == ()
    assert Domain.from_training(grid, LABELS, {"vturb": 2.0}).defaults == {"vturb": 2.0}
    assert bool(d.contains(teff=7000, logg=1.5, m_h=0, alpha_m=0, vturb=1.5))
    assert not bool(d.contains(teff=7000, logg=1.4, m_h=0, alpha_m=0, vturb=1.5))


def test_strip_of_scattered_models_is_read_from_groups_of_them():
    """No two models at one Teff: the range is that of some tens of neighbours, from the first Teff to the last."""
    rng = np.random.default_rng(0)
    teff = rng.uniform(4000, 8000, 1200)
    logg = rng.uniform((teff - 4000) / 2000, 5.0)
    strip = Strip.from_training("logg", "teff", teff, logg)
    assert 20 <= len(strip.knots) <= 60
    assert (strip.knots[0], strip.knots[-1]) == (teff.min(), teff.max())
    low, high = strip.range(np.linspace(4200, 7800, 19))
    np.testing.assert_allclose(low, (np.linspace(4200, 7800, 19) - 4000) / 2000, atol=0.25)
    np.testing.assert_allclose(high, 5.0, atol=0.4)
    # Thirty models a group; knots in the middle of a group, and at the ends of the range for the outermost.
    x = np.arange(91.0)
    strip = Strip.from_training("logg", "teff", x, np.where(x % 2 == 0, x / 100, 5 - x / 100))
    assert strip.knots == (0.0, 45.0, 90.0)
    assert (strip.low, strip.high) == ((0.0, 0.3, 0.6), (4.99, 4.69, 4.39))
    # A third of the models at a Teff of their own is still a grid: every Teff with more than one of them is a knot.
    grid = np.repeat([4000.0, 5000.0, 6000.0], 3)
    strip = Strip.from_training("logg", "teff", grid, np.tile([1.0, 3.0, 5.0], 3) + (grid - 4000) / 1000)
    assert strip.knots == (4000.0, 5000.0, 6000.0)
    assert (strip.low, strip.high) == ((1.0, 2.0, 3.0), (5.0, 6.0, 7.0))


def test_spheres_up_to_log_g_3_unless_asked_otherwise():
    labels = ("teff", "logg", "mass")
    x = np.array([[5000.0, 3.0, 1.0], [5000.0, 3.01, 1.0]])
    assert as_planes(x, labels, None)[:, 2].tolist() == [1.0, np.inf]
    assert as_planes(x, labels, "plane")[:, 2].tolist() == [np.inf, np.inf]
    assert as_planes(x, labels, "sphere")[:, 2].tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"geometry = 'disc'; allowed: 'plane', 'sphere', None"):
        as_planes(x, labels, "disc")
    with pytest.raises(ValueError, match="no mass"):
        as_planes(x[:, :2], labels[:2], "sphere")

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


def test_round_trip_through_a_card():
    assert Domain.from_dict(DOMAIN.to_dict()) == DOMAIN


def test_domain_of_training_labels_follows_the_grid():
    grid = np.array([[t, g, 0.0, 0.0, 2.0] for t, low in ((4000, 0), (6000, 1), (8000, 2)) for g in range(low, 6)])
    d = Domain.from_training(np.vstack([grid, [[5777, 4.44, 0, 0, 1]]]), LABELS, {})
    assert [s.knots for s in d.strips] == [(4000, 6000, 8000)]
    assert bool(d.contains(teff=7000, logg=1.5, m_h=0, alpha_m=0, vturb=1.5))
    assert not bool(d.contains(teff=7000, logg=1.4, m_h=0, alpha_m=0, vturb=1.5))


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

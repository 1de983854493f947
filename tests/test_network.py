"""The network at run time: equal to torch, smooth, with exact derivatives, hydrostatic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sme_pinn_atmo import Emulator, physics
from sme_pinn_atmo.emulator import models
from sme_pinn_atmo.emulator.runtime import FIELDS, Network


@pytest.fixture(params=["tiny_model", "tiny_sphere", *models()])
def emulator(request: pytest.FixtureRequest) -> Emulator:
    made = request.param.startswith("tiny")
    return Emulator.load(request.getfixturevalue(request.param) if made else request.param)


@pytest.fixture
def sphere(tiny_sphere: Path) -> Emulator:
    return Emulator.load(tiny_sphere)


def random_labels(emulator: Emulator, n: int, seed: int = 0) -> np.ndarray:
    """Labels spread over the domain, (n, n_label)."""
    d = emulator.domain
    x = np.random.default_rng(seed).uniform(d.lower, d.upper, (50 * n, len(d.labels)))
    return x[d.inside(x)][:n]


def as_labels(emulator: Emulator, x: np.ndarray) -> dict[str, np.ndarray]:
    return {name: x[..., j] for j, name in enumerate(emulator.domain.labels)}


def test_torch_and_numpy_agree(emulator: Emulator) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch")
    x = random_labels(emulator, 40)
    mine = emulator.network.log_profiles(x)
    theirs = emulator.torch_module()(torch.tensor(x)).detach().numpy()
    assert np.abs(mine - theirs).max() < 1e-10


def test_waves_of_teff_are_features(emulator: Emulator) -> None:
    """Of a network whose other weights are what they are, a wave moves the first layer as its name says."""
    plain = Network(emulator.network.labels, ("logg",), _one_feature(emulator))
    for name, expected in (("sin_3_log_teff", np.sin), ("cos_12_log_teff", np.cos)):
        network = Network(emulator.network.labels, (name,), _one_feature(emulator))
        x = random_labels(emulator, 3)
        k = int(name.split("_")[1])
        assert emulator.network.labels[:2] == ("teff", "logg")
        other = x.copy()
        other[:, 1] = expected(2 * np.pi * k * np.log10(x[:, 0]))
        np.testing.assert_allclose(network._branch(x), plain._branch(other), atol=1e-10)


def _one_feature(emulator: Emulator) -> dict[str, np.ndarray]:
    tensors = dict(emulator.network.tensors)
    return tensors | {"w_in": 0.1 * tensors["w_in"][:, :1], "feature_mean": np.zeros(1), "feature_scale": np.ones(1)}


@pytest.mark.parametrize("name", ["metallicity", "sin_0_log_teff", "sin_1000_log_teff", "sin_log_teff", "cos_2_teff"])
def test_an_unknown_feature_is_named(name: str, emulator: Emulator) -> None:
    with pytest.raises(ValueError, match=f"unknown feature '{name}'; allowed: the labels, log_teff"):
        Network(emulator.network.labels, (name,), _one_feature(emulator))


def test_jacobian_equals_torch_autograd(emulator: Emulator) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch")
    x = random_labels(emulator, 3)
    _, mine = emulator.network.log_jacobian(x)
    module = emulator.torch_module()
    for star, expected in zip(x, mine, strict=True):
        theirs = torch.func.jacrev(module)(torch.tensor(star)).detach().numpy()
        assert np.abs(expected - theirs).max() < 1e-9 * max(1.0, np.abs(theirs).max())


def test_central_differences_stay_smooth_down_to_tiny_steps(emulator: Emulator) -> None:
    """A solver's finite differences must see a function, not rounding: relative steps down to 1e-7."""
    d = emulator.domain
    x = random_labels(emulator, 1, seed=3)[0]
    exact = emulator.network.log_jacobian(x)[1][..., d.labels.index("teff")]
    j = d.labels.index("teff")
    for step in (1e-4, 1e-5, 1e-6, 1e-7):
        h = np.zeros(len(x))
        h[j] = x[j] * step
        difference = (emulator.network.log_profiles(x + h) - emulator.network.log_profiles(x - h)) / (2 * h[j])
        # Rounding leaves about 1e-15 / step of the logarithmic derivative, truncation about step**2.
        assert np.abs(difference - exact).max() * x[j] < 1e-4 * (step / 1e-4) ** 2 + 1e-13 / step + 1e-7


def test_structures_are_hydrostatic_and_consistent(emulator: Emulator) -> None:
    x = random_labels(emulator, 30)
    atm = emulator.predict(**as_labels(emulator, x))
    assert np.all(np.diff(atm.rhox) > 0)
    pressure = (atm.atom_density + atm.electron_density) * physics.BOLTZMANN * atm.temperature
    np.testing.assert_allclose(pressure, atm.gas_pressure, rtol=1e-10)
    # On a ten times finer grid the derivative of the interpolated pressure is g - a.
    tau = np.geomspace(emulator.tau_ross[5], emulator.tau_ross[-5], 600)
    fine = emulator.predict(**as_labels(emulator, x), tau_ross=tau)
    residual = fine.hydrostatic_residual()
    assert np.median(residual) < 1e-4


def test_own_depths_and_given_depths_agree(emulator: Emulator) -> None:
    x = random_labels(emulator, 4)
    own = emulator.network.log_profiles(x)
    same = emulator.network.log_profiles(x, emulator.tau_ross)
    np.testing.assert_allclose(own, same, rtol=0, atol=1e-10)
    part = emulator.network.log_profiles(x, emulator.tau_ross[3:-3])
    np.testing.assert_allclose(own[..., 3:-3], part, rtol=0, atol=1e-10)


def test_batches_equal_single_stars(emulator: Emulator) -> None:
    x = random_labels(emulator, 7)
    batch = emulator.predict(**as_labels(emulator, x))
    for i, star in enumerate(x):
        one = emulator.predict(**{n: float(v) for n, v in zip(emulator.domain.labels, star, strict=True)})
        np.testing.assert_allclose(one.temperature, batch.temperature[i], rtol=1e-12)
        np.testing.assert_allclose(one.gas_pressure, batch.gas_pressure[i], rtol=1e-11)


def test_pressure_is_bent_beside_a_star_outside_too(emulator: Emulator) -> None:
    """Labels outside are NaN in a batch; a comparison with NaN must not hide what has to be done to the others."""
    x = emulator.domain.sample(5000, 1)
    ln_g = np.log(10.0) * x[:, emulator.domain.labels.index("logg"), None]
    off = np.abs((emulator.network.log_profiles(x)[:, FIELDS.index("radiative_acceleration")] - ln_g).max(axis=1))
    near = x[np.argsort(off)[:20]]
    outside = np.full((1, x.shape[1]), np.nan)
    alone, batch = emulator.network.log_jacobian(near), emulator.network.log_jacobian(np.concatenate([near, outside]))
    for a, b in zip(alone, batch, strict=True):
        np.testing.assert_allclose(a, b[:-1], rtol=1e-9, atol=1e-9)
        assert np.isnan(b[-1]).any()


@pytest.mark.parametrize("name", ["atlas9", "atlas12"])  # cool stars are all far
def test_stars_that_are_not_looked_at_need_no_bend(name: str) -> None:
    network, x = Emulator.load(name).network, Emulator.load(name).domain.sample(20_000, 2)
    value = network.log_profiles(x)
    ln_g = np.log(10.0) * x[:, network.labels.index("logg"), None]
    rest = 1 - np.exp(value[:, FIELDS.index("radiative_acceleration")] - ln_g)
    dm = network.tau / np.exp(value[:, FIELDS.index("opacity")])
    p, m = (f[:, :1] + f @ physics.integration_matrix(network.ln_tau).T for f in (rest * dm, dm))
    gain = np.diff(m) / (0.5 * np.diff(network.ln_tau) * (dm[:, 1:] + dm[:, :-1]))
    far = (rest.min(axis=1) >= 0.25) & (gain.min(axis=1) >= 0.1)
    assert 10_000 < far.sum() < 20_000
    bent = physics.physical_integrals(m[far], p[far], dm[far], rest[far], np.diff(network.ln_tau))
    np.testing.assert_allclose(bent, (m[far], p[far]), rtol=1e-12)


def test_a_column_mass_that_would_fall_rises(steep_model: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch")
    from sme_pinn_atmo.emulator.network import HydrostaticNetwork

    emulator = Emulator.load(steep_model)
    network, x = emulator.network, emulator.domain.sample(40, 3)
    value, jacobian = network.log_jacobian(x)
    cells = np.diff(physics.integration_matrix(network.ln_tau), axis=0)
    assert ((network.tau / np.exp(value[:, 1])) @ cells.T < 0).any()  # what the spline alone would say
    assert (np.diff(np.exp(value[:, 4])) > 0).all()
    module = HydrostaticNetwork.from_network(network)
    np.testing.assert_allclose(module(torch.tensor(x)).detach().numpy(), value, rtol=1e-9, atol=1e-9)
    step = np.zeros(x.shape[1])
    step[0] = 1e-3
    slope = (network.log_profiles(x + step) - network.log_profiles(x - step)) / 2e-3
    np.testing.assert_allclose(jacobian[..., 0], slope, rtol=1e-4, atol=1e-7)


def test_values_and_first_derivatives_are_continuous_along_random_lines(emulator: Emulator) -> None:
    """What the derivative does not explain of a step along a line, in 64 times smaller steps where it is largest.

    Where a derivative jumps, a 64th of it is left in one of them; much less where it only turns fast.
    """
    x = random_labels(emulator, 12, seed=5)

    def unexplained(a: np.ndarray, b: np.ndarray, s: np.ndarray) -> np.ndarray:
        line = a + s[:, None] * (b - a)
        value, jacobian = emulator.network.log_jacobian(line)
        slope = jacobian @ (b - a)
        step = np.diff(s)[:, None, None]
        left = np.abs(np.diff(value, axis=0) - 0.5 * step * (slope[1:] + slope[:-1])).max(axis=(1, 2))
        inside = emulator.domain.inside(line)
        return np.where(inside[1:] & inside[:-1], left, 0.0)

    for a, b in zip(x[::2], x[1::2], strict=True):
        s = np.linspace(0, 1, 2001)
        coarse = unexplained(a, b, s)
        worst = int(coarse.argmax())
        fine = unexplained(a, b, np.linspace(s[worst], s[worst + 1], 65)).max()
        assert fine < max(coarse[worst] / 64 / 4, 1e-11)


def test_field_order_is_that_of_the_contract() -> None:
    assert FIELDS[:2] == ("temperature", "opacity")


def test_a_sphere_is_hydrostatic_with_the_gravity_at_its_heights(sphere: Emulator) -> None:
    """Against scipy's integration of dP = (g (R/r)^2 - a) dm and dr = -dm / rho, from the same opacity and weight."""
    from scipy.integrate import solve_ivp
    from scipy.interpolate import CubicSpline

    atm = sphere.predict(teff=4800, logg=2.0, mass=0.5)
    assert atm.geometry == "sphere"
    ln_tau = np.log(atm.tau_ross)
    rho_p = CubicSpline(ln_tau, np.log(atm.density / atm.gas_pressure))
    dm = CubicSpline(ln_tau, np.log(atm.tau_ross / atm.opacity))
    a = CubicSpline(ln_tau, np.log(atm.radiative_acceleration))
    g, radius = 10.0**2.0, float(atm.radius)

    def slope(s: float, state: np.ndarray) -> list[float]:
        p, h = state
        step = np.exp(dm(s))
        return [(g / (1 + h / radius) ** 2 - np.exp(a(s))) * step, -step / (p * np.exp(rho_p(s)))]

    found = solve_ivp(slope, ln_tau[[0, -1]], [atm.gas_pressure[0], atm.height[0]], t_eval=ln_tau, rtol=1e-9)
    # As near as splines of different quantities through 40 layers come; with constant g it would be 5 % off.
    np.testing.assert_allclose(found.y[0], atm.gas_pressure, rtol=5e-4)
    np.testing.assert_allclose(found.y[1], atm.height, atol=5e-4 * np.ptp(atm.height))
    assert np.ptp(atm.height) / radius > 0.02
    assert radius == pytest.approx(np.sqrt(physics.SOLAR_GM * 0.5 / g))
    assert np.abs(np.interp(0.0, ln_tau, atm.height)) < 1e-3 * np.ptp(atm.height)


def test_heights_of_a_sphere_are_found(sphere: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """More passes change nothing where the scale height is a twentieth of the radius, as in the largest of MARCS."""
    x = sphere.domain.sample(300, 1)
    x[:, 1], x[:, 5] = 0.4, 0.5
    assert physics.extension(x[:, 0], 10.0 ** x[:, 1], x[:, 5]).max() > 0.04
    few = sphere.network.log_profiles(x)
    monkeypatch.setattr(physics, "SPHERE_PASSES", 3 * physics.SPHERE_PASSES)
    np.testing.assert_allclose(few, sphere.network.log_profiles(x), atol=1e-4)


def test_an_infinite_mass_is_a_plane_and_a_large_one_nearly(sphere: Emulator) -> None:
    labels = {"teff": 5500.0, "logg": 2.5}
    plane = sphere.predict(**labels, geometry="plane")
    assert plane.geometry == "plane"
    assert plane.radius == np.inf
    x = np.array([5500.0, 2.5, 0.0, 0.0, 2.0, 1e12])
    np.testing.assert_allclose(sphere.network.profiles(x)[5], plane.gas_pressure, rtol=1e-6)
    default, asked = sphere.predict(**labels), sphere.predict(**labels, geometry="sphere")
    assert (default.gas_pressure == asked.gas_pressure).all()
    assert np.abs(asked.gas_pressure / plane.gas_pressure - 1).max() > 1e-3
    assert plane.hydrostatic_residual().max() < 0.05


def test_heights_and_their_derivatives_at_any_depths(sphere: Emulator) -> None:
    """Centred differences, on depths that do not reach tau = 1."""
    tau = np.geomspace(1e-4, 0.3, 9)
    star = {"teff": 5200.0, "logg": 2.2, "m_h": -0.3, "alpha_m": 0.1, "vturb": 1.5, "mass": 1.2}
    jac = sphere.jacobian(**star, tau_ross=tau, fields=("height", "density", "gas_pressure"))
    for j, (name, step) in enumerate((("teff", 1e-2), ("logg", 1e-5), ("m_h", 1e-5), ("alpha_m", 1e-5),
                                      ("vturb", 1e-5), ("mass", 1e-5))):  # fmt: skip
        ends = [sphere.predict(**(star | {name: star[name] + s}), tau_ross=tau) for s in (-step, step)]
        for field in jac:
            low, high = (getattr(e, field) for e in ends)
            np.testing.assert_allclose(jac[field][:, j], (high - low) / (2 * step), rtol=1e-5,
                                       atol=1e-7 * np.abs(jac[field]).max())  # fmt: skip

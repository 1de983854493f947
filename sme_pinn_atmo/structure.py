"""ModelAtmosphere: the depth profiles of one or many stars, with units and derived quantities.

In: arrays (..., n_depth) in cgs and K, outermost layer first. Out: the same,
density [g cm-3], height [cm], and tables with units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import physics
from .composition import mean_atomic_mass

__all__ = ["PROFILES", "ModelAtmosphere"]

#: Every profile that an atmosphere holds or derives, with its unit.
PROFILES = {
    "tau_ross": "",
    "rhox": "g cm-2",
    "temperature": "K",
    "gas_pressure": "dyn cm-2",
    "electron_density": "cm-3",
    "opacity": "cm2 g-1",
    "radiative_acceleration": "cm s-2",
    "density": "g cm-3",
    "atom_density": "cm-3",
    "height": "cm",
}

#: Those that it holds.
_HELD = tuple(PROFILES)[:7]


@dataclass(frozen=True)
class ModelAtmosphere:
    """LTE structure of plane-parallel or spherical layers; every profile is (..., n_depth), outermost layer first.

    Attributes
    ----------
    labels : label name -> value, each (...,): teff [K], logg [dex, cgs], m_h, alpha_m [dex], vturb [km/s], and where
        the model has it mass [Msun]
    tau_ross : Rosseland optical depth
    rhox : column mass [g cm-2]
    temperature : [K]
    gas_pressure : [dyn cm-2]
    electron_density : [cm-3]
    opacity : Rosseland mean, per gram [cm2 g-1] (ABROSS of ATLAS)
    radiative_acceleration : [cm s-2] (ACCRAD of ATLAS)
    solar_scale : the abundances that m_h and alpha_m refer to, a key of `composition.SOLAR_SCALES`
    source : where the structure comes from (a model name, a file)
    radius : (...,) radius [cm] where tau_ross = 1; infinite for plane-parallel layers
    given : profiles that the source gives and that are otherwise derived: density, height
    """

    labels: Mapping[str, Any]
    tau_ross: NDArray[np.float64]
    rhox: NDArray[np.float64]
    temperature: NDArray[np.float64]
    gas_pressure: NDArray[np.float64]
    electron_density: NDArray[np.float64]
    opacity: NDArray[np.float64]
    radiative_acceleration: NDArray[np.float64]
    solar_scale: str = "asplund2009"
    source: str = field(default="", compare=False)
    radius: Any = np.inf
    given: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = np.shape(self.temperature)
        for name, value in (*((n, getattr(self, n)) for n in _HELD), *self.given.items()):
            if np.shape(value) != shape:
                raise ValueError(f"{name} has shape {np.shape(value)}, temperature has {shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels; () for one star."""
        return self.temperature.shape[:-1]

    @property
    def n_depth(self) -> int:
        """Number of layers."""
        return int(self.temperature.shape[-1])

    @property
    def atom_density(self) -> NDArray[np.float64]:
        """Number density of atoms, molecules and ions, electrons left out [cm-3]: P/kT - n_e."""
        return physics.atom_density(self.temperature, self.gas_pressure, self.electron_density)

    @property
    def density(self) -> NDArray[np.float64]:
        """Mass density [g cm-3]; where the source does not give it, mean atomic mass times `atom_density` (exact where
        molecules are few)."""
        if "density" in self.given:
            return self.given["density"]
        mass = mean_atomic_mass(
            self.labels.get("m_h", 0.0), self.labels.get("alpha_m", 0.0), self.solar_scale
        )
        return np.asarray(mass)[..., None] * self.atom_density

    @property
    def height(self) -> NDArray[np.float64]:
        """Height above tau_ross = 1 [cm], decreasing inwards; NaN where the depths do not reach tau_ross = 1.

        Where the source does not give it, the integral of -dm / rho through the cubic spline in ln tau.
        """
        if "height" in self.given:
            return self.given["height"]
        tau = self.tau_ross.reshape(-1, self.n_depth)[0]
        if not tau[0] <= 1.0 <= tau[-1] or self.n_depth < 4 or np.any(self.tau_ross != tau):
            return np.full(np.shape(self.temperature), np.nan)
        return physics.height(tau, self.opacity, self.density, _above(np.log(tau).tobytes()))

    @property
    def geometry(self) -> Any:
        """"sphere" or "plane"; an array of them (...,) for a batch."""
        kind = np.where(np.isfinite(self.radius), "sphere", "plane")
        return np.broadcast_to(kind, self.shape) if self.shape else str(kind)

    @property
    def gravity(self) -> NDArray[np.float64]:
        """Surface gravity [cm s-2], with a trailing axis for the depth."""
        return 10.0 ** np.asarray(self.labels["logg"], dtype=float)[..., None]

    def hydrostatic_residual(self) -> NDArray[np.float64]:
        """|(dP/dm + a)/g - 1| between neighbouring layers, (..., n_depth - 1), with the gravity there in a sphere."""
        curved = np.isfinite(self.radius).any()
        return physics.hydrostatic_residual(
            self.rhox, self.gas_pressure, self.radiative_acceleration, self.gravity[..., 0],
            self.height / np.asarray(self.radius)[..., None] if curved else None,
        )  # fmt: skip

    def profile(self, name: str) -> NDArray[np.float64]:
        """A profile by its name in `PROFILES`."""
        if name not in PROFILES:
            raise ValueError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
        return np.asarray(getattr(self, name))

    def __getitem__(self, index: Any) -> ModelAtmosphere:
        """The atmospheres at an index of a batch."""
        if not self.shape:
            raise IndexError("this is a single atmosphere; only a batch can be indexed")
        rows = {name: getattr(self, name)[index] for name in _HELD}
        labels = {k: np.broadcast_to(np.asarray(v), self.shape)[index] for k, v in self.labels.items()}
        return ModelAtmosphere(
            labels, **rows, solar_scale=self.solar_scale, source=self.source,
            radius=np.broadcast_to(self.radius, self.shape)[index], given={k: v[index] for k, v in self.given.items()},
        )  # fmt: skip

    def to_table(self) -> Any:
        """One atmosphere as an `astropy.table.QTable`, a column for each profile."""
        from astropy import units
        from astropy.table import QTable

        if self.shape:
            raise ValueError(f"to_table takes one atmosphere, this is a batch of shape {self.shape}")
        columns = {name: self.profile(name) * units.Unit(unit) for name, unit in PROFILES.items()}
        meta: dict[str, Any] = {k: float(v) for k, v in self.labels.items()}
        if np.isfinite(self.radius):
            meta["radius"] = float(self.radius)
        return QTable(columns, meta={**meta, "solar_scale": self.solar_scale, "source": self.source})

    def plot(self, axes: Any = None) -> Any:
        """Temperature, pressure, opacity and electron fraction against log tau; returns the figure."""
        import matplotlib.pyplot as plt

        if axes is None:
            _, axes = plt.subplots(2, 2, figsize=(8, 6), sharex=True, layout="constrained")
        log_tau = np.log10(self.tau_ross)
        shown = {
            "T [K]": self.temperature,
            "P gas [dyn cm$^{-2}$]": self.gas_pressure,
            r"$\kappa_{\rm Ross}$ [cm$^2$ g$^{-1}$]": self.opacity,
            r"$n_e$ [cm$^{-3}$]": self.electron_density,
        }
        for ax, (label, y) in zip(np.ravel(axes), shown.items(), strict=True):
            ax.plot(log_tau.reshape(-1, self.n_depth).T, y.reshape(-1, self.n_depth).T)
            ax.set_ylabel(label)
            if not label.startswith("T"):
                ax.set_yscale("log")
        for ax in np.ravel(axes)[2:]:
            ax.set_xlabel(r"$\log_{10}\,\tau_{\rm Ross}$")
        return np.ravel(axes)[0].figure

    def __repr__(self) -> str:
        stars = "1 star" if not self.shape else f"{'x'.join(map(str, self.shape))} stars"
        values = ", ".join(
            f"{k}={float(v):g}" if np.ndim(v) == 0 else f"{k}={np.min(v):g}..{np.max(v):g}"
            for k, v in self.labels.items()
        )
        log_tau = np.log10(self.tau_ross)
        return (
            f"<ModelAtmosphere {self.source or 'of unknown source'}: {stars}, {self.n_depth} layers, "
            f"log tau {log_tau.min():.3f}..{log_tau.max():.3f}; {values}>"
        )


@lru_cache(maxsize=8)
def _above(ln_tau: bytes) -> NDArray[np.float64]:
    """`physics.from_unit_depth` of depths, nearly always those of a model: it takes longer than a prediction."""
    depths = np.frombuffer(ln_tau)
    matrix = physics.from_unit_depth(depths, physics.integration_matrix(depths))
    matrix.setflags(write=False)
    return matrix

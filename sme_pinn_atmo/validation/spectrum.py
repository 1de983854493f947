"""Synthetic spectra from fixed atmospheres in PySME, and what makes them comparable with an observed atlas."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares

from ..composition import ALPHA_ELEMENTS, mean_atomic_mass
from ..files import write_atomically
from ..grids import COLUMNS, Structures
from ..physics import BOLTZMANN
from ..sources import DataMissingError
from ..structure import ModelAtmosphere

__all__ = ["Atlas", "Fit", "Layers", "fit_to_atlas", "fitted", "layers_of",
           "read_atlas", "read_lines", "read_nso_atlas", "synthesise", "synthesise_windows"]  # fmt: skip

Array = NDArray[np.float64]

#: Step of synthetic spectra [A]: four points a thermal width of iron in the Sun.
STEP = 0.01

#: How well PySME's own wavelengths must give the flux between them, `sme.accwi`. With its default, 0.003, the core of a
#: strong line (Mg I 5528) came out 7 % of the continuum wrong for one atmosphere and right for another.
ACCURACY = 0.001

#: Lines up to this far outside a window [A] are kept; further ones only if they are strong.
_MARGIN = 8.0

#: A step of an atlas [A] that is none: between its segments something is missing.
_GAP = 1.0

#: Points of an atlas below which a window, whose fit has four parameters, says nothing.
_FEWEST = 20

_C = constants.c / 1e3  # km/s


@dataclass(frozen=True)
class Layers:
    """An atmosphere as a synthesis code takes it, outermost layer first, all (n_depth,).

    rhox [g cm-2], tau_ross, temperature [K], electron_density, atom_density [cm-3], density [g cm-3]; of a sphere the
    radius [cm] where tau_ross = 1, and the height [cm] above it
    """

    teff: float
    logg: float
    m_h: float
    rhox: Array
    tau_ross: Array
    temperature: Array
    electron_density: Array
    atom_density: Array
    density: Array
    radius: Any = np.inf
    height: Array | None = None

    @property
    def columns(self) -> tuple[Any, ...]:
        """All that a spectrum depends on."""
        plane = (self.teff, self.logg, self.m_h, self.rhox, self.tau_ross, self.temperature, self.electron_density,
                 self.atom_density, self.density)  # fmt: skip
        return (*plane, self.radius, self.height) if np.isfinite(self.radius) else plane


def layers_of(source: ModelAtmosphere | Structures, row: int = 0, solar_scale: str = "asplund2009") -> Layers:
    """Layers of one star of an emulator's prediction or of a set of computed structures."""
    if isinstance(source, ModelAtmosphere):
        get = {k: float(v) for k, v in source.labels.items()}
        return Layers(
            get["teff"], get["logg"], get["m_h"], source.rhox, source.tau_ross, source.temperature,
            source.electron_density, source.atom_density, source.density,
            *((float(source.radius), source.height) if source.geometry == "sphere" else ()),
        )  # fmt: skip
    n = int(source.n_depth[row])
    p = {c: source.profiles[row, :n, j] for j, c in enumerate(COLUMNS)}
    atoms = p["P"] / (BOLTZMANN * p["T"]) - p["XNE"]
    get = {k: float(v[row]) for k, v in source.labels.items()}
    sphere = "geometry" in source.extra and source.extra["geometry"][row] == "s"
    mass = float(mean_atomic_mass(get["m_h"], get.get("alpha_m", 0.0), solar_scale))
    return Layers(
        get["teff"], get["logg"], get["m_h"], p["RHOX"], 10.0 ** source.log_tau_ross[row, :n], p["T"], p["XNE"],
        atoms, source.more["density"][row, :n] if sphere else atoms * mass,
        *((float(source.extra["radius"][row]), -source.more["depth_cm"][row, :n]) if sphere else ()),
    )  # fmt: skip


def read_lines(path: Path) -> Any:
    """A VALD short-format line list as PySME reads it."""
    from pysme.linelist.vald import ValdFile

    try:
        return ValdFile(str(path))
    except Exception as error:  # PySME raises many kinds for a malformed file
        raise ValueError(f"{path} is not a VALD line list that PySME reads: {type(error).__name__}: {error}") from None


def synthesise(
    layers: Layers, lines: Any, window: tuple[float, float], *, vmic: float, pattern: str = "asplund2009",
    cache: Path | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Wavelengths in air [A] and continuum-normalised flux of PySME in a window, without any broadening.

    The line list is cut to the window and 8 A around it, but for lines stronger than 70 % of the continuum in
    the Sun, which are kept within 60 A. With `cache`, a folder, the spectrum is kept there under a name made
    from all that it depends on.
    """
    import pysme

    used = lines[_near(lines, window)]
    wave = grid(window)
    columns = (used[c] for c in ("wlcent", "gflog", "excit", "gamrad", "gamqst", "gamvw"))
    depends_on = (*layers.columns, *columns, wave, vmic)
    text = f"{pysme.__version__} {ACCURACY} {pattern} {' '.join(map(str, used['species']))}"
    flux = kept_flux(
        cache, depends_on, text, wave, "PySME", lambda: _pysme_flux(layers, used, [wave], vmic, pattern, 0.0)[0]
    )
    return wave, flux


def kept_flux(
    cache: Path | None, numbers: Sequence[Any], text: str, wave: Array, code: str, make: Callable[[], Array]
) -> Array:
    """What `make` gives on the wavelengths `wave` [A], or what an earlier call of equal arguments has left in `cache`.

    numbers, text : all that the flux depends on, for the name of the file; code : who makes it, for the error

    Raises FloatingPointError for a flux that is not finite.
    """
    key = hashlib.sha256()
    for value in numbers:
        key.update(np.ascontiguousarray(np.asarray(value, dtype=float)).tobytes())
    key.update(text.encode())
    kept = None if cache is None else cache / f"{key.hexdigest()[:24]}.npy"
    if kept is not None and kept.is_file():
        with contextlib.suppress(OSError, ValueError, EOFError):  # a damaged file is made anew
            flux = np.load(kept)
            if flux.shape == wave.shape:
                return np.asarray(flux)
    flux = _finite(make(), wave, code)
    if kept is not None:
        buffer = io.BytesIO()
        np.save(buffer, flux)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, buffer.getvalue())
    return flux


def _finite(flux: Array, wave: Array, code: str) -> Array:
    if not np.isfinite(flux).all():
        raise FloatingPointError(f"{code} gave a flux that is not finite between {wave[0]:g} and {wave[-1]:g} A")
    return flux


def synthesise_windows(
    layers: Layers, lines: Any, windows: Sequence[tuple[float, float]], *, vmic: float, alpha_m: float = 0.0,
    pattern: str = "asplund2009",
) -> list[tuple[Array, Array]]:  # fmt: skip
    """As `synthesise`, for several windows in one call: the equation of state is solved once for all of them.

    `alpha_m` [dex] is added to the abundances of the alpha elements.
    """
    near = np.logical_or.reduce([_near(lines, w) for w in windows])
    waves = [grid(w) for w in windows]
    fluxes = _pysme_flux(layers, lines[near], waves, vmic, pattern, alpha_m)
    return [(wave, _finite(flux, wave, "PySME")) for wave, flux in zip(waves, fluxes, strict=True)]


def grid(window: tuple[float, float]) -> Array:
    """Wavelengths of synthetic spectra of a window [A]."""
    return np.arange(window[0], window[1] + STEP / 2, STEP)


def _near(lines: Any, window: tuple[float, float]) -> NDArray[np.bool_]:
    """Lines that a window needs."""
    low, high = window
    centre = np.asarray(lines["wlcent"], dtype=float)
    near = (centre > low - _MARGIN) & (centre < high + _MARGIN)
    if "depth" in lines.columns:
        near |= (np.asarray(lines["depth"], dtype=float) > 0.7) & (centre > low - 60) & (centre < high + 60)
    return np.asarray(near)


def _pysme_flux(
    layers: Layers, used: Any, waves: Sequence[Array], vmic: float, pattern: str, alpha_m: float
) -> list[Array]:
    """Flux of PySME on each of the grids of wavelengths."""
    from pysme.abund import Abund
    from pysme.atmosphere.atmosphere import Atmosphere
    from pysme.sme import SME_Structure
    from pysme.synthesize import synthesize_spectrum

    sme = SME_Structure()
    sme.teff, sme.logg, sme.monh, sme.vmic = layers.teff, layers.logg, layers.m_h, vmic
    sme.vmac = sme.vsini = 0.0
    sme.ipres = 0
    sme.accwi = ACCURACY
    sme.abund = Abund(monh=layers.m_h, pattern=pattern)
    if alpha_m:
        # The pattern is free of monh, which PySME adds; sme.abund[element] is not.
        solar = sme.abund.get_pattern("H=12")
        sme.abund.update_pattern({element: solar[element] + alpha_m for element in ALPHA_ELEMENTS})
    sme.linelist = used
    sme.wave = list(waves)
    sme.vrad_flag = sme.cscale_flag = "none"
    sphere = bool(np.isfinite(layers.radius))
    sme.atmo = Atmosphere(
        teff=layers.teff, logg=layers.logg, vturb=vmic, lonh=0.0, method="embedded", source="",
        geom="SPH" if sphere else "PP", radius=layers.radius if sphere else 1.0, height=layers.height,
        wlstd=5000.0, opflag=[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0], depth="RHOX",
        interp="TAU", rhox=layers.rhox, tau=layers.tau_ross, temp=layers.temperature, rho=layers.density,
        xna=layers.atom_density, xne=layers.electron_density, monh=layers.m_h,
        abund=sme.abund.get_pattern("H=12"), abund_format="H=12",
    )  # fmt: skip
    return [np.asarray(flux, dtype=float) for flux in synthesize_spectrum(sme).synth]


@dataclass(frozen=True)
class Atlas:
    """An observed, continuum-normalised spectrum: wavelengths in air [A] and flux."""

    wave: Array
    flux: Array
    name: str

    def window(self, low: float, high: float, mask: Mapping[str, tuple[float, float]]) -> tuple[Array, Array]:
        """Wavelengths and flux between low and high, without the masked ranges."""
        if not low < high:
            raise ValueError(f"window {low:g}-{high:g} A is empty: the first wavelength must be below the second")
        if low < self.wave[0] or high > self.wave[-1]:
            raise ValueError(
                f"window {low:g}-{high:g} A leaves the atlas {self.name} ({self.wave[0]:.1f}-{self.wave[-1]:.1f} A)"
            )
        keep = (self.wave >= low) & (self.wave <= high)
        gaps = self.wave[keep][:-1][np.diff(self.wave[keep]) > _GAP]
        if len(gaps):
            raise ValueError(f"window {low:g}-{high:g} A: the atlas {self.name} has a gap at {gaps[0]:.1f} A")
        for start, end in mask.values():
            keep &= (self.wave < start) | (self.wave > end)
        if keep.sum() < _FEWEST:
            raise ValueError(f"window {low:g}-{high:g} A: the masks leave {keep.sum()} points of the atlas {self.name}")
        return self.wave[keep], self.flux[keep]


def read_atlas(path: Path) -> Atlas:
    """An atlas from an `.npz` file with `wave_air` [A], `flux` and `flux_scale`, or from text with two columns."""
    if path.suffix != ".npz":
        try:
            wave, flux = np.loadtxt(path, usecols=(0, 1), unpack=True, ndmin=2)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not an atlas with wavelengths in air and flux as columns: {error}") from None
        return _checked_atlas(path, wave, flux)
    try:
        with np.load(path, allow_pickle=False) as file:
            flux = file["flux"].astype(float) * float(file["flux_scale"])
            wave = file["wave_air"].astype(float)
    except (KeyError, OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not an atlas with wave_air, flux and flux_scale: {error}") from None
    return _checked_atlas(path, wave, flux)


def read_nso_atlas() -> Atlas:
    """PySME's own copy of the same FTS atlas (`pysme.nso`), which PySME downloads once; raises `DataMissingError`."""
    from pysme.nso import load_solar_spectrum

    from ..spectra import quiet_pysme

    try:
        with quiet_pysme():
            wave, flux = load_solar_spectrum()
    except Exception as error:  # PySME's own, requests' or the file system's: all mean that it is not there
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataMissingError(f"PySME cannot give its NSO atlas: {reason}") from None
    # Neighbouring segments may share points, and wavelengths come in single precision.
    wave, first = np.unique(np.asarray(wave, dtype=float), return_index=True)
    return _checked_atlas(Path("nso"), wave, np.asarray(flux, dtype=float)[first])


def _checked_atlas(path: Path, wave: Array, flux: Array) -> Atlas:
    if wave.ndim != 1 or wave.shape != flux.shape or not len(wave):
        raise ValueError(f"{path}: wave_air {wave.shape} and flux {flux.shape} are not two columns of equal length")
    if not (np.isfinite(wave).all() and np.isfinite(flux).all() and (np.diff(wave) > 0).all()):
        raise ValueError(f"{path}: wavelengths must increase, and wavelengths and flux be finite")
    return Atlas(wave, flux, path.stem)


@dataclass(frozen=True)
class Fit:
    """Velocity [km/s], Gaussian broadening [km/s], continuum level and slope over the window, and the fitted flux."""

    velocity: float
    broadening: float
    level: float
    slope: float
    flux: Array

    def continuum(self, wave: Array, observed_wave: Array) -> Array:
        """Fitted continuum at wavelengths of the atlas; `wave` is the grid of the synthetic spectrum."""
        middle, half = 0.5 * (wave[0] + wave[-1]), 0.5 * (wave[-1] - wave[0])
        return np.asarray(self.level + self.slope * (observed_wave - middle) / half)


def fit_to_atlas(wave: Array, flux: Array, observed_wave: Array, observed: Array) -> Fit:
    """Least squares of one velocity, one Gaussian broadening and one linear continuum on a window of the atlas."""

    def model(p: Array) -> Array:
        return fitted(Fit(p[0], p[1], p[2], p[3], np.empty(0)), wave, flux, observed_wave)

    start = np.array([0.4, 2.0, 1.0, 0.0])
    bounds = ([-5, 0.3, 0.8, -0.2], [5, 8, 1.2, 0.2])
    result = least_squares(lambda p: model(p) - observed, start, bounds=bounds, x_scale=[0.1, 0.3, 0.01, 0.01])
    velocity, broadening, level, slope = map(float, result.x)
    return Fit(velocity, broadening, level, slope, model(result.x))


def fitted(fit: Fit, wave: Array, flux: Array, observed_wave: Array) -> Array:
    """A synthetic spectrum with the velocity, broadening and continuum of a fit, at any wavelengths of the atlas."""
    shifted = np.interp(observed_wave / (1 + fit.velocity / _C), wave, broaden(wave, flux, fit.broadening))
    return np.asarray(shifted * fit.continuum(wave, observed_wave))


def broaden(wave: Array, flux: Array, sigma: float) -> Array:
    """Convolution with a Gaussian of sigma [km/s] on an even grid of wavelengths."""
    step = (wave[1] - wave[0]) / wave[len(wave) // 2] * _C
    return np.asarray(gaussian_filter1d(flux, sigma / step, mode="nearest"))

"""Spectra of a star in windows: PySME's opacities and transfer, on a network's or a grid's atmospheres.

Everything is done on one even grid of velocities a window, so that instrument, rotation and macroturbulence are
products in Fourier space (`instrument`) and differences of two spectra are free of the noise of adaptive grids. Lines
too weak to be worth PySME's time are added as what they are in the limit of weak lines, all at once; see
`Synthesis.select`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants
from scipy.special import expn

from ..composition import ALPHA_ELEMENTS
from ..quiet import quiet_pysme

__all__ = [
    "SHIFTS", "Intensities", "LineChange", "Selection", "Synthesis", "atmosphere_source", "lines_near", "pool",
    "solar_pattern", "star_structure",
]  # fmt: skip

Array = NDArray[np.float64]

_C = constants.c / 1e3  # km/s
_K, _H = constants.k * 1e7, constants.h * 1e7  # erg K-1, erg s
#: pi e^2 / (m_e c) in cgs [cm2 s-1].
_CROSS = constants.pi * (constants.e * constants.c * 10) ** 2 / (constants.m_e * 1e3 * constants.c * 100)

#: Where PySME's library has the data of a line, by column of its lists.
_ATOMIC = {"wlcent": 2, "gflog": 4, "gamvw": 7}

#: Wavelengths of the transfer go so far beyond a window [km/s]: broadening and velocity move flux across its ends.
_BEYOND = 45.0

#: Lines from levels above this [eV] form deep, where the layers are too coarse for the estimate of their depth.
_HIGH = 6.0

#: Parts of an atmosphere's error bar, taken to be independent; "above" and "below" are of tau_Ross = 0.1.
SHIFTS = ("temperature above", "temperature below", "pressure", "electrons")

#: Lines so far outside the transfer's wavelengths [A] are kept, strong ones to ten times that.
_MARGIN = 2.0


@dataclass(frozen=True)
class Intensities:
    """Specific intensities of a window.

    wave : (n,) wavelengths in air [A], even in ln lambda
    step : of the grid [km/s]
    mu : (n_mu,) cosines of the angle to the normal
    line, continuum : (n_mu, n) intensities with and without lines, in PySME's units
    veil : (n,) what weak lines leave of the flux, near 1
    """

    wave: Array
    step: float
    mu: Array
    line: Array
    continuum: Array
    veil: Array


@dataclass(frozen=True)
class Selection:
    """Which lines a star needs.

    strong : (n_line,) lines that PySME treats
    weak : (n_line,) lines that the veil is made of; all others are left out
    veils : by window, depths of weak lines and Gaussian sigma [km/s] as arrays: centre, depth, sigma
    depth : (n_line,) central depth in the limit of weak lines, which is too large for strong ones
    left_out : largest sum of depths of what is left out, in any 0.1 A
    parameters : of the star that the selection was made for
    """

    strong: NDArray[np.bool_]
    weak: NDArray[np.bool_]
    veils: tuple[tuple[Array, Array, Array], ...]
    depth: Array
    left_out: float
    parameters: Mapping[str, float]


@dataclass(frozen=True)
class LineChange:
    """New data of some lines.

    lines : (n,) numbers of lines among those that a synthesis uses (`Synthesis.chosen`)
    column : "gflog", "gamvw" or "wlcent" of PySME's lists; values : (n,) what it becomes
    """

    lines: NDArray[np.int64]
    column: str
    values: Array


def atmosphere_source(model: Any, geometry: str | None = None, mass: float | None = None) -> Any:
    """What PySME takes as `sme.atmo.source`: of a model's name or path, an `AtmosphereGrid`, or a grid file of PySME's.

    A network comes as `PinnAtmosphereGrid`, which says what `geometry` and `mass` are; a path to .sav or .npz is read
    as a grid that PySME interpolates in.

    Raises ValueError for a geometry or a mass of what is no model's name.
    """
    if isinstance(model, str) and not model.endswith((".sav", ".npz")):
        from ..codes.pysme import PinnAtmosphereGrid

        return PinnAtmosphereGrid(model, geometry=geometry, mass=mass)
    if geometry is not None or mass is not None:
        raise ValueError(f"geometry and mass are of models by name, not of {model}")
    return _grid(model) if isinstance(model, str) else model


@lru_cache(maxsize=4)
def _grid(path: str) -> Any:
    from pysme.atmosphere.atmosphere import AtmosphereGrid

    return AtmosphereGrid.load(path)


@lru_cache(maxsize=8)
def solar_pattern(name: str) -> dict[str, float]:
    """PySME's solar abundances by that name, log10 number with H = 12."""
    from pysme.abund import Abund

    return {el: float(v) for el, v in Abund(monh=0.0, pattern=name).get_pattern("H=12").items()}


def star_structure(
    source: Any, lines: Any, parameters: Mapping[str, float], *, pattern: str = "asplund2009"
) -> Any:
    """An `SME_Structure` of a star, without wavelengths.

    Parameters
    ----------
    source : as of `atmosphere_source`
    lines : a PySME `LineList`
    parameters : teff [K], logg, and monh, alpha [dex], vmic [km/s], and [X/Fe] [dex] by element, which for an alpha
        element takes the place of alpha
    pattern : PySME's solar abundances
    """
    from pysme.abund import Abund
    from pysme.sme import SME_Structure

    sme = SME_Structure()
    monh, alpha = parameters.get("monh", 0.0), parameters.get("alpha", 0.0)
    sme.teff, sme.logg, sme.monh = float(parameters["teff"]), float(parameters["logg"]), float(monh)
    sme.vmic = float(parameters.get("vmic", 1.0))
    sme.vmac = sme.vsini = 0.0
    sme.abund = Abund(monh=monh, pattern=pattern)
    # The pattern is free of monh, which PySME adds; sme.abund[element] is not.
    solar = sme.abund.get_pattern()
    excess = dict.fromkeys(ALPHA_ELEMENTS, alpha) | {n: v for n, v in parameters.items() if n in solar}
    sme.abund.update_pattern({element: solar[element] + value for element, value in excess.items()})
    sme.linelist = lines
    sme.vrad_flag = sme.cscale_flag = "none"
    sme.atmo.source, sme.atmo.method, sme.atmo.geom = source, "grid", "PP"
    return sme


class Synthesis:
    """Windows of stars that share a line list and a kind of atmosphere.

    Parameters
    ----------
    model : name of a model, an `AtmosphereGrid`, or a grid file; see `atmosphere_source`
    lines : a PySME `LineList`, wavelengths in air
    windows : (low, high) [A] of each window
    step : of the velocity grid [km/s]; lines have a standard deviation of about 1 km/s, and 1.5 serves R below 40,000
    threshold : depth below which a line goes into the veil, and total depth in 0.1 A that may be left out
    pattern : see `star_structure`; geometry, mass : see `atmosphere_source`
    all_lines : take all lines that are given; else those that matter in the windows, see `lines_near`

    Raises ValueError for a window in which the list has no line.
    """

    def __init__(
        self, model: Any, lines: Any, windows: Sequence[tuple[float, float]], *, step: float = 1.0,
        threshold: tuple[float, float] = (1.5e-3, 2e-5), pattern: str = "asplund2009",
        geometry: str | None = None, mass: float | None = None, all_lines: bool = False,
    ) -> None:  # fmt: skip
        self.windows = tuple((float(low), float(high)) for low, high in windows)
        self.step, self.threshold, self.pattern = float(step), threshold, pattern
        with quiet_pysme():
            self.source = atmosphere_source(model, geometry, mass)
        centre = np.asarray(lines["wlcent"], dtype=float)
        for low, high in self.windows:
            if not ((centre > low) & (centre < high)).any():
                raise ValueError(f"the line list has no line between {low:g} and {high:g} A")
        self.lines = lines if all_lines else lines[lines_near(lines, self.windows)]
        self.waves = tuple(_velocity_grid(low, high, self.step) for low, high in self.windows)
        self.selection: Selection | None = None
        self.chosen = self.lines

    def use(self, selection: Selection | None) -> None:
        """Synthesise with these lines from now on; None takes all of the list, without a veil."""
        self.selection = selection
        self.chosen = self.lines if selection is None else self.lines[selection.strong]

    def select(self, parameters: Mapping[str, float]) -> Selection:
        """Sort the lines for a star: into those that PySME treats, those in the veil, and those left out.

        The depth of every line is taken from the limit of weak lines, d = 2 pi / F int eta g dtau with the weighting
        function g = int_tau B' E_2 (Unsoeld, Physik der Sternatmosphaeren; Gray 2005, ch. 13) on PySME's densities and
        continuous opacities, which overestimates that of strong lines. Depths below `threshold[0]` make the veil,
        Gaussians of the thermal width and vmic.
        """
        from pysme.sme_synth import smelib_session
        from pysme.synthesize import Synthesizer

        species = np.asarray(self.lines["species"], dtype=str)
        names, first = np.unique(species, return_index=True)
        probe = self.lines[np.sort(first)]
        with quiet_pysme(), smelib_session():
            synthesizer = Synthesizer()
            dll = synthesizer.get_dll()
            sme = self._structure(parameters, probe)
            _input(synthesizer, dll, sme)
            dll.InputWaveRange(self.windows[0][0], self.windows[0][1])
            dll.Opacity()
            number = {name: _fraction(dll, name) for name in names}
            kappa = [np.asarray(dll.GetContinuumOpacityComponents(0.5 * (a + b))[2]) for a, b in self.windows]
            atmosphere = sme.atmo
        return self._sorted(species, number, kappa, atmosphere, parameters)

    def _sorted(
        self, species: NDArray[Any], number: Mapping[str, Array | None], kappa: Sequence[Array], atmosphere: Any,
        parameters: Mapping[str, float],
    ) -> Selection:  # fmt: skip
        centre, gf, excitation = (np.asarray(self.lines[c], dtype=float) for c in ("wlcent", "gflog", "excit"))
        vmic = float(parameters.get("vmic", 1.0))
        strong = np.zeros(len(centre), dtype=bool)
        weak = strong.copy()
        veils, left_out, depths = [], 0.0, np.zeros(len(centre))
        for (low, high), opacity, wave in zip(self.windows, kappa, self.waves, strict=True):
            here = (centre > low - 10 * _MARGIN) & (centre < high + 10 * _MARGIN)
            depth = np.zeros(here.sum())
            width = np.full(here.sum(), 1.0)
            weights = _weights(atmosphere, opacity, 0.5 * (low + high))
            for name in np.unique(species[here]):
                of = species[here] == name
                fraction = number[name]
                if fraction is None or name == "H 1":  # PySME's own affair
                    depth[of] = 1.0
                    continue
                depth[of], width[of] = _weak_depths(
                    weights, fraction, opacity, atmosphere, centre[here][of], gf[here][of], excitation[here][of],
                    _mass(name), vmic,
                )  # fmt: skip
            inside = (centre[here] > wave[0]) & (centre[here] < wave[-1])
            limit = self.threshold[0] * np.where(excitation[here] > _HIGH, 0.2, 1.0)
            treat = (depth >= limit) & (inside | (np.abs(centre[here] - np.clip(centre[here], wave[0],
                                                                                            wave[-1])) < _MARGIN))
            treat |= ~inside & (depth > 5.0)  # whose wings reach in
            faint, out = _faint(centre[here], np.where(inside & ~treat, depth, 0.0), self.threshold[1])
            left_out = max(left_out, out)
            index = np.flatnonzero(here)
            strong[index[treat]] = True
            depths[index] = np.maximum(depths[index], depth)
            veil = inside & ~treat & ~faint
            weak[index[veil]] = True
            veils.append((centre[here][veil], depth[veil], width[veil]))
        if not strong.any() and len(strong):  # PySME does not go without a line
            strong[int(np.argmax(depths))] = True
        return Selection(strong, weak & ~strong, tuple(veils), depths, left_out, dict(parameters))

    def intensities(
        self, parameters: Mapping[str, float], only: Sequence[int] | None = None, shift: str | None = None,
        stronger: tuple[float, float] | None = None, *, atmosphere_of: Mapping[str, float] | None = None,
        own_veil: bool = False,
    ) -> list[Intensities]:  # fmt: skip
        """Specific intensities of the windows (those numbered in `only`), with one equation of state for all.

        shift : out of `SHIFTS`, to have the atmosphere one standard deviation of its own error bar off
        stronger : added to log gf of all lines but those of hydrogen, and of those [dex]
        atmosphere_of : parameters of the star whose atmosphere is taken; abundances and vmic stay those of `parameters`
        own_veil : make the veil's lines as deep as they are in this star, not in that of the selection

        Raises DomainError where the star lies outside the domain, FloatingPointError where PySME's flux is not finite.
        """
        from pysme.sme_synth import smelib_session
        from pysme.synthesize import Synthesizer

        found = []
        with quiet_pysme(), smelib_session():
            synthesizer = Synthesizer()
            dll = synthesizer.get_dll()
            chosen = self.chosen if stronger is None else _stronger(self.chosen, *stronger)
            sme = self._structure(parameters, chosen)
            other = None if atmosphere_of is None else self._structure(atmosphere_of, self.chosen)
            _input(synthesizer, dll, sme, self.source if shift else None, shift, other)
            for k, i in enumerate(range(len(self.windows)) if only is None else only):
                wave = self.waves[i]
                dll.InputWaveRange(wave[0] - 2.0, wave[-1] + 2.0)
                dll.Opacity()
                veil = self._own_veil(i, dll, sme) if own_veil else self._veil(i)
                # Opacities of lines do not depend on the window: the first call makes them for all. PySME's accwi is of
                # wavelengths that it chooses itself; on given ones it changes nothing.
                _, _, line, continuum = dll.Transf(sme.mu, wave=wave, accrt=1e-4, keep_lineop=k > 0)
                line, continuum = np.array(line, dtype=float), np.array(continuum, dtype=float)
                if not (np.isfinite(line).all() and np.isfinite(continuum).all()):
                    raise FloatingPointError(f"PySME gave a flux that is not finite near {wave[0]:g} A")
                found.append(Intensities(wave, self.step, np.array(sme.mu), line, continuum, veil))
        return found

    def variants(
        self, parameters: Mapping[str, float], window: int, changes: Sequence[LineChange]
    ) -> Iterator[Intensities]:
        """Intensities of one window with the lines in use, and after each of the changes of line data alone.

        One equation of state, which the data of lines do not enter, serves all: a change costs no more than opacity and
        transfer. Raises as `intensities`.
        """
        from pysme.sme_synth import smelib_session
        from pysme.synthesize import Synthesizer

        wave = self.waves[window]
        with quiet_pysme(), smelib_session():
            synthesizer = Synthesizer()
            dll = synthesizer.get_dll()
            sme = self._structure(parameters, self.chosen)
            _input(synthesizer, dll, sme)
            atomic, species = np.asarray(self.chosen.atomic, dtype=float), np.asarray(self.chosen.species)
            dll.InputWaveRange(wave[0] - 2.0, wave[-1] + 2.0)
            dll.Opacity()
            for change in (LineChange(np.zeros(0, dtype=int), "gflog", np.zeros(0)), *changes):
                if len(change.lines):
                    changed = atomic.copy()
                    changed[change.lines, _ATOMIC[change.column]] = change.values
                    dll.UpdateLineList(changed, species, change.lines)
                _, _, line, continuum = dll.Transf(sme.mu, wave=wave, accrt=1e-4, keep_lineop=False)
                line, continuum = np.array(line, dtype=float), np.array(continuum, dtype=float)
                if not (np.isfinite(line).all() and np.isfinite(continuum).all()):
                    raise FloatingPointError(f"PySME gave a flux that is not finite near {wave[0]:g} A")
                yield Intensities(wave, self.step, np.array(sme.mu), line, continuum, self._veil(window))
                if len(change.lines):
                    dll.UpdateLineList(atomic, species, change.lines)

    def depths(self) -> Array:
        """(n_line,) depths in the limit of weak lines of the lines in use, 1 where none were selected."""
        if self.selection is None:
            return np.ones(len(self.chosen))
        return self.selection.depth[self.selection.strong]

    def _structure(self, parameters: Mapping[str, float], lines: Any) -> Any:
        return star_structure(self.source, lines, parameters, pattern=self.pattern)

    def _veil(self, i: int) -> Array:
        if self.selection is None:
            return np.ones(len(self.waves[i]))
        return _veil(self.waves[i], self.step, *self.selection.veils[i])

    def _own_veil(self, i: int, dll: Any, sme: Any) -> Array:
        """The veil of a window where its lines are as deep as the star in PySME's library makes them."""
        wave = self.waves[i]
        if self.selection is None:
            return np.ones(len(wave))
        centre = np.asarray(self.lines["wlcent"], dtype=float)
        weak = np.flatnonzero(self.selection.weak & (centre > wave[0]) & (centre < wave[-1]))
        if not len(weak):
            return np.ones(len(wave))
        lines = self.lines[weak]
        species = np.asarray(lines["species"], dtype=str)
        centre, gf, excitation = (np.asarray(lines[c], dtype=float) for c in ("wlcent", "gflog", "excit"))
        middle = 0.5 * sum(self.windows[i])
        opacity = np.asarray(dll.GetContinuumOpacityComponents(middle)[2])
        weights = _weights(sme.atmo, opacity, middle)
        depth, width = np.zeros(len(weak)), np.ones(len(weak))
        names, number = np.unique(species, return_inverse=True)
        for k, name in enumerate(names.tolist()):
            fraction, of = _fraction(dll, name), number == k
            if fraction is not None:
                depth[of], width[of] = _weak_depths(
                    weights, fraction, opacity, sme.atmo, centre[of], gf[of], excitation[of], _mass(name),
                    float(sme.vmic),
                )  # fmt: skip
        return _veil(wave, self.step, centre, depth, width)


# ---------------------------------------------------------------------- PySME's library


def _input(
    synthesizer: Any, dll: Any, sme: Any, source: Any = None, shift: str | None = None, other: Any = None
) -> None:
    """Lines, atmosphere (that of the star `other`, if there is one) and abundances into the library, and its equation
    of state."""
    dll.SetLibraryPath()
    dll.SetLineInfoMode(0)
    # From PySME 1.2 on. Flux changes by less than 4e-5 against a base of 1 A, and comes in two thirds of the time.
    if hasattr(dll, "SetContinuumOpacityGrid"):
        dll.SetContinuumOpacityGrid("adaptive", base_step=10.0, rtol=1e-3, min_step=1e-3)
    dll.InputLineList(sme.linelist)
    synthesizer.get_atmosphere(sme if other is None else other)
    if other is not None:
        sme.atmo = other.atmo
    if shift is not None:
        _shift(sme, source, shift)
    dll.InputModel(sme.teff, sme.logg, sme.vmic, sme.atmo)
    dll.InputAbund(sme.abund)
    dll.Ionization(0)
    dll.SetVWscale(sme.gam6)
    dll.SetH2broad(sme.h2broad)
    dll.ResetDepartureCoefficients()


def _shift(sme: Any, source: Any, which: str) -> None:
    """Move the atmosphere by one standard deviation of its error bar, all layers concerned the same way.

    Raises ValueError for a source without error bars.
    """
    from ..codes.pysme import star_labels

    if getattr(source, "emulator", None) is None or source.emulator.errors is None:
        raise ValueError("these atmospheres have no error bars")
    labels: dict[str, Any] = star_labels(sme, source)
    atmosphere, std = source.emulator.predict(**labels, geometry=source.options["geometry"], return_std=True)
    moved = ("temperature", "gas_pressure", "rhox", "electron_density")
    relative = {name: 1 + std[name] / getattr(atmosphere, name) for name in moved}
    atmo, outer = sme.atmo, atmosphere.tau_ross < 0.1
    if which in ("temperature above", "temperature below"):
        here = outer if which == "temperature above" else ~outer
        atmo.temp = np.where(here, relative["temperature"], 1.0) * atmo.temp
    elif which == "pressure":
        for field, by in (("rho", "gas_pressure"), ("xna", "gas_pressure"), ("rhox", "rhox")):
            setattr(atmo, field, getattr(atmo, field) * relative[by])
    elif which == "electrons":
        atmo.xne = atmo.xne * relative["electron_density"]
    else:
        raise ValueError(f"no part {which!r} of an atmosphere; there are {', '.join(SHIFTS)}")


def _fraction(dll: Any, species: str) -> Array | None:
    """Number density over partition function [cm-3] of a species such as "Fe 1" or "TiO 1"; 0 where PySME has none."""
    element, _, stage = species.partition(" ")
    try:
        found = np.asarray(dll.GetFraction(element + "+" * (int(stage) - 1), 2), dtype=float)
    except Exception:  # a species that PySME's equation of state does not know: its lines do nothing
        return np.zeros(1)
    return found if np.isfinite(found).all() else None


def lines_near(lines: Any, windows: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """(n_line,) which lines of a list matter in the windows (low, high) [A]."""
    centre = np.asarray(lines["wlcent"], dtype=float)
    reach = np.where(_far_wings(lines), 10 * _MARGIN, _MARGIN)
    near = np.zeros(len(centre), dtype=bool)
    for low, high in windows:
        near |= (centre > low * (1 - _BEYOND / _C) - reach) & (centre < high * (1 + _BEYOND / _C) + reach)
    return near
def _stronger(lines: Any, others: float, hydrogen: float) -> Any:
    """A copy of a list with so much [dex] added to log gf of lines of hydrogen, and of all others."""
    copy = lines[np.ones(len(lines), dtype=bool)]
    by = np.where(np.asarray(lines["species"], dtype=str) == "H 1", hydrogen, others)
    copy._lines = copy._lines.assign(gflog=copy._lines["gflog"] + by)
    return copy


def _far_wings(lines: Any) -> NDArray[np.bool_]:
    """Lines of hydrogen, and of log gf above 0 from levels below 4 eV."""
    species = np.asarray(lines["species"], dtype=str)
    gf, excitation = np.asarray(lines["gflog"], dtype=float), np.asarray(lines["excit"], dtype=float)
    return np.asarray((species == "H 1") | (gf - excitation > -3.0))


def _velocity_grid(low: float, high: float, step: float) -> Array:
    start, stop = np.log(low) - _BEYOND / _C, np.log(high) + _BEYOND / _C
    return np.asarray(np.exp(start + np.arange(int(np.ceil((stop - start) * _C / step)) + 1) * step / _C))


# ---------------------------------------------------------------------- lines in the limit of weakness


def _planck(wave: float, temperature: Array) -> Array:
    """Planck function at a wavelength [A], in any unit."""
    return np.asarray(1.0 / np.expm1(_H * constants.c * 100 / (wave * 1e-8 * _K * temperature)))


def _weights(atmosphere: Any, kappa: Array, wave: float) -> Array:
    """(n_depth,) weights w with depth = sum w alpha / kappa, alpha the opacity of a line per gram [cm2 g-1]."""
    rhox, temperature = np.asarray(atmosphere.rhox, dtype=float), np.asarray(atmosphere.temp, dtype=float)
    steps = np.diff(rhox) * 0.5 * (kappa[1:] + kappa[:-1])
    tau = kappa[0] * rhox[0] + np.concatenate([[0.0], np.cumsum(steps)])
    planck = _planck(wave, temperature)
    # int B' E_2 dt from each depth on; below the last layer nothing is seen.
    slope = np.diff(planck) * 0.5 * (expn(2, tau[1:]) + expn(2, tau[:-1]))
    weighting = np.concatenate([np.cumsum(slope[::-1])[::-1], [0.0]])
    flux = 0.5 * planck[0] + (np.diff(planck) * 0.5 * (expn(3, tau[1:]) + expn(3, tau[:-1]))).sum()
    width = np.gradient(tau)
    width[0] = 0.5 * (tau[1] - tau[0]) + tau[0]
    return np.asarray(weighting * width / flux)


def _weak_depths(
    weights: Array, fraction: Array, kappa: Array, atmosphere: Any, centre: Array, gf: Array, excitation: Array,
    mass: float, vmic: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Central depths and Gaussian sigma [km/s] of weak lines of one species, (n_line,) each."""
    temperature, density = np.asarray(atmosphere.temp, dtype=float), np.asarray(atmosphere.rho, dtype=float)
    doppler = np.sqrt(2 * constants.k * temperature / (mass * constants.atomic_mass) + (vmic * 1e3) ** 2) * 100  # cm/s
    factor = weights / kappa * fraction / density / doppler
    boltzmann = np.exp(-excitation[:, None] * constants.e / (constants.k * temperature))
    stimulated = 1 - np.exp(-_H * constants.c * 100 / (float(np.median(centre)) * 1e-8 * _K * temperature))
    strength = (boltzmann * (factor * stimulated)).sum(axis=1)
    depth = _CROSS / np.sqrt(np.pi) * 10.0**gf * centre * 1e-8 * strength
    mean = (boltzmann * (factor * stimulated * doppler)).sum(axis=1) / np.maximum(strength, 1e-300)
    return depth, np.where(strength > 0, mean / 1e5 / np.sqrt(2), 1.0)


def _faint(centre: Array, depth: Array, limit: float) -> tuple[NDArray[np.bool_], float]:
    """The weakest lines, as many as add up to no more than `limit` in any 0.1 A; and to how much they do."""
    order = np.argsort(depth)
    bins = np.floor(centre / 0.1).astype(int)
    bins -= bins.min(initial=0)
    total = np.zeros(bins.max(initial=0) + 1)
    summed = np.empty(len(depth))
    for b in np.unique(bins):
        inside = order[bins[order] == b]
        summed[inside] = np.cumsum(depth[inside])
    faint = summed <= limit
    np.maximum.at(total, bins[faint], summed[faint])
    return faint, float(total.max(initial=0.0))


def _veil(wave: Array, step: float, centre: Array, depth: Array, sigma: Array) -> Array:
    """1 less the sum of Gaussians (depth, sigma [km/s]) on an even grid of velocities."""
    sum_ = np.zeros(len(wave))
    at = (np.log(centre) - np.log(wave[0])) * _C / step
    half = int(np.ceil(5 * sigma.max(initial=1.0) / step))
    nearest = np.round(at).astype(int)
    for offset in range(-half, half + 1):
        x = nearest + offset
        ok = (x >= 0) & (x < len(wave))
        np.add.at(sum_, x[ok], depth[ok] * np.exp(-0.5 * ((x[ok] - at[ok]) * step / sigma[ok]) ** 2))
    return np.asarray(np.exp(-sum_))


def _mass(species: str) -> float:
    """Mass [u] of "Fe 1" or "TiO 1"."""
    from pysme.abund import elements

    mass = dict(zip(elements, _WEIGHTS, strict=False))
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", species.split()[0])
    return float(sum(mass.get(el, 220.0) * (int(n) if n else 1) for el, n in parts))


#: Atomic weights [u] of hydrogen to bismuth, to the accuracy that a thermal width needs.
_WEIGHTS = (
    1, 4, 7, 9, 11, 12, 14, 16, 19, 20, 23, 24, 27, 28, 31, 32, 35, 40, 39, 40, 45, 48, 51, 52, 55, 56, 59, 59, 64, 65,
    70, 73, 75, 79, 80, 84, 85, 88, 89, 91, 93, 96, 98, 101, 103, 106, 108, 112, 115, 119, 122, 128, 127, 131, 133,
    137, 139, 140, 141, 144, 145, 150, 152, 157, 159, 163, 165, 167, 169, 173, 175, 178, 181, 184, 186, 190, 192, 195,
    197, 201, 204, 207, 209,
)  # fmt: skip


# ---------------------------------------------------------------------- many at once

_SHARED: dict[str, tuple[Synthesis, ...]] = {}


def _work(job: tuple[str, tuple[Any, ...]]) -> list[Intensities]:
    key, (which, *arguments) = job
    synthesis: Synthesis = _SHARED[key][which]
    return synthesis.intensities(*arguments)


@contextmanager
def pool(syntheses: Sequence[Synthesis], processes: int) -> Iterator[Any]:
    """A function of jobs (number of the synthesis, arguments of its `intensities`...) that does them all, in order.

    With more than one process they are done in parallel by copies of this one (fork; where there is none, here).
    Selections of lines must be made and used before.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    if processes <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield lambda jobs: [syntheses[which].intensities(*arguments) for which, *arguments in jobs]
        return
    key = f"{id(syntheses)}"
    _SHARED[key] = tuple(syntheses)
    executor = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork"))
    try:
        yield lambda jobs: list(executor.map(_work, [(key, job) for job in jobs]))
    finally:
        executor.shutdown(cancel_futures=True)
        _SHARED.pop(key, None)

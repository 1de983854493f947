"""Korg (Julia) on the PINN, from Python through juliacall. Numerical work stays in Julia: no callbacks.

Julia starts at the first call that needs it; juliapkg installs Julia, Korg and this project's Julia package then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..composition import SOLAR_SCALES, misfit, warn_of_misfit
from ..emulator import Emulator
from ..emulator.labels import Domain, DomainError, as_planes
from .julia_export import export_julia

__all__ = ["KorgError", "Spectrum", "atmosphere", "fit_spectrum", "jacobian", "line_jacobian", "read_linelist",
           "synthesize", "synthesize_layers", "using_pinn", "version"]  # fmt: skip

Array = NDArray[np.float64]

#: Labels by the names that Korg and the Julia package give them.
_JULIA_NAMES = {"teff": "Teff", "logg": "logg", "m_h": "m_H", "alpha_m": "alpha_m", "vturb": "vturb",
                "mass": "mass"}  # fmt: skip

#: The Julia package.
_BRIDGE = Path(__file__).resolve().parents[1] / "julia_bridge"


class KorgError(RuntimeError):
    """Julia, Korg or the Julia package is not usable; says what to do."""


class Spectrum(tuple[Array, Array, Array]):
    """(wavelengths in vacuum [A], flux, continuum) as NumPy arrays, also by name."""

    __slots__ = ()

    @property
    def wavelengths(self) -> Array:
        return self[0]

    @property
    def flux(self) -> Array:
        return self[1]

    @property
    def continuum(self) -> Array:
        return self[2]


def atmosphere(*, model: str = "atlas12", geometry: str | None = None, **labels: float) -> Any:
    """A `Korg.PlanarAtmosphere` (a Julia object) at teff [K], logg, m_h, alpha_m [dex], vturb [km/s].

    Of a model that has a mass [Msun], a `Korg.ShellAtmosphere` where the star is a sphere: up to log g 3, or as
    geometry = "sphere" or "plane" asks.

    Raises
    ------
    DomainError, TypeError : before Julia is asked, for labels outside the domain or that are no numbers
    ValueError : another geometry, or a sphere of a model without a mass
    KorgError : Julia or Korg is not usable
    """
    values = _labels(model, labels, geometry)
    return _julia().SMEPinnAtmoPython._atmosphere(_exported(model), **values)


def synthesize(
    *, linelist: Any = None, wavelengths: Any, vmic: float | None = None, model: str = "atlas12",
    abundances: Mapping[str, float] | None = None, options: Mapping[str, Any] | None = None,
    geometry: str | None = None, **labels: float,
) -> Spectrum:  # fmt: skip
    """A spectrum of Korg on the PINN's atmosphere.

    Parameters
    ----------
    linelist : a Julia line list, the path of a VALD list, or None for Korg's own of the Sun
    wavelengths : (first, last) in vacuum [A], (first, last, step), a list of these, or evenly spaced wavelengths
    vmic : microturbulence of the synthesis [km/s]; by default vturb of the atmosphere
    abundances : [X/H] of single elements (symbol -> dex); these, m_h and alpha_m are on the model's solar scale
    options : further keywords of `Korg.synthesize`
    geometry, labels : as for `atmosphere`

    Warns
    -----
    CompositionWarning : the abundances leave the mixture that the model was computed with
    """
    given = (linelist, wavelengths, vmic, model, abundances, options)
    result = _synthesis("_synthesize", *given, _labels(model, labels, geometry))
    return Spectrum(np.array(v, dtype=float) for v in result)


def jacobian(
    *, linelist: Any = None, wavelengths: Any, vmic: float | None = None, model: str = "atlas12",
    abundances: Mapping[str, float] | None = None, options: Mapping[str, Any] | None = None,
    geometry: str | None = None, **labels: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Rectified flux (n,) and its derivatives (n, 5) per teff, logg, m_h, alpha_m, vturb, by ForwardDiff; (n, 6) with
    mass of a model that has one.

    The derivatives are those of `synthesize` with the same arguments: of the atmosphere, of the abundances for m_h
    and alpha_m, and of the microturbulence for vturb unless vmic is given.
    """
    given = (linelist, wavelengths, vmic, model, abundances, options)
    flux, derivative = _synthesis("_jacobian", *given, _labels(model, labels, geometry))
    return np.array(flux, dtype=float), np.array(derivative, dtype=float)


def line_jacobian(
    *, lines: Any, groups: Any, wavelengths: Any, vmic: float | None = None, model: str = "atlas12",
    abundances: Mapping[str, float] | None = None, options: Mapping[str, Any] | None = None,
    geometry: str | None = None, **labels: float,
) -> tuple[Spectrum, Array]:  # fmt: skip
    """A spectrum, and its derivatives by log gf of groups of lines, by ForwardDiff.

    Korg takes dual numbers for log gf; a group costs one partial, however many lines it has. So lines that are far
    apart share one, and what a line does is read off around it.

    Parameters
    ----------
    lines : a PySME `LineList`, wavelengths in air; of hydrogen Korg has lines of its own, and the list's are left out
    groups : (n_line,) the group, from 0 on, to whose lines' log gf a change [dex] is added; -1 for fixed lines
    wavelengths, vmic, model, abundances, options, geometry, labels : as for `synthesize`

    Returns the spectrum (n,) and the derivatives of its flux (n, n_group), of the flux of spectrum, per dex.

    Raises
    ------
    ValueError : groups that are not one whole number a line
    others : as `synthesize`
    """
    of = np.asarray(groups)
    if of.shape != (len(lines),) or not np.issubdtype(of.dtype, np.integer) or (of < -1).any():
        raise ValueError(f"groups: {of.dtype} of shape {of.shape}; allowed: {len(lines)} whole numbers from -1 on")
    species = np.asarray(lines["species"], dtype=str)
    use = species != "H 1"
    number = [np.asarray(lines[c], dtype=float)[use] for c in ("wlcent", "gflog", "excit", "gamrad", "gamqst", "gamvw")]
    columns = (number[0], number[1], [str(s) for s in species[use]], *number[2:])
    n = int(of.max(initial=-1)) + 1
    given = (columns, np.ascontiguousarray(of[use] + 1, dtype=np.int64), n)
    made = _synthesis("_line_jacobian", None, wavelengths, vmic, model, abundances, options,
                      _labels(model, labels, geometry), instead=given)  # fmt: skip
    wave, flux, continuum, derivative = (np.array(v, dtype=float) for v in made)
    return Spectrum((wave, flux, continuum)), derivative.reshape(len(flux), n)


def fit_spectrum(
    wavelengths: Any, flux: Any, error: Any, initial_guesses: Mapping[str, float], *, linelist: Any = None,
    fixed_params: Mapping[str, float] | None = None, model: str = "atlas12", vturb: float = 1.0,
    mass: float | None = None, geometry: str | None = None, **options: Any,
) -> Any:  # fmt: skip
    """`Korg.Fit.fit_spectrum` on the PINN; returns its result (a Julia NamedTuple).

    Parameters are Korg's own (Teff, logg, M_H, alpha_H, vmic, ...), with abundances on the model's solar scale as in
    `synthesize`; `options` are its keywords (R, which Korg requires, windows, ...). vturb, that of the atmospheres
    [km/s], stays fixed, and so do the mass [Msun] and the geometry of a model that has a mass (see `atmosphere`; where
    log g is free and the geometry is not given, a fit may cross from spheres to planes at log g 3, a small step). A
    start outside the model's domain is refused: Korg would return it as its best fit.
    """
    guesses, fixed = _numbers("initial_guesses", initial_guesses), _numbers("fixed_params", fixed_params or {})
    start = {"M_H": 0.0, **guesses, **fixed}
    for name in ("Teff", "logg"):
        if name not in start:
            raise ValueError(f"{name} must be in initial_guesses or in fixed_params")
    labels = {
        "teff": start["Teff"], "logg": start["logg"], "m_h": start["M_H"],
        "alpha_m": start.get("alpha_H", start["M_H"]) - start["M_H"], "vturb": vturb,
    }  # fmt: skip
    known = Emulator.load(model).domain.labels
    start_labels = {name: value for name, value in labels.items() if name in known}
    if mass is not None:
        start_labels["mass"] = mass
    _labels(model, start_labels, geometry)
    data = [np.asarray(v, dtype=float) for v in (wavelengths, flux, error)]
    jl = _julia()
    _say("_fit", "Julia compiles Korg's fit at its first call: some minutes; further ones are faster ...")
    return jl.SMEPinnAtmoPython._fit(
        *data, _linelist(jl, linelist), guesses, fixed, _exported(model), float(vturb),
        None if mass is None else float(mass), geometry, dict(options),
    )


def synthesize_layers(
    layers: Sequence[Array], wavelengths: tuple[float, float, float], *, linelist: Any = None, vmic: float = 1.0,
    m_h: float = 0.0, radius: float = np.inf,
) -> tuple[Array, Array]:  # fmt: skip
    """Wavelengths in air [A] and rectified flux of Korg on the layers of any model, outermost first.

    Parameters
    ----------
    layers : rhox [g cm-2], tau_ross, temperature [K], electron_density, atom_density [cm-3], and of a sphere the
        height [cm] above tau_ross = 1
    wavelengths : first, last and step in air [A]
    m_h : metallicity [dex] on the scale of Asplund et al. (2009)
    radius : of a sphere, where tau_ross = 1 [cm]
    """
    jl = _julia()
    columns = [np.ascontiguousarray(v, dtype=float) for v in layers]
    low, high, step = map(float, wavelengths)
    lines = _linelist(jl, linelist)
    given = (lines, low, high, step, float(vmic), float(m_h), *columns)
    wave, flux = jl.SMEPinnAtmoPython._layers(*given, **({"radius": float(radius)} if np.isfinite(radius) else {}))
    return np.array(wave, dtype=float), np.array(flux, dtype=float)


def read_linelist(path: str | os.PathLike[str]) -> Any:
    """A VALD line list as a Julia object, to be given to several syntheses."""
    return _linelist(_julia(), path)


def version() -> str:
    """Version of Korg."""
    return str(_julia().seval("string(pkgversion(Korg))"))


@contextlib.contextmanager
def using_pinn(
    model: str = "atlas12", vturb: float = 1.0, *, mass: float | None = None, geometry: str | None = None
) -> Iterator[None]:
    """While it lasts, Korg's `interpolate_marcs` in this task gives the PINN's atmospheres; undone after errors too.

    `format_A_X`, and with it M_H of `synth` and of fits, uses the model's solar scale meanwhile. Mass [Msun] and
    geometry of a model that has a mass are as for `atmosphere`; a call's own `spherical` goes before the geometry.
    """
    labels = Emulator.load(model).domain.labels
    as_planes(np.zeros(len(labels)), labels, geometry)
    if mass is not None and "mass" not in labels:
        raise TypeError(f"mass = {mass}, but the model {model} has no mass")
    jl = _julia()
    mass = None if mass is None else float(mass)
    before = jl.SMEPinnAtmoPython._switch_on(_exported(model), float(vturb), mass, geometry)
    try:
        yield
    finally:
        jl.SMEPinnAtmoPython._switch_back(before)


def _synthesis(
    function: str, linelist: Any, wavelengths: Any, vmic: float | None, model: str,
    abundances: Mapping[str, float] | None, options: Mapping[str, Any] | None, values: Mapping[str, Any],
    instead: tuple[Any, ...] | None = None,
) -> Any:  # fmt: skip
    """A call of the adapter's `function`; `instead`: its first arguments, in place of a line list."""
    single = _numbers("abundances", abundances or {})
    scale = Emulator.load(model).card["solar_scale"]
    star = {el: SOLAR_SCALES[scale][el] + value for el, value in single.items() if el in SOLAR_SCALES[scale]}
    warn_of_misfit(model, misfit(star, values["m_H"], values["alpha_m"], scale))
    if vmic is not None:
        vmic = _numbers("synthesis", {"vmic": vmic})["vmic"]
    jl = _julia()
    call = getattr(jl.SMEPinnAtmoPython, function)
    _say(function, "Julia compiles Korg for the first call of its kind: about a minute; further ones take seconds ...")
    first = (_linelist(jl, linelist),) if instead is None else instead
    return call(*first, _wavelengths(wavelengths), single, vmic, dict(options or {}), _exported(model), **values)


def _labels(model: str, labels: Mapping[str, Any], geometry: str | None = None) -> dict[str, Any]:
    """Checked labels of one star by Julia's names, with defaults put in; and the geometry if one is asked for."""
    domain: Domain = Emulator.load(model).domain
    x = domain.resolve(dict(labels))
    if x.ndim != 1:
        raise DomainError(f"Korg takes one star at a time, not labels of shape {x.shape[:-1]}")
    values = {"alpha_m": 0.0, "vturb": 1.0, **dict(zip(domain.labels, x, strict=True))}
    as_planes(x, domain.labels, geometry)
    asked = {} if geometry is None else {"geometry": geometry}
    return {julia: float(values[name]) for name, julia in _JULIA_NAMES.items() if name in values} | asked


def _numbers(what: str, values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {str(k): float(v) for k, v in values.items()}
    for name, value in numbers.items():
        if not np.isfinite(value):
            raise ValueError(f"{what}: {name} = {value} is not a finite number")
    return numbers


def _wavelengths(wavelengths: Any) -> tuple[Any, ...]:
    """Python numbers in tuples, which is what Korg's rules for wavelengths are applied to."""
    w = tuple(wavelengths)
    return tuple(float(v) if np.ndim(v) == 0 else tuple(map(float, v)) for v in w)


@lru_cache(maxsize=64)
def _exported(model: str) -> str:
    """What the Julia package loads for `model`: its name if exports come with the package, else one made now."""
    if (_BRIDGE / "models" / f"{model}.pinn").is_file():
        return model
    path = Path(tempfile.mkdtemp(prefix="sme_pinn_atmo-")) / "model.pinn"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    export_julia(Emulator.load(model), path)
    return str(path)


#: Line lists that were read, by path, size and time of change; the last few.
_read: dict[tuple[Any, ...], Any] = {}


def _linelist(jl: Any, linelist: Any) -> Any:
    """A line list as a Julia object; a file is read once, and again when it has changed."""
    if linelist is not None and not isinstance(linelist, (str, os.PathLike)):
        return linelist
    path = None if linelist is None else os.path.abspath(linelist)
    status = os.stat(path) if path is not None and os.path.exists(path) else None
    key = (id(jl), path, None if status is None else (status.st_size, status.st_mtime_ns))
    if key not in _read:
        while len(_read) >= 4:
            _read.pop(next(iter(_read)))
        korg = jl.Korg
        # Of a file that is not there, Julia says so.
        _read[key] = korg.get_VALD_solar_linelist() if linelist is None else korg.read_linelist(os.fspath(linelist))
    return _read[key]


_said: set[str] = set()


def _say(what: str, text: str) -> None:
    """Say something once a session, on standard error: Julia compiles at first use, for about a minute."""
    if what not in _said:
        _said.add(what)
        print(text, file=sys.stderr, flush=True)


@lru_cache(maxsize=1)
def _julia() -> Any:
    """Julia's Main, with Korg and the Julia package loaded."""
    _say("julia", "starting Julia and loading Korg; the very first time, juliapkg installs them, for some minutes ...")
    try:
        from juliacall import Main
    except ModuleNotFoundError:
        raise KorgError("the Korg adapter needs juliacall: pip install 'sme-pinn-atmo[korg]'") from None
    except ImportError:
        raise KorgError("juliacall was imported with PYTHON_JULIACALL_INIT=no: Julia is not running") from None
    except Exception as error:  # juliacall raises many kinds where Julia cannot be started or installed
        raise KorgError(
            f"Julia does not start ({error}). juliacall installs it at its first use, which needs the network; or set "
            "PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT to a Julia >= 1.10 and a project with Korg 1.2 and "
            "PythonCall"
        ) from None
    try:
        # A Julia project of the user's own need not know the package: it is found where this module is.
        Main.seval(f'Base.identify_package("SMEPinnAtmo") === nothing && push!(LOAD_PATH, raw"{_BRIDGE}")')
        Main.seval("using Korg, SMEPinnAtmo")
        Main.seval((_BRIDGE / "python" / "adapter.jl").read_text(encoding="utf-8"))
    except Exception as error:
        raise KorgError(
            f"Korg or SMEPinnAtmo does not load in Julia ({error}); in that Julia project: "
            'using Pkg; Pkg.add(name="Korg", version="1.2")'
        ) from None
    return Main

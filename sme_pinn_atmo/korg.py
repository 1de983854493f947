"""Korg (Julia) on the PINN, from Python through juliacall. Numerical work stays in Julia: no callbacks.

Julia starts at the first call that needs it; juliapkg installs Julia, Korg and this project's Julia package then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .emulator import Emulator
from .labels import Domain, DomainError

__all__ = ["KorgError", "Spectrum", "atmosphere", "fit_spectrum", "jacobian", "synthesize", "using_pinn"]

Array = NDArray[np.float64]

#: Labels by the names that Korg and the Julia package give them.
_JULIA_NAMES = {"teff": "Teff", "logg": "logg", "m_h": "m_H", "alpha_m": "alpha_m", "vturb": "vturb"}


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


def atmosphere(*, model: str = "atlas12", **labels: float) -> Any:
    """A `Korg.PlanarAtmosphere` (a Julia object) at teff [K], logg, m_h, alpha_m [dex], vturb [km/s].

    Raises
    ------
    DomainError, TypeError : before Julia is asked, for labels outside the domain or that are no numbers
    KorgError : Julia or Korg is not usable
    """
    values = _labels(model, labels)
    return _julia().SMEPinnAtmo.korg_atmosphere(model=model, **_julia_labels(values))


def synthesize(
    *, linelist: Any = None, wavelengths: tuple[float, float] | Sequence[Any], vmic: float | None = None,
    model: str = "atlas12", abundances: Mapping[str, float] | None = None, options: Mapping[str, Any] | None = None,
    **labels: float,
) -> Spectrum:  # fmt: skip
    """A spectrum of Korg on the PINN's atmosphere.

    Parameters
    ----------
    linelist : a Julia line list, the path of a VALD list, or None for Korg's own of the Sun
    wavelengths : first and last wavelength [A], and a step if wanted, as `Korg.synthesize` takes them
    vmic : microturbulence of the synthesis [km/s]; by default vturb of the atmosphere
    abundances : [X/H] of single elements (symbol -> dex) on the model's solar scale
    options : further keywords of `Korg.synthesize`
    labels : as for `atmosphere`
    """
    values = _labels(model, labels)
    jl = _julia()
    result = jl.SMEPinnAtmoPython._synthesize(
        _linelist(jl, linelist), tuple(wavelengths), {str(k): float(v) for k, v in (abundances or {}).items()},
        values.get("vturb", 1.0) if vmic is None else vmic, dict(options or {}), model, **_julia_labels(values),
    )  # fmt: skip
    return Spectrum(np.array(v, dtype=float) for v in result)


def jacobian(
    *, linelist: Any = None, wavelengths: tuple[float, float] | Sequence[Any], vmic: float | None = None,
    model: str = "atlas12", **labels: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Rectified flux (n,) and its derivatives (n, 5) per teff, logg, m_h, alpha_m, vturb, by ForwardDiff.

    The derivatives are those of the whole synthesis: atmosphere and, for m_h and alpha_m, abundances; vmic stays.
    """
    values = _labels(model, labels)
    jl = _julia()
    flux, derivative = jl.SMEPinnAtmoPython._jacobian(
        _linelist(jl, linelist), tuple(wavelengths), values.get("vturb", 1.0) if vmic is None else vmic, model,
        **_julia_labels(values),
    )  # fmt: skip
    return np.array(flux, dtype=float), np.array(derivative, dtype=float)


def fit_spectrum(
    wavelengths: Any, flux: Any, error: Any, initial_guesses: Mapping[str, float], *, linelist: Any = None,
    fixed_params: Mapping[str, float] | None = None, model: str = "atlas12", vturb: float = 1.0, **options: Any,
) -> Any:  # fmt: skip
    """`Korg.Fit.fit_spectrum` on the PINN; returns its result (a Julia NamedTuple).

    Parameters are Korg's own (Teff, logg, M_H, vmic, ...); `options` are its keywords (windows, R, ...).
    """
    jl = _julia()
    return jl.SMEPinnAtmoPython._fit(
        np.asarray(wavelengths, dtype=float), np.asarray(flux, dtype=float), np.asarray(error, dtype=float),
        _linelist(jl, linelist), {str(k): float(v) for k, v in initial_guesses.items()},
        {str(k): float(v) for k, v in (fixed_params or {}).items()}, model, float(vturb), dict(options),
    )  # fmt: skip


@contextlib.contextmanager
def using_pinn(model: str = "atlas12", vturb: float = 1.0) -> Iterator[None]:
    """While it lasts, Korg's `interpolate_marcs` in this task gives the PINN's atmospheres; undone after errors too."""
    Emulator.load(model)
    jl = _julia()
    before = jl.SMEPinnAtmoPython._switch_on(model, float(vturb))
    try:
        yield
    finally:
        jl.SMEPinnAtmoPython._switch_back(before)


def _labels(model: str, labels: Mapping[str, Any]) -> dict[str, float]:
    """Checked labels of one star, with defaults put in; every label that Julia has a name for."""
    domain: Domain = Emulator.load(model).domain
    x = domain.resolve(dict(labels))
    if x.ndim != 1:
        raise DomainError(f"Korg takes one star at a time, not labels of shape {x.shape[:-1]}")
    return {name: float(v) for name, v in zip(domain.labels, x, strict=True)}


def _julia_labels(values: Mapping[str, float]) -> dict[str, float]:
    return {_JULIA_NAMES[k]: v for k, v in values.items()}


def _linelist(jl: Any, linelist: Any) -> Any:
    if linelist is None:
        return jl.Korg.get_VALD_solar_linelist()
    return jl.Korg.read_linelist(str(linelist)) if isinstance(linelist, str) else linelist


@lru_cache(maxsize=1)
def _julia() -> Any:
    """Julia's Main, with Korg and the Julia package loaded."""
    try:
        from juliacall import Main
    except ModuleNotFoundError:
        raise KorgError("the Korg adapter needs juliacall: pip install 'sme-pinn-atmo[korg]'") from None
    except ImportError:
        raise KorgError("juliacall was imported with PYTHON_JULIACALL_INIT=no: Julia is not running") from None
    except Exception as error:  # juliacall raises many kinds where Julia cannot be started or installed
        raise KorgError(
            f"Julia does not start ({error}). juliacall installs it at its first use, which needs the network; or set "
            "PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT to a Julia >= 1.10 and a project with Korg 1.2, "
            "ForwardDiff, PythonCall and SMEPinnAtmo"
        ) from None
    try:
        Main.seval("using Korg, ForwardDiff, SMEPinnAtmo")
        Main.seval(_GLUE)
    except Exception as error:
        raise KorgError(
            f"Korg or SMEPinnAtmo does not load in Julia ({error}); in that Julia project: "
            "using Pkg; Pkg.add([\"Korg\", \"ForwardDiff\"]); Pkg.develop(path=\"julia_bridge\")"
        ) from None
    return Main


#: Julia side of the adapter: conversions of what Python passes, then the package's and Korg's own functions.
_GLUE = """
module SMEPinnAtmoPython
    using SMEPinnAtmo, Korg, ForwardDiff
    using SMEPinnAtmo: load_model
    using PythonCall: pyconvert, Py

    _plain(x) = x isa Py ? pyconvert(Any, x) : x
    _dict(d) = Dict{String,Float64}(string(_plain(k)) => Float64(_plain(v)) for (k, v) in pairs(_plain(d)))
    _keywords(d) = (; (Symbol(_plain(k)) => _plain(v) for (k, v) in pairs(_plain(d)))...)
    _range(w) = Tuple(Float64(_plain(v)) for v in _plain(w))

    function _abundances(m, m_H, alpha_m, single)
        solar = collect(Float64, Korg.asplund_2009_solar_abundances)
        for e in m.elements
            solar[e.Z] = e.A
        end
        Korg.format_A_X(m_H, m_H + alpha_m, single; solar_abundances=solar,
                        alpha_elements=[e.Z for e in m.elements if e.alpha])
    end

    function _synthesize(linelist, wavelengths, single, vmic, options, model; Teff, logg, m_H, alpha_m, vturb)
        m = load_model(model)
        A_X = _abundances(m, m_H, alpha_m, _dict(single))
        atm = korg_atmosphere(; Teff, logg, m_H, alpha_m, vturb, A_X, model=m)
        s = Korg.synthesize(atm, linelist, A_X, _range(wavelengths); vmic, _keywords(options)...)
        s.wavelengths, s.flux, s.cntm
    end

    function _jacobian(linelist, wavelengths, vmic, model; Teff, logg, m_H, alpha_m, vturb)
        m = load_model(model)
        single = Dict{String,Float64}()
        function flux(x)
            A_X = _abundances(m, x[3], x[4], single)
            atm = korg_atmosphere(; Teff=x[1], logg=x[2], m_H=x[3], alpha_m=x[4], vturb=x[5], A_X, model=m)
            s = Korg.synthesize(atm, linelist, A_X, _range(wavelengths); vmic)
            s.flux ./ s.cntm
        end
        x = Float64[Teff, logg, m_H, alpha_m, vturb]
        flux(x), ForwardDiff.jacobian(flux, x)
    end

    function _fit(wavelengths, flux, error, linelist, guesses, fixed, model, vturb, options)
        with_pinn(; model, vturb) do
            Korg.Fit.fit_spectrum(pyconvert(Vector{Float64}, wavelengths), pyconvert(Vector{Float64}, flux),
                                  pyconvert(Vector{Float64}, error), linelist, _dict(guesses), _dict(fixed);
                                  _keywords(options)...)
        end
    end

    function _switch_on(model, vturb)
        before = get(task_local_storage(), :sme_pinn_atmo_model, nothing)
        task_local_storage(:sme_pinn_atmo_model, (load_model(model), vturb))
        before
    end
    _switch_back(before) = (task_local_storage(:sme_pinn_atmo_model, before); nothing)
end
"""

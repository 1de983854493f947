# Julia side of `sme_pinn_atmo.korg`: conversions of what Python passes, then the package's and Korg's own functions.
# Evaluated in Main after `using Korg, SMEPinnAtmo`.

module SMEPinnAtmoPython

using SMEPinnAtmo
using SMEPinnAtmo: SWITCH, load_model, model_A_X, switch
using Korg
using Korg: ForwardDiff
using PythonCall: Py, pyconvert

# Plain Julia values, however deep: PythonCall hands over numbers and strings as they are, containers as wrappers.
_plain(x) = x
_plain(x::Py) = (y = pyconvert(Any, x); y isa Py ? y : _plain(y))
_plain(x::Tuple) = map(_plain, x)
_plain(x::AbstractDict) = Dict(_plain(k) => _plain(v) for (k, v) in x)
_plain(x::AbstractVector) = [_plain(v) for v in x]
_plain(x::AbstractMatrix) = collect(x)

_dict(d) = Dict{String,Float64}(string(k) => Float64(v) for (k, v) in _plain(d))
_keywords(d) = NamedTuple{Tuple(Symbol(k) for k in keys(d))}(Tuple(values(d)))
_vector(v) = collect(Float64, _plain(v))

# (start, stop), (start, stop, step), a list of these, or evenly spaced wavelengths, as `Korg.Wavelengths` takes them.
function _wavelengths(given)
    w = _plain(given)
    first(w) isa Real || return [Tuple(Float64.(v)) for v in w]
    length(w) in (2, 3) ? Tuple(Float64.(w)) : collect(Float64, w)
end

function _spectrum(linelist, wavelengths, single, vmic, options, m, x)
    A_X = model_A_X(x[3], x[4], single; model=m)
    atm = korg_atmosphere(; Teff=x[1], logg=x[2], m_H=x[3], alpha_m=x[4], vturb=x[5], A_X=A_X, model=m)
    Korg.synthesize(atm, linelist, A_X, wavelengths; vmic=vmic === nothing ? x[5] : vmic, options...)
end

function _synthesize(linelist, wavelengths, single, vmic, options, model; Teff, logg, m_H, alpha_m, vturb)
    s = _spectrum(linelist, _wavelengths(wavelengths), _dict(single), vmic, _keywords(_plain(options)),
                  load_model(model), (Teff, logg, m_H, alpha_m, vturb))
    s.wavelengths, s.flux, s.cntm
end

function _jacobian(linelist, wavelengths, single, vmic, options, model; Teff, logg, m_H, alpha_m, vturb)
    m, w, abundances = load_model(model), _wavelengths(wavelengths), _dict(single)
    keywords = _keywords(_plain(options))
    function rectified(x)
        s = _spectrum(linelist, w, abundances, vmic, keywords, m, x)
        s.flux ./ s.cntm
    end
    x = Float64[Teff, logg, m_H, alpha_m, vturb]
    rectified(x), ForwardDiff.jacobian(rectified, x)
end

# Wavelengths in air [A] and rectified flux from the layers of any atmosphere.
function _layers(linelist, low, high, step, vmic, m_H, columns...)
    names = (:rhox, :tau_ross, :temperature, :electron_density, :atom_density)
    A_X = model_A_X(m_H)
    atm = korg_atmosphere(NamedTuple{names}(map(_vector, columns)); A_X=A_X)
    w = Korg.Wavelengths((low, high, step); air_wavelengths=true)
    s = Korg.synthesize(atm, linelist, A_X, w; vmic=vmic, line_buffer=60)
    Korg.vacuum_to_air.(s.wavelengths), s.flux ./ s.cntm
end

function _fit(wavelengths, flux, error, linelist, guesses, fixed, model, vturb, options)
    with_pinn(model=model, vturb=vturb, solar=:model) do
        Korg.Fit.fit_spectrum(_vector(wavelengths), _vector(flux), _vector(error), linelist, _dict(guesses),
                              _dict(fixed); _keywords(_plain(options))...)
    end
end

# `using_pinn` of Python begins and ends in two calls. What it replaces is handed to Python, to be handed back.
function _switch_on(model, vturb)
    new = switch(model, vturb, :model)
    before = get(task_local_storage(), SWITCH, nothing)
    task_local_storage(SWITCH, new)
    before
end

_switch_back(before) = (task_local_storage(SWITCH, before); nothing)

end

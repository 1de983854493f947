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

# `x` holds Teff, logg, m_H, alpha_m, vturb, and of a model that has one the mass.
function _spectrum(linelist, wavelengths, single, vmic, options, m, x, geometry)
    A_X = model_A_X(x[3], x[4], single; model=m)
    atm = korg_atmosphere(; Teff=x[1], logg=x[2], m_H=x[3], alpha_m=x[4], vturb=x[5], mass=get(x, 6, nothing),
                          geometry=geometry, A_X=A_X, model=m, check_composition=false)  # Python has said it
    Korg.synthesize(atm, linelist, A_X, wavelengths; vmic=vmic === nothing ? x[5] : vmic, options...)
end

_geometry(given) = given === nothing ? nothing : Symbol(given)

_labels(; Teff, logg, m_H, alpha_m, vturb, mass=nothing) =
    mass === nothing ? Float64[Teff, logg, m_H, alpha_m, vturb] : Float64[Teff, logg, m_H, alpha_m, vturb, mass]

_atmosphere(model; geometry=nothing, labels...) =
    korg_atmosphere(; model=model, geometry=_geometry(geometry), labels...)

function _synthesize(linelist, wavelengths, single, vmic, options, model; geometry=nothing, labels...)
    s = _spectrum(linelist, _wavelengths(wavelengths), _dict(single), vmic, _keywords(_plain(options)),
                  load_model(model), _labels(; labels...), _geometry(geometry))
    s.wavelengths, s.flux, s.cntm
end

function _jacobian(linelist, wavelengths, single, vmic, options, model; geometry=nothing, labels...)
    m, w, abundances = load_model(model), _wavelengths(wavelengths), _dict(single)
    keywords = _keywords(_plain(options))
    function rectified(x)
        s = _spectrum(linelist, w, abundances, vmic, keywords, m, x, _geometry(geometry))
        s.flux ./ s.cntm
    end
    x = _labels(; labels...)
    rectified(x), ForwardDiff.jacobian(rectified, x)
end

# Korg's lines from columns as VALD has them: wavelength in air [A], log gf, species, excitation [eV], log10 of radiative
# and Stark widths, van der Waals as Korg packs it; widths of 0 are not known, and Korg approximates them.
function _lines(wave, log_gf, species, excitation, radiative, stark, waals)
    names = Dict(s => Korg.Species(s) for s in unique(species))
    width(x) = x == 0 ? missing : 10.0^x
    [Korg.Line(Korg.air_to_vacuum(w), g, names[s], E, width(r), width(q), v == 0 ? missing : v)
     for (w, g, s, E, r, q, v) in zip(wave, log_gf, species, excitation, radiative, stark, waals)]
end

# A spectrum, and its derivatives by what is added to log gf of the lines of each group (0: of none).
function _line_jacobian(columns, groups, n, wavelengths, single, vmic, options, model; geometry=nothing, labels...)
    m, x, w, keywords = load_model(model), _labels(; labels...), _wavelengths(wavelengths), _keywords(_plain(options))
    wave, log_gf, species, excitation, radiative, stark, waals = _plain(columns)
    lines = _lines(_vector(wave), _vector(log_gf), String.(species), map(_vector, (excitation, radiative, stark, waals))...)
    of = collect(Int, _plain(groups))
    A_X = model_A_X(x[3], x[4], _dict(single); model=m)
    atm = korg_atmosphere(; Teff=x[1], logg=x[2], m_H=x[3], alpha_m=x[4], vturb=x[5], mass=get(x, 6, nothing),
                          geometry=_geometry(geometry), A_X=A_X, model=m, check_composition=false)  # Python has said it
    made(list; more...) =
        Korg.synthesize(atm, list, A_X, w; vmic=vmic === nothing ? x[5] : vmic, keywords..., more...)
    s = made(lines)
    n == 0 && return s.wavelengths, s.flux, s.cntm, zeros(length(s.flux), 0)
    # Lines of one element type, or Korg does not see that log gf are dual numbers. They move no electron.
    changed(d) = [Korg.Line(l; log_gf=g + (k == 0 ? zero(eltype(d)) : d[k])) for (l, g, k) in zip(lines, _vector(log_gf), of)]
    J = ForwardDiff.jacobian(d -> made(changed(d); use_chemical_equilibrium_from=s).flux, zeros(n))
    s.wavelengths, s.flux, s.cntm, J
end

# Wavelengths in air [A] and rectified flux from the layers of any atmosphere, outermost first;
# of spheres the last column is the height [cm] above the radius [cm].
function _layers(linelist, low, high, step, vmic, m_H, columns...; radius=Inf)
    names = (:rhox, :tau_ross, :temperature, :electron_density, :atom_density, :height)[1:length(columns)]
    A_X = model_A_X(m_H)
    profiles = merge(NamedTuple{names}(map(_vector, columns)), (radius=Float64(radius),))
    atm = korg_atmosphere(profiles; A_X=A_X)
    w = Korg.Wavelengths((low, high, step); air_wavelengths=true)
    s = Korg.synthesize(atm, linelist, A_X, w; vmic=vmic, line_buffer=60)
    Korg.vacuum_to_air.(s.wavelengths), s.flux ./ s.cntm
end

function _fit(wavelengths, flux, error, linelist, guesses, fixed, model, vturb, mass, geometry, options)
    with_pinn(model=model, vturb=vturb, mass=mass, geometry=_geometry(geometry), solar=:model) do
        Korg.Fit.fit_spectrum(_vector(wavelengths), _vector(flux), _vector(error), linelist, _dict(guesses),
                              _dict(fixed); _keywords(_plain(options))...)
    end
end

# `using_pinn` of Python begins and ends in two calls. What it replaces is handed to Python, to be handed back.
function _switch_on(model, vturb, mass, geometry)
    new = switch(model, vturb, :model, mass, _geometry(geometry))
    before = get(task_local_storage(), SWITCH, nothing)
    task_local_storage(SWITCH, new)
    before
end

_switch_back(before) = (task_local_storage(SWITCH, before); nothing)

end

"""
    pinn_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, mass=nothing, geometry=nothing, model="atlas12", tau=nothing)

Profiles of the atmosphere at these labels, outermost layer first, as a `NamedTuple` of vectors: `tau_ross`, `rhox`
[g cm⁻²], `temperature` [K], `gas_pressure` [dyn cm⁻²], `electron_density` [cm⁻³], `opacity` [cm² g⁻¹, Rosseland],
`radiative_acceleration` [cm s⁻²], `density` [g cm⁻³], `atom_density` [cm⁻³], `height` [cm] above `tau_ross` = 1, and
the `radius` [cm] there, infinite for plane-parallel layers.

`Teff` [K], `logg` [cgs], `m_H`, `alpha_m` [dex], `vturb` [km/s] and `mass` [solar masses; by default the model's, 1] may
be dual numbers. `geometry`: `:sphere` or `:plane` of a model that has a mass; by default a sphere up to log g 3, as
MARCS has it. `tau`: increasing Rosseland
depths within the model's range; by default its own grid. `model`: a name, a path, or a loaded
[`Model`](@ref load_model).

Throws [`PinnDomainError`](@ref) for labels outside the domain or not finite, `ArgumentError` for a mass or a sphere of
a model that knows plane-parallel layers only.
"""
function pinn_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, mass=nothing, geometry=nothing, model="atlas12",
                         tau=nothing)
    m = model isa Model ? model : load_model(model)
    check_geometry(m, mass, geometry)
    given = Dict{String,Any}("teff" => Teff, "logg" => logg, "m_h" => m_H, "alpha_m" => alpha_m, "vturb" => vturb)
    if has_mass(m)
        given["mass"] = mass === nothing ? m.defaults[findfirst(isequal("mass"), m.labels)] : mass
    end
    x = _promoted([given[name] for name in m.labels])
    check_domain(m, x)
    x, radius = _sphere_or_plane(m, x, geometry)
    profiles = log_profiles(m, x)
    mu = has_mass(m) ? nothing : mean_atomic_mass(m, given["m_h"], given["alpha_m"])
    density(rows) = mu === nothing ? exp.(rows[:, 8]) : exp.(rows[:, 7]) .* mu
    height = -(m.above * (exp.(m.ln_tau .- profiles[:, 2]) ./ density(profiles)))
    ln_tau = m.ln_tau
    if tau !== nothing
        ln_tau = log.(_checked_depths(m, tau))
        matrix = interpolation_matrix(m.ln_tau, ln_tau)
        profiles, height = matrix * profiles, matrix * height
    end
    e = exp.(profiles)
    (tau_ross=exp.(ln_tau), rhox=e[:, 5], temperature=e[:, 1], gas_pressure=e[:, 6], electron_density=e[:, 4],
     opacity=e[:, 2], radiative_acceleration=e[:, 3], density=density(profiles), atom_density=e[:, 7],
     height=height, radius=radius)
end

function check_geometry(m::Model, mass, geometry)
    geometry in (nothing, :sphere, :plane) ||
        throw(ArgumentError("geometry = $(repr(geometry)); allowed: :sphere, :plane, nothing"))
    has_mass(m) && return nothing
    mass === nothing || throw(ArgumentError("mass = $(_value(mass)), but the model $(m.name) has no mass"))
    geometry === :sphere &&
        throw(ArgumentError("geometry = :sphere, but the model $(m.name) knows plane-parallel layers only: it has no mass"))
    nothing
end

# Labels with an infinite mass where the star is plane-parallel, and the radius [cm].
function _sphere_or_plane(m::Model, x::AbstractVector{T}, geometry) where {T}
    has_mass(m) || return x, T(Inf)
    j, logg = findfirst(isequal("mass"), m.labels), x[findfirst(isequal("logg"), m.labels)]
    if geometry === :plane || (geometry === nothing && logg > SPHERE_LOGG)
        x = copy(x)
        x[j] = T(Inf)
        return x, T(Inf)
    end
    x, 1 / curvature(m, log(10.0) * logg, x[j])
end

_promoted(values) = collect(promote(map(float, values)...))

function _checked_depths(m::Model, tau)
    t = collect(Float64, tau)
    low, high = exp(m.ln_tau[1]), exp(m.ln_tau[end])
    if isempty(t) || any(diff(t) .<= 0) || !(low * (1 - 5e-3) <= t[1] && t[end] <= high * (1 + 5e-3))
        throw(ArgumentError("tau must increase and lie between $low and $high"))
    end
    t
end

"""
    mean_atomic_mass(model, m_H, alpha_m)

Mean mass of an atom [g] of the mixture, electrons not counted.
"""
function mean_atomic_mass(m::Model, m_H, alpha_m)
    number = [10.0^(e.A - 12) * 10.0^(e.Z > 2 ? (e.alpha ? m_H + alpha_m : m_H) : zero(m_H)) for e in m.elements]
    sum(number .* [e.weight for e in m.elements]) / sum(number) * m.atomic_mass
end

# Atomic numbers of elements whose abundance a structure feels, and from how many dex on it is said: as composition.py.
const FELT = Dict(Z => (Z == 2 ? 0.1 : 0.2) for Z in (2, 6, 7, 8, 11, 12, 13, 14, 20, 22, 26))

"""
    composition_misfit(model, m_H, alpha_m, A_X)

Elements of which `A_X` (log10 number with H = 12, by atomic number) has more or less than the mixture that the model was
computed with at these labels, as pairs symbol => dex. Only elements that a structure feels are named, from 0.2 dex on,
helium from 0.1 dex on.
"""
function composition_misfit(m::Model, m_H, alpha_m, A_X::AbstractVector)
    off = Pair{String,Float64}[]
    for e in m.elements
        haskey(FELT, e.Z) || continue
        metals = e.Z == 2 ? 0.0 : _value(m_H) + (e.alpha ? _value(alpha_m) : 0.0)
        difference = Float64(_value(A_X[e.Z]) - e.A - metals)
        abs(difference) >= FELT[e.Z] - 1e-9 && push!(off, e.symbol => difference)
    end
    off
end

function warn_of_misfit(m::Model, off)
    isempty(off) && return nothing
    named = join(("$symbol by $(round(dex; digits=2))" for (symbol, dex) in off), ", ")
    @warn "the abundances leave the mixture that $(m.name) was computed with: $named dex. The structure does not follow " *
          "(docs/korg.md, 'Composition that does not fit', says what that may do)" maxlog = 1
end

"""
    star_labels(model, A_X)

`(m_H, alpha_m)` of a vector of abundances (log10 number with H = 12, by atomic number) on the model's solar scale:
m_H is [Fe/H], alpha_m the mean of [X/Fe] over the electron donors Mg, Si, Ca, Ti, weighted by their solar number.
Solar scales differ by some 0.01 dex: alpha_m up to 0.03 dex outside the model's range is taken for the edge.
"""
function star_labels(m::Model, A_X::AbstractVector)
    solar = Dict(e.Z => e.A for e in m.elements)
    m_H = A_X[26] - solar[26]
    donors = (12, 14, 20, 22)
    weight = [10.0^solar[Z] for Z in donors]
    alpha_m = sum(weight .* [A_X[Z] - solar[Z] - m_H for Z in donors]) / sum(weight)
    j = findfirst(isequal("alpha_m"), m.labels)
    if j !== nothing
        edge = clamp(alpha_m, m.lower[j], m.upper[j])
        abs(edge - alpha_m) < 0.03 && (alpha_m = edge)
    end
    (m_H, alpha_m)
end

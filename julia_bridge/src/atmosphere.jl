"""
    pinn_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, model="atlas12", tau=nothing)

Profiles of the atmosphere at these labels, outermost layer first, as a `NamedTuple` of vectors: `tau_ross`, `rhox`
[g cm⁻²], `temperature` [K], `gas_pressure` [dyn cm⁻²], `electron_density` [cm⁻³], `opacity` [cm² g⁻¹, Rosseland],
`radiative_acceleration` [cm s⁻²], `density` [g cm⁻³], `atom_density` [cm⁻³].

`Teff` [K], `logg` [cgs], `m_H`, `alpha_m` [dex] and `vturb` [km/s] may be dual numbers. `tau`: increasing Rosseland
depths within the model's range; by default its own grid. `model`: a name, a path, or a loaded
[`Model`](@ref load_model).

Throws [`PinnDomainError`](@ref) for labels outside the domain or not finite.
"""
function pinn_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, model="atlas12", tau=nothing)
    m = model isa Model ? model : load_model(model)
    given = Dict{String,Any}("teff" => Teff, "logg" => logg, "m_h" => m_H, "alpha_m" => alpha_m, "vturb" => vturb)
    x = _promoted([given[name] for name in m.labels])
    check_domain(m, x)
    profiles = log_profiles(m, x)
    ln_tau = m.ln_tau
    if tau !== nothing
        ln_tau = log.(_checked_depths(m, tau))
        profiles = interpolation_matrix(m.ln_tau, ln_tau) * profiles
    end
    e = exp.(profiles)
    atoms = e[:, 7]
    density = atoms .* mean_atomic_mass(m, given["m_h"], given["alpha_m"])
    (tau_ross=exp.(ln_tau), rhox=e[:, 5], temperature=e[:, 1], gas_pressure=e[:, 6], electron_density=e[:, 4],
     opacity=e[:, 2], radiative_acceleration=e[:, 3], density=density, atom_density=atoms)
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

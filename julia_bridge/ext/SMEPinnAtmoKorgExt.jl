module SMEPinnAtmoKorgExt

using SMEPinnAtmo
using SMEPinnAtmo: Model, PinnDomainError, SWITCH, composition_misfit, has_mass, integration_matrix,
                   interpolation_matrix, load_model, pinn_atmosphere, star_labels, warn_of_misfit
import SMEPinnAtmo: korg_atmosphere, model_A_X, with_pinn
using Korg

const REFERENCE_WAVELENGTH = 5e-5  # cm
const HOTTEST = 1e5                # K: there Korg's partition functions end, at optical depths above 15

function korg_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, mass=nothing, geometry=nothing, A_X=nothing,
                         model="atlas12", check_composition=true)
    m = model isa Model ? model : load_model(model)
    p = pinn_atmosphere(; Teff, logg, m_H, alpha_m, vturb, mass, geometry, model=m)
    if A_X !== nothing && check_composition
        warn_of_misfit(m, composition_misfit(m, m_H, alpha_m, A_X))
    end
    # dm / dln(tau_ross) is tau_ross over the Rosseland opacity.
    _layered(p, A_X === nothing ? model_A_X(m_H, alpha_m; model=m) : A_X, m.ln_tau, p.tau_ross ./ p.opacity,
             has_mass(m) ? p.height : nothing)
end

# A computed structure has no even grid: integrals over ln m, where dm is m dln(m).
korg_atmosphere(p::NamedTuple; A_X) = _layered(p, A_X, log.(p.rhox), p.rhox, get(p, :height, nothing))

# `dm` [g cm^-2] is the derivative of m with respect to `x`, which grows inwards. Heights are those of the structure if
# it knows its density; else they follow from the density of Korg's own chemical equilibrium.
function _layered(p, A_X, x, dm, height)
    n = count(p.temperature .< HOTTEST)
    layers = [_layer(p.temperature[i], p.atom_density[i] + p.electron_density[i], p.electron_density[i], A_X)
              for i in 1:n]
    opacity, density = first.(layers), last.(layers)
    integral = integration_matrix(x[1:n])
    tau_ref = opacity[1] * p.rhox[1] .+ integral * (opacity .* dm[1:n])
    if height === nothing
        depth = integral * (dm[1:n] ./ density)                                     # cm below the first layer
        z = interpolation_matrix(log.(p.tau_ross[1:n]), [0.0]) * depth .- depth     # cm, z = 0 where tau_ross = 1
    else
        z = height[1:n]
    end
    if !(all(isfinite, tau_ref) && all(tau_ref .> 0) && all(diff(tau_ref) .> 0))
        throw(Korg.AtmosphereInterpolationError("the optical depth at 5000 A does not increase inwards"))
    end
    number = p.atom_density .+ p.electron_density
    radius = get(p, :radius, Inf)
    # Duals pass through Korg only if every field has them.
    T = promote_type(eltype(tau_ref), eltype(z), eltype(p.temperature), eltype(number), typeof(radius))
    sphere = isfinite(radius)
    sphere && height === nothing && throw(ArgumentError("a radius without the height of each layer"))
    layer = sphere ? Korg.ShellAtmosphereLayer : Korg.PlanarAtmosphereLayer
    layers = [layer(T(tau_ref[i]), T(z[i]), T(p.temperature[i]), T(p.electron_density[i]), T(number[i])) for i in 1:n]
    sphere ? Korg.ShellAtmosphere(layers, T(radius), REFERENCE_WAVELENGTH) :
    Korg.PlanarAtmosphere(layers, REFERENCE_WAVELENGTH)
end

# Continuum opacity [cm^2 g^-1] at 5000 Å and density [g cm^-3] with Korg's own chemical equilibrium. Molecules make
# the density of a cool layer up to twice that of atoms alone; helium, which forms none, counts the nuclei.
function _layer(temperature, number, n_e, A_X)
    abundances = @. 10^(A_X - 12)
    abundances = abundances ./ sum(abundances)
    electrons, species = Korg.chemical_equilibrium(temperature, number, n_e, abundances, Korg.ionization_energies,
                                                   Korg.default_partition_funcs,
                                                   Korg.default_log_equilibrium_constants;
                                                   electron_number_density_warn_threshold=Inf)
    alpha = Korg.total_continuum_absorption([Korg.c_cgs / REFERENCE_WAVELENGTH], temperature, electrons, species,
                                            Korg.default_partition_funcs)[1]    # cm^-1
    helium = sum(species[Korg.Species(Korg.Formula(2), charge)] for charge in 0:2)
    density = helium / abundances[2] * sum(abundances .* Korg.atomic_masses)
    alpha / density, density
end

function model_A_X(m_H=0, alpha_m=0, abundances=Dict{String,Float64}(); model="atlas12")
    m = model isa Model ? model : load_model(model)
    Korg.format_A_X(m_H, m_H + alpha_m, abundances; _scale(m)...)
end

# Elements without mass in the model come from Asplund et al. 2009.
function _scale(m::Model)
    solar = collect(Float64, Korg.asplund_2009_solar_abundances)
    for e in m.elements
        solar[e.Z] = e.A
    end
    (solar_abundances=solar, alpha_elements=[e.Z for e in m.elements if e.alpha])
end

function with_pinn(f; model="atlas12", vturb=1, mass=nothing, geometry=nothing, solar=:korg)
    task_local_storage(f, SWITCH, SMEPinnAtmo.switch(model, vturb, solar, mass, geometry))
end

# Argument types of the method that a call of these types reaches: versions of Korg write them differently.
function _reached(f, types)
    hasmethod(f, types) || error("this Korg has no $f for $types: SMEPinnAtmo knows 1.2, and was written for 1.3")
    sig = which(f, types).sig
    Base.rewrap_unionall(Tuple{Base.unwrap_unionall(sig).parameters[2:end]...}, sig)
end

const MARCS = _reached(Korg.interpolate_marcs, Tuple{Float64,Float64,Vector{Float64}})

# The two methods below are more specific than Korg's own, which stay as they are: outside `with_pinn`, every call
# goes on to them. Inside, the errors are of a kind that Korg's fitting takes for a bad step. Abundances are a `Vector`
# in all that Korg does, so that this method is never the very one of a Korg that asks for real numbers itself.
function Korg.interpolate_marcs(Teff::Real, logg::Real, A_X::Vector{<:Real}; kwargs...)
    switch = get(task_local_storage(), SWITCH, nothing)
    switch === nothing && return invoke(Korg.interpolate_marcs, MARCS, Teff, logg, A_X; kwargs...)
    m_H, alpha_m = star_labels(switch.model, A_X)
    geometry = switch.geometry
    if haskey(kwargs, :spherical)
        geometry = kwargs[:spherical] ? :sphere : :plane
    end
    mass = switch.mass
    try
        korg_atmosphere(; Teff, logg, m_H, alpha_m, switch.vturb, mass, geometry, A_X, switch.model)
    catch e
        e isa Union{PinnDomainError,Korg.AtmosphereInterpolationError} || rethrow()
        throw(Korg.LazyMultilinearInterpError(sprint(showerror, e)))
    end
end

# `with_pinn(solar=:model)`: abundances that name no solar scale are on the model's. Fits pass a dictionary, `synth` the
# keywords that it was called with.
function Korg.format_A_X(metals_H::Real, alpha_H::Real, abundances::Union{Dict,Iterators.Pairs}; kwargs...)
    switch = get(task_local_storage(), SWITCH, nothing)
    scale = switch === nothing || switch.solar === :korg || haskey(kwargs, :solar_abundances) ? NamedTuple() :
            _scale(switch.model)
    invoke(Korg.format_A_X, Tuple{Real,Real,AbstractDict}, metals_H, alpha_H, abundances; scale..., kwargs...)
end

end

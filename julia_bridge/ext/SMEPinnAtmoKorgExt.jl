module SMEPinnAtmoKorgExt

using SMEPinnAtmo
using SMEPinnAtmo: Model, PinnDomainError, interpolation_matrix, load_model, pinn_atmosphere, star_labels
import SMEPinnAtmo: korg_atmosphere, with_pinn
using Korg

const REFERENCE_WAVELENGTH = 5e-5  # cm
const SWITCH = :sme_pinn_atmo_model  # key in the storage of a task

function korg_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, A_X=nothing, model="atlas12")
    m = model isa Model ? model : load_model(model)
    p = pinn_atmosphere(; Teff, logg, m_H, alpha_m, vturb, model=m)
    if A_X === nothing
        A_X = _solar_scaled(m, m_H, alpha_m)
    end
    ln_tau = m.ln_tau
    opacity = _opacity_5000(p, A_X) ./ p.density            # cm^2 g^-1
    dm = p.tau_ross ./ p.opacity                             # dm / dln(tau_ross)
    tau_ref = opacity[1] * p.rhox[1] .+ m.integral * (opacity .* dm)
    depth = m.integral * (dm ./ p.density)                   # cm below the first layer
    z = interpolation_matrix(ln_tau, [0.0]) * depth .- depth  # z = 0 where tau_ross = 1
    if !(all(isfinite, tau_ref) && all(tau_ref .> 0) && all(diff(tau_ref) .> 0))
        throw(Korg.AtmosphereInterpolationError("tau_5000 of $(m.name) does not increase at Teff=$Teff, logg=$logg"))
    end
    number = p.atom_density .+ p.electron_density
    # Duals pass through Korg only if every field has them.
    T = promote_type(eltype(tau_ref), eltype(z), eltype(p.temperature), eltype(number))
    layers = [Korg.PlanarAtmosphereLayer(T(tau_ref[i]), T(z[i]), T(p.temperature[i]), T(p.electron_density[i]),
                                         T(number[i])) for i in eachindex(ln_tau)]
    Korg.PlanarAtmosphere(layers, REFERENCE_WAVELENGTH)
end

# The labels' abundances on the model's solar scale; elements without mass come from Asplund et al. 2009.
function _solar_scaled(m::Model, m_H, alpha_m)
    A_X = Korg.format_A_X(m_H, m_H + alpha_m; solar_abundances=_solar(m),
                          alpha_elements=[e.Z for e in m.elements if e.alpha])
    A_X
end

function _solar(m::Model)
    solar = collect(Float64, Korg.asplund_2009_solar_abundances)
    for e in m.elements
        solar[e.Z] = e.A
    end
    solar
end

# Continuum absorption coefficient [cm^-1] at 5000 Å in each layer, with Korg's own chemical equilibrium.
function _opacity_5000(p, A_X)
    abundances = @. 10^(A_X - 12)
    abundances = abundances ./ sum(abundances)
    frequency = [Korg.c_cgs / REFERENCE_WAVELENGTH]
    map(eachindex(p.temperature)) do i
        t, n_e = p.temperature[i], p.electron_density[i]
        electrons, species = Korg.chemical_equilibrium(t, p.atom_density[i] + n_e, n_e, abundances,
                                                       Korg.ionization_energies, Korg.default_partition_funcs,
                                                       Korg.default_log_equilibrium_constants;
                                                       electron_number_density_warn_threshold=Inf)
        Korg.total_continuum_absorption(frequency, t, electrons, species, Korg.default_partition_funcs)[1]
    end
end

with_pinn(f; model="atlas12", vturb=1) =
    task_local_storage(f, SWITCH, (model isa Model ? model : load_model(model), vturb))

# More specific than Korg's own method, which stays as it is: outside `with_pinn`, every call goes on to it.
function Korg.interpolate_marcs(Teff::Real, logg::Real, A_X::AbstractVector{<:Real}; kwargs...)
    switch = get(task_local_storage(), SWITCH, nothing)
    if switch === nothing
        return invoke(Korg.interpolate_marcs, Tuple{Any,Any,AbstractVector{<:Real}}, Teff, logg, A_X; kwargs...)
    end
    m, vturb = switch
    m_H, alpha_m = star_labels(m, A_X)
    try
        korg_atmosphere(; Teff, logg, m_H, alpha_m, vturb, A_X, model=m)
    catch e
        e isa PinnDomainError || rethrow()
        throw(Korg.AtmosphereInterpolationError(sprint(showerror, e)))
    end
end

end

# A miniature of Korg 1.2.1 with its strictness: the types, argument lists and units that the extension relies on.

module Korg

const c_cgs = 2.99792458e10
const MAX_ATOMIC_NUMBER = 92
const asplund_2009_solar_abundances = [Z == 1 ? 12.0 : Z == 2 ? 10.93 : max(9.0 - 0.12Z, 0.0) for Z in 1:92]
const ionization_energies = Dict(1 => [13.6, -1.0, -1.0])
const default_partition_funcs = Dict("H I" => x -> 2.0)
const default_log_equilibrium_constants = Dict("H2" => x -> 5.0)

abstract type ModelAtmosphere end

struct PlanarAtmosphereLayer{F1,F2,F3,F4,F5}
    tau_ref::F1
    z::F2
    temp::F3
    electron_number_density::F4
    number_density::F5
end

struct PlanarAtmosphere{F1,F2,F3,F4,F5} <: ModelAtmosphere
    layers::Vector{PlanarAtmosphereLayer{F1,F2,F3,F4,F5}}
    reference_wavelength::Float64
end

struct AtmosphereInterpolationError <: Exception
    msg::String
end

function format_A_X(default_metals_H::R1=0.0, default_alpha_H::R2=default_metals_H, abundances::AbstractDict=Dict();
                    solar_relative=true, solar_abundances=asplund_2009_solar_abundances,
                    alpha_elements=[8, 10, 12, 14, 16, 18, 20, 22]) where {R1<:Real,R2<:Real}
    length(solar_abundances) == MAX_ATOMIC_NUMBER || error("92 solar abundances are needed")
    map(1:MAX_ATOMIC_NUMBER) do Z
        Z == 1 ? 12.0 : Z == 2 ? solar_abundances[2] :
        solar_abundances[Z] + (Z in alpha_elements ? default_alpha_H : default_metals_H)
    end
end

function chemical_equilibrium(temp, n_total, model_atm_ne, absolute_abundances, ionization, partition, constants;
                              electron_number_density_warn_threshold=0.1, electron_number_density_warn_min_value=1e-4)
    ionization === ionization_energies && partition === default_partition_funcs &&
        constants === default_log_equilibrium_constants || error("wrong data tables")
    abs(sum(absolute_abundances) - 1) < 1e-9 || error("abundances are not fractions of the total")
    1000 < temp < 1e6 || error("temperature in K expected")
    0 < model_atm_ne < n_total || error("n_e must be less than the total number density")
    model_atm_ne, Dict("H I" => (n_total - model_atm_ne) * absolute_abundances[1])
end

function total_continuum_absorption(νs, T, ne, number_densities::Dict, partition_funcs::Dict; error_oobounds=false)
    all(5.9e14 .< νs .< 6.1e14) || error("frequency of 5000 A in Hz expected")
    # H- in a grey gas: right in kind and size.
    [4e-38 * number_densities["H I"] * ne * (5040 / T)^1.5 * 10^(0.75 * 5040 / T) for _ in νs]
end

# As in Korg: untyped labels, an abundance vector, keywords.
function interpolate_marcs(Teff, logg, A_X::AbstractVector{<:Real}; M_H=0, clamp_abundances=false,
                           perturb_at_grid_values=true, spherical=logg < 3.5)
    ("marcs", Teff, logg, clamp_abundances)
end
interpolate_marcs(Teff, logg, M_H=0, alpha_m=0, C_m=0; kwargs...) = ("direct", Teff, logg)
interpolate_marcs(Teff::Int, logg::Int, M_H::Int, args...; kwargs...) =
    interpolate_marcs(Float64(Teff), Float64(logg), Float64(M_H), args...; kwargs...)

end

# The extension as it is, on this Korg.
extension = read(joinpath(@__DIR__, "..", "ext", "SMEPinnAtmoKorgExt.jl"), String)
extension = replace(extension, "using SMEPinnAtmo:" => "using ..SMEPinnAtmo:")
extension = replace(extension, "import SMEPinnAtmo:" => "import ..SMEPinnAtmo:")
extension = replace(extension, "using SMEPinnAtmo\n" => "using ..SMEPinnAtmo\n")
extension = replace(extension, "using Korg\n" => "import ..Korg\n")
include_string(@__MODULE__, extension)

A_X(m_H=0.0) = (a = collect(Float64, Korg.asplund_2009_solar_abundances);
                foreach(e -> a[e.Z] = e.A + (e.Z > 2 ? m_H : 0.0), model.elements); a)

@testset "an atmosphere as Korg wants it" begin
    for (teff, logg, m_H) in ((5777, 4.44, 0.0), (4800, 2.3, -0.7), (9000.0, 4, 0))
        atm = korg_atmosphere(Teff=teff, logg=logg, m_H=m_H, model=model)
        @test atm isa Korg.PlanarAtmosphere
        @test atm.reference_wavelength == 5e-5
        tau = [l.tau_ref for l in atm.layers]
        @test all(tau .> 0) && all(diff(tau) .> 0)
        z = [l.z for l in atm.layers]
        @test all(diff(z) .< 0)
        # z is zero where tau_ross is one.
        p = pinn_atmosphere(Teff=teff, logg=logg, m_H=m_H, model=model)
        @test abs((S.interpolation_matrix(log.(p.tau_ross), [0.0])*z)[1]) < 1e-6 * maximum(abs, z)
        # dz = -dm / rho
        i = length(z) ÷ 2
        @test (z[i-1] - z[i+1]) ≈ (p.rhox[i+1] - p.rhox[i-1]) / p.density[i] rtol = 0.05
        n = [l.number_density for l in atm.layers]
        @test n ≈ p.gas_pressure ./ (model.boltzmann .* p.temperature)
    end
end

@testset "duals reach every field" begin
    x = Dual(5777.0, [1.0])
    atm = korg_atmosphere(Teff=x, logg=4.44, model=model)
    @test eltype(atm.layers) <: Korg.PlanarAtmosphereLayer{Dual,Dual,Dual,Dual,Dual}
    up, down = (korg_atmosphere(Teff=5777.0 + h, logg=4.44, model=model) for h in (0.5, -0.5))
    for name in (:tau_ref, :z, :temp, :electron_number_density, :number_density), i in (5, 40, 70)
        difference = getproperty(up.layers[i], name) - getproperty(down.layers[i], name)
        @test getproperty(atm.layers[i], name).partials[1] ≈ difference rtol = 1e-4 atol = 1e-6 * abs(difference)
    end
end

@testset "with_pinn" begin
    before = Korg.interpolate_marcs(5777.0, 4.44, A_X(); clamp_abundances=true)
    @test before == ("marcs", 5777.0, 4.44, true)
    inside = with_pinn(model=model) do
        Korg.interpolate_marcs(5777.0, 4.44, A_X(-0.3); clamp_abundances=true, perturb_at_grid_values=true)
    end
    @test inside isa Korg.PlanarAtmosphere
    same = korg_atmosphere(Teff=5777.0, logg=4.44, m_H=-0.3, A_X=A_X(-0.3), model=model)
    @test [l.temp for l in inside.layers] ≈ [l.temp for l in same.layers]
    @test_throws ErrorException with_pinn(() -> error("stop"); model=model)
    @test Korg.interpolate_marcs(5777.0, 4.44, A_X(); clamp_abundances=true) == before
    @test Korg.interpolate_marcs(5000, 4, 0) == ("direct", 5000.0, 4.0)
    # Out of the domain, and NaN: an error that Korg's fitting takes for a bad step.
    for teff in (1e6, NaN)
        @test_throws Korg.AtmosphereInterpolationError with_pinn(model=model) do
            Korg.interpolate_marcs(teff, 4.44, A_X())
        end
    end
end

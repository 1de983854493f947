# A miniature of Korg 1.2.1 with its strictness: the types, signatures, keywords, units, errors and solar scales that
# the extension and the Python adapter rely on. Physics is replaced by formulas of the right kind and size.

module Korg

# Derivatives as ForwardDiff gives them, with the test's own dual numbers.
module ForwardDiff
import ...Dual
function jacobian(f, x::Vector{Float64})
    y = f([Dual(x[j], Float64.(1:length(x) .== j)) for j in eachindex(x)])
    [isempty(v.partials) ? 0.0 : v.partials[j] for v in y, j in eachindex(x)]
end
end

const c_cgs = 2.99792458e10
const MAX_ATOMIC_NUMBER = UInt8(92)
const atomic_symbols = ["X$Z" for Z in 1:92]
atomic_symbols[[1, 2, 6, 12, 26]] = ["H", "He", "C", "Mg", "Fe"]
const atomic_numbers = Dict(atomic_symbols .=> UInt8.(1:92))
const published = Dict(  # Asplund et al. 2009, Bergemann et al. 2025
    1 => (12.0, 12.0), 2 => (10.93, 10.922), 6 => (8.43, 8.51), 7 => (7.83, 7.94), 8 => (8.69, 8.76),
    10 => (7.93, 8.15), 11 => (6.24, 6.29), 12 => (7.60, 7.58), 13 => (6.45, 6.43), 14 => (7.51, 7.56),
    16 => (7.12, 7.16), 18 => (6.40, 6.50), 20 => (6.34, 6.35), 22 => (4.95, 4.97), 24 => (5.64, 5.74),
    25 => (5.43, 5.52), 26 => (7.50, 7.51), 28 => (6.22, 6.24))
const asplund_2009_solar_abundances = [get(published, Z, (2.0, 2.1))[1] for Z in 1:92]
const default_solar_abundances = [get(published, Z, (2.0, 2.1))[2] for Z in 1:92]
const default_alpha_elements = [8, 10, 12, 14, 16, 18, 20, 22]
const atomic_masses = [Z == 1 ? 1.008 : Z == 2 ? 4.003 : 2.1 * Z for Z in 1:92] .* 1.6605402e-24  # g
const ionization_energies = Dict(UInt8(1) => [13.6, -1.0, -1.0])
struct Formula
    Z::UInt8
end
struct Species
    formula::Formula
    charge::Int16
end
# As Korg reads "Fe 1", "Fe I" or "Fe".
function Species(code::AbstractString)
    parts = split(strip(code))
    charge = length(parts) == 1 ? 0 : something(findfirst(isequal(parts[2]), ["I", "II", "III"]),
                                                tryparse(Int, parts[2])) - 1
    Species(Formula(atomic_numbers[parts[1]]), charge)
end
# Fields may be of different types, and widths that are missing are approximated.
struct Line{F1,F2,F3,F4,F5,F6}
    wl::F1
    log_gf::F2
    species::Species
    E_lower::F3
    gamma_rad::F4
    gamma_stark::F5
    vdW::Tuple{F6,F6}
    function Line(wl::Real, log_gf::Real, species::Species, E_lower::Real, gamma_rad=missing, gamma_stark=missing,
                  vdW=missing)
        wl >= 1 && (wl *= 1e-8)
        r, q, v = coalesce(gamma_rad, 1e8), coalesce(gamma_stark, 1e-6), coalesce(vdW, -7.5)
        v isa Tuple || (v = v < 0 ? (10.0^v, -1.0) : v < 20 ? (0.0, -1.0) : (floor(v), v - floor(v)))
        new{typeof(wl),typeof(log_gf),typeof(E_lower),typeof(r),typeof(q),eltype(v)}(wl, log_gf, species, E_lower, r,
                                                                                      q, v)
    end
end
Line(l::Line; wl=l.wl, log_gf=l.log_gf, species=l.species, E_lower=l.E_lower, gamma_rad=l.gamma_rad,
     gamma_stark=l.gamma_stark, vdW=l.vdW) = Line(wl, log_gf, species, E_lower, gamma_rad, gamma_stark, vdW)

const default_partition_funcs = Dict(Species(Formula(1), 0) => x -> 2.0)
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

struct ShellAtmosphereLayer{F1,F2,F3,F4,F5}
    tau_ref::F1
    z::F2
    temp::F3
    electron_number_density::F4
    number_density::F5
end

struct ShellAtmosphere{F1,F2,F3,F4,F5,F6} <: ModelAtmosphere
    layers::Vector{ShellAtmosphereLayer{F1,F2,F3,F4,F5}}
    R::F6
    reference_wavelength::Float64
end

# Of the outermost layer over the photosphere, as fluxes of spheres are given at the photosphere.
surface(atm::PlanarAtmosphere) = 1.0
surface(atm::ShellAtmosphere) = (1 + atm.layers[1].z / atm.R)^2

struct AtmosphereInterpolationError <: Exception
    msg::String
end
struct LazyMultilinearInterpError <: Exception
    msg::String
end
struct ChemicalEquilibriumError <: Exception
    msg::String
end

function format_A_X(default_metals_H::R1=0.0, default_alpha_H::R2=default_metals_H,
                    abundances::AbstractDict{K,V}=Dict{UInt8,Float64}();
                    solar_relative=true, solar_abundances=default_solar_abundances,
                    alpha_elements=default_alpha_elements) where {K,V,R1<:Real,R2<:Real}
    clean = Dict{UInt8,V}()
    for (el, abundance) in abundances
        el isa Symbol && (el = string(el))
        if el isa AbstractString
            el in keys(atomic_numbers) || throw(ArgumentError("$el isn't a valid atomic symbol."))
            clean[atomic_numbers[el]] = abundance
        else
            clean[el] = abundance
        end
    end
    map(1:MAX_ATOMIC_NUMBER) do Z
        if Z == 1
            12.0
        elseif Z in keys(clean)
            solar_relative ? clean[Z] + solar_abundances[Z] : clean[Z]
        elseif Z in alpha_elements
            solar_abundances[Z] + default_alpha_H
        else
            solar_abundances[Z] + default_metals_H * (Z >= 3)
        end
    end
end
format_A_X(abundances::AbstractDict; kwargs...) = format_A_X(0, abundances; kwargs...)
function format_A_X(default_metallicity::R, abundances::AbstractDict; kwargs...) where {R<:Real}
    format_A_X(default_metallicity, default_metallicity, abundances; kwargs...)
end

function chemical_equilibrium(temp, n_total, model_atm_ne, absolute_abundances, ionization, partition, constants;
                              electron_number_density_warn_threshold=0.1, electron_number_density_warn_min_value=1e-4)
    ionization === ionization_energies && partition === default_partition_funcs &&
        constants === default_log_equilibrium_constants || error("wrong data tables")
    abs(sum(absolute_abundances) - 1) < 1e-9 || error("abundances are not fractions of the total")
    isfinite(temp) && isfinite(n_total) || throw(ChemicalEquilibriumError("solution contains non-finite values"))
    1 <= temp <= 1e5 || throw(ArgumentError("Out-of-bounds value passed to interpolant."))
    0 < model_atm_ne < n_total || error("n_e must be less than the total number density")
    # Particles that are no electrons: hydrogen molecules below some 3200 K, else atoms.
    molecular = 0.9 / (1 + exp((temp - 3200) / 200))
    nuclei = (n_total - model_atm_ne) * (1 + molecular)
    n = Dict(Species(Formula(Z), 0) => 0.7 * nuclei * absolute_abundances[Z] for Z in 1:92)
    merge!(n, Dict(Species(Formula(Z), 1) => 0.2 * nuclei * absolute_abundances[Z] for Z in 1:92),
           Dict(Species(Formula(Z), 2) => 0.1 * nuclei * absolute_abundances[Z] for Z in 1:92))
    model_atm_ne, n
end

function total_continuum_absorption(νs, T, ne, number_densities::Dict, partition_funcs::Dict; error_oobounds=false)
    issorted(νs) && all(5.9e14 .< νs .< 6.1e14) || error("sorted frequencies near 5000 A in Hz expected")
    nH = number_densities[Species(Formula(1), 0)]
    # H- in a grey gas: right in kind and size.
    [5e-38 * nH * ne * (5040 / T)^1.5 * 10^(0.75 * 5040 / T) for _ in νs]
end

# As in Korg: untyped labels, an abundance vector, keywords.
function interpolate_marcs(Teff, logg, A_X::AbstractVector{<:Real}; M_H=0, solar_abundances=default_solar_abundances,
                           clamp_abundances=false, archives=(), kwargs...)
    interpolate_marcs(Teff, logg, A_X[26] - solar_abundances[26], 0, 0; archives=archives,
                      warn_about_dangerous_method=false, kwargs...)
end
function interpolate_marcs(Teff, logg, M_H=0, alpha_m=0, C_m=0; spherical=logg < 3.5, warn_about_dangerous_method=true,
                           perturb_at_grid_values=true, resampled_cubic_for_cool_dwarfs=true, archives=())
    isfinite(Teff) && isfinite(logg) || error("a NaN label reached Korg")
    ("marcs", Teff, logg, M_H)
end
function interpolate_marcs(Teff::Int, logg::Int, M_H::Int, args...; kwargs...)
    interpolate_marcs(Float64(Teff), Float64(logg), Float64(M_H), args...; kwargs...)
end

# Wavelengths [A] from what Korg's constructor takes.
wavelengths(w::AbstractRange) = collect(Float64, w)
wavelengths(w::AbstractVector{<:Real}) = collect(w)
wavelengths(w::Union{Tuple{<:Real,<:Real},Tuple{<:Real,<:Real,<:Real}}) = wavelengths([w])
wavelengths(w::AbstractVector{<:Tuple{Vararg{<:Real}}}) =
    vcat([collect(v[1]:(length(v) == 3 ? v[3] : 0.01):v[2]) for v in w]...)

# Even in vacuum, made of its ends in air.
struct Wavelengths <: AbstractVector{Float64}
    all_wls::Vector{Float64}
end
function Wavelengths(w::Tuple; air_wavelengths=false)
    λ = wavelengths(w)
    air_wavelengths || return Wavelengths(λ)
    Wavelengths(collect(range(1.00027 * λ[1], 1.00027 * λ[end]; length=length(λ))))
end
Base.size(w::Wavelengths) = size(w.all_wls)
Base.getindex(w::Wavelengths, i::Int) = w.all_wls[i]
air_to_vacuum(λ; cgs=λ < 1) = cgs ? error("wavelengths in A expected") : λ * 1.00027
vacuum_to_air(λ; cgs=λ < 1) = cgs ? error("wavelengths in A expected") : λ / 1.00027

struct SynthesisResult
    flux::Vector
    cntm::Vector
    wavelengths::Vector
end

function synthesize(atm::ModelAtmosphere, linelist, A_X::AbstractVector{<:Real}, w; vmic=1.0, line_buffer::Real=10.0,
                    electron_number_density_warn_threshold=Inf, hydrogen_lines=true, use_chemical_equilibrium_from=nothing)
    use_chemical_equilibrium_from isa Union{Nothing,SynthesisResult} || error("a result of synthesize expected")
    (length(A_X) != 92 || A_X[1] != 12) && throw(ArgumentError("A(H) must be a 92-element vector with A[1] == 12."))
    linelist isa AbstractVector || error("a line list is a vector")
    all(isconcretetype, eltype(atm.layers).parameters) || error("layers of one type expected")
    tau = [l.tau_ref for l in atm.layers]
    all(tau .> 0) && all(diff(tau) .> 0) || error("Korg would give a wrong spectrum here")
    i = findlast(t -> t < 1, tau)
    T, n = atm.layers[i].temp, atm.layers[i].number_density
    λ = wavelengths(w)
    # Lines of iron and magnesium, of two sensitivities to temperature.
    strength(Z, E, λ0) = 10^(A_X[Z] - 7.5 - E * (5040 / T - 0.9)) * (n / 1e17)^0.1 * (1 + 0.1 * vmic)
    profile(x, λ0) = exp(-((x - λ0) / 0.3)^2)
    cntm = [1e6 * (T / 6000)^4 * surface(atm) for _ in λ]
    depth = [0.4 * strength(26, 1.0, 1) * profile(x, λ[1] + 1) + 0.3 * strength(12, 3.0, 1) * profile(x, λ[1] + 3)
             for x in λ]
    SynthesisResult(cntm .* exp.(-depth .- line_depths(linelist, λ, A_X, T)), cntm, λ)
end

# Of lines of a list: numbers of the type that the first one has, as in Korg.
function line_depths(list, λ, A_X, T)
    lines = [l for l in list if l isa Line]
    isempty(lines) && return zeros(length(λ))
    depth = zeros(promote_type(typeof(first(lines)).parameters..., typeof(T)), length(λ))
    for l in lines, (i, x) in enumerate(λ)
        strength = 10.0^l.log_gf * exp(log(10.0) * (A_X[l.species.formula.Z] - 7.5 - l.E_lower * (5040 / T)))
        depth[i] += strength * exp(-((x - l.wl * 1e8) / 0.1)^2)
    end
    depth
end

function synth(; Teff=nothing, logg=nothing, M_H=0.0, alpha_H=M_H, linelist=get_VALD_solar_linelist(),
               wavelengths=(5000, 6000), rectify=true, R=Inf, vsini=0, vmic=1.0, synthesize_kwargs=Dict(),
               format_A_X_kwargs=Dict(), abundances...)
    A_X = format_A_X(M_H, alpha_H, abundances; format_A_X_kwargs...)
    s = synthesize(interpolate_marcs(Teff, logg, A_X), linelist, A_X, Wavelengths(wavelengths); vmic=vmic,
                   synthesize_kwargs...)
    s.wavelengths, s.flux ./ s.cntm, s.cntm
end

get_VALD_solar_linelist() = ["line"]

# Fits with Korg's calls and its treatment of errors: these two are bad steps, all others end the fit.
module Fit
using ..Korg
function synthetic_spectrum(w, linelist, params)
    specified = Dict([p for p in pairs(params) if p.first in Korg.atomic_symbols])
    alpha_H = "alpha_H" in keys(params) ? params["alpha_H"] : params["M_H"]
    A_X::Vector{valtype(params)} = Korg.format_A_X(params["M_H"], alpha_H, specified; solar_relative=true)
    atm = Korg.interpolate_marcs(params["Teff"], params["logg"], A_X; clamp_abundances=true,
                                 perturb_at_grid_values=true)
    s = Korg.synthesize(atm, linelist, A_X, w; vmic=params["vmic"], line_buffer=0,
                        electron_number_density_warn_threshold=Inf)
    s.flux ./ s.cntm
end
function attempt(w, linelist, params)
    try
        synthetic_spectrum(w, linelist, params)
    catch e
        e isa Korg.ChemicalEquilibriumError || e isa Korg.LazyMultilinearInterpError || rethrow()
        nothing
    end
end
function fit_spectrum(obs_wls, obs_flux, obs_err, linelist, initial_guesses, fixed_params=NamedTuple(); R=nothing,
                      windows=nothing)
    R === nothing && throw(ArgumentError("The resolution, R, must be specified"))
    windows === nothing || windows isa Vector{<:Tuple} || error("windows are a vector of pairs")
    all(isfinite, obs_flux) || throw(ArgumentError("must not contain NaN or Inf"))
    fixed = merge(Dict("M_H" => 0.0, "vmic" => 1.0), Dict{String,Float64}(fixed_params))
    x = Dict{String,Float64}(initial_guesses)
    bad = attempt(obs_wls, linelist, merge(fixed, x, Dict("Teff" => 1e6))) === nothing
    names = collect(keys(x))
    for _ in 1:8
        flux = attempt(obs_wls, linelist, merge(fixed, x))
        step = Dict("Teff" => 1.0, "M_H" => 1e-3)
        J = hcat([(attempt(obs_wls, linelist, merge(fixed, x, Dict(k => x[k] + step[k]))) .- flux) ./ step[k]
                  for k in names]...)
        for (k, d) in zip(names, J \ (obs_flux .- flux))
            x[k] += d
        end
    end
    (best_fit_params=x, trace=bad)
end
end

end

module PythonCall
struct Py
    value::Any
end
pyconvert(::Type{Any}, x::Py) = x.value
end

# The extension and the adapter as they are, on this Korg.
module KorgExtension
import ..Korg, ..SMEPinnAtmo, ..PythonCall
for file in (("ext", "SMEPinnAtmoKorgExt.jl"), ("python", "adapter.jl"))
    code = read(joinpath(@__DIR__, "..", file...), String)
    for name in ("SMEPinnAtmo", "Korg", "PythonCall")
        code = replace(code, Regex("(using|import) $name\\b") => SubstitutionString("\\1 ..$name"))
    end
    include_string(@__MODULE__, code)
end
end
const P = KorgExtension.SMEPinnAtmoPython

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

@testset "cool and hot stars" begin
    # Two atoms a molecule: the same pressure weighs more, and the layers lie closer.
    labels = (Teff=2800, logg=5.0, m_H=0.0)
    atm, p = korg_atmosphere(; labels..., model=model), pinn_atmosphere(; labels..., model=model)
    i = findlast(t -> t < 3000, p.temperature)
    height, heavier = atm.layers[i-1].z - atm.layers[i+1].z, (p.rhox[i+1] - p.rhox[i-1]) / p.density[i]
    @test 1.5 < heavier / height < 2
    hot = korg_atmosphere(Teff=30000, logg=4.0, model=model)
    p = pinn_atmosphere(Teff=30000, logg=4.0, model=model)
    @test maximum(p.temperature) > 1e5 > maximum(l.temp for l in hot.layers)
    @test p.tau_ross[length(hot.layers)] > 20
end

@testset "abundances on the model's solar scale" begin
    A_X = model_A_X(-0.5, 0.3, Dict("Fe" => -0.2); model=model)
    solar = Dict(e.symbol => e.A for e in model.elements)
    @test A_X[1:2] == [12.0, solar["He"]]
    @test A_X[12] ≈ solar["Mg"] - 0.2
    @test A_X[6] ≈ solar["C"] - 0.5
    @test A_X[26] ≈ solar["Fe"] - 0.2
    @test all(S.star_labels(model, model_A_X(-0.5, 0.3; model=model)) .≈ (-0.5, 0.3))
end

@testset "composition that does not fit" begin
    @test isempty(S.composition_misfit(model, -0.5, 0.3, model_A_X(-0.5, 0.3; model=model)))
    A_X = model_A_X(-0.5, 0.3, Dict("C" => 0.0); model=model)
    off = S.composition_misfit(model, -0.5, 0.3, A_X)
    @test first.(off) == ["C"] && last(off[1]) ≈ 0.5
    @test first.(S.composition_misfit(model, -0.5, 0.3, model_A_X(-0.5, 0.3, Dict("He" => 0.15); model=model))) == ["He"]
    @test S.composition_misfit(model, Dual(-0.5, [1.0]), 0.3, [Dual(a, [1.0]) for a in A_X]) == off
    star = (Teff=4800, logg=2.3, m_H=-0.5, alpha_m=0.3, model=model)
    fits = model_A_X(-0.5, 0.3; model=model)
    @test_logs (:warn, r"C by 0.5 dex") korg_atmosphere(; star..., A_X=A_X)
    @test_logs korg_atmosphere(; star..., A_X=fits)
    @test_logs korg_atmosphere(; star..., A_X=A_X, check_composition=false)
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

A_X(m_H=0.0) = model_A_X(m_H; model=model)

@testset "spheres of $name in Korg" for name in NAMES
    m = load_model(exported(name))
    if S.has_mass(m)
        labels = (Teff=max(4300.0, m.lower[1]), logg=1.0, model=m)
        shell, p = korg_atmosphere(; labels...), pinn_atmosphere(; labels...)
        @test shell isa Korg.ShellAtmosphere && shell.R == p.radius && shell.reference_wavelength == 5e-5
        @test [l.z for l in shell.layers] == p.height
        @test korg_atmosphere(; labels..., mass=2.0).R ≈ sqrt(2) * shell.R
        plane = korg_atmosphere(; labels..., geometry=:plane)
        @test plane isa Korg.PlanarAtmosphere
        @test [l.z for l in plane.layers] == pinn_atmosphere(; labels..., geometry=:plane).height
        # The layers of a sphere give the sphere again.
        same = korg_atmosphere(p; A_X=model_A_X(; model=m))
        @test same isa Korg.ShellAtmosphere && same.R == shell.R
        @test all(isapprox(a.tau_ref, b.tau_ref; rtol=0.02) for (a, b) in zip(shell.layers, same.layers))
        x = korg_atmosphere(; labels..., mass=Dual(1.0, [1.0]))
        @test eltype(x.layers) <: Korg.ShellAtmosphereLayer{Dual,Dual,Dual,Dual,Dual} && x.R isa Dual
        # Inside `with_pinn`, and what its options and those of the call ask for.
        A = model_A_X(; model=m)
        look(; options...) = with_pinn(() -> Korg.interpolate_marcs(labels.Teff, 1.0, A); model=m, options...)
        @test look() isa Korg.ShellAtmosphere && look(geometry=:plane) isa Korg.PlanarAtmosphere
        @test look(mass=2.0).R ≈ sqrt(2) * look().R
        asked = with_pinn(() -> Korg.interpolate_marcs(labels.Teff, 1.0, A; spherical=false); model=m)
        @test asked isa Korg.PlanarAtmosphere
        @test_throws PinnDomainError look(mass=1e3)
        @test_throws ArgumentError look(geometry=:cube)
        # What Python asks for.
        path = exported(name)
        giant = (Teff=labels.Teff, logg=1.0, m_H=0.0, alpha_m=0.0, vturb=1.0, mass=1.0)
        flux(; more...) = P._synthesize([], (5000, 5001), Dict(), nothing, Dict(), path; merge(giant, values(more))...)[2]
        @test flux() == flux(geometry="sphere") != flux(geometry="plane")
        @test flux(mass=2.0) != flux()
        @test P._atmosphere(path; giant..., geometry="plane") isa Korg.PlanarAtmosphere
        rectified, J = P._jacobian([], (5000, 5001), Dict(), nothing, Dict(), path; giant...)
        @test size(J) == (length(rectified), 6) && any(!iszero, J[:, 6])
        before = P._switch_on(path, 1.0, 2.0, "sphere")
        @test task_local_storage(S.SWITCH).mass == 2.0 && task_local_storage(S.SWITCH).geometry === :sphere
        P._switch_back(before)
    else
        @test_throws ArgumentError korg_atmosphere(Teff=4800, logg=2.3, mass=1.0, model=m)
        @test_throws ArgumentError with_pinn(() -> nothing; model=m, geometry=:sphere)
    end
end

@testset "with_pinn" begin
    before = Korg.interpolate_marcs(5777.0, 4.44, A_X(); clamp_abundances=true)
    @test before[1:3] == ("marcs", 5777.0, 4.44)
    inside = with_pinn(model=model) do
        Korg.interpolate_marcs(5777.0, 4.44, A_X(-0.3); clamp_abundances=true, perturb_at_grid_values=true)
    end
    @test inside isa Korg.PlanarAtmosphere
    same = korg_atmosphere(Teff=5777.0, logg=4.44, m_H=-0.3, A_X=A_X(-0.3), model=model)
    @test [l.temp for l in inside.layers] ≈ [l.temp for l in same.layers]
    @test_throws ErrorException with_pinn(() -> error("stop"); model=model)
    @test Korg.interpolate_marcs(5777.0, 4.44, A_X(); clamp_abundances=true) == before
    @test Korg.interpolate_marcs(5000, 4, 0) == ("marcs", 5000.0, 4.0, 0.0)
    @test Korg.interpolate_marcs(5000, 4) == ("marcs", 5000, 4, 0)
    # Out of the domain, and NaN: an error that Korg's fitting takes for a bad step, in dual numbers too.
    for teff in (1e6, NaN, Dual(1e6, [1.0]))
        @test_throws Korg.LazyMultilinearInterpError with_pinn(model=model) do
            Korg.interpolate_marcs(teff, 4.44, A_X())
        end
    end
    for bad in ((vturb=NaN,), (vturb=-1,))
        @test_throws PinnDomainError with_pinn(() -> nothing; model=model, bad...)
    end
    @test_throws ArgumentError with_pinn(() -> nothing; model=model, solar=:mars)
end

@testset "solar scales" begin
    default = Korg.format_A_X(-0.3)
    @test with_pinn(() -> Korg.format_A_X(-0.3); model=model) == default
    @test with_pinn(() -> Korg.format_A_X(-0.3); model=model, solar=:model) ≈ A_X(-0.3)
    mine = fill(5.0, 92)
    @test with_pinn(() -> Korg.format_A_X(solar_abundances=mine); model=model, solar=:model)[2:end] == mine[2:end]
    @test Korg.format_A_X(-0.3) == default
    # Abundances that duals pass through are a vector of mixed types in Korg.
    x = Dual(-0.3, [1.0])
    inside = with_pinn(() -> Korg.interpolate_marcs(5777.0, 4.44, Korg.format_A_X(x)); model=model)
    @test eltype(inside.layers) <: Korg.PlanarAtmosphereLayer{Dual,Dual,Dual,Dual,Dual}
end

@testset "synth and fits" for solar in (:korg, :model)
    truth = Dict("Teff" => 5600.0, "M_H" => -0.2)
    with_pinn(model=model, solar=solar) do
        w, flux, _ = Korg.synth(Teff=5600.0, logg=4.3, M_H=-0.2, wavelengths=(5000, 5005))
        result = Korg.Fit.fit_spectrum(w, flux, fill(1e-3, length(w)), [], Dict("Teff" => 5700.0, "M_H" => 0.0),
                                       Dict("logg" => 4.3); R=50_000)
        @test result.trace
        more = Korg.synth(Teff=5600.0, logg=4.3, M_H=-0.2, Fe=-0.1, wavelengths=(5000, 5005))[2]
        @test minimum(more) < minimum(flux)
        @test all(abs(result.best_fit_params[k] - truth[k]) < 1e-3 for k in keys(truth))
    end
end

@testset "the Python adapter" begin
    path = "atlas12"
    sun = (Teff=5777.0, logg=4.44, m_H=0.0, alpha_m=0.0, vturb=1.0)
    py = PythonCall.Py
    none = py(Dict())
    w, flux, cntm = P._synthesize(["line"], (py(5000), 5005), py(Dict(py("Mg") => py(0.1))), nothing,
                                  py(Dict(py("hydrogen_lines") => false)), path; sun...)
    @test length(w) == length(flux) == length(cntm) == 501
    plain = P._synthesize([], (5000, 5005), none, nothing, none, path; sun...)[2]
    @test flux[301] < plain[301]
    @test flux[101] ≈ plain[101] rtol = 1e-6
    # Lists of windows and evenly spaced wavelengths.
    @test length(P._synthesize([], ((5000, 5001), (5003, 5004, 0.1)), none, 1.0, none, path; sun...)[1]) == 112
    @test length(P._synthesize([], py([5000.0, 5000.5, 5001.0, 5001.5]), none, 1.0, none, path; sun...)[1]) == 4
    # The layers of an atmosphere give the atmosphere again, to what splines over m instead of tau differ.
    p = pinn_atmosphere(Teff=5777.0, logg=4.44, model=model)
    columns = (p.rhox, p.tau_ross, p.temperature, p.electron_density, p.atom_density)
    own = korg_atmosphere(Teff=5777.0, logg=4.44, model=model)
    same = korg_atmosphere((; zip((:rhox, :tau_ross, :temperature, :electron_density, :atom_density), columns)...);
                           A_X=model_A_X(; model=model))
    for (name, rtol) in ((:tau_ref, 2e-3), (:temp, 1e-12), (:number_density, 1e-12))
        @test all(isapprox(getproperty(a, name), getproperty(b, name); rtol=rtol)
                  for (a, b) in zip(own.layers, same.layers))
    end
    @test all(abs(a.z - b.z) < 1e5 for (a, b) in zip(own.layers, same.layers))  # cm
    air, of_layers = P._layers([], 5000.0, 5005.0, 0.01, 1.0, 0.0, map(py, columns)...)
    @test air[[1, end]] ≈ [5000.0, 5005.0]
    @test length(air) == length(of_layers) == 501
    # Derivatives are those of `_synthesize`, vmic following vturb unless it is given.
    for vmic in (nothing, 1.2)
        rectified, J = P._jacobian([], (5000, 5005), none, vmic, none, path; sun...)
        @test size(J) == (501, 5)
        for (j, (name, h)) in enumerate(((:Teff, 1.0), (:logg, 1e-3), (:m_H, 1e-3), (:alpha_m, 1e-3), (:vturb, 1e-3)))
            up, down = map((h, -h)) do d
                labels = merge(sun, NamedTuple{(name,)}((sun[name] + d,)))
                s = P._synthesize([], (5000, 5005), none, vmic, none, path; labels...)
                s[2] ./ s[3]
            end
            @test maximum(abs.((up .- down) ./ 2h .- J[:, j])) < 1e-3 * maximum(abs.(J[:, j]))
        end
    end
    # By log gf of groups of lines: those of a group are read off apart, and hold against differences.
    wave, log_gf, names = [5000.0, 5001.0, 5003.0, 5004.0], [0.5, 0.7, 0.6, 0.8], ["Fe 1", "Fe 2", "Mg 1", "Fe 1"]
    list(gf) = (py(wave), py(gf), py(map(py, names)), [1.0, 1.2, 1.0, 0.9], [8.0, 0, 8, 8], [0.0, -5, 0, 0],
                [-7.5, 0.0, 300.25, -7.7])
    by_lines(gf, groups, n) = P._line_jacobian(list(gf), groups, n, (5000, 5006), none, nothing, none, path; sun...)
    w, flux, cntm, J = by_lines(log_gf, py([1, 2, 0, 1]), 2)
    @test size(J) == (length(flux), 2) && size(by_lines(log_gf, [0, 0, 0, 0], 0)[4]) == (length(flux), 0)
    for (j, of) in ((1, [1, 4]), (2, [2]))
        up, down = (by_lines(log_gf .+ h .* [i in of for i in 1:4], [0, 0, 0, 0], 0)[2] for h in (1e-4, -1e-4))
        @test maximum(abs.((up .- down) ./ 2e-4 .- J[:, j])) < 1e-5 * maximum(abs.(J[:, j]))
    end
    @test argmin(J[:, 2]) == argmin(abs.(w .- 5001 * 1.00027))
    @test maximum(abs.(J[abs.(w .- 5003 * 1.00027) .< 0.3, :])) < 1e-3 * maximum(abs.(J))
    s = P._synthesize([], (5000, 5005), none, 1.0, none, path; Teff=5600.0, logg=4.3, m_H=-0.2, alpha_m=0.0, vturb=1.0)
    options = py(Dict(py("R") => 1e6, py("windows") => py([py((5000, 5005))])))
    result = P._fit(py(s[1]), py(s[2] ./ s[3]), fill(1e-3, 501), [], py(Dict("Teff" => 5700, "M_H" => 0.0)),
                    py(Dict("logg" => 4.3)), path, 1.0, nothing, nothing, options)
    @test abs(result.best_fit_params["Teff"] - 5600) < 0.1 && abs(result.best_fit_params["M_H"] + 0.2) < 1e-4
    before = Korg.interpolate_marcs(5777.0, 4.44, A_X())
    first = P._switch_on(path, 1.0, nothing, nothing)
    second = P._switch_on(path, 2.0, nothing, nothing)
    @test Korg.interpolate_marcs(5777.0, 4.44, A_X()) isa Korg.PlanarAtmosphere
    P._switch_back(second)
    @test task_local_storage(S.SWITCH).vturb == 1.0
    P._switch_back(first)
    @test Korg.interpolate_marcs(5777.0, 4.44, A_X()) == before
end

using Test
using LinearAlgebra
include("duals.jl")
include(joinpath("..", "src", "SMEPinnAtmo.jl"))
using .SMEPinnAtmo
const S = SMEPinnAtmo

@testset "splines" begin
    x = [0.0, 0.3, 0.7, 1.6, 2.0, 3.1]
    cubic(t) = 1 - 2t + 0.5t^2 - 0.25t^3
    integral(t) = t - t^2 + 0.5t^3 / 3 - 0.25t^4 / 4
    t = collect(range(0, 3.1; length=23))
    # A not-a-knot spline is exact for a cubic.
    @test S.interpolation_matrix(x, t) * cubic.(x) ≈ cubic.(t) rtol = 1e-12
    @test S.integration_matrix(x) * cubic.(x) ≈ integral.(x) atol = 1e-12
end

function read_golden(path)
    open(path) do io
        n, n_label, n_field, n_depth, n_tau = parse.(Int, split(readline(io)))
        next(k...) = permutedims(reshape(ltoh.([read(io, Float64) for _ in 1:prod(k)]), reverse(k)...), length(k):-1:1)
        tau = vec(next(n_tau))
        stars = [(x=vec(next(n_label)), value=next(n_field, n_depth), jacobian=next(n_field, n_depth, n_label),
                  there=next(n_field, n_tau)) for _ in 1:n]
        tau, stars
    end
end

# NAME.bin of every model to test, and NAME.pinn of those that the package does not have: `sme-pinn-atmo export-julia --all`
# writes those here, `export-julia NAME NAME.pinn --golden NAME.bin` others.
const FOLDER = get(ENV, "SME_PINN_ATMO_GOLDEN", joinpath(@__DIR__, "golden"))
const NAMES = [f[1:end-4] for f in readdir(FOLDER) if endswith(f, ".bin")]
exported(name) = (path = joinpath(FOLDER, name * ".pinn"); isfile(path) ? path : name)
model = load_model("atlas12")

@testset "forward pass and derivatives of $name equal NumPy's" for name in NAMES
    model = load_model(exported(name))
    tau, stars = read_golden(joinpath(FOLDER, name * ".bin"))
    for star in stars
        @test maximum(abs.(S.log_profiles(model, star.x)' .- star.value)) < 1e-10
        x = [Dual(star.x[j], Float64.(1:length(star.x) .== j)) for j in eachindex(star.x)]
        d = S.log_profiles(model, x)
        jacobian = [d[i, f].partials[j] for f in 1:size(d, 2), i in 1:size(d, 1), j in eachindex(star.x)]
        # teff in kelvin has small derivatives: compare per unit of each label's range.
        range = reshape(model.upper .- model.lower, 1, 1, :)
        @test maximum(abs.((jacobian .- star.jacobian) .* range)) < 1e-8 * max(1, maximum(abs.(star.jacobian .* range)))
        # Of a model with a mass, an infinite one stands for plane-parallel layers.
        curved = S.has_mass(model) && isfinite(star.x[6])
        sphere = !S.has_mass(model) ? NamedTuple() : curved ? (mass=star.x[6], geometry=:sphere) : (geometry=:plane,)
        p = pinn_atmosphere(; Teff=star.x[1], logg=star.x[2], m_H=star.x[3], alpha_m=star.x[4], vturb=star.x[5],
                            sphere..., model=model, tau=tau)
        @test maximum(abs.(log.(p.temperature) .- star.there[1, :])) < 1e-10
        @test maximum(abs.(log.(p.gas_pressure) .- star.there[6, :])) < 1e-10
        @test p.tau_ross ≈ tau
        S.has_mass(model) && @test maximum(abs.(log.(p.density) .- star.there[8, :])) < 1e-10
        @test isfinite(p.radius) == curved
        @test curved || p.radius == Inf
    end
end

@testset "spheres of $name" for name in NAMES
    model = load_model(exported(name))
    if S.has_mass(model)
        labels = (Teff=max(4300.0, model.lower[1]), logg=1.0, model=model)
        sphere, plane = pinn_atmosphere(; labels...), pinn_atmosphere(; labels..., geometry=:plane)
        # By default a sphere of one solar mass up to log g 3.
        @test sphere.radius ≈ sqrt(1.32712440018e26 / 10.0^labels.logg) rtol = 1e-6
        @test pinn_atmosphere(; labels..., mass=2.0).radius ≈ sqrt(2) * sphere.radius
        @test plane.radius == Inf && sphere.height != plane.height
        @test pinn_atmosphere(; labels..., logg=3.01).radius == Inf
        @test isfinite(pinn_atmosphere(; labels..., logg=3.01, geometry=:sphere).radius)
        # Heights vanish at tau_ross = 1 and fall inwards; dr = -dm / rho.
        @test abs((S.interpolation_matrix(model.ln_tau, [0.0])*sphere.height)[1]) < 1e-6 * maximum(sphere.height)
        @test all(diff(sphere.height) .< 0)
        i = length(sphere.height) ÷ 2
        drop = sphere.height[i-1] - sphere.height[i+1]
        @test drop ≈ (sphere.rhox[i+1] - sphere.rhox[i-1]) / sphere.density[i] rtol = 0.05
        # dP / dm is the gravity of the layer less the radiative acceleration.
        weight = 10.0^labels.logg ./ (1 .+ sphere.height ./ sphere.radius) .^ 2 .- sphere.radiative_acceleration
        slope = (sphere.gas_pressure[i+1] - sphere.gas_pressure[i-1]) / (sphere.rhox[i+1] - sphere.rhox[i-1])
        @test slope ≈ weight[i] rtol = 0.03
        x = Dual(2.0, [1.0])
        radius = pinn_atmosphere(; labels..., mass=2.0).radius
        @test pinn_atmosphere(; labels..., mass=x).radius.partials[1] ≈ radius / 4
        @test_throws ArgumentError pinn_atmosphere(; labels..., geometry=:cube)
        @test_throws PinnDomainError pinn_atmosphere(; labels..., mass=1e3)
    else
        @test_throws ArgumentError pinn_atmosphere(Teff=5777, logg=4.44, mass=1.0, model=model)
        @test_throws ArgumentError pinn_atmosphere(Teff=5777, logg=4.44, geometry=:sphere, model=model)
        @test pinn_atmosphere(Teff=5777, logg=4.44, geometry=:plane, model=model).radius == Inf
    end
end

@testset "bad labels" begin
    for (label, value) in ((:Teff, 1e6), (:Teff, NaN), (:logg, 99), (:m_H, -9), (:vturb, -1))
        labels = merge((Teff=5777.0, logg=4.44, m_H=0.0, vturb=1.0), NamedTuple{(label,)}((value,)))
        @test_throws PinnDomainError pinn_atmosphere(; labels..., model=model)
    end
    e = try
        pinn_atmosphere(Teff=1e6, logg=4.44, model=model)
    catch e
        sprint(showerror, e)
    end
    @test occursin("teff = 1.0e6", e) && occursin(string(model.upper[1]), e)
    # No hot giants.
    @test_throws PinnDomainError pinn_atmosphere(Teff=15000, logg=0.5, model=model)
    @test_throws ArgumentError pinn_atmosphere(Teff=5777, logg=4.44, model=model, tau=[1.0, 0.5])
    @test_throws ArgumentError load_model("atlas99")
end

@testset "damaged files" begin
    path, io = mktemp()
    close(io)
    write(path, "something else")
    @test_throws ArgumentError S.read_model(path)
    whole = read(joinpath(@__DIR__, "..", "models", "atlas12.pinn"))
    write(path, whole[1:end-100])
    @test_throws ArgumentError S.read_model(path)
    write(path, vcat(codeunits("sme_pinn_atmo 9"), whole[16:end]))
    @test_throws ArgumentError S.read_model(path)
end

@testset "Korg" begin
    include("korg_miniature.jl")
end

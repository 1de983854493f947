# The network: labels -> features -> branch -> coefficients -> fields on the grid -> integrated structure.
# The equations are those of sme_pinn_atmo/emulator/runtime.py.

# Columns of `log_profiles`, natural logarithms; density only of a model that knows spheres.
const FIELDS = ("temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure",
                "atom_density", "density")

# Log g up to which a star with a mass is a sphere unless a plane is asked for, as MARCS computes it.
const SPHERE_LOGG = 3.0

const SPHERE_PASSES = 6  # of the fixed point for R/r, see physics.py

"""
    log_profiles(model, x)

Natural logarithms of `FIELDS` (n_depth, 7, or 8 of a model that knows spheres) on the model's grid, for labels `x` in
the order of `model.labels`. An infinite mass stands for plane-parallel layers.
"""
function log_profiles(m::Model, x::AbstractVector{T}) where {T<:Real}
    teff = x[findfirst(isequal("teff"), m.labels)]
    log_teff = log10(teff)
    ln_g = log(10.0) * x[findfirst(isequal("logg"), m.labels)]
    inputs, slope = copy(x), zero(T)
    if has_mass(m)
        j = findfirst(isequal("mass"), m.labels)
        slope = _extension_slope(m, ln_g, x[j])
        inputs[j] = slope * teff
    end
    h = m.w_in * vcat(inputs, log_teff, 1 / teff, sin.(m.frequency .* log_teff .+ m.phase)) + m.b_in
    for (w, b) in zip(m.w, m.b)
        z = w * h + b
        h = h .+ z ./ (1 .+ exp.(-z))
    end
    c = m.w_out * h + m.b_out
    n = size(m.basis[1], 2)
    q = [m.basis[k] * c[(k-1)*n+1:k*n] .+ m.mean[:, k] for k in eachindex(m.basis)]
    ln_t = q[1] .+ log(teff)
    fraction = 1 ./ (1 .+ exp.(-q[4]))
    dm = exp.(m.ln_tau) .* exp.(-q[2])           # dm / dln(tau)
    a_over_g = exp.(q[3])
    rest = 1 .- a_over_g
    top = has_mass(m) ? exp(q[6][1]) : one(T)    # times tau / kappa: what lies above the first layer
    mass = top * dm[1] .+ m.integral * dm
    pressure(rest) = (dp = rest .* dm; top * dp[1] .+ m.integral * dp)  # over g
    p = pressure(rest)
    if slope > 0
        step = slope .* exp.(ln_t .- q[5]) ./ (1 .- fraction) .* dm
        v = one.(p)                              # R / r
        for _ in 1:SPHERE_PASSES
            v = clamp.(1 .+ m.above * (step .* v .^ 2 ./ max.(p, SMALL .* mass)), 0.5, 2.0)
            rest = v .^ 2 .- a_over_g
            p = pressure(rest)
        end
    end
    mass, p = physical_integrals(mass, p, dm, rest, diff(m.ln_tau))
    ln_m, ln_p = log.(mass), log.(p) .+ ln_g
    ln_n = ln_p .- ln_t .- log(m.boltzmann)
    ln_atoms = ln_n .+ log1p.(-fraction)
    columns = hcat(ln_t, q[2], q[3] .+ ln_g, ln_n .+ log.(fraction), ln_m, ln_p, ln_atoms)
    has_mass(m) ? hcat(columns, ln_atoms .+ q[5] .+ log(m.atomic_mass)) : columns
end

# Extension of the atmosphere, k T / (m_u g R), per kelvin; 0 for an infinite mass. In logarithms, so that derivatives
# of dual numbers are finite there.
function _extension_slope(m::Model, ln_g, mass)
    m.boltzmann / m.atomic_mass * exp(-0.5 * (ln_g + log(m.solar_gm) + log(mass)))
end

# 1 / R [cm^-1], R where tau_ross = 1; 0 for an infinite mass.
curvature(m::Model, ln_g, mass) = exp(0.5 * (ln_g - log(m.solar_gm) - log(mass)))

const SMALL = 0.01  # share of dm, of g dm and of g m, below which column mass and gas pressure are bent

_positive(u) = u < 1 ? 1 / (1 + (1 - u) + (1 - u)^2) : u

# Column mass, made to increase inwards, and gas pressure over gravity, made positive everywhere and increasing wherever
# g > a: what a cell gains is bent where it is below 1 % of what the trapezoid gives for the mass, and the pressure where it
# is below 1 % of g m. See physics.py.
function physical_integrals(mass, p, dm, rest, step)
    cell(f) = 0.5 .* step .* (f[2:end] .+ f[1:end-1])
    small = SMALL .* cell(dm)
    function gaining(f, bound)
        u = (diff(f) .- bound) ./ small
        more = cumsum(small .* (_positive.(u) .- u))
        f .+ vcat(zero(first(more)), more)
    end
    mass = gaining(mass, 0)
    p = gaining(p, cell(dm .* min.(rest, 0) .^ 3) ./ SMALL^2)
    mass, SMALL .* mass .* _positive.(p ./ (SMALL .* mass))
end

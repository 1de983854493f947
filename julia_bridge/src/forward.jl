# The network: labels -> features -> branch -> coefficients -> fields on the grid -> integrated structure.
# The equations are those of sme_pinn_atmo/runtime.py.

# Rows of `log_profiles`, natural logarithms.
const FIELDS = ("temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure",
                "atom_density")

"""
    log_profiles(model, x)

Natural logarithms of `FIELDS` (n_depth, 7) on the model's grid, for labels `x` in the order of `model.labels`.
"""
function log_profiles(m::Model, x::AbstractVector{T}) where {T<:Real}
    teff = x[findfirst(isequal("teff"), m.labels)]
    log_teff = log10(teff)
    h = m.w_in * vcat(x, log_teff, 1 / teff, sin.(m.frequency .* log_teff .+ m.phase)) + m.b_in
    for (w, b) in zip(m.w, m.b)
        z = w * h + b
        h = h .+ z ./ (1 .+ exp.(-z))
    end
    c = m.w_out * h + m.b_out
    n = size(m.basis[1], 2)
    q = [m.basis[k] * c[(k-1)*n+1:k*n] .+ m.mean[:, k] for k in 1:4]
    ln_g = log(10.0) * x[findfirst(isequal("logg"), m.labels)]
    ln_t = q[1] .+ log(teff)
    fraction = 1 ./ (1 .+ exp.(-q[4]))
    dm = exp.(m.ln_tau) .* exp.(-q[2])           # dm / dln(tau)
    rest = 1 .- exp.(q[3])
    dp = rest .* dm                              # dP / dln(tau) / g
    mass = dm[1] .+ m.integral * dm
    p = dp[1] .+ m.integral * dp
    minimum(rest) < 0.1 && (p = physical_pressure(p, mass, dm, rest, diff(m.ln_tau)))
    ln_m, ln_p = log.(mass), log.(p) .+ ln_g
    ln_n = ln_p .- ln_t .- log(m.boltzmann)
    hcat(ln_t, q[2], q[3] .+ ln_g, ln_n .+ log.(fraction), ln_m, ln_p, ln_n .+ log1p.(-fraction))
end

const SMALL = 0.01  # share of g dm, and of g m, below which the gas pressure is bent

_positive(u) = u < 1 ? 1 / (1 + (1 - u) + (1 - u)^2) : u

# Gas pressure over gravity, made positive everywhere and increasing wherever g > a: what a cell gains is bent where it is
# below 1 % of g times its column mass, and the pressure where it is below 1 % of g m. See physics.py.
function physical_pressure(p, mass, dm, rest, step)
    cell(f) = 0.5 .* step .* (f[2:end] .+ f[1:end-1])
    small = SMALL .* cell(dm)
    bound = cell(dm .* min.(rest, 0) .^ 3) ./ SMALL^2
    u = (diff(p) .- bound) ./ small
    more = cumsum(small .* (_positive.(u) .- u))
    bent = p .+ vcat(zero(first(more)), more)
    SMALL .* mass .* _positive.(bent ./ (SMALL .* mass))
end

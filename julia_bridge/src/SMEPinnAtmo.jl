"""
Model atmospheres from the physics-informed neural network of `sme_pinn_atmo`, in Julia alone.

[`pinn_atmosphere`](@ref) gives the profiles at any labels in the model's domain; every function is generic in the
number type, so that dual numbers pass from labels to profiles. With Korg loaded, [`korg_atmosphere`](@ref) and
[`with_pinn`](@ref) have methods.
"""
module SMEPinnAtmo

using LinearAlgebra

export pinn_atmosphere, korg_atmosphere, model_A_X, with_pinn, load_model, PinnDomainError

include("splines.jl")
include("model.jl")
include("forward.jl")
include("atmosphere.jl")

"""
    korg_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, mass=nothing, geometry=nothing, A_X=nothing,
                    model="atlas12")

A `Korg.PlanarAtmosphere` at these labels, or of a model that has a mass a `Korg.ShellAtmosphere` where the star is a
sphere (`mass` and `geometry` as in [`pinn_atmosphere`](@ref)); needs `using Korg`. `tau_ref` is the continuum optical
depth at 5000 Å with Korg's own opacities for the abundances `A_X` (default: [`model_A_X`](@ref) of the labels), `z` [cm]
is zero where the Rosseland optical depth is one, and so is the radius `R` [cm] of a shell. Pass the same `A_X` here and
to `Korg.synthesize`; where they leave the mixture that the model was computed with, that is said once (unless
`check_composition=false`).

    korg_atmosphere(p::NamedTuple; A_X)

The same from the profiles of another code: `rhox` [g cm⁻²], `tau_ross`, `temperature` [K], `electron_density`,
`atom_density` (particles that are no electrons) [cm⁻³], outermost layer first. With a finite `radius` [cm] and the
`height` [cm] of each layer above it, a `Korg.ShellAtmosphere`.

Layers hotter than 100,000 K, where Korg's partition functions end, are left out.
"""
function korg_atmosphere end

"""
    model_A_X(m_H=0, alpha_m=0, abundances=Dict(); model="atlas12")

`Korg.format_A_X(m_H, m_H + alpha_m, abundances)` on the solar scale of the model's training grid (Korg's default
scale is another one: up to 0.1 dex apart); needs `using Korg`.
"""
function model_A_X end

"""
    with_pinn(f; model="atlas12", vturb=1, mass=nothing, geometry=nothing, solar=:korg)

Call `f()`; in it, `Korg.interpolate_marcs(Teff, logg, A_X)` gives atmospheres of the network, so that `Korg.synth` and
`Korg.Fit.fit_spectrum` use them. Needs `using Korg`. Metallicity and alpha enhancement come from `A_X` (see
[`star_labels`](@ref)); labels outside the domain throw `Korg.LazyMultilinearInterpError`, which Korg's fitting takes
for a bad step. Of a model that has a mass, stars up to log g 3 are spheres of one solar mass unless `mass` or `geometry`
say otherwise, or the call's own `spherical`; at log g 3 a fit goes over a small step (of `marcs`
0.5 % in temperature at 4800 K). With `solar=:model`, `Korg.format_A_X` uses the model's solar scale where the call names
none, so that
`M_H` of `synth` and of fits has the meaning of `m_H` in [`model_A_X`](@ref).

Nothing remains changed after the call, also after an error. It holds for the task that calls it only: with threads,
call `with_pinn` inside each task.
"""
function with_pinn end

# Key in the storage of a task, and what `with_pinn` puts there.
const SWITCH = :sme_pinn_atmo

function switch(model, vturb, solar, mass=nothing, geometry=nothing)
    solar in (:korg, :model) || throw(ArgumentError("solar must be :korg or :model, not $(repr(solar))"))
    m = model isa Model ? model : load_model(model)
    j = findfirst(isequal("vturb"), m.labels)
    if j !== nothing && !(m.lower[j] <= vturb <= m.upper[j])
        throw(PinnDomainError("vturb", vturb, m.lower[j], m.upper[j], ""))
    end
    check_geometry(m, mass, geometry)
    if mass !== nothing
        j = findfirst(isequal("mass"), m.labels)
        m.lower[j] <= mass <= m.upper[j] || throw(PinnDomainError("mass", mass, m.lower[j], m.upper[j], ""))
    end
    (model=m, vturb=vturb, solar=solar, mass=mass, geometry=geometry)
end

end

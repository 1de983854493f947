"""
Model atmospheres from the physics-informed neural network of `sme_pinn_atmo`, in Julia alone.

[`pinn_atmosphere`](@ref) gives the profiles at any labels in the model's domain; every function is generic in the
number type, so that dual numbers pass from labels to profiles. With Korg loaded, [`korg_atmosphere`](@ref) and
[`with_pinn`](@ref) have methods.
"""
module SMEPinnAtmo

using LinearAlgebra

export pinn_atmosphere, korg_atmosphere, with_pinn, load_model, PinnDomainError

include("splines.jl")
include("model.jl")
include("forward.jl")
include("atmosphere.jl")

"""
    korg_atmosphere(; Teff, logg, m_H=0, alpha_m=0, vturb=1, A_X=nothing, model="atlas12")

A `Korg.PlanarAtmosphere` at these labels; needs `using Korg`. `tau_ref` is the continuum optical depth at 5000 Å with
Korg's own opacities for the abundances `A_X` (default: the labels' on the model's solar scale), `z` [cm] is zero where
the Rosseland optical depth is one.
"""
function korg_atmosphere end

"""
    with_pinn(f; model="atlas12", vturb=1)

Call `f()`; in it, and in its task only, `Korg.interpolate_marcs(Teff, logg, A_X)` gives atmospheres of the network, so
that `Korg.synth` and `Korg.Fit.fit_spectrum` use them. Needs `using Korg`. Metallicity and alpha enhancement come from
`A_X` (see [`star_labels`](@ref)); labels outside the domain throw `Korg.AtmosphereInterpolationError`, which Korg's
fitting takes for a bad step. Nothing remains changed after the call, also after an error.
"""
function with_pinn end

end

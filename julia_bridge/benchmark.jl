# Median time of one forward pass in pure Julia, one thread: julia --startup-file=no julia_bridge/benchmark.jl [MODEL]
# The same labels and the same work as "predict, one star" of `sme-pinn-atmo benchmark`.

include(joinpath(@__DIR__, "src", "SMEPinnAtmo.jl"))
using .SMEPinnAtmo
using LinearAlgebra

BLAS.set_num_threads(1)

quantile(sorted, q) = sorted[clamp(round(Int, q * length(sorted)), 1, length(sorted))]

# Each sample is the mean of 20 calls, so that the clock's resolution does not matter.
function report(name, call; samples=400, calls=20)
    foreach(_ -> call(), 1:100)
    times = sort([(@elapsed foreach(_ -> call(), 1:calls)) / calls for _ in 1:samples])
    t = [round(1e6 * quantile(times, q); digits=1) for q in (0.5, 0.05, 0.95)]
    println(rpad(name, 40), t[1], " us (5-95 %: ", t[2], " to ", t[3], ")")
end

function main(name)
    m = load_model(name)
    x = [5777.0, 4.44, 0.0, 0.0, 1.0]
    println("Julia ", VERSION, ", model ", m.name, ", ", Sys.cpu_info()[1].model)
    report("pinn_atmosphere, one star", () -> pinn_atmosphere(Teff=5777.0, logg=4.44, m_H=0.0, alpha_m=0.0, vturb=1.0,
                                                              model=m))
    report("network and integrals alone", () -> SMEPinnAtmo.log_profiles(m, x))
end

main(isempty(ARGS) ? "atlas12" : ARGS[1])

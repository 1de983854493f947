# Median time of one forward pass in pure Julia, one thread: julia --startup-file=no julia_bridge/benchmark.jl [MODEL]
# The same labels and the same work as "predict, one star" of `sme-pinn-atmo benchmark`.

include(joinpath(@__DIR__, "src", "SMEPinnAtmo.jl"))
using .SMEPinnAtmo
using LinearAlgebra

BLAS.set_num_threads(1)

# As `sme-pinn-atmo benchmark` measures: batches of many calls, warmed up; the median batch and the best one.
function report(name, call; seconds=0.5, batches=9)
    foreach(_ -> call(), 1:100)
    calls = max(1, round(Int, seconds / batches / ((@elapsed foreach(_ -> call(), 1:20)) / 20)))
    times = sort([(@elapsed foreach(_ -> call(), 1:calls)) / calls for _ in 1:batches])
    median, best = (round(1e6t; digits=1) for t in (times[(batches+1)÷2], times[1]))
    println(rpad(name, 32), median, " us median, ", best, " us best of ", batches, " batches of ", calls, " calls")
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

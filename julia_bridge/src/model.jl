# A model: weights, domain and solar mixture, as `sme-pinn-atmo export-julia` writes them.

# Version of the file's layout; any other is refused.
const FORMAT = "2"

struct Element
    symbol::String
    Z::Int
    A::Float64        # log10 number, H = 12
    weight::Float64   # u
    alpha::Bool
end

# Where training models lie in the plane of two labels: lowest and highest `label` at knots in `along`, linear between.
struct Strip
    label::String
    along::String
    knots::Vector{Float64}
    low::Vector{Float64}
    high::Vector{Float64}
end

struct Model
    name::String
    sha256::String
    labels::Vector{String}
    frequency::Vector{Float64}      # waves among the inputs: sin(frequency log10 Teff + phase)
    phase::Vector{Float64}
    lower::Vector{Float64}
    upper::Vector{Float64}
    defaults::Vector{Float64}
    strips::Vector{Strip}
    elements::Vector{Element}
    boltzmann::Float64              # erg K^-1
    atomic_mass::Float64            # g
    solar_gm::Float64               # cm^3 s^-2, of one solar mass
    w_in::Matrix{Float64}           # of labels (extension for mass), log10 Teff, 1 / Teff, waves; features and their standardisation folded in
    b_in::Vector{Float64}
    w::Vector{Matrix{Float64}}
    b::Vector{Vector{Float64}}
    w_out::Matrix{Float64}
    b_out::Vector{Float64}
    basis::Vector{Matrix{Float64}}  # per field, (n_depth, n_component)
    mean::Matrix{Float64}           # (n_depth, n_field)
    ln_tau::Vector{Float64}
    integral::Matrix{Float64}       # from the first layer
    above::Matrix{Float64}          # from tau_ross = 1
end

has_mass(m::Model) = "mass" in m.labels

function Base.show(io::IO, m::Model)
    print(io, "Model ", m.name, " (", join(m.labels, ", "), "; ", length(m.ln_tau), " layers)")
end

const _MODELS = Dict{String,Model}()
const _LOCK = ReentrantLock()

"""
    load_model(name="atlas12")

A packaged model by its name, or one from a path to a `.pinn` file (`sme-pinn-atmo export-julia MODEL PATH`).
"""
function load_model(name::AbstractString="atlas12")
    lock(_LOCK) do
        get!(_MODELS, String(name)) do
            path = joinpath(@__DIR__, "..", "models", name * ".pinn")
            isfile(path) || (path = String(name))
            if !isfile(path)
                known = [f[1:end-5] for f in readdir(joinpath(@__DIR__, "..", "models")) if endswith(f, ".pinn")]
                throw(ArgumentError("unknown model \"$name\"; known: $(join(known, ", ")), or a path to a .pinn file"))
            end
            read_model(path)
        end
    end
end

function read_model(path::AbstractString)
    lines, body = open(path) do io
        first = readuntil(io, '\n')
        startswith(first, "sme_pinn_atmo ") || throw(ArgumentError("$path is not a model file of sme_pinn_atmo"))
        lines = [first]
        while !eof(io) && last(lines) != "end"
            push!(lines, readline(io))
        end
        lines[1:end-1], read(io)
    end
    header = Dict{String,Vector{String}}()
    elements, strips, shapes = Element[], Strip[], Tuple{String,Vector{Int}}[]
    for line in lines
        words = String.(split(line))
        if words[1] == "element"
            push!(elements, Element(words[2], parse(Int, words[3]), parse(Float64, words[4]), parse(Float64, words[5]),
                                    words[6] == "1"))
        elseif words[1] == "strip"
            n = (length(words) - 3) ÷ 3
            knots, low, high = (parse.(Float64, words[3+k*n+1:3+(k+1)*n]) for k in 0:2)
            push!(strips, Strip(words[2], words[3], knots, low, high))
        elseif words[1] == "tensor"
            push!(shapes, (words[2], parse.(Int, words[3:end])))
        else
            header[words[1]] = words[2:end]
        end
    end
    if header["sme_pinn_atmo"] != [FORMAT]
        throw(ArgumentError("$path has format $(join(header["sme_pinn_atmo"], ' ')); this version of SMEPinnAtmo reads " *
                            "format $FORMAT: sme-pinn-atmo export-julia MODEL PATH writes it"))
    end
    total = sum(prod(s) for (_, s) in shapes)
    if length(body) != 8 * total
        throw(ArgumentError("$path is truncated: $(length(body)) bytes of weights, $(8 * total) announced"))
    end
    values = ltoh.(reinterpret(Float64, body))
    tensors, at = Dict{String,Array{Float64}}(), 0
    for (name, shape) in shapes
        # Row-major on disk: read with the sizes reversed, then turn round.
        block = reshape(values[at+1:at+prod(shape)], reverse(shape)...)
        tensors[name] = permutedims(block, ndims(block):-1:1)
        at += prod(shape)
    end
    numbers(key) = parse.(Float64, header[key])
    matrix, frequency, phase = feature_matrix(header["features"], header["labels"])
    scaled = tensors["w_in"] ./ reshape(tensors["feature_scale"], 1, :)
    w, b, basis = tensors["w"], tensors["b"], tensors["basis"]
    ln_tau = vec(tensors["ln_tau"])
    mean = permutedims(tensors["mean"])
    # The grey temperature of the Eddington approximation is part of the mean of ln T.
    mean[:, 1] .+= log.((0.75 .* (exp.(ln_tau) .+ 2 / 3)) .^ 0.25)
    integral = integration_matrix(ln_tau)
    Model(header["name"][1], header["sha256"][1], header["labels"], frequency, phase, numbers("lower"),
          numbers("upper"), numbers("defaults"), strips, elements, numbers("boltzmann")[1],
          numbers("atomic_mass")[1], numbers("solar_gm")[1], scaled * matrix,
          vec(tensors["b_in"]) - scaled * vec(tensors["feature_mean"]), [w[k, :, :] for k in 1:size(w, 1)],
          [b[k, :] for k in 1:size(b, 1)], tensors["w_out"], vec(tensors["b_out"]),
          [permutedims(basis[f, :, :]) for f in 1:size(basis, 1)], mean, ln_tau, integral,
          integral .- interpolation_matrix(ln_tau, [0.0]) * integral)
end

# Features as a linear map of labels, log10 Teff, 1 / Teff and waves of Teff, as `feature_matrix` in runtime.py states them.
function feature_matrix(features, labels)
    waves = filter(f -> occursin(r"^(sin|cos)_[1-9]\d{0,2}_log_teff$", f), features)
    # The mass is no feature: the extension of the atmosphere stands in its place.
    inputs = vcat(replace(labels, "mass" => "extension"), "log_teff", "1/teff", waves)
    matrix = zeros(length(features), length(inputs))
    for (row, f) in enumerate(features)
        parts = f == "theta" ? ["1/teff" => 5040] : f == "log_g_teff4" ? ["logg" => 1, "log_teff" => -4] : [f => 1]
        f != "1/teff" && all(in(inputs), first.(parts)) || throw(ArgumentError("unknown feature $f"))
        for (name, factor) in parts
            matrix[row, findfirst(isequal(name), inputs)] = factor
        end
    end
    matrix, [2π * parse(Int, split(f, "_")[2]) for f in waves], [startswith(f, "sin") ? 0.0 : π / 2 for f in waves]
end

"""
    PinnDomainError(label, value, lower, upper)

A label outside the domain of the model, or not finite.
"""
struct PinnDomainError <: Exception
    label::String
    value::Any
    lower::Float64
    upper::Float64
    detail::String
end

function Base.showerror(io::IO, e::PinnDomainError)
    print(io, "PinnDomainError: ", e.label, " = ", _value(e.value), " is outside the model's range ", e.lower, " to ",
          e.upper, e.detail)
end

# Throws unless the labels lie in the box and in the strips of it that training models occupy.
function check_domain(m::Model, x::AbstractVector)
    for (name, value, low, high) in zip(m.labels, x, m.lower, m.upper)
        low <= value <= high || throw(PinnDomainError(name, value, low, high, ""))
    end
    for s in m.strips
        value, along = x[findfirst(isequal(s.label), m.labels)], x[findfirst(isequal(s.along), m.labels)]
        low, high = _linear(s.knots, s.low, along), _linear(s.knots, s.high, along)
        if !(low - 1e-9 <= value <= high + 1e-9)
            throw(PinnDomainError(s.label, value, Float64(_value(low)), Float64(_value(high)),
                                  " at $(s.along) = $(_value(along))"))
        end
    end
    nothing
end

# The number in a dual number of any kind, for messages.
_value(x) = hasproperty(x, :value) ? _value(x.value) : x

function _linear(xs, ys, x)
    i = clamp(searchsortedlast(xs, x), 1, max(length(xs) - 1, 1))
    length(xs) == 1 && return ys[1]
    s = clamp((x - xs[i]) / (xs[i+1] - xs[i]), 0, 1)
    ys[i] * (1 - s) + ys[i+1] * s
end

# A dual number just large enough for the network: value and partial derivatives.

struct Dual <: Real
    value::Float64
    partials::Vector{Float64}
end

Dual(v::Real, n::Int) = Dual(Float64(v), zeros(n))
_p(d::Dual) = d.partials
Base.convert(::Type{Dual}, d::Dual) = d
Base.convert(::Type{Dual}, v::Real) = Dual(Float64(v), Float64[])
Dual(d::Dual) = d
Dual(v::Real) = convert(Dual, v)
Base.promote_rule(::Type{Dual}, ::Type{<:Real}) = Dual
Base.float(d::Dual) = d
Base.zero(::Type{Dual}) = Dual(0.0, Float64[])
Base.zero(::Dual) = zero(Dual)
Base.one(::Type{Dual}) = Dual(1.0, Float64[])
Base.isless(a::Dual, b::Dual) = isless(a.value, b.value)
Base.:<(a::Dual, b::Dual) = a.value < b.value
Base.:<=(a::Dual, b::Dual) = a.value <= b.value
Base.isfinite(d::Dual) = isfinite(d.value)

# Constants carry no partials: an empty vector stands for zeros.
_add(a, b) = isempty(a) ? b : isempty(b) ? a : a + b
_mul(a, s) = isempty(a) ? a : a * s
_chain(d::Dual, value, slope) = Dual(value, _mul(d.partials, slope))

Base.:+(a::Dual, b::Dual) = Dual(a.value + b.value, _add(a.partials, b.partials))
Base.:-(a::Dual) = _chain(a, -a.value, -1.0)
Base.:-(a::Dual, b::Dual) = a + (-b)
Base.:*(a::Dual, b::Dual) = Dual(a.value * b.value, _add(_mul(a.partials, b.value), _mul(b.partials, a.value)))
Base.:/(a::Dual, b::Dual) = Dual(a.value / b.value,
                                 _add(_mul(a.partials, 1 / b.value), _mul(b.partials, -a.value / b.value^2)))
Base.:^(a::Dual, b::Dual) = exp(b * log(a))
Base.exp(d::Dual) = (v = exp(d.value); _chain(d, v, v))
Base.log(d::Dual) = _chain(d, log(d.value), 1 / d.value)
Base.log10(d::Dual) = _chain(d, log10(d.value), 1 / (d.value * log(10)))
Base.sin(d::Dual) = _chain(d, sin(d.value), cos(d.value))
Base.log1p(d::Dual) = _chain(d, log1p(d.value), 1 / (1 + d.value))

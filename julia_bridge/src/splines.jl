# The not-a-knot cubic spline as matrices that act on the values at its nodes (as scipy's CubicSpline has it).

# Second derivatives at the nodes x, as a matrix that acts on the values there.
function _curvature_matrix(x::Vector{Float64})
    n = length(x)
    h = diff(x)
    A, B = zeros(n, n), zeros(n, n)
    for i in 2:n-1
        A[i, i-1], A[i, i], A[i, i+1] = h[i-1], 2 * (h[i-1] + h[i]), h[i]
        B[i, i-1], B[i, i], B[i, i+1] = 6 / h[i-1], -6 / h[i-1] - 6 / h[i], 6 / h[i]
    end
    # The third derivative is continuous at the second node and at the last but one.
    A[1, 1], A[1, 2], A[1, 3] = h[2], -(h[1] + h[2]), h[1]
    A[n, n-2], A[n, n-1], A[n, n] = h[n-1], -(h[n-2] + h[n-1]), h[n-2]
    A \ B
end

# Integrals of the spline from the first node to every node.
function integration_matrix(x::Vector{Float64})
    n = length(x)
    C = _curvature_matrix(x)
    M = zeros(n, n)
    for i in 1:n-1
        h = x[i+1] - x[i]
        M[i+1, :] = M[i, :] - h^3 / 24 * (C[i, :] + C[i+1, :])
        M[i+1, i] += h / 2
        M[i+1, i+1] += h / 2
    end
    M
end

# Values of the spline at points t; the end pieces are continued.
function interpolation_matrix(x::Vector{Float64}, t::AbstractVector{<:Real})
    n = length(x)
    C = _curvature_matrix(x)
    M = zeros(length(t), n)
    for (k, p) in enumerate(t)
        i = clamp(searchsortedlast(x, p), 1, n - 1)
        h = x[i+1] - x[i]
        a, b = (x[i+1] - p) / h, (p - x[i]) / h
        M[k, :] = ((a^3 - a) * C[i, :] + (b^3 - b) * C[i+1, :]) * h^2 / 6
        M[k, i] += a
        M[k, i+1] += b
    end
    M
end

"""Normal equations of many stars that share lines: an arrowhead, solved without ever being full.

Each window of each star gives equations between what belongs to it alone (the star's labels, the window's continuum and
velocity) and the shared parameters of the lines in it. Lines couple only with neighbours, so that their part is sparse
and banded; the stars' part is small. The lines are eliminated first (a sparse factorisation), the stars are solved from
what is left (their Schur complement, dense and of a few hundred rows), and the lines follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import splu

__all__ = ["Solution", "WindowEquations", "equations", "solve"]

Array = NDArray[np.float64]

#: Columns of the identity that are solved at once.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class WindowEquations:
    """Normal equations of one window of a star: u are its labels, then its nuisances; x are the shared parameters.

    star, window : their names
    labels : names of the star's free labels, the first of u
    uu, ux, xx : (n_u, n_u) dense, (n_u, n_x) and (n_x, n_x) sparse products of columns over sigma
    u, x : (n_u,), (n_x,) products of columns and residuals
    points, objective : number of points, and what they add to the objective
    """

    star: str
    window: tuple[float, float]
    labels: tuple[str, ...]
    uu: Array
    ux: sparse.csr_matrix
    xx: sparse.csc_matrix
    u: Array
    x: Array
    points: int
    objective: float


def equations(
    star: str, window: tuple[float, float], labels: Sequence[str], by_label: Array, nuisance: Array,
    by_shared: sparse.csc_matrix, residual: Array, objective: float,
) -> WindowEquations:  # fmt: skip
    """Of columns (n, m) and residuals (n,), all over sigma; points that do not count are 0 in all of them."""
    own = np.column_stack([by_label, nuisance])
    shared = by_shared.tocsr()
    return WindowEquations(
        star, window, tuple(labels), own.T @ own, sparse.csr_matrix((shared.T @ own).T),
        sparse.csc_matrix(shared.T @ shared), own.T @ residual, np.asarray(shared.T @ residual),
        int((residual != 0).sum()), objective,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Solution:
    """Changes and standard deviations.

    shared, shared_error : (n_x,) change, and standard deviation; 0 and that of the prior where a parameter is held
    alone : (n_x,) standard deviation if all other parameters were known
    labels, label_errors : by star and label
    covariance : by star, (n_label, n_label)
    """

    shared: Array
    shared_error: Array
    alone: Array
    labels: dict[str, dict[str, float]]
    label_errors: dict[str, dict[str, float]]
    covariance: dict[str, Array]


def solve(
    parts: Sequence[WindowEquations], prior: Array, at: Array, *, free: NDArray[np.bool_] | None = None,
    label_priors: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    scale: Mapping[str, float] | None = None, errors: bool = True,
) -> Solution:  # fmt: skip
    """The Gauss-Newton step of all shared parameters and labels, and their errors.

    Parameters
    ----------
    prior, at : (n_x,) standard deviations of shared parameters about 0, and where they are
    free : (n_x,) those that may change; None for all
    label_priors : by star and label, how far the label is below the prior's mean, and its standard deviation
    scale : by star, what the variance of its points is multiplied by
    errors : also those of the shared parameters, which take most of the time where there are many

    Raises ValueError where a star's labels are not determined.
    """
    n = len(prior)
    keep = np.flatnonzero(np.ones(n, dtype=bool) if free is None else free)
    label_priors, scale = label_priors or {}, scale or {}
    labels = {p.star: p.labels for p in parts}
    names = list(labels)
    place = dict(zip(names, np.cumsum([0, *(len(labels[name]) for name in names[:-1])]), strict=True)) if names else {}
    size = sum(len(v) for v in labels.values()) + sum(len(p.u) - len(p.labels) for p in parts)
    uu, u = np.zeros((size, size)), np.zeros(size)
    xx, x = sparse.diags(prior[keep] ** -2.0).tocsc(), -at[keep] / prior[keep] ** 2
    rows, columns, values = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)], [np.zeros(0)]
    start = sum(len(v) for v in labels.values())  # nuisances come behind all labels
    for part in parts:
        weight, m, k = 1.0 / scale.get(part.star, 1.0), len(part.labels), len(part.u)
        index = np.concatenate([place[part.star] + np.arange(m), start + np.arange(k - m)]).astype(int)
        start += k - m
        uu[np.ix_(index, index)] += weight * part.uu
        u[index] += weight * part.u
        across = sparse.coo_matrix(part.ux[:, keep])
        rows.append(index[across.row])
        columns.append(across.col)
        values.append(weight * across.data)
        xx = xx + weight * part.xx[keep][:, keep]
        x = x + weight * part.x[keep]
    places = (np.concatenate(rows), np.concatenate(columns))
    ux = sparse.csr_matrix((np.concatenate(values), places), shape=(size, len(keep)))
    for name, known in label_priors.items():
        for label, (below, sigma) in known.items():
            if label in labels.get(name, ()):
                j = place[name] + labels[name].index(label)
                uu[j, j] += sigma**-2.0
                u[j] += below / sigma**2
    return _solved(uu, u, ux, sparse.csc_matrix(xx), x, keep, prior, labels, place, errors)


def _solved(
    uu: Array, u: Array, ux: sparse.csr_matrix, xx: sparse.csc_matrix, x: Array, keep: NDArray[np.int64],
    prior: Array, labels: Mapping[str, tuple[str, ...]], place: Mapping[str, int], errors: bool,
) -> Solution:  # fmt: skip
    step, error, alone = np.zeros(len(prior)), prior.copy(), prior.copy()
    factor = splu(xx, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}) if len(keep) else None
    across = np.zeros((len(keep), len(u)))
    if factor is not None and len(u):
        across = factor.solve(ux.T.toarray())
    left = uu - ux @ across
    # Columns of very different size: continuum and K. Scaled, the factorisation is safe.
    size = np.sqrt(np.maximum(np.diag(uu), 1e-300))
    dead = np.diag(left) <= 1e-10 * np.diag(uu)
    for name in labels:
        for j, label in enumerate(labels[name]):
            if dead[place[name] + j]:
                raise ValueError(f"{label} of {name} is not determined by its windows: fix it, or give it a prior")
    scaled = left / size / size[:, None]
    scaled[np.diag_indices_from(scaled)] += 1e-12
    inverse = np.zeros_like(scaled)
    du = np.zeros(len(u))
    if len(u):
        found = cho_factor(scaled)
        inverse = cho_solve(found, np.eye(len(u))) / size / size[:, None]
        du = inverse @ (u - across.T @ x)
    if factor is not None:
        step[keep] = factor.solve(x) - across @ du
        alone[keep] = np.asarray(xx.diagonal()) ** -0.5
        if errors:
            variance = np.einsum("ij,ij->i", across @ inverse, across) if len(u) else np.zeros(len(keep))
            for first in range(0, len(keep), _CHUNK):
                of = np.arange(first, min(first + _CHUNK, len(keep)))
                unit = np.zeros((len(keep), len(of)))
                unit[of, np.arange(len(of))] = 1.0
                variance[of] += factor.solve(unit)[of, np.arange(len(of))]
            error[keep] = np.sqrt(np.maximum(variance, 0))
    by_star, by_error, covariance = {}, {}, {}
    for name in labels:
        at, m = place[name], len(labels[name])
        by_star[name] = dict(zip(labels[name], map(float, du[at : at + m]), strict=True))
        covariance[name] = inverse[at : at + m, at : at + m]
        by_error[name] = dict(zip(labels[name], map(float, np.sqrt(np.diag(covariance[name]))), strict=True))
    return Solution(step, error, alone, by_star, by_error, covariance)

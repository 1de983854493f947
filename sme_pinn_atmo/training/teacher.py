"""Correct a teacher: take out of a set of predicted structures the error that it shows on computed ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .data import TrainingSet

__all__ = ["corrected", "pairs"]


def pairs(teacher: TrainingSet, truth: TrainingSet, match: int) -> list[tuple[int, int]]:
    """Rows of a teacher's star and of a computed model whose first `match` labels agree, (teacher, truth).

    Without stars on other depths: they have their layers elsewhere.
    """
    rows = {tuple(np.round(x[:match], 3)): j for j, x in enumerate(teacher.x)}
    number = np.arange(teacher.y.shape[-1])
    found = ((rows.get(tuple(np.round(x[:match], 3))), i) for i, x in enumerate(truth.x))
    return [(j, i) for j, i in found if j is not None and np.array_equal(teacher.layer[j], number)]


def corrected(teacher: TrainingSet, truth: TrainingSet, match: int, split: float) -> TrainingSet:
    """The teacher less its median error per layer and field, below and above a Teff.

    A network with one output per layer errs by about the same at every star, jumping from layer to layer; the
    few computed models (those of `truth` that are not held out) show that part, and only that part, well.

    Parameters
    ----------
    match : number of leading labels in which a teacher's star and a computed one must agree
    split : Teff [K] between the two medians
    """
    number = np.arange(teacher.y.shape[-1])
    known = [(j, i) for j, i in pairs(teacher, truth, match) if not truth.held[i]]
    y = teacher.y.copy()
    for hot in (False, True):
        here = [(j, i) for j, i in known if (truth.x[i, 0] > split) == hot]
        if len(here) < 5:
            raise ValueError(f"only {len(here)} computed models to correct {teacher.name} with; at least 5 are needed")
        error = np.stack([np.where(truth.mask[i], teacher.y[j] - truth.y[i], np.nan) for j, i in here])
        known_somewhere = np.isfinite(error).any(axis=0)
        bias = np.nanmedian(np.where(known_somewhere, error, 0.0), axis=0)
        # Models on other depths lose the error of a layer where they have it.
        for j in np.flatnonzero((teacher.x[:, 0] > split) == hot):
            y[j] -= [np.interp(teacher.layer[j], number, b) for b in bias]
    return replace(teacher, y=y)

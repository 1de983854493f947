"""Correct a teacher: take out of a set of predicted structures the error that it shows on computed ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .data import TrainingSet

__all__ = ["corrected"]


def corrected(teacher: TrainingSet, truth: TrainingSet, match: int, split: float) -> TrainingSet:
    """The teacher less its median error per layer and field, below and above a Teff.

    A network with one output per layer errs by about the same at every star, jumping from layer to layer; the
    few computed models (those of `truth` that are not held out) show that part, and only that part, well.

    Parameters
    ----------
    match : number of leading labels in which a teacher's star and a computed one must agree
    split : Teff [K] between the two medians
    """

    def key(x: np.ndarray) -> tuple[float, ...]:
        return tuple(np.round(x[:match], 3))

    number = np.arange(teacher.y.shape[-1])
    rows = {key(x): i for i, x in enumerate(teacher.x)}
    y = teacher.y.copy()
    for hot in (False, True):
        pairs = [
            (rows[key(x)], i)
            for i, x in enumerate(truth.x)
            if (x[0] > split) is np.bool_(hot) and not truth.held[i] and key(x) in rows
        ]
        # Models on other depths have their layers elsewhere: they lose the error of a layer where they have it.
        pairs = [(j, i) for j, i in pairs if np.array_equal(teacher.layer[j], number)]
        if len(pairs) < 5:
            raise ValueError(f"only {len(pairs)} computed models to correct {teacher.name} with; at least 5 are needed")
        error = np.stack([np.where(truth.mask[i], teacher.y[j] - truth.y[i], np.nan) for j, i in pairs])
        bias = np.nanmedian(error, axis=0)
        for j in np.flatnonzero((teacher.x[:, 0] > split) == hot):
            y[j] -= [np.interp(teacher.layer[j], number, b) for b in bias]
    return replace(teacher, y=y)

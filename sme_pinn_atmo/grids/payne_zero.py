"""Payne Zero v1.3 corpora: tens of thousands of ATLAS12-physics models with any number of labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .npz import floats, load_arrays
from .structures import GridFileError, Structures

__all__ = ["read_payne_zero"]

#: What the corpora call the labels that this project names otherwise.
_NAMES = {"Teff": "teff", "log_g": "logg", "[M/H]": "m_h", "mh": "m_h", "[alpha/M]": "alpha_m", "am": "alpha_m",
          "alpham": "alpha_m", "vmic": "vturb", "vmicro": "vturb"}  # fmt: skip


def read_payne_zero(path: str | Path) -> Structures:
    """Read `atmosphere_profiles` (N, 80, 6), `standard_rosseland_optical_depth` (N, 80) and `labels_json`.

    Profiles are in the order column mass, temperature, gas pressure, electron density, Rosseland opacity,
    radiative acceleration. `labels_json` is a JSON list with one object of labels a model, or one object with a
    list a label; every numeric label is kept, under this project's name where it has one.

    Raises
    ------
    GridFileError : not such a file, or arrays that do not fit together
    """
    path = Path(path)
    data = load_arrays(path)
    needed = ("atmosphere_profiles", "standard_rosseland_optical_depth", "labels_json")
    if missing := [name for name in needed if name not in data]:
        raise GridFileError(f"{path} is not a Payne Zero corpus: it has no array {missing[0]!r}")
    profiles, tau = (floats(path, name, data[name]) for name in needed[:2])
    text = data["labels_json"]
    try:
        table = json.loads(str(text[()])) if text.ndim == 0 else [json.loads(str(t)) for t in text.flat]
    except (ValueError, RecursionError) as error:
        raise GridFileError(f"{path} is not a Payne Zero corpus: labels_json: {error}") from None
    if isinstance(table, list):
        if not table or not all(isinstance(row, dict) and row.keys() == table[0].keys() for row in table):
            raise GridFileError(f"{path}: the objects of labels_json do not all have the same labels")
        table = {k: [row[k] for row in table] for k in table[0]}
    labels = {
        _NAMES.get(k, k): np.asarray(v, dtype=float)
        for k, v in table.items()
        if isinstance(v, list) and v and all(isinstance(e, (int, float)) for e in v)
    }
    if profiles.ndim != 3 or np.any(tau <= 0):
        raise GridFileError(f"{path}: profiles have the shape {profiles.shape}, depths start at {np.min(tau):g}")
    n, depth = profiles.shape[:2]
    try:
        log_tau = np.log10(np.broadcast_to(tau, (n, depth)))
        return Structures(labels, profiles, log_tau, np.full(n, depth), {}, str(path))
    except ValueError as error:
        raise GridFileError(f"{path}: {error}") from None

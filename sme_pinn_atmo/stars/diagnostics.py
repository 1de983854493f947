"""What each line says, and what a fit was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .model import Match, project
from .parameters import step

__all__ = ["line_table", "metal_derivatives", "provenance"]

Array = NDArray[np.float64]

#: Estimated depth of the lines that are looked at one by one, and how much of it its neighbours may have together.
_DEPTH, _BLEND = 0.05, 0.3

#: A line is read within so many FWHM of its centre, at least so far [A].
_REACH, _LEAST = 0.75, 0.08


def metal_derivatives(
    state: Any, values: dict[str, float], derivatives: Sequence[Array], matches: Sequence[Match]
) -> list[Array]:
    """(n,) by window: derivative of the observed flux by [M/H] over sigma, without what the continuum can do."""
    from .instrument import resample

    if "monh" in values:
        j = list(values).index("monh")
        found = [d[j] for d in derivatives]
    else:
        full = state.stellar(values)
        size = step("monh", 0.0)
        base, moved = (
            state.fluxes(state.coarse.intensities({**full, "monh": full.get("monh", 0.0) - d}), values)
            for d in (0, size)
        )
        state.syntheses += 2
        found = [(b - f) / size for f, b in zip(moved, base, strict=True)]
    out = []
    for window, matched in zip(state.observed, matches, strict=True):
        seen = resample(state.coarse.waves[window.number], found[window.number], window.wave, matched.velocity)[0]
        plain = replace(window, weights=None)
        out.append(project(plain, matched, seen[:, None], degree=state.options.degree, velocity=False)[:, 0])
    return out


def line_table(state: Any, windows: Sequence[Any]) -> Any:
    """An astropy table of the lines that stand alone: what each says about the metallicity.

    Columns: species, wavelength in air [A], excitation [eV], log gf, strength (depth in the limit of weakness), and
    delta, error: by how much [M/H] [dex] this line alone asks to be changed. A slope of delta with excitation says that
    teff is off, a difference between neutral and ionised that logg is, one with strength that vmic is.
    """
    from astropy.table import Table

    selection = state.synthesis.selection
    lines = state.synthesis.lines
    centre = np.asarray(lines["wlcent"], dtype=float)
    depth = selection.depth
    species = np.asarray(lines["species"], dtype=str)
    resolution = max(float(state.parameters.full({}).get("resolution", 0.0)), 1.0)
    strong = np.flatnonzero((depth > _DEPTH) & (species != "H 1"))
    rows = []
    for window in windows:
        shift = 1 + window.velocity / 299792.458
        for i in strong[(centre[strong] > window.low + 0.3) & (centre[strong] < window.high - 0.3)]:
            reach = max(_REACH * centre[i] / resolution if resolution > 1 else 0.0, _LEAST)
            near = np.abs(centre - centre[i]) < reach
            if depth[near].sum() - depth[i] > _BLEND * depth[i]:
                continue
            at = window.used & (np.abs(window.wave / shift - centre[i]) < reach)
            d, r = window.per_monh[at], window.residual[at]
            power = float(d @ d)
            if at.sum() < 3 or power < 1e-3:
                continue
            rows.append((species[i], centre[i], float(lines["excit"][i]), float(lines["gflog"][i]), float(depth[i]),
                         float(d @ r) / power, power**-0.5))  # fmt: skip
    names = ("species", "wavelength", "excitation", "log_gf", "strength", "delta", "error")
    return Table(rows=rows, names=names) if rows else Table(names=names, dtype=("U8", *("f8",) * 6))


def provenance(state: Any) -> dict[str, Any]:
    """Versions, model, checksums and settings, as JSON takes them."""
    import hashlib
    from dataclasses import asdict

    import pysme

    from .. import __version__

    source, lines = state.synthesis.source, state.synthesis.lines
    digest = hashlib.sha256()
    for column in ("wlcent", "excit", "gflog", "gamrad", "gamqst", "gamvw"):
        digest.update(np.ascontiguousarray(np.asarray(lines[column], dtype=float)).tobytes())
    emulator = getattr(source, "emulator", None)
    return {
        "sme_pinn_atmo": __version__,
        "pysme": pysme.__version__,
        "model": getattr(emulator, "name", str(getattr(source, "source", source))),
        "model_sha256": None if emulator is None else emulator.card.get("sha256"),
        "spectrum_sha256": state.spectrum.sha256 or None,
        "cleaned": dict(state.spectrum.counts),
        "lines_sha256": digest.hexdigest(),
        "windows": [list(w) for w in state.table.windows],
        "masks": [list(w) for w in (*state.table.masks, *state.table.tellurics)],
        "options": asdict(state.options),
        "start": dict(state.parameters.start),
        "priors": {n: list(p) for n, p in state.parameters.priors.items()},
        "ties": dict(state.parameters.ties),
    }

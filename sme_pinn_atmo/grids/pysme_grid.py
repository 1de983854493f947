"""PySME's atmosphere grids (`.sav`, `.npz`): read for training, written for people who cannot use the PINN itself."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..composition import SOLAR_SCALES, mean_atomic_mass
from ..emulator import Emulator
from ..files import write_atomically
from ..physics import BOLTZMANN
from .npz import load_arrays
from .structures import COLUMNS, GridFileError, Structures

__all__ = ["grid_of_nodes", "read_pysme_grid", "write_pysme_grid"]


def read_pysme_grid(path: str | Path) -> Structures:
    """Read a grid that PySME itself reads; needs PySME.

    Such grids hold no opacity and no radiative acceleration: the opacity is d tau / d m of the grid's `tau`
    (which must be the Rosseland depth, as in ATLAS grids), the acceleration that which hydrostatic equilibrium
    leaves; the gas pressure is (xna + xne) k T.

    Raises
    ------
    GridFileError : not such a file
    """
    from pysme.atmosphere.atmosphere import AtmosphereGrid
    from pysme.atmosphere.savfile import SavFile

    path = Path(path)
    if zipfile.is_zipfile(path):
        load_arrays(path)  # PySME would make room for whatever the heads say
    try:
        grid: Any = AtmosphereGrid.load(str(path)) if path.suffix == ".npz" else SavFile(str(path))
        f = {k: np.asarray(grid[k], dtype=float) for k in ("rhox", "temp", "tau", "xna", "xne")}
        labels = {k: np.asarray(grid[k], dtype=float) for k in ("teff", "logg", "monh", "vturb")}
    except FileNotFoundError:
        raise
    except Exception as error:  # PySME and scipy raise many kinds for a damaged file
        raise GridFileError(f"{path} is not an atmosphere grid of PySME: {error}") from None
    n, depth = len(labels["teff"]), f["rhox"].shape[-1]
    if depth < 2 or any(v.shape != (n, depth) for v in f.values()) or any(v.shape != (n,) for v in labels.values()):
        raise GridFileError(f"{path} has profiles or labels that do not fit each other")
    pressure = (f["xna"] + f["xne"]) * BOLTZMANN * f["temp"]
    kappa, acceleration = np.empty_like(pressure), np.empty_like(pressure)
    for i in range(n):
        kappa[i] = np.gradient(f["tau"][i], f["rhox"][i])
        acceleration[i] = 10.0 ** labels["logg"][i] - np.gradient(pressure[i], f["rhox"][i])
    profiles = np.stack([f["rhox"], f["temp"], pressure, f["xne"], kappa, acceleration], axis=-1)
    named = {"teff": labels["teff"], "logg": labels["logg"], "m_h": labels["monh"], "vturb": labels["vturb"]}
    return Structures(named, profiles, np.log10(f["tau"]), np.full(n, profiles.shape[1]), {}, str(path))


def write_pysme_grid(path: str | Path, structures: Structures, *, solar_scale: str = "asplund2009") -> None:
    """Write models of equal depth as an atmosphere grid that PySME reads (`AtmosphereGrid.load`); needs PySME.

    `tau` is the Rosseland depth. PySME interpolates such a grid in teff, logg and monh only.

    Raises
    ------
    ValueError : models of different depth, or two with the same teff, logg and m_h
    """
    from pysme.abund import Abund
    from pysme.atmosphere.atmosphere import AtmosphereGrid

    label = structures.labels
    if np.ptp(structures.n_depth):
        raise ValueError(f"models of {structures.n_depth.min()} to {structures.n_depth.max()} layers; one is allowed")
    if len({*zip(label["teff"], label["logg"], label["m_h"], strict=True)}) < len(structures):
        raise ValueError("two models have the same teff, logg and m_h; a PySME grid has no other label")
    depth = int(structures.n_depth[0])
    get = {c: structures.profiles[:, :depth, j] for j, c in enumerate(COLUMNS)}
    atoms = get["P"] / (BOLTZMANN * get["T"]) - get["XNE"]
    alpha = label.get("alpha_m", np.zeros(len(structures)))
    grid: Any = AtmosphereGrid(len(structures), depth)
    for name, value in {
        "teff": label["teff"], "logg": label["logg"], "monh": label["m_h"], "lonh": 0.0, "radius": 1.0,
        "vturb": label.get("vturb", 0.0), "height": 0.0, "wlstd": 5000.0,
        "opflag": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0], "temp": get["T"],
        "rhox": get["RHOX"], "tau": 10.0 ** structures.log_tau_ross[:, :depth], "xna": atoms, "xne": get["XNE"],
        "rho": atoms * mean_atomic_mass(label["m_h"], alpha, solar_scale)[:, None],
    }.items():  # fmt: skip
        grid[name] = value
    solar = Abund(pattern="solar", monh=0).get_pattern("H=12") | SOLAR_SCALES[solar_scale]
    grid["abund"] = [Abund(pattern=solar, monh=m, type="H=12")("sme", raw=True) for m in label["m_h"]]
    path = Path(path)
    grid.source = path.name
    data = io.BytesIO()
    grid.save(data)
    write_atomically(path, data.getvalue())


def grid_of_nodes(
    model: str, axes: Mapping[str, tuple[float, float, float]], *, alpha_m: float = 0.0, vturb: float | None = None
) -> tuple[Structures, int]:
    """A model's structures at the nodes of a grid, and how many nodes lie outside its domain and are left out.

    Parameters
    ----------
    axes : teff [K], logg, m_h [dex] -> first, last and step
    alpha_m [dex], vturb [km/s] : the same at all nodes; None for the model's default vturb

    Raises ValueError for an axis without a node, or no node in the domain.
    """
    emulator = Emulator.load(model)
    points = []
    for name, (low, high, step) in axes.items():
        if not (step > 0 and high >= low):
            raise ValueError(f"{name} from {low:g} to {high:g} in steps of {step:g} is no axis")
        points.append(np.round(low + step * np.arange(round((high - low) / step + 1e-6) + 1), 6))
    mesh = np.meshgrid(*points, indexing="ij")
    labels: dict[str, Any] = {name: m.ravel() for name, m in zip(axes, mesh, strict=True)}
    labels["alpha_m"] = np.full(mesh[0].size, alpha_m)
    labels["vturb"] = np.full(mesh[0].size, emulator.domain.defaults["vturb"] if vturb is None else vturb)
    inside = emulator.domain.contains(**labels)
    if not inside.any():
        emulator.domain.check(emulator.domain.stack(labels))
    labels = {k: v[inside] for k, v in labels.items()}
    a = emulator.predict(**labels)
    columns = (a.rhox, a.temperature, a.gas_pressure, a.electron_density, a.opacity, a.radiative_acceleration)
    n = int(inside.sum())
    extra = {"solar_scale": np.full(n, a.solar_scale)}
    return Structures(labels, np.stack(columns, -1), np.log10(a.tau_ross), np.full(n, a.n_depth), extra, model), int(
        (~inside).sum()
    )

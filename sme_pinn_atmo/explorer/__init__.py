"""The page that computes atmospheres in a browser: its files in one folder, and a server for this machine alone.

The page itself, plain JavaScript, is docs/explorer; it reads the weights and cards that ship, and from `site.json` the
constants and tables that Python has, so that each is written down once.
"""

from __future__ import annotations

import json
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import plot_library

__all__ = ["serve", "site", "write_site"]

_PAGE = Path(__file__).parent / "page"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".css": "text/css",
          ".html": "text/html; charset=utf-8"}  # fmt: skip


def site(names: list[str], documentation: bool = False) -> dict[str, Any]:
    """What the page needs to know from Python: models, constants, mixtures, units, and whether it lies within the
    documentation."""
    from astropy import constants
    from astropy.units import Unit
    from scipy.constants import Stefan_Boltzmann

    from .. import __version__, composition, physics
    from ..codes import continuum
    from ..emulator import labels
    from ..structure import PROFILES

    elements = {
        el: {"z": z, "weight": composition.atomic_weight(el), "alpha": el in composition.ALPHA_ELEMENTS}
        for el, z in composition.ATOMIC_NUMBER.items()
    }
    return {
        "version": __version__,
        "documentation": documentation,
        "models": names,
        "julia_models": sorted(p.stem for p in (Path(__file__).parents[1] / "julia_bridge" / "models").glob("*.pinn")),
        "constants": {"boltzmann": physics.BOLTZMANN, "atomic_mass": physics.ATOMIC_MASS,
                      "stefan_boltzmann": Stefan_Boltzmann, "solar_gm": physics.SOLAR_GM,
                      "sphere_passes": physics.SPHERE_PASSES, "sphere_logg": labels.SPHERE_LOGG,
                      "solar_radius": float(constants.R_sun.cgs.value),
                      "solar_luminosity": float(constants.L_sun.cgs.value)},
        "label_units": labels.LABEL_UNITS,
        "profiles": {name: {"unit": unit, "ecsv": Unit(unit).to_string()} for name, unit in PROFILES.items()},
        "composition": {"elements": elements, "solar_scales": composition.SOLAR_SCALES},
        "continuum": continuum.tables(),
    }  # fmt: skip


def write_site(folder: str | Path, names: list[str] | None = None, *, documentation: bool = False) -> Path:
    """Write the page with its models and plot library to a folder, ready for any web server; returns the folder.

    names : of models in `emulator.models()`; those that come with the package if left out
    documentation : whether the folder above holds the built documentation, to which the page then links

    Raises
    ------
    ValueError : no such model
    RuntimeError : the plot library neither came with the package nor can be brought
    """
    from ..emulator import Emulator, models
    from ..files import write_atomically

    folder, known = Path(folder), models()
    chosen = {p.stem: p for p in known.values() if p.parent == _PAGE.parents[1] / "models"}
    if names is not None:
        for name in names:
            Emulator.load(name)  # whole, and of a format that this version knows
        chosen = {name: known[name] for name in names}
    files = {p.name: p.read_bytes() for p in _PAGE.iterdir() if p.is_file()}
    files |= {f"vendor/{name}": data for name, data in plot_library.read().items()}
    for name, weights in chosen.items():
        files |= {f"models/{name}{p.suffix}": p.read_bytes() for p in (weights, weights.with_suffix(".json"))}
    files["site.json"] = json.dumps(site([*chosen], documentation), indent=1).encode()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, data)
    return folder


class _Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with the types that browsers insist on whatever this machine's registry says."""

    def guess_type(self, path: Any) -> str:
        return _TYPES.get(Path(path).suffix) or super().guess_type(path)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are of no interest here."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def serve(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a folder on 127.0.0.1, not yet running; its `server_port` is free if `port` is 0.

    Raises OSError where the port is taken.
    """
    from functools import partial

    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder)))

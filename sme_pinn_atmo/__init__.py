"""A physics-informed neural network in place of model-atmosphere grids, for PySME and Korg."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._places import MOVED
from .emulator import Domain, DomainError, Emulator, ModelFileError, models
from .structure import PROFILES, ModelAtmosphere

if TYPE_CHECKING:
    from .codes import continuum as continuum
    from .codes import julia_export as julia_export
    from .codes import korg as korg
    from .codes import pysme as pysme
    from .codes.pysme import PinnAtmosphereGrid
    from .emulator import labels as labels
    from .emulator import network as network
    from .emulator import runtime as runtime
    from .emulator import uncertainty as uncertainty

__all__ = ["PROFILES", "Domain", "DomainError", "Emulator", "ModelAtmosphere", "ModelFileError",
           "PinnAtmosphereGrid", "models"]  # fmt: skip

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # PySME writes to the home folder when it is imported: only those who ask for its grid pay for that.
    if name == "PinnAtmosphereGrid":
        from .codes.pysme import PinnAtmosphereGrid

        return PinnAtmosphereGrid
    if name in MOVED:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

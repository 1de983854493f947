"""A physics-informed neural network in place of model-atmosphere grids, for PySME and Korg."""

from typing import TYPE_CHECKING, Any

from .emulator import Emulator, ModelFileError, models
from .labels import Domain, DomainError
from .structure import PROFILES, ModelAtmosphere

if TYPE_CHECKING:
    from .pysme import PinnAtmosphereGrid

__all__ = ["PROFILES", "Domain", "DomainError", "Emulator", "ModelAtmosphere", "ModelFileError",
           "PinnAtmosphereGrid", "models"]  # fmt: skip

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # PySME writes to the home folder when it is imported: only those who ask for its grid pay for that.
    if name == "PinnAtmosphereGrid":
        from .pysme import PinnAtmosphereGrid

        return PinnAtmosphereGrid
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

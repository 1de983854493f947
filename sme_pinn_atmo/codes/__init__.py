"""Other people's codes: what PySME, Korg and the Julia package need of a model atmosphere.

In: an emulator and labels, in the names that each code gives them. Out: atmospheres that the code takes for its own
(`pysme`, `korg`), optical depths at 5000 A (`continuum`), a model as a file for Julia (`julia_export`). The door is
these four modules, each read when it is asked for, since importing PySME has effects of its own; `pysme` and `korg` do
not know each other.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import continuum, julia_export, korg, pysme

__all__ = ["continuum", "julia_export", "korg", "pysme"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

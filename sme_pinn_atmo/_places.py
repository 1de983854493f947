"""Modules that moved into rooms, under the names that scripts import them by: `sme_pinn_atmo.korg` *is*
`sme_pinn_atmo.codes.korg`, one module with two names, read when it is asked for and not before.

One finder and not a file for each old name: the top level shows the rooms, and there is one list to shorten.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["MOVED"]

_ROOMS = {
    "codes": ("continuum", "julia_export", "korg", "pysme"),
    "emulator": ("labels", "network", "runtime", "uncertainty"),
}
#: Old name on the top level -> where the module stands.
MOVED = {name: f"{room}.{name}" for room, names in _ROOMS.items() for name in names}


class _Moved(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __package__ and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what stands under the name when this returns.
        old = module.__name__
        sys.modules[old] = import_module(f".{MOVED[old.rpartition('.')[2]]}", __package__)


# Before the finders of Python: a file left behind by an older version would be a second module.
sys.meta_path.insert(0, _Moved())

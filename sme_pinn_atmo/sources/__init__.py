"""Public data: what there is, where it is published, how it comes here, and where it is then.

One look-up for everything that reads data (`find`), one registry (`registry.SETS`), one way to bring originals
(`bring`), and the makers of this project's own files from them (`build`).
"""

from __future__ import annotations

from .places import DataMissingError, cache_folder, checksum, find, is_here, origin, set_of
from .registry import SETS, DataSet, Original, data_set

__all__ = ["SETS", "DataMissingError", "DataSet", "Original", "cache_folder", "checksum", "data_set", "find", "is_here",
           "origin", "set_of"]  # fmt: skip

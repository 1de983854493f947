"""Training sets for the machines that label surveys: spectra at continuous labels, with derivatives, in one file.

`Survey.read("galah.toml")` says what is made, `make` makes it, `Set` reads it, `exports` hands it on, `network`
trains on it. Nothing here knows more of PySME than `stars.synthesis` does.
"""

from __future__ import annotations

from .make import make, plan
from .settings import Survey, presets
from .store import Set

__all__ = ["Set", "Survey", "make", "plan", "presets"]

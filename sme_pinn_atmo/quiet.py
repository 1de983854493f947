"""PySME says much, on the console and through warnings; here it is made quiet, or left to speak."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["quiet_pysme", "verbose_pysme"]

_VERBOSE: ContextVar[bool] = ContextVar("sme_pinn_atmo_verbose", default=False)


@contextlib.contextmanager
def quiet_pysme() -> Iterator[None]:
    """No log lines below errors, and no warnings out of PySME's modules; does nothing inside `verbose_pysme`."""
    if _VERBOSE.get():
        yield
        return
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pysme(\.|$)")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def verbose_pysme() -> Iterator[None]:
    """PySME speaks: what the option --verbose of the commands does."""
    token = _VERBOSE.set(True)
    try:
        yield
    finally:
        _VERBOSE.reset(token)

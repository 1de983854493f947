"""uPlot, the plot library of the page: brought from npm when the package or the site is built, and not kept in git.

Standard library only: `setup.py` runs this file before the package can be imported.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

__all__ = ["bring", "read"]

_URL = "https://registry.npmjs.org/uplot/-/uplot-1.6.32.tgz"
_SHA256 = "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d"
_FILES = {"uPlot.iife.min.js": "package/dist/uPlot.iife.min.js", "uPlot.min.css": "package/dist/uPlot.min.css",
          "uPlot-LICENSE.txt": "package/LICENSE"}  # fmt: skip
_VENDOR = Path(__file__).parent / "vendor"


def read() -> dict[str, bytes]:
    """The library's files by name: as built into the package, else from npm.

    Raises RuntimeError where neither is to be had.
    """
    if all((_VENDOR / name).is_file() for name in _FILES):
        return {name: (_VENDOR / name).read_bytes() for name in _FILES}
    try:
        with urllib.request.urlopen(_URL, timeout=30) as answer:
            data = answer.read()
    except OSError as error:
        raise RuntimeError(f"the plot library is not in this package, and {_URL} cannot be had: {error}") from None
    if (digest := hashlib.sha256(data).hexdigest()) != _SHA256:
        raise RuntimeError(f"{_URL} is not what it was: sha256 {digest[:12]}..., expected {_SHA256[:12]}...")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {name: archive.extractfile(member).read() for name, member in _FILES.items()}  # type: ignore[union-attr]


def bring() -> None:
    """Put the library's files into the package, where they are not there yet."""
    files = read()
    _VENDOR.mkdir(exist_ok=True)
    for name, data in files.items():
        (_VENDOR / name).write_bytes(data)

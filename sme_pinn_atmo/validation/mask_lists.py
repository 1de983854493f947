"""Lists of masks for the comparison with the Sun: computed Suns and the atlas come in, Python source goes out.

`python -m sme_pinn_atmo.validation.mask_lists [CACHE]` prints `WATER` and `LINE_LIST` of `masks` [A in air].
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .masks import propose
from .solar import VMIC, WINDOWS, computed_suns, sources
from .spectrum import Layers, synthesise

__all__: list[str] = []


def _print_lists(cache: Path) -> None:
    """The lists of `masks` for the windows of `validate solar`, from the computed models alone."""
    atlas, lines, paths = sources()
    stars: dict[str, Layers] = computed_suns(paths)
    found: dict[str, list[Any]] = {"WATER": [], "LINE_LIST": []}
    for window in WINDOWS:
        spectra = {n: synthesise(s, lines, window, vmic=VMIC, cache=cache) for n, s in stars.items()}
        for name, ranges in zip(found, propose(atlas, spectra, window), strict=True):
            found[name] += ranges
    for name, ranges in found.items():
        print(f"{name}: tuple[tuple[float, float], ...] = (\n{_wrap(sorted(ranges))})  # fmt: skip")


def _wrap(ranges: Sequence[tuple[float, float]], per_line: int = 5) -> str:
    text = [f"({low:.2f}, {high:.2f})," for low, high in ranges]
    return "".join(f"    {' '.join(text[i : i + per_line])}\n" for i in range(0, len(text), per_line))


if __name__ == "__main__":
    _print_lists(Path(sys.argv[1] if len(sys.argv) > 1 else "validation_report/cache"))

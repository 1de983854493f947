"""The stars of a calibration in one file, STARS.toml, that can go into a paper's repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..stars.instrument import LineSpread, bin_pixels, even_velocity
from ..stars.settings import Settings, read_toml
from ..stars.spectrum import ObservedSpectrum, read_spectrum
from ..stars.windows import Windows
from .shared import LineOptions

__all__ = ["SUN", "CalibrationStar", "packaged_stars", "read_stars", "solar_spectrum"]

#: As spectrum of a star: the solar flux atlas of the data set "solar" (or "solar-full").
SUN = "sun"

#: Error of the solar atlas where a file does not say: of its continuum, for its noise is a tenth of that.
_SUN_ERROR = 0.003

_FOLDER = Path(__file__).parent / "data"

#: Tables of STARS.toml but for [[stars]], which hold for every star that does not say otherwise.
_COMMON = ("model", "start", "fit", "priors", "ties")

#: Of a star: what star.toml has in [star], and what it has in tables of their own.
_OWN = ("name", "spectrum", "medium", "error", "windows", "mask", "normalise", "free", "velocity", "degree", "floor",
        "start", "priors", "ties", "model")  # fmt: skip


@dataclass(frozen=True)
class CalibrationStar:
    """A star of a calibration.

    name : of it
    settings : as of a fit: where its spectrum is, windows, labels that are fixed (`start`), free, with priors
    observed, table : the spectrum and the windows themselves, in place of files
    """

    name: str
    settings: Settings
    observed: ObservedSpectrum | None = None
    table: Windows | None = None

    def windows(self, spectrum: ObservedSpectrum) -> Windows:
        """Windows and masks; the whole spectrum where none are named."""
        s = self.settings
        table = self.table or (Windows.over(spectrum.wave) if s.windows is None else Windows.read(s.windows))
        return replace(table, masks=table.masks + s.mask)

    def spectrum(self) -> ObservedSpectrum:
        """The observed spectrum."""
        s = self.settings
        if self.observed is not None:
            return self.observed
        if s.spectrum == SUN:
            table = None if s.windows is None else Windows.read(s.windows)
            return solar_spectrum(table, float(s.start.get("resolution", 0.0)), s.error or _SUN_ERROR)
        return read_spectrum(s.spectrum_file(), error=s.error, medium=s.medium, name=self.name)


def solar_spectrum(windows: Windows | None, resolution: float, error: float = _SUN_ERROR) -> ObservedSpectrum:
    """The observed Sun (Kurucz et al. 1984) in windows, as a spectrograph of this resolving power shows it.

    Raises
    ------
    DataMissingError : the atlas is not here, or holds only a part of a window
    ValueError : a resolution of 0 or above 200,000, where the atlas itself ends
    """
    from ..sources import SETS, DataMissingError, checksum, find

    if not 0 < resolution <= 200_000:
        raise ValueError(f"resolution of the Sun = {resolution:g}; allowed: above 0, at most 200000")
    path = find(SETS["solar"].files[0])
    with np.load(path, allow_pickle=False) as file:
        wave, flux = file["wave_air"].astype(float), file["flux"].astype(float) * float(file["flux_scale"])
    ranges = ((wave[0] + 3, wave[-1] - 3),) if windows is None else windows.windows
    step = 299_792.458 / resolution / 4  # km/s, of one grid for all windows
    every = even_velocity(wave, step)
    seen: dict[int, float] = {}
    for low, high in ranges:
        here = (wave > low - 3) & (wave < high + 3)
        if not here.any() or wave[here][0] > low - 1 or wave[here][-1] < high + 1 or np.diff(wave[here]).max() > 1:
            raise DataMissingError(
                f"the solar atlas in {path} does not hold {low:g}-{high:g} A: `sme-pinn-atmo data build solar-full` "
                "brings all of it"
            )
        even = even_velocity(wave[here], step / 8)
        smooth = LineSpread(resolution).apply(even, np.interp(even, wave[here], flux[here]), step / 8)
        index = np.flatnonzero((every > low - 1) & (every < high + 1))
        seen |= dict(zip(index.tolist(), bin_pixels(even, smooth, every[index]).tolist(), strict=True))
    index = np.array(sorted(seen))
    found = ObservedSpectrum.from_arrays(every[index], np.array([seen[i] for i in index.tolist()]), error, name="Sun")
    return replace(found, sha256=checksum(path))


def packaged_stars() -> dict[str, Path]:
    """Settings of calibrations that come with the package, by file name."""
    return {path.name: path for path in sorted(_FOLDER.glob("*.toml"))}


def read_stars(path: str | Path) -> tuple[list[CalibrationStar], LineOptions, str | None]:
    """Stars, options of the lines, and the line list (None if the file names none) of a STARS.toml.

    The file has the tables of star.toml ([model], [start], [fit], [priors], [ties]) for all stars, windows and lines at
    its head, a table [lines] with names of `LineOptions`, and a table [[stars]] for each star: name, spectrum ("sun",
    "benchmarks:NAME" or a file), and what it has of its own. A name of `packaged_stars` that is no file is that one.

    Raises FileNotFoundError for no such file, ValueError for what is not TOML, unknown names or missing ones.
    """
    path, data = read_toml(path, packaged_stars(), "stars")
    known = (*_COMMON, "stars", "lines", "list", "windows", "mask")
    if unknown := [t for t in data if t not in known]:
        raise ValueError(f"{path}: nothing is called {unknown[0]!r}; allowed: {', '.join(known)}")
    names = [f.name for f in fields(LineOptions)]
    if unknown := [n for n in data.get("lines", {}) if n not in names]:
        raise ValueError(f"{path}: [lines] has no {unknown[0]!r}; allowed: {', '.join(names)}")
    if not data.get("stars"):
        raise ValueError(f"{path} has no [[stars]]")
    stars = [_star(path, data, dict(own)) for own in data["stars"]]
    return stars, LineOptions(**data.get("lines", {})), data.get("list")


def _star(path: Path, data: Mapping[str, Any], own: dict[str, Any]) -> CalibrationStar:
    if unknown := [n for n in own if n not in _OWN]:
        raise ValueError(f"{path}: [[stars]] has no {unknown[0]!r}; allowed: {', '.join(_OWN)}")
    for needed in ("name", "spectrum"):
        if needed not in own:
            raise ValueError(f"{path}: a star without {needed}: {own}")
    star: dict[str, Any] = {n: own[n] for n in ("name", "spectrum", "medium", "error") if n in own}
    for name in ("windows", "mask"):
        if name in own or name in data:
            star[name] = own.get(name, data.get(name))
    merged: Callable[[str], dict[str, Any]] = lambda table: {**data.get(table, {}), **own.get(table, {})}  # noqa: E731
    fit = {**data.get("fit", {}),
           **{n: own[n] for n in ("free", "velocity", "degree", "floor", "normalise") if n in own}}  # fmt: skip
    free = fit.get("free", ())
    tables = {"star": star, "model": merged("model"), "start": merged("start"), "fit": {**fit, "free": free},
              "priors": {n: p for n, p in merged("priors").items() if n in free}, "ties": merged("ties")}  # fmt: skip
    return CalibrationStar(str(own["name"]), Settings.from_dict(tables, path))

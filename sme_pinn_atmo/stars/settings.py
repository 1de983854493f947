"""All settings of a star's fit in one file, star.toml, that can go into a paper's repository."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .corrections import Corrections
from .fit import Options, StarFit, fit_star
from .instrument import LineSpread
from .lines import benchmark_file, read_lines
from .parameters import Parameters
from .spectrum import read_spectrum
from .windows import Windows

__all__ = ["Settings", "packaged_settings", "read_toml"]

_FOLDER = Path(__file__).parent.parent / "data" / "stars"

#: Tables of star.toml and the names that each may have.
_KNOWN = {
    "star": ("name", "spectrum", "medium", "error", "lines", "corrections", "windows", "mask", "tellurics",
             "line_spread"),
    "model": ("name", "pattern", "geometry", "mass"),
    "start": None,
    "fit": ("free", "velocity", "degree", "floor", "line_scatter", "corrected_scatter", "hydrogen_scatter", "clip",
            "points", "normalise", "iterations", "step", "atmosphere_errors", "line_errors",
            "external_errors"),
    "priors": None,
    "ties": None,
}  # fmt: skip


def packaged_settings() -> dict[str, Path]:
    """Settings that come with the package, by file name ("18sco.toml")."""
    return {path.name: path for path in sorted(_FOLDER.glob("*.toml"))}


def read_toml(path: str | Path, packaged: Mapping[str, Path], what: str) -> tuple[Path, dict[str, Any]]:
    """What a TOML file holds, and which it is: a name of `packaged` that is no file is that one; `what` is for errors.

    Raises FileNotFoundError for no such file, ValueError for what is not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    path = Path(path)
    if not path.is_file():
        path = packaged.get(path.name, path) if path.parent == Path() else path
    if not path.is_file():
        raise FileNotFoundError(f"there are no {what} {path}; packaged: {', '.join(packaged) or 'none'}")
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not TOML: {problem}") from None


@dataclass(frozen=True)
class Settings:
    """What `sme-pinn-atmo fit` does with a star.

    spectrum : file, or "benchmarks:NAME" for a spectrum of the benchmark stars' data
    lines : see `lines.read_lines`; corrections : of them, a packaged set or a file, see `corrections.Corrections`
    windows : see `Windows.read`, None for the whole spectrum
    mask : ranges [A] left out as well; tellurics : a table whose telluric ranges are, such as "telluric-bands"
    line_spread : a table of the instrument, see `LineSpread.read`
    start, free, priors, ties : see `Parameters`; options : see `Options`
    """

    spectrum: str
    start: Mapping[str, float]
    free: tuple[str, ...] = ("teff", "logg", "monh")
    name: str | None = None
    medium: str | None = None
    error: float | None = None
    lines: str | None = None
    corrections: str | None = None
    windows: str | None = None
    mask: tuple[tuple[float, float], ...] = ()
    tellurics: str | None = None
    line_spread: str | None = None
    model: str = "atlas12"
    priors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    @classmethod
    def read(cls, path: str | Path) -> Settings:
        """From a TOML file; a name of `packaged_settings` that is no file is that one. Paths are relative to the file.

        Raises FileNotFoundError for no such file, ValueError for what is not TOML, unknown names or missing ones.
        """
        file, data = read_toml(path, packaged_settings(), "settings")
        return cls.from_dict(data, file)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], path: Path = Path("star.toml")) -> Settings:
        """As `read`, from what a TOML file holds."""
        for table, names in _KNOWN.items():
            unknown = [] if names is None else [n for n in data.get(table, {}) if n not in names]
            if unknown:
                raise ValueError(f"{path}: [{table}] has no {unknown[0]!r}; allowed: {', '.join(names or ())}")
        if unknown := [t for t in data if t not in _KNOWN]:
            raise ValueError(f"{path}: no table [{unknown[0]}]; allowed: {', '.join(_KNOWN)}")
        star, model, fit = (dict(data.get(t, {})) for t in ("star", "model", "fit"))
        if "spectrum" not in star:
            raise ValueError(f"{path}: [star] needs a spectrum")
        start = {n: _number(path, n, v) for n, v in data.get("start", {}).items()}
        free = tuple(fit.pop("free", ("teff", "logg", "monh")))
        options = Options(**fit, **{n: model[n] for n in ("pattern", "geometry", "mass") if n in model})
        priors = {n: (float(v[0]), float(v[1])) for n, v in data.get("priors", {}).items()}
        known = ("lines", "corrections", "windows", "tellurics", "line_spread")
        files = {n: _near(path.parent, star[n]) for n in known if n in star}
        mask = tuple((float(a), float(b)) for a, b in star.get("mask", ()))
        return cls(
            _near(path.parent, star["spectrum"]), start, free, star.get("name"), star.get("medium"), star.get("error"),
            mask=mask, model=model.get("name", "atlas12"), priors=priors, ties=dict(data.get("ties", {})),
            options=options, **files,
        )  # fmt: skip

    def with_(self, **changes: Any) -> Settings:
        """With other values; names of `Options` go there, None changes nothing.

        Other free parameters leave behind the priors of those that are not free any more.
        """
        given = {n: v for n, v in changes.items() if v is not None}
        if "free" in given and "priors" not in given:
            given["priors"] = {n: p for n, p in self.priors.items() if n in given["free"]}
        own = {f.name for f in fields(self)}
        options = replace(self.options, **{n: v for n, v in given.items() if n not in own})
        return replace(self, **{n: v for n, v in given.items() if n in own}, options=options)

    def spectrum_file(self) -> Path:
        """Where the spectrum lies."""
        scheme, _, name = self.spectrum.partition(":")
        return benchmark_file(f"spectra/{name}") if scheme == "benchmarks" else Path(self.spectrum)

    def run(self, progress: Any = lambda text: None, lines: Any = None) -> StarFit:
        """Read what is needed and fit; `lines` takes the place of reading them, and is corrected like them."""
        spectrum = read_spectrum(self.spectrum_file(), error=self.error, medium=self.medium, name=self.name)
        windows = Windows.over(spectrum.wave) if self.windows is None else Windows.read(self.windows)
        windows = replace(windows, masks=windows.masks + self.mask)
        if self.tellurics is not None:
            windows = replace(windows, tellurics=windows.tellurics + Windows.read(self.tellurics).tellurics)
        if spectrum.cleaned:
            progress(spectrum.cleaned)
        if lines is None:
            lines = read_lines(self.lines, windows.windows)
        if self.corrections is not None:
            made = Corrections.read(self.corrections)
            lines, doubts = made.apply(lines)
            doubts += made.on_pattern(self.options.pattern)
            spectrum = replace(spectrum, notes=spectrum.notes + tuple(doubts))
        parameters = Parameters(self.start, self.free, self.priors, self.ties)
        return fit_star(
            spectrum, windows, lines, parameters, model=self.model, options=self.options, progress=progress,
            spread=None if self.line_spread is None else LineSpread.read(self.line_spread),
        )  # fmt: skip


def _near(folder: Path, name: str) -> str:
    """A file beside the settings, if there is one of that name."""
    path = folder / name
    return str(path) if path.is_file() else name


def _number(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{path}: [start] {name} = {value!r} is not a number")
    return float(value)

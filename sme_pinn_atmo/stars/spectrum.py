"""Observed spectra: read from the files that people have, put on wavelengths in air, and cleaned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MEDIA", "ObservedSpectrum", "clean", "read_spectrum", "to_air"]

Array = NDArray[np.float64]

MEDIA = ("air", "vacuum")

#: Names of columns, in lower case, by what they are.
_COLUMNS = {
    "wave": ("wavelength", "wave", "spectral_axis", "lambda", "wl", "waveobs", "wave_air", "wave_vac", "loglam"),
    "flux": ("flux", "normalized_flux", "normalised_flux", "flux_norm", "flux_reduced", "intensity"),
    "sigma": ("error", "uncertainty", "sigma", "err", "flux_error", "flux_err", "unc", "e_flux"),
    "ivar": ("ivar", "inverse_variance"),
    "order": ("order", "segment"),
    "bad": ("mask", "bad", "flag", "flags", "quality", "qual"),
}

#: Names of a FITS file's extensions of errors.
_ERROR_IMAGES = ("ERR", "ERROR", "ERRORS", "ERRS", "SIGMA", "STDEV", "STD", "UNCERTAINTY", "UNCERT", "NOISE")

#: Median wavelengths that are not in Angstrom but look like another unit, and a factor to Angstrom.
_OTHER_UNITS = ((0.1, 30.0, "micrometres", 1e4), (100.0, 1500.0, "nm", 10.0))


@dataclass(frozen=True, eq=False)
class ObservedSpectrum:
    """A spectrum as the fits take it: good points alone, increasing in wavelength within each order.

    Attributes
    ----------
    wave : (n,) wavelengths in air [A]
    flux, sigma : (n,) flux (continuum near 1, unless it is normalised in the fit) and its standard deviation
    order : (n,) number of the order that a point belongs to; orders may overlap
    name : of the star or the file
    sha256 : checksum of the file, or empty
    counts : how many points `clean` changed or left out, by reason
    notes : what a reader should know, in sentences
    """

    wave: Array
    flux: Array
    sigma: Array
    order: NDArray[np.int64]
    name: str = "spectrum"
    sha256: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls, wave: Any, flux: Any, sigma: Any, *, order: Any = 0, medium: str = "air", name: str = "spectrum",
    ) -> ObservedSpectrum:  # fmt: skip
        """From arrays (n,), or numbers that hold for all points: wavelengths in A, flux, error; see `clean`.

        Raises ValueError for shapes that do not fit, a medium that is neither air nor vacuum, or no good point.
        """
        if medium not in MEDIA:
            raise ValueError(f"medium = {medium!r}; allowed: {', '.join(MEDIA)}")
        wave = np.atleast_1d(np.asarray(wave, dtype=float))
        columns = {"flux": flux, "error": sigma, "order": order}
        try:
            flux, sigma, order = (np.broadcast_to(np.asarray(v), wave.shape) for v in columns.values())
        except ValueError:
            shapes = ", ".join(f"{k} {np.shape(v)}" for k, v in columns.items())
            raise ValueError(f"wavelengths {wave.shape} and {shapes} are not of one length") from None
        air = to_air(wave) if medium == "vacuum" else wave
        return clean(air, flux.astype(float), sigma.astype(float), order.astype(np.int64), name)

    def __len__(self) -> int:
        return len(self.wave)

    @property
    def cleaned(self) -> str:
        """What cleaning did, in one line; empty where there was nothing to do."""
        return f"{self.name}: {', '.join(f'{n} {what}' for what, n in self.counts.items())}" if self.counts else ""

    def with_floor(self, floor: float) -> ObservedSpectrum:
        """With `floor` (a fraction of the continuum) added to the errors in quadrature; raises ValueError below 0."""
        if not floor >= 0:
            raise ValueError(f"error floor = {floor:g}; allowed: 0 or more")
        return replace(self, sigma=np.hypot(self.sigma, floor))


def to_air(wave: Any) -> Array:
    """Wavelengths in air from those in vacuum [A]; Morton (2000, ApJS 130, 403), as VALD and PySME convert."""
    from pysme.util import vac2air

    vacuum = np.asarray(wave, dtype=float)
    return np.asarray(vac2air(np.atleast_1d(vacuum)), dtype=float).reshape(vacuum.shape)


def clean(wave: Array, flux: Array, sigma: Array, order: NDArray[np.int64], name: str = "spectrum") -> ObservedSpectrum:
    """Sort, average what is there twice, and leave out what is no measurement; all arrays (n,), wavelengths in air [A].

    Left out are points that are not finite, and those with flux or error of zero or below (gaps and dead pixels are
    written so). Points of one order at the same wavelength become their mean, weighted by 1/sigma^2. What was done is
    counted in `counts`.

    Raises ValueError where no point is left.
    """
    counts = {}
    finite = np.isfinite(wave) & np.isfinite(flux) & np.isfinite(sigma)
    good = finite & (flux > 0) & (sigma > 0) & (np.where(finite, wave, 0) > 0)
    counts["points not finite left out"] = int((~finite).sum())
    counts["of zero or negative flux left out"] = int((finite & ~(flux > 0)).sum())
    counts["of zero or negative error left out"] = int((finite & (flux > 0) & ~(sigma > 0)).sum())
    if not good.any():
        raise ValueError(f"{name} has no point with finite, positive flux and error among {len(wave)}")
    wave, flux, sigma, order = wave[good], flux[good], sigma[good], order[good]
    steps = np.diff(wave)[np.diff(order) == 0]
    if (steps < 0).any() and not (steps < 0).all():  # a spectrum that runs downwards is only turned round
        counts["steps back in wavelength sorted"] = int((steps < 0).sum())
    by = np.lexsort((wave, order))
    wave, flux, sigma, order = wave[by], flux[by], sigma[by], order[by]
    new = np.concatenate([[True], (np.diff(wave) > 0) | (np.diff(order) != 0)])
    counts["repeated wavelengths averaged"] = int((~new).sum())
    if not new.all():
        group = np.cumsum(new) - 1
        weight = sigma**-2.0
        total = np.bincount(group, weight)
        flux = np.asarray(np.bincount(group, weight * flux) / total)
        wave, sigma, order = wave[new], np.asarray(total**-0.5), order[new]
    return ObservedSpectrum(wave, flux, sigma, order, name, counts={k: n for k, n in counts.items() if n})


def read_spectrum(
    path: str | Path, *, error: float | None = None, medium: str | None = None, name: str | None = None
) -> ObservedSpectrum:
    """An observed spectrum from a table (.ecsv, .csv, .fits, columns of text), an .npz, or a FITS file of another kind.

    Tables have columns `wavelength` or `wave`, `flux`, `error` (`uncertainty`, `sigma`) or `ivar`, `mask` (`flag`,
    `quality`; not zero: left out), and `order` if there are several; else the first two or three columns count. Cells
    that hold arrays are taken row by row, as orders. A unit of the wavelengths is converted, A is taken for none.
    FITS images are read with their linear or logarithmic (IRAF's DC-FLAG, CTYPE1 WAVE-LOG) wavelengths and an extension
    of errors, if there is one; all other FITS files by specutils. Each row of a two-dimensional one is an order.

    Parameters
    ----------
    error : standard deviation of the flux, where the file has none
    medium : "air" or "vacuum"; None takes what the file says (meta `medium`, CTYPE1, TUCD1, SDSS's loglam), else air
    name : of the star; the file's name if left out

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : a file that cannot be read, that has no errors, or whose wavelengths are not in Angstrom
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no spectrum {path}")
    if medium is not None and medium not in MEDIA:
        raise ValueError(f"medium = {medium!r}; allowed: {', '.join(MEDIA)}")
    columns = _read(path)
    if columns.get("sigma") is None:
        if error is None:
            raise ValueError(f"{path} has no column of errors, and none was given")
        columns["sigma"] = error
    notes = []
    if medium is None:
        medium = columns.get("medium")
        if medium is None:
            medium = "air"
            notes.append(f"{path.name} does not say whether its wavelengths are in air or vacuum; air is taken")
    wave, flux = (np.asarray(columns[n], dtype=float) for n in ("wave", "flux"))
    order = np.asarray(columns.get("order", 0))
    if wave.ndim == 2:  # cells of arrays
        order = np.broadcast_to(np.arange(len(wave))[:, None], wave.shape)
    _check_unit(path, wave)
    counts = {}
    if columns.get("bad") is not None:
        bad = np.ma.filled(np.ma.asarray(columns["bad"]), 1).astype(float).reshape(wave.shape) != 0
        counts = {"flagged points left out": int((bad & np.isfinite(flux)).sum())}
        if bad.all():
            raise ValueError(f"{path} flags all of its points as bad")
        flux = np.where(bad, np.nan, flux)
    sigma = np.broadcast_to(np.asarray(columns["sigma"], dtype=float), wave.shape)
    spectrum = ObservedSpectrum.from_arrays(
        wave.ravel(), flux.ravel(), sigma.ravel(), order=order.ravel() if order.ndim else order, medium=medium,
        name=name or path.name,
    )  # fmt: skip
    if counts.get("flagged points left out"):
        rest = spectrum.counts.get("points not finite left out", 0) - counts["flagged points left out"]
        others = {n: c for n, c in spectrum.counts.items() if n != "points not finite left out"}
        counts |= ({"points not finite left out": rest} if rest else {}) | others
        spectrum = replace(spectrum, counts=counts)
    return replace(spectrum, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), notes=tuple(notes))


def _check_unit(path: Path, wave: Array) -> None:
    finite = wave[np.isfinite(wave)]
    middle = float(np.median(finite)) if finite.size else np.nan
    for low, high, unit, factor in _OTHER_UNITS:
        if low <= middle <= high:
            raise ValueError(
                f"wavelengths of {path} run from {finite.min():g} to {finite.max():g}, which looks like {unit}: "
                f"give the column its unit (.ecsv or .fits), or multiply by {factor:g}; Angstrom is what is read"
            )


# ---------------------------------------------------------------------- readers; each gives columns by `_COLUMNS`


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return _named(path, {k: file[k] for k in file.files}, {k: file[k].item() for k in file.files
                                                                     if file[k].ndim == 0})  # fmt: skip
    from astropy.table import Table

    fits = path.suffix in (".fits", ".fit", ".fz") or path.name.endswith(".fits.gz")
    formats = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}
    try:
        table = Table.read(path, format="fits" if fits else formats.get(path.suffix, "ascii"))
    except Exception as problem:  # astropy's readers raise many kinds
        if fits:
            return _read_image(path) or _read_specutils(path)
        reason = str(problem).split("ERROR")[0].strip() or "columns of numbers, or a table with their names, are"
        raise ValueError(f"{path} is not a table that astropy reads: {' '.join(reason.split())[:200]}") from None
    if fits and not {"wave", "flux"} <= set(_matches(table.colnames)):
        return _read_image(path) or _read_specutils(path)
    return _named(path, {name: table[name] for name in table.colnames}, dict(table.meta))


def _read_image(path: Path) -> dict[str, Any] | None:
    """The first image of a FITS file whose wavelengths are linear or logarithmic, or None."""
    from astropy import units
    from astropy.io import fits

    try:
        with fits.open(path) as file:
            images = {h.name.upper() or str(i): np.asarray(h.data, dtype=float) for i, h in enumerate(file)
                      if h.is_image and h.data is not None}  # fmt: skip
            header = next((h.header for h in file if h.is_image and h.data is not None), None)
    except OSError:
        return None
    flux = next(iter(images.values()), np.empty((0, 0, 0)))
    if header is None or flux.ndim > 2 or "CRVAL1" not in header:
        return None
    kind = str(header.get("CTYPE1", "")).strip().upper()
    algorithm = kind[4:].strip("- ") if kind[:4] in ("WAVE", "AWAV") and kind != "WAVELENGTH" else ""
    if algorithm not in ("", "LOG") or kind.startswith("MULTI"):
        return None  # specutils' affair
    step = float(header.get("CDELT1") or header.get("CD1_1") or 0.0)
    first = float(header["CRVAL1"])
    if step == 0:
        return None
    offset = (np.arange(flux.shape[-1]) + 1 - float(header.get("CRPIX1", 1.0))) * step
    wave = first * np.exp(offset / first) if algorithm == "LOG" else first + offset
    if int(header.get("DC-FLAG", 0) or 0) == 1 or kind.startswith("LOG"):
        wave = 10.0**wave
    unit = str(header.get("CUNIT1", "")).strip()
    try:
        wave = wave * units.Unit(unit or "AA").to("AA")
    except ValueError:
        return None
    out: dict[str, Any] = {"wave": np.broadcast_to(wave, flux.shape), "flux": flux}
    errors = next((v for n, v in images.items() if n in _ERROR_IMAGES and v.shape == flux.shape), None)
    if errors is not None:
        out["sigma"] = errors
    if kind[:4] == "AWAV":
        out["medium"] = "air"
    elif kind == "WAVE" or algorithm:
        out["medium"] = "vacuum"
    return out


def _matches(names: Any) -> dict[str, str]:
    """Which of the names is which column."""
    lower = {str(n).lower(): n for n in names}
    found = {what: next((lower[n] for n in known if n in lower), None) for what, known in _COLUMNS.items()}
    return {what: name for what, name in found.items() if name is not None}


def _named(path: Path, table: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    names = [n for n in table if np.ndim(table[n])]
    found = _matches(names)
    if len(names) < 2:
        raise ValueError(f"{path} has the columns {', '.join(names) or 'none'}; wavelength and flux are needed")
    for position, what in enumerate(("wave", "flux", "sigma")):
        if what not in found and position < len(names) and names[position] not in found.values():
            found[what] = names[position]
    missing = [what for what in ("wave", "flux") if what not in found]
    if missing:
        raise ValueError(f"{path} has the columns {', '.join(names)}; none of them is the {missing[0]}")
    out: dict[str, Any] = {what: table[name] for what, name in found.items()}
    wave = out["wave"]
    if getattr(wave, "unit", None) is not None:
        out["wave"] = wave.quantity.to_value("AA") if hasattr(wave, "quantity") else wave.to_value("AA")
    lower = {str(k).lower(): v for k, v in meta.items()}
    said = str(lower.get("medium", "")).lower()
    name = found["wave"].lower()
    if name == "loglam":  # SDSS: log10 of vacuum wavelengths
        out["wave"] = 10.0 ** np.asarray(wave, dtype=float)
    if said in MEDIA:
        out["medium"] = said
    elif "air" in name or "vac" in name or name == "loglam":
        out["medium"] = "air" if "air" in name else "vacuum"
    elif str(lower.get("tucd1", "")).lower().startswith("em.wl"):  # of ESO's products: UCD of air wavelengths
        out["medium"] = "air" if "obs.atmos" in str(lower["tucd1"]).lower() else "vacuum"
    if "ivar" in out and "sigma" not in found:
        ivar = np.asarray(out["ivar"], dtype=float)
        out["sigma"] = np.where(ivar > 0, np.where(ivar > 0, ivar, 1.0) ** -0.5, 0.0)
    return {what: np.ma.filled(np.ma.asarray(v, dtype=float), np.nan) if what in ("wave", "flux", "sigma") else v
            for what, v in out.items()}  # fmt: skip


def _read_specutils(path: Path) -> dict[str, Any]:
    """Whatever specutils knows: images with a wavelength solution, tables of surveys, echelle files."""
    import warnings

    import specutils
    from astropy.io import fits
    from astropy.nddata import StdDevUncertainty

    kind = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                spectra = [kind.read(str(path))]
            except Exception:
                spectra = list(specutils.SpectrumList.read(str(path)))
    except Exception as problem:  # of all loaders' kinds
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{path} is not a FITS file that specutils reads: {reason}") from None
    parts: dict[str, list[Any]] = {"wave": [], "flux": [], "sigma": [], "order": [], "bad": []}
    for spectrum in spectra:
        rows = np.atleast_2d(np.asarray(spectrum.flux.value, dtype=float))
        wave = np.broadcast_to(spectrum.spectral_axis.to_value("AA"), rows.shape)
        sigma = None
        if spectrum.uncertainty is not None:
            error = spectrum.uncertainty.represent_as(StdDevUncertainty).array
            sigma = np.broadcast_to(np.asarray(error, dtype=float), rows.shape)
        for i, row in enumerate(rows):
            number = len(parts["order"])
            parts["wave"].append(wave[i])
            parts["flux"].append(row)
            parts["sigma"].append(None if sigma is None else sigma[i])
            parts["order"].append(np.full(len(row), number))
            parts["bad"].append(np.zeros(len(row)) if spectrum.mask is None else
                                np.broadcast_to(np.asarray(spectrum.mask, dtype=float), rows.shape)[i])  # fmt: skip
    out: dict[str, Any] = {k: np.concatenate(v) for k, v in parts.items() if v[0] is not None}
    with fits.open(path) as file:
        types = {str(hdu.header.get("CTYPE1", "")).strip().upper().partition("-")[0] for hdu in file}
    if "AWAV" in types:
        out["medium"] = "air"
    elif types & {"WAVE", "FREQ"}:
        out["medium"] = "vacuum"
    return out

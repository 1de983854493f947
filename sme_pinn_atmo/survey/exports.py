"""Training sets as the programs of others take them. All functions write one file, and return its path."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_atomically
from .store import Set

__all__ = ["EXPORTS", "Mock", "export", "mock"]

Array = NDArray[np.float64]

#: Names that FERRE's and synple's users know.
_FERRE = {"teff": "Teff", "logg": "logg", "monh": "[Fe/H]", "alpha": "[a/Fe]", "vmic": "vmicro", "vmac": "vmacro",
          "vsini": "vrot"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mock:
    """A mock survey.

    names : of the labels
    labels : (n, n_label) of the stars; `reference` (n, n_label) what is taken for them, wrong by known amounts
    flux, ivar : (n, n_pixel) with noise, and its inverse variance
    """

    names: tuple[str, ...]
    labels: Array
    reference: Array
    flux: Array
    ivar: Array


def mock(
    training: Set, *, names: Sequence[str] | None = None, snr: float = 100.0, seed: int = 1,
    wrong: Mapping[str, tuple[float, float]] | None = None,
) -> Mock:  # fmt: skip
    """Spectra with noise of a signal-to-noise ratio (per pixel at a flux of 1, photon noise), and reference labels.

    wrong : by label, (offset, scatter) of the reference labels

    Raises ValueError for a label that the set does not have, or a signal-to-noise ratio of 0 or below.
    """
    if not snr > 0:
        raise ValueError(f"snr = {snr:g}; allowed: above 0")
    chosen = tuple(names or training.free)
    labels = training.labels(chosen)
    rng = np.random.default_rng(seed)
    reference = labels.copy()
    for name, (offset, scatter) in (wrong or {}).items():
        if name not in chosen:
            raise ValueError(f"{name} is none of the labels {', '.join(chosen)}")
        reference[:, chosen.index(name)] += offset + rng.normal(0.0, scatter, len(labels))
    flux = training.get("flux")
    sigma = np.sqrt(np.maximum(flux, 1e-3)) / snr
    return Mock(chosen, labels, reference, flux + rng.normal(size=flux.shape) * sigma, sigma**-2.0)


def export(
    training: Set, kind: str, out: str | Path, *, names: Sequence[str] | None = None, snr: float | None = None,
    seed: int = 1, wrong: Mapping[str, tuple[float, float]] | None = None, valid: float = 0.2,
) -> Path:  # fmt: skip
    """Write a set for a program: `kind` out of `EXPORTS`.

    Parameters
    ----------
    names : of the labels that are written; `Set.free`, all that do not follow by a relation, if left out
    snr, seed, wrong : of a mock survey, see `mock`; without snr the spectra have no noise
    valid : fraction of the stars that is kept apart for validation, where the program wants that

    Raises ValueError for another kind, labels that the set does not have, or a set without what the program needs.
    """
    if kind not in EXPORTS:
        raise ValueError(f"cannot export to {kind!r}; there are {', '.join(EXPORTS)}")
    if not 0 <= valid < 1:
        raise ValueError(f"valid = {valid:g}; allowed: 0 to below 1")
    if len(training.done) == 0:
        raise ValueError(f"{training.path} has no star that is done")
    chosen = tuple(names or training.free)
    training.labels(chosen)
    if snr is None and wrong:
        raise ValueError("wrong labels are of a mock survey: give its snr too")
    made = None if snr is None else mock(training, names=chosen, snr=snr, seed=seed, wrong=wrong)
    data: bytes = EXPORTS[kind](training, chosen, made, valid, seed)
    out = Path(out)
    write_atomically(out, data)
    return out


def _npz(**arrays: Any) -> bytes:
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def _flux(training: Set, made: Mock | None) -> Array:
    return training.get("flux") if made is None else made.flux


def _reference(training: Set, names: Sequence[str], made: Mock | None) -> Array:
    return training.labels(names) if made is None else made.reference


def _apart(n: int, valid: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stars to train on, and stars to validate with."""
    order = np.random.default_rng(seed).permutation(n)
    cut = round(n * valid)
    return np.sort(order[cut:]), np.sort(order[:cut])


def _plain(training: Set, names: Sequence[str], made: Mock | None, valid: float, seed: int) -> bytes:
    """Arrays with plain names: labels (n, n_label), flux (n, n_pixel), continuum, gradients where there are."""
    units = [training.units[training.names.index(n)] for n in names]
    arrays: dict[str, Any] = {
        "wavelength": training.wavelength, "band": training.band, "label_names": np.array(names),
        "label_units": np.array(units), "labels": training.labels(names), "flux": _flux(training, made),
        "continuum": training.get("continuum"), "medium": np.array(training.card["medium"]),
    }  # fmt: skip
    if made is not None:
        arrays |= {"ivar": made.ivar, "reference_labels": made.reference}
    kept = [n for n in names if n in training.gradient_labels]
    if kept:
        columns = [training.gradient_labels.index(n) for n in kept]
        # Stars with derivatives are among those that are done: these are their rows.
        rows = np.searchsorted(training.done, training.with_gradients)
        arrays |= {"gradients": training.get("gradients")[:, columns], "gradient_labels": np.array(kept),
                   "gradient_rows": rows}  # fmt: skip
    return _npz(**arrays)


def _payne(training: Set, names: Sequence[str], made: Mock | None, valid: float, seed: int) -> bytes:
    """The Payne (tingyuansen/The_Payne): what `PayneTrainer` takes; also `labels` (n_label, n) and `spectra`, the
    layout of its own training file, and `wavelength`, that of its file of wavelengths."""
    labels, flux = _reference(training, names, made), _flux(training, made)
    train, held = _apart(len(labels), valid, seed)
    if len(train) < 512:
        import warnings

        warnings.warn(
            f"The Payne trains in batches of 512: with {len(train)} spectra give its train() a smaller batch_size",
            stacklevel=3,
        )
    return _npz(
        labels=labels.T, spectra=flux, wavelength=training.wavelength, label_names=np.array(names),
        train_labels=labels[train], train_spectra=flux[train], valid_labels=labels[held], valid_spectra=flux[held],
        true_valid_labels=training.labels(names)[held],
    )  # fmt: skip


def _cannon(training: Set, names: Sequence[str], made: Mock | None, valid: float, seed: int) -> bytes:
    """The Cannon (`annieslasso`): a structured array `table`, flux, ivar and dispersion, and which stars to train on.

    `CannonModel(astropy.table.Table(table[train]), flux[train], ivar[train], PolynomialVectorizer(names, 2),
    dispersion=dispersion)`.
    """
    labels, flux = _reference(training, names, made), _flux(training, made)
    ivar = np.full(flux.shape, 1e8) if made is None else made.ivar  # an error of 1e-4 where there is no noise
    table = np.empty(len(labels), dtype=[(n, float) for n in names])
    for name, column in zip(names, labels.T, strict=True):
        table[name] = column
    train, held = _apart(len(labels), valid, seed)
    return _npz(
        table=table, true=training.labels(names), flux=flux, ivar=ivar, dispersion=training.wavelength,
        label_names=np.array(names), train=train, test=held,
    )  # fmt: skip


def _transformer_payne(training: Set, names: Sequence[str], made: Mock | None, valid: float, seed: int) -> bytes:
    """TransformerPayne (`transformer-payne`): log10 wavelength [A], parameters with mu as the last, intensities.

    `parameters` (n n_mu, n_label + 1), `intensity` and `continuum` (n n_mu, n_pixel) [erg s-1 cm-2 A-1 sr-1]; `low`
    and `high` scale the parameters to 0..1, as `min_spectral_parameters` and `max_spectral_parameters` of its
    `ArchitectureDefinition` do.
    """
    found = training.get("intensity")  # (n, n_mu, 2, n_pixel)
    mu = np.asarray(training.file["mu"][:], dtype=float)
    labels = training.labels(names)
    n, n_mu = found.shape[:2]
    parameters = np.column_stack([np.repeat(labels, n_mu, axis=0), np.tile(mu, n)])
    train, held = _apart(n, valid, seed)
    rows = [(r[:, None] * n_mu + np.arange(n_mu)).ravel() for r in (train, held)]
    return _npz(
        log_wavelength=np.log10(training.wavelength), parameters=parameters,
        parameter_names=np.array([*names, "mu"]), intensity=found[:, :, 0].reshape(n * n_mu, -1),
        continuum=found[:, :, 1].reshape(n * n_mu, -1), low=parameters.min(axis=0), high=parameters.max(axis=0),
        train=rows[0], valid=rows[1],
    )  # fmt: skip


def _ferre(training: Set, names: Sequence[str], made: Mock | None, valid: float, seed: int) -> bytes:
    """FERRE: an irregular grid as `synple` writes it, one block of text a band; parameters first in each row.

    Raises ValueError for wavelengths that are even neither in lambda nor in its logarithm.
    """
    import time

    wave, band = training.wavelength, training.band
    numbers = np.unique(band)
    flux, labels = _flux(training, made), _reference(training, names, made)
    steps = [_even(wave[band == k]) for k in numbers]
    headers = []
    for k, (log, first, step) in zip(numbers, steps, strict=True):
        pixels = int((band == k).sum())
        lines = {
            "DATE": f"'{time.strftime('%a %b %d %H:%M:%S %Y', time.gmtime())}'", "N_OF_DIM": str(len(names)),
            **{f"LABEL({i + 1})": f"'{_FERRE.get(n, f'[{n}/Fe]')}'" for i, n in enumerate(names)},
            "TYPE": "'irregular'", "ID": f"'{training.card['survey']['name']}-{k}'", "NTOT": str(len(labels)),
            "NPIX": str(pixels), "WAVE": f"{first:.8f} {step:.10g}", "LOGW": str(log),
            "COMMENTS1": f"'sme_pinn_atmo {training.card['versions']['sme_pinn_atmo']}, {training.card['model']}'",
        }  # fmt: skip
        headers.append(" &SYNTH\n" + "".join(f" {n} = {v}\n" for n, v in lines.items()) + " /\n")
    if len(headers) > 1:
        whole = {**{"MULTI": str(len(headers)), "N_OF_DIM": str(len(names)), "TYPE": "'irregular'"},
                 **{f"LABEL({i + 1})": f"'{_FERRE.get(n, f'[{n}/Fe]')}'" for i, n in enumerate(names)},
                 "NTOT": str(len(labels)), "NPIX": str(len(wave))}  # fmt: skip
        headers.insert(0, " &SYNTH\n" + "".join(f" {n} = {v}\n" for n, v in whole.items()) + " /\n")
    text = io.StringIO()
    text.write("".join(headers))
    np.savetxt(text, np.column_stack([labels, flux]), fmt="%12.5e")
    return text.getvalue().encode()


def _even(wave: Array) -> tuple[int, float, float]:
    """(LOGW, first, step) of FERRE: 0 for even in lambda, 1 for even in log10 lambda."""
    for log, values in ((0, wave), (1, np.log10(wave))):
        step = float(values[-1] - values[0]) / (len(values) - 1)
        if np.abs(np.diff(values) / step - 1).max() < 1e-4:
            return log, float(values[0]), step
    raise ValueError("FERRE wants pixels that are even in lambda or in log lambda")


#: Programs by name.
EXPORTS = {
    "npz": _plain, "payne": _payne, "cannon": _cannon, "transformer-payne": _transformer_payne, "ferre": _ferre,
}  # fmt: skip

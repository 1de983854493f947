"""Continuous opacity at 5000 A and its optical depth."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sme_pinn_atmo import Emulator, ModelAtmosphere
from sme_pinn_atmo.codes.continuum import opacity_5000, tau_5000
from sme_pinn_atmo.physics import BOLTZMANN


def test_opacity_is_that_of_electrons_in_hot_thin_gas() -> None:
    n = np.array([1e10])
    mass = 2.1e-24
    kappa = opacity_5000(np.array([50_000.0]), n, n, mass, 0.92)
    assert kappa[0] == pytest.approx(6.652e-25 / mass, rel=0.05)


def test_opacity_of_h_minus_grows_with_the_electron_pressure() -> None:
    t, n_atom, n_e = np.full(2, 5000.0), np.full(2, 1e17), np.array([1e13, 2e13])
    kappa = opacity_5000(t, n_e, n_atom, 2.1e-24, 0.92)
    assert kappa[1] / kappa[0] == pytest.approx(2.0, rel=0.02)


def test_tau_increases_and_takes_one_star() -> None:
    atlas12 = Emulator.load("atlas12")
    for teff in (4500.0, 6000.0, 8000.0):
        assert (np.diff(tau_5000(atlas12.predict(teff=teff, logg=4.0))) > 0).all()
    with pytest.raises(ValueError, match="one star"):
        tau_5000(atlas12.predict(teff=[5000.0, 6000.0], logg=4.0))


def test_tau_is_that_of_the_marcs_sun() -> None:
    """MARCS prints log tau at 5000 A from its own opacities, metals and molecules included."""
    folder = os.environ.get("SME_PINN_ATMO_DATA")
    if folder is None:
        pytest.skip("SME_PINN_ATMO_DATA is not set")
    text = (Path(folder) / "solar" / "marcs_sun.mod").read_text(encoding="utf-8").splitlines()
    first = next(i for i, row in enumerate(text) if "lgTau5" in row)
    second = next(i for i, row in enumerate(text) if "KappaRoss" in row)
    n = int(next(row for row in text if "Number of depth points" in row).split()[0])
    a = np.array([[float(v) for v in row.split()] for row in text[first + 1 : first + 1 + n]])
    b = np.array([[float(v) for v in row.split()] for row in text[second + 1 : second + 1 + n]])
    t, zero = a[:, 4], np.zeros(n)
    labels = {"teff": 5777.0, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0}
    sun = ModelAtmosphere(labels, 10.0 ** a[:, 1], b[:, -1], t, a[:, 6], a[:, 5] / (BOLTZMANN * t), zero + 1, zero)
    off = np.log10(tau_5000(sun)) - a[:, 2]
    assert np.abs(off[a[:, 2] > -3]).max() < 0.016

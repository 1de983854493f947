"""Readers: every format, its odd forms, and damaged files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sme_pinn_atmo import Emulator, ModelAtmosphere
from sme_pinn_atmo.grids import (
    MARCS_LOG_TAU,
    GridFileError,
    Structures,
    read,
    read_npz,
    write_kurucz,
    write_marcs,
    write_moog,
    write_npz,
    write_turbospectrum,
)

from .conftest import as_marcs

DECK = """TEFF   5777.  GRAVITY 4.43770 LTE
TITLE  [+0.5a] VTURB 2.0 KM/SEC
 OPACITY IFOP 1 1 1 1 1 1 1 1 1 1 1 1 1 0 1 0 0 0 0 0
ABUNDANCE SCALE   3.16228 ABUNDANCE CHANGE 1 0.92040 2 0.07834
 ABUNDANCE CHANGE  6  -3.52  7  -4.12  8  -2.81 10  -3.56 11  -5.71 12  -4.06
 ABUNDANCE CHANGE 13  -5.57 14  -4.09 16  -4.31 18  -5.24 20  -5.28 22  -6.62
 ABUNDANCE CHANGE 24  -6.37 25  -6.65 26  -4.54 28  -5.79
READ DECK6  4 RHOX,T,P,XNE,ABROSS,ACCRAD,VTURB, FLXCNV,VCONV,VELSND
 5.85641157E-04   3650.6 1.604E+01 2.691E+09 2.277E-04 4.614E-02 2.000E+05 0.000E+00 0.000E+00 6.696E+05
 7.64075733E-04   3679.3 2.093E+01 3.460E+09 2.708E-04-5.246E-02 2.000E+05 0.000E+00 0.000E+00 6.624E+05
 9.64357866E-04 103708.1 2.642E+01 4.323E+09 3.215E-04 5.875E-02 2.000E+05 0.000E+00 0.000E+00 6.581E+05
 1.18880467E-03103739.6 3.257E+01 5.301E+09 3.833E-04-10.56E-02 2.000E+05 0.000E+00 0.000E+00 6.560E+05
PRADK 1.4879E+00
BEGIN                    ITERATION  15 COMPLETED
"""


def test_kurucz_deck_with_extra_columns_and_numbers_run_together(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text(DECK)
    s = read(tmp_path / "a.dat")
    assert {k: float(v[0]) for k, v in s.labels.items()} == {
        "teff": 5777.0, "logg": 4.4377, "m_h": 0.5, "alpha_m": 0.4, "vturb": 2.0
    }  # fmt: skip
    assert s.extra["solar_scale"][0] == "grevesse1998"
    np.testing.assert_allclose(s.profiles[0, :, 1], [3650.6, 3679.3, 103708.1, 103739.6])
    np.testing.assert_allclose(s.profiles[0, :, 5], [4.614e-2, -5.246e-2, 5.875e-2, -0.1056])


def test_many_models_in_a_file_and_a_lost_first_column(tmp_path: Path) -> None:
    (tmp_path / "many.dat").write_text(DECK + DECK.replace("5777.", "6000."))
    assert read(tmp_path / "many.dat").labels["teff"].tolist() == [5777.0, 6000.0]
    lost = "".join(line[1:] for line in DECK.splitlines(True))
    (tmp_path / "lost.dat").write_text(lost)
    np.testing.assert_array_equal(read(tmp_path / "lost.dat").profiles, read(tmp_path / "many.dat").profiles[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:800], r"line \d+: a layer of 10 numbers"),
        (lambda t: "\n".join(t.splitlines()[:10]), "ends at line 10"),
        (lambda t: t.replace("3679.3", "36x9.3"), "line 10"),
        (lambda t: t.replace("7.64075733E-04", "1.64075733E-04"), "RHOX does not increase"),
        (lambda t: t.replace("2.691E+09", "0.000E+00"), "line 9.*positive"),
        (lambda t: t.replace(",ABROSS", ""), "no column ABROSS"),
        (lambda t: t.replace("5777.", "hot"), "line 1"),
        (lambda t: "", "empty"),
        (lambda t: "some other file\n", "none of the known formats"),
    ],
)
def test_damaged_decks_are_named_with_their_line(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "bad.dat"
    path.write_text(change(DECK))  # type: ignore[operator]
    with pytest.raises(GridFileError, match=message) as error:
        read(path)
    assert "bad.dat" in str(error.value)


def test_an_atmosphere_written_as_a_deck_reads_back(tiny_model: Path, tmp_path: Path) -> None:
    atm = Emulator.load(tiny_model).predict(teff=5500, logg=4.0, m_h=-0.5, alpha_m=0.2, vturb=1.5)
    write_kurucz(tmp_path / "out.dat", atm)
    s = read(tmp_path / "out.dat")
    assert s.labels["m_h"][0] == pytest.approx(-0.5)
    assert s.labels["alpha_m"][0] == pytest.approx(0.2)
    assert s.labels["vturb"][0] == pytest.approx(1.5)
    np.testing.assert_allclose(s.profiles[0, :, 2], atm.gas_pressure, rtol=1e-3)
    np.testing.assert_allclose(s.profiles[0, :, 1], atm.temperature, rtol=1e-4)


def test_npz_round_trip_and_selection(structures: Structures, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", structures)
    again = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.profiles, structures.profiles)
    assert list(again.labels) == list(structures.labels)
    few = again.select(again.column("teff") > 5000)
    assert len(few) == (structures.labels["teff"] > 5000).sum()
    with pytest.raises(KeyError, match="colour"):
        again.column("colour")


def test_missing_column_mass_is_integrated(structures: Structures, tmp_path: Path) -> None:
    gone = structures.profiles.copy()
    gone[::2, :, 0] = np.nan
    write_npz(tmp_path / "a.npz", Structures(structures.labels, gone, structures.log_tau_ross, structures.n_depth))
    np.testing.assert_allclose(read(tmp_path / "a.npz").profiles[..., 0], structures.profiles[..., 0], rtol=1e-9)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"PK" + b[50:], lambda b: b[:-20]])
def test_damaged_npz_is_refused(structures: Structures, tmp_path: Path, damage: object) -> None:
    write_npz(tmp_path / "a.npz", structures)
    (tmp_path / "b.npz").write_bytes(damage((tmp_path / "a.npz").read_bytes()))  # type: ignore[operator]
    with pytest.raises(GridFileError, match=r"b\.npz"):
        read(tmp_path / "b.npz")


def test_npz_without_its_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(GridFileError, match="profiles"):
        read_npz(tmp_path / "a.npz")


def test_payne_zero_corpus_with_eight_labels(structures: Structures, tmp_path: Path) -> None:
    n = len(structures)
    names = ["Teff", "log_g", "[M/H]", "[alpha/M]", "vmic", "C", "N", "O"]
    rows = [{k: float(i + j) for j, k in enumerate(names)} for i in range(n)]
    np.savez(tmp_path / "p.npz", atmosphere_profiles=structures.profiles.astype("f4"),
             standard_rosseland_optical_depth=10.0**structures.log_tau_ross, labels_json=json.dumps(rows))  # fmt: skip
    s = read(tmp_path / "p.npz")
    assert list(s.labels) == ["teff", "logg", "m_h", "alpha_m", "vturb", "C", "N", "O"]
    assert s.labels["N"][2] == 8.0
    np.testing.assert_allclose(s.profiles, structures.profiles, rtol=1e-6)
    np.savez(tmp_path / "q.npz", atmosphere_profiles=structures.profiles, labels_json="{")
    with pytest.raises(GridFileError, match="Payne Zero"):
        read(tmp_path / "q.npz")


def test_pysme_grid_round_trip(structures: Structures, tmp_path: Path) -> None:
    pytest.importorskip("pysme", reason="PySME reads its own grids")
    from pysme.atmosphere.atmosphere import AtmosphereGrid

    from sme_pinn_atmo.grids import write_pysme_grid

    write_pysme_grid(tmp_path / "grid.npz", structures)
    grid = AtmosphereGrid.load(str(tmp_path / "grid.npz"))
    np.testing.assert_allclose(grid["temp"], structures.profiles[..., 1], rtol=1e-6)
    s = read(tmp_path / "grid.npz")
    np.testing.assert_allclose(s.profiles[..., 2], structures.profiles[..., 2], rtol=1e-5)
    np.testing.assert_allclose(s.profiles[:, 1:-1, 4], structures.profiles[:, 1:-1, 4], rtol=0.05)


SOLAR = Path(os.environ.get("SME_PINN_ATMO_DATA", "")) / "solar"
needs_solar = pytest.mark.skipif(
    "SME_PINN_ATMO_DATA" not in os.environ or not SOLAR.is_dir(), reason="SME_PINN_ATMO_DATA has no folder solar"
)


@needs_solar
@pytest.mark.parametrize(
    ("name", "layers", "vturb"),
    [("atlas12_sun_t5770g4.44_vt1.atm", 80, 1.0), ("atlas12_sun_t5777g4.44_vt2.dat", 72, 2.0),
     ("atlas9_sun_t5777g4.4377_vt1.dat", 72, 1.0), ("marcs_sun.mod", 56, 1.0)],
)  # fmt: skip
def test_real_suns(name: str, layers: int, vturb: float) -> None:
    s = read(SOLAR / name)
    assert s.n_depth.tolist() == [layers]
    assert s.labels["m_h"][0] == s.labels["alpha_m"][0] == 0.0
    assert s.labels["vturb"][0] == vturb
    # T(tau = 2/3) is about Teff (2.4 % above in the blanketed Sun), and pressure is about g m.
    t = np.interp(np.log10(2 / 3), s.log_tau_ross[0], s.profiles[0, :, 1])
    assert abs(t / s.labels["teff"][0] - 1) < 0.03
    np.testing.assert_allclose(s.profiles[0, :, 2], 10 ** s.labels["logg"][0] * s.profiles[0, :, 0], rtol=0.04)


@needs_solar
def test_truncated_marcs_model_names_the_line(tmp_path: Path) -> None:
    lines = (SOLAR / "marcs_sun.mod").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "Model structure" in line)
    (tmp_path / "cut.mod").write_text("\n".join(lines[: start + 20]))
    with pytest.raises(GridFileError, match=r"cut\.mod ends at line"):
        read(tmp_path / "cut.mod")


STAR = {"teff": 5000.0, "logg": 3.5, "m_h": -0.5, "alpha_m": 0.4, "vturb": 1.5}


@pytest.mark.parametrize(
    ("write", "suffix", "labels"),
    [(write_kurucz, ".dat", ("teff", "logg", "m_h", "alpha_m", "vturb")),
     (write_marcs, ".mod", ("teff", "logg", "m_h", "alpha_m", "vturb")),
     (write_moog, ".moog", ("teff", "logg", "m_h", "alpha_m", "vturb")),
     (write_turbospectrum, ".turbospectrum", ("logg", "vturb"))],
)  # fmt: skip
def test_files_for_synthesis_codes_read_back(
    write: Callable[[Path, ModelAtmosphere], None], suffix: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    atm = Emulator.load("atlas12").predict(**STAR, tau_ross=10.0**MARCS_LOG_TAU)
    path = tmp_path / f"star{suffix}"
    write(path, atm)
    s = read(path)
    for name in labels:
        assert s.labels[name][0] == pytest.approx(STAR[name], abs=0.011), name
    np.testing.assert_allclose(s.profiles[0, :, 0], atm.rhox, rtol=1e-6)
    np.testing.assert_allclose(s.profiles[0, :, 1], atm.temperature, atol=0.051)
    for j, name in ((2, "gas_pressure"), (3, "electron_density"), (4, "opacity")):
        np.testing.assert_allclose(s.profiles[0, :, j], getattr(atm, name), rtol=1e-3)
    # The acceleration of a .mod file is the gradient of its radiation pressure, by differences between layers.
    middle = slice(3, -3) if suffix == ".mod" else slice(None)
    np.testing.assert_allclose(
        s.profiles[0, middle, 5], atm.radiative_acceleration[middle], rtol=0.08 if suffix == ".mod" else 1e-3
    )
    with pytest.raises(ValueError, match="one star"):
        write(path, Emulator.load("atlas12").predict(teff=[5000, 5100], logg=4))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_mod_columns_lie_where_korg_cuts_them(tmp_path: Path) -> None:
    """Korg 1.2.1 reads a line by its columns (read_model_atmosphere): log tau5 11-17, depth 19-28, T 30-36, Pe 39-48,
    Pg 49-60, counted from 1."""
    atm = Emulator.load("atlas12").predict(**STAR, tau_ross=10.0**MARCS_LOG_TAU)
    write_marcs(tmp_path / "star.mod", atm)
    lines = (tmp_path / "star.mod").read_text().splitlines()
    assert float(next(line for line in lines if "adius" in line).split()[0]) == 1
    assert int(next(line for line in lines if "Number of depth points" in line).split()[0]) == 56
    start = next(i for i, line in enumerate(lines) if "lgTauR" in line) + 1
    cut = [[float(line[a - 1 : b]) for a, b in ((11, 17), (19, 28), (30, 36), (39, 48), (49, 60))]
           for line in lines[start : start + 56]]  # fmt: skip
    tau5, depth, t, pe, pg = np.array(cut).T
    assert (np.diff(tau5) > 0).all()
    assert np.interp(0.0, MARCS_LOG_TAU, depth) == pytest.approx(0, abs=1e5)
    np.testing.assert_allclose(t, atm.temperature, atol=0.051)
    np.testing.assert_allclose(pg, atm.gas_pressure, rtol=1e-4)
    np.testing.assert_allclose(pe / t, 1.380649e-16 * atm.electron_density, rtol=2e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [("KURUCZ\nx\nNTAU  \n", "line 3: NTAU"), ("KURUCZ\nx\nNTAU         5\n 1 2 3\n", "5 layers from line 4"),
     ("'KURUCZ' 5\n", "line 1"), ("'KURUCZ' 2 5000. 4.4 0 0.\n 1 2 3 4 5 6 7\n 1 2 x\n", "line 3"),
     ("'KURUCZ' 2 5000. 4.4 0 0.\n 1 2 3 4 5 6 7\n 1 2 3 4 5 6 7\n", "line 3: RHOX does not increase")],
)  # fmt: skip
def test_damaged_input_files_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.mod").write_text(text)
    with pytest.raises(GridFileError, match=message):
        read(tmp_path / "a.mod")


def test_columns_by_depth_are_checked_selected_written_and_read(tmp_path: Path, structures: Structures) -> None:
    density = 1e-7 * np.arange(structures.log_tau_ross.size, dtype=float).reshape(structures.log_tau_ross.shape)
    more = replace(structures, more={"density": density})
    assert np.array_equal(more.select([3, 1]).more["density"], density[[3, 1]])
    write_npz(tmp_path / "a.npz", more)
    assert np.array_equal(read_npz(tmp_path / "a.npz").more["density"], density)
    with pytest.raises(ValueError, match=r"density has the shape \(60,\), not \(60, 40\)"):
        replace(structures, more={"density": density[:, 0]})


def test_checksum_of_models_knows_no_file_and_every_number(tmp_path: Path, structures: Structures) -> None:
    write_npz(tmp_path / "a.npz", replace(structures, extra={"family": np.full(60, "X")}))
    assert read_npz(tmp_path / "a.npz").checksum() == structures.checksum()
    other = structures.profiles.copy()
    other[7, 11, 2] *= 1.0001
    assert replace(structures, profiles=other).checksum() != structures.checksum()
    assert structures.select(np.arange(59, -1, -1)).checksum() != structures.checksum()


def test_a_sphere_goes_to_marcs_and_back(tiny_sphere: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from sme_pinn_atmo.cli import main

    emulator = Emulator.load(tiny_sphere)
    tau = 10.0**MARCS_LOG_TAU
    star = {"teff": 4900.0, "logg": 1.2, "mass": 0.8}
    options = [w for n, v in star.items() for w in (f"--{n}", str(v))]
    for geometry in ("sphere", "plane"):
        out = tmp_path / f"{geometry}.mod"
        run = [*options, "--model", str(tiny_sphere), "--geometry", geometry, "--out", str(out)]
        assert CliRunner().invoke(main, ["predict", *run]).exit_code == 0
        made, back = emulator.predict(**star, geometry=geometry, tau_ross=tau), read(out)
        sphere = geometry == "sphere"
        assert back.extra["geometry"][0] == geometry[0]
        np.testing.assert_allclose(back.extra["radius"][0], made.radius if sphere else 1.0, rtol=1e-4)
        np.testing.assert_allclose(back.extra["mass"][0], 0.8 if sphere else 0.0)
        np.testing.assert_allclose(back.profiles[0, :, 2], made.gas_pressure, rtol=1e-4)
        if sphere:
            np.testing.assert_allclose(back.more["depth_cm"][0], -made.height, rtol=1e-3, atol=1e6)
    spread = [emulator.predict(**star, geometry=g).gas_pressure[0] for g in ("sphere", "plane")]
    assert abs(spread[0] / spread[1] - 1) > 0.01


def test_the_scale_of_a_deck_is_counted_once(tmp_path: Path) -> None:
    """Decks of ATLAS12 may print abundances that have the scale in them; those of ATLAS9 do not."""
    plain = DECK.replace("3.16228", "0.10000")
    scaled = re.sub(r"(-\d+\.\d\d)(?=\s|$)", lambda m: f"{float(m[1]) - 1:.2f}", plain.split("READ")[0])
    for name, text in (("plain", plain), ("scaled", scaled + "READ" + plain.split("READ", 1)[1])):
        (tmp_path / name).write_text(text)
        models = read(tmp_path / name)
        assert models.labels["m_h"][0] == pytest.approx(-1.0, abs=0.02), name
        assert models.labels["alpha_m"][0] == pytest.approx(0.4, abs=0.02), name


def test_the_column_mass_of_marcs_is_made_from_pressures_in_planes(tmp_path: Path) -> None:
    models, atm = as_marcs(tmp_path / "p.mod", None)
    assert (models.extra["geometry"][0], models.extra["radius"][0], models.extra["mass"][0]) == ("p", 1.0, 0.0)
    # dP/dm = g - a holds in the network's atmosphere; the file has pressures to four digits.
    np.testing.assert_allclose(models.profiles[0, :, 0], atm.rhox, rtol=2e-3)
    np.testing.assert_allclose(models.more["density"][0], atm.density, rtol=1e-4)
    assert set(models.more) == {"log_tau_5000", "depth_cm", "p_turb", "p_rad", "density"}


def test_the_column_mass_of_marcs_is_made_from_optical_depths_in_spheres(tmp_path: Path) -> None:
    radius = 3e12
    models, _ = as_marcs(tmp_path / "s.mod", radius)
    assert (models.extra["geometry"][0], models.extra["radius"][0], models.extra["mass"][0]) == ("s", radius, 1.5)
    m, kappa, tau = models.profiles[0, :, 0], models.profiles[0, :, 4], 10.0 ** models.log_tau_ross[0]
    # An integral of another kind: trapezoids of a spline on a fine grid.
    fine = np.linspace(np.log(tau[0]), np.log(tau[-1]), 20_001)
    inverse = np.exp(fine) / np.exp(np.interp(fine, np.log(tau), np.log(kappa)))
    integral = np.concatenate([[0.0], np.cumsum(0.5 * (inverse[1:] + inverse[:-1]) * np.diff(fine))])
    np.testing.assert_allclose(m[1:] - m[0], np.interp(np.log(tau), fine, integral)[1:], rtol=5e-3)
    depth = models.more["depth_cm"][0]
    g = 10.0**1.5 * (radius / (radius - depth[0])) ** 2
    assert m[0] == pytest.approx(models.profiles[0, 0, 2] / g, rel=1e-4)

"""Every option of every command has a test that fails where it is ignored: `TESTED` names it.

Options whose work is long are followed here to the function that does it; what that makes of them is tested beside it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.catalogue import read_catalogue
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import save_model
from sme_pinn_atmo.emulator.runtime import FIELDS
from sme_pinn_atmo.grids import Structures, read, write_npz

pysme = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('pysme')", reason="PySME is not installed")
torch = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('torch')", reason="torch is not installed")

#: By command: file and test, and the options (arguments in capitals) that it stands for.
TESTED: dict[str, dict[str, str]] = {
    "predict": {
        "options:test_each_option_of_a_star_changes_its_atmosphere":
            "--model --teff --logg --m-h --alpha-m --vturb --mass --geometry --out",
        "predict:test_files_for_synthesis_codes": "--format",
        "options:test_each_option_of_a_catalogue_is_in_its_file": "LABELS --column --field --std --double --json",
    },
    "explore": {
        "explorer:test_the_command_serves_the_page": "--model --out",
        "options:test_the_page_is_served_where_it_is_asked_for": "--port --browser",
    },
    "export-grid": {"options:test_each_option_of_a_grid_changes_it":
                    "PATH --model --teff --logg --m-h --alpha-m --vturb"},
    "export-julia": {
        "korg:test_the_shipped_export_is_the_packaged_model": "MODEL PATH",
        "options:test_a_golden_file_is_written_beside_the_export": "--golden --all",
    },
    "models": {"command_line:test_standard_output_is_for_results_alone": "--json"},
    "doctor": {"command_line:test_doctor_says_what_is_usable_and_what_to_do": "--json"},
    "demo": {
        "options:test_options_arrive": "--model --folder --seed",
        "spectra:test_pysme_is_quiet_unless_asked": "--verbose",
    },
    "synthesize": {
        "spectra:test_every_option_of_a_star_changes_its_spectrum":
            "--model --teff --logg --monh --alpha --vmic --vmac --vsini --resolution",
        "spectra:test_mistakes_end_in_one_sentence": "--lines --wave --out",
        "spectra:test_a_spectrum_is_made_and_fitted_back": "--step --plot",
        "spectra:test_pysme_is_quiet_unless_asked": "--verbose",
    },
    "fit": {
        "options:test_each_option_of_a_fit_changes_it":
            "--lines --windows --logg --monh --alpha --vmic --vmac --vsini --abundance --prior --tie --velocity "
            "--continuum --floor --line-scatter --clip --error --medium --resolution --model --tellurics --line-spread",
        "options:test_options_of_a_fit_arrive": "--teff --processes --normalise",
        "stars_fit:test_what_is_wrong_is_said": "--normalise",
        "spectra:test_a_spectrum_is_made_and_fitted_back": "SPECTRUM --free --json",
        "options:test_a_fit_is_drawn": "--plot",
        "stars_fit:test_a_star_in_a_file": "--out",
        "calibration:test_a_fit_takes_corrections": "--corrections",
        "spectra:test_pysme_is_quiet_unless_asked": "--verbose",
    },
    "fit-many": {
        "options:test_options_of_many_fits_arrive":
            "TABLE --settings --lines --corrections --windows --teff --logg --monh --alpha --vmic --vmac --vsini "
            "--abundance --prior --tie --free --velocity --continuum --normalise --floor --clip --error --medium "
            "--resolution --model --processes --dask --out --tellurics --line-spread --line-scatter",
        "spectra:test_pysme_is_quiet_unless_asked": "--verbose",
    },
    "calibrate": {
        "calibration:test_the_command_calibrates_and_writes_a_page": "STARS --out --without --start",
        "options:test_options_of_a_calibration_arrive": "--lines --model --code --iterations --work --processes --dask",
        "spectra:test_pysme_is_quiet_unless_asked": "--verbose",
    },
    "write-lines": {
        "options:test_a_list_is_written_as_it_is_asked_for": "LINES --corrections --format --wave --out",
        "spectra:test_pysme_is_quiet_unless_asked": "--verbose",
    },
    "survey": {
        "survey:test_the_command_copies_plans_and_makes": "SETTINGS --out --plan --copy --stars --json",
        "options:test_options_of_a_survey_arrive": "--seed --stars --processes --dask --out",
        "spectra:test_pysme_is_quiet_unless_asked": "--verbose",
    },
    "survey-export": {
        "survey_programs:test_the_commands_export_and_train": "TRAINING --to --snr --out --wrong",
        "options:test_options_of_a_training_set_arrive": "TRAINING --to --out --label --snr --wrong --valid --seed",
    },
    "survey-train": {
        "survey_programs:test_the_commands_export_and_train": "TRAINING --out --gradients --json",
        "options:test_options_of_a_training_set_arrive":
            "TRAINING --label --gradients --width --components --steps --seed",
    },
    "train": {"options:test_options_arrive": "CONFIG --out --fold --without --device",
              "options:test_threads_are_those_asked_for": "--threads"},
    "evaluate": {
        "validation:test_evaluate_prints_what_score_gives": "MODEL DATA --json",
        "options:test_only_models_that_are_asked_for_are_scored": "--family --heldout",
    },
    "benchmark": {"options:test_the_benchmark_writes_what_is_asked_for": "--model --json --plot --dask --page"},
    "data list": {"sources:test_list_says_what_is_here": "--json"},
    "data get": {"solar_report:test_without_a_network_it_says_what_is_missing_and_how_else": "NAME --from"},
    "data build": {"sources:test_a_users_mod_files_become_the_marcs_set": "NAME --from"},
    "validate survey": {
        "options:test_options_of_a_training_set_arrive": "NETWORK --direct --star --processes --out"},
    "validate survey-gradients": {
        "options:test_options_of_a_training_set_arrive": "TRAINING --size --weight --held --steps --seeds --out"},
    "validate solar": {
        "solar:test_bad_input_is_named_before_any_synthesis": "--model --window --lines --atlas",
        "solar:test_korg_in_place_of_pysme": "--code",
        "solar:test_one_window_of_the_sun": "--out",
        "solar:test_corrected_lines_stand_beside_the_list_as_it_is": "--corrections",
        "options:test_options_arrive": "--model --window --lines --atlas --code --out --corrections",
    },
    "validate store-sun": {
        "solar_report:test_only_a_network_that_has_not_seen_the_sun_is_stored": "MODEL --out"},
    "validate structures": {
        "validation:test_structures_of_any_model_and_data_are_drawn": "MODEL DATA --heldout --out"},
    "validate folds": {
        "options:test_folds_are_scored_drawn_and_put_into_a_model": "MODELS --data --into --keep-error-bar --plot"},
    "validate interpolation": {"options:test_options_arrive": "--model"},
    "validate physical": {"options:test_stars_and_data_that_are_counted": "--model --stars --seed --data"},
    "experiment gradients": {"options:test_gradients_are_drawn": "MODEL DATA --plot"},
    "validate closure": {"options:test_options_arrive": "MODEL",
                         "options:test_closure_of_models_held_out": "--heldout"},
    "experiment vturb": {"options:test_options_arrive": "MODELS --data --reference"},
    "validate spheres": {"options:test_options_arrive": "--model --stars --out"},
    "validate composition": {},
    "experiment teacher": {"options:test_options_arrive": "--config"},
    "experiment ablation": {
        "ablation:test_only_construction_is_hydrostatic": "--config --steps --out",
        "options:test_an_ablation_for_a_time": "--fold --seconds",
    },
    "validate fits": {"options:test_options_arrive": "--model --out --part --snr --stars",
                      "fits:test_so_many_stars_at_each_ratio": "--model --snr --stars"},
    "validate spectra": {"options:test_options_arrive": "--model --out --nodes --processes",
                         "validate_spectra:test_so_many_nodes_in_so_many_processes": "--nodes --processes"},
    "validate all": {"options:test_options_arrive": "--model --part --heldout --processes --out",
                     "report:test_processes_reach_the_parts": "--processes"},
    "validate which": {"options:test_options_arrive": "--model --processes --out"},
    "validate benchmarks": {"options:test_options_arrive": "--model --star --corrections --processes --out"},
    "validate calibration": {
        "options:test_options_of_a_calibrations_checks_arrive":
            "--part --model --code --window --off --snr --seed --processes --out --corrections --laboratory --stars "
            "--unseen --each --halves --alone --start --iterations --work",
        "calibration:test_corrections_are_compared": "--part --corrections --against",
    },
}  # fmt: skip


def options(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Command and option, or argument, of all there are."""
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from options(sub, (*path, name))
        return
    for p in command.params:
        yield " ".join(path), p.opts[0] if isinstance(p, click.Option) else str(p.name).upper()


def test_every_option_has_a_test() -> None:
    told = {(command, word) for command, tests in TESTED.items() for words in tests.values() for word in words.split()}
    assert set(options()) == told
    folder = Path(__file__).parent
    for test in {t for tests in TESTED.values() for t in tests}:
        file, name = test.split(":")
        assert re.search(rf"^def {name}\(", (folder / f"test_{file}.py").read_text(), re.MULTILINE), test


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


class Arrived(Exception):
    """Ends a command where its work would begin."""


def arrived(target: str, *arguments: str) -> dict[str, Any]:
    """With what a command calls "module:function"."""
    module_name, name = target.split(":")
    owner: Any = importlib.import_module(f"sme_pinn_atmo.{module_name}")
    *classes, name = name.split(".")
    for c in classes:
        owner = getattr(owner, c)
    signature, seen = inspect.signature(getattr(owner, name)), []

    def record(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        seen.append(dict(bound.arguments))
        raise Arrived

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, record)
        result = CliRunner().invoke(main, [word for text in arguments for word in text.split()])
    assert isinstance(result.exception, Arrived), result.output
    return seen[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def holding(model: Path, path: Path, rows: list[int], file: str = "grid.npz") -> Path:
    """A copy of a model whose card says that it held out these rows of a file."""
    emulator = Emulator.load(model)
    card = {k: v for k, v in emulator.card.items() if k not in ("format", "sha256")}
    card |= {"heldout": {"rows": {"grid": {"file": file, "rows": rows}}}, "training": {"command": "train", "steps": 1}}
    save_model(path, dict(emulator.network.tensors), card)
    return path


@pytest.mark.parametrize(
    ("arguments", "target", "expected"),
    [
        ("demo --model atlas9 --folder . --seed 7", "demo:run", {"model": "atlas9", "folder": Path(), "seed": 7}),
        pytest.param("train atlas9 --out o.safetensors --fold 2/5 --without teff=5000 --without logg=1:2",
                     "training.run:train_model",
                     {"out": Path("o.safetensors"), "fold": (2, 5),
                      "planes": [{"teff": (5000.0, 5000.0)}, {"logg": (1.0, 2.0)}]}, marks=torch),
        ("validate solar --model atlas9 --out o --window 1 2 --window 3 4 --code korg --atlas nso --lines l.lin "
         "--corrections c",
         "validation.solar:run",
         {"out": Path("o"), "model": "atlas9", "windows": ((1.0, 2.0), (3.0, 4.0)), "code": "korg",
          "atlas_path": Path("nso"), "lines_path": Path("l.lin"), "corrections": "c"}),
        pytest.param("train atlas9 --device meta", "training.run:train_model", {"out": Path("atlas9.safetensors")},
                     marks=torch),
        ("validate which --model a --model b --processes 3 --out o", "validation.choice:run",
         {"models": ("a", "b"), "out": Path("o"), "processes": 3}),
        ("validate interpolation --model atlas9", "validation.interpolation:run", {"model": "atlas9"}),
        ("validate closure atlas9", "emulator:Emulator.load", {"name": "atlas9"}),
        ("experiment vturb atlas9 atlas12 --data grid.npz --reference atlas12", "experiments.microturbulence:response",
         {"file": "grid.npz"}),
        ("validate spheres --model marcs --stars 0 --out o", "validation.spheres:run",
         {"model": "marcs", "models": None, "cache": Path("o"), "n": 0}),
        pytest.param("experiment teacher --config atlas12", "training.run:read_config", {"path": "atlas12"},
                     marks=torch),
        ("validate fits --model a --model b --out o --part mock --part sun --snr 50 --snr 60 --stars 3",
         "validation.fits:main",
         {"models": ("a", "b"), "out": Path("o"), "parts": ("mock", "sun"), "snr": (50.0, 60.0), "stars": 3}),
        ("validate spectra --model a --model b --out o --nodes 3 --processes 4", "validation.spectra:run",
         {"models": ("a", "b"), "out": Path("o"), "nodes": 3, "processes": 4}),
        ("validate all --model a --part sun --part fits --heldout b --heldout c --processes 4 --out o",
         "validation.report:build",
         {"out": Path("o"), "models": ("a",), "parts": ("sun", "fits"), "heldout": ("b", "c"), "processes": 4}),
        ("validate benchmarks --model a --model odfnew --star Sun --star x --processes 4 --out o "
         "--corrections c",
         "validation.benchmarks:main",
         {"models": ("a", "odfnew"), "stars": ("Sun", "x"), "processes": 4, "out": Path("o"),
          "corrections": ("c",)}),
    ],
    ids=lambda v: v.split(" --")[0] if isinstance(v, str) and " " in v else "",
)  # fmt: skip
def test_options_arrive(
    folder: Path, structures: Structures, arguments: str, target: str, expected: dict[str, Any]
) -> None:
    write_npz(folder / "grid.npz", structures)
    got = arrived(target, arguments)
    assert {k: got[k] for k in expected} == expected
    if "--device" in arguments:
        assert got["config"]["training"]["device"] == "meta"
    if "vturb" in arguments:
        assert [e.name for e in (*got["emulators"], got["reference"])] == ["atlas9", "atlas12", "atlas12"]
        assert got["truth"].checksum() == structures.checksum()


@torch
def test_threads_are_those_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch as library

    asked: list[int] = []
    monkeypatch.setattr(library, "set_num_threads", asked.append)
    arrived("training.run:read_config", "train", "atlas9", "--threads", "3")
    assert asked == [3]


# ---------------------------------------------------------------------- atmospheres and models


@pytest.mark.parametrize(
    ("model", "option", "value"),
    [("atlas12", "--model", "atlas9"), ("atlas12", "--teff", "5000"), ("atlas12", "--logg", "4"),
     ("atlas12", "--m-h", "-1"), ("atlas12", "--alpha-m", "0.3"), ("atlas9", "--vturb", "4"),
     ("marcs", "--mass", "3"), ("marcs", "--geometry", "plane")],
)  # fmt: skip
def test_each_option_of_a_star_changes_its_atmosphere(folder: Path, model: str, option: str, value: str) -> None:
    base = {"--model": model, "--teff": "5200", "--logg": "2.0", "--out": "a.json"}
    pressure = []
    for given in (base, base | {option: value}):
        run("predict", *(word for pair in given.items() for word in pair))
        columns = json.loads((folder / "a.json").read_text())["columns"]
        pressure.append(np.interp(np.geomspace(1e-4, 10, 20), columns["tau_ross"], columns["gas_pressure"]))
    assert np.abs(pressure[1] / pressure[0] - 1).max() > 1e-3


def test_each_option_of_a_catalogue_is_in_its_file(folder: Path) -> None:
    Table({"teff": [5000.0, 6000.0], "logg": [4.0, 4.0], "FE_H": [-1.0, 0.0]}).write("stars.csv")
    said = run("predict", "stars.csv", "--model", "atlas9", "--column", "m_h=FE_H", "--field", "temperature", "--std",
               "--double", "--json", "--out", "a.h5")  # fmt: skip
    assert json.loads(said)["stars"] == 2
    import h5py

    expected, std = Emulator.load("atlas9").predict(teff=[5000, 6000], logg=4, m_h=[-1, 0], return_std=True)
    with h5py.File("a.h5") as file:
        assert file["temperature"].dtype == float
        np.testing.assert_array_equal(file["temperature"][()], expected.temperature)
        deviations = [name for name in file if "std" in name]
        assert "opacity" not in file
        (name,) = deviations
        found = file[name]["temperature"] if hasattr(file[name], "keys") else file[name]
        np.testing.assert_allclose(found[()], std["temperature"], rtol=1e-6)
    run("predict", "stars.csv", "--model", "atlas9", "--column", "m_h=FE_H", "--out", "b.h5")
    assert read_catalogue(folder / "b.h5").opacity.shape == expected.opacity.shape


def test_the_page_is_served_where_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    from sme_pinn_atmo import explorer

    class Server:
        server_port = 4321

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def serve_forever(self) -> None:
            raise KeyboardInterrupt

    opened: list[str] = []
    ports: list[int] = []
    monkeypatch.setattr(explorer, "write_site", lambda folder, names: Path(folder))
    monkeypatch.setattr(explorer, "serve", lambda folder, port: ports.append(port) or Server())
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert run("explore", "--port", "4321", "--no-browser").startswith("http://127.0.0.1:4321/ until Ctrl-C")
    assert opened == []
    run("explore")
    assert (ports, opened) == ([4321, 0], ["http://127.0.0.1:4321/"])


@pysme
def test_each_option_of_a_grid_changes_it(folder: Path) -> None:
    base = {"--model": "atlas9", "--teff": "5000 5500 500", "--logg": "4 4.5 0.5"}
    found = {}
    for option, value in (("", ""), ("--model", "atlas12"), ("--teff", "5500 6000 500"), ("--logg", "3.5 4 0.5"),
                          ("--m-h", "-0.5 0 0.5"), ("--alpha-m", "0.4"), ("--vturb", "4")):  # fmt: skip
        given = base | ({option: value} if option else {})
        run("export-grid", "g.npz", *(word for o, v in given.items() for word in (o, *v.split())))
        grid = read(folder / "g.npz")
        found[option] = (len(grid), float(grid.profiles[..., 2].sum()))
    assert found["--m-h"][0] == 2 * found[""][0] == 8
    assert len({pressure for _, pressure in found.values()}) == len(found)


def test_a_golden_file_is_written_beside_the_export(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("export-julia", "atlas9", "a.pinn")
    assert [p.name for p in folder.iterdir()] == ["a.pinn"]
    assert run("export-julia", "atlas9", "b.pinn", "--golden", "b.bin") == "b.pinn\nb.bin\n"
    assert (folder / "a.pinn").read_bytes() == (folder / "b.pinn").read_bytes()
    assert (folder / "b.bin").stat().st_size > 1000
    from sme_pinn_atmo import julia_export

    monkeypatch.setattr(julia_export, "export_all", lambda: [Path("all.pinn")])
    assert run("export-julia", "--all") == "all.pinn\n"
    assert CliRunner().invoke(main, ["export-julia", "atlas9", "--all"]).exit_code == 2


# ---------------------------------------------------------------------- fits


@pytest.fixture
def star(folder: Path) -> Path:
    """A line of the Sun, 0.5 km/s off, in a spectrum and settings that make a fit quick."""
    from sme_pinn_atmo import spectra

    wave = np.arange(6151.0, 6152.3, 0.02)
    flux = spectra.synthesize("atlas12", wave, spectra.read_lines(), teff=5777, logg=4.44, vmac=3, resolution=60_000)
    flux[20] = 0.6
    Table({"wave": wave * (1 + 0.5 / 299792.458), "flux": 1.02 * flux}).write(folder / "s.csv")
    (folder / "star.toml").write_text(
        '[star]\nspectrum = "s.csv"\nerror = 0.005\n'
        "[start]\nteff = 5777\nlogg = 4.44\nmonh = -0.1\nvmac = 3.0\nresolution = 60000\n"
        '[fit]\nfree = ["monh"]\nvelocity = "none"\ndegree = 0\nclip = 0\niterations = 2\natmosphere_errors = false\n'
        "line_errors = false\nexternal_errors = false\n"
    )
    return folder


OF_A_FIT = {
    "--model": "atlas9", "--lines": "lines.lin", "--windows": "windows.ecsv", "--logg": "3.9", "--alpha": "0.3",
    "--vmic": "2", "--vmac": "6", "--vsini": "5", "--resolution": "30000", "--abundance": "Si=0.5",
    "--prior": "monh 0.3 0.001", "--tie": "Si=monh", "--velocity": "star", "--continuum": "-1",
    "--floor": "0.05", "--clip": "4", "--error": "0.1", "--medium": "vacuum", "--line-scatter": "0.01",
    "--tellurics": "air.ecsv", "--line-spread": "spread.ecsv",
}  # fmt: skip


@pysme
def test_each_option_of_a_fit_changes_it(star: Path) -> None:
    from sme_pinn_atmo.stars.errors import EXTERNAL_AS_IT_IS
    from sme_pinn_atmo.stars.windows import Windows

    from .test_spectra import vald_file

    vald_file(star / "lines.lin")
    text = (star / "lines.lin").read_text()
    (star / "lines.lin").write_text(re.sub(r"(?m)^('Fe 1', 6151\.\d+, [\d.]+, 1\.0, )-[\d.]+", r"\g<1>-2.5", text))
    Windows(((6151.2, 6152.0),)).table().write(star / "windows.ecsv")
    Windows((), (), ((6151.5, 6151.7),)).table().write(star / "air.ecsv")
    Table({"wavelength": [6000.0, 7000.0], "resolution": [20_000.0, 20_000.0]}).write(star / "spread.ecsv")

    def fitted(*more: str) -> tuple[float, ...]:
        # Exit code 3, a parameter at its limit, is a result too.
        result = CliRunner().invoke(main, ["fit", "star.toml", "--json", *more])
        assert result.exit_code in (0, 3), result.output
        found = json.loads(result.stdout)
        numbers = (found["values"]["monh"], found["errors"]["monh"], found["reduced_chi2"], found["windows"][0]["rms"])
        return tuple(float("nan") if v is None else v for v in numbers)

    def fitted_freely(monh: str) -> float:
        result = CliRunner().invoke(main, ["fit", "star.toml", "--json", "--free", "vmac", "--monh", monh])
        return float(json.loads(result.stdout)["values"]["vmac"])

    base = np.array(fitted())
    for option, value in OF_A_FIT.items():
        changed = np.array(fitted(option, *value.split()))
        assert not np.allclose(changed, base, rtol=1e-3, equal_nan=True), option
    settings = (star / "star.toml").read_text()
    (star / "star.toml").write_text(settings.replace("external_errors = false", "external_errors = true"))
    assert fitted()[1] ** 2 - base[1] ** 2 == pytest.approx(EXTERNAL_AS_IT_IS["monh"] ** 2)
    (star / "star.toml").write_text(settings)
    # A parameter that is not fitted stays where it starts.
    starts = [fitted_freely(value) for value in ("-0.1", "0.1")]
    assert abs(starts[1] - starts[0]) > 1e-3


@pysme
def test_options_of_a_fit_arrive(star: Path) -> None:
    got = arrived("stars.settings:Settings.run", "fit", "star.toml", "--teff", "5000", "--monh", "0.2",
                  "--processes", "3", "--normalise")  # fmt: skip
    assert got["self"].start == {"teff": 5000.0, "logg": 4.44, "monh": 0.2, "vmac": 3.0, "resolution": 60_000.0}
    assert got["self"].options.processes == 3
    assert got["self"].options.normalise


@pysme
def test_a_fit_is_drawn(star: Path) -> None:
    run("fit", "star.toml", "--plot", "fit.png")
    assert (star / "fit.png").read_bytes()[:4] == b"\x89PNG"


@pysme
def test_options_of_many_fits_arrive(star: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    monkeypatch.setattr(distributed, "Client", lambda address: f"client of {address}")
    Table({"name": ["a"], "spectrum": ["s.csv"]}).write("t.ecsv")
    given = OF_A_FIT | {"--normalise": "", "--corrections": "c.ecsv", "--teff": "5000", "--monh": "0.2",
                        "--free": "monh", "--processes": "3", "--dask": "host:1", "--out": "o"}  # fmt: skip
    words = [word for o, v in given.items() for word in (o, *v.split())]
    got = arrived("stars.many:fit_many", "fit-many", "t.ecsv", "--settings", "star.toml", *words)
    (settings,) = got["stars"]
    assert (got["out"], got["processes"], got["client"]) == (Path("o"), 3, "client of host:1")
    assert settings.start == {"teff": 5000.0, "logg": 3.9, "monh": 0.2, "alpha": 0.3, "vmic": 2.0, "vmac": 6.0,
                              "vsini": 5.0, "resolution": 30_000.0, "Si": 0.5}  # fmt: skip
    assert (settings.model, settings.lines, settings.windows) == ("atlas9", "lines.lin", "windows.ecsv")
    assert (settings.corrections, settings.tellurics, settings.line_spread) == ("c.ecsv", "air.ecsv", "spread.ecsv")
    assert (settings.free, settings.priors, settings.ties) == (("monh",), {"monh": (0.3, 0.001)}, {"Si": "monh"})
    assert (settings.error, settings.medium) == (0.1, "vacuum")
    o = settings.options
    assert (o.velocity, o.degree, o.normalise, o.floor, o.clip) == ("star", -1, True, 0.05, 4.0)
    assert o.line_scatter == 0.01
    assert o.iterations == 2  # of the settings


# ---------------------------------------------------------------------- lines and surveys


@pysme
def test_options_of_a_calibration_arrive(star: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    from sme_pinn_atmo.demo import line_list

    from .test_spectra import vald_file

    vald_file(star / "lines.lin")
    (star / "stars.toml").write_text(
        '[start]\nresolution = 30000\n[[stars]]\nname = "Sun"\nspectrum = "s.csv"\n'
        "start = {teff = 5777, logg = 4.44}\n"
    )
    monkeypatch.setattr(distributed, "Client", lambda address: f"client of {address}")
    words = ("--lines lines.lin --model atlas9 --code korg --iterations 2 --work w --processes 3 --dask host:1 "
             "--out o.ecsv")  # fmt: skip
    got = arrived("calibration:calibrate", "calibrate", "stars.toml", words)
    (one,) = got["stars"]
    assert (one.name, one.settings.model, got["options"].iterations) == ("Sun", "atlas9", 2)
    assert (got["work"], got["processes"], got["client"]) == (Path("w"), 3, "client of host:1")
    assert got["options"].code == "korg"
    # Lines of the file, not the packaged ones, which have their references.
    assert not set(got["lines"]["reference"]) & set(line_list()["reference"])


@pysme
def test_a_list_is_written_as_it_is_asked_for(folder: Path) -> None:
    from .test_spectra import vald_file

    vald_file(folder / "lines.lin")
    words = "--format moog --wave 6150 6155 --wave 6160 6165 --out o"
    got = arrived("calibration.writers:write_lines", "write-lines", "lines.lin", words)
    assert (got["path"], got["kind"], got["windows"]) == (Path("o"), "moog", ((6150.0, 6155.0), (6160.0, 6165.0)))
    assert len(got["lines"]) > 3
    got = arrived("stars.corrections:Corrections.read", "write-lines", "lines.lin", "--corrections", "c",
                  "--out", "o")  # fmt: skip
    assert got == {"source": "c"}


@pysme
def test_options_of_a_calibrations_checks_arrive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sme_pinn_atmo import calibration
    from sme_pinn_atmo.stars import lines

    monkeypatch.setattr(lines, "galah_lines", lambda windows: windows)
    monkeypatch.setattr(lines, "read_lines", lambda name, windows: name)
    monkeypatch.setattr(calibration, "read_stars", lambda table: ([], calibration.LineOptions(), str(table)))
    monkeypatch.setattr(calibration.Corrections, "read", lambda source: f"read {source}")
    command = "validate calibration --processes 4 --out o"
    got = arrived("validation.calibration:recovery", command,
                  "--part mock --model atlas9 --code korg --window 6150 6160 --off 7 --snr 50 --seed 3")  # fmt: skip
    assert got["lines"] == got["windows"].windows == ((6150.0, 6160.0),)
    assert got["options"].code == "korg"
    assert {k: got[k] for k in ("model", "off", "snr", "seed", "processes", "work")} == {
        "model": "atlas9", "off": 7, "snr": 50.0, "seed": 3, "processes": 4, "work": Path("o/mock")
    }  # fmt: skip
    got = arrived("validation.calibration:left_out", command,
                  "--part unseen --stars t.toml --unseen a --unseen b --each --halves --alone Sun --work w "
                  "--start s --iterations 3 --code korg")  # fmt: skip
    assert (got["options"].iterations, got["options"].code) == (3, "korg")
    assert {k: got[k] for k in ("lines", "unseen", "each", "halves", "alone", "processes", "start", "work", "out")} == {
        "lines": "t.toml", "unseen": ("a", "b"), "each": True, "halves": True, "alone": "Sun", "processes": 4,
        "start": "read s", "work": Path("w"), "out": Path("o/unseen"),
    }  # fmt: skip
    (folder / "lab").write_text("")
    got = arrived("calibration:Corrections.read", command, "--part laboratory --laboratory lab --corrections c")
    assert got == {"source": "c"}
    got = arrived("validation.calibration:laboratory_of", command, "--part laboratory --laboratory lab --corrections c")
    assert got == {"corrections": "read c", "path": Path("lab")}


def test_options_of_a_survey_arrive(folder: Path) -> None:
    words = "--seed 7 --stars 12 --processes 3 --dask host:1 --out o.h5"
    got = arrived("survey:make", "survey", "galah.toml", words)
    assert (got["out"], got["processes"], got["dask"]) == (Path("o.h5"), 3, "host:1")
    assert (got["survey"].seed, got["survey"].stars) == (7, 12)


def test_options_of_a_training_set_arrive(folder: Path) -> None:
    from .test_survey_programs import made_up_network, made_up_set

    made_up_set(folder / "set.h5", n=6)
    words = "--to ferre --out o.dat --label monh --snr 50 --wrong monh=0.1,0.02 --valid 0.3 --seed 5"
    got = arrived("survey.exports:export", "survey-export", "set.h5", words)
    assert (got["kind"], got["out"], got["names"], got["snr"]) == ("ferre", Path("o.dat"), ("monh",), 50.0)
    assert (got["wrong"], got["valid"], got["seed"]) == ({"monh": (0.1, 0.02)}, 0.3, 5)
    words = "--out n.npz --label teff --gradients 0.5 --width 9 --components 7 --steps 11 --seed 3"
    got = arrived("survey.network:train", "survey-train", "set.h5", words)
    assert (got["names"], got["gradients"], got["width"]) == (("teff",), 0.5, 9)
    assert (got["components"], got["steps"], got["seed"], got["training"].path) == (7, 11, 3, Path("set.h5"))
    made_up_network(folder / "n.npz")
    words = "n.npz --direct b --star Procyon --processes 3 --out o"
    got = arrived("validation.survey:stars", "validate", "survey", words)
    assert (got["direct"], got["names"], got["processes"], got["out"]) == (Path("b"), ("Procyon",), 3, Path("o"))
    assert got["network"].names == ("teff", "logg", "monh")
    words = "set.h5 --size 8 --size 16 --weight 0.3 --held 5 --steps 9 --seeds 2 --out o"
    got = arrived("validation.survey:gradients", "validate", "survey-gradients", words)
    assert (got["sizes"], got["weight"], got["held"], got["steps"]) == ((8, 16), 0.3, 5, 9)
    assert (got["seeds"], got["out"], got["training"]) == (2, Path("o"), Path("set.h5"))


# ---------------------------------------------------------------------- scores


def test_only_models_that_are_asked_for_are_scored(folder: Path, tiny_model: Path, structures: Structures) -> None:
    family = np.array(["a"] * 20 + ["b"] * 40)
    write_npz(folder / "grid.npz", replace(structures, extra={"family": family}))
    model = str(holding(tiny_model, folder / "m.safetensors", [1, 25]))
    counts = []
    for options in ([], ["--family", "b"], ["--heldout"], ["--heldout", "--family", "b"]):
        scores = json.loads(run("evaluate", model, "grid.npz", "--json", *options))
        counts.append(scores["all"]["models"])
    assert counts == [60, 40, 2, 1]


def test_folds_are_scored_drawn_and_put_into_a_model(folder: Path, tiny_model: Path, structures: Structures) -> None:
    write_npz(folder / "grid.npz", structures)
    even, odd = (str(holding(tiny_model, folder / f"{k}.safetensors", list(range(k, 60, 2)))) for k in (0, 1))
    into = holding(tiny_model, folder / "into.safetensors", [])
    said = run("validate", "folds", even, odd, "--data", "grid.npz", "--into", str(into), "--plot", "p.png")
    assert "standard deviations" in said
    assert (folder / "p.png").read_bytes()[:4] == b"\x89PNG"
    emulator = Emulator.load(into)
    assert emulator.card["cross_validation"]["file"] == "grid.npz"
    assert emulator.card["cross_validation"]["figures"]["all"]["models"] == 60
    assert emulator.errors is not None
    # Scores of a network that is off by less; the error bar of the former ones is kept, and too wide for it.
    nearer = holding(tiny_model, folder / "nearer.safetensors", list(range(60)))
    predicted = np.exp(Emulator.load(nearer).network.log_profiles(np.stack(list(structures.labels.values()), 1)))
    columns = [FIELDS.index(f) for f in ("rhox", "temperature", "gas_pressure", "electron_density", "opacity")]
    profiles = structures.profiles.copy()
    profiles[..., :5] += 0.8 * (predicted[:, columns].transpose(0, 2, 1) - profiles[..., :5])
    write_npz(folder / "grid.npz", replace(structures, profiles=profiles))
    said = run("validate", "folds", str(nearer), "--data", "grid.npz", "--into", str(into), "--keep-error-bar")
    kept = Emulator.load(into)
    assert kept.errors is not None
    np.testing.assert_allclose(kept.errors.log_square, emulator.errors.log_square)
    before, after = (e.card["cross_validation"] for e in (emulator, kept))
    assert after["figures"]["all"]["T"]["median"] < 0.5 * before["figures"]["all"]["T"]["median"]
    assert after["calibration"]["temperature"][3] > before["calibration"]["temperature"][3] + 0.1
    assert "held out at random" in said
    alone = CliRunner().invoke(main, ["validate", "folds", str(nearer), "--data", "grid.npz", "--keep-error-bar"])
    assert alone.exit_code == 2
    assert "--into" in alone.output


def test_stars_and_data_that_are_counted(folder: Path, structures: Structures) -> None:
    write_npz(folder / "grid.npz", structures)
    assert "0 of 60: " in run("validate", "physical", "--data", "grid.npz")
    assert "0 of 40: " in run("validate", "physical", "--model", "atlas9", "--stars", "40")
    got = arrived("validation.physical:violations", "validate", "physical", "--model", "atlas9", "--stars",
                  "50", "--seed", "3")  # fmt: skip
    assert (got["emulator"].name, got["n"], got["seed"]) == ("atlas9", 50, 3)


def test_gradients_are_drawn(folder: Path, tiny_model: Path, structures: Structures,
                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from sme_pinn_atmo.validation import gradients

    write_npz(folder / "grid.npz", structures)
    model = holding(tiny_model, folder / "m.safetensors", [3])
    got = arrived("validation.gradients:compare_families", "experiment", "gradients", str(model), "grid.npz")
    assert (got["emulator"].name, list(got["held"]), len(got["truth"])) == ("tiny", [3], 60)
    drawn: list[Path] = []
    monkeypatch.setattr(gradients, "compare_families", lambda *_: {})
    monkeypatch.setattr(gradients, "continuity", lambda *_: {})
    monkeypatch.setattr(gradients, "format_rows", lambda *_: "")
    monkeypatch.setattr(gradients, "plot", lambda _, path: drawn.append(path))
    run("experiment", "gradients", str(model), "grid.npz", "--plot", "p.png")
    run("experiment", "gradients", str(model), "grid.npz")
    assert drawn == [Path("p.png")]


@pysme
def test_closure_of_models_held_out(folder: Path, tiny_model: Path, structures: Structures,
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    family = np.array(["ODFNEW"] * 10 + ["NOVER"] * 50)
    write_npz(folder / "atlas9.npz", replace(structures, extra={"family": family}))
    (folder / "rosseland_odfnew").mkdir()
    (folder / "rosseland_odfnew" / "kapp00.ros").write_text("a table")
    monkeypatch.setenv("SME_PINN_ATMO_DATA", str(folder))
    model = str(holding(tiny_model, folder / "m.safetensors", [3, 5], "atlas9.npz"))
    for option, n in (("--heldout", 2), ("--all", 10)):
        got = arrived("validation.closure:closure", "validate", "closure", model, option)
        assert len(got["truth"]) == n


@torch
def test_an_ablation_for_a_time(folder: Path) -> None:
    from .conftest import made_up_structures
    from .test_training import CONFIG

    write_npz(folder / "grid.npz", made_up_structures(400, seed=1))
    (folder / "small.toml").write_text(CONFIG)
    got = arrived("experiments.ablation:_one", "experiment", "ablation", "--config", "small.toml", "--fold",
                  "1/4", "--seconds", "33")  # fmt: skip
    assert (got["seconds"], got["wanted"], len(got["truth"])) == (33.0, None, 100)


def test_the_benchmark_writes_what_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sme_pinn_atmo import benchmark

    measured: list[str] = []
    drawn: list[Path] = []
    monkeypatch.setattr(benchmark, "run", lambda model: measured.append(model) or {"ratios": {}})
    monkeypatch.setattr(benchmark, "dask_rates", lambda model: {1: 10.0})
    monkeypatch.setattr(benchmark, "format_rows", lambda result: "rows")
    monkeypatch.setattr(benchmark, "plot", lambda result, path: drawn.append(path))
    said = run("benchmark", "--model", "atlas9", "--json", "b.json", "--plot", "b.png", "--dask")
    assert "dask, 1 processes: 10 stars a second" in said
    assert json.loads((folder / "b.json").read_text()) == {
        "ratios": {}, "dask: stars per second by worker processes": {"1": 10.0}
    }  # fmt: skip
    assert run("benchmark") == "rows\n"
    arrived("explorer.benchmark:measure", "benchmark", "--page")
    assert CliRunner().invoke(main, ["benchmark", "--page", "--dask"]).exit_code == 2
    assert (measured, drawn) == (["atlas9", "atlas12"], [Path("b.png")])

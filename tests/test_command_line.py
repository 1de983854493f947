"""The command line as a whole: help, exit codes, JSON, and a world without disk, home, network or patience."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.cli import main
from sme_pinn_atmo.emulator import models

from .conftest import command_that_stops

COMMAND = [sys.executable, "-m", "sme_pinn_atmo"]
SUN = ["--teff", "5777", "--logg", "4.44"]
GRID = ["export-grid", "g.npz", "--teff", "5000", "6000", "50", "--logg", "4", "5", "0.5"]
SPECTRUM = ["synthesize", *SUN, "--wave", "6140", "6160", "--out"]

pysme = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('pysme')", reason="PySME is not installed")


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from leaves(sub, (*path, name))
    else:
        yield path


def run(
    *arguments: str, folder: Path, env: Mapping[str, str] = os.environ, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which a measurement of coverage does not follow: it writes files, too."""
    env = {name: value for name, value in env.items() if not name.startswith("COVERAGE")}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=env, preexec_fn=before, capture_output=True, text=True
    )


def stars(path: Path, n: int) -> None:
    emulator = Emulator.load("atlas12")
    x = emulator.domain.sample(n, 0)
    Table(dict(zip(emulator.domain.labels, x.T, strict=True))).write(path)


def test_every_command_is_there() -> None:
    assert {path[0] for path in leaves(main)} >= {
        "demo", "models", "predict", "synthesize", "fit", "train", "evaluate", "validate", "benchmark",
        "export-julia", "export-grid", "doctor",
    }  # fmt: skip


@pytest.mark.parametrize("path", leaves(main), ids=" ".join)
def test_help_has_an_example_that_is_the_command_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert "Example: " in words
    assert f"sme-pinn-atmo {' '.join(path)}" in words.split("Example: ", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["models"], 0), ([], 2), (["predict"], 2), (["predict", "--teff", "x", "--out", "a.dat"], 2), (["mdels"], 2),
     (["predict", "--teff", "1", "--logg", "4", "--out", "a.dat"], 1),
     (["predict", "--logg", "4", "--out", "a.dat"], 1),
     (["predict", *SUN, "--out", "no/such/folder/a.dat"], 1), (["train", "nonesuch"], 1),
     (["export-julia", "nonesuch", "a.pinn"], 1), (["validate", "physical", "--model", "nonesuch"], 1)],
)  # fmt: skip
def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[:1] == ["train"]:
        pytest.importorskip("torch", reason="training needs torch (the extra `train`)")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option", [["--std"], ["--double"], ["--json"], ["--field", "temperature"], ["--column", "m_h=FE_H"]]
)
def test_options_of_a_catalogue_are_not_ignored_for_a_star(tmp_path: Path, option: list[str]) -> None:
    result = CliRunner().invoke(main, ["predict", *SUN, *option, "--out", str(tmp_path / "a.h5")])
    assert result.exit_code == 2
    assert f"{option[0]} is for a catalogue" in result.output


def test_where_an_error_was_found_is_shown_when_asked_for() -> None:
    result = CliRunner().invoke(main, ["--traceback", "predict", "--teff", "1", "--logg", "4", "--out", "a.dat"])
    assert type(result.exception).__name__ == "DomainError"


@pytest.mark.parametrize(
    ("module", "remedy"), [("torch", "'sme-pinn-atmo[train]'"), ("elsewhere.part", "pip install elsewhere")]
)
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, module: str, remedy: str) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("sme_pinn_atmo.emulator.models", missing)
    result = CliRunner().invoke(main, ["models"])
    assert result.exit_code == 1
    assert remedy in result.output


def test_standard_output_is_for_results_alone(tmp_path: Path) -> None:
    stars(tmp_path / "stars.fits", 5000)
    done = run("predict", "stars.fits", "--out", "a.h5", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["stars"] == 5000
    assert "5000/5000" in done.stderr
    done = run("models", "--json", folder=tmp_path)
    assert {"atlas9", "atlas12"} <= set(json.loads(done.stdout))


@pysme
def test_the_first_use_of_pysme_is_not_in_the_json(tmp_path: Path) -> None:
    """It says on standard output that it fills its folder in the home."""
    (tmp_path / "home").mkdir()
    wave = np.arange(6150, 6152, 0.1)
    Table({"wavelength": wave, "flux": np.ones(len(wave))}).write(tmp_path / "flat.ecsv")
    env = {**os.environ, "HOME": str(tmp_path / "home")}
    done = run("fit", "flat.ecsv", "--error", "0.1", *SUN, "--free", "monh", "--json", folder=tmp_path, env=env)
    assert "monh" in json.loads(done.stdout)["values"], done.stderr
    assert "config directory" not in done.stderr


def test_doctor_says_what_is_usable_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
    assert result["models"]["atlas12"] == "works"
    assert set(result["parts"]) >= {"PySME", "torch", "juliacall", "Julia", "Korg"}
    (tmp_path / "Manifest.toml").write_text('[[deps.Korg]]\ndeps = ["A"]\nuuid = "x"\nversion = "1.2.3"\n')
    monkeypatch.setenv("PYTHON_JULIACALL_PROJECT", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "odd.safetensors").write_bytes(b"")
    monkeypatch.setenv("SME_PINN_ATMO_MODELS", str(tmp_path / "models"))
    shown = CliRunner().invoke(main, ["doctor"])
    assert shown.exit_code == 1
    assert "Korg (sme_pinn_atmo.korg): 1.2.3, usable" in shown.output
    assert "Julia (sme_pinn_atmo.korg): not usable: not here; juliacall installs it" in shown.output
    assert "model odd: the model card" in shown.output


# ---------------------------------------------------------------------- a world that does not help


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of files are POSIX")
@pytest.mark.parametrize(
    "arguments",
    [["predict", *SUN, "--out", "a.dat"], ["predict", *SUN, "--out", "a.ecsv"], ["predict", *SUN, "--out", "a.h5"],
     ["predict", "stars.csv", "--out", "a.h5"], ["export-julia", "atlas12", "a.pinn"],
     pytest.param(GRID, marks=pysme), pytest.param([*SPECTRUM, "s.csv"], marks=pysme)],
    ids=" ".join,
)  # fmt: skip
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, arguments: list[str]) -> None:
    import resource

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    (tmp_path / "stars.csv").write_text("teff,logg\n5000,4.0\n6000,4.1\n")
    done = run(*arguments, folder=tmp_path, before=no_room)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("Error: ")
    assert "File too large" in line
    assert next(a for a in arguments if "." in a and a[0] in "asg" and not a.endswith("stars.csv")) in line
    assert [p.name for p in tmp_path.iterdir()] == ["stars.csv"]


def test_a_catalogue_goes_on_when_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills behind the first block, where only the journal still grows."""
    from sme_pinn_atmo import catalogue

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "BLOCK", 100)
    monkeypatch.setattr(catalogue.read_labels, "__kwdefaults__", {"start": 0, "block": 100})
    stars(tmp_path / "stars.fits", 250)
    write, written = catalogue.write_atomically, []

    def full(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(catalogue, "write_atomically", full)
    result = CliRunner().invoke(main, ["predict", "stars.fits", "--out", "a.h5"])
    assert result.exit_code == 1
    assert "Error: a.h5.progress: No space left on device" in result.output
    assert not Path("a.h5").exists()
    result = CliRunner().invoke(main, ["predict", "stars.fits", "--out", "a.h5", "--json"])
    assert json.loads(result.stdout) == {"out": "a.h5", "stars": 250, "outside": 0, "resumed": 100}


@pytest.mark.parametrize("home", ["a file", "read-only", "none"])
def test_structures_need_no_home(tmp_path: Path, home: str) -> None:
    place = tmp_path / "home"
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    if home == "a file":
        place.write_text("")
    if home == "read-only":
        place.mkdir(mode=0o500)
    if home != "none":
        env["HOME"] = str(place)
    done = run("predict", *SUN, "--out", "a.h5", folder=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "a.h5").stat().st_size > 1000


@pysme
def test_without_a_home_pysme_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    done = run(*SPECTRUM, "s.csv", folder=tmp_path, env={**os.environ, "HOME": str(tmp_path / "home")})
    assert done.returncode == 1
    assert "PySME keeps its settings in" in done.stderr
    assert "set HOME to a folder to write in" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_home_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.delenv("SME_PINN_ATMO_MODELS", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert "atlas12" in models()


@pysme
def test_nothing_asks_for_the_network(tmp_path: Path) -> None:
    alone = ["unshare", "-rn"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("a process without network cannot be had here")
    (tmp_path / "home").mkdir()
    env = {**os.environ, "HOME": str(tmp_path / "home")}
    for arguments in (["predict", *SUN, "--out", "a.dat"], [*SPECTRUM, "s.csv"]):
        done = subprocess.run([*alone, *COMMAND, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["predict", *SUN, "--out", "a.dat"], ["predict", *SUN, "--out", "a.fits"], ["export-julia", "atlas12", "a.pinn"],
     pytest.param(GRID, marks=pysme)],
    ids=" ".join,
)  # fmt: skip
def test_an_interruption_while_writing_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    write = Path.write_bytes

    def interrupted(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", interrupted)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output.strip() == "Aborted!"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_an_interrupted_catalogue_goes_on(tmp_path: Path) -> None:
    stars(tmp_path / "stars.fits", 10_000)
    arguments = ["predict", "stars.fits", "--out", "a.h5"]
    command = [*command_that_stops("catalogue", signal.SIGINT), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("Aborted!")
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5.part", "a.h5.progress", "stars.fits"]
    assert json.loads(run(*arguments, "--json", folder=tmp_path).stdout)["resumed"] > 0


def test_commands_that_moved_say_where_they_are_now() -> None:
    result = CliRunner().invoke(main, ["validate", "vturb", "--help"])
    assert result.exit_code == 0
    assert "Do computed models follow the vturb" in result.stdout
    assert "deprecated: `validate vturb` is now `experiment vturb`" in result.stderr
    assert "vturb" not in CliRunner().invoke(main, ["validate", "--help"]).output

"""What importing the package, and asking for help, loads."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    ["import sme_pinn_atmo", "import sme_pinn_atmo; sme_pinn_atmo.Emulator.load().predict(teff=5777, logg=4.4)",
     "import sme_pinn_atmo.korg"],
)  # fmt: skip
def test_heavy_packages_are_not_loaded(code: str) -> None:
    heavy = "('torch', 'pysme', 'juliacall', 'matplotlib', 'pandas', 'scipy.interpolate')"
    script = f"import sys; {code}; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_every_command_has_help_with_an_example() -> None:
    import click
    from click.testing import CliRunner

    from sme_pinn_atmo.cli import main

    def leaves(command: click.Command, path: list[str]) -> list[list[str]]:
        if isinstance(command, click.Group):
            return [leaf for name, sub in command.commands.items() for leaf in leaves(sub, [*path, name])]
        return [path]

    paths = leaves(main, [])
    assert len(paths) >= 10
    for path in paths:
        result = CliRunner().invoke(main, [*path, "--help"])
        assert result.exit_code == 0
        assert "Example: " in result.output, path

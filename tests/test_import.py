"""What importing the package loads."""

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


def test_the_door_of_stars_leads_to_what_it_names() -> None:
    from sme_pinn_atmo import stars

    assert all(getattr(stars, name).__name__ == name for name in stars.__all__)
    assert set(stars.__all__) == set(stars._WHERE)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = stars.nothing

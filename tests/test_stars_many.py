"""Many stars in processes of their own: a star that kills its process stops no other, and what is done stays done."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sme_pinn_atmo.stars.many import fit_many
from sme_pinn_atmo.stars.settings import Settings

START = {"teff": 5777.0, "logg": 4.44}
NAMES = ("a", "killer", "b", "c", "d")


def deadly(settings: Settings, folder: Path) -> dict[str, Any]:
    """A fit of which "killer" does not return, nor its process; counts its calls in calls.txt."""
    if settings.name == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return harmless(settings, folder)


def harmless(settings: Settings, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "calls.txt").open("a") as calls:
        calls.write("x")
    found = {"name": settings.name, "values": dict(settings.start)}
    (folder / "fit.json").write_text(json.dumps(found))
    return found


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_a_star_that_kills_its_process_stops_no_other(tmp_path: Path) -> None:
    stars = [Settings("x.ecsv", START, ("teff",), name=n) for n in NAMES]
    results = fit_many(stars, tmp_path, processes=2, progress=False, fit=deadly)
    assert [r["name"] for r in results] == list(NAMES)
    assert [r["name"] for r in results if "failed" in r] == ["killer"]
    assert "BrokenProcessPool" in results[1]["failed"]
    before = {n: (tmp_path / n / "calls.txt").read_text() for n in NAMES if n != "killer"}
    # The next call does what is missing, and nothing else.
    again = fit_many(stars, tmp_path, processes=2, progress=False, fit=harmless)
    assert not [r for r in again if "failed" in r]
    assert not (tmp_path / "killer" / "failed.json").exists()
    assert {n: (tmp_path / n / "calls.txt").read_text() for n in before} == before

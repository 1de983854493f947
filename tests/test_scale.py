"""Many stars: torch on a device, processes of a Dask cluster; the same numbers as NumPy in one process."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.structure import PROFILES

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("model", ["atlas12", "atlas9"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_device_gives_the_same_profiles(model: str, device: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (the extra `train`)")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    emulator = Emulator.load(model)
    x = emulator.domain.sample(300, 5)
    labels: dict[str, np.ndarray] = {n: x[:, j].reshape(3, 100) for j, n in enumerate(emulator.domain.labels)}
    for tau in (None, np.geomspace(1e-5, 50, 21)):
        here = emulator.predict(**labels, tau_ross=tau)
        there = emulator.predict(**labels, tau_ross=tau, device=device)
        for name in PROFILES:
            np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-6)


def test_a_device_that_is_not_there_is_named() -> None:
    pytest.importorskip("torch", reason="torch is not installed (the extra `train`)")
    with pytest.raises(ValueError, match="device = 'abacus' cannot be used"):
        Emulator.load().predict(teff=5777, logg=4.4, device="abacus")


def test_the_recipe_for_dask_gives_the_serial_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the block of docs/scale.md as it stands, on a local cluster of two workers."""
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "recipe"}
    exec(compile(code, "docs/scale.md", "exec"), names)
    result = np.asarray(names["result"])
    x = np.asarray(names["labels"])
    emulator = Emulator.load("atlas12")
    serial = emulator.predict(**{n: x[:, j] for j, n in enumerate(emulator.domain.labels)}).temperature
    np.testing.assert_array_equal(result, serial.astype(np.float32))

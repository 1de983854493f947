"""The benchmark measures and prints; it never judges."""

from __future__ import annotations

import time

import pytest

from sme_pinn_atmo import Emulator, benchmark


def test_measure_finds_the_time_of_a_call() -> None:
    t = benchmark.measure(lambda: time.sleep(0.002), seconds=0.1, batches=5)
    assert 0.002 <= t["best"] <= t["median"]
    assert t["low"] <= t["median"] <= t["high"]


def test_multiply_adds_of_the_small_model(tiny_model) -> None:
    emulator = Emulator.load(tiny_model)
    # 9 features, two layers of 16, 4 x 5 components, 40 depths, two integrals.
    assert benchmark.multiply_adds(emulator) == 9 * 16 + 2 * 16 * 16 + 20 * 16 + 4 * 5 * 40 + 2 * 40 * 40


@pytest.mark.slow
def test_benchmark_runs_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SME_PINN_ATMO_DATA", raising=False)
    result = benchmark.run(batch=2000)
    skipped = result["instead [s]"]["PySME interpolation in a grid of ATLAS9 nodes"]["skipped"]
    assert "sme-pinn-atmo data build atlas9" in skipped
    assert result["ratios"]["PySME interpolation / predict"] is None
    assert "ratios" in benchmark.format_rows(result)

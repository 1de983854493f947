"""Hard use: many processes and threads on one model, and work that is killed and goes on; all slow.

    SME_PINN_ATMO_HAMMER_SECONDS=60 python -m pytest -m slow tests/test_hard_use.py -s
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.table import Table

from sme_pinn_atmo.emulator import Emulator, save_model
from sme_pinn_atmo.structure import PROFILES

pytestmark = pytest.mark.slow

PROCESSES = THREADS = 8
SECONDS = float(os.environ.get("SME_PINN_ATMO_HAMMER_SECONDS", "5"))
COMMAND = [sys.executable, "-m", "sme_pinn_atmo"]


def cases(emulator: Emulator) -> list[tuple[dict[str, Any], Any]]:
    """Labels and depths: single stars, batches of several sizes, the model's own depths and others."""
    x = emulator.domain.sample(400, 3)
    tau = np.geomspace(1e-5, 50, 31)
    names = emulator.domain.labels
    single = [(dict(zip(names, row.tolist(), strict=True)), None if i % 2 else tau) for i, row in enumerate(x[:30])]
    batch = [(dict(zip(names, x[:n].T, strict=True)), t) for n in (2, 7, 100, 400) for t in (None, tau)]
    return [*single, *batch]


def digest(emulator: Emulator, labels: dict[str, Any], tau: Any) -> str:
    """Of all profiles, their error bars and a derivative, bit by bit."""
    atmosphere, std = emulator.predict(**labels, tau_ross=tau, return_std=True)
    found = hashlib.sha256()
    for name in PROFILES:
        found.update(np.ascontiguousarray(atmosphere.profile(name)).tobytes())
        found.update(np.ascontiguousarray(std[name]).tobytes())
    found.update(emulator.jacobian(**labels, tau_ross=tau, fields=("gas_pressure",))["gas_pressure"].tobytes())
    return found.hexdigest()


def hammer(expected: list[str], seconds: float, seed: int, answers: Any) -> None:
    """A process: threads that share one model and ask for the cases in an order of their own."""
    emulator = Emulator.load("atlas12")
    work = cases(emulator)
    counts, stars, wrong = [0] * THREADS, [0] * THREADS, [0] * THREADS
    end = time.monotonic() + seconds

    def ask(thread: int) -> None:
        rng = np.random.default_rng((seed, thread))
        while time.monotonic() < end:
            i = int(rng.integers(len(work)))
            wrong[thread] += digest(emulator, *work[i]) != expected[i]
            counts[thread] += 1
            stars[thread] += np.size(work[i][0]["teff"])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put((counts, sum(stars), sum(wrong)))


def test_processes_and_threads_get_the_serial_result() -> None:
    emulator = Emulator.load("atlas12")
    expected = [digest(emulator, *case) for case in cases(emulator)]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [context.Process(target=hammer, args=(expected, SECONDS, k, answers)) for k in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=SECONDS + 120) for _ in processes]
    for process in processes:
        process.join()
    counts = [n for threads, _, _ in found for n in threads]
    stars = sum(n for _, n, _ in found)
    print(f"\n{sum(counts)} calls, {stars} stars in {SECONDS:g} s by {PROCESSES} processes of {THREADS} threads")
    assert len(counts) == PROCESSES * THREADS
    assert min(counts) > 0
    assert sum(wrong for _, _, wrong in found) == 0
    assert [process.exitcode for process in processes] == [0] * PROCESSES


def killed_until_done(arguments: list[str], folder: Path, journal: Path, times: int) -> int:
    """Run a command and kill -9 it as soon as it writes its journal, `times` times; then to its end. How many kills."""
    kills = 0
    for _ in range(times):
        before = journal.stat().st_mtime_ns if journal.exists() else 0
        run = subprocess.Popen([*COMMAND, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while run.poll() is None and (not journal.exists() or journal.stat().st_mtime_ns <= before):
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        kills += run.wait() == -signal.SIGKILL
    subprocess.run([*COMMAND, *arguments], cwd=folder, check=True, capture_output=True)
    return kills


def test_a_catalogue_survives_kill_after_kill(tmp_path: Path) -> None:
    emulator = Emulator.load("atlas12")
    x = emulator.domain.sample(150_000, 0)
    Table(dict(zip(emulator.domain.labels, x.T, strict=True))).write(tmp_path / "stars.fits")
    journal = tmp_path / "killed.h5.progress"
    kills = killed_until_done(["predict", "stars.fits", "--out", "killed.h5"], tmp_path, journal, 3)
    subprocess.run([*COMMAND, "predict", "stars.fits", "--out", "whole.h5"], cwd=tmp_path, check=True,
                   capture_output=True)  # fmt: skip
    print(f"\n{len(x)} stars, killed {kills} times")
    assert kills > 1
    with h5py.File(tmp_path / "killed.h5") as a, h5py.File(tmp_path / "whole.h5") as b:
        for name in (*list(PROFILES), "inside", *(f"labels/{n}" for n in emulator.domain.labels)):
            np.testing.assert_array_equal(a[name][()], b[name][()])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.h5", "stars.fits", "whole.h5"]


@pytest.mark.skipif("SME_PINN_ATMO_DATA" not in os.environ, reason="needs SME_PINN_ATMO_DATA")
def test_a_validation_keeps_its_stars_over_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("pysme", reason="PySME is not installed")
    emulator = Emulator.load("atlas9")
    held = {"rows": {"odfnew": {"file": "atlas9.npz", "rows": [5545, 5546, 5547]}}}
    card = {k: v for k, v in emulator.card.items() if k not in ("format", "sha256")}
    save_model(tmp_path / "model.safetensors", emulator.network.tensors, {**card, "heldout": held})
    arguments = ["validate", "spectra", "--model", "model.safetensors", "--out"]
    run = subprocess.Popen([*COMMAND, *arguments, "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)  # fmt: skip
    jobs = tmp_path / "killed" / "jobs"
    while not list(jobs.glob("*.json")) and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    kept = {path: path.stat().st_mtime_ns for path in jobs.glob("*.json")}
    assert 0 < len(kept) < 3
    for out in ("killed", "whole"):
        subprocess.run([*COMMAND, *arguments, out], cwd=tmp_path, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    killed, whole = (json.loads((tmp_path / out / "spectra.json").read_text())["stars"] for out in ("killed", "whole"))
    assert len(killed) == 3
    for a, b in zip(killed, whole, strict=True):
        assert a["pinn"]["rms"] == pytest.approx(b["pinn"]["rms"], rel=1e-9)

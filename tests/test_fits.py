"""The comparison of fits: which stars, and what is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

from sme_pinn_atmo.emulator import Emulator
from sme_pinn_atmo.grids import Structures
from sme_pinn_atmo.validation import fits


def lattice() -> Structures:
    """ODFNEW-like nodes: 5 in Teff, 4 in log g, 3 in m_h; profiles without meaning."""
    grid = np.meshgrid(4500 + 250 * np.arange(5.0), 2 + 0.5 * np.arange(4), [-1.5, -1.0, 0.0], indexing="ij")
    labels = dict(zip(("teff", "logg", "m_h"), (v.ravel() for v in grid), strict=True))
    n = len(labels["teff"])
    labels["vturb"] = np.full(n, 2.0)
    depth = np.tile(np.linspace(-6.875, 2.0, 72), (n, 1))
    columns = {"family": np.full(n, "ODFNEW")}
    return Structures(labels, np.ones((n, 72, 6)), depth, np.full(n, 72), columns, "made up")


def test_only_nodes_held_out_and_inside_are_fitted() -> None:
    nodes = lattice()
    atlas9 = Emulator.load("atlas9")
    everything = {"rows": {"odfnew": {"file": "atlas9.npz", "rows": list(range(len(nodes)))}}}
    emulator = Emulator(atlas9.name, atlas9.network, atlas9.domain, {**atlas9.card, "heldout": everything})
    rows = fits.held_out_nodes(emulator, nodes)
    x = {k: nodes.labels[k][rows] for k in ("teff", "logg", "m_h")}
    assert sorted(zip(x["teff"], x["logg"], x["m_h"], strict=True)) == [
        (t, g, m) for t in (4750.0, 5000.0, 5250.0) for g in (2.5, 3.0) for m in (-1.0, 0.0)
    ]
    without = Emulator(atlas9.name, atlas9.network, atlas9.domain, {**atlas9.card, "heldout": {}})
    with pytest.raises(ValueError, match="no held-out rows"):
        fits.held_out_nodes(without, nodes)


def test_a_kink_is_found_and_curvature_is_not() -> None:
    x = np.linspace(0.0, 10.0, 401)
    smooth, kinked = (x - 4) ** 2, (x - 4) ** 2 + 0.3 * np.abs(x - 6.0)
    assert fits.largest_jump(x, smooth)[0] < 1e-9
    size, where = fits.largest_jump(x, kinked)
    assert size == pytest.approx(0.6, rel=0.01)
    assert where == pytest.approx(6.0, abs=0.03)


def record(method: str, off: float, failed: str | None = None) -> dict[str, Any]:
    truth = {"teff": 5000.0, "logg": 4.0, "monh": 0.0}
    fit = {"teff": 5000.0 + 100 * off, "logg": 4.0 + off, "monh": off} if failed is None else {}
    return {"part": "mock", "snr": 100.0, "method": method, "truth": truth, "fit": fit, "failed": failed,
            "error": dict.fromkeys(truth, 0.1), "iterations": 5, "syntheses": 17, "seconds": 2.0}  # fmt: skip


def test_the_summary_counts_failures_and_scatter() -> None:
    rows = fits.summarise([record("pinn", 0.1), record("pinn", -0.1), record("pysme", 0.3), record("pysme", 0, "no")])
    pinn, pysme = rows
    assert (pinn["stars"], pinn["failed"], pysme["stars"], pysme["failed"]) == (2, 0, 2, 1)
    assert pinn["teff"]["scatter"] == pytest.approx(10.0)
    assert pinn["logg"]["worst"] == pytest.approx(0.1)
    assert pysme["monh"]["mean"] == pytest.approx(0.3)


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no part 'moon'"):
        fits.main(["atlas9"], tmp_path, parts=["moon"])


def test_so_many_stars_at_each_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models, two ratios, three stars each, by both methods; what is done is not done again."""
    done: list[tuple[float, str, str]] = []

    def star(structures: Any, row: int, ratio: float, method: str, name: str, *_: Any) -> dict[str, Any]:
        done.append((ratio, method, name))
        return record(method, 0.0)

    monkeypatch.setattr(fits, "find", Path)
    monkeypatch.setattr(fits, "read", lambda _: lattice())
    monkeypatch.setattr(fits, "read_lines", lambda _: None)
    monkeypatch.setattr(fits, "_regular", lambda s: np.ones(len(s), bool))
    monkeypatch.setattr(fits, "write_pysme_grid", lambda *_, **__: None)
    monkeypatch.setattr(fits, "held_out_nodes", lambda *_: np.arange(10))
    monkeypatch.setattr(fits, "_mock_star", star)
    monkeypatch.setattr(fits, "_report", lambda out, results, models: out / f"{len(results)} of {len(models)}")
    arguments: dict[str, Any] = {"parts": ["mock"], "snr": [50.0, 60.0], "stars": 3, "progress": False}
    assert fits.main(["atlas9", "atlas12"], tmp_path, **arguments).name == "24 of 2"
    assert len(done) == 24
    assert {(ratio, name) for ratio, _, name in done} == {(r, m) for r in (50.0, 60.0) for m in ("atlas9", "atlas12")}
    fits.main(["atlas9"], tmp_path, **arguments)
    assert len(done) == 24

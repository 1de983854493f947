"""PySME's own parallel work, and PySME in many processes, on a PinnAtmosphereGrid."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pysme", reason="PySME is not installed")

import pysme.synthesize
from pysme.sme import SME_Structure
from pysme.solve import solve
from pysme.synthesize import Synthesizer, synthesize_spectrum

from sme_pinn_atmo import PinnAtmosphereGrid

from .test_pysme import DOCS, WAVE, star


@pytest.fixture(scope="module")
def grid() -> PinnAtmosphereGrid:
    return PinnAtmosphereGrid("atlas12")


@pytest.fixture(params=["fork", "spawn"])
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    """How this system's process pools, PySME's among them, start a process."""
    if request.param not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {request.param}")
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize(("method", "columns"), [
    ("almax", ["almax_ratio", "line_range_s", "line_range_e"]),
    ("cdr", ["central_depth", "line_range_s", "line_range_e"]),
])  # fmt: skip
def test_lines_selected_in_parallel(
    grid: PinnAtmosphereGrid, monkeypatch: pytest.MonkeyPatch, start_method: str, method: str, columns: list[str]
) -> None:
    """Chunks of the line list in worker processes, each with the star's own atmosphere: PySME's one parallel part."""
    pools: list[int] = []
    pqdm = pysme.synthesize.pqdm

    def counted(work: Any, *args: Any, **kwargs: Any) -> Any:
        pools.append(len(work))
        result = pqdm(work, *args, **kwargs)
        errors = [r for r in result if isinstance(r, BaseException)]
        assert not errors
        return result

    monkeypatch.setattr(pysme.synthesize, "pqdm", counted)
    tables = []
    for parallel in (False, True):
        sme = star(grid, teff=5200.0, vmic=1.4)
        sme.line_select_method = method
        Synthesizer().__getattribute__(f"update_{method}")(sme, chunk_size=6, parallel=parallel, n_jobs=2)
        tables.append(np.array([np.asarray(sme.linelist[c], dtype=float) for c in columns]))
        assert np.isfinite(tables[-1]).all()
    assert pools == [int(np.ceil(len(sme.linelist) / 6))]
    assert pools[0] > 1
    # PySME's results depend that much on what its library has computed before.
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-3, atol=1e-3)


def test_a_spectrum_with_lines_selected_in_parallel(grid: PinnAtmosphereGrid) -> None:
    plain = np.array(synthesize_spectrum(star(grid)).synth[0])
    sme = star(grid)
    sme.line_select_method, sme.line_select_parallel = "almax", True
    sme.line_select_n_jobs, sme.line_select_chunk_size = 2, 6
    sme = synthesize_spectrum(sme, linelist_mode="dynamic")
    assert sme.atmo.source is grid
    np.testing.assert_allclose(sme.synth[0], plain, atol=2e-3)


def fitted(sme: SME_Structure) -> tuple[float, str]:
    sme = solve(sme, ["teff"])
    return float(sme.teff), str(sme.atmo.source)


def observed(grid: PinnAtmosphereGrid) -> list[SME_Structure]:
    flux = np.array(synthesize_spectrum(star(grid)).synth[0])
    stars = [star(grid, teff=t) for t in (5650.0, 5850.0)]
    for sme in stars:
        sme.spec, sme.uncs = flux, np.full(len(WAVE), 0.01)
    return stars


def test_fits_in_a_pool_of_processes(grid: PinnAtmosphereGrid, start_method: str) -> None:
    with ProcessPoolExecutor(1) as pool:
        for teff, source in pool.map(fitted, observed(grid), timeout=240):
            assert abs(teff - 5777.0) < 1.0
            assert source == str(grid)


def test_the_recipe_of_the_docs(grid: PinnAtmosphereGrid) -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    (recipe,) = [e for e in examples if "ProcessPoolExecutor" in e]
    stars = observed(grid)
    for sme in stars:
        sme.logg, sme.monh = 4.3, -0.05
    names: dict[str, Any] = {"stars": stars, "solve": solve}
    exec(recipe, names)
    for sme in names["fits"]:
        assert abs(sme.teff - 5777.0) < 2.0
        assert abs(sme.logg - 4.44) < 0.01


def test_fits_in_joblib(grid: PinnAtmosphereGrid) -> None:
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    for teff, source in joblib.Parallel(n_jobs=2)(joblib.delayed(fitted)(sme) for sme in observed(grid)):
        assert abs(teff - 5777.0) < 1.0
        assert source == str(grid)

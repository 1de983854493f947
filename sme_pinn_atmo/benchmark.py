"""Speed: the emulator beside this machine's own rates and beside what a user would pick instead, in one run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .emulator import Emulator
from .files import replacing

__all__ = ["dask_rates", "format_rows", "plot", "run"]

Array = NDArray[np.float64]


def measure(function: Callable[[], Any], *, seconds: float = 0.5, batches: int = 9) -> dict[str, float]:
    """Median, best and spread (16th to 84th percentile) of the time of a call [s], after a warm-up."""
    start = time.perf_counter()
    calls = 0
    while time.perf_counter() - start < 0.1 or calls < 2:
        function()
        calls += 1
    number = max(1, int(seconds / batches / ((time.perf_counter() - start) / calls)))
    times = []
    for _ in range(batches):
        start = time.perf_counter()
        for _ in range(number):
            function()
        times.append((time.perf_counter() - start) / number)
    low, median, high = np.percentile(times, [16, 50, 84])
    return {"median": float(median), "best": float(min(times)), "low": float(low), "high": float(high)}


def multiply_adds(emulator: Emulator) -> int:
    """Multiply-adds of matrix products in one forward pass: branch, trunk and the two integrals."""
    w = emulator.network.tensors
    n_depth = len(emulator.tau_ross)
    branch = w["w_in"].size + w["w"].size + w["w_out"].size
    return int(branch + w["basis"].size + 2 * n_depth**2)


def run(model: str = "atlas12", *, batch: int = 10_000) -> dict[str, Any]:
    """All measurements, with machine and versions; rows that lack what they need say why."""
    emulator = Emulator.load(model)
    network, domain = emulator.network, emulator.domain
    one: dict[str, Any] = {"teff": 5777.0, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0}
    x = domain.resolve(one)
    stars = domain.sample(batch, 0)
    many: dict[str, Any] = {n: stars[:, j] for j, n in enumerate(domain.labels)}
    fields = ("temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure")
    operations = multiply_adds(emulator)
    weights = int(sum(v.size for v in network.tensors.values()))

    matrix_rate = _matrix_product_rate()
    small_rate = _matrix_vector_rate(network.tensors["w"].shape[1])
    rows: dict[str, Any] = {}
    rows["predict, one star"] = measure(lambda: emulator.predict(**one))
    if emulator.errors is not None:
        rows["predict with return_std, one star"] = measure(lambda: emulator.predict(**one, return_std=True))
    rows["kernels, one star"] = measure(lambda: network.log_profiles(x))
    rows["jacobian, one star"] = measure(lambda: emulator.jacobian(**one, fields=fields))
    rows[f"predict, {batch} stars"] = measure(lambda: emulator.predict(**many, on_outside="nan"), seconds=2.0,
                                               batches=5)
    rows["load"] = measure(lambda: Emulator.load(model))
    rows["import, beyond numpy and astropy.constants"] = _import_time()
    sizes = {n: _per_star(emulator, n) for n in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)}
    depths = {n: _at_depths(emulator, one, n) for n in (10, 30, 100, 300, 1000)}
    others = _instead(emulator)
    predict = rows["predict, one star"]["median"]
    batch_time = rows[f"predict, {batch} stars"]["median"]
    pysme = others["PySME interpolation in a grid of ATLAS9 nodes"].get("median")
    return {
        "command": f"sme-pinn-atmo benchmark --model {model}",
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform(),
                    "threads": os.environ.get("OMP_NUM_THREADS", "default")},
        "versions": {"sme_pinn_atmo": __version__, "python": sys.version.split()[0], "numpy": np.__version__},
        "model": {"name": model, "multiply_adds": operations, "weights": weights},
        "rates": {"matrix product [multiply-adds/s]": matrix_rate, "matrix times vector [multiply-adds/s]": small_rate},
        "times [s]": rows,
        "where the time goes, one star [s]": _parts(emulator, one),
        f"where the time goes, {_PART} stars in a block [s]": _parts(emulator, {k: v[:_PART] for k, v in many.items()}),
        "bytes": {"weights": 8 * weights,
                  "profiles of a star": 8 * 7 * len(emulator.tau_ross)},
        "time per star against batch size [s]": sizes,
        "time against depth points, one star [s]": depths,
        "instead [s]": others,
        "ratios": {
            "kernels / floor of the same multiply-adds, matrix times vector":
                rows["kernels, one star"]["median"] * small_rate / operations,
            "jacobian / predict": rows["jacobian, one star"]["median"] / predict,
            "return_std / predict": rows["predict with return_std, one star"]["median"] / predict
            if emulator.errors is not None else None,
            "batch: stars per second": batch / batch_time,
            "batch: share of the matrix-product rate": batch * operations / batch_time / matrix_rate,
            "PySME interpolation / predict": None if pysme is None else pysme / predict,
        },
    }  # fmt: skip


def _instead(emulator: Emulator) -> dict[str, Any]:
    """Times of what else a user could take [s], by name; those that lack what they need say what."""
    found: dict[str, Any] = {}
    for name, function in (
        ("PySME interpolation in a grid of ATLAS9 nodes", _pysme),
        ("scipy RegularGridInterpolator", _regular_grid),
        ("the paper's network in torch, [1024, 512, 256] at 80 depths", _paper_network),
    ):
        try:
            found[name] = function(emulator)
        except (ModuleNotFoundError, FileNotFoundError) as error:
            found[name] = {"skipped": str(error)}
    return found


#: Stars of a block whose parts are measured.
_PART = 512


def _parts(emulator: Emulator, labels: dict[str, Any]) -> dict[str, float]:
    """Median times of the steps of a prediction, each measured on its own."""
    network = emulator.network
    x = emulator.domain.resolve(labels, "nan")
    h = network._branch(x)
    with np.errstate(all="ignore"):  # a star in a corner may have no structure
        profiles = network._fields(x, h)[0]
        q = profiles[..., :6, :]
        steps: dict[str, Callable[[], Any]] = {
            "labels checked and stacked": lambda: emulator.domain.resolve(labels, "nan"),
            "branch: matrix products and their activations": lambda: network._branch(x),
            "coefficients, profiles on depths, integrals, their exponentials and logarithms":
                lambda: network._fields(x, h),
            "(of that, exponentials and logarithms alone)": lambda: (np.exp(q[..., :4, :]), np.log(q[..., :4, :])),
            "exponentials of the result": lambda: np.exp(profiles),
            "the atmosphere as an object": lambda: emulator._atmosphere(x, x, profiles, None),
        }  # fmt: skip
        return {name: measure(step, seconds=0.2, batches=5)["median"] for name, step in steps.items()}


def format_rows(result: dict[str, Any]) -> str:
    """The result for people."""
    machine = result["machine"]
    out = [f"{machine['processor']}, {machine['cores']} cores, OMP_NUM_THREADS {machine['threads']}; "
           f"numpy {result['versions']['numpy']}; model {result['model']['name']}: "
           f"{result['model']['multiply_adds']} multiply-adds a star"]  # fmt: skip
    for title in ("times [s]", "instead [s]"):
        out += ["", f"{title[:-4]}: median (16th to 84th percentile)"]
        for name, t in result[title].items():
            text = t.get("skipped") or f"{_time(t['median'])} ({_time(t['low'])} to {_time(t['high'])})"
            for field, (median, p95) in t.get("error [%], median and p95", {}).items():
                text += f"; {field.replace('_', ' ')} off by {median:.2f} / {p95:.1f} %"
            out.append(f"  {name:62} {text}")
    out += ["", "ratios"]
    out += [f"  {k:70} {'-' if v is None else f'{v:.4g}'}" for k, v in result["ratios"].items()]
    for title in (t for t in result if t.startswith("where the time goes")):
        total = sum(t for k, t in result[title].items() if not k.startswith("("))
        out += ["", title[:-4] + ": median, share of their sum"]
        out += [f"  {k:62} {_time(t)}, {100 * t / total:.0f} %" for k, t in result[title].items()]
    for title in ("time per star against batch size [s]", "time against depth points, one star [s]"):
        out += ["", title[:-4], "  " + ", ".join(f"{n}: {_time(t)}" for n, t in result[title].items())]
    return "\n".join(out)


def _time(seconds: float) -> str:
    scale, unit = (1.0, "s") if seconds >= 1 else (1e-3, "ms") if seconds >= 1e-3 else (1e-6, "us")
    return f"{seconds / scale:.3g} {unit}"


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _matrix_product_rate() -> float:
    a, b = (np.random.default_rng(i).random((1024, 1024)) for i in (0, 1))
    return 1024**3 / measure(lambda: a @ b)["median"]


def _matrix_vector_rate(width: int) -> float:
    """Rate of a chain of matrix-vector products of the branch's own size: the floor of one star."""
    a = [np.random.default_rng(i).random((width, width)) / width for i in range(4)]

    def chain() -> Array:
        v = np.ones(width)
        for m in a:
            v = v @ m
        return v

    return 4 * width**2 / measure(chain)["median"]


def _per_star(emulator: Emulator, n: int) -> float:
    """Time per star of a batch of n; a million goes through in ten parts, as no one holds their profiles at once."""
    part = min(n, 100_000)
    stars = emulator.domain.sample(part, 1)
    labels: dict[str, Any] = {name: stars[:, j] for j, name in enumerate(emulator.domain.labels)}

    def batch() -> None:
        for _ in range(n // part):
            emulator.predict(**labels, on_outside="nan")

    if n > part:
        start = time.perf_counter()
        batch()
        return (time.perf_counter() - start) / n
    return measure(batch, seconds=0.3, batches=3)["median"] / n


def dask_rates(model: str = "atlas12", workers: tuple[int, ...] = (1, 2), stars: int = 200_000) -> dict[int, float]:
    """Stars a second of a local Dask cluster with so many worker processes of one thread, by number of workers.

    Needs dask and distributed.
    """
    import dask.array as da
    from distributed import Client, LocalCluster

    emulator = Emulator.load(model)
    x = emulator.domain.sample(stars, 1)
    depth = len(emulator.tau_ross)
    rates = {}
    for n in workers:
        cluster = LocalCluster(n_workers=n, threads_per_worker=1, processes=True, dashboard_address=None)
        with cluster, Client(cluster) as client:
            blocks = da.from_array(x, chunks=(5000, x.shape[1])).map_blocks(
                _temperature, model, dtype=np.float32, chunks=((5000,) * (stars // 5000), (depth,))
            )
            client.run(Emulator.load, model)
            start = time.perf_counter()
            # The sum comes back, not the profiles: the work is that of the workers.
            float(blocks.sum().compute())
            rates[n] = stars / (time.perf_counter() - start)
    return rates


def _temperature(x: Array, model: str) -> Array:
    emulator = Emulator.load(model)
    labels: dict[str, Any] = {name: x[:, j] for j, name in enumerate(emulator.domain.labels)}
    return np.asarray(np.nan_to_num(emulator.predict(**labels, on_outside="nan").temperature.astype(np.float32)))


def plot(result: dict[str, Any], path: Path) -> None:
    """Time per star against batch size, and time of one star against depth points, log-log with their slopes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, key, label in zip(
        figure.subplots(1, 2), ("time per star against batch size [s]", "time against depth points, one star [s]"),
        ("stars in a batch", "depth points"), strict=True,
    ):  # fmt: skip
        n = np.array([int(k) for k in result[key]])
        t = np.array(list(result[key].values()))
        slope = np.polyfit(np.log(n), np.log(t), 1)[0]
        axis.loglog(n, 1e6 * t, "o-", label=f"mean slope {slope:.2f}")
        axis.set(xlabel=label, ylabel="time of a star [µs]")
        axis.grid(alpha=0.3, which="both")
        axis.legend()
    with replacing(path) as (part,):
        figure.savefig(part, dpi=110, format="png")


def _at_depths(emulator: Emulator, one: dict[str, Any], n: int) -> float:
    tau = np.geomspace(emulator.tau_ross[0], emulator.tau_ross[-1], n)
    return measure(lambda: emulator.predict(**one, tau_ross=tau), seconds=0.2, batches=3)["median"]


def _import_time() -> dict[str, float]:
    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    base = "import numpy, astropy.constants"
    seconds(base + ", sme_pinn_atmo")
    times = [seconds(base + ", sme_pinn_atmo") - seconds(base) for _ in range(7)]
    low, median, high = np.percentile(times, [16, 50, 84])
    return {"median": float(median), "best": float(min(times)), "low": float(low), "high": float(high)}


def _pysme(emulator: Emulator) -> dict[str, float]:
    """PySME's own interpolation among the ODFNEW nodes at vturb 2 of `atlas9.npz`."""
    from pysme.atmosphere.atmosphere import AtmosphereGrid
    from pysme.atmosphere.interpolation import AtmosphereInterpolator

    from .grids import read, write_pysme_grid
    from .sources import find

    models = read(find("atlas9.npz"))
    rows = (models.column("family") == "ODFNEW") & (models.labels["vturb"] == 2) & (models.n_depth == 72)
    with tempfile.TemporaryDirectory() as folder:
        write_pysme_grid(Path(folder) / "grid.npz", models.select(rows), solar_scale="grevesse1998")
        grid = AtmosphereGrid.load(str(Path(folder) / "grid.npz"))
    interpolator = AtmosphereInterpolator(depth="RHOX", interp="TAU", geom="PP")
    return measure(lambda: interpolator.interp_atmo_grid(grid, 5777.0, 4.44, 0.1), seconds=2.0)


def _regular_grid(emulator: Emulator) -> dict[str, Any]:
    """Linear interpolation on fixed depths in a regular grid of labels as fine as ATLAS grids around the Sun."""
    from scipy.interpolate import RegularGridInterpolator

    axes = (np.arange(5000.0, 6501.0, 250.0), np.arange(3.5, 5.01, 0.5), np.arange(-1.0, 0.51, 0.5))
    teff, logg, m_h = np.meshgrid(*axes, indexing="ij")
    atm = emulator.predict(teff=teff, logg=logg, m_h=m_h)
    values = np.log(np.stack([atm.rhox, atm.temperature, atm.gas_pressure, atm.electron_density], axis=-1))
    interpolator = RegularGridInterpolator(axes, values)
    # What linear interpolation alone loses: against the model that filled the grid.
    x = np.random.default_rng(0).uniform([a[0] for a in axes], [a[-1] for a in axes], (500, 3))
    there = emulator.predict(teff=x[:, 0], logg=x[:, 1], m_h=x[:, 2])
    error = {}
    for j, name in ((1, "temperature"), (2, "gas_pressure")):
        off = 100 * np.abs(np.exp(interpolator(x)[..., j]) / getattr(there, name) - 1)
        error[name] = [float(np.median(off)), float(np.percentile(off, 95))]
    times = measure(lambda: np.exp(interpolator([[5777.0, 4.44, 0.1]])))
    return {**times, "error [%], median and p95": error}


def _paper_network(emulator: Emulator) -> dict[str, float]:
    """The paper's network with random weights: labels and depth encoded, concatenated, at each of 80 depths."""
    import torch

    torch.manual_seed(0)
    layers: list[Any] = []
    for n_in, n_out in ((512, 1024), (1024, 512), (512, 256)):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.GELU()]
    trunk = torch.nn.Sequential(*layers, torch.nn.Linear(256, 6))
    label, depth = torch.nn.Linear(4, 256), torch.nn.Linear(1, 256)
    labels, tau = torch.randn(1, 4), torch.linspace(-7, 2, 80)[:, None]

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def forward() -> Any:
        return trunk(torch.cat([label(labels).expand(80, -1), depth(tau)], dim=-1))

    return measure(forward)

"""One golden file for all who compute the network: labels, ln profiles and derivatives, as `julia_export.write_golden`
writes them. Here NumPy and torch read it; tests/test_explorer.py has JavaScript read it, julia_bridge/test Julia."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.codes.julia_export import write_golden
from sme_pinn_atmo.emulator import models

N = 24


def read_golden(path: Path) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
    """Depths (n_tau,), and of each star labels, ln profiles, their Jacobian, ln profiles at the depths."""
    head, _, data = path.read_bytes().partition(b"\n")
    n, n_label, n_field, n_depth, n_tau = map(int, head.split())
    numbers = np.frombuffer(data, "<f8")
    shapes = ((n_label,), (n_field, n_depth), (n_field, n_depth, n_label), (n_field, n_tau))
    sizes = [int(np.prod(shape)) for shape in shapes]
    stars = numbers[n_tau:].reshape(n, sum(sizes))
    parts = (np.split(star, np.cumsum(sizes)[:-1]) for star in stars)
    return numbers[:n_tau], [tuple(p.reshape(s) for p, s in zip(part, shapes, strict=True)) for part in parts]


@pytest.mark.parametrize("name", [n for n, p in models().items() if p.parent.parent.name == "sme_pinn_atmo"])
def test_torch_and_numpy_give_what_the_golden_file_has(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch (the extra `train`)")
    emulator = Emulator.load(name)
    write_golden(emulator, tmp_path / "golden.bin", n=N)
    tau, stars = read_golden(tmp_path / "golden.bin")
    assert len(stars) == N
    module = emulator.torch_module()
    span = np.subtract(emulator.domain.upper, emulator.domain.lower)
    for k, (x, value, jacobian, there) in enumerate(stars):
        np.testing.assert_allclose(emulator.network.log_profiles(x), value, atol=1e-10)
        np.testing.assert_allclose(emulator.network.log_profiles(x, tau), there, atol=1e-10)
        with torch.no_grad():
            np.testing.assert_allclose(module(torch.tensor(x)).numpy(), value, atol=1e-10)
        if k % 4 == 0:
            mine = np.stack([forward_derivative(torch, module, x, j) for j in range(len(x))], axis=-1)
            assert np.abs((mine - jacobian) * span).max() < 1e-8 * max(1.0, np.abs(jacobian * span).max())


def forward_derivative(torch: Any, module: Any, x: np.ndarray, j: int) -> np.ndarray:
    """d module / d x_j by torch's own forward mode."""
    forward = torch.autograd.forward_ad
    with forward.dual_level():
        out = module(forward.make_dual(torch.tensor(x), torch.eye(len(x), dtype=torch.float64)[j]))
        return np.asarray(forward.unpack_dual(out).tangent.detach().numpy())

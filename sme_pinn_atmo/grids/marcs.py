"""MARCS models in the `.mod` format of marcs.oreme.org, plane-parallel and spherical."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from astropy.constants import L_sun
from scipy.constants import Stefan_Boltzmann

from ..codes.continuum import tau_5000
from ..composition import ALPHA_ELEMENTS, ATOMIC_NUMBER, SOLAR_SCALES
from ..files import write_atomically
from ..physics import ATOMIC_MASS, BOLTZMANN, integration_matrix
from ..structure import ModelAtmosphere
from .structures import GridFileError, Structures, require_physical

__all__ = ["MARCS_LOG_TAU", "read_marcs", "write_marcs"]

#: The 56 depths of MARCS models, log10 tau_Ross: -5 to -3 by 0.2, to 1 by 0.1, to 2 by 0.2.
MARCS_LOG_TAU = np.round(np.concatenate([np.arange(-5, -2.95, 0.2), np.arange(-2.9, 1.05, 0.1),
                                         np.arange(1.2, 2.05, 0.2)]), 2)  # fmt: skip

#: What `write_marcs` says in the head of a file of its own.
_OWN = "By a neural network, not a MARCS model"


def read_marcs(path: str | Path) -> Structures:
    """The model of a MARCS `.mod` file, or a gzipped one (`.mod.gz`); Gustafsson et al. 2008, A&A 486, 951.

    **RHOX is not the column of that name**, which is off by 1 to 7 per cent: in files of the standard class it is a
    coarse sum, in spherical ones P/g. It is made here from what the file has besides, so that the model's own equations
    hold:

    - plane-parallel: (Pg + Pturb + Prad - Prad of the first layer) / g, hydrostatic equilibrium;
    - spherical: the integral of d tau_Ross / kappa_Ross, a cubic spline in ln tau, from (Pg + Pturb) / g(r) in the
      first layer, g(r) = g (R / r)^2, r = R - depth.

    Files of `write_marcs` hold the network's own RHOX, which is taken as printed. The electron density is Pe / kT, the
    radiative acceleration the gradient of Prad over RHOX.

    `extra` has `geometry` ("p" or "s"), `radius` [cm] where tau_Ross = 1 (1 if plane-parallel), `mass` [Msun] (0 if
    plane-parallel), `composition_class`, `c_fe`, `n_fe`, `o_fe` [dex] (NaN where the first line does not say) and
    `title`. `more` has `log_tau_5000`, `depth_cm` [cm] below tau_Ross = 1, `p_turb`, `p_rad` [dyn cm-2] and `density`
    [g cm-3]. m_h and alpha_m are on the MARCS solar scale (Grevesse et al. 2007).

    Raises
    ------
    GridFileError : not a MARCS model, or a truncated one; names the line
    """
    path = Path(path)
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise GridFileError(f"{path} is no gzip file, or a broken one: {error}") from None
    return parse_marcs(path, content.decode("latin-1").splitlines())


def parse_marcs(path: Path, lines: list[str]) -> Structures:
    """`read_marcs` of the lines of a file; `path` is for errors."""
    start = next((i for i, line in enumerate(lines) if line.startswith("Model structure")), None)
    if start is None:
        raise GridFileError(f"{path} is not a MARCS model: no line 'Model structure' in {len(lines)} lines")

    def header(word: str, position: int = 0) -> float:
        for i, line in enumerate(lines[:start]):
            if word in line:
                numbers = re.findall(r"[-+]?\d+\.?\d*(?:E[-+]\d+)?", line.split(word)[0])
                if position < len(numbers):
                    return float(numbers[position])
                raise GridFileError(f"{path}, line {i + 1}: no number before {word!r}: {line!r}")
        raise GridFileError(f"{path} has no line with {word!r} before 'Model structure'")

    depths = header("Number of depth points")
    if not 2 <= depths < 1e6:
        raise GridFileError(f"{path}: a model of {depths:g} layers")
    n = int(depths)
    first = _table(path, lines, start + 1, n, 9)
    second_start = start + 2 + n
    if second_start >= len(lines) or "KappaRoss" not in lines[second_start]:
        raise GridFileError(f"{path}, line {second_start + 1}: the table with KappaRoss and RHOX is missing")
    second = _table(path, lines, second_start, n, 8)
    log_tau, log_5000, depth, temperature, p_e, p_gas, p_rad, p_turb = first[:, 1:9].T
    kappa, density = second[:, 2], second[:, 3]
    spherical = not any("1 cm radius" in line for line in lines[:start])
    radius = header("Radius") if spherical else 1.0
    with np.errstate(all="ignore"):  # what is wrong is told by `require_physical`
        gravity = header("Surface gravity")
        logg = round(float(np.log10(gravity)), 4)
        if _OWN in "".join(lines[:start]):
            rhox = second[:, 7]
        elif spherical:
            at_top = gravity * (radius / (radius - depth[0])) ** 2
            steps = integration_matrix(np.log(10.0) * log_tau) if (np.diff(log_tau) > 0).all() else np.nan * np.eye(n)
            rhox = (p_gas + p_turb)[0] / at_top + steps @ (10.0**log_tau / kappa)
        else:
            rhox = (p_gas + p_turb + p_rad - p_rad[0]) / gravity
        n_e = p_e / (BOLTZMANN * temperature)
        acceleration = np.gradient(p_rad, rhox)
    profiles = np.stack([rhox, temperature, p_gas, n_e, kappa, acceleration], axis=-1)
    labels = {
        "teff": header("Teff [K]"), "logg": logg,
        "m_h": header("Metallicity", 0), "alpha_m": header("Metallicity", 1), "vturb": header("Microturbulence"),
    }  # fmt: skip
    require_physical(path, labels, profiles, log_tau)
    title = lines[0].strip()
    extra: dict[str, Any] = {
        "geometry": "s" if spherical else "p", "radius": radius,
        "mass": header("Mass [Msun]") if spherical else 0.0,
        "composition_class": m[1] if (m := re.search(r"_t\d\d_([a-z][a-z0-9])_z", title)) else "",
        **{f"{k}_fe": float(m[1]) if (m := re.search(rf"_{k}([-+]\d\.\d\d)", title)) else np.nan for k in "cno"},
        "title": title,
    }  # fmt: skip
    more = {"log_tau_5000": log_5000, "depth_cm": depth, "p_turb": p_turb, "p_rad": p_rad, "density": density}
    return Structures(
        {k: np.array([v]) for k, v in labels.items()}, profiles[None], log_tau[None], np.array([n]),
        {k: np.array([v]) for k, v in extra.items()}, str(path), {k: v[None] for k, v in more.items()},
    )  # fmt: skip


def write_marcs(path: str | Path, atmosphere: ModelAtmosphere) -> None:
    """Write one atmosphere as a `.mod` file that `read_marcs` and Korg's `read_model_atmosphere` take.

    The format gives log tau_Ross with two decimals: predict at 10**`MARCS_LOG_TAU` for depths that they hold exactly.
    Its tau(5000 A) is the continuum of `continuum.tau_5000`; its density counts atoms only; its convection columns are
    zero; abundances that the solar scale leaves out are -99.

    Raises ValueError for more than one star.
    """
    if atmosphere.shape:
        raise ValueError(f"a .mod file holds one star, not a batch of shape {atmosphere.shape}")
    get = {k: float(v) for k, v in atmosphere.labels.items()}
    m_h, alpha_m = get.get("m_h", 0.0), get.get("alpha_m", 0.0)
    t, m, density = atmosphere.temperature, atmosphere.rhox, atmosphere.density
    electrons = atmosphere.electron_density * BOLTZMANN * t
    log_tau, log_5000 = np.log10(atmosphere.tau_ross), np.log10(tau_5000(atmosphere))
    # Depth from dz = dm / rho, zero where tau_Ross = 1; radiation pressure from dP_rad = a dm, zero at m = 0.
    z = np.concatenate([[0.0], np.cumsum(np.diff(m) * 0.5 * (1 / density[1:] + 1 / density[:-1]))])
    z -= np.interp(0.0, log_tau, z)
    sphere = atmosphere.geometry == "sphere"
    if sphere:
        z = -atmosphere.height
    a = atmosphere.radiative_acceleration
    radiation = a[0] * m[0] + np.concatenate([[0.0], np.cumsum(np.diff(m) * 0.5 * (a[1:] + a[:-1]))])
    weight = atmosphere.density / atmosphere.atom_density / ATOMIC_MASS
    solar = SOLAR_SCALES[atmosphere.solar_scale]
    abundance = {z_: solar[el] + (m_h if z_ > 2 else 0.0) + (alpha_m if el in ALPHA_ELEMENTS else 0.0)
                 for el, z_ in ATOMIC_NUMBER.items()}  # fmt: skip
    numbers = [f"{abundance.get(i, -99.0):7.2f}" for i in range(1, 93)]
    out = [
        f"sme_pinn_atmo {atmosphere.source}"[:72],
        f"{get['teff']:7.0f}.      Teff [K].         {_OWN}",
        f"{1e3 * Stefan_Boltzmann * get['teff'] ** 4:12.4E} Flux [erg/cm2/s]",
        f"{10.0 ** get['logg']:12.4E} Surface gravity [cm/s2]",
        f"{get.get('vturb', 0.0):5.1f}        Microturbulence parameter [km/s]",
        f"{get['mass']:12.4E} Mass [Msun]" if sphere else "  0.0        No mass for plane-parallel models",
        f" {m_h:+.2f} {alpha_m:+.2f} Metallicity [Fe/H] and [alpha/Fe]",
        *_size(atmosphere),
        "  0.00 0.00 0.000 0.00 are the convection parameters: alpha, nu, y and beta",
        "  0.00000 0.00000 0.00E+00 are X, Y and Z, not given",
        "Logarithmic chemical number abundances, H always 12.00",
        *("".join(numbers[i : i + 10]) for i in range(0, 92, 10)),
        f"{len(m):4d} Number of depth points",
        "Model structure",
        " k lgTauR  lgTau5    Depth     T        Pe          Pg         Prad       Pturb",
    ]
    rows = zip(log_tau, log_5000, z, t, electrons, atmosphere.gas_pressure, radiation, strict=True)
    for i, (tau, tau5, depth, temperature, pe, pg, pr) in enumerate(rows, start=1):
        out.append(f"{i:3d} {tau:5.2f} {tau5:7.4f} {depth:10.3E} {temperature:7.1f}  {pe:10.4E}  {pg:10.4E}  {pr:10.4E}"
                   "  0.0000E+00")  # fmt: skip
    out.append(" k lgTauR    KappaRoss   Density   Mu      Vconv   Fconv/F      RHOX")
    for i, (tau, kappa, rho, mu, mass) in enumerate(
        zip(log_tau, atmosphere.opacity, density, weight, m, strict=True), start=1
    ):
        out.append(f"{i:3d} {tau:5.2f}  {kappa:10.4E}  {rho:10.4E} {mu:5.3f}  0.000E+00 0.00000  {mass:12.6E}")
    write_atomically(Path(path), ("\n".join(out) + "\n").encode())


def _size(atmosphere: ModelAtmosphere) -> list[str]:
    """The lines of radius and luminosity."""
    if atmosphere.geometry == "plane":
        return ["  1.0000E+00 1 cm radius for plane-parallel models",
                "  0.0000E+00 Luminosity [Lsun] FOR A RADIUS OF 1 cm!"]  # fmt: skip
    radius, teff = float(atmosphere.radius), float(atmosphere.labels["teff"])
    luminosity = 4e3 * np.pi * radius**2 * Stefan_Boltzmann * teff**4 / L_sun.cgs.value
    return [f"{radius:12.4E} Radius [cm] at Tau(Rosseland)=1.0", f"{luminosity:12.4E} Luminosity [Lsun]"]


def _table(path: Path, lines: list[str], start: int, n: int, columns: int) -> np.ndarray:
    """n rows of at least `columns` numbers below the column names in line `start`."""
    rows: list[list[float]] = []
    for i in range(start + 1, start + 1 + n):
        if i >= len(lines):
            raise GridFileError(f"{path} ends at line {len(lines)}, before layer {len(rows) + 1} of {n}")
        # Negative numbers may touch their neighbours.
        numbers = re.findall(r"[-+]?(?:\d+\.\d*(?:E[-+]\d+)?|\d+)", lines[i])
        if len(numbers) < columns or float(numbers[0]) != len(rows) + 1:
            raise GridFileError(f"{path}, line {i + 1}: layer {len(rows) + 1} expected, not {lines[i][:60]!r}")
        rows.append([float(v) for v in numbers[:columns]])
    return np.array(rows)

"""PinnAtmosphereGrid: an atmosphere source for PySME, and what makes a running PySME accept it.

PySME has no plug-in point for atmosphere sources, so a few of its methods are wrapped when this module is imported
(see `register`). Each wrapper looks at the atmosphere's source first, and leaves every source that is not a
`PinnAtmosphereGrid` to PySME's own method.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import numpy as np
from numpy.typing import NDArray

from ..composition import SOLAR_SCALES, misfit, warn_of_misfit
from ..emulator import Emulator
from ..emulator.labels import DomainError, as_planes
from ..structure import ModelAtmosphere
from .continuum import tau_5000

try:
    import pysme
    from pysme.abund import Abund
    from pysme.atmosphere.atmosphere import Atmosphere, AtmosphereError, AtmosphereGrid
    from pysme.solve import SME_Solver
    from pysme.synthesize import Synthesizer
except ImportError as error:
    if (error.name or "").split(".")[0] != "pysme":
        raise
    # A package without one of these classes is as good as none: the message says what is needed.
    raise type(error)("PinnAtmosphereGrid needs PySME: pip install 'pysme-astro>=1.0,<1.3'", name=error.name) from None

__all__ = ["OutsideDomainError", "PinnAtmosphereGrid", "star_labels"]

#: Versions of PySME that this module is tested with: from the first on, and below the second.
_SUPPORTED = (1, 0), (1, 3)

#: What a source saved in a file starts with.
_SCHEME = "pinn:"

#: Electron donors among the alpha elements, which is how these elements act on the structure of a cool star.
_ALPHA_DONORS = ("Mg", "Si", "Ca", "Ti")


class OutsideDomainError(DomainError, AtmosphereError):
    """The star's labels lie outside the domain; to PySME's solver, a step that it does not take."""


class PinnAtmosphereGrid(AtmosphereGrid):
    """An atmosphere grid for PySME whose atmospheres come from a `Emulator`, at any labels in its domain.

    `sme.atmo.source, sme.atmo.method = PinnAtmosphereGrid("atlas12"), "grid"` is all there is to do.

    Parameters
    ----------
    model : a packaged model's name or a path to its weights
    vturb : microturbulence of the structure [km/s]; None takes the star's `sme.vmic`
    alpha_m : [alpha/M] of the structure; None takes it from the star's abundances, see `star_labels`
    follow_abundances : False takes m_h = `sme.monh` and alpha_m = 0 (or the given one), whatever the abundances
    mass : [Msun] of a model that has a mass; None takes the model's default, 1
    geometry : "sphere" or "plane" of a model that has a mass; None: a sphere up to log g 3, as MARCS has it

    As an `AtmosphereGrid` it also is a table: a coarse lattice of nodes with `teff`, `logg`, `monh` and the
    profiles there (single precision, at the default vturb and alpha_m = 0), with `len` and indexing. Synthesis
    never uses that table. `str` gives the name that stands for the grid in saved files, from which
    `from_source` makes it again.

    Raises
    ------
    ValueError : unknown model, values of vturb, alpha_m or mass outside its domain, another geometry, or a sphere of a
        model without a mass
    TypeError : a mass of a model without one
    """

    def __new__(
        cls, model: str = "atlas12", *, vturb: float | None = None, alpha_m: float | None = None,
        follow_abundances: bool = True, mass: float | None = None, geometry: str | None = None,
    ) -> PinnAtmosphereGrid:  # fmt: skip
        emulator = _emulator(str(model))
        as_planes(np.zeros(len(emulator.domain.labels)), emulator.domain.labels, geometry)
        for name, value in (("vturb", vturb), ("alpha_m", alpha_m), ("mass", mass)):
            if value is not None:
                if name not in emulator.domain.labels:
                    raise TypeError(f"{name} = {value}, but the model {emulator.name} has no {name}")
                j = emulator.domain.labels.index(name)
                low, high = emulator.domain.lower[j], emulator.domain.upper[j]
                if not low <= float(value) <= high:
                    raise DomainError(f"{name} = {value} is outside the range {low:g} to {high:g} of {emulator.name}")
        options = {
            "vturb": vturb, "alpha_m": alpha_m, "follow_abundances": None if follow_abundances else 0, "mass": mass
        }  # fmt: skip
        query = urlencode({k: repr(float(v)) for k, v in options.items() if v is not None}
                          | ({} if geometry is None else {"geometry": geometry}))  # fmt: skip
        nodes = _nodes(emulator, mass, geometry)
        self: PinnAtmosphereGrid = super().__new__(cls, len(nodes.rhox), nodes.rhox.shape[1])
        self.source = f"{_SCHEME}{quote(str(model), safe='/')}" + (f"?{query}" if query else "")
        self.citation_info = _citation(emulator)
        self.info = f"{emulator.name}: {emulator.card.get('description', '')}"
        labels = nodes.labels
        table: dict[str, Any] = {
            "teff": labels["teff"], "logg": labels["logg"], "monh": labels["m_h"], "vturb": labels["vturb"],
            "lonh": 0.0, "radius": _radius(nodes), "height": nodes.height, "wlstd": 5000.0, "opflag": _OPFLAG,
            "temp": nodes.temperature, "rhox": nodes.rhox, "tau": nodes.tau_ross, "rho": nodes.density,
            "xna": nodes.atom_density, "xne": nodes.electron_density,
        }  # fmt: skip
        for column, values in table.items():
            self[column] = values
        solar = Abund(pattern="solar", monh=0)
        self["abund"] = [Abund(pattern=solar.get_pattern("H=12"), monh=m)("sme", raw=True) for m in labels["m_h"]]
        return self

    # ------------------------------------------------------------------ what it stands for

    @classmethod
    def from_source(cls, source: str) -> PinnAtmosphereGrid:
        """The grid that a name as in `str(grid)` stands for."""
        model, _, query = source.removeprefix(_SCHEME).partition("?")
        options = _options(query)
        options["follow_abundances"] = bool(options.get("follow_abundances", 1.0))
        return cls(unquote(model), **options)

    @property
    def emulator(self) -> Emulator:
        """The model behind the grid."""
        return _emulator(unquote(self.source.removeprefix(_SCHEME).partition("?")[0]))

    @property
    def options(self) -> dict[str, Any]:
        """`vturb`, `alpha_m` (None: from the star), `follow_abundances`, `mass` and `geometry` (None: the model's)."""
        given = _options(self.source.partition("?")[2])
        return {
            "vturb": given.get("vturb"),
            "alpha_m": given.get("alpha_m"),
            "follow_abundances": bool(given.get("follow_abundances", 1.0)),
            "mass": given.get("mass"),
            "geometry": given.get("geometry"),
        }

    def __reduce__(self) -> Any:
        # The whole grid is its name; a part of it (a mask was applied) is a table like any other.
        if len(self) == len(_nodes(self.emulator).rhox):
            return type(self).from_source, (self.source,)
        return super().__reduce__()

    def __deepcopy__(self, memo: Any) -> PinnAtmosphereGrid:
        copied: PinnAtmosphereGrid = self.copy()
        return copied

    # ------------------------------------------------------------------ what it does

    def atmosphere(self, sme: Any) -> Atmosphere:
        """The atmosphere of the star that an `SME_Structure` describes, as PySME's synthesis takes it.

        Of a sphere, geom is "SPH", with the radius [cm] where tau_ross = 1 and heights [cm] above it, as PySME has them
        of spherical MARCS models; else "PP".

        `tau` is the Rosseland optical depth; where the star has elements in NLTE it is that at 5000 A, against which
        departure grids are tabulated (see `continuum.tau_5000`).

        Raises
        ------
        OutsideDomainError : the star's labels lie outside the model's domain

        Warns
        -----
        CompositionWarning : carbon, helium or other elements leave the mixture that the model was computed with; not
            where `follow_abundances` is False
        """
        labels: dict[str, Any] = star_labels(sme, self)
        try:
            model = self.emulator.predict(**labels, geometry=self.options["geometry"])
        except DomainError as outside:
            raise OutsideDomainError(f"{self.emulator.name}: {outside}") from None
        if self.options["follow_abundances"]:
            off = misfit(_total(sme), labels["m_h"], labels["alpha_m"], self.emulator.card["solar_scale"])
            warn_of_misfit(self.emulator.name, off)
        sphere = model.geometry == "sphere"
        atmo = Atmosphere(
            teff=float(sme.teff), logg=float(sme.logg), vturb=labels["vturb"], lonh=0.0, method="grid",
            geom="SPH" if sphere else "PP", radius=float(_radius(model)), height=model.height if sphere else None,
            wlstd=5000.0, opflag=_OPFLAG, depth="RHOX", interp="TAU", rhox=model.rhox,
            tau=tau_5000(model) if len(sme.nlte.elements) else model.tau_ross, temp=model.temperature,
            rho=model.density, xna=model.atom_density, xne=model.electron_density, citation_info=self.citation_info,
            monh=float(sme.monh), abund=sme.abund.get_pattern("H=12"), abund_format="H=12",
        )  # fmt: skip
        atmo.source = self
        return atmo

    def bounds(self, name: str) -> tuple[float, float] | None:
        """Range of a parameter of PySME's solver that the model's domain sets, or None."""
        labels = {"teff": "teff", "logg": "logg", "monh": "m_h", "alpha_m": "alpha_m"}
        if self.options["vturb"] is None:
            labels["vmic"] = "vturb"
        if name not in labels:
            return None
        domain = self.emulator.domain
        j = domain.labels.index(labels[name])
        return domain.lower[j], domain.upper[j]


def star_labels(sme: Any, grid: PinnAtmosphereGrid, *, snap: bool = True) -> dict[str, float]:
    """Labels of the star that an `SME_Structure` describes, on the solar scale of the grid's training models.

    m_h is [Fe/H] and alpha_m the mean of [X/Fe] over the electron donors Mg, Si, Ca, Ti, weighted by their solar
    number, both relative to the training grid's solar abundances (`composition.SOLAR_SCALES`) whatever scale
    `sme.abund` is on. Solar scales differ by some 0.01 dex in alpha_m, so that alpha_m up to 0.03 dex outside the
    range that the model has at this m_h is taken for the edge (not without `snap`). vturb is `sme.vmic`. The options
    of the grid fix any of these; the mass is among the labels where they give it.
    """
    options, domain = grid.options, grid.emulator.domain
    solar = SOLAR_SCALES[grid.emulator.card["solar_scale"]]
    if options["follow_abundances"]:
        star = _total(sme)
        m_h = star["Fe"] - solar["Fe"]
        weight = np.array([10.0 ** solar[el] for el in _ALPHA_DONORS])
        excess = np.array([star[el] - solar[el] - m_h for el in _ALPHA_DONORS])
        alpha_m = float(weight @ excess / weight.sum())
    else:
        m_h, alpha_m = float(sme.monh), 0.0
    vturb = float(np.mean(sme.vmic))
    mass = {} if options["mass"] is None else {"mass": options["mass"]}
    labels = {
        "teff": float(sme.teff),
        "logg": float(sme.logg),
        "m_h": m_h,
        "alpha_m": alpha_m if options["alpha_m"] is None else options["alpha_m"],
        "vturb": vturb if options["vturb"] is None else options["vturb"],
        **mass,
    }
    if snap and options["follow_abundances"] and options["alpha_m"] is None and "alpha_m" in domain.labels:
        for allowed in (grid.bounds("alpha_m"), domain.range("alpha_m", domain.stack(labels))):
            if allowed is not None:
                labels["alpha_m"] = _within_scale_error(labels["alpha_m"], allowed)
    return labels


def _total(sme: Any) -> dict[str, float]:
    """Abundances of a star, log10 number with H = 12, monh included."""
    pattern = sme.abund.get_pattern("H=12")
    return {el: float(v) + (0.0 if el in ("H", "He") else float(sme.monh)) for el, v in pattern.items()}


def _within_scale_error(alpha_m: float, bounds: tuple[float, float]) -> float:
    edge = min(max(alpha_m, bounds[0]), bounds[1])
    return edge if abs(edge - alpha_m) < 0.03 else alpha_m


# ---------------------------------------------------------------------- the hook

#: The method by which PySME's solver decides to keep one atmosphere during a fit of abundances alone.
_KEEPS = "_can_prepare_abundance_synthesis"


def register() -> None:
    """Wrap the methods of PySME that an atmosphere source concerns, once.

    Raises
    ------
    RuntimeError : PySME is of a version that is not supported, or a method is not there or takes other arguments
        than this module knows
    """
    version = getattr(pysme, "__version__", "unknown")
    low, high = (".".join(map(str, v)) for v in _SUPPORTED)
    supported = f"supported: pip install 'pysme-astro>={low},<{high}'"
    number = re.match(r"(\d+)\.(\d+)", version)
    # PySME run from its source tree has no version: then its methods decide.
    if number and not _SUPPORTED[0] <= (int(number[1]), int(number[2])) < _SUPPORTED[1]:
        raise RuntimeError(f"PySME {version} is not supported; {supported}")
    hooks: list[tuple[Any, str, list[str], Callable[..., Any]]] = [
        (Synthesizer, "get_atmosphere", ["self", "sme"], _get_atmosphere),
        (Synthesizer, "synthesize_spectrum", ["self", "sme", "..."], _synthesize_spectrum),
        (SME_Solver, "get_bounds", ["self", "sme"], _get_bounds),
        (SME_Solver, "solve", ["self", "sme", "..."], _solve),
        (Atmosphere, "_save", ["self"], _save),
    ]
    if hasattr(SME_Solver, _KEEPS):  # from PySME 1.2 on
        hooks.append((SME_Solver, _KEEPS, ["self", "sme", "..."], _keeps_atmosphere))
    for owner, name, arguments, wrap in hooks:
        method = getattr(owner, name, None)
        if getattr(method, "_sme_pinn_atmo", False):
            continue
        found = [] if method is None else list(inspect.signature(method).parameters)
        if "..." in arguments:
            found = [*found[: len(arguments) - 1], "..."]
        if found != arguments:
            raise RuntimeError(
                f"PySME {version} is not supported: {owner.__name__}.{name}({', '.join(arguments)}) "
                f"is not as expected; {supported}"
            )
        wrapped = functools.wraps(method)(wrap(method))  # type: ignore[arg-type]
        wrapped._sme_pinn_atmo = True  # type: ignore[attr-defined]
        setattr(owner, name, wrapped)


def _source(atmo: Any) -> PinnAtmosphereGrid | None:
    """The grid that an atmosphere's source is or names, else None."""
    source = atmo.source
    if isinstance(source, PinnAtmosphereGrid):
        return source
    if isinstance(source, str) and source.startswith(_SCHEME):
        return PinnAtmosphereGrid.from_source(source)
    return None


def _get_atmosphere(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_atmosphere(self: Any, sme: Any) -> Any:
        grid = _source(sme.atmo) if sme.atmo.method == "grid" else None
        if grid is None:
            return original(self, sme)
        sme.atmo = grid.atmosphere(sme)
        return sme

    return get_atmosphere


def _check_labels(sme: Any, what: str) -> None:
    """Raise `OutsideDomainError` where the star cannot be had from its grid: before PySME has changed anything."""
    grid = _source(sme.atmo) if sme.atmo.method == "grid" else None
    if grid is None:
        return
    try:
        grid.emulator.domain.resolve(dict(star_labels(sme, grid)))
    except DomainError as outside:
        raise OutsideDomainError(f"{what}{grid.emulator.name}: {outside}") from None


def _synthesize_spectrum(original: Callable[..., Any]) -> Callable[..., Any]:
    def synthesize_spectrum(self: Any, sme: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("passAtmosphere", True):
            _check_labels(sme, "")
        return original(self, sme, *args, **kwargs)

    return synthesize_spectrum


def _solve(original: Callable[..., Any]) -> Callable[..., Any]:
    def solve(self: Any, sme: Any, *args: Any, **kwargs: Any) -> Any:
        # The solver would take a start outside for a bad step, and say only that residuals are not finite.
        _check_labels(sme, "the fit starts outside the domain of ")
        return original(self, sme, *args, **kwargs)

    return solve


def _keeps_atmosphere(original: Callable[..., Any]) -> Callable[..., Any]:
    def _can_prepare_abundance_synthesis(self: Any, sme: Any, **kwargs: Any) -> Any:
        # PySME keeps the first atmosphere where only abundances are fitted; this one moves with them.
        grid = _source(sme.atmo) if sme.atmo.method == "grid" else None
        if grid is not None and grid.options["follow_abundances"]:
            return False
        return original(self, sme, **kwargs)

    return _can_prepare_abundance_synthesis


def _get_bounds(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_bounds(self: Any, sme: Any) -> Any:
        grid = _source(sme.atmo) if sme.atmo.method == "grid" else None
        if grid is None:
            return original(self, sme)
        atmo = sme.atmo
        # PySME reads bounds of a grid from its file, and sets its own for a fixed atmosphere: those are replaced.
        sme.atmo = Atmosphere(method="embedded", source="", teff=sme.teff, logg=sme.logg, monh=sme.monh)
        try:
            result = original(self, sme)
        finally:
            sme.atmo = atmo
        for i, name in enumerate(self.parameter_names):
            bounds = grid.bounds(name)
            if bounds is not None:
                result[:, i] = bounds
        return result

    return get_bounds


def _save(original: Callable[..., Any]) -> Callable[..., Any]:
    def _save(self: Any) -> Any:
        grid = self.source
        if not isinstance(grid, PinnAtmosphereGrid):
            return original(self)
        self.source = grid.source
        try:
            return original(self)
        finally:
            self.source = grid

    return _save


# ---------------------------------------------------------------------- helpers

#: All continuous opacities on, quasi-molecular H absorption and the unused flags off, as for PySME's ATLAS grids.
_OPFLAG = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0])


def _options(query: str) -> dict[str, Any]:
    """Options in the name of a grid."""
    return {k: v if k == "geometry" else float(v) for k, v in parse_qsl(query)}


def _radius(model: ModelAtmosphere) -> Any:
    """Radius [cm]; 1 of plane-parallel layers, by which PySME's tables and MARCS files tell them."""
    return np.where(np.isfinite(model.radius), model.radius, 1.0)


@functools.lru_cache(maxsize=16)
def _emulator(model: str) -> Emulator:
    return Emulator.load(model)


@functools.lru_cache(maxsize=16)
def _nodes(emulator: Emulator, mass: float | None = None, geometry: str | None = None) -> ModelAtmosphere:
    """Atmospheres on a coarse lattice in Teff, log g and m_h: the table that a grid shows."""
    domain = emulator.domain
    box = {n: (lo, hi) for n, lo, hi in zip(domain.labels, domain.lower, domain.upper, strict=True)}
    teff = np.array([t for t in _TEFF if box["teff"][0] <= t <= box["teff"][1]])
    logg = np.arange(np.ceil(2 * box["logg"][0]) / 2, box["logg"][1] + 0.01, 1.0)
    m_h = np.arange(np.ceil(box["m_h"][0]), box["m_h"][1] + 0.01, 1.0)
    x = [v.ravel() for v in np.meshgrid(teff, logg, m_h, indexing="ij")]
    inside = domain.contains(teff=x[0], logg=x[1], m_h=x[2])
    at: dict[str, Any] = {n: v[inside] for n, v in zip(("teff", "logg", "m_h"), x, strict=True)}
    if mass is not None:
        at["mass"] = mass
    nodes: ModelAtmosphere = emulator.predict(**at, geometry=geometry)
    return nodes


_TEFF: NDArray[np.float64] = np.array(
    [2500, 3000, 3500, 4000, 4500, 5000, 5500, 6000, 6500, 7000, 8000, 9000, 10000, 12000, 15000, 20000, 25000,
     30000, 40000, 50000], dtype=float,
)  # fmt: skip


def _citation(emulator: Emulator) -> str:
    """BibTeX, the one format that `sme.citation()` shows: this model and its training data, and the method."""
    trained = "; ".join(emulator.card.get("references", []))
    return f"""
@MISC{{sme_pinn_atmo:{emulator.name},
    author = {{{{The sme\\_pinn\\_atmo developers}}}},
    title = "{{sme\\_pinn\\_atmo {emulator.card.get("version", "")}: model atmospheres {emulator.name} from a
        hydrostatic neural network}}",
    note = {{trained on {trained}}},
    year = "2026"
}}
@ARTICLE{{2025arXiv250706357L,
    author = {{{{Li}}, J. and {{Jian}}, M. and {{Ting}}, Y.-S. and {{Green}}, G. M.}},
    title = "{{Differentiable stellar atmospheres with physics-informed neural networks}}",
    journal = {{arXiv e-prints}},
    year = "2025",
    eid = {{arXiv:2507.06357}},
    eprint = {{2507.06357}}
}}
"""


# At import, so that a star loaded from a file finds its grid by name.
register()

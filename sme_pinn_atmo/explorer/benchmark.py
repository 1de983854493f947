"""How long the page takes: a star computed and drawn in a browser, while a slider moves."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np

from . import serve, write_site

__all__ = ["format_rows", "measure"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")

#: Moves the slider of Teff a step a frame, and reads what the page says of each: milliseconds to compute and to draw.
_MOVE = """async (moves) => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const slider = document.querySelector("#star-a input[type=range]");
  const times = [];
  for (let i = 0; i < moves; i++) {
    slider.value = Number(slider.value) + (i % 40 < 20 ? 1 : -1) * Number(slider.step);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await frame();
    await frame();
    times.push(document.querySelector("#timing").textContent.match(/[0-9.]+/g).map(Number));
  }
  return times;
}"""


def measure(moves: int = 200) -> dict[str, dict[str, float]]:
    """Medians and 95th percentiles [ms] over `moves` of a slider, by packaged model.

    "computed" is the atmosphere with its error bar, "drawn" all plots of the page.

    Raises RuntimeError without Playwright or Chromium.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise RuntimeError("Playwright is not installed (pip install playwright): it drives the browser") from None
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        raise RuntimeError(f"no browser of {', '.join(_BROWSERS)} is on the path")
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        server = serve(write_site(folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = sorted(p.stem for p in Path(folder, "models").glob("*.safetensors"))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            for name in names:
                page = browser.new_page(viewport={"width": 1100, "height": 900})
                page.goto(f"http://127.0.0.1:{server.server_port}/#model={name}&teff=5777&logg=4.44")
                page.wait_for_selector("body[data-drawn]")
                out[name] = _summary(page.evaluate(_MOVE, moves))
                page.close()
            browser.close()
        server.shutdown()
        server.server_close()
    return out


def _summary(times: list[list[float]]) -> dict[str, float]:
    computed, drawn = np.array(times).T
    return {"computed": float(np.median(computed)), "computed, 95 %": float(np.quantile(computed, 0.95)),
            "drawn": float(np.median(drawn)), "drawn, 95 %": float(np.quantile(drawn, 0.95))}  # fmt: skip


def format_rows(result: dict[str, dict[str, float]]) -> str:
    """A line a model."""
    return "\n".join(
        f"{name:>8}: " + ", ".join(f"{what} {value:.1f} ms" for what, value in row.items())
        for name, row in result.items()
    )

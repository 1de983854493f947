"""Sphinx. Nothing in the pages is fetched from elsewhere: formulae become MathML, the diagram is an SVG file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.math import get_node_equation_number

import sme_pinn_atmo
from sme_pinn_atmo.explorer import write_site

project = "sme_pinn_atmo"
author = copyright = "the sme_pinn_atmo developers"
version = release = sme_pinn_atmo.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"sme_pinn_atmo {version}"
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# The pages are built where torch is not installed, too.
autodoc_mock_imports = ["torch"]
napoleon_use_ivar = True
python_use_unqualified_type_names = True
default_role = "py:obj"


def prepare(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What these docstrings write otherwise than numpydoc: `name : what it is` on one line, in a section or as a
    paragraph of its own, and |x| for a modulus."""
    out: list[str] = []
    section, listed = "", False
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and lines[i + 1] and not lines[i + 1].strip("-"):
            section = line
        line = "".join(part if part.startswith("`") else part.replace("|", "\\|")
                       for part in re.split(r"(`[^`]*`)", line))  # fmt: skip
        item, colon, text = line.partition(" : ")
        in_section = section in ("Parameters", "Attributes", "Raises") and not line.startswith(" ")
        begins = bool(re.fullmatch(r"\w+(, \w+)*", item)) and (listed or (bool(out) and not out[-1]))
        listed = (colon != "" and begins) or (listed and line.startswith("    "))
        if colon and (in_section or begins):
            out += [item, f"    {text}"]
        else:
            out.append(line)
    lines[:] = out


def inline_math(self: Any, node: Any) -> None:
    self.body.append(tex2mathml(node.astext()))
    raise_skip()


def block_math(self: Any, node: Any) -> None:
    number = get_node_equation_number(self, node) if node["number"] else None
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(tex2mathml(node.astext(), as_block=True))
    self.body.append(f"<span>({number})</span></div>" if number else "</div>")
    raise_skip()


def raise_skip() -> None:
    from docutils import nodes

    raise nodes.SkipNode


def write_explorer(app: Any, error: Exception | None) -> None:
    """The page that computes atmospheres in the browser, with the models and its plot library."""
    if error is None and app.builder.format == "html":
        write_site(Path(app.outdir) / "explorer", documentation=True)


def setup(app: Any) -> None:
    app.connect("build-finished", write_explorer)
    app.connect("autodoc-process-docstring", prepare, priority=400)  # before napoleon
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))

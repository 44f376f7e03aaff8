"""What the web book needs beyond Sphinx: anchors as the pages write them, alt texts, formulas, and a table of contents.

`docs/conf.py` loads it as an extension; the standard library and Sphinx are all that it imports.
"""

import json
import re
import shutil
import unicodedata
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

CONTENTS = {"Lessons": "notebooks/[0-9]*", "Documents": "docs/*", "Solutions": "notebooks/solutions/[0-9]*"}
LINK = re.compile(r"(?<!!)\[([^][]+)\]\(([^)#\s:]+)\)")
in_notebook = False  # whether the page that is being read is one; each process reads one page at a time


def slug(heading: str) -> str:
    """The anchor of a heading: as JupyterLab makes it in notebooks, as GitHub does in documents."""
    if in_notebook:
        return heading.replace(" ", "-").replace("%", "%25")
    letters = (c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
    return "".join(letters).replace(" ", "-")


def read_page(app, docname: str, source: list[str]) -> None:
    """Prepare a page's text before it is parsed."""
    global in_notebook
    path = Path(app.env.doc2path(docname))
    in_notebook = path.suffix == ".ipynb"
    if in_notebook:
        source[0] = json.dumps(prepared(json.loads(source[0]), docname))
        return
    source[0] = LINK.sub(lambda link: link[1] if (path.parent / link[2]).is_dir() else link[0], source[0])
    if docname == app.config.root_doc:
        source[0] += "".join(contents(caption, pages) for caption, pages in CONTENTS.items())


def prepared(notebook: dict, docname: str) -> dict:
    """The same notebook, alt texts and collapsed cells marked as myst-nb knows them."""
    for cell in notebook["cells"]:
        if cell["metadata"].get("jupyter", {}).get("source_hidden"):
            cell["metadata"].setdefault("tags", []).append("hide-input")
        metadata = [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]
        texts = [entry["alt"] for entry in metadata if "alt" in entry]
        if len(texts) > 1:
            raise ValueError(f"{docname}: a cell shows {len(texts)} pictures; myst-nb has one alt text for a cell")
        if texts:
            cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": texts[0]}
    return notebook


def contents(caption: str, pages: str) -> str:
    return f"\n\n```{{toctree}}\n:caption: {caption}\n:hidden:\n:glob:\n\n{pages}\n```\n"


def visit_math(translator, node: nodes.Node) -> None:
    """Write a formula as MathML, which browsers draw by themselves."""
    is_block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=is_block)
    translator.body.append(f"<div>{formula}</div>" if is_block else formula)
    raise nodes.SkipNode


def add_front_page(app, error: Exception | None) -> None:
    """The README is the front page too."""
    if error is None and app.builder.format == "html":
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")


def setup(app) -> dict:
    app.connect("source-read", read_page)
    app.connect("build-finished", add_front_page)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

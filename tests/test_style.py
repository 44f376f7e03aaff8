"""What holds for the collection as a whole: figures can be read at the size in which they are shown, cards tell the time that
was measured, and every link leads somewhere."""

import ast
import base64
import os
import re
import struct
import unicodedata
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib.font_manager
import nbformat
import pandas as pd
import pytest

from experiments import figures
from helpers import plots
from helpers.data import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES = NOTEBOOKS + sorted((REPOSITORY / "notebooks" / "solutions").glob("[0-9]*.ipynb")) + DOCUMENTS


def read(path: Path):
    return nbformat.read(path, as_version=4)


def text_of(path: str | Path) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


# ---- fonts

SMALLEST = 8  # points, as a reader sees them: 96 pixels are an inch on the screen
SHOWN = 900  # pixels: JupyterLab's output area on a laptop of 1366, file browser open (tests/test_browser.py looks)
ARGUMENTS = {"fontsize", "size", "labelsize", "titlesize", "title_fontsize", "legend_fontsize"}


def font_sizes() -> dict[str, list[float]]:
    """For each function that draws the font sizes, in points, that it names; its own and those of functions it calls."""
    nodes = [node for module in (plots, figures) for node in ast.parse(text_of(module.__file__)).body]
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}

    def of(name):
        found = []
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.keyword) and node.arg in ARGUMENTS:
                assert isinstance(node.value, ast.Constant), f"{name}: {node.arg} is not a number"
                found.append(float(node.value.value))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
                found += of(node.func.id)
        return found

    return {name: of(name) for name in functions}


def default_size() -> float:
    """The smallest text of a figure that names no size: ticks, labels, legend or title."""
    names = ("font.size", "xtick.labelsize", "ytick.labelsize", "axes.labelsize", "legend.fontsize", "axes.titlesize")
    properties = matplotlib.font_manager.FontProperties
    return min(properties(size=plots.plt.rcParams[name]).get_size_in_points() for name in names)


def shown_points(points: float, width: int) -> float:
    """What is left of a font size when a picture of `width` pixels is fitted into the page."""
    return points * plots.plt.rcParams["savefig.dpi"] / 96 * min(1, SHOWN / width)


def png_width(content: bytes) -> int:
    return struct.unpack(">I", content[16:20])[0]


def committed_figures():
    """(where, functions behind it, picture) of each picture in a notebook or in images/."""
    for path in NOTEBOOKS:
        names = set()
        for cell in read(path).cells:
            names = set(re.findall(r"(?:plots|figures)\.(\w+)\(", cell.source)) - {"show"} or names  # or drawn in a cell before
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    yield f"{path.stem}: {output.metadata['image/png']['alt']}", names, output.data["image/png"]
    for path in sorted((REPOSITORY / "images").glob("*.png")):
        yield path.name, {figures.FIGURES[path.stem][1].__name__}, path.read_bytes()


def test_text_in_figures_can_be_read():
    sizes, default, checked = font_sizes(), default_size(), 0
    for where, names, picture in committed_figures():
        width = png_width(base64.b64decode(picture) if isinstance(picture, str) else picture)
        assert names, f"{where}: drawn by none of our functions"
        points = shown_points(min([default, *(size for name in names for size in sizes.get(name, []))]), width)
        assert points >= SMALLEST, f"{where}: {points:.1f} points when it is fitted into {SHOWN} pixels"
        checked += 1
    assert checked >= len(NOTEBOOKS)


def test_a_wide_figure_with_small_text_would_be_noticed():
    assert shown_points(8.5, 1045) >= SMALLEST > shown_points(8.5, 1200)
    assert min(font_sizes()["image_grid"]) == 8.5 and 9 in font_sizes()["sparsity_curve"]  # in reference_line


# ---- times

LIVE_LIMITS = {"02": 90, "03": 90, "04": 90, "05": 120, "06": 120, "07": 120, "08": 120}  # seconds on two cores, CIFAR-10


def minutes(text: str) -> int:
    """Running minutes on a card: "15 minutes' reading; 3 minutes' running", or "… 3 min running"."""
    return int(re.search(r"(\d+) min[a-z']* running", text).group(1))


def cards() -> dict[str, int]:
    return {path.stem: minutes(read(path).cells[0].source) for path in NOTEBOOKS}


def test_the_readme_tells_the_same_times_as_the_cards():
    readme = text_of("README.md")
    for stem, told in cards().items():
        (line,) = [line for line in readme.splitlines() if line.startswith("|") and f"notebooks/{stem}.ipynb)" in line]
        assert minutes(line) == told, stem


def test_the_workshop_schedules_tell_the_same_times_as_the_cards():
    times = cards()
    lines = re.findall(r"^\| \d+:\d\d \| (\d+) \| (\d*) ?\| (.+)$", text_of("docs/WORKSHOP.md"), re.MULTILINE)
    assert len(lines) > 15
    for teaching, running, text in lines:
        told = sum(times[stem] for stem in set(re.findall(r"notebooks/(\d\d_\w+)\.ipynb", text)))
        assert int(running or 0) == told <= int(teaching), text


def fair(card: int, seconds: float, cpu_seconds: float) -> bool:
    """Within a factor of 2 of what was measured; a card says at least one minute.

    On a machine that did nothing else, `seconds` is the time. Where other work ran, two idle cores would have needed between
    half of the processors' time and all of it.
    """
    slowest = max(60.0, min(seconds, cpu_seconds))
    fastest = min(max(60.0, cpu_seconds / 2), slowest)
    return fastest / 2 <= 60 * card <= 2 * slowest


def test_cards_tell_the_time_that_was_measured():
    """Against the rows of tools/notebook_seconds.py; nothing is timed here."""
    rows = pd.read_csv(REPOSITORY / "results" / "notebook_seconds.csv")
    rows = rows[rows.dataset.str.startswith("CIFAR-10")]
    assert set(rows.notebook) == set(cards())
    for row in rows.itertuples():
        card, limit = cards()[row.notebook], LIVE_LIMITS.get(row.notebook[:2], 180)
        assert min(row.seconds, row.cpu_seconds) <= limit, f"{row.notebook}: took {row.seconds:.0f} s, {limit} s are allowed"
        assert fair(card, row.seconds, row.cpu_seconds), f"{row.notebook}: the card says {card} min, measured {row.seconds:.0f} s"


def test_a_wrong_card_would_be_noticed():
    assert fair(1, 20, 30) and fair(2, 200, 390) and fair(3, 900, 600)
    assert not fair(1, 200, 390) and not fair(3, 60, 110) and not fair(2, 900, 600)


# ---- links


def markdown(path: Path) -> str:
    """A page's text without code, in which brackets are no links."""
    if path.suffix == ".ipynb":
        text = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    else:
        text = text_of(path)
    return re.sub(r"`[^`\n]*`", "`code`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def headings(path: Path) -> list[str]:
    if path.suffix == ".ipynb":
        text = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    else:
        text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Where # may point to: as GitHub writes it on a .md page, as JupyterLab does in a notebook."""
    if path.suffix == ".ipynb":
        return {re.sub(r"[*`]", "", heading).replace(" ", "-") for heading in headings(path)}
    plain = [re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings(path)]
    letters = ("".join(c for c in heading if c in " -_" or unicodedata.category(c)[0] in "LN") for heading in plain)
    return {heading.replace(" ", "-") for heading in letters}


def broken(target: str, page: Path) -> str | None:
    """What is wrong with a link on a page, or None. Addresses elsewhere are judged by their form; `test_every_address_answers` asks them."""
    if re.match(r"[a-z]+:", target):
        parts = urlsplit(target)
        return None if parts.scheme == "https" and "." in parts.netloc and " " not in target else "no https address"
    place, _, anchor = target.partition("#")
    path = (page.parent / unquote(place)).resolve() if place else page
    if not path.exists():
        return "no such file"
    if not path.is_relative_to(REPOSITORY.resolve()):
        return "outside the repository"
    if anchor and unquote(anchor) not in anchors(path):
        return f"{path.name} has no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_link_resolves(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", markdown(page))
    targets += re.findall(r"(?:src|href)=\"([^\"]+)\"", markdown(page))
    problems = {target: broken(target, page) for target in targets if broken(target, page)}
    assert problems == {}


@pytest.mark.skipif(
    "PRUNING_LINKS" not in os.environ, reason="asks the network: PRUNING_LINKS=1 pytest tests/test_style.py -k answers"
)
def test_every_address_answers():
    found = {target for page in PAGES for target in re.findall(r"\]\((https://[^)\s]+)\)", markdown(page))}
    refused = {}
    for address in sorted(found):
        request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0"})
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            if error.code not in (403, 418, 429):  # publishers turn programs away, which is an answer too
                refused[address] = str(error)
        except OSError as error:
            refused[address] = str(error)
    assert refused == {}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.name)
def test_one_title_and_headings_in_order(page):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    depths = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert depths[0] == 1 and depths.count(1) == 1
    assert all(deeper <= depth + 1 for depth, deeper in pairwise(depths))


def test_conda_and_binder_install_what_pip_does():
    text = text_of("environment.yml")
    conda, pip = text.split("  - pip:\n")
    assert pip.split() == ["-", "-r", "requirements.txt"] and "  - pip\n" in conda and (REPOSITORY / "requirements.txt").exists()
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', text_of("pyproject.toml"))[1]
    assert int(re.search(r"- python=3\.(\d+)\n", conda)[1]) >= int(oldest)
    assert f"conda activate {re.search(r'^name: (.+)$', text, re.MULTILINE)[1]}" in text_of("README.md")


def test_the_glossary_shows_every_term_somewhere():
    """test_every_link_resolves sees to it that the sections exist."""
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| (.+?) \|$", text_of("docs/GLOSSARY.md"), re.MULTILINE)
    terms = [term.lower() for term, *_ in rows]
    assert 12 <= len(terms) == len(set(terms)) <= 20
    assert all(re.search(r"\]\(\.\./notebooks/\d\d_\w+\.ipynb#[^)]+\)", place) for *_, place in rows)
    assert "(docs/GLOSSARY.md)" in text_of("README.md")


def test_broken_links_would_be_noticed():
    page = REPOSITORY / "README.md"
    assert broken("notebooks/01_train_cifar10.ipynb#The-network", page) is None and broken("#settings", page) is None
    for target in (
        "notebooks/09.ipynb",
        "notebooks/01_train_cifar10.ipynb#The-wreck",
        "#set",
        "http://x.org",
        "https://x",
        "../x",
    ):
        assert broken(target, page), target

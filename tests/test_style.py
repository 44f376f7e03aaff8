"""What holds for the collection as a whole: links lead somewhere, cards tell the time that was measured, text in figures can be
read. What is only a matter of style is advice, by tools/style.py."""

import base64
import io
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from PIL import Image

from experiments import figures
from helpers import plots
from helpers.data import REPOSITORY
from tools import style

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES = NOTEBOOKS + sorted((REPOSITORY / "notebooks" / "solutions").glob("[0-9]*.ipynb")) + DOCUMENTS


def text_of(path: str | Path) -> str:
    """What a file says, of a notebook the markdown; without blocks of code."""
    path = REPOSITORY / path
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Where # may point to: as GitHub writes it on a .md page, as JupyterLab does in a notebook."""
    headings = re.findall(r"^#+ +(.+?) *$", text_of(path), re.MULTILINE)
    if path.suffix == ".ipynb":
        return {re.sub(r"[*`]", "", heading).replace(" ", "-") for heading in headings}
    plain = [re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    letters = ("".join(c for c in heading if c in " -_" or unicodedata.category(c)[0] in "LN") for heading in plain)
    return {heading.replace(" ", "-") for heading in letters}


def targets(page: Path) -> set[str]:
    """All addresses that a page links to or shows; brackets in code are no links."""
    text = re.sub(r"`[^`\n]*`", "`code`", text_of(page))
    return {*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"(?:src|href)=\"([^\"]+)\"", text)}


def broken(target: str, page: Path) -> str | None:
    """What is wrong with a link on a page, or None. Addresses elsewhere are judged by their form; nobody is asked."""
    if re.match(r"[a-z]+:", target):
        return None if re.match(r"https://[^/ ]+\.[^ ]+$", target) else "no https address"
    place, _, anchor = target.partition("#")
    path = (page.parent / unquote(place)).resolve() if place else page
    if not path.exists():
        return "no such file"
    if not path.is_relative_to(REPOSITORY.resolve()):
        return "outside the repository"
    return f"{path.name} has no such heading" if anchor and unquote(anchor) not in anchors(path) else None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_links_resolve_images_have_alt_text_and_nothing_is_left_to_do(page):
    assert {target: broken(target, page) for target in targets(page) if broken(target, page)} == {}
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text_of(page))
    assert not re.search(r"!\[\s*\]\(|<img(?![^>]* alt=\"[^\"]+\")", text_of(page))


def test_broken_links_would_be_noticed():
    for target in ("notebooks/99.ipynb", "docs/GLOSSARY.md#wreck", "#set", "http://x.org", "https://x", "../x"):
        assert broken(target, REPOSITORY / "README.md"), target


def test_cards_readme_and_workshop_tell_the_time_that_was_measured():
    """Within a factor of two, and of the lowest minute; nothing is timed here. Where other work ran beside a notebook, two
    idle cores would have needed between half of the processors' time and all of it."""
    rows = pd.read_csv(REPOSITORY / "results" / "notebook_seconds.csv")
    rows = rows[rows.dataset.str.startswith("CIFAR-10")]
    running = r"(\d+) min[a-z']* running"
    cards = {path.stem: int(re.search(running, text_of(path))[1]) for path in NOTEBOOKS}
    assert set(rows.notebook) == set(cards)
    for row in rows.itertuples():
        slowest = max(60.0, min(row.seconds, row.cpu_seconds))
        fastest = min(max(60.0, row.cpu_seconds / 2), slowest)
        assert slowest <= 180 and fastest / 2 <= 60 * cards[row.notebook] <= 2 * slowest, f"{row.notebook}: {row.seconds:.0f} s"
    for stem, card in cards.items():
        assert re.findall(rf"^\|.*/{stem}\.ipynb\).* {running}", text_of("README.md"), re.MULTILINE) == [str(card)], stem
    lines = re.findall(r"^\| \d+:\d\d \| (\d+) \| (\d*) ?\| (.+)$", text_of("docs/WORKSHOP.md"), re.MULTILINE)
    assert lines
    for teaching, runs, text in lines:
        known = sum(cards[stem] for stem in set(re.findall(r"notebooks/(\d\d_\w+)\.ipynb", text)))
        assert int(runs or 0) == known <= int(teaching), text


def test_text_in_figures_can_be_read():
    """The smallest font that is named has 7.5 points where JupyterLab fits a figure into 900 pixels (a laptop of 1,366)."""
    sources = "".join(Path(module.__file__).read_text(encoding="utf-8") for module in (plots, figures))
    smallest = min(float(size) for size in re.findall(r"\b(?:font|label|title)?size=([\d.]+)", sources))
    pictures = [path.read_bytes() for path in (REPOSITORY / "images").glob("*.png")]
    for path in NOTEBOOKS:
        pictures += map(base64.b64decode, re.findall(r'"image/png": "(.+?)"', path.read_text(encoding="utf-8")))
    widest = max(Image.open(io.BytesIO(picture)).width for picture in pictures)
    assert smallest * plots.plt.rcParams["savefig.dpi"] / 96 * min(1, 900 / widest) >= 7.5


def test_conda_and_binder_install_what_pip_does():
    conda, pip = text_of("environment.yml").split("  - pip:\n")
    assert pip.split() == ["-", "-r", "requirements.txt"] and "  - pip\n" in conda
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', text_of("pyproject.toml"))[1]
    assert int(re.search(r"- python=3\.(\d+)\n", conda)[1]) >= int(oldest)


def test_advice_on_style_stops_nothing(tmp_path, monkeypatch, capsys):
    cells = [nbformat.v4.new_markdown_cell("# Title\n\n### Deep\n\nIt is Very good, `obviously`. " + "word " * 1500)]
    cells += [nbformat.v4.new_code_cell("x = 1\n" * 26) for _ in range(21)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "01_x.ipynb")
    (tmp_path / "README.md").write_text("# Fine\n\n## Fine too\n\n```\n# very\n```\n", encoding="utf-8")
    monkeypatch.setattr(style, "REPOSITORY", tmp_path)
    style.main()
    (line,) = capsys.readouterr().out.splitlines()
    for advice in ("a heading skips a level", "avoid: very;", "26 lines in the longest", "21 code cells", "words (1,500"):
        assert advice in line

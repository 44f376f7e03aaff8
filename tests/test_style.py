"""What holds for the collection as a whole: links lead somewhere, cards tell the time that was measured, text in figures can be
read. What is only a matter of style is advice, by tools/style.py."""

import base64
import io
import os
import re
import unicodedata
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

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


# ---- links


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
    return f"{path.name} has no such heading" if anchor and unquote(anchor) not in anchors(path) else None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_link_resolves_and_every_image_has_alt_text(page):
    assert {target: broken(target, page) for target in targets(page) if broken(target, page)} == {}
    assert not re.search(r"!\[\s*\]\(|<img(?![^>]* alt=\"[^\"]+\")", text_of(page))


def test_broken_links_would_be_noticed():
    page = REPOSITORY / "README.md"
    (first, *_) = [target for target in targets(page) if target.startswith("notebooks/")]
    assert broken(first, page) is None and broken("#settings", page) is None
    for target in ("notebooks/99.ipynb", f"{first}#The-wreck", "#set", "http://x.org", "https://x", "../x"):
        assert broken(target, page), target


@pytest.mark.skipif("PRUNING_LINKS" not in os.environ, reason="asks the network: PRUNING_LINKS=1 pytest -k every_address")
def test_every_address_answers():
    refused = {}
    for address in sorted({target for page in PAGES for target in targets(page) if target.startswith("https:")}):
        try:
            urllib.request.urlopen(urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0"}), timeout=30).close()
        except OSError as error:
            if getattr(error, "code", None) not in (403, 418, 429):  # publishers turn programs away, which is an answer too
                refused[address] = str(error)
    assert refused == {}


def test_documents_leave_nothing_to_do():
    assert not [path.name for path in DOCUMENTS if re.search(r"\b(TODO|FIXME|XXX)\b", text_of(path))]


# ---- times


def minutes(text: str) -> int:
    """Running minutes on a card: "15 minutes' reading; 3 minutes' running", or "… 3 min running"."""
    return int(re.search(r"(\d+) min[a-z']* running", text).group(1))


def test_cards_readme_and_workshop_tell_the_time_that_was_measured():
    """Within a factor of two, and of the lowest minute; nothing is timed here. Where other work ran beside a notebook, two
    idle cores would have needed between half of the processors' time and all of it."""
    rows = pd.read_csv(REPOSITORY / "results" / "notebook_seconds.csv")
    rows = rows[rows.dataset.str.startswith("CIFAR-10")]
    cards = {path.stem: minutes(text_of(path)) for path in NOTEBOOKS}
    assert set(rows.notebook) == set(cards)
    for row in rows.itertuples():
        slowest = max(60.0, min(row.seconds, row.cpu_seconds))
        fastest = min(max(60.0, row.cpu_seconds / 2), slowest)
        assert fastest / 2 <= 60 * cards[row.notebook] <= 2 * slowest <= 360, f"{row.notebook}: {row.seconds:.0f} s were measured"
    for stem, card in cards.items():
        (line,) = re.findall(rf"^\|.*notebooks/{stem}\.ipynb\).* running \|$", text_of("README.md"), re.MULTILINE)
        assert minutes(line) == card, stem
    lines = re.findall(r"^\| \d+:\d\d \| (\d+) \| (\d*) ?\| (.+)$", text_of("docs/WORKSHOP.md"), re.MULTILINE)
    assert lines
    for teaching, running, text in lines:
        known = sum(cards[stem] for stem in set(re.findall(r"notebooks/(\d\d_\w+)\.ipynb", text)))
        assert int(running or 0) == known <= int(teaching), text


# ---- figures, installation, advice


def test_text_in_figures_can_be_read():
    """The smallest font that is named has 7.5 points where JupyterLab fits a figure into 900 pixels, as on a laptop of 1,366."""
    sources = "".join(Path(module.__file__).read_text(encoding="utf-8") for module in (plots, figures))
    smallest = min(float(size) for size in re.findall(r"\b(?:font|label|title)?size=([\d.]+)", sources))
    pictures = [path.read_bytes() for path in (REPOSITORY / "images").glob("*.png")]
    for path in NOTEBOOKS:
        outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
        data = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
        pictures += [base64.b64decode(picture) for picture in data]
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
    for advice in ("a heading skips a level", "avoid: very;", "26 lines in the longest cell", "21 code cells", "words (1,500 are"):
        assert advice in line

"""Advice on style, which `make lint` prints and which stops nothing: what is long or missing, words to avoid."""

import re
import statistics
from itertools import pairwise
from pathlib import Path

import nbformat

REPOSITORY = Path(__file__).resolve().parent.parent
CARD = ("What you will learn", "What you need", "Time on a 2-core laptop", "Where it fits", "## What you learned")
WORDS = ("simply", "obviously", "of course", "easily", "clearly", "basically", "very", "actually", "utilize", "leverage")


def prose(text: str) -> str:
    """A text without its code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def on_text(text: str) -> list[str]:
    """Headings out of order, and words to avoid."""
    advice = []
    depths = [len(marks) for marks in re.findall(r"^(#+) ", prose(text), re.MULTILINE)]
    if depths[:1] != [1] or depths.count(1) != 1:
        advice.append("begin with the title, the only heading with one #")
    if any(next_one > depth + 1 for depth, next_one in pairwise(depths)):
        advice.append("a heading skips a level")
    words = [word for word in WORDS if re.search(rf"\b{word}\b", prose(text), re.IGNORECASE)]
    return advice + ([f"words to avoid: {', '.join(words)}"] if words else [])


def on_size(notebook: nbformat.NotebookNode) -> list[str]:
    """What a notebook has more of than is enough."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = [len(cell.source.splitlines()) for cell in code] or [0]
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    sizes = (
        (max(lines), "lines in the longest cell", 25),
        (statistics.median(lines), "lines in the median cell", 8),
        (len(code), "code cells", 20),
        (len(pictures), "figures", 5),
        (words, "words", 1500),
    )
    return [f"{size:,g} {what} ({enough:,} are enough)" for size, what, enough in sizes if size > enough]


def on_page(path: Path) -> list[str]:
    """What could be better in a notebook or a document."""
    if path.suffix == ".md":
        return on_text(path.read_text(encoding="utf-8"))
    notebook = nbformat.read(path, as_version=4)
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if path.parent.name == "solutions":
        return on_text(text)
    return on_text(text) + on_size(notebook) + [f"{phrase!r} is missing" for phrase in CARD if phrase not in text]


def main() -> None:
    for pattern in ("README.md", "docs/*.md", "notebooks/[0-9]*.ipynb", "notebooks/solutions/[0-9]*.ipynb"):
        for path in sorted(REPOSITORY.glob(pattern)):
            if advice := on_page(path):
                print(f"style: {path.relative_to(REPOSITORY)}: {'; '.join(advice)}")


if __name__ == "__main__":
    main()

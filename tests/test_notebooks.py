"""What every committed notebook must be, read from its file (nbval runs it)."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest

from helpers.data import REPOSITORY
from tools.notebooks import unfit

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))
SOLUTIONS = sorted((REPOSITORY / "notebooks" / "solutions").glob("[0-9]*.ipynb"))


@pytest.fixture(params=NOTEBOOKS + SOLUTIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS and SOLUTIONS


def test_is_valid_and_small(path, notebook):
    nbformat.validate(notebook)
    assert path.stat().st_size < 1_000_000


def test_outputs_are_stored_in_order(code):
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_outputs_are_fit_to_commit(notebook):
    assert unfit(notebook) == []
    assert not [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]


def test_checked_cells_have_something_to_check(code):
    """nbval compares nothing, and passes, where a marked cell has no stored output or text stands behind the marker."""
    for cell in code:
        for line in cell.source.splitlines():
            if "NBVAL_" in line:
                assert line.strip() == "# NBVAL_CHECK_OUTPUT", f"{line!r}: nbval ignores this silently"
                assert cell.outputs, f"marked to be checked, but without output: {cell.source[:80]!r}"


def test_figures_have_alt_text(code):
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert all(output.metadata.get("image/png", {}).get("alt", "").strip() for output in pictures)
    assert len(pictures) <= 8


def test_cells_are_short(path, code):
    lines = [len(cell.source.splitlines()) for cell in code]
    assert max(lines) <= 30 and len(lines) <= 30
    assert statistics.median(lines) <= 9 or path in SOLUTIONS  # three cells, each with a whole answer


def test_reads_like_the_others(path, notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^(#+) ", text, re.MULTILINE)
    assert headings[0] == "#" and headings.count("#") == 1
    assert all(len(b) <= len(a) + 1 for a, b in zip(headings, headings[1:], strict=False))
    if path in NOTEBOOKS:
        for phrase in ("What you will learn", "What you need", "Time on a 2-core laptop", "Where it fits", "## What you learned"):
            assert phrase in text
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert not re.search(r"import \*|sys\.path|^[!%]", source, re.MULTILINE)
    assert "mkdtemp" not in source  # it stays on the disk; TemporaryDirectory goes when the kernel does

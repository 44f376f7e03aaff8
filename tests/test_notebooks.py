"""What would break a stored notebook for its readers, read from its file (nbval runs it; style is advice: tools/style.py)."""

import re
from pathlib import Path

import nbformat
import pytest
from torch.nn.utils import prune

from helpers.data import REPOSITORY
from tools.notebooks import unfit

NOTEBOOKS = sorted((REPOSITORY / "notebooks").rglob("[0-9]*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_is_valid_and_small_and_has_its_outputs(path, notebook, code):
    nbformat.validate(notebook)
    assert path.stat().st_size <= 700_000
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_outputs_are_fit_to_commit(notebook, code):
    assert unfit(notebook) == []
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert all(output.metadata.get("image/png", {}).get("alt", "").strip() for output in pictures)


def test_checked_cells_have_something_to_check(code):
    """nbval compares nothing, and passes, where a marked cell has no stored output or text stands behind the marker."""
    for cell in code:
        markers = [line.strip() for line in cell.source.splitlines() if "NBVAL_" in line]
        assert set(markers) <= {"# NBVAL_CHECK_OUTPUT"}, f"{markers}: nbval ignores this silently"
        checked = markers or "nbval-check-output" in cell.metadata.get("tags", [])
        assert cell.outputs or not checked, f"marked to be checked, but without output: {cell.source[:80]!r}"


def test_nothing_is_left_to_do(code):
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", "\n".join(cell.source for cell in code))


def test_lessons_02_and_04_call_every_public_name():
    """Of torch.nn.utils.prune, in their code: the functions in 02, the classes behind them in 04."""
    paths = [path for path in NOTEBOOKS if path.stem in ("02_builtin_pruning", "04_troubles") and path.parent.name == "notebooks"]
    cells = [cell for path in paths for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    named = set(re.findall(r"\bprune\.(\w+)", "\n".join(cell.source for cell in cells)))
    public = {name for name, value in vars(prune).items() if getattr(value, "__module__", None) == prune.__name__}
    assert {name for name in public if not name.startswith("_")} <= named

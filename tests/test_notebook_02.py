"""Notebook 02 calls everything that torch.nn.utils.prune has."""

import ast

import nbformat
from torch.nn.utils import prune

from helpers.data import REPOSITORY


def test_notebook_02_calls_every_public_name():
    """Each public name of torch.nn.utils.prune is called, or handed to a call, in an executed cell."""
    public = {
        name
        for name, value in vars(prune).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == prune.__name__
    }
    assert {"BasePruningMethod", "PruningContainer", "l1_unstructured", "custom_from_mask"} <= public
    notebook = nbformat.read(REPOSITORY / "notebooks" / "02_builtin_pruning.ipynb", as_version=4)
    used = set()
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.execution_count:
            for node in ast.walk(ast.parse(cell.source)):
                parts = []
                if isinstance(node, ast.Call):
                    parts = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
                elif isinstance(node, ast.ClassDef):
                    parts = node.bases
                for part in parts:
                    while isinstance(part, ast.Attribute):
                        if isinstance(part.value, ast.Name) and part.value.id == "prune":
                            used.add(part.attr)
                        part = part.value
                if isinstance(node, ast.For):  # for method in (prune.a, prune.b): method(…)
                    used |= {
                        n.attr
                        for n in ast.walk(node.iter)
                        if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "prune"
                    }
    assert public - used == set()

"""Who may import whom: notebooks -> exercises and experiments -> helpers, without a circle."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from helpers.data import REPOSITORY

OURS = ("exercises", "experiments", "helpers", "tests", "tools")
ALLOWED = {
    "helpers": {"helpers"},
    "exercises": {"exercises", "helpers"},
    "experiments": {"experiments", "helpers"},
    "tools": {"experiments", "helpers", "tools"},
}


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports anywhere in it, inside functions too, by their full names."""
    package = path.relative_to(REPOSITORY).with_suffix("").parts[:-1]
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            modules.add(module)
            modules |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in modules if name.split(".")[0] in OURS}


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_run_one_way(folder):
    for path in (REPOSITORY / folder).rglob("*.py"):
        rooms = {name.split(".")[0] for name in imports(path)}
        assert rooms <= ALLOWED[folder], f"{path.name} imports {rooms - ALLOWED[folder]}"


def test_no_circle_inside_helpers():
    files = {f"helpers.{path.stem}": path for path in (REPOSITORY / "helpers").glob("*.py") if path.stem != "__init__"}
    list(TopologicalSorter({name: imports(path) & files.keys() for name, path in files.items()}).static_order())


def test_every_package_is_installed():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {"helpers", "exercises", "experiments", "experiments.benchmarks"}
    assert set(project["tool"]["setuptools"]["packages"]) == folders
    assert all((REPOSITORY / name.replace(".", "/") / "__init__.py").exists() for name in folders)

"""Who may import whom: notebooks -> exercises and experiments -> helpers, without a circle."""

import ast
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
    arrows = {name: imports(path) & files.keys() for name, path in files.items()}
    while arrows:
        free = {name for name, targets in arrows.items() if not targets & arrows.keys()}
        assert free, f"a circle among {sorted(arrows)}"
        arrows = {name: targets for name, targets in arrows.items() if name not in free}


def test_every_package_is_installed():
    listed = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").split("packages = [")[1].split("]")[0]
    folders = {"helpers", "exercises", "experiments", "experiments.benchmarks"}
    assert {name.strip(' "') for name in listed.split(",")} == folders
    assert all((REPOSITORY / name.replace(".", "/") / "__init__.py").exists() for name in folders)

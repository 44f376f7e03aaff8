"""A pytest plugin for nbval runs: a notebook of which fewer cells ran than it has fails, also when cells were only skipped.

It also runs the longest notebooks before the others, so that no process is left with a long one at the end.
"""

import csv
from collections import Counter
from pathlib import Path

import nbformat
import pytest

SECONDS = Path(__file__).parents[1] / "results" / "notebook_seconds.csv"


def code_cells(path: Path) -> int:
    return sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in nbformat.read(path, as_version=4).cells)


class Gate:
    def __init__(self, config: pytest.Config):
        self.config = config
        self.passed: Counter[Path] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        notebook, marker, _ = report.nodeid.partition(".ipynb::")
        if marker and report.when == "call" and report.passed:
            self.passed[Path(self.config.rootpath, f"{notebook}.ipynb").resolve()] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        wanted = [Path(self.config.invocation_params.dir, argument.split("::")[0]) for argument in self.config.args]
        notebooks = [path for place in wanted for path in (sorted(place.rglob("*.ipynb")) if place.is_dir() else [place])]
        ran = {path: self.passed[path.resolve()] for path in notebooks}
        self.short = [
            f"{path.name}: {ran[path]} of {code_cells(path)} code cells ran and passed"
            for path in notebooks
            if path.suffix == ".ipynb" and ".ipynb_checkpoints" not in path.parts and ran[path] < code_cells(path)
        ]
        if self.short and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter) -> None:
        for line in self.short:
            terminalreporter.write_line(f"INCOMPLETE NOTEBOOK {line}", red=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests as they are, then lessons, those that took longest in notebook_seconds.csv first, then solutions."""
    with SECONDS.open(encoding="utf-8") as file:
        seconds = {row["notebook"]: float(row["seconds"]) for row in csv.DictReader(file)}

    def place(item: pytest.Item) -> tuple[bool, bool, float]:
        notebook = item.path.suffix == ".ipynb"
        return notebook, item.path.parent.name == "solutions", -seconds.get(item.path.stem, 0.0) if notebook else 0.0

    items.sort(key=place)


def pytest_configure(config: pytest.Config) -> None:
    asked = config.getoption("nbval", False) or config.getoption("nbval_lax", False)
    chosen = config.getoption("keyword", "") or config.getoption("lf", False) or config.getoption("collectonly", False)
    if asked and not chosen and not hasattr(config, "workerinput"):  # with xdist: in the process that sees all reports
        config.pluginmanager.register(Gate(config), "notebook-gate")

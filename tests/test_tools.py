"""The commands around the notebooks: installation, execution, and the gate that counts executed cells."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest

import tasks
import tools.gate
from experiments.runner import Grid, sweep
from helpers.data import REPOSITORY
from tools import audit, notebooks


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """tasks.py as if it lay in an empty folder, and the list of what it calls; its Python is an empty file."""
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    python = tmp_path / ".venv" / "bin" / "python"
    paths = {"HERE": ".", "VENV": ".venv", "PYTHON": ".venv/bin/python", "STAMP": ".venv/installed", "BUILD": "build"}
    for name, path in paths.items():
        monkeypatch.setattr(tasks, name, str(tmp_path / path))
    calls = []

    def call(command, **options):
        calls.append(command[2])
        assert "--clear" not in command
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return 0

    monkeypatch.setattr(tasks, "works", python.exists)
    monkeypatch.setattr(tasks.subprocess, "call", call)
    return tmp_path, calls


@pytest.mark.parametrize("version", [sys.version_info, (3, 99, 0), (3, 8, 18)])
def test_installs_once_whatever_python_calls(sandbox, monkeypatch, version):
    folder, calls = sandbox
    (folder / ".venv").mkdir()  # an empty folder is nobody's
    tasks.setup()
    monkeypatch.setattr(tasks.sys, "version_info", version)
    tasks.setup()
    assert calls == ["venv", "pip"]


def test_a_changed_requirement_is_installed_into_what_is_there(sandbox, monkeypatch):
    folder, calls = sandbox
    tasks.setup()
    (folder / ".venv" / "of my own").touch()
    (folder / "requirements.txt").write_text("another")
    tasks.setup()
    tasks.setup()
    assert calls == ["venv", "pip", "pip"] and (folder / ".venv" / "of my own").exists()
    (folder / "requirements.txt").write_text("a third")
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="the installation failed"):
        patch.setattr(tasks.subprocess, "call", lambda command, **options: 1)
        tasks.setup()
    (folder / "requirements.txt").write_text("another")  # what a failed pip has left is not known to be that
    tasks.setup()
    assert calls == ["venv", "pip", "pip", "pip"]


def test_an_environment_whose_python_is_gone_is_made_again(sandbox):
    folder, calls = sandbox
    tasks.setup()
    (folder / ".venv" / "bin" / "python").unlink()
    (folder / ".venv" / "lib64").symlink_to("lib")
    tasks.setup()
    assert calls == 2 * ["venv", "pip"] and not os.path.lexists(folder / ".venv" / "lib64")


def test_does_a_python_work(monkeypatch):
    for python, oldest, good in ((sys.executable, 3, True), (sys.executable, 99, False), ("/no/python", 3, False)):
        monkeypatch.setattr(tasks, "PYTHON", python)
        monkeypatch.setattr(tasks, "OLDEST", (oldest, 0))
        assert tasks.works() is good


@pytest.mark.parametrize(
    "make",
    [lambda path: (path / "bin").mkdir(parents=True), lambda path: path.write_text("../e"), lambda path: path.symlink_to("no")],
    ids=["environment", "file", "link to nowhere"],
)
def test_an_environment_of_the_users_own_is_left_alone(sandbox, make):
    folder, calls = sandbox
    make(folder / ".venv")
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit, match=r"^tasks: \.venv was not made here .*: move it away, or .*pip install -r .*$"):
        tasks.setup()
    assert calls == [] and sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("moment", ["venv", "pip"])
def test_an_interrupted_or_failed_installation_is_made_again(sandbox, monkeypatch, moment):
    folder, calls = sandbox

    def interrupted(command, **options):
        (folder / ".venv" / "half").touch()
        if command[2] == moment:
            raise KeyboardInterrupt
        return 0

    def failing(command, stdout, **options):
        stdout.write("noise\nERROR: No matching distribution found for torch\nmore noise\n")
        return int(command[2] == moment)

    for call, error in ((interrupted, KeyboardInterrupt), (failing, SystemExit), (failing, SystemExit)):
        with monkeypatch.context() as patch:
            patch.setattr(tasks.subprocess, "call", call)
            with pytest.raises(error) as stopped:
                tasks.setup()
    assert re.fullmatch(r"tasks: the installation failed: .*No matching distribution.*", str(stopped.value))
    tasks.setup()
    assert calls == ["venv", "pip"] and not (folder / ".venv" / "half").exists()


def test_unknown_commands_and_an_old_python_are_one_message(sandbox, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        tasks.main("runn")
    makefile = re.search(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert makefile == list(tasks.COMMANDS) and all(name in str(stopped.value) for name in makefile)
    monkeypatch.setattr(tasks.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit, match=r"^tasks: Python 3.11 or newer is needed, this is .*$"):
        tasks.setup()
    tasks.main("check")  # works before anything is installed, and with an old Python too
    assert sandbox[1] == [tasks.PYTHON]


def write(path, *sources):
    path.parent.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def test_execution_leaves_the_source_alone_and_names_figures_and_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "TARGET", target := tmp_path / "run")
    image = "f = plots.image_grid(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ['x']); plots.show(f, alt='A black square')"
    cells = f"import torch\nfrom helpers import plots\n{image}", "import pandas as pd\npd.DataFrame({'a': [1]})"
    source = write(tmp_path / "01_x.ipynb", *cells)
    before = source.read_bytes()
    notebooks.execute(source, target / "01_x.ipynb", 1)
    assert source.read_bytes() == before
    figure, table = notebooks.harvest(target / "01_x.ipynb")
    assert figure[:2] == ("figure", "A black square") and table[0] == "table"
    assert (target / figure[2]).read_bytes().startswith(b"\x89PNG") and "<table" in (target / table[2]).read_text()


LEAKY = "import sys; print('warned', file=sys.stderr); print('/' + 'home/somebody')"


@pytest.mark.parametrize(("cell", "problem"), [("raise ValueError", "ValueError"), (LEAKY, "(?=.*stderr).*path of this")])
def test_outputs_unfit_to_commit_are_not_stored(tmp_path, monkeypatch, cell, problem):
    monkeypatch.setattr(notebooks, "TARGET", tmp_path / "run")
    source = write(tmp_path / "01_x.ipynb", cell)
    before = source.read_bytes()
    with pytest.raises(RuntimeError, match=problem):
        notebooks.execute(source, source, 1)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    "parallel", [[], pytest.param(["-n", "2", "--dist", "loadscope"], marks=pytest.mark.long)], ids=["alone", "xdist"]
)
def test_a_notebook_with_fewer_executed_cells_fails(tmp_path, parallel):
    write(tmp_path / "01_x.ipynb", "1", "2", "3")
    assert gate(tmp_path, *parallel) == []
    write(tmp_path / "solutions" / "01_x.ipynb", "1", "# NBVAL_SKIP\n2")  # of one name, counted apart
    assert gate(tmp_path, *parallel) == ["1 of 2"]


def test_the_longest_notebooks_run_first_and_solutions_last(monkeypatch, tmp_path):
    monkeypatch.setattr(tools.gate, "SECONDS", tmp_path / "seconds.csv")
    (tmp_path / "seconds.csv").write_text("notebook,seconds\n01_x,5\n02_y,90\n")
    names = ["solutions/02_y.ipynb", "01_x.ipynb", "02_y.ipynb", "test_b.py", "test_a.py"]
    items = [SimpleNamespace(path=tmp_path / name) for name in names for _ in range(2)]
    tools.gate.pytest_collection_modifyitems(items)
    order = [str(item.path.relative_to(tmp_path)) for item in items[::2]]
    assert order == ["test_b.py", "test_a.py", "02_y.ipynb", "01_x.ipynb", "solutions/02_y.ipynb"]
    assert [item.path for item in items[::2]] == [item.path for item in items[1::2]]  # a notebook's cells stay together


def test_an_empty_selection_of_cells_is_no_success(tmp_path):
    write(tmp_path / "01_x.ipynb", "1")
    assert gate(tmp_path, "--ignore-glob=*.ipynb") == ["0 of 1"]


def gate(folder, *options) -> list[str]:
    """What the gate says of incomplete notebooks; the run has failed where it says something."""
    command = [sys.executable, "-m", "pytest", "-p", "tools.gate", "--nbval-lax", "--nbval-current-env", "-q", *options, "."]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    incomplete = re.findall(r"INCOMPLETE NOTEBOOK 01_x.ipynb: (\d of \d)", done.stdout)
    assert (done.returncode == 0) == (incomplete == []), done.stdout
    return incomplete


@pytest.mark.parametrize(("again", "good"), [(0.8, True), (0.804, True), (0.806, False), (0.79, False)])
def test_an_audit_notices_a_row_that_does_not_come_out_again(tmp_path, capsys, again, good):
    accuracy = 0.8
    arm = {"model": "CifarNet", "width": 0.1, "scope": "global", "schedule": "one_shot", "target_sparsity": 0.5, "lr": 0.1}

    def run(configuration, data):
        return dict.fromkeys(grid.columns, "") | configuration | {"val_accuracy": accuracy}

    grid, path = Grid(lambda seeds: [arm | {"method": "random", "seed": seed} for seed in seeds], run), tmp_path / "rows.csv"
    sweep(grid, path, seeds=2)
    accuracy = again
    assert audit.audit(path, grid, "digits") is good
    assert ("ok" if good else "FAIL") in capsys.readouterr().out

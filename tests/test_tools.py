"""The commands around the notebooks: installation, execution, and the gate that counts executed cells."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

import tasks
from experiments.runner import Grid, sweep
from helpers.data import REPOSITORY
from tools import audit, notebooks


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """tasks.py as if it lay in an empty folder, with `subprocess.call` recorded instead of run; its Python is an empty file."""
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    python = tmp_path / ".venv" / "bin" / "python"
    monkeypatch.setattr(tasks, "HERE", str(tmp_path))
    monkeypatch.setattr(tasks, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(tasks, "PYTHON", str(python))
    monkeypatch.setattr(tasks, "STAMP", str(tmp_path / ".venv" / "installed"))
    monkeypatch.setattr(tasks, "BUILD", str(tmp_path / "build"))
    calls = []

    def call(command, **options):
        if command[:2] == [str(python), "-c"]:
            return int(not python.exists())
        calls.append("venv" if "venv" in command else "pip")
        if "venv" in command:
            assert "--clear" not in command
            python.parent.mkdir(parents=True)
            python.touch()
        return 0

    monkeypatch.setattr(tasks.subprocess, "call", call)
    return tmp_path, calls


def test_installs_once(sandbox):
    _, calls = sandbox
    tasks.setup()
    assert calls == ["venv", "pip"]
    tasks.setup()
    assert calls == ["venv", "pip"]


def test_a_changed_requirement_is_installed_into_what_is_there(sandbox, monkeypatch):
    folder, calls = sandbox
    tasks.setup()
    (folder / ".venv" / "of my own").touch()
    (folder / "requirements.txt").write_text("another")
    tasks.setup()
    assert calls == ["venv", "pip", "pip"] and (folder / ".venv" / "of my own").exists()
    tasks.setup()
    assert len(calls) == 3
    (folder / "requirements.txt").write_text("a third")
    with monkeypatch.context() as patch:
        patch.setattr(tasks.subprocess, "call", lambda command, **options: int("pip" in command))
        with pytest.raises(SystemExit, match="the installation failed"):
            tasks.setup()
    (folder / "requirements.txt").write_text("another")  # what a failed pip has left is not known to be that
    tasks.setup()
    assert calls == ["venv", "pip", "pip", "pip"]


@pytest.mark.parametrize("version", [(3, 11, 99), (3, 99, 0), (3, 8, 18)])
def test_another_python_goes_on_with_what_is_there(sandbox, monkeypatch, version):
    _, calls = sandbox
    tasks.setup()
    monkeypatch.setattr(tasks.sys, "version_info", version)
    monkeypatch.setattr(tasks.sys, "version", ".".join(map(str, version)))
    tasks.setup()
    assert calls == ["venv", "pip"]


def test_an_environment_whose_python_is_gone_is_made_again(sandbox):
    folder, calls = sandbox
    tasks.setup()
    (folder / ".venv" / "bin" / "python").unlink()
    (folder / ".venv" / "lib64").symlink_to("lib")
    tasks.setup()
    assert calls == 2 * ["venv", "pip"] and not os.path.lexists(folder / ".venv" / "lib64")


def test_does_a_python_work(monkeypatch):
    for python, oldest, works in (
        (sys.executable, (3, 11), True),
        (sys.executable, (99, 0), False),
        ("/no/python", (3, 11), False),
    ):
        monkeypatch.setattr(tasks, "PYTHON", python)
        monkeypatch.setattr(tasks, "OLDEST", oldest)
        assert tasks.works() is works


@pytest.mark.parametrize("kind", ["environment", "file", "link to nowhere"])
def test_an_environment_of_the_users_own_is_left_alone(sandbox, kind):
    folder, calls = sandbox
    if kind == "environment":
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "python").write_text("mine")
    elif kind == "file":
        (folder / ".venv").write_text("../environments/pruning")
    else:
        (folder / ".venv").symlink_to("nowhere")
    before = sorted(folder.rglob("*"))
    with pytest.raises(
        SystemExit, match=r"^tasks: \.venv was not made here .*: move it away, or activate it and pip install -r .*$"
    ):
        tasks.setup()
    assert calls == [] and sorted(folder.rglob("*")) == before


def test_an_empty_folder_is_nobodys(sandbox):
    folder, calls = sandbox
    (folder / ".venv").mkdir()
    tasks.setup()
    assert calls == ["venv", "pip"]


@pytest.mark.parametrize("moment", ["venv", "pip"])
def test_an_interrupted_installation_is_made_again(sandbox, monkeypatch, moment):
    folder, calls = sandbox

    def interrupted(command, **options):
        (folder / ".venv" / "bin").mkdir(exist_ok=True)
        (folder / ".venv" / "bin" / "half").touch()
        if moment in command:
            raise KeyboardInterrupt
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(tasks.subprocess, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tasks.setup()
    tasks.setup()
    assert calls == ["venv", "pip"] and not (folder / ".venv" / "bin" / "half").exists()


@pytest.mark.parametrize("failing", [0, 1])
def test_failed_installation_is_one_line_and_is_tried_again(sandbox, monkeypatch, failing):
    _, calls = sandbox

    def call(command, stdout, **options):
        calls.append(command)
        stdout.write("noise\nERROR: No matching distribution found for torch\nmore noise\n")
        return int(len(calls) > failing)

    monkeypatch.setattr(tasks.subprocess, "call", call)
    for attempt in (1, 2):
        calls.clear()
        with pytest.raises(SystemExit) as stopped:
            tasks.setup()
        assert re.fullmatch(r"tasks: the installation failed: .*No matching distribution.*", str(stopped.value))
        assert len(calls) == failing + 1, attempt


def test_unsupported_python_is_one_line(sandbox, monkeypatch):
    monkeypatch.setattr(tasks.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit, match=r"^tasks: Python 3.11 or newer is needed, this is .*$"):
        tasks.setup()
    assert sandbox[1] == []


def test_unknown_command_lists_the_known_ones():
    with pytest.raises(SystemExit) as stopped:
        tasks.main("runn")
    assert all(name in str(stopped.value) for name in tasks.COMMANDS)


def test_makefile_offers_every_command():
    text = (REPOSITORY / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()
    assert targets == list(tasks.COMMANDS)


# ---- executing notebooks


def write(path, *sources, **metadata):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel} | metadata), path)
    return path


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "TARGET", tmp_path / "run")
    monkeypatch.setattr(notebooks, "REPOSITORY", tmp_path)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    (tmp_path / "run").mkdir()
    return tmp_path


def test_execute_leaves_the_source_alone(target):
    source = write(target / "01_x.ipynb", "1 + 1")
    before = source.read_bytes()
    notebooks.execute(source, target / "run" / "01_x.ipynb", 1)
    assert source.read_bytes() == before
    assert nbformat.read(target / "run" / "01_x.ipynb", 4).cells[0].outputs[0].data["text/plain"] == "2"


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("raise ValueError('broken here')", "broken here"),
        ("import sys; print('warned', file=sys.stderr)", "stderr"),
        ("print('/' + 'home/somebody/data')", "path of this machine"),
    ],
)
def test_outputs_unfit_to_commit_are_not_stored(target, cell, problem):
    source = write(target / "01_x.ipynb", cell)
    before = source.read_bytes()
    with pytest.raises(RuntimeError, match=problem):
        notebooks.execute(source, source, 1)
    assert source.read_bytes() == before


def test_harvest_names_figures_and_tables(target):
    picture = (
        "from helpers import plots\nimport torch\nf = plots.image_grid(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ['x'])\n"
    )
    table = "import pandas as pd\npd.DataFrame({'a': [1]})"
    source = write(target / "01_x.ipynb", f"{picture}plots.show(f, alt='A black square')", table)
    notebooks.execute(source, target / "run" / "01_x.ipynb", 1)
    found = notebooks.harvest(target / "run" / "01_x.ipynb")
    assert [kind for kind, *_ in found] == ["figure", "table"] and found[0][1] == "A black square"
    assert (target / "run" / found[0][2]).read_bytes().startswith(b"\x89PNG")
    assert "<table" in (target / "run" / found[1][2]).read_text()


# ---- the gate


@pytest.mark.parametrize("parallel", [[], ["-n", "2", "--dist", "loadscope"]], ids=["alone", "xdist"])
@pytest.mark.parametrize(
    ("cells", "passes"),
    [(("1", "2"), True), (("1", "# NBVAL_SKIP\n2"), False), (("raise ValueError", "2"), False)],
    ids=["all", "skipped", "failed"],
)
def test_a_notebook_with_fewer_executed_cells_fails(tmp_path, cells, passes, parallel):
    write(tmp_path / "01_x.ipynb", *cells)
    command = [sys.executable, "-m", "pytest", "-p", "tools.gate", "--nbval-lax", "--nbval-current-env", "-q", *parallel, "."]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == passes, done.stdout
    assert ("INCOMPLETE NOTEBOOK 01_x.ipynb: 1 of 2" in done.stdout) != passes, done.stdout


def test_notebooks_of_one_name_are_counted_apart(tmp_path):
    """As notebooks/01_….ipynb and notebooks/solutions/01_….ipynb."""
    (tmp_path / "solutions").mkdir()
    write(tmp_path / "01_x.ipynb", "1", "2", "3")
    write(tmp_path / "solutions" / "01_x.ipynb", "1", "# NBVAL_SKIP\n2")
    command = [sys.executable, "-m", "pytest", "-p", "tools.gate", "--nbval-lax", "--nbval-current-env", "-q", "."]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout.count("INCOMPLETE NOTEBOOK 01_x.ipynb: 1 of 2") == 1
    assert done.stdout.count("INCOMPLETE") == 1, done.stdout


def test_an_empty_selection_of_cells_is_no_success(tmp_path):
    """A notebook of which nbval collects nothing at all."""
    write(tmp_path / "01_x.ipynb", "1")
    command = [sys.executable, "-m", "pytest", "-p", "tools.gate", "--nbval-lax", "-q", "--ignore-glob=*.ipynb", "."]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "0 of 1" in done.stdout


@pytest.mark.parametrize(
    ("device", "again", "good"),
    [
        ("here", 0.804, True), ("here", 0.806, False), ("here", 0.794, False),
        ("elsewhere", 0.844, True), ("elsewhere", 0.796, True), ("elsewhere", 0.846, False), ("elsewhere", 0.79, False),
    ],
)  # fmt: skip
def test_an_audit_expects_what_a_machine_can_give(tmp_path, monkeypatch, capsys, device, again, good):
    """The row of seed 0 (80 %) itself on its own machine; elsewhere what its arm spans (80 to 84 %); other arms count nowhere."""
    stored = {("magnitude", 0): 0.80, ("magnitude", 1): 0.84, ("random", 0): 0.10}
    common = {"model": "CifarNet", "width": 0.1, "scope": "global", "schedule": "one_shot", "target_sparsity": 0.5, "lr": 0.1}

    def configurations(seeds):
        return [common | {"method": method, "seed": seed} for method, seed in stored if seed in seeds]

    def run(configuration, data):
        row = dict.fromkeys(grid.columns, "") | configuration
        return row | {"test_accuracy": stored[configuration["method"], configuration["seed"]]}

    grid, path = Grid(configurations, run), tmp_path / "rows.csv"
    sweep(grid, path, seeds=2)
    device = audit.describe_device(audit.pick_device()) if device == "here" else device
    path.write_text(path.read_text().replace(audit.describe_device(audit.pick_device()), device))
    monkeypatch.setattr(
        audit.random, "choice", lambda rows: next(r for r in rows if (r["method"], r["seed"]) == ("magnitude", "0"))
    )
    stored["magnitude", 0] = again
    assert audit.audit(path, grid, "digits") is good
    assert ("ok" if good else "FAIL") in capsys.readouterr().out

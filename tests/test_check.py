"""`make check` tells what is missing and what to do, before anything is installed and after."""

import ast
import sys

import pytest

import tasks
from helpers.data import REPOSITORY
from tools import check

SOURCE = REPOSITORY / "tools" / "check.py"


@pytest.fixture
def rows(monkeypatch):
    def found(python=sys.executable, versions=None, training=None, error="", memory=9.0):
        good = {name: ".".join(map(str, bound)) for name, bound in check.requirements().items()}

        def ask(python, code, *arguments):
            answer = good | (versions or {}) if code is check.VERSIONS else training
            return (answer, "") if answer else (None, error)

        monkeypatch.setattr(check, "ask", ask)
        monkeypatch.setattr(check, "free_memory", lambda: memory)
        return {what: (good, told, todo) for good, what, told, todo in check.check(python)}

    return found


FINE = {"seconds": 9.6, "images_per_second": 1500.0}


def test_reads_with_any_python_of_the_last_years():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = [name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert set(imported) <= sys.stdlib_module_names and not any(isinstance(n, ast.ImportFrom) for n in ast.walk(tree))


def test_a_machine_without_anything(rows, monkeypatch):
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(check.sys, "version_info", (3, 8, 1))
    found = rows("/nowhere/python")
    assert found["Python"][0] is False and "3.11 or newer" in found["Python"][2]
    assert found["environment"][:2] == (False, "not made yet") and "make setup" in found["environment"][2]
    assert "packages" not in found and "training" not in found


def test_a_machine_that_is_ready(rows, capsys, monkeypatch):
    assert all(good for good, *_ in rows(training=FINE).values())
    assert check.main(sys.executable) == 0
    out = capsys.readouterr().out
    assert out.count("✓") == 7 and "✗" not in out and "about 2 min here" in out and out.endswith("ready: make run\n")


@pytest.mark.parametrize(
    ("state", "row", "told"),
    [
        ({"versions": {"nbval": None}}, "packages", "nbval is missing"),
        ({"versions": {"torch": "2.1.0"}}, "packages", "torch 2.1.0 is too old"),
        ({"training": None, "error": "MemoryError"}, "training", "MemoryError"),
        ({"memory": 0.5}, "memory", "0 GB free"),
    ],
)
def test_what_is_wrong_is_said(rows, capsys, state, row, told):
    good, found, todo = rows(**{"training": FINE} | state)[row]
    assert not good and told in found and todo
    assert check.main(sys.executable) == 1
    assert "1 thing to do first" in capsys.readouterr().out


def test_data_are_found(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PRUNING_DATA", "cifar10")
    data = lambda: rows(training=FINE)["data"]  # noqa: E731
    assert data()[0] is False and "there is none in" in data()[1] and "make data" in data()[2]
    monkeypatch.setenv("PRUNING_DATA", " Digits ")
    assert data()[:2] == (True, "digits (built in), as PRUNING_DATA says")
    monkeypatch.delenv("PRUNING_DATA")
    assert data()[0] and "make data" in data()[1]
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in set(check.BATCHES) - {"test_batch"}:
        (batches / name).touch()
    assert data()[0] is False and data()[1].endswith("lacks test_batch") and data()[2] == "delete that folder, then make data"
    (batches / "test_batch").touch()
    assert data()[:2] == (True, "digits (built in) and CIFAR-10")


def test_packages_that_pip_or_conda_installed_are_found(rows, capsys):
    found = rows("/nowhere/python", training=FINE, versions={"nbval": None})
    assert found["packages"][2] == "pip install -r requirements.txt -c constraints.txt"
    found = rows("/nowhere/python", training=FINE)
    assert check.main("/nowhere/python") == 0 and capsys.readouterr().out.endswith("ready: jupyter lab notebooks\n")
    assert found["environment"][0] and found["environment"][1].startswith("this Python's own") and found["packages"][0]


def test_questions_to_the_environment():
    assert check.ask(sys.executable, check.VERSIONS, "torch", "no-such-package")[0]["no-such-package"] is None
    assert check.ask(sys.executable, "raise SystemExit('broken')") == (None, "broken")
    assert check.ask("/nowhere/python", "")[0] is None


def test_nothing_is_installed_for_it(monkeypatch):
    calls = []
    monkeypatch.setattr(tasks, "setup", lambda: pytest.fail("installed"))
    monkeypatch.setattr(tasks.subprocess, "call", lambda command, **options: calls.append(command) or 0)
    tasks.main("check")
    assert calls == [(sys.executable, "tools/check.py", tasks.PYTHON)]

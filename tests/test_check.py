"""`make check` tells what is missing and what to do, before anything is installed and after."""

import ast
import sys

import pytest

from helpers.data import REPOSITORY
from tools import check

FINE = {"seconds": 9.6, "images_per_second": 750.0}


@pytest.fixture
def rows(monkeypatch):
    """The table for an environment that answers so: {what: (good, found, what to do)}."""

    def table(python=sys.executable, versions=None, training=FINE, error="", memory=9.0):
        newest = {name: ".".join(map(str, bound)) for name, bound in check.requirements().items()}

        def ask(python, code, *arguments):
            answer = newest | (versions or {}) if code is check.VERSIONS else training
            return (answer, "") if answer else (None, error)

        monkeypatch.setattr(check, "ask", ask)
        monkeypatch.setattr(check, "free_memory", lambda: memory)
        return {what: (good, found, todo) for good, what, found, todo in check.check(python)}

    return table


def test_reads_with_any_python_of_the_last_years():
    tree = ast.parse((REPOSITORY / "tools" / "check.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = [name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert set(imported) <= sys.stdlib_module_names and not any(isinstance(n, ast.ImportFrom) for n in ast.walk(tree))


def test_a_machine_without_anything(rows, monkeypatch):
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(check.sys, "version_info", (3, 8, 1))
    table = rows("/nowhere/python")
    assert not table["Python"][0] and "3.11 or newer" in table["Python"][2]
    assert not table["environment"][0] and "make setup" in table["environment"][2]
    assert "packages" not in table and "training" not in table


def test_a_machine_that_is_ready(rows, capsys):
    assert all(good for good, *_ in rows().values())
    assert check.main(sys.executable) == 0
    out = capsys.readouterr().out
    assert out.count("✓") == 7 and "✗" not in out and out.endswith("ready: make run\n")
    assert "two epochs of lesson 1 take about 2 min here" in out
    assert all(good for good, *_ in rows("/nowhere/python").values())  # packages that pip or conda installed
    assert check.main("/nowhere/python") == 0 and capsys.readouterr().out.endswith("ready: jupyter lab\n")
    assert rows("/nowhere/python", versions={"nbval": None})["packages"][2].startswith("pip install -r requirements.txt")


@pytest.mark.parametrize(
    ("state", "row", "message"),
    [
        ({"versions": {"nbval": None}}, "packages", "nbval is missing"),
        ({"versions": {"torch": "2.1.0"}}, "packages", "torch 2.1.0 is too old"),
        ({"training": None, "error": "MemoryError"}, "training", "MemoryError"),
        ({"memory": 0.5}, "memory", "0 GB free"),
    ],
)
def test_what_is_wrong_is_said(rows, capsys, state, row, message):
    good, found, todo = rows(**state)[row]
    assert not good and message in found and todo
    assert check.main(sys.executable) == 1 and "1 thing to do first" in capsys.readouterr().out


def test_data_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_DATA", "cifar10")
    assert not check.cifar10(str(tmp_path))[0]
    for setting in (" Digits ", ""):
        monkeypatch.setenv("PRUNING_DATA", setting)
        assert check.cifar10(str(tmp_path))[0]
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in set(check.BATCHES) - {"test_batch"}:
        (batches / name).touch()
    good, _, found, todo = check.cifar10(str(tmp_path))
    assert not good and found.endswith("lacks test_batch") and todo == "delete that folder, then make data"
    (batches / "test_batch").touch()
    assert check.cifar10(str(tmp_path))[:3] == (True, "data", "digits (built in) and CIFAR-10")


def test_questions_to_the_environment():
    assert check.ask(sys.executable, check.VERSIONS, "no-such-package") == ({"no-such-package": None}, "")
    assert check.ask(sys.executable, "raise SystemExit('broken')") == (None, "broken")
    assert check.ask("/nowhere/python", "")[0] is None

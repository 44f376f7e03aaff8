"""The experiment runner: real trainings on digits, killed, resumed, shared and compared."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

import experiments.__main__ as command
from experiments import runner, runs
from experiments.grids import GRIDS
from experiments.runner import Grid, ResultsError, read_rows, sweep
from helpers.data import REPOSITORY


def tiny(seeds):
    """Six runs a seed, each a real training of a fraction of a second."""
    common = {"model": "CifarNet", "width": 0.1, "scope": "global", "schedule": "one_shot"}
    common |= {"lr": 0.05, "epochs": 0.5, "batch_size": 64, "dense_epochs": 2}
    arms = [("dense", 0.0), *((method, level) for method in ("magnitude", "random") for level in (0.5, 0.9)), ("magnitude", 0.98)]
    return [common | {"method": method, "target_sparsity": level, "seed": seed} for seed in seeds for method, level in arms]


TINY = Grid(tiny, runs.prune_and_finetune, runs.prepare_dense, ("dense_epochs",), seeds=2)
HEADER = ",".join(TINY.columns) + "\n"
KILLS = 100 if os.environ.get("PRUNING_STRESS") else 24


def comparable(path):
    """All rows, in one order, without what may differ between two runs of one."""
    rows = read_rows(path, TINY.columns)
    return sorted([value for name, value in row.items() if name not in ("seconds", "device")] for row in rows)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The grid's rows, run in one go by one process."""
    out = tmp_path_factory.mktemp("reference") / "tiny.csv"
    assert sweep(TINY, out) == 12
    return out


@pytest.fixture
def out(tmp_path, reference):
    """A results file to which the second seed has still to be added."""
    path = tmp_path / "tiny.csv"
    path.write_bytes(b"".join(reference.read_bytes().splitlines(keepends=True)[:7]))
    return path


def test_rows_say_what_was_done(reference):
    rows = read_rows(reference, TINY.columns)
    for row in rows:
        assert row["dataset"] == "digits" and row["steps"] == "11" and len(row["checkpoint"]) == 8
        assert float(row["achieved_sparsity"]) == pytest.approx(float(row["target_sparsity"]), abs=1e-4)
    assert len({(row["seed"], row["checkpoint"]) for row in rows}) == len({row["checkpoint"] for row in rows}) == 2


def test_job_count_does_not_matter_and_what_is_there_stays(out, reference, monkeypatch):
    first = out.read_bytes()
    assert sweep(TINY, out, jobs=2) == 6 and out.read_bytes().startswith(first)
    assert comparable(out) == comparable(reference)
    monkeypatch.setattr(runner, "run_one", lambda *_: pytest.fail("ran again"))
    before = out.read_bytes()
    assert sweep(TINY, out) == 0 and out.read_bytes() == before


def in_another_process(call: str) -> list[str]:
    """The command that calls a function of this file."""
    where = str(REPOSITORY / "tests")
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {where!r}); import test_runner; test_runner.{call}"]


def torn_append(path, grid, rows, append=runner.append_rows):
    """Writes three rows of four; of the fourth only a part, after which its process is killed."""
    if not rows or random.random() < 0.75:
        return append(path, grid, rows)
    line = ",".join(str(rows[0][name]) for name in grid.columns)
    with open(path, "a") as file:
        file.write(line[: random.randint(1, len(line))])
    return os.kill(os.getpid(), signal.SIGKILL)


def sweep_and_kill(folder):
    """Sweeps in children of this process, `KILLS` of them killed: after a moment, or (every third) in mid-write of a row."""
    kills = 0
    for attempt in itertools.count():
        random.seed(attempt)
        child = os.fork()
        if child == 0:
            runner.append_rows = torn_append if attempt % 3 == 2 else runner.append_rows
            sweep(TINY, Path(folder, f"tiny{attempt // 12}.csv"))
            os._exit(0)
        if attempt % 3 < 2:
            time.sleep(random.uniform(0, 1.5))
            os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
        if kills == KILLS:
            return


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs a POSIX system")
def test_killed_at_random_moments(tmp_path, reference):
    subprocess.run(in_another_process(f"sweep_and_kill({str(tmp_path)!r})"), check=True)
    for path in {*tmp_path.glob("*.csv"), tmp_path / "tiny0.csv", tmp_path / "tiny1.csv"}:
        sweep(TINY, path)
        assert comparable(path) == comparable(reference)


@pytest.mark.damage
@given(share=st.floats(0.001, 0.999), lines=st.integers(0, 3))
def test_torn_last_line_is_repaired(tmp_path_factory, share, lines):
    """Cut anywhere in its last line, the file keeps all lines before it."""
    out = tmp_path_factory.mktemp("torn") / "tiny.csv"
    *whole, last = [HEADER, *(f"{k}," * (len(TINY.columns) - 1) + f"{k}\n" for k in range(3))][: lines + 1]
    out.write_text("".join(whole) + last[: max(1, int(share * len(last)))].rstrip("\n"), encoding="utf-8")
    with pytest.raises(ResultsError, match=f"line {lines + 1}: has no end"):
        read_rows(out, TINY.columns)
    assert len(read_rows(out, TINY.columns, repair=True)) == max(0, lines - 1)
    assert out.read_text(encoding="utf-8") == "".join(whole)


@pytest.mark.damage
@pytest.mark.parametrize(
    ("line", "content"),
    [
        ("1: not the header", "name,age\nx,1\ny,2"),
        ("1: not the header", HEADER.replace("seed", "sead") + "x,1\ny,2"),
        ("1: not the header", HEADER.replace("\n", ",more\n") + "x,1"),
        ("1: not the header", "a file without line ends"),
        ("1: not the header", "\xff\xfe\n"),
        ("1: not the header", "\n" + HEADER),
        ("2: damaged", HEADER + "digits,CifarNet\n"),
        ("3: damaged", HEADER + "x," * (len(TINY.columns) - 1) + "x\n\n"),
        ("2: damaged", HEADER + '"' + "x," * len(TINY.columns) + "\n"),
        ("2: damaged", HEADER + "\0" * 40 + "\n"),
        ("2: damaged", HEADER + "\xff\xfe\n"),
    ],
)
def test_foreign_or_damaged_file_is_refused_untouched(tmp_path, line, content):
    out = tmp_path / "other.csv"
    out.write_bytes(content.encode("latin-1"))
    with pytest.raises(ResultsError, match=f"other.csv, line {line}"):
        sweep(TINY, out, seeds=1)
    assert out.read_bytes() == content.encode("latin-1")


@pytest.mark.damage
def test_a_run_that_stands_twice_is_refused(out):
    row = out.read_text(encoding="utf-8").splitlines()[2]
    with open(out, "a", encoding="utf-8") as file:
        file.write(row + "\n")
    with pytest.raises(ResultsError, match="tiny.csv, line 8: the same run as line 3"):
        sweep(TINY, out)


@pytest.mark.damage
def test_rows_that_start_from_other_weights_are_not_added_to(out):
    """Another machine, or a lost build folder: the dense network of a seed is another one then, and pairs would not be pairs."""
    foreign = out.read_text(encoding="utf-8").replace(read_rows(out)[0]["checkpoint"], "another:0123abcd")
    foreign = foreign.removesuffix(foreign.splitlines(keepends=True)[-1])
    out.write_text(foreign, encoding="utf-8")
    with pytest.raises(ResultsError, match="tiny.csv: width 0.1, seed 0 starts from another:0123abcd, but here from"):
        sweep(TINY, out)
    assert out.read_text(encoding="utf-8") == foreign
    assert sweep(replace(TINY, configurations=lambda seeds: tiny([1])), out) == 6  # another seed may start elsewhere


@pytest.mark.damage
@pytest.mark.parametrize("fault", ["diverged", "seed 0 starts from .*, but here from another; go on where that network is"])
def test_a_faulty_run_keeps_the_finished_ones_and_gives_the_threads_back(tmp_path, request, fault):
    def run(configuration, data):
        assert torch.get_num_threads() == 1
        row = runs.prune_and_finetune(configuration, data)
        if configuration["method"] == "random" and fault == "diverged":
            raise RuntimeError(fault)
        return row | ({"checkpoint": "another"} if configuration["method"] == "random" else {})

    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(3)
    with pytest.raises(RuntimeError, match=fault):
        sweep(replace(TINY, run=run), tmp_path / "tiny.csv", seeds=1)
    assert torch.get_num_threads() == 3
    assert [row["method"] for row in read_rows(tmp_path / "tiny.csv")] == ["dense", "magnitude", "magnitude"]


@pytest.mark.damage
def test_a_second_sweep_or_a_bad_argument_writes_nothing(tmp_path):
    out = tmp_path / "tiny.csv"
    for name in ("jobs", "seeds"):
        with pytest.raises(ValueError, match=f"{name}=0: must be 1 or more"):
            sweep(TINY, out, **{name: 0})
    with FileLock(f"{out}.lock"), pytest.raises(ResultsError, match="another sweep is writing"):
        sweep(TINY, out)
    assert not out.exists()


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="kill -9 needs a POSIX system")
def test_dask_cluster_survives_a_killed_worker(tmp_path, reference):
    """Two worker processes; one is killed while it works: the scheduler runs its task again elsewhere."""
    from dask.distributed import Client, LocalCluster

    out = tmp_path / "dask.csv"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        call = f"sweep(test_runner.TINY, test_runner.Path({str(out)!r}), scheduler={cluster.scheduler_address!r})"
        with Client(cluster) as client:
            client.run(lambda folder: sys.path.insert(0, folder), str(REPOSITORY / "tests"))
            workers = client.run(os.getpid)
            with subprocess.Popen(in_another_process(call)) as process:
                deadline = time.monotonic() + 120
                while (not out.exists() or out.read_bytes().count(b"\n") < 3) and time.monotonic() < deadline:
                    time.sleep(0.05)
                os.kill(next(iter(workers.values())), signal.SIGKILL)
                assert process.wait(timeout=180) == 0
            assert set(client.run(os.getpid).values()) != set(workers.values())
    assert comparable(out) == comparable(reference)


def test_command_lists_plans_and_runs(out, monkeypatch, capsys):
    def shown(*arguments):
        command.main([*arguments, "--out", str(out)])
        return capsys.readouterr().out

    monkeypatch.setenv("PRUNING_DATA", "digits")
    assert all(name in shown("--list") for name in GRIDS)
    monkeypatch.setitem(GRIDS, "tiny", TINY)
    plan = shown("tiny", "--dry-run")
    assert plan.count("method=") == 6 and "about 1 minutes" in plan
    assert "6 runs added" in shown("tiny", "--jobs", "1") and "nothing to run" in shown("tiny", "--jobs", "1")
    assert command.default_out("tiny", "cifar10") == REPOSITORY / "results" / "official" / "tiny.csv"
    assert command.default_out("tiny", "digits").is_relative_to(REPOSITORY / "build")


def test_all_grids_are_planned(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRUNING_DATA", "digits")
    command.main(["all", "--dry-run", "--jobs", "2", "--out", str(tmp_path)])
    plan = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in plan] == list(GRIDS) and not list(tmp_path.iterdir())
    for line, grid in zip(plan, GRIDS.values(), strict=True):
        assert f" {len(grid.everything)} runs, about " in line


def test_command_says_errors_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRUNING_DATA", "digits")
    (tmp_path / "other.csv").write_text("name,age\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^[^\n]*other.csv, line 1: [^\n]* or name another with --out$"):
        command.main(["criteria", "--out", str(tmp_path / "other.csv"), "--jobs", "1"])
    for arguments in (["criteria", "--jobs", "0"], ["criteria", "--seeds", "0"], ["no_such_grid"]):
        with pytest.raises(SystemExit, match="2"):
            command.main(arguments)
        assert arguments[-1] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.damage
def test_rows_measured_elsewhere_are_merged(out, reference, tmp_path, monkeypatch):
    """Only whole: a run that is there already, foreign columns or another dense network leave the file as it was."""
    lines = reference.read_text(encoding="utf-8").splitlines(keepends=True)
    fetched, before = tmp_path / "fetched.csv", out.read_text(encoding="utf-8")
    fetched.write_text("".join(lines[:1] + lines[6:]), encoding="utf-8")
    with pytest.raises(ResultsError, match="fetched.csv, line 2: this run is in tiny.csv already"):
        command.merge(TINY, fetched, out)
    fetched.write_text("name,age\n", encoding="utf-8")
    with pytest.raises(ResultsError, match="not the header of this grid"):
        command.merge(TINY, fetched, out)
    fetched.write_text("".join(lines[:1] + lines[7:]), encoding="utf-8")
    index = tmp_path / "networks.csv"
    index.write_text("width,seed,fingerprint\n0.1,1,00000000\n", encoding="utf-8")
    monkeypatch.setattr(command.networks, "INDEX", index)
    with pytest.raises(ResultsError, match="line 2: starts from [0-9a-f]{8}, but results/networks holds 00000000"):
        command.merge(TINY, fetched, out)
    assert out.read_text(encoding="utf-8") == before
    index.unlink()
    assert command.merge(TINY, fetched, out) == 6
    assert sorted(out.read_text(encoding="utf-8").splitlines()) == sorted(reference.read_text(encoding="utf-8").splitlines())

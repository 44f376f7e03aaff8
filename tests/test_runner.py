"""The experiment runner: real trainings on digits, killed, resumed, shared and compared."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

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
from tools.audit import audit


def tiny(seeds):
    """Six runs a seed, each a real training of a fraction of a second."""
    common = {"model": "CifarNet", "width": 0.1, "scope": "global", "schedule": "one_shot"}
    common |= {"lr": 0.05, "epochs": 0.5, "dense_epochs": 2}
    arms = [("dense", 0.0), *((method, level) for method in ("magnitude", "random") for level in (0.5, 0.9)), ("magnitude", 0.98)]
    return [common | {"method": method, "target_sparsity": level, "seed": seed} for seed in seeds for method, level in arms]


EXTRA = ("epochs", "dense_epochs", "test_accuracy_before")
TINY = Grid(tiny, runs.prune_and_finetune, runs.prepare_dense, EXTRA, seeds=2)
HEADER = ",".join(TINY.columns) + "\n"


def identity(row):
    return tuple(row[name] for name in ("method", "target_sparsity", "seed"))


def same(row):
    """A row without what may differ between two runs of it."""
    return {name: value for name, value in row.items() if name not in ("seconds", "device")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The grid's rows, run in one go by one process."""
    out = tmp_path_factory.mktemp("reference") / "tiny.csv"
    assert sweep(TINY, out) == 12
    return {identity(row): same(row) for row in read_rows(out)}


def assert_complete(out, reference):
    rows = read_rows(out, TINY.columns)
    assert len(rows) == len(reference) == 12
    assert {identity(row): same(row) for row in rows} == reference


# ---- rows


def test_rows_follow_the_schema(reference):
    for (method, level, _), row in reference.items():
        assert row["dataset"] == "digits" and row["model"] == "CifarNet" and row["width"] == "0.1"
        assert abs(float(row["achieved_sparsity"]) - float(level)) < 1e-4
        assert int(row["steps"]) == round(0.5 * 22) and 0 <= float(row["test_accuracy"]) <= 1
        assert re.fullmatch("[0-9a-f]{8}", row["checkpoint"]) and (method == "dense") == (float(level) == 0)


def test_the_same_checkpoint_for_all_methods_of_a_seed(reference):
    checkpoints = {row["seed"]: set() for row in reference.values()}
    for row in reference.values():
        checkpoints[row["seed"]].add(row["checkpoint"])
    assert all(len(names) == 1 for names in checkpoints.values()) and len(set.union(*checkpoints.values())) == 2


def test_job_count_does_not_matter(tmp_path, reference):
    assert sweep(TINY, tmp_path / "two.csv", jobs=2) == 12
    assert_complete(tmp_path / "two.csv", reference)


def test_complete_file_runs_nothing(tmp_path, reference, monkeypatch):
    out = tmp_path / "tiny.csv"
    sweep(TINY, out, seeds=1)
    before = out.read_bytes()
    monkeypatch.setattr(runner, "run_one", lambda *_: pytest.fail("ran again"))
    assert sweep(TINY, out, seeds=1) == 0 and out.read_bytes() == before


# ---- killed

# One process imports everything once; for each line that it reads it forks a child that sweeps, and the child is killed:
# after so many seconds, or in the middle of writing a row.
ZYGOTE = """
import os, signal, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_runner
from experiments import runner

def half(path, values):
    line = ",".join(map(str, values))
    with open(path, "a") as file:
        file.write(line[: max(1, len(line) * share // 100)])
    os.kill(os.getpid(), signal.SIGKILL)

for line in sys.stdin:
    out, how, amount = line.split("|")
    child = os.fork()
    if child == 0:
        if how == "mid-write":
            share, real = int(amount), runner._append
            left = [share % 4]  # so many whole rows first
            def torn(path, values):
                left[0] -= 1
                (half if left[0] < 0 else real)(path, values)
            runner._append = torn
        runner.sweep(test_runner.TINY, Path(out))
        os._exit(0)
    if how == "after":
        time.sleep(float(amount))
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs a POSIX system")
def test_killed_at_random_moments(tmp_path, reference):
    """kill -9 at 24 random moments, 8 of them in mid-write: in the end every run stands in the file once."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    script = ZYGOTE.format(tests=str(REPOSITORY / "tests"))
    rng = random.Random(0)
    kills = 0
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=REPOSITORY, **pipes) as zygote:

        def child(out, how, amount):
            zygote.stdin.write(f"{out}|{how}|{amount}\n")
            zygote.stdin.flush()
            while not (line := zygote.stdout.readline().strip()).lstrip("-").isdigit():
                pass  # what the sweep itself prints
            return int(line)

        for attempt in range(200):
            out = tmp_path / f"tiny{attempt // 12}.csv"
            how = "mid-write" if attempt % 3 == 2 else "after"
            amount = rng.randrange(100) if how == "mid-write" else rng.uniform(0, 1.5)
            kills += child(out, how, amount) == signal.SIGKILL
            if kills >= 24 and attempt % 12 == 11:
                break
        for path in sorted(tmp_path.glob("*.csv")):
            assert child(path, "to the end", 0) == 0
            assert_complete(path, reference)
        zygote.stdin.close()
    assert kills >= 24


@given(share=st.floats(0.001, 0.999), lines=st.integers(0, 3))
def test_torn_last_line_is_repaired(tmp_path_factory, share, lines):
    """Cut anywhere in its last line, the file keeps all lines before it."""
    out = tmp_path_factory.mktemp("torn") / "tiny.csv"
    whole = [HEADER, *(f"{k}," * (len(TINY.columns) - 1) + f"{k}\n" for k in range(3))][: lines + 1]
    last = whole[-1]
    out.write_text("".join(whole[:-1]) + last[: max(1, int(share * len(last)))].rstrip("\n"), encoding="utf-8")
    with pytest.raises(ResultsError, match=f"line {len(whole)}: has no end; this grid's sweep removes it"):
        read_rows(out, TINY.columns)
    assert len(read_rows(out, TINY.columns, repair=True)) == max(0, len(whole) - 2)
    assert out.read_text(encoding="utf-8") == "".join(whole[:-1])


# ---- files that are not ours, or damaged


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,age\nx,1\n", "line 1: not the header of this grid"),
        ("name,age\nx,1\ny,2", "line 1: not the header of this grid"),
        (HEADER.replace("seed", "sead") + "x,1\ny,2", "line 1: not the header of this grid"),
        (HEADER.replace("\n", ",more\n") + "x,1", "line 1: not the header of this grid"),
        ("a file without line ends", "line 1: not the header of this grid"),
        (HEADER + "digits,CifarNet\n", "line 2: damaged"),
        (HEADER + "x," * (len(TINY.columns) - 1) + "x\n\n", "line 3: damaged"),
        (HEADER + '"' + "x," * len(TINY.columns) + "\n", "line 2: damaged"),
        (HEADER + "\0" * 40 + "\n", "line 2: damaged"),
        (HEADER.encode() + b"\xff\xfe\n", "line 2: damaged"),
        (b"\xff\xfe\n", "line 1: not the header of this grid"),
        ("\n" + HEADER, "line 1: not the header"),
    ],
)
def test_foreign_or_damaged_file_is_refused_untouched(tmp_path, content, message):
    out = tmp_path / "other.csv"
    out.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = out.read_bytes()
    with pytest.raises(ResultsError, match=f"other.csv, {message}"):
        sweep(TINY, out, seeds=1)
    assert out.read_bytes() == before


def test_a_run_that_stands_twice_is_refused(tmp_path):
    out = tmp_path / "tiny.csv"
    sweep(TINY, out, seeds=1)
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True)
    out.write_text("".join([*lines, lines[2]]), encoding="utf-8")
    with pytest.raises(ResultsError, match="tiny.csv, line 8: the same run as line 3"):
        sweep(TINY, out, seeds=1)


def test_rows_that_start_from_other_weights_are_not_added_to(tmp_path):
    """Another machine, or a lost build folder: the dense network of a seed is another one then, and pairs would not be pairs."""
    out = tmp_path / "tiny.csv"
    sweep(TINY, out, seeds=1)
    *kept, _ = out.read_text(encoding="utf-8").splitlines(keepends=True)
    foreign = "".join(kept).replace(read_rows(out)[0]["checkpoint"], "another:0123abcd")
    out.write_text(foreign, encoding="utf-8")
    with pytest.raises(ResultsError, match="tiny.csv: width 0.1, seed 0 starts from another:0123abcd, but here from"):
        sweep(TINY, out, seeds=2)
    assert out.read_text(encoding="utf-8") == foreign
    assert sweep(Grid(lambda seeds: tiny([1]), TINY.run, TINY.prepare, EXTRA), out) == 6  # another seed may start elsewhere


def test_a_worker_with_another_network_is_noticed(tmp_path):
    def run(configuration, data):
        row = runs.prune_and_finetune(configuration, data)
        return row | ({"checkpoint": "another"} if configuration["method"] == "random" else {})

    out = tmp_path / "tiny.csv"
    with pytest.raises(ResultsError, match="seed 0 starts from .*, but here from another; go on where that network is"):
        sweep(Grid(tiny, run, runs.prepare_dense, EXTRA), out, seeds=1)
    assert [row["method"] for row in read_rows(out)] == ["dense", "magnitude", "magnitude"]


@pytest.mark.parametrize("content", ["a file without line ends", "name,age\nx,1\ny,2"])
def test_the_owner_of_another_file_is_not_told_to_sweep(tmp_path, content):
    path = tmp_path / "other.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ResultsError, match="other.csv, line 1: not the header of this grid; move the file away"):
        read_rows(path, TINY.columns)
    with pytest.raises(ResultsError, match="has no end; restore the file with git or move it away"):
        read_rows(path)


def test_two_sweeps_cannot_interleave(tmp_path):
    out = tmp_path / "tiny.csv"
    with FileLock(f"{out}.lock"), pytest.raises(ResultsError, match="another sweep is writing"):
        sweep(TINY, out)
    assert not out.exists()


def test_a_failing_run_keeps_the_finished_ones(tmp_path):
    def run(configuration, data):
        if configuration["method"] == "random":
            raise RuntimeError("diverged")
        return runs.prune_and_finetune(configuration, data)

    out = tmp_path / "tiny.csv"
    with pytest.raises(RuntimeError, match="diverged"):
        sweep(Grid(tiny, run, runs.prepare_dense, EXTRA), out, seeds=1)
    assert [row["method"] for row in read_rows(out)] == ["dense", "magnitude", "magnitude"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_has_one_thread_and_leaves_the_others_to_its_caller(fails):
    def work(configuration, data):
        seen.append(torch.get_num_threads())
        if fails:
            raise RuntimeError("diverged")
        return {}

    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        with pytest.raises(RuntimeError, match="diverged") if fails else nullcontext():
            runner.run_one(work, {}, "digits")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


@pytest.mark.parametrize(("name", "value"), [("jobs", 0), ("seeds", 0), ("seeds", -1)])
def test_bad_arguments(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name}={value}: must be 1 or more"):
        sweep(TINY, tmp_path / "x.csv", **{name: value})
    assert list(tmp_path.iterdir()) == []


# ---- a cluster


@pytest.mark.skipif(os.name == "nt", reason="kill -9 needs a POSIX system")
def test_dask_cluster_survives_a_killed_worker(tmp_path, reference):
    """Two worker processes; one is killed while it works: the scheduler runs its task again elsewhere."""
    from dask.distributed import Client, LocalCluster

    out = tmp_path / "dask.csv"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r}); import test_runner; from pathlib import Path; "
        code += f"test_runner.sweep(test_runner.TINY, Path({str(out)!r}), scheduler={cluster.scheduler_address!r})"
        with Client(cluster) as client:
            client.run(lambda folder: sys.path.insert(0, folder), str(REPOSITORY / "tests"))
            workers = client.run(os.getpid)
            with subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"TQDM_DISABLE": "1"}) as process:
                deadline = time.monotonic() + 120
                while (not out.exists() or out.read_bytes().count(b"\n") < 3) and time.monotonic() < deadline:
                    time.sleep(0.05)
                os.kill(next(iter(workers.values())), signal.SIGKILL)
                assert process.wait(timeout=180) == 0
            assert set(client.run(os.getpid).values()) != set(workers.values())
    assert_complete(out, reference)


# ---- the command


def run_command(*arguments):
    environment = os.environ | {"PRUNING_DATA": "digits", "TQDM_DISABLE": "1"}
    run = [sys.executable, "-m", "experiments", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, cwd=REPOSITORY, env=environment, timeout=300)


def test_command_lists_and_plans(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRUNING_DATA", "digits")
    command.main(["--list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in GRIDS)
    out = tmp_path / "tiny.csv"
    monkeypatch.setitem(GRIDS, "tiny", TINY)
    command.main(["tiny", "--dry-run", "--out", str(out)])
    shown = capsys.readouterr().out
    assert shown.count("method=") == 12 and "no finished rows" in shown and not out.exists()
    command.main(["tiny", "--seeds", "1", "--jobs", "1", "--out", str(out)])
    assert "6 runs added" in capsys.readouterr().out
    command.main(["tiny", "--dry-run", "--out", str(out)])
    shown = capsys.readouterr().out
    assert shown.count("method=") == 6 and "about 1 minutes" in shown


def test_command_says_errors_in_one_line(tmp_path):
    (tmp_path / "x.csv").write_text("name,age\n", encoding="utf-8")
    done = run_command("sparsity_curve", "--out", tmp_path / "x.csv", "--jobs", 1)
    assert done.returncode == 1 and done.stderr.strip().endswith("or name another with --out") and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    for name in ("--jobs", "--seeds"):
        done = run_command("sparsity_curve", "--dry-run", name, 0)
        assert done.returncode == 2 and f"{name} 0: must be 1 or more" in done.stderr
    done = run_command("no_such_grid")
    assert done.returncode == 2 and "sparsity_curve" in done.stderr


def test_digits_never_go_to_the_committed_results():
    for name in GRIDS:
        assert command.default_out(name, "cifar10") == REPOSITORY / "results" / f"{name}.csv"
        assert command.default_out(name, "digits").is_relative_to(REPOSITORY / "build")


def test_audit_notices_a_changed_row(tmp_path, capsys):
    out = tmp_path / "tiny.csv"
    sweep(TINY, out, seeds=1)
    assert audit(out, TINY, "digits")
    rows = read_rows(out)
    for row in rows:
        row["test_accuracy"] = f"{float(row['test_accuracy']) + 0.006:.6f}"
    out.unlink()
    for values in (TINY.columns, *(row.values() for row in rows)):
        runner._append(out, values)
    assert not audit(out, TINY, "digits")
    assert "FAIL tiny.csv" in capsys.readouterr().out

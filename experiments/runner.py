"""Grids of real trainings that survive anything: `python -m experiments NAME --seeds N --jobs J`.

A grid (`experiments.grids`) lists configurations; a run takes one and returns one row. The parent appends each row as its
run finishes, so that a killed sweep loses at most the runs in flight, and the same command starts again where it stopped.
"""

import csv
import io
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from helpers.data import REPOSITORY, Dataset, check, load_dataset
from helpers.devices import describe_device, pick_device

COLUMNS = (
    "dataset", "model", "width", "checkpoint", "method", "scope", "schedule", "target_sparsity", "achieved_sparsity", "seed",
    "steps", "batch_size", "lr", "accuracy_before", "val_accuracy", "test_accuracy", "precision", "seconds", "torch", "device",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """`configurations(seeds)` lists what to run; `run(configuration, data)` does one and returns its row.

    `prepare(configuration, data)` makes what all runs of a width and seed share, once, and returns what it is called in their
    column `checkpoint`; `extra` columns follow the common ones.
    """

    configurations: Callable[[Iterable[int]], list[dict]]
    run: Callable[[dict, Dataset], dict]
    prepare: Callable[[dict, Dataset], str] | None = None
    extra: tuple[str, ...] = ()
    seeds: int = 5

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS + self.extra

    @property
    def everything(self) -> list[dict]:
        """All configurations, with the grid's own number of seeds."""
        return self.configurations(range(self.seeds))


class ResultsError(RuntimeError):
    """A results file that is foreign, damaged or in use; the message names the file, the line and the next step."""


# ---- the results file: complete lines, each run once


def _line(values: Iterable) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def read_rows(path: str | os.PathLike, columns: Iterable[str] | None = None) -> list[dict[str, str]]:
    """All rows of a results file as text, by column; [] where there is no file.

    Raises:
        ResultsError: naming file and line, for another header, a wrong number of fields, or a line that is no text.
    """
    path = Path(path)
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    if lines.pop() != b"":
        raise ResultsError(
            f"{path}, line {len(lines) + 1}: not complete; if this file is a sweep's, start the sweep again to repair it"
        )
    rows, header = [], None
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            fields = next(csv.reader([line.decode()], strict=True), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise ResultsError(f"{where}: damaged ({error}); restore the file with git or move it away") from error
        if header is None:
            header = fields
            if columns is not None and header != list(columns):
                raise ResultsError(f"{where}: not the header of this grid; move the file away or name another with --out")
        elif len(fields) != len(header) or "\0" in "".join(fields):
            counts = f"{len(fields)} fields, the header has {len(header)}"
            raise ResultsError(f"{where}: damaged ({counts}); restore the file with git or move it away")
        else:
            rows.append(dict(zip(header, fields, strict=True)))
    return rows


def _repair(path: Path, header: bytes) -> None:
    """Cut off a last line without an end: the run that was being written when the sweep was killed is simply run again.

    Raises:
        ResultsError: for a file with another header, which is left as it is.
    """
    content = path.read_bytes() if path.exists() else b""
    keep = content.rfind(b"\n") + 1
    if keep == len(content):
        return
    if not (content.startswith(header) if keep else header.startswith(content)):
        raise ResultsError(f"{path}, line 1: not the header of this grid; move the file away or name another with --out")
    with open(path, "r+b") as file:
        file.truncate(keep)
    torn = content.count(b"\n") + 1
    print(f"{path.name}: line {torn} was torn by an interruption and has been removed; its run starts again")


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=0):
            yield
    except Timeout:
        raise ResultsError(f"{path}: another sweep is writing to this file; wait for it or name another with --out") from None


# ---- the sweep


cached_data = cache(load_dataset)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A run's numbers then do not depend on how many runs share the machine; afterwards there are as many threads as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_one(run: Callable[[dict, Dataset], dict], configuration: dict, dataset: str) -> dict:
    """The row of one configuration, with the columns that every run has."""
    data, start = cached_data(dataset), time.perf_counter()
    with _one_thread():
        row = {"precision": "fp32"} | run(configuration, data)
    return row | {
        "dataset": data.label,
        "seconds": round(time.perf_counter() - start, 2),
        "torch": torch.__version__.split("+")[0],
        "device": describe_device(pick_device()),
    }


def _prepare(prepare: Callable[[dict, Dataset], str], configuration: dict, dataset: str) -> tuple[dict, str]:
    with _one_thread():
        return configuration, prepare(configuration, cached_data(dataset))


def remaining(configurations: list[dict], rows: list[dict[str, str]], label: str, path: Path) -> list[dict]:
    """The configurations that no row holds yet; refuses a file that holds a run twice."""
    names = sorted(configurations[0])
    seen: dict[tuple, int] = {}
    for line, row in enumerate(rows, start=2):
        first = seen.setdefault((row["dataset"], *(row[name] for name in names)), line)
        if first != line:
            raise ResultsError(f"{path}, line {line}: the same run as line {first}; remove one of them")
    return [c for c in configurations if (label, *(str(c[name]) for name in names)) not in seen]


def _check_start(rows: list[dict[str, str]], label: str, configuration: dict, checkpoint: str, path: Path) -> None:
    """Refuse to add to a seed whose rows start from other weights: its runs could not be compared with each other."""
    started = {"dataset": label, "width": str(configuration["width"]), "seed": str(configuration["seed"])}
    for line, row in enumerate(rows, start=2):
        if started.items() <= row.items() and row["checkpoint"] != checkpoint:
            raise ResultsError(
                f"{path}, line {line}: width {row['width']}, seed {row['seed']} starts from {row['checkpoint']}, but here from "
                f"{checkpoint}; go on where that network is (build/networks), or remove the rows of this seed"
            )


def sweep(
    grid: Grid,
    out: str | os.PathLike,
    *,
    dataset: str = "digits",
    seeds: int | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
) -> int:
    """Run what a results file lacks of a grid; returns how many runs that was.

    Args:
        grid: its configurations must all have the same keys, which are columns.
        out: CSV file; rows are appended as runs finish.
        dataset: "cifar10" or "digits". seeds: 0 to seeds - 1; default: the grid's own number.
        jobs: local processes, one thread each. scheduler: address of a Dask cluster to run on instead ("tcp://…").

    Raises:
        ResultsError: for a foreign or damaged results file, or one that another sweep is writing to.
    """
    seeds = grid.seeds if seeds is None else seeds
    for name, value in (("jobs", jobs), ("seeds", seeds)):
        check(value >= 1, name, value, "1 or more")
    out, label, configurations = Path(out), cached_data(dataset).label, grid.configurations(range(seeds))
    header = _line(grid.columns)
    with _only_writer(out), _backend(scheduler, jobs) as parallel:
        _repair(out, header)
        todo = remaining(configurations, rows := read_rows(out, grid.columns), label, out)
        if not todo:
            return 0
        shared = {(c["width"], c["seed"]): c for c in todo}.values() if grid.prepare else ()
        bar = {"unit": "run", "disable": True if os.environ.get("TQDM_DISABLE") else None, "smoothing": 0}
        prepared = parallel(delayed(_prepare)(grid.prepare, c, dataset) for c in shared)
        checkpoints = {}
        for configuration, checkpoint in tqdm(prepared, total=len(shared), desc="dense networks", **bar):
            _check_start(rows, label, configuration, checkpoint, out)
            checkpoints[configuration["width"], configuration["seed"]] = checkpoint
        if not out.exists() or out.stat().st_size == 0:
            _append(out, header)
        finished = parallel(delayed(run_one)(grid.run, c, dataset) for c in todo)
        for row in tqdm(finished, total=len(todo), desc=out.stem, **bar):
            if grid.prepare and row["checkpoint"] != checkpoints[row["width"], row["seed"]]:
                raise ResultsError(
                    f"{out}: a run of width {row['width']}, seed {row['seed']} on {row['device']} started from {row['checkpoint']}, "
                    f"others from {checkpoints[row['width'], row['seed']]}; give all workers the same results/networks and build/"
                )
            _append(out, _line(row[name] for name in grid.columns))
    return len(todo)


@contextmanager
def _backend(scheduler: str | None, jobs: int) -> Iterator[Parallel]:
    options = {"return_as": "generator_unordered", "batch_size": 1}
    if scheduler is None:
        with Parallel(n_jobs=jobs, **options) as parallel:
            yield parallel
        return
    from dask.distributed import Client

    with Client(scheduler, timeout="30s"), parallel_config(backend="dask"):
        yield Parallel(n_jobs=-1, **options)


def estimate(todo: int, rows: list[dict[str, str]], jobs: int) -> str:
    """How long `todo` runs will take, from the median of finished rows."""
    if not rows:
        return "no finished rows to estimate the time from"
    seconds = todo * statistics.median(float(row["seconds"]) for row in rows) / jobs
    return f"about {seconds / 3600:.1f} hours" if seconds > 5400 else f"about {max(1, round(seconds / 60))} minutes"


def default_out(name: str, dataset: str) -> Path:
    """results/NAME.csv for CIFAR-10; digits never go there."""
    return REPOSITORY / ("results" if dataset == "cifar10" else "build/results") / f"{name}.csv"

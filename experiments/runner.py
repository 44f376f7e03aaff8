"""Runs a grid of trainings, and survives anything: each row is on the disk as soon as its run has finished.

A grid (`experiments.grids`) lists configurations; a run takes one and returns one row. A results file is a header and rows. A
sweep that is killed loses at most the runs in flight, and the same command (`python -m experiments NAME`) goes on from there.
"""

import csv
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from experiments.device import describe_device
from helpers.data import Dataset, check, load_dataset
from helpers.devices import pick_device

COLUMNS = (
    "dataset", "model", "width", "checkpoint", "method", "scope", "schedule", "target_sparsity", "achieved_sparsity", "seed",
    "epochs", "steps", "batch_size", "lr", "accuracy_before", "test_accuracy_before", "accuracy_recalibrated",
    "test_accuracy_recalibrated", "val_accuracy", "test_accuracy", "precision", "seconds", "torch", "device",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """`configurations(seeds)` lists what to run; `run(configuration, data)` does one and returns its row.

    `prepare(configuration, data)` makes what all runs of a width and seed share, once, and returns a row whose `checkpoint` names
    it, as in theirs; `extra` columns follow the common ones.
    """

    configurations: Callable[[Iterable[int]], list[dict]]
    run: Callable[[dict, Dataset], dict]
    prepare: Callable[[dict, Dataset], dict] | None = None
    extra: tuple[str, ...] = ()
    seeds: int = 5

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS + self.extra

    @property
    def everything(self) -> list[dict]:
        """All configurations, with the grid's number of seeds."""
        return self.configurations(range(self.seeds))


class ResultsError(RuntimeError):
    """A results file that is foreign, damaged or in use; the message names the file, the line and the next step."""


def append_rows(path: Path, grid: Grid, rows: Iterable[dict]) -> None:
    """Append rows to a results file, below a header where it is new, and see to it that they are on the disk."""
    header = [] if path.exists() and path.stat().st_size else [grid.columns]
    with open(path, "a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(header + [[row[name] for name in grid.columns] for row in rows])
        file.flush()
        os.fsync(file.fileno())


def _fields(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def read_rows(path: str | os.PathLike, columns: tuple[str, ...] = (), *, repair: bool = False) -> list[dict[str, str]]:
    """All rows of a results file as text, by column; [] where there is no file.

    Without `columns` any header will do. With `repair`, a last line that a killed sweep has not finished is cut off.

    Raises:
        ResultsError: naming file and line, for another header, a line with more or fewer fields, or one without an end.
    """
    path = Path(path)
    content = path.read_bytes() if path.exists() else b""
    *lines, torn = content.split(b"\n")
    first = lines[0].rstrip(b"\r") + b"\n" if lines else torn
    if columns and not f"{','.join(columns)}\n".encode().startswith(first):
        raise ResultsError(f"{path}, line 1: not the header of this grid; move the file away or name another with --out")
    header, *rows = map(_fields, lines) if lines else [[]]
    for number, fields in enumerate(rows, start=2):
        if len(fields) != len(header) or "\0" in "".join(fields):
            raise ResultsError(f"{path}, line {number}: damaged; restore the file with git or move it away")
    if torn and repair:
        os.truncate(path, len(content) - len(torn))
        print(f"{path.name}: line {len(lines) + 1} was torn by an interruption and has been removed; its run starts again")
    elif torn:
        step = "this grid's sweep removes it when it starts again" if columns else "restore the file with git or move it away"
        raise ResultsError(f"{path}, line {len(lines) + 1}: has no end; {step}")
    return [dict(zip(header, fields, strict=True)) for fields in rows]


_data = cache(load_dataset)


def run_one(run: Callable[[dict, Dataset], dict], configuration: dict, dataset: str) -> dict:
    """The row of one configuration, with the columns that every run has; on one thread, however many runs share the machine."""
    data, threads, start = _data(dataset), torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        row = {"precision": "fp32"} | run(configuration, data)
    finally:
        torch.set_num_threads(threads)
    seconds, version = round(time.perf_counter() - start, 2), torch.__version__.split("+")[0]
    return row | {"dataset": data.label, "seconds": seconds, "torch": version, "device": describe_device(pick_device())}


def remaining(configurations: list[dict], rows: list[dict[str, str]], label: str, path: Path) -> list[dict]:
    """The configurations that no row holds yet; refuses a file that holds a run twice."""
    names = sorted(configurations[0])
    seen: dict[tuple, int] = {}
    for line, row in enumerate(rows, start=2):
        first = seen.setdefault((row["dataset"], *(row[name] for name in names)), line)
        if first != line:
            raise ResultsError(f"{path}, line {line}: the same run as line {first}; remove one of them")
    return [c for c in configurations if (label, *(str(c[name]) for name in names)) not in seen]


def _check_start(starts: dict[tuple, str], row: dict, path: Path) -> None:
    """Refuse a second dense network within a width and seed: runs that start from both could not be compared."""
    known = starts.setdefault((row["dataset"], str(row["width"]), str(row["seed"])), row["checkpoint"])
    if known != row["checkpoint"]:
        raise ResultsError(
            f"{path}: width {row['width']}, seed {row['seed']} starts from {known}, but here from {row['checkpoint']}; go on where "
            "that network is (all workers need the same results/networks and build/networks), or remove the rows of this seed"
        )


def sweep(
    grid: Grid, out: Path, *, dataset: str = "digits", seeds: int | None = None, jobs: int = 1, scheduler: str | None = None
) -> int:
    """Run what a results file lacks of a grid; returns how many runs that was.

    Args:
        out: CSV file; rows are appended as runs finish. A ResultsError where it is foreign, damaged or another sweep's.
        seeds: 0 to seeds - 1; default: the grid's number.
        jobs: local processes. scheduler: address of a Dask cluster to run on instead ("tcp://…").
    """
    seeds = grid.seeds if seeds is None else seeds
    for name, value in (("jobs", jobs), ("seeds", seeds)):
        check(value >= 1, name, value, "1 or more")
    starts: dict[tuple, str] = {}
    workers = {"backend": "dask", "scheduler_host": scheduler, "n_jobs": -1} if scheduler else {"n_jobs": jobs}
    bar = {"unit": "run", "disable": True if os.environ.get("TQDM_DISABLE") else None, "smoothing": 0}
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(f"{out}.lock").acquire(timeout=0)
    except Timeout:
        raise ResultsError(f"{out}: another sweep is writing to this file; wait for it or name another with --out") from None
    with lock, parallel_config(**workers):
        parallel = Parallel(return_as="generator_unordered", batch_size=1)
        rows = read_rows(out, grid.columns, repair=True)
        todo = remaining(grid.configurations(range(seeds)), rows, _data(dataset).label, out)
        if not todo:
            return 0
        if grid.prepare:
            for row in rows:
                _check_start(starts, row, out)
            shared = {(c["width"], c["seed"]): c for c in todo}.values()
            prepared = parallel(delayed(run_one)(grid.prepare, c, dataset) for c in shared)
            for row in tqdm(prepared, total=len(shared), desc="dense networks", **bar):
                _check_start(starts, row, out)
        append_rows(out, grid, [])
        finished = parallel(delayed(run_one)(grid.run, c, dataset) for c in todo)
        for row in tqdm(finished, total=len(todo), desc=out.stem, **bar):
            if grid.prepare:
                _check_start(starts, row, out)
            append_rows(out, grid, [row])
    return len(todo)

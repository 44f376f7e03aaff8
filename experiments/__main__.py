"""Run a grid of trainings, or what is left of it: `python -m experiments NAME --seeds N --jobs J`.

`python -m experiments all --out DIR` runs all of them, one file each, and `python -m experiments merge DIR` adds the rows of such a
folder, measured elsewhere, to the committed ones.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from experiments import networks
from experiments.grids import GRIDS
from experiments.runner import Grid, ResultsError, append_rows, read_rows, remaining, sweep
from helpers.data import REPOSITORY, DataError, Dataset, load_dataset
from helpers.models import CifarNet
from helpers.training import train

COST = {1.0: 3.6}  # seconds of an epoch at this width, in those of half width


def default_out(name: str, dataset: str) -> Path:
    """results/official/NAME.csv for CIFAR-10; digits never go there."""
    return REPOSITORY / ("results/official" if dataset == "cifar10" else "build/results") / f"{name}.csv"


def seconds_per_epoch(data: Dataset) -> float:
    """How long this machine trains CifarNet(0.5) for an epoch on one thread, from a hundredth of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    train(CifarNet(0.5), data, epochs=0.01, validate=False, progress=False)
    torch.set_num_threads(threads)
    return 100 * (time.perf_counter() - start)


def estimate(todo: list[dict], rows: list[dict[str, str]], jobs: int, epoch: float) -> str:
    """How long the runs `todo` will take: from finished rows, else from the seconds of an `epoch` at half width."""
    if rows:
        seconds = len(todo) * statistics.median(float(row["seconds"]) for row in rows) / jobs
    else:
        trained = [0 if "source" in c else c["epochs"] for c in todo]  # the networks of `deploy` are there already
        costs = [COST.get(c.get("width"), 1.0) * (epochs + 0.5) for c, epochs in zip(todo, trained, strict=True)]
        seconds = sum(costs) * epoch / jobs  # half an epoch's time for evaluations
    return f"about {seconds / 3600:.1f} hours" if seconds > 5400 else f"about {max(1, round(seconds / 60))} minutes"


def merge(grid: Grid, source: Path, out: Path) -> int:
    """Add the rows of `source` to `out`; returns how many.

    Raises:
        ResultsError: for foreign columns, a run that is there already, or a row from another dense network; nothing is added.
    """
    new, known = read_rows(source, grid.columns), read_rows(out, grid.columns)
    if not new:
        raise ResultsError(f"{source}: no rows")
    index = pd.read_csv(networks.INDEX, dtype=str) if networks.INDEX.exists() else pd.DataFrame()
    committed = {(row.width, row.seed): row.fingerprint for row in index.itertuples()}
    names = sorted(grid.everything[0])
    seen = {tuple(row[name] for name in names) for row in known}
    for line, row in enumerate(new, start=2):
        run, dense = tuple(row[name] for name in names), committed.get((row["width"], row["seed"]))
        if run in seen:
            raise ResultsError(f"{source}, line {line}: this run is in {out.name} already, or twice here; remove one of them")
        if grid.prepare and dense and row["checkpoint"] != dense:
            raise ResultsError(f"{source}, line {line}: starts from {row['checkpoint']}, but results/networks holds {dense}")
        seen.add(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    append_rows(out, grid, new)
    return len(new)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Run a grid of trainings, or what is left of it.")
    parser.add_argument(
        "name", nargs="?", choices=[*GRIDS, "all", "merge"], help="the grid; all of them; or add rows from a folder"
    )
    parser.add_argument("folder", nargs="?", type=Path, help="with merge: the folder that --out of `all` named elsewhere")
    parser.add_argument("--seeds", type=int, help="seeds 0 to N - 1 (default: the grid's number)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="local processes, one thread each (default: all cores)")
    parser.add_argument("--scheduler", help="address of a Dask cluster, tcp://…")
    parser.add_argument(
        "--out", type=Path, help="results file, or with all a folder (default: results/official/, digits: build/results/)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would run, and how long it would take")
    parser.add_argument("--list", action="store_true", help="name the grids")
    options = parser.parse_args(arguments)
    if not options.list and not options.name:
        parser.error("name a grid (--list shows them)")
    if (options.name == "merge") != (options.folder is not None):
        parser.error("merge takes a folder, and nothing else does")
    for name, value in (("--seeds", options.seeds), ("--jobs", options.jobs)):
        if value is not None and value < 1:
            parser.error(f"{name} {value}: must be 1 or more")
    return options


def run(options: argparse.Namespace) -> None:
    if options.list:
        for name, grid in GRIDS.items():
            print(f"{name:<24} {len(grid.everything):>4} runs  {grid.configurations.__doc__.splitlines()[0]}")
        return
    data = load_dataset()
    if options.name == "merge":
        for path in sorted(options.folder.glob("*.csv")):
            print(f"{path.name}: {merge(GRIDS[path.stem], path, default_out(path.stem, data.name))} rows added")
        return
    everything = options.name == "all"
    epoch = seconds_per_epoch(data) if options.dry_run else 0.0
    for name in GRIDS if everything else [options.name]:
        out = options.out or default_out(name, data.name)
        run_grid(name, out / f"{name}.csv" if everything and options.out else out, data, options, epoch)


def run_grid(name: str, out: Path, data: Dataset, options: argparse.Namespace, epoch: float) -> None:
    """Run what is left of one grid, or say how long it would take."""
    grid = GRIDS[name]
    if not options.dry_run:
        count = sweep(grid, out, dataset=data.name, seeds=options.seeds, jobs=options.jobs, scheduler=options.scheduler)
        print(f"{out.name}: {count} runs added" if count else f"{out.name}: complete, nothing to run", flush=True)
        return
    rows = read_rows(out, grid.columns)
    todo = remaining(grid.configurations(range(options.seeds or grid.seeds)), rows, data.label, out)
    if options.name != "all":
        for configuration in todo:
            print("  ".join(f"{key}={value}" for key, value in configuration.items()))
    time_left = estimate(todo, rows, options.jobs, epoch)
    print(f"{name}: {len(todo)} runs, {time_left} with {options.jobs} jobs, once the dense networks are trained", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The command; expected errors are one line each."""
    try:
        run(parse(arguments))
    except (ResultsError, DataError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")


if __name__ == "__main__":
    main()

"""Run a grid of trainings, or what is left of it: `python -m experiments NAME --seeds N --jobs J`."""

import argparse
import os
import statistics
import sys
from pathlib import Path

from experiments.grids import GRIDS
from experiments.runner import ResultsError, read_rows, remaining, sweep
from helpers.data import REPOSITORY, DataError, load_dataset


def default_out(name: str, dataset: str) -> Path:
    """results/NAME.csv for CIFAR-10; digits never go there."""
    return REPOSITORY / ("results" if dataset == "cifar10" else "build/results") / f"{name}.csv"


def estimate(todo: int, rows: list[dict[str, str]], jobs: int) -> str:
    """How long `todo` runs will take, from the median of finished rows."""
    if not rows:
        return "no finished rows to estimate the time from"
    seconds = todo * statistics.median(float(row["seconds"]) for row in rows) / jobs
    return f"about {seconds / 3600:.1f} hours" if seconds > 5400 else f"about {max(1, round(seconds / 60))} minutes"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Run a grid of trainings, or what is left of it.")
    parser.add_argument("name", nargs="?", choices=GRIDS, help="the grid")
    parser.add_argument("--seeds", type=int, help="seeds 0 to N - 1 (default: the grid's number)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="local processes, one thread each (default: all cores)")
    parser.add_argument("--scheduler", help="address of a Dask cluster, tcp://…")
    parser.add_argument("--out", type=Path, help="results file (default: results/NAME.csv on CIFAR-10, build/results/ on digits)")
    parser.add_argument("--dry-run", action="store_true", help="list what would run, and how long it would take")
    parser.add_argument("--list", action="store_true", help="name the grids")
    options = parser.parse_args(arguments)
    if not options.list and not options.name:
        parser.error("name a grid (--list shows them)")
    for name, value in (("--seeds", options.seeds), ("--jobs", options.jobs)):
        if value is not None and value < 1:
            parser.error(f"{name} {value}: must be 1 or more")
    return options


def run(options: argparse.Namespace) -> None:
    if options.list:
        for name, grid in GRIDS.items():
            print(f"{name:<24} {len(grid.everything):>4} runs  {grid.configurations.__doc__.strip()}")
        return
    data = load_dataset()
    grid = GRIDS[options.name]
    out = options.out or default_out(options.name, data.name)
    if options.dry_run:
        rows = read_rows(out, grid.columns)
        todo = remaining(grid.configurations(range(options.seeds or grid.seeds)), rows, data.label, out)
        for configuration in todo:
            print("  ".join(f"{name}={value}" for name, value in configuration.items()))
        time_left = estimate(len(todo), rows, options.jobs)
        print(f"{len(todo)} runs, {time_left} with {options.jobs} jobs, once the dense networks are trained")
        return
    count = sweep(grid, out, dataset=data.name, seeds=options.seeds, jobs=options.jobs, scheduler=options.scheduler)
    print(f"{out.name}: {count} runs added" if count else f"{out.name}: complete, nothing to run")


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

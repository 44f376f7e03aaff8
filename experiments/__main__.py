"""The command line of the experiment runner: `python -m experiments NAME` runs a grid, or what is left of it."""

import argparse
import os
import sys
from pathlib import Path

from helpers.data import DataError, load_dataset

from .grids import GRIDS
from .runner import ResultsError, cached_data, default_out, estimate, read_rows, remaining, sweep


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Run a grid of trainings, or what is left of it.")
    parser.add_argument("name", nargs="?", choices=GRIDS, help="the grid")
    parser.add_argument("--seeds", type=int, help="seeds 0 to N - 1 (default: the grid's own number)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="local processes, one thread each (default: all cores)")
    parser.add_argument("--scheduler", help="address of a Dask cluster, tcp://…")
    parser.add_argument("--out", type=Path, help="results file (default: results/NAME.csv on CIFAR-10, build/results/ on digits)")
    parser.add_argument("--dry-run", action="store_true", help="list what would run, and how long it would take")
    parser.add_argument("--list", action="store_true", help="name the grids")
    options = parser.parse_args(arguments)
    if options.list:
        for name, grid in GRIDS.items():
            print(f"{name:<24} {len(grid.everything):>4} runs  {grid.configurations.__doc__.strip()}")
        return
    if not options.name:
        parser.error("name a grid (--list shows them)")
    for name, value in (("--seeds", options.seeds), ("--jobs", options.jobs)):
        if value is not None and value < 1:
            parser.error(f"{name} {value}: must be 1 or more")
    dataset = load_dataset().name
    grid, out = GRIDS[options.name], options.out or default_out(options.name, dataset)
    if options.dry_run:
        rows = read_rows(out, grid.columns)
        todo = remaining(grid.configurations(range(options.seeds or grid.seeds)), rows, cached_data(dataset).label, out)
        for configuration in todo:
            print("  ".join(f"{name}={value}" for name, value in configuration.items()))
        time_left = estimate(len(todo), rows, options.jobs)
        print(f"{len(todo)} runs, {time_left} with {options.jobs} jobs, once the dense networks are trained")
        return
    count = sweep(grid, out, dataset=dataset, seeds=options.seeds, jobs=options.jobs, scheduler=options.scheduler)
    print(f"{out.name}: {count} runs added" if count else f"{out.name}: complete, nothing to run")


def cli(arguments: list[str] | None = None) -> None:
    """`main`, with expected errors as one line each."""
    try:
        main(arguments)
    except (ResultsError, DataError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")


if __name__ == "__main__":
    cli()

"""Run every grid again from scratch on CIFAR-10 and redraw the figures from the new rows (`make reproduce`).

Rows go to build/reproduced/results/ and figures to build/reproduced/images/; the committed ones stay as they are. Times that
benchmarks have measured are taken from results/.
Stopped at any moment, the same command goes on.
"""

import sys

import experiments.__main__ as command
from experiments import figures
from experiments.grids import GRIDS
from experiments.runner import read_rows
from helpers.data import REPOSITORY

TARGET = REPOSITORY / "build" / "reproduced"


def main(arguments: list[str]) -> None:
    print("estimated from the committed rows, for one job, without the dense starting networks:")
    for name, grid in GRIDS.items():
        count, rows = len(grid.everything), read_rows(command.default_out(name, "cifar10"))
        print(f"  {name:<24} {count:>4} runs, {command.estimate(count, rows, jobs=1)}", flush=True)
    for name in GRIDS:
        command.main([name, "--out", str(TARGET / "results" / f"{name}.csv"), *arguments])
    figures.draw(TARGET / "results", TARGET / "images")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Run one random row of each results file again (`make audit`); fails when test accuracy differs by more than 0.5 points."""

import random
import sys
from pathlib import Path

from experiments.grids import GRIDS
from helpers import load_dataset
from helpers.sweeps import Grid, default_out, read_rows, run_one

TOLERANCE = 0.005


def audit(path: Path, grid: Grid, dataset: str) -> bool:
    """True where a random row's test accuracy comes out again."""
    row = random.choice(read_rows(path, grid.columns))
    known = grid.configurations(range(int(row["seed"]) + 1))
    (configuration,) = [c for c in known if all(str(value) == row[name] for name, value in c.items())]
    stored, again = float(row["test_accuracy"]), run_one(grid.run, configuration, dataset)["test_accuracy"]
    good = abs(again - stored) <= TOLERANCE
    told = ", ".join(f"{name} {row[name]}" for name in ("method", "target_sparsity", "seed"))
    print(f"{'ok  ' if good else 'FAIL'} {path.name} ({told}): test accuracy {stored:.4f}, again {again:.4f}", flush=True)
    return good


def main() -> int:
    dataset = load_dataset().name
    paths = {name: default_out(name, dataset) for name in GRIDS}
    return sum(not audit(path, GRIDS[name], dataset) for name, path in paths.items() if path.exists())


if __name__ == "__main__":
    sys.exit(min(main(), 1))

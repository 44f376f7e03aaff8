"""Run one random row of each results file again (`make audit`); fails where its validation accuracy is off by over 0.5 points.

All grids start from the committed dense networks, which are the same bits on every machine.
"""

import random
import sys
from pathlib import Path

from experiments.__main__ import default_out
from experiments.grids import GRIDS
from experiments.runner import Grid, read_rows, run_one
from helpers import load_dataset

TOLERANCE = 0.005


def audit(path: Path, grid: Grid, dataset: str) -> bool:
    """True where a random row's validation accuracy comes out again."""
    row = random.choice(read_rows(path, grid.columns))
    known = grid.configurations(range(grid.seeds))
    (configuration,) = [c for c in known if all(str(value) == row[name] for name, value in c.items())]
    again = run_one(grid.run, configuration, dataset)["val_accuracy"]
    good = abs(again - float(row["val_accuracy"])) <= TOLERANCE
    which = ", ".join(f"{name} {row[name]}" for name in ("method", "target_sparsity", "seed"))
    where = f"{float(row['val_accuracy']):.4f} on {row['device']}, again {again:.4f}"
    print(f"{'ok  ' if good else 'FAIL'} {path.name} ({which}): validation accuracy {where}", flush=True)
    return good


def main() -> int:
    dataset = load_dataset().name
    paths = {name: default_out(name, dataset) for name in GRIDS}
    return sum(not audit(path, GRIDS[name], dataset) for name, path in paths.items() if path.exists())


if __name__ == "__main__":
    sys.exit(min(main(), 1))

"""Run one random row of each results file again (`make audit`); fails where its test accuracy does not come out again.

On the machine that measured a row, it must by 0.5 points. Elsewhere the seed's dense network is another one, since other processors
round otherwise: there it must lie within what the row's arm spans over its seeds, and 0.5 points to either side.
"""

import random
import sys
from pathlib import Path

from experiments.__main__ import default_out
from experiments.grids import GRIDS
from experiments.runner import Grid, describe_device, read_rows, run_one
from helpers import load_dataset
from helpers.devices import pick_device

TOLERANCE = 0.005


def expected(row: dict[str, str], arm: list[dict[str, str]], device: str) -> tuple[float, float]:
    """The lowest and the highest test accuracy with which a row has come out again."""
    values = [float(other["test_accuracy"]) for other in ([row] if row["device"] == device else arm)]
    return min(values) - TOLERANCE, max(values) + TOLERANCE


def audit(path: Path, grid: Grid, dataset: str) -> bool:
    """True where a random row's test accuracy comes out again."""
    row = random.choice(rows := read_rows(path, grid.columns))
    known = grid.configurations(range(int(row["seed"]) + 1))
    (configuration,) = [c for c in known if all(str(value) == row[name] for name, value in c.items())]
    arm = [other for other in rows if all(other[name] == row[name] for name in configuration if name != "seed")]
    low, high = expected(row, arm, describe_device(pick_device()))
    again = run_one(grid.run, configuration, dataset)["test_accuracy"]
    good = low <= again <= high
    which = ", ".join(f"{name} {row[name]}" for name in ("method", "target_sparsity", "seed"))
    where = f"{float(row['test_accuracy']):.4f} on {row['device']}, again {again:.4f} (expected {low:.4f} to {high:.4f})"
    print(f"{'ok  ' if good else 'FAIL'} {path.name} ({which}): test accuracy {where}", flush=True)
    return good


def main() -> int:
    dataset = load_dataset().name
    paths = {name: default_out(name, dataset) for name in GRIDS}
    return sum(not audit(path, GRIDS[name], dataset) for name, path in paths.items() if path.exists())


if __name__ == "__main__":
    sys.exit(min(main(), 1))

"""The experiment runner, in one run (`make bench`): runs per hour with one job and with two, and what the runner itself costs.

Rows go to results/sweep_speed.csv on CIFAR-10 at the full budget, else to build/results/.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.device import describe_device
from experiments.grids import GRIDS
from experiments.runner import Grid, read_rows, sweep
from helpers import load_dataset, output_path
from helpers.data import replacing
from helpers.devices import pick_device

RUNS, EPOCHS = 4, 0.25


def short(runs, seeds):
    """Runs as in `criteria`, but short: a quarter of an epoch of fine-tuning, of a network trained as briefly."""
    common = {"model": "CifarNet", "width": 0.5, "scope": "global", "schedule": "one_shot", "lr": 0.1, "epochs": EPOCHS}
    common |= {"dense_epochs": EPOCHS, "batch_size": 500}
    return [common | {"method": "magnitude", "target_sparsity": 0.5 + k / 100, "seed": 0} for k in range(runs)]


def main():
    data = load_dataset()
    criteria = GRIDS["criteria"]
    extra = (*criteria.extra, "dense_epochs")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        warm = Grid(partial(short, 2), criteria.run, criteria.prepare, extra)
        sweep(warm, Path(folder) / "warm.csv", dataset=data.name, seeds=1, jobs=2)  # the dense network, the processes
        for turn in range(2):
            for jobs in (1, 2):
                out = Path(folder) / f"{turn}-{jobs}.csv"
                start = time.perf_counter()
                sweep(
                    Grid(partial(short, RUNS), criteria.run, criteria.prepare, extra), out, dataset=data.name, seeds=1, jobs=jobs
                )
                wall = time.perf_counter() - start
                inside = sum(float(row["seconds"]) for row in read_rows(out))
                rows.append({
                    "dataset": data.label, "device": describe_device(pick_device()), "turn": turn, "jobs": jobs, "runs": RUNS,
                    "epochs": EPOCHS, "seconds": round(wall, 2), "seconds_in_runs": round(inside, 2),
                    "runs_per_hour": round(3600 * RUNS / wall, 1), "overhead": round(1 - inside / jobs / wall, 4),
                })  # fmt: skip
                print(
                    f"  {jobs} job(s): {wall:7.1f} s, {3600 * RUNS / wall:6.0f} runs an hour, overhead {rows[-1]['overhead']:.2%}",
                    flush=True,
                )
    table = pd.DataFrame(rows)
    one, two = (table[table.jobs == jobs].runs_per_hour.median() for jobs in (1, 2))
    overhead = table[table.jobs == 1].overhead.median()
    print(f"two jobs do {two / one:.2f} times the runs of one; the runner takes {overhead:.2%} of a run of {EPOCHS} epochs")
    path = output_path("results/sweep_speed.csv", data)
    with replacing(path) as beside:
        table.to_csv(beside, index=False)


if __name__ == "__main__":
    main()

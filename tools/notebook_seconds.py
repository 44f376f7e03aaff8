"""How long each notebook runs at the live budget, one after the other: what the cards and docs/WORKSHOP.md say in minutes.

`python -m tools.notebook_seconds [01 02 …] [--out results/notebook_seconds.csv]`, on the data set of PRUNING_DATA. Without
`--out` rows go to build/results/. A row of the same notebook, data set and machine is replaced. Measure on a machine that does
nothing else: where `seconds` is much more than `cpu_seconds` divided by the cores that a notebook keeps busy, something else ran.
"""

import argparse
import os
import sys
from pathlib import Path

import pandas as pd

from experiments.device import describe_device
from helpers import load_dataset
from helpers.data import replacing
from helpers.devices import pick_device
from tools.notebooks import NOTEBOOKS, REPOSITORY, execute

OUT = REPOSITORY / "build" / "results" / "notebook_seconds.csv"
KEY = ["notebook", "dataset", "device"]


def processor_seconds() -> float:
    """Of all processes that this one started and that have ended, so of the kernels (0 on Windows, which does not tell)."""
    times = os.times()
    return times.children_user + times.children_system


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="numbers of notebooks, by default all")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args(arguments)
    os.environ |= {"PRUNING_BUDGET": "live", "TQDM_DISABLE": "1"}
    data, device = load_dataset(), describe_device(pick_device())
    sources = [path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) if not asked.names or path.stem[:2] in asked.names]
    if not sources:
        parser.error(f"{', '.join(asked.names)}: no such notebook, the numbers are two digits")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for source in sources:
        before = processor_seconds()
        seconds = execute(source, REPOSITORY / "build" / "seconds" / source.name, os.cpu_count() or 1)
        row = {"notebook": source.stem, "dataset": data.label, "device": device, "seconds": round(seconds, 1)}
        row["cpu_seconds"] = round(processor_seconds() - before, 1)
        table = pd.DataFrame([row])
        if asked.out.exists():
            table = pd.concat([pd.read_csv(asked.out), table]).drop_duplicates(KEY, keep="last")
        with replacing(asked.out) as beside:
            table.sort_values(KEY).to_csv(beside, index=False)
        print(f"  {source.stem:<32} {seconds:7.1f} s, of processors {row['cpu_seconds']:7.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

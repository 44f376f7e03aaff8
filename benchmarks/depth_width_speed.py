"""How fast are networks without blocks, and narrower ones with as many MACs? By turns, all in one run; a row a turn.

For every choice of blocks that the rows of results/depth_width.csv dropped at width 1.0; one thread, fp32. Times depend on the
shapes alone: new weights take as long as trained ones. Rows go to build/results/, or to --out.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from experiments.runs import as_large_as
from helpers import CifarNet, count_macs, drop_blocks, latencies, read_results
from helpers.data import REPOSITORY, replacing
from helpers.training import describe_device

TURNS, BATCHES = 41, (1, 256)


def networks_of(rows: pd.DataFrame) -> dict[tuple[str, str], torch.nn.Module]:
    """By (method, dropped blocks): the dense network, those without blocks, and the narrower ones, of rows of `depth_width`."""
    dense = CifarNet().eval()
    networks = {("dense", ""): dense}
    for dropped in sorted(rows.dropped[rows.width == 1.0].dropna().unique(), key=lambda names: (len(names), names)):
        networks["depth", dropped] = drop_blocks(dense, dropped.split())
        networks["width, equal MACs", dropped] = as_large_as(networks["depth", dropped], dense)
    return networks


def main():
    parser = argparse.ArgumentParser(description="Times of networks without blocks and of narrower ones, by turns.")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "results" / "depth_width_speed.csv")
    path = parser.parse_args().out
    torch.set_num_threads(1)
    networks = networks_of(read_results("depth_width"))
    rows = [
        {
            "device": describe_device("cpu"), "torch": torch.__version__.split("+")[0], "width": 1.0, "method": method,
            "blocks": len(dropped.split()), "dropped": dropped, "macs": count_macs(network), "batch_size": size,
            "threads": 1, "precision": "fp32", "turn": turn, "milliseconds": round(milliseconds, 4),
        }
        for size in BATCHES
        for ((method, dropped), network), time in zip(networks.items(), latencies(networks.values(), size, turns=TURNS), strict=True)
        for turn, milliseconds in enumerate(time.times)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    times = table.pivot(index=["batch_size", "turn"], columns=["method", "dropped"], values="milliseconds")
    print(times.div(times["dense", ""], axis=0).groupby("batch_size").median().T.round(3).to_string())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        table.to_csv(beside, index=False)


if __name__ == "__main__":
    main()

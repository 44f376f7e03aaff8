"""How fast are networks without blocks, and narrower ones? By turns, all in one run; a row a turn.

The shapes are those in results/depth_width.csv: at width 1.0 the networks without blocks and the narrower ones with as many MACs, at
width 0.5 the uniform ones. One thread; on a GPU (`--device cuda`) larger batches and bf16 too. Times depend on the shapes alone: new
weights take as long as trained ones. Rows go to build/results/, or to --out.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from experiments.device import describe_device
from experiments.runs import as_large_as, with_share_of_macs
from helpers import CifarNet, count_macs, drop_blocks, latencies, read_results
from helpers.data import REPOSITORY, replacing

TURNS = {"cpu": 41, "cuda": 21}
SETTINGS = {  # (batch size, precision); a GPU is busy with large batches only
    "cpu": [(1, "fp32"), (256, "fp32")],
    "cuda": [(size, precision) for size in (1, 256, 4096) for precision in ("fp32", "bf16")],
}
SHAPE = ["width", "method", "dropped", "share"]


def networks_of(rows: pd.DataFrame) -> dict[tuple, torch.nn.Module]:
    """A network with new weights for each shape in rows of `depth_width`, by the columns `SHAPE`; the shapes of "width, guided"
    depend on trained weights and are left out, those of "from scratch" are those of "width, uniform"."""
    rows = rows[~rows.method.isin(["width, guided", "from scratch"])].fillna({"dropped": "", "share": 1.0})
    networks = {}
    for width, method, dropped, share in rows[SHAPE].drop_duplicates().sort_values(SHAPE).itertuples(index=False):
        dense = CifarNet(width).eval()
        without = drop_blocks(dense, dropped.split()) if dropped else dense
        if method == "width, uniform":
            network = with_share_of_macs(dense, share)
        else:
            network = as_large_as(without, dense) if method == "width, equal MACs" else without
        networks[width, method, dropped, share] = network
    return networks


def main():
    parser = argparse.ArgumentParser(description="Times of networks without blocks and of narrower ones, by turns.")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "results" / "depth_width_speed.csv")
    parser.add_argument("--device", choices=SETTINGS, default="cpu")
    options = parser.parse_args()
    path, device = options.out, options.device
    torch.set_num_threads(1)
    networks = networks_of(read_results("depth_width"))
    macs = {shape: count_macs(network) for shape, network in networks.items()}
    models = [network.to(device) for network in networks.values()]
    about = {"device": describe_device(device), "torch": torch.__version__.split("+")[0], "threads": 1}
    rows = [
        about | dict(zip(SHAPE, shape, strict=True)) | {
            "blocks": len(shape[2].split()), "macs": macs[shape], "batch_size": size, "precision": precision, "turn": turn,
            "milliseconds": round(milliseconds, 4),
        }
        for size, precision in SETTINGS[device]
        for shape, time in zip(networks, latencies(models, size, precision=precision, turns=TURNS[device]), strict=True)
        for turn, milliseconds in enumerate(time.times)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    times = table.pivot(index=["batch_size", "precision", "turn"], columns=SHAPE, values="milliseconds")
    print(times.div(times[1.0, "dense", "", 1.0], axis=0).groupby(["batch_size", "precision"]).median().T.round(3).to_string())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        table.to_csv(beside, index=False)


if __name__ == "__main__":
    main()

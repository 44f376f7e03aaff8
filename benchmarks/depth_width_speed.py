"""How fast are networks without blocks, narrower ones with as many MACs, and which width is as fast? By turns, in one run.

For every choice of blocks that the rows of results/depth_width.csv dropped, at width 1.0, one thread, fp32. Rows go to
results/depth_width_speed.csv, a choice at a time; the grid `depth_width` trains the widths that are found here.
"""

import csv

import torch

from experiments.grids import FAST_BLOCKS
from experiments.runs import as_fast_as, narrowed_by
from helpers import CifarNet, count_macs, drop_blocks, latencies, read_results, widths_for_macs
from helpers.data import REPOSITORY
from helpers.sweeps import read_rows
from helpers.training import describe_device

PATH, TURNS, BATCHES = REPOSITORY / "results" / "depth_width_speed.csv", 21, (1, 256)
COLUMNS = (
    "device", "torch", "width", "blocks", "dropped", "network", "removed", "macs", "threads", "precision", "batch_size", "turns",
    "median_ms", "iqr_ms", "share_of_dense", "share_of_depth",
)  # fmt: skip


def timed(dropped: list[str]) -> list[dict]:
    """A row for each network and batch size; shares are medians over the turns."""
    dense = CifarNet().eval()
    networks = {"dense": dense, "depth": drop_blocks(dense, dropped)}
    removed = {"width, equal MACs": widths_for_macs(dense, count_macs(networks["depth"]) / count_macs(dense))}
    if len(dropped) in FAST_BLOCKS:
        removed["width, equal latency"] = as_fast_as(networks["depth"], dense)
    networks |= {name: narrowed_by(dense, amounts) for name, amounts in removed.items()}
    told = " ".join(f"{group}:{count}" for group, count in removed.get("width, equal latency", {}).items())
    rows = []
    for size in BATCHES:
        times = dict(zip(networks, latencies(networks.values(), size, turns=TURNS), strict=True))
        rows += [
            {
                "device": describe_device("cpu"), "torch": torch.__version__.split("+")[0], "width": dense.width,
                "blocks": len(dropped), "dropped": " ".join(dropped), "network": name,
                "removed": told if name == "width, equal latency" else "", "macs": count_macs(networks[name]),
                "threads": torch.get_num_threads(), "precision": "fp32", "batch_size": size, "turns": TURNS,
                "median_ms": round(time.median, 3), "iqr_ms": round(time.iqr, 3),
                "share_of_dense": round(time.relative_to(times["dense"]), 4),
                "share_of_depth": round(time.relative_to(times["depth"]), 4),
            }
            for name, time in times.items()
        ]  # fmt: skip
    return rows


def main():
    torch.set_num_threads(1)
    rows = read_results("depth_width")
    choices = sorted({tuple(sorted(names.split())) for names in rows.dropped[rows.width == 1.0].dropna()}, key=len)
    known = {row["dropped"] for row in read_rows(PATH, COLUMNS)}
    for dropped in choices:
        if " ".join(dropped) in known:
            continue
        found = timed(list(dropped))
        new = not PATH.exists()
        with open(PATH, "a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(found)
        for row in found:
            print(
                "{dropped}: {network}, batch {batch_size}: {median_ms} ms, {share_of_dense} of dense, {share_of_depth} of depth".format(
                    **row
                )
            )


if __name__ == "__main__":
    main()

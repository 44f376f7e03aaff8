"""How fast are networks without blocks, and narrower ones with as many MACs? By turns, all in one run.

For every choice of blocks that the rows of results/depth_width.csv dropped at width 1.0; one thread, fp32. Rows go to
results/depth_width_speed.csv. Times depend on the shapes alone: new weights take as long as trained ones.
"""

import pandas as pd
import torch

from experiments.runs import narrowed_by
from helpers import CifarNet, count_macs, drop_blocks, latencies, read_results, widths_for_macs
from helpers.data import REPOSITORY, replacing
from helpers.training import describe_device

TURNS, BATCHES = 41, (1, 256)


def networks_of(dense: CifarNet, choices: list[str]) -> dict[tuple[str, str], torch.nn.Module]:
    """By (method, dropped blocks): the dense network, and for each choice the network without these blocks and the narrower one."""
    networks = {("dense", ""): dense}
    for dropped in choices:
        networks["depth", dropped] = shallow = drop_blocks(dense, dropped.split())
        amounts = widths_for_macs(dense, count_macs(shallow) / count_macs(dense))
        networks["width, equal MACs", dropped] = narrowed_by(dense, amounts)
    return networks


def main():
    torch.set_num_threads(1)
    rows = read_results("depth_width")
    choices = sorted({" ".join(sorted(names.split())) for names in rows.dropped[rows.width == 1.0].dropna()}, key=len)
    networks = networks_of(CifarNet().eval(), choices)
    found = []
    for size in BATCHES:
        times = latencies(networks.values(), size, turns=TURNS)
        found += [
            {
                "device": describe_device("cpu"), "torch": torch.__version__.split("+")[0], "width": 1.0, "method": method,
                "blocks": len(dropped.split()), "dropped": dropped, "macs": count_macs(network), "batch_size": size,
                "threads": torch.get_num_threads(), "precision": "fp32", "turns": TURNS, "median_ms": round(time.median, 3),
                "iqr_ms": round(time.iqr, 3), "share_of_dense": round(time.relative_to(times[0]), 4),
            }
            for ((method, dropped), network), time in zip(networks.items(), times, strict=True)
        ]  # fmt: skip
    table = pd.DataFrame(found)
    print(table[["method", "dropped", "macs", "batch_size", "median_ms", "iqr_ms", "share_of_dense"]].to_string(index=False))
    with replacing(REPOSITORY / "results" / "depth_width_speed.csv") as beside:
        table.to_csv(beside, index=False)


if __name__ == "__main__":
    main()

"""Which pruning for which hardware: what the rows of results/deploy.csv say to somebody with a certain machine."""

import pandas as pd

from experiments.figures import time_shares
from experiments.stats import mean_ci

TARGETS = {  # where the network is to run: (backend of the rows, the cost that counts there)
    "CPU, one image at a time": ("cpu", "time_share_1"),
    "CPU, large batches": ("cpu", "time_share_256"),
    "storage or download": ("cpu", "zipped_bytes"),
    "GPU, one image at a time": ("cuda", "time_share_1"),
    "GPU, batches of 4,096": ("cuda", "time_share_4096"),
    "accelerator with sparse kernels": ("sparse", "time_share_256"),
}


def advise(rows: pd.DataFrame, target: str, points: float = 1.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Which networks lose at most `points` of validation accuracy against the dense one of their width, cheapest first; and why.

    Each kind of network (column `network`) is judged by its mean over seeds. A mask changes nothing of what a CPU or GPU
    computes: where time counts, networks with as many MACs as the dense one, in its precision, are left out. Times that
    differ by less than 5 % should not be told apart.

    Args:
        rows: with columns network, method, precision, width, seed, backend, macs, val_accuracy, test_accuracy and the costs,
            as in results/deploy.csv.
        target: one of `TARGETS`.

    Returns:
        The advice: width, network, `runs` (how many rows it rests on), test_accuracy, `lost` and `margin` (points of test
        accuracy against the dense network of the same seed, and half the 95 % interval), the cost that counts for this
        target, `share` (of the dense network's cost), widest first; and the rows that it rests on. Both are empty where
        nothing was measured for this target.

    Raises:
        ValueError: for another target, or a width without its dense network to compare with.
    """
    if target not in TARGETS:
        raise ValueError(f"target={target!r}: must be one of {', '.join(TARGETS)}")
    backend, cost = TARGETS[target]
    columns = ["width", "network", "runs", "test_accuracy", "lost", "margin", cost, "share"]
    own = rows[rows.backend == backend]
    if own.empty:
        return pd.DataFrame(columns=columns), own
    dense = own[(own.method == "dense") & (own.precision == "fp32")].set_index(["width", "seed"])
    if lonely := sorted(set(own.width) - set(dense.index.get_level_values("width"))):
        raise ValueError(f"rows: must hold the dense network of width {lonely[0]}, with which the others are compared")
    names = ["val_accuracy", "test_accuracy", "macs", cost]
    both = own.join(dense[names].add_prefix("dense_"), on=["width", "seed"])
    if cost.startswith("time") and backend != "sparse":
        both = both[(both.macs < both.dense_macs) | (both.precision != "fp32") | (both.method == "dense")]
    both["lost"] = 100 * (both.dense_test_accuracy - both.test_accuracy)
    kinds = both.groupby(["width", "network"])
    found = kinds[[*names, *(f"dense_{name}" for name in names), "lost"]].mean()
    found = found.assign(runs=kinds.size(), share=found[cost] / found[f"dense_{cost}"])
    found["margin"] = kinds.lost.agg(lambda lost: mean_ci(lost).margin)
    good = found[found.val_accuracy >= found.dense_val_accuracy - points / 100].reset_index()[columns]
    good = good.sort_values(["width", cost], ascending=[False, True], kind="stable", ignore_index=True)
    return good, own[own.network.isin(good.network)]


def on_gpu(rows: pd.DataFrame, cut: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """The fp32 networks of `depth_width` among `deploy` rows once more, with times of a GPU: backend "cuda".

    Accuracies are those of the rows; costs are shares of the time of the dense network of width 1.0, by turns, as in the rows.

    Args:
        rows: of results/deploy.csv. cut: of results/depth_width.csv, which tell the blocks that went.
        times: of results/depth_width_speed_gpu.csv, one for each turn; shapes that it lacks are left out.
    """
    shape, times = ["width", "method", "dropped", "share"], times[times.precision == "fp32"]
    own = rows[(rows.source == "depth_width") & (rows.precision == "fp32")]
    own = own.merge(cut[["width", "method", "share", "blocks", "seed", "dropped"]])
    keys = own[shape].fillna({"dropped": "", "share": 1.0}).replace({"method": {"from scratch": "width, uniform"}})
    for size in (1, 4096):
        found = pd.concat({width: time_shares(times, size, width, of=1.0).time for width in keys.width.unique()}, names=["width"])
        own[f"time_share_{size}"] = keys.join(found, on=shape).time
    return own.dropna(subset="time_share_4096").assign(backend="cuda")

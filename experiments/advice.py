"""Which pruning for which hardware: what the rows of results/deploy.csv say to somebody with a certain machine."""

import pandas as pd

TARGETS = {  # where the network is to run: (backend of the rows, the cost that counts there)
    "CPU, one image at a time": ("cpu", "time_share_1"),
    "CPU, large batches": ("cpu", "time_share_256"),
    "storage or download": ("cpu", "zipped_bytes"),
    "GPU": ("cuda", "time_share_256"),
    "accelerator with sparse kernels": ("sparse", "time_share_256"),
}


def advise(rows: pd.DataFrame, target: str, points: float = 1.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Which networks lose at most `points` against the dense one that they were made from, cheapest first; and why.

    Each kind of network (column `network`) is judged by its mean over seeds, beside the dense network of its width.

    Args:
        rows: with columns network, method, precision, width, seed, backend, test_accuracy and the costs, as in
            results/deploy.csv.
        target: one of `TARGETS`.

    Returns:
        The advice: width, network, `runs` (how many rows it rests on), test_accuracy, the cost that counts for this target,
        `share` (of the dense network's cost), widest first; and the rows that it rests on. Both are empty where nothing was
        measured for this target.

    Raises:
        ValueError: for another target, or a width without its dense network to compare with.
    """
    if target not in TARGETS:
        raise ValueError(f"target={target!r}: must be one of {', '.join(TARGETS)}")
    backend, cost = TARGETS[target]
    own = rows[rows.backend == backend]
    if own.empty:
        return pd.DataFrame(columns=["width", "network", "runs", "test_accuracy", cost, "share"]), own
    dense = own[(own.method == "dense") & (own.precision == "fp32")].groupby("width")[["test_accuracy", cost]].mean()
    if lonely := sorted(set(own.width) - set(dense.index)):
        raise ValueError(f"rows: must hold the dense network of width {lonely[0]}, with which the others are compared")
    found = own.groupby(["width", "network"]).agg(
        runs=("seed", "size"), test_accuracy=("test_accuracy", "mean"), cost=(cost, "mean")
    )
    reference = dense.loc[found.index.get_level_values("width")].set_axis(found.index)
    good = found[found.test_accuracy >= reference.test_accuracy - points / 100]
    good = good.assign(share=good.cost / reference[cost]).rename(columns={"cost": cost}).reset_index()
    good = good.sort_values(["width", cost], ascending=[False, True], kind="stable", ignore_index=True)
    return good, own[own.network.isin(good.network)]

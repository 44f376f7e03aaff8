"""Which pruning for which hardware: what the rows of results/deploy.csv say to somebody with a certain machine."""

import pandas as pd

TARGETS = {  # where the network is to run: (backend of the rows, the cost that counts there)
    "CPU, one image at a time": ("cpu", "latency_ms_1"),
    "CPU, large batches": ("cpu", "latency_ms_256"),
    "storage or download": ("cpu", "zipped_bytes"),
    "GPU": ("cuda", "latency_ms_256"),
    "accelerator with sparse kernels": ("sparse", "latency_ms_256"),
}


def advise(rows: pd.DataFrame, target: str, points: float = 1.0) -> pd.DataFrame:
    """Networks that lose at most `points` against the dense one, cheapest first, by measured rows; empty: not measured.

    Each kind of network (column `network`) is judged by its mean over seeds. The costs and the accuracy are those of
    the rows, `share` is the cost as a share of the dense network's, and `runs` how many rows it rests on.

    Args:
        rows: with columns network, backend, test_accuracy and the costs, as in results/deploy.csv.
        target: one of `TARGETS`.

    Raises:
        ValueError: for another target, or rows without a dense network to compare with.
    """
    if target not in TARGETS:
        raise ValueError(f"target={target!r}: must be one of {', '.join(TARGETS)}")
    kind, cost = TARGETS[target]
    own = rows[rows.backend == kind]
    if own.empty:
        return pd.DataFrame(columns=["network", "runs", "test_accuracy", cost, "share"])
    means = own.groupby("network").agg(runs=("seed", "size"), test_accuracy=("test_accuracy", "mean"), cost=(cost, "mean"))
    if "dense" not in means.index:
        raise ValueError("rows: must hold the network 'dense', with which the others are compared")
    good = means[means.test_accuracy >= means.test_accuracy["dense"] - points / 100]
    good = good.assign(share=good.cost / means.cost["dense"]).sort_values("cost", kind="stable")
    return good.rename(columns={"cost": cost}).reset_index()

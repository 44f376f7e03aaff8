"""The rows of results/ as the tables that the notebooks show: each function is named by what its table shows.

Rows in, table out. Differences are in points of accuracy, paired by seed, with 95 % confidence intervals.

Example:
    >>> from helpers import read_results
    >>> accuracy_by_schedule(read_results("gradual_vs_instant")).loc[0.98].idxmax()
    'cubic'
"""

import pandas as pd
from scipy.stats import quantile_test
from statsmodels.stats.weightstats import ttost_paired

from .stats import Estimate, holm, mean_ci, paired_difference

SHAPE = ["width", "method", "dropped", "share"]  # the columns that tell how fast a network of `depth_width` is
DEPTH, WIDTH = "depth", "width, equal MACs"
TARGETS = {  # where the network is to run: (backend of the rows, the cost that counts there)
    "CPU, one image at a time": ("cpu", "time_share_1"),
    "CPU, large batches": ("cpu", "time_share_256"),
    "storage or download": ("cpu", "zipped_bytes"),
    "GPU, one image at a time": ("cuda", "time_share_1"),
    "GPU, batches of 4,096": ("cuda", "time_share_4096"),
    "accelerator with sparse kernels": ("sparse", "time_share_256"),
}


def whole_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the seeds that have as many as any: a grid that is still being measured has one that is not whole.

    Example:
        >>> whole_seeds(pd.DataFrame({"seed": [0, 0, 1]})).seed.tolist()
        [0, 0]
    """
    counts = rows.groupby("seed").seed.transform("size")
    return rows[counts == counts.max()]


# ---- criteria and scopes (lessons 5 and 6)


def before_and_recalibrated(rows: pd.DataFrame, arms: dict[str, tuple[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """Test accuracies of every run of each arm (method, sparsity), right after pruning and recalibrated, not fine-tuned."""
    rows = rows[rows.epochs == 0].set_index(["method", "target_sparsity"]).sort_index()
    accuracies = rows[["test_accuracy_before", "test_accuracy_recalibrated"]]
    return {name: list(accuracies.loc[[arm]].itertuples(index=False, name=None)) for name, arm in arms.items()}


# ---- depth and width (lesson 8)


def time_shares(times: pd.DataFrame, batch_size: int = 1, of: float | None = None) -> pd.DataFrame:
    """Each network's share of the dense one's time: columns `time`, and `low` and `high` of its 95 % interval.

    Medians over the turns, each compared with the dense network's turn, so that drift cancels; intervals from order statistics.

    Args:
        times: rows of `depth_width_speed`. The index of the result is `SHAPE`: width, method, dropped blocks, share of MACs.
        of: width of the dense network to compare with; None for each network's width.

    Example:
        >>> time_shares(read_results("depth_width_speed")).time[1.0, "depth", "stage2.block1", 1.0]  # doctest: +SKIP
        0.88
    """
    times = times[times.batch_size == batch_size].fillna({"dropped": ""})
    by_turn = times.pivot(index="turn", columns=SHAPE, values="milliseconds")
    shares = {}
    for shape, milliseconds in by_turn.items():
        ratio = milliseconds / by_turn[of or shape[0], "dense", "", 1.0]
        shares[shape] = (ratio.median(), *quantile_test(ratio, p=0.5).confidence_interval())
    return pd.DataFrame(shares, index=["time", "low", "high"]).T.rename_axis(SHAPE)


# ---- instant or gradual (lesson 9)

SCHEDULES = {"one_shot": "instant", "equal_steps_8": "equal", "geometric_8": "geometric", "cubic_8": "cubic"}


def by_seed(rows: pd.DataFrame, column: str = "test_accuracy") -> pd.DataFrame:
    """A row for each seed, a column for each sparsity."""
    return rows.pivot(index="seed", columns="target_sparsity", values=column)


def gaps(a: pd.DataFrame, b: pd.DataFrame) -> dict[float, Estimate]:
    """a - b (both as `by_seed` gives them) at each sparsity that both have, paired by seed.

    Example:
        >>> accuracy = pd.DataFrame({0.5: [0.9, 0.8]})
        >>> gaps(accuracy, accuracy - 0.1)[0.5].in_points()
        '+10.0 (+10.0 to +10.0)'
    """
    return {level: paired_difference(a[level].dropna(), b[level].dropna()) for level in a if level in b}


def _in_points(estimates: dict[float, Estimate]) -> pd.Series:
    return pd.Series(estimates).map(lambda estimate: estimate.in_points(2))


def accuracy_by_schedule(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy over seeds: a row a sparsity, a column a schedule, without controls and mistakes (`variant`)."""
    if "variant" in rows:
        rows = rows[rows.variant.isna()]
    rows = rows[(rows.until == rows.until.max()) & rows.schedule.isin(SCHEDULES)]
    table = rows.pivot_table(index="target_sparsity", columns="schedule", values="test_accuracy")
    return table[[name for name in SCHEDULES if name in table]].rename(columns=SCHEDULES)


def mistakes(rows: pd.DataFrame) -> pd.DataFrame:
    """Equal portions minus instant pruning, without and with each mistake, and how far it moves: an `Estimate` a sparsity.

    Rows of `gradual_vs_instant`; seeds and sparsities are those that were measured with mistakes.

    Example:
        >>> mistakes(read_results("gradual_vs_instant"))["no mistake"][0.8].in_points()  # doctest: +SKIP
        '-0.1 (-0.6 to +0.3)'
    """

    def arms(some: pd.DataFrame, column: str = "test_accuracy") -> dict[str, pd.DataFrame]:
        return {schedule: by_seed(some[some.schedule == schedule], column) for schedule in ("equal_steps_8", "one_shot")}

    late = rows[rows.variant.isna() & ((rows.until == 0.6) | (rows.schedule == "one_shot"))]
    plain, reset = arms(late), arms(rows[rows.variant == "reset optimiser"])
    measured = {
        "no mistake": plain,
        "optimizer reset": reset | {"one_shot": plain["one_shot"]},  # instant pruning has nothing to reset
        "no shuffling": arms(rows[rows.variant == "no shuffling"]),
        "read in batches of 500": arms(late, "test_accuracy_batches_of_500"),
        "read in batches of 20": arms(late, "test_accuracy_batches_of_20"),
    }
    seeds, levels = reset["equal_steps_8"].index, [0.8, 0.9, 0.95]
    gap = {name: (arm["equal_steps_8"] - arm["one_shot"]).loc[seeds, levels] for name, arm in measured.items()}
    moved = {f"{name}: moved by": values - gap["no mistake"] for name, values in gap.items() if name != "no mistake"}
    return pd.DataFrame({name: {level: mean_ci(values[level]) for level in levels} for name, values in (gap | moved).items()})


def difference_and_equivalence(equal: pd.DataFrame, instant: pd.DataFrame, bound: float) -> pd.DataFrame:
    """Equal portions minus instant, tested for a difference and for lying within ± `bound`; each family corrected by Holm.

    Example:
        >>> difference_and_equivalence(equal, instant, bound=0.003).says[0.5]  # doctest: +SKIP
        'equivalent'
    """
    differences = gaps(equal, instant)
    p = {level: gap.p for level, gap in differences.items()}
    within = {level: ttost_paired(equal[level].dropna(), instant[level].dropna(), -bound, bound)[0] for level in differences}
    tests = {"p": p, "p, Holm": holm(p), f"p within ±{100 * bound:g}, Holm": holm(within)}
    table = pd.DataFrame({"equal - instant": _in_points(differences)} | tests)
    says = {
        (True, False): "different",
        (False, True): "equivalent",
        (False, False): "undecided",
        (True, True): f"different, but within ±{100 * bound:g}",
    }
    significant = table.iloc[:, 2:] < 0.05
    return table.assign(says=[says[pair] for pair in significant.itertuples(index=False, name=None)])


# ---- which pruning for which hardware (lesson 10)


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

    Example:
        >>> advise(read_results("deploy"), "storage or download")[0].network[0]  # doctest: +SKIP
        'without 2 blocks, int8'
    """
    if target not in TARGETS:
        raise ValueError(f"target={target!r}: must be one of {', '.join(TARGETS)}")
    backend, cost = TARGETS[target]
    columns = ["width", "network", "runs", "test_accuracy", "lost", "margin", cost, "share"]
    rows = rows[rows.backend == backend]
    if rows.empty:
        return pd.DataFrame(columns=columns), rows
    dense = rows[(rows.method == "dense") & (rows.precision == "fp32")].set_index(["width", "seed"])
    without_dense = set(rows.width) - set(dense.index.get_level_values("width"))
    if without_dense:
        raise ValueError(f"rows: must hold the dense network of width {min(without_dense)}, with which the others are compared")
    compared = dense[["val_accuracy", "test_accuracy", "macs", cost]].add_prefix("dense_")
    pairs = rows.join(compared, on=["width", "seed"])
    if cost.startswith("time") and backend != "sparse":
        pairs = pairs[(pairs.macs < pairs.dense_macs) | (pairs.precision != "fp32") | (pairs.method == "dense")]
    pairs["lost"] = 100 * (pairs.dense_test_accuracy - pairs.test_accuracy)
    kinds = pairs.groupby(["width", "network"])
    table = kinds.mean(numeric_only=True)
    table["runs"] = kinds.size()
    table["share"] = table[cost] / table[f"dense_{cost}"]
    table["margin"] = kinds.lost.agg(lambda lost: mean_ci(lost).margin)
    good = table[table.val_accuracy >= table.dense_val_accuracy - points / 100].reset_index()[columns]
    good = good.sort_values(["width", cost], ascending=[False, True], kind="stable", ignore_index=True)
    return good, rows[rows.network.isin(good.network)]


def what_to_ship(rows: pd.DataFrame, points: float = 1.0) -> pd.DataFrame:
    """For each target the two cheapest networks of the largest width that `advise` names: cost as a share of the dense network's.

    Example:
        >>> what_to_ship(read_results("deploy")).loc["storage or download", "first"]  # doctest: +SKIP
        'without 2 blocks, int8: 15%, 85.4%'
    """
    table = {}
    for target in TARGETS:
        good = advise(rows, target, points)[0]
        cheap = good[(good.width == good.width.max()) & (good.share < 1)].head(2)
        cells = [f"{one.network}: {one.share:.0%}, {one.test_accuracy:.1%}" for one in cheap.itertuples()]
        table[target] = [*cells, "-", "-"][:2] if cells else ["not measured", ""]
    return pd.DataFrame(table, index=["first", "second"]).T


def on_gpu(rows: pd.DataFrame, cut: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """The fp32 networks of `depth_width` among `deploy` rows once more, with times of a GPU: backend "cuda".

    Accuracies are those of the rows; costs are shares of the time of the dense network of width 1.0, by turns, as in the rows.

    Args:
        rows: of results/deploy.csv. cut: of results/depth_width.csv, which tell the blocks that went.
        times: of results/depth_width_speed_gpu.csv, one for each turn; shapes that it lacks are left out.
    """
    rows = rows[(rows.source == "depth_width") & (rows.precision == "fp32")]
    rows = rows.merge(cut[["width", "method", "share", "blocks", "seed", "dropped"]])
    shapes = rows[SHAPE].fillna({"dropped": "", "share": 1.0}).replace({"method": {"from scratch": "width, uniform"}})
    for size in (1, 4096):
        shares = time_shares(times[times.precision == "fp32"], size, of=1.0)
        rows[f"time_share_{size}"] = shapes.join(shares, on=SHAPE).time
    return rows.dropna(subset="time_share_4096").assign(backend="cuda")

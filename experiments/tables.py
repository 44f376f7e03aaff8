"""The rows of results/ as the tables that the notebooks show: each function is named by what its table shows.

Rows in, table out. Differences are in points of accuracy, paired by seed, with 95 % confidence intervals.

Example:
    >>> from helpers import read_results
    >>> mask_overlaps(read_results("gradual_pruning")).loc["one-shot, same network", "90%"]
    '0.672 ± 0.002'
"""

import pandas as pd
from scipy.stats import quantile_test
from statsmodels.stats.weightstats import ttost_paired

from helpers.schedules import cubic, equal_steps

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

# ---- criteria and scopes (lessons 5 and 6)


def before_and_recalibrated(rows: pd.DataFrame, arms: dict[str, tuple[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """Test accuracies of every run of each arm (method, sparsity), right after pruning and recalibrated, not fine-tuned."""
    rows = rows[rows.epochs == 0].set_index(["method", "target_sparsity"]).sort_index()
    accuracies = rows[["test_accuracy_before", "test_accuracy_recalibrated"]]
    return {name: list(accuracies.loc[[arm]].itertuples(index=False, name=None)) for name, arm in arms.items()}


# ---- depth and width (notebook 5)


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


# ---- gradual pruning (notebooks 6 and 7)


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


def number_of_prunings(rows: pd.DataFrame) -> pd.DataFrame:
    """2, 4 and 8 equal prunings against one and against half as many: rows of `gradual_pruning`."""
    masked = rows[rows.method == "magnitude"]
    accuracy = masked.pivot(index="seed", columns=["target_sparsity", "schedule"], values="test_accuracy")
    table = {}
    for level in (0.9, 0.98):
        for rounds, fewer in ((2, "one_shot"), (4, "equal_steps_2"), (8, "equal_steps_4")):
            arm = accuracy[level, f"equal_steps_{rounds}"]
            table[f"{level:.0%}", f"{rounds} prunings"] = {
                "minus 1 pruning": paired_difference(arm, accuracy[level, "one_shot"]).in_points(),
                "minus half as many": paired_difference(arm, accuracy[level, fewer]).in_points(),
                "the last one takes": f"{_last_portion(equal_steps(level, rounds))} of what is left",
            }
    return pd.DataFrame(table).T


def _last_portion(schedule) -> str:
    """The share of the remaining weights that the last pruning of a schedule removes."""
    before, after = schedule.levels[-2:]
    return f"{(after - before) / (1 - before):.0%}"


def mask_overlaps(rows: pd.DataFrame) -> pd.DataFrame:
    """What the masks of 8 prunings share with other masks: rows of `gradual_pruning`."""
    others = {
        "overlap_one_shot": "one-shot, same network",
        "overlap_other_seed": "one-shot, another seed",
        "overlap_by_chance": "chance, layer by layer",
    }
    by_level = rows[rows.schedule == "equal_steps_8"].groupby("target_sparsity")
    table = {}
    for column, name in others.items():
        table[name] = by_level[column].apply(mean_ci).map(lambda overlap: f"{overlap.mean:.3f} ± {overlap.margin:.3f}")
    return pd.DataFrame(table).T.rename(columns="{:.0%}".format)


def verdict(differences: dict[float, Estimate]) -> str:
    """At which sparsities an arm differs from instant pruning, by tests corrected for their number (`gaps`).

    Example:
        >>> verdict({0.9: Estimate(0.01, 0.005, 0.015, 10, p=0.001), 0.5: Estimate(0.0, -0.01, 0.01, 10, p=0.8)})
        'higher at 90%; no difference shown at 50%'
    """
    p = holm({level: gap.p for level, gap in differences.items()})
    found = {"lower": [], "higher": [], "no difference shown": []}
    for level in sorted(p):
        sign = "higher" if differences[level].mean > 0 else "lower"
        found[sign if p[level] < 0.05 else "no difference shown"].append(f"{level:.0%}")
    return "; ".join(f"{name} at {', '.join(levels)}" for name, levels in found.items() if levels)


def gradual_against_instant(
    instant: pd.DataFrame, dense: pd.Series, differences: dict[str, dict[float, Estimate]]
) -> pd.DataFrame:
    """Instant pruning's accuracy, and what dense, equal and cubic differ from it: `by_seed`, and `gaps` for each arm."""
    table = {"instant": {}, "instant - dense": {}}
    for level in differences["equal"]:
        accuracy = mean_ci(instant[level].dropna())
        table["instant"][level] = f"{accuracy.mean:.1%} ± {100 * accuracy.margin:.1f}"
        table["instant - dense"][level] = paired_difference(instant[level].dropna(), dense).in_points(2)
    for arm, difference in differences.items():
        table[f"{arm} - instant"] = _in_points(difference)
    return pd.DataFrame(table)


def earlier_end(rows: pd.DataFrame) -> pd.DataFrame:
    """What it brings to end the prunings at 30 % of the steps, not at 60 %: rows of `gradual_vs_instant` without variants."""
    instant = by_seed(rows[rows.schedule == "one_shot"])
    table, last = {}, {}
    for name, schedule in (("equal", equal_steps), ("cubic", cubic)):
        arm = rows[rows.schedule == f"{schedule.__name__}_8"]
        early, late = by_seed(arm[arm.until == 0.3]), by_seed(arm[arm.until == 0.6])
        table[f"{name}: end at 30 % minus instant"] = _in_points(gaps(early, instant))
        table[f"{name}: end at 30 % minus end at 60 %"] = _in_points(gaps(early, late))
        last[f"{name}: the last pruning takes"] = {level: _last_portion(schedule(level, 8)) for level in early}
    return pd.DataFrame(table | last).T.rename(columns="{:.0%}".format)


def other_cases(cases: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Instant, equal and cubic pruning at 90, 95 and 98 % in other settings: the rows of each by its name.

    Example:
        >>> other_cases({"width 1.0": read_results("gradual_vs_instant_wide")})  # doctest: +SKIP
    """
    table = {}
    for case, rows in cases.items():
        arms = {name: by_seed(runs) for name, runs in rows.groupby("schedule")}
        instant = arms["one_shot"]
        table[case, "instant"] = instant.mean().map("{:.1%}".format)
        table[case, "equal - instant"] = _in_points(gaps(arms["equal_steps_8"], instant))
        table[case, "cubic - instant"] = _in_points(gaps(arms["cubic_8"], instant))
    return pd.DataFrame(table).loc[[0.9, 0.95, 0.98]].T.rename(columns="{:.0%}".format)


def training_time(ratio: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of `ratio` (a column for each arm), and the number of seeds, for each `how` in its index."""
    table = {}
    for arm in ratio:
        quartiles = ratio[arm].groupby("how").quantile([0.25, 0.5, 0.75]).unstack()
        table[arm] = {how: f"{middle:.2f}× ({low:.2f} to {high:.2f})" for how, low, middle, high in quartiles.itertuples()}
    return pd.DataFrame(table).rename_axis("how").assign(seeds=ratio.reset_index().groupby("how").seed.nunique())


def worth_of_the_mask(rows: pd.DataFrame, instant: pd.DataFrame) -> pd.DataFrame:
    """A random mask, and new weights under the same mask, against instant pruning: rows of `gradual_vs_instant`."""
    table = {}
    for variant in ("random mask", "re-initialised"):
        accuracy = by_seed(rows[rows.variant == variant])
        table[variant] = accuracy.mean().map("{:.1%}".format)
        table[f"{variant} minus instant"] = _in_points(gaps(accuracy, instant))
    return pd.DataFrame(table).T.rename(columns="{:.0%}".format)


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
        "optimiser reset": reset | {"one_shot": plain["one_shot"]},  # instant pruning has nothing to reset
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


# ---- which pruning for which hardware (notebook 8)


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


def two_cheapest(advice: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """For each target and width the two cheapest networks of `advise` that cost no more than the dense one.

    Example:
        >>> two_cheapest({target: advise(rows, target)[0] for target in TARGETS})  # doctest: +SKIP
    """
    best = []
    for target, networks in advice.items():
        cheap = networks[networks.share <= 1].groupby("width").head(2)
        best.append(cheap.assign(target=target))
    best = pd.concat(best)
    best["points lost"] = best.lost.map("{:+.1f}".format) + best.margin.map(" ± {:.1f}".format)
    return best.set_index(["target", "width"])[["network", "share", "test_accuracy", "points lost", "runs"]]


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

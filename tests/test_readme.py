"""The numbers of the README and of CONTRIBUTING come from rows, and the commands that documents name exist."""

import importlib.util
import re

import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

import tasks
from experiments.benchmarks.pruned_speed import speed_ups
from experiments.grids import GRIDS
from experiments.stats import mean_ci, paired_difference
from experiments.tables import time_shares
from helpers import CifarNet, count_macs, load_network, read_results
from helpers.data import REPOSITORY

PATHS = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
LEVELS = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # of the rows of gradual_vs_instant
DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
TEXT = (DOCUMENTS["README.md"] + DOCUMENTS["CONTRIBUTING.md"]).replace("\n", " ")

# Each function works a few claims out again from the rows: numbers, with as many words as tell them apart.


def training():
    yield "**{test_accuracy:.1%}** test accuracy after {epochs} epochs".format_map(load_network().facts)
    speed = read_results("train_speed")
    usual = speed[speed.method == "usual loop"].iloc[0]
    ours = speed[speed.method == "helpers.train"].groupby(["precision", "width"]).median(numeric_only=True)
    products = speed[speed.method == "matrix product"].groupby("precision").flops_per_second.median()
    yield f"{usual.seconds:.0f} s (medians of two seeds)"
    for precision in ("bf16", "fp32"):
        half = ours.loc[precision, 0.5]
        yield f"**{usual.seconds / half.seconds:.1f} times** as fast in {precision}"
        yield f"({half.images_per_second / usual.images_per_second:.1f} times the images a second)"
        shares = 6 * ours.images_per_second[precision] / products[precision]
        wide, narrow = (shares[width] * count_macs(CifarNet(width)) for width in (1.0, 0.5))
        yield f"{precision}: **{wide:.0%}** at width 1.0, {narrow:.0%} at half width"
    jobs = read_results("sweep_speed").groupby("jobs")[["runs_per_hour", "overhead"]].median()
    ratio = jobs.runs_per_hour[2] / jobs.runs_per_hour[1]
    yield f"**{ratio:.2f} times** the runs per hour of one; the runner itself takes {jobs.overhead[1]:.2%}"


def speed_of_cut_networks():
    rows = read_results("pruned_speed")
    macs = rows.groupby("network").macs.first()
    fewer = macs["dense"] / macs["half the channels"]
    by = speed_ups(rows).groupby(["precision", "batch_size", "threads"])
    share = by.median() / fewer
    yield f"fp32: {share['fp32', 256, 1]:.2f} on 1 thread, {share['fp32', 256, 2]:.2f} on 2"
    for precision, size in (("bf16", 256), ("fp32", 1), ("bf16", 1)):
        yield f"{precision}: {share[precision, size, 1]:.2f} and {share[precision, size, 2]:.2f}"
    low, high = by.min()["fp32", 256], by.max()["fp32", 256]
    yield f"{fewer:.1f} times fewer MACs: **{low[1]:.1f} to {high[1]:.1f} times** faster on 1 thread"
    yield f"**{low[2]:.1f} to {high[2]:.1f} times** on 2"


def which_weights_and_where():
    rows = read_results("sparsity_curve")
    curve = rows.groupby(["method", "target_sparsity"])[["test_accuracy_before", "test_accuracy"]].mean()
    magnitude, chance = curve.loc["magnitude", 0.9], curve.loc["random", 0.9]
    yield f"{magnitude.test_accuracy_before:.1%} of the test images"
    yield f"{chance.test_accuracy_before:.1%} when as many go at random"
    yield f"that {magnitude.test_accuracy:.1%} and {chance.test_accuracy:.1%}"
    yield f"the dense network, trained as long, has {curve.test_accuracy['dense'].mean():.1%} (means"
    rows = read_results("criteria")
    end = rows[(rows.steps > 0) & rows.target_sparsity.isin((0, 0.95))].groupby(["scope", "method"]).test_accuracy.mean()
    best, taylor, gradient, random = (end["global", name] for name in ("magnitude", "taylor", "gradient", "random"))
    yield f"{best:.1%} by magnitude, {taylor:.1%} by Taylor scores, {gradient:.1%} by gradients alone, {random:.1%} at random"
    yield f"same share from each layer leaves {end['layer', 'magnitude']:.1%}, one ranking {best:.1%}"
    yield f"the dense network, trained as long, has {end['global', 'dense']:.1%} |"
    scan = read_results("sensitivity")
    alone = scan[scan.target_sparsity == 0.9].groupby("layer").accuracy_before.mean()
    inside = alone.index.str.contains("block")
    yield f"accuracy is {alone[~inside].drop('fc').mean():.1%} on average"
    yield f"inside a residual block, {alone[inside].mean():.1%}"
    yield f"({alone['fc']:.1%}; before fine-tuning)"


def depth_and_width():
    rows = read_results("depth_width")
    two, half = rows[rows.blocks == 2].fillna({"share": 1.0}), rows[rows.share == 0.5]
    gpu = read_results("depth_width_speed_gpu").query("precision == 'fp32'")
    time = []
    for times, size in ((read_results("depth_width_speed"), 1), (read_results("depth_width_speed"), 256), (gpu, 4096)):
        shares = time_shares(times, size)
        time.append(two.join(shares, on=shares.index.names).groupby("method").time.mean())
    one, many, gpu = ((of["depth"], of["width, equal MACs"]) for of in time)
    yield f"residual blocks **{one[0]:.0%}** of the dense network's time"
    yield f"as many MACs **{one[1]:.0%}**"
    assert abs(many[0] - many[1]) < 0.005
    yield f"for 256 images both take {many[0]:.0%}"
    yield f"4,096 images) they take {gpu[0]:.0%} and {gpu[1]:.0%}"
    accuracy = two.pivot(index="seed", columns="method", values="test_accuracy")
    gap = paired_difference(accuracy["width, equal MACs"], accuracy["depth"])
    yield f"{gap.in_points()} points of test accuracy (three seeds)"
    accuracy = half.pivot(index="seed", columns="method", values="test_accuracy")
    kept, new = accuracy["width, uniform"], accuracy["from scratch"].dropna()
    yield f"**{kept.mean():.1%}** with the weights that were kept, **{new.mean():.1%}** with new ones"
    yield f"on the three seeds that have both, {paired_difference(new, kept).in_points()} points"
    assert len(new) == 3


def in_steps_or_at_once():
    def minus_instant(rows):
        """Differences by schedule and sparsity, where the last pruning comes at 60 % of the steps."""
        rows = rows[rows.variant.isna() & (rows.until == 0.6) & (rows.method != "dense")]
        by = rows.pivot(index="seed", columns=["schedule", "target_sparsity"], values="test_accuracy")
        return {key: paired_difference(by[key], by["one_shot", key[1]]) for key in by if key[0] != "one_shot"}

    gap, wide = (minus_instant(read_results(name)) for name in ("gradual_vs_instant", "gradual_vs_instant_wide"))
    assert {difference.n for difference in (gap | wide).values()} == {10} and "10 seeds. Up to 80 % no difference" in TEXT
    tested = multipletests([gap["equal_steps_8", level].p for level in LEVELS], method="holm")[1]
    assert [p > 0.05 for p in tested] == [level <= 0.8 for level in LEVELS]
    for level in (0.9, 0.98):
        yield f"{gap['equal_steps_8', level].in_points()} at {100 * level:g} %"
    yield f"{gap['cubic_8', 0.98].in_points()} at 98 %"
    yield f"the same: {wide['equal_steps_8', 0.98].in_points()} and {wide['cubic_8', 0.98].in_points()}"
    rows = read_results("gradual_checks")
    long = minus_instant(rows[rows.epochs == rows.epochs.max()])
    assert all(long["equal_steps_8", level].low < 0 < long["equal_steps_8", level].high for level in (0.9, 0.95))
    yield f"behind at 98 % only, {long['equal_steps_8', 0.98].in_points()}"
    yield f"ahead at 90 % already, {long['cubic_8', 0.9].in_points()}"


def forms_to_ship():
    rows = read_results("deploy")
    yield f"accuracy of {rows.network.nunique()} kinds of networks"
    costs = rows.set_index("seed")[["time_share_1", "zipped_bytes", "test_accuracy"]]
    of = {name: costs[(rows.network == name).to_numpy()] for name in rows.network.unique()}
    dense = of["dense"]
    for name, between in (("dense, int8", " of the time and"), ("without 2 blocks, int8", " and")):
        time, size, _ = of[name].mean() / dense.mean()
        yield f"**{time:.0%}**{between} **{size:.0%}**"
        lost = mean_ci(100 * (dense.test_accuracy - of[name].test_accuracy))
        yield f"({lost.mean:.1f} ± {lost.margin:.1f}"
    time, *_ = of["narrower, MACs as without 2 blocks"].mean() / dense.mean()
    yield f"in fp32: {time:.0%} of the time"
    masked = (of["half width, 90% masked"] / of["half width"]).mean()
    assert 0.9 < masked.time_share_1 < 1.1
    yield f"90 % masked: {masked.zipped_bytes:.0%} of the zipped bytes"


@pytest.mark.parametrize(
    "claims", [training, speed_of_cut_networks, which_weights_and_where, depth_and_width, in_steps_or_at_once, forms_to_ship]
)
def test_numbers_are_those_of_the_rows(claims):
    assert [claim for claim in claims() if claim not in TEXT.replace("  ", " ")] == []


def test_named_commands_exist():
    for name, text in DOCUMENTS.items():
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= set(tasks.COMMANDS), name
        for module in re.findall(r"python -m ((?:experiments|helpers|tools)[\w.]*\w)", text):
            assert importlib.util.find_spec(module), f"{name}: python -m {module}"
        for grid in re.findall(r"python -m experiments (\w+)", text):
            assert grid in (*GRIDS, "NAME", "all", "merge"), f"{name}: python -m experiments {grid}"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "results").glob("*.csv")), ids=lambda path: path.name)
def test_rows_are_single_runs(path):
    assert not pd.read_csv(path).duplicated().any()

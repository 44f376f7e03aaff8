"""The README's numbers come from rows, its links lead somewhere, and its commands exist."""

import importlib.util
import re

import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

import tasks
from experiments import figures
from experiments.benchmarks.pruned_speed import speed_ups
from experiments.grids import GRIDS, LEVELS
from experiments.stats import mean_ci, paired_difference
from experiments.tables import time_shares
from helpers import CifarNet, count_macs, load_cifar_net, read_results
from helpers.data import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
TOLD = README + (REPOSITORY / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
RANKED = {"magnitude": " by magnitude", "taylor": " by Taylor scores", "gradient": " by gradients alone", "random": " at random"}
DOCUMENTS = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]


def claims():
    """Every measured statement of the README and of CONTRIBUTING, worked out again from the rows."""
    facts = load_cifar_net().facts
    yield "checkpoint", f"**{facts['test_accuracy']:.1%}** test accuracy after {facts['epochs']} epochs"
    speed = read_results("train_speed")
    usual = speed[speed.method == "usual loop"].iloc[0]
    ours = speed[speed.method == "helpers.train"].groupby(["precision", "width"]).median(numeric_only=True)
    products = speed[speed.method == "matrix product"].groupby("precision").flops_per_second.median()
    yield "time of the usual loop", f"the usual loop takes {usual.seconds:.0f} s (medians of two seeds)"
    for precision in ("bf16", "fp32"):
        half = ours.loc[precision, 0.5]
        images = f"{half.images_per_second / usual.images_per_second:.1f} times the images a second"
        yield f"time, {precision}", f"**{usual.seconds / half.seconds:.1f} times** as fast in {precision} ({images})"
        shares = [
            6 * count_macs(CifarNet(width)) * ours.loc[precision, width].images_per_second / products[precision]
            for width in (1.0, 0.5)
        ]
        yield f"share, {precision}", f"{precision}: **{shares[0]:.0%}** at width 1.0, {shares[1]:.0%} at half width"
    if (REPOSITORY / "results" / "sweep_speed.csv").exists():
        jobs = read_results("sweep_speed").groupby("jobs")
        ratio = jobs.runs_per_hour.median()[2] / jobs.runs_per_hour.median()[1]
        overhead = jobs.overhead.median()[1]
        yield "sweeps", f"**{ratio:.2f} times** the runs per hour of one; the runner itself takes {overhead:.2%}"
    scan = read_results("sensitivity")
    one_layer = scan[scan.target_sparsity == 0.9].groupby("layer").accuracy_before.mean()
    inside = one_layer.index.str.contains("block")
    yield "sensitive layers", f"accuracy is {one_layer[~inside].drop('fc').mean():.1%} on average"
    yield "layers in blocks", f"inside a residual block, {one_layer[inside].mean():.1%}"
    yield "the last layer", f"`fc`, hardly minds either ({one_layer['fc']:.1%};"
    pruned = read_results("pruned_speed")
    macs = pruned.groupby("network").macs.first()
    fewer = macs["dense"] / macs["half the channels"]
    turns = speed_ups(pruned).xs(("fp32", 256), level=("precision", "batch_size")).groupby("threads")
    gained = turns.median() / fewer
    yield "pruned speed, share", f"{gained[1]:.2f} on 1 thread, {gained[2]:.2f} on 2"
    shares = speed_ups(pruned).groupby(["precision", "batch_size", "threads"]).median() / fewer
    for precision, size in (("bf16", 256), ("fp32", 1), ("bf16", 1)):
        yield f"{precision}, {size}", f"{precision}: {shares[precision, size, 1]:.2f} and {shares[precision, size, 2]:.2f}"
    parts = (
        pruned[(pruned.part != "forward pass")].groupby(["part", "batch_size", "threads", "network"]).median_ms.median().unstack()
    )
    times = parts["dense"] / parts["half the channels"]
    convolution, others = times["convolution", 1], times.drop("convolution").xs(1, level="batch_size")
    yield "convolutions", f"gain {convolution[1]:.1f} (1 thread) and {convolution[2]:.1f} times (2 threads)"
    yield (
        "everything else",
        "everything else at most twice" if others.max() <= 2 else f"everything else up to {others.max():.1f} times",
    )
    share = (parts["dense"]["convolution"] / parts["dense"].groupby(["batch_size", "threads"]).sum()).loc[256].min()
    yield "share of convolutions", "more than four fifths" if share > 0.8 else f"{share:.0%} of the profiled time"
    as_macs = (times["convolution", 256] / fewer).between(0.95, 1.1).all()
    yield "convolutions at 256", "gain as much as the MACs fall" if as_macs else "gain otherwise than the MACs fall"
    (low, high), (low_2, high_2) = turns.agg(["min", "max"]).to_numpy()
    yield (
        "pruned speed",
        f"{fewer:.1f} times fewer MACs: **{low:.1f} to {high:.1f} times** faster on 1 thread, **{low_2:.1f} to {high_2:.1f} times** on 2",
    )
    if figures.lacking("sparsity_curve"):
        return  # not measured to the end yet; the README says nothing of it
    curve = read_results("sparsity_curve")
    for method, level in (("magnitude", 0.9), ("random", 0.9)):
        rows = curve[(curve.method == method) & (curve.target_sparsity == level)]
        for column in ("test_accuracy_before", "test_accuracy"):
            yield f"{method} {level} {column}", f"{mean_ci(rows[column]).mean:.1%}"
    yield "dense", f"{mean_ci(curve[curve.method == 'dense'].test_accuracy).mean:.1%}"
    if figures.lacking("criteria"):
        return
    rows = read_results("criteria")
    end = rows[(rows.steps > 0) & rows.target_sparsity.isin((0, 0.95))].groupby(["scope", "method"]).test_accuracy.mean()
    ranked = ", ".join(f"{end['global', kind]:.1%}{told}" for kind, told in RANKED.items())
    yield "criteria, one ranking", f"leaves {ranked}"
    yield "criteria, each layer", f"the same share from each layer leaves {end['layer', 'magnitude']:.1%}"
    yield "criteria, dense", f"dense network, trained as long, has {end['global', 'dense']:.1%}"
    yield from depth_and_width()
    yield from gradual_against_instant()
    yield from forms_to_ship()


def forms_to_ship():
    rows = read_results("deploy")
    assert len(rows) == len(GRIDS["deploy"].everything) and f"accuracy of {rows.network.nunique()} kinds of networks" in README
    dense = rows[(rows.width == 1.0) & (rows.network == "dense")].set_index("seed")

    def told(network, *costs):
        own = rows[rows.network == network].set_index("seed")
        shares = [f"{own[cost].mean() / dense[cost].mean():.0%}" for cost in costs]
        lost = mean_ci(100 * (dense.test_accuracy - own.test_accuracy))
        return shares, f"({lost.mean:.1f} ± {lost.margin:.1f}"

    (time, size), lost = told("dense, int8", "time_share_1", "zipped_bytes")
    yield (
        "8 bits",
        f"takes **{time}** of the time and **{size}** of the zipped bytes of fp32 at the same accuracy {lost} points lost)",
    )
    (time, size), lost = told("without 2 blocks, int8", "time_share_1", "zipped_bytes")
    yield "8 bits and fewer blocks", f"in 8 bits **{time}** and **{size}** {lost} lost)"
    (time,), _ = told("narrower, MACs as without 2 blocks", "time_share_1")
    yield "narrower", f"in fp32: {time} of the time"
    half, masked = (rows[rows.network == name].set_index("seed") for name in ("half width", "half width, 90% masked"))
    assert 0.9 < (masked.time_share_1 / half.time_share_1).mean() < 1.1
    yield "masked", f"90 % masked: {masked.zipped_bytes.mean() / half.zipped_bytes.mean():.0%} of the zipped bytes"


def depth_and_width():
    rows = read_results("depth_width")
    two = {}
    for size in (1, 256):
        shares = time_shares(read_results("depth_width_speed"), size)
        own = rows[rows.blocks == 2].fillna({"share": 1.0}).join(shares, on=shares.index.names)
        two[size] = own.groupby("method").time.mean()
    yield "time without blocks", f"without two of its five residual blocks **{two[1]['depth']:.0%}** of the dense network's time"
    yield "time at equal MACs", f"narrower one with as many MACs **{two[1]['width, equal MACs']:.0%}**"
    assert abs(two[256]["depth"] - two[256]["width, equal MACs"]) < 0.005
    yield "time of 256", f"for 256 images both take {two[256]['depth']:.0%}"
    times = read_results("depth_width_speed_gpu")
    shares = time_shares(times[times.precision == "fp32"], 4096)
    own = rows[rows.blocks == 2].fillna({"share": 1.0}).join(shares, on=shares.index.names).groupby("method").time.mean()
    yield "GPU", f"(H200, fp32, 4,096 images) they take {own['depth']:.0%} and {own['width, equal MACs']:.0%}"
    accuracy = {arm: own.set_index("seed").test_accuracy for arm, own in rows[rows.blocks == 2].groupby("method")}
    gap = paired_difference(accuracy["width, equal MACs"], accuracy["depth"])
    yield "depth against width", f"{gap.in_points()} points of test accuracy"
    half = rows[rows.share == 0.5].groupby("method").test_accuracy.mean()
    kept, new = half["width, uniform"], half["from scratch"]
    yield "pruned or new", f"**{kept:.1%}** with the weights that were kept, **{new:.1%}** with new ones"
    by_seed = rows[rows.share == 0.5].pivot(index="seed", columns="method", values="test_accuracy")
    gap = paired_difference(by_seed["from scratch"].dropna(), by_seed["width, uniform"])
    yield "new against kept", f"the three seeds that have both, {gap.in_points()} points"
    assert gap.n == 3


def gradual_against_instant():
    gap, wide = (minus_instant(read_results(name)) for name in ("gradual_vs_instant", "gradual_vs_instant_wide"))
    for level in (0.9, 0.98):
        yield f"equal portions, {level}", f"{gap['equal_steps_8', level].in_points()} at {100 * level:g} %"
    yield "cubic", f"{gap['cubic_8', 0.98].in_points()} at 98 %"
    tested = multipletests([gap["equal_steps_8", level].p for level in LEVELS], method="holm")[1]
    assert [p > 0.05 for p in tested] == [level <= 0.8 for level in LEVELS]
    assert {own.n for own in (gap | wide).values()} == {GRIDS["gradual_vs_instant"].seeds} == {10}
    yield "no difference", "10 seeds. Up to 80 % no difference is shown"
    at_98 = [wide[name, 0.98].in_points() for name in ("equal_steps_8", "cubic_8")]
    rows = read_results("gradual_checks")
    long = minus_instant(rows[rows.epochs == 4 * GRIDS["gradual_vs_instant"].everything[0]["epochs"]])
    assert all(long["equal_steps_8", level].low < 0 < long["equal_steps_8", level].high for level in (0.9, 0.95))
    yield "longer, equal", f"behind at 98 % only, {long['equal_steps_8', 0.98].in_points()}"
    yield "longer, cubic", f"ahead at 90 % already, {long['cubic_8', 0.9].in_points()}"
    yield "width 1.0", f"At width 1.0, 10 seeds, the signs at 98 % are the same: {' and '.join(at_98)}"


def minus_instant(rows):
    """Differences from instant pruning, by schedule and sparsity, where the last pruning comes at 60 % of the steps."""
    rows = rows[rows.variant.isna() & (rows.until == 0.6) & (rows.method != "dense")]
    by = rows.pivot(index="seed", columns=["schedule", "target_sparsity"], values="test_accuracy")
    return {key: paired_difference(by[key], by["one_shot", key[1]]) for key in by if key[0] != "one_shot"}


@pytest.mark.parametrize(("name", "text"), list(claims()))
def test_numbers_are_those_of_the_rows(name, text):
    assert text in TOLD.replace("\n", " ").replace("  ", " ")


def test_images_have_alt_text():
    assert all(alt.strip() for alt in re.findall(r"!\[([^]]*)\]", README))


def test_named_commands_exist():
    for path in DOCUMENTS:
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in tasks.COMMANDS, f"{path.name}: make {name}"


@pytest.mark.parametrize("path", [*DOCUMENTS, *sorted(REPOSITORY.glob("notebooks/**/*.ipynb"))], ids=lambda path: path.name)
def test_named_modules_exist(path):
    for name in re.findall(r"python -m ((?:experiments|helpers|tools)[\w.]*\w)", path.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(name), f"python -m {name}"


@pytest.mark.parametrize("path", [*DOCUMENTS, *sorted(REPOSITORY.glob("notebooks/**/*.ipynb"))], ids=lambda path: path.name)
def test_named_grids_exist(path):
    for name in re.findall(r"python -m experiments (\w+)", path.read_text(encoding="utf-8")):
        assert name in GRIDS or name == "NAME", f"python -m experiments {name}"


def test_every_notebook_is_in_the_table():
    for notebook in (REPOSITORY / "notebooks").glob("[0-9]*.ipynb"):
        assert f"notebooks/{notebook.name}" in README


@pytest.mark.parametrize("path", sorted((REPOSITORY / "results").glob("*.csv")), ids=lambda path: path.name)
def test_rows_are_single_runs(path):
    rows = pd.read_csv(path)
    assert not rows.duplicated().any()

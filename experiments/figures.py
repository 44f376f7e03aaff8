"""The figures of result rows, one function each; `make figures` redraws images/ from results/, the same bytes each time."""

import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator
from scipy.optimize import isotonic_regression
from torch.nn.utils import prune

from helpers import load_network, plots
from helpers.data import REPOSITORY
from helpers.plots import PERCENT, label_line
from helpers.schedules import equal_steps

from .stats import mean_ci
from .tables import DEPTH, SHAPE, WIDTH, time_shares, whole_seeds

LOOKS = {  # one look for each method in every figure: label, color, marker, line style
    "magnitude": ("magnitude", "C0", "o", "-"),
    "random": ("random", "C1", "s", "--"),
    "taylor": ("Taylor", "C2", "^", "-"),
    "gradient": ("gradient", "C4", "v", "-"),
    "percentile": ("percentile (both tails)", "C5", "P", "-."),
    "wanda": ("Wanda", "C6", "p", (0, (6, 2))),
    "L1 norm": ("L1 norm", "C2", "^", "-"),
    "instant": ("instant", "C0", "o", "-"),
    "equal": ("equal", "C2", "^", "--"),
    "geometric": ("geometric", "C6", "d", (0, (6, 2))),
    "cubic": ("cubic", "C4", "v", "-."),
    "dense": ("dense", "0.35", "*", ":"),
    "filters_l1": ("whole filters by norm", "C3", "D", "-"),
    "filters_random": ("whole filters at random", "C1", "s", "--"),
    "magnitude, layer": ("magnitude", "C7", "X", "--"),
    "magnitude, 1 % kept": ("magnitude, 1 % of each layer kept", "C9", "*", "-."),
    "shuffled magnitude": ("magnitude, shuffled in each layer", "C4", "v", "-"),
    "global_unstructured": ("global_unstructured, L1", "C0", "o", "-"),
    "l1_unstructured": ("l1_unstructured", "C3", "D", "-"),
    "random_unstructured": ("random_unstructured", "C1", "s", "--"),
    "ln_structured_n1_dim0": ("ln_structured, n=1, dim 0", "C2", "^", "-"),
    "ln_structured_n2_dim0": ("ln_structured, n=2, dim 0", "C4", "v", "-"),
    "ln_structured_n2_dim1": ("ln_structured, n=2, dim 1", "C5", "P", "-."),
    "random_structured_dim0": ("random_structured, dim 0", "C1", "s", "--"),
    "random_structured_dim1": ("random_structured, dim 1", "C7", "X", ":"),
    "width, uniform": ("width: the same share of each layer", "C3", "D", "-"),
    "width, guided": ("width: shares from a scan", "C6", "d", "-."),
    "from scratch": ("the uniform widths, from scratch", "C7", "X", "--"),
    DEPTH: ("depth: without blocks", "C2", "^", "-"),
    WIDTH: ("width: as many MACs as depth", "C3", "s", "--"),
    "masked": ("masked weights", "C0", "o", "-"),
    "one_shot": ("instant", "C0", "o", "-"),
    "equal_steps_8": ("gradual, equal", "C2", "^", "--"),
    "geometric_8": ("gradual, geometric", "C6", "d", (0, (6, 2))),
    "cubic_8": ("gradual, cubic", "C4", "v", "-."),
}
METHODS = {name: dict(zip(("label", "color", "marker", "ls"), look, strict=True)) for name, look in LOOKS.items()}
DOT = {"ls": "", "label": None, "markersize": 3, "alpha": 0.35}  # a single run


def draw_means(ax: plt.Axes, rows: pd.DataFrame, x: str, y: str, level: str, style: dict, apart=0.0, band=False) -> pd.DataFrame:
    """Mean of column `y` with its 95 % interval at each value of column `level`, drawn at the mean of column `x`.

    Intervals are bars, with every run as a faint dot beside it (`apart`); or a `band`. Returns mean, low and high by level.
    """
    groups = rows.groupby(level)
    means = pd.DataFrame([mean_ci(runs) for _, runs in groups[y]], index=list(groups.groups))
    places = groups[x].mean()
    if band:
        ax.fill_between(places, means.low, means.high, color=style["color"], alpha=0.2, lw=0)
        ax.plot(places, means["mean"], **style)
    else:
        ax.plot(rows[x] + apart, rows[y], **style | DOT)
        ax.errorbar(places - apart, means["mean"], means["mean"] - means.low, **style, capsize=3)
    return means


def label_ends(ax: plt.Axes, ends: dict[str, tuple[float, float, str]], gap: float = 0.055) -> None:
    """Write names beside the right ends of lines, {name: (x, y, color)}, at least the share `gap` of the height apart."""
    bottom, top = ax.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][1])
    apart = gap * (top - bottom) * np.arange(len(names))
    heights = isotonic_regression([ends[name][1] for name in names] - apart).x  # as near to the ends as can be
    heights = np.clip(heights, bottom + gap / 2 * (top - bottom), top - apart[-1]) + apart
    for name, height in zip(names, heights, strict=True):
        x, _, color = ends[name]
        ax.annotate(name, (x, height), (9, 0), textcoords="offset points", va="center", color=color, annotation_clip=False)


def curves(ax: plt.Axes, rows: pd.DataFrame, column: str, methods: Sequence[str], log: bool = True) -> None:
    """Draw `column` against sparsity for each method (`draw_means`), a little beside each other.

    The scale is that of the logarithm of the weights left: from 50 to 75 % is as far as from 90 to 95 %. Or linear. Ticks
    are at the sparsities that were asked for, points at those that were reached: whole filters do not meet every one.
    """
    scale = (lambda share: -np.log(1 - share)) if log else (lambda share: share)
    levels = np.sort(rows.target_sparsity[rows.method.isin(methods)].unique())
    for k, method in enumerate(methods):
        runs = rows[rows.method == method]
        beside = 0.012 * np.ptp(scale(levels)) * (k - (len(methods) - 1) / 2)
        runs = runs.assign(place=scale(runs.achieved_sparsity) + beside)
        draw_means(ax, runs, "place", column, "target_sparsity", METHODS[method])
    ax.set_xticks(scale(levels), [f"{level:.0%}" for level in levels])
    ax.yaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10)))  # labels would round halves of a percent
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set(xlabel="sparsity (logarithmic in the weights left)" if log else "sparsity: share of weights set to zero")


def reference_line(ax: plt.Axes, rows: pd.DataFrame, column: str, x: float = 0.01) -> None:
    """The dense network's mean as a dotted line with its name on it (at the share `x` of the width), its 95 % interval as a band."""
    dense = mean_ci(rows[column][rows.method == "dense"])
    label_line(ax, f"dense: {dense.mean:.1%}", dense.mean, x)
    ax.axhspan(dense.low, dense.high, color="0.35", alpha=0.15, lw=0)


def _seeds(rows: pd.DataFrame) -> str:
    return f"mean, 95 % CI of {rows.seed.nunique()} seeds"


CRITERIA = {  # arms of the grid `criteria` by name: scope and method
    "magnitude": ("global", "magnitude"),
    "Taylor": ("global", "taylor"),
    "gradient": ("global", "gradient"),
    "Wanda": ("global", "wanda"),
    "both tails": ("global", "percentile"),
    "random": ("global", "random"),
}
SCOPES = {
    "global": ("global", "magnitude"),
    "global, 1 % kept": ("global", "magnitude, 1 % kept"),
    "layer by layer": ("layer", "magnitude"),
    "shuffled": ("global", "shuffled magnitude"),
    "layer by layer, random": ("layer", "random"),
}
UNTRAINED = {"before": "right after pruning", "recalibrated": "recalibrated, not fine-tuned"}


def _arms(ax: plt.Axes, rows: pd.DataFrame, arms: dict[str, tuple[str, str]], column: str) -> None:
    """`column` by sparsity: a dot for each network, a line through the means, at its end the arm's name and its last mean."""
    ends = {}
    levels = sorted(rows.target_sparsity[rows.method != "dense"].unique())
    for name, (scope, method) in arms.items():
        runs = rows[(rows.scope == scope) & (rows.method == method)]
        style = METHODS.get(f"{method}, {scope}", METHODS[method])
        means = runs.groupby("target_sparsity")[column].mean()
        ax.plot(runs.target_sparsity.map(levels.index), runs[column], **style | DOT | {"markersize": 5})
        ax.plot(range(len(levels)), means[levels], **style | {"label": None, "marker": ""})
        ends[f"{name}: {means[levels[-1]]:.0%}"] = (len(levels) - 1, means[levels[-1]], "0.2")
    if "dense" in set(rows.method):
        dense = rows[column][rows.method == "dense"].mean()
        label_line(ax, f"dense: {dense:.1%}", dense)
    ax.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set(xlabel="weights set to zero", ylim=(0, 1))
    label_ends(ax, ends)


def _networks(rows: pd.DataFrame, shown: str = "a dot for each of") -> str:
    count = rows.seed.nunique()
    return f"{shown} {count} networks" if count > 1 else "one network"


def after_finetuning(rows: pd.DataFrame, arms: dict[str, tuple[str, str]], title: str) -> Figure:
    """Test accuracy of arms (scope, method) by name, after fine-tuning: rows of `criteria`, of the seeds that are whole."""
    rows = whole_seeds(rows)
    fig, ax = plt.subplots(figsize=(7.4, 4))
    _arms(ax, rows[rows.steps > 0], arms, "test_accuracy")
    ax.set(title=f"{title} ({_networks(rows)})", ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    return fig


def before_and_after(rows: pd.DataFrame, arms: dict[str, tuple[str, str]], title: str, stage: str = "recalibrated") -> Figure:
    """`after_finetuning`, and left of it the same arms without training, at more levels; `stage` is one of `UNTRAINED`."""
    rows = whole_seeds(rows)
    tuned = rows[rows.steps > 0]
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 4), sharey=True)
    _arms(axes[0], rows, arms, f"test_accuracy_{stage}")
    _arms(axes[1], tuned, arms, "test_accuracy")
    axes[0].set(title=UNTRAINED[stage], ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    axes[1].set(title=f"after fine-tuning ({int(tuned.steps.iloc[0])} steps)")
    fig.suptitle(f"{title} ({_networks(rows)})")
    return fig


def magnitude_and_random(rows: pd.DataFrame) -> Figure:
    """The first picture: what the smallest weights cost, and random ones."""
    arms = {name: CRITERIA[name] for name in ("magnitude", "random")}
    return before_and_after(rows, arms, "Most weights can go, if they are the right ones", stage="before")


def criteria(rows: pd.DataFrame) -> Figure:
    """Global pruning by each criterion."""
    return before_and_after(rows, CRITERIA, "Magnitude leads, recalibrated and fine-tuned")


def scopes(rows: pd.DataFrame) -> Figure:
    """Magnitude pruning with one total sparsity, spread over the layers in different ways."""
    return before_and_after(rows, SCOPES, "Fine-tuned, the scope matters more the more is removed")


def filters_recalibrated(rows: pd.DataFrame) -> Figure:
    """20 % of all filters masked, by norm and at random: accuracy at once, recalibrated and fine-tuned; rows of `recalibration`."""
    fig, ax = plt.subplots(figsize=(8, 4))
    dense = rows[rows.method == "dense"].accuracy_before.mean()
    stages = {"masked": (0, "accuracy_before"), "recalibrated": (0, "accuracy_recalibrated")}
    stages |= {"fine-tuned,\n1 epoch": (1, "val_accuracy"), "fine-tuned,\n4 epochs": (4, "val_accuracy")}
    ticks = {}
    arms = {
        "filters_l1": ("L1 norm", "smallest norm", (0.42, 0.58), "right"),
        "filters_random": ("random", "at random", (0.6, 0.42), "left"),
    }
    for method, (style, name, label_at, side) in arms.items():
        filters, look, means = rows[rows.method == method], METHODS[style], []
        for place, (stage, (epochs, column)) in enumerate(stages.items()):
            runs = filters[filters.epochs == epochs][column]
            if len(runs):
                ticks.setdefault(place, f"{stage}\n({len(runs)} network{'s' * (len(runs) > 1)})")
                ax.plot([place] * len(runs), runs, look["marker"], color=look["color"], markersize=5, alpha=0.5)
                means.append(runs.mean())
        ax.plot(range(len(means)), means, color=look["color"], ls=look["ls"])
        ax.annotate(name, label_at, ha=side)
    label_line(ax, f"dense: {dense:.1%}", dense)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set(xticks=list(ticks), xticklabels=ticks.values(), ylabel="validation accuracy", ylim=(0, 1))
    ax.set_title("20 % of the filters removed: recalibrate before you judge")
    return fig


def builtin_methods(rows: pd.DataFrame) -> Figure:
    """Test accuracy of every built-in method, not fine-tuned: single weights left, slices right; recalibrated below."""
    rows = whole_seeds(rows)
    fig, axes = plt.subplots(2, 2, figsize=(10.5, 7.2), sharey=True)
    kinds = {"single weights": ("unstructured", 0.9), "slices": ("_structured", 0.5)}  # beyond 50 % slices are near chance
    for line, (stage, words) in zip(axes, UNTRAINED.items(), strict=True):
        for ax, (title, (kind, last)) in zip(line, kinds.items(), strict=True):
            methods = [method for method in LOOKS if kind in method]
            arms = {METHODS[name]["label"]: ("global" if "global" in name else "layer", name) for name in methods}
            _arms(ax, rows[rows.target_sparsity <= last], arms, f"test_accuracy_{stage}")
            ax.set(title=f"{title}, {words}")
        line[0].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    for ax in axes[0]:
        ax.set(xlabel="")
    fig.suptitle(f"Recalibrated, whole slices keep far more than they seem to ({_networks(rows)})")
    return fig


def _scan(ax: plt.Axes, rows: pd.DataFrame, column: str) -> AxesImage:
    """Accuracies as colors and numbers, means over seeds: layers down, amounts across."""
    table = rows.pivot_table(index="layer", columns="target_sparsity", values=column, sort=False).sort_index(axis=1)
    image = ax.imshow(table, cmap="viridis", aspect="auto", vmin=0.1, vmax=1)
    for (row, place), value in np.ndenumerate(table.to_numpy()):
        text = ax.text(place, row, f"{value:.0%}", ha="center", va="center", fontsize=8.5)
        text.set_color("black" if value > 0.6 else "white")
    ax.set_xticks(range(table.shape[1]), [f"{level:.0%}" for level in table.columns])
    ax.set_yticks(range(len(table)), table.index, fontsize=8.5)
    ax.grid(visible=False)
    return image


def sensitivity(rows: pd.DataFrame, dense: float) -> Figure:
    """A live scan: `rows` has `layer`, `target_sparsity` and `accuracy`; `dense` is the accuracy of the whole network."""
    fig, ax = plt.subplots(figsize=(1.6 + 0.95 * rows.target_sparsity.nunique(), 0.8 + 0.3 * rows.layer.nunique()))
    image = _scan(ax, rows, "accuracy")
    ax.set(xlabel="share of this layer's weights removed", title=f"one layer pruned alone (dense: {dense:.1%})")
    fig.colorbar(image, ax=ax, label="validation accuracy (darkest: chance)", format=PERCENT)
    return fig


def sensitivities(rows: pd.DataFrame) -> Figure:
    """Validation accuracy with one layer's weights pruned (above), or one group's channels (below): at once, and recalibrated."""
    rows = whole_seeds(rows)
    kinds = {"magnitude": "weights of one layer removed", "channels": "channels of one group removed"}
    sizes = [rows.layer[rows.method == kind].nunique() for kind in kinds]
    fig, axes = plt.subplots(2, 2, figsize=(9.5, 1.4 + 0.3 * sum(sizes)), height_ratios=sizes, sharey="row")
    for line, (kind, what) in zip(axes, kinds.items(), strict=True):
        for ax, (stage, words) in zip(line, UNTRAINED.items(), strict=True):
            image = _scan(ax, rows[rows.method == kind], f"accuracy_{stage}")
            ax.set(xlabel=what, title=words if kind == "magnitude" else "")
    fig.colorbar(image, ax=axes, label="validation accuracy (darkest: chance)", format=PERCENT)
    title = "Recalibrated, one layer alone can lose most of its weights; channels that a stage shares cost more"
    fig.suptitle(f"{title} ({_networks(rows, 'mean of')})")
    return fig


def depth_vs_width(rows: pd.DataFrame, times: pd.DataFrame) -> Figure:
    """Test accuracy of narrower and shallower networks: rows of `depth_width`, and of `depth_width_speed`.

    Left: widths by the share of the MACs that is left. Right: depth against width by their share of the dense network's time
    for one image; a gray line joins those with the same MACs.
    """
    fig, axes = plt.subplot_mosaic([["after", "large"], ["before", "large"]], figsize=(9.7, 5.8), height_ratios=(3, 2))
    small, large = rows[rows.width == rows.width.min()], rows[rows.width == rows.width.max()]
    _widths(axes["after"], axes["before"], small)
    _depth_by_time(axes["large"], large.fillna({"dropped": "", "share": 1.0}).join(time_shares(times), on=SHAPE))
    axes["after"].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    axes["large"].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    left, scratch, right = (some.seed.nunique() for some in (small, small[small.method == "from scratch"], large))
    how = f"times: {times.precision.iloc[0]}, threads: {times.threads.iloc[0]:g}"
    fig.suptitle(f"mean and 95 % CI of {left} seeds ({scratch} from scratch) left, {right} right; {how}", fontsize=10)
    return fig


def _widths(after: plt.Axes, before: plt.Axes, rows: pd.DataFrame) -> None:
    methods = ("width, uniform", "width, guided", "from scratch")
    removed = rows.assign(target_sparsity=1 - rows.share, achieved_sparsity=1 - rows.macs / rows.dense_macs)
    curves(after, removed, "test_accuracy", methods, log=False)
    curves(before, removed, "test_accuracy_before", methods[:2], log=False)
    reference_line(after, rows, "test_accuracy")
    after.set(xlabel=None, title=f"width, CifarNet(width={rows.width.iloc[0]:g})")
    before.set(xlabel="share of the MACs that is left", ylabel="before fine-tuning", ylim=(0, None))
    for ax in (after, before):
        ax.xaxis.set_major_formatter(lambda share, _: f"{1 - share:.0%}")
    before.legend(*after.get_legend_handles_labels(), fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.28))


def _depth_by_time(ax: plt.Axes, rows: pd.DataFrame) -> None:
    missing = rows.dropped[rows.time.isna()].tolist()
    if missing:
        raise ValueError(f"times: have no network without {missing[0]}; run experiments.benchmarks.depth_width_speed again")
    for method in ("dense", WIDTH, DEPTH):
        runs, style = rows[rows.method == method], METHODS[method] | {"ls": ""}
        accuracy = draw_means(ax, runs, "time", "test_accuracy", "blocks", style)
        times = runs.groupby("blocks")[["time", "low", "high"]].mean()
        ax.hlines(accuracy["mean"], times.low, times.high, color=style["color"])
    for k, high in accuracy.high.items():  # of depth
        place = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
        ax.annotate(f"{k} block{'s' if k > 1 else ''} fewer", (times.time[k], high), **place, fontsize=9, color=style["color"])
        pair = rows[rows.blocks == k].groupby("method")[["time", "test_accuracy"]].mean()
        ax.plot(pair.time, pair.test_accuracy, color="0.75", lw=1, zorder=1)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.yaxis.set(major_locator=MultipleLocator(0.01), major_formatter=PERCENT)  # labels would round halves of a percent
    ax.set(xlabel="share of the dense network's time for one image", xmargin=0.15)
    ax.set_title(f"depth and width, CifarNet(width={rows.width.iloc[0]:g})")
    ax.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2)


def gradual_pruning(rows: pd.DataFrame) -> Figure:
    """Accuracy during training for one and for eight equal prunings, a panel for each final sparsity: means, 95 % CI as bands.

    Marks are prunings. The names at the right have the means at the end.
    """
    shown = {"none": "dense", "one_shot": "instant", "equal_steps_8": "8 equal prunings"}
    levels = sorted(rows.target_sparsity[rows.method != "dense"].unique())
    total, until = int(rows.steps.iloc[0]), rows.until.iloc[0]
    fig, axes = plt.subplots(1, len(levels), figsize=(5.2 * len(levels), 4), sharey=True)
    for ax, level in zip(axes, levels, strict=True):
        ends = {}
        for schedule, name in shown.items():
            runs = rows[(rows.schedule == schedule) & rows.target_sparsity.isin((level, 0))]
            pairs = runs.curve.str.split().explode().str.split(":", expand=True)  # "step:accuracy" of each look during a run
            looks = pairs.astype(float).set_axis(["step", "accuracy"], axis=1)
            looks["place"] = looks.groupby(level=0).cumcount()
            steps = looks.groupby("place").step.first()
            rounds = {"none": 0, "one_shot": 1, "equal_steps_8": 8}[schedule]
            pruned = [step for step, _ in equal_steps(level, rounds, until).steps(total)] if rounds else []
            style = METHODS["dense" if schedule == "none" else schedule] | {"markersize": 6, "lw": 1.5}
            style["marker"] = style["marker"] if pruned else ""
            style["markevery"] = steps[steps.isin(pruned)].drop_duplicates(keep="last").index.tolist()
            means = draw_means(ax, looks, "step", "accuracy", "place", style, band=True)
            end = means["mean"].iloc[-1]
            ends[f"{name}: {end:.1%}"] = (total, end, style["color"])
        ax.yaxis.set_major_formatter(PERCENT)
        ax.set(title=f"to {level:.0%} weights set to zero", ylim=(0, 1), xlabel="optimizer step")
        label_ends(ax, ends)
    axes[0].set(ylabel=f"validation accuracy, {rows.dataset.iloc[0]}")
    images = int(rows.curve_images.iloc[0])
    seen = f"{_seeds(rows)}, on {images} validation images; marks: prunings"
    fig.suptitle(f"The last of eight equal cuts is the deepest\n{seen}", fontsize=10)
    return fig


def dots_by_network(table: pd.DataFrame, title: str) -> Figure:
    """A row for each network (the index), a panel for each column of shares, a dot with its value in each."""
    fig, axes = plt.subplots(1, len(table.columns), figsize=(9.5, 1 + 0.45 * len(table)), sharey=True)
    for ax, (name, values) in zip(axes, table.items(), strict=True):
        for place, value in enumerate(values):
            ax.plot(value, place, "C0o", markersize=8)
            ax.annotate(f"{value:.1%}", (value, place), (0, 8), textcoords="offset points", ha="center", fontsize=9)
        ax.set(title=name.replace(" (", "\n("), yticks=range(len(table)), yticklabels=table.index, xmargin=0.25, ymargin=0.3)
        ax.xaxis.set(major_locator=MaxNLocator(3, steps=[1, 2, 5, 10]), major_formatter=lambda x, _: f"{100 * x:g}%")
    axes[0].invert_yaxis()
    fig.suptitle(title, fontsize=12)
    return fig


def accuracy_pairs(pairs: dict[str, Sequence[tuple[float, float]]], dense: float, title: str) -> Figure:
    """(accuracy right after pruning, accuracy recalibrated) of one or more runs by name: a hollow mark, a line and a full mark."""
    fig, ax = plt.subplots(figsize=(7.4, 1.1 + 0.42 * len(pairs)))
    for row, runs in enumerate(pairs.values()):
        for height, run in zip(row + 0.12 * (np.arange(len(runs)) - (len(runs) - 1) / 2), runs, strict=True):
            ax.plot(run, [height, height], color="0.6", lw=1, zorder=1)
            ax.scatter(run, [height, height], s=30, facecolors=["white", "C0"], edgecolors="C0", zorder=2)
    for place, height, text in ((dense, 1, f"dense: {dense:.1%}"), (0.1, 0, "chance")):
        ax.axvline(place, color="0.3", ls=":", zorder=0)
        ax.annotate(text, (place, 0), xycoords=("data", "axes fraction"), xytext=(4 - 8 * height, 4), textcoords="offset points",
                    ha=("left", "right")[height], fontsize=9, color="0.3")  # fmt: skip
    ax.set(title=title, xlim=(0, 1), yticks=range(len(pairs)), yticklabels=pairs, ylim=(len(pairs) - 0.1, -0.6))
    ax.set_xlabel("accuracy (hollow: right after pruning, full: recalibrated)")
    ax.xaxis.set_major_formatter(PERCENT)
    return fig


def accuracy_during(runs: dict[str, Sequence[tuple[int, float]]], prunings: dict[str, Sequence[int]], dense: float) -> Figure:
    """Accuracy by optimizer step for several trainings, (step, accuracy) pairs each; above, the steps at which each is pruned."""
    fig, (marks, ax) = plt.subplots(2, 1, figsize=(8, 5.2), sharex=True, height_ratios=(1, 4))
    for height, (name, pairs) in enumerate(runs.items()):
        ax.plot(*zip(*pairs, strict=True), **METHODS[name] | {"marker": "", "lw": 1.5})
        marks.plot(prunings[name], [-height] * len(prunings[name]), **METHODS[name] | {"ls": ""}, markersize=5)
    marks.set_yticks([-height for height in range(len(runs))], runs)
    marks.set(title="when each one is pruned", ymargin=0.15)
    label_line(ax, f"dense: {dense:.1%}", dense, x=0.02)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set(xlabel="optimizer step", ylabel="validation accuracy", ylim=(0, 1))
    ax.set_title("a deep cut costs accuracy, training repairs it")
    label_ends(ax, {name: (*pairs[-1], METHODS[name]["color"]) for name, pairs in runs.items()})
    return fig


def gradual_vs_instant(rows: pd.DataFrame) -> Figure:
    """Test accuracy by sparsity of instant and gradual pruning; beside it each gradual schedule minus instant, seed by seed.

    Without controls and mistakes (column `variant`), the last pruning late (`until`).
    """
    if "variant" in rows:
        rows = rows[rows.variant.isna()]
    rows = rows[rows.until == rows.until.max()]
    rows = rows.assign(method=rows.schedule.where(rows.method != "dense", "dense"))
    arms = [name for name in ("one_shot", "equal_steps_8", "geometric_8", "cubic_8") if name in set(rows.method)]
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), width_ratios=(5, 4))
    curves(left, rows, "test_accuracy", arms)
    reference_line(left, rows, "test_accuracy", x=0.8)
    means = rows.pivot_table(index="target_sparsity", columns="method", values="test_accuracy")[arms].dropna().iloc[-1]
    right_end, names = left.get_xticks()[-1], {arm: METHODS[arm]["label"].removeprefix("gradual, ") for arm in arms}
    label_ends(left, {names[arm]: (right_end, means[arm], METHODS[arm]["color"]) for arm in arms})
    title = f"at {means.name:.0%}, {names[means.idxmax()]} ends highest and {names[means.idxmin()]} lowest"
    left.set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}", xlabel="weights set to zero", title=title)
    pairs = rows[rows.method.isin(arms)].pivot(index=["target_sparsity", "seed"], columns="method", values="test_accuracy")
    gaps = 100 * pairs.sub(pairs.one_shot, axis=0)
    levels = list(gaps.index.unique("target_sparsity"))
    right.axhline(0, color=METHODS["one_shot"]["color"], lw=1.2)
    for k, arm in enumerate(arms[1:]):
        runs = gaps[arm].dropna().rename("gap").reset_index()
        runs["place"] = runs.target_sparsity.map(levels.index) + 0.24 * (k - (len(arms) - 2) / 2)
        draw_means(right, runs, "place", "gap", "target_sparsity", METHODS[arm] | {"ls": ""}, apart=0.045)
    ends = gaps.loc[levels[-1]].mean()
    label_ends(right, {names[arm]: (len(levels) - 0.5, ends[arm], METHODS[arm]["color"]) for arm in arms})
    right.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
    right.set(xlabel="weights set to zero", xlim=(-0.5, len(levels) - 0.5))
    right.set(ylabel="points of test accuracy", title="difference from instant, same seed")
    fig.suptitle(f"every run as a small mark; {_seeds(rows)}", fontsize=10)
    return fig


COSTS = {"time_share_1": "time for one image, as a share of the dense network's", "zipped_bytes": "bytes of the zipped file"}
NAMED = {  # the networks that `pareto` names, and where: points to the right and up, and the side of the text that is aligned
    "dense": (0, 8, "center"),
    "without 2 blocks": (-14, -48, "right"),
    "narrower, MACs as without 2 blocks": (12, -124, "right"),
    "half width": (0, 8, "center"),
    "half width, 90% masked": (8, -4, "left"),
    "dense, int8": (4, 8, "center"),
    "without 2 blocks, int8": (-8, 2, "right"),
    "half width, int8": (-6, 6, "right"),
}

LEADER = {"arrowstyle": "-", "color": "0.6", "lw": 0.8, "shrinkB": 4}


def pareto(rows: pd.DataFrame) -> Figure:
    """Test accuracy against time and against bytes for networks of `deploy` rows, means over seeds: a few named, others pale.

    Filled marks are fp32, hollow ones int8. The line joins the networks that no other one beats in both accuracy and cost.
    Networks more than two points below the named ones are not drawn, but counted.
    """
    fig, axes = plt.subplots(1, 2, figsize=(10.5, 4.8), sharey=True)
    rows = rows.assign(method=rows.method.replace("magnitude", "masked"))
    kinds = rows.groupby(["network", "method", "precision"])[[*COSTS, "test_accuracy"]].mean().reset_index()
    floor = kinds.test_accuracy[kinds.network.isin(NAMED)].min() - 0.02
    below = (kinds.test_accuracy < floor).sum()
    for ax, (cost, label) in zip(axes, COSTS.items(), strict=True):
        for network in kinds[kinds.test_accuracy >= floor].itertuples():
            x, y, named = getattr(network, cost), network.test_accuracy, network.network in NAMED
            style = METHODS[network.method] | {"ls": "", "label": None, "alpha": 1 if named else 0.4}
            ax.plot(x, y, **style | ({"markerfacecolor": "white"} if network.precision == "int8" else {}))
            if named:
                right, up, side = NAMED[network.network]
                text = network.network.replace(", MACs as ", ",\nMACs as\n")
                look = {"ha": side, "fontsize": 9, "color": "0.2", "arrowprops": LEADER if up < -20 else None}
                ax.annotate(text, (x, y), (right, up), textcoords="offset points", **look)
        best = kinds.sort_values([cost, "test_accuracy"], ascending=[True, False])
        best = best[best.test_accuracy > best.test_accuracy.cummax().shift(fill_value=0)]
        ax.plot(best[cost], best.test_accuracy, color="0.6", lw=1, zorder=1)
        ax.set(xscale="log", xlabel=label, ylim=(floor, kinds.test_accuracy.max() + 0.006), xmargin=0.18)
        ax.yaxis.set_major_formatter(PERCENT)
    axes[0].xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=PERCENT, minor_formatter="")
    axes[0].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}", title="time: 8 bits or fewer blocks, not masks")
    axes[1].set(title="bytes: 8 bits first, masks only when zipped")
    how = f"onnxruntime, threads: {rows.threads.iloc[0]:g}, means of {rows.seed.nunique()} seeds"
    marks = f"filled: fp32, hollow: int8; pale: all others ({below} below the axis); the line joins what nothing beats in both"
    fig.suptitle(f"{how}; {marks}", fontsize=10)
    return fig


def mask_patterns() -> Figure:
    """`conv1` of the checkpoint, dense and pruned by single weights, filters and input channels."""
    conv1 = load_network().conv1
    single, filters, inputs = copy.deepcopy(conv1), copy.deepcopy(conv1), copy.deepcopy(conv1)
    prune.l1_unstructured(single, "weight", amount=0.5)
    prune.ln_structured(filters, "weight", amount=0.5, n=2, dim=0)
    prune.ln_structured(inputs, "weight", amount=1, n=2, dim=1)
    pruned = {"single weights": single, "filters (dim 0)": filters, "input channels (dim 1)": inputs}
    return plots.mask_patterns(conv1.weight, {name: layer.weight_mask for name, layer in pruned.items()})


# figure: (results files whose rows it takes, function)
FIGURES: dict[str, tuple[tuple[str, ...], Callable[..., Figure]]] = {
    "magnitude_and_random": (("official/criteria",), magnitude_and_random),
    "builtin_methods": (("official/builtin_methods",), builtin_methods),
    "criteria": (("official/criteria",), criteria),
    "scopes": (("official/criteria",), scopes),
    "sensitivity": (("official/sensitivity",), sensitivities),
    "depth_vs_width": (("depth_width", "depth_width_speed"), depth_vs_width),
    "gradual_pruning": (("gradual_pruning",), gradual_pruning),
    "gradual_vs_instant": (("gradual_vs_instant",), gradual_vs_instant),
    "pareto": (("deploy",), pareto),
    "mask_patterns": ((), mask_patterns),
}


def lacking(name: str, results: Path = REPOSITORY / "results") -> list[str]:
    """The results files of a figure that are not in the folder `results`."""
    return [source for source in FIGURES[name][0] if not (results / f"{source}.csv").exists()]


def draw(results: Path = REPOSITORY / "results", images: Path = REPOSITORY / "images") -> None:
    images.mkdir(parents=True, exist_ok=True)
    for name, (sources, function) in FIGURES.items():
        if missing := lacking(name, results):
            print(f"  {name}: not drawn, {', '.join(missing)} missing")
            continue
        fig = function(*(pd.read_csv(results / f"{source}.csv") for source in sources))
        fig.savefig(images / f"{name}.png", metadata={"Software": None})
        plt.close(fig)
        print(f"  {name}.png")


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:]))

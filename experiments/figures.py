"""The figures of result rows, one function each; `make figures` redraws images/ from results/, the same bytes each time."""

import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator
from torch.nn.utils import prune

from helpers import load_network, plots
from helpers.data import REPOSITORY
from helpers.plots import PERCENT, STYLES, label_line
from helpers.schedules import equal_steps

from .stats import mean_ci
from .tables import DEPTH, SHAPE, WIDTH, time_shares

LOOKS = {  # methods that only rows have: label, color, marker, line style
    "dense": ("dense", "0.35", "*", ":"),
    "filters_l1": ("filters, L1", "C3", "D", "-"),
    "global": ("global", "C0", "o", "-"),
    "layer": ("the same share in each layer", "C7", "X", "--"),
    "sensitivity": ("shares from the sensitivity scan", "C6", "d", "-"),
    "global, 1 % kept": ("global, 1 % of each layer kept", "C9", "*", "-."),
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
    "one_shot": ("instant: all before the first step", "C0", "o", "-"),
    "equal_steps_8": ("gradual, 8 equal portions", "C2", "^", "--"),
    "cubic_8": ("gradual, cubic: most of it early", "C4", "v", "-."),
}
METHODS = {name: {"label": name} | style for name, style in STYLES.items()}
METHODS |= {name: dict(zip(("label", "color", "marker", "ls"), look, strict=True)) for name, look in LOOKS.items()}
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


def _before_and_after(
    axes: Sequence[plt.Axes], rows: pd.DataFrame, shown: pd.DataFrame, methods: Sequence[str], of: str = ""
) -> None:
    """Rows `shown` right after pruning, and after fine-tuning where there was any; the dense network of `rows` as reference."""
    tuned = shown[shown.steps > 0]
    titles = ("right after pruning", f"after fine-tuning ({int(tuned.steps.iloc[0])} steps)")
    for ax, runs, column, title in zip(axes, (shown, tuned), ("test_accuracy_before", "test_accuracy"), titles, strict=True):
        curves(ax, runs, column, [method for method in methods if method in set(runs.method)])
        reference_line(ax, rows, column)
        label_line(ax, "chance", 0.1)
        ax.set_title(of + title)
    axes[0].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}", ylim=(0, 1))


def _seeds(rows: pd.DataFrame) -> str:
    return f"mean, 95 % CI of {rows.seed.nunique()} seeds"


def sparsity_curve(rows: pd.DataFrame) -> Figure:
    """Test accuracy against sparsity for magnitude and random pruning, before and after fine-tuning, dense as reference."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    _before_and_after(axes, rows, rows, ("magnitude", "random"))
    axes[1].legend(loc="lower left", bbox_to_anchor=(0, 0.15), fontsize=9, title=_seeds(rows))
    return fig


def builtin_methods(rows: pd.DataFrame) -> Figure:
    """Validation accuracy of every built-in method against sparsity, without fine-tuning: single weights left, slices right."""
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), sharey=True)
    for ax, kind, title in zip(axes, ("unstructured", "_structured"), ("single weights", "slices"), strict=True):
        curves(ax, rows, "accuracy_before", [method for method in LOOKS if kind in method], log=False)
        label_line(ax, "chance", 0.1, x=0.6, va="top")
        ax.set_title(title)
    axes[0].legend(fontsize=9, loc="center", bbox_to_anchor=(0.44, 0.38))
    axes[1].legend(fontsize=9, loc="upper right")
    axes[0].set(ylabel=f"validation accuracy, {rows.dataset.iloc[0]}", ylim=(0, 1))
    fig.suptitle(f"right after pruning, no fine-tuning; {_seeds(rows)}", fontsize=10)
    return fig


def criteria(rows: pd.DataFrame) -> Figure:
    """Test accuracy against sparsity for each criterion: global and layer by layer, right after pruning and after fine-tuning."""
    fig, axes = plt.subplots(2, 2, figsize=(9.5, 7), sharey=True, gridspec_kw={"hspace": 0.06})
    methods = ("magnitude", "taylor", "gradient", "percentile", "filters_l1", "random")
    for line, scope, title in zip(axes, ("global", "layer"), ("global", "layer by layer"), strict=True):
        _before_and_after(line, rows, rows[rows.scope == scope], methods, of=f"{title}, ")
    axes[1, 0].legend(loc="upper right", bbox_to_anchor=(1, 0.8), fontsize=9, title=_seeds(rows))
    return fig


def after_finetuning(rows: pd.DataFrame, arms: dict[str, tuple[str, str]], title: str) -> Figure:
    """Test accuracy of arms (scope, method) by name, after fine-tuning: a dot for each network, a line through the means."""
    fig, ax = plt.subplots(figsize=(7.4, 4))
    tuned, ends = rows[rows.steps > 0], {}
    for scope, method in arms.values():
        runs = tuned[(tuned.scope == scope) & (tuned.method == method)]
        style = METHODS[scope if method == "magnitude" and scope != "global" else method]
        means = runs.groupby("target_sparsity").test_accuracy.mean()
        levels = list(means.index)
        ax.plot(runs.target_sparsity.map(levels.index), runs.test_accuracy, **style | DOT | {"markersize": 4})
        ax.plot(range(len(levels)), means, **style | {"label": None, "marker": ""})
        ends[scope, method] = means.iloc[-1]
    height = 0.02
    for name, arm in sorted(arms.items(), key=lambda pair: ends[pair[1]]):
        height = max(ends[arm], height + 0.055)  # names that would touch move up
        place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        ax.annotate(f"{name}: {ends[arm]:.0%}", (len(levels) - 1, height), **place)
    reference_line(ax, tuned, "test_accuracy")
    ax.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set(
        xlabel="weights set to zero",
        ylabel=f"test accuracy, {rows.dataset.iloc[0]}",
        ylim=(0, 1),
        xlim=(-0.15, len(levels) - 0.2),
    )
    ax.set_title(title)
    return fig


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
        filters, look, means = rows[rows.method == method], STYLES[style], []
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


def scopes(rows: pd.DataFrame) -> Figure:
    """Magnitude pruning at one total sparsity, spread over the layers in different ways: before and after fine-tuning."""
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.9), sharey=True)
    by_magnitude = rows[rows.method == "magnitude"].assign(method=rows.scope)
    _before_and_after(axes, rows, by_magnitude, ("global", "global, 1 % kept", "sensitivity", "layer"))
    axes[1].legend(loc="lower left", bbox_to_anchor=(0, 0.12), fontsize=9, title=_seeds(rows))
    return fig


def sensitivity(rows: pd.DataFrame, dense: float | None = None) -> Figure:
    """Validation accuracy with one layer pruned and all others whole, mean over seeds: layers down, amounts across.

    `rows` has `layer`, `target_sparsity` and `accuracy_before`; `dense` is the accuracy of the whole network.
    """
    table = rows.pivot_table(index="layer", columns="target_sparsity", values="accuracy_before", sort=False).sort_index(axis=1)
    fig, ax = plt.subplots(figsize=(1.6 + 0.95 * table.shape[1], 0.8 + 0.3 * len(table)))
    image = ax.imshow(table, cmap="viridis", aspect="auto", vmin=0.1, vmax=1)
    for (row, place), value in np.ndenumerate(table.to_numpy()):
        text = ax.text(place, row, f"{value:.0%}", ha="center", va="center", fontsize=8.5)
        text.set_color("black" if value > 0.6 else "white")
    ax.set_xticks(range(table.shape[1]), [f"{level:.0%}" for level in table.columns])
    ax.set_yticks(range(len(table)), table.index, fontsize=8.5)
    ax.set(xlabel="share of this layer's weights removed", title=f"one layer pruned alone (dense: {dense:.1%})" if dense else None)
    ax.grid(visible=False)
    fig.colorbar(image, ax=ax, label="validation accuracy (darkest: chance)", format=PERCENT)
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
    """Accuracy during training for 1, 2, 4 and 8 equal prunings, a column for each final sparsity: means with 95 % CI as bands.

    Marks are prunings; below, the steps after the last one, enlarged. The legend has the test accuracies at the end.
    """
    rounds = rows.schedule.str.extract(r"(\d+)$")[0].fillna("1").astype(int).where(rows.method != "dense", 0)
    levels, total, until = sorted(rows.target_sparsity[rounds > 0].unique()), int(rows.steps.iloc[0]), rows.until.iloc[0]
    fig, axes = plt.subplots(2, len(levels), figsize=(4.85 * len(levels), 7.4), squeeze=False, gridspec_kw={"hspace": 0.06})
    for (whole, end), level in zip(axes.T, levels, strict=True):
        late = []  # accuracies in the second half of the enlarged steps, which decide the scale
        for k, runs in rows[(rows.target_sparsity == level) | (rounds == 0)].groupby(rounds):
            pairs = runs.curve.str.split().explode().str.split(":", expand=True)  # "step:accuracy" of each look during a run
            looks = pairs.astype(float).set_axis(["step", "accuracy"], axis=1)
            looks["place"] = looks.groupby(level=0).cumcount()
            steps = looks.groupby("place").step.first()
            pruned = [step for step, _ in equal_steps(level, k, until).steps(total)] if k else []
            final = mean_ci(runs.test_accuracy)
            name = f"{k} pruning{'s' if k > 1 else ''}" if k else "dense"
            style = METHODS[name] | {"label": f"{name}: {final.mean:.1%} ± {100 * final.margin:.1f}", "markersize": 6, "lw": 1.5}
            style["marker"] = style["marker"] if pruned else ""
            style["markevery"] = steps[steps.isin(pruned)].drop_duplicates(keep="last").index.tolist()
            for ax in (whole, end):
                means = draw_means(ax, looks, "step", "accuracy", "place", style, band=True)
                ax.yaxis.set_major_formatter(PERCENT)
            late += means["mean"][steps > (1 + until) / 2 * total].tolist()
        whole.set(title=f"final sparsity {level:.0%}", ylim=(0, 1), xlabel="optimizer step")
        end.set(xlim=(until * total, total), ylim=(min(late) - 0.02, max(late) + 0.02), xlabel="optimizer step, enlarged")
        end.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.17), title="test accuracy at the end, 95 % CI")
    fig.supylabel(f"validation accuracy, {rows.dataset.iloc[0]}", fontsize=10)
    fig.suptitle(f"{_seeds(rows)}, on the same {int(rows.curve_images.iloc[0])} validation images; marks: prunings", fontsize=10)
    return fig


def gradual_vs_instant(rows: pd.DataFrame, bound: float = 0.003) -> Figure:
    """Test accuracy by sparsity of instant, gradual and cubic pruning; below, gradual and cubic minus instant, seed by seed.

    Without controls and mistakes (column `variant`), the last pruning late (`until`). The band is `bound` to either side of none.
    """
    rows = rows[rows.variant.isna() & (rows.until == rows.until.max())]
    rows = rows.assign(method=rows.schedule.where(rows.method != "dense", "dense"))
    arms = [name for name in ("one_shot", "equal_steps_8", "cubic_8") if name in set(rows.method)]
    fig, axes = plt.subplot_mosaic([["all", "all"], ["fine", "coarse"]], figsize=(9.5, 7.6), height_ratios=(4, 3))
    curves(axes["all"], rows, "test_accuracy", arms)
    reference_line(axes["all"], rows, "test_accuracy", x=0.87)
    axes["all"].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    axes["all"].legend(fontsize=9, loc="lower left")
    pairs = rows[rows.method.isin(arms)].pivot(index=["target_sparsity", "seed"], columns="method", values="test_accuracy")
    gaps = 100 * pairs.sub(pairs.one_shot, axis=0)
    halves = np.array_split(gaps.index.unique("target_sparsity"), 2)
    for ax, levels in zip((axes["fine"], axes["coarse"]), halves, strict=True):
        ax.axhline(0, color=METHODS["one_shot"]["color"], lw=1.2)
        ax.axhspan(-100 * bound, 100 * bound, color="0.5", alpha=0.15, lw=0)
        for k, arm in enumerate(arms[1:]):
            runs = gaps[arm].loc[levels].dropna().rename("gap").reset_index()
            runs["place"] = runs.target_sparsity.map(list(levels).index) + 0.24 * (k - (len(arms) - 2) / 2)
            draw_means(ax, runs, "place", "gap", "target_sparsity", METHODS[arm] | {"ls": ""}, apart=0.045)
        ax.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
        ax.set(xlabel="sparsity", xlim=(-0.5, len(levels) - 0.5), title=f"{levels[0]:.0%} to {levels[-1]:.0%}, minus instant")
    axes["fine"].set(ylabel="points of test accuracy")
    fig.suptitle(f"every run; mean and 95 % CI of {rows.seed.nunique()} seeds; band below: ± {100 * bound:g} points", fontsize=10)
    return fig


COSTS = {
    "time_share_1": "one image",
    "time_share_256": "256 images",
    "zipped_bytes": "bytes of the zipped file",
    "macs": "MACs of one image",
}


def pareto(rows: pd.DataFrame) -> Figure:
    """Test accuracy against four costs for all networks of `deploy` rows: means over seeds, and every run as a small mark.

    Filled marks are fp32, hollow ones int8, whose MACs are of another kind. The line joins the networks that no other one beats
    in both accuracy and cost. Masked networks are labeled with their sparsity; an arrow names one that lies below the others.
    """
    fig, axes = plt.subplots(2, 2, figsize=(9.7, 7.8), sharey=True, gridspec_kw={"hspace": 0.06})
    rows = rows.assign(method=rows.method.replace("magnitude", "masked"))
    kinds = rows.groupby(["network", "method", "precision", "width"]).mean(numeric_only=True).reset_index()
    floor = kinds.test_accuracy[kinds.method != "masked"].min() - 0.02  # masked networks below it are named, not drawn
    for ax, (cost, label) in zip(axes.flat, COSTS.items(), strict=True):
        shown = kinds[(kinds.precision == "fp32") | (cost != "macs")]
        for (method, precision), networks in shown.groupby(["method", "precision"]):
            style = METHODS[method] | {"ls": ""}
            if precision == "int8":
                style |= {"label": None, "markerfacecolor": "white"}
            runs = rows[(rows.method == method) & (rows.precision == precision)]
            ax.plot(runs[cost], runs.test_accuracy, **style | DOT)
            ax.plot(networks[cost], networks.test_accuracy, **style)
        best = shown.sort_values([cost, "test_accuracy"], ascending=[True, False])
        best = best[best.test_accuracy > best.test_accuracy.cummax().shift(fill_value=0)]
        ax.plot(best[cost], best.test_accuracy, color="0.6", lw=1, zorder=1)
        _name_networks(ax, shown[(shown.precision == "fp32") & shown.method.isin(("dense", "masked"))], cost, floor)
        ax.set(xscale="log", xlabel=label, ylim=(floor, None))
        ax.yaxis.set_major_formatter(PERCENT)
        if cost.startswith("time_share"):
            dense = kinds[(kinds.method == "dense") & (kinds.precision == "fp32")].nlargest(1, "width")
            milliseconds = dense[cost.replace("time_share", "latency_ms")].item()
            ax.set(xlabel=f"{label}: share of the dense network's {milliseconds:.3g} ms")
            ax.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=PERCENT, minor_formatter="")
    fig.supylabel(f"test accuracy, {rows.dataset.iloc[0]}", fontsize=10)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=3)
    how = f"onnxruntime, threads: {rows.threads.iloc[0]:g}, means of {rows.seed.nunique()} seeds"
    fig.suptitle(f"{how}; filled: fp32, hollow: int8; the line joins what nothing beats in both", fontsize=10)
    return fig


def _name_networks(ax: plt.Axes, networks: pd.DataFrame, cost: str, floor: float) -> None:
    """Dense networks by name, masked ones by their sparsity."""
    for network in networks.itertuples():
        text, place, side = network.network, (-5, 5), "right"
        if network.method == "masked":
            text, place, side = f"{network.target_sparsity:.0%}", (6, -4), "left"
        if network.test_accuracy < floor:
            text, place = f"↓ {text} masked: {network.test_accuracy:.1%}", (-4, -4)
        point = (getattr(network, cost), max(network.test_accuracy, floor + 0.003))
        ax.annotate(text, point, xytext=place, textcoords="offset points", ha=side, fontsize=9)


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
    "sparsity_curve": (("sparsity_curve",), sparsity_curve),
    "builtin_methods": (("builtin_methods",), builtin_methods),
    "criteria": (("criteria",), criteria),
    "scopes": (("criteria",), scopes),
    "sensitivity": (("sensitivity",), sensitivity),
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

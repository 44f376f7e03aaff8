"""The figures of result rows, one function each, and `make figures`, which redraws all of images/ from results/.

Trains nothing; the same bytes each time on one machine.
"""

import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator, NullFormatter
from scipy.stats import quantile_test
from torch.nn.utils import prune

from helpers import MagnitudePruning, load_cifar_net, plots, prunable_layers, prune_globally, prune_layers, sparsity
from helpers.data import REPOSITORY
from helpers.plots import METHODS, PERCENT, PRUNINGS, label_line
from helpers.schedules import equal_steps

from .grids import GRIDS
from .runner import read_rows
from .stats import mean_ci


def curves(ax: plt.Axes, rows: pd.DataFrame, column: str, methods: Sequence[str], log: bool = True) -> None:
    """Draw `column` against sparsity for each method: mean, 95 % CI over seeds as a bar, every run as a faint dot.

    The scale is that of the logarithm of the weights left: from 50 to 75 % is as far as from 90 to 95 %. Or linear. Ticks
    are at the sparsities that were asked for, points at those that were reached: whole filters do not meet every one.
    """
    levels = np.array(sorted(rows.target_sparsity[rows.method.isin(methods)].unique()))
    scale = -np.log(1 - levels) if log else levels
    for k, method in enumerate(methods):
        label, color, marker, style = METHODS[method]
        own = rows[rows.method == method]
        estimates = [mean_ci(own[column][own.target_sparsity == level]) for level in levels]
        reached = own.groupby("target_sparsity").achieved_sparsity.mean().reindex(levels).to_numpy()
        places = (-np.log(1 - reached) if log else reached) + 0.012 * np.ptp(scale) * (k - (len(methods) - 1) / 2)
        for place, level in zip(places, levels, strict=True):
            values = own[column][own.target_sparsity == level]
            ax.plot([place] * len(values), values, ls="", marker=marker, markersize=3, color=color, alpha=0.35)
        means = [e.mean for e in estimates]
        ax.errorbar(places, means, [e.margin for e in estimates], color=color, marker=marker, ls=style, capsize=3, label=label)
    ax.set_xticks(scale, [f"{level:.0%}" for level in levels])
    ax.yaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10)))  # labels would round halves of a percent
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set(xlabel="sparsity (logarithmic in the weights left)" if log else "sparsity: share of weights set to zero")


def reference_line(ax: plt.Axes, rows: pd.DataFrame, column: str, x: float = 0.01) -> None:
    """The dense network's mean as a dotted line with its name on it (at the share `x` of the width), the 95 % CI as a band."""
    estimate = mean_ci(rows[column][rows.method == "dense"])
    label, color, _, style = METHODS["dense"]
    ax.axhline(estimate.mean, color=color, ls=style)
    ax.axhspan(estimate.low, estimate.high, color=color, alpha=0.15, lw=0)
    text = f"{label}: {estimate.mean:.1%}"
    ax.annotate(text, (x, estimate.mean), xycoords=("axes fraction", "data"), va="bottom", fontsize=9)


def _before_and_after(
    axes: Sequence[plt.Axes], rows: pd.DataFrame, own: pd.DataFrame, methods: Sequence[str], of: str = ""
) -> None:
    """Two panels of `own` rows: right after pruning, and after fine-tuning where there was any; the dense one of `rows` as reference."""
    tuned = own[own.steps > 0]
    titles = ("right after pruning", f"after fine-tuning ({int(tuned.steps.iloc[0])} steps)")
    for ax, column, title, some in zip(axes, ("test_accuracy_before", "test_accuracy"), titles, (own, tuned), strict=True):
        curves(ax, some, column, [method for method in methods if method in set(some.method)])
        reference_line(ax, rows, column)
        ax.set_title(of + title)
        ax.axhline(0.1, color="0.7", lw=1)
    axes[0].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}", ylim=(0, 1))


def _seeds_legend(ax: plt.Axes, rows: pd.DataFrame, **place) -> None:
    ax.legend(frameon=False, fontsize=9, title=f"mean, 95 % CI of {rows.seed.nunique()} seeds", **place)


def sparsity_curve(rows: pd.DataFrame) -> Figure:
    """Test accuracy against sparsity for magnitude and random pruning, before and after fine-tuning, dense as reference."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    _before_and_after(axes, rows, rows, ("magnitude", "random"))
    label_line(axes[0], "guessing", 0.1)
    _seeds_legend(axes[1], rows, loc="lower left", bbox_to_anchor=(0, 0.12))
    return fig


def builtin_methods(rows: pd.DataFrame) -> Figure:
    """Validation accuracy of every built-in method against sparsity, without fine-tuning: single weights left, slices right."""
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), sharey=True)
    groups = {"single weights": [m for m in METHODS if "unstructured" in m], "slices": [m for m in METHODS if "_structured" in m]}
    for ax, (title, methods) in zip(axes, groups.items(), strict=True):
        curves(ax, rows, "accuracy_before", methods, log=False)
        ax.set_title(title)
        ax.axhline(0.1, color="0.7", lw=1)
        where = {"loc": "center", "bbox_to_anchor": (0.44, 0.38)} if ax is axes[0] else {"loc": "upper right"}
        ax.legend(frameon=False, fontsize=9, **where)
    label_line(axes[0], "guessing", 0.095, x=0.6, va="top")
    axes[0].set(ylabel=f"validation accuracy, {rows.dataset.iloc[0]}", ylim=(0, 1))
    fig.suptitle(f"right after pruning, no fine-tuning; mean, 95 % CI of {rows.seed.nunique()} seeds", fontsize=10)
    return fig


def criteria(rows: pd.DataFrame) -> Figure:
    """Test accuracy against sparsity for each criterion: global and layer-wise, right after pruning and after fine-tuning."""
    fig, axes = plt.subplots(2, 2, figsize=(9.5, 7), sharey=True)
    methods = ("magnitude", "taylor", "gradient", "percentile", "filters_l1", "random")
    for line, scope, named in zip(axes, ("global", "layer"), ("one ranking", "each layer alone"), strict=True):
        _before_and_after(line, rows, rows[rows.scope == scope], methods, of=f"{named}, ")
    label_line(axes[0, 0], "guessing", 0.1)
    _seeds_legend(axes[1, 0], rows, loc="upper right", bbox_to_anchor=(1, 0.8))
    return fig


def scopes(rows: pd.DataFrame) -> Figure:
    """Magnitude pruning at one total sparsity, spread over the layers in different ways: before and after fine-tuning."""
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.9), sharey=True)
    own = rows[rows.method == "magnitude"]
    _before_and_after(axes, rows, own.assign(method=own.scope), ("global", "global, 1 % kept", "sensitivity", "layer"))
    _seeds_legend(axes[1], rows, loc="lower left")
    return fig


def sensitivity(rows: pd.DataFrame, dense: float | None = None) -> Figure:
    """Heat map of validation accuracy with one layer pruned and all others whole: layers down, amounts across.

    `rows` has `layer`, `target_sparsity` and `accuracy_before`; several seeds are averaged. `dense`: accuracy of the whole
    network, told above the map. Colours run from guessing to 100 % in every map.
    """
    table = rows.pivot_table(index="layer", columns="target_sparsity", values="accuracy_before", sort=False).sort_index(axis=1)
    fig, ax = plt.subplots(figsize=(1.6 + 0.95 * table.shape[1], 0.8 + 0.3 * len(table)))
    image = ax.imshow(table, cmap="viridis", aspect="auto", vmin=0.1, vmax=1)
    for (row, place), value in np.ndenumerate(table.to_numpy()):
        light = value > 0.6
        ax.text(place, row, f"{value:.0%}", ha="center", va="center", fontsize=8.5, color="black" if light else "white")
    ax.set_xticks(range(table.shape[1]), [f"{level:.0%}" for level in table.columns])
    ax.set_yticks(range(len(table)), table.index, fontsize=8.5)
    ax.set(
        xlabel="share of this layer's weights removed",
        title=None if dense is None else f"the network with all weights: {dense:.1%}",
    )
    ax.grid(visible=False)
    fig.colorbar(image, ax=ax, label="validation accuracy (darkest: guessing)", format=PERCENT)
    return fig


def time_shares(times: pd.DataFrame, batch_size: int = 1, width: float = 1.0, of: float | None = None) -> pd.DataFrame:
    """Each network's share of the dense one's time: columns `time`, and `low` and `high` of its 95 % CI.

    `times`: rows of `depth_width_speed`. The index is (method, dropped blocks, share of the MACs that was asked for). Medians
    over the turns, each compared with the dense network's own turn, so that drift cancels; intervals from order statistics.
    The dense network is that of the same width, or of width `of`.
    """
    own = times[times.batch_size == batch_size].fillna({"dropped": ""})
    by_turn = own.pivot(index="turn", columns=["width", "method", "dropped", "share"], values="milliseconds")
    ratios = by_turn[width].div(by_turn[of or width, "dense", "", 1.0], axis=0)
    found = [(ratios[name].median(), *quantile_test(ratios[name], p=0.5).confidence_interval()) for name in ratios]
    return pd.DataFrame(found, index=ratios.columns, columns=["time", "low", "high"])


def depth_vs_width(rows: pd.DataFrame, times: pd.DataFrame) -> Figure:
    """Test accuracy of narrower and shallower networks: rows of `depth_width`, and of `depth_width_speed`.

    Left: widths by the share of the MACs that is left, after fine-tuning and before it. Right: depth against width by their
    share of the dense network's time for one image, with which they took turns; a grey line joins those with as many MACs.
    """
    fig, axes = plt.subplot_mosaic([["after", "large"], ["before", "large"]], figsize=(9.7, 5.8), height_ratios=(3, 2))
    small, large = rows[rows.width == rows.width.min()], rows[rows.width == rows.width.max()]
    widths = ("width, uniform", "width, guided", "from scratch")
    own = small.assign(target_sparsity=1 - small.share, achieved_sparsity=1 - small.macs / small.dense_macs)
    curves(axes["after"], own, "test_accuracy", widths, log=False)
    curves(axes["before"], own, "test_accuracy_before", widths[:2], log=False)
    reference_line(axes["after"], small, "test_accuracy")
    axes["after"].set(xlabel=None, title=f"width, CifarNet(width={small.width.iloc[0]:g})")
    axes["before"].set(xlabel="share of the MACs that is left", ylabel="before fine-tuning", ylim=(0, None))
    for place in ("after", "before"):
        axes[place].xaxis.set_major_formatter(lambda gone, _: f"{1 - gone:.0%}")
    handles, labels = axes["after"].get_legend_handles_labels()
    few = small.seed[small.method == "from scratch"].nunique()
    labels = [f"{label} ({few} seeds)" if label == METHODS["from scratch"][0] else label for label in labels]
    axes["before"].legend(handles, labels, frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.28))

    shares = time_shares(times)
    large = large.fillna({"dropped": "", "share": 1.0}).join(shares, on=shares.index.names)
    if large.time.isna().any():
        lacking = large.dropped[large.time.isna()].iloc[0]
        raise ValueError(
            f"times: have no network without {lacking}; measure them again (experiments/benchmarks/depth_width_speed.py)"
        )
    arms, ax = ("width, equal MACs", "depth"), axes["large"]
    means = large.groupby(["method", "blocks"])[["time", "low", "high", "test_accuracy"]].mean()
    for k in sorted(set(large.blocks) - {0}):
        pair = means.loc[[(arm, k) for arm in arms]]
        ax.plot(pair.time, pair.test_accuracy, color="0.75", lw=1, zorder=1)
        top = mean_ci(large.test_accuracy[(large.method == "depth") & (large.blocks == k)]).high
        ax.annotate(
            f"{k} block{'s' if k > 1 else ''} fewer", (means.time["depth", k], top), xytext=(0, 4), ha="center",
            textcoords="offset points", fontsize=9, color=METHODS["depth"][1],
        )  # fmt: skip
    for arm in ("dense", *arms):
        label, color, marker, _ = METHODS[arm]
        own, marker = large[large.method == arm], marker or "*"
        ax.plot(own.time, own.test_accuracy, ls="", marker=marker, markersize=3, color=color, alpha=0.35)
        for k, one in own.groupby("blocks"):
            middle, (x, low, high, _) = mean_ci(one.test_accuracy), means.loc[arm, k]
            spread, name = [[x - low], [high - x]], label if k == own.blocks.min() else None
            ax.errorbar(x, middle.mean, middle.margin, spread, color=color, marker=marker, ls="", capsize=3, label=name)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.yaxis.set_major_locator(MultipleLocator(0.01))  # labels would round halves of a percent
    ax.yaxis.set_major_formatter(PERCENT)
    title = f"depth and width, CifarNet(width={large.width.iloc[0]:g})"
    ax.set(xlabel="share of the dense network's time for one image", title=title, xmargin=0.15)
    ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2)
    for place in ("after", "large"):
        axes[place].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    how = f"times: {int(times.threads.iloc[0])} thread{'s' if times.threads.iloc[0] > 1 else ''}, {times.precision.iloc[0]}"
    seeds = f"{small.seed.nunique()} seeds left, {large.seed.nunique()} right"
    fig.suptitle(f"every run; mean and 95 % CI: {seeds}; {how}", fontsize=10)
    return fig


def gradual_pruning(rows: pd.DataFrame) -> Figure:
    """Accuracy during training for 1, 2, 4 and 8 equal prunings, a column for each final sparsity: means with 95 % CI as bands.

    Marks are prunings; below, the steps after the last one, enlarged. The dense network, trained as long, is the dotted line;
    the legend tells test accuracies at the end. Rows of one schedule and sparsity have looked at the same steps (column
    `curve`: "step:accuracy …").
    """
    rounds = rows.schedule.str.extract(r"(\d+)$")[0].fillna("1").astype(int).where(rows.method != "dense", 0)
    levels, total, until = sorted(rows.target_sparsity[rounds > 0].unique()), int(rows.steps.iloc[0]), rows.until.iloc[0]
    fig, axes = plt.subplots(2, len(levels), figsize=(4.85 * len(levels), 7.4), squeeze=False)
    for (whole, end), level in zip(axes.T, levels, strict=True):
        for k, own in rows[(rows.target_sparsity == level) | (rounds == 0)].groupby(rounds):
            name = f"{k} pruning{'s' if k > 1 else ''}" if k else "dense"
            style = PRUNINGS[name] if k else {"color": METHODS["dense"][1], "ls": METHODS["dense"][3]}
            curves_of = [[pair.split(":") for pair in curve.split()] for curve in own.curve]
            pairs = np.array(curves_of, dtype=float)  # [seed, place, 2]
            steps, looks = pairs[0, :, 0], [mean_ci(values) for values in pairs[:, :, 1].T]
            pruned = {step for step, _ in equal_steps(level, k, until).steps(total)} if k else set()
            marks = [place for place, step in enumerate(steps) if step in pruned and step not in steps[place + 1 :]]
            final = mean_ci(own.test_accuracy)
            label = f"{name}: {final.mean:.1%} ± {100 * final.margin:.1f}"
            for ax in (whole, end):
                ax.fill_between(steps, [e.low for e in looks], [e.high for e in looks], color=style["color"], alpha=0.2, lw=0)
                ax.plot(steps, [e.mean for e in looks], markersize=6, lw=1.5, label=label, markevery=marks, **style)
        for ax in (whole, end):
            ax.yaxis.set_major_formatter(PERCENT)
        looks = np.concatenate([line.get_xydata() for line in end.lines])
        late = looks[looks[:, 0] > (1 + until) / 2 * total, 1]  # the second half of these steps decides the scale
        whole.set(title=f"final sparsity {level:.0%}", ylim=(0, 1), xlabel="optimiser step")
        end.set(xlim=(until * total, total), ylim=(late.min() - 0.02, late.max() + 0.02), xlabel="optimiser step, enlarged")
        title = "test accuracy at the end, 95 % CI"
        end.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.17), title=title)
    for ax in axes[:, 0]:
        ax.set(ylabel="validation accuracy")
    images, seeds = int(rows.curve_images.iloc[0]), rows.seed.nunique()
    what = f"{rows.dataset.iloc[0]}: mean and 95 % CI of {seeds} seeds, on the same {images} validation images"
    fig.suptitle(f"{what}; marks: prunings", fontsize=10)
    return fig


def gradual_vs_instant(rows: pd.DataFrame, bound: float = 0.003) -> Figure:
    """Test accuracy by sparsity of instant, gradual and cubic pruning; below, gradual and cubic minus instant, seed by seed.

    Of the rows those count that have no control or mistake (column `variant`) and, where prunings end at different shares of the
    steps (`until`), the latest. Below, small and large differences have a panel each; the band is `bound` to either side of none.
    """
    rows = rows[rows.variant.isna() & (rows.until == rows.until.max())]
    rows = rows.assign(method=rows.schedule.where(rows.method != "dense", "dense"))
    arms = [name for name in ("one_shot", "equal_steps_8", "cubic_8") if name in set(rows.method)]
    fig, axes = plt.subplot_mosaic([["all", "all"], ["fine", "coarse"]], figsize=(9.5, 7.6), height_ratios=(4, 3))
    curves(axes["all"], rows, "test_accuracy", arms)
    reference_line(axes["all"], rows, "test_accuracy", x=0.87)
    axes["all"].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    axes["all"].legend(frameon=False, fontsize=9, loc="lower left")
    pairs = rows[rows.method.isin(arms)].pivot(index=["target_sparsity", "seed"], columns="method", values="test_accuracy")
    gaps = 100 * pairs.sub(pairs.one_shot, axis=0)
    levels = gaps.index.unique("target_sparsity")
    half = (len(levels) + 1) // 2
    for ax, some in ((axes["fine"], levels[:half]), (axes["coarse"], levels[half:])):
        ax.axhline(0, color=METHODS["one_shot"][1], lw=1.2)
        ax.axhspan(-100 * bound, 100 * bound, color="0.5", alpha=0.15, lw=0)
        for k, arm in enumerate(arms[1:]):
            _, color, marker, _ = METHODS[arm]
            for place, level in enumerate(some):
                own = gaps[arm][level].dropna()
                at, estimate = place + 0.24 * (k - (len(arms) - 2) / 2), mean_ci(own)
                ax.plot([at + 0.06] * len(own), own, ls="", marker=marker, markersize=3, color=color, alpha=0.35)
                ax.errorbar(at - 0.03, estimate.mean, estimate.margin, color=color, marker=marker, capsize=3)
        ax.set_xticks(range(len(some)), [f"{level:.0%}" for level in some])
        ax.set(xlabel="sparsity", xlim=(-0.5, len(some) - 0.5), title=f"{some[0]:.0%} to {some[-1]:.0%}, minus instant")
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

    Filled marks are fp32, hollow ones int8 (whose MACs are no longer of the same kind: fp32 alone in that panel). The line
    joins the networks that no other one beats in both accuracy and cost. Masked networks are labelled with their sparsity; an arrow
    tells where one lies below the others.
    """
    fig, axes = plt.subplots(2, 2, figsize=(9.7, 7.8), sharey=True)
    rows = rows.assign(method=rows.method.replace("magnitude", "masked"))
    kinds = ["network", "method", "precision", "width"]
    means = rows.groupby(kinds)[["test_accuracy", *COSTS, "target_sparsity"]].mean().reset_index()
    whole = rows[(rows.method == "dense") & (rows.precision == "fp32") & (rows.width == rows.width.max())]
    floor = means[means.method != "masked"].test_accuracy.min() - 0.02  # masked networks below it are told, not drawn
    for ax, (cost, label) in zip(axes.flat, COSTS.items(), strict=True):
        some, runs = (t[(t.precision == "fp32") | (cost != "macs")] for t in (means, rows))
        for (method, precision), own in some.groupby(["method", "precision"]):
            name, color, marker, _ = METHODS[method]
            face = color if precision == "fp32" else "white"
            style = {"marker": marker or "*", "color": color, "markerfacecolor": face, "ls": ""}
            each = runs[(runs.method == method) & (runs.precision == precision)]
            ax.plot(each[cost], each.test_accuracy, alpha=0.35, **style | {"markersize": 2.5})
            ax.plot(own[cost], own.test_accuracy, label=name if precision == "fp32" else None, **style)
        for network in some[(some.precision == "fp32") & some.method.isin(("dense", "masked"))].itertuples():
            told, where, side = network.network, (-5, 5), "right"
            if network.method == "masked":
                told, where, side = f"{network.target_sparsity:.0%}", (6, -4), "left"
            if network.test_accuracy < floor:
                told, where = f"↓ {told} masked: {network.test_accuracy:.1%}", (-4, -4)
            at = (getattr(network, cost), max(network.test_accuracy, floor + 0.003))
            ax.annotate(told, at, xytext=where, textcoords="offset points", ha=side, fontsize=9)
        best = some.sort_values([cost, "test_accuracy"], ascending=[True, False])
        best = best[best.test_accuracy > best.test_accuracy.cummax().shift(fill_value=0)]
        ax.plot(best[cost], best.test_accuracy, color="0.6", lw=1, zorder=1)
        ax.set(xscale="log", xlabel=label, ylim=(floor, None))
        if cost.startswith("time_share"):
            ms = whole[cost.replace("time_share", "latency_ms")].mean()
            ax.set(xlabel=f"{label}: share of the dense network's {ms:.3g} ms")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(PERCENT)
            ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(PERCENT)
    for ax in axes[:, 0]:
        ax.set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    threads = int(rows.threads.iloc[0])
    told = f"onnxruntime, {threads} thread{'s' if threads > 1 else ''}, means of {rows.seed.nunique()} seeds"
    fig.suptitle(f"{told}; filled: fp32, hollow: int8; the line joins what nothing beats in both", fontsize=10)
    return fig


def mask_patterns() -> Figure:
    """`conv1` of the checkpoint, dense and pruned by single weights, filters and input channels."""
    conv1, masks = load_cifar_net().conv1, {}
    for name, method, options in (
        ("single weights", prune.l1_unstructured, {"amount": 0.5}),
        ("filters (dim 0)", prune.ln_structured, {"amount": 0.5, "n": 2, "dim": 0}),
        ("input channels (dim 1)", prune.ln_structured, {"amount": 1, "n": 2, "dim": 1}),
    ):
        masks[name] = method(copy.deepcopy(conv1), "weight", **options).weight_mask
    return plots.mask_patterns(conv1.weight, masks)


def layer_sparsity() -> Figure:
    """The checkpoint at 80 %, the same share in each layer against one ranking of all weights."""
    by_layer, at_once = load_cifar_net(), load_cifar_net()
    prune_layers({layer: [MagnitudePruning(0.8)] for layer in prunable_layers(by_layer).values()})
    prune_globally(at_once, [MagnitudePruning(0.8)])
    return plots.layer_sparsity({"each layer": sparsity(by_layer), "global": sparsity(at_once)})


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
    "layer_sparsity": ((), layer_sparsity),
}


def rows_of(source: str, results: Path) -> Path:
    """The file behind a figure: rows of a grid lie in the folder `results`; times, which benchmarks measure, always in results/."""
    return (results if source in GRIDS else REPOSITORY / "results") / f"{source}.csv"


def lacking(name: str, results: Path = REPOSITORY / "results") -> list[str]:
    """Which rows of a figure are not there to the end in the folder `results`, and how far they are."""
    counts = {source: len(read_rows(rows_of(source, results))) for source in FIGURES[name][0]}
    wanted = {source: len(GRIDS[source].everything) for source in counts if source in GRIDS}
    unfinished = [f"{source} has {counts[source]} of {runs} runs" for source, runs in wanted.items() if counts[source] < runs]
    return unfinished + [f"{source} is missing" for source in counts if source not in GRIDS and not counts[source]]


def draw(results: Path = REPOSITORY / "results", images: Path = REPOSITORY / "images") -> None:
    images.mkdir(parents=True, exist_ok=True)
    for name, (sources, function) in FIGURES.items():
        if missing := lacking(name, results):
            print(f"  {name}: not drawn, {', '.join(missing)}")
            continue
        fig = function(*(pd.read_csv(rows_of(source, results)) for source in sources))
        fig.savefig(images / f"{name}.png", metadata={"Software": None})
        plt.close(fig)
        print(f"  {name}.png")


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:]))

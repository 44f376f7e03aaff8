"""Every figure of the collection: one function per kind of plot; each draws what it is handed and returns the figure.

`show(fig, alt=…)` puts a figure into a notebook with its description.
"""

import io
from base64 import b64encode
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullFormatter, PercentFormatter
from PIL import Image
from scipy.stats import quantile_test
from torch import Tensor

from .metrics import Measurement
from .pruning import SparsityReport
from .schedules import equal_steps
from .stats import mean_ci

plt.style.use("petroff10")  # colour-blind safe (Petroff 2021, arXiv:2107.02270)
plt.rcParams.update({
    "figure.dpi": 110, "savefig.dpi": 110, "figure.constrained_layout.use": True, "font.size": 10, "axes.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3, "lines.linewidth": 1.8,
})  # fmt: skip

_PERCENT = PercentFormatter(1.0, decimals=0)


def show(fig: Figure, alt: str) -> None:
    """Display a figure in the notebook with alt text, and close it. As a PNG of 256 colours, which keeps notebooks light.

    Example:
        >>> show(image_grid(data.train.images[:10], titles), alt="Ten training images")  # doctest: +SKIP
    """
    drawn, small = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", bbox_inches="tight")
    plt.close(fig)
    Image.open(drawn).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    display({"image/png": b64encode(small.getvalue()).decode()}, metadata={"image/png": {"alt": alt}}, raw=True)


def image_grid(images: Tensor, titles: Sequence[str], columns: int = 10) -> Figure:
    """Images (uint8 [N, 3, H, W]) in rows of `columns`, each under its title."""
    rows = -(-len(images) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(0.95 * columns, 1.2 * rows), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image.permute(1, 2, 0))
        ax.set_title(title, fontsize=8.5, pad=3)
    return fig


def learning_curves(history) -> Figure:
    """Loss and learning rate, and training and validation accuracy, by epoch (a `History` of `train`)."""
    epochs = np.arange(1, len(history.loss) + 1)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3))
    left.plot(epochs, history.loss, marker="o", markersize=3, color="C0")
    left.set(xlabel="epoch", ylabel="training loss (with label smoothing)", title="Loss")
    rate = left.twinx()
    rate.plot(epochs, history.lr, ls=":", color="0.45")
    rate.set(ylabel="learning rate (dotted)", ylim=(0, None))
    rate.spines["right"].set_visible(True)
    rate.grid(False)
    checked = [(epoch, v) for epoch, v in zip(epochs, history.val_accuracy, strict=True) if v is not None]
    right.plot(epochs, history.train_accuracy, ls="--", marker="s", markersize=3, color="C1", label="training (augmented images)")
    right.plot(*zip(*checked, strict=True), marker="o", markersize=3, color="C0", label="validation")
    right.yaxis.set_major_formatter(_PERCENT)
    right.set(xlabel="epoch", ylabel="accuracy", title="Accuracy")
    right.legend(loc="lower right", frameon=False)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig


def accuracy_bars(values: Tensor, names: Sequence[str], mean: float) -> Figure:
    """One horizontal bar per class, lowest last, with the mean as a dashed line."""
    order = np.argsort(np.asarray(values))
    fig, ax = plt.subplots(figsize=(6.5, 3.4))
    bars = ax.barh([names[k] for k in order], np.asarray(values)[order], color="C0", height=0.7)
    ax.bar_label(bars, fmt=lambda v: f"{v:.1%}", label_type="center", fontsize=9, color="white")
    ax.axvline(mean, ls="--", color="C1")
    ax.text(mean, len(order) - 0.35, f"all classes: {mean:.1%}", color="C1", ha="center", va="bottom", fontsize=9)
    ax.set(xlabel="test accuracy", xlim=(0, 1))
    ax.xaxis.set_major_formatter(_PERCENT)
    ax.grid(axis="y", visible=False)
    return fig


def confusion_heatmap(confusion: Tensor, names: Sequence[str]) -> Figure:
    """Counts [10, 10], rows true and columns predicted; the colour scale is that of the mistakes, the diagonal is grey."""
    counts = np.asarray(confusion)
    mistakes = np.ma.masked_array(counts, mask=np.eye(len(counts), dtype=bool))
    fig, ax = plt.subplots(figsize=(6.6, 5.6))
    image = ax.imshow(mistakes, cmap=plt.get_cmap("Blues").with_extremes(bad="0.9"), vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        dark = row != column and count > mistakes.max() / 2
        ax.text(column, row, str(count), ha="center", va="center", fontsize=8.5, color="white" if dark else "black")
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.grid(visible=False)
    fig.colorbar(image, ax=ax, label="images mistaken", shrink=0.8, ticks=MaxNLocator(integer=True))
    return fig


# ---- figures from result rows: one look for each method in all notebooks

METHODS = {  # label, colour, marker, line style
    "magnitude": ("magnitude", "C0", "o", "-"),
    "random": ("random", "C1", "s", "--"),
    "dense": ("dense", "0.35", None, ":"),
    "taylor": ("Taylor", "C2", "^", "-"),
    "gradient": ("gradient", "C4", "v", "-"),
    "percentile": ("percentile (both tails)", "C5", "P", "-."),
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
    "depth": ("depth: without blocks", "C2", "^", "-"),
    "width, equal MACs": ("width: as many MACs as depth", "C3", "s", "--"),
    "masked": ("masked weights", "C0", "o", "-"),
    "one_shot": ("instant: all before the first step", "C0", "o", "-"),
    "equal_steps_8": ("gradual, 8 equal portions", "C2", "^", "--"),
    "cubic_8": ("gradual, cubic: most of it early", "C4", "v", "-."),
}


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
    ax.yaxis.set_major_formatter(_PERCENT)
    ax.set(xlabel="sparsity (logarithmic in the weights left)" if log else "sparsity: share of weights set to zero")


def reference_line(ax: plt.Axes, rows: pd.DataFrame, column: str, x: float = 0.01) -> None:
    """The dense network's mean as a dotted line with its name on it (at the share `x` of the width), the 95 % CI as a band."""
    estimate = mean_ci(rows[column][rows.method == "dense"])
    label, color, _, style = METHODS["dense"]
    ax.axhline(estimate.mean, color=color, ls=style)
    ax.axhspan(estimate.low, estimate.high, color=color, alpha=0.15, lw=0)
    text = f"{label}: {estimate.mean:.1%}"
    ax.annotate(text, (x, estimate.mean), xycoords=("axes fraction", "data"), va="bottom", fontsize=9)


def _label_line(ax: plt.Axes, text: str, height: float, x: float = 0.01, va: str = "bottom") -> None:
    ax.annotate(text, (x, height), xycoords=("axes fraction", "data"), va=va, fontsize=9, color="0.3")


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
    _label_line(axes[0], "guessing", 0.1)
    _seeds_legend(axes[1], rows, loc="lower left", bbox_to_anchor=(0, 0.12))
    return fig


def accuracy_lines(x: Sequence[float], lines: dict[str, Sequence[Sequence[float]]], dense: float, xlabel: str) -> Figure:
    """Accuracy against a share: for each name the runs at each x as dots, their mean as a line; `dense` as reference."""
    fig, ax = plt.subplots(figsize=(7.4, 3.6))
    for k, (name, runs) in enumerate(lines.items()):
        # C1 is the colour of random choices everywhere
        _, color, marker, style = METHODS.get(name, (name, f"C{(0, 2, 4, 5, 3)[k % 5]}", "oD^vP"[k % 5], "-"))
        for place, values in zip(x, runs, strict=True):
            ax.plot([place] * len(values), values, ls="", marker=marker, markersize=4, color=color, alpha=0.5)
        ax.plot(x, [np.mean(values) for values in runs], color=color, ls=style, marker=marker, label=name)
    ax.axhline(dense, color="0.35", ls=":")
    _label_line(ax, f"dense: {dense:.1%}", dense)
    ax.xaxis.set_major_formatter(_PERCENT)
    ax.yaxis.set_major_formatter(_PERCENT)
    ax.set(xlabel=xlabel, ylabel="validation accuracy", xticks=x, ylim=(0, 1))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


PRUNINGS = {  # styles of schedules, by the name that a figure gives them
    "1 pruning": {"color": "C0", "marker": "o", "ls": "-"},
    "2 prunings": {"color": "C7", "marker": "P", "ls": (0, (6, 2))},
    "4 prunings": {"color": "C6", "marker": "d", "ls": "-."},
    "8 prunings": {"color": "C2", "marker": "^", "ls": "--"},
    "8 prunings, cubic": {"color": "C4", "marker": "v", "ls": "-."},
    "1 pruning, late": {"color": "C8", "marker": "s", "ls": "-"},
}


def schedules(pairs: dict[str, Sequence[tuple[int, float]]], total: int) -> Figure:
    """Sparsity by optimiser step for schedules given as (step, sparsity) pairs, up to the last of `total` steps."""
    fig, ax = plt.subplots(figsize=(6.5, 3.2))
    for name, own in pairs.items():
        steps, levels = [0, *(step for step, _ in own), total], [0.0, *(level for _, level in own)]
        style = PRUNINGS.get(name, {"marker": "*"}) | {"markevery": range(1, len(own) + 1)}
        ax.step(steps, [*levels, levels[-1]], where="post", label=name, **style)
    ax.yaxis.set_major_formatter(_PERCENT)
    ax.set(xlabel="optimiser step", ylabel="sparsity", ylim=(0, 1))
    ax.legend(frameon=False, loc="lower right")
    return fig


def accuracy_during(runs: dict[str, Sequence[tuple[int, float]]], prunings: dict[str, Sequence[int]], dense: float) -> Figure:
    """Accuracy by optimiser step for several trainings, (step, accuracy) pairs each; ticks above mark where each prunes."""
    fig, ax = plt.subplots(figsize=(8, 5))
    for k, (name, own) in enumerate(runs.items()):
        style = PRUNINGS[name]
        ax.plot(*zip(*own, strict=True), markersize=4, lw=1.5, label=name, **style)
        ax.plot(prunings[name], [1.04 + 0.04 * k] * len(prunings[name]), markersize=5, **style | {"ls": ""})
    ax.axhline(dense, color="0.35", ls=":")
    _label_line(ax, f"dense, on these images: {dense:.1%}", dense, x=0.64)
    _label_line(ax, "when each is pruned", 1.04, x=0.68)
    ax.yaxis.set_major_formatter(_PERCENT)
    ax.set(xlabel="optimiser step", ylabel="validation accuracy", ylim=(0, 1.06 + 0.04 * len(runs)), yticks=np.linspace(0, 1, 6))
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    return fig


def relative_costs(measured: dict[str, Measurement]) -> Figure:
    """Parameters, MACs, bytes and latencies of networks as shares of the first one's; accuracy beside each name."""
    reference, *others = measured.items()
    names = [name for name in reference[1].rows() if name not in ("accuracy", "nonzero")]
    fig, ax = plt.subplots(figsize=(8, 3.6))
    for k, (title, m) in enumerate(others):
        shares = [m.rows()[name] / reference[1].rows()[name] for name in names]
        places = np.arange(len(names)) + (k - (len(others) - 1) / 2) * 0.8 / len(others)
        bars = ax.bar(
            places,
            shares,
            0.8 / len(others),
            color=f"C{k}",
            hatch=("", "//", "..")[k % 3],
            label=f"{title} (accuracy {m.accuracy:.1%})",
        )
        ax.bar_label(bars, fmt=lambda v: f"{v:.0%}", fontsize=8.5)
    ax.axhline(1, color="0.35", ls=":")
    ax.set_xticks(range(len(names)), [name.replace("_ms", "").replace("_", " ").replace("macs", "MACs") for name in names])
    ax.yaxis.set_major_formatter(_PERCENT)
    ax.set(ylabel=f"share of {reference[0]}", title=f"no fine-tuning; accuracy of {reference[0]}: {reference[1].accuracy:.1%}")
    ax.margins(y=0.25)
    ax.legend(frameon=False, ncols=len(others), loc="upper left")
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
    _label_line(axes[0], "guessing", 0.095, x=0.6, va="top")
    axes[0].set(ylabel=f"validation accuracy, {rows.dataset.iloc[0]}", ylim=(0, 1))
    fig.suptitle(f"right after pruning, no fine-tuning; mean, 95 % CI of {rows.seed.nunique()} seeds", fontsize=10)
    return fig


def criteria(rows: pd.DataFrame) -> Figure:
    """Test accuracy against sparsity for each criterion: global and layer-wise, right after pruning and after fine-tuning."""
    fig, axes = plt.subplots(2, 2, figsize=(9.5, 7), sharey=True)
    methods = ("magnitude", "taylor", "gradient", "percentile", "filters_l1", "random")
    for line, scope, named in zip(axes, ("global", "layer"), ("one ranking", "each layer alone"), strict=True):
        _before_and_after(line, rows, rows[rows.scope == scope], methods, of=f"{named}, ")
    _label_line(axes[0, 0], "guessing", 0.1)
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
    fig.colorbar(image, ax=ax, label="validation accuracy (darkest: guessing)", format=_PERCENT)
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
        raise ValueError(f"times: have no network without {lacking}; measure them again (benchmarks/depth_width_speed.py)")
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
    ax.xaxis.set_major_formatter(_PERCENT)
    ax.yaxis.set_major_locator(MultipleLocator(0.01))  # labels would round halves of a percent
    ax.yaxis.set_major_formatter(_PERCENT)
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
            ax.yaxis.set_major_formatter(_PERCENT)
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
            ax.xaxis.set_major_formatter(_PERCENT)
            ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(_PERCENT)
    for ax in axes[:, 0]:
        ax.set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    threads = int(rows.threads.iloc[0])
    told = f"onnxruntime, {threads} thread{'s' if threads > 1 else ''}, means of {rows.seed.nunique()} seeds"
    fig.suptitle(f"{told}; filled: fp32, hollow: int8; the line joins what nothing beats in both", fontsize=10)
    return fig


def speed_by_sparsity(levels: Sequence[float], lines: dict[str, Sequence[float]], dense: dict[str, float]) -> Figure:
    """Milliseconds by sparsity, one line a name; what each is compared with as a dotted line of its colour, named."""
    fig, ax = plt.subplots(figsize=(7, 3.8))
    for k, (name, values) in enumerate(lines.items()):
        ax.plot(range(len(levels)), values, color=f"C{(0, 2)[k % 2]}", marker="o^"[k % 2], ls=("-", "--")[k % 2], label=name)
    for k, (name, value) in enumerate(dense.items()):
        color, below = f"C{(0, 2)[k % 2]}", value < max(dense.values())  # so that no line runs through the other's name
        ax.axhline(value, color=color, ls=(":", "-.")[k % 2], lw=1.4)
        ax.annotate(
            f"{name}: {value:.2f} ms", (0.01, value), xycoords=("axes fraction", "data"), xytext=(0, -3 if below else 2),
            textcoords="offset points", va="top" if below else "bottom", fontsize=9, color=color,
        )  # fmt: skip
    ax.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
    ax.set(xlabel="sparsity of the weights", ylabel="ms (logarithmic)", yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(frameon=False)
    return fig


# ---- masks, filters and weights


def tails(weight: Tensor, low: float, high: float) -> Figure:
    """Histogram of a layer's weights with the tails below and above two quantiles marked, and their share of the sum of squares."""
    values = weight.detach().flatten().numpy()
    ends = np.quantile(values, (low, high))
    outside = (values < ends[0]) | (values > ends[1])
    share = (values[outside] ** 2).sum() / (values**2).sum()
    fig, ax = plt.subplots(figsize=(7, 3.2))
    bins = np.linspace(values.min(), values.max(), 90)
    ax.hist(
        [values[~outside], values[outside]], bins=bins, stacked=True, color=["C0", "C1"], label=["kept", "pruned: both tails"]
    )
    ax.set(
        xlabel="weight",
        ylabel="number of weights",
        title=f"the tails are {outside.mean():.0%} of the weights and {share:.0%} of their squares",
    )
    ax.legend(frameon=False)
    return fig


def mask_patterns(weight: Tensor, masks: dict[str, Tensor]) -> Figure:
    """A layer's weights [out, in, h, w] as a matrix [out, in*h*w], whole and under each mask; zeros in a colour of their own."""
    panels = {"dense": weight} | {name: weight * mask for name, mask in masks.items()}
    limit = weight.abs().max().item()
    cmap = plt.get_cmap("RdBu_r").with_extremes(bad="0.35")
    fig, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels), 3.6), sharey=True)
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        matrix = values.detach().flatten(1).numpy()
        image = ax.imshow(
            np.ma.masked_equal(matrix, 0), cmap=cmap, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
        )
        ax.set(title=f"{name}\n{(matrix == 0).mean():.0%} zeros", xlabel="weights of a filter")
        ax.grid(visible=False)
    axes[0].set(ylabel="filter")
    fig.colorbar(image, ax=axes, label="weight (dark grey: zero)")
    return fig


def rgb_filters(weight: Tensor, removed: Sequence[int]) -> Figure:
    """First-layer filters [N, 3, h, w] as colour images, eight in a row, all on one scale; the removed ones crossed out."""
    columns = 8
    colours = (weight.detach() / (2 * weight.detach().abs().max()) + 0.5).permute(0, 2, 3, 1)  # grey: zero
    rows = -(-len(weight) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(0.8 * columns, 0.95 * rows), squeeze=False)
    for k, ax in enumerate(axes.flat):
        ax.axis("off")
        if k < len(weight):
            ax.imshow(colours[k], interpolation="nearest")
            ax.set_title(str(k), fontsize=8.5, pad=2)
            if k in removed:
                ax.plot([0, 1, 0, 1], [0, 1, 1, 0], color="0.1", lw=1.2, transform=ax.transAxes)
    return fig


def feature_maps(image: Tensor, before: Tensor, after: Tensor, channels: Sequence[int], removed: Sequence[int]) -> Figure:
    """What chosen channels make of one picture (uint8 [3, H, W]): maps [C, H, W] before pruning above, after it below."""
    fig, axes = plt.subplots(2, len(channels) + 1, figsize=(1.05 * (len(channels) + 1), 2.6))
    limit = before[list(channels)].max().item()
    for ax, name in zip(axes[:, 0], ("before", "after"), strict=True):
        ax.imshow(image.permute(1, 2, 0))
        ax.set_ylabel(name)
    for column, channel in enumerate(channels, start=1):
        axes[0, column].set_title(f"{channel}{' ✗' if channel in removed else ''}", fontsize=9)
        for ax, maps in zip(axes[:, column], (before, after), strict=True):
            ax.imshow(maps[channel].detach(), cmap="viridis", vmin=0, vmax=limit)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    return fig


def layer_sparsity(reports: dict[str, SparsityReport], ylabel: str = "sparsity", totals: dict[str, str] | None = None) -> Figure:
    """Sparsity of each layer as bars, one colour for each report; `totals` (default: each total sparsity) goes into the legend."""
    totals = totals or {title: f"{report.fraction:.1%} in total" for title, report in reports.items()}
    fig, ax = plt.subplots(figsize=(9, 3.6))
    names = list(next(iter(reports.values())).layers)
    width = 0.8 / len(reports)
    for k, (title, report) in enumerate(reports.items()):
        shares = [share for *_, share in report.rows()][:-1]
        places = np.arange(len(names)) + (k - (len(reports) - 1) / 2) * width
        ax.bar(places, shares, width, color=f"C{k}", hatch=("", "//", "..")[k % 3], label=f"{title}: {totals[title]}")
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8.5)
    ax.yaxis.set_major_formatter(_PERCENT)
    ax.set(ylabel=ylabel, ylim=(0, 1.15), yticks=np.linspace(0, 1, 6))
    ax.legend(frameon=False, ncols=len(reports), loc="upper left")
    return fig


def weight_histograms(weights: dict[str, Tensor], threshold: float) -> Figure:
    """Histogram of each layer's weights; those with |w| below the threshold, which is drawn in, are the pruned ones."""
    fig, axes = plt.subplots(1, len(weights), figsize=(2.9 * len(weights), 2.9), sharex=True)
    flat = {name: weight.detach().flatten().numpy() for name, weight in weights.items()}
    limit = max(np.quantile(abs(values), 0.98) for values in flat.values())
    for ax, (name, values) in zip(np.atleast_1d(axes), flat.items(), strict=True):
        ax.hist(values.clip(-limit, limit), bins=np.linspace(-limit, limit, 60), color="C0")
        ax.axvspan(-threshold, threshold, color="C1", alpha=0.3, lw=0)
        pruned = (abs(values) <= threshold).mean()
        ax.set(title=f"{name}\n{pruned:.0%} below the threshold", xlabel="weight", yticks=[])
    np.atleast_1d(axes)[0].set(ylabel="number of weights")
    return fig


def kernel_norms(weight: Tensor, dead_inputs: Sequence[int]) -> Figure:
    """L1 norm of each kernel of a layer [out, in, h, w] as a map [out, in], with the dead input channels marked."""
    norms = weight.detach().abs().sum((2, 3)).numpy()
    fig, ax = plt.subplots(figsize=(7, 4.2))
    image = ax.imshow(norms, cmap="Blues", aspect="auto", interpolation="nearest")
    for column in dead_inputs:
        ax.axvspan(column - 0.5, column + 0.5, color="C1", alpha=0.45, lw=0)
    ax.set(xlabel="input channel (orange: its filter is gone)", ylabel="filter")
    ax.grid(visible=False)
    fig.colorbar(image, ax=ax, label="L1 norm of the kernel")
    return fig


def mask_strip(masks: dict[str, tuple[Tensor, float]]) -> Figure:
    """Masks [out, in, h, w] one below the other, pruned weights black, each with its own sparsity and the accuracy."""
    fig, axes = plt.subplots(len(masks), 1, figsize=(8, 1.45 * len(masks) + 0.4), sharex=True, squeeze=False)
    for ax, (name, (mask, accuracy)) in zip(axes[:, 0], masks.items(), strict=True):
        ax.imshow(mask.flatten(1).numpy(), cmap="Greys_r", vmin=0, vmax=1.05, aspect="auto", interpolation="nearest")
        ax.set_title(f"network {name}, this layer {(mask == 0).float().mean():.0%}: accuracy {accuracy:.0%}", fontsize=10)
        ax.set(ylabel="filter")
        ax.grid(visible=False)
        ax.set_xticks(range(0, mask[0].numel(), 4 * mask[0, 0].numel()), range(0, mask.shape[1], 4))
    axes[-1, 0].set(xlabel=f"input channel, {mask[0, 0].numel()} weights each")
    return fig

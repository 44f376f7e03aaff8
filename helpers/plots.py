"""Every figure of the collection: one function per kind of plot; each draws what it is handed and returns the figure.

`show(fig, alt=…)` puts a figure into a notebook with its description.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from .stats import mean_ci

plt.style.use("petroff10")  # colour-blind safe (Petroff 2021, arXiv:2107.02270)
plt.rcParams.update({
    "figure.dpi": 110, "savefig.dpi": 110, "figure.constrained_layout.use": True, "font.size": 10, "axes.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "lines.linewidth": 1.8,
})  # fmt: skip

_PERCENT = PercentFormatter(1.0, decimals=0)


def show(fig: Figure, alt: str) -> None:
    """Display a figure in the notebook with alt text, and close it.

    Example:
        >>> show(image_grid(data.train.images[:10], titles), alt="Ten training images")  # doctest: +SKIP
    """
    display(fig, metadata={"image/png": {"alt": alt}})
    plt.close(fig)


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
    ax.bar_label(bars, fmt=lambda v: f"{v:.1%}", label_type="edge", padding=3, fontsize=8.5)
    ax.axvline(mean, ls="--", color="C1")
    ax.text(mean, len(order) - 0.35, f"all classes: {mean:.1%}", color="C1", ha="center", va="bottom", fontsize=9)
    ax.set(xlabel="test accuracy", xlim=(0, 1.1))
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
}


def curves(ax: plt.Axes, rows: pd.DataFrame, column: str, methods: Sequence[str]) -> None:
    """Draw `column` against target sparsity for each method: mean, 95 % CI over seeds as a bar, every run as a faint dot."""
    levels = sorted(rows.target_sparsity[rows.method.isin(methods)].unique())
    for method in methods:
        label, color, marker, style = METHODS[method]
        own = rows[rows.method == method]
        estimates = [mean_ci(own[column][own.target_sparsity == level]) for level in levels]
        places = np.arange(len(levels)) + 0.1 * (list(methods).index(method) - (len(methods) - 1) / 2)
        for place, level in zip(places, levels, strict=True):
            values = own[column][own.target_sparsity == level]
            ax.plot([place] * len(values), values, ls="", marker=marker, markersize=3, color=color, alpha=0.35)
        means = [e.mean for e in estimates]
        ax.errorbar(places, means, [e.margin for e in estimates], color=color, marker=marker, ls=style, capsize=3, label=label)
    ax.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
    ax.yaxis.set_major_formatter(_PERCENT)
    ax.set(xlabel="sparsity: share of weights set to zero")


def reference_line(ax: plt.Axes, rows: pd.DataFrame, column: str) -> None:
    """The dense network's mean as a dotted line with its name on it, the 95 % CI as a band."""
    estimate = mean_ci(rows[column][rows.method == "dense"])
    label, color, _, style = METHODS["dense"]
    ax.axhline(estimate.mean, color=color, ls=style)
    ax.axhspan(estimate.low, estimate.high, color=color, alpha=0.15, lw=0)
    ax.annotate(
        f"{label}: {estimate.mean:.1%}", (0.01, estimate.mean), xycoords=("axes fraction", "data"), va="bottom", fontsize=9
    )


def _label_line(ax: plt.Axes, text: str, height: float) -> None:
    ax.annotate(text, (0.01, height), xycoords=("axes fraction", "data"), va="bottom", fontsize=9, color="0.3")


def sparsity_curve(rows: pd.DataFrame) -> Figure:
    """Test accuracy against sparsity for magnitude and random pruning, before and after fine-tuning, dense as reference."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    steps = int(rows.steps.iloc[0])
    titles = ("right after pruning", f"after fine-tuning ({steps} steps for every network)")
    for ax, column, title in zip(axes, ("test_accuracy_before", "test_accuracy"), titles, strict=True):
        curves(ax, rows, column, ("magnitude", "random"))
        reference_line(ax, rows, column)
        ax.set_title(title)
        ax.axhline(0.1, color="0.7", lw=1)
    _label_line(axes[0], "guessing", 0.1)
    axes[0].set(ylabel=f"test accuracy, {rows.dataset.iloc[0]}", ylim=(0, 1))
    axes[1].legend(
        loc="lower left", bbox_to_anchor=(0, 0.12), frameon=False, title=f"mean, 95 % CI of {rows.seed.nunique()} seeds"
    )
    return fig

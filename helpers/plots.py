"""What a learner draws live: each function draws what it is handed and returns the figure; `show(fig, alt=…)` displays it."""

import io
import math
from base64 import b64encode
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image
from torch import Tensor

from .masks import SparsityReport
from .training import History

plt.style.use("petroff10")  # for color-blind readers too (Petroff 2021, arXiv:2107.02270)
plt.rcParams.update({
    "figure.dpi": 110, "savefig.dpi": 110, "figure.constrained_layout.use": True, "font.size": 10, "axes.titlesize": 11, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3, "lines.linewidth": 1.8,
})  # fmt: skip

PERCENT = PercentFormatter(1.0, decimals=0)


def show(fig: Figure, alt: str) -> None:
    """Display a figure in the notebook with alt text, and close it. As a PNG of 256 colors, which keeps notebooks light."""
    drawn, small = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", bbox_inches="tight")
    plt.close(fig)
    Image.open(drawn).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    display({"image/png": b64encode(small.getvalue()).decode()}, metadata={"image/png": {"alt": alt}}, raw=True)


def label_line(ax: plt.Axes, text: str, height: float, x: float = 0.01, va: str = "bottom") -> None:
    """Draw a dotted horizontal line with its name on it, at the share `x` of the width."""
    ax.axhline(height, color="0.3", ls=":")
    place = {"xycoords": ("axes fraction", "data"), "xytext": (0, 2 if va == "bottom" else -2), "textcoords": "offset points"}
    ax.annotate(text, (x, height), **place, va=va, fontsize=9, color="0.3")


def image_grid(images: Sequence[Tensor], titles: Sequence[str], columns: int = 10, framed: Sequence[int] = ()) -> Figure:
    """Images [3, H, W], each under its title; a frame around those at places `framed`."""
    rows = math.ceil(len(images) / columns)
    fig, axes = plt.subplots(rows, columns, figsize=(0.95 * columns, 1.2 * rows), squeeze=False)
    for place, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=place in framed, color="C1", linewidth=2.5)
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image.permute(1, 2, 0))
        ax.set_title(title, fontsize=8.5, pad=3)
    return fig


def learning_curves(history: History) -> Figure:
    """Training loss, learning rate, and accuracy in training and validation, by epoch."""
    epochs = pd.RangeIndex(1, len(history.loss) + 1, name="epoch")
    accuracies = {"training (augmented images)": history.train_accuracy, "validation": history.val_accuracy}
    fig, (loss, rate, accuracy) = plt.subplots(1, 3, figsize=(10, 3.2))
    pd.Series(history.loss, epochs).plot(ax=loss, style="C0o-", markersize=3, title="training loss (with label smoothing)")
    pd.Series(history.lr, epochs).plot(ax=rate, style=":", color="0.35", title="learning rate")
    pd.DataFrame(accuracies, epochs, dtype=float).plot(ax=accuracy, style=["C1s--", "C0o-"], markersize=3, title="accuracy")
    accuracy.yaxis.set_major_formatter(PERCENT)
    for ax in fig.axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


def layer_widths(reports: dict[str, SparsityReport]) -> Figure:
    """Sparsity by layer as bars as wide as the layers (orange: outside blocks), one panel under each title: the area is the total."""
    fig, axes = plt.subplots(len(reports), 1, figsize=(9, 1.6 * len(reports) + 0.7), sharex=True, squeeze=False)
    for ax, (title, report) in zip(axes.flat, reports.items(), strict=True):
        layers = report.table[:-1]
        width = layers.weights / report.size
        middle = width.cumsum() - width / 2
        ax.bar(middle, 1, width, color="0.92", edgecolor="white")
        color = ["C0" if "block" in name else "C1" for name in layers.index]
        ax.bar(middle, layers.sparsity, width, color=color, edgecolor="white", hatch="//")
        ax.set(title=title, xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1], xticks=middle[width > 0.04])
        ax.yaxis.set_major_formatter(PERCENT)
        ax.grid(axis="x", visible=False)
    ax.set_xticklabels([name.partition(".")[2].replace(".", "\n") for name in layers.index[width > 0.04]], fontsize=8.5)
    for stage, part in width.groupby(layers.index.str.partition(".").get_level_values(0)):
        if part.sum() > 0.05:
            place = {"xycoords": ("data", "axes fraction"), "xytext": (0, -44), "textcoords": "offset points"}
            ax.annotate(stage, (middle[part.index].mean(), 0), **place, ha="center")
    fig.supylabel("weights set to zero", fontsize=10)
    return fig


def mask_patterns(weight: Tensor, masks: dict[str, Tensor]) -> Figure:
    """A layer's weights [out, in, h, w] as a matrix [out, in*h*w], whole and under each mask; zeros in a color of their own."""
    panels = {"dense\n0% zeros": weight}
    for name, mask in masks.items():
        panels[f"{name}\n{(mask == 0).float().mean():.0%} zeros"] = weight.masked_fill(mask == 0, math.nan)
    limit = weight.abs().max().item()
    colors = plt.get_cmap("RdBu_r").with_extremes(bad="0.35")
    fig, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels), 3.6), sharey=True)
    for ax, (title, matrix) in zip(axes, panels.items(), strict=True):
        matrix = matrix.detach().flatten(1).numpy()
        picture = ax.imshow(matrix, aspect="auto", interpolation="nearest", cmap=colors, vmin=-limit, vmax=limit)
        ax.set_title(title, fontsize=10)
        ax.grid(visible=False)
    fig.supxlabel("weights of a filter", fontsize=10)
    fig.supylabel("filter", fontsize=10)
    fig.colorbar(picture, ax=axes, label="weight (dark gray: zero)")
    return fig

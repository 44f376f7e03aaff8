"""What a learner draws live: one function per kind of plot; each draws what it is handed and returns the figure.

`show(fig, alt=…)` puts a figure into a notebook with its description.
"""

import io
from base64 import b64encode
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from PIL import Image
from torch import Tensor

from .masks import SparsityReport
from .metrics import Measurement

plt.style.use("petroff10")  # colour-blind safe (Petroff 2021, arXiv:2107.02270)
plt.rcParams.update({
    "figure.dpi": 110, "savefig.dpi": 110, "figure.constrained_layout.use": True, "font.size": 10, "axes.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3, "lines.linewidth": 1.8,
})  # fmt: skip

PERCENT = PercentFormatter(1.0, decimals=0)


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
    right.yaxis.set_major_formatter(PERCENT)
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
    ax.xaxis.set_major_formatter(PERCENT)
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


# one look for each method in all notebooks and figures

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


def label_line(ax: plt.Axes, text: str, height: float, x: float = 0.01, va: str = "bottom") -> None:
    ax.annotate(text, (x, height), xycoords=("axes fraction", "data"), va=va, fontsize=9, color="0.3")


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
    label_line(ax, f"dense: {dense:.1%}", dense)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.yaxis.set_major_formatter(PERCENT)
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
    ax.yaxis.set_major_formatter(PERCENT)
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
    label_line(ax, f"dense, on these images: {dense:.1%}", dense, x=0.64)
    label_line(ax, "when each is pruned", 1.04, x=0.68)
    ax.yaxis.set_major_formatter(PERCENT)
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
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set(ylabel=f"share of {reference[0]}", title=f"no fine-tuning; accuracy of {reference[0]}: {reference[1].accuracy:.1%}")
    ax.margins(y=0.25)
    ax.legend(frameon=False, ncols=len(others), loc="upper left")
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
    colors = (weight.detach() / (2 * weight.detach().abs().max()) + 0.5).permute(0, 2, 3, 1)  # grey: zero
    rows = -(-len(weight) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(0.8 * columns, 0.95 * rows), squeeze=False)
    for k, ax in enumerate(axes.flat):
        ax.axis("off")
        if k < len(weight):
            ax.imshow(colors[k], interpolation="nearest")
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
    ax.yaxis.set_major_formatter(PERCENT)
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

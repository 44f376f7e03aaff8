"""Redraw all of images/ from the measured rows in results/ and the checkpoint (`make figures`).

Trains nothing; the same bytes each time on one machine.
"""

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from torch.nn.utils import prune

matplotlib.use("Agg")

from experiments.grids import GRIDS  # noqa: E402
from helpers import MagnitudePruning, load_cifar_net, plots, prunable_layers, prune_globally, prune_layers, sparsity  # noqa: E402
from helpers.data import REPOSITORY  # noqa: E402
from helpers.sweeps import read_rows  # noqa: E402


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
    "sparsity_curve": (("sparsity_curve",), plots.sparsity_curve),
    "builtin_methods": (("builtin_methods",), plots.builtin_methods),
    "criteria": (("criteria",), plots.criteria),
    "scopes": (("criteria",), plots.scopes),
    "sensitivity": (("sensitivity",), plots.sensitivity),
    "depth_vs_width": (("depth_width", "depth_width_speed"), plots.depth_vs_width),
    "gradual_pruning": (("gradual_pruning",), plots.gradual_pruning),
    "gradual_vs_instant": (("gradual_vs_instant",), plots.gradual_vs_instant),
    "pareto": (("deploy",), plots.pareto),
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


def main(results: Path = REPOSITORY / "results", images: Path = REPOSITORY / "images") -> None:
    images.mkdir(parents=True, exist_ok=True)
    for name, (sources, function) in FIGURES.items():
        if missing := lacking(name, results):
            print(f"  {name}: not drawn, {', '.join(missing)}")
            continue
        fig = function(*(pd.read_csv(rows_of(source, results)) for source in sources))
        fig.savefig(images / f"{name}.png", metadata={"Software": None})
        plots.plt.close(fig)
        print(f"  {name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

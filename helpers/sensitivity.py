"""How much each layer can lose: scans, and amounts for each layer from them. Introduced in notebook 04."""

import copy
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy import optimize
from torch import nn

from .criteria import MagnitudePruning, check_fraction, is_number
from .data import Split, check
from .masks import prunable_layers, up_to_date
from .scopes import prune_layers
from .training import evaluate

SCAN_AMOUNTS = (0.2, 0.4, 0.6, 0.8, 0.9)


def sensitivity_scan(model: nn.Module, split: Split, amounts: Sequence[float] = SCAN_AMOUNTS) -> dict[str, list[float]]:
    """Accuracy on `split` with one layer pruned by magnitude to each amount, all others whole; by layer name.

    The model itself is not changed. Source: Han et al. 2015 (arXiv:1506.02626), figure 6.

    Example:
        >>> sensitivity_scan(model, data.val)["conv1"]  # doctest: +SKIP
        [0.83, 0.82, 0.79, 0.64, 0.31]
    """

    def prune_one(pruned: nn.Module, name: str, amount: float) -> None:
        prune_layers({pruned.get_submodule(name): [MagnitudePruning(amount)]})

    return scan(model, split, prunable_layers(model), amounts, prune_one)


def scan(model: nn.Module, split: Split, names: Iterable[str], amounts: Sequence[float], prune_one: Callable) -> dict:
    """Accuracy on `split` after `prune_one(copy, name, amount)`, for each name and amount alone."""

    def accuracy(name: str, amount: float) -> float:
        prune_one(pruned := copy.deepcopy(up_to_date(model)), name, float(amount))
        return evaluate(pruned, split).accuracy

    return {name: [accuracy(name, amount) for amount in amounts] for name in names}


def shares_at_loss(
    scan: dict[str, list[float]], amounts: Sequence[float], dense_accuracy: float, names: Iterable[str]
) -> Callable[[float], list[float]]:
    """From a scan, the share that each of the layers `names` can give up, alone, as a function of the loss of accuracy.

    Between the scan's amounts the loss is interpolated; at 100 % it is taken to be all of the accuracy.
    """
    known = is_number(dense_accuracy) and 0 <= dense_accuracy <= 1
    check(known, "dense_accuracy", dense_accuracy, "the whole network's, in 0..1")
    if missing := [name for name in names if name not in scan]:
        raise ValueError(f"scan: lacks {', '.join(missing)}; scan the network that it is for")
    if wrong := [name for name in names if len(scan[name]) != len(amounts)]:
        told = f"{len(scan[wrong[0]])} accuracies, but there are {len(amounts)} amounts"
        raise ValueError(f"scan: {wrong[0]} has {told}; pass amounts= as to the scan")
    grid = np.array([0.0, *amounts, 1.0])
    losses = [np.maximum.accumulate([0.0, *(dense_accuracy - a for a in scan[name]), dense_accuracy]) for name in names]
    rising = [loss + 1e-6 * grid for loss in losses]  # strictly, so that they can be read backwards
    return lambda loss: [round(float(np.interp(loss, row, grid)), 6) for row in rising]


def amounts_from_sensitivity(
    model: nn.Module, scan: dict[str, list[float]], dense_accuracy: float, total: float, amounts: Sequence[float] = SCAN_AMOUNTS
) -> dict[nn.Module, int]:
    """Counts to prune in each layer that cost each, alone, the same accuracy, and `total` (a fraction) of all weights together.

    Raises:
        ValueError: for a total outside [0, 1], or a scan that lacks a layer or an amount.
    """
    check_fraction("total", total)
    layers = prunable_layers(model)
    sizes = np.array([layer.weight.numel() for layer in layers.values()])
    shares = shares_at_loss(scan, amounts, dense_accuracy, names=layers)
    loss = optimize.bisect(lambda loss: np.array(shares(loss)) @ sizes - total * sizes.sum(), 0.0, 2.0)
    counts = np.minimum(sizes, np.floor(np.array(shares(loss)) * sizes).astype(int))
    for _ in range(abs(missing := round(total * sizes.sum()) - counts.sum())):  # what rounding left
        counts[np.argmax(sizes - counts if missing > 0 else counts)] += np.sign(missing)
    return {layer: int(count) for layer, count in zip(layers.values(), counts, strict=True)}

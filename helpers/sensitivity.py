"""How much each layer can lose: scans, and amounts for each layer from them. Introduced in lesson 06."""

import copy
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from torch import nn

from .data import Split, check
from .devices import up_to_date
from .masks import plain_copy
from .metrics import count_macs
from .surgery import channel_groups, channels_to_remove, prune_channels, without_channels
from .training import evaluate, recalibrate


def scan(model: nn.Module, split: Split, names: Iterable[str], amounts: Sequence[float], prune_one: Callable) -> dict:
    """Accuracies on `split` with one layer alone pruned, for each amount, by layer (Han et al. 2015, arXiv:1506.02626).

    `prune_one(copy, name, amount)` prunes a layer, or group of channels, of a copy in place, and recalibrates the copy. A scan of
    `conv1` and `fc` at (0.5, 0.9) gives for example {'conv1': [0.88, 0.41], 'fc': [0.9, 0.86]}.
    """
    accuracies = {name: [] for name in names}
    for name in accuracies:
        for amount in amounts:
            network = copy.deepcopy(up_to_date(model))
            prune_one(network, name, amount)
            accuracies[name].append(evaluate(network, split).accuracy)
    return accuracies


def channel_scan(model, split, amounts, data, batches=10, example_input=None) -> dict[str, list[float]]:
    """Accuracies on `split` with whole channels of one group alone masked, the smallest norms first, for each of `amounts`.

    Each copy is recalibrated with `batches` batches of the data set `data`; lists by name of the group, as `widths_for_macs` takes.
    """

    def prune_one(network: nn.Module, name: str, amount: float) -> None:
        prune_channels(network, {name: amount}, example_input=example_input)
        recalibrate(network, data, batches)

    return scan(model, split, channel_groups(model, example_input), amounts, prune_one)


def amount_for_drop(drop: float, scan: dict, amounts: Sequence[float], dense_accuracy: float) -> dict[str, float]:
    """What each layer of a scan can lose, alone, for this drop of accuracy: interpolated; 100 % costs all of the accuracy."""
    grid, shares = np.array([0.0, *amounts, 1.0]), {}
    for name, accuracies in scan.items():
        check(len(accuracies) == len(amounts), "amounts", amounts, f"those of the scan, which has {len(accuracies)} for {name}")
        drops = np.maximum.accumulate([0.0, *(dense_accuracy - a for a in accuracies), dense_accuracy])
        shares[name] = round(float(np.interp(drop, drops + 1e-6 * grid, grid)), 6)  # strictly rising, to be read backwards
    return shares


def widths_for_macs(
    model, share, scan=None, dense_accuracy=None, amounts=(), *, round_to=1, ignored_layers=(), example_input=None
) -> dict[str, float]:
    """Amounts for `prune_channels` that leave the share `share` of the MACs, the closest that whole channels allow.

    Without a scan every group gives up the same share of its channels (uniform). With a `channel_scan` at
    `amounts`, and the whole network's `dense_accuracy`, each gives up what costs it, alone, the same accuracy (guided).

    Example:
        >>> amounts = widths_for_macs(SimpleNet(), 0.5)
        >>> 0.4 < amounts["layer1"] < 0.5
        True
    """
    check(0 < share <= 1, "share", share, "a fraction in (0, 1]")
    check(not scan or dense_accuracy is not None, "dense_accuracy", None, "the whole network's, in 0..1")
    groups, plain = channel_groups(model, example_input, ignored_layers), plain_copy(model)
    check(not scan or set(groups) <= set(scan), "scan", scan, f"of this network, whose groups are {', '.join(groups)}")
    low, high, tried = 0.0, 1.0, []
    for _ in range(24):  # bisection; MACs fall in steps, and it comes to look on both sides of one
        middle, plan, removed = (low + high) / 2, {}, {}
        amount = amount_for_drop(middle, scan, amounts, dense_accuracy) if scan else dict.fromkeys(groups, middle)
        for name, group in groups.items():
            plan[name] = min(amount[name], 1 - 1 / group.channels)  # never the last channel
            removed[name] = list(range(channels_to_remove(name, group.channels, plan[name], round_to)))
        left = count_macs(without_channels(plain, removed, example_input), example_input) / count_macs(plain, example_input)
        tried.append((abs(left - share), plan))
        low, high = (middle, high) if left > share else (low, middle)
    return min(tried, key=lambda pair: pair[0])[1]

"""The self-checks of notebook 03."""

import copy
from collections.abc import Mapping, Sequence

import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.utils import prune

from helpers import MagnitudePruning, evaluate, prune_globally, sparsity
from helpers.data import Split

from .answers import Wrong, points, self_check


@self_check('put two layer names there, for example {"most weights": "conv1", "largest share": "fc"}')
def check_most_left(answer: Mapping[str, str], model: nn.Module) -> str:
    """Which layers keep the most weights, and the largest share of theirs, when the whole network is pruned by 95 %."""
    keys = ("most weights", "largest share")
    if not isinstance(answer, Mapping) or set(answer) != set(keys):
        raise Wrong('a dictionary with the keys "most weights" and "largest share" is wanted')
    if any(value is None for value in answer.values()):
        raise Wrong("nothing there yet: put the layers' names where it says None")
    network = copy.deepcopy(model)
    prune_globally(network, [MagnitudePruning(0.95)])
    layers = sparsity(network).layers
    for key in keys:
        if answer[key] not in layers:
            raise Wrong(f"{key}: {answer[key]!r} is no layer of this network; sparsity() lists their names")
    left = {name: size - zeros for name, (zeros, size) in layers.items()}
    shares = {name: left[name] / size for name, (_, size) in layers.items()}
    right = dict(zip(keys, (max(left, key=left.get), max(shares, key=shares.get)), strict=True))
    if all(answer[key] == right[key] for key in keys):
        most, share = right.values()
        return f"{most} keeps {left[most]:,} weights, {shares[most]:.1%} of its own; {share} keeps {shares[share]:.1%}, {left[share]:,}"
    if answer[keys[0]] == right[keys[1]] and answer[keys[1]] == right[keys[0]]:
        raise Wrong("the other way round: a small layer can keep a large share and still have few weights")
    if answer[keys[0]] == max(layers, key=lambda name: layers[name][0]):
        raise Wrong("most weights: this layer lost the most. Kept are size - zeros")
    if answer[keys[1]] == min(shares, key=shares.get):
        raise Wrong("largest share: this layer has the highest sparsity, so it kept the smallest share")
    wrong = next(key for key in keys if answer[key] != right[key])
    raise Wrong(f"{wrong}: not {answer[wrong]}, which keeps {left[answer[wrong]]:,} weights ({shares[answer[wrong]]:.1%})")


@self_check("put a list of 32 accuracies there, one for each filter of conv1")
def check_alone(answer: Sequence[float], model: nn.Module, sample: Split) -> str:
    """Accuracy with filter k of `conv1` removed, alone, for every k."""
    accuracies = torch.as_tensor(answer, dtype=torch.float64).flatten()
    filters = model.conv1.out_channels
    if len(accuracies) != filters:
        raise Wrong(f"one accuracy for each of {filters} filters is wanted, these are {len(accuracies)}")
    if accuracies.max() > 1:
        raise Wrong("accuracies are wanted as fractions from 0 to 1, not in percent")

    def accuracy_without(gone):
        network = copy.deepcopy(model)
        mask = torch.ones_like(network.conv1.weight)
        mask[gone] = 0
        prune.custom_from_mask(network.conv1, "weight", mask)
        return evaluate(network, sample).accuracy

    dense = evaluate(model, sample).accuracy
    norms = model.conv1.weight.detach().abs().sum((1, 2, 3))
    close = 1.5 / len(sample)  # one image may tip over by rounding

    def same(k, gone):
        return abs(accuracies[k].item() - accuracy_without(gone)) < close

    looks_dense = (accuracies - dense).abs().max() < close
    checked = range(filters) if looks_dense else (0, filters - 1, int(norms.argmax()))
    if not all(same(k, [k]) for k in checked):
        if looks_dense:
            raise Wrong("all are the dense accuracy: evaluate the copy that you pruned")
        if same(0, [0]) and same(filters - 1, slice(None)):
            raise Wrong(
                "the last one is without any filter: each removal came on top of the ones before; start from a fresh copy"
            )
        if same(0, slice(1, None)):
            raise Wrong("the mask is upside down: you kept filter k and removed all the others")
        raise Wrong("they are not ours: mask filter k of conv1 in a fresh copy, nothing else, and evaluate it on sample")
    order, worst = spearmanr(norms, dense - accuracies).statistic, int(accuracies.argmin())
    place = int((norms > norms[worst]).sum()) + 1
    return (
        f"filter {worst} costs most, {points(dense - accuracies[worst].item())}; by L1 norm it is number {place} of {filters}. "
        f"Rank correlation of norm and loss: {order:.2f}"
    )

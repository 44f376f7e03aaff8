"""The self-checks of lesson 03."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from helpers import MagnitudePruning, prune_globally, sparsity

from .answers import Wrong, number, self_check


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


@self_check("put a number of weights there")
def check_cut_weights(answer: float) -> str:
    """Weights that 16 of 64 filters on 32 channels take with them, where 96 filters follow; all kernels are 3 x 3."""
    filters, readers = 16 * 32 * 9, 96 * 16 * 9
    weights = number(answer)
    if weights == filters:
        raise Wrong("these are the removed filters alone: who reads their channels?")
    if weights == readers:
        raise Wrong("these are the kernels of the next layer alone: the filters disappear too")
    if weights == 16 * 32 + 96 * 16:
        raise Wrong("these are kernels: each has 3 × 3 weights")
    if weights != filters + readers:
        raise Wrong(f"not {weights:,}: count kernels first, those of the removed filters and those that read their channels")
    return f"{filters:,} of the filters and {readers:,} of the next layer: a quarter of both layers"


@self_check("put a list of filter numbers there")
def check_silent(answer: Sequence[int], model: nn.Module) -> str:
    """Filters of `stage1.conv` that send exactly zero once their weights are zero."""
    silent = set((_constants(model.stage1.bn) == 0).nonzero().flatten().tolist())
    given = {int(k) for k in answer}
    if given == silent:
        return f"{len(silent)} of {model.stage1.conv.out_channels} filters could be cut out without a trace"
    if given == set(range(model.stage1.conv.out_channels)) - silent:
        raise Wrong("the other way round: these send a constant")
    if given == set((_constants(model.bn1) == 0).nonzero().flatten().tolist()):
        raise Wrong("these are filters of conv1; the layer is stage1.conv, and stage1.bn follows it")
    if given == set((model.stage1.bn.bias <= 0).nonzero().flatten().tolist()):
        raise Wrong("the bias alone does not decide: BatchNorm also subtracts its running mean from the zeros")
    raise Wrong(f"{len(given - silent)} of these send a constant, and {len(silent - given)} that send zero are missing")


def _constants(norm: nn.BatchNorm2d) -> torch.Tensor:
    """What ReLU lets through of zeros that BatchNorm has normalized: [channels]."""
    zeros = torch.zeros(1, norm.num_features, 1, 1)
    with torch.no_grad():
        return copy.deepcopy(norm).eval()(zeros).relu().flatten()

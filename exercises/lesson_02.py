"""The self-checks of lesson 02."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from helpers import evaluate, prunable_layers, recalibrate, sparsity
from helpers.data import Dataset, Split

from .answers import Wrong, as_model, points, self_check


@self_check("put the numbers of the filters where it says None, as a list")
def check_unread(answer: Sequence[int], model: nn.Module) -> str:
    """Filters of `conv1` that nobody reads once 30 % of the input channels of `stage1.conv` are pruned by L2 norm."""
    if isinstance(answer, Tensor):
        answer = answer.flatten().tolist()
    if not isinstance(answer, Sequence | set) or isinstance(answer, str):
        raise Wrong(f"a list of filter numbers is wanted, this is {type(answer).__name__}")
    answer, filters, reader = set(answer), set(range(model.conv1.out_channels)), model.stage1.conv.weight

    def weakest(weight: Tensor, dim: int, count: int) -> set[int]:
        norms = weight.detach().square().transpose(0, dim).flatten(1).sum(1)
        return set(norms.topk(count, largest=False).indices.tolist())

    count = round(0.3 * reader.shape[1])
    right = weakest(reader, 1, count)
    if answer == right:
        return f"stage1.conv no longer reads {len(right)} of conv1's {len(filters)} filters: {sorted(right)}"
    if answer - filters and answer <= weakest(reader, 0, round(0.3 * reader.shape[0])):
        raise Wrong("these are filters of stage1.conv itself (dim=0): its input channels are dim=1")
    if not answer <= filters:
        raise Wrong(f"conv1 has the filters 0 to {max(filters)}: {sorted(answer - filters)} is not among them")
    if answer == filters - right:
        raise Wrong("these are the filters that are still read: you want the others")
    if answer == weakest(model.conv1.weight, 0, count):
        raise Wrong("these are conv1's own weakest filters: the question is which of them stage1.conv no longer reads")
    if len(answer) != count:
        raise Wrong(f"{len(answer)} filters; 30 % of {reader.shape[1]} input channels is {count}, as torch rounds")
    raise Wrong(f"{len(answer & right)} of {count} are right: look for columns [:, k] of stage1.conv's mask that are all zero")


@self_check("put the name of your function there")
def check_largest(answer: Callable[[Tensor, float], Tensor], model: nn.Module, data: Dataset) -> str:
    """A function (weight, amount) that makes a mask without the largest absolute weights."""
    weight = torch.tensor([[0.1, -3.0, 2.0, -0.2, 0.3], [0.4, 1.0, -0.5, 0.6, -0.7]])
    mask = answer(weight.clone(), 0.2)
    if not isinstance(mask, Tensor) or mask.shape != weight.shape or not set(mask.unique().tolist()) <= {0, 1}:
        raise Wrong("a mask is a tensor of zeros and ones in the shape of the weights")
    removed = set(weight[mask == 0].tolist())
    if not removed:
        raise Wrong("nothing is removed yet: the mask holds ones only")
    if removed == set(weight[weight.abs() < 2].tolist()):
        raise Wrong("the mask is upside down: 1 keeps a weight, 0 removes it")
    if len(removed) != 2:
        raise Wrong(f"20 % of 10 weights are 2, but {len(removed)} are removed")
    if removed == set(weight[0, [0, 3]].tolist()):
        raise Wrong("it removes the smallest weights, as l1_unstructured does: take the other end")
    if removed != {-3.0, 2.0}:
        raise Wrong("-3 is a large weight too: rank absolute values")

    def cost(method: Callable[[nn.Module], object]) -> str:
        network = copy.deepcopy(model)
        for layer in prunable_layers(network).values():
            method(layer)
        recalibrate(network, data, batches=1)
        return points(evaluate(model, sample).accuracy - evaluate(network, sample).accuracy)

    sample = data.val.subset(1000)
    largest = cost(lambda layer: prune.custom_from_mask(layer, "weight", answer(layer.weight.detach(), 0.01)))
    smallest = cost(lambda layer: prune.l1_unstructured(layer, "weight", 0.01))
    return f"1 % of each layer's weights, after recalibration: the smallest cost {smallest}, the largest {largest}"


@self_check("put your network there, masked and fine-tuned")
def check_random(answer: nn.Module, sample: Split) -> str:
    """A network that lost 80 % of its weights at random, its masks in place."""
    masked = [layer for layer in prunable_layers(as_model(answer, "a network")).values() if prune.is_pruned(layer)]
    if not masked:
        raise Wrong("no layer has a mask: prune with random_unstructured, and leave `remove` for later")
    if abs(sparsity(answer).fraction - 0.8) > 0.005:
        raise Wrong(f"{sparsity(answer).fraction:.1%} of the weights are zero, not 80 %")
    sizes = [[layer.weight_orig[layer.weight_mask == kept].abs().mean() for kept in (0, 1)] for layer in masked]
    if sum(removed < 0.5 * kept for removed, kept in sizes) > len(sizes) / 2:
        raise Wrong("the removed weights are the small ones: this network was not pruned at random")
    return f"80 % removed at random: {evaluate(answer, sample).accuracy:.1%} on {len(sample):,} validation images"

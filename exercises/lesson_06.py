"""The self-checks of lesson 06."""

import copy

import torch
from torch import nn

from helpers import Dataset, MagnitudePruning, evaluate, prunable_layers, prune_globally, prune_layers, recalibrate, sparsity

from .answers import Wrong, number, self_check

SPARED = ("conv1", "stage1.conv", "stage2.conv", "stage3.conv")


@self_check("put the layer's name and the amount there")
def check_first_emptied(answer: dict, model: nn.Module) -> str:
    """{"layer": which layer global magnitude pruning empties first, "amount": the share of all weights at which it does}"""
    if not isinstance(answer, dict) or set(answer) != {"layer", "amount"}:
        raise Wrong('a dictionary is wanted: {"layer": …, "amount": …}')
    layers = {name: layer.weight.detach().abs() for name, layer in prunable_layers(model).items()}
    largest = {name: weight.max().item() for name, weight in layers.items()}
    first, name = min(largest, key=largest.get), answer["layer"]
    if name not in layers:
        raise Wrong(f"{name!r} is no layer; the layers are {', '.join(layers)}")
    if name != first:
        means = {layer: weight.mean() for layer, weight in layers.items()}
        small = " its weights are the smallest on average, but" if name == min(means, key=means.get) else ""
        raise Wrong(
            f"not {name}:{small} its largest |w|, {largest[name]:.3f}, is above the threshold for longer than another layer's"
        )
    weights = torch.cat([weight.flatten() for weight in layers.values()])
    share = (weights <= largest[first]).float().mean().item()
    if abs(number(answer["amount"]) - share) > 0.002:
        raise Wrong(
            f"{first} is right. It is empty when the threshold passes its largest |w|: which share of all weights is below that?"
        )
    around = "a skip leads around it" if "block" in first else "nothing leads around it"
    return f"{first} is empty at {share:.2%}, when the threshold passes its largest |w|, {largest[first]:.3f}; {around}"


@self_check("put a share between 0 and 1 there")
def check_spared(answer: float, model: nn.Module, data: Dataset) -> str:
    """The amount for the other layers that makes 80 % of the network's weights, if the four in SPARED stay whole."""
    amount, report = number(answer), sparsity(model)
    rest = report.size - sum(report.layers[name][1] for name in SPARED)
    if not 0 <= amount <= 1:
        raise Wrong(f"{amount} is no share between 0 and 1")
    if abs(amount * rest / report.size - 0.8) > 0.001:
        raise Wrong(f"that removes {amount * rest / report.size:.1%} of the network's weights, not 80 %")
    spared, plain = copy.deepcopy(model), copy.deepcopy(model)
    others = [layer for name, layer in prunable_layers(spared).items() if name not in SPARED]
    prune_layers({layer: [MagnitudePruning(float(amount))] for layer in others})
    prune_globally(plain, [MagnitudePruning(0.8)])
    accuracies = []
    for name, network in {"four layers spared": spared, "global": plain}.items():
        recalibrate(network, data, batches=2)
        accuracies.append(f"{name} {evaluate(network, data.val.subset(1000)).accuracy:.1%}")
    return f"{amount:.1%} of the others; recalibrated: {', '.join(accuracies)}. At 90 % the others are too few: they would have to lose {0.9 * report.size / rest:.0%}"

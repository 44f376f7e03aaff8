"""The self-checks of lesson 01."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from helpers import CifarNet, evaluate, prunable_layers
from helpers.data import Dataset

from .answers import Wrong, as_model, count, number, points, self_check


@self_check("count the parameters of CifarNet(width=0.25) and put the number where it says None")
def check_parameters(answer: int) -> str:
    """Parameters of `CifarNet(0.25)`: all of them, and no buffers."""
    answer, narrow, full = number(answer), CifarNet(0.25), CifarNet(1.0)
    right, dense = count(narrow.parameters()), count(full.parameters())
    if answer == right:
        return (
            f"{right:,} parameters, {right / dense:.1%} of the full width's {dense:,}: most layers lose inputs and outputs alike"
        )
    if answer == right + count(narrow.buffers()):
        raise Wrong("you counted buffers too: BatchNorm's running averages are stored, but no parameters (not learned)")
    if answer == count(layer.weight for layer in prunable_layers(narrow).values()):
        raise Wrong("you counted the weights of convolutions and the linear layer only: biases and BatchNorm's are missing")
    if answer == len(list(narrow.parameters())):
        raise Wrong("that is how many tensors hold parameters; each of them holds many (numel)")
    if abs(answer / dense - 0.25) < 0.01:
        raise Wrong("a quarter of the width is not a quarter of the parameters: a layer has inputs × outputs of them. Count")
    raise Wrong(f"{answer:,} is not it: sum numel() over parameters() of CifarNet(width=0.25)")


@self_check("put the number of images where it says None")
def check_images(answer: float) -> str:
    """Images that make the margin of an accuracy of 90 % as small as 0.3 points."""
    answer, p, margin = number(answer), 0.9, 0.003

    def near(n):
        return abs(answer - n) <= 0.01 * n

    right = 1.96**2 * p * (1 - p) / margin**2
    if near(right):
        return f"about {right:,.0f} images, {right / 10_000:.1f} times CIFAR-10's test set: a tenth of a point is mostly chance"
    if near(p * (1 - p) / margin**2):
        raise Wrong("you left out the 1.96: so many images give 0.3 points for one standard error, not for 95 %")
    if near(right * 1e-4):
        raise Wrong("0.3 points are 0.003, not 0.3: accuracies are fractions here")
    if near(1.96 * math.sqrt(p * (1 - p)) / margin):
        raise Wrong("that is the square root of it: square both sides when you solve for n")
    if near(1.96**2 * 0.25 / margin**2):
        raise Wrong("that is for an accuracy of 50 %, the worst case; here it is 90 %")
    raise Wrong(
        f"with {answer:,.0f} images the margin is {points(1.96 * math.sqrt(p * (1 - p) / max(answer, 1)))}, not 0.3 points"
    )


@self_check("put (first, second) there, two trained networks")
def check_twins(answer: tuple[nn.Module, nn.Module], data: Dataset) -> str:
    """Two trained networks of one architecture that differ in their seed alone."""
    if not isinstance(answer, Sequence) or len(answer) != 2:
        raise Wrong("a pair of networks is wanted: (first, second)")
    first, second = (as_model(network, "a network") for network in answer)
    states = first.state_dict(), second.state_dict()
    if [(k, v.shape) for k, v in states[0].items()] != [(k, v.shape) for k, v in states[1].items()]:
        raise Wrong("they differ in more than the seed: their layers have different shapes")
    if all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True)):
        raise Wrong("they are one and the same network, bit for bit: give them different seeds (build after torch.manual_seed)")
    sample = data.val.subset(1000)
    results = [evaluate(network, sample) for network in (first, second)]
    for name, result in zip(("first", "second"), results, strict=True):
        if result.accuracy < 0.15:
            raise Wrong(f"the {name} network guesses ({result.accuracy:.0%}): was it trained?")
    apart = abs(results[0].accuracy - results[1].accuracy)
    differ = (results[0].predictions != results[1].predictions).float().mean().item()
    return (
        f"{results[0].accuracy:.1%} and {results[1].accuracy:.1%} on {len(sample):,} validation images: {points(apart)} apart; "
        f"they disagree on {differ:.1%} of the images"
    )

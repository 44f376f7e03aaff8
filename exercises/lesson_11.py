"""The self-checks of lesson 11. They take any `nn.Module`, with an example of its input where it matters."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from helpers import count_macs, evaluate
from helpers.data import Split
from helpers.devices import eval_mode
from helpers.metrics import example_batch

from .answers import Wrong, as_model, count, points, self_check

TOLERANCE = 1e-4  # of the largest output


@self_check("put the smaller network there, straight from shrink")
def check_same_outputs(answer: nn.Module, masked: nn.Module, example_input: Tensor) -> str:
    """The outputs of a masked network, from fewer parameters."""
    small = as_model(answer, "a network")
    share = count(small.parameters()) / count(masked.parameters())
    if not any(name.endswith("_mask") for name, _ in masked.named_buffers()):
        raise Wrong("the network to compare with has no masks: prune_channels(masked, ...) comes before shrink(masked)")
    if share == 1:
        raise Wrong("no parameter fewer: prune_channels only masks, shrink cuts and returns the smaller network")
    difference = largest_difference(small, masked, example_input)
    if difference > TOLERANCE:
        raise Wrong(
            f"the outputs differ by {difference:.1g} of the largest: compare before you recalibrate or train, "
            "and with the network from which this one was cut"
        )
    return f"equal outputs (the largest difference is {difference:.0e}) with {share:.0%} of the parameters"


@torch.no_grad()
def largest_difference(first: nn.Module, second: nn.Module, example_input: Tensor) -> float:
    """Of all outputs for the same eight random inputs, as a share of the largest output."""
    inputs = example_batch(second, example_input, 8)
    with eval_mode(first), eval_mode(second):
        pairs = zip(tree_leaves(first(inputs)), tree_leaves(second(inputs)), strict=True)
        return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


@self_check("put the smaller network there")
def check_macs(answer: nn.Module, dense: nn.Module, target: float, example_input: Tensor) -> str:
    """The share `target` of the dense network's MACs, within two points."""
    small = as_model(answer, "a network")
    share = count_macs(small, example_input) / count_macs(dense, example_input)
    if abs(share - target) <= 0.02:
        return f"{share:.1%} of the MACs are left, within two points of {target:.0%}"
    if share == 1:
        raise Wrong("all MACs are left: masks save none; shrink cuts the masked channels out")
    advice = "too many are left: raise the amounts" if share > target else "too few are left: lower the amounts"
    raise Wrong(f"{share:.1%} of the MACs: {advice}, or let widths_for_macs search for them")


@self_check("put the repaired network there")
def check_accuracy(answer: nn.Module, reference: nn.Module, split: Split, tolerance: float) -> str:
    """An accuracy that is at most `tolerance` (a share in 0..1) below the reference network's."""
    network = as_model(answer, "a network")
    wanted, reached = evaluate(reference, split).accuracy, evaluate(network, split).accuracy
    told = f"{reached:.1%} instead of {wanted:.1%}"
    if wanted - reached <= tolerance:
        return f"{told}: within {100 * tolerance:g} points"
    lost = f"{told}: {points(wanted - reached)} lost, {100 * tolerance:g} allowed"
    if same_parameters(network, reference):
        raise Wrong(f"{lost}; all parameters are those of the reference, so look at what is no parameter: the buffers")
    raise Wrong(f"{lost}; recalibrate before you judge, then fine-tune")


def same_parameters(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=False)
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in pairs)

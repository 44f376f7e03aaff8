"""The self-checks of lesson 07."""

import copy
from collections.abc import Mapping

from torch import nn

from helpers import count_macs, prune_channels, shrink

from .answers import Wrong, count, number, self_check


@self_check("put the number of parameters there")
def check_parameters_lost(answer: int, model: nn.Module) -> str:
    """How many parameters the network loses with 8 of `conv1`'s filters."""
    lost = number(answer)
    pruned = copy.deepcopy(model)
    prune_channels(pruned, {"conv1": 8})
    right = count(model.parameters()) - count(shrink(pruned).parameters())
    filters, norms = 8 * model.conv1.weight[0].numel(), 2 * 8
    kernels = 8 * model.stage1.conv.weight[:, 0].numel()
    if lost == right:
        return f"{filters} in the filters, {norms} in their BatchNorm and {kernels:,} in the next layer's kernels"
    if lost == filters:
        raise Wrong(f"{filters} is the filters alone: which layers come after them?")
    if lost == filters + norms:
        raise Wrong("the next layer reads the 8 channels, through one kernel each in every filter")
    if lost == filters + kernels:
        raise Wrong("BatchNorm has a weight and a bias for each channel")
    if lost == right + norms:
        raise Wrong("BatchNorm's running mean and variance are buffers: they are measured, not learned")
    raise Wrong(f"the network loses another number of parameters than {lost:,}: count filters, BatchNorm and the next layer")


@self_check("put a dictionary of amounts there, {group: share of its channels, …}")
def check_half_the_macs(answer: Mapping, model: nn.Module) -> str:
    """Amounts for `prune_channels` that leave half of the MACs (49 to 51 %) and all channels of `conv1`."""
    if not isinstance(answer, Mapping):
        raise Wrong(f"a dictionary is wanted, this is {type(answer).__name__}")
    pruned = copy.deepcopy(model)
    prune_channels(pruned, dict(answer))
    small = shrink(pruned)
    share = count_macs(small) / count_macs(model)
    if small.conv1.out_channels < model.conv1.out_channels:
        raise Wrong(f"conv1 keeps {small.conv1.out_channels} of its {model.conv1.out_channels} channels: leave it out")
    if abs(share - 0.5) <= 0.01:
        amounts = ", ".join(f"{amount:.0%}" for amount in sorted(set(answer.values())))
        return f"{share:.1%} of the MACs are left, with {amounts} fewer channels"
    if share < 0.35:
        raise Wrong(
            f"{share:.1%} of the MACs are left: most layers lose filters and input channels, so half of both is a quarter"
        )
    raise Wrong(f"{share:.1%} of the MACs are left, {'too many' if share > 0.5 else 'too few'}")

"""The self-checks of notebook 05."""

import copy
from collections.abc import Mapping

from torch import nn

from helpers import count_macs, evaluate, prune_channels, residual_blocks, shrink
from helpers.data import Split

from .answers import Wrong, as_model, count, self_check


@self_check("put the smaller network there")
def check_without_blocks(answer: nn.Module, model: nn.Module, sample: Split) -> str:
    """The network without both residual blocks of its last stage."""
    network = as_model(answer, "a network")
    left, all_blocks = residual_blocks(network), residual_blocks(model)
    if left == all_blocks:
        raise Wrong("all blocks are there: drop_blocks leaves its argument as it is and returns a smaller copy")
    still, lost = ([name for name in all_blocks if (name in left) == there] for there in (True, False))
    if any(name.startswith("stage3") for name in still):
        raise Wrong(f"it still has {', '.join(name for name in still if name.startswith('stage3'))}")
    if others := [name for name in lost if not name.startswith("stage3")]:
        raise Wrong(f"{', '.join(others)} went too: only the blocks of stage3 are asked for")
    parameters = 1 - count(network.parameters()) / count(model.parameters())
    macs = 1 - count_macs(network) / count_macs(model)
    accuracies = f"{evaluate(model, sample).accuracy:.1%} -> {evaluate(network, sample).accuracy:.1%}"
    return f"that saves {parameters:.0%} of the parameters and {macs:.0%} of the MACs, {accuracies} without fine-tuning"


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
        return f"{share:.1%} of the MACs are left, with {', '.join(f'{amount:.0%}' for amount in sorted(set(answer.values())))} fewer channels"
    if share < 0.35:
        raise Wrong(f"{share:.1%} of the MACs are left: most layers lose outputs and inputs, so half of both is a quarter")
    raise Wrong(f"{share:.1%} of the MACs are left, {'too many' if share > 0.5 else 'too few'}")

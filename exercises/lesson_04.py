"""The self-checks of lesson 04."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch.nn.utils import prune

from helpers import SimpleNet, make_permanent, sparsity
from helpers.data import Dataset

from .answers import Wrong, as_model, self_check

REPORTS = {  # the trouble, and a hint for who took another one
    "A": (6, "0.8 of the weights are left after one round: how many after five?"),
    "B": (8, "was anything done between pruning and measuring?"),
    "C": (9, "what does BatchNorm make of a channel of zeros?"),
    "D": (7, "what does the optimizer see of a mask?"),
    "E": (12, "what happens once for each new mask, and not for each batch?"),
}


@self_check("put five numbers there")
def check_troubles(answer: Mapping[str, int]) -> str:
    """The number of the trouble behind each of five reports."""
    if not isinstance(answer, Mapping) or set(answer) != set(REPORTS):
        raise Wrong(f"a dictionary with the keys {', '.join(REPORTS)} is wanted")
    if all(number is None for number in answer.values()):
        raise Wrong("nothing there yet: put the numbers of the troubles where it says None")
    right = [report for report, (number, _) in REPORTS.items() if answer[report] == number]
    for report, (_, hint) in REPORTS.items():
        if report not in right:
            raise Wrong(f"{len(right)} of {len(REPORTS)} are right. {report} is not {answer[report]}: {hint}")
    return "all five: counts that compound, old statistics, a constant, weight decay behind the mask, a second compilation"


@self_check("put your function there")
def check_two_rounds(answer: Callable, data: Dataset) -> str:
    """A function that prunes to 50 % in two rounds, fine-tunes after each, and returns a network without masks."""
    torch.manual_seed(0)
    dense = SimpleNet()
    before = copy.deepcopy(dense.state_dict())
    network = as_model(answer(dense, replace(data, train=data.train.subset(500))), "the pruned network")
    if network is dense or not all(torch.equal(before[key], value) for key, value in dense.state_dict().items()):
        raise Wrong("the network that you were given has changed: work on a copy")
    share = sparsity(network).fraction
    if share < 0.3:
        raise Wrong(f"{share:.0%} zeros at the end: fine-tuning filled the others, since their masks were removed before it")
    if abs(share - 0.4375) < 0.002:
        raise Wrong("43.8% zeros: the second 25 % are of the 75 % that the first round left")
    if abs(share - 0.5) > 0.002:
        raise Wrong(f"{share:.1%} zeros, and 50 % are wanted")
    if prune.is_pruned(network):
        raise Wrong(
            "50 % zeros, but the masks are still there: the file is twice as large, and it does not load into a plain network"
        )
    untrained = make_permanent(prune.l1_unstructured(copy.deepcopy(dense).layer4, "weight", amount=0.5))
    if torch.equal(network.layer4.weight, untrained.weight):
        raise Wrong("50 % zeros, but the weights that are left were not fine-tuned")
    return "50 % zeros, no masks, fine-tuned: its state_dict loads into a plain network"

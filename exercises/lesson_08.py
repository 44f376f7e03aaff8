"""The self-checks of lesson 08."""

from torch import nn

from helpers import count_macs, evaluate, residual_blocks
from helpers.data import Split

from .answers import Wrong, as_model, count, self_check

FLAWS = "AB"
MISSED = {"A": "which learning rate do new weights need?", "B": "how many steps has each network had in all?"}
NO_FLAW = {
    "C": "C is no flaw: in fine-tuning BatchNorm measures its statistics anyway",
    "D": "D is no flaw: both networks that are compared have the same MACs",
}


@self_check("put the smaller network there")
def check_without_blocks(answer: nn.Module, model: nn.Module, sample: Split) -> str:
    """The network without both residual blocks of its last stage."""
    network = as_model(answer, "a network")
    left, all_blocks = residual_blocks(network), residual_blocks(model)
    if left == all_blocks:
        raise Wrong("all blocks are there: drop_blocks leaves its argument as it is and returns a smaller copy")
    if still := [name for name in left if name.startswith("stage3")]:
        raise Wrong(f"it still has {', '.join(still)}")
    if others := [name for name in all_blocks if name not in left and not name.startswith("stage3")]:
        raise Wrong(f"it also lacks {', '.join(others)}: only the blocks of stage3 are asked for")
    parameters = 1 - count(network.parameters()) / count(model.parameters())
    macs = 1 - count_macs(network) / count_macs(model)
    accuracies = f"{evaluate(model, sample).accuracy:.1%} -> {evaluate(network, sample).accuracy:.1%}"
    return f"that saves {parameters:.0%} of the parameters and {macs:.0%} of the MACs, {accuracies} without fine-tuning"


@self_check('put the letters of the flaws there, such as "AD"')
def check_flaws(answer: str) -> str:
    """Which of four statements about a comparison of kept and new weights name a flaw."""
    letters = set(str(answer).upper()) - set(" ,")
    if not letters <= set("ABCD"):
        raise Wrong(f"letters from A to D are wanted, this is {answer!r}")
    for letter in sorted(letters):
        if letter in NO_FLAW:
            raise Wrong(NO_FLAW[letter])
    for letter in FLAWS:
        if letter not in letters:
            raise Wrong(f"there is another flaw: {MISSED[letter]}")
    return "each arm needs its own best rate, and the steps of the dense training count as well"

"""The self-checks of lesson 09."""

from collections.abc import Sequence

from .answers import Wrong, number, self_check


@self_check("put a list of (step, sparsity) pairs there")
def check_schedule(answer: Sequence) -> str:
    """For 100 steps and a target of 80 %: half of the target before the first step, the rest at half of the steps."""
    if not isinstance(answer, Sequence) or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in answer):
        raise Wrong("a list of pairs is wanted, such as [(0, 0.1), (10, 0.2)]")
    if len(answer) != 2:
        raise Wrong(f"two prunings are wanted, these are {len(answer)}")
    (first, low), (second, high) = answer
    if (low, high) == (0.4, 0.4):
        raise Wrong("the second sparsity is what is reached then, not the portion that is added")
    if (low, high) == (0.4, 0.667):
        raise Wrong("sparsities count all weights, not what remains")
    if (low, high) != (0.4, 0.8):
        raise Wrong(f"it goes to {low:.0%} and then to {high:.0%}; half of the target is 40 %, the target 80 %")
    if not (isinstance(first, int) and isinstance(second, int)):
        raise Wrong(f"steps are counted: {first!r} and {second!r} should be whole numbers (100 // 2, not 100 / 2)")
    if (first, second) != (0, 50):
        raise Wrong(
            f"it prunes before steps {first} and {second}; the first step is number 0, half of 100 steps are over before step 50"
        )
    return "prune_iteratively takes this list as it is"


@self_check("put the amount there, a share in 0..1")
def check_round_amount(answer: float) -> str:
    """The amount of each of eight rounds of `l1_unstructured` that together prune 90 %."""
    amount = number(answer)
    if not 0 < amount < 1:
        raise Wrong(f"{amount} is no share between 0 and 1")
    reached = 1 - (1 - amount) ** 8
    if abs(reached - 0.9) < 0.002:
        return f"eight times {amount:.1%} of what remains is {reached:.1%}"
    if abs(amount - 0.1125) < 0.002:
        raise Wrong(f"eight rounds of it reach {reached:.1%}: an eighth of 90 % would do if amounts counted all weights")
    raise Wrong(f"eight rounds of it reach {reached:.1%}, not 90 %")


@self_check("put a number of epochs there")
def check_equal_epochs(answer: float) -> str:
    """The epochs of instant pruning beside five rounds with ten epochs each."""
    epochs = number(answer)
    if epochs == 50:
        return "five rounds of ten epochs; part of the two points may be the training, not the schedule"
    if epochs == 10:
        raise Wrong("that is what the report did: its gradual arm trained five times as long")
    if epochs in (40, 60):
        raise Wrong("ten epochs follow each of the five prunings, the last one too")
    raise Wrong("count the epochs of the gradual arm from its first pruning to its end")

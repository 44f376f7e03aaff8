"""The self-checks of lesson 05."""

import copy

import torch
from torch import Tensor, nn

from helpers import (
    Criterion,
    Dataset,
    MagnitudePruning,
    evaluate,
    prunable_layers,
    prune_globally,
    prune_layers,
    recalibrate,
    sparsity,
)

from .answers import Wrong, self_check

RESCALED = {  # what happens to a layer's scores where its weights are ten times as large and BatchNorm divides by ten
    "magnitude": "|w| is ten times as large, so the layer's weights move up in the global ranking",
    "gradient": "the same step of w now changes the outputs by a tenth, so ∂L/∂w is a tenth and the layer's weights move down",
    "wanda": "the layer's inputs are the same and |w| is ten times as large, so their product is as well",
    "taylor": "w is ten times as large and ∂L/∂w a tenth: look at their product",
    "random": "random choice does not look at the weights",
}


@self_check("put the set of criteria there")
def check_rescaled(answer) -> str:
    """The criteria whose global ranking stays the same where a layer's weights are multiplied by ten."""
    if isinstance(answer, str) or not all(isinstance(name, str) for name in answer):
        raise Wrong('a set of names is wanted, as {"magnitude", "gradient"}')
    named = {name.lower() for name in answer}
    for name, reason in RESCALED.items():
        if name not in named and name in ("taylor", "random"):
            raise Wrong(f"one is missing: {reason}")
        if name in named and name not in ("taylor", "random"):
            raise Wrong(f"not {name}: {reason}")
    if named - set(RESCALED):
        raise Wrong(f"{sorted(named - set(RESCALED))[0]!r} is none of {', '.join(RESCALED)}")
    return "Taylor scores multiply two effects that cancel, and random choice sees neither. The other three take the scale for importance"


@self_check("put your class there")
def check_relative(answer: type[Criterion], model: nn.Module, data: Dataset) -> str:
    """A criterion that measures |w| in units of its layer's mean |w|."""
    if not (isinstance(answer, type) and issubclass(answer, Criterion)):
        raise Wrong("a subclass of Criterion is wanted (the class, not an object of it)")
    weight = torch.tensor([[0.5, -2.0, 1.0], [-0.1, 0.3, 0.9]])  # the mean is 0.1, that of |w| 0.8
    importance = answer(amount=0.5).importance(weight.clone())
    if not isinstance(importance, Tensor) or importance.shape != weight.shape:
        raise Wrong("importance must return one number for each weight, in the weight's shape")
    ratio = importance / weight.abs()
    if torch.allclose(ratio, torch.ones(())):
        raise Wrong("it still is |w| itself: divide by the layer's mean |w|")
    if not torch.allclose(ratio, ratio[0, 0].expand_as(ratio)):
        signed = (importance < 0).any()
        raise Wrong("large negative weights come first: take |w|" if signed else "divide |w| by one number for the whole layer")
    for name, unit, why in (
        ("the mean of w", weight.mean(), "positive and negative weights cancel in it, and nearly nothing is left"),
        ("the sum of |w|", weight.abs().sum(), "it grows with the layer's size, so large layers would be emptied"),
        ("the largest |w|", weight.abs().max(), "a single weight would decide about its layer"),
        ("the L2 norm", weight.norm(), "it grows with the layer's size, so large layers would be emptied"),
    ):
        if torch.allclose(ratio.abs(), (1 / unit).abs()):
            raise Wrong(f"you divided by {name}: {why}")
    if not torch.allclose(ratio, 1 / weight.abs().mean()):
        raise Wrong("the number that you divide by is not the layer's mean |w|")
    relative, plain, by_layer = (copy.deepcopy(model) for _ in range(3))
    prune_globally(relative, [answer(amount=0.8)])
    prune_globally(plain, [MagnitudePruning(0.8)])
    prune_layers({layer: [MagnitudePruning(0.8)] for layer in prunable_layers(by_layer).values()})
    accuracies = []
    for name, network in {"yours": relative, "global |w|": plain, "layer by layer": by_layer}.items():
        recalibrate(network, data, batches=2)
        accuracies.append(f"{name} {evaluate(network, data.val.subset(1000)).accuracy:.1%}")
    shares = [share for *_, share in sparsity(relative).rows()][:-1]
    return f"at 80 % your layers lose between {min(shares):.0%} and {max(shares):.0%}; recalibrated: {', '.join(accuracies)}"

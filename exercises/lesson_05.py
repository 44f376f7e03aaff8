"""The self-checks of notebook 04."""

import copy

import torch
from torch import Tensor, nn

from helpers import Criterion, MagnitudePruning, evaluate, prunable_layers, prune_globally, prune_layers, sparsity
from helpers.data import Split

from .answers import Wrong, as_model, count, points, self_check


@self_check("put your pruned copy of the network there")
def check_biases(answer: nn.Module, model: nn.Module, sample: Split) -> str:
    """Half of all biases, of `fc` and of every BatchNorm layer, pruned by one ranking."""
    network = as_model(answer, "a network")
    wanted = [name for name, module in model.named_modules() if getattr(module, "bias", None) is not None]
    masks = {name: dict(network.get_submodule(name).named_buffers()).get("bias_mask") for name in wanted}
    if any(name.endswith("weight_mask") for name, _ in network.named_buffers()):
        raise Wrong('weights are masked: hand prune_globally the pairs (module, "bias") as parameters=[…]')
    missing = [name for name, mask in masks.items() if mask is None]
    if missing:
        raise Wrong(f"{len(missing)} of {len(wanted)} biases have no mask, among them that of {missing[0]}")
    gone = {name: int((mask == 0).sum()) for name, mask in masks.items()}
    share = sum(gone.values()) / count(masks.values())
    if abs(share - 0.5) > 0.01:
        raise Wrong(f"{share:.1%} of the biases are masked, not 50 %")
    if all(abs(gone[name] - masks[name].numel() / 2) <= 0.5 for name in wanted):
        raise Wrong("each layer lost just half of its own: that is pruning layer by layer, one ranking is wanted")
    dense, pruned = evaluate(model, sample).accuracy, evaluate(network, sample).accuracy
    emptied = sum(gone[name] == masks[name].numel() for name in wanted)
    return (
        f"{sum(gone.values()):,} biases fewer cost {points(dense - pruned)} ({dense:.1%} -> {pruned:.1%}); "
        f"{emptied} of {len(wanted)} layers have none left"
    )


@self_check("put your class there")
def check_relative(answer: type[Criterion], model: nn.Module, sample: Split) -> str:
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
        raise Wrong(
            "large negative weights come first: take |w|" if signed else "|w| divided by one number of the layer is wanted"
        )
    if not torch.allclose(answer(amount=0.5).importance(20 * weight), importance):
        raise Wrong("with all weights 20 times as large it says something else: divide by something that grows along")
    for name, unit, why in (
        ("the mean of w", weight.mean(), "positive and negative weights cancel in it, and nearly nothing is left"),
        ("the sum of |w|", weight.abs().sum(), "it grows with the layer's size, so large layers would be emptied"),
        ("the largest |w|", weight.abs().max(), "one single weight would decide about its layer"),
        ("the L2 norm", weight.norm(), "it grows with the layer's size, so large layers would be emptied"),
    ):
        if torch.allclose(ratio.abs(), (1 / unit).abs()):
            raise Wrong(f"you divided by {name}: {why}")
    if not torch.allclose(ratio, 1 / weight.abs().mean()):
        raise Wrong("it is free of scale, but the unit is not the layer's mean |w|")
    accuracies = {}
    by_layer, relative, plain = (copy.deepcopy(model) for _ in range(3))
    prune_layers({layer: [MagnitudePruning(0.7)] for layer in prunable_layers(by_layer).values()})
    prune_globally(relative, [answer(amount=0.7)])
    prune_globally(plain, [MagnitudePruning(0.7)])
    for name, network in (("yours", relative), ("each layer alone", by_layer), ("one ranking of |w|", plain)):
        accuracies[name] = f"{name} {evaluate(network, sample).accuracy:.1%}"
    shares = [share for *_, share in sparsity(relative).rows()][:-1]
    return f"at 70 % your layers lose between {min(shares):.0%} and {max(shares):.0%}; accuracy: {', '.join(accuracies.values())}"

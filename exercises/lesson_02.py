"""The self-checks of notebook 02."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from helpers import evaluate, prunable_layers
from helpers.data import Split

from .answers import Wrong, points, self_check


@self_check("put the numbers of the filters where it says None, as a list")
def check_unread(answer: Sequence[int], model: nn.Module) -> str:
    """Filters of `conv1` that nobody reads once 30 % of the input channels of `stage1.conv` are pruned by L2 norm."""
    if isinstance(answer, Tensor):
        answer = answer.flatten().tolist()
    if not isinstance(answer, Sequence | set) or isinstance(answer, str):
        raise Wrong(f"a list of filter numbers is wanted, this is {type(answer).__name__}")
    answer, filters = set(answer), set(range(model.conv1.out_channels))

    def weakest(weight, dim, n, count):
        norms = weight.detach().abs().pow(n).transpose(0, dim).flatten(1).sum(1)
        return set(norms.topk(count, largest=False).indices.tolist())

    reader = model.stage1.conv.weight
    count = round(0.3 * reader.shape[1])
    if answer - filters and answer <= weakest(reader, 0, 2, round(0.3 * reader.shape[0])):
        raise Wrong("these are filters of stage1.conv itself (dim=0): its input channels are dim=1")
    if not answer <= filters:
        raise Wrong(f"conv1 has the filters 0 to {max(filters)}: {sorted(answer - filters)} is not among them")
    right = weakest(reader, 1, 2, count)
    if answer == right:
        return f"{len(right)} of {len(filters)} filters of conv1 compute what nobody reads: {sorted(right)}"
    if answer == filters - right:
        raise Wrong("these are the filters that are still read: you want the others")
    if answer == weakest(model.conv1.weight, 0, 2, count):
        raise Wrong("these are conv1's own weakest filters: the question is whom stage1.conv no longer reads")
    if answer == weakest(reader, 1, 1, count):
        raise Wrong("you ranked by the L1 norm: n=2 is wanted")
    if len(answer) != count:
        raise Wrong(f"{len(answer)} filters; 30 % of {reader.shape[1]} input channels is {count}, as torch rounds")
    raise Wrong(f"{len(answer & right)} of {count} are right: look for columns [:, k] of stage1.conv's mask that are all zero")


@self_check("put your class there")
def check_largest(answer: type[prune.BasePruningMethod], model: nn.Module, sample: Split) -> str:
    """A pruning method that removes the largest absolute weights."""
    if not (isinstance(answer, type) and issubclass(answer, prune.BasePruningMethod)):
        raise Wrong("a subclass of prune.BasePruningMethod is wanted (the class, not an object of it)")
    layer = nn.Linear(5, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, -3.0, 2.0, -0.2, 0.3], [0.4, 1.0, -0.5, 0.6, -0.7]]))
    values = layer.weight.detach().clone()
    answer.apply(layer, "weight", 0.2)
    gone = set(values[layer.weight_mask == 0].tolist())
    if not gone:
        raise Wrong("nothing is pruned yet: compute_mask returns the mask that it was given")
    if not set(layer.weight_mask.unique().tolist()) <= {0.0, 1.0}:
        raise Wrong("a mask holds zeros and ones only")
    if gone == set(values.flatten().tolist()) - {-3.0, 2.0}:
        raise Wrong("the mask is upside down: 1 keeps a weight, 0 removes it")
    if len(gone) != 2:
        raise Wrong(f"20 % of 10 weights are 2, but {len(gone)} are gone")
    if gone == set(values[0, [0, 3]].tolist()):
        raise Wrong("it removes the smallest weights, as l1_unstructured does: take the other end")
    if -3.0 not in gone:
        raise Wrong("-3 is a large weight too, and it is still there: rank absolute values")
    if gone != {-3.0, 2.0}:
        raise Wrong(f"-3 and 2 are the two largest of {values.flatten().tolist()}; yours removed {sorted(gone)}")

    def after(method):
        network = copy.deepcopy(model)
        for module in prunable_layers(network).values():
            method.apply(module, "weight", 0.01)
        return evaluate(network, sample).accuracy

    dense, smallest = evaluate(model, sample).accuracy, after(prune.L1Unstructured)
    return (
        f"1 % of each layer's weights: the smallest cost {points(dense - smallest)}, the largest {points(dense - after(answer))}"
    )

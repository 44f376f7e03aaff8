"""Which weights a network has lost: layers, masks and reports. Introduced in lesson 02."""

import copy

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from .devices import up_to_date

FORMATS = {"zeros": "{:,}".format, "weights": "{:,}".format, "sparsity": "{:.2%}".format}


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Name and module of every Conv2d and Linear, in the model's order. BatchNorm and biases are not among them."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


class SparsityReport:
    """Zeros and sizes by layer, {name: (zeros, size)}; `fraction` is the share of zeros in 0..1. Shows its `table`."""

    def __init__(self, layers: dict[str, tuple[int, int]]):
        self.layers = layers
        self.table = pd.DataFrame.from_dict(layers, orient="index", columns=["zeros", "weights"])
        self.table.loc["all layers"] = self.table.sum()
        self.table["sparsity"] = self.table.zeros / self.table.weights.clip(lower=1)
        _, self.zeros, self.size, self.fraction = self.rows()[-1]

    def rows(self) -> list[tuple[str, int, int, float]]:
        """(layer, zeros, size, fraction) for each layer, and last for all of them."""
        return list(self.table.itertuples(name=None))

    def _repr_html_(self) -> str:
        return self.table.to_html(border=0, formatters=FORMATS)

    def __repr__(self) -> str:
        return self.table.to_string(formatters=FORMATS)


def sparsity(model: nn.Module) -> SparsityReport:
    """Zeros among the weights of all Conv2d and Linear layers, masked or permanent.

    Example:
        >>> sparsity(prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=3)).zeros
        3
    """
    weights = {name: layer.weight for name, layer in prunable_layers(up_to_date(model)).items()}
    return SparsityReport({name: (int((weight == 0).sum()), weight.numel()) for name, weight in weights.items()})


def make_permanent(model: nn.Module) -> nn.Module:
    """Remove all masks, in place: masked weights become plain zeros, which further training can change again.

    Example:
        >>> layer = make_permanent(prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=3))
        >>> prune.is_pruned(layer), sparsity(layer).zeros
        (False, 3)
    """
    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):  # this is where torch.nn.utils.prune keeps its methods
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
    return model


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy without masks, in which masked weights are plain zeros."""
    return make_permanent(copy.deepcopy(up_to_date(model)))


def mask_of(layer: nn.Module) -> Tensor:
    """A copy of the mask of a layer's weights; ones where nothing is pruned, even if a weight is zero."""
    return layer.weight_mask.clone() if hasattr(layer, "weight_mask") else torch.ones_like(layer.weight)

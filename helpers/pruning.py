"""Masks: which weights can be pruned, how many are zero, and the two unstructured methods of the sparsity curve.

Introduced in notebook 02.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import prune


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Name and module of every Conv2d and Linear, in the model's order. BatchNorm and biases are not among them.

    Example:
        >>> list(prunable_layers(nn.Sequential(nn.Linear(4, 2), nn.ReLU())))
        ['0']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def _current_weight(module: nn.Module) -> Tensor:
    """The weight as a forward pass would use it: `module.weight` is stale between a load or a step and the next forward."""
    if hasattr(module, "weight_orig"):
        return module.weight_orig.detach() * module.weight_mask
    return module.weight.detach()


@dataclass(frozen=True)
class SparsityReport:
    """Zeros and sizes per layer; `fraction` is the share of zeros over all layers, in 0..1. Shows as a table."""

    layers: dict[str, tuple[int, int]]

    @property
    def zeros(self) -> int:
        return sum(zeros for zeros, _ in self.layers.values())

    @property
    def size(self) -> int:
        return sum(size for _, size in self.layers.values())

    @property
    def fraction(self) -> float:
        return self.zeros / self.size if self.size else 0.0

    def rows(self) -> list[tuple[str, int, int, float]]:
        """(layer, zeros, size, fraction) for each layer, and last for all of them."""
        layers = [(name, zeros, size, zeros / size) for name, (zeros, size) in self.layers.items()]
        return [*layers, ("all layers", self.zeros, self.size, self.fraction)]

    def __repr__(self) -> str:
        width = max(len(name) for name, *_ in self.rows())
        lines = [f"{name:<{width}} {zeros:>11,} {size:>11,} {share:>9.2%}" for name, zeros, size, share in self.rows()]
        return "\n".join([f"{'layer':<{width}} {'zeros':>11} {'weights':>11} {'sparsity':>9}", *lines])


def sparsity(model: nn.Module) -> SparsityReport:
    """Zeros among the weights of all Conv2d and Linear layers, masked or permanent.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> sparsity(prune.l1_unstructured(layer, "weight", amount=3)).zeros
        3
    """
    weights = {name: _current_weight(module) for name, module in prunable_layers(model).items()}
    return SparsityReport({name: (int((weight == 0).sum()), weight.numel()) for name, weight in weights.items()})


UNSTRUCTURED = {"magnitude": prune.L1Unstructured, "random": prune.RandomUnstructured}


def prune_global(model: nn.Module, method: str, amount: float, seed: int = 0) -> None:
    """Mask the share `amount` of all weights of Conv2d and Linear layers, ranked together; in place.

    Args:
        method: "magnitude" (smallest |w| first) or "random".
        seed: of the random method.

    Raises:
        ValueError: for an unknown method or an amount outside [0, 1]; nothing is changed.
    """
    if method not in UNSTRUCTURED:
        raise ValueError(f"method={method!r}: must be one of {', '.join(UNSTRUCTURED)}")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount <= 1:
        raise ValueError(f"amount={amount!r}: must be a fraction in [0, 1]")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [(module, "weight") for module in prunable_layers(model).values()]
        prune.global_unstructured(layers, pruning_method=UNSTRUCTURED[method], amount=float(amount))

"""Masks: which weights can be pruned, how many are zero, and how masks become permanent.

Introduced in notebooks 02 and 03.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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

    def _repr_html_(self) -> str:
        head = "<tr><th>layer</th><th>zeros</th><th>weights</th><th>sparsity</th></tr>"
        body = "".join(f"<tr><td>{n}</td><td>{z:,}</td><td>{w:,}</td><td>{s:.2%}</td></tr>" for n, z, w, s in self.rows())
        return f"<table>{head}{body}</table>"

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


def make_permanent(model: nn.Module) -> nn.Module:
    """Remove all masks from a model's parameters, in place: masked weights become plain zeros; returns the model.

    Training afterwards brings the zeros back to life, since nothing holds them any more.

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


def prune_global(model: nn.Module, method: str, amount: float, seed: int = 0) -> None:
    """Mask the share `amount` of all weights of Conv2d and Linear layers, ranked together; in place.

    Args:
        method: "magnitude" (smallest |w| first) or "random". seed: of the random method.

    Raises:
        ValueError: for an unknown method or an amount outside [0, 1]; nothing is changed.
    """
    _check_choice(method, GLOBAL, amount)
    with _seeded(seed):
        layers = [(module, "weight") for module in prunable_layers(model).values()]
        prune.global_unstructured(layers, pruning_method=GLOBAL[method], amount=float(amount))


def prune_network(model: nn.Module, method: str, amount: float, seed: int = 0) -> None:
    """Prune a whole network by the share `amount`, in place: "magnitude" and "random" globally, a method of `BUILTIN` in each layer.

    Slices spare what would change the task: dim 0 the last layer (its rows are the classes), dim 1 the first (its
    input channels are the colours).

    Raises:
        ValueError: for an unknown method or an amount outside [0, 1]; nothing is changed.
    """
    _check_choice(method, GLOBAL | BUILTIN, amount)
    if method in GLOBAL or method == "global_unstructured":
        prune_global(model, method if method in GLOBAL else "magnitude", amount, seed)
        return
    layers = list(prunable_layers(model).values())
    with _seeded(seed):
        for module in layers[:-1] if method.endswith("dim0") else layers[1:] if method.endswith("dim1") else layers:
            BUILTIN[method](module, float(amount))


GLOBAL = {"magnitude": prune.L1Unstructured, "random": prune.RandomUnstructured}
BUILTIN = {  # one function of torch.nn.utils.prune each: (module, amount) -> None
    "global_unstructured": None,
    "l1_unstructured": lambda module, amount: prune.l1_unstructured(module, "weight", amount),
    "random_unstructured": lambda module, amount: prune.random_unstructured(module, "weight", amount),
    "ln_structured_n1_dim0": lambda module, amount: prune.ln_structured(module, "weight", amount, n=1, dim=0),
    "ln_structured_n2_dim0": lambda module, amount: prune.ln_structured(module, "weight", amount, n=2, dim=0),
    "ln_structured_n2_dim1": lambda module, amount: prune.ln_structured(module, "weight", amount, n=2, dim=1),
    "random_structured_dim0": lambda module, amount: prune.random_structured(module, "weight", amount, dim=0),
    "random_structured_dim1": lambda module, amount: prune.random_structured(module, "weight", amount, dim=1),
}


def _check_choice(method: str, methods: dict, amount: float) -> None:
    if method not in methods:
        raise ValueError(f"method={method!r}: must be one of {', '.join(methods)}")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount <= 1:
        raise ValueError(f"amount={amount!r}: must be a fraction in [0, 1]")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """PyTorch's random numbers from `seed` inside the block, as before after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield

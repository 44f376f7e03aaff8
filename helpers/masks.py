"""Which weights a network has lost: layers, masks and reports. Introduced in notebook 02."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from .devices import refresh_masked

Target = tuple[nn.Module, str]  # a module and the name of one of its parameters


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Name and module of every Conv2d and Linear, in the model's order. BatchNorm and biases are not among them.

    Example:
        >>> list(prunable_layers(nn.Sequential(nn.Linear(4, 2), nn.ReLU())))
        ['0']
    """
    _check_module(model)
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def _check_module(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={model!r}: must be a network (nn.Module)")


def masked_parameter(module: nn.Module, name: str = "weight") -> Tensor | None:
    """A parameter as a forward pass would use it, without a gradient; None where the module has none.

    (`module.weight` itself is stale between a load or a step and the next forward pass.)
    """
    parameter = parameter_of((module, name))
    return None if parameter is None else parameter.detach() * mask_of((module, name))


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
        layers = [(name, zeros, size, zeros / size if size else 0.0) for name, (zeros, size) in self.layers.items()]
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
    weights = {name: masked_parameter(module) for name, module in prunable_layers(model).items()}
    return SparsityReport({name: (int((weight == 0).sum()), weight.numel()) for name, weight in weights.items()})


def masks_of(model: nn.Module) -> dict[nn.Module, Tensor]:
    """The weight mask of every Conv2d and Linear (ones where nothing is pruned), by module.

    Unlike `sparsity`, which counts zeros, this does not take a weight that happens to be zero for a pruned one.

    Example:
        >>> layer = prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=3)
        >>> int(masks_of(layer)[layer].sum())
        5
    """
    return {module: mask_of((module, "weight")) for module in prunable_layers(model).values()}


def mask_overlap(a: nn.Module, b: nn.Module) -> tuple[float, float]:
    """Which share of the weights that either of two networks keeps both keep (the Jaccard index), and what chance gives.

    Chance: random masks that keep as many weights in each layer. Both are 1 where nothing is pruned.

    Raises:
        ValueError: for networks whose layers have different names or shapes.

    Example:
        >>> pair = [prune.random_unstructured(nn.Linear(100, 100), "weight", amount=0.5) for _ in range(2)]
        >>> [round(share, 1) for share in mask_overlap(*pair)]  # a third: 25 % in both, 75 % in one of them or both
        [0.3, 0.3]
    """
    ours, theirs = ({name: mask_of((layer, "weight")).bool() for name, layer in prunable_layers(m).items()} for m in (a, b))
    if {k: m.shape for k, m in ours.items()} != {k: m.shape for k, m in theirs.items()}:
        raise ValueError("b: must have layers of the same names and shapes as a")
    counts = [(int(m.sum()), int(theirs[k].sum()), m.numel(), int((m & theirs[k]).sum())) for k, m in ours.items()]
    parts = ((m + n, k, m * n / max(1, size)) for m, n, size, k in counts)
    kept, both, by_chance = (sum(values) for values in zip(*parts, strict=True))
    return both / max(1, kept - both), by_chance / max(1, kept - by_chance)


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


def up_to_date(model: nn.Module) -> nn.Module:
    """The model itself, its masked parameters up to date and free of gradients, so that it can be deep-copied."""
    _check_module(model)
    refresh_masked(model)
    return model


def refresh(target: Target) -> None:
    """Bring `module.weight` up to date, without a gradient."""
    module, name = target
    if hasattr(module, f"{name}_orig"):
        setattr(module, name, masked_parameter(module, name))


def parameter_of(target: Target) -> nn.Parameter:
    module, name = target
    return getattr(module, f"{name}_orig" if hasattr(module, f"{name}_orig") else name)


def mask_of(target: Target) -> Tensor:
    module, name = target
    mask = getattr(module, f"{name}_mask", None)
    return torch.ones_like(parameter_of(target)) if mask is None else mask.detach().clone()


def all_weights(model: nn.Module) -> list[Target]:
    return [(module, "weight") for module in prunable_layers(model).values()]


def check_finite(weights: Iterable[Tensor], name: str) -> None:
    """Refuse weights that cannot be ranked."""
    if bad := sum(int((~weight.isfinite()).sum()) for weight in weights):
        raise ValueError(f"model: {name} holds {bad} weights that are NaN or infinite; load a sound checkpoint")

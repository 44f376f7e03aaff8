"""Which weights to remove, by criteria that score them, and where: layer by layer or globally. Introduced in lesson 05."""

import copy
import math
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune

from .data import Dataset, Split, check
from .devices import autocast, to_float, up_to_date
from .masks import mask_of, prunable_layers

Data = Dataset | Split | None


class Criterion(prune.BasePruningMethod):
    """Prunes the weights of the lowest `importance`: the base of the criteria below, and of your own.

    Args:
        amount: fraction in [0, 1] or count, of the weights (or slices) that are not pruned yet: 0.5 twice makes 75 %.
        threshold: instead of an amount: prune all whose importance is below it.
        dim: None for single weights, 0 for whole filters, 1 for whole input channels. The importance of a slice is the mean
            over its weights (of magnitudes: the L1 norm freed of its size), so that slices compare across layers.

    Example:
        >>> class FarFromMean(Criterion):
        ...     def importance(self, weight):
        ...         return (weight - weight.mean()).abs()
    """

    PRUNING_TYPE = "unstructured"
    amount, threshold, dim = None, None, None
    saliency = None  # "gradient", "taylor" or "wanda": `importance` gets these scores (see saliency_scores) instead of weights
    stream = 0  # number of the layer in a plan, so that random draws of layers differ

    def __init__(self, amount: float | None = None, *, threshold: float | None = None, dim: int | None = None):
        check((amount is None) != (threshold is None), "amount, threshold", (amount, threshold), "one number and one None")
        in_range = amount is None or (0 <= amount <= 1 if isinstance(amount, float) else amount >= 0)
        check(in_range, "amount", amount, "a fraction in [0, 1] or a count")
        check(dim in (None, 0, 1), "dim", dim, "None (single weights), 0 (filters) or 1 (input channels)")
        self.amount, self.threshold, self.dim = amount, threshold, dim

    def importance(self, weight: Tensor) -> Tensor:
        """How much each weight matters, in the weight's shape, 0 or more: the lowest are pruned."""
        return weight.abs()

    def scores(self, values: Sequence[Tensor]) -> list[Tensor]:
        """One score for each weight, or slice along `dim`, of each tensor: [units], float32."""
        return [self._units(self.importance(value.detach().float().cpu())).mean(1) for value in values]

    def select(self, scores: Tensor) -> Tensor:
        """Which units to prune, of those that are left: bool [units]. Infinite scores are protected."""
        if self.threshold is not None:
            return scores < self.threshold
        count = round(self.amount * len(scores)) if isinstance(self.amount, float) else self.amount
        free = int((scores < math.inf).sum())
        check(count <= free, "amount", self.amount, f"at most the {free} of {len(scores)} that are left and not protected")
        return torch.zeros_like(scores, dtype=torch.bool).index_fill(0, scores.topk(count, largest=False).indices, True)

    def masks(self, values: Sequence[Tensor], masks: Sequence[Tensor], min_kept: float = 0) -> list[Tensor]:
        """New masks of tensors that are ranked together. Pruned units stay pruned; of each tensor, `min_kept` is protected."""
        left = [self._units(mask.cpu()).any(1) for mask in masks]
        scores = [score[units] for score, units in zip(self.scores(values), left, strict=True)]
        for score, units in zip(scores, left, strict=True):
            check(not score.isnan().any(), "importance", f"NaN ({type(self).__name__})", "numbers; load a sound network")
            score[score.topk(min(len(score), math.ceil(min_kept * len(units)))).indices] = math.inf
        kept = torch.cat(left)
        kept[kept.clone()] = ~self.select(torch.cat(scores))
        new = []
        for mask, units in zip(masks, kept.split([len(units) for units in left]), strict=True):
            shape = mask.shape if self.dim is None else [-1 if d == self.dim else 1 for d in range(mask.ndim)]
            new.append(mask * units.to(mask).view(shape))
        return new

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return self.masks([t], [default_mask])[0]

    def _units(self, tensor: Tensor) -> Tensor:  # [units, weights in each]: single weights, or slices along dim
        return tensor.flatten()[:, None] if self.dim is None else tensor.transpose(0, self.dim).flatten(1)


class MagnitudePruning(Criterion):
    """Prunes the smallest |w|, or all below a threshold (Han et al. 2015, arXiv:1506.02626)."""


class PercentilePruning(Criterion):
    """Prunes both tails: keeps what lies between the quantiles `low` and `high` of the weights that are left, both included."""

    def __init__(self, low: float, high: float):
        check(0 <= low < high <= 1, "low, high", (low, high), "quantiles with 0 <= low < high <= 1")
        self.low, self.high = low, high

    def importance(self, weight: Tensor) -> Tensor:
        return weight

    def select(self, scores: Tensor) -> Tensor:
        check(not scores.isinf().any(), "min_kept", "more than 0", "0 for PercentilePruning, which does not rank")
        low, high = np.quantile(scores.numpy(), (self.low, self.high))
        return (scores < low) | (scores > high)


class RandomPruning(Criterion):
    """Prunes at random: the control of every claim. The same seed draws the same mask."""

    def __init__(self, amount: float, seed: int = 0, *, dim: int | None = None):
        super().__init__(amount, dim=dim)
        self.seed = seed

    def scores(self, values: Sequence[Tensor]) -> list[Tensor]:
        generator = np.random.default_rng((self.seed, self.stream))  # torch's would repeat the draws of the initial weights
        return [torch.from_numpy(generator.random(len(self._units(value)), dtype=np.float32)) for value in values]


class GradientPruning(Criterion):
    """Prunes the smallest |∂L/∂w|, a mean over batches of training images."""

    saliency = "gradient"


class TaylorPruning(Criterion):
    """Prunes the smallest |w · ∂L/∂w|: the loss that w is worth, to first order (Molchanov et al. 2017, arXiv:1611.06440)."""

    saliency = "taylor"


class WandaPruning(Criterion):
    """Prunes the smallest |w| times the L2 norm of what w multiplies in training images (Sun et al. 2023, arXiv:2306.11695)."""

    saliency = "wanda"


def prune_layers(plan: dict[nn.Module, Sequence[Criterion]], *, model: nn.Module | None = None, data: Data = None) -> None:
    """Prune the weights of each layer by its own criteria, in place; the masks stay through training.

    Args:
        plan: criteria by layer, in order: each counts and ranks what the one before it left. If one is refused (an amount
            above what is left, NaN, missing data), a ValueError comes before anything of its step is changed.
        model, data: for criteria that need training data: the whole network, and a dataset or a split.

    Example:
        >>> prune_layers({model.conv1: [MagnitudePruning(threshold=0.1), RandomPruning(0.2)]})  # doctest: +SKIP
    """
    for step in zip_longest(*plan.values()):  # the first criterion of every layer, then the second, …
        _prune([([layer], method) for layer, method in zip(plan, step, strict=True)], model, data)


def prune_globally(model: nn.Module, methods: Sequence[Criterion], *, data: Data = None, min_kept: float = 0) -> None:
    """Prune a whole network by one ranking of all Conv2d and Linear weights, in place; otherwise as `prune_layers`.

    Whole filters (`dim=0`) of the last layer are the classes, input channels (`dim=1`) of the first the colors: they stay.
    `min_kept` is the fraction of each layer that is protected, its most important part, so that none is emptied (layer collapse).
    """
    layers = list(prunable_layers(model).values())
    check(len(layers) > 0, "model", type(model).__name__, "a network with Conv2d or Linear layers")
    for method in methods:
        _prune([({None: layers, 0: layers[:-1], 1: layers[1:]}[method.dim], method)], model, data, min_kept)


def _prune(groups: list, model: nn.Module | None, data: Data, min_kept: float = 0) -> None:
    """Prune groups of (layers that are ranked together, their criterion or None): all masks first, then all changes."""
    for layer in [layer for layers, _ in groups for layer in layers]:
        check(hasattr(layer, "weight"), "plan", layer, "of layers that have weights")
        up_to_date(layer)
    kinds = {method.saliency for _, method in groups if method} - {None}
    scores = {kind: saliency_scores(model, data, kind) for kind in kinds}
    masks = {}
    for stream, (layers, method) in enumerate(groups):
        if method:
            method.stream = stream
            values = [scores[method.saliency][layer, "weight"] if method.saliency else layer.weight for layer in layers]
            masks.update(zip(layers, method.masks(values, [mask_of(layer) for layer in layers], min_kept), strict=True))
    for layer, mask in masks.items():
        prune.custom_from_mask(layer, "weight", mask)
        up_to_date(layer)


def saliency_scores(model: nn.Module, data: Data, kind: str) -> dict[tuple[nn.Module, str], Tensor]:
    """The scores behind "gradient", "taylor" and "wanda", by (layer, "weight") of every Conv2d and Linear, in the weight's shape.

    Up to 4,000 training images, not augmented, in evaluation mode; for "wanda" a convolution's input is the whole channel.
    """
    check(None not in (model, data), "data", type(data).__name__, f"training data, and model= the network, for {kind} scores")
    network = copy.deepcopy(up_to_date(model)).eval().requires_grad_()
    layers = list(prunable_layers(network).values())
    weights = [getattr(layer, "weight_orig", layer.weight) for layer in layers]  # pruning renames them
    totals, squares = [torch.zeros_like(weight) for weight in weights], dict.fromkeys(layers, 0)

    def add_squared_inputs(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        channels = inputs[0].float().movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).flatten(1)
        groups = channels.square().sum(1).view(getattr(layer, "groups", 1), -1)  # [groups, inputs of each]
        outputs = groups.repeat_interleave(len(layer.weight) // len(groups), 0)  # [outputs, inputs of each]
        squares[layer] += outputs.view(*outputs.shape, *[1] * (layer.weight.ndim - 2))

    if kind == "wanda":
        for layer in layers:
            layer.register_forward_pre_hook(add_squared_inputs)
    split, device = data.train if isinstance(data, Dataset) else data, weights[0].device
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0)).split(500)[:8]
    for index in order:
        with autocast(device, "auto"), torch.set_grad_enabled(kind != "wanda"):
            logits = network(to_float(split.images[index], device))
        if kind != "wanda":
            loss = cross_entropy(logits.float(), split.labels[index].to(device))
            for total, weight, gradient in zip(totals, weights, torch.autograd.grad(loss, weights), strict=True):
                total += {"gradient": gradient, "taylor": gradient * weight.data}[kind].abs()
    if kind == "wanda":
        scores = [layer.weight.detach().abs() * squares[layer].sqrt() for layer in layers]
    else:
        scores = [total / len(order) for total in totals]
    return {(layer, "weight"): score for layer, score in zip(prunable_layers(model).values(), scores, strict=True)}

"""Which weights to remove: criteria, each a class that scores weights. Introduced in notebook 04."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune

from .data import Dataset, Split, check, check_whole
from .devices import autocast, eval_mode, to_float
from .masks import Target, all_weights, mask_of, parameter_of, refresh


class Criterion(prune.BasePruningMethod):
    """Prunes what has the lowest `importance`: the base of the criteria below, and of one's own.

    A subclass says how important each weight is. A share, a count or a threshold, single weights or whole slices, one
    layer or a whole network then work by themselves.

    Args:
        amount: fraction in [0, 1] or count, of the weights (or slices) that are not pruned yet, as in torch:
            0.5 and again 0.5 make 75 %. Rounded to even, as in torch.
        threshold: instead of an amount: prune all whose importance is below it.
        dim: None for single weights, 0 for whole filters, 1 for whole input channels. A slice's importance is its
            L1 (`n=1`) or L2 (`n=2`) norm freed of its size, (mean |importance|^n)^(1/n), so that large and small
            filters compare across layers.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> class FarFromMean(Criterion):
        ...     def importance(self, weight):
        ...         return (weight - weight.mean()).abs()
        >>> layer = nn.Linear(4, 2)
        >>> prune_layers({layer: [FarFromMean(amount=3)]})
        >>> sparsity(layer).zeros
        3
    """

    PRUNING_TYPE = "unstructured"
    amount, threshold, dim, n = None, None, None, 1
    saliency: str | None = None  # "gradient" or "taylor": `importance` is handed such scores, not weights
    stream = 0  # which layer of a plan: keeps random draws of layers apart

    def __init__(self, amount: float | int | None = None, *, threshold: float | None = None, dim: int | None = None, n: int = 1):
        if (amount is None) == (threshold is None):
            raise ValueError(f"amount={amount!r}, threshold={threshold!r}: exactly one of the two must be given")
        if amount is not None:
            amount = plain_amount("amount", amount)
        else:
            check(is_number(threshold) and threshold >= 0, "threshold", threshold, "a number of 0 or more")
        one_of = dim is None or dim in (0, 1)
        check(one_of, "dim", dim, "None (single weights), 0 (filters) or 1 (input channels)")
        check(n in (1, 2), "n", n, "1 or 2")
        self.amount, self.threshold, self.dim, self.n = amount, threshold, dim, n
        if dim is not None:
            self.PRUNING_TYPE = "structured"

    def __repr__(self) -> str:
        told = {name: vars(self).get(name) for name in ("amount", "threshold", "dim", "n", "low", "high", "seed")}
        shown = ", ".join(f"{k}={v!r}" for k, v in told.items() if v is not None and (k, v) != ("n", 1))
        return f"{type(self).__name__}({shown})"

    def importance(self, weight: Tensor) -> Tensor:
        """How much each weight matters, in the weight's shape, 0 or more: the lowest go first."""
        return weight.abs()

    def scores(self, values: Sequence[Tensor]) -> list[Tensor]:
        """One score a weight, or a slice along `dim`, for each tensor: [units], float32."""
        scores = [self.importance(value.detach().float().cpu()) for value in values]
        if self.dim is None:
            return [score.flatten() for score in scores]
        return [score.transpose(0, self.dim).flatten(1).pow(self.n).mean(1).pow(1 / self.n) for score in scores]

    def select(self, scores: Tensor, spared: Tensor) -> Tensor:
        """Which of the remaining units go: bool [units]; the `spared` ones must stay."""
        if self.threshold is not None:
            return (scores < self.threshold) & ~spared
        count = round(self.amount * len(scores)) if isinstance(self.amount, float) else self.amount
        if count > len(scores):
            raise ValueError(f"amount={self.amount!r}: only {len(scores)} are left to prune")
        if count > (~spared).sum():
            raise ValueError(f"amount={self.amount!r}: would prune {count} of {len(scores)}, but min_kept spares {spared.sum()}")
        gone = torch.zeros(len(scores), dtype=torch.bool)
        gone[scores.masked_fill(spared, math.inf).topk(count, largest=False).indices] = True
        return gone

    def rank_to_keep(self, scores: Tensor) -> Tensor:
        """What `min_kept` goes by: the highest are spared."""
        return scores

    def masks(self, values: Sequence[Tensor], masks: Sequence[Tensor], min_kept: float | int = 0) -> list[Tensor]:
        """New masks of one tensor, or of several ranked together; what is pruned already stays pruned."""
        units = [self._alive(mask) for mask in masks]
        left, spared = [], []
        for score, alive in zip(self.scores(values), units, strict=True):
            left.append(score[alive])
            if bad := int(left[-1].isnan().sum()):
                raise ValueError(f"method: {bad} importance scores of {self!r} are NaN, and nothing can be ranked by them")
            kept = math.ceil(min_kept * len(alive)) if isinstance(min_kept, float) else min_kept
            spared.append(torch.zeros(len(left[-1]), dtype=torch.bool))
            spared[-1][self.rank_to_keep(left[-1]).topk(min(kept, len(left[-1]))).indices] = True
        gone = self.select(torch.cat(left), torch.cat(spared)).split([len(s) for s in left])
        return [self._without(mask, alive, g) for mask, alive, g in zip(masks, units, gone, strict=True)]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """torch's own entry point: `t` holds weights, or the importance scores that were handed to `apply`."""
        return self.masks([t], [default_mask])[0]

    def _alive(self, mask: Tensor) -> Tensor:
        alive = mask.detach().cpu() != 0
        return alive.flatten() if self.dim is None else alive.transpose(0, self.dim).flatten(1).any(1)

    def _without(self, mask: Tensor, alive: Tensor, gone: Tensor) -> Tensor:
        units = alive.nonzero().flatten()[gone].to(mask.device)
        new = mask.detach().clone(memory_format=torch.contiguous_format)
        if self.dim is None:
            new.view(-1)[units] = 0
        else:
            new.transpose(0, self.dim)[units] = 0
        return new


class MagnitudePruning(Criterion):
    """The smallest |w| go, or all below a threshold (Han et al. 2015, arXiv:1506.02626).

    Example:
        >>> layer = nn.Linear(10, 2)
        >>> prune_layers({layer: [MagnitudePruning(amount=0.9)]})
        >>> sparsity(layer).zeros
        18
    """


class PercentilePruning(Criterion):
    """Keeps the weights between two quantiles of their values, both included, and prunes both tails.

    Args:
        low, high: quantiles in [0, 1], low < high, of the weights that are not pruned yet.

    Example:
        >>> layer = nn.Linear(101, 1)
        >>> prune_layers({layer: [PercentilePruning(0.2, 0.9)]})
        >>> sparsity(layer).zeros
        30
    """

    def __init__(self, low: float, high: float):
        if not (is_number(low) and is_number(high) and 0 <= low < high <= 1):
            raise ValueError(f"low={low!r}, high={high!r}: must be quantiles with 0 <= low < high <= 1")
        self.low, self.high = low, high

    def importance(self, weight: Tensor) -> Tensor:
        return weight

    def select(self, scores: Tensor, spared: Tensor) -> Tensor:
        if len(scores) == 0:
            return torch.zeros(0, dtype=torch.bool)
        low, high = np.quantile(scores.numpy(), (self.low, self.high))
        return ((scores < low) | (scores > high)) & ~spared

    def rank_to_keep(self, scores: Tensor) -> Tensor:
        return -(scores - scores.median()).abs() if len(scores) else scores


class RandomPruning(Criterion):
    """Any weight is as likely to go as any other: the control of every claim. The same seed draws the same mask.

    Layers of one `prune_layers` call get draws of their own. The draws are NumPy's: those of `torch.manual_seed(seed)`
    are the very numbers from which a network built with that seed got its weights, so a mask made of them would take
    the weights that began as the largest, and not any.

    Args:
        seed: a whole number of 0 or more.
    """

    def __init__(self, amount: float | int, seed: int = 0, *, dim: int | None = None):
        super().__init__(amount, dim=dim)
        check_whole("seed", seed, 0)
        self.seed = seed

    def scores(self, values: Sequence[Tensor]) -> list[Tensor]:
        generator = np.random.default_rng((self.seed, self.stream))
        sizes = [len(self._alive(torch.ones_like(value))) for value in values]
        return [torch.from_numpy(generator.random(size, dtype=np.float32)) for size in sizes]


class _SaliencyPruning(Criterion):
    @classmethod
    def apply(cls, module, name, *args, importance_scores=None, **kwargs):
        if importance_scores is None:
            raise ValueError(f"importance_scores=None: {cls.__name__} ranks scores (see saliency_scores), not weights")
        return super().apply(module, name, *args, importance_scores=importance_scores, **kwargs)


class GradientPruning(_SaliencyPruning):
    """The weights with the smallest gradient go: mean over training batches of |∂L/∂w|.

    `prune_layers` and `prune_globally` work the scores out (`saliency_scores`) from the `data` that they are given.
    """

    saliency = "gradient"


class TaylorPruning(_SaliencyPruning):
    """The weights whose removal changes the loss least, to first order: mean over training batches of |w · ∂L/∂w|.

    Source: Molchanov et al. 2017 (arXiv:1611.06440) for filters; for single weights Blalock et al. 2020
    (arXiv:2003.03033) call this product "gradient magnitude". Data as for `GradientPruning`.
    """

    saliency = "taylor"


def saliency_scores(
    model: nn.Module,
    data: Dataset | Split,
    kind: str = "taylor",
    *,
    batches: int = 8,
    batch_size: int = 500,
    parameters: Iterable[Target] | None = None,
    masks: dict[Target, Tensor] | None = None,
) -> dict[Target, Tensor]:
    """Mean over batches of |∂L/∂w| ("gradient") or |w · ∂L/∂w| ("taylor"), for each parameter in its shape.

    Training images without augmentation, the same draw each time; BatchNorm in evaluation mode; cross-entropy. Frozen
    weights have scores like all others. Weights, gradients and modes of the model are as before afterwards.

    Args:
        data: a dataset (its training split is used) or a split.
        batches, batch_size: so many batches of so many images, fewer where the split is smaller.
        parameters: (module, name) pairs; default: the weight of every Conv2d and Linear.
        masks: multiplied into the weights first, on top of the masks that the modules hold.

    Raises:
        ValueError: for an unknown kind, no batches or no images.

    Example:
        >>> scores = saliency_scores(model, data, "gradient")  # doctest: +SKIP
        >>> prune.l1_unstructured(model.fc, "weight", 0.5, importance_scores=scores[model.fc, "weight"])  # doctest: +SKIP
    """
    check(kind in ("gradient", "taylor"), "kind", kind, "gradient or taylor")
    check_whole("batches", batches, 1), check_whole("batch_size", batch_size, 1)
    split = data.train if isinstance(data, Dataset) else data
    filled = isinstance(split, Split) and len(split) > 0
    check(filled, "data", type(data).__name__, "a Dataset, or a Split with at least one image")
    targets = all_weights(model) if parameters is None else list(parameters)
    tensors = [parameter_of(target) for target in targets]
    saved, frozen = [tensor.data for tensor in tensors], [tensor for tensor in tensors if not tensor.requires_grad]
    totals, count = [torch.zeros_like(tensor) for tensor in tensors], 0
    device, order = tensors[0].device, torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    try:
        for target, tensor in zip(targets, tensors, strict=True):
            tensor.data = tensor.data * mask_of(target) * (1 if masks is None else masks[target])
            tensor.requires_grad_(True)
        with eval_mode(model), torch.enable_grad():
            for index in order.split(batch_size)[:batches]:
                with autocast(device, "auto"):
                    logits = model(to_float(split.images[index], device))
                gradients = torch.autograd.grad(cross_entropy(logits.float(), split.labels[index].to(device)), tensors)
                for total, tensor, gradient in zip(totals, tensors, gradients, strict=True):
                    total += (gradient * tensor.data if kind == "taylor" else gradient).abs()
                count += 1
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)
        for target, tensor, old in zip(targets, tensors, saved, strict=True):
            tensor.data = old
            refresh(target)
    return {target: total / count for target, total in zip(targets, totals, strict=True)}


def check_fraction(name: str, value: float) -> None:
    check(is_number(value) and 0 <= value <= 1, name, value, "a fraction in [0, 1]")


def is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_amount(value) -> bool:
    """A fraction in [0, 1] as float, or a count as int."""
    return is_number(value) and (value >= 0 if isinstance(value, Integral) else value <= 1 and value >= 0)


def plain_amount(name: str, value) -> float | int:
    """A fraction as float or a count as int, of NumPy's kind too; refuses everything else."""
    check(is_amount(value), name, value, "a fraction in [0, 1] or a count")
    return int(value) if isinstance(value, Integral) else float(value)


def target_name(target: Target) -> str:
    return f"{target[1]} of {target[0]}"

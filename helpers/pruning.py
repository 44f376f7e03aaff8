"""Masks: which weights go, in which scope, how many are zero, and how masks become permanent.

Criteria are `BasePruningMethod`s of `torch.nn.utils.prune`, so that masks live in the modules, survive training and
compose in a `PruningContainer`. Introduced in notebooks 02 and 03 (reports) and 04 (criteria and scope).
"""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune

from .data import Dataset, Split, check, check_whole, is_whole
from .devices import autocast, eval_mode, to_float
from .training import evaluate

SCAN_AMOUNTS = (0.2, 0.4, 0.6, 0.8, 0.9)
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
    parameter = _parameter((module, name))
    return None if parameter is None else parameter.detach() * _mask((module, name))


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
    return {module: _mask((module, "weight")) for module in prunable_layers(model).values()}


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
    ours, theirs = ({name: _mask((layer, "weight")).bool() for name, layer in prunable_layers(m).items()} for m in (a, b))
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


# ---- criteria


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
        one_of = dim is None or (is_whole(dim) and dim in (0, 1))
        check(one_of, "dim", dim, "None (single weights), 0 (filters) or 1 (input channels)")
        check(is_whole(n) and n in (1, 2), "n", n, "1 or 2")
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
    targets = _all_weights(model) if parameters is None else list(parameters)
    tensors = [_parameter(target) for target in targets]
    saved, frozen = [tensor.data for tensor in tensors], [tensor for tensor in tensors if not tensor.requires_grad]
    totals, count = [torch.zeros_like(tensor) for tensor in tensors], 0
    device, order = tensors[0].device, torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    try:
        for target, tensor in zip(targets, tensors, strict=True):
            tensor.data = tensor.data * _mask(target) * (1 if masks is None else masks[target])
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


# ---- scope


def prune_layers(
    plan: dict[nn.Module | Target, Sequence[prune.BasePruningMethod]],
    *,
    model: nn.Module | None = None,
    data: Dataset | Split | None = None,
    batches: int = 8,
    min_kept: float | int = 0,
) -> None:
    """Prune each layer by its own methods, in place; the masks stay through training.

    Methods of a layer compose in order, and the amount of each refers to what the ones before it left.

    Args:
        plan: methods by module (its `weight`), or by (module, name) for another parameter such as "bias".
        model, data, batches: the network and the training data from which gradients are taken, for criteria that
            need them; each step's scores are those of the network that the step before it left.
        min_kept: fraction or count of the weights (or slices) of each layer that must survive each method: its most
            important ones are spared, and others go in their place.

    Raises:
        TypeError, ValueError: naming what is wrong; nothing is changed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> prune_layers({net[0]: [MagnitudePruning(threshold=0.1), RandomPruning(0.2)], net[2]: [PercentilePruning(0.2, 0.9)]})
        >>> len(net[0]._forward_pre_hooks)  # one container, which holds both methods
        1
    """
    if not isinstance(plan, dict) or not plan:
        raise TypeError("plan: must be a dict {module: [method, …], …} with at least one layer")
    groups = [([key if isinstance(key, tuple) else (key, "weight")], methods) for key, methods in plan.items()]
    _prune(groups, model, data, batches, min_kept)


def prune_globally(
    model: nn.Module,
    methods: Sequence[prune.BasePruningMethod],
    *,
    parameters: Iterable[Target] | None = None,
    data: Dataset | Split | None = None,
    batches: int = 8,
    min_kept: float | int = 0,
) -> None:
    """Prune a whole network by one ranking of all its weights, in place; the masks stay through training.

    Args:
        methods: compose in order; the amount of each refers to what the ones before it left.
        parameters: (module, name) pairs; default: the weight of every Conv2d and Linear. BatchNorm and biases are
            pruned only where they are named here. By default filters (`dim=0`) of the last layer are spared, since
            they are the classes, and input channels (`dim=1`) of the first, since they are the colours.
        data, batches: as in `prune_layers`. `min_kept` too: without it a global ranking can empty a layer, and nothing
            passes through it any more (layer collapse).

    Raises:
        TypeError, ValueError: naming what is wrong; nothing is changed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> prune_globally(net, [MagnitudePruning(amount=0.5)])
        >>> sparsity(net).fraction
        0.5
    """
    targets = _all_weights(model) if parameters is None else list(parameters)
    if not targets:
        raise ValueError("model: has no Conv2d or Linear layer to prune" if parameters is None else "parameters: is empty")
    _prune([(targets, methods)], model, data, batches, min_kept, spare_ends=parameters is None)


def _prune(groups, model, data, batches, min_kept, spare_ends=False) -> None:
    """Work out all masks first, then install them: a refused call changes nothing."""
    min_kept = plain_amount("min_kept", min_kept)
    _check_plan(groups, model, data, min_kept)
    masks = {target: _mask(target) for targets, _ in groups for target in targets}
    done: list[tuple[Target, prune.BasePruningMethod, Tensor]] = []
    for step in range(max(len(methods) for _, methods in groups)):
        at_start, saliency = dict(masks), {}
        for stream, (targets, methods) in enumerate(groups):
            if step >= len(methods):
                continue
            method, scope = copy.copy(methods[step]), targets
            if spare_ends and getattr(method, "dim", None) is not None:
                scope = targets[1:] if method.dim == 1 else targets[:-1]
                if not scope:
                    raise ValueError("model: its only layer would be spared; name it with parameters=[(layer, 'weight')]")
            kind = getattr(method, "saliency", None)
            if kind and kind not in saliency:
                saliency[kind] = saliency_scores(model, data, kind, batches=batches, parameters=masks, masks=at_start)
            values = [saliency[kind][t] if kind else _parameter(t).detach() * masks[t] for t in scope]
            if isinstance(method, Criterion):
                method.stream = stream
                new = method.masks(values, [masks[t] for t in scope], min_kept)
            else:
                new = _torch_masks(method, values, [masks[t] for t in scope])
            masks.update(zip(scope, new, strict=True))
            done += [(target, method, mask) for target, mask in zip(scope, new, strict=True)]
    for target, method, mask in done:
        _install(target, method, mask)


def _torch_masks(method: prune.BasePruningMethod, values: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    """The masks of a method of torch's or the reader's own, by torch's own container; several tensors as one vector."""
    container = prune.PruningContainer()
    container._tensor_name = method._tensor_name = "weight"
    container.add_pruning_method(method)
    if len(values) == 1:
        return [container.compute_mask(values[0], masks[0].clone())]  # it writes into the mask that it is given
    flat = container.compute_mask(torch.cat([v.flatten() for v in values]), torch.cat([m.flatten() for m in masks]))
    return [part.view_as(mask) for part, mask in zip(flat.split([m.numel() for m in masks]), masks, strict=True)]


def _install(target: Target, method: prune.BasePruningMethod, mask: Tensor) -> None:
    """Hang a known mask into a module, with `method` as its record in the module's hook or container."""
    module, name = target
    method = copy.copy(method)
    method._tensor_name = name
    prune.custom_from_mask(module, name, mask)
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, prune.PruningContainer) and hook._tensor_name == name:
            hook._pruning_methods = (*hook._pruning_methods[:-1], method)
        elif isinstance(hook, prune.CustomFromMask) and hook._tensor_name == name:
            module._forward_pre_hooks[key] = method
    refresh(target)


def up_to_date(model: nn.Module) -> nn.Module:
    """The model itself, its masked parameters up to date and free of gradients, so that it can be deep-copied."""
    _check_module(model)
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, prune.BasePruningMethod):
                refresh((module, hook._tensor_name))
    return model


def refresh(target: Target) -> None:
    """Bring `module.weight` up to date, without a gradient."""
    module, name = target
    if hasattr(module, f"{name}_orig"):
        setattr(module, name, masked_parameter(module, name))


def _parameter(target: Target) -> nn.Parameter:
    module, name = target
    return getattr(module, f"{name}_orig" if hasattr(module, f"{name}_orig") else name)


def _mask(target: Target) -> Tensor:
    module, name = target
    mask = getattr(module, f"{name}_mask", None)
    return torch.ones_like(_parameter(target)) if mask is None else mask.detach().clone()


def _all_weights(model: nn.Module) -> list[Target]:
    return [(module, "weight") for module in prunable_layers(model).values()]


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


def _check_plan(groups, model, data, min_kept) -> None:
    seen = set()
    for targets, methods in groups:
        if not isinstance(methods, Sequence) or len(methods) == 0:
            raise TypeError(f"methods={methods!r}: must be a list with at least one method, such as [MagnitudePruning(0.5)]")
        for method in methods:
            if not isinstance(method, prune.BasePruningMethod):
                shown = f"the class {method.__name__}; write {method.__name__}(…)" if isinstance(method, type) else repr(method)
                raise TypeError(f"method: must be an object of a subclass of BasePruningMethod, is {shown}")
            if min_kept and not isinstance(method, Criterion):
                raise ValueError(f"min_kept={min_kept!r}: {type(method).__name__} has no ranking to keep by; subclass Criterion")
            if len(targets) > 1 and not isinstance(method, Criterion) and method.PRUNING_TYPE != "unstructured":
                raise TypeError(f"method: {type(method).__name__} prunes slices, which rank within one layer; use prune_layers")
            if getattr(method, "saliency", None) and (model is None or data is None):
                missing = "data=None" if data is None else "model=None"
                raise ValueError(f"{missing}: {type(method).__name__} needs the model and training data; pass model=… and data=…")
            for target in targets:
                if getattr(method, "dim", None) is not None and _weight_of(target).ndim < 2:
                    raise ValueError(f"dim={method.dim}: {_shown(target)} has only one dimension, and no slices")
        for target in targets:
            weight = _weight_of(target)
            if target in seen:
                raise ValueError(f"plan: {_shown(target)} is named twice; put its methods into one list")
            seen.add(target)
            if weight.is_meta:
                raise ValueError(f"model: {_shown(target)} is on the meta device and has no values to rank")
            check_finite([weight], _shown(target))
    owned = None if model is None else {id(module) for module in model.modules()}
    for module, name in seen:
        if owned is not None and id(module) not in owned:
            raise ValueError(f"model: does not contain {_shown((module, name))}")


def check_finite(weights: Iterable[Tensor], name: str) -> None:
    """Refuse weights that cannot be ranked."""
    if bad := sum(int((~weight.isfinite()).sum()) for weight in weights):
        raise ValueError(f"model: {name} holds {bad} weights that are NaN or infinite; load a sound checkpoint")


def _weight_of(target: Target) -> Tensor:
    module, name = target if isinstance(target, tuple) and len(target) == 2 else (target, None)
    if not isinstance(module, nn.Module) or not isinstance(name, str):
        raise TypeError(f"plan: {target!r} must be a pair (module, parameter name), or in a plan a module such as model.conv1")
    weight = _parameter(target) if hasattr(module, target[1]) else None
    if not isinstance(weight, nn.Parameter):
        raise ValueError(f"plan: {type(module).__name__} has no parameter {target[1]!r}")
    return weight


def _shown(target: Target) -> str:
    return f"{target[1]} of {target[0]}"


# ---- sensitivity: how much accuracy each layer costs, alone


def sensitivity_scan(model: nn.Module, split: Split, amounts: Sequence[float] = SCAN_AMOUNTS) -> dict[str, list[float]]:
    """Accuracy on `split` with one layer pruned by magnitude to each amount, all others whole; by layer name.

    The model itself is not changed. Source: Han et al. 2015 (arXiv:1506.02626), figure 6.

    Example:
        >>> sensitivity_scan(model, data.val)["conv1"]  # doctest: +SKIP
        [0.83, 0.82, 0.79, 0.64, 0.31]
    """

    def prune_one(pruned: nn.Module, name: str, amount: float) -> None:
        prune_layers({pruned.get_submodule(name): [MagnitudePruning(amount)]})

    return scan(model, split, prunable_layers(model), amounts, prune_one)


def scan(model: nn.Module, split: Split, names: Iterable[str], amounts: Sequence[float], prune_one: Callable) -> dict:
    """Accuracy on `split` after `prune_one(copy, name, amount)`, for each name and amount alone."""

    def accuracy(name: str, amount: float) -> float:
        prune_one(pruned := copy.deepcopy(up_to_date(model)), name, float(amount))
        return evaluate(pruned, split).accuracy

    return {name: [accuracy(name, amount) for amount in amounts] for name in names}


def shares_at_loss(
    scan: dict[str, list[float]], amounts: Sequence[float], dense_accuracy: float, names: Iterable[str]
) -> Callable[[float], list[float]]:
    """From a scan, the share that each of the layers `names` can give up, alone, as a function of the loss of accuracy.

    Between the scan's amounts the loss is interpolated; at 100 % it is taken to be all of the accuracy.
    """
    known = is_number(dense_accuracy) and 0 <= dense_accuracy <= 1
    check(known, "dense_accuracy", dense_accuracy, "the whole network's, in 0..1")
    if missing := [name for name in names if name not in scan]:
        raise ValueError(f"scan: lacks {', '.join(missing)}; scan the network that it is for")
    if wrong := [name for name in names if len(scan[name]) != len(amounts)]:
        told = f"{len(scan[wrong[0]])} accuracies, but there are {len(amounts)} amounts"
        raise ValueError(f"scan: {wrong[0]} has {told}; pass amounts= as to the scan")
    grid = np.array([0.0, *amounts, 1.0])
    losses = [np.maximum.accumulate([0.0, *(dense_accuracy - a for a in scan[name]), dense_accuracy]) for name in names]
    rising = [loss + 1e-6 * grid for loss in losses]  # strictly, so that they can be read backwards
    return lambda loss: [round(float(np.interp(loss, row, grid)), 6) for row in rising]


def amounts_from_sensitivity(
    model: nn.Module, scan: dict[str, list[float]], dense_accuracy: float, total: float, amounts: Sequence[float] = SCAN_AMOUNTS
) -> dict[nn.Module, int]:
    """Counts to prune in each layer that cost each, alone, the same accuracy, and `total` (a fraction) of all weights together.

    Raises:
        ValueError: for a total outside [0, 1], or a scan that lacks a layer or an amount.
    """
    check_fraction("total", total)
    layers = prunable_layers(model)
    sizes = np.array([layer.weight.numel() for layer in layers.values()])
    shares = shares_at_loss(scan, amounts, dense_accuracy, names=layers)
    loss = optimize.bisect(lambda loss: np.array(shares(loss)) @ sizes - total * sizes.sum(), 0.0, 2.0)
    counts = np.minimum(sizes, np.floor(np.array(shares(loss)) * sizes).astype(int))
    for _ in range(abs(missing := round(total * sizes.sum()) - counts.sum())):  # what rounding left
        counts[np.argmax(sizes - counts if missing > 0 else counts)] += np.sign(missing)
    return {layer: int(count) for layer, count in zip(layers.values(), counts, strict=True)}

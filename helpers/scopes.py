"""Where to remove them: layer by layer, or globally, by one or several criteria. Introduced in notebook 04."""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from .criteria import Criterion, plain_amount, saliency_scores, target_name
from .data import Dataset, Split
from .masks import Target, all_weights, check_finite, mask_of, parameter_of, refresh


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
    targets = all_weights(model) if parameters is None else list(parameters)
    if not targets:
        raise ValueError("model: has no Conv2d or Linear layer to prune" if parameters is None else "parameters: is empty")
    _prune([(targets, methods)], model, data, batches, min_kept, spare_ends=parameters is None)


def _prune(groups, model, data, batches, min_kept, spare_ends=False) -> None:
    """Work out all masks first, then install them: a refused call changes nothing."""
    min_kept = plain_amount("min_kept", min_kept)
    _check_plan(groups, model, data, min_kept)
    masks = {target: mask_of(target) for targets, _ in groups for target in targets}
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
            values = [saliency[kind][t] if kind else parameter_of(t).detach() * masks[t] for t in scope]
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
                    raise ValueError(f"dim={method.dim}: {target_name(target)} has only one dimension, and no slices")
        for target in targets:
            weight = _weight_of(target)
            if target in seen:
                raise ValueError(f"plan: {target_name(target)} is named twice; put its methods into one list")
            seen.add(target)
            if weight.is_meta:
                raise ValueError(f"model: {target_name(target)} is on the meta device and has no values to rank")
            check_finite([weight], target_name(target))
    owned = None if model is None else {id(module) for module in model.modules()}
    for module, name in seen:
        if owned is not None and id(module) not in owned:
            raise ValueError(f"model: does not contain {target_name((module, name))}")


def _weight_of(target: Target) -> Tensor:
    module, name = target if isinstance(target, tuple) and len(target) == 2 else (target, None)
    if not isinstance(module, nn.Module) or not isinstance(name, str):
        raise TypeError(f"plan: {target!r} must be a pair (module, parameter name), or in a plan a module such as model.conv1")
    weight = parameter_of(target) if hasattr(module, target[1]) else None
    if not isinstance(weight, nn.Parameter):
        raise ValueError(f"plan: {type(module).__name__} has no parameter {target[1]!r}")
    return weight

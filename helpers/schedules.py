"""Gradual pruning: when, during one training, how much of the network goes. Introduced in notebook 06."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import numpy as np
import torch
from torch import nn

from .criteria import Criterion, MagnitudePruning, check_fraction
from .data import Dataset, check, check_whole
from .masks import masks_of
from .scopes import prune_globally, prune_layers
from .training import History, steps_in, train

Pairs = list[tuple[int, float]]


@dataclass(frozen=True)
class Schedule:
    """Sparsities `levels`, reached at equal distances from the first step on until the share `until` of all steps."""

    name: str
    levels: tuple[float, ...]
    until: float = 0.6

    def steps(self, total: int) -> Pairs:
        """(step, sparsity) pairs for a training of `total` optimiser steps; prunings that fall on one step become one."""
        places = np.linspace(0, self.until * total, len(self.levels)) if len(self.levels) > 1 else [0]
        return list({min(int(place), total - 1): level for place, level in zip(places, self.levels, strict=True)}.items())


def one_shot(sparsity: float) -> Schedule:
    """Everything before the first step ("instant").

    Example:
        >>> one_shot(0.9).steps(100)
        [(0, 0.9)]
    """
    return _stair("one_shot", sparsity, 1, 0.0, lambda t: t)


def equal_steps(sparsity: float, rounds: int = 8, until: float = 0.6) -> Schedule:
    """`rounds` prunings of the same number of weights each.

    Example:
        >>> equal_steps(0.8, rounds=4).steps(100)
        [(0, 0.2), (20, 0.4), (40, 0.6), (60, 0.8)]
    """
    return _stair(f"equal_steps_{rounds}", sparsity, rounds, until, lambda t: t)


def geometric(sparsity: float, rounds: int = 8, until: float = 0.6) -> Schedule:
    """`rounds` prunings that each take the same share of the weights that are left, as repeated `amount`s of torch do.

    After the k-th pruning 1 - (1 - s)^(k/rounds) of the weights are removed. Source: the iterative pruning of Frankle & Carbin
    2019 (arXiv:1803.03635).

    Example:
        >>> geometric(0.75, rounds=2).steps(100)
        [(0, 0.5), (60, 0.75)]
    """
    return _stair(f"geometric_{rounds}", sparsity, rounds, until, lambda t: (1 - (1 - sparsity) ** t) / (sparsity or 1))


def cubic(sparsity: float, rounds: int = 8, until: float = 0.6) -> Schedule:
    """Much at first, less and less later: s (1 - (1 - k/rounds)^3) after the k-th pruning.

    Source: Zhu & Gupta 2017 (arXiv:1710.01878), with a start at zero; the first pruning comes before the first step.

    Example:
        >>> cubic(0.8, rounds=2).steps(100)
        [(0, 0.7), (60, 0.8)]
    """
    return _stair(f"cubic_{rounds}", sparsity, rounds, until, lambda t: 1 - (1 - t) ** 3)


def _stair(name: str, sparsity: float, rounds: int, until: float, share: Callable[[float], float]) -> Schedule:
    """After the share t of the prunings the sparsity is `share(t)` of the target, which the last one meets exactly."""
    check_whole("rounds", rounds, 1)
    check_fraction("sparsity", sparsity), check_fraction("until", until)
    levels = [round(sparsity * share(k / rounds), 12) for k in range(1, rounds)]
    return Schedule(name, (*levels, float(sparsity)), float(until))


def prune_iteratively(
    model: nn.Module,
    data: Dataset,
    schedule: Schedule | Iterable[tuple[int, float]],
    *,
    epochs: float,
    criterion: Callable[[int], Criterion] = MagnitudePruning,
    scope: str = "global",
    rewind: bool = False,
    on_step: Callable[[int, torch.optim.Optimizer], None] | None = None,
    **recipe,
) -> History:
    """Train a network in place and prune it on the way: one optimiser and one learning-rate schedule run through.

    Sparsities are those of the whole network and do not compound: each pruning adds what is missing, counted in
    weights, so that the last one meets its target to one weight. Masks only grow.

    Args:
        schedule: `one_shot(…)`, `equal_steps(…)`, `cubic(…)`, or (step, sparsity) pairs, both rising. The pruning at
            step k comes before the forward pass of step k, counted from 0.
        epochs, recipe: as in `train`; the number of optimiser steps does not depend on the schedule.
        criterion: makes a criterion of a count of single weights, for example `lambda count: RandomPruning(count, seed=1)`.
        scope: "global" (one ranking) or "layer" (each layer to the same sparsity).
        rewind: learning-rate rewinding (Renda et al. 2020, arXiv:2003.02389): each pruning is followed by a training
            of its own with the whole learning-rate schedule and a new optimiser, in the same total of steps, which
            are shared out equally; the schedule's steps are not used, its sparsities are.
        on_step: called after the pruning of a step, as in `train`.

    Returns:
        The history; `history.recipe["prunings"]` holds the (step, sparsity) pairs.

    Raises:
        ValueError: for a schedule that falls, leaves [0, 1] or the training, or a criterion that takes no count or prunes
            slices; nothing is changed.

    Example:
        >>> history = prune_iteratively(model, data, cubic(0.9), epochs=3, lr=0.1)  # doctest: +SKIP
    """
    check(epochs > 0, "epochs", epochs, "more than 0")
    total = steps_in(data, epochs, recipe.get("batch_size"))
    pairs = schedule.steps(total) if isinstance(schedule, Schedule) else [(step, level) for step, level in schedule]
    _check_pairs(pairs, total, masks_of(model), scope), _check_criterion(criterion)
    if rewind:
        levels = [level for _, level in pairs]
        return _rewinding(model, data, levels, total, criterion, scope, on_step, recipe | {"epochs": epochs})
    due = dict(pairs)

    def prune_then(step: int, optimizer: torch.optim.Optimizer) -> None:
        if step in due:
            prune_to(model, due[step], criterion, scope, data)
        if on_step is not None:
            on_step(step, optimizer)

    history = train(model, data, epochs=epochs, on_step=prune_then, **recipe)
    history.recipe["prunings"] = pairs
    return history


def prune_to(
    model: nn.Module, sparsity: float, criterion=MagnitudePruning, scope: str = "global", data: Dataset | None = None
) -> None:
    """Prune what is missing to a sparsity of all Conv2d and Linear weights, in place, counting what masks already hold.

    Example:
        >>> layer = nn.Linear(10, 10)
        >>> prune_to(layer, 0.5), prune_to(layer, 0.5), prune_to(layer, 0.75)
        (None, None, None)
        >>> int((layer.weight == 0).sum())
        75
    """
    check_fraction("sparsity", sparsity), _check_scope(scope), _check_criterion(criterion)
    masks = masks_of(model)
    if scope == "global":
        size, gone = sum(m.numel() for m in masks.values()), sum(int((m == 0).sum()) for m in masks.values())
        prune_globally(model, [criterion(max(0, round(sparsity * size) - gone))], data=data)
    else:
        missing = {module: max(0, round(sparsity * mask.numel()) - int((mask == 0).sum())) for module, mask in masks.items()}
        prune_layers({module: [criterion(count)] for module, count in missing.items()}, model=model, data=data)


def _rewinding(model, data, levels, total, criterion, scope, on_step, recipe) -> History:
    """One whole training a level; the steps are shared out so that they add up to `total`."""
    check(total >= len(levels), "epochs", recipe["epochs"], f"enough for {len(levels)} steps, one a pruning")
    ends = [round(total * k / len(levels)) for k in range(len(levels) + 1)]
    per_epoch = steps_in(data, 1, recipe.get("batch_size"))
    whole = History()
    seed = recipe.pop("seed", 0)
    for k, (level, (start, end)) in enumerate(zip(levels, pairwise(ends), strict=True)):
        shifted = None if on_step is None else lambda step, optimizer, start=start: on_step(start + step, optimizer)
        own = recipe | {"epochs": (end - start) / per_epoch, "seed": seed + 1000 * k, "criterion": criterion, "scope": scope}
        part = prune_iteratively(model, data, [(0, level)], on_step=shifted, **own)
        for name in ("loss", "train_accuracy", "val_accuracy", "lr"):
            getattr(whole, name).extend(getattr(part, name))
        whole.steps += part.steps
        whole.seconds += part.seconds
        whole.recipe = part.recipe
    whole.recipe |= {"epochs": total / per_epoch, "seed": seed, "rewind": True, "prunings": list(zip(ends, levels, strict=False))}
    return whole


def _check_pairs(pairs: Pairs, total: int, masks: dict, scope: str) -> None:
    _check_scope(scope)
    if not pairs:
        raise ValueError("schedule: is empty, must hold at least one (step, sparsity) pair")
    for step, level in pairs:
        check_fraction("schedule", level)
        if not (isinstance(step, Integral) and 0 <= step < total):
            raise ValueError(f"schedule: step {step!r} must be a whole number in [0, {total}), the steps of this training")
    for (step, level), (later, higher) in pairwise(pairs):
        if later <= step or higher < level:
            raise ValueError(f"schedule: ({later}, {higher}) after ({step}, {level}): steps and sparsities must rise")
    counts = [(int((mask == 0).sum()), mask.numel()) for mask in masks.values()]
    if scope == "global":
        counts = [(sum(gone for gone, _ in counts), sum(size for _, size in counts))]
    for gone, size in counts:
        if gone > round(pairs[-1][1] * size):
            what = "the network" if scope == "global" else "a layer"
            raise ValueError(
                f"schedule: ends at {pairs[-1][1]}, but {gone / size:.1%} of {what} is pruned already; masks only grow"
            )


def _check_criterion(criterion: Callable[[int], Criterion]) -> None:
    try:
        made = criterion(0)
    except Exception as error:
        raise ValueError(f"criterion={criterion!r}: must make a criterion of a count of weights ({error})") from error
    counts = isinstance(made, Criterion) and made.dim is None and made.amount == 0
    check(counts, "criterion", made, "a Criterion that prunes the count of single weights that it is made with")


def _check_scope(scope: str) -> None:
    check(scope in ("global", "layer"), "scope", scope, "global or layer")

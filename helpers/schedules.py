"""Gradual pruning: when, during one training, how much of the network is pruned. Introduced in lesson 09."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .criteria import MagnitudePruning, prune_globally
from .data import Dataset, check
from .masks import mask_of, prunable_layers
from .training import History, steps_in, train


@dataclass(frozen=True)
class Schedule:
    """Sparsities `levels`, reached at equal distances from the first step on until the share `until` of all steps."""

    levels: tuple[float, ...]
    until: float = 0.6

    def steps(self, total: int) -> list[tuple[int, float]]:
        """(step, sparsity) pairs for a training of `total` optimizer steps; prunings that fall on one step become one."""
        places = np.linspace(0, self.until * total, len(self.levels))
        return list({min(int(place), total - 1): level for place, level in zip(places, self.levels, strict=True)}.items())


def one_shot(sparsity: float) -> Schedule:
    """Everything before the first step ("instant"): `one_shot(0.9).steps(100)` is [(0, 0.9)]."""
    return equal_steps(sparsity, rounds=1)


def equal_steps(sparsity: float, rounds: int = 8, until: float = 0.6) -> Schedule:
    """`rounds` prunings of the same number of weights each: `equal_steps(0.8, rounds=2).steps(100)` is [(0, 0.4), (60, 0.8)].

    The last comes when the share `until` of the steps is over.
    """
    return _schedule(sparsity, rounds, until, lambda t: sparsity * t)


def geometric(sparsity: float, rounds: int = 8, until: float = 0.6) -> Schedule:
    """`rounds` prunings that each take the same share of what is left (Frankle & Carbin 2019, arXiv:1803.03635)."""
    return _schedule(sparsity, rounds, until, lambda t: 1 - (1 - sparsity) ** t)


def cubic(sparsity: float, rounds: int = 8, until: float = 0.6) -> Schedule:
    """Much at first, less and less later. Source: Zhu & Gupta 2017 (arXiv:1710.01878), starting at zero."""
    return _schedule(sparsity, rounds, until, lambda t: sparsity * (1 - (1 - t) ** 3))


def _schedule(sparsity: float, rounds: int, until: float, level: Callable[[float], float]) -> Schedule:
    """After the share t of the prunings the sparsity is `level(t)`; the last one meets the target exactly."""
    check(0 <= sparsity <= 1, "sparsity", sparsity, "a fraction in [0, 1]")
    check(0 <= until <= 1, "until", until, "a fraction in [0, 1]")
    return Schedule((*(round(level(k / rounds), 12) for k in range(1, rounds)), float(sparsity)), until)


def prune_iteratively(model, data, schedule, *, epochs, criterion=MagnitudePruning, on_step=None, **recipe) -> History:
    """Train a network on a `Dataset`, in place, and prune it globally on the way; one optimizer, one learning-rate schedule.

    Args:
        schedule: `cubic(0.9)` for example, or (step, sparsity) pairs, both rising; step 0 comes before the first forward pass.
            A ValueError where it falls, lies outside the training, or ends below what is pruned already: nothing is changed.
        epochs, on_step, recipe: as in `train`; the number of optimizer steps does not depend on the schedule.
        criterion: makes a criterion of a count of weights, for example `lambda count: RandomPruning(count, seed=1)`.

    Example:
        >>> history = prune_iteratively(model, data, cubic(0.9), epochs=3, lr=0.1)  # doctest: +SKIP
    """
    total = steps_in(data, epochs, recipe.get("batch_size"))
    pairs = schedule.steps(total) if isinstance(schedule, Schedule) else list(schedule)
    steps, levels = map(list, zip(*pairs, strict=True))
    check(steps == sorted(set(steps)) and levels == sorted(levels), "schedule", pairs, "steps and sparsities that rise")
    inside = steps[0] >= 0 and steps[-1] < total and levels[0] >= 0 and levels[-1] <= 1
    check(inside, "schedule", pairs, f"steps in [0, {total}), those of this training, and sparsities in [0, 1]")
    check(_missing(model, levels[-1]) >= 0, "schedule", pairs, "one that ends above what is pruned already; masks only grow")
    due = dict(pairs)

    def prune_then(step: int, optimizer: torch.optim.Optimizer) -> None:
        if step in due:
            prune_to(model, due[step], criterion, data)
        if on_step is not None:
            on_step(step, optimizer)

    return train(model, data, epochs=epochs, on_step=prune_then, **recipe)


def prune_to(model: nn.Module, sparsity: float, criterion=MagnitudePruning, data: Dataset | None = None) -> None:
    """Prune globally what is missing to a sparsity of all Conv2d and Linear weights, in place, to one weight."""
    check(0 <= sparsity <= 1, "sparsity", sparsity, "a fraction in [0, 1]")
    prune_globally(model, [criterion(max(0, _missing(model, sparsity)))], data=data)


def _missing(model: nn.Module, sparsity: float) -> int:
    """How many weights are to be masked yet; negative where more are masked already."""
    masks = torch.cat([mask_of(layer).flatten() for layer in prunable_layers(model).values()])
    return round(sparsity * len(masks)) - int((masks == 0).sum())

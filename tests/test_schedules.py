"""Schedules: equal steps, exact targets, masks that only grow, nothing that compounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.runs import masks_of
from helpers import (
    CifarNet,
    Dataset,
    MagnitudePruning,
    RandomPruning,
    TaylorPruning,
    cubic,
    equal_steps,
    geometric,
    one_shot,
    prune_globally,
    prune_iteratively,
    prune_to,
    sparsity,
)

RECIPE = {"epochs": 0.5, "validate": False, "progress": False}


@pytest.fixture(scope="module")
def few(digits):
    """A hundred and sixty digits: two and a half batches."""
    return Dataset(**{**vars(digits), "train": digits.train.subset(160)})


def zeros(model):
    return sum(int((mask == 0).sum()) for mask in masks_of(model).values())


@given(
    st.floats(0, 1), st.integers(1, 20), st.floats(0, 1), st.integers(1, 2000), st.sampled_from([equal_steps, geometric, cubic])
)
def test_schedules_rise_to_their_target(target, rounds, until, total, make):
    pairs = make(target, rounds, until).steps(total)
    steps, levels = zip(*pairs, strict=True)
    assert len(pairs) == rounds or until * total < rounds
    assert steps[0] == 0 and steps[-1] <= until * total and len(set(steps)) == len(steps)
    assert levels[-1] == target and all(a <= b + 1e-9 for a, b in zip(levels, levels[1:], strict=False))


def test_schedules_by_hand():
    assert one_shot(0.9).steps(50) == [(0, 0.9)]
    assert equal_steps(0.9, 3, 0.5).steps(100) == [(0, 0.3), (25, 0.6), (50, 0.9)]
    assert geometric(0.9375, 4, 0.6).steps(100) == [(0, 0.5), (20, 0.75), (40, 0.875), (60, 0.9375)]  # half of what is left
    assert cubic(1.0, 4, 0.6).steps(100) == [(0, 0.578125), (20, 0.875), (40, 0.984375), (60, 1.0)]
    assert equal_steps(0.8, 2, until=1.0).steps(10) == [(0, 0.4), (9, 0.8)]  # the last pruning comes before the last step


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.sampled_from([RandomPruning, MagnitudePruning]))
def test_sparsities_are_met_to_one_weight_and_never_compound(levels, criterion):
    model = CifarNet(0.1)
    kept = [torch.ones_like(mask) for mask in masks_of(model).values()]
    for level in sorted(levels):
        prune_to(model, level, criterion)
        assert zeros(model) == round(level * sparsity(model).size)
        now = list(masks_of(model).values())
        assert all((new <= old).all() for new, old in zip(now, kept, strict=True))  # masks only grow
        kept = now


def test_a_weight_that_happens_to_be_zero_is_not_counted_as_pruned():
    layer = torch.nn.Linear(10, 10)
    torch.nn.init.zeros_(layer.weight)
    prune_to(layer, 0.5)
    assert zeros(layer) == 50


@pytest.mark.parametrize("schedule", [one_shot(0.9), equal_steps(0.9, 3), cubic(0.9, 3), [(0, 0.5), (2, 0.9)]])
def test_every_arm_takes_the_same_steps_and_meets_the_target(few, schedule):
    model, masks, optimizers = CifarNet(0.1), [], set()

    def look(step, optimizer):
        optimizers.add(optimizer)
        masks.append([mask.clone() for mask in masks_of(model).values()])

    history = prune_iteratively(model, few, schedule, on_step=look, **RECIPE | {"epochs": 3})
    assert history.steps == len(masks) == 9 and len(optimizers) == 1
    assert sparsity(model).zeros == zeros(model) == round(0.9 * sparsity(model).size)  # what the network uses is exactly zero
    for before, after in zip(masks, masks[1:], strict=False):
        assert all((b <= a).all() for a, b in zip(before, after, strict=True))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3), st.sampled_from([RandomPruning, MagnitudePruning, TaylorPruning]))
@settings(max_examples=12)
def test_the_target_is_met_after_training(few, levels, criterion):
    model = CifarNet(0.1)
    history = prune_iteratively(model, few, enumerate(sorted(levels)), criterion=criterion, **RECIPE | {"epochs": 1})
    assert history.steps == 3 and zeros(model) == round(max(levels) * sparsity(model).size)
    assert all((layer.weight[mask == 0] == 0).all() for layer, mask in masks_of(model).items())


def test_prunings_come_when_the_schedule_says(few):
    model, seen = CifarNet(0.1), []
    size = sparsity(model).size
    pairs = zip(np.array([1, 4]), (0.3, 0.7), strict=True)
    prune_iteratively(model, few, pairs, on_step=lambda step, _: seen.append(zeros(model)), **RECIPE | {"epochs": 2})
    assert seen == [0] + [round(0.3 * size)] * 3 + [round(0.7 * size)] * 2


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([(0, 0.6), (1, 0.5)], "must be steps and sparsities that rise"),
        ([(1, 0.6), (1, 0.7)], "must be steps and sparsities that rise"),
        ([(0, 1.5)], r"must be .* sparsities in \[0, 1\]"),
        ([(99, 0.5)], r"must be steps in \[0, 2\)"),
        ([(-1, 0.5)], "must be steps in"),
        ([(0, 0.2)], "must be one that ends above what is pruned already"),
    ],
)
def test_bad_schedules_change_nothing(few, schedule, message, state_of, same_state):
    model = CifarNet(0.1)
    prune_globally(model, [MagnitudePruning(0.5)])
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        prune_iteratively(model, few, schedule, **RECIPE)
    assert same_state(before, state_of(model))


def test_sparsities_and_shares_outside_0_to_1():
    with pytest.raises(ValueError, match="sparsity=1.5: must be a fraction"):
        one_shot(1.5)
    with pytest.raises(ValueError, match="until=2: must be a fraction"):
        cubic(0.5, 4, until=2)
    with pytest.raises(ValueError, match="sparsity=1.5: must be a fraction"):
        prune_to(CifarNet(0.1), 1.5)

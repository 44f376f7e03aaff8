"""Schedules: equal steps, exact targets, masks that only grow, nothing that compounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import (
    CifarNet,
    Dataset,
    RandomPruning,
    TaylorPruning,
    cubic,
    equal_steps,
    geometric,
    one_shot,
    prune_iteratively,
    sparsity,
)
from helpers.criteria import MagnitudePruning, PercentilePruning
from helpers.masks import masks_of
from helpers.schedules import prune_to
from helpers.scopes import prune_globally

RECIPE = {"epochs": 0.5, "validate": False, "progress": False}


@pytest.fixture(scope="module")
def few(digits):
    """A hundred and sixty digits: two and a half batches."""
    return Dataset(**{**vars(digits), "train": digits.train.subset(160)})


def zeros(model):
    return sum(int((mask == 0).sum()) for mask in masks_of(model).values())


# ---- the schedules themselves


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
    assert equal_steps(0.9, 1).steps(10) == cubic(0.9, 1).steps(10) == one_shot(0.9).steps(10)


# ---- targets


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.sampled_from(["global", "layer"]), st.booleans())
def test_sparsities_are_met_to_one_weight_and_never_compound(levels, scope, random):
    model = CifarNet(0.1)
    size = sparsity(model).size
    kept = [torch.ones_like(mask) for mask in masks_of(model).values()]
    for level in sorted(levels):
        prune_to(model, level, RandomPruning if random else MagnitudePruning, scope)
        if scope == "global":
            assert zeros(model) == round(level * size)
        else:
            assert all(int((m == 0).sum()) == round(level * m.numel()) for m in masks_of(model).values())
        now = list(masks_of(model).values())
        assert all((new <= old).all() for new, old in zip(now, kept, strict=True))  # masks only grow
        kept = now


def test_a_weight_that_happens_to_be_zero_is_not_counted_as_pruned():
    layer = torch.nn.Linear(10, 10)
    torch.nn.init.zeros_(layer.weight)
    prune_to(layer, 0.5)
    assert zeros(layer) == 50


# ---- with training


@pytest.mark.parametrize("rewind", [False, True])
@pytest.mark.parametrize("schedule", [one_shot(0.9), equal_steps(0.9, 3), cubic(0.9, 3), [(0, 0.5), (2, 0.9)]])
def test_every_arm_takes_the_same_steps_and_meets_the_target(few, schedule, rewind):
    model, masks, optimizers = CifarNet(0.1), [], set()

    def watch(step, optimizer):
        optimizers.add(id(optimizer)), masks.append([m.clone() for m in masks_of(model).values()])

    history = prune_iteratively(model, few, schedule, rewind=rewind, on_step=watch, **RECIPE | {"epochs": 3})
    assert history.steps == len(masks) == 9
    assert zeros(model) == round(0.9 * sparsity(model).size)
    assert sparsity(model).zeros == zeros(model)  # what the network uses is exactly zero
    for before, after in zip(masks, masks[1:], strict=False):
        assert all((b <= a).all() for a, b in zip(before, after, strict=True))
    if not rewind:
        assert len(optimizers) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3), st.sampled_from(["global", "layer"]), st.booleans(), st.booleans())
@settings(max_examples=12)
def test_the_target_is_met_after_training(few, levels, scope, rewind, random):
    model = CifarNet(0.1)
    pairs = list(enumerate(sorted(levels)))
    criterion = RandomPruning if random else MagnitudePruning
    history = prune_iteratively(model, few, pairs, scope=scope, rewind=rewind, criterion=criterion, **RECIPE | {"epochs": 1})
    masks = masks_of(model).values()
    assert history.steps == 3
    if scope == "global":
        assert zeros(model) == round(max(levels) * sparsity(model).size)
    else:
        assert all(int((m == 0).sum()) == round(max(levels) * m.numel()) for m in masks)
    assert all((layer.weight[mask == 0] == 0).all() for layer, mask in masks_of(model).items())


def test_prunings_come_when_the_schedule_says(few):
    model, seen = CifarNet(0.1), []
    size = sparsity(model).size
    pairs = [(1, 0.3), (4, 0.7)]
    history = prune_iteratively(model, few, pairs, on_step=lambda step, _: seen.append(zeros(model)), **RECIPE | {"epochs": 2})
    assert seen == [0] + [round(0.3 * size)] * 3 + [round(0.7 * size)] * 2
    assert history.recipe["prunings"] == pairs


def test_one_learning_rate_schedule_runs_through_unless_rewound(few):
    rates = {}
    for rewind in (False, True):
        seen = []
        watch = lambda step, optimizer, seen=seen: seen.append(optimizer.param_groups[0]["lr"])  # noqa: E731
        prune_iteratively(CifarNet(0.1), few, equal_steps(0.9, 3), rewind=rewind, on_step=watch, lr=0.1, **RECIPE | {"epochs": 4})
        rates[rewind] = seen
    peaks = {kind: sum(a < b > c for a, b, c in zip(r, r[1:], r[2:], strict=False)) for kind, r in rates.items()}
    assert peaks[False] <= 1 and peaks[True] >= 2 and len(rates[False]) == len(rates[True]) == 12


def test_the_same_seed_gives_the_same_network(few):
    models = [CifarNet(0.1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        prune_iteratively(model, few, cubic(0.8, 2), seed=3, **RECIPE)
    a, b = (model.state_dict() for model in models)
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_other_criteria_and_scopes(few):
    model = CifarNet(0.1)
    prune_iteratively(model, few, equal_steps(0.5, 2), criterion=TaylorPruning, scope="layer", **RECIPE)
    assert all(int((m == 0).sum()) == round(0.5 * m.numel()) for m in masks_of(model).values())


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([], "schedule: is empty"),
        ([(0, 0.5), (1, 0.4)], "steps and sparsities must rise"),
        ([(1, 0.4), (1, 0.5)], "steps and sparsities must rise"),
        ([(0, 1.5)], r"schedule=1.5: must be a fraction"),
        ([(99, 0.5)], r"step 99 must be a whole number in \[0, 2\)"),
        ([(-1, 0.5)], "step -1 must be"),
        ([(0, 0.2)], "ends at 0.2, but 50.0% of the network is pruned already"),
    ],
)
def test_bad_schedules_change_nothing(few, schedule, message, state_of, same_state):
    model = CifarNet(0.1)
    prune_globally(model, [MagnitudePruning(0.5)])
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        prune_iteratively(model, few, schedule, **RECIPE)
    assert same_state(before, state_of(model))


def test_a_layer_that_is_pruned_further_is_named(few):
    model = CifarNet(0.1)
    prune_to(model.conv1, 0.9)
    with pytest.raises(ValueError, match=r"ends at 0.5, but 90\.\d% of a layer is pruned already"):
        prune_iteratively(model, few, [(0, 0.5)], scope="layer", **RECIPE)
    prune_iteratively(model, few, [(0, 0.5)], **RECIPE)  # the network as a whole has room


@pytest.mark.parametrize("wrong", [{"lr": -1}, {"epochs": 0}])
@pytest.mark.parametrize("rewind", [False, True])
def test_a_bad_recipe_changes_nothing(few, rewind, wrong, state_of, same_state):
    model = CifarNet(0.1)
    before = state_of(model)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*must be"):
        prune_iteratively(model, few, one_shot(0.5), rewind=rewind, **RECIPE | wrong)
    assert same_state(before, state_of(model))


def test_a_schedule_may_come_from_numpy(few):
    model = CifarNet(0.1)
    prune_iteratively(model, few, zip(np.array([0, 1]), np.linspace(0.2, 0.5, 2), strict=True), **RECIPE)
    assert sparsity(model).zeros == round(0.5 * sparsity(model).size)


def test_the_last_pruning_comes_before_the_last_step():
    assert equal_steps(0.8, 2, until=1.0).steps(10) == [(0, 0.4), (9, 0.8)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_shot(1.5), "sparsity=1.5: must be a fraction"),
        (lambda: equal_steps(0.5, 0), "rounds=0: must be a whole number"),
        (lambda: cubic(0.5, 4, until=2), "until=2: must be a fraction"),
        (lambda: prune_to(CifarNet(0.1), 1.5), "sparsity=1.5: must be a fraction"),
        (lambda: prune_to(CifarNet(0.1), 0.5, scope="glboal"), "scope='glboal': must be global or layer"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "criterion",
    [
        PercentilePruning,
        lambda count: PercentilePruning(0.1, 0.9),
        lambda count: MagnitudePruning(threshold=0.1),
        lambda count: MagnitudePruning(count, dim=0),
        lambda count: 3,
    ],
)
def test_a_criterion_that_cannot_count_weights(few, criterion, state_of, same_state):
    model = CifarNet(0.1)
    before = state_of(model)
    with pytest.raises(ValueError, match="criterion=.*: must (make a criterion of a count|be a Criterion that prunes the count)"):
        prune_to(model, 0.5, criterion)
    with pytest.raises(ValueError, match="criterion="):
        prune_iteratively(model, few, [(1, 0.5)], criterion=criterion, **RECIPE)
    assert same_state(before, state_of(model))


def test_bad_scope(few):
    with pytest.raises(ValueError, match="scope='filter': must be global or layer"):
        prune_iteratively(CifarNet(0.1), few, one_shot(0.5), scope="filter", **RECIPE)

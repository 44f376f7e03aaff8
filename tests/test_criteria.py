"""Criteria and scope: exact counts, composition, agreement with torch, refused calls that change nothing, and lasting zeros."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from test_pruning import small_net, weights
from torch import nn
from torch.nn.utils import prune

from helpers import (
    CifarNet,
    Criterion,
    GradientPruning,
    MagnitudePruning,
    PercentilePruning,
    RandomPruning,
    Split,
    TaylorPruning,
    amounts_from_sensitivity,
    evaluate,
    make_permanent,
    prunable_layers,
    prune_globally,
    prune_layers,
    saliency_scores,
    sensitivity_scan,
    sparsity,
    train,
    trained,
)

amounts = st.floats(0, 1)
sizes = st.lists(st.integers(1, 6), min_size=3, max_size=3)
AMOUNT = [MagnitudePruning, RandomPruning, GradientPruning, TaylorPruning]
EVERY = [*AMOUNT, PercentilePruning]


class FarFromMean(Criterion):
    """A reader's own criterion."""

    def importance(self, weight):
        return (weight - weight.mean()).abs()


class SmallSquares(prune.BasePruningMethod):
    """A reader's own, by torch's rules alone."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount):
        self.amount = amount

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone(memory_format=torch.contiguous_format)
        mask.view(-1)[t.flatten().square().topk(round(self.amount * t.numel()), largest=False).indices] = 0
        return mask


def made(kind, amount=0.5):
    return PercentilePruning(amount / 2, 1 - amount / 2) if kind is PercentilePruning else kind(amount)


@pytest.fixture(scope="module")
def images():
    """Eight pictures, always the same, for networks of the sizes of `small_net`."""

    def make(channels):
        random = torch.Generator().manual_seed(0)
        pictures = torch.randint(256, (8, channels, 5, 5), dtype=torch.uint8, generator=random)
        return Split(pictures, torch.randint(4, (8,), generator=random))

    return make


def flat_net(sizes, seed=0):
    return nn.Sequential(*small_net(sizes, seed)[:4], nn.AdaptiveAvgPool2d(1), *small_net(sizes, seed)[4:])


def methods_in(module):
    (hook,) = module._forward_pre_hooks.values()
    return list(hook) if isinstance(hook, prune.PruningContainer) else [hook]


# ---- the two calls


def test_layers_by_their_own_methods():
    model = nn.Sequential()
    model.conv1, model.conv2 = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
    before = [layer.weight.detach().clone() for layer in (model.conv1, model.conv2)]
    prune_layers({
        model.conv1: [MagnitudePruning(threshold=0.1), RandomPruning(amount=0.2)],
        model.conv2: [PercentilePruning(0.2, 0.9)],
    })  # fmt: skip
    below = int((before[0].abs() < 0.1).sum())
    assert sparsity(model).layers["conv1"][0] == below + round(0.2 * (before[0].numel() - below))
    assert (model.conv1.weight[before[0].abs() < 0.1] == 0).all()
    low, high = np.quantile(before[1].numpy(), (0.2, 0.9))
    assert torch.equal(model.conv2.weight_mask == 1, (before[1] >= low) & (before[1] <= high))
    assert [type(method) for method in methods_in(model.conv1)] == [MagnitudePruning, RandomPruning]
    assert [type(method) for method in methods_in(model.conv2)] == [PercentilePruning]
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 16, 4, 4)


def test_the_whole_network_by_a_threshold():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
    before = weights(model)
    prune_globally(model, [MagnitudePruning(threshold=0.1)])
    assert torch.equal(weights(model) == 0, before.abs() < 0.1)
    assert all(isinstance(methods_in(layer)[0], MagnitudePruning) for layer in prunable_layers(model).values())


# ---- counts, for every criterion in every scope


@pytest.mark.parametrize("kind", [*AMOUNT, FarFromMean, SmallSquares])
@pytest.mark.parametrize("scope", ["layer", "global"])
@given(sizes=sizes, amount=amounts, seed=st.integers(0, 9))
def test_counts_are_exact(kind, scope, images, sizes, amount, seed):
    model = flat_net(sizes, seed)
    if scope == "global":
        prune_globally(model, [kind(amount)], data=images(sizes[0]), batches=1)
        report = sparsity(model)
        assert report.zeros == round(amount * report.size)
    else:
        layers = prunable_layers(model).values()
        prune_layers({layer: [kind(amount)] for layer in layers}, model=model, data=images(sizes[0]), batches=1)
        assert all(zeros == round(amount * size) for zeros, size in sparsity(model).layers.values())
    assert all(kind is type(methods_in(layer)[0]) for layer in prunable_layers(model).values())
    copy.deepcopy(model)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 9))
def test_a_count_is_a_count(size, count, seed):
    torch.manual_seed(seed)
    layer = nn.Linear(size, 1)
    assume(count <= size)
    prune_layers({layer: [MagnitudePruning(count)]})
    assert sparsity(layer).zeros == count


@given(st.integers(1, 200), st.floats(0, 0.9), st.floats(0.05, 1), st.integers(0, 99))
def test_percentiles_are_quantiles_of_the_values(size, low, width, seed):
    torch.manual_seed(seed)
    layer, high = nn.Linear(size, 1), min(1.0, low + width)
    values = layer.weight.detach().clone()
    prune_layers({layer: [PercentilePruning(low, high)]})
    kept = layer.weight_mask == 1
    assert torch.equal(kept, (values >= np.quantile(values, low)) & (values <= np.quantile(values, high)))
    assert abs(int((~kept).sum()) - (low + 1 - high) * size) <= 2


@given(st.integers(2, 8), st.integers(2, 8), st.sampled_from([0, 1]), st.sampled_from([1, 2]), amounts, st.integers(0, 99))
def test_slices_agree_with_torch(rows, columns, dim, n, amount, seed):
    torch.manual_seed(seed)
    ours = nn.Conv2d(columns, rows, 3)
    theirs = copy.deepcopy(ours)
    prune_layers({ours: [MagnitudePruning(amount, dim=dim, n=n)]})
    prune.ln_structured(theirs, "weight", amount, n=n, dim=dim)
    assert torch.equal(ours.weight_mask, theirs.weight_mask)


@given(st.integers(0, 2**40), st.booleans())
def test_random_masks_know_nothing_of_weights_of_the_same_seed(seed, everywhere):
    """torch draws initial weights and random masks from one generator: with one seed for both, the mask takes the largest."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(90, 90, bias=False), nn.Linear(90, 90, bias=False))
    initial = torch.cat([layer.weight.detach().flatten() for layer in model])
    if everywhere:
        prune_globally(model, [RandomPruning(0.5, seed)])
    else:
        prune_layers({layer: [RandomPruning(0.5, seed)] for layer in model})
    mask = torch.cat([layer.weight_mask.flatten() for layer in model])
    assert abs(np.corrcoef(initial, mask)[0, 1]) < 0.05  # six standard errors


def test_random_layers_of_one_shape_get_different_masks():
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    prune_layers({layer: [RandomPruning(0.5, seed=3)] for layer in model})
    assert not torch.equal(model[0].weight_mask, model[1].weight_mask)


@given(sizes, st.floats(0, 1), st.sampled_from([0, 1]), st.integers(0, 9))
def test_filters_compare_across_layers_by_their_mean(sizes, amount, dim, seed):
    """The last layer's rows are the classes and the first one's columns the colours: both are spared."""
    model = small_net(sizes, seed)
    layers = list(prunable_layers(model).values())
    ranked = layers[:-1] if dim == 0 else layers[1:]
    means = torch.cat([layer.weight.detach().abs().transpose(0, dim).flatten(1).mean(1) for layer in ranked])
    prune_globally(model, [MagnitudePruning(amount, dim=dim)])
    gone = torch.cat([(layer.weight_mask.transpose(0, dim).flatten(1) == 0).all(1) for layer in ranked])
    assert gone.sum() == round(amount * len(gone))
    assert not prune.is_pruned(layers[-1] if dim == 0 else layers[0])
    assume(0 < gone.sum() < len(gone))
    assert means[gone].max() <= means[~gone].min()


@given(sizes, st.floats(0, 1), st.sampled_from([0, 1]), st.integers(0, 9), st.sampled_from([*AMOUNT, FarFromMean]))
def test_every_criterion_takes_whole_slices(images, sizes, amount, dim, seed, kind):
    model = flat_net(sizes)
    layers = list(prunable_layers(model).values())
    prune_globally(model, [kind(amount, dim=dim)], data=images(sizes[0]), batches=1)
    ranked = layers[:-1] if dim == 0 else layers[1:]
    units = [(layer.weight_mask.transpose(0, dim).flatten(1)) for layer in ranked]
    gone = sum(int((unit == 0).all(1).sum()) for unit in units)
    assert gone == round(amount * sum(len(unit) for unit in units))
    assert all(((unit == 0).all(1) | (unit == 1).all(1)).all() for unit in units)  # whole slices, nothing between


@given(sizes, st.floats(0, 1), st.integers(0, 9))
def test_l2_norms_compare_across_layers_too(sizes, amount, seed):
    model = small_net(sizes, seed)
    ranked = list(prunable_layers(model).values())[:-1]
    norms = torch.cat([layer.weight.detach().square().flatten(1).mean(1).sqrt() for layer in ranked])
    prune_globally(model, [MagnitudePruning(amount, dim=0, n=2)])
    gone = torch.cat([(layer.weight_mask.flatten(1) == 0).all(1) for layer in ranked])
    assert gone.sum() == round(amount * len(gone))
    assume(0 < gone.sum() < len(gone))
    assert norms[gone].max() <= norms[~gone].min()


@given(st.floats(0, 0.9), st.floats(0, 0.4), st.floats(0.6, 1), st.integers(0, 9))
def test_percentiles_are_those_of_what_remains(first, low, high, seed):
    torch.manual_seed(seed)
    layer = nn.Linear(30, 10)
    weight = layer.weight.detach().clone()
    prune_layers({layer: [RandomPruning(first, seed), PercentilePruning(low, high)]})
    alone = nn.Linear(30, 10)
    prune_layers({alone: [RandomPruning(first, seed)]})
    remains = alone.weight_mask.bool()
    ends = np.quantile(weight[remains].numpy(), (low, high))
    assert torch.equal(layer.weight_mask.bool(), remains & (weight >= ends[0]) & (weight <= ends[1]))


def test_slices_after_single_weights_count_the_slices_that_are_left():
    layer = nn.Conv2d(2, 10, 3)
    mask = torch.ones_like(layer.weight)
    mask[:4], mask[5, 0, 0, 0] = 0, 0
    prune.custom_from_mask(layer, "weight", mask)
    prune_layers({layer: [MagnitudePruning(0.5, dim=0)]})
    assert (layer.weight_mask.flatten(1) == 0).all(1).sum() == 4 + 3  # half of the six that had a weight left


def test_amounts_of_numpys_kind():
    layer = nn.Linear(8, 8)
    prune_layers({layer: [MagnitudePruning(np.float32(0.5)), MagnitudePruning(np.int64(4))]}, min_kept=np.float32(0.1))
    assert sparsity(layer).zeros == 36


# ---- composition


def test_a_step_sees_the_network_that_the_step_before_it_left(images):
    """Also where a method of the reader's own, earlier in the plan, has been worked out already."""
    masks = []
    for order in (1, -1):
        model = small_net()
        plan = [(model[0], [SmallSquares(0.9)]), (model[3], [TaylorPruning(0.5)])]
        prune_layers(dict(plan[::order]), model=model, data=images(3), batches=1)
        masks.append(model[3].weight_mask)
    assert torch.equal(*masks)


@given(sizes, st.floats(0, 0.9), st.floats(0, 0.9), st.integers(0, 9))
def test_amounts_refer_to_what_remains(sizes, first, second, seed):
    model = small_net(sizes, seed)
    size = sparsity(model).size
    prune_globally(model, [MagnitudePruning(first), RandomPruning(second)])
    left = size - round(first * size)
    assert sparsity(model).zeros == size - left + round(second * left)
    again = small_net(sizes, seed)
    prune_globally(again, [MagnitudePruning(first)])
    prune_globally(again, [RandomPruning(second)])
    assert torch.equal(weights(model), weights(again))


def test_containers_of_ours_and_torchs():
    layer = nn.Linear(10, 10)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    prune_layers({layer: [prune.LnStructured(2, 2, 0), MagnitudePruning(0.5), SmallSquares(1.0)]})
    assert [type(m).__name__ for m in methods_in(layer)] == ["L1Unstructured", "LnStructured", "MagnitudePruning", "SmallSquares"]
    assert sparsity(layer).zeros == 100
    make_permanent(layer)
    assert not prune.is_pruned(layer) and sparsity(layer).zeros == 100


@pytest.mark.parametrize("kind", [GradientPruning, TaylorPruning])
def test_later_scores_are_those_of_the_pruned_network(kind, images):
    """In one call or in two: the second criterion sees the network that the first one left."""
    once, twice = flat_net((3, 4, 5)), flat_net((3, 4, 5))
    prune_globally(once, [MagnitudePruning(0.5), kind(0.5)], data=images(3))
    prune_globally(twice, [MagnitudePruning(0.5)])
    prune_globally(twice, [kind(0.5)], data=images(3))
    assert torch.equal(weights(once), weights(twice))


@pytest.mark.parametrize("kind", EVERY)
def test_zero_and_full_amounts_and_nothing_left(kind, images):
    if kind is not PercentilePruning:
        whole, empty = flat_net((3, 4, 5)), flat_net((3, 4, 5))
        prune_globally(whole, [kind(0.0)], data=images(3))
        prune_globally(empty, [kind(1.0)], data=images(3))
        assert sparsity(whole).zeros == 0 and prune.is_pruned(whole) and sparsity(empty).fraction == 1
    model = flat_net((3, 4, 5))
    prune_globally(model, [MagnitudePruning(1.0)])
    prune_globally(model, [made(kind)], data=images(3))  # nothing remains, half of it goes
    assert sparsity(model).fraction == 1


@pytest.mark.parametrize("kind", [MagnitudePruning, RandomPruning, PercentilePruning])
def test_a_layer_without_weights(kind):
    layer = nn.Linear(1, 3)
    layer.weight = nn.Parameter(torch.empty(3, 0))
    prune_layers({layer: [made(kind)]})
    assert layer.weight_mask.shape == (3, 0)


@given(st.integers(1, 40), amounts)
def test_ties_are_cut_to_the_exact_count(size, amount):
    layer = nn.Linear(size, 1)
    nn.init.ones_(layer.weight)
    prune_layers({layer: [MagnitudePruning(amount)]})
    assert sparsity(layer).zeros == round(amount * size)


def test_equal_values_are_between_their_quantiles():
    layer = nn.Linear(10, 1)
    nn.init.ones_(layer.weight)
    prune_layers({layer: [PercentilePruning(0.2, 0.9)]})
    assert sparsity(layer).zeros == 0


# ---- what is left alone, and what is asked for


def test_batchnorm_and_biases_only_where_named(images):
    model = flat_net((3, 4, 5))
    prune_globally(model, [MagnitudePruning(0.9), TaylorPruning(0.5)], data=images(3))
    assert not prune.is_pruned(model[1]) and not any("bias_mask" in name for name, _ in model.named_buffers())
    prune_layers({model[1]: [MagnitudePruning(2)], (model[0], "bias"): [MagnitudePruning(3)]})
    assert (model[1].weight == 0).sum() == 2 and (model[0].bias == 0).sum() == 3
    prune_globally(model, [RandomPruning(1.0)], parameters=[(model[3], "bias"), (model[1], "bias")])
    assert (model[3].bias == 0).all() and (model[1].bias == 0).all()
    make_permanent(model)
    assert not prune.is_pruned(model)


def test_scores_leave_the_network_as_it_was(images, state_of, same_state):
    model = flat_net((3, 4, 5)).train()
    prune_layers({model[0]: [MagnitudePruning(0.5)]})
    before, pictures = state_of(model), images(3)
    scores = saliency_scores(model, pictures, "gradient", batches=2, batch_size=4)
    assert same_state(before, state_of(model)) and model.training and all(p.grad is None for p in model.parameters())
    assert {tuple(score.shape) for score in scores.values()} == {tuple(m.weight.shape) for m in prunable_layers(model).values()}
    assert (scores[model[0], "weight"][model[0].weight_mask == 0] == 0).all()
    copy.deepcopy(model)


@pytest.mark.parametrize("all_of_it", [False, True])
def test_frozen_weights_have_the_same_scores_and_stay_frozen(images, all_of_it, state_of, same_state):
    model, pictures = flat_net((3, 4, 5)), images(3)
    prune_layers({model[0]: [MagnitudePruning(0.5)]})
    expected = saliency_scores(model, pictures)
    frozen = list(model.parameters()) if all_of_it else [model[0].weight_orig, model[3].bias]
    for parameter in frozen:
        parameter.requires_grad_(False)
    before, asked = state_of(model), [p.requires_grad for p in model.parameters()]
    scores = saliency_scores(model, pictures)
    assert all(torch.equal(scores[target], expected[target]) for target in expected)
    bad = Split(pictures.images, pictures.labels + 100)  # no such classes
    with pytest.raises((IndexError, RuntimeError)):
        saliency_scores(model, bad)
    assert same_state(before, state_of(model)) and [p.requires_grad for p in model.parameters()] == asked
    assert all(p.grad is None for p in model.parameters())
    copy.deepcopy(model)
    prune_globally(model, [TaylorPruning(0.5)], data=pictures)
    assert [p.requires_grad for p in model.parameters()].count(False) == len(frozen)


def test_scores_by_hand():
    """One linear unit pair, one picture: the gradient of the cross-entropy is (p - y) x."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.0]]))
    model = nn.Sequential(nn.Flatten(), layer)
    split = Split(torch.tensor([[[[51]], [[255]]]], dtype=torch.uint8), torch.tensor([1]))  # x = (0.2, 1)
    p = math.exp(-1.8) / (math.exp(-1.8) + math.exp(0.1))
    expected = torch.tensor([[0.2 * p, p], [0.2 * p, p]])
    gradient = saliency_scores(model, split, "gradient")[layer, "weight"]
    taylor = saliency_scores(model, split, "taylor")[layer, "weight"]
    assert torch.allclose(gradient, expected, atol=2e-3)
    assert torch.allclose(taylor, expected * layer.weight.abs(), atol=4e-3)
    prune_globally(model, [TaylorPruning(1)], data=split)
    assert layer.weight_mask.tolist() == [[1, 1], [1, 0]]  # w = 0: its removal changes nothing


@pytest.mark.parametrize("kind", ["gradient", "taylor"])
def test_scores_are_means_over_batches(kind, images):
    model, pictures = flat_net((3, 4, 5)), images(3)
    parts = [Split(pictures.images[k : k + 1], pictures.labels[k : k + 1]) for k in range(8)]
    alone = [saliency_scores(model, part, kind)[model[0], "weight"] for part in parts]
    together = saliency_scores(model, pictures, kind, batches=8, batch_size=1)[model[0], "weight"]
    assert torch.allclose(together, torch.stack(alone).mean(0), rtol=0.05, atol=1e-3)


def test_torch_itself_takes_our_criteria():
    layer = nn.Linear(6, 4)
    MagnitudePruning.apply(layer, "weight", amount=12)
    scores = torch.arange(24.0).view(4, 6)
    TaylorPruning.apply(layer, "weight", amount=6, importance_scores=scores)
    assert sparsity(layer).zeros == 18
    model = small_net()
    prune.global_unstructured([(model[0], "weight"), (model[5], "weight")], pruning_method=RandomPruning, amount=0.5)
    with pytest.raises(ValueError, match="importance_scores=None: GradientPruning ranks scores"):
        GradientPruning.apply(nn.Linear(2, 2), "weight", amount=1)


# ---- a minimum in each layer


@given(sizes, st.floats(0.5, 1), st.floats(0, 0.5), st.sampled_from([*AMOUNT[:2], FarFromMean]), st.integers(0, 99))
def test_a_minimum_prevents_collapse(sizes, amount, kept, kind, seed):
    model = small_net(sizes, seed)
    with torch.no_grad():
        model[0].weight.mul_(1e-3)  # without a minimum this layer goes first
    total, least = sparsity(model).size, {n: math.ceil(kept * size) for n, (_, size) in sparsity(model).layers.items()}
    if round(amount * total) > total - sum(least.values()):
        with pytest.raises(ValueError, match=r"amount=.*min_kept spares"):
            prune_globally(model, [kind(amount)], min_kept=kept)
        assert not prune.is_pruned(model)
        return
    prune_globally(model, [kind(amount)], min_kept=kept)
    report = sparsity(model)
    assert report.zeros == round(amount * report.size)
    assert all(size - zeros >= least[name] for name, (zeros, size) in report.layers.items())


def test_the_minimum_spares_the_most_important():
    model = nn.Sequential(nn.Linear(4, 1), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -4, 2, 3]]))
        model[1].weight.copy_(torch.tensor([[10.0, 20, -30, 40]]))
    prune_globally(model, [MagnitudePruning(4)], min_kept=1)
    assert model[0].weight.tolist() == [[0, -4, 0, 0]] and model[1].weight.tolist() == [[0, 20, -30, 40]]


def test_the_minimum_holds_for_thresholds_percentiles_and_slices():
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    prune_layers({layer: [MagnitudePruning(threshold=9.0)]}, min_kept=3)
    assert sparsity(layer).zeros == 61
    layer = nn.Linear(9, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(9.0))
    prune_layers({layer: [PercentilePruning(0.5, 0.51)]}, min_kept=3)
    assert layer.weight_mask.flatten().nonzero().flatten().tolist() == [3, 4, 5]
    conv = nn.Conv2d(2, 5, 3)
    prune_layers({conv: [MagnitudePruning(threshold=9.0, dim=0)]}, min_kept=2)
    assert (conv.weight_mask.flatten(1).sum(1) > 0).sum() == 2


# ---- zeros last


@pytest.mark.parametrize("kind", EVERY)
def test_zeros_stay_through_training(kind, digits):
    """Momentum and weight decay move what lies under the mask; what the network uses stays exactly zero."""
    model = CifarNet(0.1)
    prune_globally(model, [made(kind, 0.6), MagnitudePruning(0.2)], data=digits, batches=1)
    masks = {name: module.weight_mask.clone() for name, module in prunable_layers(model).items()}
    hidden = model.stage1.conv.weight_orig.detach().clone()
    seen = []

    def used_in(module, inputs):  # after the mask's own hook: the weight that this forward pass uses
        seen.append(bool((module.weight[model_masks[module] == 0] == 0).all()))

    model_masks = {module: masks[name] for name, module in prunable_layers(model).items()}
    for module in model_masks:
        module.register_forward_pre_hook(used_in)
    history = train(model, digits, epochs=1, validate=False)
    assert not torch.equal(hidden, model.stage1.conv.weight_orig.detach())
    assert all(seen) and len(seen) >= history.steps * len(model_masks)
    make_permanent(model)
    for name, module in prunable_layers(model).items():
        assert (module.weight[masks[name] == 0] == 0).all()


# ---- refused, and nothing changed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *[(lambda a=a: MagnitudePruning(a), r"amount=.*: must be a fraction in \[0, 1\] or a count") for a in (-0.1, 1.5, math.nan, math.inf, -1, "half", True)],
        (lambda: MagnitudePruning(), r"amount=None, threshold=None: exactly one"),
        (lambda: MagnitudePruning(0.5, threshold=0.1), r"exactly one"),
        (lambda: MagnitudePruning(threshold=-1), r"threshold=-1: must be a number of 0 or more"),
        (lambda: MagnitudePruning(0.5, dim=2), r"dim=2: must be None"),
        (lambda: MagnitudePruning(0.5, dim=1.0), r"dim=1.0: must be None"),
        (lambda: MagnitudePruning(0.5, dim=0, n=3), r"n=3: must be 1 or 2"),
        (lambda: PercentilePruning(0.9, 0.2), r"low=0.9, high=0.2: must be quantiles"),
        (lambda: PercentilePruning(0.2, 1.2), r"must be quantiles"),
        (lambda: RandomPruning(None), r"amount=None"),
        (lambda: RandomPruning(0.5, seed=-1), r"seed=-1: must be a whole number of 0 or more"),
        (lambda: RandomPruning(0.5, seed=0.5), r"seed=0.5: must be a whole number"),
    ],
)  # fmt: skip
def test_bad_criteria_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


SPLIT = Split(torch.zeros(2, 3, 5, 5, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))


class Nowhere(Criterion):
    def importance(self, weight):
        return weight * math.nan


class Fails(prune.BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        raise RuntimeError("no mask")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: prune_layers({}), TypeError, "plan: must be a dict"),
        (lambda m: prune_layers([m[0]]), TypeError, "plan: must be a dict"),
        (lambda m: prune_layers({"conv1": [MagnitudePruning(0.5)]}), TypeError, "must be a pair .module, parameter name., or in a plan a module such as model.conv1"),
        (lambda m: prune_layers({m[0]: [MagnitudePruning(0.5)], m[2]: [MagnitudePruning(0.5)]}), ValueError, "ReLU has no parameter 'weight'"),
        (lambda m: prune_layers({(m[0], "scale"): [MagnitudePruning(0.5)]}), ValueError, "no parameter 'scale'"),
        (lambda m: prune_layers({m[0]: MagnitudePruning(0.5)}), TypeError, "methods=.*: must be a list"),
        (lambda m: prune_layers({m[0]: []}), TypeError, "must be a list with at least one method"),
        (lambda m: prune_layers({m[0]: [MagnitudePruning]}), TypeError, r"is the class MagnitudePruning; write MagnitudePruning\(…\)"),
        (lambda m: prune_layers({m[0]: [0.5]}), TypeError, "must be an object of a subclass of BasePruningMethod, is 0.5"),
        (lambda m: prune_layers({m[0]: [MagnitudePruning(0.5)], (m[0], "weight"): [MagnitudePruning(0.5)]}), ValueError, "named twice"),
        (lambda m: prune_layers({m[0]: [MagnitudePruning(0.5)], m[3]: [MagnitudePruning(10**6)]}), ValueError, "amount=1000000: only .* left"),
        (lambda m: prune_layers({m[0]: [MagnitudePruning(0.5)]}, min_kept=-1), ValueError, "min_kept=-1: must be"),
        (lambda m: prune_layers({m[0]: [SmallSquares(0.5)]}, min_kept=1), ValueError, "SmallSquares has no ranking to keep by"),
        (lambda m: prune_layers({m[0]: [MagnitudePruning(0.5), Fails()]}), RuntimeError, "no mask"),
        (lambda m: prune_layers({(m[0], "bias"): [MagnitudePruning(1, dim=1)]}), ValueError, r"dim=1: bias of .* has only one dimension"),
        (lambda m: prune_layers({(m[1], "weight"): [MagnitudePruning(1, dim=0)]}), ValueError, r"dim=0: weight of BatchNorm.* has only one dimension"),
        (lambda m: prune_globally("x", [MagnitudePruning(0.5)]), TypeError, "model='x': must be a network"),
        (lambda m: prune_globally([MagnitudePruning(0.5)], m), TypeError, "model=.*: must be a network"),
        (lambda m: prune_globally(m, [TaylorPruning(0.5)], data=torch.zeros(3)), ValueError, "data='Tensor': must be a Dataset, or a Split"),
        (lambda m: saliency_scores(m, SPLIT, batches="8"), ValueError, "batches='8': must be a whole number of 1 or more"),
        (lambda m: saliency_scores(m, SPLIT, batch_size=0), ValueError, "batch_size=0: must be a whole number of 1 or more"),
        (lambda m: prune_globally(m, [Nowhere(0.5)]), ValueError, r"method: \d+ importance scores of Nowhere\(amount=0.5\) are NaN"),
        (lambda m: prune_globally(m, [prune.LnStructured(0.5, 2, 0)]), TypeError, "LnStructured prunes slices"),
        (lambda m: prune_globally(m, [TaylorPruning(0.5)]), ValueError, "data=None: TaylorPruning needs the model and training data"),
        (lambda m: prune_layers({m[0]: [GradientPruning(0.5)]}, data=1), ValueError, "model=None: GradientPruning needs"),
        (lambda m: prune_layers({m[0]: [GradientPruning(0.5)]}, data=1, model=nn.ReLU()), ValueError, "model: does not contain weight of Conv2d"),
        (lambda m: prune_globally(nn.ReLU(), [MagnitudePruning(0.5)]), ValueError, "no Conv2d or Linear layer"),
        (lambda m: prune_globally(m, [MagnitudePruning(0.5)], parameters=[]), ValueError, "parameters: is empty"),
        (lambda m: prune_globally(m, [MagnitudePruning(0.5)], parameters=[m[0]]), TypeError, "must be a pair .module, parameter name."),
        (lambda m: prune_globally(m[0], [MagnitudePruning(0.5, dim=0)]), ValueError, "its only layer would be spared; name it"),
        (lambda m: saliency_scores(m, None, "hessian"), ValueError, "kind='hessian': must be"),
        (lambda m: saliency_scores(m, None, batches=0), ValueError, "batches=0: must be"),
        (lambda m: saliency_scores(m, Split(torch.zeros(0, 3, 5, 5, dtype=torch.uint8), torch.zeros(0))), ValueError, "data='Split': must be a Dataset, or a Split with at least one image"),
    ],
)  # fmt: skip
def test_a_refused_call_changes_nothing(call, error, message, state_of, same_state):
    model = small_net((3, 4, 5))
    before, order = state_of(model), [name for name, _ in model.named_parameters()]
    with pytest.raises(error, match=message):
        call(model)
    assert same_state(before, state_of(model)) and not prune.is_pruned(model)
    assert [name for name, _ in model.named_parameters()] == order


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(bad):
    model = small_net((3, 4, 5))
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="weight of Conv2d.* holds 1 weights that are NaN or infinite"):
        prune_globally(model, [MagnitudePruning(0.5)])
    assert not prune.is_pruned(model)


def test_scores_that_are_no_numbers_are_refused(digits):
    """A NaN that no ranked weight holds, but every gradient meets."""
    model = CifarNet(0.1)
    model.bn1.running_var[0] = math.nan
    with pytest.raises(ValueError, match=r"importance scores of TaylorPruning\(amount=0.5\) are NaN"):
        prune_globally(model, [TaylorPruning(0.5)], data=digits, batches=1)
    assert not prune.is_pruned(model)


def test_the_meta_device_is_refused():
    with pytest.raises(ValueError, match="on the meta device"):
        prune_globally(nn.Linear(3, 3, device="meta"), [MagnitudePruning(0.5)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no second device here")
def test_layers_on_several_devices():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).cuda())
    prune_globally(model, [MagnitudePruning(0.5)])
    assert sparsity(model).zeros == 16 and model[1].weight_mask.is_cuda


# ---- sensitivity


def test_the_scan_prunes_one_layer_at_a_time(digits, state_of, same_state):
    model = trained(digits, width=0.15, epochs=2, seed=0)
    before = state_of(model)
    few = digits.val.subset(60)
    scan = sensitivity_scan(model, few, (0.0, 0.9))
    assert list(scan) == list(prunable_layers(model)) and same_state(before, state_of(model))
    for name, accuracies in scan.items():
        alone = copy.deepcopy(model)
        prune_layers({alone.get_submodule(name): [MagnitudePruning(0.9)]})
        assert accuracies == [evaluate(model, few).accuracy, evaluate(alone, few).accuracy]
    assert len({accuracies[1] for accuracies in scan.values()}) > 1


@given(st.floats(0, 1), st.lists(st.lists(st.floats(0, 0.9), min_size=5, max_size=5), min_size=3, max_size=3))
def test_amounts_from_a_scan_meet_the_total(total, accuracies):
    model = small_net((3, 4, 5))
    counts = amounts_from_sensitivity(model, dict(zip(prunable_layers(model), accuracies, strict=True)), 0.9, total)
    assert sum(counts.values()) == round(total * sparsity(model).size)
    assert all(0 <= count <= layer.weight.numel() for layer, count in counts.items())
    prune_layers({layer: [MagnitudePruning(count)] for layer, count in counts.items()})
    assert sparsity(model).zeros == sum(counts.values())


def test_sensitive_layers_lose_less():
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    scan = {"0": [0.9, 0.9, 0.9, 0.9, 0.8], "1": [0.8, 0.6, 0.4, 0.3, 0.1]}
    tough, tender = amounts_from_sensitivity(model, scan, 0.9, 0.5).values()
    assert tough > 80 and tender < 20
    with pytest.raises(ValueError, match=r"total=1.5: must be a fraction"):
        amounts_from_sensitivity(model, scan, 0.9, 1.5)

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

import helpers as h

amounts = st.floats(0, 1)
sizes = st.lists(st.integers(1, 6), min_size=3, max_size=3)
SALIENCY = [h.GradientPruning, h.TaylorPruning, h.WandaPruning]
AMOUNT = [h.MagnitudePruning, h.RandomPruning, *SALIENCY]
EVERY = [*AMOUNT, h.PercentilePruning]
SCANNED = (0.2, 0.4, 0.6, 0.8, 0.9)


class FarFromMean(h.Criterion):
    """A reader's own criterion."""

    def importance(self, weight):
        return (weight - weight.mean()).abs()


class Nowhere(h.Criterion):
    def importance(self, weight):
        return weight * math.nan


def made(kind, amount=0.5):
    return h.PercentilePruning(amount / 2, 1 - amount / 2) if kind is h.PercentilePruning else kind(amount)


def images(channels):
    """Eight pictures, always the same, for networks of the sizes of `small_net`."""
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (8, channels, 5, 5), dtype=torch.uint8, generator=random)
    return h.Split(pictures, torch.randint(4, (8,), generator=random))


def flat_net(sizes=(3, 4, 5), seed=0):
    return nn.Sequential(*small_net(sizes, seed)[:4], nn.AdaptiveAvgPool2d(1), *small_net(sizes, seed)[4:])


def slices_of(layer, dim):
    return layer.weight_mask.transpose(0, dim).flatten(1)


# ---- the two calls, and counts for every criterion in every scope


def test_layers_by_their_own_methods():
    conv1, conv2 = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
    before = [layer.weight.detach().clone() for layer in (conv1, conv2)]
    h.prune_layers({
        conv1: [h.MagnitudePruning(threshold=0.1), h.RandomPruning(amount=0.2)],
        conv2: [h.PercentilePruning(0.2, 0.9)],
    })  # fmt: skip
    below = before[0].abs() < 0.1
    assert h.sparsity(conv1).zeros == below.sum() + round(0.2 * int((~below).sum())) and (conv1.weight[below] == 0).all()
    low, high = np.quantile(before[1].numpy(), (0.2, 0.9))
    assert torch.equal(conv2.weight_mask == 1, (before[1] >= low) & (before[1] <= high))


@pytest.mark.parametrize("kind", [*AMOUNT, FarFromMean])
@pytest.mark.parametrize("scope", ["layer", "global"])
@given(sizes=sizes, amount=amounts, seed=st.integers(0, 9))
def test_counts_are_exact(kind, scope, sizes, amount, seed):
    model = flat_net(sizes, seed)
    if scope == "global":
        h.prune_globally(model, [kind(amount)], data=images(sizes[0]))
        report = h.sparsity(model)
        assert report.zeros == round(amount * report.size)
    else:
        h.prune_layers({layer: [kind(amount)] for layer in h.prunable_layers(model).values()}, model=model, data=images(sizes[0]))
        assert all(zeros == round(amount * size) for zeros, size in h.sparsity(model).layers.values())
    copy.deepcopy(model)


@given(st.integers(1, 60), st.integers(0, 60))
def test_a_count_is_a_count_and_ties_are_cut_to_it(size, count):
    assume(count <= size)
    layer = nn.Linear(size, 1)
    nn.init.ones_(layer.weight)
    h.prune_layers({layer: [h.MagnitudePruning(count)]})
    assert h.sparsity(layer).zeros == count


@given(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.05, 1), st.integers(0, 9))
def test_percentiles_are_quantiles_of_what_remains(first, low, width, seed):
    torch.manual_seed(seed)
    layer, alone, high = nn.Linear(30, 10), nn.Linear(30, 10), min(1.0, low + width)
    weight = layer.weight.detach().clone()
    h.prune_layers({layer: [h.RandomPruning(first, seed), h.PercentilePruning(low, high)]})
    h.prune_layers({alone: [h.RandomPruning(first, seed)]})
    remains = alone.weight_mask.bool()
    ends = np.quantile(weight[remains].numpy(), (low, high))
    assert torch.equal(layer.weight_mask.bool(), remains & (weight >= ends[0]) & (weight <= ends[1]))


@given(st.integers(2, 8), st.integers(2, 8), st.sampled_from([0, 1]), amounts, st.integers(0, 99))
def test_slices_agree_with_torch(rows, columns, dim, amount, seed):
    torch.manual_seed(seed)
    ours = nn.Conv2d(columns, rows, 3)
    theirs = copy.deepcopy(ours)
    h.prune_layers({ours: [h.MagnitudePruning(amount, dim=dim)]})
    prune.ln_structured(theirs, "weight", amount, n=1, dim=dim)
    assert torch.equal(ours.weight_mask, theirs.weight_mask)


@given(st.integers(0, 2**40), st.booleans())
def test_random_masks_know_nothing_of_weights_of_the_same_seed(seed, everywhere):
    """torch draws initial weights and random masks from one generator: with one seed for both, the mask takes the largest."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(90, 90, bias=False), nn.Linear(90, 90, bias=False))
    initial = weights(model)
    if everywhere:
        h.prune_globally(model, [h.RandomPruning(0.5, seed)])
    else:
        h.prune_layers({layer: [h.RandomPruning(0.5, seed)] for layer in model})
    mask = torch.cat([layer.weight_mask.flatten() for layer in model])
    assert abs(np.corrcoef(initial, mask)[0, 1]) < 0.05  # six standard errors
    assert not torch.equal(model[0].weight_mask, model[1].weight_mask)


@given(sizes, amounts, st.sampled_from([0, 1]), st.integers(0, 9), st.sampled_from([*AMOUNT, FarFromMean]))
def test_every_criterion_takes_whole_slices(sizes, amount, dim, seed, kind):
    """The last layer's rows are the classes and the first one's columns the colors: both are spared."""
    model = flat_net(sizes, seed)
    layers = list(h.prunable_layers(model).values())
    h.prune_globally(model, [kind(amount, dim=dim)], data=images(sizes[0]))
    units = [slices_of(layer, dim) for layer in (layers[:-1] if dim == 0 else layers[1:])]
    assert sum(int((unit == 0).all(1).sum()) for unit in units) == round(amount * sum(len(unit) for unit in units))
    assert all(((unit == 0).all(1) | (unit == 1).all(1)).all() for unit in units)  # whole slices, nothing between
    assert not prune.is_pruned(layers[-1] if dim == 0 else layers[0])


@given(sizes, amounts, st.sampled_from([0, 1]), st.integers(0, 9))
def test_slices_compare_across_layers_by_norms_freed_of_size(sizes, amount, dim, seed):
    model = small_net(sizes, seed)
    ranked = list(h.prunable_layers(model).values())
    ranked = ranked[:-1] if dim == 0 else ranked[1:]
    parts = [layer.weight.detach().abs().transpose(0, dim).flatten(1) for layer in ranked]
    norms = torch.cat([part.mean(1) for part in parts])
    h.prune_globally(model, [h.MagnitudePruning(amount, dim=dim)])
    pruned = torch.cat([(slices_of(layer, dim) == 0).all(1) for layer in ranked])
    assume(0 < pruned.sum() < len(pruned))
    assert norms[pruned].max() <= norms[~pruned].min()


def test_slices_after_single_weights_count_the_slices_that_are_left():
    layer = nn.Conv2d(2, 10, 3)
    mask = torch.ones_like(layer.weight)
    mask[:4], mask[5, 0, 0, 0] = 0, 0
    prune.custom_from_mask(layer, "weight", mask)
    h.prune_layers({layer: [h.MagnitudePruning(0.5, dim=0)]})
    assert (layer.weight_mask.flatten(1) == 0).all(1).sum() == 4 + 3  # half of the six that had a weight left


# ---- composition


@given(sizes, st.floats(0, 0.9), st.floats(0, 0.9), st.integers(0, 9), st.sampled_from([h.RandomPruning, *SALIENCY]))
def test_amounts_and_scores_are_those_of_what_remains(sizes, first, second, seed, kind):
    """In one call or in two: the second criterion sees the network that the first one left."""
    once, twice = flat_net(sizes, seed), flat_net(sizes, seed)
    size = h.sparsity(once).size
    h.prune_globally(once, [h.MagnitudePruning(first), kind(second)], data=images(sizes[0]))
    left = size - round(first * size)
    assert h.sparsity(once).zeros == size - left + round(second * left)
    h.prune_globally(twice, [h.MagnitudePruning(first)])
    h.prune_globally(twice, [kind(second)], data=images(sizes[0]))
    assert torch.equal(weights(once), weights(twice))


def test_on_top_of_torchs_methods():
    layer = nn.Linear(10, 10)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    h.prune_layers({layer: [h.MagnitudePruning(0.5)]})
    h.MagnitudePruning.apply(layer, "weight", amount=5)  # torch's own way
    assert h.sparsity(layer).zeros == 80
    h.make_permanent(layer)
    assert not prune.is_pruned(layer) and h.sparsity(layer).zeros == 80


@pytest.mark.parametrize("kind", AMOUNT)
def test_half_of_nothing(kind):
    model = flat_net()
    prune_twice = [h.MagnitudePruning(1.0), kind(0.5)]
    h.prune_globally(model, prune_twice, data=images(3))
    assert h.sparsity(model).fraction == 1


def test_biases_and_norms_are_left_alone():
    model = flat_net()
    h.prune_globally(model, [h.MagnitudePruning(0.9), h.TaylorPruning(0.5)], data=images(3))
    assert not prune.is_pruned(model[1]) and not any("bias_mask" in name for name, _ in model.named_buffers())


# ---- scores from training data


def test_scores_leave_the_network_as_it_was_and_take_frozen_ones(state_of, same_state):
    model = flat_net().train()
    h.prune_layers({model[0]: [h.MagnitudePruning(0.5)]})
    expected = h.saliency_scores(model, images(3), "gradient")
    frozen = [model[0].weight_orig, model[3].bias]
    for parameter in frozen:
        parameter.requires_grad_(False)
    before = state_of(model)
    scores = h.saliency_scores(model, images(3), "gradient")
    assert all(torch.equal(scores[target], expected[target]) for target in expected)
    assert [tuple(score.shape) for score in scores.values()] == [tuple(m.weight.shape) for m in h.prunable_layers(model).values()]
    assert same_state(before, state_of(model)) and model.training and all(p.grad is None for p in model.parameters())
    assert [p for p in model.parameters() if not p.requires_grad] == frozen
    copy.deepcopy(model)


def test_scores_by_hand():
    """One linear unit pair, one picture: the gradient of the cross-entropy is (p - y) x."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.0]]))
    model = nn.Sequential(nn.Flatten(), layer)
    split = h.Split(torch.tensor([[[[51]], [[255]]]], dtype=torch.uint8), torch.tensor([1]))  # x = (0.2, 1)
    p = math.exp(-1.8) / (math.exp(-1.8) + math.exp(0.1))
    expected = torch.tensor([[0.2 * p, p], [0.2 * p, p]])
    gradient, taylor = (h.saliency_scores(model, split, kind)[layer, "weight"] for kind in ("gradient", "taylor"))
    assert torch.allclose(gradient, expected, atol=2e-3)
    assert torch.allclose(taylor, expected * layer.weight.abs(), atol=4e-3)
    h.prune_globally(model, [h.TaylorPruning(1)], data=split)
    assert layer.weight_mask.tolist() == [[1, 1], [1, 0]]  # w = 0: its removal changes nothing


def test_scores_are_means_over_batches_of_500(digits):
    model, split = h.CifarNet(0.1), digits.train.subset(1000)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).split(500)
    parts = [h.Split(split.images[index], split.labels[index]) for index in order]
    alone = [h.saliency_scores(model, part, "gradient")[model.conv1, "weight"] for part in parts]
    together = h.saliency_scores(model, split, "gradient")[model.conv1, "weight"]
    assert torch.allclose(together, torch.stack(alone).mean(0), rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_wanda_by_hand(scope):
    """Two pictures of two channels, of 2 x 1 pixels: (3, 4) and 0 in the first channel, (0, 5) and (12, 0) in the second, in 1/255."""
    conv, linear = nn.Conv2d(2, 1, 1, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))  # gives (6, 3) and (-12, 0)
        linear.weight.copy_(torch.tensor([[1.0, 9.0], [-2.0, 3.0]]))
    pictures = torch.tensor([[[[3], [4]], [[0], [5]]], [[[0], [0]], [[12], [0]]]], dtype=torch.uint8)
    model, split = nn.Sequential(conv, nn.Flatten(), linear).train(), h.Split(pictures, torch.tensor([0, 1]))
    scores = h.saliency_scores(model, split, "wanda")
    assert scores[conv, "weight"].flatten().tolist() == pytest.approx([2 * 5 / 255, 1 * 13 / 255], rel=0.01)
    norms = torch.tensor([180**0.5, 3.0]) / 255
    assert torch.allclose(scores[linear, "weight"], linear.weight.abs() * norms, rtol=0.02)
    if scope == "global":  # 0.039 0.051 in the convolution, 0.053 0.106 and 0.105 0.035 behind it
        h.prune_globally(model, [h.WandaPruning(3)], data=split)
        masks = [0, 0], [[1, 1], [1, 0]]
    else:
        h.prune_layers({conv: [h.WandaPruning(1)], linear: [h.WandaPruning(2)]}, model=model, data=split)
        masks = [0, 1], [[0, 1], [1, 0]]
    assert (conv.weight_mask.flatten().tolist(), linear.weight_mask.tolist()) == masks


def test_wanda_takes_grouped_convolutions_and_sequences():
    grouped, linear = nn.Conv2d(4, 6, 1, groups=2), nn.Linear(6, 4)
    model = nn.Sequential(
        grouped, nn.Flatten(2), nn.Unflatten(2, (25, 1)), nn.Flatten(2), nn.AdaptiveAvgPool1d(6), linear, nn.Flatten()
    )
    scores = h.saliency_scores(model, images(4), "wanda")
    norm = (images(4).images.float() / 255).square().sum((0, 2, 3)).sqrt().view(2, 1, 2).expand(2, 3, 2).reshape(6, 2)
    assert torch.allclose(scores[grouped, "weight"].squeeze(), grouped.weight.squeeze().abs() * norm, rtol=0.01)
    assert scores[linear, "weight"].shape == (4, 6)


# ---- a minimum in each layer


@given(sizes, st.floats(0.5, 1), st.floats(0, 0.5), st.sampled_from([*AMOUNT[:2], FarFromMean]), st.integers(0, 99))
def test_a_minimum_prevents_collapse(sizes, amount, kept, kind, seed):
    model = small_net(sizes, seed)
    with torch.no_grad():
        model[0].weight.mul_(1e-3)  # without a minimum this layer goes first
    total, least = h.sparsity(model).size, {n: math.ceil(kept * size) for n, (_, size) in h.sparsity(model).layers.items()}
    if round(amount * total) > total - sum(least.values()):
        with pytest.raises(ValueError, match=r"amount=.*left and not protected"):
            h.prune_globally(model, [kind(amount)], min_kept=kept)
        assert not prune.is_pruned(model)
        return
    h.prune_globally(model, [kind(amount)], min_kept=kept)
    report = h.sparsity(model)
    assert report.zeros == round(amount * report.size)
    assert all(size - zeros >= least[name] for name, (zeros, size) in report.layers.items())


def test_the_minimum_protects_the_most_important():
    model = nn.Sequential(nn.Linear(4, 1), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -4, 2, 3]]))
        model[1].weight.copy_(torch.tensor([[10.0, 20, -30, 40]]))
    h.prune_globally(model, [h.MagnitudePruning(4)], min_kept=0.25)
    assert model[0].weight.tolist() == [[0, -4, 0, 0]] and model[1].weight.tolist() == [[0, 20, -30, 40]]
    h.prune_globally(model, [h.MagnitudePruning(threshold=50.0)], min_kept=0.25)
    assert model[0].weight.tolist() == [[0, -4, 0, 0]] and model[1].weight.tolist() == [[0, 0, 0, 40]]


# ---- zeros last


@pytest.mark.parametrize("kind", EVERY)
def test_zeros_stay_through_training(kind, digits):
    """Momentum and weight decay move what lies under the mask; what the network uses stays exactly zero."""
    model = h.CifarNet(0.1)
    h.prune_globally(model, [made(kind, 0.6), h.MagnitudePruning(0.2)], data=digits)
    masks = {module: module.weight_mask.clone() for module in h.prunable_layers(model).values()}
    hidden = model.stage1.conv.weight_orig.detach().clone()
    seen = []
    for module in masks:  # after the mask's own hook: the weight that this forward pass uses
        module.register_forward_pre_hook(lambda module, _: seen.append(bool((module.weight[masks[module] == 0] == 0).all())))
    history = h.train(model, digits, epochs=1, validate=False)
    assert not torch.equal(hidden, model.stage1.conv.weight_orig.detach())
    assert all(seen) and len(seen) >= history.steps * len(masks)
    h.make_permanent(model)
    assert all((module.weight[mask == 0] == 0).all() for module, mask in masks.items())


# ---- refused, and nothing changed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *[(lambda a=a: h.MagnitudePruning(a), r"amount=.*: must be a fraction in \[0, 1\] or a count") for a in (-0.1, 1.5, -1)],
        (lambda: h.MagnitudePruning(), r"amount, threshold=\(None, None\): must be one number"),
        (lambda: h.MagnitudePruning(0.5, threshold=0.1), r"must be one number and one None"),
        (lambda: h.MagnitudePruning(0.5, dim=2), r"dim=2: must be None"),
        (lambda: h.PercentilePruning(0.9, 0.2), r"low, high=.*must be quantiles"),
        (lambda: h.PercentilePruning(0.2, 1.2), r"must be quantiles"),
        (lambda: h.RandomPruning(None), r"amount"),
    ],
)  # fmt: skip
def test_bad_criteria_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: h.prune_layers({"conv1": [h.MagnitudePruning(0.5)]}), "plan='conv1': must be of layers that have weights"),
        (lambda m: h.prune_layers({m[0]: [h.MagnitudePruning(0.5)], m[2]: [h.MagnitudePruning(0.5)]}), r"plan=ReLU\(\): must be"),
        (lambda m: h.prune_layers({m[0]: [h.MagnitudePruning(0.5)], m[3]: [h.MagnitudePruning(10**6)]}), "amount=1000000: must be at most"),
        (lambda m: h.prune_globally(m, [h.PercentilePruning(0.1, 0.9)], min_kept=0.1), "min_kept='more than 0': must be 0 for Perc"),
        (lambda m: h.prune_globally(m, [Nowhere(0.5)]), r"importance='NaN \(Nowhere\)'"),
        (lambda m: h.prune_globally(m, [h.TaylorPruning(0.5)]), "data='NoneType': must be training data"),
        (lambda m: h.prune_layers({m[0]: [h.WandaPruning(0.5)]}, data=images(3)), "must be training data, and model= the network"),
        (lambda m: h.prune_globally(nn.ReLU(), [h.MagnitudePruning(0.5)]), "must be a network with Conv2d or Linear"),
    ],
)  # fmt: skip
def test_a_refused_call_changes_nothing(call, message, state_of, same_state):
    model = small_net()
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        call(model)
    assert same_state(before, state_of(model)) and not prune.is_pruned(model)


@pytest.mark.parametrize("kind", [h.MagnitudePruning, *SALIENCY])
def test_networks_with_nan_are_refused(kind):
    model = flat_net()
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="load a sound network"):
        h.prune_globally(model, [kind(0.5)], data=images(3))
    assert not prune.is_pruned(model)


# ---- sensitivity


def test_the_scan_prunes_one_layer_at_a_time(digits, state_of, same_state):
    model = h.trained(digits, width=0.15, epochs=2, seed=0)
    before = state_of(model)
    few = digits.val.subset(60)

    def prune_one(network, name, amount):
        h.prune_layers({network.get_submodule(name): [h.MagnitudePruning(amount)]})

    scan = h.scan(model, few, h.prunable_layers(model), (0.0, 0.9), prune_one)
    assert list(scan) == list(h.prunable_layers(model)) and same_state(before, state_of(model))
    for name, accuracies in scan.items():
        alone = copy.deepcopy(model)
        h.prune_layers({alone.get_submodule(name): [h.MagnitudePruning(0.9)]})
        assert accuracies == [h.evaluate(model, few).accuracy, h.evaluate(alone, few).accuracy]
    assert len({accuracies[1] for accuracies in scan.values()}) > 1


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0, 0.9), min_size=5, max_size=5))
def test_a_larger_drop_allows_more(drop, other, accuracies):
    low, high = (h.amount_for_drop(d, {"0": accuracies}, SCANNED, 0.9)["0"] for d in sorted((drop, other)))
    assert 0 <= low <= high <= 1


def test_sensitive_layers_lose_less():
    scan = {"0": [0.9, 0.9, 0.9, 0.9, 0.8], "1": [0.8, 0.6, 0.4, 0.3, 0.1]}
    shares = h.amount_for_drop(0.2, scan, SCANNED, 0.9)
    assert shares["0"] > 0.8 and shares["1"] == pytest.approx(0.3, abs=1e-4)
    with pytest.raises(ValueError, match="must be those of the scan, which has 5 for 0"):
        h.amount_for_drop(0.2, scan, (0.5, 0.9), 0.9)

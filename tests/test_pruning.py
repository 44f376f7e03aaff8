"""Masks: exact counts, order, identity across prune and remove, refused calls, and agreement with torch.nn.utils.prune."""

import copy

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from experiments.runs import BUILTIN, prune_as_told
from helpers import (
    CifarNet,
    MagnitudePruning,
    RandomPruning,
    make_permanent,
    mask_overlap,
    prunable_layers,
    prune_globally,
    prune_layers,
    sparsity,
    train,
)

amounts = st.floats(0, 1)
sizes = st.lists(st.integers(1, 6), min_size=3, max_size=3)


def small_net(sizes=(3, 4, 5), seed=0):
    """Two convolutions with BatchNorm and a linear layer, of random sizes and weights."""
    torch.manual_seed(seed)
    a, b, c = sizes
    return nn.Sequential(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, c, 3), nn.Flatten(), nn.Linear(c, 4))


def weights(model):
    return torch.cat([layer.weight.detach().flatten() for layer in prunable_layers(model).values()])


# ---- which layers, how many zeros


def test_prunable_layers_are_convolutions_and_linears_in_order():
    assert list(prunable_layers(small_net())) == ["0", "3", "5"]
    names = list(prunable_layers(CifarNet()))
    assert names[0] == "conv1" and names[-1] == "fc" and len(names) == 15
    assert prunable_layers(nn.ReLU()) == {}


def test_sparsity_by_hand():
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3))
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.fill_(1.0)
        model[0].weight[0, :3] = 0
        model[0].bias.zero_()  # biases do not count
    report = sparsity(model)
    assert report.layers == {"0": (3, 8), "2": (0, 6)}
    assert (report.zeros, report.size, report.fraction) == (3, 14, 3 / 14)
    assert "21.43%" in repr(report) and "<td>0</td><td>3</td><td>8</td><td>37.50%</td>" in report._repr_html_()


def test_sparsity_of_a_network_without_layers():
    assert sparsity(nn.ReLU()).fraction == 0 and "all layers" in repr(sparsity(nn.ReLU()))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
@pytest.mark.parametrize("empty", [lambda: nn.Linear(0, 10), lambda: nn.Conv2d(4, 0, 3)])
def test_a_layer_without_weights_has_no_zeros(empty):
    model = nn.Sequential(prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=4), empty())
    report = sparsity(model)
    assert [row[1:] for row in report.rows()] == [(4, 16, 0.25), (0, 0, 0.0), (4, 16, 0.25)]
    assert "25.00%" in repr(report) and "0.00%" in report._repr_html_()
    assert mask_overlap(model, model) == (1, pytest.approx(9 / 15))  # chance: 12 x 12 / 16 weights in both, of 24 kept


def test_sparsity_sees_through_a_stale_weight():
    """After loading a masked state, `weight` is stale until the next forward pass; the report is not."""
    source = prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=0.5)
    loaded = prune.identity(nn.Linear(4, 4), "weight")
    loaded.load_state_dict(source.state_dict())
    assert (loaded.weight == 0).sum() == 0 and sparsity(loaded).zeros == 8


# ---- global pruning


@given(sizes, amounts, st.integers(0, 99))
def test_global_magnitude_keeps_the_largest(sizes, amount, seed):
    model = small_net(sizes, seed)
    before = weights(model).abs()
    prune_globally(model, [MagnitudePruning(amount)])
    kept = weights(model) != 0
    assume(0 < kept.sum() < len(kept))
    assert before[kept].min() >= before[~kept].max()


@given(sizes, amounts, st.integers(0, 99))
def test_global_agrees_with_torch(sizes, amount, seed):
    ours, theirs = small_net(sizes, seed), small_net(sizes, seed)
    prune_globally(ours, [MagnitudePruning(amount)])
    layers = [(module, "weight") for module in prunable_layers(theirs).values()]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=amount)
    assert torch.equal(weights(ours), weights(theirs))


def test_random_depends_on_its_seed_alone():
    models = [small_net() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        torch.rand(seed)
        state = torch.get_rng_state()
        prune_globally(model, [RandomPruning(0.5, seed)])
        assert torch.equal(state, torch.get_rng_state())  # and leaves the global generator alone
    assert torch.equal(weights(models[0]), weights(models[1])) and not torch.equal(weights(models[0]), weights(models[2]))


def test_batchnorm_and_biases_are_left_alone():
    model = small_net()
    prune_globally(model, [MagnitudePruning(0.9)])
    assert sum(name.endswith("_mask") for name, _ in model.named_buffers()) == 3
    assert not any("bias_mask" in name for name, _ in model.named_buffers())


# ---- make_permanent


@given(sizes, amounts, st.integers(0, 99))
def test_permanent_weights_are_the_masked_ones(sizes, amount, seed):
    """The same weights and outputs, plain parameters in the old order, and nothing happens the second time."""
    model = small_net(sizes, seed).eval()
    names = {name for name, _ in model.named_parameters()}
    untouched = {name: p for name, p in model.named_parameters() if "weight" not in name or name.startswith("1.")}
    prune_globally(model, [MagnitudePruning(amount)])
    x = torch.rand(2, sizes[0], 5, 5)
    masked, out = weights(model), model(x)
    assert make_permanent(model) is model
    assert {name for name, _ in model.named_parameters()} == names and not prune.is_pruned(model)
    assert torch.equal(weights(model), masked) and torch.equal(model(x), out)
    assert all(dict(model.named_parameters())[name] is p for name, p in untouched.items())
    again = copy.deepcopy(model.state_dict())
    make_permanent(model)
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_permanent_keeps_the_parameter_itself():
    """The optimiser's parameter is the same object before pruning, masked, and after make_permanent."""
    model = small_net()
    parameter = model[0].weight
    prune_globally(model, [MagnitudePruning(0.5)])
    assert model[0].weight_orig is parameter
    make_permanent(model)
    assert model[0].weight is parameter


def test_permanent_takes_every_mask():
    """Containers, biases and BatchNorm weights too."""
    model = small_net()
    prune.ln_structured(model[0], "weight", amount=1, n=2, dim=0)
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    prune.l1_unstructured(model[0], "bias", amount=2)
    prune.random_unstructured(model[1], "weight", amount=2)
    make_permanent(model)
    assert not prune.is_pruned(model) and not any("mask" in key or "orig" in key for key in model.state_dict())
    assert (model[0].bias == 0).sum() == 2 and (model[1].weight == 0).sum() == 2


def test_permanent_leaves_other_hooks_and_masks_alone():
    layer = nn.Linear(3, 3)
    layer.register_buffer("attention_mask", torch.ones(3))
    layer.register_forward_pre_hook(lambda module, args: None)
    make_permanent(layer)
    assert "attention_mask" in layer.state_dict() and len(layer._forward_pre_hooks) == 1


def test_zeros_stay_through_training(digits):
    """Momentum and weight decay move the hidden weights; what the network uses stays exactly zero."""
    model = CifarNet(0.1)
    prune_globally(model, [MagnitudePruning(0.7)])
    masks = {name: module.weight_mask.clone() for name, module in prunable_layers(model).items()}
    hidden = model.conv1.weight_orig.detach().clone()
    train(model, digits, epochs=1, validate=False)
    assert not torch.equal(hidden, model.conv1.weight_orig.detach())
    make_permanent(model)
    for name, module in prunable_layers(model).items():
        assert (module.weight[masks[name] == 0] == 0).all() and (module.weight[masks[name] == 1] != 0).any()


# ---- every built-in method


@pytest.mark.parametrize("method", ["global_unstructured", *BUILTIN])
@given(amount=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_builtin_prunes_each_layer_by_its_share(method, amount, seed):
    model = small_net((3, 6, 6), seed)
    prune_as_told(model, {"method": method, "scope": "layer", "target_sparsity": amount, "seed": seed}, None)
    report = sparsity(model)
    if method == "global_unstructured":
        assert report.zeros == round(amount * report.size)
        return
    layers = list(prunable_layers(model).items())
    spared = {"dim0": "5", "dim1": "0"}.get(method[-4:])
    for name, layer in layers:
        zeros, size = report.layers[name]
        if name == spared:
            assert zeros == 0 and not prune.is_pruned(layer)
        elif "_structured" in method:
            slices = layer.weight.shape[int(method[-1])]
            assert zeros == round(amount * slices) * size // slices
        else:
            assert zeros == round(amount * size)


# ---- facts that PyTorch's own tests state, by hand


@pytest.mark.parametrize(
    ("amount", "size", "zeros"), [(0, 15, 0), (10, 15, 10), (1, 15, 1), (1.0, 15, 15), (0.4, 17, 7), (0.5, 5, 2), (0.5, 7, 4)]
)
def test_amounts_are_counts_or_shares_with_bankers_rounding(amount, size, zeros):
    layer = prune.l1_unstructured(nn.Linear(size, 1), "weight", amount=amount)
    assert sparsity(layer).zeros == zeros


@pytest.mark.parametrize(
    ("amount", "error"), [("half", TypeError), (1.1, ValueError), (20.0, ValueError), (-1, ValueError), (9, ValueError)]
)
def test_refused_amounts_leave_the_layer_whole(amount, error):
    layer = nn.Linear(4, 2)
    with pytest.raises(error):
        prune.l1_unstructured(layer, "weight", amount=amount)
    assert not prune.is_pruned(layer) and set(layer.state_dict()) == {"weight", "bias"}


def test_smallest_go_first_and_amounts_refer_to_what_remains():
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2, 3, 4], [-4, -3, -2, -1]]))
    prune.l1_unstructured(layer, "weight", amount=2)
    assert layer.weight.tolist() == [[0, 2, 3, 4], [-4, -3, -2, 0]]
    prune.l1_unstructured(layer, "weight", amount=2)
    assert layer.weight.tolist() == [[0, 0, 3, 4], [-4, -3, 0, 0]]
    prune.ln_structured(layer, "weight", amount=1, n=2, dim=1)  # column norms: 4, 3, 3, 4
    assert sparsity(layer).zeros == 5
    assert [type(m) for m in next(iter(layer._forward_pre_hooks.values()))] == [
        prune.L1Unstructured,
        prune.L1Unstructured,
        prune.LnStructured,
    ]


@given(st.integers(1, 40), amounts)
def test_ties_are_cut_to_the_exact_count(size, amount):
    layer = nn.Linear(size, 1)
    nn.init.ones_(layer.weight)
    assert sparsity(prune.l1_unstructured(layer, "weight", amount=amount)).zeros == round(amount * size)


def test_global_by_hand():
    """1 2 3 and -4 5 -6 7 with four to go: 1, 2, 3 and -4; the first layer is empty."""
    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2, 3]]))
        model[1].weight.copy_(torch.tensor([[-4.0, 5, -6, 7]]))
    prune_globally(model, [MagnitudePruning(4 / 7)])
    assert sparsity(model).layers == {"0": (3, 3), "1": (1, 4)} and model[1].weight.tolist() == [[0, 5, -6, 7]]


def test_a_method_that_fails_is_rolled_back():
    class Fails(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            raise RuntimeError("no mask")

    layer = nn.Linear(4, 2)
    before = layer.weight.detach().clone()
    with pytest.raises(RuntimeError, match="no mask"):
        Fails.apply(layer, "weight")
    assert set(layer.state_dict()) == {"weight", "bias"} and torch.equal(layer.weight, before) and not prune.is_pruned(layer)


def test_removing_what_is_not_pruned_is_an_error():
    with pytest.raises(ValueError, match="has to be pruned before"):
        prune.remove(nn.Linear(2, 2), "weight")


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 5))
def test_overlap_of_masks_by_hand(first, second, seed):
    a, b = nn.Linear(100, 10), nn.Linear(100, 10)
    prune_layers({a: [RandomPruning(first, seed)], b: [RandomPruning(second, seed + 1)]})
    ours, theirs = (set(module.weight_mask.flatten().nonzero().flatten().tolist()) for module in (a, b))
    share, chance = mask_overlap(a, b)
    assert share == pytest.approx(len(ours & theirs) / max(1, len(ours | theirs)))
    meet = len(ours) * len(theirs) / 1000
    assert chance == pytest.approx(meet / max(1, len(ours) + len(theirs) - meet))
    assert mask_overlap(a, a)[0] == (1 if ours else 0) and mask_overlap(b, a) == mask_overlap(a, b)


def test_overlap_of_unpruned_and_of_different_networks():
    assert mask_overlap(CifarNet(0.1), CifarNet(0.1)) == (1, 1)
    with pytest.raises(ValueError, match="b: must have layers of the same names and shapes as a"):
        mask_overlap(CifarNet(0.1), CifarNet(0.2))

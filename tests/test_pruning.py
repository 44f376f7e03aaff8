"""Masks: exact counts, order, identity across prune and remove, refused calls, and agreement with torch.nn.utils.prune."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from experiments.runs import BUILTIN, prune_by
from helpers import CifarNet, MagnitudePruning, RandomPruning, make_permanent, prunable_layers, prune_globally, sparsity

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
    assert report.rows() == [("0", 3, 8, 3 / 8), ("2", 0, 6, 0.0), ("all layers", 3, 14, 3 / 14)]
    assert "21.43%" in repr(report) and "<td>37.50%</td>" in report._repr_html_()
    assert sparsity(nn.ReLU()).fraction == 0


def test_sparsity_sees_through_a_stale_weight():
    """After loading a masked state, `weight` is stale until the next forward pass; the report is not."""
    source = prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=0.5)
    loaded = prune.identity(nn.Linear(4, 4), "weight")
    loaded.load_state_dict(source.state_dict())
    assert (loaded.weight == 0).sum() == 0 and sparsity(loaded).zeros == 8


# ---- global pruning


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
    """The optimizer's parameter is the same object before pruning, masked, and after make_permanent."""
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


# ---- every built-in method


@pytest.mark.parametrize("method", ["global_unstructured", *BUILTIN])
@given(amount=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_builtin_prunes_each_layer_by_its_share(method, amount, seed):
    model = small_net((3, 6, 6), seed)
    prune_by(model, {"method": method, "scope": "layer", "target_sparsity": amount, "seed": seed}, None)
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


def test_global_by_hand():
    """1 2 3 and -4 5 -6 7 with four to go: 1, 2, 3 and -4; the first layer is empty."""
    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2, 3]]))
        model[1].weight.copy_(torch.tensor([[-4.0, 5, -6, 7]]))
    prune_globally(model, [MagnitudePruning(4 / 7)])
    assert sparsity(model).layers == {"0": (3, 3), "1": (1, 4)} and model[1].weight.tolist() == [[0, 5, -6, 7]]

"""Channels that belong together, masks that silence them, and cuts that change no output."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from helpers import (
    CifarNet,
    Criterion,
    DepthPrunedNet,
    MagnitudePruning,
    PercentilePruning,
    RandomPruning,
    SimpleNet,
    TaylorPruning,
    WidthPrunedNet,
    block_similarity,
    bridge_layer,
    channel_groups,
    channel_scan,
    count_macs,
    drop_blocks,
    evaluate,
    load_cifar_net,
    make_permanent,
    predict,
    prune_channels,
    prune_globally,
    residual_blocks,
    shrink,
    sparsity,
    train,
    trained,
    widths_for_macs,
)
from helpers.surgery import SurgeryError

IMAGES = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def lively(model, seed=0):
    """Random BatchNorm weights, shifts and statistics: a new network's would hide mistakes."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.3, 1.5)
            norm.running_var.uniform_(0.5, 2)
            norm.bias.normal_()
            norm.running_mean.normal_()
    return model.eval()


def outputs(model, images=IMAGES):
    with torch.no_grad():
        return model.eval()(images)


def assert_same(a, b):
    assert (a - b).abs().max().item() <= 1e-4


@st.composite
def networks(draw):
    """A `CifarNet`, whole or without some blocks, a fully connected net, or a chain of convolutions, all narrow."""
    seed = draw(st.integers(0, 10**6))
    torch.manual_seed(seed)
    kind = draw(st.sampled_from(["cifar", "cifar", "chain", "linear"]))
    if kind == "cifar":
        model = CifarNet(draw(st.sampled_from([0.1, 0.15, 0.2, 0.25])))
        model = drop_blocks(model, draw(st.lists(st.sampled_from(residual_blocks(model)), unique=True, max_size=4)))
    elif kind == "linear":
        sizes = draw(st.lists(st.integers(2, 40), min_size=1, max_size=3))
        layers = [m for size, wider in pairwise([48, *sizes]) for m in (nn.Linear(size, wider), nn.ReLU())]
        model = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), *layers, nn.Linear(sizes[-1], 10))
        model = draw(st.sampled_from([SimpleNet, DepthPrunedNet, WidthPrunedNet]))() if draw(st.booleans()) else model
    else:
        layers, channels = [], 3
        for _ in range(draw(st.integers(1, 3))):
            wider = draw(st.integers(2, 8))
            layers.append(nn.Conv2d(channels, wider, 3, padding=1, stride=draw(st.integers(1, 2)), bias=draw(st.booleans())))
            if draw(st.booleans()):
                layers.append(nn.BatchNorm2d(wider))
            layers.append(draw(st.sampled_from([nn.ReLU(), nn.Identity(), nn.MaxPool2d(2), nn.AvgPool2d(2)])))
            channels = wider
        layers += [nn.AdaptiveAvgPool2d(draw(st.integers(1, 2))), nn.Flatten()]
        hidden = draw(st.integers(2, 6))
        inputs = channels * layers[-2].output_size ** 2
        model = nn.Sequential(*layers, nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    return lively(model, seed)


# ---- cut networks compute the same


@settings(max_examples=200)
@given(networks(), st.data())
def test_shrunk_networks_compute_what_masked_ones_do(model, data):
    groups = channel_groups(model)
    amounts = {name: data.draw(st.integers(0, group.channels - 1), label=name) for name, group in groups.items()}
    whole, before = copy.deepcopy(model.state_dict()), outputs(model)
    prune_channels(model, amounts, data.draw(st.sampled_from([MagnitudePruning, RandomPruning])))
    small = shrink(model)
    assert_same(outputs(model), outputs(small))
    assert not prune.is_pruned(small) and prune.is_pruned(model)
    for name, group in channel_groups(small).items():
        assert group.channels == groups[name].channels - amounts[name]
    # the original weights are still there, under the masks
    restored = {key.removesuffix("_orig"): value for key, value in model.state_dict().items() if not key.endswith("_mask")}
    assert all(torch.equal(whole[key], restored[key]) for key in whole)
    if not any(amounts.values()):
        assert_same(before, outputs(small))


@given(st.floats(0, 0.9), st.floats(0, 0.6), st.integers(0, 9))
def test_single_weights_and_channels_together(weights, channels, seed):
    model = lively(CifarNet(0.15), seed)
    prune_globally(model, [RandomPruning(weights, seed)], min_kept=0.1 if weights < 0.8 else 0)
    try:
        prune_channels(model, channels)
        small = shrink(model)
    except SurgeryError as error:  # unstructured pruning emptied a filter by chance: said, with what to call
        assert "call prune_channels(model, {" in str(error) or "all of its" in str(error)
        return
    assert_same(outputs(model), outputs(small))
    assert sparsity(small).size <= sparsity(model).size


@pytest.mark.parametrize("amount", [0.25, 0.5, 0.75])
def test_the_checkpoint_on_a_thousand_images(amount):
    model, images = load_cifar_net(), torch.rand(1000, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    prune_channels(model, amount)
    small = shrink(model)
    images = (255 * images).to(torch.uint8)
    a, b = (predict(network, images, precision="fp32") for network in (model, small))
    assert (a - b).abs().max() <= 1e-4
    assert count_macs(small) < (1 - amount) ** 1.8 * count_macs(model)


def test_channels_die_whole_and_stay_dead_in_training(digits):
    model = CifarNet(0.15)
    prune_channels(model, 0.4)
    train(model, digits, epochs=0.3, validate=False)
    small = shrink(model)
    assert_same(outputs(model), outputs(small))
    assert {name: g.channels for name, g in channel_groups(small).items()} == {
        name: g.channels - round(0.4 * g.channels) for name, g in channel_groups(model).items()
    }


def test_a_shrunk_network_trains_on(digits):
    model = CifarNet(0.15)
    prune_channels(model, 0.5)
    small = shrink(model)
    train(small, digits, epochs=0.3, validate=False)
    assert 0 <= evaluate(small, digits.val).accuracy <= 1


# ---- groups


def test_groups_of_cifar_net():
    groups = channel_groups(CifarNet(0.25))
    stages = ["stage1", "stage2", "stage3"]
    assert set(groups) == {"conv1", *(f"{s}.conv" for s in stages), *(f"{b}.conv1" for b in residual_blocks(CifarNet()))}
    stage = groups["stage2.conv"]  # its own convolution and its blocks' second ones are added
    assert stage.producers == ["stage2.conv", "stage2.block1.conv2", "stage2.block2.conv2"]
    assert stage.norms == ["stage2.bn", "stage2.block1.bn2", "stage2.block2.bn2"]
    assert set(stage.readers) == {"stage2.block1.conv1", "stage2.block2.conv1", "stage3.conv"}


def test_a_flattened_channel_is_read_many_times():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 900, 10))
    assert channel_groups(model)["0"].readers == {"2": 900}


def test_the_smallest_channels_go_and_norms_order_them():
    model = lively(CifarNet(0.25))
    norms = {n: model.conv1.weight.detach().flatten(1).norm(n, dim=1) for n in (1, 2)}
    for n in (1, 2):
        pruned = copy.deepcopy(model)
        prune_channels(pruned, {"conv1": 3}, n=n)
        assert set((pruned.conv1.weight_mask.flatten(1).sum(1) == 0).nonzero().flatten().tolist()) == set(
            norms[n].argsort()[:3].tolist()
        )
        assert int((pruned.bn1.bias == 0).sum()) == int((pruned.bn1.weight == 0).sum()) == 3


@given(st.floats(0, 0.95), st.sampled_from([1, 2, 4, 8]))
def test_channel_counts_are_rounded_up(amount, round_to):
    model = CifarNet(0.25)
    before = {name: group.channels for name, group in channel_groups(model).items()}
    left = {name: channels - round(amount * channels) for name, channels in before.items()}
    prune_channels(model, amount, round_to=round_to)
    after = {name: group.channels for name, group in channel_groups(shrink(model)).items()}
    assert all(after[name] == min(before[name], -(-left[name] // round_to) * round_to) for name in before)


def test_amounts_are_of_all_channels():
    model = CifarNet(0.25)
    prune_channels(model, 0.5)
    prune_channels(model, 0.5)
    assert channel_groups(shrink(model))["stage3.conv"].channels == 20


def test_gradients_rank_channels_too(digits):
    model = CifarNet(0.15)
    prune_channels(model, 0.5, TaylorPruning, data=digits)
    assert_same(outputs(model), outputs(shrink(model)))


# ---- refused


def test_random_channels_do_not_compound_and_never_empty_a_group():
    """An amount counts all channels of a group: what is masked already is part of it."""
    model = CifarNet(0.25)
    for seed in range(4):
        prune_channels(model, {"conv1": 7}, RandomPruning, seed=seed)
    assert channel_groups(shrink(model))["conv1"].channels == 1


def test_filters_that_are_added_to_others_are_named_as_a_group():
    model = lively(CifarNet(0.25))
    prune.ln_structured(model.stage1.block1.conv2, "weight", amount=3, n=1, dim=0)
    told = (
        r"3 filters of stage1.block1.conv2 are zero.*prune_channels\(model, \{'stage1.conv': 3\}\).*as it was before.*go together"
    )
    with pytest.raises(SurgeryError, match=told):
        shrink(model)
    assert channel_groups(model)["stage1.conv"].channels == 16  # looking is allowed


def test_batchnorm_without_weights_is_refused():
    with pytest.raises(SurgeryError, match="1: a BatchNorm without weight and bias"):
        shrink(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 4, 3)))


def test_a_constant_is_not_cut_away():
    """Filters zeroed without their BatchNorm: refused, with the call that masks both; after it the cut is exact."""
    model = lively(CifarNet(0.25))
    prune.ln_structured(model.conv1, "weight", amount=3, n=1, dim=0)
    with pytest.raises(SurgeryError, match=r"3 filters of conv1 are zero.*prune_channels\(model, \{'conv1': 3\}\)"):
        shrink(model)
    prune_channels(model, {"conv1": 3})
    assert_same(outputs(model), outputs(shrink(model)))


@pytest.mark.parametrize("convolution", [True, False])
def test_a_constant_of_the_layers_own_bias_is_not_cut_away(convolution):
    """With the bias left, a filter of zeros still emits: through a BatchNorm, or as it is."""
    torch.manual_seed(0)
    if convolution:
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 10)).eval()
        told = r"1: 4 filters of 0 are zero, but their BatchNorm still emits a constant; call prune_channels\(model, \{'0': 4\}\)"
    else:
        model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 10)).eval()
        nn.init.constant_(model[2].bias, 0.5)
        told = r"2: 4 filters of 2 are zero, but their bias still emits a constant; call prune_channels\(model, \{'2': 4\}\)"
    layer = model[0] if convolution else model[2]
    prune.ln_structured(layer, "weight", amount=4, n=1, dim=0)
    with pytest.raises(SurgeryError, match=told):
        shrink(model)
    prune_channels(model, {("0" if convolution else "2"): 4})
    small = shrink(model)
    assert_same(outputs(model), outputs(small))
    assert small[0 if convolution else 2].weight.shape[0] == 4


def test_a_batchnorm_of_the_images_is_no_obstacle():
    model = lively(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 10)))
    prune_channels(model, 0.5)
    small = shrink(model)
    assert small[1].weight.shape == (4, 3, 3, 3)
    assert_same(outputs(model), outputs(small))


def test_a_constant_that_relu_stops_is_cut_away():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 10)).eval()
    nn.init.constant_(model[2].bias, -0.5)
    prune.ln_structured(model[2], "weight", amount=4, n=1, dim=0)
    small = shrink(model)
    assert small[2].weight.shape[0] == 4
    assert_same(outputs(model), outputs(small))


def test_a_residual_group_goes_by_the_mean_importance_of_its_layers():
    model = lively(CifarNet(0.25))
    group = channel_groups(model)["stage2.conv"]
    norms = [model.get_submodule(name).weight.detach().abs().flatten(1).mean(1) for name in group.producers]
    ranked = torch.stack([n / n.mean() for n in norms]).mean(0).argsort()
    assert any(set(ranked[:5].tolist()) != set(n.argsort()[:5].tolist()) for n in norms)  # no layer alone would do
    prune_channels(model, {"stage2.conv": 5})
    for name in group.producers:
        gone = model.get_submodule(name).weight_mask.flatten(1).sum(1) == 0
        assert set(gone.nonzero().flatten().tolist()) == set(ranked[:5].tolist())


def test_an_emptied_group_is_refused():
    model = CifarNet(0.25)
    for name, amount in (("stage2.conv", 1.0), ("conv1", 8), ("stage1.block1.conv1", 16)):
        with pytest.raises(ValueError, match=f"of {name}: leaves none of its"):
            prune_channels(model, {name: amount})
    assert not prune.is_pruned(model)
    for parameter in ("weight", "bias"):
        prune.custom_from_mask(model.stage1.block1.bn1, parameter, torch.zeros(16))
    with pytest.raises(SurgeryError, match=r"stage1.block1.conv1: all of its 16 channels are masked; .*drop_blocks"):
        shrink(model)


class Nowhere(Criterion):
    def importance(self, weight):
        return weight * float("nan")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: prune_channels(m, 1.5), r"amount=1.5 of conv1: must be a fraction in \[0, 1\] or a count of at most 8"),
        (lambda m: prune_channels(m, -0.1), r"amount=-0.1"),
        (lambda m: prune_channels(m, "half"), r"amount='half'"),
        (lambda m: prune_channels(m, float("nan")), r"amount=nan"),
        (lambda m: prune_channels(m, 0.5, round_to=0), r"round_to=0: must be a whole number"),
        (lambda m: prune_channels(m, {"fc": 0.5}), r"amount: 'fc' is no group of channels; the groups are conv1"),
        (lambda m: prune_channels(m, 0.5, "l1"), r"criterion='l1': must be a subclass of Criterion"),
        (lambda m: prune_channels(m, 0.5, TaylorPruning), r"data=None: TaylorPruning needs training data"),
        (lambda m: prune_channels(m, 0.5, PercentilePruning), r"criterion=PercentilePruning, \{\}: cannot rank filters"),
        (lambda m: prune_channels(m, 0.5, Nowhere), r"criterion: 8 scores of conv1 are NaN"),
        (lambda m: drop_blocks(m, 3), r"names=3: must be the name of a residual block, or a list"),
        (lambda m: bridge_layer(m, IMAGES), r"model='CifarNet': must be a SimpleNet"),
        (lambda m: widths_for_macs(m, 0.5, {"conv1": [0.9] * 5}), r"dense_accuracy=None: must be the whole network's"),
        (lambda m: widths_for_macs(m, 0.5, {"conv1": [0.9] * 5}, 0.9), r"scan: lacks stage1.conv, "),
        (
            lambda m: widths_for_macs(m, 0.5, dict.fromkeys(channel_groups(m), [0.9]), 0.9),
            r"scan: conv1 has 1 accuracies, but .* 5 amounts",
        ),
        (lambda m: drop_blocks(m, ["stage9"]), r"names: 'stage9' is no residual block; the blocks are stage1.block1"),
        (lambda m: drop_blocks(m, ["stage1.conv"]), r"'stage1.conv' is no residual block"),
    ],
)
def test_refused_calls_change_nothing(call, message, state_of, same_state):
    model = CifarNet(0.25)
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        call(model)
    assert same_state(before, state_of(model))


def test_channels_that_are_no_numbers_are_refused():
    model = CifarNet(0.25)
    with torch.no_grad():
        model.stage2.block1.conv2.weight[0] = float("nan")
    with pytest.raises(ValueError, match=r"model: stage2.conv holds 216 weights that are NaN or infinite"):
        prune_channels(model, 0.5)
    assert not prune.is_pruned(model)
    with pytest.raises(TypeError, match="model='x': must be a network"):
        shrink("x")


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.a(self.a(x))


class Concatenates(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return torch.cat([self.a(x), self.b(x)], 1)


class Adds(nn.Module):
    """Two branches, added by a call of one's own."""

    def __init__(self, add):
        super().__init__()
        self.add = add
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.c(self.add(self.a(x), self.b(x)))


class AddsImages(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.a(x + x / 2)


class UsesItsBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("constant", torch.ones(1, 3, 1, 1))
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.a(x) + self.a(self.constant)


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Twice(), "a: is called twice; use Torch-Pruning"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.BatchNorm1d(3600), nn.Linear(3600, 2)),
            "2: a BatchNorm of something else",
        ),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.Linear(900, 2)), "1: flattens other dimensions"),
        (Concatenates(), "channels cannot be followed through cat; use Torch-Pruning"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), "a convolution in groups"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), "followed through GroupNorm"),
        (Adds(lambda a, b: a.add(b, alpha=2)), r"add: adds with a factor \(alpha\); use Torch-Pruning"),
        (AddsImages(), "add: adds to the images themselves; use Torch-Pruning"),
        (UsesItsBuffer(), "a_1: works on something else than the input; use Torch-Pruning"),
        (Branches(), "its forward pass cannot be traced"),
    ],
)
def test_networks_that_are_not_understood(model, message):
    for call in (channel_groups, shrink):
        with pytest.raises(SurgeryError, match=message):
            call(model)


@pytest.mark.parametrize(
    "add",
    [
        lambda a, b: torch.add(a, b, alpha=2),
        lambda a, b: a.add(b, alpha=2),
        lambda a, b: a.add_(b, alpha=-1),
        lambda a, b: torch.add(a, b, alpha=0),
        lambda a, b: a.sub(b),
        lambda a, b: torch.sub(a, b, alpha=2),
        lambda a, b: a.sub_(b, alpha=2),
        pytest.param(lambda a, b: torch.add(a, 2, b), marks=pytest.mark.filterwarnings("ignore:.*overload of add is deprecated")),
    ],
)
def test_a_sum_with_a_factor_is_cut_right_or_refused(add):
    """Where empty filters of both branches emit 1 and -1, a + b is silent, and a + 2 b is not."""
    model = Adds(add)
    with torch.no_grad():
        model.a.weight[0], model.b.weight[0] = 0, 0
        model.a.bias[0], model.b.bias[0] = 1, -1
    try:
        small = shrink(model)
    except SurgeryError:
        return
    assert_same(outputs(model), outputs(small))


def test_a_plain_sum_is_cut():
    for add in (torch.add, lambda a, b: a.add(b), lambda a, b: a.add_(b), lambda a, b: torch.add(a, b, alpha=1.0)):
        model = Adds(add)
        prune_channels(model, 0.5)
        small = shrink(model)
        assert small.c.weight.shape[1] == 2
        assert_same(outputs(model), outputs(small))


# ---- depth


@given(st.lists(st.sampled_from(residual_blocks(CifarNet(0.1))), unique=True))
def test_dropped_blocks_pass_their_input_on(names):
    model = lively(CifarNet(0.1))
    smaller = drop_blocks(model, names)
    assert residual_blocks(smaller) == [name for name in residual_blocks(model) if name not in names]
    skipped = copy.deepcopy(model)
    for name in names:  # the block's own branch silenced: relu(x + 0) = x, since x comes out of a relu
        nn.init.zeros_(skipped.get_submodule(name).bn2.weight)
        nn.init.zeros_(skipped.get_submodule(name).bn2.bias)
    assert_same(outputs(skipped), outputs(smaller))
    assert len(residual_blocks(model)) == 5


def test_depth_and_width_together():
    model = lively(CifarNet(0.25))
    prune_channels(model, 0.5)
    small = shrink(drop_blocks(model, "stage3.block2"))
    assert_same(outputs(drop_blocks(model, ["stage3.block2"])), outputs(small))
    make_permanent(model)


def test_similarity_of_a_block_that_does_nothing(digits):
    model = lively(CifarNet(0.15))
    nn.init.zeros_(model.stage1.block1.bn2.weight)
    nn.init.zeros_(model.stage1.block1.bn2.bias)
    found = block_similarity(model, digits.val.subset(20))
    assert found["stage1.block1"] == pytest.approx(1, abs=1e-3) and found["stage3.block2"] < 0.999
    assert not any(module._forward_hooks for module in model.modules())


# ---- widths for a share of the MACs


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
@pytest.mark.parametrize("guided", [False, True])
def test_widths_meet_their_share_of_macs(share, guided):
    model = CifarNet(0.5)
    torch.manual_seed(0)
    scan = {name: (0.9 - torch.rand(5).sort().values * 0.8).tolist() for name in channel_groups(model)} if guided else None
    amounts = widths_for_macs(model, share, scan, 0.9)
    assert guided or len(set(amounts.values())) == 1
    prune_channels(model, amounts)
    assert count_macs(shrink(model)) / count_macs(model) == pytest.approx(share, abs=0.03 * share)


def test_all_of_the_macs_is_the_whole_network():
    model = CifarNet(0.25)
    prune_channels(model, widths_for_macs(model, 1.0))
    assert count_macs(shrink(model)) == count_macs(model)
    with pytest.raises(ValueError, match=r"share=0: must be a fraction in \(0, 1\]"):
        widths_for_macs(model, 0)


def test_the_channel_scan_prunes_one_group_at_a_time(digits, state_of, same_state):
    model, few = trained(digits, width=0.15, epochs=2, seed=0), digits.val.subset(60)
    before = state_of(model)
    scan = channel_scan(model, few, (0.0, 0.5))
    assert list(scan) == list(channel_groups(model)) and same_state(before, state_of(model))
    for name, accuracies in scan.items():
        alone = copy.deepcopy(model)
        prune_channels(alone, {name: 0.5})
        assert accuracies == [evaluate(model, few).accuracy, evaluate(alone, few).accuracy]
    assert len({accuracies[1] for accuracies in scan.values()}) > 1


def test_the_bridge_is_exact_where_it_can_be():
    """Where the removed layer is linear on what comes in (all its units positive), one layer replaces two exactly."""
    torch.manual_seed(0)
    model = SimpleNet()
    with torch.no_grad():
        for parameter in (model.layer3.weight, model.layer3.bias):
            parameter.abs_()
    images = torch.randint(256, (400, 3, 32, 32), dtype=torch.uint8)
    shallow = bridge_layer(model, images)
    assert isinstance(shallow, DepthPrunedNet)
    assert (outputs(model, images.float() / 255) - outputs(shallow, images.float() / 255)).abs().max() < 1e-3

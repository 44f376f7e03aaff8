"""Channels that belong together, masks that silence them, and cuts that change no output."""

import copy
import math
import os
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import prune
from torchvision.models import VisionTransformer, mobilenet_v2, resnet18, squeezenet1_1, vgg11_bn

from helpers import (
    CifarNet,
    Criterion,
    DepthPrunedNet,
    MagnitudePruning,
    RandomPruning,
    SimpleNet,
    SurgeryError,
    TaylorPruning,
    WidthPrunedNet,
    channel_groups,
    channel_scan,
    count_macs,
    drop_blocks,
    evaluate,
    load_network,
    predict,
    prune_channels,
    prune_globally,
    recalibrate,
    residual_blocks,
    shrink,
    sparsity,
    train,
    trained,
    widths_for_macs,
)

STRESS = int(os.environ.get("PRUNING_STRESS", 0))  # examples of each property that `make stress` asks for
IMAGES = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def lively(model, seed=0):
    """Random BatchNorm weights, shifts and statistics, and no parameter all zero: a new network's would hide mistakes."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.affine):
            norm.weight.uniform_(0.3, 1.5)
            norm.running_var.uniform_(0.5, 2)
            norm.bias.normal_()
            norm.running_mean.normal_()
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return model.eval()


def outputs(model, images=IMAGES):
    with torch.no_grad():
        return model.eval()(images)


def assert_same(a, b):
    assert (a - b).abs().max() <= 1e-4 * max(1, a.abs().max())


def assert_cut_exactly(model, counts, example=None, **options):
    """Prune counts by group and cut: the same outputs, and as many channels fewer; returns the smaller network."""
    groups = channel_groups(model, example)
    prune_channels(model, counts, example_input=example, **options)
    small = shrink(model, example)
    images = IMAGES if example is None else torch.rand(3, *example.shape[1:])
    assert_same(outputs(model, images), outputs(small, images))
    for name, group in groups.items():
        for layer in map(small.get_submodule, group.producers + group.norms):
            assert len(layer.weight) == group.channels - counts.get(name, 0)
    assert prune.is_pruned(model) and not prune.is_pruned(small)
    return small


def draw_counts(data, groups):
    return {name: data.draw(st.integers(0, group.channels - 1), label=name) for name, group in groups.items()}


# ---- cut networks compute the same


NETS = given(st.sampled_from([0.1, 0.15, 0.2, 0.25]), st.integers(0, 10**6), st.data())


@settings(max_examples=STRESS or 30)
@NETS
def test_cifar_net(width, seed, data):
    assert_cut_cifar_net(width, seed, data)


@pytest.mark.long
@settings(max_examples=200)
@NETS
def test_two_hundred_cifar_nets(width, seed, data):
    assert_cut_cifar_net(width, seed, data)


def assert_cut_cifar_net(width, seed, data):
    model = lively(CifarNet(width), seed)
    model = drop_blocks(model, data.draw(st.lists(st.sampled_from(residual_blocks(model)), unique=True, max_size=2)))
    whole = copy.deepcopy(model.state_dict())
    criterion = data.draw(st.sampled_from([MagnitudePruning, RandomPruning]))
    assert_cut_exactly(model, draw_counts(data, channel_groups(model)), criterion=criterion)
    for key, value in model.state_dict().items():  # the original weights are still there, under the masks
        assert key.endswith("_mask") or torch.equal(value, whole[key.removesuffix("_orig")])


@settings(max_examples=STRESS or 8)
@given(st.sampled_from([SimpleNet, DepthPrunedNet, WidthPrunedNet]), st.data())
def test_fully_connected_networks(kind, data):
    model = kind()
    assert_cut_exactly(model, draw_counts(data, channel_groups(model)), criterion=RandomPruning)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 900, 10)],
        [nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 4, 3)],
        [
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.AdaptiveMaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 6),
            nn.ReLU(),
            nn.Linear(6, 2),
        ],
        [nn.Flatten(), nn.Linear(3072, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2)],
    ],
)
def test_chains_of_layers(layers):
    model = lively(nn.Sequential(*layers))
    groups = channel_groups(model)
    assert len(groups) == sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in layers) - 1
    assert_cut_exactly(model, {name: group.channels // 2 for name, group in groups.items()})


def small_vgg():
    model = vgg11_bn(num_classes=10, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d(2)  # less memory, and less time
    model.classifier = nn.Sequential(nn.Linear(512 * 4, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    return model


def small_transformer():
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    return VisionTransformer(**sizes, num_classes=10)


NETWORKS = {  # builder, pixels, number of groups
    "resnet18": (lambda: resnet18(num_classes=10), 64, 12),
    "vgg11_bn": (small_vgg, 64, 9),
    "squeezenet1_1": (lambda: squeezenet1_1(num_classes=10), 64, 25),
    "mobilenet_v2": (lambda: mobilenet_v2(num_classes=10, width_mult=0.5), 64, 25),
    "vit": (small_transformer, 32, 2),
}


@cache
def network(name):
    return lively(NETWORKS[name][0]())


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=STRESS or 4)
@given(st.data())
def test_networks_of_torchvision(name, data):
    model, example = copy.deepcopy(network(name)), torch.zeros(1, 3, NETWORKS[name][1], NETWORKS[name][1])
    groups = channel_groups(model, example)
    assert len(groups) == NETWORKS[name][2]
    assert_cut_exactly(model, draw_counts(data, groups), example, criterion=RandomPruning, seed=data.draw(st.integers(0, 99)))


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
    model, images = load_network(), torch.randint(256, (1000, 3, 32, 32), dtype=torch.uint8)
    prune_channels(model, amount)
    small = shrink(model)
    assert_same(*(predict(network, images, precision="fp32") for network in (model, small)))
    assert count_macs(small) < (1 - amount) ** 1.8 * count_macs(model)


def test_channels_stay_dead_in_training_and_a_shrunk_network_trains_on(digits):
    model = CifarNet(0.15)
    before = channel_groups(model)
    prune_channels(model, 0.4)
    train(model, digits, epochs=0.3, validate=False)
    small = shrink(model)
    assert_same(outputs(model), outputs(small))
    for name, group in channel_groups(small).items():
        assert group.channels == before[name].channels - round(0.4 * before[name].channels)
    train(small, digits, epochs=0.3, validate=False)
    assert 0 <= evaluate(small, digits.val).accuracy <= 1


def test_modes_and_frozen_weights_stay():
    model = lively(CifarNet(0.15)).train()
    model.stage1.eval()
    model.conv1.requires_grad_(False)
    prune_channels(model, 0.5)
    small = shrink(model)
    assert small.training and model.training and not small.stage1.training and not model.stage1.training
    assert [name for name, p in small.named_parameters() if not p.requires_grad] == ["conv1.weight"]
    assert small.conv1.out_channels == small.bn1.num_features == small.stage1.conv.in_channels == len(small.conv1.weight)


# ---- groups


def test_groups_of_cifar_net():
    groups = channel_groups(CifarNet(0.25))
    stages = ["stage1", "stage2", "stage3"]
    assert set(groups) == {"conv1", *(f"{s}.conv" for s in stages), *(f"{b}.conv1" for b in residual_blocks(CifarNet()))}
    stage = groups["stage2.conv"]  # its own convolution and its blocks' second ones are added
    assert stage.producers == ["stage2.conv", "stage2.block1.conv2", "stage2.block2.conv2"]
    assert stage.norms == ["stage2.bn", "stage2.block1.bn2", "stage2.block2.bn2"]
    assert list(groups)[:3] == ["conv1", "stage1.conv", "stage1.block1.conv1"]


def test_a_transformer_offers_its_mlps_only():
    assert list(channel_groups(small_transformer())) == [f"encoder.layers.encoder_layer_{k}.mlp.0" for k in (0, 1)]


def test_ignored_layers_are_names_modules_or_whole_blocks():
    model = CifarNet(0.15)
    groups = channel_groups(model, ignored_layers=["conv1", model.stage3, "stage2.block1.bn2"])
    assert list(groups) == ["stage1.conv", "stage1.block1.conv1", "stage2.block1.conv1", "stage2.block2.conv1"]
    prune_channels(model, 0.5, ignored_layers=["stage1"])
    assert not prune.is_pruned(model.stage1) and prune.is_pruned(model.stage2)


class TwoHeads(nn.Module):
    """Classes and boxes at each place of a coarse grid, as detectors give them: a tuple."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.classes = nn.Sequential(nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1))
        self.boxes = nn.Sequential(nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))

    def forward(self, images):
        features = self.backbone(images)
        return self.classes(features), {"boxes": self.boxes(features)}


def test_all_outputs_of_a_network_with_two_heads_stay():
    model = lively(TwoHeads())
    assert list(channel_groups(model)) == ["backbone.0", "classes.0", "boxes.0"]
    prune_channels(model, 0.5, ignored_layers=["classes", "boxes"])
    small = shrink(model)
    (classes, boxes), (small_classes, small_boxes) = outputs(model), outputs(small)
    assert_same(classes, small_classes)
    assert_same(boxes["boxes"], small_boxes["boxes"])
    assert (small.backbone[0].out_channels, small.classes[0].out_channels, small.boxes[0].out_channels) == (4, 6, 6)


class Squares(Criterion):
    def importance(self, weight):
        return weight**2


def test_the_smallest_channels_go():
    """By their L1 norms, or by the L2 norms that the mean of squares orders."""
    model = lively(CifarNet(0.25))
    for n, criterion in ((1, MagnitudePruning), (2, Squares)):
        pruned = copy.deepcopy(model)
        prune_channels(pruned, {"conv1": 3}, criterion)
        smallest = model.conv1.weight.detach().flatten(1).norm(n, dim=1).argsort()[:3]
        silent = (pruned.conv1.weight_mask.flatten(1).sum(1) == 0).nonzero().flatten()
        assert set(silent.tolist()) == set(smallest.tolist())
        assert int((pruned.bn1.bias == 0).sum()) == int((pruned.bn1.weight == 0).sum()) == 3


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


@given(st.floats(0, 0.9), st.sampled_from([1, 2, 4, 8]))
def test_channel_counts_are_rounded_up(amount, round_to):
    model = CifarNet(0.25)
    before = {name: group.channels for name, group in channel_groups(model).items()}
    left = {name: channels - round(amount * channels) for name, channels in before.items()}
    prune_channels(model, amount, round_to=round_to)
    after = {name: group.channels for name, group in channel_groups(shrink(model)).items()}
    assert all(after[name] == min(before[name], math.ceil(left[name] / round_to) * round_to) for name in before)


def test_amounts_are_of_all_channels():
    """What is masked already is part of an amount, whatever is drawn: amounts don't compound, and never empty a group."""
    model = CifarNet(0.25)
    prune_channels(model, 0.5)
    prune_channels(model, 0.5)
    for seed in range(4):
        prune_channels(model, {"conv1": 7}, RandomPruning, seed=seed)
    groups = channel_groups(shrink(model))
    assert groups["stage3.conv"].channels == 20 and groups["conv1"].channels == 1


def test_gradients_rank_channels_too(digits):
    model = CifarNet(0.15)
    prune_channels(model, 0.5, TaylorPruning, data=digits)
    assert_same(outputs(model), outputs(shrink(model)))


# ---- refused: constants


def test_a_constant_is_not_cut_away():
    """Filters zeroed without their BatchNorm: refused, with the call that masks both; after it the cut is exact."""
    model = lively(CifarNet(0.25))
    prune.ln_structured(model.conv1, "weight", amount=3, n=1, dim=0)
    with pytest.raises(
        SurgeryError, match=r"^bn1: 3 filters of conv1 are zero.*BatchNorm.*prune_channels\(model, \{'conv1': 3\}\)"
    ):
        shrink(model)
    prune_channels(model, {"conv1": 3})
    assert_same(outputs(model), outputs(shrink(model)))


@pytest.mark.parametrize("bias", [0.5, -0.5])
def test_a_constant_of_the_layers_own_bias_is_not_cut_away(bias):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 10))
    nn.init.constant_(model[2].bias, bias)
    prune.ln_structured(model[2], "weight", amount=4, n=1, dim=0)
    with pytest.raises(
        SurgeryError, match=r"^2: 4 filters of 2 are zero, but their bias still.*prune_channels\(model, \{'2': 4\}\)"
    ):
        shrink(model)
    prune_channels(model, {"2": 4})
    small = shrink(model)
    assert_same(outputs(model), outputs(small))
    assert small[2].weight.shape[0] == 4


def test_filters_that_only_some_layers_of_a_group_have_lost_stay():
    model = lively(CifarNet(0.25))
    prune.ln_structured(model.stage1.block1.conv2, "weight", amount=3, n=1, dim=0)
    small = shrink(model)
    assert_same(outputs(model), outputs(small))
    assert count_macs(small) == count_macs(model)


def test_an_emptied_group_is_refused():
    model = CifarNet(0.25)
    for name, amount in (("stage2.conv", 1.0), ("conv1", 8), ("stage1.block1.conv1", 16)):
        with pytest.raises(ValueError, match=f"amount of {name}={amount}: must be less: it leaves none of the"):
            prune_channels(model, {name: amount})
    assert not prune.is_pruned(model)
    with torch.no_grad():
        for parameter in (*model.stage1.block1.conv1.parameters(), *model.stage1.block1.bn1.parameters()):
            parameter.zero_()
    with pytest.raises(SurgeryError, match=r"stage1.block1.conv1: all of its 16 channels are masked; .*drop_blocks"):
        shrink(model)


# ---- refused: networks that the graph misreads


class Calls(nn.Module):
    """Two branches of the images' width, joined by a function of (images, a(images), b(images)) -> what `c` reads."""

    def __init__(self, join):
        super().__init__()
        self.join = join
        self.a, self.b, self.c = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.c(self.join(images, self.a(images), self.b(images)))


def added_unused(images, y, z):
    y.add_(z)
    return y


JOINS = {
    "sum": lambda x, y, z: y + z,
    "add_ unused": added_unused,
    "alpha": lambda x, y, z: torch.add(y, z, alpha=2),
    "alpha -1": lambda x, y, z: y.add_(z, alpha=-1),
    "alpha 0": lambda x, y, z: torch.add(y, z, alpha=0),
    "sub": lambda x, y, z: y.sub(z),
    "sub alpha": lambda x, y, z: torch.sub(y, z, alpha=2),
    "images - y": lambda x, y, z: torch.sub(x, y) + torch.relu(y) + z,
    "images * y": lambda x, y, z: x * y + torch.relu(y) + z,
    "images * y only": lambda x, y, z: x * y,
    "flip": lambda x, y, z: y.flip(1) + z,
    "roll": lambda x, y, z: y.roll(1, 1) + z,
    "softplus": lambda x, y, z: F.softplus(y) + z,
    "split": lambda x, y, z: torch.cat(y.split([1, 2], 1), 1) + z,
}


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("by_hand", [False, True])
def test_every_cut_is_exact_or_refused(join, by_hand):
    """By hand: zero filters with biases of 1 and -1, which cancel in a plain sum and nowhere else."""
    torch.manual_seed(0)
    model = Calls(JOINS[join])
    if by_hand:
        with torch.no_grad():
            model.a.weight[0], model.b.weight[0] = 0, 0
            model.a.bias[0], model.b.bias[0] = 1, -1
    else:
        prune_channels(model, 0.4)
    try:
        small = shrink(model)
    except SurgeryError as error:
        assert "ignored_layers=['" in str(error) or "call prune_channels" in str(error)
        return
    assert_same(outputs(model), outputs(small))


@pytest.mark.parametrize("join", ["sum", "add_ unused", "alpha", "sub"])
def test_a_plain_sum_is_cut(join):
    assert_cut_exactly(Calls(JOINS[join]), {"a": 1})


class Flips(nn.Module):
    """A shortcut that turns the order of the channels around, which the graph does not see."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.b = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))

    def forward(self, x):
        x = self.a(x)
        return self.c(self.b(x) + x.flip(1))


def test_a_misread_group_is_named_and_can_be_ignored():
    model = Flips()
    prune_channels(copied := copy.deepcopy(model), {"a": 1, "b.0": 2})
    with pytest.raises(SurgeryError, match=r"^a: without its masked.*prune_channels\(model, \.\.\., ignored_layers=\['a'\]\)"):
        shrink(copied)
    prune_channels(model, 0.5, ignored_layers=["a"])
    small = shrink(model)
    assert_same(outputs(model), outputs(small))
    assert small.a.out_channels == 4 and small.b[0].out_channels == 3


class OptionA(nn.Module):
    """A residual network with the shortcuts of He et al. 2016 without parameters: every other pixel, zeros for new channels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([self.block(8, 8, 1), self.block(8, 16, 2), self.block(16, 16, 1)])
        self.fc = nn.Linear(16, 10)

    @staticmethod
    def block(n_in, n_out, stride):
        first, second = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        return nn.Sequential(first, nn.BatchNorm2d(n_out), nn.ReLU(), second, nn.BatchNorm2d(n_out))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for block in self.blocks:
            shortcut = x
            if block[0].stride == (2, 2):
                shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
            x = F.relu(block(x) + shortcut)
        return self.fc(x.mean((2, 3)))


def test_shortcuts_without_parameters():
    model = lively(OptionA())
    inside = ["blocks.0.0", "blocks.1.0", "blocks.2.0"]
    assert list(channel_groups(model, ignored_layers=["conv1", "blocks.0.3", "blocks.1.3"])) == inside
    small = assert_cut_exactly(lively(OptionA()), dict.fromkeys(inside, 5), ignored_layers=["conv1"])
    assert small.conv1.out_channels == 8 and small.fc.in_features == 16
    prune_channels(model, 0.5)
    try:
        small = shrink(model)
    except SurgeryError as error:
        assert "ignored_layers=['" in str(error)
    else:
        assert_same(outputs(model), outputs(small))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.Conv2d(8, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.BatchNorm1d(8 * 900), nn.Linear(8 * 900, 4)),
    ],
)
def test_channels_under_other_layers_are_left_alone(model):
    assert channel_groups(model) == {} or list(channel_groups(model)) == ["1"]
    prune_channels(model, 0.5)
    assert_same(outputs(model), outputs(shrink(model)))


def test_a_network_for_other_images_needs_an_example():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 8), nn.ReLU(), nn.Linear(8, 2))
    for call in (channel_groups, shrink):
        with pytest.raises(SurgeryError, match=r"^Sequential: cannot be followed on images of shape .*pass example_input="):
            call(model)
    assert_cut_exactly(model, {"1": 3}, torch.zeros(1, 3, 8, 8))


# ---- refused: arguments


class Nowhere(Criterion):
    def importance(self, weight):
        return weight * float("nan")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: prune_channels(m, 1.5), r"amount of conv1=1.5: must be a fraction in \[0, 1\] or a count of at most 8"),
        (lambda m: prune_channels(m, {"conv1": -1}), r"amount of conv1=-1"),
        (lambda m: prune_channels(m, float("nan")), r"amount of conv1=nan"),
        (lambda m: prune_channels(m, 0.5, round_to=0), r"round_to=0: must be 1 or more"),
        (lambda m: prune_channels(m, {"fc": 0.5}), r"amount: 'fc' is no group of channels; the groups are conv1"),
        (lambda m: prune_channels(m, 0.5, TaylorPruning), "data=.*must be training data"),
        (lambda m: prune_channels(m, 0.5, Nowhere), "importance of conv1=.NaN.: must be numbers"),
        (lambda m: widths_for_macs(m, 0), r"share=0: must be a fraction in \(0, 1\]"),
        (lambda m: widths_for_macs(m, 0.5, {"conv1": [0.9] * 5}), r"dense_accuracy=None: must be the whole network's"),
        (
            lambda m: widths_for_macs(m, 0.5, {"conv1": [0.9] * 5}, 0.9),
            r"scan=.*: must be of this network, whose groups are conv1, stage1.conv",
        ),
        (lambda m: drop_blocks(m, ["stage9"]), "names='stage9': must be residual blocks; they are stage1.block1"),
    ],
)
def test_refused_calls_change_nothing(call, message, state_of, same_state):
    model = CifarNet(0.25)
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        call(model)
    assert same_state(before, state_of(model))


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


def test_blocks_of_networks_of_torchvision():
    wanted = {"resnet18": 5, "vgg11_bn": 0, "squeezenet1_1": 0, "mobilenet_v2": 10, "vit": 2}
    for name, count in wanted.items():
        model, example = network(name), torch.zeros(1, 3, NETWORKS[name][1], NETWORKS[name][1])
        blocks = residual_blocks(model, example)
        assert len(blocks) == count
        smaller = drop_blocks(model, blocks[-1:], example)
        assert outputs(smaller, torch.rand(2, *example.shape[1:])).shape == (2, 10)


# ---- widths for a share of the MACs


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
@pytest.mark.parametrize("guided", [False, True])
def test_widths_meet_their_share_of_macs(share, guided):
    model = CifarNet(0.5)
    torch.manual_seed(0)
    scan = {name: (0.9 - torch.rand(5).sort().values * 0.8).tolist() for name in channel_groups(model)} if guided else None
    amounts = widths_for_macs(model, share, scan, 0.9, (0.2, 0.4, 0.6, 0.8, 0.9))
    assert guided or len(set(amounts.values())) == 1
    prune_channels(model, amounts)
    assert count_macs(shrink(model)) / count_macs(model) == pytest.approx(share, abs=0.03 * share)


def test_all_of_the_macs_is_the_whole_network():
    model = CifarNet(0.25)
    prune_channels(model, widths_for_macs(model, 1.0))
    assert count_macs(shrink(model)) == count_macs(model)


def test_the_channel_scan_prunes_one_group_at_a_time(digits, state_of, same_state):
    model, few = trained(digits, width=0.15, epochs=2, seed=0), digits.val.subset(60)
    before = state_of(model)
    scan = channel_scan(model, few, (0.0, 0.5), digits, batches=1)
    assert list(scan) == list(channel_groups(model)) and same_state(before, state_of(model))
    for name, accuracies in scan.items():
        for amount, accuracy in zip((0.0, 0.5), accuracies, strict=True):
            alone = copy.deepcopy(model)
            prune_channels(alone, {name: amount})
            recalibrate(alone, digits, 1)
            assert accuracy == evaluate(alone, few).accuracy
    assert len({accuracies[1] for accuracies in scan.values()}) > 1

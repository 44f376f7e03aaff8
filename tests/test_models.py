"""Networks: sizes and shapes, and the public weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers import (
    CifarNet,
    DataError,
    DepthPrunedNet,
    SimpleNet,
    WidthPrunedNet,
    count_macs,
    evaluate,
    load_dataset,
    models,
    resnet20,
    resnet56,
)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_those_of_the_design():
    assert count_macs(CifarNet(1.0)) <= 100e6 and parameters(CifarNet(1.0)) <= 1.6e6
    assert count_macs(CifarNet(0.5)) <= 25e6


def test_a_block_of_cifar_net_can_be_dropped():
    """Its output has its input's shape."""
    blocks = [module for module in CifarNet().modules() if isinstance(module, models.ResidualBlock)]
    assert len(blocks) == 5
    for block in blocks:
        x = torch.rand(2, block.conv1.in_channels, 8, 8)
        assert block(x).shape == x.shape


def test_macs_by_hand():
    """Each 3x3 convolution costs 9 x inputs x outputs x places; the stage convolution runs before its pooling."""
    c0, c1, c2, c3 = CifarNet.channels
    convs = (
        3 * c0 * 32**2
        + c0 * c1 * 32**2
        + 2 * c1**2 * 16**2
        + c1 * c2 * 16**2
        + 4 * c2**2 * 8**2
        + c2 * c3 * 8**2
        + 4 * c3**2 * 4**2
    )
    assert count_macs(CifarNet()) == 9 * convs + 10 * c3


@given(st.floats(0.05, 1.5), st.integers(1, 5))
def test_any_width_gives_logits(width, n):
    model = CifarNet(width).eval()
    assert model(torch.rand(n, 3, 32, 32)).shape == (n, 10)
    assert model.conv1.out_channels == max(1, round(width * 32))


@pytest.mark.parametrize("width", [0, -1, 4.1, math.nan])
def test_bad_width(width):
    with pytest.raises(ValueError, match="width=.*must be a number in"):
        CifarNet(width)


def test_normalization_is_inside():
    """A picture of the mean color is zero after normalization, so conv1, which has no bias, sees zeros."""
    model = CifarNet(0.25).eval()
    seen = []
    model.conv1.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    model(torch.tensor(models.CIFAR10_MEAN).view(1, 3, 1, 1).expand(2, 3, 32, 32))
    assert seen[0].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("network", "sizes"),
    [(SimpleNet, [3072, 256, 128, 64, 10]), (DepthPrunedNet, [3072, 256, 128, 10]), (WidthPrunedNet, [3072, 256, 64, 64, 10])],
)
def test_fully_connected_trio(network, sizes):
    model = network()
    layers = [module for _, module in model.named_children()]
    assert [name for name, _ in model.named_children()] == [f"layer{k}" for k in range(1, len(sizes))]
    assert [(layer.in_features, layer.out_features) for layer in layers] == list(zip(sizes, sizes[1:], strict=False))
    assert model(torch.rand(3, 3, 32, 32)).shape == (3, 10)


# ---- the ResNets of the literature


@pytest.mark.parametrize(("build", "layers", "size"), [(resnet20, 20, 269_722), (resnet56, 56, 853_018)])
def test_resnets_are_as_published(build, layers, size):
    """As many layers as the name says; no layer in a shortcut; the normalization is not in the file."""
    model = build()
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == layers
    assert parameters(model) == size and not {"mean", "std"} & model.state_dict().keys()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_block_with_a_stride_carries_every_second_pixel():
    """A new block computes nothing yet (Goyal et al.), so its output is its shortcut: option A."""
    x = torch.rand(2, 4, 8, 8)
    out = models.ResidualBlock(8, stride=2)(x)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2]) and not out[:, :2].any() and not out[:, 6:].any()


def test_public_weights_classify_the_official_images():
    """91.7 and 93.4 % of all test images; here of a few of them."""
    try:
        data, networks = load_dataset("cifar10"), [resnet20(pretrained=True), resnet56(pretrained=True)]
    except DataError as error:
        pytest.skip(str(error))
    for network, published, n in zip(networks, (0.917, 0.934), (500, 100), strict=True):
        assert evaluate(network, data.test.subset(n)).accuracy > published - 3 * math.sqrt(published * (1 - published) / n)

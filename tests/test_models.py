"""Networks: sizes and shapes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers import CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, models

WIDTHS = st.floats(0.05, 1.5, allow_nan=False)


def macs(model):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.rand(1, 3, 32, 32))
    return counter.get_total_flops() // 2


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_those_of_the_design():
    assert macs(CifarNet(1.0)) <= 100e6 and parameters(CifarNet(1.0)) <= 1.6e6
    assert macs(CifarNet(0.5)) <= 25e6


def test_structure():
    model = CifarNet()
    assert isinstance(model.conv1, nn.Conv2d) and model.conv1.in_channels == 3
    blocks = [name for name, module in model.named_modules() if isinstance(module, models.ResidualBlock)]
    assert len(blocks) >= 4 and {name.split(".")[0] for name in blocks} == {"stage1", "stage2", "stage3"}
    for name in blocks:  # a block can be dropped: its output has its input's shape
        block = model.get_submodule(name)
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
    assert macs(CifarNet()) == 9 * convs + 10 * c3


@given(WIDTHS, st.integers(1, 5))
def test_any_width_gives_logits(width, n):
    model = CifarNet(width).eval()
    assert model(torch.rand(n, 3, 32, 32)).shape == (n, 10)
    assert model.conv1.out_channels == max(1, round(width * 32))


@pytest.mark.parametrize("width", [0, -1, 4.1, math.nan, math.inf, "1", None, True])
def test_bad_width(width):
    with pytest.raises(ValueError, match="width=.*must be a number in"):
        CifarNet(width)


def test_normalisation_is_inside():
    """A picture of the mean colour is zero after normalisation, so conv1, which has no bias, sees zeros."""
    model = CifarNet(0.25).eval()
    seen = []
    model.conv1.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    model(torch.tensor(models.CIFAR10_MEAN).view(1, 3, 1, 1).expand(2, 3, 32, 32))
    assert seen[0][0].abs().max() < 1e-6 and seen[0][1].abs().max() < 1e-5
    names = dict(model.named_buffers())
    assert {"mean", "std"} <= names.keys() and not {"mean", "std"} & dict(model.named_parameters()).keys()


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
    assert parameters(model) == sum(n * m + m for n, m in zip(sizes, sizes[1:], strict=False))

"""Networks: sizes, shapes, checkpoints and their damage."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers import CheckpointError, CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, load_cifar_net, models, save_cifar_net

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


# ---- checkpoints


@given(width=WIDTHS.filter(lambda w: w < 0.4), seed=st.integers(0, 1000))
def test_round_trip_keeps_every_bit(tmp_path_factory, width, seed):
    torch.manual_seed(seed)
    model = CifarNet(width)
    for p in model.buffers():
        if p.is_floating_point() and p.ndim == 1:
            nn.init.uniform_(p, 0.5, 2)
    path = tmp_path_factory.mktemp("net") / "net.pth"
    save_cifar_net(model, path, dataset="x", seed=seed, test_accuracy=0.5)
    loaded = load_cifar_net(path)
    images = torch.rand(4, 3, 32, 32)
    assert not loaded.training and torch.equal(loaded(images), model.eval()(images))
    assert loaded.facts["seed"] == seed and loaded.facts["torch"] and loaded.width == model.width


def test_the_same_network_gives_the_same_file(tmp_path):
    model = CifarNet(0.1)
    for name in ("a.pth", "b.pth"):
        save_cifar_net(model, tmp_path / name, seed=1)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net.pth"
    save_cifar_net(CifarNet(0.1), path)
    return path


@given(share=st.floats(0, 0.999))
def test_truncated_checkpoint_is_named(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("net") / "net.pth"
    save_cifar_net(CifarNet(0.1), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="net.pth: damaged, or not a checkpoint"):
        load_cifar_net(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state": {}}, "not a checkpoint of this collection"),
        ([1, 2], "not a checkpoint of this collection"),
        ({"format": models._FORMAT, "architecture": {"width": 0.1, "classes": 10}, "state": {}}, "do not fit"),
        ({"format": models._FORMAT, "architecture": {"width": -1}, "state": {}}, "do not fit"),
        ({"format": models._FORMAT}, "do not fit"),
    ],
)
def test_foreign_checkpoint_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=f"other.pth: .*{message}"):
        load_cifar_net(tmp_path / "other.pth")


def test_a_checkpoint_cannot_run_code(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "pickled.pth")  # a pickled object, which weights_only refuses
    with pytest.raises(CheckpointError, match="pickled.pth: damaged, or not a checkpoint"):
        load_cifar_net(tmp_path / "pickled.pth")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="gone.pth: no such file"):
        load_cifar_net(tmp_path / "gone.pth")


def test_a_failed_save_leaves_the_good_file(saved, monkeypatch):
    good = saved.read_bytes()

    def fails(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(models.torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        save_cifar_net(CifarNet(0.2), saved)
    assert saved.read_bytes() == good and [entry.name for entry in saved.parent.iterdir()] == [saved.name]


def test_save_refuses_what_it_cannot_describe(tmp_path):
    with pytest.raises(ValueError, match="model=SimpleNet: must be a CifarNet"):
        save_cifar_net(SimpleNet(), tmp_path / "net.pth")
    for value in (torch.tensor(0.5), np.float64(0.5)):  # neither could be read again with weights_only
        with pytest.raises(ValueError, match="accuracy=.*must be a plain value"):
            save_cifar_net(CifarNet(0.1), tmp_path / "net.pth", accuracy=value)
    with pytest.raises(ValueError, match="torch='1.0': must be left out"):
        save_cifar_net(CifarNet(0.1), tmp_path / "net.pth", torch="1.0")
    assert list(tmp_path.iterdir()) == []


@given(width=WIDTHS.filter(lambda w: w < 0.4), seed=st.integers(0, 1000))
def test_rounded_weights_survive_float16_and_the_rest_keeps_every_bit(tmp_path_factory, width, seed):
    torch.manual_seed(seed)
    model, path = CifarNet(width), tmp_path_factory.mktemp("net") / "net.pth"
    save_cifar_net(model, path, float16=True)
    loaded = load_cifar_net(path)
    for key, value in model.state_dict().items():
        is_weight = key.endswith("weight") and value.ndim in (2, 4)
        expected = value.half().float() if is_weight else value
        assert loaded.state_dict()[key].dtype == value.dtype and torch.equal(loaded.state_dict()[key], expected)

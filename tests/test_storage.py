"""Pruned networks go into files and come back: the same outputs, the same masks; damaged files are named."""

import copy
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_surgery import IMAGES, lively, networks, outputs
from torch import nn
from torch.nn.utils import prune

import helpers
from helpers import (
    CheckpointError,
    CifarNet,
    MagnitudePruning,
    RandomPruning,
    SimpleNet,
    channel_groups,
    drop_blocks,
    load_cifar_net,
    load_pruned,
    make_permanent,
    prunable_layers,
    prune_channels,
    prune_globally,
    residual_blocks,
    save_cifar_net,
    save_pruned,
    shrink,
    sparsity,
    train,
)
from helpers.models import LOADERS
from helpers.storage import VERSION


def back(model, tmp_path):
    path = tmp_path / "net.pth"
    save_pruned(model, path)
    return load_pruned(path)


@given(networks(), st.data())
def test_masked_permanent_and_shrunk_networks_come_back(tmp_path_factory, model, data):
    if isinstance(model, nn.Sequential):
        return
    folder = tmp_path_factory.mktemp("nets")
    prune_globally(model, [RandomPruning(data.draw(st.floats(0, 0.3)), 1)])
    amounts = {
        name: data.draw(st.integers(0, group.channels - 1))
        for name, group in channel_groups(make_permanent(copy.deepcopy(model))).items()
    }
    for step in ("masked", "permanent", "channels masked", "shrunk", "masked again"):
        if step == "permanent":
            model = make_permanent(copy.deepcopy(model))
            assert not prune.is_pruned(model)
        elif step == "channels masked":
            prune_channels(model, amounts)
        elif step == "shrunk":
            model = shrink(model)
        elif step == "masked again":
            prune_globally(model, [RandomPruning(0.2, 2)])
        again = back(model, folder)
        assert torch.equal(outputs(model), outputs(again))
        assert again.state_dict().keys() == model.state_dict().keys()
        assert sparsity(again).layers == sparsity(model).layers


def test_the_manifest(tmp_path):
    model = drop_blocks(CifarNet(0.15), ["stage2.block1"])
    prune_globally(model, [MagnitudePruning(0.5)])
    save_pruned(model, tmp_path / "net.pth", data="digits", test_accuracy=0.97)
    manifest = load_pruned(tmp_path / "net.pth").manifest
    assert manifest["kind"] == "CifarNet" and manifest["architecture"] == {"width": 0.15, "classes": 10}
    assert manifest["dropped"] == ["stage2.block1"] and manifest["sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert manifest["data"] == "digits" and manifest["torch"] == torch.__version__.split("+")[0]
    assert manifest["layers"] == {name: list(layer.weight.shape) for name, layer in prunable_layers(model).items()}
    assert back(model, tmp_path).manifest["data"] is None


def test_what_comes_back_trains_on_with_its_masks(tmp_path, digits):
    model = CifarNet(0.15)
    prune_globally(model, [MagnitudePruning(0.8)])
    again = back(model, tmp_path)
    train(again, digits, epochs=0.1, validate=False)
    assert sparsity(again).zeros == sparsity(model).zeros and prune.is_pruned(again)
    small = back(shrink(drop_blocks(lively(CifarNet(0.15)), residual_blocks(CifarNet(0.15))[:2])), tmp_path)
    train(small, digits, epochs=0.1, validate=False)
    assert small.eval()(IMAGES).shape == (16, 10)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    model = CifarNet(0.1)
    save_pruned(model, tmp_path / "a.pth")
    save_pruned(model, tmp_path / "b.pth")
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@given(st.floats(0, 0.999))
def test_a_truncated_file_is_named(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "net.pth"
    save_pruned(SimpleNet(inputs=12), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"net.pth: damaged, or not a checkpoint .*: save it again with save_pruned"):
        load_pruned(path)


@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_harmless(tmp_path_factory, place, change):
    path = tmp_path_factory.mktemp("flipped") / "net.pth"
    torch.manual_seed(0)
    model = SimpleNet(inputs=12)
    save_pruned(model, path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(content)
    try:
        again = load_pruned(path).state_dict()
    except CheckpointError as error:
        assert "net.pth: " in str(error) and "save it again with save_pruned" in str(error)
    else:  # a byte of the padding between the file's parts, or of a date
        assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_the_other_kind_of_checkpoint_names_its_loader(tmp_path):
    save_cifar_net(CifarNet(0.1), tmp_path / "whole.pth")
    save_pruned(CifarNet(0.1), tmp_path / "pruned.pth")
    with pytest.raises(CheckpointError, match=r"whole.pth: is another kind .* read it with helpers.load_cifar_net"):
        load_pruned(tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"pruned.pth: is another kind .* read it with helpers.load_pruned"):
        load_cifar_net(tmp_path / "pruned.pth")
    assert all(callable(getattr(helpers, name)) for name in LOADERS.values())


@pytest.mark.parametrize("version", ["2", None, 0, True, 1.5])
def test_a_version_that_is_none(tmp_path, version):
    path = tmp_path / "net.pth"
    save_pruned(CifarNet(0.1), path)
    torch.save(torch.load(path, weights_only=True) | {"version": version}, path)
    with pytest.raises(CheckpointError, match=rf"net.pth: damaged, its version is {version!r}: save it again"):
        load_pruned(path)


def test_missing_foreign_and_future_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"none.pth: no such file: save it again with save_pruned"):
        load_pruned(tmp_path / "none.pth")
    torch.save({"state": {}}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match=r"foreign.pth: not a checkpoint of this collection .*: save it again"):
        load_pruned(tmp_path / "foreign.pth")
    save_pruned(CifarNet(0.1), tmp_path / "net.pth")
    content = torch.load(tmp_path / "net.pth", weights_only=True)
    torch.save(content | {"version": VERSION + 1}, tmp_path / "future.pth")
    with pytest.raises(CheckpointError, match=r"future.pth: written by a later version .*git pull"):
        load_pruned(tmp_path / "future.pth")
    content["state"].pop("conv1.weight")
    torch.save(content, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match=r"short.pth: its weights do not fit its manifest"):
        load_pruned(tmp_path / "short.pth")


def test_a_failed_save_keeps_the_good_file(tmp_path, monkeypatch):
    path = tmp_path / "net.pth"
    save_pruned(CifarNet(0.1), path)
    before = path.read_bytes()

    def fails(*args):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        save_pruned(CifarNet(0.2), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net.pth"]


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="model=Sequential: must be one of CifarNet"):
        save_pruned(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"data=.*: must be a plain value"):
        save_pruned(CifarNet(0.1), tmp_path / "net.pth", data=[1])
    names = "kind, architecture, layers, dropped, sparsity, torch"
    with pytest.raises(ValueError, match=rf"^facts: {names}: the manifest says this by itself; give the facts other names$"):
        save_pruned(CifarNet(0.1), tmp_path / "net.pth", **dict.fromkeys(names.split(", "), "masked"), note="mine")
    for fact in ({"kind": "masked"}, {"sparsity": 0.0}):
        with pytest.raises(ValueError, match=f"^facts: {next(iter(fact))}: "):
            save_pruned(CifarNet(0.1), tmp_path / "net.pth", **fact)
    assert not os.listdir(tmp_path)

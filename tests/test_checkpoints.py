"""Networks go into files and come back: the same outputs, the same masks; damaged files are named, good ones kept."""

import copy
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_surgery import IMAGES, lively, networks, outputs
from torch import nn
from torch.nn.utils import prune

from helpers import (
    CheckpointError,
    CifarNet,
    MagnitudePruning,
    RandomPruning,
    SimpleNet,
    channel_groups,
    checkpoints,
    drop_blocks,
    evaluate,
    load_cifar_net,
    load_network,
    load_pretrained,
    make_permanent,
    prunable_layers,
    prune_channels,
    prune_globally,
    residual_blocks,
    save_network,
    shrink,
    sparsity,
    train,
    trained,
)
from helpers.checkpoints import VERSION


def back(model, tmp_path, into=None, **options):
    path = tmp_path / "net.pth"
    save_network(model, path, **options)
    return load_network(path, into)


@given(networks(), st.data())
def test_masked_permanent_and_shrunk_networks_come_back(tmp_path_factory, model, data):
    into = copy.deepcopy(model) if isinstance(model, nn.Sequential) else None
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
        again = back(model, folder, into)
        assert torch.equal(outputs(model), outputs(again))
        assert again.state_dict().keys() == model.state_dict().keys()
        assert sparsity(again).layers == sparsity(model).layers


def test_the_manifest(tmp_path):
    model = drop_blocks(CifarNet(0.15), ["stage2.block1"])
    prune_globally(model, [MagnitudePruning(0.5)])
    save_network(model, tmp_path / "net.pth", dataset="digits", test_accuracy=0.97)
    again = load_network(tmp_path / "net.pth")
    manifest = again.manifest
    assert manifest["kind"] == "CifarNet" and manifest["architecture"] == {"width": 0.15, "classes": 10}
    assert manifest["dropped"] == ["stage2.block1"] and manifest["sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert again.facts == {"dataset": "digits", "test_accuracy": 0.97} and manifest["torch"] == torch.__version__.split("+")[0]
    assert manifest["layers"] == {name: list(layer.weight.shape) for name, layer in prunable_layers(model).items()}


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
    save_network(model, tmp_path / "a.pth")
    save_network(model, tmp_path / "b.pth")
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@given(st.floats(0, 0.999))
def test_a_truncated_file_is_named(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "net.pth"
    save_network(SimpleNet(inputs=12), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"net.pth: damaged, or not a checkpoint .*: save it again with save_network"):
        load_network(path)


@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_harmless(tmp_path_factory, place, change):
    path = tmp_path_factory.mktemp("flipped") / "net.pth"
    torch.manual_seed(0)
    model = SimpleNet(inputs=12)
    save_network(model, path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(content)
    try:
        again = load_network(path).state_dict()
    except CheckpointError as error:
        assert "net.pth: " in str(error) and "save it again with save_network" in str(error)
    else:  # a byte of the padding between the file's parts, or of a date
        assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_a_network_of_another_class_comes_back_into_one_like_it(tmp_path):
    def build():
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 10)).eval()

    torch.manual_seed(0)
    model, into = build(), build()
    prune_channels(model, 0.5)
    model = shrink(model)
    prune_globally(model, [MagnitudePruning(0.3)])
    again = back(model, tmp_path, into)
    assert torch.equal(outputs(model), outputs(again)) and sparsity(again).zeros == sparsity(model).zeros
    assert into[0].out_channels == 8  # what was handed over stays as it was
    with pytest.raises(CheckpointError, match="net.pth: holds a Sequential: build one, then load_network"):
        load_network(tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="net.pth: holds a Sequential: build one, then load_network"):
        load_network(tmp_path / "net.pth", into=CifarNet(0.1))


@given(st.floats(0.05, 0.4), st.integers(0, 1000))
def test_rounded_weights_come_back_rounded_and_the_rest_to_the_bit(tmp_path_factory, width, seed):
    torch.manual_seed(seed)
    model = lively(CifarNet(width))
    if seed % 2:
        prune_globally(model, [MagnitudePruning(0.5)])
    again = back(model, tmp_path_factory.mktemp("nets"), float16=True).state_dict()
    for key, value in model.state_dict().items():
        is_weight = value.ndim in (2, 4) and not key.endswith("_mask") and key not in ("mean", "std")
        assert again[key].dtype == value.dtype and torch.equal(again[key], value.half().float() if is_weight else value)


def test_a_file_cannot_run_code(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "pickled.pth")  # a pickled object, which weights_only refuses
    with pytest.raises(CheckpointError, match="pickled.pth: damaged, or not a checkpoint"):
        load_network(tmp_path / "pickled.pth")


@pytest.mark.parametrize("version", ["2", None, 0, True, 1.5])
def test_a_version_that_is_none(tmp_path, version):
    path = tmp_path / "net.pth"
    save_network(CifarNet(0.1), path)
    torch.save(torch.load(path, weights_only=True) | {"version": version}, path)
    with pytest.raises(CheckpointError, match=rf"net.pth: damaged, its version is {version!r}: save it again"):
        load_network(path)


def test_missing_foreign_and_future_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"none.pth: no such file: save it again with save_network"):
        load_network(tmp_path / "none.pth")
    torch.save({"state": {}}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match=r"foreign.pth: not a checkpoint of this collection .*: save it again"):
        load_network(tmp_path / "foreign.pth")
    save_network(CifarNet(0.1), tmp_path / "net.pth")
    content = torch.load(tmp_path / "net.pth", weights_only=True)
    torch.save(content | {"version": VERSION + 1}, tmp_path / "future.pth")
    with pytest.raises(CheckpointError, match=r"future.pth: written by a later version .*git pull"):
        load_network(tmp_path / "future.pth")
    content["state"].pop("conv1.weight")
    torch.save(content, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match=r"short.pth: its weights do not fit its manifest"):
        load_network(tmp_path / "short.pth")


def test_a_failed_save_keeps_the_good_file(tmp_path, monkeypatch):
    path = tmp_path / "net.pth"
    save_network(CifarNet(0.1), path)
    before = path.read_bytes()

    def fails(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        save_network(CifarNet(0.2), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net.pth"]


def test_what_cannot_be_saved(tmp_path):
    for value in ([1], torch.tensor(0.5), np.float64(0.5)):  # the last two could not be read again with weights_only
        with pytest.raises(ValueError, match=r"accuracy=.*: must be a plain value"):
            save_network(CifarNet(0.1), tmp_path / "net.pth", accuracy=value)
    names = "kind, architecture, layers, dropped, sparsity, torch"
    with pytest.raises(ValueError, match=rf"^facts: {names}: the manifest says this by itself; give the facts other names$"):
        save_network(CifarNet(0.1), tmp_path / "net.pth", **dict.fromkeys(names.split(", "), "masked"), note="mine")
    for fact in ({"kind": "masked"}, {"sparsity": 0.0}):
        with pytest.raises(ValueError, match=f"^facts: {next(iter(fact))}: "):
            save_network(CifarNet(0.1), tmp_path / "net.pth", **fact)
    assert not os.listdir(tmp_path)


# ---- trained networks


@pytest.fixture
def networks(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "REPOSITORY", tmp_path)
    return tmp_path / "build" / "networks"


def test_trained_trains_once(digits, networks, monkeypatch, state_of, same_state):
    recipe = {"width": 0.1, "epochs": 0.5, "seed": 7, "lr": 0.01}
    first = trained(digits, **recipe)
    (path,) = networks.glob("*.pth")
    assert all(part in path.name for part in ("digits", "width0.1", "epochs0.5", "seed7"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "train", lambda *_, **__: pytest.fail("trained again"))
        assert same_state(state_of(first), state_of(trained(digits, **recipe)))
    path.write_bytes(b"damaged")
    assert same_state(state_of(first), state_of(trained(digits, **recipe)))


def test_another_recipe_is_another_network(digits, networks):
    for change in ({}, {"seed": 1}, {"lr": 0.02}, {"width": 0.15}):
        trained(digits, **{"width": 0.1, "epochs": 0.2, "seed": 0} | change)
    assert len(list(networks.glob("*.pth"))) == 4


def test_a_changed_default_is_another_network(digits, networks, monkeypatch):
    """The file's name holds the whole recipe: what was trained with an old default is not taken for the new one."""
    recipe = {"width": 0.1, "epochs": 0.2}
    trained(digits, **recipe)
    monkeypatch.setitem(checkpoints.RECIPE, "momentum", 0.5)
    trained(digits, **recipe)
    monkeypatch.setattr(checkpoints, "default_rate", lambda data, batch_size: 0.01)
    trained(digits, **recipe)
    assert len(list(networks.glob("*.pth"))) == 3


def test_pretrained_on_digits(digits):
    model = load_pretrained(digits)
    assert model.width == 1.0 and not model.training
    assert evaluate(model, digits.val).accuracy > 0.9


def test_the_shipped_checkpoint_says_what_it_is():
    model = load_cifar_net()
    assert model.width == 1.0
    assert {"dataset", "seed", "epochs", "lr", "device", "test_accuracy", "val_accuracy"} <= model.facts.keys()
    assert model.facts["dataset"] == "CIFAR-10" and model.facts["test_accuracy"] >= 0.915

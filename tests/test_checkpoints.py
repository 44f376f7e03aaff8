"""Networks go into files and come back: the same outputs, the same masks; damaged files are named, good ones kept."""

import copy
import os
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_surgery import IMAGES, lively, outputs
from torch import nn
from torch.nn.utils import prune
from torchvision.models import resnet18

import helpers as h
from helpers import checkpoints, training


def back(model, folder, into=None, **options):
    h.save_network(model, folder / "net.pth", **options)
    return h.load_network(folder / "net.pth", into)


def assert_same(model, again):
    state, other = model.state_dict(), again.state_dict()
    assert state.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in state.items())
    assert torch.equal(outputs(model), outputs(again)) and repr(again) == repr(model.eval())


class Varied(nn.Module):
    """A class that the collection does not know, with layers that state their sizes in several ways."""

    def __init__(self, channels=8):
        super().__init__()
        self.register_buffer("attention_mask", torch.ones(3))  # no mask of torch.nn.utils.prune
        self.first = nn.Conv2d(3, 2 * channels, 3)
        self.grouped = nn.Conv2d(2 * channels, 2 * channels, 3, groups=2, bias=False)
        self.depthwise = nn.Conv2d(2 * channels, 4 * channels, 3, groups=2 * channels)
        self.norms = nn.Sequential(nn.BatchNorm2d(4 * channels, affine=False), nn.GroupNorm(2, 4 * channels), nn.Identity())
        self.last = nn.Sequential(nn.Linear(4 * channels, channels), nn.LayerNorm(channels), nn.Linear(channels, 10))

    def forward(self, x):
        return self.last(self.norms(self.depthwise(self.grouped(self.first(x)))).mean((2, 3)))


# ---- round trips


@st.composite
def networks(draw):
    """A `CifarNet`, whole or without some blocks, a fully connected net, or a chain of convolutions, all narrow."""
    kind = draw(st.sampled_from(["cifar", "simple", "chain"]))
    if kind == "cifar":
        model = h.CifarNet(draw(st.sampled_from([0.1, 0.15, 0.2])))
        model = h.drop_blocks(model, draw(st.lists(st.sampled_from(h.residual_blocks(model)), unique=True, max_size=4)))
    elif kind == "simple":
        model = draw(st.sampled_from([h.SimpleNet, h.DepthPrunedNet, h.WidthPrunedNet]))()
    else:
        channels = draw(st.integers(2, 8))
        layers = [nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        model = nn.Sequential(*layers, nn.Linear(4 * channels, 6), nn.ReLU(), nn.Linear(6, 10))
    return lively(model, draw(st.integers(0, 99)))


@given(networks(), st.data())
def test_masked_permanent_and_shrunk_networks_come_back(tmp_path_factory, model, data):
    into = copy.deepcopy(model) if isinstance(model, nn.Sequential) else None
    folder = tmp_path_factory.mktemp("nets")
    h.prune_globally(model, [h.RandomPruning(data.draw(st.floats(0, 0.3)), 1)])
    amounts = {
        name: data.draw(st.integers(0, group.channels - 1))
        for name, group in h.channel_groups(h.make_permanent(copy.deepcopy(model))).items()
    }
    for step in ("masked", "permanent", "channels masked", "shrunk", "masked again"):
        if step == "permanent":
            model = h.make_permanent(copy.deepcopy(model))
        elif step == "channels masked":
            h.prune_channels(model, amounts)
        elif step == "shrunk":
            model = h.shrink(model)
        elif step == "masked again":
            h.prune_globally(model, [h.RandomPruning(0.2, 2)])
        again = back(model, folder, into)
        assert_same(model, again)
        assert h.sparsity(again).layers == h.sparsity(model).layers


@given(st.integers(1, 11), st.booleans())
def test_other_classes_come_back_into_a_copy_of_one_like_them(tmp_path_factory, channels, masked):
    model, into = Varied(channels), Varied()
    into.norms[2] = nn.Dropout()  # a block, which the saved network lacks
    for layer in (model.first, into.first, into.grouped)[: 3 if masked else 0]:
        prune.random_unstructured(layer, "weight", 0.5)
    before = repr(into)
    again = back(model, tmp_path_factory.mktemp("varied"), into)
    assert_same(model, again)
    assert prune.is_pruned(again) == masked and not hasattr(again.grouped, "weight_mask")
    assert repr(into) == before  # what was handed over stays as it was


def test_a_pruned_resnet_of_torchvision_comes_back(tmp_path):
    model = resnet18()
    model.layer3[0].conv1, model.layer3[0].bn1 = nn.Conv2d(128, 9, 3, 2, 1, bias=False), nn.BatchNorm2d(9)
    model.layer3[0].conv2 = nn.Conv2d(9, 256, 3, 1, 1, bias=False)
    model.layer1[1] = nn.Identity()
    prune.l1_unstructured(model.fc, "weight", 0.5)
    assert_same(model, back(model, tmp_path, resnet18()))
    for other in (None, h.CifarNet(0.1)):
        with pytest.raises(h.CheckpointError, match="net.pth: .*it holds a ResNet: build one, then load_network"):
            h.load_network(tmp_path / "net.pth", into=other)


def test_a_public_kind_comes_back_by_itself(tmp_path):
    model = lively(h.resnet20())
    h.prune_globally(model, [h.MagnitudePruning(0.5)])
    assert_same(model, back(model, tmp_path))


def test_the_manifest(tmp_path):
    model = h.drop_blocks(h.CifarNet(0.15), ["stage2.block1"])
    h.prune_globally(model, [h.MagnitudePruning(0.5)])
    again = back(model, tmp_path, dataset="digits", test_accuracy=0.97)
    manifest = again.manifest
    assert manifest["kind"] == "CifarNet" and manifest["architecture"] == {"width": 0.15, "classes": 10}
    assert manifest["dropped"] == ["stage2.block1"] and manifest["sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert again.facts == {"dataset": "digits", "test_accuracy": 0.97} and manifest["torch"] == torch.__version__.split("+")[0]


def test_what_comes_back_trains_on_with_its_masks(tmp_path, digits):
    model = h.CifarNet(0.15)
    h.prune_globally(model, [h.MagnitudePruning(0.8)])
    again = back(model, tmp_path)
    h.train(again, digits, epochs=0.1, validate=False)
    assert h.sparsity(again).zeros == h.sparsity(model).zeros and prune.is_pruned(again)
    small = back(h.shrink(h.drop_blocks(lively(h.CifarNet(0.15)), h.residual_blocks(h.CifarNet(0.15))[:2])), tmp_path)
    h.train(small, digits, epochs=0.1, validate=False)
    assert small.eval()(IMAGES).shape == (16, 10)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    model = h.CifarNet(0.1)
    h.save_network(model, tmp_path / "a.pth")
    h.save_network(model, tmp_path / "b.pth")
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


# ---- damage


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    """A small network, its file, and what is in the file."""
    path, model = tmp_path_factory.mktemp("simple") / "net.pth", h.SimpleNet(inputs=12)
    h.save_network(model, path)
    return model, path, path.read_bytes()


@pytest.mark.damage
@given(st.floats(0, 0.999))
def test_a_truncated_file_is_named(simple, share):
    _, path, content = simple
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(h.CheckpointError, match=r"net.pth: cannot be loaded \(.*\): save it again with save_network"):
        h.load_network(path)


@pytest.mark.damage
@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_harmless(simple, place, change):
    model, path, content = simple
    altered = bytearray(content)
    altered[place % len(content)] ^= change
    path.write_bytes(altered)
    try:
        again = h.load_network(path).state_dict()
    except h.CheckpointError as error:
        assert "net.pth: " in str(error) and "save it again with save_network" in str(error)
    else:  # a byte of the padding between the file's parts, or of a date
        assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


@pytest.mark.damage
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["state"], "no checkpoint of this collection"),
        (lambda content: [1, 2], "no checkpoint of this collection"),
        (
            lambda content: content | {"version": checkpoints.VERSION + 1},
            "later version of this collection, 2: update it .git pull",
        ),
        (lambda content: content | {"state": {}}, "Missing key"),
        (lambda content: nn.Linear(2, 2), "Weights only load failed"),  # a pickled object, which could run code
    ],
)
def test_foreign_future_and_unfitting_files(simple, tmp_path, change, message):
    path = tmp_path / "net.pth"
    path.write_bytes(simple[2])
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(h.CheckpointError, match=rf"net.pth: cannot be loaded \(.*{message}"):
        h.load_network(path)


class Spy:
    """Unpickled, it leaves a trace: what a hostile file would do."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


@pytest.mark.damage
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["state", "facts", "all of it"])
def test_code_in_a_file_is_never_run(simple, tmp_path, place, legacy):
    path, trace = tmp_path / "net.pth", tmp_path / "trace"
    path.write_bytes(simple[2])
    content = torch.load(path, weights_only=True)
    hostile = Spy(trace) if place == "all of it" else content | {place: Spy(trace)}
    torch.save(hostile, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(h.CheckpointError, match="net.pth: cannot be loaded"):
        h.load_network(path)
    assert not trace.exists()


@pytest.mark.damage
@pytest.mark.parametrize("name", ["format", "version", "manifest", "sizes", "state"])
@pytest.mark.parametrize("value", [None, 7, "text", {"a": 1}])
def test_parts_of_another_type_are_refused(simple, tmp_path, name, value):
    path = tmp_path / "net.pth"
    path.write_bytes(simple[2])
    torch.save(torch.load(path, weights_only=True) | {name: value}, path)
    with pytest.raises(h.CheckpointError, match="net.pth: cannot be loaded"):
        h.load_network(path)


@pytest.mark.damage
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb, bomb.open("archive/data/0", "w") as file:
        for _ in range(200):
            file.write(bytes(10**6))
    assert path.stat().st_size < 10**6
    with pytest.raises(h.CheckpointError, match="net.pth: cannot be loaded .*larger than the file"):
        h.load_network(path)


@pytest.mark.damage
def test_missing_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(h.CheckpointError, match=r"none.pth: .*No such file.*: save it again with save_network"):
        h.load_network(tmp_path / "none.pth")
    monkeypatch.setattr(checkpoints, "CHECKPOINT", tmp_path / "cifar_net.pth")
    with pytest.raises(h.CheckpointError, match="No such file.*: restore it with `git checkout cifar_net.pth`"):
        h.load_network(tmp_path / "cifar_net.pth")


@pytest.mark.damage
def test_a_failed_save_keeps_the_good_file(tmp_path, monkeypatch):
    path = tmp_path / "net.pth"
    h.save_network(h.CifarNet(0.1), path)
    before = path.read_bytes()

    def fails(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        h.save_network(h.CifarNet(0.2), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net.pth"]


@pytest.mark.damage
def test_what_cannot_be_saved(tmp_path):
    for value in ([1], torch.tensor(0.5), np.float64(0.5)):
        with pytest.raises(ValueError, match="note=.*: must be text, a plain number"):
            h.save_network(h.CifarNet(0.1), tmp_path / "net.pth", note=value)
    assert not os.listdir(tmp_path)


# ---- trained networks


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "REPOSITORY", tmp_path)
    return tmp_path / "build" / "networks"


def test_trained_trains_once(digits, cache, monkeypatch, state_of, same_state):
    recipe = {"width": 0.1, "epochs": 0.5, "seed": 7, "lr": 0.01}
    first = h.trained(digits, **recipe)
    (path,) = cache.glob("*.pth")
    assert all(part in path.name for part in ("digits", "width0.1", "epochs0.5", "seed7"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "train", lambda *_, **__: pytest.fail("trained again"))
        assert same_state(state_of(first), state_of(h.trained(digits, **recipe)))
    path.write_bytes(b"damaged")
    assert same_state(state_of(first), state_of(h.trained(digits, **recipe)))


def test_another_recipe_is_another_network(digits, cache, monkeypatch):
    """The file's name holds the whole recipe: what was trained with an old default is not taken for the new one."""
    recipe = {"width": 0.1, "epochs": 0.2, "seed": 0}
    for change in ({}, {"seed": 1}, {"lr": 0.02}, {"width": 0.15}):
        h.trained(digits, **recipe | change)
    monkeypatch.setitem(training.RECIPE, "momentum", 0.5)
    h.trained(digits, **recipe)
    assert len(list(cache.glob("*.pth"))) == 5


def test_pretrained_on_digits(digits):
    model = h.load_pretrained(digits)
    assert model.width == 1.0 and not model.training
    assert h.evaluate(model, digits.val).accuracy > 0.9


def test_the_shipped_checkpoint_says_what_it_is():
    model = h.load_network()
    assert model.width == 1.0
    assert {"dataset", "seed", "epochs", "lr", "device", "test_accuracy", "val_accuracy"} <= model.facts.keys()
    assert model.facts["dataset"] == "CIFAR-10" and model.facts["test_accuracy"] >= 0.915

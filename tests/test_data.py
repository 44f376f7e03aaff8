"""Data: both sets, the public weights, and every way in which files, the folder or the network can fail."""

import errno
import hashlib
import io
import os
import pickle
import re
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets.utils
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets import CIFAR10

from helpers import DataError, load_dataset, output_path, resnet20
from helpers import data as data_module
from helpers.data import _dataset, data_root

HERE = data_root()  # before the settings go
FOLDER, META = CIFAR10.base_folder, CIFAR10.meta["filename"]
CLOSED = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """An empty data folder, and no other settings."""
    for name in ("PRUNING_DATA", "PRUNING_BUDGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PRUNING_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive in CIFAR-10's format and a file of weights, which are expected, and handed out by a local server."""
    rng = np.random.default_rng(0)
    md5, source = {}, tmp_path / "server"
    source.mkdir()
    path = source / CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        for name in [*(name for name, _ in CIFAR10.train_list + CIFAR10.test_list), META]:
            content = {"data": rng.integers(0, 256, (40, 3072), dtype=np.uint8), "labels": [k % 10 for k in range(40)]}
            payload = pickle.dumps({"label_names": [f"class {k}" for k in range(10)]} if name == META else content)
            md5[name] = hashlib.md5(payload).hexdigest()
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    weights = f"net-{hashlib.sha256(b'weights').hexdigest()[:8]}.th"
    (source / weights).write_bytes(b"weights")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=source))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(data_module, "WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(data_module, "PUBLIC_WEIGHTS", (weights,))
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, md5[name]] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5[META]})
    yield path
    server.shutdown()
    server.server_close()


@pytest.fixture
def small_cifar10(archive):
    return load_dataset("cifar10", download=True)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def fail(error):
    raise error


# ---- what a good data set looks like


def test_digits_have_the_shape_of_cifar10(digits):
    assert digits.name == "digits" and len(digits.classes) == 10
    for split in (digits.train, digits.val, digits.test):
        assert split.images.dtype == torch.uint8 and split.images.shape[1:] == (3, 32, 32)
        assert split.labels.dtype == torch.int64 and len(split.images) == len(split.labels) == len(split)
    sizes = np.array([len(digits.train), len(digits.val), len(digits.test)])
    assert sizes.sum() == 1797
    assert np.abs(sizes / 1797 - np.array([45, 5, 10]) / 60).max() < 0.001
    assert digits.train.images.max() == 255 and digits.train.images.min() == 0


def test_splits_are_fixed(digits):
    again = load_dataset("digits")
    assert torch.equal(digits.train.images, again.train.images) and torch.equal(digits.test.labels, again.test.labels)


@given(st.integers(10, 60), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_split_is_stratified_and_loses_nothing(per_class, per_class_test, seed):
    """Every image lands in exactly one split, and every class has its share in each."""
    labels = torch.from_numpy(np.random.default_rng(seed).permutation(np.repeat(np.arange(10), per_class)))
    images = torch.arange(len(labels)).view(-1, 1, 1, 1)
    test_labels = torch.arange(10).repeat(per_class_test)
    test_images = torch.arange(len(test_labels)).view(-1, 1, 1, 1)
    data = _dataset("x", "x", "abc", images, test_images, labels, test_labels)
    seen = torch.cat([data.train.images, data.val.images]).flatten()
    assert torch.equal(seen.sort().values, torch.arange(len(labels)))
    assert torch.equal(labels[data.train.images.flatten()], data.train.labels)
    assert (data.val.labels.bincount(minlength=10) - per_class / 10).abs().max() <= 1
    assert torch.equal(data.test.labels, test_labels[data.test.images.flatten()])


def test_official_files(monkeypatch):
    """Counts, and that each image stands with its label in one split alone, in the order that is documented."""
    try:
        train, test = (CIFAR10(HERE, train=part) for part in (True, False))
    except RuntimeError:
        pytest.skip(f"the official files of CIFAR-10 are not in {HERE}")
    monkeypatch.setenv("PRUNING_DATA_DIR", str(HERE))
    data = load_dataset("cifar10")
    labels = torch.tensor(train.targets), torch.tensor(test.targets)
    where = _dataset("", "", "", torch.arange(50_000), torch.arange(10_000), *labels)  # numbers instead of images
    assert torch.equal(torch.cat([where.train.images, where.val.images]).sort().values, torch.arange(50_000))
    assert torch.equal(where.test.images.sort().values, torch.arange(10_000))
    assert data.label == "CIFAR-10" and list(data.classes) == train.classes
    for split, numbers, source, count in (
        (data.train, where.train.images, train, 4500), (data.val, where.val.images, train, 500),
        (data.test, where.test.images, test, 1000),
    ):  # fmt: skip
        assert split.labels.bincount().tolist() == [count] * 10
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), source.data[numbers])
        assert split.labels.tolist() == np.array(source.targets)[numbers].tolist()


# ---- which set is taken


def test_auto_falls_back_to_digits_and_says_so(capsys):
    assert load_dataset().name == "digits"
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "make data" in out and 'load_dataset("cifar10", download=True)' in out


def test_cifar10_asked_for_by_name_never_falls_back_nor_downloads(archive, root):
    with pytest.raises(DataError, match=f"{re.escape(str(root))}: .*make data"):
        load_dataset("cifar10")
    assert not root.exists()


def test_unknown_names_and_settings(monkeypatch):
    with pytest.raises(ValueError, match="'mnist': must be auto, cifar10 or digits"):
        load_dataset("mnist")
    monkeypatch.setenv("PRUNING_DATA", "imagenet")
    with pytest.raises(ValueError, match="PRUNING_DATA='imagenet'"):
        load_dataset()


def test_only_the_full_budget_on_cifar10_writes_committed_files(small_cifar10, digits, monkeypatch):
    assert output_path("cifar_net.pth", small_cifar10).parent.name == "build"
    monkeypatch.setenv("PRUNING_BUDGET", "full")
    assert output_path("cifar_net.pth", small_cifar10).parent == data_module.REPOSITORY
    assert output_path("cifar_net.pth", digits).parent.name == "build"


# ---- files, disk and network


def test_download(small_cifar10, root, monkeypatch, capsys):
    assert repr(small_cifar10) == "CIFAR-10: 180 training, 20 validation and 40 test images"
    raw = pickle.loads((root / FOLDER / "test_batch").read_bytes())
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(small_cifar10.test.images.flatten(1).numpy(), raw["data"][order])
    assert small_cifar10.test.labels.tolist() == [raw["labels"][k] for k in order]
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", lambda *_: pytest.fail("fetched again"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("fetched again"))
    load_dataset("cifar10", download=True)
    capsys.readouterr()
    assert load_dataset().name == "cifar10" and capsys.readouterr().out == ""  # what "auto" takes where it is


@pytest.mark.damage
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", META])
def test_a_damaged_file_is_refused_and_mended(small_cifar10, root, damage, name):
    good = (root / FOLDER / name).read_bytes()
    damage(root / FOLDER / name)
    with pytest.raises(DataError, match=f"{re.escape(str(root))}: .*missing or damaged.*make data"):
        load_dataset("auto")
    load_dataset("cifar10", download=True)
    assert (root / FOLDER / name).read_bytes() == good


@pytest.mark.damage
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
def test_damaged_weights_are_refused_by_name_and_mended(small_cifar10, root, damage, monkeypatch):
    (file,) = data_module.PUBLIC_WEIGHTS
    damage(root / file)
    with pytest.raises(DataError, match=f"{file}: missing or damaged. To get it: make data"):
        data_module.public_weights(file)
    with monkeypatch.context() as patch:
        patch.setattr(data_module, "WEIGHTS_URL", CLOSED)
        with pytest.raises(DataError, match=f"{re.escape(str(root))}: .*refused"):
            load_dataset("cifar10", download=True)
    load_dataset("cifar10", download=True)
    assert data_module.public_weights(file).read_bytes() == b"weights"


@pytest.mark.damage
def test_missing_public_networks_are_named(root):
    with pytest.raises(DataError, match="resnet20-12fca82f.th: missing or damaged. To get it: make data"):
        resnet20(pretrained=True)


def test_files_in_the_folder_are_taken_without_network(archive, root, monkeypatch):
    archive.parent.rename(root)
    monkeypatch.setattr(CIFAR10, "url", CLOSED)
    monkeypatch.setattr(data_module, "WEIGHTS_URL", CLOSED)
    assert len(load_dataset("cifar10", download=True).test) == 40


@pytest.mark.damage
@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_a_wrong_archive_in_the_folder_is_replaced_or_refused(archive, root, damage, monkeypatch):
    root.mkdir()
    (root / archive.name).write_bytes(archive.read_bytes())
    damage(root / archive.name)
    wrong = (root / archive.name).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(CIFAR10, "url", CLOSED)
        with pytest.raises(DataError, match=f"refused.*Without a network, first put {archive.name}"):
            load_dataset("cifar10", download=True)
    assert (root / archive.name).read_bytes() == wrong
    assert load_dataset("cifar10", download=True).name == "cifar10"


@pytest.mark.damage
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
def test_a_bad_download_is_refused(archive, root, damage):
    damage(archive)
    with pytest.raises(DataError, match=f"{re.escape(str(root))}: .*cannot be put there .*make data"):
        load_dataset("cifar10", download=True)
    assert not (root / FOLDER).exists()


@pytest.mark.damage
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_and_a_stopped_run_are_mended_by_the_next(archive, root, monkeypatch, error):
    def half(_, folder, *rest):
        Path(folder, FOLDER).mkdir()
        Path(folder, FOLDER, "data_batch_1").write_bytes(b"half")
        raise error

    kind, message = (DataError, "No space left.*400 MB") if isinstance(error, OSError) else (KeyboardInterrupt, None)
    with monkeypatch.context() as patch:
        patch.setattr(torchvision.datasets.utils, "extract_archive", half)
        with pytest.raises(kind, match=message):
            load_dataset("cifar10", download=True)
    assert load_dataset("cifar10", download=True).name == "cifar10"


@pytest.mark.damage
def test_a_folder_that_cannot_be_written(archive, monkeypatch):
    monkeypatch.setattr(os, "makedirs", lambda *_, **__: fail(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(DataError, match="Permission denied.*PRUNING_DATA_DIR"):
        load_dataset("cifar10", download=True)


@pytest.mark.damage
def test_a_file_where_the_folder_should_be(archive, monkeypatch):
    monkeypatch.setenv("PRUNING_DATA_DIR", str(archive / "data"))
    with pytest.raises(DataError, match="Not a directory.*PRUNING_DATA_DIR"):
        load_dataset("cifar10", download=True)

"""Data: both sets, and every way in which CIFAR-10's files, the folder or the network can fail."""

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

from helpers import DataError, Split, load_dataset, output_path
from helpers import data as data_module
from helpers.data import CIFAR10_CLASSES, _split, data_root, download_cifar10, main

HERE = data_root()  # before the settings go
FOLDER, META = CIFAR10.base_folder, CIFAR10.meta["filename"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("PRUNING_DATA", "PRUNING_DATA_DIR", "PRUNING_BUDGET"):
        monkeypatch.delenv(name, raising=False)
    data_module._announce.cache_clear()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive in CIFAR-10's own format, which torchvision is told to expect and a server on this machine hands out."""
    rng = np.random.default_rng(0)
    md5, source = {}, tmp_path / "server"
    source.mkdir()
    path = source / CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        for name in [*(name for name, _ in CIFAR10.train_list + CIFAR10.test_list), META]:
            content = {"data": rng.integers(0, 256, (40, 3072), dtype=np.uint8), "labels": [k % 10 for k in range(40)]}
            payload = pickle.dumps({"label_names": list(CIFAR10_CLASSES)} if name == META else content)
            md5[name] = hashlib.md5(payload).hexdigest()
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=source))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, md5[name]] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5[META]})
    yield path
    server.shutdown()
    server.server_close()


@pytest.fixture
def root(archive, tmp_path):
    """A data folder into which the small archive is unpacked."""
    return download_cifar10(tmp_path / "data")


def left_over(root):
    """Whatever lies in a data folder besides lock files."""
    return sorted(entry.name for entry in root.iterdir() if not entry.name.endswith(".lock")) if root.exists() else []


def told(root):
    """How an error of the disk or the network begins, for `match`."""
    return "CIFAR-10 could not be put into " + re.escape(f"{root} (")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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
    data = _split("x", "x", "abc", images, labels, torch.arange(len(test_labels)).view(-1, 1, 1, 1), test_labels)
    seen = torch.cat([data.train.images, data.val.images]).flatten()
    assert torch.equal(seen.sort().values, torch.arange(len(labels)))
    assert torch.equal(labels[data.train.images.flatten()], data.train.labels)
    assert (data.val.labels.bincount(minlength=10) - per_class / 10).abs().max() <= 1
    assert torch.equal(data.test.labels, test_labels[data.test.images.flatten()])


def test_examples_per_class():
    split = Split(torch.zeros(7, 3, 32, 32, dtype=torch.uint8), torch.tensor([2, 0, 2, 1, 0, 2, 0]))
    assert split.examples_per_class(2).tolist() == [1, 4, 3, 0, 2]
    assert split.examples_per_class(1).dtype == torch.int64


def test_official_files():
    """Counts, and that each image stands with its own label in one split alone, in the order that is documented."""
    try:
        train, test = (CIFAR10(HERE, train=part) for part in (True, False))
    except RuntimeError:
        pytest.skip(f"the official files of CIFAR-10 are not in {HERE}")
    data = load_dataset("cifar10", HERE)
    labels = torch.tensor(train.targets), torch.tensor(test.targets)
    where = _split("", "", "", torch.arange(50_000), labels[0], torch.arange(10_000), labels[1])  # numbers instead of images
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


def test_auto_takes_cifar10_where_it_is(root, monkeypatch, capsys):
    monkeypatch.setenv("PRUNING_DATA_DIR", str(root))
    assert load_dataset().name == "cifar10"
    assert capsys.readouterr().out == ""


def test_auto_falls_back_to_digits_and_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRUNING_DATA_DIR", str(tmp_path / "nothing-here"))
    assert load_dataset().name == load_dataset().name == "digits"
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "make data" in out and 'load_dataset("cifar10", download=True)' in out


def test_cifar10_asked_for_by_name_never_falls_back_nor_downloads(archive, tmp_path):
    with pytest.raises(DataError, match=f"no CIFAR-10 in {re.escape(str(tmp_path))}: .*make data"):
        load_dataset("cifar10", tmp_path)
    assert left_over(tmp_path) == ["server"]


@pytest.mark.parametrize("name", ["mnist", "CIFAR10", ""])
def test_unknown_name(name):
    with pytest.raises(ValueError, match="name=.*auto, cifar10, digits"):
        load_dataset(name)


def test_unknown_setting(monkeypatch):
    monkeypatch.setenv("PRUNING_DATA", "imagenet")
    with pytest.raises(ValueError, match="PRUNING_DATA=imagenet"):
        load_dataset()


def test_only_the_full_budget_on_cifar10_writes_committed_files(root, digits, monkeypatch):
    cifar = load_dataset("cifar10", root)
    assert output_path("cifar_net.pth", cifar).parent.name == "build"
    monkeypatch.setenv("PRUNING_BUDGET", "full")
    assert output_path("cifar_net.pth", cifar).parent == data_module.REPOSITORY
    assert output_path("cifar_net.pth", digits).parent.name == "build"


# ---- CIFAR-10's files


def test_make_data(archive, tmp_path, monkeypatch, capsys):
    root = tmp_path / "data"
    monkeypatch.setenv("PRUNING_DATA_DIR", str(root))
    main()
    assert capsys.readouterr().out.endswith("CIFAR-10: 180 training, 20 validation and 40 test images\n")
    assert left_over(root) == [FOLDER]
    raw = pickle.loads((root / FOLDER / "test_batch").read_bytes())
    order = np.random.default_rng(0).permutation(40)
    test = load_dataset("cifar10").test
    assert np.array_equal(test.images.flatten(1).numpy(), raw["data"][order])
    assert test.labels.tolist() == [raw["labels"][k] for k in order]
    (root / FOLDER / META).unlink()
    with pytest.raises(SystemExit, match="batches.meta"):
        main()


def test_nothing_is_fetched_twice(root, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", lambda *_: pytest.fail("fetched again"))
    assert load_dataset("cifar10", root, download=True).name == "cifar10"


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", META])
def test_damaged_batch_file_is_named(root, damage, name):
    damage(root / FOLDER / name)
    with pytest.raises(DataError, match=f"{FOLDER}: missing or damaged: {name}. Delete this folder, then: make data"):
        load_dataset("auto", root)
    assert left_over(root) == [FOLDER]


def test_files_that_cannot_be_read(root, monkeypatch):
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: fail(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(DataError, match=f"{FOLDER}: cannot be read .*Permission denied"):
        load_dataset("cifar10", root)


# ---- the archive and the network


def test_archive_in_the_folder_is_unpacked_without_network(archive, tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    archive.rename(root / archive.name)
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/closed")
    assert len(load_dataset("cifar10", root, download=True).test) == 40
    assert left_over(root) == [FOLDER, archive.name]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_damaged_archive_in_the_folder_is_named(archive, tmp_path, damage):
    root = tmp_path / "data"
    root.mkdir()
    archive.rename(root / archive.name)
    damage(root / archive.name)
    with pytest.raises(DataError, match=f"{archive.name}: damaged .*Delete it, then: make data"):
        download_cifar10(root)
    assert left_over(root) == [archive.name]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
def test_bad_download_leaves_nothing(archive, tmp_path, damage):
    """A truncated transfer, a wrong MD5, no such file: one clear error, and an empty folder as before."""
    damage(archive)
    with pytest.raises(DataError, match=f"{told(tmp_path / 'data')}.*{archive.name}.* make data"):
        load_dataset("cifar10", tmp_path / "data", download=True)
    assert left_over(tmp_path / "data") == []


def test_no_network(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/closed")
    with pytest.raises(DataError, match=f"{told(tmp_path / 'data')}.*refused.*try again later"):
        download_cifar10(tmp_path / "data")
    assert left_over(tmp_path / "data") == []


# ---- the disk, and runs that are stopped


def fail(error):
    raise error


@pytest.mark.parametrize("step", ["download_url", "extract_archive"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_half_written_files_are_removed(archive, tmp_path, monkeypatch, step, error):
    def half(_, beside, *rest):
        Path(beside, FOLDER).mkdir()
        Path(beside, FOLDER, "data_batch_1").write_bytes(b"half")
        raise error

    monkeypatch.setattr(torchvision.datasets.utils, step, half)
    full = f"{told(tmp_path / 'data')}.*No space left.*400 MB"
    kind, message = (DataError, full) if isinstance(error, OSError) else (KeyboardInterrupt, "^$")
    with pytest.raises(kind, match=message):
        download_cifar10(tmp_path / "data")
    assert left_over(tmp_path / "data") == []


@pytest.mark.parametrize("step", ["FileLock", "tempfile.TemporaryDirectory", "os.replace"])
def test_read_only_folder(archive, tmp_path, monkeypatch, step):
    monkeypatch.setattr(f"helpers.data.{step}", lambda *_, **__: fail(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(DataError, match=f"{told(tmp_path / 'data')}.*Permission denied.*PRUNING_DATA_DIR"):
        download_cifar10(tmp_path / "data")
    monkeypatch.undo()
    assert left_over(tmp_path / "data") == []


def test_a_file_where_the_folder_should_be(archive):
    with pytest.raises(DataError, match=f"{told(archive / 'data')}.*PRUNING_DATA_DIR"):
        download_cifar10(archive / "data")

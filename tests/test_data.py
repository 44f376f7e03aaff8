"""Data: both sources, every way in which they can be broken, and the cache."""

import hashlib
import io
import os
import pickle
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10

from helpers import DataError, load_dataset, output_path
from helpers import data as data_module
from helpers.data import CIFAR10_CLASSES, _split, download_cifar10


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("PRUNING_DATA", "PRUNING_DATA_DIR", "PRUNING_BUDGET"):
        monkeypatch.delenv(name, raising=False)
    data_module._announce.cache_clear()


@pytest.fixture
def folders(tmp_path):
    """Image folders like CIFAR-10's with 20 training and 4 test images a class."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for name in CIFAR10_CLASSES:
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / part / name / f"{k:04}.png")
    return tmp_path


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive in CIFAR-10's own format, which torchvision is told to expect and a server on this machine hands out."""
    rng = np.random.default_rng(0)
    md5, source = {}, tmp_path / "server"
    source.mkdir()
    path = source / CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        for name in [*(name for name, _ in CIFAR10.train_list + CIFAR10.test_list), CIFAR10.meta["filename"]]:
            content = {"data": rng.integers(0, 256, (40, 3072), dtype=np.uint8), "labels": [k % 10 for k in range(40)]}
            payload = pickle.dumps({"label_names": list(CIFAR10_CLASSES)} if "meta" in name else content)
            md5[name] = hashlib.md5(payload).hexdigest()
            info = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=source))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, md5[name]] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5[CIFAR10.meta["filename"]]})
    yield path
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def left_over(root):
    """Whatever lies in a data folder besides lock files."""
    return sorted(entry.name for entry in root.iterdir() if not entry.name.endswith(".lock")) if root.exists() else []


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


def test_folders_are_read_exactly(folders):
    data = load_dataset("cifar10", folders)
    assert (len(data.train), len(data.val), len(data.test)) == (180, 20, 40)
    assert data.label == "CIFAR-10 (image folders)"
    assert torch.equal(data.val.labels.bincount(), torch.full((10,), 2))
    stored = np.asarray(Image.open(folders / "test" / "cat" / "0002.png")).transpose(2, 0, 1)
    assert any(np.array_equal(image, stored) for image in data.test.images[data.test.labels == 3].numpy())


def test_auto_takes_cifar10_where_it_is(folders, monkeypatch, capsys):
    monkeypatch.setenv("PRUNING_DATA_DIR", str(folders))
    assert load_dataset().name == "cifar10"
    assert capsys.readouterr().out == ""


def test_auto_falls_back_to_digits_and_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRUNING_DATA_DIR", str(tmp_path / "nothing-here"))
    assert load_dataset().name == load_dataset().name == "digits"
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "make data" in out and 'load_dataset("cifar10", download=True)' in out


def test_cifar10_asked_for_by_name_never_falls_back(tmp_path):
    with pytest.raises(DataError, match="make data"):
        load_dataset("cifar10", tmp_path)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("name", ["mnist", "CIFAR10", ""])
def test_unknown_name(name):
    with pytest.raises(ValueError, match="name=.*auto, cifar10, digits"):
        load_dataset(name)


def test_unknown_setting(monkeypatch):
    monkeypatch.setenv("PRUNING_DATA", "imagenet")
    with pytest.raises(ValueError, match="PRUNING_DATA=imagenet"):
        load_dataset()


def test_only_the_full_budget_on_cifar10_writes_committed_files(folders, digits, monkeypatch):
    cifar = load_dataset("cifar10", folders)
    assert output_path("cifar_net.pth", cifar).parent.name == "build"
    monkeypatch.setenv("PRUNING_BUDGET", "full")
    assert output_path("cifar_net.pth", cifar).parent == data_module.REPOSITORY
    assert output_path("cifar_net.pth", digits).parent.name == "build"


# ---- the cache


def test_cache_gives_the_same_and_is_used(folders, monkeypatch):
    first = load_dataset("cifar10", folders)
    monkeypatch.setattr(data_module, "_read_folders", lambda *_: pytest.fail("decoded again"))
    second = load_dataset("cifar10", folders)
    assert torch.equal(first.train.images, second.train.images) and torch.equal(first.test.labels, second.test.labels)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.write_bytes(b"")])
def test_damaged_cache_is_rebuilt(folders, damage):
    first = load_dataset("cifar10", folders)
    cache = folders / ".cifar10-folders.npz"
    good = cache.read_bytes()
    damage(cache)
    assert torch.equal(load_dataset("cifar10", folders).train.images, first.train.images)
    assert cache.read_bytes() == good


def test_cache_follows_its_source(folders):
    load_dataset("cifar10", folders)
    for name in CIFAR10_CLASSES:
        os.remove(folders / "train" / name / "0000.png")
    assert len(load_dataset("cifar10", folders).train) == 171


def test_stopped_while_caching_leaves_nothing_half_written(folders, monkeypatch):
    def killed(file, **content):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(data_module.np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        load_dataset("cifar10", folders)
    assert left_over(folders) == ["test", "train"]


# ---- broken folders


def test_files_that_are_no_images_are_passed_over(folders):
    (folders / "train" / "automobile" / ".DS_Store").write_bytes(b"x")
    assert len(load_dataset("cifar10", folders).train) == 180


def test_missing_class_folder(folders):
    for name in os.listdir(folders / "train" / "frog"):
        os.remove(folders / "train" / "frog" / name)
    os.rmdir(folders / "train" / "frog")
    with pytest.raises(DataError, match="train: missing class folder frog"):
        load_dataset("cifar10", folders)


def test_unknown_class_folder(folders):
    (folders / "test" / "zebra").mkdir()
    with pytest.raises(DataError, match="test: unknown class folder zebra"):
        load_dataset("auto", folders)


def test_half_copied_class_folder(folders):
    os.remove(folders / "train" / "ship" / "0007.png")
    with pytest.raises(DataError, match="ship: 19 images where other classes have 20"):
        load_dataset("cifar10", folders)


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_unreadable_image(folders, content):
    (folders / "test" / "dog" / "0001.png").write_bytes(content)
    with pytest.raises(DataError, match="0001.png: cannot be read as an image"):
        load_dataset("cifar10", folders)
    assert left_over(folders) == ["test", "train"]


def test_truncated_image(folders):
    truncate(folders / "test" / "dog" / "0001.png")
    with pytest.raises(DataError, match="0001.png: cannot be read as an image"):
        load_dataset("cifar10", folders)


def test_image_of_another_size(folders):
    Image.new("RGB", (16, 32)).save(folders / "test" / "dog" / "0001.png")
    with pytest.raises(DataError, match="0001.png: is 16x32 pixels, must be 32x32"):
        load_dataset("cifar10", folders)


# ---- torchvision's download


def test_download(archive, tmp_path):
    root = tmp_path / "data"
    data = load_dataset("cifar10", root, download=True)
    assert data.label == "CIFAR-10" and (len(data.train), len(data.val), len(data.test)) == (180, 20, 40)
    raw = pickle.loads((root / CIFAR10.base_folder / "test_batch").read_bytes())
    assert {image.numpy().tobytes() for image in data.test.images} == {row.tobytes() for row in raw["data"]}
    assert left_over(root) == [".cifar10-batches.npz", CIFAR10.base_folder]


def test_both_forms_are_split_alike(archive, tmp_path):
    """Or a checkpoint from one form would be validated, on the other, on images that it was trained on."""
    batches = tmp_path / "batches"
    download_cifar10(batches)
    for part, train in (("train", True), ("test", False)):
        raw = CIFAR10(batches, train=train)
        seen = dict.fromkeys(CIFAR10_CLASSES, 0)
        for image, label in zip(raw.data, raw.targets, strict=True):
            name = CIFAR10_CLASSES[label]
            (tmp_path / "folders" / part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "folders" / part / name / f"{seen[name]:04}.png")
            seen[name] += 1
    one, other = load_dataset("cifar10", batches), load_dataset("cifar10", tmp_path / "folders")
    for a, b in ((one.train, other.train), (one.val, other.val), (one.test, other.test)):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


def test_archive_in_the_folder_is_unpacked_without_network(archive, tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    archive.rename(root / archive.name)
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/closed")
    assert len(load_dataset("cifar10", root, download=True).test) == 40
    assert left_over(root) == [".cifar10-batches.npz", CIFAR10.base_folder, archive.name]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_damaged_archive_in_the_folder_is_named(archive, tmp_path, damage):
    root = tmp_path / "data"
    root.mkdir()
    archive.rename(root / archive.name)
    damage(root / archive.name)
    with pytest.raises(DataError, match=f"{archive.name}: damaged or incomplete"):
        download_cifar10(root)
    assert left_over(root) == [archive.name]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
def test_bad_download_leaves_nothing(archive, tmp_path, damage):
    """A truncated transfer, a wrong MD5, no network: one clear error, and an empty folder as before."""
    damage(archive)
    with pytest.raises(DataError, match="could not be fetched.*make data"):
        load_dataset("cifar10", tmp_path / "data", download=True)
    assert left_over(tmp_path / "data") == []


def test_stopped_download_leaves_nothing(archive, tmp_path, monkeypatch):
    def killed(self):
        Path(self.root, self.base_folder).mkdir()
        Path(self.root, self.base_folder, "data_batch_1").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(CIFAR10, "download", killed)
    with pytest.raises(KeyboardInterrupt):
        download_cifar10(tmp_path / "data")
    assert left_over(tmp_path / "data") == []


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
def test_damaged_batch_file(archive, tmp_path, damage):
    root = tmp_path / "data"
    download_cifar10(root)
    damage(root / CIFAR10.base_folder / "data_batch_3")
    with pytest.raises(DataError, match=f"{CIFAR10.base_folder}: damaged or incomplete.*Delete this folder"):
        load_dataset("cifar10", root)
    assert left_over(root) == [CIFAR10.base_folder]


def test_nothing_is_fetched_twice(archive, tmp_path, monkeypatch):
    download_cifar10(tmp_path / "data")
    monkeypatch.setattr(CIFAR10, "download", lambda self: pytest.fail("fetched again"))
    assert load_dataset("cifar10", tmp_path / "data", download=True).name == "cifar10"

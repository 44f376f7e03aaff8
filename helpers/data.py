"""The data sets: CIFAR-10, and scikit-learn's digits in the same shape. Introduced in notebook 01; start with `load_dataset`."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from torch import Tensor
from torch.nn.functional import interpolate

REPOSITORY = Path(__file__).resolve().parent.parent
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
GET_CIFAR10 = 'make data, or load_dataset("cifar10", download=True)'
DATASET_NAMES = ("auto", "cifar10", "digits")


class DataError(RuntimeError):
    """Data that are missing, incomplete or damaged; the message names the file and the next step."""


def check(ok: bool, name: str, value: object, allowed: str) -> None:
    """Refuse an argument: the error names it, its value and what it must be."""
    if not ok:
        raise ValueError(f"{name}={value!r}: must be {allowed}")


def is_whole(value: object) -> bool:
    """A whole number, of NumPy's kind too; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_whole(name: str, value: object, low: int) -> None:
    """Refuse anything but a whole number of `low` or more."""
    check(is_whole(value) and value >= low, name, value, f"a whole number of {low} or more")


@dataclass(frozen=True)
class Split:
    """Images (uint8 [N, 3, 32, 32], 0 to 255) and labels (int64 [N]), in an order that is already random."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, n: int) -> "Split":
        """The first `n` examples (all of them when there are fewer)."""
        return Split(self.images[:n], self.labels[:n])

    def examples_per_class(self, n: int) -> Tensor:
        """Indices (int64) of the first `n` examples of each class, class by class."""
        return torch.cat([(self.labels == label).nonzero().flatten()[:n] for label in self.labels.unique()])


@dataclass(frozen=True)
class Dataset:
    """Three fixed splits of one data set: `name` is "cifar10" or "digits", `label` ("CIFAR-10") is how results quote it."""

    name: str
    label: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split

    def __repr__(self) -> str:
        return f"{self.label}: {len(self.train):,} training, {len(self.val):,} validation and {len(self.test):,} test images"


def setting(variable: str, allowed: tuple[str, ...]) -> str:
    """Read one of the collection's environment settings; the first allowed value is the default."""
    value = os.environ.get(variable, "").strip().lower() or allowed[0]
    if value not in allowed:
        raise ValueError(f"{variable}={value}: must be one of {', '.join(allowed)}")
    return value


def full_budget() -> bool:
    """True where PRUNING_BUDGET=full asks for the long demonstrations that the committed outputs show."""
    return setting("PRUNING_BUDGET", ("live", "full")) == "full"


def output_path(name: str, data: Dataset) -> Path:
    """Where a notebook writes `name`: among the committed files only on CIFAR-10 at the full budget, else in `build/`."""
    committed = data.name == "cifar10" and full_budget()
    path = (REPOSITORY if committed else REPOSITORY / "build") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def read_results(name: str) -> pd.DataFrame:
    """The committed rows `results/NAME.csv`, one row a run; a DataError where there are none."""
    path = REPOSITORY / "results" / f"{name}.csv"
    if not path.exists():
        raise DataError(f"{path}: no such rows; docs/CONTRIBUTING.md says how rows are measured")
    return pd.read_csv(path)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its name at the end: a failed run leaves the good file, and nothing else."""
    path = Path(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def watched() -> bool:
    """False where nobody looks on (make, CI, tests): then no progress bars and no widgets."""
    return not os.environ.get("TQDM_DISABLE")


def data_root(root: str | os.PathLike | None = None) -> Path:
    """Where data lie: `root`, else PRUNING_DATA_DIR, else the repository's `data/`."""
    return Path(root or os.environ.get("PRUNING_DATA_DIR") or REPOSITORY / "data").expanduser()


def load_dataset(name: str | None = None, root: str | os.PathLike | None = None, *, download: bool = False) -> Dataset:
    """Load CIFAR-10 or the digits as uint8 tensors, split 45,000 / 5,000 / 10,000 (digits in the same proportions).

    Args:
        name: "cifar10", "digits" or "auto" (CIFAR-10 where it is on disk, else digits, said in one line).
            Default: the setting PRUNING_DATA.
        root: folder that holds `cifar-10-batches-py/`. Default: the setting PRUNING_DATA_DIR, else `data/`.
        download: fetch CIFAR-10 where it is missing. Nothing else ever downloads.

    Raises:
        ValueError: for an unknown name. DataError: for data that are missing, incomplete or damaged.

    Example:
        >>> load_dataset("digits").train.images.shape[1:]
        torch.Size([3, 32, 32])
    """
    if name is None:
        name = setting("PRUNING_DATA", DATASET_NAMES)
    check(name in DATASET_NAMES, "name", name, f"one of {', '.join(DATASET_NAMES)}")
    if name == "digits":
        return _digits()
    from torchvision.datasets import CIFAR10  # takes a second, which digits need not

    folder = (download_cifar10(root) if download else data_root(root)) / CIFAR10.base_folder
    if os.path.isdir(folder):
        return _cifar10(folder)
    if name == "auto":
        _announce(f"CIFAR-10 is not on disk: using the embedded digits instead (to get CIFAR-10: {GET_CIFAR10})")
        return _digits()
    raise DataError(f"no CIFAR-10 in {folder.parent}: to get it, {GET_CIFAR10}; or set PRUNING_DATA_DIR to where it lies")


_announce = cache(print)  # each line once


def download_cifar10(root: str | os.PathLike | None = None) -> Path:
    """Fetch CIFAR-10 (162 MB, checked by MD5) into `root` unless it is there; an archive that lies in `root` is unpacked.

    Raises:
        DataError: when the network or the disk fails, or the archive in `root` is damaged.
    """
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity, download_url, extract_archive

    root = data_root(root)
    folder, archive = root / CIFAR10.base_folder, root / CIFAR10.filename
    if os.path.isdir(folder):
        return root
    try:
        root.mkdir(parents=True, exist_ok=True)
        # TemporaryDirectory sees to it that a run that is stopped leaves nothing half-written behind.
        with FileLock(root / ".download.lock"), tempfile.TemporaryDirectory(prefix=".download-", dir=root) as beside:
            if folder.is_dir():  # another process was faster
                return root
            if not archive.exists():
                download_url(CIFAR10.url, beside, archive.name, CIFAR10.tgz_md5)
                archive = Path(beside, archive.name)
            elif not check_integrity(archive, CIFAR10.tgz_md5):
                raise DataError(f"{archive}: damaged (its MD5 is not {CIFAR10.tgz_md5}). Delete it, then: {GET_CIFAR10}")
            extract_archive(archive, beside)
            os.replace(Path(beside, folder.name), folder)
    except DataError:
        raise
    except (OSError, HTTPException, RuntimeError) as error:  # disk or network; RuntimeError: what arrived has another MD5
        raise DataError(
            f"CIFAR-10 could not be put into {root} ({error}). It needs 400 MB there and the right to write: else set "
            f"PRUNING_DATA_DIR to another folder. If it is the network, try again later, or put {CIFAR10.filename} "
            f"(MD5 {CIFAR10.tgz_md5}) from {CIFAR10.url} there yourself. Then: {GET_CIFAR10}"
        ) from error
    return root


def _cifar10(folder: Path) -> Dataset:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    try:
        parts = [CIFAR10(folder.parent, train=train) for train in (True, False)]  # checks every file's MD5
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error}). Make its files readable, or set PRUNING_DATA_DIR") from error
    except RuntimeError as error:
        listed = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
        bad = ", ".join(name for name, md5 in listed if not check_integrity(folder / name, md5))
        raise DataError(f"{folder}: missing or damaged: {bad}. Delete this folder, then: {GET_CIFAR10}") from error
    tensors = [(torch.from_numpy(part.data.transpose(0, 3, 1, 2)), torch.tensor(part.targets)) for part in parts]
    return _split("cifar10", "CIFAR-10", CIFAR10_CLASSES, *tensors[0], *tensors[1])


def _split(name, label, classes, train_images, train_labels, test_images, test_labels) -> Dataset:
    """Cut a stratified tenth off the training part for validation, always the same one."""
    from sklearn.model_selection import train_test_split

    train, val = train_test_split(np.arange(len(train_labels)), test_size=0.1, stratify=train_labels, random_state=0)
    test = np.random.default_rng(0).permutation(len(test_labels))
    cut = Split(train_images[train], train_labels[train]), Split(train_images[val], train_labels[val])
    return Dataset(name, label, tuple(classes), *cut, Split(test_images[test], test_labels[test]))


def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images.reshape(-1, 1, 8, 8)).float() * (255 / 16)  # [1797, 1, 8, 8]
    images = interpolate(images, size=32, mode="bilinear").round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(labels).long()
    # 1,797 images in CIFAR-10's proportions: a sixth for testing, then a tenth of the rest for validation
    rest, test = train_test_split(np.arange(len(labels)), test_size=1 / 6, stratify=labels, random_state=0)
    return _split("digits", "digits", [str(digit) for digit in range(10)], images[rest], labels[rest], images[test], labels[test])


def main() -> None:
    """`make data`."""
    try:
        print(load_dataset("cifar10", download=True))
    except DataError as error:
        raise SystemExit(str(error)) from None

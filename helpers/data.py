"""The data sets: CIFAR-10, and scikit-learn's digits in the same shape. Introduced in lesson 01: see `load_dataset`."""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import interpolate

REPOSITORY = Path(__file__).resolve().parent.parent
GET_DATA = 'make data, or load_dataset("cifar10", download=True)'
WEIGHTS_URL = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"
PUBLIC_WEIGHTS = ("resnet20-12fca82f.th", "resnet56-4bfd9763.th")  # each name holds the first digits of the file's SHA-256


class DataError(RuntimeError):
    """Data that are missing, incomplete or damaged; the message names them and the next step."""


def check(ok: bool, name: str, value: object, allowed: str) -> None:
    """Refuse an argument: the error names it, its value and what it must be."""
    if not ok:
        raise ValueError(f"{name}={value!r}: must be {allowed}")


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


def budget(live, full):
    """`full` where PRUNING_BUDGET=full asks for the long runs that committed outputs show, else `live`: `budget(live=5, full=40)`."""
    wanted = os.environ.get("PRUNING_BUDGET") or "live"
    check(wanted in ("live", "full"), "PRUNING_BUDGET", wanted, "live or full")
    return full if wanted == "full" else live


def is_interactive() -> bool:
    """False where TQDM_DISABLE is set or no terminal or notebook is attached: then no progress bars and no widgets."""
    return not os.environ.get("TQDM_DISABLE") and ("ipykernel" in sys.modules or sys.stderr.isatty())


def output_path(name: str, data: Dataset) -> Path:
    """Where a notebook writes `name`: among the committed files only on CIFAR-10 at the full budget, else in `build/`."""
    folder = REPOSITORY if data.name == "cifar10" and budget(live=False, full=True) else REPOSITORY / "build"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name


def read_results(name: str) -> pd.DataFrame:
    """The committed rows `results/NAME.csv`, one row a run."""
    return pd.read_csv(REPOSITORY / "results" / f"{name}.csv")


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """A file to write to that takes the name `path` at the end: a failed run leaves the old file, and nothing else."""
    beside = Path(f"{path}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def data_root() -> Path:
    return Path(os.environ.get("PRUNING_DATA_DIR") or REPOSITORY / "data").expanduser()


def load_dataset(name: str | None = None, *, download: bool = False) -> Dataset:
    """CIFAR-10 or the digits as uint8 tensors, split 45,000 / 5,000 / 10,000 (digits in the same proportions).

    `name` is "cifar10", "digits" or "auto" (CIFAR-10 where it is on disk, else digits); by default the setting PRUNING_DATA.
    `download=True` alone fetches CIFAR-10 and the public ResNets into PRUNING_DATA_DIR (by default `data/`), and mends them.
    A DataError says what is missing or damaged.
    """
    name = name or os.environ.get("PRUNING_DATA") or "auto"
    check(name in ("auto", "cifar10", "digits"), "name or PRUNING_DATA", name, "auto, cifar10 or digits")
    if name == "auto" and not download and not (data_root() / "cifar-10-batches-py").is_dir():
        print(f"CIFAR-10 is not on disk: using the embedded digits instead (to get CIFAR-10: {GET_DATA})")
        name = "digits"
    return _digits() if name == "digits" else _cifar10(download)


def _cifar10(download: bool) -> Dataset:
    from torchvision.datasets import CIFAR10  # takes a second, which digits need not

    root = data_root()
    try:
        if download:
            _download(CIFAR10, root)
        parts = [CIFAR10(root, train=train) for train in (True, False)]  # checks every file's MD5
    except (OSError, HTTPException, RuntimeError) as error:
        raise DataError(
            f"{root}: CIFAR-10 or the public ResNets are missing or damaged, or cannot be put there ({error}). To get them "
            f"(400 MB): {GET_DATA}. Without a network, first put {', '.join([CIFAR10.filename, *PUBLIC_WEIGHTS])} there; "
            "where you cannot write, set PRUNING_DATA_DIR"
        ) from error
    images = [torch.from_numpy(part.data.transpose(0, 3, 1, 2)) for part in parts]
    return _dataset("cifar10", "CIFAR-10", parts[0].classes, *images, *[torch.tensor(part.targets) for part in parts])


def _download(dataset: type, root: Path) -> None:
    """Get what is missing or damaged, torchvision's files into a folder beside that takes their place: nothing is half-written."""
    try:
        dataset(root)
    except RuntimeError:  # missing or damaged files
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as beside:
            if (root / dataset.filename).exists():
                shutil.copy(root / dataset.filename, beside)
            dataset(beside, download=True)
            shutil.rmtree(root / dataset.base_folder, ignore_errors=True)
            os.replace(Path(beside, dataset.base_folder), root / dataset.base_folder)
    for file in PUBLIC_WEIGHTS:
        public_weights(file, download=True)


def public_weights(file: str, download: bool = False) -> Path:
    """Where a file of PUBLIC_WEIGHTS lies; a DataError where it is missing or damaged, unless it may be downloaded."""
    path, sha256 = data_root() / file, file.split("-")[1].removesuffix(".th")
    if not path.exists() or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(sha256):
        if not download:
            raise DataError(f"{path}: missing or damaged. To get it: {GET_DATA}")
        torch.hub.download_url_to_file(WEIGHTS_URL + file, path, sha256, is_interactive())
    return path


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # takes a second, which `import helpers` need not
    from sklearn.model_selection import train_test_split

    images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    images = images.view(-1, 1, 8, 8).float() * (255 / 16)  # [1797, 1, 8, 8]
    images = interpolate(images, size=32, mode="bilinear").round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    parts = train_test_split(images, labels, test_size=1 / 6, stratify=labels, random_state=0)  # a sixth, as in CIFAR-10
    return _dataset("digits", "digits", "0123456789", *parts)


def _dataset(name, label, classes, images, test_images, labels, test_labels) -> Dataset:
    """A stratified tenth of the training images, always the same, becomes the validation split; test images are shuffled."""
    from sklearn.model_selection import train_test_split

    images, val_images, labels, val_labels = train_test_split(images, labels, test_size=0.1, stratify=labels, random_state=0)
    order = np.random.default_rng(0).permutation(len(test_labels))
    test = Split(test_images[order], test_labels[order])
    return Dataset(name, label, tuple(classes), Split(images, labels), Split(val_images, val_labels), test)

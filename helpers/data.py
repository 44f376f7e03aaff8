"""The two data sets of the collection: CIFAR-10, and scikit-learn's digits in the same shape.

Introduced in notebook 01. `load_dataset` is the one entrance.
"""

import contextlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, delayed
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.datasets import CIFAR10
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset
from torchvision.datasets.utils import check_integrity
from tqdm.auto import tqdm

REPOSITORY = Path(__file__).resolve().parent.parent
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
GET_CIFAR10 = 'make data, or load_dataset("cifar10", download=True)'
DATASET_NAMES = ("auto", "cifar10", "digits")
_CACHE_VERSION = 1


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
    """Images (uint8 [N, 3, 32, 32], 0 to 255) and labels (int64 [N])."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, n: int) -> "Split":
        """The first `n` examples (all of them when there are fewer). The order within a split is already random."""
        return Split(self.images[:n], self.labels[:n])


@dataclass(frozen=True)
class Dataset:
    """Three fixed splits of one data set.

    `name` is "cifar10" or "digits"; `label` is how results quote it, for example "CIFAR-10 (JPEG copy)".
    """

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


def output_path(name: str, data: "Dataset") -> Path:
    """Where a notebook writes `name`: among the committed files only on CIFAR-10 at the full budget, else in `build/`."""
    committed = data.name == "cifar10" and full_budget()
    path = (REPOSITORY if committed else REPOSITORY / "build") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def read_results(name: str) -> pd.DataFrame:
    """The committed rows `results/NAME.csv`, one row a run.

    Raises:
        DataError: where there are none.
    """
    path = REPOSITORY / "results" / f"{name}.csv"
    if not path.exists():
        raise DataError(f"{path}: no such rows; CONTRIBUTING.md says how rows are measured")
    return pd.read_csv(path)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its name at the end: a failed run leaves the good file, and nothing else.

    Example:
        >>> with replacing("rows.csv") as beside:  # doctest: +SKIP
        ...     table.to_csv(beside)
    """
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
        root: folder that holds `cifar-10-batches-py/`, or `train/<class>/*` and `test/<class>/*` image folders.
            Default: the setting PRUNING_DATA_DIR, else `data/`.
        download: fetch CIFAR-10 by torchvision (MD5-checked) where it is missing. Nothing else ever downloads.

    The splits do not depend on the form: image folders whose files keep CIFAR-10's order within each class hold the same
    images in each split as the batches do. So what a checkpoint was validated on, it was not trained on, in either form.

    Raises:
        ValueError: for an unknown name. DataError: for data that are missing, incomplete or damaged.

    Example:
        >>> data = load_dataset("digits")
        >>> data.train.images.shape[1:]
        torch.Size([3, 32, 32])
    """
    if name is None:
        name = setting("PRUNING_DATA", DATASET_NAMES)
    check(name in DATASET_NAMES, "name", name, f"one of {', '.join(DATASET_NAMES)}")
    if name == "digits":
        return _digits()
    root = data_root(root)
    if download:
        download_cifar10(root)
    source = _find_cifar10(root)
    if source is not None:
        return _cifar10(root, source)
    if name == "auto":
        _announce(f"CIFAR-10 is not on disk: using the embedded digits instead (to get CIFAR-10: {GET_CIFAR10})")
        return _digits()
    raise DataError(f"no CIFAR-10 in {root}: to get it, {GET_CIFAR10}; or set PRUNING_DATA_DIR to where it lies")


def download_cifar10(root: str | os.PathLike | None = None) -> Path:
    """Fetch CIFAR-10 (162 MB) into `root` by torchvision, or unpack an archive that lies there already.

    The files are checked by MD5 and appear under their final name only when all of them are there.

    Raises:
        DataError: when the download fails, or the archive in `root` is damaged.
    """
    root = data_root(root)
    if _find_cifar10(root) is not None:
        return root
    root.mkdir(parents=True, exist_ok=True)
    archive = root / CIFAR10.filename
    # TemporaryDirectory sees to it that a run that is stopped leaves nothing half-written behind.
    with FileLock(root / ".download.lock"), tempfile.TemporaryDirectory(prefix=".download-", dir=root) as beside:
        if _find_cifar10(root) is not None:  # another process was faster
            return root
        if archive.exists():
            if not check_integrity(str(archive), CIFAR10.tgz_md5):
                told = f"damaged or incomplete (its MD5 is not {CIFAR10.tgz_md5})"
                raise DataError(f"{archive}: {told}. Delete it, then: {GET_CIFAR10}")
            shutil.copyfile(archive, Path(beside) / CIFAR10.filename)
        try:
            CIFAR10(beside, download=True)
        except Exception as error:
            raise DataError(
                f"CIFAR-10 could not be fetched from {CIFAR10.url} ({error}). Try again later, or put "
                f"{CIFAR10.filename} (MD5 {CIFAR10.tgz_md5}) into {root} yourself and repeat: {GET_CIFAR10}"
            ) from error
        os.replace(Path(beside) / CIFAR10.base_folder, root / CIFAR10.base_folder)
    return root


def _find_cifar10(root: Path) -> str | None:
    """Which form of CIFAR-10 lies in `root`: "batches", "folders" or None."""
    if (root / CIFAR10.base_folder).is_dir():
        return "batches"
    if (root / "train").is_dir() and (root / "test").is_dir():
        return "folders"
    return None


def _cifar10(root: Path, source: str) -> Dataset:
    read, listing = (_read_batches, _list_batches) if source == "batches" else (_read_folders, _list_folders)
    files = listing(root)
    stamp = zlib.crc32(json.dumps([_CACHE_VERSION, source, files]).encode())
    cache = root / f".cifar10-{source}.npz"
    arrays = _read_cache(cache, stamp)
    if arrays is None:
        arrays = read(root, files)
        _write_cache(cache, stamp, arrays)
    label = "CIFAR-10"
    if source == "folders":
        jpeg = files["train"][0][0].lower().endswith((".jpg", ".jpeg"))
        label = "CIFAR-10 (JPEG copy)" if jpeg else "CIFAR-10 (image folders)"
    return _split("cifar10", label, CIFAR10_CLASSES, **{key: torch.from_numpy(value) for key, value in arrays.items()})


def _split(name, label, classes, train_images, train_labels, test_images, test_labels) -> Dataset:
    """Cut a stratified tenth off the training part for validation, always the same one."""
    train, val = train_test_split(np.arange(len(train_labels)), test_size=0.1, stratify=train_labels, random_state=0)
    test = np.random.default_rng(0).permutation(len(test_labels))
    return Dataset(
        name, label, tuple(classes), Split(train_images[train], train_labels[train]),
        Split(train_images[val], train_labels[val]), Split(test_images[test], test_labels[test]),
    )  # fmt: skip


def _digits() -> Dataset:
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images.reshape(-1, 1, 8, 8)).float() * (255 / 16)  # [1797, 1, 8, 8]
    images = interpolate(images, size=32, mode="bilinear").round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(labels).long()
    # 1,797 images in CIFAR-10's proportions: a sixth for testing, then a tenth of the rest for validation
    rest, test = train_test_split(np.arange(len(labels)), test_size=1 / 6, stratify=labels, random_state=0)
    return _split("digits", "digits", [str(digit) for digit in range(10)], images[rest], labels[rest], images[test], labels[test])


_announce = cache(print)  # each line once


# ---- reading CIFAR-10 from torchvision's batches and from image folders


def _list_batches(root: Path) -> dict:
    return {path.name: path.stat().st_size for path in sorted((root / CIFAR10.base_folder).iterdir()) if path.is_file()}


def _read_batches(root: Path, files: dict) -> dict[str, np.ndarray]:
    arrays = {}
    for part, train in (("train", True), ("test", False)):
        try:
            raw = CIFAR10(root, train=train)  # checks every file's MD5
        except Exception as error:
            raise DataError(
                f"{root / CIFAR10.base_folder}: damaged or incomplete ({error}). Delete this folder, then: {GET_CIFAR10}"
            ) from error
        order = np.argsort(raw.targets, kind="stable")  # class by class, as folders are read: both forms are split alike
        arrays[f"{part}_images"] = np.ascontiguousarray(raw.data[order].transpose(0, 3, 1, 2))
        arrays[f"{part}_labels"] = np.asarray(raw.targets, dtype=np.int64)[order]
    return arrays


def _list_folders(root: Path) -> dict[str, list[tuple[str, int]]]:
    """(path from `root`, class) of every image by part, class by class; refuses missing, surplus and uneven class folders."""
    found = {}
    for part in ("train", "test"):
        folders = {entry.name for entry in os.scandir(root / part) if entry.is_dir()}
        for problem, names in (("missing", set(CIFAR10_CLASSES) - folders), ("unknown", folders - set(CIFAR10_CLASSES))):
            if names:
                raise DataError(
                    f"{root / part}: {problem} class folder {', '.join(sorted(names))}. "
                    f"It must hold just {', '.join(CIFAR10_CLASSES)}: copy it again"
                )
        images = make_dataset(root / part, {name: k for k, name in enumerate(CIFAR10_CLASSES)}, IMG_EXTENSIONS, allow_empty=True)
        counts = np.bincount([k for _, k in images], minlength=len(CIFAR10_CLASSES))
        for name, count in zip(CIFAR10_CLASSES, counts, strict=True):
            if count < counts.max() or count == 0:
                raise DataError(
                    f"{root / part / name}: {count:,} images where other classes have {counts.max():,}: copy it again"
                )
        found[part] = [(os.path.relpath(path, root), k) for path, k in images]
    return found


def _read_folders(root: Path, files: dict) -> dict[str, np.ndarray]:
    arrays = {}
    for part in ("train", "test"):
        chunks = [files[part][start : start + 1000] for start in range(0, len(files[part]), 1000)]
        with Parallel(n_jobs=-1, prefer="threads", return_as="generator") as parallel:
            decoded = parallel(delayed(_decode)([root / path for path, _ in chunk]) for chunk in chunks)
            quiet = None if watched() else True
            bar = tqdm(decoded, total=len(chunks), desc=f"decoding {part}", unit="k images", disable=quiet, leave=False)
            arrays[f"{part}_images"] = np.concatenate(list(bar))
        arrays[f"{part}_labels"] = np.array([k for _, k in files[part]], dtype=np.int64)
    return arrays


def _decode(paths: list[Path]) -> np.ndarray:
    images = np.empty((len(paths), 3, 32, 32), dtype=np.uint8)
    for row, path in zip(images, paths, strict=True):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except Exception as error:
            raise DataError(f"{path}: cannot be read as an image ({error}). Copy this file again") from error
        if pixels.shape != (32, 32, 3):
            raise DataError(f"{path}: is {pixels.shape[1]}x{pixels.shape[0]} pixels, must be 32x32. Copy this file again")
        row[:] = pixels.transpose(2, 0, 1)
    return images


# ---- the decoded cache: one file, checked when read, written beside and renamed


def _read_cache(cache: Path, stamp: int) -> dict[str, np.ndarray] | None:
    try:
        with np.load(cache) as content:  # a zip archive, whose checksums are looked at
            arrays = dict(content)
        return arrays if int(arrays.pop("stamp")) == stamp else None
    except Exception:  # whatever is wrong with a cache, the cure is to build it again
        return None


def _write_cache(cache: Path, stamp: int, arrays: dict[str, np.ndarray]) -> None:
    try:
        with replacing(cache) as beside, open(beside, "wb") as file:
            np.savez(file, stamp=stamp, **arrays)
    except OSError as error:  # a read-only or full disk costs time, not correctness
        _announce(f"the decoded images could not be cached in {cache.parent} ({error.strerror}); loading goes on without")


def main() -> None:
    """`make data`."""
    try:
        download_cifar10()
        print(load_dataset("cifar10"))
    except DataError as error:
        raise SystemExit(str(error)) from None

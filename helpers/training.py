"""One way to train and one way to evaluate, used by every notebook and every measured row.

Introduced in notebook 01.
"""

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from .batches import augmented_batches
from .data import Dataset, Split, check, check_whole, watched
from .devices import autocast, eval_mode, on_device, pick_device, to_float


@dataclass
class History:
    """What `train` saw: one entry an epoch in each list, and the totals.

    `val_accuracy` is in 0..1, or None in epochs that were not evaluated.
    """

    loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_accuracy: list[float | None] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    recipe: dict = field(default_factory=dict)

    def __repr__(self) -> str:
        checked = [v for v in self.val_accuracy if v is not None]
        result = f": validation accuracy {checked[-1]:.1%}" if checked else ""
        return f"{self.steps:,} steps ({self.recipe.get('epochs', 0):g} epochs) in {self.seconds:,.0f} s{result}"


@dataclass(frozen=True)
class Evaluation:
    """`accuracy` and `loss` (mean cross-entropy) over a split, `per_class` [10] and `confusion` [10, 10] (rows: true class).

    `predictions` [N] and `probabilities` [N] (of the predicted class) are in the split's order.
    """

    accuracy: float
    loss: float
    per_class: Tensor
    confusion: Tensor
    predictions: Tensor
    probabilities: Tensor

    def __repr__(self) -> str:
        return f"accuracy {self.accuracy:.2%}, loss {self.loss:.3f} ({len(self.predictions):,} images)"


def predict(model: nn.Module, images: Tensor, *, batch_size: int = 500, precision: str = "auto") -> Tensor:
    """Logits (float32 [N, 10], on the CPU) of uint8 images [N, 3, 32, 32], in evaluation mode, on the fastest device."""
    device = pick_device()
    with on_device(model, device), eval_mode(model), torch.inference_mode(), autocast(device, precision):
        batches = (model(to_float(batch, device)).float().cpu() for batch in images.split(batch_size))
        return torch.cat(list(batches))


def evaluate(model: nn.Module, split: Split, *, batch_size: int = 500, precision: str = "auto") -> Evaluation:
    """Accuracy, loss and confusion of a model on a split, always in evaluation mode; the old mode is restored.

    Args:
        split: images uint8 [N, 3, 32, 32] and labels int64 [N].
        precision: "auto" (bf16 where native), "fp32" or "bf16".

    Raises:
        ValueError: for an empty split or an unknown precision.

    Example:
        >>> evaluate(model, data.val).accuracy  # doctest: +SKIP
        0.83
    """
    if len(split) == 0:
        raise ValueError("split: is empty, must hold at least one image")
    logits = predict(model, split.images, batch_size=batch_size, precision=precision)
    probabilities, predictions = logits.softmax(1).max(1)
    classes = logits.shape[1]
    confusion = torch.bincount(classes * split.labels + predictions, minlength=classes**2).view(classes, classes)
    return Evaluation(
        accuracy=(predictions == split.labels).sum().item() / len(split),
        loss=cross_entropy(logits, split.labels).item(),
        per_class=confusion.diagonal() / confusion.sum(1).clamp(min=1),
        confusion=confusion,
        predictions=predictions,
        probabilities=probabilities,
    )


# How every network of the collection is trained, but for what a call of `train` says otherwise
RECIPE = {
    "momentum": 0.85, "weight_decay": 5e-4, "label_smoothing": 0.1,
    "warmup": 0.2,  # share of the steps in which the learning rate rises; then it falls to zero, both in straight lines
    "shift": 4,  # pixels by which images are shifted at most, reflected at the border
}  # fmt: skip


def default_rate(data: Dataset, batch_size: int) -> float:
    """The peak learning rate for a dense network: 0.3 for 125 images of CIFAR-10 and 0.05 for 64 digits, in proportion."""
    return (0.3 if len(data.train) >= 5000 else 0.05) * batch_size / default_batch_size(data)


def default_batch_size(data: Dataset) -> int:
    """125 images (CIFAR-10: 360 steps an epoch), or 64 of a small set."""
    return 125 if len(data.train) >= 5000 else 64


def train(
    model: nn.Module,
    data: Dataset,
    *,
    epochs: float,
    seed: int = 0,
    batch_size: int | None = None,
    lr: float | None = None,
    cutout: int = 0,
    shuffle: bool = True,
    on_step: Callable[[int, torch.optim.Optimizer], None] | None = None,
    validate: bool | int = True,
    precision: str = "auto",
    progress: bool | None = None,
) -> History:
    """Train a model in place by SGD with Nesterov momentum on the whole training split, kept in memory.

    The rest of the recipe is `RECIPE`; images are mirrored on CIFAR-10 only, since mirrored digits are other signs. Training
    runs on the fastest device, and the model comes back on the one that it was on. The same seed, thread count and machine
    give bit-identical weights.

    Args:
        model: takes float images [N, 3, 32, 32] in 0..1, returns logits [N, 10].
        epochs: passes over the training split; fractions are allowed.
        seed: of data order and augmentation (seed the weights with `seed_everything` before building the model).
        batch_size, lr: default: `default_batch_size` and, as the peak learning rate, `default_rate`.
        cutout: side of a random square set to the mean color, in pixels (DeVries & Taylor 2017, arXiv:1708.04552).
        shuffle: a new order of the images in every epoch.
        on_step: called with the step number, counted from 0, and the optimizer, before each step's forward pass.
        validate: evaluate on the validation split after every epoch; an integer k: every k epochs; False: never.
        precision: "auto" (bf16 autocast where it is native), "fp32" or "bf16".
        progress: bar with loss and learning rate; default: only in a terminal or a notebook.

    Raises:
        ValueError: for an argument out of range, before anything is changed.
        FloatingPointError: when the loss is no longer finite.

    Example:
        >>> history = train(CifarNet(width=0.5), data, epochs=8)  # doctest: +SKIP
        >>> history.val_accuracy[-1]  # doctest: +SKIP
        0.87
    """
    batch_size = default_batch_size(data) if batch_size is None else batch_size
    lr = default_rate(data, batch_size) if lr is None else lr
    check(epochs > 0, "epochs", epochs, "more than 0")
    check_whole("batch_size", batch_size, 2)
    check(lr >= 0, "lr", lr, "0 or more")
    check(0 <= cutout <= 32, "cutout", cutout, "in [0, 32]")
    device, flip = pick_device(), data.name == "cifar10"
    in_precision = autocast(device, precision)
    per_epoch, total = steps_in(data, 1, batch_size), steps_in(data, epochs, batch_size)
    rate = _rate(RECIPE["warmup"], total)
    options = {"shift": RECIPE["shift"], "flip": flip, "cutout": cutout, "shuffle": shuffle}
    recipe = RECIPE | options | {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    history = History(recipe=recipe)
    start = time.perf_counter()
    losses, correct, seen = torch.zeros((), device=device), torch.zeros((), device=device), 0
    bar = tqdm(total=total, desc="training", unit="step", disable=_no_bar(progress), leave=False)
    with bar, on_device(model, device):
        model.to(memory_format=torch.channels_last).train()
        optimizer = _optimizer(model, lr)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        for step, (images, labels) in enumerate(augmented_batches(data.train, batch_size, total, seed, device, **options)):
            if on_step is not None:
                on_step(step, optimizer)
            with in_precision:
                logits = model(images)
            loss = cross_entropy(logits.float(), labels, label_smoothing=RECIPE["label_smoothing"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses += loss.detach() * len(labels)
            correct += (logits.argmax(1) == labels).sum()
            seen += len(labels)
            bar.update()
            if step % 10 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}", lr=f"{lr * rate(step):.3f}", refresh=False)
            if (step + 1) % per_epoch == 0 or step + 1 == total:
                if not math.isfinite(losses.item()):
                    raise FloatingPointError(f"the loss is no longer finite after step {step + 1}: lr={lr} is too high here")
                history.loss.append(losses.item() / seen)
                history.train_accuracy.append(correct.item() / seen)
                history.lr.append(lr * rate(step))
                due = validate and (step + 1 == total or len(history.loss) % int(validate) == 0)
                history.val_accuracy.append(evaluate(model, data.val, precision=precision).accuracy if due else None)
                losses.zero_(), correct.zero_()
                seen = 0
    history.steps, history.seconds = total, time.perf_counter() - start
    return history


def recalibrate(model: nn.Module, data: Dataset, batches: int = 10, *, augment: bool = False) -> int:
    """Measure the running statistics of every BatchNorm anew, from training images, in place and without gradients.

    Pruned weights change what each layer passes on, but BatchNorm still normalizes with the mean and variance of the dense
    network. The new statistics are plain averages over `batches` batches of 500 images, in fp32. Weights and modes stay as
    they are. Run it between pruning and any verdict. Source: EagleEye (Li et al. 2020, arXiv:2007.02491).

    Args:
        model: dense, masked, shrunk or foreign; takes float images [N, 3, H, W] in 0..1.
        batches: fewer where the training split is smaller.
        augment: shift and mirror the images as `train` does. Default: plain images, as `evaluate` sees them.

    Returns:
        The number of BatchNorm layers; 0, with one printed line, for a network that has none.

    Raises:
        ValueError: for `batches` below 1.

    Example:
        >>> recalibrate(model, data)  # doctest: +SKIP
        14
    """
    check_whole("batches", batches, 1)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        print("recalibrate: this network has no BatchNorm with running statistics, so nothing changes")
        return 0
    device = pick_device()
    before = [(norm, norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
    few = data.train.subset(500 * batches)
    shift, flip = (4, data.name == "cifar10") if augment else (0, False)
    images = augmented_batches(few, 500, math.ceil(len(few) / 500), 0, device, shift=shift, flip=flip, cutout=0, shuffle=False)
    with on_device(model, device), eval_mode(model), torch.no_grad():
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
        try:
            for batch, _ in images:
                model(batch)
        except BaseException:
            for norm, _, state in before:
                norm.load_state_dict(state)
            raise
        finally:
            for norm, momentum, _ in before:
                norm.momentum = momentum
    return len(norms)


def steps_in(data: Dataset, epochs: float, batch_size: int | None = None) -> int:
    """Optimizer steps that `train` takes for so many epochs.

    Example:
        >>> steps_in(data, epochs=2)  # doctest: +SKIP
        720
    """
    return max(1, round(epochs * math.ceil(len(data.train) / (batch_size or default_batch_size(data)))))


# ---- the parts of train


def _no_bar(progress: bool | None) -> bool | None:
    """tqdm's `disable`: by default a bar on a terminal and in a notebook, none in files, tests and CI (TQDM_DISABLE)."""
    if progress is not None:
        return not progress
    if not watched():
        return True
    return False if "ipykernel" in sys.modules else None  # None: tqdm looks whether it writes to a terminal


def _rate(warmup: float, total: int) -> Callable[[int], float]:
    peak = warmup * total

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / (peak + 1) if step < peak else (total - step) / max(total - peak, 1e-9))

    return rate


def _optimizer(model: nn.Module, lr: float) -> torch.optim.SGD:
    """Weight decay on weights of two dimensions or more; BatchNorm and biases have none."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": RECIPE["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=lr, momentum=RECIPE["momentum"], nesterov=True)

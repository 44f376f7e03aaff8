"""One way to train and one way to evaluate, used by every lesson and every measured row. Introduced in lesson 01."""

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from .data import Dataset, Split, check, is_interactive
from .devices import autocast, eval_mode, on_device, pick_device, to_float

RECIPE = {  # how every network is trained, but for what a call of `train` says otherwise
    "momentum": 0.85, "weight_decay": 5e-4, "label_smoothing": 0.1, "shift": 4,  # pixels
    "warmup": 0.2,  # share of the steps in which the learning rate rises; then it falls to zero, both in straight lines
}  # fmt: skip


def recipe_for(data: Dataset, batch_size: int | None = None, lr: float | None = None, **changes) -> dict:
    """The whole recipe for a data set: batches of 125 images of CIFAR-10 or 64 digits, and a peak learning rate to match."""
    usual_size, usual_rate = (125, 0.3) if len(data.train) >= 5000 else (64, 0.05)
    batch_size = usual_size if batch_size is None else batch_size
    lr = usual_rate * batch_size / usual_size if lr is None else lr
    return RECIPE | {"flip": data.name == "cifar10", "batch_size": batch_size, "lr": lr} | changes


def steps_in(data: Dataset, epochs: float, batch_size: int | None = None) -> int:
    """Optimizer steps that `train` takes for so many epochs; two epochs of CIFAR-10 are 720."""
    return max(1, round(epochs * math.ceil(len(data.train) / recipe_for(data, batch_size)["batch_size"])))


@dataclass
class History:
    """What `train` saw: one entry an epoch in each list; `val_accuracy` is None where it did not validate."""

    loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_accuracy: list[float | None] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    recipe: dict = field(default_factory=dict)

    def __repr__(self) -> str:
        last = self.val_accuracy[-1]
        result = "" if last is None else f": validation accuracy {last:.1%}"
        return f"{self.steps:,} steps ({self.recipe['epochs']:g} epochs) in {self.seconds:,.0f} s{result}"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found on a split; the rows of `confusion` are the true classes. Shares and probabilities are in 0..1."""

    accuracy: float
    per_class: Tensor  # [10]
    confusion: Tensor  # [10, 10]
    predictions: Tensor  # [N]
    probabilities: Tensor  # [N]


def predict(model: nn.Module, images: Tensor, *, precision: str = "auto") -> Tensor:
    """Logits (float32 [N, 10], on the CPU) of uint8 images [N, 3, 32, 32], in evaluation mode, in a precision of `autocast`."""
    device = pick_device()
    with on_device(model, device), eval_mode(model), torch.inference_mode(), autocast(device, precision):
        return torch.cat([model(to_float(batch, device)).float().cpu() for batch in images.split(500)])


def evaluate(model: nn.Module, split: Split, *, precision: str = "auto") -> Evaluation:
    """Accuracy and confusion of a model on a split, computed by `predict`; modes and weights stay as they are."""
    check(len(split) > 0, "split", split, "a split with at least one image")
    logits = predict(model, split.images, precision=precision)
    probabilities, predictions = logits.softmax(1).max(1)
    classes = logits.shape[1]
    confusion = torch.bincount(classes * split.labels + predictions, minlength=classes**2).view(classes, classes)
    per_class = confusion.diagonal() / confusion.sum(1).clamp(min=1)
    return Evaluation(confusion.trace().item() / len(split), per_class, confusion, predictions, probabilities)


def augmented_batches(split, batch_size, total, seed, device, *, shift, flip, cutout=0, shuffle=True):
    """Yield `total` batches: images (float [N, 3, 32, 32] in 0..1, channels last) and labels (int64 [N]).

    Images are shifted by at most `shift` pixels and reflected at the border; with `flip` every second one is mirrored; each
    loses a square of side `cutout`. One indexing operation shifts and mirrors a whole batch.
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = split.images.to(device).permute(0, 2, 3, 1).contiguous(), split.labels.to(device)
    size = images.shape[1]
    pixels = torch.arange(size)
    mean_color = images.float().mean((0, 1, 2)) / 255 if cutout else None

    def shifted(positions: torch.Tensor) -> torch.Tensor:
        positions = positions + torch.randint(2 * shift + 1, (len(positions), 1), generator=generator) - shift  # [N, 32]
        return size - 1 - (size - 1 - positions.abs()).abs()  # reflected at the border

    while total > 0:
        order = torch.randperm(len(labels), generator=generator) if shuffle else torch.arange(len(labels))
        for index in order.split(batch_size)[:total]:
            columns = pixels.expand(len(index), -1)
            rows = shifted(columns)
            if flip:
                mirrored = torch.rand(len(index), 1, generator=generator) < 0.5
                columns = torch.where(mirrored, columns.flip(1), columns)
            columns = shifted(columns)
            index, rows, columns = index.to(device), rows.to(device), columns.to(device)
            batch = images[index[:, None, None], rows[:, :, None], columns[:, None, :]].float().div_(255)  # [N, 32, 32, 3]
            if cutout:
                corner = torch.randint(size, (len(index), 2, 1), generator=generator) - cutout // 2
                inside = ((corner <= pixels) & (pixels < corner + cutout)).to(device)  # [N, 2, 32]: rows, columns of the square
                batch = torch.where((inside[:, 0, :, None] & inside[:, 1, None, :])[..., None], mean_color, batch)
            yield batch.permute(0, 3, 1, 2), labels[index]
        total -= len(order.split(batch_size))


def train(
    model, data, epochs, seed=0, batch_size=None, lr=None, cutout=0, on_step=None, validate=True, precision="auto", progress=True
) -> History:
    """Train a model (float images [N, 3, 32, 32] in 0..1 -> logits [N, 10]) on a `Dataset`, in place, by SGD with Nesterov momentum.

    Images are shifted, and on CIFAR-10 mirrored (mirrored digits are other signs). The same seed, thread count and machine give
    bit-identical weights. A FloatingPointError says that the loss is no longer finite.

    Args:
        epochs: passes over the training split; fractions are allowed.
        seed: of data order and augmentation (seed the weights with `torch.manual_seed` before building the model).
        batch_size, lr: images a step and the peak of the learning rate; by default those of `recipe_for`.
        cutout: side of a random square set to the mean color, in pixels (DeVries & Taylor 2017, arXiv:1708.04552).
        on_step: called with the step number, counted from 0, and the optimizer, before each step's forward pass.
        validate: evaluate on the validation split after every epoch.
        precision: as in `autocast`.
        progress: a bar with loss and learning rate, in a terminal or a notebook.
    """
    recipe = recipe_for(data, batch_size, lr, cutout=cutout, epochs=epochs, seed=seed)
    batch_size, lr = recipe["batch_size"], recipe["lr"]
    check(epochs > 0, "epochs", epochs, "more than 0")
    check(isinstance(batch_size, int) and batch_size >= 2, "batch_size", batch_size, "a whole number of 2 or more")
    check(lr >= 0, "lr", lr, "0 or more")
    check(0 <= cutout <= 32, "cutout", cutout, "in [0, 32]")
    device, history = pick_device(), History(recipe=recipe)
    in_precision = autocast(device, precision)
    per_epoch, total = steps_in(data, 1, batch_size), steps_in(data, epochs, batch_size)
    augmentation = {name: recipe[name] for name in ("shift", "flip", "cutout")}
    peak = recipe["warmup"] * total

    def rate(step: int) -> float:  # the learning rate as a share of its peak
        return min(1.0, (step + 1) / (peak + 1) if step < peak else (total - step) / max(total - peak, 1e-9))

    start = time.perf_counter()
    losses, correct, seen = torch.zeros((), device=device), torch.zeros((), device=device), 0
    bar = tqdm(total=total, desc="training", unit="step", disable=not (progress and is_interactive()), leave=False)
    with bar, on_device(model, device):
        model.to(memory_format=torch.channels_last).train()
        weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]  # BatchNorm and biases: no weight decay
        groups = [{"params": weights, "weight_decay": recipe["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=recipe["momentum"], nesterov=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        for step, (images, labels) in enumerate(augmented_batches(data.train, batch_size, total, seed, device, **augmentation)):
            if on_step is not None:
                on_step(step, optimizer)
            with in_precision:
                logits = model(images)
            loss = cross_entropy(logits.float(), labels, label_smoothing=recipe["label_smoothing"])
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
                if not losses.isfinite():
                    raise FloatingPointError(f"the loss is no longer finite after step {step + 1}: lr={lr} is too high here")
                history.loss.append(losses.item() / seen)
                history.train_accuracy.append(correct.item() / seen)
                history.lr.append(lr * rate(step))
                history.val_accuracy.append(evaluate(model, data.val, precision=precision).accuracy if validate else None)
                losses, correct, seen = losses.zero_(), correct.zero_(), 0
    history.steps, history.seconds = total, time.perf_counter() - start
    return history


def recalibrate(model: nn.Module, data: Dataset, batches: int = 10, precision: str = "auto") -> None:
    """Measure the running statistics of every BatchNorm anew, from training images, in place.

    Pruned weights change what each layer passes on, but BatchNorm still normalizes with the mean and variance of the dense
    network. The new ones are averages over `batches` batches of 500 images, not augmented; bf16 moves accuracies
    by 0.2 points at most. Weights and modes stay as they are. Run it before any verdict. Source: Li et al. 2020 (arXiv:2007.02491).
    """
    check(batches >= 1, "batches", batches, "1 or more")
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        print("recalibrate: this network has no BatchNorm with running statistics, so nothing changes")
        return
    device, momenta = pick_device(), [norm.momentum for norm in norms]
    with on_device(model, device), eval_mode(model), torch.no_grad(), autocast(device, precision):
        for norm in norms:
            norm.train().reset_running_stats()
            norm.momentum = None  # a plain average over the batches
        try:
            for images in data.train.images[: 500 * batches].split(500):
                model(to_float(images, device))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

"""Training speed, side by side in one run (`make bench`): the loop that most tutorials ship against `helpers.train`.

Same network, batch size and step count for both, taking turns. Rows go to results/train_speed.csv on CIFAR-10 with
PRUNING_BUDGET=full, else to build/results/.
"""

import statistics
import time

import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import VisionDataset
from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToPILImage, ToTensor

from helpers import CifarNet, evaluate, load_cifar_net, load_dataset, output_path, seed_everything, train
from helpers.data import replacing
from helpers.models import CIFAR10_MEAN, CIFAR10_STD
from helpers.training import describe_device, pick_device, pick_precision

BATCH, STEPS, REPEATS = 500, 30, 3
EPOCHS_TO_78 = 5


class PerSample(VisionDataset):
    """What torchvision's CIFAR10 class does for each sample: an array becomes a PIL image and goes through the transforms."""

    def __init__(self, split, transform):
        super().__init__(None, transform=transform)
        self.images, self.labels = split.images.permute(0, 2, 3, 1).numpy(), split.labels.tolist()
        self.to_pil = ToPILImage()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, k):
        return self.transform(self.to_pil(self.images[k])), self.labels[k]


def tutorial_loop(model, data, steps):
    """Per-sample PIL transforms, a DataLoader with two workers, fp32, Adam; returns the seconds of `steps` steps."""
    model.mean.zero_(), model.std.fill_(1)  # the transforms normalise instead
    transform = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), ToTensor(), Normalize(CIFAR10_MEAN, CIFAR10_STD)])
    loader = DataLoader(PerSample(data.train, transform), batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    device = pick_device()
    model.to(device).train()
    start, done = time.perf_counter(), 0
    while done < steps:
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimiser.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimiser.step()
            done += 1
            if done == steps:
                break
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def our_loop(model, data, steps):
    """`helpers.train` for as many steps of the same size; returns its seconds."""
    epochs = steps / -(-len(data.train) // BATCH)
    history = train(model, data, epochs=epochs, batch_size=BATCH, validate=False)
    assert history.steps == steps
    return history.seconds


def matrix_product(size=2048, repeats=10):
    """Median seconds of one bf16 (where native) product of two size x size matrices."""
    device = pick_device()
    dtype = torch.bfloat16 if pick_precision(device) == "bf16" else torch.float32
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def training_flops(model):
    """Floating-point operations of one training step per image: forward, and twice that for backward."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.rand(1, 3, 32, 32))
    return 3 * counter.get_total_flops()


def main():
    data = load_dataset()
    device = pick_device()
    where = {
        "dataset": data.label,
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    rows = []

    def record(method, width, repeat, seconds, images=None, **more):
        rate = images / seconds if images else None
        rows.append(where | {
            "method": method, "width": width, "precision": pick_precision(device), "batch_size": BATCH, "repeat": repeat,
            "seconds": round(seconds, 4), "images_per_second": rate and round(rate, 1),
        } | more)  # fmt: skip
        print(
            f"  {method:<24} width {width or '-':<4} {seconds:8.2f} s" + (f"{rate:10,.0f} images/s" if rate else ""), flush=True
        )

    def median(method, width, column="images_per_second"):
        return statistics.median(row[column] for row in rows if (row["method"], row["width"]) == (method, width))

    print(f"{data.label}, {where['device']}, {where['threads']} threads: batches of {BATCH}, {STEPS} steps, {REPEATS} turns each")
    for repeat in range(REPEATS):
        for method, loop in (("tutorial loop", tutorial_loop), ("helpers.train", our_loop)):
            seed_everything(repeat)
            record(method, 0.5, repeat, loop(CifarNet(0.5), data, STEPS), STEPS * BATCH)
    for repeat in range(REPEATS):
        record("helpers.train", 1.0, repeat, our_loop(CifarNet(1.0), data, STEPS), STEPS * BATCH)
        record("matrix product 2048", None, repeat, matrix_product(), flops=2 * 2048**3)
    model = load_cifar_net() if data.name == "cifar10" else CifarNet(1.0)
    for repeat in range(REPEATS):
        start = time.perf_counter()
        evaluate(model.to(device), data.test)
        record("evaluate, test set", 1.0, repeat, time.perf_counter() - start, len(data.test))
    for seed in range(REPEATS):
        seed_everything(seed)
        model = CifarNet(0.5)
        history = train(model, data, epochs=EPOCHS_TO_78, seed=seed)
        val = history.val_accuracy[-1]
        record(f"train for {EPOCHS_TO_78} epochs", 0.5, seed, history.seconds, history.steps * BATCH, val_accuracy=round(val, 4))

    ours, theirs = median("helpers.train", 0.5), median("tutorial loop", 0.5)
    achieved = median("helpers.train", 1.0) * training_flops(CifarNet(1.0))
    possible = 2 * 2048**3 / median("matrix product 2048", None, "seconds")
    passed = [row for row in rows if row.get("val_accuracy", 0) >= 0.78]
    print(f"\nwidth 0.5: {ours:,.0f} against {theirs:,.0f} images/s, ratio {ours / theirs:.1f}")
    print(f"width 1.0: {achieved / 1e12:.2f} TFLOP/s, {achieved / possible:.0%} of the {possible / 1e12:.2f} of a matrix product")
    print(f"test set at width 1.0: {median('evaluate, test set', 1.0, 'seconds'):.1f} s for {len(data.test):,} images")
    print(f"{len(passed)} of {REPEATS} seeds pass 78 % in validation; seconds: {[round(row['seconds']) for row in passed]}")
    path = output_path("results/train_speed.csv", data)
    with replacing(path) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False)
    print(f"rows: {path.parent.name}/{path.name}")


if __name__ == "__main__":
    main()

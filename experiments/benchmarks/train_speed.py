"""Training speed, side by side in one run (`make bench`): the loop that most tutorials ship against `helpers.train`.

Each trains `CifarNet(width=0.5)` until validation accuracy passes 78 %: the usual loop epoch by epoch, `helpers.train` for a
schedule of `EPOCHS` epochs, in fp32 and, where the device computes it natively, in bf16. Then the share of the rate of a matrix
product that a training reaches. Rows go to results/train_speed.csv on CIFAR-10 with PRUNING_BUDGET=full, else to build/results/.
"""

import statistics
import time

import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import VisionDataset
from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToPILImage, ToTensor

from experiments.device import describe_device
from helpers import CifarNet, count_macs, evaluate, load_dataset, output_path, train
from helpers.data import replacing
from helpers.devices import pick_device, pick_precision
from helpers.models import CIFAR10_MEAN, CIFAR10_STD

TARGET = 0.78
EPOCHS = 2  # of the schedule with which helpers.train passes the target
LIMIT = 8  # epochs after which the usual loop gives up
SEEDS = range(2)
STEPS = 60  # of a training at width 1.0


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


def synchronize():
    """Wait for the accelerator, where there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def usual_loop(data):
    """Per-sample PIL transforms, a DataLoader with two workers, batch 128, fp32, Adam at 1e-3, until TARGET is passed.

    Returns validation accuracy, images and seconds of training alone.
    """
    torch.manual_seed(0)
    model, device = CifarNet(0.5), pick_device()
    model.to(device)
    transform = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), ToTensor(), Normalize(CIFAR10_MEAN, CIFAR10_STD)])
    loader = DataLoader(PerSample(data.train, transform), batch_size=128, shuffle=True, num_workers=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    mean, std = model.mean.clone(), model.std.clone()
    seconds, accuracy, epochs = 0.0, 0.0, 0
    while accuracy < TARGET and epochs < LIMIT:
        model.mean.zero_(), model.std.fill_(1)  # while the transforms normalize
        model.train()
        start = time.perf_counter()
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
        synchronize()
        seconds += time.perf_counter() - start
        model.mean.copy_(mean), model.std.copy_(std)
        accuracy = evaluate(model, data.val).accuracy
        epochs += 1
        print(f"  usual loop, epoch {epochs}: {accuracy:.2%} after {seconds:.0f} s", flush=True)
    return accuracy, epochs * len(data.train), seconds


def our_loop(data, width, epochs, seed, precision):
    """`helpers.train` with its whole schedule; validation accuracy, images and seconds of training alone."""
    torch.manual_seed(seed)
    model = CifarNet(width)
    history = train(model, data, epochs=epochs, seed=seed, precision=precision, validate=False)
    return evaluate(model, data.val).accuracy, history.steps * history.recipe["batch_size"], history.seconds


def matrix_product(dtype, size=2048, repeats=10):
    """Median floating-point operations a second of a product of two size x size matrices."""
    a, b = (torch.randn(size, size, dtype=dtype, device=pick_device()) for _ in range(2))
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        a @ b
        synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[2:])


def main():
    data, device = load_dataset(), pick_device()
    where = {"dataset": data.label, "device": describe_device(device), "threads": torch.get_num_threads()}
    where["torch"] = torch.__version__.split("+")[0]
    rows = []

    def record(method, width, precision, repeat, seconds=None, images=None, accuracy=None, rate=None):
        rows.append(where | {
            "method": method, "width": width, "precision": precision, "repeat": repeat, "images": images,
            "seconds": seconds and round(seconds, 2), "images_per_second": seconds and round(images / seconds, 1),
            "val_accuracy": accuracy, "flops_per_second": rate and round(rate),
        })  # fmt: skip
        told = (
            f"{images / seconds:10,.0f} images/s {seconds:8.1f} s {accuracy:8.2%}" if seconds else f"{rate / 1e9:10,.0f} GFLOP/s"
        )
        print(f"  {method:<16} width {width or '-':<4} {precision} {told}", flush=True)

    def median(column, **wanted):
        return statistics.median(row[column] for row in rows if all(row[name] == value for name, value in wanted.items()))

    print(f"{data.label}, {where['device']}, {where['threads']} threads: time to {TARGET:.0%} validation accuracy, width 0.5")
    precisions = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if pick_precision(device) == "bf16" else {})
    accuracy, images, seconds = usual_loop(data)
    record("usual loop", 0.5, "fp32", 0, seconds, images, accuracy)
    for repeat in SEEDS:
        for precision, dtype in precisions.items():
            record("matrix product", None, precision, repeat, rate=matrix_product(dtype))
            for width, epochs in ((0.5, EPOCHS), (1.0, STEPS / 360)):
                accuracy, images, seconds = our_loop(data, width, epochs, repeat, precision)
                record("helpers.train", width, precision, repeat, seconds, images, accuracy)
    usual = rows[0]
    for precision in precisions:
        ours = {"method": "helpers.train", "precision": precision, "width": 0.5}
        passed = sum(row["val_accuracy"] >= TARGET for row in rows if all(row[name] == value for name, value in ours.items()))
        print(
            f"\n{precision}: {TARGET:.0%} passed by {passed} of {len(SEEDS)} seeds, "
            f"{usual['seconds'] / median('seconds', **ours):.1f} times as fast as the usual loop; "
            f"{median('images_per_second', **ours) / usual['images_per_second']:.1f} times the images a second"
        )
        possible = median("flops_per_second", method="matrix product", precision=precision)
        for width in (0.5, 1.0):
            flops = 6 * count_macs(CifarNet(width))  # forward, and twice that for backward
            reached = flops * median("images_per_second", **(ours | {"width": width}))
            print(f"  width {width}: {reached / possible:.0%} of the rate of a matrix product ({possible / 1e9:,.0f} GFLOP/s)")
    path = output_path("results/train_speed.csv", data)
    with replacing(path) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False)
    print(f"rows: {path.parent.name}/{path.name}")


if __name__ == "__main__":
    main()

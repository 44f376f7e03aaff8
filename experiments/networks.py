"""The dense networks that every grid starts from: `python -m experiments.networks` trains those that results/networks/ lacks.

They are trained once, by `helpers.train` on CIFAR-10, and committed. Their convolution and linear weights are rounded to
float16 before anything is measured, so the file is half as large and every machine starts from the same bits.
"""

import argparse
import copy
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import nn

from helpers.checkpoints import CheckpointError, load_network, save_network, trained
from helpers.data import REPOSITORY, Dataset, load_dataset
from helpers.devices import pick_device, pick_precision
from helpers.masks import prunable_layers
from helpers.models import CifarNet
from helpers.training import evaluate, train

from .device import describe_device

FOLDER = REPOSITORY / "results" / "networks"
INDEX = REPOSITORY / "results" / "networks.csv"
SEEDS = {0.5: 10, 1.0: 5}  # width -> number of networks
EPOCHS = {"cifar10": 30, "digits": 4}


def path_of(width: float, seed: int) -> Path:
    """The file of one dense network."""
    return FOLDER / f"cifarnet_width{width:g}_seed{seed}.pth"


def fingerprint(model: nn.Module) -> str:
    """Eight hexadecimal digits of a network's state: two networks with the same ones hold the same bits."""
    checksum = 0
    for value in model.state_dict().values():
        checksum = zlib.crc32(value.cpu().numpy().tobytes(), checksum)
    return f"{checksum:08x}"


def dense_network(width: float, seed: int, data: Dataset, epochs: float | None = None) -> CifarNet:
    """The dense network of a width and a seed, on the fastest device.

    On CIFAR-10 from results/networks/. Others (pilot seeds, other `epochs`, and all on the digits) are trained with the same
    recipe and kept in build/networks/.

    Raises:
        CheckpointError: for a committed network that is missing or damaged.
    """
    if data.name == "cifar10" and epochs is None and seed < SEEDS.get(width, 0):
        if not path_of(width, seed).exists():
            raise CheckpointError(f"{path_of(width, seed)}: no such file; train it with `python -m experiments.networks`")
        return load_network(path_of(width, seed)).to(pick_device())
    return trained(data, width=width, epochs=epochs or EPOCHS[data.name], seed=seed).to(pick_device())


def round_weights(model: nn.Module) -> None:
    """Round convolution and linear weights to float16, in place; they stay float32 tensors."""
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.copy_(layer.weight.half())


def in_float16(model: nn.Module) -> nn.Module:
    """A copy whose convolution and linear weights take half the bytes of a file; `load_network` makes them float32 again."""
    smaller = copy.deepcopy(model)
    for layer in prunable_layers(smaller).values():
        layer.weight.data = layer.weight.data.half()
    return smaller


def make(width: float, seed: int, data: Dataset) -> dict:
    """Train, round, measure and save one network; returns its row."""
    torch.manual_seed(seed)
    model = CifarNet(width)
    epochs = EPOCHS[data.name]
    history = train(model, data, epochs=epochs, seed=seed, validate=False, progress=False)
    round_weights(model)
    row = {
        "dataset": data.label, "width": width, "seed": seed, "epochs": epochs, "fingerprint": fingerprint(model),
        "val_accuracy": evaluate(model, data.val, precision="fp32").accuracy,
        "test_accuracy": evaluate(model, data.test, precision="fp32").accuracy,
        "seconds": round(history.seconds), "trained_in": pick_precision(pick_device()),
        "torch": torch.__version__.split("+")[0], "device": describe_device(pick_device()),
    }  # fmt: skip
    names = ("dataset", "fingerprint", "val_accuracy", "test_accuracy", "trained_in", "device")
    save_network(in_float16(model), path_of(width, seed), **history.recipe, **{name: row[name] for name in names})
    return row


def missing(widths: Iterable[float], seeds: int | None = None) -> list[tuple[float, int]]:
    """(width, seed) of the networks that are not there yet, seed by seed; `seeds` stops after the first ones."""
    wanted = [(width, seed) for width in widths for seed in range(SEEDS[width])[:seeds]]
    return [(width, seed) for width, seed in wanted if not path_of(width, seed).exists()]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.networks", description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, choices=SEEDS, help="only this width (default: half width, then full width)")
    parser.add_argument("--seeds", type=int, help="only seeds 0 to N - 1")
    parser.add_argument("--jobs", type=int, default=1, help="local processes, which share the cores (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="list what is missing, and stop")
    options = parser.parse_args(arguments)
    todo = missing([options.width] if options.width else SEEDS, options.seeds)
    print(f"{len(todo)} of {sum(SEEDS.values())} networks are missing" + "".join(f"\n  width {w:g}, seed {s}" for w, s in todo))
    if options.dry_run or not todo:
        return
    start, data = time.perf_counter(), load_dataset("cifar10")
    parallel = Parallel(options.jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    for done, row in enumerate(parallel(delayed(make)(width, seed, data) for width, seed in todo), start=1):
        pd.DataFrame([row]).to_csv(INDEX, mode="a", header=not INDEX.exists(), index=False)
        minutes = (time.perf_counter() - start) / 60
        left = f"{done} of {len(todo)} in {minutes:.0f} minutes; the others of this width take about {minutes / done:.0f} each"
        print(f"width {row['width']:g}, seed {row['seed']}: test accuracy {row['test_accuracy']:.2%}, {left}", flush=True)


if __name__ == "__main__":
    main()

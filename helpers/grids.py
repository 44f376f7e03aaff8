"""What is measured: each grid is a plain list of configurations, and a run turns one of them into a row.

`helpers.sweeps` runs them. Behind the figures of the README and of notebooks 02 and 04.
"""

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import prune

from .data import Dataset
from .models import CifarNet
from .pruning import (
    GradientPruning,
    MagnitudePruning,
    PercentilePruning,
    RandomPruning,
    TaylorPruning,
    amounts_from_sensitivity,
    prunable_layers,
    prune_globally,
    prune_layers,
    sensitivity_scan,
    sparsity,
)
from .training import evaluate, train, trained

COLUMNS = (
    "dataset", "model", "width", "checkpoint", "method", "scope", "schedule", "target_sparsity", "achieved_sparsity", "seed",
    "steps", "batch_size", "lr", "accuracy_before", "val_accuracy", "test_accuracy", "seconds", "torch", "device",
)  # fmt: skip
DENSE_EPOCHS = 8  # of every grid's dense starting networks
SCAN_IMAGES = 1000  # validation images behind the amounts of the scope "sensitivity"
KEPT = 0.02  # of each layer's weights, in the scope "global, 2 % kept"


@dataclass(frozen=True)
class Grid:
    """`configurations(seeds)` lists what to run; `run(configuration, data)` does one; `extra` columns follow the common ones."""

    configurations: Callable[[Iterable[int]], list[dict]]
    run: Callable[[dict, Dataset], dict]
    extra: tuple[str, ...] = ()
    seeds: int = 5

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS + self.extra

    @property
    def everything(self) -> list[dict]:
        """All configurations, with the grid's own number of seeds."""
        return self.configurations(range(self.seeds))


# ---- what one run does


def dense_network(configuration: dict, data: Dataset) -> CifarNet:
    """The dense network that a configuration starts from: one per width and seed, trained once and kept."""
    epochs = configuration.get("dense_epochs", DENSE_EPOCHS)
    return trained(data, width=configuration["width"], epochs=epochs, seed=configuration["seed"])


def fingerprint(model: nn.Module) -> str:
    """Eight hexadecimal digits of a network's weights: rows with the same ones started from the same bits."""
    check = 0
    for value in model.state_dict().values():
        check = zlib.crc32(value.cpu().numpy().tobytes(), check)
    return f"{check:08x}"


CRITERIA = {  # method -> criterion of a sparsity and a seed
    "magnitude": lambda amount, seed: MagnitudePruning(amount),
    "percentile": lambda amount, seed: PercentilePruning(amount / 2, 1 - amount / 2),
    "random": lambda amount, seed: RandomPruning(amount, seed),
    "gradient": lambda amount, seed: GradientPruning(amount),
    "taylor": lambda amount, seed: TaylorPruning(amount),
    "filters_l1": lambda amount, seed: MagnitudePruning(amount, dim=0),
}
BUILTIN = {  # one function of torch.nn.utils.prune each
    "l1_unstructured": lambda module, amount: prune.l1_unstructured(module, "weight", amount),
    "random_unstructured": lambda module, amount: prune.random_unstructured(module, "weight", amount),
    "ln_structured_n1_dim0": lambda module, amount: prune.ln_structured(module, "weight", amount, n=1, dim=0),
    "ln_structured_n2_dim0": lambda module, amount: prune.ln_structured(module, "weight", amount, n=2, dim=0),
    "ln_structured_n2_dim1": lambda module, amount: prune.ln_structured(module, "weight", amount, n=2, dim=1),
    "random_structured_dim0": lambda module, amount: prune.random_structured(module, "weight", amount, dim=0),
    "random_structured_dim1": lambda module, amount: prune.random_structured(module, "weight", amount, dim=1),
}


def prune_as_told(model: CifarNet, configuration: dict, data: Dataset) -> None:
    """Prune a network by a configuration's method, scope and target sparsity; the method "dense" prunes nothing.

    Slices spare what would change the task: dim 0 the last layer (its rows are the classes), dim 1 the first (its
    input channels are the colours).
    """
    method, scope, amount, seed = (configuration[name] for name in ("method", "scope", "target_sparsity", "seed"))
    layers = list(prunable_layers(model).values())
    if method == "dense":
        return
    if method == "global_unstructured":
        prune.global_unstructured([(layer, "weight") for layer in layers], pruning_method=prune.L1Unstructured, amount=amount)
    elif method in BUILTIN:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in layers[:-1] if method.endswith("dim0") else layers[1:] if method.endswith("dim1") else layers:
                BUILTIN[method](layer, amount)
    elif scope == "sensitivity":
        few = data.val.subset(SCAN_IMAGES)
        counts = amounts_from_sensitivity(model, sensitivity_scan(model, few), evaluate(model, few).accuracy, amount)
        prune_layers({layer: [MagnitudePruning(count)] for layer, count in counts.items()})
    else:
        criterion = CRITERIA[method](amount, seed)
        if scope.startswith("global"):
            prune_globally(model, [criterion], data=data, min_kept=KEPT if "kept" in scope else 0)
        else:
            if scope == "one layer":
                layers = [model.get_submodule(configuration["layer"])]
            elif criterion.dim == 0:
                layers = layers[:-1]
            prune_layers({layer: [criterion] for layer in layers}, model=model, data=data)


def prune_and_finetune(configuration: dict, data: Dataset) -> dict:
    """Prune the seed's dense network, fine-tune it with the masks in place (where `epochs` says so), and measure.

    `accuracy_before` is validation accuracy, `test_accuracy_before` test accuracy, both between pruning and fine-tuning.
    The method "dense" prunes nothing and is trained as long.
    """
    model = dense_network(configuration, data)
    checkpoint, seed = f"{model.facts['checkpoint']}:{fingerprint(model)}", configuration["seed"]
    start = time.perf_counter()
    prune_as_told(model, configuration, data)
    prune_seconds = round(time.perf_counter() - start, 3)
    val, test = before = [evaluate(model, split).accuracy for split in (data.val, data.test)]
    steps, batch_size = 0, ""
    if configuration.get("epochs"):
        recipe = {"epochs": configuration["epochs"], "lr": configuration["lr"], "seed": seed}
        history = train(model, data, validate=False, progress=False, **recipe)
        steps, batch_size = history.steps, history.recipe["batch_size"]
        val, test = (evaluate(model, split).accuracy for split in (data.val, data.test))
    return {"lr": ""} | configuration | {
        "checkpoint": checkpoint, "achieved_sparsity": round(sparsity(model).fraction, 6), "steps": steps, "batch_size": batch_size,
        "accuracy_before": before[0], "test_accuracy_before": before[1], "val_accuracy": val, "test_accuracy": test,
        "prune_seconds": prune_seconds,
    }  # fmt: skip


# ---- the grids


def sparsity_curve(seeds: Iterable[int]) -> list[dict]:
    """Global magnitude and random pruning at five levels, two epochs of fine-tuning, and the dense network as long."""
    common = {"model": "CifarNet", "width": 0.5, "scope": "global", "schedule": "one_shot", "lr": 0.1, "epochs": 2}
    points = [(method, level) for method in ("magnitude", "random") for level in (0.5, 0.8, 0.9, 0.95, 0.98)]
    return [
        common | {"method": method, "target_sparsity": level, "seed": seed}
        for seed in seeds
        for method, level in [("dense", 0.0), *points]
    ]


def builtin_methods(seeds: Iterable[int]) -> list[dict]:
    """Every built-in method of torch.nn.utils.prune in all layers, at six levels, without fine-tuning."""
    common = {"model": "CifarNet", "width": 0.5, "schedule": "one_shot"}
    arms = [
        common | {"scope": "global" if "global" in method else "layer", "method": method, "target_sparsity": level}
        for method in ("global_unstructured", *BUILTIN)
        for level in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    ]
    return [arm | {"seed": seed} for seed in seeds for arm in arms]


def criteria(seeds: Iterable[int]) -> list[dict]:
    """Every criterion, globally and layer by layer, at five levels; two epochs of fine-tuning at 80, 95 and 98 %."""
    common = {"model": "CifarNet", "width": 0.5, "schedule": "one_shot"}
    arms = [(method, scope) for method in CRITERIA if method != "filters_l1" for scope in ("global", "layer")]
    arms += [
        ("filters_l1", "layer"),
        ("magnitude", "sensitivity"),
        ("magnitude", "global, 2 % kept"),
        ("gradient", "global, 2 % kept"),
    ]
    points = [("dense", "global", 0.0), *((*arm, level) for level in (0.95, 0.8, 0.98, 0.5, 0.9) for arm in arms)]
    tuned = {"lr": 0.1, "epochs": 2}
    return [
        common | {"method": method, "scope": scope, "target_sparsity": level, "seed": seed}
        | (tuned if level not in (0.5, 0.9) else {"lr": "", "epochs": 0})
        for seed in seeds
        for method, scope, level in points
    ]  # fmt: skip


def sensitivity(seeds: Iterable[int]) -> list[dict]:
    """Each layer alone, pruned by magnitude at five levels, without fine-tuning."""
    common = {"model": "CifarNet", "width": 0.5, "method": "magnitude", "scope": "one layer", "schedule": "one_shot"}
    return [
        common | {"layer": layer, "target_sparsity": level, "seed": seed}
        for seed in seeds
        for layer in prunable_layers(CifarNet(0.1))
        for level in (0.2, 0.4, 0.6, 0.8, 0.9)
    ]


GRIDS = {
    "sparsity_curve": Grid(sparsity_curve, prune_and_finetune, extra=("epochs", "test_accuracy_before")),
    "builtin_methods": Grid(builtin_methods, prune_and_finetune),
    "criteria": Grid(criteria, prune_and_finetune, extra=("epochs", "test_accuracy_before", "prune_seconds")),
    "sensitivity": Grid(sensitivity, prune_and_finetune, extra=("layer",)),
}

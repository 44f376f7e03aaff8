"""What is measured: each grid is a plain list of configurations, and a run turns one of them into a row.

`helpers.sweeps` runs them. Behind the figures of the README and of notebooks 02 and 04.
"""

import copy
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import prune

from .data import Dataset
from .metrics import count_macs, latency
from .models import CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet
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
    up_to_date,
)
from .schedules import cubic, equal_steps, one_shot, prune_iteratively, prune_to
from .surgery import bridge_layer, channel_scan, drop_blocks, prune_channels, residual_blocks, shrink, widths_for_macs
from .training import autocast, evaluate, seed_everything, steps_in, to_float, train, trained

COLUMNS = (
    "dataset", "model", "width", "checkpoint", "method", "scope", "schedule", "target_sparsity", "achieved_sparsity", "seed",
    "steps", "batch_size", "lr", "accuracy_before", "val_accuracy", "test_accuracy", "seconds", "torch", "device",
)  # fmt: skip
GRADUAL = ("epochs", "until", "variant", "test_accuracy_batch_statistics")  # further columns of train_and_prune
CUT = (
    "epochs", "share", "blocks", "dropped", "macs", "dense_macs", "parameters", "latency_ms_1", "latency_ms_256",
    "reference_latency_ms", "test_accuracy_before",
)  # fmt: skip
DENSE_EPOCHS = 8  # of every grid's dense starting networks
SCAN_IMAGES = 1000  # validation images behind the amounts of the scope "sensitivity"
KEPT = 0.01  # of each layer's weights, in the scope "global, 1 % kept"


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


def cut_and_finetune(configuration: dict, data: Dataset) -> dict:
    """Make the seed's dense network narrower or shallower, fine-tune it, and measure accuracy, size and speed.

    Methods: "width, uniform", "width, guided" (by a channel scan on validation images) and "from scratch" (the uniform
    one's sizes, new weights, the steps of the dense training and the fine-tuning together) for a `share` of the MACs;
    "depth" drops so many `blocks`, those without which validation accuracy stays highest; "width, equal MACs" and
    "width, equal latency" are uniform, as large or as fast (at batch 256) as "depth". Latencies: one thread, fp32.
    """
    method, share, seed = configuration["method"], configuration["share"], configuration["seed"]
    model = dense_network(configuration, data)
    checkpoint, whole = f"{model.facts['checkpoint']}:{fingerprint(model)}", model
    few, dropped, reference = data.val.subset(SCAN_IMAGES), [], ""
    if configuration["blocks"]:
        without = {name: evaluate(drop_blocks(model, name), few).accuracy for name in residual_blocks(model)}
        dropped = sorted(without, key=without.get, reverse=True)[: configuration["blocks"]]
        shallow = drop_blocks(model, dropped)
        share = count_macs(shallow) / count_macs(model)
    if method == "depth":
        model = shallow
    elif method == "width, equal latency":
        model, reference = _as_fast_as(shallow, model)
    elif method != "dense":
        scan = (channel_scan(model, few), evaluate(model, few).accuracy) if method == "width, guided" else ()
        prune_channels(model, widths_for_macs(model, share, *scan))
        model = shrink(model)
    val, test = before = [evaluate(model, split).accuracy for split in (data.val, data.test)]
    recipe = {"epochs": configuration["epochs"], "lr": configuration["lr"]}
    if method == "from scratch":
        _start_again(model, seed)
        recipe = {"epochs": configuration["epochs"] + configuration.get("dense_epochs", DENSE_EPOCHS)}
    history = train(model, data, seed=seed, validate=False, progress=False, **recipe)
    val, test = (evaluate(model, split).accuracy for split in (data.val, data.test))
    times = {f"latency_ms_{size}": round(latency(model, size).median, 4) for size in (1, 256)}
    left, all_weights = (sparsity(network).size for network in (model, whole))
    return configuration | times | {
        "checkpoint": checkpoint, "achieved_sparsity": round(1 - left / all_weights, 6), "steps": history.steps,
        "batch_size": history.recipe["batch_size"], "accuracy_before": before[0], "test_accuracy_before": before[1],
        "val_accuracy": val, "test_accuracy": test, "macs": count_macs(model), "dense_macs": count_macs(whole),
        "parameters": sum(p.numel() for p in model.parameters()), "dropped": " ".join(dropped), "reference_latency_ms": reference,
    }  # fmt: skip


def _as_fast_as(reference: nn.Module, model: nn.Module) -> tuple[nn.Module, float]:
    """`model` with uniformly narrower layers, as fast as `reference` at batch 256: closest of a bisection, timed by turns."""
    low, high, tried = 0.0, 0.9, []
    for _ in range(7):
        narrow = copy.deepcopy(model)
        prune_channels(narrow, (low + high) / 2)
        narrow = shrink(narrow)
        ours, theirs = (latency(network, 256).median for network in (narrow, reference))
        tried.append((abs(ours / theirs - 1), narrow, round(theirs, 4)))
        low, high = ((low + high) / 2, high) if ours > theirs else (low, (low + high) / 2)
    return min(tried, key=lambda entry: entry[0])[1:]


def _start_again(model: nn.Module, seed: int) -> None:
    """New weights for a network of any widths, as a new `CifarNet` has them."""
    seed_everything(seed + 10_000)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for name in residual_blocks(model):
        nn.init.zeros_(model.get_submodule(name).bn2.weight)


def cut_by_hand(configuration: dict, data: Dataset) -> dict:
    """`SimpleNet`, trained and then cut by hand in width or depth; or the small network from scratch, for as many steps."""
    method, seed, epochs, dense_epochs = (configuration[name] for name in ("method", "seed", "epochs", "dense_epochs"))
    recipe = {"seed": seed, "validate": False, "progress": False}
    seed_everything(seed)
    if method.endswith("from scratch"):
        model = WidthPrunedNet() if method.startswith("width") else DepthPrunedNet()
        before, history = "", train(model, data, epochs=dense_epochs + epochs, lr=configuration["lr"], **recipe)
    else:
        model = SimpleNet()
        train(model, data, epochs=dense_epochs, lr=configuration["lr"], **recipe)
        if method == "depth":
            model = bridge_layer(model, data.train.images[:10_000])
        elif method == "width":
            prune_channels(model, {"layer2": 0.5})
            model = shrink(model)
        before = evaluate(model, data.val).accuracy
        history = train(model, data, epochs=epochs, lr=configuration["lr"] / 4, **recipe)
    return configuration | {
        "checkpoint": "", "width": "", "achieved_sparsity": 0.0, "steps": history.steps, "batch_size": history.recipe["batch_size"],
        "accuracy_before": before, "val_accuracy": evaluate(model, data.val).accuracy,
        "test_accuracy": evaluate(model, data.test).accuracy, "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


SCHEDULES = {  # name in the rows -> schedule of a sparsity and the share of the steps by which pruning ends
    "one_shot": lambda sparsity, until: one_shot(sparsity),
    **{f"equal_steps_{k}": lambda sparsity, until, k=k: equal_steps(sparsity, k, until) for k in (2, 4, 8)},
    "cubic_8": lambda sparsity, until: cubic(sparsity, 8, until),
}


def train_and_prune(configuration: dict, data: Dataset) -> dict:
    """Train the seed's dense network on while pruning it by a schedule, and measure.

    `variant` changes one thing: "reset optimiser" forgets momentum at every pruning; "no shuffling" takes the images in
    the same order in every epoch; "random mask" chooses at random; "re-initialised" trains the mask of instant
    magnitude pruning on new weights, for the steps of the dense training and the fine-tuning together.
    `test_accuracy_batch_statistics` reads the same network with BatchNorm statistics of test batches: a mistake, measured.
    """
    method, variant, seed, target = (configuration[name] for name in ("method", "variant", "seed", "target_sparsity"))
    model = dense_network(configuration, data)
    checkpoint = f"{model.facts['checkpoint']}:{fingerprint(model)}"
    recipe = {"epochs": configuration["epochs"], "lr": configuration["lr"], "seed": seed, "validate": False, "progress": False}
    before = ""
    if method == "dense":
        history = train(model, data, **recipe)
    elif variant == "re-initialised":
        prune_to(model, target)
        model = _new_weights_under_the_masks(model, seed)
        history = train(
            model,
            data,
            **recipe | {"epochs": configuration["epochs"] + configuration.get("dense_epochs", DENSE_EPOCHS), "lr": None},
        )
    else:
        schedule = SCHEDULES[configuration["schedule"]](target, configuration["until"])
        criterion = (lambda count: RandomPruning(count, seed)) if variant == "random mask" else MagnitudePruning
        prunings = {step for step, _ in schedule.steps(steps_in(data, configuration["epochs"]))}
        if configuration["schedule"] == "one_shot":
            pruned = copy.deepcopy(model)
            prune_to(pruned, target, criterion)
            before = evaluate(pruned, data.val).accuracy

        def on_step(step: int, optimiser: torch.optim.Optimizer) -> None:
            if variant == "reset optimiser" and step in prunings:
                optimiser.state.clear()

        recipe["shuffle"] = variant != "no shuffling"
        history = prune_iteratively(model, data, schedule, criterion=criterion, on_step=on_step, **recipe)
    return configuration | {
        "checkpoint": checkpoint, "achieved_sparsity": round(sparsity(model).fraction, 6), "steps": history.steps,
        "batch_size": history.recipe["batch_size"], "accuracy_before": before, "val_accuracy": evaluate(model, data.val).accuracy,
        "test_accuracy": evaluate(model, data.test).accuracy,
        "test_accuracy_batch_statistics": _accuracy_with_batch_statistics(model, data),
    }  # fmt: skip


def _new_weights_under_the_masks(model: CifarNet, seed: int) -> CifarNet:
    seed_everything(seed + 10_000)
    fresh = CifarNet(model.width)
    for name, layer in prunable_layers(model).items():
        prune.custom_from_mask(fresh.get_submodule(name), "weight", layer.weight_mask)
    return fresh


def _accuracy_with_batch_statistics(model: CifarNet, data: Dataset) -> float:
    """Test accuracy in training mode, on a copy: BatchNorm takes the statistics of each test batch of 500."""
    wrong = copy.deepcopy(up_to_date(model)).train()
    device, right = next(wrong.parameters()).device, 0
    with torch.no_grad(), autocast(device, "auto"):
        for images, labels in zip(data.test.images.split(500), data.test.labels.split(500), strict=True):
            right += int((wrong(to_float(images, device)).argmax(1).cpu() == labels).sum())
    return right / len(data.test)


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
        ("magnitude", "global, 1 % kept"),
        ("gradient", "global, 1 % kept"),
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


def depth_width(seeds: Iterable[int]) -> list[dict]:
    """Uniform, guided and from-scratch widths at three shares of the MACs (width 0.5); depth against width (width 1.0, three seeds)."""
    common = {"model": "CifarNet", "scope": "channels", "schedule": "one_shot", "target_sparsity": "", "lr": 0.1, "epochs": 3}
    shares = [(0.5, method, share, 0) for share in (0.5, 0.25, 0.75) for method in ("width, uniform", "width, guided")]
    scratch = [(0.5, "from scratch", share, 0) for share in (0.5, 0.25, 0.75)]
    blocks = [(1.0, method, "", k) for k in (1, 2, 3) for method in ("depth", "width, equal MACs", "width, equal latency")]
    three = [*scratch, *blocks, (1.0, "dense", "", 0)]
    return [
        common | {"width": width, "method": method, "share": share, "blocks": k, "seed": seed}
        for seed in seeds
        for width, method, share, k in [(0.5, "dense", "", 0), *shares, *(three if seed < 3 else [])]
    ]


def by_hand(seeds: Iterable[int]) -> list[dict]:
    """The fully connected trio: cut in width and depth with the weights carried over, and from scratch."""
    methods = ("dense", "width", "depth", "width, from scratch", "depth, from scratch")
    common = {"model": "SimpleNet", "scope": "units", "schedule": "one_shot", "target_sparsity": "", "lr": 0.05}
    return [common | {"method": method, "epochs": 1, "dense_epochs": 4, "seed": seed} for seed in seeds for method in methods]


def _gradual(seeds: Iterable[int], points: Iterable[tuple], epochs: float = 3) -> list[dict]:
    """Configurations of `train_and_prune` for (method, schedule, until, variant, sparsity, lr) points."""
    common = {"model": "CifarNet", "width": 0.5, "scope": "global", "epochs": epochs}
    names = ("method", "schedule", "until", "variant", "target_sparsity", "lr")
    return [common | dict(zip(names, point, strict=True)) | {"seed": seed} for seed in seeds for point in points]


def gradual_pruning(seeds: Iterable[int]) -> list[dict]:
    """The same final sparsity in 1, 2, 4 and 8 equal prunings, at equal steps: 90 and 98 %, ten seeds."""
    rounds = ("one_shot", "equal_steps_2", "equal_steps_4", "equal_steps_8")
    return _gradual(seeds, [("magnitude", name, 0.6, "", level, 0.1) for level in (0.9, 0.98) for name in rounds])


PILOT_SEED = 100  # pilot seeds are 100 and 101, which no other grid reaches
PILOT_RATES = (0.05, 0.1, 0.2)
ARMS = {"instant": "one_shot", "gradual": "equal_steps_8", "cubic": "cubic_8"}


def gradual_pilot(seeds: Iterable[int]) -> list[dict]:
    """Peak learning rates for each arm of gradual against instant, on two pilot seeds, at 80 and 95 %."""
    arms = [("magnitude", name, 0.6, "", level) for level in (0.8, 0.95) for name in ARMS.values()]
    points = [(*arm, lr) for lr in PILOT_RATES for arm in [*arms, ("dense", "none", 0.6, "", 0.0)]]
    return _gradual([PILOT_SEED + seed for seed in seeds], points)


GRIDS = {
    "sparsity_curve": Grid(sparsity_curve, prune_and_finetune, extra=("epochs", "test_accuracy_before")),
    "builtin_methods": Grid(builtin_methods, prune_and_finetune),
    "criteria": Grid(criteria, prune_and_finetune, extra=("epochs", "test_accuracy_before", "prune_seconds")),
    "sensitivity": Grid(sensitivity, prune_and_finetune, extra=("layer",)),
    "by_hand": Grid(by_hand, cut_by_hand, extra=("epochs", "dense_epochs", "parameters")),
    "depth_width": Grid(depth_width, cut_and_finetune, extra=CUT),
    "gradual_pruning": Grid(gradual_pruning, train_and_prune, extra=GRADUAL, seeds=10),
    "gradual_pilot": Grid(gradual_pilot, train_and_prune, extra=GRADUAL, seeds=2),
}

"""What one run of a grid does: a configuration goes in, a row comes out. `experiments.grids` lists the configurations."""

import copy
import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import torch
from torch import nn
from torch.nn.utils import prune

from experiments.networks import dense_network, fingerprint
from helpers.checkpoints import load_network, save_network
from helpers.criteria import (
    GradientPruning,
    MagnitudePruning,
    PercentilePruning,
    RandomPruning,
    TaylorPruning,
    prune_globally,
    prune_layers,
)
from helpers.data import REPOSITORY, Dataset, Split
from helpers.devices import autocast, eval_mode, pick_device, seed_everything, to_float
from helpers.masks import mask_overlap, masks_of, prunable_layers, sparsity, up_to_date
from helpers.metrics import count_macs
from helpers.models import CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet
from helpers.schedules import cubic, equal_steps, geometric, one_shot, prune_iteratively, prune_to
from helpers.sensitivity import amounts_from_sensitivity, sensitivity_scan
from helpers.surgery import bridge_layer, channel_scan, drop_blocks, prune_channels, residual_blocks, shrink, widths_for_macs
from helpers.training import History, evaluate, recalibrate, steps_in, train

DEPLOYED_SEEDS = 3
CONFOUND_SEEDS = 5  # seeds and sparsities at which networks are also read in training mode, a mistake
CONFOUND_LEVELS = (0.8, 0.9, 0.95)
CONSTANT_IMAGES = 200  # training images that show which channels are constant
SCAN_IMAGES = 1000  # validation images behind the amounts of the scope "sensitivity"
SCAN_AMOUNTS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98)  # up to the highest total that a grid asks of it
KEPT = 0.01  # of each layer's weights, in the scope "global, 1 % kept"


def _dense(configuration: dict, data: Dataset) -> CifarNet:
    return dense_network(configuration["width"], configuration["seed"], data, configuration.get("dense_epochs"))


def prepare_dense(configuration: dict, data: Dataset) -> dict:
    """See to it that the seed's dense network is there, and name it as the rows of its runs do, in `checkpoint`."""
    _, row = _from_dense(configuration, data)
    return row


def _from_dense(configuration: dict, data: Dataset) -> tuple[CifarNet, dict]:
    """The dense network, and the row so far: the configuration and the network's fingerprint."""
    model = _dense(configuration, data)
    return model, configuration | {"checkpoint": fingerprint(model)}


def accuracy(model: nn.Module, split: Split) -> float:
    """Accuracy in fp32, so that it does not depend on what a machine computes in."""
    return evaluate(model, split, precision="fp32").accuracy


def _after(model: nn.Module, data: Dataset, history: History) -> dict:
    """The columns that every run ends with."""
    return {
        "achieved_sparsity": round(sparsity(model).fraction, 6), "steps": history.steps,
        "batch_size": history.recipe.get("batch_size", ""), "val_accuracy": accuracy(model, data.val),
        "test_accuracy": accuracy(model, data.test),
    }  # fmt: skip


FACTS = (  # what makes one fine-tuned network another
    "model", "width", "method", "scope", "schedule", "target_sparsity", "share", "blocks", "until", "lr", "epochs",
    "dense_epochs", "seed",
)  # fmt: skip


def kept(configuration: dict, data: Dataset) -> Path:
    """Where a fine-tuned network of a configuration is kept, for the grid `deploy`: a file in build/networks."""
    told = joblib.hash([data.label, torch.__version__, *(str(configuration.get(name, "")) for name in FACTS)])
    return REPOSITORY / "build" / "networks" / f"kept-{told}.pth"


def _keep(model: nn.Module, configuration: dict, data: Dataset) -> None:
    """Keep the networks of the first seeds, which `deploy` measures."""
    if configuration["seed"] < DEPLOYED_SEEDS and not configuration.get("variant"):
        save_network(model, kept(configuration, data), dataset=data.label)


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
            torch.manual_seed(seed + 10_000)  # not the numbers that the weights were drawn from
            for layer in layers[:-1] if method.endswith("dim0") else layers[1:] if method.endswith("dim1") else layers:
                BUILTIN[method](layer, amount)
    elif scope == "sensitivity":
        few = data.val.subset(SCAN_IMAGES)
        scan = sensitivity_scan(model, few, SCAN_AMOUNTS)
        counts = amounts_from_sensitivity(model, scan, accuracy(model, few), amount, SCAN_AMOUNTS)
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
    return _pruned_and_finetuned(configuration, data)[1]


def prune_and_recalibrate(configuration: dict, data: Dataset) -> dict:
    """Prune the seed's dense network, measure BatchNorm's statistics anew from `images` (or leave the old ones), and evaluate."""
    model, row = _from_dense(configuration, data)
    prune_as_told(model, configuration, data)
    if configuration["images"] != "none":
        recalibrate(model, data, augment=configuration["images"] == "augmented")
    return row | _after(model, data, History()) | {"lr": "", "accuracy_before": ""}


def finetune_and_correct(configuration: dict, data: Dataset) -> dict:
    """`prune_and_finetune`, and what constant channels have to do with it: see `_with_known_constants`.

    `empty_filters` is the share of the first layer's filters that have no weight left, `test_accuracy_corrected` the
    accuracy of the network whose BatchNorm knows its `constant_channels`.
    """
    model, row = _pruned_and_finetuned(configuration, data)
    first = next(iter(prunable_layers(model).values()))
    return (
        row | _constants(model, data) | {"empty_filters": (masks_of(model)[first].flatten(1).sum(1) == 0).float().mean().item()}
    )


def _constants(model: CifarNet, data: Dataset) -> dict:
    corrected, count = _with_known_constants(model, data.train.images[:CONSTANT_IMAGES])
    corrected_accuracy = accuracy(corrected, data.test) if count else ""
    return {"constant_channels": count, "test_accuracy_corrected": corrected_accuracy}


def _with_known_constants(model: CifarNet, images: torch.Tensor) -> tuple[CifarNet, int]:
    """A copy in which BatchNorm's running mean of constant channels is that constant, and how many such channels there are.

    What reads from empty filters only is the same for all images. In training BatchNorm subtracts its value exactly; in
    evaluation it subtracts a running mean that lags behind, and divides by a spread of almost zero: a small error becomes
    a large signal. Channels that are zero are not counted.
    """
    network, handles, counts = copy.deepcopy(up_to_date(model)), [], []

    def correct(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        constant = variance < 1e-6 * mean**2
        norm.running_mean[constant] = mean[constant]
        counts.append(int(constant.sum()))

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(correct))
    with eval_mode(network), torch.no_grad():
        network(to_float(images, next(network.parameters()).device))
    for handle in handles:
        handle.remove()
    return network, sum(counts)


def _pruned_and_finetuned(configuration: dict, data: Dataset) -> tuple[CifarNet, dict]:
    model, row = _from_dense(configuration, data)
    start = time.perf_counter()
    prune_as_told(model, configuration, data)
    row = {"lr": ""} | row | {"prune_seconds": round(time.perf_counter() - start, 3)} | _after(model, data, History())
    row |= {"accuracy_before": row["val_accuracy"], "test_accuracy_before": row["test_accuracy"]}
    if configuration.get("epochs"):
        recipe = {name: configuration[name] for name in ("epochs", "lr", "seed")}
        row |= _after(model, data, train(model, data, validate=False, progress=False, **recipe))
    return model, row


def cut_and_finetune(configuration: dict, data: Dataset) -> dict:
    """Make the seed's dense network narrower or shallower, fine-tune it, and measure accuracy and size.

    Methods: "width, uniform", "width, guided" (by a channel scan on validation images) and "from scratch" (the uniform
    one's sizes, new weights) for a `share` of the MACs; "depth" drops so many `blocks`, those without which validation
    accuracy stays highest; "width, equal MACs" is uniform and as large as "depth". Accuracies before are those of the
    carried-over weights, and empty from scratch. How fast those of width 1.0 are says experiments/benchmarks/depth_width_speed.py.
    """
    method, seed = configuration["method"], configuration["seed"]
    whole, row = _from_dense(configuration, data)
    dropped, shallow = _without_blocks(whole, configuration["blocks"], data)
    if method in ("dense", "depth"):
        model = copy.deepcopy(shallow)
    elif method == "width, equal MACs":
        model = as_large_as(shallow, whole)
    else:
        few, share = data.val.subset(SCAN_IMAGES), configuration["share"]
        scan = (channel_scan(whole, few), accuracy(whole, few)) if method == "width, guided" else ()
        model = with_share_of_macs(whole, share, *scan)
    row |= {"accuracy_before": accuracy(model, data.val), "test_accuracy_before": accuracy(model, data.test)}
    if method == "from scratch":
        _start_again(model, seed)
        row |= {"accuracy_before": "", "test_accuracy_before": ""}
    recipe = {name: configuration[name] for name in ("epochs", "lr", "seed")}
    row |= _after(model, data, train(model, data, validate=False, progress=False, **recipe))
    _keep(model, configuration, data)
    return row | {
        "achieved_sparsity": round(1 - sparsity(model).size / sparsity(whole).size, 6),
        "macs": count_macs(model), "dense_macs": count_macs(whole), "parameters": sum(p.numel() for p in model.parameters()),
        "dropped": " ".join(sorted(dropped)), "reference_macs": count_macs(shallow) if configuration["blocks"] else "",
    }  # fmt: skip


def _without_blocks(model: CifarNet, count: int, data: Dataset) -> tuple[list[str], CifarNet]:
    """The names of the `count` blocks without which validation accuracy stays highest, and the network without them."""
    if not count:
        return [], model
    few = data.val.subset(SCAN_IMAGES)
    without = {name: accuracy(drop_blocks(model, name), few) for name in residual_blocks(model)}
    dropped = sorted(without, key=without.get, reverse=True)[:count]
    return dropped, drop_blocks(model, dropped)


def as_large_as(reference: nn.Module, model: nn.Module) -> nn.Module:
    """A uniformly narrower copy of `model` with as many MACs as `reference`."""
    return with_share_of_macs(model, count_macs(reference) / count_macs(model))


def with_share_of_macs(model: nn.Module, share: float, *scan) -> nn.Module:
    """A narrower copy with a share of the MACs: uniform, or guided by what a channel scan found (see `widths_for_macs`)."""
    narrow = copy.deepcopy(model)
    prune_channels(narrow, widths_for_macs(model, share, *scan))
    return shrink(narrow)


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
    recipe = {"lr": configuration["lr"], "seed": seed, "validate": False, "progress": False}
    seed_everything(seed)
    if method.endswith("from scratch"):
        model = WidthPrunedNet() if method.startswith("width") else DepthPrunedNet()
        before, history = "", train(model, data, epochs=dense_epochs + epochs, **recipe)
    else:
        model = SimpleNet()
        train(model, data, epochs=dense_epochs, **recipe | {"lr": configuration["dense_lr"]})
        if method == "depth":
            model = bridge_layer(model, data.train.images[:10_000])
        elif method == "width":
            prune_channels(model, {"layer2": 0.5})
            model = shrink(model)
        before = accuracy(model, data.val)
        history = train(model, data, epochs=epochs, **recipe)
    return configuration | _after(model, data, history) | {
        "checkpoint": "", "width": "", "accuracy_before": before, "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


GRADUAL = (  # columns of train_and_prune
    "epochs", "until", "variant", "train_seconds", "least_left", "constant_channels",
    "test_accuracy_corrected", "test_accuracy_batches_of_500", "test_accuracy_batches_of_20",
)  # fmt: skip
WATCHED = ("curve_images", "curve", "overlap_one_shot", "overlap_other_seed", "overlap_by_chance")  # and where it is watched
SCHEDULES = {  # name in the rows -> schedule of a sparsity and the share of the steps by which pruning ends
    "one_shot": lambda sparsity, until: one_shot(sparsity),
    **{f"equal_steps_{k}": lambda sparsity, until, k=k: equal_steps(sparsity, k, until) for k in (2, 4, 8)},
    "geometric_8": lambda sparsity, until: geometric(sparsity, 8, until),
    "cubic_8": lambda sparsity, until: cubic(sparsity, 8, until),
}


def train_and_prune(configuration: dict, data: Dataset) -> dict:
    """Train the seed's dense network on while pruning it by a schedule, and measure.

    `variant` changes one thing: "reset optimiser" forgets momentum at every pruning; "no shuffling" takes the images in
    the same order in every epoch; "random mask" chooses at random; "re-initialised" trains the mask of instant magnitude
    pruning on new weights. `test_accuracy_batches_of_500` and `…_20` read the same network in training mode, where
    BatchNorm takes the statistics of each test batch: a mistake, measured for `CONFOUND_SEEDS` and `CONFOUND_LEVELS`.
    With `curve_images`, so many validation images are looked at on the way, and the final mask is compared with others:
    see `_watch` and `_overlaps`. `train_seconds` are those of training, prunings and looks; `least_left` is the smallest
    share of weights that any layer keeps; for `constant_channels` see `_with_known_constants`.
    """
    method, variant, target, watched = (configuration.get(k) for k in ("method", "variant", "target_sparsity", "curve_images"))
    model, row = _from_dense(configuration, data)
    dense = copy.deepcopy(model)
    recipe = {name: configuration[name] for name in ("epochs", "lr", "seed")} | {"validate": False, "progress": False}
    row["accuracy_before"] = ""
    if variant == "re-initialised":
        prune_to(model, target)
        model = _new_weights_under_the_masks(model, configuration["seed"])
        history = train(model, data, **recipe)
    else:
        total = steps_in(data, configuration["epochs"])
        schedule = SCHEDULES[configuration["schedule"]](target, configuration["until"]) if method != "dense" else None
        prunings = [step for step, _ in schedule.steps(total)] if schedule else []
        curve, look = _watch(model, data.val.subset(watched), prunings, total) if watched else ([], None)

        def on_step(step: int, optimiser: torch.optim.Optimizer) -> None:
            if variant == "reset optimiser" and step in prunings:
                optimiser.state.clear()
            if look:
                look(step)

        recipe |= {"on_step": on_step, "shuffle": variant != "no shuffling"}
        if schedule is None:
            history = train(model, data, **recipe)
        else:
            choose_at_random = lambda count: RandomPruning(count, configuration["seed"])  # noqa: E731
            criterion = choose_at_random if variant == "random mask" else MagnitudePruning
            if configuration["schedule"] == "one_shot":
                row["accuracy_before"] = accuracy(_pruned_at_once(dense, target, criterion), data.val)
            history = prune_iteratively(model, data, schedule, criterion=criterion, **recipe)
        if look:
            look(total)
            row["curve"] = " ".join(f"{step}:{accuracy:.4f}" for step, accuracy in curve)
    row |= _after(model, data, history) | _constants(model, data) | {"train_seconds": round(history.seconds, 2)}
    row["least_left"] = round(min(1 - share for *_, share in sparsity(model).rows()), 6)
    _keep(model, configuration, data)
    if watched and method != "dense":
        row |= _overlaps(model, dense, configuration, data)
    if configuration["seed"] < CONFOUND_SEEDS and target in CONFOUND_LEVELS:
        for size in (500, 20):
            row[f"test_accuracy_batches_of_{size}"] = _accuracy_in_training_mode(model, data, size)
    return dict.fromkeys((*GRADUAL, *WATCHED), "") | row


def _watch(model: CifarNet, images: Split, prunings: list[int], total: int) -> tuple[list, Callable[[int], None]]:
    """A list of (step, accuracy) pairs, and what fills it: at 18 places, one step before each pruning and after it."""
    curve = [(0, accuracy(model, images))]
    places = {*range(0, total, max(1, total // 18)), total, *prunings, *(step - 1 for step in prunings)}

    def look(step: int) -> None:
        if step in places:
            curve.append((step, accuracy(model, images)))

    return curve, look


def _pruned_at_once(dense: CifarNet, target: float, criterion: Callable = MagnitudePruning) -> CifarNet:
    network = copy.deepcopy(dense)
    prune_to(network, target, criterion)
    return network


def _overlaps(model: CifarNet, dense: CifarNet, configuration: dict, data: Dataset) -> dict:
    """How many of the weights that either mask keeps both keep (Jaccard index): with instant pruning of the same dense
    network, and of another seed's, whose chance is stated too."""
    target, seed = configuration["target_sparsity"], configuration["seed"]
    other = _dense(configuration | {"seed": seed - 1 if seed else 1}, data)
    same, _ = mask_overlap(model, _pruned_at_once(dense, target))
    apart, chance = mask_overlap(model, _pruned_at_once(other, target))
    return {"overlap_one_shot": round(same, 4), "overlap_other_seed": round(apart, 4), "overlap_by_chance": round(chance, 4)}


def _new_weights_under_the_masks(model: CifarNet, seed: int) -> CifarNet:
    seed_everything(seed + 10_000)
    fresh = CifarNet(model.width).to(pick_device())
    for name, layer in prunable_layers(model).items():
        prune.custom_from_mask(fresh.get_submodule(name), "weight", layer.weight_mask)
    return fresh


def _accuracy_in_training_mode(model: CifarNet, data: Dataset, size: int) -> float:
    """Test accuracy in training mode, on a copy: BatchNorm takes the statistics of each test batch of that size."""
    wrong = copy.deepcopy(up_to_date(model)).train()
    device, right = next(wrong.parameters()).device, 0
    with torch.no_grad(), autocast(device, "auto"):
        for images, labels in zip(data.test.images.split(size), data.test.labels.split(size), strict=True):
            right += int((wrong(to_float(images, device)).argmax(1).cpu() == labels).sum())
    return right / len(data.test)


def deploy(configuration: dict, data: Dataset) -> dict:
    """Measure a network that another grid has fine-tuned, as it would be shipped: an ONNX file, in fp32 or int8, in onnxruntime.

    Nothing is trained where that grid ran on this machine; elsewhere its run is repeated first. Times are taken by turns with a
    dense network of width 1.0: `time_share_…` is the share of its time, which holds where a machine drifts. Start it with
    `--jobs 1`: what runs beside it disturbs it.
    """
    from helpers.deploy import export_onnx, onnx_accuracy, onnx_latencies, quantise_onnx

    path = kept(configuration, data)
    if not path.exists():
        {"depth_width": cut_and_finetune, "gradual_pruning": train_and_prune}[configuration["source"]](configuration, data)
    model = load_network(path)
    row = configuration | {"checkpoint": fingerprint(model), "accuracy_before": "", "steps": 0, "batch_size": ""}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        export_onnx(model, file)
        if configuration["precision"] == "int8":
            quantise_onnx(file, file, data.train)
        row |= {
            "val_accuracy": onnx_accuracy(file, data.val), "test_accuracy": onnx_accuracy(file, data.test),
            "file_bytes": file.stat().st_size, "zipped_bytes": len(gzip.compress(file.read_bytes())),
        }  # fmt: skip
        export_onnx(CifarNet(), Path(folder, "dense.onnx"))  # new weights take as long as trained ones
        for size in (1, 256):
            own, dense = onnx_latencies([file, Path(folder, "dense.onnx")], size)
            row |= {f"latency_ms_{size}": round(own.median, 4), f"time_share_{size}": round(own.relative_to(dense), 4)}
    return row | {
        "achieved_sparsity": round(sparsity(model).fraction, 6), "macs": count_macs(model), "backend": "cpu",
        "parameters": sum(p.numel() for p in model.parameters()), "threads": torch.get_num_threads(),
    }  # fmt: skip

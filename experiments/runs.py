"""What one run of a grid does: a configuration goes in, a row comes out. `experiments.grids` lists the configurations.

Accuracies of rows are measured in fp32: `accuracy_before` and `test_accuracy_before` right after pruning,
`accuracy_recalibrated` and `test_accuracy_recalibrated` after `recalibrate`, `val_accuracy` and `test_accuracy` at the end.
"""

import copy
import gzip
import math
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import joblib
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from experiments.networks import dense_network, fingerprint
from helpers.checkpoints import load_network, save_network
from helpers.criteria import (
    GradientPruning,
    MagnitudePruning,
    PercentilePruning,
    RandomPruning,
    TaylorPruning,
    WandaPruning,
    prune_globally,
    prune_layers,
)
from helpers.data import REPOSITORY, Dataset, Split
from helpers.devices import pick_device
from helpers.masks import mask_of, prunable_layers, sparsity
from helpers.metrics import count_macs
from helpers.models import CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, resnet20
from helpers.schedules import Schedule, cubic, equal_steps, geometric, one_shot, prune_iteratively
from helpers.sensitivity import widths_for_macs
from helpers.surgery import drop_blocks, prune_channels, residual_blocks, shrink
from helpers.training import RECIPE, History, augmented_batches, evaluate, recalibrate, train

DEPLOYED_SEEDS = 3
BLOCK_IMAGES = 1000  # validation images that say which blocks matter least
KEPT = 0.01  # of each layer's weights, in the method "magnitude, 1 % kept"


def prepare_dense(configuration: dict, data: Dataset) -> dict:
    """See to it that the seed's dense network is there, and name it as the rows of its runs do, in `checkpoint`."""
    return _from_dense(configuration, data)[1]


def _from_dense(configuration: dict, data: Dataset) -> tuple[CifarNet, dict]:
    """The dense network, and the row so far: the configuration and the network's fingerprint."""
    model = dense_network(configuration["width"], configuration["seed"], data, configuration.get("dense_epochs"))
    return model, configuration | {"checkpoint": fingerprint(model)}


def accuracy(model: nn.Module, split: Split) -> float:
    """Accuracy in fp32, so that it does not depend on what a machine computes in."""
    return evaluate(model, split, precision="fp32").accuracy


def measured(model: nn.Module, data: Dataset, ending: str = "") -> dict:
    """Validation and test accuracy, as columns of one of the three moments: "_before", "_recalibrated" or "" for the end."""
    name = f"accuracy{ending}" if ending else "val_accuracy"
    return {name: accuracy(model, data.val), f"test_accuracy{ending}": accuracy(model, data.test) if len(data.test) else ""}


def masks_of(model: nn.Module) -> dict[nn.Module, Tensor]:
    """The mask of every Conv2d and Linear, by layer; ones where nothing is pruned, even if a weight is zero."""
    return {layer: mask_of(layer) for layer in prunable_layers(model).values()}


def _recalibrated(model: nn.Module, data: Dataset) -> nn.Module:
    again = copy.deepcopy(model)
    recalibrate(again, data, precision="fp32")
    return again


def _without_training(model: nn.Module, data: Dataset) -> dict:
    """Accuracies before and after `recalibrate`, which runs on a copy."""
    return measured(model, data, "_before") | measured(_recalibrated(model, data), data, "_recalibrated")


UNMEASURED = dict.fromkeys(("accuracy_before", "test_accuracy_before", "accuracy_recalibrated", "test_accuracy_recalibrated"), "")


def _finetune(model: nn.Module, row: dict, data: Dataset) -> dict:
    """The row at its end: trained on where it has epochs, else as recalibrated."""
    if row["epochs"]:
        history = train(model, data, **recipe_of(row))
        return row | _end(model, data, history)
    end = {"val_accuracy": row["accuracy_recalibrated"], "test_accuracy": row["test_accuracy_recalibrated"]}
    return row | {"achieved_sparsity": round(sparsity(model).fraction, 6), "steps": 0} | end


def recipe_of(configuration: dict) -> dict:
    """What `train` is called with."""
    recipe = {name: configuration[name] for name in ("epochs", "batch_size", "lr", "seed")}
    return recipe | {"validate": False, "progress": False}


def _end(model: nn.Module, data: Dataset, history: History) -> dict:
    """The columns that every run ends with."""
    return {"achieved_sparsity": round(sparsity(model).fraction, 6), "steps": history.steps} | measured(model, data)


# ---- networks that `deploy` measures

FACTS = (  # what makes one fine-tuned network another
    "model", "width", "method", "scope", "schedule", "target_sparsity", "share", "blocks", "rounded", "until", "lr", "epochs",
    "dense_epochs", "seed",
)  # fmt: skip


def kept(configuration: dict, data: Dataset) -> Path:
    """Where a fine-tuned network of a configuration is kept, for the grid `deploy`: a file in build/networks."""
    checksum = joblib.hash([data.label, torch.__version__, *(str(configuration.get(name, "")) for name in FACTS)])
    return REPOSITORY / "build" / "networks" / f"kept-{checksum}.pth"


def _keep(model: nn.Module, configuration: dict, data: Dataset) -> None:
    """Keep the networks of the first seeds, which `deploy` measures."""
    if configuration["seed"] < DEPLOYED_SEEDS:
        save_network(model, kept(configuration, data), dataset=data.label)


# ---- single weights and filters

CRITERIA = {  # method -> criterion of a sparsity and a seed
    "magnitude": lambda amount, seed: MagnitudePruning(amount),
    "magnitude, 1 % kept": lambda amount, seed: MagnitudePruning(amount),
    "percentile": lambda amount, seed: PercentilePruning(amount / 2, 1 - amount / 2),
    "random": lambda amount, seed: RandomPruning(amount, seed),
    "gradient": lambda amount, seed: GradientPruning(amount),
    "taylor": lambda amount, seed: TaylorPruning(amount),
    "wanda": lambda amount, seed: WandaPruning(amount),
    "filters_l1": lambda amount, seed: MagnitudePruning(amount, dim=0),
    "filters_random": lambda amount, seed: RandomPruning(amount, seed, dim=0),
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


def prune_by(model: nn.Module, configuration: dict, data: Dataset) -> None:
    """Prune a network by a configuration's method, scope and target sparsity; the method "dense" prunes nothing.

    Slices spare what would change the task: dim 0 the last layer (its rows are the classes), dim 1 the first (its
    input channels are the colors).
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
    elif method == "shuffled magnitude":  # magnitude's count in each layer, at places drawn by chance (Su et al. 2020)
        ranked = copy.deepcopy(model)
        prune_globally(ranked, [MagnitudePruning(amount)])
        counts = [int((mask == 0).sum()) for mask in masks_of(ranked).values()]
        prune_layers({layer: [RandomPruning(count, seed)] for layer, count in zip(layers, counts, strict=True)})
    elif method == "channels":
        prune_channels(model, {configuration["layer"]: amount})
    elif scope == "global":
        prune_globally(model, [CRITERIA[method](amount, seed)], data=data, min_kept=KEPT if "kept" in method else 0)
    else:
        if scope == "one layer":
            layers = [model.get_submodule(configuration["layer"])]
        elif method.startswith("filters"):
            layers = layers[:-1]
        prune_layers({layer: [CRITERIA[method](amount, seed)] for layer in layers}, model=model, data=data)


def prune_and_finetune(configuration: dict, data: Dataset) -> dict:
    """Prune the seed's dense network, and fine-tune it with the masks in place (where `epochs` says so)."""
    model, row = _from_dense(configuration, data)
    start = time.perf_counter()
    prune_by(model, configuration, data)
    row["prune_seconds"] = round(time.perf_counter() - start, 3)
    return _finetune(model, row | _without_training(model, data), data)


def scan_one(configuration: dict, data: Dataset) -> dict:
    """`prune_and_finetune` on validation images alone: a scan is there to choose by."""
    return prune_and_finetune(configuration, replace(data, test=data.test.subset(0)))


def _augmented(data: Dataset) -> Dataset:
    """The training images that `recalibrate` takes, shifted and mirrored as in training."""
    few = data.train.subset(5000)
    options = {"shift": RECIPE["shift"], "flip": data.name == "cifar10", "shuffle": False}
    batches = augmented_batches(few, 500, math.ceil(len(few) / 500), 0, torch.device("cpu"), **options)
    images = [images.mul(255).round().to(torch.uint8) for images, _ in batches]
    return replace(data, train=Split(torch.cat(images), few.labels))


def recalibrate_both_ways(configuration: dict, data: Dataset) -> dict:
    """`prune_and_finetune`, and at the end statistics from plain and from augmented images, each on a copy."""
    model, row = _from_dense(configuration, data)
    prune_by(model, configuration, data)
    row = _finetune(model, row | _without_training(model, data), data)
    for images, source in (("plain", data), ("augmented", _augmented(data))):
        again = _recalibrated(model, source)
        row |= {f"val_{images}": accuracy(again, data.val), f"test_{images}": accuracy(again, data.test)}
    return row


def prune_published(configuration: dict, data: Dataset) -> dict:
    """Prune the public ResNet-20 and fine-tune it; the seed is that of the order of the images."""
    model = resnet20(pretrained=True).to(pick_device())
    row = configuration | {"checkpoint": fingerprint(model)}
    prune_by(model, configuration, data)
    return _finetune(model, row | _without_training(model, data), data)


# ---- schedules


def schedule_of(configuration: dict) -> Schedule:
    """The schedule that a configuration names: `one_shot`, `equal_steps_8`, `geometric_2`, `cubic_8`, or `two`."""
    name, sparsity, until = (configuration[key] for key in ("schedule", "target_sparsity", "until"))
    if name == "one_shot":
        return one_shot(sparsity)
    if name == "two":  # the first before the first step, the second after the share `until` of the steps
        return Schedule((configuration["first"], sparsity), until)
    kind, _, number = name.rpartition("_")
    return {"equal_steps": equal_steps, "geometric": geometric, "cubic": cubic}[kind](sparsity, int(number), until)


def prune_while_training(configuration: dict, data: Dataset) -> dict:
    """Train the seed's dense network on while a schedule prunes it, globally by magnitude (or at random), and measure.

    `train_seconds` are those of training and prunings; `least_left` is the smallest share of weights that any layer keeps.
    """
    model, row = _from_dense(configuration, data)
    recipe = recipe_of(configuration)
    row |= UNMEASURED
    if configuration["method"] == "dense":
        history = train(model, data, **recipe)
    else:
        schedule, seed = schedule_of(configuration), configuration["seed"]
        if configuration["schedule"] == "one_shot":
            at_once = copy.deepcopy(model)
            prune_by(at_once, configuration, data)
            row |= _without_training(at_once, data)
        criterion = (lambda count: RandomPruning(count, seed)) if configuration["method"] == "random" else MagnitudePruning
        history = prune_iteratively(model, data, schedule, criterion=criterion, **recipe)
    kept_shares = [float(mask.float().mean()) for mask in masks_of(model).values()]
    row |= {"train_seconds": round(history.seconds, 2), "least_left": round(min(kept_shares), 6)}
    _keep(model, configuration, data)
    return row | _end(model, data, history)


# ---- channels and blocks


def cut_and_finetune(configuration: dict, data: Dataset) -> dict:
    """Make the seed's dense network narrower or shallower, fine-tune it, and measure accuracy and size.

    Methods: "width" for a `share` of the MACs, or for as many as without `blocks`; "from scratch" takes its sizes and new
    weights; "depth" drops so many `blocks`, those without which validation accuracy stays highest. Channel counts are
    multiples of 16 where that is within 5 % of the MACs, else of 8; where `rounded` is False, any.
    """
    method, share, blocks = (configuration[name] for name in ("method", "share", "blocks"))
    dense, row = _from_dense(configuration, data)
    dropped = _least_needed_blocks(dense, blocks, data) if blocks else []
    shallow = drop_blocks(dense, dropped)
    if method in ("dense", "depth"):
        model = shallow
    else:
        share = share or count_macs(shallow) / count_macs(dense)
        model = with_share_of_macs(dense, share, rounded=configuration["rounded"])
    if method == "from scratch":
        start_again(model, configuration["seed"])
        row |= UNMEASURED
    else:
        row |= _without_training(model, data)
    row = _finetune(model, row, data)
    _keep(model, configuration, data)
    return row | {
        "achieved_sparsity": round(1 - sparsity(model).size / sparsity(dense).size, 6),
        "macs": count_macs(model), "dense_macs": count_macs(dense), "parameters": sum(p.numel() for p in model.parameters()),
        "dropped": " ".join(sorted(dropped)), "reference_macs": count_macs(shallow) if blocks else "",
    }  # fmt: skip


def _least_needed_blocks(model: CifarNet, count: int, data: Dataset) -> list[str]:
    """The names of the `count` blocks without which validation accuracy, recalibrated, stays highest."""
    few, left = data.val.subset(BLOCK_IMAGES), {}
    for name in residual_blocks(model):
        left[name] = accuracy(_recalibrated(drop_blocks(model, name), data), few)
    return sorted(left, key=left.get, reverse=True)[:count]


def with_share_of_macs(model: nn.Module, share: float, rounded: bool = True) -> nn.Module:
    """A uniformly narrower copy with a share of the MACs; channel counts as `cut_and_finetune` says."""
    for round_to in (16, 8) if rounded else (1,):
        narrow = copy.deepcopy(model)
        prune_channels(narrow, widths_for_macs(model, share, round_to=round_to), round_to=round_to)
        narrow = shrink(narrow)
        if math.isclose(count_macs(narrow), share * count_macs(model), rel_tol=0.05):
            break
    return narrow


def start_again(model: nn.Module, seed: int) -> None:
    """New weights for a network of any widths, in place, as a new `CifarNet` has them."""
    torch.manual_seed(seed + 10_000)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for name in residual_blocks(model):
        nn.init.zeros_(model.get_submodule(name).bn2.weight)


def cut_by_hand(configuration: dict, data: Dataset) -> dict:
    """`SimpleNet`, trained and then cut by hand in width or depth; or the small network from scratch, for as many steps."""
    method, seed, epochs, dense_epochs = (configuration[name] for name in ("method", "seed", "epochs", "dense_epochs"))
    recipe = recipe_of(configuration)
    row = configuration | {"checkpoint": "", "width": ""}
    torch.manual_seed(seed)
    if method.endswith("from scratch"):
        model = WidthPrunedNet() if method.startswith("width") else DepthPrunedNet()
        row |= UNMEASURED
        history = train(model, data, **recipe | {"epochs": dense_epochs + epochs})
    else:
        model = SimpleNet()
        train(model, data, **recipe | {"epochs": dense_epochs, "lr": configuration["dense_lr"]})
        if method == "depth":
            model = bridge_layer(model, data.train.images[:10_000])
        elif method == "width":
            prune_channels(model, {"layer2": 0.5})
            model = shrink(model)
        row |= UNMEASURED | measured(model, data, "_before")
        history = train(model, data, **recipe)
    row["parameters"] = sum(p.numel() for p in model.parameters())
    return row | _end(model, data, history)


def bridge_layer(model: SimpleNet, images: torch.Tensor) -> DepthPrunedNet:
    """A `DepthPrunedNet` with the weights of a `SimpleNet`, whose last layer stands in for the two that it replaces.

    It is the linear map from `layer2`'s outputs that comes closest to the logits, in the sense of least squares, on
    `images` (uint8 [N, 3, H, W]).

    Example:
        >>> bridge_layer(SimpleNet(), torch.randint(256, (300, 3, 32, 32), dtype=torch.uint8)).layer3
        Linear(in_features=128, out_features=10, bias=True)
    """
    shallow = DepthPrunedNet(model.layer1.in_features, model.layer4.out_features)
    for name in ("layer1", "layer2"):
        shallow.get_submodule(name).load_state_dict(model.get_submodule(name).state_dict())
    with torch.no_grad():
        x = images.float() / 255
        inside = model.layer2(model.layer1(x.flatten(1)).relu()).relu()  # [N, 128]
        inside = torch.cat([inside, torch.ones(len(inside), 1)], 1)  # [N, 129]: the last column is for the bias
        solution = torch.linalg.lstsq(inside, model(x), driver="gelsd").solution  # [129, 10]
        shallow.layer3.weight.copy_(solution[:-1].T)
        shallow.layer3.bias.copy_(solution[-1])
    return shallow


# ---- shipping


def deploy(configuration: dict, data: Dataset) -> dict:
    """Measure a network that another grid has fine-tuned, as it would be shipped: an ONNX file, in fp32 or int8, in onnxruntime.

    Nothing is trained where that grid ran on this machine; elsewhere its run is repeated first. Times are taken by turns with a
    dense network of width 1.0: `time_share_…` is the share of its time, which holds where a machine drifts. Start it with
    `--jobs 1`: what runs beside it disturbs it.
    """
    from helpers.deploy import export_onnx, onnx_accuracy, onnx_latencies, quantize_onnx

    path = kept(configuration, data)
    if not path.exists():
        repeat = {"depth_width": cut_and_finetune, "gradual_vs_instant": prune_while_training}[configuration["source"]]
        repeat(configuration, data)
    model = load_network(path)
    row = configuration | UNMEASURED | {"checkpoint": fingerprint(model), "steps": 0}
    with tempfile.TemporaryDirectory() as folder:
        file, dense_file = Path(folder, "network.onnx"), Path(folder, "dense.onnx")
        export_onnx(model, file)
        export_onnx(CifarNet(), dense_file)  # new weights take as long as trained ones
        if configuration["precision"] == "int8":
            quantize_onnx(file, file, data.train)
        row |= {
            "val_accuracy": onnx_accuracy(file, data.val), "test_accuracy": onnx_accuracy(file, data.test),
            "file_bytes": file.stat().st_size, "zipped_bytes": len(gzip.compress(file.read_bytes())),
        }  # fmt: skip
        for size in (1, 256):
            latency, dense_latency = onnx_latencies([file, dense_file], size)
            row[f"latency_ms_{size}"] = round(latency.median, 4)
            shares = [time / dense for time, dense in zip(latency.times, dense_latency.times, strict=True)]  # drift cancels
            row[f"time_share_{size}"] = round(statistics.median(shares), 4)
    return row | {
        "achieved_sparsity": round(sparsity(model).fraction, 6), "macs": count_macs(model), "backend": "cpu",
        "parameters": sum(p.numel() for p in model.parameters()), "threads": torch.get_num_threads(),
    }  # fmt: skip

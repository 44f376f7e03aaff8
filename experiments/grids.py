"""What is measured: each grid lists configurations, and `experiments.runs` turns one of them into a row.

`python -m experiments NAME` runs a grid. Behind the figures of the README and of the notebooks.
"""

from collections.abc import Iterable

from experiments.runner import Grid
from helpers import CifarNet, prunable_layers

from .runs import (
    BUILTIN,
    CONFOUND_LEVELS,
    CONFOUND_SEEDS,
    CRITERIA,
    DEPLOYED_SEEDS,
    GRADUAL,
    WATCHED,
    cut_and_finetune,
    cut_by_hand,
    deploy,
    finetune_and_correct,
    prepare_dense,
    prune_and_finetune,
    prune_and_recalibrate,
    train_and_prune,
)

# rate and epochs of dense training and fine-tuning behind the rows in results/
FROM_SCRATCH = {"lr": 0.4, "epochs": 11}

CONSTANTS = ("epochs", "test_accuracy_before", "empty_filters", "constant_channels", "test_accuracy_corrected")
DEPLOYED = (
    "network", "backend", "source", "epochs", "until", "variant", "share", "blocks", "parameters", "macs", "file_bytes",
    "zipped_bytes", "latency_ms_1", "latency_ms_256", "time_share_1", "time_share_256", "threads",
)  # fmt: skip
CUT = (
    "epochs", "share", "blocks", "dropped", "macs", "dense_macs", "reference_macs", "parameters", "test_accuracy_before",
)  # fmt: skip


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


def constant_channels(seeds: Iterable[int]) -> list[dict]:
    """Five rows of criteria a seed (95 %, fine-tuned) once more: what constant channels have to do with their accuracy."""
    arms = [("gradient", "layer"), ("taylor", "layer"), ("percentile", "global"), ("random", "layer"), ("magnitude", "layer")]
    return [
        next(c for c in criteria([seed]) if (c["method"], c["scope"], c["target_sparsity"]) == (method, scope, 0.95))
        for seed in seeds
        for method, scope in arms
    ]


def sensitivity(seeds: Iterable[int]) -> list[dict]:
    """Each layer alone, pruned by magnitude at five levels, without fine-tuning."""
    common = {"model": "CifarNet", "width": 0.5, "method": "magnitude", "scope": "one layer", "schedule": "one_shot"}
    return [
        common | {"layer": layer, "target_sparsity": level, "seed": seed}
        for seed in seeds
        for layer in prunable_layers(CifarNet(0.1))
        for level in (0.2, 0.4, 0.6, 0.8, 0.9)
    ]


def recalibration(seeds: Iterable[int]) -> list[dict]:
    """BatchNorm's statistics measured anew from plain and from augmented images, dense and pruned, without fine-tuning."""
    common = {"model": "CifarNet", "width": 0.5, "schedule": "one_shot"}
    prunings = [
        ("dense", "global", 0.0),
        *(("magnitude", "global", level) for level in (0.5, 0.8, 0.9, 0.95)),
        ("filters_l1", "layer", 0.2),
    ]
    return [
        common | {"method": method, "scope": scope, "target_sparsity": level, "images": images, "seed": seed}
        for seed in seeds
        for method, scope, level in prunings
        for images in ("none", "plain", "augmented")
    ]


def depth_width(seeds: Iterable[int]) -> list[dict]:
    """Depth against width (width 1.0, three seeds); uniform, guided and from-scratch widths at three shares of the MACs (width 0.5).

    Width by width and seed by seed: when it is stopped, at most a seed or two are unfinished, and others may be measured elsewhere.
    """
    seeds = list(seeds)
    common = {"model": "CifarNet", "scope": "channels", "schedule": "one_shot", "target_sparsity": ""}
    large = [(1.0, "dense", "", 0), *((1.0, method, "", k) for k in (1, 2, 3) for method in ("depth", "width, equal MACs"))]
    shares = [(0.5, method, share, 0) for share in (0.5, 0.25, 0.75) for method in ("width, uniform", "width, guided")]
    scratch = [(0.5, "from scratch", share, 0) for share in (0.5, 0.25, 0.75)]
    every = [(seed, *kind) for seed in seeds if seed < 3 for kind in large]
    every += [(seed, *kind) for seed in seeds for kind in [(0.5, "dense", "", 0), *shares, *(scratch if seed < 3 else [])]]
    return [
        common
        | {"width": width, "method": method, "share": share, "blocks": k, "seed": seed}
        | (FROM_SCRATCH if method == "from scratch" else {"lr": 0.1, "epochs": 3})
        for seed, width, method, share, k in every
    ]


def deployed(seeds: Iterable[int]) -> list[dict]:
    """Networks of depth_width and gradual_pruning as ONNX files, in fp32 and (without masks) in int8."""
    cut = [
        c | {"until": "", "variant": "", "source": "depth_width", "network": _cut_name(c)}
        for c in depth_width(seeds)
        if c["method"] != "width, guided"
    ]
    masked = [
        c | {"share": "", "blocks": "", "source": "gradual_pruning", "network": f"half width, {c['target_sparsity']:.0%} masked"}
        for c in gradual_pruning(seeds)
        if c["schedule"] == "one_shot"
    ]
    for c in masked:
        del c["curve_images"]  # watching a training changes nothing of what comes out
    both = [c | {"precision": "int8", "network": c["network"] + ", int8"} for c in cut]
    return [c | {"precision": "fp32"} for c in cut + masked] + both


def _cut_name(c: dict) -> str:
    """What the reader calls a network of `depth_width`."""
    if c["width"] == 0.5:
        share = f", {c['share']:.0%} of the MACs" if c["share"] else ""
        return f"half width{share}{', from scratch' if c['method'] == 'from scratch' else ''}"
    without = f"without {c['blocks']} block{'s' if c['blocks'] > 1 else ''}"
    return {"dense": "dense", "depth": without}.get(c["method"], f"narrower, MACs as {without}")


def by_hand(seeds: Iterable[int]) -> list[dict]:
    """The fully connected trio: cut in width and depth with the weights carried over, and from scratch."""
    methods = ("dense", "width", "depth", "width, from scratch", "depth, from scratch")
    common = {
        "model": "SimpleNet",
        "scope": "units",
        "schedule": "one_shot",
        "target_sparsity": "",
        "epochs": 1,
        "dense_epochs": 4,
    }
    rates = {method: 0.05 if "scratch" in method else 0.0125 for method in methods}  # of the steps that a row counts
    return [
        common | {"method": method, "lr": lr, "dense_lr": 0.05, "seed": seed} for seed in seeds for method, lr in rates.items()
    ]


def _gradual(seeds: Iterable[int], points: Iterable[tuple], width: float = 0.5) -> list[dict]:
    """Configurations of `train_and_prune` for (method, schedule, until, variant, sparsity, lr) points."""
    common = {"model": "CifarNet", "width": width, "scope": "global", "epochs": 3}
    names = ("method", "schedule", "until", "variant", "target_sparsity", "lr")
    return [common | dict(zip(names, point, strict=True)) | {"seed": seed} for seed in seeds for point in points]


def gradual_pruning(seeds: Iterable[int]) -> list[dict]:
    """The same final sparsity in 1, 2, 4 and 8 equal prunings, at equal steps: 90 and 98 %, ten seeds; watched on the way."""
    rounds = ("one_shot", "equal_steps_2", "equal_steps_4", "equal_steps_8")
    return [c | {"curve_images": 500} for c in _gradual(seeds, _rated([DENSE, *_arms((0.9, 0.98), rounds)]))]


PILOT_SEED = 100  # pilot seeds are 100 and 101, which no other grid reaches
PILOT_RATES = (0.05, 0.1, 0.2)
FINE_TUNING_RATES = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
ARMS = ("one_shot", "equal_steps_8", "cubic_8")  # instant, gradual, and gradual with most of it early
LEVELS = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
# by width and schedule: the peak rates with the best mean validation accuracy in the pilot; a test compares
RATES = {
    0.5: {"none": 0.1, "one_shot": 0.2, "equal_steps_8": 0.2, "cubic_8": 0.2},
    1.0: {"none": 0.2, "one_shot": 0.2, "equal_steps_8": 0.2, "cubic_8": 0.2},
}


DENSE = ("dense", "none", 0.6, "", 0.0)


def _arms(levels: Iterable[float], schedules: Iterable[str] = ARMS) -> list[tuple]:
    return [("magnitude", name, 0.6, "", level) for level in levels for name in schedules]


def _rated(points: Iterable[tuple], width: float = 0.5, factor: int = 1) -> list[tuple]:
    """Points with the peak rates that the pilot chose; other numbers of equal prunings take that of eight."""
    rates = RATES[width]
    return [(*point, factor * rates.get(point[1], rates["equal_steps_8"])) for point in points]


def _pilot(seeds: Iterable[int], levels: Iterable[float], width: float) -> list[dict]:
    points = [(*point, lr) for lr in PILOT_RATES for point in [*_arms(levels), DENSE]]
    return _gradual([PILOT_SEED + seed for seed in seeds], points, width)


def pilot(seeds: Iterable[int]) -> list[dict]:
    """Peak learning rates of four epochs of fine-tuning at half width: dense, instant, gradual in three kinds, random masks.

    On two pilot seeds, at 80 and 95 %. A best rate at either end of `FINE_TUNING_RATES` calls for a wider range.
    """
    points = [("dense", "none", 0.6, "", 0.0)]
    for level in (0.95, 0.8):
        points += [("magnitude", name, 0.6, "", level) for name in ("one_shot", "equal_steps_8", "geometric_8", "cubic_8")]
        points.append(("magnitude", "one_shot", 0.6, "random mask", level))
    rated = [(*point, lr) for point in points for lr in FINE_TUNING_RATES]
    return [c | {"epochs": 4} for c in _gradual([PILOT_SEED + seed for seed in seeds], rated)]


def gradual_pilot(seeds: Iterable[int]) -> list[dict]:
    """Peak learning rates for each arm of gradual against instant, on two pilot seeds, at 80 and 95 %."""
    return _pilot(seeds, (0.8, 0.95), 0.5)


def gradual_pilot_wide(seeds: Iterable[int]) -> list[dict]:
    """Peak learning rates for gradual_vs_instant_wide, on two pilot seeds, at 95 %."""
    return _pilot(seeds, (0.95,), 1.0)


def gradual_vs_instant(seeds: Iterable[int]) -> list[dict]:
    """Instant, gradual and cubic pruning at eight sparsities (ten seeds); controls, and one mistake at a time (five).

    Seed by seed. Each arm at its own peak rate; "re-initialised" takes the steps and the rate of dense training and fine-tuning
    together.
    """
    points = [DENSE, *_arms(LEVELS)] + [("magnitude", name, 0.3, "", level) for level in (0.9, 0.95, 0.98) for name in ARMS[1:]]
    few = [
        ("magnitude", "one_shot", 0.6, name, level) for level in (0.8, 0.95, 0.99) for name in ("random mask", "re-initialised")
    ]
    mistakes = [(ARMS[1], "reset optimiser"), (ARMS[0], "no shuffling"), (ARMS[1], "no shuffling")]
    few += [("magnitude", name, 0.6, variant, level) for level in CONFOUND_LEVELS for name, variant in mistakes]
    found = [c for seed in seeds for c in _gradual([seed], _rated(points + (few if seed < CONFOUND_SEEDS else [])))]
    return [c | FROM_SCRATCH if c["variant"] == "re-initialised" else c for c in found]


def gradual_vs_instant_wide(seeds: Iterable[int]) -> list[dict]:
    """Instant, gradual and cubic pruning at the same eight sparsities, width 1.0 (ten seeds). Meant for a GPU."""
    return _gradual(seeds, _rated([DENSE, *_arms(LEVELS)], 1.0), 1.0)


def gradual_checks(seeds: Iterable[int]) -> list[dict]:
    """Gradual against instant at twice the peak rate, and with four times the training: 90, 95 and 98 %, five seeds."""
    arms = _arms((0.9, 0.95, 0.98))
    doubled, usual = _rated(arms, factor=2), _rated([DENSE, *arms])
    return [c for s in seeds for c in _gradual([s], doubled) + [c | {"epochs": 12} for c in _gradual([s], usual)]]


GRIDS = {
    "sparsity_curve": Grid(sparsity_curve, prune_and_finetune, prepare_dense, ("epochs", "test_accuracy_before")),
    "builtin_methods": Grid(builtin_methods, prune_and_finetune, prepare_dense),
    "criteria": Grid(criteria, prune_and_finetune, prepare_dense, ("epochs", "test_accuracy_before", "prune_seconds")),
    "constant_channels": Grid(constant_channels, finetune_and_correct, prepare_dense, CONSTANTS),
    "recalibration": Grid(recalibration, prune_and_recalibrate, prepare_dense, ("images",)),
    "sensitivity": Grid(sensitivity, prune_and_finetune, prepare_dense, ("layer",)),
    "by_hand": Grid(by_hand, cut_by_hand, extra=("epochs", "dense_epochs", "dense_lr", "parameters")),
    "depth_width": Grid(depth_width, cut_and_finetune, prepare_dense, CUT),
    "gradual_pruning": Grid(gradual_pruning, train_and_prune, prepare_dense, GRADUAL + WATCHED, seeds=10),
    "pilot": Grid(pilot, train_and_prune, prepare_dense, GRADUAL, seeds=2),
    "gradual_pilot": Grid(gradual_pilot, train_and_prune, prepare_dense, GRADUAL, seeds=2),
    "gradual_vs_instant": Grid(gradual_vs_instant, train_and_prune, prepare_dense, GRADUAL, seeds=10),
    "gradual_checks": Grid(gradual_checks, train_and_prune, prepare_dense, GRADUAL),
    "gradual_pilot_wide": Grid(gradual_pilot_wide, train_and_prune, prepare_dense, GRADUAL, seeds=2),
    "gradual_vs_instant_wide": Grid(gradual_vs_instant_wide, train_and_prune, prepare_dense, GRADUAL, seeds=10),
    "deploy": Grid(deployed, deploy, extra=DEPLOYED, seeds=DEPLOYED_SEEDS),
}

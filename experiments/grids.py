"""What is measured: each grid lists configurations, and `experiments.runs` turns one of them into a row.

`python -m experiments NAME` runs a grid, `python -m experiments all` all of them in the order of `GRIDS`. In every comparison
all arms start from the same dense networks and take as many steps. Peak learning rates (`RATES`) are those that were best on
validation in `pilot`, at the nearest level.
"""

from collections.abc import Iterable
from itertools import product

from experiments.networks import EPOCHS
from experiments.runner import Grid
from experiments.runs import (
    BUILTIN,
    cut_and_finetune,
    cut_by_hand,
    deploy,
    prepare_dense,
    prune_and_finetune,
    prune_published,
    prune_while_training,
    recalibrate_both_ways,
    scan_one,
)
from helpers.masks import prunable_layers
from helpers.models import CifarNet
from helpers.surgery import channel_groups

PILOT_SEED = 100  # pilot seeds are 100 and 101, which no other grid reaches
PILOT_RATES = {  # by method and level, each until the best rate lies inside
    ("dense", 0.0): (0.05, 0.1, 0.2, 0.4, 0.8),
    ("magnitude", 0.8): (0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
    ("magnitude", 0.95): (0.1, 0.2, 0.4, 0.8, 1.6),
    ("random", 0.8): (0.1, 0.2, 0.4, 0.8, 1.6, 3.2),
    ("random", 0.95): (0.1, 0.2, 0.4, 0.8, 1.6, 3.2),
}
FINE_TUNING = {"epochs": 4, "batch_size": 500}
# a dense network's epochs and those of fine-tuning together, in the batches and at the rate that dense networks are trained with
FROM_SCRATCH = {"epochs": EPOCHS["cifar10"] + FINE_TUNING["epochs"], "batch_size": 125, "lr": 0.3}
# peak rates by family of arms and level: the best mean validation accuracy over the pilot's seeds and, for magnitude, schedules;
# depth, width and published are guesses until their pilots are measured
RATES = {
    "dense": {0.0: 0.2},
    "magnitude": {0.8: 0.1, 0.95: 0.8},
    "random": {0.8: 0.8, 0.95: 1.6},
    "taylor": {0.8: 0.1, 0.95: 0.8},
    "gradient": {0.8: 0.4, 0.95: 0.8},
    "wanda": {0.8: 0.4, 0.95: 0.8},
    "shuffled magnitude": {0.8: 0.1, 0.95: 0.8},
    "magnitude, layer by layer": {0.8: 0.4, 0.95: 0.8},
    "taylor, layer by layer": {0.8: 0.1, 0.95: 0.8},
    "depth": {0.0: 0.2},
    "width": {0.0: 0.2},
    "published": {0.0: 0.1},
}
GLOBAL = ("magnitude", "taylor", "gradient", "wanda", "random", "percentile", "magnitude, 1 % kept", "shuffled magnitude")
LAYERWISE = ("magnitude", "taylor", "random", "filters_l1", "filters_random")
SCHEDULES = ("one_shot", "equal_steps_8", "geometric_8", "cubic_8")
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.98)
FINE_TUNED_LEVELS = (0.8, 0.95, 0.98)
UNTUNED = {"epochs": 0, "batch_size": "", "lr": ""}


def _rate(family: str, level: float = 0.0) -> dict:
    """Epochs, batch size and peak learning rate of fine-tuning for a family of arms: that of the nearest level with a rate."""
    nearest = min(RATES[family], key=lambda known: abs(known - level))
    return FINE_TUNING | {"lr": RATES[family][nearest]}


def _pruned(method: str, scope: str, level: float, **others) -> dict:
    common = {"model": "CifarNet", "width": 0.5, "schedule": "one_shot"}
    return common | {"method": method, "scope": scope, "target_sparsity": level} | others


def _with_seeds(arms: Iterable[dict], seeds: Iterable[int]) -> list[dict]:
    """Seed by seed, so that a grid which is stopped has whole seeds."""
    return [arm | {"seed": seed} for seed, arm in product(seeds, list(arms))]


def recalibration(seeds: Iterable[int]) -> list[dict]:
    """BatchNorm's statistics measured anew from plain and from augmented images: dense and pruned; two of them after 1 and 4 epochs too.

    Both ways are measured on the same network, so that its rate need not be the best one.
    """
    at_once = [_pruned("dense", "global", 0.0), _pruned("filters_l1", "layer", 0.2), _pruned("filters_random", "layer", 0.2)]
    at_once += [_pruned("magnitude", "global", level) for level in (0.5, 0.8, 0.9, 0.95)]
    fine_tuned = [arm for arm in at_once if arm["target_sparsity"] == 0.95 or arm["method"] == "filters_l1"]
    arms = [arm | UNTUNED for arm in at_once]
    arms += [arm | FINE_TUNING | {"epochs": epochs, "lr": 0.4} for arm in fine_tuned for epochs in (1, 4)]
    return sorted(_with_seeds(arms, seeds), key=lambda c: c["epochs"])  # what takes no training first


def builtin_methods(seeds: Iterable[int]) -> list[dict]:
    """Every built-in method of torch.nn.utils.prune in all layers, at six levels, without fine-tuning."""
    levels = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    arms = [_pruned("global_unstructured", "global", level) for level in levels]
    arms += [_pruned(method, "layer", level) for method in BUILTIN for level in levels]
    return _with_seeds((arm | UNTUNED for arm in arms), seeds)


def sensitivity(seeds: Iterable[int]) -> list[dict]:
    """One layer alone: its weights by magnitude, and whole channels of one group alone; on validation images."""
    names = {"magnitude": prunable_layers(CifarNet(0.1)), "channels": channel_groups(CifarNet(0.25))}
    arms = [
        _pruned(method, "one layer", level) | UNTUNED | {"layer": layer}
        for method in names
        for layer, level in product(names[method], (0.2, 0.4, 0.6, 0.8, 0.9))
    ]
    return _with_seeds(arms, seeds)


def _arm(method: str, scope: str, level: float) -> dict:
    """An arm of `criteria`; without a rate of its own, whole filters have that of random choice and others that of magnitude."""
    name = f"{method}, layer by layer" if scope == "layer" else method
    family = name if name in RATES else "random" if "random" in method or "filters" in method else "magnitude"
    return _pruned(method, scope, level) | _rate(family, level)


def criteria(seeds: Iterable[int]) -> list[dict]:
    """Criteria at five levels, before and after recalibration; at 80, 95 and 98 % fine-tuned too."""
    arms = [_pruned("dense", "global", 0.0) | _rate("dense")]
    for level in (0.95, 0.8, 0.98, 0.5, 0.9):
        for method, scope in [(method, "global") for method in GLOBAL] + [(method, "layer") for method in LAYERWISE]:
            arms.append(_arm(method, scope, level) | ({} if level in FINE_TUNED_LEVELS else UNTUNED))
    return _with_seeds(arms, seeds)


def pilot_criteria(seeds: Iterable[int]) -> list[dict]:
    """Peak learning rates of the arms of `criteria` that are neither in `pilot` nor emptied: at 80 and 95 %, one pilot seed."""
    arms = [("taylor", "global"), ("gradient", "global"), ("shuffled magnitude", "global")]
    arms += [("magnitude", "layer"), ("taylor", "layer")]
    plan = [(*arm, 0.8, rate) for arm in [*arms, ("wanda", "global")] for rate in (0.1, 0.4, 0.8)]
    plan += [(*arm, 0.95, rate) for arm in arms for rate in (0.4, 0.8, 1.6)]
    lowest_was_best = (("taylor", "global"), ("shuffled magnitude", "global"), ("taylor", "layer"))
    plan += [(*arm, 0.8, 0.05) for arm in lowest_was_best]
    configurations = [_arm(method, scope, level) | {"lr": rate} for method, scope, level, rate in plan]
    return _with_seeds(configurations, (PILOT_SEED + seed for seed in seeds))


def _gradual(schedule: str, level: float, until: float = 0.6, first: float | str = "", **others) -> dict:
    """Global magnitude pruning to `level` by a schedule, its last pruning after the share `until` of the steps."""
    common = _pruned("magnitude", "global", level) | _rate("magnitude", level)
    return common | {"schedule": schedule, "until": until, "first": first} | others


def _dense_as_long() -> dict:
    return _gradual("none", 0.0, method="dense", **_rate("dense"))


def pilot(seeds: Iterable[int]) -> list[dict]:
    """Peak learning rates of four epochs of fine-tuning: dense, at random, instant and gradual, at 80 and 95 %, two pilot seeds.

    A best rate at either end of `PILOT_RATES` calls for a wider range.
    """
    arms = [_dense_as_long()]
    for level in (0.95, 0.8):
        arms += [_gradual(schedule, level) for schedule in SCHEDULES] + [_gradual("one_shot", level, method="random")]
    at_rates = (arm | {"lr": rate} for arm in arms for rate in PILOT_RATES[arm["method"], arm["target_sparsity"]])
    return _with_seeds(at_rates, (PILOT_SEED + seed for seed in seeds))


def gradual_vs_instant(seeds: Iterable[int]) -> list[dict]:
    """Instant, equal, geometric and cubic pruning (8 prunings, the last at 60 % of the steps) at five levels; dense as long."""
    arms = [_dense_as_long(), *(_gradual(schedule, level) for level, schedule in product(LEVELS, SCHEDULES))]
    return _with_seeds(arms, seeds)


def rounds(seeds: Iterable[int]) -> list[dict]:
    """Two and four geometric prunings to 90 and 98 %; one and eight are in `gradual_vs_instant`."""
    names = ("geometric_2", "geometric_4")
    return _with_seeds((_gradual(name, level) for level, name in product((0.9, 0.98), names)), seeds)


def why(seeds: Iterable[int]) -> list[dict]:
    """Two prunings to 95 %: what the first leaves for the second, and when the second comes; instant is in `gradual_vs_instant`.

    Written down before it was run: the accuracy lost against instant pruning is explained by the size of the last cut and the
    steps and rate left after it.
    """
    firsts, places = (0.0, 0.5, 0.8, 0.9, 0.94), (0.1, 0.3, 0.6)
    return _with_seeds((_gradual("two", 0.95, until=until, first=first) for first, until in product(firsts, places)), seeds)


def long(seeds: Iterable[int]) -> list[dict]:
    """Instant and gradual pruning with sixteen epochs, at 90, 95 and 98 %; dense as long."""
    arms = [_dense_as_long(), *(_gradual(schedule, level) for level, schedule in product((0.9, 0.95, 0.98), SCHEDULES))]
    return _with_seeds((arm | {"epochs": 16} for arm in arms), seeds)


def depth_width(seeds: Iterable[int]) -> list[dict]:
    """Width 1.0: blocks fewer, as many MACs by width, half and a quarter of the MACs by width; kept weights and new ones."""
    common = {"model": "CifarNet", "width": 1.0, "scope": "channels", "schedule": "one_shot", "target_sparsity": ""}
    common |= {"share": "", "blocks": 0, "rounded": True}
    arms = [common | {"method": "dense"} | _rate("dense")]
    for blocks in (2, 1, 3):
        arms.append(common | {"method": "depth", "blocks": blocks} | _rate("depth"))
        arms.append(common | {"method": "width", "blocks": blocks} | _rate("width"))
    arms.append(common | {"method": "width", "blocks": 2, "rounded": False} | _rate("width"))
    for share in (0.5, 0.25):
        arms.append(common | {"method": "width", "share": share} | _rate("width"))
        arms.append(common | {"method": "width", "share": share} | FROM_SCRATCH | {"epochs": FINE_TUNING["epochs"]})
        arms.append(common | {"method": "from scratch", "share": share} | FROM_SCRATCH)
    return _with_seeds(arms, seeds)


def pilot_width(seeds: Iterable[int]) -> list[dict]:
    """Peak learning rates for the kept weights of `depth_width`: dense, two blocks fewer, half of the MACs; one pilot seed."""
    wanted = [("dense", "", 0), ("depth", "", 2), ("width", 0.5, 0)]
    arms = [
        arm for arm in depth_width([0]) if (arm["method"], arm["share"], arm["blocks"]) in wanted and arm["batch_size"] == 500
    ]
    return [arm | {"lr": rate, "seed": PILOT_SEED + seed} for seed in seeds for arm in arms for rate in (0.1, 0.2, 0.4)]


def by_hand(seeds: Iterable[int]) -> list[dict]:
    """The fully connected trio: cut in width and depth with the weights carried over, and from scratch."""
    common = {"model": "SimpleNet", "scope": "units", "schedule": "one_shot", "target_sparsity": "", "epochs": 1}
    common |= {"dense_epochs": 4, "dense_lr": 0.1, "batch_size": 125}
    rates = {"dense": 0.025, "width": 0.025, "depth": 0.025, "width, from scratch": 0.1, "depth, from scratch": 0.1}
    return _with_seeds((common | {"method": method, "lr": rate} for method, rate in rates.items()), seeds)


def published(seeds: Iterable[int]) -> list[dict]:
    """The public ResNet-20: dense, and global magnitude pruning at the sparsities of Renda et al. 2020, ten epochs."""
    common = {"model": "ResNet-20", "width": "", "scope": "global", "schedule": "one_shot"}
    arms = [common | {"method": "dense", "target_sparsity": 0.0} | UNTUNED]
    recipe = _rate("published") | {"epochs": 10, "batch_size": 128}
    arms += [common | {"method": "magnitude", "target_sparsity": level} | recipe for level in (0.488, 0.79, 0.893)]
    return _with_seeds(arms, seeds)


def deployed(seeds: Iterable[int]) -> list[dict]:
    """Networks of `depth_width` and, with masks, of `gradual_vs_instant` as ONNX files, in fp32 and (without masks) in int8."""
    empty = dict.fromkeys(("until", "first", "share", "blocks", "rounded"), "")
    seeds, networks = list(seeds), []
    for arm in depth_width(seeds):
        if arm["batch_size"] == FINE_TUNING["batch_size"]:
            networks.append(empty | arm | {"source": "depth_width", "precision": "fp32"})
    for arm in gradual_vs_instant(seeds):
        if arm["target_sparsity"] == 0.9 and arm["schedule"] == "one_shot" or arm["method"] == "dense":
            networks.append(empty | arm | {"source": "gradual_vs_instant", "precision": "fp32"})
    unmasked = [network for network in networks if network["target_sparsity"] != 0.9]
    return networks + [network | {"precision": "int8"} for network in unmasked]


SIZES = ("parameters", "macs", "dense_macs", "reference_macs")
WAYS = ("val_plain", "test_plain", "val_augmented", "test_augmented")
SCHEDULE = ("until", "first", "train_seconds", "least_left")
CUT = ("share", "blocks", "rounded", "dropped")
SHIPPED = (
    "source", "backend", "file_bytes", "zipped_bytes", "latency_ms_1", "latency_ms_256", "time_share_1", "time_share_256", "threads",
)  # fmt: skip
GRIDS = {  # in the order in which they are run where time is short
    "recalibration": Grid(recalibration, recalibrate_both_ways, prepare_dense, WAYS),
    "pilot": Grid(pilot, prune_while_training, prepare_dense, SCHEDULE, seeds=2),
    "pilot_criteria": Grid(pilot_criteria, prune_and_finetune, prepare_dense, ("prune_seconds",), seeds=1),
    "criteria": Grid(criteria, prune_and_finetune, prepare_dense, ("prune_seconds",)),
    "gradual_vs_instant": Grid(gradual_vs_instant, prune_while_training, prepare_dense, SCHEDULE, seeds=10),
    "rounds": Grid(rounds, prune_while_training, prepare_dense, SCHEDULE, seeds=10),
    "why": Grid(why, prune_while_training, prepare_dense, SCHEDULE),
    "builtin_methods": Grid(builtin_methods, prune_and_finetune, prepare_dense, ("prune_seconds",)),
    "sensitivity": Grid(sensitivity, scan_one, prepare_dense, ("layer", "prune_seconds")),
    "by_hand": Grid(by_hand, cut_by_hand, extra=("dense_epochs", "dense_lr", "parameters")),
    "pilot_width": Grid(pilot_width, cut_and_finetune, prepare_dense, CUT + SIZES, seeds=1),
    "depth_width": Grid(depth_width, cut_and_finetune, prepare_dense, CUT + SIZES),
    "published": Grid(published, prune_published, extra=("prune_seconds",), seeds=3),
    "deploy": Grid(
        deployed, deploy, extra=("until", "first", "share", "blocks", "rounded", "macs", "parameters", *SHIPPED), seeds=3
    ),
    "long": Grid(long, prune_while_training, prepare_dense, SCHEDULE),
}

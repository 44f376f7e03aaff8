"""Grids: every arm of a comparison gets the same, and every kind of run gives a row of the schema."""

import pytest
import torch
from torch.nn.utils import prune

from experiments import runs
from experiments.benchmarks.depth_width_speed import SHAPE, networks_of
from experiments.grids import GRIDS, RATES
from experiments.runner import COLUMNS, run_one
from helpers import CifarNet, evaluate, load_dataset, prunable_layers, read_results, seed_everything
from helpers.metrics import count_macs

PILOTS = {0.5: "gradual_pilot", 1.0: "gradual_pilot_wide"}  # by width
CHOSEN = {*PILOTS.values(), "gradual_checks", "pilot"}  # grids in which rates, or the length, are part of the question
SMALL = {"width": 0.15, "dense_epochs": 2, "epochs": 0.3}


@pytest.mark.parametrize("name", GRIDS)
def test_configurations_are_distinct_and_alike(name):
    grid = GRIDS[name]
    everything = grid.everything
    assert len({tuple(sorted(c.items(), key=str)) for c in everything}) == len(everything)
    assert len({frozenset(c) for c in everything}) == 1 and set(everything[0]) <= set(grid.columns)
    assert set(COLUMNS) <= set(grid.columns) and len(set(grid.columns)) == len(grid.columns)
    assert grid.configurations.__doc__ and len({c["seed"] for c in everything}) == grid.seeds


def recipe(c):
    """What has to be the same for runs that are compared."""
    return tuple(c.get(name) for name in ("model", "epochs", "lr", "dense_epochs", "dense_lr", "curve_images"))


@pytest.mark.parametrize("name", GRIDS)
def test_every_arm_has_the_same_recipe_and_seeds(name):
    """An arm is whatever else tells two runs apart; every exception is named here."""
    arms, recipes = {}, set()
    for c in GRIDS[name].everything:
        if c.get("epochs") == 0:
            continue  # nothing is trained
        arm = tuple(c.get(k) for k in ("width", "method", "scope", "schedule", "until", "variant", "target_sparsity", "share",
                                       "blocks", "layer", "source", "precision", "images"))  # fmt: skip
        arms.setdefault((arm, recipe(c) if name in CHOSEN else None), set()).add(c["seed"])
        if "from scratch" in c["method"] or c.get("variant") == "re-initialised":
            assert c["lr"] == (0.05 if name == "by_hand" else 0.4) and c["epochs"] == (1 if name == "by_hand" else 11)
        elif "gradual" in (name + c.get("source", "")) and name not in CHOSEN:
            rates = RATES[c["width"]]
            assert c["lr"] == rates.get(c["schedule"], rates["equal_steps_8"])  # each arm its own, chosen by the pilot
            recipes.add(recipe(c | {"lr": ""}))
        else:
            recipes.add(recipe(c))
    some = {
        "deploy": 2,
        "gradual_checks": 3,
        "pilot": 6,
        **dict.fromkeys(PILOTS.values(), 3),
    }  # deploy: networks with masks, and cut ones
    assert len(recipes) <= some.get(name, 1)
    widths = {"depth_width", "deploy"}
    three = {arm for arm in arms if name in widths and (arm[0][0] == 1.0 or arm[0][1] == "from scratch")}
    five = {arm for arm in arms if name == "gradual_vs_instant" and arm[0][5]}
    assert all(arms[arm] == {0, 1, 2} for arm in three) and all(arms[arm] == {0, 1, 2, 3, 4} for arm in five)
    assert len({frozenset(seeds) for arm, seeds in arms.items() if arm not in three | five}) <= 1


@pytest.mark.parametrize(("width", "name"), PILOTS.items())
def test_the_rates_are_the_pilots_choice(width, name):
    pilot = read_results(name)
    means = pilot.groupby(["schedule", "lr"]).val_accuracy.mean()
    assert len(pilot) == len(GRIDS[name].everything) and set(pilot.width) == {width}
    assert {schedule: own.idxmax()[1] for schedule, own in means.groupby("schedule")} == RATES[width]


def test_pilot_seeds_are_used_nowhere_else():
    names = {*PILOTS.values(), "pilot"}
    pilot = {c["seed"] for name in names for c in GRIDS[name].everything}
    assert all(pilot.isdisjoint({c["seed"] for c in grid.everything}) for name, grid in GRIDS.items() if name not in names)


def one(name, **wanted):
    """The first configuration of a grid with these values, made small."""
    found = next(c for c in GRIDS[name].everything if all(c[k] == v for k, v in wanted.items()))
    return found | SMALL | {"epochs": SMALL["epochs"] if found.get("epochs") else 0}


RUNS = {
    "dense": ("criteria", {"method": "dense"}),
    "a criterion in each layer": ("criteria", {"method": "taylor", "scope": "layer", "target_sparsity": 0.8}),
    "a minimum in each layer": ("criteria", {"method": "gradient", "scope": "global, 1 % kept", "target_sparsity": 0.98}),
    "filters": ("criteria", {"method": "filters_l1", "target_sparsity": 0.5}),
    "amounts from a scan": ("criteria", {"scope": "sensitivity", "target_sparsity": 0.8}),
    "constants": ("constant_channels", {"method": "magnitude"}),
    "recalibrated": ("recalibration", {"images": "augmented", "target_sparsity": 0.9}),
    "one layer alone": ("sensitivity", {"layer": "conv1", "target_sparsity": 0.8}),
    "a built-in method": ("builtin_methods", {"method": "random_structured_dim1", "target_sparsity": 0.5}),
    "gradual": ("gradual_pruning", {"schedule": "equal_steps_8", "target_sparsity": 0.9}),
    "instant": ("gradual_pilot", {"schedule": "one_shot", "target_sparsity": 0.8}),
    "geometric": ("pilot", {"schedule": "geometric_8", "target_sparsity": 0.95}),
    "uniform widths": ("depth_width", {"method": "width, uniform", "share": 0.5}),
    "guided widths": ("depth_width", {"method": "width, guided", "share": 0.5}),
    "widths from scratch": ("depth_width", {"method": "from scratch", "share": 0.5}),
    "depth": ("depth_width", {"method": "depth", "blocks": 2}),
    "as large as depth": ("depth_width", {"method": "width, equal MACs", "blocks": 2}),
    "cut by hand": ("by_hand", {"method": "width"}),
    "bridged by hand": ("by_hand", {"method": "depth"}),
}


@pytest.mark.parametrize("kind", RUNS)
def test_every_kind_of_run_gives_a_row(kind, monkeypatch):
    monkeypatch.setattr(runs, "SCAN_IMAGES", 40)
    rates = []
    for function in (runs.train, runs.prune_iteratively):
        told = lambda *args, real=function, **recipe: rates.append(recipe["lr"]) or real(*args, **recipe)  # noqa: E731
        monkeypatch.setattr(runs, function.__name__, told)
    precisions = []
    spy = lambda *args, real=runs.evaluate, **options: precisions.append(options["precision"]) or real(*args, **options)  # noqa: E731
    monkeypatch.setattr(runs, "evaluate", spy)
    name, wanted = RUNS[kind]
    grid, configuration = GRIDS[name], one(name, **wanted)
    row = run_one(grid.run, configuration, "digits")
    assert set(grid.columns) <= set(row) and row["precision"] == "fp32" and set(precisions) == {"fp32"}
    assert rates[-1:] == ([row["lr"]] if configuration["epochs"] else [])  # the row states the rate that it was trained with
    assert 0 <= row["val_accuracy"] <= 1 and 0 <= row["test_accuracy"] <= 1
    assert row["steps"] == round(configuration["epochs"] * 22)
    if "from scratch" in row["method"]:
        assert row["accuracy_before"] == ""
    if "train_seconds" in row:
        assert 0 < row["train_seconds"] <= row["seconds"] and 0 <= row["least_left"] <= 1 - row["achieved_sparsity"] + 1e-6
    if row["method"] not in ("dense", "depth") and isinstance(configuration["target_sparsity"], float) and "filter" not in kind:
        close = 1e-3 if name not in ("sensitivity", "builtin_methods") else 1
        assert abs(row["achieved_sparsity"] - configuration["target_sparsity"]) < close
    if configuration.get("share"):
        assert row["macs"] / row["dense_macs"] == pytest.approx(configuration["share"], rel=0.08)  # few channels here


def test_deploy_measures_networks_that_exist(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
    grid = GRIDS["deploy"]
    for source, network in (("depth_width", "without 2 blocks, int8"), ("gradual_pruning", "half width, 90% masked")):
        configuration = one("deploy", network=network)
        trained = run_one(GRIDS[source].run, configuration, "digits")
        assert runs.kept(configuration, load_dataset("digits")).exists()
        with monkeypatch.context() as patch:
            patch.setattr(runs, "train", None)  # nothing is trained a second time
            row = run_one(grid.run, configuration, "digits")
        assert set(grid.columns) <= set(row)
        assert row["test_accuracy"] == pytest.approx(trained["test_accuracy"], abs=0.05 if "int8" in network else 0.005)
        assert row["achieved_sparsity"] == (pytest.approx(0.9, abs=1e-3) if "masked" in network else 0)
        assert 0 < row["zipped_bytes"] < row["file_bytes"]


def test_deploy_finds_the_networks_of_the_other_grids():
    data = load_dataset("digits")
    made = {runs.kept(c, data) for name in ("depth_width", "gradual_pruning") for c in GRIDS[name].everything}
    wanted = {runs.kept(c, data) for c in GRIDS["deploy"].everything}
    assert wanted <= made and len(made) == sum(len(GRIDS[name].everything) for name in ("depth_width", "gradual_pruning"))


@pytest.mark.parametrize("variant", ["random mask", "no shuffling", "reset optimiser", "re-initialised"])
def test_variants_of_gradual_pruning(variant):
    schedule = "equal_steps_8" if variant == "reset optimiser" else "one_shot"
    configuration = one("gradual_pilot", schedule=schedule, target_sparsity=0.8) | {"variant": variant}
    row, plain = (run_one(runs.train_and_prune, c, "digits") for c in (configuration, configuration | {"variant": ""}))
    assert row["achieved_sparsity"] == plain["achieved_sparsity"] and row["checkpoint"] == plain["checkpoint"]
    assert row["steps"] == plain["steps"]
    assert row["val_accuracy"] != plain["val_accuracy"] or row["test_accuracy"] != plain["test_accuracy"]


def test_networks_that_are_called_equal_are():
    rows = read_results("depth_width")
    asked, same_macs = rows[rows.share > 0], rows[rows.method == "width, equal MACs"]
    assert (asked.macs / asked.dense_macs / asked.share - 1).abs().max() <= 0.03
    assert (same_macs.macs / same_macs.reference_macs - 1).abs().max() <= 0.03


def test_times_are_of_the_networks_that_were_trained():
    rows = read_results("depth_width")
    networks = networks_of(rows)
    assert {width for width, *_ in networks} == {0.5, 1.0} and sum(method == "dense" for _, method, *_ in networks) == 2
    own = rows[~rows.method.isin(["width, guided", "from scratch"])].fillna({"dropped": "", "share": 1.0})
    assert set(networks) == set(own[SHAPE].itertuples(index=False, name=None))
    for shape, network in networks.items():
        assert (own.macs[(own[SHAPE] == list(shape)).all(axis=1)] == count_macs(network)).all()


def test_what_is_watched_on_the_way():
    configuration = one("gradual_pruning", schedule="equal_steps_2", target_sparsity=0.9)
    row = run_one(runs.train_and_prune, configuration | {"curve_images": 50}, "digits")
    steps = [int(pair.split(":")[0]) for pair in row["curve"].split()]
    assert steps == sorted(steps) and steps[:2] == [0, 0] and steps[-1] == row["steps"]
    assert {3, 4} <= set(steps)  # before and at the second pruning, by 60 % of 7 steps
    assert 1 > row["overlap_one_shot"] > 2 * max(row["overlap_by_chance"], row["overlap_other_seed"]) > 0


def test_which_networks_are_read_in_training_mode_too():
    rows = [
        run_one(runs.train_and_prune, one("gradual_pruning", schedule="one_shot", target_sparsity=level, seed=seed), "digits")
        for level, seed in ((0.9, 4), (0.9, 5), (0.98, 0))
    ]
    read, *others = [(row["test_accuracy_batches_of_500"], row["test_accuracy_batches_of_20"]) for row in rows]
    assert all(0 <= accuracy <= 1 for accuracy in read) and others == [("", ""), ("", "")]


def test_batchnorm_that_lags_behind_constants_is_corrected(state_of, same_state):
    """An empty filter sends a constant; a channel that reads it alone is constant, and its running mean is made to lag."""
    data = load_dataset("digits")
    model = runs.dense_network(0.15, 0, data, 2)
    masks = {name: torch.ones_like(model.get_submodule(name).weight) for name in ("conv1", "stage1.conv")}
    masks["conv1"][0], masks["stage1.conv"][0] = 0, 0
    masks["stage1.conv"][0, 0, 1, 1] = 1
    with torch.no_grad():
        model.bn1.bias[0] = 1.0
        model.stage1.conv.weight[0, 0, 1, 1] = 1.0
    for name, mask in masks.items():
        prune.custom_from_mask(model.get_submodule(name), "weight", mask)
    known, count = runs._with_known_constants(model, data.train.images[:50])
    assert count == 1
    before = evaluate(known, data.test, precision="fp32").accuracy
    with torch.no_grad():
        model.stage1.bn.running_mean[0] = known.stage1.bn.running_mean[0] + 1.0
        model.stage1.bn.running_var[0] = 0.0
    state = state_of(model)
    known, count = runs._with_known_constants(model, data.train.images[:50])
    assert count == 1 and same_state(state, state_of(model))
    assert evaluate(known, data.test, precision="fp32").accuracy == pytest.approx(before, abs=0.03)


def test_the_same_run_in_two_grids_gives_the_same_row():
    key = ["method", "scope", "target_sparsity", "seed", "epochs", "checkpoint", "torch", "device"]
    criteria = read_results("criteria")
    for other in ("sparsity_curve", "constant_channels"):
        both = criteria.merge(read_results(other), on=key)
        assert len(both) > 20 and (both.test_accuracy_x == both.test_accuracy_y).all()


def test_training_mode_is_a_mistake_that_leaves_the_network_alone(state_of, same_state):
    data = load_dataset("digits")
    model = runs.dense_network(0.15, 0, data, 2)
    before = state_of(model)
    found = [runs._accuracy_in_training_mode(model, data, size) for size in (len(data.test), 2)]
    assert same_state(before, state_of(model)) and not model.training
    assert found[1] < found[0] - 0.1  # two images say little of a mean and a variance


@pytest.mark.parametrize(("method", "scope"), [("random_unstructured", "layer"), ("random", "global"), ("random", "layer")])
def test_random_masks_of_a_seed_know_nothing_of_its_weights(method, scope):
    """Weights and masks drawn from one stream of numbers would match perfectly: such a mask is no control."""
    seed_everything(3)
    model = CifarNet(0.25)
    layers = prunable_layers(model).values()
    initial = torch.cat([layer.weight.detach().flatten() for layer in layers])
    configuration = {"method": method, "scope": scope, "target_sparsity": 0.5, "seed": 3}
    runs.prune_as_told(model, configuration, data=None)
    mask = torch.cat([layer.weight_mask.flatten() for layer in layers])
    assert abs(torch.corrcoef(torch.stack([initial, mask]))[0, 1]) < 0.03

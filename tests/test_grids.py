"""Grids: every arm of a comparison gets the same, and every kind of run gives a row of the schema."""

from unittest.mock import Mock

import pytest
import torch

from experiments import runs
from experiments.benchmarks.depth_width_speed import SHAPE, networks_of
from experiments.grids import GRIDS, RATES
from experiments.runner import run_one
from helpers import CifarNet, load_dataset, prunable_layers, read_results, seed_everything
from helpers.metrics import count_macs

PILOTS = {0.5: "gradual_pilot", 1.0: "gradual_pilot_wide"}  # by width
SMALL = {"width": 0.15, "dense_epochs": 2, "epochs": 0.3}


@pytest.mark.parametrize("name", GRIDS)
def test_arms_are_distinct_and_have_the_same_steps_and_seeds(name):
    """An arm is whatever else tells two runs apart; seeds come one after the other, so that arms can be paired."""
    grid, keys, seeds, epochs = GRIDS[name], set(), {}, set()
    for c in grid.everything:
        keys.add(frozenset(c))
        seeds.setdefault(frozenset((key, value) for key, value in c.items() if key != "seed"), []).append(c["seed"])
        if c.get("epochs") and "from scratch" not in c["method"] and c.get("variant") != "re-initialised":
            epochs.add(c["epochs"])
    assert all(numbers == list(range(numbers[0], numbers[0] + len(numbers))) for numbers in seeds.values())
    assert len(epochs) <= 1 or name == "gradual_checks"  # in which the length is the question
    assert len(keys) == 1 and keys.pop() <= set(grid.columns) and len(set(grid.columns)) == len(grid.columns)


@pytest.mark.parametrize(("width", "name"), PILOTS.items())
def test_the_rates_are_the_pilots_choice(width, name):
    means = read_results(name).groupby(["schedule", "lr"]).val_accuracy.mean()
    assert {schedule: own.idxmax()[1] for schedule, own in means.groupby("schedule")} == RATES[width]


def test_pilot_seeds_are_used_nowhere_else():
    seeds = {name: {c["seed"] for c in grid.everything} for name, grid in GRIDS.items()}
    pilot = seeds.pop("pilot") | seeds.pop(PILOTS[0.5]) | seeds.pop(PILOTS[1.0])
    assert pilot.isdisjoint(set.union(*seeds.values()))


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
    "recalibrated": ("recalibration", {"images": "augmented", "target_sparsity": 0.9}),
    "one layer alone": ("sensitivity", {"layer": "conv1", "target_sparsity": 0.8}),
    "a built-in method": ("builtin_methods", {"method": "random_structured_dim1", "target_sparsity": 0.5}),
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
    spies = {name: Mock(side_effect=getattr(runs, name)) for name in ("evaluate", "train", "prune_iteratively")}
    for function, spy in spies.items():
        monkeypatch.setattr(runs, function, spy)
    monkeypatch.setattr(runs, "SCAN_IMAGES", 40)
    name, wanted = RUNS[kind]
    grid, configuration = GRIDS[name], one(name, **wanted)
    row = run_one(grid.run, configuration, "digits")
    assert set(grid.columns) <= set(row) and row["precision"] == "fp32"
    assert {call.kwargs["precision"] for call in spies["evaluate"].mock_calls} == {"fp32"}
    rates = [call.kwargs["lr"] for call in spies["train"].mock_calls + spies["prune_iteratively"].mock_calls]
    assert rates[-1:] == ([row["lr"]] if configuration["epochs"] else [])  # the row states the rate that it was trained with
    assert row["steps"] == round(configuration["epochs"] * 22)
    if "from scratch" in row["method"]:
        assert row["accuracy_before"] == ""
    if "train_seconds" in row:
        assert 0 < row["train_seconds"] <= row["seconds"] and row["least_left"] <= 1 - row["achieved_sparsity"] + 1e-6
    if name in ("criteria", "recalibration", "pilot") and kind not in ("dense", "filters"):
        assert row["achieved_sparsity"] == pytest.approx(configuration["target_sparsity"], abs=1e-3)
    if configuration.get("share"):
        assert row["macs"] / row["dense_macs"] == pytest.approx(configuration["share"], rel=0.08)  # few channels here


def test_deploy_measures_networks_that_exist(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
    for source, network in (("depth_width", "without 2 blocks, int8"), ("gradual_pruning", "half width, 90% masked")):
        configuration = one("deploy", network=network)
        trained = run_one(GRIDS[source].run, configuration, "digits")
        assert runs.kept(configuration, load_dataset("digits")).exists()
        with monkeypatch.context() as patch:
            patch.setattr(runs, "train", None)  # nothing is trained a second time
            row = run_one(GRIDS["deploy"].run, configuration, "digits")
        assert set(GRIDS["deploy"].columns) <= set(row)
        assert row["test_accuracy"] == pytest.approx(trained["test_accuracy"], abs=0.05 if "int8" in network else 0.005)
        assert row["achieved_sparsity"] == (pytest.approx(0.9, abs=1e-3) if "masked" in network else 0)
        assert 0 < row["zipped_bytes"] < row["file_bytes"]


def test_deploy_finds_the_networks_of_the_other_grids():
    data = load_dataset("digits")
    made = [runs.kept(c, data) for name in ("depth_width", "gradual_pruning") for c in GRIDS[name].everything]
    assert {runs.kept(c, data) for c in GRIDS["deploy"].everything} <= set(made) and len(set(made)) == len(made)


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
    configuration = one("gradual_pruning", schedule="one_shot", target_sparsity=0.9)
    for level, seed, read in ((0.9, 4, True), (0.9, 5, False), (0.98, 0, False)):
        row = run_one(runs.train_and_prune, configuration | {"target_sparsity": level, "seed": seed}, "digits")
        assert (row["test_accuracy_batches_of_500"] != "", row["test_accuracy_batches_of_20"] != "") == (read, read)


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

"""Grids: every arm of a comparison gets the same, and every kind of run gives a row of the schema."""

import pytest
import torch

from experiments import runs
from experiments.grids import GRIDS
from helpers import CifarNet, load_dataset, prunable_layers, seed_everything
from helpers.metrics import Latency
from helpers.sweeps import COLUMNS, run_one

SMALL = {"width": 0.15, "dense_epochs": 2, "epochs": 0.3}


@pytest.mark.parametrize("name", GRIDS)
def test_configurations_are_distinct_and_alike(name):
    grid = GRIDS[name]
    everything = grid.everything
    assert len({tuple(sorted(c.items(), key=str)) for c in everything}) == len(everything)
    assert len({frozenset(c) for c in everything}) == 1 and set(everything[0]) <= set(grid.columns)
    assert set(COLUMNS) <= set(grid.columns) and len(set(grid.columns)) == len(grid.columns)
    assert grid.configurations.__doc__ and len({c["seed"] for c in everything}) == grid.seeds


@pytest.mark.parametrize("name", [name for name in GRIDS if name not in ("gradual_pilot", "depth_width")])
def test_every_arm_has_the_same_recipe_and_seeds(name):
    arms = {}
    for c in GRIDS[name].everything:
        if c.get("epochs"):
            arms.setdefault((c["epochs"], c["lr"]), {}).setdefault((c["method"], c["scope"]), set()).add(c["seed"])
    for methods in arms.values():
        assert len({frozenset(seeds) for seeds in methods.values()}) == 1


def test_pilot_seeds_are_used_nowhere_else():
    pilot = {c["seed"] for c in GRIDS["gradual_pilot"].everything}
    assert all(pilot.isdisjoint({c["seed"] for c in grid.everything}) for name, grid in GRIDS.items() if name != "gradual_pilot")


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
    "one layer alone": ("sensitivity", {"layer": "conv1", "target_sparsity": 0.8}),
    "a built-in method": ("builtin_methods", {"method": "random_structured_dim1", "target_sparsity": 0.5}),
    "gradual": ("gradual_pruning", {"schedule": "equal_steps_8", "target_sparsity": 0.9}),
    "instant": ("gradual_pilot", {"schedule": "one_shot", "target_sparsity": 0.8}),
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
    name, wanted = RUNS[kind]
    grid, configuration = GRIDS[name], one(name, **wanted)
    row = run_one(grid.run, configuration, "digits")
    assert set(grid.columns) <= set(row)
    assert rates[-1:] == ([row["lr"]] if configuration["epochs"] else [])  # the row states the rate that it was trained with
    assert 0 <= row["val_accuracy"] <= 1 and 0 <= row["test_accuracy"] <= 1
    assert row["steps"] == round(configuration["epochs"] * 22) or kind == "widths from scratch"
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
    assert row["steps"] == plain["steps"] + (2 * 22 if variant == "re-initialised" else 0)
    assert row["val_accuracy"] != plain["val_accuracy"] or row["test_accuracy"] != plain["test_accuracy"]


def test_a_network_as_fast_as_another(monkeypatch):
    monkeypatch.setattr(runs, "latency", lambda network, size: Latency(runs.count_macs(network) / 1e6, 0.0, size))
    model = runs.CifarNet(0.25).eval()
    shallow = runs.drop_blocks(model, ["stage1.block1"])
    found = runs._as_fast_as(shallow, model)
    assert runs.count_macs(found) / runs.count_macs(shallow) == pytest.approx(1, abs=0.05)


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

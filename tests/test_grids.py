"""Grids: every arm of a comparison gets the same, and every kind of run gives a row of the schema."""

import copy

import pandas as pd
import pytest
import torch

from experiments import grids, runs
from experiments.__main__ import default_out
from experiments.grids import GRIDS, RATES
from experiments.runner import COLUMNS, run_one
from experiments.runs import masks_of
from helpers import CifarNet, DepthPrunedNet, SimpleNet, count_macs, load_dataset, prunable_layers

SMALL = {"width": 0.15, "dense_epochs": 2, "batch_size": 64, "lr": 0.05}
PILOTS = {"pilot", "pilot_criteria", "pilot_width"}


@pytest.mark.parametrize("name", GRIDS)
def test_configurations_are_distinct_and_alike(name):
    grid = GRIDS[name]
    everything = grid.everything
    assert len({tuple(sorted(c.items(), key=str)) for c in everything}) == len(everything)
    assert len({frozenset(c) for c in everything}) == 1 and set(everything[0]) <= set(grid.columns)
    assert set(COLUMNS) <= set(grid.columns) and len(set(grid.columns)) == len(grid.columns)
    assert grid.configurations.__doc__ and len({c["seed"] for c in everything}) == grid.seeds
    seeds = [c["seed"] for c in everything]
    assert name in ("deploy", "recalibration") or seeds == sorted(seeds)  # seed by seed: a grid that is stopped has whole ones


@pytest.mark.parametrize("name", sorted(set(GRIDS) - PILOTS))
def test_fine_tuned_arms_take_as_many_steps(name):
    """What differs is part of the question: three lengths of training, and new weights, which also get the dense network's."""
    lengths = {c["epochs"] for c in GRIDS[name].everything if c["epochs"] and c["method"] != "from scratch"}
    assert lengths <= ({1, 4} if name == "recalibration" else {*lengths} if len(lengths) == 1 else {4})


@pytest.mark.parametrize("name", sorted(PILOTS))
def test_the_rates_are_the_pilots_choice(name):
    path, grid = default_out(name, "cifar10"), GRIDS[name]
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["seed"])
    rows = rows[rows.groupby("seed").seed.transform("size") == len(grid.everything) / grid.seeds]
    if rows.empty:
        pytest.skip("no seed of the pilot is whole")
    family = rows.method.where(rows.scope != "layer", rows.method + ", layer by layer")
    means = rows.groupby([family, rows.target_sparsity.fillna(0.0), "lr"]).val_accuracy.mean()
    for (family, level), accuracies in means.groupby(level=[0, 1]):
        accuracies = accuracies.droplevel([0, 1])
        best = accuracies[::-1].idxmax()  # the larger one of equals
        assert RATES[family][level] == best and accuracies.index.min() < best < accuracies.index.max()


def test_pilot_seeds_are_used_nowhere_else():
    pilot = {c["seed"] for name in PILOTS for c in GRIDS[name].everything}
    assert all(pilot.isdisjoint({c["seed"] for c in grid.everything}) for name, grid in GRIDS.items() if name not in PILOTS)


def one(name, **wanted):
    """The first configuration of a grid with these values, made small."""
    found = next(c for c in GRIDS[name].everything if all(c[k] == v for k, v in wanted.items()))
    return found | SMALL | {"epochs": 0.3 if found["epochs"] else 0}


RUNS = {
    "dense": ("criteria", {"method": "dense"}),
    "a criterion in each layer": ("criteria", {"method": "taylor", "scope": "layer", "target_sparsity": 0.8}),
    "inputs count": ("criteria", {"method": "wanda", "target_sparsity": 0.8}),
    "a minimum in each layer": ("criteria", {"method": "magnitude, 1 % kept", "target_sparsity": 0.98}),
    "filters": ("criteria", {"method": "filters_random", "target_sparsity": 0.5}),
    "not trained": ("criteria", {"method": "shuffled magnitude", "target_sparsity": 0.9}),
    "recalibrated both ways": ("recalibration", {"target_sparsity": 0.9}),
    "and after training": ("recalibration", {"target_sparsity": 0.95, "epochs": 1}),
    "one layer alone": ("sensitivity", {"layer": "conv1", "target_sparsity": 0.8}),
    "channels of one group": ("sensitivity", {"method": "channels", "layer": "stage2.conv", "target_sparsity": 0.8}),
    "a built-in method": ("builtin_methods", {"method": "random_structured_dim1", "target_sparsity": 0.5}),
    "random": ("pilot", {"method": "random", "target_sparsity": 0.8}),
    "gradual": ("gradual_vs_instant", {"schedule": "equal_steps_8", "target_sparsity": 0.9}),
    "two prunings": ("why", {"first": 0.8, "until": 0.3}),
    "one late pruning": ("why", {"first": 0.0, "until": 0.6}),
    "half of the MACs": ("depth_width", {"method": "width", "share": 0.5}),
    "from scratch": ("depth_width", {"method": "from scratch", "share": 0.5}),
    "depth": ("depth_width", {"method": "depth", "blocks": 2}),
    "as many MACs as depth": ("depth_width", {"method": "width", "blocks": 2, "rounded": False}),
    "cut by hand": ("by_hand", {"method": "width"}),
    "bridged by hand": ("by_hand", {"method": "depth"}),
    "new by hand": ("by_hand", {"method": "depth, from scratch"}),
}


@pytest.mark.parametrize("kind", RUNS)
def test_every_kind_of_run_gives_a_row(kind, monkeypatch):
    monkeypatch.setattr(runs, "BLOCK_IMAGES", 40)
    name, wanted = RUNS[kind]
    grid, configuration = GRIDS[name], one(name, **wanted)
    row = run_one(grid.run, configuration, "digits")
    assert set(grid.columns) <= set(row) and row["precision"] == "fp32"
    assert row["steps"] == round((configuration["epochs"] + (2 if kind == "new by hand" else 0)) * 22)
    before = row["accuracy_before"]
    assert before == "" or row["accuracy_recalibrated"] == "" or before > 0.1 or row["accuracy_recalibrated"] >= before - 0.05
    if not configuration["epochs"] and name != "recalibration":
        assert row["test_accuracy"] == row["test_accuracy_recalibrated"]
    if "scratch" in row["method"]:
        assert before == ""
    if isinstance(row["target_sparsity"], float) and row["scope"] == "global":
        assert row["achieved_sparsity"] == pytest.approx(row["target_sparsity"], abs=1e-3)
    if row.get("share") == 0.5:
        assert row["macs"] / row["dense_macs"] == pytest.approx(0.5, rel=0.5)  # few channels here, and rounded ones


def test_channel_counts_are_multiples_as_asked():
    model = CifarNet(1.0)
    for share in (0.5, 0.25, 0.7):
        narrow = runs.with_share_of_macs(model, share)
        assert count_macs(narrow) / count_macs(model) == pytest.approx(share, rel=0.1)
        assert all(layer.weight.shape[0] % 8 == 0 for name, layer in prunable_layers(narrow).items() if name != "fc")
    assert any(
        layer.weight.shape[0] % 8 for layer in prunable_layers(runs.with_share_of_macs(model, 0.7, rounded=False)).values()
    )


def test_shuffled_masks_keep_each_layers_count_and_nothing_else():
    model = CifarNet(0.25)
    shuffled = copy.deepcopy(model)
    for network, method in ((model, "magnitude"), (shuffled, "shuffled magnitude")):
        runs.prune_by(network, {"method": method, "scope": "global", "target_sparsity": 0.7, "seed": 3}, None)
    pairs = list(zip(masks_of(model).values(), masks_of(shuffled).values(), strict=True))
    assert [int(a.sum()) for a, _ in pairs] == [int(b.sum()) for _, b in pairs]
    a, b = (torch.cat([pair[k].flatten() for pair in pairs[2:-1]]) for k in (0, 1))
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.25  # what the layers' shares alone explain


@pytest.mark.parametrize(
    "wanted",
    [
        {"target_sparsity": 0.9},
        pytest.param({"source": "depth_width", "blocks": 2, "method": "depth", "precision": "int8"}, marks=pytest.mark.long),
    ],
    ids=["masked", "int8"],
)
def test_deploy_measures_networks_that_exist(monkeypatch, tmp_path, wanted):
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
    data, configuration = load_dataset("digits"), one("deploy", **wanted)
    trained = run_one(GRIDS[configuration["source"]].run, configuration, "digits")
    assert runs.kept(configuration, data).exists()
    with monkeypatch.context() as patch:
        patch.setattr(runs, "train", None)  # nothing is trained a second time
        row = run_one(GRIDS["deploy"].run, configuration, "digits")
    assert set(GRIDS["deploy"].columns) <= set(row)
    assert row["test_accuracy"] == pytest.approx(trained["test_accuracy"], abs=0.05 if row["precision"] == "int8" else 0.005)
    assert 0 < row["zipped_bytes"] < row["file_bytes"]


def test_deploy_finds_the_networks_of_the_other_grids():
    data = load_dataset("digits")
    sources = ("depth_width", "gradual_vs_instant")
    everything = [c for name in sources for c in GRIDS[name].everything if c["seed"] < runs.DEPLOYED_SEEDS]
    made = {runs.kept(c, data) for c in everything}
    assert {runs.kept(c, data) for c in GRIDS["deploy"].everything} <= made and len(made) == len(everything)


@pytest.mark.parametrize(("method", "scope"), [("random_unstructured", "layer"), ("random", "global"), ("random", "layer")])
def test_random_masks_of_a_seed_know_nothing_of_its_weights(method, scope):
    """Weights and masks drawn from one stream of numbers would match perfectly: such a mask is no control."""
    torch.manual_seed(3)
    model = CifarNet(0.25)
    layers = prunable_layers(model).values()
    initial = torch.cat([layer.weight.detach().flatten() for layer in layers])
    runs.prune_by(model, {"method": method, "scope": scope, "target_sparsity": 0.5, "seed": 3}, None)
    mask = torch.cat([layer.weight_mask.flatten() for layer in layers])
    assert abs(torch.corrcoef(torch.stack([initial, mask]))[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("schedule", "prunings"),
    {"one_shot": 1, "two": 2, "geometric_2": 2, "geometric_4": 4, "equal_steps_8": 8, "cubic_8": 8}.items(),
)
def test_schedules_by_name(schedule, prunings):
    steps = runs.schedule_of(grids._gradual(schedule, 0.95, until=0.3, first=0.8)).steps(100)
    assert len(steps) == prunings and steps[0][0] == 0
    assert steps[-1] == (0 if schedule == "one_shot" else 30, 0.95)


def test_the_bridge_is_exact_where_it_can_be():
    """Where the removed layer is linear on what comes in (all its units positive), one layer replaces two exactly."""
    torch.manual_seed(0)
    model = SimpleNet()
    with torch.no_grad():
        for parameter in (model.layer3.weight, model.layer3.bias):
            parameter.abs_()
        images = torch.randint(256, (400, 3, 32, 32), dtype=torch.uint8)
        shallow = runs.bridge_layer(model, images)
        assert isinstance(shallow, DepthPrunedNet)
        assert (model(images.float() / 255) - shallow(images.float() / 255)).abs().max() < 1e-3

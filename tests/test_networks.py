"""The committed dense networks: all load, hold the bits that their rows name, and are about equally good."""

import pandas as pd
import pytest
import torch

from experiments import networks
from experiments.grids import GRIDS
from experiments.runner import read_rows
from helpers import CheckpointError, CifarNet, load_network, save_network
from helpers.data import REPOSITORY

ROWS = pd.read_csv(networks.INDEX) if networks.INDEX.exists() else pd.DataFrame(columns=["width", "seed", "test_accuracy"])


def test_each_network_has_a_row_and_each_row_a_network():
    files = sorted(path.name for path in networks.FOLDER.glob("*.pth"))
    assert files == sorted(networks.path_of(width, seed).name for width, seed in zip(ROWS.width, ROWS.seed, strict=True))
    assert set(zip(ROWS.width, ROWS.seed, strict=True)) <= {(w, seed) for w, n in networks.SEEDS.items() for seed in range(n)}


@pytest.mark.parametrize("row", ROWS.to_dict("records"), ids=lambda row: f"width{row['width']:g}-seed{row['seed']}")
def test_the_network_is_that_of_its_row(row):
    model = load_network(networks.path_of(row["width"], row["seed"]))
    assert (model.width, model.facts["seed"], model.facts["epochs"]) == (row["width"], row["seed"], row["epochs"])
    assert networks.fingerprint(model) == row["fingerprint"]
    assert model.facts["test_accuracy"] == row["test_accuracy"] and row["dataset"] == "CIFAR-10"


def test_networks_of_a_width_are_within_a_point_of_their_mean():
    for _, accuracies in ROWS.groupby("width").test_accuracy:
        assert (accuracies - accuracies.mean()).abs().max() < 0.01


def test_together_they_stay_small():
    assert sum(path.stat().st_size for path in networks.FOLDER.glob("*.pth")) <= 25e6


def test_rounded_weights_are_float16_numbers():
    model = CifarNet(0.1)
    networks.round_weights(model)
    assert all(torch.equal(p, p.half().float()) for name, p in model.named_parameters() if p.ndim > 1)
    before = networks.fingerprint(model)
    networks.round_weights(model)
    assert networks.fingerprint(model) == before
    model.bn1.running_mean[0] += 1
    assert networks.fingerprint(model) != before


def test_float16_weights_come_back_rounded_and_the_rest_to_the_bit(tmp_path):
    model = CifarNet(0.2)
    save_network(networks.in_float16(model), tmp_path / "half.pth")
    save_network(model, tmp_path / "whole.pth")
    again = load_network(tmp_path / "half.pth").state_dict()
    for key, value in model.state_dict().items():
        is_weight = value.ndim in (2, 4) and key not in ("mean", "std")
        assert again[key].dtype == value.dtype and torch.equal(again[key], value.half().float() if is_weight else value)
    assert (tmp_path / "half.pth").stat().st_size < 0.75 * (tmp_path / "whole.pth").stat().st_size


def test_a_missing_network_is_named(digits, monkeypatch, tmp_path):
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    cifar10 = type("Data", (), {"name": "cifar10"})
    with pytest.raises(CheckpointError, match="cifarnet_width0.5_seed3.pth: no such file; train it with"):
        networks.dense_network(0.5, 3, cifar10)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "results" / "official").glob("*.csv")), ids=lambda path: path.stem)
def test_rows_start_from_the_committed_networks(path):
    grid = GRIDS[path.stem]
    rows = read_rows(path, grid.columns)
    assert {row["dataset"] for row in rows} == {"CIFAR-10"} and {row["precision"] for row in rows} <= {"fp32", "int8"}
    known = {(f"{row.width:g}", str(row.seed)): row.fingerprint for row in ROWS.itertuples()}
    for row in rows if grid.prepare else ():
        assert row["checkpoint"] == known.get((row["width"], row["seed"]), row["checkpoint"])

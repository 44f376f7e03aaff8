"""Counts by hand, and timings that know their own noise."""

import pytest
import torch
import torch_pruning
from torch import nn

from helpers import (
    CifarNet,
    Measurement,
    count_macs,
    file_bytes,
    latencies,
    make_permanent,
    measure,
    metrics,
    prune_channels,
    shrink,
)
from helpers.criteria import MagnitudePruning, prune_globally
from helpers.metrics import Latency


def test_macs_by_hand():
    assert count_macs(nn.Conv2d(3, 8, 3, padding=1)) == 3 * 8 * 9 * 32 * 32
    assert count_macs(nn.Conv2d(3, 8, 3, stride=2)) == 3 * 8 * 9 * 15 * 15
    assert count_macs(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))) == 30720


def test_masks_change_no_macs_and_no_mode():
    model = CifarNet(0.25).train()
    whole = count_macs(model)
    prune_globally(model, [MagnitudePruning(0.9)])
    assert count_macs(model) == whole and model.training


def test_file_bytes_are_those_of_the_file(tmp_path):
    model = CifarNet(0.25)
    torch.save(model.state_dict(), tmp_path / "net.pth")
    assert abs(file_bytes(model) - (tmp_path / "net.pth").stat().st_size) < 2000  # the file's name is in it, and padding


def test_measure_counts_what_runs(digits, state_of, same_state):
    model = CifarNet(0.15)
    prune_globally(model, [MagnitudePruning(0.5)])
    before = state_of(model)
    found = measure(model, digits.val.subset(20), batch_sizes=(1, 4), turns=2)
    assert same_state(before, state_of(model))
    plain = make_permanent(model)
    assert found.parameters == sum(p.numel() for p in plain.parameters())
    assert found.nonzero == sum(int((p != 0).sum()) for p in plain.parameters())
    assert found.macs == count_macs(plain) and 0 <= found.accuracy <= 1
    assert set(found.latency) == {1, 4} and all(entry.median > 0 and entry.iqr >= 0 for entry in found.latency.values())
    assert found.latency_ms == found.latency[1].median and found.threads == torch.get_num_threads()


def made(median, iqr, **changes):
    values = {"accuracy": 0.9, "parameters": 1000, "nonzero": 500, "macs": 10**6, "file_bytes": 4000, "threads": 2}
    return Measurement(**values | {"precision": "fp32"} | changes, latency={1: Latency(median, iqr, 1)})


def test_compare_by_hand():
    table = made(10.0, 0.5).compare(made(5.0, 0.5, accuracy=0.885, parameters=250, macs=250_000))
    assert table.gain["parameters"] == "4.00×" and table.gain["macs"] == "4.00×" and table.gain["nonzero"] == "1.00×"
    assert table.gain["accuracy"] == "-1.5 points" and table.gain["latency_ms, batch 1"] == "2.00×"
    assert table.remark["latency_ms, batch 1"] == "2 threads, fp32, IQR 0.5 and 0.5"
    assert set(table.remark.drop("latency_ms, batch 1")) == {""}


@pytest.mark.parametrize(("median", "iqr", "noise"), [(9.2, 1.0, True), (9.2, 0.1, False), (9.6, 0.1, True), (10.4, 0.1, True)])
def test_a_difference_inside_the_noise_says_so(median, iqr, noise):
    """Overlapping ranges, or less than the 5 % by which two measurements drift."""
    table = made(10.0, iqr).compare(made(median, iqr))
    assert table.remark["latency_ms, batch 1"].startswith("inside the noise") == noise and table.remark["macs"] == ""


@pytest.mark.parametrize("other", [{"threads": 1}, {"precision": "bf16"}])
def test_only_like_is_compared(other):
    with pytest.raises(ValueError, match=r"other=.*: must be measured with the same threads and precision, \(2, 'fp32'\)"):
        made(10.0, 1.0).compare(made(5.0, 1.0, **other))


def test_networks_that_are_compared_take_turns(monkeypatch):
    order = []

    class Timer:
        def __init__(self, statement, globals, num_threads):
            self.name = globals["run"]

        def timeit(self, number):
            order.append(self.name)
            return type("Found", (), {"mean": 0.001 * len(order)})

    monkeypatch.setattr(metrics, "_forward_pass", lambda model, *how: model)
    monkeypatch.setattr(metrics.benchmark, "Timer", Timer)
    one, two = latencies(["a", "b"], 4, turns=3)
    assert order == ["a", "b"] * 4  # once to warm up, then three turns
    assert (
        (one.median, two.median) == (pytest.approx(5), pytest.approx(6)) and one.iqr == pytest.approx(2) and one.batch_size == 4
    )


def test_a_share_is_taken_turn_by_turn():
    """The median of the ratios 2, 3 and 1; the ratio of the medians would be 1."""
    one, two = Latency(4.0, 0.0, 1, (2.0, 30.0, 4.0)), Latency(4.0, 0.0, 1, (1.0, 10.0, 4.0))
    assert one.relative_to(two) == 2 and two.relative_to(one) == 0.5
    with pytest.raises(ValueError):
        one.relative_to(Latency(1.0, 0.0, 1, (1.0,)))


def test_latencies_of_networks():
    found = latencies([CifarNet(0.1), CifarNet(0.2)], 2, turns=2)
    assert len(found) == 2 and all(entry.median > 0 and entry.iqr >= 0 and len(entry.times) == 2 for entry in found)
    with pytest.raises(ValueError, match="turns=1: must be a whole number of 2 or more"):
        latencies([CifarNet(0.1)], turns=1)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5])
def test_bad_batch_sizes(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size}: must be a whole number of 1 or more"):
        latencies([CifarNet(0.1)], batch_size)


def test_bad_precision():
    with pytest.raises(ValueError, match="precision='fp8': must be one of"):
        latencies([CifarNet(0.1)], precision="fp8")


@pytest.mark.parametrize("amount", [0.25, 0.5, 0.75])
def test_torch_pruning_agrees_on_cifar_net(amount):
    """The same widths from Torch-Pruning and from `shrink`: the same parameters and MACs."""
    ours, theirs = CifarNet(0.5).eval(), CifarNet(0.5).eval()
    prune_channels(ours, amount)
    ours = shrink(ours)
    importance = torch_pruning.importance.MagnitudeImportance(p=1)
    pruner = torch_pruning.pruner.BasePruner(
        theirs, torch.rand(1, 3, 32, 32), importance=importance, pruning_ratio=amount, ignored_layers=[theirs.fc]
    )
    pruner.step()
    assert [tuple(p.shape) for p in ours.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
    assert count_macs(ours) == count_macs(theirs)

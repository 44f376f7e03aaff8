"""Counts by hand, and timings that know how noisy they are."""

import io

import pytest
import torch
import torch_pruning
from torch import nn
from torch.utils import benchmark

from helpers import CifarNet, Measurement, count_macs, latencies, make_permanent, measure, metrics, prune_channels, shrink
from helpers.criteria import MagnitudePruning, prune_globally
from helpers.metrics import Latency


class Tokens(nn.Module):
    """Takes whole numbers [N, 7], not images."""

    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.Embedding(100, 16), nn.Linear(16, 3)

    def forward(self, tokens):
        return self.fc(self.embedding(tokens)).mean(1)


TOKENS = torch.randint(100, (2, 7))


def test_macs_by_hand():
    assert count_macs(nn.Conv2d(3, 8, 3, padding=1)) == 3 * 8 * 9 * 32 * 32
    assert count_macs(nn.Conv2d(3, 8, 3, stride=2)) == 3 * 8 * 9 * 15 * 15
    assert count_macs(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))) == 30720
    assert count_macs(nn.Conv2d(1, 8, 3, padding=1), torch.rand(5, 1, 10, 20)) == 8 * 9 * 10 * 20
    assert count_macs(Tokens(), TOKENS) == 7 * 16 * 3
    attention = 7 * 16 * 16 * 4 + 2 * 7 * 7 * 16  # queries, keys, values and output; scores, and sums weighted by them
    assert (
        count_macs(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.rand(1, 7, 16)) == attention + 2 * 7 * 16 * 32
    )


def test_masks_change_no_macs_and_no_mode():
    model = CifarNet(0.25).train()
    whole = count_macs(model)
    prune_globally(model, [MagnitudePruning(0.9)])
    assert count_macs(model) == whole and model.training


def test_measure_counts_what_runs(digits, state_of, same_state):
    model = CifarNet(0.15)
    prune_globally(model, [MagnitudePruning(0.5)])
    before, file = state_of(model), io.BytesIO()
    torch.save(model.state_dict(), file)
    result = measure(model, digits.val.subset(20), batch_sizes=(1, 4))
    assert same_state(before, state_of(model))
    plain = make_permanent(model)
    assert result.parameters == sum(p.numel() for p in plain.parameters()) and result.file_bytes == file.tell()
    assert result.macs == count_macs(plain) and 0 <= result.accuracy <= 1
    assert set(result.latency) == {1, 4} and all(latency.median > 0 and latency.iqr >= 0 for latency in result.latency.values())


def made(median, iqr, **changes):
    values = {"accuracy": 0.9, "parameters": 1000, "macs": 10**6, "file_bytes": 4000}
    return Measurement(**values | changes, latency={1: Latency(median, iqr, [])})


def test_compare_by_hand():
    table = made(10.0, 0.5).compare(made(5.0, 0.5, accuracy=0.885, parameters=250, macs=250_000))
    assert table.gain["parameters"] == "4.00×" and table.gain["macs"] == "4.00×" and table.gain["file_bytes"] == "1.00×"
    assert table.gain["accuracy"] == "-1.5 points" and table.gain["latency_ms, batch 1"] == "2.00×"
    assert table.this["parameters"] == 1000 and list(table) == ["this", "other", "gain"]


@pytest.mark.parametrize(("median", "iqr", "noise"), [(9.2, 1.0, True), (9.2, 0.1, False), (9.6, 0.1, True), (10.4, 0.1, True)])
def test_a_difference_inside_the_noise_says_so(median, iqr, noise):
    """Overlapping ranges, or less than the 5 % by which two measurements drift."""
    table = made(10.0, iqr).compare(made(median, iqr))
    assert (table.gain["latency_ms, batch 1"] == "inside the noise") == noise and table.gain["macs"] == "1.00×"


def test_timings_are_interleaved(monkeypatch):
    """A clock that only the calls move: 1 and 50 ms. The short one is run twenty times a turn after one to warm up, the long one once."""
    order, now = [], [0.0]

    def call(name, milliseconds):
        order.append(name)
        now[0] += milliseconds / 1000

    monkeypatch.setattr(benchmark, "timer", lambda: now[0])
    short, long = metrics.interleaved_timings([lambda: call("s", 1), lambda: call("l", 50)], turns=3)
    assert "".join(order) == "ssll" + ("s" * 21 + "l") * 3
    assert short.median == pytest.approx(1, abs=1e-4) and long.median == pytest.approx(50, abs=1e-3) and len(long.times) == 3


def test_latencies_of_networks():
    results = latencies([CifarNet(0.1), CifarNet(0.2)], 2, turns=2)
    assert len(results) == 2 and all(entry.median > 0 and len(entry.times) == 2 for entry in results)
    sizes, model = [], nn.Conv2d(1, 8, 3)
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape))
    assert latencies([model], 5, torch.rand(1, 1, 10, 20), turns=2)[0].median > 0 and set(sizes) == {(5, 1, 10, 20)}
    with pytest.raises(ValueError, match="precision='fp8': must be"):
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

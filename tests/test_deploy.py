"""ONNX files compute what PyTorch computes, quantized ones nearly, and advice follows the rows."""

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_surgery import lively
from torch import nn

from experiments.advice import TARGETS, advise, on_gpu
from helpers import (
    CheckpointError,
    CifarNet,
    RandomPruning,
    drop_blocks,
    load_pretrained,
    predict,
    prune_channels,
    prune_globally,
    residual_blocks,
    shrink,
)
from helpers.deploy import export_onnx, onnx_accuracy, onnx_latencies, quantize_onnx, run_onnx
from helpers.training import evaluate

IMAGES = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def assert_same(model, path):
    ours, theirs = predict(model, IMAGES, precision="fp32"), run_onnx(path, IMAGES)
    assert (ours - theirs).abs().max() <= 1e-4


@settings(max_examples=6)  # an export takes seconds
@given(st.data())
def test_masks_and_widths_survive_the_export(tmp_path_factory, data):
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    model = lively(CifarNet(data.draw(st.sampled_from([0.1, 0.2]))))
    model = drop_blocks(model, data.draw(st.lists(st.sampled_from(residual_blocks(model)), unique=True, max_size=3)))
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    prune_channels(model, data.draw(st.floats(0, 0.7)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_onnx(model, path)  # masked
    assert_same(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    small = shrink(model)
    prune_globally(small, [RandomPruning(data.draw(st.floats(0, 0.9)))])
    export_onnx(small, path)
    assert_same(small, path)


def test_networks_of_another_input_shape(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 9, 5)).eval()
    export_onnx(model, tmp_path / "net.onnx", torch.rand(1, 1, 10, 20))
    images = torch.randint(256, (7, 1, 10, 20), dtype=torch.uint8)
    assert torch.allclose(run_onnx(tmp_path / "net.onnx", images), model(images / 255), atol=1e-5)
    assert onnx_latencies([tmp_path / "net.onnx"], 3, turns=2)[0].median > 0


@pytest.fixture(scope="module")
def exported(digits, tmp_path_factory):
    model, folder = load_pretrained(digits), tmp_path_factory.mktemp("onnx")
    export_onnx(model, folder / "dense.onnx")
    quantize_onnx(folder / "dense.onnx", folder / "int8.onnx", digits.train)
    return model, folder


def test_accuracy(exported, digits):
    model, folder = exported
    accuracy = evaluate(model, digits.val, precision="fp32").accuracy
    assert onnx_accuracy(folder / "dense.onnx", digits.val) == pytest.approx(accuracy, abs=0.01)


def test_eight_bits_are_smaller_and_nearly_the_same(exported, digits):
    model, folder = exported
    assert (folder / "int8.onnx").stat().st_size < 0.3 * (folder / "dense.onnx").stat().st_size
    assert onnx_accuracy(folder / "int8.onnx", digits.val) >= onnx_accuracy(folder / "dense.onnx", digits.val) - 0.03
    ours, theirs = predict(model, IMAGES, precision="fp32"), run_onnx(folder / "int8.onnx", IMAGES)
    assert (ours - theirs).abs().max() > 1e-4  # it is another computation
    both = onnx_latencies([folder / "dense.onnx", folder / "int8.onnx"], 2, turns=2)
    assert len(both) == 2 and all(time.median > 0 for time in both)
    assert sorted(p.name for p in folder.iterdir()) == ["dense.onnx", "int8.onnx"]  # nothing else is left behind


def test_a_failed_export_keeps_the_good_file(digits, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"good")

    class Fails(nn.Linear):
        def forward(self, images):
            raise RuntimeError("no such operation")

    with pytest.raises(Exception, match=r"(?i)export"):
        export_onnx(Fails(2, 2), path)
    with pytest.raises(CheckpointError, match=r"net\.onnx: missing, damaged, or no ONNX file; write it with export_onnx"):
        quantize_onnx(path, path, digits.train)
    assert path.read_bytes() == b"good"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, None])
def test_damaged_and_missing_files_are_named(exported, tmp_path, share):
    if share is not None:
        content = (exported[1] / "dense.onnx").read_bytes()
        (tmp_path / "net.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"net\.onnx: missing, damaged, or no ONNX file; write it with export_onnx"):
        run_onnx(tmp_path / "net.onnx", IMAGES)


# ---- advice


def rows(**changes):
    table = pd.DataFrame(
        [
            (1.0, "dense", "dense", 0.90, 10.0, 100.0, 1000, 80),
            (1.0, "shallow", "depth", 0.895, 6.0, 40.0, 500, 60),
            (1.0, "dense, int8", "dense", 0.90, 7.0, 50.0, 300, 80),
            (1.0, "dense, badly in int8", "dense", 0.6, 7.0, 50.0, 300, 80),
            (1.0, "tiny", "depth", 0.5, 1.0, 9.0, 50, 5),
            (0.5, "half", "dense", 0.83, 5.0, 30.0, 250, 20),
            (0.5, "half, masked", "magnitude", 0.828, 4.9, 29.0, 60, 20),
        ],
        columns=["width", "network", "method", "val_accuracy", "time_share_1", "time_share_256", "zipped_bytes", "macs"],
    ).assign(backend="cpu", precision=["fp32", "fp32", "int8", "int8", "fp32", "fp32", "fp32"])
    table["test_accuracy"] = table.val_accuracy - 0.01
    return pd.concat([table.assign(seed=seed) for seed in range(3)], ignore_index=True).assign(**changes)


def networks(table, target, points=1.0):
    return advise(table, target, points)[0].network.tolist()


def test_the_cheapest_good_network_of_each_width_is_first():
    assert networks(rows(), "CPU, large batches") == ["shallow", "dense, int8", "dense", "half"]
    assert networks(rows(), "storage or download") == ["dense, int8", "shallow", "dense", "half, masked", "half"]
    best = advise(rows(), "CPU, one image at a time")[0].iloc[0]
    assert (best.width, best.network, best.runs, best.time_share_1, best.share) == (1.0, "shallow", 3, 6.0, 0.6)
    assert (best.lost, best.margin) == (pytest.approx(0.5), pytest.approx(0))
    assert networks(rows(), "CPU, large batches", points=50)[0] == "tiny"


def test_a_mask_is_no_advice_where_time_counts():
    """It computes as much as the dense network, whatever the clock said; sparse kernels are another matter."""
    assert "half, masked" not in networks(rows(), "CPU, one image at a time")
    assert networks(rows(backend="sparse"), "accelerator with sparse kernels")[-2:] == ["half, masked", "half"]


def test_choices_are_made_by_validation_and_told_by_test():
    table = rows()
    lucky = table.network == "shallow"
    table.loc[lucky, "val_accuracy"] = 0.8
    assert "shallow" not in networks(table, "CPU, large batches")
    table = rows()
    table.loc[lucky, "test_accuracy"] = [0.80, 0.81, 0.82]
    first = advise(table, "CPU, large batches")[0].iloc[0]
    assert first.network == "shallow" and first.lost == pytest.approx(8) and first.margin == pytest.approx(2.484, abs=1e-3)


def test_advice_shows_the_rows_that_it_rests_on():
    table = rows()
    advice, because = advise(table, "storage or download")
    assert set(because.network) == set(advice.network) and "tiny" not in set(because.network)
    assert because.index.isin(table.index).all() and len(because) == advice.runs.sum()


def test_a_changed_row_changes_the_answer():
    changed = rows()
    changed.loc[(changed.network == "shallow") & (changed.seed == 1), "val_accuracy"] = 0.80
    assert networks(changed, "CPU, large batches")[0] == "dense, int8"
    changed = rows()
    changed.loc[changed.network == "half, masked", "zipped_bytes"] = 900
    assert networks(changed, "storage or download")[3] == "half"


def test_what_is_not_measured_gets_no_advice():
    for target in ("GPU, batches of 4,096", "accelerator with sparse kernels"):
        assert all(table.empty for table in advise(rows(), target))
    assert not advise(rows(backend="cuda"), "GPU, one image at a time")[0].empty
    with pytest.raises(ValueError, match=r"target='TPU': must be one of CPU, one image"):
        advise(rows(), "TPU")
    with pytest.raises(ValueError, match="must hold the dense network of width 0.5"):
        advise(rows()[lambda table: table.network != "half"], next(iter(TARGETS)))


def test_a_gpus_times_go_to_the_networks_of_their_shape():
    """Shares of the dense network of width 1.0, turn by turn; from scratch is as fast as uniform; no masks, no int8."""
    names = ["width", "method", "share", "blocks", "source", "precision"]
    kinds = [
        (1.0, "dense", None, 0, "depth_width", "fp32"),
        (1.0, "dense", None, 0, "depth_width", "int8"),
        (1.0, "depth", None, 1, "depth_width", "fp32"),
        (0.5, "dense", None, 0, "depth_width", "fp32"),
        (0.5, "width, uniform", 0.5, 0, "depth_width", "fp32"),
        (0.5, "from scratch", 0.5, 0, "depth_width", "fp32"),
        (0.5, "from scratch", 0.25, 0, "depth_width", "fp32"),  # not timed
        (0.5, "magnitude", None, None, "gradual_pruning", "fp32"),
    ]
    table = pd.DataFrame(kinds, columns=names).assign(seed=3, backend="cpu", test_accuracy=0.5)
    table["share"] = table.share.astype(float)
    cut = table[table.source == "depth_width"].query("precision == 'fp32'")[["width", "method", "share", "blocks", "seed"]]
    cut["dropped"] = cut.method.map({"depth": "stage1.block1"})
    timed = {
        (1.0, "dense", None, 1.0): 4.0, (1.0, "depth", "stage1.block1", 1.0): 3.0,
        (0.5, "dense", None, 1.0): 2.0, (0.5, "width, uniform", None, 0.5): 1.0,
    }  # fmt: skip
    times = [
        (*shape, size, precision, turn, own * (turn + 1) * (1 if precision == "fp32" else 7))
        for shape, own in timed.items()
        for size in (1, 4096)
        for precision in ("fp32", "bf16")
        for turn in range(6)
    ]
    times = pd.DataFrame(
        times, columns=["width", "method", "dropped", "share", "batch_size", "precision", "turn", "milliseconds"]
    )
    found = on_gpu(table, cut, times)
    assert found.index.size == 5 and set(found.precision) == {"fp32"} and set(found.backend) == {"cuda"}
    assert found.time_share_4096.tolist() == [1.0, 0.75, 0.5, 0.25, 0.25] == found.time_share_1.tolist()
    assert table.backend.eq("cpu").all()

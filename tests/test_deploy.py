"""ONNX files compute what PyTorch computes, and quantized ones nearly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_surgery import lively
from torch import nn

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

"""Networks outside PyTorch: exported to ONNX, run and timed in onnxruntime, quantized to 8 bits. Introduced in lesson 10."""

import logging
import os
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace

import onnxruntime
import torch
from torch import Tensor, nn

from .checkpoints import CheckpointError
from .data import Split, replacing
from .masks import plain_copy
from .metrics import Latency, example_batch, interleaved_timings


def export_onnx(model: nn.Module, path: str | os.PathLike, example_input: Tensor | None = None) -> None:
    """Write a network, masks applied, as an ONNX file that takes "images" in batches of any size and gives "logits".

    `example_input` is a batch; by default [1, 3, 32, 32]. A failed export leaves an older file whole.
    """
    plain = plain_copy(model).cpu().eval()
    images = example_batch(plain, example_input, 2)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it remarks on packages that this network doesn't need
    names = {"input_names": ["images"], "output_names": ["logits"], "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    program = torch.onnx.export(plain, (images,), dynamo=True, verbose=False, **names)
    with replacing(path) as beside:
        program.save(beside)


def run_onnx(path: str | os.PathLike, images: Tensor) -> Tensor:
    """Logits [N, 10] of an ONNX file for images (uint8 [N, 3, H, W]), computed by onnxruntime on the CPU."""
    session = _session(path)
    batches = (batch.float().div(255).numpy() for batch in images.split(500))
    return torch.cat([torch.from_numpy(session.run(None, {"images": batch})[0]) for batch in batches])


def onnx_accuracy(path: str | os.PathLike, split: Split) -> float:
    """Accuracy of an ONNX file on a split, 0..1."""
    return int((run_onnx(path, split.images).argmax(1) == split.labels).sum()) / len(split)


def onnx_latencies(paths: Iterable[str | os.PathLike], batch_size: int = 1, *, turns: int = 7) -> list[Latency]:
    """Times of a forward pass of ONNX files in onnxruntime, interleaved as in `latencies`, with as many threads as torch."""
    calls = []
    for session in map(_session, paths):
        images = torch.rand(batch_size, *session.get_inputs()[0].shape[1:])
        calls.append(partial(session.run, None, {"images": images.numpy()}))
    return interleaved_timings(calls, turns)


def quantize_onnx(path: str | os.PathLike, target: str | os.PathLike, split: Split) -> None:
    """Static 8-bit quantization of an ONNX file: weights per channel, activations by their ranges on 500 images of `split`.

    Take training images, never test ones. Source: Jacob et al. 2018 (arXiv:1712.05877), done by `onnxruntime.quantization`.
    """
    _session(path)  # a missing or damaged file is named here
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    inputs = ({"images": batch.numpy()} for batch in split.images[:500].float().div(255).split(100))
    reader = SimpleNamespace(get_next=partial(next, inputs, None))
    with replacing(target) as beside:
        file, layers = str(beside), ["Conv", "Gemm", "Add"]
        quant_pre_process(str(path), file)
        quantize_static(file, file, reader, per_channel=True, op_types_to_quantize=layers, activation_type=QuantType.QUInt8)


def _session(path: str | os.PathLike) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads slow the next network
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CheckpointError(f"{path}: missing, damaged, or no ONNX file; write it with export_onnx") from error

"""Networks outside PyTorch: exported to ONNX, run and timed in onnxruntime, quantised to 8 bits.

Introduced in notebook 08.
"""

import copy
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from .checkpoints import CheckpointError
from .data import Split, replacing
from .masks import make_permanent, up_to_date
from .metrics import IMAGE, Latency, by_turns

INPUT = "images"


def export_onnx(model: nn.Module, path: str | os.PathLike) -> None:
    """Write a network, masks applied, as an ONNX file for any batch size (`torch.onnx.export` by `torch.export`).

    The file takes float images [N, 3, 32, 32] in 0..1 named "images", and gives logits [N, 10]. A failed
    export leaves an older file whole.

    Example:
        >>> export_onnx(small, "small.onnx")  # doctest: +SKIP
        >>> run_onnx("small.onnx", data.test.images[:5]).shape  # doctest: +SKIP
        torch.Size([5, 10])
    """
    plain = make_permanent(copy.deepcopy(up_to_date(model))).cpu().eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it remarks on packages that this network doesn't need
    any_size = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        plain, (torch.rand(2, *IMAGE),), dynamo=True, verbose=False, input_names=[INPUT], output_names=["logits"],
        dynamic_shapes=any_size,
    )  # fmt: skip
    with replacing(path) as beside:
        program.save(beside)


def run_onnx(path: str | os.PathLike, images: Tensor, batch_size: int = 500) -> Tensor:
    """Logits [N, 10] of an ONNX file for images (uint8 [N, 3, 32, 32]), computed by onnxruntime on the CPU.

    Raises:
        CheckpointError: for a file that is missing or damaged, by name and with the next step.
    """
    session = _session(path)
    batches = (batch.float().div(255).numpy() for batch in images.split(batch_size))
    return torch.from_numpy(np.concatenate([session.run(None, {INPUT: batch})[0] for batch in batches]))


def onnx_accuracy(path: str | os.PathLike, split: Split) -> float:
    """Accuracy of an ONNX file on a split, 0..1."""
    return int((run_onnx(path, split.images).argmax(1) == split.labels).sum()) / len(split)


def onnx_latencies(paths: Iterable[str | os.PathLike], batch_size: int = 1, *, turns: int = 7) -> list[Latency]:
    """Times of a forward pass of ONNX files in onnxruntime, by turns as in `latencies`, with as many threads as torch.

    Threads that wait sleep: by default those of one file's session would spin, and slow down the next one's turn.
    """
    sessions, images = [_session(path, spinning=False) for path in paths], torch.rand(batch_size, *IMAGE).numpy()
    return by_turns([lambda session=session: session.run(None, {INPUT: images}) for session in sessions], batch_size, turns)


def quantise_onnx(path: str | os.PathLike, target: str | os.PathLike, split: Split, images: int = 500) -> None:
    """Static 8-bit quantisation of an ONNX file: weights per channel, activations by the ranges of some training images.

    Convolutions, linear layers and additions become integer operations. Source: Jacob et al. 2018 (arXiv:1712.05877);
    done by `onnxruntime.quantization`.

    Args:
        split: where the first `images` images come from: training images, never test ones.

    Example:
        >>> quantise_onnx("small.onnx", "small-int8.onnx", data.train)  # doctest: +SKIP
    """
    _session(path)  # a missing or damaged file is named here
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        batches = iter(split.images[:images].float().div(255).split(100))

        def get_next(self):
            return next(({INPUT: batch.numpy()} for batch in self.batches), None)

    with tempfile.TemporaryDirectory() as folder, replacing(target) as beside:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(str(path), str(prepared))
        quantize_static(
            str(prepared), str(beside), Reader(), per_channel=True, op_types_to_quantize=["Conv", "Gemm", "Add"],
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip


def _session(path: str | os.PathLike, spinning: bool = True) -> onnxruntime.InferenceSession:
    if not Path(path).exists():
        raise CheckpointError(f"{path}: no such file; write it with export_onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CheckpointError(f"{path}: damaged, or no ONNX file; write it again with export_onnx") from error

"""What a network costs: parameters, multiply-accumulates, bytes and latency, beside its accuracy. Introduced in lesson 07."""

import copy
import io
import logging
import timeit
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .data import Split
from .devices import autocast, eval_mode, up_to_date
from .training import evaluate


@dataclass(frozen=True)
class Latency:
    """Milliseconds a batch: median and interquartile range over the turns, and each turn's."""

    median: float
    iqr: float
    times: list[float]

    def __repr__(self) -> str:
        return f"{self.median:.2f} ms (IQR {self.iqr:.2f})"


@dataclass(frozen=True)
class Measurement:
    """What `measure` found: accuracy in 0..1, MACs for one example, `latency` by batch size."""

    accuracy: float
    parameters: int
    macs: int
    file_bytes: int
    latency: dict[int, Latency]

    def rows(self) -> dict[str, float]:
        """The numbers by name, as in a table."""
        numbers = {name: number for name, number in vars(self).items() if name != "latency"}
        return numbers | {f"latency_ms, batch {size}": latency.median for size, latency in self.latency.items()}

    def compare(self, other: "Measurement") -> pd.DataFrame:
        """This network beside `other`: both values, and how many times smaller or faster `other` is (accuracy: points).

        Times that differ by less than their spread, or the 5 % by which two measurements drift, are "inside the noise".
        """
        table = pd.DataFrame({"this": self.rows(), "other": other.rows()}, dtype=object)
        table["gain"] = (table.this.astype(float) / table.other.astype(float)).map("{:.2f}×".format)
        table.loc["accuracy", "gain"] = f"{100 * (other.accuracy - self.accuracy):+.1f} points"
        for size, a in self.latency.items():
            b = other.latency[size]
            if abs(a.median - b.median) <= max((a.iqr + b.iqr) / 2, 0.05 * max(a.median, b.median)):
                table.loc[f"latency_ms, batch {size}", "gain"] = "inside the noise"
        return table


def example_batch(model: nn.Module, example_input: Tensor | None = None, batch_size: int = 1) -> Tensor:
    """Random images in the shape of `example_input` (a batch; default: [1, 3, 32, 32]), always the same; other data repeated."""
    shape = (3, 32, 32) if example_input is None else example_input.shape[1:]
    batch = torch.rand(batch_size, *shape, generator=torch.Generator().manual_seed(0))
    if example_input is not None and not example_input.is_floating_point():
        batch = example_input[:1].expand(batch_size, *shape)
    return batch.to(next(model.parameters()).device)


def count_macs(model: nn.Module, example_input: Tensor | None = None) -> int:
    """Multiply-accumulates of one example through convolutions and linear layers (`torch.utils.flop_counter`, halved).

    Masks don't change it: zeros are multiplied like other numbers. `example_input` is a batch; default: [1, 3, 32, 32], for
    which `nn.Conv2d(3, 8, 3, padding=1)` has 221,184: its 3 * 8 * 9 weights at each of 1,024 places.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter doesn't know attention's fused kernels
    try:
        with eval_mode(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(example_batch(model, example_input))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2


def latencies(models: Iterable[nn.Module], batch_size=1, example_input=None, precision="fp32", turns=7) -> list[Latency]:
    """Time of a forward pass of each network, in evaluation mode, on its device; images are channels last.

    Networks take turns, so what slows the machine for a while slows them all alike. `example_input` is as in `count_macs`.
    """
    calls = []
    for model in models:
        batch = example_batch(model, example_input, batch_size)
        layout = torch.channels_last if batch.ndim == 4 else torch.contiguous_format
        run = partial(copy.deepcopy(up_to_date(model)).eval().to(memory_format=layout), batch.to(memory_format=layout))
        calls.append(autocast(batch.device, precision)(torch.inference_mode()(run)))
    return interleaved_timings(calls, turns)


def interleaved_timings(calls: Collection[Callable[[], object]], turns: int = 7) -> list[Latency]:
    """Time of each call: in each turn every one is timed once, for about 20 ms after a run to warm up, or for one long run."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it remarks on CUDA when torch.utils.benchmark loads
    from torch.utils.benchmark import timer as clock  # waits for the accelerator

    runs = [max(1, round(0.02 / timeit.timeit(call, call, clock, 1))) for call in calls]
    timers = [timeit.Timer(call, call if number > 1 else "pass", clock) for call, number in zip(calls, runs, strict=True)]
    times = torch.tensor([[1e3 * timer.timeit(n) / n for timer, n in zip(timers, runs, strict=True)] for _ in range(turns)])
    low, median, high = times.quantile(torch.tensor([0.25, 0.5, 0.75]), dim=0)
    return [Latency(*numbers) for numbers in zip(median.tolist(), (high - low).tolist(), times.T.tolist(), strict=True)]


def measure(model: nn.Module, split: Split, example_input: Tensor | None = None, batch_sizes=(1, 256), turns=7) -> Measurement:
    """Accuracy on `split` (by `evaluate`), size, and fp32 speed by `latencies` for images such as `example_input` (or `split`)."""
    file, example_input = io.BytesIO(), split.images[:1].float() if example_input is None else example_input
    torch.save(model.state_dict(), file)
    return Measurement(
        accuracy=evaluate(model, split).accuracy,
        parameters=sum(p.numel() for p in model.parameters()),
        macs=count_macs(model, example_input),
        file_bytes=file.tell(),
        latency={size: latencies([model], size, example_input, turns=turns)[0] for size in batch_sizes},
    )

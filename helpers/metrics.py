"""What a network costs: parameters, multiply-accumulates, bytes and measured latency, beside its accuracy.

Introduced in notebook 05.
"""

import copy
import io
import logging
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .data import Split, check, check_whole
from .devices import autocast, eval_mode
from .masks import make_permanent, up_to_date
from .training import evaluate

IMAGE = (3, 32, 32)
DRIFT = 0.05  # share by which a network's latency changes between two measurements

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it remarks on CUDA when torch.utils.benchmark loads
from torch.utils import benchmark  # noqa: E402


@dataclass(frozen=True)
class Latency:
    """Milliseconds a batch: median and interquartile range of repeated runs; `times` are those of each turn."""

    median: float
    iqr: float
    batch_size: int
    times: tuple[float, ...] = ()

    def relative_to(self, other: "Latency") -> float:
        """This time as a share of another's, with which it took turns: the median over the turns, in which drift cancels."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.times, other.times, strict=True))

    def __repr__(self) -> str:
        return f"{self.median:.2f} ms (IQR {self.iqr:.2f})"


@dataclass(frozen=True)
class Measurement:
    """What `measure` found. `latency` is by batch size; `latency_ms` is the one at batch 1; MACs are for one image."""

    accuracy: float
    parameters: int
    nonzero: int
    macs: int
    file_bytes: int
    latency: dict[int, Latency]
    threads: int
    precision: str

    @property
    def latency_ms(self) -> float:
        return self.latency[min(self.latency)].median

    def rows(self) -> dict[str, float]:
        """The numbers by name, as in a table."""
        plain = {name: getattr(self, name) for name in ("accuracy", "parameters", "nonzero", "macs", "file_bytes")}
        return plain | {f"latency_ms, batch {size}": latency.median for size, latency in self.latency.items()}

    def compare(self, other: "Measurement") -> pd.DataFrame:
        """This network beside `other`: both values, and how many times smaller or faster `other` is.

        Accuracy is compared by its difference in points. Where the interquartile ranges of two latencies overlap, or
        their medians differ by less than 5 %, `remark` says that the difference lies inside the noise: two measurements
        drift as well as spread. Small differences take `latencies`, which times by turns.

        Raises:
            ValueError: for a measurement at other batch sizes, with other threads or in another precision.
        """
        check(set(self.latency) <= set(other.latency), "other", list(other.latency), f"timed at batches {list(self.latency)}")
        how, theirs = ((m.threads, m.precision) for m in (self, other))
        check(how == theirs, "other", theirs, f"measured with the same threads and precision, {how}")
        theirs = other.rows()
        rows = {name: {"this": value, "other": theirs[name], "remark": ""} for name, value in self.rows().items()}
        for name, row in rows.items():
            row["gain"] = f"{row['this'] / row['other']:.2f}×" if row["other"] else "∞"
            if name == "accuracy":
                row["gain"] = f"{100 * (other.accuracy - self.accuracy):+.1f} points"
        for size, mine in self.latency.items():
            yours = other.latency[size]
            noise = max((mine.iqr + yours.iqr) / 2, DRIFT * max(mine.median, yours.median))
            told = f"{self.threads} thread{'s' if self.threads > 1 else ''}, {self.precision}, IQR {mine.iqr:.2g} and {yours.iqr:.2g}"
            if abs(mine.median - yours.median) <= noise:
                told = f"inside the noise; {told}"
            rows[f"latency_ms, batch {size}"]["remark"] = told
        return pd.DataFrame(rows.values(), index=rows, columns=["this", "other", "gain", "remark"], dtype=object)


def count_macs(model: nn.Module, example_input: torch.Tensor | None = None) -> int:
    """Multiply-accumulates of one image through convolutions and linear layers (`torch.utils.flop_counter`, halved).

    Masks don't change it: zeros are multiplied like other numbers.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1))  # 3 * 8 * 9 weights at each of 1,024 places
        221184
    """
    device = next(model.parameters()).device
    with eval_mode(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        shape = IMAGE if example_input is None else example_input.shape[1:]
        model(torch.zeros(1, *shape, device=device))
    return counter.get_total_flops() // 2


def file_bytes(model: nn.Module) -> int:
    """Size in bytes of the saved `state_dict`."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell()


def latencies(models: Iterable[nn.Module], batch_size: int = 1, *, precision: str = "fp32", turns: int = 7) -> list[Latency]:
    """Time of a forward pass of each network, in evaluation mode, channels last, on the networks' device.

    By turns: what slows the machine for a while slows them all alike. In each turn every network is timed once, after a
    warm-up, for about 20 ms or one forward pass (`torch.utils.benchmark`), with as many threads as torch uses; medians and
    IQRs are over the turns.

    Raises:
        ValueError: for a batch size below 1, fewer than two turns, or an unknown precision.

    Example:
        >>> latencies([model, small], 256)  # doctest: +SKIP
        [41.20 ms (IQR 0.83), 13.05 ms (IQR 0.41)]
    """
    return by_turns([_forward_pass(model, batch_size, precision) for model in models], batch_size, turns)


def by_turns(runs: Iterable[Callable[[], object]], batch_size: int, turns: int = 7) -> list[Latency]:
    """Time of each call, in turns: medians and IQRs over the turns."""
    check_whole("turns", turns, 2)
    timers = [benchmark.Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads()) for run in runs]
    calls = [max(1, round(0.02 / timer.timeit(1).mean)) for timer in timers]
    times = torch.tensor([[1e3 * timer.timeit(n).mean for timer, n in zip(timers, calls, strict=True)] for _ in range(turns)])
    quartiles = times.quantile(torch.tensor([0.25, 0.5, 0.75]), dim=0).T.tolist()
    found = zip(quartiles, times.T.tolist(), strict=True)
    return [Latency(median, high - low, batch_size, tuple(own)) for (low, median, high), own in found]


def _forward_pass(model: nn.Module, batch_size: int, precision: str) -> Callable[[], None]:
    """A call that runs random images through a copy of the model, in evaluation mode, channels last."""
    check_whole("batch_size", batch_size, 1)
    device = next(model.parameters()).device
    in_precision = autocast(device, precision)
    timed = copy.deepcopy(up_to_date(model)).eval().to(memory_format=torch.channels_last)
    images = torch.rand(batch_size, *IMAGE, device=device).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode(), in_precision:
            timed(images)

    return run


def measure(
    model: nn.Module, split: Split, *, batch_sizes: Iterable[int] = (1, 256), precision: str = "fp32", turns: int = 7
) -> Measurement:
    """Accuracy on `split`, size and speed of a model, on the device that it is on.

    `parameters` counts all parameters of the network that runs (masks are not parameters); `nonzero` those that are
    not zero; accuracy is that of `evaluate`, in its own precision. Energy is not measured.

    Example:
        >>> measure(model, data.test).compare(measure(small, data.test))  # doctest: +SKIP
    """
    plain = make_permanent(copy.deepcopy(up_to_date(model)))
    values = [p.detach() for p in plain.parameters()]
    return Measurement(
        accuracy=evaluate(model, split).accuracy,
        parameters=sum(v.numel() for v in values),
        nonzero=sum(int(v.count_nonzero()) for v in values),
        macs=count_macs(plain),
        file_bytes=file_bytes(model),
        latency={size: latencies([model], size, precision=precision, turns=turns)[0] for size in batch_sizes},
        threads=torch.get_num_threads(),
        precision=precision,
    )

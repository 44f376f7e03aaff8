"""Is a network with half the channels as much faster as it is smaller? Dense and half-width, by turns, on the CPU (`make bench`).

Rows go to results/pruned_speed.csv on CIFAR-10 at the full budget, else to build/results/.
"""

import os

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from experiments.device import describe_device
from helpers import CifarNet, count_macs, latencies, load_dataset, output_path, prune_channels, shrink
from helpers.data import replacing
from helpers.devices import pick_precision

DEVICE = torch.device("cpu")
TURNS, BATCHES, WHOLE = 3, (1, 256), "forward pass"
TARGET = 0.7  # the share of the MAC reduction that is to show as speed-up at batch 256
KINDS = {"conv": "convolution", "batch_norm": "batch norm", "relu": "ReLU", "clamp": "ReLU", "pool": "pooling", "add": "addition"}


def by_kind(model, batch_size):
    """Milliseconds of one forward pass by kind of operator (torch.profiler, self time)."""
    images = torch.rand(batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    timed = model.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        timed(images)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            timed(images)
    milliseconds = {}
    for event in profiler.key_averages():
        kind = next((kind for part, kind in KINDS.items() if part in event.key), "other")
        milliseconds[kind] = milliseconds.get(kind, 0.0) + event.self_cpu_time_total / 1000
    return milliseconds


def speed_ups(table):
    """How many times faster half the channels are, by threads, precision, batch size and turn."""
    whole = table[table.part == WHOLE]
    times = whole.set_index(["threads", "precision", "batch_size", "turn", "network"]).median_ms.unstack()
    return times["dense"] / times["half the channels"]


def main():
    data = load_dataset()
    dense = CifarNet(1.0).eval()
    half = CifarNet(1.0).eval()
    prune_channels(half, 0.5)
    networks = {"dense": dense, "half the channels": shrink(half)}
    precisions = sorted({"fp32", pick_precision(DEVICE)})
    rows = []

    def add(name, threads, precision, size, turn, part, milliseconds, iqr=""):
        rows.append({
            "dataset": data.label, "device": describe_device(DEVICE), "torch": torch.__version__.split("+")[0], "network": name,
            "macs": count_macs(networks[name]), "threads": threads, "precision": precision, "batch_size": size, "turn": turn,
            "part": part, "median_ms": round(milliseconds, 3), "iqr_ms": iqr if iqr == "" else round(iqr, 3),
        })  # fmt: skip

    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        for turn in range(TURNS):
            for precision in precisions:
                for size in BATCHES:
                    times = latencies(networks.values(), size, precision=precision)
                    for name, time in zip(networks, times, strict=True):
                        add(name, threads, precision, size, turn, WHOLE, time.median, time.iqr)
            for size in BATCHES:
                for name, network in networks.items():
                    for kind, milliseconds in by_kind(network, size).items():
                        add(name, threads, "fp32", size, turn, kind, milliseconds)
    table = pd.DataFrame(rows)
    reduction = count_macs(dense) / count_macs(networks["half the channels"])
    print(f"{reduction:.2f} times fewer MACs; target: {TARGET} of that at batch 256")
    for (threads, precision, size), faster in speed_ups(table).groupby(["threads", "precision", "batch_size"]).median().items():
        setting = f"{threads} thread(s), {precision}, batch {size}"
        print(f"  {setting:<28} {faster:.2f} times faster: {faster / reduction:.2f} of the reduction")
    parts = table[table.part != WHOLE].groupby(["threads", "batch_size", "part", "network"]).median_ms.median().unstack()
    parts["times faster"] = parts["dense"] / parts["half the channels"]
    print("where the time of one pass goes (ms, profiled)")
    print(parts.sort_values(["threads", "batch_size", "dense"], ascending=[True, True, False]).round(2).to_string())
    path = output_path("results/pruned_speed.csv", data)
    with replacing(path) as beside:
        table.to_csv(beside, index=False)


if __name__ == "__main__":
    main()

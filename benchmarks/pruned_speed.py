"""Is a network with half the channels as much faster as it is smaller? Dense and half-width, by turns, in one run (`make bench`).

Rows go to results/pruned_speed.csv on CIFAR-10 at the full budget, else to build/results/.
"""

import os

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from helpers import CifarNet, count_macs, latency, load_dataset, output_path, prune_channels, shrink
from helpers.training import describe_device, pick_device, pick_precision

TURNS, BATCHES = 3, (1, 256)
KINDS = {"conv": "convolution", "batch_norm": "batch norm", "relu": "ReLU", "clamp": "ReLU", "pool": "pooling", "add": "addition"}


def by_kind(model, batch_size):
    """Milliseconds of one forward pass by kind of operator (torch.profiler, self time)."""
    images = torch.rand(batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    timed = model.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        timed(images)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            timed(images)
    found = {}
    for event in profiler.key_averages():
        kind = next((kind for part, kind in KINDS.items() if part in event.key), "other")
        found[kind] = found.get(kind, 0.0) + event.self_cpu_time_total / 1000
    return found


def main():
    data = load_dataset()
    device = pick_device()
    dense = CifarNet(1.0).eval()
    half = CifarNet(1.0).eval()
    prune_channels(half, 0.5)
    networks = {"dense": dense, "half the channels": shrink(half)}
    precisions = sorted({"fp32", pick_precision(device)})
    rows = []
    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        for turn in range(TURNS):
            for precision in precisions:
                for size in BATCHES:
                    for name, network in networks.items():
                        time = latency(network, size, precision=precision, seconds=1.0)
                        rows.append({
                            "dataset": data.label, "device": describe_device(device), "torch": torch.__version__.split("+")[0],
                            "network": name, "macs": count_macs(network), "threads": threads, "precision": precision,
                            "batch_size": size, "turn": turn, "median_ms": round(time.median, 3), "iqr_ms": round(time.iqr, 3),
                        })  # fmt: skip
    table = pd.DataFrame(rows)
    median = table.groupby(["threads", "precision", "batch_size", "network"]).median_ms.median().unstack()
    reduction = count_macs(dense) / count_macs(networks["half the channels"])
    print(f"{reduction:.2f} times fewer MACs")
    for (threads, precision, size), times in median.iterrows():
        faster = times["dense"] / times["half the channels"]
        told = f"{threads} thread(s), {precision}, batch {size}"
        print(f"  {told:<28} {faster:.2f} times faster: {faster / reduction:.2f} of the reduction")
    for size in BATCHES:
        parts = {name: by_kind(network, size) for name, network in networks.items()}
        print(f"where the time of one pass goes, batch {size} (ms, profiled: dense, half the channels, times faster)")
        for kind, milliseconds in sorted(parts["dense"].items(), key=lambda part: -part[1]):
            other = parts["half the channels"].get(kind, 0.0)
            print(f"  {kind:<12} {milliseconds:8.2f} {other:8.2f} {milliseconds / other if other else float('inf'):6.2f}")
    path = output_path("results/pruned_speed.csv", data)
    beside = path.with_suffix(".tmp")
    table.to_csv(beside, index=False)
    os.replace(beside, path)


if __name__ == "__main__":
    main()

"""The name of the device that measured a row."""

import os
import platform
import re
from pathlib import Path

import torch


def describe_device(device: torch.device | str) -> str:
    """The name of a device in result rows: that of the GPU, or of the processor with its core count."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    name = named[1].strip() if named else platform.processor() or platform.machine()
    return f"{name} GPU (mps)" if kind == "mps" else f"{name} ({os.cpu_count()} cores)"

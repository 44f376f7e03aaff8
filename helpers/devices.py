"""Where and how a network computes: devices, precision, modes. Used by everything that runs a network."""

from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

from .data import check


def pick_device() -> torch.device:
    """The fastest device of this machine: a GPU where there is one, else the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def pick_precision(device: torch.device) -> str:
    """ "bf16" where the device computes it natively, else "fp32": emulated bf16 is slower, not faster."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # newer Intel and AMD processors
    return "bf16" if device.type == "cpu" and native and torch.backends.mkldnn.is_available() else "fp32"


@contextmanager
def eval_mode(model: nn.Module):
    """Every module in evaluation mode inside the block, and back in its own mode after it."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def on_device(model: nn.Module, device: torch.device):
    """The model on a device inside the block, and back on its own after it."""
    home = next(model.parameters()).device
    try:
        yield model.to(device)
    finally:
        model.to(home)
        up_to_date(model)


@torch.no_grad()
def up_to_date(model: nn.Module) -> nn.Module:
    """The model itself, masked weights computed anew: after a load they are stale, after training deepcopy refuses them."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                hook(module, None)
    return model


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a forward pass runs in a precision: "auto" (bf16 where native), "fp32" or "bf16"."""
    check(precision in ("auto", "fp32", "bf16"), "precision", precision, "auto, fp32 or bf16")
    precision = pick_precision(device) if precision == "auto" else precision
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def to_float(images: Tensor, device: torch.device) -> Tensor:
    """uint8 [N, 3, H, W] -> float [N, 3, H, W] in 0..1, channels last."""
    return images.to(device).contiguous(memory_format=torch.channels_last).float().div_(255)

"""Pruned networks in files: masked, permanent or shrunk, with what is needed to build them again. Introduced in notebook 08."""

import os

import torch
from torch import nn
from torch.nn.utils import prune

from .models import (
    PRUNED_FORMAT,
    CheckpointError,
    CifarNet,
    DepthPrunedNet,
    SimpleNet,
    WidthPrunedNet,
    check_facts,
    fit_sizes,
    plain_state,
    read_checkpoint,
    write_checkpoint,
)
from .pruning import masked_parameter, prunable_layers, sparsity, up_to_date

KINDS = {kind.__name__: kind for kind in (CifarNet, SimpleNet, DepthPrunedNet, WidthPrunedNet)}
VERSION = 1


def save_pruned(model: nn.Module, path: str | os.PathLike, data: str | None = None, **facts) -> None:
    """Save a network of this collection, masked or not, whole, shrunk or without blocks, with a manifest.

    Args:
        data: what it was trained on, for the manifest; None: not told.
        facts: further plain values for the manifest, for example `test_accuracy=0.88`.

    Raises:
        ValueError: for another kind of network, for a fact that is no plain value, or for one with a name that the manifest
            has already; nothing is written.

    Example:
        >>> save_pruned(small, "small.pth", data="CIFAR-10")  # doctest: +SKIP
        >>> load_pruned("small.pth").manifest["sparsity"]  # doctest: +SKIP
        0.0
    """
    kind = type(model).__name__
    if KINDS.get(kind) is not type(model):
        raise ValueError(
            f"model={kind}: must be one of {', '.join(KINDS)}; save other networks as a state_dict beside their code"
        )
    check_facts(facts | {"data": data})
    layers = prunable_layers(model)
    if kind == "CifarNet":
        architecture = {"width": model.width, "classes": layers["fc"].out_features}
    else:
        first, last = list(layers.values())[0], list(layers.values())[-1]
        architecture = {"inputs": first.in_features, "classes": last.out_features}
    manifest = {
        "kind": kind,
        "architecture": architecture,
        "layers": {name: list(masked_parameter(layer).shape) for name, layer in layers.items()},
        "dropped": [name for name, module in model.named_modules() if isinstance(module, nn.Identity)],
        "sparsity": sparsity(model).fraction,
        "data": data,
        "torch": torch.__version__.split("+")[0],
    }
    if taken := [name for name in facts if name in manifest]:
        raise ValueError(f"facts: {', '.join(taken)}: the manifest says this by itself; give the facts other names")
    manifest |= facts
    write_checkpoint(
        path, {"format": PRUNED_FORMAT, "version": VERSION, "manifest": manifest, "state": plain_state(up_to_date(model))}
    )


def load_pruned(path: str | os.PathLike) -> nn.Module:
    """A network saved by `save_pruned`, in evaluation mode, its masks in place; `model.manifest` says what it is.

    Raises:
        CheckpointError: for a file that is missing, truncated, foreign or from a later version, by name and with the
            next step.
    """
    content = read_checkpoint(path, PRUNED_FORMAT, "save it again with save_pruned")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(f"{path}: written by a later version of this collection ({version}): update it (git pull)")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(f"{path}: damaged, its version is {version!r}: save it again with save_pruned")
    try:
        manifest, state = content["manifest"], content["state"]
        model = KINDS[manifest["kind"]](**manifest["architecture"])
        for name in manifest["dropped"]:
            model.set_submodule(name, nn.Identity())
        for name, module in model.named_modules():
            _fit(module, {key.removeprefix(f"{name}."): value for key, value in state.items() if key.rpartition(".")[0] == name})
        model.load_state_dict(state)
    except Exception as error:
        raise CheckpointError(
            f"{path}: its weights do not fit its manifest ({type(error).__name__}): save it again with save_pruned"
        ) from error
    model.manifest = manifest
    return up_to_date(model).eval()


def _fit(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give a layer the shapes and masks that a state has for it."""
    for name, value in state.items():
        if (part := getattr(module, name.removesuffix("_orig"), None)) is not None:
            part.data = torch.empty_like(value)
    for name in [key.removesuffix("_mask") for key in state if key.endswith("_mask")]:
        prune.identity(module, name)
    fit_sizes(module)

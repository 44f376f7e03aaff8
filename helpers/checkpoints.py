"""One file format for dense, masked and shrunk networks, and the trained networks that the notebooks start from.

Introduced in notebooks 01 and 08.
"""

import copy
import json
import os
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock
from torch import nn
from torch.nn.utils import prune

from .data import REPOSITORY, Dataset, check, replacing
from .devices import seed_everything
from .masks import masked_parameter, prunable_layers, sparsity, up_to_date
from .models import CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, fit_sizes
from .training import RECIPE, default_batch_size, default_rate, train

FORMAT, VERSION = "pruning-notebooks/network", 1
CHECKPOINT = REPOSITORY / "cifar_net.pth"
KINDS = {kind.__name__: kind for kind in (CifarNet, SimpleNet, DepthPrunedNet, WidthPrunedNet)}
DIGITS_EPOCHS = 4


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged or foreign; the message names the file and the next step."""


def save_network(model: nn.Module, path: str | os.PathLike, *, float16: bool = False, **facts) -> None:
    """Save a network, masked or not, whole, shrunk or without blocks, with a manifest of what it is.

    The file is written beside and renamed: a failed run leaves the good one. The same network gives the same bytes.

    Args:
        float16: store convolution and linear weights rounded to float16, in half the bytes; they load as float32.
        facts: plain values to keep with the network, for example `test_accuracy=0.88`.

    Raises:
        ValueError: for a fact that is no plain value, or that has a name of the manifest; nothing is written.

    Example:
        >>> save_network(small, "small.pth", dataset="CIFAR-10")  # doctest: +SKIP
        >>> load_network("small.pth").manifest["sparsity"]  # doctest: +SKIP
        0.0
    """
    manifest = {
        "kind": type(model).__name__,
        "architecture": _architecture(model),
        "layers": {name: list(masked_parameter(layer).shape) for name, layer in prunable_layers(model).items()},
        "dropped": [name for name, module in model.named_modules() if isinstance(module, nn.Identity)],
        "sparsity": sparsity(model).fraction,
        "torch": torch.__version__.split("+")[0],
    }
    if taken := [name for name in facts if name in manifest]:
        raise ValueError(f"facts: {', '.join(taken)}: the manifest says this by itself; give the facts other names")
    for name, value in facts.items():
        plain = type(value) in (str, int, float, bool, type(None))  # not NumPy's floats, which weights_only refuses
        check(plain, name, value, "a plain value (text, number, truth value or None)")
    state = {key: value.detach().cpu().contiguous() for key, value in up_to_date(model).state_dict().items()}
    if float16:
        weights = {f"{name}.weight{end}" for name in manifest["layers"] for end in ("", "_orig")}
        state = {key: value.half() if key in weights else value for key, value in state.items()}
    content = {"format": FORMAT, "version": VERSION, "manifest": manifest, "facts": facts, "state": state}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside, open(beside, "wb") as file:  # given a path, torch would write the file's name into the file
        torch.save(content, file)


def _architecture(model: nn.Module) -> dict | None:
    """The arguments that build a network of this collection; None for other classes."""
    if type(model) not in KINDS.values():
        return None
    layers = list(prunable_layers(model).values())
    if isinstance(model, CifarNet):
        return {"width": model.width, "classes": layers[-1].out_features}
    return {"inputs": layers[0].in_features, "classes": layers[-1].out_features}


def load_network(path: str | os.PathLike, into: nn.Module | None = None) -> nn.Module:
    """A network saved by `save_network`, in evaluation mode, masks in place, loaded with `weights_only`.

    `model.manifest` says what it is, `model.facts` what was saved with it.

    Args:
        into: for networks that are not of this collection: a network of the same class, which is copied. The copy gets the
            file's channel counts, masks and weights.

    Raises:
        CheckpointError: for a file that is missing, damaged, foreign or from a later version, by name and with the next step.
    """
    content = _read(Path(path))
    try:
        manifest, state = content["manifest"], content["state"]
        kind = manifest["kind"]
        model = None if into is None else copy.deepcopy(up_to_date(into))
        if model is None and kind in KINDS:
            model = KINDS[kind](**manifest["architecture"])
        if type(model).__name__ == kind:
            for name in manifest["dropped"]:
                model.set_submodule(name, nn.Identity())
            for name, module in model.named_modules():
                inside = {key: value for key, value in state.items() if key.rpartition(".")[0] == name}
                _fit(module, {key.rpartition(".")[2]: value for key, value in inside.items()})
            model.load_state_dict(state)
            model.manifest, model.facts = manifest, content["facts"]
    except Exception as error:
        raise CheckpointError(f"{path}: its weights do not fit its manifest ({type(error).__name__}): {_again(path)}") from error
    if type(model).__name__ != kind:
        raise CheckpointError(f"{path}: holds a {kind}: build one, then load_network(path, into=that network)")
    return up_to_date(model).eval()


def load_cifar_net(path: str | os.PathLike = CHECKPOINT) -> CifarNet:
    """The collection's checkpoint: `CifarNet(width=1.0)`, trained on CIFAR-10 by notebook 01; or another file of a `CifarNet`.

    Example:
        >>> load_cifar_net().facts["dataset"]  # doctest: +SKIP
        'CIFAR-10'
    """
    return load_network(path)


def _again(path: str | os.PathLike) -> str:
    return "restore it with `git checkout cifar_net.pth`" if Path(path) == CHECKPOINT else "save it again with save_network"


def _read(path: Path) -> dict:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file: {_again(path)}")
    try:
        with zipfile.ZipFile(path) as file:  # torch.load does not look at the checksums
            if broken := file.testzip():
                raise ValueError(f"the checksum of {broken} is wrong")
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        reason = str(error).splitlines()[0].split(". ")[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({reason}): {_again(path)}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this collection (no format {FORMAT!r}): {_again(path)}")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(f"{path}: written by a later version of this collection ({version}): update it (git pull)")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(f"{path}: damaged, its version is {version!r}: {_again(path)}")
    return content


def _fit(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give a layer the shapes and masks that a state has for it."""
    for name, value in state.items():
        part = getattr(module, name.removesuffix("_orig"), None)
        if part is not None:
            part.data = torch.empty(value.shape, dtype=part.dtype)
    for name in [key.removesuffix("_mask") for key in state if key.endswith("_mask")]:
        if not hasattr(module, f"{name}_mask"):
            prune.identity(module, name)
    fit_sizes(module)


def trained(data: Dataset, *, width: float = 1.0, epochs: float, seed: int = 0, **recipe) -> CifarNet:
    """A dense `CifarNet` trained by `train`; from `build/networks/` where it was trained before.

    The file's name holds the architecture and the whole recipe, defaults included: after a change of either, a new network is
    trained. Processes that ask for the same network at once wait for one training.

    Example:
        >>> model = trained(load_dataset("digits"), width=0.25, epochs=1)  # doctest: +SKIP
    """
    batch_size = recipe.get("batch_size", default_batch_size(data))
    whole = RECIPE | {"batch_size": batch_size, "lr": default_rate(data, batch_size)} | recipe
    made_of = [data.label, len(data.train), torch.__version__, CifarNet.channels, CifarNet.blocks, VERSION, whole]
    checksum = zlib.crc32(json.dumps(made_of, sort_keys=True).encode())
    path = REPOSITORY / "build" / "networks" / f"{data.name}_width{width:g}_epochs{epochs:g}_seed{seed}_{checksum:08x}.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        with suppress(CheckpointError):  # none yet, or a damaged one: train it
            return load_cifar_net(path)
        seed_everything(seed)
        model = CifarNet(width)
        history = train(model, data, epochs=epochs, seed=seed, **recipe)
        save_network(model, path, dataset=data.label, val_accuracy=history.val_accuracy[-1], **history.recipe)
        return load_cifar_net(path)


def load_pretrained(data: Dataset) -> CifarNet:
    """The trained network that the notebooks start from, width 1.0, in evaluation mode.

    On CIFAR-10 the collection's checkpoint `cifar_net.pth`; on the digits one that is trained once
    (within 20 s on two cores) and kept in `build/networks/`.
    """
    return load_cifar_net() if data.name == "cifar10" else trained(data, epochs=DIGITS_EPOCHS)

"""One file format for dense, masked and shrunk networks, and the trained networks that the notebooks start from (01 and 10)."""

import json
import os
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import prune

from .data import REPOSITORY, Dataset, check, replacing
from .devices import up_to_date
from .masks import plain_copy, sparsity
from .models import CifarNet, CifarResNet, DepthPrunedNet, SimpleNet, WidthPrunedNet
from .training import recipe_for, train

FORMAT, VERSION = "pruning-notebooks/network", 1
CHECKPOINT = REPOSITORY / "cifar_net.pth"
KINDS = {kind.__name__: kind for kind in (CifarNet, CifarResNet, SimpleNet, DepthPrunedNet, WidthPrunedNet)}


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged or foreign; the message names the file and the next step."""


def save_network(model: nn.Module, path: str | os.PathLike, **facts) -> None:
    """Save a network, whether dense, masked, shrunk or without blocks, with a manifest of what it is and with plain `facts`.

    The same network gives the same bytes. A failed run leaves the file that was there.
    """
    manifest = {
        "kind": type(model).__name__,
        "architecture": model.architecture if type(model) in KINDS.values() else None,
        "dropped": [name for name, module in model.named_modules() if isinstance(module, nn.Identity)],
        "sparsity": sparsity(model).fraction,
        "torch": torch.__version__.split("+")[0],
    }
    for name, value in facts.items():  # others, such as NumPy's numbers, `load_network` would refuse
        check(type(value) in (str, int, float, bool, type(None)), name, value, "text, a plain number, a truth value or None")
    state = {key: value.detach().cpu().contiguous() for key, value in up_to_date(model).state_dict().items()}
    sizes = {}
    for name, module in model.named_modules():  # channels, features and groups, which pruning changes, are whole numbers
        sizes[name] = {key: value for key, value in vars(module).items() if type(value) is int or key == "normalized_shape"}
    content = {"format": FORMAT, "version": VERSION, "manifest": manifest, "facts": facts, "sizes": sizes, "state": state}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside, open(beside, "wb") as file:  # given a path, torch would write the file's name into the file
        torch.save(content, file)


def load_network(path: str | os.PathLike = CHECKPOINT, into: nn.Module | None = None) -> nn.Module:
    """A saved network, in evaluation mode, masks in place; `model.manifest` and `model.facts` say what it is.

    By default the collection's checkpoint: a `CifarNet` of width 1.0 that lesson 01 trained on CIFAR-10. For a class that is
    not of this collection, `into` is a network of the same class: a copy of it gets what the file holds. A CheckpointError names
    a file that is missing, damaged, foreign or from a later version, and the next step.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if sum(part.file_size for part in file.infolist()) > os.path.getsize(path):  # torch.save does not compress
                raise ValueError("its parts are larger than the file")
            broken = file.testzip()  # torch.load does not look at the checksums
        if broken:
            raise ValueError(f"the checksum of {broken} is wrong")
        content = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"no checkpoint of this collection, format {FORMAT!r}")
        if content["version"] > VERSION:
            raise ValueError(f"written by a later version of this collection, {content['version']}: update it (git pull)")
        manifest, state = content["manifest"], content["state"]
        if into is None and manifest["architecture"]:
            into = KINDS[manifest["kind"]](**manifest["architecture"])
        if type(into).__name__ != manifest["kind"]:
            raise ValueError(f"it holds a {manifest['kind']}: build one, then load_network(path, into=that network)")
        model = plain_copy(into)
        for name in manifest["dropped"]:
            model.set_submodule(name, nn.Identity())
        for name, sizes in content.get("sizes", {}).items():  # cifar_net.pth, which is dense, has none
            vars(model.get_submodule(name)).update(sizes)
        for key in state:
            module_name, _, name = key.removesuffix("_mask").rpartition(".")
            if key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in state:
                prune.identity(model.get_submodule(module_name), name)
        for key, tensor in model.state_dict(keep_vars=True).items():  # shrunk layers have other shapes
            tensor.data = tensor.new_empty(state[key].shape if key in state else 0)
        model.load_state_dict(state)
    except Exception as error:
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        again = "restore it with `git checkout cifar_net.pth`" if Path(path) == CHECKPOINT else "save it again with save_network"
        raise CheckpointError(f"{path}: cannot be loaded ({reason}): {again}") from error
    model.manifest, model.facts = manifest, content["facts"]
    return up_to_date(model).eval()


def trained(data: Dataset, *, width: float = 1.0, epochs: float, seed: int = 0, **changes) -> CifarNet:
    """A dense `CifarNet` trained by `train`, with `changes` of its recipe; from `build/networks/` where it was trained before."""
    made_of = [data.label, len(data.train), torch.__version__, CifarNet.channels, recipe_for(data, **changes)]
    checksum = zlib.crc32(json.dumps(made_of, sort_keys=True).encode())  # after a change of any, a new network is trained
    path = REPOSITORY / "build" / "networks" / f"{data.name}_width{width:g}_epochs{epochs:g}_seed{seed}_{checksum:08x}.pth"
    with suppress(CheckpointError):  # none yet, or a damaged one: train it
        return load_network(path)
    torch.manual_seed(seed)
    model = CifarNet(width)
    history = train(model, data, epochs=epochs, seed=seed, **changes)
    save_network(model, path, dataset=data.label, val_accuracy=history.val_accuracy[-1], **history.recipe)
    return load_network(path)


def load_pretrained(data: Dataset) -> CifarNet:
    """The network of width 1.0 that the notebooks start from; on the digits it is trained once, within 15 s on two cores."""
    return load_network() if data.name == "cifar10" else trained(data, epochs=3)

"""From masks to smaller networks: whole channels pruned so that nothing is left of them, then cut out; blocks dropped.

Torch-Pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900) says which channels belong together, and cuts them.
In all functions `example_input` is a batch in the shape that the network takes; default: [1, 3, 32, 32].
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils._pytree import tree_leaves

from .criteria import Criterion, MagnitudePruning, saliency_scores
from .data import check
from .devices import eval_mode, up_to_date
from .masks import plain_copy
from .metrics import example_batch

Layers = Iterable[str | nn.Module]
TOLERANCE = 1e-4  # of the largest output: how far those of the smaller network may be off


class SurgeryError(ValueError):
    """A network, or a pruning of it, that cannot be cut; the message names the layer and the next step."""


@dataclass
class ChannelGroup:
    """Channels that are kept or cut together: `producers` make them (convolutions, linear layers), `norms` are their BatchNorms."""

    channels: int
    producers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)


def channel_groups(model: nn.Module, example_input: Tensor | None = None, ignored_layers: Layers = ()) -> dict[str, ChannelGroup]:
    """The groups of channels that can be pruned, by the name of the first layer that makes them.

    Left out are the network's outputs, groups that one of `ignored_layers` (names or modules, whole blocks too) makes or
    normalizes, and channels on which other layers work, such as a transformer's residual stream.

    Example:
        >>> {name: group.channels for name, group in channel_groups(SimpleNet()).items()}
        {'layer1': 256, 'layer2': 128, 'layer3': 64}
    """
    ignored = set()
    for layer in ignored_layers:
        ignored.update((model.get_submodule(layer) if isinstance(layer, str) else layer).modules())
    is_ignored = {name: module in ignored for name, module in model.named_modules()}
    graph = _dependency_graph(plain_copy(model), example_input)
    groups = {}
    for members in graph.get_all_groups():
        group = _as_group(graph, members)
        if group and not any(is_ignored[layer] for layer in group.producers + group.norms):
            groups[group.producers[0]] = group
    return {name: groups[name] for name in is_ignored if name in groups}  # in the model's order


def _dependency_graph(plain: nn.Module, example_input: Tensor | None):
    """Torch-Pruning's graph of a network without masks; it follows gradients, which all parameters are given."""
    from torch_pruning import DependencyGraph

    images = example_batch(plain.requires_grad_(True), example_input, 4)
    try:
        with torch.enable_grad(), eval_mode(plain):
            return DependencyGraph().build_dependency(plain, images, lambda model, images: model(images), verbose=False)
    except Exception as error:
        what = f"{type(plain).__name__}: cannot be followed on images of shape {list(images.shape)} ({error})"
        raise SurgeryError(f"{what}; where it takes others, pass example_input=") from error


def _as_group(graph, members) -> ChannelGroup | None:
    """One of Torch-Pruning's groups; None unless each of its layers makes or normalizes its channels and no others."""
    group = ChannelGroup(len(members[0].idxs))
    if any(getattr(member.dep.target.module, "groups", 1) not in (1, group.channels) for member in members):
        return None  # convolutions in groups, other than depthwise ones
    nodes = [member.dep.target for member in members if graph.is_out_channel_pruning_fn(member.dep.handler)]
    if any(not node.outputs or isinstance(node.module, nn.Parameter) for node in nodes):
        return None  # the network's outputs, or added to a parameter
    channels = {node.module: graph.get_out_channels(node) for node in nodes}
    for name, layer in graph.model.named_modules():
        if layer in channels:
            is_norm = isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine
            if channels[layer] != group.channels or not (is_norm or isinstance(layer, nn.Conv2d | nn.Linear)):
                return None
            (group.norms if is_norm else group.producers).append(name)
    return group


def prune_channels(
    model, amount, criterion=MagnitudePruning, *, round_to=1, data=None, ignored_layers=(), example_input=None, **options
) -> None:
    """Mask whole channels, in place: filter, its bias and its BatchNorm's weight and bias together, so that it emits zero.

    Channels that are added to each other (residual groups) are pruned as one, by their mean importance.

    Args:
        amount: fraction of the channels of every group, or fraction or count by group name (see `channel_groups`);
            of all its channels, so that 0.5 twice is 0.5. A ValueError where none would be left: nothing is changed.
        criterion: the class that ranks the filters, from training `data` if it needs them; `options` go to it (`seed=1`).
        round_to: the channels left are rounded up to a multiple of this (where there are as many).
        ignored_layers: as in `channel_groups`.

    Example:
        >>> model = SimpleNet()
        >>> prune_channels(model, {"layer2": 0.5})
        >>> shrink(model).layer2
        Linear(in_features=256, out_features=64, bias=True)
    """
    plain = plain_copy(model)
    groups, pruned = channel_groups(model, example_input, ignored_layers), {}
    amounts = amount if isinstance(amount, dict) else dict.fromkeys(groups, amount)
    if unknown := [name for name in amounts if name not in groups]:
        raise ValueError(f"amount: {unknown[0]!r} is no group of channels; the groups are {', '.join(groups)}")
    counts = {name: channels_to_remove(name, groups[name].channels, value, round_to) for name, value in amounts.items()}
    ranking = criterion(0, dim=0, **options)
    saliency = saliency_scores(plain, data, ranking.saliency) if ranking.saliency else None
    for ranking.stream, (name, count) in enumerate(counts.items()):
        pruned[name] = _least_important(plain, groups[name], ranking, saliency)[:count]
    for name, channels in pruned.items():
        for layer in map(model.get_submodule, groups[name].producers + groups[name].norms):
            for parameter in ("weight", "bias"):
                if (value := getattr(layer, parameter)) is not None:
                    mask = torch.ones_like(value).index_fill(0, channels.to(value.device), 0)
                    prune.custom_from_mask(layer, parameter, mask)
    up_to_date(model)


def channels_to_remove(name: str, channels: int, amount: float | int, round_to: int = 1) -> int:
    """How many channels of a group an amount takes, where the number of those left is rounded up to a multiple."""
    check(round_to >= 1, "round_to", round_to, "1 or more")
    most = channels if isinstance(amount, Integral) else 1
    check(0 <= amount <= most, f"amount of {name}", amount, f"a fraction in [0, 1] or a count of at most {channels}")
    left = channels - (amount if isinstance(amount, Integral) else round(amount * channels))
    check(left > 0, f"amount of {name}", amount, f"less: it leaves none of the {channels} channels, and nothing would pass")
    return channels - min(channels, math.ceil(left / round_to) * round_to)


def _least_important(plain: nn.Module, group: ChannelGroup, ranking: Criterion, saliency: dict | None) -> Tensor:
    """A group's channels, the least important first; those that are masked already come before all others."""
    layers = [plain.get_submodule(name) for name in group.producers]
    scores = ranking.scores([saliency[layer, "weight"] if saliency else layer.weight for layer in layers])
    if len(layers) > 1:  # each layer counts the same
        scores = [score / score.mean().clamp(min=1e-30) for score in scores]
    importance = torch.stack(scores).mean(0)
    check(not importance.isnan().any(), f"importance of {group.producers[0]}", "NaN", "numbers; look at weights and criterion")
    masked = torch.stack([_empty(layer, "weight") for layer in layers]).all(0).cpu()
    return importance.masked_fill(masked, -torch.inf).argsort(stable=True)


def _empty(layer: nn.Module, *parameters: str) -> Tensor:
    """Which channels of a layer have nothing but zeros in these parameters: bool [channels]."""
    values = [getattr(layer, name) for name in parameters]
    return torch.cat([value.reshape(len(value), -1) for value in values if value is not None], 1).eq(0).all(1)


def shrink(model: nn.Module, example_input: Tensor | None = None) -> nn.Module:
    """A plain dense copy without the channels that are masked: the same outputs in evaluation mode, fewer operations.

    A channel goes where all layers of its group have masked it; masks of single weights become permanent zeros. Both networks
    run on random images, and must agree. A SurgeryError says where filters are zero but their BatchNorm or bias still emits a
    constant, where a group has no channel left, or what to put into `ignored_layers` where the graph misreads the network.

    Example:
        >>> model = SimpleNet()
        >>> prune_channels(model, {"layer1": 200})
        >>> shrink(model).layer1
        Linear(in_features=3072, out_features=56, bias=True)
    """
    plain = plain_copy(model)
    masked = {name: _masked_channels(plain, group) for name, group in channel_groups(plain, example_input).items()}
    if small := _exact_cut(plain, masked, example_input):
        return small
    alone = {name: _exact_cut(plain, {name: channels}, example_input) for name, channels in masked.items() if channels}
    misread = [name for name, small in alone.items() if not small] or list(masked)
    raise SurgeryError(
        f"{misread[0]}: without its masked channels the network fails or computes something else: the graph misreads it; "
        f"call prune_channels(model, ..., ignored_layers={misread}) on the network as it was before"
    )


def _masked_channels(plain: nn.Module, group: ChannelGroup) -> list[int]:
    """The channels of which nothing is left; refuses those that still emit a constant."""
    first = group.producers[0]
    empty = torch.stack([_empty(plain.get_submodule(name), "weight") for name in group.producers]).all(0)
    for name in group.norms + group.producers:
        if leaking := int((empty & ~_empty(plain.get_submodule(name), "weight", "bias")).sum()):
            raise SurgeryError(
                f"{name}: {leaking} filters of {first} are zero, but their {'BatchNorm' if name in group.norms else 'bias'} "
                f"still emits a constant; call prune_channels(model, {{{first!r}: {int(empty.sum())}}}), which masks both"
            )
    if empty.all():
        raise SurgeryError(f"{first}: all of its {len(empty)} channels are masked; keep some, or call drop_blocks")
    return empty.nonzero().flatten().tolist()


def without_channels(plain: nn.Module, channels: dict[str, list[int]], example_input: Tensor | None = None) -> nn.Module:
    """A copy of a network without masks, without some channels of some groups, by name of the group; nothing is compared."""
    small = copy.deepcopy(plain)
    graph = _dependency_graph(small, example_input)
    for name, indices in channels.items():
        layer = small.get_submodule(name)
        graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, indices).prune()
    for parameter, original in zip(small.parameters(), plain.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    return small


@torch.no_grad()
def _exact_cut(plain: nn.Module, channels: dict[str, list[int]], example_input: Tensor | None) -> nn.Module | None:
    """`without_channels`, or None where the smaller network fails on random images, or computes something else."""
    images, small = example_batch(plain, example_input, 4), without_channels(plain, channels, example_input)
    with eval_mode(plain), eval_mode(small):
        expected = tree_leaves(plain(images))  # one tensor, or several such as a detector's
        try:
            outputs = tree_leaves(small(images))
        except Exception:  # shapes that do not fit
            return None
    pairs = zip(outputs, expected, strict=True)
    same = all(a.shape == b.shape and (a - b).abs().max() <= TOLERANCE * b.abs().max() for a, b in pairs)
    return small if same else None


def residual_blocks(model: nn.Module, example_input: Tensor | None = None) -> list[str]:
    """Names of the residual blocks whose shortcut has no layer of its own: `drop_blocks` can take them out.

    They are found by what they compute: with all of its parameters zero, such a block passes its input on.

    Example:
        >>> residual_blocks(CifarNet())
        ['stage1.block1', 'stage2.block1', 'stage2.block2', 'stage3.block1', 'stage3.block2']
    """
    plain, shapes, blocks = plain_copy(model).eval(), {}, []

    def remember_shape(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if len(inputs) == 1 and getattr(output, "shape", None) == inputs[0].shape:
            shapes[name] = output.shape

    for name, module in plain.named_modules():
        module.register_forward_hook(partial(remember_shape, name))
    with torch.no_grad():
        images = example_batch(plain, example_input)
        plain(images)
        for name, shape in list(shapes.items()):
            block, features = plain.get_submodule(name), torch.rand(shape).to(images)
            for parameter in block.parameters():
                parameter.zero_()
            if list(block.parameters()) and torch.equal(block(features), features):
                blocks.append(name)
    return [name for name in blocks if not any(other.startswith(f"{name}.") for other in blocks)]  # the innermost


def drop_blocks(model: nn.Module, names: str | Iterable[str], example_input: Tensor | None = None) -> nn.Module:
    """A copy without some residual blocks: what went into them goes on unchanged. A ValueError for a name that is none.

    Example:
        >>> len(residual_blocks(drop_blocks(CifarNet(0.25), ["stage3.block2"])))
        4
    """
    smaller, blocks = copy.deepcopy(up_to_date(model)), residual_blocks(model, example_input)
    for name in [names] if isinstance(names, str) else names:
        check(name in blocks, "names", name, f"residual blocks; they are {', '.join(blocks) or 'none'}")
        smaller.set_submodule(name, nn.Identity())
    return smaller

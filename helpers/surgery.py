"""From masks to smaller networks: whole channels pruned so that nothing is left of them, then cut out; blocks dropped.

A traced graph of the network (`torch.fx`) says which channels belong together. Introduced in notebook 05.
"""

import copy
import operator
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from numbers import Integral

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import prune

from .criteria import Criterion, MagnitudePruning, saliency_scores
from .data import Dataset, Split, check, check_whole
from .masks import make_permanent, masked_parameter, refresh, up_to_date
from .metrics import count_macs
from .models import DepthPrunedNet, ResidualBlock, SimpleNet, fit_sizes
from .sensitivity import SCAN_AMOUNTS, amount_for_drop, scan
from .training import predict

# zeros stay zeros, and channels stay together
_SAME_MODULES = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity)
_SAME_CALLS = {F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout, "contiguous"}
_RELU = {F.relu, torch.relu, "relu", "relu_"}
_ADD = {operator.add, operator.iadd, torch.add, "add", "add_"}
_NORMALISE = {operator.sub, operator.truediv, operator.mul, torch.sub, torch.div}  # of the input images
STEP = 2.0**-24  # how closely a share of the channels is searched for


class SurgeryError(ValueError):
    """A network, or a pruning of it, that cannot be cut; the message names the layer and the next step."""


@dataclass(eq=False)  # told apart by identity
class ChannelGroup:
    """Channels that live and die together: of one layer, or of all layers whose outputs are added.

    `producers` make the channels (convolution or linear layer, by name), `norms` are the BatchNorms on them, `readers`
    take them as input, each with the number of inputs that a channel has there (more than one after flattening).
    """

    channels: int
    producers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    readers: dict[str, int] = field(default_factory=dict)
    fixed: bool = False  # the network's own input or output

    @property
    def name(self) -> str:
        return self.producers[0]


def channel_groups(model: nn.Module) -> dict[str, ChannelGroup]:
    """The groups of channels that can be pruned, by the name of the first layer that makes them.

    Raises:
        SurgeryError: for an operation through which channels cannot be followed.

    Example:
        >>> from helpers import SimpleNet
        >>> {name: group.channels for name, group in channel_groups(SimpleNet()).items()}
        {'layer1': 256, 'layer2': 128, 'layer3': 64}
    """
    return {group.name: group for group in _groups_and_zeros(model)[0] if group.producers and not group.fixed}


def _groups_and_zeros(model: nn.Module) -> tuple[list[ChannelGroup], dict[str, Tensor], list[tuple]]:
    """All groups; for each layer which of its input channels are zero; and where an empty filter is loud.

    That is: (BatchNorm or None, layer before it, its empty filters, those of them that still emit a constant, by the
    BatchNorm or by their own bias).
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:
        raise SurgeryError(f"model={type(model).__name__}: its forward pass cannot be traced ({error})") from error
    modules = dict(model.named_modules())
    groups: list[ChannelGroup] = []
    # node -> group, what its channels emit (NaN: it varies; None: the images), inputs a channel
    tensors: dict[fx.Node, tuple[ChannelGroup, Tensor | None, int]] = {}
    zeros: dict[str, Tensor] = {}
    loud: list[tuple] = []
    for node in graph.nodes:
        if node.op == "placeholder":
            groups.append(ChannelGroup(0, fixed=True))
            tensors[node] = (groups[-1], None, 1)
            continue
        if node.op == "get_attr":
            continue
        inputs = [tensors[arg] for arg in node.all_input_nodes if arg in tensors]
        if node.op == "output":
            for group, *_ in inputs:
                group.fixed = True
            continue
        module, call = (modules[node.target], None) if node.op == "call_module" else (None, node.target)
        if not inputs:
            raise SurgeryError(f"{node.name}: works on something else than the input; use Torch-Pruning for such networks")
        group, steady, per_channel = inputs[0]
        constant = None if steady is None else ~steady.isnan()
        if module is not None and any(node.target in (*known.producers, *known.norms) for known in groups):
            raise SurgeryError(f"{node.target}: is called twice; use Torch-Pruning for such networks")
        if isinstance(module, nn.Conv2d | nn.Linear):
            if isinstance(module, nn.Conv2d) and module.groups != 1:
                raise SurgeryError(f"{node.target}: a convolution in groups; use Torch-Pruning for such networks")
            wide = module.in_channels if isinstance(module, nn.Conv2d) else module.in_features
            if isinstance(module, nn.Linear) and group.channels:
                if wide % group.channels:
                    raise SurgeryError(
                        f"{node.target}: its {wide} inputs are no multiple of the {group.channels} channels before it"
                    )
                per_channel = wide // group.channels
            group.readers[node.target] = per_channel
            if steady is not None:
                zeros[node.target] = steady == 0
                if emitting := int((constant & (steady != 0)).sum()):
                    loud.append((None, group.producers[-1], int(constant.sum()), emitting))
            groups.append(ChannelGroup(module.weight.shape[0], producers=[node.target]))
            tensors[node] = (groups[-1], _emitted(module), 1)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            group.norms.append(node.target)
            if not module.affine:
                raise SurgeryError(f"{node.target}: a BatchNorm without weight and bias; use Torch-Pruning for such networks")
            if group.channels not in (0, module.num_features):  # 0: the images
                raise SurgeryError(
                    f"{node.target}: a BatchNorm of something else than channels; use Torch-Pruning for such networks"
                )
            silent = (masked_parameter(module, "weight") == 0) & (masked_parameter(module, "bias") == 0)
            if steady is not None and (emitting := int((constant & ~silent).sum())):
                loud.append((node.target, group.producers[-1], int(constant.sum()), emitting))
            tensors[node] = (group, torch.where(silent, 0.0, torch.nan), per_channel)
        elif isinstance(module, nn.Flatten) or call in (torch.flatten, "flatten"):
            if _flattened(node, module) != (1, -1):
                raise SurgeryError(f"{node.name}: flattens other dimensions than all but the first; use Torch-Pruning")
            tensors[node] = inputs[0]
        elif isinstance(module, nn.ReLU) or call in _RELU:
            tensors[node] = (group, None if steady is None else steady.clamp(min=0), per_channel)
        elif isinstance(module, _SAME_MODULES) or call in _SAME_CALLS:
            tensors[node] = inputs[0]
        elif call in _ADD and len(inputs) == 2:
            if node.kwargs.get("alpha", 1) != 1 or len(node.args) > 2:  # torch also takes add(a, alpha, b)
                raise SurgeryError(f"{node.name}: adds with a factor (alpha); use Torch-Pruning for such networks")
            (a, steady_a, _), (b, steady_b, _) = inputs
            if a.channels != b.channels:
                raise SurgeryError(f"{node.name}: adds {a.channels} and {b.channels} channels")
            if a is not b:
                a, b = sorted((a, b), key=groups.index)
                a.producers, a.norms, a.readers = a.producers + b.producers, a.norms + b.norms, a.readers | b.readers
                a.fixed |= b.fixed
                groups.remove(b)
                tensors = {other: (a if own is b else own, *rest) for other, (own, *rest) in tensors.items()}
            if steady_a is None or steady_b is None:
                raise SurgeryError(f"{node.name}: adds to the images themselves; use Torch-Pruning for such networks")
            tensors[node] = (a, steady_a + steady_b, 1)
        elif call in _NORMALISE and group.channels == 0:
            tensors[node] = inputs[0]
        else:
            what = type(module).__name__ if module is not None else getattr(call, "__name__", call)
            raise SurgeryError(f"{node.name}: channels cannot be followed through {what}; use Torch-Pruning for such networks")
    return groups, zeros, loud


def _emitted(module: nn.Module) -> Tensor:
    """What each output channel of a layer emits whatever comes in: [out], its bias where its weights are zero, else NaN."""
    empty = (masked_parameter(module, "weight").flatten(1) == 0).all(1)
    bias = torch.zeros(len(empty), device=empty.device) if module.bias is None else masked_parameter(module, "bias")
    return torch.where(empty, bias, torch.nan)


def _flattened(node: fx.Node, module: nn.Module | None) -> tuple[int, int]:
    """First and last dimension that a flatten makes one of."""
    if module is not None:
        return module.start_dim, module.end_dim
    told = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
    return told.get("start_dim", 0), told.get("end_dim", -1)


# ---- width


def prune_channels(
    model: nn.Module,
    amount: float | dict[str, float | int],
    criterion: type[Criterion] = MagnitudePruning,
    *,
    round_to: int = 1,
    data: Dataset | Split | None = None,
    **options,
) -> None:
    """Mask whole channels, in place: filter, its bias and its BatchNorm's weight and bias together, so that it emits zero.

    Channels that are added to each other (residual groups) are pruned as one, by their mean importance.

    Args:
        amount: fraction of the channels of every group, or fraction or count by group name (see `channel_groups`);
            of all its channels, so that 0.5 twice is 0.5.
        criterion: ranks the filters: a subclass of `Criterion`; `options` go to it (`n=2`: L2 norm; `seed=1`).
        round_to: the channels left are rounded up to a multiple of this (where there are as many).
        data: training data for criteria that need gradients.

    Raises:
        ValueError: for an amount out of range, or that would leave a group without a channel; nothing is changed.
        SurgeryError: for a network through which channels cannot be followed.

    Example:
        >>> from helpers import CifarNet
        >>> model = CifarNet(0.25)
        >>> prune_channels(model, 0.5)
        >>> shrink(model).conv1
        Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    ours = isinstance(criterion, type) and issubclass(criterion, Criterion)
    check(ours, "criterion", criterion, "a subclass of Criterion, such as MagnitudePruning")
    check_whole("round_to", round_to, 1)
    groups = channel_groups(model)
    amounts = amount if isinstance(amount, dict) else dict.fromkeys(groups, amount)
    if unknown := [name for name in amounts if name not in groups]:
        raise ValueError(f"amount: {unknown[0]!r} is no group of channels; the groups are {', '.join(groups)}")
    try:
        rank, modules = criterion(0, dim=0, **options), dict(model.named_modules())
    except TypeError as error:
        raise ValueError(f"criterion={criterion.__name__}, {options}: cannot rank filters ({error})") from error
    counts = {name: _to_remove(name, groups[name].channels, value, round_to) for name, value in amounts.items()}
    if rank.saliency and data is None:
        raise ValueError(f"data=None: {criterion.__name__} needs training data")
    scores = saliency_scores(model, data, rank.saliency) if rank.saliency else None
    gone = {}
    for stream, (name, count) in enumerate(counts.items()):
        layers, rank.stream = [modules[producer] for producer in groups[name].producers], stream
        weights = [masked_parameter(m, "weight") for m in layers]
        ranked = rank.scores([scores[m, "weight"] for m in layers] if scores else weights)
        importance = torch.stack([v / v.mean().clamp(min=1e-30) if len(layers) > 1 else v for v in ranked]).mean(0)
        if importance.isnan().any():
            raise ValueError(
                f"criterion: {int(importance.isnan().sum())} scores of {name} are NaN, and nothing can be ranked by them"
            )
        masked = torch.stack([(w.flatten(1) == 0).all(1).cpu() for w in weights]).all(0)
        gone[name] = importance.masked_fill(masked, -torch.inf).argsort(stable=True)[:count]  # masked ones count as pruned
    for name, channels in gone.items():
        for layer in (*groups[name].producers, *groups[name].norms):
            for parameter in ("weight", "bias"):
                value = masked_parameter(modules[layer], parameter)
                if value is not None:
                    mask = torch.ones_like(value)
                    mask[channels.to(mask.device)] = 0
                    prune.custom_from_mask(modules[layer], parameter, mask)
                    refresh(modules[layer], parameter)


def _to_remove(name: str, channels: int, amount: float | int, round_to: int) -> int:
    if not 0 <= amount <= (1 if isinstance(amount, float) else channels):
        raise ValueError(f"amount={amount!r} of {name}: must be a fraction in [0, 1] or a count of at most {channels}")
    left = channels - (amount if isinstance(amount, Integral) else round(amount * channels))
    left = min(channels, -(-left // round_to) * round_to)
    if left == 0:
        raise ValueError(f"amount={amount!r} of {name}: leaves none of its {channels} channels; nothing would pass")
    return channels - left


def shrink(model: nn.Module) -> nn.Module:
    """A plain dense copy without the channels that are masked: the same outputs in evaluation mode, fewer operations.

    Masks of single weights become permanent zeros. The model itself is not changed.

    Raises:
        SurgeryError: where filters are zero but their BatchNorm or bias still emits a constant (the message says what
            to call), where a group has no channel left, or for a network through which channels cannot be followed.

    Example:
        >>> from helpers import CifarNet
        >>> model = CifarNet(0.25)
        >>> prune_channels(model, {"conv1": 4})
        >>> shrink(model).conv1.weight.shape
        torch.Size([4, 3, 3, 3])
    """
    small = make_permanent(copy.deepcopy(up_to_date(model)))
    modules = dict(small.named_modules())
    groups, zeros, loud = _groups_and_zeros(small)
    if loud:
        norm, producer, emptied, emitting = loud[0]
        group = next(group for group in groups if producer in group.producers)
        shared = len(group.producers) > 1  # then zero filters of one layer are no zero channels
        raise SurgeryError(
            f"{norm or producer}: {emitting} filters of {producer} are zero, but their {'BatchNorm' if norm else 'bias'} still "
            f"emits a constant; call prune_channels(model, {{{group.name!r}: {emptied}}}), which masks both"
            + (f" (on the network as it was before: the channels of {', '.join(group.producers)} go together)" if shared else "")
        )
    for group in groups:
        dead = [zeros[name] for name in group.readers if name in zeros]
        if group.fixed or not dead:
            continue
        kept = (~torch.stack(dead).all(0)).nonzero().flatten()
        if len(kept) == 0:
            raise SurgeryError(
                f"{group.name}: all of its {group.channels} channels are masked; keep some, or drop its block with drop_blocks"
            )
        for name in (*group.producers, *group.norms):
            _cut(modules[name], kept, 0)
        for name, width in group.readers.items():
            _cut(modules[name], (kept[:, None] * width + torch.arange(width, device=kept.device)).flatten(), 1)
    return small


def _cut(layer: nn.Module, kept: Tensor, dim: int) -> None:
    """Keep some of a layer's outputs (dim 0) or inputs (dim 1)."""
    for name, value in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
        if value.ndim > dim:
            part = value.detach().index_select(dim, kept)
            setattr(layer, name, nn.Parameter(part, value.requires_grad) if isinstance(value, nn.Parameter) else part)
    fit_sizes(layer)


def channel_scan(model: nn.Module, split: Split, amounts: Sequence[float] = SCAN_AMOUNTS) -> dict[str, list[float]]:
    """Accuracy on `split` with one group's channels pruned to each amount (L1 norm), all others whole; by group name.

    Example:
        >>> channel_scan(model, data.val)["stage3.block2.conv1"]  # doctest: +SKIP
        [0.83, 0.83, 0.82, 0.80, 0.77]
    """
    return scan(model, split, channel_groups(model), amounts, lambda pruned, name, amount: prune_channels(pruned, {name: amount}))


def widths_for_macs(
    model: nn.Module,
    share: float,
    scan: dict[str, list[float]] | None = None,
    dense_accuracy: float | None = None,
    amounts: Sequence[float] = SCAN_AMOUNTS,
) -> dict[str, float]:
    """Amounts for `prune_channels` that leave the share `share` of the MACs, the closest that whole channels allow.

    Without a scan every group gives up the same share of its channels (uniform); with one (`channel_scan`), each what
    costs it, alone, the same accuracy (guided).

    Raises:
        ValueError: for a share outside (0, 1], or a scan that lacks a group, an amount or `dense_accuracy`.

    Example:
        >>> from helpers import CifarNet
        >>> amounts = widths_for_macs(CifarNet(0.25), 0.5)
        >>> 0.2 < amounts["conv1"] < 0.4
        True
    """
    check(0 < share <= 1, "share", share, "a fraction in (0, 1]")
    groups, whole = channel_groups(model), count_macs(model)
    if scan is None:
        shares = lambda x: [min(x, 1.0)] * len(groups)  # noqa: E731
    else:
        shares = lambda x: amount_for_drop(x, {name: scan[name] for name in groups}, amounts, dense_accuracy).values()  # noqa: E731

    def at(x: float) -> dict[str, float]:
        """Never the last channel of a group."""
        pairs = zip(groups.items(), shares(x), strict=True)
        return {name: min(value, 1 - 1 / group.channels) for (name, group), value in pairs}

    def left(amounts: dict[str, float]) -> float:
        pruned = copy.deepcopy(up_to_date(model))
        prune_channels(pruned, amounts)
        return count_macs(shrink(pruned)) / whole

    if left(at(1.0)) >= share:
        return at(1.0)
    from scipy import optimize

    x = optimize.bisect(lambda x: share - left(at(x)), 0.0, 1.0, xtol=STEP)
    sides = (at(max(0.0, x - STEP)), at(x + STEP))  # MACs fall in steps: look on both sides of this one
    return min(sides, key=lambda found: abs(left(found) - share))


# ---- depth


def residual_blocks(model: nn.Module) -> list[str]:
    """Names of the residual blocks, which `drop_blocks` can take out.

    Example:
        >>> from helpers import CifarNet
        >>> residual_blocks(CifarNet())
        ['stage1.block1', 'stage2.block1', 'stage2.block2', 'stage3.block1', 'stage3.block2']
    """
    return [name for name, module in model.named_modules() if isinstance(module, ResidualBlock)]


def drop_blocks(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """A copy without some residual blocks: what went into them goes on unchanged.

    Raises:
        ValueError: for a name that is no residual block.

    Example:
        >>> from helpers import CifarNet
        >>> len(residual_blocks(drop_blocks(CifarNet(0.25), ["stage3.block2"])))
        4
    """
    check(isinstance(names, Iterable), "names", names, "the name of a residual block, or a list of names")
    names, blocks = [names] if isinstance(names, str) else list(names), residual_blocks(model)
    if unknown := [name for name in names if name not in blocks]:
        raise ValueError(f"names: {unknown[0]!r} is no residual block; the blocks are {', '.join(blocks) or 'none'}")
    smaller = copy.deepcopy(up_to_date(model))
    for name in names:
        smaller.set_submodule(name, nn.Identity())
    return smaller


def bridge_layer(model: SimpleNet, images: Tensor) -> DepthPrunedNet:
    """A `DepthPrunedNet` with the weights of a `SimpleNet`, whose last layer stands in for the two that it replaces.

    It is the linear map from `layer2`'s outputs that comes closest to the logits, in the sense of least squares, on
    `images` (uint8 [N, 3, H, W]).

    Example:
        >>> bridge_layer(SimpleNet(), torch.randint(256, (300, 3, 32, 32), dtype=torch.uint8)).layer3
        Linear(in_features=128, out_features=10, bias=True)
    """
    check(isinstance(model, SimpleNet), "model", type(model).__name__, "a SimpleNet")
    shallow = DepthPrunedNet(model.layer1.in_features, model.layer4.out_features)
    for name in ("layer1", "layer2"):
        shallow.get_submodule(name).load_state_dict(model.get_submodule(name).state_dict())
    with torch.no_grad():
        x = images.float() / 255
        inside = model.layer2(model.layer1(x.flatten(1)).relu()).relu()  # [N, 128]
        inside = torch.cat([inside, torch.ones(len(inside), 1)], 1)  # [N, 129]: the last column is for the bias
        solution = torch.linalg.lstsq(inside, model(x), driver="gelsd").solution  # [129, 10]
        shallow.layer3.weight.copy_(solution[:-1].T)
        shallow.layer3.bias.copy_(solution[-1])
    return shallow


def block_similarity(model: nn.Module, split: Split) -> dict[str, float]:
    """Mean cosine similarity of each residual block's input and output over a split: near 1, the block changes little.

    Example:
        >>> block_similarity(model, data.val.subset(1000))["stage1.block1"]  # doctest: +SKIP
        0.93
    """
    found: dict[str, list[Tensor]] = {name: [] for name in residual_blocks(model)}

    with ExitStack() as stack:
        for name, parts in found.items():

            def hook(module, inputs, output, parts=parts):
                parts.append(F.cosine_similarity(inputs[0].float().flatten(1), output.float().flatten(1)).cpu())

            stack.enter_context(model.get_submodule(name).register_forward_hook(hook))
        predict(model, split.images)
    return {name: torch.cat(parts).mean().item() for name, parts in found.items()}

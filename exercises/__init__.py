"""The self-checks of the notebooks' exercises.

Each looks at an answer and prints one line: "✓ …" with what follows from it, or "✗ …" with what is wrong. None of them
raises, so that a notebook with unsolved exercises still runs from top to bottom. The worked solutions are in
`notebooks/solutions/`.
"""

import copy
import functools
import gzip
import io
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real

import torch
from scipy.stats import spearmanr, ttest_ind, ttest_rel
from torch import Tensor, nn
from torch.nn.utils import prune

from helpers import (
    CifarNet,
    Criterion,
    MagnitudePruning,
    count_macs,
    evaluate,
    prunable_layers,
    prune_channels,
    prune_globally,
    prune_layers,
    residual_blocks,
    shrink,
    sparsity,
)
from helpers.data import Dataset, Split, is_whole


class Wrong(Exception):
    """What is wrong with an answer, in the words that the reader sees."""


def self_check(wanted: str) -> Callable:
    """Make a check that returns what is right, or raises `Wrong`, print its verdict and never raise.

    Args:
        wanted: what to do where the answer (the first argument) is still None.

    Example:
        >>> @self_check("put a number where it says None")
        ... def check_two(answer):
        ...     if answer != 2:
        ...         raise Wrong(f"{answer} is not two")
        ...     return "two"
        >>> check_two(3)
        ✗ 3 is not two
    """

    def decorate(check: Callable[..., str]) -> Callable[..., None]:
        @functools.wraps(check)
        def told(answer, *others) -> None:
            try:
                print("✗ nothing there yet:", wanted) if answer is None else print("✓", check(answer, *others))
            except Wrong as wrong:
                print("✗", wrong)
            except Exception as error:
                print(f"✗ your answer stops the check with {type(error).__name__}: {error}")

        return told

    return decorate


def _number(answer) -> float:
    if isinstance(answer, Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        raise Wrong(f"one number is wanted, this is {type(answer).__name__}: {str(answer)[:60]}")
    return answer


def _model(answer, what: str) -> nn.Module:
    if not isinstance(answer, nn.Module):
        raise Wrong(f"{what} is wanted, this is {type(answer).__name__}")
    return answer


def _count(tensors) -> int:
    return sum(tensor.numel() for tensor in tensors)


# ---- notebook 01


@self_check("count the parameters of CifarNet(width=0.25) and put the number where it says None")
def check_parameters(answer: int) -> str:
    """Parameters of `CifarNet(0.25)`: all of them, and no buffers."""
    answer, narrow, full = _number(answer), CifarNet(0.25), CifarNet(1.0)
    right, dense = _count(narrow.parameters()), _count(full.parameters())
    if answer == right:
        return (
            f"{right:,} parameters, {right / dense:.1%} of the full width's {dense:,}: most layers lose inputs and outputs alike"
        )
    if answer == right + _count(narrow.buffers()):
        raise Wrong("you counted buffers too: BatchNorm's running averages are stored, but no parameters (not learned)")
    if answer == _count(layer.weight for layer in prunable_layers(narrow).values()):
        raise Wrong("you counted the weights of convolutions and the linear layer only: biases and BatchNorm's are missing")
    if answer == len(list(narrow.parameters())):
        raise Wrong("that is how many tensors hold parameters; each of them holds many (numel)")
    if abs(answer / dense - 0.25) < 0.01:
        raise Wrong("a quarter of the width is not a quarter of the parameters: a layer has inputs × outputs of them. Count")
    raise Wrong(f"{answer:,} is not it: sum numel() over parameters() of CifarNet(width=0.25)")


@self_check("put the number of images where it says None")
def check_images(answer: float) -> str:
    """Images that make the margin of an accuracy of 90 % as small as 0.3 points."""
    answer, p, margin = _number(answer), 0.9, 0.003

    def near(n):
        return abs(answer - n) <= 0.01 * n

    right = 1.96**2 * p * (1 - p) / margin**2
    if near(right):
        return f"about {right:,.0f} images, {right / 10_000:.1f} times CIFAR-10's test set: a tenth of a point is mostly chance"
    if near(p * (1 - p) / margin**2):
        raise Wrong("you left out the 1.96: so many images give 0.3 points for one standard error, not for 95 %")
    if near(right * 1e-4):
        raise Wrong("0.3 points are 0.003, not 0.3: accuracies are fractions here")
    if near(1.96 * math.sqrt(p * (1 - p)) / margin):
        raise Wrong("that is the square root of it: square both sides when you solve for n")
    if near(1.96**2 * 0.25 / margin**2):
        raise Wrong("that is for an accuracy of 50 %, the worst case; here it is 90 %")
    raise Wrong(
        f"with {answer:,.0f} images the margin is {_points(1.96 * math.sqrt(p * (1 - p) / max(answer, 1)))}, not 0.3 points"
    )


def _points(share: float) -> str:
    return f"{100 * share:.2f} points"


@self_check("put (first, second) there, two trained networks")
def check_twins(answer: tuple[nn.Module, nn.Module], data: Dataset) -> str:
    """Two trained networks of one architecture that differ in their seed alone."""
    if not isinstance(answer, Sequence) or len(answer) != 2:
        raise Wrong("a pair of networks is wanted: (first, second)")
    first, second = (_model(network, "a network") for network in answer)
    states = first.state_dict(), second.state_dict()
    if [(k, v.shape) for k, v in states[0].items()] != [(k, v.shape) for k, v in states[1].items()]:
        raise Wrong("they differ in more than the seed: their layers have different shapes")
    if all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True)):
        raise Wrong("they are one and the same network, bit for bit: give them different seeds (build after seed_everything)")
    sample = data.val.subset(1000)
    results = [evaluate(network, sample) for network in (first, second)]
    for name, result in zip(("first", "second"), results, strict=True):
        if result.accuracy < 0.15:
            raise Wrong(f"the {name} network guesses ({result.accuracy:.0%}): was it trained?")
    apart = abs(results[0].accuracy - results[1].accuracy)
    differ = (results[0].predictions != results[1].predictions).float().mean().item()
    return (
        f"{results[0].accuracy:.1%} and {results[1].accuracy:.1%} on {len(sample):,} validation images: {_points(apart)} apart; "
        f"they disagree on {differ:.1%} of the images"
    )


# ---- notebook 02


@self_check("put the numbers of the filters where it says None, as a list")
def check_unread(answer: Sequence[int], model: nn.Module) -> str:
    """Filters of `conv1` that nobody reads once 30 % of the input channels of `stage1.conv` are pruned by L2 norm."""
    if isinstance(answer, Tensor):
        answer = answer.flatten().tolist()
    if not isinstance(answer, Sequence | set) or isinstance(answer, str):
        raise Wrong(f"a list of filter numbers is wanted, this is {type(answer).__name__}")
    answer, filters = set(answer), set(range(model.conv1.out_channels))

    def weakest(weight, dim, n, count):
        norms = weight.detach().abs().pow(n).transpose(0, dim).flatten(1).sum(1)
        return set(norms.topk(count, largest=False).indices.tolist())

    reader = model.stage1.conv.weight
    count = round(0.3 * reader.shape[1])
    if answer - filters and answer <= weakest(reader, 0, 2, round(0.3 * reader.shape[0])):
        raise Wrong("these are filters of stage1.conv itself (dim=0): its input channels are dim=1")
    if not answer <= filters:
        raise Wrong(f"conv1 has the filters 0 to {max(filters)}: {sorted(answer - filters)} is not among them")
    right = weakest(reader, 1, 2, count)
    if answer == right:
        return f"{len(right)} of {len(filters)} filters of conv1 compute what nobody reads: {sorted(right)}"
    if answer == filters - right:
        raise Wrong("these are the filters that are still read: you want the others")
    if answer == weakest(model.conv1.weight, 0, 2, count):
        raise Wrong("these are conv1's own weakest filters: the question is whom stage1.conv no longer reads")
    if answer == weakest(reader, 1, 1, count):
        raise Wrong("you ranked by the L1 norm: n=2 is wanted")
    if len(answer) != count:
        raise Wrong(f"{len(answer)} filters; 30 % of {reader.shape[1]} input channels is {count}, as torch rounds")
    raise Wrong(f"{len(answer & right)} of {count} are right: look for columns [:, k] of stage1.conv's mask that are all zero")


@self_check("put your class there")
def check_largest(answer: type[prune.BasePruningMethod], model: nn.Module, sample: Split) -> str:
    """A pruning method that removes the largest absolute weights."""
    if not (isinstance(answer, type) and issubclass(answer, prune.BasePruningMethod)):
        raise Wrong("a subclass of prune.BasePruningMethod is wanted (the class, not an object of it)")
    layer = nn.Linear(5, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, -3.0, 2.0, -0.2, 0.3], [0.4, 1.0, -0.5, 0.6, -0.7]]))
    values = layer.weight.detach().clone()
    answer.apply(layer, "weight", 0.2)
    gone = set(values[layer.weight_mask == 0].tolist())
    if not gone:
        raise Wrong("nothing is pruned yet: compute_mask returns the mask that it was given")
    if not set(layer.weight_mask.unique().tolist()) <= {0.0, 1.0}:
        raise Wrong("a mask holds zeros and ones only")
    if gone == set(values.flatten().tolist()) - {-3.0, 2.0}:
        raise Wrong("the mask is upside down: 1 keeps a weight, 0 removes it")
    if len(gone) != 2:
        raise Wrong(f"20 % of 10 weights are 2, but {len(gone)} are gone")
    if gone == set(values[0, [0, 3]].tolist()):
        raise Wrong("it removes the smallest weights, as l1_unstructured does: take the other end")
    if -3.0 not in gone:
        raise Wrong("-3 is a large weight too, and it is still there: rank absolute values")
    if gone != {-3.0, 2.0}:
        raise Wrong(f"-3 and 2 are the two largest of {values.flatten().tolist()}; yours removed {sorted(gone)}")

    def after(method):
        network = copy.deepcopy(model)
        for module in prunable_layers(network).values():
            method.apply(module, "weight", 0.01)
        return evaluate(network, sample).accuracy

    dense, smallest = evaluate(model, sample).accuracy, after(prune.L1Unstructured)
    return f"1 % of each layer's weights: the smallest cost {_points(dense - smallest)}, the largest {_points(dense - after(answer))}"


# ---- notebook 03


@self_check('put two layer names there, for example {"most weights": "conv1", "largest share": "fc"}')
def check_most_left(answer: Mapping[str, str], model: nn.Module) -> str:
    """Which layers keep the most weights, and the largest share of theirs, when the whole network is pruned by 95 %."""
    keys = ("most weights", "largest share")
    if not isinstance(answer, Mapping) or set(answer) != set(keys):
        raise Wrong('a dictionary with the keys "most weights" and "largest share" is wanted')
    if any(value is None for value in answer.values()):
        raise Wrong("nothing there yet: put the layers' names where it says None")
    network = copy.deepcopy(model)
    prune_globally(network, [MagnitudePruning(0.95)])
    layers = sparsity(network).layers
    for key in keys:
        if answer[key] not in layers:
            raise Wrong(f"{key}: {answer[key]!r} is no layer of this network; sparsity() lists their names")
    left = {name: size - zeros for name, (zeros, size) in layers.items()}
    shares = {name: left[name] / size for name, (_, size) in layers.items()}
    right = dict(zip(keys, (max(left, key=left.get), max(shares, key=shares.get)), strict=True))
    if all(answer[key] == right[key] for key in keys):
        most, share = right.values()
        return f"{most} keeps {left[most]:,} weights, {shares[most]:.1%} of its own; {share} keeps {shares[share]:.1%}, {left[share]:,}"
    if answer[keys[0]] == right[keys[1]] and answer[keys[1]] == right[keys[0]]:
        raise Wrong("the other way round: a small layer can keep a large share and still have few weights")
    if answer[keys[0]] == max(layers, key=lambda name: layers[name][0]):
        raise Wrong("most weights: this layer lost the most. Kept are size - zeros")
    if answer[keys[1]] == min(shares, key=shares.get):
        raise Wrong("largest share: this layer has the highest sparsity, so it kept the smallest share")
    wrong = next(key for key in keys if answer[key] != right[key])
    raise Wrong(f"{wrong}: not {answer[wrong]}, which keeps {left[answer[wrong]]:,} weights ({shares[answer[wrong]]:.1%})")


@self_check("put a list of 32 accuracies there, one for each filter of conv1")
def check_alone(answer: Sequence[float], model: nn.Module, sample: Split) -> str:
    """Accuracy with filter k of `conv1` removed, alone, for every k."""
    accuracies = torch.as_tensor(answer, dtype=torch.float64).flatten()
    filters = model.conv1.out_channels
    if len(accuracies) != filters:
        raise Wrong(f"one accuracy for each of {filters} filters is wanted, these are {len(accuracies)}")
    if accuracies.max() > 1:
        raise Wrong("accuracies are wanted as fractions from 0 to 1, not in percent")

    def accuracy_without(gone):
        network = copy.deepcopy(model)
        mask = torch.ones_like(network.conv1.weight)
        mask[gone] = 0
        prune.custom_from_mask(network.conv1, "weight", mask)
        return evaluate(network, sample).accuracy

    dense = evaluate(model, sample).accuracy
    norms = model.conv1.weight.detach().abs().sum((1, 2, 3))
    close = 1.5 / len(sample)  # one image may tip over by rounding

    def same(k, gone):
        return abs(accuracies[k].item() - accuracy_without(gone)) < close

    looks_dense = (accuracies - dense).abs().max() < close
    checked = range(filters) if looks_dense else (0, filters - 1, int(norms.argmax()))
    if not all(same(k, [k]) for k in checked):
        if looks_dense:
            raise Wrong("all are the dense accuracy: evaluate the copy that you pruned")
        if same(0, [0]) and same(filters - 1, slice(None)):
            raise Wrong(
                "the last one is without any filter: each removal came on top of the ones before; start from a fresh copy"
            )
        if same(0, slice(1, None)):
            raise Wrong("the mask is upside down: you kept filter k and removed all the others")
        raise Wrong("they are not ours: mask filter k of conv1 in a fresh copy, nothing else, and evaluate it on sample")
    order, worst = spearmanr(norms, dense - accuracies).statistic, int(accuracies.argmin())
    place = int((norms > norms[worst]).sum()) + 1
    return (
        f"filter {worst} costs most, {_points(dense - accuracies[worst].item())}; by L1 norm it is number {place} of {filters}. "
        f"Rank correlation of norm and loss: {order:.2f}"
    )


# ---- notebook 04


@self_check("put your pruned copy of the network there")
def check_biases(answer: nn.Module, model: nn.Module, sample: Split) -> str:
    """Half of all biases, of `fc` and of every BatchNorm layer, pruned by one ranking."""
    network = _model(answer, "a network")
    wanted = [name for name, module in model.named_modules() if getattr(module, "bias", None) is not None]
    masks = {name: dict(network.get_submodule(name).named_buffers()).get("bias_mask") for name in wanted}
    if any(name.endswith("weight_mask") for name, _ in network.named_buffers()):
        raise Wrong('weights are masked: hand prune_globally the pairs (module, "bias") as parameters=[…]')
    missing = [name for name, mask in masks.items() if mask is None]
    if missing:
        raise Wrong(f"{len(missing)} of {len(wanted)} biases have no mask, among them that of {missing[0]}")
    gone = {name: int((mask == 0).sum()) for name, mask in masks.items()}
    share = sum(gone.values()) / _count(masks.values())
    if abs(share - 0.5) > 0.01:
        raise Wrong(f"{share:.1%} of the biases are masked, not 50 %")
    if all(abs(gone[name] - masks[name].numel() / 2) <= 0.5 for name in wanted):
        raise Wrong("each layer lost just half of its own: that is pruning layer by layer, one ranking is wanted")
    dense, pruned = evaluate(model, sample).accuracy, evaluate(network, sample).accuracy
    emptied = sum(gone[name] == masks[name].numel() for name in wanted)
    return (
        f"{sum(gone.values()):,} biases fewer cost {_points(dense - pruned)} ({dense:.1%} -> {pruned:.1%}); "
        f"{emptied} of {len(wanted)} layers have none left"
    )


@self_check("put your class there")
def check_relative(answer: type[Criterion], model: nn.Module, sample: Split) -> str:
    """A criterion that measures |w| in units of its layer's mean |w|."""
    if not (isinstance(answer, type) and issubclass(answer, Criterion)):
        raise Wrong("a subclass of Criterion is wanted (the class, not an object of it)")
    weight = torch.tensor([[0.5, -2.0, 1.0], [-0.1, 0.3, 0.9]])  # the mean is 0.1, that of |w| 0.8
    importance = answer(amount=0.5).importance(weight.clone())
    if not isinstance(importance, Tensor) or importance.shape != weight.shape:
        raise Wrong("importance must return one number for each weight, in the weight's shape")
    ratio = importance / weight.abs()
    if torch.allclose(ratio, torch.ones(())):
        raise Wrong("it still is |w| itself: divide by the layer's mean |w|")
    if not torch.allclose(ratio, ratio[0, 0].expand_as(ratio)):
        signed = (importance < 0).any()
        raise Wrong(
            "large negative weights come first: take |w|" if signed else "|w| divided by one number of the layer is wanted"
        )
    if not torch.allclose(answer(amount=0.5).importance(20 * weight), importance):
        raise Wrong("with all weights 20 times as large it says something else: divide by something that grows along")
    for name, unit, why in (
        ("the mean of w", weight.mean(), "positive and negative weights cancel in it, and nearly nothing is left"),
        ("the sum of |w|", weight.abs().sum(), "it grows with the layer's size, so large layers would be emptied"),
        ("the largest |w|", weight.abs().max(), "one single weight would decide about its layer"),
        ("the L2 norm", weight.norm(), "it grows with the layer's size, so large layers would be emptied"),
    ):
        if torch.allclose(ratio.abs(), (1 / unit).abs()):
            raise Wrong(f"you divided by {name}: {why}")
    if not torch.allclose(ratio, 1 / weight.abs().mean()):
        raise Wrong("it is free of scale, but the unit is not the layer's mean |w|")
    accuracies = {}
    by_layer, relative, plain = (copy.deepcopy(model) for _ in range(3))
    prune_layers({layer: [MagnitudePruning(0.7)] for layer in prunable_layers(by_layer).values()})
    prune_globally(relative, [answer(amount=0.7)])
    prune_globally(plain, [MagnitudePruning(0.7)])
    for name, network in (("yours", relative), ("each layer alone", by_layer), ("one ranking of |w|", plain)):
        accuracies[name] = f"{name} {evaluate(network, sample).accuracy:.1%}"
    shares = [share for *_, share in sparsity(relative).rows()][:-1]
    return f"at 70 % your layers lose between {min(shares):.0%} and {max(shares):.0%}; accuracy: {', '.join(accuracies.values())}"


# ---- notebook 05


@self_check("put the smaller network there")
def check_without_blocks(answer: nn.Module, model: nn.Module, sample: Split) -> str:
    """The network without both residual blocks of its last stage."""
    network = _model(answer, "a network")
    left, all_blocks = residual_blocks(network), residual_blocks(model)
    if left == all_blocks:
        raise Wrong("all blocks are there: drop_blocks leaves its argument as it is and returns a smaller copy")
    still, lost = ([name for name in all_blocks if (name in left) == there] for there in (True, False))
    if any(name.startswith("stage3") for name in still):
        raise Wrong(f"it still has {', '.join(name for name in still if name.startswith('stage3'))}")
    if others := [name for name in lost if not name.startswith("stage3")]:
        raise Wrong(f"{', '.join(others)} went too: only the blocks of stage3 are asked for")
    parameters = 1 - _count(network.parameters()) / _count(model.parameters())
    macs = 1 - count_macs(network) / count_macs(model)
    accuracies = f"{evaluate(model, sample).accuracy:.1%} -> {evaluate(network, sample).accuracy:.1%}"
    return f"that saves {parameters:.0%} of the parameters and {macs:.0%} of the MACs, {accuracies} without fine-tuning"


@self_check("put a dictionary of amounts there, {group: share of its channels, …}")
def check_half_the_macs(answer: Mapping, model: nn.Module) -> str:
    """Amounts for `prune_channels` that leave half of the MACs (49 to 51 %) and all channels of `conv1`."""
    if not isinstance(answer, Mapping):
        raise Wrong(f"a dictionary is wanted, this is {type(answer).__name__}")
    pruned = copy.deepcopy(model)
    prune_channels(pruned, dict(answer))
    small = shrink(pruned)
    share = count_macs(small) / count_macs(model)
    if small.conv1.out_channels < model.conv1.out_channels:
        raise Wrong(f"conv1 keeps {small.conv1.out_channels} of its {model.conv1.out_channels} channels: leave it out")
    if abs(share - 0.5) <= 0.01:
        return f"{share:.1%} of the MACs are left, with {', '.join(f'{amount:.0%}' for amount in sorted(set(answer.values())))} fewer channels"
    if share < 0.35:
        raise Wrong(f"{share:.1%} of the MACs are left: most layers lose outputs and inputs, so half of both is a quarter")
    raise Wrong(f"{share:.1%} of the MACs are left, {'too many' if share > 0.5 else 'too few'}")


# ---- notebook 06


@self_check("put a list of (step, sparsity) pairs there")
def check_schedule(answer: Sequence) -> str:
    """For 100 steps and a target of 80 %: half of the target before the first step, the rest at half of the steps."""
    if not isinstance(answer, Sequence) or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in answer):
        raise Wrong("a list of pairs is wanted, such as [(0, 0.1), (10, 0.2)]")
    if len(answer) != 2:
        raise Wrong(f"two prunings are wanted, these are {len(answer)}")
    (first, low), (second, high) = answer
    if (low, high) == (0.4, 0.4):
        raise Wrong("the second sparsity is what is reached then, not the portion that is added")
    if (low, high) == (0.4, 0.667):
        raise Wrong("sparsities count all weights, not what remains")
    if (low, high) != (0.4, 0.8):
        raise Wrong(f"it goes to {low:.0%} and then to {high:.0%}; half of the target is 40 %, the target 80 %")
    if not (is_whole(first) and is_whole(second)):
        raise Wrong(f"steps are counted: {first!r} and {second!r} should be whole numbers (100 // 2, not 100 / 2)")
    if (first, second) != (0, 50):
        raise Wrong(
            f"it prunes before steps {first} and {second}; the first step is number 0, half of 100 steps are over before step 50"
        )
    return "prune_iteratively takes this list as it is"


@self_check("put the amount there, a share in 0..1")
def check_round_amount(answer: float) -> str:
    """The amount of each of eight rounds of `l1_unstructured` that together prune 90 %."""
    amount = _number(answer)
    if not 0 < amount < 1:
        raise Wrong(f"{amount} is no share between 0 and 1")
    reached = 1 - (1 - amount) ** 8
    if abs(reached - 0.9) < 0.002:
        return f"eight times {amount:.1%} of what remains is {reached:.1%}"
    why = (
        "an eighth of 90 % would do if amounts counted all weights; they count what remains"
        if abs(amount - 0.1125) < 0.002
        else ""
    )
    raise Wrong(f"eight rounds of it reach {reached:.1%}, not 90 %" + (f": {why}" if why else ""))


# ---- notebook 07


@self_check("put the chance there, a share in 0..1")
def check_false_alarm(answer: float) -> str:
    """The chance of at least one false alarm in eight independent tests at 5 %."""
    answer, right = _number(answer), 1 - 0.95**8
    if math.isclose(answer, right, abs_tol=0.005):
        return f"1 - 0.95 ** 8 = {right:.1%}: in one of three such studies something would be found where nothing is"
    if math.isclose(answer, 0.05, abs_tol=0.005):
        raise Wrong("5 % is the chance in one test; here are eight chances of it")
    if math.isclose(answer, 0.4, abs_tol=0.005):
        raise Wrong("8 times 5 % counts studies with two false alarms twice; how likely is it that none of the eight raises one?")
    if math.isclose(answer, 1 - right, abs_tol=0.005):
        raise Wrong("that is the chance that none of the eight raises an alarm; the question is the opposite")
    raise Wrong("one test raises no alarm with a chance of 0.95; how likely is it that none of eight does?")


@self_check("put the two half widths there: (paired, unpaired), in points")
def check_pairing(answer: Sequence[float], a: Sequence[float], b: Sequence[float]) -> str:
    """Half widths of the 95 % interval of a - b in points, paired by seed and as if the samples were independent."""
    try:
        answers = dict(zip(("paired", "unpaired"), map(_number, answer), strict=True))
    except (TypeError, ValueError):
        raise Wrong(f"two numbers are wanted, (paired, unpaired); this is {str(answer)[:60]}") from None
    wanted = {}
    for name, test in (("paired", ttest_rel), ("unpaired", ttest_ind)):
        interval = test(a, b).confidence_interval()
        wanted[name] = 50 * (interval.high - interval.low)
    right = {name: math.isclose(value, wanted[name], rel_tol=0.05) for name, value in answers.items()}
    if all(right.values()):
        as_seeds = (wanted["unpaired"] / wanted["paired"]) ** 2
        told = f"pairing is worth as much as {as_seeds:.1f} times the seeds" if as_seeds > 1.1 else "here pairing helps little"
        return f"±{wanted['paired']:.2f} paired and ±{wanted['unpaired']:.2f} unpaired: {told}"
    if all(
        math.isclose(value, other, rel_tol=0.05) for value, other in zip(answers.values(), reversed(wanted.values()), strict=True)
    ):
        raise Wrong("the other way round: (paired, unpaired)")
    name = next(name for name, good in right.items() if not good)
    for factor, told in (
        (0.01, "is a share; in points it is a hundred times as much"),
        (2, "is the whole width; half of it is wanted"),
    ):
        if math.isclose(answers[name], factor * wanted[name], rel_tol=0.05):
            raise Wrong(f"{name}: {answers[name]:g} {told}")
    hint = {
        "paired": "take each seed's difference, then the standard error of these, times Student's t with n - 1 degrees of freedom",
        "unpaired": "take the root of the sum of both squared standard errors, times Student's t with 2n - 2 degrees of freedom",
    }
    raise Wrong(f"{name}: {answers[name]:.3f} is off; {hint[name]}")


# ---- notebook 08


@self_check("put the sparsity there, a share in 0..1")
def check_csr_break_even(answer: float) -> str:
    """Where values and column numbers of 4 bytes each take as much as a dense matrix."""
    share = _number(answer)
    if not 0 <= share <= 1:
        raise Wrong(f"{share} is no share between 0 and 1")
    if abs(share - 0.5) < 0.01:
        return "half of the weights, at twice the bytes each; with column numbers of 8 bytes it would be two thirds"
    if abs(share - 2 / 3) < 0.01:
        raise Wrong("that is right for column numbers of 8 bytes, PyTorch's default; here they have 4")
    csr, dense = 8 * (1 - share), 4
    raise Wrong(f"at {share:.0%} CSR takes {csr:.1f} bytes for each weight of the matrix, dense {dense}: they should be equal")


@self_check("put a state_dict there")
def check_small_file(answer: Mapping[str, Tensor], model: nn.Module, sample: Split) -> str:
    """A state_dict with a quarter of the zipped bytes, at most two points worse."""
    wanted = model.state_dict()
    if not isinstance(answer, Mapping) or not all(isinstance(value, Tensor) for value in answer.values()):
        raise Wrong("a state_dict is wanted: network.state_dict(), with its tensors changed or not")
    if any(name.endswith("_mask") for name in answer):
        raise Wrong("there are masks in it: make_permanent first, zeros are enough")
    if answer.keys() != wanted.keys() or any(answer[name].shape != value.shape for name, value in wanted.items()):
        raise Wrong("its names and shapes are not those of CifarNet(); keep the network's shape, change the numbers")
    sizes = []
    for state in (wanted, answer):
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        sizes.append(len(gzip.compress(buffer.getvalue())))
    share = sizes[1] / sizes[0]
    network = copy.deepcopy(model)
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in answer.items()})
    dense, accuracy = evaluate(model, sample).accuracy, evaluate(network, sample).accuracy
    told = f"{share:.0%} of the bytes, {accuracy:.1%} instead of {dense:.1%}"
    if share > 0.25:
        half = any(value.dtype in (torch.float16, torch.bfloat16) for value in answer.values())
        raise Wrong(
            f"{told}: still too large; " + ("prune more" if half else "zeros zip well, and a number need not take 4 bytes")
        )
    if accuracy < dense - 0.02:
        raise Wrong(f"{told}: too much is lost; prune less, and store the rest in fewer bytes")
    return f"{told}: pruning and fewer bits multiply"

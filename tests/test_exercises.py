"""Every self-check: it fails on the empty stub, names what is wrong with a typical wrong answer, and passes on the solution.

Stubs come from the notebooks, solutions from notebooks/solutions/; the wrong answers stand here. All run in the names that the
solution notebook sets up before its first exercise.
"""

import ast
import copy
from functools import cache
from itertools import takewhile

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import exercises
import helpers as h
from helpers.data import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))


def code(path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def checked(source: str) -> ast.Call | None:
    """The call check_…(answer, …) that ends an exercise's cell."""
    call = getattr(ast.parse(source).body[-1], "value", None)
    return call if isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("check_") else None


def collected():
    """{check: (path of the solutions, stub's cell, solution's source)}"""
    found = {}
    for path in NOTEBOOKS:
        solutions = path.parent / "solutions" / path.name
        solved = {checked(cell.source).func.id: cell.source for cell in code(solutions) if checked(cell.source)}
        for stub in code(path):
            if call := checked(stub.source):
                found[call.func.id] = (solutions, stub, solved[call.func.id])
    return found


EXERCISES = collected()


@cache
def set_up(solutions) -> dict:
    """The names that a notebook's solutions define before the first of them."""
    names = {}
    for cell in takewhile(lambda cell: not checked(cell.source), code(solutions)):
        exec(cell.source, names)
    return names


def test_every_check_belongs_to_an_exercise():
    public = {name for name in vars(exercises) if name.startswith("check_")}
    assert set(EXERCISES) == public == set(WRONG)


@pytest.mark.parametrize("check", EXERCISES)
def test_the_empty_stub_fails_and_the_solution_passes(check, capsys):
    solutions, stub, solution = EXERCISES[check]
    assert ast.unparse(checked(stub.source)) == ast.unparse(checked(solution))
    verdicts = []
    for source in (stub.source, solution):
        exec(source, dict(set_up(solutions)))
        verdicts.append(capsys.readouterr().out)
    assert [verdict[:2] for verdict in verdicts] == ["✗ ", "✓ "] and "".join(verdicts).count("\n") == 2
    assert stub.outputs[0].text == verdicts[0]  # nobody's answer was committed


def untrained(seed):
    torch.manual_seed(seed)
    return h.CifarNet(0.1)


def mask_without(scores, amount):
    """A mask that removes the share `amount` of the weights, those with the largest scores."""
    mask = torch.ones_like(scores)
    mask.view(-1)[scores.flatten().topk(round(amount * scores.numel())).indices] = 0
    return mask


def masked(names, function, amount):
    network = copy.deepcopy(names["model"])
    for layer in h.prunable_layers(network).values():
        function(layer, "weight", amount=amount)
    return network


def criterion(importance):
    return type("Mine", (h.Criterion,), {"importance": lambda self, weight: importance(weight)})


def two_rounds(last, permanent_after="last", epochs=1):
    """An answer to lesson 4's second exercise, for the check: a function of the notebook's names."""

    def answer(model, data):
        network = copy.deepcopy(model)
        for amount in (0.25, last):
            for layer in h.prunable_layers(network).values():
                prune.l1_unstructured(layer, "weight", amount=amount)
            if permanent_after == "each":
                h.make_permanent(network)
            if epochs:
                h.train(network, data, epochs=epochs, validate=False)
        return h.make_permanent(network) if permanent_after == "last" else network

    return lambda names: answer


def unread(names, dim=1, kept=False):
    layer = copy.deepcopy(names["model"].stage1.conv)
    prune.ln_structured(layer, "weight", amount=0.3, n=2, dim=dim)
    ones = layer.weight_mask.transpose(0, dim).flatten(1).amax(1)
    return (ones == kept).nonzero().flatten().tolist()


def silent(norm, kept=False):
    """Channels whose zeros are still zero after BatchNorm and ReLU, or (`kept`) the others."""
    with torch.no_grad():
        constants = norm(torch.zeros(1, norm.num_features, 1, 1)).relu().flatten()
    return ((constants > 0) == kept).nonzero().flatten().tolist()


def pruned(names, amount, name="weight", which=(nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
    network = copy.deepcopy(names["dense"] if "dense" in names else names["model"])
    pairs = [(module, name) for module in network.modules() if isinstance(module, which)]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=amount)
    return network


def first_emptied(names):
    layers = h.prunable_layers(names["model"])
    return min(layers, key=lambda name: layers[name].weight.abs().max())


def stored(names, amount, kind=torch.bfloat16):
    state = h.make_permanent(pruned(names, amount, which=(nn.Conv2d, nn.Linear))).state_dict()
    return {name: value.to(kind if value.is_floating_point() else value.dtype) for name, value in state.items()}


def cut(names, amount):
    network = copy.deepcopy(names["model"])
    h.prune_channels(network, amount)
    return h.shrink(network)


def upset(names):
    """The same weights, with statistics of images in 0..255."""
    network = copy.deepcopy(names["model"]).train()
    with torch.no_grad():
        network(names["data"].train.images[:100].float())
    return network


# wrong answers to each check, and words of the verdict; a function is handed the notebook's names
WRONG = {
    "check_parameters": [
        (lambda n: sum(value.numel() for value in h.CifarNet(0.25).state_dict().values()), "buffers"),
        (1_544_554 // 4, "a quarter of the width is not"),
    ],
    "check_images": [(10_000, "left out the 1.96"), (3.84, "0.3 points are 0.003"), ("many", "one number is wanted")],
    "check_twins": [
        (lambda n: (untrained(1), untrained(1)), "one and the same network"),
        (lambda n: (untrained(1), untrained(2)), "was it trained?"),
        ((1, 2), "a network is wanted"),
    ],
    "check_unread": [
        (lambda n: unread(n, dim=0), "dim=0"),
        (lambda n: unread(n, kept=True), "still read"),
        (lambda n: unread(n)[:-1], "9 filters; 30 % of 32"),
        (3, "a list of filter numbers"),
    ],
    "check_largest": [
        (lambda n: lambda weight, amount: mask_without(-weight.abs(), amount), "smallest weights"),
        (lambda n: lambda weight, amount: mask_without(weight, amount), "rank absolute values"),
        (lambda n: lambda weight, amount: mask_without(weight.abs(), 2 * amount), "4 are removed"),
        (lambda n: lambda weight, amount: 1 - mask_without(weight.abs(), amount), "upside down"),
        (lambda n: lambda weight, amount: weight, "a tensor of zeros and ones"),
        (lambda n: lambda weight, amount: weight.no_such_thing, "AttributeError"),
    ],
    "check_random": [
        (lambda n: n["model"], "no layer has a mask"),
        (lambda n: masked(n, prune.random_unstructured, 0.5), "50.0% of the weights"),
        (lambda n: masked(n, prune.l1_unstructured, 0.8), "not pruned at random"),
    ],
    "check_most_left": [
        ({"most weights": "conv1", "largest share": "conv1"}, "most weights: "),
        ({"most weights": "conv7", "largest share": "fc"}, "'conv7' is no layer"),
        (["conv1", "fc"], "a dictionary"),
    ],
    "check_cut_weights": [
        (4_608, "who reads"),
        (13_824, "the filters disappear too"),
        (2_048, "these are kernels"),
        (16, "count kernels first"),
    ],
    "check_silent": [
        (lambda n: silent(n["model"].stage1.bn, kept=True), "the other way round"),
        (lambda n: silent(n["model"].bn1), "filters of conv1"),
        ([], "are missing"),
        (7, "TypeError"),
    ],
    "check_troubles": [
        (dict.fromkeys("ABCDE"), "put the numbers"),
        ({"A": 6, "B": 8, "C": 9, "D": 7, "E": 11}, "4 of 5 are right. E is not 11"),
        ([6, 8, 9, 7, 12], "a dictionary"),
    ],
    "check_two_rounds": [
        (two_rounds(last=1 / 3, permanent_after="each"), "fine-tuning filled"),
        (two_rounds(last=0.25), "43.8% zeros"),
        (two_rounds(last=1 / 3, permanent_after="never"), "masks are still there"),
        (two_rounds(last=1 / 3, epochs=0), "were not fine-tuned"),
        (lambda n: lambda model, data: model, "work on a copy"),
    ],
    "check_rescaled": [
        ({"random"}, "look at their product"),
        ({"Taylor", "random", "Wanda"}, "not wanda"),
        ({"taylor", "random", "L1"}, "'l1' is none of"),
        ("Taylor", "a set of names"),
    ],
    "check_relative": [
        (criterion(lambda w: w.abs() / w.mean()), "the mean of w"),
        (criterion(lambda w: w.abs() / w.abs().sum()), "the sum of |w|"),
        (criterion(lambda w: w / w.abs().mean()), "large negative weights"),
        (criterion(lambda w: w.abs().mean()), "one number for each weight"),
    ],
    "check_first_emptied": [
        ({"layer": "conv7", "amount": 0.9}, "'conv7' is no layer"),
        ({"layer": "fc", "amount": 0.9}, "not fc: "),
        (lambda n: {"layer": first_emptied(n), "amount": 0.5}, "which share of all weights"),
        ("fc", "a dictionary"),
    ],
    "check_spared": [(0.8, "69.0% of the network's weights"), (1.2, "no share"), ("most", "one number is wanted")],
    "check_parameters_lost": [
        (216, "which layers come after them"),
        (216 + 16, "the next layer reads"),
        (216 + 8 * 64 * 9, "a weight and a bias"),
        (216 + 32 + 8 * 64 * 9, "are buffers"),
        (5000, "than 5,000"),
    ],
    "check_half_the_macs": [
        (lambda n: dict.fromkeys(h.channel_groups(n["model"]), 0.3), "conv1 keeps 22"),
        (lambda n: {name: 0.5 for name in h.channel_groups(n["model"]) if name != "conv1"}, "half of both is a quarter"),
    ],
    "check_without_blocks": [
        (lambda n: n["model"], "returns a smaller copy"),
        (lambda n: h.drop_blocks(n["model"], "stage3.block1"), "it still has stage3.block2"),
        (lambda n: h.drop_blocks(n["model"], h.residual_blocks(n["model"])), "it also lacks stage1.block1"),
    ],
    "check_flaws": [
        ("a", "how many steps"),
        ("B", "which learning rate"),
        ("A, B, C", "C is no flaw"),
        ("abd", "D is no flaw"),
        (7, "letters from A to D"),
    ],
    "check_schedule": [
        ([(0, 0.4), (50, 0.4)], "not the portion"),
        ([(0, 0.5), (50, 0.8)], "half of the target is 40 %"),
        ([0, 50], "a list of pairs"),
    ],
    "check_round_amount": [(0.9 / 8, "counted all weights"), (np.float32(0.5), "99.6%"), (torch.tensor(0.5), "99.6%")],
    "check_equal_epochs": [(10, "what the report did"), (40, "the last one too"), (5, "from its first pruning")],
    "check_csr_break_even": [(2 / 3, "PyTorch's default"), (0.25, "CSR takes 6.0 bytes"), (50, "no share")],
    "check_small_file": [
        (lambda n: stored(n, 0.5, torch.float32), "need not take 4 bytes"),
        (lambda n: stored(n, 0.3), "prune more"),
        (lambda n: stored(n, 0.97), "too much is lost"),
        (lambda n: pruned(n, 0.5).state_dict(), "make_permanent first"),
    ],
    "check_same_outputs": [
        (lambda n: n["masked"], "shrink cuts"),
        (lambda n: cut(n, 0.5), "the outputs differ by"),
        (0.25, "a network is wanted"),
    ],
    "check_macs": [
        (lambda n: n["model"], "masks save none"),
        (lambda n: cut(n, 0.25), "raise the amounts"),
        (lambda n: cut(n, 0.75), "lower the amounts"),
    ],
    "check_accuracy": [(upset, "the buffers"), (lambda n: cut(n, 0.75), "recalibrate before you judge")],
}


@pytest.mark.parametrize("check", EXERCISES)
def test_wrong_answers_are_told_what_is_wrong(check, capsys):
    solutions, _, solution = EXERCISES[check]
    names = dict(set_up(solutions))
    others = [eval(ast.unparse(argument), dict(names)) for argument in checked(solution).args[1:]]
    for wrong, words in WRONG[check]:
        answer = wrong(names) if callable(wrong) and not isinstance(wrong, type) else wrong
        capsys.readouterr()
        getattr(exercises, check)(answer, *others)
        verdict = capsys.readouterr().out
        assert verdict.startswith("✗ ") and words in verdict, verdict

"""Every self-check: it fails on the empty stub, names what is wrong with a typical wrong answer, and passes on the solution.

Stubs come from the notebooks, solutions from notebooks/solutions/; the wrong answers stand here. All run in the names that the
solution notebook sets up before its first exercise.
"""

import ast
import copy

import nbformat
import numpy as np
import pytest
import torch
from scipy.stats import t
from torch import nn
from torch.nn.utils import prune

import exercises
import helpers as h
from helpers.data import REPOSITORY

NOTEBOOKS = {path.stem: path for path in sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))}


def code(path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def checked(source: str) -> ast.Call | None:
    """The call check_…(answer, …) that ends an exercise's cell."""
    last = ast.parse(source).body[-1]
    call = getattr(last, "value", None)
    return call if isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("check_") else None


def collected():
    """{check: (notebook, stub's cell, solution's cell)}"""
    found = {}
    for stem, path in NOTEBOOKS.items():
        stubs = list(filter(checked, code(path)))
        solved = {checked(s).func.id: s for s in code(path.parent / "solutions" / path.name) if checked(s)} if stubs else {}
        found |= {name: (stem, stub, solved[name]) for stub in stubs for name in [checked(stub).func.id]}
    return found


EXERCISES = collected()


@pytest.fixture(scope="module")
def names():
    """The names of a notebook's exercises: what its solutions set up before the first of them."""
    known = {}

    def of(stem: str) -> dict:
        if stem not in known:
            known[stem] = {}
            for source in code(REPOSITORY / "notebooks" / "solutions" / f"{stem}.ipynb"):
                if checked(source):
                    break
                exec(source, known[stem])
        return dict(known[stem])

    return of


def test_every_check_belongs_to_an_exercise():
    public = {name for name in vars(exercises) if name.startswith("check_")}
    assert set(EXERCISES) == public == set(WRONG)


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_notebook_ends_with_two_or_three_exercises(stem):
    assert (REPOSITORY / "notebooks" / "solutions" / f"{stem}.ipynb").exists()
    cells = nbformat.read(NOTEBOOKS[stem], as_version=4).cells
    start = next(k for k, cell in enumerate(cells) if cell.source.startswith("## Exercises"))
    text = "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "markdown")
    stubs = [cell for cell in cells[start:] if cell.cell_type == "code"]
    assert 2 <= len(stubs) <= 3 and all(checked(cell.source) for cell in stubs)
    assert [f"**Exercise {k}**" in text for k in (1, 2, 3, 4)] == [k <= len(stubs) for k in (1, 2, 3, 4)]
    assert "*(easy)*" in text and "*(needs thought)*" in text and f"(solutions/{stem}.ipynb)" in text
    assert not any(checked(cell.source) for cell in cells[:start] if cell.cell_type == "code")
    assert all(cell.outputs[0].text.startswith("✗ ") for cell in stubs)  # nobody's answer was committed


@pytest.mark.parametrize("check", EXERCISES)
def test_the_empty_stub_fails(check, names, capsys):
    stem, stub, _ = EXERCISES[check]
    exec(stub, names(stem))
    told = capsys.readouterr().out
    assert told.startswith("✗ ") and told.count("\n") == 1
    stored = next(c for c in nbformat.read(NOTEBOOKS[stem], as_version=4).cells if c.cell_type == "code" and c.source == stub)
    assert stored.outputs[0].text == told


@pytest.mark.parametrize("check", EXERCISES)
def test_the_solution_passes(check, names, capsys):
    stem, stub, solution = EXERCISES[check]
    assert ast.unparse(checked(stub)) == ast.unparse(checked(solution))
    exec(solution, names(stem))
    told = capsys.readouterr().out
    assert told.startswith("✓ ") and told.count("\n") == 1


# ---- wrong answers: for each check (answer, words of the verdict); a function is handed the notebook's names


def twins(names, *, seeds=(1, 2), widths=(0.1, 0.1), trained=True):
    pair = []
    for seed, width in zip(seeds, widths, strict=True):
        h.seed_everything(seed)
        pair.append(h.CifarNet(width))
        if trained:
            h.train(pair[-1], names["data"], epochs=0.2, seed=seed, validate=False)
    return tuple(pair)


class SmallestMagnitude(prune.L1Unstructured):
    pass


class UpsideDown(prune.L1Unstructured):
    def compute_mask(self, t, default_mask):
        return 1 - largest(t.abs(), self.amount)


class LargestSigned(prune.L1Unstructured):
    def compute_mask(self, t, default_mask):
        return largest(t, self.amount)


class LargestTwice(prune.L1Unstructured):
    def compute_mask(self, t, default_mask):
        return largest(t.abs(), 2 * self.amount)


class Broken(prune.L1Unstructured):
    def compute_mask(self, t, default_mask):
        return t.no_such_thing


def largest(scores, amount):
    mask = torch.ones_like(scores)
    mask.view(-1)[scores.flatten().topk(round(amount * scores.numel())).indices] = 0
    return mask


def stored(names, amount, kind=torch.bfloat16, permanent=True):
    network = copy.deepcopy(names["model"])
    h.prune_globally(network, [h.MagnitudePruning(amount)])
    state = (h.make_permanent(network) if permanent else network).state_dict()
    return {name: value.to(kind if amount and value.is_floating_point() else value.dtype) for name, value in state.items()}


def criterion(importance):
    return type("Mine", (h.Criterion,), {"importance": lambda self, weight: importance(weight)})


def unread(names, dim=1, n=2, layer="stage1.conv", amount=0.3, kept=False):
    layer = copy.deepcopy(names["model"]).get_submodule(layer)
    prune.ln_structured(layer, "weight", amount=amount, n=n, dim=dim)
    ones = layer.weight_mask.transpose(0, dim).flatten(1).amax(1)
    return (ones == kept).nonzero().flatten().tolist()


def kept_at_95(names):
    network = copy.deepcopy(names["model"])
    h.prune_globally(network, [h.MagnitudePruning(0.95)])
    return h.sparsity(network).layers


def swapped(names):
    layers = kept_at_95(names)
    most = max(layers, key=lambda name: layers[name][1] - layers[name][0])
    return {"most weights": min(layers, key=lambda name: layers[name][0] / layers[name][1]), "largest share": most}


def most_zeros(names):
    layers = kept_at_95(names)
    return swapped(names) | {"most weights": max(layers, key=lambda name: layers[name][0])}


def alone(names, **gone):
    """32 accuracies, of which filter 0's and the last are measured: without the filters given."""
    found = [0.5] * 32
    for place, filters in zip((0, 31), gone.values(), strict=True):
        network = copy.deepcopy(names["model"])
        with torch.no_grad():
            network.conv1.weight[filters] = 0
        found[place] = h.evaluate(network, names["sample"]).accuracy
    return found


def biases(names, amount=0.5, which=(nn.Linear, nn.BatchNorm2d), name="bias", each=False):
    network = copy.deepcopy(names["model"])
    pairs = [(module, name) for module in network.modules() if isinstance(module, which)]
    for pair in pairs if each else ():
        prune.l1_unstructured(*pair, amount=amount)
    if not each:
        h.prune_globally(network, [h.MagnitudePruning(amount)], parameters=pairs)
    return network


def the_same(names, amount, *, conv1=False):
    return {name: amount for name in h.channel_groups(names["model"]) if conv1 or name != "conv1"}


def widths(names):
    """Half the 95 % intervals of notebook 7's second exercise, in points: paired, and as if independent."""
    a, b = names["equal_90"], names["instant_90"]
    n, errors = len(a), ((a - b).sem(), (a.sem() ** 2 + b.sem() ** 2) ** 0.5)
    return [100 * t.ppf(0.975, freedom) * error for freedom, error in zip((n - 1, 2 * n - 2), errors, strict=True)]


WRONG = {
    "check_parameters": [
        (lambda n: sum(t.numel() for t in h.CifarNet(0.25).state_dict().values()), "buffers"),
        (lambda n: sum(layer.weight.numel() for layer in h.prunable_layers(h.CifarNet(0.25)).values()), "biases and BatchNorm's"),
        (1_544_554 // 4, "a quarter of the width is not"),
        (12, "numel"),
        ("many", "one number is wanted"),
    ],
    "check_images": [
        (10_000, "left out the 1.96"),
        (3.84, "0.3 points are 0.003"),
        (196, "square both sides"),
        (106_711, "50 %"),
        (20_000, "the margin is 0.42 points"),
        (True, "one number is wanted"),
    ],
    "check_twins": [
        (lambda n: twins(n, seeds=(1, 1), trained=False), "one and the same network"),
        (lambda n: twins(n, widths=(0.1, 0.15), trained=False), "different shapes"),
        (lambda n: twins(n, trained=False), "was it trained?"),
        (lambda n: h.CifarNet(0.1), "a pair of networks"),
        ((1, 2), "a network is wanted"),
    ],
    "check_unread": [
        (lambda n: unread(n, dim=0), "dim=0"),
        (lambda n: unread(n, kept=True), "still read"),
        (lambda n: unread(n, layer="conv1", dim=0, amount=10), "conv1's own weakest"),
        (lambda n: unread(n)[:-1], "9 filters; 30 % of 32"),
        (lambda n: [*unread(n)[:-1], unread(n, kept=True)[0]], "9 of 10 are right"),
        ([32], "[32] is not among them"),
        (3, "a list of filter numbers"),
    ],
    "check_largest": [
        (SmallestMagnitude, "smallest weights"),
        (UpsideDown, "upside down"),
        (LargestSigned, "rank absolute values"),
        (LargestTwice, "4 are gone"),
        (Broken, "AttributeError"),
        (0.01, "a subclass"),
    ],
    "check_most_left": [
        (swapped, "the other way round"),
        (most_zeros, "lost the most"),
        ({"most weights": "conv7", "largest share": "fc"}, "'conv7' is no layer"),
        (["conv1", "fc"], "a dictionary"),
    ],
    "check_alone": [
        (lambda n: alone(n, first=[0], last=slice(None)), "on top of the ones before"),
        (lambda n: alone(n, first=slice(1, None), last=slice(31)), "upside down"),
        (lambda n: [h.evaluate(n["model"], n["sample"]).accuracy] * 32, "dense accuracy"),
        ([0.5] * 32, "not ours"),
        ([50] * 32, "percent"),
        ([0.5] * 31, "these are 31"),
    ],
    "check_biases": [
        (lambda n: biases(n, name="weight"), "weights are masked"),
        (lambda n: biases(n, which=nn.BatchNorm2d), "that of fc"),
        (lambda n: biases(n, amount=0.3), "30.0% of the biases"),
        (lambda n: biases(n, each=True), "layer by layer"),
        (0.5, "a network is wanted"),
    ],
    "check_relative": [
        (criterion(lambda w: w.abs() / w.mean()), "the mean of w"),
        (criterion(lambda w: w.abs() / w.abs().sum()), "the sum of |w|"),
        (criterion(lambda w: w / w.abs().mean()), "large negative weights"),
        (criterion(lambda w: w.abs() / w.std()), "not the layer's mean"),
        (criterion(lambda w: w.abs() / 0.8), "20 times as large"),
        (criterion(lambda w: w.abs().mean()), "one number for each weight"),
        (0.5, "a subclass of Criterion"),
    ],
    "check_without_blocks": [
        (lambda n: n["model"], "returns a smaller copy"),
        (lambda n: h.drop_blocks(n["model"], ["stage3.block1"]), "still has stage3.block2"),
        (
            lambda n: h.drop_blocks(n["model"], h.residual_blocks(n["model"])),
            "stage1.block1, stage2.block1, stage2.block2 went too",
        ),
        (2, "a network is wanted"),
    ],
    "check_half_the_macs": [
        (lambda n: the_same(n, 0.5), "half of both is a quarter"),
        (lambda n: the_same(n, 0.3, conv1=True), "conv1 keeps 22"),
        (lambda n: the_same(n, 0.2), "too many"),
        (lambda n: the_same(n, 0.38), "too few"),
        ({"conv7": 0.3}, "no group of channels"),
        (0.3, "a dictionary is wanted"),
    ],
    "check_schedule": [
        ([(0, 0.4), (50, 0.4)], "not the portion"),
        ([(0, 0.4), (50, 0.667)], "not what remains"),
        ([(0, 0.5), (50, 0.8)], "half of the target is 40 %"),
        ([(1, 0.4), (50, 0.8)], "number 0"),
        ([(0, 0.4), (100 / 2, 0.8)], "100 // 2"),
        ([(0, 0.8)], "these are 1"),
        ([0, 50], "a list of pairs"),
    ],
    "check_round_amount": [
        (0.9 / 8, "they count what remains"),
        (0.5, "99.6%"),
        (25, "no share"),
        ("a quarter", "one number is wanted"),
    ],
    "check_false_alarm": [
        (0.05, "eight chances of it"),
        (0.4, "counts studies with two false alarms twice"),
        (0.95**8, "the opposite"),
        (0.2, "0.95"),
        ("a third", "one number is wanted"),
    ],
    "check_pairing": [
        (lambda n: widths(n)[::-1], "the other way round"),
        (lambda n: [value / 100 for value in widths(n)], "is a share"),
        (lambda n: [2 * value for value in widths(n)], "the whole width"),
        (lambda n: [widths(n)[0], 0.5 * widths(n)[0]], "root of the sum"),
        (lambda n: [9.0, widths(n)[1]], "each seed's difference"),
        (0.3, "two numbers are wanted"),
    ],
    "check_csr_break_even": [(2 / 3, "PyTorch's default"), (0.25, "CSR takes 6.0 bytes"), (50, "no share")],
    "check_small_file": [
        (lambda n: stored(n, 0.0), "100% of the bytes"),
        (lambda n: stored(n, 0.5, torch.float32), "need not take 4 bytes"),
        (lambda n: stored(n, 0.3), "prune more"),
        (lambda n: stored(n, 0.97), "too much is lost"),
        (lambda n: stored(n, 0.5, permanent=False), "make_permanent first"),
        (lambda n: h.CifarNet(0.5).state_dict(), "keep the network's shape"),
        (lambda n: n["model"], "a state_dict is wanted"),
    ],
}


@pytest.mark.parametrize("check", EXERCISES)
def test_wrong_answers_are_told_what_is_wrong(check, names, capsys):
    stem, _, solution = EXERCISES[check]
    given = names(stem)
    others = [given.get(argument.id) for argument in checked(solution).args[1:]]
    for wrong, words in WRONG[check]:
        answer = wrong(given) if callable(wrong) and not isinstance(wrong, type) else wrong
        capsys.readouterr()
        getattr(exercises, check)(answer, *others)
        told = capsys.readouterr().out
        assert told.startswith("✗ ") and words in told, told


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, torch.tensor])
def test_a_number_of_any_library_is_one(kind, capsys):
    exercises.check_round_amount(kind(1 - 0.1 ** (1 / 8)))
    assert capsys.readouterr().out.startswith("✓ ")

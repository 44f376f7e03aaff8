"""Training and evaluation: reproducible, honest about modes, and careful with what it is given."""

import copy
import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import pad

from helpers import (
    CifarNet,
    MagnitudePruning,
    SimpleNet,
    Split,
    devices,
    evaluate,
    load_pretrained,
    predict,
    prune_channels,
    prune_globally,
    recalibrate,
    shrink,
    sparsity,
    train,
)
from helpers.devices import to_float
from helpers.training import augmented_batches

CPU = torch.device("cpu")
REPEATS = 5 if os.environ.get("PRUNING_STRESS") else 1


def fresh(width=0.1, seed=0):
    torch.manual_seed(seed)
    return CifarNet(width)


# ---- train


def test_the_seed_alone_decides(digits, state_of, same_state):
    """Random numbers that others draw, and looks at the validation split, change nothing."""
    states = []
    for seed, validate in [(3, False), (3, True)] * REPEATS + [(4, False)]:
        model = fresh()
        torch.rand(17)
        train(model, digits, epochs=1.5, seed=seed, cutout=4, validate=validate)
        states.append(state_of(model))
    assert all(same_state(states[0], state) for state in states[:-1])
    assert not same_state(states[0], states[-1])


def test_learns(digits):
    model = fresh(0.25)
    history = train(model, digits, epochs=5)
    assert evaluate(model, digits.val).accuracy == history.val_accuracy[-1] > 0.9
    assert len(history.loss) == len(history.lr) == len(history.val_accuracy) == 5 and history.loss[-1] < history.loss[0]
    assert "5 epochs" in repr(history) and "validation accuracy" in repr(history)


def test_steps_callback_and_learning_rate(digits):
    steps, rates = [], []

    def on_step(step, optimizer):
        steps.append(step), rates.append(optimizer.param_groups[0]["lr"])
        for group in optimizer.param_groups:  # BatchNorm and biases have no weight decay
            assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])

    history = train(fresh(), digits, epochs=2.3, batch_size=100, lr=0.1, on_step=on_step)
    assert history.steps == round(2.3 * math.ceil(len(digits.train) / 100)) == len(steps)
    assert steps == list(range(history.steps))
    top = rates.index(max(rates))
    assert 0.15 < top / history.steps < 0.25 and 0.09 < max(rates) <= 0.1 and 0 < rates[-1] < 0.01
    assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)


def test_every_image_is_used_once_an_epoch(digits):
    epochs = list(augmented_batches(digits.train, 100, 28, 0, CPU, shift=0, flip=False))
    for part in (epochs[:14], epochs[14:]):
        images = torch.cat([images for images, _ in part]).mul(255).round().to(torch.uint8)
        seen = sorted(zip((image.numpy().tobytes() for image in images), torch.cat([y for _, y in part]).tolist(), strict=True))
        whole = zip((image.numpy().tobytes() for image in digits.train.images), digits.train.labels.tolist(), strict=True)
        assert seen == sorted(whole)
    assert not torch.equal(epochs[0][0], epochs[14][0])  # reshuffled


def test_without_shuffling_the_order_is_that_of_the_split(digits):
    batches = augmented_batches(digits.train, 100, 28, 0, CPU, shift=0, flip=False, shuffle=False)
    labels = [labels for _, labels in batches]
    assert torch.equal(torch.cat(labels[:14]), digits.train.labels) and torch.equal(labels[0], labels[14])


@given(st.integers(1, 6), st.booleans(), st.integers(0, 1000))
def test_augmentation_only_shifts_and_mirrors(shift, flip, seed):
    """Each augmented image is a window of the reflected image, or of its mirror image."""
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    batch, labels = next(augmented_batches(Split(images, torch.arange(3)), 3, 1, seed, CPU, shift=shift, flip=flip))
    windows = pad(images.float(), [shift] * 4, mode="reflect").unfold(2, 32, 1).unfold(3, 32, 1)  # [3, 3, S, S, 32, 32]
    for image, label in zip(batch * 255, labels, strict=True):
        candidates = windows[label].permute(1, 2, 0, 3, 4).flatten(0, 1).round()
        if flip:
            candidates = torch.cat([candidates, candidates.flip(-1)])
        assert (candidates == image.round()).flatten(1).all(1).any()


@given(st.integers(1, 16), st.integers(0, 1000))
def test_cutout_hides_one_square_of_its_side(side, seed):
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    images[:, 0] = 255
    images[3] = 100  # so that the mean color is that of no image
    batch, labels = next(augmented_batches(Split(images, torch.arange(4)), 4, 1, seed, CPU, shift=0, flip=False, cutout=side))
    for image, label in zip(batch, labels, strict=True):
        hidden = (image - images[label].float() / 255).abs().sum(0) > 1e-3  # [32, 32]
        rows, columns = hidden.any(1), hidden.any(0)
        assert hidden.sum() == rows.sum() * columns.sum()
        for line in (rows, columns):
            cut = line[0] or line[-1]  # a square at the border may be cut off
            assert 0 < line.sum() <= side if cut else line.sum() == side


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", math.nan), ("batch_size", 1), ("batch_size", 2.5), ("lr", -0.1), ("lr", math.nan),
        ("cutout", 33), ("precision", "fp8"),
    ],
)  # fmt: skip
def test_bad_argument_changes_nothing(digits, state_of, same_state, name, value):
    model = fresh().eval()
    before = state_of(model)
    with pytest.raises(ValueError, match=f"{name}=.*must be"):
        train(model, digits, **{"epochs": 1} | {name: value})
    assert same_state(before, state_of(model)) and not model.training


def test_divergence_is_an_error_that_names_the_rate(digits):
    with pytest.raises(FloatingPointError, match="lr=1e"):
        train(fresh(), digits, epochs=1, lr=1e30)


@pytest.mark.parametrize(("native", "expected"), [(False, "fp32"), (True, "bf16")])
def test_bf16_only_where_native(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert devices.pick_precision(CPU) == expected


def test_a_masked_network_can_be_copied_after_training(digits):
    model = fresh()
    prune_globally(model, [MagnitudePruning(0.5)])
    train(model, digits, epochs=0.2, validate=False)
    assert sparsity(copy.deepcopy(model)).fraction == sparsity(model).fraction


# ---- evaluate


def test_evaluate_restores_each_module_and_touches_nothing(digits, state_of, same_state):
    model = fresh()
    model.train()
    model.stage1.eval()
    modes, before = [module.training for module in model.modules()], state_of(model)
    evaluate(model, digits.val)
    assert [module.training for module in model.modules()] == modes and same_state(before, state_of(model))


def test_evaluate_restores_the_mode_after_an_error(digits):
    model = fresh()
    model.fc = nn.Linear(3, 10)
    with pytest.raises(RuntimeError):
        evaluate(model.train(), digits.val)
    assert all(module.training for module in model.modules())


class Oracle(nn.Module):
    """Says for each image what its first pixel says."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, images):
        return self.scale * nn.functional.one_hot((images[:, 0, 0, 0] * 255).round().long(), 10).float()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60))
def test_evaluate_counts_by_hand(pairs):
    predicted, labels = (torch.tensor(column) for column in zip(*pairs, strict=True))
    images = torch.zeros(len(pairs), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = predicted
    result = evaluate(Oracle(), Split(images, labels), precision="fp32")
    right = sum(p == y for p, y in pairs)
    assert result.accuracy == pytest.approx(right / len(pairs))
    assert result.confusion.sum() == len(pairs) and result.confusion.diagonal().sum() == right
    assert all(result.confusion[y, p] == pairs.count((p, y)) for p, y in pairs)
    assert torch.equal(result.predictions, predicted)
    assert torch.allclose(result.probabilities, torch.tensor(math.e**5 / (math.e**5 + 9)))
    for label in range(10):
        hits = [p == y for p, y in pairs if y == label]
        assert result.per_class[label] == pytest.approx(sum(hits) / len(hits) if hits else 0)


def test_predict_takes_many_images(digits):
    model, images = fresh(), digits.train.images[:1100]
    assert torch.allclose(predict(model, images)[1000:], predict(model, images[1000:]), atol=1e-2)


def test_evaluate_refuses_an_empty_split(digits):
    with pytest.raises(ValueError, match="split=.*at least one image"):
        evaluate(fresh(), digits.val.subset(0))


# ---- recalibrate


@given(st.integers(0, 1000), st.sampled_from(["dense", "masked", "shrunk"]))
def test_recalibrate_changes_running_statistics_alone(digits, state_of, same_state, seed, kind):
    model = fresh(seed=seed).train(seed % 2 == 0)
    model.stage1.eval()
    if kind == "masked":
        prune_globally(model, [MagnitudePruning(0.5)])
    if kind == "shrunk":
        prune_channels(model, 0.3)
        model = shrink(model)
    before, modes = state_of(model), [module.training for module in model.modules()]
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    recalibrate(model, digits, batches=2)
    after = state_of(model)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {key for key in changed if not key.endswith("num_batches_tracked")} == {key for key in before if "running" in key}
    assert [module.training for module in model.modules()] == modes
    assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)] == momenta
    assert all(parameter.grad is None for parameter in model.parameters())
    recalibrate(model, digits, batches=2)
    assert same_state(after, state_of(model))  # measured anew, not added to


def test_recalibrate_takes_plain_averages(digits):
    model, images = fresh(), to_float(digits.train.images[:1000], CPU)
    recalibrate(model, digits, batches=2, precision="fp32")
    with torch.no_grad():
        outputs = [model.conv1((part - model.mean) / model.std) for part in images.split(500)]
    means = torch.stack([out.mean((0, 2, 3)) for out in outputs]).mean(0)
    variances = torch.stack([out.transpose(0, 1).flatten(1).var(1) for out in outputs]).mean(0)
    assert torch.allclose(model.bn1.running_mean, means, atol=1e-3)
    assert torch.allclose(model.bn1.running_var, variances, rtol=1e-3)


def test_recalibrate_rescues_a_pruned_network(digits):
    model = load_pretrained(digits)
    for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.running_mean.add_(1.0)
    spoiled = evaluate(model, digits.val).accuracy
    recalibrate(model, digits)
    assert evaluate(model, digits.val).accuracy > max(0.9, spoiled)


def test_recalibrate_refuses_what_is_no_number_of_batches(digits):
    with pytest.raises(ValueError, match="batches=0: must be 1 or more"):
        recalibrate(fresh(), digits, batches=0)


def test_recalibrate_says_where_there_is_nothing_to_measure(digits, capsys):
    recalibrate(SimpleNet(), digits)
    assert "no BatchNorm" in capsys.readouterr().out


def test_recalibrate_leaves_dropout_off(digits):
    """With dropout on, the second BatchNorm would see other values."""
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)]
    with_dropout = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    without = copy.deepcopy(with_dropout)
    without[2] = nn.Identity()
    for model in (with_dropout, without):
        recalibrate(model, digits, batches=1)
    assert torch.equal(with_dropout[4].running_var, without[4].running_var)

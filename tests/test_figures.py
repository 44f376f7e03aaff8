"""Figures: those of rows are true to them, and the committed images are what the rows draw."""

import io
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments import figures, tables
from helpers import plots, read_results
from helpers.data import REPOSITORY
from helpers.training import History

PINNED = re.search(r"^matplotlib==(\S+)", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]


def pixels(picture) -> np.ndarray:
    return np.asarray(Image.open(picture).convert("RGB")).astype(int)


def drawn(fig) -> np.ndarray:
    picture = io.BytesIO()
    fig.savefig(picture, format="png")
    plots.plt.close(fig)
    return pixels(picture)


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and (abs(a - b).max(axis=2) > 64).mean() < 1e-5  # a few pixels may be rounded otherwise


@pytest.mark.skipif(matplotlib.__version__ != PINNED, reason="another version of matplotlib lays figures out otherwise")
@pytest.mark.parametrize("name", figures.FIGURES)
def test_the_committed_image_is_what_the_rows_draw(name):
    sources, function = figures.FIGURES[name]
    assert not figures.lacking(name)
    rows = [read_results(source) for source in sources]
    committed = pixels(REPOSITORY / "images" / f"{name}.png")
    assert alike(committed, drawn(function(*rows))), "run make figures"
    if sources:
        assert not alike(committed, drawn(function(with_one_row_changed(rows[0]), *rows[1:])))


def with_one_row_changed(rows):
    shown = tables.whole_seeds(rows)
    in_each_figure = shown[(shown.method == "magnitude") & (shown.scope == "global")]  # of criteria
    shown = shown if in_each_figure.empty else in_each_figure
    if "variant" in rows:  # neither controls nor mistakes, and the last pruning late
        shown = rows[rows.variant.isna() & (rows.until == rows.until.max())]
    if "network" in rows:  # others may lie below the axis
        shown = rows[rows.network.isin(figures.NAMED)]
    accuracies = [name for name in rows if "accuracy" in name]
    changed = rows.copy()
    place = shown.index[len(shown) // 2]
    changed.loc[place, accuracies] = 0.3
    if "curve" in rows:  # "step:accuracy" of each look: what is drawn of a training
        changed.loc[place, "curve"] = " ".join(f"{look.split(':')[0]}:0.3" for look in rows.curve[place].split())
    return changed


def test_missing_rows_are_named(tmp_path, capsys):
    figures.draw(tmp_path, tmp_path / "images")
    printed = capsys.readouterr().out
    assert "magnitude_and_random: not drawn, official/criteria missing" in printed and "depth_width_speed missing" in printed
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["mask_patterns.png"]


# ---- numbers of rows


def points_of(bars) -> tuple[list[float], list[float]]:
    """Places and means of one method's errorbar."""
    return bars.lines[0].get_xdata().tolist(), bars.lines[0].get_ydata().tolist()


def test_means_intervals_and_runs():
    """1, 2, 3: mean 2, half the interval 4.302653 / √3; places are means too."""
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0, 5.0, 5.0], "y": [1.0, 2.0, 3.0, 7.0, 7.0], "level": list("aaabb")})
    ax = plots.plt.figure().add_subplot()
    means = figures.draw_means(ax, rows, "x", "y", "level", figures.METHODS["magnitude"])
    assert points_of(*ax.containers) == ([2.0, 5.0], [2.0, 7.0])
    assert means.high["a"] - 2 == pytest.approx(2.484, abs=1e-3) and means.low["b"] == means.high["b"] == 7
    assert ax.lines[0].get_ydata().tolist() == rows.y.tolist()


def test_points_are_where_the_sparsity_was_reached():
    rows = pd.DataFrame({"method": "filters_l1", "target_sparsity": [0.5, 0.98] * 2, "achieved_sparsity": [0.5, 0.96] * 2})
    ax = plots.plt.figure().add_subplot()
    figures.curves(ax, rows.assign(accuracy=[0.8, 0.2, 0.7, 0.3]), "accuracy", ["filters_l1"])
    assert points_of(*ax.containers) == (pytest.approx(-np.log([0.5, 0.04])), pytest.approx([0.75, 0.25]))
    assert ax.get_xticks() == pytest.approx(-np.log([0.5, 0.02]))


def test_depth_by_time_takes_turns_with_the_dense_network():
    rows, times = read_results("depth_width"), read_results("depth_width_speed").sample(frac=1, random_state=0)
    right = figures.depth_vs_width(rows, times).axes[1]
    alone = times[(times.batch_size == 1) & (times.width == 1.0)].sort_values("turn")
    dense = alone[alone.method == "dense"].milliseconds.to_numpy()
    for bars, method in zip(right.containers, ("dense", "width, equal MACs", "depth"), strict=True):
        runs = rows[(rows.method == method) & (rows.blocks == (0 if method == "dense" else 1)) & (rows.width == 1.0)]
        mine = alone[(alone.method == method) & (alone.dropped.fillna("") == runs.dropped.fillna("").iloc[0])].milliseconds
        xs, ys = points_of(bars)
        assert (xs[0], ys[0]) == pytest.approx((np.median(mine.to_numpy() / dense), runs.test_accuracy.mean()))
    two = rows.dropped[rows.blocks == 2].iloc[0]
    with pytest.raises(ValueError, match=f"times: have no network without {two}"):
        figures.depth_vs_width(rows, times[times.dropped != two])


def test_the_front_holds_what_nothing_beats():
    names = ["dense", "half width", "half width, 90% masked", "without 2 blocks", "pale"]
    rows = pd.DataFrame({"network": names, "method": ["dense", "dense", "magnitude", "depth", "depth"], "precision": "fp32"})
    rows = rows.assign(test_accuracy=[0.9, 0.8, 0.85, 0.7, 0.3], time_share_1=[1, 0.5, 1, 0.8, 0.1])
    rows = rows.assign(zipped_bytes=[100, 50, 20, 60, 1], seed=0, threads=1, dataset="x")
    fig = figures.pareto(rows)
    assert [ax.lines[-1].get_ydata().tolist() for ax in fig.axes] == [[0.3, 0.8, 0.9], [0.3, 0.85, 0.9]]
    for ax in fig.axes:
        assert {text.get_text() for text in ax.texts} == set(names[:-1]) and ax.get_ylim()[0] == pytest.approx(0.68)
    assert "1 below the axis" in fig.get_suptitle()


def test_names_at_the_ends_of_lines_keep_apart_and_inside():
    ax = plots.plt.figure().add_subplot(ylim=(0, 1))
    figures.label_ends(ax, {name: (0, height, "C0") for name, height in {"a": 0.99, "b": 1.0, "c": 0.2}.items()}, gap=0.1)
    assert {text.get_text(): text.xy[1] for text in ax.texts} == pytest.approx({"c": 0.2, "a": 0.9, "b": 1.0})
    ax = plots.plt.figure().add_subplot(ylim=(0, 1))
    figures.label_ends(ax, {name: (0, height, "C0") for name, height in {"a": 0.5, "b": 0.5}.items()}, gap=0.1)
    assert [text.xy[1] for text in ax.texts] == pytest.approx([0.45, 0.55])  # each as near to its line as the other


def test_curves_during_training_are_means_of_rows():
    rows = read_results("gradual_pruning")
    left = figures.gradual_pruning(rows).axes[0]
    runs = rows[(rows.schedule == "equal_steps_8") & (rows.target_sparsity == 0.9)]
    line = left.lines[-1]
    first, last = ([float(curve.split()[k].split(":")[1]) for curve in runs.curve] for k in (0, -1))
    assert line.get_ydata()[[0, -1]] == pytest.approx([np.mean(first), np.mean(last)])
    assert f"8 equal prunings: {np.mean(last):.1%}" in {text.get_text() for text in left.texts}
    assert line.get_xdata()[line.get_markevery()].tolist() == [step for step, _ in figures.equal_steps(0.9, 8).steps(270)]


def test_gradual_against_instant_is_paired_by_seed():
    rows = read_results("gradual_vs_instant")
    left, right = figures.gradual_vs_instant(rows.sample(frac=1, random_state=0)).axes
    plain = rows[rows.variant.isna() & (rows.until == 0.6)]
    by_arm = plain.pivot(index=["target_sparsity", "seed"], columns="schedule", values="test_accuracy")
    for k, arm in enumerate(("equal_steps_8", "cubic_8")):
        expected = 100 * (by_arm[arm] - by_arm.one_shot).dropna().groupby("target_sparsity").mean()
        assert points_of(right.containers[k])[1] == pytest.approx(expected.tolist())
    assert left.get_title() == "at 99%, cubic ends highest and equal lowest"


# ---- live


def test_epochs_without_validation_leave_gaps():
    history = History(loss=[2.0, 1.0], train_accuracy=[0.3, 0.5], val_accuracy=[None, 0.6], lr=[0.1, 0.0])
    validation = plots.learning_curves(history).axes[2].lines[1].get_ydata(orig=False)
    assert np.isnan(validation[0]) and validation[1] == 0.6


def test_every_network_has_a_dot_for_each_number():
    table = pd.DataFrame({"accuracy": [0.9, 0.8], "time": [1.0, 0.25]}, index=["dense", "half"])
    fig = figures.dots_by_network(table, "a title")
    assert [text.get_text() for ax in fig.axes for text in ax.texts] == ["90.0%", "80.0%", "100.0%", "25.0%"]
    for ax, column in zip(fig.axes, table, strict=True):
        assert [line.get_xdata()[0] for line in ax.lines] == table[column].tolist() and ax.get_title() == column


def test_filters_are_drawn_as_far_as_they_were_measured():
    rows = read_results("official/recalibration")
    (ax,) = figures.filters_recalibrated(rows).axes
    random = rows[(rows.method == "filters_random") & (rows.epochs == 0)]
    (line,) = (line for line in ax.lines if line.get_linestyle() == "--")
    assert line.get_ydata() == pytest.approx([random.accuracy_before.mean(), random.accuracy_recalibrated.mean()])
    assert ax.get_xticklabels()[0].get_text() == f"masked\n({len(random)} networks)"


def test_accuracy_pairs_join_both_accuracies_of_each_run():
    pairs = {"magnitude": [(0.3, 0.8), (0.4, 0.7)], "random": [(0.1, 0.2)]}
    (ax,) = figures.accuracy_pairs(pairs, 0.9, "title").axes
    lines = [line.get_xdata().tolist() for line in ax.lines if line.get_ls() == "-"]
    assert lines == [[0.3, 0.8], [0.4, 0.7], [0.1, 0.2]]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(pairs)


def test_after_finetuning_names_each_arm_with_its_mean_at_the_last_sparsity():
    rows = tables.whole_seeds(read_results("official/criteria"))
    (ax,) = figures.after_finetuning(rows, {"chance": ("global", "random"), "best": ("global", "magnitude")}, "title").axes
    last = rows[(rows.scope == "global") & (rows.target_sparsity == 0.98)].groupby("method").test_accuracy.mean()
    named = {text.get_text() for text in ax.texts}
    assert {f"chance: {last['random']:.0%}", f"best: {last['magnitude']:.0%}"} <= named

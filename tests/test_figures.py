"""Figures from rows: drawn without training, the same bytes twice, true to the rows."""

import numpy as np
import pandas as pd
import pytest

from experiments import figures
from experiments.grids import GRIDS
from helpers import read_results
from helpers.data import REPOSITORY

RESULTS = REPOSITORY / "results"
DRAWABLE = {name: sources for name, (sources, _) in figures.FIGURES.items() if not figures.lacking(name)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    figures.draw(images=folder)
    return folder


def test_figures_are_byte_stable(drawn, tmp_path):
    figures.draw(images=tmp_path)
    assert sorted(p.name for p in drawn.iterdir()) == sorted(f"{name}.png" for name in DRAWABLE)
    for path in drawn.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


@pytest.mark.parametrize("name", [name for name, sources in DRAWABLE.items() if sources])
def test_a_changed_row_changes_the_figure(drawn, tmp_path, name):
    for source in set(DRAWABLE[name]) & set(GRIDS):
        rows = read_results(source)
        drawn_by_all = rows[(rows.method == "magnitude") & (rows.scope == "global")]
        shown = drawn_by_all if len(drawn_by_all) else rows
        if "variant" in rows:  # neither controls nor mistakes, and the last pruning late
            shown = shown[shown.variant.isna() & (shown.until == rows.until.max())]
        rows.loc[shown.index[len(shown) // 2], ["accuracy_before", "test_accuracy", "test_accuracy_before"]] = 0.3
        rows.to_csv(tmp_path / f"{source}.csv", index=False)
    figures.draw(tmp_path, tmp_path / "images")
    assert (tmp_path / "images" / f"{name}.png").read_bytes() != (drawn / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", DRAWABLE)
def test_every_figure_is_committed(name):
    assert (REPOSITORY / "images" / f"{name}.png").exists()


def test_missing_rows_are_said(tmp_path, capsys):
    figures.draw(tmp_path, tmp_path / "images")
    told = capsys.readouterr().out
    assert "sparsity_curve has 0 of 55 runs" in told and "depth_width has 0 of" in told
    assert not (tmp_path / "images" / "sparsity_curve.png").exists()


def test_points_are_means_of_rows():
    rng = np.random.default_rng(0)
    levels = {"magnitude": (0.5, 0.9), "random": (0.5, 0.9), "dense": (0.0,)}
    points = [(method, level, seed) for method, all_levels in levels.items() for level in all_levels for seed in range(3)]
    rows = pd.DataFrame(points, columns=["method", "target_sparsity", "seed"]).assign(steps=10, dataset="x")
    rows["achieved_sparsity"] = rows.target_sparsity
    rows["test_accuracy"], rows["test_accuracy_before"] = rng.uniform(size=(2, len(rows)))
    ax = figures.sparsity_curve(rows).axes[1]
    drawn = {bars.get_label(): bars.lines[0].get_ydata() for bars in ax.containers}
    expected = rows[rows.method == "magnitude"].groupby("target_sparsity").test_accuracy.mean()
    assert drawn["magnitude"] == pytest.approx(expected.to_numpy())


def test_points_are_where_the_sparsity_was_reached():
    rows = pd.DataFrame({"method": "filters_l1", "target_sparsity": [0.5, 0.98] * 2, "achieved_sparsity": [0.5, 0.96] * 2})
    ax = figures.plots.plt.figure().add_subplot()
    figures.curves(ax, rows.assign(accuracy=[0.8, 0.2, 0.7, 0.3]), "accuracy", ["filters_l1"])
    (bars,) = ax.containers
    assert bars.lines[0].get_xdata() == pytest.approx(-np.log([0.5, 0.04]))
    assert ax.get_xticks() == pytest.approx(-np.log([0.5, 0.02]))


DROPPED = {1: "a", 2: "a b", 3: "a b c"}


def cut_rows():
    """Rows as depth_width writes them, of invented networks: only for these tests."""
    rng = np.random.default_rng(1)
    small = [
        (0.5, method, share, 0) for method in ("width, uniform", "width, guided", "from scratch") for share in (0.25, 0.5, 0.75)
    ]
    large = [(1.0, method, np.nan, k) for method in ("depth", "width, equal MACs") for k in (1, 2, 3)]
    points = [(*arm, seed) for arm in [(0.5, "dense", np.nan, 0), *small, (1.0, "dense", np.nan, 0), *large] for seed in range(3)]
    rows = pd.DataFrame(points, columns=["width", "method", "share", "blocks", "seed"]).assign(dataset="x")
    rows["test_accuracy"], rows["test_accuracy_before"] = rng.uniform(size=(2, len(rows)))
    return rows.assign(macs=rows.share, dense_macs=1, dropped=rows.blocks.map(DROPPED))


def cut_times():
    """Rows as experiments/benchmarks/depth_width_speed.py writes them and pandas reads them, of invented networks."""
    rng = np.random.default_rng(2)
    networks = [("dense", np.nan), *((method, names) for names in DROPPED.values() for method in ("depth", "width, equal MACs"))]
    points = [(*network, size, turn) for network in networks for size in (1, 256) for turn in range(7)]
    times = pd.DataFrame(points, columns=["method", "dropped", "batch_size", "turn"])
    times = times.assign(threads=1, precision="fp32", width=1.0, share=1.0)
    return times.assign(milliseconds=rng.uniform(100, 500, len(times)))


def test_depth_against_width_shows_the_means():
    rows, times = cut_rows(), cut_times().sample(frac=1, random_state=0)
    after, right, before = figures.depth_vs_width(rows, times).axes
    own = rows[rows.method == "width, uniform"].groupby("share").test_accuracy.mean()
    drawn = next(bars for bars in after.containers if bars.get_label() == "width: the same share of each layer")
    assert drawn.lines[0].get_ydata() == pytest.approx(own[::-1].to_numpy()) and len(before.containers) == 2
    places = [(bars.lines[0].get_xdata()[0], bars.lines[0].get_ydata()[0]) for bars in right.containers]
    alone = times[times.batch_size == 1].sort_values("turn")
    dense = alone[alone.method == "dense"].milliseconds.to_numpy()
    shown = [("dense", 0), *((method, k) for method in ("depth", "width, equal MACs") for k in (1, 2, 3))]
    for method, k in shown:
        own = alone[(alone.method == method) & (alone.dropped.fillna("") == DROPPED.get(k, ""))].milliseconds
        accuracy = rows.test_accuracy[(rows.width == 1.0) & (rows.method == method) & (rows.blocks == k)].mean()
        place = (np.median(own.to_numpy() / dense), accuracy)  # turn by turn
        assert any(found == pytest.approx(place) for found in places)
    assert len(right.containers) == len(shown)
    assert {text.get_text() for text in right.texts} == {"1 block fewer", "2 blocks fewer", "3 blocks fewer"}
    with pytest.raises(ValueError, match="times: have no network without a b c; measure them again"):
        figures.depth_vs_width(rows, times[times.dropped != "a b c"])


def test_the_front_holds_what_nothing_beats():
    names = ["dense", "half", "masked", "worse"]
    rows = pd.DataFrame({"network": names, "method": ["dense", "width, uniform", "magnitude", "depth"], "precision": "fp32"})
    rows = rows.assign(test_accuracy=[0.9, 0.8, 0.85, 0.7], time_share_1=[1, 0.5, 1, 0.8], time_share_256=[1, 0.5, 1, 0.8])
    rows = rows.assign(zipped_bytes=[100, 50, 20, 60], macs=[100, 25, 100, 50], seed=0, threads=1, dataset="x", width=1.0)
    rows = rows.assign(target_sparsity=[np.nan, np.nan, 0.9, np.nan], latency_ms_1=2.0, latency_ms_256=200.0)
    axes = figures.pareto(rows).axes
    fronts = [ax.lines[-1].get_ydata().tolist() for ax in axes]
    assert fronts == [[0.8, 0.9], [0.8, 0.9], [0.85, 0.9], [0.8, 0.9]]
    rows.loc[rows.network == "masked", "test_accuracy"] = 0.3  # would squeeze all others
    for ax in figures.pareto(rows).axes:
        assert ax.get_ylim()[0] == pytest.approx(0.68) and "↓ 90% masked: 30.0%" in {text.get_text() for text in ax.texts}


def test_lines_by_sparsity():
    ax = figures.plots.speed_by_sparsity((0.5, 0.9), {"CSR": [3.0, 1.0]}, {"dense": 2.0}).axes[0]
    assert ax.lines[0].get_ydata().tolist() == [3.0, 1.0] and ax.lines[1].get_ydata()[0] == 2.0
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["50%", "90%"]


def test_curves_during_training_are_means_of_rows():
    rng = np.random.default_rng(2)
    arms = [("one_shot", 0.8), ("equal_steps_8", 0.8), ("one_shot", 0.95), ("equal_steps_8", 0.95), ("none", 0.0)]
    points = [("dense" if name == "none" else "magnitude", name, level, seed) for name, level in arms for seed in range(4)]
    rows = pd.DataFrame(points, columns=["method", "schedule", "target_sparsity", "seed"])
    looks = rng.uniform(size=(len(rows), 3)).round(4)
    rows["curve"] = [" ".join(f"{step}:{value}" for step, value in zip((0, 0, 9), own, strict=True)) for own in looks]
    rows = rows.assign(dataset="x", curve_images=5, test_accuracy=rng.uniform(size=len(rows)), steps=10, until=0.6)
    whole, right, left, _ = figures.gradual_pruning(rows).axes
    assert right.get_title() == "final sparsity 95%"
    dense, one, eight = left.get_legend().get_texts()
    assert dense.get_text().startswith(f"dense: {rows[rows.method == 'dense'].test_accuracy.mean():.1%} ±")
    own = rows[(rows.schedule == "equal_steps_8") & (rows.target_sparsity == 0.8)]
    assert eight.get_text().startswith(f"8 prunings: {own.test_accuracy.mean():.1%} ±") and one.get_text().startswith(
        "1 pruning:"
    )
    drawn = left.lines[2]
    assert drawn.get_xdata().tolist() == [0, 0, 9] and drawn.get_ydata() == pytest.approx(looks[own.index].mean(0))


def test_gradual_against_instant_shows_means_and_each_seed():
    rng = np.random.default_rng(4)
    levels, names = (0.2, 0.8, 0.9, 0.99), ("one_shot", "equal_steps_8", "cubic_8")
    points = [(name, level, seed) for name in names for level in levels for seed in range(3)] + [
        ("none", 0.0, s) for s in range(3)
    ]
    rows = pd.DataFrame(points, columns=["schedule", "target_sparsity", "seed"]).assign(dataset="x", until=0.6, variant=np.nan)
    rows = rows.assign(method=np.where(rows.schedule == "none", "dense", "magnitude"), achieved_sparsity=rows.target_sparsity)
    rows["test_accuracy"] = rng.uniform(size=len(rows))
    others = pd.concat([rows.assign(until=0.3), rows.assign(variant="no shuffling")]).assign(test_accuracy=7.0)  # must not show
    whole, fine, coarse = figures.gradual_vs_instant(pd.concat([others, rows])).axes
    by_arm = rows.pivot(index=["target_sparsity", "seed"], columns="schedule", values="test_accuracy")
    drawn = [bars.lines[0].get_ydata() for bars in whole.containers]
    assert [list(y) for y in drawn] == [pytest.approx(by_arm[name].drop(0.0).groupby("target_sparsity").mean()) for name in names]
    for ax, some in ((fine, levels[:2]), (coarse, levels[2:])):
        gaps = [100 * (by_arm[name] - by_arm.one_shot)[level] for name in names[1:] for level in some]
        assert [bars.lines[0].get_ydata()[0] for bars in ax.containers] == [pytest.approx(gap.mean()) for gap in gaps]
        seen = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 3]
        assert all(any(own == pytest.approx(gap.to_numpy()) for own in seen) for gap in gaps)
        assert [tick.get_text() for tick in ax.get_xticklabels()] == [f"{level:.0%}" for level in some]

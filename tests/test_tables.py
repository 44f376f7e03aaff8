"""Tables against cases worked by hand, and what the notebooks say about them."""

import pandas as pd
import pytest
from scipy import stats

from experiments import tables
from experiments.tables import by_seed, gaps
from helpers import read_results


def test_time_shares_are_medians_over_turns():
    """The dense network takes 2, 4, … ms in seven turns, the other half of it, but for one turn in which it was slow."""
    turns = pd.DataFrame({"turn": range(7), "milliseconds": [2.0, 4, 6, 8, 10, 12, 14]})
    turns = turns.assign(width=1.0, method="dense", dropped=None, share=1.0, batch_size=1)
    half = turns.assign(method="depth", dropped="block", milliseconds=turns.milliseconds / 2)
    half.loc[3, "milliseconds"] = 100.0
    shares = tables.time_shares(pd.concat([half, turns]).sample(frac=1, random_state=0))
    assert shares.loc[(1.0, "depth", "block", 1.0), ["time", "low"]].tolist() == [0.5, 0.5]
    assert shares.time[1.0, "dense", "", 1.0] == 1


def test_shares_of_another_width():
    times = read_results("depth_width_speed_gpu")
    times = times[times.precision == "fp32"]
    dense = times[(times.method == "dense") & (times.batch_size == 4096)].set_index(["width", "turn"]).milliseconds
    found = tables.time_shares(times, 4096, of=1.0).time[0.5, "dense", "", 1.0]
    assert found == pytest.approx((dense[0.5] / dense[1.0]).median())


def test_difference_and_equivalence_by_hand():
    """Differences -1, 0, 1: no difference; within ± 5: t = 5√3 on 2 degrees, not within ± 1. Differences 4, 5, 6: different."""
    a = pd.DataFrame({0.5: [0.0, 1, 2], 0.9: [5.0, 6, 7]})
    b = pd.DataFrame({0.5: [1.0, 1, 1], 0.9: [1.0, 1, 1]})
    table = tables.difference_and_equivalence(a[[0.5]], b[[0.5]], bound=5)
    assert table["p within ±500, Holm"].item() == pytest.approx(stats.t.sf(5 * 3**0.5, 2)) and table.says.item() == "equivalent"
    assert tables.difference_and_equivalence(a, b, bound=1).says.tolist() == ["undecided", "different"]


# ---- what the notebooks say


@pytest.mark.parametrize(
    ("name", "epochs"), [("gradual_vs_instant", 3), ("gradual_vs_instant_wide", 3), ("gradual_checks", 3), ("gradual_checks", 12)]
)
def test_at_98_equal_portions_are_behind_and_cubic_is_ahead(name, epochs):
    rows = read_results(name)
    rows = rows[(rows.epochs == epochs) & rows.variant.isna() & ((rows.until == 0.6) | (rows.schedule == "one_shot"))]
    assert rows.groupby("seed").checkpoint.nunique().eq(1).all()  # the arms of a seed start from the same weights
    arms = {schedule: by_seed(runs) for schedule, runs in rows.groupby("schedule")}
    for schedule, sign in (("equal_steps_8", -1), ("cubic_8", 1)):
        gap = gaps(arms[schedule], arms["one_shot"])[0.98]
        assert sign * gap.mean > 0 and gap.p < 0.05


# ---- advice


def rows(**changes):
    table = pd.DataFrame(
        [
            (1.0, "dense", "dense", 0.90, 10.0, 100.0, 1000, 80),
            (1.0, "shallow", "depth", 0.895, 6.0, 40.0, 500, 60),
            (1.0, "dense, int8", "dense", 0.90, 7.0, 50.0, 300, 80),
            (1.0, "dense, badly in int8", "dense", 0.6, 7.0, 50.0, 300, 80),
            (1.0, "tiny", "depth", 0.5, 1.0, 9.0, 50, 5),
            (0.5, "half", "dense", 0.83, 5.0, 30.0, 250, 20),
            (0.5, "half, masked", "magnitude", 0.828, 4.9, 29.0, 60, 20),
        ],
        columns=["width", "network", "method", "val_accuracy", "time_share_1", "time_share_256", "zipped_bytes", "macs"],
    ).assign(backend="cpu", precision=["fp32", "fp32", "int8", "int8", "fp32", "fp32", "fp32"])
    table["test_accuracy"] = table.val_accuracy - 0.01
    return pd.concat([table.assign(seed=seed) for seed in range(3)], ignore_index=True).assign(**changes)


def networks(table, target, points=1.0):
    return tables.advise(table, target, points)[0].network.tolist()


def test_the_cheapest_good_network_of_each_width_is_first():
    assert networks(rows(), "CPU, large batches") == ["shallow", "dense, int8", "dense", "half"]
    assert networks(rows(), "storage or download") == ["dense, int8", "shallow", "dense", "half, masked", "half"]
    best = tables.advise(rows(), "CPU, one image at a time")[0].iloc[0]
    assert (best.width, best.network, best.runs, best.time_share_1, best.share) == (1.0, "shallow", 3, 6.0, 0.6)
    assert (best.lost, best.margin) == (pytest.approx(0.5), pytest.approx(0))
    assert networks(rows(), "CPU, large batches", points=50)[0] == "tiny"


def test_a_mask_is_no_advice_where_time_counts():
    """It computes as much as the dense network, whatever the clock said; sparse kernels are another matter."""
    assert "half, masked" not in networks(rows(), "CPU, one image at a time")
    assert networks(rows(backend="sparse"), "accelerator with sparse kernels")[-2:] == ["half, masked", "half"]


def test_choices_are_made_by_validation_and_reported_by_test():
    table = rows()
    lucky = table.network == "shallow"
    table.loc[lucky, "val_accuracy"] = 0.8
    assert "shallow" not in networks(table, "CPU, large batches")
    table = rows()
    table.loc[lucky, "test_accuracy"] = [0.80, 0.81, 0.82]
    first = tables.advise(table, "CPU, large batches")[0].iloc[0]
    assert first.network == "shallow" and first.lost == pytest.approx(8) and first.margin == pytest.approx(2.484, abs=1e-3)


def test_advice_shows_the_rows_that_it_rests_on():
    table = rows()
    advice, because = tables.advise(table, "storage or download")
    assert set(because.network) == set(advice.network) and "tiny" not in set(because.network)
    assert because.index.isin(table.index).all() and len(because) == advice.runs.sum()


def test_what_to_ship_names_two_networks_for_each_place():
    table = tables.what_to_ship(rows())
    assert table.loc["CPU, large batches"].tolist() == ["shallow: 40%, 88.5%", "dense, int8: 50%, 89.0%"]
    assert table.loc["GPU, one image at a time", "first"] == "not measured"


def test_what_is_not_measured_gets_no_advice():
    for target in ("GPU, batches of 4,096", "accelerator with sparse kernels"):
        assert all(table.empty for table in tables.advise(rows(), target))
    assert not tables.advise(rows(backend="cuda"), "GPU, one image at a time")[0].empty
    with pytest.raises(ValueError, match=r"target='TPU': must be one of CPU, one image"):
        tables.advise(rows(), "TPU")
    with pytest.raises(ValueError, match="must hold the dense network of width 0.5"):
        tables.advise(rows()[lambda table: table.network != "half"], next(iter(tables.TARGETS)))


def test_a_gpus_times_go_to_the_networks_of_their_shape():
    """Shares of the dense network of width 1.0, turn by turn; from scratch is as fast as uniform; no masks, no int8."""
    deploy, times = read_results("deploy"), read_results("depth_width_speed_gpu")
    found = tables.on_gpu(deploy, read_results("depth_width"), times)
    assert set(found.precision) == {"fp32"} and set(found.backend) == {"cuda"} and set(found.source) == {"depth_width"}
    shares = found.groupby(["width", "method", "share"], dropna=False).time_share_4096.mean()
    assert shares[1.0, "dense"].item() == 1 and shares[0.5, "from scratch", 0.5] == shares[0.5, "width, uniform", 0.5] < 1
    assert set(deploy.backend) == {"cpu"}


def test_accuracies_before_and_recalibrated_are_those_of_the_runs():
    rows = read_results("official/recalibration")
    pairs = tables.before_and_recalibrated(rows, {"norm": ("filters_l1", 0.2)})["norm"]
    runs = rows[(rows.method == "filters_l1") & (rows.epochs == 0)]
    assert sorted(pairs) == sorted(zip(runs.test_accuracy_before, runs.test_accuracy_recalibrated, strict=True))

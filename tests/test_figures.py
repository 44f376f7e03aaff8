"""Figures from rows: drawn without training, the same bytes twice, and the committed ones up to date."""

import numpy as np
import pandas as pd
import pytest

from helpers.data import REPOSITORY
from tools import figures

NAMES = [name for name, (sources, _) in figures.FIGURES.items() if (REPOSITORY / "results" / f"{sources[0]}.csv").exists()]


@pytest.mark.skipif(not NAMES, reason="no measured rows yet")
def test_figures_are_byte_stable(tmp_path):
    for turn in ("first", "second"):
        figures.main(images=tmp_path / turn)
    for name in NAMES:
        assert (tmp_path / "first" / f"{name}.png").read_bytes() == (tmp_path / "second" / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_row_changes_the_figure(tmp_path, name):
    sources, _ = figures.FIGURES[name]
    for source in sources:
        rows = pd.read_csv(REPOSITORY / "results" / f"{source}.csv")
        rows.loc[rows.index[len(rows) // 2], ["test_accuracy", "test_accuracy_before"]] = 0.3
        rows.to_csv(tmp_path / f"{source}.csv", index=False)
    figures.main(tmp_path, tmp_path / "images")
    figures.main(images=tmp_path / "committed")
    assert (tmp_path / "images" / f"{name}.png").read_bytes() != (tmp_path / "committed" / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_every_drawn_figure_is_committed(name):
    assert (REPOSITORY / "images" / f"{name}.png").exists()


def test_missing_rows_are_said(tmp_path, capsys):
    figures.main(tmp_path, tmp_path / "images")
    assert "has no rows yet" in capsys.readouterr().out and not list((tmp_path / "images").iterdir())


def test_points_are_means_of_rows():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame([
        {"method": method, "target_sparsity": level, "seed": seed, "test_accuracy": rng.uniform(), "test_accuracy_before": rng.uniform(),
         "steps": 10, "dataset": "x"}
        for method in ("magnitude", "random", "dense") for level in ((0.0,) if method == "dense" else (0.5, 0.9)) for seed in range(3)
    ])  # fmt: skip
    ax = figures.plots.sparsity_curve(rows).axes[1]
    drawn = {bars.get_label(): bars.lines[0].get_ydata() for bars in ax.containers}
    expected = rows[rows.method == "magnitude"].groupby("target_sparsity").test_accuracy.mean()
    assert drawn["magnitude"] == pytest.approx(expected.to_numpy())

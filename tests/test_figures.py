"""Figures from rows: drawn without training, the same bytes twice, true to the rows."""

import numpy as np
import pandas as pd
import pytest

from helpers import read_results
from helpers.data import REPOSITORY
from tools import figures

RESULTS = REPOSITORY / "results"
DRAWABLE = {name: sources for name, (sources, _) in figures.FIGURES.items() if not figures.lacking(name)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    figures.main(images=folder)
    return folder


def test_figures_are_byte_stable(drawn, tmp_path):
    figures.main(images=tmp_path)
    assert sorted(p.name for p in drawn.iterdir()) == sorted(f"{name}.png" for name in DRAWABLE)
    for path in drawn.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


@pytest.mark.parametrize("name", [name for name, sources in DRAWABLE.items() if sources])
def test_a_changed_row_changes_the_figure(drawn, tmp_path, name):
    for source in DRAWABLE[name]:
        rows = read_results(source)
        rows.loc[rows.index[len(rows) // 2], ["accuracy_before", "test_accuracy", "test_accuracy_before"]] = 0.3
        rows.to_csv(tmp_path / f"{source}.csv", index=False)
    figures.main(tmp_path, tmp_path / "images")
    assert (tmp_path / "images" / f"{name}.png").read_bytes() != (drawn / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", DRAWABLE)
def test_every_figure_is_committed(name):
    assert (REPOSITORY / "images" / f"{name}.png").exists()


def test_missing_rows_are_said(tmp_path, capsys):
    figures.main(tmp_path, tmp_path / "images")
    assert "sparsity_curve has 0 of 55 runs" in capsys.readouterr().out
    assert not (tmp_path / "images" / "sparsity_curve.png").exists()


def test_points_are_means_of_rows():
    rng = np.random.default_rng(0)
    levels = {"magnitude": (0.5, 0.9), "random": (0.5, 0.9), "dense": (0.0,)}
    points = [(method, level, seed) for method, all_levels in levels.items() for level in all_levels for seed in range(3)]
    rows = pd.DataFrame(points, columns=["method", "target_sparsity", "seed"]).assign(steps=10, dataset="x")
    rows["test_accuracy"], rows["test_accuracy_before"] = rng.uniform(size=(2, len(rows)))
    ax = figures.plots.sparsity_curve(rows).axes[1]
    drawn = {bars.get_label(): bars.lines[0].get_ydata() for bars in ax.containers}
    expected = rows[rows.method == "magnitude"].groupby("target_sparsity").test_accuracy.mean()
    assert drawn["magnitude"] == pytest.approx(expected.to_numpy())

"""Statistics against cases worked by hand and against their definitions."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from experiments.stats import Estimate, holm, mean_ci, paired_difference

numbers = st.floats(-100, 100).map(lambda x: round(x, 3))
samples = st.lists(numbers, min_size=2, max_size=20)


def test_mean_ci_by_hand():
    """1, 2, 3: mean 2, standard deviation 1, standard error 1/√3, t(0.975, 2) = 4.302653."""
    result = mean_ci([1, 2, 3])
    assert result.mean == 2 and result.n == 3
    assert result.margin == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_paired_difference_by_hand():
    """Differences 2, 1, 3: mean 2, standard error 1/√3, t = 2√3 on 2 degrees of freedom: p = 1 - 2√3 / √(2 + 12)."""
    result = paired_difference([5, 4, 9], [3, 3, 6])
    assert result.mean == 2 and result.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert result.p == pytest.approx(1 - 2 * math.sqrt(3) / math.sqrt(14), rel=1e-9)


def test_series_are_paired_by_their_index():
    """Rows of a sweep come as they finish: the order says nothing, and one arm may lack a seed."""
    a, b = pd.Series({0: 5.0, 1: 4.0, 2: 9.0, 3: 1.0}), pd.Series({2: 6.0, 0: 3.0, 1: 3.0})
    assert paired_difference(a, b) == paired_difference([5, 4, 9], [3, 3, 6])
    with pytest.raises(ValueError, match="two or more finite numbers"):
        paired_difference(a, pd.Series({7: 1.0, 8: 2.0}))
    with pytest.raises(ValueError, match=r"b=\[0, 0, 1\]: must be indexed by seed, each of them once"):
        paired_difference(a, pd.Series([1.0, 2.0, 3.0], index=[0, 0, 1]))  # two levels of one seed


def test_holm_by_hand():
    """0.01 x 4, then 0.02 x 3, then the running maximum: 0.03 x 2 = 0.06, and 0.04 x 1 raised to 0.06."""
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.02}) == pytest.approx({"a": 0.06, "b": 0.04, "c": 0.06, "d": 0.06})
    assert holm({0.5: 0.6, 0.9: 0.7}) == {0.5: 1.0, 0.9: 1.0}


@given(samples, st.floats(0.5, 0.99))
def test_mean_ci_agrees_with_scipy(values, level):
    result = mean_ci(values, level)
    assert result.low <= result.mean + 1e-9 and result.mean <= result.high + 1e-9
    if np.ptp(values) > 0:
        low, high = scipy_stats.t.interval(level, len(values) - 1, np.mean(values), scipy_stats.sem(values))
        assert (result.low, result.high) == pytest.approx((low, high))


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=20))
def test_paired_difference_agrees_with_scipy(pairs):
    a, b = zip(*pairs, strict=True)
    result, mirrored = paired_difference(a, b), paired_difference(b, a)
    assert result.mean == pytest.approx(-mirrored.mean) and result.p == pytest.approx(mirrored.p)
    if np.ptp(np.subtract(a, b)) > 1e-6:
        assert result.p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue, abs=1e-9)


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]])
def test_bad_samples(bad):
    for call in (lambda: mean_ci(bad), lambda: paired_difference(bad, [1.0, 2.0])):
        with pytest.raises(ValueError, match="must be two or more finite numbers"):
            call()


def test_bad_arguments():
    with pytest.raises(ValueError, match="as many as a"):
        paired_difference([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="level=1.5"):
        mean_ci([1, 2], 1.5)


def test_a_difference_in_points():
    assert paired_difference([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]).in_points() == "+0.0 (+0.0 to +0.0)"
    assert Estimate(-0.0004, -0.0109, 0.01, n=5).in_points(2) == "-0.04 (-1.09 to +1.00)"
    assert Estimate(-0.0004, -0.0109, 0.01, n=5).in_points() == "+0.0 (-1.1 to +1.0)"

"""Statistics of result rows, on scipy: means and paired differences with confidence intervals.

Introduced in the README's first figure and lesson 09. A sample is a sequence of numbers, one a seed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from helpers.data import check


class Estimate(NamedTuple):
    """A mean, its confidence interval, the number of values it rests on, and the p-value where a test was made."""

    mean: float
    low: float
    high: float
    n: int
    p: float | None = None

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def in_points(self, digits: int = 1) -> str:
        """A difference of accuracies in points, with its interval.

        Example:
            >>> Estimate(0.012, -0.001, 0.025, n=5).in_points()
            '+1.2 (-0.1 to +2.5)'
        """
        mean, low, high = (round(100 * value, digits) + 0.0 for value in (self.mean, self.low, self.high))  # no "-0.0"
        return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _sample(name: str, values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"{name}={values.tolist()!r}: must be two or more finite numbers")
    return values


def _differences(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    if isinstance(a, pd.Series) and isinstance(b, pd.Series):
        for name, series in (("a", a), ("b", b)):
            check(series.index.is_unique, name, series.index.tolist(), "indexed by seed, each of them once")
        a, b = a.align(b, join="inner")
    a, b = _sample("a", a), _sample("b", b)
    if len(a) != len(b):
        raise ValueError(f"b: has {len(b)} values, must have as many as a ({len(a)}): they are paired by seed")
    return a - b


def mean_ci(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean with its confidence interval from Student's t distribution.

    Example:
        >>> mean_ci([1.0, 2.0, 3.0]).mean
        2.0
    """
    values = _sample("values", values)
    check(0 < level < 1, "level", level, "a fraction in (0, 1)")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half), len(values))


def paired_difference(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean of a - b over pairs (the same seed in both), with confidence interval and paired t-test.

    Series of pandas are paired by their index, over what both hold (`n` tells how many); other sequences by place.

    Example:
        >>> paired_difference([3.0, 4.0, 6.0], [1.0, 3.0, 4.0]).n
        3
    """
    difference = _differences(a, b)
    p = stats.ttest_1samp(difference, 0).pvalue if np.ptp(difference) else difference[0] == 0  # exact without spread
    return mean_ci(difference, level)._replace(p=float(p))


def holm(p_values: dict) -> dict:
    """P-values of several tests, corrected so that the chance of any false alarm stays as for one test (Holm 1979).

    Example:
        >>> holm({"a": 0.01, "b": 0.5})["a"]
        0.02
    """
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, corrected.tolist(), strict=True))

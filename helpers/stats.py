"""Statistics of result rows, on scipy: means and paired differences with confidence intervals, Holm, equivalence.

Introduced in the README's first figure and notebook 07. A sample is a sequence of numbers, one a seed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from .data import check


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


def _p_one_sided(values: np.ndarray, mean: float) -> float:
    """P-value of "the true mean is at most `mean`" (one-sample t-test; exact for values without spread)."""
    if np.ptp(values) == 0:
        return 0.0 if values[0] > mean else 1.0
    return float(stats.ttest_1samp(values, mean, alternative="greater").pvalue)


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
    p = min(1.0, 2 * min(_p_one_sided(difference, 0.0), _p_one_sided(-difference, 0.0)))
    return mean_ci(difference, level)._replace(p=p)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number so that the chance of any false alarm stays bounded (Holm 1979).

    Example:
        >>> holm([0.01, 0.04])
        [0.02, 0.04]
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values={p.tolist()!r}: must be one or more numbers in [0, 1]")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def equivalence(a: Sequence[float], b: Sequence[float], bound: float, alpha: float = 0.05) -> Estimate:
    """Is the mean of a - b within ± bound? Two one-sided paired t-tests (Schuirmann 1987).

    Paired as in `paired_difference`. Where `p` is below alpha, the (1 - 2 alpha) interval, which is returned, lies inside
    the bounds: equivalent. A large p-value in `paired_difference` shows no equality; a small one here does.

    Example:
        >>> equivalence([0.90, 0.91, 0.92], [0.90, 0.91, 0.92], bound=0.003).p
        0.0
    """
    difference = _differences(a, b)
    check(0 < alpha < 1, "alpha", alpha, "a fraction in (0, 1)")
    check(0 < bound < np.inf, "bound", bound, "a positive number")
    p = max(_p_one_sided(difference, -bound), _p_one_sided(-difference, -bound))
    return mean_ci(difference, 1 - 2 * alpha)._replace(p=p)

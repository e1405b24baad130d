"""Means with their deviations and confidence intervals, and their form in print."""

import math
import statistics
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95


def interval(mean: Any, error: Any, freedom: ArrayLike) -> tuple[Any, Any]:
    """Return both ends of the 95 % confidence interval of a mean, by Student's t.

    All are arrays or numbers; where the standard error is 0, the interval has no width.
    """
    from scipy import stats  # after the first word: it takes a while

    with np.errstate(invalid="ignore"):
        half = np.where(error == 0, 0.0, error * stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return mean - half, mean + half


def interval_of(values: ArrayLike) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean of values; NaN for fewer than two."""
    values = np.asarray(values, float)
    if values.size < 2:
        return math.nan, math.nan
    low, high = interval(values.mean(), values.std(ddof=1) / values.size**0.5, values.size - 1)
    return float(low), float(high)


def welch(std: Any, count: Any, their_std: Any, their_count: Any) -> tuple[Any, Any]:
    """Return the standard error of a difference of means, and its degrees of freedom (Welch).

    All are arrays or numbers; counts may be infinite.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ours, theirs = np.square(std) / count, np.square(their_std) / their_count
        parts = ours**2 / np.subtract(count, 1) + theirs**2 / np.subtract(their_count, 1)
        return np.sqrt(ours + theirs), (ours + theirs) ** 2 / parts


def plus_minus(
    mean: float, std: float | None = None, count: int | None = None, digits: int | None = None
) -> str:
    """Write a mean with its deviation and count, as far as known: "2.26 ± 0.55 (10)".

    By default each number has as many decimal places as it needs, six at most.
    """
    form = "g" if digits is None else f".{digits}f"
    spread = "" if _unknown(std) else f" ± {std:{form}}"
    behind = "" if _unknown(count) or not count else f" ({count:.0f})"
    return f"{mean:{form}}{spread}{behind}"


def decimals(deviations: Collection[float]) -> int:
    """Return the decimal places that show two digits of the middle one of some deviations."""
    middle = statistics.median(deviations) if deviations else 0.0
    return max(0, 1 - math.floor(math.log10(middle))) if 0 < middle < math.inf else 2


def summary(values: Collection[float], digits: int = 2) -> str:
    """Write the mean, deviation (n - 1) and count of at least one value."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return plus_minus(statistics.fmean(values), std, len(values), digits)


def span(low: float, high: float, digits: int = 2) -> str:
    """Write an interval of a difference: "-1.20 to +0.35"; nothing where it is NaN."""
    return "" if _unknown(low) else f"{low:+.{digits}f} to {high:+.{digits}f}"


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)

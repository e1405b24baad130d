"""How a mean and its deviation are written, on the terminal and on pages."""

import math
import statistics
from collections.abc import Collection


def plus_minus(
    mean: float, std: float | None = None, count: int | None = None, digits: int | None = None
) -> str:
    """Write a mean with what is known of its spread: "2.26 ± 0.55 (10)".

    Args:
        mean: the number.
        std: standard deviation; None or NaN where there is none.
        count: how many numbers stand behind the mean; None, NaN or 0 where that is not known.
        digits: after the point; default as many as each number needs, six at most.
    """
    form = "g" if digits is None else f".{digits}f"
    spread = "" if _unknown(std) else f" ± {std:{form}}"
    behind = "" if _unknown(count) or not count else f" ({count:.0f})"
    return f"{mean:{form}}{spread}{behind}"


def summary(values: Collection[float], digits: int = 2) -> str:
    """Write the mean, deviation (n - 1) and count of at least one value."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return plus_minus(statistics.fmean(values), std, len(values), digits)


def span(low: float, high: float, digits: int = 2) -> str:
    """Write an interval of a difference: "-1.20 to +0.35"; nothing where it is NaN."""
    return "" if _unknown(low) else f"{low:+.{digits}f} to {high:+.{digits}f}"


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)

"""Scores behind comparisons, by Bradley and Terry (1952). NumPy and SciPy only."""

import numpy as np
from numpy.typing import NDArray

_PENALTY = 1e-3  # on squared scores: keeps those finite that win, or lose, every time


def bradley_terry(
    pairs: NDArray[np.int64], probability: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Fit scores to comparisons: P(left ranks no higher) = 1 / (1 + exp(left - right)).

    The most likely scores, under a slight penalty on their squares.

    Args:
        pairs: `(m, 2)` numbers of items, left and right.
        probability: `(m,)`, that left ranks no higher: 0, 1 or what judgements came to.
        count: number of items.

    Returns:
        `(count,)` scores, whose mean is 0; a higher score ranks higher.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    left, right = pairs.T

    def loss(scores: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = scores[right] - scores[left]
        losses = np.logaddexp(0, margin) - probability * margin
        slope = expit(margin) - probability
        gradient = np.bincount(right, slope, count) - np.bincount(left, slope, count)
        return (
            float(losses.sum() + _PENALTY / 2 * scores @ scores),
            gradient + _PENALTY * scores,
        )

    scores: NDArray[np.float64] = minimize(loss, np.zeros(count), jac=True, method="L-BFGS-B").x
    return scores - scores.mean() if count else scores

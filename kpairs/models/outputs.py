"""Meaning of an output's numbers, and how they become probabilities. NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from kpairs.data.pairs import PairSet

# Kind of an output -> what it holds. The registry and every exported file name the kind, so that
# nothing ever has to guess it from the numbers.
OUTPUT_KINDS = {
    "logits": "unnormalised log-probabilities; their softmax is the probabilities",
    "probabilities": "probabilities, the softmax is in the model",
    "sigmoid": "one unit, the probability of class 1",
    "score": "one unbounded number of one image; the higher score ranks higher",
}


@dataclass(frozen=True)
class Output:
    """An output of an architecture's own, which learns something else of pairs.

    Attributes:
        kind: a key of `OUTPUT_KINDS`, but no score.
        target: function of a `PairSet` of n pairs that returns `(n,)` class numbers; of a sigmoid
            unit 0 or 1.

    Example:
        >>> import kpairs
        >>> same = kpairs.Output("sigmoid", lambda pairs: pairs.left_digit == pairs.right_digit)
        >>> same.kind
        'sigmoid'
    """

    kind: str
    target: Callable[[PairSet], NDArray[Any]]


def probabilities(values: ArrayLike, kind: str) -> NDArray[np.float64]:
    """Turn a model output into probabilities.

    `values` are `(batch, n)`, of a kind in `OUTPUT_KINDS`; a score is none. Returns `(batch, n)`
    float64, n = 2 for one sigmoid unit; each row sums to 1. For `comparison`, column 1 is P(left <=
    right). Raises KeyError for an unknown kind, or scores.
    """
    if kind not in OUTPUT_KINDS or kind == "score":
        raise KeyError(kind)
    numbers = np.asarray(values, np.float64)
    if kind == "sigmoid":
        return np.concatenate([1 - numbers, numbers], axis=-1)
    if kind == "probabilities":
        return numbers / numbers.sum(axis=-1, keepdims=True)
    exponentials = np.exp(numbers - numbers.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def share_wrong(decided: NDArray[np.int64], target: NDArray[Any]) -> float:
    """Return the share of `(n,)` decisions that are not the target's, NaN where no target is known.

    The target is `(n,)` class numbers, -1 where unknown; or, in floats, the probability of class 1,
    of which 1/2 is a tie, where no decision is wrong.
    """
    told = (target >= 0) & (target != 0.5)
    if np.issubdtype(target.dtype, np.floating):
        target = target > 0.5
    return float(np.mean((decided != target)[told])) if told.any() else float("nan")


def decisions(values: ArrayLike, kind: str) -> NDArray[np.int64]:
    """Return the most probable class of each row: `(batch, n)` -> `(batch,)` int64."""
    return probabilities(values, kind).argmax(axis=-1)

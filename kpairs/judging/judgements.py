"""Judgements of pairs of images, as arrays, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.errors import InputError

if TYPE_CHECKING:
    from kpairs.data.compared import ComparedImages

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, init=False)
class Judgements:
    """Answers to the question which of two images ranks higher.

    Attributes:
        left, right: `(m,)` numbers of images, from 0 to `count - 1`.
        outcome: `(m,)` probability that the right image ranks higher. 1 is an answer for the
            right image, 0 for the left one, 0.5 a tie.
        count: number of images, judged or not.
        judge: `(m,)` numbers of judges, or None for one judge.
        weight: `(m,)` weights; 2 counts as two equal answers. None for 1 each.
        random: `(m,)` bool, pairs that were drawn at random; None where nobody knows. Such pairs
            check the model: pairs that a rule chose are no fair sample.

    Raises:
        InputError: arrays of unequal length, an image that does not exist, an image compared with
            itself, an outcome outside [0, 1], or a negative weight.

    Example:
        >>> answers = Judgements([0, 1, 2], [1, 2, 0], [1, 1, 0], count=4)
        >>> answers.degree()
        array([2, 2, 2, 0])
    """

    left: Numbers
    right: Numbers
    outcome: Floats
    count: int
    judge: Numbers
    weight: Floats
    random: NDArray[np.bool_] | None

    def __init__(
        self,
        left: ArrayLike,
        right: ArrayLike,
        outcome: ArrayLike,
        count: int,
        judge: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        random: ArrayLike | None = None,
    ) -> None:
        size = len(np.atleast_1d(np.asarray(left)))
        given = {
            "left": np.array(left, np.int64),
            "right": np.array(right, np.int64),
            "outcome": np.array(outcome, np.float64),
            "judge": np.zeros(size, np.int64) if judge is None else np.array(judge, np.int64),
            "weight": np.ones(size) if weight is None else np.array(weight, np.float64),
            "random": None if random is None else np.array(random, bool),
        }
        for name, array in given.items():
            if array is not None and array.shape != (size,):
                raise InputError(f"{name}: expected {size} values, received shape {array.shape}")
            object.__setattr__(self, name, array)
        object.__setattr__(self, "count", int(count))
        self._check()

    def _check(self) -> None:
        bad = {
            f"an image number from 0 to {self.count - 1}": ~(
                (np.minimum(self.left, self.right) >= 0)
                & (np.maximum(self.left, self.right) < self.count)
            ),
            "two different images": self.left == self.right,
            "an outcome from 0 to 1": ~((self.outcome >= 0) & (self.outcome <= 1)),
            "a weight of at least 0": ~((self.weight >= 0) & np.isfinite(self.weight)),
            "a judge's number of at least 0": self.judge < 0,
        }
        for expected, wrong in bad.items():
            if wrong.any():
                row = int(wrong.argmax())
                raise InputError(
                    f"judgement {row}: expected {expected}, received left {self.left[row]}, "
                    f"right {self.right[row]}, outcome {self.outcome[row]}, "
                    f"weight {self.weight[row]}, judge {self.judge[row]}"
                )

    @classmethod
    def of(cls, pairs: ComparedImages) -> Judgements:
        """Return the judgements of a table of compared images; judges by their sorted names."""
        judge = None if pairs.judge is None else np.unique(pairs.judge, return_inverse=True)[1]
        outcome = pairs.probability
        return cls(pairs.left, pairs.right, outcome, len(pairs.files), judge, pairs.weight)

    def __len__(self) -> int:
        return len(self.left)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Judgements:
        """Return the judgements of some rows, given by number or by mask."""
        random = None if self.random is None else self.random[rows]
        arrays = (self.left, self.right, self.outcome)
        left, right, outcome = (array[rows] for array in arrays)
        return Judgements(
            left, right, outcome, self.count, self.judge[rows], self.weight[rows], random
        )

    def degree(self) -> Numbers:
        """Return the number of judgements that each image is in, `(count,)`."""
        return np.bincount(np.concatenate([self.left, self.right]), minlength=self.count)

    def pair(self) -> Numbers:
        """Return `(m,)` numbers that are equal for judgements of the same two images."""
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        return np.unique(low * self.count + high, return_inverse=True)[1]

    def components(self) -> Numbers:
        """Return `(count,)` numbers of the sets of images that judgements connect.

        An image in no judgement is a set of its own.
        """
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        ones = np.ones(len(self))
        graph = coo_matrix((ones, (self.left, self.right)), shape=(self.count, self.count))
        return connected_components(graph, directed=False)[1].astype(np.int64)

"""Pairs of images by the course protocol that all five reports share."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from kpairs.data.images import SIDE, to_pixels
from kpairs.data.sources import Digits
from kpairs.errors import InputError, unknown

# What a pair set knows of its pairs, by the name of the output that learns it.
TARGETS = ("comparison", "left_digit", "right_digit")


@dataclass(frozen=True)
class PairSet:
    """n pairs of images with their labels.

    Attributes:
        left, right: `(n, 14, 14, 1)` float32 pixels in [0, 1].
        left_digit, right_digit: `(n,)` int64 class numbers; a higher number ranks higher.

    Raises:
        InputError: arrays whose shapes do not fit each other.
    """

    left: np.ndarray
    right: np.ndarray
    left_digit: np.ndarray
    right_digit: np.ndarray

    def __post_init__(self) -> None:
        expected = (len(self.left_digit), SIDE, SIDE, 1)
        for name, images in self.inputs().items():
            if images.shape != expected:
                raise InputError(
                    f"{name} images: expected shape {expected}, received {images.shape}"
                )
        if self.left_digit.shape != self.right_digit.shape:
            raise InputError(
                f"right_digit: expected {len(self.left_digit)} labels, "
                f"received {len(self.right_digit)}"
            )

    def __len__(self) -> int:
        return len(self.left_digit)

    @property
    def comparison(self) -> np.ndarray:
        """`(n,)` int64: 1 where left <= right (equal digits included), else 0."""
        return (self.left_digit <= self.right_digit).astype(np.int64)

    def inputs(self) -> dict[str, np.ndarray]:
        """Return the model inputs by name."""
        return {"left": self.left, "right": self.right}

    def targets(self, outputs: Collection[str] = TARGETS) -> dict[str, np.ndarray]:
        """Return the targets of outputs by name, each `(n,)` int64.

        Args:
            outputs: names in `TARGETS`.

        Raises:
            UsageError: another name.
        """
        known = dict(
            zip(TARGETS, (self.comparison, self.left_digit, self.right_digit), strict=True)
        )
        for name in outputs:
            if name not in known:
                raise unknown("output", name, known)
        return {name: known[name] for name in outputs}

    def take(self, rows: np.ndarray | slice) -> "PairSet":
        """Return the pairs of these rows, in their order."""
        return PairSet(*(part[rows] for part in self._parts()))

    @classmethod
    def concat(cls, *sets: "PairSet") -> "PairSet":
        """Join pair sets, one after the other."""
        return cls(*map(np.concatenate, zip(*(pairs._parts() for pairs in sets), strict=True)))

    def swapped(self) -> "PairSet":
        """Return the same pairs with left and right exchanged."""
        return PairSet(self.right, self.left, self.right_digit, self.left_digit)

    def _parts(self) -> tuple[np.ndarray, ...]:
        return self.left, self.right, self.left_digit, self.right_digit


def draw_pairs(digits: Digits, count: int, rng: np.random.Generator) -> PairSet:
    """Draw pairs without replacement: no image occurs twice.

    One random permutation of the split; its first `2 * count` indices, viewed as `(count, 2)`,
    are the pairs.

    Args:
        digits: one split.
        count: number of pairs.
        rng: what the pairs are drawn from.

    Returns:
        The pairs.

    Raises:
        InputError: the split holds fewer than `2 * count` images.
    """
    check_enough(digits, count)
    left, right = rng.permutation(len(digits))[: 2 * count].reshape(count, 2).T
    return PairSet(
        to_pixels(digits.images[left], digits.name),
        to_pixels(digits.images[right], digits.name),
        digits.labels[left],
        digits.labels[right],
    )


def check_enough(digits: Digits, count: int) -> None:
    """Refuse a split that does not hold the images of so many pairs.

    Raises:
        InputError: it holds fewer than `2 * count` images.
    """
    if count < 1 or 2 * count > len(digits):
        raise InputError(
            f"{digits.name}: {count} pairs need {2 * count} different images, "
            f"received {len(digits)}; at most {len(digits) // 2} pairs can be drawn"
        )

"""The augmentation of report 001: nine shifts, then both orders; 1,000 pairs become 18,000."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kpairs.data.pairs import Images, PairSet


def augment_pairs(pairs: PairSet, rng: np.random.Generator) -> PairSet:
    """Shift by one pixel and swap the order, as report 001's code does once before training.

    Each image yields nine versions: itself and its shifts by one pixel in eight directions, filled
    with zeros. The versions of the left and of the right image are permuted independently and
    zipped, so each is used once per original pair. Then all pairs follow again with the order
    swapped and the label recomputed; equal digits are "left <= right" both ways.

    Args:
        pairs: n pairs.
        rng: what the orders are drawn from.

    Returns:
        18 n pairs; pair i's nine versions are rows 9 i to 9 i + 8, and row r + 9 n
        is row r swapped.
    """
    left, right = _shuffled_shifts(pairs.left, rng), _shuffled_shifts(pairs.right, rng)
    shifted = replace(pairs.take(np.repeat(np.arange(len(pairs)), 9)), left=left, right=right)
    return PairSet.concat(shifted, shifted.swapped())


def _shuffled_shifts(images: Images, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, h, w, c) -> (9 n, h, w, c): each image's nine shifts in an order of its own."""
    images = np.asarray(images)
    n, height, width = images.shape[:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = np.stack(
        [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=1
    )
    order = rng.permuted(np.tile(np.arange(9), (n, 1)), axis=1)
    return shifts[np.arange(n)[:, None], order].reshape(9 * n, *images.shape[1:])

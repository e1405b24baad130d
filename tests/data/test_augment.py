"""Report 001's augmentation against scipy's shifts."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kpairs.data.augment import augment_pairs
from kpairs.data.pairs import PairSet


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_augmentation_is_nine_shifts_in_both_orders(count, seed):
    """Against scipy's shifts: each once per image and order, labels recomputed."""
    rng = np.random.default_rng(seed)
    left, right = rng.random((2, count, 14, 14, 1), dtype=np.float32)
    pairs = PairSet(left, right, *rng.integers(0, 10, (2, count)))
    augmented = augment_pairs(pairs, rng)
    half = 9 * count
    assert len(augmented) == 2 * half
    offsets = [(y, x, 0) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    for i in range(count):
        rows = slice(9 * i, 9 * i + 9)
        for side in ("left", "right"):
            image = getattr(pairs, side)[i]
            shifts = Counter(ndimage.shift(image, o, order=0).tobytes() for o in offsets)
            assert Counter(v.tobytes() for v in getattr(augmented, side)[rows]) == shifts
            assert set(getattr(augmented, f"{side}_digit")[rows]) == {
                getattr(pairs, f"{side}_digit")[i]
            }
    np.testing.assert_array_equal(augmented.left[half:], augmented.right[:half])
    np.testing.assert_array_equal(augmented.right[half:], augmented.left[:half])
    np.testing.assert_array_equal(augmented.left_digit[half:], augmented.right_digit[:half])
    np.testing.assert_array_equal(
        augmented.comparison, augmented.left_digit <= augmented.right_digit
    )


def test_the_two_sides_are_shuffled_independently(rng):
    image = rng.random((50, 14, 14, 1), dtype=np.float32)
    labels = np.zeros(50, np.int64)
    augmented = augment_pairs(PairSet(image, image, labels, labels), rng)
    same = (augmented.left == augmented.right).all(axis=(1, 2, 3)).mean()
    assert 0.03 < same < 0.25  # one in nine by chance; all if both sides shared an order

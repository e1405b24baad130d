"""The pairs that a run keeps come back as they were."""

from dataclasses import replace

import numpy as np
import pytest

from kpairs.data.pairs import PairSet, packed
from kpairs.data.source import open_source
from kpairs.reports import RECIPES
from kpairs.training.run import Run


@pytest.mark.parametrize("levels", [True, False])
def test_kept_pairs_are_the_same(rng, tmp_path, levels):
    shape = (7, 5, 4, 3)
    left, right = (rng.integers(0, 256, shape) / 255 for _ in range(2))
    if not levels:  # as pooled digits, and features of one's own
        left, right = 9 * left - 3, right**2
    images = (side.astype(np.float32) for side in (left, right))
    pairs = PairSet(*images, np.full(7, -1), np.full(7, -1), rng.random(7).astype(np.float32))
    both = pairs, replace(pairs, left=pairs.right)
    run = Run.create(RECIPES["ws"], {}, open_source("mnist"), tmp_path, packed(*both))
    train, test = run.sample()
    np.testing.assert_array_equal(train.left, pairs.left)
    np.testing.assert_array_equal(test.left, pairs.right)
    assert (tmp_path / "sample.npz").is_file()
    with np.load(tmp_path / "sample.npz") as arrays:
        assert arrays["train_left"].dtype == (np.uint8 if levels else np.float32)

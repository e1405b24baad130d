"""Photographs varied from epoch to epoch, and images that stay in their file."""

import pickle

import numpy as np
import pytest
from scipy import ndimage

from kpairs.data.stored import Stored
from kpairs.data.vary import sample, turned, vary


def draw(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def images(rng):
    return rng.random((60, 9, 12, 3), dtype=np.float32)


def test_nothing_asked_for_changes_nothing(images):
    np.testing.assert_array_equal(vary(images, draw()), images)


@pytest.mark.parametrize(("flip", "kinds"), [("horizontal", 2), ("both", 4)])
def test_flips_move_pixels_and_change_none(images, flip, kinds):
    before = images.copy()
    flipped = vary(images, draw(), flip=flip)
    np.testing.assert_array_equal(images, before)
    seen = set()
    for image, new in zip(images, flipped, strict=True):
        axes = [(), (1,), (0,), (0, 1)]
        (found,) = [a for a in axes if np.array_equal(np.flip(image, a), new)]
        seen.add(found)
    assert len(seen) == kinds


def test_rotation_is_scipys(images):
    """Each image is turned about its middle; inside, where edges play no part."""
    angles = []
    places = turned(images.shape, draw(), 30, 0)
    for image, new, place in zip(
        images, sample(images, places, "edge"), places.swapaxes(0, 1), strict=True
    ):
        for channel in range(3):
            expected = ndimage.map_coordinates(image[..., channel], place, order=1, mode="nearest")
            np.testing.assert_allclose(new[..., channel], expected, atol=1e-5)
        angles.append(np.rad2deg(np.arctan2(place[0, 0, -1] - place[0, 0, 0], 11)))
        np.testing.assert_allclose(place.mean(axis=(1, 2)), [4, 5.5], atol=1e-5)
        steps = np.hypot(*(np.diff(place, axis=2)))
        np.testing.assert_allclose(steps, 1, atol=1e-5)  # nothing is stretched
    assert min(angles) < -15
    assert max(angles) > 15


def test_crops_stay_inside_and_reach_the_edges(images):
    rows, columns = turned(images.shape, draw(), 0, 0.5)
    for part, side in ((rows, 9), (columns, 12)):
        assert part.min() > -0.5
        assert part.max() < side - 0.5
        share = (part.max(axis=(1, 2)) - part.min(axis=(1, 2))) / (side - 1)
        assert 0.5 <= share.min() < 0.6
        assert 0.9 < share.max() <= 1


def test_brightness(images):
    new = vary(images, draw(), brightness=0.3)
    dark = images < 0.7
    ratio = np.where(dark, new / images, np.nan)
    assert np.nanstd(ratio, axis=(1, 2, 3)).max() < 1e-5  # one factor for an image
    factors = np.nanmean(ratio, axis=(1, 2, 3))
    assert 0.7 <= factors.min() < 0.8
    assert 1.2 < factors.max() <= 1.3
    assert new.max() <= 1


def test_draws_follow_the_generator(images):
    changes = {"flip": "both", "rotation": 10, "crop": 0.2, "brightness": 0.2}
    new = vary(images, draw(1), **changes)
    assert new.dtype == np.float32
    np.testing.assert_array_equal(new, vary(images, draw(1), **changes))
    assert (new != vary(images, draw(2), **changes)).any()


def test_stored_images_are_numbers_until_they_are_read(tmp_path, rng):
    levels = rng.integers(0, 256, (20, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", levels)
    images = Stored(tmp_path / "images.npy")
    pixels = (levels / 255).astype(np.float32)
    assert images.shape == (20, 4, 5, 3)
    assert (len(images), images.ndim, images.dtype) == (20, 4, np.float32)
    np.testing.assert_array_equal(np.asarray(images), pixels)
    rows = rng.permutation(20)[:7]
    chosen = images[rows][1:]
    assert isinstance(chosen, Stored)
    np.testing.assert_array_equal(np.asarray(chosen), pixels[rows[1:]])
    both = Stored.joined(chosen, images)
    np.testing.assert_array_equal(np.asarray(both), np.concatenate([pixels[rows[1:]], pixels]))
    sent = pickle.dumps(images[np.arange(20)])
    assert len(sent) < 600  # a name and numbers
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent)), pixels)
    np.save(tmp_path / "other.npy", levels)
    with pytest.raises(ValueError, match="expected images of one file"):
        Stored.joined(images, Stored(tmp_path / "other.npy"))

"""Random distortions: as far as they say, and scipy's interpolation."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from kpairs.data.vary import affine, distort, elastic, sample


def test_distortions_are_drawn_by_the_generator_alone(rng):
    images = rng.random((20, 14, 14, 1), dtype=np.float32)
    for kind in ("affine", "elastic"):
        first, second, other = (distort(images, kind, np.random.default_rng(n)) for n in (1, 1, 2))
        np.testing.assert_array_equal(first, second)
        assert (first != other).any()
        assert first.dtype == np.float32
        assert first.shape == images.shape
        assert first.min() >= 0
        assert first.max() <= 1


def test_distortion_moves_a_blob_as_far_as_it_says():
    """The centre of mass of a centred blob: uniform shifts of 1.5 pixels, scaled by 1 +- 0.12."""
    place = np.arange(14) - 6.5
    blob = np.exp(-(place[:, None] ** 2 + place**2) / 4).astype(np.float32)[None, ..., None]
    images = distort(np.repeat(blob, 2000, 0), "affine", np.random.default_rng(0))[..., 0]
    mass = images.sum((1, 2))
    for axis in (1, 2):
        centre = (images.sum(3 - axis) * place).sum(1) / mass
        assert abs(centre).max() < 1.5 * 1.5
        assert centre.mean() == pytest.approx(0, abs=0.08)
        assert centre.std() == pytest.approx(1.5 / 3**0.5, rel=0.15)


def moments(images):
    """Second moments of each image about its centre: of rows, of columns, of both."""
    place = np.arange(14)
    weights = images / images.sum((1, 2), keepdims=True)
    y, x = np.meshgrid(place, place, indexing="ij")
    y = y - (weights * y).sum((1, 2))[:, None, None]
    x = x - (weights * x).sum((1, 2))[:, None, None]
    return [(weights * product).sum((1, 2)) for product in (y * y, x * x, y * x)]


@pytest.mark.parametrize("part", ["rotation", "shear"])
def test_distortion_turns_and_shears_as_far_as_it_says(part):
    """A long blob turned by up to 6 degrees; the rows of a round one shifted by 0.2 per row."""
    others = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}
    del others[part]
    place = np.arange(14) - 6.5
    length = 8 if part == "rotation" else 3
    blob = np.exp(-(place[:, None] ** 2) / 3 - place**2 / length)[None, ..., None]
    images = np.repeat(blob.astype(np.float32), 2000, 0)
    places = affine(2000, 14, 14, np.random.default_rng(0), **others)
    rows, columns, both = moments(sample(images, places)[..., 0])
    if part == "rotation":
        received, limit = np.rad2deg(np.arctan2(2 * both, columns - rows)) / 2, 6
    else:
        received, limit = both / rows, 0.2
    assert abs(received).max() < 1.05 * limit
    assert received.std() == pytest.approx(limit / 3**0.5, rel=0.05)


def test_elastic_displacements_are_smooth_and_half_a_pixel():
    field = elastic(3000, 14, 14, np.random.default_rng(0))
    assert field.std(1) == pytest.approx(0.5, rel=0.1)
    for a, b in (((3, 6), (4, 6)), ((3, 6), (3, 7)), ((3, 6), (5, 6))):
        correlation = np.corrcoef(field[0, :, *a], field[0, :, *b])[0, 1]
        # Of white noise smoothed by a Gaussian.
        distance = abs(np.subtract(a, b)).sum()
        assert correlation == pytest.approx(np.exp(-(distance**2) / 16), abs=0.02)


def test_sampling_is_scipys_bilinear_interpolation(rng):
    images = rng.random((4, 14, 14, 2), dtype=np.float32)
    places = rng.uniform(-3, 17, (2, 4, 14, 14)).astype(np.float32)
    received = sample(images, places)
    for image, result, (rows, columns) in zip(
        images, received, places.transpose(1, 0, 2, 3), strict=True
    ):
        for channel in range(2):
            padded = np.pad(image[..., channel], 5)
            expected = map_coordinates(padded, [rows + 5, columns + 5], order=1)
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-5)

"""Classical statistics see what they are named for."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kpairs.data.examples import _photographs
from kpairs.data.statistics import NAMES, image_statistics
from kpairs.errors import InputError


@pytest.fixture(scope="module")
def photograph():
    name, image = _photographs()[0]
    assert name
    return image.crop((64, 64, 192, 192))


def of(*images):
    rows = image_statistics(np.stack([np.asarray(image) for image in images]))
    return [dict(zip(NAMES, row.tolist(), strict=True)) for row in rows]


def test_blur_noise_and_compression_are_seen(photograph, rng):
    blurred = photograph.filter(ImageFilter.GaussianBlur(2.0))
    packed = io.BytesIO()
    photograph.save(packed, "JPEG", quality=10)
    noisy = np.clip(np.asarray(photograph) + rng.normal(0, 30, (128, 128, 3)), 0, 255)
    plain, blur, jpeg, noise = of(photograph, blurred, Image.open(packed), noisy.astype(np.uint8))
    for name in ("laplacian", "gradient_x", "laplacian_of_gaussian_1", "dct_10"):
        assert blur[name] < plain[name] - 0.3
    assert noise["noise"] > plain["noise"] + 0.3
    for name in ("blocks_x", "blocks_y"):
        assert jpeg[name] > plain[name] + 0.2
    assert jpeg["dct_small_high"] > plain["dct_small_high"] + 0.1
    assert noise["contrast_full_product_01"] < plain["contrast_full_product_01"]


def test_levels_grey_and_batches_give_the_same_numbers(photograph, rng):
    array = np.asarray(photograph)
    rows = image_statistics(np.stack([array, array[::-1]]))
    np.testing.assert_allclose(image_statistics(array[None])[0], rows[0], atol=1e-6)
    floats = array.astype(np.float32)[None] / 255
    np.testing.assert_allclose(image_statistics(floats)[0], rows[0], atol=1e-3)
    grey = np.repeat(array[:, :, :1], 3, axis=2)[None]
    same = np.array([not name.startswith(("red", "yellow")) for name in NAMES])
    np.testing.assert_allclose(
        image_statistics(grey)[:, same], image_statistics(grey[..., :1])[:, same], atol=1e-3
    )
    odd = image_statistics(rng.random((1, 33, 47, 1)))
    assert odd.shape == (1, len(NAMES)) == (1, 54)


@pytest.mark.parametrize("level", [0, 255])
def test_flat_images_have_finite_statistics(level):
    assert np.isfinite(image_statistics(np.full((1, 32, 32, 3), level, np.uint8))).all()


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 31, 64, 3), (1, 64, 64, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="sides of at least 32 pixels"):
        image_statistics(np.zeros(shape, np.uint8))


def test_no_image_has_no_rows():
    assert image_statistics(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 54)

"""Classical statistics: against NumPy in float64, exported, and what they are named for."""

import io

import keras
import numpy as np
import pytest
from one_image import exported
from PIL import Image, ImageFilter
from scipy import fft, ndimage, signal

from kpairs.data.examples import _photographs
from kpairs.layers import STATISTICS, ImageStatistics


@pytest.fixture(scope="module")
def photograph():
    name, image = _photographs()[0]
    assert name
    return image.crop((64, 64, 192, 192))


def image_statistics(images):
    scale = 255 if images.dtype == np.uint8 else 1
    return keras.ops.convert_to_numpy(ImageStatistics()(images.astype(np.float32) / scale))


def reference(image):
    """Return the statistics of one image, by SciPy's filters and in float64."""
    image = 255 * image.astype(np.float64)
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    red, green, blue = np.moveaxis(image, 2, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    part = grey[: len(grey) // 2 * 2, : grey.shape[1] // 2 * 2]
    half = part.reshape(len(part) // 2, 2, -1, 2).mean(axis=(1, 3))
    found = {}
    cross = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    for scale, part in (("", grey), ("half_", half)):
        laplacian = signal.convolve2d(part, cross, "valid")
        for name, ending, values in (
            ("gradient", "_x", np.diff(part, axis=1)),
            ("gradient", "_y", np.diff(part, axis=0)),
            ("laplacian", "", laplacian),
        ):
            start = f"{scale}laplacian_" if name == "laplacian" else scale
            found[f"{scale}{name}{ending}"] = np.log((values**2).mean() + 1e-3)
            found[f"{start}flat{ending}"] = (1 / (1 + (values / 0.5) ** 2)).mean()
            found[f"{start}smooth{ending}"] = (1 / (1 + (values / 2) ** 2)).mean()
    for name, plane in (
        ("", grey),
        ("red_green", red - green),
        ("yellow_blue", (red + green) / 2 - blue),
    ):
        for axis, ending in enumerate("yx") if name else ():
            found[f"{name}_{ending}"] = np.log((np.diff(plane, axis=axis) ** 2).mean() + 1e-3)
        diagonal = np.abs(np.diff(np.diff(plane, axis=0), axis=1))
        found["_".join(filter(None, ("noise", name)))] = 2 * np.log(
            np.sqrt(diagonal + 0.025).mean()
        )
    high, wide = (side // 8 for side in grey.shape)
    blocks = grey[: 8 * high, : 8 * wide].reshape(high, 8, wide, 8).swapaxes(1, 2)
    energies = fft.dctn(blocks, axes=(2, 3), norm="ortho").reshape(-1, 8, 8) ** 2
    sums = np.add.outer(np.arange(8), np.arange(8))
    for number in range(1, 15):
        found[f"dct_{number}"] = np.log(energies[:, sums == number].mean(axis=1) + 1).mean()
    window = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]) / 81
    residual = (grey - ndimage.correlate(grey, window))[2:-2, 2:-2]
    local = ndimage.correlate(residual**2, window)[2:-2, 2:-2]
    found["deviation"] = np.log(local.mean() + 0.1)
    found["deviation_geometric"] = np.log(local + 0.1).mean()
    found["deviation_harmonic"] = -np.log((1 / (local + 0.1)).mean())
    normal = residual[2:-2, 2:-2] / (np.sqrt(local + 1e-3) + 2)
    variance = (normal**2).mean() + 1e-6
    moments = {
        "magnitude": np.abs(normal).mean(),
        "variance": variance,
        "skewness": (normal**3).mean() / variance**1.5,
        "kurtosis": (normal**4).mean() / variance**2,
    }
    for place, right, down in (
        ("right", 1, 0),
        ("below", 0, 1),
        ("right_below", 1, 1),
        ("left_below", -1, 1),
    ):
        product = (normal * np.roll(normal, (-down, -right), (0, 1)))[:-1, 1:-1]
        moments |= {f"product_{place}": product.mean(), f"spread_{place}": abs(product).mean()}
    found |= {f"contrast_{name}": value for name, value in moments.items()}
    assert set(found) == set(STATISTICS)
    return np.array([found[name] for name in STATISTICS])


@pytest.mark.parametrize(
    "shape",
    [(64, 96, 3), (32, 32, 1), (47, 33, 3), (64, 65, 1)],
    ids=lambda s: "x".join(map(str, s)),
)
def test_the_layer_its_exports_and_numpy_agree(shape, photograph, rng):
    """Of a photograph, noise, a flat image and a ramp."""
    height, width, channels = shape
    images = np.stack(
        [
            np.asarray(photograph)[:height, :width, :channels] / 255,
            rng.random(shape),
            np.full(shape, 0.7),
            np.broadcast_to(np.linspace(0, 1, width)[:, None], shape),
            np.asarray(photograph)[-height:, -width:, :channels] / 255,
        ]
    ).astype(np.float32)
    expected = np.stack([reference(image) for image in images])
    received = image_statistics(images)
    near = {"rtol": 1e-4, "atol": 2e-4}
    np.testing.assert_allclose(received, expected, **near)
    np.testing.assert_array_equal(image_statistics(images), received)
    np.testing.assert_allclose(image_statistics(images[1:2])[0], received[1], rtol=1e-5, atol=1e-5)
    image = keras.Input(shape)
    model = keras.Model(image, ImageStatistics()(image))
    for run in exported(model) if shape == (47, 33, 3) else ():
        for batch in (images[:1], images):
            np.testing.assert_allclose(run(batch), expected[: len(batch)], **near)


def of(*images):
    rows = image_statistics(np.stack([np.asarray(image) for image in images]))
    return [dict(zip(STATISTICS, row.tolist(), strict=True)) for row in rows]


def test_blur_noise_and_compression_are_seen(photograph, rng):
    blurred = photograph.filter(ImageFilter.GaussianBlur(2.0))
    packed = io.BytesIO()
    photograph.save(packed, "JPEG", quality=10)
    noisy = np.clip(np.asarray(photograph) + rng.normal(0, 30, (128, 128, 3)), 0, 255)
    plain, blur, jpeg, noise = of(photograph, blurred, Image.open(packed), noisy.astype(np.uint8))
    for name in ("laplacian", "half_laplacian", "gradient_x", "dct_10"):
        assert blur[name] < plain[name] - 0.3
    for name in ("noise", "noise_red_green", "deviation_harmonic"):
        assert noise[name] > plain[name] + 0.3
    for name in ("flat_x", "flat_y", "laplacian_flat"):
        assert jpeg[name] > plain[name] + 0.1
    assert jpeg["dct_14"] < plain["dct_14"] - 0.3
    assert noise["contrast_product_right"] < plain["contrast_product_right"]


def test_levels_and_grey_give_the_same_numbers(photograph):
    array = np.asarray(photograph)[None]
    floats = array.astype(np.float32) / 255
    np.testing.assert_allclose(image_statistics(floats), image_statistics(array), atol=1e-5)
    grey = np.repeat(array[..., :1], 3, axis=3)
    np.testing.assert_allclose(
        image_statistics(grey), image_statistics(grey[..., :1]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 31, 64, 3), (1, 64, 64, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected .* sides of at least 32"):
        image_statistics(np.zeros(shape, np.uint8))

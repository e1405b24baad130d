"""Random changes of images, new in each epoch: distortions, flips, turns, crops, brightness."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from keras import ops
from numpy.typing import NDArray


def vary(
    images: NDArray[Any],
    rng: np.random.Generator,
    *,
    flip: str = "none",
    rotation: float = 0.0,
    crop: float = 0.0,
    brightness: float = 0.0,
) -> NDArray[np.float32]:
    """Vary each of `(n, height, width, channels)` images in [0, 1] by its own uniform draws.

    Turns and crops interpolate an image once, bilinearly; flips move pixels and change none.

    Args:
        images: the images.
        rng: what is drawn from.
        flip: "horizontal" mirrors half of the images left to right, "both" half of them upside
            down too.
        rotation: degrees to either side.
        crop: largest share that is cut off each side; the rest is stretched back.
        brightness: pixels are multiplied by 1 plus or minus this, and kept in [0, 1].
    """
    images, count = np.array(images, np.float32), len(images)
    for axis, wanted in ((2, flip != "none"), (1, flip == "both")):
        if wanted:
            chosen = rng.random(count) < 0.5
            images[chosen] = np.flip(images[chosen], axis)
    if rotation or crop:
        images = sample(images, turned(images.shape, rng, rotation, crop), "edge")
    if brightness:
        factors = rng.uniform(1 - brightness, 1 + brightness, (count, 1, 1, 1))
        images = np.clip(images * factors.astype(np.float32), 0, 1)
    return images


def turned(
    shape: tuple[int, ...], rng: np.random.Generator, rotation: float, crop: float
) -> NDArray[np.float32]:
    """Draw the place of each pixel of each image: `(2, n, height, width)`, rows first."""
    count, height, width, _ = shape
    angle = np.deg2rad(rng.uniform(-rotation, rotation, count))
    size = np.array([[height], [width]])
    left_over = 1 - rng.uniform(0, crop, (2, count))
    centre = (size - 1) / 2 + (1 - left_over) * size * rng.uniform(-0.5, 0.5, (2, count))
    y = (np.arange(height) - (height - 1) / 2)[:, None]
    x = (np.arange(width) - (width - 1) / 2)[None, :]
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    places = np.stack([cosine * y + sine * x, cosine * x - sine * y])
    return (centre[..., None, None] + left_over[..., None, None] * places).astype(np.float32)


def distort(
    images: NDArray[np.float32], kind: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Distort each `(h, w, c)` image by a random transformation of its own, bilinearly, once.

    "affine" is rotation, scale of each axis, shear and shift about the centre; "elastic" the same,
    and a smooth random field of displacements. Outside an image is black. The draws come from
    NumPy, so that every backend sees the same images up to rounding.
    """
    count, height, width, _ = images.shape
    places = affine(count, height, width, rng)
    if kind == "elastic":
        places = places + elastic(count, height, width, rng)
    return sample(images, places)


def affine(
    count: int,
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    rotation: float = 6.0,
    scale: float = 0.12,
    shear: float = 0.2,
    shift: float = 1.5,
) -> NDArray[np.float32]:
    """Draw the place that each pixel of each image comes from: `(2, count, height, width)`.

    Draws are uniform within plus and minus: a rotation in degrees, a scale of each axis about 1, a
    shear in columns per row, and a shift of each axis in pixels of an image of 14x14. Places are
    rows, then columns.
    """
    widest = np.deg2rad(rotation)
    angle = rng.uniform(-widest, widest, count)
    scales = rng.uniform(1 - scale, 1 + scale, (2, count))
    shears = rng.uniform(-shear, shear, count)
    shifts = _enlarged(height, width) * rng.uniform(-shift, shift, (2, count))
    sine, cosine = np.sin(angle), np.cos(angle)
    middle = (height - 1) / 2, (width - 1) / 2
    # Both coordinates are linear: a number per row of pixels plus a number per column of them.
    by_row = scales * np.stack([cosine + sine * shears, cosine * shears - sine])
    by_column = scales * np.stack([sine, cosine])
    y, x = np.arange(height) - middle[0], np.arange(width) - middle[1]
    origin = shifts + np.array(middle)[:, None]
    along_rows = (origin[..., None] + by_row[..., None] * y).astype(np.float32)
    along_columns = (by_column[..., None] * x).astype(np.float32)
    return along_rows[..., :, None] + along_columns[..., None, :]


def elastic(
    count: int,
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    smoothing: float = 2.0,
    displacement: float = 0.5,
) -> NDArray[np.float32]:
    """Draw smooth displacements: white noise smoothed by a Gaussian (Simard et al., 2003).

    `(2, count, height, width)`, to be added to places. `smoothing` is the Gaussian's deviation, and
    `displacement` that of the result, in pixels of an image of 14x14.
    """
    noise = rng.standard_normal((2, count, height, width), np.float32)
    scale = _enlarged(height, width)
    across = (noise.reshape(-1, width) @ _gaussian(width, scale * smoothing).T).reshape(noise.shape)
    field = _gaussian(height, scale * smoothing) @ across
    field *= scale * displacement
    return field


def _enlarged(height: int, width: int) -> float:
    """Return the size of images relative to 14x14."""
    return (height + width) / 28


def _gaussian(side: int, smoothing: float) -> NDArray[np.float32]:
    """Return a matrix that smooths a vector of white noise to deviation 1."""
    distance = np.subtract.outer(np.arange(side), np.arange(side))
    weights = np.exp(-0.5 * (distance / smoothing) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def sample(
    images: NDArray[np.float32],
    places: NDArray[np.float32],
    mode: Literal["constant", "edge"] = "constant",
) -> NDArray[np.float32]:
    """Interpolate `(n, h, w, c)` images bilinearly at places as `affine` draws them.

    The mode is "constant" for black outside an image, "edge" to repeat its edge, as in `numpy.pad`.
    `keras.ops.image.map_coordinates` gives the same in three times the time.
    """
    margin = int(mode == "constant")  # and one more behind, so that each pixel has a next one
    padded = np.pad(images, [(0, 0), (margin, margin + 1), (margin, margin + 1), (0, 0)], mode)
    count, height, width, channels = padded.shape
    pixels = ops.reshape(padded, (-1, channels))
    last = np.array([height - 2, width - 2], np.float32)[:, None, None, None]
    places = np.clip(places + np.float32(margin), 0, last)
    before = np.floor(places)
    down, across = ops.convert_to_tensor((places - before)[..., None])
    row, column = before.astype(np.int32)
    corner = (np.arange(count)[:, None, None] * height + row) * width + column
    upper, lower = (
        ops.take(pixels, corner + below, axis=0) * (1 - across)
        + ops.take(pixels, corner + below + 1, axis=0) * across
        for below in (0, width)
    )
    return ops.convert_to_numpy(upper * (1 - down) + lower * down)

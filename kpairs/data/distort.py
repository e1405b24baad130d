"""Random distortions of images, drawn anew in each epoch: affine, and elastic."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

# Half-widths of the uniform draws.
_ROTATION = np.deg2rad(6)
_SCALE = 0.12  # of each axis
_SHEAR = 0.2
_SHIFT = 1.5  # pixels of 14, as all numbers of pixels below
# Simard, Steinkraus and Platt (2003): white noise smoothed by a Gaussian.
_SMOOTHING = 2.0  # its deviation in pixels
_DISPLACEMENT = 0.5  # deviation of the smoothed field, in pixels


def distort(
    images: NDArray[np.float32], kind: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Distort each image by its own random transformation, interpolated once and bilinearly.

    What is drawn comes from NumPy, so that every backend sees the same images up to rounding.

    Args:
        images: `(n, h, w, c)` float32.
        kind: "affine": rotation, scale of each axis, shear and shift about the centre; "elastic":
            the same, and a smooth random field of displacements.
        rng: what the transformations are drawn from.

    Returns:
        `(n, h, w, c)` float32 NumPy array; outside an image is black.
    """
    count, height, width, channels = images.shape
    places = _affine(count, height, width, rng)
    if kind == "elastic":
        places = places + _elastic(count, height, width, rng)
    parts = [_sample(images[..., c : c + 1], *places) for c in range(channels)]
    return ops.convert_to_numpy(parts[0] if channels == 1 else ops.concatenate(parts, axis=-1))


def _affine(count: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Where each pixel of each image comes from: (2, count, height, width), rows then columns."""
    angle = rng.uniform(-_ROTATION, _ROTATION, count)
    scale = rng.uniform(1 - _SCALE, 1 + _SCALE, (2, count))
    shear = rng.uniform(-_SHEAR, _SHEAR, count)
    shift = _scale(height, width) * rng.uniform(-_SHIFT, _SHIFT, (2, count))
    sine, cosine = np.sin(angle), np.cos(angle)
    middle = (height - 1) / 2, (width - 1) / 2
    # Both coordinates are linear: a number per row of pixels plus a number per column of them.
    by_row = scale * np.stack([cosine + sine * shear, cosine * shear - sine])
    by_column = scale * np.stack([sine, cosine])
    y, x = np.arange(height) - middle[0], np.arange(width) - middle[1]
    origin = shift + np.array(middle)[:, None]
    along_rows = (origin[..., None] + by_row[..., None] * y).astype(np.float32)
    along_columns = (by_column[..., None] * x).astype(np.float32)
    return along_rows[..., :, None] + along_columns[..., None, :]


def _elastic(count: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth displacements: (2, count, height, width)."""
    noise = rng.standard_normal((2, count, height, width), np.float32)
    scale = _scale(height, width)
    smoothing = scale * _SMOOTHING
    across = (noise.reshape(-1, width) @ _gaussian(width, smoothing).T).reshape(noise.shape)
    field = _gaussian(height, smoothing) @ across
    field *= scale * _DISPLACEMENT
    return field


def _scale(height: int, width: int) -> float:
    """How much larger images are than those whose pixels the constants count."""
    return (height + width) / 28


def _gaussian(side: int, smoothing: float) -> NDArray[np.float32]:
    """A matrix that smooths a vector of white noise; what comes out has deviation 1."""
    distance = np.subtract.outer(np.arange(side), np.arange(side))
    weights = np.exp(-0.5 * (distance / smoothing) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _sample(images: Any, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> Any:
    """Bilinear interpolation of (n, h, w, 1) images at (n, h, w) places, black outside."""
    count, height, width, _ = images.shape
    padded = ops.reshape(ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), (-1,))
    row, down = _cell(rows, height)
    column, across = _cell(columns, width)
    start = np.arange(count)[:, None, None] * (height + 2) * (width + 2)
    corner = start + row * (width + 2) + column
    upper, lower = (
        ops.take(padded, corner + below) * (1 - across)
        + ops.take(padded, corner + below + 1) * across
        for below in (0, width + 2)
    )
    return ops.expand_dims(upper * (1 - down) + lower * down, -1)


def _cell(places: NDArray[np.float32], side: int) -> tuple[NDArray[np.int32], Any]:
    """The pixel before each place in an image padded by one, and how far behind it the place is."""
    places = np.clip(places + 1, 0, side + 1)
    before = np.minimum(np.floor(places), side)
    return before.astype(np.int32), ops.convert_to_tensor(places - before)

"""The 54 numbers of `kpairs.layers.ImageStatistics`, which says what they are."""

from typing import Any

import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

# Luminance, red - green and yellow - blue of RGB, in levels of 0 to 255.
_PLANES = 255 * np.array([[0.299, 0.587, 0.114], [1, -1, 0], [0.5, 0.5, -1]])
# Added to energies in levels, and to shares. Exporters take what is added for zero from 1e-8 on.
_FLOOR, _LEAST_VARIANCE = 1e-3, 1e-6
_STEP = 0.025  # levels added to absolute differences
_LOCAL = 2  # levels added to local deviations: noise of flat places is no contrast
STATISTICS_SIDE = 32  # pixels of the shorter side; scales beyond need more
STATISTICS = (
    *(
        f"{name}_{direction}"
        for direction in ("x", "y")
        for name in ("gradient", "red_green", "yellow_blue", "flat", "smooth")
    ),
    *("laplacian", "laplacian_flat", "laplacian_smooth"),
    *("noise", "noise_red_green", "noise_yellow_blue"),
    *(
        f"half_{name}"
        for name in (
            *("gradient_x", "flat_x", "smooth_x", "gradient_y", "flat_y", "smooth_y"),
            *("laplacian", "laplacian_flat", "laplacian_smooth"),
        )
    ),
    *(f"dct_{frequency}" for frequency in range(1, 15)),
    *("deviation", "deviation_geometric", "deviation_harmonic"),
    *("contrast_magnitude", "contrast_variance", "contrast_skewness", "contrast_kurtosis"),
    *(
        f"contrast_{part}_{place}"
        for place in ("right", "below", "right_below", "left_below")
        for part in ("product", "spread")
    ),
)


def statistics(images: KerasTensor) -> KerasTensor:
    """Return `(batch, 54)` numbers of `(batch, height, width, 1 or 3)` images in [0, 1]."""
    _, height, width, channels = images.shape
    planes = _PLANES if channels == 3 else _PLANES.sum(axis=1, keepdims=True)
    flat = ops.reshape(ops.transpose(images, (0, 3, 1, 2)), (-1, channels, height * width))
    colours = ops.reshape(ops.matmul(_tensor(planes), flat), (-1, 3, height, width))
    grey = colours[:, :1]
    values = []
    for image in (colours, _halved(grey)):
        right, down = _steps(image)
        for steps in (right, down, _laplacian(right[:, :1], down[:, :1])):
            values += _sizes(steps)
        if image is colours:
            values.append(_noise(right))
    values += [_frequencies(grey), *_contrast(grey)]
    return ops.concatenate(values, axis=1)


# Below, images are (batch, planes, height, width), and statistics (batch, numbers).


def _tensor(values: NDArray[Any]) -> KerasTensor:
    return ops.convert_to_tensor(values.astype(np.float32))


def _mean(x: KerasTensor) -> KerasTensor:
    return ops.mean(x, axis=(-2, -1))


def _sizes(steps: KerasTensor) -> list[KerasTensor]:
    """Return the energy of each plane, and shares of small values of the first."""
    squares = steps * steps
    first = squares[:, :1]
    flat, smooth = (level**2 * _mean(1 / (first + level**2)) for level in (0.5, 2.0))
    return [ops.log(_mean(squares) + _FLOOR), flat, smooth]


def _steps(x: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Return differences of neighbouring columns, and of neighbouring rows."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def _laplacian(right: KerasTensor, down: KerasTensor) -> KerasTensor:
    across, along = right[..., 1:-1, :], down[..., 1:-1]
    return across[..., 1:] - across[..., :-1] + along[..., 1:, :] - along[..., :-1, :]


def _halved(x: KerasTensor) -> KerasTensor:
    """Average 2 x 2 pixels of one plane."""
    height, width = x.shape[2:]
    kernel = _tensor(np.full((2, 2, 1, 1), 0.25))
    half = ops.conv(ops.reshape(x, (-1, height, width, 1)), kernel, strides=2)
    return ops.reshape(half, (-1, 1, height // 2, width // 2))


def _smoothed(x: KerasTensor) -> KerasTensor:
    """Return local means with weights 1, 2, 3, 2, 1 a side, two pixels smaller on each side."""
    for _ in range(2):
        x = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    for _ in range(2):
        x = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    return x * (1 / 81)


def _noise(right: KerasTensor) -> KerasTensor:
    diagonal = right[..., 1:, :] - right[..., :-1, :]
    return 2 * ops.log(_mean(ops.sqrt(ops.abs(diagonal) + _STEP)))


def _frequencies(grey: KerasTensor) -> KerasTensor:
    high, wide = (side // 8 for side in grey.shape[2:])
    blocks = ops.reshape(grey[:, 0, : 8 * high, : 8 * wide], (-1, high, 8, wide, 8))
    blocks = ops.reshape(ops.transpose(blocks, (0, 1, 3, 2, 4)), (-1, high * wide, 64))
    waves = np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(8) + 1) / 16) / 2
    waves[0] /= np.sqrt(2)  # the orthonormal DCT-II, its rows the frequencies
    coefficients = ops.matmul(blocks, _tensor(np.kron(waves, waves).T))
    groups = np.add.outer(np.arange(8), np.arange(8)).reshape(64, 1) == np.arange(1, 15)
    energies = ops.matmul(coefficients * coefficients, _tensor(groups / groups.sum(axis=0)))
    return ops.mean(ops.log(energies + 1), axis=1)


def _contrast(grey: KerasTensor) -> list[KerasTensor]:
    """Return means of local deviations, and moments of luminance that is normalised by them."""
    residual = grey[..., 2:-2, 2:-2] - _smoothed(grey)
    local = _smoothed(residual * residual)
    raised = local + 0.1
    found = [ops.log(_mean(raised)), _mean(ops.log(raised)), -ops.log(_mean(1 / raised))]
    deviation = ops.sqrt(local + _FLOOR)
    normal = residual[..., 2:-2, 2:-2] / (deviation + _LOCAL)
    square = normal * normal
    variance = _mean(square) + _LEAST_VARIANCE
    found += [
        *(_mean(ops.abs(normal)), variance),
        _mean(square * normal) / (variance * ops.sqrt(variance)),
        _mean(square * square) / (variance * variance),
    ]
    inner = normal[..., :-1, 1:-1]
    below = normal[..., 1:, :]
    for neighbour in (normal[..., :-1, 2:], below[..., 1:-1], below[..., 2:], below[..., :-2]):
        product = inner * neighbour
        found += [_mean(product), _mean(ops.abs(product))]
    return found

"""Classical statistics of arrays; see `kpairs.layers.ImageStatistics`."""

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.errors import InputError, first_line
from kpairs.layers import STATISTICS, ImageStatistics

_BATCH = 8  # images; larger batches leave the processor's cache


def image_statistics(images: ArrayLike) -> NDArray[np.float32]:
    """Return 54 statistics of each image; `kpairs.layers.STATISTICS` names them.

    Args:
        images: `(n, height, width, channels)` with 1 or 3 channels, uint8, or floats in [0, 1]; at
            least 32 pixels a side.

    Returns:
        `(n, 54)` float32, finite.

    Raises:
        InputError: another shape, or an image that is too small.

    Example:
        >>> image_statistics(np.zeros((2, 64, 64, 3), np.uint8)).shape
        (2, 54)
    """
    array, layer = np.asarray(images), ImageStatistics()
    try:
        layer.build(array.shape)
    except ValueError as error:
        raise InputError(f"images: {first_line(error)}") from error
    scale = np.float32(1 / 255 if array.dtype == np.uint8 else 1)
    rows = [np.zeros((0, len(STATISTICS)), np.float32)]
    for start in range(0, len(array), _BATCH):
        batch = array[start : start + _BATCH].astype(np.float32) * scale
        rows.append(keras.ops.convert_to_numpy(layer(batch)))
    return np.concatenate(rows)

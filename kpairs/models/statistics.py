"""Classical statistics of arrays and files; see `kpairs.layers.ImageStatistics`."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.data.decode import decode
from kpairs.errors import InputError, first_line
from kpairs.layers import STATISTICS, STATISTICS_SIDE, ImageStatistics

_LARGEST = 256  # pixels of a side of files' statistics
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


def file_statistics(
    files: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """Return the statistics of image files, of their own pixels at most 256 a side.

    Larger pictures are reduced by Pillow's `thumbnail`; smaller ones than 32 pixels are enlarged.

    Args:
        files: paths.
        progress: called with how many of how many are done.

    Raises:
        InputError: a file that cannot be read.
    """
    from PIL import Image

    rows = [np.zeros((0, len(STATISTICS)), np.float32)]
    for done, file in enumerate(files, 1):
        array = decode(file)
        if array.dtype != np.uint8:  # 16 bits, or floats
            most = 65535 if array.dtype == np.uint16 else 1
            array = np.rint(np.clip(array / most, 0, 1) * 255).astype(np.uint8)
        image = Image.fromarray(array.squeeze()).convert("RGB")
        image.thumbnail((_LARGEST, _LARGEST))
        if min(image.size) < STATISTICS_SIDE:
            width, height = (max(side, STATISTICS_SIDE) for side in image.size)
            image = image.resize((width, height))
        rows.append(image_statistics(np.asarray(image)[None]))
        if progress is not None:
            progress(done, len(files))
    return np.concatenate(rows)

"""Each image seen at several places: what a network says of it, averaged, inside its graph.

The average of what is said of slightly moved images is steadier than what is said of one; that
costs a pass of the tower for each place, and no training.
"""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from kpairs.models.pair import Layers

Shape = tuple[Any, ...]  # numbers, and None for the batch

# Half a pixel down, up, to the right and to the left: the mean of an image, and of it moved by one.
_MOVED = ((-1, 0), (1, 0), (0, -1), (0, 1))  # rows and columns of where its pixels come from
PLACES = (1, 1 + len(_MOVED))  # what `test_shifts` may be: the image as it is, or all


def _kernel(channels: int) -> NDArray[np.float32]:
    """Of the convolution that gives all places of each channel, `(3, 3, channels, 5 channels)`."""
    kernel = np.zeros((3, 3, channels, PLACES[1], channels), np.float32)
    for place, (row, column) in enumerate(((0, 0), *_MOVED)):
        for pixel in ((1, 1), (1 + row, 1 + column)):
            kernel[pixel][:, place] += np.eye(channels) / 2
    return kernel.reshape(3, 3, channels, -1)


@keras.saving.register_keras_serializable("kpairs")
class HalfPixelShifts(keras.layers.Layer):
    """In inference each image at five places: as it is, and moved by half a pixel to each side.

    Moved images are interpolated bilinearly, black beyond their edges. In training images pass as
    they are.

    Inputs:
        `(batch, height, width, channels)`.

    Returns:
        `(5 batch, height, width, channels)`, an image's five places after each other; in training
        the input.
    """

    def call(self, images: KerasTensor, training: bool | None = None) -> KerasTensor:
        if training:
            return images
        _, height, width, channels = images.shape
        places = ops.conv(images, _kernel(channels), padding="same")
        places = ops.reshape(places, (-1, height, width, PLACES[1], channels))
        return ops.reshape(ops.transpose(places, (0, 3, 1, 2, 4)), (-1, height, width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, *input_shape[1:])


@keras.saving.register_keras_serializable("kpairs")
class MeanPosterior(keras.layers.Layer):
    """In inference the mean of the log-posteriors of an image's five places.

    The softmax of that is their geometric mean, normalised.

    Inputs:
        `(5 batch, classes)` logits of what `HalfPixelShifts` gave.

    Returns:
        `(batch, classes)` logits; in training the input.
    """

    def call(self, logits: KerasTensor, training: bool | None = None) -> KerasTensor:
        if training:
            return logits
        classes = logits.shape[-1]
        places = ops.reshape(ops.log_softmax(logits, axis=-1), (-1, PLACES[1], classes))
        return ops.mean(places, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, *input_shape[1:])


def shifted(tower: Layers, count: int) -> Layers:
    """Let a tower, from an image to logits, see each image at so many places in inference.

    Args:
        tower: the layers.
        count: one of `PLACES`.
    """
    return tower if count == PLACES[0] else [HalfPixelShifts(), *tower, MeanPosterior()]

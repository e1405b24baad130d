"""Each image seen at several places: what a network says of it, averaged, inside its graph.

The average of what is said of slightly moved images is steadier than what is said of one; that
costs a pass of the tower for each place, and no training.
"""

from typing import Any

import keras
from keras import KerasTensor, ops

from kpairs.models.pair import Layers

Shape = tuple[Any, ...]  # numbers, and None for the batch

# Half a pixel down, up, to the right and to the left: the mean of an image, and of it moved by one.
_MOVED = ((0, 1), (2, 1), (1, 0), (1, 2))  # first row and column in an image padded by one
PLACES = (1, 1 + len(_MOVED))  # what `test_shifts` may be: the image as it is, or all


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
        padded = ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        moved = [padded[:, r : r + height, c : c + width] for r, c in _MOVED]
        places = ops.stack([images, *((images + each) / 2 for each in moved)], axis=1)
        return ops.reshape(places, (-1, height, width, channels))

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

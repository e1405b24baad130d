"""Layers for pairs of images, beside those of Keras. None has weights.

`PosteriorComparison` compares two images by what is known of each; `HalfPixelShifts` and
`MeanPosterior` average what a network says of an image over five places.
"""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

Shape = tuple[Any, ...]  # numbers, and None for the batch

_LEAST = 1e-30  # a probability whose logarithm float32 still holds
# Half a pixel down, up, to the right and to the left: the mean of an image, and of it moved by one.
_MOVED = ((-1, 0), (1, 0), (0, -1), (0, 1))  # rows and columns that pixels come from
PLACES = (1, 1 + len(_MOVED))  # values of `test_shifts`: the image as it is, or all places


class _Precise(keras.layers.Layer):
    """A layer of logarithms: float32 where a policy asks for half precision, unless told a dtype.

    Keras advises the same for softmax layers at a model's end.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if options.get("dtype") is None and self.compute_dtype in ("float16", "bfloat16"):
            self.dtype_policy = "float32"


@keras.saving.register_keras_serializable("kpairs")
class PosteriorComparison(_Precise):
    """P(left <= right) from the class probabilities of two independent images, exactly.

    With p_i the probability that the left image is of class i and q_j that the right one is of
    class j,

        P(left <= right) = sum over i <= j of p_i q_j,

    and P(left > right) is the sum over i > j. Both are computed as logarithms, by a logsumexp over
    the logarithms of the products, so that neither vanishes, however sure the classes are; the
    comparison's gradient reaches the classes through them.

    Args:
        digits: kind of the two inputs: "logits" or "probabilities".
        output: kind of the result: "logits", "probabilities" or "sigmoid".
        **options: arguments of `keras.layers.Layer`.

    Inputs:
        `[left, right]`, each `(batch, n)`, n >= 2.

    Returns:
        For "logits" `(batch, 2)`: [log P(left > right), log P(left <= right)], whose softmax is
        the probabilities; for "probabilities" `(batch, 2)` those; for "sigmoid" `(batch, 1)`,
        P(left <= right).

    Raises:
        ValueError: an unknown kind, or inputs of other or different widths.

    Example:
    >>> import keras
    >>> from kpairs.layers import PosteriorComparison
    >>> left, right = keras.ops.array([[0.9, 0.1]]), keras.ops.array([[0.2, 0.8]])
    >>> compare = PosteriorComparison(digits="probabilities", output="sigmoid")
    >>> round(float(compare([left, right])[0, 0]), 4)  # 1 - 0.1 * 0.2
    0.98
    """

    def __init__(self, digits: str = "logits", output: str = "logits", **options: Any) -> None:
        super().__init__(**options)
        for kind, known in (
            (digits, ("logits", "probabilities")),
            (output, ("logits", "probabilities", "sigmoid")),
        ):
            if kind not in known:
                raise ValueError(f"expected one of {', '.join(known)}, received {kind!r}")
        self.digits, self.output_kind = digits, output

    def build(self, input_shape: list[Shape]) -> None:
        left, right = input_shape
        if left[-1] != right[-1] or left[-1] < 2:
            raise ValueError(
                f"expected two inputs of one width of at least 2, received {left} and {right}"
            )

    def call(self, inputs: list[KerasTensor]) -> KerasTensor:
        left, right = (self._logarithms(x) for x in inputs)
        products = ops.expand_dims(left, 2) + ops.expand_dims(right, 1)  # (batch, i, j)
        ordered = np.triu(np.ones(products.shape[1:], bool))  # i <= j
        results = [
            ops.logsumexp(ops.where(kept, products, -np.inf), axis=(1, 2))
            for kept in (~ordered, ordered)
        ]
        if self.output_kind == "sigmoid":
            return ops.exp(results[1])[:, None]
        both = ops.stack(results, axis=-1)
        return both if self.output_kind == "logits" else ops.exp(both)

    def _logarithms(self, x: KerasTensor) -> KerasTensor:
        if self.digits == "logits":
            return ops.log_softmax(x, axis=-1)
        return ops.log(ops.clip(x, _LEAST, 1.0))

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        return (input_shape[0][0], 1 if self.output_kind == "sigmoid" else 2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "digits": self.digits, "output": self.output_kind}


@keras.saving.register_keras_serializable("kpairs")
class HalfPixelShifts(keras.layers.Layer):
    """Each image at five places: as it is, and moved by half a pixel to each side.

    Only in inference; in training images pass as they are. What a network says of slightly moved
    images is steadier on average than what it says of one, for a pass of the tower a place and no
    training. `MeanPosterior` takes that average. Moved images are interpolated bilinearly, black
    beyond their edges.

    Args:
        **options: arguments of `keras.layers.Layer`.

    Inputs:
        `(batch, height, width, channels)`.

    Returns:
        `(5 batch, height, width, channels)`, an image's five places after each other; in training
        the input.

    Example:
    >>> import keras
    >>> from kpairs.layers import HalfPixelShifts
    >>> image = keras.ops.reshape([[0.0, 1.0], [0.0, 0.0]], (1, 2, 2, 1))
    >>> places = HalfPixelShifts()(image)
    >>> [[float(value) for value in place] for place in keras.ops.reshape(places, (5, 4))][1]
    [0.0, 0.5, 0.0, 0.5]
    """

    def call(self, images: KerasTensor, training: bool | None = None) -> KerasTensor:
        if training:
            return images
        _, height, width, channels = images.shape
        kernel = ops.convert_to_tensor(_kernel(channels), self.compute_dtype)
        places = ops.conv(images, kernel, padding="same")
        places = ops.reshape(places, (-1, height, width, PLACES[1], channels))
        return ops.reshape(ops.transpose(places, (0, 3, 1, 2, 4)), (-1, height, width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, *input_shape[1:])


@keras.saving.register_keras_serializable("kpairs")
class MeanPosterior(_Precise):
    """The mean of the log-posteriors of an image's five places, in inference.

    The softmax of that is their geometric mean, normalised.

    Args:
        **options: arguments of `keras.layers.Layer`.

    Inputs:
        `(5 batch, classes)` logits of what `HalfPixelShifts` gave.

    Returns:
        `(batch, classes)` logits; in training the input.

    Example:
    >>> import keras
    >>> from kpairs.layers import MeanPosterior
    >>> logits = keras.ops.log([[0.5, 0.5]] * 4 + [[0.25, 0.75]])
    >>> mean = keras.ops.softmax(MeanPosterior()(logits))
    >>> [round(float(p), 4) for p in mean[0]]
    [0.4453, 0.5547]
    """

    def call(self, logits: KerasTensor, training: bool | None = None) -> KerasTensor:
        if training:
            return logits
        classes = logits.shape[-1]
        places = ops.reshape(ops.log_softmax(logits, axis=-1), (-1, PLACES[1], classes))
        return ops.mean(places, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, *input_shape[1:])


def _kernel(channels: int) -> NDArray[np.float32]:
    """Return the kernel that gives all places of each channel, `(3, 3, channels, 5 channels)`."""
    kernel = np.zeros((3, 3, channels, PLACES[1], channels), np.float32)
    for place, (row, column) in enumerate(((0, 0), *_MOVED)):
        for pixel in ((1, 1), (1 + row, 1 + column)):
            kernel[pixel][:, place] += np.eye(channels) / 2
    return kernel.reshape(3, 3, channels, -1)

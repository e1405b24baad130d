"""Layers for images and pairs of images, beside those of Keras. `OrdinalGrades` alone has weights.

`PosteriorComparison` compares two images by what is known of each; `OrdinalGrades` turns a score
into grades, `ExpectedGrade` grades into a score; `HalfPixelShifts` and
`MeanPosterior` average what a network says of an image over five places; `ImageStatistics` measures
sharpness, noise and compression; `Resize` changes images' size,
`Mirrored` and `MirroredMean` average over an image and its mirror image.
"""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from kpairs.frozen import interpolation
from kpairs.image_statistics import STATISTICS, STATISTICS_SIDE, statistics

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


class _InInference(keras.layers.Layer):
    """A layer of inference, where the batch changes its size; in training its input passes."""

    def call(self, inputs: KerasTensor, training: bool | None = None) -> KerasTensor:
        return inputs if training else self.infer(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, *input_shape[1:])


@keras.saving.register_keras_serializable("kpairs")
class PosteriorComparison(_Precise):
    """P(left <= right) from the class probabilities of two independent images, exactly.

    With p_i the probability that the left image is of class i and q_j that the right one is of
    class j,

        P(left <= right) = sum over i <= j of p_i q_j,

    and P(left > right) is the sum over i > j. With `ties="half"` equal classes, i = j, count half
    for each: equal images give 1/2. Both are computed as logarithms, by a logsumexp over the
    logarithms of the products, so that neither vanishes, however sure the classes are; the
    comparison's gradient reaches the classes through them.

    Args:
        digits: kind of the two inputs: "logits" or "probabilities".
        output: kind of the result: "logits", "probabilities" or "sigmoid".
        ties: equal classes count as left <= right ("no_higher"), or "half" for each side.
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

    def __init__(
        self,
        digits: str = "logits",
        output: str = "logits",
        ties: str = "no_higher",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for kind, known in (
            (digits, ("logits", "probabilities")),
            (output, ("logits", "probabilities", "sigmoid")),
            (ties, ("no_higher", "half")),
        ):
            if kind not in known:
                raise ValueError(f"expected one of {', '.join(known)}, received {kind!r}")
        self.digits, self.output_kind, self.ties = digits, output, ties

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
        below = ~ordered
        if self.ties == "half":
            even = np.eye(len(ordered), dtype=bool)
            products, below = ops.where(even, products + np.log(0.5), products), below | even
        results = [
            ops.logsumexp(ops.where(kept, products, -np.inf), axis=(1, 2))
            for kept in (below, ordered)
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
        own = {"digits": self.digits, "output": self.output_kind, "ties": self.ties}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kpairs")
class OrdinalGrades(_Precise):
    """Log-probabilities of ordered grades from one score, by thresholds that are learned.

    It is the proportional-odds model (McCullagh, Regression models for ordinal data, 1980): with a
    score s and n - 1 increasing thresholds,

        P(grade <= k) = sigmoid(threshold_k - s).

    The weights are the first threshold and the inverse softplus of each gap to the next one, so
    that thresholds stay in their order. Trained by the cross-entropy of classes, from logits, the
    likelihood is exact.

    Args:
        classes: number of grades, n, at least 2.
        **options: arguments of `keras.layers.Layer`.

    Inputs:
        `(..., 1)` scores.

    Returns:
        `(..., n)` log-probabilities, which are logits.

    Raises:
        ValueError: fewer than two grades, or inputs of another width.

    Example:
    >>> import keras
    >>> from kpairs.layers import OrdinalGrades
    >>> grades = OrdinalGrades(3)
    >>> logs = keras.ops.convert_to_numpy(grades(keras.ops.array([[0.0], [9.0]])))
    >>> [[round(float(p), 2) for p in row] for row in keras.ops.exp(logs)]
    [[0.38, 0.24, 0.38], [0.0, 0.0, 1.0]]
    """

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        if classes < 2:
            raise ValueError(f"classes: expected at least 2, received {classes}")
        self.classes = classes

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] != 1:
            raise ValueError(f"expected one score, (..., 1), received {input_shape}")
        first = 1 - self.classes / 2  # thresholds from there, 1 apart: 0 is their middle
        self.first = self.add_weight((1,), keras.initializers.Constant(first), name="first")
        gap = keras.initializers.Constant(float(np.log(np.expm1(1))))
        self.gaps = self.add_weight((self.classes - 2,), gap, name="gaps")

    def call(self, scores: KerasTensor) -> KerasTensor:
        steps = ops.cumsum(ops.softplus(self.gaps))
        away = ops.concatenate([self.first, self.first + steps]) - scores  # (..., n - 1)
        # log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b)), and
        # the last is log sigmoid of the weight; exporters write log sigmoid(x) as a logarithm of 0.
        lower, upper = -ops.softplus(-away), -ops.softplus(away)
        inner = lower[..., 1:] + upper[..., :-1] - ops.softplus(-self.gaps)
        return ops.concatenate([lower[..., :1], inner, upper[..., -1:]], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}


@keras.saving.register_keras_serializable("kpairs")
class ExpectedGrade(_Precise):
    """The mean grade by the probabilities of the grades, as a score.

    Inputs:
        `(..., n)` logits of n grades.

    Returns:
        `(..., 1)` from 0 for the lowest grade to n - 1.

    Example:
    >>> import keras
    >>> from kpairs.layers import ExpectedGrade
    >>> score = ExpectedGrade()(keras.ops.log([[0.5, 0.25, 0.25]]))
    >>> round(float(score[0, 0]), 2)
    0.75
    """

    def call(self, logits: KerasTensor) -> KerasTensor:
        grades = ops.cast(ops.arange(logits.shape[-1]), self.compute_dtype)
        return ops.sum(ops.softmax(logits, axis=-1) * grades, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable("kpairs")
class HalfPixelShifts(_InInference):
    """Each image at five places: as it is, and moved by half a pixel to each side.

    Only in inference; in training images pass as they are. What a network says of slightly moved
    images is steadier on average than what it says of one, for a pass of the tower a place and no
    training. `MeanPosterior` takes that average. Moved images are interpolated bilinearly, black
    beyond their edges.

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

    def infer(self, images: KerasTensor) -> KerasTensor:
        _, height, width, channels = images.shape
        kernel = ops.convert_to_tensor(_kernel(channels), self.compute_dtype)
        places = ops.conv(images, kernel, padding="same")
        places = ops.reshape(places, (-1, height, width, PLACES[1], channels))
        return ops.reshape(ops.transpose(places, (0, 3, 1, 2, 4)), (-1, height, width, channels))


@keras.saving.register_keras_serializable("kpairs")
class MeanPosterior(_InInference, _Precise):
    """The mean of the log-posteriors of an image's five places, in inference.

    The softmax of that is their geometric mean, normalised.

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

    def infer(self, logits: KerasTensor) -> KerasTensor:
        classes = logits.shape[-1]
        places = ops.reshape(ops.log_softmax(logits, axis=-1), (-1, PLACES[1], classes))
        return ops.mean(places, axis=1)


def _kernel(channels: int) -> NDArray[np.float32]:
    """Return the kernel that gives all places of each channel, `(3, 3, channels, 5 channels)`."""
    kernel = np.zeros((3, 3, channels, PLACES[1], channels), np.float32)
    for place, (row, column) in enumerate(((0, 0), *_MOVED)):
        for pixel in ((1, 1), (1 + row, 1 + column)):
            kernel[pixel][:, place] += np.eye(channels) / 2
    return kernel.reshape(3, 3, channels, -1)


@keras.saving.register_keras_serializable("kpairs")
class Mirrored(_InInference):
    """Each image and its mirror image, left and right exchanged, after each other.

    Only in inference; in training images pass as they are. `MirroredMean` takes the mean of what a
    network gives for both.

    Inputs:
        `(batch, height, width, channels)`.

    Returns:
        `(2 batch, height, width, channels)`; in training the input.

    Example:
    >>> import keras
    >>> from kpairs.layers import Mirrored
    >>> both = Mirrored()(keras.ops.reshape([0.0, 1.0], (1, 1, 2, 1)))
    >>> [[float(value) for value in image] for image in keras.ops.reshape(both, (2, 2))]
    [[0.0, 1.0], [1.0, 0.0]]
    """

    def infer(self, images: KerasTensor) -> KerasTensor:
        both = ops.stack([images, ops.flip(images, axis=2)], axis=1)
        return ops.reshape(both, (-1, *images.shape[1:]))


@keras.saving.register_keras_serializable("kpairs")
class MirroredMean(_InInference):
    """The mean of the features of an image and its mirror image, in inference.

    Inputs:
        `(2 batch, n)` features of what `Mirrored` gave.

    Returns:
        `(batch, n)`; in training the input.

    Example:
    >>> import keras
    >>> from kpairs.layers import MirroredMean
    >>> [float(value) for value in MirroredMean()(keras.ops.array([[0.0, 2.0], [1.0, 4.0]]))[0]]
    [0.5, 3.0]
    """

    def infer(self, features: KerasTensor) -> KerasTensor:
        return ops.mean(ops.reshape(features, (-1, 2, features.shape[-1])), axis=1)


@keras.saving.register_keras_serializable("kpairs")
class Resize(keras.layers.Layer):
    """Images of another size, bilinear, and without aliasing where they become smaller.

    Each side is a matrix product, so that every backend and runtime gives the same numbers. They
    are those of `torch.nn.functional.interpolate` with `antialias=True`.

    Args:
        height: of the result, in pixels.
        width: of the result, in pixels.
        **options: arguments of `keras.layers.Layer`.

    Inputs:
        `(batch, height, width, channels)`.

    Returns:
        `(batch, height, width, channels)` of the new size.

    Example:
    >>> import keras
    >>> from kpairs.layers import Resize
    >>> image = keras.ops.reshape([0.0, 1.0, 0.0, 1.0], (1, 2, 2, 1))
    >>> [round(float(value), 2) for value in keras.ops.ravel(Resize(1, 4)(image))]
    [0.0, 0.25, 0.75, 1.0]
    """

    def __init__(self, height: int, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.height, self.width = height, width

    def call(self, images: KerasTensor) -> KerasTensor:
        down, across = (
            ops.convert_to_tensor(interpolation(int(before), after), images.dtype)
            for before, after in zip(images.shape[1:3], (self.height, self.width), strict=True)
        )
        planes = ops.matmul(down, ops.transpose(images, (0, 3, 1, 2)))
        return ops.transpose(ops.matmul(planes, ops.transpose(across)), (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


@keras.saving.register_keras_serializable("kpairs")
class ImageStatistics(_Precise):
    """54 classical statistics of each image, which need no training; `STATISTICS` names them.

    - Sharpness, at full and half size: logarithms of energies of gradients and the Laplacian
      (Pertuz et al., Analysis of focus measure operators, 2013), and shares of their values within
      half a level of zero, which are flat, and within two levels, which are smooth; gradients also
      of red - green and yellow - blue.
    - Noise of the three: the logarithm of a mean of absolute diagonal differences that large ones
      hardly move, (mean of square roots) squared (after Donoho and Johnstone, Ideal spatial
      adaptation by wavelet shrinkage, 1994).
    - Quantisation: mean logarithms of the energies of 8 x 8 DCT blocks by the sum of both
      frequencies, 1 to 14.
    - Local deviation: logarithms of its arithmetic, geometric and harmonic mean, which tell what
      lies in busy and in flat places.
    - Natural-scene statistics: magnitude, variance, skewness and kurtosis of luminance less its
      local mean, over its local deviation; mean and spread of its products with four neighbours
      (Mittal, Moorthy and Bovik, No-reference image quality assessment in the spatial domain,
      2012).

    It uses shifts, sums and matrix products, which every runtime computes alike and fast. Local
    means weigh a pixel by its distance, 1, 2, 3, 2, 1: nearly a Gaussian of deviation 7/6. All
    energies are sums of squares, which lose no digits, and never differences of such sums.

    Inputs:
        `(batch, height, width, 1 or 3)` pixels in [0, 1], at least 32 a side.

    Returns:
        `(batch, 54)` float32, finite.

    Raises:
        ValueError: inputs of another shape.

    Example:
    >>> import keras
    >>> from kpairs.layers import ImageStatistics
    >>> tuple(ImageStatistics()(keras.ops.zeros((2, 64, 64, 3))).shape)
    (2, 54)
    """

    def build(self, input_shape: Shape) -> None:
        sides, channels = input_shape[1:-1], input_shape[-1]
        if len(sides) != 2 or channels not in (1, 3) or min(map(int, sides)) < STATISTICS_SIDE:
            raise ValueError(
                f"expected (batch, height, width, 1 or 3) with sides of at least {STATISTICS_SIDE} "
                f"pixels, received {input_shape}"
            )

    def call(self, images: KerasTensor) -> KerasTensor:
        return statistics(images)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], len(STATISTICS))

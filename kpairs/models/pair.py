"""How two images meet: the only code here that knows a pair.

An architecture gets a `Pair`. A tower is a list of Keras layers for one image (or for both as
channels); `chain` applies it.
"""

from collections.abc import Callable, Iterable, Sequence

import keras
from keras import KerasTensor, ops

Layers = Sequence[Callable[[KerasTensor], KerasTensor]]
Outputs = dict[str, KerasTensor]


def chain(layers: Layers, x: KerasTensor) -> KerasTensor:
    """Apply Keras layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


class Pair:
    """Two images, and the ways in which networks look at them.

    Args:
        left: the left image, `(batch, h, w, c)`.
        right: the right image, of the same shape.
        fold: for networks that are not trained: run every shared tower once, on both images. In
            inference batch normalisation uses its moving statistics, and both give the same.
    """

    def __init__(self, left: KerasTensor, right: KerasTensor, *, fold: bool = False) -> None:
        self.left, self.right, self.fold = left, right, fold

    def stacked(self) -> KerasTensor:
        """Return both images as channels of one, `(batch, h, w, 2 c)`, left first."""
        return ops.concatenate([self.left, self.right], axis=-1)

    def separate(self, left_tower: Layers, right_tower: Layers) -> KerasTensor:
        """Run a tower of its own on each image: nothing is shared.

        Args:
            left_tower: layers from `(batch, h, w, c)` to `(batch, n)`.
            right_tower: other layers of the same shapes.

        Returns:
            `(batch, 2, n)`: index 0 of the second axis is the left image.
        """
        return ops.stack([chain(left_tower, self.left), chain(right_tower, self.right)], axis=1)

    def shared(self, tower: Layers, *, joint_statistics: bool = False) -> KerasTensor:
        """Run one tower on the left and on the right image: the weights are shared.

        Where that changes nothing, the pair is folded into the batch, so that the tower is called
        once. With batch normalisation it would: called twice, each image's batch is normalised by
        its own statistics, and the moving statistics are updated twice per step, as in the reports.

        Args:
            tower: layers from `(batch, h, w, c)` to `(batch, n)`.
            joint_statistics: fold batch normalisation too, which then normalises both images'
                batches by common statistics.

        Returns:
            `(batch, 2, n)`: index 0 of the second axis is the left image.
        """
        if not (self.fold or joint_statistics) and _normalizes_batches(tower):
            return self.separate(tower, tower)
        both = ops.stack([self.left, self.right], axis=1)
        features = chain(tower, ops.reshape(both, (-1, *self.left.shape[1:])))
        return ops.reshape(features, (-1, 2, *features.shape[1:]))


def _normalizes_batches(layers: Iterable[object]) -> bool:
    """Whether there is batch normalisation among layers, or in a model that is one of them."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization)
        or _normalizes_batches(getattr(layer, "layers", ()))
        for layer in layers
    )


def joined(features: KerasTensor) -> KerasTensor:
    """Put both images' features side by side: (batch, 2, n) -> (batch, 2 n), left first."""
    return ops.reshape(features, (-1, 2 * features.shape[-1]))


def by_side(features: KerasTensor, word: str = "digit") -> Outputs:
    """Split (batch, 2, n) into the outputs `left_<word>` and `right_<word>`, each (batch, n)."""
    return {f"left_{word}": features[:, 0], f"right_{word}": features[:, 1]}

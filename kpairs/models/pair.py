"""Two images and the ways to look at them: the only code here that knows a pair.

An architecture gets a `Pair`. A tower is a list of Keras layers for one image (or for both as
channels); `chain` applies it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain as chained
from itertools import count, groupby, zip_longest

import keras
from keras import KerasTensor, ops

Layers = Sequence[Callable[[KerasTensor], KerasTensor]]
Outputs = dict[str, KerasTensor]
_SIDE = re.compile("^(left|right)_")
_TOWER = re.compile(r"(left_|right_)?tower(_on_both)?(_\d+)?")


def chain(layers: Layers, x: KerasTensor) -> KerasTensor:
    """Apply Keras layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


class Pair:
    """Two images, and the ways in which networks look at them.

    Each way makes a tower one named layer of the network, a functional `keras.Model`.

    Args:
        left: the left image, `(batch, h, w, c)`.
        right: the right image, of the same shape.
        fold: for networks that are not trained: run every shared tower once, on both images. In
            inference batch normalisation uses its moving statistics, and both give the same.
    """

    def __init__(self, left: KerasTensor, right: KerasTensor, *, fold: bool = False) -> None:
        self.left, self.right, self.fold = left, right, fold
        self._endings = chained([""], map("_{}".format, count(1)))

    def stacked(self) -> KerasTensor:
        """Return both images as channels of one, `(batch, h, w, 2 c)`, left first."""
        return ops.concatenate([self.left, self.right], axis=-1)

    def separate(self, left_tower: Layers, right_tower: Layers) -> KerasTensor:
        """Run a tower of its own on each image, `left_tower` and `right_tower`.

        Args:
            left_tower: layers from `(batch, h, w, c)` to `(batch, n)`.
            right_tower: other layers of the same shapes.

        Returns:
            `(batch, 2, n)`: index 0 of the second axis is the left image.
        """
        ending = next(self._endings)
        left = self._tower(left_tower, f"left_tower{ending}")(self.left)
        right = self._tower(right_tower, f"right_tower{ending}")(self.right)
        return ops.stack([left, right], axis=1)

    def shared(self, tower: Layers, *, joint_statistics: bool = False) -> KerasTensor:
        """Run one tower on the left and on the right image: the weights are shared.

        With batch normalisation `tower` is called twice: each image's batch is normalised by its
        own statistics, and the moving statistics are updated twice per step, as in the reports.
        Elsewhere one call gives the same and is faster: `tower_on_both` folds the pair into the
        batch around `tower`.

        Args:
            tower: layers from `(batch, h, w, c)` to `(batch, n)`.
            joint_statistics: fold batch normalisation too, which then normalises both images'
                batches by common statistics.

        Returns:
            `(batch, 2, n)`: index 0 of the second axis is the left image.
        """
        ending = next(self._endings)
        one = self._tower(tower, f"tower{ending}")
        if not (self.fold or joint_statistics) and _normalizes_batches(tower):
            # Behind a layer of their own Keras runs the two calls in the order of all other layers
            # that are called twice, the right image first: moving statistics depend on it.
            features = keras.layers.Identity(name=f"features{ending}")
            sides = [features(one(image)) for image in (self.left, self.right)]
            return ops.stack(sides, axis=1)
        left, right = (
            _input(image, side) for image, side in ((self.left, "left"), (self.right, "right"))
        )
        batch = ops.reshape(ops.stack([left, right], axis=1), (-1, *left.shape[1:]))
        features = one(batch)
        features = ops.reshape(features, (-1, 2, *features.shape[1:]))
        both = keras.Model([left, right], features, name=f"tower_on_both{ending}")
        return both([self.left, self.right])

    def _tower(self, layers: Layers, name: str) -> keras.Model:
        image = _input(self.left, "image")
        return keras.Model(image, chain(layers, image), name=name)


def _input(image: KerasTensor, name: str) -> KerasTensor:
    return keras.Input(image.shape[1:], dtype=image.dtype, name=name)


def is_tower(layer: keras.Operation) -> bool:
    """Tell whether a layer is a tower of a `Pair`, by its name."""
    return isinstance(layer, keras.Model) and bool(_TOWER.fullmatch(layer.name))


def layers_of(model: keras.Model) -> Iterator[keras.Layer]:
    """List the layers of a network and of the models in it, in the order of its depth, each once.

    A network's weights are drawn, saved in checkpoints and trained in this order. A tower's layers
    stand in its place; the layers of `left_tower` and `right_tower`, which are equally deep, take
    turns.
    """
    for _, group in groupby(model.layers, lambda layer: _SIDE.sub("", layer.name)):
        parts = [layers_of(x) if isinstance(x, keras.Model) else [x] for x in group]
        yield from filter(None, chained.from_iterable(zip_longest(*parts)))


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """List a network's variables, as `model.variables` does, in the order of `layers_of`."""
    return list({id(v): v for layer in layers_of(model) for v in layer.variables}.values())


def _normalizes_batches(layers: Iterable[object]) -> bool:
    """Tell whether there is batch normalisation among layers, or in a model that is one of them."""
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

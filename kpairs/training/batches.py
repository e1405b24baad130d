"""Pairs in batches, the same in every epoch's repetition whatever ran before."""

import keras
import numpy as np
import torch

from kpairs import seeds
from kpairs.data.distort import distort
from kpairs.data.pairs import PairSet

EVALUATION_BATCH = 1000


class Batches(torch.utils.data.DataLoader):
    """Batches of a `PairSet` for Keras' `fit` and `evaluate`, on every backend.

    The tensors are loaded once and put in an epoch's order at once, so that a batch is a view.

    Args:
        pairs: a `PairSet`.
        outputs: names of the outputs that need targets.
        batch_size: pairs per batch; the last may be smaller.
        device: torch device of the tensors; other backends copy them from "cpu".
        order: the function that gives an epoch's order of the pairs, `(epoch,) -> indices`;
            None for the order drawn.
        renew: the function that gives an epoch's pairs, `(epoch,) -> PairSet` of as many; None
            for the pairs drawn.

    Attributes:
        epoch: which epoch the next iteration is, from 0.
    """

    def __init__(self, pairs, outputs, batch_size, device="cpu", order=None, renew=None):
        super().__init__(range(len(pairs)), batch_size=batch_size)
        self._device = device if keras.backend.backend() == "torch" else "cpu"
        self._outputs = outputs
        self._parts = self._tensors(pairs)
        self._order, self._renew, self.epoch = order, renew, 0

    def _tensors(self, pairs):
        return [  # copies: another process may have handed over views of a read-only file
            {name: torch.tensor(array, device=self._device) for name, array in part.items()}
            for part in (pairs.inputs(), pairs.targets(self._outputs))
        ]

    def __iter__(self):
        parts = self._parts if self._renew is None else self._tensors(self._renew(self.epoch))
        if self._order is not None:
            order = torch.from_numpy(self._order(self.epoch))
            parts = [{name: t[order.to(t.device)] for name, t in part.items()} for part in parts]
        for start in range(0, len(self.dataset), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield tuple({name: t[rows] for name, t in part.items()} for part in parts)

    def first(self):
        """The first batch of the order drawn: `(inputs, targets)`."""
        rows = slice(0, self.batch_size)
        return tuple({name: t[rows] for name, t in part.items()} for part in self._parts)


class Randomness(keras.callbacks.Callback):
    """Derives an epoch's order and dropout from (seed, round, epoch) alone.

    Seeds Python's, NumPy's and the backend's global generators at the beginning of each epoch.
    """

    def __init__(self, seed, round_number, batches):
        super().__init__()
        self.seed, self.round_number, self.batches = seed, round_number, batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch
        keras.utils.set_random_seed(seeds.integer(self.seed, self.round_number, "fit", epoch))


def shuffled(recipe, round_number, count):
    """The `order` of `Batches` for a recipe: drawn anew for each epoch, or None if it is fixed."""
    if not recipe.shuffle:
        return None
    return lambda epoch: seeds.generator(recipe.seed, round_number, "order", epoch).permutation(
        count
    )


def renewal(recipe, round_number, pairs):
    """The `renew` of `Batches` for a recipe: pairs and images as it changes them in each epoch.

    Epoch e's come from (seed, round, e) alone, so that a training that stopped sees the same.
    None where the recipe changes nothing.
    """
    if recipe.pairing == "drawn" and recipe.distortion == "none":
        return None

    def renew(epoch):
        rng = seeds.generator(recipe.seed, round_number, "pairing", epoch)
        new = paired_anew(pairs, recipe.pairing, rng)
        if recipe.distortion == "none":
            return new
        rng = seeds.generator(recipe.seed, round_number, "distortion", epoch)
        both = distort(np.concatenate([new.left, new.right]), recipe.distortion, rng)
        return PairSet(*np.split(both, 2), new.left_digit, new.right_digit)

    return renew


def paired_anew(pairs, pairing, rng):
    """The same images in other pairs.

    Args:
        pairs: a `PairSet`.
        pairing: "drawn" leaves them, "swapped" swaps each pair with probability 1/2, "renewed"
            draws all pairs anew from their images.
        rng: a `numpy.random.Generator`.
    """
    if pairing == "drawn":
        return pairs
    count = len(pairs)
    if pairing == "renewed":
        rows = rng.permutation(2 * count)
    else:
        first = np.arange(count) + count * rng.integers(0, 2, count)
        rows = np.concatenate([first, (first + count) % (2 * count)])
    images = np.concatenate([pairs.left, pairs.right])[rows]
    digits = np.concatenate([pairs.left_digit, pairs.right_digit])[rows]
    return PairSet(images[:count], images[count:], digits[:count], digits[count:])

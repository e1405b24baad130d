"""Pairs in batches, the same in every epoch's repetition whatever ran before."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from kpairs import seeds
from kpairs.data.pairs import WEIGHT, PairSet, Targets, Transform
from kpairs.data.stored import Stored
from kpairs.data.vary import distort, vary
from kpairs.recipes import Recipe
from kpairs.recipes.recipe import Variation
from kpairs.training.interrupt import InMainThread, Logs

Epoch = tuple[PairSet, NDArray[np.int64] | None, Transform | None]  # pairs, their order, a change
Tensors = dict[str, torch.Tensor]
_EVALUATED = 1000 * 14 * 14  # pixels of the left images of a batch that is evaluated


def evaluation_batch(pairs: PairSet) -> int:
    """Pairs per batch where nothing is trained: 1,000 digits, fewer of larger images."""
    height, width, channels = pairs.left.shape[1:]
    numbers = height * width * max(1, channels // 3)  # of features there are more than three
    return max(1, _EVALUATED // numbers)


class Batches(torch.utils.data.DataLoader[Any]):
    """Batches of a `PairSet` for Keras' `fit`, `evaluate` and `predict`, on every backend.

    A torch `DataLoader`, which Keras iterates as it is. It wraps a `keras.utils.PyDataset` in a
    loader of its own: steps then take 4 to 15 % longer, and that loader draws from torch's random
    numbers in every epoch, so that dropout would change.

    The tensors are loaded once and put in an epoch's order at once, so that a batch is a view. Of
    images that stay in their file (`Stored`) each batch is read when it is its turn.

    Args:
        pairs: a `PairSet`.
        outputs: names of the outputs that need targets.
        batch_size: pairs per batch; the last may be smaller. Default `evaluation_batch`.
        device: torch device of the tensors; other backends copy them from "cpu".
        vary: the function that gives an epoch, such as `varied`; None for the pairs as drawn.
        own_targets: functions that give the targets of outputs of one's own, by name; see
            `PairSet.targets`.

    Attributes:
        epoch: which epoch the next iteration is, from 0.
    """

    def __init__(
        self,
        pairs: PairSet,
        outputs: Collection[str],
        batch_size: int | None = None,
        device: str = "cpu",
        vary: Callable[[int], Epoch] | None = None,
        own_targets: Targets | None = None,
    ) -> None:
        numbers: Any = range(len(pairs))  # a sequence is all that a loader asks for
        self._size = batch_size or evaluation_batch(pairs)
        super().__init__(numbers, batch_size=self._size)
        self._device = device if keras.backend.backend() == "torch" else "cpu"
        self._arrays = partial(PairSet.batch, outputs=outputs, own=own_targets)
        self._pairs = pairs
        self._vary, self.epoch = vary, 0
        self._parts = [] if isinstance(pairs.left, Stored) else self._tensors(self._arrays(pairs))

    def _tensors(self, parts: Iterable[dict[str, NDArray[Any]]]) -> list[Tensors]:
        return [  # copies: another process may have handed over views of a read-only file
            {name: torch.tensor(array, device=self._device) for name, array in part.items()}
            for part in parts
        ]

    def __iter__(self) -> Any:
        vary = self._vary
        yield from self._batches(*((self._pairs, None, None) if vary is None else vary(self.epoch)))

    def _batches(
        self, pairs: PairSet, order: NDArray[np.int64] | None, transform: Transform | None
    ) -> Iterator[tuple[Any, ...]]:
        parts = self._parts
        if parts and pairs is not self._pairs:
            parts = self._tensors(self._arrays(pairs))
        if order is not None:
            places = torch.from_numpy(order).to(self._device)
            parts = [{name: t[places] for name, t in part.items()} for part in parts]
        for start in range(0, len(pairs), self._size):
            rows = slice(start, start + self._size)
            if parts:
                yield _batch({name: t[rows] for name, t in part.items()} for part in parts)
            else:
                few = pairs.take(rows if order is None else order[rows])
                yield _batch(self._tensors(self._arrays(few, transform=transform)))

    def first(self) -> tuple[Any, ...]:
        """Return the first batch as drawn: inputs, targets, and weights if there are some."""
        return next(self._batches(self._pairs, None, None))


def _batch(parts: Iterable[Tensors]) -> tuple[Any, ...]:
    """Return a batch as Keras takes it: weights, one for each pair, are no dict."""
    inputs, targets, *weights = parts
    return inputs, targets, *(part[WEIGHT] for part in weights)


def predict(model: keras.Model, pairs: PairSet) -> dict[str, NDArray[Any]]:
    """Compute a model's outputs for pairs, in inference mode, by name."""
    return model.predict(Batches(pairs, ()), callbacks=[InMainThread()], verbose=0)


class Randomness(keras.callbacks.Callback):
    """Derives an epoch's order and dropout from (seed, round, epoch) alone.

    Seeds Python's, NumPy's and the backend's global generators at the beginning of each epoch.
    """

    def __init__(self, seed: int, round_number: int, batches: Batches) -> None:
        super().__init__()
        self.seed, self.round_number, self.batches = seed, round_number, batches

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.batches.epoch = epoch
        keras.utils.set_random_seed(seeds.integer(self.seed, self.round_number, "fit", epoch))


def varied(recipe: Recipe, round_number: int, pairs: PairSet, epoch: int) -> Epoch:
    """Return an epoch's pairs, their order, and the change of images that are still to be read.

    Everything is drawn from (seed, round, epoch) alone, so that a training that stopped sees the
    same. The order is None where it is fixed.
    """
    order, draw = None, partial(seeds.generator, recipe.fit.seed, round_number, epoch=epoch)
    if recipe.fit.shuffle:
        order = draw("order").permutation(len(pairs))
    new = paired_anew(pairs, recipe.variation.pairing, draw("pairing"))
    transform = transformation(recipe.variation, draw("distortion"), draw("variation"))
    if transform is None or isinstance(new.left, Stored):
        return new, order, transform
    left, right = np.split(transform(np.concatenate([new.left, new.right])), 2)
    return replace(new, left=left, right=right), order, None


def transformation(
    wanted: Variation, distorting: np.random.Generator, varying: np.random.Generator
) -> Transform | None:
    """Return the function by which a recipe varies images in an epoch, or None.

    What it does to each call's images follows from the calls before it in the epoch.
    """
    changes = {name: getattr(wanted, name) for name in ("flip", "rotation", "crop", "brightness")}
    changes = {name: amount for name, amount in changes.items() if amount not in ("none", 0)}
    if wanted.distortion == "none" and not changes:
        return None

    def transform(images: NDArray[np.float32]) -> NDArray[np.float32]:
        if wanted.distortion != "none":
            images = distort(images, wanted.distortion, distorting)
        return vary(images, varying, **changes) if changes else images

    return transform


def paired_anew(pairs: PairSet, pairing: str, rng: np.random.Generator) -> PairSet:
    """Return the same images in other pairs.

    "drawn" leaves them, "swapped" swaps each pair with probability 1/2, "renewed" draws all pairs
    anew from their images.
    """
    if pairing == "drawn":
        return pairs
    count = len(pairs)
    both = PairSet.concat(pairs, pairs.swapped())  # on its left all images, left ones first
    if pairing == "swapped":
        return both.take(np.arange(count) + count * rng.integers(0, 2, count))
    rows = rng.permutation(2 * count)
    first, second = both.take(rows[:count]), both.take(rows[count:])
    new = PairSet(first.left, second.left, first.left_digit, second.left_digit)
    return new if pairs.probability is None else new.with_even_ties()

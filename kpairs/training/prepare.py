"""The pairs of one round, drawn from its seed, and the rescaling of their pixels."""

import math
from dataclasses import dataclass

import numpy as np

from kpairs import seeds
from kpairs.data.augment import augment_pairs
from kpairs.data.pairs import PairSet, image_sides
from kpairs.data.splits import Split, draw_pairs
from kpairs.data.stored import Stored
from kpairs.errors import InputError
from kpairs.recipes import Recipe

Rescaling = tuple[float, float]  # scale and offset


@dataclass(frozen=True)
class Prepared:
    """The pairs of one round.

    Attributes:
        train: training pairs, augmented.
        validation: pairs of other training images, by which the best epoch is chosen, or None.
        test: test pairs.
        rescaling: scale and offset from pixels in [0, 1] to what the network sees, or None.
        judged: whether targets of the comparison are probabilities, and classes may be unknown.
    """

    train: PairSet
    validation: PairSet | None
    test: PairSet
    rescaling: Rescaling | None
    judged: bool


def prepare(
    recipe: Recipe,
    number: int,
    train: PairSet,
    test: PairSet,
    normalized_by: PairSet | None = None,
    *,
    whole: bool = False,
) -> Prepared:
    """Prepare the pairs of one round for training.

    Images are standardised by the mean and deviation of `normalized_by`, by default the training
    pairs. With `whole` all pairs train, and none validates. Raises InputError where no pairs are
    left to train or to validate, or pixels cannot be standardised.
    """
    train, validation = (train, None) if whole else set_aside(recipe, number, train)
    train = augmented(recipe, number, train)
    rescaling = rescaling_of(recipe.data.normalization, normalized_by or train)
    return Prepared(train, validation, test, rescaling, train.probability is not None)


def draw_round(
    recipe: Recipe, number: int, train_split: Split, test_split: Split
) -> tuple[PairSet, PairSet]:
    """Draw the training pairs, not augmented, and the test pairs of one round.

    Raises InputError for a split that holds too few images, or only ties.
    """
    rng = seeds.generator(recipe.fit.seed, number, "pairs")
    train = draw_split(recipe, train_split, recipe.data.pairs, rng)
    return train, draw_split(recipe, test_split, recipe.data.test_pairs, rng)


def draw_split(recipe: Recipe, split: Split, count: int, rng: np.random.Generator) -> PairSet:
    """Draw pairs of a split, as `draw_pairs` does, with the ties that the recipe wants."""
    pairs = draw_pairs(split, count, rng, margin=recipe.data.margin)
    if recipe.data.ties == "half" and pairs.probability is None:
        pairs = pairs.with_even_ties()
    if (pairs.comparison == 0.5).all():
        raise InputError(
            f"{split.name}: expected pairs of which one image ranks higher, drew only ties "
            f"({count:,}); draw more pairs, or from another seed"
        )
    return pairs


def set_aside(recipe: Recipe, number: int, pairs: PairSet) -> tuple[PairSet, PairSet | None]:
    """Divide one round's training pairs into those that train and those that validate, or None.

    Images are divided, so that none is on both sides; pairs with an image on each are left out.
    Raises InputError where no pairs are left on one side, or only ties to validate by.
    """
    share = recipe.data.validation
    if not share:
        return pairs, None
    rng = seeds.generator(recipe.fit.seed, number, "validation")
    sides = image_sides(pairs, (1 - share, share), rng)
    train, validation = (pairs.take((sides == side).all(axis=0)) for side in (0, 1))
    if any((part.comparison == 0.5).all() for part in (train, validation)):  # or there are none
        raise InputError(
            f"validation: expected pairs on both sides of a share of {share:g}, received "
            f"{len(train)} to train and {len(validation)} to validate of {len(pairs)}"
        )
    return train, validation


def augmented(recipe: Recipe, number: int, train: PairSet) -> PairSet:
    """Apply a recipe's augmentation to one round's training pairs."""
    if recipe.variation.augmentation == "none":
        return train
    return augment_pairs(train, seeds.generator(recipe.fit.seed, number, "augmentation"))


def rescaling_of(normalization: str, pairs: PairSet) -> Rescaling | None:
    """Return scale and offset from pixels in [0, 1] to what the network sees, or None.

    "standardize" subtracts the mean and divides by the standard deviation (n - 1) of all pixels of
    the training pairs, two scalars that are then applied to any other image too; "raw" means
    0..255. Raises InputError for pixels that are all alike.
    """
    if normalization == "none":
        return None
    if normalization == "raw":
        return 255.0, 0.0
    mean, deviation = _mean_and_deviation(pairs)
    if deviation == 0:
        raise InputError("the training images are all of one grey: they cannot be standardised")
    return 1 / deviation, -mean / deviation


def _mean_and_deviation(pairs: PairSet) -> tuple[float, float]:
    """Return the mean and deviation of all pixels; for stored images, from a 256-bin histogram."""
    if isinstance(pairs.left, Stored) and isinstance(pairs.right, Stored):
        counts = pairs.left.histogram() + pairs.right.histogram()
        levels, number = np.arange(256) / 255, counts.sum()
        mean = (counts @ levels) / number
        return float(mean), math.sqrt(counts @ (levels - mean) ** 2 / (number - 1))
    pixels = np.stack([pairs.left, pairs.right]).astype(np.float64)
    return float(pixels.mean()), float(pixels.std(ddof=1))

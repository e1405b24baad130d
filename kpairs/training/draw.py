"""The pairs of one round, drawn from its seed."""

import numpy as np

from kpairs import seeds
from kpairs.data import PairSet, augment_pairs, draw_pairs
from kpairs.data.pairs import image_sides
from kpairs.data.splits import Compared, Split
from kpairs.errors import InputError
from kpairs.recipes import Recipe


def draw_round(
    recipe: Recipe,
    number: int,
    train_digits: Split,
    test_digits: Split,
    *,
    augment: bool = True,
) -> tuple[PairSet, PairSet]:
    """Draw the training pairs (augmented unless told otherwise) and the test pairs of one round.

    Args:
        recipe: says how many, from which seed, and which augmentation.
        number: the round, from 1.
        train_digits: the training split.
        test_digits: the test split.
        augment: False for the pairs as drawn.

    Returns:
        `(training pairs, test pairs)`.

    Raises:
        InputError: a split that holds too few images.
    """
    rng = seeds.generator(recipe.fit.seed, number, "pairs")
    train_pairs = draw_split(recipe, train_digits, recipe.data.pairs, rng)
    test_pairs = draw_split(recipe, test_digits, recipe.data.test_pairs, rng)
    return (augmented(recipe, number, train_pairs) if augment else train_pairs), test_pairs


def draw_split(recipe: Recipe, split: Split, count: int, rng: np.random.Generator) -> PairSet:
    """Draw pairs of a split, as `draw_pairs` does, with the ties that the recipe wants."""
    pairs = draw_pairs(split, count, rng)
    half = recipe.data.ties == "half" and not isinstance(split, Compared)
    return pairs.with_even_ties() if half else pairs


def set_aside(recipe: Recipe, number: int, pairs: PairSet) -> tuple[PairSet, PairSet | None]:
    """Divide one round's training pairs into those that train and those that validate.

    Images are divided, so that none is on both sides; pairs with an image on each are left out.

    Args:
        recipe: says which share of the images validates.
        number: the round, from 1.
        pairs: its training pairs.

    Returns:
        `(training pairs, validation pairs)`; None for the second where the recipe has none.

    Raises:
        InputError: no pairs are left on one side, or only ties to validate by.
    """
    if not recipe.data.validation:
        return pairs, None
    rng = seeds.generator(recipe.fit.seed, number, "validation")
    sides = image_sides(pairs, (1 - recipe.data.validation, recipe.data.validation), rng)
    train, validation = (pairs.take((sides == side).all(axis=0)) for side in (0, 1))
    if not len(train) or not len(validation) or (validation.comparison == 0.5).all():
        raise InputError(
            f"validation: expected pairs on both sides of a share of {recipe.data.validation:g}, "
            f"received {len(train)} to train and {len(validation)} to validate of {len(pairs)}"
        )
    return train, validation


def augmented(recipe: Recipe, number: int, train_pairs: PairSet) -> PairSet:
    """Apply a recipe's augmentation to one round's training pairs."""
    if recipe.variation.augmentation == "none":
        return train_pairs
    return augment_pairs(train_pairs, seeds.generator(recipe.fit.seed, number, "augmentation"))

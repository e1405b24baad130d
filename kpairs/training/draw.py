"""The pairs of one round, drawn from its seed."""

import numpy as np

from kpairs import seeds
from kpairs.data import Digits, PairSet, augment_pairs, draw_pairs
from kpairs.data.splits import Compared
from kpairs.recipes import Recipe


def draw_round(
    recipe: Recipe,
    number: int,
    train_digits: Digits | Compared,
    test_digits: Digits | Compared,
    *,
    augment: bool = True,
) -> tuple[PairSet, PairSet]:
    """Draw the training pairs (augmented unless told otherwise) and the test pairs of one round.

    Args:
        recipe: says how many, from which seed, and which augmentation.
        number: the round, from 1.
        train_digits, test_digits: the two splits.
        augment: False for the pairs as drawn.

    Returns:
        `(training pairs, test pairs)`.

    Raises:
        InputError: a split that holds too few images.
    """
    rng = seeds.generator(recipe.seed, number, "pairs")
    train_pairs = draw_split(recipe, train_digits, recipe.pairs, rng)
    test_pairs = draw_split(recipe, test_digits, recipe.test_pairs, rng)
    return (augmented(recipe, number, train_pairs) if augment else train_pairs), test_pairs


def draw_split(
    recipe: Recipe, split: Digits | Compared, count: int, rng: np.random.Generator
) -> PairSet:
    """Draw pairs of a split, as `draw_pairs` does, with the ties that the recipe wants."""
    pairs = draw_pairs(split, count, rng)
    half = recipe.ties == "half" and not isinstance(split, Compared)
    return pairs.with_even_ties() if half else pairs


def augmented(recipe: Recipe, number: int, train_pairs: PairSet) -> PairSet:
    """Apply a recipe's augmentation to one round's training pairs."""
    if recipe.augmentation == "none":
        return train_pairs
    return augment_pairs(train_pairs, seeds.generator(recipe.seed, number, "augmentation"))

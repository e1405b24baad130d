"""The pairs of one round, drawn from its seed."""

from kpairs import seeds
from kpairs.data import Digits, PairSet, augment_pairs, draw_pairs
from kpairs.recipes import Recipe


def draw_round(
    recipe: Recipe, number: int, train_digits: Digits, test_digits: Digits, *, augment: bool = True
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
    train_pairs = draw_pairs(train_digits, recipe.pairs, rng)
    test_pairs = draw_pairs(test_digits, recipe.test_pairs, rng)
    return (augmented(recipe, number, train_pairs) if augment else train_pairs), test_pairs


def augmented(recipe: Recipe, number: int, train_pairs: PairSet) -> PairSet:
    """Apply a recipe's augmentation to one round's training pairs."""
    if recipe.augmentation == "none":
        return train_pairs
    return augment_pairs(train_pairs, seeds.generator(recipe.seed, number, "augmentation"))

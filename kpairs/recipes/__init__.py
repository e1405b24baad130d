"""Recipes: everything that a training needs, spelled out; one per architecture.

A recipe is data. Nothing here imports Keras, so that the command line can check names, numbers and
loss weights before it spends seconds on importing it.
"""

from kpairs.recipes.loss_weights import (
    check_loss_weights,
    format_loss_weights,
    parse_loss_weights,
)
from kpairs.recipes.recipe import OPTIMIZERS, Recipe
from kpairs.recipes.table import RECIPES, for_arch, load_recipe, recipe_of

__all__ = [
    "OPTIMIZERS",
    "RECIPES",
    "Recipe",
    "check_loss_weights",
    "for_arch",
    "format_loss_weights",
    "load_recipe",
    "parse_loss_weights",
    "recipe_of",
]

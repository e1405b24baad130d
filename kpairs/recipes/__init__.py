"""Recipes: everything that a training needs, spelled out; studies: settings of them.

A recipe is data. Nothing here imports Keras, so that the command line can check names, numbers and
loss weights before it spends seconds on importing it.
"""

from kpairs.recipes.recipe import (
    FIELDS,
    FOLDS,
    LINEAR,
    LINEAR_GRADES,
    OPTIMIZERS,
    READ_BY,
    SOLVED,
    Recipe,
)
from kpairs.recipes.study import Ingredient, Setting, Study, Trial
from kpairs.recipes.table import default_recipe, register, weights
from kpairs.recipes.texts import (
    check_arguments,
    check_loss_weights,
    format_argument,
    format_loss_weights,
    parse_argument,
    parse_loss_weights,
)

__all__ = [
    "FIELDS",
    "FOLDS",
    "LINEAR",
    "LINEAR_GRADES",
    "OPTIMIZERS",
    "READ_BY",
    "SOLVED",
    "Ingredient",
    "Recipe",
    "Setting",
    "Study",
    "Trial",
    "check_arguments",
    "check_loss_weights",
    "default_recipe",
    "format_argument",
    "format_loss_weights",
    "parse_argument",
    "parse_loss_weights",
    "register",
    "weights",
]

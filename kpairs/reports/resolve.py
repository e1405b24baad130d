"""From a name on the command line to a recipe."""

from dataclasses import replace
from pathlib import Path

from kpairs.errors import InputError, UsageError, unknown
from kpairs.recipes import Recipe, format_loss_weights
from kpairs.reports import RECIPES


def recipe_of(arch):
    """The recipe that an architecture's report trained it with.

    Raises:
        UsageError: an unknown architecture.
    """
    if arch not in RECIPES:
        raise unknown("architecture", arch, RECIPES)
    return RECIPES[arch]


def load_recipe(name):
    """The recipe of an architecture by its name, or the one in a JSON file or run folder.

    Raises:
        UsageError: neither a known architecture nor a file.
        InputError: a file that is not a recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    try:
        path = path / "recipe.json" if path.is_dir() else path
        if not path.is_file():
            raise unknown(
                "recipe (an architecture's name, a run or its recipe.json)", name, RECIPES
            )
        return Recipe.from_json(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot read the recipe: {error}") from error


def for_arch(recipe, arch):
    """A recipe for another architecture: the same training of that one's outputs and layers.

    Loss weights of outputs that the architecture lacks are dropped, and so are arguments that it
    does not take. Widths are always its own, and so is what only it takes.

    Raises:
        UsageError: an unknown architecture, or one with outputs that the recipe's loss weights do
            not name.
    """
    own = recipe_of(arch)
    if arch == recipe.arch:
        return recipe
    missing = [name for name in own.loss_weights if name not in recipe.loss_weights]
    if missing:
        raise UsageError(
            f"the recipe gives no loss weight for {', '.join(missing)} of {arch}: "
            f"expected loss weights such as {format_loss_weights(own.loss_weights)}"
        )
    return replace(
        recipe,
        arch=arch,
        source=f"{recipe.source}; for {arch}",
        loss_weights={name: recipe.loss_weights[name] for name in own.loss_weights},
        widths=own.widths,
        dropout=own.dropout if None in (own.dropout, recipe.dropout) else recipe.dropout,
        activation=own.activation and (recipe.activation or own.activation),
    )

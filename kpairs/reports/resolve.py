"""From names and overrides to a recipe."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from kpairs.errors import InputError, UsageError, unknown
from kpairs.files import MAX_JSON_BYTES, read_bytes
from kpairs.recipes import (
    OPTIMIZERS,
    Recipe,
    check_arguments,
    format_loss_weights,
    in_words,
    parse_argument,
    parse_loss_weights,
)
from kpairs.reports import RECIPES


def recipe_of(arch: str) -> Recipe:
    """Return the recipe that an architecture's report trained it with, or another by its own name.

    Raises:
        UsageError: an unknown architecture.
    """
    return _recipe("architecture", arch)


def _recipe(kind: str, arch: str) -> Recipe:
    if arch not in RECIPES and entry_points(group="kpairs.architectures"):
        import_module("kpairs.networks")  # with it come those of installed packages
    if arch not in RECIPES:
        raise unknown(kind, arch, RECIPES)
    return RECIPES[arch]


def load_recipe(name: str) -> Recipe:
    """Return the recipe of an architecture by its name, or the one in a JSON file or run folder.

    Raises:
        UsageError: neither a known architecture nor a file.
        InputError: a file that is not a recipe.
    """
    path = Path(name)
    path = path / "recipe.json" if path.is_dir() else path
    if name in RECIPES or not path.exists():
        return _recipe("recipe (an architecture's name, a run or its recipe.json)", name)
    return read_recipe(path)


def read_recipe(path: Path) -> Recipe:
    """Read the recipe in a JSON file.

    Raises:
        InputError: no regular file, or not a recipe.
        UsageError: a field's value is refused.
    """
    data = read_bytes(path, "recipe", MAX_JSON_BYTES)
    try:
        return Recipe.from_json(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot read the recipe: {error}") from error


def resolve(
    arch: str | None,
    base: str | None = None,
    *,
    loss_weights: str | None = None,
    arch_options: Mapping[str, str] | None = None,
    optimizer_options: Mapping[str, float] | None = None,
    **changes: Any,
) -> Recipe:
    """Return the recipe that names and overrides describe, checked as far as that goes here.

    Whether the architecture takes its arguments, and its layers their values, shows when it is
    built: this needs no Keras.

    Args:
        arch: the architecture; None for the one of `base`.
        base: whose recipe to take, as `load_recipe` does; None for the architecture's own.
        loss_weights: text as `kpairs.recipes.parse_loss_weights` takes it.
        arch_options: the architecture's arguments by name, as text.
        optimizer_options: hyperparameters of the optimizer by name. Another optimizer than the
            recipe's comes with its own defaults.
        **changes: other fields of the recipe.

    Raises:
        UsageError: neither `arch` nor `base`, an unknown name, or a value that is refused.
        InputError: a file that is not a recipe.
    """
    if base is None:
        if arch is None:
            raise UsageError("expected an architecture or a recipe, received neither")
        recipe = recipe_of(arch)
    else:
        recipe = in_words(load_recipe(base), "digit")
    arch = recipe.arch if base is None or arch is None else arch  # a recipe may have its own name
    if loss_weights is not None:
        # The given weights, not the recipe's, must fit the architecture.
        outputs = tuple(recipe_of(arch).loss_weights)
        weights = parse_loss_weights(loss_weights.replace("grade", "digit"), outputs, arch)
        recipe = replace(recipe, loss_weights=weights)
    if arch != recipe.arch:
        recipe = for_arch(recipe, arch)
    if changes.get("data", recipe.data) != recipe.data:  # what its own images decided
        recipe = replace(recipe, classes=None, columns=None, ink=None)
    optimizer = changes.get("optimizer", recipe.optimizer)
    if optimizer != recipe.optimizer and optimizer in OPTIMIZERS:
        changes["optimizer_options"] = {**OPTIMIZERS[optimizer], **(optimizer_options or {})}
    elif optimizer_options:
        changes["optimizer_options"] = {**recipe.optimizer_options, **optimizer_options}
    return replace(recipe, **changes).with_options(**_parsed(recipe, arch_options or {}))


def _parsed(recipe: Recipe, arch_options: Mapping[str, str]) -> dict[str, Any]:
    """Arguments from text, each of the kind that the recipe's own value is."""
    known = {**RECIPES.get(recipe.arch, recipe).arch_options, **recipe.arch_options}
    check_arguments(recipe.arch, dict.fromkeys(arch_options), dict.fromkeys(known))
    return {name: parse_argument(name, text, known[name]) for name, text in arch_options.items()}


def for_arch(recipe: Recipe, arch: str) -> Recipe:
    """Return a recipe for another architecture: the same training of that one's outputs and layers.

    Loss weights of outputs that the architecture lacks are dropped, and so are arguments that it
    does not take. What takes several values, such as widths, is always its own, and so is what
    only it takes.

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
        arch_options={
            name: value if isinstance(value, tuple) else recipe.arch_options.get(name, value)
            for name, value in own.arch_options.items()
        },
    )

"""Helpers to write down the recipes of a report: a base, and what differs from it."""

from collections.abc import Mapping
from typing import Any

from kpairs.recipes.recipe import Recipe


def weights(comparison: float, digit: float | None = None) -> dict[str, float]:
    """Return loss weights by output: of the comparison, and of both digits if there are heads."""
    sides = {} if digit is None else {"left_digit": digit, "right_digit": digit}
    return {"comparison": comparison, **sides}


def register(
    recipes: dict[str, Recipe],
    base: Recipe,
    names: str,
    arch_options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> None:
    """Put a base with changes into `recipes` for each architecture of a list.

    Args:
        recipes: the dict, by architecture.
        base: the `Recipe` that they vary.
        names: architectures, with spaces between them.
        arch_options: their own arguments, beside those of the base.
        **changes: other fields, by their flat names.
    """
    options = {**base.network.options, **(arch_options or {})}
    for name in names.split():
        recipes[name] = base.replace(arch=name, arch_options=options, **changes)


def default_recipe(arch: str, outputs: tuple[str, ...], arch_options: Mapping[str, Any]) -> Recipe:
    """Return a recipe for an architecture that nobody wrote one for.

    Adam at its usual rate on standardised pixels, every output's loss weighed alike.

    Args:
        arch: its name.
        outputs: its outputs' names.
        arch_options: its own arguments.
    """
    return Recipe.of(
        arch=arch,
        origin="kpairs' default recipe",
        loss_weights=dict.fromkeys(outputs, 1.0),
        arch_options=arch_options,
        normalization="standardize",
        epochs=25,
        batch_size=50,
        optimizer="adam",
        learning_rate=1e-3,
        initialization="keras",
    )

"""The space of a search: recipes, values to try, and bounds of a candidate's parameters."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kpairs.data.source import open_source
from kpairs.errors import UsageError, unknown
from kpairs.networks import parameters_of
from kpairs.recipes import Recipe, Trial, check_arguments, format_argument, format_loss_weights
from kpairs.recipes.searched import SEARCHED, Between
from kpairs.training.network import architecture_of, completed


@dataclass(frozen=True)
class Search:
    """The candidates of a search and their folds.

    Images are standardised, where a recipe does that, by mean and deviation of all training pairs.

    Raises:
        UsageError: an unknown field, no values, folds that the pairs do not fill, two recipes of
            one architecture or of different pairs.
    """

    # A base `Recipe` for each architecture that is compared. Their data, pairs and seed are the
    # same, and give the training pairs: those of round 1 of a training.
    recipes: tuple[Recipe, ...]
    # Values to try of each field in `SEARCHED` and each argument that all the architectures take,
    # each a sequence or a `Between`.
    space: Mapping[str, Sequence[Any] | Between] = field(default_factory=dict)
    folds: int = 5  # of the cross-validation
    # `(least, most)` trainable parameters of a candidate, ends included.
    parameters: tuple[float, float] = (0, math.inf)
    classes: int = field(init=False, default=0)  # number of ranks of the data

    def __post_init__(self) -> None:
        if len({(r.data.source, r.data.pairs, r.fit.seed) for r in self.recipes}) != 1:
            raise UsageError("expected recipes of the same data, pairs and seed, to compare them")
        if len(set(self.archs)) < len(self.recipes):
            raise UsageError("expected one recipe for each architecture, received two for one")
        data = self.recipes[0].data
        source = open_source(data.source, **data.read_by)
        known = tuple(completed(recipe, source)[0] for recipe in self.recipes)
        object.__setattr__(self, "recipes", known)
        object.__setattr__(self, "classes", len(source.classes))
        pairs = self.recipes[0].data.pairs
        if not 2 <= self.folds <= pairs:
            raise UsageError(
                f"folds: expected 2 to the {pairs} training pairs, received {self.folds}"
            )
        for name, values in self.space.items():
            if name not in SEARCHED:
                self._check_argument(name)
            if isinstance(values, Between):
                for recipe in self.recipes:  # refused now, not when such a value is drawn
                    for value in (values.low, values.high):
                        parameters_of(_changed(recipe, {name: value}), len(source.classes))
            elif not len(values):
                raise UsageError(f"{name}: expected at least one value to try, received none")

    def _check_argument(self, name: str) -> None:
        taken = [set(recipe.network.options) for recipe in self.recipes]
        if not any(name in arguments for arguments in taken):
            raise unknown("hyperparameter", name, [*SEARCHED, *set.union(*taken)])
        for recipe in self.recipes:
            check_arguments(
                recipe.network.arch, {name: None}, dict.fromkeys(recipe.network.options)
            )

    @property
    def archs(self) -> list[str]:
        """The architectures' names."""
        return [recipe.network.arch for recipe in self.recipes]

    @property
    def budget(self) -> str:
        """The bounds of a candidate's parameters, in words."""
        least, most = self.parameters
        return f"{least:,.0f} to {most:,.0f} parameters"

    def candidate(self, arch: str, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Recipe:
        """Give an architecture's recipe these values of fields and arguments in `space`.

        An optimizer other than the recipe's comes with its own default options.
        """
        recipe = self.recipes[self.archs.index(arch)].replace(rounds=1, reported_rounds=None)
        recipe = _changed(recipe, dict(values))
        architecture_of(recipe)
        return recipe

    def jobs(self, recipe: Recipe) -> list[Trial]:
        """List the trainings of a candidate: one per fold, the same folds for every candidate."""
        recipe = recipe.replace(test_pairs=1)  # none are drawn
        return [Trial(recipe, fold, self.folds) for fold in range(1, self.folds + 1)]

    def label(self, recipe: Recipe) -> str:
        """Name a candidate by what tells it from the others: "auxws batch_size=50 dropout=0.2"."""
        values = [
            f"{name}={_text(_value(recipe, name))}"
            for name, values in self.space.items()
            if isinstance(values, Between) or len(values) > 1
        ]
        return " ".join([recipe.network.arch, *values])

    def allows(self, recipe: Recipe) -> bool:
        """Tell whether a candidate's parameters are as many as wanted."""
        return self.parameters[0] <= parameters_of(recipe, self.classes) <= self.parameters[1]


def _changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with these values of fields and of arguments of its architecture."""
    fields = {name: value for name, value in values.items() if name in SEARCHED}
    options = {name: value for name, value in values.items() if name not in SEARCHED}
    return recipe.replace(**fields, arch_options={**recipe.network.options, **options})


def _value(recipe: Recipe, name: str) -> Any:
    return recipe.flat()[name] if name in SEARCHED else recipe.network.options[name]


def _text(value: Any) -> str:
    return format_loss_weights(value) if isinstance(value, Mapping) else format_argument(value)

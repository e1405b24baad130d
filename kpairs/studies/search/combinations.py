"""Every combination of a search's values."""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kpairs.errors import UsageError
from kpairs.recipes import Recipe, Trial
from kpairs.recipes.searched import Between
from kpairs.studies.run import run_jobs
from kpairs.studies.search.space import Search

_MANY = 10_000


def grid(search: Search) -> list[Recipe]:
    """List the recipe of every combination of a search's values within its number of parameters.

    Raises UsageError for a range, more than 10,000 combinations, a value that the recipe or the
    architecture refuses, or no combination within the parameters.
    """
    tried: dict[str, Sequence[Any]] = {}
    for name, values in search.space.items():
        if isinstance(values, Between):
            raise UsageError(
                f"{name}: a grid takes values, received the range {values.low:g}..{values.high:g}; "
                "a sampler such as tpe draws from ranges"
            )
        tried[name] = values
    count = len(search.recipes) * math.prod(map(len, tried.values()))
    if count > _MANY:
        raise UsageError(f"expected at most {_MANY:,} combinations, received {count:,}")
    found = {}
    for arch, *chosen in itertools.product(search.archs, *tried.values()):
        recipe = search.candidate(arch, zip(tried, chosen, strict=True))
        if search.allows(recipe):
            found[search.jobs(recipe)[0].id] = recipe  # a value given twice is tried once
    if not found:
        raise UsageError(f"expected {search.budget}: none of {count:,} combinations has them")
    return list(found.values())


def run_grid(
    search: Search, folder: str | Path, recipes: Sequence[Recipe], **options: Any
) -> Iterator[Trial]:
    """Cross-validate candidates, and yield each fold's `Trial` as it is finished.

    A fold that has a result in the folder is not trained again; `options` are those of `run_jobs`.
    """
    # Fold by fold: stopped half-way, every candidate has some.
    jobs = [search.jobs(recipe)[fold] for fold in range(search.folds) for recipe in recipes]
    yield from run_jobs(jobs, folder, **options)

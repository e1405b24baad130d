"""The ranking of a search's candidates, with confidence intervals."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kpairs.files import write_rows, write_text
from kpairs.networks import parameters_of
from kpairs.numbers import interval_of
from kpairs.recipes import Recipe, Trial
from kpairs.studies.rows import job_row
from kpairs.studies.run import load_result
from kpairs.studies.search.space import Search


@dataclass(frozen=True)
class Ranked:
    """A candidate's outcome."""

    recipe: Recipe
    label: str  # the values by which it differs from the others
    parameters: int  # trainable ones
    errors: tuple[float, ...]  # validation error of the comparison in percent, of each fold
    # 95 % interval of its error minus the first's, see `behind`; None for the first. The first was
    # chosen as the least of many, so that these intervals flatter it a little.
    behind: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """Mean error over the folds, in percent."""
        return statistics.fmean(self.errors)

    @property
    def std(self) -> float | None:
        """Standard deviation (n - 1) over the folds; None for one."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None


def rank(search: Search, folder: str | Path, recipes: Iterable[Recipe]) -> list[Ranked]:
    """Rank the candidates with all folds finished, none diverged, least mean error first.

    Also writes `search.csv`, one row per training, and `best.json`, the first one's recipe, which
    `kpairs train --recipe` takes, into the folder.
    """
    folder = Path(folder)
    rows, ranked = [], []
    for recipe in {search.jobs(r)[0].id: r for r in recipes}.values():  # tpe may repeat itself
        label, jobs = search.label(recipe), search.jobs(recipe)
        results = [(job, load_result(folder, job)) for job in jobs]
        rows += [{**job_row(j, r), "setting": label} for j, r in results if r and r["row"]]
        if errors := fold_errors(folder, jobs):
            ranked.append(Ranked(recipe, label, parameters_of(recipe, search.classes), errors))
    if rows:
        write_rows(folder / "search.csv", rows)
    if not ranked:
        return []
    first, *others = sorted(ranked, key=lambda r: r.mean)
    source = f"best of {len(ranked)} by {search.folds}-fold cross-validation (kpairs search)"
    write_text(folder / "best.json", first.recipe.replace(origin=source).to_json())
    return [first, *(replace(r, behind=behind(r.errors, first.errors)) for r in others)]


def fold_errors(folder: str | Path, jobs: Iterable[Trial]) -> tuple[float, ...] | None:
    """Read the validation errors of a candidate's folds, in percent; None if one is missing."""
    results = [load_result(folder, job) for job in jobs]
    if any(result is None or result["row"] is None for result in results):
        return None
    return tuple(result["row"]["test"]["comparison_error_pct"] for result in results if result)


def behind(errors: Sequence[float], best: Sequence[float]) -> tuple[float, float]:
    """Give the 95 % interval of the errors minus the best's, by a paired t-test over the folds."""
    return interval_of(np.subtract(errors, best))

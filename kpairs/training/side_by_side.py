"""Runs side by side: the differences of their recipes and of their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kpairs.errors import InputError
from kpairs.numbers import interval, interval_of, welch
from kpairs.recipes import Recipe
from kpairs.training.run import Run

# Fields that decide which pairs a round draws: where they are equal, rounds can be paired.
_DRAWN_BY = (
    *("data", "columns", "words", "pairs", "test_pairs"),
    *("seed", "ties", "margin", "held_out"),
)
_NAMES = ("origin", "rounds", "reported_rounds", "reported_epoch", "validate_every")


def compare_runs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Compare runs, two at least and each with a finished round, with the first of them.

    Returns:
        A JSON-ready dict for each run: `run` (its folder), `rounds` (how many are finished),
        `recipe` (the fields that differ among the runs, by name), `test` (mean and deviation of
        each error over rounds, in percent), `cross_validated` (whether those are errors on pairs of
        left-out images, since all pairs train), and for all but the first `difference`: of the test
        error of the comparison, its `mean` and 95 % interval `low` to `high` (None for one round)
        over the `rounds` that both have. Where both drew the same pairs in them, `paired`, it is
        that of the differences round by round; else Welch's.
    """
    if len(runs) < 2:
        raise InputError(f"expected at least two runs, received {len(runs)}")
    for run in runs:
        if not run.rounds:
            raise InputError(f"{run.path}: expected a finished round, received none")
    recipes = [_flat(run.recipe) for run in runs]
    names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
    different = [n for n in names if any(r.get(n) != recipes[0].get(n) for r in recipes)]
    rows = []
    for run, recipe in zip(runs, recipes, strict=True):
        row = {
            "run": str(run.path),
            "rounds": len(run.rounds),
            "recipe": {name: recipe.get(name) for name in different},
            "test": run.metrics["summary"]["test"],
            "cross_validated": run.cross_validated,
        }
        if run is not runs[0]:
            row["difference"] = _difference(runs[0], run)
        rows.append(row)
    return rows


def _flat(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe, nested ones as `field.name`."""
    flat: dict[str, Any] = {}
    for name, value in recipe.flat().items():
        if name not in _NAMES:
            parts = value if isinstance(value, dict) else {None: value}
            flat |= {f"{name}.{part}" if part else name: v for part, v in parts.items()}
    return flat


def _difference(first: Run, other: Run) -> dict[str, Any]:
    drawn = [{name: run.recipe.flat()[name] for name in _DRAWN_BY} for run in (first, other)]
    paired = drawn[0] == drawn[1] and first.images_digest == other.images_digest
    common = [number for number in first.rounds if number in other.rounds]
    found: dict[str, Any] = {"paired": paired, "rounds": len(common), "low": None, "high": None}
    ours, theirs = (
        np.array([run.row(number)["test"]["comparison_error_pct"] for number in common])
        for run in (other, first)
    )
    if not common:
        return {**found, "mean": None}
    found["mean"] = mean = float((ours - theirs).mean())
    if len(common) > 1:
        spreads = ours.std(ddof=1), len(common), theirs.std(ddof=1), len(common)
        low, high = interval_of(ours - theirs) if paired else interval(mean, *welch(*spreads))
        found |= {"low": float(low), "high": float(high)}
    return found

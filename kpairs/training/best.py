"""The best of a few trainings, by the same held-out images: a linear score, or a trained network.

Linear on frozen features is best from few pairs; from more pairs a network that learns all weights
may be better. Neither is always so, and so both are trained.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.special import ndtri

from kpairs.data.pairs import PairSet
from kpairs.data.source import Source
from kpairs.errors import UsageError
from kpairs.files import write_json
from kpairs.judging.agreement import independent_pairs
from kpairs.models.backbone import STATISTICS
from kpairs.models.outputs import decisions
from kpairs.recipes import FIELDS, FOLDS, LINEAR, Recipe
from kpairs.reports.resolve import recipe_of
from kpairs.training.batches import predict
from kpairs.training.device import compute
from kpairs.training.linear import on_features
from kpairs.training.measures import image_numbers
from kpairs.training.network import (
    architecture_of,
    build_round,
    completed,
    load_round,
    with_backbone,
)
from kpairs.training.prepare import draw_round
from kpairs.training.round import Machine
from kpairs.training.run import Run, claim
from kpairs.training.train import train_source

TUNED, RIVAL = "fine-tuned", "ranker"
_TUNED_EPOCHS = 3
# Seconds of one core for a pair that passes, and the pixels of an image that they are for.
_COSTS = {LINEAR: (0.03, 128**2), TUNED: (0.1, 128**2), RIVAL: (0.001, 64**2)}


def train_best(
    recipe: Recipe,
    source: Source,
    out: str | Path | None = None,
    *,
    given: Mapping[str, Any] | None = None,
    machine: Machine | None = None,
    console: Console | None = None,
) -> Run:
    """Train a linear score, its fine-tuned form and `ranker`, and keep the best of them.

    All train on the same pairs, and are tested on the same pairs of images that did not train.
    Another one than the linear one is kept where it errs less and the 95 % interval of the
    difference does not hold 0. `best.json` in the run's folder has the errors and the differences;
    the other runs stay in its folder `candidates`.

    Args:
        recipe: the recipe of the linear score, with `held_out="images"`.
        source: the images.
        out: the run folder; default `runs/<date>-best`.
        given: fields of the optimizer and of the fit that `ranker` trains by in place of its
            recipe's, by their flat names.
        machine: how trainings run.
        console: where progress is shown.

    Returns:
        The run that is kept.

    Raises:
        UsageError: graded images, folds, or several rounds.
        KpairsError: see `kpairs.train`.
    """
    machine, console = machine or Machine(), console or Console(quiet=True)
    recipes = {
        name: completed(candidate, source)[0]
        for name, candidate in candidates(recipe, source, given or {}).items()
    }
    minutes = max(1, round(sum(seconds(name, one) for name, one in recipes.items()) / 60))
    console.print(
        f"best of {len(recipes)} trainings ({', '.join(recipes)}): very roughly {minutes} min"
    )
    build_round(recipes[RIVAL], 1, len(source.classes))  # its layers may refuse the images' size
    place = claim(out, "best")
    runs, wrong = {}, {}
    try:
        for name, one in recipes.items():
            console.print(f"{name}:")
            folder = place / "candidates" / name
            runs[name] = train_source(one, source, folder, machine=machine, console=console)
            wrong[name], pairs = _errs(runs[name], source, machine)
    except BaseException:
        if not any((place / "candidates").glob("*/recipe.json")):  # refused: as if never begun
            shutil.rmtree(place, ignore_errors=True)
        raise
    rows = choose(wrong, *np.split(image_numbers(pairs), 2))
    for line in _lines(rows, place):
        console.print(line, highlight=False, soft_wrap=True)
    return _promoted(runs, place, rows)


def candidates(recipe: Recipe, source: Source, given: Mapping[str, Any]) -> dict[str, Recipe]:
    """Return the recipes of the trainings that are compared, by name; see `train_best`."""
    if recipe.network.arch != LINEAR:
        raise UsageError(
            "best: expected compared pairs or scores; choose for graded images by hand, with "
            "kpairs train linear_grades, kpairs train posterior and kpairs compare"
        )
    if source.vectors is not None:
        raise UsageError(f"best: expected images; {source.name} has features, for linear alone")
    if recipe.data.held_out == FOLDS:
        raise UsageError("held_out: expected images, by which the best is chosen; received folds")
    if recipe.fit.rounds > 1:
        raise UsageError(f"rounds: expected 1 to choose the best, received {recipe.fit.rounds}")
    linear = with_backbone(recipe.replace(held_out="images", fine_tune=0), source)
    found = {LINEAR: linear}
    if linear.network.backbone != STATISTICS and not str(linear.network.backbone).endswith(".onnx"):
        found[TUNED] = linear.replace(fine_tune=recipe.fit.fine_tune or _TUNED_EPOCHS)
    shared = {
        name: value
        for name, value in linear.flat().items()
        if FIELDS[name].group in ("data", "variation")
    }
    of_fit = {
        name: value
        for name, value in given.items()
        if FIELDS[name].group in ("optimizer", "fit") and name != "fine_tune"
    }
    return {**found, RIVAL: recipe_of(RIVAL).replace(**shared, **of_fit)}


def seconds(name: str, recipe: Recipe) -> float:
    """Return very roughly how many seconds of one core a candidate trains, of a completed recipe.

    Measured on photographs and digits; processors differ by more than a factor of two.
    """
    each, usual = _COSTS[name]
    pixels = math.prod(recipe.data.image_size or (1, 1))  # of small ones a step costs no less
    if name != RIVAL:  # whose network sees images of its own size
        pixels = (recipe.network.options.get("size") or 128) ** 2
    return each * recipe.data.pairs * recipe.fit.epochs * max(pixels / usual, 1.0)


def _errs(run: Run, source: Source, machine: Machine) -> tuple[NDArray[np.bool_], PairSet]:
    """Return where a run errs on its test pairs without ties, and those pairs."""
    recipe, network = run.recipe, architecture_of(run.recipe)
    pairs = draw_round(recipe, 1, *source.splits(recipe.pixels))[1]
    pairs = pairs.take(np.flatnonzero(pairs.comparison != 0.5))
    with compute(machine.device, machine.threads):
        model, seen = load_round(run, 1), pairs
        if network.linear:
            model, (seen,) = on_features(model, recipe, pairs)
        said = predict(model, seen)["comparison"]
    kind = network.outputs["comparison"]
    return decisions(said, kind) != (pairs.comparison > 0.5), pairs


def choose(
    wrong: Mapping[str, NDArray[np.bool_]],
    left_image: NDArray[np.int64],
    right_image: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Return each candidate's error and its difference from the linear one's, and who is kept.

    Args:
        wrong: `(n,)` by candidate, where it errs; the linear one first.
        left_image: `(n,)` numbers of images.
        right_image: likewise.

    Returns:
        A JSON-ready dict for each: `candidate`, `pairs`, `error_pct`, `kept`, and for all but the
        first `difference`, see there.
    """
    first, *others = (
        {"candidate": name, "pairs": len(errs), "error_pct": 100 * float(errs.mean())}
        for name, errs in wrong.items()
    )
    rows: list[dict[str, Any]] = [first]
    for row in others:
        errs = wrong[str(row["candidate"])], wrong[LINEAR]
        rows.append({**row, "difference": difference(*errs, left_image, right_image)})
    better = [row for row in rows[1:] if row["difference"]["high"] < 0]
    kept = min(better, key=lambda row: row["error_pct"], default=first)["candidate"]
    return [{**row, "kept": row["candidate"] == kept} for row in rows]


def difference(
    errs: NDArray[np.bool_],
    first: NDArray[np.bool_],
    left_image: NDArray[np.int64],
    right_image: NDArray[np.int64],
) -> dict[str, float]:
    """Return the difference of two errors on the same pairs, in percent, with its 95 % interval.

    The interval is that of Agresti and Min (Simple improved confidence intervals for comparing
    matched proportions, 2005), with as many pairs as `independent_pairs` counts.

    Args:
        errs: `(n,)`, where one errs.
        first: where the one errs that it is held against.
        left_image: `(n,)` numbers of images.
        right_image: likewise.

    Example:
        >>> images, first = np.arange(200), np.arange(200) < 20
        >>> found = difference(np.arange(200) < 8, first, images, images + 200)
        >>> {name: round(value, 1) for name, value in found.items()}
        {'mean': -6.0, 'low': -9.3, 'high': -2.5}
    """
    worse = errs.astype(np.float64) - first
    count = independent_pairs(worse, left_image, right_image)
    mean, differ = float(worse.mean()), float((worse != 0).mean())
    middle = mean * count / (count + 2)
    spread = np.sqrt(differ * count + 1 - (mean * count) ** 2 / (count + 2)) / (count + 2)
    half = float(ndtri(0.975) * spread)
    return {"mean": 100 * mean, "low": 100 * (middle - half), "high": 100 * (middle + half)}


def _lines(rows: list[dict[str, Any]], place: Path) -> list[str]:
    """Say how candidates compare, which is kept and why, and where the others are."""
    linear, *others = rows
    lines = [
        f"{row['candidate']} errs on {row['error_pct']:.1f} % of {row['pairs']:,} test pairs, "
        f"{LINEAR} on {linear['error_pct']:.1f} %; difference {found['mean']:+.1f} points "
        f"(95 %: {found['low']:+.1f} to {found['high']:+.1f})"
        for row in others
        for found in [row["difference"]]
    ]
    kept = next(row for row in rows if row["kept"])
    unclear = kept is linear and any(row["difference"]["low"] <= 0 for row in others)
    why = "no clear difference" if unclear else "clearly better, by the 95 % interval"
    return [
        *lines,
        f"{kept['candidate']} is kept: {why}. The same test pairs chose it, so its error is "
        f"slightly optimistic. The others are in {place / 'candidates'}",
    ]


def _promoted(runs: Mapping[str, Run], place: Path, rows: list[dict[str, Any]]) -> Run:
    """Move the files of the kept run up into the folder of all, which becomes the run."""
    write_json(place / "best.json", rows)
    kept = next(runs[row["candidate"]].path for row in rows if row["kept"])
    for file in sorted(kept.iterdir(), key=lambda file: file.name == "recipe.json"):
        file.rename(place / file.name)  # the recipe last: it makes the folder a run
    kept.rmdir()
    return Run.open(place)

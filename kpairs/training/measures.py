"""Measures of a network that compares: accuracy, AUC, rank correlations, calibration.

Each number is as scipy or a textbook defines it, of the pairs, or of the images in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from kpairs.data import PairSet
from kpairs.data.stored import Stored
from kpairs.models.outputs import OF_CLASS, probabilities

BINS = 10  # of the reliability plot
SIDES = ("left", "right")


def measures(
    values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str], pairs: PairSet, classes: int
) -> dict[str, Any]:
    """Measure what a network said of pairs.

    Args:
        values: its outputs by name, each `(n, width)`.
        outputs: their kinds.
        pairs: the n pairs.
        classes: number of grades or digits.

    Returns:
        A JSON-ready dict, of which what cannot be told is left out:

        - `pairs`, `ties`: how many, and of how many neither image ranks higher;
        - `accuracy_pct`: of the others, whose decision is right;
        - `within_groups`, `across_groups`: `pairs` of images of one group and of two, without ties,
          and their `accuracy_pct`;
        - `auc`: how often a pair whose right image ranks higher gets a higher P(left <= right) than
          one whose left image does;
        - `tie_margin`, `margin`: mean distance of P(left <= right) from 1/2, of ties and of others;
        - `calibration_error`: the expected one of P(left <= right), and `reliability`:
          its bins, each with `pairs`, mean `predicted` and mean `judged`;
        - `images`, `kendall_tau_b`, `spearman`: of the images of known class, how their scores (or
          expected classes) and classes agree in rank;
        - `confusion`: how often an image of each class (rows) was taken for which (columns).
    """
    held = probabilities(values["comparison"], outputs["comparison"])[:, 1]
    judged = pairs.comparison.astype(np.float64)
    found = {**_of_pairs(held, judged), **_calibration(held, judged)}
    if pairs.group is not None:
        found |= _of_groups(held, judged, pairs.group)
    number, graded = _images(pairs)
    known = graded >= 0
    both = _scores(values, outputs)
    score = None if both is None else _mean_by_image(both[:, None], number)[:, 0]
    if score is not None and len(set(graded[known].tolist())) > 1:
        found["images"] = int(known.sum())
        if np.ptp(score[known]) > 0:
            kendall = stats.kendalltau(score[known], graded[known]).statistic
            found["kendall_tau_b"] = float(kendall)
            found["spearman"] = float(stats.spearmanr(score[known], graded[known]).statistic)
    of_class = _of_class(outputs)
    if of_class and known.any():
        decided = _mean_by_image(np.concatenate([values[n] for n in of_class]), number)
        found["confusion"] = _confusion(graded[known], decided[known].argmax(1), classes)
    return found


def _of_pairs(held: NDArray[np.float64], judged: NDArray[np.float64]) -> dict[str, Any]:
    higher, lower, tied = judged > 0.5, judged < 0.5, judged == 0.5
    found: dict[str, Any] = {"pairs": len(judged), "ties": int(tied.sum())}
    if not tied.all():
        right = (held > 0.5) == higher
        found["accuracy_pct"] = 100 * float(right[~tied].mean())
        found["margin"] = float(np.abs(held - 0.5)[~tied].mean())
    if tied.any():
        found["tie_margin"] = float(np.abs(held - 0.5)[tied].mean())
    if higher.any() and lower.any():
        wins = stats.mannwhitneyu(held[higher], held[lower]).statistic
        found["auc"] = float(wins / (higher.sum() * lower.sum()))
    return found


def _of_groups(
    held: NDArray[np.float64], judged: NDArray[np.float64], group: NDArray[np.int64]
) -> dict[str, Any]:
    within, right = group[:, 0] == group[:, 1], (held > 0.5) == (judged > 0.5)
    found = {}
    for name, part in (("within_groups", within), ("across_groups", ~within)):
        if (rows := part & (judged != 0.5)).any():
            accuracy = 100 * float(right[rows].mean())
            found[name] = {"pairs": int(rows.sum()), "accuracy_pct": accuracy}
    return found


def _calibration(held: NDArray[np.float64], judged: NDArray[np.float64]) -> dict[str, Any]:
    """Guo et al. (2017), of the probability of one of two outcomes, in equal bins."""
    place = np.minimum((held * BINS).astype(int), BINS - 1)
    count, predicted, judged_ = (
        np.bincount(place, weights, BINS) for weights in (None, held, judged)
    )
    bins = [
        {"pairs": int(n), "predicted": float(p / n), "judged": float(j / n)}
        for n, p, j in zip(count, predicted, judged_, strict=True)
        if n
    ]
    error = float(np.abs(predicted - judged_).sum() / len(held))
    return {"calibration_error": error, "reliability": bins}


def _images(pairs: PairSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each image, left ones first, and by number its class: -1 if unknown.

    Where people graded an image differently, its class is the median.
    """
    ids = np.arange(2 * len(pairs))
    if isinstance(pairs.left, Stored) and isinstance(pairs.right, Stored):
        ids = np.concatenate([pairs.left.rows, pairs.right.rows])
    _, number = np.unique(ids, return_inverse=True)
    given = np.concatenate([pairs.left_digit, pairs.right_digit])
    classes = np.full(number.max() + 1, -1)
    medians = pd.Series(given[given >= 0]).groupby(number[given >= 0]).median()
    classes[medians.index] = medians
    return number, classes


def _of_class(outputs: Mapping[str, str]) -> list[str]:
    """Return the outputs that tell each side's digit or grade, left first."""
    return [name for name in OF_CLASS if name in outputs]


def image_scores(
    values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str]
) -> NDArray[np.float64] | None:
    """Return a score of each image of n pairs of an image with itself, or its expected class.

    Args:
        values: a network's outputs by name, each `(n, width)`.
        outputs: their kinds.

    Returns:
        `(n,)`, or None where a network only compares.
    """
    both = _scores(values, outputs)
    return None if both is None else np.mean(np.split(both, 2), axis=0)


def _scores(
    values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str]
) -> NDArray[np.float64] | None:
    """Return scores or expected classes of left, then of right images, `(2 n,)`."""
    if "left_score" in outputs:
        return np.concatenate([values[f"{side}_score"] for side in SIDES])[:, 0].astype(np.float64)
    if names := _of_class(outputs):
        each = [probabilities(values[name], outputs[name]) for name in names]
        found: NDArray[np.float64] = np.concatenate(each) @ np.arange(each[0].shape[1])
        return found
    return None


def _mean_by_image(values: NDArray[Any], number: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means of the rows of each image: `(2 n, width)` -> `(images, width)`."""
    sums = np.zeros((number.max() + 1, values.shape[1]))
    np.add.at(sums, number, values)
    return sums / np.bincount(number)[:, None]


def _confusion(
    true: NDArray[np.int64], decided: NDArray[np.int64], classes: int
) -> list[list[int]]:
    counts = np.bincount(true * classes + decided, minlength=classes**2)
    table: list[list[int]] = counts.reshape(classes, classes).tolist()
    return table

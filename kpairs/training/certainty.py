"""Checks of what a network says of its own sureness: temperature, and coverage of intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from kpairs.data.pairs import PairSet
from kpairs.judging.linear import Linear
from kpairs.judging.reference import chance, fit_temperature, flattened
from kpairs.models.outputs import probabilities
from kpairs.training.linear import featured
from kpairs.training.measures import calibration, image_numbers, scores_by_image

_LEAST = 100  # pairs from which a temperature is fitted
_TINY = 1e-300  # a probability whose logarithm is finite
Floats = NDArray[np.float64]


class Uncertainty(NamedTuple):
    """Laplace's uncertainty of scores.

    Attributes:
        variance: `(n,)` of each pair's difference of scores.
        deviation: standard error of each image's score, in the order of `image_numbers`.
    """

    variance: Floats
    deviation: Floats


def uncertainty(model: keras.Model, head: Linear, pairs: PairSet) -> Uncertainty:
    """Return the uncertainty of a linear model's scores.

    Args:
        model: the model.
        head: the solution behind it.
        pairs: pairs of images.
    """
    (known,) = featured(model, pairs)
    left: Any = known.left
    right: Any = known.right
    variance = head.difference_variance(left.features, left.rows, right.rows)
    return Uncertainty(variance, head.deviation(left.features))


def certainty(
    values: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, str],
    pairs: PairSet,
    truth: Floats | None = None,
    known: Uncertainty | None = None,
) -> dict[str, Any]:
    """Check a network's probabilities and standard errors on pairs that did not train.

    Args:
        values: its outputs by name, each `(n, width)`.
        outputs: their kinds.
        pairs: the n pairs.
        truth: see `kpairs.training.measures.measures`.
        known: the uncertainty of its scores, or None.

    Returns:
        A JSON-ready dict, of which what cannot be told is left out:

        - `temperature`: by which logits are to be divided (Guo et al., 2017), from 100 pairs on,
          and `calibrated_error`: the expected calibration error with it and with standard errors,
          each half of the pairs by the temperature of the other half;
        - `standard_error`: the median one of images' scores;
        - `coverage_pct`: how often a score's 95 % interval holds the true score. True values are
          turned into scores by an increasing function that fits best (isotonic regression).
    """
    held = probabilities(values["comparison"], outputs["comparison"])[:, 1]
    margin = np.log(np.maximum(held, _TINY)) - np.log(np.maximum(1 - held, _TINY))
    margin /= 1 if known is None else flattened(known.variance)
    answer, found = pairs.comparison.astype(np.float64), dict[str, Any]()
    if len(pairs) >= _LEAST:
        found["temperature"] = fit_temperature(margin, answer)
        halves = slice(None, None, 2), slice(1, None, 2)
        sure = np.empty_like(margin)
        for one, other in (halves, halves[::-1]):
            sure[one] = chance(margin[one], 0, fit_temperature(margin[other], answer[other]))
        found["calibrated_error"] = calibration(sure, answer)["calibration_error"]
    score = scores_by_image(values, outputs, image_numbers(pairs))
    if known is not None and score is not None:
        found["standard_error"] = float(np.median(known.deviation))
        if truth is not None and len(set(truth[np.isfinite(truth)].tolist())) > 1:
            rows = np.isfinite(truth)
            found["coverage_pct"] = coverage_pct(score[rows], known.deviation[rows], truth[rows])
    return found


def coverage_pct(score: Floats, deviation: Floats, truth: Floats) -> float:
    """Return how often `score ± 1.96 deviation` holds the true score, in percent.

    Values are turned into scores by isotonic regression, which draws them to the middle as scores
    have errors; they are spread again so that true scores regress on scores with slope 1. Grades
    that are coarse beside the errors hold different true scores: the share is then too low.

    Args:
        score: `(n,)` of images.
        deviation: their standard errors.
        truth: their true values, on any scale.
    """
    from scipy.optimize import isotonic_regression

    _, place, count = np.unique(truth, return_inverse=True, return_counts=True)
    mean = np.bincount(place, score) / count
    mapped = isotonic_regression(mean, weights=count).x[place]
    if np.ptp(mapped) > 0:
        mapped = score.mean() + (mapped - mapped.mean()) * score.var() / mapped.var()
    return 100 * float(np.mean(np.abs(score - mapped) <= 1.96 * deviation))

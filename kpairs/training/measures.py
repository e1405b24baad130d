"""Measures of a network that compares: accuracy, ranks, grades, judges, calibration.

Each number is as scipy, scikit-learn or a textbook defines it, of the pairs, or of the images in
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from kpairs.data.pairs import PairSet
from kpairs.data.stored import Stored
from kpairs.data.words import OF_CLASS
from kpairs.judging import Judgements, agreement
from kpairs.judging.agreement import interval_by_images, share
from kpairs.models.outputs import probabilities

BINS = 10  # of the reliability plot
SIDES = ("left", "right")
_LEAST_MAPPED = 10  # images, for a function of four parameters
Floats = NDArray[np.float64]


def measures(
    values: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, str],
    pairs: PairSet,
    classes: int,
    truth: Floats | None = None,
    trained: tuple[Mapping[str, NDArray[Any]], PairSet] | None = None,
) -> dict[str, Any]:
    """Measure what a network said of pairs.

    Args:
        values: its outputs by name, each `(n, width)`.
        outputs: their kinds.
        pairs: the n pairs.
        classes: number of grades or digits.
        truth: true value of each image, in the order of `image_numbers`, NaN where nobody knows;
            default its grade.
        trained: outputs for training pairs, and these, of a network that scores: their images
            tell which scores mean which grade.

    Returns:
        A JSON-ready dict, of which what cannot be told is left out:

        - `pairs`, `ties`: how many, and of how many neither image ranks higher;
        - `accuracy_pct`: of the others, whose decision is right, with `accuracy_low_pct` and
          `accuracy_high_pct`, its 95 % interval by images: pairs that share an image count as
          related (Aronow, Samii and Assenova, 2015);
        - `within_groups`, `across_groups`: `pairs` of images of one group and of two, without ties,
          and their `accuracy_pct`;
        - `auc`: how often a pair whose right image ranks higher gets a higher P(left <= right) than
          one whose left image does;
        - `tie_margin`, `margin`: mean distance of P(left <= right) from 1/2, of ties and of others;
        - `calibration_error`: the expected one of P(left <= right), and `reliability`:
          its bins, each with `pairs`, mean `predicted` and mean `judged`;
        - `images`, `kendall_tau_b`, `spearman`, `pearson`: of the images of known value, how their
          scores (or expected classes) agree with it;
        - `mapped`: `pearson` and `rmse` after the scores are mapped to the values by a logistic
          function of four parameters, as studies of image quality do (VQEG, 2000);
        - `groups`: of groups of images of known value, how many `groups` there are, the mean `ndcg`
          and `best_pct`, how often the highest score is that of a best image;
        - `confusion`: how often an image of each class (rows) was taken for which (columns), with
          the quadratic weighted `kappa` and the mean absolute error `grade_mae`. Of a network that
          only scores, the last two alone (see `trained`);
        - `judges`: of each judge the share of answers that the network gives too, and that other
          judges give of the same pairs: `judge`, `network` and `others`, each of the last two with
          `share_pct`, `low_pct`, `high_pct` and `of`.
    """
    held = probabilities(values["comparison"], outputs["comparison"])[:, 1]
    judged = pairs.comparison.astype(np.float64)
    number = image_numbers(pairs)
    found = {**_of_pairs(held, judged, number), **calibration(held, judged)}
    if pairs.group is not None:
        found |= _of_groups(held, judged, pairs.group)
    if pairs.judge is not None:
        found["judges"] = _of_judges(held, judged, number, pairs.judge)
    graded = _grades(pairs, number)
    truth = true_values(pairs) if truth is None else truth
    known = np.isfinite(truth)
    score = scores_by_image(values, outputs, number)
    if score is not None and len(set(truth[known].tolist())) > 1:
        found |= _of_images(score[known], truth[known])
        if pairs.group is not None:
            group = np.zeros(len(truth), np.int64)
            group[number] = pairs.group.T.ravel()
            found |= _best_of_groups(score[known], truth[known], group[known])
    of_class = _of_class(outputs)
    if of_class and (graded >= 0).any():
        decided = _mean_by_image(np.concatenate([values[n] for n in of_class]), number)
        found |= _of_grades(graded[graded >= 0], decided[graded >= 0].argmax(1), classes)
    elif trained is not None and score is not None and (graded >= 0).any():
        grades = _grades_by_score(score, *trained, outputs)
        found |= _of_grades(graded[graded >= 0], grades[graded >= 0], classes)
        del found["confusion"]
    return found


def tells_grades_by_score(outputs: Mapping[str, str], pairs: PairSet) -> bool:
    """Tell whether a network that only scores was trained on images of known grades."""
    known = max(pairs.left_digit.max(initial=-1), pairs.right_digit.max(initial=-1)) >= 0
    return "left_score" in outputs and not _of_class(outputs) and bool(known)


def _grades_by_score(
    score: Floats, values: Mapping[str, NDArray[Any]], pairs: PairSet, outputs: Mapping[str, str]
) -> NDArray[np.int64]:
    """Return the grade nearest to a score's mean grade among training images.

    The mean rises with the score (isotonic regression), so that grades have thresholds.
    """
    from sklearn.isotonic import IsotonicRegression

    number = image_numbers(pairs)
    grade, known = _grades(pairs, number), cast(Floats, scores_by_image(values, outputs, number))
    told = IsotonicRegression(out_of_bounds="clip").fit(known[grade >= 0], grade[grade >= 0])
    return np.rint(told.predict(score)).astype(np.int64)


def _of_pairs(held: Floats, judged: Floats, number: NDArray[np.int64]) -> dict[str, Any]:
    higher, lower, tied = judged > 0.5, judged < 0.5, judged == 0.5
    found: dict[str, Any] = {"pairs": len(judged), "ties": int(tied.sum())}
    if not tied.all():
        right = (held > 0.5) == higher
        low, high = interval_by_images(right[~tied], *(side[~tied] for side in np.split(number, 2)))
        found["accuracy_pct"] = 100 * float(right[~tied].mean())
        found |= {"accuracy_low_pct": 100 * low, "accuracy_high_pct": 100 * high}
        found["margin"] = float(np.abs(held - 0.5)[~tied].mean())
    if tied.any():
        found["tie_margin"] = float(np.abs(held - 0.5)[tied].mean())
    if higher.any() and lower.any():
        wins = stats.mannwhitneyu(held[higher], held[lower]).statistic
        found["auc"] = float(wins / (higher.sum() * lower.sum()))
    return found


def _of_groups(held: Floats, judged: Floats, group: NDArray[np.int64]) -> dict[str, Any]:
    within, right = group[:, 0] == group[:, 1], (held > 0.5) == (judged > 0.5)
    found = {}
    for name, part in (("within_groups", within), ("across_groups", ~within)):
        if (rows := part & (judged != 0.5)).any():
            accuracy = 100 * float(right[rows].mean())
            found[name] = {"pairs": int(rows.sum()), "accuracy_pct": accuracy}
    return found


def calibration(held: Floats, judged: Floats) -> dict[str, Any]:
    """Return the expected calibration error (Guo et al., 2017) and its bins, of equal widths.

    Args:
        held: `(n,)` probabilities of one of two outcomes.
        judged: `(n,)` what came: 1, 0, or 1/2 for a tie.
    """
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


def image_numbers(pairs: PairSet) -> NDArray[np.int64]:
    """Return the number of each image, left ones first, `(2 n,)`: one number for equal ones."""
    ids = np.arange(2 * len(pairs))
    if isinstance(pairs.left, Stored) and isinstance(pairs.right, Stored):
        ids = np.concatenate([pairs.left.rows, pairs.right.rows])
    return np.unique(ids, return_inverse=True)[1]


def _grades(pairs: PairSet, number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each image's class by its number, -1 if unknown; of several ratings the median."""
    given = np.concatenate([pairs.left_digit, pairs.right_digit])
    classes = np.full(number.max() + 1, -1)
    medians = pd.Series(given[given >= 0]).groupby(number[given >= 0]).median()
    classes[medians.index] = medians
    return classes


def true_values(pairs: PairSet) -> Floats:
    """Return each image's grade in the order of `image_numbers`, NaN where nobody graded it."""
    graded = _grades(pairs, image_numbers(pairs))
    return np.where(graded >= 0, graded, np.nan)


def _of_images(score: Floats, truth: Floats) -> dict[str, Any]:
    """Compare the scores of images with their true values."""
    found: dict[str, Any] = {"images": len(truth)}
    if _differ(score):
        found["kendall_tau_b"] = float(stats.kendalltau(score, truth).statistic)
        found["spearman"] = float(stats.spearmanr(score, truth).statistic)
        found["pearson"] = float(stats.pearsonr(score, truth).statistic)
        if (mapped := _mapped(score, truth)) is not None:
            found["mapped"] = {
                "pearson": float(stats.pearsonr(mapped, truth).statistic),
                "rmse": float(np.sqrt(np.mean((mapped - truth) ** 2))),
            }
    return found


def _mapped(score: Floats, truth: Floats) -> Floats | None:
    """Map scores to values by the logistic function of VQEG; None for few images."""
    from scipy.optimize import least_squares
    from scipy.special import expit

    def logistic(x: Floats) -> Floats:
        top, bottom, middle, width = x
        found: Floats = bottom + (top - bottom) * expit((score - middle) / (abs(width) + 1e-9))
        return found

    if len(score) < _LEAST_MAPPED:
        return None
    start = truth.max(), truth.min(), score.mean(), score.std()
    mapped = logistic(least_squares(lambda x: logistic(x) - truth, start, max_nfev=1000).x)
    return mapped if _differ(mapped) else None


def _differ(values: Floats) -> bool:
    """Tell whether values differ by more than rounding, so that they can correlate."""
    return bool(np.ptp(values) > 1e-9 * np.abs(values).max())


def _best_of_groups(score: Floats, truth: Floats, group: NDArray[np.int64]) -> dict[str, Any]:
    """Compare the order within each group whose values differ with the true one."""
    from sklearn.metrics import ndcg_score

    gains, best = [], []
    for one in np.unique(group):
        own, said = truth[group == one], score[group == one]
        if len(own) > 1 and np.ptp(own) > 0:
            gains.append(ndcg_score((own - truth.min())[None], said[None]))
            best.append(own[said.argmax()] == own.max())
    if not gains:
        return {}
    return {
        "groups": {
            "groups": len(gains),
            "ndcg": float(np.mean(gains)),
            "best_pct": 100 * float(np.mean(best)),
        }
    }


def _of_grades(true: NDArray[np.int64], decided: NDArray[np.int64], classes: int) -> dict[str, Any]:
    """Compare classes that a network told with the true ones."""
    from sklearn.metrics import cohen_kappa_score, confusion_matrix, mean_absolute_error

    labels = np.arange(classes)
    found: dict[str, Any] = {
        "confusion": confusion_matrix(true, decided, labels=labels).tolist(),
        "grade_mae": float(mean_absolute_error(true, decided)),
    }
    if len({*true.tolist(), *decided.tolist()}) > 1:
        kappa = cohen_kappa_score(true, decided, labels=labels, weights="quadratic")
        found["kappa"] = float(kappa)
    return found


def _of_judges(
    held: Floats, judged: Floats, number: NDArray[np.int64], judge: NDArray[np.str_]
) -> list[dict[str, Any]]:
    """Compare each judge's answers with the network's, and with those of other judges."""
    names, code = np.unique(judge, return_inverse=True)
    left, right = np.split(number, 2)
    answers = Judgements(left, right, judged, int(number.max()) + 1, code)
    others, _ = agreement(answers)
    rows = []
    for one, name in enumerate(names.tolist()):
        own = (code == one) & (judged != 0.5)
        same = (held > 0.5)[own] == (judged > 0.5)[own]
        agrees = share(float(same.sum()), len(same))
        row: dict[str, Any] = {"judge": name}
        for who, found in (("network", agrees), ("others", others[one])):
            if found.of:
                row[who] = {"share_pct": 100 * found.value, "of": found.of}
                row[who] |= {f"{n}_pct": 100 * getattr(found, n) for n in ("low", "high")}
        rows.append(row)
    return rows


def _of_class(outputs: Mapping[str, str]) -> list[str]:
    """Return the outputs that tell each side's digit or grade, left first."""
    return [name for name in OF_CLASS if name in outputs]


def image_scores(values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str]) -> Floats | None:
    """Return a score of each image of n pairs of an image with itself, or its expected class.

    Args:
        values: a network's outputs by name, each `(n, width)`.
        outputs: their kinds.

    Returns:
        `(n,)`, or None where a network only compares.
    """
    both = _scores(values, outputs)
    return None if both is None else np.mean(np.split(both, 2), axis=0)


def scores_by_image(
    values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str], number: NDArray[np.int64]
) -> Floats | None:
    """Return each image's mean score or expected class by its number; None where there is none."""
    both = _scores(values, outputs)
    return None if both is None else _mean_by_image(both[:, None], number)[:, 0]


def _scores(values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str]) -> Floats | None:
    """Return scores or expected classes of left, then of right images, `(2 n,)`."""
    if "left_score" in outputs:
        return np.concatenate([values[f"{side}_score"] for side in SIDES])[:, 0].astype(np.float64)
    if names := _of_class(outputs):
        each = [probabilities(values[name], outputs[name]) for name in names]
        found: Floats = np.concatenate(each) @ np.arange(each[0].shape[1])
        return found
    return None


def _mean_by_image(values: NDArray[Any], number: NDArray[np.int64]) -> Floats:
    """Means of the rows of each image: `(2 n, width)` -> `(images, width)`."""
    sums = np.zeros((number.max() + 1, values.shape[1]))
    np.add.at(sums, number, values)
    return sums / np.bincount(number)[:, None]

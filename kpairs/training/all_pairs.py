"""The error over all ordered pairs of a split's images, exactly where each image is read by itself.

Which test pairs a round draws is luck, and most of what its error varies by. A network that gives
each image a score, or whose comparison follows from two posteriors, needs to see each image once:
then all pairs are a product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from kpairs.data.pairs import Images, PairSet
from kpairs.models.outputs import decisions, probabilities, share_wrong
from kpairs.training.batches import predict

SAMPLED = 100_000  # pairs, of networks that look at both images at once
_ENTRIES = 4_000_000  # of the matrix of answers that are in memory at a time
_AT_ONCE = 5000  # pairs that are drawn at a time
_TRIED = 500  # pairs by which is told whether a comparison follows from its images
_TOLERANCE = 1e-4  # of a probability


class Sides(NamedTuple):
    """What decides comparisons: `left[i] @ right[j]`, the margin by which i ranks no higher than j.

    Attributes:
        left: `(n, k)` of each image as the left one.
        right: `(n, k)` of each image as the right one.
        logits: margins are differences of scores; else P(left <= right) - P(left > right).
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    logits: bool


def all_pairs(
    model: keras.Model,
    images: Images,
    labels: NDArray[np.int64],
    classes: int,
    outputs: Mapping[str, str],
    rng: np.random.Generator,
    *,
    ties: bool = False,
    sampled: int = SAMPLED,
) -> dict[str, Any]:
    """Measure a model on all ordered pairs of two different images.

    Whether its comparison follows from what it says of each image is tried on pairs, not taken on
    trust; where it does not, pairs are drawn, with replacement.

    Args:
        model: with these outputs; in inference mode.
        images: `(n, height, width, channels)`, n >= 2, as `PairSet` holds them.
        labels: `(n,)` class numbers.
        classes: how many there are.
        outputs: kind of each named output.
        rng: what pairs are drawn from.
        ties: whether equal classes are ties, which no decision gets wrong; else left is then no
            higher.
        sampled: how many pairs are drawn where not all can be judged.

    Returns:
        `comparison_error_pct`; `pairs` that it is of; `exact`, whether those are all; else
        `standard_error`, in points. Where exact, `wrong`: `(classes, classes)` counts of wrong
        pairs by class of the left (rows) and of the right image, and with digit or grade outputs
        `digit_error_pct` or `grade_error_pct` of each image on either side.
    """
    itself = PairSet(images, images, labels, labels)
    values = predict(model, itself)
    known = [*_sides(values, outputs)]
    sides = _followed(model, itself, outputs, known, rng) if known else None
    if sides is None:
        return _sampled(model, itself, outputs, rng, ties, sampled)
    wrong, pairs = wrong_by_class(sides.left, sides.right, labels, classes, ties=ties)
    return {
        "comparison_error_pct": 100 * float(wrong.sum()) / pairs,
        **_class_errors(values, outputs, itself),
        "pairs": pairs,
        "exact": True,
        "wrong": wrong.tolist(),
    }


def wrong_by_class(
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: int,
    *,
    ties: bool = False,
) -> tuple[NDArray[np.int64], int]:
    """Count the wrong ones of all ordered pairs: left[i] @ right[j] > 0 says i ranks no higher.

    Of each image there are `(n, k)` numbers as the left and as the right one, and its class.
    Returns `(classes, classes)` counts by class of the left (rows) and right image, and the number
    of pairs.
    """
    of_class = np.eye(classes, dtype=np.float32)[labels]
    no_higher = np.zeros((classes, classes), np.int64)
    step = max(1, _ENTRIES // len(labels))
    for start in range(0, len(labels), step):
        rows = np.arange(start, min(start + step, len(labels)))
        answers = left[rows] @ right.T > 0
        answers[np.arange(len(rows)), rows] = False  # no image is compared with itself
        counts = answers.astype(np.float32) @ of_class  # whole numbers, far below 2 ** 24
        np.add.at(no_higher, labels[rows], counts.astype(np.int64))
    images = np.bincount(labels, minlength=classes)
    pairs = np.outer(images, images) - np.diag(images)
    wrong = np.where(np.tri(classes, k=-1, dtype=bool), no_higher, pairs - no_higher)
    if ties:
        for table in (wrong, pairs):
            np.fill_diagonal(table, 0)
    return wrong, int(pairs.sum())


def _sides(values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str]) -> Iterator[Sides]:
    """Yield what of an image may decide comparisons: its score, or its class, by its outputs."""
    if "left_score" in outputs:
        left, right = (values[f"{side}_score"].astype(np.float64) for side in ("left", "right"))
        one = np.ones_like(left)
        yield Sides(np.hstack([-left, one]), np.hstack([one, right]), logits=True)
    for word in ("digit", "grade"):
        if f"left_{word}" in outputs:
            p, q = (
                probabilities(values[name], outputs[name])
                for name in (f"left_{word}", f"right_{word}")
            )
            lower = np.triu(np.ones((p.shape[1], p.shape[1])), 1)
            for equal in (np.eye(len(lower)), 0):  # are no higher, or half of them
                yield Sides(p @ (lower - lower.T + equal), q, logits=False)


def _followed(
    model: keras.Model,
    itself: PairSet,
    outputs: Mapping[str, str],
    known: Sequence[Sides],
    rng: np.random.Generator,
) -> Sides | None:
    """Return what the comparison of other pairs follows from; None if from nothing known."""
    left, right = _drawn(len(itself), _TRIED, rng)
    held = predict(model, _paired(itself, left, right))["comparison"]
    received = probabilities(held, outputs["comparison"])[:, 1]
    for sides in known:
        margin = (sides.left[left] * sides.right[right]).sum(axis=1)
        expected = 1 / (1 + np.exp(-margin)) if sides.logits else (1 + margin) / 2
        if np.abs(received - expected).max() < _TOLERANCE:
            return sides
    return None


def _sampled(
    model: keras.Model,
    itself: PairSet,
    outputs: Mapping[str, str],
    rng: np.random.Generator,
    ties: bool,
    count: int,
) -> dict[str, Any]:
    wrong, told = 0.0, 0
    for start in range(0, count, _AT_ONCE):
        pairs = _paired(itself, *_drawn(len(itself), min(_AT_ONCE, count - start), rng))
        pairs = pairs.with_even_ties() if ties else pairs
        decided = decisions(predict(model, pairs)["comparison"], outputs["comparison"])
        if judged := int((pairs.comparison != 0.5).sum()):
            wrong, told = wrong + judged * share_wrong(decided, pairs.comparison), told + judged
    share = wrong / told if told else float("nan")
    return {
        "comparison_error_pct": 100 * share,
        "pairs": told,
        "exact": False,
        "standard_error": 100 * float(np.sqrt(share * (1 - share) / max(told, 1))),
    }


def _drawn(
    images: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ordered pairs of two different images, with replacement."""
    left = rng.integers(images, size=count)
    return left, (left + rng.integers(1, images, size=count)) % images


def _paired(itself: PairSet, left: NDArray[np.int64], right: NDArray[np.int64]) -> PairSet:
    """Pairs by number of images that are each paired with itself."""
    one, other = itself.take(left), itself.take(right)
    return PairSet(one.left, other.left, one.left_digit, other.left_digit)


def _class_errors(
    values: Mapping[str, NDArray[Any]], outputs: Mapping[str, str], images: PairSet
) -> dict[str, float]:
    """Return the error of each class output over all images, both sides together."""
    kinds = {n: kind for n, kind in outputs.items() if n.endswith(("_digit", "_grade"))}
    targets = images.targets(kinds)
    wrong = [share_wrong(decisions(values[n], kind), targets[n]) for n, kind in kinds.items()]
    word = next(iter(kinds), "").rpartition("_")[2]
    return {f"{word}_error_pct": 100 * float(np.mean(wrong))} if wrong else {}

"""Agreement of answers: judges with each other, with themselves, and by Krippendorff's alpha."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.judging.judgements import Floats, Judgements, Numbers


@dataclass(frozen=True)
class Share:
    """A share of cases with its 95 % interval, by Wilson (1927).

    Attributes:
        hits, of: counts; a tie against a decision counts as half a hit.
        low, high: the interval; 0 and 1 where there are no cases.
    """

    hits: float
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share; NaN where there are no cases."""
        return self.hits / self.of if self.of else float("nan")


def share(hits: float, of: float) -> Share:
    """Return `hits / of` with its interval; `of` may be an effective number of cases.

    Example:
        >>> one = share(90, 100)
        >>> round(one.low, 3), round(one.high, 3)
        (0.826, 0.945)
    """
    from scipy.special import ndtri

    if not of:
        return Share(0.0, 0, 0.0, 1.0)
    z = float(ndtri(0.975))
    middle = (hits + z * z / 2) / (of + z * z)
    half = z / (of + z * z) * float(np.sqrt(max(hits * (of - hits) / of, 0) + z * z / 4))
    return Share(float(hits), int(of), max(middle - half, 0.0), min(middle + half, 1.0))


def interval_by_images(
    right: NDArray[np.bool_], left_image: NDArray[np.int64], right_image: NDArray[np.int64]
) -> tuple[float, float]:
    """Return a 95 % interval of the share of right answers, which knows of shared images.

    The variance counts covariances of all pairs that share an image (Aronow, Samii and Assenova,
    Cluster-robust variance estimation for dyadic data, 2015). Where no image is in two pairs it is
    the binomial one. The interval is Wilson's, of as many independent pairs as have that variance.

    Args:
        right: `(n,)`, n >= 1.
        left_image: `(n,)` numbers of images.
        right_image: likewise.

    Example:
        >>> right, images = np.arange(100) < 90, np.arange(100)
        >>> [round(end, 3) for end in interval_by_images(right, images, images + 100)]
        [0.826, 0.945]
        >>> [round(end, 3) for end in interval_by_images(right, images // 10, images + 100)]
        [0.596, 0.982]
    """
    value, worth = float(right.mean()), independent_pairs(right, left_image, right_image)
    found = share(value * worth, worth)
    return found.low, found.high


def independent_pairs(
    values: NDArray[Any], left_image: NDArray[np.int64], right_image: NDArray[np.int64]
) -> float:
    """Return how many independent pairs have the variance of the mean of a value of n pairs.

    Pairs share images by their numbers, as in `interval_by_images`.
    """
    off, images = values - values.mean(), int(max(left_image.max(), right_image.max())) + 1
    each = np.bincount(left_image, off, images) + np.bincount(right_image, off, images)
    first, second = np.minimum(left_image, right_image), np.maximum(left_image, right_image)
    of_pair = np.bincount(np.unique(first * images + second, return_inverse=True)[1], off)
    # A pair has two images, so that it and its repetitions are counted twice.
    independent, summed = float(off @ off), float(each @ each - of_pair @ of_pair)
    return len(values) * independent / summed if summed > independent > 0 else float(len(values))


def _answers(judgements: Judgements) -> tuple[Numbers, Floats]:
    """Return the pair of each judgement and its answer as if the lower image stood on the left."""
    turned = judgements.left > judgements.right
    outcome = judgements.outcome
    return judgements.pair(), np.rint(2 * np.where(turned, 1 - outcome, outcome)) / 2


def agreement(judgements: Judgements) -> tuple[list[Share], list[Share]]:
    """Return each judge's agreement with the other judges, and with the judge's earlier answers.

    Both compare every two answers about the same pair of images. Equal answers count 1, a tie
    against a decision 1/2, opposite decisions 0. There is one `Share` for each judge's number from
    0 to the largest.
    """
    pair, answer = _answers(judgements)
    judges = int(judgements.judge.max(initial=-1)) + 1
    pairs = int(pair.max(initial=-1)) + 1
    # Counts of the answers left, tie and right by pair; each judge's are taken out of them.
    kind = np.rint(2 * answer).astype(np.int64)
    whole = np.bincount(3 * pair + kind, minlength=3 * pairs).reshape(pairs, 3).astype(float)
    alike = np.array([[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])
    others, self_ = [], []
    for judge in range(judges):
        rows = judgements.judge == judge
        used, place = np.unique(pair[rows], return_inverse=True)
        size = len(used)
        own = np.bincount(3 * place + kind[rows], minlength=3 * size).reshape(size, 3).astype(float)
        rest = whole[used] - own
        others.append(share(float(np.sum(own @ alike * rest)), int(own.sum(1) @ rest.sum(1))))
        twice = own.sum(axis=1)
        equal = np.sum(own @ alike * own) - twice.sum()  # less each answer with itself
        self_.append(share(float(equal) / 2, int(twice @ (twice - 1)) // 2))
    return others, self_


def alpha(judgements: Judgements) -> float:
    """Return Krippendorff's alpha of all answers: 1 perfect agreement, 0 as by chance.

    Pairs of images are the units; answers are ordered (one image, tie, the other image). NaN where
    no pair was judged twice. Source: Hayes and Krippendorff, Answering the call for a standard
    reliability measure for coding data, 2007; computed by the package krippendorff.
    """
    import krippendorff

    pair, answer = _answers(judgements)
    pairs = int(pair.max(initial=-1)) + 1
    code = 3 * pair + np.rint(2 * answer).astype(np.int64)
    counts = np.bincount(code, minlength=3 * pairs).reshape(pairs, 3)
    # The order of a pair's images is arbitrary: each pair counts in both orders.
    counts = np.concatenate([counts, counts[:, ::-1]])
    counts = counts[counts.sum(axis=1) > 1]
    if np.count_nonzero(counts.sum(axis=0)) < 2:
        return float("nan")
    domain = (0.0, 0.5, 1.0)
    return float(krippendorff.alpha(value_counts=counts, value_domain=domain))

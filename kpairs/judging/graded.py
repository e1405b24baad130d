"""Heads for graded images on fixed features, chosen by cross-validation.

With standardised features `f` of an image and K ordered grades, the head `ordinal` is the
proportional-odds model (McCullagh, Regression models for ordinal data, 1980), one score and K - 1
thresholds:

    P(grade <= k) = sigmoid(threshold_k - s),    s = f w.

The head `posterior` is multinomial logistic regression, with weights for every grade. The prior of
the weights is N(0, v / d I); `v` is the value that makes left-out images most likely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from kpairs.data.rows import Rows, blocks, moments
from kpairs.judging.folds import Features, fold_units
from kpairs.judging.judgements import Floats, Numbers

HEADS = ("ordinal", "posterior")
_VARIANCES = 4.0 ** np.arange(7)  # of a score by the prior, from 1 to 4096
_FOLDS = 5
_CHOOSING = 1000  # images by which head and prior are chosen
_NUMBERS = 2**23  # of features that are in memory together
_LEAST_SPREAD = 1e-6  # of a feature over the widest one's: below, it is a constant
_PRECISE = {"maxiter": 500, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-4}  # of L-BFGS
_ROUGH = {**_PRECISE, "maxiter": 100, "ftol": 1e-6, "gtol": 1e-3}  # to choose by
_Z = 1.959964  # standard errors to each side of a 95 % interval


@dataclass(frozen=True)
class PairError:
    """The share of wrong comparisons of left-out images, with its 95 % interval.

    Every two left-out images of different grade are a pair. The interval follows from the spread
    between images, since pairs share images.

    Attributes:
        value: the share, from 0 to 1.
        low: lower end of the interval.
        high: upper end of the interval.
        pairs: number of pairs.
    """

    value: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class GradedHead:
    """A head from features to grades. Made by `fit_graded`.

    Attributes:
        head: "ordinal" or "posterior".
        weights: `(d, 1)` or `(d, K)` of the features as they are, in logits.
        offset: `(1,)` or `(K,)`, added to `features @ weights`.
        thresholds: `(K - 1,)` increasing, of the ordinal head's score; `(0,)` for the posterior.
        errors: cross-validated error by head; empty where no images could be left out.
    """

    head: str
    weights: Floats
    offset: Floats
    thresholds: Floats
    errors: Mapping[str, PairError]

    def log_probabilities(self, features: NDArray[Any]) -> Floats:
        """Return the log-probability of every grade, `(n, K)`, of `(n, d)` features."""
        values = features @ self.weights + self.offset
        if self.head == "ordinal":
            return _ordinal_logs(values[:, 0], self.thresholds)
        return _log_softmax(values)


def fit_graded(
    features: Features,
    grade: ArrayLike,
    classes: int,
    heads: Sequence[str] = HEADS,
    seed: int = 0,
    group: ArrayLike | None = None,
) -> GradedHead:
    """Return the head that explains graded images best.

    Of several heads the one is taken that compares left-out images best, by cross-validation.

    Args:
        features: `(n, d)` of n images.
        grade: `(n,)` grades, 0 for the lowest.
        classes: number of grades, K.
        heads: the heads to choose from, of `HEADS`.
        seed: of the folds of cross-validation.
        group: `(n,)` numbers of the groups of images: a group is in one fold, and so are copies of
            an image. Default: every image is a group.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features = rng.normal(size=(200, 3))
        >>> found = fit_graded(features, np.digitize(features[:, 0], [-0.5, 0.5]), 3)
        >>> found.head
        'ordinal'
    """
    grade = np.asarray(grade, np.int64)
    centre, spread = moments(features)
    constant = spread <= _LEAST_SPREAD * spread.max(initial=0)
    scale = np.where(constant, 0, 1 / np.where(constant, 1, spread))
    units = fold_units(
        features, np.arange(len(grade)), None if group is None else np.asarray(group)
    )
    with threadpool_limits(1, user_api="blas"):  # threads wait for each other on busy machines
        rows, back = rotated(features, centre, scale)
        images = _Images(rows, grade, classes, max(int(np.count_nonzero(scale)), 1))
        chosen = {head: _validated(images, head, units, seed) for head in heads}
        errors = {head: error for head, (_, error) in chosen.items() if error is not None}
        head = min(errors, key=lambda name: errors[name].value) if errors else heads[0]
        weights, free = _fitted(images, head, chosen[head][0])
    weights = (back @ weights) * scale[:, None]
    ordinal = head == "ordinal"
    return GradedHead(
        head=head,
        weights=weights,
        offset=(np.zeros(1) if ordinal else free) - centre @ weights,
        thresholds=_thresholds(free) if ordinal else np.zeros(0),
        errors=errors,
    )


@dataclass(frozen=True)
class _Images:
    """Graded images by standardised, rotated features; `width` of them are no constants."""

    rows: Features
    grade: Numbers
    classes: int
    width: int

    def take(self, chosen: NDArray[Any]) -> _Images:
        return _Images(self.rows[chosen], self.grade[chosen], self.classes, self.width)


_Found = tuple[Floats, Floats]  # weights `(r, columns)`, and thresholds as solved for or biases


def rotated(features: Features, centre: Floats, scale: Floats) -> tuple[Features, Floats]:
    """Return standardised rows in their principal axes, and the matrix that takes weights back.

    Rows of fewer images than features have at most as many columns as there are images. Large
    matrices are kept in a file.
    """
    count, width = features.shape

    def standardised() -> Iterator[Floats]:
        return ((block - centre) * scale for block in blocks(features))

    if count >= width:
        axes = np.linalg.eigh(sum(block.T @ block for block in standardised()))[1]
        parts = (block @ axes for block in standardised())
        large = count * width > _NUMBERS
        return (Rows(parts, width) if large else np.concatenate(list(parts))), axes
    rows = np.concatenate(list(standardised()))
    values, vectors = np.linalg.eigh(rows @ rows.T)
    root = np.sqrt(np.maximum(values, 0))
    told = root > 1e-6 * root.max(initial=0)
    root, vectors = root[told], vectors[:, told]
    return vectors * root, rows.T @ (vectors / root)


def _validated(
    images: _Images, head: str, units: Numbers, seed: int
) -> tuple[float, PairError | None]:
    """Return the prior variance that makes left-out images most likely, and the error with it."""
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(units.max() + 1) % _FOLDS)[units]
    if len(fold) > _CHOOSING:
        fold[rng.permutation(len(fold))[_CHOOSING:]] = _FOLDS  # of no part in choosing
    likely = np.zeros(len(_VARIANCES))
    said = np.full((len(_VARIANCES), len(fold), images.classes), -np.inf)
    for one in range(_FOLDS):
        out = np.flatnonzero(fold == one)
        others = images.take(np.flatnonzero((fold != one) & (fold < _FOLDS)))
        if not len(out) or len(np.unique(others.grade)) < images.classes:
            continue
        found: _Found | None = None
        for place, variance in enumerate(_VARIANCES):
            found = _fitted(others, head, variance, found, rough=True)
            said[place, out] = _logs(head, np.asarray(images.rows[out], np.float64), *found)
            likely[place] += said[place, out, images.grade[out]].sum()
    best = int(np.argmax(likely))
    return float(_VARIANCES[best]), _pair_error(said[best], images.grade, fold)


def _pair_error(logs: Floats, grade: Numbers, fold: Numbers) -> PairError | None:
    """Return the error on all pairs within a fold, decided by the exact comparison."""
    wrong, of = np.zeros(len(grade)), np.zeros(len(grade))
    for one in range(_FOLDS):
        out = np.flatnonzero((fold == one) & np.isfinite(logs[:, 0]))
        share = np.exp(logs[out])
        above = share[:, ::-1].cumsum(axis=1)[:, ::-1] - share  # of any grade: the share above it
        higher = share @ above.T  # [i, j]: P(j ranks above i)
        lead = higher - higher.T
        gap = np.sign(grade[out][None, :] - grade[out][:, None])
        wrong[out] = np.where(lead == 0, 0.5, np.sign(lead) != gap).sum(axis=1, where=gap != 0)
        of[out] = np.count_nonzero(gap, axis=1)
    tested = of > 0
    if not tested.any():
        return None
    value = float(wrong.sum() / of.sum())
    apart = wrong[tested] - value * of[tested]  # of an image's pairs, each of which two images have
    error = _Z * 2 * float(np.sqrt(np.square(apart).sum())) / float(of.sum())
    return PairError(value, max(value - error, 0), min(value + error, 1), int(of.sum()) // 2)


def _fitted(
    images: _Images,
    head: str,
    variance: float,
    start: _Found | None = None,
    *,
    rough: bool = False,
) -> _Found:
    """Return the most likely weights and thresholds, or biases.

    Weights are multiplied by the root of their curvature, with which L-BFGS needs a few steps.
    """
    from scipy.optimize import minimize

    objective = _OBJECTIVES[head]
    penalty = images.width / variance
    squares = sum(np.square(block, dtype=np.float64).sum(axis=0) for block in blocks(images.rows))
    unit = 1 / np.sqrt(squares / 4 + penalty)[:, None]
    if start is None:
        columns = 1 if head == "ordinal" else images.classes
        counts = np.bincount(images.grade, minlength=images.classes)
        start = np.zeros((len(unit), columns)), _BEGINNINGS[head](counts)
    columns = start[0].shape[1]

    def loss(values: Floats) -> tuple[float, Floats]:
        weights = values[: len(unit) * columns].reshape(-1, columns)
        said = np.concatenate([block @ (unit * weights) for block in blocks(images.rows)])
        value, margin, free = objective(said, values[weights.size :], images)
        kept = penalty * unit**2 * weights
        both = zip(blocks(images.rows), blocks(margin), strict=True)
        gradient = unit * sum(block.T @ part for block, part in both) + kept
        return value + float((weights * kept).sum()) / 2, np.concatenate([gradient.ravel(), free])

    first = np.concatenate([(start[0] / unit).ravel(), start[1]])
    found = minimize(
        loss, first, jac=True, method="L-BFGS-B", options=_ROUGH if rough else _PRECISE
    )
    weights = found.x[: len(unit) * columns].reshape(-1, columns)
    return weights * unit, found.x[weights.size :]


def _ordinal(values: Floats, free: Floats, images: _Images) -> tuple[float, Floats, Floats]:
    """Return the loss of an ordinal head, and its gradients by scores and by thresholds."""
    from scipy.special import expit, log_expit

    thresholds, gaps, grade = _thresholds(free), np.logaddexp(0, free[1:]), images.grade
    upper = np.append(thresholds, np.inf)[grade] - values[:, 0]
    lower = values[:, 0] - np.append(-np.inf, thresholds)[grade]
    counts = np.bincount(grade, minlength=images.classes)
    value = -float((log_expit(upper) + log_expit(lower)).sum() + counts[1:-1] @ _log_of(gaps))
    over, under = expit(-upper), expit(-lower)
    at = (
        np.bincount(grade, under, images.classes)[1:]
        - np.bincount(grade, over, images.classes)[:-1]
    )
    widths = at[::-1].cumsum()[::-1][1:] - counts[1:-1] / np.expm1(gaps)
    return value, (over - under)[:, None], np.append(at.sum(), widths * expit(free[1:]))


def _posterior(values: Floats, free: Floats, images: _Images) -> tuple[float, Floats, Floats]:
    """Return the loss of multinomial regression, and its gradients by logits and by biases."""
    logs = _log_softmax(values + free)
    told = np.arange(len(logs)), images.grade
    margin = np.exp(logs)
    margin[told] -= 1
    return -float(logs[told].sum()), margin, margin.sum(axis=0)


def _first_thresholds(counts: Numbers) -> Floats:
    """Return the thresholds, as they are solved for, that give grades their shares."""
    from scipy.special import logit

    shares = (counts + 0.5) / (counts + 0.5).sum()
    thresholds = logit(shares.cumsum()[:-1])
    return np.append(thresholds[0], np.log(np.expm1(np.diff(thresholds))))


_OBJECTIVES: dict[str, Callable[[Floats, Floats, _Images], tuple[float, Floats, Floats]]] = {
    "ordinal": _ordinal,
    "posterior": _posterior,
}
_BEGINNINGS: dict[str, Callable[[Numbers], Floats]] = {
    "ordinal": _first_thresholds,
    "posterior": lambda counts: np.zeros(len(counts)),
}


def _logs(head: str, rows: Floats, weights: Floats, free: Floats) -> Floats:
    values = rows @ weights
    if head == "ordinal":
        return _ordinal_logs(values[:, 0], _thresholds(free))
    return _log_softmax(values + free)


def _thresholds(free: Floats) -> Floats:
    """Return increasing thresholds from the first one and the inverse softplus of each gap."""
    return free[0] + np.append(0.0, np.logaddexp(0, free[1:]).cumsum())


def _log_of(gaps: Floats) -> Floats:
    return np.log(-np.expm1(-gaps))


def _ordinal_logs(score: Floats, thresholds: Floats) -> Floats:
    """Return log(sigmoid(upper) - sigmoid(lower)) of each grade, without differences of the two.

    It is log sigmoid(upper) + log sigmoid(-lower) + log(1 - exp(lower - upper)).
    """
    from scipy.special import log_expit

    away = thresholds - score[:, None]
    logs = np.zeros((len(score), len(thresholds) + 1))
    logs[:, :-1] += log_expit(away)
    logs[:, 1:] += log_expit(-away)
    logs[:, 1:-1] += _log_of(np.diff(thresholds))
    return logs


def _log_softmax(values: Floats) -> Floats:
    from scipy.special import log_softmax

    found: Floats = log_softmax(values, axis=1)
    return found

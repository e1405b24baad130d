"""Scores that are linear in features, from compared pairs: a head that cannot overfit.

With standardised features `f` of an image, its score is `s = f w` and

    P(right ranks higher) = sigmoid(s_right - s_left),    w ~ N(0, v / d I),

the model of Bradley and Terry (1952) with a Gaussian prior on the `d` weights; a tie counts as half
an answer for each side. Newton's method finds the posterior's mode. The prior variance `v` of a
score is the one that makes left-out pairs most likely, by the approximation of Laplace that
`Linear` keeps as the covariance of `w` (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, section 5.4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.data.division import image_groups
from kpairs.judging.agreement import Share, share
from kpairs.judging.judgements import Floats, Numbers

_VARIANCES = 4.0 ** np.arange(6)  # of a score by the prior, from 1 to 1024
_CHOOSING = 2000  # pairs by which the prior is chosen
_CHUNK = 4096  # pairs whose features are in memory together
_STEPS, _CONVERGED, _SHORTEST = 50, 1e-4, 1e-3  # of Newton's method
_LEAST_SPREAD = 1e-6  # of a feature over the widest one's: below, it is a constant
_FOLDS, _PARTITIONS, _FEW = 5, 4, 2000  # of cross-validation; partitions of few pairs, and few


@dataclass(frozen=True)
class Linear:
    """Scores that are linear in features. Made by `fit_linear`.

    Attributes:
        weights: `(d,)` of the features as they are, in logits.
        offset: the training images' mean score is 0: a score is `features @ weights + offset`.
        variance: prior variance of a score.
        covariance: `(d, d)` float32 of `weights`, Laplace's approximation.
        centre: `(d,)` mean features of the training images.
        error: share of wrong answers on pairs of two images that were left out, by
            cross-validation; ties are not counted. None where no pair could be left out.
    """

    weights: Floats
    offset: float
    variance: float
    covariance: NDArray[np.float32]
    centre: Floats
    error: Share | None

    def score(self, features: NDArray[Any]) -> Floats:
        """Return scores, `(n,)`, of `(n, d)` features."""
        return features @ self.weights + self.offset

    def deviation(self, features: NDArray[Any]) -> Floats:
        """Return the standard error of each score's distance from the training images' mean."""
        away = np.asarray(features, np.float64) - self.centre
        return np.sqrt(np.maximum(np.sum((away @ self.covariance) * away, axis=1), 0))


@dataclass(frozen=True)
class _Pairs:
    """Answers about images by their features; a row is `scale * (f_right - f_left)`."""

    features: NDArray[Any]
    scale: Floats
    left: Numbers
    right: Numbers
    answer: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.left)

    def take(self, rows: NDArray[Any]) -> _Pairs:
        parts = (self.left, self.right, self.answer, self.weight)
        return _Pairs(self.features, self.scale, *(part[rows] for part in parts))

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        for start in range(0, len(self), _CHUNK):
            rows = slice(start, start + _CHUNK)
            right, left = self.features[self.right[rows]], self.features[self.left[rows]]
            yield rows, (right.astype(np.float64) - left) * self.scale

    def rows(self) -> Floats:
        return np.concatenate([rows for _, rows in self.chunks()])


def fit_linear(
    features: NDArray[Any],
    left: ArrayLike,
    right: ArrayLike,
    answer: ArrayLike,
    weight: ArrayLike | None = None,
    seed: int = 0,
) -> Linear:
    """Return the scores that explain compared pairs best.

    Args:
        features: `(n, d)` of n images; may be a mapped file.
        left: `(m,)` numbers of images.
        right: the other image of each pair.
        answer: `(m,)` probability that the right image ranks higher; 0.5 for a tie.
        weight: `(m,)` weights of the pairs; default 1 each.
        seed: of the folds of cross-validation.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features, (left, right) = rng.normal(size=(50, 3)), rng.integers(0, 50, (2, 300))
        >>> found = fit_linear(features, left, right, features[right, 0] > features[left, 0])
        >>> abs(found.weights).argmax()
        np.int64(0)
    """
    left, right = np.asarray(left, np.int64), np.asarray(right, np.int64)
    answer = np.asarray(answer, np.float64)
    weight = np.ones(len(answer)) if weight is None else np.asarray(weight, np.float64)
    used = np.unique(np.concatenate([left, right]))
    centre, spread = _moments(features, used)
    constant = spread <= _LEAST_SPREAD * spread.max(initial=0)
    scale = np.where(constant, 0, 1 / np.where(constant, 1, spread))
    pairs = _Pairs(features, scale, left, right, answer, weight)
    variance = _choose(pairs, seed)
    found = _mode(pairs, variance)
    covariance = np.linalg.inv(_hessian(pairs, found, variance)) * np.outer(scale, scale)
    weights = found * scale
    return Linear(
        weights=weights,
        offset=-float(centre @ weights),
        variance=variance,
        covariance=covariance.astype(np.float32),
        centre=centre,
        error=_cross_validated(pairs, variance, found, seed),
    )


def _moments(features: NDArray[Any], used: Numbers) -> tuple[Floats, Floats]:
    """Return mean and deviation of each feature over some images, read some at a time."""
    parts = [used[start : start + _CHUNK] for start in range(0, len(used), _CHUNK)]
    centre = sum(features[part].sum(axis=0, dtype=np.float64) for part in parts) / len(used)
    square = sum(np.square(features[part] - centre).sum(axis=0) for part in parts) / len(used)
    return np.asarray(centre), np.sqrt(square)


def _choose(pairs: _Pairs, seed: int) -> float:
    """Return the prior variance by which left-out pairs are most likely."""
    if len(pairs) > _CHOOSING:
        chosen = np.random.default_rng(seed).permutation(len(pairs))[:_CHOOSING]
        pairs = pairs.take(np.sort(chosen))
    rows = pairs.rows()
    if len(rows) < rows.shape[1]:
        rows, _ = _reduced(rows)
    likely: list[float] = []
    start: Floats | None = None
    for variance in _VARIANCES:
        start, hessian = _newton([(slice(None), rows)], pairs, _penalty(pairs, variance), start)
        likely.append(_left_out(rows, pairs, start, hessian))
    return float(_VARIANCES[int(np.argmax(likely))])


def _penalty(pairs: _Pairs, variance: float) -> float:
    """Return the precision of each weight."""
    return max(int(np.count_nonzero(pairs.scale)), 1) / variance


def _reduced(rows: Floats) -> tuple[Floats, Floats]:
    """Return rows with the same products with each other, and no more columns than rows.

    Returns:
        The rows, and the matrix that takes their weights back to those of the rows given.
    """
    values, vectors = np.linalg.eigh(rows @ rows.T)
    root = np.sqrt(np.maximum(values, 0))
    told = root > 1e-6 * root.max(initial=0)
    root, vectors = root[told], vectors[:, told]
    return vectors * root, rows.T @ (vectors / root)


def _mode(pairs: _Pairs, variance: float, start: Floats | None = None) -> Floats:
    """Return the most likely weights of standardised features."""
    penalty = _penalty(pairs, variance)
    if len(pairs) > _CHUNK:
        return _newton(pairs, pairs, penalty, start)[0]
    rows = pairs.rows()
    if len(rows) > rows.shape[1]:
        return _newton([(slice(None), rows)], pairs, penalty, start)[0]
    few, back = _reduced(rows)
    return back @ _newton([(slice(None), few)], pairs, penalty)[0]


def _hessian(pairs: _Pairs, weights: Floats, variance: float) -> Floats:
    return _loss(pairs.chunks(), pairs, _penalty(pairs, variance), weights)[2]


def _loss(
    chunks: Iterable[tuple[slice, Floats]], pairs: _Pairs, penalty: float, weights: Floats
) -> tuple[float, Floats, Floats]:
    """Return the penalised loss, its gradient and its Hessian."""
    value, gradient = penalty / 2 * float(weights @ weights), penalty * weights
    hessian = penalty * np.eye(len(weights))  # its products are of float32, in half the time
    for part, rows in chunks:
        margin, answer, weight = rows @ weights, pairs.answer[part], pairs.weight[part]
        held = _sigmoid(margin)
        value += float(weight @ (np.logaddexp(0, margin) - answer * margin))
        gradient = gradient + rows.T @ (weight * (held - answer))
        root = (rows * np.sqrt(weight * held * (1 - held))[:, None]).astype(np.float32)
        hessian += root.T @ root
    return value, gradient, hessian


def _newton(
    chunks: list[tuple[slice, Floats]] | _Pairs,
    pairs: _Pairs,
    penalty: float,
    start: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Minimise the penalised loss; return the weights, and the Hessian there.

    A step that does not lessen the loss is halved: the loss is convex, so that this converges.
    """
    from scipy.linalg import cho_factor, cho_solve

    def at(weights: Floats) -> tuple[float, Floats, Floats]:
        again = chunks.chunks() if isinstance(chunks, _Pairs) else chunks
        return _loss(again, pairs, penalty, weights)

    columns = pairs.features.shape[1] if isinstance(chunks, _Pairs) else chunks[0][1].shape[1]
    weights = np.zeros(columns) if start is None else start
    value, gradient, hessian = at(weights)
    for _ in range(_STEPS):
        step = cho_solve(cho_factor(hessian, check_finite=False), gradient, check_finite=False)
        if float(gradient @ step) < _CONVERGED:  # twice the loss that the step is to gain
            break
        length, new = 1.0, at(weights - step)
        while new[0] > value and length > _SHORTEST:
            length /= 2
            new = at(weights - length * step)
        weights, (value, gradient, hessian) = weights - length * step, new
    return weights, hessian


def _sigmoid(margin: Floats) -> Floats:
    from scipy.special import expit

    held: Floats = expit(margin)
    return held


def _left_out(rows: Floats, pairs: _Pairs, weights: Floats, hessian: Floats) -> float:
    """Return the log-likelihood of each pair by all others, summed: the cavity, without refits."""
    margin = rows @ weights
    held = _sigmoid(margin)
    curvature = pairs.weight * held * (1 - held)
    variance = np.einsum("ij,ji->i", rows, np.linalg.solve(hessian, rows.T))
    variance /= np.maximum(1 - curvature * variance, 1e-3)
    margin = margin - variance * pairs.weight * (pairs.answer - held)
    return float(pairs.weight @ (pairs.answer * margin - np.logaddexp(0, margin)))


def _cross_validated(pairs: _Pairs, variance: float, start: Floats, seed: int) -> Share | None:
    """Return the share of wrong answers on pairs of two left-out images, with its interval.

    Images are put into folds, pairs together where that is possible; a fold's pairs are answered
    by what the pairs of all other images teach. A pair that several partitions leave out counts
    once, with the mean of its results.
    """
    wrong, times = np.zeros(len(pairs)), np.zeros(len(pairs))
    number = np.unique(np.stack([pairs.left, pairs.right]), return_inverse=True)[1]
    left, right = number.reshape(2, -1)
    for partition in range(max(1, min(_PARTITIONS, _FEW // len(pairs)))):
        rng = np.random.default_rng([seed, partition])
        fold = image_groups(left, right, [1 / _FOLDS] * _FOLDS, rng)
        for one in range(_FOLDS):
            out, there = fold[left] == one, fold[right] == one
            test = np.flatnonzero(out & there & (pairs.answer != 0.5) & (pairs.weight > 0))
            train = np.flatnonzero(~(out | there))
            if not len(test) or not len(train):
                continue
            weights = _mode(pairs.take(train), variance, start)
            margin = np.concatenate([rows @ weights for _, rows in pairs.take(test).chunks()])
            wrong[test] += np.where(margin == 0, 0.5, (margin > 0) != (pairs.answer[test] > 0.5))
            times[test] += 1
    tested = times > 0
    if not tested.any():
        return None
    return share(float(np.sum(wrong[tested] / times[tested])), int(tested.sum()))

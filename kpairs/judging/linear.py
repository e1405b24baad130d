"""Scores that are linear in features, from compared pairs: a head that cannot overfit.

With standardised features `f` of an image, its score is `s = f w` and

    P(right ranks higher) = sigmoid(s_right - s_left),    w ~ N(0, v / d I),

the model of Bradley and Terry (1952) with a Gaussian prior on the `d` weights; a tie counts as half
an answer for each side. Newton's method finds the posterior's mode. The prior variance `v` of a
score is the one that makes left-out pairs most likely (Rasmussen and Williams, Gaussian Processes
for Machine Learning, 2006, section 5.4.2). Simulations with known scores show two faults of a mode
(docs/trust.md), which are mended:

- It is nearer to 0 than the posterior's mean, or further where features remember images. Scores
  are multiplied by the number that makes pairs of left-out images most likely; this changes no
  order.
- Its `v` is too small for the covariance, since it makes up for uncertainty that a mode does not
  know of. The covariance is Laplace's approximation at the `v` that makes left-out pairs most
  likely by probabilities averaged over the posterior.

Features miss a part of what judges see. Pairs that share a left-out image tell of it: their answers
err to the same side. It is a variance that every image has beside Laplace's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from kpairs.data.division import image_groups
from kpairs.data.rows import blocks, moments
from kpairs.errors import InputError, first_line
from kpairs.files import atomic_path, read_arrays
from kpairs.judging.agreement import Share, interval_by_images
from kpairs.judging.fitting import fit as fit_scores
from kpairs.judging.folds import Features, fold_units
from kpairs.judging.judgements import Floats, Judgements, Numbers
from kpairs.judging.model import Scales
from kpairs.judging.reference import fit_temperature, flattened

_VARIANCES = 4.0 ** np.arange(6)  # of a score by the prior, from 1 to 1024
_CHOOSING = 2000  # pairs by which the prior is chosen
_CHUNK, _NUMBERS = 4096, 2**22  # pairs, and numbers of their features, in memory together
_STEPS, _CONVERGED, _SHORTEST = 50, 1e-4, 1e-3  # of Newton's method
_MOST_UNPACKED = 2**30  # bytes of a saved solution
_LARGEST = 1e30  # number of a solution, but of images
_LEAST_SPREAD = 1e-6  # of a feature over the widest one's: below, it is a constant
_MISSED = np.array([0, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16])  # variances beside Laplace's
_SMALL = 1.2  # deviation beforehand of the logarithm of 1 + variance: small ones are likelier
_FOLDS, _PARTITIONS, _FEW = 5, 4, 2000  # of cross-validation; partitions of few pairs, and few


@dataclass(frozen=True)
class Linear:
    """Scores that are linear in features. Made by `fit_linear`.

    Attributes:
        weights: `(d,)` of the features as they are, in logits: the mode, stretched.
        offset: the training images' mean score is 0: a score is `features @ weights + offset`.
        variance: prior variance of a score, of the mode.
        covariance: `(d, d)` float32 of `weights`, Laplace's approximation with a prior of its own.
        centre: `(d,)` mean features of the training images.
        answer: `(m,)` the training pairs' answers, as given.
        images: `(m, 2)` numbers of the left and the right image of each training pair.
        left_out: `(m, 2)` float32 scores of the left and the right image of each training pair, by
            what the pairs of all images of other folds teach. NaN where no fold leaves out both,
            and for pairs of weight 0.
        residual: variance of an image's true score that features miss.
    """

    weights: Floats
    offset: float
    variance: float
    covariance: NDArray[np.float32]
    centre: Floats
    answer: Floats
    images: Numbers
    left_out: NDArray[np.float32]
    residual: float = 0.0

    @property
    def error(self) -> Share | None:
        """Cross-validated share of wrong answers; ties do not count. None without any answer.

        Its interval knows of shared images, as `kpairs.judging.agreement.interval_by_images` does.
        """
        margin = self.left_out[:, 1] - self.left_out[:, 0]
        counted = ~np.isnan(margin) & (self.answer != 0.5)
        wrong = (margin > 0)[counted] != (self.answer > 0.5)[counted]
        if not len(wrong):
            return None
        number = np.unique(self.images[counted], return_inverse=True)[1].reshape(-1, 2)
        return Share(float(wrong.sum()), len(wrong), *interval_by_images(wrong, *number.T))

    def save(self, path: str | Path) -> None:
        """Write everything to an .npz file."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Linear:
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or a damaged one.
        """
        try:
            given = {"residual": np.zeros(()), **read_arrays(path, _MOST_UNPACKED)}
            found: dict[str, Any] = {field.name: given[field.name] for field in fields(cls)}
            numbers = ("offset", "variance", "residual")  # earlier versions knew no residual
            found |= {name: float(found[name]) for name in numbers}
            (d,), (m,) = found["weights"].shape, found["answer"].shape
            shapes = {"covariance": (d, d), "centre": (d,), "images": (m, 2), "left_out": (m, 2)}
            if any(found[name].shape != shape for name, shape in shapes.items()):
                raise ValueError("arrays of other shapes")
            kinds = {name: found[name].dtype.kind for name in ("weights", "answer", *shapes)}
            if any(kind != ("i" if name == "images" else "f") for name, kind in kinds.items()):
                raise ValueError("arrays of other types")
            out = np.nan_to_num(found["left_out"], posinf=np.inf, neginf=-np.inf)
            if not all((np.abs(a) <= _LARGEST).all() for a in {**found, "left_out": out}.values()):
                raise ValueError("numbers that no solution has")
        except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
            told = f"{path}: expected a linear head, received: {first_line(error)}; train again"
            raise InputError(told) from error
        return cls(**found)

    def score(self, features: Features) -> Floats:
        """Return scores, `(n,)`, of `(n, d)` features."""
        return np.concatenate([block @ self.weights for block in blocks(features)]) + self.offset

    def deviation(self, features: Features) -> Floats:
        """Return the standard error of each score's distance from the training images' mean."""
        parts = [self._variance(block - self.centre) for block in blocks(features)]
        return np.sqrt(np.concatenate(parts) + self.residual)

    def difference_variance(self, features: Features, left: Numbers, right: Numbers) -> Floats:
        """Return the variance of differences of two scores, `(m,)`, by numbers of images."""
        pairs = np.stack([left, right], axis=1)
        parts = [
            self._variance(features[rows[:, 1]] - features[rows[:, 0]]) for rows in blocks(pairs)
        ]
        return np.concatenate(parts) + 2 * self.residual

    def _variance(self, away: NDArray[Any]) -> Floats:
        found = np.sum((away @ self.covariance) * away, axis=1, dtype=np.float64)
        return np.maximum(found, 0)


@dataclass(frozen=True)
class Pairs:
    """Answers about images by their features; a row is `scale * (f_right - f_left)`."""

    features: Features
    scale: Floats
    left: Numbers
    right: Numbers
    answer: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.left)

    def take(self, rows: NDArray[Any]) -> Pairs:
        """Return some of the pairs."""
        parts = (self.left, self.right, self.answer, self.weight)
        return Pairs(self.features, self.scale, *(part[rows] for part in parts))

    @property
    def at_once(self) -> int:
        """Pairs whose features are in memory together."""
        return min(_CHUNK, max(1, _NUMBERS // self.features.shape[1]))

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield rows some at a time, with their places."""
        for start in range(0, len(self), self.at_once):
            rows = slice(start, start + self.at_once)
            right, left = self.features[self.right[rows]], self.features[self.left[rows]]
            yield rows, (right.astype(np.float64) - left) * self.scale

    def rows(self) -> Floats:
        """Return all rows, `(m, d)`."""
        return np.concatenate([rows for _, rows in self.chunks()])


def fit_linear(
    features: Features,
    left: ArrayLike,
    right: ArrayLike,
    answer: ArrayLike,
    weight: ArrayLike | None = None,
    seed: int = 0,
    group: Numbers | None = None,
) -> Linear:
    """Return the scores that explain compared pairs best.

    Args:
        features: `(n, d)` of n images; `Rows` stay in their file.
        left: `(m,)` numbers of images.
        right: the other image of each pair.
        answer: `(m,)` probability that the right image ranks higher; 0.5 for a tie.
        weight: `(m,)` weights of the pairs; default 1 each.
        seed: of the folds of cross-validation.
        group: `(m, 2)` numbers of the groups of left and right image: a group is in one fold.
            Default: every image is a group.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features, (left, right) = rng.normal(size=(50, 3)), rng.integers(0, 50, (2, 300))
        >>> found = fit_linear(features, left, right, features[right, 0] > features[left, 0])
        >>> abs(found.weights).argmax()
        np.int64(0)
    """
    import scipy.linalg  # noqa: F401  # so that its BLAS is limited too

    # Threads of BLAS wait for each other where other programs run, fifty times longer than alone.
    with threadpool_limits(1, user_api="blas"):
        pairs, centre = standardised(features, left, right, answer, weight)
        scale, (different, _) = pairs.scale, _different(pairs)
        chosen = np.random.default_rng(seed).permutation(len(different))[:_CHOOSING]
        variance, averaged = _choose(different.take(np.sort(chosen)))
        found = _mode(pairs, variance)
        out = left_out_scores(pairs, lambda some: _mode(some, variance, found), seed, group)
        again = _mode(pairs, averaged, found)
        covariance = _inverse(_loss(pairs.chunks(), pairs, _penalty(pairs, averaged), again)[2])
        covariance *= scale
        covariance *= scale[:, None]
        solved = Linear(
            weights=found * scale,
            offset=-float(centre @ (found * scale)),
            variance=variance,
            covariance=covariance.astype(np.float32),
            centre=centre,
            answer=pairs.answer,
            images=np.stack([pairs.left, pairs.right], axis=1),
            left_out=out,
        )
        stretch, residual = _unseen(solved, pairs, seed)
        return replace(
            solved,
            weights=stretch * solved.weights,
            offset=stretch * solved.offset,
            left_out=stretch * out,
            residual=residual,
        )


def _unseen(solved: Linear, pairs: Pairs, seed: int) -> tuple[float, float]:
    """Return what scores are to be multiplied by, and the variance that features miss.

    Both by pairs of left-out images, of many those of some images. For each variance there is a
    factor that makes the answers most likely, as fits a pair of new images. The variance is a mean
    by how likely each answer is, given the other answers about the images that features miss.
    """
    out = ~np.isnan(solved.left_out[:, 0]) & (pairs.left != pairs.right)
    kept = np.sqrt(_CHOOSING / max(int(out.sum()), 1))
    among = np.random.default_rng(seed).random(solved.images.max() + 1) < kept
    out &= among[solved.images].all(axis=1)
    if not out.any():
        return 1.0, 0.0
    left_out = pairs.take(out)
    some, first = _different(left_out)
    margin = np.diff(solved.left_out[out][first].astype(np.float64), axis=1)[:, 0]
    margin[left_out.left[first] != some.left] *= -1
    variance = solved.difference_variance(pairs.features, some.left, some.right)
    known, number = np.unique([some.left, some.right], return_inverse=True)
    left, right = np.split(number.ravel(), 2)
    answers = Judgements(left, right, some.answer, len(known), weight=some.weight)

    def stretched(missed: float) -> float:
        return 1 / fit_temperature(
            margin / flattened(variance + 2 * missed), some.answer, some.weight
        )

    own = max(float(variance.mean()) / 2, 1e-9)
    likely = []
    for missed in _MISSED:
        pull = stretched(missed) * margin
        scores = fit_scores(answers, scales=Scales(1.0, np.sqrt(own + missed)), pull=pull)
        mean, spread = scores.left_out()
        likely.append(_likely(some, (pull + mean) / flattened(spread)))
    logs = np.array(likely) - (np.log1p(_MISSED) / _SMALL) ** 2 / 2
    residual = float(np.average(_MISSED, weights=np.exp(logs - logs.max())))
    return stretched(residual), residual


def standardised(
    features: Features,
    left: ArrayLike,
    right: ArrayLike,
    answer: ArrayLike,
    weight: ArrayLike | None,
) -> tuple[Pairs, Floats]:
    """Return pairs with the scale that standardises their features, and the mean features."""
    left, right = np.asarray(left, np.int64), np.asarray(right, np.int64)
    answer = np.asarray(answer, np.float64)
    weight = np.ones(len(answer)) if weight is None else np.asarray(weight, np.float64)
    centre, spread = moments(features, np.unique(np.concatenate([left, right])))
    constant = spread <= _LEAST_SPREAD * spread.max(initial=0)
    scale = np.where(constant, 0, 1 / np.where(constant, 1, spread))
    return Pairs(features, scale, left, right, answer, weight), centre


def _different(pairs: Pairs) -> tuple[Pairs, Numbers]:
    """Return different pairs, each with the mean of its answers, and the row where each is first.

    Answers about one pair tell each other: they are left out together.
    """
    sides = np.stack([pairs.left, pairs.right], axis=1)
    both, first, number = np.unique(
        np.sort(sides, axis=1), axis=0, return_index=True, return_inverse=True
    )
    weight = np.bincount(number.ravel(), pairs.weight).astype(np.float64)
    answer = np.where(pairs.left > pairs.right, 1 - pairs.answer, pairs.answer)
    told = np.bincount(number.ravel(), pairs.weight * answer)
    mean = np.divide(told, weight, out=np.full(len(both), 0.5), where=weight > 0)
    return Pairs(pairs.features, pairs.scale, both[:, 0], both[:, 1], mean, weight), first


def _choose(pairs: Pairs) -> tuple[float, float]:
    """Return the prior variances by which left-out pairs are most likely.

    Returns:
        That of the mode's probabilities, of `_VARIANCES`, and that of probabilities averaged over
        the posterior, the peak of a parabola.
    """
    rows = pairs.rows()
    if len(rows) < rows.shape[1]:
        rows, _ = _reduced(rows)
    likely: list[tuple[float, float]] = []
    start: Floats | None = None
    for variance in _VARIANCES:
        start, hessian = _newton([(slice(None), rows)], pairs, _penalty(pairs, variance), start)
        margin, spread = _left_out(rows, pairs, start, hessian)
        likely.append((_likely(pairs, margin), _likely(pairs, margin / flattened(spread))))
    plain, averaged = np.array(likely).T
    best, place = int(np.argmax(plain)), float(np.argmax(averaged))
    if 0 < place < len(averaged) - 1:
        below, top, above = averaged[int(place) - 1 : int(place) + 2]
        place += (below - above) / 2 / min(below - 2 * top + above, -1e-9)
    logs = np.log(_VARIANCES)
    return float(_VARIANCES[best]), float(np.exp(np.interp(place, np.arange(len(logs)), logs)))


def _penalty(pairs: Pairs, variance: float) -> float:
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


def _mode(pairs: Pairs, variance: float, start: Floats | None = None) -> Floats:
    """Return the most likely weights of standardised features."""
    penalty = _penalty(pairs, variance)
    if 2 * len(pairs) > pairs.features.shape[1]:
        again = pairs if len(pairs) > pairs.at_once else [(slice(None), pairs.rows())]
        return _newton(again, pairs, penalty, start)[0]
    few, back = _reduced(pairs.rows())
    return back @ _newton([(slice(None), few)], pairs, penalty)[0]


def _inverse(hessian: Floats) -> Floats:
    """Return the inverse of a symmetric matrix, in its own memory."""
    from scipy.linalg import cho_factor, lapack

    factor, lower = cho_factor(hessian.T, overwrite_a=True, check_finite=False)
    found: Floats = lapack.dpotri(factor, lower=lower, overwrite_c=True)[0]
    for row in range(len(found)):  # the other triangle still has other numbers
        found[row + 1 :, row] = found[row, row + 1 :]
    return found


def _loss(
    chunks: Iterable[tuple[slice, Floats]], pairs: Pairs, penalty: float, weights: Floats
) -> tuple[float, Floats, Floats]:
    """Return the penalised loss, its gradient and its Hessian."""
    value, gradient = penalty / 2 * float(weights @ weights), penalty * weights
    hessian = np.diag(np.full(len(weights), penalty))
    for part, rows in chunks:
        margin, answer, weight = rows @ weights, pairs.answer[part], pairs.weight[part]
        held = _sigmoid(margin)
        value += float(weight @ (np.logaddexp(0, margin) - answer * margin))
        gradient = gradient + rows.T @ (weight * (held - answer))
        root = (rows * np.sqrt(weight * held * (1 - held))[:, None]).astype(np.float32)
        hessian += root.T @ root  # of float32, in half the time
    return value, gradient, hessian


def _newton(
    chunks: list[tuple[slice, Floats]] | Pairs,
    pairs: Pairs,
    penalty: float,
    start: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Minimise the penalised loss; return the weights, and the Hessian there.

    A step that does not lessen the loss is halved: the loss is convex, so that this converges.
    """
    from scipy.linalg import cho_factor, cho_solve

    def at(weights: Floats) -> tuple[float, Floats, Floats]:
        again = chunks.chunks() if isinstance(chunks, Pairs) else chunks
        return _loss(again, pairs, penalty, weights)

    columns = pairs.features.shape[1] if isinstance(chunks, Pairs) else chunks[0][1].shape[1]
    weights = np.zeros(columns) if start is None else start
    value, gradient, hessian = at(weights)
    for _ in range(_STEPS):
        step = cho_solve(cho_factor(hessian, check_finite=False), gradient, check_finite=False)
        if float(gradient @ step) < _CONVERGED:  # twice the loss that the step is to gain
            break
        del hessian  # there is memory for one
        length, new = 1.0, at(weights - step)
        while new[0] > value and length > _SHORTEST:
            length /= 2
            del new
            new = at(weights - length * step)
        weights, (value, gradient, hessian) = weights - length * step, new
    return weights, hessian


def _sigmoid(margin: Floats) -> Floats:
    from scipy.special import expit

    held: Floats = expit(margin)
    return held


def _left_out(
    rows: Floats, pairs: Pairs, weights: Floats, hessian: Floats
) -> tuple[Floats, Floats]:
    """Return each pair's margin by all others, and its variance: the cavity, without refits."""
    margin = rows @ weights
    held = _sigmoid(margin)
    curvature = pairs.weight * held * (1 - held)
    variance = np.einsum("ij,ji->i", rows, np.linalg.solve(hessian, rows.T))
    variance /= np.maximum(1 - curvature * variance, 1e-3)
    return margin - variance * pairs.weight * (pairs.answer - held), variance


def _likely(pairs: Pairs, margin: Floats) -> float:
    """Return the log-likelihood of the pairs' answers."""
    return float(pairs.weight @ (pairs.answer * margin - np.logaddexp(0, margin)))


def left_out_scores(
    pairs: Pairs, fit: Callable[[Pairs], Floats], seed: int, group: Numbers | None
) -> NDArray[np.float32]:
    """Return scores of pairs of two left-out images, `(m, 2)`; NaN where no fold leaves out both.

    Images, or their groups, are put into folds, pairs together where that is possible, and copies
    of an image into one; a fold's pairs are answered by what the pairs of all other images teach.
    Few pairs are divided several times, until most were left out; the first division that leaves a
    pair out answers it.

    Args:
        pairs: all pairs.
        fit: returns weights of standardised features, from some of the pairs.
        seed: of the folds.
        group: `(m, 2)`, see `fit_linear`.
    """
    scores = np.full((len(pairs), 2), np.nan, np.float32)
    images = np.stack([pairs.left, pairs.right])
    left, right = fold_units(pairs.features, images, None if group is None else group.T)
    telling = (pairs.answer != 0.5) & (pairs.weight > 0)
    for partition in range(max(1, min(_PARTITIONS, _FEW // len(pairs)))):
        rng = np.random.default_rng([seed, partition])
        fold = image_groups(left, right, [1 / _FOLDS] * _FOLDS, rng)
        for one in range(_FOLDS):
            out, there = fold[left] == one, fold[right] == one
            test = np.flatnonzero(out & there & (pairs.weight > 0) & np.isnan(scores[:, 0]))
            train = np.flatnonzero(~(out | there))
            if not telling[test].any() or not telling[train].any():
                continue
            weights = fit(pairs.take(train)) * pairs.scale
            used = np.unique(np.concatenate([pairs.left[train], pairs.right[train]]))
            offset = moments(pairs.features, used)[0] @ weights
            for side, numbers in enumerate(images[:, test]):
                parts = [pairs.features[part] @ weights for part in blocks(numbers)]
                scores[test, side] = np.concatenate(parts) - offset
    return scores

"""Scores that are linear in features, from values such as mean opinions: ridge regression.

With standardised features `f` of an image, and its value less the mean of all,

    value = f w + noise,    w ~ N(0, r s I),    noise ~ N(0, s).

The ratio `r` is the one that predicts each image's value best from all others, which ridge
regression knows without refits (Rasmussen and Williams, Gaussian Processes for Machine Learning,
2006, section 5.4.2); `s` is the most likely one then. Two values differ by twice the noise, so that

    P(right ranks higher) = Phi((f_right - f_left) w / sqrt(2 s)),

whose logit is about 1.702 times the argument: scores are given in logits, as those from pairs are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from kpairs.data.rows import Rows, blocks, moments
from kpairs.judging.folds import Features, fold_units
from kpairs.judging.graded import rotated
from kpairs.judging.judgements import Floats, Numbers
from kpairs.judging.linear import Linear, Pairs, left_out_scores, standardised

_RATIOS = 4.0 ** np.arange(-5, 7)  # of a score's prior variance to the noise
_LEAST_NOISE = 1e-4  # share of the values' variance
_LOGIT = 1.702  # Phi(x) is nearly the logistic function of 1.702 x


def fit_values(
    features: Features,
    left: ArrayLike,
    right: ArrayLike,
    answer: ArrayLike,
    value: ArrayLike,
    weight: ArrayLike | None = None,
    seed: int = 0,
    group: Numbers | None = None,
) -> Linear:
    """Return the scores that explain the values of compared images best.

    Args:
        features: `(n, d)` of n images.
        left: `(m,)` numbers of images.
        right: the other image of each pair.
        answer: `(m,)` probability that the right image ranks higher; 0.5 for a tie.
        value: `(m, 2)` of the left and the right image; of several values of an image, or of its
            copies, the mean counts.
        weight: `(m,)` weights of the pairs, in the error alone; default 1 each.
        seed: of the folds of cross-validation.
        group: as that of `kpairs.judging.linear.fit_linear`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features, (left, right) = rng.normal(size=(50, 3)), rng.integers(0, 50, (2, 300))
        >>> truth = features[:, 0]
        >>> value = np.stack([truth[left], truth[right]], axis=1)
        >>> found = fit_values(features, left, right, truth[right] > truth[left], value)
        >>> abs(found.weights).argmax()
        np.int64(0)
    """
    sides = np.stack([left, right]).astype(np.int64)
    unit = fold_units(features, sides)  # ratings of one image would tell each other
    left, right = sides.ravel()[np.unique(unit, return_index=True)[1]][unit]
    pairs, centre = standardised(features, left, right, answer, weight)
    both = np.concatenate([pairs.left, pairs.right])
    images, number = np.unique(both, return_inverse=True)
    mean, given = np.zeros(len(features)), np.asarray(value, np.float64).T.ravel()
    given = given / max(float(np.abs(given).max(initial=0)), 1e-300)  # whose squares are finite
    mean[images] = np.bincount(number, given) / np.bincount(number)
    with threadpool_limits(1, user_api="blas"):  # threads wait for each other on busy machines
        rows, axes, ratio, noise = _ridge(pairs, mean)
        logits = _LOGIT / np.sqrt(2 * noise)
        weights = logits * _weights(rows, axes, ratio, mean[images] - mean[images].mean())
        beyond = _squares(rows) * ratio
        kept = (axes * (ratio * beyond / (1 + beyond))) @ axes.T
        covariance = _LOGIT**2 / 2 * (ratio * np.eye(len(axes)) - kept)
        left_out = logits * left_out_scores(
            pairs, lambda some: _of_images(some, mean, ratio), seed, group
        )
    return Linear(
        weights=weights * pairs.scale,
        offset=-float(centre @ (weights * pairs.scale)),
        variance=ratio * len(axes) * logits**2 * noise,
        covariance=(covariance * np.outer(pairs.scale, pairs.scale)).astype(np.float32),
        centre=centre,
        answer=pairs.answer,
        images=np.stack([pairs.left, pairs.right], axis=1),
        left_out=left_out.astype(np.float32),
    )


def _rows(pairs: Pairs) -> tuple[Numbers, Features, Floats]:
    """Return the images of pairs, their centred features along principal axes, and the axes."""
    images = np.unique(np.concatenate([pairs.left, pairs.right]))
    centre = moments(pairs.features, images)[0]
    known = pairs.features
    rows = known.take(images) if isinstance(known, Rows) else known[images]
    return images, *rotated(rows, centre, pairs.scale)


def _weights(rows: Features, axes: Floats, ratio: float, value: Floats) -> Floats:
    shrunk = ratio / (1 + ratio * _squares(rows))
    return axes @ (shrunk * _along(rows, value))


def _squares(rows: Features) -> Floats:
    return np.asarray(sum(np.square(part, dtype=np.float64).sum(axis=0) for part in blocks(rows)))


def _along(rows: Features, value: Floats) -> Floats:
    both = zip(blocks(rows), blocks(value), strict=True)
    return np.asarray(sum(part.T @ values for part, values in both))


def _of_images(pairs: Pairs, value: Floats, ratio: float) -> Floats:
    """Return weights from the images of some of the pairs."""
    images, rows, axes = _rows(pairs)
    return _weights(rows, axes, ratio, value[images] - value[images].mean())


def _ridge(pairs: Pairs, value: Floats) -> tuple[Features, Floats, float, float]:
    """Return rows, axes, the ratio that predicts left-out images best, and the noise."""
    images, rows, axes = _rows(pairs)
    away = value[images] - value[images].mean()
    square, along = _squares(rows), _along(rows, away)
    width = max(int(np.count_nonzero(pairs.scale)), 1)
    found: list[tuple[float, float, float]] = []
    for ratio in (_RATIOS / width).tolist():
        shrunk = ratio / (1 + ratio * square)
        left = away - np.concatenate([part @ (shrunk * along) for part in blocks(rows)])
        own = [np.square(part, dtype=np.float64) @ shrunk for part in blocks(rows)]
        kept = np.maximum(1 - 1 / len(away) - np.concatenate(own), 1e-6)
        found.append((float(np.square(left / kept).sum()), ratio, float(away @ left) / len(away)))
    _, ratio, noise = min(found)
    return rows, axes, ratio, max(noise, _LEAST_NOISE * float(away.var()), 1e-30)

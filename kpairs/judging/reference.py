"""The training images of a network: what a new image's score and features are held against.

A `Reference` goes along with an exported file. It holds the distribution of the training images'
scores, their features' principal axes and, for scores that are linear in features, the covariance
of Laplace's approximation along those axes; beyond them it keeps one variance per unit of squared
distance. 128 axes of 816 features give standard errors within 10 % of the full covariance's.

An image is far from the training images if one of two squared distances is beyond the 99.9th
percentile of the training images': the Mahalanobis distance along the first axes, or the distance
from their plane. Each training image is measured by the axes of other images and by those of all;
the larger percentile counts, so that an image that a network was trained on is seldom far.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from kpairs.files import read_arrays
from kpairs.judging.judgements import Floats

Pixels = NDArray[np.float32]
MOST = 2000  # training images that are seen
_AXES = 128  # for standard errors
_COMMON, _EACH = 64, 6  # axes of the distance: at most 64, and one for six images
_FOLDS, _TOO_FEW = 5, 30
_FAR, _SLACK = 99.9, 1.01  # percentile; its image stays near whatever rounds its features
_STEPS = 201  # quantiles of scores that are kept
_THUMBNAIL = 16  # pixels a side
_LEAST = 1e-6  # deviation of a feature over the largest: below, it is a constant
_MOST_UNPACKED = 2**26
_NARROW = 0.7  # prior deviation of the temperature's logarithm


class Placed(NamedTuple):
    """Images by their features.

    Attributes:
        along: `(n, k)` coordinates along the training images' axes.
        beyond: `(n,)` squared distance from the plane of these axes.
    """

    along: Floats
    beyond: Floats


@dataclass(frozen=True)
class Reference:
    """Scores and features of training images. Made by `make_reference`.

    Attributes:
        images: number of training images that were seen.
        scores: `(201,)` quantiles of their scores at equal steps; empty where nothing is scored.
        centre: `(d,)` mean features.
        scale: `(d,)` factors that standardise features.
        axes: `(d, k)` principal axes of standardised features.
        spread: `(c,)` variances along the first c axes.
        rest: variance beyond the first c axes.
        limits: `(2,)` 99.9th percentiles of both distances; of fewer than 30 images, which do not
            tell them, so much that nothing is far.
        covariance: `(k, k)` of a score along the axes; `(0, 0)` without standard errors.
        unexplained: variance of a score per unit of squared distance beyond the axes.
        residual: variance of an image's true score that features miss.
    """

    images: int
    scores: Floats
    centre: Floats
    scale: Floats
    axes: NDArray[Any]
    spread: Floats
    rest: float
    limits: Floats
    covariance: Floats
    unexplained: float
    residual: float = 0.0

    @property
    def has_deviation(self) -> bool:
        """True if scores have standard errors."""
        return bool(self.covariance.size)

    def place(self, features: ArrayLike) -> Placed:
        """Return `(n, d)` features by the training images' axes."""
        return _placed(features, self.centre, self.scale, self.axes)

    def percentile(self, score: ArrayLike) -> Floats:
        """Return the share of training images with a lower score, in percent; ties count half."""
        score = np.asarray(score, np.float64)
        low, high = (np.searchsorted(self.scores, score, side) for side in ("left", "right"))
        found: Floats = 50 * (low + high) / len(self.scores)
        return found

    def deviation(self, placed: Placed) -> Floats:
        """Return the standard error of each score, `(n,)`, from the training images' mean."""
        return np.sqrt(self._variance(*placed) + self.residual)

    def difference_variance(self, left: Placed, right: Placed) -> Floats:
        """Return the variance of each difference of two scores, `(n,)`."""
        apart = self._variance(right.along - left.along, left.beyond + right.beyond)
        return apart + 2 * self.residual

    def _variance(self, along: Floats, beyond: Floats) -> Floats:
        found = np.sum((along @ self.covariance) * along, axis=1) + self.unexplained * beyond
        return np.maximum(found, 0)  # of rounded covariances a variance may be less

    def distance(self, placed: Placed) -> Floats:
        """Return each image's distance, `(n,)`: above 1 it is far from the training images."""
        apart = np.sqrt(_distances(placed, self.spread, self.rest) / self.limits)
        return np.asarray(apart.max(axis=1), np.float64)

    def to_text(self) -> str:
        """Return everything as text, an .npz file in base 64."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        small = {n: np.asarray(a, np.float32) for n, a in arrays.items()}
        small["axes"] = self.axes.astype(np.float16)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **small)
        return base64.b64encode(file.getvalue()).decode()

    @classmethod
    def from_text(cls, text: str) -> Reference:
        """Read what `to_text` wrote.

        Raises:
            ValueError: damaged text, or arrays that do not fit each other.
        """
        try:
            file = io.BytesIO(base64.b64decode(text, validate=True))
            given = {"residual": 0.0, **read_arrays(file, _MOST_UNPACKED)}
            found: dict[str, Any] = {
                field.name: np.asarray(given[field.name], np.float64) for field in fields(cls)
            }
            numbers = ("rest", "unexplained", "residual")
            found |= {name: found[name].item() for name in numbers}
            found["images"] = int(found["images"])
            _check(**found)
        except Exception as error:  # binascii's, zipfile's, NumPy's and our own
            raise ValueError(f"expected a reference of training images: {error}") from error
        return cls(**found)


def _check(axes: Floats, covariance: Floats, spread: Floats, limits: Floats, **arrays: Any) -> None:
    d, k = axes.shape
    good = (
        all(np.isfinite(a).all() for a in (axes, covariance, spread, limits, *arrays.values()))
        and all(arrays[name].shape == (d,) for name in ("centre", "scale"))
        and covariance.shape in ((k, k), (0, 0))
        and limits.shape == (2,)
        and (limits > 0).all()
        and spread.ndim == arrays["scores"].ndim == 1
        and (spread > 0).all()
        and 0 < len(spread) <= k
        and arrays["rest"] > 0
        and arrays.get("residual", 0) >= 0
    )
    if not good:
        raise ValueError("arrays that do not fit each other")


def chance(margin: ArrayLike, variance: ArrayLike = 0.0, temperature: float = 1.0) -> Floats:
    """Return the probability that the right image ranks higher.

    The mean of the logistic function over scores that are uncertain, in the probit approximation
    (MacKay, The evidence framework applied to classification networks, 1992).

    Args:
        margin: difference of scores, right less left, or the logit of a probability.
        variance: of that difference.
        temperature: by which logits are divided (Guo et al., 2017).

    Example:
        >>> chance([0.0, 2.0, 2.0], [0.0, 0.0, 4.0]).round(3)
        array([0.5  , 0.881, 0.777])
    """
    from scipy.special import expit

    found: Floats = expit(np.asarray(margin, np.float64) / flattened(variance) / temperature)
    return found


def flattened(variance: ArrayLike) -> Floats:
    """Return the factors by which uncertainty divides logits; 1 where there is none."""
    return np.sqrt(1 + np.pi / 8 * np.asarray(variance, np.float64))


def fit_temperature(margin: Floats, answer: Floats, weight: Floats | None = None) -> float:
    """Return the number that margins are to be divided by, so that answers are most likely.

    Args:
        margin: `(n,)` logits.
        answer: `(n,)` 1, 0, or 1/2 for a tie.
        weight: `(n,)` of the answers; default 1 each.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(0, 2, 5000)
        >>> answers = rng.random(5000) < 1 / (1 + np.exp(-logits))
        >>> round(fit_temperature(3 * logits, answers), 1)
        3.0
    """
    from scipy.optimize import minimize_scalar

    counted = np.ones(len(margin)) if weight is None else weight

    def loss(log: float) -> float:
        x = margin * np.exp(-log)
        return float(counted @ (np.logaddexp(0, x) - answer * x)) + (log / _NARROW) ** 2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def thumbnails(images: Pixels) -> NDArray[np.float32]:
    """Return `(n, d)` features of networks that have no others: images of at most 16x16 pixels.

    Args:
        images: `(n, height, width, channels)` pixels in [0, 1]; each pixel of a thumbnail is the
            mean of a part.
    """
    small: NDArray[Any] = np.asarray(images, np.float32)
    for axis in (1, 2):
        side = small.shape[axis]
        if side > _THUMBNAIL:
            edges = np.linspace(0, side, _THUMBNAIL + 1).astype(np.int64)
            shape = [1] * small.ndim
            shape[axis] = _THUMBNAIL
            counts = np.diff(edges).reshape(shape)
            small = np.add.reduceat(small, edges[:-1], axis=axis) / counts
    return small.reshape(len(small), -1).astype(np.float32)


def make_reference(
    features: ArrayLike,
    scores: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    residual: float = 0.0,
) -> Reference:
    """Describe training images.

    Args:
        features: `(n, d)` of n training images, n >= 2.
        scores: `(n,)`, or None.
        covariance: `(d, d)` of weights by which scores are linear in features, or None.
        residual: variance of an image's true score that features miss.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> known = make_reference(rng.normal(size=(500, 4)), rng.normal(size=500))
        >>> known.distance(known.place([[0.0, 0, 0, 0], [9, 9, 9, 9]])).round(1)
        array([0., 5.])
    """
    # Threads of BLAS wait for each other where other programs run, many times longer than alone.
    with threadpool_limits(1, user_api="blas"):
        found = _described(np.asarray(features, np.float64), scores, covariance)
    return replace(found, residual=residual)


def _described(rows: Floats, scores: ArrayLike | None, covariance: ArrayLike | None) -> Reference:
    count, width = rows.shape
    common = max(1, min(_COMMON, count // _EACH, width // 2))
    centre, scale, axes, variance = _axes(rows)
    most = common if covariance is None else max(common, min(_AXES, width))
    kept = axes[:, :most].astype(np.float16).astype(np.float64)
    placed = _placed(rows, centre, scale, kept)
    along, unexplained = np.zeros((0, 0)), 0.0
    if covariance is not None:
        whole = np.asarray(covariance, np.float64)
        back = kept / scale[:, None]
        along = back.T @ whole @ back
        away = rows - centre
        left = np.sum((away @ whole) * away, 1) - np.sum((placed.along @ along) * placed.along, 1)
        total = float(placed.beyond.sum())
        unexplained = max(float(left.sum()), 0.0) / total if total > 1e-6 * rows.size else 0.0
    quantiles = np.linspace(0, 1, _STEPS)
    return Reference(
        images=count,
        scores=np.zeros(0) if scores is None else np.quantile(np.asarray(scores), quantiles),
        centre=centre,
        scale=scale,
        axes=kept,
        spread=np.maximum(variance[:common], 1e-9),
        rest=max(float(variance[common:].sum()), 1e-9),
        limits=_limits(rows, common),
        covariance=along,
        unexplained=unexplained,
    )


def _axes(rows: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return centre, scale, principal axes and variances along them, the largest first."""
    centre, deviation = rows.mean(axis=0), rows.std(axis=0)
    told = deviation > _LEAST * max(float(deviation.max(initial=0)), 1e-300)
    usual = float(np.median(deviation[told])) if told.any() else 1.0
    scale = 1 / np.where(told, deviation, usual)  # where all are alike, a stranger may differ
    standard = (rows - centre) * scale
    values, vectors = np.linalg.eigh(standard.T @ standard / len(rows))
    return centre, scale, vectors[:, ::-1], np.maximum(values[::-1], 0)


def _placed(features: ArrayLike, centre: Floats, scale: Floats, axes: Floats) -> Placed:
    standard = (np.asarray(features, np.float64) - centre) * scale
    along = standard @ axes
    return Placed(along, np.maximum(np.sum(standard**2, 1) - np.sum(along**2, 1), 0))


def _distances(placed: Placed, spread: Floats, rest: float) -> Floats:
    """Return squared distances `(n, 2)`: along the first axes, and from their plane."""
    common = len(spread)
    near = np.mean(placed.along[:, :common] ** 2 / spread, axis=1)
    beyond = placed.beyond + np.sum(placed.along[:, common:] ** 2, axis=1)
    return np.stack([near, beyond / rest], axis=1)


def _limits(rows: Floats, common: int) -> Floats:
    """Return the 99.9th percentiles of both distances, by the axes of other images or of all."""
    if len(rows) < _TOO_FEW:
        return np.full(2, 1e30)
    fold = np.arange(len(rows)) % _FOLDS
    others = [_apart(rows[fold == one], rows[fold != one], common) for one in range(_FOLDS)]
    both = np.stack([np.concatenate(others), _apart(rows, rows, common)])
    highest: Floats = np.percentile(both, _FAR, axis=1, method="higher").max(axis=0)
    return np.maximum(_SLACK * highest, 1e-9)


def _apart(rows: Floats, known: Floats, common: int) -> Floats:
    """Return squared distances `(n, 2)` of rows by the axes of known ones."""
    centre, scale, axes, variance = _axes(known)
    placed = _placed(rows, centre, scale, axes[:, :common])
    spread = np.maximum(variance[:common], 1e-9)
    return _distances(placed, spread, max(float(variance[common:].sum()), 1e-9))

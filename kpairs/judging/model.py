"""Bayesian Bradley-Terry scores of images, from judgements and, where there are, features.

The model, with `F` the features `(n, d)` and `s` the scores `(n,)` on the logit scale:

    s = F w + u,    w ~ N(0, sw² I),    u ~ N(0, su² I)
    P(right ranks higher) = sigmoid(s_right - s_left)

Features carry what images have in common to images that nobody judged; the residual `u` lets
judgements overrule them. Ties follow Davidson (1970): with `d` the difference of scores,

    P(right) : P(tie) : P(left) = exp(d) : v exp(d / 2) : 1

so that the log-likelihood of an outcome `y` (1, 0.5 or 0) is `y d - log Z(d)`, apart from a
constant, with `Z = 1 + exp(d) + v exp(d / 2)`. A judge `k` sees `a_k d + b_k` instead of `d`
(`kpairs.judging.judges`).

The scores are the posterior's mode, found by Newton's method. Its covariance is Laplace's
approximation, and the scales `sw` and `su` maximise the marginal likelihood (Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006, section 3.4; Chu and Ghahramani,
Preference learning with Gaussian processes, 2005).

With `L` the Laplacian of the graph of judgements, weighted by their curvatures, the precision of
`u` given `w` is `C = L + I / su²`, which is as sparse as the judgements. With `T = inv(C) F / su²`,

    cov(w) = inv(S),  S = F' L T + I / sw²        cov(s) = inv(C) + T inv(S) T'

holds exactly, so nothing of size n x n is needed where images are many and judgements few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.errors import InputError
from kpairs.judging.factor import Factor, is_large, laplacian
from kpairs.judging.judgements import Floats, Judgements, Numbers

_TUNED = 1000  # images that stand for all where one factorisation takes seconds
_PENALTY = 1e-3  # on squared scores of plain Bradley-Terry: keeps those finite that always win
# Priors of the scales, as mean and deviation of logarithms: of the scores' deviation (in logits),
# and of the residual's deviation over the features'.
_TOTAL = (np.log(3.0), 0.7)
_RATIO = (np.log(0.3), 0.7)
_DOUBT = 1.0  # evidence that a wider residual may lack, in nats
_TIE = (0.0, 2.0)  # and of the tie parameter
# Steps of the logarithms of both scales that the search tries; without features, of the second.
_MOVES = [(0.5, 0.0), (-0.5, 0.0), (0.0, -0.5), (0.0, 0.5), (0.5, 0.5), (-0.5, -0.5)]


@dataclass(frozen=True)
class Scales:
    """The model's hyperparameters.

    Attributes:
        feature: prior deviation `sw` of a score's part that features explain, in logits.
        residual: prior deviation `su` of the rest.
        tie: Davidson's parameter; 0 where nobody answers that two images tie.
    """

    feature: float
    residual: float
    tie: float = 0.0


def davidson(d: Floats, tie: float) -> tuple[Floats, Floats, Floats]:
    """Return `log Z`, mean and variance of an outcome at differences `d`; see the module."""
    with np.errstate(divide="ignore"):
        middle = np.log(tie) + d / 2
    log_z = np.logaddexp(np.logaddexp(0, d), middle)
    right, tied = np.exp(d - log_z), np.exp(middle - log_z)
    mean = right + tied / 2
    return log_z, mean, right + tied / 4 - mean**2


@dataclass(frozen=True)
class Posterior:
    """Scores of all images with their uncertainty, on the logit scale. Made by `fit`.

    Attributes:
        judgements: what the scores rest on.
        features: `(n, d)` prepared features, d = 0 without.
        scales: hyperparameters.
        slope, pull: `(m,)` each judgement's `a_k` and `b_k`.
        weights: `(d,)` the mode of w.
        residual: `(n,)` the mode of u.
    """

    judgements: Judgements
    features: Floats
    scales: Scales
    slope: Floats
    pull: Floats
    weights: Floats
    residual: Floats

    @cached_property
    def mean(self) -> Floats:
        """`(n,)` scores."""
        return self.features @ self.weights + self.residual

    def margin(self) -> Floats:
        """Return what each judge saw, `a_k (s_right - s_left) + b_k`, `(m,)`."""
        answers = self.judgements
        return self.slope * (self.mean[answers.right] - self.mean[answers.left]) + self.pull

    @cached_property
    def _parts(self) -> tuple[Factor, Floats, float]:
        """The factor of C, `T inv(chol(S))'` of shape (n, d), and log|H|."""
        curvature = davidson(self.margin(), self.scales.tie)[2]
        edges = self.judgements.weight * self.slope**2 * curvature
        factor = Factor(self.judgements, edges, self.scales.residual**-2)
        low, explained = factor.schur(self.features, self.scales.feature**-2)
        half = np.asarray(np.linalg.solve(low, explained.T).T, np.float64)
        return factor, half, factor.log_determinant + 2 * float(np.log(np.diag(low)).sum())

    @cached_property
    def evidence(self) -> float:
        """Laplace's approximation of the log marginal likelihood, with the scales' priors."""
        scales = self.scales
        count, size = self.features.shape
        value = _objective(self, self.weights, self.residual)[0]
        value -= count * np.log(scales.residual) + self._parts[2] / 2
        total = scales.residual
        if size:
            value -= size * np.log(scales.feature)
            total = float(np.hypot(scales.feature, scales.residual))
            value -= ((np.log(scales.residual / scales.feature) - _RATIO[0]) / _RATIO[1]) ** 2 / 2
        return float(value - ((np.log(total) - _TOTAL[0]) / _TOTAL[1]) ** 2 / 2)

    def covariance(self, images: Numbers) -> Floats:
        """Return the covariance of some images' scores, `(k, k)`."""
        factor, half, _ = self._parts
        return factor.block(images) + half[images] @ half[images].T

    def answer_variance(self) -> Floats:
        """Return the variance of each judgement's `s_right - s_left`, `(m,)`."""
        factor, half, _ = self._parts
        left, right = self.judgements.left, self.judgements.right
        own = factor.diagonal
        shared = np.sum((half[left] - half[right]) ** 2, axis=1)
        return own[left] + own[right] - 2 * factor.linked(left, right) + shared

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw scores from the posterior, `(count, n)`."""
        factor, half, _ = self._parts
        noise = factor.draw(count, rng) + half @ rng.standard_normal((half.shape[1], count))
        return self.mean + noise.T

    def left_out(self) -> tuple[Floats, Floats]:
        """Return mean and variance of each judgement's `s_right - s_left` without that judgement.

        The cavity of a Laplace approximation: the judgement's own gradient and curvature are taken
        out again, without another fit.
        """
        answers = self.judgements
        difference = self.mean[answers.right] - self.mean[answers.left]
        variance = self.answer_variance()
        _, mean, curvature = davidson(self.margin(), self.scales.tie)
        curvature = answers.weight * self.slope**2 * curvature
        gradient = answers.weight * self.slope * (answers.outcome - mean)
        cavity = variance / np.maximum(1 - curvature * variance, 1e-6)
        return difference - cavity * gradient, cavity


def _objective(model: Posterior, weights: Floats, residual: Floats) -> tuple[float, Floats, Floats]:
    """Return the log posterior, its gradient by scores `(n,)`, and curvatures `(m,)`."""
    answers, tie = model.judgements, model.scales.tie
    scores = model.features @ weights + residual
    margin = model.slope * (scores[answers.right] - scores[answers.left]) + model.pull
    log_z, mean, curvature = davidson(margin, tie)
    value = answers.weight @ (answers.outcome * margin - log_z)
    if tie:
        value += np.log(tie) * (answers.weight @ (answers.outcome == 0.5))
    value -= residual @ residual / (2 * model.scales.residual**2)
    if len(weights):
        value -= weights @ weights / (2 * model.scales.feature**2)
    slopes: Floats = answers.weight * model.slope * (answers.outcome - mean)
    count = answers.count
    gradient: Floats = np.bincount(answers.right, slopes, count).astype(np.float64)
    gradient -= np.bincount(answers.left, slopes, count)
    return float(value), gradient, curvature


def _newton_step(
    model: Posterior, gradient: tuple[Floats, Floats], curvature: Floats
) -> tuple[Floats, Floats]:
    """Solve Newton's equations by conjugate gradients: fast, and of little memory."""
    from scipy.sparse.linalg import LinearOperator, cg

    answers, features, scales = model.judgements, model.features, model.scales
    size = features.shape[1]
    graph = laplacian(answers, answers.weight * model.slope**2 * curvature)
    precision = np.repeat([scales.feature**-2, scales.residual**-2], [size, answers.count])
    block = features.T @ (graph @ features) + scales.feature**-2 * np.eye(size)
    inverse = np.linalg.inv(block)
    diagonal = graph.diagonal() + scales.residual**-2

    def hessian(x: Floats) -> Floats:
        pushed = graph @ (features @ x[:size] + x[size:])
        return np.concatenate([features.T @ pushed, pushed]) + precision * x

    def precondition(x: Floats) -> Floats:
        return np.concatenate([inverse @ x[:size], x[size:] / diagonal])

    shape = (len(precision), len(precision))
    step, _ = cg(
        LinearOperator(shape, hessian, dtype=np.float64),
        np.concatenate(gradient),
        rtol=1e-4,
        maxiter=2000,
        M=LinearOperator(shape, precondition, dtype=np.float64),
    )
    return step[:size], step[size:]


def _mode(model: Posterior, tolerance: float = 1e-12) -> Posterior:
    """Find the mode by Newton's method, from the mode that the model has."""
    w, u = model.weights, model.residual
    value, slope, curvature = _objective(model, w, u)
    for _ in range(200):
        by_w = model.features.T @ slope - (w / model.scales.feature**2 if len(w) else 0)
        by_u = slope - u / model.scales.residual**2
        step_w, step_u = _newton_step(model, (by_w, by_u), curvature)
        gain = float(by_w @ step_w + by_u @ step_u)
        length = 1.0
        while True:
            tried = _objective(model, w + length * step_w, u + length * step_u)
            if tried[0] >= value + 1e-4 * length * gain - 1e-12 * abs(value) or length < 1e-6:
                break
            length /= 2
        w, u = w + length * step_w, u + length * step_u
        value, slope, curvature = tried
        if gain < tolerance:
            break
    return replace(model, weights=w, residual=u)


def _tie_parameter(model: Posterior) -> float:
    """Maximise the likelihood by Davidson's parameter, the scores held; see `_TIE`."""
    answers = model.judgements
    tied = float(answers.weight @ (answers.outcome == 0.5))
    if not tied:
        return 0.0
    margin, log_tie = model.margin(), np.log(max(model.scales.tie, 0.1))
    for _ in range(50):
        share = np.exp(log_tie + margin / 2 - davidson(margin, float(np.exp(log_tie)))[0])
        slope = tied - answers.weight @ share - (log_tie - _TIE[0]) / _TIE[1] ** 2
        bend = answers.weight @ (share * (1 - share)) + _TIE[1] ** -2
        change = float(np.clip(slope / bend, -1, 1))
        log_tie += change
        if abs(change) < 1e-8:
            break
    return float(np.exp(log_tie))


def fit(
    judgements: Judgements,
    features: Floats | None = None,
    scales: Scales | None = None,
    *,
    slope: ArrayLike = 1.0,
    pull: ArrayLike = 0.0,
    start: Posterior | None = None,
) -> Posterior:
    """Fit scores to judgements.

    Args:
        judgements: m answers about n images.
        features: `(n, d)` from `prepare_features`, or None for plain Bradley-Terry.
        scales: hyperparameters; None to choose them by marginal likelihood, which takes some
            twenty fits.
        slope: `a_k` of each judgement's judge, a number or `(m,)`.
        pull: `b_k` likewise.
        start: an earlier posterior of the same images, near which the new one is looked for.

    Raises:
        InputError: features of another number of images.

    Example:
        >>> answers = Judgements([0, 1, 0], [1, 2, 2], [1, 1, 1], count=3)
        >>> fit(answers).mean.argsort()
        array([0, 1, 2])
    """
    count = judgements.count
    given = np.zeros((count, 0)) if features is None else np.asarray(features, np.float64)
    if given.ndim != 2 or len(given) != count:
        raise InputError(
            f"features: expected one row for each of {count} images, received {given.shape}"
        )
    near = start is not None and start.features.shape == given.shape
    model = Posterior(
        judgements,
        given,
        scales or (start.scales if near and start else Scales(3.0, 1.0 if given.shape[1] else 3.0)),
        np.broadcast_to(np.asarray(slope, np.float64), (len(judgements),)),
        np.broadcast_to(np.asarray(pull, np.float64), (len(judgements),)),
        start.weights if near and start else np.zeros(given.shape[1]),
        start.residual if near and start else np.zeros(count),
    )
    if scales is None:
        model = _tuned_on_a_part(model) if is_large(judgements) else _tuned(model)
    return _mode(model)


def _tuned(model: Posterior) -> Posterior:
    """Climb the marginal likelihood by steps of 0.5 in the logarithms of the scales.

    The ties' parameter follows the scores. The climb repeats once ties have been weighed.
    """
    best = model
    for _ in range(2):
        rough = _mode(best, tolerance=1e-6)
        tie = _tie_parameter(rough)
        best = _climbed(replace(rough, scales=replace(rough.scales, tie=tie)))
        if not tie:
            break
    return best


def _climbed(model: Posterior) -> Posterior:
    best, turned = _mode(model, tolerance=1e-6), 0
    moves = _MOVES if model.features.shape[1] else _MOVES[2:4]
    while turned < len(moves):
        move = moves[turned]
        tried = replace(best, scales=_moved(best.scales, *move))
        tried = _mode(tried, tolerance=1e-6)
        if tried.evidence > best.evidence + 1e-6:
            # The way back is known to be worse; the other scale may have come to want a change.
            best, back = tried, (-move[0], -move[1])
            moves = [move, *(m for m in moves if m not in (move, back)), back]
            turned = 0
        else:
            turned += 1
    return _doubtful(best)


def _doubtful(best: Posterior) -> Posterior:
    """Return the model of the largest residual that is about as likely: sure of less."""
    wide = best
    while True:
        tried = replace(wide, scales=_moved(wide.scales, 0.0, 0.5))
        tried = _mode(tried, tolerance=1e-6)
        if tried.evidence < best.evidence - _DOUBT:
            return wide
        wide = tried


def _moved(scales: Scales, feature: float, residual: float) -> Scales:
    """Return scales changed in logarithm."""
    steps = float(np.exp(feature)), float(np.exp(residual))
    return Scales(scales.feature * steps[0], scales.residual * steps[1], scales.tie)


def _tuned_on_a_part(model: Posterior) -> Posterior:
    """Take the scales of a random part of the images: many judgements tell them well enough."""
    answers = model.judgements
    images = np.random.default_rng(0).permutation(answers.count)[:_TUNED]
    place = np.full(answers.count, -1)
    place[images] = np.arange(len(images))
    inside = (place[answers.left] >= 0) & (place[answers.right] >= 0)
    rows = answers.take(inside)
    part = Judgements(
        place[rows.left], place[rows.right], rows.outcome, len(images), rows.judge, rows.weight
    )
    found = fit(part, model.features[images], slope=model.slope[inside], pull=model.pull[inside])
    return replace(model, scales=found.scales)


def bradley_terry(
    pairs: NDArray[np.int64], probability: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Return scores of plain Bradley-Terry: `P(left ranks no higher) = sigmoid(right - left)`.

    Args:
        pairs: `(m, 2)` numbers of items, left and right.
        probability: `(m,)`, that left ranks no higher.
        count: number of items.

    Returns:
        `(count,)` scores, whose mean is 0; a higher score ranks higher.

    Source:
        Bradley and Terry, Rank analysis of incomplete block designs, Biometrika 1952.
    """
    answers = Judgements(pairs[:, 0], pairs[:, 1], probability, count)
    scores = fit(answers, scales=Scales(1.0, _PENALTY**-0.5)).mean
    return scores - scores.mean() if count else scores

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

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kpairs.judging.factor import Factor
from kpairs.judging.judgements import Floats, Judgements, Numbers

# Priors of the scales, as mean and deviation of logarithms: of the scores' deviation (in logits),
# and of the residual's deviation over the features'.
_TOTAL = (np.log(3.0), 0.7)
_RATIO = (np.log(0.3), 0.7)


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
        value = objective(self, np.concatenate([self.weights, self.residual]))[0]
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


def precision(model: Posterior) -> Floats:
    """Return the prior precision of w and u, `(d + n,)`."""
    scales, size = model.scales, model.features.shape[1]
    return np.repeat([scales.feature**-2, scales.residual**-2], [size, model.judgements.count])


def objective(model: Posterior, x: Floats) -> tuple[float, Floats, Floats]:
    """Return the log posterior of w and u, its gradient, and curvatures of answers `(m,)`."""
    answers, tie, size = model.judgements, model.scales.tie, model.features.shape[1]
    scores = model.features @ x[:size] + x[size:]
    margin = model.slope * (scores[answers.right] - scores[answers.left]) + model.pull
    log_z, mean, curvature = davidson(margin, tie)
    pulled = precision(model) * x
    value = answers.weight @ (answers.outcome * margin - log_z) - x @ pulled / 2
    if tie:
        value += np.log(tie) * (answers.weight @ (answers.outcome == 0.5))
    slopes = answers.weight * model.slope * (answers.outcome - mean)
    right, left = (
        np.bincount(side, slopes, answers.count) for side in (answers.right, answers.left)
    )
    by_score: Floats = (right - left).astype(np.float64)
    return float(value), np.concatenate([model.features.T @ by_score, by_score]) - pulled, curvature

"""The mode of the model, by Newton's method, and its scales, by marginal likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.errors import InputError
from kpairs.judging.factor import is_large, laplacian
from kpairs.judging.judgements import Floats, Judgements
from kpairs.judging.model import Posterior, Scales, davidson, objective, precision

_TUNED = 1000  # images that stand for all where one factorisation takes seconds
_PENALTY = 1e-3  # on squared scores of plain Bradley-Terry: keeps those finite that always win
_DOUBT = 1.0  # evidence that a wider residual may lack, in nats
_TIE = (0.0, 2.0)  # prior of the tie parameter: mean and deviation of its logarithm
# Steps of the logarithms of both scales that the search tries; without features, of the second.
_MOVES = [(0.5, 0.0), (-0.5, 0.0), (0.0, -0.5), (0.0, 0.5), (0.5, 0.5), (-0.5, -0.5)]


def _newton_step(model: Posterior, gradient: Floats, curvature: Floats) -> Floats:
    """Solve Newton's equations by conjugate gradients: fast, and of little memory."""
    from scipy.sparse.linalg import LinearOperator, cg

    answers, features, prior = model.judgements, model.features, precision(model)
    size = features.shape[1]
    graph = laplacian(answers, answers.weight * model.slope**2 * curvature)
    inverse = np.linalg.inv(features.T @ (graph @ features) + np.diag(prior[:size]))
    diagonal = graph.diagonal() + prior[size:]

    def hessian(x: Floats) -> Floats:
        pushed = graph @ (features @ x[:size] + x[size:])
        return np.concatenate([features.T @ pushed, pushed]) + prior * x

    def precondition(x: Floats) -> Floats:
        return np.concatenate([inverse @ x[:size], x[size:] / diagonal])

    whole, rough = (
        LinearOperator((len(gradient),) * 2, part, dtype=np.float64)
        for part in (hessian, precondition)
    )
    step: Floats = cg(whole, gradient, rtol=1e-4, maxiter=2000, M=rough)[0]
    return step


def _mode(model: Posterior, tolerance: float = 1e-12) -> Posterior:
    """Find the mode by Newton's method, from the mode that the model has."""
    x = np.concatenate([model.weights, model.residual])
    value, gradient, curvature = objective(model, x)
    for _ in range(200):
        step = _newton_step(model, gradient, curvature)
        gain, length = float(gradient @ step), 1.0
        while True:
            tried = objective(model, x + length * step)
            if tried[0] >= value + 1e-4 * length * gain - 1e-12 * abs(value) or length < 1e-6:
                break
            length /= 2
        x, (value, gradient, curvature) = x + length * step, tried
        if gain < tolerance:
            break
    weights, residual = np.split(x, [len(model.weights)])
    return replace(model, weights=weights, residual=residual)


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

    From `(m, 2)` numbers of items, left and right, and `(m,)` probabilities that left ranks no
    higher, `(count,)` scores of mean 0; a higher score ranks higher. Source: Bradley and Terry,
    Rank analysis of incomplete block designs, Biometrika 1952.
    """
    answers = Judgements(pairs[:, 0], pairs[:, 1], probability, count)
    scores = fit(answers, scales=Scales(1.0, _PENALTY**-0.5)).mean
    return scores - scores.mean() if count else scores

"""A ranking from judgements: scores with intervals, ranks with ranges, and the expected tau."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.judging.agreement import alpha
from kpairs.judging.fitting import fit
from kpairs.judging.judgements import Floats, Judgements, Numbers
from kpairs.judging.judges import LEAST, Judge, fit_judges
from kpairs.judging.model import Posterior, davidson

_DRAWS = 400  # of the posterior, for ranges of ranks and the expected tau
_LEAST_GAIN = 0.01  # in expected tau
_LAST, _LAST_SHARE = 100, 5  # judgements whose gain is told: 100, or one for five images
_BEGUN = 0.5  # expected tau from which little gain is a reason to stop
_SHIFTED = 0.95  # share of answers for one side from which a judge seems not to look
_SIGNIFICANT = 1.92  # gain in log-likelihood that 5 % of chance gains exceed, of one parameter
_STRETCH = 0.7  # prior deviation of the logarithm of the measured scale


@dataclass(frozen=True)
class Scores:
    """A ranking of n images with its uncertainty. Made by `score`.

    Attributes:
        score: `(n,)`; mean 0 and deviation 1 over the images; higher ranks higher.
        low, high: `(n,)` 95 % intervals.
        rank: `(n,)` 1 for the highest score; equal scores share a rank.
        best, worst: `(n,)` ranges that hold 95 % of the rank's distribution.
        count: `(n,)` judgements of each image.
        component: `(n,)` numbers of the sets of images that judgements connect.
        logit: logits per unit of `score`: images that differ by 1 are told apart with probability
            `sigmoid(logit)`.
        expected_tau: Kendall's tau between this ranking and the true one, as expected by the model.
            Where the truth has few grades, it is too low.
        stretch: measured scale of left-out answers over the predicted scale; `logit` includes it.
            Below 1, intervals are widened by its inverse.
        tie: Davidson's tie parameter.
        alpha: Krippendorff's alpha over all answers; NaN where no pair was judged twice.
        last: the number of judgements whose gain is told: 100, or one for five images.
        gain: expected tau that the last judgements gained; None where there are no more.
        judges: one `Judge` for each judge.
        notes: sentences about data that limit what the scores mean.
        draws: `(400, n)` float32 scores as the truth may have them, on the same scale.
        posterior: the model behind them, for `propose`.
    """

    score: Floats
    low: Floats
    high: Floats
    rank: Numbers
    best: Numbers
    worst: Numbers
    count: Numbers
    component: Numbers
    logit: float
    expected_tau: float
    stretch: float
    tie: float
    alpha: float
    last: int
    gain: float | None
    judges: list[Judge]
    notes: list[str]
    draws: NDArray[np.float32]
    posterior: Posterior

    def rows(self) -> list[dict[str, Any]]:
        """Return the images, highest first, as rows of a table: file, score, low, high and so on.

        Images that are no files have their number in place of `file`.
        """
        judgements = self.posterior.judgements
        rows = []
        for i in (-self.score).argsort(kind="stable").tolist():
            row: dict[str, Any] = {"file": judgements.files[i] if judgements.files else i}
            row |= {name: float(getattr(self, name)[i]) for name in ("score", "low", "high")}
            row |= {name: int(getattr(self, name)[i]) for name in ("rank", "best", "worst")}
            row["judgements"] = int(self.count[i])
            if judgements.group is not None:
                row["group"] = judgements.group[i]
            rows.append(row)
        return rows

    def stop(self, target: float = 0.8) -> str | None:
        """Return why asking may stop, or None; see `enough`."""
        count, tau = len(self.posterior.judgements), self.expected_tau
        earlier = [] if self.gain is None else [(count - self.last, tau - self.gain)]
        return enough([*earlier, (count, tau)], target, last=self.last)


def score(
    judgements: Judgements | str | Path,
    features: Floats | None = None,
    *,
    start: Posterior | None = None,
    seed: int = 0,
) -> Scores:
    """Return a ranking of all images from judgements.

    Images that nobody judged are ranked by their features; without features they stand in the
    middle, and their intervals say so. Sets of images that no judgement connects have an unknown
    distance, which their intervals include.

    Args:
        judgements: m answers about n images, or a table as `Judgements.read` takes it.
        features: `(n, d)` from `kpairs.judging.prepare_features`, or None.
        start: an earlier posterior of the same images, to begin from.
        seed: of the draws that give ranges of ranks.

    Raises:
        InputError: a table that cannot be read, or features of other images.

    Example:
        >>> import kpairs
        >>> answers = kpairs.Judgements([0, 1, 2] * 9, [1, 2, 3] * 9, [1] * 27, count=4)
        >>> scores = kpairs.score(answers)
        >>> scores.rank
        array([4, 3, 2, 1])
        >>> scores.rows()[0]["judgements"]
        9
    """
    if not isinstance(judgements, Judgements):
        judgements = Judgements.read(judgements)
    posterior, judges = fit_judges(fit(judgements, features, start=start))
    stretch, certain = measured_scale(posterior)
    stretch, tau = stretch if certain else 1.0, expected_tau(posterior)
    last = max(_LAST, judgements.count // _LAST_SHARE)
    earlier = without_last(posterior, last)
    component = judgements.components()
    draws = _draws(posterior, component, max(1 / stretch, 1.0), seed)
    mean = posterior.mean - posterior.mean.mean()
    unit = float(mean.std()) or posterior.scales.residual
    centre, half = draws.mean(axis=0), 1.96 * draws.std(axis=0)
    ranks = np.argsort(np.argsort(-draws, axis=1), axis=1) + 1
    best, worst = np.percentile(ranks, [2.5, 97.5], axis=0, method="nearest").astype(np.int64)
    rank = 1 + np.searchsorted(np.sort(-mean), -mean)
    return Scores(
        score=mean / unit,
        low=np.minimum(centre - half, mean / unit),
        high=np.maximum(centre + half, mean / unit),
        rank=rank,
        best=np.minimum(best, rank),
        worst=np.maximum(worst, rank),
        count=judgements.degree(),
        component=component,
        logit=unit * stretch,
        expected_tau=tau,
        stretch=stretch,
        tie=posterior.scales.tie,
        alpha=alpha(judgements),
        last=last,
        gain=None if earlier is None else tau - earlier,
        judges=judges,
        notes=_notes(judgements, component, judges, features is not None),
        draws=draws.astype(np.float32),
        posterior=posterior,
    )


def _draws(posterior: Posterior, component: Numbers, widening: float, seed: int) -> Floats:
    """Draw scores of mean 0 and deviation 1, `(draws, n)`: what the truth may be on that scale.

    A shift common to a set of connected images leaves every answer's likelihood as it is. The
    images' own residuals account for `su² / k` of its variance in a set of k images; the rest is
    added here.
    """
    rng = np.random.default_rng(seed)
    draws = posterior.draw(_DRAWS, rng)
    size = np.bincount(component)
    if len(size) > 1:
        shift = posterior.scales.residual * np.sqrt(1 - 1 / size)
        draws += (shift * rng.standard_normal((_DRAWS, len(size))))[:, component]
    draws = posterior.mean + widening * (draws - posterior.mean)
    draws -= draws.mean(axis=1, keepdims=True)
    return draws / np.maximum(draws.std(axis=1, keepdims=True), 1e-9)


def expected_tau(posterior: Posterior) -> float:
    """Return Kendall's tau that the ranking is expected to have with the truth.

    The mean over pairs of `2 Phi(|m| / sqrt(v)) - 1`, over at most 300 images drawn at random; NaN
    for fewer than two.
    """
    from scipy.special import erf

    count = posterior.judgements.count
    if count < 2:
        return float("nan")
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:300])
    covariance, mean = posterior.covariance(chosen), posterior.mean[chosen]
    first, second = np.triu_indices(len(chosen), 1)
    own = np.diag(covariance)
    variance = np.maximum(own[first] + own[second] - 2 * covariance[first, second], 1e-12)
    return float(np.mean(erf(np.abs(mean[first] - mean[second]) / np.sqrt(2 * variance))))


def without_last(posterior: Posterior, last: int) -> float | None:
    """Return the expected tau without the last judgements, scales as they are; None if all are.

    Scales that are chosen anew move the expected tau by more than some answers do.
    """
    answers = posterior.judgements
    rows = np.arange(len(answers) - last)
    if len(rows) <= 0:
        return None
    return expected_tau(
        fit(
            answers.take(rows),
            posterior.features,
            posterior.scales,
            slope=posterior.slope[rows],
            pull=posterior.pull[rows],
            start=posterior,
        )
    )


def measured_scale(posterior: Posterior) -> tuple[float, bool]:
    """Return the scale of left-out answers over the predicted one, and if that gains over chance.

    The factor of all predicted differences that makes left-out answers most likely. Pairs that were
    drawn at random are used where they are known; at least 100 are needed.
    """
    from scipy.optimize import minimize_scalar

    answers = posterior.judgements
    rows = np.ones(len(answers), bool) if answers.random is None else answers.random
    if np.count_nonzero(rows) < LEAST:
        return 1.0, False
    mean, variance = (values[rows] for values in posterior.left_out())
    slope, pull = posterior.slope[rows], posterior.pull[rows]
    weight, outcome = answers.weight[rows], answers.outcome[rows]

    def loss(log_scale: float) -> float:
        a = slope * np.exp(log_scale)
        seen = (a * mean + pull) / np.sqrt(1 + np.pi / 8 * a**2 * variance)
        fit_ = weight @ (outcome * seen - davidson(seen, posterior.scales.tie)[0])
        return (log_scale / _STRETCH) ** 2 / 2 - float(fit_)

    best = minimize_scalar(loss, bounds=(-2, 2), method="bounded")
    return float(np.exp(best.x)), bool(loss(0.0) - best.fun > _SIGNIFICANT)


def enough(history: Sequence[tuple[int, float]], target: float, last: int = _LAST) -> str | None:
    """Return why asking may stop, or None.

    The second reason, little gain, holds from an expected tau of 0.5 on: before, an order without
    features has hardly begun, and gains little at first.

    Args:
        history: numbers of judgements with the expected tau after each, in order.
        target: expected tau to reach.
        last: number of last judgements that have to gain `_LEAST_GAIN`.

    Example:
        >>> enough([(100, 0.60), (200, 0.71), (300, 0.80)], target=0.8)
        'the expected tau reached 0.80'
        >>> enough([(100, 0.60), (200, 0.71)], target=0.8)
    """
    if not history:
        return None
    now, tau = history[-1]
    if tau >= target:
        return f"the expected tau reached {target:.2f}"
    earlier = [old for count, old in history if count <= now - last]
    if earlier and tau >= _BEGUN and tau - max(earlier) < _LEAST_GAIN:
        return f"the last {last} judgements gained less than {_LEAST_GAIN:.2f} in expected tau"
    return None


def _notes(
    judgements: Judgements, component: Numbers, judges: list[Judge], features: bool
) -> list[str]:
    """Say what limits the scores' meaning."""
    size = np.bincount(component) if len(component) else np.zeros(0, np.int64)
    judged: NDArray[np.int64] = np.bincount(component, judgements.degree() > 0).astype(np.int64)
    sets = int(np.count_nonzero(judged > 0)) if len(size) else 0
    unjudged = int(np.count_nonzero(judgements.degree() == 0))
    notes = []
    if not len(judgements):
        notes.append("There are no judgements; every order is as likely as every other.")
    if sets > 1:
        unrelated = "their distance is unknown. Ask pairs between the sets to compare their scores"
        means = "their features alone relate them" if features else unrelated
        notes.append(f"Judgements leave {sets} sets of images unconnected; {means}.")
    if unjudged and len(judgements):
        where = "by their features" if features else "in the middle, as nothing is known of them"
        notes.append(f"{unjudged} images are in no judgement; they are placed {where}.")
    for judge in judges:
        who = (judgements.judges[judge.judge] if judgements.judges else "") or judge.judge
        side, right = judge.right_side, judge.right_side.value
        if side.of >= LEAST and max(right, 1 - right) >= _SHIFTED:
            name, often = ("right", right) if right > 0.5 else ("left", 1 - right)
            notes.append(
                f"Judge {who} chose the {name} image in {100 * often:.0f} % of {side.of} "
                "answers, whichever it was."
            )
    return notes

"""The kind of judge that each person is: how sharp, how much drawn to one side, how consistent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.judging.agreement import Share, agreement, share
from kpairs.judging.fitting import fit
from kpairs.judging.judgements import Floats, Judgements, Numbers
from kpairs.judging.model import Posterior, davidson

Flags = NDArray[np.bool_]

LEAST = 100  # judgements below which nothing is said of a judge
# Priors of log slope and pull, as deviations; and what both must gain in log-likelihood before they
# count. Chance gains more than g with probability exp(-g): of k judges, log(k) is added.
_SLOPE, _PULL = 0.7, 0.5
_GAIN = 3.0
_ROUNDS = 3


@dataclass(frozen=True)
class Judge:
    """A judge in numbers.

    Attributes:
        judge: number.
        count: judgements.
        agreement: with other judges on the same pairs.
        consistency: with own earlier answers on the same pairs.
        right_side: share of answers, without ties, for the image on the right.
        slope: sharpness `a_k`, next to 1, the geometric mean over judges; below 1 the judge errs
            more. None below 100 judgements, like `pull` and `gain`.
        pull: `b_k` in logits; above 0 towards the right side.
        gain: log-likelihood of the judge's left-out answers that slope and pull gain over the
            common slope without pull.
        counts: slope and pull are used in the scores, as they gain enough.
    """

    judge: int
    count: int
    agreement: Share
    consistency: Share
    right_side: Share
    slope: float | None
    pull: float | None
    gain: float | None
    counts: bool

    def row(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return the judge, one of these names, as a row of a table, JSON-ready.

        A share is its value with its interval, or None where nothing was compared.
        """
        row: dict[str, Any] = {
            "judge": names[self.judge] if names else "",
            "judgements": self.count,
        }
        for name in ("agreement", "consistency", "right_side"):
            one: Share = getattr(self, name)
            row[name] = [one.value, one.low, one.high] if one.of else None
        return row | {name: getattr(self, name) for name in ("slope", "pull", "counts")}


def fit_judges(posterior: Posterior) -> tuple[Posterior, list[Judge]]:
    """Fit each judge's slope and pull, and scores that use them where the likelihood says so.

    A judge `k` sees a difference `d` as `a_k d + b_k`, with `log a ~ N(0, 0.7²)` and `b ~ N(0,
    0.5²)`. Both maximise the likelihood of the judge's answers, each predicted without itself
    (`Posterior.left_out`). They count in the scores if they gain more than `3 + log k` in
    log-likelihood, of k judges; chance gains that for some judge in 5 % of all cases. Returns the
    posterior to use, and one `Judge` for each number that has judgements.
    """
    answers = posterior.judgements
    known, place = np.unique(answers.judge, return_inverse=True)
    enough = np.bincount(place, minlength=len(known)) >= LEAST
    traits = np.tile([1.0, 0.0, 0.0], (len(known), 1))  # slope, pull, gain
    counts = np.zeros(len(known), bool)
    for _ in range(_ROUNDS if enough.any() else 0):
        mean, variance = posterior.left_out()
        seen = [
            partial(
                _likelihood, answers.take(rows), mean[rows], variance[rows], posterior.scales.tie
            )
            for rows in (place == k for k in np.flatnonzero(enough))
        ]
        found = np.array([_traits(likelihood) for likelihood in seen])
        common = float(np.exp(np.log(found[:, 0]).mean()))
        gain = [one(*found[k]) - one(common, 0.0) for k, one in enumerate(seen)]
        # The scores' scale takes up what is common to all.
        traits[enough] = np.column_stack([found[:, 0] / common, found[:, 1], gain])
        before, counts = counts, enough & (traits[:, 2] > _GAIN + np.log(enough.sum()))
        if not (counts.any() or before.any()):
            break
        used = np.where(counts[:, None], traits[:, :2], [1.0, 0.0])[place]
        posterior = fit(
            answers,
            posterior.features if posterior.features.shape[1] else None,
            posterior.scales,
            slope=used[:, 0],
            pull=used[:, 1],
            start=posterior,
        )
    return posterior, _table(answers, known, enough, traits, counts)


def describe_judges(answers: Judgements) -> list[Judge]:
    """Return counts, agreement and consistency of each judge, without a fit: no slope, no pull."""
    known = np.unique(answers.judge)
    nothing = np.zeros(len(known), bool)
    return _table(answers, known, nothing, np.zeros((len(known), 3)), nothing)


def _table(
    answers: Judgements, known: Numbers, enough: Flags, traits: Floats, counts: Flags
) -> list[Judge]:
    others, self_ = agreement(answers)
    judges = []
    for k, judge in enumerate(known.tolist()):
        outcome = answers.outcome[answers.judge == judge]
        decided = outcome[outcome != 0.5]
        slope, pull, gain = traits[k].tolist() if enough[k] else (None, None, None)
        judges.append(
            Judge(
                judge=judge,
                count=len(outcome),
                agreement=others[judge],
                consistency=self_[judge],
                right_side=share(float(np.sum(decided > 0.5)), len(decided)),
                slope=slope,
                pull=pull,
                gain=gain,
                counts=bool(counts[k]),
            )
        )
    return judges


def _likelihood(
    answers: Judgements, mean: Floats, variance: Floats, tie: float, slope: float, pull: float
) -> float:
    """Return the log-likelihood of answers, each predicted without itself.

    The mean of a sigmoid over a normal distribution is MacKay's approximation (1992).
    """
    shrink = 1 / np.sqrt(1 + np.pi / 8 * slope**2 * variance)
    seen = (slope * mean + pull) * shrink
    return float(answers.weight @ (answers.outcome * seen - davidson(seen, tie)[0]))


def _traits(likelihood: Callable[[float, float], float]) -> tuple[float, float]:
    """Return the slope and the pull that maximise likelihood and priors."""
    from scipy.optimize import minimize

    def loss(x: Floats) -> float:
        penalty = (x[0] / _SLOPE) ** 2 / 2 + (x[1] / _PULL) ** 2 / 2
        return float(penalty) - likelihood(float(np.exp(x[0])), float(x[1]))

    log_slope, pull = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(log_slope)), float(pull)

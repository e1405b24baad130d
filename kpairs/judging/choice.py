"""Pairs that are worth asking next: those whose answers sort the order best.

The rule weighs what an answer would do to the order of all images, not to their scores. With `m`
and `v` mean and variance of a difference of scores, `V` the scores' covariance and

    o_ab = exp(-m_ab² / (2 v_ab)) / v_ab        how open the order of a and b is
    L = diag(sum o) - o,  G = V L V
    W = 0.25 sqrt(c / (c + v)) exp(-m² / (2 (c + v))),  c = 8 / pi    curvature of an answer

it asks the pair with the largest `(G_ii + G_jj - 2 G_ij) W / (1 + W v)`. After each choice `V`
becomes what it will be once the answer is there, `V - c c' W / (1 + W v)` with `c = V (e_j - e_i)`,
whatever the answer; so a batch does not ask the same thing twice.

Expected information gain asks other pairs (Mikhailiuk et al., Active sampling for pairwise
comparisons via approximate message passing and information gain maximization, 2020). On photographs
it needed more judgements for the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kpairs.data.columns import REASONS
from kpairs.errors import InputError, UsageError
from kpairs.judging.judgements import Floats, Judgements, Numbers
from kpairs.judging.model import Posterior

_LOGISTIC = 8 / np.pi  # variance of the normal distribution function that is most like a sigmoid
_PART = 50  # pairs after which other images become candidates
_TRIES = 200  # draws of a random pair before the judge counts as having seen all


@dataclass(frozen=True)
class Proposal:
    """A pair to ask about.

    Attributes:
        left, right: numbers of images; sides are drawn, as people prefer one.
        reason: `rule`; `random`, which keeps intervals honest; `repeat` of a pair that the judge
            has answered; or `overlap`, a pair that another judge has answered.
        probability: that the right image ranks higher, as predicted.
    """

    left: int
    right: int
    reason: str
    probability: float


def propose(
    posterior: Posterior,
    count: int,
    *,
    judge: int = 0,
    seed: int = 0,
    group: ArrayLike | None = None,
    asked: ArrayLike = (),
    random: float = 0.15,
    repeat: float = 0.0,
    overlap: float = 0.0,
    gap: float = 0.0,
    candidates: int = 150,
) -> list[Proposal]:
    """Propose pairs of images for a judge.

    The same posterior and arguments give the same pairs. A judge gets no pair twice, except as a
    `repeat`.

    Args:
        posterior: what is known, from `kpairs.judging.fit`; its judgements tell who was asked what.
        count: how many pairs; there are fewer where the judge has seen all others.
        judge: number of the judge.
        seed: of all draws.
        group: `(n,)` numbers; pairs stay within a group. None for one group.
        asked: `(k, 2)` pairs that are proposed to nobody, such as those that wait for an answer.
        random: share of pairs that are drawn at random.
        repeat: share of pairs that the judge has answered once.
        overlap: share of pairs that other judges have answered and this one has not.
        gap: least predicted difference in logits, for people's patience. 1 costs about 30 % more
            judgements. It gives way where nothing is known yet.
        candidates: images that the rule looks at together.

    Raises:
        UsageError: shares outside [0, 1], or fewer than one pair.
        InputError: no group with two images.

    Example:
        >>> from kpairs.judging import Judgements, fit
        >>> answers = Judgements([0, 1, 2], [1, 2, 3], [1, 1, 1], count=4)
        >>> [one] = propose(fit(answers), 1, seed=1)
        >>> one.left != one.right
        True
    """
    if min(random, repeat, overlap) < 0 or random + repeat + overlap > 1:
        raise UsageError(
            "expected shares of at least 0 and at most 1 together, received "
            f"random {random}, repeat {repeat}, overlap {overlap}"
        )
    if count < 1:
        raise UsageError(f"count: expected at least 1 pair, received {count}")
    answers = posterior.judgements
    groups = _numbered(group, answers.count)
    rng = np.random.default_rng([seed, judge, len(answers)])
    known = _Asked(answers, judge)
    for one, other in np.asarray(asked, np.int64).reshape(-1, 2).tolist():
        known.add(one, other)
    shares = [1 - random - repeat - overlap, random, repeat, overlap]
    reasons = [REASONS[i] for i in rng.choice(4, count, p=shares)]
    rule = _Rule(posterior, groups, gap, candidates, rng)
    found: list[Proposal] = []
    for wanted in reasons:
        reason, pair = wanted, None
        if wanted == "random":
            pair = _random_pair(groups, known, rng)
        elif wanted != "rule":
            pair = known.again(wanted, groups, rng)
        if pair is None:  # nothing to repeat yet, say
            reason, pair = "rule", rule.next(known)
        if pair is None:
            continue
        known.add(*pair)
        rule.take(*pair)
        left, right = pair if rng.random() < 0.5 else pair[::-1]
        found.append(Proposal(left, right, reason, _probability(posterior, left, right)))
    return found


def _numbered(group: ArrayLike | None, count: int) -> Numbers:
    """Return the group of each of so many images, numbered from 0."""
    groups = np.zeros(count, np.int64) if group is None else np.asarray(group)
    if groups.shape != (count,):
        raise InputError(f"group: expected {count} numbers, received shape {groups.shape}")
    _, groups = np.unique(groups, return_inverse=True)
    if count < 2 or np.bincount(groups).max() < 2:
        raise InputError("expected at least two images that may be compared, received none")
    return groups


class _Asked:
    """The pairs that a judge has answered or is to be asked now."""

    def __init__(self, answers: Judgements, judge: int) -> None:
        self._count = answers.count
        low = np.minimum(answers.left, answers.right)
        codes = low * answers.count + np.maximum(answers.left, answers.right)
        own = answers.judge == judge
        mine, times = np.unique(codes[own], return_counts=True)
        others = np.setdiff1d(codes[~own], mine)
        self._again = {"repeat": mine[times == 1].tolist(), "overlap": others.tolist()}
        self._codes = set(mine.tolist())

    def __contains__(self, pair: tuple[int, int]) -> bool:
        return min(pair) * self._count + max(pair) in self._codes

    def add(self, first: int, second: int) -> None:
        self._codes.add(min(first, second) * self._count + max(first, second))

    def again(
        self, reason: str, groups: Numbers, rng: np.random.Generator
    ) -> tuple[int, int] | None:
        """Draw a pair that was answered already: once by this judge, or by others alone."""
        known = self._again[reason]
        while known:
            code = known.pop(int(rng.integers(len(known))))
            pair = divmod(code, self._count)
            if groups[pair[0]] == groups[pair[1]] and (reason == "repeat" or pair not in self):
                return pair
        return None

    def mask(self, images: Numbers) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return which pairs of some images, `(k, k)`, are in it."""
        place = {int(image): k for k, image in enumerate(images)}
        found = np.zeros((len(images), len(images)), bool)
        for code in self._codes:
            first, second = divmod(code, self._count)
            if first in place and second in place:
                found[place[first], place[second]] = found[place[second], place[first]] = True
        return found


class _Rule:
    """The order-weighted rule over some images at a time; see the module."""

    def __init__(
        self,
        posterior: Posterior,
        groups: Numbers,
        gap: float,
        candidates: int,
        rng: np.random.Generator,
    ) -> None:
        self._posterior, self._groups, self._gap = posterior, groups, gap
        self._size, self._rng = max(candidates, 2), rng
        self._left = self._rest()
        self._images: Numbers = np.zeros(0, np.int64)
        self._taken = 0

    def _rest(self) -> list[Numbers]:
        """Return images in the order in which they become candidates: group by group, mixed."""
        sizes = np.bincount(self._groups)
        order = self._rng.permutation(len(self._groups))
        turn = self._rng.permutation(len(sizes))[self._groups[order]]
        order = order[np.argsort(turn, kind="stable")]
        order = order[sizes[self._groups[order]] > 1]
        return [order[i : i + self._size] for i in range(0, len(order), self._size)]

    def next(self, asked: _Asked) -> tuple[int, int] | None:
        """Return the best pair that was not asked yet, or None where all were."""
        while True:
            if not len(self._images) or (self._taken >= _PART and self._left):
                if not self._left:
                    return None
                self._begin(self._left.pop(0), asked)
            value = self._values()
            best = int(value.argmax())
            if value.flat[best] > 0:
                first, second = divmod(best, len(self._images))
                return int(self._images[first]), int(self._images[second])
            self._images = self._images[:0]

    def _begin(self, images: Numbers, asked: _Asked) -> None:
        self._images, self._taken = images, 0
        self._covariance = self._posterior.covariance(images)
        mean = self._posterior.mean[images]
        self._difference = mean[None, :] - mean[:, None]
        same = self._groups[images][None, :] == self._groups[images][:, None]
        self._same = same & ~np.eye(len(images), dtype=bool)
        self._open = np.triu(self._same & ~asked.mask(images))

    def _values(self) -> Floats:
        covariance, m = self._covariance, self._difference
        diagonal = np.diag(covariance)
        v = np.maximum(diagonal[:, None] + diagonal[None, :] - 2 * covariance, 1e-9)
        order = np.where(self._same, np.exp(-(m**2) / (2 * v)) / v, 0)
        gain = covariance @ (order.sum(axis=0)[:, None] * covariance - order @ covariance)
        spread = np.diag(gain)
        curvature = _curvature(m, v)
        value = (spread[:, None] + spread[None, :] - 2 * gain) * curvature / (1 + curvature * v)
        allowed = self._open & (np.abs(m) >= self._gap)
        if not allowed.any():
            allowed = self._open
        return np.where(allowed, np.maximum(value, 1e-300), -1)

    def take(self, first: int, second: int) -> None:
        """Count a pair as answered, if both its images are candidates."""
        place = {int(image): k for k, image in enumerate(self._images)}
        if first not in place or second not in place:
            return
        i, j = place[first], place[second]
        self._taken += 1
        self._open[i, j] = self._open[j, i] = False
        column = self._covariance[:, j] - self._covariance[:, i]
        v = max(float(column[j] - column[i]), 1e-9)
        curvature = float(_curvature(self._difference[i, j], np.asarray(v)))
        self._covariance = self._covariance - np.outer(column, column) * (
            curvature / (1 + curvature * v)
        )


def _curvature(mean: Floats, variance: Floats) -> Floats:
    """Return the expected curvature of an answer's log-likelihood, `E p (1 - p)`."""
    whole = _LOGISTIC + variance
    return 0.25 * np.sqrt(_LOGISTIC / whole) * np.exp(-(mean**2) / (2 * whole))


def _random_pair(
    groups: Numbers, asked: _Asked, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw a pair that the judge has not seen, every image alike where groups let it."""
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    first_of = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    images = np.flatnonzero(sizes[groups] > 1)
    for _ in range(_TRIES):
        first = int(images[rng.integers(len(images))])
        group = groups[first]
        second = int(order[first_of[group] + rng.integers(sizes[group])])
        if first != second and (first, second) not in asked:
            return first, second
    return None


def _probability(posterior: Posterior, left: int, right: int) -> float:
    from scipy.special import expit

    pair = np.array([left, right])
    (a, b), (_, c) = posterior.covariance(pair)
    mean = posterior.mean[right] - posterior.mean[left]
    return float(expit(mean / np.sqrt(1 + (a + c - 2 * b) / _LOGISTIC)))

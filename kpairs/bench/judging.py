"""Judgements that an order of photographs takes: kpairs' choice of pairs beside others'.

Judges are simulated: they see the truth through a logistic error, so that they are right on about
87 % of random pairs, without fatigue. What they are asked, and how scores come from their answers,
is what the methods differ in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kpairs.judging import (
    Judgements,
    Posterior,
    Scales,
    Scores,
    bradley_terry,
    enough,
    expected_tau,
    fit,
    prepare_features,
    propose,
    score,
    without_last,
)

Floats = NDArray[np.float64]
Pairs = list[tuple[int, int, bool]]  # left, right, drawn at random
Progress = Callable[[str, int, int], None]

CHECKPOINTS = (50, 100, 200, 400, 800, 1600)
_IMAGES, _UNSEEN = 500, 250  # photographs to order, and others that nobody judges
_STOP_EACH = 100  # judgements after which the rule to stop is asked
_HELD_OUT = 2000  # pairs that nobody judged, to check intervals by
_SPREAD = 3.0  # deviation of the truth in logits
_STEP = 10  # judgements between two fits, and a twentieth of all where that is more
TRUTHS = {
    "continuous": "amount of blur, compression or noise",
    "grades": "five grades of it; pairs of equal grades do not count",
    "shuffled": "amounts given to other photographs: features say nothing",
    "careless": "continuous, and one judge of three answers at random",
}
METHODS = {
    "kpairs": "features and residual, order-weighted pairs, 15 % random",
    "kpairs-random": "features and residual, random pairs",
    "kpairs-plain": "no features, order-weighted pairs, 15 % random",
    "bradley-terry": "plain Bradley-Terry as in choix, random pairs",
    "trueskill": "TrueSkill; the least certain image against its nearest",
    "asap": "expected information gain, spanning-tree batches, no features",
}
_OF_KPAIRS = ("tau_unseen", "expected_tau", "coverage", "coverage_pairs", "stop", "tau_at_stop")


class _Method(Protocol):
    """A way to choose pairs and to score images."""

    def ask(self) -> Pairs:
        """Choose the next pairs."""

    def learn(self, answers: Judgements, last: bool) -> None:
        """Take all answers so far; `last` where scores are read next."""

    def scores(self) -> Floats:
        """Return a score of each image."""


@dataclass
class _Kpairs:
    features: Floats | None
    random: float
    seed: int
    count: int
    found: Scores | None = None
    stopped: int | None = None
    posterior: Posterior = field(init=False)
    tuned: int = 0
    checked: int = 0

    def __post_init__(self) -> None:
        nothing = Judgements([], [], [], self.count, random=[])
        self.posterior = fit(nothing, self.features, Scales(3.0, 1.0 if self._informed else 3.0))

    @property
    def _informed(self) -> bool:
        return self.features is not None

    def ask(self) -> Pairs:
        size = max(_STEP, len(self.posterior.judgements) // 20)
        proposals = propose(self.posterior, size, seed=self.seed, random=self.random)
        return [(p.left, p.right, p.reason == "random") for p in proposals]

    def learn(self, answers: Judgements, last: bool) -> None:
        # Scales are chosen anew where the number of answers has doubled.
        old = None if len(answers) >= 2 * self.tuned else self.posterior.scales
        if old is None:
            self.tuned = max(len(answers), _STEP)
        self.posterior = fit(answers, self.features, old, start=self.posterior)
        if self.stopped is None and len(answers) // _STOP_EACH > self.checked:
            self.checked = len(answers) // _STOP_EACH
            taus = [
                (0, without_last(self.posterior, _STOP_EACH)),
                (_STOP_EACH, expected_tau(self.posterior)),
            ]
            if enough([(n, tau) for n, tau in taus if tau is not None], target=1.0):
                self.stopped = len(answers)
        if last:
            self.found = score(answers, self.features, start=self.posterior)

    def scores(self) -> Floats:
        return self.found.score if self.found else np.zeros(self.count)


@dataclass
class _BradleyTerry:
    count: int
    rng: np.random.Generator
    found: Floats = field(default_factory=lambda: np.zeros(0))

    def ask(self) -> Pairs:
        return [_random_pair(self.count, self.rng) for _ in range(_STEP)]

    def learn(self, answers: Judgements, last: bool) -> None:
        if last:
            pairs = np.stack([answers.left, answers.right], axis=1)
            self.found = bradley_terry(pairs, answers.outcome, self.count)

    def scores(self) -> Floats:
        return self.found


@dataclass
class _TrueSkill:
    """TrueSkill of two players without draws (Herbrich, Minka and Graepel, 2006)."""

    count: int
    rng: np.random.Generator
    done: int = 0

    def __post_init__(self) -> None:
        self.mean, self.variance = np.full(self.count, 25.0), np.full(self.count, (25 / 3) ** 2)

    def ask(self) -> Pairs:
        uncertain = self.variance + 1e-6 * self.rng.random(self.count)
        first = int(uncertain.argmax())
        far = np.abs(self.mean - self.mean[first]) + 1e-6 * self.rng.random(self.count)
        far[first] = np.inf
        return [(first, int(far.argmin()), False)]

    def learn(self, answers: Judgements, last: bool) -> None:
        from scipy.special import log_ndtr

        for k in range(self.done, len(answers)):
            sides = [answers.left[k], answers.right[k]]
            loser, winner = sides if answers.outcome[k] > 0.5 else sides[::-1]
            both = [winner, loser]
            self.variance[both] += (25 / 300) ** 2
            whole = float(np.sqrt(2 * (25 / 6) ** 2 + self.variance[both].sum()))
            t = (self.mean[winner] - self.mean[loser]) / whole
            v = float(np.exp(-t * t / 2 - log_ndtr(t)) / np.sqrt(2 * np.pi))
            self.mean[both] += np.array([1, -1]) * self.variance[both] / whole * v
            self.variance[both] *= 1 - self.variance[both] / whole**2 * v * (v + t)
        self.done = len(answers)

    def scores(self) -> Floats:
        return self.mean


@dataclass
class _Asap:
    """Expected information gain by spanning trees (Mikhailiuk et al., 2020), on our posterior."""

    count: int
    rng: np.random.Generator
    waiting: Pairs = field(default_factory=list)

    def __post_init__(self) -> None:
        self.posterior = fit(Judgements([], [], [], self.count), None, Scales(3.0, 3.0))

    def ask(self) -> Pairs:
        if not self.waiting:
            self.waiting = self._tree()
        asked, self.waiting = self.waiting[:_STEP], self.waiting[_STEP:]
        return asked

    def _tree(self) -> Pairs:
        from scipy.sparse.csgraph import minimum_spanning_tree

        covariance, mean = self.posterior.covariance(np.arange(self.count)), self.posterior.mean
        own = np.diag(covariance)
        variance = np.maximum(own[:, None] + own - 2 * covariance, 1e-9)
        gain = information_gain(mean[:, None] - mean, variance)
        cost = 2 - gain + 1e-6 * self.rng.random(gain.shape)  # above 0: 0 is no edge
        tree = minimum_spanning_tree(np.triu(cost, 1)).tocoo()
        order = np.argsort(tree.data)
        turned = self.rng.random(len(order)) < 0.5
        pairs = zip(tree.row[order].tolist(), tree.col[order].tolist(), turned, strict=True)
        return [(b, a, False) if turn else (a, b, False) for a, b, turn in pairs]

    def learn(self, answers: Judgements, last: bool) -> None:
        if last or not self.waiting:
            self.posterior = fit(answers, start=self.posterior)

    def scores(self) -> Floats:
        return self.posterior.mean


def information_gain(mean: Floats, variance: Floats) -> Floats:
    """Return the bits that an answer is expected to tell, by Houlsby et al. (2011).

    Bayesian active learning for classification and preference learning.
    """
    from scipy.special import ndtr

    square, c = np.pi / 8, np.pi * np.log(2) / 2
    p = ndtr(np.sqrt(square) * mean / np.sqrt(1 + square * variance))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nan_to_num(p * np.log2(p)) - np.nan_to_num((1 - p) * np.log2(1 - p))
    whole = c + square * variance
    return entropy - np.sqrt(c / whole) * np.exp(-square * mean**2 / (2 * whole))


def _random_pair(count: int, rng: np.random.Generator) -> tuple[int, int, bool]:
    first = int(rng.integers(count))
    return first, (first + int(rng.integers(1, count))) % count, True


def agreement_with(truth: Floats, scores: Floats) -> float:
    """Return Kendall's tau over the pairs whose truth differs."""
    order = np.sign(truth[:, None] - truth)
    return float(np.sum(order * np.sign(scores[:, None] - scores)) / np.count_nonzero(order))


def _coverage_of_pairs(found: Scores, truth: Floats) -> float:
    """Return how often intervals of differences hold the true one, of pairs that nobody judged."""
    answers, count = found.posterior.judgements, len(truth)
    first, second = np.triu_indices(count, 1)
    low, high = np.minimum(answers.left, answers.right), np.maximum(answers.left, answers.right)
    chosen = np.setdiff1d(first * count + second, low * count + high)
    first, second = np.divmod(np.random.default_rng(0).permutation(chosen)[:_HELD_OUT], count)
    drawn = found.draws[:, second] - found.draws[:, first]
    off = np.abs(truth[second] - truth[first] - drawn.mean(axis=0))
    return float(np.mean(off <= 1.96 * drawn.std(axis=0)))


def _photographs(grades: bool) -> tuple[Floats, Floats]:
    """Return statistics and truth of the photographs to order, then those that nobody judges."""
    from kpairs.data.examples import degraded_photographs
    from kpairs.models.backbone import STATISTICS, feature_network
    from kpairs.training.features import image_features

    levels, amounts = degraded_photographs(_IMAGES + _UNSEEN, seed=1, grades=grades)
    images = np.divide(levels, 255, dtype=np.float32)
    statistics = image_features(feature_network(STATISTICS, *images.shape[1:]), images)
    return prepare_features(statistics), amounts


def _run(
    truth: str, method: str, seed: int, most: int, features: Floats, amounts: Floats
) -> list[dict[str, Any]]:
    """Simulate one session, and measure it at the checkpoints."""
    from scipy.special import expit

    rng = np.random.default_rng([seed, list(TRUTHS).index(truth)])
    if truth == "shuffled":
        amounts = rng.permutation(amounts)
    scale = (amounts - amounts[:_IMAGES].mean()) / amounts[:_IMAGES].std()
    seen, unseen = scale[:_IMAGES], scale[_IMAGES:]
    logits, known = _SPREAD * seen, features[:_IMAGES]
    one: _Method
    if method.startswith("kpairs"):
        share = 1.0 if method == "kpairs-random" else 0.15
        one = _Kpairs(None if method == "kpairs-plain" else known, share, seed, _IMAGES)
    else:
        kinds = {"bradley-terry": _BradleyTerry, "trueskill": _TrueSkill, "asap": _Asap}
        one = kinds[method](_IMAGES, rng)
    asked: list[tuple[int, int, bool, int, float]] = []
    rows, tau_at_stop = list[dict[str, Any]](), None
    for checkpoint in (c for c in CHECKPOINTS if c <= most):
        while len(asked) < checkpoint:
            for left, right, drawn in one.ask()[: checkpoint - len(asked)]:
                judge = int(rng.integers(3))
                lapse = truth == "careless" and judge == 2
                right_wins = expit(0 if lapse else logits[right] - logits[left])
                asked.append((left, right, drawn, judge, float(rng.random() < right_wins)))
            left_, right_, drawn_, judge_, outcome = map(np.array, zip(*asked, strict=True))
            answers = Judgements(left_, right_, outcome, _IMAGES, judge_, random=drawn_)
            one.learn(answers, len(asked) >= checkpoint)
            if tau_at_stop is None and isinstance(one, _Kpairs) and one.stopped:
                tau_at_stop = agreement_with(seen, one.posterior.mean)
        row: dict[str, Any] = {
            "truth": truth,
            "method": method,
            "seed": seed,
            "judgements": checkpoint,
            "tau": agreement_with(seen, one.scores()),
            **dict.fromkeys(_OF_KPAIRS),
        }
        if isinstance(one, _Kpairs) and one.found:
            found = one.found
            held = (found.low <= seen) & (seen <= found.high)
            row |= {
                "expected_tau": found.expected_tau,
                "coverage": float(held.mean()),
                "coverage_pairs": _coverage_of_pairs(found, seen),
            }
            if one.features is not None:
                predicted = features[_IMAGES:] @ found.posterior.weights
                row["tau_unseen"] = agreement_with(unseen, predicted)
            row |= {"stop": one.stopped, "tau_at_stop": tau_at_stop}
        rows.append(row)
    return rows


def bench_judging(
    *,
    seeds: int = 3,
    quick: bool = False,
    truths: Iterable[str] = tuple(TRUTHS),
    methods: Iterable[str] = tuple(METHODS),
    jobs: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Simulate sessions of 500 photographs, and measure the order after 50 to 1,600 judgements.

    There are `seeds` sessions of each of the `TRUTHS` and `METHODS`; `quick` means one of 200
    judgements. Returns `rows`, one for each session and checkpoint, and `means` over the seeds:
    `tau` with the truth, `tau_unseen` of 250 photographs that nobody judged, `expected_tau`,
    `coverage` of the 95 % intervals of scores, `coverage_pairs` of those of differences between
    images of pairs that nobody judged, and `stop`, after how many judgements asking would have
    stopped as little was gained, with `tau_at_stop`.

    Raises:
        UsageError: an unknown truth or method, or missing photographs.
    """
    from joblib import Parallel, delayed

    from kpairs.errors import unknown

    truths, methods = list(truths), list(methods)
    for kind, names, known in (("truth", truths, TRUTHS), ("method", methods, METHODS)):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    most = 200 if quick else CHECKPOINTS[-1]
    data = {grades: _photographs(grades) for grades in {truth == "grades" for truth in truths}}
    sessions = [
        (truth, method, seed)
        for seed in range(1 if quick else seeds)
        for truth in truths
        for method in methods
    ]
    tasks = (
        delayed(_run)(truth, method, seed, most, *data[truth == "grades"])
        for truth, method, seed in sessions
    )
    rows: list[dict[str, Any]] = []
    for done, part in enumerate(Parallel(jobs, return_as="generator")(tasks), 1):
        rows += part
        progress(f"{part[0]['method']}, {part[0]['truth']}", done, len(sessions))
    return {"rows": rows, "means": _means(rows)}


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the sessions of each truth, method and checkpoint."""
    cells: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["truth"], row["method"], row["judgements"]), []).append(row)
    means = []
    for (truth, method, judgements), cell in cells.items():
        mean: dict[str, Any] = {"truth": truth, "method": method, "judgements": judgements}
        for name in ("tau", *_OF_KPAIRS):
            values = [row[name] for row in cell if row.get(name) is not None]
            mean[name] = float(np.mean(values)) if values else None
        means.append(mean | {"sessions": len(cell)})
    return means

"""Which pair is asked next: the formulas by their text, and what a judge must not be asked."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from kpairs.errors import InputError, UsageError
from kpairs.judging import Judgements, Scales, fit, prepare_features, propose

sys.path.insert(0, str(Path(__file__).parent))
from simulated import answers


@pytest.fixture
def posterior(rng):
    features = prepare_features(rng.normal(size=(24, 3)))
    return fit(answers(rng.normal(0, 2, 24), 30, rng), features, Scales(2.0, 1.0))


def keys(proposals):
    return [(min(p.left, p.right), max(p.left, p.right)) for p in proposals]


def known(posterior):
    data = posterior.judgements
    return set(
        zip(np.minimum(data.left, data.right), np.maximum(data.left, data.right), strict=True)
    )


def test_the_rule_is_its_formula_with_the_answers_to_come(posterior):
    """Gains of single pairs written out in loops, and the covariance by adding the answer."""
    proposals = propose(posterior, 5, random=0)
    assert all(p.reason == "rule" for p in proposals)
    precision = np.linalg.inv(posterior.covariance(np.arange(24)))
    m, asked = posterior.mean, known(posterior)
    for pair in keys(proposals):
        V = np.linalg.inv(precision)
        o = np.zeros((24, 24))
        for a in range(24):
            for b in set(range(24)) - {a}:
                v = V[a, a] + V[b, b] - 2 * V[a, b]
                o[a, b] = np.exp(-((m[a] - m[b]) ** 2) / (2 * v)) / v
        G = V @ (np.diag(o.sum(axis=0)) - o) @ V
        value, weight = {}, {}
        for i in range(24):
            for j in range(i + 1, 24):
                v, d = V[i, i] + V[j, j] - 2 * V[i, j], m[i] - m[j]
                c = 8 / np.pi
                W = 0.25 * np.sqrt(c / (c + v)) * np.exp(-(d**2) / (2 * (c + v)))
                weight[i, j] = W
                value[i, j] = (G[i, i] + G[j, j] - 2 * G[i, j]) * W / (1 + W * v)
        open_ = {key: v for key, v in value.items() if key not in asked}
        assert value[pair] == pytest.approx(max(open_.values()), rel=1e-9)
        asked.add(pair)
        row = np.zeros(24)
        row[list(pair)] = -1, 1
        precision += weight[pair] * np.outer(row, row)


def test_shares_sides_and_seeds(posterior):
    shares = {"random": 0.3, "repeat": 0.2}
    found = propose(posterior, 40, seed=3, **shares)
    assert found == propose(posterior, 40, seed=3, **shares)
    assert found != propose(posterior, 40, seed=4, **shares)
    reasons = [p.reason for p in found]
    assert 4 <= reasons.count("random") <= 20
    assert 2 <= reasons.count("repeat") <= 16
    assert 8 < sum(p.left < p.right for p in found) < 32
    for p in found:
        assert (min(p.left, p.right), max(p.left, p.right)) in known(posterior) or (
            p.reason != "repeat"
        )
        assert 0 < p.probability < 1
    data = posterior.judgements
    one = found[0]
    turned = posterior.mean[one.right] > posterior.mean[one.left]
    assert (one.probability > 0.5) == turned
    assert data.count == 24


def test_no_judge_gets_a_pair_twice_until_none_is_left(rng):
    posterior = fit(answers(rng.normal(size=6), 10, rng), scales=Scales(1, 1))
    found = keys(propose(posterior, 100, random=0.3))
    assert len(found) == len(set(found)) == 15 - len(known(posterior))
    assert not set(found) & known(posterior)
    assert len(propose(posterior, 100, judge=1, random=0.3)) == 15


def test_overlap_asks_what_others_answered(posterior):
    found = propose(posterior, 12, judge=1, random=0, overlap=1)
    assert {p.reason for p in found} == {"overlap"}
    assert set(keys(found)) <= known(posterior)
    assert len(set(keys(found))) == 12
    # What this judge has answered is no overlap: nothing is left, and the rule steps in.
    assert {p.reason for p in propose(posterior, 3, random=0, overlap=1)} == {"rule"}


def test_pairs_stay_within_groups_and_a_gap_is_kept(posterior):
    group = np.arange(24) // 3
    found = propose(posterior, 15, group=group, random=0.5)
    assert all(group[p.left] == group[p.right] for p in found)
    wide = propose(posterior, 10, gap=1.0, random=0)
    assert all(abs(posterior.mean[p.left] - posterior.mean[p.right]) >= 1 for p in wide)
    nothing = fit(Judgements([], [], [], 5), scales=Scales(1, 1))
    assert len(propose(nothing, 4, gap=1.0)) == 4
    with pytest.raises(InputError, match="at least two images that may be compared"):
        propose(posterior, 1, group=np.arange(24))


def test_many_proposals_take_other_candidates(rng):
    posterior = fit(answers(rng.normal(size=90), 40, rng), scales=Scales(1, 1))
    found = propose(posterior, 120, candidates=20, random=0)
    assert len(set(keys(found))) == 120
    assert len({image for pair in keys(found) for image in pair}) > 40


def test_the_rule_sorts_faster_than_random_pairs(rng):
    """The end that the rule is for; `kpairs bench judging` measures how much."""
    features = prepare_features(rng.normal(size=(60, 4)))
    scores = 3 * features @ rng.normal(size=4) / 2 + rng.normal(0, 0.7, 60)
    taus = {}
    for random in (0.0, 1.0):
        posterior = fit(Judgements([], [], [], 60), features, Scales(2.0, 0.7))
        data: list[tuple[int, int, float]] = []
        for _ in range(20):
            for p in propose(posterior, 10, random=random):
                chance = 1 / (1 + np.exp(scores[p.left] - scores[p.right]))
                data.append((p.left, p.right, float(rng.random() < chance)))
            posterior = fit(Judgements(*zip(*data, strict=True), 60), features, Scales(2.0, 0.7))
        taus[random] = kendalltau(posterior.mean, scores).statistic
    assert taus[0.0] > taus[1.0]
    assert taus[0.0] > 0.7


def test_odd_shares_are_refused(posterior):
    with pytest.raises(UsageError, match="expected shares"):
        propose(posterior, 1, random=0.9, repeat=0.2)
    with pytest.raises(UsageError, match="expected at least 1 pair"):
        propose(posterior, 0)
    with pytest.raises(InputError, match="group: expected 24 numbers"):
        propose(posterior, 1, group=[1, 2])

"""Rankings with intervals: what they cover, and what bad data make of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from kpairs.judging import Judgements, Scales, enough, expected_tau, fit, measured_scale, score
from kpairs.judging.scores import _draws

sys.path.insert(0, str(Path(__file__).parent))
from simulated import answers


def cycle(count, times=1):
    """Answers by which each image is beaten by the next, and the last by the first."""
    each = np.tile(np.arange(count), times)
    return Judgements(each, (each + 1) % count, np.ones(len(each)), count)


def test_scores_are_on_one_scale_and_cover_the_truth(rng):
    covered, near = [], []
    for _ in range(4):
        truth = rng.normal(0, 2, 60)
        found = score(answers(truth, 500, rng))
        assert found.score.mean() == pytest.approx(0, abs=1e-9)
        assert found.score.std() == pytest.approx(1)
        standard = (truth - truth.mean()) / truth.std()
        covered.append(np.mean((found.low <= standard) & (standard <= found.high)))
        place = np.argsort(np.argsort(-truth)) + 1
        near.append(np.mean((found.best <= place) & (place <= found.worst)))
        tau = kendalltau(found.score, truth).statistic
        assert found.expected_tau == pytest.approx(tau, abs=0.12)
        assert 1 < found.logit < 4
    assert 0.9 <= np.mean(covered) <= 1
    assert 0.9 <= np.mean(near) <= 1
    assert found.notes == []
    assert (found.best <= found.rank).all()
    assert (found.rank <= found.worst).all()


def test_a_cycle_decides_nothing():
    found = score(cycle(6, 20))
    assert np.abs(found.posterior.mean).max() < 1e-6
    assert (found.low < -1).all()
    assert (found.high > 1).all()
    assert found.expected_tau < 0.1


def test_a_judge_who_always_says_left_is_named_and_decides_nothing(rng):
    left, right = rng.integers(0, 10, 300), np.zeros(300, int)
    right = (left + rng.integers(1, 10, 300)) % 10
    lazy = Judgements(left, right, np.zeros(300), 10)
    found = score(lazy)
    assert "Judge 0 chose the left image in 100 % of 300 answers, whichever it was." in found.notes
    assert found.judges[0].pull < -1
    assert found.expected_tau < 0.6
    honest = answers(rng.normal(0, 2, 10), 400, rng)
    arrays = ((one.left, one.right, one.outcome) for one in (honest, lazy))
    left, right, outcome = map(np.concatenate, zip(*arrays, strict=True))
    both = Judgements(left, right, outcome, 10, np.repeat([0, 1], [400, 300]))
    with_lazy = score(both)
    assert kendalltau(with_lazy.score, score(honest).score).statistic > 0.8


def test_sets_that_nothing_connects_are_not_compared(rng):
    truth = rng.normal(0, 2, 10)
    first = answers(truth, 200, rng)
    apart = Judgements(
        np.concatenate([first.left, first.left + 10]),
        np.concatenate([first.right, first.right + 10]),
        np.concatenate([first.outcome, first.outcome]),
        21,
    )
    found = score(apart)
    assert (
        "Judgements leave 2 sets of images unconnected; their distance is unknown" in found.notes[0]
    )
    assert "1 images are in no judgement" in found.notes[1]
    joined = Judgements(
        np.append(apart.left, [9] * 20),
        np.append(apart.right, [10] * 20),
        np.append(apart.outcome, [0.5] * 20),
        21,
    )
    width = (found.high - found.low)[:20].mean()
    connected = score(joined)
    assert width > 1.5 * (connected.high - connected.low)[:20].mean()
    assert (found.worst - found.best)[20] >= 12  # the image in no judgement
    assert len(np.unique(found.component[:20])) == 2


def test_sets_that_nothing_connects_have_an_unknown_distance():
    left, right = np.array([0, 1, 2] * 40), np.array([1, 2, 0] * 40)
    both = np.concatenate([left, left + 3]), np.concatenate([right, right + 3])
    apart = fit(Judgements(*both, np.full(240, 0.5), 6), scales=Scales(1.0, 0.8, 1.0))
    spread = {}
    for component in (apart.judgements.components(), np.zeros(6, int)):
        draws = _draws(apart, component, 1.0, seed=0)
        between = draws[:, :3].mean(axis=1) - draws[:, 3:].mean(axis=1)
        spread[int(component.max())] = between.std() / (draws[:, 0] - draws[:, 1]).std()
    assert spread[1] > 1.2 * spread[0] > 1.2


def test_few_and_no_judgements():
    nothing = score(Judgements([], [], [], 3))
    assert (nothing.score == 0).all()
    assert nothing.notes == ["There are no judgements; every order is as likely as every other."]
    assert (nothing.low < -1).all()
    one = score(Judgements([0], [1], [1], 2))
    assert one.rank.tolist() == [2, 1]
    assert one.low[1] < 0 < one.high[1]
    assert np.isnan(expected_tau(fit(Judgements([], [], [], 1))))
    ties = score(Judgements([0, 1, 0] * 50, [1, 2, 2] * 50, [0.5] * 150, 3))
    assert np.abs(ties.posterior.mean).max() < 1e-6
    assert np.isfinite(ties.tie)


def test_a_scale_that_is_too_small_is_measured(rng):
    data = answers(rng.normal(0, 3, 30), 1500, rng)
    small = fit(data, scales=Scales(1, 0.3))
    stretch, certain = measured_scale(small)
    assert certain
    assert stretch > 1.3
    right = fit(data)
    assert measured_scale(right)[0] == pytest.approx(1, abs=0.2)
    few = Judgements(data.left, data.right, data.outcome, 30, random=np.arange(1500) < 50)
    assert measured_scale(fit(few)) == (1.0, False)


def test_asking_stops_at_the_target_or_where_nothing_is_gained():
    assert enough([], 0.8) is None
    assert enough([(50, 0.5), (150, 0.6)], 0.8) is None
    assert enough([(50, 0.5), (150, 0.505)], 0.8) == (
        "the last 100 judgements gained less than 0.01 in expected tau"
    )
    assert enough([(50, 0.5), (100, 0.5)], 0.8) is None
    assert enough([(50, 0.1), (150, 0.1)], 0.8) is None  # an order has hardly begun

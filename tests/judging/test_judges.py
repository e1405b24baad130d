"""Judges who are sharp, careless, drawn to a side; and what answers say of each other."""

import sys
from pathlib import Path

import krippendorff
import numpy as np
import pytest

from kpairs.judging import Judgements, agreement, alpha, fit, fit_judges
from kpairs.judging.agreement import share

sys.path.insert(0, str(Path(__file__).parent))
from simulated import answers


@pytest.fixture(scope="module")
def judged():
    """Four judges: sharp, usual, careless and drawn to the right; the fifth has 60 answers."""
    rng = np.random.default_rng(5)
    judge = np.concatenate([np.repeat(np.arange(4), 400), np.repeat(4, 60)])
    slope, pull = (2.0, 1.0, 0.2, 1.0, 1.0), (0.0, 0.0, 0.0, 1.5, 0.0)
    scores = rng.normal(0, 2, 40)
    data = answers(scores, len(judge), rng, judge=judge, slope=slope, pull=pull)
    return scores, data, fit_judges(fit(data))


def test_slopes_and_pulls_come_out(judged):
    scores, data, (posterior, judges) = judged
    sharp, usual, careless, drawn, few = judges
    assert sharp.slope > usual.slope > careless.slope
    assert careless.slope < 0.5
    assert careless.counts
    assert drawn.counts
    assert 0.8 < drawn.pull < 2.2
    assert abs(usual.pull) < 0.5
    assert drawn.right_side.value > 0.55
    assert np.prod([one.slope for one in judges[:4]]) == pytest.approx(1)
    assert (few.slope, few.pull, few.gain, few.counts) == (None, None, None, False)
    plain = fit(data)
    better = [np.corrcoef(one.mean, scores)[0, 1] for one in (posterior, plain)]
    assert better[0] > better[1]
    assert careless.agreement.value < sharp.agreement.value
    assert [one.count for one in judges] == [400] * 4 + [60]


def test_judges_who_are_alike_count_for_nothing(rng):
    judge = rng.integers(0, 3, 900)
    data = answers(rng.normal(0, 2, 30), 900, rng, judge=judge, slope=(1, 1, 1), pull=(0, 0, 0))
    plain = fit(data)
    posterior, judges = fit_judges(plain)
    assert not any(one.counts for one in judges)
    np.testing.assert_array_equal(posterior.mean, plain.mean)


def test_swapped_sides_turn_the_pull_alone(judged):
    _, data, (_, judges) = judged
    swapped = Judgements(data.right, data.left, 1 - data.outcome, data.count, data.judge)
    for one, other in zip(judges[:4], fit_judges(fit(swapped))[1], strict=False):
        assert other.slope == pytest.approx(one.slope, rel=0.02)
        assert other.pull == pytest.approx(-one.pull, abs=0.02)


def test_agreement_is_counted_pair_by_pair(rng):
    size = 120
    left = rng.integers(0, 4, size)
    right = (left + rng.integers(1, 4, size)) % 4
    data = Judgements(left, right, rng.integers(0, 3, size) / 2, 4, rng.integers(0, 3, size))
    low = np.where(left < right, data.outcome, 1 - data.outcome)
    others, self_ = np.zeros((3, 2)), np.zeros((3, 2))
    for i in range(size):
        for j in range(size):
            if i != j and {left[i], right[i]} == {left[j], right[j]}:
                hit = 1 - abs(low[i] - low[j])
                if data.judge[i] != data.judge[j]:
                    others[data.judge[i]] += hit, 1
                elif i < j:
                    self_[data.judge[i]] += hit, 1
    for found, expected in zip(agreement(data), (others, self_), strict=True):
        assert [(one.hits, one.of) for one in found] == [tuple(row) for row in expected]


def test_intervals_of_shares_are_wilsons():
    from scipy.stats import binomtest

    for hits, of in ((0, 5), (3, 10), (90, 100), (7, 7)):
        theirs = binomtest(hits, of).proportion_ci(method="wilson")
        found = share(hits, of)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert (share(0, 0).low, share(0, 0).high) == (0, 1)
    assert np.isnan(share(0, 0).value)


def test_alpha_is_krippendorffs_of_both_orders(rng):
    pairs = np.stack(np.triu_indices(8, 1), axis=1)
    rating = rng.integers(0, 3, (3, len(pairs))) / 2
    rating[1] = rating[0]  # two judges who agree, one who does not
    turned = rng.random(rating.shape) < 0.5
    left, right = (
        np.where(turned, *side).ravel() for side in (pairs.T[:, None], pairs.T[::-1, None])
    )
    judge = np.repeat(np.arange(3), len(pairs))
    outcome = np.where(turned, rating, 1 - rating).ravel()
    found = alpha(Judgements(left, right, outcome, 8, judge))
    both = np.concatenate([rating, 1 - rating], axis=1)
    expected = krippendorff.alpha(reliability_data=both, level_of_measurement="interval")
    assert found == pytest.approx(expected)
    assert np.isnan(alpha(Judgements([0], [1], [1], 2)))
    assert alpha(Judgements([0, 1, 1], [1, 0, 2], [1, 0, 1], 3)) == pytest.approx(1)

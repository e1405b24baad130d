"""Scores against choix, against dense formulas, and what must not change them."""

import sys
from dataclasses import replace
from pathlib import Path

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import kendalltau

from kpairs.errors import InputError
from kpairs.judging import Judgements, Scales, bradley_terry, factor, fit, prepare_features
from kpairs.judging import model as model_module
from kpairs.judging.model import davidson

sys.path.insert(0, str(Path(__file__).parent))
from simulated import answers

SCALES = Scales(1.5, 0.8)


def drawn(rng, count=30, size=80, columns=6, tie=0.0):
    features = prepare_features(rng.normal(size=(count, columns)))
    scores = 2 * features @ rng.normal(size=columns) + rng.normal(0, 0.5, count)
    return answers(scores, size, rng, tie=tie), features


def test_plain_scores_are_those_of_choix(rng):
    data, _ = drawn(rng)
    right = data.outcome == 1
    winners = np.where(right, data.right, data.left), np.where(right, data.left, data.right)
    found = fit(data, scales=Scales(1.0, 2.0)).mean
    theirs = choix.opt_pairwise(
        data.count, list(zip(*winners, strict=True)), alpha=1 / 8, tol=1e-10
    )
    np.testing.assert_allclose(found, theirs, atol=3e-7)


def dense(data, features, scales, slope=1.0, pull=0.0):
    """The model by its text: scores with covariance K, minimised by SciPy, inverted outright."""
    prior = scales.feature**2 * features @ features.T + scales.residual**2 * np.eye(data.count)
    precision = np.linalg.inv(prior)

    def loss(s):
        log_z, mean, _ = davidson(slope * (s[data.right] - s[data.left]) + pull, scales.tie)
        seen = slope * (s[data.right] - s[data.left]) + pull
        value = data.weight @ (log_z - data.outcome * seen) + s @ precision @ s / 2
        by_margin = data.weight * slope * (mean - data.outcome)
        gradient = np.zeros(data.count)
        np.add.at(gradient, data.right, by_margin)
        np.subtract.at(gradient, data.left, by_margin)
        return value, gradient + precision @ s

    mode = minimize(loss, np.zeros(data.count), jac=True, method="BFGS", tol=1e-9).x
    difference = np.zeros((len(data), data.count))
    difference[np.arange(len(data)), data.right] = 1
    difference[np.arange(len(data)), data.left] = -1
    curvature = davidson(slope * (difference @ mode) + pull, scales.tie)[2]
    hessian = precision + (difference.T * (data.weight * slope**2 * curvature)) @ difference
    determinants = np.linalg.slogdet(prior)[1] + np.linalg.slogdet(hessian)[1]
    return mode, np.linalg.inv(hessian), -loss(mode)[0] - determinants / 2


@pytest.mark.parametrize("way", ["dense", "sparse"])
@pytest.mark.parametrize("tie", [0.0, 0.7])
def test_all_ways_are_the_dense_formulas(way, tie, rng, monkeypatch):
    data, features = drawn(rng, tie=tie)
    data = replace_weights(data, rng.uniform(0.5, 2, len(data)))
    scales = replace(SCALES, tie=tie)
    slope, pull = rng.uniform(0.5, 1.5, len(data)), rng.normal(0, 0.3, len(data))
    if way == "sparse":
        monkeypatch.setattr(factor, "is_dense", lambda answers: False)
    found = fit(data, features, scales, slope=slope, pull=pull)
    mode, covariance, evidence = dense(data, features, scales, slope, pull)
    np.testing.assert_allclose(found.mean, mode, atol=2e-5)
    images = np.arange(data.count)
    np.testing.assert_allclose(found.covariance(images), covariance, atol=1e-4)
    variance = np.diag(covariance)
    np.testing.assert_allclose(
        found.answer_variance(),
        variance[data.left] + variance[data.right] - 2 * covariance[data.left, data.right],
        atol=1e-4,
    )
    # The priors of scales aside, and with the constant of ties' outcomes.
    ratio, total = np.log(scales.residual / scales.feature), np.log(np.hypot(1.5, 0.8))
    terms = (ratio, *model_module._RATIO), (total, *model_module._TOTAL)
    priors = sum(((value - middle) / deviation) ** 2 / 2 for value, middle, deviation in terms)
    constant = np.log(tie) * (data.weight @ (data.outcome == 0.5)) if tie else 0
    assert found.evidence + priors - constant == pytest.approx(evidence, abs=1e-4)
    draws = found.draw(20000, rng)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.12)


def replace_weights(data, weight):
    return Judgements(data.left, data.right, data.outcome, data.count, data.judge, weight)


def test_left_out_is_another_fit_without_the_answer(rng):
    data, features = drawn(rng, count=12, size=60)
    mean, variance = fit(data, features, SCALES).left_out()
    for row in range(0, 60, 12):
        rest = fit(data.take(np.arange(60) != row), features, SCALES)
        pair = data.left[[row]], data.right[[row]]
        assert mean[row] == pytest.approx(rest.mean[pair[1]] - rest.mean[pair[0]], abs=0.12)
        (a, b), (_, c) = rest.covariance(np.concatenate(pair))
        assert variance[row] == pytest.approx(a + c - 2 * b, rel=0.12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_sides_names_and_doubled_rows_change_nothing(seed, ties):
    rng = np.random.default_rng(seed)
    data, features = drawn(rng, count=10, size=25, columns=3, tie=0.5 * ties)
    scales = replace(SCALES, tie=0.5 * ties)
    mean = fit(data, features, scales).mean
    swapped = Judgements(data.right, data.left, 1 - data.outcome, data.count)
    np.testing.assert_allclose(fit(swapped, features, scales).mean, mean, atol=1e-8)
    names = rng.permutation(data.count)
    renamed = Judgements(names[data.left], names[data.right], data.outcome, data.count)
    moved = np.empty_like(features)
    moved[names] = features
    np.testing.assert_allclose(fit(renamed, moved, scales).mean[names], mean, atol=1e-8)
    twice = data.take(np.repeat(np.arange(len(data)), 2))
    heavy = replace_weights(data, np.full(len(data), 2.0))
    first, second = fit(twice, features, scales), fit(heavy, features, scales)
    np.testing.assert_allclose(first.mean, second.mean, atol=1e-8)
    assert first.evidence == pytest.approx(second.evidence)


def test_scales_and_ties_are_found_again(rng):
    features = prepare_features(rng.normal(size=(200, 5)))
    scores = 3 * features @ rng.normal(size=5) + rng.normal(0, 1.0, 200)
    found = fit(answers(scores, 3000, rng, tie=0.8), features)
    assert 0.4 < found.scales.residual < 2.2
    assert 0.6 < found.scales.tie < 1.0
    assert kendalltau(found.mean, scores).statistic > 0.85
    better = found.evidence
    for times in (0.4, 2.5):
        worse = replace(found.scales, residual=found.scales.residual * times)
        assert fit(found.judgements, features, worse).evidence < better


def test_features_rank_what_nobody_judged_and_the_residual_overrules_them(rng):
    features = prepare_features(rng.normal(size=(80, 4)))
    scores = 3 * features @ rng.normal(size=4)
    data = answers(scores[:40], 300, rng)
    known = Judgements(data.left, data.right, data.outcome, 80)
    assert kendalltau(fit(known, features).mean[40:], scores[40:]).statistic > 0.7
    shuffled = fit(answers(rng.permutation(scores), 4000, rng), features)
    assert shuffled.scales.residual > shuffled.scales.feature


def test_plain_bradley_terry_returns_finite_centred_scores(rng):
    scores = rng.normal(0, 2, 40)
    pairs = np.stack(np.triu_indices(40, 1), axis=1)
    sure = (scores[pairs[:, 1]] > scores[pairs[:, 0]]).astype(float)
    found = bradley_terry(pairs, sure, 40)
    assert abs(found.mean()) < 1e-9
    assert (found.argsort() == scores.argsort()).all()
    assert bradley_terry(np.zeros((0, 2), int), np.zeros(0), 0).shape == (0,)


def test_features_are_standardised_and_few(rng):
    raw = np.column_stack([rng.normal(5, 100, (90, 80)), np.full(90, 3.0)])
    found = prepare_features(raw)
    assert found.shape == (90, 64)
    assert np.mean(np.sum(found**2, axis=1)) == pytest.approx(1)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    assert prepare_features(np.ones((4, 2))).shape == (4, 0)
    with pytest.raises(InputError, match="row 1, column 0: expected a finite number, received nan"):
        prepare_features([[1.0], [np.nan]])
    with pytest.raises(InputError, match=r"expected shape \(images, numbers\)"):
        prepare_features([1.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (([0], [0], [1]), "judgement 0: expected two different images"),
        (([0, 1], [1, 5], [1, 1]), "judgement 1: expected an image number from 0 to 2"),
        (([0], [1], [1.5]), "expected an outcome from 0 to 1"),
        (([0], [1], [np.nan]), "expected an outcome from 0 to 1"),
        (([0, 1], [1, 2], [1]), r"outcome: expected 2 values, received shape \(1,\)"),
        (([0], [1], [1], 3, [-1]), "expected a judge's number of at least 0"),
        (([0], [1], [1], 3, None, [-1]), "expected a weight of at least 0"),
    ],
)
def test_what_is_no_judgement_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Judgements(*values[:3], *(values[3:] or (3,)))


def test_features_of_other_images_are_refused():
    with pytest.raises(InputError, match="expected one row for each of 3 images"):
        fit(Judgements([0], [1], [1], 3), np.zeros((2, 1)))

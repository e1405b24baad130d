"""Heads for graded images, held against scikit-learn and against their own likelihood."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from kpairs.judging import graded
from kpairs.judging.graded import fit_graded


def images(rng, count=120, width=6, classes=4):
    """Features, of which one is constant, and grades that two of them decide, with noise."""
    features = rng.normal(size=(count, width)) * rng.uniform(0.1, 9, width)
    features[:, -1] = 3
    scores = features[:, 0] / features[:, 0].std() + features[:, 1] / features[:, 1].std()
    limits = np.quantile(scores, np.arange(1, classes) / classes)
    return features, np.digitize(scores + rng.normal(0, 0.5, count), limits)


@pytest.mark.parametrize("width", [6, 200])
def test_posterior_is_multinomial_regression(width, rng, monkeypatch):
    monkeypatch.setattr(graded, "_VARIANCES", np.array([4.0]))
    features, grade = images(rng, width=width)
    found = fit_graded(features, grade, 4, ["posterior"])
    spread = features.std(axis=0)
    rows = (features - features.mean(axis=0)) / np.where(spread, spread, 1)
    by_others = LogisticRegression(C=4 / (width - 1), tol=1e-8, max_iter=5000).fit(rows, grade)
    expected = by_others.predict_log_proba(rows)
    np.testing.assert_allclose(found.log_probabilities(features), expected, atol=2e-3)


@pytest.mark.parametrize("width", [6, 200])
def test_ordinal_is_the_mode_of_proportional_odds(width, rng, monkeypatch):
    """The likelihood is written down anew, from differences of sigmoids, and maximised."""
    monkeypatch.setattr(graded, "_VARIANCES", np.array([4.0]))
    features, grade = images(rng, width=width)
    found = fit_graded(features, grade, 4, ["ordinal"])
    spread = features.std(axis=0)
    rows = (features - features.mean(axis=0)) / np.where(spread, spread, 1)

    def loss(values):
        weights, thresholds = values[:width], np.sort(values[width:])
        below = expit(np.hstack([[-np.inf], thresholds, [np.inf]]) - (rows @ weights)[:, None])
        likely = np.diff(below, axis=1)[np.arange(len(grade)), grade]
        return (width - 1) / 4 * weights @ weights / 2 - np.log(np.maximum(likely, 1e-300)).sum()

    weights = found.weights[:, 0] * spread
    ours = np.append(weights, found.thresholds)
    best = minimize(loss, ours, method="L-BFGS-B").fun if width < 10 else loss(ours)
    assert loss(ours) == pytest.approx(best, abs=1e-3)
    gradient = approx_fprime(ours, loss, 1e-6)
    assert np.abs(gradient).max() < 0.05
    told = found.log_probabilities(features)
    np.testing.assert_allclose(np.exp(told).sum(axis=1), 1, rtol=1e-9)


@pytest.mark.parametrize("head", graded.HEADS)
def test_gradients(head, rng):
    rows, grade = rng.normal(size=(9, 3)), np.arange(9) % 4
    here = graded._Images(rows, grade, 4, 3)
    values = rng.normal(size=(9, 1 if head == "ordinal" else 4))
    free = rng.normal(size=3 if head == "ordinal" else 4)
    objective = graded._OBJECTIVES[head]
    _, by_values, by_free = objective(values, free, here)
    expected = approx_fprime(
        values.ravel(), lambda v: objective(v.reshape(values.shape), free, here)[0], 1e-7
    )
    np.testing.assert_allclose(by_values.ravel(), expected, atol=1e-5)
    expected = approx_fprime(free, lambda f: objective(values, f, here)[0], 1e-7)
    np.testing.assert_allclose(by_free, expected, atol=1e-5)


def test_cross_validation_chooses_the_head(rng):
    """Grades along one feature are ordinal; grades around a circle are not."""
    features, grade = images(rng, 100)
    found = fit_graded(features, grade, 4)
    assert found.head == "ordinal"
    assert set(found.errors) == set(graded.HEADS)
    angle = rng.uniform(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    other = fit_graded(circle, (angle / (np.pi / 2)).astype(int), 4)
    assert other.head == "posterior"
    assert other.errors["posterior"].value < 0.1 < other.errors["ordinal"].value


def test_the_interval_covers_the_error_of_other_images(rng):
    features, grade = images(rng, 900)
    found = fit_graded(features[:300], grade[:300], 4, ["ordinal"])
    error = found.errors["ordinal"]
    score = features[300:] @ found.weights[:, 0]
    gap = np.sign(grade[None, 300:] - grade[300:, None])
    unseen = np.mean((np.sign(score[None] - score[:, None]) != gap)[gap != 0])
    assert error.low < unseen < error.high
    assert error.high - error.low < 0.1


def test_copies_and_images_of_a_group_are_left_out_together(rng):
    """A twin in training tells its image's grade, unless both are a group; copies are always."""
    features, grade = rng.normal(size=(30, 20)), rng.integers(0, 3, 30)
    twins = np.concatenate([features, features + rng.normal(0, 1e-3, features.shape)])

    def error(rows, group=None):
        grades = np.tile(grade, 2)
        return fit_graded(rows, grades, 3, ["ordinal"], group=group).errors["ordinal"].value

    alone, grouped = error(twins), error(twins, np.tile(np.arange(30), 2))
    assert alone + 0.1 < grouped
    assert error(np.tile(features, (2, 1))) == pytest.approx(grouped, abs=0.02)


def test_few_images_and_missing_grades_fit(rng):
    for head in graded.HEADS:
        found = fit_graded(rng.normal(size=(4, 5)), [0, 0, 3, 3], 4, [head])
        assert not found.errors
        assert np.isfinite(found.log_probabilities(rng.normal(size=(9, 5)))).all()

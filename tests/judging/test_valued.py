"""Scores from values, against scikit-learn and a known truth."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import Ridge

from kpairs.judging.reference import fit_temperature, flattened
from kpairs.judging.valued import fit_values


def problem(rng, images, features, noise, pairs=300):
    values = rng.normal(size=(images, features)) * rng.uniform(0.1, 10, features) + 3
    true = (values - values.mean(axis=0)) / values.std(axis=0) @ rng.normal(size=features)
    left = rng.integers(0, images // 2, pairs)
    right = (left + rng.integers(1, images // 2, pairs)) % (images // 2)
    said = true + noise * rng.normal(size=images)
    answer = (1 + np.sign(said[right] - said[left])) / 2
    return values, true, (left, right, answer, np.stack([said[left], said[right]], axis=1))


@pytest.mark.parametrize("features", [4, 90])
def test_as_scikit_learn_finds_it(features, rng):
    values, _, given = problem(rng, 120, features, 0.5)
    found = fit_values(values, *given)
    images, first = np.unique(np.concatenate(given[:2]), return_index=True)
    spread = values[images].std(axis=0)
    rows = (values[images] - values[images].mean(axis=0)) / spread
    said = given[3].T.ravel()[first]
    mode = found.weights * spread
    fits = [Ridge(4.0**k * features).fit(rows, said).coef_ for k in range(-6, 6)]
    away = [mode / np.linalg.norm(mode) - fit / np.linalg.norm(fit) for fit in fits]
    assert min(np.abs(each).max() for each in away) < 1e-5
    assert abs(found.score(values[images]).mean()) < 1e-9
    assert found.error.value < 0.4


@pytest.mark.parametrize("copies", [0, 40])
def test_several_values_of_an_image_count_by_their_mean(copies, rng):
    """Also where each rating is a copy of the image: copies would tell each other's value."""
    values, _, (left, right, answer, value) = problem(rng, 40, 3, 0.5)
    once = fit_values(values, left, right, answer, value)
    apart = np.tile([[1.0, -1.0]], (len(value), 1))
    parts = (left, left + copies), (right, right + copies), (answer, answer)
    both = [np.concatenate(part) for part in parts]
    twice = fit_values(
        np.tile(values, (2, 1)), *both, np.concatenate([value + apart, value - apart])
    )
    np.testing.assert_allclose(twice.weights, once.weights, rtol=1e-6)
    np.testing.assert_allclose(twice.covariance, once.covariance, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-200, 1e300])
def test_the_unit_of_values_changes_nothing(unit, rng):
    values, _, (*given, value) = problem(rng, 40, 3, 0.5)
    found, known = (fit_values(values, *given, size * value) for size in (unit, 1.0))
    np.testing.assert_allclose(found.weights, known.weights, rtol=1e-6)
    assert found.variance == pytest.approx(known.variance)


def test_scores_are_logits_with_errors_of_their_size():
    """Of new images: a rater's values are right as often as scores say, and intervals cover."""
    margins, wins, inside = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        values, true, given = problem(rng, 240, 30, 3.0)
        found, new = fit_values(values, *given), slice(120, None)
        scale = 1.702 / np.sqrt(2) / 3.0  # from values to logits
        away = scale * (true[new] - true[np.unique(given[:2])].mean())
        score, deviation = found.score(values[new]), found.deviation(values[new])
        inside.append(np.abs(score - away) < 1.96 * deviation)
        apart = values[new][60:] - values[new][:60]
        variance = np.sum((apart @ found.covariance) * apart, axis=1)
        margins.append((score[60:] - score[:60]) / flattened(variance))
        wins.append(rng.random(60) < expit(away[60:] - away[:60]))
    assert 0.88 < np.mean(inside) < 0.99
    margin, answer = np.concatenate(margins), np.concatenate(wins).astype(float)
    assert fit_temperature(margin, answer) == pytest.approx(1, abs=0.25)

"""Linear scores against scikit-learn, refits and each other."""

import tracemalloc
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from kpairs.data.rows import Rows, blocks
from kpairs.errors import InputError
from kpairs.judging import graded, linear
from kpairs.judging.graded import fit_graded
from kpairs.judging.linear import fit_linear
from kpairs.judging.reference import chance


def problem(seed, images=60, features=5, pairs=200, ties=0.2, noise=1.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(images, features)) * rng.uniform(0.1, 10, features) + 3
    left = rng.integers(0, images, pairs)
    right = (left + rng.integers(1, images, pairs)) % images
    gap = (values[right] - values[left]) @ rng.normal(size=features) / values.std(axis=0).mean()
    answer = (gap + noise * rng.logistic(size=pairs) > 0).astype(float)
    answer[rng.random(pairs) < ties] = 0.5
    return values, left, right, answer


@pytest.mark.parametrize("shape", [{}, {"features": 80, "pairs": 40}])
def test_as_scikit_learn_finds_it(shape, monkeypatch):
    """Also of fewer pairs than features, where another basis is used."""
    values, left, right, answer = problem(0, **shape)
    found = fit_linear(values, left, right, answer)
    used = np.unique([left, right])
    spread = values[used].std(axis=0)
    rows = (values[right] - values[left]) / spread
    both = np.concatenate([rows, rows])
    known = np.repeat([1, 0], len(rows))
    weight = np.concatenate([answer, 1 - answer])
    told = weight > 0
    expected = LogisticRegression(
        C=found.variance / values.shape[1], fit_intercept=False, tol=1e-10, max_iter=10_000
    ).fit(both[told], known[told], weight[told])
    mode, weights = expected.coef_[0], found.weights * spread
    stretch = (weights @ mode) / (mode @ mode)
    assert stretch > 0.3
    np.testing.assert_allclose(weights / stretch, mode, rtol=2e-3, atol=2e-4)
    assert abs(found.score(values[used]).mean()) < 1e-9
    held = 1 / (1 + np.exp(-rows @ expected.coef_[0]))
    precision = rows.T * (held * (1 - held)) @ rows
    precision += np.eye(values.shape[1]) * values.shape[1] / found.variance
    covariance = np.linalg.inv(precision) / np.outer(spread, spread)  # Laplace's approximation
    scale = np.sqrt(np.diag(covariance))
    monkeypatch.setattr(linear, "_choose", lambda *_: (found.variance, found.variance))
    again = fit_linear(values, left, right, answer)
    apart = (again.covariance - covariance) / np.outer(scale, scale)
    assert np.abs(apart).max() < 0.02


def test_many_pairs_are_read_some_at_a_time(monkeypatch):
    values, left, right, answer = problem(1)
    whole = fit_linear(values, left, right, answer)
    monkeypatch.setattr(linear, "_CHUNK", 64)
    parts = fit_linear(values.astype(np.float32), left, right, answer)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("kind", ["pairs", "grades"])
def test_a_matrix_in_a_file_is_never_all_in_memory(kind, monkeypatch, rng):
    """The peak of a fit, all its arrays included, is below one copy of the matrix in float64."""
    for module, name, value in (
        (linear, "_CHUNK", 256),
        (linear, "_CHOOSING", 200),
        (graded, "_NUMBERS", 2**18),
        (graded, "_ROUGH", {**graded._ROUGH, "maxiter": 3}),
        (graded, "_PRECISE", {**graded._PRECISE, "maxiter": 3}),
    ):
        monkeypatch.setattr(module, name, value)
    count, width = 10_000, 100
    rows = Rows((rng.normal(size=(1000, width)) for _ in range(10)), width)
    left, right = rng.permutation(count)[:1000].reshape(2, -1)
    higher = rows[right][:, 0] > rows[left][:, 0]
    grade = np.digitize(np.concatenate([block[:, 0] for block in blocks(rows)]), [-0.5, 0.5])
    tracemalloc.start()
    if kind == "pairs":
        found = fit_linear(rows, left, right, higher)
        found.score(rows), found.deviation(rows), found.difference_variance(rows, left, right)
    else:
        found = fit_graded(rows, grade, 3, ["ordinal"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(found.weights[:, 0] if kind == "grades" else found.weights).argmax() == 0
    assert peak < 8 * count * width


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_sides_and_doubled_rows(seed):
    values, left, right, answer = problem(seed, images=20, pairs=60)
    found = fit_linear(values, left, right, answer)
    swapped = fit_linear(values, right, left, 1 - answer)
    np.testing.assert_allclose(swapped.weights, found.weights, rtol=1e-2, atol=1e-3)
    rows = np.concatenate([np.arange(60), np.arange(10)])
    doubled = fit_linear(values, left[rows], right[rows], answer[rows])
    weight = np.where(np.arange(60) < 10, 2.0, 1.0)
    weighted = fit_linear(values, left, right, answer, weight)
    if weighted.variance == doubled.variance:  # left out are a row, or both of its copies
        lengths = np.linalg.norm([weighted.weights, doubled.weights], axis=1)
        np.testing.assert_allclose(
            weighted.weights / lengths[0], doubled.weights / lengths[1], rtol=1e-2, atol=1e-3
        )


def test_answers_about_one_pair_are_left_out_together():
    """Judges who agree on a pair tell each other's answer, but nothing of new images."""
    values, left, right, answer = problem(2, features=80)
    again, swapped = np.tile([left, right], 4), np.stack([right, left])
    found = fit_linear(
        values,
        *np.concatenate([again, swapped], axis=1),
        np.concatenate([np.tile(answer, 4), 1 - answer]),
    )
    known = fit_linear(values, left, right, answer, np.full(len(left), 5.0))
    assert found.variance == known.variance
    sizes = [np.linalg.norm(each.weights) for each in (found, known)]  # by other folds
    np.testing.assert_allclose(found.weights / sizes[0], known.weights / sizes[1], atol=1e-3)
    np.testing.assert_allclose(found.covariance, known.covariance, rtol=1e-2, atol=1e-4)


def test_left_out_pairs_without_refits():
    """The likelihood by which the prior is chosen, against fits without each pair."""
    values, left, right, answer = problem(2, pairs=80, noise=2.0)
    pairs = linear.Pairs(values, 1 / values.std(axis=0), left, right, answer, np.ones(80))
    rows = pairs.rows()
    weights, hessian = linear._newton([(slice(None), rows)], pairs, 0.5)
    quick = linear._likely(pairs, linear._left_out(rows, pairs, weights, hessian)[0])
    refitted = 0.0
    for out in range(80):
        others = np.arange(80) != out
        part = pairs.take(others)
        margin = rows[out] @ linear._newton([(slice(None), part.rows())], part, 0.5)[0]
        refitted += answer[out] * margin - np.logaddexp(0, margin)
    assert quick == pytest.approx(refitted, rel=0.02)


def test_the_error_is_that_of_new_images():
    values, left, right, answer = problem(3, images=400, pairs=500, ties=0.0, noise=0.2)
    found = fit_linear(values, left, right, answer)
    new = problem(3, images=400, pairs=500, ties=0.0, noise=0.2)
    wrong = np.mean((found.score(new[0])[right] > found.score(new[0])[left]) != (answer > 0.5))
    assert found.error.low - 0.03 <= wrong <= found.error.high + 0.03
    guessed = fit_linear(values, left, right, np.random.default_rng(0).integers(0, 2, 500))
    assert guessed.error.low < 0.5 < guessed.error.high
    tied = fit_linear(values, left, right, np.where(np.arange(500) % 3, answer, 0.5)).error
    assert tied.of < 0.7 * found.error.of
    assert tied.low - 0.03 <= wrong <= tied.high + 0.03
    assert fit_linear(values, [0, 1], [1, 2], [1.0, 0.0]).error is None


@pytest.mark.parametrize(("features", "size"), [(4, 1.5), (60, 2), (60, 4)])
def test_scores_are_logits_and_intervals_hold_the_truth(features, size):
    """The true scores are known in logits, and linear in the features."""
    inside, slopes = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(600, features))
        true = size * values @ rng.normal(size=features) / np.sqrt(features)
        left, right = rng.integers(0, 150, 400), rng.integers(150, 300, 400)
        answer = rng.random(400) < 1 / (1 + np.exp(true[left] - true[right]))
        found = fit_linear(values, left, right, answer)
        away = true[300:] - true[np.unique([left, right])].mean()
        score = found.score(values[300:])
        inside.append(np.abs(score - away) < 1.96 * found.deviation(values[300:]))
        slopes.append(np.polyfit(score, away, 1)[0])
    assert 0.9 < np.mean(inside) < 0.99
    assert 0.85 < np.mean(slopes) < 1.15


@pytest.mark.parametrize(
    ("images", "pairs", "judges", "size"), [(60, 300, 1, 1), (60, 300, 5, 1), (400, 1500, 1, 2)]
)
def test_it_is_honest_of_new_images_whose_quality_features_miss(images, pairs, judges, size):
    """Features miss half or a fifth of the true scores' variance."""
    confident, right, inside = [], [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(images + 340, 150))
        told, missed = values @ rng.normal(size=150) / np.sqrt(150), rng.normal(size=len(values))
        true = 1.4 * (size * told + missed)
        left = rng.integers(0, images, pairs // judges)
        right_ = (left + rng.integers(1, images, len(left))) % images
        left, right_ = np.repeat(left, judges), np.repeat(right_, judges)
        answer = rng.random(len(left)) < expit(true[right_] - true[left])
        found = fit_linear(values, left, right_, answer, seed=seed)
        score, away = found.score(values[images:]), true[images:] - true[:images].mean()
        a, b = rng.permutation(340).reshape(2, -1)
        held = chance(score[b] - score[a], found.difference_variance(values[images:], a, b))
        wins = expit(away[b] - away[a])
        confident.append(np.maximum(held, 1 - held))
        right.append(np.where(held > 0.5, wins, 1 - wins))
        inside.append(np.abs(score - away) < 1.96 * found.deviation(values[images:]))
    assert np.mean(confident) == pytest.approx(np.mean(right), abs=0.035)
    assert 0.9 < np.mean(inside) < 0.995


def test_constant_features_count_for_nothing():
    values, left, right, answer = problem(4)
    values[:, 2] = 7.0
    found = fit_linear(values, left, right, answer)
    assert found.weights[2] == 0
    assert np.ptp(fit_linear(np.ones((60, 2)), left, right, answer).score(values[:, :2])) == 0


@pytest.mark.parametrize("copies", ["exact", "grouped"])
def test_a_copy_in_another_group_is_not_learned_from(copies):
    """Answers by chance about images that have copies: exact ones are found, others in groups."""
    rng = np.random.default_rng(0)
    features = np.tile(rng.normal(size=(80, 100)), (2, 1))
    left, answer = np.arange(0, 160, 2), np.tile(rng.random(40) < 0.5, 2)
    sides = np.stack([left, left + 1])
    group = sides if copies == "exact" else sides % 80
    features += 1e-3 * rng.normal(size=features.shape) * (copies == "grouped")
    assert fit_linear(features, *sides, answer, group=group.T).error.value > 0.3


def test_an_image_that_is_left_out_is_nowhere_learned_from():
    """Images have scores that their features do not tell: left-out pairs are guessed."""
    rng = np.random.default_rng(0)
    features, score = rng.normal(size=(60, 200)), rng.normal(size=60)
    left, right = rng.permuted(np.tile(np.arange(60), (1200, 1)), axis=1)[:, :2].T
    assert fit_linear(features, left, right, score[right] > score[left]).error.value > 0.4


@pytest.mark.parametrize(
    "damage",
    [
        {"weights": np.full(3, 1e200)},
        {"weights": np.array([object()] * 3)},
        {"left_out": np.full((40, 2), "1")},
        {"left_out": np.full((40, 2), np.inf)},
        {"images": np.zeros(40, int)},
        {"covariance": np.zeros((2, 2))},
    ],
)
def test_a_damaged_solution_is_refused(damage, tmp_path):
    rng = np.random.default_rng(0)
    sides = rng.integers(20, size=(2, 40))
    found = fit_linear(rng.normal(size=(20, 3)), *sides, rng.random(40) < 0.5)
    found.save(tmp_path / "head.npz")
    again = linear.Linear.load(tmp_path / "head.npz")
    np.testing.assert_array_equal(again.left_out, found.left_out)
    assert (again.error, again.residual) == (found.error, found.residual)
    arrays = {field.name: getattr(found, field.name) for field in fields(found)}
    earlier = {name: array for name, array in arrays.items() if name != "residual"}
    np.savez(tmp_path / "head.npz", **earlier)
    assert linear.Linear.load(tmp_path / "head.npz").residual == 0
    np.savez(tmp_path / "head.npz", **{**arrays, **damage})
    with pytest.raises(InputError, match="expected a linear head"):
        linear.Linear.load(tmp_path / "head.npz")

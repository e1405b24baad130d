"""What is known of training images, held against full covariances and by what images look like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm, percentileofscore

from kpairs.judging import reference
from kpairs.judging.linear import fit_linear
from kpairs.judging.reference import Reference, chance, make_reference, thumbnails


@pytest.fixture(scope="module")
def fitted():
    """Correlated features of 500 images, a head fitted to judgements of 300, and the reference."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 40)) @ rng.normal(size=(40, 200)) + rng.normal(size=(500, 200))
    truth = features[:, :5].sum(axis=1) / 10
    left, right = rng.integers(0, 300, (2, 900))
    head = fit_linear(features, left, right, rng.random(900) < expit(truth[right] - truth[left]))
    return (
        features,
        head,
        make_reference(features[:300], head.score(features[:300]), head.covariance, head.residual),
    )


def test_standard_errors_are_nearly_those_of_the_whole_covariance(fitted, monkeypatch):
    features, head, known = fitted
    known = Reference.from_text(known.to_text())
    new, others = features[300:400], features[400:]
    np.testing.assert_allclose(known.deviation(known.place(new)), head.deviation(new), rtol=0.1)
    away = others - new
    variance = np.sum((away @ head.covariance) * away, axis=1) + 2 * head.residual
    placed = known.place(new), known.place(others)
    np.testing.assert_allclose(known.difference_variance(*placed), variance, rtol=0.2)
    few = make_reference(features[:300, :30], None, head.covariance[:30, :30])
    away = new[:, :30] - features[:300, :30].mean(axis=0)
    exact = np.sqrt(np.sum((away @ head.covariance[:30, :30]) * away, axis=1))
    np.testing.assert_allclose(few.deviation(few.place(new[:, :30])), exact, rtol=1e-2)
    monkeypatch.setattr(reference, "_AXES", 1)  # 50 are left, and what is beyond counts in the mean
    few = make_reference(features[:300], None, head.covariance, head.residual)
    squares = few.deviation(few.place(features[:300])) ** 2
    assert squares.mean() == pytest.approx(np.mean(head.deviation(features[:300]) ** 2), rel=0.02)


def test_a_percentile_is_scipys(fitted):
    features, head, known = fitted
    scores = head.score(features)
    expected = [percentileofscore(scores[:300], s, "mean") for s in scores[300:]]
    np.testing.assert_allclose(known.percentile(scores[300:]), expected, atol=1)


def test_strangers_are_far_and_unseen_images_of_the_kind_are_not(fitted):
    features, _, known = fitted
    assert (known.distance(known.place(features[300:])) > 1).mean() <= 0.02
    rng = np.random.default_rng(1)
    assert (known.distance(known.place(rng.normal(0, 8, (50, 200)))) > 1).all()  # other directions
    assert (known.distance(known.place(4 * features[:50])) > 1).all()  # the same, too far out


def test_no_training_image_is_far_from_them():
    rows = np.random.default_rng(0).normal(size=(60, 100))
    rows[[7, 11]] *= 10  # which no others' axes tell of
    known = Reference.from_text(make_reference(rows).to_text())
    assert (known.distance(known.place(rows * (1 + 1e-5))) < 1).all()
    assert known.distance(known.place(40 * rows[:1])) > 1


def test_a_feature_that_never_varied_tells_a_stranger():
    rows = np.random.default_rng(0).normal(size=(400, 6)) * [1, 1, 1, 1, 1, 0]
    known = make_reference(rows)
    near, far = known.distance(known.place([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 9]]))
    assert near < 1 < far
    few = make_reference(rows[:20])  # too few to say who is far
    assert few.distance(few.place(rows[20:] + 100)).max() < 1


def test_an_image_of_a_small_training_set_is_not_far_from_it():
    rows = np.random.default_rng(0).normal(size=(60, 200))
    rows[19] += 9  # an outlier, whose own axis nobody else has
    known = make_reference(rows)
    assert known.distance(known.place(rows)).max() <= 1
    assert known.distance(known.place(rows[19:20] + 30)) > 1


def test_digits_and_photographs_are_told_apart(mnist):
    from skimage import data

    digits = mnist["train"].images[:1000]
    shrink = digits.shape[1] // 14
    small = digits.reshape(1000, 14, shrink, 14, shrink).mean(axis=(2, 4))[..., None] / 255
    known = make_reference(thumbnails(small))
    photograph = data.camera() / 255.0
    crops = np.stack([photograph[i : i + 280, i : i + 280] for i in range(0, 200, 10)])
    seen = thumbnails(crops.reshape(20, 14, 20, 14, 20).mean(axis=(2, 4))[..., None])
    assert (known.distance(known.place(seen)) > 1).all()
    others = mnist["test"].images[:500]
    others = others.reshape(500, 14, shrink, 14, shrink).mean(axis=(2, 4))[..., None] / 255
    assert (known.distance(known.place(thumbnails(others))) > 1).mean() < 0.02


@settings(deadline=None)
@given(st.floats(-6, 6), st.floats(0, 5))
def test_a_chance_is_the_mean_over_uncertain_scores(margin, variance):
    deviation = max(variance, 1e-6) ** 0.5
    mean, _ = quad(
        lambda z: expit(margin + deviation * z) * norm.pdf(z),
        -9,
        9,
        points=[-margin / deviation] if abs(margin / deviation) < 9 else None,
    )
    assert chance(margin, variance) == pytest.approx(mean, abs=0.02)
    assert chance(-margin, variance) == pytest.approx(1 - chance(margin, variance))
    assert chance(margin, 0, 2.5) == pytest.approx(expit(margin / 2.5))


def test_thumbnails_are_means_of_parts():
    images = np.random.default_rng(0).random((3, 40, 64, 3), np.float32)
    small = thumbnails(images).reshape(3, 16, 16, 3)
    np.testing.assert_allclose(small[:, 2, 5], images[:, 5:7, 20:24].mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(small.mean(), images.mean(), rtol=0.02)
    assert thumbnails(images[:, :10, :9]).shape == (3, 10 * 9 * 3)


@pytest.mark.parametrize("damage", ["", "AAAA", "not base 64"])
def test_damaged_text_is_refused(damage, fitted):
    with pytest.raises(ValueError, match="expected a reference"):
        Reference.from_text(damage)
    with pytest.raises(ValueError, match="expected a reference"):
        Reference.from_text(fitted[2].to_text()[:-400])

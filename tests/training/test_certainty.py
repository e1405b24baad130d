"""The checks of a network's own sureness, by simulations whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpairs.data.settings import PixelSettings
from kpairs.data.splits import Scored, draw_pairs
from kpairs.data.stored import Stored
from kpairs.errors import InputError
from kpairs.training.certainty import coverage_pct, fit_temperature
from kpairs.training.evaluate import _true_values as true_values_of
from kpairs.training.records import read_temperature, save_temperature


@settings(max_examples=20)
@given(st.floats(0.4, 3))
def test_a_temperature_is_found_again(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 4000)
    answers = (rng.random(4000) < 1 / (1 + np.exp(-logits))).astype(float)
    found = fit_temperature(temperature * logits, answers)
    assert found == pytest.approx(temperature, rel=0.15)


def test_answers_without_errors_give_no_boundless_temperature():
    logits = np.linspace(-1, 1, 200)
    assert 0.01 < fit_temperature(logits, (logits > 0).astype(float)) < 1


@pytest.mark.parametrize("true_scale", [np.exp, lambda t: np.rint(2 * t) ** 3])
def test_coverage_is_that_of_the_intervals(true_scale):
    """Scores with errors of known size, true values on another increasing scale."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, 4000)
    noise = 0.5
    # Scores as a posterior gives them: the truth is the score and an error of the known size.
    score = truth - rng.normal(0, noise, 4000)
    score = score.mean() + (score - score.mean()) * truth.var() / (truth.var() + noise**2)
    error = np.std(truth - score)
    found = [coverage_pct(score, np.full(4000, f * error), true_scale(truth)) for f in (1, 0.5)]
    assert found[0] == pytest.approx(95, abs=2.5)
    assert found[1] == pytest.approx(67, abs=5)


def test_the_true_values_of_scored_images(tmp_path):
    """Of several ratings the mean, in the order in which images are numbered."""
    np.save(tmp_path / "images.npy", np.zeros((5, 8, 8, 1), np.uint8))
    images = Stored(tmp_path / "images.npy", np.array([4, 0, 2, 0]))
    split = Scored(images, np.array([9.0, 1, 5, 2]), "test", tmp_path, PixelSettings(8, 8))
    pairs = draw_pairs(split, 2, seed=1)
    rows = np.unique([pairs.left.rows, pairs.right.rows])
    expected = {0: 1.5, 2: 5.0, 4: 9.0}
    assert true_values_of(split, pairs).tolist() == [expected[row] for row in rows.tolist()]


@pytest.mark.parametrize("damage", ["[]", '{"temperature": 0}', '{"temperature": "a"}', "{"])
def test_a_kept_temperature(tmp_path, damage):
    assert read_temperature(tmp_path) is None
    save_temperature(tmp_path, 1.5)
    assert read_temperature(tmp_path) == 1.5
    (tmp_path / "calibration.json").write_text(damage)
    with pytest.raises(InputError, match="temperature"):
        read_temperature(tmp_path)

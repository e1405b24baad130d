"""The error over all ordered pairs: held against the network's own answers, pair by pair."""

import json

import keras
import numpy as np
import pytest
from command_line import kpairs

from kpairs.cli.tables import all_pairs_line
from kpairs.data import PairSet
from kpairs.models.initialization import initialize
from kpairs.models.outputs import probabilities
from kpairs.networks import ARCHS, build
from kpairs.recipes import Setting, Study, Trial
from kpairs.studies.rows import collect, study_rows
from kpairs.studies.run import _Draw, run_jobs
from kpairs.training import all_pairs as module
from kpairs.training.all_pairs import all_pairs, wrong_by_class
from kpairs.training.batches import predict
from kpairs.training.train import train

_UNSURE = 1e-5  # of a probability from 1/2: a decision that rounding may turn


@pytest.mark.parametrize("ties", [False, True])
def test_counts_are_those_of_a_loop(ties, rng, monkeypatch):
    monkeypatch.setattr(module, "_ENTRIES", 100)  # two images at a time
    labels = rng.choice([0, 1, 3], 40)  # of class 2 there is none
    left, right = rng.normal(size=(2, 40, 3))
    expected, count = np.zeros((4, 4), int), 0
    for i in range(40):
        for j in range(40):
            if i != j and not (ties and labels[i] == labels[j]):
                wrong = (left[i] @ right[j] > 0) != (labels[i] <= labels[j])
                expected[labels[i], labels[j]] += wrong
                count += 1
    wrong, pairs = wrong_by_class(left, right, labels, 4, ties=ties)
    np.testing.assert_array_equal(wrong, expected)
    assert pairs == count


def fresh(name, **options):
    model = build(name, **options)
    initialize(model, "torch", np.random.default_rng(3))
    for variable in model.trainable_variables:  # so that answers differ from image to image
        variable.assign(3 * variable.numpy())
    return model


@pytest.fixture
def images(mnist, rng):
    rows = rng.permutation(len(mnist["test"]))[:40]
    return mnist["test"].pixels(rows), mnist["test"].labels[rows]


@pytest.mark.parametrize(
    ("name", "options", "ties"),
    [
        ("posterior_s", {}, True),
        ("posterior_s", {"test_shifts": 5}, False),
        *(("auxranker", {}, ties) for ties in (False, True)),
        ("a_net", {"head": "posterior"}, False),  # a tower of its own for each side
        ("linear_grades", {}, True),  # equal grades count half
    ],
)
def test_the_error_is_that_of_every_pair(name, options, ties, images, rng, tmp_path):
    if ARCHS[name].linear:
        layers = keras.Input((14, 14, 1)), keras.layers.Conv2D(9, 3, activation="relu")
        options["backbone"] = str(tmp_path / "own.keras")
        keras.Sequential([*layers, keras.layers.Rescaling(9)]).save(options["backbone"])
    model, outputs = fresh(name, **options), ARCHS[name].outputs
    pixels, labels = images
    first, second = np.nonzero(~np.eye(len(labels), dtype=bool))
    pairs = PairSet(pixels[first], pixels[second], labels[first], labels[second])
    pairs = pairs.with_even_ties() if ties else pairs
    held = probabilities(predict(model, pairs)["comparison"], outputs["comparison"])[:, 1]
    told = pairs.comparison != 0.5
    wrong, sure = (held > 0.5) != (pairs.comparison > 0.5), np.abs(held - 0.5) > _UNSURE
    found = all_pairs(model, pixels, labels, 10, outputs, rng, ties=ties)
    counted = round(found["comparison_error_pct"] / 100 * told.sum())
    least = (wrong & told & sure).sum()
    assert least <= counted <= least + (told & ~sure).sum()
    assert 0 < counted < told.sum()
    assert found["exact"]
    assert found["pairs"] == told.sum()
    assert np.sum(found["wrong"]) == counted


def test_networks_that_see_both_images_are_asked_about_drawn_pairs(images, rng):
    model, outputs = fresh("auxws"), ARCHS["auxws"].outputs
    pixels, labels = images
    first, second = np.nonzero(~np.eye(len(labels), dtype=bool))
    pairs = PairSet(pixels[first], pixels[second], labels[first], labels[second])
    held = predict(model, pairs)["comparison"].argmax(axis=1)
    whole = 100 * np.mean(held != pairs.comparison)
    found = all_pairs(model, pixels, labels, 10, outputs, rng, sampled=7000)
    assert not found["exact"]
    assert found["pairs"] == 7000
    assert 0 < found["standard_error"] < 1
    assert abs(found["comparison_error_pct"] - whole) < 5 * found["standard_error"]


def test_a_comparison_that_does_not_follow_is_noticed(images, rng):
    """Scores beside a comparison that is something else are not what is measured."""
    model, outputs = fresh("auxranker"), ARCHS["auxranker"].outputs
    swapped = {**model.output, "comparison": model.output["comparison"] * -1}
    other = type(model)(model.input, swapped)
    assert all_pairs(model, *images, 10, outputs, rng)["exact"]
    assert not all_pairs(other, *images, 10, outputs, rng, sampled=100)["exact"]


@pytest.mark.slow
def test_evaluate_measures_all_pairs(tiny, workplace):
    run = train(tiny("posterior_s"), "run")
    (row,) = json.loads(kpairs("evaluate", "run", "--all-pairs", "--json"))["rounds"]
    assert row["test"] == run.row(1)["test"]
    assert set(row["all_pairs"]) == {"comparison_error_pct", "digit_error_pct"}
    found = row["measures"]["all_pairs"]
    assert found["pairs"] == 10_000 * 9_999
    errors = 100 * np.sum(found["wrong"]) / found["pairs"]
    assert errors == pytest.approx(row["all_pairs"]["comparison_error_pct"])
    assert all_pairs_line([row]) == "all 99,990,000 ordered pairs of the test images, exactly"
    train(tiny("ws"), "ws")
    text = kpairs("evaluate", "ws", "--all-pairs", "--sampled", "2000")
    assert "2,000 of all ordered pairs of the test images, drawn at random" in text


def test_a_study_holds_out_training_images(tiny, tmp_path):
    recipe = tiny("posterior_s", test_shifts=5)
    setting = Setting(recipe, "held out", held_out=100)
    study = Study("own", "kpairs", "Own", (setting,), 1)
    list(run_jobs(study.jobs(), tmp_path))
    (row,) = collect(study, tmp_path).to_dict("records")
    for column in ("all_pairs_error_pct", "unshifted_error_pct", "all_pairs_digit_error_pct"):
        assert 0 < row[column] < 100
    assert row["job"] != Setting(recipe).trial(1).id == Trial(recipe, 1).id
    assert len(study_rows(tmp_path, study)) == 1
    draw = _Draw(tmp_path, None)
    held, tested = draw(setting.trial(1)), draw(Setting(recipe).trial(1))
    np.testing.assert_array_equal(held.pairs[0].left, tested.pairs[0].left)
    assert (held.test_images, len(tested.test_images)) == (None, 10_000)
    images = np.concatenate([held.pairs[1].left, held.pairs[1].right])
    assert len(images) == 200
    trained = {image.tobytes() for image in held.pairs[0].left}
    assert not trained & {image.tobytes() for image in images}

"""`kpairs.export` of Keras models that kpairs did not build."""

import keras
import numpy as np
import pytest

import kpairs
from kpairs.data.pairs import PairSet
from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.export import export
from kpairs.exports.writing.trained import Trained

SHAPE = (12, 10, 3)


def tower():
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def of_one_output(names=("left", "right"), activation="sigmoid", units=1):
    first, second = (keras.Input(SHAPE, name=name) for name in names)
    shared = tower()
    both = keras.layers.Concatenate()([shared(first), shared(second)])
    return keras.Model([first, second], keras.layers.Dense(units, activation=activation)(both))


def of_two_outputs():
    a, b = (keras.Input(SHAPE, name=name) for name in ("right", "left"))
    shared = tower()
    scores = {"left_score": shared(b), "right_score": shared(a)}
    verdict = keras.layers.Concatenate()([scores["left_score"], scores["right_score"]])
    return keras.Model({"right": a, "left": b}, {**scores, "verdict": verdict})


@pytest.fixture
def pairs(rng):
    left, right = (rng.random((9, *SHAPE), dtype=np.float32) for _ in range(2))
    return PairSet(left, right, *rng.integers(0, 5, (2, 9)))


def test_one_output_by_the_order_of_its_inputs(pairs, tmp_path):
    model = of_one_output(("x", "a"))
    (written,) = kpairs.export(model, tmp_path / "own.onnx", pairs=pairs)
    loaded = PairModel.load(written.path)
    assert loaded.outputs == {"comparison": "sigmoid"}
    assert loaded.pixels.shape == SHAPE
    assert written.description["test_pairs"] == 9
    received = loaded.compare(pairs.left, pairs.right)["comparison"]
    expected = model.predict([pairs.left, pairs.right], verbose=0)
    np.testing.assert_allclose(received, expected, atol=1e-6)
    with pytest.raises(InputError, match="channels first"):  # or three grey pictures
        loaded.predict(np.zeros((3, 12, 10)), np.zeros((3, 12, 10)))


def test_named_inputs_and_scores_without_test_pairs(pairs, tmp_path):
    model = of_two_outputs()
    kinds = {"verdict": "logits", "left_score": "score", "right_score": "score"}
    (written,) = export(model, tmp_path / "own.onnx", outputs=kinds)
    loaded = PairModel.load(written.path)
    received = loaded.compare(pairs.left, pairs.right)
    expected = model.predict({"left": pairs.left, "right": pairs.right}, verbose=0)
    assert list(received) == ["comparison", "left_score", "right_score"]
    np.testing.assert_allclose(received["left_score"], expected["left_score"], atol=1e-6)
    np.testing.assert_allclose(received["comparison"], expected["verdict"], atol=1e-6)
    assert "Not measured" in written.path.with_name("own.onnx.md").read_text()
    assert written.parity.pairs == 64


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: keras.Sequential([keras.Input(SHAPE)]), {}, "two image inputs, received"),
        (lambda: of_one_output(activation=None), {}, "say which: outputs="),
        (lambda: of_one_output(units=3), {}, r"comparison: expected the shape \(batch, 1\)"),
        (of_two_outputs, {}, "expected an output comparison, received"),
        (of_one_output, {"outputs": {"left_digit": "logits"}}, "expected an output left_digit"),
        (of_one_output, {"pixels": kpairs.data.settings.DIGITS}, "expected settings of the model"),
    ],
)
def test_models_that_do_not_compare_two_images(model, options, message):
    with pytest.raises(UsageError, match=message):
        Trained.from_keras(model(), **options)

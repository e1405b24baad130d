"""Shifts averaged inside the graph: what is computed, saved, exported, and left as it is."""

import keras
import numpy as np
import pytest
from command_line import TINY, kpairs
from scipy.ndimage import shift

from kpairs.data import draw_pairs
from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.export import export
from kpairs.networks import build
from kpairs.training.network import load_round
from kpairs.training.train import train

_PLACES = ((0, 0), (0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))


def log_softmax(x):
    return (
        x
        - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - x.max(-1, keepdims=True)
    )


@pytest.mark.parametrize("shape", [(14, 14, 1), (16, 12, 3)])
def test_the_posterior_is_the_mean_over_scipys_shifts(shape, rng):
    plain, averaging = (build("posterior_s", 5, input_shape=shape, test_shifts=n) for n in (1, 5))
    averaging.set_weights(plain.get_weights())
    images = rng.random((2, 6, *shape), dtype=np.float32)

    def said(model, images):
        outputs = model.predict(dict(zip(("left", "right"), images, strict=True)), verbose=0)
        return np.stack([log_softmax(outputs[f"{side}_digit"]) for side in ("left", "right")])

    moved = [
        said(plain, shift(images, (0, 0, *place, 0), order=1, mode="grid-constant"))
        for place in _PLACES
    ]
    np.testing.assert_allclose(
        said(averaging, images), log_softmax(np.mean(moved, axis=0)), atol=1e-5
    )


def test_training_knows_nothing_of_shifts(tiny, workplace):
    plain, averaging = (train(tiny("posterior_s", test_shifts=n), f"run{n}") for n in (1, 5))
    assert averaging.row(1)["engine"] == "lowered"
    weights = [load_round(run, 1).get_weights() for run in (plain, averaging)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert plain.row(1)["test"].keys() == averaging.row(1)["test"].keys()


@pytest.mark.parametrize(
    "others",
    [(), pytest.param(("torchscript", "torch-export", "int8"), marks=pytest.mark.slow)],
)
def test_exports_have_the_shifts(others, tiny, workplace, mnist, rng):
    run = train(tiny("posterior_s", test_shifts=5), "run")
    exports = export(run, formats=("onnx", *others))  # held against Keras, or not written
    pairs = draw_pairs(mnist["test"], 50, rng)
    expected = load_round(run, 1).predict(pairs.inputs(), verbose=0)
    received = PairModel.load(exports[0].path).run(pairs.left, pairs.right, 7)
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, atol=1e-5)
    model = keras.saving.load_model(run.model_file(1))
    again = model.predict(pairs.inputs(), verbose=0)
    np.testing.assert_allclose(again["comparison"], expected["comparison"], atol=1e-6)


def test_shifts_that_cannot_be_had_are_refused(tiny, workplace):
    with pytest.raises(UsageError, match="auxws takes no test_shifts; posterior, posterior_s"):
        build("auxws", test_shifts=5)
    with pytest.raises(UsageError, match="test_shifts: expected 1 or 5, received 3"):
        build("posterior", test_shifts=3)
    with pytest.raises(UsageError, match="test_shifts: expected at most 5, received 9"):
        tiny("posterior", test_shifts=9)
    said = kpairs("train", "--arch", "ws", *TINY, "--test-shifts", "5", expect=2)
    assert "ws takes no test_shifts" in said
    known = tiny("posterior")
    assert known.replace(test_shifts=1).key() == known.key()
    assert known.replace(test_shifts=5).key() != known.key()

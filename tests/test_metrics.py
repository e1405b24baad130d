"""Accuracies that leave out ties and unknown classes."""

import numpy as np
import pytest

from kpairs.metrics import ClassAccuracy, PairAccuracy


@pytest.mark.parametrize(
    ("said", "threshold"),
    [
        ([[1.0, 0], [1, 0], [1, 0], [0, 1]], 0.5),
        ([[0.2], [0.3], [0.9], [0.6]], 0.5),
        ([[-1.0], [-2], [1], [0.2]], 0.0),
    ],
)
def test_ties_are_neither_right_nor_wrong(said, threshold):
    metric = PairAccuracy(threshold=threshold)
    metric.update_state(np.array([0.0, 1.0, 0.5, 0.3]), np.array(said))
    assert float(metric.result()) == pytest.approx(1 / 3)
    metric.reset_state()
    metric.update_state(np.array([[0.0], [1.0], [0.5], [0.3]]), np.array(said), [3.0, 1, 1, 1])
    assert float(metric.result()) == pytest.approx(3 / 5)


def test_unknown_classes_do_not_count(rng):
    values, target = rng.normal(size=(6, 4)), np.array([2, -1, 0, 3, -1, 1])
    metric = ClassAccuracy()
    metric.update_state(target, values)
    metric.update_state(np.array([-1]), np.zeros((1, 4)))
    known = target >= 0
    right = values.argmax(axis=1)[known] == target[known]
    assert float(metric.result()) == pytest.approx(right.mean())


def test_half_precision_makes_no_tie_and_no_other_class():
    import keras

    near, classes = keras.ops.array([[0.49, 0.51]], "bfloat16"), np.zeros((1, 300), np.float32)
    classes[0, 257] = 1  # bfloat16 knows 256 and 258 alone
    pair, known = PairAccuracy(), ClassAccuracy()
    pair.update_state(np.array([0.501]), near)
    known.update_state(np.array([257]), keras.ops.cast(classes, "bfloat16"))
    assert (float(pair.result()), float(pair.count), float(known.result())) == (1, 1, 1)

"""Layers under Keras' dtype policies; what they compute, tests/ours and tests/models hold."""

import keras
import numpy as np
import pytest

from kpairs.judging.graded import _ordinal_logs
from kpairs.layers import (
    ExpectedGrade,
    HalfPixelShifts,
    MeanPosterior,
    OrdinalGrades,
    PosteriorComparison,
)


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def half(request):
    """A policy of half precision."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy(before)


def test_logarithms_stay_precise_in_half_precision(half, rng):
    images = rng.random((3, 6, 5, 2), np.float32)
    shifts = HalfPixelShifts()
    moved = shifts(images)
    assert moved.dtype == getattr(__import__("torch"), half.removeprefix("mixed_"))
    exact = HalfPixelShifts(dtype="float32")(images)
    np.testing.assert_allclose(moved.float().numpy(), exact.numpy(), atol=0.01)
    left, right = rng.normal(0, 30, (2, 4, 10)).astype(np.float32)
    comparison, mean = PosteriorComparison(), MeanPosterior()
    for layer, inputs in ((comparison, [left, right]), (mean, np.tile(left, (5, 1)))):
        received = layer(inputs)
        assert keras.backend.standardize_dtype(received.dtype) == "float32"
        expected = type(layer)(dtype="float32")(inputs)
        np.testing.assert_array_equal(received.numpy(), expected.numpy())
        again = type(layer).from_config(layer.get_config())
        assert again.compute_dtype == "float32"
    asked = PosteriorComparison(dtype="bfloat16")
    assert asked.compute_dtype == "bfloat16"


def test_ordinal_grades_are_those_of_the_formula(rng):
    """Far from the thresholds too, where probabilities vanish; any number of axes."""
    layer = OrdinalGrades(5)
    scores = rng.normal(0, 60, (7, 2, 1)).astype(np.float32)
    layer(scores)
    layer.set_weights([np.array([-2.0]), np.array([0.1, -3.0, 5.0])])
    thresholds = -2 + np.append(0, np.logaddexp(0, [0.1, -3.0, 5.0]).cumsum())
    expected = _ordinal_logs(scores.ravel().astype(float), thresholds).reshape(7, 2, 5)
    received = keras.ops.convert_to_numpy(layer(scores))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.exp(received).sum(axis=-1), 1, rtol=1e-5)
    mean = keras.ops.convert_to_numpy(ExpectedGrade()(received))[..., 0]
    np.testing.assert_allclose(mean, np.exp(expected) @ np.arange(5), rtol=1e-4, atol=1e-5)
    order = np.argsort(scores.ravel())
    assert (np.diff(mean.ravel()[order]) >= -1e-5).all()
    with pytest.raises(ValueError, match="at least 2, received 1"):
        OrdinalGrades(1)
    with pytest.raises(ValueError, match="expected one score"):
        OrdinalGrades(3)(np.zeros((4, 2), np.float32))


def test_ties_count_half(rng):
    """Equal images give 1/2, and exchanged ones the complement."""
    left, right = rng.normal(0, 9, (2, 6, 4)).astype(np.float32)
    compare = PosteriorComparison(output="probabilities", ties="half")
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (left, right))
    joint = p[:, :, None] * q[:, None, :]
    expected = np.triu(joint, 1).sum(axis=(1, 2)) + np.trace(joint, axis1=1, axis2=2) / 2
    received = keras.ops.convert_to_numpy(compare([left, right]))
    np.testing.assert_allclose(received[:, 1], expected, rtol=1e-4)
    turned = keras.ops.convert_to_numpy(compare([right, left]))
    np.testing.assert_allclose(received, turned[:, ::-1], rtol=1e-4, atol=1e-6)
    same = keras.ops.convert_to_numpy(compare([left, left]))
    np.testing.assert_allclose(same, 0.5, rtol=1e-5)

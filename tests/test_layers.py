"""Layers under Keras' dtype policies; what they compute, tests/ours and tests/models hold."""

import keras
import numpy as np
import pytest

from kpairs.layers import HalfPixelShifts, MeanPosterior, PosteriorComparison


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

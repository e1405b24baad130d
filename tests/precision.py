"""How near two programs have to be.

In float64 a mistake is a million times larger than any rounding, so two programs that do the same
are held to `EXACT`. In float32 a program is held to what it does to itself once its weights are
moved by one rounding: that is measured where it is needed, because it differs between processors.
"""

from contextlib import contextmanager

import keras
import numpy as np
from keras.src.backend.common import dtypes

EXACT = 1e-9  # relative, in float64


@contextmanager
def float64():
    """Run a block in which Keras builds, compiles and computes in float64.

    On torch `keras.ops` round to 32 bits whatever they compute, as jax does unless told otherwise.
    """
    thirty_two_bits = dtypes.BIT64_TO_BIT32_DTYPE.pop("float64")
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = thirty_two_bits


def difference(received, expected):
    """The largest difference of two sequences of arrays, each relative to its own largest number.

    An array whose numbers are a millionth of the others' is taken for the rounding that it may be,
    such as the bias before a batch normalisation that begins with zeros.
    """
    received, expected = ([np.asarray(a) for a in arrays] for arrays in (received, expected))
    largest = [np.abs(b).max() for b in expected]
    floor = max(largest) / 1e6
    distances = [np.abs(a - b).max() for a, b in zip(received, expected, strict=True)]
    return max(d / max(size, floor) for d, size in zip(distances, largest, strict=True))


def moved(arrays, rng):
    """Each number of float32 arrays moved to the next one, up or down."""
    return [np.nextafter(a, rng.choice(np.float32([-np.inf, np.inf]), a.shape)) for a in arrays]

"""Features of files by onnxruntime against Keras' network, and found again by either."""

import numpy as np
import pytest

from kpairs.exports.features import Lite0
from kpairs.models.backbone import feature_digest, feature_network


@pytest.mark.parametrize("shape", [(128, 128, 3), (96, 128, 1), (40, 70, 3)])
def test_lite0_is_keras_network(shape, rng):
    keras_network = feature_network("lite0", *shape, mirrored=True)
    network = Lite0(*shape)
    images = rng.random((5, *shape), dtype=np.float32)
    expected = keras_network.predict(images, verbose=0)
    received = network.features(images)
    assert received.shape == (5, network.width)
    np.testing.assert_allclose(received, expected, atol=1e-4 * np.abs(expected).max())
    assert network.digest == feature_digest(keras_network)
    assert network.features(images[:0]).shape == (0, network.width)


def test_another_networks_digest_is_another(rng):
    network = feature_network("lite0", 40, 70, 3, mirrored=True)
    known = feature_digest(network)
    assert known != feature_digest(feature_network("lite0", 40, 70, 3))
    assert known != feature_digest(feature_network("lite0", 40, 70, 3, size=64, mirrored=True))
    weights = network.get_weights()
    weights[0] = weights[0] + 1
    network.set_weights(weights)
    assert known != feature_digest(network)

"""Features of files by onnxruntime against Keras' network, and found again by either."""

import os

import numpy as np
import pytest
from PIL import Image

from kpairs.data.settings import PixelSettings
from kpairs.exports.features import Lite0, file_features
from kpairs.exports.runtime.kept import known_features
from kpairs.exports.runtime.sheet import draw_ranked_sheet
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


def test_files_of_12_bits_have_the_features_and_the_sheet_of_8_bits(tmp_path, rng):
    pixels = np.pad(rng.integers(0, 256, (36, 44), dtype=np.uint8), 2)
    deep = np.round(pixels * (4095 / 255)).astype(np.uint16)
    found, drawn = [], []
    for name, levels, white in (("plain", pixels, 65535), ("deep", deep, 4095)):
        file = tmp_path / f"{name}.png"
        Image.fromarray(levels).save(file)
        found.append(file_features([str(file)], root=tmp_path, white=white))
        draw_ranked_sheet([file], ["1"], tmp_path / "sheet.png", white=white)
        drawn.append(np.asarray(Image.open(tmp_path / "sheet.png")))
    np.testing.assert_allclose(*found, atol=1e-5 * np.abs(found[0]).max())
    np.testing.assert_array_equal(*drawn)


class Means:
    """A network whose one feature is an image's mean; `seen` counts images."""

    networks, width, seen = ("0" * 32,), 1, 0

    def __init__(self, **settings):
        self.pixels = PixelSettings(8, 8, 1, ink="mixed", **settings)

    def features(self, images):
        Means.seen += len(images)
        return images.mean(axis=(1, 2, 3), dtype=np.float32)[:, None]


def test_a_file_that_changed_and_other_settings_are_computed_anew(tmp_path, rng):
    files = [tmp_path / f"{number}.png" for number in range(5)]

    def write(file):
        Image.fromarray(rng.integers(0, 255, (8, 12), dtype=np.uint8)).save(file)

    def told(fit="stretch"):
        model = Means(fit=fit)
        found = known_features(model, files, tmp_path / "cache").features[:][:, 0]
        for file, value in zip(files, found, strict=True):
            image = np.asarray(Image.open(file), float)
            image = image[:, 2:10] if fit == "crop" else image
            assert value == pytest.approx(image.mean() / 255, abs=0.01)
        return Means.seen

    for file in files:
        write(file)
    first = told()
    assert told() == first
    write(files[3])
    os.utime(files[3], ns=(0, 10**9))  # however coarse the clock of the disk
    assert told() == first + 1
    assert told("crop") == first + 6
    assert told("crop") == told() == first + 6

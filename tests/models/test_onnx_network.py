"""Networks that others exported to ONNX as frozen towers."""

import keras
import numpy as np
import onnx
import pytest
import torch
from one_image import exported

from kpairs.errors import InputError, UsageError
from kpairs.exports.writing.quiet import quiet
from kpairs.loading import load
from kpairs.models.backbone import feature_digest, feature_network


class Stages(torch.nn.Module):
    """Two convolutions: the maps of the first, and a vector of the second."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 6, 3, stride=2)

    def forward(self, x):
        maps = torch.relu(self.first(x))
        return maps, self.second(maps).amax((2, 3))


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    """A network, its file that takes any batch, and one that takes single images alone."""
    folder, module = tmp_path_factory.mktemp("onnx"), Stages().eval()
    sample = (torch.rand(2, 3, 24, 20),)
    for name, shapes in (("any", {0: torch.export.Dim("n")}), ("two", {})):
        program = torch.onnx.export(module, sample, dynamo=True, dynamic_shapes=(shapes,))
        onnx.save(program.model_proto, folder / f"{name}.onnx")
    (folder / "odd.onnx").write_bytes(b"no network")
    return module, folder


def test_an_onnx_network_gives_features_and_is_exported_inside(extractor, rng, tmp_path):
    module, folder = extractor
    images = rng.random((3, 24, 20, 1), dtype=np.float32)
    network = feature_network(str(folder / "any.onnx"), 24, 20, 1, mirrored=True)
    run, _ = exported(network, torchscript=False)
    received = keras.ops.convert_to_numpy(network(images))
    with torch.no_grad():
        both = [
            torch.cat([maps.mean((2, 3)), vector], dim=1)
            for side in (images, images[:, :, ::-1].copy())
            for maps, vector in [module(torch.tensor(side).permute(0, 3, 1, 2).repeat(1, 3, 1, 1))]
        ]
    np.testing.assert_allclose(received, (both[0] + both[1]) / 2, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="TorchScript cannot hold"), quiet():
        torch.jit.trace(network, torch.tensor(images), check_trace=False)
    for batch in (images[:1], images):
        np.testing.assert_allclose(run(batch), received[: len(batch)], rtol=1e-4, atol=1e-5)
    network.save(tmp_path / "features.keras")
    again = load(tmp_path / "features.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(images)), received)
    assert feature_digest(again) == feature_digest(network)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("odd.onnx", "cannot use it"),
        ("two.onnx", "the batch free"),
    ],
)
def test_files_that_are_no_extractors_are_refused(name, message, extractor):
    with pytest.raises(InputError, match=f"{name}: expected an ONNX network.*{message}"):
        feature_network(str(extractor[1] / name), 24, 20, 3)

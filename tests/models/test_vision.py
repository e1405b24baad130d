"""Networks of torchvision as frozen towers, with weights from a local file."""

import keras
import numpy as np
import pytest
import torch
from one_image import exported
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.loading import load
from kpairs.models.backbone import feature_digest, feature_network, set_trainable
from kpairs.training.features import predicted


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A small ResNet of others, trained in its batch normalisation, and the file of its weights."""
    torch.manual_seed(3)
    module = models.resnet18()
    module.train()
    module(torch.rand(4, 3, 64, 64))
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(module.state_dict(), file)
    return module.eval(), str(file)


def test_stages_are_those_of_torchvision(resnet, rng, tmp_path):
    module, file = resnet
    images = rng.random((3, 40, 56, 3), dtype=np.float32)
    network = feature_network("torchvision/resnet18", 40, 56, 3, size=47, weights=file)
    received = keras.ops.convert_to_numpy(network(images, training=True))
    names = ["relu", "layer1", "layer2", "layer3", "layer4"]
    normal = (torch.tensor(images) - torch.tensor((0.485, 0.456, 0.406))) / torch.tensor(
        (0.229, 0.224, 0.225)
    )
    with torch.no_grad():
        maps = create_feature_extractor(module, names)(normal.permute(0, 3, 1, 2))
    expected = torch.cat([maps[name].mean((2, 3)) for name in names], dim=1)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    for run in exported(network):
        np.testing.assert_allclose(run(images), received, rtol=1e-4, atol=1e-4)
    network.save(tmp_path / "features.keras")
    again = load(tmp_path / "features.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(images)), received)
    assert feature_digest(again) == feature_digest(network)
    assert not network.trainable_variables
    set_trainable(network, True)
    assert sum(np.prod(v.shape) for v in network.trainable_variables) == 11_689_512
    network(images, training=True).sum().backward()
    assert network.trainable_variables[0].value.grad.abs().sum() > 0


def test_blocks_of_images_side_by_side_keep_their_features(resnet, rng):
    """One network runs on several threads, and each keeps what it saw itself."""
    network = feature_network("torchvision/resnet18", 32, 32, 3, weights=resnet[1])
    images = rng.random((128, 32, 32, 3), dtype=np.float32)
    with torch.no_grad():
        alone = [keras.ops.convert_to_numpy(network(some)) for some in np.split(images, 4)]
    received = predicted(network, images)
    np.testing.assert_allclose(received, np.concatenate(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weights", "kind", "message"),
    [
        ("resnet19", "none", UsageError, "unknown network of torchvision 'resnet19': did you mean"),
        (
            "resnet34",
            None,
            InputError,
            "expected the state_dict of torchvision/resnet34; .* should",
        ),
        ("resnet18", __file__, InputError, "expected a file that torch.save wrote"),
        ("vit_b_16", "none", UsageError, "vit_b_16: expected images that it takes, received"),
    ],
)
def test_networks_and_weights_that_are_refused(name, weights, kind, message, resnet):
    with pytest.raises(kind, match=message):
        feature_network(f"torchvision/{name}", 40, 40, 1, weights=weights or resnet[1])


def test_weights_that_cannot_be_fetched_end_in_one_line(monkeypatch):
    def refuse(*args, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(KpairsError, match=r"cannot be fetched: Name or service .* use lite0"):
        feature_network("torchvision/resnet18", 40, 40, 3)

"""How two images meet: what is folded into one pass, and what is not."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

from kpairs.errors import UsageError
from kpairs.models.pair import Pair
from kpairs.models.registry import ARCHS, arch, build
from kpairs.networks import ARCHS as EVERY


def calls(model, kind):
    """How often layers of a kind are called, each."""
    nodes = {row["name"]: len(row["inbound_nodes"]) for row in model.get_config()["layers"]}
    return [nodes[layer.name] for layer in model.layers if isinstance(layer, kind)]


def shared_model(*tower, fold=False, **options):
    left, right = (keras.Input((4, 4, 1), name=side) for side in ("left", "right"))
    features = Pair(left, right, fold=fold).shared([*tower, layers.Flatten()], **options)
    return keras.Model([left, right], features)


@pytest.mark.parametrize(
    ("tower", "options", "count"),
    [
        ([layers.Conv2D(3, 3)], {}, 1),
        ([layers.Conv2D(3, 3), layers.BatchNormalization()], {}, 2),
        ([keras.Sequential([layers.Conv2D(3, 3), layers.BatchNormalization()])], {}, 2),
        ([layers.Conv2D(3, 3), layers.BatchNormalization()], {"joint_statistics": True}, 1),
        ([layers.Conv2D(3, 3), layers.BatchNormalization()], {"fold": True}, 1),
    ],
)
def test_a_shared_tower_is_called_once_where_that_changes_nothing(tower, options, count, rng):
    model = shared_model(*tower, **options)
    assert calls(model, (layers.Conv2D, keras.Sequential)) == [count]
    images = rng.random((2, 5, 4, 4, 1), dtype=np.float32)
    features = model.predict(list(images), verbose=0)
    left, right = (
        keras.Sequential([*tower, layers.Flatten()]).predict(x, verbose=0) for x in images
    )
    np.testing.assert_allclose(features, np.stack([left, right], 1), atol=1e-6)


def test_joint_statistics_are_of_both_images(rng):
    """In training: over both batches the mean is 0, over either alone it is not."""
    dark, bright = rng.random((2, 64, 4, 4, 1), dtype=np.float32)
    images = [dark, bright + 1]
    for joint, expected in ((True, [-1, 1]), (False, [0, 0])):
        model = shared_model(layers.BatchNormalization(), joint_statistics=joint)
        features = keras.ops.convert_to_numpy(model(images, training=True))
        assert np.sign(np.round(features.mean((0, 2)), 2)).tolist() == expected


def test_no_network_is_folded_unless_asked():
    """Nothing hidden decides: after a folded build the next is as before."""
    assert calls(build("a_w_net", fold=True), layers.Conv2D) == [1, 1, 1]
    assert calls(build("a_w_net"), layers.Conv2D) == [2, 2, 2]
    assert EVERY is ARCHS


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"comparison": "logits", "margin": "logits"}, "unknown output of odd 'margin'"),
        ({"comparison": "logit"}, "unknown kind of odd's output comparison 'logit': did you mean"),
        ({"left_digit": "logits"}, "odd: expected an output comparison, .* received left_digit"),
    ],
)
def test_outputs_that_nothing_could_train(outputs, message):
    def odd(pair, *, classes=10):
        """Never registered."""

    with pytest.raises(UsageError, match=message):
        arch(report="mine", source="here", outputs=outputs)(odd)
    assert "odd" not in ARCHS


@pytest.mark.parametrize("name", ["head", "fold", "rescaling"])
def test_arguments_whose_names_build_takes(name):
    def odd(pair, *, classes=10):
        """Never registered."""

    parameters = [*inspect.signature(odd).parameters.values()]
    taken = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=1)
    odd.__signature__ = inspect.Signature([*parameters, taken])
    with pytest.raises(UsageError, match=f"odd: .*received {name}"):
        arch(report="mine", source="here", outputs={"comparison": "logits"})(odd)

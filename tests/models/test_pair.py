"""Two images and a tower: what is one layer, what is folded into one pass, and what is not."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

from kpairs.data import PairSet
from kpairs.errors import UsageError
from kpairs.models.outputs import Output
from kpairs.models.pair import Pair, by_side, chain, is_tower, joined, layers_of, variables_of
from kpairs.models.registry import ARCHS, PIXELS, arch, build
from kpairs.networks import ARCHS as EVERY
from kpairs.training.unfolded import unfolded


def towers(model):
    """How often each tower of a network is called, by name."""
    nodes = {row["name"]: len(row["inbound_nodes"]) for row in model.get_config()["layers"]}
    return {layer.name: nodes[layer.name] for layer in model.layers if is_tower(layer)}


def shared_model(*tower, fold=False, **options):
    left, right = (keras.Input((4, 4, 1), name=side) for side in ("left", "right"))
    features = Pair(left, right, fold=fold).shared([*tower, layers.Flatten()], **options)
    return keras.Model([left, right], features)


@pytest.mark.parametrize(
    ("tower", "options", "expected"),
    [
        ([layers.Conv2D(3, 3)], {}, {"tower_on_both": 1}),
        ([layers.Conv2D(3, 3), layers.BatchNormalization()], {}, {"tower": 2}),
        ([keras.Sequential([layers.Conv2D(3, 3), layers.BatchNormalization()])], {}, {"tower": 2}),
        (
            [layers.Conv2D(3, 3), layers.BatchNormalization()],
            {"joint_statistics": True},
            {"tower_on_both": 1},
        ),
        (
            [layers.Conv2D(3, 3), layers.BatchNormalization()],
            {"fold": True},
            {"tower_on_both": 1},
        ),
    ],
)
def test_a_shared_tower_is_called_once_where_that_changes_nothing(tower, options, expected, rng):
    model = shared_model(*tower, **options)
    assert towers(model) == expected
    images = rng.random((2, 5, 4, 4, 1), dtype=np.float32)
    features = model.predict(list(images), verbose=0)
    left, right = (
        keras.Sequential([*tower, layers.Flatten()]).predict(x, verbose=0) for x in images
    )
    np.testing.assert_allclose(features, np.stack([left, right], 1), atol=1e-6)
    one = model.get_layer(next(iter(expected)))
    one = one if one.name == "tower" else one.get_layer("tower")
    np.testing.assert_allclose(one.predict(images[0], verbose=0), left, atol=1e-6)


def test_a_summary_shows_each_tower_as_one_layer_also_where_there_are_several():
    def summary(name):
        lines = []
        build(name).summary(print_fn=lines.append, line_length=100)
        return "\n".join(lines)

    assert "tower_on_both (Functional)" in summary("auxws")
    assert "left_tower (Functional)" in summary("c4l2")
    assert "conv2d" not in summary("auxws") + summary("c4l2") + summary("a_w_net")
    left, right = (keras.Input((4, 4, 1), name=side) for side in ("left", "right"))
    pair = Pair(left, right)
    features = [pair.shared([layers.Flatten(), layers.Dense(2)]) for _ in range(2)]
    features.append(pair.separate([layers.Flatten()], [layers.Flatten()]))
    names = ["tower_on_both", "tower_on_both_1", "left_tower_2", "right_tower_2"]
    assert sorted(towers(keras.Model([left, right], features))) == sorted(names)


@pytest.mark.parametrize("name", ["c4l2", "a_net", "wsal_bd", "auxws"])
def test_the_order_of_layers_is_that_of_depth_across_towers(name):
    """In it weights were drawn before towers were models: the same seed gives the same weights."""
    model = build(name)
    flat = unfolded(model)
    assert not towers(flat)
    weighted = [layer for layer in layers_of(model) if layer.variables]
    assert weighted == [layer for layer in flat.layers if layer.variables]
    assert variables_of(model) == flat.variables
    assert sorted(map(id, flat.variables)) == sorted(map(id, model.variables))


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
    assert towers(build("a_w_net", fold=True)) == {"tower_on_both": 1}
    assert towers(build("a_w_net")) == {"tower": 2}
    assert EVERY is ARCHS


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"comparison": "logits", "margin": "logits"}, "that output margin .logits. could learn"),
        ({"comparison": "logits", "same": Output("score", len)}, "no score.*received same"),
        ({"comparison": "logits", "left_grade": Output("logits", len)}, "received left_grade"),
        (
            {"comparison": "logits", "a b": Output("logits", len)},
            "its name is a word.*received a b",
        ),
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


@pytest.fixture
def twins():
    """An architecture with outputs of its own: are both images of one class, and their sum."""
    own = {
        "same": Output("sigmoid", lambda pairs: pairs.left_digit == pairs.right_digit),
        "digit_sum": Output("logits", lambda pairs: pairs.left_digit + pairs.right_digit),
    }

    @arch(
        report="mine",
        source="here",
        outputs={"comparison": "logits", "left_digit": "logits", "right_digit": "logits", **own},
    )
    def twins(pair, *, classes=10, units=3):
        digits = pair.shared([layers.Flatten(), layers.Dense(classes)])
        both = joined(digits)
        return {
            "comparison": layers.Dense(2)(both),
            **by_side(digits),
            "same": chain([layers.Dense(units), layers.Dense(1, activation="sigmoid")], both),
            "digit_sum": layers.Dense(2 * classes - 1)(both),
        }

    yield ARCHS["twins"]
    del ARCHS["twins"]


def test_outputs_of_ones_own_have_targets_of_ones_own(twins, rng):
    digits = rng.integers(0, 4, (2, 30))
    pairs = PairSet(*rng.random((2, 30, 14, 14, 1), dtype=np.float32), *digits)
    for word in ("digit", "grade"):
        kinds = {"comparison": "logits", f"left_{word}": "logits", f"right_{word}": "logits"}
        kinds |= {"same": "sigmoid", "digit_sum": "logits"}
        assert twins.called(word).outputs == twins.called(word).learned == kinds
        targets = pairs.targets(kinds, twins.own_targets)
        assert list(targets) == list(kinds)
        np.testing.assert_array_equal(targets["same"], digits[0] == digits[1])
        np.testing.assert_array_equal(targets["digit_sum"], digits.sum(0))
        np.testing.assert_array_equal(targets[f"right_{word}"], digits[1])
        np.testing.assert_array_equal(targets["comparison"], digits[0] <= digits[1])
        model = build("twins", 4, word=word)
        assert {name: x.shape[1] for name, x in model.output.items()} == dict(
            zip(kinds, (2, 4, 4, 1, 7), strict=True)
        )
    twins.own_targets["same"] = lambda pairs: pairs.left
    with pytest.raises(UsageError, match=r"the target of output same has the shape \(30, 14"):
        pairs.targets(twins.outputs, twins.own_targets)
    twins.own_targets["same"] = lambda pairs: pairs.middle
    with pytest.raises(UsageError, match=r"output same raised AttributeError: .* 'middle'"):
        pairs.targets(twins.outputs, twins.own_targets)


def test_what_a_layer_or_ones_own_code_refuses_is_one_line(twins):
    with pytest.raises(UsageError, match=r"twins cannot be built with units -1, .*positive"):
        build("twins", units=-1)
    with pytest.raises(UsageError, match=r"twins cannot be built with units x, .*Error"):
        build("twins", units="x")


def test_a_network_is_built_before_its_pixels_are_known(rng):
    left, right = rng.random((2, 5, 14, 14, 1), dtype=np.float32)
    known, later = build("ws", rescaling=(3.0, -0.5)), build("ws", rescaling=(1.0, 0.0))
    later.set_weights(known.get_weights())
    layer = later.get_layer(PIXELS)
    layer.scale, layer.offset = 3.0, -0.5
    said = [m.predict({"left": left, "right": right}, verbose=0) for m in (known, later)]
    np.testing.assert_array_equal(said[0]["comparison"], said[1]["comparison"])

"""Networks of keras.applications as towers: their pixels, their weights, frozen and fine-tuned."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from keras import layers
from one_image import exported

from kpairs.data.splits import draw_pairs
from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.layers import ImageStatistics, Resize
from kpairs.loading import load
from kpairs.models.backbone import (
    application,
    backbone_of,
    feature_digest,
    feature_network,
    load_backbone,
    set_trainable,
)
from kpairs.models.initialization import initialize
from kpairs.models.lite0 import lite0
from kpairs.models.pair import chain, layers_of
from kpairs.networks import build
from kpairs.training.network import build_round, load_weights
from kpairs.training.round import Round, train_round

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`(file, weights)` of a MobileNet without its head, as someone else's training left them."""
    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=SHAPE)
    rng = np.random.default_rng(4)
    weights = [rng.uniform(0.1, 0.2, w.shape).astype(np.float32) for w in network.get_weights()]
    network.set_weights(weights)
    file = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network.save_weights(file)
    return file, weights


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("MobileNet", "mobilenet"),  # -1 to 1
        ("DenseNet121", "densenet"),  # as torchvision's
        ("VGG16", "vgg16"),  # BGR without the mean
        ("mobilenetv3small", "mobilenet_v3"),  # 0 to 255
    ],
)
def test_pixels_are_prepared_as_the_application_wants_them(name, module, rng):
    images = rng.random((2, *SHAPE), dtype=np.float32)
    received = chain(application(name, *SHAPE)[:-1], keras.ops.convert_to_tensor(images))
    preprocess = getattr(keras.applications, module).preprocess_input
    expected = preprocess(255 * images, data_format="channels_last")
    received = keras.ops.convert_to_numpy(received)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-4)


def test_a_backbone_stands_in_the_towers_place(rng):
    model = build("posterior", 4, input_shape=(32, 40, 1), backbone="MobileNet")
    left, right = rng.random((2, 3, 32, 40, 1), dtype=np.float32)
    one = model.predict({"left": left, "right": right}, verbose=0)
    other = model.predict({"left": right, "right": left}, verbose=0)
    np.testing.assert_allclose(one["left_digit"], other["right_digit"], atol=1e-6)
    assert (
        backbone_of(model).count_params()
        == keras.applications.MobileNet(
            include_top=False, weights=None, input_shape=(32, 40, 3)
        ).count_params()
    )


def test_a_backbone_gives_one_score_of_an_image(rng):
    model = build("auxranker", 3, input_shape=(32, 32, 3), backbone="MobileNet")
    images = rng.random((2, 32, 32, 3), dtype=np.float32)
    said = model.predict({"left": images, "right": images[::-1]}, verbose=0)
    np.testing.assert_allclose(said["left_score"], said["right_score"][::-1], atol=1e-5)
    assert said["left_digit"].shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("posterior", {"backbone": "MobileNetV9"}, "unknown backbone 'MobileNetV9': did you mean"),
        ("auxws", {"backbone": "MobileNet", "input_shape": (14, 14, 1)}, "auxws takes no backbone"),
        ("posterior", {"backbone": "Xception"}, "received 32x32 .*at least 71x71"),
        ("posterior", {"backbone": "VGG16", "rescaling": (2.0, 0.0)}, "expected the normalization"),
    ],
)
def test_backbones_that_are_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        build(name, **{"input_shape": SHAPE, **options})


def test_recipes_of_backbones(tiny):
    recipe = tiny("posterior", epochs=3)
    for changes, message in (
        ({"backbone_weights": "imagenet"}, "expected a backbone for them"),
        ({"fine_tune": 1}, "expected a backbone's loaded weights, received 1"),
        ({"backbone": "VGG16", "fine_tune": 1}, "expected a backbone's loaded weights"),
        (
            {"backbone": "VGG16", "backbone_weights": "imagenet", "fine_tune": 4},
            "expected at most the 3 epochs, received 4",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            recipe.replace(**changes)


def test_weights_from_a_file(trained, tmp_path, tiny):
    file, weights = trained
    recipe = _recipe(tiny, file)
    model = build_round(recipe, 1, 10)
    for received, expected in zip(backbone_of(model).get_weights(), weights, strict=True):
        np.testing.assert_array_equal(received, expected)
    drawn = build_round(recipe.replace(backbone_weights="none"), 1, 10)
    again = build_round(recipe.replace(backbone_weights="none"), 1, 10)
    for one, other in zip(drawn.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)  # from the round's seed
    (tmp_path / "odd.weights.h5").write_bytes(b"no weights")
    keras.Sequential([keras.Input((4,)), layers.Dense(2)]).save_weights(
        tmp_path / "other.weights.h5"
    )
    for name in ("odd.weights.h5", "other.weights.h5", "none.weights.h5"):
        reason = "but received 0 variables" if name.startswith("other") else ""
        wanted = f"{name}: expected weights of MobileNet.*{reason}"
        with pytest.raises(InputError, match=wanted):
            load_backbone(model, "MobileNet", str(tmp_path / name))


def test_initialisation_touches_no_weights_that_were_set(rng, tmp_path):
    """By hand, from a file, or by an initializer that draws nothing; all others are drawn."""
    constant = keras.initializers.Constant(0.5)
    tower = [layers.Conv2D(3, 3), layers.Conv2D(2, 3, use_bias=False), layers.Flatten()]
    head = [layers.Dense(4), layers.Dense(3, kernel_initializer=constant), layers.Dense(2)]
    inner = keras.Sequential([keras.Input((8, 8, 1)), *tower])
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, chain([inner, *head], image))
    trained = keras.Sequential([keras.Input((8, 8, 1)), *map(_again, tower)])
    trained.save(tmp_path / "trained.keras")
    loaded = keras.saving.load_model(tmp_path / "trained.keras")
    kept = {tower[1]: loaded.layers[1].get_weights(), head[2]: [np.eye(3, 2), np.ones(2)]}
    for layer, weights in kept.items():
        layer.set_weights(weights)
    both = keras.Model(image, [model(image), loaded(image)])
    before = {layer: layer.get_weights() for layer in layers_of(both) if layer.weights}
    initialize(both, "torch", rng)
    redrawn = [
        layer
        for layer, weights in before.items()
        if not all(map(np.array_equal, weights, layer.get_weights()))
    ]
    assert redrawn == [tower[0], head[0]]


def _again(layer):
    return type(layer).from_config(layer.get_config())


def _recipe(tiny, file, **changes):
    backbone = {"backbone": "MobileNet", "backbone_weights": str(file)}
    size = {"image_size": (32, 32), "channels": 3, "pairs": 20, "test_pairs": 10}
    return tiny("posterior", **{**backbone, **size, "distortion": "none", **changes})


class _Stop(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.last:
            raise InterruptedError


@pytest.mark.slow
def test_first_frozen_then_fine_tuned_and_resumed_exactly(trained, tmp_path, tiny, mnist, rng):
    file, weights = trained
    recipe = _recipe(tiny, file, epochs=3, fine_tune=1)
    digits = {
        split: replace(part, settings=replace(part.settings, height=32, width=32, channels=3))
        for split, part in mnist.items()
    }
    pairs = draw_pairs(digits["train"], 20, rng), draw_pairs(digits["test"], 10, rng)
    ends = {}
    for name, stop in (("whole", None), ("frozen", 2)):
        job = Round(recipe, 1, tmp_path / name, pairs, 10)
        if stop is not None:
            with pytest.raises(InterruptedError):
                train_round(job, [_Stop(stop)])
        if name == "frozen":  # the checkpoint after the last epoch with a frozen backbone
            arrays = np.load(tmp_path / name / "checkpoint.npz")
            held = [a for a in arrays.values() if a.shape == weights[0].shape]
            assert any(np.array_equal(a, weights[0]) for a in held)
        train_round(job)
        model = load_weights(recipe, 10, None, tmp_path / name / "model.keras")
        ends[name] = model.get_weights()
        tuned = backbone_of(model).get_weights()
        assert not np.array_equal(tuned[0], weights[0])
    for one, other in zip(ends["whole"], ends["frozen"], strict=True):
        np.testing.assert_array_equal(one, other)


def values(network, images, training=False):
    return keras.ops.convert_to_numpy(network(images, training=training))


def means(maps, axes=(1, 2)):
    return np.concatenate([keras.ops.convert_to_numpy(m).mean(axes) for m in maps], axis=1)


def test_lite0_gives_its_stages_means(rng, tmp_path):
    images = rng.random((3, 40, 60, 1), dtype=np.float32)
    network = feature_network("lite0", 40, 60, 1, size=64)
    received = values(network, images)
    maps = lite0(52, 78)(Resize(52, 78)(keras.ops.repeat(images, 3, axis=-1)))
    expected = means(maps, axes=(2, 3))
    assert expected.shape == (3, 816)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    network.save(tmp_path / "features.keras")
    again = load(tmp_path / "features.keras")
    np.testing.assert_array_equal(values(again, images), received)
    other = feature_network("lite0", 40, 60, 1, size=64)
    # From a file it is any model, known by its configuration.
    assert feature_digest(other) == feature_digest(network) != feature_digest(again)
    set_trainable(other, True)
    np.testing.assert_allclose(values(other, images, True), received, rtol=1e-5, atol=1e-5)
    assert feature_digest(other) == feature_digest(network)
    kernel = other.trainable_variables[0]
    kernel.assign(kernel + 0.01)
    digests = {feature_digest(n) for n in (network, other, feature_network("lite0", 40, 60, 1))}
    assert len(digests) == 3


def test_mirror_images_count_in_inference(rng):
    images = rng.random((3, 33, 40, 3), dtype=np.float32)
    one, both = (feature_network("statistics", 33, 40, 3, mirrored=m) for m in (False, True))
    expected = (values(one, images) + values(one, images[:, :, ::-1])) / 2
    np.testing.assert_allclose(values(both, images), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(values(both, images, True), values(one, images))


@pytest.mark.slow
def test_lite0_is_one_exported_file(rng):
    images = rng.random((3, 60, 80, 3), dtype=np.float32)
    network = feature_network("lite0", 60, 80, 3, size=64, mirrored=True)
    for run in exported(network):
        np.testing.assert_allclose(run(images), values(network, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("sides", "channels"), [((28, 28), 1), ((64, 40), 3)])
def test_statistics_alone_see_small_images_enlarged(sides, channels, rng):
    images = rng.random((2, *sides, channels), dtype=np.float32)
    larger = Resize(*(max(side, 32) for side in sides))(images)
    expected = keras.ops.convert_to_numpy(ImageStatistics()(larger))
    network = feature_network("statistics", *sides, channels)
    np.testing.assert_allclose(values(network, images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sides", [((64, 48), (24, 31)), ((10, 7), (33, 20)), ((9, 9), (9, 4))])
def test_images_are_resized_as_torch_does_without_aliasing(sides, rng):
    before, after = sides
    images = rng.random((2, *before, 3), dtype=np.float32)
    received = Resize(*after)(images).numpy()
    planes = torch.tensor(images).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(planes, after, mode="bilinear", antialias=True)
    np.testing.assert_allclose(received, expected.permute(0, 2, 3, 1), atol=1e-6)


def test_an_application_gives_its_last_layer_at_each_resolution(trained, rng):
    file, weights = trained
    network = feature_network("MobileNet", *SHAPE, size=32, weights=str(file))
    whole = keras.applications.MobileNet(include_top=False, weights=None, input_shape=SHAPE)
    whole.set_weights(weights)
    names = [f"conv_pw_{n}_relu" for n in (1, 3, 5, 11, 13)]
    maps = keras.Model(whole.input, [whole.get_layer(name).output for name in names])
    images = rng.random((2, *SHAPE), dtype=np.float32)
    expected = means(maps(2 * images - 1))
    np.testing.assert_allclose(values(network, images), expected, rtol=1e-3, atol=1e-4)
    drawn = feature_network("ConvNeXtTiny", 40, 40, 1, size=32, weights="none")
    assert drawn.output_shape == (None, 3 + 96 + 192 + 384 + 768)


@pytest.mark.parametrize("from_file", [False, True])
def test_models_of_ones_own_give_vectors_and_maps(from_file, tmp_path, rng):
    image = keras.Input((None, None, 3))
    maps = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
    own = keras.Model(image, [maps, layers.GlobalMaxPooling2D()(maps)])
    own.set_weights([rng.uniform(0.5, 1, w.shape).astype(np.float32) for w in own.get_weights()])
    own.save(tmp_path / "own.keras")
    source = str(tmp_path / "own.keras") if from_file else own
    images = rng.random((2, 20, 24, 1), dtype=np.float32)
    network = feature_network(source, 20, 24, 1)
    one, vector = map(keras.ops.convert_to_numpy, own(keras.ops.repeat(images, 3, axis=-1)))
    expected = np.concatenate([means([one]), vector], axis=1)
    np.testing.assert_allclose(values(network, images), expected, rtol=1e-5, atol=1e-5)
    set_trainable(network, True)  # but batch normalisation
    assert len(network.trainable_variables) == 2
    np.testing.assert_allclose(values(network, images, True), expected, rtol=1e-5, atol=1e-5)
    assert own.trainable
    if from_file:
        network = feature_network(source, 20, 24, 1, size=30, mirrored=True)
        for run in exported(network):
            np.testing.assert_allclose(run(images), values(network, images), rtol=1e-4, atol=1e-4)
    assert feature_network(source, 20, 24, 1, size=11).output_shape == (None, 8)
    with pytest.raises(UsageError, match=r"weights: expected none, .* has its own"):
        feature_network(source, 20, 24, 1, weights="imagenet")


@pytest.mark.parametrize(
    ("backbone", "options", "kind", "message"),
    [
        ("lite1", {}, UsageError, "unknown backbone 'lite1': did you mean lite0"),
        ("statistics", {"size": 64}, UsageError, "expected neither size nor weights"),
        ("none.keras", {}, InputError, "none.keras: no such file"),
        ("lite0", {"weights": "none.h5"}, InputError, "none.h5: expected weights of lite0"),
        (keras.Sequential([keras.Input((4,)), layers.Dense(2)]), {}, UsageError, "one input"),
        (
            keras.Sequential([keras.Input((9, 9, 1)), layers.ReLU()]),
            {},
            UsageError,
            "received one of grey",
        ),
        (
            keras.Sequential([keras.Input((9, 9, 3)), layers.ReLU()]),
            {"size": 8},
            UsageError,
            "size: expected none, the model .* takes 9x9 pixels alone",
        ),
        (
            keras.Sequential([keras.Input((9, 9, 3)), layers.Reshape((81, 3))]),
            {},
            UsageError,
            r"expected vectors .* received \(None, 81, 3\)",
        ),
    ],
)
def test_networks_that_give_no_features_are_refused(backbone, options, kind, message):
    with pytest.raises(kind, match=message):
        feature_network(backbone, 32, 32, 3, **options)


def test_weights_that_cannot_be_fetched_end_in_one_line(monkeypatch):
    """Without a network, as Keras' own function says it."""

    def refuse(*args, **options):
        raise Exception("URL fetch failure on https://example.org/weights.h5: None -- offline")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", refuse)
    with pytest.raises(KpairsError, match=r"cannot be fetched: URL fetch failure .* use lite0"):
        feature_network("MobileNet", 32, 32, 3)

"""What a Keras user writes: kpairs' data and objects in plain `compile` and `fit`."""

import keras
import numpy as np
import pytest

import kpairs
from kpairs.data.pairs import PairSet


@pytest.fixture
def pairs(rng):
    """60 pairs of brighter and darker noise, of five grades, some judged and weighted."""
    grades = rng.integers(0, 5, (2, 60))
    images = rng.random((2, 60, 14, 14, 1), np.float32) * (1 + grades[..., None, None, None]) / 5
    weight = rng.random(60, np.float32)
    return PairSet(*images.astype(np.float32), *grades, sample_weight=weight).with_even_ties()


def ranker(shape=(14, 14, 1)):
    """A functional model of one's own: one score an image, two inputs in a list."""
    left, right = keras.Input(shape, name="left"), keras.Input(shape, name="right")
    tower = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(8, "relu")], name="tower")
    score = keras.layers.Dense(1, name="score")
    sides = score(tower(left)), score(tower(right))
    difference = keras.layers.Subtract(name="comparison")(sides[::-1])
    return keras.Model([left, right], {"comparison": difference})


@keras.saving.register_keras_serializable("mine")
class Hinge(keras.losses.Loss):
    def call(self, y_true, y_pred):
        sign = 2 * keras.ops.reshape(y_true, (-1, 1)) - 1
        return keras.ops.mean(keras.ops.relu(1 - sign * y_pred), axis=-1)


@keras.saving.register_keras_serializable("mine")
class SignSGD(keras.optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(keras.ops.sign(gradient), variable, learning_rate)


@keras.saving.register_keras_serializable("mine")
class Surprise(kpairs.metrics.PairAccuracy):
    """The share of wrong decisions."""

    def decided(self, y_true, y_pred):
        right, counted = super().decided(y_true, y_pred)
        return keras.ops.logical_not(right), counted


@pytest.mark.parametrize("as_list", [False, True])
def test_own_model_loss_optimizer_and_callbacks(as_list, pairs, workplace):
    model = ranker()
    model.compile(SignSGD(0.01), {"comparison": Hinge()})
    inputs = pairs.inputs()
    history = model.fit(
        [*inputs.values()] if as_list else inputs,
        pairs.targets(["comparison"]),
        sample_weight=pairs.sample_weight,
        validation_split=0.2,
        epochs=5,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=1, min_delta=10),
            keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True),
        ],
        verbose=0,
    ).history
    assert len(history["val_loss"]) == 2  # it stopped
    best = kpairs.load("best.keras")
    assert type(best.optimizer) is SignSGD
    assert np.isfinite(best.evaluate(inputs, pairs.targets(["comparison"]), verbose=0))


def test_a_network_of_kpairs_in_plain_fit(pairs):
    """The names of its outputs are all that targets need; scores have none."""
    model = kpairs.build("auxranker", classes=5)
    outputs = kpairs.ARCHS["auxranker"].outputs
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    sides = ("left_digit", "right_digit")
    model.compile(
        kpairs.optimizers.TorchAdam(kpairs.optimizers.OneCycle(0.01, steps=2)),
        {
            "comparison": kpairs.losses.PairCrossentropy(from_logits=True),
            **dict.fromkeys(sides, classes),
        },
        metrics={
            "comparison": ["accuracy", Surprise(name="wrong"), kpairs.metrics.PairAccuracy()],
            **dict.fromkeys(sides, kpairs.metrics.ClassAccuracy()),
        },
    )
    targets = pairs.targets(outputs)
    assert {name for name, y in targets.items() if y is None} == {"left_score", "right_score"}
    history = model.fit(pairs.inputs(), targets, validation_split=0.25, verbose=0).history
    total = history["comparison_wrong"][0] + history["comparison_pair_accuracy"][0]
    assert total == pytest.approx(1)


def test_a_second_output_of_ones_own(pairs):
    """Here the brightness of the left image."""
    model = ranker()
    bright = keras.layers.GlobalAveragePooling2D()(model.inputs[0])
    more = {**model.output, "brightness": keras.layers.Dense(1)(bright)}
    model = keras.Model(model.inputs, more)
    model.compile("adam", {"comparison": "binary_crossentropy", "brightness": "mse"})
    own = {"brightness": pairs.left.mean(axis=(1, 2, 3))}
    history = model.fit(
        pairs.inputs(), pairs.targets(["comparison"]) | own, validation_split=0.2, verbose=0
    ).history
    assert {"brightness_loss", "val_comparison_loss"} < set(history)


def test_one_unnamed_output_learns_the_comparison(pairs):
    named = ranker()
    model = keras.Model(named.inputs, named.output["comparison"])
    loss, metrics = kpairs.losses.PairCrossentropy(True), [kpairs.metrics.PairAccuracy()]
    model.compile("adam", loss, metrics=metrics)
    history = model.fit(pairs.inputs(), pairs.comparison, validation_split=0.2, verbose=0).history
    assert "val_pair_accuracy" in history


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["posterior", "auxranker", "c1l2", "final_model"])
def test_mixed_precision(policy, name, pairs):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = kpairs.build(name, 5)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert any(layer.compute_dtype in policy for layer in model.layers if layer.weights)
    outputs = kpairs.ARCHS[name].outputs
    learned = [n for n, kind in outputs.items() if kind != "score"]
    logits = {n: outputs[n] == "logits" for n in learned}
    losses = {n: kpairs.losses.ClassCrossentropy(logits[n], 0.1, -1) for n in learned[1:]}
    losses["comparison"] = kpairs.losses.PairCrossentropy(logits["comparison"])
    metrics = {n: kpairs.metrics.ClassAccuracy() for n in learned[1:]}
    metrics["comparison"] = kpairs.metrics.PairAccuracy()
    optimizer = kpairs.optimizers.TorchAdam(0.001)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, losses, metrics=metrics)
    targets = pairs.targets(outputs)
    weights = [v.numpy(force=True).copy() for v in (w.value for w in model.trainable_variables)]
    history = model.fit(pairs.inputs(), targets, epochs=2, verbose=0).history
    assert np.isfinite([value for values in history.values() for value in values]).all()
    moved = [
        (w.value.numpy(force=True) != old).any()
        for w, old in zip(model.trainable_variables, weights, strict=True)
    ]
    assert any(moved)

"""The lowered training step against stock Keras: same start, same batches, same weights."""

from dataclasses import replace
from itertools import cycle

import keras
import numpy as np
import pytest
import torch

from kpairs.data import draw_pairs
from kpairs.networks import ARCHS, build
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches
from kpairs.training.compile import build_round
from kpairs.training.device import compute
from kpairs.training.engine.graph import _dropout, trace
from kpairs.training.engine.step import Engine, NotLowerable
from kpairs.training.losses import loss_of
from kpairs.training.schedule import OneCycle

STEPS = 50


@pytest.fixture
def pairs(mnist, rng):
    return draw_pairs(mnist["train"], 100, rng)


def both(recipe, pairs, rescaling=None):
    """The same model twice, the second one lowered, and the batches."""
    outputs = ARCHS[recipe.arch].outputs
    batches = Batches(pairs, outputs, recipe.batch_size)
    stock, lowered = (build_round(recipe, 1, 10, rescaling) for _ in range(2))
    Engine(lowered, *batches.first())
    return stock, lowered, batches


def fit(model, batches, epochs, **named):
    return model.fit(batches, epochs=epochs, shuffle=False, verbose=0, **named).history


def without_dropout(name, **changes):
    recipe = RECIPES[name]
    options = {"dropout": 0.0} if "dropout" in recipe.arch_options else {}
    return replace(recipe.with_options(**options), batch_size=10, **changes)


def put_into(lowered, stock):
    """Give the lowered model the state of the stock one: variables and optimizer."""
    for mine, theirs in zip(lowered.variables, stock.variables, strict=True):
        mine.assign(theirs)
    iterations, rate, *slots = lowered.optimizer.variables
    _, _, *theirs = stock.optimizer.variables
    iterations.assign(stock.optimizer.iterations)
    rate.assign(stock.optimizer.learning_rate)
    for i, slot in enumerate(slots):
        slot.assign(np.concatenate([v.numpy().ravel() for v in theirs[i :: len(slots)]]))


def difference(lowered, stock):
    """Largest difference of a variable, relative to the variable's largest value above 1."""
    return max(
        float(abs(mine.numpy() - theirs.numpy()).max() / max(1, abs(theirs.numpy()).max()))
        for mine, theirs in zip(lowered.variables, stock.variables, strict=True)
    )


def has_batch_norm(name):
    layers = build(name).layers
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)


def parity_recipe(name):
    """Adam's and Adadelta's epsilon are raised, because at 1e-8 they make whole steps of gradients
    that are nothing but rounding."""
    recipe = without_dropout(name)
    if recipe.schedule == "one_cycle":  # its highest rate is no rate to stay at
        rate = recipe.learning_rate / 10
        recipe = replace(recipe, schedule="constant", learning_rate=rate)
    return replace(recipe, optimizer_options={**recipe.optimizer_options, "epsilon": 1e-3})


@pytest.mark.parametrize("name", sorted(n for n in ARCHS if not has_batch_norm(n)))
def test_fifty_steps_give_stock_keras_weights(name, pairs):
    """With coupled L2, double softmax and each report's optimizer; dropout off."""
    with compute("cpu"):
        stock, lowered, batches = both(parity_recipe(name), pairs, rescaling=(2.0, -0.5))
        histories = [fit(model, batches, STEPS // 10) for model in (stock, lowered)]
    assert difference(lowered, stock) < 1e-5
    assert set(histories[0]) == set(histories[1])
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", sorted(filter(has_batch_norm, ARCHS)))
def test_each_step_is_stock_keras_step(name, pairs):
    """With batch norm fifty steps are chaotic: stock Keras itself ends 0.1 and more away when its
    first weights are moved by 1e-7. So each step begins where stock Keras' last one ended."""
    with compute("cpu"):
        stock, lowered, batches = both(parity_recipe(name), pairs, rescaling=(2.0, -0.5))
        for _, (x, y) in zip(range(STEPS), cycle(batches), strict=False):
            put_into(lowered, stock)
            stock.train_on_batch(x, y)
            lowered.train_function([(x, y)])
            assert difference(lowered, stock) < 5e-5


def test_test_losses_are_stock_keras(pairs):
    """Evaluation is lowered too: batch norm by its moving statistics, dropout off, L2 included."""
    for name in ("wsal_bd", "auxws", "final_model"):
        with compute("cpu"):
            stock, lowered, batches = both(replace(RECIPES[name], batch_size=30), pairs)
            results = [m.evaluate(batches, verbose=0, return_dict=True) for m in (stock, lowered)]
        assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_dropout_is_fresh_and_of_its_rate():
    layer = keras.layers.Dropout(0.3)
    x = torch.ones(1000, 99)

    def dropped(x):
        return [_dropout(layer, x, training=True)]

    with torch.enable_grad():
        graph = trace(dropped, x)
    (first,), (second,) = graph(x), graph(x)
    for y in (first, second):
        assert sorted(set(np.unique(y.numpy()))) == pytest.approx([0, 1 / 0.7], rel=1e-4)
        assert abs(float((y == 0).float().mean()) - 0.3) < 0.01
        assert abs(float((y == 0).float().mean(0).std()) - (0.21 / 1000) ** 0.5) < 0.003
    agreement = float(((first == 0) == (second == 0)).float().mean())
    assert abs(agreement - (0.3**2 + 0.7**2)) < 0.01


def test_dropout_trains_to_the_same_loss(mnist, rng):
    """Other random numbers than stock Keras, so only what they are drawn from can be compared."""
    pairs = draw_pairs(mnist["train"], 500, rng)
    recipe = replace(RECIPES["auxws"], batch_size=50)
    with compute("cpu"):
        stock, lowered, batches = both(recipe, pairs)
        losses = [fit(model, batches, 6)["loss"][-1] for model in (stock, lowered)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


class Halve(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate.assign(self.model.optimizer.learning_rate / 2)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        keras.optimizers.AdamW(0.003, weight_decay=0.1),
        keras.optimizers.RMSprop(0.001),
        keras.optimizers.Adam(OneCycle(0.01, 20)),
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 30), clipvalue=0.01),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_other_optimizers_and_callbacks(optimizer, pairs):
    recipe = without_dropout("ws")
    batches = Batches(pairs, ARCHS["ws"].outputs, 30)  # the last batch of an epoch is smaller
    scheduled = not isinstance(optimizer._learning_rate, keras.Variable)
    models = []
    with compute("cpu"):
        for _ in range(2):
            model = build_round(recipe, 1, 10, None)
            again = type(optimizer).from_config(optimizer.get_config())
            model.compile(again, {"comparison": loss_of("logits", False)})
            models.append(model)
        Engine(models[1], *batches.first())
        for model in models:
            fit(model, batches, 5, callbacks=[] if scheduled else [Halve()])
    assert difference(models[1], models[0]) < 1e-5
    assert int(models[1].optimizer.iterations) == 20


class Ask(keras.layers.Layer):
    """A user's layer that looks at a value."""

    def call(self, x):
        return x * 2 if keras.ops.max(x) > 0 else x


def user_model(layer):
    sides = [keras.Input((14, 14, 1), name=side) for side in ("left", "right")]
    x = layer(keras.layers.Concatenate()(sides))
    y = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    return keras.Model(dict(zip(("left", "right"), sides, strict=True)), {"comparison": y})


@pytest.mark.parametrize(
    ("layer", "changes", "reason"),
    [
        (Ask(), {}, "value out of a tracing tensor"),
        (None, {"optimizer": keras.optimizers.Lion()}, "optimizer Lion"),
        (None, {"optimizer": keras.optimizers.Adam(clipnorm=1.0)}, "optimizer with clipnorm"),
        (None, {"optimizer": keras.optimizers.Nadam()}, "optimizer Nadam"),
        (None, {"optimizer": keras.optimizers.SGD(loss_scale_factor=8.0)}, "loss_scale_factor"),
        (None, {"metrics": [keras.metrics.RootMeanSquaredError()]}, "not a mean over samples"),
        (keras.layers.ActivityRegularization(l2=0.1), {}, "a layer that adds a loss"),
        (keras.layers.Conv2D(2, 3, kernel_constraint="non_neg"), {}, "a weight constraint"),
        (None, {"metrics": [keras.metrics.AUC()]}, "not a mean over samples"),
    ],
)
def test_what_cannot_be_lowered_says_why_and_still_trains(layer, changes, reason, pairs):
    model = user_model(layer or keras.layers.Identity())
    settings = {"optimizer": "adam", "loss": {"comparison": "mse"}, **changes}
    model.compile(**settings)
    targets = keras.ops.one_hot(pairs.comparison, 2)
    batches = Batches(pairs, {"comparison": "logits"}, 20)
    x, _ = batches.first()
    y = {"comparison": targets[:20]}
    with pytest.raises(NotLowerable, match=reason):
        Engine(model, x, y)
    before = [v.numpy().copy() for v in model.trainable_variables]
    model.fit(x, y, epochs=2, verbose=0)
    changed = zip(before, model.trainable_variables, strict=True)
    assert all((a != b.numpy()).any() for a, b in changed)


class Transposing(keras.layers.Layer):
    """A square matrix by negative axes, and a constant that is written to."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        kept = torch.tensor([0.0] * x.shape[-1])
        kept += x.mean((0, 1, 2))
        return keras.ops.matmul(x, keras.ops.transpose(self.kernel, (-1, 0))) + kept


@pytest.mark.parametrize(
    "layers",
    [
        lambda k: [k.Conv2D(3, 3, padding="same", activation="tanh"), k.MaxPooling2D(3, strides=2)],
        lambda k: [k.Conv2D(3, 2, use_bias=False), k.Conv2D(4, 2), k.MaxPooling2D((2, 3))],
        lambda k: [k.Conv2D(3, 3, strides=2), k.Conv2D(3, 3, dilation_rate=2)],
        lambda k: [k.MaxPooling2D(3, padding="same"), k.Conv2D(4, 3, groups=2)],
        lambda k: [k.Dense(5, activation="relu"), k.Dense(4, use_bias=False)],
        lambda k: [k.Conv2D(12, 3), k.BatchNormalization(axis=1)],
        lambda k: [k.Conv2D(5, 3), k.BatchNormalization(axis=3, momentum=0.5), k.Dropout(0.0)],
        lambda k: [k.Conv2D(5, 3), k.BatchNormalization(scale=False)],
        lambda k: [k.Conv2D(5, 3, trainable=False), k.BatchNormalization(trainable=False)],
        lambda k: [k.Flatten(), k.Dense(7), k.BatchNormalization(), k.Dense(6)],
        lambda k: [k.Conv2D(3, 3, kernel_regularizer="l2"), k.Dense(3, bias_regularizer="l2")],
        lambda k: [k.Conv2D(6, 3), Transposing()],
    ],
)
def test_layers_of_every_kind(layers, pairs):
    """Options that no registered architecture uses, each against stock Keras."""
    keras.utils.set_random_seed(1)
    models = [user_model(keras.Sequential(layers(keras.layers))) for _ in range(2)]
    models[1].set_weights(models[0].get_weights())
    x = {name: torch.from_numpy(v) for name, v in pairs.inputs().items()}
    y = {"comparison": torch.from_numpy(np.eye(2, dtype=np.float32)[pairs.comparison])}
    for model in models:
        metrics = {"comparison": [keras.metrics.MeanSquaredError()]}
        model.compile(keras.optimizers.SGD(1e-4), {"comparison": "mse"}, metrics=metrics)
    Engine(models[1], {k: x[k][:40] for k in x}, {k: y[k][:40] for k in y})
    histories = []
    for model in models:
        model.fit(x, y, batch_size=40, epochs=4, shuffle=False, verbose=0)  # the last is of 20
        histories.append(model.evaluate(x, y, batch_size=100, verbose=0))
    assert difference(models[1], models[0]) < 1e-5
    assert histories[1] == pytest.approx(histories[0], rel=1e-4)


def test_saving_sees_the_trained_weights(pairs, tmp_path):
    with compute("cpu"):
        _, lowered, batches = both(RECIPES["c2l2_ws"], pairs)
        before = lowered.get_weights()
        fit(lowered, batches, 1)
        lowered.save_weights(tmp_path / "model.weights.h5")
        fresh = build("c2l2_ws")
        fresh.load_weights(tmp_path / "model.weights.h5")
    for old, trained, read in zip(before, lowered.get_weights(), fresh.get_weights(), strict=True):
        assert (old != trained).any()
        np.testing.assert_array_equal(trained, read)

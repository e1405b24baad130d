"""The lowered step against stock Keras: same start, same batches, same weights and logs."""

import sys
import threading
from importlib import import_module
from pkgutil import resolve_name

import keras
import numpy as np
import pytest
import torch
from families import FEW, networks
from precision import EXACT, difference, float64, moved
from rounds import compiled

from kpairs.data.splits import draw_pairs
from kpairs.losses import loss_of
from kpairs.networks import ARCHS, build
from kpairs.optimizers import OneCycle, TorchAdam
from kpairs.recipes import SOLVED
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches
from kpairs.training.engine import private
from kpairs.training.engine.graph import trace
from kpairs.training.engine.kernels import Kernels, _LargeNormalization, _Normalization
from kpairs.training.engine.lower import NotLowerable, lower
from kpairs.training.round import Round, train_round


@pytest.fixture
def pairs(mnist, rng):
    return draw_pairs(mnist["train"], 25, rng)


def without_dropout(name, **changes):
    """The recipe, but with dropout off, whose random numbers differ from stock Keras'."""
    recipe = RECIPES[name]
    options = {"dropout": 0.0} if "dropout" in recipe.network.options else {}
    return recipe.with_options(**options).replace(batch_size=10, **changes)


def both(recipe, pairs):
    """The same model twice, the second one lowered, and the batches; the last one is smaller."""
    batches = Batches(pairs, ARCHS[recipe.network.arch].outputs, recipe.fit.batch_size)
    stock, lowered = (compiled(recipe, 1, 10, (2.0, -0.5), steps=3) for _ in range(2))
    lower(lowered, *batches.first())
    return stock, lowered, batches


def check_trainings(stock, lowered, *data, **named):
    """Train and evaluate both; weights, logs and their names must be the same."""
    fit = {"epochs": 2, "shuffle": False, "verbose": 0, **named}
    validation = data if len(data) > 1 else data[0]
    models = (stock, lowered)
    histories = [m.fit(*data, validation_data=validation, **fit).history for m in models]
    assert difference(lowered.get_weights(), stock.get_weights()) < EXACT
    assert list(histories[0]) == list(histories[1])
    assert difference(histories[1].values(), histories[0].values()) < EXACT


# torch has no float64 gradient of a convolution with one filter, as stock Keras lays it out.
WITH_ONE_FILTER = {"conv_1", "conv_2", "conv_3"}
# Of every optimizer, loss and schedule. Steps of all networks are held against torch, in
# tests/models/test_networks.py.
WHOLE = ("auxnet2", "auxws", "c2l2_ws", "posterior_s", "ranker", "w_net", "wsal_b")


@networks(WHOLE, ARCHS.keys() - {*WITH_ONE_FILTER, *SOLVED})
def test_trainings_are_stock_keras(name, pairs):
    """Whole recipes but dropout: losses and their weights, L2, schedule, optimizer, batch norm."""
    with float64():
        check_trainings(*both(without_dropout(name, epochs=2), pairs))


@networks(FEW)
def test_float32_steps_are_as_near_as_rounding_allows(name, pairs, rng):
    """Kernels lay out memory by the type. Ten times what one rounding of all weights changes.

    Epsilons are raised: at 1e-8 they make whole steps of gradients that are nothing but rounding.
    A unit that rounding switches on or off moves a gradient by far more; in the best of five
    batches there is none.
    """
    recipe = without_dropout(name)
    options = {**recipe.optimizer.options, "epsilon": 1e-3}
    recipe = recipe.replace(batch_size=5, optimizer_options=options)
    stock, lowered, batches = both(recipe, pairs)
    twin = compiled(recipe, 1, 10, (2.0, -0.5), steps=3)
    start, ratios = stock.get_weights(), []
    for x, y in batches:
        stock.set_weights(start)
        lowered.set_weights(start)
        twin.set_weights(moved(start, rng))
        for model in (stock, twin):
            model.train_on_batch(x, y)
        lowered.train_function([(x, y)])
        expected, rounded, received = (m.get_weights() for m in (stock, twin, lowered))
        ratios.append(difference(received, expected) / difference(rounded, expected))
    assert min(ratios) < 10


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.0625, momentum=0.9, nesterov=True),
        lambda: keras.optimizers.AdamW(0.00390625, weight_decay=0.1),
        lambda: keras.optimizers.RMSprop(0.0009765625),
        lambda: keras.optimizers.Adam(OneCycle(0.01, 20), global_clipnorm=0.1),
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 5)),
        lambda: TorchAdam(0.0009765625, clipvalue=0.01),
    ],
    ids=["sgd", "adamw", "rmsprop", "one_cycle", "cosine", "torch_adam"],
)
def test_other_optimizers_and_callbacks(optimizer, pairs):
    class Halve(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rate = self.model.optimizer.learning_rate
            if isinstance(rate, keras.Variable):
                rate.assign(rate / 2)

    with float64():
        models = [build("ws", dropout=0.0) for _ in range(2)]
        models[1].set_weights(models[0].get_weights())
        for model in models:
            model.compile(optimizer(), {"comparison": loss_of("logits", False)})
        batches = Batches(pairs, ARCHS["ws"].outputs, 10)
        lower(models[1], *batches.first())
        check_trainings(*models, batches, epochs=3, callbacks=[Halve()])
    assert int(models[1].optimizer.iterations) == 9


def user_model(layer):
    sides = [keras.Input((14, 14, 1), name=side) for side in ("left", "right")]
    x = layer(keras.layers.Concatenate()(sides))
    y = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    return keras.Model(dict(zip(("left", "right"), sides, strict=True)), {"comparison": y})


class Transposing(keras.layers.Layer):
    """A square matrix by negative axes, and a constant that is written to."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        kept = torch.tensor([0.0] * x.shape[-1], dtype=x.dtype)
        kept += x.mean((0, 1, 2))
        return keras.ops.matmul(x, keras.ops.transpose(self.kernel, (-1, 0))) + kept


class Block(keras.layers.Layer):
    """Layers in a layer, which learn from Keras alone whether they train."""

    def build(self, shape):
        self.inner = [keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization()]

    def call(self, x):
        for layer in self.inner:
            x = layer(x)
        return x


def planes(k, stride, padding):
    """Convolutions of maps whose channels stand first, as in EfficientNet-Lite0 on torch."""
    options = {"padding": padding, "data_format": "channels_first", "activation": "relu6"}
    return [
        k.Conv2D(4, 3, stride, **options),
        k.DepthwiseConv2D(3, stride, depth_multiplier=2, **options),
        k.DepthwiseConv2D(2, 1, use_bias=False, **options),
    ]


def functional(layers):
    """A functional model that is a layer, such as a backbone."""
    x = image = keras.Input((2, 14, 14))
    for layer in layers:
        x = layer(x)
    return keras.Model(image, keras.layers.Add()([x, x]))


@pytest.mark.filterwarnings("ignore:(.|\n)*will therefore destroy the mask information")
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
        lambda k: [Block(), k.Masking(0.0), k.Dense(5), k.BatchNormalization()],
        lambda k: [keras.Sequential([k.Conv2D(3, 3), k.BatchNormalization()]), k.Dense(5)],
        lambda k: [k.Permute((3, 1, 2)), *planes(k, 2, "same"), *planes(k, 1, "same")],
        lambda k: [k.Permute((3, 1, 2)), functional(planes(k, 1, "valid")), *planes(k, 1, "valid")],
    ],
)
def test_layers_of_every_kind(layers, pairs):
    """Options that no registered architecture uses, each against stock Keras."""
    with float64():
        models = [user_model(keras.Sequential(layers(keras.layers))) for _ in range(2)]
        models[1].set_weights(models[0].get_weights())
        for model in models:
            metrics = {"comparison": [keras.metrics.MeanSquaredError()]}
            model.compile(keras.optimizers.SGD(2**-10), {"comparison": "mse"}, metrics=metrics)
        x = {name: torch.from_numpy(images) for name, images in pairs.inputs().items()}
        y = {"comparison": torch.from_numpy(np.eye(2)[pairs.comparison])}
        lower(models[1], x, y)
        check_trainings(*models, x, y, batch_size=10)


class Ask(keras.layers.Layer):
    """A user's layer that looks at a value."""

    def call(self, x):
        return x * 2 if keras.ops.max(x) > 0 else x


@pytest.mark.parametrize(
    ("layer", "changes", "reason"),
    [
        (Ask(), {}, "value out of a tracing tensor"),
        (None, {"optimizer": keras.optimizers.Lion()}, "optimizer Lion"),
        (None, {"optimizer": keras.optimizers.Adam(clipnorm=1.0)}, "optimizer with clipnorm"),
        (None, {"optimizer": keras.optimizers.Nadam()}, "optimizer Nadam"),
        (None, {"optimizer": keras.optimizers.SGD(loss_scale_factor=8.0)}, "loss_scale_factor"),
        (None, {"metrics": [keras.metrics.RootMeanSquaredError()]}, "not a mean over samples"),
        (None, {"metrics": [keras.metrics.AUC()]}, "not a mean over samples"),
        (keras.layers.ActivityRegularization(l2=0.1), {}, "a layer that adds a loss"),
        (keras.layers.Conv2D(2, 3, kernel_constraint="non_neg"), {}, "a weight constraint"),
        (keras.layers.Dense(3, dtype="mixed_bfloat16"), {}, "half precision"),
    ],
)
def test_what_cannot_be_lowered_says_why_and_still_trains(layer, changes, reason, pairs):
    model = user_model(layer or keras.layers.Identity())
    model.compile(**{"optimizer": "adam", "loss": {"comparison": "mse"}, **changes})
    x, _ = Batches(pairs, {"comparison": "logits"}, 20).first()
    y = {"comparison": keras.ops.one_hot(pairs.comparison, 2)[:20]}
    with pytest.raises(NotLowerable, match=reason):
        lower(model, x, y)
    before = [v.numpy().copy() for v in model.trainable_variables]
    model.fit(x, y, epochs=2, verbose=0)
    changed = zip(before, model.trainable_variables, strict=True)
    assert all((a != b.numpy()).any() for a, b in changed)


@pytest.mark.parametrize("name", [*private.DEFINED, *private.ATTRIBUTES])
def test_a_renamed_private_name_means_slower_steps(
    name, tiny, pairs, monkeypatch, tmp_path, caplog
):
    """Keras and torch promise none of these names; the next release may have others."""
    # Imported anew, as in a process of that release.
    for module in ("step", "kernels", "graph", "adam"):
        monkeypatch.delitem(sys.modules, import_module(f"kpairs.training.engine.{module}").__name__)
    if name in private.ATTRIBUTES:
        gone = private.ATTRIBUTES[name] + "_of_old"
        monkeypatch.setitem(private.ATTRIBUTES, name, gone)
    else:
        gone = private.DEFINED[name]
        owner, _, attribute = gone.replace(":", ".").rpartition(".")
        if isinstance(resolve_name(owner), type(torch)):
            monkeypatch.delattr(resolve_name(owner), attribute)
        else:
            gone += "_of_old"
            monkeypatch.setitem(private.DEFINED, name, gone)
    row = train_round(Round(tiny("fc_1"), 1, tmp_path, (pairs, pairs), 10))
    assert row["engine"] == "keras"
    assert "fc_1 trains by Keras' own, slower steps" in caplog.text
    assert gone in caplog.text


def test_models_that_are_alike_share_what_was_traced(pairs):
    """The second one has other weights and another rescaling, and trains by the first one's."""
    recipe, alike = without_dropout("c2l2_ws"), object()
    batches = Batches(pairs, ARCHS[recipe.network.arch].outputs, recipe.fit.batch_size)
    with float64():
        first, second, stock = (
            compiled(recipe, number, 10, rescaling, steps=3)
            for number, rescaling in ((1, (2.0, -0.5)), (2, (3.0, -1.0)), (2, (3.0, -1.0)))
        )
        for model in (first, second):
            lower(model, *batches.first(), alike=alike)
            model.evaluate(batches, verbose=0)
        graphs = [model.train_function.__self__.graphs for model in (first, second)]
        assert [graph for graph, *_ in graphs[0].values()] == [g for g, *_ in graphs[1].values()]
        check_trainings(stock, second, batches)


def test_trainings_in_threads_are_those_alone(pairs):
    """Nothing that other models use is changed while one is lowered or steps."""
    names = ["ws", "fc_1"]
    expected, received = {}, {}

    def run(name, results):
        _, model, batches = both(without_dropout(name), pairs)
        model.fit(batches, epochs=2, shuffle=False, verbose=0)
        results[name] = model.get_weights()

    for name in names:
        run(name, expected)
    threads = [threading.Thread(target=run, args=(name, received)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        assert difference(received[name], expected[name]) == 0


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: (x + 0.0).view(-1) * 2, 2),
        (lambda x: (x[:, 0] + 0.0).view(-1) * 2, 4),  # what is added to lies otherwise in memory
        (lambda x: (x + 1e-30) * 2, 2),
    ],
)
def test_what_changes_nothing_is_skipped_and_nothing_else(function, left):
    numbers = torch.arange(60.0).reshape(3, 4, 5)
    graph = trace(lambda x: [function(x)], numbers)
    operations = [n for n in graph.__self__.graph.nodes if n.op == "call_function"]
    assert len(operations) == left
    assert torch.equal(graph(numbers + 1)[0], function(numbers + 1))


def test_memory_is_written_over_where_nothing_else_reads_it():
    def function(x, y):
        once, twice = x * y, x + y
        return [
            torch.relu(once),
            torch.relu(twice) + twice,
            torch.relu(x),
            torch.relu(once.t()[:2]),
        ]

    def alone(x, y):
        return [torch.relu((x * y).t()), torch.relu(x)]

    numbers = torch.linspace(-1, 1, 12).reshape(3, 4), torch.linspace(2, -1, 12).reshape(3, 4)
    for traced, written in ((function, 0), (alone, 1)):
        expected, before = traced(*numbers), [n.clone() for n in numbers]
        graph = trace(lambda *x, traced=traced: traced(*x), *numbers)
        assert all(map(torch.equal, graph(*numbers), expected))
        assert all(map(torch.equal, numbers, before))
        targets = [str(node.target) for node in graph.__self__.graph.nodes]
        assert targets.count("aten.relu_.default") == written


def test_relu6_keeps_one_tensor():
    def function(x):
        y = (x * 3).requires_grad_()
        return list(torch.autograd.grad(torch.nn.functional.relu6(y * 2).square().sum(), y))

    numbers = torch.linspace(-1, 3, 40)
    with torch.enable_grad():
        graph = trace(function, numbers)
        expected = function(numbers)
    with torch.inference_mode():
        assert torch.equal(graph(numbers)[0], expected[0])
    targets = {str(node.target) for node in graph.__self__.graph.nodes}
    assert {"aten.hardtanh_.default", "aten.hardtanh_backward.grad_input"} <= targets


@pytest.mark.parametrize(("shape", "offset"), [((8, 50, 50, 16), 1.0), ((3, 101, 83, 7), -4.0)])
def test_batches_of_many_pixels_are_normalised_alike(shape, offset, rng):
    """The kernel of large batches against that of small ones; in float32 no less exact."""
    numbers = [
        rng.normal(offset, 1, shape),
        rng.uniform(0.5, 2, shape[-1]),
        rng.normal(size=shape[-1]),
    ]
    gradient = rng.normal(size=shape)

    def run(kernel, dtype):
        inputs = [torch.tensor(n, dtype=dtype, requires_grad=True) for n in numbers]
        outputs = kernel.apply(*inputs, 1e-5)
        outputs[0].backward(torch.tensor(gradient, dtype=dtype))
        return [t.detach().numpy() for t in (*outputs, *(n.grad for n in inputs))]

    exact = run(_Normalization, torch.float64)
    for dtype, bound in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        for received, expected in zip(run(_LargeNormalization, dtype), exact, strict=True):
            assert np.abs(received - expected).max() < bound * np.abs(expected).max()


def test_dropout_is_fresh_and_of_its_rate():
    x = keras.Input((99,), name="x")
    network = Kernels(keras.Model({"x": x}, {"y": keras.layers.Dropout(0.3)(x)}))
    ones = torch.ones(1000, 99)
    with torch.enable_grad():
        graph = trace(lambda x: [network({"x": x}, training=True)["y"]], ones)
    (first,), (second,) = graph(ones), graph(ones)
    for y in (first, second):
        assert sorted(set(np.unique(y.numpy()))) == pytest.approx([0, 1 / 0.7], rel=1e-4)
        assert abs(float((y == 0).float().mean()) - 0.3) < 0.01
        assert abs(float((y == 0).float().mean(0).std()) - (0.21 / 1000) ** 0.5) < 0.003
    agreement = float(((first == 0) == (second == 0)).float().mean())
    assert abs(agreement - (0.3**2 + 0.7**2)) < 0.01


def test_dropout_acts_in_training_alone(pairs):
    stock, lowered, batches = both(RECIPES["auxws"].replace(batch_size=25), pairs)
    x, y = batches.first()
    stock.optimizer.learning_rate = lowered.optimizer.learning_rate = 0.0
    losses = [lowered.train_on_batch(x, y) for _ in range(2)]
    assert losses[0] != losses[1]
    rounding = 1e-6 * losses[0][0]
    assert lowered.test_on_batch(x, y) == pytest.approx(stock.test_on_batch(x, y), abs=rounding)


def test_saving_sees_the_trained_weights(pairs, tmp_path):
    _, lowered, batches = both(RECIPES["c2l2_ws"], pairs)
    before = lowered.get_weights()
    lowered.fit(batches, shuffle=False, verbose=0)
    lowered.save_weights(tmp_path / "model.weights.h5")
    fresh = build("c2l2_ws")
    fresh.load_weights(tmp_path / "model.weights.h5")
    for old, trained, read in zip(before, lowered.get_weights(), fresh.get_weights(), strict=True):
        assert (old != trained).any()
        np.testing.assert_array_equal(trained, read)

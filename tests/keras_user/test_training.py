"""`kpairs.train` with what a Keras user has: a model, a loss, an optimizer, callbacks."""

import keras
import numpy as np
import pytest
from resume_script import digest

import kpairs
from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.export import export_run
from kpairs.models.outputs import Output

SHORT = {"pairs": 60, "test_pairs": 30, "batch_size": 20, "verbose": 0, "device": "cpu"}


def network():
    """One's own: inputs and outputs of other names, and an output that kpairs knows nothing of."""
    keras.utils.set_random_seed(3)
    first, second = keras.Input((14, 14, 1), name="first"), keras.Input((14, 14, 1), name="second")
    tower = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(8, "relu")], name="tower")
    features = keras.layers.Concatenate()([tower(first), tower(second)])
    heads = {n: keras.layers.Dense(1, "sigmoid", name=n)(features) for n in ("better", "same")}
    return keras.Model([first, second], heads, name="mine")


def equal(pairs):
    return pairs.left_digit == pairs.right_digit


OWN = {"outputs": {"better": "sigmoid", "same": Output("sigmoid", equal)}}


@keras.saving.register_keras_serializable("mine")
class Squares(keras.losses.Loss):
    def call(self, y_true, y_pred):
        difference = keras.ops.reshape(y_true, (-1, 1)) - y_pred
        return keras.ops.mean(keras.ops.square(difference), axis=-1)


class Watch(keras.callbacks.Callback):
    """Keeps what an epoch's logs say; presses Ctrl-C before one."""

    def __init__(self, last=None):
        super().__init__()
        self.logs, self.last = [], last

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.last:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_own_model_loss_optimizer_and_callbacks(validation, idx_folder, workplace):
    """Names that begin with val_ are of validation pairs, or of test pairs where there are none."""
    watch = Watch()
    run = kpairs.train(
        out="run",
        data=idx_folder,
        model=network(),
        loss={"comparison": Squares()},
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        callbacks=[
            watch,
            keras.callbacks.EarlyStopping("val_loss", min_delta=10, patience=1),
            keras.callbacks.ModelCheckpoint("best.keras", "val_loss", save_best_only=True),
        ],
        epochs=5,
        validation=validation,
        **OWN,
        **SHORT,
    )
    history, row = run.history(1), run.row(1)
    assert len(history) == row["epochs"] == len(watch.logs) == 2  # it stopped
    of = "validation" if validation else "test"
    for epoch, logs in zip(history, watch.logs, strict=True):
        assert logs["val_loss"] == pytest.approx(epoch[f"{of}_loss"])
        assert logs["val_same_loss"] == pytest.approx(epoch[f"{of}_same_loss"])
    best = kpairs.load("best.keras")
    assert int(best.optimizer.iterations) > 0
    assert {tuple(v.shape) for v in best.optimizer.variables} > {(196, 8), (16, 1)}
    assert set(row["test"]) >= {"comparison_error_pct"}
    assert kpairs.evaluate(run)[0]["test"]["comparison_error_pct"] == pytest.approx(
        row["test"]["comparison_error_pct"]
    )
    (export,) = export_run(run)
    images = np.random.default_rng(1).random((2, 5, 14, 14, 1), np.float32)
    said = run.model(1).predict(dict(zip(("left", "right"), images, strict=True)), verbose=0)
    received = PairModel.load(export.path).run(*images)
    np.testing.assert_allclose(received["comparison"], said["comparison"], atol=1e-5)


def test_a_run_of_ones_own_goes_on(idx_folder, workplace, caplog):
    how = {"data": idx_folder, "loss": {"comparison": Squares()}, "epochs": 3, "rounds": 2}
    how |= {"optimizer": keras.optimizers.RMSprop(0.01), **OWN, **SHORT}
    whole = kpairs.train(out="whole", model=network(), **how)
    with pytest.raises(KeyboardInterrupt, match="go on with"):
        kpairs.train(out="run", model=network(), callbacks=[Watch(last=1)], **how)
    with pytest.raises(UsageError, match="trains a model of your own; pass it again"):
        kpairs.resume("run", verbose=0)
    run = kpairs.resume("run", model=network(), **OWN, verbose=0)
    assert "run was begun with callbacks (Watch); none is passed" in caplog.text
    assert digest(run.path) == digest(whole.path)


def test_half_precision_by_keras_policy(tiny, workplace, caplog):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        run = kpairs.train(tiny("posterior_s", epochs=2), "run", verbose=0)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert run.row(1)["engine"] == "keras"
    (said,) = [m for m in caplog.messages if "slower steps" in m]
    assert "half precision" in said
    assert all(np.isfinite(row["train_loss"]) for row in run.history(1))
    assert kpairs.evaluate(run)[0]["test"].keys() == run.row(1)["test"].keys()


def test_a_training_that_a_callback_ends_before_any_evaluation(tiny, workplace):
    """It is evaluated all the same, after its last epoch."""
    stop = keras.callbacks.EarlyStopping("loss", min_delta=10, patience=1)
    run = kpairs.train(tiny("ws", epochs=9, validate_every=9), "run", callbacks=[stop], verbose=0)
    first, last = run.history(1)
    assert np.isnan(first["test_loss"])
    error = 100 * (1 - last["test_comparison_accuracy"])
    assert run.row(1)["test"]["comparison_error_pct"] == pytest.approx(error, abs=1e-3)
    assert run.row(1)["best_epoch"]["epoch"] == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": 3}, "loss or optimizer: "),
        ({"optimizer": "adm"}, "loss or optimizer: "),
        ({"loss": {"foo": "mse"}}, "unknown output of loss 'foo'"),
        ({"loss": keras.losses.SparseCategoricalCrossentropy()}, "loss: expected one that takes"),
        ({"loss_weights": {"comparison": 1.0}}, "received none for same"),
        ({"outputs": {}}, "expected the comparison at least"),
        ({"outputs": {"better": "sigmod"}}, "unknown kind of output better 'sigmod'"),
        ({"outputs": {"better": Output("sigmoid", equal)}}, "expected a kind for the comparison"),
        ({"outputs": {"better": "sigmoid", "same": Output("score", equal)}}, "kind of output same"),
        (
            {"outputs": {**OWN["outputs"], "same": Output("sigmoid", lambda p: p.left_digit / 2)}},
            "the target of output same: expected class numbers",
        ),
        (
            {"outputs": {**OWN["outputs"], "same": Output("sigmoid", lambda p: ["a"] * len(p))}},
            "the target of output same: expected class numbers",
        ),
    ],
)
def test_what_is_refused_leaves_no_folder(wrong, message, idx_folder, workplace):
    with pytest.raises(UsageError, match=message):
        kpairs.train(
            model=network(), out="run", data=str(idx_folder), epochs=1, **SHORT, **(OWN | wrong)
        )
    assert not (workplace / "run").exists()


def test_names_of_keras_and_functions_are_taken(idx_folder, workplace):
    """A loss of another kind is not passed over: the weights are other ones."""
    losses = [None, "mean_squared_error", lambda true, y: keras.ops.mean(y) + 0 * true[0]]
    runs = [
        kpairs.train(
            model=network(),
            out=f"run{i}",
            data=str(idx_folder),
            epochs=1,
            loss=loss,
            **SHORT,
            **OWN,
        )
        for i, loss in enumerate(losses)
    ]
    assert len({digest(run.path) for run in runs}) == 3
    kpairs.train("ws", "named", data=str(idx_folder), epochs=1, optimizer="adam", **SHORT)
    with pytest.raises(UsageError, match="is built by name; expected no model"):
        kpairs.resume("named", rounds=2, model=network(), verbose=0, **OWN)
    other = network()
    wider = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(9, "relu")])
    both = keras.layers.Concatenate()([wider(side) for side in other.inputs])
    heads = {n: keras.layers.Dense(1, "sigmoid", name=n)(both) for n in ("better", "same")}
    model = keras.Model(other.inputs, heads, name="mine")
    with pytest.raises(UsageError, match="expected the model that this run was begun with"):
        kpairs.resume("run0", rounds=2, model=model, verbose=0, **OWN)
    assert kpairs.Run.open("run0").rounds == [1]

"""Keras callbacks: the history file and what stops a training."""

import csv
import math

import keras

from kpairs.errors import DivergedError, InputError
from kpairs.files import write_rows


class HistoryFile(keras.callbacks.Callback):
    """Writes one CSV row per epoch, at once: whatever stops the training, past epochs are there.

    Columns: `epoch`, then Keras' names with a prefix: `train_loss`, `train_comparison_loss`,
    `train_comparison_accuracy`, ..., `test_loss`, ...; train values are running means over the
    epoch with dropout on, test values NaN after an epoch that was not followed by an evaluation.
    With `evaluated` a column `evaluated_comparison_accuracy` follows.

    Args:
        path: the file.
        epochs: how many of its rows to keep as they are.
        evaluated: batches of the training pairs, evaluated after each epoch as the test pairs are:
            with that epoch's weights and without dropout. None for no such evaluation.

    Raises:
        InputError: the file has fewer rows, or other columns.
    """

    def __init__(self, path, epochs=0, evaluated=None):
        super().__init__()
        self.path, self.rows, self.evaluated = path, [], evaluated
        if epochs:
            self.rows = _read_rows(path, epochs)

    def on_epoch_end(self, epoch, logs=None):
        train = {f"train_{k}": v for k, v in logs.items() if not k.startswith("val_")}
        names = [name.removeprefix("train_") for name in train]
        test = {f"test_{name}": logs.get(f"val_{name}", math.nan) for name in names}
        row = {"epoch": epoch + 1, **train, **test}
        if self.evaluated is not None:
            result = self.model.evaluate(self.evaluated, verbose=0, return_dict=True)
            row["evaluated_comparison_accuracy"] = result["comparison_accuracy"]
        if self.rows and set(row) != set(self.rows[0]):
            raise InputError(f"{self.path}: expected the columns {', '.join(row)}")
        self.rows.append(row)
        write_rows(self.path, self.rows)


def _read_rows(path, epochs):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        rows = []
    if len(rows) < epochs:
        raise InputError(
            f"{path}: expected the history of the checkpoint's {epochs} epochs, received "
            f"{len(rows)}; remove {path.parent} to train this round from its beginning"
        )
    return rows[:epochs]


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `DivergedError` once the training loss, or an epoch's test loss, is not finite."""

    def __init__(self, learning_rate):
        super().__init__()
        self.learning_rate, self.epoch = learning_rate, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._check("loss", logs["loss"], f", step {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        if "val_loss" in logs:
            self._check("test loss", logs["val_loss"])

    def _check(self, name, loss, step=""):
        if not math.isfinite(loss):
            raise DivergedError(
                f"the {name} became {loss} in epoch {self.epoch + 1}{step}; expected a finite "
                f"number. Try a learning rate below {self.learning_rate:g}, smaller weights or L2"
            )


class Averaging(keras.callbacks.Callback):
    """Keeps a moving average of a model's variables, which the model ends with.

    After n epochs the values after epoch k, batch-norm statistics included, have the weight
    `decay ** (n - k)` divided by the sum of all weights. (Begun with the first epoch's values and
    not divided so, a short training would end with a good part of them.) Epochs train, and are
    evaluated, by the plain values.

    Args:
        model: a built Keras model.
        decay: share of the past, 0 to 1.
        epochs: of the whole training, after which the model is given the average.

    Attributes:
        variables: the averages, in the order of `model.variables`.
    """

    def __init__(self, model, decay, epochs=1):
        super().__init__()
        self.decay, self.epochs = decay, epochs
        # Copies: a variable made from another may share its memory.
        values = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
        self.variables = [keras.Variable(v, dtype=v.dtype.name, trainable=False) for v in values]

    def on_epoch_end(self, epoch, logs=None):
        share = (1 - self.decay) / (1 - self.decay ** (epoch + 1))
        for average, variable in zip(self.variables, self.model.variables, strict=True):
            if keras.backend.is_float_dtype(variable.dtype):
                average.assign(average + share * (variable - average))
            else:  # seed states
                average.assign(variable)

    def on_train_end(self, logs=None):
        if self.params["epochs"] < self.epochs:  # another phase follows
            return
        for average, variable in zip(self.variables, self.model.variables, strict=True):
            variable.assign(average)

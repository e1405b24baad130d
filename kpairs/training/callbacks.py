"""Keras callbacks: what is kept of each epoch, and what stops a training."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kpairs.errors import DivergedError, InputError, UsageError
from kpairs.files import write_rows
from kpairs.models.pair import variables_of
from kpairs.training.batches import Batches
from kpairs.training.interrupt import InMainThread, Logs
from kpairs.training.records import read_curve


class HistoryFile(keras.callbacks.Callback):
    """Writes one CSV row per epoch, at once: whatever stops the training, past epochs are there.

    Columns: `epoch`, then Keras' names with a prefix: `train_loss`, `train_comparison_loss`,
    `train_comparison_accuracy`, ..., `test_loss`, ...; train values are running means over the
    epoch with dropout on, test values NaN after an epoch that was not followed by an evaluation.
    With `evaluated` a column `evaluated_comparison_accuracy` follows, with `best` those of
    `BestEpoch.row`.

    Args:
        path: the file.
        epochs: how many of its rows to keep as they are.
        evaluated: batches of the training pairs, evaluated after each epoch as the test pairs are:
            with that epoch's weights and without dropout. None for no such evaluation.
        best: the `BestEpoch` of this training, if there is one; it comes first.

    Raises:
        InputError: the file has fewer rows, other columns, or cannot be read.
    """

    def __init__(
        self,
        path: Path,
        epochs: int = 0,
        evaluated: Batches | None = None,
        best: "BestEpoch | None" = None,
    ) -> None:
        super().__init__()
        self.path, self.evaluated, self.best = path, evaluated, best
        self.rows: list[dict[str, Any]] = _read_rows(path, epochs) if epochs else []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        train = {f"train_{k}": v for k, v in logs.items() if not k.startswith("val_")}
        names = [name.removeprefix("train_") for name in train]
        test = {f"test_{name}": logs.get(f"val_{name}", math.nan) for name in names}
        row = {"epoch": epoch + 1, **train, **test}
        if self.evaluated is not None:
            result = _evaluate(self.model, self.evaluated)
            row["evaluated_comparison_accuracy"] = result["comparison_accuracy"]
        if self.best is not None:
            row |= self.best.row
        if self.rows and set(row) != set(self.rows[0]):
            raise InputError(f"{self.path}: expected the columns {', '.join(row)}")
        self.rows.append(row)
        write_rows(self.path, self.rows)


def _read_rows(path: Path, epochs: int) -> list[dict[str, str]]:
    rows = read_curve(path) if path.exists() else []
    if len(rows) < epochs:
        raise InputError(
            f"{path}: expected the history of the checkpoint's {epochs} epochs, received "
            f"{len(rows)}; remove {path.parent} to train this round from its beginning"
        )
    return rows[:epochs]


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `DivergedError` once the training loss, or an epoch's test loss, is not finite."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate, self.epoch = learning_rate, 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._check("loss", logs["loss"], f", step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if "val_loss" in logs:
            self._check("test loss", logs["val_loss"])

    def _check(self, name: str, loss: float, step: str = "") -> None:
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

    Attributes:
        variables: the averages, in the order of `variables_of`.
        last: whether no other phase of the training follows: only then the model is given them.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        super().__init__()
        self.decay, self.last = decay, True
        # Copies: a variable made from another may share its memory.
        values = [keras.ops.convert_to_numpy(v).copy() for v in variables_of(model)]
        self.variables = [keras.Variable(v, dtype=v.dtype.name, trainable=False) for v in values]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        share = (1 - self.decay) / (1 - self.decay ** (epoch + 1))
        for average, variable in zip(self.variables, variables_of(self.model), strict=True):
            if keras.backend.is_float_dtype(variable.dtype):
                average.assign(average + share * (variable - average))
            else:  # seed states
                average.assign(variable)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.last:
            _assign(variables_of(self.model), self.variables)


class BestEpoch(keras.callbacks.Callback):
    """Ends a training with its best epoch on validation pairs, and when no better one comes.

    Keras' `EarlyStopping` forgets its best epoch when a training is stopped and goes on; this one's
    state is variables, which the checkpoint holds. Better is a smaller share of wrong comparisons,
    or the same share and a smaller loss. What is evaluated is what would be the result: with
    averaging the averages.

    Args:
        model: a built and compiled Keras model.
        batches: batches of validation pairs, none of which is a test pair.
        patience: stop after so many epochs without a better one; 0 for never.
        averaging: the training's `Averaging`, if there is one; it comes first.

    Attributes:
        variables: of the best epoch so far, in the order of `variables_of`, then its number,
            error and loss.
        row: of the last epoch: `validation_loss`, `validation_comparison_accuracy`, ...
        last: whether no other phase of the training follows; patience ends them all.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: Batches,
        patience: int = 0,
        averaging: Averaging | None = None,
    ) -> None:
        super().__init__()
        self.batches, self.patience, self.averaging = batches, patience, averaging
        self.row: dict[str, float] = {}
        self.last = True
        state = [np.float32(0), np.float32(np.inf), np.float32(np.inf)]
        values = [keras.ops.convert_to_numpy(v).copy() for v in variables_of(model)]
        self.variables = [
            keras.Variable(value, dtype=value.dtype.name, trainable=False)
            for value in (*values, *state)
        ]

    @property
    def epoch(self) -> int:
        """Number of the best epoch so far, from 1; 0 before the first."""
        return int(self.variables[-3])

    def is_over(self, epoch: int) -> bool:
        """Whether a training that has done so many epochs has run out of patience."""
        return bool(self.patience) and epoch - self.epoch >= self.patience

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        model, averages = self.model, self.averaging and self.averaging.variables
        plain = [keras.ops.convert_to_numpy(v).copy() for v in variables_of(model)]
        if averages:
            _assign(variables_of(model), averages)
        found = _evaluate(model, self.batches)
        self.row = {f"validation_{name}": value for name, value in found.items()}
        score = [np.float32(1 - found["comparison_accuracy"]), np.float32(found["loss"])]
        if score < [np.float32(float(v)) for v in self.variables[-2:]]:
            _assign(self.variables, [*variables_of(model), np.float32(epoch + 1), *score])
        if averages:
            _assign(variables_of(model), plain)
        if self.is_over(epoch + 1):
            model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.epoch and (self.last or self.model.stop_training):
            _assign(variables_of(self.model), self.variables[:-3])


def _evaluate(model: keras.Model, batches: Batches) -> dict[str, float]:
    return model.evaluate(batches, callbacks=[InMainThread()], verbose=0, return_dict=True)


def _assign(variables: Iterable[keras.Variable], values: Iterable[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class EventFiles(keras.callbacks.Callback):
    """Writes TensorBoard's event files, with the names that Keras' own callback uses.

    Keras' needs tensorflow; torch's writer needs the package tensorboard alone.

    Args:
        folder: where `train/`, `test/` and `validation/` go.
        done: epochs that were trained before; what was written beyond them is hidden.
        best: the `BestEpoch` of this training, if there is one; it comes first.

    Raises:
        UsageError: the package is missing.
    """

    def __init__(self, folder: Path, done: int = 0, best: BestEpoch | None = None) -> None:
        super().__init__()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "tensorboard: expected the package of that name, received none; install it with: "
                "pip install tensorboard"
            ) from error
        parts = ("train", "test", *(() if best is None else ("validation",)))
        self.writers = {p: SummaryWriter(folder / p, purge_step=done + 1) for p in parts}
        self.best = best

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        test = {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}
        values = {"train": {n: v for n, v in logs.items() if not n.startswith("val_")}}
        values["test"] = test
        if self.best is not None:
            row = self.best.row
            values["validation"] = {n.removeprefix("validation_"): v for n, v in row.items()}
        for part, writer in self.writers.items():
            for name, value in values[part].items():
                writer.add_scalar(f"epoch_{name}", value, epoch + 1)
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        for writer in self.writers.values():
            writer.close()

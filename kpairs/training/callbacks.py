"""The follow-up of each epoch: averages, the best epoch, history and event files; and one guard."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from kpairs.errors import DivergedError, InputError, UsageError
from kpairs.files import write_rows
from kpairs.models.pair import variables_of
from kpairs.training.batches import Batches
from kpairs.training.interrupt import InMainThread, Logs
from kpairs.training.records import read_curve

Evaluation: TypeAlias = Callable[[], dict[str, float]]  # losses and metrics by Keras' names


class MovingAverage:
    """A moving average of a model's variables, batch-norm statistics included.

    After n epochs the values after epoch k have the weight `decay ** (n - k)` divided by the sum of
    all weights. (Begun with the first epoch's values and not divided so, a short training would end
    with a good part of them.)

    Args:
        model: a built Keras model.
        decay: share of the past, 0 to 1.

    Attributes:
        variables: the averages, in the order of `variables_of`.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self.decay, self.variables = decay, _copies(variables_of(model))

    def update(self, model: keras.Model, epoch: int) -> None:
        """Take in the values after an epoch, numbered from 0."""
        share = (1 - self.decay) / (1 - self.decay ** (epoch + 1))
        for average, variable in zip(self.variables, variables_of(model), strict=True):
            if keras.backend.is_float_dtype(variable.dtype):
                average.assign(average + share * (variable - average))
            else:  # seed states
                average.assign(keras.ops.copy(variable))

    def give(self, model: keras.Model) -> None:
        """Assign the averages to the model."""
        _assign(variables_of(model), self.variables)


class BestEpoch:
    """The variables of the best epoch on validation pairs.

    Keras' `EarlyStopping` forgets its best epoch when a training is stopped and goes on; here the
    state is variables, which the checkpoint holds. Better is a smaller share of wrong comparisons,
    or the same share and a smaller loss.

    Args:
        model: a built and compiled Keras model.
        evaluate: measures the model on validation pairs, none of which is a test pair.
        patience: stop after so many epochs without a better one; 0 for never.
        average: the weights that would be the result, if not the model's own.

    Attributes:
        variables: those of the best epoch so far, in the order of `variables_of`, then its number,
            error and loss.
    """

    def __init__(
        self,
        model: keras.Model,
        evaluate: Evaluation,
        patience: int = 0,
        average: MovingAverage | None = None,
    ) -> None:
        self.evaluate, self.patience, self.average = evaluate, patience, average
        state = [np.float32(0), np.float32(np.inf), np.float32(np.inf)]
        self.variables = _copies([*variables_of(model), *state])

    @property
    def epoch(self) -> int:
        """Number of the best epoch so far, from 1; 0 before the first."""
        return int(self.variables[-3])

    def is_over(self, epochs: int) -> bool:
        """Tell whether a training that has done so many epochs has run out of patience."""
        return bool(self.patience) and epochs - self.epoch >= self.patience

    def update(self, model: keras.Model, epoch: int) -> dict[str, float]:
        """Evaluate an epoch, numbered from 0; return its losses and metrics by name."""
        plain = [keras.ops.convert_to_numpy(v).copy() for v in variables_of(model)]
        if self.average is not None:
            self.average.give(model)
        found = self.evaluate()
        score = [np.float32(1 - found["comparison_accuracy"]), np.float32(found["loss"])]
        if score < [np.float32(float(v)) for v in self.variables[-2:]]:
            _assign(self.variables, [*variables_of(model), np.float32(epoch + 1), *score])
        if self.average is not None:
            _assign(variables_of(model), plain)
        return found

    def give(self, model: keras.Model) -> None:
        """Assign the best epoch's variables to the model."""
        _assign(variables_of(model), self.variables[:-3])


class AfterEpoch(keras.callbacks.Callback):
    """Follows up each epoch, in this order: average, evaluate, choose the best, write down.

    One CSV row per epoch is written at once: whatever stops the training, past epochs are there.
    Columns: `epoch`, then Keras' names with a prefix: `train_loss`, `train_comparison_loss`,
    `train_comparison_accuracy`, ..., `test_loss`, ...; train values are running means over the
    epoch with dropout on, test values NaN after an epoch that was not followed by an evaluation.
    `evaluated_comparison_accuracy` and `validation_...` follow where there are such pairs.

    Args:
        path: the CSV file.
        done: number of its rows to keep as they are.
        average: the moving average of the weights, if the recipe has one.
        best: the best epoch, if there are validation pairs. The names `val_...`, by which Keras'
            own callbacks watch a training, are then those of validation pairs for callbacks after
            this one.
        tested: measures the model on the test pairs, at the end of a training that did not.
        evaluated: measures the model on the training pairs after each epoch as on the test pairs:
            with that epoch's weights and without dropout. None for no such evaluation.
        events: TensorBoard's event files, if they are wanted.

    Attributes:
        rows: the rows of the file.

    Raises:
        InputError: the file has fewer rows, other columns, or cannot be read.
    """

    def __init__(
        self,
        path: Path,
        done: int = 0,
        *,
        average: MovingAverage | None = None,
        best: BestEpoch | None = None,
        tested: Evaluation,
        evaluated: Evaluation | None = None,
        events: "EventFiles | None" = None,
    ) -> None:
        super().__init__()
        self.path, self.average, self.best = path, average, best
        self.tested, self.evaluated, self.events = tested, evaluated, events
        self.rows: list[dict[str, Any]] = _read_rows(path, done) if done else []

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables that a training needs to go on, beside the model's and the optimizer's."""
        kept = [part for part in (self.average, self.best) if part is not None]
        return [variable for part in kept for variable in part.variables]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        row = {"epoch": epoch + 1, **_parts(logs)}
        if self.average is not None:
            self.average.update(self.model, epoch)
        validated = {} if self.best is None else self.best.update(self.model, epoch)
        if self.evaluated is not None:
            found = self.evaluated()
            row["evaluated_comparison_accuracy"] = found["comparison_accuracy"]
        row |= {f"validation_{name}": value for name, value in validated.items()}
        if self.rows and set(row) != set(self.rows[0]):
            raise InputError(f"{self.path}: expected the columns {', '.join(row)}")
        self.rows.append(row)
        write_rows(self.path, self.rows)
        if self.events is not None:
            self.events.write(epoch + 1, logs, validated)
        logs.update({f"val_{name}": value for name, value in validated.items()})
        if self.best is not None and self.best.is_over(epoch + 1):
            self.model.stop_training = True

    def finish(self, model: keras.Model) -> None:
        """Give the model the weights that are the result: the best epoch's, else the average.

        A training may stop after an epoch that no evaluation followed: the last row gets one.
        """
        if self.rows and math.isnan(float(self.rows[-1]["test_loss"])):
            found = self.tested()
            self.rows[-1] |= {f"test_{name}": value for name, value in found.items()}
            write_rows(self.path, self.rows)
            if self.events is not None:
                tested = {f"val_{name}": value for name, value in found.items()}
                self.events.write(len(self.rows), tested, {})
        if self.best is not None and self.best.epoch:
            self.best.give(model)
        elif self.average is not None:
            self.average.give(model)
        if self.events is not None:
            self.events.close()


def _parts(logs: Mapping[str, float]) -> dict[str, float]:
    train = {f"train_{k}": v for k, v in logs.items() if not k.startswith("val_")}
    names = [name.removeprefix("train_") for name in train]
    return {**train, **{f"test_{name}": logs.get(f"val_{name}", math.nan) for name in names}}


def _read_rows(path: Path, epochs: int) -> list[dict[str, str]]:
    rows = read_curve(path) if path.exists() else []
    if len(rows) < epochs:
        raise InputError(
            f"{path}: expected the history of the checkpoint's {epochs} epochs, received "
            f"{len(rows)}; remove {path.parent} to train this round from its beginning"
        )
    return rows[:epochs]


def _copies(values: Iterable[Any]) -> list[keras.Variable]:
    # Copies: a variable made from another may share its memory.
    arrays = [keras.ops.convert_to_numpy(value).copy() for value in values]
    return [keras.Variable(array, dtype=array.dtype.name, trainable=False) for array in arrays]


def _assign(variables: Iterable[keras.Variable], values: Iterable[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(keras.ops.copy(value))  # jax shares arrays, and deletes trained ones


def evaluate(model: keras.Model, batches: Batches) -> dict[str, float]:
    """Return a compiled model's losses and metrics on batches, by Keras' names."""
    return model.evaluate(batches, callbacks=[InMainThread()], verbose=0, return_dict=True)


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


class EventFiles:
    """TensorBoard's event files, with the names that Keras' own callback uses.

    Keras' needs tensorflow; torch's writer needs the package tensorboard alone.

    Args:
        folder: the folder of `train/`, `test/` and `validation/`.
        done: number of epochs that were trained before; later events are hidden.

    Raises:
        UsageError: the package is missing.
    """

    def __init__(self, folder: Path, done: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "tensorboard: expected the package of that name, received none; install it with: "
                "pip install tensorboard"
            ) from error
        self.folder, self.done, self._writer = folder, done, SummaryWriter
        self.writers: dict[str, Any] = {}

    def write(self, epoch: int, logs: Logs, validated: Logs) -> None:
        """Write one epoch's losses and metrics."""
        parts = {
            "train": {n: v for n, v in logs.items() if not n.startswith("val_")},
            "test": {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")},
            "validation": validated,
        }
        for part, values in parts.items():
            if values and part not in self.writers:
                place = self.folder / part
                self.writers[part] = self._writer(place, purge_step=self.done + 1)
            for name, value in values.items():
                self.writers[part].add_scalar(f"epoch_{name}", value, epoch)
            if values:
                self.writers[part].flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self.writers.values():
            writer.close()

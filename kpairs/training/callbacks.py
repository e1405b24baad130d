"""Keras callbacks: the history file, the check on the loss, and the live progress."""

import math
import sys

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from kpairs.errors import KpairsError
from kpairs.files import write_rows


class HistoryFile(keras.callbacks.Callback):
    """Writes one CSV row per epoch, at once: whatever stops the training, past epochs are there.

    Columns: `epoch`, then Keras' names with a prefix: `train_loss`, `train_comparison_loss`,
    `train_comparison_accuracy`, ..., `test_loss`, ...; train values are running means over the
    epoch with dropout on.
    """

    def __init__(self, path):
        super().__init__()
        self.path, self.rows = path, []

    def on_epoch_end(self, epoch, logs=None):
        train = {f"train_{k}": v for k, v in logs.items() if not k.startswith("val_")}
        test = {f"test_{k[4:]}": v for k, v in logs.items() if k.startswith("val_")}
        self.rows.append({"epoch": epoch + 1, **train, **test})
        write_rows(self.path, self.rows)


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `KpairsError` once the training loss, or an epoch's test loss, is not finite."""

    def __init__(self, learning_rate):
        super().__init__()
        self.learning_rate, self.epoch = learning_rate, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._check("loss", logs["loss"], f", step {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        self._check("test loss", logs["val_loss"])

    def _check(self, name, loss, step=""):
        if not math.isfinite(loss):
            raise KpairsError(
                f"the {name} became {loss} in epoch {self.epoch + 1}{step}; expected a finite "
                f"number. Try a learning rate below {self.learning_rate:g}, smaller weights or L2"
            )


class LiveProgress(keras.callbacks.Callback):
    """A progress bar with each output's loss, and a line per round that stays.

    Where there is no terminal, one plain line per epoch.

    Args:
        round_number, rounds: which round of how many.
        outputs: names of the outputs whose losses are shown.
        console: a `rich.console.Console`; default standard error.
    """

    def __init__(self, round_number, rounds, outputs, console=None):
        super().__init__()
        self.label = f"round {round_number}/{rounds} " if rounds > 1 else ""
        self.outputs = outputs
        self.console = console or Console(file=sys.stderr)
        self.bar = None

    def on_train_begin(self, logs=None):
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=8),
                TimeRemainingColumn(compact=True, table_column=Column(min_width=5, no_wrap=True)),
                TextColumn("{task.fields[losses]}"),
                console=self.console,
                transient=True,
            )
            self.steps = self.params["steps"] or 1
            total = self.params["epochs"] * self.steps
            self.task = self.bar.add_task(self.label, total=total, losses="")
            self.bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.title = f"{self.label}epoch {epoch + 1}/{self.params['epochs']}"

    def on_train_batch_end(self, batch, logs=None):
        if self.bar:
            self.bar.update(
                self.task,
                completed=self.epoch * self.steps + batch + 1,
                description=self.title,
                losses=self._losses(logs),
            )

    def on_epoch_end(self, epoch, logs=None):
        error = 100 * (1 - logs["val_comparison_accuracy"])
        line = f"{self.title}  {self._losses(logs)}  test error {error:.1f} %"
        last = epoch + 1 == self.params["epochs"]
        if not self.bar or last:  # on a terminal one line per round stays
            self.console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Take the bar off the screen; also after an interrupted training."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def _losses(self, logs):
        # Keras gives no loss per output where there is only one.
        parts = [f"loss {logs['loss']:.3f}"]
        for name in self.outputs:
            if f"{name}_loss" in logs:
                parts.append(f"{name.removesuffix('_digit')} {logs[f'{name}_loss']:.3f}")
        return " ".join(parts)

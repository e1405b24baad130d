"""Live progress on the terminal: of one round's steps, or of rounds in several processes."""

import sys
import threading

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


def _bar(console, text):
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=8),
        TimeRemainingColumn(compact=True, table_column=Column(min_width=5, no_wrap=True)),
        TextColumn(text),
        console=console,
        transient=True,
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
            self.bar = _bar(self.console, "{task.fields[losses]}")
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
        line = f"{self.title}  {self._losses(logs)}"
        if "val_comparison_accuracy" in logs:
            line += f"  test error {100 * (1 - logs['val_comparison_accuracy']):.1f} %"
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
                parts.append(f"{name.rpartition('_')[0] or name} {logs[f'{name}_loss']:.3f}")
        return " ".join(parts)


class RoundsProgress:
    """A bar over the epochs of rounds that other processes train, read from their histories.

    Where there is no terminal, only the line that each round leaves.

    Args:
        histories: the `history.csv` of each round.
        epochs: of each round.
        console: a `rich.console.Console`.
    """

    def __init__(self, histories, epochs, console):
        self.histories, self.epochs, self.console = histories, epochs, console
        self.bar = _bar(console, "{task.fields[running]}")
        self.stop = threading.Event()
        self.follower = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self):
        if self.console.is_terminal:
            total = len(self.histories) * self.epochs
            self.task = self.bar.add_task("rounds", total=total, running="")
            self.bar.start()
            self.follower.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        if self.console.is_terminal:
            self.follower.join()
            self.bar.stop()

    def finished(self, row, rounds):
        """Print the line of a finished round."""
        error = row["test"]["comparison_error_pct"]
        self.console.print(f"round {row['round']}/{rounds}  test error {error:.1f} %")

    def _follow(self):
        while not self.stop.wait(0.5):
            epochs = [_epochs(history) for history in self.histories]
            running = sum(0 < n < self.epochs for n in epochs)
            done = sum(n == self.epochs for n in epochs)
            text = f"{done} of {len(epochs)} done, {running} running"
            self.bar.update(self.task, completed=sum(epochs), running=text)


def _epochs(history):
    try:
        with open(history, encoding="utf-8") as file:
            return max(0, sum(1 for _ in file) - 1)
    except OSError:
        return 0

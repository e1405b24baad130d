"""Live progress on the terminal: of one round's steps, or of trainings side by side.

Where there is no terminal, plain lines.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
from rich.console import Console
from rich.progress import Progress

from kpairs.bars import bar
from kpairs.errors import InputError
from kpairs.recipes import Recipe
from kpairs.training.interrupt import Logs
from kpairs.training.records import read_curve


class LiveProgress(keras.callbacks.Callback):
    """A progress bar with each output's loss, and a line per round that stays.

    Where there is no terminal, one plain line per epoch.

    Args:
        recipe: the recipe, whose outputs' losses are shown.
        number: the round, from 1.
        console: where to.
    """

    def __init__(self, recipe: Recipe, number: int, console: Console) -> None:
        super().__init__()
        rounds, self.tested = recipe.fit.rounds, recipe.data.tested
        self.label = f"round {number}/{rounds} " if rounds > 1 else ""
        self.outputs, self.console = tuple(recipe.fit.loss_weights), console
        self.bar: Progress | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.console.is_terminal:
            self.bar = bar(self.console, "{task.fields[losses]}")
            self.steps = self.params["steps"] or 1
            total = self.params["epochs"] * self.steps
            self.task = self.bar.add_task(self.label, total=total, losses="")
            self.bar.start()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch
        self.title = f"{self.label}epoch {epoch + 1}/{self.params['epochs']}"

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if self.bar:
            self.bar.update(
                self.task,
                completed=self.epoch * self.steps + batch + 1,
                description=self.title,
                losses=self._losses(logs),
            )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        line = f"{self.title}  {self._losses(logs)}"
        if "val_comparison_accuracy" in logs:
            line += f"  {self.tested} error {100 * (1 - logs['val_comparison_accuracy']):.1f} %"
        last = epoch + 1 == self.params["epochs"]
        if not self.bar or last:  # on a terminal one line per round stays
            self.console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen; also after an interrupted training."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def _losses(self, logs: Logs) -> str:
        # Keras gives no loss per output where there is only one.
        parts = [f"loss {logs['loss']:.3f}"]
        for name in self.outputs:
            if f"{name}_loss" in logs:
                parts.append(f"{name.rpartition('_')[0] or name} {logs[f'{name}_loss']:.3f}")
        return " ".join(parts)


@contextmanager
def tested_as(callbacks: Iterable[keras.callbacks.Callback], word: str) -> Iterator[None]:
    """Call errors by another word for a while, where progress is shown."""
    shown = [one for one in callbacks if isinstance(one, LiveProgress)]
    before = [one.tested for one in shown]
    for one in shown:
        one.tested = word
    try:
        yield
    finally:
        for one, tested in zip(shown, before, strict=True):
            one.tested = tested


class TrainingsProgress:
    """A bar over trainings that end one by one.

    Where there is no terminal, a line for each.

    Args:
        console: where to.
        total: how many trainings in all.
        done: how many were finished before.
        unit: what they are called.
        completed: gives how much of all is done, in trainings; asked twice a second. Default what
            is finished.
        lines: leave the lines on a terminal too.

    Attributes:
        done: how many are finished.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        *,
        done: int = 0,
        unit: str = "trainings",
        completed: Callable[[], float] | None = None,
        lines: bool = False,
    ) -> None:
        self.console, self.total, self.done = console, total, done
        self._completed = completed or (lambda: self.done)
        self.lines = lines or not console.is_terminal
        self._bar = bar(console, "{task.fields[done]}/{task.total} {task.fields[unit]}")
        self._task = self._bar.add_task("", total=total, completed=done, done=done, unit=unit)
        self._stop = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "TrainingsProgress":
        if self.console.is_terminal:
            self._bar.start()
            self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.console.is_terminal:
            self._follower.join()
            self._bar.stop()

    def finished(self, name: str) -> None:
        """Count one more, and print its line."""
        self.done += 1
        if self.lines:
            count = f"{self.done}/{max(self.done, self.total)}"
            self.console.print(f"{count} {name}", highlight=False, soft_wrap=True)

    def _follow(self) -> None:
        while not self._stop.wait(0.5):
            self._bar.update(self._task, completed=self._completed(), done=self.done)


def share_done(histories: Iterable[Path], epochs: int) -> float:
    """Count how much of some trainings is done, in trainings, by their `history.csv`."""
    return sum(_epochs(history) / epochs for history in histories)


def _epochs(history: Path) -> int:
    try:
        return len(read_curve(history))
    except InputError:
        return 0

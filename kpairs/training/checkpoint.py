"""The state of a training after each epoch, from which it goes on exactly."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError, first_line
from kpairs.files import atomic_path
from kpairs.training.interrupt import Logs

NAME = "checkpoint.npz"


class Checkpoint(keras.callbacks.Callback):
    """Writes weights, optimizer and epoch as one file after each epoch, atomically.

    With randomness that derives from the epoch (`Randomness`), a training that goes on from the
    file gives the weights of one that never stopped, bit for bit on a CPU; `BackupAndRestore` of
    Keras does not. The file holds arrays alone, by number: the model's variables (batch-norm
    statistics and seed states included), then the optimizer's, then further ones.

    Args:
        folder: the round's folder.
        keep: keep the file of every epoch too, as `checkpoint-<epoch>.npz`.
        further: variables beside the model's and the optimizer's.

    Attributes:
        seconds: what the epochs so far have taken, in all processes that worked on them.
    """

    def __init__(
        self, folder: Path, keep: bool = False, further: Iterable[keras.Variable] = ()
    ) -> None:
        super().__init__()
        self.path, self.keep, self.seconds = folder / NAME, keep, 0.0
        self.further = tuple(further)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._since = time.perf_counter()

    @property
    def epochs(self) -> int:
        """How many epochs the file's training has done; 0 without a file.

        Raises:
            InputError: not a checkpoint.
        """
        return read(self.path)[0] if self.path.is_file() else 0

    def restore(self, model: keras.Model) -> int:
        """Put the file's state, if there is one, into a built model; the epochs that it has done.

        Raises:
            InputError: not a checkpoint of this model.
        """
        if not self.path.is_file():
            return 0
        epoch, self.seconds = load(self.path, model, self.further)
        return epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values = map(keras.ops.convert_to_numpy, _variables(self.model, self.further))
        arrays = {f"{number:04d}": value for number, value in enumerate(values)}
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
        kept = [self.path.with_stem(f"checkpoint-{epoch + 1:03d}")] if self.keep else []
        for path in (*kept, self.path):
            with atomic_path(path) as temporary:
                np.savez(temporary, epoch=epoch + 1, seconds=self.seconds, **arrays)


def load(
    path: Path, model: keras.Model, further: Iterable[keras.Variable] = ()
) -> tuple[int, float]:
    """Read a checkpoint into a built and compiled model, and into further variables.

    Returns:
        The number of epochs done and the seconds that they took.

    Raises:
        InputError: not a checkpoint, or not one of this model.
    """
    variables = _variables(model, further)
    epoch, seconds, arrays = read(path)
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise InputError(f"{path}: expected the checkpoint of {model.name}, received another's")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return epoch, seconds


def read(path: Path) -> tuple[int, float, list[NDArray[Any]]]:
    """Read a checkpoint's number of epochs, their seconds, and its arrays.

    Raises:
        InputError: not a checkpoint.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = [file[f"{i:04d}"] for i in range(len(file.files) - 2)]
            return int(file["epoch"]), float(file["seconds"]), arrays
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise InputError(
            f"{path}: expected a checkpoint, cannot read it: {first_line(error)}"
        ) from error


def _variables(model: keras.Model, further: Iterable[keras.Variable]) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables, *further]

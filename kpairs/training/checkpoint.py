"""The state of a training after each epoch, from which it goes on exactly."""

import math
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError, first_line
from kpairs.files import atomic_path, read_arrays
from kpairs.models.pair import variables_of
from kpairs.recipes.recipe import MOST
from kpairs.training.interrupt import Logs

NAME = "checkpoint.npz"
_DONE = "epoch", "seconds"
_MOST_EACH = 2**10  # bytes that an array has beside its numbers


class Checkpoint(keras.callbacks.Callback):
    """Writes weights, optimizer and epoch as one file after each epoch, atomically.

    With randomness that derives from the epoch (`Randomness`), a training that goes on from the
    file gives the weights of one that never stopped, bit for bit on a CPU; `BackupAndRestore` of
    Keras does not. The file holds arrays alone, by number: the model's variables (batch-norm
    statistics and seed states included), then the optimizer's, then further ones.

    Args:
        folder: the round's folder.
        keep: keep the file of every epoch too, as `checkpoint-<epoch>.npz`.

    Attributes:
        further: variables beside the model's and the optimizer's.
        seconds: what the epochs so far have taken, in all processes that worked on them.
    """

    def __init__(self, folder: Path, keep: bool = False) -> None:
        super().__init__()
        self.path, self.keep, self.seconds = folder / NAME, keep, 0.0
        self.further: tuple[keras.Variable, ...] = ()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._since, self._variables = time.perf_counter(), variables_of(self.model)

    @property
    def epochs(self) -> int:
        """Number of epochs that the file's training has done; 0 without a file."""
        return _read(self.path, "a checkpoint", 0, *_DONE)[0] if self.path.exists() else 0

    def restore(self, model: keras.Model) -> int:
        """Put the file's state, if there is one, into a built model; return the epochs done."""
        if not self.path.exists():
            return 0
        epoch, self.seconds = load(self.path, model, self.further)
        return epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        state = self._variables, self.model.optimizer.variables, self.further
        values = map(keras.ops.convert_to_numpy, chain(*state))
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

    Returns the number of epochs done and the seconds that they took. Raises InputError for no
    checkpoint of this model.
    """
    variables = [*variables_of(model), *model.optimizer.variables, *further]
    what, most = f"the checkpoint of {model.name}", 8 * sum(math.prod(v.shape) for v in variables)
    epoch, seconds, arrays = _read(path, what, most + _MOST_EACH * len(variables))
    wanted = {f"{number:04d}": tuple(v.shape) for number, v in enumerate(variables)}
    numbers = all(array.dtype.kind in "fiu" for array in arrays.values())
    if not numbers or {name: array.shape for name, array in arrays.items()} != wanted:
        raise InputError(f"{path}: expected {what}, received another's")
    for variable, name in zip(variables, wanted, strict=True):
        variable.assign(arrays[name])
    return epoch, seconds


def _read(
    path: Path, what: str, most: int, *names: str
) -> tuple[int, float, dict[str, NDArray[Any]]]:
    """Read epoch, seconds and arrays of a checkpoint, as `read_arrays` does."""
    try:
        arrays = read_arrays(path, most + 2 * _MOST_EACH, *names)
        epoch, seconds = (arrays.pop(name) for name in _DONE)
        if epoch.shape or epoch.dtype.kind not in "iu" or not 1 <= epoch <= MOST:
            raise ValueError(f"epoch {epoch}")
        if not 0 <= float(seconds) < math.inf:
            raise ValueError(f"{seconds} seconds")
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise InputError(f"{path}: expected {what}, cannot read it: {first_line(error)}") from error
    return int(epoch), float(seconds), arrays

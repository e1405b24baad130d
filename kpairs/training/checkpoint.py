"""The state of a training after each epoch, from which it goes on exactly."""

import math
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError, first_line
from kpairs.files import atomic_path
from kpairs.models.pair import variables_of
from kpairs.recipes.recipe import MOST
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

    Attributes:
        further: variables beside the model's and the optimizer's.
        seconds: what the epochs so far have taken, in all processes that worked on them.
    """

    def __init__(self, folder: Path, keep: bool = False) -> None:
        super().__init__()
        self.path, self.keep, self.seconds = folder / NAME, keep, 0.0
        self.further: tuple[keras.Variable, ...] = ()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._since = time.perf_counter()

    @property
    def epochs(self) -> int:
        """Number of epochs that the file's training has done; 0 without a file."""
        if not self.path.exists():
            return 0
        with _opened(self.path) as file:
            return file.epoch

    def restore(self, model: keras.Model) -> int:
        """Put the file's state, if there is one, into a built model; return the epochs done."""
        if not self.path.exists():
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

    Returns the number of epochs done and the seconds that they took. Raises InputError for no
    checkpoint of this model.
    """
    variables = _variables(model, further)
    with _opened(path) as file:
        wanted = [f"{number:04d}" for number in range(len(variables))]
        if file.names != {*wanted, "epoch", "seconds"}:
            raise InputError(f"{path}: expected the checkpoint of {model.name}, received another's")
        for name, variable in zip(wanted, variables, strict=True):
            file.check(name, tuple(variable.shape), model.name)
        arrays = [file.read(name) for name in wanted]
        epoch, seconds = file.epoch, file.seconds
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return epoch, seconds


@contextmanager
def _opened(path: Path) -> Iterator["_Arrays"]:
    """Read a checkpoint's arrays by name; whatever is wrong with it becomes an `InputError`."""
    try:
        if not path.is_file():
            raise ValueError("no regular file")
        with zipfile.ZipFile(path) as archive:
            yield _Arrays(archive, path)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise InputError(
            f"{path}: expected a checkpoint, cannot read it: {first_line(error)}"
        ) from error


class _Arrays:
    """The arrays of an .npz file, of each of which the header is looked at before it is read.

    A small file can be unpacked, or say of itself that it is unpacked, to any size.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive, self.path = archive, path
        self.names = {name.removesuffix(".npy") for name in archive.namelist()}

    def check(self, name: str, shape: tuple[int, ...], of: str) -> None:
        """Refuse an array that is not of numbers and of this shape."""
        with self.archive.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            if version != (1, 0):
                raise ValueError(f"{name} is of format {version}")
            found, _, dtype = np.lib.format.read_array_header_1_0(member)
        if found != shape or dtype.kind not in "fiu" or dtype.itemsize > 8:
            raise InputError(
                f"{self.path}: expected the checkpoint of {of}, received another's: {name} is "
                f"{dtype} of shape {found}, not numbers of shape {shape}"
            )

    def read(self, name: str) -> NDArray[Any]:
        """Return an array that was checked."""
        with self.archive.open(f"{name}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    @property
    def epoch(self) -> int:
        """Number of epochs that are done."""
        self.check("epoch", (), "a training")
        epoch = self.read("epoch")
        if epoch.dtype.kind not in "iu" or not 1 <= epoch <= MOST:
            raise ValueError(f"epoch {epoch}")
        return int(epoch)

    @property
    def seconds(self) -> float:
        """Seconds that they took."""
        self.check("seconds", (), "a training")
        seconds = float(self.read("seconds"))
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{seconds} seconds")
        return seconds


def _variables(model: keras.Model, further: Iterable[keras.Variable]) -> list[keras.Variable]:
    return [*variables_of(model), *model.optimizer.variables, *further]

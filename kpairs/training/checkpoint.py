"""The state of a training after each epoch, from which it goes on exactly."""

import time

import keras
import numpy as np

from kpairs.errors import InputError, first_line
from kpairs.files import atomic_path

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

    def __init__(self, folder, keep=False, further=()):
        super().__init__()
        self.path, self.keep, self.seconds = folder / NAME, keep, 0.0
        self.further = tuple(further)

    def on_train_begin(self, logs=None):
        self._since = time.perf_counter()

    def restore(self, model):
        """Put the file's state, if there is one, into a built model; the epochs that it has done.

        Raises:
            InputError: not a checkpoint of this model.
        """
        if not self.path.is_file():
            return 0
        epoch, self.seconds = load(self.path, model, self.further)
        return epoch

    def on_epoch_end(self, epoch, logs=None):
        values = map(keras.ops.convert_to_numpy, _variables(self.model, self.further))
        arrays = {f"{number:04d}": value for number, value in enumerate(values)}
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
        kept = [self.path.with_stem(f"checkpoint-{epoch + 1:03d}")] if self.keep else []
        for path in (*kept, self.path):
            with atomic_path(path) as temporary:
                np.savez(temporary, epoch=epoch + 1, seconds=self.seconds, **arrays)


def load(path, model, further=()):
    """Read a checkpoint into a built and compiled model, and into further variables.

    Returns:
        The number of epochs done and the seconds that they took.

    Raises:
        InputError: not a checkpoint, or not one of this model.
    """
    variables = _variables(model, further)
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = [file[f"{i:04d}"] for i in range(len(file.files) - 2)]
            epoch, seconds = int(file["epoch"]), float(file["seconds"])
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise InputError(
            f"{path}: expected a checkpoint, cannot read it: {first_line(error)}"
        ) from error
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise InputError(f"{path}: expected the checkpoint of {model.name}, received another's")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return epoch, seconds


def _variables(model, further):
    return [*model.variables, *model.optimizer.variables, *further]

"""Ctrl-C that always stops a training."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import keras

Logs = Mapping[str, float]  # what Keras tells callbacks: losses and metrics by name


class InMainThread(keras.callbacks.Callback):
    """Keeps Keras from calling callbacks in threads of their own, in `fit`, `evaluate`, `predict`.

    Keras does that where no callback looks at batches. A Ctrl-C while Python starts such a thread
    leaves one that is never told to end, and the program waits for it for good.
    """

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Do nothing, which is not Keras' default."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Do nothing, which is not Keras' default."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Do nothing, which is not Keras' default."""


class Interruption(keras.callbacks.Callback):
    """Raises `KeyboardInterrupt` at the next step once `requested` is true.

    Python drops an exception that is raised inside a destructor or a weak reference's callback, of
    which building and training a model runs many, and with it a Ctrl-C that came just then. The
    signal is therefore noted as well, and looked at after every step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested = False

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.check()

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if Ctrl-C was pressed."""
        if self.requested:
            raise KeyboardInterrupt

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Run a block during which Ctrl-C is noted; it raises `KeyboardInterrupt` as before.

        Does nothing where Ctrl-C is ignored or handled already, or outside the main thread.
        """
        default = signal.default_int_handler
        if signal.getsignal(signal.SIGINT) is not default:
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            self.requested = True
            default(number, frame)

        try:
            signal.signal(signal.SIGINT, note)
        except ValueError:  # only the main thread may
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, default)

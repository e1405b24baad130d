"""Ctrl-C that always stops a training."""

import signal
from contextlib import contextmanager

import keras


class Interruption(keras.callbacks.Callback):
    """Raises `KeyboardInterrupt` at the next step once `requested` is true.

    Python drops an exception that is raised inside a destructor or a weak reference's callback, of
    which building and training a model runs many, and with it a Ctrl-C that came just then. The
    signal is therefore noted as well, and looked at after every step.
    """

    def __init__(self):
        super().__init__()
        self.requested = False

    def on_train_batch_end(self, batch, logs=None):
        self.check()

    def check(self):
        """Raise `KeyboardInterrupt` if Ctrl-C was pressed."""
        if self.requested:
            raise KeyboardInterrupt

    @contextmanager
    def noted(self):
        """Run a block during which Ctrl-C is noted; it raises `KeyboardInterrupt` as before.

        Does nothing where Ctrl-C is ignored or handled already, or outside the main thread.
        """
        default = signal.default_int_handler
        if signal.getsignal(signal.SIGINT) is not default:
            yield
            return

        def note(number, frame):
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

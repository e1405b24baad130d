"""Work in other processes: the page's own never computes, so that it never waits."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import IO, Any, cast

from kpairs.errors import KpairsError, WorkerError, first_line

Progress = Callable[[int, int], None]
# More threads of the linear algebra fight over the cores with the page, and lose: 300 images then
# take ten times as long.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Background:
    """A process that calls one function after another. It ends when this one does, killed or not.

    Functions stand in modules; they, their arguments and results are pickled. A function that
    takes `progress` gets one here.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._starting, self._calling, self._closed = Lock(), Lock(), False

    def call(
        self, function: Callable[..., Any], *arguments: Any, progress: Progress | None = None
    ) -> Any:
        """Return what a function returns in the other process; `progress` hears what it reports.

        Raises WorkerError where the function raised an error, or its process ended.
        """
        with self._calling:
            told, answers = self._started()
            try:
                pickle.dump((function, arguments, progress is not None), told)
                told.flush()
                while True:
                    kind, value = pickle.load(answers)
                    if kind == "result":
                        return value
                    if kind == "error":
                        raise WorkerError(value)
                    if progress is not None:
                        progress(*value)
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                self._end()
                text = "a background process ended before its work; is there enough memory?"
                raise WorkerError(text) from error

    def close(self) -> None:
        """End the process, whatever it is doing; a call that waits for it raises `WorkerError`."""
        with self._starting:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        with self._calling:
            self._end()

    def _started(self) -> tuple[IO[bytes], IO[bytes]]:
        with self._starting:
            if self._closed:
                raise WorkerError("the background process was ended")
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, **_ONE_THREAD},
                    start_new_session=True,  # Ctrl-C is for the page's process alone
                )
            return cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):  # what was not yet sent
                    cast("IO[bytes]", pipe).close()
            self._process = None


def _serve() -> None:
    """Answer what comes on standard input, until the page's process ends and this input with it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between answers
    os.nice(10)

    def answer(kind: str, value: object) -> None:
        pickle.dump((kind, value), answers)
        answers.flush()

    while True:
        try:
            function, arguments, reports = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            keywords = {"progress": lambda *done: answer("progress", done)} if reports else {}
            answer("result", function(*arguments, **keywords))
        except BrokenPipeError:
            return
        except KpairsError as error:
            answer("error", str(error))
        except Exception as error:
            answer("error", f"{type(error).__name__}: {first_line(error)}")


if __name__ == "__main__":
    _serve()

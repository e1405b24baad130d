"""Trainings as they end, on the terminal."""

from collections.abc import Generator
from contextlib import closing

from kpairs.cli.tables import console
from kpairs.errors import WorkerError
from kpairs.training.progress import TrainingsProgress


def follow(
    names: Generator[str, None, None],
    total: int,
    out: str,
    *,
    done: int = 0,
    unit: str = "trainings",
) -> None:
    """Show trainings as they end: a bar on a terminal, a line for each elsewhere.

    Args:
        names: a generator that trains, and yields the name of each training that ended.
        total: how many there are in all.
        out: the folder that they are saved in.
        done: how many were finished before.
        unit: what they are called.

    Raises:
        KeyboardInterrupt: interrupted; its message says what is saved.
        WorkerError: a worker process ended; so does this message.
    """
    with TrainingsProgress(console(stderr=True), total, done=done, unit=unit) as progress:
        try:
            with closing(names):
                for name in names:
                    progress.finished(name)
        except (KeyboardInterrupt, WorkerError) as error:
            reason = str(error) or "interrupted"
            raise type(error)(
                f"{reason}; {progress.done} of {total} {unit} are finished, saved "
                f"in {out}; the same command goes on"
            ) from error

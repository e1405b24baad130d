"""Trainings as they end, and what is measured, on the terminal."""

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

from rich.progress import BarColumn, Progress, TextColumn

from kpairs.cli.options import console
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

    `names` is a generator that trains, and yields the name of each training that ended; `done` of
    `total` were finished before. An interrupt or a worker that ended says what is saved in `out`.
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


@contextmanager
def measuring() -> Generator[Callable[[str, int, int], None], None, None]:
    """Show a bar over what is being measured, and where there is no terminal a line for each.

    It yields a function of what is measured, and how much of how much of it is done.
    """
    screen = console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %")
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task, said = bar.add_task(""), set[str]()

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"measuring {what}", completed=done, total=total)
            if not screen.is_terminal and what not in said:
                said.add(what)
                screen.print(f"measuring {what}", highlight=False, soft_wrap=True)

        yield progress

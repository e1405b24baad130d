"""Bars on the terminal over what is counted: images, bytes, steps. Neither keras nor torch."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


def bar(console: Console, last: str) -> Progress:
    """Show a bar that disappears at its end: what is done, the time left, and `last`."""
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=8),
        TimeRemainingColumn(compact=True, table_column=Column(min_width=5, no_wrap=True)),
        TextColumn(last),
        console=console,
        transient=True,
    )


@contextmanager
def counting(
    console: Console, what: str, last: str = "{task.completed:,}/{task.total:,}"
) -> Generator[Callable[[int, int], None], None, None]:
    """Show a bar from the first report on; nothing where there is no terminal.

    It yields a function of how many of how many are done; `last` shows that, as rich's `TextColumn`
    takes it.
    """
    shown = bar(console, last)
    task = shown.add_task(what)

    def progress(done: int, total: int) -> None:
        if console.is_terminal and done < total and not shown.live.is_started:
            shown.start()
        shown.update(task, completed=done, total=total)
        if done == total:
            stop()

    def stop() -> None:
        if shown.live.is_started:  # else rich would print an empty line
            shown.stop()

    try:
        yield progress
    finally:
        stop()


@contextmanager
def reading(console: Console) -> Generator[Callable[[int, int], None], None, None]:
    """Count the bytes of a long file of pairs, as `counting` does."""
    with counting(console, "reading pairs", "{task.percentage:.0f} %") as read:
        yield read


@contextmanager
def preparing(console: Console) -> Generator[Callable[[int, int], None], None, None]:
    """Count prepared images, as `counting` does, and print a line at the end."""
    with counting(console, "images") as count:

        def prepared(done: int, total: int) -> None:
            count(done, total)
            if done == total:
                console.print(f"prepared {total:,} images", highlight=False, soft_wrap=True)

        yield prepared

"""The errors that a user can cause, each with the exit code of the command line."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class KpairsError(ValueError):
    """Something failed for a reason that the message explains. Exit code 1.

    The message is one line, whatever texts of files it quotes.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(" ".join(str(message).splitlines())))


class DivergedError(KpairsError):
    """A training whose loss became NaN or infinite. Exit code 1."""


class WorkerError(KpairsError):
    """A worker process that ended before its task did. Exit code 1."""


class CacheError(KpairsError):
    """A cache folder that cannot be written. Exit code 1."""


class UsageError(KpairsError):
    """A name, number or combination of options that kpairs does not know. Exit code 2."""

    exit_code = 2


class ParityError(KpairsError):
    """An exported model disagrees with the model it was made from. Exit code 3."""

    exit_code = 3


class InputError(KpairsError):
    """A file or array that is missing, corrupt or of the wrong shape. Exit code 4."""

    exit_code = 4


def unknown(kind: str, received: object, known: Iterable[str]) -> UsageError:
    """Make the `UsageError` for a name that is not among `known`, with the nearest valid names."""
    known = sorted(known)
    near = get_close_matches(str(received).lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}"
    return UsageError(f"unknown {kind} {received!r}: {hint}")


def missing(path: str | Path) -> InputError:
    """Make the `InputError` for a path at which there is nothing, or a file for a folder."""
    if Path(path).exists():
        return InputError(f"{path}: expected a folder, received a file")
    return InputError(f"{path}: no such file or folder")


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, and the next one if it ends in a colon.

    Where there is no message, its kind.
    """
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    lines = lines or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])


@contextmanager
def raised_as(
    kind: type[KpairsError],
    text: str,
    rest: str = "",
    kinds: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> Iterator[None]:
    """Turn what a library raises into an error of ours: text, reason, rest. Ours pass."""
    try:
        yield
    except KpairsError:
        raise
    except kinds as error:
        raise kind(f"{text}: {first_line(error)}{rest}") from error


def printable(text: str) -> str:
    """Return text for a terminal: what could move its cursor is written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

"""Commands of kpairs in processes of their own, each struck by a fault at a chosen moment.

The processes are forked from one that has imported everything: what fails while Keras is imported
has nothing to lose yet, and importing it takes longer than all the rest.
"""

import atexit
import functools
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

LONGEST_S = 600  # of a command; after that it hangs

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *(
            "kpairs.cli.tables",
            "kpairs.exports.writing.formats",
            "kpairs.exports.writing.parity",
            "onnx",
        ),
        *("kpairs.training.train", "kpairs.studies.pages", "kpairs.studies.search"),
    ]
)
_CHANGES = ("os.remove", "os.rename", "os.chmod", "os.mkdir", "os.truncate")


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        code: exit code; negative is a signal.
        error: what it wrote on standard error.
        changes: how many times it was about to change a file.
        writes: how many of these opened a file to write to it.
        seconds: how long it took.
    """

    code: int
    error: str
    changes: int
    writes: int
    seconds: float

    @property
    def last(self):
        """The last line of the error."""
        return (self.error.splitlines() or [""])[-1]


def command(*arguments, strike=None, at_change=0, at_write=0, after=LONGEST_S):
    """Run a command.

    Args:
        arguments: as on the command line.
        strike: a function of no arguments, called in its process at the moment that the next two
            say: `kill` or a `partial` of `fill_disk`.
        at_change: the change of a file, counted from 1, before which it strikes.
        at_write: the opening of a file to write, counted from 1.
        after: seconds until its process and all that it started are killed.

    Returns:
        How it ended, as `Done`.
    """
    counts = _FORKS.Array("i", 2, lock=False)
    reader, writer = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(
        target=_run, args=([*map(str, arguments)], writer, counts, strike, at_change, at_write)
    )
    started = time.perf_counter()
    process.start()
    writer.close()
    timer = threading.Timer(after, _kill_group, [process])
    timer.start()
    try:
        error = _read_all(reader)
        process.join()
    finally:
        timer.cancel()
    return Done(process.exitcode, error, *counts, time.perf_counter() - started)


def call(function, *arguments):
    """What a function returns in a process of its own; a text where it crashed instead."""
    reader, writer = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_answer, args=(writer, function, arguments))
    process.start()
    writer.close()
    try:
        return reader.recv()
    except EOFError:
        process.join()
        return f"the process ended with {process.exitcode}"


def kill():
    """End this process and all that it started, at once."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def fill_disk(limit):
    """Let no file grow past so many bytes from now on; Python ignores the signal that says so."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@contextmanager
def full_disk(limit=0):
    """Let no file grow past so many bytes during a block."""
    fill_disk(limit)
    try:
        yield
    finally:
        fill_disk(resource.RLIM_INFINITY)


def _run(arguments, writer, counts, strike, at_change, at_write):
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(writer.fileno(), 2)
    writer.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)

    def watch(event, facts):
        opened = event == "open" and isinstance(facts[2], int) and facts[2] & os.O_ACCMODE
        if opened and not str(facts[0]).startswith(("/dev/", "/proc/")):
            counts[1] += 1
        elif event not in _CHANGES:
            return
        counts[0] += 1
        if strike and (counts[0] == at_change or (opened and counts[1] == at_write)):
            strike()

    sys.addaudithook(watch)
    from kpairs.cli import main

    try:
        main(arguments, prog_name="kpairs")
    finally:
        threading._shutdown()  # as a process ends that is not forked: joblib's workers end too
        atexit._run_exitfuncs()


def _answer(writer, function, arguments):
    logging.disable()  # of curves that are left out, and the like
    writer.send(function(*arguments))


def _read_all(reader):
    with reader:
        blocks = iter(functools.partial(os.read, reader.fileno(), 2**16), b"")
        return b"".join(blocks).decode(errors="replace")


def _kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not made its group yet, or is gone
        process.kill()

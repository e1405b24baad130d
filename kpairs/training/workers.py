"""The one pool of worker processes: on this machine's cores, or on a dask cluster's.

Where that is safe, the processes of this machine are forked and have imported all that this process
has. Elsewhere joblib starts them and keeps them warm, so that Keras is imported once in each. A
worker leaves Ctrl-C to the process that started it, ends with that process, and hands over what it
logged.
"""

import gc
import logging
import logging.handlers
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import islice
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from pickle import PicklingError
from typing import Any, TypeVar

from joblib import Parallel, delayed

from kpairs.errors import KpairsError, UsageError, WorkerError, first_line

Result = TypeVar("Result")
Told = tuple[Result, list[logging.LogRecord]]
Call = Callable[[], Told[Result]]

# What joblib's tracker says of semaphores that a killed worker left, when it has cleared them.
_CLEARED = "ignore:resource_tracker:UserWarning"
log = logging.getLogger("kpairs.training")  # of all that trainings say


def run_tasks(
    function: Callable[..., Result],
    tasks: Iterable[tuple[Any, ...]],
    *,
    processes: int = 1,
    scheduler: str | None = None,
    fork: bool = True,
) -> Generator[Result, None, None]:
    """Call a function for each task, in this process or in others.

    Use it under `contextlib.closing`, so that an exception ends what is still running at once.
    What the function logs to `log` is logged here, each text once however many tasks say it.

    Args:
        function: what to call. For other processes it stands in a module.
        tasks: its arguments; each is asked for when somebody is free to work on it.
        processes: how many work side by side on this machine; 1 is this process alone.
        scheduler: address of a dask scheduler, `tcp://host:port`, whose workers work instead.
        fork: fork the processes where possible, before the first task is asked for; False for
            tasks of several threads and for a user's own objects, which may hang in such a process.

    Yields:
        What the function returns, in the order of finishing.

    Raises:
        WorkerError: a worker process, or the scheduler, ended before its task did.
        KpairsError: dask is not installed, or no scheduler answers.
    """
    with _each_text_once():
        if processes == 1 and scheduler is None:
            for number, task in enumerate(tasks):
                if number:
                    gc.collect()  # a Keras model holds itself, and hundreds would fill the memory
                yield function(*task)
            return
        if scheduler is None:
            told = _on_this_machine(function, tasks, processes, fork and _may_fork())
        else:
            told = _on_cluster(function, tasks, scheduler)
        for result, records in told:
            for record in records:
                log.handle(record)
            yield result


def _on_this_machine(
    function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], processes: int, fork: bool
) -> Iterator[Told[Result]]:
    calls = (partial(_work, function, task, os.getpid()) for task in tasks)
    try:
        yield from _in_forks(calls, processes) if fork else _in_new_processes(calls, processes)
    except BrokenProcessPool as error:
        raise WorkerError("a worker process ended, perhaps for want of memory") from error
    except PicklingError as error:
        raise UsageError(
            f"jobs: something of this training cannot be handed to another process "
            f"({first_line(error)}); train with jobs=1"
        ) from error


def _may_fork() -> bool:
    """Tell whether copies of this process can train: they have neither its threads nor its GPU.

    Another thread of Python may hold a lock at that moment, which no thread of the copy gives back.
    Those of OpenBLAS stop for a fork, and torch's have no work where it computes on one.
    """
    torch = sys.modules.get("torch")
    return (
        sys.platform == "linux"
        and threading.active_count() == 1
        and {"jax", "tensorflow"}.isdisjoint(sys.modules)
        and not (torch and torch.accelerator.is_available())
    )


def _in_forks(calls: Iterator[Call[Result]], processes: int) -> Iterator[Told[Result]]:
    others, workers = {*active_children()}, set[BaseProcess]()
    running, results = set[Future[Told[Result]]](), list[Told[Result]]()
    pool = ProcessPoolExecutor(processes, get_context("fork"), _join, (os.getpid(),))
    try:
        # Python warns of threads; a Ctrl-C waits until the workers ignore it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                pool.submit(int)  # starts all processes
            finally:
                workers = {*active_children()} - others
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        while True:
            free = islice(calls, processes - len(running))
            running |= {pool.submit(call) for call in free}
            yield from results
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            results = [future.result() for future in done]
    finally:
        for worker in workers:
            worker.kill()
        pool.shutdown()


def _in_new_processes(calls: Iterator[Call[Result]], processes: int) -> Iterator[Told[Result]]:
    if _CLEARED not in sys.warnoptions:  # which joblib hands to the process that clears
        sys.warnoptions.append(_CLEARED)
    workers = Parallel(
        n_jobs=processes,
        return_as="generator_unordered",
        pre_dispatch=processes,
        batch_size=1,
        max_nbytes=None,  # arrays go through the pipe: no files in shared memory to clean up
    )
    yield from workers(delayed(call)() for call in calls)


def _on_cluster(
    function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], scheduler: str
) -> Iterator[Told[Result]]:
    try:
        from distributed import Client, KilledWorker, as_completed
        from distributed.comm.core import CommClosedError
    except ImportError as error:
        raise KpairsError("a cluster needs dask: pip install 'kpairs[cluster]'") from error
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise KpairsError(f"no dask scheduler answers at {scheduler}: {error}") from error
    waiting, running = iter(tasks), as_completed()

    def submit() -> None:
        """Keep two tasks for each thread of a cluster that may grow: the next one is there."""
        wanted = 2 * max(1, sum(client.nthreads().values())) - running.count()
        for task in islice(waiting, max(0, wanted)):
            with warnings.catch_warnings():  # images and networks are more than its 10 MB
                warnings.filterwarnings("ignore", "Sending large graph")
                running.add(client.submit(_work, function, task, None, pure=False))

    # Its own tracebacks of a lost connection, which is said below in one line.
    dask_log = logging.getLogger("distributed")
    level = dask_log.level
    with client:
        try:
            dask_log.setLevel(logging.CRITICAL)
            submit()
            for future in running:
                yield future.result()
                submit()
        except KilledWorker as error:
            raise WorkerError(f"one worker after the other ended: {error}") from error
        except (CommClosedError, CancelledError) as error:
            raise WorkerError(
                f"the dask scheduler at {scheduler} went away; what was finished is saved, and the "
                "same command goes on once a scheduler is back"
            ) from error
        finally:
            dask_log.setLevel(level)


def _work(
    function: Callable[..., Result], task: tuple[Any, ...], parent: int | None
) -> Told[Result]:
    """Do one task in a worker; None for `parent` where something else looks after the process."""
    if parent not in (None, os.getpid()):  # joblib may have found that it can start no process
        _join(parent)
    recorder = _Recorder()
    log.addHandler(recorder)
    try:
        return function(*task), recorder.records
    finally:
        log.removeHandler(recorder)
        gc.collect()  # as in this process alone


@cache
def _join(parent: int) -> None:
    """Make this process a worker of another one; once per process."""
    # Ctrl-C reaches every process of a terminal; it is left to the one that was started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A forked process has its parent's handlers, and would wait for threads that it lacks.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log.handlers.clear()
    log.propagate = False
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    # torch.fx uses tqdm where it is installed; tqdm's own lock is a semaphore, which outlives a
    # killed process.
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


class _Recorder(logging.handlers.QueueHandler):
    """Keeps what is logged, made fit to be sent to another process."""

    def __init__(self) -> None:
        super().__init__(queue.SimpleQueue())
        self.records: list[logging.LogRecord] = []

    def enqueue(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _each_text_once() -> Iterator[None]:
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in said
        said.add(text)
        return new

    log.addFilter(is_new)
    try:
        yield
    finally:
        log.removeFilter(is_new)

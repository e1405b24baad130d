"""The pool of workers: what it gives back, and that nothing of it is left, however it ends."""

import os
import signal
import subprocess
import sys
import time
import weakref
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kpairs.networks import build
from kpairs.training import workers
from kpairs.training.workers import run_tasks

SCRIPT = Path(__file__).parents[1] / "pool_script.py"
# Forked processes inherit the limit, and traces of torch's threads, but not the threads.
FORKS = """
import sys, threading, time, torch
from contextlib import closing
from kpairs.training.workers import run_tasks

def step():
    image = torch.ones(8, 3, 64, 64, requires_grad=True)
    torch.nn.functional.conv2d(image, torch.ones(9, 3, 5, 5)).square().sum().backward()
    return sys.getrecursionlimit()

def limits(function):
    with closing(run_tasks(function, [()] * 2, processes=2)) as found:
        return {*found}

sys.setrecursionlimit(4321)
torch.set_num_threads(2)
step()
forked = limits(step) == {4321}
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print(forked, 4321 in limits(sys.getrecursionlimit))
"""


@contextmanager
def pool(seconds):
    """Tasks of so many seconds in a process group of their own, and its two workers' ids."""
    command = [sys.executable, SCRIPT, str(seconds)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            yield process, [int(process.stdout.readline()) for _ in range(2)]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_the_end_of(group):
    """Wait until no process of a group is left."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("processes are left")


def test_results_and_messages_come_back():
    with pool(0) as (process, _):
        out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert out.splitlines()[-1] == "[0, 1, 2, 3]"
    said = ["every task says this", *(f"task {n}" for n in range(4))]
    assert sorted(errors.splitlines()) == said
    wait_for_the_end_of(process.pid)


def _press_ctrl_c(process, workers):
    os.killpg(process.pid, signal.SIGINT)


def _kill_a_worker(process, workers):
    os.kill(workers[0], signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (_press_ctrl_c, "KeyboardInterrupt"),
        (_kill_a_worker, "WorkerError: a worker process ended, perhaps for want of memory"),
    ],
)
def test_nothing_is_left_of_a_pool_that_ends_early(end, message):
    with pool(60) as (process, workers):
        end(process, workers)
        _, errors = process.communicate(timeout=30)  # long before the tasks would end
        wait_for_the_end_of(process.pid)
    assert errors.splitlines()[-1].endswith(message)
    assert "resource_tracker" not in errors


def test_workers_end_with_their_parent():
    with pool(60) as (process, _):
        process.kill()
        process.wait()
        wait_for_the_end_of(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_a_process_is_forked_unless_it_has_threads_of_python():
    command, alone = [sys.executable, "-c", FORKS], {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=alone)
    assert done.stdout == "True False\n", done.stderr


def _weak_model(models):
    model = build("ws")
    model.compile("adam", dict.fromkeys(model.output, "sparse_categorical_crossentropy"))
    models.append(weakref.ref(model))


def test_models_of_tasks_before_leave_the_memory():
    models = []
    with closing(run_tasks(_weak_model, [(models,)] * 3)) as tasks:
        for _ in tasks:
            assert [model() for model in models[:-1]] == [None] * (len(models) - 1)
    assert len(models) == 3


def test_ctrl_c_works_on_where_no_process_can_be_forked(monkeypatch):
    def full(*_):
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(ProcessPoolExecutor, "submit", full)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with pytest.raises(BlockingIOError):
            next(workers._in_forks(iter(()), 1))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

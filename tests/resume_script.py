"""A training that is killed at random moments, and resumed: does it end as one that never was?"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

RECIPE = [
    *("--arch", "auxws", "--pairs", "200", "--test-pairs", "100", "--no-augment"),
    *("--epochs", "6", "--batch-size", "30", "--rounds", "2", "--device", "cpu"),
]


def kpairs(*arguments):
    """A `kpairs` process of its own group, so that its workers are killed with it."""
    return subprocess.Popen(
        [sys.executable, "-m", "kpairs.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def digest(run):
    """SHA-256 of all rounds' weights, optimizer states and histories."""
    import numpy as np

    total = hashlib.sha256()
    for folder in sorted(run.glob("round-*")):
        total.update((folder / "history.csv").read_bytes())
        with np.load(folder / "checkpoint.npz") as file:
            for name in sorted(set(file.files) - {"seconds"}):
                total.update(file[name].tobytes())
    return total.hexdigest()


def chain(run, kills, seconds, rng, extra=()):
    """Train with some SIGKILLs at random moments; how many came before the end."""
    arguments = ["train", *RECIPE, "--out", str(run), *extra]
    landed = 0
    for _ in range(kills):
        with kpairs(*arguments) as process:
            time.sleep(rng.uniform(0.2, 1.0) * seconds)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                landed += 1
        if (run / "recipe.json").exists():
            arguments = ["train", "--resume", str(run), *extra]
        else:  # killed before there was a run
            shutil.rmtree(run, ignore_errors=True)
    with kpairs(*arguments) as process:
        _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"resume failed with {process.returncode}: {errors}")
    return landed

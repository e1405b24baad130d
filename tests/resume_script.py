"""A training that is killed at random moments: does it end as one that never was?

python tests/resume_script.py [chains] [kills per chain]

Each chain trains a small recipe in processes that get SIGKILL at random moments, resumes, and
compares the SHA-256 of weights and history with those of an uninterrupted run.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main(chains=20, kills=3):
    """Run the chains; the number that ended differently."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        started = time.perf_counter()
        chain(folder / "whole", 0, 0, rng)
        seconds = time.perf_counter() - started
        expected, differing = digest(folder / "whole"), 0
        for number in range(chains):
            run = folder / f"chain-{number}"
            landed = chain(run, kills, seconds, rng, ("--jobs", "2") if number % 2 else ())
            same = digest(run) == expected
            differing += not same
            print(
                f"chain {number + 1}: {landed} kills, {'equal' if same else 'DIFFERENT'}",
                flush=True,
            )
            shutil.rmtree(run)
    print(f"{chains - differing} of {chains} chains equal")
    return differing


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))

"""`kpairs export` on a run that another backend may have trained."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_export_takes_torch_whatever_the_backend(run):
    """Of a run's backend nothing remains but its weights; jax need not be installed."""
    command = [sys.executable, "-m", "kpairs.cli", "export", "--json", "--torchscript", run]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all("no better than chance" in line for line in done.stderr.splitlines())
    (export,) = json.loads(done.stdout)["exports"]
    assert export["parity"]["batches"] == [1, 2, 7, 30]
    assert (run / "auxws.pt").stat().st_size == export["bytes"]

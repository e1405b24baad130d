"""The same networks on jax and tensorflow: `make test-backends` installs and runs these."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from backend_script import features, judged_values, outputs_and_losses, write_stripes

from kpairs.exports.writing.export import export
from kpairs.models.initialization import initialize
from kpairs.networks import ARCHS, build
from kpairs.training.evaluate import evaluate
from kpairs.training.run import Run

pytestmark = pytest.mark.backends


@pytest.fixture(scope="module")
def torchs(tmp_path_factory):
    """Weights of every architecture and torch's outputs from them."""
    assert keras.backend.backend() == "torch"
    folder, rng = tmp_path_factory.mktemp("weights"), np.random.default_rng(3)
    inputs = {side: rng.random((5, 14, 14, 1), dtype=np.float32) for side in ("left", "right")}
    np.savez(folder / "inputs.npz", **inputs)
    (folder / "images").mkdir()
    write_stripes(folder / "images")
    outputs = {**judged_values(), **features()}
    for name in ARCHS:
        model = build(name, rescaling=(2.0, -0.5))
        initialize(model, "torch", rng)
        model.save_weights(folder / f"{name}.weights.h5")
        outputs |= outputs_and_losses(name, model, inputs)
    return folder, outputs


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_outputs_and_trainings(backend, torchs, tmp_path):
    if find_spec(backend) is None:
        pytest.fail(f"{backend} is not installed; 'make test-backends' installs it")
    weights, expected = torchs
    script = Path(__file__).parents[1] / "backend_script.py"
    arguments = [weights, tmp_path / "outputs.npz", tmp_path / "runs"]
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    received = np.load(tmp_path / "outputs.npz")
    assert set(received) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(received[key], value, atol=1e-4, rtol=0, err_msg=key)
    runs = sorted(os.listdir(tmp_path / "runs"))
    for name in runs:
        run = Run.open(tmp_path / "runs" / name)
        environment = json.loads((run.path / "environment.json").read_text())
        assert environment["backend"] == backend
        # A model trained there gives the same answers on torch here.
        assert evaluate(run)[0]["test"] == run.metrics["rounds"][0]["test"], name
    for name in ("auxws", *(name for name in runs if name.startswith("head-"))):
        (made,) = export(Run.open(tmp_path / "runs" / name))
        assert made.description["training"]["backend"] == backend


def test_keras_first_runs_on_tensorflow_and_kpairs_says_so(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", "import keras, kpairs; print(keras.backend.backend())"],
        env={**environment, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "tensorflow\n", done.stderr[-3000:]
    assert "Keras was imported before kpairs and runs on tensorflow" in done.stderr

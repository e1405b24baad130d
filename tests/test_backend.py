"""Keras' backend by the order of imports, each in a fresh process."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from kpairs.backend import choose_backend


def run(script, **settings):
    names = ("KERAS_BACKEND", "KERAS_HOME")
    environment = {k: v for k, v in os.environ.items() if k not in names} | settings
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
    )


SAID = "import os, sys, kpairs; print('keras' in sys.modules, os.environ['KERAS_BACKEND'])"


@pytest.mark.parametrize(
    ("configured", "settings", "backend"),
    [
        (None, {}, "torch"),
        (None, {"KERAS_BACKEND": ""}, "torch"),
        (None, {"KERAS_BACKEND": "jax"}, "jax"),
        ({"backend": "tensorflow"}, {}, "torch"),  # Keras writes that itself
        ({"backend": "jax"}, {}, "jax"),
        ({"backend": "jax"}, {"KERAS_BACKEND": "torch"}, "torch"),
        ([1], {}, "torch"),
    ],
)
def test_the_backend_is_the_users_choice_or_torch(configured, settings, backend, tmp_path):
    if configured is not None:
        (tmp_path / "keras.json").write_text(json.dumps(configured))
    done = run(SAID, KERAS_HOME=str(tmp_path), **settings)
    assert (done.stdout, done.stderr) == (f"False {backend}\n", "")


def test_keras_that_failed_without_kpairs_works_after_it(tmp_path):
    """As in a notebook, whose first cell imports Keras, which wants a backend that is not there."""
    script = (
        "try:\n    import keras\nexcept ImportError:\n    pass\n"
        "import kpairs, keras\nprint(keras.backend.backend())\n"
    )
    done = run("import sys; sys.modules['tensorflow'] = None\n" + script, KERAS_HOME=str(tmp_path))
    assert done.stdout == "torch\n", done.stderr


@pytest.mark.parametrize("chosen", ["", "tensorflow"])
def test_another_backend_is_named_where_nobody_chose_it(chosen, tmp_path, monkeypatch):
    """Of a Keras that runs on tensorflow; tests/models/test_backends.py has a real one."""
    running = SimpleNamespace(config=SimpleNamespace(backend=lambda: "tensorflow"))
    monkeypatch.setitem(sys.modules, "keras", running)
    monkeypatch.setenv("KERAS_BACKEND", chosen)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    said = r"before kpairs and runs on tensorflow.* import kpairs first or set KERAS_BACKEND=torch"
    with nullcontext() if chosen else pytest.warns(UserWarning, match=said):
        choose_backend()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"  # as worker processes will have it

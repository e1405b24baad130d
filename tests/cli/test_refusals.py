"""What the user got wrong: one line, the right exit code, and nothing written."""

import os
import shutil
import subprocess
import sys

import pytest
from command_line import TINY, kpairs

REFUSALS = [
    (["train"], 2, "expected ARCH, --recipe FILE or --data DATA"),
    (["train", "--arch", "auxsw"], 2, "unknown architecture 'auxsw': did you mean auxws"),
    (["train", "damaged"], 2, "damaged is a path; expected an architecture, or --data damaged"),
    (["train", "--recipe", "nope.json"], 2, "unknown recipe"),
    (["train", "--recipe", "text"], 4, "text: expected a recipe in JSON"),
    (["train", "--arch", "ws", "--loss-weights", "0.5,1"], 2, "ws expects 1 (comparison)"),
    (["train", "--arch", "auxws", "--loss-weights", "1"], 2, "auxws expects 2"),
    (
        ["train", "--arch", "auxws", "--epochs", "0"],
        2,
        "epochs: expected at least 1, received 0",
    ),
    (["train", "linear", "--epochs", "5"], 2, "epochs: linear is solved for, not trained in"),
    (["train", "linear", "--learning-rate", "1"], 2, "learning_rate: linear is solved for"),
    (["train", "--arch", "auxws", "--epochs", "many"], 2, "'many' is not a valid integer"),
    (["train", "--arch", "auxws", "--epoch-count", "1"], 2, "unknown option '--epoch-count'"),
    (["train", "--arch", "auxws", "--optimizer-option", "eps=1"], 2, "adam expects beta_1"),
    (["train", "--arch", "auxws", "--optimizer-option", "x"], 2, "expected NAME=VALUE"),
    (["train", "--arch", "auxws", "--optimizer-option", "epsilon=x"], 2, "expected a number"),
    (["train", "--arch", "auxws", "--arch-option", "depth=3"], 2, "takes dropout; received depth"),
    (["train", "--arch", "auxws", "--arch-option", "dropout=x"], 2, "dropout: expected a number"),
    (["train", "--arch", "auxws", "--arch-option", "dropout"], 2, "expected NAME=VALUE"),
    (
        ["train", "--arch", "fc_1", "--activation", "rleu"],
        2,
        "fc_1 cannot be built with activation",
    ),
    (["train", "auxws", "--data", "minst"], 4, "did you mean mnist"),
    (["train", "--arch", "auxws", "--data", "damaged"], 4, "received 156716"),
    (["train", "--arch", "auxws", "--pairs", "30001"], 4, "at most 30000 pairs"),
    (["train", "--arch", "ws", *TINY, "--out", "text"], 1, "text exists already"),
    (["train", "--arch", "ws", *TINY, "--out", "text/run"], 1, "cannot make a run folder"),
    (["train", "--arch", "ws", *TINY, "--learning-rate", "1e30"], 1, "loss became"),
    (["evaluate"], 4, "runs: no finished run here"),
    (["evaluate", "nowhere"], 4, "nowhere: no such file or folder"),
    (["export", "."], 4, "expected a run folder"),
    (["data", "damaged"], 4, "received 156716"),
    (["data", "--sheet", "nowhere/sheet.png"], 1, "No such file or directory"),
    (["data", "kmnist", "--no-fetch", "--data-dir", "empty"], 4, "kmnist is not here"),
    (["data", "--sheet", "sheet"], 2, "ends in .png, .pdf, .svg"),
    (["data", "--sheet", "sheet.txt"], 2, "sheet.txt: expected a picture's name"),
    (["data", ""], 2, "data: expected a name, a folder or a table, received nothing"),
    (["evaluate", ""], 4, "expected a run folder"),
    (["train", "--arch", "ws", "--threads", "99999999999999"], 2, "1<=x<=1024"),
    (["train", "--arch", "ws", *TINY, "--out", ""], 1, "exists already"),
    (
        ["predict", "missing.onnx", "digit.png", "digit.png"],
        4,
        "missing.onnx: cannot read the model",
    ),
    (["predict", "text", "digit.png", "digit.png"], 4, "text: expected an ONNX model"),
    (["archs", "auxsw"], 2, "did you mean auxws"),
    (["archs", "--plot", "x.png"], 2, "--plot expects the NAME"),
    (
        ["train", "--arch", "auxnet2", "--widths", "1,2"],
        2,
        "auxnet2 expects 4 such as 32,32,64,256",
    ),
    (["train", "--arch", "auxnet2", "--widths", "a"], 2, "expected widths such as"),
    (["train", "--arch", "auxws", "--widths", "1,2"], 2, "auxws takes dropout; received widths"),
    (["train", "--arch", "c1l2", "--dropout", "0.1"], 2, "c1l2 takes no arguments"),
    (["train", "--arch", "wsal_d", "--dropout", "0.6"], 2, "expected less than 0.5"),
    (["train", "--arch", "auxnet2", "--widths", "99999999999,1,1,1"], 2, "from 1 to 65536"),
    (["train", "--arch", "auxnet2", "--widths", "65536,65536,65536,65536"], 2, "cannot be built"),
    (["archs", "ws", "--plot", "nowhere/x.png"], 1, "nowhere/x.png"),
    (["trian"], 2, "unknown command 'trian'"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), REFUSALS)
def test_refusals(arguments, code, message, workplace, idx_folder):
    from PIL import Image

    (workplace / "text").write_text("hello\n")
    Image.new("L", (28, 28)).save(workplace / "digit.png")
    images = idx_folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    shutil.move(idx_folder, workplace / "damaged")
    stderr = kpairs(*arguments, expect=code)
    error = next(line for line in stderr.splitlines() if line.startswith("Error: "))
    # One line names the trouble; click folds nothing of it.
    assert message in error
    assert stderr.rstrip().endswith(error)
    if code == 2:
        assert not (workplace / "runs").exists()


def test_an_unwritable_export_keeps_the_run(run):
    before = sorted(os.listdir(run))
    message = kpairs("export", run, "--out", "nowhere/x.onnx", expect=1)
    assert "nowhere" in message
    assert sorted(os.listdir(run)) == before


def test_backends_that_are_not_there(workplace):
    command = [sys.executable, "-m", "kpairs.cli", "archs", "ws", "--json"]
    environment = {**os.environ, "KERAS_BACKEND": "foo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    message = "KERAS_BACKEND: expected one of torch, jax, tensorflow, received 'foo'"
    assert (done.returncode, done.stderr) == (2, f"Error: {message}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"floatx": "bfloat16", "epsilon": 1e-7}', "Invalid `floatx`"),
        ("[1]", "'list' object has no attribute 'get'"),
    ],
)
def test_settings_of_keras_that_it_refuses(text, message, workplace):
    (workplace / "keras.json").write_text(text)
    command = [sys.executable, "-m", "kpairs.cli", "archs", "ws"]
    environment = {**os.environ, "KERAS_HOME": str(workplace)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {workplace}/keras.json: {message}")
    assert len(done.stderr.splitlines()) == 1

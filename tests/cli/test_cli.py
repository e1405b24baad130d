"""The command line as a user meets it: every command, every refusal, and Ctrl-C."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import click
import pytest
from command_line import kpairs

from kpairs.cli import main
from kpairs.networks import ARCHS
from kpairs.recipes import Recipe
from kpairs.reports import RECIPES

TINY = ["--pairs", "40", "--test-pairs", "30", "--epochs", "1", "--no-augment"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    kpairs("train", "--arch", "auxws", "--loss-weights", "0.5,1", *TINY, "--out", str(folder))
    return folder


@pytest.fixture
def run(trained, workplace):
    """A trained run of auxws."""
    return shutil.copytree(trained, workplace / "run")


def test_the_whole_path_from_digits_to_a_prediction(workplace):
    text = kpairs("train", "--arch", "auxws", "--loss-weights", "0.5,1", *TINY, "--rounds", "2")
    assert "mean ± std" in text
    (folder,) = (workplace / "runs").iterdir()
    assert f"saved in runs/{folder.name}" in text
    rows = json.loads(kpairs("evaluate", "--json"))
    assert [row["test"] for row in rows["rounds"]] == [
        row["test"] for row in json.loads((folder / "metrics.json").read_text())["rounds"]
    ]
    assert "mean ± std" in kpairs("evaluate", folder)
    text = kpairs("export", "--onnx")
    assert "every decision is the same" in text
    kpairs("data", "--samples", "samples", "--sheet", "sheet.png", "--split", "test")
    assert (workplace / "sheet.png").read_bytes().startswith(b"\x89PNG")
    model = folder / "auxws.onnx"
    answer = json.loads(kpairs("predict", model, "samples/3.png", "samples/7.png", "--json"))
    assert {"left_not_higher", "probability", "left_digit", "right_digit"} <= set(answer)
    text = kpairs("predict", model, "samples/3.png", "samples/7.png")
    assert re.search(r"^left (<=|>) right \(\d+\.\d%\)$", text, re.MULTILINE)
    assert f"samples/3.png: {answer['left_digit']} (" in text


def test_archs(workplace):
    rows = json.loads(kpairs("archs", "--json"))
    assert {row["name"]: row["parameters"] for row in rows}["auxws"] == 56_470
    assert {"name", "report", "outputs", "parameters", "stated_parameters"} <= set(rows[0])
    assert len(rows) == len(ARCHS) >= 35
    disagree = {row["name"] for row in rows if row["agrees"] is False}
    assert disagree == {"c4l2_ws", "wsal_bd", "w_net", "a_w_net", "final_model"}
    assert all(row["reason"] for row in rows if row["name"] in disagree)
    assert "56,470" in kpairs("archs")


def test_one_architecture(workplace):
    text = kpairs("archs", "c4l2_ws", "--plot", "graph.png")
    assert "47,106 parameters" in text
    assert "stated parameters: printed by an early version" in text
    assert (workplace / "graph.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(kpairs("archs", "c4l2_ws", "--json"))
    assert facts["stated_parameters"] == 34_146
    assert "36 2x2 relu" in [row["details"] for row in facts["layers"]]
    facts = json.loads(kpairs("archs", "a_w_net", "--json"))
    (first,) = [row for row in facts["layers"] if row["details"].startswith("32 3x3")]
    assert len(first["reads"]) == 2  # called on each image
    assert facts["recipe"]["batch_size"] == 5
    assert {r["metric"] for r in facts["reported"]} == {"parameters", "validation_accuracy"}


def test_widths_and_activation(workplace):
    arguments = ("train", "--arch", "auxnet2", "--widths", "8,8,16,12", *TINY, "--out", "run")
    kpairs(*arguments, "--normalization", "none", "--optimizer", "adadelta")
    recipe = Recipe.from_json((workplace / "run/recipe.json").read_text())
    assert recipe.arch_options["widths"] == (8, 8, 16, 12)
    assert recipe.optimizer_options == {"rho": 0.9, "epsilon": 1e-6}
    kpairs("train", "--arch", "fc_1", "--activation", "sigmoid", *TINY)


def test_data_as_json(workplace, image_folder):
    facts = json.loads(kpairs("data", "--json"))
    assert facts["splits"]["train"]["images"] == 60_000
    own = json.loads(kpairs("data", image_folder, "--json", "--sheet", "own.png"))
    assert own["splits"]["train"]["classes"] == ["1", "2", "10"]
    assert (workplace / "own.png").exists()


def test_every_hyperparameter_has_a_flag():
    text = kpairs("train", "--help")
    for field in fields(Recipe):
        flag = "--" + field.name.replace("_", "-").replace("options", "option")
        flag = {"--augmentation": "--augment"}.get(flag, flag)
        assert flag in text or field.name in ("source", "reported_rounds", "reported_epoch")


def test_flags_reach_the_recipe(workplace):
    kpairs(
        *("train", "--arch", "auxws", "--loss-weights", "2,0.25", *TINY, "--out", "run"),
        *("--batch-size", "7", "--learning-rate", "0.01", "--l2", "0", "--dropout", "0.3"),
        *("--no-shuffle", "--initialization", "keras", "--seed", "5", "--augment"),
        *("--optimizer-option", "epsilon=1e-6"),
    )
    recipe = Recipe.from_json((workplace / "run/recipe.json").read_text())
    assert recipe.loss_weights == {"comparison": 2, "left_digit": 0.25, "right_digit": 0.25}
    assert (recipe.batch_size, recipe.learning_rate, recipe.l2) == (7, 0.01, 0)
    assert (recipe.shuffle, recipe.initialization) == (False, "keras")
    assert recipe.arch_options == {"dropout": 0.3}
    assert (recipe.seed, recipe.augmentation) == (5, "shifts_and_swap")
    assert recipe.optimizer_options == {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-6}


def test_a_recipe_file_repeats_the_run(run, workplace):
    kpairs("train", "--recipe", "run/recipe.json", "--out", "again")
    histories = [(f / "round-01/history.csv").read_bytes() for f in (run, workplace / "again")]
    assert histories[0] == histories[1]
    result = kpairs("train", "--recipe", "run/recipe.json", "--epochs", "2", "--json")
    assert json.loads(result)["rounds"][0]["epochs"] == 2
    moved = kpairs("train", "--recipe", "run/recipe.json", "--arch", "simple", "--json")
    assert "digit_error_pct" not in json.loads(moved)["rounds"][0]["test"]


REFUSALS = [
    (["train"], 2, "expected --arch NAME or --recipe FILE"),
    (["train", "--arch", "auxsw"], 2, "unknown architecture 'auxsw': did you mean auxws"),
    (["train", "--recipe", "nope.json"], 2, "unknown recipe"),
    (["train", "--recipe", "text"], 4, "text: expected a recipe in JSON"),
    (["train", "--arch", "ws", "--loss-weights", "0.5,1"], 2, "ws expects 1 (comparison)"),
    (["train", "--arch", "auxws", "--loss-weights", "1"], 2, "auxws expects 2"),
    (["train", "--arch", "auxws", "--epochs", "0"], 2, "epochs: expected at least 1, received 0"),
    (["train", "--arch", "auxws", "--epochs", "many"], 2, "'many' is not a valid integer"),
    (["train", "--arch", "auxws", "--epoch-count", "1"], 2, "No such option"),
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
    (["train", "--arch", "auxws", "--data", "minst"], 2, "did you mean mnist"),
    (["train", "--arch", "auxws", "--data", "damaged"], 4, "received 156716"),
    (["train", "--arch", "auxws", "--pairs", "30001"], 4, "at most 30000 pairs"),
    (["train", "--arch", "ws", *TINY, "--out", "text"], 1, "text exists already"),
    (["train", "--arch", "ws", *TINY, "--out", "text/run"], 1, "cannot make a run folder"),
    (["train", "--arch", "ws", *TINY, "--learning-rate", "1e30"], 1, "loss became"),
    (["evaluate"], 4, "runs: no finished run here"),
    (["evaluate", "nowhere"], 4, "nowhere: expected a run folder"),
    (["export", "nowhere"], 4, "nowhere: expected a run folder"),
    (["data", "damaged"], 4, "received 156716"),
    (["data", "--sheet", "nowhere/sheet.png"], 1, "No such file or directory"),
    (["data", "kmnist", "--no-fetch", "--data-dir", "empty"], 4, "kmnist is not here"),
    (["data", "--sheet", "sheet"], 2, "ends in .png, .pdf, .svg"),
    (["data", "--sheet", "sheet.txt"], 2, "sheet.txt: expected a picture's name"),
    (["data", ""], 2, "unknown data source"),
    (["evaluate", ""], 4, "expected a run folder"),
    (["train", "--arch", "ws", "--threads", "99999999999999"], 2, "1<=x<=1024"),
    (["train", "--arch", "ws", *TINY, "--out", ""], 1, "exists already"),
    (["predict", "missing.onnx", "a.png", "b.png"], 4, "missing.onnx: cannot read the model"),
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
    (["trian"], 2, "No such command 'trian'"),
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


def test_predict_refuses_before_it_looks_further(run, workplace):
    kpairs("export", run)
    (workplace / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "bad.png" in kpairs("predict", run / "auxws.onnx", "bad.png", "bad.png", expect=4)


def test_names_are_shown_as_they_are(workplace, image_folder):
    (image_folder / "2").rename(image_folder / "b[bold]")
    (image_folder / "10").rename(image_folder / "c$\\frac{")
    order = ("--classes", "1,b[bold],c$\\frac{")
    assert "b[bold]" in kpairs("data", image_folder, *order, "--sheet", "own.png")
    text = kpairs("train", "--arch", "simple", *TINY, "--rounds", "2", "--out", "zz[x]")
    assert "saved in zz[x]; next: kpairs export --onnx zz[x]" in text


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("foo", "KERAS_BACKEND: expected one of torch, jax, tensorflow, received 'foo'"),
        ("", None),
    ],
)
def test_backends_that_are_not_there(backend, message, workplace):
    command = [sys.executable, "-m", "kpairs.cli", "archs", "--json"]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == ((2, f"Error: {message}\n") if message else (0, ""))


def test_closed_pipes_odd_columns_and_ascii(workplace):
    """None of these is an error of the user's, and none gives a traceback."""
    command = f"{sys.executable} -m kpairs.cli"
    for line in (
        f"COLUMNS= {command} study --list | head -1",
        f"COLUMNS=abc PYTHONIOENCODING=ascii {command} archs auxws",
    ):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout


def test_export_takes_torch_whatever_the_backend(run):
    """Of a run's backend nothing remains but its weights; jax need not be installed."""
    command = [sys.executable, "-m", "kpairs.cli", "export", "--json", "--torchscript", run]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (export,) = json.loads(done.stdout)["exports"]
    assert export["parity"]["batches"] == [1, 2, 7, 30]
    assert (run / "auxws.pt").stat().st_size == export["bytes"]


def test_an_unwritable_export_keeps_the_run(run):
    before = sorted(os.listdir(run))
    message = kpairs("export", run, "--out", "nowhere/x.onnx", expect=1)
    assert "nowhere" in message
    assert sorted(os.listdir(run)) == before


def test_help_and_version_load_nothing_heavy():
    script = (
        "import sys\n"
        "from kpairs.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'keras', 'torch', 'numpy', 'rich', 'matplotlib', 'onnx', 'onnxruntime', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    for arguments in (["--help"], ["--version"], ["train", "--help"]):
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def commands(group):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        yield name, command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_every_command_and_option_has_help():
    for name, command in commands(main):
        assert command.help, name
        for option in command.params:
            if option.param_type_name == "option":
                assert option.help, f"{name} {option.name}"


def test_ctrl_c_is_one_line_and_loses_nothing(workplace):
    arguments = ["train", "--arch", "simple", *TINY, "--rounds", "500", "--out", "run"]
    command = [sys.executable, "-m", "kpairs.cli", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (workplace / "run/round-02/model.keras").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    (line,) = [text for text in stderr.splitlines() if not text.startswith(("round", "simple,"))]
    match = re.fullmatch(
        r"Error: interrupted; (\d+) of 500 rounds are finished, saved in run; "
        r"go on with: kpairs train --resume run",
        line,
    )
    assert match, line
    rounds = json.loads(kpairs("evaluate", "run", "--json"))["rounds"]
    assert len(rounds) == int(match[1]) >= 1


def test_resume_goes_on_by_the_runs_own_recipe(run):
    assert json.loads(kpairs("train", "--resume", "run", "--json"))["run"] == "run"
    text = kpairs("train", "--resume", "run", "--rounds", "2", "--jobs", "2")
    assert "mean ± std" in text
    message = kpairs("train", "--resume", "run", "--epochs", "9", "--threads", "2", expect=2)
    assert "expected no --epochs, --threads" in message
    assert "expected a run folder" in kpairs("train", "--resume", "nowhere", expect=4)


def test_unknown_sources_of_recipes_name_every_architecture():
    message = kpairs("train", "--arch", "zzz", expect=2)
    assert all(name in message for name in RECIPES)


def test_the_reference_is_up_to_date():
    from kpairs.cli.reference import reference

    written = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert written == reference(), "run 'make docs'"

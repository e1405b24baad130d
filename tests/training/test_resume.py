"""Runs that are stopped, killed, shared or starved of disk, and what is left of them."""

import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import resume_script
from click.testing import CliRunner
from command_line import kpairs
from resume_script import RECIPE, digest
from rich.console import Console
from rounds import compiled, opened

from kpairs.cli import main
from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.training.checkpoint import Checkpoint, load
from kpairs.training.lock import locked
from kpairs.training.run import Run
from kpairs.training.train import resume, train


class CtrlC(io.StringIO):
    """A screen in front of which somebody presses Ctrl-C when a text is shown."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def write(self, text):
        if self.text in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def interrupted(recipe, out, number, epoch, **named):
    """Train until Ctrl-C at the end of an epoch, before anything of that epoch is saved."""
    label = f"round {number}/{recipe.fit.rounds} " if recipe.fit.rounds > 1 else ""
    screen = Console(file=CtrlC(f"{label}epoch {epoch + 1}/"))
    with pytest.raises(KeyboardInterrupt, match="go on with: kpairs train --resume"):
        train(recipe, out, verbose=screen, **named)
    return Run.open(out)


@pytest.mark.parametrize(
    ("name", "engine", "rounds"),
    [("auxws", "auto", 2), ("wsal_bd", "keras", 1), ("posterior_s", "auto", 1)],
)
def test_a_resumed_run_ends_as_if_never_stopped(name, engine, rounds, tiny, workplace):
    """Dropout, batch norm, shuffling, distortion, weight averages: all bit for bit."""
    recipe = tiny(name, rounds=rounds, epochs=3, batch_size=15)
    whole = train(recipe, "whole", engine=engine)
    run = interrupted(recipe, "run", rounds, 1, engine=engine)
    assert run.rounds == [1, 2][: rounds - 1]
    run = resume("run")
    assert run.rounds == [1, 2][:rounds]
    assert digest(run.path) == digest(whole.path)
    for mine, other in zip(run.metrics["rounds"], whole.metrics["rounds"], strict=True):
        assert {**mine, "seconds": 0} == {**other, "seconds": 0}
    assert resume("run").metrics == run.metrics  # nothing is left to do


def test_a_fixed_order_resumes_too(tiny, workplace):
    recipe = tiny("conv_1", epochs=3, shuffle=False)
    whole = train(recipe, "whole")
    interrupted(recipe, "run", 1, 2)
    assert digest(resume("run").path) == digest(whole.path)


def test_rounds_side_by_side_are_the_same_rounds(tiny, workplace):
    recipe = tiny("conv_1", rounds=3, epochs=2)
    one = train(recipe, "one")
    assert "mean ± std" in kpairs(
        "train", "--recipe", "one/recipe.json", "--out", "two", "--jobs", 2
    )
    two = Run.open("two")
    assert two.rounds == [1, 2, 3]
    assert digest(one.path) == digest(two.path)
    assert (two.path / "curves.png").is_file()


@pytest.mark.slow
def test_more_rounds_of_a_finished_run(tiny, workplace):
    recipe = tiny("simple", rounds=3)
    whole = train(recipe, "whole")
    train(tiny("simple", rounds=1), "run")
    run = resume("run", rounds=3)
    assert run.recipe == Run.open("run").recipe == opened(recipe)[0]
    assert digest(run.path) == digest(whole.path)
    with pytest.raises(UsageError, match="rounds: expected at least 3, received 2"):
        resume("run", rounds=2)


@pytest.mark.slow
def test_killed_while_training(tmp_path):
    """At moments that differ between the rounds; `make test-reliability` is the long form."""
    run = tmp_path / "run"
    with resume_script.kpairs("train", *RECIPE, "--out", str(run), "--jobs", "2") as process:
        while not list(run.glob("round-*/checkpoint.npz")):
            time.sleep(0.01)
            assert process.poll() is None, process.communicate()[1]
        time.sleep(random.Random(3).uniform(0, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
    assert len(Run.open(run).rounds) < 2
    assert resume(run).rounds == [1, 2]
    result = CliRunner().invoke(main, ["train", *RECIPE, "--out", str(tmp_path / "whole")])
    assert result.exit_code == 0, result.output
    assert digest(run) == digest(tmp_path / "whole")


@pytest.fixture
def small(tiny):
    """A trained model and its recipe."""
    recipe = tiny("conv_1")
    model = compiled(recipe)
    return recipe, model


def saved(folder, model, epoch=0, keep=False):
    checkpoint = Checkpoint(folder, keep)
    checkpoint.set_model(model)
    checkpoint.on_train_begin()
    checkpoint.on_epoch_end(epoch)
    return checkpoint


def test_a_checkpoint_restores_everything(small, tmp_path, rng):
    recipe, model = small
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        if variable.dtype == "float32":
            variable.assign(rng.random(variable.shape))
    saved(tmp_path, model, 4)
    other = compiled(recipe, 2)
    assert Checkpoint(tmp_path).restore(other) == 5
    for a, b in zip(
        [*model.variables, *model.optimizer.variables],
        [*other.variables, *other.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_killed_while_saving(small, tmp_path):
    """Every time a whole checkpoint is left."""
    _, model = small
    saved(tmp_path, model)
    rng = random.Random(1)
    for _ in range(25):
        child = os.fork()
        if child == 0:
            try:
                for epoch in range(100_000):
                    saved(tmp_path, model, epoch)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        epoch, _ = load(tmp_path / "checkpoint.npz", model)
        assert epoch >= 1


def test_a_full_disk_leaves_the_last_checkpoint(small, tmp_path):
    _, model = small
    good = saved(tmp_path, model).path.read_bytes()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            saved(tmp_path, model, 1)
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert [f.name for f in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert (tmp_path / "checkpoint.npz").read_bytes() == good


@pytest.mark.slow
def test_a_full_disk_stops_the_command_and_resume_goes_on(workplace):
    """`RLIMIT_FSIZE` below the size of a checkpoint: one line, exit code 1, and then the rest."""
    arguments = [*RECIPE, "--out", "run"]
    script = (
        "import resource, signal, sys; from kpairs.cli import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "train", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path("run").glob("round-01/.checkpoint*"))
    assert resume("run").rounds == [1, 2]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"junk" * 100])
def test_damaged_checkpoints(content, small, tmp_path):
    _, model = small
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(InputError, match="expected the checkpoint of conv_1, cannot read it"):
        Checkpoint(tmp_path).restore(model)


def test_a_history_that_does_not_fit_its_checkpoint(tiny, workplace):
    run = interrupted(tiny("conv_1", epochs=3), "run", 1, 1)
    history = run.folder(1) / "history.csv"
    text = history.read_text()
    history.unlink()
    with pytest.raises(InputError, match="history of the checkpoint's 1 epochs, received 0"):
        resume("run")
    history.write_text(text.replace("train_loss", "loss"))
    with pytest.raises(InputError, match="expected the columns epoch, train_"):
        resume("run")
    history.write_text(text)
    assert resume("run").rounds == [1]


def test_another_models_checkpoint(small, tiny, tmp_path):
    _, model = small
    saved(tmp_path, compiled(tiny("conv_2")))
    with pytest.raises(InputError, match="expected the checkpoint of conv_1"):
        Checkpoint(tmp_path).restore(model)


def test_checkpoints_of_every_epoch(tiny, workplace):
    run = train(tiny("conv_1", epochs=3), "run", keep_checkpoints=True)
    names = {f.name for f in run.folder(1).glob("*.npz")}
    assert names == {"checkpoint.npz", *(f"checkpoint-00{epoch}.npz" for epoch in (1, 2, 3))}
    model = compiled(run.recipe, 1, 10, run.row(1)["rescaling"])
    with np.load(run.folder(1) / "checkpoint-001.npz") as file:
        assert file["epoch"] == 1
        assert any((file["0000"] != v.numpy()).any() for v in model.variables[:1])


def test_one_process_to_a_run(tiny, workplace):
    run = train(tiny("simple"), "run")
    code = (
        "import sys, time; from pathlib import Path; from kpairs.training.lock import locked\n"
        "with locked(Path('run')): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        started = time.perf_counter()
        with pytest.raises(KpairsError, match=f"run is in use by process {holder.pid} on "):
            resume("run", rounds=2)
        assert time.perf_counter() - started < 1
        holder.kill()
    with locked(run.path):  # the system freed it
        pass


def test_a_run_of_another_backend(tiny, workplace):
    run = train(tiny("simple"), "run")
    file = run.path / "environment.json"
    file.write_text(json.dumps({**run.environment, "backend": "jax"}))
    with pytest.raises(UsageError, match=r"expected the jax backend.*KERAS_BACKEND=jax"):
        resume("run")
    file.write_text("{}")
    with pytest.raises(InputError, match=r"environment.json: missing backend"):
        resume("run")

"""Training, run folders and evaluation: small but real trainings on real digits."""

import csv
import io
import json
import multiprocessing
import re
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import kpairs as kpairs_command
from families import OUTPUTS, networks
from faults import full_disk
from rich.console import Console
from rounds import opened

import kpairs
from kpairs.data.source import open_source
from kpairs.data.splits import draw_pairs
from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.models.pair import layers_of
from kpairs.networks import ARCHS
from kpairs.recipes import SOLVED, Recipe
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches, varied
from kpairs.training.engine.step import _graphs
from kpairs.training.evaluate import errors, evaluate
from kpairs.training.network import build_round, load_round
from kpairs.training.prepare import augmented, draw_round
from kpairs.training.run import Run
from kpairs.training.train import train


def weights_of(run, number=1):
    return load_round(run, number).get_weights()


def assert_same_weights(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@networks(OUTPUTS, ARCHS.keys() - {*SOLVED})
def test_a_run_folder_holds_the_training(name, tiny, workplace):
    recipe = tiny(name, rounds=2, epochs=2)
    run = train(recipe, "run")
    assert Recipe.from_json((workplace / "run/recipe.json").read_text()) == opened(recipe)[0]
    environment = json.loads((workplace / "run/environment.json").read_text())
    assert environment["kpairs"] == kpairs.__version__
    assert {"python", "packages", "device", "device_name", "threads", "cores"} <= set(environment)
    metrics = json.loads((workplace / "run/metrics.json").read_text())
    assert metrics == run.metrics
    assert [row["round"] for row in metrics["rounds"]] == [1, 2]
    values = [row["test"]["comparison_error_pct"] for row in metrics["rounds"]]
    summary = metrics["summary"]["test"]["comparison_error_pct"]
    assert summary["mean"] == pytest.approx(np.mean(values))
    assert summary["std"] == pytest.approx(np.std(values, ddof=1))
    assert (workplace / "run/curves.png").read_bytes().startswith(b"\x89PNG")
    with open(workplace / "run/round-02/history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_loss", "test_loss", "test_comparison_accuracy"} <= set(rows[0])
    assert keras.saving.load_model("run/round-01/model.keras").count_params() > 2_000


def test_history_and_metrics_agree(tiny, workplace):
    """The last epoch's test accuracy in the history is the test error of the metrics."""
    run = train(tiny("auxws", test_pairs=200), "run")
    last, test = run.history(1)[-1], run.metrics["rounds"][0]["test"]
    assert 100 * (1 - last["test_comparison_accuracy"]) == pytest.approx(
        test["comparison_error_pct"], abs=1e-4
    )
    digits = 1 - (last["test_left_digit_accuracy"] + last["test_right_digit_accuracy"]) / 2
    assert 100 * digits == pytest.approx(test["digit_error_pct"], abs=1e-4)


def test_errors_count_wrong_decisions(mnist, rng):
    pairs = draw_pairs(mnist["test"], 50, rng)

    class Oracle:
        """Right about everything but the first three left digits."""

        def predict(self, inputs, **_):
            left = np.eye(10)[pairs.left_digit]
            left[:3] = np.roll(left[:3], 1, axis=1)
            outputs = [np.eye(2)[pairs.comparison], left, np.eye(10)[pairs.right_digit]]
            return dict(zip(ARCHS["auxws"].outputs, outputs, strict=True))

    rates = errors(Oracle(), pairs, ARCHS["auxws"].outputs)
    assert rates == {"comparison_error_pct": 0.0, "digit_error_pct": 3.0}


def test_the_same_seed_gives_the_same_weights(tiny, workplace):
    recipe = tiny("auxws", rounds=2, epochs=2)
    first = train(recipe, "first")
    again = train(Recipe.from_json((first.path / "recipe.json").read_text()), "again")
    for number in (1, 2):
        assert_same_weights(weights_of(first, number), weights_of(again, number))
        texts = [(r.folder(number) / "history.csv").read_bytes() for r in (first, again)]
        assert texts[0] == texts[1]
    other = weights_of(train(recipe.replace(seed=1), "other"))
    assert any((a != b).any() for a, b in zip(weights_of(first), other, strict=True))
    assert any((a != b).any() for a, b in zip(weights_of(first), weights_of(first, 2), strict=True))


def test_recipes_that_differ_outside_a_step_share_its_trace(tiny, workplace):
    """And end as if they did not; a penalty is part of the step."""
    recipe = tiny("simple")
    other = recipe.replace(learning_rate=0.01, epochs=2, pairs=60, validation=0.4, averaging=0.5)
    _graphs.cache_clear()
    train(recipe, "first")
    shared = train(other, "shared")
    assert _graphs.cache_info().currsize == 1
    train(recipe.replace(l2=0.1), "penalised")
    assert _graphs.cache_info().currsize == 2
    _graphs.cache_clear()
    assert_same_weights(weights_of(shared), weights_of(train(other, "alone")))


def _train_elsewhere(recipe, out):
    train(recipe, out)


@pytest.mark.slow
def test_the_same_seed_in_another_process(tiny, workplace):
    recipe = tiny("auxws")
    process = multiprocessing.get_context("spawn").Process(
        target=_train_elsewhere, args=(recipe, "there")
    )
    process.start()
    here = train(recipe, "here")
    process.join()
    assert process.exitcode == 0
    assert_same_weights(weights_of(here), weights_of(Run.open("there")))


def test_shuffle_and_augmentation_are_used(tiny, mnist):
    plain, _ = draw_round(tiny("ws"), 1, mnist["train"], mnist["test"])
    more = augmented(tiny("ws", augmentation="shifts_and_swap"), 1, plain)
    assert (len(plain), len(more)) == (40, 18 * 40)
    assert augmented(tiny("ws"), 1, plain) is plain
    assert set(more.left_digit) == set(plain.left_digit) | set(plain.right_digit)


def test_what_the_fit_receives(tiny, workplace, monkeypatch):
    received, fit = {}, keras.Model.fit

    def spy(model, batches, **named):
        received.update(named, learning_rate=float(model.optimizer.learning_rate))
        received["sizes"] = [len(x["left"]) for x, _ in batches]
        return fit(model, batches, **named)

    monkeypatch.setattr(keras.Model, "fit", spy)
    train(tiny("ws", batch_size=15, epochs=2, learning_rate=0.01), "run")
    assert (received["sizes"], received["epochs"]) == ([15, 15, 10], 2)
    assert received["learning_rate"] == pytest.approx(0.01)


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_of_batches(shuffle, tiny, mnist):
    """Without shuffling each epoch is in the order drawn; with it each is a new permutation."""
    recipe = tiny("auxws", shuffle=shuffle)
    pairs, _ = draw_round(recipe, 1, *mnist.values())
    batches = Batches(pairs, ARCHS["auxws"].outputs, 15, vary=partial(varied, recipe, 1, pairs))

    def epoch(number):
        batches.epoch = number
        parts = [(x["left"].numpy(), y["left_digit"].numpy()) for x, y in batches]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    (images, digits), (again, _), (other, _) = epoch(0), epoch(0), epoch(1)
    np.testing.assert_array_equal(images, again)
    assert (images == other).all() == (not shuffle)
    assert (images == pairs.left).all() == (not shuffle)
    order = varied(recipe, 1, pairs, 0)[1] if shuffle else np.arange(len(pairs))
    assert sorted(order) == list(range(len(pairs)))
    np.testing.assert_array_equal(images, pairs.left[order])
    np.testing.assert_array_equal(digits, pairs.left_digit[order])


def test_batches_of_arrays_that_are_read_only(tiny, mnist):
    """As joblib hands large ones to its workers."""
    pairs, _ = draw_round(tiny("auxws"), 1, *mnist.values())
    for array in pairs.inputs().values():
        array.flags.writeable = False
    before = pairs.left.copy()
    for x, _ in Batches(pairs, ARCHS["auxws"].outputs, 15):
        x["left"].zero_()
    np.testing.assert_array_equal(pairs.left, before)


def test_initialization_and_threads_are_the_recipes(tiny):
    import torch

    from kpairs.training.device import compute

    biases = [
        layer.bias.numpy()
        for layer in layers_of(build_round(tiny("auxws", initialization="keras"), 1, 10))
        if hasattr(layer, "bias")
    ]
    assert biases
    assert not any(bias.any() for bias in biases)
    before = torch.get_num_threads()
    with compute("cpu", threads=3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_the_progress_bar_of_a_terminal(tiny, workplace):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=110)
    train(tiny("auxws", rounds=2, epochs=2), "run", verbose=console)
    text = screen.getvalue()
    assert "━" in text
    assert "round 1/2 epoch 2/2" in text
    assert re.search(r"loss \d\.\d{3} comparison \d\.\d{3} left \d\.\d{3} right", text)
    assert len(re.findall(r"test error \d+\.\d %", text)) == 2  # one line per round stays


def test_a_users_keras_settings_do_not_matter(tiny, workplace):
    before = keras.config.image_data_format(), keras.config.floatx()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    try:
        run = train(tiny("wsal_bd"), "run")
        assert evaluate(run)[0]["test"] == run.metrics["rounds"][0]["test"]
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format(before[0])
        keras.config.set_floatx(before[1])
    assert_same_weights(weights_of(run), weights_of(train(run.recipe, "again")))


def test_a_run_on_a_folder_repeats_from_anywhere(image_folder, tiny, workplace, monkeypatch):
    relative = image_folder.relative_to(workplace)
    train(tiny("simple", data=str(relative), pairs=20, test_pairs=6), "run")
    (workplace / "elsewhere").mkdir()
    monkeypatch.chdir(workplace / "elsewhere")
    assert evaluate(Run.open("../run"))
    assert train(Run.open("../run").recipe, "again").rounds == [1]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The folder of a run."""
    return train(tiny("simple"), tmp_path_factory.mktemp("finished") / "run").path


@pytest.mark.parametrize(
    "text",
    [
        *("{}", "[]", "null", '"x"', '{"rounds": 5}', '{"rounds": [{}]}', "{" * 9, "[" * 100_000),
        '{"rounds": [{"round": "1", "train": {}, "test": {}, "rescaling": null}]}',
    ],
)
def test_damaged_metrics(text, finished, workplace):
    shutil.copytree(finished, "runs/one")
    (workplace / "runs/junk").mkdir()
    (workplace / "runs/junk/metrics.json").write_text("junk")  # not a run: no recipe beside it
    assert Run.latest().path.name == "one"
    (workplace / "runs/one/metrics.json").write_text(text)
    with pytest.raises(InputError, match="expected"):
        Run.open("runs/one")


def test_dropout_of_the_recipe_reaches_the_layers():
    model = build_round(RECIPES["auxws"].with_options(dropout=0.4), 1, 10)
    rates = {layer.rate for layer in layers_of(model) if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.4}


def test_evaluate_repeats_the_trainings_figures(tiny, workplace):
    run = train(tiny("auxws", rounds=2), "run")
    rows = evaluate(Run.open("run"))
    for row, trained in zip(rows, run.metrics["rounds"], strict=True):
        assert row["test"] == trained["test"]
        assert row["train"] == trained["train"]
    more = evaluate(run, test_pairs=100)
    assert more[0]["train"] == rows[0]["train"]
    assert more[0]["test"] != rows[0]["test"]


def test_ten_epochs_learn_to_compare(workplace):
    """1,000 real pairs without augmentation: far from the recipe, and far from guessing."""
    recipe = RECIPES["auxws"].replace(augmentation="none", epochs=10)
    run = train(recipe, "run")
    test = run.metrics["rounds"][0]["test"]
    assert test["comparison_error_pct"] < 15
    assert test["digit_error_pct"] < 12


def test_a_collapse_is_said_and_shown(tiny, workplace, caplog, mnist):
    """Steps so long that no unit with a ReLU is ever above 0 again: one answer to every pair."""
    recipe = tiny("simple", rounds=2, learning_rate=10.0, epochs=2)
    run = train(recipe, "run")
    (message,) = caplog.messages
    assert message.startswith("simple collapsed in rounds 1, 2 of 2: ")
    assert "a learning rate below 10;" in message
    pairs = draw_round(recipe, 1, *mnist.values())[1]
    answers = load_round(run, 1).predict(pairs.inputs(), verbose=0)["comparison"]
    assert np.ptp(answers.argmax(-1)) == 0
    assert kpairs_command("evaluate", "run").count("collapsed") == 2


def test_a_training_that_learned_says_nothing(tiny, workplace, caplog):
    train(tiny("auxws", pairs=200, epochs=5), "run")
    assert not caplog.messages


def test_own_images_train(image_folder, idx_folder, tiny, workplace):
    for number, data in enumerate((image_folder, idx_folder)):
        recipe = tiny("auxws", data=str(data), pairs=20, test_pairs=6)
        run = train(recipe, f"run{number}")
        classes = 3 if number == 0 else 10
        model = load_round(run, 1)
        word = "grade" if number == 0 else "digit"
        assert model.output[f"left_{word}"].shape == (None, classes)


def test_too_few_images_leave_no_folder(idx_folder, tiny, workplace):
    with pytest.raises(InputError, match="101 pairs need 202 different images, received 200"):
        train(tiny("auxws", data=str(idx_folder), pairs=101), "run")
    assert not (workplace / "run").exists()


def test_a_loss_that_explodes_stops_the_training(tiny, workplace):
    recipe = tiny("simple", rounds=2, epochs=5, learning_rate=1e30)
    with pytest.raises(KpairsError, match=r"loss became (nan|inf) in epoch \d, step \d.*1e\+30"):
        train(recipe, "run")
    assert (workplace / "run/recipe.json").exists()
    assert not (workplace / "run/metrics.json").exists()


class CtrlC(io.StringIO):
    """A screen in front of which somebody presses Ctrl-C when a text is shown."""

    def __init__(self, text, press=lambda: signal.raise_signal(signal.SIGINT)):
        super().__init__()
        self.text, self.press = text, press

    def write(self, text):
        if self.text in text:
            self.press()
        return super().write(text)


def test_ctrl_c_keeps_finished_rounds(tiny, workplace):
    screen = Console(file=CtrlC("round 2/3"))
    with pytest.raises(KeyboardInterrupt, match="1 of 3 rounds are finished, saved in"):
        train(tiny("simple", rounds=3), "run", verbose=screen)
    run = Run.open("run")
    assert run.rounds == [1]
    assert evaluate(run)[0]["test"] == run.metrics["rounds"][0]["test"]
    with pytest.raises(InputError, match="round 2 has no model; finished rounds: 1"):
        run.model_file(2)


def test_ctrl_c_inside_a_destructor_still_stops(tiny, workplace, monkeypatch):
    """Python prints and forgets what a destructor raises; the signal is noted all the same."""

    class Dropped:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    forgotten = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: forgotten.append(hook.exc_type))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="interrupted; 0 of 1 rounds are finished"):
        train(tiny("simple", epochs=5), "run", verbose=Console(file=CtrlC("epoch 2/5", Dropped)))
    assert forgotten == [KeyboardInterrupt]
    assert len(Run.open("run").history(1)) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_run_folders_are_never_overwritten(tiny, workplace):
    first, second = (train(tiny("simple")) for _ in range(2))
    assert second.path.name == f"{first.path.name}-2"
    assert Run.latest().path == second.path
    before = (first.path / "metrics.json").read_bytes()
    with pytest.raises(KpairsError, match="exists already and is never overwritten"):
        train(tiny("simple", epochs=2), first.path)
    assert (first.path / "metrics.json").read_bytes() == before
    (workplace / "empty").mkdir()
    assert train(tiny("simple"), "empty").rounds == [1]


def test_a_run_folder_that_cannot_be_made(tiny, workplace):
    (workplace / "file").write_text("")
    with pytest.raises(KpairsError, match="cannot make a run folder here"):
        train(tiny("simple"), "file/run")
    with pytest.raises(KpairsError, match="file exists already"):
        train(tiny("simple"), "file")
    for size in (0, 100):  # a full disk: the same command must go when there is room again
        with full_disk(size), pytest.raises(KpairsError, match=r"run: cannot make.*File too large"):
            Run.create(tiny("simple"), {"device": "cpu"}, open_source("mnist"), "run")
        assert not Path("run").exists()


def test_folders_that_are_not_runs(workplace, tiny):
    with pytest.raises(InputError, match="expected a run folder made by 'kpairs train'"):
        Run.open(".")
    with pytest.raises(InputError, match="runs: no finished run here"):
        Run.latest()
    run = train(tiny("simple"), "run")
    (workplace / "run/round-01/model.keras").write_bytes(b"PK not a model")
    with pytest.raises(InputError, match="expected the weights of simple, cannot read them"):
        load_round(run, 1)


def test_another_architectures_weights_are_refused(tiny, workplace):
    train(tiny("simple"), "simple")
    run = train(tiny("ws"), "ws")
    (workplace / "simple/round-01/model.keras").rename("ws/round-01/model.keras")
    with pytest.raises(InputError, match=r"round-01/model.keras: expected the layers"):
        load_round(run, 1)


def test_devices(tiny, workplace):
    with pytest.raises(UsageError, match="gpu, cuda, cuda:N, received 'tpu'"):
        train(tiny("simple"), "run", device="tpu")
    import torch

    if not torch.cuda.is_available():
        for device in ("gpu", "cuda:1"):
            with pytest.raises(KpairsError, match=f"{device}: the torch backend sees no GPU"):
                train(tiny("simple"), "run", device=device)
    assert not (workplace / "run").exists()


def test_architectures_that_do_not_fit_the_recipe(tiny, workplace):
    recipe = tiny("ws").replace(arch="mine")
    with pytest.raises(UsageError, match="unknown architecture 'mine'"):
        train(recipe, "run")
    with pytest.raises(UsageError, match="ws takes dropout; received depth"):
        train(tiny("ws").with_options(depth=2), "run")
    with pytest.raises(UsageError, match="dropout of ws: expected a number, received None"):
        train(tiny("ws").with_options(dropout=None), "run")
    assert not (workplace / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "low", "high"), [("auxws", 1.5, 4.5), ("ws", 10.5, 15.5), ("simple", 13.5, 19.0)]
)
def test_three_rounds_reach_the_reports_band(name, low, high, workplace):
    """Report 001, Figure 2: 2.9 +- 0.9, 12.8 +- 1.1 and 15.9 +- 1.2 % over 20 rounds."""
    run = train(RECIPES[name].replace(rounds=3), "run")
    assert low < run.metrics["summary"]["test"]["comparison_error_pct"]["mean"] < high

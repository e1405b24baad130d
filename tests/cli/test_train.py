"""`kpairs train`: flags reach the recipe, recipes are files, and a stopped run goes on."""

import json
import os
import re
import signal
import time
from threading import Thread

from command_line import TINY, kpairs

from kpairs.recipes import FIELDS, Recipe
from kpairs.reports import RECIPES


def test_every_hyperparameter_has_a_flag():
    usual, text = kpairs("train", "--help"), kpairs("train", "--help-all")
    for name in FIELDS:
        flag = "--" + name.replace("_", "-").replace("options", "option")
        flag = {"--augmentation": "--augment"}.get(flag, flag)
        assert flag in text or name in ("word", "origin", "reported_rounds", "reported_epoch")
    assert set(re.findall(r"--[\w-]+", usual)) < set(re.findall(r"--[\w-]+", text))
    assert "more options and exit" in usual


def test_flags_reach_the_recipe(workplace):
    kpairs(
        *("train", "--arch", "auxws", "--loss-weights", "2,0.25", *TINY, "--out", "run"),
        *("--batch-size", "7", "--learning-rate", "0.01", "--l2", "0", "--dropout", "0.3"),
        *("--no-shuffle", "--initialization", "keras", "--seed", "5", "--augment"),
        *("--optimizer-option", "epsilon=1e-6"),
    )
    recipe = Recipe.from_json((workplace / "run/recipe.json").read_text())
    assert recipe.fit.loss_weights == {"comparison": 2, "left_digit": 0.25, "right_digit": 0.25}
    assert (recipe.fit.batch_size, recipe.optimizer.learning_rate, recipe.optimizer.l2) == (
        7,
        0.01,
        0,
    )
    assert (recipe.fit.shuffle, recipe.network.initialization) == (False, "keras")
    assert recipe.network.options == {"dropout": 0.3}
    assert (recipe.fit.seed, recipe.variation.augmentation) == (5, "shifts_and_swap")
    assert recipe.optimizer.options == {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-6}


def test_widths_and_activation(workplace):
    arguments = ("train", "--arch", "auxnet2", "--widths", "8,8,16,12", *TINY, "--out", "run")
    kpairs(*arguments, "--normalization", "none", "--optimizer", "adadelta")
    recipe = Recipe.from_json((workplace / "run/recipe.json").read_text())
    assert recipe.network.options["widths"] == (8, 8, 16, 12)
    assert recipe.optimizer.options == {"rho": 0.9, "epsilon": 1e-6}
    kpairs("train", "--arch", "fc_1", "--activation", "sigmoid", *TINY)


def test_a_recipe_file_repeats_the_run(run, workplace):
    kpairs("train", "--recipe", "run/recipe.json", "--out", "again")
    histories = [(f / "round-01/history.csv").read_bytes() for f in (run, workplace / "again")]
    assert histories[0] == histories[1]
    result = kpairs("train", "--recipe", "run/recipe.json", "--epochs", "2", "--json")
    assert json.loads(result)["rounds"][0]["epochs"] == 2
    moved = kpairs("train", "--recipe", "run/recipe.json", "--arch", "simple", "--json")
    assert "digit_error_pct" not in json.loads(moved)["rounds"][0]["test"]


def test_resume_goes_on_by_the_runs_own_recipe(run):
    assert json.loads(kpairs("train", "--resume", "run", "--json"))["run"] == "run"
    text = kpairs("train", "--resume", "run", "--rounds", "2", "--jobs", "2")
    assert "mean ± std" in text
    message = kpairs("train", "--resume", "run", "--epochs", "9", "--threads", "2", expect=2)
    assert "expected no --epochs, --threads" in message
    assert "nowhere: no such file or folder" in kpairs("train", "--resume", "nowhere", expect=4)


def test_ctrl_c_is_one_line_and_loses_nothing(workplace):
    def press():
        while not (workplace / "run/round-02/model.keras").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    hand = Thread(target=press, daemon=True)
    hand.start()
    arguments = ("train", "--arch", "simple", *TINY, "--rounds", "500", "--out", "run")
    stderr = kpairs(*arguments, expect=130)
    hand.join()
    (line,) = [text for text in stderr.splitlines() if not text.startswith(("round", "simple,"))]
    match = re.fullmatch(
        r"Error: interrupted; (\d+) of 500 rounds are finished, saved in run; "
        r"go on with: kpairs train --resume run",
        line,
    )
    assert match, line
    rounds = json.loads(kpairs("evaluate", "run", "--json"))["rounds"]
    assert len(rounds) == int(match[1]) >= 1


def test_unknown_sources_of_recipes_name_every_architecture():
    message = kpairs("train", "--arch", "zzz", expect=2)
    assert all(name in message for name in RECIPES)

"""A run folder of an earlier version, `before/`: stopped in its second round, when three arguments
of architectures were fields of the recipe and modules stood elsewhere."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import kpairs
from kpairs.data import load_digits
from kpairs.reports import RECIPES
from kpairs.training.compile import load_round
from kpairs.training.draw import draw_round
from kpairs.training.run import Run

BEFORE = Path(__file__).parent / "before"


@pytest.fixture
def before(workplace):
    return Run.open(shutil.copytree(BEFORE, workplace / "run"))


def test_its_recipe_is_todays(before):
    own = RECIPES["conv_1"]
    assert before.recipe.network.options == own.arch_options == {}
    assert before.recipe.optimizer.options == own.optimizer_options
    assert (before.recipe.fit.loss_weights, before.recipe.origin) == (own.loss_weights, own.source)


def test_its_model_gives_what_it_gave(before):
    evaluated, then = (
        [{name: row[name] for name in ("round", "train", "test")} for row in rows]
        for rows in (kpairs.evaluate(before), before.metrics["rounds"])
    )
    assert evaluated == then
    splits = [load_digits("mnist", split) for split in ("train", "test")]
    _, pairs = draw_round(before.recipe, 1, *splits)
    saved = keras.saving.load_model(before.model_file(1))
    ours = load_round(before, 1, 10).predict(pairs.inputs(), verbose=0)
    theirs = saved.predict(pairs.inputs(), verbose=0)
    np.testing.assert_allclose(ours["comparison"], theirs["comparison"], atol=1e-6)


def test_it_goes_on_from_its_checkpoint(before):
    begun = before.path / "round-02" / "history.csv"
    first = begun.read_text()
    run = kpairs.resume(before.path)
    assert run.rounds == [1, 2]
    assert begun.read_text().startswith(first)  # the first epoch was not trained again
    assert run.metrics["rounds"][0] == before.metrics["rounds"][0]
    assert Run.open(run.path).recipe == before.recipe

"""Files of earlier versions. The run folder `before/` was stopped in its second round, when three
arguments of architectures were fields of the recipe and modules stood elsewhere."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from rounds import compiled, opened

import kpairs
from kpairs.errors import InputError
from kpairs.networks import build
from kpairs.reports import RECIPES
from kpairs.training.checkpoint import Checkpoint
from kpairs.training.network import load_round, load_saved
from kpairs.training.prepare import draw_round
from kpairs.training.run import Run
from kpairs.training.unfolded import unfolded

BEFORE = Path(__file__).parent / "before"


@pytest.fixture
def before(workplace):
    return Run.open(shutil.copytree(BEFORE, workplace / "run"))


def test_its_recipe_is_todays(before):
    own = RECIPES["conv_1"]
    assert before.recipe.network.options == own.network.options == {}
    assert before.recipe.optimizer == own.optimizer
    assert (before.recipe.fit.loss_weights, before.recipe.origin) == (
        own.fit.loss_weights,
        own.origin,
    )


def test_its_model_gives_what_it_gave(before):
    evaluated, then = (
        [{name: row[name] for name in ("round", "train", "test")} for row in rows]
        for rows in (kpairs.evaluate(before), before.metrics["rounds"])
    )
    assert evaluated == then
    recipe, splits = opened(before.recipe)
    _, pairs = draw_round(recipe, 1, *splits)
    saved = keras.saving.load_model(before.model_file(1))
    ours = load_round(before, 1).predict(pairs.inputs(), verbose=0)
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


@pytest.mark.parametrize("name", ["c4l2", "a_w_net", "auxws"])
def test_files_in_which_towers_were_no_models(name, tiny, workplace, rng):
    """Their layers stood one by one; the network has them again, with the same variables."""
    trained, fresh = (compiled(tiny(name), number, 10, (2.0, -0.5)) for number in (1, 2))
    for variable in (*trained.variables, *trained.optimizer.variables):
        variable.assign(rng.uniform(0, 9, variable.shape).astype(variable.dtype))
    flat = unfolded(trained)
    flat.save(workplace / "model.keras")
    load_saved(fresh, workplace / "model.keras")
    for one, other in zip(trained.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match=r"recipe\.json and metrics\.json"):
        load_saved(build("w_net", rescaling=(2.0, -0.5)), workplace / "model.keras")
    state = [*flat.variables, *trained.optimizer.variables]
    arrays = {f"{n:04d}": keras.ops.convert_to_numpy(v) for n, v in enumerate(state)}
    np.savez(workplace / "checkpoint.npz", epoch=1, seconds=1.0, **arrays)
    fresh = compiled(tiny(name), 2, 10, (2.0, -0.5))
    assert Checkpoint(workplace).restore(fresh) == 1
    for one, other in zip(trained.variables, fresh.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())

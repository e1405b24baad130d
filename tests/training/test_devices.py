"""Trainings on a GPU, where there is one."""

import pytest
from families import few, networks
from precision import EXACT, difference, float64

from kpairs.data import draw_pairs
from kpairs.networks import ARCHS
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches
from kpairs.training.compile import build_round
from kpairs.training.device import compute
from kpairs.training.engine.lower import lower


@pytest.mark.gpu
@networks(few())
def test_trainings_on_a_gpu_are_stock_keras(name, mnist, rng):
    recipe = RECIPES[name]
    if "dropout" in recipe.arch_options:
        recipe = recipe.with_options(dropout=0.0)
    with float64(), compute("gpu") as device:
        batches = Batches(draw_pairs(mnist["train"], 10, rng), ARCHS[name].outputs, 5, device)
        stock, lowered = (build_round(recipe, 1, 10, (2.0, -0.5), steps=2) for _ in range(2))
        lower(lowered, *batches.first())
        for model in (stock, lowered):
            model.fit(batches, epochs=2, shuffle=False, verbose=0)
        assert {v.value.device.type for v in lowered.variables} == {"cuda"}
        assert difference(lowered.get_weights(), stock.get_weights()) < EXACT

"""Adam as torch computes it, in float64: one and ten steps."""

import keras
import numpy as np
import pytest
import torch
from precision import EXACT, difference, float64
from rounds import compiled
from torch_reference import REFERENCES, as_nchw, copy_weights

from kpairs.data.splits import draw_pairs
from kpairs.optimizers import TorchAdam
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches
from kpairs.training.engine.lower import lower


@pytest.mark.parametrize("steps", [1, 10])
def test_torch_adam_is_torchs(steps, rng):
    """For gradients from 1e-12 to 100: at the small ones the place of epsilon decides."""
    sizes = np.repeat(10.0 ** np.arange(-12, 3), 20)
    start = rng.standard_normal(sizes.size)
    rate, options = 2.0**-10, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
    theirs = torch.tensor(start, requires_grad=True)
    torchs = torch.optim.Adam([theirs], rate, (0.9, 0.999), 1e-8)
    with float64():
        ours = keras.Variable(start)
        optimizer = TorchAdam(rate, **options)
        for _ in range(steps):
            theirs.grad = torch.from_numpy(sizes * rng.standard_normal(sizes.size))
            torchs.step()
            optimizer.apply([theirs.grad], [ours])
    moves = [values.numpy(force=True) - start for values in (ours.value, theirs)]
    np.testing.assert_allclose(*moves, rtol=1e-9, atol=1e-15)  # 1e-15: as the sums are rounded
    assert abs(moves[0][sizes < 1e-10]).max() < rate / 10 < abs(moves[0][sizes > 1]).min()


@pytest.mark.parametrize(("engine", "steps"), [("keras", 1), ("keras", 10), ("lowered", 10)])
def test_the_recipe_of_auxws_steps_as_torch(engine, steps, mnist, rng):
    """All of it but dropout and the number of pairs: loss weights, L2 as `weight_decay`."""
    recipe = RECIPES["auxws"].replace(arch_options={"dropout": 0.0}, batch_size=10)
    assert (recipe.optimizer.name, recipe.optimizer.l2 > 0) == ("torch_adam", True)
    reference, trained = (REFERENCES["auxws"](dropout=0.0).double() for _ in range(2))
    pairs = draw_pairs(mnist["train"], steps * recipe.fit.batch_size, rng)
    names = tuple(recipe.fit.loss_weights)
    batches = Batches(pairs, names, recipe.fit.batch_size)
    with float64():
        model = compiled(recipe)
        copy_weights(model, reference)
        options = recipe.optimizer.options
        torchs = torch.optim.Adam(
            reference.parameters(),
            recipe.optimizer.learning_rate,
            (options["beta_1"], options["beta_2"]),
            options["epsilon"],
            weight_decay=recipe.optimizer.l2,
        )
        if engine == "lowered":
            lower(model, *batches.first())
        model.fit(batches, shuffle=False, verbose=0)
        for x, y in batches:
            outputs = reference(*(as_nchw(x[side]).double() for side in ("left", "right")))
            torchs.zero_grad()
            for name, weight in recipe.fit.loss_weights.items():
                loss = torch.nn.functional.cross_entropy(outputs[name], y[name].long())
                (weight * loss).backward(retain_graph=True)
            torchs.step()
        copy_weights(model, trained)
    parameters = ([p.detach() for p in r.parameters()] for r in (trained, reference))
    assert difference(*parameters) < EXACT


def test_torch_adam_survives_saving():
    optimizer = TorchAdam(0.25, beta_1=0.5, beta_2=0.75, epsilon=1e-3, weight_decay=0.125)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()

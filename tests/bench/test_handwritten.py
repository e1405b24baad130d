"""The loops that the engine is held against: however they are written, they train the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kpairs.bench.handwritten import NETWORKS, NEVER_FOLDED, PLAIN, TUNED, Training
from kpairs.data import draw_pairs
from kpairs.models.registry import trainable_parameters
from kpairs.networks import build
from kpairs.reports import RECIPES


def trained(recipe, pairs, tuning):
    torch.manual_seed(0)
    training = Training(recipe, pairs, "cpu", tuning)
    training.model.double()
    for module in training.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    training.inputs = [images.double() for images in training.inputs]
    loss = training.epoch()
    return loss, [p.detach().numpy() for p in training.model.parameters()]


@pytest.mark.parametrize("name", sorted({*NETWORKS} - {"ranker"}))
def test_a_tuned_loop_trains_as_the_plain_one(name, mnist, rng):
    recipe = RECIPES[name].replace(batch_size=10)
    pairs = draw_pairs(mnist["train"], 25, rng)
    expected_loss, expected = trained(recipe, pairs, PLAIN)
    loss, received = trained(recipe, pairs, replace(TUNED, fold=name not in NEVER_FOLDED))
    assert loss == pytest.approx(expected_loss, rel=1e-9)
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_are_of_kpairs_size(name):
    shape = (64, 64, 3) if name == "ranker" else (14, 14, 1)
    count = sum(p.numel() for p in NETWORKS[name]().parameters())
    assert count == trainable_parameters(build(name, input_shape=shape))

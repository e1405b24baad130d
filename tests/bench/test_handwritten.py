"""The loops that the engine is held against: however they are written, they train the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kpairs.bench.handwritten import NETWORKS, NEVER_FOLDED, PLAIN, TUNED, Training
from kpairs.data.splits import draw_pairs
from kpairs.models.pair import variables_of
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


@pytest.mark.parametrize("name", sorted({*NETWORKS} - {"ranker", "linear"}))
def test_a_tuned_loop_trains_as_the_plain_one(name, mnist, rng):
    recipe = RECIPES[name].replace(batch_size=10)
    pairs = draw_pairs(mnist["train"], 25, rng)
    expected_loss, expected = trained(recipe, pairs, PLAIN)
    loss, received = trained(recipe, pairs, replace(TUNED, fold=name not in NEVER_FOLDED))
    assert loss == pytest.approx(expected_loss, rel=1e-9)
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted({*NETWORKS} - {"linear"}))
def test_networks_are_of_kpairs_size(name):
    shape = (64, 64, 3) if name == "ranker" else (14, 14, 1)
    count = sum(p.numel() for p in NETWORKS[name]().parameters())
    assert count == trainable_parameters(build(name, input_shape=shape))


def test_lite0_by_hand_gives_what_kpairs_gives(rng):
    """With kpairs' weights: the blocks, the padding and the order of the features are the same."""
    model = build("linear", input_shape=(40, 40, 3), backbone="lite0", size=40, mirrored=False)
    tower = NETWORKS["linear"]().tower.eval()
    kernels, biases = (
        [v.value.detach() for v in variables_of(model) if v.path.endswith(end)]
        for end in ("kernel", "bias")
    )
    modules = [m for m in tower.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    with torch.no_grad():
        for module, kernel, bias in zip(modules, kernels, biases, strict=True):
            if kernel.ndim == 4:  # a depthwise kernel is (h, w, channels, 1)
                depthwise = module.groups > 1
                kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
            module.weight.copy_(kernel if kernel.ndim == 4 else kernel.T)
            module.bias.copy_(bias)
        images = rng.random((3, 40, 40, 3)).astype(np.float32)
        received = tower(torch.from_numpy(images).movedim(3, 1))[:, 0]
    expected = model.predict({"left": images, "right": images}, verbose=0)["left_score"][:, 0]
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-5)

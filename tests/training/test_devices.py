"""What can be said of a GPU where there is none, and what is tested where there is one.

On torch's `meta` device nothing has a value and a tensor of another device cannot be mixed in, so a
step that is built, traced and taken there reads no value and leaves nothing on the CPU. What was
recorded then runs on fake tensors of a GPU, by what torch knows of each operation there.
"""

import keras
import pytest
import torch
from families import families, few, networks
from precision import EXACT, difference, float64
from torch._subclasses import FakeTensorMode
from torch.fx import GraphModule

from kpairs.data import draw_pairs
from kpairs.networks import ARCHS
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches
from kpairs.training.compile import build_round
from kpairs.training.device import compute
from kpairs.training.engine.lower import lower
from kpairs.training.engine.step import Steps, build_losses


@pytest.fixture
def pairs(mnist, rng):
    return draw_pairs(mnist["train"], 10, rng)


def traced_on_meta(name, pairs, change=lambda model: None):
    """The train and test steps of a network, and what they are called with."""
    recipe = RECIPES[name]
    with keras.device("meta"):
        model = build_round(recipe, 1, 10, (2.0, -0.5), steps=3)
        change(model)
        x, y = Batches(pairs, ARCHS[name].outputs, 10, "meta").first()
        build_losses(model, x, y)
        optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
        steps = Steps(model, optimizer, list(x), list(y), {})
        for training in (True, False):
            graph, state, _ = steps.graph(x, y, training=training)
            yield graph, [*state, *x.values(), *y.values()]


def on_fake_gpu(module, mode):
    """The same graph for fake tensors of a GPU; what it holds of the CPU stays there."""

    def moved(value):
        if isinstance(value, torch.Tensor) and value.is_meta:
            return mode.from_tensor(value).to("cuda")
        return value

    held = {name: moved(value) for name, value in vars(module).items() if "constant" in name}
    held |= {name: moved(value) for name, value in module.named_buffers()}
    held |= {name: moved(value) for name, value in module.named_parameters()}
    for node in module.graph.nodes:
        if node.kwargs.get("device") == torch.device("meta"):
            node.update_kwarg("device", torch.device("cuda"))
    return GraphModule({"held": torch.nn.Module(), **held}, module.graph)


@networks(families())
def test_steps_need_no_value_and_no_cpu(name, pairs):
    for graph, arguments in traced_on_meta(name, pairs):
        with torch.inference_mode():
            on_meta = graph(*arguments)
        assert all(t.is_meta for t in on_meta)
        with FakeTensorMode(allow_non_fake_inputs=False) as mode:
            inputs = [mode.from_tensor(t).to("cuda") for t in arguments]
            received = on_fake_gpu(graph.__self__, mode)(*inputs)
        assert {t.device.type for t in received} == {"cuda"}
        assert [t.shape for t in received] == [t.shape for t in on_meta]


def test_a_constant_left_on_the_cpu_is_found(pairs):
    def misplace(model):
        layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
        layer.activation = lambda x: x + torch.ones(x.shape[-1], device="cpu")

    with pytest.raises(RuntimeError, match="device"):
        list(traced_on_meta("fc_1", pairs, misplace))


@pytest.mark.gpu
@networks(few())
def test_trainings_on_a_gpu_are_stock_keras(name, pairs):
    recipe = RECIPES[name]
    if "dropout" in recipe.arch_options:
        recipe = recipe.with_options(dropout=0.0)
    with float64(), compute("gpu") as device:
        batches = Batches(pairs, ARCHS[name].outputs, 5, device)
        stock, lowered = (build_round(recipe, 1, 10, (2.0, -0.5), steps=2) for _ in range(2))
        lower(lowered, *batches.first())
        for model in (stock, lowered):
            model.fit(batches, epochs=2, shuffle=False, verbose=0)
        assert {v.value.device.type for v in lowered.variables} == {"cuda"}
        assert difference(lowered.get_weights(), stock.get_weights()) < EXACT

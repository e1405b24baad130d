"""Trainings on a GPU, where there is one; and what can be proved of it where there is none.

Tensors on torch's `meta` device have no values, and an operation that mixes them with tensors of
another device raises. A step that is traced and run there reads no value, as a CUDA graph asks, and
leaves nothing on the CPU. What was traced is then run on fake tensors, whose device is CUDA's.
"""

import subprocess
import sys
from contextlib import contextmanager

import keras
import pytest
import torch
from families import FEW, networks
from keras.src.backend.common import global_state
from precision import EXACT, difference, float64
from rounds import compiled
from torch._subclasses.fake_tensor import FakeTensorMode

from kpairs.data.splits import draw_pairs
from kpairs.models.registry import conventions
from kpairs.networks import ARCHS, build, build_options
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches
from kpairs.training.compile import compile_model
from kpairs.training.device import _glibc, compute
from kpairs.training.engine import graph as engine_graph
from kpairs.training.engine.kernels import _KERNELS
from kpairs.training.engine.lower import lower
from kpairs.training.engine.step import Steps, build_losses


@pytest.mark.gpu
@networks(FEW)
def test_trainings_on_a_gpu_are_stock_keras(name, mnist, rng):
    recipe = RECIPES[name]
    if "dropout" in recipe.network.options:
        recipe = recipe.with_options(dropout=0.0)
    with float64(), compute("gpu") as device:
        batches = Batches(draw_pairs(mnist["train"], 10, rng), ARCHS[name].outputs, 5, device)
        stock, lowered = (compiled(recipe, 1, 10, (2.0, -0.5), steps=2) for _ in range(2))
        lower(lowered, *batches.first())
        for model in (stock, lowered):
            model.fit(batches, epochs=2, shuffle=False, verbose=0)
        assert {v.value.device.type for v in lowered.variables} == {"cuda"}
        assert difference(lowered.get_weights(), stock.get_weights()) < EXACT


_NEW_PAGES = """
import resource
import torch
from kpairs.training.device import compute

def new_pages():
    x = torch.ones(2**24)  # 64 MiB: 16,384 pages of 4 KiB
    x * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        x * 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = new_pages()
with compute("cpu"):
    with compute("cpu"):
        pass
    print(new_pages(), before)
"""


@pytest.mark.slow
@pytest.mark.skipif(_glibc() is None, reason="memory is kept where the C library is glibc")
def test_large_tensors_use_the_memory_that_others_left():
    """The system counts new pages, whatever its speed; in a process that has nothing else."""
    command = [sys.executable, "-c", _NEW_PAGES]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    kept, given_back = map(int, run.stdout.split())
    assert kept < given_back / 3


@contextmanager
def _meta(monkeypatch):
    """Keras computing on the meta device, and nothing asking for the values of a constant."""
    with keras.device("meta"):
        # As a string it differs from every tensor's device, and Keras would make new tensors.
        global_state.set_global_attribute("torch_device", torch.device("meta"))
        monkeypatch.setattr(engine_graph, "_is_zero", lambda value: False)
        yield


def _traced(recipe, pairs, monkeypatch, training=True):
    """A step as it is recorded on the meta device, and what it is called with there."""
    with conventions():
        optimizer = compiled(recipe, 1, 10, (2.0, -0.5), steps=2).optimizer
        kind, config = type(optimizer), optimizer.get_config()
        with keras.device("meta"):  # where weights have no values that could be drawn
            model = build(recipe.network.arch, rescaling=(2.0, -0.5), **build_options(recipe))
            compile_model(model, recipe, ARCHS[recipe.network.arch], steps=2)
            optimizer = kind.from_config(config)
        with _meta(monkeypatch):
            batch = Batches(pairs, ARCHS[recipe.network.arch].outputs, len(pairs), "meta").first()
            build_losses(model, *batch)
            steps = Steps(model, optimizer, list(batch[0]), list(batch[1]), {})
            step, state, _ = steps.graph(*batch, training=training)
    return step, [*state, *batch[0].values(), *batch[1].values()]


def _on_fake_cuda(step, tensors):
    """What a recorded step gives on fake tensors of CUDA's first device."""
    module, cuda = step.__self__, torch.device("cuda:0")

    def moved(tensor):
        device = cuda if tensor.is_meta else tensor.device
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

    with FakeTensorMode():
        for node in module.graph.nodes:
            if node.kwargs.get("device") == torch.device("meta"):
                node.kwargs = {**node.kwargs, "device": cuda}
            if node.op == "get_attr":
                setattr(module, node.target, moved(getattr(module, node.target)))
        module.recompile()
        return module(*map(moved, tensors))


@networks(FEW)
@pytest.mark.parametrize("training", [True, False], ids=["training", "test"])
def test_a_step_reads_no_value_and_leaves_nothing_on_the_cpu(
    name, training, mnist, rng, monkeypatch
):
    pairs = draw_pairs(mnist["train"], 10, rng)
    step, tensors = _traced(RECIPES[name], pairs, monkeypatch, training)
    assert {t.device.type for t in step(*tensors)} == {"meta"}
    assert {t.device.type for t in _on_fake_cuda(step, tensors)} == {"cuda"}


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (lambda y: y + torch.ones(y.shape[-1]), "device"),
        (lambda y: y + torch.ones(y.shape, device="cpu"), "device"),
        (lambda y: y * y.detach().sum().item(), "get value"),
        (lambda y: y if y.detach().min() < 0 else 2 * y, "get value"),
    ],
    ids=["a constant", "a constant put there", "a value that is read", "a choice by a value"],
)
def test_what_a_gpu_would_stumble_over_fails(mistake, error, mnist, rng, monkeypatch):
    suits, dense = _KERNELS[keras.layers.Dense, "channels_last"]

    def wrong(layer, x, training):
        return mistake(dense(layer, x, training))

    pairs = draw_pairs(mnist["train"], 10, rng)
    monkeypatch.setitem(_KERNELS, (keras.layers.Dense, "channels_last"), (suits, wrong))
    with pytest.raises(RuntimeError, match=error):  # without a mistake, the test above
        _traced(RECIPES["auxnet2"], pairs, monkeypatch)


def test_a_constant_that_stayed_on_the_cpu_fails_on_fake_cuda(mnist, rng, monkeypatch):
    step, tensors = _traced(RECIPES["auxws"], draw_pairs(mnist["train"], 10, rng), monkeypatch)
    module = step.__self__
    names = [node.target for node in module.graph.nodes if node.op == "get_attr"]
    largest = max(names, key=lambda name: getattr(module, name).numel())
    setattr(module, largest, torch.ones(getattr(module, largest).shape))
    with pytest.raises(RuntimeError, match="device"):
        _on_fake_cuda(step, tensors)

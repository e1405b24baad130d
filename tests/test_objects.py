"""One check for every Keras object of ours: from config, cloned, saved and loaded elsewhere."""

import doctest
import functools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

import kpairs
from kpairs.layers import (
    ExpectedGrade,
    HalfPixelShifts,
    ImageStatistics,
    MeanPosterior,
    Mirrored,
    MirroredMean,
    OrdinalGrades,
    PosteriorComparison,
    Resize,
)
from kpairs.losses import ClassCrossentropy, PairCrossentropy, PairwiseLoss
from kpairs.metrics import ClassAccuracy, PairAccuracy
from kpairs.models.onnx_network import OnnxNetwork
from kpairs.models.vision import VisionMaps
from kpairs.optimizers import OneCycle, TorchAdam

LOSSES = (
    PairCrossentropy(from_logits=True, name="own"),
    PairCrossentropy(reduction="sum"),
    ClassCrossentropy(from_logits=True, label_smoothing=0.25),
    ClassCrossentropy(ignore_class=-1, reduction="sum"),
    PairwiseLoss("hinge", name="own"),
)
METRICS = (PairAccuracy("own", threshold=0.75), ClassAccuracy("own"))
LAYERS = (
    PosteriorComparison("probabilities", "sigmoid", ties="half"),
    *(OrdinalGrades(4), ExpectedGrade()),
    *(HalfPixelShifts(), MeanPosterior(), ImageStatistics()),
    *(Mirrored(), MirroredMean(), Resize(5, 7), VisionMaps("resnet18"), OnnxNetwork(9, 4, True)),
)
OPTIMIZERS = (
    TorchAdam(0.25, beta_1=0.5, beta_2=0.75, epsilon=1e-3, weight_decay=0.125),
    TorchAdam(OneCycle(0.5, steps=9), global_clipnorm=2.0),
)
SCHEDULES = (OneCycle(0.5, steps=9),)
GROUPS = {
    keras.losses: LOSSES,
    keras.metrics: METRICS,
    keras.layers: LAYERS,
    keras.optimizers: OPTIMIZERS,
    keras.optimizers.schedules: SCHEDULES,
}


def test_every_object_is_checked():
    registered = {v for k, v in keras.saving.get_custom_objects().items() if "kpairs>" in k}
    assert registered == {type(item) for items in GROUPS.values() for item in items}


@pytest.mark.parametrize(
    ("module", "item"),
    [(module, item) for module, items in GROUPS.items() for item in items],
    ids=lambda value: type(value).__name__,
)
def test_objects_come_back_from_their_configuration(module, item):
    config = json.loads(json.dumps(item.get_config()))
    for again in (
        type(item).from_config(item.get_config()),
        module.deserialize(module.serialize(item)),
    ):
        assert type(again) is type(item)
        assert json.loads(json.dumps(again.get_config())) == config


def network(loss, metric, optimizer, head=False):
    """A small network of two inputs, compiled with objects of ours and trained for a step."""
    left, right = keras.Input((3, 3, 1), name="left"), keras.Input((3, 3, 1), name="right")
    tower = [HalfPixelShifts(), keras.layers.Flatten(), keras.layers.Dense(2), MeanPosterior()]
    sides = []
    for x in (left, right):
        for layer in tower:
            x = layer(x)
        sides.append(x)
    compared = PosteriorComparison()(sides) if head else keras.layers.Subtract()(sides)
    if not loss.from_logits:
        compared = keras.layers.Softmax()(compared)
    model = keras.Model({"left": left, "right": right}, {"comparison": compared})
    model.compile(optimizer, {"comparison": loss}, metrics={"comparison": [metric]})
    return model


def clone(item):
    return type(item).from_config(item.get_config())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of compiled models, and what each computes here: with every object and network."""
    folder, rng = tmp_path_factory.mktemp("saved"), np.random.default_rng(5)
    expected = {}

    def save(name, model, size, targets):
        x = {side: rng.random((6, *size), np.float32) for side in ("left", "right")}
        model.fit(x, targets, verbose=0)
        again = keras.models.clone_model(model)
        again.set_weights(model.get_weights())
        said = model.predict(x, verbose=0)
        for key, value in again.predict(x, verbose=0).items():
            np.testing.assert_array_equal(value, said[key])
        np.savez(folder / f"{name}.npz", **x, **{f"target_{k}": v for k, v in targets.items()})
        model.save(folder / f"{name}.keras")
        losses = model.evaluate(x, targets, verbose=0, return_dict=True)
        expected[name] = {**said, **losses}

    choices = [
        (loss, METRICS[n % 2], OPTIMIZERS[n % 2], bool(n % 2))
        for n, loss in enumerate(LOSSES)
        if find_spec("keras_rs") or not isinstance(loss, PairwiseLoss)
    ]
    for number, (loss, metric, optimizer, head) in enumerate(choices):
        model = network(clone(loss), clone(metric), clone(optimizer), head)
        save(f"objects{number}", model, (3, 3, 1), {"comparison": np.array([0, 1, 1, 0, 1, 0])})
    for name, options in NETWORKS.items():
        model = kpairs.build(name, **options)
        targets = {
            key: rng.integers(0, 2, 6)
            for key, kind in kpairs.ARCHS[name].outputs.items()
            if kind != "score"
        }
        losses = {n: kpairs.losses.loss_of(kpairs.ARCHS[name].outputs[n], False) for n in targets}
        model.compile(TorchAdam(0.01), losses)
        save(name, model, model.input["left"].shape[1:], targets)
    return folder, expected


# One of each kind: two towers, batch normalisation, softmax and sigmoid outputs, scores, shifts.
NETWORKS = {
    **{name: {} for name in ("basic", "wsal_bd", "c1l2", "final_model", "auxranker")},
    "posterior": {"test_shifts": 5},
    "linear_grades": {"head": "ordinal", "backbone": "features"},
}


def test_compiled_models_open_in_another_process(saved):
    folder, expected = saved
    script = Path(__file__).parent / "load_script.py"
    done = subprocess.run(
        [sys.executable, script, folder],
        env={**os.environ, "OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, values in expected.items():
        received = np.load(folder / f"{name}.received.npz")
        assert set(received) == set(values)
        for key, value in values.items():
            np.testing.assert_allclose(received[key], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_every_public_name_has_an_example_that_runs(workplace, monkeypatch):
    """In one process, where the training and the export that many begin with are made once."""
    names = sorted(set(kpairs.__all__) - {"__version__", "ARCHS", "RECIPES"})
    find, runner = doctest.DocTestFinder().find, doctest.DocTestRunner()
    found = {name: find(getattr(kpairs, name), name, globs={}) for name in names}
    for name in ("train", "export"):
        monkeypatch.setattr(kpairs, name, functools.cache(getattr(kpairs, name)))
    for name, tests in found.items():
        assert sum(len(test.examples) for test in tests), f"{name} has no example"
        for test in tests:
            runner.run(test)
        assert not runner.failures, name

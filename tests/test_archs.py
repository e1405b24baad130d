"""Every registered architecture, driven by one table and an independent torch transcription."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from torch_reference import REFERENCES, as_nchw, copy_weights

from kpairs import seeds
from kpairs.archs import ARCHS, build
from kpairs.data import PairSet
from kpairs.errors import UsageError
from kpairs.initialization import initialize
from kpairs.recipes import RECIPES
from kpairs.registry import arch, trainable_parameters
from kpairs.reports import REPORTS
from kpairs.training.rounds import compile_model

# Trainable parameters as computed from each report's layers.
PARAMETERS = {"simple": 58_380, "ws": 56_470, "auxws": 56_470}

everywhere = pytest.mark.parametrize("name", sorted(ARCHS))


def random_pairs(rng, count=8):
    images = rng.random((2, count, 14, 14, 1), dtype=np.float32)
    return PairSet(*images, *rng.integers(0, 10, (2, count)))


def torch_initialized(name, rng, **options):
    model = build(name, **options)
    initialize(model, "torch", rng)
    return model


def test_the_tables_name_the_same_architectures():
    assert set(PARAMETERS) == set(ARCHS) == set(RECIPES) == set(REFERENCES)


@everywhere
def test_parameters_outputs_and_report(name):
    model, architecture = build(name), ARCHS[name]
    assert trainable_parameters(model) == PARAMETERS[name]
    shapes = {key: tensor.shape for key, tensor in model.output.items()}
    digits = {"left_digit": (None, 10), "right_digit": (None, 10)}
    expected = {"comparison": (None, 2)} | (digits if "left_digit" in shapes else {})
    assert shapes == expected
    assert list(shapes) == list(architecture.outputs) == list(RECIPES[name].loss_weights)
    assert architecture.report in REPORTS
    assert architecture.function.__doc__


@everywhere
def test_outputs_equal_the_torch_transcription(name, rng):
    model, reference = torch_initialized(name, rng), REFERENCES[name]().eval()
    copy_weights(model, reference)
    pairs = random_pairs(rng)
    received = model.predict(pairs.inputs(), verbose=0)
    with torch.no_grad():
        expected = reference(as_nchw(pairs.left), as_nchw(pairs.right))
    assert list(received) == list(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(received[key], value.numpy(), atol=1e-6, rtol=0)


def adam_step(parameters, moments, step, recipe):
    """Adam as Kingma and Ba's section 2 orders it, as Keras does, with L2 added to the gradient.

    torch's Adam divides by the bias correction before it adds epsilon, Keras after, so gradients
    near 1e-8 move differently in the first steps.
    """
    beta_1, beta_2 = (recipe.optimizer_options[b] for b in ("beta_1", "beta_2"))
    rate = recipe.learning_rate * (1 - beta_2**step) ** 0.5 / (1 - beta_1**step)
    with torch.no_grad():
        for parameter, (m, v) in zip(parameters, moments, strict=True):
            gradient = parameter.grad + recipe.l2 * parameter
            m.mul_(beta_1).add_(gradient, alpha=1 - beta_1)
            v.mul_(beta_2).add_(gradient.square(), alpha=1 - beta_2)
            parameter -= rate * m / (v.sqrt() + recipe.optimizer_options["epsilon"])


@everywhere
def test_training_steps_equal_torch(name, rng):
    """Ten steps of the whole recipe but dropout: losses and their weights, coupled L2, Adam.

    A larger epsilon, because Adam makes a full step of a gradient that is only rounding noise.
    """
    options = {**RECIPES[name].optimizer_options, "epsilon": 1e-3}
    recipe = replace(RECIPES[name], optimizer_options=options)
    model = torch_initialized(name, rng, dropout=0.0)
    compile_model(model, recipe)
    reference, trained = (REFERENCES[name](dropout=0.0) for _ in range(2))
    copy_weights(model, reference)
    parameters = list(reference.parameters())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for step in range(1, 11):
        pairs = random_pairs(rng)
        model.train_on_batch(pairs.inputs(), pairs.targets(recipe.outputs))
        reference.zero_grad()
        outputs = reference(as_nchw(pairs.left), as_nchw(pairs.right))
        sum(
            recipe.loss_weights[key]
            * torch.nn.functional.cross_entropy(value, torch.as_tensor(getattr(pairs, key)))
            for key, value in outputs.items()
        ).backward()
        adam_step(parameters, moments, step, recipe)
    copy_weights(model, trained)
    for received, expected in zip(trained.parameters(), parameters, strict=True):
        torch.testing.assert_close(received, expected, atol=2e-6, rtol=0)


@everywhere
def test_every_weight_receives_a_gradient(name, rng):
    model = torch_initialized(name, rng)
    pairs = random_pairs(rng, 64)
    outputs = model(pairs.inputs(), training=True)
    sum(value.square().sum() for value in outputs.values()).backward()
    for variable in model.trainable_variables:
        assert variable.value.grad is not None, variable.path
        assert variable.value.grad.abs().sum() > 0, variable.path


@everywhere
def test_saved_and_rebuilt_models_agree(name, rng, tmp_path):
    model, pairs = torch_initialized(name, rng), random_pairs(rng)
    model.save(tmp_path / "model.keras")
    rebuilt = build(name)
    rebuilt.load_weights(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = model.predict(pairs.inputs(), verbose=0)
    for other in (rebuilt, loaded):
        received = other.predict(pairs.inputs(), verbose=0)
        assert list(received) == list(expected)
        for key in expected:
            np.testing.assert_array_equal(received[key], expected[key])


@pytest.mark.parametrize("name", [n for n, a in ARCHS.items() if "left_digit" in a.outputs])
def test_swapping_the_images_swaps_the_digits(name, rng):
    model, pairs = torch_initialized(name, rng), random_pairs(rng)
    straight = model.predict(pairs.inputs(), verbose=0)
    swapped = model.predict(pairs.swapped().inputs(), verbose=0)
    np.testing.assert_allclose(straight["left_digit"], swapped["right_digit"], atol=1e-6)
    np.testing.assert_allclose(straight["right_digit"], swapped["left_digit"], atol=1e-6)


@everywhere
def test_other_numbers_of_classes(name):
    outputs = build(name, classes=3).output
    assert all(tensor.shape[1] == 3 for key, tensor in outputs.items() if key != "comparison")


@everywhere
def test_torch_initialization_has_torchs_limits_and_spread(name):
    """Against torch's own layers of the same shapes, drawn by torch."""
    model = build(name)
    initialize(model, "torch", seeds.generator(0, 1, "initialization"))
    drawn, torchs = REFERENCES[name](), REFERENCES[name]()
    copy_weights(model, drawn)
    for received, expected in zip(drawn.parameters(), torchs.parameters(), strict=True):
        if received.numel() < 1000:
            continue
        assert received.std().item() == pytest.approx(expected.std().item(), rel=0.1)
        assert received.abs().max().item() == pytest.approx(expected.abs().max().item(), rel=0.02)


def test_keras_initialization_is_glorot_with_zero_bias(rng):
    model, keras_drawn = build("auxws"), build("auxws")
    initialize(model, "keras", rng)
    for layer, other in zip(model.layers, keras_drawn.layers, strict=True):
        if hasattr(layer, "kernel"):
            kernel, bias = layer.get_weights()
            expected = other.get_weights()[0]
            assert abs(kernel).max() <= 1.1 * abs(expected).max()
            assert kernel.std() == pytest.approx(expected.std(), rel=0.2)
            assert not bias.any()


def test_unknown_names_and_arguments_name_the_valid_ones():
    with pytest.raises(UsageError, match="unknown architecture 'auxsw': did you mean auxws"):
        build("auxsw")
    with pytest.raises(UsageError, match="auxws takes classes, dropout; received droput"):
        build("auxws", droput=0.1)


def test_a_name_registers_once():
    with pytest.raises(ValueError, match="'simple' is registered twice"):

        @arch(report="mine", source="here", outputs={"comparison": "logits"})
        def simple(left, right, *, classes=10):
            """Never registered."""

"""Every registered architecture, driven by one table and an independent torch transcription."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from torch_reference import REFERENCES, as_nchw, copy_weights

from kpairs import seeds
from kpairs.data import PairSet
from kpairs.errors import UsageError
from kpairs.models.diagram import layer_rows
from kpairs.models.initialization import initialize
from kpairs.models.registry import arch, trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.reports import RECIPES, REPORTS
from kpairs.training.compile import compile_model

# Trainable parameters as computed from each report's layers.
PARAMETERS = {
    **{"c1l2": 70_642, "c2l2": 70_702, "c2l3": 74_814, "c3l2": 72_466, "c4l2": 68_230},
    **{"c1l2_ws": 58_392, "c2l2_ws": 44_182, "c2l3_ws": 53_428},
    **{"c3l2_ws": 51_624, "c4l2_ws": 47_106},
    **{"simple": 58_380, "ws": 56_470, "auxws": 56_470},
    **{"basic": 31_146, "wsal": 76_828, "wsal_d": 76_828, "wsal_b": 77_020, "wsal_bd": 77_020},
    **{"wsal_m1": 175_228, "wsal_d_m1": 175_228, "wsal_b_m1": 175_820, "wsal_bd_m1": 175_820},
    **{"resnet": 186_978},
    **{"fc_1": 96_433, "fc_2": 144_747, "fc_3": 924_337},
    **{"conv_1": 2_571, "conv_2": 48_851, "conv_3": 9_411, "cnn_base": 105_889},
    **{"no_w_net": 235_777, "w_net": 142_657, "a_net": 248_843, "a_w_net": 155_723},
    **{"final_model": 155_723},
    **{"basicnet1": 71_506, "auxnet1": 72_460, "auxnet2": 70_572, "auxnet3": 68_844},
    **{"posterior": 78_874, "posterior_s": 19_590, "ranker": 77_856, "auxranker": 78_986},
}
# With the moving statistics of batch normalisation, which Keras counts too.
KERAS_TOTALS = {
    **{
        "wsal_b": 77_212,
        "wsal_bd": 77_212,
        "wsal_bd_m1": 176_412,
        "wsal_b_m1": 176_412,
        "resnet": 188_322,
    },
    **{"conv_1": 2_631, "conv_2": 49_151, "cnn_base": 106_337, "no_w_net": 236_673},
    **{"w_net": 143_105, "a_net": 249_739, "a_w_net": 156_171, "final_model": 156_171},
    **{"posterior": 79_418, "posterior_s": 19_878, "ranker": 78_400, "auxranker": 79_530},
}

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
    units = 1 if architecture.outputs["comparison"] == "sigmoid" else 2
    expected = {"comparison": (None, units)} | (digits if "left_digit" in shapes else {})
    expected |= {key: (None, 1) for key, kind in architecture.outputs.items() if kind == "score"}
    assert shapes == expected
    assert model.count_params() == KERAS_TOTALS.get(name, PARAMETERS[name])
    assert list(shapes) == list(architecture.outputs)
    assert list(architecture.learned()) == list(RECIPES[name].loss_weights)
    assert architecture.report in (*REPORTS, "kpairs")
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


class KerasAdamW:
    """AdamW as Keras computes it: epsilon is added before the bias correction, torch's after."""

    def __init__(self, parameters, recipe, epsilon):
        self.parameters, self.recipe, self.epsilon, self.steps = parameters, recipe, epsilon, 0
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]

    @torch.no_grad()
    def step(self):
        self.steps += 1
        options = self.recipe.optimizer_options
        beta_1, beta_2 = options["beta_1"], options["beta_2"]
        correction = (1 - beta_2**self.steps) ** 0.5 / (1 - beta_1**self.steps)
        rate = self.recipe.learning_rate
        for parameter, (m, v) in zip(self.parameters, self.moments, strict=True):
            m.mul_(beta_1).add_(parameter.grad, alpha=1 - beta_1)
            v.mul_(beta_2).add_(parameter.grad.square(), alpha=1 - beta_2)
            parameter -= rate * options["weight_decay"] * parameter
            parameter -= rate * correction * m / (v.sqrt() + self.epsilon)


def reference_optimizer(recipe, parameters, epsilon):
    rate, options = recipe.learning_rate, recipe.optimizer_options
    if recipe.optimizer == "adadelta":
        return torch.optim.Adadelta(parameters, rate, rho=0.9, eps=1e-6)
    if recipe.optimizer == "adamw":
        return KerasAdamW(parameters, recipe, epsilon)
    assert recipe.optimizer == "torch_adam"
    betas = options["beta_1"], options["beta_2"]
    return torch.optim.Adam(parameters, rate, betas, epsilon, weight_decay=recipe.l2)


def reference_loss(kind, recipe, value, target):
    if kind == "sigmoid":
        return torch.nn.functional.binary_cross_entropy(value[:, 0], target.float())
    assert kind == "logits" or recipe.probabilities_as_logits
    return torch.nn.functional.cross_entropy(value, target)


def without_dropout(recipe):
    return {"dropout": 0.0} if "dropout" in recipe.arch_options else {}


@everywhere
def test_training_steps_equal_torch(name, rng):
    """Steps of the whole recipe but dropout: losses, weights, coupled L2, optimizer, batch norm.

    Adam's epsilon is made larger, because with 1e-8 it makes a full step of a gradient that is
    nothing but rounding noise.
    """
    recipe, kinds = RECIPES[name], ARCHS[name].outputs
    recipe = replace(recipe, schedule="constant")
    if recipe.optimizer != "adadelta":
        options = {**recipe.optimizer_options, "epsilon": 1e-3}
        recipe = replace(recipe, optimizer_options=options)
    model = torch_initialized(name, rng, **without_dropout(recipe))
    compile_model(model, recipe)
    reference, trained = (REFERENCES[name](**without_dropout(recipe)) for _ in range(2))
    copy_weights(model, reference)
    parameters = list(reference.parameters())
    optimizer = reference_optimizer(recipe, parameters, epsilon=1e-3)
    # Rounding differences grow from step to step, and fastest through resnet's 21 convolutions.
    for step in range(1 if name == "resnet" else 2):
        pairs = random_pairs(rng)
        # In training mode a batch's own statistics normalise it; of 8 images, some deviations are
        # so small that dividing by them lifts rounding above 1e-6.
        if step == 0:
            expected = reference(as_nchw(pairs.left), as_nchw(pairs.right))
            for key, value in model(pairs.inputs(), training=True).items():
                torch.testing.assert_close(value, expected[key], atol=5e-6, rtol=0)
        model.train_on_batch(pairs.inputs(), pairs.targets(kinds))
        reference.zero_grad()
        outputs = reference(as_nchw(pairs.left), as_nchw(pairs.right))
        sum(
            weight
            * reference_loss(kinds[key], recipe, outputs[key], torch.as_tensor(getattr(pairs, key)))
            for key, weight in recipe.loss_weights.items()
        ).backward()
        optimizer.step()
    copy_weights(model, trained)
    states = trained.state_dict().values(), reference.state_dict().values()
    for received, expected in zip(*states, strict=True):
        torch.testing.assert_close(received, expected, atol=1e-5, rtol=1e-5)


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


SEPARATE = {"c1l2", "c2l2", "c2l3", "c3l2", "c4l2", "a_net"}  # a tower for each image


@pytest.mark.parametrize(
    "name", sorted(n for n, a in ARCHS.items() if "left_digit" in a.outputs and n not in SEPARATE)
)
def test_swapping_the_images_swaps_the_digits(name, rng):
    model, pairs = torch_initialized(name, rng), random_pairs(rng)
    straight = model.predict(pairs.inputs(), verbose=0)
    swapped = model.predict(pairs.swapped().inputs(), verbose=0)
    np.testing.assert_allclose(straight["left_digit"], swapped["right_digit"], atol=1e-6)
    np.testing.assert_allclose(straight["right_digit"], swapped["left_digit"], atol=1e-6)


@everywhere
def test_other_numbers_of_classes(name):
    outputs = build(name, classes=3).output
    assert all(tensor.shape[1] == 3 for key, tensor in outputs.items() if "digit" in key)


@everywhere
def test_torch_initialization_has_torchs_limits_and_spread(name):
    """Every convolution and dense layer, kernel and bias, times sqrt(fan_in): uniform in +-1."""
    model = build(name)
    initialize(model, "torch", seeds.generator(0, 1, "initialization"))
    torch.manual_seed(0)
    drawn, torchs = REFERENCES[name](), REFERENCES[name]()
    copy_weights(model, drawn)
    for part in ("weight", "bias"):
        ours, theirs = (
            [
                getattr(m, part).detach().flatten() * m.weight[0].numel() ** 0.5
                for m in reference.modules()
                if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))
                and getattr(m, part) is not None
            ]
            for reference in (drawn, torchs)
        )
        if not ours:  # ranker has no bias
            continue
        for values in map(torch.cat, (ours, theirs)):  # torch's own layers pass the same test
            assert values.abs().max().item() == pytest.approx(1, abs=max(0.01, 8 / len(values)))
            spread = 3**-0.5
            assert values.std().item() == pytest.approx(spread, abs=3 / len(values) ** 0.5)


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


@pytest.mark.parametrize("name", [n for n, a in ARCHS.items() if "widths" in a.options])
def test_widths_change_the_layers(name, rng):
    widths = (8, 16, 12, 10, 14)[: len(ARCHS[name].options["widths"])]
    model, reference = torch_initialized(name, rng, widths=widths), REFERENCES[name](widths=widths)
    copy_weights(model, reference)
    pairs = random_pairs(rng)
    received = model.predict(pairs.inputs(), verbose=0)
    expected = reference.eval()(as_nchw(pairs.left), as_nchw(pairs.right))
    for key, value in expected.items():
        np.testing.assert_allclose(received[key], value.detach().numpy(), atol=1e-6)


def test_sizes_that_report_004_names():
    assert trainable_parameters(build("auxnet3", widths=(16, 32, 64, 128))) == 29_260


@pytest.mark.parametrize("name", ["fc_1", "fc_2", "fc_3"])
def test_hidden_activations_of_report_003(name, rng):
    model = torch_initialized(name, rng, activation="sigmoid")
    reference = REFERENCES[name](activation="sigmoid")
    copy_weights(model, reference)
    pairs = random_pairs(rng)
    expected = reference(as_nchw(pairs.left), as_nchw(pairs.right))["comparison"]
    received = model.predict(pairs.inputs(), verbose=0)["comparison"]
    np.testing.assert_allclose(received, expected.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("name", [n for n, a in ARCHS.items() if "dropout" in a.options])
def test_dropout_acts_in_training_alone(name, rng):
    model, pairs = build(name, dropout=0.3), random_pairs(rng)
    first, second = (model(pairs.inputs(), training=True)["comparison"] for _ in range(2))
    assert (first != second).any()
    outputs = [model(pairs.inputs(), training=False)["comparison"] for _ in range(2)]
    assert (outputs[0] == outputs[1]).all()


def test_where_dropout_stands():
    """Its rates in order: 002 doubles the second, 003 has one, 004 has one before each layer."""

    def rates(name):
        return [la.rate for la in build(name).layers if isinstance(la, keras.layers.Dropout)]

    assert rates("wsal_bd") == [0.1, 0.2]
    assert rates("final_model") == [0.4]
    assert rates("basicnet1") == [0.5] * 2
    assert rates("auxnet2") == [0.5] * 4
    assert rates("auxnet3") == [0.5] * 6
    assert rates("auxws") == [0.15] * 4


def neighbours(name):
    """Of each dropout layer in order: type and activation before it, and the types after it."""
    rows = {row["name"]: row for row in layer_rows(build(name))}
    for row in rows.values():
        if row["type"] == "Dropout":
            before = rows[row["reads"][0][0][0]]
            after = {
                r["type"] for r in rows.values() if any((row["name"], 0) in c for c in r["reads"])
            }
            yield f"{before['type']} {before['details']}", after


@pytest.mark.parametrize("name", ["simple", "ws", "auxws"])
def test_dropout_of_report_001_follows_every_hidden_selu(name):
    before = [what for what, _ in neighbours(name)]
    units = (230, 100) if name == "simple" else (120, 10, 230, 100)
    assert before == [f"Dense {n} selu" for n in units]


def test_dropout_of_reports_002_and_003():
    stages = [what for what, _ in neighbours("wsal_d")]
    assert stages == ["Activation relu"] * 2
    assert [what.split()[0] for what, _ in neighbours("wsal_bd")] == ["BatchNormalization"] * 2
    ((what, after),) = neighbours("final_model")
    assert what.strip() == "Flatten"
    assert after == {"Stack"}  # both heads read it


@pytest.mark.parametrize("name", ["basicnet1", "auxnet1", "auxnet2", "auxnet3"])
def test_dropout_of_report_004_precedes_every_linear_layer(name):
    rows = layer_rows(build(name))
    dropouts = {row["name"] for row in rows if row["type"] == "Dropout"}
    for row in rows:
        if row["type"] == "Dense":
            assert row["reads"][0][0][0] in dropouts
    assert all(after == {"Dense"} for _, after in neighbours(name))


def test_rescaling_is_part_of_the_model(rng):
    model, plain = build("c4l2_ws", rescaling=(3.0, -0.5)), build("c4l2_ws")
    plain.set_weights(model.get_weights())
    pairs = random_pairs(rng)
    scaled = {key: 3 * images - 0.5 for key, images in pairs.inputs().items()}
    received = model.predict(pairs.inputs(), verbose=0)
    expected = plain.predict(scaled, verbose=0)
    for key in expected:
        np.testing.assert_allclose(received[key], expected[key], atol=1e-6)


def test_unknown_names_and_arguments_name_the_valid_ones():
    with pytest.raises(UsageError, match="unknown architecture 'auxsw': did you mean auxws"):
        build("auxsw")
    with pytest.raises(UsageError, match="auxws takes dropout; received droput"):
        build("auxws", droput=0.1)


def test_a_name_registers_once():
    with pytest.raises(ValueError, match="'simple' is registered twice"):

        @arch(report="mine", source="here", outputs={"comparison": "logits"})
        def simple(pair, *, classes=10):
            """Never registered."""

"""Every registered architecture against a transcription of its report in plain torch, in float64.

The networks are built without dropout, whose place and rates are tests of their own below.
"""

import math

import keras
import numpy as np
import pytest
import torch
from families import FAMILIES, FEW, OUTPUTS, chosen
from precision import EXACT, difference, float64
from torch_reference import REFERENCES, as_nchw, copy_weights

from kpairs import seeds
from kpairs.data.pairs import PairSet
from kpairs.errors import UsageError
from kpairs.models.diagram import layer_rows
from kpairs.models.initialization import initialize
from kpairs.models.pair import layers_of
from kpairs.models.registry import arch, trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.reports import RECIPES, REPORTS
from kpairs.training.batches import Batches
from kpairs.training.compile import compile_model
from kpairs.training.engine.lower import lower

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

TRANSCRIBED = sorted(name for name, about in ARCHS.items() if not about.linear)
DIGITS = [name for name, architecture in ARCHS.items() if "left_digit" in architecture.outputs]


@pytest.fixture(scope="module", autouse=True)
def in_float64():
    with float64():
        yield


def test_the_lists_of_kinds_are_those_of_the_networks():
    assert chosen() == (set(FAMILIES), set(OUTPUTS), set(FEW))


class Network:
    """A network as torch would begin it, and its transcription with the same weights."""

    def __init__(self, name, **options):
        self.name = name
        if "dropout" in ARCHS[name].options:
            options["dropout"] = 0.0
        self.model = build(name, **options)
        initialize(self.model, "torch", seeds.generator(0, 1, "initialization"))
        self.start = self.model.get_weights()
        self.reference, self.trained = (REFERENCES[name](**options).double() for _ in range(2))
        copy_weights(self.model, self.reference)

    def begin_again(self):
        self.model.set_weights(self.start)
        copy_weights(self.model, self.reference)

    def expected(self, inputs, training=False):
        """What the transcription gives, by output name."""
        left, right = (as_nchw(inputs[side]).double() for side in ("left", "right"))
        return self.reference.train(training)(left, right)

    def check_outputs(self, inputs):
        received, expected = self.model(inputs, training=False), self.expected(inputs)
        assert list(received) == list(expected)
        values = ([v.detach() for v in each.values()] for each in (received, expected))
        assert difference(*values) < EXACT

    def check_weights(self):
        copy_weights(self.model, self.trained)
        states = (each.state_dict().values() for each in (self.trained, self.reference))
        assert difference(*states) < EXACT


@pytest.fixture(scope="module", params=TRANSCRIBED)
def network(request):
    """Each network, built once for all tests that take it."""
    return Network(request.param)


def random_pairs(rng, count=8):
    images = rng.random((2, count, 14, 14, 1), dtype=np.float32)
    return PairSet(*images, *rng.integers(0, 10, (2, count)))


def test_the_tables_name_the_same_architectures():
    named = {name: recipe for name, recipe in RECIPES.items() if name != "posterior_long"}
    assert set(ARCHS) == set(named)
    assert set(PARAMETERS) == set(TRANSCRIBED) == set(REFERENCES)
    assert all(recipe.network.arch == name for name, recipe in named.items())


def test_parameters_outputs_and_report(network):
    name, model, architecture = network.name, network.model, ARCHS[network.name]
    assert trainable_parameters(model) == PARAMETERS[name]
    assert model.count_params() == KERAS_TOTALS.get(name, PARAMETERS[name])
    shapes = {key: tensor.shape for key, tensor in model.output.items()}
    digits = {"left_digit": (None, 10), "right_digit": (None, 10)} if name in DIGITS else {}
    units = 1 if architecture.outputs["comparison"] == "sigmoid" else 2
    scores = {key: (None, 1) for key, kind in architecture.outputs.items() if kind == "score"}
    assert shapes == {"comparison": (None, units)} | digits | scores
    assert list(shapes) == list(architecture.outputs)
    assert list(architecture.learned) == list(RECIPES[name].fit.loss_weights)
    assert architecture.report in (*REPORTS, "kpairs")
    assert architecture.function.__doc__


def test_outputs_equal_the_torch_transcription(network, rng):
    network.check_outputs(random_pairs(rng).inputs())


def test_torch_initialization_has_torchs_limits_and_spread(network):
    """Every convolution and dense layer, kernel and bias, times sqrt(fan_in): uniform in +-1."""
    torch.manual_seed(0)
    torchs = REFERENCES[network.name]()
    for part in ("weight", "bias"):
        for reference in (network.reference, torchs):  # torch's own layers pass the same test
            kinds = torch.nn.Conv2d, torch.nn.Linear
            layers = [m for m in reference.modules() if isinstance(m, kinds)]
            parts = [(getattr(m, part), m.weight[0].numel()) for m in layers]
            values = [(p.detach() * n**0.5).flatten() for p, n in parts if p is not None]
            if not values:  # ranker has no bias
                continue
            values = torch.cat(values)
            assert values.abs().max().item() == pytest.approx(1, abs=max(0.01, 8 / len(values)))
            assert values.std().item() == pytest.approx(3**-0.5, abs=3 / len(values) ** 0.5)


def reference_optimizer(recipe, parameters):
    """torch's own; with a step's epsilon as Keras' AdamW has it, before the bias correction."""
    rate, options = recipe.optimizer.learning_rate, dict(recipe.optimizer.options)
    if recipe.optimizer.name == "adadelta":
        return torch.optim.Adadelta(parameters, rate, options["rho"], options["epsilon"])
    betas, epsilon = (options["beta_1"], options["beta_2"]), options["epsilon"]
    if recipe.optimizer.name == "torch_adam":
        return torch.optim.Adam(parameters, rate, betas, epsilon, weight_decay=recipe.optimizer.l2)
    assert recipe.optimizer.name == "adamw"
    optimizer = torch.optim.AdamW(parameters, rate, betas, epsilon, options["weight_decay"])

    def scale_epsilon(optimizer, *_):
        step = 1 + max((int(s["step"]) for s in optimizer.state.values()), default=0)
        optimizer.param_groups[0]["eps"] = epsilon / math.sqrt(1 - betas[1] ** step)

    optimizer.register_step_pre_hook(scale_epsilon)
    return optimizer


def reference_loss(recipe, outputs, targets):
    """The weighted sum of torch's own losses."""
    total, cross_entropy = 0, torch.nn.functional.cross_entropy
    for name, kind in ARCHS[recipe.network.arch].learned.items():
        if kind == "sigmoid":
            unit, target = outputs[name][:, 0], targets[name].double()
            loss = torch.nn.functional.binary_cross_entropy(unit, target)
        else:
            assert kind == "logits" or recipe.fit.probabilities_as_logits
            loss = cross_entropy(outputs[name], targets[name].long())
        total += recipe.fit.loss_weights[name] * loss
    return total


def test_training_steps_equal_torch(network, rng):
    """Two steps of the recipe but dropout and schedule: losses, L2, optimizer, batch norm.

    By the lowered step, which is how kpairs trains: stock Keras lays out a convolution with one
    filter in a way for which torch has no float64 gradient.
    """
    network.begin_again()
    kinds, recipe = ARCHS[network.name].outputs, RECIPES[network.name]
    recipe = recipe.replace(schedule="constant")
    compile_model(network.model, recipe, ARCHS[network.name])
    optimizer = reference_optimizer(recipe, list(network.reference.parameters()))
    batches = Batches(random_pairs(rng, 32), kinds, 16)
    lower(network.model, *batches.first())
    for x, y in batches:
        network.model.train_function([(x, y)])
        optimizer.zero_grad()
        reference_loss(recipe, network.expected(x, training=True), y).backward()
        gradients = [p.grad.abs().max() for p in network.reference.parameters()]
        assert min(gradients) > 0, "a weight that nothing trains"
        optimizer.step()
    network.check_weights()
    network.begin_again()


@pytest.mark.parametrize("name", DIGITS)
def test_other_numbers_of_classes(name):
    outputs = build(name, classes=3).output
    assert [outputs[side].shape[1] for side in ("left_digit", "right_digit")] == [3, 3]


@pytest.mark.parametrize("name", [n for n, a in ARCHS.items() if "widths" in a.options])
def test_widths_change_the_layers(name, rng):
    widths = (8, 16, 12, 10, 14)[: len(ARCHS[name].options["widths"])]
    Network(name, widths=widths).check_outputs(random_pairs(rng).inputs())


def test_sizes_that_report_004_names():
    assert trainable_parameters(build("auxnet3", widths=(16, 32, 64, 128))) == 29_260


@pytest.mark.parametrize("name", ["fc_1", "fc_2", "fc_3"])
def test_hidden_activations_of_report_003(name, rng):
    Network(name, activation="sigmoid").check_outputs(random_pairs(rng).inputs())


@pytest.mark.parametrize("name", FEW)
def test_saved_and_rebuilt_models_agree(name, rng, tmp_path):
    network, pairs = Network(name), random_pairs(rng)
    network.model.save(tmp_path / "model.keras")
    rebuilt = build(name)
    rebuilt.load_weights(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = network.model.predict(pairs.inputs(), verbose=0)
    for other in (rebuilt, loaded):
        received = other.predict(pairs.inputs(), verbose=0)
        assert list(received) == list(expected)
        for key in expected:
            np.testing.assert_array_equal(received[key], expected[key])


def test_keras_initialization_is_glorot_with_zero_bias(rng):
    model, keras_drawn = build("auxws"), build("auxws")
    initialize(model, "keras", rng)
    for layer, other in zip(layers_of(model), layers_of(keras_drawn), strict=True):
        if hasattr(layer, "kernel"):
            kernel, bias = layer.get_weights()
            expected = other.get_weights()[0]
            assert abs(kernel).max() <= 1.1 * abs(expected).max()
            assert kernel.std() == pytest.approx(expected.std(), rel=0.2)
            assert not bias.any()


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
        return [la.rate for la in layers_of(build(name)) if isinstance(la, keras.layers.Dropout)]

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
            before = rows[row["reads"][0][0]]
            after = {r["type"] for r in rows.values() if any(row["name"] in c for c in r["reads"])}
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
    assert after == {"Identity"}  # the end of the tower, which both heads read


@pytest.mark.parametrize("name", ["basicnet1", "auxnet1", "auxnet2", "auxnet3"])
def test_dropout_of_report_004_precedes_every_linear_layer(name):
    rows = layer_rows(build(name))
    dropouts = {row["name"] for row in rows if row["type"] == "Dropout"}
    for row in rows:
        if row["type"] == "Dense":
            assert row["reads"][0][0] in dropouts
    assert all(after == {"Dense"} for _, after in neighbours(name))


def test_rescaling_is_part_of_the_model(rng):
    model, plain = build("c4l2_ws", rescaling=(3.0, -0.5)), build("c4l2_ws")
    plain.set_weights(model.get_weights())
    # Pixels and their products that float32, in which a model takes its inputs, holds exactly.
    inputs = {side: np.round(256 * x) / 256 for side, x in random_pairs(rng).inputs().items()}
    scaled = {side: 3.0 * images - 0.5 for side, images in inputs.items()}
    outputs = ([v.detach() for v in m(x).values()] for m, x in ((model, inputs), (plain, scaled)))
    assert difference(*outputs) < EXACT


def test_unknown_names_and_arguments_name_the_valid_ones():
    with pytest.raises(UsageError, match="unknown architecture 'auxsw': did you mean auxws"):
        build("auxsw")
    with pytest.raises(UsageError, match="auxws takes dropout; received droput"):
        build("auxws", droput=0.1)
    with pytest.raises(UsageError, match=r"auxws cannot be built with dropout 1.5, .* 0 and 1"):
        build("auxws", dropout=1.5)


def test_a_name_registers_once():
    with pytest.raises(ValueError, match="'simple' is registered twice"):

        @arch(report="mine", source="here", outputs={"comparison": "logits"})
        def simple(pair, *, classes=10):
            """Never registered."""

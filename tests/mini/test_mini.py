"""The mini framework: every backward against autograd and finite differences, and its studies."""

import ast
import doctest
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import kpairs
from hypothesis import given, settings
from hypothesis import strategies as st
from precision import EXACT, difference, float64
from torch.nn import functional

from kpairs import mini
from kpairs.data.splits import draw_pairs
from kpairs.errors import InputError, UsageError
from kpairs.networks import build
from kpairs.reports.chassagne.disc import digits, disc, trainings
from kpairs.reports.chassagne.disc.page import MiniPage, compare_rows
from kpairs.studies.compare import NOT_RUN
from kpairs.studies.results import Results

SOURCES = sorted(Path(mini.__file__).parent.glob("*.py"))
few = settings(deadline=None, max_examples=20)
size = st.integers(1, 5)
seed = st.integers(0, 2**31)


def spaced(seed, *shape):
    """Random float64 numbers of which no two are close and none is near 0: no kink is at hand."""
    count = math.prod(shape)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return ((order + 0.5 - count // 2) * 3 / count).to(torch.float64).view(shape)


def normal(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def as_autograd(module, parameters=()):
    """A function of tensors that autograd differentiates by the module's own backward."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context, x, *values):
            for name, value in zip(parameters, values, strict=True):
                setattr(module, name, value)
            context.values = x, values
            return module.forward(x)

        @staticmethod
        def backward(context, g):
            x, values = context.values
            for name, value in zip(parameters, values, strict=True):
                setattr(module, name, value)
            if not module.only_in_training:  # a second forward would drop other numbers
                module.forward(x)
            dx = module.backward(g)
            return dx, *(getattr(module, f"d{name}") for name in parameters)

    return Function.apply


def check(module, reference, x, parameters=()):
    """Forward and backward against torch's own function, and against finite differences."""
    values = [getattr(module, name).clone().requires_grad_() for name in parameters]
    inputs = [x.clone().requires_grad_(), *values]
    function = as_autograd(module, parameters)
    expected, received = reference(*inputs), function(*inputs)
    torch.testing.assert_close(received, expected)
    g = normal(1, *expected.shape)
    torch.testing.assert_close(
        torch.autograd.grad(received, inputs, g), torch.autograd.grad(expected, inputs, g)
    )
    assert torch.autograd.gradcheck(function, inputs)


@few
@given(size, size, size, seed)
def test_linear(n, inputs, outputs, seed):
    layer = mini.Linear(inputs, outputs, dtype=torch.float64)
    check(layer, functional.linear, normal(seed, n, inputs), ("w", "b"))


ELEMENTWISE = {
    mini.ReLU: functional.relu,
    mini.Tanh: torch.tanh,
    mini.Sigmoid: torch.sigmoid,
    mini.SELU: functional.selu,
}


@pytest.mark.parametrize("kind", ELEMENTWISE)
@few
@given(st.lists(size, min_size=1, max_size=4), seed)
def test_activations(kind, shape, seed):
    check(kind(), ELEMENTWISE[kind], spaced(seed, *shape))


@few
@given(size, size, seed)
def test_softmax(n, classes, seed):
    check(mini.Softmax(), lambda x: functional.softmax(x, 1), normal(seed, n, classes))


@few
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    seed,
)
def test_conv2d(n, inputs, outputs, kernel, more_high, more_wide, seed):
    layer = mini.Conv2d(inputs, outputs, kernel, dtype=torch.float64)
    x = normal(seed, n, inputs, kernel + more_high, kernel + more_wide)
    check(layer, functional.conv2d, x, ("w", "b"))


@few
@given(st.integers(1, 3), size, st.integers(1, 3), st.integers(0, 4), st.integers(0, 4), seed)
def test_maxpool2d(n, channels, pool, more_high, more_wide, seed):
    x = spaced(seed, n, channels, pool + more_high, pool + more_wide)
    check(mini.MaxPool2d(pool), lambda x: functional.max_pool2d(x, pool), x)


def test_equal_numbers_pool_as_in_torch():
    check_ties = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    functional.max_pool2d(check_ties, 2).sum().backward()
    pool = mini.MaxPool2d(2)
    pool.forward(check_ties)
    assert torch.equal(pool.backward(torch.ones(1, 1, 2, 2).double()), check_ties.grad)


@few
@given(st.lists(size, min_size=1, max_size=4), seed)
def test_flatten(shape, seed):
    check(mini.Flatten(), lambda x: x.flatten(1), normal(seed, 2, *shape))


@few
@given(size, size, st.floats(0, 0.9), seed)
def test_dropout(n, features, rate, seed):
    layer = mini.Dropout(rate, torch.Generator().manual_seed(seed))
    x = normal(seed, n, features).requires_grad_()
    received = layer.forward(x)
    dropped = (received == 0).double()
    expected = x * (1 - dropped) / (1 - rate)
    torch.testing.assert_close(received, expected.detach())
    g = normal(1, n, features)
    torch.testing.assert_close(layer.backward(g), torch.autograd.grad(expected, x, g)[0])
    fixed = mini.Dropout(rate, torch.Generator().manual_seed(seed))
    linear = as_autograd(fixed)
    assert torch.autograd.gradcheck(lambda x: _reseeded(fixed, linear, x, seed), [x])


def _reseeded(layer, function, x, seed):
    """Drops the same numbers each time, so that there is a function to differentiate."""
    layer.generator.manual_seed(seed)
    return function(x)


def test_dropout_drops_at_its_rate_and_keeps_the_mean():
    y = mini.Dropout(0.3, torch.Generator().manual_seed(0)).forward(torch.ones(100_000))
    assert (y == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert y.mean().item() == pytest.approx(1, abs=0.01)


def check_loss(loss, reference, output, target):
    output = output.clone().requires_grad_()
    expected = reference(output, target)
    torch.testing.assert_close(loss.forward(output, target), expected.detach())
    (gradient,) = torch.autograd.grad(expected, output)
    torch.testing.assert_close(loss.backward(output, target), gradient)

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.x = x
            return loss.forward(x, target)

        @staticmethod
        def backward(context, g):
            return g * loss.backward(context.x, target)

    assert torch.autograd.gradcheck(Function.apply, [output])


@few
@given(size, size, seed)
def test_mse(n, outputs, seed):
    def reference(output, target):
        return functional.mse_loss(output, target, reduction="sum") / n

    output, target = normal(seed, 2, n, outputs)
    check_loss(mini.LossMSE(), reference, output, target)


@few
@given(size, size, seed)
def test_cross_entropy(n, classes, seed):
    output = 3 * normal(seed, n, classes)
    target = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    check_loss(mini.LossCrossEntropy(), functional.cross_entropy, output, target)


def test_large_numbers_stay_finite():
    x = torch.tensor([[1000.0, -1000.0, 0.0]])
    for module in (mini.Tanh(), mini.Sigmoid(), mini.SELU(), mini.Softmax()):
        assert module.forward(x).isfinite().all(), module
        assert module.backward(torch.ones_like(x)).isfinite().all(), module
    loss, target = mini.LossCrossEntropy(), torch.tensor([1])
    assert loss.forward(x, target).item() == 2000
    assert loss.backward(x, target).tolist() == [[1, -1, 0]]


def network(dtype=torch.float64):
    draws = torch.Generator().manual_seed(0)
    sizes = {"generator": draws, "dtype": dtype}
    return mini.Sequential(
        mini.LossCrossEntropy(),
        mini.Conv2d(2, 3, 3, **sizes),
        mini.MaxPool2d(2),
        mini.SELU(),
        mini.Flatten(),
        mini.Linear(12, 5, **sizes),
        mini.Tanh(),
        mini.Dropout(0.0),
        mini.Linear(5, 3, "uniform", **sizes),
    )


def test_a_whole_network_by_autograd():
    """The chain rule over all layers, with respect to every parameter and the input."""
    net = network()
    x, target = spaced(3, 4, 2, 7, 6), torch.tensor([0, 2, 1, 1])
    leaves = [p.clone().requires_grad_() for p, _ in net.param()]
    image = x.clone().requires_grad_()
    cw, cb, lw, lb, ow, ob = leaves
    h = functional.selu(functional.max_pool2d(functional.conv2d(image, cw, cb), 2)).flatten(1)
    h = functional.linear(torch.tanh(functional.linear(h, lw, lb)), ow, ob)
    expected = torch.autograd.grad(functional.cross_entropy(h, target), [image, *leaves])
    loss, output = net.forward(x, target)
    dx = net.backward(output, target)
    torch.testing.assert_close([output, dx], [h.detach(), expected[0]])
    for (_, gradient), other in zip(net.param(), expected[1:], strict=True):
        torch.testing.assert_close(gradient, other)
    assert loss.shape == ()


def test_a_step_while_going_back_is_a_step_at_the_end():
    one, two = network(), network()
    x, target = normal(3, 4, 2, 7, 6), torch.tensor([0, 2, 1, 1])
    for _ in range(3):
        output = one.forward(x, target)[1]
        one.backward(output, target, eta=0.1)
        output = two.forward(x, target)[1]
        two.backward(output, target)
        for layer in two.layers:
            if isinstance(layer, mini.Weighted):
                layer.gradient_step(0.1)
    for (p, _), (q, _) in zip(one.param(), two.param(), strict=True):
        assert torch.equal(p, q)
    two.gradient_reset()
    assert all((g == 0).all() for _, g in two.param())
    assert any((g != 0).any() for _, g in one.param())


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (
            lambda net: mini.SGD(net, 0.1, momentum=0.9),
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        ),
        (
            lambda net: mini.Adam(net, 0.01, (0.8, 0.99), 1e-6, l2=0.1),
            lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.99), 1e-6, weight_decay=0.1),
        ),
    ],
)
def test_optimizers_step_as_torchs(ours, torchs):
    net = network()
    theirs = [p.clone().requires_grad_() for p, _ in net.param()]
    optimizer, reference = ours(net), torchs(theirs)
    x, target = normal(3, 4, 2, 7, 6), torch.tensor([0, 2, 1, 1])
    for _ in range(10):
        output = net.forward(x, target)[1]
        net.backward(output, target)
        for p, (_, gradient) in zip(theirs, net.param(), strict=True):
            p.grad = gradient.clone()
        optimizer.step()
        reference.step()
    for p, (q, _) in zip(theirs, net.param(), strict=True):
        torch.testing.assert_close(p.detach(), q)


def test_initialisations():
    draws = torch.Generator().manual_seed(0)
    normal_w = mini.Linear(400, 500, mean=0.5, sigma=2, generator=draws).w * 20
    assert normal_w.mean().item() == pytest.approx(0.5, abs=0.02)
    assert normal_w.std().item() == pytest.approx(2, abs=0.02)
    layer = mini.Conv2d(4, 500, 5, "uniform", generator=draws)
    assert 0.0999 < layer.w.abs().max().item() <= 0.1
    assert layer.w.std().item() == pytest.approx(0.1 / 3**0.5, abs=0.001)
    assert (layer.b == 0).all()
    assert (layer.dw == 0).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: mini.Linear(2, 3, "glorot"), TypeError, "'normal' or 'uniform', received 'glorot"),
        (lambda: mini.Conv2d(2, 3, 1, None), TypeError, "'normal' or 'uniform', received None"),
        (lambda: mini.Sequential(mini.Tanh()), TypeError, r"a loss first, received Tanh\(\)"),
        (lambda: mini.Sequential(mini.LossMSE()), TypeError, "received none"),
        (
            lambda: mini.Sequential(mini.LossMSE(), mini.Tanh(), mini.LossMSE()),
            TypeError,
            r"the loss first .* received LossMSE\(\) among the layers",
        ),
        (lambda: mini.Sequential(mini.LossMSE(), torch.tanh), TypeError, "expected modules"),
        (lambda: mini.Dropout(1), UsageError, "below 1, received 1"),
        (lambda: mini.Linear(0, 3), UsageError, r"Linear: expected sizes .* received \(3, 0\)"),
        (lambda: mini.MaxPool2d(0), UsageError, "at least 1, received 0"),
        (lambda: mini.Module(), TypeError, "abstract"),
        (lambda: mini.Tanh().forward([1.0]), TypeError, "expected a tensor, received list"),
        (lambda: mini.Tanh().backward(torch.ones(1)), AttributeError, "there after forward"),
        (
            lambda: mini.Linear(2, 3).forward(torch.ones(2, 4)),
            InputError,
            r"Linear\(2, 3, 'normal'\): expected shape \(n, 2\), received \(2, 4\)",
        ),
        (
            lambda: mini.LossMSE().forward(torch.ones(4, 2), torch.ones(4)),
            InputError,
            r"expected shape \(4, 2\), received \(4,\)",
        ),
        (
            lambda: mini.LossCrossEntropy().forward(torch.ones(2, 2), torch.tensor([0, 2])),
            InputError,
            "expected class numbers from 0 to 1",
        ),
        (
            lambda: mini.Conv2d(1, 1, 3).forward(torch.ones(1, 1, 2, 5)),
            InputError,
            "at least 3x3, received",
        ),
        (
            lambda: mini.MaxPool2d(3).forward(torch.ones(1, 1, 2, 5)),
            InputError,
            "at least 3x3, received",
        ),
        (lambda: disc.train_disc("gelu"), UsageError, "unknown activation 'gelu'"),
        (lambda: disc.train_disc(learning_rate=math.nan), UsageError, "learning_rate"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_reprs_make_the_same_module_again():
    net = network()
    names = {name: getattr(mini, name) for name in mini.__all__}
    assert repr(eval(repr(net), names)) == repr(net)
    assert str(net).splitlines()[1:3] == ["  Conv2d(2, 3, 3, 'normal')", "  MaxPool2d(2)"]
    for name in mini.__all__:
        assert "object at" not in repr(names[name])


MODULES = [
    mini.Linear(4, 3),
    mini.ReLU(),
    mini.Tanh(),
    mini.Sigmoid(),
    mini.SELU(),
    mini.Softmax(),
    mini.Flatten(),
    mini.Dropout(0.5),
    mini.Conv2d(2, 3, 2),
    mini.MaxPool2d(2),
]


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_autograd_is_off(module):
    """Nothing that a module computes requires a gradient, though everything that comes in does."""
    images = isinstance(module, (mini.Conv2d, mini.MaxPool2d))
    x = torch.rand(*(2, 2, 4, 4) if images else (5, 4), requires_grad=True)
    for parameter, _ in module.param():
        parameter.requires_grad_()
    y = module.forward(x)
    dx = module.backward(torch.rand_like(y, requires_grad=True))
    held = [v for v in vars(module).values() if isinstance(v, torch.Tensor) and v is not x]
    own = {id(p) for p, _ in module.param()}
    for tensor in (y, dx, *(t for t in held if id(t) not in own)):
        assert not tensor.requires_grad
        assert tensor.grad_fn is None
    assert torch.is_grad_enabled()  # only inside


def test_autograd_is_off_in_losses_networks_and_modules_of_ones_own():
    class Turned(mini.Module):
        def forward(self, x):
            return x.T

        def backward(self, g):
            return g.T

    x, target = torch.rand(5, 3, requires_grad=True), torch.rand(3, 5, requires_grad=True)
    net = mini.Sequential(mini.LossMSE(), Turned())
    loss, output = net.forward(x, target)
    assert not any(t.requires_grad for t in (loss, output, net.backward(output, target)))
    assert not net.predict(x).requires_grad
    assert not mini.LossMSE().forward(x, target.T).requires_grad


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.name)
def test_only_tensors(file):
    """No torch.nn, torch.optim or autograd is imported or used, in any spelling."""
    forbidden = {"nn", "optim", "autograd", "func", "functional", "requires_grad", "grad"}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in forbidden | {"requires_grad_", "enable_grad"}, node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert not forbidden & set(alias.name.split(".")), node.lineno
                assert alias.name.split(".")[0] != "keras"
        elif isinstance(node, ast.ImportFrom):
            names = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            assert not forbidden & names, node.lineno
            assert node.module != "torch", "torch's names are spelled torch.name here"


def test_importing_the_framework_changes_nothing_else():
    script = (
        "import torch, sys, kpairs.mini, kpairs.reports.chassagne.disc.disc\n"
        "print(torch.is_grad_enabled(), 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_the_example_does_what_it_says():
    assert doctest.testmod(mini).failed == 0
    assert doctest.testmod(mini).attempted > 5


def test_the_disc_is_the_reports():
    points, classes = disc.draw_points(20_000, torch.Generator().manual_seed(0))
    inside = np.hypot(*(points.numpy() - 0.5).T) <= 1 / np.sqrt(2 * np.pi)
    assert (classes.numpy() == inside).mean() > 0.9999  # rounding on the circle itself
    assert classes.double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert disc.one_hot(torch.tensor([0, 1])).tolist() == [[1, 0], [0, 1]]
    net = disc.disc_network("tanh", torch.Generator())
    assert sum(p.numel() for p, _ in net.param()) == 1427
    assert [type(layer) for layer in net.layers] == [mini.Linear, mini.Tanh] * 4


def test_the_disc_is_learned():
    run = disc.train_disc()
    assert len(run.history) == 100
    assert run.history[0]["test_error_pct"] > 30
    assert run.history[-1]["test_error_pct"] < 4
    wrong = (run.predictions() != run.classes).double().mean().item()
    assert run.history[-1]["test_error_pct"] == pytest.approx(100 * wrong)
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"] / 4
    x, y, margin = run.margins(3)
    assert (x[0].tolist(), y[:, 0].tolist()) == ([0, 0.5, 1], [0, 0.5, 1])
    assert margin[1, 1] > 0 > margin[0, 2]
    other = disc.train_disc(epochs=1, number=2, points=1)
    assert torch.equal(other.points, run.points)


def turned(kernel):
    """(k, k, in, out) or (in, out) as Keras has it -> (out, in, k, k) or (out, in)."""
    return kernel.permute(3, 2, 0, 1) if kernel.dim() == 4 else kernel.T


def test_simple_is_kerass(mnist):
    """Same weights, same digits: the same logits, loss and gradients as Keras under autograd."""
    pairs = draw_pairs(mnist["train"], 20, np.random.default_rng(0))
    net, (x, target) = digits.simple_network(dropout=0.0), digits.as_tensors(pairs)
    weighted = [layer for layer in net.layers if isinstance(layer, mini.Weighted)]
    with float64():
        model = build("simple", dropout=0.0)
        theirs = [layer for layer in model.layers if hasattr(layer, "kernel")]
        for ours, layer in zip(weighted, theirs, strict=True):
            kernel, bias = layer.kernel.value.detach(), layer.bias.value.detach()
            bias.copy_(torch.linspace(-0.3, 0.2, len(bias)))
            ours.w, ours.b = turned(kernel).clone(), bias.clone()
            ours.dw, ours.db = torch.zeros_like(ours.w), torch.zeros_like(ours.b)
        logits = model(pairs.inputs(), training=True)["comparison"]
    expected = functional.cross_entropy(logits, target)
    expected.backward()
    loss, output = net.forward(x.double(), target)
    net.backward(output, target)
    assert sum(p.numel() for p, _ in net.param()) == 58_380
    received, wanted = [loss, output], [expected.detach(), logits.detach()]
    for ours, layer in zip(weighted, theirs, strict=True):
        received += [ours.dw, ours.db]
        wanted += [turned(layer.kernel.value.grad), layer.bias.value.grad]
    assert difference(received, wanted) < EXACT


def test_digits_are_learned(workplace):
    rows = json.loads(kpairs("mini", "digits", "--epochs", "3", "--json"))
    (row,) = rows
    assert row["train_error_pct"] < 25 < 45  # 45 % is the constant answer
    assert row["test_error_pct"] < 35
    before = (workplace / "studies/mini-digits.csv").read_bytes()
    assert "test error (%)" in kpairs("mini", "digits", "--epochs", "3")
    assert (workplace / "studies/mini-digits.csv").read_bytes() == before


def test_train_draws_a_picture(workplace):
    text = kpairs("mini", "train", "--epochs", "3", "--learning-rate", "0.5")
    assert "picture in disc.png" in text
    assert "Linear(2, 25, 'normal')" in text
    assert (workplace / "disc.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads(
        kpairs("mini", "train", "--epochs", "2", "--picture", "a.svg", "--json", "--init=uniform")
    )
    assert [row["epoch"] for row in result["history"]] == [1, 2]
    assert "<svg" in (workplace / "a.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--activation", "gelu"], 2, "gelu"),
        (["train", "--learning-rate", "nan"], 2, "learning_rate: expected at least 0"),
        (
            ["train", "--activation", "relu", "--learning-rate", "1e9", "--epochs", "9"],
            1,
            "expected a smaller --learning-rate",
        ),
        (["train", "--epochs", "1", "--picture", "a.jpg"], 2, "ends in .png"),
        (["train", "--epochs", "1", "--picture", "nowhere/a.png"], 1, "nowhere"),
        (["train", "--epochs", "0"], 2, "epochs"),
        (["study", "--rounds", "0"], 2, "rounds"),
    ],
)
def test_command_refusals(arguments, code, message, workplace):
    assert message in kpairs("mini", *arguments, expect=code)


def short(count):
    """The first settings of the study, with a training of one epoch."""
    return [{**s, "epochs": 1} for s in trainings.disc_settings(2)][:count]


@pytest.mark.slow
def test_studies_train_nothing_twice(tmp_path):
    def run(count, processes=1):
        train, name = trainings.disc_row, trainings.DISC
        return list(trainings.train_missing(train, short(count), tmp_path, name, processes))

    assert len(run(8)) == 8
    before = trainings.rows_of(tmp_path, trainings.DISC)
    again = run(10, processes=2)
    assert sorted((r["round"], r["activation"], r["learning_rate"]) for r in again) == [
        (2, "tanh", 0.01),
        (2, "tanh", 0.05),
    ]
    assert run(10) == []
    rows = trainings.finished(short(10), tmp_path, trainings.DISC)
    assert len(rows) == 10
    assert rows.merge(before).equals(before)
    assert rows["backend"].str.startswith("torch ").all()
    compared = compare_rows(rows)
    assert len(compared) == 10
    assert NOT_RUN not in set(compared["verdict"])
    page = MiniPage(Results(tmp_path))
    assert "10 trainings" in page.markdown()
    assert set(page.drawn) == {"numbers"}


def test_a_page_of_nothing(tmp_path):
    page = MiniPage(Results(tmp_path))
    assert "No training has been run yet." in page.markdown()
    assert page.drawn == {}
    assert page.compared.empty


@pytest.mark.slow
def test_a_stopped_study_goes_on(workplace, monkeypatch):
    asked, row_of = [], trainings.disc_row

    def stopped(setting):
        asked.append(setting)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return row_of({**setting, "epochs": 1})

    monkeypatch.setattr(trainings, "disc_row", stopped)
    message = kpairs("mini", "study", "--rounds", "1", expect=130)
    assert "interrupted; 2 of 8 trainings are finished, saved in studies" in message
    before = trainings.rows_of("studies", trainings.DISC)
    rows = json.loads(kpairs("mini", "study", "--rounds", "1", "--json"))
    assert len(rows) == 8
    assert len(asked) == 9
    assert all(row in rows for row in before.to_dict("records"))
    assert "framework" not in kpairs("mini", "study", "--rounds", "1")
    kpairs("report", "chassagne", "--out", "pages")
    assert "mini-learned.svg" in os.listdir("pages/figures")
    assert "8 trainings" in Path("pages/mini.md").read_text()
    assert Path("pages/mini.html").read_text().count("<svg") == 2


def test_the_committed_study_is_whole():
    """All 400 trainings of the report's study are there, and further rounds where 50 were too few.

    Each is there once.
    """
    folder = Path(__file__).parents[2] / "docs" / "rows"
    rows = trainings.rows_of(folder, trainings.DISC)
    assert len(trainings.finished(trainings.disc_settings(), folder, trainings.DISC)) == 400
    further = rows[rows["round"] > 50]
    assert set(zip(further["activation"], further["learning_rate"], strict=True)) <= {
        ("relu", 0.05)
    }
    assert sorted(further["round"]) == list(range(51, 51 + len(further)))
    assert len(rows) == 400 + len(further)

"""Recipes as data, and loss weights that Keras would misassign without a word."""

import json
from dataclasses import fields, replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpairs.data import PairSet
from kpairs.errors import InputError, UsageError
from kpairs.networks import build
from kpairs.recipes import (
    Recipe,
    check_arguments,
    check_loss_weights,
    format_argument,
    format_loss_weights,
    parse_argument,
    parse_loss_weights,
)
from kpairs.reports import RECIPES
from kpairs.reports.resolve import for_arch, load_recipe, recipe_of, resolve
from kpairs.training.compile import compile_model

ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
NAMES = ("comparison", "left_digit", "right_digit")
weights = st.floats(0, 100).map(lambda w: float(np.float32(w)))


def parse(text, arch):
    return parse_loss_weights(text, tuple(recipe_of(arch).loss_weights), arch)


# What the reports and their authors' code say, copied by hand: optimizer, learning rate, batch,
# epochs, shuffled, pixels, weight of the comparison and of each digit, rounds.
STATED = {
    "c4l2_ws": ("torch_adam", 1e-3, 10, 20, True, "standardize", 1, 1, 20),
    "auxws": ("torch_adam", 3e-3, 100, 40, True, "none", 0.5, 1, 20),
    "wsal": ("adadelta", 0.1, 100, 25, False, "raw", 2, 1, 10),
    "wsal_d": ("adadelta", 0.2, 100, 25, False, "raw", 2, 1, 10),
    "wsal_b": ("adadelta", 1, 100, 25, False, "raw", 2, 1, 10),
    "wsal_bd": ("adadelta", 1, 100, 25, False, "raw", 2, 1, 10),
    "basic": ("adadelta", 1, 100, 25, False, "raw", 1, None, 10),
    "resnet": ("adadelta", 1, 100, 25, False, "raw", 1, None, 10),
    "fc_1": ("torch_adam", 1e-3, 5, 25, True, "standardize", 1, None, 4),
    "conv_3": ("torch_adam", 1e-3, 5, 25, True, "standardize", 1, None, 4),
    "cnn_base": ("torch_adam", 1e-3, 5, 25, True, "standardize", 1, None, 10),
    "final_model": ("torch_adam", 1e-3, 5, 25, True, "standardize", 0.5, 1, 10),
    "auxnet2": ("torch_adam", 5e-3, 100, 25, False, "standardize", 1, 1, 5),
}


@pytest.mark.parametrize("name", STATED)
def test_the_reports_recipes(name):
    r = RECIPES[name]
    weights = r.loss_weights["comparison"], r.loss_weights.get("left_digit")
    assert r.loss_weights.get("right_digit") == weights[1]
    numbers = (r.optimizer, r.learning_rate, r.batch_size, r.epochs, r.shuffle, r.normalization)
    assert (*numbers, *weights, r.reported_rounds) == STATED[name]
    assert (r.pairs, r.test_pairs, r.initialization) == (1000, 1000, "torch")


def test_what_only_some_recipes_have():
    for name, r in RECIPES.items():
        haidinger = "haidinger" in r.source
        assert r.l2 == (2.5e-5 if haidinger else 0)
        assert r.augmentation == ("shifts_and_swap" if haidinger else "none")
        assert (
            r.optimizer_options
            == {
                "torch_adam": ADAM,
                "adamw": {**ADAM, "weight_decay": 0.01},
                "adadelta": {"rho": 0.9, "epsilon": 1e-6},
            }[r.optimizer]
        )
        assert r.probabilities_as_logits == ("piguet" in r.source or name.startswith("wsal"))
        assert r.reported_epoch == ("best" if "altunina" in r.source else "last")


@settings(deadline=None)
@given(st.tuples(weights, weights, weights).filter(any), st.integers(0, 2**40), st.floats(0, 0.9))
def test_json_gives_the_same_recipe_back(values, seed, dropout):
    recipe = replace(
        RECIPES["auxws"],
        loss_weights=dict(zip(NAMES, values, strict=True)),
        seed=seed,
        arch_options={"dropout": dropout, "sizes": (3, (0.5, "relu")), "deep": True, "top": None},
    )
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    assert Recipe.from_json(RECIPES[name].to_json()) == RECIPES[name]


@pytest.mark.parametrize("name", ["auxws", "auxnet2", "fc_1", "c1l2"])
def test_files_of_before_there_were_arch_options(name):
    """Then three arguments were fields, and seven fields of today were not there."""
    values = json.loads(RECIPES[name].to_json())
    options = values.pop("arch_options")
    old = {**values, **{n: options.get(n) for n in ("widths", "dropout", "activation")}}
    for later in ("pairing", "distortion", "schedule", "averaging", "label_smoothing", "head"):
        del old[later]
    assert Recipe.from_json(json.dumps(old)) == RECIPES[name]
    with pytest.raises(InputError, match="unknown activation, dropout"):
        Recipe.from_json(json.dumps({**old, "arch_options": {}}))


def test_what_is_hashed_stays_when_arguments_and_fields_are_added():
    """The three arguments that were fields stand beside the fields; others only where set."""
    known = RECIPES["auxws"].identity()
    assert (known["dropout"], known["widths"], known["activation"]) == (0.15, None, None)
    assert not {"arch_options", "head", "averaging"} & set(known)
    deep = RECIPES["auxws"].replace(averaging=0.5).with_options(depth=3).identity()
    assert deep == {**known, "averaging": 0.5, "arch_options": {"depth": 3}}


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("3", 2, 3),
        ("3", 0.5, 3.0),
        ("1e-3", 0.5, 1e-3),
        ("False", True, False),
        ("gelu", "relu", "gelu"),
        ("32, 64,16", (8, 8), (32, 64, 16)),
        ("0.1,1", (0.5,), (0.1, 1.0)),
        *(("3", None, 3), ("0.5", None, 0.5), ("true", None, True), ("relu", None, "relu")),
    ],
)
def test_arguments_from_text(text, like, value):
    parsed = parse_argument("argument", text, like)
    assert (parsed, type(parsed)) == (value, type(value))
    assert parse_argument("argument", format_argument(value), like) == value


@pytest.mark.parametrize(
    ("text", "like", "message"),
    [
        ("3.5", 2, "depth: expected a whole number, received '3.5'"),
        ("x", 0.5, "depth: expected a number, received 'x'"),
        ("1", True, "depth: expected true or false, received '1'"),
        ("3,x", (8, 8), "expected depth such as 8,8, received '3,x'"),
    ],
)
def test_text_of_another_kind(text, like, message):
    with pytest.raises(UsageError, match=message):
        parse_argument("depth", text, like)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depht": 2}, "net takes deep, depth, sizes, top; received depht"),
        ({"depth": 2.0}, "depth of net: expected a whole number, received 2.0"),
        ({"depth": True}, "depth of net: expected a whole number, received True"),
        ({"deep": 1}, "deep of net: expected true or false, received 1"),
        ({"sizes": 3}, "sizes of net: expected several such as 8,8, received 3"),
        ({"sizes": (3, 0.5)}, "sizes of net: expected several such as 8,8"),
        ({"sizes": (3, 4, 5)}, "sizes: net expects 2 such as 8,8, received 3,4,5"),
    ],
)
def test_arguments_that_an_architecture_does_not_take(given, message):
    own = {"depth": 1, "deep": False, "sizes": (8, 8), "top": None}
    check_arguments("net", {"depth": 7, "sizes": (1, 2), "top": "any"}, own, {"sizes": 2})
    with pytest.raises(UsageError, match=message):
        check_arguments("net", given, own, {"sizes": 2})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"depth": object()}, "depth: expected a finite number, a name, true, false, none"),
        ({"depth": float("nan")}, "depth: expected a finite number"),
        ({"widths": (0,)}, "widths: expected whole numbers from 1 to 65536"),
        ({"no name": 1}, "expected arguments by name, received 'no name'"),
        ([("depth", 1)], "arch_options: expected a mapping"),
    ],
)
def test_arguments_that_no_recipe_holds(value, message):
    with pytest.raises(UsageError, match=message):
        RECIPES["auxws"].replace(arch_options=value)


@settings(max_examples=8, deadline=None)
@given(st.tuples(weights, weights, weights).filter(any), st.integers(0, 2**32))
def test_total_is_the_sum_of_weight_times_loss(values, seed):
    """Through compile and Keras' own evaluation, for any weights."""
    named = dict(zip(NAMES, values, strict=True))
    recipe = RECIPES["auxws"].replace(loss_weights=named, l2=0.0)
    model = build("auxws")
    compile_model(model, recipe)
    rng = np.random.default_rng(seed)
    images = rng.random((2, 6, 14, 14, 1), dtype=np.float32)
    pairs = PairSet(*images, *rng.integers(0, 10, (2, 6)))
    outputs = model.predict(pairs.inputs(), verbose=0)
    logs = model.evaluate(
        pairs.inputs(), pairs.targets(NAMES), verbose=0, return_dict=True, batch_size=6
    )
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = sum(named[n] * float(crossentropy(getattr(pairs, n), outputs[n])) for n in NAMES)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "arch", "expected"),
    [
        ("0.5,1", "auxws", (0.5, 1, 1)),
        (" 2 , 0 ", "auxws", (2, 0, 0)),
        ("right_digit=3,comparison=1,left_digit=2", "auxws", (1, 2, 3)),
        ("1", "ws", (1,)),
        ("comparison=4", "simple", (4,)),
    ],
)
def test_loss_weights_by_position_and_by_name(text, arch, expected):
    parsed = parse(text, arch)
    assert list(parsed.items()) == list(zip(NAMES, expected, strict=False))
    assert parse(format_loss_weights(parsed), arch) == parsed


@pytest.mark.parametrize(
    ("text", "arch", "message"),
    [
        ("0.5,1", "ws", "ws expects 1 .comparison., received 2; its outputs are comparison"),
        ("0.5", "auxws", "auxws expects 2 .comparison,each digit., received 1"),
        ("0.5,1,1", "auxws", "expects 2 .* received 3"),
        ("a,b", "auxws", "expected numbers such as 0.5,1, received 'a,b'"),
        ("", "auxws", "expected numbers"),
        (
            "-1,1",
            "auxws",
            "loss weight of comparison: expected a number from 0 to 1e.06, received -1",
        ),
        ("nan,1", "auxws", "received nan"),
        ("inf,1", "auxws", "received inf"),
        ("0,0", "auxws", "received only zeros"),
        ("comparison=1,left_digt=1,right_digit=1", "auxws", "'left_digt': did you mean left_digit"),
        ("comparison=1,left_digit=1", "auxws", "received none for right_digit"),
        ("comparison=1,1", "auxws", "all with names or none"),
        ("comparison=1,comparison=1", "auxws", "named twice"),
        ("1", "nope", "unknown architecture 'nope'"),
    ],
)
def test_loss_weights_that_are_refused(text, arch, message):
    with pytest.raises(UsageError, match=message):
        parse(text, arch)


def test_a_list_is_not_a_mapping_of_loss_weights():
    with pytest.raises(UsageError, match=r"loss_weights: expected .*mapping.*, received \[1, 0"):
        RECIPES["auxws"].replace(loss_weights=[1, 0.5, 0.5])
    with pytest.raises(UsageError, match=r"expected a number from 0 to 1e.06, received '1'"):
        check_loss_weights({"comparison": "1"}, ("comparison",), "ws")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, received 0"),
        ({"epochs": 2.5}, "epochs: expected a whole number, received 2.5"),
        ({"epochs": True}, "epochs: expected a whole number, received True"),
        ({"batch_size": -1}, "batch_size: expected at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number, received nan"),
        ({"learning_rate": -1.0}, "learning_rate: expected at least 0"),
        ({"arch_options": {"dropout": 1.0}}, "dropout: expected 0 to 0.999, received 1.0"),
        ({"shuffle": 1}, "shuffle: expected true or false, received 1"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean adam"),
        ({"augmentation": "flip"}, "unknown augmentation 'flip'"),
        ({"initialization": "Torch"}, "did you mean torch"),
        ({"optimizer_options": {"beta_1": 0.9}}, "adam expects beta_1, beta_2, epsilon"),
        ({"optimizer_options": {**RECIPES["auxws"].optimizer.options, "epsilon": "x"}}, "epsilon"),
        ({"classes": ()}, r"classes: expected names or none, received \(\)"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"batch_size": 10**21}, r"batch_size: expected 1 to 1e\+09"),
        ({"learning_rate": 10**400}, "learning_rate: expected a finite number"),
        (
            {"optimizer_options": {**ADAM, "beta_1": 1}},
            "beta_1 of torch_adam: expected at least",
        ),
        (
            {"optimizer_options": {**ADAM, "beta_2": -0.1}},
            "beta_2 of torch_adam: expected at least",
        ),
        ({"optimizer_options": {**ADAM, "epsilon": 0}}, "epsilon of torch_adam: expected above 0"),
        (
            {"loss_weights": {**RECIPES["auxws"].fit.loss_weights, "comparison": 1e39}},
            "loss_weights",
        ),
    ],
)
def test_values_that_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        RECIPES["auxws"].replace(**change)


def test_a_recipe_for_another_architecture():
    moved = for_arch(RECIPES["auxws"], "simple")
    assert (moved.arch, moved.loss_weights) == ("simple", {"comparison": 0.5})
    small = RECIPES["auxnet2"].with_options(widths=(8, 8, 16, 16), dropout=0.0)
    assert for_arch(small, "auxnet2") == small
    other = for_arch(small, "auxnet3")
    widths = RECIPES["auxnet3"].network.options["widths"]
    assert other.arch_options == {"widths": widths, "dropout": 0.0}
    with pytest.raises(UsageError, match="no loss weight for left_digit, right_digit of auxws"):
        for_arch(RECIPES["simple"], "auxws")


def test_variants_share_nothing():
    variant = RECIPES["auxws"].replace(epochs=3)
    variant.loss_weights["comparison"] = 7.0
    variant.optimizer_options["epsilon"] = 1.0
    assert RECIPES["auxws"].fit.loss_weights["comparison"] == 0.5
    assert RECIPES["ws"].optimizer.options == ADAM


def test_recipe_files(tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text(RECIPES["ws"].replace(epochs=3).to_json())
    assert load_recipe(str(file)).epochs == 3
    assert load_recipe(str(tmp_path)).epochs == 3  # the folder of a run
    assert load_recipe("simple") is RECIPES["simple"]
    assert resolve("posterior_long").arch == "posterior"  # a recipe of another name than its own
    assert resolve("posterior", "posterior_long") == resolve("posterior_long")
    assert resolve("posterior_s", "posterior_long").test_shifts == 5
    values = json.loads(file.read_text())
    cases = {
        "{": "expected a recipe in JSON",
        "[" * 100_000: "expected a recipe in JSON",
        f'{{"seed": {"9" * 5000}}}': "expected a recipe in JSON",
        "[1]": "expected a JSON object, received list",
        json.dumps({**values, "epoch": 1}): "unknown epoch",
        json.dumps({k: v for k, v in values.items() if k != "epochs"}): "missing epochs",
    }
    for text, message in cases.items():
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            load_recipe(str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read the recipe"):
        load_recipe(str(file))
    with pytest.raises(UsageError, match=r"unknown recipe .* 'axws': did you mean auxws"):
        load_recipe("axws")


def test_every_plain_field_has_a_help_text():
    spelled = {"arch", "source", "loss_weights", "optimizer_options", "arch_options"}
    spelled |= {"reported_rounds", "reported_epoch"}
    assert {f.name for f in fields(Recipe) if "help" not in f.metadata} == spelled

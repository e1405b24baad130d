"""Recipes as data, and loss weights that Keras would misassign without a word."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kpairs.data.pairs import PairSet
from kpairs.errors import InputError, UsageError
from kpairs.networks import ARCHS, build
from kpairs.recipes import (
    FIELDS,
    OPTIMIZERS,
    Recipe,
    check_arguments,
    check_loss_weights,
    format_argument,
    format_loss_weights,
    parse_argument,
    parse_loss_weights,
)
from kpairs.reports import RECIPES
from kpairs.reports.resolve import changes_of, for_arch, load_recipe, recipe_of
from kpairs.training.compile import compile_model

ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
NAMES = ("comparison", "left_digit", "right_digit")
weights = st.floats(0, 100).map(lambda w: float(np.float32(w)))


def parse(text, arch):
    return parse_loss_weights(text, tuple(recipe_of(arch).fit.loss_weights), arch)


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
    fit, data = r.fit, r.data
    weights = fit.loss_weights["comparison"], fit.loss_weights.get("left_digit")
    assert fit.loss_weights.get("right_digit") == weights[1]
    numbers = (r.optimizer.name, r.optimizer.learning_rate, fit.batch_size, fit.epochs)
    numbers += (fit.shuffle, data.normalization, *weights, r.reported_rounds)
    assert numbers == STATED[name]
    assert (data.pairs, data.test_pairs, r.network.initialization) == (1000, 1000, "torch")


def test_what_only_some_recipes_have():
    for name, r in RECIPES.items():
        haidinger = "haidinger" in r.origin
        assert r.optimizer.l2 == (2.5e-5 if haidinger else 0)
        assert r.variation.augmentation == ("shifts_and_swap" if haidinger else "none")
        assert (
            r.optimizer.options
            == {
                "torch_adam": ADAM,
                "adamw": {**ADAM, "weight_decay": 0.01},
                "adadelta": {"rho": 0.9, "epsilon": 1e-6},
            }[r.optimizer.name]
        )
        as_logits = "piguet" in r.origin or name.startswith("wsal")
        assert r.fit.probabilities_as_logits == as_logits
        assert r.reported_epoch == ("best" if "altunina" in r.origin else "last")


@settings(deadline=None)
@given(st.tuples(weights, weights, weights).filter(any), st.integers(0, 2**40), st.floats(0, 0.9))
def test_json_gives_the_same_recipe_back(values, seed, dropout):
    recipe = RECIPES["auxws"].replace(
        loss_weights=dict(zip(NAMES, values, strict=True)),
        seed=seed,
        arch_options={"dropout": dropout, "sizes": (3, (0.5, "relu")), "deep": True, "top": None},
    )
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    assert Recipe.from_json(RECIPES[name].to_json()) == RECIPES[name]


def flat_file(recipe):
    """What versions before there were groups wrote of a recipe."""
    values = recipe.flat()
    values["source"] = values.pop("origin")
    del values["word"]
    return values


@pytest.mark.parametrize("name", ["auxws", "auxnet2", "fc_1", "c1l2"])
def test_flat_files_of_earlier_versions(name):
    """The first had three arguments as fields, and lacked fields of today."""
    values = flat_file(RECIPES[name])
    assert Recipe.from_json(json.dumps(values)) == RECIPES[name]
    options = values.pop("arch_options")
    old = {**values, **{n: options.get(n) for n in ("widths", "dropout", "activation")}}
    for later in ("pairing", "distortion", "schedule", "averaging", "label_smoothing", "head"):
        del old[later]
    assert Recipe.from_json(json.dumps(old)) == RECIPES[name]
    graded = dict.fromkeys(("comparison", "left_grade", "right_grade"), 1.0)
    assert Recipe.from_json(json.dumps({**old, "loss_weights": graded})).data.word == "grade"
    with pytest.raises(InputError, match=r"unknown field of a recipe 'widths'|'dropout'"):
        Recipe.from_json(json.dumps({**old, "arch_options": {}}))


def test_a_key_is_of_what_differs_from_the_defaults_and_changes_a_training():
    recipe = RECIPES["auxws"]
    key = recipe.key()
    assert recipe.replace(rounds=7, origin="here", reported_epoch="best").key() == key
    assert recipe.replace(averaging=0.0, head="own").key() == key
    others = [{"averaging": 0.5}, {"seed": 1}, {"arch_options": {"dropout": 0.2}}, {"pairs": 5}]
    assert len({key, *(recipe.replace(**change).key() for change in others)}) == 5


def test_another_optimizer_brings_its_own_options():
    recipe = RECIPES["auxws"].replace(optimizer_options={"beta_1": 0.5})
    assert recipe.optimizer.options == {**ADAM, "beta_1": 0.5}
    assert recipe.replace(optimizer="adadelta").optimizer.options == OPTIMIZERS["adadelta"]
    kept = recipe.replace(optimizer="torch_adam", optimizer_options={"beta_2": 0.9})
    assert kept.optimizer.options == {**ADAM, "beta_1": 0.5, "beta_2": 0.9}


def test_nothing_can_be_assigned():
    recipe = RECIPES["auxws"]
    for of, name in ((recipe, "origin"), (recipe.fit, "epochs"), (recipe.data, "new")):
        with pytest.raises(ValidationError):
            setattr(of, name, 3)
    with pytest.raises(UsageError, match="unknown field of a recipe 'epoch': did you mean epochs"):
        recipe.replace(epoch=3)


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
        ({"no name": 1}, "expected arguments by name, received 'no name'"),
        ([("depth", 1)], "arch_options: expected a valid dictionary"),
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
    compile_model(model, recipe, ARCHS["auxws"])
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
    with pytest.raises(
        UsageError, match=r"loss_weights: expected a valid dictionary, received \(1, 0"
    ):
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
        ({"shuffle": 1}, "shuffle: expected true or false, received 1"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean adam"),
        ({"augmentation": "flip"}, "unknown augmentation 'flip': expected .* shifts_and_swap"),
        (
            {"initialization": "Torch"},
            "unknown initialization 'Torch': did you mean torch",
        ),
        ({"optimizer_options": {"rho": 0.9}}, "torch_adam expects beta_1, beta_2, epsilon; .* rho"),
        ({"optimizer_options": {**RECIPES["auxws"].optimizer.options, "epsilon": "x"}}, "epsilon"),
        ({"classes": ()}, "classes: expected to have at least 1 item"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"batch_size": 10**21}, "batch_size: expected at most 1000000000"),
        ({"learning_rate": 10**400}, "learning_rate: expected a number"),
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
            "loss weight of comparison: expected a number from 0 to 1e.06",
        ),
    ],
)
def test_values_that_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        RECIPES["auxws"].replace(**change)


def test_a_recipe_for_another_architecture():
    moved = for_arch(RECIPES["auxws"], "simple")
    assert (moved["arch"], moved["loss_weights"]) == ("simple", {"comparison": 0.5})
    small = RECIPES["auxnet2"].with_options(widths=(8, 8, 16, 16), dropout=0.0)
    assert changes_of(small, "auxnet2") == {}
    other = for_arch(small, "auxnet3")
    widths = RECIPES["auxnet3"].network.options["widths"]
    assert small.replace(**other).network.options == {"widths": widths, "dropout": 0.0}
    with pytest.raises(UsageError, match="no loss weight for left_digit, right_digit of auxws"):
        for_arch(RECIPES["simple"], "auxws")


def test_variants_share_nothing():
    variant = RECIPES["auxws"].replace(epochs=3)
    variant.fit.loss_weights["comparison"] = 7.0
    variant.optimizer.options["epsilon"] = 1.0
    assert RECIPES["auxws"].fit.loss_weights["comparison"] == 0.5
    assert RECIPES["ws"].optimizer.options == ADAM


def test_paths_become_texts():
    assert RECIPES["ws"].replace(images=Path("folder")).data.images == "folder"


def test_recipe_files(tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text(RECIPES["ws"].replace(epochs=3).to_json())
    assert load_recipe(str(file)).fit.epochs == 3
    assert load_recipe(str(tmp_path)).fit.epochs == 3  # the folder of a run
    assert load_recipe("simple") is RECIPES["simple"]
    long = load_recipe("posterior_long")  # a recipe of another name than its own
    assert long.network.arch == "posterior"
    assert long.replace(**changes_of(long, "posterior")) == long
    assert long.replace(**changes_of(long, "posterior_s")).network.test_shifts == 5
    values = json.loads(file.read_text())
    cases = {
        "{": "expected a recipe in JSON",
        "[" * 100_000: "expected a recipe in JSON",
        f'{{"seed": {"9" * 5000}}}': "expected a recipe in JSON",
        "[1]": "expected a JSON object, received list",
        json.dumps({**values, "epoch": 1}): "unknown epoch",
        json.dumps({**values, "fit": {**values["fit"], "epoch": 1}}): "unknown epoch",
        json.dumps({**values, "fit": {"loss_weights": {"comparison": 1}}}): "missing epochs",
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
    spelled = {"arch", "origin", "loss_weights", "optimizer_options", "word"}
    spelled |= {"reported_rounds", "reported_epoch"}
    assert {name for name, field in FIELDS.items() if not field.info.description} == spelled

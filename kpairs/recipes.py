"""Recipes: everything that a training needs, spelled out; one per architecture.

A recipe is data. Nothing here imports Keras, so that the command line can check names, numbers
and loss weights before it spends seconds on importing it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from kpairs.errors import InputError, UsageError, unknown

AUGMENTATIONS = ("none", "shifts_and_swap")
INITIALIZATIONS = ("torch", "keras")
# Every hyperparameter of each optimizer beside its learning rate, with torch's defaults: the
# reports were written in torch, and Keras' defaults differ (Adam epsilon 1e-7). Keras' Adam adds
# epsilon before the bias correction and torch's after it, so that gradients near epsilon move
# differently in the first steps.
OPTIMIZERS = {
    "adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
}


def _field(help_text, default=None, minimum=None, maximum=None, choices=None):
    """A recipe field with what the command line and the checks need to know of it."""
    metadata = {"help": help_text, "min": minimum, "max": maximum, "choices": choices}
    return (
        field(metadata=metadata) if default is None else field(default=default, metadata=metadata)
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All hyperparameters of a training; `dataclasses.replace` makes variants, checked anew.

    Attributes:
        arch: name of the architecture.
        source: where the recipe comes from (report and section).
        loss_weights: weight of each named output's loss; total = sum of weight * loss (+ L2).
        optimizer_options: every hyperparameter of the optimizer beside its learning rate.
        dropout: rate of the architecture's dropout layers; None where it has none.
        l2: coupled L2 as torch's `weight_decay`: adds `l2 * w` to the gradient of every
            parameter, biases included, which is a penalty of `l2 / 2 * ||w||^2`.

    The others are described by their help texts below, which `kpairs train --help` shows.

    Raises:
        UsageError: an unknown name or a value outside its range.
    """

    arch: str
    source: str
    loss_weights: Mapping[str, float]
    data: str = _field("mnist, fashionmnist, kmnist, qmnist, or a folder of images", "mnist")
    pairs: int = _field("training pairs drawn per round", 1000, minimum=1)
    test_pairs: int = _field("test pairs drawn per round", 1000, minimum=1)
    augmentation: str = _field(
        "shifts_and_swap: 9 one-pixel shifts x both orders", "none", choices=AUGMENTATIONS
    )
    epochs: int = _field("passes over the training pairs", minimum=1)
    batch_size: int = _field("pairs per optimizer step", minimum=1)
    shuffle: bool = _field("draw a new order of the pairs in each epoch", True)
    optimizer: str = _field("optimizer", choices=tuple(OPTIMIZERS))
    learning_rate: float = _field("learning rate", minimum=0.0)
    optimizer_options: Mapping[str, float]
    l2: float = _field("coupled L2 (torch's weight_decay) on every parameter", 0.0, minimum=0.0)
    dropout: float | None = _field(
        "rate of the architecture's dropout layers", minimum=0.0, maximum=0.999
    )
    initialization: str = _field(
        "starting weights drawn as torch or as Keras does by default", choices=INITIALIZATIONS
    )
    rounds: int = _field("trainings, each with its own pairs and initial weights", 1, minimum=1)
    seed: int = _field("seed of every random draw", 0, minimum=0)

    def __post_init__(self):
        for f in fields(self):
            _check(f, getattr(self, f.name))
        options = OPTIMIZERS[self.optimizer]
        if set(self.optimizer_options) != set(options):
            raise UsageError(
                f"optimizer_options: {self.optimizer} expects {', '.join(options)}; "
                f"received {', '.join(self.optimizer_options) or 'none'}"
            )
        check_loss_weights(self.loss_weights, self.outputs, self.arch)

    @property
    def outputs(self):
        """Names of the architecture's outputs, in order."""
        # A user's own architecture has no recipe here; build() checks its outputs.
        return tuple(RECIPES.get(self.arch, self).loss_weights)

    def for_arch(self, arch):
        """This recipe for another architecture: same numbers, that one's outputs and dropout.

        Raises:
            UsageError: an unknown architecture, or one with outputs that this recipe's loss
                weights do not name.
        """
        own = recipe_of(arch)
        missing = [name for name in own.loss_weights if name not in self.loss_weights]
        if missing:
            raise UsageError(
                f"the recipe gives no loss weight for {', '.join(missing)} of {arch}: "
                f"expected loss weights such as {format_loss_weights(own.loss_weights)}"
            )
        weights = {name: self.loss_weights[name] for name in own.loss_weights}
        dropout = None if own.dropout is None else self.dropout or 0.0
        return replace(self, arch=arch, loss_weights=weights, dropout=dropout)

    def to_json(self):
        """The recipe as JSON text, which `from_json` reads back to an equal recipe."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text, name="recipe"):
        """Read a recipe from JSON text.

        Raises:
            InputError: not JSON, not an object, unknown or missing fields.
            UsageError: a field's value is refused.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{name}: expected a recipe in JSON, received: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{name}: expected a JSON object, received {type(values).__name__}")
        expected = {f.name for f in fields(cls)}
        if set(values) != expected:
            raise InputError(
                f"{name}: expected the fields of a recipe; "
                f"missing {sorted(expected - set(values)) or 'none'}, "
                f"unknown {sorted(set(values) - expected) or 'none'}"
            )
        return cls(**values)


def _is_number(value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


# What a field of each type holds, and how to tell.
_KINDS = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a name", lambda value: isinstance(value, str)),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    float: ("a finite number", _is_number),
    float | None: ("a finite number or none", lambda v: v is None or _is_number(v)),
    Mapping[str, float]: (
        "a mapping of names to finite numbers",
        lambda v: isinstance(v, Mapping) and all(map(_is_number, v.values())),
    ),
}


def _check(f, value):
    wanted, is_kind = _KINDS[f.type]
    if not is_kind(value):
        raise UsageError(f"{f.name}: expected {wanted}, received {value!r}")
    if value is None:
        return
    rules = f.metadata
    choices = rules.get("choices")
    if choices and value not in choices:
        raise unknown(f.name, value, choices)
    low, high = rules.get("min"), rules.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        wanted = f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
        raise UsageError(f"{f.name}: expected {wanted}, received {value!r}")


def check_loss_weights(weights, outputs, arch):
    """Refuse loss weights whose names are not exactly the outputs, or that are not weights.

    Keras matches a list, or a dict with a mistyped key, by position in sorted order and says
    nothing, so a wrong name trains the wrong output.

    Raises:
        UsageError: missing or unknown names, negative or non-finite weights, or all zero.
    """
    for name in weights:
        if name not in outputs:
            raise unknown(f"output of {arch} in loss weights", name, outputs)
    missing = [name for name in outputs if name not in weights]
    if missing:
        raise UsageError(
            f"loss weights: expected one for each output of {arch}; "
            f"received none for {', '.join(missing)}"
        )
    for name, weight in weights.items():
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight < 0:
            raise UsageError(
                f"loss weight of {name}: expected a finite number >= 0, received {weight!r}"
            )
    if not any(weights.values()):
        raise UsageError("loss weights: expected at least one above 0, received only zeros")


def parse_loss_weights(text, arch):
    """Turn "0.5,1" or "comparison=0.5,left_digit=1,right_digit=1" into a name-to-weight dict.

    Without names, the first number weighs the comparison loss and the second each digit loss:
    total = w_comparison * L_comparison + w_digit * (L_left + L_right).

    Raises:
        UsageError: not numbers, a wrong count, or names that are not the outputs of `arch`.
    """
    outputs = recipe_of(arch).outputs
    parts = [part.strip() for part in text.split(",")]
    named = [part.partition("=") for part in parts]
    has_names = [bool(equals) for _, equals, _ in named]
    try:
        if all(has_names):
            weights = {name.strip(): float(value) for name, _, value in named}
            if len(weights) != len(named):
                raise UsageError(f"loss weights: an output is named twice in {text!r}")
        elif any(has_names):
            raise UsageError(f"loss weights: expected all with names or none, received {text!r}")
        else:
            weights = _by_position([float(part) for part in parts], outputs, arch)
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"loss weights: expected numbers such as 0.5,1, received {text!r}"
        ) from error
    check_loss_weights(weights, outputs, arch)
    return {name: weights[name] for name in outputs}


def _by_position(values, outputs, arch):
    expected = min(len(outputs), 2)
    if len(values) != expected:
        meaning = "comparison,each digit" if expected == 2 else "comparison"
        raise UsageError(
            f"loss weights: {arch} expects {expected} ({meaning}), received {len(values)}; "
            f"its outputs are {', '.join(outputs)}"
        )
    return {name: values[min(i, 1)] for i, name in enumerate(outputs)}


def format_loss_weights(weights):
    """The weights as the command line takes them: "comparison=0.5,left_digit=1"."""
    return ",".join(f"{name}={weight:g}" for name, weight in weights.items())


def recipe_of(arch):
    """The recipe that an architecture's report trained it with.

    Raises:
        UsageError: an unknown architecture.
    """
    if arch not in RECIPES:
        raise unknown("architecture", arch, RECIPES)
    return RECIPES[arch]


def load_recipe(name):
    """The recipe of an architecture by its name, or the one in a JSON file.

    Raises:
        UsageError: neither a known architecture nor a file.
        InputError: a file that is not a recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if not path.is_file():
        raise unknown("recipe (an architecture's name or a file)", name, RECIPES)
    try:
        return Recipe.from_json(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot read the recipe: {error}") from error


RECIPES: dict[str, Recipe] = {}

# Report 001, section 3 and its authors' code: 18,000 augmented pairs, images scaled to
# [0, 1]; 84.1 % (simple), 87.2 % (ws) and 97.1 % (auxws) test accuracy after the last epoch.
_HAIDINGER = Recipe(
    arch="auxws",
    source="haidinger (report 001), section 3",
    loss_weights={"comparison": 0.5, "left_digit": 1.0, "right_digit": 1.0},
    augmentation="shifts_and_swap",
    epochs=40,
    batch_size=100,
    optimizer="adam",
    learning_rate=3e-3,
    optimizer_options=OPTIMIZERS["adam"],
    l2=2.5e-5,
    dropout=0.15,
    initialization="torch",
)

RECIPES |= {
    "simple": replace(_HAIDINGER, arch="simple", loss_weights={"comparison": 1.0}),
    "ws": replace(_HAIDINGER, arch="ws", loss_weights={"comparison": 1.0}),
    "auxws": _HAIDINGER,
}

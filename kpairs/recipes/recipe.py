"""The recipe: everything that a training needs, as data."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields

from kpairs.errors import InputError, UsageError, unknown
from kpairs.recipes.loss_weights import check_loss_weights

AUGMENTATIONS = ("none", "shifts_and_swap")
PAIRINGS = ("drawn", "swapped", "renewed")
DISTORTIONS = ("none", "affine", "elastic")
SCHEDULES = ("constant", "one_cycle")
HEADS = ("own", "posterior")
INITIALIZATIONS = ("torch", "keras")
# Every hyperparameter of each optimizer beside its learning rate, with torch's defaults: the
# reports were written in torch, and Keras' defaults differ (Adam epsilon 1e-7). `adam` is Keras',
# which adds epsilon before the bias correction; `torch_adam` adds it after, as the reports' did.
_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
OPTIMIZERS = {
    "adam": _ADAM,
    "torch_adam": _ADAM,
    "adamw": {"weight_decay": 0.01, **_ADAM},
    "adadelta": {"rho": 0.9, "epsilon": 1e-6},
}
NORMALIZATIONS = ("none", "standardize", "raw")
_LARGEST = 1e30  # what float32 computes with; a larger number is a slip
_MOST = 10**9
_WIDEST = 65536
ACTIVATIONS = ("relu", "sigmoid", "tanh", "selu")
# Fields that recipes written before did not have.
_LATER = ("pairing", "distortion", "schedule", "averaging", "label_smoothing", "head")
_LATER += ("validate_every",)
REPORTED_EPOCHS = ("last", "best")


def _field(help_text, default=MISSING, minimum=None, maximum=None, choices=None):
    """A recipe field with what the command line and the checks need to know of it."""
    metadata = {"help": help_text, "min": minimum, "max": maximum, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All hyperparameters of a training; `dataclasses.replace` makes variants, checked anew.

    Attributes:
        arch: name of the architecture.
        source: where the recipe comes from (report and section).
        loss_weights: weight of each named output's loss; total = sum of weight * loss (+ L2).
        optimizer_options: every hyperparameter of the optimizer beside its learning rate.
        widths, dropout, activation: the architecture's own arguments, None where it has none.
        l2: coupled L2 as torch's `weight_decay`: adds `l2 * w` to the gradient of every
            parameter, biases included, which is a penalty of `l2 / 2 * ||w||^2`.
        probabilities_as_logits: reports 000 and 002 end networks in a softmax and train them with
            a cross-entropy that applies another. That is a property of their recipes: it bounds
            the gradients, and the numbers they report come from it. False takes the logarithm of
            the probabilities, as a cross-entropy should.
        reported_rounds, reported_epoch: how many rounds stand behind the report's figures, and
            whether they are of the last or of the best epoch on the test pairs; they change
            nothing in training.

    The others are described by their help texts below, which `kpairs train --help` shows.

    Raises:
        UsageError: an unknown name or a value outside its range.
    """

    arch: str
    source: str
    loss_weights: Mapping[str, float]
    data: str = _field("mnist, fashionmnist, kmnist, qmnist, or a folder of images", "mnist")
    pairs: int = _field("training pairs drawn per round", 1000, minimum=1, maximum=_MOST)
    test_pairs: int = _field("test pairs drawn per round", 1000, minimum=1, maximum=_MOST)
    augmentation: str = _field(
        "shifts_and_swap: 9 one-pixel shifts x both orders", "none", choices=AUGMENTATIONS
    )
    pairing: str = _field(
        "drawn, or in each epoch anew: swapped (random sides), renewed (all images paired again)",
        "drawn",
        choices=PAIRINGS,
    )
    distortion: str = _field(
        "random distortion of every image in each epoch: affine, or elastic (affine too)",
        "none",
        choices=DISTORTIONS,
    )
    epochs: int = _field("passes over the training pairs", minimum=1, maximum=_MOST)
    batch_size: int = _field("pairs per optimizer step", minimum=1, maximum=_MOST)
    shuffle: bool = _field("draw a new order of the pairs in each epoch", True)
    optimizer: str = _field("optimizer", choices=tuple(OPTIMIZERS))
    learning_rate: float = _field("learning rate", minimum=0.0)
    schedule: str = _field(
        "learning rate over the training: constant, or one_cycle up to it and down to 0",
        "constant",
        choices=SCHEDULES,
    )
    optimizer_options: Mapping[str, float]
    averaging: float = _field(
        "decay per epoch of a moving average of the weights, which is the result; 0 for none",
        0.0,
        minimum=0.0,
        maximum=0.999,
    )
    label_smoothing: float = _field(
        "share of each digit's target spread over all digits", 0.0, minimum=0.0, maximum=0.999
    )
    l2: float = _field("coupled L2 (torch's weight_decay) on every parameter", 0.0, minimum=0.0)
    widths: tuple[int, ...] | None = _field(
        "sizes of the architecture's layers: 32,32,64,256", None
    )
    dropout: float | None = _field(
        "rate of the architecture's dropout layers", None, minimum=0.0, maximum=0.999
    )
    activation: str | None = _field("activation of the hidden layers", None, choices=ACTIVATIONS)
    head: str = _field(
        "what compares: the architecture's own head, or posterior (exactly from the digits)",
        "own",
        choices=HEADS,
    )
    normalization: str = _field(
        "pixels as the network sees them: none 0..1, raw 0..255, or standardize by the training "
        "pairs' mean and deviation",
        "none",
        choices=NORMALIZATIONS,
    )
    probabilities_as_logits: bool = _field(
        "train softmax outputs by a cross-entropy that applies softmax again", False
    )
    initialization: str = _field(
        "starting weights drawn as torch or as Keras does by default", choices=INITIALIZATIONS
    )
    rounds: int = _field(
        "trainings, each with its own pairs and initial weights", 1, minimum=1, maximum=_MOST
    )
    seed: int = _field("seed of every random draw", 0, minimum=0)
    validate_every: int = _field(
        "epochs from one evaluation on the test pairs to the next; the last always has one",
        1,
        minimum=1,
        maximum=_MOST,
    )
    reported_rounds: int | None = None
    reported_epoch: str = field(default="last", metadata={"choices": REPORTED_EPOCHS})

    def __post_init__(self):
        for f in fields(self):
            _check(f, getattr(self, f.name))
        for name in ("loss_weights", "optimizer_options"):  # variants share no dict
            object.__setattr__(self, name, dict(getattr(self, name)))
        options = OPTIMIZERS[self.optimizer]
        if set(self.optimizer_options) != set(options):
            raise UsageError(
                f"optimizer_options: {self.optimizer} expects {', '.join(options)}; "
                f"received {', '.join(self.optimizer_options) or 'none'}"
            )
        for name, value in self.optimizer_options.items():
            if not (value > 0 if name == "epsilon" else 0 <= value < 1):
                wanted = "above 0" if name == "epsilon" else "at least 0 and below 1"
                raise UsageError(f"{name} of {self.optimizer}: expected {wanted}, received {value}")
        check_loss_weights(self.loss_weights, tuple(self.loss_weights), self.arch)

    @property
    def arch_options(self):
        """The architecture's own arguments that this recipe sets, as `kpairs.build` takes them."""
        names = ("widths", "dropout", "activation")
        options = {n: value for n in names if (value := getattr(self, n)) is not None}
        return options if self.head == "own" else {**options, "head": self.head}

    def identity(self):
        """The recipe as a dict without the fields that came later and are at their defaults.

        What is known by a hash of it (a study's trainings) keeps its name when fields are added.
        """
        later = {f.name: f.default for f in fields(self) if f.name in _LATER}
        return {n: v for n, v in asdict(self).items() if n not in later or v != later[n]}

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
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}: expected a recipe in JSON, received: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{name}: expected a JSON object, received {type(values).__name__}")
        required = {f.name for f in fields(cls) if f.default is MISSING}
        excess = set(values) - {f.name for f in fields(cls)}
        if excess or not required <= set(values):
            raise InputError(
                f"{name}: expected the fields of a recipe; "
                f"missing {', '.join(sorted(required - set(values))) or 'none'}, "
                f"unknown {', '.join(sorted(excess)) or 'none'}"
            )
        if isinstance(values.get("widths"), list):
            values["widths"] = tuple(values["widths"])
        return cls(**values)


def _is_number(value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= _LARGEST  # NaN is not


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_width(value):
    return _is_whole(value) and 0 < value <= _WIDEST


# What a field of each type holds, and how to tell.
_KINDS = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a name", lambda value: isinstance(value, str)),
    int: ("a whole number", _is_whole),
    int | None: ("a whole number or none", lambda v: v is None or _is_whole(v)),
    tuple[int, ...] | None: (
        f"whole numbers from 1 to {_WIDEST} or none",
        lambda v: v is None or (isinstance(v, tuple) and v and all(map(_is_width, v))),
    ),
    str | None: ("a name or none", lambda v: v is None or isinstance(v, str)),
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
        unbounded = high is None or (high == _MOST and value < low)
        wanted = f"at least {low:g}" if unbounded else f"{low:g} to {high:g}"
        raise UsageError(f"{f.name}: expected {wanted}, received {value!r}")

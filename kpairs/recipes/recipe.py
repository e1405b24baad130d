"""The recipe: everything that a training needs, as data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from kpairs.data.settings import FITS, FLIPS, INKS, LARGEST_SIDE
from kpairs.errors import InputError, UsageError
from kpairs.recipes.checks import MOST, check_argument, check_backbone, check_field
from kpairs.recipes.loss_weights import check_loss_weights

AUGMENTATIONS = ("none", "shifts_and_swap")
TIES = ("no_higher", "half")
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
# Arguments of architectures that had fields of their own once: in files of then and in what is
# hashed they stand beside the fields.
_ONCE_FIELDS = ("widths", "dropout", "activation")
REPORTED_EPOCHS = ("last", "best")


def _field(
    help_text: str,
    default: Any = MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    later: bool = False,
) -> Any:
    """A recipe field with what the command line and the checks need to know of it.

    Args:
        help_text: what `kpairs train --help` says.
        default: its value where none is given.
        minimum: its least value.
        maximum: its largest value.
        choices: its values.
        later: whether there were recipes before it: at its default it is no part of `identity`.
    """
    metadata = {"help": help_text, "min": minimum, "max": maximum, "choices": choices}
    return field(default=default, metadata={**metadata, "later": later})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All hyperparameters of a training; `dataclasses.replace` makes variants, checked anew.

    Attributes:
        arch: name of the architecture.
        source: where the recipe comes from (report and section).
        loss_weights: weight of each named output's loss; total = sum of weight * loss (+ L2).
        optimizer_options: every hyperparameter of the optimizer beside its learning rate.
        arch_options: the architecture's own arguments by name, such as `dropout`: numbers, names,
            true or false, and tuples of them.
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
    data: str = _field(
        "mnist, fashionmnist, kmnist, qmnist, a folder of images, a CSV file of image,grade, or "
        "one of left,right,label",
        "mnist",
    )
    columns: Mapping[str, str] | None = _field(
        "headers of a CSV file of pairs, where they are others: left=image_0,right=image_1,"
        "label=label_1",
        None,
        later=True,
    )
    ties: str = _field(
        "comparison of equal classes: as left <= right, or half, a tie of judged pairs",
        "no_higher",
        choices=TIES,
        later=True,
    )
    classes: tuple[str, ...] | None = _field(
        "grades of one's own images, lowest first, where they are no numbers: mild,moderate,severe",
        None,
        later=True,
    )
    image_size: tuple[int, int] | None = _field(
        "size of the network's images, 64 or 64x48 (width x height); default: from the images",
        None,
        minimum=1,
        maximum=LARGEST_SIDE,
        later=True,
    )
    channels: int | None = _field(
        "1 for grey, 3 for RGB; default: from the images", None, minimum=1, maximum=3, later=True
    )
    fit: str | None = _field(
        "what is done to images of another shape; default pad",
        None,
        choices=tuple(FITS),
        later=True,
    )
    ink: str | None = _field(
        "images are bright on dark, dark on bright, mixed as photographs are, or auto, by the look "
        "of each; default: from the images",
        None,
        choices=tuple(INKS),
        later=True,
    )
    pairs: int = _field("training pairs drawn per round", 1000, minimum=1, maximum=MOST)
    test_pairs: int = _field("test pairs drawn per round", 1000, minimum=1, maximum=MOST)
    augmentation: str = _field(
        "shifts_and_swap: 9 one-pixel shifts x both orders", "none", choices=AUGMENTATIONS
    )
    pairing: str = _field(
        "drawn, or in each epoch anew: swapped (random sides), renewed (all images paired again)",
        "drawn",
        choices=PAIRINGS,
        later=True,
    )
    distortion: str = _field(
        "random distortion of every image in each epoch: affine, or elastic (affine too)",
        "none",
        choices=DISTORTIONS,
        later=True,
    )
    flip: str = _field(
        "mirror half of the images in each epoch: horizontal, or both (upside down too)",
        "none",
        choices=FLIPS,
        later=True,
    )
    rotation: float = _field(
        "turn each image by up to so many degrees in each epoch",
        0.0,
        minimum=0.0,
        maximum=180.0,
        later=True,
    )
    crop: float = _field(
        "cut up to this share off each image's width and height in each epoch",
        0.0,
        minimum=0.0,
        maximum=0.9,
        later=True,
    )
    brightness: float = _field(
        "make each image brighter or darker by up to this share in each epoch",
        0.0,
        minimum=0.0,
        maximum=0.9,
        later=True,
    )
    epochs: int = _field("passes over the training pairs", minimum=1, maximum=MOST)
    batch_size: int = _field("pairs per optimizer step", minimum=1, maximum=MOST)
    shuffle: bool = _field("draw a new order of the pairs in each epoch", True)
    optimizer: str = _field("optimizer", choices=tuple(OPTIMIZERS))
    learning_rate: float = _field("learning rate", minimum=0.0)
    schedule: str = _field(
        "learning rate over the training: constant, or one_cycle up to it and down to 0",
        "constant",
        choices=SCHEDULES,
        later=True,
    )
    optimizer_options: Mapping[str, float]
    averaging: float = _field(
        "decay per epoch of a moving average of the weights, which is the result; 0 for none",
        0.0,
        minimum=0.0,
        maximum=0.999,
        later=True,
    )
    label_smoothing: float = _field(
        "share of each digit's target spread over all digits",
        0.0,
        minimum=0.0,
        maximum=0.999,
        later=True,
    )
    l2: float = _field("coupled L2 (torch's weight_decay) on every parameter", 0.0, minimum=0.0)
    arch_options: Mapping[str, Any] = field(default_factory=dict)
    head: str = _field(
        "what compares: the architecture's own head, or posterior (exactly from the digits)",
        "own",
        choices=HEADS,
        later=True,
    )
    backbone: str | None = _field(
        "network of keras.applications in place of our networks' tower, such as MobileNetV2",
        None,
        later=True,
    )
    backbone_weights: str = _field(
        "the backbone's first weights: none (drawn), imagenet, or a file; what is not drawn is "
        "trained in the epochs of --fine-tune alone",
        "none",
        later=True,
    )
    fine_tune: int = _field(
        "last epochs in which a backbone's own weights are trained too, at a tenth of the rate",
        0,
        minimum=0,
        maximum=MOST,
        later=True,
    )
    test_shifts: int = _field(
        "places at which posterior sees each image once it is trained: 1, or 5 for the mean of its "
        "log-posteriors there, as it is and moved by half a pixel to each side",
        1,
        minimum=1,
        maximum=5,
        later=True,
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
        "trainings, each with its own pairs and initial weights", 1, minimum=1, maximum=MOST
    )
    seed: int = _field("seed of every random draw", 0, minimum=0)
    validate_every: int = _field(
        "epochs from one evaluation on the test pairs to the next; the last always has one",
        1,
        minimum=1,
        maximum=MOST,
        later=True,
    )
    validation: float = _field(
        "share of the training images set aside: the result is the epoch that is best on their "
        "pairs; 0 for the last epoch",
        0.0,
        minimum=0.0,
        maximum=0.9,
        later=True,
    )
    patience: int = _field(
        "stop after so many epochs without a better one on the validation pairs; 0 for never",
        0,
        minimum=0,
        maximum=MOST,
        later=True,
    )
    reported_rounds: int | None = None
    reported_epoch: str = field(default="last", metadata={"choices": REPORTED_EPOCHS})

    def __post_init__(self) -> None:
        for name in ("arch_options", "classes", "columns", "image_size"):
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        for f in fields(self):
            check_field(f, getattr(self, f.name))
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
        for name, value in self.arch_options.items():
            check_argument(name, value)
        if self.patience and not self.validation:
            raise UsageError(
                "patience: expected a share of the images in validation, received none"
            )
        check_loss_weights(self.loss_weights, tuple(self.loss_weights), self.arch)
        check_backbone(self)

    @property
    def word(self) -> str:
        """What outputs call a class: "grade" where the loss weights do, else "digit"."""
        return "grade" if "left_grade" in self.loss_weights else "digit"

    @property
    def build_options(self) -> dict[str, Any]:
        """What `kpairs.build` takes by name: the architecture's arguments, and what is unusual."""
        options: dict[str, Any] = dict(self.arch_options)
        if self.head != "own":
            options["head"] = self.head
        if self.backbone is not None:
            options["backbone"] = self.backbone
        if self.test_shifts != 1:
            options["test_shifts"] = self.test_shifts
        if self.image_size is not None:
            options["input_shape"] = (*self.image_size[::-1], self.channels or 1)
        if self.word != "digit":
            options["word"] = self.word
        return options

    def with_options(self, **options: Any) -> "Recipe":
        """Return a variant with these arguments of the architecture, the others as they are."""
        return replace(self, arch_options={**self.arch_options, **options})

    def identity(self) -> dict[str, Any]:
        """Return the recipe as a dict without the fields that came later and are at their defaults.

        What is known by a hash of it (a study's trainings) keeps its name when fields are added.
        """
        values = asdict(self)
        for f in fields(self):
            if f.metadata.get("later") and values[f.name] == f.default:
                del values[f.name]
        options = values.pop("arch_options")
        values |= {name: options.pop(name, None) for name in _ONCE_FIELDS}
        return {**values, "arch_options": options} if options else values

    def to_json(self) -> str:
        """Return the recipe as JSON text, which `from_json` reads back to an equal recipe."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, name: object = "recipe") -> "Recipe":
        """Read a recipe from JSON text.

        Args:
            text: what `to_json` gave, of this version or an earlier one.
            name: what messages call it.

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
        if "arch_options" not in values:
            once = {n: values.pop(n) for n in _ONCE_FIELDS if n in values}
            values["arch_options"] = {n: v for n, v in once.items() if v is not None}
        known = {f.name for f in fields(cls)}
        optional = {
            f.name
            for f in fields(cls)
            if f.default is not MISSING or f.default_factory is not MISSING
        }
        excess, missing = set(values) - known, known - optional - set(values)
        if excess or missing:
            raise InputError(
                f"{name}: expected the fields of a recipe; "
                f"missing {', '.join(sorted(missing)) or 'none'}, "
                f"unknown {', '.join(sorted(excess)) or 'none'}"
            )
        return cls(**values)


def _tuples(value: Any) -> Any:
    """A copy with tuples for lists, as JSON has them, so that equal recipes compare equal."""
    if isinstance(value, Mapping):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value

"""The recipe: everything that a training needs, as data, in five groups."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from kpairs.data.settings import FEATURES, LARGEST_SIDE, MOST_FEATURES, WHITE, PixelSettings
from kpairs.data.words import OF_CLASS, output_name
from kpairs.errors import InputError, UsageError, unknown
from kpairs.recipes.texts import check_loss_weights

if TYPE_CHECKING:
    from kpairs.data.source import Source

MOST = 10**9
# How images of one's own are read.
READ_BY = ("columns", "words", "images", "group", "classes", "white", "skip_missing")
FOLDS = "folds"  # of `held_out`
LINEAR, LINEAR_GRADES = "linear", "linear_grades"
SOLVED = (LINEAR, LINEAR_GRADES)  # architectures whose heads are solved for, not trained
# Pairs that are drawn of rated images, so that every rating is learned from, and how many at most.
_PAIRS_AN_IMAGE, _MOST_DRAWN = {LINEAR: 3, LINEAR_GRADES: 1}, 10_000
_VALIDATION = 0.5  # share of the images that say whether fine-tuning a linear head helps
_WIDEST = 65536  # of a layer; a wider one would fill the memory before it is refused
# Every hyperparameter of each optimizer beside its learning rate, with torch's defaults: the
# reports were written in torch, and Keras' defaults differ (Adam epsilon 1e-7). `adam` is Keras',
# which adds epsilon before the bias correction; `torch_adam` adds it after, as the reports' did.
_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
OPTIMIZERS: dict[str, dict[str, float]] = {
    "adam": _ADAM,
    "torch_adam": _ADAM,
    "adamw": {"weight_decay": 0.01, **_ADAM},
    "adadelta": {"rho": 0.9, "epsilon": 1e-6},
}


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Network(_Group):
    """The network, and its first weights."""

    arch: str
    options: dict[str, Any] = Field({}, description="the architecture's own arguments by name")
    head: Literal["own", "posterior", "ordinal"] = Field(
        "own",
        description="what compares: own, posterior (exactly, from digits or grades) or ordinal "
        "(one number and thresholds); linear_grades takes the better one",
    )
    backbone: str | None = Field(
        None,
        description="network in place of the tower, such as MobileNetV2 or torchvision/resnet18",
    )
    backbone_weights: str = Field(
        "none",
        description="its first weights: none (drawn), imagenet or a file, which --fine-tune "
        "alone trains",
    )
    test_shifts: int = Field(
        1,
        ge=1,
        le=5,
        description="readings of each image that posterior averages: 1, or 5 by shifts of half "
        "a pixel",
    )
    initialization: Literal["torch", "keras"] = Field(
        description="first weights, drawn as torch or as Keras does"
    )

    @field_validator("options", mode="after")
    @classmethod
    def _plain_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if not name.isidentifier():
                raise ValueError(f"expected arguments by name, received {name!r}")
            if isinstance(value, tuple) and not all(_is_width(n) for n in value):
                raise ValueError(f"{name}: expected from 1 to {_WIDEST}, received {value!r}")
            if name == "dropout" and isinstance(value, float) and not 0 <= value < 1:
                raise ValueError(f"dropout: expected at least 0 and less than 1, received {value}")
            if not _is_plain(value):
                raise ValueError(
                    f"{name}: expected a finite number, a name, true, false, none or a list of "
                    f"them, received {value!r}"
                )
        return options


class Data(_Group):
    """The images, the pairs drawn from them, and how they become a network's input.

    Attributes:
        word: what outputs call a class: "digit", or "grade" for images of one's own.
    """

    source: str = Field(
        "mnist",
        description="mnist, fashionmnist, kmnist, qmnist, a folder of images, or a table: "
        "graded (image,grade), scored (image,score) or compared (left,right,label)",
    )
    columns: dict[str, str] | None = Field(
        None, description="the table's own headers: left=image_0,right=image_1,left_wins=label_0"
    )
    words: dict[str, str] | None = Field(
        None, description="the table's own words for winners: left=model_a,right=model_b,tie=equal"
    )
    images: str | None = Field(
        None,
        description="folder of the images that a table names, if not the table's own; or a .npz "
        "or .csv file of features by name",
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="images of one split, such as a patient's: those of a folder, or a regular "
        "expression whose match names the group",
    )
    classes: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="grades that are no numbers, lowest first: mild,moderate,severe",
    )
    image_size: tuple[int, int] | None = Field(
        None, description="size of the network's images: 64, or 64x48 (width x height)"
    )
    channels: Literal[1, 3] | None = Field(None, description="1 for grey, 3 for RGB")
    fit: Literal["pad", "crop", "stretch"] | None = Field(
        None, description="what happens to images of another shape; default: pad"
    )
    ink: Literal["bright", "dark", "mixed", "auto"] | None = Field(
        None,
        description="look of the images: bright on dark, dark on bright, mixed (photographs) or "
        "auto",
    )
    white: int = Field(
        WHITE, ge=1, le=WHITE, description="level of 16-bit greys that is white: 4095 for 12 bits"
    )
    skip_missing: bool = Field(
        False, description="leave out a table's rows that name missing images"
    )
    word: Literal["digit", "grade"] = "digit"
    pairs: int = Field(1000, ge=1, le=MOST, description="training pairs drawn per round")
    test_pairs: int = Field(1000, ge=1, le=MOST, description="test pairs drawn per round")
    ties: Literal["no_higher", "half"] = Field(
        "no_higher",
        description="comparison of equal classes: no_higher (left <= right) or half (a tie)",
    )
    margin: float = Field(
        0.0, ge=0, description="largest difference of two scores that counts as a tie"
    )
    held_out: Literal["images", "folds"] | None = Field(
        None,
        description="tests a table without splits: a fifth of its images, or folds "
        "(cross-validated)",
    )
    validation: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="share of training images that choose the best epoch; 0 takes the last",
    )
    normalization: Literal["none", "standardize", "raw"] = Field(
        "none",
        description="pixels that the network sees: 0..1, standardized over the training pairs, "
        "or raw 0..255",
    )

    @property
    def read_by(self) -> dict[str, Any]:
        """The keywords of `kpairs.open_source` by which the images are read."""
        return {name: getattr(self, name) for name in READ_BY}

    @property
    def is_complete(self) -> bool:
        """True if size, channels, fit and ink of images are all decided."""
        return None not in (self.image_size, self.channels, self.fit, self.ink)

    @property
    def tested(self) -> str:
        """The word for errors on pairs that did not train."""
        return "cross-validated" if self.held_out == FOLDS else "test"

    @field_validator("image_size", mode="after")
    @classmethod
    def _sides(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        row = size is not None and size[1] == 1 <= size[0] <= MOST_FEATURES  # of features
        if size is not None and not (row or all(1 <= side <= LARGEST_SIDE for side in size)):
            raise ValueError(f"expected 1 to {LARGEST_SIDE} pixels a side")
        return size


class Variation(_Group):
    """Changes of training pairs and images, once or in each epoch."""

    augmentation: Literal["none", "shifts_and_swap"] = Field(
        "none", description="add each pair in nine one-pixel shifts and both orders"
    )
    pairing: Literal["drawn", "swapped", "renewed"] = Field(
        "drawn",
        description="pairs of each epoch: as drawn, with swapped sides, or of images paired again",
    )
    distortion: Literal["none", "affine", "elastic"] = Field(
        "none", description="distort every image at random in each epoch; elastic includes affine"
    )
    flip: Literal["none", "horizontal", "both"] = Field(
        "none",
        description="mirror half of the images in each epoch: horizontally, or upside down too",
    )
    rotation: float = Field(0.0, ge=0, le=180, description="turn images by up to so many degrees")
    crop: float = Field(0.0, ge=0, le=0.9, description="cut up to this share off width and height")
    brightness: float = Field(
        0.0, ge=0, le=0.9, description="change brightness by up to this share"
    )


class Optimizer(_Group):
    """The optimizer, its hyperparameters, and what is done to the weights.

    Attributes:
        options: every hyperparameter beside the learning rate; left out ones are torch's defaults.
        l2: coupled L2 as torch's `weight_decay`: adds `l2 * w` to the gradient of every parameter,
            biases included, which is a penalty of `l2 / 2 * ||w||^2`.
    """

    name: Literal["adam", "torch_adam", "adamw", "adadelta"] = Field(description="optimizer")
    learning_rate: float = Field(ge=0, description="learning rate")
    schedule: Literal["constant", "one_cycle"] = Field(
        "constant", description="learning rate over time: constant, or up to it and down to 0"
    )
    options: dict[str, float] = {}
    l2: float = Field(0.0, ge=0, description="coupled L2, torch's weight_decay")
    averaging: float = Field(
        0.0,
        ge=0,
        le=0.999,
        description="decay per epoch of the weights' moving average; 0 for none",
    )

    @model_validator(mode="after")
    def _all_options(self) -> Self:
        defaults = OPTIMIZERS[self.name]
        if excess := set(self.options) - set(defaults):
            raise ValueError(
                f"optimizer_options: {self.name} expects {', '.join(defaults)}; received "
                f"{', '.join(sorted(excess))}"
            )
        options = {**defaults, **self.options}
        for name, value in options.items():
            if not (value > 0 if name == "epsilon" else 0 <= value < 1):
                wanted = "above 0" if name == "epsilon" else "at least 0 and below 1"
                raise ValueError(f"{name} of {self.name}: expected {wanted}, received {value}")
        object.__setattr__(self, "options", options)
        return self


class Fit(_Group):
    """Losses, and the passes over the pairs.

    Attributes:
        loss_weights: weight of each named output's loss; total = sum of weight * loss (+ L2).
        probabilities_as_logits: reports 000 and 002 end networks in a softmax and train them with
            a cross-entropy that applies another. That is a property of their recipes: it bounds
            the gradients, and the numbers they report come from it. False takes the logarithm of
            the probabilities, as a cross-entropy should.
    """

    loss_weights: dict[str, float]
    pair_loss: Literal["logistic", "hinge", "soft_zero_one"] = Field(
        "logistic",
        description="loss of scores: logistic (Bradley-Terry), or those of kpairs[ranking]",
    )
    label_smoothing: float = Field(
        0.0, ge=0, le=0.999, description="share of each digit's target spread over all digits"
    )
    probabilities_as_logits: bool = Field(
        False, description="apply softmax twice, as reports 000 and 002 do"
    )
    epochs: int = Field(ge=1, le=MOST, description="passes over the training pairs")
    batch_size: int = Field(ge=1, le=MOST, description="pairs per optimizer step")
    shuffle: bool = Field(True, description="new order of the pairs in each epoch")
    fine_tune: int = Field(
        0,
        ge=0,
        le=MOST,
        description="last epochs that train a backbone too, at a tenth of the rate",
    )
    validate_every: int = Field(
        1, ge=1, le=MOST, description="epochs from one evaluation to the next"
    )
    patience: int = Field(
        0,
        ge=0,
        le=MOST,
        description="epochs without a better one on validation pairs until training stops; 0 "
        "for never",
    )
    rounds: int = Field(
        1, ge=1, le=MOST, description="trainings, each with its own pairs and initial weights"
    )
    seed: int = Field(0, ge=0, description="seed of every random draw")


class FlatField(NamedTuple):
    """A field of a recipe by its flat name, as the command line has it.

    Attributes:
        group: the group that holds it; "" for the recipe itself.
        name: its name there.
        info: its default, bounds and help text.
    """

    group: str
    name: str
    info: FieldInfo

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values that it takes, where they are a few names or numbers."""
        parts = [self.info.annotation, *get_args(self.info.annotation)]
        return next((get_args(p) for p in parts if getattr(p, "__origin__", None) is Literal), ())

    @property
    def kind(self) -> Any:
        """The type of its value, without None."""
        kind, *others = get_args(self.info.annotation) or (self.info.annotation,)
        return kind if type(None) in others else self.info.annotation


log = logging.getLogger(__name__)
_COUNTS = {"pairs": "train", "test_pairs": "test"}


def _possible(source: Source, part: str, most: int, wanted: int) -> int:
    """Return the number of pairs to draw: no more than there are; say where that is fewer."""
    if most < 1:
        raise InputError(
            f"{source.name}: expected two images or more in the {part} split, received one; where "
            "nothing says the split, about a fifth of the images is for testing"
        )
    if wanted > most:
        log.info(
            "%s: all %s %s pairs (%s were wanted)", source.name, f"{most:,}", part, f"{wanted:,}"
        )
    return min(wanted, most)


# Fields whose name in their group is short, because the group says the rest.
_SHORT = {
    ("network", "options"): "arch_options",
    ("data", "source"): "data",
    ("optimizer", "name"): "optimizer",
    ("optimizer", "options"): "optimizer_options",
}
# Names of files of earlier versions.
_ONCE_ARGUMENTS = ("widths", "dropout", "activation")


class Recipe(_Group):
    """All hyperparameters of a training, which nothing changes; `replace` makes variants.

    Fields have flat names too (`epochs`, `arch_options`, `data`), as on the command line: `of`,
    `replace` and `flat` use those.

    >>> import kpairs
    >>> short = kpairs.RECIPES["auxws"].replace(epochs=3, seed=7)
    >>> short.fit.epochs, short.optimizer.learning_rate
    (3, 0.003)

    Attributes:
        network, data, variation, optimizer, fit: the groups.
        origin: the report and section that the recipe comes from.
        reported_rounds, reported_epoch: how many rounds stand behind the report's figures, and
            whether they are of the last or of the best epoch on the test pairs; they change
            nothing in training.
    """

    network: Network
    data: Data = Field(default_factory=Data)  # type: ignore[arg-type]
    variation: Variation = Field(default_factory=Variation)  # type: ignore[arg-type]
    optimizer: Optimizer
    fit: Fit
    origin: str
    reported_rounds: int | None = None
    reported_epoch: Literal["last", "best"] = "last"

    @model_validator(mode="before")
    @classmethod
    def _of_linear(cls, values: Any) -> Any:
        """Give a linear head its one epoch, and fine-tuning its own and images to validate by."""
        parts = ("network", "data", "fit")
        if isinstance(values, dict) and all(isinstance(values.get(p), dict) for p in parts):
            tuned = values["fit"].get("fine_tune", 0)
            if values["network"].get("arch") in SOLVED and isinstance(tuned, int):
                values = {**values, "fit": {**values["fit"], "epochs": 1 + tuned}}
                if tuned and not values["data"].get("validation"):
                    values["data"] = {**values["data"], "validation": _VALIDATION}
        return values

    @model_validator(mode="after")
    def _groups_together(self) -> Self:
        network, fit = self.network, self.fit
        check_loss_weights(fit.loss_weights, tuple(fit.loss_weights), network.arch)
        if self.data.held_out == FOLDS and not self.takes_folds:
            raise ValueError(
                "held_out: expected images; folds are for the architecture linear, without "
                "fine_tune, validation and augmentation"
            )
        if fit.patience and not self.data.validation:
            raise ValueError(
                "patience: expected a share of the images in validation, received none"
            )
        loaded = network.backbone is not None and network.backbone_weights != "none"
        loaded |= network.arch in SOLVED  # whose network is chosen later
        if network.backbone is None and network.backbone_weights != "none":
            raise ValueError(
                "backbone_weights: expected a backbone for them, received "
                f"{network.backbone_weights}"
            )
        if fit.fine_tune > (fit.epochs if loaded else 0):
            wanted = f"at most the {fit.epochs} epochs" if loaded else "a backbone's loaded weights"
            raise ValueError(f"fine_tune: expected {wanted}, received {fit.fine_tune}")
        return self

    @classmethod
    def of(cls, **fields: Any) -> Recipe:
        """Make a recipe from fields by their flat names.

        Raises:
            UsageError: an unknown field, a missing one, or a value that is refused.
        """
        return _validated(_grouped({}, fields))

    def replace(self, **fields: Any) -> Recipe:
        """Return a variant with other values of some fields, by their flat names.

        Another optimizer comes with its own options; given options replace single ones.

        Raises:
            UsageError: an unknown field, or a value that is refused.
        """
        values = self.model_dump()
        if fields.get("optimizer", self.optimizer.name) != self.optimizer.name:
            values["optimizer"]["options"] = {}
        if isinstance(fields.get("optimizer_options"), Mapping):
            kept = values["optimizer"]["options"]
            fields = {**fields, "optimizer_options": {**kept, **fields["optimizer_options"]}}
        return _validated(_grouped(values, fields))

    def with_options(self, **options: Any) -> Recipe:
        """Return a variant with these arguments of the architecture, the others as they are."""
        return self.replace(arch_options={**self.network.options, **options})

    def flat(self) -> dict[str, Any]:
        """Return the values of all fields by their flat names."""
        values = self.model_dump()
        return {
            name: (values[f.group] if f.group else values)[f.name] for name, f in FIELDS.items()
        }

    def _chosen(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, by their flat names."""
        values = self.flat()
        return {name: v for name, v in values.items() if v != FIELDS[name].info.get_default()}

    def __repr__(self) -> str:
        return f"Recipe.of({', '.join(f'{n}={v!r}' for n, v in self._chosen().items())})"

    @property
    def build_options(self) -> dict[str, Any]:
        """The keywords of `kpairs.build`: the architecture's arguments, and what is unusual."""
        network, data = self.network, self.data
        options: dict[str, Any] = dict(network.options)
        if network.head != "own":
            options["head"] = network.head
        if network.backbone is not None:
            options["backbone"] = network.backbone
        if network.test_shifts != 1:
            options["test_shifts"] = network.test_shifts
        if data.image_size is not None:
            options["input_shape"] = (*data.image_size[::-1], data.channels or 1)
        if data.word != "digit":
            options["word"] = data.word
        return options

    @property
    def pixels(self) -> PixelSettings:
        """The settings by which images become inputs, of a completed recipe."""
        data = self.data
        if not data.is_complete or data.image_size is None:
            raise ValueError("expected a completed recipe, received one with open fields")
        width, height = data.image_size
        rounded = data.word == "grade"  # images of one's own are kept in 8 bits
        return PixelSettings(
            height,
            width,
            data.channels,  # type: ignore[arg-type]  # None only in a recipe with open fields
            data.fit,  # type: ignore[arg-type]
            data.ink,  # type: ignore[arg-type]
            rounded,
            data.white,
            self.network.backbone == FEATURES,
        )

    @property
    def takes_folds(self) -> bool:
        """True for a linear head that is solved for, whose error cross-validation can tell."""
        others = self.fit.fine_tune or self.data.validation
        augmented = self.variation.augmentation != "none"
        return self.network.arch == LINEAR and not (others or augmented)

    def divided(self, source: Source) -> Source:
        """Return a source with the splits that the recipe wants: all pairs in both, or as it is."""
        if self.data.held_out is None:
            return source.whole() if self.takes_folds else source
        return source.whole() if self.data.held_out == FOLDS else source

    def fitted_to(self, source: Source) -> dict[str, Any]:
        """Return the changes that suit other images than the recipe was written for.

        All pairs that people compared; for a head that is solved for, pairs of all rated images;
        photographs mirrored and not distorted, as drawings are.

        Args:
            source: the images, `divided`.

        Returns:
            Values by flat names, for `replace`.
        """
        changes: dict[str, Any] = dict.fromkeys(("classes", "ink"))
        if source.judged:
            changes |= {
                "pairs": source.most_pairs("train"),
                "test_pairs": source.most_pairs("test"),
            }
        elif source.word == "grade" and (each := _PAIRS_AN_IMAGE.get(self.network.arch)):
            counts = source.counts("train")
            wanted = min(each * counts.get("ratings", counts["images"]), _MOST_DRAWN)
            changes["pairs"] = max(self.data.pairs, wanted)
        if source.are_photographs:
            changes |= {"distortion": "none", "flip": "horizontal"}
        return changes

    def refuse_steps(self, given: Mapping[str, Any]) -> None:
        """Refuse fields that tell of training in steps where a head is solved for, and has none.

        Args:
            given: fields of this recipe by their flat names.

        Raises:
            UsageError: one that would change nothing.
        """
        arch, fit = self.network.arch, self.fit
        if arch not in SOLVED or given.get("epochs") == fit.epochs:
            return
        idle = [n for n in given if n == "epochs" or (n in _OF_STEPS and not fit.fine_tune)]
        if idle:
            raise UsageError(
                f"{idle[0]}: {arch} is solved for, not trained in epochs, so this would change "
                "nothing. Leave it out, or train all weights after that with fine_tune, or name "
                "another network, such as ranker"
            )

    def completed(self, source: Source, network: Any) -> Recipe:
        """Return the recipe with everything decided that it leaves open.

        Args:
            source: the images. They decide size, channels, fit and ink where those are open, the
                order of grades, and how many pairs there can be.
            network: the `kpairs.models.registry.Architecture`. It decides its own arguments.

        Raises:
            UsageError: images that the architecture is not for, or outputs that nobody graded.
            InputError: images that cannot be read.
        """
        data = self.data
        weights = {output_name(n, source.word): w for n, w in self.fit.loss_weights.items()}
        of_class = [name for name in weights if name in OF_CLASS]
        if of_class and not source.classes:
            raise UsageError(
                f"{network.name} learns {' and '.join(of_class)}, but {source.name} has no grades; "
                "expected the columns left_grade and right_grade, or an architecture that only "
                "compares, such as ranker"
            )
        shape = network.input_shape
        pixels = source.settings(
            size=data.image_size or (shape and shape[1::-1]),
            channels=data.channels or (shape and shape[2]),
            fit=data.fit,
            ink=data.ink,
            longest=network.longest_side,
        )
        most = {n: source.most_pairs(p) for n, p in _COUNTS.items() if source.word == "grade"}
        changes: dict[str, Any] = {
            **source.read_by,
            "data": source.name,
            "word": source.word,
            "classes": source.classes if source.word == "grade" and source.classes else None,
            "held_out": FOLDS if source.undivided else data.held_out and "images",
            "loss_weights": weights,
            "arch_options": {**network.options, **self.network.options},
            "image_size": (pixels.width, pixels.height),
            "channels": pixels.channels,
            "fit": pixels.fit,
            "ink": pixels.ink,
        }
        for name, there in most.items():
            changes[name] = _possible(source, _COUNTS[name], there, getattr(data, name))
        if source.judged and self.variation.pairing == "renewed":
            changes["pairing"] = "drawn"  # people compared these pairs, and no others
        return self.replace(**changes)

    def key(self) -> str:
        """Return a hash of the fields that differ from their defaults and change a training.

        A field that is added later, at its default, changes no key.
        """
        values = self._chosen()
        unimportant = ("rounds", "origin", "reported_rounds", "reported_epoch")
        known = {name: v for name, v in values.items() if name not in unimportant}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the recipe as JSON text, which `from_json` reads back to an equal recipe."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, name: object = "recipe") -> Recipe:
        """Read a recipe from JSON text, of this version or an earlier one.

        Args:
            text: the text.
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
        try:
            if "arch" in values:  # before there were groups
                return _validated(_grouped({}, _of_before(values)))
            return _validated(values)
        except _FieldsError as error:
            raise InputError(f"{name}: expected the fields of a recipe; {error}") from error


def _fields() -> dict[str, FlatField]:
    found = {}
    for group, of_group in Recipe.model_fields.items():
        kind = of_group.annotation
        if isinstance(kind, type) and issubclass(kind, _Group):
            for name, info in kind.model_fields.items():
                found[_SHORT.get((group, name), name)] = FlatField(group, name, info)
        else:
            found[group] = FlatField("", group, of_group)
    return found


FIELDS = _fields()
_OF_STEPS = ["loss", "batch_size", "shuffle", "validate_every", "patience"]
_OF_STEPS += [name for name, field in FIELDS.items() if field.group == "optimizer"]


class _FieldsError(UsageError):
    """Unknown or missing fields."""


def _grouped(values: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Put fields by flat names into the groups of `values`; a recipe holds paths as texts."""
    for name, value in fields.items():
        if name not in FIELDS:
            raise _FieldsError(str(unknown("field of a recipe", name, FIELDS)))
        field = FIELDS[name]
        held = os.fspath(value) if isinstance(value, os.PathLike) else value
        (values.setdefault(field.group, {}) if field.group else values)[field.name] = held
    return values


def _of_before(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a file of an earlier version by today's flat names."""
    values = dict(values)
    values["origin"] = values.pop("source", "unknown")
    if "arch_options" not in values:
        once = {name: values.pop(name, None) for name in _ONCE_ARGUMENTS}
        values["arch_options"] = {name: v for name, v in once.items() if v is not None}
    word = "grade" if "left_grade" in values.get("loss_weights", ()) else "digit"
    return {"word": word, **values}


def _validated(values: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(_tuples(values))
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> UsageError:
    """Say the first thing that pydantic refuses, in one line and by its flat name."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    name = _SHORT.get((place[0], place[1]), place[1]) if len(place) > 1 else "".join(place)
    inner = "".join(f" {part}" for part in place[2:] if not part.startswith(("tuple", "dict")))
    if first["type"] in ("missing", "extra_forbidden"):
        return _FieldsError(f"{'missing' if first['type'] == 'missing' else 'unknown'} {name}")
    if first["type"] == "value_error":
        text = str(first["ctx"]["error"])
        prefixed = len(place) < 2 or place[:2] == ["network", "options"]
        return UsageError(text if prefixed else f"{name}: {text}, received {first['input']!r:.60}")
    received, limits = first["input"], first.get("ctx", {})
    if first["type"] == "literal_error" and name in FIELDS:
        return unknown(name, received, map(str, FIELDS[name].choices))
    expected = next((text for key, text in _PLAIN.items() if first["type"].startswith(key)), "")
    text = f"expected {expected.format(**limits)}" if expected else _in_our_words(first["msg"])
    return UsageError(f"{name}{inner}: {text}, received {received!r:.60}")


_PLAIN = {  # what pydantic's kinds of errors expect, by how their names begin
    "int_": "a whole number",
    "float_": "a number",
    "finite_number": "a finite number",
    "bool_": "true or false",
    "string_type": "text",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
}


def _in_our_words(text: str) -> str:
    return re.sub("^[A-Z][a-z]+ should (be)?", lambda m: f"expected{'' if m[1] else ' to '}", text)


def _tuples(value: Any) -> Any:
    """Copy values, with tuples for JSON's lists, so that equal recipes compare equal."""
    if isinstance(value, dict):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _is_width(value: Any) -> bool:
    return not isinstance(value, int) or 1 <= value <= _WIDEST


def _is_plain(value: Any) -> bool:
    """Tell whether a value is what JSON gives back as it is, but for tuples."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    finite = not isinstance(value, float) or abs(value) < float("inf")  # NaN is not
    return value is None or (isinstance(value, (bool, str, int, float)) and finite)

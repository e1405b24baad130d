"""The model of one round: built, initialised, compiled, saved and loaded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kpairs import seeds
from kpairs.data import PairSet
from kpairs.data.stored import Stored
from kpairs.errors import InputError, KpairsError, UsageError, first_line, unknown
from kpairs.files import atomic_path
from kpairs.losses import PairCrossentropy, loss_of
from kpairs.metrics import ClassAccuracy, PairAccuracy, PartialAccuracy, accuracy_of
from kpairs.models.backbone import NAME as BACKBONE
from kpairs.models.backbone import NO_WEIGHTS, load_backbone
from kpairs.models.initialization import initialize
from kpairs.models.pair import variables_of
from kpairs.networks import ARCHS, build
from kpairs.optimizers import OPTIMIZERS, OneCycle
from kpairs.recipes import Recipe, check_arguments, check_loss_weights
from kpairs.training.run import Run
from kpairs.training.saved import load_saved

Rescaling = tuple[float, float]  # scale and offset
_FINE_TUNING = 0.1  # of the learning rate


def check_architecture(recipe: Recipe) -> None:
    """Refuse a recipe whose architecture, arguments or loss weights do not fit the registry.

    Raises:
        UsageError: an unknown architecture, arguments that it does not take or of another kind
            than its own, or loss weights that do not name its outputs.
    """
    if recipe.network.arch not in ARCHS:
        raise unknown("architecture", recipe.network.arch, ARCHS)
    architecture = ARCHS[recipe.network.arch]
    outputs = tuple(architecture.learned(recipe.data.word))
    check_loss_weights(recipe.fit.loss_weights, outputs, recipe.network.arch)
    check_arguments(recipe.network.arch, recipe.network.options, architecture.options, architecture.lengths)


def check_run(run: Run) -> None:
    """Refuse a run whose network is not registered here, or does not fit its recipe.

    Raises:
        UsageError: see `check_architecture`. A module that the run was trained with is named, and
            not imported: its code is not run unasked.
    """
    if run.recipe.network.arch not in ARCHS and (origin := run.environment.get("import")):
        raise UsageError(
            f"{run.path}: expected --import {origin!r}, which defines {run.recipe.network.arch} and whose "
            "code is not run unasked; received none"
        )
    check_architecture(run.recipe)


def built(arch: str, classes: int, options: Mapping[str, Any]) -> keras.Model:
    """As `kpairs.build`, for options that a user gave.

    Raises:
        UsageError: an argument's value that its layers refuse, or more than memory holds.
    """
    try:
        return build(arch, classes, **options)
    except KpairsError:
        raise
    except (ValueError, RuntimeError, MemoryError) as error:
        given = ", ".join(f"{name} {value}" for name, value in options.items())
        raise UsageError(f"{arch} cannot be built with {given}: {first_line(error)}") from error


def rescaling_of(normalization: str, pairs: PairSet) -> Rescaling | None:
    """What turns pixels in [0, 1] into what the network sees: `(scale, offset)` or None.

    "standardize" subtracts the mean and divides by the standard deviation (n - 1) of all pixels of
    the training pairs, two scalars that are then applied to any other image too.

    Args:
        normalization: "none", "raw" (0..255) or "standardize".
        pairs: the training `PairSet`.

    Raises:
        InputError: pixels to standardise that are all alike.
    """
    if normalization == "none":
        return None
    if normalization == "raw":
        return 255.0, 0.0
    mean, deviation = _mean_and_deviation(pairs)
    if deviation == 0:
        raise InputError("the training images are all of one grey: they cannot be standardised")
    return 1 / deviation, -mean / deviation


def _mean_and_deviation(pairs: PairSet) -> tuple[float, float]:
    """Of all pixels of a pair set; of stored images by how often there is each of 256 levels."""
    if isinstance(pairs.left, Stored) and isinstance(pairs.right, Stored):
        counts = pairs.left.histogram() + pairs.right.histogram()
        levels, number = np.arange(256) / 255, counts.sum()
        mean = (counts @ levels) / number
        return float(mean), math.sqrt(counts @ (levels - mean) ** 2 / (number - 1))
    pixels = np.stack([pairs.left, pairs.right]).astype(np.float64)
    return float(pixels.mean()), float(pixels.std(ddof=1))


def build_round(
    recipe: Recipe,
    number: int,
    classes: int,
    rescaling: Rescaling | None,
    steps: int = 1,
    judged: bool = False,
) -> keras.Model:
    """The model of one round, with its initial weights, compiled for the first phase.

    Args:
        recipe: the `Recipe`.
        number: the round, from 1.
        classes: number of ranks.
        rescaling: as `rescaling_of` gives it.
        steps: of the optimizer in each epoch; a schedule needs them.
        judged: as `compile_model` takes it.

    Raises:
        InputError: a file of a backbone's weights that cannot be read.
        KpairsError: a backbone's weights that cannot be fetched.
    """
    keras.utils.set_random_seed(seeds.integer(recipe.fit.seed, number, "fit"))
    model = build(recipe.network.arch, classes, rescaling, **recipe.build_options)
    initialize(model, recipe.network.initialization, seeds.generator(recipe.fit.seed, number, "initialization"))
    if recipe.network.backbone is not None and recipe.network.backbone_weights != NO_WEIGHTS:
        load_backbone(model, recipe.network.backbone, recipe.network.backbone_weights)
    compile_model(model, recipe, steps, phases(recipe)[0], judged)
    return model


@dataclass(frozen=True)
class Phase:
    """A part of a training, with an optimizer of its own.

    Attributes:
        begin, end: the epochs before it, and those until its end.
        rate: share of the recipe's learning rate.
        frozen: whether the backbone's weights stay as they are.
    """

    begin: int
    end: int
    rate: float = 1.0
    frozen: bool = False


def phases(recipe: Recipe) -> list[Phase]:
    """The parts of a training: one; of a backbone with loaded weights first all but it, then all.

    Args:
        recipe: the `Recipe`.
    """
    if recipe.network.backbone_weights == NO_WEIGHTS:
        return [Phase(0, recipe.fit.epochs)]
    alone = recipe.fit.epochs - recipe.fit.fine_tune
    parts = [Phase(0, alone, frozen=True), Phase(alone, recipe.fit.epochs, _FINE_TUNING)]
    return [part for part in parts if part.begin < part.end]


def compile_model(
    model: keras.Model,
    recipe: Recipe,
    steps: int = 1,
    phase: Phase | None = None,
    judged: bool = False,
) -> None:
    """Compile a model with a recipe's optimizer, coupled L2, losses, loss weights and metrics.

    Losses, weights and metrics go to Keras as dicts with the same, checked keys: it matches
    anything else by position (see `check_loss_weights`). Scores have none of them.

    Args:
        model: a built model.
        recipe: the `Recipe`.
        steps: of the optimizer in each epoch; a schedule needs them.
        phase: of the training; default its only one.
        judged: whether targets of the comparison are probabilities, and classes may be unknown.
    """
    phase = phase or Phase(0, recipe.fit.epochs)
    if recipe.network.backbone is not None:
        model.get_layer(BACKBONE).trainable = not phase.frozen
    if recipe.optimizer.l2:
        for variable in model.trainable_variables:
            variable.regularizer = keras.regularizers.L2(recipe.optimizer.l2 / 2)
    outputs = ARCHS[recipe.network.arch].learned(recipe.data.word)
    # Keras puts the output's name before a metric's only where there are several outputs.
    accuracy = "accuracy" if len(model.outputs) > 1 else "comparison_accuracy"
    rate: float | OneCycle = phase.rate * recipe.optimizer.learning_rate
    if recipe.optimizer.schedule == "one_cycle":
        rate = OneCycle(phase.rate * recipe.optimizer.learning_rate, (phase.end - phase.begin) * steps)
    settings = {"learning_rate": rate, **recipe.optimizer.options}
    model.compile(
        optimizer=OPTIMIZERS[recipe.optimizer.name](**settings),
        loss={n: _loss(recipe, n, kind, judged) for n, kind in outputs.items()},
        loss_weights={n: float(recipe.fit.loss_weights[n]) for n in outputs},
        metrics={
            n: [_judged_accuracy(n)(accuracy) if judged else accuracy_of(kind, accuracy)]
            for n, kind in outputs.items()
        },
    )
    model.optimizer.build([v for v in variables_of(model) if v.trainable])


def _loss(recipe: Recipe, name: str, kind: str, judged: bool) -> keras.losses.Loss:
    as_logits = recipe.probabilities_as_logits
    if name != "comparison":
        return loss_of(kind, as_logits, recipe.label_smoothing, unknown=judged)
    if judged:
        return PairCrossentropy(kind == "logits" or (kind == "probabilities" and as_logits))
    return loss_of(kind, as_logits)


def _judged_accuracy(name: str) -> type[PartialAccuracy]:
    return PairAccuracy if name == "comparison" else ClassAccuracy


def save_model(model: keras.Model, path: Path) -> None:
    """Write a trained model as a .keras file, atomically.

    The file holds the network without its training configuration, so that
    `keras.saving.load_model` opens it anywhere, without kpairs; with the posterior head or with
    shifts, where `kpairs.layers` is imported. `kpairs.load` opens all.
    """
    bare = keras.Model(model.input, model.output, name=model.name)  # the same layers, not compiled
    with atomic_path(path) as temporary:
        bare.save(temporary)


def load_round(run: Run, number: int, classes: int) -> keras.Model:
    """The trained model of one round: rebuilt from the registry, weights read from its file.

    Only arrays are read from the file, never a model's code or configuration.

    Raises:
        UsageError: the network is not registered; see `check_run`.
        InputError: no such round, or a file that does not hold this architecture's weights.
    """
    check_run(run)
    rescaling = run.row(number)["rescaling"]
    return load_weights(run.recipe, classes, rescaling, run.model_file(number))


def load_weights(
    recipe: Recipe, classes: int, rescaling: Rescaling | None, file: Path
) -> keras.Model:
    """A recipe's model with the weights of a .keras file.

    Raises:
        InputError: a file that does not hold this architecture's weights, or whose layers have
            other settings: see `load_saved`.
    """
    model = build(recipe.network.arch, classes, rescaling, **recipe.build_options)
    load_saved(model, Path(file))
    return model

"""Compiling a round's network: optimizer, losses, loss weights and metrics, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from kpairs.losses import LOGISTIC, PairCrossentropy, PairwiseLoss, loss_of
from kpairs.metrics import ClassAccuracy, PairAccuracy, accuracy_of
from kpairs.models.backbone import NO_WEIGHTS, backbone_of, set_trainable
from kpairs.models.registry import PIXELS, Architecture
from kpairs.optimizers import OPTIMIZERS, OneCycle
from kpairs.recipes import SOLVED, Recipe
from kpairs.training.own_objects import Own
from kpairs.training.prepare import Rescaling

_FINE_TUNING = 0.1  # of the learning rate


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
    """Return the parts of a training: one; of a loaded backbone first all but it, then all."""
    epochs, network = recipe.fit.epochs, recipe.network
    # A file of a network brings its weights.
    if network.backbone_weights == NO_WEIGHTS and network.arch not in SOLVED:
        return [Phase(0, epochs)]
    alone = epochs - recipe.fit.fine_tune
    parts = [Phase(0, alone, frozen=True), Phase(alone, epochs, _FINE_TUNING)]
    return [part for part in parts if part.begin < part.end]


def compile_model(
    model: keras.Model,
    recipe: Recipe,
    network: Architecture,
    phase: Phase | None = None,
    *,
    steps: int = 1,
    judged: bool = False,
    rescaling: Rescaling | None = None,
    own: Own | None = None,
) -> None:
    """Compile a model with a recipe's optimizer, coupled L2, losses, loss weights and metrics.

    Losses, weights and metrics go to Keras as dicts with the same, checked keys: it matches
    anything else by position (see `check_loss_weights`). Scores have none of them.

    Args:
        model: a built model.
        recipe: the recipe.
        network: the architecture, which names the outputs.
        phase: of the training; default its only one.
        steps: steps of the optimizer in each epoch; a schedule needs them.
        judged: whether targets of the comparison are probabilities, and classes may be unknown.
        rescaling: scale and offset by which the network sees pixels. It is built before its images
            are read, so that bad arguments fail at once; the mean of its pixels is known later.
        own: objects of the user's own.
    """
    own = own or Own()
    if rescaling is not None:
        layer = model.get_layer(PIXELS)
        layer.scale, layer.offset = rescaling
    phase = phase or Phase(0, recipe.fit.epochs)
    if recipe.network.backbone is not None:
        if network.linear:
            set_trainable(backbone_of(model), not phase.frozen)
        else:
            backbone_of(model).trainable = not phase.frozen
    if recipe.optimizer.l2:
        for variable in model.trainable_variables:
            variable.regularizer = keras.regularizers.L2(recipe.optimizer.l2 / 2)
    outputs, optimizer = network.learned, _optimizer(recipe, phase, steps, own.optimizer)
    losses = {name: _loss(recipe, name, kind, judged) for name, kind in outputs.items()}
    if recipe.fit.pair_loss != LOGISTIC:
        losses["comparison"] = PairwiseLoss(recipe.fit.pair_loss)
    if own.loss is not None:
        losses |= dict(own.loss) if isinstance(own.loss, Mapping) else {"comparison": own.loss}
    # Keras puts the output's name before a metric's only where there are several outputs.
    accuracy = "accuracy" if len(model.outputs) > 1 else "comparison_accuracy"
    model.compile(
        optimizer=optimizer,
        loss=losses,
        loss_weights={name: float(recipe.fit.loss_weights[name]) for name in losses},
        metrics={name: [_metric(name, kind, accuracy, judged)] for name, kind in outputs.items()},
    )
    model.optimizer.build(model.trainable_variables)


def _optimizer(
    recipe: Recipe, phase: Phase, steps: int, own: keras.optimizers.Optimizer | None
) -> keras.optimizers.Optimizer:
    if own is not None:
        return own.from_config(own.get_config())
    settings = recipe.optimizer
    rate: float | OneCycle = phase.rate * settings.learning_rate
    if settings.schedule == "one_cycle":
        rate = OneCycle(phase.rate * settings.learning_rate, (phase.end - phase.begin) * steps)
    return OPTIMIZERS[settings.name](learning_rate=rate, **settings.options)


def _loss(recipe: Recipe, name: str, kind: str, judged: bool) -> keras.losses.Loss:
    as_logits, smoothing = recipe.fit.probabilities_as_logits, recipe.fit.label_smoothing
    if name != "comparison":
        return loss_of(kind, as_logits, smoothing, unknown=judged)
    if judged:
        return PairCrossentropy(kind == "logits" or (kind == "probabilities" and as_logits))
    return loss_of(kind, as_logits)


def _metric(name: str, kind: str, accuracy: str, judged: bool) -> keras.metrics.Metric:
    if not judged:
        return accuracy_of(kind, accuracy)
    return (PairAccuracy if name == "comparison" else ClassAccuracy)(accuracy)

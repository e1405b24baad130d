"""Fitting a round's network: its phases, one after the other, from the last checkpoint on."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras

from kpairs.data import PairSet
from kpairs.models.registry import Architecture
from kpairs.networks import ARCHS, import_of
from kpairs.recipes import Recipe
from kpairs.recipes.recipe import Variation
from kpairs.training.batches import (
    Batches,
    Randomness,
    evaluation_batch,
    renewal,
    shuffled,
    transformation,
)
from kpairs.training.callbacks import (
    AfterEpoch,
    BestEpoch,
    Evaluation,
    EventFiles,
    MovingAverage,
    StopOnNonFinite,
    evaluate,
)
from kpairs.training.checkpoint import Checkpoint
from kpairs.training.compile import Own, Phase, compile_model, phases
from kpairs.training.interrupt import InMainThread
from kpairs.training.linear import LinearHead
from kpairs.training.prepare import Prepared
from kpairs.training.workers import log


@dataclass(frozen=True)
class Machine:
    """The way a training runs, beside its recipe.

    Attributes:
        device: see `kpairs.train`.
        threads: see `kpairs.train`.
        engine: see `kpairs.train`.
        keep_checkpoints: see `kpairs.train`.
        tensorboard: see `kpairs.train`.
    """

    device: str = "auto"
    threads: int = 1
    engine: str = "auto"
    keep_checkpoints: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class Fitted:
    """The results of a fit beside the model.

    Attributes:
        epochs: how many were trained.
        best_epoch: number of the best epoch on validation pairs; None without such pairs.
        engine: "lowered", or "keras" for Keras' own steps.
        seconds: how long the epochs took, in all processes that worked on them.
    """

    epochs: int
    best_epoch: int | None
    engine: str
    seconds: float


def fit(
    model: keras.Model,
    recipe: Recipe,
    number: int,
    network: Architecture,
    data: Prepared,
    folder: Path,
    device: str,
    machine: Machine,
    own: Own,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    head: LinearHead | None = None,
    until: int | None = None,
) -> Fitted:
    """Train a built network, phase by phase, from where its checkpoint is.

    Args:
        model: the network, with its initial weights.
        recipe: the recipe.
        number: the round, from 1.
        network: the architecture.
        data: the round's pairs.
        folder: where checkpoint and history are.
        device: torch device of the batches.
        machine: how the training runs.
        own: Keras objects of the user's own.
        callbacks: further callbacks, of kpairs' own display.
        head: is solved for in the first epoch's place, and measures the network.
        until: the last epoch, where it is not the recipe's; schedules are those of the recipe.

    Raises:
        DivergedError: the loss became NaN or infinite.
        InputError: a checkpoint or a history that cannot be read.
    """
    outputs = network.named(recipe.data.word)
    batches = Batches(
        data.train,
        outputs,
        recipe.fit.batch_size,
        device,
        order=shuffled(recipe, number, len(data.train)),
        renew=renewal(recipe, number, data.train),
        transform=partial(transformation, recipe, number),
        own_targets=network.own_targets,
    )
    evaluated = partial(
        Batches,
        outputs=outputs,
        batch_size=evaluation_batch(data.train),
        device=device,
        own_targets=network.own_targets,
    )

    def evaluation(pairs: PairSet) -> Evaluation:
        if head is not None:
            return partial(head.evaluate, pairs)
        return partial(evaluate, model, evaluated(pairs))

    _compile(model, recipe, network, phases(recipe)[0], data, batches, own)
    after, checkpoint = _follow_up(model, recipe, evaluation, data, folder, machine)
    done, engine = checkpoint.epochs, "keras"
    always = [Randomness(recipe.fit.seed, number, batches), InMainThread(), *callbacks]
    for phase in phases(recipe):
        start, end = max(phase.begin, done), min(phase.end, until or phase.end)
        if end < start:
            continue
        if phase.begin:
            _compile(model, recipe, network, phase, data, batches, own)
        if head is not None and not phase.begin:
            if not done:
                epochs = until or recipe.fit.epochs
                _solved(model, head.solve, [*callbacks, after, checkpoint], epochs)
            continue
        if machine.engine == "auto":
            engine = _lower(model, batches, _same_steps(model, recipe, phase, data, batches, own))
        if phase.begin < done:
            checkpoint.restore(model)
        if start < end and not (after.best is not None and after.best.is_over(start)):
            model.fit(
                batches,
                epochs=end,
                initial_epoch=start,
                shuffle=False,  # the batches are
                validation_data=evaluated(data.test) if head is None else None,
                validation_freq=_evaluated(recipe, end),
                callbacks=[
                    StopOnNonFinite(phase.rate * recipe.optimizer.learning_rate),
                    *always,
                    after,
                    *own.callbacks,
                    checkpoint,
                ],
                verbose=0,
            )
        if model.stop_training or (after.best is not None and after.best.is_over(start)):
            break
    after.finish(model, evaluation(data.test))
    best = None if after.best is None else after.best.epoch
    return Fitted(len(after.rows), best, engine, checkpoint.seconds)


def _solved(
    model: keras.Model,
    solve: Callable[[], dict[str, float]],
    callbacks: list[keras.callbacks.Callback],
    epochs: int,
) -> None:
    """Pass off a solution as the first epoch, so that all that follows epochs follows it."""
    followers = keras.callbacks.CallbackList(
        callbacks, add_history=False, model=model, epochs=epochs, steps=1, verbose=0
    )
    followers.on_train_begin()
    followers.on_epoch_begin(0)
    followers.on_epoch_end(0, solve())
    followers.on_train_end()


def _compile(
    model: keras.Model,
    recipe: Recipe,
    network: Architecture,
    phase: Phase,
    data: Prepared,
    batches: Batches,
    own: Own,
) -> None:
    steps = -(-len(data.train) // recipe.fit.batch_size)
    compile_model(model, recipe, network, phase, steps=steps, judged=data.judged, own=own)


def _follow_up(
    model: keras.Model,
    recipe: Recipe,
    evaluation: Callable[[PairSet], Evaluation],
    data: Prepared,
    folder: Path,
    machine: Machine,
) -> tuple[AfterEpoch, Checkpoint]:
    """Make the callback that follows up each epoch, and the one that saves the state after it."""
    average = (
        MovingAverage(model, recipe.optimizer.averaging) if recipe.optimizer.averaging else None
    )
    best = evaluated = None
    if data.validation is not None:
        best = BestEpoch(model, evaluation(data.validation), recipe.fit.patience, average)
    if recipe.reported_epoch == "best":  # the report states the best training accuracy too
        evaluated = evaluation(data.train)
    checkpoint = Checkpoint(folder, machine.keep_checkpoints)
    done = checkpoint.epochs
    events = EventFiles(folder / "tensorboard", done) if machine.tensorboard else None
    after = AfterEpoch(
        folder / "history.csv", done, average=average, best=best, evaluated=evaluated, events=events
    )
    checkpoint.further = tuple(after.variables)
    return after, checkpoint


# Fields that decide which batches there are, and nothing of the step that trains on one.
_OUTSIDE_STEPS = {
    *("data", "columns", "words", "images", "group", "classes", "fit", "ink", "white", "pairs"),
    *("test_pairs", "ties", "margin", "held_out", "validation", *Variation.model_fields),
    *("averaging", "batch_size", "shuffle", "fine_tune", "validate_every", "patience"),
    *("rounds", "seed", "origin", "reported_rounds", "reported_epoch"),
}


def _same_steps(
    model: keras.Model, recipe: Recipe, phase: Phase, data: Prepared, batches: Batches, own: Own
) -> Hashable | None:
    """Return the cache key of the traced step, or None for user code, which may use randomness."""
    mine = own.loss is not None or own.optimizer is not None
    if mine or import_of(recipe.network.arch) or recipe.network.arch not in ARCHS:
        return None
    same = {name: v for name, v in recipe.flat().items() if name not in _OUTSIDE_STEPS}
    times: tuple[object, ...] = phase, len(batches)
    if recipe.optimizer.schedule == "constant":  # the rate is a variable, and time plays no part
        del same["learning_rate"], same["epochs"]
        times = (phase.frozen,)
    shapes = [tuple(variable.shape) for variable in model.variables]  # by the number of classes
    return repr(same), times, data.judged, repr(shapes)


def _lower(model: keras.Model, batches: Batches, alike: Hashable | None) -> str:
    """Lower a model's training where that is possible; return the engine's name."""
    if keras.backend.backend() != "torch":
        return "keras"
    from kpairs.training.engine.lower import NotLowerable, lower

    try:
        lower(model, *batches.first(), alike=alike)
    except NotLowerable as error:
        log.warning("%s trains by Keras' own, slower steps: %s", model.name, error)
        return "keras"
    return "lowered"


def _evaluated(recipe: Recipe, epochs: int) -> list[int]:
    """Return the numbers of the epochs that an evaluation on the test pairs follows."""
    every = recipe.fit.validate_every
    return sorted({*range(every, epochs, every), epochs})

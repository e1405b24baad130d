"""One round: the training of one network, from its last checkpoint if there is one."""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from kpairs.data import PairSet
from kpairs.data.splits import Split
from kpairs.files import refuse_links
from kpairs.networks import ARCHS, import_modules, import_of, imported_modules
from kpairs.recipes import Recipe
from kpairs.training.batches import (
    Batches,
    Randomness,
    evaluation_batch,
    renewal,
    shuffled,
    transformation,
)
from kpairs.training.callbacks import (
    Averaging,
    BestEpoch,
    EventFiles,
    HistoryFile,
    StopOnNonFinite,
)
from kpairs.training.checkpoint import Checkpoint
from kpairs.training.compile import (
    Phase,
    build_round,
    compile_model,
    phases,
    rescaling_of,
    save_model,
)
from kpairs.training.device import compute
from kpairs.training.draw import augmented, set_aside
from kpairs.training.evaluate import measure
from kpairs.training.interrupt import InMainThread
from kpairs.training.lock import locked
from kpairs.training.records import read_history
from kpairs.training.workers import log


@dataclass(frozen=True)
class Round:
    """One round to train, complete: it can be sent to another process.

    Attributes:
        recipe: what to train.
        number: the round, from 1.
        folder: where to write, a `pathlib.Path`.
        train_pairs: training pairs as drawn, not augmented.
        test_pairs: test pairs.
        classes: number of ranks.
        device: see `kpairs.train`.
        threads: see `kpairs.train`.
        engine: see `kpairs.train`.
        keep_checkpoints: see `kpairs.train`.
        tensorboard: see `kpairs.train`.
        judged: images of which all ordered pairs are judged too, where a study asks for that;
            default those of the test pairs.
        normalized_by: the pairs whose mean and deviation standardise images; default the
            training pairs.
        imports: modules of the user's own architectures, which another process imports first.
    """

    recipe: Recipe
    number: int
    folder: Path
    train_pairs: PairSet
    test_pairs: PairSet
    classes: int
    device: str = "auto"
    threads: int = 1
    engine: str = "auto"
    keep_checkpoints: bool = False
    tensorboard: bool = False
    judged: Split | None = None
    normalized_by: PairSet | None = None
    imports: tuple[str, ...] = field(default_factory=imported_modules)


def train_round(job: Round, callbacks: Iterable[keras.callbacks.Callback] = ()) -> dict[str, Any]:
    """Train one round, from its last checkpoint if there is one.

    Args:
        job: the round.
        callbacks: further Keras callbacks.

    Returns:
        The round's row of `Run.metrics`. Its best epoch is chosen on the test pairs, as report 004
        does; where there are validation pairs, on those, and then it is also the result.

    Raises:
        KpairsError: the loss became NaN or infinite; another process trains this round.
        InputError: a checkpoint that cannot be read; a folder that leads elsewhere.
    """
    import_modules(job.imports)
    recipe, number, folder = job.recipe, job.number, job.folder
    outputs = ARCHS[recipe.network.arch].named(recipe.data.word)
    refuse_links(folder)
    folder.mkdir(exist_ok=True)
    with locked(folder), compute(job.device, job.threads) as device:
        train_pairs, validation_pairs = set_aside(recipe, number, job.train_pairs)
        train_pairs = augmented(recipe, number, train_pairs)
        rescaling = rescaling_of(recipe.data.normalization, job.normalized_by or train_pairs)
        steps = -(-len(train_pairs) // recipe.fit.batch_size)
        judged = train_pairs.probability is not None
        model = build_round(recipe, number, job.classes, rescaling, steps, judged)
        batches = _batches(recipe, number, train_pairs, device)
        size = evaluation_batch(train_pairs)
        averaging = [Averaging(model, recipe.optimizer.averaging)] if recipe.optimizer.averaging else []
        best = None
        if validation_pairs is not None:
            validated = Batches(validation_pairs, outputs, size, device)
            best = BestEpoch(model, validated, recipe.fit.patience, *averaging)
        kept: list[Averaging | BestEpoch] = [*averaging, *([] if best is None else [best])]
        further = [v for callback in kept for v in callback.variables]
        checkpoint = Checkpoint(folder, job.keep_checkpoints, further)
        done = checkpoint.epochs
        events = [EventFiles(folder / "tensorboard", done, best)] if job.tensorboard else []
        evaluated = None
        if recipe.reported_epoch == "best":  # the report states the best training accuracy too
            evaluated = Batches(train_pairs, outputs, size, device)
        history = HistoryFile(folder / "history.csv", done, evaluated, best)
        always = [Randomness(recipe.fit.seed, number, batches), InMainThread(), *callbacks]
        engine = _fit(
            job,
            model,
            batches,
            Batches(job.test_pairs, outputs, size, device),
            checkpoint,
            kept,
            [*always, *kept, history, *events, checkpoint],
        )
        save_model(model, folder / "model.keras")
        measured = measure(model, train_pairs, job.test_pairs, outputs)
        return {
            "round": number,
            "epochs": len(history.rows),
            "rescaling": rescaling and list(rescaling),
            **measured,
            "best_epoch": _best_epoch(read_history(history.path))
            if best is None
            else {"epoch": best.epoch, **measured["test"]},
            "engine": engine,
            "seconds": round(checkpoint.seconds, 2),
        }


def _fit(
    job: Round,
    model: keras.Model,
    batches: Batches,
    test_batches: Batches,
    checkpoint: Checkpoint,
    kept: list[Averaging | BestEpoch],
    callbacks: list[keras.callbacks.Callback],
) -> str:
    """Train a model's phases from where its checkpoint is; the name of the engine that did."""
    recipe, done, engine = job.recipe, checkpoint.epochs, "keras"
    for phase in phases(recipe):
        start = max(phase.begin, done)
        if start > phase.end:
            continue
        if phase.begin:
            judged = job.train_pairs.probability is not None
            compile_model(model, recipe, len(batches), phase, judged)
        if job.engine == "auto":
            engine = _lower(model, batches, _alike(job, batches, phase))
        if phase.begin < done:
            checkpoint.restore(model)
        over = any(isinstance(c, BestEpoch) and c.is_over(start) for c in kept)
        last = over or phase.end == recipe.fit.epochs
        if start == phase.end and not last:
            continue
        for callback in kept:
            callback.last = last
        model.fit(
            batches,
            epochs=start if over else phase.end,
            initial_epoch=start,
            shuffle=False,  # the batches are
            validation_data=test_batches,
            validation_freq=_evaluated(recipe),
            callbacks=[StopOnNonFinite(phase.rate * recipe.optimizer.learning_rate), *callbacks],
            verbose=0,
        )
        if last or model.stop_training:
            break
    return engine


def _batches(recipe: Recipe, number: int, pairs: PairSet, device: str) -> Batches:
    """The training pairs in batches, as a recipe orders and changes them in each epoch."""
    return Batches(
        pairs,
        ARCHS[recipe.network.arch].named(recipe.data.word),
        recipe.fit.batch_size,
        device,
        order=shuffled(recipe, number, len(pairs)),
        renew=renewal(recipe, number, pairs),
        transform=partial(transformation, recipe, number),
    )


def _alike(job: Round, batches: Batches, phase: Phase) -> Hashable | None:
    """What is the same in rounds of the same steps; None for a user's own code, which may draw."""
    if import_of(job.recipe.network.arch):
        return None
    judged, recipe = job.train_pairs.probability is not None, job.recipe.replace(seed=0, rounds=1)
    return repr(recipe), job.classes, phase, len(batches), judged


def _lower(model: keras.Model, batches: Batches, alike: Hashable | None) -> str:
    """Lower a model's training where that is possible; the name of the engine that it has then."""
    if keras.backend.backend() != "torch":
        return "keras"
    from kpairs.training.engine.lower import NotLowerable, lower

    try:
        lower(model, *batches.first(), alike=alike)
    except NotLowerable as error:
        log.warning("%s trains by Keras' own, slower steps: %s", model.name, error)
        return "keras"
    return "lowered"


def _evaluated(recipe: Recipe) -> list[int]:
    """Numbers of the epochs that an evaluation on the test pairs follows."""
    return sorted(
        {*range(recipe.fit.validate_every, recipe.fit.epochs, recipe.fit.validate_every), recipe.fit.epochs}
    )


def _best_epoch(history: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The epoch with the least test error."""
    evaluated = [row for row in history if not math.isnan(row["test_comparison_accuracy"])]
    best = max(evaluated, key=lambda row: row["test_comparison_accuracy"])
    error = round(100 * (1 - best["test_comparison_accuracy"]), 4)
    return {"epoch": int(best["epoch"]), "comparison_error_pct": error}

"""One round: data drawn anew, a fresh model, one fit, and its error rates."""

import math
import os
import signal
import threading
import time
from dataclasses import dataclass, replace
from functools import cache, partial

import keras
import numpy as np

from kpairs import seeds
from kpairs.data import augment_pairs, draw_pairs
from kpairs.data.pairs import PairSet
from kpairs.errors import InputError
from kpairs.models.outputs import decisions
from kpairs.networks import ARCHS
from kpairs.recipes import Recipe
from kpairs.training.batches import (
    Batches,
    Randomness,
    evaluation_batch,
    renewal,
    shuffled,
    transformation,
)
from kpairs.training.callbacks import Averaging, HistoryFile, StopOnNonFinite
from kpairs.training.checkpoint import Checkpoint
from kpairs.training.compile import (
    build_round,
    check_architecture,
    load_round,
    rescaling_of,
    save_model,
)
from kpairs.training.device import compute
from kpairs.training.images import load_splits
from kpairs.training.lock import locked
from kpairs.training.run import read_history


def draw_round(recipe, number, train_digits, test_digits, augment=True):
    """The training pairs (augmented unless told otherwise) and test pairs of one round."""
    rng = seeds.generator(recipe.seed, number, "pairs")
    train_pairs = draw_pairs(train_digits, recipe.pairs, rng)
    test_pairs = draw_pairs(test_digits, recipe.test_pairs, rng)
    return (augmented(recipe, number, train_pairs) if augment else train_pairs), test_pairs


def augmented(recipe, number, train_pairs):
    """One round's training pairs with the recipe's augmentation."""
    if recipe.augmentation == "none":
        return train_pairs
    return augment_pairs(train_pairs, seeds.generator(recipe.seed, number, "augmentation"))


@dataclass(frozen=True)
class Round:
    """One round to train, complete: it can be sent to another process.

    Attributes:
        recipe, number: which.
        folder: where to, a `pathlib.Path`.
        train_pairs, test_pairs: as drawn, not augmented.
        classes: number of ranks.
        device, threads, engine, keep_checkpoints: see `kpairs.train`.
        normalized_by: the pairs whose mean and deviation standardise images; default the
            training pairs.
    """

    recipe: Recipe
    number: int
    folder: os.PathLike
    train_pairs: PairSet
    test_pairs: PairSet
    classes: int
    device: str = "auto"
    threads: int = 1
    engine: str = "auto"
    keep_checkpoints: bool = False
    normalized_by: PairSet | None = None


def train_round(job, callbacks=(), say=lambda text: None):
    """Train one round, from its last checkpoint if there is one.

    Args:
        job: a `Round`.
        callbacks: further Keras callbacks.
        say: called with what the user should know.

    Returns:
        The round's row of `Run.metrics`.

    Raises:
        KpairsError: the loss became NaN or infinite; another process trains this round.
        InputError: a checkpoint that cannot be read.
    """
    recipe, number, folder = job.recipe, job.number, job.folder
    outputs = ARCHS[recipe.arch].named(recipe.word)
    folder.mkdir(exist_ok=True)
    with locked(folder), compute(job.device, job.threads) as device:
        train_pairs = augmented(recipe, number, job.train_pairs)
        rescaling = rescaling_of(recipe.normalization, job.normalized_by or train_pairs)
        steps = -(-len(train_pairs) // recipe.batch_size)
        model = build_round(recipe, number, job.classes, rescaling, steps)
        order = shuffled(recipe, number, len(train_pairs))
        renew = renewal(recipe, number, train_pairs)
        transform = partial(transformation, recipe, number)
        batches = Batches(train_pairs, outputs, recipe.batch_size, device, order, renew, transform)
        size = evaluation_batch(train_pairs)
        test_batches = Batches(job.test_pairs, outputs, size, device)
        engine = _lower(model, batches, say) if job.engine == "auto" else "keras"
        averaging = [Averaging(model, recipe.averaging)] if recipe.averaging else []
        further = [v for callback in averaging for v in callback.variables]
        checkpoint = Checkpoint(folder, job.keep_checkpoints, further)
        done = checkpoint.restore(model)
        evaluated = None
        if recipe.reported_epoch == "best":  # what the report states of that epoch
            evaluated = Batches(train_pairs, outputs, size, device)
        history = HistoryFile(folder / "history.csv", done, evaluated)
        model.fit(
            batches,
            epochs=recipe.epochs,
            initial_epoch=done,
            shuffle=False,  # the batches are
            validation_data=test_batches,
            validation_freq=_evaluated(recipe),
            callbacks=[
                Randomness(recipe.seed, number, batches),
                StopOnNonFinite(recipe.learning_rate),
                *callbacks,
                *averaging,
                history,
                checkpoint,
            ],
            verbose=0,
        )
        save_model(model, recipe, job.classes, rescaling, folder / "model.keras")
        decided = _decided(model, job.test_pairs, outputs)
        return {
            "round": number,
            "epochs": recipe.epochs,
            "rescaling": rescaling and list(rescaling),
            "train": errors(model, train_pairs, outputs),
            "test": _error_rates(decided, job.test_pairs),
            "collapsed": len(np.unique(decided["comparison"])) == 1,
            "best_epoch": _best_epoch(read_history(history.path)),
            "engine": engine,
            "seconds": round(checkpoint.seconds, 2),
        }


def train_round_in_worker(job, parent=None):
    """`train_round` in another process.

    Args:
        job: a `Round`.
        parent: the process that this one was started by, and ends with; it may be this one.
            None where something else looks after this process.

    Returns:
        The row, and what the user should know.
    """
    work_for(parent)
    said = []
    row = train_round(job, say=said.append)
    return row, said


def work_for(parent):
    """Leave Ctrl-C to another process, and end when it does; see `train_round_in_worker`."""
    if parent not in (None, os.getpid()):
        # Ctrl-C reaches every process of a terminal; it is left to the one that was started.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end_with(parent)


@cache
def _end_with(parent):
    """End this process within a second once its parent is another; once per process."""

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _lower(model, batches, say):
    """Lower a model's training where that is possible; the name of the engine that it has then."""
    if keras.backend.backend() != "torch":
        return "keras"
    from kpairs.training.engine.step import Engine, NotLowerable

    try:
        Engine(model, *batches.first())
    except NotLowerable as error:
        say(f"{model.name} trains by Keras' own, slower steps: {error}")
        return "keras"
    return "lowered"


def _evaluated(recipe):
    """Numbers of the epochs that an evaluation on the test pairs follows."""
    return sorted(
        {*range(recipe.validate_every, recipe.epochs, recipe.validate_every), recipe.epochs}
    )


def _best_epoch(history):
    """The epoch with the least test error: chosen on test pairs, as report 004 does."""
    evaluated = [row for row in history if not math.isnan(row["test_comparison_accuracy"])]
    best = max(evaluated, key=lambda row: row["test_comparison_accuracy"])
    numbers = {"comparison_error_pct": best["test_comparison_accuracy"]}
    if "evaluated_comparison_accuracy" in best:
        numbers["train_comparison_error_pct"] = best["evaluated_comparison_accuracy"]
    return {
        "epoch": int(best["epoch"]),
        **{name: round(100 * (1 - accuracy), 4) for name, accuracy in numbers.items()},
    }


def errors(model, pairs, outputs):
    """Error rates of a model in inference mode.

    Args:
        model: a Keras model with these outputs.
        pairs: a `PairSet`.
        outputs: kind of each named output, as the registry gives it.

    Returns:
        `comparison_error_pct`, and with digit or grade outputs `digit_error_pct` or
        `grade_error_pct` over both images, in percent.
    """
    return _error_rates(_decided(model, pairs, outputs), pairs)


def _decided(model, pairs, outputs):
    """What a model decides, by output: `(n,)` class numbers."""
    values = model.predict(Batches(pairs, (), evaluation_batch(pairs)), verbose=0)
    return {name: decisions(values[name], kind) for name, kind in outputs.items()}


def _error_rates(decided, pairs):
    targets = pairs.targets(decided)
    wrong = {name: chosen != targets[name] for name, chosen in decided.items()}
    rates = {"comparison_error_pct": _percent(wrong["comparison"])}
    for word in ("digit", "grade"):
        if f"left_{word}" in wrong:
            both = np.concatenate([wrong[f"left_{word}"], wrong[f"right_{word}"]])
            rates[f"{word}_error_pct"] = _percent(both)
    return rates


def _percent(wrong):
    return round(100 * float(np.mean(wrong)), 6)


def evaluate(run, *, device="auto", threads=1, data_root=None, test_pairs=None):
    """Evaluate each finished round of a run on pairs drawn again from its recipe.

    Args:
        run: a `Run`.
        device, threads: see `train`.
        data_root: cache folder of the digit images.
        test_pairs: number of test pairs; default the recipe's, which are those of the training.

    Returns:
        A list of rows like those of `run.metrics["rounds"]`.

    Raises:
        InputError: no finished round, a model that cannot be read, or missing data.
    """
    recipe = run.recipe if test_pairs is None else replace(run.recipe, test_pairs=test_pairs)
    check_architecture(recipe)
    if not run.rounds:
        raise InputError(f"{run.path}: expected a finished round, received none")
    splits = load_splits(recipe, data_root)
    outputs = ARCHS[recipe.arch].named(recipe.word)
    rows = []
    with compute(device, threads):
        for number in run.rounds:
            model = load_round(run, number, len(splits[0].classes))
            train_pairs, drawn_test_pairs = draw_round(recipe, number, *splits)
            train, test = (errors(model, p, outputs) for p in (train_pairs, drawn_test_pairs))
            rows.append({"round": number, "train": train, "test": test})
    return rows
